//! Figures of a training as text.

use nightloom::train::run::EpochFigures;

use super::super::console::say;
use super::super::error::CliError;
use super::super::figures::{bytes, seconds, significant};

/// Columns of a bar of 100 %.
const WIDTH: usize = 50;

/// A learning curve of at most `lines` points: epochs, accuracy before each update as a bar, accuracy on test samples.
pub fn curve(points: &[(f64, f64, Option<f64>)], lines: usize) -> Vec<String> {
    let every = points.len().div_ceil(lines).max(1);
    let count = points.len();
    let mut out = vec![format!("  {:>6}  {:>8}  {:>8}", "epochs", "running", "test")];
    let mut since: Vec<f64> = Vec::new();
    for (index, &(epochs, running, test)) in points.iter().enumerate() {
        since.push(running);
        if (index + 1).is_multiple_of(every) || index + 1 == count {
            let mean = since.iter().sum::<f64>() / since.len() as f64;
            since.clear();
            let test = test.map_or_else(|| "-".to_owned(), |test| format!("{:.2} %", 100.0 * test));
            let bar = "#".repeat((mean * WIDTH as f64).round() as usize);
            out.push(format!("  {epochs:>6.2}  {:>6.2} %  {test:>8}  |{bar:<WIDTH$}|", 100.0 * mean));
        }
    }
    out
}

/// How well samples are met: the part that is classified rightly; of numbers, the root of the mean squared error.
pub fn score(accuracy: Option<f64>, loss: f64) -> String {
    match accuracy {
        Some(accuracy) => format!("{:.2} %", 100.0 * accuracy),
        None => significant((2.0 * loss).sqrt()),
    }
}

/// A table of epochs: accuracies, or errors of numbers.
pub fn epochs(epochs: &[EpochFigures]) -> Result<(), CliError> {
    let errors = epochs.iter().any(|epoch| epoch.running_accuracy.is_none());
    let [running, test] = if errors { ["error", "test error"] } else { ["running", "test"] };
    say(format_args!(
        "{:<6} {running:>9} {test:>10} {:>12} {:>12} {:>10} {:>10}",
        "Epoch", "keys, open", "all else", "keys", "requests"
    ))?;
    for epoch in epochs {
        let test = epoch.test_loss.map_or_else(|| "-".to_owned(), |loss| score(epoch.test_accuracy, loss));
        say(format_args!(
            "{:<6} {:>9} {test:>10} {:>12} {:>12} {:>10} {:>10}",
            epoch.epoch,
            score(epoch.running_accuracy, epoch.running_loss),
            seconds(epoch.crypto_s),
            seconds(epoch.clear_s),
            bytes(epoch.key_bytes as f64),
            bytes(epoch.request_bytes as f64),
        ))?;
    }
    Ok(())
}

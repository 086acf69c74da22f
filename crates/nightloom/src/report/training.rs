//! The page about a training on encrypted samples.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::text::{Bytes, Count, Duration, Percent, Text};
use super::{Parameter, ReportError, Run, curve, page};

/// A training on encrypted samples: what was measured, and who learned what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingReport {
    /// Heading of the page.
    pub title: String,
    /// The network in a word, such as `784-32-10`.
    pub network: String,
    /// Name of the data set.
    pub dataset: String,
    /// Images that were encrypted and trained on.
    pub images: u64,
    /// Images that the network was tried on, in the clear.
    pub test_images: u64,
    /// The learning curve.
    pub curve: Vec<Point>,
    /// Figures of each epoch.
    pub epochs: Vec<Epoch>,
    /// The same training without encryption.
    pub comparison: Comparison,
    /// Seconds of encrypting.
    pub encrypt_s: f64,
    /// Bytes of what the client sent.
    pub upload_bytes: u64,
    /// Who learns what, as the mode states it: headings with lines.
    pub statement: Vec<(String, Vec<String>)>,
    /// What the issued keys give away.
    pub opened: Vec<Opened>,
    /// What the authority answered when it was asked for more.
    pub refusal: String,
    /// Rows of the table of settings.
    pub parameters: Vec<Parameter>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Test images by label (row) and class found (column).
    pub confusion: Vec<Vec<u64>>,
    /// Where, when and how it ran.
    pub run: Run,
}

/// A point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Epochs so far, a fraction.
    pub epochs: f64,
    /// Accuracy on the samples since the last point, before each update, 0 to 1.
    pub running_accuracy: f64,
    /// Accuracy on the test images, 0 to 1.
    pub test_accuracy: Option<f64>,
}

/// Figures of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Accuracy before each update, 0 to 1.
    pub running_accuracy: f64,
    /// Accuracy on the test images afterwards, 0 to 1.
    pub test_accuracy: Option<f64>,
    /// Seconds of keys and of opening.
    pub crypto_s: f64,
    /// Seconds of everything else.
    pub clear_s: f64,
    /// Bytes of keys.
    pub key_bytes: u64,
}

/// The same training without encryption.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Parameters of the network.
    pub parameters: u64,
    /// Parameters that differ, in any bit, from those of training with the same integers in the clear.
    pub differing: u64,
    /// Test images that the network gets right.
    pub encrypted_correct: u64,
    /// Accuracy of training in floating point, 0 to 1.
    pub float_accuracy: f64,
}

/// What is open of the batch of which most is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// What the functionals open.
    pub what: String,
    /// Independent functionals that were issued.
    pub rank: u64,
    /// The largest number that is.
    pub limit: u64,
    /// Unknown values that each combines.
    pub dimension: u64,
}

/// The page: UTF-8 HTML with its style and pictures inside.
///
/// # Errors
/// [`ReportError`] if a number is not finite or out of range, or the confusion matrix contradicts the counts.
pub fn render_training(report: &TrainingReport) -> Result<String, ReportError> {
    check(report)?;
    let mut html = page::begin(&report.title);
    head(&mut html, report);
    learning(&mut html, report);
    weights(&mut html, report);
    statement(&mut html, report);
    keys(&mut html, report);
    page::repeat(&mut html, &report.run);
    page::end(&mut html);
    Ok(html)
}

fn check(report: &TrainingReport) -> Result<(), ReportError> {
    let parts = |what, part: Option<f64>| match part {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(ReportError::Number { what, value }),
        _ => Ok(()),
    };
    for point in &report.curve {
        parts("a place on the curve", Some(point.epochs / report.epochs.len().max(1) as f64))?;
        parts("an accuracy", Some(point.running_accuracy))?;
        parts("an accuracy", point.test_accuracy)?;
    }
    for epoch in &report.epochs {
        parts("an accuracy", Some(epoch.running_accuracy))?;
        parts("an accuracy", epoch.test_accuracy)?;
        for value in [epoch.crypto_s, epoch.clear_s] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ReportError::Number { what: "the time of an epoch", value });
            }
        }
    }
    parts("an accuracy", Some(report.comparison.float_accuracy))?;
    if !(report.encrypt_s.is_finite() && report.encrypt_s >= 0.0) {
        return Err(ReportError::Number { what: "the time of encryption", value: report.encrypt_s });
    }
    if report.images == 0 || report.test_images == 0 {
        return Err(ReportError::NoImages { what: "the report" });
    }
    super::check::square(&report.classes, &report.confusion, report.test_images, report.comparison.encrypted_correct)
}

fn head(html: &mut String, report: &TrainingReport) {
    let TrainingReport { comparison, run, epochs, .. } = report;
    let _ = write!(
        html,
        "<header>\n<p class=\"kicker\">{} on {} <span>{}</span></p>\n<h1>{}</h1>\n",
        Text(&report.network),
        Text(&report.dataset),
        Text(&run.date),
        Text(&report.title)
    );
    let seconds: f64 = epochs.iter().map(|epoch| epoch.crypto_s + epoch.clear_s).sum();
    let accuracy = Percent { part: comparison.encrypted_correct, whole: report.test_images };
    let same = if comparison.differing == 0 {
        "The weights are those of the same training in the clear, bit by bit.".to_owned()
    } else {
        format!(
            "<strong>{} of {} weights differ from the same training in the clear.</strong>",
            Count(comparison.differing),
            Count(comparison.parameters)
        )
    };
    let _ = writeln!(
        html,
        "<p class=\"abstract\">A client encrypted {} images once and left. A server trained {} on them without seeing any: for \
         every batch it asked an authority for keys that open a few sums of products, and no more than a budget allows. \
         After {} it classifies {accuracy} of {} other images rightly. {same}</p>",
        Count(report.images),
        Text(&report.network),
        if epochs.len() == 1 { "one epoch".to_owned() } else { format!("{} epochs", epochs.len()) },
        Count(report.test_images),
    );
    html.push_str("<dl class=\"figures\">\n");
    let mut figure = |value: String, name: &str| {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    figure(accuracy.to_string(), "right on test images");
    figure(Count(comparison.differing).to_string(), "weights that differ from training in the clear");
    figure(Duration(seconds).to_string(), "training");
    figure(Bytes(report.upload_bytes as f64 / report.images as f64).to_string(), "upload per image");
    let share = report.opened.iter().map(|opened| opened.rank as f64 / opened.dimension.max(1) as f64);
    figure(
        format!("{:.1}&#8239;%", 100.0 * (1.0 - share.map(|share| 1.0 - share).product::<f64>())),
        "of the unknowns' dimensions opened",
    );
    html.push_str("</dl>\n</header>\n");
}

fn learning(html: &mut String, report: &TrainingReport) {
    page::part(
        html,
        "Learning",
        "Each image counts before the update that it causes. Test images are in the clear and were never trained on.",
    );
    let _ = write!(
        html,
        "<figure>\n{}\n<figcaption>Accuracy <span class=\"key client\">before each update</span> <span class=\"key service\">on \
         test images</span></figcaption>\n</figure>\n",
        curve::learning(&report.curve, report.epochs.len() as u32)
    );
    html.push_str(
        "<table class=\"plain\">\n<caption>Epochs.</caption>\n<thead><tr><th scope=\"col\">Epoch</th><th scope=\"col\">Running \
         accuracy</th><th scope=\"col\">Test accuracy</th><th scope=\"col\">Keys and opening</th><th scope=\"col\">All \
         else</th><th scope=\"col\">Keys</th></tr></thead>\n<tbody>\n",
    );
    for (number, epoch) in report.epochs.iter().enumerate() {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            number + 1,
            share(epoch.running_accuracy),
            epoch.test_accuracy.map_or_else(|| "&ndash;".to_owned(), share),
            Duration(epoch.crypto_s),
            Duration(epoch.clear_s),
            Bytes(epoch.key_bytes as f64)
        );
    }
    html.push_str("</tbody>\n</table>\n");
    let caption = "Test images by label (row) and by class found (column).";
    page::confusion_table(html, caption, &report.classes, &report.confusion);
    page::end_part(html);
}

fn share(part: f64) -> String {
    // Never more than it is, as `Percent`.
    format!("{:.2}&#8239;%", (1e4 * part + 1e-6).floor() / 100.0)
}

fn weights(html: &mut String, report: &TrainingReport) {
    let TrainingReport { comparison, .. } = report;
    page::part(
        html,
        "The same weights",
        "The server rounds what it multiplies with the data. Products of integers are exact, whether they are opened from \
         ciphertexts or computed on images in the clear.",
    );
    html.push_str(
        "<table class=\"plain\">\n<caption>Three trainings from the same seed.</caption>\n<thead><tr><th \
         scope=\"col\">Training</th><th scope=\"col\">Test accuracy</th><th scope=\"col\">Weights that \
         differ</th></tr></thead>\n<tbody>\n",
    );
    let accuracy = Percent { part: comparison.encrypted_correct, whole: report.test_images };
    let _ = writeln!(
        html,
        "<tr><th scope=\"row\">On encrypted images</th><td>{accuracy}</td><td class=\"none\">&ndash;</td></tr>\n\
         <tr><th scope=\"row\">On the same images in the clear, same integers</th><td>{}</td><td>{} of {}</td></tr>\n\
         <tr><th scope=\"row\">In the clear, floating point</th><td>{}</td><td class=\"none\">&ndash;</td></tr>",
        if comparison.differing == 0 { accuracy.to_string() } else { "&ndash;".to_owned() },
        Count(comparison.differing),
        Count(comparison.parameters),
        share(comparison.float_accuracy),
    );
    html.push_str("</tbody>\n</table>\n");
    page::end_part(html);
}

fn statement(html: &mut String, report: &TrainingReport) {
    page::part(html, "Who learns what", "What the mode promises, and what it does not.");
    for (heading, lines) in &report.statement {
        let _ = writeln!(html, "<div class=\"statement\"><h3>{}</h3><ul>", Text(heading));
        for line in lines {
            let _ = writeln!(html, "<li>{}</li>", Text(line));
        }
        html.push_str("</ul></div>\n");
    }
    page::end_part(html);
}

fn keys(html: &mut String, report: &TrainingReport) {
    page::part(
        html,
        "What the keys give away",
        "From the authority&#8217;s ledger: the batch of which most is open. Keys combine, so what counts is how many are \
         independent.",
    );
    html.push_str(
        "<table class=\"plain\">\n<caption>Independent functionals issued for one batch.</caption>\n<thead><tr><th \
         scope=\"col\">Opens</th><th scope=\"col\">Issued</th><th scope=\"col\">Limit</th><th \
         scope=\"col\">Unknowns</th></tr></thead>\n<tbody>\n",
    );
    for Opened { what, rank, limit, dimension } in &report.opened {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(what),
            Count(*rank),
            Count(*limit),
            Count(*dimension)
        );
    }
    let _ = write!(
        html,
        "</tbody>\n</table>\n<p>Asked for a third epoch: <em>{}</em>.</p>\n<table class=\"list\">\n<caption>What was agreed \
         on.</caption>\n<tbody>\n",
        Text(&report.refusal)
    );
    for Parameter { name, value } in &report.parameters {
        let _ = writeln!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Text(name), Text(value));
    }
    let _ = writeln!(html, "<tr><th scope=\"row\">Encryption</th><td>{}, once</td></tr>", Duration(report.encrypt_s));
    let _ =
        writeln!(html, "<tr><th scope=\"row\">Upload</th><td>{}, once</td></tr>", Bytes(report.upload_bytes as f64));
    html.push_str("</tbody>\n</table>\n");
    page::end_part(html);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> TrainingReport {
        let point = |at: u32| Point {
            epochs: f64::from(at) / 10.0,
            running_accuracy: 0.3 + f64::from(at) * 0.03,
            test_accuracy: at.is_multiple_of(5).then(|| 0.5 + f64::from(at) * 0.02),
        };
        let epoch = Epoch {
            running_accuracy: 0.6,
            test_accuracy: Some(0.7),
            crypto_s: 1.0,
            clear_s: 0.5,
            key_bytes: 4_000_000,
        };
        TrainingReport {
            title: "Trained without seeing".into(),
            network: "784-32-10".into(),
            dataset: "<digits>".into(),
            images: 512,
            test_images: 30,
            curve: (1..=20).map(point).collect(),
            epochs: vec![epoch, Epoch { test_accuracy: None, ..epoch }],
            comparison: Comparison { parameters: 25_450, differing: 0, encrypted_correct: 27, float_accuracy: 0.91 },
            encrypt_s: 0.1,
            upload_bytes: 3_000_000,
            statement: vec![("server learns".into(), vec!["a & b".into()])],
            opened: vec![Opened { what: "products".into(), rank: 64, limit: 78, dimension: 784 }],
            refusal: "the budget is exhausted".into(),
            parameters: vec![Parameter { name: "Scheme".into(), value: "pad".into() }],
            classes: (0..3).map(|class| class.to_string()).collect(),
            confusion: vec![vec![9, 1, 0], vec![0, 9, 1], vec![1, 0, 9]],
            run: Run {
                version: "0.1.0".into(),
                command: "nightloom train demo".into(),
                machine: "a machine".into(),
                threads: 1,
                date: "2026-11-28".into(),
            },
        }
    }

    #[test]
    fn the_page_says_what_was_measured_and_needs_nothing_else() {
        let html = render_training(&report()).unwrap();
        for wanted in
            ["bit by bit", "&lt;digits&gt;", "a &amp; b", "25,450", "90.00&#8239;%", "the budget is exhausted"]
        {
            assert!(html.contains(wanted), "{wanted}");
        }
        for (open, close) in
            [("<svg", "</svg>"), ("<table", "</table>"), ("<section", "</section>"), ("<div", "</div>")]
        {
            assert_eq!(html.matches(open).count(), html.matches(close).count(), "{open}");
        }
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
        let mut differing = report();
        differing.comparison.differing = 3;
        assert!(render_training(&differing).unwrap().contains("3 of 25,450 weights differ"));
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: &dyn Fn(&mut TrainingReport)| {
            let mut report = report();
            change(&mut report);
            render_training(&report).unwrap_err()
        };
        assert!(matches!(refused(&|report| report.curve[0].running_accuracy = f64::NAN), ReportError::Number { .. }));
        assert!(matches!(refused(&|report| report.curve[0].epochs = 3.0), ReportError::Number { .. }));
        assert!(matches!(refused(&|report| report.epochs[0].crypto_s = -1.0), ReportError::Number { .. }));
        assert!(matches!(refused(&|report| report.test_images = 31), ReportError::ConfusionCount { .. }));
        assert!(matches!(refused(&|report| report.images = 0), ReportError::NoImages { .. }));
        assert!(matches!(refused(&|report| report.classes.clear()), ReportError::Classes { .. }));
    }
}

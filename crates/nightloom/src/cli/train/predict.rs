use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use nightloom::output::largest;
use nightloom::output::{Format, Results};
use nightloom::train::data::{read_raw, read_samples};
use nightloom_fe::learn::Targets;

use super::super::Output;
use super::super::console::{say, warn};
use super::super::destination::{Destination, Finished};
use super::super::error::CliError;
use super::super::figures::{bytes, counted, significant};
use super::error::{AtFile, TrainFailure};
use super::{TargetArguments, read_model};

#[derive(Debug, Args)]
pub struct Predict {
    /// The model, as `train server run` wrote it
    model: PathBuf,
    /// Samples in the clear: as for encryption
    samples: PathBuf,
    #[command(flatten)]
    targets: TargetArguments,
    /// Where to write: .csv, .npy, or - for a table on standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
}

impl Predict {
    pub fn run(self) -> Result<(), CliError> {
        let format = Format::of(&self.output)?;
        let mut out = Destination::text(&self.output, self.force)?;
        let model = read_model(&self.model)?;
        let form = model.agreement().data();
        let (samples, targets) = match self.targets.source() {
            Some(source) => {
                let (samples, targets) = read_raw(&self.samples, Some(&source), form).map_err(TrainFailure::Data)?;
                // Labels of another number of samples are of other samples.
                let found = targets.len();
                if found != samples.len() {
                    let source =
                        nightloom_fe::learn::data::DataError::Counts { samples: samples.len(), targets: found };
                    return Err(TrainFailure::Setting(source).into());
                }
                (samples, Some(targets))
            }
            None => (read_samples(&self.samples, None, form).map_err(TrainFailure::Data)?, None),
        };
        let rows = model.outputs(&samples).map_err(TrainFailure::Data)?;
        let columns = rows.first().map_or(1, Vec::len);
        write_table(&rows.concat(), columns, format, &mut out)?;
        let done = out.finish()?;
        if let Finished::File(path) = &done {
            say(format_args!(
                "wrote {}: {} of {}",
                path.display(),
                counted(rows.len() as u64, "row", "rows"),
                counted(columns as u64, "output", "outputs")
            ))?;
        }
        match targets {
            Some(Targets::Classes { labels, .. }) => {
                let right = rows.iter().zip(&labels).filter(|(row, label)| largest(row) == **label as usize).count();
                let share = 100.0 * right as f64 / labels.len().max(1) as f64;
                done.say(format_args!("{right} of {} right, {share:.2} %", labels.len()))
            }
            Some(Targets::Numbers { values, .. }) => {
                let squares = rows.iter().flatten().zip(&values).map(|(found, wanted)| (found - wanted).powi(2));
                let error = (squares.sum::<f64>() / rows.len().max(1) as f64).sqrt();
                done.say(format_args!("root of the mean squared error: {}", significant(error)))
            }
            None => Ok(()),
        }
    }
}

/// Writes rows of values.
pub fn write_table(values: &[f64], columns: usize, format: Format, out: &mut Destination) -> Result<(), CliError> {
    let results = Results::new(values, columns)?;
    let written = results.write(out, format).and_then(|()| out.flush());
    written.map_err(|source| out.refuses(source))
}

#[derive(Debug, Args)]
pub struct Export {
    /// The trained network, as `train server run` wrote it
    model: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Export {
    pub fn run(self) -> Result<(), CliError> {
        let mut out = self.output.open()?;
        let model = read_model(&self.model)?;
        let onnx = model.onnx().at_file(&self.model)?;
        if let Some(input) = model.takes() {
            warn(format_args!(
                "warning: the exported network takes {input}; only `train predict` takes samples as they are"
            ));
        }
        if let Some(layer) = model.as_network().at_file(&self.model)?.not_polynomial() {
            warn(format_args!(
                "warning: the exported network has a {layer}, which `nightloom compile` cannot evaluate on encrypted data; train with \
                 --activation square for that"
            ));
        }
        if let Err(source) = out.write_all(&onnx) {
            return Err(out.refuses(source));
        }
        let done = out.finish()?;
        done.say(format_args!("wrote {done}: ONNX, {}", bytes(onnx.len() as f64)))
    }
}

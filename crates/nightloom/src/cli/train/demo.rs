use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use nightloom::output::{NewFile, OutputError};
use nightloom::report;
use nightloom::train::demo::{self, ALL_IMAGES, DEFAULT_IMAGES, Demonstration, LEAST_TEST, Options};
use nightloom::train::run::{CurvePoint, EpochFigures};
use nightloom_fe::Scheme;
use serde::Serialize;

use super::super::console::{say, show};
use super::super::demo::command;
use super::super::error::CliError;
use super::super::figures::{bytes, counted, seconds};
use super::super::progress::Bar;
use super::{figures, labelled, scheme, statement};

#[derive(Debug, Args)]
pub struct Demo {
    /// Images to train on, from 2048, in whole batches of 256: the first ones of the MNIST test set. The others, at least 1000,
    /// are for the test
    #[arg(long, value_name = "N", default_value_t = DEFAULT_IMAGES as u32,
          value_parser = clap::value_parser!(u32).range(2048..=(ALL_IMAGES - LEAST_TEST) as i64))]
    images: u32,
    /// The scheme of functional encryption; all but pad take longer
    #[arg(long, default_value = "pad", value_parser = scheme)]
    scheme: Scheme,
    /// Initial weights and the order of the batches follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the HTML report goes; it replaces an earlier one
    #[arg(long, short, value_name = "FILE", default_value = "nightloom-train-demo.html")]
    output: PathBuf,
    /// Write the figures as JSON, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    mode: nightloom_fe::mode::Mode,
    statement: serde_json::Value,
    scheme: String,
    epochs: &'a [EpochFigures],
    curve: &'a [CurvePoint],
    parameters: usize,
    differing_parameters: usize,
    float_test_accuracy: f64,
    encrypt_s: f64,
    quantised_clear_s: f64,
    audit: &'a nightloom_fe::authority::Audit,
    refusal: &'a str,
}

impl Demo {
    pub fn run(self) -> Result<(), CliError> {
        let mut file = NewFile::at(&self.output).replace_existing(true).open()?;
        if !self.json {
            say(nightloom_fe::mode::Mode::Guarded.statement())?;
            say(format_args!(
                "\nEncrypting {}, training 784-32-10 on them for two epochs (scheme {})",
                counted(self.images.into(), "handwritten digit", "handwritten digits"),
                self.scheme
            ))?;
        }
        let mut bar: Option<(&str, Bar)> = None;
        let mut progress = |stage: &'static str, part: f64| {
            if bar.as_ref().is_none_or(|(shown, _)| *shown != stage) {
                bar = Some((stage, Bar::new(stage)));
            }
            if let Some((_, bar)) = &bar {
                bar.at(part);
            }
        };
        let options = Options { images: self.images as usize, scheme: self.scheme, seed: self.seed };
        let demonstration = demo::run(options, &mut progress).map_err(Box::new)?;
        drop(bar);
        let page = report::render_training(&demonstration.report(&command(std::env::args_os().skip(1))))?;
        let written = file.write_all(page.as_bytes());
        written.map_err(|source| OutputError::Write { path: self.output.clone(), source })?;
        file.commit()?;
        if self.json {
            return show(json(&demonstration)?);
        }
        print(&demonstration)?;
        say(format_args!("\nreport: {}", self.output.display()))
    }
}

fn json(demo: &Demonstration) -> Result<String, CliError> {
    let value = Json {
        mode: demo.agreement.terms.mode(),
        statement: statement(demo.agreement.terms.mode()),
        scheme: demo.scheme().to_string(),
        epochs: &demo.figures.epochs,
        curve: &demo.figures.curve,
        parameters: demo.parameters,
        differing_parameters: demo.differing,
        float_test_accuracy: demo.float_accuracy,
        encrypt_s: demo.encrypt_s,
        quantised_clear_s: demo.clear_s,
        audit: &demo.audit,
        refusal: &demo.refusal,
    };
    Ok(serde_json::to_string_pretty(&value)?)
}

fn print(demo: &Demonstration) -> Result<(), CliError> {
    say("\nLearning curve")?;
    let point = |point: &CurvePoint| Some((point.epochs, point.running_accuracy?, point.test_accuracy));
    let points: Vec<_> = demo.figures.curve.iter().filter_map(point).collect();
    for line in figures::curve(&points, 16) {
        say(line)?;
    }
    say("")?;
    figures::epochs(&demo.figures.epochs)?;

    say("\nThe same training without encryption")?;
    labelled("weights that differ", format_args!("{} of {}", demo.differing, demo.parameters))?;
    labelled("test accuracy in floats", format_args!("{:.2} %", 100.0 * demo.float_accuracy))?;
    labelled("time in the clear", seconds(demo.clear_s))?;

    say("\nOnce")?;
    let each = bytes(demo.receipt.bytes as f64 / demo.receipt.samples as f64);
    labelled("encryption (client)", seconds(demo.encrypt_s))?;
    labelled("upload (client)", format_args!("{}, {each} an image", bytes(demo.receipt.bytes as f64)))?;

    say("\nWhat the issued keys give away")?;
    for dataset in &demo.audit.datasets {
        if let Some(worst) = &dataset.worst {
            for (name, found) in [("products of a sample", worst.forward), ("gradients of a batch", worst.gradient)] {
                let text = format!("{} equations of at most {}, {} unknowns", found.rank, found.limit, found.dimension);
                labelled(name, text)?;
            }
        }
    }
    labelled("a third epoch", &demo.refusal)
}

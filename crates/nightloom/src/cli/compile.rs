use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use nightloom::calibration::Calibration;
use nightloom::client::ClientError;
use nightloom::model::{CompileError, CompileOptions, Compiled, compare, compile};
use nightloom::output::{NewFile, NewFolder, OutputError, PendingFile};
use nightloom::samples::{self, SamplesProblem, Scaling};
use nightloom_compiler::explain::{Comparison, Explanation};
use nightloom_compiler::plans::latency::Weights;
use nightloom_compiler::plans::select::{Goal, Objective};
use nightloom_program::InputEncoding;
use nightloom_program::cost::REFERENCE;
use nightloom_program::wire::model_weights_bytes;
use serde::Serialize;

use super::error::CliError;
use super::figures::{counted, seconds, significant};
use super::progress::Bar;
use super::{console, destination, input};

/// Samples that are looked at: the first ones.
const MAX_SAMPLES: usize = 64;
/// The precision that may be asked for, in bits. A ciphertext's primes have at most 50.
const PRECISION: std::ops::RangeInclusive<f64> = 1.0..=50.0;
/// Bytes of a model's name, so that the names of its files fit every file system.
const MAX_NAME: usize = 200;

/// How a model is compiled.
#[derive(Debug, Args)]
pub struct Model {
    /// The ONNX file
    model: PathBuf,
    /// Factor from pixels (0 to 255) to features: a number or a fraction, not zero; 1 for raw pixels
    #[arg(long, value_name = "X", default_value = "1/255", value_parser = factor, allow_hyphen_values = true)]
    input_scale: Fraction,
    /// Added to scaled pixels
    #[arg(long, value_name = "X", default_value = "0", allow_hyphen_values = true)]
    input_offset: Fraction,
    /// Range of the features, LOW..HIGH [default: that of pixels from 0 to 255]
    #[arg(long, value_name = "LOW..HIGH", allow_hyphen_values = true)]
    input_range: Option<Range>,
    /// Bits between the typical largest output and the error bound, 1 to 50
    #[arg(
        long, value_name = "BITS", default_value_t = CompileOptions::DEFAULT_PRECISION_BITS, value_parser = precision,
        allow_hyphen_values = true
    )]
    precision: f64,
    /// Samples like those to be encrypted: the error is bounded for inputs like these [default: pseudo-random inputs]
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// What the plan is chosen for: requests as full as they can be, or one of --batch samples
    #[arg(long, value_enum, default_value = "throughput")]
    optimize: Optimize,
    /// Samples that a request is expected to have [default: a full one for throughput, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Option<u32>,
    /// Most memory that the service may take for a request, in megabytes
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    max_memory: Option<u64>,
    /// What operations take on the service's machine, written there by calibrate --output [default: what calibrate measured
    /// here, or a reference machine]
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// Encrypt the model, too: its owner encrypts NAME.owner for each client, and the service holds no weight. Requests have
    /// --batch samples, 1 unless said otherwise
    #[arg(long)]
    encrypt_model: bool,
    /// log2 of the ring degree, 12 to 16 [default: the smallest that suffices]
    #[arg(long, value_name = "LOG2", value_parser = clap::value_parser!(u32).range(12..=16))]
    log_degree: Option<u32>,
    /// Accept parameters BELOW 128 bits of security at the degree given by --log-degree. Data is then not protected
    #[arg(long, requires = "log_degree")]
    insecure_below_128_bits: bool,
    /// The model's name, and that of its files [default: that of the ONNX file]
    #[arg(long, value_parser = model_name)]
    name: Option<String>,
}

/// What a plan is chosen for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Optimize {
    /// The least time for a sample of a full request
    Throughput,
    /// The least time for a request
    Latency,
    /// The least memory of the service
    Memory,
    /// The fewest bytes of request and response
    Traffic,
}

impl From<Optimize> for Objective {
    fn from(optimize: Optimize) -> Self {
        match optimize {
            Optimize::Throughput => Self::Throughput,
            Optimize::Latency => Self::Latency,
            Optimize::Memory => Self::Memory,
            Optimize::Traffic => Self::Traffic,
        }
    }
}

impl Model {
    fn name(&self) -> Result<String, CliError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let path = || self.model.clone();
        let stem =
            self.model.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| CliError::NoName { path: path() })?;
        model_name(stem).map_err(|problem| CliError::Name { path: path(), problem })
    }

    fn input(&self) -> Result<InputEncoding, CliError> {
        let (scale, offset) = (self.input_scale.0, self.input_offset.0);
        if let Some(Range(low, high)) = self.input_range {
            return Ok(InputEncoding { scale, offset, low, high });
        }
        let (zero, full) = (offset, 255.0 * scale + offset);
        let (low, high) = (zero.min(full), zero.max(full));
        if low < high && high.is_finite() && low.is_finite() {
            Ok(InputEncoding { scale, offset, low, high })
        } else {
            Err(CliError::PixelRange { scale, offset, low, high })
        }
    }

    fn compile(&self, name: String) -> Result<(CompileOptions, Compiled), CliError> {
        let input = self.input()?;
        let calibration = match &self.machine {
            Some(path) => Some(Calibration::read(path)?),
            None => Calibration::kept(),
        };
        let onnx = input::model(&self.model)?;
        let mut options = CompileOptions {
            input,
            precision_bits: self.precision,
            log_degree: self.log_degree,
            insecure: self.insecure_below_128_bits,
            goal: Goal {
                objective: self.optimize.into(),
                batch: self.batch.map(|batch| batch as usize),
                max_memory: self.max_memory.map(|megabytes| megabytes.saturating_mul(1_000_000)),
                weights: if self.encrypt_model { Weights::Encrypted } else { Weights::Clear },
            },
            prices: calibration.map_or(REFERENCE, |calibration| calibration.prices),
            ..CompileOptions::new(name)
        };
        if let Some(path) = &self.samples {
            let wanted = nightloom_compiler::pipeline::load(&onnx)
                .map_err(|error| in_terms(&self.model, error.into()))?
                .input_shape()
                .iter()
                .product();
            options.samples = look_at(path, wanted, input)?;
        }
        let bar = Bar::spinner("planning");
        let compiled = compile(&onnx, &options).map_err(|error| in_terms(&self.model, error));
        drop(bar);
        Ok((options, compiled?))
    }
}

/// The first samples of a file, all of which must be what the model takes.
fn look_at(path: &Path, wanted: usize, input: InputEncoding) -> Result<Vec<Vec<f64>>, CliError> {
    let InputEncoding { scale, offset, low, high } = input;
    let outside = |sample, feature, found| {
        let path = path.to_owned();
        CliError::SampleRange { path, sample, feature, found, low, high }
    };
    let samples = samples::read(path).map_err(|error| match error.problem {
        SamplesProblem::NotFinite { sample, element, found } => outside(sample, element, found),
        _ => error.into(),
    })?;
    let width = samples.shape().iter().product();
    if width != wanted {
        let source = ClientError::Features { found: width, wanted };
        return Err(CliError::Client { path: path.to_owned(), source });
    }
    // The number of features is right, and their order is that of the file: that is all that a flat sample has.
    let features = samples.features(&[width], Scaling { scale, offset })?;
    for chunk in features.chunks(NonZeroUsize::MIN.saturating_add(1023)) {
        if let Some(at) = chunk.values.iter().position(|value| !(low..=high).contains(value)) {
            return Err(outside(chunk.first + at / width, at % width, chunk.values[at]));
        }
    }
    Ok((0..features.len().min(MAX_SAMPLES)).map(|sample| features.row(sample)).collect())
}

/// The error with the names that the model's nodes have, each on one line.
fn in_terms(path: &Path, error: CompileError) -> CliError {
    let error = match error {
        CompileError::Model(mut problems) => {
            for problem in &mut problems.0 {
                problem.node = console::name(&problem.node);
                problem.op = console::name(&problem.op);
            }
            CompileError::Model(problems)
        }
        error => error,
    };
    CliError::Compile { path: path.to_owned(), source: error }
}

fn explanation(compiled: &Compiled) -> Explanation {
    let mut explanation = Explanation::new(&compiled.network, &compiled.plan);
    explanation.notes.iter_mut().for_each(|note| *note = console::name(note));
    explanation.layers.iter_mut().for_each(|layer| layer.name = console::name(&layer.name));
    explanation.operations.iter_mut().for_each(|operation| operation.layer = console::name(&operation.layer));
    explanation
}

#[derive(Debug, Args)]
pub struct Compile {
    #[command(flatten)]
    model: Model,
    /// Folder for NAME.server and NAME.client, and NAME.owner with --encrypt-model, made if missing
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replace existing files
    #[arg(long, short)]
    force: bool,
}

impl Compile {
    pub fn run(self) -> Result<(), CliError> {
        let name = self.model.name()?;
        let path = |end: &str| self.output.join(format!("{name}.{end}"));
        let open = |path: PathBuf| destination::open(&NewFile::at(path).replace_existing(self.force));
        let folder = NewFolder::make(&self.output)?;
        let (mut server, mut client) = (open(path("server"))?, open(path("client"))?);
        let private = || NewFile::at(path("owner")).private().replace_existing(self.force);
        let owner = self.model.encrypt_model.then(|| destination::open(&private())).transpose()?;
        let (options, compiled) = self.model.compile(name.clone())?;
        write(&mut server, &compiled.server_bytes, path("server"))?;
        write(&mut client, &compiled.client_bytes, path("client"))?;
        let mut written = vec![("server", compiled.server_bytes.len()), ("client", compiled.client_bytes.len())];
        let mut files = vec![server, client];
        if let (Some(mut owner), Some(weights)) = (owner, &compiled.weights) {
            let unwritten = |source| OutputError::Write { path: path("owner"), source };
            let bytes = zeroize::Zeroizing::new(model_weights_bytes(weights).map_err(unwritten)?);
            write(&mut owner, &bytes, path("owner"))?;
            written.push(("owner", bytes.len()));
            files.push(owner);
        }
        PendingFile::commit_all(files)?;
        folder.keep();

        let explanation = explanation(&compiled);
        explanation.notes.iter().try_for_each(|note| console::say(format_args!("note: {note}")))?;
        warn_if_insecure(compiled.plan.is_insecure());
        let parameters = &explanation.parameters;
        if options.goal.objective == Objective::Latency && parameters.samples > 1 && options.goal.batch.is_none() {
            console::warn(format_args!(
                "warning: no plan for single samples is as good or possible, so a request of one is as large as one of {}: \
                 `nightloom explain` says why",
                parameters.samples
            ));
        }
        if explanation.error_bound_public_key > explanation.output_magnitude {
            console::say(format_args!(
                "note: encrypted with the public key, outputs may be off by {}, more than a typical output of {}; with the secret \
                 key by {}",
                significant(explanation.error_bound_public_key),
                significant(explanation.output_magnitude),
                significant(explanation.error_bound),
            ))?;
        }
        console::say(format_args!(
            "{}: {} plan, depth {}, {} ring of degree {}, {:.0} bits, {} a batch, about {} a batch on one thread",
            name,
            explanation.plan,
            explanation.depth,
            parameters.ring,
            parameters.degree,
            parameters.log_qp,
            counted(parameters.samples as u64, "sample", "samples"),
            seconds(explanation.predicted_seconds),
        ))?;
        for (end, length) in written {
            let size = counted(length as u64, "byte", "bytes");
            let whose = match end {
                "owner" => ": the weights, for encrypt-model; keep it",
                "server" if compiled.weights.is_some() => ": without weights",
                _ => "",
            };
            console::say(format_args!("wrote {} ({size}){whose}", path(end).display()))?;
        }
        if compiled.weights.is_some() {
            console::say(
                "note: give an encrypted model to the service, never to the client: the client's secret key decrypts it",
            )?;
        }
        Ok(())
    }
}

fn write(file: &mut PendingFile, bytes: &[u8], path: PathBuf) -> Result<(), CliError> {
    let written = std::io::Write::write_all(file, bytes);
    Ok(written.map_err(|source| OutputError::Write { path, source })?)
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    model: Model,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self) -> Result<(), CliError> {
        let (options, compiled) = self.model.compile(self.model.name()?)?;
        warn_if_insecure(compiled.plan.is_insecure());
        let bar = Bar::spinner("comparing");
        let comparison = compare(&compiled.network, &options).map_err(|error| in_terms(&self.model.model, error));
        drop(bar);
        let comparison = comparison?;
        if self.json {
            let explanation = Explanation::new(&compiled.network, &compiled.plan);
            console::show(serde_json::to_string_pretty(&Explained { explanation, comparison })?)
        } else {
            console::show(format_args!("{}\n\n{comparison}", explanation(&compiled)))
        }
    }
}

/// What `explain --json` prints.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    comparison: Comparison,
}

/// Says on standard error that nothing is protected.
pub fn warn_if_insecure(insecure: bool) {
    if insecure {
        console::warn(
            "WARNING: these parameters give LESS THAN 128 BITS of security. Data encrypted under them is not protected.",
        );
    }
}

/// A number, or a fraction of two.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fraction(f64);

impl FromStr for Fraction {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("{text:?} is not a number"));
        let value = match text.split_once('/') {
            Some((numerator, denominator)) => number(numerator)? / number(denominator)?,
            None => number(text)?,
        };
        if value.is_finite() { Ok(Self(value)) } else { Err(format!("{text:?} is not a finite number")) }
    }
}

/// Two numbers in rising order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range(f64, f64);

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once("..").ok_or_else(|| format!("{text:?} is not of the form LOW..HIGH"))?;
        let (low, high) = (low.parse::<Fraction>()?.0, high.parse::<Fraction>()?.0);
        if low < high { Ok(Self(low, high)) } else { Err(format!("{low} is not below {high}")) }
    }
}

/// A fraction that tells pixels apart.
fn factor(text: &str) -> Result<Fraction, String> {
    match text.parse::<Fraction>()? {
        Fraction(0.0) => Err("with a factor of 0 all pixels are the same, wanted another number".to_owned()),
        factor => Ok(factor),
    }
}

fn precision(text: &str) -> Result<f64, String> {
    let wanted = || format!("wanted a number of bits from {} to {}", PRECISION.start(), PRECISION.end());
    text.parse::<f64>().ok().filter(|bits| PRECISION.contains(bits)).ok_or_else(wanted)
}

/// Why a text cannot name a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    #[error("is empty")]
    Empty,
    #[error("begins with a dot or a dash")]
    Start,
    #[error("contains a path separator")]
    Separator,
    #[error("contains a control character")]
    Control,
    #[error("is longer than {MAX_NAME} bytes")]
    Long,
}

/// A name that files can have in any folder, and no other.
fn model_name(text: &str) -> Result<String, NameProblem> {
    if text.is_empty() {
        Err(NameProblem::Empty)
    } else if text.contains(['/', '\\']) {
        Err(NameProblem::Separator)
    } else if text.starts_with(['.', '-']) {
        Err(NameProblem::Start)
    } else if console::name(text) != text {
        Err(NameProblem::Control)
    } else if text.len() > MAX_NAME {
        Err(NameProblem::Long)
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_and_ranges_parse() {
        assert_eq!("1/255".parse(), Ok(Fraction(1.0 / 255.0)));
        assert_eq!("-0.5".parse(), Ok(Fraction(-0.5)));
        assert_eq!("-1..1/2".parse(), Ok(Range(-1.0, 0.5)));
        for bad in ["", "1/0", "x", "1/", "nan"] {
            assert!(bad.parse::<Fraction>().is_err(), "{bad}");
        }
        for bad in ["1", "2..1", "1..1", "..", "0..inf"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn factors_precisions_and_names_are_checked() {
        assert_eq!(factor("-1/255"), Ok(Fraction(-1.0 / 255.0)));
        for bad in ["0", "-0", "0/3", "inf", ""] {
            assert!(factor(bad).is_err(), "{bad}");
        }
        assert_eq!(precision("7.5"), Ok(7.5));
        for bad in ["nan", "inf", "0.9", "-3", "50.1", "x"] {
            assert!(precision(bad).unwrap_err().contains("1 to 50"), "{bad}");
        }
        assert_eq!(model_name("net-2 é.v1"), Ok("net-2 é.v1".to_owned()));
        for (bad, problem) in [
            ("", NameProblem::Empty),
            ("a/b", NameProblem::Separator),
            ("..\\b", NameProblem::Separator),
            ("..", NameProblem::Start),
            ("-f", NameProblem::Start),
            ("a\x1b[2J", NameProblem::Control),
            ("a\0", NameProblem::Control),
            (&"x".repeat(201), NameProblem::Long),
        ] {
            assert_eq!(model_name(bad), Err(problem), "{bad}");
        }
    }
}

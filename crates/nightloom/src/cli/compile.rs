use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use nightloom::client::ClientError;
use nightloom::model::{CompileOptions, Compiled, compare, compile};
use nightloom::output::NewFile;
use nightloom::samples::{self, Scaling};
use nightloom_compiler::explain::{Comparison, Explanation};
use nightloom_compiler::plans::select::{Goal, Objective};
use nightloom_program::InputEncoding;
use serde::Serialize;

use super::error::{At, CliError};

/// Samples that are looked at: the first ones.
const MAX_SAMPLES: usize = 64;

/// How a model is compiled.
#[derive(Debug, Args)]
pub struct Model {
    /// The ONNX file
    model: PathBuf,
    /// Factor from pixels (0 to 255) to features: a number or a fraction; 1 for raw pixels
    #[arg(long, value_name = "X", default_value = "1/255")]
    input_scale: Fraction,
    /// Added to scaled pixels
    #[arg(long, value_name = "X", default_value = "0", allow_hyphen_values = true)]
    input_offset: Fraction,
    /// Range of the features, LOW..HIGH [default: that of pixels from 0 to 255]
    #[arg(long, value_name = "LOW..HIGH", allow_hyphen_values = true)]
    input_range: Option<Range>,
    /// Bits between the typical largest output and the error bound
    #[arg(long, value_name = "BITS", default_value_t = CompileOptions::DEFAULT_PRECISION_BITS)]
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
    /// log2 of the ring degree, 12 to 16 [default: the smallest that suffices]
    #[arg(long, value_name = "LOG2", value_parser = clap::value_parser!(u32).range(12..=16))]
    log_degree: Option<u32>,
    /// Accept parameters BELOW 128 bits of security at the degree given by --log-degree. Data is then not protected
    #[arg(long, requires = "log_degree")]
    insecure_below_128_bits: bool,
    /// The model's name [default: that of the file]
    #[arg(long)]
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
    fn compile(&self) -> Result<(String, CompileOptions, Compiled), CliError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => match self.model.file_stem().and_then(|stem| stem.to_str()) {
                Some(stem) => stem.to_owned(),
                None => return Err(CliError::NoName { found: self.model.clone() }),
            },
        };
        let onnx = std::fs::read(&self.model).at(&self.model)?;
        let (scale, offset) = (self.input_scale.0, self.input_offset.0);
        let pixels = (offset, 255.0 * scale + offset);
        let Range(low, high) = self.input_range.unwrap_or(Range(pixels.0.min(pixels.1), pixels.0.max(pixels.1)));
        let mut options = CompileOptions {
            input: InputEncoding { scale, offset, low, high },
            precision_bits: self.precision,
            log_degree: self.log_degree,
            insecure: self.insecure_below_128_bits,
            goal: Goal {
                objective: self.optimize.into(),
                batch: self.batch.map(|batch| batch as usize),
                max_memory: self.max_memory.map(|megabytes| megabytes.saturating_mul(1_000_000)),
            },
            ..CompileOptions::new(name.clone())
        };
        if let Some(path) = &self.samples {
            let samples = samples::read(path)?;
            // The model checks its own shape: any sample of the right number of features will do here.
            let width = samples.shape().iter().product();
            let features = samples.features(&[width], Scaling { scale, offset })?;
            options.samples = (0..features.len().min(MAX_SAMPLES)).map(|sample| features.row(sample)).collect();
            let wanted = nightloom_compiler::pipeline::load(&onnx)
                .map_err(|error| CliError::Compile { path: self.model.clone(), source: error.into() })?
                .input_shape()
                .iter()
                .product();
            if width != wanted {
                let source = ClientError::Features { found: width, wanted };
                return Err(CliError::Client { path: path.clone(), source });
            }
        }
        let compiled = compile(&onnx, &options).at(&self.model)?;
        Ok((name, options, compiled))
    }
}

#[derive(Debug, Args)]
pub struct Compile {
    #[command(flatten)]
    model: Model,
    /// Folder for NAME.server and NAME.client, made if missing
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replace existing files
    #[arg(long, short)]
    force: bool,
}

impl Compile {
    pub fn run(self) -> Result<(), CliError> {
        let (name, _, compiled) = self.model.compile()?;
        std::fs::create_dir_all(&self.output).at(&self.output)?;
        let file = |end: &str| NewFile::at(self.output.join(format!("{name}.{end}"))).replace_existing(self.force);
        let (server, client) = (file("server"), file("client"));
        server.check()?;
        client.check()?;
        write(&server, &compiled.server_bytes)?;
        write(&client, &compiled.client_bytes)?;
        let explanation = Explanation::new(&compiled.network, &compiled.plan);
        explanation.notes.iter().for_each(|note| println!("note: {note}"));
        warn_if_insecure(compiled.plan.is_insecure());
        let parameters = &explanation.parameters;
        println!(
            "{}: {} plan, depth {}, {} ring of degree {}, {:.0} bits, {} samples a batch, about {:.3} s a batch on one thread",
            name,
            explanation.plan,
            explanation.depth,
            parameters.ring,
            parameters.degree,
            parameters.log_qp,
            parameters.samples,
            explanation.predicted_seconds,
        );
        for (end, bytes) in [("server", &compiled.server_bytes), ("client", &compiled.client_bytes)] {
            println!("wrote {} ({} bytes)", self.output.join(format!("{name}.{end}")).display(), bytes.len());
        }
        Ok(())
    }
}

fn write(file: &NewFile, bytes: &[u8]) -> Result<(), CliError> {
    Ok(file.write(|out| std::io::Write::write_all(out, bytes))?)
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
        let (_, options, compiled) = self.model.compile()?;
        let comparison = compare(&compiled.network, &options).at(&self.model.model)?;
        let explanation = Explanation::new(&compiled.network, &compiled.plan);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&Explained { explanation, comparison })?);
        } else {
            println!("{explanation}\n\n{comparison}");
        }
        warn_if_insecure(compiled.plan.is_insecure());
        Ok(())
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
        eprintln!(
            "WARNING: these parameters give LESS THAN 128 BITS of security. Data encrypted under them is not protected."
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

/// A file's bytes, with its name in the error.
pub fn open(path: &Path) -> Result<std::io::BufReader<std::fs::File>, CliError> {
    Ok(std::io::BufReader::with_capacity(1 << 18, std::fs::File::open(path).at(path)?))
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
}

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nightloom::client::ClientError;
use nightloom::fetch::FetchError;
use nightloom::job::JobError;
use nightloom::model::CompileError;
use nightloom::output::OutputError;
use nightloom::report::ReportError;
use nightloom::samples::SamplesError;
use nightloom::server::ServerError;
use nightloom_he::ParamsId;
use nightloom_ring::RingError;
use nightloom_wire::{DecodeError, Kind};

use super::compile::NameProblem;
use super::figures::exact;
use super::train::TrainFailure;

/// Everything that can end a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Decode { path: PathBuf, source: DecodeError },
    #[error("{path}: {source}")]
    Client { path: PathBuf, source: ClientError },
    #[error("{path}: {source}")]
    Server { path: PathBuf, source: ServerError },
    #[error("{path}: {source}")]
    Compile { path: PathBuf, source: CompileError },
    #[error(transparent)]
    Samples(#[from] SamplesError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Demo(#[from] nightloom::demo::DemoError),
    #[error(transparent)]
    Train(#[from] Box<TrainFailure>),
    #[error(transparent)]
    TrainDemo(#[from] Box<nightloom::train::demo::TrainDemoError>),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Calibration(#[from] nightloom::calibration::CalibrationError),
    #[error(transparent)]
    Bench(#[from] nightloom::bench::BenchError),
    #[error(transparent)]
    Random(#[from] nightloom::RandomError),
    #[error("{path}: ends in no name for a model: give --name NAME")]
    NoName { path: PathBuf },
    #[error("{path}: the name of the file is no name for a model, it {problem}: give --name NAME")]
    Name { path: PathBuf, problem: NameProblem },
    #[error("{path}: more than {} MiB, the limit for ONNX files", limit >> 20)]
    ModelTooLarge { path: PathBuf, limit: usize },
    #[error(
        "--input-scale {} and --input-offset {} make of pixels from 0 to 255 numbers from {} to {}, wanted two finite \
         numbers in rising order", exact(*scale), exact(*offset), exact(*low), exact(*high)
    )]
    PixelRange { scale: f64, offset: f64, low: f64, high: f64 },
    #[error(
        "{path}: sample {sample}, feature {feature} is {}, outside the range of the inputs, {} to {} (give another \
         --input-range, or scale the samples)",
        exact(*found), exact(*low), exact(*high)
    )]
    SampleRange { path: PathBuf, sample: usize, feature: usize, found: f64, low: f64, high: f64 },
    #[error("{path}: exists already and would be overwritten; give --force, or another name")]
    Exists { path: PathBuf },
    #[error(
        "{path}: exists already, and keys are never overwritten: what was encrypted under them would be lost; give \
         another folder"
    )]
    KeyExists { path: PathBuf },
    #[error("standard output: cannot be written: {source}")]
    Stdout { source: std::io::Error },
    #[error("standard output is a terminal and the result is not text: give -o FILE, or a pipe")]
    Terminal,
    #[error("--names goes with a table: give an output that ends in .csv, or - for standard output")]
    NamesWithoutTable,
    #[error("{folder}: holds {names}, but the response has {rows}: give the folder as it was encrypted")]
    NamesDiffer { folder: PathBuf, names: String, rows: String },
    #[error("{path}: damaged or not complete: its header announces {announced} bytes, the file has {found}")]
    Length { path: PathBuf, announced: u64, found: u64 },
    #[error("{path}: this {kind} is for parameters {found}, {owner} has {wanted}: they were not made for each other")]
    OtherParameters { path: PathBuf, kind: Kind, found: ParamsId, owner: PathBuf, wanted: ParamsId },
    #[error("cannot encrypt the model: {0}")]
    Model(#[source] nightloom_he::EvalError),
    #[error(transparent)]
    Threads(#[from] nightloom_program::ThreadsError),
    #[error("{path}: this program takes an encrypted model: give it with --model FILE (made by encrypt-model)")]
    NoModel { path: PathBuf },
    #[error("{path}: this program has its weights: --model is for one that was compiled with --encrypt-model")]
    SurplusModel { path: PathBuf },
    #[error("{path}: this program needs the client's evaluation keys: give them with --keys FILE")]
    NoKeys { path: PathBuf },
    #[error(
        "{path}: its parameters are below 128 bits of security, data under them is not protected; if that is what you \
         want, say --insecure-below-128-bits"
    )]
    Insecure { path: PathBuf },
    #[error("unknown data set '{found}', there are {known}")]
    UnknownDataset { found: String, known: String },
    #[error("cannot make JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<TrainFailure> for CliError {
    fn from(failure: TrainFailure) -> Self {
        Self::Train(Box::new(failure))
    }
}

impl CliError {
    /// Whether all that went wrong is that nobody reads the result any more.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Stdout { source } if source.kind() == ErrorKind::BrokenPipe)
    }
}

/// An error and what lies behind it, each told once.
pub fn with_causes(error: &CliError) -> String {
    let mut told = error.to_string();
    let mut all = told.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        // An error that names a file ends with its cause already.
        let text = cause.to_string();
        if !told.ends_with(&text) {
            all += "\n  because: ";
            all += &text;
        }
        (told, source) = (text, cause.source());
    }
    all
}

/// Names the file in an error.
pub trait At<T> {
    fn at(self, path: &Path) -> Result<T, CliError>;
}

macro_rules! at {
    ($($error:ty => $variant:ident),* $(,)?) => {$(
        impl<T> At<T> for Result<T, $error> {
            fn at(self, path: &Path) -> Result<T, CliError> {
                self.map_err(|source| CliError::$variant { path: path.to_owned(), source })
            }
        }
    )*};
}

at! {
    std::io::Error => Read,
    DecodeError => Decode,
    ClientError => Client,
    ServerError => Server,
    CompileError => Compile,
}

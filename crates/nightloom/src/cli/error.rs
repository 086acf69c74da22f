use std::path::{Path, PathBuf};

use nightloom::client::ClientError;
use nightloom::fetch::FetchError;
use nightloom::job::JobError;
use nightloom::model::CompileError;
use nightloom::output::OutputError;
use nightloom::report::ReportError;
use nightloom::samples::SamplesError;
use nightloom::server::ServerError;
use nightloom_program::ExecuteError;
use nightloom_ring::RingError;
use nightloom_wire::DecodeError;

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
    Report(#[from] ReportError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Bench(#[from] nightloom::bench::BenchError),
    #[error(transparent)]
    Random(#[from] nightloom::RandomError),
    #[error("{found:?} is not a model name: give a path to an .onnx file, or --name NAME")]
    NoName { found: PathBuf },
    #[error(
        "{path}: its parameters are below 128 bits of security, data under them is not protected; if that is what you want, say --insecure-below-128-bits"
    )]
    Insecure { path: PathBuf },
    #[error("{program}: {source}; give the client's evaluation keys by --keys FILE")]
    NoKeys { program: PathBuf, source: ExecuteError },
    #[error("unknown data set {found:?}; there are {known}")]
    UnknownDataset { found: String, known: String },
    #[error("cannot make JSON: {0}")]
    Json(#[from] serde_json::Error),
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

use std::path::{Path, PathBuf};

use nightloom::train::data::DataFileError;
use nightloom::train::model::ModelError;
use nightloom::train::run::RunError;
use nightloom::train::transport::{IdentityError, TransportError};
use nightloom_fe::aggregate::AggregateError;
use nightloom_fe::agreement::AgreementError;
use nightloom_fe::authority::KeeperError;
use nightloom_fe::client::ClientError;
use nightloom_fe::delegate::DelegateError;
use nightloom_fe::learn::data::DataError;
use nightloom_fe::learn::trainer::{CheckpointError, TrainerSpecError};
use nightloom_fe::mode::Mode;
use nightloom_fe::protocol::Role;
use nightloom_fe::server::OracleError;
use nightloom_fe::upload::UploadError;

/// What can end a command of training.
#[derive(Debug, thiserror::Error)]
pub enum TrainFailure {
    #[error("{path}: {source}")]
    AgreementFile { path: PathBuf, source: AgreementError },
    #[error("agreement: {0}")]
    Agreement(#[from] AgreementError),
    #[error("mode {mode} gives the data away, as stated above; if that is what you want, say --accept-leakage")]
    Leakage { mode: Mode },
    #[error("{option} is missing: {wanted}")]
    Missing { option: &'static str, wanted: &'static str },
    #[error("{option} is of no use here: {reason}")]
    Surplus { option: &'static str, reason: &'static str },
    #[error("{path}: exists already, and an authority's files are never overwritten: give another folder")]
    AuthorityExists { path: PathBuf },
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error("{path}: {source}")]
    Identity { path: PathBuf, source: IdentityError },
    #[error("cannot listen at {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("{path}: a token of a {found}, wanted that of a {wanted}")]
    Role { path: PathBuf, found: Role, wanted: Role },
    #[error(transparent)]
    Data(#[from] DataFileError),
    #[error("{}{source}", of_samples(path, source))]
    Client { path: PathBuf, source: ClientError<TransportError> },
    #[error("{path}: {source}")]
    Upload { path: PathBuf, source: UploadError },
    #[error(transparent)]
    Oracle(#[from] OracleError<TransportError>),
    #[error(transparent)]
    Run(#[from] RunError<TransportError>),
    #[error(transparent)]
    Training(#[from] TrainerSpecError),
    #[error(transparent)]
    Setting(#[from] DataError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(
        "{path}: keeps another run, with {what}; remove it to begin anew, or give the options that the run began with"
    )]
    OtherRun { path: PathBuf, what: &'static str },
    #[error("{path}: {source}")]
    Model { path: PathBuf, source: ModelError },
    #[error(
        "the budget of fresh data is for {visits} epochs of a first layer of {units} units, fewer than the {epochs} asked for: wanted a \
         first layer of at most {most} units, or fewer epochs with --epochs"
    )]
    Budget { visits: usize, units: usize, epochs: u32, most: usize },
    #[error("{path}: column '{column}' holds {found}, wanted numbers of magnitude up to the target bound of {bound}")]
    Target { path: PathBuf, column: String, found: String, bound: f64 },
    #[error("{path}: made under agreement {found}, wanted {wanted}")]
    OtherAgreement { path: PathBuf, found: String, wanted: String },
    #[error(transparent)]
    Aggregate(#[from] AggregateError<TransportError>),
    #[error("{path}: {source}")]
    Contribution { path: PathBuf, source: AggregateError },
    #[error("{path}: {source}")]
    Delegate { path: PathBuf, source: DelegateError },
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// The file that an error is about; what an authority says, or does not, is about none.
fn of_samples(path: &Path, error: &ClientError<TransportError>) -> String {
    match error {
        ClientError::Ask(_) => String::new(),
        _ => format!("{}: ", path.display()),
    }
}

/// Names the file in an error of training.
pub trait AtFile<T> {
    fn at_file(self, path: &Path) -> Result<T, TrainFailure>;
}

macro_rules! at_file {
    ($($error:ty => $variant:ident),* $(,)?) => {$(
        impl<T> AtFile<T> for Result<T, $error> {
            fn at_file(self, path: &Path) -> Result<T, TrainFailure> {
                self.map_err(|source| TrainFailure::$variant { path: path.to_owned(), source })
            }
        }
    )*};
}

at_file! {
    AgreementError => AgreementFile,
    IdentityError => Identity,
    ClientError<TransportError> => Client,
    UploadError => Upload,
    ModelError => Model,
    AggregateError => Contribution,
    DelegateError => Delegate,
}

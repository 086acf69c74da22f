//! All parties of a training in one process, with nothing but bytes between them, on digits that come with the program.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use nightloom_fe::agreement::{AgreementError, AgreementSpec, DataForm, Encoding, Labels, Opening, TargetForm, Terms};
use nightloom_fe::authority::{Audit, DirectionAudit, Keeper, KeeperError};
use nightloom_fe::client::{Client, ClientError, Receipt};
use nightloom_fe::learn::data::DataError;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::trainer::{Batches, TrainError, TrainerSpecError};
use nightloom_fe::learn::{
    ClearOracle, Dataset, FirstLayer, FixedPoint, Float, Inputs, Network, NetworkSpec, Seed, Targets, Trainer,
    TrainerSpec,
};
use nightloom_fe::protocol::Role;
use nightloom_fe::server::{EncryptedOracle, OracleError};
use nightloom_fe::upload::{EncryptedDataset, UploadError};
use nightloom_fe::{MasterSeed, Scheme};

use super::run::{CurvePoint, EpochFigures, Figures, RunError, RunOptions, accuracy, train};
use super::setup::{Activation, DEFAULT_BATCH, DENSE_OPTIMIZER, NetworkName, opening, shape};
use super::transport::{SharedAuthority, TransportError, local};
use crate::bench::Machine;
use crate::demo::{test_images, test_labels};
use crate::output::largest;
use crate::report::{Comparison, Epoch, Opened, Parameter, Point, Run, TrainingReport};
use crate::samples::{SampleValues, SamplesError};
use crate::{RandomError, system_rng};

/// Images to train on, unless told otherwise.
pub const DEFAULT_IMAGES: usize = 8192;
/// All embedded images.
pub const ALL_IMAGES: usize = 10_000;
/// Fewest images that are left to try the network on.
pub const LEAST_TEST: usize = 1000;
/// Epochs: as many as the budget allows.
const EPOCHS: u32 = 2;
/// Units of the hidden layer.
const UNITS: usize = 32;
/// The delta of privacy losses.
const DELTA: f64 = 1e-5;
const CLIENT: &str = "hospital";
const SERVER: &str = "trainer";

/// What is demonstrated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Images to train on, in whole batches of 256; the others are for the test.
    pub images: usize,
    /// The scheme.
    pub scheme: Scheme,
    /// Weights, order of the batches.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { images: DEFAULT_IMAGES, scheme: Scheme::Pad, seed: 1 }
    }
}

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainDemoError {
    /// An embedded file is damaged.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// The embedded labels are damaged.
    #[error("embedded labels: {0}")]
    Labels(#[source] std::io::Error),
    /// The samples do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The agreement is none.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// The training is none.
    #[error(transparent)]
    Training(#[from] TrainerSpecError),
    /// No folder for the ledger.
    #[error("no folder for the ledger: {0}")]
    Folder(#[source] std::io::Error),
    /// The authority cannot keep its ledger.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The client could not encrypt.
    #[error("client: {0}")]
    Client(#[from] ClientError<TransportError>),
    /// The upload is not what the server wants.
    #[error("upload: {0}")]
    Upload(#[from] UploadError),
    /// The server cannot open anything.
    #[error("server: {0}")]
    Oracle(#[from] OracleError<TransportError>),
    /// The server could not train.
    #[error("server: {0}")]
    Run(#[from] RunError<TransportError>),
    /// Training in the clear failed.
    #[error("in the clear: {problem}")]
    Clear {
        /// Why.
        problem: String,
    },
    /// The authority issued keys beyond its budget.
    #[error("a third epoch was not refused")]
    NotRefused,
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// How the demonstration went.
#[derive(Debug)]
pub struct Demonstration {
    /// What was agreed on.
    pub agreement: AgreementSpec,
    /// What the server trained.
    pub training: TrainerSpec,
    /// What the client encrypted.
    pub receipt: Receipt,
    /// Seconds of encryption, the authority's keys included.
    pub encrypt_s: f64,
    /// How the training went.
    pub figures: Figures,
    /// Parameters of the network that differ, in any bit, from those of quantised training in the clear.
    pub differing: usize,
    /// Parameters of the network.
    pub parameters: usize,
    /// Seconds of quantised training in the clear.
    pub clear_s: f64,
    /// Test accuracy of training in floating point, without any encryption.
    pub float_accuracy: f64,
    /// Images that the network was tried on.
    pub test_images: usize,
    /// What the authority's ledger says that the keys give away.
    pub audit: Audit,
    /// What the authority answered when the server asked for a third epoch.
    pub refusal: String,
    /// Images by label, then by class found.
    pub confusion: Vec<Vec<u64>>,
    /// The trained network.
    pub network: Network,
}

/// The embedded images that are trained on, and the others.
///
/// # Errors
/// [`TrainDemoError`] if an embedded file is damaged.
pub fn digits(images: usize) -> Result<(Dataset, Dataset), TrainDemoError> {
    let samples = test_images()?;
    let labels: Vec<usize> = test_labels().map_err(TrainDemoError::Labels)?.into_iter().map(usize::from).collect();
    let SampleValues::Pixels(pixels) = samples.values() else { return Err(DataError::Empty.into()) };
    let form = digits_form();
    let inputs = Inputs::from_pixels(form.input, pixels)?;
    Ok(Dataset::new(inputs, Targets::classes(10, &labels)?)?.split_at(images)?)
}

/// Images of 28x28 pixels in ten classes.
pub fn digits_form() -> DataForm {
    DataForm {
        input: shape("28x28").unwrap_or_else(|_| unreachable!("a shape")),
        encoding: Encoding::Pixels,
        norm_bound: None,
        targets: TargetForm::Classes((0..10).map(|class| class.to_string()).collect()),
    }
}

/// Mode `guarded`: 784-32-10 on batches of 256.
pub fn agreement(scheme: Scheme) -> AgreementSpec {
    let opening = Opening { scheme, labels: Labels::Open, ..opening() };
    AgreementSpec { task: "digits".to_owned(), data: digits_form(), terms: Terms::Guarded(opening) }
}

/// How the server trains.
pub fn training() -> TrainerSpec {
    let network: NetworkSpec = NetworkName::Dense(vec![784, UNITS, 10]).spec(digits_form().input, Activation::Sigmoid);
    TrainerSpec {
        network,
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: DENSE_OPTIMIZER,
        batches: Batches::Fixed { size: DEFAULT_BATCH },
        epochs: EPOCHS,
        privacy: None,
    }
}

fn seed(number: u64) -> Seed {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Seed::new(bytes)
}

/// Encrypts, trains, compares, audits. `progress` is told what is done, and its part from 0 to 1.
///
/// # Errors
/// [`TrainDemoError`].
pub fn run(options: Options, progress: &mut dyn FnMut(&'static str, f64)) -> Result<Demonstration, TrainDemoError> {
    let images = options.images.clamp(DEFAULT_BATCH, ALL_IMAGES - LEAST_TEST) / DEFAULT_BATCH * DEFAULT_BATCH;
    let (data, test) = digits(images)?;
    let folder = tempfile::tempdir().map_err(TrainDemoError::Folder)?;

    // The authority, with its seed and its ledger.
    let spec = agreement(options.scheme);
    let agreed = Arc::new(spec.clone().validate()?);
    let ledger = folder.path().join("ledger");
    let mut rng = system_rng()?;
    let mut keeper = Keeper::found(&ledger, agreed.clone(), MasterSeed::generate(&mut rng))?;
    let client_token = Arc::new(keeper.enrol(Role::Client, CLIENT, Vec::new())?);
    let server_token = Arc::new(keeper.enrol(Role::Server, SERVER, Vec::new())?);
    let authority = SharedAuthority::new(keeper, system_rng()?);

    // The client encrypts, and leaves.
    let start = Instant::now();
    let mut client = Client::new(local(&authority, client_token));
    let mut encrypting = |done: usize, all: usize| progress("encrypting", done as f64 / all as f64);
    let (upload, receipt) = client.encrypt(&data, &mut rng, Cursor::new(Vec::new()), &mut encrypting)?;
    let encrypt_s = start.elapsed().as_secs_f64();

    // The server trains on what it cannot read.
    let uploads = vec![EncryptedDataset::open(upload, &agreed)?];
    let oracle = EncryptedOracle::new(local(&authority, server_token), uploads)?;
    let fixed_point = agreed.opening()?.fixed_point;
    let mut first = FixedPoint::new(oracle, fixed_point)?;
    let training = training();
    let mut trainer = Trainer::new(training.clone(), receipt.samples, seed(options.seed))?;
    let run_options = RunOptions { test: Some(&test), test_often: true, checkpoint: None };
    let figures = train(&mut trainer, &mut first, &run_options, &mut |part| progress("training", part))?;

    // A third epoch is beyond the budget.
    let again = TrainerSpec { epochs: 1, ..training.clone() };
    let mut third = Trainer::with_network(again, receipt.samples, seed(options.seed + 1), trainer.network().clone())?;
    let refusal = match third.step(&mut first) {
        Err(TrainError::FirstLayer(error)) => error.to_string(),
        Err(error) => return Err(RunError::from(error).into()),
        Ok(()) => return Err(TrainDemoError::NotRefused),
    };

    // The same training in the clear, on the samples as they were encrypted.
    let arranged = client.arrange(&data)?.data;
    let architecture = training.network.validate().map_err(TrainerSpecError::from)?;
    let target_bits = agreed.opening()?.target_bits;
    let start = Instant::now();
    let mut clear = FixedPoint::new(ClearOracle::new(&architecture, &arranged, target_bits)?, fixed_point)?;
    let clear = in_the_clear(&training, &mut clear, arranged.len(), options.seed)?;
    let clear_s = start.elapsed().as_secs_f64();
    let pairs = || trainer.network().values().zip(clear.network().values());
    let float = in_the_clear(&training, &mut Float::new(&architecture, &arranged), arranged.len(), options.seed)?;

    let head = authority.with(|keeper| keeper.authority().head());
    let audit = authority.with(|keeper| Audit::of(keeper.authority().ledger(), head, 0, DELTA));
    Ok(Demonstration {
        agreement: spec,
        receipt,
        encrypt_s,
        figures,
        differing: pairs().filter(|(a, b)| a.to_bits() != b.to_bits()).count(),
        parameters: pairs().count(),
        clear_s,
        float_accuracy: accuracy(&float, &test),
        test_images: test.len(),
        audit,
        refusal,
        confusion: confusion(trainer.network(), &test),
        training,
        network: trainer.into_network(),
    })
}

fn in_the_clear<F: FirstLayer>(
    training: &TrainerSpec,
    first: &mut F,
    samples: usize,
    number: u64,
) -> Result<Trainer, TrainDemoError> {
    let mut trainer = Trainer::new(training.clone(), samples, seed(number))?;
    let run = trainer.run(first, |_| std::ops::ControlFlow::Continue(()));
    run.map_err(|error| TrainDemoError::Clear { problem: error.to_string() })?;
    Ok(trainer)
}

fn confusion(network: &Network, test: &Dataset) -> Vec<Vec<u64>> {
    let indices: Vec<usize> = (0..test.len()).collect();
    let outputs = network.outputs(test.inputs().real(&indices).view());
    let mut confusion = vec![vec![0; 10]; 10];
    for (output, target) in outputs.rows().into_iter().zip(test.targets().rows(&indices).rows()) {
        let (output, target) = (output.to_vec(), target.to_vec());
        confusion[largest(&target)][largest(&output)] += 1;
    }
    confusion
}

impl Demonstration {
    /// The report of this run, for [`render_training`](crate::report::render_training).
    pub fn report(&self, command: &str) -> TrainingReport {
        let point = |point: &CurvePoint| {
            let (epochs, test_accuracy) = (point.epochs, point.test_accuracy);
            Some(Point { epochs, running_accuracy: point.running_accuracy?, test_accuracy })
        };
        let epoch = |epoch: &EpochFigures| {
            Some(Epoch {
                running_accuracy: epoch.running_accuracy?,
                test_accuracy: epoch.test_accuracy,
                crypto_s: epoch.crypto_s,
                clear_s: epoch.clear_s,
                key_bytes: epoch.key_bytes,
            })
        };
        let statement = self.agreement.terms.mode().statement();
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let worst = self.audit.datasets.iter().find_map(|dataset| dataset.worst.as_ref());
        let opened = |what: &str, direction: DirectionAudit| Opened {
            what: what.to_owned(),
            rank: direction.rank as u64,
            limit: direction.limit as u64,
            dimension: direction.dimension as u64,
        };
        let row = |name: &str, value: String| Parameter { name: name.to_owned(), value };
        let machine = Machine::this();
        TrainingReport {
            title: "Trained without seeing".to_owned(),
            network: format!("784-{UNITS}-10"),
            dataset: "MNIST digits".to_owned(),
            images: self.receipt.samples as u64,
            test_images: self.test_images as u64,
            curve: self.figures.curve.iter().filter_map(point).collect(),
            epochs: self.figures.epochs.iter().filter_map(epoch).collect(),
            comparison: Comparison {
                parameters: self.parameters as u64,
                differing: self.differing as u64,
                encrypted_correct: self.correct(),
                float_accuracy: self.float_accuracy,
            },
            encrypt_s: self.encrypt_s,
            upload_bytes: self.receipt.bytes,
            statement: vec![
                ("The server learns".to_owned(), lines(statement.server)),
                ("What stays hidden, and how far".to_owned(), lines(statement.hidden)),
                ("The authority learns".to_owned(), lines(statement.authority)),
                ("Clients learn".to_owned(), lines(statement.clients)),
            ],
            opened: worst.map_or_else(Vec::new, |worst| {
                vec![
                    opened("products of the first layer with a sample", worst.forward),
                    opened("the first layer's gradient, of a feature over the batch", worst.gradient),
                ]
            }),
            refusal: self.refusal.clone(),
            parameters: vec![
                row("Mode", self.agreement.terms.mode().to_string()),
                row("Scheme", self.scheme().to_string()),
                row("Batch", format!("{DEFAULT_BATCH} images under keys of their own")),
                row(
                    "Labels",
                    "open to the server in this demonstration; randomised unless agreed otherwise".to_owned(),
                ),
                row(
                    "Parties",
                    "client, authority and server in one process, nothing but bytes between them".to_owned(),
                ),
            ],
            classes: (0..10).map(|class| class.to_string()).collect(),
            confusion: self.confusion.clone(),
            run: Run {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                command: command.to_owned(),
                machine: format!("{}, {} processors, {}", machine.cpu, machine.cores, machine.features.join(" ")),
                threads: 1,
                date: crate::bench::today(),
            },
        }
    }

    /// Test images that the network gets right.
    pub fn correct(&self) -> u64 {
        self.confusion.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        match &self.agreement.terms {
            Terms::Guarded(opening) | Terms::Cryptonn(opening) | Terms::Delegate(opening) => opening.scheme,
            Terms::Aggregate(_) => Scheme::Pad,
        }
    }
}

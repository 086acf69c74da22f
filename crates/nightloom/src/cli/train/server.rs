use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use nightloom::output::{NewFile, OutputError, PendingFile};
use nightloom::samples::{self, Scaling};
use nightloom::system_rng;
use nightloom::train::data::{TargetSource, read_dataset};
use nightloom::train::model::{Model, ModelError};
use nightloom::train::run::{Figures, RunError, RunOptions, train};
use nightloom::train::setup::NetworkName;
use nightloom_fe::aggregate::{Contribution, first_network, next_network, open_sum};
use nightloom_fe::agreement::{Agreement, AgreementId, ContributionForm, Labels};
use nightloom_fe::delegate::multiply;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::PrivacySpec;
use nightloom_fe::learn::trainer::{Batches, load};
use nightloom_fe::learn::{Dataset, FixedPoint, Seed, Trainer, TrainerSpec};
use nightloom_fe::mode::Mode;
use nightloom_fe::protocol::{EnrolmentToken, Role, RoundId};
use nightloom_fe::server::EncryptedOracle;
use nightloom_fe::upload::EncryptedDataset;
use nightloom_wire::Kind;
use sha2::{Digest, Sha256};

use super::super::console::{say, show, warn};
use super::super::destination::open as open_output;
use super::super::error::{At, CliError};
use super::super::figures::{bytes, counted, significant};
use super::super::input::open;
use super::super::progress::Bar;
use super::agreement::{ActivationName, Numbers, numbers};
use super::error::{AtFile, TrainFailure};
use super::{Authority, Consent, figures, labelled, read_model, read_token, seed, statement};

#[derive(Debug, Subcommand)]
pub enum Server {
    /// Train on uploads; or open the sum of contributions; or multiply an upload with weights: as the token's mode has it
    Run(Box<Run>),
}

impl Server {
    pub fn run(self) -> Result<(), CliError> {
        match self {
            Self::Run(run) => run.run(),
        }
    }
}

#[derive(Debug, Args)]
pub struct Run {
    /// The server's enrolment token
    token: PathBuf,
    /// What clients sent: uploads; contributions in mode aggregate, none of them to begin a network
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    authority: OptionalAuthority,
    /// The model to write; in mode delegate, the products for the client
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
    /// The network: sizes of dense layers, or lenet5
    #[arg(long, value_name = "NETWORK", help_heading = "Training")]
    network: Option<NetworkName>,
    /// Between dense layers [default: sigmoid]
    #[arg(long, value_enum, help_heading = "Training")]
    activation: Option<ActivationName>,
    /// Passes over the data; the authority's budget is for two with 256 samples a batch and 32 units [default: 2]
    #[arg(long, value_name = "N", help_heading = "Training")]
    epochs: Option<u32>,
    /// Learning rate in the first epoch, for the mean gradient of a batch [default: 1; of lenet5 0.001]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    rate: Option<f64>,
    /// Factor of the rate from one epoch to the next [default: 0.3; of lenet5 1]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    decay: Option<f64>,
    /// Momentum [default: 0.9; of lenet5 0]
    #[arg(long, value_name = "PART", help_heading = "Training")]
    momentum: Option<f64>,
    /// Differential privacy of the trained network: CLIP,NOISE
    #[arg(long, value_name = "DP", value_parser = numbers, help_heading = "Training")]
    dp: Option<Numbers>,
    /// Initial weights and order of batches follow from it [default: from the system]
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,
    /// Samples in the clear to try the network on after every epoch
    #[arg(long, value_name = "FILE", requires = "test_labels", help_heading = "Training")]
    test: Option<PathBuf>,
    /// Their labels: a file, or the column of the table
    #[arg(long, value_name = "FILE", requires = "test", help_heading = "Training")]
    test_labels: Option<String>,
    /// Keep the run after so many seconds at the latest, to go on with after an interruption; 0 keeps it after every step
    /// [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = pause, help_heading = "Training")]
    checkpoint_every: Option<f64>,
    /// The network that the round began with, in mode aggregate
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Weights to multiply with in mode delegate: .npy of float64, a row a product
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Write the figures as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    consent: Consent,
}

/// The way to the authority, unless the mode needs none.
#[derive(Debug, Args)]
struct OptionalAuthority {
    /// The authority: https://HOST:PORT, or the path of its socket on this machine
    #[arg(long, value_name = "ADDRESS")]
    authority: Option<nightloom::train::transport::Address>,
    /// How long to try again after a lost connection
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    retry: u64,
}

impl OptionalAuthority {
    fn wanted(&self) -> Result<Authority, TrainFailure> {
        let wanted = "give the authority's address";
        let authority = self.authority.clone().ok_or(TrainFailure::Missing { option: "--authority", wanted })?;
        Ok(Authority { authority, retry: self.retry })
    }
}

fn pause(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("wanted a number of seconds from 0".to_owned()),
    }
}

/// Whether something was made under the agreement of the token.
pub fn same_agreement(path: &Path, found: AgreementId, wanted: AgreementId) -> Result<(), TrainFailure> {
    if found == wanted {
        return Ok(());
    }
    let (found, wanted) = (found.to_string(), wanted.to_string());
    Err(TrainFailure::OtherAgreement { path: path.to_owned(), found, wanted })
}

impl Run {
    pub fn run(self) -> Result<(), CliError> {
        let token = read_token(&self.token, Role::Server)?;
        let mode = token.agreement.mode();
        self.consent.state(mode, self.json)?;
        self.fits(mode)?;
        let out = open_output(&NewFile::at(&self.output).replace_existing(self.force))?;
        match mode {
            Mode::Guarded | Mode::Cryptonn => self.train(&token, out),
            Mode::Aggregate => self.aggregate(&token, out),
            Mode::Delegate => self.delegate(&token, out),
        }
    }

    /// Whether every option is for this mode.
    fn fits(&self, mode: Mode) -> Result<(), TrainFailure> {
        let (trains, aggregates) = (matches!(mode, Mode::Guarded | Mode::Cryptonn), mode == Mode::Aggregate);
        let elsewhere = match mode {
            Mode::Aggregate => "in mode aggregate clients train, as the agreement has it",
            Mode::Delegate => "in mode delegate nothing is trained",
            Mode::Guarded | Mode::Cryptonn => "it is for another mode than the token's",
        };
        for (option, given, right) in [
            ("--weights", self.weights.is_some(), mode == Mode::Delegate),
            ("--model", self.model.is_some(), aggregates),
            ("--network", self.network.is_some(), trains),
            ("--activation", self.activation.is_some(), trains),
            ("--epochs", self.epochs.is_some(), trains),
            ("--rate", self.rate.is_some(), trains),
            ("--decay", self.decay.is_some(), trains),
            ("--momentum", self.momentum.is_some(), trains),
            ("--dp", self.dp.is_some(), trains),
            ("--checkpoint-every", self.checkpoint_every.is_some(), trains),
            ("--seed", self.seed.is_some(), trains || aggregates),
            ("--test", self.test.is_some(), trains || aggregates),
        ] {
            if given && !right {
                return Err(TrainFailure::Surplus { option, reason: elsewhere });
            }
        }
        Ok(())
    }

    fn uploads(&self, agreement: &Arc<Agreement>) -> Result<Vec<EncryptedDataset<File>>, CliError> {
        if self.inputs.is_empty() {
            return Err(TrainFailure::Missing { option: "UPLOAD", wanted: "give what clients encrypted" }.into());
        }
        let open = |path: &PathBuf| -> Result<_, CliError> {
            let file = File::open(path).at(path)?;
            Ok(EncryptedDataset::open(file, agreement).at_file(path)?)
        };
        self.inputs.iter().map(open).collect()
    }

    fn train(&self, token: &Arc<EnrolmentToken>, out: PendingFile) -> Result<(), CliError> {
        let agreement = token.agreement.clone();
        let uploads = self.uploads(&agreement)?;
        let test = self.test(&agreement)?;
        let spec = self.spec(&agreement)?;
        agreement.check_network(&spec.network).map_err(TrainFailure::Agreement)?;
        let architecture = spec.network.validate().map_err(|error| TrainFailure::Training(error.into()))?;
        let samples = uploads.iter().map(EncryptedDataset::samples).sum();
        let checkpoint = checkpoint_path(&self.output, &agreement, &uploads, self.seed);
        let (units, epochs) = (architecture.first_units(), spec.epochs);
        let (mut trainer, resumed) = self.trainer(spec, samples, &checkpoint)?;
        let now = trainer.progress();
        if resumed && !self.json {
            let epochs = counted(now.epoch.into(), "epoch", "epochs");
            say(format_args!("\ngoing on after {epochs} and {} of {} steps", now.step, now.steps))?;
        }
        // Keys that are asked for are gone: none for a run that cannot end.
        let visits = agreement.visits(units).filter(|visits| now.epoch < epochs && *visits < epochs as usize);
        if let Some(visits) = visits {
            let most = agreement.largest_first_layer(epochs as usize).unwrap_or(0);
            return Err(TrainFailure::Budget { visits, units, epochs, most }.into());
        }
        let oracle = EncryptedOracle::new(self.authority.wanted()?.session(token)?, uploads);
        let oracle = oracle.map_err(TrainFailure::Oracle)?;
        let fixed_point = agreement.opening().map_err(TrainFailure::Agreement)?.fixed_point;
        let mut first = FixedPoint::new(oracle, fixed_point).map_err(TrainFailure::Setting)?;
        let options = RunOptions {
            test: test.as_ref(),
            test_often: false,
            checkpoint: Some((checkpoint.clone(), Duration::from_secs_f64(self.checkpoint_every.unwrap_or(10.0)))),
        };
        let bar = Bar::new("training");
        let trained = train(&mut trainer, &mut first, &options, &mut |part| bar.at(part));
        drop(bar);
        if checkpoint.exists() {
            let path = checkpoint.display();
            match &trained {
                Ok(_) => {}
                Err(RunError::Budget(_)) => warn(format_args!(
                    "the run is kept in {path}: the same command with --epochs {} writes the network as it stands",
                    trainer.progress().epoch
                )),
                Err(_) => warn(format_args!("the run is kept in {path}: the same command goes on with it")),
            }
        }
        if let Some(advice) = trained.as_ref().err().and_then(RunError::advice) {
            warn(format_args!("note: {advice}"));
        }
        let found = trained.map_err(TrainFailure::Run)?;
        let model = Model::network(&agreement, trainer.network().clone(), None);
        self.write(&model.at_file(&self.output)?, out)?;
        // What it is for is done; it holds the seed.
        let _ = std::fs::remove_file(&checkpoint);
        self.tell(&trainer, &agreement, &found)
    }

    fn spec(&self, agreement: &Agreement) -> Result<TrainerSpec, CliError> {
        let wanted = "give the sizes of the layers, such as 784-32-10, or lenet5";
        let name = self.network.as_ref().ok_or(TrainFailure::Missing { option: "--network", wanted })?;
        let opening = agreement.opening().map_err(TrainFailure::Agreement)?;
        let privacy = match self.dp.as_ref().map(|Numbers(numbers)| numbers.as_slice()) {
            None => None,
            Some([clip, noise]) => Some(PrivacySpec { clip: *clip, noise_multiplier: *noise }),
            Some(_) => {
                return Err(TrainFailure::Missing { option: "--dp", wanted: "two numbers, CLIP,NOISE" }.into());
            }
        };
        let optimizer = name.optimizer();
        Ok(TrainerSpec {
            network: name
                .spec(agreement.data().trained_input(), self.activation.unwrap_or(ActivationName::Sigmoid).into()),
            loss: agreement.data().targets.loss(),
            optimizer: OptimizerSpec {
                learning_rate: self.rate.unwrap_or(optimizer.learning_rate),
                decay: self.decay.unwrap_or(optimizer.decay),
                momentum: self.momentum.unwrap_or(optimizer.momentum),
            },
            batches: Batches::Fixed { size: opening.batch },
            epochs: self.epochs.unwrap_or(2),
            privacy,
        })
    }

    /// The run that was interrupted, or a new one.
    fn trainer(&self, spec: TrainerSpec, samples: usize, checkpoint: &Path) -> Result<(Trainer, bool), CliError> {
        let other = |what| TrainFailure::OtherRun { path: checkpoint.to_owned(), what };
        if !checkpoint.exists() {
            let seed = self.new_seed()?;
            return Ok((Trainer::new(spec, samples, seed).map_err(TrainFailure::Training)?, false));
        }
        let trainer = load(checkpoint).map_err(TrainFailure::Checkpoint)?;
        // A run may end earlier or later than it was meant to.
        let epochs = spec.epochs;
        let ended = TrainerSpec { epochs: trainer.spec().epochs, ..spec };
        if trainer.spec() != &ended {
            return Err(other("another network or other settings").into());
        }
        Ok((trainer.with_epochs(epochs), true))
    }

    fn new_seed(&self) -> Result<Seed, CliError> {
        Ok(match self.seed {
            Some(number) => seed(number),
            None => Seed::random(&mut system_rng()?),
        })
    }

    fn test(&self, agreement: &Agreement) -> Result<Option<Dataset>, CliError> {
        let (Some(path), Some(labels)) = (&self.test, &self.test_labels) else { return Ok(None) };
        let source = if Path::new(labels).exists() {
            TargetSource::File(labels.into())
        } else {
            TargetSource::Column(labels.clone())
        };
        Ok(Some(read_dataset(path, Some(&source), agreement).map_err(TrainFailure::Data)?))
    }

    fn write(&self, model: &Model, mut out: PendingFile) -> Result<(), CliError> {
        let written = model.write(&mut out);
        written.map_err(|source| OutputError::Write { path: self.output.clone(), source })?;
        Ok(out.commit()?)
    }

    fn tell(&self, trainer: &Trainer, agreement: &Agreement, found: &Figures) -> Result<(), CliError> {
        const DELTA: f64 = 1e-5;
        let epsilon = trainer.accountant().map(|accountant| accountant.epsilon(DELTA).epsilon);
        if self.json {
            let json = serde_json::json!({
                "mode": agreement.mode(),
                "statement": statement(agreement.mode()),
                "scheme": agreement.opening().map(|opening| opening.scheme.to_string()).ok(),
                "epochs": found.epochs,
                "curve": found.curve,
                "epsilon": epsilon,
                "delta": epsilon.map(|_| DELTA),
            });
            return show(serde_json::to_string_pretty(&json)?);
        }
        say("")?;
        figures::epochs(&found.epochs)?;
        if let Some(up) = found.epochs.last().map(|epoch| epoch.bytes_up) {
            labelled("uploads", bytes(up as f64))?;
        }
        if let Some(epsilon) = epsilon {
            let text = format!("epsilon {} at delta {DELTA}, of the network", significant(epsilon));
            labelled("privacy of a sample", text)?;
        }
        if agreement.opening().is_ok_and(|opening| matches!(opening.labels, Labels::Randomized { .. })) {
            say("note: running accuracy is on labels of which some are random")?;
        }
        say(format_args!("\nwrote {}: for train predict and train export", self.output.display()))
    }

    fn aggregate(&self, token: &Arc<EnrolmentToken>, out: PendingFile) -> Result<(), CliError> {
        let agreement = token.agreement.clone();
        let aggregation = agreement.aggregation().map_err(TrainFailure::Agreement)?;
        let is_network = matches!(aggregation.contribution, ContributionForm::Updates(_));
        let begun = match (&self.model, is_network) {
            (Some(path), true) => {
                let model = read_model(path)?;
                same_agreement(path, model.agreement().id(), agreement.id())?;
                Some((model.as_network().at_file(path)?.clone(), model.round().unwrap_or(0)))
            }
            (Some(_), false) => {
                return Err(TrainFailure::Surplus { option: "--model", reason: "counts are of no network" }.into());
            }
            (None, true) if self.inputs.is_empty() => {
                let network = first_network(&agreement, &self.new_seed()?).map_err(TrainFailure::Agreement)?;
                self.write(&Model::network(&agreement, network, Some(0)).at_file(&self.output)?, out)?;
                if self.json {
                    let mode = agreement.mode();
                    let json = serde_json::json!({ "mode": mode, "statement": statement(mode), "round": 0 });
                    return show(serde_json::to_string_pretty(&json)?);
                }
                return say(format_args!("\nwrote {}: the network of round 0, for all clients", self.output.display()));
            }
            (None, true) => {
                let wanted = "give the network that the round began with";
                return Err(TrainFailure::Missing { option: "--model", wanted }.into());
            }
            (None, false) => None,
        };
        let read = |path: &PathBuf| Contribution::read(open(path, Kind::Contribution)?).at(path);
        let contributions = self.inputs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let round = begun.as_ref().map_or(RoundId::COUNTS, |(network, round)| RoundId::of(*round, network));
        let mut session = self.authority.wanted()?.session(token)?;
        let sums = open_sum(&mut session, round, &contributions).map_err(TrainFailure::Aggregate)?;
        let count = counted(contributions.len() as u64, "contribution", "contributions");
        let model = match begun {
            Some((network, round)) => {
                let next = next_network(&agreement, &network, &sums).at_file(&self.output)?;
                Model::network(&agreement, next, Some(round.saturating_add(1)))
            }
            None => Model::counts(&agreement, sums),
        };
        let model: Result<Model, ModelError> = model;
        let model = model.at_file(&self.output)?;
        let round = model.round();
        let targets = &agreement.data().targets;
        let tested = match (self.test(&agreement)?, model.as_network()) {
            (Some(test), Ok(network)) => Some(network.evaluate(&test, targets.loss())),
            _ => None,
        };
        let classes = targets.are_classes();
        let accuracy = tested.filter(|_| classes).map(|tested| tested.accuracy());
        self.write(&model, out)?;
        if self.json {
            let json = serde_json::json!({
                "mode": agreement.mode(), "statement": statement(agreement.mode()), "round": round,
                "contributions": contributions.len(), "test_accuracy": accuracy,
                "test_loss": tested.map(|tested| tested.loss),
            });
            return show(serde_json::to_string_pretty(&json)?);
        }
        let round = round.map_or_else(String::new, |round| format!(", the network of round {round}"));
        say(format_args!("\nwrote {}: the sum of {count}{round}", self.output.display()))?;
        tested.map_or(Ok(()), |tested| {
            let name = if classes { "test accuracy" } else { "test error" };
            labelled(name, figures::score(accuracy, tested.loss))
        })
    }

    fn delegate(&self, token: &Arc<EnrolmentToken>, mut out: PendingFile) -> Result<(), CliError> {
        let agreement = token.agreement.clone();
        let wanted = "give the weights, a row a product";
        let path = self.weights.as_ref().ok_or(TrainFailure::Missing { option: "--weights", wanted })?;
        let [upload] = &mut self.uploads(&agreement)?[..] else {
            let reason = "products are of one client's upload at a time";
            return Err(TrainFailure::Surplus { option: "a second upload", reason }.into());
        };
        let rows = samples::read(path)?;
        let width = agreement.data().trained_input().len();
        let features = rows.features(&[width], Scaling { scale: 1.0, offset: 0.0 })?;
        let values = features.rows(0..features.len());
        let weights = ndarray::ArrayView2::from_shape((features.len(), width), &values);
        let weights = weights.map_err(|_| TrainFailure::Missing { option: "--weights", wanted })?;
        let products = multiply(&agreement, upload, weights).at_file(&self.inputs[0])?;
        let written = products.write(&mut out).and_then(|()| out.flush());
        written.map_err(|source| OutputError::Write { path: self.output.clone(), source })?;
        out.commit()?;
        if self.json {
            let json = serde_json::json!({
                "mode": agreement.mode(), "statement": statement(agreement.mode()), "client": products.client(),
                "samples": products.samples(), "products": features.len(),
            });
            return show(serde_json::to_string_pretty(&json)?);
        }
        say(format_args!(
            "\nwrote {}: {} with {}, still under pads, for the client '{}'",
            self.output.display(),
            counted(products.samples() as u64, "sample", "samples"),
            counted(features.len() as u64, "row of weights", "rows of weights"),
            products.client(),
        ))
    }
}

/// Where a run over these uploads from this seed is kept: another name for others, so that no run goes on with them.
fn checkpoint_path(
    output: &Path,
    agreement: &Agreement,
    uploads: &[EncryptedDataset<File>],
    seed: Option<u64>,
) -> PathBuf {
    let mut hash = Sha256::new_with_prefix(agreement.id().0);
    hash.update([u8::from(seed.is_some())]);
    hash.update(seed.unwrap_or_default().to_le_bytes());
    for upload in uploads {
        hash.update((upload.client().len() as u64).to_le_bytes());
        hash.update(upload.client().as_bytes());
        hash.update(upload.dataset().0);
    }
    let digest = hash.finalize();
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{:02x}{:02x}{:02x}{:02x}.checkpoint", digest[0], digest[1], digest[2], digest[3]));
    PathBuf::from(name)
}

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nightloom::output::{Format, NewFile, OutputError, Results};
use nightloom::system_rng;
use nightloom::train::data::{read_dataset, read_raw, read_unlabelled};
use nightloom_fe::aggregate::{Contribution, count_rows, train_round};
use nightloom_fe::agreement::{AgreementError, ContributionForm};
use nightloom_fe::client::Client as Encryptor;
use nightloom_fe::delegate::MaskedProducts;
use nightloom_fe::learn::{Seed, Targets};
use nightloom_fe::mode::Mode;
use nightloom_fe::protocol::{Role, RoundId};
use nightloom_wire::Kind;

use super::super::console::{say, show, warn};
use super::super::destination::{Destination, Finished, open as open_output};
use super::super::error::{At, CliError};
use super::super::figures::{bytes, counted};
use super::super::input::open;
use super::super::progress::Bar;
use super::error::{AtFile, TrainFailure};
use super::{Authority, Consent, TargetArguments, figures, read_model, read_token, statement};

#[derive(Debug, Subcommand)]
pub enum Client {
    /// Encrypt samples for training, once. The samples stay here
    Encrypt(Encrypt),
    /// Contribute to a sum over clients: what a round changed of the network, or counts
    Contribute(Contribute),
    /// Open the products that a server computed on encrypted samples in mode delegate
    Open(Open),
}

impl Client {
    pub fn run(self) -> Result<(), CliError> {
        match self {
            Self::Encrypt(encrypt) => encrypt.run(),
            Self::Contribute(contribute) => contribute.run(),
            Self::Open(open) => open.run(),
        }
    }
}

#[derive(Debug, Args)]
pub struct Encrypt {
    /// The client's enrolment token
    token: PathBuf,
    /// Samples: .npy, .npz, IDX (plain or .gz), a PNG file or a folder of them, or a table (.csv)
    samples: PathBuf,
    #[command(flatten)]
    targets: TargetArguments,
    #[command(flatten)]
    authority: Authority,
    /// The file to write, for the server
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
    /// Write the figures as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Encrypt {
    pub fn run(self) -> Result<(), CliError> {
        let token = read_token(&self.token, Role::Client)?;
        self.consent.state(token.agreement.mode(), self.json)?;
        let delegates = token.agreement.mode() == Mode::Delegate;
        if delegates && self.targets.labels.is_some() {
            let reason = "in mode delegate samples are sent without labels";
            return Err(TrainFailure::Surplus { option: "--labels", reason }.into());
        }
        let file = open_output(&NewFile::at(&self.output).replace_existing(self.force))?;
        let data = if delegates {
            read_unlabelled(&self.samples, self.targets.target.as_deref(), &token.agreement)
        } else {
            read_dataset(&self.samples, self.targets.source().as_ref(), &token.agreement)
        };
        let data = data.map_err(TrainFailure::Data)?;
        let mut client = Encryptor::new(self.authority.session(&token)?);
        let bar = Bar::new("encrypting");
        let mut progress = |done: usize, all: usize| bar.at(done as f64 / all as f64);
        let (file, receipt) = client.encrypt(&data, &mut system_rng()?, file, &mut progress).at_file(&self.samples)?;
        file.commit()?;
        drop(bar);
        if self.json {
            let json = serde_json::json!({
                "mode": token.agreement.mode(),
                "statement": statement(token.agreement.mode()),
                "dataset": receipt.dataset.to_string(),
                "samples": receipt.samples,
                "left_out": receipt.left_out,
                "batches": receipt.batches,
                "bytes_up": receipt.bytes,
                "replaced_labels": receipt.replaced_labels,
                "other_datasets": receipt.other_datasets,
            });
            return show(serde_json::to_string_pretty(&json)?);
        }
        say(format_args!(
            "\nwrote {}: dataset {}, {} in {}, {}, {} a sample",
            self.output.display(),
            receipt.dataset,
            counted(receipt.samples as u64, "sample", "samples"),
            counted(receipt.batches as u64, "batch", "batches"),
            bytes(receipt.bytes as f64),
            bytes(receipt.bytes as f64 / receipt.samples as f64),
        ))?;
        if receipt.left_out > 0 {
            let samples = counted(receipt.left_out as u64, "sample does", "samples do");
            say(format_args!("note: {samples} not fill a batch and were left out"))?;
        }
        if receipt.replaced_labels > 0 {
            let labels = counted(receipt.replaced_labels as u64, "label was", "labels were");
            say(format_args!("note: {labels} replaced by others, so that no label is certain"))?;
        }
        if receipt.other_datasets > 0 {
            let others = counted(receipt.other_datasets.into(), "other dataset", "other datasets");
            warn(format_args!(
                "warning: '{}' has {others} with this authority, each with a budget of its own: what is opened of samples \
                 that are in several adds up",
                token.name
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Contribute {
    /// The client's enrolment token
    token: PathBuf,
    /// Samples, as for encryption; they stay here
    samples: PathBuf,
    #[command(flatten)]
    targets: TargetArguments,
    /// The network of the round, where a network is trained
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The file to write, for the server
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
}

impl Contribute {
    pub fn run(self) -> Result<(), CliError> {
        let token = read_token(&self.token, Role::Client)?;
        let agreement = token.agreement.clone();
        say(agreement.mode().statement())?;
        let aggregation = agreement.aggregation().at_file(&self.token)?;
        let mut file = open_output(&NewFile::at(&self.output).replace_existing(self.force))?;
        let mut rng = system_rng()?;
        let source = self.targets.source();
        let (round, integers, words) = match &aggregation.contribution {
            ContributionForm::Updates(_) => {
                let wanted = "give the network of the round, which the server hands out";
                let path = self.model.as_ref().ok_or(TrainFailure::Missing { option: "--model", wanted })?;
                let model = read_model(path)?;
                super::server::same_agreement(path, model.agreement().id(), agreement.id())?;
                let data = read_dataset(&self.samples, source.as_ref(), &agreement).map_err(TrainFailure::Data)?;
                let network = model.as_network().at_file(path)?;
                let local = train_round(&agreement, network, &data, Seed::random(&mut rng)).at_file(&self.samples)?;
                let classes = agreement.data().targets.are_classes();
                let training = local.training;
                let words = format!(
                    "{} trained on, running {} {}",
                    counted(data.len() as u64, "sample", "samples"),
                    if classes { "accuracy" } else { "error" },
                    figures::score(classes.then(|| training.accuracy()), training.mean_loss()),
                );
                (RoundId::of(model.round().unwrap_or(0), network), local.integers, words)
            }
            ContributionForm::Counts(_) if self.model.is_some() => {
                let reason = "counts are of no network";
                return Err(TrainFailure::Surplus { option: "--model", reason }.into());
            }
            ContributionForm::Counts(_) => {
                let raw = read_raw(&self.samples, source.as_ref(), agreement.data());
                let (rows, targets) = raw.map_err(TrainFailure::Data)?;
                let Targets::Classes { labels, .. } = targets else {
                    return Err(TrainFailure::Agreement(AgreementError::Kind { wanted: "classes" }).into());
                };
                let labels: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
                let values: Vec<f64> = (0..rows.len()).flat_map(|row| rows.row(row)).collect();
                let counts = count_rows(&agreement, &values, &labels).at_file(&self.samples)?;
                (RoundId::COUNTS, counts, format!("{} counted", counted(rows.len() as u64, "row", "rows")))
            }
        };
        let contribution = Contribution::seal(&token, round, &integers, &mut rng).at_file(&self.samples)?;
        let written = contribution.write(&mut file);
        written.map_err(|source| OutputError::Write { path: self.output.clone(), source })?;
        file.commit()?;
        say(format_args!("\nwrote {}: {words}, round {round}, under a pad of its own", self.output.display()))
    }
}

#[derive(Debug, Args)]
pub struct Open {
    /// The client's enrolment token
    token: PathBuf,
    /// The products
    products: PathBuf,
    #[command(flatten)]
    authority: Authority,
    /// Where to write: .csv, .npy, or - for a table on standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
}

impl Open {
    pub fn run(self) -> Result<(), CliError> {
        let format = Format::of(&self.output)?;
        let token = read_token(&self.token, Role::Client)?;
        let mode = token.agreement.mode();
        if mode != Mode::Delegate {
            let source = AgreementError::Mode { found: mode, wanted: Mode::Delegate };
            return Err(TrainFailure::AgreementFile { path: self.token, source }.into());
        }
        let mut out = Destination::text(&self.output, self.force)?;
        let products = MaskedProducts::read(open(&self.products, Kind::MaskedProducts)?, &token.agreement);
        let products = products.at(&self.products)?;
        let mut client = Encryptor::new(self.authority.session(&token)?);
        let opened = client.open_products(&products).at_file(&self.products)?;
        let values: Vec<f64> = opened.iter().copied().collect();
        super::predict::write_table(&values, opened.ncols(), format, &mut out)?;
        match out.finish()? {
            Finished::Stdout => Ok(()),
            Finished::File(path) => say(format_args!(
                "wrote {}: {} of {}",
                path.display(),
                counted(Results::new(&values, opened.ncols())?.rows() as u64, "row", "rows"),
                counted(opened.ncols() as u64, "product", "products")
            )),
        }
    }
}

//! An agreement from the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use nightloom::train::data::{LabelledRows, read_labelled_rows};
use nightloom::train::setup::{self, Activation, NetworkName, shape};
use nightloom_fe::Scheme;
use nightloom_fe::agreement::{
    Aggregation, Agreement, AgreementError, AgreementSpec, ContributionForm, CountModel, Counts, DataForm, Encoding,
    FirstLayerForm, Labels, MAX_AGREEMENT_BYTES, Opening, OpeningNoise, TargetForm, Terms, Updates,
};
use nightloom_fe::learn::counts::Bins;
use nightloom_fe::learn::data::Standardization;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::PrivacySpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{Shape, TrainerSpec};
use nightloom_fe::mode::Mode;

use super::super::error::{At, CliError};
use super::error::{AtFile, TrainFailure};
use super::public_layers::PublicLayersName;
use super::scheme;

/// Values beyond so many deviations are cut.
const LIMIT: f64 = 4.0;
/// Bits of a standardised value.
const VALUE_BITS: u32 = 8;
/// Features of public layers beyond this are cut.
const FEATURE_LIMIT: f64 = 4.0;

#[derive(Debug, Args)]
#[command(next_help_heading = "What is agreed on")]
pub struct AgreementArguments {
    /// All of it, as JSON; nothing else of this can then be given
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "task", "mode", "input", "public_layers", "feature_limit", "table", "target", "classes", "target_bound", "batch", "scheme", "labels", "windows", "bits", "opening_noise",
        "model", "max_clients", "network", "activation", "rate", "local_epochs", "dp", "without_privacy", "bins", "forest",
    ])]
    agreement: Option<PathBuf>,
    /// How data is protected [default: guarded for one client, aggregate for several]
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Images of this shape, a byte a value: 28x28 or 3x32x32
    #[arg(long, value_name = "SHAPE", value_parser = shape, conflicts_with = "table")]
    input: Option<Shape>,
    /// Layers with weights that everybody knows, which clients apply before they encrypt: the first N of a trained network,
    /// FILE:N, or a convolution of random filters with ReLU and max pooling, random:FILTERS:SIDE:STRIDE:PADDING:SEED
    #[arg(long, value_name = "LAYERS", requires = "input", conflicts_with = "table")]
    public_layers: Option<PublicLayersName>,
    /// Values of these layers' last beyond this are cut [default: 4]
    #[arg(long, value_name = "LIMIT", requires = "public_layers")]
    feature_limit: Option<f64>,
    /// Rows like those of this public table, by which columns are scaled or binned. It must not be a client's own
    #[arg(long, value_name = "FILE", requires = "target")]
    table: Option<PathBuf>,
    /// The column of the table that names the class, or holds the number that is to be learned
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true, requires = "table")]
    target: Option<String>,
    /// Number of classes, or their names between commas; of a table those that occur
    #[arg(long, value_name = "CLASSES", value_parser = classes)]
    classes: Option<Classes>,
    /// The target is a number of at most this magnitude, and no class
    #[arg(long, value_name = "BOUND", requires = "table", conflicts_with = "classes")]
    target_bound: Option<f64>,
    /// Samples that are encrypted and trained on together [default: 256; 32 in mode aggregate]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Scheme of functional encryption: pad, ddh, ddh-adaptive, rlwe, mlwe [default: pad]
    #[arg(long, value_parser = scheme)]
    scheme: Option<Scheme>,
    /// What becomes of labels: open, febo, or randomized:EPSILON [default: randomized:5]
    #[arg(long, value_name = "LABELS")]
    labels: Option<LabelChoice>,
    /// Encrypt windows for a convolution, SIDE:STRIDE:PADDING; 5:1:2 for LeNet-5. Only in mode cryptonn
    #[arg(long, value_name = "WINDOWS", value_parser = windows)]
    windows: Option<FirstLayerForm>,
    /// Bits of a weight, and of a delta, of the first layer [default: 8]
    #[arg(long, value_name = "BITS")]
    bits: Option<u32>,
    /// Noise of the authority on products and on gradients, over what one sample can change: FORWARD,GRADIENT
    #[arg(long, value_name = "NOISE", value_parser = noise)]
    opening_noise: Option<OpeningNoise>,
    /// What clients sum in mode aggregate [default: network]
    #[arg(long, value_enum)]
    model: Option<Summed>,
    /// Most clients in mode aggregate [default: 100]
    #[arg(long, value_name = "N")]
    max_clients: Option<u32>,
    /// The network of mode aggregate: sizes of dense layers, as in 784-32-10
    #[arg(long, value_name = "NETWORK")]
    network: Option<NetworkName>,
    /// Between its dense layers [default: relu]
    #[arg(long, value_enum)]
    activation: Option<ActivationName>,
    /// Learning rate of clients in mode aggregate [default: 0.1]
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Epochs of a client in a round of mode aggregate [default: 1]
    #[arg(long, value_name = "N")]
    local_epochs: Option<u32>,
    /// Differential privacy in mode aggregate: CLIP,NOISE of a network, or NOISE of counts
    #[arg(long, value_name = "DP", value_parser = numbers, conflicts_with = "without_privacy")]
    dp: Option<Numbers>,
    /// Do without differential privacy in mode aggregate
    #[arg(long)]
    without_privacy: bool,
    /// Bins of a column, for models from counts [default: 8]
    #[arg(long, value_name = "N")]
    bins: Option<usize>,
    /// Trees of a forest, and splits from root to leaf: TREES,DEPTH [default: 100,5]
    #[arg(long, value_name = "FOREST", value_parser = numbers)]
    forest: Option<Numbers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Keys for single batches, counted by the authority
    Guarded,
    /// Sums over at least three clients
    Aggregate,
    /// CryptoNN as published: gives the data away
    Cryptonn,
    /// Products with public weights, for the client
    Delegate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Summed {
    /// Updates of a network
    Network,
    /// Counts for naive Bayes
    NaiveBayes,
    /// Counts for a completely random forest
    Forest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActivationName {
    Relu,
    Sigmoid,
    /// Encrypted inference can compute it
    Square,
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Relu => Self::Relu,
            ActivationName::Sigmoid => Self::Sigmoid,
            ActivationName::Square => Self::Square,
        }
    }
}

/// Class names.
#[derive(Debug, Clone)]
struct Classes(Vec<String>);

fn classes(text: &str) -> Result<Classes, String> {
    match text.parse::<usize>() {
        Ok(count) if (2..=4096).contains(&count) => Ok(Classes((0..count).map(|class| class.to_string()).collect())),
        Ok(_) => Err("wanted 2 to 4096 classes".to_owned()),
        Err(_) => {
            let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
            if names.len() < 2 || names.iter().any(String::is_empty) {
                return Err("wanted a number, or at least two names between commas".to_owned());
            }
            Ok(Classes(names))
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct LabelChoice(Labels);

impl FromStr for LabelChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "wanted open, febo, or randomized:EPSILON with a positive number".to_owned();
        Ok(Self(match text.split_once(':') {
            None if text == "open" => Labels::Open,
            None if text == "febo" => Labels::Febo,
            Some(("randomized", epsilon)) => Labels::Randomized { epsilon: epsilon.parse().map_err(|_| wanted())? },
            _ => return Err(wanted()),
        }))
    }
}

fn windows(text: &str) -> Result<FirstLayerForm, String> {
    let parts: Vec<Option<usize>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts[..] {
        [Some(side), Some(stride), Some(padding)] => Ok(FirstLayerForm::Windows { side, stride, padding }),
        _ => Err("wanted SIDE:STRIDE:PADDING, such as 5:1:2".to_owned()),
    }
}

/// Numbers between commas.
#[derive(Debug, Clone)]
pub struct Numbers(pub Vec<f64>);

pub fn numbers(text: &str) -> Result<Numbers, String> {
    let numbers = text.split(',').map(|number| number.parse::<f64>().ok().filter(|number| number.is_finite()));
    numbers.collect::<Option<Vec<_>>>().map(Numbers).ok_or_else(|| "wanted numbers between commas".to_owned())
}

fn noise(text: &str) -> Result<OpeningNoise, String> {
    match numbers(text)?.0[..] {
        [forward, gradient] => Ok(OpeningNoise { forward, gradient }),
        _ => Err("wanted two numbers, FORWARD,GRADIENT".to_owned()),
    }
}

impl AgreementArguments {
    /// Checks what is agreed on, for so many clients as are known so far.
    pub fn validate(&self, task: &str, clients: usize) -> Result<Agreement, CliError> {
        if let Some(path) = &self.agreement {
            let json = std::fs::read(path).at(path)?;
            if json.len() > MAX_AGREEMENT_BYTES {
                let problem = format!("{} bytes, wanted at most {MAX_AGREEMENT_BYTES}", json.len());
                return Err(TrainFailure::AgreementFile {
                    path: path.clone(),
                    source: AgreementError::Text { problem },
                }
                .into());
            }
            return Ok(Agreement::from_json(&json).at_file(path)?);
        }
        let mode = self.mode.unwrap_or(match Mode::default_for(clients) {
            Mode::Aggregate => ModeName::Aggregate,
            _ => ModeName::Guarded,
        });
        self.fits(mode)?;
        let counts = mode == ModeName::Aggregate && self.model() != Summed::Network;
        let data = self.data(counts)?;
        let opening = || self.opening(mode);
        let terms = match mode {
            ModeName::Guarded => Terms::Guarded(opening()),
            ModeName::Cryptonn => Terms::Cryptonn(opening()),
            ModeName::Delegate => Terms::Delegate(opening()),
            ModeName::Aggregate => Terms::Aggregate(self.aggregation(&data)?),
        };
        let spec = AgreementSpec { task: task.to_owned(), data, terms };
        Ok(spec.validate().map_err(TrainFailure::Agreement)?)
    }

    fn model(&self) -> Summed {
        self.model.unwrap_or(Summed::Network)
    }

    /// Whether every option is for this mode: one that asks for protection is never dropped in silence.
    fn fits(&self, mode: ModeName) -> Result<(), TrainFailure> {
        let aggregate = mode == ModeName::Aggregate;
        let network = aggregate && self.model() == Summed::Network;
        let counts = aggregate && !network;
        let (sums, clients) = ("mode aggregate opens sums of updates alone", "only in mode aggregate do clients train");
        let at_the_server = "it is for mode aggregate; elsewhere the server trains: give it to train server run";
        let noiseless = if aggregate { sums } else { "mode delegate opens products to their client alone" };
        let of_the_training = if aggregate { "counts are of no network" } else { at_the_server };
        let from_counts = "it is for models from counts, in mode aggregate";
        let of_a_network = if aggregate { "counts are of no network" } else { clients };
        for (option, given, right, reason) in [
            ("--scheme", self.scheme.is_some(), !aggregate, sums),
            (
                "--labels",
                self.labels.is_some(),
                !aggregate && mode != ModeName::Delegate,
                "labels are not encrypted here",
            ),
            ("--windows", self.windows.is_some(), !aggregate, sums),
            ("--bits", self.bits.is_some(), !aggregate, sums),
            ("--opening-noise", self.opening_noise.is_some(), !aggregate && mode != ModeName::Delegate, noiseless),
            ("--batch", self.batch.is_some(), !counts, "counts have no batches"),
            ("--model", self.model.is_some(), aggregate, "only mode aggregate sums"),
            ("--max-clients", self.max_clients.is_some(), aggregate, "only mode aggregate sums"),
            ("--dp", self.dp.is_some(), aggregate, at_the_server),
            (
                "--without-privacy",
                self.without_privacy,
                aggregate,
                "only mode aggregate has differential privacy by default",
            ),
            ("--network", self.network.is_some(), network, of_the_training),
            ("--activation", self.activation.is_some(), network, of_the_training),
            ("--rate", self.rate.is_some(), network, of_the_training),
            ("--local-epochs", self.local_epochs.is_some(), network, of_a_network),
            ("--target-bound", self.target_bound.is_some(), !counts, "counts are of classes"),
            ("--bins", self.bins.is_some(), counts, from_counts),
            ("--forest", self.forest.is_some(), counts && self.model() == Summed::Forest, "it is for --model forest"),
        ] {
            if given && !right {
                return Err(TrainFailure::Surplus { option, reason });
            }
        }
        Ok(())
    }

    fn data(&self, counts: bool) -> Result<DataForm, CliError> {
        let missing = |option, wanted| TrainFailure::Missing { option, wanted };
        let Some(path) = &self.table else {
            let input =
                self.input.ok_or(missing("--input", "give the shape of images, or a public table with --table"))?;
            let Some(Classes(names)) = &self.classes else {
                return Err(missing("--classes", "give their number or their names").into());
            };
            let targets = TargetForm::Classes(names.clone());
            let encoding = match &self.public_layers {
                None => Encoding::Pixels,
                Some(name) => Encoding::Features(name.layers(input, self.feature_limit.unwrap_or(FEATURE_LIMIT))?),
            };
            return Ok(DataForm { input, encoding, norm_bound: None, targets });
        };
        let target = self.target.as_deref().unwrap_or_default();
        let LabelledRows { rows, columns, classes, .. } =
            read_labelled_rows(path, target).map_err(TrainFailure::Data)?;
        let targets = match self.target_bound {
            Some(bound) => {
                let unfit = |text: &&String| !text.parse().is_ok_and(|number: f64| number.abs() <= bound);
                if let Some(found) = classes.iter().find(unfit) {
                    let (path, column, found) = (path.clone(), target.to_owned(), found.clone());
                    return Err(TrainFailure::Target { path, column, found, bound }.into());
                }
                TargetForm::Numbers { width: 1, bound }
            }
            None => TargetForm::Classes(self.classes.as_ref().map_or(classes, |Classes(names)| names.clone())),
        };
        let encoding = if counts {
            let bins = Bins::quantiles(&rows, columns, self.bins.unwrap_or(8)).map_err(AgreementError::Counts);
            Encoding::Bins(bins.at_file(path)?)
        } else {
            let fit = Standardization::fit(&rows, columns, LIMIT, VALUE_BITS).map_err(AgreementError::Data);
            Encoding::Columns(fit.at_file(path)?)
        };
        let input = Shape::vector(columns);
        Ok(DataForm { input, encoding, norm_bound: None, targets })
    }

    fn opening(&self, mode: ModeName) -> Opening {
        let defaults = setup::opening();
        let guarded = mode == ModeName::Guarded;
        let mut fixed_point = defaults.fixed_point;
        let bits = self.bits.unwrap_or(8);
        (fixed_point.weight_bits, fixed_point.delta_bits) = (bits, bits);
        let batch = self.batch.unwrap_or(defaults.batch);
        if !guarded {
            // Nobody counts, so no row needs to be filled, and rounding is as CryptoNN's.
            fixed_point.min_deltas = 0;
            fixed_point.rounding = nightloom_fe::learn::fixed_point::Rounding::Nearest;
        }
        // Products are delegated without labels mattering; under FEBO they are CryptoNN's.
        let labels = match (mode, self.labels) {
            (ModeName::Delegate, _) => Labels::Open,
            (_, Some(LabelChoice(labels))) => labels,
            (_, None) => Labels::Randomized { epsilon: setup::DEFAULT_LABEL_EPSILON },
        };
        Opening {
            scheme: self.scheme.unwrap_or(Scheme::Pad),
            first_layer: self.windows.unwrap_or(FirstLayerForm::Dense),
            batch,
            fixed_point,
            labels,
            noise: self.opening_noise,
            ..defaults
        }
    }

    fn aggregation(&self, data: &DataForm) -> Result<Aggregation, CliError> {
        let numbers = self.dp.as_ref().map(|Numbers(numbers)| numbers.as_slice());
        let wrong = |wanted| TrainFailure::Missing { option: "--dp", wanted };
        let contribution = match self.model() {
            Summed::Network => {
                let wanted = "give the sizes of the layers, such as 784-32-10";
                let name = self.network.as_ref().ok_or(TrainFailure::Missing { option: "--network", wanted })?;
                let privacy = match numbers {
                    _ if self.without_privacy => None,
                    None => Some(PrivacySpec { clip: 1.0, noise_multiplier: 1.0 }),
                    Some([clip, noise]) => Some(PrivacySpec { clip: *clip, noise_multiplier: *noise }),
                    Some(_) => return Err(wrong("two numbers for a network, CLIP,NOISE").into()),
                };
                let training = TrainerSpec {
                    network: name.spec(data.trained_input(), self.activation.unwrap_or(ActivationName::Relu).into()),
                    loss: data.targets.loss(),
                    optimizer: OptimizerSpec { learning_rate: self.rate.unwrap_or(0.1), decay: 1.0, momentum: 0.0 },
                    batches: Batches::Fixed { size: self.batch.unwrap_or(32) },
                    epochs: self.local_epochs.unwrap_or(1),
                    privacy,
                };
                ContributionForm::Updates(Updates {
                    training,
                    clip: 1.0,
                    bits: 20,
                    samples_per_weight: 64,
                    max_weight: 1000,
                })
            }
            Summed::NaiveBayes | Summed::Forest => {
                let noise = match numbers {
                    _ if self.without_privacy => None,
                    None => Some(2.0),
                    Some([noise]) => Some(*noise),
                    Some(_) => return Err(wrong("one number for counts, NOISE").into()),
                };
                let model =
                    match (self.model(), self.forest.as_ref().map_or(&[100.0, 5.0][..], |Numbers(forest)| forest)) {
                        (Summed::NaiveBayes, _) => CountModel::NaiveBayes,
                        (_, [trees, depth]) => {
                            CountModel::Forest { trees: *trees as usize, depth: *depth as u32, seed: 1 }
                        }
                        _ => {
                            let wanted = "two numbers, TREES,DEPTH";
                            return Err(TrainFailure::Missing { option: "--forest", wanted }.into());
                        }
                    };
                ContributionForm::Counts(Counts { model, smoothing: 1.0, noise })
            }
        };
        Ok(Aggregation {
            max_clients: self.max_clients.unwrap_or(100),
            contribution,
            without_privacy: self.without_privacy,
        })
    }
}

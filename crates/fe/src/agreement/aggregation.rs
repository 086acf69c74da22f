use serde::{Deserialize, Serialize};

use super::{AgreementError, DataForm, Encoding, TargetForm};
use crate::learn::counts::{Coordinates, Forest, ForestSpec, NaiveBayes, TrainedForest, TrainedNaiveBayes};
use crate::learn::federated::{MIN_CONTRIBUTORS, UpdateEncoding};
use crate::learn::{Seed, TrainerSpec};

/// Most clients.
const MAX_CLIENTS: u32 = 1 << 16;

/// What is summed over clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregation {
    /// Clients there may be, at least three.
    pub max_clients: u32,
    /// What each of them contributes.
    pub contribution: ContributionForm,
    /// Whether it was agreed to do without differential privacy. Otherwise clients train with noise, or the authority adds
    /// noise to sums of counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_privacy: bool,
}

/// What a client contributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContributionForm {
    /// In every round, what its own training changed of the common network.
    Updates(Updates),
    /// Once, counts of its samples.
    Counts(Counts),
}

/// Rounds of federated averaging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// How a client trains on its own samples in a round. Its privacy is that of a client's samples against everybody.
    pub training: TrainerSpec,
    /// Changes of a parameter beyond this are cut.
    pub clip: f64,
    /// Bits of a change with its sign, 2 to 32.
    pub bits: u32,
    /// A client's weight is its number of samples over this, at least 1 and at most `max_weight`.
    pub samples_per_weight: u32,
    /// Largest weight.
    pub max_weight: u32,
}

/// A model from counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// What is counted.
    pub model: CountModel,
    /// Added to every count, above 0.
    pub smoothing: f64,
    /// Deviation of the noise that the authority adds to every sum, in units of what one sample can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountModel {
    /// Naive Bayes.
    NaiveBayes,
    /// A completely random forest.
    Forest {
        /// Trees.
        trees: usize,
        /// Splits from root to leaf.
        depth: u32,
        /// Splits are drawn from it.
        seed: u64,
    },
}

/// A model whose form is known and whose counts are not.
#[derive(Clone, Debug, PartialEq)]
pub enum CountForm {
    /// Naive Bayes.
    NaiveBayes(NaiveBayes),
    /// A completely random forest.
    Forest(Forest),
}

/// A model from counts that can predict.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainedCounts {
    /// Naive Bayes.
    NaiveBayes(TrainedNaiveBayes),
    /// A completely random forest.
    Forest(TrainedForest),
}

impl Aggregation {
    pub(super) fn check(&self, data: &DataForm) -> Result<(), AgreementError> {
        let least = MIN_CONTRIBUTORS as u32;
        if !(least..=MAX_CLIENTS).contains(&self.max_clients) {
            let wanted = "3 to 2^16";
            return Err(AgreementError::Setting { what: "clients", found: self.max_clients.into(), wanted });
        }
        let private = match &self.contribution {
            ContributionForm::Updates(updates) => updates.training.privacy.is_some(),
            ContributionForm::Counts(counts) => counts.noise.is_some(),
        };
        // One of two that must agree, so that nobody does without by leaving something out.
        if private == self.without_privacy {
            return Err(AgreementError::Privacy { private });
        }
        match (&self.contribution, &data.encoding) {
            (ContributionForm::Updates(_), Encoding::Bins(_)) => Err(AgreementError::Kind { wanted: "no bins" }),
            (ContributionForm::Updates(updates), _) => updates.check(data, self.max_clients),
            (ContributionForm::Counts(counts), Encoding::Bins(_)) => counts.check(data),
            (ContributionForm::Counts(_), _) => Err(AgreementError::Kind { wanted: "bins of every column" }),
        }
    }
}

impl Updates {
    fn check(&self, data: &DataForm, max_clients: u32) -> Result<(), AgreementError> {
        let architecture = self.training.network.validate()?;
        if architecture.input().len() != data.trained_input().len() {
            let (found, wanted) = (architecture.input(), data.trained_input());
            return Err(AgreementError::NetworkInput { found, wanted });
        }
        if architecture.outputs() != data.targets.width() {
            let (found, wanted) = (architecture.outputs(), data.targets.width());
            return Err(AgreementError::Targets { found, wanted });
        }
        if self.samples_per_weight == 0 {
            return Err(AgreementError::Setting { what: "samples of a weight", found: 0.0, wanted: "at least one" });
        }
        self.encoding(max_clients).map(|_| ())
    }

    /// How changes become integers.
    pub(crate) fn encoding(&self, max_clients: u32) -> Result<UpdateEncoding, AgreementError> {
        Ok(UpdateEncoding::new(self.clip, self.bits, self.max_weight, max_clients)?)
    }

    /// The weight of a client with this many samples.
    pub fn weight(&self, samples: usize) -> u32 {
        let weight = samples as u64 / u64::from(self.samples_per_weight);
        weight.clamp(1, self.max_weight.into()) as u32
    }
}

impl Counts {
    fn check(&self, data: &DataForm) -> Result<(), AgreementError> {
        let setting = |what, found, wanted| Err(AgreementError::Setting { what, found, wanted });
        if !(self.smoothing > 0.0 && self.smoothing.is_finite()) {
            return setting("smoothing", self.smoothing, "a positive number");
        }
        if let Some(noise) = self.noise
            && !(noise > 0.0 && noise <= 1e6)
        {
            return setting("noise of a count", noise, "more than 0, at most 10^6");
        }
        self.form(data).map(|_| ())
    }

    /// The model before it has seen data.
    ///
    /// # Errors
    /// [`AgreementError`] if there is no such model of this data.
    pub fn form(&self, data: &DataForm) -> Result<CountForm, AgreementError> {
        let (Encoding::Bins(bins), TargetForm::Classes(names)) = (&data.encoding, &data.targets) else {
            return Err(AgreementError::Kind { wanted: "bins of every column, and classes" });
        };
        Ok(match self.model {
            CountModel::NaiveBayes => CountForm::NaiveBayes(NaiveBayes::new(names.len(), bins.counts())?),
            CountModel::Forest { trees, depth, seed } => {
                let spec = ForestSpec { classes: names.len(), bins: bins.counts(), trees, depth };
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&seed.to_le_bytes());
                CountForm::Forest(Forest::random(spec, &Seed::new(bytes))?)
            }
        })
    }

    /// How many coordinates of a sample are one.
    pub fn ones(&self, data: &DataForm) -> usize {
        match self.model {
            CountModel::NaiveBayes => 1 + data.input.len(),
            CountModel::Forest { trees, .. } => trees,
        }
    }
}

impl CountForm {
    /// The model of these counts.
    ///
    /// # Errors
    /// [`AgreementError`] if they are another model's.
    pub fn train(&self, counts: &[i64], smoothing: f64) -> Result<TrainedCounts, AgreementError> {
        Ok(match self {
            Self::NaiveBayes(form) => TrainedCounts::NaiveBayes(form.train(counts, smoothing)?),
            Self::Forest(form) => TrainedCounts::Forest(form.train(counts, smoothing)?),
        })
    }
}

impl Coordinates for CountForm {
    fn len(&self) -> usize {
        match self {
            Self::NaiveBayes(form) => form.len(),
            Self::Forest(form) => form.len(),
        }
    }

    fn of(&self, bins: &[usize], class: usize) -> Vec<usize> {
        match self {
            Self::NaiveBayes(form) => form.of(bins, class),
            Self::Forest(form) => form.of(bins, class),
        }
    }
}

impl TrainedCounts {
    /// A score of each class; the largest is the prediction.
    ///
    /// # Panics
    /// If `bins` are not those of the model.
    pub fn scores(&self, bins: &[usize]) -> Vec<f64> {
        match self {
            Self::NaiveBayes(model) => model.scores(bins),
            Self::Forest(model) => model.scores(bins),
        }
    }
}

//! What authority, clients and server agree on before anything is encrypted. Public.

mod aggregation;
mod data;
mod error;
mod layout;
mod opening;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::authority::SPARSE;
use crate::learn::first_layer::DataSpec;
use crate::learn::{Dataset, NetworkSpec};
use crate::mode::Mode;
use crate::{Label, Scheme};

pub use aggregation::{Aggregation, ContributionForm, CountForm, CountModel, Counts, TrainedCounts, Updates};
pub use data::{DataForm, Encoding, PublicLayer, RawSamples, TargetForm};
pub use error::AgreementError;
pub use layout::{Direction, Layout, Part, QueryError};
pub(crate) use opening::Sealed;
pub use opening::{FirstLayerForm, Labels, Opening, OpeningNoise};

/// Longest name of a task or a party, in characters.
pub const MAX_NAME: usize = 64;
/// Longest agreement, in bytes of JSON.
pub const MAX_AGREEMENT_BYTES: usize = 1 << 22;

/// An agreement, not yet checked. People read and write it as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementSpec {
    /// A name for people.
    pub task: String,
    /// What samples and targets look like.
    pub data: DataForm,
    /// How they are used.
    pub terms: Terms,
}

/// How data is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terms {
    /// [`Mode::Guarded`].
    Guarded(Opening),
    /// [`Mode::Aggregate`].
    Aggregate(Aggregation),
    /// [`Mode::Cryptonn`].
    Cryptonn(Opening),
    /// [`Mode::Delegate`].
    Delegate(Opening),
}

/// SHA-256 of an agreement. Travels with everything that is made under it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgreementId(pub [u8; 32]);

impl fmt::Display for AgreementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AgreementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementId({self})")
    }
}

/// A checked agreement, with the schemes that it names.
pub struct Agreement {
    spec: AgreementSpec,
    id: AgreementId,
    json: Vec<u8>,
    sealed: Option<Sealed>,
}

impl AgreementSpec {
    /// Checks everything, and makes the schemes.
    ///
    /// # Errors
    /// [`AgreementError`] with what was found and what was wanted.
    pub fn validate(self) -> Result<Agreement, AgreementError> {
        check_name(&self.task)?;
        self.data.check()?;
        let mode = self.terms.mode();
        let sealed = match &self.terms {
            Terms::Guarded(opening) | Terms::Cryptonn(opening) | Terms::Delegate(opening) => {
                if let Encoding::Bins(_) = self.data.encoding {
                    return Err(AgreementError::Kind { wanted: "values, not bins" });
                }
                Some(opening.seal(mode, &self.data)?)
            }
            Terms::Aggregate(aggregation) => {
                aggregation.check(&self.data)?;
                None
            }
        };
        // Plain structures of numbers, strings and lists have one spelling in the order of their fields.
        let json = serde_json::to_vec(&self).map_err(|error| AgreementError::Text { problem: error.to_string() })?;
        let id =
            AgreementId(Sha256::new().chain_update(b"nightloom agreement 1").chain_update(&json).finalize().into());
        Ok(Agreement { spec: self, id, json, sealed })
    }
}

impl Terms {
    /// The mode.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Guarded(_) => Mode::Guarded,
            Self::Aggregate(_) => Mode::Aggregate,
            Self::Cryptonn(_) => Mode::Cryptonn,
            Self::Delegate(_) => Mode::Delegate,
        }
    }
}

/// Checks a name: it goes into labels, messages and file names.
///
/// # Errors
/// [`AgreementError::Name`].
pub fn check_name(name: &str) -> Result<(), AgreementError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(AgreementError::Name { found: name.chars().take(2 * MAX_NAME).collect(), limit: MAX_NAME })
    }
}

impl Agreement {
    /// Reads JSON.
    ///
    /// # Errors
    /// [`AgreementError`] if it is none, or not in order.
    pub fn from_json(json: &[u8]) -> Result<Self, AgreementError> {
        let spec: AgreementSpec =
            serde_json::from_slice(json).map_err(|error| AgreementError::Text { problem: error.to_string() })?;
        spec.validate()
    }

    /// The JSON that its identifier is of.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// What was agreed on.
    pub fn spec(&self) -> &AgreementSpec {
        &self.spec
    }

    /// What samples and targets look like.
    pub fn data(&self) -> &DataForm {
        &self.spec.data
    }

    /// Its identifier.
    pub fn id(&self) -> AgreementId {
        self.id
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.spec.terms.mode()
    }

    /// How products are opened.
    ///
    /// # Errors
    /// [`AgreementError::Mode`] in the mode that opens sums only.
    pub fn opening(&self) -> Result<&Opening, AgreementError> {
        match &self.spec.terms {
            Terms::Guarded(opening) | Terms::Cryptonn(opening) | Terms::Delegate(opening) => Ok(opening),
            Terms::Aggregate(_) => Err(AgreementError::Mode { found: Mode::Aggregate, wanted: Mode::Guarded }),
        }
    }

    /// What is summed over clients.
    ///
    /// # Errors
    /// [`AgreementError::Mode`] in other modes.
    pub fn aggregation(&self) -> Result<&Aggregation, AgreementError> {
        match &self.spec.terms {
            Terms::Aggregate(aggregation) => Ok(aggregation),
            terms => Err(AgreementError::Mode { found: terms.mode(), wanted: Mode::Aggregate }),
        }
    }

    pub(crate) fn sealed(&self) -> Result<&Sealed, AgreementError> {
        let wanted = AgreementError::Mode { found: Mode::Aggregate, wanted: Mode::Guarded };
        self.sealed.as_ref().ok_or(wanted)
    }

    /// What is known of `samples` samples under the agreement.
    pub(crate) fn data_spec(&self, samples: usize) -> Result<DataSpec, AgreementError> {
        let (data, target_bits) = (self.data(), self.opening()?.target_bits);
        let (step, range) = data.step_and_range();
        Ok(DataSpec {
            samples,
            input: data.trained_input(),
            outputs: data.targets.width(),
            step,
            range,
            norm_bound: data.norm(),
            target_bits,
            target_bound: data.targets.bound(target_bits),
        })
    }

    /// Whether a network can be trained under the agreement.
    ///
    /// # Errors
    /// [`AgreementError`] if its inputs, first layer or outputs are others.
    pub fn check_network(&self, network: &NetworkSpec) -> Result<(), AgreementError> {
        let architecture = network.validate()?;
        let (found, wanted) = (architecture.input(), self.data().trained_input());
        if found.len() != wanted.len() {
            return Err(AgreementError::NetworkInput { found, wanted });
        }
        if architecture.vectors() != self.sealed()?.layout.vectors() {
            return Err(AgreementError::FirstLayer);
        }
        let (found, wanted) = (architecture.outputs(), self.data().targets.width());
        if found == wanted { Ok(()) } else { Err(AgreementError::Targets { found, wanted }) }
    }

    /// How often a network whose first layer has `units` units may visit each whole batch before the budget is exhausted;
    /// `None` where nothing is counted.
    pub fn visits(&self, units: usize) -> Option<usize> {
        self.whole_rank().map(|rank| rank / units.max(1))
    }

    /// Most units of a first layer that may visit each whole batch so often; `None` where nothing is counted.
    pub fn largest_first_layer(&self, visits: usize) -> Option<usize> {
        self.whole_rank().map(|rank| rank / visits.max(1))
    }

    /// The rank that the budget of a whole batch admits in both directions.
    fn whole_rank(&self) -> Option<usize> {
        let (Mode::Guarded, Ok(sealed)) = (self.mode(), self.sealed()) else { return None };
        let (width, batch) = (sealed.layout.vectors().width(), sealed.layout.batch());
        if width.min(batch) <= SPARSE {
            return Some(0);
        }
        Direction::ALL.map(|direction| sealed.largest_rank(direction, batch)).into_iter().min()
    }

    /// Checks a client's data.
    ///
    /// # Errors
    /// [`AgreementError`] if samples or targets are others than agreed on.
    pub fn check_dataset(&self, data: &Dataset) -> Result<(), AgreementError> {
        let (found, wanted) = (data.inputs().shape(), self.data().trained_input());
        if found.len() != wanted.len() {
            return Err(AgreementError::NetworkInput { found, wanted });
        }
        let (step, range) = self.data().step_and_range();
        if (data.inputs().step(), data.inputs().range()) != (step, range) {
            return Err(AgreementError::Kind { wanted: "samples in other steps or of another range" });
        }
        self.data().targets.check_targets(data.targets())
    }

    /// Whether all data is under one master key for each part, as in CryptoNN. A pad is for one batch in any case.
    pub(crate) fn shares_keys(&self) -> bool {
        match &self.spec.terms {
            Terms::Cryptonn(opening) => opening.scheme != Scheme::Pad,
            _ => false,
        }
    }

    /// The label of a part of a batch.
    pub(crate) fn label(&self, part: Part, place: Place<'_>) -> Label {
        let mut bytes = vec![part as u8];
        if !self.shares_keys() {
            bytes.extend(place.bytes());
        }
        fits(bytes)
    }

    /// The label of all targets under FEBO, as CryptoNN has it.
    pub(crate) fn target_label(&self) -> Label {
        fits(vec![0])
    }
}

fn fits(bytes: Vec<u8>) -> Label {
    Label::new(bytes).unwrap_or_else(|_| unreachable!("names are shorter than labels"))
}

/// Which data of a client: its first 16 bytes name what was encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetId(pub [u8; 16]);

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatasetId({self})")
    }
}

/// A batch of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place<'a> {
    pub client: &'a str,
    pub dataset: DatasetId,
    pub batch: u32,
}

impl Place<'_> {
    /// No two places have the same bytes: the name comes last, all else has a fixed length.
    pub(crate) fn bytes(self) -> Vec<u8> {
        [&self.dataset.0[..], &self.batch.to_le_bytes(), self.client.as_bytes()].concat()
    }
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agreement({}, mode {})", self.id, self.mode())
    }
}

#[cfg(test)]
mod tests;

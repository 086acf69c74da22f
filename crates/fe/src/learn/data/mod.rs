//! Samples and targets as the clients hold them: whole numbers, ready to be encrypted.
//!
//! Files are read elsewhere; what comes here is arrays. Sample `i` of batch `b` under fixed batches of `B` is sample
//! `b B + i`, so whoever encrypts shuffles first ([`Dataset::shuffled`]) and the batches stay as they are: the gradient is
//! an inner product over a whole batch, and its vector is encrypted as one.

mod error;
mod inputs;
mod split;
mod table;
mod targets;

pub use error::DataError;
pub use inputs::Inputs;
pub(crate) use table::LIMITS;
pub use table::Standardization;
pub use targets::Targets;

/// Samples with their targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    inputs: Inputs,
    targets: Targets,
}

impl Dataset {
    /// Puts inputs and targets together.
    ///
    /// # Errors
    /// [`DataError::Counts`] if there are not as many targets as samples.
    pub fn new(inputs: Inputs, targets: Targets) -> Result<Self, DataError> {
        if inputs.len() != targets.len() {
            return Err(DataError::Counts { samples: inputs.len(), targets: targets.len() });
        }
        Ok(Self { inputs, targets })
    }

    /// The number of samples, at least one.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Always `false`: inputs have at least one sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// What the network should make of them.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }
}

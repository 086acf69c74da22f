use serde::{Deserialize, Serialize};

use super::{Batches, TrainerSpecError};
use crate::learn::network::{Architecture, Loss, NetworkSpec};
use crate::learn::optimizer::OptimizerSpec;
use crate::learn::privacy::PrivacySpec;

/// Most epochs of a run.
const MAX_EPOCHS: u32 = 1 << 20;

/// What to train and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerSpec {
    /// The layers.
    pub network: NetworkSpec,
    /// What to make small.
    pub loss: Loss,
    /// How far each step goes.
    pub optimizer: OptimizerSpec,
    /// Which samples come together.
    pub batches: Batches,
    /// Passes over the data, 1 to 2^20.
    pub epochs: u32,
    /// Differential privacy, if wanted.
    pub privacy: Option<PrivacySpec>,
}

impl TrainerSpec {
    /// Checks everything, for a run over `samples` samples.
    ///
    /// # Errors
    /// [`TrainerSpecError`] with the setting, what was found and what was wanted.
    pub fn check(&self, samples: usize) -> Result<Architecture, TrainerSpecError> {
        let architecture = self.network.validate()?;
        let fail = |what, found, wanted| Err(TrainerSpecError::Setting { what, found, wanted });
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let OptimizerSpec { learning_rate, decay, momentum } = self.optimizer;
        if samples == 0 || u32::try_from(samples).is_err() {
            return fail("samples", samples as f64, "1 to 2^32 - 1");
        }
        if !positive(learning_rate) {
            return fail("learning rate", learning_rate, "a positive number");
        }
        if !positive(decay) {
            return fail("decay of the learning rate", decay, "a positive number");
        }
        if !(0.0..1.0).contains(&momentum) {
            return fail("momentum", momentum, "at least 0 and less than 1");
        }
        let batch = self.batches.size();
        if !(1..=samples).contains(&batch) {
            return fail("size of a batch", batch as f64, "1 to the number of samples");
        }
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return fail("epochs", self.epochs.into(), "1 to 2^20");
        }
        if let Some(PrivacySpec { clip, noise_multiplier }) = self.privacy {
            if !positive(clip) {
                return fail("clipping norm", clip, "a positive number");
            }
            if !positive(noise_multiplier) {
                return fail("noise multiplier", noise_multiplier, "a positive number");
            }
        }
        Ok(architecture)
    }
}

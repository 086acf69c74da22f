use crate::learn::network::{Shape, SpecError};

/// Why a run cannot start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerSpecError {
    /// The network cannot be built.
    #[error(transparent)]
    Network(SpecError),
    /// A setting outside its range.
    #[error("{what} is {found}, wanted {wanted}")]
    Setting {
        /// The name of the setting.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What would have been right.
        wanted: &'static str,
    },
    /// Weights for another network.
    #[error("the weights are of another network than the specification's")]
    OtherNetwork,
}

/// Why a step was not done.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError<E> {
    /// The first layer did not answer.
    #[error(transparent)]
    FirstLayer(#[from] E),
    /// The data has another number of samples than the run.
    #[error("{found} samples, wanted the {wanted} that the run began with")]
    Samples {
        /// Samples of the data.
        found: usize,
        /// Samples of the run.
        wanted: usize,
    },
    /// Samples of another shape, or encrypted in other vectors.
    #[error("samples of shape {found}, or other vectors of them, wanted {wanted} as the first layer takes them")]
    Input {
        /// The shape of the data's samples.
        found: Shape,
        /// The shape that the network takes.
        wanted: Shape,
    },
    /// Another number of targets than of outputs.
    #[error("{found} targets a sample, wanted {wanted}")]
    Outputs {
        /// Targets of a sample.
        found: usize,
        /// Outputs of the network.
        wanted: usize,
    },
    /// An output or a gradient is infinite or not a number.
    #[error("epoch {epoch}, step {step}: training diverged; a lower learning rate may help")]
    Diverged {
        /// The epoch, from 0.
        epoch: u32,
        /// The step, from 0.
        step: u32,
    },
}

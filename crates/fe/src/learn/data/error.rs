use crate::learn::network::Shape;

/// Why data cannot be trained on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No sample.
    #[error("no samples")]
    Empty,
    /// Values that do not make whole samples.
    #[error("{values} values are not a whole number of samples of shape {shape}")]
    PartialSample {
        /// Values given.
        values: usize,
        /// The shape of one sample.
        shape: Shape,
    },
    /// Another number of targets than of samples.
    #[error("{targets} targets for {samples} samples")]
    Counts {
        /// Samples given.
        samples: usize,
        /// Targets given.
        targets: usize,
    },
    /// A label that is no class.
    #[error("label {index} is {found}, wanted 0 to {}", classes.saturating_sub(1))]
    Label {
        /// The sample, from 0.
        index: usize,
        /// Its label.
        found: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A number that is infinite or not a number.
    #[error("{what} {index} is {found}, wanted a finite number")]
    NotFinite {
        /// What the number is.
        what: &'static str,
        /// Its place, from 0.
        index: usize,
        /// The number.
        found: f64,
    },
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
    /// More clients than samples.
    #[error("{samples} samples for {clients} clients, wanted at least one each")]
    TooManyClients {
        /// Samples there are.
        samples: usize,
        /// Clients asked for.
        clients: usize,
    },
}

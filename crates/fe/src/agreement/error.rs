use crate::learn::Shape;
use crate::learn::counts::CountsError;
use crate::learn::data::DataError;
use crate::learn::federated::FederatedError;
use crate::learn::network::SpecError;
use crate::learn::trainer::TrainerSpecError;
use crate::mode::Mode;
use crate::{FeError, Scheme};

/// What is wrong with an agreement, or with data under it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AgreementError {
    /// Text that is no agreement.
    #[error("not an agreement: {problem}")]
    Text {
        /// The parser's complaint.
        problem: String,
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
    /// A name that cannot travel.
    #[error("the name '{found}' has {} characters, wanted 1 to {limit} letters, digits, dots, hyphens and underscores", found.chars().count())]
    Name {
        /// The name.
        found: String,
        /// Most characters.
        limit: usize,
    },
    /// A shape without values, or with too many.
    #[error("samples of shape {found}")]
    Shape {
        /// The shape.
        found: Shape,
    },
    /// Columns of another number than the sample has values.
    #[error("{found} columns, wanted {wanted}")]
    Columns {
        /// Columns of the encoding.
        found: usize,
        /// Values of a sample.
        wanted: usize,
    },
    /// Values that do not make whole samples.
    #[error("{found} values are not a whole number of samples of shape {wanted}, at least one")]
    Values {
        /// Values given.
        found: usize,
        /// The shape of a sample.
        wanted: Shape,
    },
    /// Values of another kind than the agreement's.
    #[error("the agreement is for {wanted}")]
    Kind {
        /// What it is for.
        wanted: &'static str,
    },
    /// A value that the agreement does not allow.
    #[error("sample {sample}, value {value} is {found}, outside the declared range: wanted {wanted}")]
    Range {
        /// The sample, from 0.
        sample: usize,
        /// The value in the sample, from 0.
        value: usize,
        /// The value.
        found: f64,
        /// What is allowed.
        wanted: &'static str,
    },
    /// A target beyond the declared bound.
    #[error("target {index} is {found}, outside the declared range of +-{bound}")]
    TargetRange {
        /// The target, from 0.
        index: usize,
        /// Its value.
        found: f64,
        /// The declared bound.
        bound: f64,
    },
    /// Another number of targets or classes.
    #[error("targets of width {found}, the agreement has {wanted}")]
    Targets {
        /// Classes or numbers of a sample.
        found: usize,
        /// Those agreed on.
        wanted: usize,
    },
    /// A network for other samples.
    #[error("a network for samples of shape {found}, the agreement has {wanted}")]
    NetworkInput {
        /// What the network takes.
        found: Shape,
        /// What is encrypted.
        wanted: Shape,
    },
    /// A network whose first layer is another.
    #[error("the network's first layer multiplies other vectors than the agreement's")]
    FirstLayer,
    /// A convolution over encrypted samples outside the reproduction mode.
    #[error(
        "a convolution over encrypted samples gives every sample away in one pass, so mode {mode} refuses it: take a \
         public first layer, which clients apply before they encrypt, or the reproduction mode {}",
        Mode::Cryptonn
    )]
    Convolution {
        /// The mode.
        mode: Mode,
    },
    /// Labels under FEBO outside the reproduction mode.
    #[error("a key of FEBO opens its label, so labels under it are for mode {} only", Mode::Cryptonn)]
    SealedLabels,
    /// Numbers under FEBO.
    #[error("FEBO is for classes, not numbers, whose predictions have no bound: let the labels be open")]
    SealedNumbers,
    /// Public layers that only multiply and add.
    #[error(
        "public layers without a nonlinearity: products of what they make could single out values of a sample; wanted one of ReLU, \
         sigmoid, square or max pooling among them"
    )]
    LinearLayers,
    /// Randomised numbers.
    #[error("only classes can be randomised, not numbers: agree that labels are open (--labels open)")]
    RandomizedNumbers,
    /// Noise where there can be none.
    #[error(
        "noise of the authority under scheme {scheme} in mode {mode}: only {} in mode {} has it",
        Scheme::Pad,
        Mode::Guarded
    )]
    Noise {
        /// The scheme.
        scheme: Scheme,
        /// The mode.
        mode: Mode,
    },
    /// FEBO for samples.
    #[error("febo has no inner products: take another scheme for samples")]
    NotInnerProducts,
    /// Another scheme than pads for delegated products.
    #[error("products are delegated under pads, not under {found}")]
    DelegateScheme {
        /// The scheme.
        found: Scheme,
    },
    /// Something of another mode.
    #[error("this is for mode {wanted}, the agreement has mode {found}")]
    Mode {
        /// The mode agreed on.
        found: Mode,
        /// The mode wanted.
        wanted: Mode,
    },
    /// Sums without noise that nobody agreed to, or with noise although it was agreed to do without.
    #[error(
        "sums {} differential privacy: {}",
        if *private { "with" } else { "without" },
        if *private { "but 'without_privacy' is set" } else { "add noise, or agree to it with 'without_privacy'" }
    )]
    Privacy {
        /// Whether there is noise.
        private: bool,
    },
    /// The data cannot be trained on.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No such network.
    #[error(transparent)]
    Network(#[from] SpecError),
    /// No such training.
    #[error(transparent)]
    Training(#[from] TrainerSpecError),
    /// No such model from counts.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// No such sums.
    #[error(transparent)]
    Federated(#[from] FederatedError),
    /// The scheme has no parameters.
    #[error(transparent)]
    Scheme(#[from] FeError),
}

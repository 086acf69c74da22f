use nightloom_he::{Level, Scale};
use nightloom_ring::IntegerMatrix;

use crate::SlotMatrix;

/// A value of a program: the result of the operation at this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// One operand of [`Op::Linear`] with the scale of the weights that multiply it.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The operand.
    pub value: ValueId,
    /// The integers of its columns stand for real weights times this.
    pub weight_scale: Scale,
}

/// An operation on arrays of ciphertexts. Every array has one type: features, components, level, scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The request: fresh ciphertexts of two components.
    Input {
        /// Number of ciphertexts.
        features: usize,
        /// Level at which they are encrypted.
        level: Level,
        /// Scale at which they are encoded.
        scale: Scale,
    },
    /// Weights encrypted by the owner of the model: fresh ciphertexts of two components under the client's public key. The
    /// program does not say what they are.
    Model {
        /// Number of ciphertexts.
        features: usize,
        /// Level at which they are encrypted.
        level: Level,
        /// Scale at which they are encoded.
        scale: Scale,
        /// Slots after which every vector repeats, a power of two.
        period: usize,
    },
    /// `matrix * (sources one after another) + bias`. The scale of the result is the scale of a source times its weight
    /// scale, and must come out the same for every source.
    Linear {
        /// Operands of one level and one number of components, whose features are the columns in order.
        sources: Vec<Source>,
        /// Weights as integers.
        matrix: IntegerMatrix,
        /// One real number a row; added after multiplying with the scale of the result and rounding.
        bias: Vec<f64>,
    },
    /// The square of every feature: two components become three.
    Square {
        /// What is squared.
        source: ValueId,
    },
    /// The product feature by feature of arrays of two components at one level: three components.
    Multiply {
        /// First factor.
        left: ValueId,
        /// Second factor.
        right: ValueId,
    },
    /// Three components become two.
    Relinearize {
        /// The array.
        source: ValueId,
    },
    /// Division by the last prime of the level.
    Rescale {
        /// The array.
        source: ValueId,
    },
    /// [`Op::Relinearize`] and [`Op::Rescale`] with one division.
    RelinearizeRescale {
        /// The array.
        source: ValueId,
    },
    /// The same message at a lower level.
    DropTo {
        /// The array.
        source: ValueId,
        /// The level of the result.
        level: Level,
    },
    /// A matrix over the slots of all ciphertexts, then [`Op::Rescale`] if asked for, with one division.
    SlotMatrix {
        /// The array; its ciphertexts are the columns.
        source: ValueId,
        /// Weights as real numbers.
        matrix: SlotMatrix,
        /// Scale at which the weights are encoded.
        weight_scale: Scale,
        /// Whether the result is divided by the last prime of the level.
        rescale: bool,
    },
    /// Every ciphertext rotated by each of some rotations: those of the first ciphertext come first.
    Rotate {
        /// The array.
        source: ValueId,
        /// The rotations, rising.
        rotations: Vec<usize>,
        /// A rotation is made by a giant step, a multiple of this, and a baby step below it; a power of two.
        base: usize,
    },
    /// In each step adds to every slot the ones further on by each of some rotations, in every ciphertext by itself.
    Fold {
        /// The array.
        source: ValueId,
        /// The rotations of each step, none of them 0.
        steps: Vec<Vec<usize>>,
    },
    /// Adds vectors of slots.
    AddSlots {
        /// The array.
        source: ValueId,
        /// One period of slots, a power of two, for each ciphertext, one after another.
        values: Vec<f64>,
    },
}

impl Op {
    /// The values that the operation reads.
    pub fn sources(&self) -> Vec<ValueId> {
        match self {
            Self::Input { .. } | Self::Model { .. } => Vec::new(),
            Self::Linear { sources, .. } => sources.iter().map(|source| source.value).collect(),
            Self::Multiply { left, right } => vec![*left, *right],
            Self::Square { source }
            | Self::Relinearize { source }
            | Self::Rescale { source }
            | Self::RelinearizeRescale { source }
            | Self::DropTo { source, .. }
            | Self::SlotMatrix { source, .. }
            | Self::Rotate { source, .. }
            | Self::Fold { source, .. }
            | Self::AddSlots { source, .. } => vec![*source],
        }
    }

    /// The operation's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Model { .. } => "encrypted weights",
            Self::Linear { .. } => "linear",
            Self::Square { .. } => "square",
            Self::Multiply { .. } => "multiply",
            Self::Relinearize { .. } => "relinearize",
            Self::Rescale { .. } => "rescale",
            Self::RelinearizeRescale { .. } => "relinearize+rescale",
            Self::DropTo { .. } => "drop levels",
            Self::SlotMatrix { rescale: false, .. } => "slot matrix",
            Self::SlotMatrix { rescale: true, .. } => "slot matrix+rescale",
            Self::Rotate { .. } => "rotate",
            Self::Fold { .. } => "fold",
            Self::AddSlots { .. } => "add slots",
        }
    }

    /// Whether residue `j` of the result depends only on residues `j` of the operands, so that the operation can run on
    /// any tile of columns by itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        matches!(self, Self::Linear { .. } | Self::Square { .. } | Self::Multiply { .. } | Self::DropTo { .. })
    }
}

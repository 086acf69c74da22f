use nightloom_he::{EvalError, Level, ParamsId, Scale};

use crate::ThreadsError;

/// Why a list of operations is not a program.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no operation, or the first is not the input, or another one is.
    #[error("operation {op}: a program begins with its only input")]
    Input {
        /// Position of the operation.
        op: usize,
    },
    /// An operation, or the output, reads a value that is not computed before it.
    #[error("operation {op} reads value {value}, which is not computed before it")]
    LaterValue {
        /// Position of the operation; the number of operations for the output.
        op: usize,
        /// The value asked for.
        value: usize,
    },
    /// Numbers of features that do not fit together.
    #[error("operation {op}: {found} features where {wanted} are needed")]
    Features {
        /// Position of the operation.
        op: usize,
        /// Features found.
        found: usize,
        /// Features wanted.
        wanted: usize,
    },
    /// A wrong number of components.
    #[error("operation {op}: operand of {found} components, wanted {wanted}")]
    Components {
        /// Position of the operation.
        op: usize,
        /// Components found.
        found: usize,
        /// Components wanted.
        wanted: usize,
    },
    /// Operands of different levels, or a level that does not exist.
    #[error("operation {op}: level {found}, wanted {wanted}")]
    Level {
        /// Position of the operation.
        op: usize,
        /// Level found.
        found: Level,
        /// Level wanted.
        wanted: Level,
    },
    /// No level is left for a rescaling.
    #[error("operation {op}: no level is left to rescale")]
    Bottom {
        /// Position of the operation.
        op: usize,
    },
    /// Sources of a linear operation whose scales do not meet.
    #[error("operation {op}: scales of the sources do not meet, {left} and {right}")]
    Scale {
        /// Position of the operation.
        op: usize,
        /// Scale from the first source.
        left: Scale,
        /// Scale from another source.
        right: Scale,
    },
    /// A scale with a factor that is no prime of the chain, which no rescaling could ever cancel.
    #[error("operation {op}: the scale has the factor {factor}, which is no prime of the parameters")]
    ForeignScale {
        /// Position of the operation.
        op: usize,
        /// The factor.
        factor: u64,
    },
    /// A period that is no power of two, or longer than the slots.
    #[error("operation {op}: slots of period {found}, wanted a power of two up to {slots}")]
    Period {
        /// Position of the operation.
        op: usize,
        /// Period found.
        found: usize,
        /// Slots of a ciphertext.
        slots: usize,
    },
    /// No rotation, or rotations that do not rise.
    #[error("operation {op}: wanted at least one rotation, and rising ones")]
    Rotations {
        /// Position of the operation.
        op: usize,
    },
    /// A step of a fold that adds nothing, or something twice.
    #[error("operation {op}: wanted rotations by rising numbers of slots from 1 on in every step of the fold")]
    FoldStep {
        /// Position of the operation.
        op: usize,
    },
    /// A weight that is too large for its scale.
    #[error("operation {op}: a weight of {weight} at scale {scale} is too large to encode")]
    Weight {
        /// Position of the operation.
        op: usize,
        /// The weight.
        weight: f64,
        /// The scale of the weights.
        scale: Scale,
    },
    /// Results that cannot be compressed in this way.
    #[error(
        "results of {slots} slots and {bits} bits: wanted a power of two of slots and 2 to {most} bits, of two components"
    )]
    Compression {
        /// Slots asked for.
        slots: usize,
        /// Bits asked for.
        bits: u32,
        /// Most bits of these parameters.
        most: u32,
    },
    /// A bias that is not finite or does not fit the modulus.
    #[error("operation {op}: bias {index} is {value}, too large for the scale {scale} at level {level}")]
    Bias {
        /// Position of the operation.
        op: usize,
        /// Position of the bias.
        index: usize,
        /// The bias.
        value: f64,
        /// Scale of the result.
        scale: Scale,
        /// Level of the result.
        level: Level,
    },
    /// A product is relinearised, but the parameters have no special primes.
    #[error("operation {op}: the parameters have no special primes to relinearise with")]
    NoSpecialPrimes {
        /// Position of the operation.
        op: usize,
    },
}

/// Why a program could not be run on a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Arrays of encrypted weights that the program does not take, or too few of them.
    #[error("{found} arrays of encrypted weights, the program takes {wanted}")]
    ModelArrays {
        /// Arrays found.
        found: usize,
        /// Arrays wanted.
        wanted: usize,
    },
    /// Another number of ciphertexts than the program has inputs.
    #[error("{found} ciphertexts, the program has {wanted} inputs")]
    Inputs {
        /// Ciphertexts given.
        found: usize,
        /// Inputs of the program.
        wanted: usize,
    },
    /// A ciphertext that is not as the program's input.
    #[error(
        "ciphertext {index} has {found_components} components at level {found_level} and scale {found_scale}, \
         wanted 2 at level {level} and scale {scale}"
    )]
    Input {
        /// Which ciphertext.
        index: usize,
        /// Its components.
        found_components: usize,
        /// Its level.
        found_level: Level,
        /// Its scale.
        found_scale: Scale,
        /// The level of the program's input.
        level: Level,
        /// The scale of the program's input.
        scale: Scale,
    },
    /// Keys or ciphertexts of other parameters.
    #[error("{what} for parameters {found}, wanted {wanted}")]
    ParamsMismatch {
        /// What does not fit.
        what: &'static str,
        /// Its parameters.
        found: ParamsId,
        /// The program's parameters.
        wanted: ParamsId,
    },
    /// The threads could not be started.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// The scheme refused an operation.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

use nightloom_ring::RingError;

use crate::{KeyPurpose, Level, ParamsId, Scale};

/// Why a [`CkksSpec`](crate::CkksSpec) is not a usable parameter set.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The modulus is too large for the degree.
    #[error(
        "insecure: log2(QP) is {log_qp:.1} bits at degree 2^{log_degree}, at most {max} bits give 128-bit security; \
         use a larger degree or fewer and smaller primes"
    )]
    InsecureModulus {
        /// `log2` of the ring degree.
        log_degree: u32,
        /// `log2` of the product of all primes.
        log_qp: f64,
        /// The largest value allowed.
        max: u32,
    },
    /// The degree is not in the security table.
    #[error("degree 2^{log_degree} is not in the security table (2^10 to 2^17)")]
    UnsupportedDegree {
        /// `log2` of the ring degree.
        log_degree: u32,
    },
    /// Too few or too many primes.
    #[error("{what}: {found} primes, wanted {min} to {max}")]
    PrimeCount {
        /// Which primes.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// The least number.
        min: usize,
        /// The greatest number.
        max: usize,
    },
    /// A prime size out of range.
    #[error("prime of {found} bits, wanted {min} to {max}")]
    PrimeBits {
        /// The size given.
        found: u32,
        /// The smallest size.
        min: u32,
        /// The largest size.
        max: u32,
    },
    /// The product of the special primes is smaller than that of a digit of the key switch, so its noise would
    /// overwhelm the message.
    #[error("special primes of {special} bits together cannot carry key-switching digits of {digit} bits")]
    SpecialTooSmall {
        /// Bits of the special primes together.
        special: u32,
        /// Bits of the largest digit.
        digit: u32,
    },
    /// The ring refuses the primes.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// What a caller of the scheme can get wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Two things were made for different parameters.
    #[error("{op}: parameters differ, {left} and {right}")]
    ParamsMismatch {
        /// The operation.
        op: &'static str,
        /// Parameters of the first operand.
        left: ParamsId,
        /// Parameters of the second operand.
        right: ParamsId,
    },
    /// Operands at different levels.
    #[error("{op}: levels differ, left {left}, right {right}")]
    LevelMismatch {
        /// The operation.
        op: &'static str,
        /// Level of the first operand.
        left: Level,
        /// Level of the second operand.
        right: Level,
    },
    /// Operands at different scales.
    #[error("{op}: scales differ, left {left}, right {right}")]
    ScaleMismatch {
        /// The operation.
        op: &'static str,
        /// Scale of the first operand.
        left: Scale,
        /// Scale of the second operand.
        right: Scale,
    },
    /// No level is left, or more are wanted than there are.
    #[error("{op}: level {found}, wanted at least {wanted}")]
    LevelTooLow {
        /// The operation.
        op: &'static str,
        /// The level found.
        found: Level,
        /// The level wanted.
        wanted: Level,
    },
    /// A level beyond the top of the chain.
    #[error("{op}: level {found} is above the top level {top}")]
    LevelTooHigh {
        /// The operation.
        op: &'static str,
        /// The level given.
        found: Level,
        /// The highest level.
        top: Level,
    },
    /// A ciphertext with the wrong number of components.
    #[error("{op}: ciphertext of {found} components, wanted {wanted}")]
    Components {
        /// The operation.
        op: &'static str,
        /// Components found.
        found: usize,
        /// Components wanted.
        wanted: &'static str,
    },
    /// More values than slots.
    #[error("{found} values for {slots} slots")]
    TooManyValues {
        /// Values given.
        found: usize,
        /// Slots there are.
        slots: usize,
    },
    /// A value that is not a finite number.
    #[error("value {index} is {found}, wanted a finite number")]
    NotFinite {
        /// Its position.
        index: usize,
        /// The value.
        found: f64,
    },
    /// The scaled values do not fit the modulus.
    #[error(
        "scaled values need {needed_bits} bits, level {level} has room for {room_bits}: lower the scale or the values"
    )]
    TooLarge {
        /// Bits of the largest scaled coefficient with its sign.
        needed_bits: u32,
        /// `floor(log2 Q)` at the level.
        room_bits: u32,
        /// The level.
        level: Level,
    },
    /// Parameters without special primes cannot switch keys.
    #[error("{op}: these parameters have no special primes, so they have no key switching")]
    NoSpecialPrimes {
        /// The operation.
        op: &'static str,
    },
    /// There is no key for an operation.
    #[error("{op}: no key for {purpose}")]
    MissingKey {
        /// The operation.
        op: &'static str,
        /// What the key would be for.
        purpose: KeyPurpose,
    },
    /// A key was made for lower levels.
    #[error("{op}: the key for {purpose} serves up to level {found}, wanted {wanted}")]
    KeyLevelTooLow {
        /// The operation.
        op: &'static str,
        /// What the key is for.
        purpose: KeyPurpose,
        /// The highest level at which the key serves.
        found: Level,
        /// The level of the operand.
        wanted: Level,
    },
    /// A rotation by a number of slots that is none.
    #[error("{op}: rotation by {found} of {slots} slots")]
    NoSuchRotation {
        /// The operation.
        op: &'static str,
        /// The number of slots given.
        found: usize,
        /// All slots.
        slots: usize,
    },
    /// The slots of the conjugate-invariant ring are real.
    #[error("{op}: the slots of the conjugate-invariant ring are real")]
    NoConjugation {
        /// The operation.
        op: &'static str,
    },
    /// A sum of nothing, which has no level and no scale.
    #[error("{op}: no terms")]
    NoTerms {
        /// The operation.
        op: &'static str,
    },
    /// A number of slots with which vectors cannot repeat.
    #[error("{found} slots, wanted a power of two of at most {slots}")]
    NoSuchPeriod {
        /// The number given.
        found: usize,
        /// All slots.
        slots: usize,
    },
    /// A number of bits for the coefficients of a compressed ciphertext that does not work.
    #[error("compressed to {found} bits, wanted 2 to {max} for these parameters")]
    CompressedBits {
        /// The number given.
        found: u32,
        /// The largest number.
        max: u32,
    },
}

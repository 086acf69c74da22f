/// What a caller of the functional-encryption schemes can get wrong, and results that are not to be had.
///
/// No variant carries a value of the data or of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeError {
    /// Bounds that no scheme supports.
    #[error("{what} of {found}; wanted {min} to {max}")]
    Bounds {
        /// The name of the bound.
        what: &'static str,
        /// The value given.
        found: u64,
        /// The smallest value supported.
        min: u64,
        /// The largest value supported.
        max: u64,
    },
    /// A slice of another length than the dimension asks for.
    #[error("{what}: {found} values; wanted {wanted}")]
    Length {
        /// What the slice holds.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length wanted, or a number of which it must be a multiple.
        wanted: usize,
    },
    /// A value of the data beyond the bound on data.
    #[error("value {index} of the data is beyond the bound of {bound} that the parameters declare")]
    Data {
        /// Position in the slice.
        index: usize,
        /// Largest absolute value allowed.
        bound: u32,
    },
    /// A weight beyond the bound on weights.
    #[error("functional {functional}: weight {found} is beyond the bound of {bound} that the parameters declare")]
    Weight {
        /// The functional.
        functional: usize,
        /// The weight.
        found: i64,
        /// Largest absolute value allowed.
        bound: u32,
    },
    /// More non-zero weights than the parameters declare.
    #[error("functional {functional}: {found} weights; the parameters allow {limit}")]
    Terms {
        /// The functional.
        functional: usize,
        /// Its number of non-zero weights.
        found: usize,
        /// The number allowed.
        limit: usize,
    },
    /// Coordinates of a sparse functional that do not rise or do not exist.
    #[error("functional {functional}: coordinate {found} does not rise or is not below the dimension {dimension}")]
    Coordinate {
        /// The functional.
        functional: usize,
        /// The coordinate.
        found: u32,
        /// The dimension.
        dimension: usize,
    },
    /// A label that is too long.
    #[error("label of {found} bytes; at most {limit} are allowed")]
    Label {
        /// Its length in bytes.
        found: usize,
        /// The length allowed.
        limit: usize,
    },
    /// Keys and ciphertext of different master keys.
    #[error("{what}: made under master key {found}; wanted {wanted}")]
    OtherMasterKey {
        /// What has the other key.
        what: &'static str,
        /// Its master key.
        found: crate::KeyId,
        /// The master key of the ciphertext.
        wanted: crate::KeyId,
    },
    /// A ciphertext of other samples than the keys open.
    #[error("samples {found} of the label are encrypted here; the keys open the first {wanted}")]
    Samples {
        /// The samples of the ciphertext: one past the last.
        found: u64,
        /// The samples that the keys open.
        wanted: u64,
    },
    /// The opened value is not within the declared range: a key or ciphertext is wrong, or the declaration is.
    #[error("functional {functional}, sample {sample}: the opened value is not within +-{bound}")]
    OutOfRange {
        /// The functional.
        functional: usize,
        /// The sample.
        sample: usize,
        /// The declared bound on results.
        bound: u64,
    },
    /// No parameters of the scheme reach 128 bits of security for these bounds.
    #[error("no parameters of scheme {scheme} reach 128 bits of security for these bounds")]
    NoParameters {
        /// The scheme.
        scheme: crate::Scheme,
    },
    /// The ring refuses.
    #[error(transparent)]
    Ring(#[from] nightloom_ring::RingError),
    /// Division by zero under functional encryption.
    #[error("operand {index}: cannot divide by zero")]
    DivisionByZero {
        /// The operand.
        index: usize,
    },
}

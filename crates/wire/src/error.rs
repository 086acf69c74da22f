use crate::Kind;

/// Why bytes are not the artefact that was wanted. Always the fault of whoever made the bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Reading failed below the format.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes end early.
    #[error("ends early: {wanted} more bytes wanted, {left} left")]
    Truncated {
        /// Bytes that the next value needs.
        wanted: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// The first four bytes are not Nightloom's.
    #[error("not a Nightloom file: it begins with bytes {:02x} {:02x} {:02x} {:02x}", found[0], found[1], found[2], found[3])]
    BadMagic {
        /// The bytes found.
        found: [u8; 4],
    },
    /// A kind number that this version does not know.
    #[error("unknown kind {found} of Nightloom file")]
    UnknownKind {
        /// The number found.
        found: u16,
    },
    /// Another kind of artefact than wanted.
    #[error("found {} {found}, wanted {} {wanted}", found.article(), wanted.article())]
    WrongKind {
        /// The kind in the header.
        found: Kind,
        /// The kind that the caller needs.
        wanted: Kind,
    },
    /// A version that this program does not read.
    #[error("{kind} of version {found}; this program reads up to version {newest}")]
    UnknownVersion {
        /// The kind of the artefact.
        kind: Kind,
        /// The version in the header.
        found: u16,
        /// The newest version that can be read.
        newest: u16,
    },
    /// A length or count beyond its bound.
    #[error("{what}: {found} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The value found.
        found: u64,
        /// The largest value allowed.
        limit: u64,
    },
    /// A value outside its range.
    #[error("{what}: found {found}, wanted {wanted}")]
    Value {
        /// The name of the value.
        what: &'static str,
        /// The value found.
        found: u64,
        /// What would have been right.
        wanted: &'static str,
    },
    /// A residue that is not below its prime.
    #[error("residue {index} of limb {limb} is {found}, not below its prime {prime}")]
    Residue {
        /// The limb.
        limb: usize,
        /// The position within the limb.
        index: usize,
        /// The value found.
        found: u64,
        /// The prime of the limb.
        prime: u64,
    },
    /// The artefact belongs to other parameters.
    #[error("made for parameters {found}, wanted {wanted}")]
    ParamsMismatch {
        /// Identifier in the artefact.
        found: String,
        /// Identifier of the parameters in use.
        wanted: String,
    },
    /// Bytes of an artefact after the end of what it holds.
    #[error("{0} bytes after the end")]
    Trailing(u64),
    /// The source goes on after the artefact.
    #[error("goes on after the length that its header states")]
    Continues,
    /// Parameters that are marked as below 128 bits of security.
    #[error("parameters below 128 bits of security, which protect nothing, and the reader did not accept them")]
    Insecure,
    /// Embedded text that is not well-formed.
    #[error("{what}: {problem}")]
    Text {
        /// What the text should be.
        what: &'static str,
        /// The parser's complaint.
        problem: String,
    },
}

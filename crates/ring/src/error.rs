use crate::basis::Ring;

/// What a caller of the ring can get wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A modulus is not an odd prime below `2^50`.
    #[error("modulus {found} is not an odd prime below 2^50")]
    Modulus {
        /// The value given.
        found: u64,
    },
    /// A degree is not a supported power of two.
    #[error("ring degree {found} is not a power of two between {min} and {max}")]
    Degree {
        /// The value given.
        found: usize,
        /// Smallest supported degree.
        min: usize,
        /// Largest supported degree.
        max: usize,
    },
    /// The prime has no root of unity of the order which the transform needs.
    #[error("prime {prime} is not 1 modulo {order}, which the {ring} ring of this degree needs")]
    NoRootOfUnity {
        /// The prime.
        prime: u64,
        /// The order of the root of unity wanted.
        order: u64,
        /// The ring of the transform.
        ring: Ring,
    },
    /// Two limbs share a prime.
    #[error("prime {prime} occurs twice in one basis")]
    RepeatedPrime {
        /// The prime.
        prime: u64,
    },
    /// Fewer primes of the wanted size exist than asked for.
    #[error("wanted {wanted} primes of {bits} bits that are 1 modulo {order}, found {found}")]
    NotEnoughPrimes {
        /// Size of each prime in bits.
        bits: u32,
        /// How many were wanted.
        wanted: usize,
        /// How many exist.
        found: usize,
        /// The primes must be 1 modulo this.
        order: u64,
    },
    /// An exponent that gives no automorphism.
    #[error("X -> X^{found} is no automorphism: wanted an odd number below {order}")]
    GaloisElement {
        /// The exponent given.
        found: u64,
        /// The order of the roots of unity of the ring.
        order: u64,
    },
    /// A kernel name that this program does not have, or that this processor cannot run.
    #[error("kernel {found:?} is not available on this processor; available: {available}")]
    UnknownKernel {
        /// The name given.
        found: String,
        /// The names that could have been given, separated by commas.
        available: String,
    },
    /// An integer matrix whose exact accumulation would not fit the 53 bits of an `f64`.
    #[error(
        "integer matrix of {columns} columns with entries up to {magnitude} exceeds the exact range of the kernels"
    )]
    MatrixTooLarge {
        /// Columns of the matrix.
        columns: usize,
        /// Largest absolute entry.
        magnitude: u64,
    },
}

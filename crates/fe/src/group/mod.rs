//! Arithmetic in ristretto255 (RFC 9496) beyond what the curve crate offers: many products at once.
//!
//! What handles secrets (`small_multiples`, `combination`) takes no branch and no address from them. What handles
//! ciphertexts and function keys (`multi_scalar`, `exponents`, `logarithm`) is variable time: both are public to
//! whoever decrypts.

pub(crate) mod combination;
pub(crate) mod digits;
pub(crate) mod exponents;
pub mod linear;
pub mod logarithm;
pub(crate) mod multi_scalar;
pub(crate) mod small_multiples;

//! The CKKS scheme: real vectors in the slots of a ciphertext.

mod ciphertext;
mod encoder;
mod evaluator;
mod scale;

pub use ciphertext::{Ciphertext, Plaintext};
pub use encoder::{Encoder, Message, Precision};
pub use evaluator::Evaluator;
pub(crate) use scale::MAX_EXPONENT;
pub use scale::Scale;

//! The CKKS scheme: real vectors in the slots of a ciphertext.

mod ciphertext;
mod compressed;
mod encoder;
mod evaluator;
mod extended;
mod fold;
mod message;
mod rotation;
mod scale;
mod slots;

pub use ciphertext::{Ciphertext, Plaintext};
pub use compressed::CompressedCiphertext;
pub(crate) use compressed::check_shape;
pub use encoder::{Encoder, Precision};
pub use evaluator::Evaluator;
pub use extended::{ExtendedCiphertext, ExtendedPlaintext, Term};
pub use message::Message;
pub use rotation::Decomposed;
pub(crate) use scale::MAX_EXPONENT;
pub use scale::Scale;

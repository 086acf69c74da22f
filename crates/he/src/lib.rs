//! CKKS (Cheon, Kim, Kim and Song, eprint 2016/421; in RNS, eprint 2018/931) over the standard and the
//! conjugate-invariant ring.
//!
//! Plain data ([`CkksSpec`]) is validated into immutable [`CkksParams`], against the [`security`] table. Everything
//! below takes parameters, keys and randomness as arguments; nothing is global, and nothing repairs its input: a wrong
//! level, scale or parameter set is a typed error with both values.

#![forbid(unsafe_code)]

pub mod ckks;
mod error;
mod evaluation_keys;
mod keys;
pub mod noise;
mod params;
mod rlwe;
pub mod security;
mod switch;
pub mod wire;

pub use ckks::{
    Ciphertext, CompressedCiphertext, Decomposed, Encoder, Evaluator, ExtendedCiphertext, ExtendedPlaintext, Message,
    Plaintext, Precision, Scale,
};
pub use error::{EvalError, SpecError};
pub use evaluation_keys::{EvaluationKeySpec, EvaluationKeys, GaloisKey, KeyPurpose, RelinearizationKey, RotationKeys};
pub use keys::{KeyGenerator, PublicKey, SecretKey};
pub use nightloom_ring::Ring;
pub use params::{CkksParams, CkksSpec, Level, ParamsId};
pub use rlwe::{Decryptor, Encryptor};

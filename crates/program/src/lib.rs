//! The encrypted program: what a service computes, without anything secret and without the model's original form.
//!
//! A [`Program`] is a list of operations on arrays of ciphertexts, one ciphertext a feature, one sample a slot. It is
//! checked by [`verify`], given its meaning by the cleartext interpreter ([`Program::evaluate`]), bounded by [`noise`],
//! priced by [`cost`] and run by the [`Executor`]. A service links this crate and no model parser.

#![forbid(unsafe_code)]

mod cleartext;
pub mod cost;
mod error;
mod execute;
mod manifest;
mod matrix_product;
mod model;
pub mod noise;
mod op;
mod program;
mod slots;
mod threads;
mod verify;
pub mod wire;

pub use error::{ExecuteError, VerifyError};
pub use execute::{DEFAULT_WEIGHT_BYTES, Executor};
pub use manifest::{ClientSpec, InputEncoding, Packing, ProgramId};
pub use matrix_product::{MatrixProduct, MatrixProductError, RightFactor};
pub use model::{EncryptedModel, ModelWeights, WeightArray};
pub use op::{Op, Source, ValueId};
pub use program::{Compression, Program};
pub use slots::{Diagonal, Giants, Shape, SlotMatrix, SlotMatrixError};
pub use threads::{MAX_THREADS, ThreadsError, thread_pool};
pub use verify::ValueType;

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
pub mod noise;
mod op;
mod program;
mod verify;
pub mod wire;

pub use error::{ExecuteError, VerifyError};
pub use execute::Executor;
pub use manifest::{ClientSpec, InputEncoding, ProgramId};
pub use op::{Op, Source, ValueId};
pub use program::Program;
pub use verify::ValueType;

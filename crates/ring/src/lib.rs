//! Exact arithmetic in `R_q = Z_q[X]/(X^N + 1)` and in its conjugate-invariant subring, in RNS.
//!
//! Residues are integers held exactly in `f64`, balanced: a canonical residue of an odd prime `p < 2^50` is the
//! unique representative in `[-(p-1)/2, (p-1)/2]`. The kernels multiply them with fused multiply-add; see
//! `docs/notes/arithmetic.md` for the bounds.
//!
//! This crate knows nothing of keys, scales or ciphertexts. It is the only crate of the project with `unsafe` code:
//! vector instructions in [`kernels`], and large buffers cut from mapped memory for [`buffer`].

#![deny(unsafe_code)]

mod automorphism;
pub mod basis;
pub mod buffer;
pub mod convert;
mod error;
pub mod kernels;
pub mod linear;
mod modulus;
mod modulus_switch;
pub mod ntt;
pub mod parallel;
pub mod poly;
pub mod prime;
pub mod sample;
mod slab;

pub use automorphism::Automorphism;
pub use basis::{Ring, RnsBasis};
pub use buffer::{Buffer, Pool};
pub use convert::{Digits, Extension, Quotient, Remainder};
pub use error::RingError;
pub use kernels::Kernel;
pub use linear::IntegerMatrix;
pub use modulus::Modulus;
pub use modulus_switch::ModulusSwitch;
pub use ntt::NttTable;
pub use poly::{Coeff, Domain, Eval, RnsPoly};

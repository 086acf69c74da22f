//! Functional encryption of inner products: who has a ciphertext of `x` and a key for `y` learns `<x, y>`.
//!
//! An authority derives a master key for every label ([`label`]), clients encrypt vectors, the authority hands out keys
//! for functionals, and a server opens exactly their values. The schemes stand behind one trait, [`InnerProduct`];
//! [`Scheme`] says what each rests on. Keys are linear in the master key: see the trait for what this means.
//!
//! [`learn`] is what a server that trains on such values does in the clear: networks, fixed point, the trainer, differential
//! privacy, models from counts, federated averages, export.

#![forbid(unsafe_code)]

mod bounds;
mod error;
mod functional;
pub mod label;
mod scheme;
mod windows;

mod ddh;
mod ddh_adaptive;
mod febo;
pub mod group;
mod lattice;
mod mlwe;
mod pad;
mod rlwe;
pub mod wire;
mod words;

pub mod learn;

pub mod aggregate;
pub mod agreement;
pub mod authority;
mod cipher;
pub mod client;
pub mod delegate;
pub mod mode;
pub mod protocol;
pub mod server;
pub mod upload;

pub use agreement::{Agreement, AgreementSpec};
pub use bounds::{Bounds, MAX_DIMENSION, MAX_RESULT, MAX_VALUE, ParamsId};
pub use cipher::CipherError;
pub use ddh::{Ddh, DdhCiphertext, DdhFunctionKeys, DdhMasterKey, DdhPublicKey};
pub use ddh_adaptive::{
    DdhAdaptive, DdhAdaptiveCiphertext, DdhAdaptiveFunctionKeys, DdhAdaptiveMasterKey, DdhAdaptivePublicKey,
};
pub use error::FeError;
pub use febo::{Febo, FeboCiphertext, FeboFunctionKeys, FeboMasterKey, FeboPublicKey, FeboRequest, Operation};
pub use functional::Functionals;
pub use group::logarithm::DiscreteLogs;
pub use label::{KeyId, Label, MasterSeed};
pub use mlwe::{Mlwe, MlweCiphertext, MlweEncryptionKey, MlweFunctionKeys, MlweMasterKey};
pub use pad::{Pad, PadCiphertext, PadEncryptionKey, PadFunctionKeys, PadMasterKey};
pub use rlwe::{Rlwe, RlweCiphertext, RlweFunctionKeys, RlweMasterKey, RlwePublicKey};
pub use scheme::{InnerProduct, Scheme, SchemeInfo};
pub use windows::Windows;

#[cfg(test)]
mod tests;

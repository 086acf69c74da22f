//! Learning as the server does it: everything in the clear but the data.
//!
//! The server holds the model. What it may learn of the data it learns through a [`FirstLayer`]: the products of the first
//! layer with a batch, that layer's gradient, and the error of the outputs. [`FixedPoint`] reduces these to products of
//! integers, opened by an [`Oracle`]: [`ClearOracle`] computes them, a functional encryption scheme opens them. Integer
//! products are exact, and all that follows is the same sequence of operations, so encrypted training gives the weights
//! of [`ClearOracle`], bit by bit. Formulas and ranges: docs/notes/learning.md.
//!
//! In the order of the data flow: [`data`] (the clients' side), [`network`], [`first_layer`], [`optimizer`], [`privacy`],
//! [`trainer`], then [`counts`] (models from sums), [`federated`] and [`onnx`] (export).

mod linear;
mod random;

pub mod data;
pub mod network;

pub mod first_layer;
pub mod fixed_point;
pub mod optimizer;
pub mod privacy;
pub mod trainer;

pub mod counts;
pub mod federated;
pub mod onnx;

pub use data::{Dataset, Inputs, Targets};
pub use first_layer::{ClearOracle, FirstLayer, FixedPoint, Float, Oracle};
pub use fixed_point::FixedPointSpec;
pub use network::{Architecture, LayerSpec, Network, NetworkSpec, Shape};
pub use random::Seed;
pub use trainer::{Trainer, TrainerSpec};

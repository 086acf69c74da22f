//! From the bytes of an ONNX file to an encrypted program.
//!
//! [`onnx`] imports a model as a [`graph`] of tensor operations, [`pipeline`] lists the passes that reduce it to a polynomial
//! [`network`], and [`plans`] choose parameters, scales and the order of operations. [`explain`] says what came out.

#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod onnx;

pub mod evaluate;
pub mod graph;
mod linear;

pub mod passes;
pub mod pipeline;

pub mod interval;
pub mod matrix;
pub mod network;

pub mod explain;
pub mod plans;

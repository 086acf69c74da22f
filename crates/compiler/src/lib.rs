//!

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

//! ONNX bytes to a [`Graph`].
//!
//! The file is a stranger's. `parts` bounds what decoding may allocate, `gate` checks every declaration that the result
//! depends on, `reader` lets `tract` infer shapes and fold constants one bounded step at a time, and `convert` translates
//! its typed model. Problems are collected and reported together.

mod convert;
mod gate;
mod operators;
mod parts;
mod reader;

use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::graph::Graph;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use gate::{MAX_FILE_BYTES, MAX_NODES, OPERATOR_SETS};
pub use parts::MAX_PARTS;

/// Imports an ONNX model with one input and one output as the polynomial function of one sample.
///
/// The first axis of the input is the batch, whatever its length in the file. Weights become double precision.
/// A last softmax, log-softmax, arg-max or sigmoid is left to the client and noted in [`Graph::notes`].
///
/// # Errors
/// Every problem found, each with the node that has it. Bytes that are no ONNX model at all give one diagnostic without
/// a node. No input panics, or allocates more than a constant times its size, [`MAX_ELEMENTS`] and [`MAX_ACTIVATIONS`].
///
/// [`MAX_ELEMENTS`]: crate::graph::MAX_ELEMENTS
/// [`MAX_ACTIVATIONS`]: crate::graph::MAX_ACTIVATIONS
pub fn import(bytes: &[u8]) -> Result<Graph, Diagnostics> {
    let checked = gate::check(bytes)?;
    if checked.identity {
        return convert::start(&checked);
    }
    let graph = guard(|| {
        let typed = reader::infer(&checked)?;
        convert::convert(&checked, &typed)
    });
    graph.unwrap_or_else(|problem| Err(Diagnostic::of_file(problem).into()))
}

/// Runs `f`, turning a panic into a problem.
///
/// tract's shape inference indexes and unwraps on malformed models (operand counts, attribute lengths, axes) in more
/// places than checks beforehand could list, and it holds no state between calls. Its panics end here. This needs a
/// build that unwinds; under `panic = "abort"` such a model ends the process.
fn guard<T>(f: impl FnOnce() -> T) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let reason = text.and_then(|text| text.lines().next()).unwrap_or_default().to_owned();
        Problem::ReaderPanicked { reason }
    })
}

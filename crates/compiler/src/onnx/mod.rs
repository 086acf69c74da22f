//! ONNX bytes to a [`Graph`].
//!
//! The file is a stranger's. [`parts`] bounds what decoding may allocate, [`gate`] checks every declaration that the
//! result depends on, [`reader`] lets `tract` infer shapes and fold constants one bounded step at a time, and [`convert`]
//! translates its typed model. Problems are collected and reported together.

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
/// a node. No input panics or allocates more than a constant times its size and [`MAX_ELEMENTS`].
///
/// [`MAX_ELEMENTS`]: crate::graph::MAX_ELEMENTS
pub fn import(bytes: &[u8]) -> Result<Graph, Diagnostics> {
    let checked = gate::check(bytes)?;
    if checked.identity {
        return convert::start(&checked);
    }
    // tract's shape inference indexes and unwraps on malformed models (operand counts, attribute lengths) that no check
    // of ours can list exhaustively, and it holds no state between calls: its panics end here, as a diagnostic.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let typed = reader::infer(&checked)?;
        convert::convert(&checked, &typed)
    }));
    result.unwrap_or_else(|panic| {
        let reason = (panic.downcast_ref::<String>().cloned())
            .or_else(|| panic.downcast_ref::<&str>().map(|reason| (*reason).to_owned()))
            .unwrap_or_default();
        Err(Diagnostic::of_file(Problem::ReaderPanicked { reason }).into())
    })
}

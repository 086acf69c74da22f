//! The list of passes from a model to a polynomial network.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Graph, ShapeError};
use crate::network::Network;
use crate::onnx;
use crate::passes::{fold::fold, quadratic::complete_squares, squash::squash};

/// A pass from graph to graph. It changes how the function is written, not the function.
type Pass = fn(&Graph) -> Result<Graph, ShapeError>;

/// The passes on graphs, in order; squashing follows.
pub const PASSES: [(&str, Pass); 3] = [
    ("fold constants", fold),
    ("complete squares", complete_squares),
    // What completing squares writes in general form, with shifts of zero and scales of one.
    ("fold constants again", fold),
];

/// Imports an ONNX model and reduces it to a polynomial network.
///
/// # Errors
/// Every problem found, each with the node that has it.
pub fn load(bytes: &[u8]) -> Result<Network, Diagnostics> {
    squash(&simplify(onnx::import(bytes)?)?)
}

/// Runs [`PASSES`].
///
/// # Errors
/// None for a graph whose shapes hold; a [`ShapeError`] of a pass is passed on.
pub fn simplify(graph: Graph) -> Result<Graph, Diagnostics> {
    let simplified = PASSES.iter().try_fold(graph, |graph, (_, pass)| pass(&graph));
    simplified.map_err(|error| Diagnostic::of_file(error.into()).into())
}

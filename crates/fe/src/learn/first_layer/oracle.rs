use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::learn::network::{Shape, Vectors};

/// What clients publish of their data. Nothing in it may depend on a single sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    /// The number of samples.
    pub samples: usize,
    /// The shape of one sample.
    pub input: Shape,
    /// Targets of one sample.
    pub outputs: usize,
    /// What the integer 1 stands for in a sample.
    pub step: f64,
    /// The least and the largest integer in a sample.
    pub range: (i16, i16),
    /// Bound of the Euclidean norm of a sample in real units.
    pub norm_bound: f64,
    /// The integer that stands for 1 in a target is `2^target_bits`.
    pub target_bits: u32,
    /// Bound of the magnitude of a target's integer.
    pub target_bound: i64,
}

/// Integers that are to be multiplied with data that stays encrypted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The samples, by number, in the order of the results.
    pub samples: &'a [usize],
    /// The server's integers.
    pub values: ArrayView2<'a, i64>,
    /// No result exceeds this in magnitude, whatever the data: computed from `values` and the range of the data.
    pub bound: i64,
}

/// Opens products of the server's integers with the data. Results are exact.
///
/// A functional encryption scheme asks the authority for a key for each row and opens what the key allows.
/// [`ClearOracle`](super::ClearOracle) computes the same integers from data in the clear.
pub trait Oracle {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What is known of the data.
    fn data(&self) -> &DataSpec;

    /// The vectors in which samples are encrypted.
    fn vectors(&self) -> Vectors;

    /// `W1 X`: `values` is `units` by `vectors().width()`, the result `samples` by `units * vectors().count()`, for each unit
    /// vector by vector.
    ///
    /// # Errors
    /// If a product cannot be opened, or exceeds the bound.
    fn forward(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error>;

    /// `delta X^T`: `values` is `samples` by `units * vectors().count()` as [`forward`](Self::forward)'s result, the result
    /// `units` by `vectors().width()`.
    ///
    /// # Errors
    /// If a product cannot be opened, or exceeds the bound.
    fn gradient(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error>;

    /// `P - Y`: `values` is `samples` by `data().outputs`, in steps of `2^-target_bits`; so is the result.
    ///
    /// # Errors
    /// If a difference cannot be opened, or exceeds the bound.
    fn output_error(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error>;
}

//! What the server learns of the data: products of the first layer, its gradient, and the error of the outputs.

mod clear;
mod fixed;
mod float;
mod oracle;
mod products;

use ndarray::{Array2, ArrayView2};

use super::network::Vectors;
use super::random::{Purpose, Random, Seed};

pub use clear::ClearOracle;
pub use fixed::{FixedPoint, FixedPointError, Largest};
pub use float::Float;
pub use oracle::{DataSpec, Oracle, Query};

/// One step of training, as the first layer sees it.
#[derive(Debug)]
pub struct Step<'a> {
    /// The samples of the batch, by number.
    pub samples: &'a [usize],
    /// The epoch, from 0.
    pub epoch: u32,
    /// The step within the epoch, from 0.
    pub number: u32,
    /// Bound of the magnitude of every delta that does not depend on the data. Set under differential privacy, where no
    /// sample may change how another is rounded.
    pub delta_bound: Option<f64>,
    pub(crate) seed: &'a Seed,
}

impl Step<'_> {
    pub(crate) fn random(&self, purpose: Purpose) -> Random {
        self.seed.stream(purpose, self.epoch, self.number)
    }
}

/// The three products of data that training needs, in real numbers.
///
/// `samples` samples of `vectors().count()` vectors each; `units` rows of weights. Results of the first layer are one row
/// a sample: unit by unit, and for each unit vector by vector.
pub trait FirstLayer {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What is known of the data.
    fn data(&self) -> DataSpec;

    /// What the layer multiplies of each sample.
    fn vectors(&self) -> Vectors;

    /// The product of every vector of the batch with every row of `weights` (`units` by `vectors().width()`):
    /// `W1 X`, of shape `samples` by `units * vectors().count()`.
    ///
    /// # Errors
    /// If a product cannot be opened.
    fn forward(&mut self, step: &Step<'_>, weights: ArrayView2<f64>) -> Result<Array2<f64>, Self::Error>;

    /// The gradient of the weights, summed over samples and vectors: `delta X^T`, of shape `units` by `vectors().width()`,
    /// for `delta` of the shape of [`forward`](Self::forward)'s result.
    ///
    /// # Errors
    /// If a product cannot be opened.
    fn gradient(&mut self, step: &Step<'_>, delta: ArrayView2<f64>) -> Result<Array2<f64>, Self::Error>;

    /// `predictions - targets`, one row a sample.
    ///
    /// # Errors
    /// If a difference cannot be opened.
    fn output_error(&mut self, step: &Step<'_>, predictions: ArrayView2<f64>) -> Result<Array2<f64>, Self::Error>;
}

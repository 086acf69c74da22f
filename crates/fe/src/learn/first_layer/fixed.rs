use ndarray::{Array2, ArrayView2, Axis};

use super::{DataSpec, FirstLayer, Oracle, Query, Step};
use crate::learn::data::DataError;
use crate::learn::fixed_point::{
    FixedPointSpec, MAX_PRODUCT, Quantized, Rounding, by_column_groups, by_rows, product_bound,
};
use crate::learn::network::Vectors;
use crate::learn::random::Purpose;

/// A first layer whose products are opened by an [`Oracle`]: real numbers are rounded before, and scaled back after.
///
/// Weights stay as they are at the server; only what is multiplied with the data is rounded.
pub struct FixedPoint<O> {
    oracle: O,
    spec: FixedPointSpec,
    largest: Largest,
}

/// The largest magnitudes so far: what a table of discrete logarithms must reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// Bound that a query for products of the first layer declared.
    pub forward_bound: i64,
    /// Product of the first layer that was opened.
    pub forward: i64,
    /// Bound that a query for a gradient declared.
    pub gradient_bound: i64,
    /// Entry of a gradient that was opened.
    pub gradient: i64,
    /// Bound that a query for an error of the outputs declared.
    pub error_bound: i64,
}

/// Why a product has no value.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FixedPointError<E> {
    /// The oracle did not open it.
    #[error(transparent)]
    Oracle(E),
    /// It could be larger than what is computed exactly.
    #[error("{what} could pass {MAX_PRODUCT}: fewer bits, or a smaller batch")]
    TooLarge {
        /// The product.
        what: &'static str,
    },
    /// A number to be rounded is infinite or not a number.
    #[error("{what} are not all finite: training diverged")]
    NotFinite {
        /// The numbers.
        what: &'static str,
    },
}

impl<O: Oracle> FixedPoint<O> {
    /// Rounds as `spec` says.
    ///
    /// # Errors
    /// [`DataError::Setting`] if bits are out of range.
    pub fn new(oracle: O, spec: FixedPointSpec) -> Result<Self, DataError> {
        for (what, bits) in [("bits of a weight", spec.weight_bits), ("bits of a delta", spec.delta_bits)] {
            if !(2..=24).contains(&bits) {
                return Err(DataError::Setting { what, found: bits.into(), wanted: "2 to 24" });
            }
        }
        Ok(Self { oracle, spec, largest: Largest::default() })
    }

    /// The largest magnitudes so far.
    pub fn largest(&self) -> Largest {
        self.largest
    }

    /// The oracle.
    pub fn oracle(&self) -> &O {
        &self.oracle
    }
}

impl<O: Oracle> FirstLayer for FixedPoint<O> {
    type Error = FixedPointError<O::Error>;

    fn data(&self) -> DataSpec {
        *self.oracle.data()
    }

    fn vectors(&self) -> Vectors {
        self.oracle.vectors()
    }

    fn forward(&mut self, step: &Step<'_>, weights: ArrayView2<f64>) -> Result<Array2<f64>, Self::Error> {
        finite(weights, "weights of the first layer")?;
        let mut random = step.random(Purpose::WeightRounding);
        // Weights are public to the server and the same for every sample: no norm of a sample depends on them.
        let Quantized { values, steps } = by_rows(weights, self.spec.weight_limit(), self.spec.rounding, &mut random);
        let data = self.oracle.data();
        let (unit, bound) =
            (data.step, bounded(product_bound(values.rows(), data.range), "a product of the first layer")?);
        let query = Query { samples: step.samples, values: values.view(), bound };
        let products = self.oracle.forward(query).map_err(FixedPointError::Oracle)?;
        self.largest.forward_bound = self.largest.forward_bound.max(bound);
        self.largest.forward = self.largest.forward.max(magnitude(&products));
        let mut out = products.mapv(|product| product as f64);
        scale_groups(&mut out, steps.iter().map(|step| step * unit));
        Ok(out)
    }

    fn gradient(&mut self, step: &Step<'_>, delta: ArrayView2<f64>) -> Result<Array2<f64>, Self::Error> {
        finite(delta, "deltas of the first layer")?;
        let mut random = step.random(Purpose::DeltaRounding);
        let rounding = if step.delta_bound.is_some() { Rounding::TowardsZero } else { self.spec.rounding };
        let count = self.oracle.vectors().count();
        let units = delta.ncols() / count;
        let limit = self.spec.delta_limit();
        let mut quantized = by_column_groups(delta, units, limit, step.delta_bound, rounding, &mut random);
        if step.delta_bound.is_none() {
            quantized.fill_sparse(units, self.spec.min_deltas, &mut random);
        }
        let Quantized { values, steps } = quantized;
        let data = self.oracle.data();
        let bound = product_bound(values.axis_chunks_iter(Axis(1), count), data.range);
        let (unit, bound) = (data.step, bounded(bound, "an entry of the first layer's gradient")?);
        let query = Query { samples: step.samples, values: values.view(), bound };
        let products = self.oracle.gradient(query).map_err(FixedPointError::Oracle)?;
        self.largest.gradient_bound = self.largest.gradient_bound.max(bound);
        self.largest.gradient = self.largest.gradient.max(magnitude(&products));
        let mut out = products.mapv(|product| product as f64);
        for (mut row, step) in out.rows_mut().into_iter().zip(&steps) {
            row *= step * unit;
        }
        Ok(out)
    }

    fn output_error(&mut self, step: &Step<'_>, predictions: ArrayView2<f64>) -> Result<Array2<f64>, Self::Error> {
        finite(predictions, "predictions")?;
        let data = self.oracle.data();
        let one = f64::powi(2.0, data.target_bits as i32);
        let scaled = predictions.mapv(|prediction| libm::rint(prediction * one));
        let largest = scaled.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let bound = (largest <= MAX_PRODUCT as f64).then(|| (largest as i64).checked_add(data.target_bound)).flatten();
        let bound = bounded(bound, "an error of the outputs")?;
        let values = scaled.mapv(|value| value as i64);
        let query = Query { samples: step.samples, values: values.view(), bound };
        let errors = self.oracle.output_error(query).map_err(FixedPointError::Oracle)?;
        self.largest.error_bound = self.largest.error_bound.max(bound);
        Ok(errors.mapv(|error| error as f64 / one))
    }
}

fn finite<E>(values: ArrayView2<f64>, what: &'static str) -> Result<(), FixedPointError<E>> {
    if values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(FixedPointError::NotFinite { what }) }
}

fn bounded<E>(bound: Option<i64>, what: &'static str) -> Result<i64, FixedPointError<E>> {
    bound.filter(|bound| *bound <= MAX_PRODUCT).ok_or(FixedPointError::TooLarge { what })
}

fn magnitude(values: &Array2<i64>) -> i64 {
    values.iter().fold(0, |largest, value| largest.max(value.saturating_abs()))
}

/// Multiplies groups of consecutive columns, as many as there are factors.
fn scale_groups(values: &mut Array2<f64>, factors: impl ExactSizeIterator<Item = f64>) {
    let width = values.ncols() / factors.len();
    for (mut group, factor) in values.axis_chunks_iter_mut(Axis(1), width).zip(factors) {
        group *= factor;
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

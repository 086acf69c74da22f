use ndarray::Array2;

use super::DataError;
use crate::learn::network::Shape;

/// Samples as whole numbers: `real = integer * step`.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    shape: Shape,
    values: Vec<i16>,
    step: f64,
    /// Every value lies in between; part of the public description, not of the data.
    range: (i16, i16),
    /// Bound of the Euclidean norm of a sample in real units.
    norm_bound: f64,
}

impl Inputs {
    /// Images of one byte a pixel; 255 is one.
    ///
    /// # Errors
    /// [`DataError`] if there is no sample or the last one is not whole.
    pub fn from_pixels(shape: Shape, pixels: &[u8]) -> Result<Self, DataError> {
        Self::new(shape, pixels.iter().map(|&pixel| pixel.into()).collect(), 1.0 / 255.0, (0, 255))
    }

    /// Numbers in steps of `step`, rounded to nearest and cut to `range`, which must be known without the data and contain
    /// zero.
    ///
    /// # Errors
    /// [`DataError`] if there is no sample, the last one is not whole, or a number is not finite.
    pub(crate) fn rounded(
        shape: Shape,
        numbers: impl Iterator<Item = f64>,
        step: f64,
        range: (i16, i16),
    ) -> Result<Self, DataError> {
        let (low, high) = (f64::from(range.0), f64::from(range.1));
        let value = |(index, found): (usize, f64)| {
            if found.is_finite() {
                Ok(libm::rint(found / step).clamp(low, high) as i16)
            } else {
                Err(DataError::NotFinite { what: "value", index, found })
            }
        };
        Self::new(shape, numbers.enumerate().map(value).collect::<Result<_, _>>()?, step, range)
    }

    /// Whole numbers of known step and range. The range must be known without the data, as it tells how large inner products
    /// can become, and contain zero, as borders of images do.
    pub(super) fn new(shape: Shape, values: Vec<i16>, step: f64, range: (i16, i16)) -> Result<Self, DataError> {
        if values.is_empty() || shape.is_empty() {
            return Err(DataError::Empty);
        }
        if !values.len().is_multiple_of(shape.len()) {
            return Err(DataError::PartialSample { values: values.len(), shape });
        }
        debug_assert!(range.0 <= 0 && range.1 >= 0);
        debug_assert!(values.iter().all(|value| (range.0..=range.1).contains(value)));
        let largest = f64::from(range.0.unsigned_abs().max(range.1.unsigned_abs()));
        let norm_bound = largest * step * libm::sqrt(shape.len() as f64);
        Ok(Self { shape, values, step, range, norm_bound })
    }

    /// Shortens every sample to a norm of at most `bound` in real units, towards zero, and declares that bound: the shorter
    /// samples are, the less noise differential privacy needs.
    ///
    /// # Errors
    /// [`DataError::Setting`] unless `bound` is positive and finite.
    pub fn with_norm_bound(mut self, bound: f64) -> Result<Self, DataError> {
        if !(bound > 0.0 && bound.is_finite()) {
            return Err(DataError::Setting { what: "bound of the norm", found: bound, wanted: "a positive number" });
        }
        // Whole numbers below 2^53, so the norm is exact but for the root.
        let limit = bound / self.step;
        for sample in self.values.chunks_exact_mut(self.shape.len()) {
            let norm = libm::sqrt(sample.iter().map(|&value| f64::from(value) * f64::from(value)).sum());
            if norm > limit {
                // One part in 2^40 less, against rounding of the quotient.
                let factor = limit / norm * (1.0 - f64::powi(2.0, -40));
                sample.iter_mut().for_each(|value| *value = libm::trunc(f64::from(*value) * factor) as i16);
            }
        }
        self.norm_bound = self.norm_bound.min(bound);
        Ok(self)
    }

    /// The number of samples, at least one.
    pub fn len(&self) -> usize {
        self.values.len() / self.shape.len()
    }

    /// Always `false`.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The shape of one sample.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What the integer 1 stands for.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The least and the largest integer that a value may be, whatever the data.
    pub fn range(&self) -> (i16, i16) {
        self.range
    }

    /// Bound of the Euclidean norm of a sample in real units.
    pub fn norm_bound(&self) -> f64 {
        self.norm_bound
    }

    /// The integers of one sample.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn sample(&self, index: usize) -> &[i16] {
        &self.values[index * self.shape.len()..][..self.shape.len()]
    }

    /// Samples in real units, one a row.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn real(&self, indices: &[usize]) -> Array2<f64> {
        let mut out = Array2::zeros((indices.len(), self.shape.len()));
        for (index, mut row) in indices.iter().zip(out.rows_mut()) {
            for (out, value) in row.iter_mut().zip(self.sample(*index)) {
                *out = f64::from(*value) * self.step;
            }
        }
        out
    }

    /// The samples of these numbers, in this order. `indices` is not empty.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&index| self.sample(index)).copied().collect();
        Self { values, ..*self }
    }
}

use sha2::{Digest, Sha256};

use crate::{FeError, Scheme};

/// Largest dimension.
pub const MAX_DIMENSION: usize = 1 << 20;
/// Largest bound on data and on weights.
pub const MAX_VALUE: u32 = 1 << 24;
/// Largest bound on results.
pub const MAX_RESULT: u64 = 1 << 48;

/// What vectors and functionals may hold: fixed with the scheme, before anything is encrypted.
///
/// An inner product `<x, y>` has `|x_i| <= data`, `|y_i| <= weight`, and at most `terms` non-zero `y_i`, so its
/// absolute value is at most [`result`](Self::result).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    dimension: usize,
    terms: usize,
    data: u32,
    weight: u32,
}

impl Bounds {
    /// Bounds for dense functionals: vectors of `dimension` integers within `+-data`, weights within `+-weight`.
    ///
    /// # Errors
    /// [`FeError::Bounds`] if one of them is zero or too large.
    pub fn new(dimension: usize, data: u32, weight: u32) -> Result<Self, FeError> {
        Self::sparse(dimension, dimension, data, weight)
    }

    /// As [`new`](Self::new), for functionals with at most `terms` non-zero weights, such as the windows of an image.
    ///
    /// # Errors
    /// [`FeError::Bounds`] if one of them is zero or too large.
    pub fn sparse(dimension: usize, terms: usize, data: u32, weight: u32) -> Result<Self, FeError> {
        let bounds = Self { dimension, terms, data, weight };
        for (what, found, max) in [
            ("dimension", dimension as u64, MAX_DIMENSION as u64),
            ("number of terms", terms as u64, dimension as u64),
            ("bound on the data", data.into(), MAX_VALUE.into()),
            ("bound on the weights", weight.into(), MAX_VALUE.into()),
            ("bound on the results", bounds.result(), MAX_RESULT),
        ] {
            if !(1..=max).contains(&found) {
                return Err(FeError::Bounds { what, found, min: 1, max });
            }
        }
        Ok(bounds)
    }

    /// Coordinates of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Most non-zero weights of a functional.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// Largest absolute value of the data.
    pub fn data(&self) -> u32 {
        self.data
    }

    /// Largest absolute value of a weight.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Largest absolute value of an inner product: `terms * data * weight`.
    pub fn result(&self) -> u64 {
        (self.terms as u64).saturating_mul(self.data.into()).saturating_mul(self.weight.into())
    }

    /// Checks that `samples` holds whole vectors within the bound and returns their number. Which value is beyond the
    /// bound is found out in variable time.
    ///
    /// # Errors
    /// [`FeError::Length`], [`FeError::Data`].
    pub fn check_samples(&self, samples: &[i32]) -> Result<usize, FeError> {
        if !samples.len().is_multiple_of(self.dimension) {
            return Err(FeError::Length { what: "samples", found: samples.len(), wanted: self.dimension });
        }
        let bound = self.data;
        // One pass without a branch on the data; only a refusal looks closer.
        let beyond = samples.iter().fold(0, |beyond, x| beyond | bound.wrapping_sub(x.unsigned_abs())) >> 31;
        if beyond != 0 {
            let index = samples.iter().position(|x| x.unsigned_abs() > bound).unwrap_or(0);
            return Err(FeError::Data { index, bound });
        }
        Ok(samples.len() / self.dimension)
    }
}

/// SHA-256 of a scheme, its bounds and everything else that determines it. Travels with every artefact.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParamsId(pub [u8; 32]);

impl ParamsId {
    /// The identifier of a scheme with these bounds; `details` are the parameters that the scheme chose.
    pub(crate) fn new(scheme: Scheme, bounds: &Bounds, details: &[u64]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"nightloom fe 1");
        hash.update([scheme as u8]);
        for value in [bounds.dimension, bounds.terms, bounds.data as usize, bounds.weight as usize] {
            hash.update((value as u64).to_le_bytes());
        }
        details.iter().for_each(|value| hash.update(value.to_le_bytes()));
        Self(hash.finalize().into())
    }
}

impl std::fmt::Display for ParamsId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ParamsId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParamsId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_positive_and_limited() {
        let bounds = Bounds::sparse(784, 25, 255, 127).unwrap();
        assert_eq!((bounds.dimension(), bounds.terms(), bounds.result()), (784, 25, 25 * 255 * 127));
        for (dimension, terms, data, weight) in [
            (0, 0, 1, 1),
            (4, 5, 1, 1),
            (4, 0, 1, 1),
            (4, 4, 0, 1),
            (4, 4, 1, 0),
            (MAX_DIMENSION + 1, 1, 1, 1),
            (4, 4, MAX_VALUE + 1, 1),
            (MAX_DIMENSION, MAX_DIMENSION, MAX_VALUE, MAX_VALUE),
        ] {
            let refused = Bounds::sparse(dimension, terms, data, weight);
            assert!(matches!(refused, Err(FeError::Bounds { .. })), "{dimension} {terms} {data} {weight}");
        }
    }

    #[test]
    fn samples_beyond_the_bound_are_named() {
        let bounds = Bounds::new(2, 255, 1).unwrap();
        assert_eq!(bounds.check_samples(&[255, -255, 0, 1]), Ok(2));
        assert_eq!(bounds.check_samples(&[]), Ok(0));
        assert_eq!(bounds.check_samples(&[1]), Err(FeError::Length { what: "samples", found: 1, wanted: 2 }));
        for x in [256, -256, i32::MAX, i32::MIN] {
            assert_eq!(bounds.check_samples(&[0, 0, 0, x]), Err(FeError::Data { index: 3, bound: 255 }));
        }
    }
}

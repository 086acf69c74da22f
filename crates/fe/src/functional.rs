use crate::{Bounds, FeError};

/// Linear functionals with integer weights: what the keys of an authority open. Public.
///
/// They are sparse: a functional lists its non-zero weights, coordinates rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Functionals {
    dimension: usize,
    /// Entry `i` of functional `k` is at `offsets[k] + i`.
    offsets: Vec<usize>,
    coordinates: Vec<u32>,
    weights: Vec<i32>,
}

impl Functionals {
    /// The functionals whose weights are the rows of a matrix of `dimension` columns.
    ///
    /// # Errors
    /// [`FeError::Length`] if the last row is not whole or the dimension is zero.
    pub fn dense(dimension: usize, weights: &[i32]) -> Result<Self, FeError> {
        if dimension == 0 || !weights.len().is_multiple_of(dimension) {
            return Err(FeError::Length { what: "weights", found: weights.len(), wanted: dimension });
        }
        let row = |row: &[i32]| (0..).zip(row.iter().copied()).collect::<Vec<(u32, i32)>>();
        Self::sparse(dimension, weights.chunks_exact(dimension).map(row))
    }

    /// The functionals with these `(coordinate, weight)` pairs, coordinates rising. Zero weights are left out.
    ///
    /// # Errors
    /// [`FeError::Coordinate`] if coordinates do not rise or are not below `dimension`.
    pub fn sparse(
        dimension: usize,
        rows: impl IntoIterator<Item = impl IntoIterator<Item = (u32, i32)>>,
    ) -> Result<Self, FeError> {
        let mut functionals = Self { dimension, offsets: vec![0], coordinates: Vec::new(), weights: Vec::new() };
        for (functional, row) in rows.into_iter().enumerate() {
            let mut next = 0;
            for (found, weight) in row {
                if found < next || found as usize >= dimension {
                    return Err(FeError::Coordinate { functional, found, dimension });
                }
                next = found + 1;
                if weight != 0 {
                    functionals.coordinates.push(found);
                    functionals.weights.push(weight);
                }
            }
            functionals.offsets.push(functionals.weights.len());
        }
        Ok(functionals)
    }

    /// Coordinates of the vectors that the functionals act on.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of functionals.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Non-zero weights of all functionals together.
    pub fn entries(&self) -> usize {
        self.weights.len()
    }

    /// The non-zero weights of one functional with their coordinates, which rise.
    ///
    /// # Panics
    /// If there is no such functional.
    pub fn row(&self, functional: usize) -> impl ExactSizeIterator<Item = (usize, i32)> + Clone {
        let range = self.offsets[functional]..self.offsets[functional + 1];
        let coordinates = self.coordinates[range.clone()].iter().map(|&coordinate| coordinate as usize);
        coordinates.zip(self.weights[range].iter().copied())
    }

    /// All functionals in order, as [`row`](Self::row) gives them.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = impl ExactSizeIterator<Item = (usize, i32)> + Clone> {
        (0..self.len()).map(|functional| self.row(functional))
    }

    /// Largest absolute value of a weight.
    pub(crate) fn largest_weight(&self) -> u32 {
        self.weights.iter().map(|weight| weight.unsigned_abs()).max().unwrap_or(0)
    }

    /// The values of all functionals on whole vectors of `samples`, functional by functional: what encryption must not
    /// change.
    ///
    /// # Panics
    /// If the last sample is not whole.
    pub fn evaluate(&self, samples: &[i32]) -> Vec<i64> {
        assert!(samples.len().is_multiple_of(self.dimension), "{} values", samples.len());
        let value = |functional, sample: &[i32]| {
            self.row(functional).map(|(coordinate, weight)| i64::from(sample[coordinate]) * i64::from(weight)).sum()
        };
        let values = |functional| samples.chunks_exact(self.dimension).map(move |sample| value(functional, sample));
        (0..self.len()).flat_map(values).collect()
    }

    /// Checks the functionals against bounds.
    ///
    /// # Errors
    /// [`FeError::Length`], [`FeError::Weight`], [`FeError::Terms`].
    pub fn check(&self, bounds: &Bounds) -> Result<(), FeError> {
        if self.dimension != bounds.dimension() {
            let wanted = bounds.dimension();
            return Err(FeError::Length { what: "dimension of the functionals", found: self.dimension, wanted });
        }
        for functional in 0..self.len() {
            let row = self.row(functional);
            if row.len() > bounds.terms() {
                return Err(FeError::Terms { functional, found: row.len(), limit: bounds.terms() });
            }
            for (_, weight) in row {
                if weight.unsigned_abs() > bounds.weight() {
                    return Err(FeError::Weight { functional, found: weight.into(), bound: bounds.weight() });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_forms_agree() {
        let dense = Functionals::dense(3, &[1, 0, -2, 0, 0, 0]).unwrap();
        let sparse = Functionals::sparse(3, [vec![(0, 1), (1, 0), (2, -2)], vec![]]).unwrap();
        assert_eq!(dense, sparse);
        assert_eq!((dense.len(), dense.entries(), dense.largest_weight()), (2, 2, 2));
        assert_eq!(dense.row(0).collect::<Vec<_>>(), [(0, 1), (2, -2)]);
        assert_eq!(dense.evaluate(&[5, 6, 7, i32::MAX, 1, i32::MIN]), [-9, i64::from(i32::MAX) + (1 << 32), 0, 0]);
    }

    #[test]
    fn what_the_bounds_do_not_allow_is_named() {
        let bounds = Bounds::sparse(3, 2, 1, 5).unwrap();
        let check = |weights: &[i32]| Functionals::dense(3, weights).unwrap().check(&bounds);
        assert_eq!(check(&[0, 5, -5]), Ok(()));
        assert_eq!(check(&[0, 0, 0, 1, 0, -6]), Err(FeError::Weight { functional: 1, found: -6, bound: 5 }));
        assert_eq!(check(&[1, 1, 1]), Err(FeError::Terms { functional: 0, found: 3, limit: 2 }));
        assert!(matches!(Functionals::dense(2, &[]).unwrap().check(&bounds), Err(FeError::Length { found: 2, .. })));
        assert!(matches!(Functionals::dense(2, &[1]), Err(FeError::Length { found: 1, wanted: 2, .. })));
        assert!(matches!(Functionals::dense(0, &[]), Err(FeError::Length { .. })));
        for row in [vec![(3, 1)], vec![(1, 1), (1, 1)], vec![(2, 0), (1, 1)]] {
            assert!(matches!(Functionals::sparse(3, [row]), Err(FeError::Coordinate { functional: 0, .. })));
        }
    }
}

//! Matrices over slots.

use std::collections::BTreeSet;

/// A square matrix over the slots of one ciphertext whose vectors are periodic, by generalised diagonals: slot `s` of the
/// result is the sum over the diagonals of `weights[s] x[s + rotation]`, positions modulo the period (Halevi and Shoup,
/// CRYPTO 2014). Rotations are made in baby steps below [`base`](Self::base) and giant steps by multiples of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotMatrix {
    period: usize,
    base: usize,
    diagonals: Vec<Diagonal>,
}

/// One diagonal of a [`SlotMatrix`].
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonal {
    /// Slots by which the operand is rotated, below the period.
    pub rotation: usize,
    /// One weight a slot of the period.
    pub weights: Vec<f32>,
}

/// Why diagonals do not form a [`SlotMatrix`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotMatrixError {
    /// A period or a base that is not a power of two, or a base beyond the period.
    #[error(
        "period {period} and base {base} of a matrix over slots: wanted powers of two, the base at most the period"
    )]
    Period {
        /// The period found.
        period: usize,
        /// The base found.
        base: usize,
    },
    /// No diagonal, or rotations that do not rise or reach the period.
    #[error("rotations of a matrix over slots: wanted at least one, rising and below the period {period}")]
    Rotations {
        /// The period.
        period: usize,
    },
    /// A diagonal with another number of weights than the period, or a weight that is not finite.
    #[error("diagonal {rotation} of a matrix over slots: wanted {period} finite weights")]
    Weights {
        /// The diagonal.
        rotation: usize,
        /// The period.
        period: usize,
    },
}

impl SlotMatrix {
    /// A checked matrix.
    ///
    /// # Errors
    /// [`SlotMatrixError`].
    pub fn new(period: usize, base: usize, diagonals: Vec<Diagonal>) -> Result<Self, SlotMatrixError> {
        if !period.is_power_of_two() || !base.is_power_of_two() || base > period {
            return Err(SlotMatrixError::Period { period, base });
        }
        let rising = diagonals.windows(2).all(|pair| pair[0].rotation < pair[1].rotation);
        if !rising || diagonals.last().is_none_or(|last| last.rotation >= period) {
            return Err(SlotMatrixError::Rotations { period });
        }
        for Diagonal { rotation, weights } in &diagonals {
            if weights.len() != period || !weights.iter().all(|weight| weight.is_finite()) {
                return Err(SlotMatrixError::Weights { rotation: *rotation, period });
            }
        }
        Ok(Self { period, base, diagonals })
    }

    /// Slots after which vectors repeat.
    pub fn period(&self) -> usize {
        self.period
    }

    /// Baby steps are below this, giant steps multiples of it.
    pub fn base(&self) -> usize {
        self.base
    }

    /// The diagonals, by rising rotation.
    pub fn diagonals(&self) -> &[Diagonal] {
        &self.diagonals
    }

    /// The baby and the giant step of a rotation.
    pub fn steps(&self, rotation: usize) -> (usize, usize) {
        (rotation % self.base, rotation - rotation % self.base)
    }

    /// Distinct baby steps, zero included if there is one.
    pub fn babies(&self) -> BTreeSet<usize> {
        self.diagonals.iter().map(|diagonal| self.steps(diagonal.rotation).0).collect()
    }

    /// Distinct giant steps, zero included if there is one.
    pub fn giants(&self) -> BTreeSet<usize> {
        self.diagonals.iter().map(|diagonal| self.steps(diagonal.rotation).1).collect()
    }

    /// The product with a vector whose length is a multiple of the period.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; x.len()];
        for Diagonal { rotation, weights } in &self.diagonals {
            let (head, tail) = x.split_at(*rotation);
            for (out, (x, weight)) in out.iter_mut().zip(tail.iter().chain(head).zip(weights.iter().cycle())) {
                *out += x * f64::from(*weight);
            }
        }
        out
    }

    /// The product of the transpose with such a vector.
    pub fn apply_transposed(&self, y: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; y.len()];
        for Diagonal { rotation, weights } in &self.diagonals {
            let (head, tail) = out.split_at_mut(*rotation);
            for (out, (y, weight)) in tail.iter_mut().chain(head).zip(y.iter().zip(weights.iter().cycle())) {
                *out += y * f64::from(*weight);
            }
        }
        out
    }

    /// The largest weight in absolute value.
    pub fn largest_weight(&self) -> f64 {
        let weights = self.diagonals.iter().flat_map(|diagonal| &diagonal.weights);
        weights.fold(0.0, |largest, weight| f64::from(weight.abs()).max(largest))
    }
}

/// What a fold makes of a vector: to every slot the one `rotation` further on is added.
pub fn fold(x: &[f64], rotation: usize) -> Vec<f64> {
    (0..x.len()).map(|slot| x[slot] + x[(slot + rotation) % x.len()]).collect()
}

/// The transpose of [`fold`].
pub fn fold_transposed(y: &[f64], rotation: usize) -> Vec<f64> {
    (0..y.len()).map(|slot| y[slot] + y[(slot + y.len() - rotation % y.len()) % y.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> SlotMatrix {
        let weights = |seed: i32| (0..8).map(|slot| ((slot * 7 + seed) % 5 - 2) as f32).collect();
        let diagonals = [0, 3, 6].map(|rotation| Diagonal { rotation, weights: weights(rotation as i32) });
        SlotMatrix::new(8, 4, diagonals.to_vec()).unwrap()
    }

    #[test]
    fn steps_are_the_parts_of_rotations() {
        let matrix = matrix();
        assert_eq!(matrix.babies().into_iter().collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(matrix.giants().into_iter().collect::<Vec<_>>(), [0, 4]);
        assert_eq!(matrix.steps(6), (2, 4));
        assert_eq!(matrix.largest_weight(), 2.0);
    }

    #[test]
    fn transposes_satisfy_their_definition() {
        let (matrix, unit) = (matrix(), |i: usize| (0..16).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>());
        for i in 0..16 {
            for j in 0..16 {
                assert_eq!(matrix.apply(&unit(j))[i], matrix.apply_transposed(&unit(i))[j]);
                assert_eq!(fold(&unit(j), 5)[i], fold_transposed(&unit(i), 5)[j]);
            }
            let expected =
                matrix.diagonals().iter().map(|d| f64::from(d.weights[i % 8]) * ((i + d.rotation) % 16) as f64);
            assert_eq!(matrix.apply(&(0..16).map(f64::from).collect::<Vec<_>>())[i], expected.sum::<f64>());
        }
    }

    #[test]
    fn malformed_matrices_are_refused() {
        let diagonal = |rotation, weight| Diagonal { rotation, weights: vec![weight; 4] };
        assert_eq!(SlotMatrix::new(6, 2, vec![]), Err(SlotMatrixError::Period { period: 6, base: 2 }));
        assert_eq!(SlotMatrix::new(4, 8, vec![]), Err(SlotMatrixError::Period { period: 4, base: 8 }));
        for rotations in [vec![], vec![1, 0], vec![2, 2], vec![4]] {
            let diagonals = rotations.into_iter().map(|rotation| diagonal(rotation, 1.0)).collect();
            assert_eq!(SlotMatrix::new(4, 2, diagonals), Err(SlotMatrixError::Rotations { period: 4 }));
        }
        for wrong in [diagonal(1, f32::NAN), Diagonal { rotation: 1, weights: vec![0.0; 5] }] {
            assert_eq!(SlotMatrix::new(4, 2, vec![wrong]), Err(SlotMatrixError::Weights { rotation: 1, period: 4 }));
        }
    }
}

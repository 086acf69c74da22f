//! Matrices over slots.

use std::collections::{BTreeMap, BTreeSet};

/// A matrix over the slots of an array of ciphertexts whose vectors are periodic, by generalised diagonals: slot `s` of the
/// ciphertext `row` of the result is the sum over the diagonals of that row of `weights[s] x[s + rotation]`, where `x` is
/// the ciphertext `column` of the operand and positions are modulo the period (Halevi and Shoup, CRYPTO 2014). Rotations
/// are made in baby steps below [`base`](Self::base) and giant steps by multiples of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotMatrix {
    shape: Shape,
    diagonals: Vec<Diagonal>,
}

/// What a [`SlotMatrix`] acts on, and how its rotations are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Ciphertexts of the result.
    pub rows: usize,
    /// Ciphertexts of the operand.
    pub columns: usize,
    /// Slots after which vectors repeat; a power of two.
    pub period: usize,
    /// Baby steps are below this, giant steps multiples of it; a power of two, at most the period.
    pub base: usize,
    /// How giant steps are made.
    pub giants: Giants,
}

/// How giant steps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Giants {
    /// Every giant step is one rotation, with a key of its own.
    Separate,
    /// By Horner's rule: from the largest giant step down, the sum so far is rotated by the base, with one key for all.
    Chained,
}

/// One diagonal of a [`SlotMatrix`].
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonal {
    /// The ciphertext of the result.
    pub row: usize,
    /// The ciphertext of the operand.
    pub column: usize,
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
    /// A ciphertext of the result without a diagonal, or places of diagonals that do not rise or are outside.
    #[error(
        "diagonals of a matrix over slots: wanted some in each of {rows} rows, rising by row, column and rotation, in \
         {columns} columns and below the period {period}"
    )]
    Places {
        /// Ciphertexts of the result.
        rows: usize,
        /// Ciphertexts of the operand.
        columns: usize,
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
    pub fn new(shape: Shape, diagonals: Vec<Diagonal>) -> Result<Self, SlotMatrixError> {
        let Shape { rows, columns, period, base, .. } = shape;
        if !period.is_power_of_two() || !base.is_power_of_two() || base > period {
            return Err(SlotMatrixError::Period { period, base });
        }
        let rising = diagonals.windows(2).all(|pair| pair[0].place() < pair[1].place());
        let inside = diagonals.iter().all(|d| d.row < rows && d.column < columns && d.rotation < period);
        let filled = diagonals.chunk_by(|a, b| a.row == b.row).count();
        if !rising || !inside || filled != rows || rows == 0 {
            return Err(SlotMatrixError::Places { rows, columns, period });
        }
        for Diagonal { rotation, weights, .. } in &diagonals {
            if weights.len() != period || !weights.iter().all(|weight| weight.is_finite()) {
                return Err(SlotMatrixError::Weights { rotation: *rotation, period });
            }
        }
        Ok(Self { shape, diagonals })
    }

    /// What it acts on.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Slots after which vectors repeat.
    pub fn period(&self) -> usize {
        self.shape.period
    }

    /// The diagonals, by rising row, column and rotation.
    pub fn diagonals(&self) -> &[Diagonal] {
        &self.diagonals
    }

    /// The diagonals of each ciphertext of the result, with the position of the first of them.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[Diagonal])> {
        let mut first = 0;
        self.diagonals.chunk_by(|a, b| a.row == b.row).map(move |row| {
            first += row.len();
            (first - row.len(), row)
        })
    }

    /// The baby and the giant step of a rotation.
    pub fn steps(&self, rotation: usize) -> (usize, usize) {
        (rotation % self.shape.base, rotation - rotation % self.shape.base)
    }

    /// Distinct baby steps of each ciphertext of the operand, as pairs of it and the step; zero steps included.
    pub fn babies(&self) -> BTreeSet<(usize, usize)> {
        self.diagonals.iter().map(|diagonal| (diagonal.column, self.steps(diagonal.rotation).0)).collect()
    }

    /// Rotations by giant steps for each ciphertext of the result.
    pub fn giant_rotations(&self) -> Vec<usize> {
        let rotations = |row: &[Diagonal]| {
            let steps: BTreeSet<usize> = row.iter().map(|diagonal| self.steps(diagonal.rotation).1).collect();
            match self.shape.giants {
                Giants::Separate => steps.iter().filter(|step| **step != 0).count(),
                Giants::Chained => steps.last().map_or(0, |last| last / self.shape.base),
            }
        };
        self.rows().map(|(_, row)| rotations(row)).collect()
    }

    /// The rotations that need a key.
    pub fn rotations(&self) -> BTreeSet<usize> {
        let giants = self.diagonals.iter().map(|diagonal| self.steps(diagonal.rotation).1).filter(|giant| *giant != 0);
        let giants = giants.map(|giant| match self.shape.giants {
            Giants::Separate => giant,
            Giants::Chained => self.shape.base,
        });
        self.babies().into_iter().map(|(_, baby)| baby).filter(|baby| *baby != 0).chain(giants).collect()
    }

    /// The product with vectors, one a column after another, whose length is a multiple of the period.
    ///
    /// # Panics
    /// If there is not one vector a column.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let length = self.vector_length(x, self.shape.columns);
        let mut out = vec![0.0; self.shape.rows * length];
        for Diagonal { row, column, rotation, weights } in &self.diagonals {
            let (out, x) = (&mut out[row * length..][..length], &x[column * length..][..length]);
            for_each_run(length, *rotation, weights, |at, source, weights| {
                let terms = x[source..].iter().zip(weights);
                out[at..].iter_mut().zip(terms).for_each(|(out, (x, weight))| *out += x * f64::from(*weight));
            });
        }
        out
    }

    /// Derivatives by every ciphertext of the operand rotated by a baby step, before its weights, from those by the rows, one
    /// after another. By column and step.
    ///
    /// # Panics
    /// If there is not one vector a row.
    pub fn baby_adjoints(&self, y: &[f64]) -> BTreeMap<(usize, usize), Vec<f64>> {
        let length = self.vector_length(y, self.shape.rows);
        let mut adjoints: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
        for Diagonal { row, column, rotation, weights } in &self.diagonals {
            let (baby, giant) = self.steps(*rotation);
            let adjoint = adjoints.entry((*column, baby)).or_insert_with(|| vec![0.0; length]);
            let y = &y[row * length..][..length];
            for_each_run(length, giant, weights, |at, source, weights| {
                let terms = y[at..].iter().zip(weights);
                adjoint[source..].iter_mut().zip(terms).for_each(|(sum, (y, weight))| *sum += y * f64::from(*weight));
            });
        }
        adjoints
    }

    /// The product of the transpose with vectors, one a row after another, from their [`baby_adjoints`](Self::baby_adjoints).
    pub fn transposed(&self, adjoints: &BTreeMap<(usize, usize), Vec<f64>>) -> Vec<f64> {
        let length = adjoints.values().next().map_or(0, Vec::len);
        let mut out = vec![0.0; self.shape.columns * length];
        for ((column, baby), adjoint) in adjoints {
            let out = out[column * length..][..length].iter_mut();
            out.zip(rotate(adjoint, length - baby)).for_each(|(sum, derivative)| *sum += derivative);
        }
        out
    }

    fn vector_length(&self, vectors: &[f64], count: usize) -> usize {
        let length = vectors.len() / count.max(1);
        let whole = length * count == vectors.len() && length.is_multiple_of(self.shape.period);
        assert!(whole, "{} slots in {count} vectors of period {}", vectors.len(), self.shape.period);
        length
    }

    /// The largest weight in absolute value.
    pub fn largest_weight(&self) -> f64 {
        let weights = self.diagonals.iter().flat_map(|diagonal| &diagonal.weights);
        weights.fold(0.0, |largest, weight| f64::from(weight.abs()).max(largest))
    }
}

impl Diagonal {
    fn place(&self) -> (usize, usize, usize) {
        (self.row, self.column, self.rotation)
    }
}

/// Slot `at` of a result and slot `source = at + rotation` of its operand, modulo `length`, in runs of neighbours with the
/// weights of each run; `length` is a multiple of the period of the weights, and the rotation below that period.
fn for_each_run(length: usize, rotation: usize, weights: &[f32], mut run: impl FnMut(usize, usize, &[f32])) {
    for first in (0..length).step_by(weights.len()) {
        // Only the last period reaches over the end.
        let before = (length - first - rotation).min(weights.len());
        run(first, first + rotation, &weights[..before]);
        if before < weights.len() {
            run(first + before, 0, &weights[before..]);
        }
    }
}

/// A vector rotated: slot `s` holds what was in slot `s + rotation`.
pub fn rotate(x: &[f64], rotation: usize) -> impl Iterator<Item = f64> {
    let (head, tail) = x.split_at(rotation % x.len().max(1));
    tail.iter().chain(head).copied()
}

/// What a step of a fold makes of a vector: to every slot the ones further on by each of the rotations are added.
pub fn fold(x: &[f64], step: &[usize]) -> Vec<f64> {
    let mut sum = x.to_vec();
    for rotation in step {
        sum.iter_mut().zip(rotate(x, *rotation)).for_each(|(sum, rotated)| *sum += rotated);
    }
    sum
}

/// The transpose of [`fold`].
pub fn fold_transposed(y: &[f64], step: &[usize]) -> Vec<f64> {
    fold(y, &step.iter().map(|rotation| y.len() - rotation % y.len()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(giants: Giants) -> Shape {
        Shape { rows: 2, columns: 3, period: 8, base: 2, giants }
    }

    fn matrix(giants: Giants) -> SlotMatrix {
        let weights = |seed: usize| (0..8).map(|slot| ((slot * 7 + seed) % 5) as f32 - 2.0).collect();
        let places = [(0, 0, 0), (0, 0, 3), (0, 2, 6), (1, 1, 1), (1, 2, 4)];
        let diagonal = |(row, column, rotation)| Diagonal { row, column, rotation, weights: weights(rotation + row) };
        SlotMatrix::new(shape(giants), places.map(diagonal).to_vec()).unwrap()
    }

    #[test]
    fn steps_are_the_parts_of_rotations() {
        let [separate, chained] = [Giants::Separate, Giants::Chained].map(matrix);
        assert_eq!(separate.babies().into_iter().collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 1), (2, 0)]);
        assert_eq!(separate.rotations().into_iter().collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert_eq!(chained.rotations().into_iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((separate.giant_rotations(), chained.giant_rotations()), (vec![2, 1], vec![3, 2]));
        assert_eq!(separate.steps(7), (1, 6));
        assert_eq!(separate.largest_weight(), 2.0);
        let rows: Vec<(usize, usize)> = separate.rows().map(|(first, row)| (first, row.len())).collect();
        assert_eq!(rows, [(0, 3), (3, 2)]);
    }

    #[test]
    fn transposes_satisfy_their_definition() {
        let matrix = matrix(Giants::Separate);
        let unit = |i: usize, n: usize| (0..n).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
        for i in 0..32 {
            for j in 0..48 {
                assert_eq!(matrix.apply(&unit(j, 48))[i], matrix.transposed(&matrix.baby_adjoints(&unit(i, 32)))[j]);
            }
            let expected = matrix.diagonals().iter().filter(|d| d.row == i / 16).map(|d| {
                let slot = d.column * 16 + (i + d.rotation) % 16;
                f64::from(d.weights[i % 8]) * slot as f64
            });
            assert_eq!(matrix.apply(&(0..48).map(f64::from).collect::<Vec<_>>())[i], expected.sum::<f64>());
        }
        for i in 0..16 {
            for j in 0..16 {
                assert_eq!(fold(&unit(j, 16), &[5, 9])[i], fold_transposed(&unit(i, 16), &[5, 9])[j]);
            }
        }
    }

    #[test]
    fn malformed_matrices_are_refused() {
        let diagonal = |row, column, rotation, weight| Diagonal { row, column, rotation, weights: vec![weight; 4] };
        let shape = |period, base| Shape { rows: 2, columns: 2, period, base, giants: Giants::Separate };
        for (period, base) in [(6, 2), (4, 8), (4, 3)] {
            assert_eq!(SlotMatrix::new(shape(period, base), vec![]), Err(SlotMatrixError::Period { period, base }));
        }
        let wrong = [
            vec![],
            vec![(0, 0, 0)],
            vec![(0, 0, 1), (0, 0, 0), (1, 0, 0)],
            vec![(0, 0, 0), (1, 1, 2), (1, 1, 2)],
            vec![(0, 0, 0), (1, 0, 4)],
            vec![(0, 2, 0), (1, 0, 0)],
            vec![(0, 0, 0), (1, 0, 0), (2, 0, 0)],
        ];
        for places in wrong {
            let diagonals = places.iter().map(|(row, column, rotation)| diagonal(*row, *column, *rotation, 1.0));
            let expected = SlotMatrixError::Places { rows: 2, columns: 2, period: 4 };
            assert_eq!(SlotMatrix::new(shape(4, 2), diagonals.collect()), Err(expected), "{places:?}");
        }
        for weights in [vec![f32::NAN; 4], vec![0.0; 5]] {
            let diagonals = vec![diagonal(0, 0, 0, 1.0), Diagonal { row: 1, column: 0, rotation: 1, weights }];
            let expected = SlotMatrixError::Weights { rotation: 1, period: 4 };
            assert_eq!(SlotMatrix::new(shape(4, 2), diagonals), Err(expected));
        }
    }
}

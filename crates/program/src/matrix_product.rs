//! Products of encrypted matrices: Jiang, Kim, Lauter and Song, E2DM, CCS 2018, sections 3 and 4.
//!
//! A `d x d` matrix lies row by row in `d^2` slots, which repeat over the ciphertext. With the permutations
//! `sigma(A)[i][j] = A[i][i+j]`, `tau(B)[i][j] = B[i+j][j]`, `phi(A)[i][j] = A[i][j+1]` and `psi(B)[i][j] = B[i+1][j]`
//! (positions modulo `d`), `A B` is the sum over `k < d` of `phi^k(sigma(A)) * psi^k(tau(B))`, slot by slot.

use std::collections::{BTreeMap, BTreeSet};

use nightloom_he::{CkksParams, Scale};
use nightloom_ring::{IntegerMatrix, RingError};

use crate::slots::{Diagonal, Giants, Shape};
use crate::{Op, Program, SlotMatrix, SlotMatrixError, Source, ValueId, VerifyError};

/// A product of two encrypted matrices, or of several pairs at once.
///
/// Squat left factors (section 4.2): `rows` below `inner` is a product of `rows x inner` by `inner x inner` that takes
/// `rows` products of ciphertexts instead of `inner`. Several pairs (section 4.3) share the ciphertexts, entry by entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixProduct {
    rows: usize,
    inner: usize,
    pairs: usize,
}

/// Where the right factor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightFactor {
    /// It is the second ciphertext of the request.
    Request,
    /// It is a model, encrypted by its owner.
    Model,
}

/// Why there is no product.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixProductError {
    /// Sizes that are not powers of two, or more rows than columns on the left.
    #[error(
        "a product of {pairs} pairs of {rows} x {inner} and {inner} x {inner} matrices: wanted powers of two, no more rows \
         than {inner}"
    )]
    Sizes {
        /// Rows of the left factor.
        rows: usize,
        /// Columns of the left factor.
        inner: usize,
        /// Pairs.
        pairs: usize,
    },
    /// The parameters have too few levels.
    #[error("a product of matrices takes {wanted} levels, the parameters have {found}", wanted = MatrixProduct::LEVELS)]
    Levels {
        /// Levels below the highest.
        found: u8,
    },
    /// The parameters have no special prime, or too few slots.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Permutations that are no matrices over slots: a defect.
    #[error(transparent)]
    SlotMatrix(#[from] SlotMatrixError),
    /// Sums that are no matrix: a defect.
    #[error(transparent)]
    Ring(#[from] RingError),
}

impl MatrixProduct {
    /// Levels that a product takes.
    pub const LEVELS: u8 = 3;

    /// The product of `pairs` pairs of a `rows x inner` and an `inner x inner` matrix. Smaller matrices are padded with
    /// zeros.
    ///
    /// # Errors
    /// [`MatrixProductError::Sizes`] unless all are powers of two and `rows <= inner`.
    pub fn new(rows: usize, inner: usize, pairs: usize) -> Result<Self, MatrixProductError> {
        let powers = [rows, inner, pairs].iter().all(|size| size.is_power_of_two());
        let fits = powers && rows <= inner;
        if fits { Ok(Self { rows, inner, pairs }) } else { Err(MatrixProductError::Sizes { rows, inner, pairs }) }
    }

    /// Slots after which the vectors repeat: `inner^2 pairs`.
    pub fn period(&self) -> usize {
        self.inner * self.inner * self.pairs
    }

    /// One period of slots of the left factors: `pairs` matrices of `rows x inner`, row by row, one after another. Squat
    /// ones are repeated below each other.
    ///
    /// # Panics
    /// If there are not as many entries.
    pub fn pack_left(&self, matrices: &[f64]) -> Vec<f64> {
        let size = self.rows * self.inner;
        assert_eq!(matrices.len(), size * self.pairs, "entries of {} matrices", self.pairs);
        (0..self.period()).map(|slot| matrices[slot % self.pairs * size + slot / self.pairs % size]).collect()
    }

    /// One period of slots of the right factors: `pairs` matrices of `inner x inner`.
    ///
    /// # Panics
    /// If there are not as many entries.
    pub fn pack_right(&self, matrices: &[f64]) -> Vec<f64> {
        Self { rows: self.inner, ..*self }.pack_left(matrices)
    }

    /// The products, `pairs` matrices of `rows x inner`, from the slots of the result.
    ///
    /// # Panics
    /// If there are fewer slots than a period.
    pub fn unpack(&self, slots: &[f64]) -> Vec<f64> {
        let size = self.rows * self.inner;
        (0..size * self.pairs).map(|at| slots[at % size * self.pairs + at / size]).collect()
    }

    /// The program of one product: from ciphertexts at the highest level and this scale to one [`Self::LEVELS`] below it,
    /// of about the same scale. Entries of the result must stay below the lowest moduli over the scale.
    ///
    /// # Errors
    /// [`MatrixProductError`].
    pub fn program(
        &self,
        params: &CkksParams,
        scale: &Scale,
        right: RightFactor,
    ) -> Result<Program, MatrixProductError> {
        let (level, period) = (params.top(), self.period());
        let lowered = level.down(2).filter(|lowered| lowered.0 > 0);
        let lowered = lowered.ok_or(MatrixProductError::Levels { found: level.0 })?;
        let mut ops = Vec::new();
        let mut push = |op: Op| {
            ops.push(op);
            ValueId(ops.len() - 1)
        };
        let factors = if right == RightFactor::Request { 2 } else { 1 };
        let request = push(Op::Input { features: factors, level, scale: scale.clone() });
        let [left, right] = match right {
            RightFactor::Request => [push(pick(request, 0)?), push(pick(request, 1)?)],
            RightFactor::Model => [request, push(Op::Model { features: 1, level, scale: scale.clone(), period })],
        };
        // Factors of a permutation are ones: as much as is divided away keeps the scale.
        let permuted = |source, matrix, below| {
            let bits = (params.primes()[usize::from(level.0 - below)] as f64).log2().round() as i32;
            Op::SlotMatrix { source, matrix, weight_scale: Scale::power_of_two(bits), rescale: true }
        };
        let sigma = push(permuted(left, self.sigma()?, 0));
        let phis = push(permuted(sigma, self.phis()?, 1));
        let tau = push(permuted(right, self.tau()?, 0));
        let tau = push(Op::DropTo { source: tau, level: lowered });
        let step = self.inner * self.pairs;
        let rotations: Vec<usize> = (0..self.rows).map(|k| k * step).collect();
        let psis = push(Op::Rotate { source: tau, rotations, base: period });
        let products = push(Op::Multiply { left: phis, right: psis });
        let sum = push(self.sum(products)?);
        let mut product = push(Op::RelinearizeRescale { source: sum });
        if self.rows < self.inner {
            // Every copy of the left factor has met other rows of the right one.
            let copies = self.inner / self.rows;
            let steps = (0..copies.ilog2()).map(|bit| vec![(self.rows * step) << bit]).collect();
            product = push(Op::Fold { source: product, steps });
        }
        let names = vec!["matrix product".to_owned(); ops.len()];
        Ok(Program::new(params, ops, names, product)?.with_capacity(1))
    }

    /// The sum of all features.
    fn sum(&self, products: ValueId) -> Result<Op, RingError> {
        let ones: Vec<(u32, i32)> = (0..self.rows as u32).map(|column| (column, 1)).collect();
        linear(products, self.rows, &ones)
    }

    fn sigma(&self) -> Result<SlotMatrix, SlotMatrixError> {
        let d = self.inner;
        self.permutations(1, |_, i, j| (i, (i + j) % d))
    }

    fn tau(&self) -> Result<SlotMatrix, SlotMatrixError> {
        let d = self.inner;
        self.permutations(1, |_, i, j| ((i + j) % d, j))
    }

    /// `phi^k` for every `k` below the rows; rotations share one decomposition.
    fn phis(&self) -> Result<SlotMatrix, SlotMatrixError> {
        let d = self.inner;
        self.permutations(self.rows, |k, i, j| (i, (j + k) % d))
    }

    /// A ciphertext for each of some permutations of the entries: entry `i, j` of the result is that of the operand which
    /// the permutation says.
    fn permutations(
        &self,
        rows: usize,
        from: impl Fn(usize, usize, usize) -> (usize, usize),
    ) -> Result<SlotMatrix, SlotMatrixError> {
        let (d, period) = (self.inner, self.period());
        let mut diagonals: BTreeMap<(usize, usize), Vec<f32>> = BTreeMap::new();
        for (row, slot) in (0..rows).flat_map(|row| (0..period).map(move |slot| (row, slot))) {
            let (entry, pair) = (slot / self.pairs, slot % self.pairs);
            let (i, j) = from(row, entry / d, entry % d);
            let rotation = (i * d + j) * self.pairs + pair + period - slot;
            diagonals.entry((row, rotation % period)).or_insert_with(|| vec![0.0; period])[slot] = 1.0;
        }
        let base = best_base(diagonals.keys(), period);
        let shape = Shape { rows, columns: 1, period, base, giants: Giants::Separate };
        let diagonal = |((row, rotation), weights)| Diagonal { row, column: 0, rotation, weights };
        SlotMatrix::new(shape, diagonals.into_iter().map(diagonal).collect())
    }
}

/// The base with the fewest baby and giant steps, a giant step counted twice: it takes a decomposition of its own.
fn best_base<'a>(places: impl Iterator<Item = &'a (usize, usize)> + Clone, period: usize) -> usize {
    let steps = |base: usize| {
        let babies: BTreeSet<usize> = places.clone().map(|(_, rotation)| rotation % base).collect();
        let giants: BTreeSet<(usize, usize)> =
            places.clone().map(|(row, rotation)| (*row, rotation / base)).filter(|(_, giant)| *giant > 0).collect();
        babies.len() + 2 * giants.len()
    };
    (0..=period.ilog2()).map(|bit| 1 << bit).min_by_key(|base| steps(*base)).unwrap_or(period)
}

/// One ciphertext of an array of two.
fn pick(array: ValueId, feature: u32) -> Result<Op, RingError> {
    linear(array, 2, &[(feature, 1)])
}

fn linear(value: ValueId, columns: usize, row: &[(u32, i32)]) -> Result<Op, RingError> {
    let matrix = IntegerMatrix::new(columns, &[row.to_vec()])?;
    Ok(Op::Linear { sources: vec![Source { value, weight_scale: Scale::power_of_two(0) }], matrix, bias: vec![0.0] })
}

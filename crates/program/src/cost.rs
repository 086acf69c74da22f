//! What a program costs: counted in operations of the ring, priced by a machine.

use std::collections::BTreeSet;

use nightloom_he::ExtendedPlaintext;
use serde::{Deserialize, Serialize};

use crate::slots::Shape;
use crate::{Op, Program, SlotMatrix, ValueId};

mod calibrate;

pub use calibrate::{CalibrateError, calibrate};

/// Nanoseconds of the ring's operations on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// A transform, per coefficient and per level of the transform.
    pub butterfly: f64,
    /// A modular multiplication of residues that are in the cache.
    pub multiplication: f64,
    /// A residue of a key or of a weight, which comes from memory, beyond its multiplications.
    pub stream: f64,
    /// A residue of a value that is permuted, or that is written where it does not stay in the nearest cache.
    pub transfer: f64,
    /// A residue of a seeded ciphertext read from bytes: half is unpacked, half is expanded from the seed.
    pub read: f64,
    /// One multiply-accumulate of an integer matrix with one residue.
    pub multiply_accumulate: f64,
}

/// One core of a 2-core AMD EPYC (Zen 4) with the AVX2 kernel: docs/benchmarks.
pub const REFERENCE: Prices = Prices {
    butterfly: 0.15,
    multiplication: 0.28,
    stream: 0.55,
    transfer: 0.27,
    read: 5.9,
    multiply_accumulate: 0.05,
};

/// Counts of the ring's operations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Transforms of one limb.
    pub transforms: u64,
    /// Residues multiplied.
    pub multiplications: u64,
    /// Residues of keys and weights.
    pub streamed: u64,
    /// Residues of values that are permuted, or that leave the nearest cache.
    pub transferred: u64,
    /// Residues of ciphertexts read from bytes.
    pub read: u64,
    /// Multiply-accumulates of integer matrices.
    pub multiply_accumulates: u64,
}

impl Work {
    /// Seconds on one thread.
    pub fn seconds(self, prices: &Prices, degree: usize) -> f64 {
        let transform = degree as f64 * f64::from(degree.ilog2()) * prices.butterfly;
        let nanoseconds = self.transforms as f64 * transform
            + self.multiplications as f64 * prices.multiplication
            + self.streamed as f64 * prices.stream
            + self.transferred as f64 * prices.transfer
            + self.read as f64 * prices.read
            + self.multiply_accumulates as f64 * prices.multiply_accumulate;
        nanoseconds * 1e-9
    }
}

impl std::ops::Add for Work {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            transforms: self.transforms + other.transforms,
            multiplications: self.multiplications + other.multiplications,
            streamed: self.streamed + other.streamed,
            transferred: self.transferred + other.transferred,
            read: self.read + other.read,
            multiply_accumulates: self.multiply_accumulates + other.multiply_accumulates,
        }
    }
}

impl Work {
    /// Reading a request.
    pub fn input(features: usize, limbs: usize, n: u64) -> Self {
        Self { read: (2 * features * limbs) as u64 * n, ..Self::default() }
    }

    /// An integer matrix with this many entries, on arrays over `limbs` primes of degree `n`.
    pub fn linear(entries: usize, components: usize, limbs: usize, n: u64) -> Self {
        Self { multiply_accumulates: (entries * components * limbs) as u64 * n, ..Self::default() }
    }

    /// `products` products of residues for every residue of `features` polynomials over `limbs` primes.
    pub fn products(products: usize, features: usize, limbs: usize, n: u64) -> Self {
        Self { multiplications: (products * limbs * features) as u64 * n, ..Self::default() }
    }

    /// Products of pairs of `features` ciphertexts of two components.
    pub fn multiply(features: usize, limbs: usize, n: u64) -> Self {
        Self::products(4, features, limbs, n) + Self::arrays(7, features, limbs, n)
    }

    /// Squares of `features` ciphertexts of two components.
    pub fn square(features: usize, limbs: usize, n: u64) -> Self {
        Self::products(3, features, limbs, n) + Self::arrays(5, features, limbs, n)
    }

    /// The traffic of `features` times so many polynomials, if there are too many for a cache.
    fn arrays(polynomials: usize, features: usize, limbs: usize, n: u64) -> Self {
        const CACHED: u64 = 1 << 19;
        let residues = (polynomials * features * limbs) as u64 * n;
        Self { transferred: if residues > CACHED { residues } else { 0 }, ..Self::default() }
    }

    /// Division of polynomials over `limbs` primes by the product of the last `divisor` of them.
    pub fn division(polynomials: usize, limbs: usize, divisor: usize, n: u64) -> Self {
        Self {
            transforms: (polynomials * limbs) as u64,
            multiplications: (polynomials * (limbs - divisor) * (divisor + 1)) as u64 * n,
            ..Self::default()
        }
    }

    /// Key switch of one component of `features` ciphertexts over `limbs` primes, with `special` special primes, and
    /// division of the result by `divisor` primes.
    pub fn key_switch(features: usize, limbs: usize, special: usize, divisor: usize, n: u64) -> Self {
        let digits = limbs.div_ceil(special.max(1));
        let extended = limbs + special;
        let converted = digits * extended - limbs;
        let products = 2 * digits * extended + converted * special;
        let switch = Self {
            transforms: (features * (limbs + converted)) as u64,
            multiplications: (features * products) as u64 * n,
            // One key serves all.
            streamed: (features.min(1) * 2 * digits * extended) as u64 * n,
            ..Self::default()
        };
        switch + Self::division(2 * features, extended, divisor, n)
    }

    /// The decomposition of one component over `limbs` primes, which rotations of the same ciphertext share.
    pub fn decomposition(limbs: usize, special: usize, n: u64) -> Self {
        let digits = limbs.div_ceil(special.max(1));
        let converted = digits * (limbs + special) - limbs;
        Self {
            transforms: (limbs + converted) as u64,
            multiplications: (converted * special) as u64 * n,
            ..Self::default()
        }
    }

    /// One rotation of a decomposed ciphertext over `limbs` primes, left undivided: products with both parts of the key
    /// and the permutation.
    pub fn baby_step(limbs: usize, special: usize, n: u64) -> Self {
        let (digits, extended) = (limbs.div_ceil(special.max(1)), limbs + special);
        Self {
            multiplications: (2 * digits * extended) as u64 * n,
            streamed: (2 * digits * extended) as u64 * n,
            transferred: (2 * extended) as u64 * n,
            ..Self::default()
        }
    }

    /// One rotation of an undivided sum, left undivided.
    pub fn giant_step(limbs: usize, special: usize, n: u64) -> Self {
        Self::division(1, limbs + special, special, n)
            + Self::decomposition(limbs, special, n)
            + Self::baby_step(limbs, special, n)
    }

    /// A matrix over slots, with a rescaling or not.
    pub fn slot_matrix(counts: &SlotMatrixCounts, limbs: usize, special: usize, rescale: bool, n: u64) -> Self {
        let streamed = |limbs: usize| Self { streamed: limbs as u64 * counts.weights, ..Self::default() };
        if counts.babies + counts.giants == 0 {
            let products = Self::products(2 * counts.diagonals, 1, limbs, n) + streamed(limbs);
            let division = Self::division(2 * counts.rows, limbs, 1, n);
            return if rescale { products + division } else { products };
        }
        let (extended, divisor) = (limbs + special, special + usize::from(rescale));
        Self::products(2 * counts.diagonals, 1, extended, n)
            + streamed(extended)
            + Self::arrays(2, counts.rows + counts.columns + counts.babies, extended, n)
            + Self::decomposition(limbs, special, n).times(counts.columns)
            + Self::baby_step(limbs, special, n).times(counts.babies)
            + Self::giant_step(limbs, special, n).times(counts.giants)
            + Self::division(2 * counts.rows, extended, divisor, n)
    }

    /// One ciphertext rotated by each of these, by giant steps and baby steps below `base`.
    pub fn rotations(rotations: &[usize], base: usize, limbs: usize, special: usize, n: u64) -> Self {
        let giants: BTreeSet<usize> = rotations.iter().map(|rotation| rotation / base).collect();
        let steps = giants.iter().filter(|giant| **giant != 0).count();
        let babies = rotations.iter().filter(|rotation| *rotation % base != 0).count();
        let hoisted = Self::hoisted_rotation(limbs, special, n);
        Self::decomposition(limbs, special, n).times(1 + steps) + hoisted.times(steps + babies)
    }

    /// A fold of one ciphertext by the rotations of these steps.
    pub fn fold(steps: &[Vec<usize>], limbs: usize, special: usize, n: u64) -> Self {
        if steps.is_empty() {
            return Self::default();
        }
        Self::decomposition(limbs, special, n).times(steps.len())
            + Self::baby_step(limbs, special, n).times(steps.iter().map(Vec::len).sum())
            + Self::division(steps.len() + 1, limbs + special, special, n)
    }

    /// One rotation of a decomposed ciphertext, divided.
    pub fn hoisted_rotation(limbs: usize, special: usize, n: u64) -> Self {
        Self::baby_step(limbs, special, n) + Self::division(2, limbs + special, special, n)
    }

    /// This work, so many times.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self {
            transforms: self.transforms * count as u64,
            multiplications: self.multiplications * count as u64,
            streamed: self.streamed * count as u64,
            transferred: self.transferred * count as u64,
            read: self.read * count as u64,
            multiply_accumulates: self.multiply_accumulates * count as u64,
        }
    }
}

/// What a matrix over slots has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotMatrixCounts {
    /// Ciphertexts of the result.
    pub rows: usize,
    /// Ciphertexts of the operand.
    pub columns: usize,
    /// Diagonals.
    pub diagonals: usize,
    /// Residues of their weights modulo one prime.
    pub weights: u64,
    /// Rotations by baby steps, of all ciphertexts of the operand.
    pub babies: usize,
    /// Rotations by giant steps, for all ciphertexts of the result.
    pub giants: usize,
}

impl SlotMatrixCounts {
    /// Those of a matrix, with as many residues for a vector of its period.
    pub fn new(matrix: &SlotMatrix, residues: usize) -> Self {
        let Shape { rows, columns, .. } = *matrix.shape();
        let diagonals = matrix.diagonals().len();
        Self {
            rows,
            columns,
            diagonals,
            weights: (diagonals * residues) as u64,
            babies: matrix.babies().iter().filter(|(_, step)| *step != 0).count(),
            giants: matrix.giant_rotations().iter().sum(),
        }
    }
}

impl Program {
    /// The work of one operation on one batch.
    ///
    /// # Panics
    /// If there is no such operation.
    pub fn work(&self, op: usize) -> Work {
        let special = self.params().special_primes().len();
        let n = self.params().degree() as u64;
        let result = &self.types()[op];
        let limbs = result.level.limbs();
        let source_limbs = |source: &ValueId| self.types()[source.0].level.limbs();
        match &self.ops()[op] {
            Op::Input { .. } => Work::input(result.features, limbs, n),
            Op::Model { .. } | Op::DropTo { .. } => Work::default(),
            Op::Linear { matrix, .. } => Work::linear(matrix.entries(), result.components, limbs, n),
            Op::Square { .. } => Work::square(result.features, limbs, n),
            Op::Multiply { .. } => Work::multiply(result.features, limbs, n),
            Op::Relinearize { source } => Work::key_switch(result.features, source_limbs(source), special, special, n),
            Op::RelinearizeRescale { source } => {
                Work::key_switch(result.features, source_limbs(source), special, special + 1, n)
            }
            Op::Rescale { source } => Work::division(result.components * result.features, source_limbs(source), 1, n),
            Op::SlotMatrix { source, matrix, rescale, .. } => {
                let residues = ExtendedPlaintext::residues(self.params(), matrix.period());
                Work::slot_matrix(&SlotMatrixCounts::new(matrix, residues), source_limbs(source), special, *rescale, n)
            }
            Op::Rotate { source, rotations, base } => {
                let features = self.types()[source.0].features;
                Work::rotations(rotations, *base, limbs, special, n).times(features)
            }
            Op::Fold { steps, .. } => Work::fold(steps, limbs, special, n).times(result.features),
            Op::AddSlots { .. } => Work::products(1, result.features, limbs, n),
        }
    }

    /// The work of one batch.
    pub fn total_work(&self) -> Work {
        (0..self.ops().len()).map(|op| self.work(op)).fold(Work::default(), |sum, work| sum + work)
    }
}

//! Where to rescale: the levels of every step, and what they cost.
//!
//! Primes have no size here, only a number, on which the time depends.

use nightloom_he::{ExtendedPlaintext, security};
use nightloom_program::Giants;
use nightloom_program::cost::{Prices, SlotMatrixCounts, Work};

use super::packing::Steps;
use super::{Packed, PackedLayer, Weights};

/// Levels of a plan.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub log_degree: u32,
    /// Primes of the chain.
    pub primes: usize,
    /// Special primes.
    pub special: usize,
    pub layers: Vec<ChainLayer>,
    /// Predicted seconds.
    pub seconds: f64,
}

/// One layer and the square after it.
#[derive(Debug, Clone)]
pub(super) struct ChainLayer {
    /// Whether the matrix is rescaled, with the division that ends it.
    pub rescale_matrix: bool,
    /// Rescalings after the square.
    pub rescale_square: usize,
    /// How rotations are made.
    pub steps: Steps,
    /// The rotations of each step of the fold.
    pub folds: Vec<Vec<usize>>,
}

/// Sizes of primes: there are too few smaller ones, and none larger.
pub(super) const MIN_PRIME_BITS: u32 = 26;
pub(super) const MAX_PRIME_BITS: u32 = 50;
/// Most primes beyond the rescalings: they hold the result.
const MAX_BOTTOM: usize = 3;
/// Beyond this many layers all are treated alike.
const MAX_ENUMERATED: usize = 4;

/// Most folds in one step, which then has `2^MAX_COMBINED - 1` rotations.
const MAX_COMBINED: usize = 4;

/// All chains of a degree, the fastest first.
pub(super) fn candidates(packed: &Packed, log_degree: u32, insecure: bool, prices: &Prices) -> Vec<Chain> {
    let choices: Vec<(bool, usize)> = [false, true].into_iter().flat_map(|m| (0..=2).map(move |s| (m, s))).collect();
    let layers = packed.layers.len();
    let patterns: Vec<Vec<(bool, usize)>> = if layers > MAX_ENUMERATED {
        let alike = |(matrix, square): &(bool, usize)| {
            packed.layers.iter().map(|layer| (*matrix, if layer.squared { *square } else { 0 })).collect()
        };
        choices.iter().map(alike).collect()
    } else {
        let count = choices.len().pow(layers as u32);
        (0..count)
            .map(|code| (0..layers as u32).map(|i| choices[code / choices.len().pow(i) % choices.len()]).collect())
            .collect()
    };
    let mut chains: Vec<Chain> = Vec::new();
    for pattern in patterns {
        // A layer without a square has nothing to rescale after it.
        let idle = |((_, square), layer): (&(bool, usize), &PackedLayer)| *square > 0 && !layer.squared;
        if pattern.iter().zip(&packed.layers).any(idle) {
            continue;
        }
        let depth: usize = pattern.iter().map(|(matrix, square)| usize::from(*matrix) + square).sum();
        for (bottom, special) in (1..=MAX_BOTTOM).flat_map(|bottom| (1..=3).map(move |special| (bottom, special))) {
            let chain = Chain::new(packed, log_degree, [depth + bottom, special], &pattern, prices);
            if chain.budgets(insecure).is_some() {
                chains.push(chain);
            }
        }
    }
    chains.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    chains
}

impl Chain {
    fn new(
        packed: &Packed,
        log_degree: u32,
        [primes, special]: [usize; 2],
        pattern: &[(bool, usize)],
        prices: &Prices,
    ) -> Self {
        let n = 1u64 << log_degree;
        let mut limbs = primes;
        let inputs = packed.layers.first().map_or(0, |first| first.layer.inputs);
        let mut work = Work::input(inputs, limbs, n);
        let mut layers = Vec::new();
        for (packed, (rescale_matrix, rescale_square)) in packed.layers.iter().zip(pattern) {
            let steps = packed.cheapest_steps(limbs, special, n, prices);
            work = work + packed.matrix_work(&steps, limbs, special, *rescale_matrix, n);
            limbs -= usize::from(*rescale_matrix);
            let ciphertexts = packed.layer.output.ciphertexts();
            let folds = packed.cheapest_folds(limbs, special, n, prices);
            work = work + Work::fold(&folds, limbs, special, n).times(ciphertexts);
            if packed.squared {
                work = work + Work::square(ciphertexts, limbs, n);
                let divisor = special + usize::from(*rescale_square > 0);
                work = work + Work::key_switch(ciphertexts, limbs, special, divisor, n);
                limbs -= rescale_square;
                if *rescale_square > 1 {
                    work = work + Work::division(2 * ciphertexts, limbs + 1, 1, n);
                }
            }
            let (rescale_matrix, rescale_square) = (*rescale_matrix, *rescale_square);
            layers.push(ChainLayer { rescale_matrix, rescale_square, steps, folds });
        }
        Self { log_degree, primes, special, layers, seconds: work.seconds(prices, n as usize) }
    }

    /// Total sizes of primes, special ones included, that the security table allows: the smallest and the largest.
    pub fn budgets(&self, insecure: bool) -> Option<(u32, u32)> {
        let count = (self.primes + self.special) as u32;
        let (least, most) = (MIN_PRIME_BITS * count, MAX_PRIME_BITS * count);
        let most = if insecure { most } else { most.min(security::max_log_qp(self.log_degree).unwrap_or(0)) };
        (least <= most).then_some((least, most))
    }
}

impl PackedLayer {
    /// The cheapest way to make the layer's rotations.
    pub fn cheapest_steps(&self, limbs: usize, special: usize, n: u64, prices: &Prices) -> Steps {
        let seconds = |work: Work| work.seconds(prices, n as usize);
        let (baby, giant) = match self.weights {
            Weights::Clear => (Work::baby_step(limbs, special, n), Work::giant_step(limbs, special, n)),
            Weights::Encrypted => {
                let rotation = Work::hoisted_rotation(limbs, special, n);
                (rotation, rotation + Work::decomposition(limbs, special, n))
            }
        };
        // A period of one slot has one way.
        let none = Steps { base: 1, kind: Giants::Separate, babies: 0, giants: 0, keys: 0 };
        Steps::cheapest(&self.steps, seconds(baby), seconds(giant)).cloned().unwrap_or(none)
    }

    /// The cheapest way to fold; of several as cheap the one with the fewest keys.
    pub fn cheapest_folds(&self, limbs: usize, special: usize, n: u64, prices: &Prices) -> Vec<Vec<usize>> {
        let doublings = self.layer.folds.len();
        let counts = doublings.div_ceil(MAX_COMBINED).max(1)..=doublings;
        let options = counts.rev().map(|steps| self.layer.fold_steps(steps));
        let cost = |steps: &Vec<Vec<usize>>| Work::fold(steps, limbs, special, n).seconds(prices, n as usize);
        options.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or_default()
    }

    /// The work of the layer's matrix.
    pub fn matrix_work(&self, steps: &Steps, limbs: usize, special: usize, rescale: bool, n: u64) -> Work {
        let (rows, columns, diagonals) =
            (self.layer.output.ciphertexts(), self.layer.inputs, self.layer.diagonals.len());
        match self.weights {
            Weights::Clear => {
                let residues = ExtendedPlaintext::repeated_residues(n as usize, n as usize / self.layer.width());
                let weights = (diagonals * residues) as u64;
                let (babies, giants) = (steps.babies, steps.giants);
                let counts = SlotMatrixCounts { rows, columns, diagonals, weights, babies, giants };
                Work::slot_matrix(&counts, limbs, special, rescale, n)
            }
            Weights::Encrypted => {
                let rotations = Work::hoisted_rotation(limbs, special, n).times(steps.babies + steps.giants);
                let decomposed = if steps.babies + steps.giants == 0 { 0 } else { columns + steps.giants };
                rotations
                    + Work::decomposition(limbs, special, n).times(decomposed)
                    + Work::multiply(diagonals, limbs, n)
                    + Work::linear(diagonals, 3, limbs, n)
                    + Work::key_switch(rows, limbs, special, special + usize::from(rescale), n)
            }
        }
    }
}

//! Where to rescale: the levels of every step, and what they cost.
//!
//! Primes have no size here, only a number, on which the time depends.

use nightloom_he::security;
use nightloom_program::cost::{Prices, REFERENCE, Work};

use super::packing::Steps;
use super::{Packed, PackedLayer};

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
}

/// Sizes of primes: there are too few smaller ones, and none larger.
pub(super) const MIN_PRIME_BITS: u32 = 26;
pub(super) const MAX_PRIME_BITS: u32 = 50;
/// Most primes beyond the rescalings: they hold the result.
const MAX_BOTTOM: usize = 3;
/// Beyond this many layers all are treated alike.
const MAX_ENUMERATED: usize = 4;

/// All chains of a degree, the fastest first.
pub(super) fn candidates(packed: &Packed, log_degree: u32, insecure: bool) -> Vec<Chain> {
    let choices: Vec<(bool, usize)> = [false, true].into_iter().flat_map(|m| (0..=2).map(move |s| (m, s))).collect();
    let layers = packed.layers.len();
    let patterns: Vec<Vec<(bool, usize)>> = if layers > MAX_ENUMERATED {
        choices.iter().map(|choice| vec![*choice; layers]).collect()
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
            let chain = Chain::new(packed, log_degree, depth + bottom, special, &pattern);
            if chain.budgets(insecure).is_some() {
                chains.push(chain);
            }
        }
    }
    chains.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    chains
}

impl Chain {
    fn new(packed: &Packed, log_degree: u32, primes: usize, special: usize, pattern: &[(bool, usize)]) -> Self {
        let (n, prices) = (1u64 << log_degree, &REFERENCE);
        let mut limbs = primes;
        let mut work = Work::default();
        let mut layers = Vec::new();
        for (packed, (rescale_matrix, rescale_square)) in packed.layers.iter().zip(pattern) {
            let divisor = special + usize::from(*rescale_matrix);
            let steps = steps(&packed.layer.diagonals.keys().copied().collect::<Vec<_>>(), limbs, special, n, prices);
            let counts = [packed.layer.diagonals.len(), steps.babies, steps.giants];
            work = work + Work::slot_matrix(counts, limbs, special, divisor, n);
            limbs -= usize::from(*rescale_matrix);
            work = work + Work::key_switch(packed.layer.folds.len(), limbs, special, special, n);
            if packed.squared {
                work = work + Work::products(3, 1, limbs, n);
                let divisor = special + usize::from(*rescale_square > 0);
                work = work + Work::key_switch(1, limbs, special, divisor, n);
                limbs -= rescale_square;
                if *rescale_square > 1 {
                    work = work + Work::division(2, limbs + 1, 1, n);
                }
            }
            let (rescale_matrix, rescale_square) = (*rescale_matrix, *rescale_square);
            layers.push(ChainLayer { rescale_matrix, rescale_square, steps });
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

fn steps(rotations: &[usize], limbs: usize, special: usize, n: u64, prices: &Prices) -> Steps {
    let seconds = |work: Work| work.seconds(prices, n as usize);
    let baby = seconds(Work::baby_step(limbs, special, n));
    let giant = seconds(Work::giant_step(limbs, special, n));
    let width = rotations.iter().max().map_or(1, |largest| (largest + 1).next_power_of_two());
    Steps::cheapest(rotations, width, baby, giant)
}

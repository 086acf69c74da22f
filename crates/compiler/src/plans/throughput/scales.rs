//! The scales of a sketch: as large as the modulus allows, where that lowers the error of the output.
//!
//! The variables are `log2` of the scales of the input and of every affine stage's result; all others follow. In these
//! variables the constraints and the logarithm of the error are convex (they are sums of products of powers of scales:
//! a geometric program), so that a descent by small steps ends near the best there is, wherever it begins.

use std::collections::BTreeSet;

use nightloom_he::{CkksParams, CkksSpec, Ring, SpecError, noise as scheme};
use nightloom_ring::linear::MAX_ROW_NORM;
use nightloom_ring::{RingError, prime};

use super::facts::Facts;
use super::sketch::{Sketch, Step, StepType};

/// Bits by which a scaled value stays below the modulus: one for the sign, half a bit for noise.
const VALUE_ROOM_BITS: f64 = 1.5;
/// Bits by which noise stays below the modulus: what the largest value leaves up to half of it, `1/2 - 2^-1.5`.
const NOISE_ROOM_BITS: f64 = 2.8;
/// Integers that are added or encrypted have at most this many bits: verifier and encoder.
const MAX_INTEGER_BITS: f64 = 120.0;
/// Deviations that bound fresh noise, as for the stated bound.
const FRESH_DEVIATIONS: f64 = 8.0;
/// Three deviations of the rounding of a weight, in units of its scale: what the worst of some outputs meets.
const WEIGHT_ROUNDING: f64 = 3.0 * 0.288_675_134_594_812_9;
/// Against rounding of logarithms: limits that are strict, and primes of candidates, are lower by this many bits.
const TOLERANCE_BITS: f64 = 1e-6;

/// Bounds of noise that depend only on the ring, in units of scaled integers: deviations times their tails.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingNoise {
    fresh: f64,
    /// Of two and of three components.
    roundings: [f64; 2],
    /// The key switch of one digit as large as the special primes.
    digit: f64,
}

impl RingNoise {
    /// The noise in the conjugate-invariant ring of this degree.
    ///
    /// # Errors
    /// [`SpecError`] for a degree that does not exist.
    pub fn new(log_degree: u32) -> Result<Self, SpecError> {
        // Nothing is encrypted under these: they are the smallest ones that know the ring and switch one digit.
        let smallest =
            CkksSpec { ring: Ring::ConjugateInvariant, log_degree, prime_bits: vec![40], special_bits: vec![40] };
        let params = smallest.validate_insecure()?;
        Ok(Self {
            fresh: FRESH_DEVIATIONS * scheme::fresh_symmetric(&params),
            roundings: [
                scheme::TAIL_DEVIATIONS * scheme::rounding(&params, 2),
                scheme::TAIL_DEVIATIONS_OF_THREE * scheme::rounding(&params, 3),
            ],
            digit: scheme::TAIL_DEVIATIONS * scheme::key_switch(&params, params.top()),
        })
    }
}

/// What the scales depend on in parameters. Candidates are judged by it, and no table is made.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    noise: RingNoise,
    /// `log2` of `q_0, .., q_L`.
    log_primes: Vec<f64>,
    special: usize,
}

impl Chain {
    /// The chain of a candidate with primes of one size, a little smaller than they are: what fits these fits the
    /// parameters.
    ///
    /// # Errors
    /// [`RingError::NotEnoughPrimes`] if the ring has too few of this size.
    pub fn of_candidate(spec: &CkksSpec, bits: u32, noise: RingNoise) -> Result<Self, RingError> {
        let (length, special) = (spec.prime_bits.len(), spec.special_bits.len());
        let order = spec.ring.root_order(1 << spec.log_degree);
        // The special primes are the first of their size.
        let primes = prime::largest_primes(bits, order, special + length, &[])?;
        let log_primes = primes[special..].iter().map(|prime| (*prime as f64).log2() - TOLERANCE_BITS).collect();
        Ok(Self { noise, log_primes, special })
    }

    /// The chain of parameters.
    pub fn of_params(params: &CkksParams, noise: RingNoise) -> Self {
        let log_primes = params.primes().iter().map(|prime| (*prime as f64).log2()).collect();
        Self { noise, log_primes, special: params.special_primes().len() }
    }

    /// Number of primes after `used` rescalings.
    fn limbs(&self, used: usize) -> usize {
        self.log_primes.len() - used
    }

    /// `log2` of the prime by which the next rescaling divides.
    fn log_last(&self, used: usize) -> f64 {
        self.log_primes[self.limbs(used) - 1]
    }

    fn log_q(&self, used: usize) -> f64 {
        self.log_primes[..self.limbs(used)].iter().sum()
    }

    fn key_switch(&self, used: usize) -> f64 {
        self.noise.digit * (self.limbs(used).div_ceil(self.special.max(1)) as f64).sqrt()
    }
}

/// The variables: `log2` of the scale of the input, then by stage of the network of its result. Those of products are
/// not used.
pub(super) type Targets = Vec<i32>;

/// `log2` of the scale of every step's result, and of every linear step's weights by source.
#[derive(Debug, Clone, Default)]
pub(super) struct LogScales {
    pub results: Vec<f64>,
    pub weights: Vec<Vec<f64>>,
}

impl LogScales {
    fn new(sketch: &Sketch, chain: &Chain, targets: &Targets) -> Self {
        let mut scales = Self::default();
        for step in &sketch.steps {
            let mut weights = Vec::new();
            let result = match step {
                Step::Input => f64::from(targets[0]),
                Step::Linear { stage, sources } => {
                    let target = f64::from(targets[1 + stage]);
                    weights.extend(sources.iter().map(|source| target - scales.results[*source]));
                    target
                }
                Step::Square { source } => 2.0 * scales.results[*source],
                Step::Multiply { left, right } => scales.results[*left] + scales.results[*right],
                Step::Relinearize { source } | Step::DropTo { source, .. } => scales.results[*source],
                Step::Rescale { source } | Step::RelinearizeRescale { source } => {
                    scales.results[*source] - chain.log_last(sketch.types[*source].used)
                }
            };
            scales.results.push(result);
            scales.weights.push(weights);
        }
        scales
    }
}

/// How good scales are.
#[derive(Debug, Clone)]
pub(super) struct Assessment {
    /// By how many bits constraints are broken, in squares, added up. Zero: every value and matrix fits.
    pub excess: f64,
    /// Estimated error of the output: bounds of noise and of rounded weights at typical magnitudes, added in squares,
    /// features taken as independent.
    pub error: f64,
    /// By step: the largest magnitude of any feature when the program runs, weights rounded, for any input in the
    /// interval.
    pub magnitudes: Vec<f64>,
}

impl Assessment {
    pub fn new(sketch: &Sketch, facts: &Facts, chain: &Chain, scales: &LogScales) -> Self {
        let steps = sketch.steps.len();
        let mut excess = 0.0;
        let mut keep = |found: f64, limit: f64| {
            let over = found - limit;
            if over > 0.0 || over.is_nan() {
                excess += over * over;
            }
        };
        let mut errors: Vec<f64> = Vec::with_capacity(steps);
        // How far the program's values may be from the network's: the effect of rounded weights, at most.
        let mut shifts: Vec<f64> = Vec::with_capacity(steps);
        let mut magnitudes: Vec<f64> = Vec::with_capacity(steps);
        for (index, (step, result)) in sketch.steps.iter().zip(&sketch.types).enumerate() {
            let StepType { used, components, value, .. } = *result;
            let (log_q, log_scale) = (chain.log_q(used), scales.results[index]);
            let scale = log_scale.exp2();
            let exact = |step: usize| facts.magnitudes[sketch.types[step].value.index()];
            let typical = |step: usize| facts.typical[sketch.types[step].value.index()];
            let divided = |source: usize, switch: f64| {
                let rounding = chain.noise.roundings[components - 2] / scale;
                errors[source].hypot(rounding).hypot(switch / scales.results[source].exp2())
            };
            let (error, shift) = match step {
                Step::Input => {
                    // A message of a batch of equal extremes is one coefficient, which the encoder adds 1 to and rounds
                    // up to whole bits.
                    let integer = (exact(index) * scale + 2.0).log2();
                    keep(integer, log_q.floor().min(MAX_INTEGER_BITS) - 1.0 - TOLERANCE_BITS);
                    (chain.noise.fresh / scale, 0.0)
                }
                Step::Linear { stage, sources } => {
                    let layer = &facts.layers[*stage];
                    let (mut square, mut norm, mut shift) = (0.0, 0.0, 0.0);
                    for ((source, norms), log_weights) in sources.iter().zip(&layer.norms).zip(&scales.weights[index]) {
                        let weights = log_weights.exp2();
                        norm += norms.absolute * weights + norms.count;
                        let rounded = norms.count.sqrt() * typical(*source) * WEIGHT_ROUNDING / weights;
                        square += (norms.euclidean * errors[*source]).powi(2) + rounded.powi(2);
                        shift += norms.absolute * shifts[*source]
                            + norms.count / (2.0 * weights) * (exact(*source) + shifts[*source]);
                    }
                    keep(norm.log2(), (MAX_ROW_NORM as f64).log2());
                    keep(layer.bias.log2() + log_scale, (log_q - 1.0).min(MAX_INTEGER_BITS) - TOLERANCE_BITS);
                    (f64::sqrt(square), shift)
                }
                Step::Square { source } => {
                    let (error, shift) = (errors[*source], shifts[*source]);
                    ((2.0 * typical(*source) + error) * error, (2.0 * exact(*source) + shift) * shift)
                }
                Step::Multiply { left, right } => {
                    let (left, right) = (*left, *right);
                    let product = |of: &dyn Fn(usize) -> f64, by: &[f64]| {
                        (of(left) + by[left]) * by[right] + of(right) * by[left]
                    };
                    (product(&typical, &errors), product(&exact, &shifts))
                }
                Step::Relinearize { source } | Step::RelinearizeRescale { source } => {
                    (divided(*source, chain.key_switch(sketch.types[*source].used)), shifts[*source])
                }
                Step::Rescale { source } => (divided(*source, 0.0), shifts[*source]),
                Step::DropTo { source, .. } => (errors[*source], shifts[*source]),
            };
            let magnitude = facts.magnitudes[value.index()] + shift;
            keep(magnitude.log2() + log_scale, log_q - VALUE_ROOM_BITS);
            keep(error.log2() + log_scale, log_q - NOISE_ROOM_BITS);
            errors.push(error);
            shifts.push(shift);
            magnitudes.push(magnitude);
        }
        Self { excess, error: errors[sketch.output], magnitudes }
    }

    pub fn fits(&self) -> bool {
        self.excess == 0.0 && self.error.is_finite()
    }

    /// Whether this is better by more than a thousandth. What fits is better than what does not.
    fn improves(&self, other: &Self) -> bool {
        if other.excess > 0.0 {
            self.excess < 0.999 * other.excess
        } else {
            self.fits() && self.error < 0.999 * other.error
        }
    }
}

/// Bits of weights and bits kept free below a prime with which the descent begins: then rescaling leaves every scale as
/// it was, however many products follow each other.
const FIRST_WEIGHT_BITS: i32 = 8;

/// Scales with which everything fits, close to the best for the error of the output, and that error as estimated;
/// `None` if there are none.
///
/// From scales near the primes, by steps of one variable and of two that meet in a step, until none helps.
pub(super) fn choose(sketch: &Sketch, facts: &Facts, chain: &Chain) -> Option<(Targets, f64)> {
    let assess = |targets: &Targets| Assessment::new(sketch, facts, chain, &LogScales::new(sketch, chain, targets));
    let moves = moves(sketch);
    let mut targets = first(sketch, facts, chain);
    let mut best = assess(&targets);
    loop {
        let mut helped = false;
        for change in &moves {
            loop {
                let mut changed = targets.clone();
                change.iter().for_each(|(variable, by)| changed[*variable] += by);
                let assessment = assess(&changed);
                if !assessment.improves(&best) {
                    break;
                }
                (targets, best, helped) = (changed, assessment, true);
            }
        }
        if !helped {
            return best.fits().then_some((targets, best.error));
        }
    }
}

/// Changes that are tried: of variables, each by some bits.
fn moves(sketch: &Sketch) -> Vec<Vec<(usize, i32)>> {
    // By step: the variables that set the scale of its result. Two that meet are the input or the result of one layer,
    // sources of one, or factors of a product: elsewhere scales do not depend on two at once.
    let mut variables: Vec<BTreeSet<usize>> = Vec::new();
    let mut pairs = BTreeSet::new();
    for step in &sketch.steps {
        let union = |sources: &[usize]| sources.iter().flat_map(|source| variables[*source].iter().copied()).collect();
        let mut meet: BTreeSet<usize> = match step {
            Step::Input => BTreeSet::from([0]),
            Step::Linear { sources, .. } => union(sources),
            Step::Multiply { left, right } => union(&[*left, *right]),
            Step::Square { source }
            | Step::Relinearize { source }
            | Step::Rescale { source }
            | Step::RelinearizeRescale { source }
            | Step::DropTo { source, .. } => union(&[*source]),
        };
        let result = if let Step::Linear { stage, .. } = step { BTreeSet::from([1 + stage]) } else { meet.clone() };
        meet.extend(&result);
        pairs.extend(meet.iter().flat_map(|a| meet.range(a + 1..).map(|b| (*a, *b))));
        variables.push(result);
    }
    let single: BTreeSet<usize> = variables.into_iter().flatten().collect();
    let alone = [16, -16, 4, -4, 1, -1].into_iter().flat_map(|by| single.iter().map(move |one| vec![(*one, by)]));
    let steps = || [1, -1, 2, -2].into_iter();
    let together =
        pairs.iter().flat_map(|(a, b)| steps().flat_map(move |by| steps().map(move |also| vec![(*a, by), (*b, also)])));
    alone.chain(together).collect()
}

/// Scales near the primes, whatever their effect.
fn first(sketch: &Sketch, facts: &Facts, chain: &Chain) -> Targets {
    let mut targets = vec![0; 1 + facts.layers.len()];
    let log_prime = chain.log_primes.iter().sum::<f64>() / chain.log_primes.len() as f64;
    targets[0] = log_prime as i32 - 2 * FIRST_WEIGHT_BITS;
    for step in &sketch.steps {
        if let Step::Linear { stage, sources } = step {
            // Stages come in order, so that the scales of the sources are settled.
            let known = LogScales::new(sketch, chain, &targets);
            let source = sources.iter().map(|source| known.results[*source]).fold(f64::NEG_INFINITY, f64::max);
            let weight = facts.layers[*stage].norms.iter().map(|norms| norms.euclidean).fold(0.0, f64::max);
            targets[1 + stage] = source as i32 + FIRST_WEIGHT_BITS - weight.log2().clamp(-64.0, 64.0) as i32;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::sketch::sketches;
    use super::super::{Options, build};
    use super::*;
    use crate::interval::Interval;
    use crate::matrix::SparseMatrix;
    use crate::network::{Network, Stage, ValueId};
    use nightloom_program::cost::REFERENCE;

    fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    fn affine(sources: &[(usize, usize)], rows: usize, bias: f64, seed: u64) -> Stage {
        let mut random = random(seed);
        let columns = sources.iter().map(|(_, length)| length).sum();
        let mut matrix = SparseMatrix::new(columns);
        for _ in 0..rows {
            matrix.push_row((0..columns).map(|column| (column, 2.0 * random() - 1.0))).unwrap();
        }
        let sources = sources.iter().map(|(value, _)| ValueId(*value)).collect();
        Stage::Affine { name: "affine".into(), sources, matrix, bias: vec![bias; rows] }
    }

    /// Two products in a row, a residual across the second, and a layer with a bias.
    fn network(bias: f64) -> Network {
        let name = || "product".to_owned();
        let stages = vec![
            affine(&[(0, 3)], 4, 0.25, 1),
            Stage::Square { name: name(), source: ValueId(1) },
            affine(&[(2, 4)], 3, -0.5, 2),
            Stage::Square { name: name(), source: ValueId(3) },
            affine(&[(4, 3)], 2, bias, 3),
            affine(&[(5, 2), (3, 3)], 2, bias, 4),
        ];
        Network::new(vec![3], vec![2], stages, ValueId(6), vec![]).unwrap()
    }

    fn facts(network: &Network) -> Facts {
        let input = Interval::new(-1.0, 1.0).unwrap();
        let options = Options {
            input,
            precision_bits: 7.0,
            log_degree: None,
            insecure: false,
            samples: vec![],
            prices: REFERENCE,
        };
        Facts::new(network, &options).unwrap()
    }

    /// Below 128 bits of security: for speed only, and only tests may build it.
    fn toy_insecure() -> (CkksParams, Chain) {
        let spec = CkksSpec {
            ring: Ring::ConjugateInvariant,
            log_degree: 10,
            prime_bits: vec![50; 4],
            special_bits: vec![50],
        };
        let params = spec.validate_insecure().unwrap();
        let chain = Chain::of_params(&params, RingNoise::new(10).unwrap());
        (params, chain)
    }

    #[test]
    fn a_candidates_chain_is_that_of_its_parameters() {
        let (params, chain) = toy_insecure();
        let candidate = Chain::of_candidate(params.spec(), 50, chain.noise).unwrap();
        assert_eq!(candidate.special, chain.special);
        for used in 0..4 {
            let difference = chain.log_q(used) - candidate.log_q(used);
            assert!((0.0..1e-5).contains(&difference), "{difference}");
            let level = params.top().down(used as u8).unwrap();
            let exact = scheme::TAIL_DEVIATIONS * scheme::key_switch(&params, level);
            assert!((0.9..1.1).contains(&(chain.key_switch(used) / exact)));
        }
    }

    #[test]
    fn magnitudes_hold_when_weights_are_rounded_to_few_bits() {
        let (network, (params, chain)) = (network(0.5), toy_insecure());
        let facts = facts(&network);
        let mut beyond = 0;
        for sketch in sketches(&network) {
            for bits in 0..5 {
                let mut targets = first(&sketch, &facts, &chain);
                targets.iter_mut().skip(1).for_each(|target| *target -= FIRST_WEIGHT_BITS - bits);
                let scales = build::Scales::new(&sketch, &params, &targets);
                let assessed = Assessment::new(&sketch, &facts, &chain, &scales.logarithms());
                let program = build::program(&sketch, &network, &params, &scales).unwrap();
                for corner in 0..8 {
                    let sample: Vec<f64> = (0..3).map(|f| f64::from(corner >> f & 1) * 2.0 - 1.0).collect();
                    for (op, value) in program.evaluate_all(&sample, &[]).iter().enumerate() {
                        let largest = value.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
                        assert!(largest <= assessed.magnitudes[op] * (1.0 + 1e-12), "{largest} in {op}");
                        let network = facts.magnitudes[sketch.types[op].value.index()];
                        beyond += usize::from(largest > network * 1.01);
                    }
                }
            }
        }
        assert!(beyond > 100, "rounding has to matter here: {beyond}");
    }

    #[test]
    fn what_fits_is_accepted_by_the_verifier() {
        let (params, chain) = toy_insecure();
        let (mut fitting, mut tight) = (0, 0);
        for bias in [1e-3, 1.0, 1e3, 1e6] {
            let network = network(bias);
            let facts = facts(&network);
            for (seed, sketch) in sketches(&network).iter().enumerate() {
                let mut random = random(seed as u64 + 7);
                for _ in 0..2000 {
                    let mut targets = first(sketch, &facts, &chain);
                    targets.iter_mut().for_each(|target| *target += (random() * 80.0) as i32 - 25);
                    let scales = build::Scales::new(sketch, &params, &targets);
                    let assessed = Assessment::new(sketch, &facts, &chain, &scales.logarithms());
                    if assessed.fits() {
                        let built = build::program(sketch, &network, &params, &scales);
                        assert!(built.is_ok(), "bias {bias}: {built:?}");
                        fitting += 1;
                    } else if assessed.excess < 100.0 {
                        tight += usize::from(build::program(sketch, &network, &params, &scales).is_err());
                    }
                }
            }
        }
        assert!(fitting > 100 && tight > 20, "{fitting} fit, {tight} nearly and are refused");
    }

    #[test]
    fn the_descent_ends_where_no_random_step_helps_much() {
        let (network, (_, chain)) = (network(0.5), toy_insecure());
        let facts = facts(&network);
        for (seed, sketch) in sketches(&network).iter().enumerate() {
            let (targets, error) = choose(sketch, &facts, &chain).unwrap();
            let mut random = random(seed as u64 + 3);
            for _ in 0..3000 {
                let mut changed = targets.clone();
                changed.iter_mut().for_each(|target| *target += (random() * 9.0) as i32 - 4);
                let assessed = Assessment::new(sketch, &facts, &chain, &LogScales::new(sketch, &chain, &changed));
                assert!(!assessed.fits() || assessed.error > 0.8 * error, "{changed:?} after {targets:?}");
            }
        }
    }
}

//! Scales of a plan: as large as the modulus allows, where that lowers the error of the outputs.
//!
//! The error is estimated from what every step adds and how the outputs react to it, at the worst sample. Both do not
//! depend on each other, so that a search over scales costs nothing next to the bound of a program.

use nightloom_program::Program;
use nightloom_program::noise::{GAUSSIAN_DEVIATIONS, NoiseBound};
use nightloom_ring::sample::ERROR_DEVIATION;

use super::chain::{Chain, MAX_PRIME_BITS, MIN_PRIME_BITS};
use super::{MARGIN, Options, Packed, PlanError, Weights};
use crate::interval::Interval;
use crate::network::{Network, Stage, ValueId};

/// Bits by which a scaled value stays below the modulus: one for the sign, half a bit for noise.
const ROOM_BITS: f64 = 1.5;
/// Samples at which the noise of a program is traced: those that noise moves the most.
const BOUNDED_SAMPLES: usize = 4;
/// Products of weights and derivatives that are computed, as far as fewer than all samples suffice for it.
const MAX_TRACED_PRODUCTS: usize = 1 << 29;
const MIN_TRACED_SAMPLES: usize = 8;
/// Smallest scales from which the search starts: nothing is precise below.
const MIN_INPUT_BITS: i32 = 14;
const MIN_WEIGHT_BITS: i32 = 8;
/// A compressed response holds outputs up to this many times the typical largest one. Slots that must be zero tell
/// whether one was larger.
const RESPONSE_RANGE: f64 = 8.0;

/// Bits of a coefficient with which a response has about 29 kB, but never fewer than hold a result.
pub(super) fn response_bits(log_degree: u32) -> u32 {
    ((28u32 << 13) >> log_degree).max(26)
}

/// How much larger a bound takes the variance of products with the secret, that are spread over many slots.
const SPREAD: f64 = 2.0;
/// Shorter steps of the search than one gain at most so many bits of precision for each bit of it.
const GAIN_OF_STEPS: f64 = 2.0;
/// Scaled weights have at most this many bits: the verifier's limit.
const MAX_WEIGHT_BITS: f64 = 45.0;

/// What the search needs of a network, computed once.
pub(super) struct Facts {
    /// By value: largest magnitude for any input in the interval.
    pub magnitudes: Vec<f64>,
    /// By layer: largest sum of absolute products in a row.
    pub partial_sums: Vec<f64>,
    /// By layer: largest absolute weight.
    largest_weights: Vec<f64>,
    /// By value: root of the mean square over samples and features.
    typical: Vec<f64>,
    /// By value: how much one unit of independent noise in each feature moves an output, at the worst sample.
    gains: Vec<f64>,
    /// By layer: root of the largest sum of squared weights in a row.
    norms: Vec<f64>,
    /// The median over samples of the largest absolute output.
    pub output_magnitude: f64,
    samples: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
    /// The samples at which noise is traced through a program.
    bounded: Vec<usize>,
}

impl Facts {
    pub fn new(network: &Network, options: &Options) -> Result<Self, PlanError> {
        let features = network.length(ValueId::INPUT);
        if options.samples.is_empty() {
            return Err(PlanError::NoSamples);
        }
        if let Some(index) = options.samples.iter().position(|sample| sample.len() != features) {
            let found = options.samples[index].len();
            return Err(PlanError::SampleWidth { index, found, wanted: features });
        }
        let ranges = network.ranges(&vec![options.input; features]);
        let largest = |value: &Vec<Interval>| value.iter().map(|r| r.magnitude()).fold(f64::MIN_POSITIVE, f64::max);
        let magnitudes: Vec<f64> = ranges.iter().map(largest).collect();
        let mut facts = Self {
            partial_sums: Vec::new(),
            largest_weights: Vec::new(),
            norms: Vec::new(),
            typical: vec![0.0; network.values()],
            gains: vec![0.0; network.values()],
            output_magnitude: 0.0,
            samples: options.samples.clone(),
            outputs: Vec::new(),
            bounded: Vec::new(),
            magnitudes,
        };
        for (index, stage) in network.stages().iter().enumerate() {
            if let Stage::Affine { matrix, .. } = stage {
                let rows = (0..matrix.rows()).map(|row| {
                    let weights = matrix.entries(row).map(|(_, weight)| weight);
                    weights.fold((0.0, 0.0, 0.0f64), |(sum, squares, largest), weight| {
                        (sum + weight.abs(), squares + weight * weight, largest.max(weight.abs()))
                    })
                });
                let norms = rows.fold((0.0f64, 0.0f64, 0.0f64), |a, b| (a.0.max(b.0), a.1.max(b.1), a.2.max(b.2)));
                facts.partial_sums.push(norms.0 * facts.magnitudes[index]);
                facts.norms.push(norms.1.sqrt());
                facts.largest_weights.push(norms.2);
            }
        }
        let mut squares = vec![(0.0, 0usize); network.values()];
        let (mut largest_outputs, mut reactions) = (Vec::new(), Vec::new());
        // Large networks are traced at fewer samples.
        let products: usize = network.stages().iter().map(Stage::nonzeros).sum();
        let traced =
            (MAX_TRACED_PRODUCTS / (products * network.length(network.output())).max(1)).max(MIN_TRACED_SAMPLES);
        for sample in options.samples.iter().take(traced) {
            let mut values = network.evaluate_all(sample);
            for ((sum, count), value) in squares.iter_mut().zip(&values) {
                *sum += value.iter().map(|x| x * x).sum::<f64>();
                *count += value.len();
            }
            reactions.push(facts.trace(network, &values));
            let output = values.swap_remove(network.output().index());
            largest_outputs.push(output.iter().fold(0.0f64, |largest, value| value.abs().max(largest)));
            facts.outputs.push(output);
        }
        let mut order: Vec<usize> = (0..reactions.len()).collect();
        order.sort_by(|a, b| reactions[*b].total_cmp(&reactions[*a]));
        facts.bounded = order.into_iter().take(BOUNDED_SAMPLES).collect();
        facts.typical = squares.iter().map(|(sum, count)| (sum / (*count).max(1) as f64).sqrt()).collect();
        largest_outputs.sort_by(f64::total_cmp);
        facts.output_magnitude = largest_outputs[largest_outputs.len() / 2].max(f64::MIN_POSITIVE);
        Ok(facts)
    }

    /// The largest magnitude of an output that a compressed response holds.
    pub fn response_range(&self) -> f64 {
        RESPONSE_RANGE * self.output_magnitude
    }

    /// Raises the gains to those of a sample, by reverse accumulation of the derivatives of all outputs through a chain.
    /// Returns how much the sample's outputs react in all.
    fn trace(&mut self, network: &Network, values: &[Vec<f64>]) -> f64 {
        let outputs = network.length(network.output());
        let mut reaction = 0.0;
        // By feature, the derivatives of every output.
        let mut adjoint = vec![0.0; outputs * outputs];
        adjoint.iter_mut().step_by(outputs + 1).for_each(|derivative| *derivative = 1.0);
        for index in (0..network.values()).rev() {
            let mut squares = vec![0.0; outputs];
            for derivatives in adjoint.chunks_exact(outputs) {
                squares.iter_mut().zip(derivatives).for_each(|(sum, derivative)| *sum += derivative * derivative);
            }
            let norms = squares.into_iter().map(f64::sqrt);
            self.gains[index] = norms.clone().fold(self.gains[index], f64::max);
            let Some(stage) = index.checked_sub(1) else { break };
            reaction += norms.sum::<f64>();
            match &network.stages()[stage] {
                Stage::Affine { matrix, .. } => {
                    let mut columns = vec![0.0; matrix.columns() * outputs];
                    for (row, derivatives) in adjoint.chunks_exact(outputs).enumerate() {
                        for (column, weight) in matrix.entries(row) {
                            let sums = columns[column * outputs..][..outputs].iter_mut();
                            sums.zip(derivatives).for_each(|(sum, derivative)| *sum += derivative * weight);
                        }
                    }
                    adjoint = columns;
                }
                // A product of a chain is the square of the value before it.
                _ => {
                    for (derivatives, x) in adjoint.chunks_exact_mut(outputs).zip(&values[stage]) {
                        derivatives.iter_mut().for_each(|derivative| *derivative *= 2.0 * x);
                    }
                }
            }
        }
        reaction
    }

    /// The error bounds of a program for inputs like the samples.
    pub fn error_bound(&self, program: &Program, model: &[Vec<f64>], packed: &Packed, batch: usize) -> NoiseBound {
        let mut worst = NoiseBound::default();
        // The samples of a batch do not mix, so that one of them speaks for all.
        let period = program.period();
        let position = |(result, slot): &(usize, usize)| result * period + slot;
        let slots: Vec<usize> = packed.outputs[..packed.outputs.len() / batch].iter().map(position).collect();
        let input = packed.input.tiled(period);
        for index in &self.bounded {
            let (sample, expected) = (&self.samples[*index], &self.outputs[*index]);
            let packed = input.pack(&sample.repeat(batch));
            let found = program.evaluate_all(&packed, model).swap_remove(program.output().0);
            let bounds = program.output_bounds(&packed, model, slots.iter().copied());
            for ((slot, expected), bound) in slots.iter().zip(expected).zip(bounds) {
                let error = (found[*slot] - expected).abs();
                worst.secret_key = worst.secret_key.max(MARGIN * (error + bound.secret_key));
                worst.public_key = worst.public_key.max(MARGIN * (error + bound.public_key));
            }
        }
        worst
    }
}

/// What is open in a chain.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// `log2` of the input's scale.
    pub input: i32,
    /// By layer: `log2` of the scale of the weights.
    pub weights: Vec<i32>,
    /// Sizes of the primes in bits; the last one is dropped first.
    pub primes: Vec<i32>,
}

impl Choice {
    /// Size of every special prime: a digit must not be larger than all of them.
    pub fn special(&self) -> i32 {
        self.primes.iter().copied().max().unwrap_or(0)
    }

    fn total(&self, special: usize) -> i32 {
        self.primes.iter().sum::<i32>() + self.special() * special as i32
    }

    /// The variables: the input's scale, the weights', the primes.
    fn variable(&mut self, index: usize) -> &mut i32 {
        let layers = self.weights.len();
        match index {
            0 => &mut self.input,
            layer if layer <= layers => &mut self.weights[layer - 1],
            prime => &mut self.primes[prime - layers - 1],
        }
    }

    fn apply(&mut self, moves: &[(usize, i32)]) {
        moves.iter().for_each(|(variable, by)| *self.variable(*variable) += by);
    }

    fn undo(&mut self, moves: &[(usize, i32)]) {
        moves.iter().for_each(|(variable, by)| *self.variable(*variable) -= by);
    }
}

/// Deviations of noise in the conjugate-invariant ring, in units of scaled integers.
struct RingNoise {
    fresh: f64,
    fresh_public: f64,
    encoding: f64,
    rounding: f64,
    /// Of one digit as large as the special primes.
    key_switch: f64,
}

impl RingNoise {
    /// The formulas of [`nightloom_he::noise`], for parameters that are not made yet.
    fn new(log_degree: u32) -> Self {
        let n = 2.0 * f64::from(log_degree).exp2();
        let (error, rounding, secret) = (n * ERROR_DEVIATION.powi(2), n / 12.0, n * 2.0 / 3.0);
        Self {
            fresh: (error + rounding).sqrt(),
            fresh_public: (error + 2.0 * error * secret + rounding).sqrt(),
            encoding: rounding.sqrt(),
            rounding: (rounding * (1.0 + secret)).sqrt(),
            key_switch: (error * rounding).sqrt(),
        }
    }
}

/// The scales and sizes of the smallest error with at most `budget` bits of primes, special ones included, and the error
/// estimated, for a response that is compressed or not; `None` if a value does not fit. Where the search is still far from
/// `wanted` bits of precision after its longest steps it ends there.
pub(super) fn choose(
    facts: &Facts,
    packed: &Packed,
    chain: &Chain,
    budget: u32,
    compressed: bool,
    wanted: f64,
) -> Option<(Choice, f64)> {
    let noise = RingNoise::new(chain.log_degree);
    let small = |magnitude: f64, bits: i32| bits - if magnitude > 0.0 { magnitude.log2().ceil() as i32 } else { 0 };
    let size = (budget as usize / (chain.primes + chain.special)) as i32;
    let mut choice = Choice {
        input: small(facts.magnitudes[0], MIN_INPUT_BITS),
        weights: facts.largest_weights.iter().map(|weight| small(*weight, MIN_WEIGHT_BITS)).collect(),
        primes: vec![size; chain.primes],
    };
    let estimate = |choice: &Choice| {
        let sizes = MIN_PRIME_BITS as i32..=MAX_PRIME_BITS as i32;
        let allowed = choice.total(chain.special) <= budget as i32 && choice.primes.iter().all(|p| sizes.contains(p));
        if allowed { estimate(facts, packed, chain, &noise, choice, compressed) } else { None }
    };
    let mut error = estimate(&choice)?;
    let (scales, variables) = (1 + choice.weights.len(), 1 + choice.weights.len() + choice.primes.len());
    for step in [8, 4, 2, 1] {
        let mut moves: Vec<Vec<(usize, i32)>> = (0..variables).map(|variable| vec![(variable, step)]).collect();
        for up in 0..variables {
            for down in (0..variables).filter(|down| *down != up) {
                moves.push(vec![(up, step), (down, -step)]);
                if up < scales && down < scales {
                    moves.extend([(1, 2), (2, 1)].map(|(a, b)| vec![(up, a * step), (down, -b * step)]));
                }
                // Room that moves from one level to another is there for a scale to fill.
                if up >= scales && down >= scales {
                    moves.extend(
                        (0..scales)
                            .flat_map(|scale| [step, -step].map(|by| vec![(up, step), (down, -step), (scale, by)])),
                    );
                }
            }
        }
        loop {
            let attempts = moves.iter().filter_map(|moves| {
                choice.apply(moves);
                let estimated = estimate(&choice);
                choice.undo(moves);
                Some((estimated?, moves))
            });
            match attempts.min_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((better, moves)) if better < 0.999 * error => {
                    error = better;
                    choice.apply(moves);
                }
                _ => break,
            }
        }
        if (facts.output_magnitude / error).log2() + GAIN_OF_STEPS * f64::from(step) < wanted {
            break;
        }
    }
    Some((choice, error))
}

/// An estimate of the error bound with these scales; `None` if a value or a weight does not fit.
fn estimate(
    facts: &Facts,
    packed: &Packed,
    chain: &Chain,
    noise: &RingNoise,
    choice: &Choice,
    compressed: bool,
) -> Option<f64> {
    let mut limbs = chain.primes;
    // Primes are a little smaller than their size.
    let bits = |limb: usize| f64::from(choice.primes[limb]) - 0.01;
    let mut log_q: f64 = (0..limbs).map(bits).sum();
    let fits = |magnitude: f64, log_scale: f64, log_q: f64| magnitude.log2() + log_scale + ROOM_BITS <= log_q;
    let key_switch = |limbs: usize| noise.key_switch * (limbs.div_ceil(chain.special) as f64).sqrt();
    let mean_of = packed.period() as f64 / f64::from(chain.log_degree).exp2();
    let mut log_scale = f64::from(choice.input);
    if !fits(facts.magnitudes[0], log_scale, log_q) {
        return None;
    }
    // Variances at the outputs: Gaussian noise, and products with the secret.
    let mut gaussian = (facts.gains[0] * noise.fresh / log_scale.exp2()).powi(2);
    let mut product = 0.0;
    for (index, (packed_layer, step)) in packed.layers.iter().zip(&chain.layers).enumerate() {
        let (layer, stage) = (&packed_layer.layer, packed_layer.stage);
        let (value, weight_bits) = (stage + 1, f64::from(choice.weights[index]));
        if facts.largest_weights[index].log2() + weight_bits > MAX_WEIGHT_BITS || weight_bits < 1.0 {
            return None;
        }
        let (source, weights) = (log_scale.exp2(), weight_bits.exp2());
        let before = source * weights;
        log_scale += weight_bits;
        // What leaves the range of a compressed response in the last layer, which is linear to its end, wraps around modulo
        // every prime as it would modulo the last one, and slots that must be zero tell of it.
        let magnitude = if compressed && !packed_layer.squared {
            facts.response_range()
        } else {
            facts.partial_sums[index].max(facts.magnitudes[value])
        };
        if !fits(magnitude, log_scale, log_q) {
            return None;
        }
        let switch = key_switch(limbs);
        if step.rescale_matrix {
            limbs -= 1;
            log_q -= bits(limbs);
            log_scale -= bits(limbs);
        }
        let after = log_scale.exp2();
        let folded = (1u64 << layer.folds.len()) as f64;
        let results = layer.output.ciphertexts() as f64;
        let repeated = layer.width() as f64 / f64::from(chain.log_degree).exp2();
        let terms = repeated * layer.diagonals.len() as f64 / results;
        let (rounded, weighted, steps) = match packed_layer.weights {
            Weights::Clear => {
                let rounded = terms * (facts.typical[stage] * noise.encoding / weights).powi(2);
                let babies = if step.steps.babies == 0 { 0.0 } else { (facts.norms[index] * switch / source).powi(2) };
                let giants = step.steps.giants as f64 / results * (switch.hypot(noise.rounding) / before).powi(2);
                (rounded, babies, giants)
            }
            Weights::Encrypted => {
                let fresh = layer.diagonals.len() as f64 / results;
                let fresh = fresh * (facts.typical[stage] * noise.fresh_public / weights).powi(2);
                let turned = f64::from(u8::from(step.steps.babies > 0)) + f64::from(u8::from(step.steps.giants > 0));
                let turned = turned * (facts.norms[index] * switch.hypot(noise.rounding) / source).powi(2);
                (0.0, turned, fresh + (switch / before).powi(2))
            }
        };
        let division = (noise.rounding / after).powi(2);
        // Between steps one component is rounded, and all rotations of a step share that rounding: in one slot of a result
        // it counts once for each of them, in the mean of all slots by their square.
        let mut folds = 0.0;
        for (at, step) in step.folds.iter().map(|step| step.len() as f64).enumerate() {
            let rounding = if at == 0 { 0.0 } else { step * noise.rounding };
            folds = (1.0 + step) * folds + step * key_switch(limbs).powi(2) + rounding.powi(2);
        }
        let ended = if step.folds.is_empty() { 0.0 } else { noise.rounding.powi(2) };
        let folds = (folds + ended) / after.powi(2);
        gaussian += facts.gains[value].powi(2) * folded * rounded;
        // A compressed result is the mean of the slots that should be equal.
        let mean = if compressed && !packed_layer.squared { mean_of } else { 1.0 };
        product += mean * facts.gains[value].powi(2) * (weighted + folded * (steps + division) + folds);
        if packed_layer.squared {
            let (value, before) = (value + 1, 2.0 * log_scale);
            if !fits(facts.magnitudes[value].max(facts.partial_sums[index].powi(2)), before, log_q) {
                return None;
            }
            let mut square = (key_switch(limbs) / before.exp2()).powi(2);
            log_scale = before;
            for _ in 0..step.rescale_square {
                limbs -= 1;
                log_q -= bits(limbs);
                log_scale -= bits(limbs);
                square += (noise.rounding / log_scale.exp2()).powi(2);
            }
            if step.rescale_square == 0 {
                square += (noise.rounding / log_scale.exp2()).powi(2);
            }
            if !fits(facts.magnitudes[value], log_scale, log_q) {
                return None;
            }
            product += facts.gains[value].powi(2) * square;
        }
    }
    if compressed {
        // The response keeps one prime, and of what an output may be for any input only what it is for likely ones.
        let response_bits = f64::from(response_bits(chain.log_degree));
        if !fits(facts.response_range(), log_scale, bits(0)) || response_bits >= bits(0) {
            return None;
        }
        let scale = log_scale + response_bits - bits(0);
        product += mean_of * (noise.rounding / scale.exp2()).powi(2);
    }
    let error = MARGIN * GAUSSIAN_DEVIATIONS * (gaussian + SPREAD * product).sqrt();
    error.is_finite().then_some(error)
}

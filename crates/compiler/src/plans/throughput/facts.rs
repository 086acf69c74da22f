//! What the planner needs of a network, computed once: how large values are, and how errors travel.

use nightloom_program::noise::NoiseBound;
use nightloom_program::{Op, Program};

use super::{MARGIN, Options, PlanError};
use crate::interval::Interval;
use crate::matrix::SparseMatrix;
use crate::network::{Network, Stage, ValueId};

/// Values and layers of a network in numbers.
pub(super) struct Facts {
    /// Largest magnitude of each network value for any input in the interval, at least [`LEAST_MAGNITUDE`].
    pub magnitudes: Vec<f64>,
    /// Root of the mean square of each network value over samples and features.
    pub typical: Vec<f64>,
    /// By stage; empty for a product.
    pub layers: Vec<Layer>,
    /// The samples.
    samples: Vec<Vec<f64>>,
    /// What the network makes of them.
    outputs: Vec<Vec<f64>>,
}

/// Values are not taken to be smaller, so that the scales of a network of zeros stay numbers.
const LEAST_MAGNITUDE: f64 = 1e-30;

/// An affine stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    /// By source: norms of the weights in its columns.
    pub norms: Vec<Norms>,
    /// Largest magnitude in the bias.
    pub bias: f64,
    /// Stored weights.
    pub weights: usize,
}

/// The largest of each norm among the rows of a matrix.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Norms {
    /// Sum of absolute weights.
    pub absolute: f64,
    /// Root of the sum of squared weights.
    pub euclidean: f64,
    /// Number of weights.
    pub count: f64,
}

/// Multiply-accumulates that tracing the noise of one sample's outputs may take, but [`MIN_TRACED`] outputs are traced
/// in any case.
const TRACING_WORK: usize = 1 << 24;
const MIN_TRACED: usize = 4;

impl Facts {
    /// # Errors
    /// [`PlanError::SampleWidth`] if a sample is not one of the network.
    pub fn new(network: &Network, options: &Options) -> Result<Self, PlanError> {
        let features = network.length(ValueId::INPUT);
        let ranges = network.ranges(&vec![options.input; features]);
        let largest = |value: &Vec<Interval>| value.iter().map(|r| r.magnitude()).fold(LEAST_MAGNITUDE, f64::max);
        let samples = if options.samples.is_empty() {
            pseudo_random_samples(features, options.input).collect()
        } else {
            options.samples.clone()
        };
        if let Some(index) = samples.iter().position(|sample| sample.len() != features) {
            return Err(PlanError::SampleWidth { index, found: samples[index].len(), wanted: features });
        }
        let mut squares = vec![(0.0, 0usize); network.values()];
        let mut outputs = Vec::with_capacity(samples.len());
        for sample in &samples {
            let mut values = network.evaluate_all(sample);
            for ((sum, count), value) in squares.iter_mut().zip(&values) {
                *sum += value.iter().map(|x| x * x).sum::<f64>();
                *count += value.len();
            }
            outputs.push(values.swap_remove(network.output().index()));
        }
        Ok(Self {
            magnitudes: ranges.iter().map(largest).collect(),
            typical: squares.iter().map(|(sum, count)| (sum / (*count).max(1) as f64).sqrt()).collect(),
            layers: network.stages().iter().map(|stage| Layer::new(network, stage)).collect(),
            samples,
            outputs,
        })
    }

    /// The median over samples of the largest absolute output.
    pub fn output_magnitude(&self) -> f64 {
        let largest = |output: &Vec<f64>| output.iter().fold(0.0f64, |largest, value| value.abs().max(largest));
        let mut magnitudes: Vec<f64> = self.outputs.iter().map(largest).collect();
        magnitudes.sort_by(f64::total_cmp);
        magnitudes[magnitudes.len() / 2].max(f64::MIN_POSITIVE)
    }

    /// The error bounds of a program for inputs like the samples.
    pub fn error_bounds(&self, program: &Program) -> NoiseBound {
        let mut worst = NoiseBound::default();
        for (sample, expected) in self.samples.iter().zip(&self.outputs) {
            let found = program.evaluate(sample);
            let error = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
            let errors: Vec<f64> = error.collect();
            for (output, noise) in traced(program).zip(program.output_bounds(sample, &[], traced(program))) {
                worst.secret_key = larger(worst.secret_key, MARGIN * (errors[output] + noise.secret_key));
                worst.public_key = larger(worst.public_key, MARGIN * (errors[output] + noise.public_key));
            }
        }
        worst
    }
}

/// The larger of two magnitudes; not a number if one of them is not.
fn larger(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_gt() { a } else { b }
}

/// The outputs whose noise is traced back: all, or if that would take too long as many as [`TRACING_WORK`] allows,
/// evenly spread.
fn traced(program: &Program) -> impl Iterator<Item = usize> {
    let weights = |op: &Op| if let Op::Linear { matrix, .. } = op { matrix.entries() } else { 0 };
    let work = program.ops().iter().zip(program.types()).map(|(op, result)| weights(op) + result.features);
    let work: usize = work.sum();
    let outputs = program.output_type().features;
    let traced = (TRACING_WORK / work).max(MIN_TRACED).min(outputs);
    (0..traced).map(move |index| index * outputs / traced)
}

impl Layer {
    fn new(network: &Network, stage: &Stage) -> Self {
        let Stage::Affine { sources, matrix, bias, .. } = stage else { return Self::default() };
        let lengths = sources.iter().map(|source| network.length(*source));
        Self {
            norms: Norms::by_source(matrix, lengths),
            bias: bias.iter().fold(0.0, |largest, bias| bias.abs().max(largest)),
            weights: matrix.nonzeros(),
        }
    }
}

impl Norms {
    /// Norms of the columns of each source, the sources being as long as `lengths` says.
    fn by_source(matrix: &SparseMatrix, lengths: impl Iterator<Item = usize>) -> Vec<Self> {
        let ends: Vec<usize> = lengths
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect();
        let mut all = vec![Self::default(); ends.len()];
        for row in 0..matrix.rows() {
            let mut entries = matrix.entries(row).peekable();
            for (norms, end) in all.iter_mut().zip(&ends) {
                let (mut absolute, mut square, mut count) = (0.0, 0.0, 0.0);
                while let Some((_, weight)) = entries.next_if(|(column, _)| column < end) {
                    absolute += weight.abs();
                    square += weight * weight;
                    count += 1.0;
                }
                norms.absolute = norms.absolute.max(absolute);
                norms.euclidean = norms.euclidean.max(f64::sqrt(square));
                norms.count = norms.count.max(count);
            }
        }
        all
    }
}

/// Samples of all densities: each feature is uniform in the interval with the sample's probability, else at the end of
/// the interval nearest to zero, as background pixels are. A fixed xorshift sequence: plans must be reproducible.
pub(in crate::plans) fn pseudo_random_samples(features: usize, input: Interval) -> impl Iterator<Item = Vec<f64>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let background = 0f64.clamp(input.low(), input.high());
    (1..=16).map(move |index| {
        let density = f64::from(index) / 16.0;
        let mut feature = |_| {
            let value = input.low() + uniform() * (input.high() - input.low());
            if uniform() < density { value } else { background }
        };
        (0..features).map(&mut feature).collect()
    })
}

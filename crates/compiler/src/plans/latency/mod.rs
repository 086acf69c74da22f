//! The latency plan: one sample, or a few, spread over the slots of one ciphertext (LoLa, Brutzkus et al., ICML 2019).
//!
//! Layers become matrices over slots ([`packing`]), which does not depend on any prime. A chain then says where to
//! rescale; the fastest one for which scales reach the wanted precision is built and its error bounded.

mod chain;
pub mod packing;
mod scales;

use nightloom_he::{CkksParams, CkksSpec, CompressedCiphertext, Level, Ring, Scale, SpecError, security};
use nightloom_program::noise::NoiseBound;
use nightloom_program::{Compression, Diagonal, Op, Program, SlotMatrix, SlotMatrixError, ValueId, VerifyError};

use crate::interval::Interval;
use crate::network::{self, Network, Stage};
use chain::Chain;
use packing::{FirstLayer, Layout, SlotLayer};
use scales::{Choice, Facts};

/// What is wanted of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Every input feature lies in this interval.
    pub input: Interval,
    /// The error bound of the outputs is at most the typical largest output times `2^-precision_bits`.
    pub precision_bits: f64,
    /// Samples that share a ciphertext; a power of two.
    pub batch: usize,
    /// `log2` of the ring degree; the smallest that suffices if `None`.
    pub log_degree: Option<u32>,
    /// Accept parameters below 128 bits of security. Only with a given degree.
    pub insecure: bool,
    /// Flattened samples for which the error is bounded and from which the typical size of values is taken.
    pub samples: Vec<Vec<f64>>,
}

/// A program with what the planner knows of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program.
    pub program: Program,
    /// Parameters below 128 bits were asked for and used.
    pub insecure: bool,
    /// Samples of a request.
    pub batch: usize,
    /// By slot of one period: the feature that it holds, those of the samples of a batch one after another.
    pub input: Layout,
    /// The slot of each output, those of the samples of a batch one after another.
    pub outputs: Vec<usize>,
    /// By operation: the value of the network that it computes.
    pub values: Vec<network::ValueId>,
    /// By operation: the largest magnitude of any slot, for every input in the interval.
    pub magnitudes: Vec<f64>,
    /// Bounds on the outputs' difference from the network for inputs like the samples: [`MARGIN`] times the bound of the
    /// noise and the effect of rounded weights, at the worst sample.
    pub error_bound: NoiseBound,
    /// Typical largest output.
    pub output_magnitude: f64,
    /// Predicted seconds for one request on one thread of the reference machine.
    pub seconds: f64,
}

/// Steps of the search for the smallest primes.
const BISECTIONS: usize = 2;

/// How much larger than at the worst sample the error may be at another input.
pub const MARGIN: f64 = 2.0;

impl Plan {
    /// Bits between the typical largest output and the error bound.
    pub fn precision_bits(&self) -> f64 {
        (self.output_magnitude / self.error_bound.secret_key).log2()
    }
}

/// Why there is no latency plan for a network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The layers do not follow one another: affine, square, affine, and so on.
    #[error(
        "stage {stage} ({name}) does not continue the one before it: only chains of layers and squares have a latency plan"
    )]
    NotAChain {
        /// Position of the stage.
        stage: usize,
        /// Its name.
        name: String,
    },
    /// A layer does not fit the slots of any degree.
    #[error("stage {stage} ({name}) with {rows} outputs does not fit the slots of any degree allowed")]
    TooWide {
        /// Position of the stage.
        stage: usize,
        /// Its name.
        name: String,
        /// Its outputs, times the batch.
        rows: usize,
    },
    /// A batch that is not a power of two.
    #[error("a batch of {found}, wanted a power of two")]
    Batch {
        /// The batch asked for.
        found: usize,
    },
    /// There are no samples to take typical values from.
    #[error("no samples to take typical values from")]
    NoSamples,
    /// A sample that is not one of the network.
    #[error("sample {index} has {found} features, the network takes {wanted}")]
    SampleWidth {
        /// Position among the samples.
        index: usize,
        /// Features of the sample.
        found: usize,
        /// Features of the network's input.
        wanted: usize,
    },
    /// No parameters reach the wanted precision.
    #[error(
        "no parameters give {wanted:.1} bits of precision{}: {squares} squares in a row need more levels than any degree \
         has; lower --precision or narrow the input range",
        found.map_or(String::new(), |found| format!(", the best give {found:.1}"))
    )]
    Precision {
        /// Bits wanted.
        wanted: f64,
        /// Bits of the best parameters, if any work at all.
        found: Option<f64>,
        /// Squares in the network.
        squares: usize,
    },
    /// Parameters below the security table without a degree.
    #[error("parameters below 128 bits need an explicit degree")]
    InsecureNeedsDegree,
    /// The scheme refuses the parameters.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The verifier refuses the program: a defect of the planner.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A matrix over slots is malformed: a defect of the planner.
    #[error(transparent)]
    Matrix(#[from] SlotMatrixError),
}

/// The layers of a network on slots.
#[derive(Debug)]
struct Packed {
    input: Layout,
    layers: Vec<PackedLayer>,
    /// By output feature.
    outputs: Vec<usize>,
}

impl Packed {
    /// Slots after which the result repeats.
    fn period(&self) -> usize {
        self.layers.last().map_or(1, |last| last.layer.output.width())
    }
}

#[derive(Debug)]
struct PackedLayer {
    /// Position of the affine stage.
    stage: usize,
    layer: SlotLayer,
    /// Whether a square follows.
    squared: bool,
}

/// Plans a network.
///
/// # Errors
/// [`PlanError`] if the network is not a chain, has no room, or no parameters suffice.
pub fn plan(network: &Network, options: &Options) -> Result<Plan, PlanError> {
    if options.insecure && options.log_degree.is_none() {
        return Err(PlanError::InsecureNeedsDegree);
    }
    if !options.batch.is_power_of_two() {
        return Err(PlanError::Batch { found: options.batch });
    }
    check_chain(network)?;
    let facts = Facts::new(network, options)?;
    let mut best_precision: Option<f64> = None;
    let mut too_wide = None;
    let squares = network.stages().iter().filter(|stage| !matches!(stage, Stage::Affine { .. })).count();
    for log_degree in security::log_degrees().filter(|log| (12..=16).contains(log)) {
        if options.log_degree.is_some_and(|wanted| wanted != log_degree) {
            continue;
        }
        let packed = match pack(network, options.batch, 1 << log_degree) {
            Ok(packed) => packed,
            Err(error) => {
                too_wide = Some(error);
                continue;
            }
        };
        let chains = chain::candidates(&packed, log_degree, options.insecure);
        // A small response if it can be had; a larger ring would cost more than it saves.
        for (compressed, chain) in [true, false].into_iter().flat_map(|c| chains.iter().map(move |chain| (c, chain))) {
            let attempt = Attempt { network, options, facts: &facts, packed: &packed, chain, compressed };
            if let Some(plan) = attempt.smallest(&mut best_precision)? {
                return Ok(plan);
            }
        }
    }
    match too_wide {
        Some(error) if best_precision.is_none() => Err(error),
        _ => Err(PlanError::Precision { wanted: options.precision_bits, found: best_precision, squares }),
    }
}

fn check_chain(network: &Network) -> Result<(), PlanError> {
    let mut previous_affine = false;
    for (stage, step) in network.stages().iter().enumerate() {
        let affine = matches!(step, Stage::Affine { .. });
        let follows = step.sources().iter().all(|source| source.index() == stage);
        if !follows || affine == previous_affine {
            return Err(PlanError::NotAChain { stage, name: step.name().to_owned() });
        }
        previous_affine = affine;
    }
    // The last stage must be the output, and a layer.
    if !previous_affine || network.output().index() != network.stages().len() {
        let stage = network.stages().len().saturating_sub(1);
        let name = network.stages().last().map_or("", Stage::name).to_owned();
        return Err(PlanError::NotAChain { stage, name });
    }
    Ok(())
}

/// Lays out every layer for `slots / batch` slots, samples of a batch interleaved.
fn pack(network: &Network, batch: usize, slots: usize) -> Result<Packed, PlanError> {
    let room = slots / batch;
    let mut layers: Vec<PackedLayer> = Vec::new();
    let mut input = None;
    for (index, stage) in network.stages().iter().enumerate() {
        let Stage::Affine { name, matrix, bias, .. } = stage else { continue };
        let rows = matrix.rows() * batch;
        let too_wide = || PlanError::TooWide { stage: index, name: name.clone(), rows };
        let layer = match layers.last() {
            None => {
                let first = FirstLayer::new(matrix, bias, room).ok_or_else(too_wide)?;
                input = Some(first.input);
                first.layer
            }
            // The last layer leaves a slot free, which must stay zero: it tells whether a response is whole.
            Some(before) => {
                let least = matrix.rows() + usize::from(index + 1 == network.stages().len());
                SlotLayer::dense(matrix, bias, &before.layer.output, least, room).ok_or_else(too_wide)?
            }
        };
        let squared = index + 1 < network.stages().len();
        layers.push(PackedLayer { stage: index, layer, squared });
    }
    let not_a_chain = || PlanError::NotAChain { stage: 0, name: String::new() };
    let input = input.ok_or_else(not_a_chain)?;
    let (inputs, results) = (network.length(network::ValueId::INPUT), network.length(network.output()));
    let outputs = layers.last().and_then(|last| last.layer.output.first_slots(results)).ok_or_else(not_a_chain)?;
    let interleave = |layout: &Layout, features: usize| layout.interleaved(batch, features);
    let outputs = (0..batch).flat_map(|sample| outputs.iter().map(move |slot| slot * batch + sample)).collect();
    let layers = layers.into_iter().map(|packed| PackedLayer { layer: packed.layer.interleaved(batch), ..packed });
    Ok(Packed { input: interleave(&input, inputs), layers: layers.collect(), outputs })
}

/// One chain, with a response that is compressed or not.
struct Attempt<'a> {
    network: &'a Network,
    options: &'a Options,
    facts: &'a Facts,
    packed: &'a Packed,
    chain: &'a Chain,
    compressed: bool,
}

impl Attempt<'_> {
    /// The plan with the smallest primes that give the wanted precision, if there is one.
    fn smallest(&self, best_precision: &mut Option<f64>) -> Result<Option<Plan>, PlanError> {
        let Some((mut low, mut high)) = self.chain.budgets(self.options.insecure) else { return Ok(None) };
        let Some(mut best) = self.within(high, best_precision)? else { return Ok(None) };
        for _ in 0..BISECTIONS {
            let middle = (low + high) / 2;
            match self.within(middle, best_precision)? {
                Some(plan) => (best, high) = (plan, middle),
                None => low = middle,
            }
        }
        Ok(Some(best))
    }

    /// The plan with primes of at most `budget` bits in all, if it has the wanted precision.
    fn within(&self, budget: u32, best_precision: &mut Option<f64>) -> Result<Option<Plan>, PlanError> {
        let Self { options, facts, packed, chain, .. } = self;
        let Some((choice, estimate)) = scales::choose(facts, packed, chain, budget, self.compressed) else {
            return Ok(None);
        };
        let mut found = |precision: f64| {
            *best_precision = Some(best_precision.map_or(precision, |best| best.max(precision)));
            precision
        };
        // The bound of a program is never below its estimate by much: no table is made for a hopeless one.
        let estimated = (facts.output_magnitude / estimate).log2();
        if estimated < options.precision_bits - 1.0 {
            found(estimated);
            return Ok(None);
        }
        let spec = chain.spec(&choice);
        let params = match if options.insecure { spec.validate_insecure() } else { spec.validate() } {
            Ok(params) => params,
            Err(SpecError::Ring(_) | SpecError::InsecureModulus { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let plan = self.build(&params, &choice)?;
        Ok((found(plan.precision_bits()) >= options.precision_bits).then_some(plan))
    }

    fn build(&self, params: &CkksParams, choice: &Choice) -> Result<Plan, PlanError> {
        let Self { network, options, facts, packed, chain, .. } = self;
        let mut builder = Builder { ops: Vec::new(), names: Vec::new(), values: Vec::new(), magnitudes: Vec::new() };
        let scale = Scale::power_of_two(choice.input);
        let input = Op::Input { features: 1, level: params.top(), scale: scale.clone() };
        builder.push(input, "input", network::ValueId::INPUT, facts.magnitudes[0]);
        // The scale and level of the latest value, for the biases.
        let mut level = params.top();
        let mut scale = scale;
        let rescaled = |scale: &Scale, level: &mut Level| {
            let prime = params.primes()[usize::from(level.0)];
            *level = level.down(1).unwrap_or(*level);
            scale.divide_by(prime)
        };
        for (index, packed_layer) in packed.layers.iter().enumerate() {
            let PackedLayer { stage, layer, squared } = packed_layer;
            let (stage, step) = (*stage, &chain.layers[index]);
            let name = network.stages()[stage].name();
            let value = network::ValueId::of_stage(stage);
            let weight_scale = Scale::power_of_two(choice.weights[index]);
            let diagonals = layer.diagonals.iter().map(|(rotation, weights)| Diagonal {
                rotation: *rotation,
                weights: weights.iter().map(|weight| *weight as f32).collect(),
            });
            let width = layer.diagonals.values().next().map_or(1, Vec::len);
            let matrix = SlotMatrix::new(width, step.steps.base, diagonals.collect())?;
            scale = scale.mul(&weight_scale);
            if step.rescale_matrix {
                scale = rescaled(&scale, &mut level);
            }
            let source = builder.last();
            let magnitude = facts.partial_sums[index];
            let op = Op::SlotMatrix { source, matrix, weight_scale, rescale: step.rescale_matrix };
            builder.push(op, name, value, magnitude);
            if !layer.folds.is_empty() {
                let op = Op::Fold { source: builder.last(), rotations: layer.folds.clone() };
                builder.push(op, name, value, magnitude);
            }
            if layer.bias.iter().any(|bias| *bias != 0.0) {
                let op = Op::AddSlots { source: builder.last(), values: layer.bias.clone() };
                builder.push(op, name, value, facts.magnitudes[value.index()]);
            }
            if *squared {
                let value = network::ValueId::of_stage(stage + 1);
                let (name, magnitude) = (network.stages()[stage + 1].name(), facts.magnitudes[value.index()]);
                builder.push(Op::Square { source: builder.last() }, name, value, magnitude);
                scale = scale.square();
                if step.rescale_square == 0 {
                    builder.push(Op::Relinearize { source: builder.last() }, name, value, magnitude);
                } else {
                    scale = rescaled(&scale, &mut level);
                    builder.push(Op::RelinearizeRescale { source: builder.last() }, name, value, magnitude);
                }
                for _ in 1..step.rescale_square {
                    scale = rescaled(&scale, &mut level);
                    builder.push(Op::Rescale { source: builder.last() }, name, value, magnitude);
                }
            }
        }
        let compression =
            if self.compressed { compression(params, &scale, facts.output_magnitude, packed.period()) } else { None };
        if compression.is_some() && level > Level(0) {
            let value = network.output();
            let magnitude = scales::RESPONSE_RANGE * facts.output_magnitude;
            builder.push(Op::DropTo { source: builder.last(), level: Level(0) }, "output", value, magnitude);
        }
        let output = builder.last();
        let mut program = Program::new(params, builder.ops, builder.names, output)?.with_capacity(options.batch);
        if let Some(compression) = compression {
            program = program.with_compression(compression)?;
        }
        let error_bound = facts.error_bound(&program, packed, options.batch);
        Ok(Plan {
            insecure: options.insecure && !params.is_secure(),
            batch: options.batch,
            input: packed.input.clone(),
            outputs: packed.outputs.clone(),
            values: builder.values,
            magnitudes: builder.magnitudes,
            error_bound,
            output_magnitude: facts.output_magnitude,
            seconds: program.total_work().seconds(&nightloom_program::cost::REFERENCE, params.degree()),
            program,
        })
    }
}

/// How the result is compressed: from one prime, to few bits. `None` if the range of a response does not fit that prime.
fn compression(params: &CkksParams, scale: &Scale, magnitude: f64, slots: usize) -> Option<Compression> {
    let log_q = params.log_q(Level(0));
    let bits = scales::response_bits(params.spec().log_degree);
    let fits = (scales::RESPONSE_RANGE * magnitude).log2() + scale.log2() + 1.0 <= log_q;
    let smaller = f64::from(bits) < log_q && bits <= CompressedCiphertext::max_bits(params);
    (fits && smaller).then_some(Compression { slots, bits })
}

struct Builder {
    ops: Vec<Op>,
    names: Vec<String>,
    values: Vec<network::ValueId>,
    magnitudes: Vec<f64>,
}

impl Builder {
    fn push(&mut self, op: Op, name: &str, value: network::ValueId, magnitude: f64) {
        self.ops.push(op);
        self.names.push(name.to_owned());
        self.values.push(value);
        self.magnitudes.push(magnitude);
    }

    fn last(&self) -> ValueId {
        ValueId(self.ops.len() - 1)
    }
}

impl Chain {
    fn spec(&self, choice: &Choice) -> CkksSpec {
        CkksSpec {
            ring: Ring::ConjugateInvariant,
            log_degree: self.log_degree,
            prime_bits: choice.primes.iter().map(|bits| *bits as u32).collect(),
            special_bits: vec![choice.special() as u32; self.special],
        }
    }
}

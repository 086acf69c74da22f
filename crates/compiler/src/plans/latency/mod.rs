//! The latency plan: one sample, or a few, spread over the slots of one ciphertext (LoLa, Brutzkus et al., ICML 2019).
//!
//! Layers become matrices over slots ([`packing`]), which does not depend on any prime. A chain then says where to
//! rescale; the fastest one for which scales reach the wanted precision is built and its error bounded.

mod build;
mod chain;
pub mod packing;
mod scales;

use nightloom_he::{CkksParams, CkksSpec, CompressedCiphertext, Level, Ring, Scale, SpecError, security};
use nightloom_program::cost::{Prices, Work};
use nightloom_program::noise::NoiseBound;
use nightloom_program::{Compression, Op, Program, SlotMatrixError, ValueId, VerifyError, WeightArray};
use nightloom_ring::RingError;

use super::{LOG_DEGREES, Levels};
use crate::interval::Interval;
use crate::network::{self, Network, Stage};
use build::Builder;
use chain::Chain;
use packing::{FirstLayer, Layout, Requests, SlotLayer, Steps};
use scales::{Choice, Facts};

/// What is wanted of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Every input feature lies in this interval.
    pub input: Interval,
    /// The error bound of the outputs is at most the typical largest output times `2^-precision_bits`.
    pub precision_bits: f64,
    /// Samples of a request, which share ciphertexts; a power of two.
    pub batch: usize,
    /// How the first layer takes its input.
    pub requests: Requests,
    /// What the service holds of the weights.
    pub weights: Weights,
    /// `log2` of the ring degree; the smallest that suffices if `None`.
    pub log_degree: Option<u32>,
    /// Accept parameters below 128 bits of security. Only with a given degree.
    pub insecure: bool,
    /// Flattened samples for which the error is bounded and from which the typical size of values is taken.
    pub samples: Vec<Vec<f64>>,
    /// What the machine of the service takes.
    pub prices: Prices,
}

/// What the service holds of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// The weights.
    #[default]
    Clear,
    /// Encryptions of them, by the owner of the model under the client's public key.
    Encrypted,
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
    /// How the first layer takes its input.
    pub requests: Requests,
    /// What the service holds of the weights.
    pub weights: Weights,
    /// What each slot of the request holds: a feature, those of the samples of a batch one after another.
    pub input: Layout,
    /// The ciphertext and the slot of each output, those of the samples of a batch one after another.
    pub outputs: Vec<(usize, usize)>,
    /// The weights that the program takes encrypted, for each of its arrays; none if they are in the program.
    pub model: Vec<WeightArray>,
    /// By operation: the value of the network that it computes.
    pub values: Vec<network::ValueId>,
    /// By operation: the largest magnitude of any slot, for every input in the interval.
    pub magnitudes: Vec<f64>,
    /// Bounds on the outputs' difference from the network for inputs like the samples: [`MARGIN`] times the bound of the
    /// noise and the effect of rounded weights, at the worst sample.
    pub error_bound: NoiseBound,
    /// Typical largest output.
    pub output_magnitude: f64,
    /// Predicted seconds for one request on one thread.
    pub seconds: f64,
    /// What was predicted with.
    pub prices: Prices,
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
        "no parameters give {wanted:.1} bits of precision{}: {levels}",
        found.map_or(String::new(), |found| format!(", the best give {found:.1}"))
    )]
    Precision {
        /// Bits wanted.
        wanted: f64,
        /// Bits of the best parameters, if any work at all.
        found: Option<f64>,
        /// Where the levels go.
        levels: Levels,
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
    /// A sum of more ciphertexts than a program can have.
    #[error(transparent)]
    Sum(#[from] RingError),
}

/// The layers of a network on slots.
#[derive(Debug)]
struct Packed {
    input: Layout,
    layers: Vec<PackedLayer>,
    /// By output feature: its ciphertext and slot.
    outputs: Vec<(usize, usize)>,
}

impl Packed {
    /// Whether every ciphertext of the result has a slot without an output.
    fn leaves_slots_free(&self) -> bool {
        let results = self.layers.last().map_or(1, |last| last.layer.output.ciphertexts());
        let held = |result| self.outputs.iter().filter(|(at, _)| *at == result).count();
        (0..results).all(|result| held(result) < self.period())
    }

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
    /// All ways to make its rotations.
    steps: Vec<Steps>,
    weights: Weights,
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
    let mut search = Search::default();
    let mut too_wide = None;
    let levels = Levels::of(network, options.log_degree.unwrap_or(*LOG_DEGREES.end()));
    for log_degree in security::log_degrees().filter(|log| LOG_DEGREES.contains(log)) {
        if options.log_degree.is_some_and(|wanted| wanted != log_degree) {
            continue;
        }
        let packed = match pack(network, options, 1 << log_degree) {
            Ok(packed) => packed,
            Err(error) => {
                too_wide = Some(error);
                continue;
            }
        };
        let chains = chain::candidates(&packed, log_degree, options.insecure, &options.prices);
        // A small response if it can be had; a larger ring would cost more than it saves.
        for (compressed, chain) in [true, false].into_iter().flat_map(|c| chains.iter().map(move |chain| (c, chain))) {
            let attempt = Attempt { network, options, facts: &facts, packed: &packed, chain, compressed };
            if let Some(plan) = attempt.smallest(&mut search)? {
                return Ok(plan);
            }
        }
    }
    match too_wide {
        Some(error) if search.best.is_none() => Err(error),
        _ => Err(PlanError::Precision { wanted: options.precision_bits, found: search.best, levels }),
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
fn pack(network: &Network, options: &Options, slots: usize) -> Result<Packed, PlanError> {
    let batch = options.batch;
    let room = slots / batch;
    let mut layers: Vec<PackedLayer> = Vec::new();
    let mut input = None;
    for (index, stage) in network.stages().iter().enumerate() {
        let Stage::Affine { name, matrix, bias, .. } = stage else { continue };
        let squared = index + 1 < network.stages().len();
        let candidates = match layers.last() {
            None => {
                let first = (room > 0).then(|| FirstLayer::new(matrix, bias, room, options.requests)).flatten();
                let (laid_out, layer) = first.map(|first| (first.input, first.layer)).unzip();
                input = laid_out;
                vec![layer]
            }
            Some(before) => {
                let shapes = [index, index + 1].map(|value| network.shape(network::ValueId(value)));
                // The last layer leaves a slot free, which must stay zero: it tells whether a response is whole.
                let least = matrix.rows() + usize::from(!squared);
                let on_grid = || SlotLayer::on_grid(matrix, bias, &before.layer.output, shapes, room);
                let on_grid = if squared { on_grid() } else { None };
                // A dense layer has about as many diagonals as rows.
                let fewer = on_grid.as_ref().is_some_and(|layer| layer.diagonals.len() < matrix.rows());
                let dense = || SlotLayer::dense(matrix, bias, &before.layer.output, least, room);
                vec![on_grid, if fewer { None } else { dense() }]
            }
        };
        let packed_layer = |layer| PackedLayer::new(index, layer, squared, options.weights);
        let candidates = candidates.into_iter().flatten().map(packed_layer);
        let rough_cost = |packed: &PackedLayer| packed.rough_cost(&options.prices);
        let cheapest = candidates.min_by(|a, b| rough_cost(a).total_cmp(&rough_cost(b)));
        let rows = matrix.rows() * batch;
        layers.push(cheapest.ok_or_else(|| PlanError::TooWide { stage: index, name: name.clone(), rows })?);
    }
    let not_a_chain = || PlanError::NotAChain { stage: 0, name: String::new() };
    let input = input.ok_or_else(not_a_chain)?;
    let (inputs, results) = (network.length(network::ValueId::INPUT), network.length(network.output()));
    let last = layers.last().map(|last| &last.layer.output).ok_or_else(not_a_chain)?;
    let outputs = last.first_positions(results).ok_or_else(not_a_chain)?;
    let place = |position: usize| (position / last.width(), position % last.width());
    let of_sample = |sample: usize| {
        let outputs = outputs.iter().map(|position| place(*position));
        outputs.map(move |(result, slot)| (result, slot * batch + sample)).collect::<Vec<_>>()
    };
    let outputs = (0..batch).flat_map(of_sample).collect();
    let interleaved = layers.iter().map(|packed| packed.interleaved(batch));
    Ok(Packed { input: input.interleaved(batch, inputs), layers: interleaved.collect(), outputs })
}

impl PackedLayer {
    fn new(stage: usize, layer: SlotLayer, squared: bool, weights: Weights) -> Self {
        let (places, width) = (layer.diagonals.keys(), layer.width());
        let steps = match weights {
            Weights::Clear => Steps::options(places, width),
            Weights::Encrypted => Steps::whole_options(places, width),
        };
        Self { stage, layer, steps, weights, squared }
    }

    fn interleaved(&self, batch: usize) -> Self {
        Self::new(self.stage, self.layer.interleaved(batch), self.squared, self.weights)
    }

    /// What tells layouts of one layer apart, whatever the parameters.
    fn rough_cost(&self, prices: &Prices) -> f64 {
        const LIMBS: usize = 4;
        let n = 1u64 << 13;
        let steps = self.cheapest_steps(LIMBS, 1, n, prices);
        let fold = Work::fold(&self.cheapest_folds(LIMBS, 1, n, prices), LIMBS, 1, n);
        let work = self.matrix_work(&steps, LIMBS, 1, true, n) + fold.times(self.layer.output.ciphertexts());
        work.seconds(prices, n as usize)
    }
}

/// What is known from plans that were built or estimated before.
struct Search {
    /// The most bits of precision, bounded or estimated.
    best: Option<f64>,
    /// By how many bits the bound of a program may be better than its estimate.
    surplus: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self { best: None, surplus: 1.0 }
    }
}

impl Search {
    /// Whether a program with this estimate may have the precision wanted: no table is made for one that has not.
    fn is_hopeful(&mut self, estimated: f64, wanted: f64) -> bool {
        self.best = Some(self.best.map_or(estimated, |best| best.max(estimated)));
        estimated + self.surplus >= wanted
    }

    /// Bounds differ from estimates by about the same for all plans of a network.
    fn learn(&mut self, estimated: f64, found: f64) {
        const SPREAD: f64 = 0.25;
        self.best = Some(self.best.map_or(found, |best| best.max(found)));
        self.surplus = found - estimated + SPREAD;
    }
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
    fn smallest(&self, search: &mut Search) -> Result<Option<Plan>, PlanError> {
        let Some((mut low, mut high)) = self.chain.budgets(self.options.insecure) else { return Ok(None) };
        let Some(mut best) = self.within(high, search)? else { return Ok(None) };
        for _ in 0..BISECTIONS {
            let middle = (low + high) / 2;
            match self.within(middle, search)? {
                Some(plan) => (best, high) = (plan, middle),
                None => low = middle,
            }
        }
        Ok(Some(best))
    }

    /// The plan with primes of at most `budget` bits in all, if it has the wanted precision.
    fn within(&self, budget: u32, search: &mut Search) -> Result<Option<Plan>, PlanError> {
        let Self { options, facts, packed, chain, .. } = self;
        // A slot that must be zero tells the client whether a compressed response is whole.
        if self.compressed && !packed.leaves_slots_free() {
            return Ok(None);
        }
        let Some((choice, estimate)) =
            scales::choose(facts, packed, chain, budget, self.compressed, options.precision_bits)
        else {
            return Ok(None);
        };
        let estimated = (facts.output_magnitude / estimate).log2();
        if !search.is_hopeful(estimated, options.precision_bits) {
            return Ok(None);
        }
        let spec = chain.spec(&choice);
        let params = match if options.insecure { spec.validate_insecure() } else { spec.validate() } {
            Ok(params) => params,
            Err(SpecError::Ring(_) | SpecError::InsecureModulus { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let plan = self.build(&params, &choice)?;
        // Without compression every output that the input allows must fit, and only some were counted on.
        if self.compressed && plan.program.compression().is_none() {
            return Ok(None);
        }
        let found = plan.precision_bits();
        search.learn(estimated, found);
        Ok((found >= options.precision_bits).then_some(plan))
    }

    fn build(&self, params: &CkksParams, choice: &Choice) -> Result<Plan, PlanError> {
        let Self { network, options, facts, packed, chain, .. } = self;
        let mut builder = Builder::new(params, choice.input, packed.input.ciphertexts(), facts.magnitudes[0]);
        for (index, packed_layer) in packed.layers.iter().enumerate() {
            let PackedLayer { stage, layer, squared, weights, .. } = packed_layer;
            let (stage, step) = (*stage, &chain.layers[index]);
            let (name, value) = (network.stages()[stage].name(), network::ValueId::of_stage(stage));
            // What a compressed response has room for.
            let limit = if self.compressed && !squared { facts.response_range() } else { f64::INFINITY };
            builder.at(name, value, facts.partial_sums[index].min(limit));
            let weight_scale = Scale::power_of_two(choice.weights[index]);
            match weights {
                Weights::Clear => builder.matrix(layer, step, weight_scale)?,
                Weights::Encrypted => builder.encrypted_matrix(layer, step, weight_scale)?,
            }
            if !step.folds.is_empty() {
                builder.then(|source| Op::Fold { source, steps: step.folds.clone() });
            }
            builder.at(name, value, facts.magnitudes[value.index()].min(limit));
            match weights {
                Weights::Clear if layer.bias.iter().all(|bias| *bias == 0.0) => {}
                Weights::Clear => builder.then(|source| Op::AddSlots { source, values: layer.bias.clone() }),
                Weights::Encrypted => builder.encrypted_bias(layer)?,
            }
            if *squared {
                let value = network::ValueId::of_stage(stage + 1);
                builder.at(network.stages()[stage + 1].name(), value, facts.magnitudes[value.index()]);
                builder.then(|source| Op::Square { source });
                builder.scale = builder.scale.square();
                builder.relinearize(step.rescale_square > 0);
                (1..step.rescale_square).for_each(|_| builder.rescale());
            }
        }
        let compression = if self.compressed {
            compression(params, &builder.scale, facts.response_range(), packed.period())
        } else {
            None
        };
        if compression.is_some() && builder.level > Level(0) {
            builder.at("output", network.output(), facts.response_range());
            builder.then(|source| Op::DropTo { source, level: Level(0) });
        }
        let Builder { ops, names, values, magnitudes, model, .. } = builder;
        let output = ValueId(ops.len() - 1);
        let mut program = Program::new(params, ops, names, output)?.with_capacity(options.batch);
        if let Some(compression) = compression {
            program = program.with_compression(compression)?;
        }
        let vectors: Vec<Vec<f64>> = model.iter().map(|array| array.vectors.clone()).collect();
        let error_bound = facts.error_bound(&program, &vectors, packed, options.batch);
        Ok(Plan {
            insecure: options.insecure && !params.is_secure(),
            batch: options.batch,
            requests: options.requests,
            weights: options.weights,
            input: packed.input.clone(),
            outputs: packed.outputs.clone(),
            model,
            values,
            magnitudes,
            error_bound,
            output_magnitude: facts.output_magnitude,
            seconds: program.total_work().seconds(&options.prices, params.degree()),
            prices: options.prices,
            program,
        })
    }
}

/// How the result is compressed: from one prime, to few bits. `None` if the range of a response does not fit that prime.
fn compression(params: &CkksParams, scale: &Scale, range: f64, slots: usize) -> Option<Compression> {
    let log_q = params.log_q(Level(0));
    let bits = scales::response_bits(params.spec().log_degree);
    let fits = range.log2() + scale.log2() + 1.0 <= log_q;
    let smaller = f64::from(bits) < log_q && bits <= CompressedCiphertext::max_bits(params);
    (fits && smaller).then_some(Compression { slots, bits })
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

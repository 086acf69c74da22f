//! The throughput plan: one ciphertext a feature, one sample a slot, weights as integers (CryptoNets, 2016).
//!
//! A product costs one level. Where it is relinearised and rescaled is a choice ([`Placement`]): both are linear, so a
//! layer with fewer outputs than inputs is cheaper to treat after its matrix than before. All choices are priced, for
//! each degree that the security table allows; scales and weight sizes are then raised together, as far as the modulus
//! has room, until nothing lowers the error of the output any more.

use nightloom_he::{CkksParams, CkksSpec, Level, Ring, Scale, SpecError, noise as scheme, security};
use nightloom_program::cost::{REFERENCE, Work};
use nightloom_program::{Op, Program, Source, ValueId, VerifyError};
use nightloom_ring::linear::MAX_ROW_NORM;
use nightloom_ring::{IntegerMatrix, RingError};

use crate::interval::Interval;
use crate::matrix::SparseMatrix;
use crate::network::{self, Network, Stage};

/// What is wanted of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Every input feature lies in this interval.
    pub input: Interval,
    /// The error bound of the outputs is at most the typical largest output times `2^-precision_bits`.
    pub precision_bits: f64,
    /// `log2` of the ring degree; the smallest that suffices if `None`.
    pub log_degree: Option<u32>,
    /// Accept parameters below 128 bits of security. Only with a given degree.
    pub insecure: bool,
    /// Flattened samples for which the error is bounded and from which the typical size of the outputs is taken;
    /// pseudo-random ones if empty.
    pub samples: Vec<Vec<f64>>,
}

/// When a product is brought back to two components and one level down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// At once.
    Eager,
    /// It is rescaled at once and relinearised after the layer that reads it.
    RescaleFirst,
    /// Both after the layer that reads it.
    Lazy,
}

/// A program with what the planner knows of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program.
    pub program: Program,
    /// Parameters below 128 bits were asked for and used.
    pub insecure: bool,
    /// The choice for each product of the network, in order.
    pub placements: Vec<Placement>,
    /// Largest magnitude of any feature, by operation, for every input in the interval: no scaled value can leave the
    /// modulus.
    pub magnitudes: Vec<f64>,
    /// Bound on the outputs' difference from the network for inputs like the samples: [`MARGIN`] times the bound
    /// of the noise and the effect of the rounded weights, at the worst sample.
    pub error_bound: f64,
    /// Typical largest output.
    pub output_magnitude: f64,
    /// Predicted seconds for one batch on one thread of the reference machine.
    pub seconds: f64,
}

/// How much larger than at the worst sample the error may be at another input.
pub const MARGIN: f64 = 2.0;

impl Plan {
    /// Bits between the typical largest output and the error bound.
    pub fn precision_bits(&self) -> f64 {
        (self.output_magnitude / self.error_bound).log2()
    }
}

/// Why there is no program for a network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No parameters reach the wanted precision.
    #[error(
        "no parameters give {wanted:.1} bits of precision{}; lower --precision, narrow the input range, or use fewer \
         products in the model ({products} now)",
        found.map_or(String::new(), |found| format!(", the best give {found:.1}"))
    )]
    Precision {
        /// Bits wanted.
        wanted: f64,
        /// Bits of the best parameters, if any work at all.
        found: Option<f64>,
        /// Products in a row in the network.
        products: usize,
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
    /// A layer's weights are too large for exact accumulation.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Plans a network.
///
/// # Errors
/// [`PlanError::Precision`] if no parameters suffice.
pub fn plan(network: &Network, options: &Options) -> Result<Plan, PlanError> {
    if options.insecure && options.log_degree.is_none() {
        return Err(PlanError::InsecureNeedsDegree);
    }
    let facts = Facts::new(network, options);
    let shapes = sketches(network);
    let depth = shapes.iter().map(|shape| shape.depth).min().unwrap_or(0);
    let mut best_precision: Option<f64> = None;
    let degrees = security::log_degrees().filter(|log| (12..=16).contains(log));
    for log_degree in degrees.filter(|log| options.log_degree.is_none_or(|wanted| wanted == *log)) {
        let mut best: Option<(f64, u32, Plan)> = None;
        for spec in specs(log_degree, depth, options.insecure) {
            let params = match if options.insecure { spec.validate_insecure() } else { spec.validate() } {
                Ok(params) => params,
                Err(SpecError::InsecureModulus { .. } | SpecError::Ring(RingError::NotEnoughPrimes { .. })) => continue,
                Err(error) => return Err(error.into()),
            };
            let total_bits: u32 = spec.prime_bits.iter().chain(&spec.special_bits).sum();
            for shape in shapes.iter().filter(|shape| shape.depth <= depth) {
                let seconds = shape.seconds(&facts, &params);
                // Within one percent in time, the smaller ciphertexts win.
                let better = |(best, bits, _): &(f64, u32, Plan)| {
                    seconds < 0.99 * best || (seconds < 1.01 * best && total_bits < *bits)
                };
                if !best.as_ref().is_none_or(better) {
                    continue;
                }
                let Some(exponents) = raise(shape, &facts, &params) else { continue };
                let plan = shape.build(network, &facts, &params, &exponents, seconds, options)?;
                let precision = plan.precision_bits();
                best_precision = Some(best_precision.map_or(precision, |best| best.max(precision)));
                if precision >= options.precision_bits {
                    best = Some((seconds, total_bits, plan));
                }
            }
        }
        if let Some((_, _, plan)) = best {
            return Ok(plan);
        }
    }
    Err(PlanError::Precision { wanted: options.precision_bits, found: best_precision, products: depth })
}

/// Candidate parameters of one degree, largest primes first: equal primes in the chain, one for each product and one or
/// two that stay at the bottom, and one to three special primes of the same size.
fn specs(log_degree: u32, depth: usize, insecure: bool) -> Vec<CkksSpec> {
    let max = security::max_log_qp(log_degree).unwrap_or(0);
    let special_counts = if depth == 0 { 0..=0 } else { 1..=3usize };
    let mut specs = Vec::new();
    for bits in (30..=50).rev().step_by(2) {
        for (special, bottom) in special_counts.clone().flat_map(|special| [(special, 1), (special, 2)]) {
            let prime_bits = vec![bits; depth + bottom];
            let total = bits * (depth + bottom + special) as u32;
            if total <= max || insecure {
                let special_bits = vec![bits; special];
                specs.push(CkksSpec { ring: Ring::ConjugateInvariant, log_degree, prime_bits, special_bits });
            }
        }
    }
    specs
}

/// What the search needs of the network, computed once.
struct Facts {
    /// Largest magnitude of each network value for any input in the interval.
    magnitudes: Vec<f64>,
    /// Root of the mean square of each network value over samples and features.
    typical: Vec<f64>,
    /// By stage and source: norms of the weights.
    norms: Vec<Vec<Norms>>,
    /// By stage: stored weights.
    weights: Vec<usize>,
    /// The samples.
    samples: Vec<Vec<f64>>,
    /// What the network makes of them.
    outputs: Vec<Vec<f64>>,
}

/// Norms of the rows of a stage's matrix in the columns of one source.
#[derive(Debug, Clone, Copy, Default)]
struct Norms {
    /// Largest sum of absolute weights.
    absolute: f64,
    /// Largest root of the sum of squared weights.
    euclidean: f64,
    /// Most weights in a row.
    count: f64,
}

/// Deviation of the rounding of a weight, in units of its scale.
const ROUNDING: f64 = 0.288_675_134_594_812_9;

impl Facts {
    fn new(network: &Network, options: &Options) -> Self {
        let ranges = network.ranges(&vec![options.input; network.length(network::ValueId::INPUT)]);
        let largest = |value: &Vec<Interval>| value.iter().map(|r| r.magnitude()).fold(f64::MIN_POSITIVE, f64::max);
        let samples = if options.samples.is_empty() {
            pseudo_random_samples(network.length(network::ValueId::INPUT), options.input).collect()
        } else {
            options.samples.clone()
        };
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
        let mut norms = Vec::new();
        let mut weights = Vec::new();
        for stage in network.stages() {
            let Stage::Affine { sources, matrix, .. } = stage else {
                norms.push(Vec::new());
                weights.push(0);
                continue;
            };
            let mut first = 0;
            let of_source = |source: &network::ValueId| {
                let columns = first..first + network.length(*source);
                first = columns.end;
                Norms::of(matrix, columns)
            };
            norms.push(sources.iter().map(of_source).collect());
            weights.push(matrix.nonzeros());
        }
        Self {
            magnitudes: ranges.iter().map(largest).collect(),
            typical: squares.iter().map(|(sum, count)| (sum / (*count).max(1) as f64).sqrt()).collect(),
            norms,
            weights,
            samples,
            outputs,
        }
    }

    /// The median over samples of the largest absolute output.
    fn output_magnitude(&self) -> f64 {
        let largest = |output: &Vec<f64>| output.iter().fold(0.0f64, |largest, value| value.abs().max(largest));
        let mut magnitudes: Vec<f64> = self.outputs.iter().map(largest).collect();
        magnitudes.sort_by(f64::total_cmp);
        magnitudes[magnitudes.len() / 2].max(f64::MIN_POSITIVE)
    }

    /// The error bound of a program for inputs like the samples.
    fn error_bound(&self, program: &Program) -> f64 {
        let of_sample = |(sample, expected): (&Vec<f64>, &Vec<f64>)| {
            let rounded = program.evaluate(sample);
            let noise = program.output_bounds(sample);
            let errors = rounded.iter().zip(expected).zip(&noise);
            errors.map(|((r, e), noise)| (r - e).abs() + noise).fold(0.0, f64::max)
        };
        MARGIN * self.samples.iter().zip(&self.outputs).map(of_sample).fold(0.0, f64::max)
    }
}

impl Norms {
    fn of(matrix: &SparseMatrix, columns: std::ops::Range<usize>) -> Self {
        let mut norms = Self::default();
        for row in 0..matrix.rows() {
            let (mut absolute, mut square, mut count) = (0.0, 0.0, 0.0);
            for (_, weight) in matrix.entries(row).filter(|(column, _)| columns.contains(column)) {
                absolute += weight.abs();
                square += weight * weight;
                count += 1.0;
            }
            norms.absolute = norms.absolute.max(absolute);
            norms.euclidean = norms.euclidean.max(f64::sqrt(square));
            norms.count = norms.count.max(count);
        }
        norms
    }
}

/// Samples of all densities: each feature is uniform in the interval with the sample's probability, else at the end of the
/// interval nearest to zero, as background pixels are. A fixed xorshift sequence: plans must be reproducible.
fn pseudo_random_samples(features: usize, input: Interval) -> impl Iterator<Item = Vec<f64>> {
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

/// One step of a program whose scales are still open.
#[derive(Debug, Clone)]
enum Step {
    Input,
    Linear { stage: usize, sources: Vec<usize> },
    Square { source: usize },
    Multiply { left: usize, right: usize },
    Relinearize { source: usize },
    Rescale { source: usize },
    RelinearizeRescale { source: usize },
    DropTo { source: usize },
}

/// A program whose scales are still open, and whose levels count down from the top.
#[derive(Debug, Clone)]
struct Sketch {
    placements: Vec<Placement>,
    steps: Vec<Step>,
    /// By step: rescalings done, components, value of the network, number of features.
    facts: Vec<StepFacts>,
    output: usize,
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
struct StepFacts {
    used: usize,
    components: usize,
    value: usize,
    features: usize,
}

/// Beyond this many products only the uniform placements are tried.
const MAX_ENUMERATED: usize = 6;

/// Every way to place relinearisations and rescalings.
fn sketches(network: &Network) -> Vec<Sketch> {
    let is_product = |stage: &&Stage| !matches!(stage, Stage::Affine { .. });
    let products = network.stages().iter().filter(is_product).count();
    let all = [Placement::Lazy, Placement::RescaleFirst, Placement::Eager];
    let placements: Vec<Vec<Placement>> = if products > MAX_ENUMERATED {
        all.iter().map(|placement| vec![*placement; products]).collect()
    } else {
        (0..3usize.pow(products as u32))
            .map(|code| (0..products as u32).map(|product| all[code / 3usize.pow(product) % 3]).collect())
            .collect()
    };
    let mut sketches: Vec<Sketch> =
        placements.into_iter().map(|placement| Sketcher::draw(network, placement)).collect();
    // Products that no single layer reads are eager whatever was asked for: keep one of equal sketches.
    sketches.sort_by_key(|sketch| format!("{:?}", sketch.steps));
    sketches.dedup_by_key(|sketch| format!("{:?}", sketch.steps));
    sketches
}

struct Sketcher<'a> {
    network: &'a Network,
    steps: Vec<Step>,
    facts: Vec<StepFacts>,
    /// By value of the network: the step that holds it.
    step_of: Vec<usize>,
}

impl<'a> Sketcher<'a> {
    fn draw(network: &'a Network, mut placements: Vec<Placement>) -> Sketch {
        let input = network::ValueId::INPUT;
        let mut sketcher = Self { network, steps: Vec::new(), facts: Vec::new(), step_of: Vec::new() };
        let fresh = StepFacts { used: 0, components: 2, value: 0, features: network.length(input) };
        let step = sketcher.push(Step::Input, fresh);
        sketcher.step_of.push(step);
        let mut product = 0;
        for (index, stage) in network.stages().iter().enumerate() {
            let value = index + 1;
            let features = network.length(network::ValueId::of_stage(index));
            let step = match stage {
                Stage::Affine { sources, .. } => sketcher.affine(index, sources, value, features),
                Stage::Square { source, .. } => {
                    let source = sketcher.step_of[source.index()];
                    let used = sketcher.facts[source].used;
                    sketcher.push(Step::Square { source }, StepFacts { used, components: 3, value, features })
                }
                Stage::Multiply { left, right, .. } => {
                    let sources = sketcher.align(&[left.index(), right.index()]);
                    let used = sketcher.facts[sources[0]].used;
                    let step = Step::Multiply { left: sources[0], right: sources[1] };
                    sketcher.push(step, StepFacts { used, components: 3, value, features })
                }
            };
            let step = if matches!(stage, Stage::Affine { .. }) {
                step
            } else {
                if !sketcher.read_by_one_layer(value) {
                    placements[product] = Placement::Eager;
                }
                product += 1;
                match placements[product - 1] {
                    Placement::Lazy => step,
                    Placement::RescaleFirst => sketcher.whole(step, true, false),
                    Placement::Eager => sketcher.whole(step, true, true),
                }
            };
            sketcher.step_of.push(step);
        }
        let output = sketcher.step_of[network.output().index()];
        let depth = sketcher.facts.iter().map(|facts| facts.used).max().unwrap_or(0);
        Sketch { placements, steps: sketcher.steps, facts: sketcher.facts, output, depth }
    }

    fn push(&mut self, step: Step, facts: StepFacts) -> usize {
        self.steps.push(step);
        self.facts.push(facts);
        self.steps.len() - 1
    }

    /// Whether every reader of a product is an affine stage that reads nothing else, so that it may keep three
    /// components until after the matrix.
    fn read_by_one_layer(&self, value: usize) -> bool {
        let reads = |stage: &&Stage| stage.sources().iter().any(|source| source.index() == value);
        self.network.output().index() != value
            && self
                .network
                .stages()
                .iter()
                .filter(reads)
                .all(|stage| matches!(stage, Stage::Affine { sources, .. } if sources.len() == 1))
    }

    fn affine(&mut self, stage: usize, sources: &[network::ValueId], value: usize, features: usize) -> usize {
        let values: Vec<usize> = sources.iter().map(|source| source.index()).collect();
        let sources = self.align(&values);
        let StepFacts { used, components, .. } = self.facts[sources[0]];
        // A lazy product still has to be rescaled: its steps are the product itself.
        let lazy = matches!(self.steps[sources[0]], Step::Square { .. } | Step::Multiply { .. });
        let step = self.push(Step::Linear { stage, sources }, StepFacts { used, components, value, features });
        if components == 3 { self.whole(step, lazy, true) } else { step }
    }

    /// The steps that hold the values, all at the lowest of their levels.
    fn align(&mut self, values: &[usize]) -> Vec<usize> {
        let used = values.iter().map(|value| self.facts[self.step_of[*value]].used).max().unwrap_or(0);
        let lower = |value: &usize| {
            let source = self.step_of[*value];
            let facts = self.facts[source];
            if facts.used == used { source } else { self.push(Step::DropTo { source }, StepFacts { used, ..facts }) }
        };
        values.iter().map(lower).collect()
    }

    fn whole(&mut self, source: usize, rescale: bool, relinearize: bool) -> usize {
        let facts = self.facts[source];
        let after = StepFacts {
            used: facts.used + usize::from(rescale),
            components: if relinearize { 2 } else { facts.components },
            ..facts
        };
        let step = match (rescale, relinearize) {
            (true, true) => Step::RelinearizeRescale { source },
            (true, false) => Step::Rescale { source },
            _ => Step::Relinearize { source },
        };
        self.push(step, after)
    }
}

/// `log2` of the input's scale, then by stage of the network `log2` of the scale of its weights from the first source.
type Exponents = Vec<i32>;

impl Sketch {
    fn level(&self, step: usize, params: &CkksParams) -> Level {
        // A sketch is only used with parameters that have its depth.
        params.top().down(self.facts[step].used as u8).unwrap_or(Level(0))
    }

    /// The operations, with matrices from `matrix`.
    fn ops(
        &self,
        scales: &Scales,
        params: &CkksParams,
        mut matrix: impl FnMut(usize, &[Scale]) -> Result<(IntegerMatrix, Vec<f64>), RingError>,
    ) -> Result<Vec<Op>, RingError> {
        let mut ops = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            ops.push(match step {
                Step::Input => Op::Input {
                    features: self.facts[index].features,
                    level: self.level(index, params),
                    scale: scales.results[index].clone(),
                },
                Step::Linear { stage, sources } => {
                    let weight_scales = &scales.weights[index];
                    let (matrix, bias) = matrix(*stage, weight_scales)?;
                    let of = |(source, scale): (&usize, &Scale)| Source {
                        value: ValueId(*source),
                        weight_scale: scale.clone(),
                    };
                    Op::Linear { sources: sources.iter().zip(weight_scales).map(of).collect(), matrix, bias }
                }
                Step::Square { source } => Op::Square { source: ValueId(*source) },
                Step::Multiply { left, right } => Op::Multiply { left: ValueId(*left), right: ValueId(*right) },
                Step::Relinearize { source } => Op::Relinearize { source: ValueId(*source) },
                Step::Rescale { source } => Op::Rescale { source: ValueId(*source) },
                Step::RelinearizeRescale { source } => Op::RelinearizeRescale { source: ValueId(*source) },
                Step::DropTo { source } => Op::DropTo { source: ValueId(*source), level: self.level(index, params) },
            });
        }
        Ok(ops)
    }

    /// Exact scales of every step's result and of every linear step's weights.
    fn scales(&self, params: &CkksParams, exponents: &Exponents) -> Scales {
        let mut scales = Scales { results: Vec::new(), weights: vec![Vec::new(); self.steps.len()] };
        let rescaled = |scales: &Scales, source: usize| {
            let prime = params.primes()[usize::from(self.level(source, params).0)];
            scales.results[source].divide_by(prime)
        };
        for (index, step) in self.steps.iter().enumerate() {
            let result = match step {
                Step::Input => Scale::power_of_two(exponents[0]),
                Step::Linear { stage, sources } => {
                    let first = Scale::power_of_two(exponents[1 + stage]);
                    let target = scales.results[sources[0]].mul(&first);
                    scales.weights[index] =
                        sources.iter().map(|source| target.ratio(&scales.results[*source])).collect();
                    target
                }
                Step::Square { source } => scales.results[*source].square(),
                Step::Multiply { left, right } => scales.results[*left].mul(&scales.results[*right]),
                Step::Relinearize { source } | Step::DropTo { source } => scales.results[*source].clone(),
                Step::Rescale { source } | Step::RelinearizeRescale { source } => rescaled(&scales, *source),
            };
            scales.results.push(result);
        }
        scales
    }

    /// An estimate of the output's error with these scales, for the search to lower: deviations at typical magnitudes,
    /// features taken as independent. `None` if a value or a matrix does not fit; that is exact.
    fn error(&self, facts: &Facts, params: &CkksParams, exponents: &Exponents) -> Option<f64> {
        let scales = self.scales(params, exponents);
        let mut errors: Vec<f64> = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            let StepFacts { components, value, .. } = self.facts[index];
            if !fits(facts.magnitudes[value], &scales.results[index], self.level(index, params), params) {
                return None;
            }
            let scale = scales.results[index].to_f64();
            let typical = |step: usize| facts.typical[self.facts[step].value];
            let divided = |source: usize, relinearized: bool| {
                let switch = if relinearized { scheme::key_switch(params, self.level(source, params)) } else { 0.0 };
                let rounding = scheme::rounding(params, components) / scale;
                errors[source].hypot(rounding).hypot(switch / scales.results[source].to_f64())
            };
            let error = match step {
                Step::Input => scheme::fresh_symmetric(params) / scale,
                Step::Linear { stage, sources } => {
                    let (mut square, mut norm) = (0.0, 0.0);
                    for ((source, norms), weights) in
                        sources.iter().zip(&facts.norms[*stage]).zip(&scales.weights[index])
                    {
                        let weights = weights.to_f64();
                        norm += norms.absolute * weights + norms.count;
                        let rounded = norms.count.sqrt() * typical(*source) * ROUNDING / weights;
                        square += (norms.euclidean * errors[*source]).powi(2) + rounded.powi(2);
                    }
                    if norm > MAX_ROW_NORM as f64 {
                        return None;
                    }
                    f64::sqrt(square)
                }
                Step::Square { source } => (2.0 * typical(*source) + errors[*source]) * errors[*source],
                Step::Multiply { left, right } => {
                    let (left, right) = (*left, *right);
                    (typical(left) + errors[left]) * errors[right] + typical(right) * errors[left]
                }
                Step::Relinearize { source } | Step::RelinearizeRescale { source } => divided(*source, true),
                Step::Rescale { source } => divided(*source, false),
                Step::DropTo { source } => errors[*source],
            };
            errors.push(error);
        }
        errors[self.output].is_finite().then_some(errors[self.output])
    }

    /// Predicted seconds for one batch.
    fn seconds(&self, facts: &Facts, params: &CkksParams) -> f64 {
        let degree = params.degree();
        let n = degree as u64;
        let special = params.special_primes().len();
        let limbs = |step: usize| self.level(step, params).limbs();
        let work = self.steps.iter().enumerate().map(|(index, step)| {
            let StepFacts { components, features, .. } = self.facts[index];
            match step {
                Step::Input | Step::DropTo { .. } => Work::default(),
                Step::Linear { stage, .. } => Work::linear(facts.weights[*stage], components, limbs(index), n),
                Step::Square { .. } => Work::products(3, features, limbs(index), n),
                Step::Multiply { .. } => Work::products(4, features, limbs(index), n),
                Step::Relinearize { source } => Work::key_switch(features, limbs(*source), special, special, n),
                Step::RelinearizeRescale { source } => {
                    Work::key_switch(features, limbs(*source), special, special + 1, n)
                }
                Step::Rescale { source } => Work::division(components * features, limbs(*source), 1, n),
            }
        });
        work.fold(Work::default(), |sum, work| sum + work).seconds(&REFERENCE, degree)
    }

    fn build(
        &self,
        network: &Network,
        facts: &Facts,
        params: &CkksParams,
        exponents: &Exponents,
        seconds: f64,
        options: &Options,
    ) -> Result<Plan, PlanError> {
        let scales = self.scales(params, exponents);
        let ops = self.ops(&scales, params, |stage, weights| quantize(network, stage, weights))?;
        let names = self.steps.iter().zip(&self.facts).map(|(step, facts)| match (step, facts.value) {
            (Step::Input, _) => "input".to_owned(),
            (_, value) => network.stages()[value - 1].name().to_owned(),
        });
        let program = Program::new(params, ops, names.collect(), ValueId(self.output))?;
        let magnitudes: Vec<f64> = self.facts.iter().map(|step| facts.magnitudes[step.value]).collect();
        Ok(Plan {
            insecure: options.insecure && !params.is_secure(),
            placements: self.placements.clone(),
            magnitudes,
            error_bound: facts.error_bound(&program),
            output_magnitude: facts.output_magnitude(),
            program,
            seconds,
        })
    }
}

struct Scales {
    results: Vec<Scale>,
    weights: Vec<Vec<Scale>>,
}

/// Whether values of this magnitude leave a factor of `2^1.5` below the modulus: `Q/2` and room for noise.
fn fits(magnitude: f64, scale: &Scale, level: Level, params: &CkksParams) -> bool {
    magnitude.log2() + scale.log2() + 1.5 <= params.log_q(level)
}

/// A layer's weights as integers.
fn quantize(network: &Network, stage: usize, weights: &[Scale]) -> Result<(IntegerMatrix, Vec<f64>), RingError> {
    let Stage::Affine { sources, matrix, bias, .. } = &network.stages()[stage] else {
        return Ok((IntegerMatrix::new(0, &[])?, Vec::new()));
    };
    let factors: Vec<f64> = sources
        .iter()
        .zip(weights)
        .flat_map(|(source, scale)| std::iter::repeat_n(scale.to_f64(), network.length(*source)))
        .collect();
    let integer = |(column, weight): (usize, f64)| (column as u32, (weight * factors[column]).round() as i32);
    let rows: Vec<Vec<(u32, i32)>> = (0..matrix.rows())
        .map(|row| matrix.entries(row).map(integer).filter(|(_, weight)| *weight != 0).collect())
        .collect();
    Ok((IntegerMatrix::new(matrix.columns(), &rows)?, bias.clone()))
}

/// Scales and weight sizes that make the output's error as small as the modulus allows: from the smallest that fit, the
/// best single step upwards, then exchanges between two of them, until nothing helps.
fn raise(sketch: &Sketch, facts: &Facts, params: &CkksParams) -> Option<Exponents> {
    let input = facts.magnitudes[0].log2().ceil() as i32;
    let mut exponents: Exponents = std::iter::once(12 - input)
        .chain(facts.norms.iter().map(|sources| {
            sources.first().map_or(0, |source| 4 - source.euclidean.max(f64::MIN_POSITIVE).log2().floor() as i32)
        }))
        .collect();
    let open: Vec<usize> = std::iter::once(0)
        .chain(facts.norms.iter().enumerate().filter(|(_, sources)| !sources.is_empty()).map(|(stage, _)| stage + 1))
        .collect();
    let mut error = sketch.error(facts, params, &exponents)?;
    let mut moves: Vec<Vec<(usize, i32)>> = open.iter().map(|variable| vec![(*variable, 1)]).collect();
    for &a in &open {
        for &b in open.iter().filter(|b| **b != a) {
            moves.extend([(1, -1), (2, -1), (1, -2), (2, -2)].map(|(up, down)| vec![(a, up), (b, down)]));
        }
    }
    loop {
        let attempt = |changes: &Vec<(usize, i32)>| {
            let mut changed = exponents.clone();
            changes.iter().for_each(|(variable, by)| changed[*variable] += by);
            sketch.error(facts, params, &changed).map(|error| (error, changed))
        };
        let best = moves.iter().filter_map(attempt).min_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((better, changed)) if better < error * 0.999 => (error, exponents) = (better, changed),
            _ => return Some(exponents),
        }
    }
}

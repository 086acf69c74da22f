//! The throughput plan: one ciphertext a feature, one sample a slot, weights as integers (CryptoNets, 2016).
//!
//! A product costs one level. Where it is relinearised and rescaled is a choice ([`Placement`]): both are linear, so a
//! layer with fewer outputs than inputs is cheaper to treat after its matrix than before. Every choice is drawn as a
//! sketch and priced, for each degree that the security table allows, the fastest first. Its scales are then as large
//! as the modulus allows, where that lowers the error of the output, and the program is built and its error bounded.
//! Derivations: docs/notes/throughput.md.

mod build;
mod facts;
mod scales;
mod sketch;

use nightloom_he::{CkksSpec, Ring, SpecError, security};
use nightloom_program::cost::Prices;
use nightloom_program::{Program, VerifyError};
use nightloom_ring::RingError;

use super::{LOG_DEGREES, Levels};
use crate::interval::Interval;
use crate::network::{Network, ValueId};
use facts::Facts;
pub(super) use facts::pseudo_random_samples;
use scales::{Assessment, Chain, RingNoise, Targets};
use sketch::{Sketch, sketches};

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
    /// What the machine of the service takes.
    pub prices: Prices,
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
    /// By operation: the value of the network that it computes.
    pub values: Vec<ValueId>,
    /// By operation: the largest magnitude of any feature, weights being rounded, for every input in the interval. No
    /// scaled value can leave the modulus.
    pub magnitudes: Vec<f64>,
    /// Bound on the outputs' difference from the network for inputs like the samples: [`MARGIN`] times the bound
    /// of the noise and the effect of the rounded weights, at the worst sample.
    pub error_bound: f64,
    /// The same for requests encrypted with the public key, whose fresh noise is larger.
    pub error_bound_public_key: f64,
    /// Typical largest output.
    pub output_magnitude: f64,
    /// Predicted seconds for one batch on one thread.
    pub seconds: f64,
    /// What was predicted with.
    pub prices: Prices,
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
    /// Parameters below the security table without a degree.
    #[error("parameters below 128 bits need an explicit degree")]
    InsecureNeedsDegree,
    /// The scheme refuses the parameters.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The verifier refuses every program: a defect of the planner.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A layer's weights are too large for exact accumulation.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Plans a network.
///
/// # Errors
/// [`PlanError::Precision`] if no parameters suffice, [`PlanError::SampleWidth`] for samples of another network.
pub fn plan(network: &Network, options: &Options) -> Result<Plan, PlanError> {
    if options.insecure && options.log_degree.is_none() {
        return Err(PlanError::InsecureNeedsDegree);
    }
    let facts = Facts::new(network, options)?;
    let shapes = sketches(network);
    let depth = shapes.iter().map(|shape| shape.depth).min().unwrap_or(0);
    let mut search = Search::new(network, options, &facts);
    let degrees = security::log_degrees().filter(|log| LOG_DEGREES.contains(log));
    for log_degree in degrees.filter(|log| options.log_degree.is_none_or(|wanted| wanted == *log)) {
        let noise = RingNoise::new(log_degree)?;
        let candidates = candidates(log_degree, depth, &shapes, &facts, &options.prices);
        for candidate in &candidates {
            if let Some(plan) = search.smallest(*candidate, noise)? {
                return Ok(plan);
            }
        }
        // Where the table allows every size, a larger degree would only add noise.
        if candidates.iter().all(|candidate| candidate.sizes(false).len() == PRIME_BITS.len()) {
            break;
        }
    }
    Err(search.failure(Levels::of(network, options.log_degree.unwrap_or(*LOG_DEGREES.end()))))
}

/// Sizes of primes that are tried.
const PRIME_BITS: [u32; 11] = [30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50];

/// A sketch with numbers of primes whose size is open: the time does not depend on it.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    sketch: &'a Sketch,
    log_degree: u32,
    /// Primes of the chain: one for each product in a row, and one or two that stay at the bottom.
    primes: usize,
    /// Special primes: one to three, or none if nothing is relinearised.
    special: usize,
    seconds: f64,
}

/// All candidates of one degree, the fastest first.
fn candidates<'a>(
    log_degree: u32,
    depth: usize,
    shapes: &'a [Sketch],
    facts: &Facts,
    prices: &Prices,
) -> Vec<Candidate<'a>> {
    let special_counts = if depth == 0 { 0..=0 } else { 1..=3usize };
    let mut candidates = Vec::new();
    for sketch in shapes.iter().filter(|shape| shape.depth <= depth) {
        for (special, bottom) in special_counts.clone().flat_map(|special| [(special, 1), (special, 2)]) {
            let primes = depth + bottom;
            let seconds = sketch.seconds(facts, 1 << log_degree, [primes, special], prices);
            candidates.push(Candidate { sketch, log_degree, primes, special, seconds });
        }
    }
    candidates.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    candidates
}

impl Candidate<'_> {
    /// Sizes of primes that the security table allows, rising.
    fn sizes(&self, insecure: bool) -> Vec<u32> {
        let max = security::max_log_qp(self.log_degree).unwrap_or(0);
        let count = (self.primes + self.special) as u32;
        PRIME_BITS.into_iter().filter(|bits| insecure || bits * count <= max).collect()
    }

    fn spec(&self, bits: u32) -> CkksSpec {
        CkksSpec {
            ring: Ring::ConjugateInvariant,
            log_degree: self.log_degree,
            prime_bits: vec![bits; self.primes],
            special_bits: vec![bits; self.special],
        }
    }
}

/// A candidate with everything chosen.
struct Choice<'a> {
    candidate: Candidate<'a>,
    bits: u32,
    noise: RingNoise,
    targets: Targets,
    estimated_bits: f64,
}

/// Bits of precision that an estimate may be too low by. Where the error is smaller than the values it is not off by
/// more than one.
const ESTIMATE_SLACK_BITS: f64 = 3.0;

struct Search<'a> {
    network: &'a Network,
    options: &'a Options,
    facts: &'a Facts,
    /// Bits of the best plan that was built, though it may not suffice.
    best_precision: Option<f64>,
    /// The best choice by its estimate, if it was not worth building.
    closest: Option<Choice<'a>>,
    /// What was said of a program that could not be built.
    refused: Option<PlanError>,
    /// Chains that are far from sufficient: the sketch, how many primes, of what size.
    hopeless: Vec<(&'a Sketch, usize, u32)>,
}

impl<'a> Search<'a> {
    fn new(network: &'a Network, options: &'a Options, facts: &'a Facts) -> Self {
        Self { network, options, facts, best_precision: None, closest: None, refused: None, hopeless: Vec::new() }
    }

    /// The plan of sufficient precision with the smallest primes, if the candidate has one.
    fn smallest(&mut self, candidate: Candidate<'a>, noise: RingNoise) -> Result<Option<Plan>, PlanError> {
        let sizes = candidate.sizes(self.options.insecure);
        let Some(&largest) = sizes.last() else { return Ok(None) };
        // Larger primes give more precision, so bisection finds the smallest that suffice.
        let Some(mut best) = self.sufficient(candidate, largest, noise)? else { return Ok(None) };
        let (mut low, mut high) = (0, sizes.len() - 1);
        while low < high {
            let middle = (low + high) / 2;
            match self.sufficient(candidate, sizes[middle], noise)? {
                Some(plan) => (best, high) = (plan, middle),
                None => low = middle + 1,
            }
        }
        Ok(Some(best))
    }

    /// The plan of a candidate with primes of this size, if it has sufficient precision.
    fn sufficient(&mut self, candidate: Candidate<'a>, bits: u32, noise: RingNoise) -> Result<Option<Plan>, PlanError> {
        let Candidate { sketch, primes, .. } = candidate;
        // Special primes change the noise by less than the slack of an estimate, and a larger degree only adds to it.
        let covers = |(of, most, largest): &(&Sketch, usize, u32)| {
            std::ptr::eq(*of, sketch) && primes <= *most && bits <= *largest
        };
        if self.hopeless.iter().any(covers) {
            return Ok(None);
        }
        let Ok(chain) = Chain::of_candidate(&candidate.spec(bits), bits, noise) else { return Ok(None) };
        let Some((targets, error)) = scales::choose(sketch, self.facts, &chain) else {
            self.hopeless.push((sketch, primes, bits));
            return Ok(None);
        };
        let estimated_bits = (self.facts.output_magnitude() / (MARGIN * error)).log2();
        let choice = Choice { candidate, bits, noise, targets, estimated_bits };
        if estimated_bits < self.options.precision_bits - ESTIMATE_SLACK_BITS {
            self.hopeless.push((sketch, primes, bits));
            if self.closest.as_ref().is_none_or(|closest| closest.estimated_bits < estimated_bits) {
                self.closest = Some(choice);
            }
            return Ok(None);
        }
        let plan = self.build(&choice)?;
        Ok(plan.filter(|plan| plan.precision_bits() >= self.options.precision_bits))
    }

    /// The plan of a choice; `None` if it does not fit its parameters after all.
    fn build(&mut self, choice: &Choice) -> Result<Option<Plan>, PlanError> {
        let Candidate { sketch, seconds, .. } = choice.candidate;
        let spec = choice.candidate.spec(choice.bits);
        let params = if self.options.insecure { spec.validate_insecure()? } else { spec.validate()? };
        let scales = build::Scales::new(sketch, &params, &choice.targets);
        let chain = Chain::of_params(&params, choice.noise);
        let exact = Assessment::new(sketch, self.facts, &chain, &scales.logarithms());
        if !exact.fits() {
            return Ok(None);
        }
        let program = match build::program(sketch, self.network, &params, &scales) {
            Ok(program) => program,
            Err(refused) => {
                self.refused = Some(refused);
                return Ok(None);
            }
        };
        let bounds = self.facts.error_bounds(&program);
        let plan = Plan {
            insecure: self.options.insecure && !params.is_secure(),
            placements: sketch.placements.clone(),
            values: sketch.types.iter().map(|result| result.value).collect(),
            magnitudes: exact.magnitudes,
            error_bound: bounds.secret_key,
            error_bound_public_key: bounds.public_key,
            output_magnitude: self.facts.output_magnitude(),
            program,
            seconds,
            prices: self.options.prices,
        };
        let precision = plan.precision_bits();
        self.best_precision = Some(self.best_precision.map_or(precision, |best| best.max(precision)));
        Ok(Some(plan))
    }

    /// Why nothing was found.
    fn failure(mut self, levels: Levels) -> PlanError {
        if let (None, Some(closest)) = (self.best_precision, self.closest.take())
            && let Err(error) = self.build(&closest)
        {
            return error;
        }
        match (self.best_precision, self.refused) {
            (None, Some(refused)) => refused,
            (found, _) => PlanError::Precision { wanted: self.options.precision_bits, found, levels },
        }
    }
}

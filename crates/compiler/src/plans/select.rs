//! The choice between plans: every candidate is planned and priced for what the user wants.

use std::fmt;

use nightloom_he::wire::evaluation_keys_bytes;
use nightloom_program::cost::{Prices, SlotMatrixCounts, Work};
use nightloom_program::wire::{request_ciphertext_bytes, result_bytes};
use nightloom_program::{Op, Program, ValueType};

use super::latency::Weights;
use super::latency::packing::Requests;
use super::{Plan, latency, throughput};
use crate::network::{Network, Stage, ValueId};

/// What a plan is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// The least time for a sample when requests are full.
    #[default]
    Throughput,
    /// The least time for a request of the wanted batch, its way and that of its response included.
    Latency,
    /// The least memory of the service for such a request.
    Memory,
    /// The fewest bytes of such a request and its response.
    Traffic,
}

/// Bytes a second of the link that [`Objective::Latency`] counts with: 100 Mbit/s.
pub const LINK_BYTES_PER_SECOND: f64 = 12.5e6;

/// What is wanted of a plan, beyond its precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goal {
    /// What it is chosen for.
    pub objective: Objective,
    /// Samples that a request is expected to have; `None` for full ones with [`Objective::Throughput`], else one.
    pub batch: Option<usize>,
    /// The most bytes of memory that the service may take for a request.
    pub max_memory: Option<u64>,
    /// What the service may hold of the weights.
    pub weights: Weights,
}

/// A plan with its price for a request of the wanted batch.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The plan.
    pub plan: Plan,
    /// Samples of one run.
    pub capacity: usize,
    /// Predicted seconds of one thread for the request.
    pub seconds: f64,
    /// Bytes of the evaluation keys.
    pub key_bytes: u64,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the response.
    pub response_bytes: u64,
    /// Predicted bytes of the service's memory: keys, encoded weights and the ciphertexts of a run.
    pub memory_bytes: u64,
}

/// Why a plan is no candidate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The throughput plan.
    #[error("throughput plan: {0}")]
    Throughput(#[from] throughput::PlanError),
    /// The latency plan.
    #[error("latency plan: {0}")]
    Latency(#[from] latency::PlanError),
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// No plan is possible.
    #[error("{}", joined(.0))]
    Impossible(Vec<Refusal>),
    /// No plan fits the memory.
    #[error(
        "no plan fits {} MB of memory; the one that needs least is the {plan} plan, with about {} MB",
        megabytes(*limit),
        megabytes(*found)
    )]
    Memory {
        /// The limit.
        limit: u64,
        /// The smallest plan's name.
        plan: &'static str,
        /// What it takes.
        found: u64,
    },
}

/// Rounded up.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn joined(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Traffic => "traffic",
        })
    }
}

impl Candidate {
    fn new(plan: Plan, batch: Option<usize>) -> Self {
        let program = plan.program();
        let (params, input, capacity) = (program.params(), program.input_type(), program.capacity());
        let runs = batch.unwrap_or(capacity).div_ceil(capacity).max(1) as u64;
        let ciphertexts = (input.features as u64, program.output_type().features as u64);
        let key_bytes = evaluation_keys_bytes(params, &program.evaluation_keys());
        Self {
            capacity,
            seconds: plan.seconds() * runs as f64,
            request_bytes: runs * ciphertexts.0 * request_ciphertext_bytes(params, input.level, &input.scale),
            response_bytes: runs * ciphertexts.1 * result_bytes(program),
            memory_bytes: memory_bytes(program),
            key_bytes,
            plan,
        }
    }

    /// What the objective counts: less is better.
    pub fn cost(&self, goal: &Goal) -> f64 {
        match goal.objective {
            Objective::Throughput => self.seconds / goal.batch.unwrap_or(self.capacity) as f64,
            Objective::Latency => {
                self.seconds + (self.request_bytes + self.response_bytes) as f64 / LINK_BYTES_PER_SECOND
            }
            Objective::Memory => self.memory_bytes as f64,
            Objective::Traffic => (self.request_bytes + self.response_bytes) as f64,
        }
    }
}

/// Bytes of residues in memory: keys with both halves, weights encoded or encrypted, the two largest neighbouring values,
/// and the largest matrix's rotated operands.
fn memory_bytes(program: &Program) -> u64 {
    let params = program.params();
    let limb = (params.degree() * size_of::<f64>()) as u64;
    let special = params.special_primes().len();
    let keys = program.evaluation_keys();
    let keys = keys.keys().map(|(_, level)| {
        let limbs = level.limbs();
        2 * (limbs.div_ceil(special.max(1)) * (limbs + special)) as u64 * limb
    });
    let bytes = |result: &ValueType| (result.features * result.components * result.level.limbs()) as u64 * limb;
    let values: Vec<u64> = program.types().iter().map(bytes).collect();
    let largest = values.windows(2).map(|pair| pair[0] + pair[1]).max().unwrap_or(0).max(values[0]);
    let model: u64 = program.model().map(|(array, _)| bytes(array)).sum();
    // Rotated operands and sums of a matrix, all at once, with the special primes.
    let turned = program.ops().iter().enumerate().map(|(op, step)| match step {
        Op::SlotMatrix { matrix, .. } => {
            let counts = SlotMatrixCounts::new(matrix, 0);
            let limbs = program.types()[step.sources().first().map_or(op, |source| source.0)].level.limbs();
            2 * ((counts.babies + counts.columns + counts.rows + counts.giants) * (limbs + special)) as u64 * limb
        }
        _ => 0,
    });
    keys.sum::<u64>() + program.weight_bytes() + model + largest + turned.max().unwrap_or(0)
}

/// Every plan of a network for the goal, the best first, and why others are none.
pub fn candidates(network: &Network, options: &throughput::Options, goal: &Goal) -> (Vec<Candidate>, Vec<Refusal>) {
    candidates_if(network, options, goal, |_| true)
}

/// The same, with the throughput plan if it `may` be one beside the others. Large networks take long to be planned for it.
fn candidates_if(
    network: &Network,
    options: &throughput::Options,
    goal: &Goal,
    may: impl FnOnce(&[Candidate]) -> bool,
) -> (Vec<Candidate>, Vec<Refusal>) {
    let (mut candidates, mut refusals) = (Vec::new(), Vec::new());
    let samples = if options.samples.is_empty() {
        throughput::pseudo_random_samples(network.length(ValueId::INPUT), options.input).collect()
    } else {
        options.samples.clone()
    };
    let wanted = goal.batch.unwrap_or(1);
    let mut batches = vec![1, wanted.next_power_of_two()];
    batches.dedup();
    for (batch, requests) in batches.into_iter().flat_map(|batch| Requests::ALL.map(|requests| (batch, requests))) {
        let options = latency::Options {
            input: options.input,
            precision_bits: options.precision_bits,
            batch,
            requests,
            weights: goal.weights,
            log_degree: options.log_degree,
            insecure: options.insecure,
            samples: samples.clone(),
            prices: options.prices,
        };
        match latency::plan(network, &options) {
            Ok(plan) => candidates.push(Candidate::new(Plan::Latency(plan), goal.batch)),
            // That a layout saves nothing, or needs more room than the other one, is no news.
            Err(_) if requests == Requests::ByOffset => {}
            Err(error) => refusals.push(error.into()),
        }
    }
    if goal.weights == Weights::Clear && may(&candidates) {
        match throughput::plan(network, options) {
            Ok(plan) => candidates.push(Candidate::new(Plan::Throughput(plan), goal.batch)),
            Err(error) => refusals.insert(0, error.into()),
        }
    }
    candidates.sort_by(|a, b| a.cost(goal).total_cmp(&b.cost(goal)));
    (candidates, refusals)
}

/// Less than the throughput plan of a network can take for a request: its products alone, at the smallest degree.
fn throughput_seconds(network: &Network, prices: &Prices) -> f64 {
    const LEAST: (usize, usize, u64) = (2, 2, 1 << 12);
    let (components, limbs, degree) = LEAST;
    let entries = network.stages().iter().map(Stage::nonzeros).sum();
    Work::linear(entries, components, limbs, degree).seconds(prices, degree as usize)
}

/// The best plan of a network for the goal.
///
/// # Errors
/// [`SelectError`] if there is none, or none fits the memory.
pub fn select(network: &Network, options: &throughput::Options, goal: &Goal) -> Result<Plan, SelectError> {
    // Full batches are what the throughput plan is for: nothing else comes near it.
    if *goal == Goal::default() {
        return match throughput::plan(network, options) {
            Ok(plan) => Ok(Plan::Throughput(plan)),
            Err(error) => Err(SelectError::Impossible(vec![error.into()])),
        };
    }
    let (candidates, refusals) = candidates_if(network, options, goal, |others| match goal.objective {
        Objective::Latency => {
            let limit = goal.max_memory.unwrap_or(u64::MAX);
            let fitting = others.iter().filter(|candidate| candidate.memory_bytes <= limit);
            let fastest = fitting.map(|candidate| candidate.cost(goal)).fold(f64::INFINITY, f64::min);
            throughput_seconds(network, &options.prices) < fastest
        }
        _ => true,
    });
    let smallest = candidates.iter().min_by_key(|candidate| candidate.memory_bytes);
    let Some(smallest) = smallest.map(|smallest| (smallest.plan.name(), smallest.memory_bytes)) else {
        return Err(SelectError::Impossible(refusals));
    };
    let limit = goal.max_memory.unwrap_or(u64::MAX);
    let fitting = candidates.into_iter().find(|candidate| candidate.memory_bytes <= limit);
    let (plan, found) = smallest;
    fitting.map(|candidate| candidate.plan).ok_or(SelectError::Memory { limit, plan, found })
}

//! From a polynomial network to an encrypted program: how tensors become ciphertexts.

pub mod latency;
mod levels;
pub mod select;
pub mod throughput;

use std::ops::RangeInclusive;

use nightloom_program::Program;
use nightloom_program::cost::Prices;
use nightloom_program::noise::NoiseBound;

use crate::network::ValueId;
use latency::Weights;
use latency::packing::Requests;
pub use levels::Levels;

/// `log2` of the degrees that are tried.
const LOG_DEGREES: RangeInclusive<u32> = 12..=16;

/// A program with what its planner knows of it.
#[derive(Debug, Clone)]
pub enum Plan {
    /// One sample a slot.
    Throughput(throughput::Plan),
    /// One sample over many slots.
    Latency(latency::Plan),
}

impl Plan {
    /// The plan's name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throughput(_) => "throughput",
            Self::Latency(plan) => match (plan.weights, plan.requests) {
                (Weights::Clear, Requests::Few) => "latency",
                (Weights::Clear, Requests::ByOffset) => "latency, by offset",
                (Weights::Encrypted, Requests::Few) => "encrypted model",
                (Weights::Encrypted, Requests::ByOffset) => "encrypted model, by offset",
            },
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        match self {
            Self::Throughput(plan) => &plan.program,
            Self::Latency(plan) => &plan.program,
        }
    }

    /// Whether parameters below 128 bits were asked for and used.
    pub fn is_insecure(&self) -> bool {
        match self {
            Self::Throughput(plan) => plan.insecure,
            Self::Latency(plan) => plan.insecure,
        }
    }

    /// Bounds on the outputs' difference from the network for inputs like the samples.
    pub fn error_bound(&self) -> NoiseBound {
        match self {
            Self::Throughput(plan) => {
                NoiseBound { secret_key: plan.error_bound, public_key: plan.error_bound_public_key }
            }
            Self::Latency(plan) => plan.error_bound,
        }
    }

    /// Typical largest output.
    pub fn output_magnitude(&self) -> f64 {
        match self {
            Self::Throughput(plan) => plan.output_magnitude,
            Self::Latency(plan) => plan.output_magnitude,
        }
    }

    /// Bits between the typical largest output and the error bound.
    pub fn precision_bits(&self) -> f64 {
        (self.output_magnitude() / self.error_bound().secret_key).log2()
    }

    /// Predicted seconds for one run of the program on one thread.
    pub fn seconds(&self) -> f64 {
        match self {
            Self::Throughput(plan) => plan.seconds,
            Self::Latency(plan) => plan.seconds,
        }
    }

    /// What it was predicted with.
    pub fn prices(&self) -> &Prices {
        match self {
            Self::Throughput(plan) => &plan.prices,
            Self::Latency(plan) => &plan.prices,
        }
    }

    /// By operation: the value of the network that it computes.
    pub fn values(&self) -> &[ValueId] {
        match self {
            Self::Throughput(plan) => &plan.values,
            Self::Latency(plan) => &plan.values,
        }
    }

    /// By operation: the largest magnitude of any feature or slot, for every input in the range.
    pub fn magnitudes(&self) -> &[f64] {
        match self {
            Self::Throughput(plan) => &plan.magnitudes,
            Self::Latency(plan) => &plan.magnitudes,
        }
    }
}

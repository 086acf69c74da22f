//! What a compiled program is and costs, for people.

use std::fmt;

use nightloom_he::{Ring, security};
use nightloom_program::cost::REFERENCE;
use nightloom_program::{Op, Program};
use serde::Serialize;

use crate::network::{Network, Stage, ValueId};
use crate::plans::Plan;
use crate::plans::latency::Weights;
use crate::plans::select::{self, Candidate, Goal};
use crate::plans::throughput::Options;

/// A program in numbers. Sizes are bytes, times seconds of one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// `throughput` or `latency`.
    pub plan: &'static str,
    /// Shape of one sample.
    pub input_shape: Vec<usize>,
    /// Shape of one result.
    pub output_shape: Vec<usize>,
    /// What the user should know about the import.
    pub notes: Vec<String>,
    /// The network after squashing.
    pub layers: Vec<Layer>,
    /// Products in a row.
    pub depth: usize,
    /// The encryption.
    pub parameters: Parameters,
    /// The program's operations.
    pub operations: Vec<Operation>,
    /// Sizes of what is stored and sent.
    pub sizes: Sizes,
    /// Predicted seconds to evaluate one batch.
    pub predicted_seconds: f64,
    /// Whether that is by a calibration, and not by the prices of the reference machine.
    pub calibrated: bool,
    /// Bound on the outputs' difference from the model.
    pub error_bound: f64,
    /// The same for requests encrypted with the public key.
    pub error_bound_public_key: f64,
    /// Typical largest output.
    pub output_magnitude: f64,
    /// Bits between the two.
    pub precision_bits: f64,
}

/// One layer of the squashed network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Names of the ONNX nodes in it.
    pub name: String,
    /// `affine`, `square` or `multiply`.
    pub kind: &'static str,
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
    /// Weights that are not zero.
    pub weights: usize,
    /// Largest magnitude of any output for inputs in the stated range.
    pub magnitude: f64,
}

/// The parameters chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// The ring.
    pub ring: String,
    /// Its degree.
    pub degree: usize,
    /// Slots of a ciphertext.
    pub slots: usize,
    /// Samples of a batch.
    pub samples: usize,
    /// Primes of a fresh ciphertext, in bits.
    pub prime_bits: Vec<u32>,
    /// Special primes, in bits.
    pub special_bits: Vec<u32>,
    /// `log2(Q P)`.
    pub log_qp: f64,
    /// The largest that the security table allows at this degree.
    pub max_log_qp: Option<u32>,
    /// 128, or 0 if below.
    pub security_bits: u32,
}

/// One operation of the program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operation {
    /// What it does.
    pub name: &'static str,
    /// The layer that it belongs to.
    pub layer: String,
    /// Ciphertexts of the result.
    pub ciphertexts: usize,
    /// Components of each.
    pub components: usize,
    /// Level of the result.
    pub level: u8,
    /// `log2` of the scale of the result.
    pub log_scale: f64,
    /// Bits of the largest weight, sign included; 0 if there is none.
    pub weight_bits: u32,
    /// Deviation of the noise that the operation adds.
    pub noise: f64,
    /// Predicted seconds for one batch.
    pub seconds: f64,
}

/// Bytes of one batch and of keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sizes {
    /// One ciphertext of a request.
    pub request_ciphertext: u64,
    /// A whole request.
    pub request: u64,
    /// A whole response.
    pub response: u64,
    /// The evaluation keys.
    pub evaluation_keys: u64,
    /// Number of rotations that have a key.
    pub rotations: usize,
    /// A request, per sample of a full batch.
    pub request_per_sample: f64,
    /// A response, per sample of a full batch.
    pub response_per_sample: f64,
}

impl Explanation {
    /// Explains a plan of a network.
    pub fn new(network: &Network, plan: &Plan) -> Self {
        let program = plan.program();
        Self {
            plan: plan.name(),
            input_shape: network.input_shape().to_vec(),
            output_shape: network.output_shape().to_vec(),
            notes: network.notes().iter().map(ToString::to_string).collect(),
            layers: layers(network, plan),
            depth: usize::from(program.input_type().level.0 - program.output_type().level.0),
            parameters: parameters(program),
            operations: (0..program.ops().len()).map(|op| operation(plan, op)).collect(),
            sizes: sizes(program),
            predicted_seconds: plan.seconds(),
            calibrated: *plan.prices() != REFERENCE,
            error_bound: plan.error_bound().secret_key,
            error_bound_public_key: plan.error_bound().public_key,
            output_magnitude: plan.output_magnitude(),
            precision_bits: plan.precision_bits(),
        }
    }
}

fn layers(network: &Network, plan: &Plan) -> Vec<Layer> {
    let magnitude = |value: ValueId| {
        let of_layer = plan.values().iter().zip(plan.magnitudes()).filter(|(computed, _)| **computed == value);
        of_layer.map(|(_, magnitude)| *magnitude).fold(0.0, f64::max)
    };
    let layer = |(index, stage): (usize, &Stage)| {
        let kind = match stage {
            Stage::Affine { .. } => "affine",
            Stage::Square { .. } => "square",
            Stage::Multiply { .. } => "multiply",
        };
        let weights = stage.nonzeros();
        let inputs = stage.sources().iter().map(|source| network.length(*source)).sum();
        let value = ValueId::of_stage(index);
        let (outputs, magnitude) = (network.length(value), magnitude(value));
        Layer { name: stage.name().to_owned(), kind, inputs, outputs, weights, magnitude }
    };
    network.stages().iter().enumerate().map(layer).collect()
}

fn parameters(program: &Program) -> Parameters {
    let params = program.params();
    let spec = params.spec();
    Parameters {
        ring: match spec.ring {
            Ring::Standard => "standard".to_owned(),
            Ring::ConjugateInvariant => "conjugate-invariant".to_owned(),
        },
        degree: params.degree(),
        slots: params.slots(),
        samples: program.capacity(),
        prime_bits: spec.prime_bits.clone(),
        special_bits: spec.special_bits.clone(),
        log_qp: params.log_qp(),
        max_log_qp: security::max_log_qp(spec.log_degree),
        security_bits: if params.is_secure() { security::SECURITY_BITS } else { 0 },
    }
}

fn operation(plan: &Plan, op: usize) -> Operation {
    let program = plan.program();
    let result = &program.types()[op];
    let weight_bits = match &program.ops()[op] {
        Op::Linear { matrix, .. } => {
            let entries = (0..matrix.rows()).flat_map(|row| matrix.row(row));
            entries.map(|(_, weight)| 33 - weight.unsigned_abs().leading_zeros()).max().unwrap_or(0)
        }
        _ => 0,
    };
    Operation {
        name: program.ops()[op].name(),
        layer: program.names()[op].clone(),
        ciphertexts: result.features,
        components: result.components,
        level: result.level.0,
        log_scale: result.scale.log2(),
        weight_bits,
        noise: program.entering_noise(op),
        seconds: program.work(op).seconds(plan.prices(), program.params().degree()),
    }
}

fn sizes(program: &Program) -> Sizes {
    use nightloom_he::wire::evaluation_keys_bytes;
    use nightloom_program::wire::{request_ciphertext_bytes, result_bytes};
    let (params, input) = (program.params(), program.input_type());
    let request_ciphertext = request_ciphertext_bytes(params, input.level, &input.scale);
    let request = request_ciphertext * input.features as u64;
    let response = result_bytes(program) * program.output_type().features as u64;
    let per_sample = |bytes: u64| bytes as f64 / program.capacity() as f64;
    Sizes {
        request_ciphertext,
        request,
        response,
        evaluation_keys: evaluation_keys_bytes(params, &program.evaluation_keys()),
        rotations: program.rotations().len(),
        request_per_sample: per_sample(request),
        response_per_sample: per_sample(response),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.parameters;
        writeln!(f, "Model    input {:?}, output {:?}, depth {}", self.input_shape, self.output_shape, self.depth)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(f, "\n{:<32} {:<9} {:>7} {:>7} {:>9} {:>12}", "Layer", "kind", "in", "out", "weights", "magnitude")?;
        for layer in &self.layers {
            let Layer { name, kind, inputs, outputs, weights, magnitude } = layer;
            let name = shortened(name);
            writeln!(f, "{name:<32} {kind:<9} {inputs:>7} {outputs:>7} {weights:>9} {magnitude:>12.4}")?;
        }
        let joined = |bits: &[u32]| bits.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
        writeln!(
            f,
            "\nPlan     {}\nCKKS     {} ring of degree {}, {} slots, {} a batch\n         primes {} + special {} = {:.1} bits",
            self.plan,
            p.ring,
            p.degree,
            p.slots,
            if p.samples == 1 { "1 sample".to_owned() } else { format!("{} samples", p.samples) },
            joined(&p.prime_bits),
            if p.special_bits.is_empty() { "none".to_owned() } else { joined(&p.special_bits) },
            p.log_qp,
        )?;
        match p.max_log_qp {
            Some(max) if p.security_bits > 0 => {
                writeln!(f, "Security {} bits, classical (at most {max} bits at this degree)", p.security_bits)?;
            }
            _ => writeln!(f, "Security BELOW 128 BITS: do not protect anything with these parameters")?,
        }
        writeln!(
            f,
            "\n{:<20} {:<24} {:>5} {:>3} {:>5} {:>7} {:>7} {:>10} {:>9}",
            "Operation", "layer", "cts", "of", "level", "scale", "weights", "noise", "ms"
        )?;
        for op in &self.operations {
            let weights = if op.weight_bits == 0 { String::new() } else { format!("{} bits", op.weight_bits) };
            let layer = shortened(&op.layer).chars().take(24).collect::<String>();
            writeln!(
                f,
                "{:<20} {layer:<24} {:>5} {:>3} {:>5} {:>7} {weights:>7} {:>10.2e} {:>9.2}",
                op.name,
                op.ciphertexts,
                op.components,
                op.level,
                format!("2^{:.1}", op.log_scale),
                op.noise,
                op.seconds * 1e3,
            )?;
        }
        let s = &self.sizes;
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            f,
            "\nSizes    request {:.2} MB ({:.1} kB a sample), response {:.3} MB ({:.3} kB a sample), evaluation keys {:.2} MB \
             ({} rotations)",
            megabytes(s.request),
            s.request_per_sample / 1e3,
            megabytes(s.response),
            s.response_per_sample / 1e3,
            megabytes(s.evaluation_keys),
            s.rotations,
        )?;
        writeln!(
            f,
            "Time     {:.3} s a batch on one thread of the {} machine ({:.3} ms a sample)",
            self.predicted_seconds,
            if self.calibrated { "calibrated" } else { "reference" },
            self.predicted_seconds * 1e3 / p.samples as f64
        )?;
        write!(
            f,
            "Error    outputs within {:.3e} of the model, {:.3e} if encrypted with the public key; typical largest output \
             {:.3e} ({:.1} bits)",
            self.error_bound, self.error_bound_public_key, self.output_magnitude, self.precision_bits
        )
    }
}

/// The candidates of a network side by side, the chosen one first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What the order is by.
    pub objective: String,
    /// One entry a plan.
    pub candidates: Vec<Compared>,
    /// Why other plans are none.
    pub refused: Vec<String>,
}

/// One candidate. Sizes are bytes, for a request of the wanted batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The plan's name.
    pub plan: &'static str,
    /// Samples of one run.
    pub samples: usize,
    /// Degree of the ring.
    pub degree: usize,
    /// Primes of a fresh ciphertext.
    pub primes: usize,
    /// Rotations that have a key.
    pub rotations: usize,
    /// Evaluation keys.
    pub key_bytes: u64,
    /// The request.
    pub request_bytes: u64,
    /// The response.
    pub response_bytes: u64,
    /// Predicted memory of the service.
    pub memory_bytes: u64,
    /// Predicted seconds for the request.
    pub seconds: f64,
    /// Bound on the outputs' difference from the model.
    pub error_bound: f64,
}

/// Plans with encrypted weights take seconds to minutes to be made for larger networks.
const MOST_WEIGHTS_TO_ENCRYPT: usize = 1 << 18;

impl Comparison {
    /// Compares every plan of a network for a goal, and those in which the service does not hold the weights either.
    pub fn new(network: &Network, options: &Options, goal: &Goal) -> Self {
        let (mut candidates, refused) = select::candidates(network, options, goal);
        let mut refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        if goal.weights == Weights::Clear {
            let weights: usize = network.stages().iter().map(Stage::nonzeros).sum();
            if weights <= MOST_WEIGHTS_TO_ENCRYPT {
                let encrypted = Goal { weights: Weights::Encrypted, ..*goal };
                let (others, reasons) = select::candidates(network, options, &encrypted);
                candidates.extend(others);
                candidates.sort_by(|a, b| a.cost(goal).total_cmp(&b.cost(goal)));
                let reasons = reasons.iter().map(ToString::to_string).filter(|reason| !refused.contains(reason));
                let reasons: Vec<String> = reasons.map(|reason| format!("encrypted model, {reason}")).collect();
                refused.extend(reasons);
            } else {
                refused.push(format!("encrypted model: not planned for {weights} weights without --encrypt-model"));
            }
        }
        let compared = |candidate: &Candidate| {
            let program = candidate.plan.program();
            Compared {
                plan: candidate.plan.name(),
                samples: candidate.capacity,
                degree: program.params().degree(),
                primes: program.params().primes().len(),
                rotations: program.rotations().len(),
                key_bytes: candidate.key_bytes,
                request_bytes: candidate.request_bytes,
                response_bytes: candidate.response_bytes,
                memory_bytes: candidate.memory_bytes,
                seconds: candidate.seconds,
                error_bound: candidate.plan.error_bound().secret_key,
            }
        };
        Self { objective: goal.objective.to_string(), candidates: candidates.iter().map(compared).collect(), refused }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<26} {:>7} {:>7} {:>6} {:>9} {:>9} {:>10} {:>11} {:>9} {:>11} {:>9}",
            "Plan",
            "samples",
            "degree",
            "primes",
            "rotations",
            "keys MB",
            "request kB",
            "response kB",
            "memory MB",
            "seconds",
            "error"
        )?;
        for candidate in &self.candidates {
            writeln!(
                f,
                "{:<26} {:>7} {:>7} {:>6} {:>9} {:>9.2} {:>10.1} {:>11.1} {:>9.1} {:>11.4} {:>9.2e}",
                candidate.plan,
                candidate.samples,
                candidate.degree,
                candidate.primes,
                candidate.rotations,
                candidate.key_bytes as f64 / 1e6,
                candidate.request_bytes as f64 / 1e3,
                candidate.response_bytes as f64 / 1e3,
                candidate.memory_bytes as f64 / 1e6,
                candidate.seconds,
                candidate.error_bound,
            )?;
        }
        self.refused.iter().try_for_each(|refused| writeln!(f, "none: {refused}"))?;
        writeln!(f, "in order of {}; sizes and times of one request of the wanted batch", self.objective)?;
        write!(f, "(latency counts the way at 100 Mbit/s)")
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= 32 { name.to_owned() } else { name.chars().take(29).chain("...".chars()).collect() }
}

//! From an ONNX file to the two artefacts: the program for the service and the specification for clients.

use nightloom_compiler::diagnostic::Diagnostics;
use nightloom_compiler::explain::Comparison;
use nightloom_compiler::interval::Interval;
use nightloom_compiler::network::Network;
use nightloom_compiler::plans::Plan;
use nightloom_compiler::plans::latency::Weights;
use nightloom_compiler::plans::select::{self, Goal, SelectError};
use nightloom_compiler::plans::throughput::Options;
use nightloom_program::cost::{Prices, REFERENCE};
use nightloom_program::wire::{client_spec_bytes, program_bytes};
use nightloom_program::{ClientSpec, InputEncoding, ModelWeights, Packing};

/// How to compile a model.
#[derive(Debug, Clone, PartialEq)]
pub struct CompileOptions {
    /// The model's name in reports.
    pub name: String,
    /// How samples become features, and the range of the features.
    pub input: InputEncoding,
    /// The error bound of the outputs is at most the typical largest output times `2^-precision_bits`.
    pub precision_bits: f64,
    /// `log2` of the ring degree; the smallest that suffices if `None`.
    pub log_degree: Option<u32>,
    /// Accept parameters below 128 bits of security at the given degree.
    pub insecure: bool,
    /// What the plan is chosen for.
    pub goal: Goal,
    /// Samples (flattened features) from which the typical size of the outputs is taken.
    pub samples: Vec<Vec<f64>>,
    /// What the service's machine takes: [`REFERENCE`], or what [`calibrate`](nightloom_program::cost::calibrate) measures.
    pub prices: Prices,
}

impl CompileOptions {
    /// Precision wanted unless the caller says otherwise.
    pub const DEFAULT_PRECISION_BITS: f64 = 7.0;

    /// Defaults for images: pixels of 0 to 255 become features of 0 to 1.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            input: InputEncoding { scale: 1.0 / 255.0, offset: 0.0, low: 0.0, high: 1.0 },
            precision_bits: Self::DEFAULT_PRECISION_BITS,
            log_degree: None,
            insecure: false,
            goal: Goal::default(),
            samples: Vec::new(),
            prices: REFERENCE,
        }
    }
}

/// A compiled model.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What the model computes, squashed.
    pub network: Network,
    /// The program and what the planner knows of it.
    pub plan: Plan,
    /// What clients must know.
    pub client: ClientSpec,
    /// The bytes of `NAME.server`.
    pub server_bytes: Vec<u8>,
    /// The bytes of `NAME.client`.
    pub client_bytes: Vec<u8>,
    /// What the owner of the model keeps, if the model is to be encrypted.
    pub weights: Option<ModelWeights>,
}

/// Why a model could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The model has parts that cannot run encrypted, or the file is not a model.
    #[error(transparent)]
    Model(#[from] Diagnostics),
    /// No plan suffices.
    #[error(transparent)]
    Plan(#[from] SelectError),
    /// The range of the input is not one.
    #[error("input range {low} to {high}: wanted two finite numbers in rising order")]
    InputRange {
        /// The lower end given.
        low: f64,
        /// The upper end given.
        high: f64,
    },
    /// The program has a value that its format does not hold.
    #[error("cannot encode the program: {0}")]
    Encode(#[from] std::io::Error),
}

/// Compiles the bytes of an ONNX file.
///
/// # Errors
/// [`CompileError::Model`] with every problem of the model, each with its node; [`CompileError::Plan`] if no parameters
/// give the precision wanted.
pub fn compile(onnx: &[u8], options: &CompileOptions) -> Result<Compiled, CompileError> {
    let InputEncoding { low, high, .. } = options.input;
    let input = Interval::new(low, high).ok_or(CompileError::InputRange { low, high })?;
    let network = nightloom_compiler::pipeline::load(onnx)?;
    let plan = select::select(&network, &plan_options(options, input), &options.goal)?;
    let program = plan.program();
    let (server_bytes, id) = program_bytes(program, plan.is_insecure())?;
    let (input_type, bound) = (program.input_type(), plan.error_bound());
    let packing = match &plan {
        Plan::Throughput(_) => Packing::SampleInSlot,
        Plan::Latency(plan) => Packing::SampleInSlots {
            batch: plan.batch,
            inputs: plan.input.ciphertexts(),
            input: plan.input.slots().to_vec(),
            results: program.output_type().features,
            outputs: plan.outputs.iter().map(|(result, slot)| (*result as u32, *slot as u32)).collect(),
            compressed: program.compression().is_some(),
        },
    };
    let largest = plan.magnitudes()[program.output().0];
    let client = ClientSpec {
        name: options.name.clone(),
        program: id,
        parameters: program.params().spec().clone(),
        insecure: plan.is_insecure(),
        input_shape: network.input_shape().to_vec(),
        output_shape: network.output_shape().to_vec(),
        input: options.input,
        level: input_type.level,
        scale: input_type.scale.clone(),
        keys: program.evaluation_keys(),
        packing,
        error_bound: bound.secret_key,
        error_bound_public_key: bound.public_key,
        // The bound is that of typical inputs; a whole interval's may be larger.
        output_limit: 2.0 * largest + 16.0 * bound.public_key,
    };
    let client_bytes = client_spec_bytes(&client, plan.program().params())?;
    let weights = match &plan {
        Plan::Latency(latency) if latency.weights == Weights::Encrypted => Some(ModelWeights {
            program: id,
            params: program.params().clone(),
            insecure: plan.is_insecure(),
            arrays: latency.model.clone(),
        }),
        _ => None,
    };
    Ok(Compiled { network, plan, client, server_bytes, client_bytes, weights })
}

/// Every plan of a network side by side, for the goal of the options.
///
/// # Errors
/// [`CompileError::InputRange`].
pub fn compare(network: &Network, options: &CompileOptions) -> Result<Comparison, CompileError> {
    let InputEncoding { low, high, .. } = options.input;
    let input = Interval::new(low, high).ok_or(CompileError::InputRange { low, high })?;
    Ok(Comparison::new(network, &plan_options(options, input), &options.goal))
}

fn plan_options(options: &CompileOptions, input: Interval) -> Options {
    Options {
        input,
        precision_bits: options.precision_bits,
        log_degree: options.log_degree,
        insecure: options.insecure,
        samples: options.samples.clone(),
        prices: options.prices,
    }
}

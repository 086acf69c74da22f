//! What a client must know of a program, and nothing about its weights.

use std::fmt;

use nightloom_he::{CkksParams, CkksSpec, EvaluationKeySpec, Level, Ring, Scale, SpecError};
use serde::{Deserialize, Serialize};

/// Most slots of the ciphertexts of one request that samples are spread over.
const MAX_INPUT_SLOTS: usize = 1 << 22;

/// SHA-256 of the bytes of a program: requests carry it, so that a wrong program is an error and not garbage.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProgramId(pub [u8; 32]);

impl fmt::Display for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramId({self})")
    }
}

/// How samples become features: `feature = pixel * scale + offset` for integer samples, the number itself for others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEncoding {
    /// Factor for integer samples.
    pub scale: f64,
    /// Added to scaled integer samples.
    pub offset: f64,
    /// Smallest feature which the program was made for.
    pub low: f64,
    /// Largest feature which the program was made for.
    pub high: f64,
}

/// How samples are laid out in ciphertexts.
#[derive(Clone, Debug, PartialEq)]
pub enum Packing {
    /// One ciphertext a feature, one sample a slot.
    SampleInSlot,
    /// Samples spread over the slots of a few ciphertexts.
    SampleInSlots {
        /// Samples of one run.
        batch: usize,
        /// Ciphertexts of a request for one run.
        inputs: usize,
        /// What each slot of one period of these ciphertexts, one after another, holds: a feature, those of the samples of
        /// a batch one after another, or zero.
        input: Vec<Option<u32>>,
        /// Ciphertexts of a response for one run.
        results: usize,
        /// The ciphertext and the slot of each output, those of the samples of a batch one after another.
        outputs: Vec<(u32, u32)>,
        /// Whether results come compressed.
        compressed: bool,
    },
}

/// The client specification: shapes, scaling and parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSpec {
    /// The model's name.
    pub name: String,
    /// The program that requests are for.
    pub program: ProgramId,
    /// Parameters of the scheme.
    pub parameters: CkksSpec,
    /// The owner accepted parameters below 128 bits of security when compiling.
    pub insecure: bool,
    /// Shape of one sample.
    pub input_shape: Vec<usize>,
    /// Shape of one result.
    pub output_shape: Vec<usize>,
    /// How samples become features.
    pub input: InputEncoding,
    /// Level at which to encrypt.
    pub level: Level,
    /// Scale at which to encode.
    pub scale: Scale,
    /// The evaluation keys that the service needs.
    pub keys: EvaluationKeySpec,
    /// How samples are laid out.
    pub packing: Packing,
    /// No output differs from the model's by more than this for inputs like the samples that the model was compiled
    /// with, but for the tails stated at [`Program::output_bounds`](crate::Program::output_bounds).
    pub error_bound: f64,
    /// The same for requests encrypted with the public key, whose fresh noise is larger.
    pub error_bound_public_key: f64,
    /// No output exceeds this for any input in the range, noise included: what does was not computed for this key.
    pub output_limit: f64,
}

impl ClientSpec {
    /// Features of one sample.
    pub fn inputs(&self) -> usize {
        self.input_shape.iter().product()
    }

    /// Numbers of one result.
    pub fn outputs(&self) -> usize {
        self.output_shape.iter().product()
    }

    /// Samples of one batch, under these parameters.
    pub fn capacity(&self, params: &CkksParams) -> usize {
        match &self.packing {
            Packing::SampleInSlot => params.slots(),
            Packing::SampleInSlots { batch, .. } => *batch,
        }
    }

    /// Ciphertexts of one batch of a request.
    pub fn request_ciphertexts(&self) -> usize {
        match &self.packing {
            Packing::SampleInSlot => self.inputs(),
            Packing::SampleInSlots { inputs, .. } => *inputs,
        }
    }

    /// Ciphertexts of one batch of a response.
    pub fn response_ciphertexts(&self) -> usize {
        match &self.packing {
            Packing::SampleInSlot => self.outputs(),
            Packing::SampleInSlots { results, .. } => *results,
        }
    }

    /// The checked parameters.
    ///
    /// # Errors
    /// [`SpecError`] if they are not usable, or below 128 bits without [`insecure`](Self::insecure).
    pub fn params(&self) -> Result<CkksParams, SpecError> {
        if self.insecure { self.parameters.validate_insecure() } else { self.parameters.validate() }
    }
}

/// The same as JSON: what is written to files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientSpecJson {
    name: String,
    program: String,
    parameters: ParametersJson,
    input_shape: Vec<usize>,
    output_shape: Vec<usize>,
    input: InputEncoding,
    level: u8,
    scale: ScaleJson,
    keys: KeysJson,
    packing: PackingJson,
    error_bound: f64,
    error_bound_public_key: f64,
    output_limit: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParametersJson {
    ring: RingJson,
    log_degree: u32,
    prime_bits: Vec<u32>,
    special_bits: Vec<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    insecure_below_128_bits: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RingJson {
    Standard,
    ConjugateInvariant,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleJson {
    log2: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    factors: Vec<(u64, i32)>,
}

impl ParametersJson {
    pub(crate) fn new(spec: &CkksSpec, insecure: bool) -> Self {
        Self {
            ring: match spec.ring {
                Ring::Standard => RingJson::Standard,
                Ring::ConjugateInvariant => RingJson::ConjugateInvariant,
            },
            log_degree: spec.log_degree,
            prime_bits: spec.prime_bits.clone(),
            special_bits: spec.special_bits.clone(),
            insecure_below_128_bits: insecure,
        }
    }

    pub(crate) fn spec(self) -> (CkksSpec, bool) {
        let ring = match self.ring {
            RingJson::Standard => Ring::Standard,
            RingJson::ConjugateInvariant => Ring::ConjugateInvariant,
        };
        let Self { log_degree, prime_bits, special_bits, insecure_below_128_bits, .. } = self;
        (CkksSpec { ring, log_degree, prime_bits, special_bits }, insecure_below_128_bits)
    }
}

impl ScaleJson {
    fn new(scale: &Scale) -> Self {
        let (log2, factors) = scale.parts();
        Self { log2, factors: factors.to_vec() }
    }

    fn scale(self) -> Option<Scale> {
        Scale::from_parts(self.log2, self.factors)
    }
}

impl From<&ClientSpec> for ClientSpecJson {
    fn from(spec: &ClientSpec) -> Self {
        Self {
            name: spec.name.clone(),
            program: spec.program.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            parameters: ParametersJson::new(&spec.parameters, spec.insecure),
            input_shape: spec.input_shape.clone(),
            output_shape: spec.output_shape.clone(),
            input: spec.input,
            level: spec.level.0,
            scale: ScaleJson::new(&spec.scale),
            keys: KeysJson::new(&spec.keys),
            packing: PackingJson::new(&spec.packing),
            error_bound: spec.error_bound,
            error_bound_public_key: spec.error_bound_public_key,
            output_limit: spec.output_limit,
        }
    }
}

impl ClientSpecJson {
    /// `None` if the program identifier, the scale, a shape, a range, a bound or the packing is malformed.
    pub(crate) fn spec(self) -> Option<ClientSpec> {
        let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
        let bounded =
            |shape: &[usize]| product(shape).is_some_and(|count| (1..=crate::wire::MAX_FEATURES).contains(&count));
        if !bounded(&self.input_shape) || !bounded(&self.output_shape) {
            return None;
        }
        let (inputs, outputs) = (self.input_shape.iter().product(), self.output_shape.iter().product());
        let (parameters, insecure) = self.parameters.spec();
        let InputEncoding { scale, offset, low, high } = self.input;
        let numbers = [scale, offset, low, high, self.error_bound, self.error_bound_public_key, self.output_limit];
        let sound = numbers.iter().all(|number| number.is_finite()) && low <= high && scale != 0.0;
        if !sound || self.error_bound < 0.0 || self.error_bound_public_key < 0.0 || self.output_limit < 0.0 {
            return None;
        }
        Some(ClientSpec {
            program: ProgramId(hex(&self.program)?),
            name: self.name,
            parameters,
            insecure,
            input_shape: self.input_shape,
            output_shape: self.output_shape,
            input: self.input,
            level: Level(self.level),
            scale: self.scale.scale()?,
            keys: self.keys.keys(),
            packing: self.packing.packing(inputs, outputs)?,
            error_bound: self.error_bound,
            error_bound_public_key: self.error_bound_public_key,
            output_limit: self.output_limit,
        })
    }
}

/// Levels of keys, as in [`EvaluationKeySpec`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    relinearization: Option<u8>,
    /// Rotation and level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rotations: Vec<(u32, u8)>,
}

impl KeysJson {
    fn new(keys: &EvaluationKeySpec) -> Self {
        Self {
            relinearization: keys.relinearization.map(|level| level.0),
            rotations: keys.rotations.iter().map(|(rotation, level)| (*rotation as u32, level.0)).collect(),
        }
    }

    fn keys(self) -> EvaluationKeySpec {
        let rotations = self.rotations.into_iter().map(|(rotation, level)| (rotation as usize, Level(level)));
        EvaluationKeySpec {
            relinearization: self.relinearization.map(Level),
            rotations: rotations.collect(),
            conjugation: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum PackingJson {
    SampleInSlot,
    SampleInSlots {
        batch: u32,
        period: u32,
        inputs: u32,
        /// First slot, first feature, distance of features, number of slots; the slots of the ciphertexts one after another.
        input: Vec<(u32, u32, i32, u32)>,
        results: u32,
        outputs: Vec<(u32, u32)>,
        compressed: bool,
    },
}

impl PackingJson {
    fn new(packing: &Packing) -> Self {
        let Packing::SampleInSlots { batch, inputs, input, results, outputs, compressed } = packing else {
            return Self::SampleInSlot;
        };
        let mut runs: Vec<(u32, u32, i32, u32)> = Vec::new();
        for (slot, feature) in input.iter().enumerate() {
            let (Some(feature), slot) = (*feature, slot as u32) else { continue };
            match runs.last_mut() {
                Some((first, start, step, count))
                    if *first + *count == slot
                        && (*count == 1
                            || i64::from(*start) + i64::from(*step) * i64::from(*count) == i64::from(feature)) =>
                {
                    // Features are below 2^20.
                    *step = if *count == 1 { feature as i32 - *start as i32 } else { *step };
                    *count += 1;
                }
                _ => runs.push((slot, feature, 0, 1)),
            }
        }
        Self::SampleInSlots {
            batch: *batch as u32,
            period: (input.len() / inputs) as u32,
            inputs: *inputs as u32,
            input: runs,
            results: *results as u32,
            outputs: outputs.clone(),
            compressed: *compressed,
        }
    }

    /// `None` if a ciphertext, a slot, a feature or the period is not one, for samples of this many features and numbers of
    /// a result.
    fn packing(self, features: usize, numbers: usize) -> Option<Packing> {
        let Self::SampleInSlots { batch, period, inputs, input: runs, results, outputs, compressed } = self else {
            return Some(Packing::SampleInSlot);
        };
        let [batch, period, inputs, results] = [batch, period, inputs, results].map(|count| count as usize);
        let sized = batch.is_power_of_two() && period.is_power_of_two() && period <= crate::wire::MAX_PERIOD;
        if !sized || Some(outputs.len()) != numbers.checked_mul(batch) || results == 0 || results > outputs.len() {
            return None;
        }
        let features = features.checked_mul(batch)?;
        let slots = inputs.checked_mul(period).filter(|slots| (1..=MAX_INPUT_SLOTS).contains(slots))?;
        let mut input = vec![None; slots];
        for (first, start, step, count) in runs {
            for at in 0..i64::from(count).min(slots as i64 + 1) {
                let feature = i64::from(start) + at * i64::from(step);
                let feature = u32::try_from(feature).ok().filter(|feature| (*feature as usize) < features)?;
                let slot = input.get_mut(first as usize + at as usize)?;
                if slot.replace(feature).is_some() {
                    return None;
                }
            }
        }
        let inside =
            |(result, slot): &(u32, u32)| (*result as usize) < results && (*slot as usize) < crate::wire::MAX_PERIOD;
        outputs.iter().all(inside).then_some(Packing::SampleInSlots {
            batch,
            inputs,
            input,
            results,
            outputs,
            compressed,
        })
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

//! What a client must know of a program, and nothing about its weights.

use std::fmt;

use nightloom_he::{CkksParams, CkksSpec, Level, Ring, Scale, SpecError};
use serde::{Deserialize, Serialize};

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
    /// Whether the service needs a relinearisation key.
    pub relinearizes: bool,
    /// No output differs from the model's by more than this for inputs like the samples that the model was compiled
    /// with, but for the tails stated at [`Program::output_bounds`](crate::Program::output_bounds).
    pub error_bound: f64,
}

impl ClientSpec {
    /// Features of one sample: ciphertexts of a request.
    pub fn inputs(&self) -> usize {
        self.input_shape.iter().product()
    }

    /// Numbers of one result: ciphertexts of a response.
    pub fn outputs(&self) -> usize {
        self.output_shape.iter().product()
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
    relinearizes: bool,
    error_bound: f64,
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
            relinearizes: spec.relinearizes,
            error_bound: spec.error_bound,
        }
    }
}

impl ClientSpecJson {
    /// `None` if the program identifier, the scale or a shape is malformed.
    pub(crate) fn spec(self) -> Option<ClientSpec> {
        let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
        let bounded =
            |shape: &[usize]| product(shape).is_some_and(|count| (1..=crate::wire::MAX_FEATURES).contains(&count));
        if !bounded(&self.input_shape) || !bounded(&self.output_shape) {
            return None;
        }
        let (parameters, insecure) = self.parameters.spec();
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
            relinearizes: self.relinearizes,
            error_bound: self.error_bound,
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

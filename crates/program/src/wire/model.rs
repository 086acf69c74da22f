//! Bytes of the weights of an encrypted model, in the clear and encrypted.

use std::io::{Read, Write};

use nightloom_he::wire::{self as scheme, write_preamble};
use nightloom_he::{CkksParams, Level};
use nightloom_wire::{DecodeError, Kind, Reader, Writer};

use super::{
    IoResult, MAX_FEATURES, MAX_OPS, MAX_PERIOD, open_with_parameters, read_ciphertexts, response_ciphertext_bytes,
};
use crate::manifest::ParametersJson;
use crate::{EncryptedModel, ModelWeights, Program, ProgramId, WeightArray};

/// The bytes of the weights of a model: the owner's secret.
///
/// # Errors
/// `InvalidInput` for a scale with more factors or larger exponents than the format holds.
pub fn model_weights_bytes(weights: &ModelWeights) -> std::io::Result<Vec<u8>> {
    let mut body = Writer::new(Vec::new());
    body.byte_string(&serde_json::to_vec(&ParametersJson::new(weights.params.spec(), weights.insecure))?)?;
    body.bytes(&weights.program.0)?;
    body.u32(weights.arrays.len() as u32)?;
    for array in &weights.arrays {
        body.u8(array.level.0)?;
        scheme::write_scale(&mut body, &array.scale)?;
        body.u32(array.period as u32)?;
        body.u32(array.ciphertexts() as u32)?;
        array.vectors.iter().try_for_each(|weight| body.f64(*weight))?;
    }
    let body = zeroize::Zeroizing::new(body.into_inner());
    let mut writer = Writer::new(Vec::with_capacity(body.len() + 48));
    write_preamble(&mut writer, Kind::ModelWeights, weights.params.id(), body.len() as u64)?;
    writer.bytes(&body)?;
    Ok(writer.into_inner())
}

/// Reads the weights of a model.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_model_weights(source: impl Read) -> Result<ModelWeights, DecodeError> {
    let (mut reader, params, insecure) = open_with_parameters(source, Kind::ModelWeights)?;
    let program = ProgramId(reader.bytes()?);
    // A level, a scale, a period and a count at least.
    let count = reader.count("arrays of weights", 14, MAX_OPS)?;
    let arrays = (0..count).map(|_| read_array(&mut reader, &params)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(ModelWeights { program, params, insecure, arrays })
}

fn read_array(reader: &mut Reader<impl Read>, params: &CkksParams) -> Result<WeightArray, DecodeError> {
    let level = Level(reader.u8()?);
    if level > params.top() {
        let limit = params.top().0.into();
        return Err(DecodeError::TooLarge { what: "level", found: level.0.into(), limit });
    }
    let scale = scheme::read_scale(reader)?;
    let period = reader.count("period", 0, MAX_PERIOD.min(params.slots()))?;
    if !period.is_power_of_two() {
        let found = period as u64;
        return Err(DecodeError::Value { what: "period", found, wanted: "a power of two" });
    }
    let ciphertexts = reader.count("ciphertexts of weights", 8 * period as u64, MAX_FEATURES)?;
    let vectors = (0..ciphertexts * period).map(|_| reader.f64("weight")).collect::<Result<_, _>>()?;
    Ok(WeightArray { level, scale, period, vectors })
}

/// Bytes of an encrypted model of a program.
pub fn encrypted_model_bytes(program: &Program) -> u64 {
    let array = |(array, _): (&crate::ValueType, usize)| {
        array.features as u64 * response_ciphertext_bytes(program.params(), array.level, &array.scale)
    };
    16 + 32 + 32 + program.model().map(array).sum::<u64>()
}

/// Writes an encrypted model.
///
/// # Errors
/// Those of the sink; `InvalidInput` for a scale that the format does not hold.
pub fn write_encrypted_model(writer: &mut Writer<impl Write>, params: &CkksParams, model: &EncryptedModel) -> IoResult {
    let ciphertexts = || model.arrays.iter().flatten();
    let body: u64 = 32 + ciphertexts().map(scheme::ciphertext_bytes).sum::<u64>();
    write_preamble(writer, Kind::EncryptedModel, params.id(), body)?;
    writer.bytes(&model.program.0)?;
    ciphertexts().try_for_each(|ciphertext| scheme::write_ciphertext(writer, ciphertext))
}

/// Reads an encrypted model for a program: bytes on the calling thread, residues on `threads`. Whether it is for that
/// program and its arrays have the types of the program's is for the caller to check.
///
/// # Errors
/// [`DecodeError`] if the bytes are not an encrypted model with as many ciphertexts as the program takes.
pub fn read_encrypted_model(
    source: impl Read,
    program: &Program,
    threads: &rayon::ThreadPool,
) -> Result<EncryptedModel, DecodeError> {
    let mut reader = scheme::open(source, Kind::EncryptedModel, program.params(), u64::MAX)?;
    let id = ProgramId(reader.bytes()?);
    let mut arrays = Vec::new();
    for (array, _) in program.model() {
        arrays.push(read_ciphertexts(&mut reader, program.params(), array.features, threads)?);
    }
    reader.finish()?;
    Ok(EncryptedModel { program: id, arrays })
}

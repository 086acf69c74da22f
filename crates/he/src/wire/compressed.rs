//! Bytes of compressed ciphertexts.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, Reader, Writer, packed_bytes};

use super::{IoResult, read_scale_of, scale_bytes, write_scale};
use crate::ckks::check_shape;
use crate::{CkksParams, CompressedCiphertext, EvalError};

/// Bytes that [`write_compressed_ciphertext`] writes.
pub fn compressed_ciphertext_bytes(ciphertext: &CompressedCiphertext) -> u64 {
    let (params, bits) = (ciphertext.params(), ciphertext.bits());
    let kept = CompressedCiphertext::kept(params, ciphertext.slots());
    scale_bytes(ciphertext.scale()) + 2 + packed_bytes(kept, bits) + packed_bytes(params.degree(), bits)
}

/// Writes a compressed ciphertext without header: scale, `log2` of the slots, bits, then the coefficients of both
/// components, packed to these bits.
///
/// # Errors
/// Those of the sink.
pub fn write_compressed_ciphertext(writer: &mut Writer<impl Write>, ciphertext: &CompressedCiphertext) -> IoResult {
    write_scale(writer, ciphertext.scale())?;
    writer.u8(ciphertext.slots().trailing_zeros() as u8)?;
    writer.u8(ciphertext.bits() as u8)?;
    let mut components = ciphertext.coefficients().into_iter();
    components.try_for_each(|component| writer.packed(ciphertext.bits(), component.iter().copied()))
}

/// Reads a compressed ciphertext without header.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_compressed_ciphertext(
    reader: &mut Reader<impl Read>,
    params: &CkksParams,
) -> Result<CompressedCiphertext, DecodeError> {
    let scale = read_scale_of(reader, params)?;
    let (log_slots, bits) = (reader.u8()?, u32::from(reader.u8()?));
    // A number of slots that no shift gives is no better than zero.
    let slots = 1usize.checked_shl(log_slots.into()).unwrap_or(0);
    check_shape(params, slots, bits).map_err(|error| match error {
        EvalError::CompressedBits { .. } => {
            let wanted = "2 to the most that the parameters allow";
            DecodeError::Value { what: "bits of a compressed ciphertext", found: bits.into(), wanted }
        }
        _ => {
            let limit = params.slots().trailing_zeros().into();
            DecodeError::TooLarge {
                what: "log2 of the slots of a compressed ciphertext",
                found: log_slots.into(),
                limit,
            }
        }
    })?;
    let mut component = |count: usize| -> Result<Vec<u64>, DecodeError> {
        reader.demand(packed_bytes(count, bits))?;
        let mut coefficients = vec![0; count];
        reader.packed(bits, count, |index, found| {
            coefficients[index] = found;
            Ok(())
        })?;
        Ok(coefficients)
    };
    let (c0, c1) = (component(CompressedCiphertext::kept(params, slots))?, component(params.degree())?);
    Ok(CompressedCiphertext::from_parts(params, scale, slots, bits, c0, c1))
}

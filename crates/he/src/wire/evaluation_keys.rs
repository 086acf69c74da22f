//! Bytes of evaluation keys.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};

use super::{
    IoResult, SEED_BYTES, VERSION, basis_bytes, check_params, invalid_input, read_poly, write_poly, write_preamble,
};
use crate::evaluation_keys::{automorphism, exists};
use crate::keys::KeySwitchingKey;
use crate::{
    CkksParams, EvaluationKeySpec, EvaluationKeys, GaloisKey, KeyPurpose, Level, RelinearizationKey, RotationKeys,
};

/// Version of [`write_evaluation_keys`]. Version 1 of the same kind is a relinearisation key for every level, alone.
pub const EVALUATION_KEYS_VERSION: u16 = 2;

/// Bytes of an entry of the list of keys: purpose, slots, level.
const ENTRY_BYTES: u64 = 6;
const RELINEARIZATION: u8 = 0;
const ROTATION: u8 = 1;
const CONJUGATION: u8 = 2;

/// Bytes of a key: its seed, and `b_d` for each digit over the extended basis of its level.
fn key_bytes(params: &CkksParams, level: Level) -> u64 {
    let tables = params.level(level);
    let digits = level.limbs().div_ceil(params.digit_limbs().max(1)) as u64;
    SEED_BYTES + digits * basis_bytes(&tables.extended)
}

fn write_key(writer: &mut Writer<impl Write>, key: &KeySwitchingKey) -> IoResult {
    writer.bytes(&key.seed)?;
    key.b.iter().try_for_each(|b| write_poly(writer, b))
}

fn read_key(reader: &mut Reader<impl Read>, params: &CkksParams, level: Level) -> Result<KeySwitchingKey, DecodeError> {
    let tables = params.level(level);
    reader.demand(key_bytes(params, level))?;
    let seed = reader.bytes()?;
    let b = tables.digits.iter().map(|_| read_poly(reader, &tables.extended)).collect::<Result<Vec<_>, _>>()?;
    Ok(KeySwitchingKey::from_parts(params, level, seed, b))
}

/// Keys cannot be without special primes.
fn check_special(params: &CkksParams) -> Result<(), DecodeError> {
    if params.special_primes().is_empty() {
        return Err(DecodeError::Value { what: "special primes", found: 0, wanted: "at least one" });
    }
    Ok(())
}

/// Bytes of a relinearisation key for every level with its header.
pub fn relinearization_key_bytes(params: &CkksParams) -> u64 {
    HEADER_BYTES + 32 + key_bytes(params, params.top())
}

/// Writes a relinearisation key with header: a seed, then `b_d` for each digit.
///
/// # Errors
/// Those of the sink; `InvalidInput` for a key that does not serve the top level, which only
/// [`write_evaluation_keys`] can write.
pub fn write_relinearization_key(writer: &mut Writer<impl Write>, key: &RelinearizationKey) -> IoResult {
    let params = key.params();
    if key.level() != params.top() {
        return Err(invalid_input());
    }
    write_preamble(writer, Kind::EvaluationKeys, params.id(), key_bytes(params, params.top()))?;
    write_key(writer, &key.key)
}

/// Reads a relinearisation key.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_relinearization_key(source: impl Read, params: &CkksParams) -> Result<RelinearizationKey, DecodeError> {
    check_special(params)?;
    let mut reader = super::open(source, Kind::EvaluationKeys, params, 32 + key_bytes(params, params.top()))?;
    let key = read_key(&mut reader, params, params.top())?;
    reader.finish()?;
    Ok(RelinearizationKey { params: params.clone(), key })
}

fn evaluation_keys_body(params: &CkksParams, spec: &EvaluationKeySpec) -> u64 {
    4 + spec.keys().map(|(_, level)| ENTRY_BYTES + key_bytes(params, level)).sum::<u64>()
}

/// Bytes of evaluation keys with their header: what a service that wants these keys is ready to read.
///
/// # Panics
/// If a level is above the top.
pub fn evaluation_keys_bytes(params: &CkksParams, spec: &EvaluationKeySpec) -> u64 {
    HEADER_BYTES + 32 + evaluation_keys_body(params, spec)
}

/// Writes evaluation keys with header: their number, a list of purposes and levels, then for each key a seed and `b_d` for
/// each digit of its level. They come in the order of [`EvaluationKeySpec::keys`].
///
/// # Errors
/// Those of the sink.
pub fn write_evaluation_keys(writer: &mut Writer<impl Write>, keys: &EvaluationKeys) -> IoResult {
    let (params, spec) = (keys.params(), keys.spec());
    let length = 32 + evaluation_keys_body(params, &spec);
    Header { kind: Kind::EvaluationKeys, version: EVALUATION_KEYS_VERSION, length }.write(writer)?;
    writer.bytes(&params.id().0)?;
    // Fewer than slots + 2, at most 2^17 + 1.
    writer.u32(spec.keys().count() as u32)?;
    for (purpose, level) in spec.keys() {
        let (code, slots) = match purpose {
            KeyPurpose::Relinearization => (RELINEARIZATION, 0),
            KeyPurpose::Rotation(slots) => (ROTATION, slots as u32),
            KeyPurpose::Conjugation => (CONJUGATION, 0),
        };
        writer.u8(code)?;
        writer.u32(slots)?;
        writer.u8(level.0)?;
    }
    for (purpose, _) in spec.keys() {
        let key = match purpose {
            KeyPurpose::Relinearization => keys.relinearization().map(|key| &key.key),
            KeyPurpose::Rotation(slots) => keys.rotations().get(slots).map(|key| &key.key),
            KeyPurpose::Conjugation => keys.rotations().conjugation().map(|key| &key.key),
        };
        key.map_or(Ok(()), |key| write_key(writer, key))?;
    }
    Ok(())
}

/// Reads evaluation keys of at most `limit` bytes, header included: a service passes [`evaluation_keys_bytes`] of the keys
/// that it wants, and looks at [`EvaluationKeys::spec`] of those it gets. In memory they take 2.6 to 6.4 times as much.
/// Files of version 1 are accepted, too.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_evaluation_keys(source: impl Read, params: &CkksParams, limit: u64) -> Result<EvaluationKeys, DecodeError> {
    let limit = limit.saturating_sub(HEADER_BYTES);
    let (header, mut reader) = Header::open(source, Kind::EvaluationKeys, EVALUATION_KEYS_VERSION, limit)?;
    check_params(&mut reader, params)?;
    let list = match header.version {
        VERSION => vec![(KeyPurpose::Relinearization, params.top())],
        _ => read_list(&mut reader, params)?,
    };
    if !list.is_empty() {
        check_special(params)?;
    }
    reader.demand(list.iter().map(|(_, level)| key_bytes(params, *level)).sum())?;
    let mut relinearization = None;
    let mut rotations = RotationKeys::empty(params);
    for (purpose, level) in list {
        let key = read_key(&mut reader, params, level)?;
        match automorphism(params, purpose) {
            Some(automorphism) => rotations.insert(purpose, GaloisKey { automorphism, key }),
            None => relinearization = Some(RelinearizationKey { params: params.clone(), key }),
        }
    }
    reader.finish()?;
    Ok(EvaluationKeys::of_same_params(relinearization, rotations))
}

/// The purposes and levels of all keys, in strictly rising order of purposes that exist in these parameters.
fn read_list(reader: &mut Reader<impl Read>, params: &CkksParams) -> Result<Vec<(KeyPurpose, Level)>, DecodeError> {
    let count = reader.u32()?;
    let limit = params.slots() as u64 + 1;
    if u64::from(count) > limit {
        return Err(DecodeError::TooLarge { what: "number of evaluation keys", found: count.into(), limit });
    }
    reader.demand(u64::from(count) * ENTRY_BYTES)?;
    let mut list: Vec<(KeyPurpose, Level)> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (code, slots, level) = (reader.u8()?, reader.u32()?, Level(reader.u8()?));
        let purpose = match (code, slots) {
            (RELINEARIZATION, 0) => KeyPurpose::Relinearization,
            (ROTATION, slots) => KeyPurpose::Rotation(slots as usize),
            (CONJUGATION, 0) => KeyPurpose::Conjugation,
            (found, _) => {
                let wanted = "0, 1 or 2, with slots for 1 only";
                return Err(DecodeError::Value { what: "purpose of a key", found: found.into(), wanted });
            }
        };
        if level > params.top() {
            let limit = params.top().0.into();
            return Err(DecodeError::TooLarge { what: "level of a key", found: level.0.into(), limit });
        }
        if !exists(params, purpose) {
            let (what, found) = match purpose {
                KeyPurpose::Rotation(slots) => ("rotation", slots as u64),
                _ => ("purpose of a key", code.into()),
            };
            return Err(DecodeError::Value { what, found, wanted: "a key that these parameters can have" });
        }
        if list.last().is_some_and(|(last, _)| *last >= purpose) {
            let wanted = "keys in rising order of purpose and slots";
            return Err(DecodeError::Value { what: "key", found: list.len() as u64, wanted });
        }
        list.push((purpose, level));
    }
    Ok(list)
}

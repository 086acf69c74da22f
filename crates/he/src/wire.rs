//! Bytes of parameters, keys and ciphertexts.
//!
//! An artefact is the 16-byte header of [`nightloom_wire`], the 32-byte parameter identifier, then the body. Residues
//! are packed to the bits of their prime, representatives in `0..q`, limb by limb, evaluation domain in the order of
//! [`NttTable`](nightloom_ring::NttTable). Readers check every residue and refuse everything that does not belong to the
//! parameters they are given.

use std::io::{Read, Write};
use std::sync::Arc;

use nightloom_ring::sample::{self, Seed};
use nightloom_ring::{Eval, Ring, RnsBasis, RnsPoly, parallel};
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer, packed_bytes};
use zeroize::Zeroizing;

use crate::ckks::MAX_EXPONENT;
use crate::{Ciphertext, CkksParams, CkksSpec, Level, ParamsId, PublicKey, Scale, SecretKey};

mod compressed;
mod evaluation_keys;

pub use compressed::{compressed_ciphertext_bytes, read_compressed_ciphertext, write_compressed_ciphertext};
pub use evaluation_keys::{
    EVALUATION_KEYS_VERSION, evaluation_keys_bytes, read_evaluation_keys, read_relinearization_key,
    relinearization_key_bytes, write_evaluation_keys, write_relinearization_key,
};

/// Version of every format in this module, except that of [`write_evaluation_keys`].
pub const VERSION: u16 = 1;

/// The newest version of a kind of artefact, here and in the crates above.
pub fn newest_version(kind: Kind) -> u16 {
    match kind {
        Kind::EvaluationKeys => EVALUATION_KEYS_VERSION,
        _ => VERSION,
    }
}

type IoResult = std::io::Result<()>;

/// Writes the header and the parameter identifier of an artefact whose body has `body` bytes.
///
/// # Errors
/// Those of the sink.
pub fn write_preamble(writer: &mut Writer<impl Write>, kind: Kind, id: ParamsId, body: u64) -> IoResult {
    Header { kind, version: VERSION, length: 32 + body }.write(writer)?;
    writer.bytes(&id.0)
}

/// Opens an artefact of the wanted kind, which must belong to `params`, and hands out a reader of its body.
///
/// # Errors
/// [`DecodeError`] if header or identifier differ.
pub fn open<R: Read>(source: R, kind: Kind, params: &CkksParams, limit: u64) -> Result<Reader<R>, DecodeError> {
    let (_, mut reader) = Header::open(source, kind, VERSION, limit)?;
    check_params(&mut reader, params)?;
    Ok(reader)
}

/// Reads a parameter identifier, which must be that of `params`.
fn check_params(reader: &mut Reader<impl Read>, params: &CkksParams) -> Result<(), DecodeError> {
    let found = ParamsId(reader.bytes()?);
    if found == params.id() {
        Ok(())
    } else {
        Err(DecodeError::ParamsMismatch { found: found.to_string(), wanted: params.id().to_string() })
    }
}

/// Bytes of a polynomial over the first primes of the chain.
///
/// # Panics
/// If the level is above the top.
pub fn poly_bytes(params: &CkksParams, level: Level) -> u64 {
    basis_bytes(params.basis(level))
}

fn basis_bytes(basis: &RnsBasis) -> u64 {
    basis.moduli().map(|q| packed_bytes(basis.degree(), q.bits())).sum()
}

fn write_poly(writer: &mut Writer<impl Write>, poly: &RnsPoly<Eval>) -> IoResult {
    for (limb, residues) in poly.limbs().enumerate() {
        let q = poly.basis().modulus(limb);
        writer.packed(q.bits(), residues.iter().map(|residue| q.lift(*residue)))?;
    }
    Ok(())
}

fn read_poly(reader: &mut Reader<impl Read>, basis: &Arc<RnsBasis>) -> Result<RnsPoly<Eval>, DecodeError> {
    reader.demand(basis_bytes(basis))?;
    let mut body = vec![0; basis_bytes(basis) as usize];
    reader.fill(&mut body)?;
    unpack_poly(&body, basis)
}

/// As [`read_poly`], from exactly as many bytes as a polynomial has.
fn unpack_poly(body: &[u8], basis: &Arc<RnsBasis>) -> Result<RnsPoly<Eval>, DecodeError> {
    let mut poly = RnsPoly::unspecified(basis);
    let limbs = poly.limbs_mut().zip(packed_limbs(body, basis)).enumerate();
    let unpack = |(limb, (out, bytes)): (usize, (&mut [f64], &[u8]))| unpack_limb(basis, limb, bytes, out);
    parallel::try_map(limbs, unpack)?;
    Ok(poly)
}

/// A polynomial as [`unpack_poly`] makes it, and one from a seed: the limbs of both are tasks for the threads together.
fn unpack_with_seed(body: &[u8], seed: &Seed, basis: &Arc<RnsBasis>) -> Result<[RnsPoly<Eval>; 2], DecodeError> {
    let [mut c0, mut c1] = [(); 2].map(|()| RnsPoly::unspecified(basis));
    // The longer tasks first.
    let seeded = c1.limbs_mut().map(|out| (out, None)).enumerate();
    let packed = c0.limbs_mut().zip(packed_limbs(body, basis).map(Some)).enumerate();
    let task = |(limb, (out, bytes)): (usize, (&mut [f64], Option<&[u8]>))| match bytes {
        Some(bytes) => unpack_limb(basis, limb, bytes, out),
        None => {
            sample::uniform_limb(seed, 0, limb, basis.modulus(limb), out);
            Ok(())
        }
    };
    parallel::try_map(seeded.chain(packed), task)?;
    Ok([c0, c1])
}

/// The bytes of each limb.
fn packed_limbs<'a>(mut body: &'a [u8], basis: &RnsBasis) -> impl Iterator<Item = &'a [u8]> {
    basis.moduli().map(move |q| {
        let (limb, rest) = body.split_at(packed_bytes(basis.degree(), q.bits()) as usize);
        body = rest;
        limb
    })
}

fn unpack_limb(basis: &RnsBasis, limb: usize, bytes: &[u8], out: &mut [f64]) -> Result<(), DecodeError> {
    let q = basis.modulus(limb);
    Reader::new(bytes, bytes.len() as u64).packed(q.bits(), out.len(), |index, found| {
        if found >= q.value() {
            return Err(DecodeError::Residue { limb, index, found, prime: q.value() });
        }
        out[index] = q.center(found);
        Ok(())
    })
}

/// Writes parameters as plain data.
///
/// # Errors
/// Those of the sink; `InvalidInput` if a size or a count does not fit a byte.
pub fn write_spec(writer: &mut Writer<impl Write>, spec: &CkksSpec) -> IoResult {
    let byte = |value: usize| u8::try_from(value).map_err(|_| invalid_input());
    writer.u8(match spec.ring {
        Ring::Standard => 0,
        Ring::ConjugateInvariant => 1,
    })?;
    writer.u8(byte(spec.log_degree as usize)?)?;
    for sizes in [&spec.prime_bits, &spec.special_bits] {
        writer.u8(byte(sizes.len())?)?;
        sizes.iter().try_for_each(|bits| writer.u8(byte(*bits as usize)?))?;
    }
    Ok(())
}

fn invalid_input() -> std::io::Error {
    std::io::ErrorKind::InvalidInput.into()
}

/// Reads parameters as plain data. They are not validated here.
///
/// # Errors
/// [`DecodeError`] if the bytes end early or a value is out of its range.
pub fn read_spec(reader: &mut Reader<impl Read>) -> Result<CkksSpec, DecodeError> {
    let ring = match reader.u8()? {
        0 => Ring::Standard,
        1 => Ring::ConjugateInvariant,
        found => return Err(DecodeError::Value { what: "ring", found: found.into(), wanted: "0 or 1" }),
    };
    let log_degree = u32::from(reader.u8()?);
    if !(4..=17).contains(&log_degree) {
        return Err(DecodeError::Value { what: "log2 of the degree", found: log_degree.into(), wanted: "4 to 17" });
    }
    let mut sizes = || -> Result<Vec<u32>, DecodeError> {
        let count = reader.u8()?;
        if usize::from(count) > crate::params::MAX_PRIMES {
            let limit = crate::params::MAX_PRIMES as u64;
            return Err(DecodeError::TooLarge { what: "number of primes", found: count.into(), limit });
        }
        (0..count).map(|_| reader.u8().map(u32::from)).collect()
    };
    Ok(CkksSpec { ring, log_degree, prime_bits: sizes()?, special_bits: sizes()? })
}

/// Writes a scale: exponent of two, then odd factors with exponents.
///
/// # Errors
/// Those of the sink; `InvalidInput` for a scale that [`read_scale`] would refuse.
pub fn write_scale(writer: &mut Writer<impl Write>, scale: &Scale) -> IoResult {
    let (twos, primes) = scale.parts();
    if primes.len() > crate::params::MAX_PRIMES || Scale::from_parts(twos, primes.to_vec()).is_none() {
        return Err(invalid_input());
    }
    writer.i32(twos)?;
    writer.u8(primes.len() as u8)?;
    primes.iter().try_for_each(|(prime, exponent)| {
        writer.u64(*prime)?;
        writer.i32(*exponent)
    })
}

/// Bytes that [`write_scale`] writes.
pub fn scale_bytes(scale: &Scale) -> u64 {
    5 + 12 * scale.parts().1.len() as u64
}

/// Reads a scale.
///
/// # Errors
/// [`DecodeError`] if it is malformed or an exponent is out of range.
pub fn read_scale(reader: &mut Reader<impl Read>) -> Result<Scale, DecodeError> {
    let bounded = |exponent: i32| {
        if exponent.unsigned_abs() <= MAX_EXPONENT.unsigned_abs() {
            Ok(exponent)
        } else {
            let found = exponent.unsigned_abs().into();
            Err(DecodeError::TooLarge { what: "exponent of a scale", found, limit: MAX_EXPONENT as u64 })
        }
    };
    let twos = bounded(reader.i32()?)?;
    let count = reader.u8()?;
    if usize::from(count) > crate::params::MAX_PRIMES {
        let limit = crate::params::MAX_PRIMES as u64;
        return Err(DecodeError::TooLarge { what: "factors of a scale", found: count.into(), limit });
    }
    let factor = |_| Ok::<_, DecodeError>((reader.u64()?, bounded(reader.i32()?)?));
    let primes = (0..count).map(factor).collect::<Result<Vec<_>, _>>()?;
    let wanted = "distinct odd factors below 2^50 in rising order with non-zero exponents";
    Scale::from_parts(twos, primes).ok_or(DecodeError::Value { what: "scale", found: count.into(), wanted })
}

/// Reads the scale of a ciphertext, whose odd factors are primes of the chain.
fn read_scale_of(reader: &mut Reader<impl Read>, params: &CkksParams) -> Result<Scale, DecodeError> {
    let scale = read_scale(reader)?;
    match scale.parts().1.iter().find(|(factor, _)| !params.primes().contains(factor)) {
        Some((found, _)) => {
            let wanted = "primes of the parameters";
            Err(DecodeError::Value { what: "factor of a scale", found: *found, wanted })
        }
        None => Ok(scale),
    }
}

const SEEDED: u8 = 0;
const FULL: u8 = 1;
const SEED_BYTES: u64 = size_of::<Seed>() as u64;

/// Bytes that [`write_ciphertext`] writes for a ciphertext.
pub fn ciphertext_bytes(ciphertext: &Ciphertext) -> u64 {
    let polys = poly_bytes(ciphertext.params(), ciphertext.level());
    let components = ciphertext.components().len() as u64;
    let body = if ciphertext.seed().is_some() { polys + 32 } else { components * polys };
    1 + scale_bytes(ciphertext.scale()) + 2 + body
}

/// Writes a ciphertext without header: level, scale, then `c_0` and a 32-byte seed, or all components.
///
/// # Errors
/// Those of the sink.
pub fn write_ciphertext(writer: &mut Writer<impl Write>, ciphertext: &Ciphertext) -> IoResult {
    writer.u8(ciphertext.level().0)?;
    write_scale(writer, ciphertext.scale())?;
    writer.u8(ciphertext.components().len() as u8)?;
    match ciphertext.seed() {
        Some(seed) => {
            writer.u8(SEEDED)?;
            write_poly(writer, &ciphertext.components()[0])?;
            writer.bytes(seed)
        }
        None => {
            writer.u8(FULL)?;
            ciphertext.components().iter().try_for_each(|component| write_poly(writer, component))
        }
    }
}

/// A ciphertext whose head was read and checked and whose residues are still packed. Reading is sequential; unpacking and
/// expanding the seed are the larger part and may run on any thread.
#[derive(Debug)]
pub struct PackedCiphertext {
    params: CkksParams,
    level: Level,
    scale: Scale,
    components: u8,
    seeded: bool,
    /// `c_0` and the seed, or every component.
    body: Vec<u8>,
}

impl PackedCiphertext {
    /// Reads a ciphertext without header.
    ///
    /// # Errors
    /// [`DecodeError`] if level, scale or form are wrong, or the source ends early.
    pub fn read(reader: &mut Reader<impl Read>, params: &CkksParams) -> Result<Self, DecodeError> {
        let level = Level(reader.u8()?);
        if level > params.top() {
            let limit = params.top().0.into();
            return Err(DecodeError::TooLarge { what: "level", found: level.0.into(), limit });
        }
        let scale = read_scale_of(reader, params)?;
        let components = reader.u8()?;
        if !(2..=3).contains(&components) {
            let wanted = "2 or 3";
            return Err(DecodeError::Value { what: "components of a ciphertext", found: components.into(), wanted });
        }
        let seeded = match reader.u8()? {
            SEEDED if components == 2 => true,
            FULL => false,
            found => {
                return Err(DecodeError::Value { what: "form of a ciphertext", found: found.into(), wanted: "0 or 1" });
            }
        };
        let polys = if seeded { 1 } else { u64::from(components) };
        let length = polys * poly_bytes(params, level) + if seeded { SEED_BYTES } else { 0 };
        reader.demand(length)?;
        let mut body = vec![0; length as usize];
        reader.fill(&mut body)?;
        Ok(Self { params: params.clone(), level, scale, components, seeded, body })
    }

    /// Unpacks the residues and expands the seed.
    ///
    /// # Errors
    /// [`DecodeError::Residue`] for a residue that is not below its prime.
    pub fn unpack(self) -> Result<Ciphertext, DecodeError> {
        let Self { params, level, scale, components, seeded, body } = self;
        let basis = params.basis(level);
        let each = basis_bytes(basis) as usize;
        if seeded {
            let (c0, seed) = body.split_at(each);
            let seed: Seed = Reader::new(seed, SEED_BYTES).bytes()?;
            let [c0, c1] = unpack_with_seed(c0, &seed, basis)?;
            return Ok(Ciphertext::fresh(&params, level, scale, c0, c1, Some(seed)));
        }
        let polys = body.chunks_exact(each).map(|poly| unpack_poly(poly, basis)).collect::<Result<Vec<_>, _>>()?;
        Ciphertext::from_components(&params, level, scale, polys).map_err(|_| DecodeError::Value {
            what: "ciphertext",
            found: components.into(),
            wanted: "2 or 3 components at a level that exists",
        })
    }
}

/// Reads a ciphertext without header.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_ciphertext(reader: &mut Reader<impl Read>, params: &CkksParams) -> Result<Ciphertext, DecodeError> {
    PackedCiphertext::read(reader, params)?.unpack()
}

/// Writes a secret key with header: two bits a coefficient. The caller sees to it that nobody else can read the sink.
///
/// # Errors
/// Those of the sink.
pub fn write_secret_key(writer: &mut Writer<impl Write>, key: &SecretKey) -> IoResult {
    let params = key.params();
    // The format of `Writer::packed` with 2 bits, whose chunk on the stack would not be wiped.
    let mut body = Zeroizing::new(vec![0u8; secret_key_body(params)]);
    for (byte, four) in body.iter_mut().zip(key.coefficients.chunks_exact(4)) {
        *byte = four.iter().rev().fold(0, |byte, coefficient| byte << 2 | (coefficient + 1.0) as u8);
    }
    write_preamble(writer, Kind::SecretKey, params.id(), body.len() as u64)?;
    writer.bytes(&body)
}

/// Four coefficients a byte; the degree is a multiple of 16.
fn secret_key_body(params: &CkksParams) -> usize {
    params.degree() / 4
}

/// Bytes of a secret key with its header.
pub fn secret_key_bytes(params: &CkksParams) -> u64 {
    HEADER_BYTES + 32 + secret_key_body(params) as u64
}

/// Reads a secret key.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_secret_key(source: impl Read, params: &CkksParams) -> Result<SecretKey, DecodeError> {
    let mut body = Zeroizing::new(vec![0u8; secret_key_body(params)]);
    let mut reader = open(source, Kind::SecretKey, params, 32 + body.len() as u64)?;
    reader.fill(&mut body)?;
    reader.finish()?;
    // 3 has both bits of a pair set. Which pair it is stays out of the error.
    if body.iter().fold(0, |found, byte| found | (byte & byte >> 1 & 0x55)) != 0 {
        return Err(DecodeError::Value { what: "coefficient of the secret key", found: 3, wanted: "0, 1 or 2" });
    }
    let mut coefficients = params.pool().take(params.degree());
    for (four, byte) in coefficients.chunks_exact_mut(4).zip(body.iter()) {
        for (index, coefficient) in four.iter_mut().enumerate() {
            *coefficient = f64::from(byte >> (2 * index) & 3) - 1.0;
        }
    }
    Ok(SecretKey::from_coefficients(params, coefficients))
}

/// Bytes of a public key with its header.
pub fn public_key_bytes(params: &CkksParams) -> u64 {
    HEADER_BYTES + 64 + poly_bytes(params, params.top())
}

/// Writes a public key with header.
///
/// # Errors
/// Those of the sink.
pub fn write_public_key(writer: &mut Writer<impl Write>, key: &PublicKey) -> IoResult {
    let params = key.params();
    write_preamble(writer, Kind::PublicKey, params.id(), 32 + poly_bytes(params, params.top()))?;
    writer.bytes(&key.seed)?;
    write_poly(writer, &key.b)
}

/// Reads a public key.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_public_key(source: impl Read, params: &CkksParams) -> Result<PublicKey, DecodeError> {
    let basis = params.basis(params.top());
    let mut reader = open(source, Kind::PublicKey, params, 64 + basis_bytes(basis))?;
    let seed = reader.bytes()?;
    let b = read_poly(&mut reader, basis)?;
    reader.finish()?;
    Ok(PublicKey { params: params.clone(), seed, b, a: sample::uniform(basis, &seed, 0) })
}

//! Points and scalars of ristretto255.

use std::io::{Read, Write};

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{RistrettoPoint, Scalar};
use nightloom_ring::parallel;
use nightloom_wire::{DecodeError, Reader, Writer};

use super::IoResult;

/// Bytes of a point or a scalar.
pub(super) const BYTES: u64 = 32;
/// Points that are handled together, so that they may be on several threads and memory grows with what arrives.
const BATCH: usize = 1 << 12;
/// Points that one task encodes or decodes.
const CHUNK: usize = 64;

/// Writes points, 32 bytes each (RFC 9496).
pub(super) fn write(writer: &mut Writer<impl Write>, points: &[RistrettoPoint]) -> IoResult {
    let mut encodings = vec![[0; 32]; BATCH.min(points.len())];
    for points in points.chunks(BATCH) {
        let encodings = &mut encodings[..points.len()];
        parallel::for_each(encodings.chunks_mut(CHUNK).zip(points.chunks(CHUNK)), |_, (encodings, points)| {
            encodings.iter_mut().zip(points).for_each(|(encoding, point)| *encoding = point.compress().to_bytes());
        });
        encodings.iter().try_for_each(|encoding| writer.bytes(encoding))?;
    }
    Ok(())
}

/// Reads `count` points. The identity is accepted where `may_vanish` says so, by index.
///
/// # Errors
/// [`DecodeError::Truncated`] if there are fewer, [`DecodeError::Value`] for an encoding that is not canonical, or of
/// the identity.
pub(super) fn read(
    reader: &mut Reader<impl Read>,
    count: usize,
    may_vanish: impl Fn(usize) -> bool + Sync,
) -> Result<Vec<RistrettoPoint>, DecodeError> {
    reader.demand((count as u64).saturating_mul(BYTES))?;
    let mut points = Vec::new();
    while points.len() < count {
        let first = points.len();
        let mut encodings = vec![[0u8; 32]; BATCH.min(count - first)];
        encodings.iter_mut().try_for_each(|encoding| reader.fill(encoding))?;
        let mut decoded = vec![None; encodings.len()];
        parallel::for_each(decoded.chunks_mut(CHUNK).zip(encodings.chunks(CHUNK)), |chunk, (decoded, encodings)| {
            for ((point, encoding), index) in decoded.iter_mut().zip(encodings).zip(first + chunk * CHUNK..) {
                let found = CompressedRistretto(*encoding).decompress();
                *point = found.filter(|point| !point.is_identity() || may_vanish(index));
            }
        });
        for (index, point) in (first as u64..).zip(decoded) {
            let wanted = "the canonical encoding of a ristretto255 point, not the identity";
            points.push(point.ok_or(DecodeError::Value { what: "point", found: index, wanted })?);
        }
    }
    Ok(points)
}

/// Reads points of which none is the identity.
///
/// # Errors
/// As [`read`].
pub(super) fn read_all(reader: &mut Reader<impl Read>, count: usize) -> Result<Vec<RistrettoPoint>, DecodeError> {
    read(reader, count, |_| false)
}

/// Reads a scalar below the order of the group.
///
/// # Errors
/// [`DecodeError::Value`] if it is not below.
pub(super) fn read_scalar(reader: &mut Reader<impl Read>) -> Result<Scalar, DecodeError> {
    let scalar: Option<Scalar> = Scalar::from_canonical_bytes(reader.bytes()?).into();
    // Which value it was stays out of the error: it may be part of a key.
    let error =
        DecodeError::Value { what: "scalar", found: 0, wanted: "32 bytes that are below the order of the group" };
    scalar.ok_or(error)
}

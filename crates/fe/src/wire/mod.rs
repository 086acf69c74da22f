//! Bytes of keys, functionals and ciphertexts.
//!
//! An artefact is the 16-byte header of [`nightloom_wire`], the 32-byte identifier of scheme and bounds, then the body,
//! which begins with the 16-byte identifier of the master key. Readers are given what the artefact must belong to,
//! check every value, and refuse all that does not belong to it. One value has one encoding.

mod functionals;
mod keys;
mod lattice;
mod linear;
mod points;
mod words;

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};

use crate::ParamsId;

pub use keys::{master_seed_bytes, read_master_seed, write_master_seed};
pub use linear::Masks;

/// Version of every format in this module.
pub const VERSION: u16 = 1;

type IoResult = std::io::Result<()>;

/// A value with a format of its own.
pub trait Artefact: Sized {
    /// What it is.
    const KIND: Kind;
    /// What it belongs to: the scheme, and for function keys the functionals that they were asked for.
    type Context<'a>: Copy;

    /// The identifier of the scheme and its bounds.
    fn params_id(context: Self::Context<'_>) -> ParamsId;

    /// Bytes of the body.
    fn body_bytes(&self, context: Self::Context<'_>) -> u64;

    /// Writes the body.
    ///
    /// # Errors
    /// Those of the sink.
    fn write_body(&self, writer: &mut Writer<impl Write>, context: Self::Context<'_>) -> IoResult;

    /// Reads the body.
    ///
    /// # Errors
    /// [`DecodeError`] for every way in which the bytes can be wrong.
    fn read_body(reader: &mut Reader<impl Read>, context: Self::Context<'_>) -> Result<Self, DecodeError>;
}

/// Bytes of an artefact with its header.
pub fn bytes<T: Artefact>(value: &T, context: T::Context<'_>) -> u64 {
    HEADER_BYTES + 32 + value.body_bytes(context)
}

/// Writes an artefact with header. Who may read the sink is the caller's concern.
///
/// # Errors
/// Those of the sink.
pub fn write<T: Artefact>(writer: &mut Writer<impl Write>, value: &T, context: T::Context<'_>) -> IoResult {
    Header { kind: T::KIND, version: VERSION, length: 32 + value.body_bytes(context) }.write(writer)?;
    writer.bytes(&T::params_id(context).0)?;
    value.write_body(writer, context)
}

/// Reads an artefact of at most `limit` bytes after the header, and nothing after it.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read<T: Artefact>(source: impl Read, context: T::Context<'_>, limit: u64) -> Result<T, DecodeError> {
    let (_, mut reader) = Header::open(source, T::KIND, VERSION, limit)?;
    let (found, wanted) = (ParamsId(reader.bytes()?), T::params_id(context));
    if found != wanted {
        return Err(DecodeError::ParamsMismatch { found: found.to_string(), wanted: wanted.to_string() });
    }
    let value = T::read_body(&mut reader, context)?;
    reader.finish()?;
    Ok(value)
}

/// Most samples of a ciphertext: what a reader accepts before it looks at the bytes.
const MAX_SAMPLES: usize = 1 << 26;

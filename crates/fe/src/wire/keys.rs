//! Secrets that are a few bytes: the seed of an authority, and what it shares with a client.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};
use zeroize::Zeroizing;

use super::{Artefact, IoResult, VERSION};
use crate::label::LabelKey;
use crate::pad::Pads;
use crate::{InnerProduct, KeyId, MasterSeed, Mlwe, MlweEncryptionKey, Pad, PadEncryptionKey, ParamsId};

/// Bytes of a master seed with its header.
pub fn master_seed_bytes() -> u64 {
    HEADER_BYTES + 32
}

/// Writes a master seed with header: it serves any scheme, so no parameters are named. The caller sees to it that
/// nobody else can read the sink.
///
/// # Errors
/// Those of the sink.
pub fn write_master_seed(writer: &mut Writer<impl Write>, seed: &MasterSeed) -> IoResult {
    Header { kind: Kind::MasterSeed, version: VERSION, length: 32 }.write(writer)?;
    writer.bytes(seed.bytes())
}

/// Reads a master seed.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_master_seed(source: impl Read) -> Result<MasterSeed, DecodeError> {
    let (_, mut reader) = Header::open(source, Kind::MasterSeed, VERSION, 32)?;
    let mut bytes = Zeroizing::new([0; 32]);
    reader.fill(&mut *bytes)?;
    reader.finish()?;
    Ok(MasterSeed::from_bytes(*bytes))
}

/// Bytes of a label's key and identifier.
const LABEL_KEY_BYTES: u64 = 16 + 32;

fn write_label_key(writer: &mut Writer<impl Write>, label: &LabelKey) -> IoResult {
    writer.bytes(&label.id.0)?;
    writer.bytes(label.bytes())
}

fn read_label_key(reader: &mut Reader<impl Read>) -> Result<LabelKey, DecodeError> {
    let id = KeyId(reader.bytes()?);
    let mut key = Zeroizing::new([0; 32]);
    reader.fill(&mut *key)?;
    Ok(LabelKey::from_parts(id, *key))
}

/// The key of the label, and the number of the sample that comes next.
impl Artefact for PadEncryptionKey {
    const KIND: Kind = Kind::FunctionalSecretKey;
    type Context<'a> = &'a Pad;

    fn params_id(pad: &Pad) -> ParamsId {
        pad.params_id()
    }

    fn body_bytes(&self, _: &Pad) -> u64 {
        LABEL_KEY_BYTES + 8
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Pad) -> IoResult {
        write_label_key(writer, &self.pads.0)?;
        writer.u64(self.next)
    }

    fn read_body(reader: &mut Reader<impl Read>, _: &Pad) -> Result<Self, DecodeError> {
        let label = read_label_key(reader)?;
        Ok(Self { pads: Pads(label), next: reader.u64()? })
    }
}

/// The key of the label, from which the secrets are made again.
impl Artefact for MlweEncryptionKey {
    const KIND: Kind = Kind::FunctionalSecretKey;
    type Context<'a> = &'a Mlwe;

    fn params_id(mlwe: &Mlwe) -> ParamsId {
        mlwe.params_id()
    }

    fn body_bytes(&self, _: &Mlwe) -> u64 {
        LABEL_KEY_BYTES
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Mlwe) -> IoResult {
        write_label_key(writer, &self.label)
    }

    fn read_body(reader: &mut Reader<impl Read>, mlwe: &Mlwe) -> Result<Self, DecodeError> {
        Ok(mlwe.encryption_key_of(read_label_key(reader)?))
    }
}

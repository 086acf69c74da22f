//! Pads.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, Kind, Reader, Writer};

use super::{Artefact, IoResult, MAX_SAMPLES};
use crate::words::{Word, Words};
use crate::{Functionals, InnerProduct, KeyId, Pad, PadCiphertext, PadFunctionKeys, ParamsId};

/// Words that are read at once: memory grows with what arrives.
const CHUNK: usize = 1 << 12;

fn write_words(writer: &mut Writer<impl Write>, words: &Words) -> IoResult {
    match words {
        Words::Narrow(words) => words.iter().try_for_each(|word| writer.u32(*word)),
        Words::Wide(words) => words.iter().try_for_each(|word| writer.u64(*word)),
    }
}

fn read_words(reader: &mut Reader<impl Read>, pad: &Pad, count: usize) -> Result<Words, DecodeError> {
    if pad.is_wide() { read_all::<u64>(reader, count) } else { read_all::<u32>(reader, count) }
}

fn read_all<W: Word>(reader: &mut Reader<impl Read>, count: usize) -> Result<Words, DecodeError> {
    reader.demand((count as u64).saturating_mul(W::BYTES as u64))?;
    let mut words = Vec::new();
    let mut bytes = vec![0; CHUNK.min(count) * W::BYTES];
    while words.len() < count {
        let bytes = &mut bytes[..CHUNK.min(count - words.len()) * W::BYTES];
        reader.fill(bytes)?;
        words.extend(bytes.chunks_exact(W::BYTES).map(W::from_bytes));
    }
    Ok(W::wrap(words))
}

fn word_bytes(pad: &Pad) -> u64 {
    if pad.is_wide() { 8 } else { 4 }
}

/// The number of the first sample, the number of samples, their words.
impl Artefact for PadCiphertext {
    const KIND: Kind = Kind::FunctionalCiphertext;
    type Context<'a> = &'a Pad;

    fn params_id(pad: &Pad) -> ParamsId {
        pad.params_id()
    }

    fn body_bytes(&self, pad: &Pad) -> u64 {
        16 + 8 + 4 + word_bytes(pad) * self.body.len() as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Pad) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.u64(self.first)?;
        writer.u32(self.samples() as u32)?;
        write_words(writer, &self.body)
    }

    fn read_body(reader: &mut Reader<impl Read>, pad: &Pad) -> Result<Self, DecodeError> {
        let (id, first, dimension) = (KeyId(reader.bytes()?), reader.u64()?, pad.bounds().dimension());
        let samples = reader.count("samples", word_bytes(pad) * dimension as u64, MAX_SAMPLES)?;
        Ok(Self { id, dimension, first, body: read_words(reader, pad, samples * dimension)? })
    }
}

/// The number of samples, then for every functional a word for each.
impl Artefact for PadFunctionKeys {
    const KIND: Kind = Kind::FunctionKeys;
    type Context<'a> = (&'a Pad, &'a Functionals);

    fn params_id((pad, _): Self::Context<'_>) -> ParamsId {
        pad.params_id()
    }

    fn body_bytes(&self, (pad, _): Self::Context<'_>) -> u64 {
        16 + 4 + word_bytes(pad) * self.keys.len() as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: Self::Context<'_>) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.u32(self.samples as u32)?;
        write_words(writer, &self.keys)
    }

    fn read_body(reader: &mut Reader<impl Read>, (pad, asked): Self::Context<'_>) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        let samples = reader.count("samples", word_bytes(pad) * asked.len() as u64, MAX_SAMPLES)?;
        let keys = read_words(reader, pad, asked.len().saturating_mul(samples))?;
        Ok(Self { id, functionals: asked.clone(), samples, keys })
    }
}

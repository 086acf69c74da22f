//! The schemes under DDH, and FEBO.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, Kind, Reader, Writer};

use super::points::{self, BYTES};
use super::{Artefact, IoResult, MAX_SAMPLES};
use crate::group::linear::{Ciphertext, FunctionKeys, PublicKey};
use crate::{
    Bounds, Ddh, DdhAdaptive, Febo, FeboCiphertext, FeboFunctionKeys, FeboPublicKey, FeboRequest, Functionals,
    InnerProduct, KeyId, Operation, ParamsId,
};

/// A scheme under DDH with this many masks: [`Ddh`] has one, [`DdhAdaptive`] two.
pub trait Masks<const H: usize> {
    /// The identifier of the scheme and its bounds.
    fn id(&self) -> ParamsId;
    /// Its bounds.
    fn limits(&self) -> &Bounds;
}

impl Masks<1> for Ddh {
    fn id(&self) -> ParamsId {
        self.params_id()
    }

    fn limits(&self) -> &Bounds {
        self.bounds()
    }
}

impl Masks<2> for DdhAdaptive {
    fn id(&self) -> ParamsId {
        self.params_id()
    }

    fn limits(&self) -> &Bounds {
        self.bounds()
    }
}

/// A point for every coordinate.
impl<const H: usize> Artefact for PublicKey<H> {
    const KIND: Kind = Kind::FunctionalPublicKey;
    type Context<'a> = &'a dyn Masks<H>;

    fn params_id(scheme: &dyn Masks<H>) -> ParamsId {
        scheme.id()
    }

    fn body_bytes(&self, _: &dyn Masks<H>) -> u64 {
        16 + BYTES * self.points.len() as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &dyn Masks<H>) -> IoResult {
        writer.bytes(&self.id.0)?;
        points::write(writer, &self.points)
    }

    fn read_body(reader: &mut Reader<impl Read>, scheme: &dyn Masks<H>) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        Ok(Self::from_points(id, points::read_all(reader, scheme.limits().dimension())?))
    }
}

/// The number of samples, the heads of all, the bodies of all.
impl<const H: usize> Artefact for Ciphertext<H> {
    const KIND: Kind = Kind::FunctionalCiphertext;
    type Context<'a> = &'a dyn Masks<H>;

    fn params_id(scheme: &dyn Masks<H>) -> ParamsId {
        scheme.id()
    }

    fn body_bytes(&self, _: &dyn Masks<H>) -> u64 {
        16 + 4 + BYTES * (H * self.heads.len() + self.body.len()) as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &dyn Masks<H>) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.u32(self.heads.len() as u32)?;
        points::write(writer, self.heads.as_flattened())?;
        points::write(writer, &self.body)
    }

    fn read_body(reader: &mut Reader<impl Read>, scheme: &dyn Masks<H>) -> Result<Self, DecodeError> {
        let (id, dimension) = (KeyId(reader.bytes()?), scheme.limits().dimension());
        let samples = reader.count("samples", BYTES * (H + dimension) as u64, MAX_SAMPLES)?;
        let heads = points::read_all(reader, H * samples)?.as_chunks::<H>().0.to_vec();
        let body = points::read_all(reader, samples * dimension)?;
        Ok(Self { id, dimension, heads, body })
    }
}

/// The scalars of every functional; the functionals themselves are known to who asked for keys.
impl<const H: usize> Artefact for FunctionKeys<H> {
    const KIND: Kind = Kind::FunctionKeys;
    type Context<'a> = (&'a dyn Masks<H>, &'a Functionals);

    fn params_id((scheme, _): Self::Context<'_>) -> ParamsId {
        scheme.id()
    }

    fn body_bytes(&self, _: Self::Context<'_>) -> u64 {
        16 + BYTES * (H * self.keys.len()) as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: Self::Context<'_>) -> IoResult {
        writer.bytes(&self.id.0)?;
        self.keys.as_flattened().iter().try_for_each(|scalar| writer.bytes(scalar.as_bytes()))
    }

    fn read_body(reader: &mut Reader<impl Read>, (_, asked): Self::Context<'_>) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        reader.demand((asked.len() as u64).saturating_mul(BYTES * H as u64))?;
        let scalars = (0..asked.len() * H).map(|_| points::read_scalar(reader)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { id, functionals: asked.clone(), keys: scalars.as_chunks::<H>().0.to_vec() })
    }
}

impl Artefact for FeboPublicKey {
    const KIND: Kind = Kind::FunctionalPublicKey;
    type Context<'a> = &'a Febo;

    fn params_id(febo: &Febo) -> ParamsId {
        febo.params_id()
    }

    fn body_bytes(&self, _: &Febo) -> u64 {
        16 + BYTES
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Febo) -> IoResult {
        writer.bytes(&self.id.0)?;
        points::write(writer, &[self.point])
    }

    fn read_body(reader: &mut Reader<impl Read>, _: &Febo) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        Ok(Self::from_point(id, points::read_all(reader, 1)?[0]))
    }
}

/// The number of values, all commitments, all bodies.
impl Artefact for FeboCiphertext {
    const KIND: Kind = Kind::FunctionalCiphertext;
    type Context<'a> = &'a Febo;

    fn params_id(febo: &Febo) -> ParamsId {
        febo.params_id()
    }

    fn body_bytes(&self, _: &Febo) -> u64 {
        16 + 4 + 2 * BYTES * self.bodies.len() as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Febo) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.u32(self.bodies.len() as u32)?;
        points::write(writer, &self.commitments)?;
        points::write(writer, &self.bodies)
    }

    fn read_body(reader: &mut Reader<impl Read>, _: &Febo) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        let count = reader.count("values", 2 * BYTES, MAX_SAMPLES)?;
        let (commitments, bodies) = (points::read_all(reader, count)?, points::read_all(reader, count)?);
        Ok(Self { id, commitments, bodies })
    }
}

/// The operation, the number of values, all operands, all commitments.
impl Artefact for FeboRequest {
    const KIND: Kind = Kind::OperandRequest;
    type Context<'a> = &'a Febo;

    fn params_id(febo: &Febo) -> ParamsId {
        febo.params_id()
    }

    fn body_bytes(&self, _: &Febo) -> u64 {
        16 + 5 + (4 + BYTES) * self.operands.len() as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Febo) -> IoResult {
        writer.bytes(&self.id.0)?;
        write_operands(writer, self.operation, &self.operands)?;
        points::write(writer, &self.commitments)
    }

    fn read_body(reader: &mut Reader<impl Read>, febo: &Febo) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        let (operation, operands) = read_operands(reader, febo)?;
        let commitments = points::read_all(reader, operands.len())?;
        Ok(Self { id, operation, operands, commitments })
    }
}

/// As a request, with keys instead of commitments. The key of a product with zero is the identity.
impl Artefact for FeboFunctionKeys {
    const KIND: Kind = Kind::FunctionKeys;
    type Context<'a> = &'a Febo;

    fn params_id(febo: &Febo) -> ParamsId {
        febo.params_id()
    }

    fn body_bytes(&self, _: &Febo) -> u64 {
        16 + 5 + (4 + BYTES) * self.operands.len() as u64
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Febo) -> IoResult {
        writer.bytes(&self.id.0)?;
        write_operands(writer, self.operation, &self.operands)?;
        points::write(writer, &self.keys)
    }

    fn read_body(reader: &mut Reader<impl Read>, febo: &Febo) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        let (operation, operands) = read_operands(reader, febo)?;
        let vanishes = |index: usize| operation == Operation::Multiply && operands[index] == 0;
        let keys = points::read(reader, operands.len(), vanishes)?;
        Ok(Self { id, operation, operands, keys })
    }
}

fn write_operands(writer: &mut Writer<impl Write>, operation: Operation, operands: &[i32]) -> IoResult {
    writer.u8(operation as u8)?;
    writer.u32(operands.len() as u32)?;
    operands.iter().try_for_each(|operand| writer.i32(*operand))
}

fn read_operands(reader: &mut Reader<impl Read>, febo: &Febo) -> Result<(Operation, Vec<i32>), DecodeError> {
    let found = reader.u8()?;
    let operation = Operation::ALL.into_iter().find(|operation| *operation as u8 == found);
    let operation = operation.ok_or(DecodeError::Value { what: "operation", found: found.into(), wanted: "1 to 4" })?;
    let count = reader.count("operands", 4 + BYTES, MAX_SAMPLES)?;
    let mut operands = Vec::new();
    for _ in 0..count {
        let operand = reader.i32()?;
        if operand.unsigned_abs() > febo.bounds().weight() || operation == Operation::Divide && operand == 0 {
            let wanted = "a magnitude within the bound, not zero where it divides";
            return Err(DecodeError::Value { what: "operand", found: operand.unsigned_abs().into(), wanted });
        }
        operands.push(operand);
    }
    Ok((operation, operands))
}

//! The schemes on lattices. Residues are packed to the bits of their prime, representatives in `0..q`, evaluations in
//! the order of [`NttTable`](nightloom_ring::NttTable).

use std::io::{Read, Write};

use nightloom_ring::{Buffer, RnsBasis, RnsPoly};
use nightloom_wire::{DecodeError, Kind, Reader, Writer, packed_bytes};

use super::{Artefact, IoResult, MAX_SAMPLES};
use crate::mlwe::DEGREE;
use crate::rlwe::Group;
use crate::{
    Functionals, InnerProduct, KeyId, Mlwe, MlweCiphertext, MlweFunctionKeys, ParamsId, Rlwe, RlweCiphertext,
    RlweFunctionKeys, RlwePublicKey,
};

fn write_residues(writer: &mut Writer<impl Write>, basis: &RnsBasis, limb: usize, residues: &[f64]) -> IoResult {
    let q = basis.modulus(limb);
    writer.packed(q.bits(), residues.iter().map(|residue| q.lift(*residue)))
}

fn read_residues(
    reader: &mut Reader<impl Read>,
    basis: &RnsBasis,
    limb: usize,
    residues: &mut [f64],
) -> Result<(), DecodeError> {
    let q = basis.modulus(limb);
    reader.packed(q.bits(), residues.len(), |index, found| {
        if found >= q.value() {
            return Err(DecodeError::Residue { limb, index, found, prime: q.value() });
        }
        residues[index] = q.center(found);
        Ok(())
    })
}

/// Bytes of `count` residues modulo every prime, packed limb by limb.
fn residue_bytes(basis: &RnsBasis, count: usize) -> u64 {
    basis.moduli().map(|q| packed_bytes(count, q.bits())).sum()
}

fn write_poly<D: nightloom_ring::Domain>(writer: &mut Writer<impl Write>, poly: &RnsPoly<D>) -> IoResult {
    poly.limbs().enumerate().try_for_each(|(limb, residues)| write_residues(writer, poly.basis(), limb, residues))
}

fn read_poly<D: nightloom_ring::Domain>(
    reader: &mut Reader<impl Read>,
    basis: &std::sync::Arc<RnsBasis>,
) -> Result<RnsPoly<D>, DecodeError> {
    reader.demand(residue_bytes(basis, basis.degree()))?;
    let mut poly = RnsPoly::zero(basis);
    for (limb, residues) in poly.limbs_mut().enumerate() {
        read_residues(reader, basis, limb, residues)?;
    }
    Ok(poly)
}

/// Integers within `+-bound`, packed from 0 for the lowest.
struct Integers {
    bound: u64,
    bits: u32,
}

impl Integers {
    /// `bound` is below `2^55`.
    fn new(bound: f64) -> Self {
        let bound = bound as u64;
        Self { bound, bits: u64::BITS - (2 * bound).leading_zeros() }
    }

    fn bytes(&self, count: usize) -> u64 {
        packed_bytes(count, self.bits)
    }

    fn write(&self, writer: &mut Writer<impl Write>, integers: &[f64]) -> IoResult {
        writer.packed(self.bits, integers.iter().map(|integer| (*integer as i64 + self.bound as i64) as u64))
    }

    fn read(&self, reader: &mut Reader<impl Read>, count: usize) -> Result<Vec<f64>, DecodeError> {
        let mut integers = Vec::new();
        reader.packed(self.bits, count, |_, found| {
            if found > 2 * self.bound {
                // Which value it was stays out of the error: it is part of a key.
                let wanted = "an integer within the bound of the parameters";
                return Err(DecodeError::Value { what: "coefficient of a key", found: 0, wanted });
            }
            integers.push((found as i64 - self.bound as i64) as f64);
            Ok(())
        })?;
        Ok(integers)
    }
}

fn read_keys(
    reader: &mut Reader<impl Read>,
    integers: &Integers,
    functionals: usize,
    width: usize,
) -> Result<Vec<Vec<f64>>, DecodeError> {
    reader.demand((functionals as u64).saturating_mul(integers.bytes(width)))?;
    (0..functionals).map(|_| integers.read(reader, width)).collect()
}

/// The seed of `a`, then `a s_i + e_i` for every coordinate.
impl Artefact for RlwePublicKey {
    const KIND: Kind = Kind::FunctionalPublicKey;
    type Context<'a> = &'a Rlwe;

    fn params_id(rlwe: &Rlwe) -> ParamsId {
        rlwe.params_id()
    }

    fn body_bytes(&self, rlwe: &Rlwe) -> u64 {
        16 + 32 + self.keys.len() as u64 * residue_bytes(rlwe.basis(), rlwe.degree())
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, _: &Rlwe) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.bytes(&self.seed)?;
        self.keys.iter().try_for_each(|key| write_poly(writer, key))
    }

    fn read_body(reader: &mut Reader<impl Read>, rlwe: &Rlwe) -> Result<Self, DecodeError> {
        let (id, seed) = (KeyId(reader.bytes()?), reader.bytes()?);
        let keys = (0..rlwe.bounds().dimension()).map(|_| read_poly(reader, rlwe.basis()));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::from_parts(id, seed, rlwe.basis(), keys))
    }
}

/// The number of samples; for every group of them the head, then by limb all coordinates.
impl Artefact for RlweCiphertext {
    const KIND: Kind = Kind::FunctionalCiphertext;
    type Context<'a> = &'a Rlwe;

    fn params_id(rlwe: &Rlwe) -> ParamsId {
        rlwe.params_id()
    }

    fn body_bytes(&self, rlwe: &Rlwe) -> u64 {
        16 + 4 + self.groups.len() as u64 * group_bytes(rlwe)
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, rlwe: &Rlwe) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.u32(self.samples as u32)?;
        for group in &self.groups {
            write_poly(writer, &group.head)?;
            for (limb, residues) in group.body.iter().enumerate() {
                write_residues(writer, rlwe.basis(), limb, residues)?;
            }
        }
        Ok(())
    }

    fn read_body(reader: &mut Reader<impl Read>, rlwe: &Rlwe) -> Result<Self, DecodeError> {
        let (id, basis) = (KeyId(reader.bytes()?), rlwe.basis());
        let samples = reader.count("samples", 0, MAX_SAMPLES)?;
        let count = samples.div_ceil(rlwe.degree());
        reader.demand((count as u64).saturating_mul(group_bytes(rlwe)))?;
        let mut groups = Vec::new();
        for _ in 0..count {
            let head = read_poly(reader, basis)?;
            let mut body = basis.pool().take_limbs(basis.len(), rlwe.bounds().dimension() * rlwe.degree());
            for (limb, residues) in body.iter_mut().enumerate() {
                read_residues(reader, basis, limb, residues)?;
            }
            groups.push(Group { head, body });
        }
        Ok(Self { id, samples, groups })
    }
}

fn group_bytes(rlwe: &Rlwe) -> u64 {
    let (n, dimension) = (rlwe.degree(), rlwe.bounds().dimension());
    residue_bytes(rlwe.basis(), n) + residue_bytes(rlwe.basis(), n * dimension)
}

/// For every functional the coefficients of its key.
impl Artefact for RlweFunctionKeys {
    const KIND: Kind = Kind::FunctionKeys;
    type Context<'a> = (&'a Rlwe, &'a Functionals);

    fn params_id((rlwe, _): Self::Context<'_>) -> ParamsId {
        rlwe.params_id()
    }

    fn body_bytes(&self, (rlwe, _): Self::Context<'_>) -> u64 {
        16 + self.keys.len() as u64 * Integers::new(rlwe.key_bound()).bytes(rlwe.degree())
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, (rlwe, _): Self::Context<'_>) -> IoResult {
        writer.bytes(&self.id.0)?;
        let integers = Integers::new(rlwe.key_bound());
        self.keys.iter().try_for_each(|key| integers.write(writer, key))
    }

    fn read_body(reader: &mut Reader<impl Read>, (rlwe, asked): Self::Context<'_>) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        let keys = read_keys(reader, &Integers::new(rlwe.key_bound()), asked.len(), rlwe.degree())?;
        Ok(Self { id, functionals: asked.clone(), keys })
    }
}

/// The number of samples, the seeds of all groups of 64, then by limb all coordinates.
impl Artefact for MlweCiphertext {
    const KIND: Kind = Kind::FunctionalCiphertext;
    type Context<'a> = &'a Mlwe;

    fn params_id(mlwe: &Mlwe) -> ParamsId {
        mlwe.params_id()
    }

    fn body_bytes(&self, mlwe: &Mlwe) -> u64 {
        let residues = self.seeds.len() * DEGREE * mlwe.bounds().dimension();
        16 + 4 + 32 * self.seeds.len() as u64 + residue_bytes(mlwe.basis(), residues)
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, mlwe: &Mlwe) -> IoResult {
        writer.bytes(&self.id.0)?;
        writer.u32(self.samples as u32)?;
        self.seeds.iter().try_for_each(|seed| writer.bytes(seed))?;
        let body = self.body.iter().enumerate();
        body.into_iter().try_for_each(|(limb, residues)| write_residues(writer, mlwe.basis(), limb, residues))
    }

    fn read_body(reader: &mut Reader<impl Read>, mlwe: &Mlwe) -> Result<Self, DecodeError> {
        let (id, basis) = (KeyId(reader.bytes()?), mlwe.basis());
        let samples = reader.count("samples", 0, MAX_SAMPLES)?;
        let groups = samples.div_ceil(DEGREE);
        let residues = groups.saturating_mul(DEGREE * mlwe.bounds().dimension());
        reader.demand(32 * groups as u64 + residue_bytes(basis, residues))?;
        let mut seeds = Vec::new();
        for _ in 0..groups {
            seeds.push(reader.bytes()?);
        }
        let mut body: Vec<Buffer> = Vec::new();
        for limb in 0..basis.len() {
            let mut out = basis.pool().take(residues);
            read_residues(reader, basis, limb, &mut out)?;
            body.push(out);
        }
        Ok(mlwe.ciphertext_of(id, samples, seeds, body))
    }
}

/// For every functional the coefficients of its key, polynomial by polynomial.
impl Artefact for MlweFunctionKeys {
    const KIND: Kind = Kind::FunctionKeys;
    type Context<'a> = (&'a Mlwe, &'a Functionals);

    fn params_id((mlwe, _): Self::Context<'_>) -> ParamsId {
        mlwe.params_id()
    }

    fn body_bytes(&self, (mlwe, _): Self::Context<'_>) -> u64 {
        16 + self.keys.len() as u64 * Integers::new(mlwe.key_bound()).bytes(mlwe.width())
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, (mlwe, _): Self::Context<'_>) -> IoResult {
        writer.bytes(&self.id.0)?;
        let integers = Integers::new(mlwe.key_bound());
        self.keys.iter().try_for_each(|key| integers.write(writer, key))
    }

    fn read_body(reader: &mut Reader<impl Read>, (mlwe, asked): Self::Context<'_>) -> Result<Self, DecodeError> {
        let id = KeyId(reader.bytes()?);
        let keys = read_keys(reader, &Integers::new(mlwe.key_bound()), asked.len(), mlwe.width())?;
        Ok(Self { id, functionals: asked.clone(), keys })
    }
}

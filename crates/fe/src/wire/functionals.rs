//! Functionals: what is asked of an authority.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, Kind, Reader, Writer, packed_bytes};

use super::{Artefact, IoResult};
use crate::{Bounds, Functionals, ParamsId};

/// Most functionals that a reader accepts before it looks at the bytes.
const MAX_FUNCTIONALS: usize = 1 << 24;

/// Bits that hold integers from 0 to `largest`, at least one.
fn bits(largest: u64) -> u32 {
    (u64::BITS - largest.leading_zeros()).max(1)
}

/// Bits of a number of terms, of a coordinate and of a weight.
fn sizes(bounds: &Bounds) -> [u32; 3] {
    [bits(bounds.terms() as u64), bits(bounds.dimension() as u64 - 1), bits(2 * u64::from(bounds.weight()))]
}

/// Packed: the numbers of terms of all functionals, the coordinates of all, and the weights of all, from 0 for the
/// lowest. Functionals must be within the bounds. The identifier is that of the scheme.
impl Artefact for Functionals {
    const KIND: Kind = Kind::Functionals;
    type Context<'a> = (ParamsId, &'a Bounds);

    fn params_id((id, _): Self::Context<'_>) -> ParamsId {
        id
    }

    fn body_bytes(&self, (_, bounds): Self::Context<'_>) -> u64 {
        let [terms, coordinate, weight] = sizes(bounds);
        let entries = [(self.len(), terms), (self.entries(), coordinate), (self.entries(), weight)];
        4 + entries.into_iter().map(|(count, bits)| packed_bytes(count, bits)).sum::<u64>()
    }

    fn write_body(&self, writer: &mut Writer<impl Write>, (_, bounds): Self::Context<'_>) -> IoResult {
        if self.check(bounds).is_err() {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let [terms, coordinate, weight] = sizes(bounds);
        writer.u32(self.len() as u32)?;
        writer.packed(terms, self.rows().map(|row| row.len() as u64))?;
        writer.packed(coordinate, self.rows().flatten().map(|(coordinate, _)| coordinate as u64))?;
        let least = i64::from(bounds.weight());
        writer.packed(weight, self.rows().flatten().map(|(_, weight)| (i64::from(weight) + least) as u64))
    }

    fn read_body(reader: &mut Reader<impl Read>, (_, bounds): Self::Context<'_>) -> Result<Self, DecodeError> {
        let sizes = sizes(bounds);
        let count = reader.count("functionals", 0, MAX_FUNCTIONALS)?;
        let (mut terms, mut entries) = (Vec::new(), 0);
        reader.packed(sizes[0], count, |_, found| {
            if found > bounds.terms() as u64 {
                return Err(DecodeError::TooLarge { what: "terms", found, limit: bounds.terms() as u64 });
            }
            entries += found as usize;
            terms.push(found as usize);
            Ok(())
        })?;
        let mut coordinates = Vec::new();
        reader.packed(sizes[1], entries, |_, found| {
            coordinates.push(found as u32);
            Ok(())
        })?;
        let mut weights = Vec::new();
        let least = u64::from(bounds.weight());
        reader.packed(sizes[2], entries, |_, found| {
            if found > 2 * least || found == least {
                return Err(DecodeError::Value { what: "weight", found, wanted: "within the bounds and not zero" });
            }
            weights.push((found as i64 - least as i64) as i32);
            Ok(())
        })?;
        let mut pairs = coordinates.into_iter().zip(weights);
        let rows: Vec<Vec<(u32, i32)>> = terms.into_iter().map(|count| pairs.by_ref().take(count).collect()).collect();
        let wanted = "rising coordinates below the dimension";
        Self::sparse(bounds.dimension(), rows).map_err(|_| DecodeError::Value {
            what: "functionals",
            found: count as u64,
            wanted,
        })
    }
}

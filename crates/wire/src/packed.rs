//! Integers of fewer than 64 bits, packed without gaps, lowest bit first.

use std::io::{Read, Write};

use crate::{DecodeError, Reader, Writer};

/// Bytes of `count` integers of `bits` bits each, with the last byte padded by zeros.
pub fn packed_bytes(count: usize, bits: u32) -> u64 {
    (count as u64 * u64::from(bits)).div_ceil(8)
}

const CHUNK: usize = 4096;

impl<W: Write> Writer<W> {
    /// Writes the integers that `values` yields, each below `2^bits`, `1 <= bits <= 56`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn packed(&mut self, bits: u32, values: impl IntoIterator<Item = u64>) -> std::io::Result<()> {
        debug_assert!((1..=56).contains(&bits));
        let mut chunk = [0u8; CHUNK];
        let (mut used, mut pending, mut pending_bits) = (0, 0u64, 0);
        for value in values {
            debug_assert!(value < 1 << bits);
            pending |= value << pending_bits;
            pending_bits += bits;
            let whole = pending_bits / 8;
            chunk[used..used + 8].copy_from_slice(&pending.to_le_bytes());
            used += whole as usize;
            // At most 7 bits stay, and 7 + 56 < 64.
            pending = if whole == 8 { 0 } else { pending >> (8 * whole) };
            pending_bits -= 8 * whole;
            if used + 8 > CHUNK - 8 {
                self.bytes(&chunk[..used])?;
                used = 0;
            }
        }
        self.bytes(&chunk[..used])?;
        if pending_bits > 0 { self.u8(pending as u8) } else { Ok(()) }
    }
}

impl<R: Read> Reader<R> {
    /// Reads `count` integers of `bits` bits each, `1 <= bits <= 56`, handing each to `accept` with its index.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Value`] if padding bits are set, and whatever `accept` returns.
    pub fn packed(
        &mut self,
        bits: u32,
        count: usize,
        mut accept: impl FnMut(usize, u64) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        debug_assert!((1..=56).contains(&bits));
        let mut left = packed_bytes(count, bits);
        self.demand(left)?;
        let mask = (1u64 << bits) - 1;
        let mut chunk = [0u8; CHUNK];
        let (mut filled, mut at) = (0usize, 0usize);
        let (mut pending, mut pending_bits) = (0u64, 0u32);
        for index in 0..count {
            while pending_bits < bits {
                if at == filled {
                    filled = (CHUNK as u64).min(left) as usize;
                    self.fill(&mut chunk[..filled])?;
                    left -= filled as u64;
                    at = 0;
                }
                // Take as many whole bytes as fit; the wide load may only look at bytes that are there.
                if at + 8 <= filled {
                    let mut word = [0; 8];
                    word.copy_from_slice(&chunk[at..at + 8]);
                    let room = (63 - pending_bits) / 8;
                    pending |= (u64::from_le_bytes(word) & ((1 << (8 * room)) - 1)) << pending_bits;
                    pending_bits += 8 * room;
                    at += room as usize;
                } else {
                    pending |= u64::from(chunk[at]) << pending_bits;
                    pending_bits += 8;
                    at += 1;
                }
            }
            accept(index, pending & mask)?;
            pending >>= bits;
            pending_bits -= bits;
        }
        if pending != 0 {
            return Err(DecodeError::Value { what: "padding bits", found: pending, wanted: "zero" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_round_trips(bits in 1u32..=56, words in proptest::collection::vec(any::<u64>(), 0..2000)) {
            let values: Vec<u64> = words.iter().map(|w| w & ((1 << bits) - 1)).collect();
            let mut bytes = Vec::new();
            Writer::new(&mut bytes).packed(bits, values.iter().copied()).unwrap();
            prop_assert_eq!(bytes.len() as u64, packed_bytes(values.len(), bits));
            let mut found = Vec::new();
            let mut reader = Reader::new(&*bytes, bytes.len() as u64);
            reader.packed(bits, values.len(), |_, value| { found.push(value); Ok(()) }).unwrap();
            reader.finish().unwrap();
            prop_assert_eq!(found, values);
        }
    }

    #[test]
    fn padding_bits_must_be_zero() {
        let read = |bytes: &[u8]| Reader::new(bytes, bytes.len() as u64).packed(5, 1, |_, _| Ok(()));
        assert!(read(&[0b0001_1111]).is_ok());
        assert!(matches!(read(&[0b0011_1111]), Err(DecodeError::Value { found: 1, .. })));
        assert!(matches!(read(&[]), Err(DecodeError::Truncated { wanted: 1, left: 0 })));
    }
}

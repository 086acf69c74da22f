use std::io::Read;

use crate::DecodeError;

/// Bytes by which a byte string grows.
const CHUNK: usize = 1 << 16;

/// Little-endian values from a source, with a budget of bytes.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    left: u64,
}

impl<R: Read> Reader<R> {
    /// A reader of at most `budget` bytes of `source`.
    pub fn new(source: R, budget: u64) -> Self {
        Self { source, left: budget }
    }

    /// Bytes of the budget not yet read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Checks that `wanted` more bytes are within the budget: to be called before an allocation that they fill.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if they are not.
    pub fn demand(&self, wanted: u64) -> Result<(), DecodeError> {
        if wanted > self.left { Err(DecodeError::Truncated { wanted, left: self.left }) } else { Ok(()) }
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if the budget or the source ends early, [`DecodeError::Io`] if reading fails.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), DecodeError> {
        let wanted = out.len() as u64;
        self.demand(wanted)?;
        // Not `read_exact`, which does not tell how much there was.
        let mut filled = 0;
        while filled < out.len() {
            match self.source.read(&mut out[filled..]) {
                Ok(0) => return Err(DecodeError::Truncated { wanted, left: filled as u64 }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DecodeError::Io(error)),
            }
        }
        self.left -= wanted;
        Ok(())
    }

    /// An array of bytes.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.bytes()?))
    }

    /// A `u16`.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.bytes()?))
    }

    /// A `u32`.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// A `u64`.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// An `i32`.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.bytes()?))
    }

    /// A finite `f64`.
    ///
    /// # Errors
    /// As [`fill`](Self::fill), and [`DecodeError::Value`] for infinities and not-a-number.
    pub fn f64(&mut self, what: &'static str) -> Result<f64, DecodeError> {
        let value = f64::from_le_bytes(self.bytes()?);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(DecodeError::Value { what, found: value.to_bits(), wanted: "a finite number" })
        }
    }

    /// A `u32` count of things that take at least `bytes_each` bytes of what is left, and are at most `limit`.
    ///
    /// # Errors
    /// As [`fill`](Self::fill), [`DecodeError::TooLarge`] beyond the limit, [`DecodeError::Truncated`] if they cannot
    /// all be there.
    pub fn count(&mut self, what: &'static str, bytes_each: u64, limit: usize) -> Result<usize, DecodeError> {
        let found = self.u32()?;
        if u64::from(found) > limit as u64 {
            return Err(DecodeError::TooLarge { what, found: found.into(), limit: limit as u64 });
        }
        self.demand(u64::from(found).saturating_mul(bytes_each))?;
        Ok(found as usize)
    }

    /// A byte string: `u32` length, then the bytes. Memory grows with the bytes that arrive, not with the length that
    /// is claimed.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn byte_string(&mut self, what: &'static str, limit: usize) -> Result<Vec<u8>, DecodeError> {
        let length = self.count(what, 1, limit)?;
        let mut out = Vec::new();
        while out.len() < length {
            let at = out.len();
            out.resize(length.min(at + CHUNK), 0);
            self.fill(&mut out[at..])?;
        }
        Ok(out)
    }

    /// Ends the reading: budget and source must both be at their end.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if part of the budget was not read, [`DecodeError::Continues`] if the source goes on.
    pub fn finish(mut self) -> Result<(), DecodeError> {
        if self.left != 0 {
            return Err(DecodeError::Trailing(self.left));
        }
        match self.source.read_exact(&mut [0]) {
            Ok(()) => Err(DecodeError::Continues),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(DecodeError::Io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_or_allocated_beyond_the_budget() {
        let bytes = [1u8, 0, 0, 0, 2];
        let mut reader = Reader::new(&bytes[..], 5);
        assert_eq!(reader.u32().unwrap(), 1);
        assert!(matches!(reader.u16(), Err(DecodeError::Truncated { wanted: 2, left: 1 })));
        assert!(matches!(reader.finish(), Err(DecodeError::Trailing(1))));
        assert!(matches!(Reader::new(&bytes[..], 0).finish(), Err(DecodeError::Continues)));
        Reader::new(&bytes[..0], 0).finish().unwrap();

        let claim = u32::MAX.to_le_bytes();
        let mut reader = Reader::new(&claim[..], 4);
        assert!(matches!(reader.byte_string("name", 10), Err(DecodeError::TooLarge { limit: 10, .. })));
        let mut reader = Reader::new(&claim[..], 4);
        assert!(matches!(reader.byte_string("name", usize::MAX), Err(DecodeError::Truncated { left: 0, .. })));
        // A budget larger than the source is found out when the source ends.
        let mut reader = Reader::new(&bytes[..], 100);
        reader.u16().unwrap();
        assert!(matches!(reader.bytes::<9>(), Err(DecodeError::Truncated { wanted: 9, left: 3 })));
        let mut reader = Reader::new(&claim[..], 4);
        assert!(matches!(reader.count("wide things", u64::MAX, usize::MAX), Err(DecodeError::Truncated { .. })));
        let text = [&5u32.to_le_bytes()[..], b"hello"].concat();
        assert_eq!(Reader::new(&*text, 9).byte_string("name", 5).unwrap(), b"hello");
        let infinite = f64::INFINITY.to_le_bytes();
        assert!(matches!(Reader::new(&infinite[..], 8).f64("bias"), Err(DecodeError::Value { what: "bias", .. })));
    }
}

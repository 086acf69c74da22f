use std::io::{Result, Write};

/// Little-endian values into a sink, counted.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// A writer into `sink`.
    pub fn new(sink: W) -> Self {
        Self { sink, written: 0 }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.sink.write_all(bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn u8(&mut self, value: u8) -> Result<()> {
        self.bytes(&[value])
    }

    /// A `u16`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn u16(&mut self, value: u16) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// A `u32`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn u32(&mut self, value: u32) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// A `u64`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn u64(&mut self, value: u64) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// An `i32`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn i32(&mut self, value: i32) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// An `f64`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn f64(&mut self, value: f64) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// A byte string: `u32` length, then the bytes.
    ///
    /// # Errors
    /// Those of the sink; `InvalidInput` if the length does not fit a `u32`.
    pub fn byte_string(&mut self, bytes: &[u8]) -> Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        self.u32(length)?;
        self.bytes(bytes)
    }

    /// The sink.
    pub fn into_inner(self) -> W {
        self.sink
    }
}

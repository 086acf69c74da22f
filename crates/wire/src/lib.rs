//! Bytes to values and back: the one gate through which foreign bytes enter.
//!
//! Every artefact begins with a 16-byte header: magic `u32`, kind `u16`, version `u16`, length `u64` of what follows,
//! all little-endian. A [`Reader`] carries the number of bytes that may still be read, at most a limit that the
//! caller sets, so a decoder can bound every allocation, and [`Reader::finish`] refuses what is left over.

#![forbid(unsafe_code)]

mod error;
mod header;
mod packed;
mod reader;
mod writer;

pub use error::DecodeError;
pub use header::{HEADER_BYTES, Header, Kind};
pub use packed::packed_bytes;
pub use reader::Reader;
pub use writer::Writer;

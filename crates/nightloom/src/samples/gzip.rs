//! A gzip stream around an IDX or NumPy array.

use std::io::{BufRead, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::array::ArrayReader;
use super::{Format, SamplesProblem, Start, idx, npy};

pub(super) type Inflated<R> = Chain<Cursor<Vec<u8>>, MultiGzDecoder<R>>;

pub(super) fn read<R: BufRead>(reader: R) -> Result<ArrayReader<Inflated<R>>, SamplesProblem> {
    let mut inflated = MultiGzDecoder::new(reader);
    let start = Start::read(&mut inflated)?;
    let format = start.format();
    let whole = Cursor::new(start.to_vec()).chain(inflated);
    // What a compressed stream claims about its length is not evidence, so nothing is reserved ahead.
    match format {
        Some(Format::Idx) => idx::read(None, whole),
        Some(Format::Npy) => npy::read(None, whole),
        _ => Err(SamplesProblem::UnknownFormat { start: start.to_vec(), wanted: "an IDX or NumPy file inside gzip" }),
    }
}

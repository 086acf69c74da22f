//! IDX, the format of the MNIST files: `0 0 type axes`, the axis lengths as big-endian `u32`, then the numbers,
//! big-endian and row-major.

use std::io::Read;

use super::array::{ArrayReader, AxisOrder, ByteOrder, ElementType, Header, read_up_to};
use super::{MAX_AXES, SamplesProblem, Shape};

pub(super) fn element_of(code: u8) -> Option<ElementType> {
    match code {
        0x08 => Some(ElementType::U8),
        0x09 => Some(ElementType::I8),
        0x0b => Some(ElementType::I16),
        0x0c => Some(ElementType::I32),
        0x0d => Some(ElementType::F32),
        0x0e => Some(ElementType::F64),
        _ => None,
    }
}

/// `available`: bytes from here to the end, if known.
pub(super) fn read<R: Read>(available: Option<u64>, mut reader: R) -> Result<ArrayReader<R>, SamplesProblem> {
    let mut start = [0; 4];
    if read_up_to(&mut reader, &mut start)? < start.len() {
        return Err(SamplesProblem::TruncatedHeader);
    }
    let [0, 0, code, axes] = start else {
        return Err(SamplesProblem::UnknownFormat { start: start.to_vec(), wanted: "an IDX file" });
    };
    let element = element_of(code)
        .ok_or_else(|| SamplesProblem::UnknownFormat { start: start.to_vec(), wanted: "an IDX file" })?;
    if usize::from(axes) > MAX_AXES {
        return Err(SamplesProblem::TooManyAxes { found: axes.into() });
    }
    let mut shape = Vec::with_capacity(axes.into());
    for _ in 0..axes {
        let mut axis = [0; 4];
        if read_up_to(&mut reader, &mut axis)? < axis.len() {
            return Err(SamplesProblem::TruncatedHeader);
        }
        shape.push(u32::from_be_bytes(axis) as usize);
    }
    let header =
        Header { shape: Shape::from(shape), element, byte_order: ByteOrder::Big, axis_order: AxisOrder::RowMajor };
    let header_bytes = 4 + 4 * u64::from(axes);
    ArrayReader::new(header, reader, available.map(|bytes| bytes.saturating_sub(header_bytes)))
}

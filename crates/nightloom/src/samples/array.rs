//! The arrays behind NumPy and IDX files: a header that says what follows, then plain numbers.

use std::fmt;
use std::io::Read;

use super::{MAX_BYTES, SampleValues, SamplesProblem, Shape};

/// The type of the numbers in an array file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum ElementType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl ElementType {
    pub(super) fn bytes(self) -> u64 {
        match self {
            ElementType::U8 | ElementType::I8 => 1,
            ElementType::U16 | ElementType::I16 => 2,
            ElementType::U32 | ElementType::I32 | ElementType::F32 => 4,
            ElementType::U64 | ElementType::I64 | ElementType::F64 => 8,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::U8 => "uint8",
            ElementType::I8 => "int8",
            ElementType::U16 => "uint16",
            ElementType::I16 => "int16",
            ElementType::U32 => "uint32",
            ElementType::I32 => "int32",
            ElementType::U64 => "uint64",
            ElementType::I64 => "int64",
            ElementType::F32 => "float32",
            ElementType::F64 => "float64",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

/// Which axis runs fastest in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AxisOrder {
    /// The last: rows are contiguous.
    RowMajor,
    /// The first: columns are contiguous (Fortran).
    ColumnMajor,
}

/// What a header says about the numbers after it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub shape: Shape,
    pub element: ElementType,
    pub byte_order: ByteOrder,
    pub axis_order: AxisOrder,
}

/// An array in memory, row-major.
#[derive(Debug)]
pub(super) struct Array<V> {
    pub shape: Shape,
    pub values: V,
}

/// An array whose header has been read and whose numbers come next from `reader`.
pub(super) struct ArrayReader<R> {
    header: Header,
    reader: R,
    /// Bytes that `reader` has left, where that is known without trusting the file.
    available: Option<u64>,
    elements: usize,
}

impl<R: Read> ArrayReader<R> {
    /// # Errors
    /// [`SamplesProblem::TooLarge`], [`SamplesProblem::TooManyAxes`], or [`SamplesProblem::Truncated`] if `available`
    /// is less than the shape takes.
    pub fn new(header: Header, reader: R, available: Option<u64>) -> Result<Self, SamplesProblem> {
        let elements = header.shape.elements()?;
        let wanted = elements as u64 * header.element.bytes();
        if wanted > MAX_BYTES {
            return Err(SamplesProblem::TooLarge { shape: header.shape });
        }
        if let Some(found) = available
            && found < wanted
        {
            return Err(SamplesProblem::Truncated { found, wanted, shape: header.shape });
        }
        Ok(ArrayReader { header, reader, available, elements })
    }

    /// Reads bytes, floats or doubles.
    pub fn into_samples(mut self) -> Result<Array<SampleValues>, SamplesProblem> {
        let values = match self.header.element {
            ElementType::U8 => SampleValues::Pixels(self.numbers(|[byte]: [u8; 1]| byte)?),
            ElementType::F32 => SampleValues::Singles(self.numbers(f32::from_le_bytes)?),
            ElementType::F64 => SampleValues::Doubles(self.numbers(f64::from_le_bytes)?),
            found => {
                return Err(SamplesProblem::Elements {
                    found,
                    wanted: "uint8 (pixels), float32 or float64 (model values)",
                });
            }
        };
        Ok(Array { shape: self.header.shape, values })
    }

    /// Reads whole numbers of any width, one axis.
    pub fn into_integers(mut self) -> Result<Vec<i128>, SamplesProblem> {
        if self.header.shape.as_slice().len() != 1 {
            return Err(SamplesProblem::LabelAxes { found: self.header.shape });
        }
        if self.elements as u64 > MAX_BYTES / size_of::<i128>() as u64 {
            return Err(SamplesProblem::TooLarge { shape: self.header.shape });
        }
        match self.header.element {
            ElementType::U8 => self.numbers(|[byte]: [u8; 1]| i128::from(byte)),
            ElementType::I8 => self.numbers(|bytes| i128::from(i8::from_le_bytes(bytes))),
            ElementType::U16 => self.numbers(|bytes| i128::from(u16::from_le_bytes(bytes))),
            ElementType::I16 => self.numbers(|bytes| i128::from(i16::from_le_bytes(bytes))),
            ElementType::U32 => self.numbers(|bytes| i128::from(u32::from_le_bytes(bytes))),
            ElementType::I32 => self.numbers(|bytes| i128::from(i32::from_le_bytes(bytes))),
            ElementType::U64 => self.numbers(|bytes| i128::from(u64::from_le_bytes(bytes))),
            ElementType::I64 => self.numbers(|bytes| i128::from(i64::from_le_bytes(bytes))),
            found => Err(SamplesProblem::Elements { found, wanted: "whole numbers" }),
        }
    }

    /// Reads all numbers of `W` bytes each through `from_le`, to the end of the input, in row-major order.
    fn numbers<const W: usize, T: Copy>(&mut self, from_le: impl Fn([u8; W]) -> T) -> Result<Vec<T>, SamplesProblem> {
        debug_assert_eq!(W as u64, self.header.element.bytes());
        let wanted = self.elements as u64 * W as u64;
        // With the bytes known to be there, reserve once; else let the vector grow with what arrives.
        let reserve = if self.available.is_some() { self.elements } else { 0 };
        let mut values = Vec::with_capacity(reserve);
        let mut buffer = [0; 1 << 15];
        let mut found = 0;
        while found < wanted {
            let take = (wanted - found).min(buffer.len() as u64) as usize;
            let count = read_up_to(&mut self.reader, &mut buffer[..take])?;
            if count < take {
                return Err(SamplesProblem::Truncated {
                    found: found + count as u64,
                    wanted,
                    shape: self.header.shape.clone(),
                });
            }
            let (words, _) = buffer[..take].as_chunks::<W>();
            values.extend(words.iter().map(|&word| {
                let mut word = word;
                if self.header.byte_order == ByteOrder::Big {
                    word.reverse();
                }
                from_le(word)
            }));
            found += count as u64;
        }
        // Asking for one byte more also makes a decompressor check its sum.
        if read_up_to(&mut self.reader, &mut [0])? != 0 {
            return Err(SamplesProblem::Trailing { wanted, shape: self.header.shape.clone() });
        }
        Ok(match self.header.axis_order {
            AxisOrder::RowMajor => values,
            AxisOrder::ColumnMajor => to_row_major(&values, self.header.shape.as_slice()),
        })
    }
}

/// Reads until `buffer` is full or the input ends; returns the number of bytes read.
pub(super) fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// `values` must fill `shape`; then no stride overflows, as long as there is a value.
fn to_row_major<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &axis in shape {
        strides.push(stride);
        stride *= axis;
    }
    let mut index = vec![0; shape.len()];
    let mut offset = 0;
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        out.push(values[offset]);
        // Count up, the last axis fastest, keeping the offset in step.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

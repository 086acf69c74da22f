//! NumPy's `.npy`, versions 1 to 3 (`numpy.lib.format`).
//!
//! The header is a Python dictionary. Only its three known keys with plain values are read, by hand: a general
//! literal parser recurses as deep as the file says.

use std::io::Read;

use super::array::{ArrayReader, AxisOrder, ByteOrder, ElementType, Header, read_up_to};
use super::{SamplesProblem, Shape};

/// The longest header that is read, in bytes. NumPy writes 118 for plain arrays.
const MAX_HEADER: usize = 1 << 16;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// What cannot be understood in the header of a NumPy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NpyFault {
    /// Not the magic bytes of the format.
    #[error("wrong magic bytes")]
    Magic,
    /// A version other than 1.0, 2.0 and 3.0.
    #[error("version {major}.{minor}, wanted 1.0, 2.0 or 3.0")]
    Version {
        /// Major version in the file.
        major: u8,
        /// Minor version in the file.
        minor: u8,
    },
    /// A header longer than is ever read.
    #[error("{found} bytes long, wanted at most {MAX_HEADER}")]
    TooLong {
        /// Length in the file.
        found: u32,
    },
    /// Text that is not the dictionary that NumPy writes.
    #[error("wanted {wanted} at byte {offset}")]
    Syntax {
        /// What was wanted.
        wanted: &'static str,
        /// Where, from the beginning of the dictionary.
        offset: usize,
    },
    /// A key twice.
    #[error("the key {key:?} stands twice")]
    DuplicateKey {
        /// The key.
        key: &'static str,
    },
    /// A key too few.
    #[error("the key {key:?} is missing")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// An element type that is not a plain number.
    #[error("element type {descr:?}, wanted a plain number such as \"<f4\" or \"|u1\"")]
    ElementType {
        /// The type in NumPy's words.
        descr: String,
    },
}

/// `available`: bytes from here to the end, if known.
pub(super) fn read<R: Read>(available: Option<u64>, mut reader: R) -> Result<ArrayReader<R>, SamplesProblem> {
    let mut start = [0; 8];
    fill(&mut reader, &mut start)?;
    let [magic @ .., major, minor] = &start;
    if magic != MAGIC {
        return Err(NpyFault::Magic.into());
    }
    let (length, prefix) = match (major, minor) {
        (1, 0) => {
            let mut bytes = [0; 2];
            fill(&mut reader, &mut bytes)?;
            (u32::from(u16::from_le_bytes(bytes)), 10)
        }
        (2 | 3, 0) => {
            let mut bytes = [0; 4];
            fill(&mut reader, &mut bytes)?;
            (u32::from_le_bytes(bytes), 12)
        }
        (&major, &minor) => return Err(NpyFault::Version { major, minor }.into()),
    };
    if length as usize > MAX_HEADER {
        return Err(NpyFault::TooLong { found: length }.into());
    }
    let mut text = vec![0; length as usize];
    fill(&mut reader, &mut text)?;
    let header = Parser { text: &text, at: 0 }.header()?;
    let header_bytes = prefix + u64::from(length);
    ArrayReader::new(header, reader, available.map(|bytes| bytes.saturating_sub(header_bytes)))
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), SamplesProblem> {
    if read_up_to(reader, buffer)? < buffer.len() {
        return Err(SamplesProblem::TruncatedHeader);
    }
    Ok(())
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn header(mut self) -> Result<Header, NpyFault> {
        let (mut descr, mut order, mut shape) = (None, None, None);
        self.expect(b'{', "\"{\"")?;
        while !self.take(b'}') {
            let at = self.at;
            let (key, twice) = match self.string()? {
                b"descr" => {
                    self.expect(b':', "\":\"")?;
                    ("descr", descr.replace(self.string()?).is_some())
                }
                b"fortran_order" => {
                    self.expect(b':', "\":\"")?;
                    ("fortran_order", order.replace(self.axis_order()?).is_some())
                }
                b"shape" => {
                    self.expect(b':', "\":\"")?;
                    ("shape", shape.replace(self.shape()?).is_some())
                }
                _ => {
                    let wanted = "the key descr, fortran_order or shape";
                    return Err(NpyFault::Syntax { wanted, offset: at });
                }
            };
            if twice {
                return Err(NpyFault::DuplicateKey { key });
            }
            if !self.take(b',') {
                self.expect(b'}', "\",\" or \"}\"")?;
                break;
            }
        }
        self.skip_space();
        if self.at != self.text.len() {
            return Err(self.wanted("nothing more"));
        }
        let missing = |key| NpyFault::MissingKey { key };
        let (byte_order, element) = element(descr.ok_or(missing("descr"))?)?;
        Ok(Header {
            shape: shape.ok_or(missing("shape"))?,
            element,
            byte_order,
            axis_order: order.ok_or(missing("fortran_order"))?,
        })
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, wanted: &'static str) -> Result<(), NpyFault> {
        if self.take(byte) { Ok(()) } else { Err(self.wanted(wanted)) }
    }

    fn wanted(&self, wanted: &'static str) -> NpyFault {
        NpyFault::Syntax { wanted, offset: self.at }
    }

    /// A string in single or double quotes; none that is wanted here contains an escape.
    fn string(&mut self) -> Result<&'a [u8], NpyFault> {
        let quote = if self.take(b'\'') {
            b'\''
        } else if self.take(b'"') {
            b'"'
        } else {
            return Err(self.wanted("a quoted string"));
        };
        let rest = &self.text[self.at..];
        let Some(len) = rest.iter().position(|&byte| byte == quote) else {
            return Err(self.wanted("the end of the string"));
        };
        self.at += len + 1;
        Ok(&rest[..len])
    }

    fn axis_order(&mut self) -> Result<AxisOrder, NpyFault> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let (order, len) = if rest.starts_with(b"False") {
            (AxisOrder::RowMajor, 5)
        } else if rest.starts_with(b"True") {
            (AxisOrder::ColumnMajor, 4)
        } else {
            return Err(self.wanted("True or False"));
        };
        self.at += len;
        Ok(order)
    }

    fn shape(&mut self) -> Result<Shape, NpyFault> {
        let mut axes = Vec::new();
        self.expect(b'(', "\"(\"")?;
        while !self.take(b')') {
            axes.push(self.length()?);
            if !self.take(b',') {
                self.expect(b')', "\",\" or \")\"")?;
                break;
            }
        }
        Ok(Shape::from(axes))
    }

    fn length(&mut self) -> Result<usize, NpyFault> {
        self.skip_space();
        let wanted = "a length below 2^63";
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = str::from_utf8(&self.text[self.at..self.at + digits])
            .ok()
            .and_then(|digits| digits.parse::<i64>().ok())
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(self.wanted(wanted))?;
        self.at += digits;
        // Python 2 wrote long integers as `28L`.
        if self.text.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(length)
    }
}

fn element(descr: &[u8]) -> Result<(ByteOrder, ElementType), NpyFault> {
    let unknown = || NpyFault::ElementType { descr: String::from_utf8_lossy(descr).into_owned() };
    let [order, code @ ..] = descr else {
        return Err(unknown());
    };
    let element = match code {
        b"u1" => ElementType::U8,
        b"i1" => ElementType::I8,
        b"u2" => ElementType::U16,
        b"i2" => ElementType::I16,
        b"u4" => ElementType::U32,
        b"i4" => ElementType::I32,
        b"u8" => ElementType::U64,
        b"i8" => ElementType::I64,
        b"f4" => ElementType::F32,
        b"f8" => ElementType::F64,
        _ => return Err(unknown()),
    };
    match order {
        b'<' => Ok((ByteOrder::Little, element)),
        b'>' => Ok((ByteOrder::Big, element)),
        b'|' if element.bytes() == 1 => Ok((ByteOrder::Little, element)),
        _ => Err(unknown()),
    }
}

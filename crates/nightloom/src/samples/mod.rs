//! Samples, labels and tables from the files people already have: NumPy, IDX, PNG and CSV.
//!
//! The format is found from the first bytes of a file, never from its name. Whatever the bytes say, memory is
//! reserved only for values that are present, up to [`MAX_BYTES`].

mod array;
mod error;
mod features;
mod gzip;
mod idx;
mod labels;
mod npy;
mod npz;
mod picture;
mod shape;
mod table;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use array::ElementType;
use array::{Array, read_up_to};
pub use error::{SamplesError, SamplesProblem};
pub use features::{Chunk, Chunks, Features, Scaling};
pub use labels::read_labels;
pub use npy::NpyFault;
pub use shape::{MAX_AXES, Shape};
pub use table::{Column, Missing, Table, decode_table, read_table};

/// The most memory that the values of one input may take, in bytes: 4 GiB.
pub const MAX_BYTES: u64 = 4 << 30;

/// The values of all samples, one after the other, each in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValues {
    /// Bytes of an image, 0 to 255. [`Scaling`] turns them into what the model takes.
    Pixels(Vec<u8>),
    /// Single-precision numbers in the model's own units, all finite.
    Singles(Vec<f32>),
    /// Double-precision numbers in the model's own units, all finite.
    Doubles(Vec<f64>),
}

impl SampleValues {
    /// The number of values of all samples together.
    pub fn len(&self) -> usize {
        match self {
            SampleValues::Pixels(values) => values.len(),
            SampleValues::Singles(values) => values.len(),
            SampleValues::Doubles(values) => values.len(),
        }
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, range: Range<usize>) -> Self {
        match self {
            SampleValues::Pixels(values) => SampleValues::Pixels(values[range].to_vec()),
            SampleValues::Singles(values) => SampleValues::Singles(values[range].to_vec()),
            SampleValues::Doubles(values) => SampleValues::Doubles(values[range].to_vec()),
        }
    }

    fn first_not_finite(&self) -> Option<(usize, f64)> {
        match self {
            SampleValues::Pixels(_) => None,
            SampleValues::Singles(values) => {
                values.iter().position(|x| !x.is_finite()).map(|index| (index, values[index].into()))
            }
            SampleValues::Doubles(values) => {
                values.iter().position(|x| !x.is_finite()).map(|index| (index, values[index]))
            }
        }
    }
}

/// One or more samples of equal shape, and where they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    origin: PathBuf,
    shape: Shape,
    count: usize,
    names: Option<Vec<String>>,
    skipped: usize,
    values: SampleValues,
}

impl Samples {
    /// Samples of shape `shape` each, made in memory; as many as `values` fills. Errors will name `origin`.
    ///
    /// # Errors
    /// [`SamplesError`] if `values` is empty, does not fill whole samples, or holds a number that is not finite.
    pub fn new(origin: impl Into<PathBuf>, shape: &[usize], values: SampleValues) -> Result<Samples, SamplesError> {
        let origin = origin.into();
        Samples::checked(&origin, shape, values).map_err(|problem| problem.at(&origin))
    }

    fn checked(origin: &Path, shape: &[usize], values: SampleValues) -> Result<Samples, SamplesProblem> {
        let shape = Shape::from(shape);
        let width = shape.elements()?;
        if width == 0 || values.is_empty() {
            return Err(SamplesProblem::NoValues { shape });
        }
        if !values.len().is_multiple_of(width) {
            return Err(SamplesProblem::PartialSample { values: values.len(), shape });
        }
        if let Some((index, found)) = values.first_not_finite() {
            return Err(SamplesProblem::NotFinite { sample: index / width, element: index % width, found });
        }
        Ok(Samples { origin: origin.to_owned(), count: values.len() / width, shape, names: None, skipped: 0, values })
    }

    /// Splits an array along its first axis, which counts the samples.
    fn from_array(origin: &Path, array: Array<SampleValues>) -> Result<Samples, SamplesProblem> {
        let [_, shape @ ..] = array.shape.as_slice() else {
            return Err(SamplesProblem::NoSampleAxis);
        };
        Samples::checked(origin, shape, array.values)
    }

    /// The file or folder that the samples were read from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The number of samples, at least one.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Always `false`: an input without samples is an error when it is read.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The shape of one sample, such as `[28, 28]` or `[3, 32, 32]` (channels first).
    pub fn shape(&self) -> &[usize] {
        self.shape.as_slice()
    }

    /// The values of all samples, one sample after the other.
    pub fn values(&self) -> &SampleValues {
        &self.values
    }

    /// Some of the samples.
    ///
    /// # Panics
    /// If the range is empty, or there are not so many samples.
    pub fn part(&self, samples: Range<usize>) -> Self {
        assert!(!samples.is_empty() && samples.end <= self.count, "{samples:?} of {} samples", self.count);
        let width = self.values.len() / self.count;
        Samples {
            origin: self.origin.clone(),
            shape: self.shape.clone(),
            count: samples.len(),
            names: self.names.as_ref().map(|names| names[samples.clone()].to_vec()),
            skipped: self.skipped,
            values: self.values.part(samples.start * width..samples.end * width),
        }
    }

    /// The file name of each sample, if the samples came from a folder of images.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The number of entries of a folder that are no samples: files of other names than `*.png`, and folders. Those whose
    /// names begin with a dot do not count.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

/// The names of the `*.png` files of a folder in the order in which [`read`] takes them as samples.
///
/// # Errors
/// [`SamplesError`] if there is none, or the folder cannot be read.
pub fn picture_names(folder: impl AsRef<Path>) -> Result<Vec<String>, SamplesError> {
    let folder = folder.as_ref();
    picture::names(folder).map_err(|problem| problem.at(folder))
}

/// Reads samples from a file or a folder.
///
/// | input | samples |
/// |---|---|
/// | NumPy `.npy` | the first axis counts samples; `uint8` are pixels, `float32` and `float64` are model values |
/// | NumPy `.npz` | its only array, or the one named in `file.npz:name` |
/// | IDX, plain or gzip | the first axis counts samples; unsigned bytes, floats or doubles |
/// | PNG | one sample, `[height, width]` or `[3, height, width]` bytes; 16-bit channels keep their high byte |
/// | a folder | its `*.png` files, in the natural order of their names (`2.png` before `10.png`), all of one shape |
///
/// # Errors
/// [`SamplesError`] names the file, what was found and what was wanted.
pub fn read(path: impl AsRef<Path>) -> Result<Samples, SamplesError> {
    let path = path.as_ref();
    let (path, member) = npz::split_member(path);
    let open = || -> Result<Samples, SamplesProblem> {
        if fs::metadata(&path)?.is_dir() {
            return picture::read_folder(&path);
        }
        let reader = BufReader::with_capacity(1 << 16, File::open(&path)?);
        decode_stream(reader, &path, member.as_deref())
    };
    open().map_err(|problem| problem.at(&path))
}

/// Reads samples from the bytes of a file in any format that [`read`] takes. Errors will name `origin`.
///
/// # Errors
/// [`SamplesError`], as [`read`].
pub fn decode(bytes: &[u8], origin: impl AsRef<Path>) -> Result<Samples, SamplesError> {
    let origin = origin.as_ref();
    decode_stream(Cursor::new(bytes), origin, None).map_err(|problem| problem.at(origin))
}

fn decode_stream(
    mut reader: impl BufRead + Seek,
    origin: &Path,
    member: Option<&str>,
) -> Result<Samples, SamplesProblem> {
    let start = Start::peek(&mut reader)?;
    if member.is_some() && start.format() != Some(Format::Npz) {
        return Err(SamplesProblem::NotNpz { start: start.to_vec() });
    }
    let array = match start.format() {
        Some(Format::Npy) => npy::read(reader.remaining()?, reader)?.into_samples()?,
        Some(Format::Npz) => npz::read(reader, member)?.into_samples()?,
        Some(Format::Idx) => idx::read(reader.remaining()?, reader)?.into_samples()?,
        Some(Format::Gzip) => gzip::read(reader)?.into_samples()?,
        Some(Format::Png) => return picture::read_one(reader, origin),
        None => {
            return Err(SamplesProblem::UnknownFormat {
                start: start.to_vec(),
                wanted: "a NumPy, IDX, gzip or PNG file",
            });
        }
    };
    Samples::from_array(origin, array)
}

/// What the first bytes of a file say it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Npy,
    Npz,
    Idx,
    Gzip,
    Png,
}

/// The first bytes of a file, at most eight.
struct Start {
    bytes: [u8; 8],
    len: usize,
}

impl Start {
    fn read(reader: &mut impl Read) -> Result<Start, SamplesProblem> {
        let mut bytes = [0; 8];
        let len = read_up_to(reader, &mut bytes)?;
        Ok(Start { bytes, len })
    }

    fn peek(reader: &mut (impl Read + Seek)) -> Result<Start, SamplesProblem> {
        let start = Start::read(reader)?;
        reader.rewind()?;
        Ok(start)
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn to_vec(&self) -> Vec<u8> {
        self.as_slice().to_vec()
    }

    fn format(&self) -> Option<Format> {
        match self.as_slice() {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(Format::Npy),
            // The second is the end record of an archive that holds nothing.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Format::Npz),
            [0x1f, 0x8b, ..] => Some(Format::Gzip),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'] => Some(Format::Png),
            [0, 0, code, _, ..] if idx::element_of(*code).is_some() => Some(Format::Idx),
            _ => None,
        }
    }
}

trait Remaining {
    /// The bytes between the position and the end.
    fn remaining(&mut self) -> io::Result<Option<u64>>;
}

impl<R: Seek> Remaining for R {
    fn remaining(&mut self) -> io::Result<Option<u64>> {
        let here = self.stream_position()?;
        let end = self.seek(SeekFrom::End(0))?;
        self.seek(SeekFrom::Start(here))?;
        Ok(Some(end.saturating_sub(here)))
    }
}

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::array::ElementType;
use super::{MAX_AXES, MAX_BYTES, NpyFault, Shape};

/// Why samples or labels could not be read, and from where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct SamplesError {
    /// The file or folder that was read.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: SamplesProblem,
}

/// What is wrong with an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesProblem {
    /// The file cannot be read, or its compressed stream is damaged.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first bytes belong to no known format.
    #[error("starts with {}, wanted {wanted}", Hex(start))]
    UnknownFormat {
        /// The first bytes, at most eight.
        start: Vec<u8>,
        /// The formats that are read here.
        wanted: &'static str,
    },
    /// `file.npz:name` was asked for, and the file is not a zip archive.
    #[error("starts with {}, wanted the .npz archive that FILE.npz:NAME asks for", Hex(start))]
    NotNpz {
        /// The first bytes, at most eight.
        start: Vec<u8>,
    },
    /// The header of a NumPy file cannot be understood.
    #[error("NumPy header: {0}")]
    Npy(#[from] NpyFault),
    /// The zip container of an `.npz` file is damaged.
    #[error("zip archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// An `.npz` file without the array asked for.
    #[error("holds no array {wanted}, only {}", List(found))]
    NoSuchArray {
        /// The name asked for.
        wanted: String,
        /// The arrays in the archive, without `.npy`.
        found: Vec<String>,
    },
    /// An `.npz` file with several arrays, or none, and no name given.
    #[error("holds {} arrays ({}), wanted one, or FILE.npz:NAME", found.len(), List(found))]
    WhichArray {
        /// The arrays in the archive, without `.npy`.
        found: Vec<String>,
    },
    /// A PNG file is damaged.
    #[error("PNG: {}", without_debug(&.0.to_string()))]
    Png(#[from] png::DecodingError),
    /// A PNG file has a pixel that lets the background through, so its colour is not known.
    #[error("the pixel in row {row}, column {column} is {alpha}/255 opaque, wanted an image without transparency")]
    Transparent {
        /// Row from the top, from 0.
        row: usize,
        /// Column from the left, from 0.
        column: usize,
        /// Opacity of the pixel, 0 to 254.
        alpha: u8,
    },
    /// A PNG file of more pixels than are ever read.
    #[error("{width}x{height} pixels, wanted at most {limit} values in one image")]
    PictureTooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The most channel values of one image.
        limit: usize,
    },
    /// A folder without PNG files.
    #[error("holds no file named *.png")]
    NoPictures,
    /// One image of a folder is damaged.
    #[error("{}: {problem}", name.display())]
    Picture {
        /// File name within the folder.
        name: PathBuf,
        /// What is wrong with that file.
        problem: Box<SamplesProblem>,
    },
    /// The images of a folder differ in shape.
    #[error("{name} is {found}, wanted {wanted} like {first}")]
    PicturesDiffer {
        /// File name of the image that differs.
        name: String,
        /// Its shape.
        found: Shape,
        /// File name of the first image.
        first: String,
        /// The shape of the first image.
        wanted: Shape,
    },
    /// An array of a type that is not read here.
    #[error("elements are {found}, wanted {wanted}")]
    Elements {
        /// The type in the file.
        found: ElementType,
        /// The types that are read here.
        wanted: &'static str,
    },
    /// More axes than [`MAX_AXES`].
    #[error("{found} axes, wanted at most {MAX_AXES}")]
    TooManyAxes {
        /// The number of axes in the file.
        found: usize,
    },
    /// More bytes of values than [`MAX_BYTES`].
    #[error("an array of shape {shape} takes more than the limit of {MAX_BYTES} bytes")]
    TooLarge {
        /// The shape in the file.
        shape: Shape,
    },
    /// A header that ends early.
    #[error("ends within the header")]
    TruncatedHeader,
    /// Fewer bytes of values than the shape takes.
    #[error("holds {found} bytes of values, wanted {wanted} for shape {shape}")]
    Truncated {
        /// Bytes present.
        found: u64,
        /// Bytes that the shape takes.
        wanted: u64,
        /// The shape in the file.
        shape: Shape,
    },
    /// Bytes after the last value.
    #[error("goes on after the {wanted} bytes of values for shape {shape}")]
    Trailing {
        /// Bytes that the shape takes.
        wanted: u64,
        /// The shape in the file.
        shape: Shape,
    },
    /// An array without axes, so nothing counts the samples.
    #[error("holds a single number, wanted an array whose first axis counts samples")]
    NoSampleAxis,
    /// No sample, or samples without values.
    #[error("holds no values (shape of one sample: {shape})")]
    NoValues {
        /// The shape of one sample.
        shape: Shape,
    },
    /// Values that do not make whole samples.
    #[error("{values} values are not a whole number of samples of shape {shape}")]
    PartialSample {
        /// The number of values.
        values: usize,
        /// The shape of one sample.
        shape: Shape,
    },
    /// An infinity or not-a-number.
    #[error("sample {sample}, value {element} is {found}, wanted a finite number")]
    NotFinite {
        /// The sample, from 0.
        sample: usize,
        /// The value within the sample, from 0.
        element: usize,
        /// The value.
        found: f64,
    },
    /// Samples of a shape that the model does not take.
    #[error(
        "{count} sample{} of shape {found} (the first axis counts samples), wanted {wanted}",
        if *count == 1 { "" } else { "s" }
    )]
    ShapeMismatch {
        /// The number of samples.
        count: usize,
        /// The shape of one sample.
        found: Shape,
        /// The shape that the model takes.
        wanted: Shape,
    },
    /// Images in colour for a model that takes grey ones of the same size.
    #[error(
        "{count} in colour ({found}), wanted {wanted} in grey: convert them, or save them as greyscale",
        count = Images(*count)
    )]
    Colour {
        /// The number of images.
        count: usize,
        /// The shape of one image, three channels first.
        found: Shape,
        /// The shape that the model takes.
        wanted: Shape,
    },
    /// Labels with more than one axis.
    #[error("labels of shape {found}, wanted one axis")]
    LabelAxes {
        /// The shape in the file.
        found: Shape,
    },
    /// A label that is no class number.
    #[error("label {index} is {value}, wanted 0 to {}", u32::MAX)]
    LabelRange {
        /// The label's place, from 0.
        index: usize,
        /// The label.
        value: i128,
    },
    /// A line of a label file that is no class number.
    #[error("line {line} is {text:?}, wanted one whole number from 0 to {}", u32::MAX)]
    LabelLine {
        /// The line, from 1.
        line: usize,
        /// The beginning of the line.
        text: String,
    },
    /// A label file of text that is longer than is ever read.
    #[error("more than {limit} bytes of text, the limit for labels")]
    LabelsTooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// Text that is no table: a broken quotation, rows of different lengths, bytes that are not UTF-8.
    #[error("table: {problem}")]
    Table {
        /// The parser's complaint, with the line.
        problem: String,
    },
    /// A table of text that is longer than is ever read.
    #[error("more than {limit} bytes of text, the limit for tables")]
    TableTooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// A table of more rows than are ever read.
    #[error("more than {limit} rows")]
    TooManyRows {
        /// The limit.
        limit: usize,
    },
    /// A table without rows, or one whose rows all lack a value.
    #[error("holds no complete row")]
    NoRows,
    /// A cell of a table without a value.
    #[error("row {row} has no value in column {column}")]
    MissingValue {
        /// The row, from 1, without the heading.
        row: usize,
        /// The column: its heading, or its number from 1.
        column: String,
    },
    /// A column that the table does not have.
    #[error("has no column {wanted:?}, only {}", List(found))]
    NoSuchColumn {
        /// The heading or number asked for.
        wanted: String,
        /// The columns there are.
        found: Vec<String>,
    },
    /// A label file without labels.
    #[error("holds no labels")]
    NoLabels,
}

impl SamplesProblem {
    pub(super) fn at(self, path: &Path) -> SamplesError {
        SamplesError { path: path.to_owned(), problem: self }
    }
}

struct Images(usize);

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} image{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// The decoder shows the kinds of chunks as a debugger would: of `ChunkType { type: IDAT, critical: true }` stays `IDAT`.
fn without_debug(text: &str) -> String {
    const START: &str = "ChunkType { type: ";
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(START) {
        let Some((fields, behind)) = after.split_once(" }") else { break };
        out += before;
        out += fields.split(',').next().unwrap_or_default();
        rest = behind;
    }
    out + rest
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing (the file is empty)");
        }
        f.write_str("bytes")?;
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

/// At most ten names; an archive may hold thousands.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.0.iter().take(10).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        if self.0.len() > 10 { f.write_str(", ...") } else { Ok(()) }
    }
}

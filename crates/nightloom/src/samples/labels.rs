use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::{Format, Remaining, SamplesError, SamplesProblem, Start, gzip, idx, npy, npz};

/// The longest label file in text that is read, in bytes.
const MAX_TEXT: u64 = 1 << 26;

/// Reads class numbers from IDX (plain or gzip), NumPy (`.npy`, `.npz`, `file.npz:name`), or text with one number a
/// line under an optional heading.
///
/// # Errors
/// [`SamplesError`] names the file, what was found and what was wanted. A label is a whole number from 0 to 2^32 - 1.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<usize>, SamplesError> {
    let path = path.as_ref();
    let (path, member) = npz::split_member(path);
    let open = || {
        let reader = BufReader::with_capacity(1 << 16, File::open(&path)?);
        decode_labels(reader, member.as_deref())
    };
    open().map_err(|problem| problem.at(&path))
}

pub(super) fn decode_labels(
    mut reader: impl BufRead + Seek,
    member: Option<&str>,
) -> Result<Vec<usize>, SamplesProblem> {
    let start = Start::peek(&mut reader)?;
    if member.is_some() && start.format() != Some(Format::Npz) {
        return Err(SamplesProblem::NotNpz { start: start.to_vec() });
    }
    let integers = match start.format() {
        Some(Format::Npy) => npy::read(reader.remaining()?, reader)?.into_integers()?,
        Some(Format::Npz) => npz::read(reader, member)?.into_integers()?,
        Some(Format::Idx) => idx::read(reader.remaining()?, reader)?.into_integers()?,
        Some(Format::Gzip) => gzip::read(reader)?.into_integers()?,
        None if looks_like_text(start.as_slice()) => return text(reader),
        Some(Format::Png) | None => {
            return Err(SamplesProblem::UnknownFormat {
                start: start.to_vec(),
                wanted: "labels as IDX, NumPy or text",
            });
        }
    };
    if integers.is_empty() {
        return Err(SamplesProblem::NoLabels);
    }
    let class = |(index, value)| match u32::try_from(value) {
        Ok(class) => Ok(class as usize),
        Err(_) => Err(SamplesProblem::LabelRange { index, value }),
    };
    integers.into_iter().enumerate().map(class).collect()
}

fn looks_like_text(start: &[u8]) -> bool {
    !start.is_empty() && start.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

fn text(reader: impl Read) -> Result<Vec<usize>, SamplesProblem> {
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(SamplesProblem::LabelsTooLong { limit: MAX_TEXT });
    }
    let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii_end();
    let mut labels = Vec::new();
    for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        let quoted = line.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let cell = quoted.unwrap_or(line);
        let class = str::from_utf8(cell)
            .ok()
            .filter(|cell| cell.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|cell| cell.parse::<u32>().ok());
        match class {
            Some(class) => labels.push(class as usize),
            None if index == 0 && is_heading(cell) => {}
            None => {
                let text = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
                return Err(SamplesProblem::LabelLine { line: index + 1, text });
            }
        }
    }
    if labels.is_empty() {
        return Err(SamplesProblem::NoLabels);
    }
    Ok(labels)
}

/// A word over the column. A number out of range or a second column is not one.
fn is_heading(cell: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_- ".contains(byte);
    cell.iter().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) && cell.iter().all(word)
}

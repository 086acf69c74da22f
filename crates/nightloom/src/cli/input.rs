//! Files opened: what their first bytes and their length tell is told before the rest is read.

use std::fs::File;
use std::io::{BufReader, Chain, Cursor, Read, Take};
use std::path::Path;

use nightloom_compiler::onnx::MAX_FILE_BYTES;
use nightloom_he::ParamsId;
use nightloom_he::wire::newest_version;
use nightloom_program::wire::MAX_PROGRAM_BYTES;
use nightloom_wire::{HEADER_BYTES, Header, Kind, Reader, Writer};

use super::error::{At, CliError};

/// An artefact from its first byte to one byte after its announced end.
pub type Source = Chain<Cursor<Vec<u8>>, Take<BufReader<File>>>;

/// Opens an artefact of the wanted kind.
///
/// # Errors
/// [`CliError`] if the header is of something else, or announces a length that the file does not have.
pub fn open(path: &Path, wanted: Kind) -> Result<Source, CliError> {
    let (header, source) = start(path, wanted)?;
    let mut start = Writer::new(Vec::new());
    header.write(&mut start).at(path)?;
    Ok(Cursor::new(start.into_inner()).chain(source.take(header.length.saturating_add(1))))
}

/// Opens an artefact of the wanted kind that must belong to the parameters `params` of `owner`.
///
/// # Errors
/// As [`open`], and [`CliError::OtherParameters`].
pub fn open_for(path: &Path, wanted: Kind, owner: &Path, params: ParamsId) -> Result<Source, CliError> {
    let (header, mut source) = start(path, wanted)?;
    let found: [u8; 32] = Reader::new(&mut source, header.length).bytes().at(path)?;
    if ParamsId(found) != params {
        let (path, owner) = (path.to_owned(), owner.to_owned());
        return Err(CliError::OtherParameters { path, kind: wanted, found: ParamsId(found), owner, wanted: params });
    }
    let mut start = Writer::new(Vec::new());
    header.write(&mut start).at(path)?;
    start.bytes(&found).at(path)?;
    // The parameters' identifier is part of the announced length and has been read.
    Ok(Cursor::new(start.into_inner()).chain(source.take((header.length - found.len() as u64).saturating_add(1))))
}

fn start(path: &Path, wanted: Kind) -> Result<(Header, BufReader<File>), CliError> {
    let mut source = reader(path)?;
    let limit = if wanted == Kind::Program { MAX_PROGRAM_BYTES } else { u64::MAX };
    let (header, _) = Header::open(&mut source, wanted, newest_version(wanted), limit).at(path)?;
    check_length(path, &header, source.get_ref())?;
    Ok((header, source))
}

/// A file, with its name in the error.
pub fn reader(path: &Path) -> Result<BufReader<File>, CliError> {
    Ok(BufReader::with_capacity(1 << 18, File::open(path).at(path)?))
}

/// Compares the length of a regular file with what its header announces.
pub fn check_length(path: &Path, header: &Header, file: &File) -> Result<(), CliError> {
    let metadata = file.metadata().at(path)?;
    let announced = HEADER_BYTES.saturating_add(header.length);
    if metadata.is_file() && metadata.len() != announced {
        return Err(CliError::Length { path: path.to_owned(), announced, found: metadata.len() });
    }
    Ok(())
}

/// The bytes of an ONNX file.
///
/// # Errors
/// [`CliError::Read`]; [`CliError::ModelTooLarge`] before a larger file is read, or as soon as a pipe or device has
/// brought more.
pub fn model(path: &Path) -> Result<Vec<u8>, CliError> {
    let file = File::open(path).at(path)?;
    let too_large = || CliError::ModelTooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES };
    if file.metadata().at(path)?.len() > MAX_FILE_BYTES as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).at(path)?;
    if bytes.len() > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) }
}

//! Checkpoints on disk: a new one takes the place of the old one in one step, so there is always a whole one.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use nightloom_wire::DecodeError;

use super::Trainer;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be written, opened or put in place.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no checkpoint that this program reads.
    #[error("{}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// Writes the run beside `path`, brings it to disk and renames it to `path`. Only the owner may read the file: it holds the
/// seed.
///
/// # Errors
/// [`CheckpointError::Io`]; what stood at `path` stands there still.
pub fn save(trainer: &Trainer, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".nightloom-").suffix(".partial").tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(1 << 16, &file);
        trainer.write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The new name is in the folder, which has to reach the disk too. Not every system can do that.
        if cfg!(unix) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

/// Reads a run that [`save`] wrote.
///
/// # Errors
/// [`CheckpointError`] if there is none, or it is damaged.
pub fn load(path: impl AsRef<Path>) -> Result<Trainer, CheckpointError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    let reader = BufReader::with_capacity(1 << 16, file);
    Trainer::read(reader).map_err(|source| CheckpointError::Decode { path: path.to_owned(), source })
}

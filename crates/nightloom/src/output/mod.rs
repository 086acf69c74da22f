//! Results and other files, written so that a reader never meets half of one.

mod file;
mod results;

use std::io;
use std::path::PathBuf;

pub use file::{NewFile, PendingFile};
pub use results::{Format, Results};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Something stands at the path, and replacing it was not allowed.
    #[error("{}: exists already and would be overwritten; give --force, or another name", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A folder, a device or a pipe stands at the path.
    #[error("{}: is not a regular file; to write to a pipe give - for standard output", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The path ends in `..` or is empty.
    #[error("{}: names no file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The folder that the file should stand in is missing or may not be written.
    #[error("{}: no file can be created there: {source}", folder.display())]
    Create {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes could not be written or not brought to disk.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The values were written beside the path but could not take its name.
    #[error("{}: cannot be put in place: {source}", path.display())]
    Place {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path ends in nothing that names a format.
    #[error("{}: wanted a name that ends in .npy or .csv, or - for CSV on standard output", path.display())]
    UnknownFormat {
        /// The path.
        path: PathBuf,
    },
    /// A `.npy` file cannot go to standard output.
    #[error("NumPy files are not written to standard output; give a name that ends in .npy, or CSV")]
    NpyToStdout,
    /// Values that do not make whole rows.
    #[error("{values} values are not a whole number of rows of {columns}")]
    PartialRow {
        /// The number of values.
        values: usize,
        /// The number of columns.
        columns: usize,
    },
    /// Names that are not one a row.
    #[error("{names} names for {rows} rows")]
    Names {
        /// The number of names.
        names: usize,
        /// The number of rows.
        rows: usize,
    },
}

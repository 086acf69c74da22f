//! Results and other files, written so that a reader never meets half of one.

mod file;
mod folder;
mod partial;
mod results;

use std::io;
use std::path::PathBuf;

pub use file::{NewFile, PendingFile};
pub use folder::NewFolder;
pub use results::{Format, Results, largest};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Something stands at the path, and replacing it was not allowed.
    #[error("{}: exists already", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A folder stands at the path, or its end says that only a folder can.
    #[error("{}: is a folder, wanted the name of a file", path.display())]
    IsFolder {
        /// The path.
        path: PathBuf,
    },
    /// A device or a pipe stands at the path.
    #[error("{}: is a device or a pipe, wanted a regular file, or - for standard output", path.display())]
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
    /// A folder for new files could not be made.
    #[error("{}: the folder cannot be made: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
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
    /// The values were written but could not take the path's name.
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

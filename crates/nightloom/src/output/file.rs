use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::OutputError;
use super::partial::Partial;

/// A file to be written: where, who may read it, and whether it may replace another.
///
/// The bytes go to a file without a name in the same folder, which takes the path's name when all of them are on disk.
/// Until then, and after any error, whatever stood at the path stands there still. On Linux, on every file system with
/// `O_TMPFILE`, nothing is left of a process that was killed meanwhile; elsewhere the file has a name that ends in
/// `.partial` until it gets its own, which such a process leaves behind.
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

    /// Starts the file, to be finished with [`PendingFile::commit`]. Before long work, this shows that the folder can be
    /// written.
    ///
    /// # Errors
    /// [`OutputError::Exists`], [`OutputError::IsFolder`], [`OutputError::NotRegular`], [`OutputError::NoName`] or
    /// [`OutputError::Create`].
    pub fn open(&self) -> Result<PendingFile, OutputError> {
        let target = self.target()?;
        let folder = folder_of(&target);
        let opened = Partial::create(folder, if self.private { 0o600 } else { 0o666 });
        let (file, partial) = opened.map_err(|source| OutputError::Create { folder: folder.to_owned(), source })?;
        let writer = BufWriter::with_capacity(1 << 18, file);
        Ok(PendingFile { writer, partial, path: self.path.clone(), target, replace: self.replace })
    }

    /// Writes the whole file through `write`; on an error nothing is left of it.
    ///
    /// # Errors
    /// As [`NewFile::open`], and [`OutputError::Write`] if `write` fails.
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

    /// The path that will be linked or renamed to, after what stands there has been found fit to be replaced.
    fn target(&self) -> Result<PathBuf, OutputError> {
        let path = || self.path.clone();
        let found = fs::metadata(&self.path);
        let slash = self.path.as_os_str().as_encoded_bytes().last().is_some_and(|&b| std::path::is_separator(b.into()));
        if slash || found.as_ref().is_ok_and(fs::Metadata::is_dir) {
            return Err(OutputError::IsFolder { path: path() });
        }
        if self.path.file_name().is_none() {
            return Err(OutputError::NoName { path: path() });
        }
        match found {
            // Renaming onto a device such as /dev/null would put a file in its place.
            Ok(metadata) if !metadata.is_file() => Err(OutputError::NotRegular { path: path() }),
            Ok(_) if !self.replace => Err(OutputError::Exists { path: path() }),
            Ok(_) => fs::canonicalize(&self.path).map_err(|source| OutputError::Place { path: path(), source }),
            // A link that leads nowhere is itself what gets replaced.
            Err(_) if !self.replace && fs::symlink_metadata(&self.path).is_ok() => {
                Err(OutputError::Exists { path: path() })
            }
            Err(_) => Ok(path()),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is being written and does not have its name yet; dropping it discards what was written.
#[derive(Debug)]
pub struct PendingFile {
    writer: BufWriter<File>,
    partial: Partial,
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
        PendingFile::commit_all([self])
    }

    /// Brings the bytes of all files to disk and then gives them their names, in this order. On an error none of them
    /// is there, except that a file which was allowed to replace another stays.
    ///
    /// # Errors
    /// As [`PendingFile::commit`], for the first file that fails.
    pub fn commit_all(files: impl IntoIterator<Item = PendingFile>) -> Result<(), OutputError> {
        let synced = files.into_iter().map(PendingFile::sync).collect::<Result<Vec<_>, _>>()?;
        let mut placed: Vec<(PathBuf, bool)> = Vec::new();
        for file in synced {
            let (target, replace) = (file.target.clone(), file.replace);
            if let Err(error) = file.place() {
                for (path, _) in placed.iter().filter(|(_, replaced)| !replaced) {
                    // The error that is returned matters more than one of tidying up.
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
            placed.push((target, replace));
        }
        // The files have their names and their bytes are on disk. A system that cannot sync a folder promises no more.
        for (path, _) in &placed {
            if let Ok(folder) = File::open(folder_of(path)) {
                let _ = folder.sync_all();
            }
        }
        Ok(())
    }

    fn sync(self) -> Result<SyncedFile, OutputError> {
        let PendingFile { writer, partial, path, target, replace } = self;
        let written = writer.into_inner().map_err(io::IntoInnerError::into_error);
        match written.and_then(|file| file.sync_all().map(|()| file)) {
            Ok(file) => Ok(SyncedFile { file, partial, path, target, replace }),
            Err(source) => Err(OutputError::Write { path, source }),
        }
    }
}

/// A file whose bytes are on disk.
struct SyncedFile {
    file: File,
    partial: Partial,
    path: PathBuf,
    target: PathBuf,
    replace: bool,
}

impl SyncedFile {
    fn place(self) -> Result<(), OutputError> {
        let SyncedFile { file, partial, path, target, replace } = self;
        let placed =
            if replace { partial.replace(&file, folder_of(&target), &target) } else { partial.place(&file, &target) };
        placed.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => OutputError::Exists { path },
            _ => OutputError::Place { path, source },
        })
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_has_no_name_until_it_is_whole() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        for replace in [false, true, true] {
            let mut pending = NewFile::at(&path).replace_existing(replace).open().unwrap();
            if pending.partial.has_a_name() {
                println!("skipped: {} has no files without names", folder.path().display());
                return;
            }
            let before = listing(&folder);
            pending.write_all(b"bytes").unwrap();
            pending.flush().unwrap();
            assert_eq!(listing(&folder), before);
            pending.commit().unwrap();
            assert_eq!(listing(&folder), ["a"]);
        }
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
    }

    #[test]
    fn several_files_appear_together_or_not_at_all() {
        let folder = TempDir::new().unwrap();
        let open = |name: &str| NewFile::at(folder.path().join(name)).open().unwrap();
        let mut files = ["a", "b", "c"].map(open);
        for (file, bytes) in files.iter_mut().zip([b"1", b"2", b"3"]) {
            file.write_all(bytes).unwrap();
        }
        fs::write(folder.path().join("c"), "theirs").unwrap();
        let error = PendingFile::commit_all(files).unwrap_err();
        assert!(matches!(&error, OutputError::Exists { path } if path.ends_with("c")), "{error}");
        assert_eq!(listing(&folder), ["c"]);
        PendingFile::commit_all(["a", "b"].map(open)).unwrap();
        assert_eq!(listing(&folder), ["a", "b", "c"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_may_not_be_written_is_told_before_the_work_without_a_temporary_name() {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
        if File::create(folder.path().join("probe")).is_ok() {
            println!("skipped: this user may write everywhere");
            return;
        }
        let error = NewFile::at(folder.path().join("a")).open().unwrap_err();
        assert!(matches!(error, OutputError::Create { .. }), "{error}");
        assert!(!error.to_string().contains("partial"), "{error}");
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
        for error in [refused.open().unwrap_err(), refused.write(|_| Ok(())).unwrap_err()] {
            assert!(matches!(error, OutputError::Exists { .. }));
        }
        assert_eq!(fs::read(&path).unwrap(), b"before");
        let allowed = NewFile::at(&path).replace_existing(true);
        drop(allowed.open().unwrap());
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
            let error = new.write(|_| Ok(())).unwrap_err();
            assert!(matches!(error, OutputError::Create { .. }), "{path}");
            // Not the temporary name that was tried.
            assert!(error.to_string().contains("os error") && !error.to_string().contains(".partial"), "{error}");
        }
        for new in [NewFile::at(folder.path()), NewFile::at(folder.path()).replace_existing(true)] {
            assert!(matches!(new.open(), Err(OutputError::IsFolder { .. })));
        }
        // Only a folder can have such a name, whether it is there or not.
        assert!(matches!(NewFile::at(folder.path().join("none/")).open(), Err(OutputError::IsFolder { .. })));
        assert!(matches!(NewFile::at(".").open(), Err(OutputError::IsFolder { .. })));
        assert!(matches!(NewFile::at("").open(), Err(OutputError::NoName { .. })));
        assert!(matches!(NewFile::at("a/..").open(), Err(OutputError::NoName { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn devices_stay_and_links_lead_on() {
        for null in [NewFile::at("/dev/null"), NewFile::at("/dev/null").replace_existing(true)] {
            assert!(matches!(null.write(|_| Ok(())), Err(OutputError::NotRegular { .. })));
        }

        let folder = TempDir::new().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "before").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(NewFile::at(&link).open(), Err(OutputError::Exists { .. })));
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
        let opened = during.writer.get_ref().metadata().unwrap().permissions().mode();
        assert_eq!(opened & 0o777, 0o600);
        during.commit().unwrap();
        assert_eq!(mode(&path), 0o600);

        // What the umask leaves of 0666 is what any new file gets.
        let (open, plain) = (folder.path().join("open"), folder.path().join("plain"));
        NewFile::at(&open).write(|_| Ok(())).unwrap();
        fs::write(&plain, "x").unwrap();
        assert_eq!(mode(&open), mode(&plain));
    }
}

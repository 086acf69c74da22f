use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::OutputError;

/// A folder for new files. What of it was missing is made, and removed again unless the folder is kept, so that a command
/// that fails leaves nothing behind.
#[derive(Debug)]
pub struct NewFolder {
    /// The folders that were made, the deepest last.
    made: Vec<PathBuf>,
}

impl NewFolder {
    /// Makes the folder and those above it, as far as they are missing.
    ///
    /// # Errors
    /// [`OutputError::Folder`], also if a file stands in the way.
    pub fn make(path: &Path) -> Result<NewFolder, OutputError> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.is_dir()).collect();
        let mut folder = NewFolder { made: Vec::new() };
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => folder.made.push(path.to_owned()),
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => {
                    let in_the_way = error.kind() == io::ErrorKind::AlreadyExists;
                    let source = if in_the_way { io::ErrorKind::NotADirectory.into() } else { error };
                    return Err(OutputError::Folder { folder: path.to_owned(), source });
                }
            }
        }
        Ok(folder)
    }

    /// Leaves the folder where it is.
    pub fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        while let Some(path) = self.made.pop() {
            // A folder in which something has come to stand stays.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_were_made_go_again_unless_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        let made = NewFolder::make(&deep).unwrap();
        assert!(deep.is_dir());
        drop(made);
        assert!(!folder.path().join("a").exists());

        NewFolder::make(&deep).unwrap().keep();
        assert!(deep.is_dir());
        drop(NewFolder::make(&deep).unwrap());
        assert!(deep.is_dir(), "it was there before");

        let used = NewFolder::make(&folder.path().join("d/e")).unwrap();
        fs::write(folder.path().join("d/file"), "").unwrap();
        drop(used);
        assert!(folder.path().join("d/file").exists() && !folder.path().join("d/e").exists());

        let error = NewFolder::make(&folder.path().join("d/file/g")).unwrap_err();
        assert!(matches!(error, OutputError::Folder { .. }), "{error}");
    }
}

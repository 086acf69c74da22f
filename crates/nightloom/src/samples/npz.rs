//! NumPy's `.npz`: a zip archive of `.npy` members, stored or deflated.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::array::{Array, ArrayReader};
use super::{SampleValues, SamplesProblem, npy};

/// Splits `file.npz:name` into the file and the array. A path that exists as it stands is left alone.
pub(super) fn split_member(path: &Path) -> (PathBuf, Option<String>) {
    if let Some(text) = path.to_str()
        && let Some(at) = text.rfind(".npz:")
        && !path.exists()
    {
        let (file, member) = (&text[..at + 4], &text[at + 5..]);
        return (PathBuf::from(file), Some(member.to_owned()));
    }
    (path.to_owned(), None)
}

/// One array of an archive, wholly in memory only when its numbers are asked for.
pub(super) struct Member<R> {
    archive: ZipArchive<R>,
    name: String,
}

/// Finds the array named `member`, or the only one there is.
pub(super) fn read<R: Read + Seek>(reader: R, member: Option<&str>) -> Result<Member<R>, SamplesProblem> {
    let archive = ZipArchive::new(reader)?;
    let mut names = Vec::new();
    for name in archive.file_names() {
        if let Some(array) = name?.strip_suffix(".npy") {
            names.push(array.to_owned());
        }
    }
    let name = match (member, names.as_slice()) {
        (Some(wanted), names) if names.iter().any(|name| name == wanted) => wanted.to_owned(),
        (Some(wanted), _) => {
            return Err(SamplesProblem::NoSuchArray { wanted: wanted.to_owned(), found: names });
        }
        (None, [only]) => only.clone(),
        (None, _) => return Err(SamplesProblem::WhichArray { found: names }),
    };
    Ok(Member { archive, name: name + ".npy" })
}

impl<R: Read + Seek> Member<R> {
    pub fn into_samples(self) -> Result<Array<SampleValues>, SamplesProblem> {
        self.with(|array| array.into_samples())
    }

    pub fn into_integers(self) -> Result<Vec<i128>, SamplesProblem> {
        self.with(|array| array.into_integers())
    }

    fn with<T>(
        mut self,
        finish: impl FnOnce(ArrayReader<&mut dyn Read>) -> Result<T, SamplesProblem>,
    ) -> Result<T, SamplesProblem> {
        let mut file = self.archive.by_name(&self.name)?;
        let reader: &mut dyn Read = &mut file;
        // The archive's word about the length is not evidence, so nothing is reserved ahead.
        finish(npy::read(None, reader)?)
    }
}

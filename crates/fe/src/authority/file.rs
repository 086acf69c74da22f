//! A ledger on disk. It only grows: a record is there, and has reached the disk, before anything is issued on its account.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand_core::CryptoRng;

use super::chain;
use super::{Authority, ChainError, Decision};
use crate::MasterSeed;
use crate::agreement::Agreement;
use crate::protocol::{EnrolmentToken, Role};

/// An authority with its ledger on disk.
pub struct Keeper {
    authority: Authority,
    path: PathBuf,
    file: File,
    /// Bytes of whole records.
    length: u64,
    torn: u64,
    /// A record could not be written whole, nor taken back.
    broken: bool,
}

/// Why a ledger cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// The file cannot be made, opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process keeps the ledger.
    #[error("{}: another authority has the ledger open", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is no ledger, or was changed.
    #[error("{}: {source}", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ChainError,
    },
    /// A record could neither be written nor taken back. The process must end, and the next one cut it.
    #[error("{}: a record is torn after an error of the disk: start again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// A party that cannot be enrolled.
    #[error("cannot enrol: {problem}")]
    Enrol {
        /// Why.
        problem: String,
    },
}

impl Keeper {
    /// Founds an authority, with a ledger in a new file.
    ///
    /// # Errors
    /// [`KeeperError`], also if there is a file already.
    pub fn found(path: impl Into<PathBuf>, agreement: Arc<Agreement>, seed: MasterSeed) -> Result<Self, KeeperError> {
        let path = path.into();
        let (authority, bytes) = Authority::found(agreement, seed);
        let io = |source| KeeperError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(io)?;
        lock(&file, &path)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
        sync_folder(&path).map_err(io)?;
        Ok(Self { authority, path, file, length: bytes.len() as u64, torn: 0, broken: false })
    }

    /// Goes on with the ledger of a file. A torn last record is cut.
    ///
    /// # Errors
    /// [`KeeperError`] if it is damaged, or somebody else keeps it.
    pub fn open(path: impl Into<PathBuf>, seed: MasterSeed) -> Result<Self, KeeperError> {
        let path = path.into();
        let io = |source| KeeperError::Io { path: path.clone(), source };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
        lock(&file, &path)?;
        let wrong = |source| KeeperError::Chain { path: path.clone(), source };
        let records = chain::read(BufReader::with_capacity(1 << 18, &file)).map_err(wrong)?;
        let (length, torn) = (records.whole, records.torn);
        let authority = Authority::restore(seed, records).map_err(wrong)?;
        if torn > 0 {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(io)?;
        }
        Ok(Self { authority, path, file, length, torn, broken: false })
    }

    /// Bytes of a torn last record that were cut when the ledger was opened.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// The authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Answers a message.
    ///
    /// # Errors
    /// [`KeeperError`] if a record does not reach the disk: nothing is issued then, and nothing has changed.
    pub fn answer(&mut self, message: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, KeeperError> {
        let decision = self.authority.decide(message, rng);
        self.append(&decision)?;
        Ok(self.authority.commit(decision))
    }

    /// Makes a party known.
    ///
    /// # Errors
    /// [`KeeperError`] if the name cannot be taken, or the record does not reach the disk.
    pub fn enrol(&mut self, role: Role, name: &str, certificate: Vec<u8>) -> Result<EnrolmentToken, KeeperError> {
        let enrolled = self.authority.enrol(role, name, certificate);
        let (token, decision) = enrolled.map_err(|problem| KeeperError::Enrol { problem })?;
        self.append(&decision)?;
        self.authority.commit(decision);
        Ok(token)
    }

    fn append(&mut self, decision: &Decision) -> Result<(), KeeperError> {
        if self.broken {
            return Err(KeeperError::Broken { path: self.path.clone() });
        }
        if decision.records.is_empty() {
            return Ok(());
        }
        let written = self.write(decision);
        if let Err(source) = written {
            // What was written of it must not stand before the next record.
            self.broken = self.file.set_len(self.length).is_err();
            return Err(KeeperError::Io { path: self.path.clone(), source });
        }
        self.length += decision.records.len() as u64;
        Ok(())
    }

    fn write(&mut self, decision: &Decision) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(&decision.records)?;
        if decision.durable { self.file.sync_data() } else { Ok(()) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Records on which nothing depends may not have reached the disk.
        let _ = self.file.sync_data();
    }
}

fn lock(file: &File, path: &Path) -> Result<(), KeeperError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(KeeperError::Locked { path: path.to_owned() }),
        // A file system without locks cannot tell; the chain still notices a second writer.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(source)) => Err(KeeperError::Io { path: path.to_owned(), source }),
    }
}

/// The name of a new file is in the folder, which has to reach the disk too. Not every system can do that.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads the records of a ledger without keeping it.
///
/// # Errors
/// [`KeeperError`] if there is none, or it is damaged.
pub(super) fn read(path: &Path) -> Result<chain::Records, KeeperError> {
    let io = |source| KeeperError::Io { path: path.to_owned(), source };
    let source = BufReader::with_capacity(1 << 18, File::open(path).map_err(io)?);
    chain::read(source).map_err(|source| KeeperError::Chain { path: path.to_owned(), source })
}

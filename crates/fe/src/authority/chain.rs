//! Records chained by hashes: none can be changed, taken out or put in without changing all hashes after it.

use std::io::Read;

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};
use sha2::{Digest, Sha256};

use super::entry::Entry;
use crate::protocol::Head;
use crate::wire::VERSION;

/// Longest record in bytes.
const MAX_RECORD: u32 = 1 << 28;
/// Bytes before a record: its length and a check of it.
const PREFIX: usize = 8;
const HASH: usize = 32;

/// The hashes of all records so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    hashes: Vec<[u8; HASH]>,
}

/// Why bytes are no ledger. Positions count bytes from the beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The header is another's.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A record whose hash is not that of its bytes and all before them.
    #[error(
        "record {record}, at byte {position}, is not what was written: its hash is another. Records are never repaired: \
         restore the file from a copy that is at least as new"
    )]
    Changed {
        /// The record, from 0.
        record: u64,
        /// Where it begins.
        position: u64,
    },
    /// A record that cannot be read, or that cannot stand where it does.
    #[error("record {record}, at byte {position}: {problem}")]
    Record {
        /// The record, from 0.
        record: u64,
        /// Where it begins.
        position: u64,
        /// What is wrong with it.
        problem: String,
    },
}

/// What stands in a ledger.
#[derive(Debug)]
pub struct Records {
    /// The entries in order.
    pub entries: Vec<Entry>,
    /// Their hashes.
    pub chain: Chain,
    /// Bytes of header and whole records.
    pub whole: u64,
    /// Bytes after them: of a record that was being written when its writer ended.
    pub torn: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { hashes: vec![Sha256::digest(b"nightloom ledger 1").into()] }
    }
}

impl Chain {
    /// Where the chain stands.
    pub fn head(&self) -> Head {
        Head { records: self.hashes.len() as u64 - 1, hash: *self.last() }
    }

    /// Whether the chain once stood there.
    pub fn passed(&self, head: &Head) -> bool {
        usize::try_from(head.records).is_ok_and(|records| self.hashes.get(records) == Some(&head.hash))
    }

    fn last(&self) -> &[u8; HASH] {
        self.hashes.last().unwrap_or_else(|| unreachable!("a chain begins with a hash"))
    }

    /// The bytes of the next record, and its hash.
    pub(super) fn record(&self, entry: &Entry) -> (Vec<u8>, [u8; HASH]) {
        let mut body = Writer::new(Vec::new());
        let written = entry.write(&mut body);
        debug_assert!(written.is_ok(), "{written:?}");
        let body = body.into_inner();
        let length = (body.len() as u32).to_le_bytes();
        let hash = hash(self.last(), &length, &body);
        let bytes = [&length[..], &check(self.last(), &length), &body, &hash].concat();
        (bytes, hash)
    }

    pub(super) fn push(&mut self, hash: [u8; HASH]) {
        self.hashes.push(hash);
    }
}

/// SHA-256 of the hash before, the length and the body.
fn hash(before: &[u8; HASH], length: &[u8; 4], body: &[u8]) -> [u8; HASH] {
    Sha256::new().chain_update(before).chain_update(length).chain_update(body).finalize().into()
}

/// Tells a length that was written from one that was changed, when the record does not end where it says.
fn check(before: &[u8; HASH], length: &[u8; 4]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(b"length").chain_update(before).chain_update(length).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The header of a ledger: records follow it for as long as there are any.
pub(super) fn header() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let written = Header { kind: Kind::Ledger, version: VERSION, length: 0 }.write(&mut writer);
    debug_assert!(written.is_ok());
    writer.into_inner()
}

/// Reads a ledger. The last record may be torn: it was never on disk as a whole, so nothing was issued on its account.
/// Everything else that is not as it was written is an error.
///
/// # Errors
/// [`ChainError`].
pub fn read(mut source: impl Read) -> Result<Records, ChainError> {
    Header::open(&mut source, Kind::Ledger, VERSION, 0)?;
    let (mut entries, mut chain) = (Vec::new(), Chain::default());
    let mut position = HEADER_BYTES;
    loop {
        let record = entries.len() as u64;
        let changed = ChainError::Changed { record, position };
        let prefix = take(&mut source, PREFIX)?;
        let Some((length, rest)) = prefix.split_first_chunk::<4>().filter(|_| prefix.len() == PREFIX) else {
            return Ok(Records { entries, chain, whole: position, torn: prefix.len() as u64 });
        };
        if prefix.iter().all(|byte| *byte == 0) {
            // Some systems lengthen a file before they write to it. Nothing but zeros may follow.
            let torn = zeros(&mut source)?.ok_or(changed)?;
            return Ok(Records { entries, chain, whole: position, torn: PREFIX as u64 + torn });
        }
        if rest != check(chain.last(), length) || u32::from_le_bytes(*length) > MAX_RECORD {
            return Err(changed);
        }
        let size = u32::from_le_bytes(*length) as usize + HASH;
        let body = take(&mut source, size)?;
        if body.len() < size {
            let torn = (PREFIX + body.len()) as u64;
            return Ok(Records { entries, chain, whole: position, torn });
        }
        let (body, found) = body.split_at(size - HASH);
        let wanted = hash(chain.last(), length, body);
        if found != wanted {
            return Err(changed);
        }
        let mut reader = Reader::new(body, body.len() as u64);
        let entry = Entry::read(&mut reader).and_then(|entry| reader.finish().map(|()| entry));
        let problem = |error: DecodeError| ChainError::Record { record, position, problem: error.to_string() };
        entries.push(entry.map_err(problem)?);
        chain.push(wanted);
        position += (PREFIX + size) as u64;
    }
}

/// Up to `count` bytes: memory grows with what arrives.
fn take(source: &mut impl Read, count: usize) -> Result<Vec<u8>, ChainError> {
    let mut bytes = Vec::new();
    source.by_ref().take(count as u64).read_to_end(&mut bytes).map_err(DecodeError::Io)?;
    Ok(bytes)
}

/// The bytes that are left, if all are zero.
fn zeros(source: &mut impl Read) -> Result<Option<u64>, ChainError> {
    let (mut count, mut chunk) = (0, vec![0; 1 << 16]);
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(Some(count)),
            Ok(found) if chunk[..found].iter().any(|byte| *byte != 0) => return Ok(None),
            Ok(found) => count += found as u64,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DecodeError::Io(error).into()),
        }
    }
}

/// Reads a ledger and writes it again, without what is torn, for fuzzing.
#[doc(hidden)]
pub fn ledger_again(bytes: &[u8]) -> Result<Vec<u8>, ChainError> {
    let mut chain = Chain::default();
    let mut again = header();
    for entry in read(bytes)?.entries {
        let (record, hash) = chain.record(&entry);
        again.extend(record);
        chain.push(hash);
    }
    Ok(again)
}

/// The same records with checks and hashes that fit them, for fuzzing: changed records would get no further otherwise.
#[doc(hidden)]
pub fn rechained(bytes: &[u8]) -> Vec<u8> {
    let mut chain = Chain::default();
    let mut again = header();
    let mut rest = bytes.get(HEADER_BYTES as usize..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*length) as usize;
        let Some(body) = after.get(4..4usize.saturating_add(size)) else { break };
        let hash = hash(chain.last(), length, body);
        again.extend([&length[..], &check(chain.last(), length), body, &hash].concat());
        chain.push(hash);
        rest = after.get(4 + size + HASH..).unwrap_or_default();
    }
    again
}

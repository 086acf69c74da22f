use std::fmt;
use std::io::{Read, Write};

use ndarray::Array2;
use nightloom_wire::{DecodeError, Reader, Writer, packed_bytes};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::token::read_name;
use super::{Head, Refusal};
use crate::agreement::{DatasetId, Direction};
use crate::learn::Network;

/// Longest message in bytes.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 30;
/// Most rows or columns of a query.
const MAX_SIDE: usize = 1 << 22;
/// Most values of a query: integers of one bit take 64 times as much memory as they did on the way.
const MAX_VALUES: usize = 1 << 25;
/// Most batches whose keys are asked for at once.
pub(crate) const MAX_BATCHES: usize = 64;
/// Most contributions of a sum.
const MAX_CONTRIBUTIONS: usize = 1 << 16;
/// Longest keys of one part of a batch.
const MAX_KEY_BYTES: usize = 1 << 29;
/// Longest refusal in bytes of JSON.
const MAX_REFUSAL: usize = 1 << 14;

type IoResult = std::io::Result<()>;

/// What is asked of an authority.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A session.
    Open {
        /// The place of the ledger that the party saw last.
        seen: Option<Head>,
    },
    /// A client: to know a dataset.
    Register {
        /// The dataset.
        dataset: DatasetId,
        /// Its samples.
        samples: u32,
    },
    /// A client: what to encrypt some batches of a dataset of its own with.
    EncryptionKeys {
        /// The dataset.
        dataset: DatasetId,
        /// The first batch.
        first: u32,
        /// Batches.
        count: u32,
    },
    /// A server, or in mode `delegate` the client: keys for products with a batch.
    FunctionKeys {
        /// Whose batch.
        client: String,
        /// The dataset.
        dataset: DatasetId,
        /// The batch.
        batch: u32,
        /// What is to be opened.
        direction: Direction,
        /// The server's integers: a row a unit, or a row a sample.
        values: Array2<i64>,
    },
    /// A server: keys for operations on the targets of a batch.
    OperandKeys {
        /// Whose batch.
        client: String,
        /// The dataset.
        dataset: DatasetId,
        /// The batch.
        batch: u32,
        /// A [`FeboRequest`](crate::FeboRequest).
        request: Vec<u8>,
    },
    /// A server: the sum of the pads of some contributions.
    SumKeys {
        /// The contributions.
        contributions: Vec<ContributionId>,
    },
}

/// What one client contributed to one round, and the number that its pad was made with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContributionId {
    /// The client.
    pub client: String,
    /// The round.
    pub round: RoundId,
    /// Random, so that no pad is used twice.
    pub nonce: [u8; 16],
}

/// A round, and the network that clients were handed for it. A sum is over contributions to one round, so a server that hands
/// different networks to clients (Pasquini, Francati and Ateniese, CCS 2022) gets no key for what they return.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoundId {
    /// Its number.
    pub number: u32,
    /// SHA-256 of the network's parameters; zeros where rows are counted, which begins with none.
    pub network: [u8; 32],
}

impl RoundId {
    /// The one round of models from counts.
    pub const COUNTS: Self = Self { number: 0, network: [0; 32] };

    /// A round that begins with this network. Its layers are those of the agreement.
    pub fn of(number: u32, network: &Network) -> Self {
        let mut hash = Sha256::new_with_prefix(b"nightloom network");
        network.values().for_each(|value| hash.update(value.to_le_bytes()));
        Self { number, network: hash.finalize().into() }
    }
}

impl fmt::Display for RoundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        if self.network == [0; 32] {
            return Ok(());
        }
        f.write_str(" (network ")?;
        self.network[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl fmt::Debug for RoundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoundId({self})")
    }
}

/// What a batch is encrypted with. Secret unless the scheme has public keys.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchKeys {
    /// Of each part of the batch.
    pub parts: Vec<Zeroizing<Vec<u8>>>,
    /// Of its targets, empty unless they are sealed.
    pub targets: Vec<u8>,
}

/// What an authority answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A session.
    Opened {
        /// Its number.
        session: [u8; 16],
    },
    /// The dataset is known.
    Registered {
        /// Other datasets of the client, each with a budget of its own.
        others: u32,
    },
    /// Keys of each batch asked for.
    EncryptionKeys(Vec<BatchKeys>),
    /// Function keys of the scheme.
    FunctionKeys(Vec<u8>),
    /// Keys of FEBO.
    OperandKeys(Vec<u8>),
    /// The sum of pads, less noise.
    SumKeys(Vec<u64>),
    /// Nothing, and why.
    Refused(Refusal),
}

impl Request {
    pub(crate) fn write(&self, writer: &mut Writer<impl Write>) -> IoResult {
        match self {
            Self::Open { seen } => {
                writer.u8(1)?;
                writer.u8(u8::from(seen.is_some()))?;
                seen.map_or(Ok(()), |head| write_head(writer, &head))
            }
            Self::Register { dataset, samples } => {
                writer.u8(2)?;
                writer.bytes(&dataset.0)?;
                writer.u32(*samples)
            }
            Self::EncryptionKeys { dataset, first, count } => {
                writer.u8(3)?;
                writer.bytes(&dataset.0)?;
                writer.u32(*first)?;
                writer.u32(*count)
            }
            Self::FunctionKeys { client, dataset, batch, direction, values } => {
                writer.u8(4)?;
                write_place(writer, client, *dataset, *batch)?;
                writer.u8(*direction as u8)?;
                write_values(writer, values)
            }
            Self::OperandKeys { client, dataset, batch, request } => {
                writer.u8(5)?;
                write_place(writer, client, *dataset, *batch)?;
                writer.byte_string(request)
            }
            Self::SumKeys { contributions } => {
                writer.u8(6)?;
                writer.u32(contributions.len() as u32)?;
                contributions.iter().try_for_each(|contribution| contribution.write(writer))
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<impl Read>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Open {
                seen: match reader.u8()? {
                    0 => None,
                    1 => Some(read_head(reader)?),
                    found => return Err(flag("head", found)),
                },
            },
            2 => Self::Register { dataset: DatasetId(reader.bytes()?), samples: reader.u32()? },
            3 => {
                let (dataset, first) = (DatasetId(reader.bytes()?), reader.u32()?);
                Self::EncryptionKeys { dataset, first, count: reader.count("batches", 0, MAX_BATCHES)? as u32 }
            }
            4 => {
                let (client, dataset, batch) = read_place(reader)?;
                let direction = read_direction(reader)?;
                Self::FunctionKeys { client, dataset, batch, direction, values: read_values(reader)? }
            }
            5 => {
                let (client, dataset, batch) = read_place(reader)?;
                let request = reader.byte_string("request for operations", MAX_KEY_BYTES)?;
                Self::OperandKeys { client, dataset, batch, request }
            }
            6 => {
                let count = reader.count("contributions", ContributionId::LEAST_BYTES, MAX_CONTRIBUTIONS)?;
                let contributions = (0..count).map(|_| ContributionId::read(reader)).collect::<Result<_, _>>()?;
                Self::SumKeys { contributions }
            }
            found => return Err(DecodeError::Value { what: "request", found: found.into(), wanted: "1 to 6" }),
        })
    }
}

impl Reply {
    /// At least as many bytes as encryption keys and sums of pads take in a message.
    pub(super) fn secret_bytes(&self) -> usize {
        match self {
            Self::EncryptionKeys(batches) => {
                let parts = |batch: &BatchKeys| batch.parts.iter().map(|part| 4 + part.len()).sum::<usize>();
                batches.iter().map(|batch| 8 + parts(batch) + batch.targets.len()).sum::<usize>() + 8
            }
            Self::FunctionKeys(keys) | Self::OperandKeys(keys) => 8 + keys.len(),
            Self::SumKeys(words) => 8 + 8 * words.len(),
            Self::Opened { .. } | Self::Registered { .. } | Self::Refused(_) => 0,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer<impl Write>) -> IoResult {
        match self {
            Self::Opened { session } => {
                writer.u8(1)?;
                writer.bytes(session)
            }
            Self::Registered { others } => {
                writer.u8(2)?;
                writer.u32(*others)
            }
            Self::EncryptionKeys(batches) => {
                writer.u8(3)?;
                writer.u32(batches.len() as u32)?;
                for batch in batches {
                    writer.u8(batch.parts.len() as u8)?;
                    batch.parts.iter().try_for_each(|part| writer.byte_string(part))?;
                    writer.byte_string(&batch.targets)?;
                }
                Ok(())
            }
            Self::FunctionKeys(keys) => {
                writer.u8(4)?;
                writer.byte_string(keys)
            }
            Self::OperandKeys(keys) => {
                writer.u8(5)?;
                writer.byte_string(keys)
            }
            Self::SumKeys(words) => {
                writer.u8(6)?;
                writer.u32(words.len() as u32)?;
                words.iter().try_for_each(|word| writer.u64(*word))
            }
            Self::Refused(refusal) => {
                writer.u8(7)?;
                writer.byte_string(&serde_json::to_vec(refusal)?)
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<impl Read>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Opened { session: reader.bytes()? },
            2 => Self::Registered { others: reader.u32()? },
            3 => {
                let count = reader.count("batches", 5, MAX_BATCHES)?;
                let mut batches = Vec::new();
                for _ in 0..count {
                    let parts = reader.u8()?;
                    let part = |_| reader.byte_string("encryption key", MAX_KEY_BYTES).map(Zeroizing::new);
                    let parts = (0..parts).map(part).collect::<Result<_, _>>()?;
                    batches.push(BatchKeys { parts, targets: reader.byte_string("public key", MAX_KEY_BYTES)? });
                }
                Self::EncryptionKeys(batches)
            }
            4 => Self::FunctionKeys(reader.byte_string("function keys", MAX_KEY_BYTES)?),
            5 => Self::OperandKeys(reader.byte_string("function keys", MAX_KEY_BYTES)?),
            6 => {
                let count = reader.count("words", 8, MAX_KEY_BYTES / 8)?;
                let mut words = Vec::new();
                for _ in 0..count {
                    words.push(reader.u64()?);
                }
                Self::SumKeys(words)
            }
            7 => {
                let json = reader.byte_string("refusal", MAX_REFUSAL)?;
                let refusal = serde_json::from_slice(&json);
                let text = |error: serde_json::Error| DecodeError::Text { what: "refusal", problem: error.to_string() };
                Self::Refused(refusal.map_err(text)?)
            }
            found => return Err(DecodeError::Value { what: "reply", found: found.into(), wanted: "1 to 7" }),
        })
    }
}

impl ContributionId {
    /// A name of one letter, its length, the round and the random number.
    pub(crate) const LEAST_BYTES: u64 = 4 + 1 + 36 + 16;

    pub(crate) fn write(&self, writer: &mut Writer<impl Write>) -> IoResult {
        writer.byte_string(self.client.as_bytes())?;
        writer.u32(self.round.number)?;
        writer.bytes(&self.round.network)?;
        writer.bytes(&self.nonce)
    }

    pub(crate) fn read(reader: &mut Reader<impl Read>) -> Result<Self, DecodeError> {
        let client = read_name(reader)?;
        let round = RoundId { number: reader.u32()?, network: reader.bytes()? };
        Ok(Self { client, round, nonce: reader.bytes()? })
    }
}

pub(crate) fn write_head(writer: &mut Writer<impl Write>, head: &Head) -> IoResult {
    writer.u64(head.records)?;
    writer.bytes(&head.hash)
}

pub(crate) fn read_head(reader: &mut Reader<impl Read>) -> Result<Head, DecodeError> {
    Ok(Head { records: reader.u64()?, hash: reader.bytes()? })
}

pub(crate) fn write_place(writer: &mut Writer<impl Write>, client: &str, dataset: DatasetId, batch: u32) -> IoResult {
    writer.byte_string(client.as_bytes())?;
    writer.bytes(&dataset.0)?;
    writer.u32(batch)
}

pub(crate) fn read_place(reader: &mut Reader<impl Read>) -> Result<(String, DatasetId, u32), DecodeError> {
    Ok((read_name(reader)?, DatasetId(reader.bytes()?), reader.u32()?))
}

pub(crate) fn read_direction(reader: &mut Reader<impl Read>) -> Result<Direction, DecodeError> {
    let found = reader.u8()?;
    let direction = Direction::ALL.into_iter().find(|direction| *direction as u8 == found);
    direction.ok_or(DecodeError::Value { what: "direction", found: found.into(), wanted: "1 or 2" })
}

/// Integers of a matrix, packed to the bits that the largest magnitude needs: rows, columns, bits, values from `-2^(bits - 1)`.
pub(crate) fn write_values(writer: &mut Writer<impl Write>, values: &Array2<i64>) -> IoResult {
    let largest = values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
    let bits = (u64::BITS - largest.leading_zeros() + 1).min(56);
    let offset = 1i64 << (bits - 1);
    if largest > offset.unsigned_abs() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    writer.u32(values.nrows() as u32)?;
    writer.u32(values.ncols() as u32)?;
    writer.u8(bits as u8)?;
    writer.packed(bits, values.iter().map(|value| (value + offset) as u64))
}

pub(crate) fn read_values(reader: &mut Reader<impl Read>) -> Result<Array2<i64>, DecodeError> {
    let (rows, columns) = (reader.count("rows", 0, MAX_SIDE)?, reader.count("columns", 0, MAX_SIDE)?);
    let bits = u32::from(reader.u8()?);
    if !(1..=56).contains(&bits) {
        return Err(DecodeError::Value { what: "bits of an integer", found: bits.into(), wanted: "1 to 56" });
    }
    // Both below 2^22.
    let count = rows * columns;
    if count > MAX_VALUES {
        return Err(DecodeError::TooLarge { what: "values of a query", found: count as u64, limit: MAX_VALUES as u64 });
    }
    reader.demand(packed_bytes(count, bits))?;
    let offset = 1i64 << (bits - 1);
    let (mut values, mut largest) = (Vec::new(), 0);
    reader.packed(bits, count, |_, found| {
        let value = found as i64 - offset;
        largest = largest.max(value.unsigned_abs());
        values.push(value);
        Ok(())
    })?;
    if bits != (u64::BITS - largest.leading_zeros() + 1).min(56) {
        let wanted = "as many as the largest needs";
        return Err(DecodeError::Value { what: "bits of an integer", found: bits.into(), wanted });
    }
    Array2::from_shape_vec((rows, columns), values)
        .map_err(|error| DecodeError::Text { what: "matrix", problem: error.to_string() })
}

fn flag(what: &'static str, found: u8) -> DecodeError {
    DecodeError::Value { what, found: found.into(), wanted: "0 or 1" }
}

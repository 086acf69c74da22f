use std::io::{Read, Write};

use nightloom_wire::{DecodeError, Reader, Writer};

use crate::agreement::{DatasetId, Direction, MAX_AGREEMENT_BYTES};
use crate::protocol::{ContributionId, Role};

/// Most functionals of an entry, and most coordinates of a functional.
const MAX_SIDE: usize = 1 << 22;
/// Most contributions of a sum.
const MAX_CONTRIBUTIONS: usize = 1 << 16;

type IoResult = std::io::Result<()>;

/// What a ledger remembers.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The beginning: what was agreed on, as JSON.
    Founded {
        /// The agreement.
        agreement: Vec<u8>,
    },
    /// Somebody has a token.
    Enrolled {
        /// What the party may do.
        role: Role,
        /// Its name.
        name: String,
    },
    /// A client has a dataset.
    Registered {
        /// The client.
        client: String,
        /// The dataset.
        dataset: DatasetId,
        /// Its samples.
        samples: u32,
    },
    /// Keys for products were issued.
    Issued(Issue),
    /// Keys for operations on targets were issued.
    Operands {
        /// Whose targets.
        client: String,
        /// The dataset.
        dataset: DatasetId,
        /// The batch.
        batch: u32,
        /// Targets that they open.
        values: u32,
    },
    /// A sum was opened.
    Summed {
        /// Of these.
        contributions: Vec<ContributionId>,
        /// Deviation of its noise over what one sample can change; 0 without noise.
        noise: f64,
    },
}

/// Keys for products with a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    /// Whose batch.
    pub client: String,
    /// The dataset.
    pub dataset: DatasetId,
    /// The batch.
    pub batch: u32,
    /// What they open.
    pub direction: Direction,
    /// Rows of the query.
    pub units: u32,
    /// SHA-256 of the query.
    pub digest: [u8; 32],
    /// Deviation of the noise over what one sample can change; 0 without noise.
    pub noise: f64,
    /// Coordinates of a functional.
    pub dimension: u32,
    /// The functionals that were outside the span of those issued before, one after another. None where none are counted.
    pub rows: Vec<i32>,
}

impl Entry {
    /// Whether what is issued may depend on this being on disk. Where nothing is counted, nothing does.
    pub(super) fn must_last(&self) -> bool {
        !matches!(self, Self::Issued(Issue { rows, noise, .. }) if rows.is_empty() && *noise == 0.0)
            && !matches!(self, Self::Operands { .. })
    }

    pub(super) fn write(&self, writer: &mut Writer<impl Write>) -> IoResult {
        match self {
            Self::Founded { agreement } => {
                writer.u8(1)?;
                writer.byte_string(agreement)
            }
            Self::Enrolled { role, name } => {
                writer.u8(2)?;
                writer.u8(*role as u8)?;
                writer.byte_string(name.as_bytes())
            }
            Self::Registered { client, dataset, samples } => {
                writer.u8(3)?;
                writer.byte_string(client.as_bytes())?;
                writer.bytes(&dataset.0)?;
                writer.u32(*samples)
            }
            Self::Issued(issue) => {
                writer.u8(4)?;
                issue.write(writer)
            }
            Self::Operands { client, dataset, batch, values } => {
                writer.u8(5)?;
                crate::protocol::write_place(writer, client, *dataset, *batch)?;
                writer.u32(*values)
            }
            Self::Summed { contributions, noise } => {
                writer.u8(6)?;
                writer.u32(contributions.len() as u32)?;
                contributions.iter().try_for_each(|contribution| contribution.write(writer))?;
                writer.f64(*noise)
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<impl Read>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Founded { agreement: reader.byte_string("agreement", MAX_AGREEMENT_BYTES)? },
            2 => Self::Enrolled { role: Role::read(reader)?, name: crate::protocol::read_name(reader)? },
            3 => Self::Registered {
                client: crate::protocol::read_name(reader)?,
                dataset: DatasetId(reader.bytes()?),
                samples: reader.u32()?,
            },
            4 => Self::Issued(Issue::read(reader)?),
            5 => {
                let (client, dataset, batch) = crate::protocol::read_place(reader)?;
                Self::Operands { client, dataset, batch, values: reader.u32()? }
            }
            6 => {
                let count = reader.count("contributions", ContributionId::LEAST_BYTES, MAX_CONTRIBUTIONS)?;
                let contributions = (0..count).map(|_| ContributionId::read(reader)).collect::<Result<_, _>>()?;
                Self::Summed { contributions, noise: read_noise(reader)? }
            }
            found => return Err(DecodeError::Value { what: "entry", found: found.into(), wanted: "1 to 6" }),
        })
    }
}

impl Issue {
    fn write(&self, writer: &mut Writer<impl Write>) -> IoResult {
        crate::protocol::write_place(writer, &self.client, self.dataset, self.batch)?;
        writer.u8(self.direction as u8)?;
        writer.u32(self.units)?;
        writer.bytes(&self.digest)?;
        writer.f64(self.noise)?;
        writer.u32(self.dimension)?;
        let rows = self.rows.len() / (self.dimension as usize).max(1);
        let shaped = ndarray::Array2::from_shape_fn((rows, self.dimension as usize), |(row, at)| {
            i64::from(self.rows[row * self.dimension as usize + at])
        });
        crate::protocol::write_values(writer, &shaped)
    }

    fn read(reader: &mut Reader<impl Read>) -> Result<Self, DecodeError> {
        let (client, dataset, batch) = crate::protocol::read_place(reader)?;
        let direction = crate::protocol::read_direction(reader)?;
        let (units, digest, noise) = (reader.u32()?, reader.bytes()?, read_noise(reader)?);
        let dimension = reader.count("coordinates", 0, MAX_SIDE)? as u32;
        let shaped = crate::protocol::read_values(reader)?;
        if shaped.ncols() != dimension as usize {
            let wanted = "as many as coordinates";
            return Err(DecodeError::Value { what: "columns", found: shaped.ncols() as u64, wanted });
        }
        let row = |&weight: &i64| {
            let problem = || DecodeError::Value { what: "weight", found: weight.unsigned_abs(), wanted: "31 bits" };
            i32::try_from(weight).map_err(|_| problem())
        };
        let rows = shaped.iter().map(row).collect::<Result<_, _>>()?;
        Ok(Self { client, dataset, batch, direction, units, digest, noise, dimension, rows })
    }
}

fn read_noise(reader: &mut Reader<impl Read>) -> Result<f64, DecodeError> {
    let noise = reader.f64("noise")?;
    if noise >= 0.0 && noise.is_sign_positive() {
        Ok(noise)
    } else {
        Err(DecodeError::Value { what: "noise", found: noise.to_bits(), wanted: "not negative" })
    }
}

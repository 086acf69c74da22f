//! The server: opens what training asks for, with keys of the authority.

use std::io::{Read, Seek};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::Array2;
use nightloom_wire::{DecodeError, Writer};

use crate::agreement::{Agreement, AgreementError, Direction, QueryError};
use crate::cipher::CipherError;
use crate::learn::Oracle;
use crate::learn::first_layer::{DataSpec, Query};
use crate::learn::network::Vectors;
use crate::protocol::{AskError, Link, Reply, Request, Session, Traffic};
use crate::upload::{BatchTargets, EncryptedBatch, EncryptedDataset, UploadError};
use crate::wire;
use crate::{FeError, FeboFunctionKeys, Operation};

/// Opens products of encrypted samples with keys that it asks an authority for. Under every scheme these are the integers
/// of [`ClearOracle`](crate::learn::ClearOracle), so training gives the same weights, bit by bit, unless the authority adds
/// noise.
pub struct EncryptedOracle<L: Link, R> {
    session: Session<L>,
    agreement: Arc<Agreement>,
    uploads: Vec<EncryptedDataset<R>>,
    spec: DataSpec,
    /// The batch that was read last: a step asks for three things of one batch.
    batch: Option<(usize, EncryptedBatch)>,
    costs: Costs,
}

/// What opening has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// Time of everything about encryption, the authority's included.
    pub time: Duration,
    /// Bytes of keys that came from the authority.
    pub key_bytes: u64,
    /// Bytes of requests to it.
    pub request_bytes: u64,
}

/// Why a product was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError<E> {
    /// The agreement is for something else.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// No upload at all.
    #[error("no encrypted samples")]
    NoUploads,
    /// The same samples twice.
    #[error("the samples of {client}, dataset {dataset}, are given twice")]
    Twice {
        /// Whose they are.
        client: String,
        /// Which.
        dataset: crate::agreement::DatasetId,
    },
    /// Samples that are not one batch.
    #[error("samples {first} to {last} are not a batch of {batch}: they were not encrypted together")]
    NotABatch {
        /// The first.
        first: usize,
        /// The last.
        last: usize,
        /// Samples of a batch.
        batch: usize,
    },
    /// An upload cannot be read.
    #[error("samples of {client}: {source}")]
    Upload {
        /// Whose they are.
        client: String,
        /// What is wrong with them.
        source: UploadError,
    },
    /// The authority does not answer.
    #[error(transparent)]
    Ask(#[from] AskError<E>),
    /// Ciphertexts and keys do not open.
    #[error("batch {batch} of {client}: {source}")]
    Cipher {
        /// Whose batch.
        client: String,
        /// The batch.
        batch: usize,
        /// Why.
        source: CipherError,
    },
    /// A ciphertext of another number of vectors than its upload says.
    #[error("batch {batch} of {client} holds other samples than announced: {found} values opened, wanted {wanted}")]
    OtherShape {
        /// Whose batch.
        client: String,
        /// The batch.
        batch: usize,
        /// Values opened.
        found: usize,
        /// Values wanted.
        wanted: usize,
    },
    /// A value that the query declared impossible.
    #[error(
        "batch {batch} of {client}: a product of {found}, declared to stay within {bound}: the samples are not in range"
    )]
    Bound {
        /// Whose batch.
        client: String,
        /// The batch.
        batch: usize,
        /// The value.
        found: i64,
        /// What was declared.
        bound: i64,
    },
    /// The query is none.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// FEBO refuses.
    #[error("targets: {0}")]
    Febo(#[from] FeError),
    /// Keys that cannot be read.
    #[error("keys for targets: {0}")]
    Decode(#[from] DecodeError),
}

impl<L: Link, R: Read + Seek> EncryptedOracle<L, R> {
    /// Opens products of the samples of these uploads, one after another.
    ///
    /// # Errors
    /// [`OracleError`] if there is none, or one twice.
    pub fn new(session: Session<L>, uploads: Vec<EncryptedDataset<R>>) -> Result<Self, OracleError<L::Error>> {
        let agreement = session.token().agreement.clone();
        for (index, upload) in uploads.iter().enumerate() {
            let same =
                |other: &EncryptedDataset<R>| (other.client(), other.dataset()) == (upload.client(), upload.dataset());
            if uploads[..index].iter().any(same) {
                return Err(OracleError::Twice { client: upload.client().to_owned(), dataset: upload.dataset() });
            }
        }
        let samples = uploads.iter().map(EncryptedDataset::samples).sum();
        if samples == 0 {
            return Err(OracleError::NoUploads);
        }
        let spec = agreement.data_spec(samples)?;
        Ok(Self { session, agreement, uploads, spec, batch: None, costs: Costs::default() })
    }

    /// What opening has cost so far.
    pub fn costs(&self) -> Costs {
        let Traffic { sent, received } = self.session.traffic();
        Costs { key_bytes: received, request_bytes: sent, ..self.costs }
    }

    /// Bytes of the uploads.
    pub fn upload_bytes(&self) -> u64 {
        self.uploads.iter().map(EncryptedDataset::bytes).sum()
    }

    /// The conversation with the authority.
    pub fn session(&self) -> &Session<L> {
        &self.session
    }

    /// The upload and the batch in it that these samples are.
    fn find(&self, samples: &[usize]) -> Result<(usize, usize), OracleError<L::Error>> {
        let size = self.agreement.sealed()?.layout.batch();
        let (first, last) = (samples.first().copied().unwrap_or(0), samples.last().copied().unwrap_or(0));
        let wrong = || OracleError::NotABatch { first, last, batch: size };
        let mut before = 0;
        for (index, upload) in self.uploads.iter().enumerate() {
            if first < before + upload.samples() {
                let batch = (first - before) / size;
                let start = before + batch * size;
                let end = (start + size).min(before + upload.samples());
                return if samples.iter().copied().eq(start..end) { Ok((index, batch)) } else { Err(wrong()) };
            }
            before += upload.samples();
        }
        Err(wrong())
    }

    /// Reads the batch of these samples, unless it is there already.
    fn load(&mut self, samples: &[usize]) -> Result<(usize, usize), OracleError<L::Error>> {
        let (upload, batch) = self.find(samples)?;
        let first = samples.first().copied().unwrap_or(0);
        if self.batch.as_ref().is_none_or(|(kept, _)| *kept != first) {
            let found = self.uploads[upload].batch(batch);
            let client = || self.uploads[upload].client().to_owned();
            let found = found.map_err(|source| OracleError::Upload { client: client(), source })?;
            self.batch = Some((first, found));
        }
        Ok((upload, batch))
    }

    fn products(&mut self, direction: Direction, query: Query<'_>) -> Result<Array2<i64>, OracleError<L::Error>> {
        let start = Instant::now();
        let opened = self.open(direction, query);
        self.costs.time += start.elapsed();
        opened
    }

    fn open(&mut self, direction: Direction, query: Query<'_>) -> Result<Array2<i64>, OracleError<L::Error>> {
        let agreement = self.agreement.clone();
        let sealed = agreement.sealed()?;
        let (upload, batch) = self.load(query.samples)?;
        let samples = query.samples.len();
        let functionals = sealed.functionals(direction, query.values, samples)?;
        let (client, dataset) = (self.uploads[upload].client().to_owned(), self.uploads[upload].dataset());
        let values = query.values.to_owned();
        let request = Request::FunctionKeys { client: client.clone(), dataset, batch: batch as u32, direction, values };
        let Reply::FunctionKeys(keys) = self.session.ask(&request)? else {
            return Err(AskError::OtherReply { wanted: "function keys" }.into());
        };
        let part = sealed.layout.part(direction).ok_or(OracleError::NoUploads)?;
        let place = sealed.layout.parts().iter().position(|found| *found == part).unwrap_or(0);
        let (_, kept) = self.batch.as_ref().ok_or(OracleError::NoUploads)?;
        let opened = sealed.cipher(part).open(&kept.parts[place], &functionals, &keys);
        let opened = opened.map_err(|source| OracleError::Cipher { client: client.clone(), batch, source })?;
        let (found, wanted) = (opened.len(), functionals.len() * sealed.layout.vector_count(part, samples));
        if found != wanted {
            return Err(OracleError::OtherShape { client, batch, found, wanted });
        }
        let noisy = agreement.opening()?.noise.is_some();
        if let Some(&found) = opened.iter().find(|value| !noisy && value.unsigned_abs() > query.bound.unsigned_abs()) {
            return Err(OracleError::Bound { client, batch, found, bound: query.bound });
        }
        let units = match direction {
            Direction::Forward => query.values.nrows(),
            Direction::Gradient => query.values.ncols() / sealed.layout.vectors().count(),
        };
        Ok(sealed.layout.arrange(direction, opened, samples, units))
    }

    fn error(&mut self, query: Query<'_>) -> Result<Array2<i64>, OracleError<L::Error>> {
        let (upload, batch) = self.load(query.samples)?;
        let (_, kept) = self.batch.as_ref().ok_or(OracleError::NoUploads)?;
        let mut errors = query.values.to_owned();
        match &kept.targets {
            BatchTargets::Classes(classes) => {
                let one = 1i64 << self.spec.target_bits;
                for (mut row, class) in errors.rows_mut().into_iter().zip(classes) {
                    row[*class as usize] -= one;
                }
            }
            BatchTargets::Numbers(numbers) => {
                errors.iter_mut().zip(numbers).for_each(|(error, target)| *error -= target);
            }
            BatchTargets::Sealed(ciphertext) => {
                let agreement = self.agreement.clone();
                let febo = agreement.sealed()?.febo.as_ref().ok_or(OracleError::NoUploads)?;
                let operand = |&value: &i64| {
                    let bound = febo.bounds().weight().into();
                    i32::try_from(value).map_err(|_| QueryError::Weight { found: value, bound })
                };
                let operands = query.values.iter().map(operand).collect::<Result<Vec<i32>, _>>()?;
                // FEBO opens `Y - P`.
                let request = ciphertext.request(Operation::Subtract, &operands)?;
                let mut bytes = Vec::new();
                wire::write(&mut Writer::new(&mut bytes), &request, febo).map_err(DecodeError::Io)?;
                let client = self.uploads[upload].client().to_owned();
                let dataset = self.uploads[upload].dataset();
                let request = Request::OperandKeys { client, dataset, batch: batch as u32, request: bytes };
                let Reply::OperandKeys(keys) = self.session.ask(&request)? else {
                    return Err(AskError::OtherReply { wanted: "keys for targets" }.into());
                };
                let keys: FeboFunctionKeys = wire::read(&*keys, febo, keys.len() as u64)?;
                let (_, kept) = self.batch.as_ref().ok_or(OracleError::NoUploads)?;
                let BatchTargets::Sealed(ciphertext) = &kept.targets else { return Err(OracleError::NoUploads) };
                let opened = febo.decrypt(ciphertext, &keys)?;
                errors.iter_mut().zip(opened).for_each(|(error, difference)| *error = -difference);
            }
        }
        let client = || self.uploads[upload].client().to_owned();
        match errors.iter().find(|error| error.unsigned_abs() > query.bound.unsigned_abs()) {
            Some(&found) => Err(OracleError::Bound { client: client(), batch, found, bound: query.bound }),
            None => Ok(errors),
        }
    }
}

impl<L: Link, R: Read + Seek> Oracle for EncryptedOracle<L, R> {
    type Error = OracleError<L::Error>;

    fn data(&self) -> &DataSpec {
        &self.spec
    }

    fn vectors(&self) -> Vectors {
        // Uploads are under an agreement that has a layout.
        self.agreement.sealed().map_or(Vectors::Whole { width: 0 }, |sealed| sealed.layout.vectors())
    }

    fn forward(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error> {
        self.products(Direction::Forward, query)
    }

    fn gradient(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error> {
        self.products(Direction::Gradient, query)
    }

    fn output_error(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error> {
        let start = Instant::now();
        let errors = self.error(query);
        self.costs.time += start.elapsed();
        errors
    }
}

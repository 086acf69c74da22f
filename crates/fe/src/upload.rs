//! What a client encrypted for training, as a file: read batch by batch, in any order.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};

use crate::FeboCiphertext;
use crate::agreement::{Agreement, AgreementError, AgreementId, DatasetId, Labels, Sealed, TargetForm};
use crate::protocol::read_name;
use crate::wire::{self, VERSION};

/// Longest ciphertext of one part of a batch in bytes.
const MAX_PART: usize = 1 << 30;

/// Why an upload cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The bytes are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The agreement does not have samples like these.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// An upload under another agreement.
    #[error("made under agreement {found}, wanted {wanted}")]
    OtherAgreement {
        /// Its agreement.
        found: AgreementId,
        /// The agreement wanted.
        wanted: AgreementId,
    },
    /// A length that the file does not have.
    #[error("damaged or not complete: its header announces {announced} bytes, the file has {found}")]
    Length {
        /// Bytes announced.
        announced: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A batch that does not exist.
    #[error("batch {found} of {batches}")]
    Batch {
        /// The batch.
        found: usize,
        /// Batches there are.
        batches: usize,
    },
}

/// A client's encrypted samples, in a source from which batches are read when they are wanted.
pub struct EncryptedDataset<R> {
    source: R,
    agreement: Arc<Agreement>,
    client: String,
    dataset: DatasetId,
    samples: usize,
    /// Bytes of a whole batch.
    batch_bytes: u64,
    /// Where the first batch begins.
    first: u64,
    length: u64,
}

/// One batch.
#[derive(Clone, Debug, PartialEq)]
pub struct EncryptedBatch {
    /// Samples.
    pub samples: usize,
    /// Of each part of the layout a ciphertext.
    pub(crate) parts: Vec<Vec<u8>>,
    /// The targets.
    pub(crate) targets: BatchTargets,
}

/// The targets of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BatchTargets {
    /// The class of each sample.
    Classes(Vec<u32>),
    /// Numbers in steps, sample by sample.
    Numbers(Vec<i64>),
    /// Under FEBO, sample by sample.
    Sealed(FeboCiphertext),
}

impl EncryptedBatch {
    fn write(&self, writer: &mut Writer<impl Write>, sealed: &Sealed) -> std::io::Result<()> {
        self.parts.iter().try_for_each(|part| writer.byte_string(part))?;
        match &self.targets {
            BatchTargets::Classes(classes) => classes.iter().try_for_each(|class| writer.u16(*class as u16)),
            BatchTargets::Numbers(numbers) => numbers.iter().try_for_each(|number| writer.u64(*number as u64)),
            BatchTargets::Sealed(ciphertext) => {
                let febo = sealed.febo.as_ref().ok_or(std::io::ErrorKind::InvalidInput)?;
                wire::write(writer, ciphertext, febo)
            }
        }
    }

    fn read(reader: &mut Reader<impl Read>, agreement: &Agreement, samples: usize) -> Result<Self, UploadError> {
        let sealed = agreement.sealed()?;
        let part = |_| reader.byte_string("ciphertext", MAX_PART);
        let parts = sealed.layout.parts().iter().map(part).collect::<Result<_, _>>()?;
        let (labels, form) = (agreement.opening()?.labels, &agreement.data().targets);
        let targets = match (labels, form, &sealed.febo) {
            (Labels::Febo, _, Some(febo)) => {
                let left = reader.left();
                let mut bytes = Vec::new();
                while (bytes.len() as u64) < left {
                    let at = bytes.len();
                    bytes.resize(at + (1 << 16).min((left - at as u64) as usize), 0);
                    reader.fill(&mut bytes[at..])?;
                }
                let ciphertext: FeboCiphertext = wire::read(&*bytes, febo, left)?;
                let (found, wanted) = (ciphertext.len() as u64, "one for each output of each sample");
                if found != (samples * form.width()) as u64 {
                    return Err(DecodeError::Value { what: "sealed targets", found, wanted }.into());
                }
                BatchTargets::Sealed(ciphertext)
            }
            (_, TargetForm::Classes(names), _) => {
                let class = |_| match u32::from(reader.u16()?) {
                    class if (class as usize) < names.len() => Ok(class),
                    found => {
                        Err(DecodeError::Value { what: "class", found: found.into(), wanted: "one of the classes" })
                    }
                };
                BatchTargets::Classes((0..samples).map(class).collect::<Result<_, _>>()?)
            }
            (_, TargetForm::Numbers { width, .. }, _) => {
                let bound = form.bound(agreement.opening()?.target_bits);
                let number = |_| match reader.u64()? as i64 {
                    number if number.unsigned_abs() <= bound.unsigned_abs() => Ok(number),
                    found => Err(DecodeError::Value {
                        what: "target",
                        found: found.unsigned_abs(),
                        wanted: "a magnitude within the bound",
                    }),
                };
                BatchTargets::Numbers((0..samples * width).map(number).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { samples, parts, targets })
    }
}

/// Writes an upload, batch by batch.
pub(crate) struct UploadWriter<'a, W: Write + Seek> {
    writer: Writer<W>,
    sealed: &'a Sealed,
    batch_bytes: Option<u64>,
    /// Where the place for the bytes of a batch is.
    place: u64,
}

impl<'a, W: Write + Seek> UploadWriter<'a, W> {
    /// Writes the head, with room for the lengths.
    pub fn begin(
        sink: W,
        agreement: &'a Agreement,
        client: &str,
        dataset: DatasetId,
        samples: u32,
    ) -> Result<Self, std::io::Error> {
        let sealed = agreement.sealed().map_err(|_| std::io::ErrorKind::InvalidInput)?;
        let mut writer = Writer::new(sink);
        Header { kind: Kind::EncryptedDataset, version: VERSION, length: 0 }.write(&mut writer)?;
        writer.bytes(&agreement.id().0)?;
        writer.byte_string(client.as_bytes())?;
        writer.bytes(&dataset.0)?;
        writer.u32(samples)?;
        let place = writer.written();
        writer.u64(0)?;
        Ok(Self { writer, sealed, batch_bytes: None, place })
    }

    /// Writes the next batch. All but the last have the same number of samples.
    pub fn batch(&mut self, batch: &EncryptedBatch) -> Result<(), std::io::Error> {
        let before = self.writer.written();
        batch.write(&mut self.writer, self.sealed)?;
        self.batch_bytes.get_or_insert(self.writer.written() - before);
        Ok(())
    }

    /// Fills in the lengths. Returns the sink and the bytes of the whole.
    pub fn finish(self) -> Result<(W, u64), std::io::Error> {
        let Self { writer, batch_bytes, place, .. } = self;
        let written = writer.written();
        let mut sink = writer.into_inner();
        sink.seek(SeekFrom::Start(8))?;
        sink.write_all(&(written - HEADER_BYTES).to_le_bytes())?;
        sink.seek(SeekFrom::Start(place))?;
        sink.write_all(&batch_bytes.unwrap_or(0).to_le_bytes())?;
        sink.seek(SeekFrom::End(0))?;
        sink.flush()?;
        Ok((sink, written))
    }
}

impl<R: Read + Seek> EncryptedDataset<R> {
    /// Opens an upload under an agreement. Its lengths are checked, its batches when they are read.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn open(mut source: R, agreement: &Arc<Agreement>) -> Result<Self, UploadError> {
        let sealed = agreement.sealed()?;
        source.rewind().map_err(DecodeError::Io)?;
        let (header, mut reader) = Header::open(&mut source, Kind::EncryptedDataset, VERSION, u64::MAX - HEADER_BYTES)?;
        let found = AgreementId(reader.bytes()?);
        if found != agreement.id() {
            return Err(UploadError::OtherAgreement { found, wanted: agreement.id() });
        }
        let (client, dataset) = (read_name(&mut reader)?, DatasetId(reader.bytes()?));
        let (samples, batch_bytes) = (reader.u32()?, reader.u64()?);
        let (first, length) = (HEADER_BYTES + header.length - reader.left(), HEADER_BYTES + header.length);
        let found = source.seek(SeekFrom::End(0)).map_err(DecodeError::Io)?;
        if found != length {
            return Err(UploadError::Length { announced: length, found });
        }
        let (samples, size) = (samples as usize, sealed.layout.batch());
        let body = length - first;
        let whole = (samples / size) as u64;
        let fits = samples > 0
            && batch_bytes > 0
            && match batch_bytes.checked_mul(whole) {
                Some(bytes) if samples.is_multiple_of(size) => bytes == body,
                // The last batch is smaller; a single one says itself how long it is.
                Some(bytes) => bytes < body && (whole == 0) == (batch_bytes == body),
                None => false,
            };
        if !fits {
            let wanted = "as many as the batches take";
            return Err(DecodeError::Value { what: "bytes of a batch", found: batch_bytes, wanted }.into());
        }
        let agreement = agreement.clone();
        Ok(Self { source, agreement, client, dataset, samples, batch_bytes, first, length })
    }

    /// Whose samples they are.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Which samples of the client they are.
    pub fn dataset(&self) -> DatasetId {
        self.dataset
    }

    /// Samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Batches.
    pub fn batches(&self) -> usize {
        self.samples.div_ceil(self.batch_size())
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    fn batch_size(&self) -> usize {
        self.agreement.sealed().map_or(1, |sealed| sealed.layout.batch())
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn batch(&mut self, batch: usize) -> Result<EncryptedBatch, UploadError> {
        let (batches, size) = (self.batches(), self.batch_size());
        if batch >= batches {
            return Err(UploadError::Batch { found: batch, batches });
        }
        let samples = size.min(self.samples - batch * size);
        let start = self.first + self.batch_bytes * batch as u64;
        let length = if batch + 1 == batches { self.length - start } else { self.batch_bytes };
        self.source.seek(SeekFrom::Start(start)).map_err(DecodeError::Io)?;
        let source = std::io::BufReader::with_capacity((length as usize).min(1 << 18), self.source.by_ref());
        let mut reader = Reader::new(source.take(length), length);
        let found = EncryptedBatch::read(&mut reader, &self.agreement, samples)?;
        reader.finish()?;
        Ok(found)
    }

    /// Reads everything and writes it again, for fuzzing.
    #[doc(hidden)]
    pub fn again(&mut self) -> Result<Vec<u8>, UploadError> {
        let agreement = self.agreement.clone();
        let sink = std::io::Cursor::new(Vec::new());
        let io = DecodeError::Io;
        let mut writer =
            UploadWriter::begin(sink, &agreement, &self.client, self.dataset, self.samples as u32).map_err(io)?;
        for batch in 0..self.batches() {
            writer.batch(&self.batch(batch)?).map_err(io)?;
        }
        let (sink, _) = writer.finish().map_err(io)?;
        Ok(sink.into_inner())
    }
}

//! Products that a server computes on pads for the client, in mode `delegate`.

use std::io::{Read, Seek, Write};
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Writer};

use crate::agreement::{Agreement, AgreementError, AgreementId, DatasetId, Direction, Part, QueryError};
use crate::learn::Seed;
use crate::learn::fixed_point::{Rounding, rounded_rows};
use crate::protocol::{read_name, read_values, write_values};
use crate::upload::{EncryptedDataset, UploadError};
use crate::wire::{self, VERSION};
use crate::{FeError, Functionals, Pad, PadCiphertext};

/// Most samples of an upload.
const MAX_SAMPLES: usize = 1 << 31;

/// Products of weights with samples, still under pads: whoever has them learns nothing of the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedProducts {
    agreement: AgreementId,
    client: String,
    dataset: DatasetId,
    /// The weights as integers, and what the integer 1 of a product stands for in each row.
    weights: Array2<i64>,
    scales: Vec<f64>,
    batch: usize,
    samples: usize,
    words: Vec<u64>,
}

/// Why there are no products.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DelegateError {
    /// The upload cannot be read.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The weights do not fit.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The agreement is for something else.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// A ciphertext that cannot be read.
    #[error("batch {batch}: {source}")]
    Decode {
        /// The batch.
        batch: usize,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The scheme refuses.
    #[error(transparent)]
    Scheme(#[from] FeError),
    /// Weights that are infinite or not numbers.
    #[error("weights must be finite numbers")]
    NotFinite,
    /// A batch of another number of samples than the upload says.
    #[error("batch {batch} has {found} samples, wanted {wanted}")]
    Samples {
        /// The batch.
        batch: usize,
        /// Samples of its ciphertext.
        found: usize,
        /// Samples announced.
        wanted: usize,
    },
}

/// Multiplies weights, a row each product, with every sample of an upload. The server's part: it needs no key.
///
/// # Errors
/// [`DelegateError`].
pub fn multiply<R: Read + Seek>(
    agreement: &Agreement,
    upload: &mut EncryptedDataset<R>,
    weights: ArrayView2<'_, f64>,
) -> Result<MaskedProducts, DelegateError> {
    let sealed = agreement.sealed()?;
    if !weights.iter().all(|weight| weight.is_finite()) {
        return Err(DelegateError::NotFinite);
    }
    let limit = (1i64 << (agreement.opening()?.fixed_point.weight_bits - 1)) - 1;
    let (integers, steps) = rounded_rows(weights, limit, Rounding::Nearest, &Seed::new([0; 32]));
    let step = agreement.data_spec(1)?.step;
    let pad = Pad::new(*sealed.cipher(Part::Samples).bounds());
    let mut words = Vec::new();
    for number in 0..upload.batches() {
        let batch = upload.batch(number)?;
        let functionals: Functionals = sealed.functionals(Direction::Forward, integers.view(), batch.samples)?;
        let bytes = batch.parts.first().map_or(&[][..], |part| part);
        let ciphertext: PadCiphertext = wire::read(bytes, &pad, bytes.len() as u64)
            .map_err(|source| DelegateError::Decode { batch: number, source })?;
        let wanted = sealed.layout.vector_count(Part::Samples, batch.samples);
        if ciphertext.samples() != wanted {
            return Err(DelegateError::Samples { batch: number, found: ciphertext.samples(), wanted });
        }
        words.extend(pad.multiply(&ciphertext, &functionals)?);
    }
    Ok(MaskedProducts {
        agreement: agreement.id(),
        client: upload.client().to_owned(),
        dataset: upload.dataset(),
        scales: steps.iter().map(|weight| weight * step).collect(),
        weights: integers,
        batch: sealed.layout.batch(),
        samples: upload.samples(),
        words,
    })
}

impl MaskedProducts {
    /// Whose samples.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Which samples.
    pub fn dataset(&self) -> DatasetId {
        self.dataset
    }

    /// Samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The weights as integers.
    pub(crate) fn weights(&self) -> &Array2<i64> {
        &self.weights
    }

    /// What the integer 1 of a product stands for, by row of the weights.
    pub(crate) fn scales(&self) -> &[f64] {
        &self.scales
    }

    /// Of each batch its samples and its words.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (usize, &[u64])> {
        let rows = self.words.len() / self.samples.max(1);
        let batch = self.batch.max(1);
        self.words.chunks((rows * batch).max(1)).map(move |words| (words.len() / rows.max(1), words))
    }

    /// Writes them.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, sink: impl Write) -> std::io::Result<()> {
        let mut body = Writer::new(Vec::new());
        body.bytes(&self.agreement.0)?;
        body.byte_string(self.client.as_bytes())?;
        body.bytes(&self.dataset.0)?;
        write_values(&mut body, &self.weights)?;
        self.scales.iter().try_for_each(|scale| body.f64(*scale))?;
        body.u32(self.samples as u32)?;
        body.u32(self.words.len() as u32)?;
        self.words.iter().try_for_each(|word| body.u64(*word))?;
        let body = body.into_inner();
        let mut writer = Writer::new(sink);
        let header = Header { kind: Kind::MaskedProducts, version: VERSION, length: body.len() as u64 };
        header.write(&mut writer)?;
        writer.bytes(&body)
    }

    /// Reads products under an agreement.
    ///
    /// # Errors
    /// [`DecodeError`] for every way in which the bytes can be wrong.
    pub fn read(source: impl Read, agreement: &Arc<Agreement>) -> Result<Self, DecodeError> {
        let text = |problem: String| DecodeError::Text { what: "products", problem };
        let layout = &agreement.sealed().map_err(|error| text(error.to_string()))?.layout;
        let (_, mut reader) = Header::open(source, Kind::MaskedProducts, VERSION, u64::MAX - HEADER_BYTES)?;
        let found = AgreementId(reader.bytes()?);
        if found != agreement.id() {
            let (found, wanted) = (found.to_string(), agreement.id().to_string());
            return Err(DecodeError::ParamsMismatch { found, wanted });
        }
        let (client, dataset) = (read_name(&mut reader)?, DatasetId(reader.bytes()?));
        let weights = read_values(&mut reader)?;
        let scales = (0..weights.nrows()).map(|_| reader.f64("scale")).collect::<Result<Vec<_>, _>>()?;
        let samples = reader.count("samples", 0, MAX_SAMPLES)?;
        let count = reader.count("products", 8, u32::MAX as usize)?;
        let wanted = samples.saturating_mul(weights.nrows()).saturating_mul(layout.vectors().count());
        if count != wanted || samples == 0 || weights.is_empty() {
            let wanted = "one for each weight row and vector of each sample";
            return Err(DecodeError::Value { what: "products", found: count as u64, wanted });
        }
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(reader.u64()?);
        }
        reader.finish()?;
        let batch = layout.batch();
        Ok(Self { agreement: agreement.id(), client, dataset, weights, scales, batch, samples, words })
    }
}

//! The client: encrypts its samples once, and leaves.

use std::io::{Seek, Write};
use std::sync::Arc;

use ndarray::Array2;
use nightloom_wire::DecodeError;
use rand_core::{CryptoRng, Rng};

use crate::agreement::{Agreement, AgreementError, DatasetId, Direction, Labels, Part, QueryError, Sealed};
use crate::cipher::CipherError;
use crate::delegate::MaskedProducts;
use crate::learn::{Dataset, Seed, Targets};
use crate::mode::Mode;
use crate::protocol::{AskError, BatchKeys, EnrolmentToken, Link, MAX_BATCHES, Reply, Request, Session};
use crate::upload::{BatchTargets, EncryptedBatch, UploadWriter};
use crate::wire;
use crate::{FeError, FeboPublicKey, Functionals, Pad, PadFunctionKeys};

/// Batches whose keys are asked for at once.
const CHUNK: u32 = MAX_BATCHES as u32;

/// A client with its token.
pub struct Client<L: Link> {
    session: Session<L>,
    /// What targets are encrypted with, and its bytes.
    target_key: Option<(Vec<u8>, FeboPublicKey)>,
}

/// Why samples were not encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError<E> {
    /// The samples are not those agreed on.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// Fewer samples than a batch.
    #[error("{found} samples, wanted at least a batch of {batch}")]
    TooFew {
        /// Samples given.
        found: usize,
        /// Samples of a batch.
        batch: usize,
    },
    /// More samples than can be numbered.
    #[error("{found} samples, wanted fewer than 2^32")]
    TooMany {
        /// Samples given.
        found: usize,
    },
    /// The authority does not answer.
    #[error(transparent)]
    Ask(#[from] AskError<E>),
    /// The scheme refuses.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The scheme refuses.
    #[error(transparent)]
    Scheme(#[from] FeError),
    /// The query is none.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A key or a file that cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The result cannot be written.
    #[error("cannot write: {0}")]
    Write(#[source] std::io::Error),
    /// Products of another dataset.
    #[error("products of {client}'s dataset {dataset}, this is not its client's token")]
    OtherClient {
        /// Whose they are.
        client: String,
        /// Of which dataset.
        dataset: DatasetId,
    },
}

/// What was encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which samples. The same samples under the same token are the same dataset, whenever they are encrypted.
    pub dataset: DatasetId,
    /// Samples in the upload.
    pub samples: usize,
    /// Samples that did not fill a batch.
    pub left_out: usize,
    /// Batches.
    pub batches: usize,
    /// Bytes of the upload.
    pub bytes: u64,
    /// Other datasets that the authority knows under this token. Budgets are of a dataset, so what is opened of samples that are
    /// in several adds up.
    pub other_datasets: u32,
    /// Labels that were replaced by others.
    pub replaced_labels: usize,
}

/// Samples as they are encrypted.
#[derive(Clone, Debug, PartialEq)]
pub struct Arranged {
    /// Which samples.
    pub dataset: DatasetId,
    /// The samples.
    pub data: Dataset,
    /// Samples that did not fill a batch.
    pub left_out: usize,
    /// Labels that were replaced by others.
    pub replaced_labels: usize,
}

impl<L: Link> Client<L> {
    /// A client in conversation with the authority.
    pub fn new(session: Session<L>) -> Self {
        Self { session, target_key: None }
    }

    fn agreement(&self) -> Arc<Agreement> {
        self.session.token().agreement.clone()
    }

    /// The samples as they are encrypted: in the order that token and samples determine, in whole batches, with the labels that
    /// leave the client. Training in the clear on these gives the weights of training on the upload.
    ///
    /// # Errors
    /// [`ClientError`] if they are not those agreed on, or too few.
    pub fn arrange(&self, data: &Dataset) -> Result<Arranged, ClientError<L::Error>> {
        let agreement = self.agreement();
        agreement.check_dataset(data)?;
        let size = agreement.sealed()?.layout.batch();
        let token = self.session.token();
        let dataset = dataset_id(token, data);
        // Delegated products keep the order of the samples, and leave none out.
        let in_order = agreement.mode() == Mode::Delegate;
        let samples = if in_order { data.len() } else { data.len() / size * size };
        if samples == 0 {
            return Err(ClientError::TooFew { found: data.len(), batch: size });
        }
        let left_out = data.len() - samples;
        let data = if in_order { data.clone() } else { data.shuffled(&order(token, dataset)) };
        let data = if left_out == 0 { data } else { data.split_at(samples).map_err(AgreementError::Data)?.0 };
        let Targets::Classes { classes, labels } = data.targets() else {
            return Ok(Arranged { dataset, data, left_out, replaced_labels: 0 });
        };
        // From token and samples, so that a label that is sent twice is the same both times.
        let mut rng = token.key.generator(&[b"nightloom labels", &dataset.0]);
        // In mode `delegate` they stay with the client, so there is nothing to replace.
        let kept = if agreement.mode() == Mode::Delegate { 1.0 } else { agreement.opening()?.labels.kept(*classes) };
        let answers: Vec<usize> =
            labels.iter().map(|&label| answer(label, *classes, kept, &mut rng) as usize).collect();
        let replaced_labels = answers.iter().zip(labels).filter(|(answer, label)| **answer != **label as usize).count();
        let targets = Targets::classes(*classes, &answers).map_err(AgreementError::Data)?;
        let data = Dataset::new(data.inputs().clone(), targets).map_err(AgreementError::Data)?;
        Ok(Arranged { dataset, data, left_out, replaced_labels })
    }

    /// Registers samples with the authority, encrypts them in an order that the token and the samples determine, and writes
    /// the upload. `progress` is told batches done, and all.
    ///
    /// Batches are whole, but for the last one in mode `delegate`: the samples that are left over are not encrypted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn encrypt<W: Write + Seek>(
        &mut self,
        data: &Dataset,
        rng: &mut impl CryptoRng,
        sink: W,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(W, Receipt), ClientError<L::Error>> {
        let agreement = self.agreement();
        let sealed = agreement.sealed()?;
        let size = sealed.layout.batch();
        let Arranged { dataset, data, left_out, replaced_labels } = self.arrange(data)?;
        let samples = data.len();
        let number = u32::try_from(samples).map_err(|_| ClientError::TooMany { found: samples })?;
        let targets = TargetValues::of(&agreement, &data)?;
        let name = self.session.token().name.clone();
        let register = Request::Register { dataset, samples: number };
        let other_datasets = self.expect(&register, "a registration", |reply| match reply {
            Reply::Registered { others } => Some(others),
            _ => None,
        })?;

        let batches = samples.div_ceil(size);
        let mut writer = UploadWriter::begin(sink, &agreement, &name, dataset, number).map_err(ClientError::Write)?;
        let mut keys: Vec<BatchKeys> = Vec::new();
        for batch in 0..batches {
            let place = batch as u32 % CHUNK;
            if agreement.shares_keys() {
                if batch == 0 {
                    keys = self.keys(dataset, 0, 1)?;
                }
            } else if place == 0 {
                keys = self.keys(dataset, batch as u32, CHUNK.min((batches - batch) as u32))?;
            }
            let keys = if agreement.shares_keys() { &keys[0] } else { &keys[place as usize] };
            let range = batch * size..samples.min((batch + 1) * size);
            let encrypted = self.encrypt_batch(sealed, &data, &targets, range, keys, rng)?;
            writer.batch(&encrypted).map_err(ClientError::Write)?;
            progress(batch + 1, batches);
        }
        let (sink, bytes) = writer.finish().map_err(ClientError::Write)?;
        Ok((sink, Receipt { dataset, samples, left_out, batches, bytes, replaced_labels, other_datasets }))
    }

    fn encrypt_batch(
        &mut self,
        sealed: &Sealed,
        data: &Dataset,
        targets: &TargetValues,
        range: std::ops::Range<usize>,
        keys: &BatchKeys,
        rng: &mut impl CryptoRng,
    ) -> Result<EncryptedBatch, ClientError<L::Error>> {
        let samples: Vec<&[i16]> = range.clone().map(|sample| data.inputs().sample(sample)).collect();
        let mut parts = Vec::new();
        for (&part, key) in sealed.layout.parts().iter().zip(&keys.parts) {
            let vectors = sealed.layout.encode(part, &samples);
            parts.push(sealed.cipher(part).encrypt(key, &vectors, rng)?);
        }
        let targets = match (targets, &sealed.febo) {
            (TargetValues::Classes(classes), None) => BatchTargets::Classes(classes[range.clone()].to_vec()),
            (TargetValues::Numbers { width, numbers }, febo) => {
                let numbers = &numbers[range.start * width..range.end * width];
                match febo {
                    None => BatchTargets::Numbers(numbers.to_vec()),
                    Some(febo) => {
                        if self.target_key.as_ref().is_none_or(|(bytes, _)| *bytes != keys.targets) {
                            let key = wire::read(&*keys.targets, febo, keys.targets.len() as u64)?;
                            self.target_key = Some((keys.targets.clone(), key));
                        }
                        let (_, key) = self.target_key.as_ref().unwrap_or_else(|| unreachable!("read above"));
                        let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
                        BatchTargets::Sealed(febo.encrypt(key, &numbers, rng)?)
                    }
                }
            }
            (TargetValues::Classes(_), Some(_)) => unreachable!("sealed targets are numbers"),
        };
        Ok(EncryptedBatch { samples: range.len(), parts, targets })
    }

    fn keys(&mut self, dataset: DatasetId, first: u32, count: u32) -> Result<Vec<BatchKeys>, ClientError<L::Error>> {
        let parts = self.agreement().sealed()?.layout.parts().len();
        let request = Request::EncryptionKeys { dataset, first, count };
        self.expect(&request, "keys of all batches", |reply| match reply {
            Reply::EncryptionKeys(keys)
                if keys.len() == count as usize && keys.iter().all(|keys| keys.parts.len() == parts) =>
            {
                Some(keys)
            }
            _ => None,
        })
    }

    fn expect<T>(
        &mut self,
        request: &Request,
        wanted: &'static str,
        accept: impl FnOnce(Reply) -> Option<T>,
    ) -> Result<T, ClientError<L::Error>> {
        let reply = self.session.ask(request)?;
        accept(reply).ok_or_else(|| AskError::OtherReply { wanted }.into())
    }

    /// Opens products that a server computed on this client's samples in mode `delegate`: a row a sample; of each row of
    /// the weights the products with all windows, or the one with the sample; in real units.
    ///
    /// # Errors
    /// [`ClientError`] if they are another client's, damaged, or the authority refuses.
    pub fn open_products(&mut self, products: &MaskedProducts) -> Result<Array2<f64>, ClientError<L::Error>> {
        let agreement = self.agreement();
        let sealed = agreement.sealed()?;
        let token = self.session.token();
        if products.client() != token.name {
            let (client, dataset) = (products.client().to_owned(), products.dataset());
            return Err(ClientError::OtherClient { client, dataset });
        }
        let pad = Pad::new(*sealed.cipher(Part::Samples).bounds());
        let (client, dataset) = (token.name.clone(), products.dataset());
        let windows = sealed.layout.vectors().count();
        let mut out = Array2::zeros((0, products.weights().nrows() * windows));
        for (batch, (samples, words)) in products.batches().enumerate() {
            let values = products.weights().clone();
            let functionals: Functionals = sealed.functionals(Direction::Forward, values.view(), samples)?;
            let direction = Direction::Forward;
            let request =
                Request::FunctionKeys { client: client.clone(), dataset, batch: batch as u32, direction, values };
            let keys = self.expect(&request, "function keys", |reply| match reply {
                Reply::FunctionKeys(keys) => Some(keys),
                _ => None,
            })?;
            let keys: PadFunctionKeys = wire::read(&*keys, (&pad, &functionals), keys.len() as u64)?;
            let opened = pad.unmask(words, &keys)?;
            let arranged = sealed.layout.arrange(direction, opened, samples, products.weights().nrows());
            for row in arranged.rows() {
                let scales = products.scales().iter().flat_map(|scale| std::iter::repeat_n(scale, windows));
                let real: ndarray::Array1<f64> =
                    row.iter().zip(scales).map(|(value, scale)| *value as f64 * scale).collect();
                out.push_row(real.view()).unwrap_or_else(|_| unreachable!("a column for each product of a sample"));
            }
        }
        Ok(out)
    }

    /// The conversation with the authority.
    pub fn session(&self) -> &Session<L> {
        &self.session
    }
}

/// Names samples by what they are: whoever encrypts the same again gets the same labels, and the same budget.
fn dataset_id(token: &EnrolmentToken, data: &Dataset) -> DatasetId {
    let mut bytes = Vec::new();
    for index in 0..data.len() {
        bytes.extend(data.inputs().sample(index).iter().flat_map(|value| value.to_le_bytes()));
    }
    let mut targets = Vec::new();
    match data.targets() {
        Targets::Classes { labels, .. } => targets.extend(labels.iter().flat_map(|label| label.to_le_bytes())),
        Targets::Numbers { values, .. } => targets.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    }
    let mac = token.key.mac(b"nightloom dataset\0", &[&token.agreement.id().0, &bytes, &targets]);
    let mut id = [0; 16];
    id.copy_from_slice(&mac[..16]);
    DatasetId(id)
}

/// The seed of the order of the samples.
fn order(token: &EnrolmentToken, dataset: DatasetId) -> Seed {
    Seed::random(&mut token.key.generator(&[b"nightloom order", &dataset.0]))
}

/// Targets as they are written or encrypted; in mode `delegate` zeros in their place.
enum TargetValues {
    Classes(Vec<u32>),
    /// In steps of the agreed bits.
    Numbers {
        width: usize,
        numbers: Vec<i64>,
    },
}

impl TargetValues {
    fn of(agreement: &Agreement, data: &Dataset) -> Result<Self, AgreementError> {
        let opening = agreement.opening()?;
        if agreement.mode() == Mode::Delegate {
            // Nobody trains on these: the same for every sample, so that the upload says nothing of them.
            return Ok(match data.targets() {
                Targets::Classes { labels, .. } => Self::Classes(vec![0; labels.len()]),
                targets => Self::Numbers { width: targets.width(), numbers: vec![0; data.len() * targets.width()] },
            });
        }
        if let (Targets::Classes { labels, .. }, false) = (data.targets(), opening.labels == Labels::Febo) {
            return Ok(Self::Classes(labels.clone()));
        }
        let one = f64::from(1u32 << opening.target_bits);
        let rows = (0..data.len()).flat_map(|sample| data.targets().rows(&[sample]).into_iter().collect::<Vec<f64>>());
        let numbers = rows.map(|target| libm::rint(target * one) as i64).collect();
        Ok(Self::Numbers { width: data.targets().width(), numbers })
    }
}

/// Randomised response: the label with probability `kept`, each other class equally often.
fn answer(label: u32, classes: usize, kept: f64, rng: &mut impl Rng) -> u32 {
    // Both numbers are drawn for every label, whatever becomes of it.
    let (first, second) = (rng.next_u64() >> 11, rng.next_u64());
    if kept >= 1.0 || (first as f64) < kept * f64::powi(2.0, 53) {
        return label;
    }
    // Uniform but for less than 2^-51.
    let other = ((u128::from(second) * (classes as u128 - 1)) >> 64) as u32;
    if other >= label { other + 1 } else { other }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    /// 100,000 answers: each frequency within six deviations of what the probability says; the seed is fixed.
    #[test]
    fn randomised_response_keeps_labels_with_its_probability() {
        let mut rng = chacha20::ChaCha20Rng::from_seed([5; 32]);
        let kept = Labels::Randomized { epsilon: 1.5 }.kept(4);
        assert!((kept - 1.5f64.exp() / (1.5f64.exp() + 3.0)).abs() < 1e-12);
        for label in 0..4u32 {
            let mut counts = [0u32; 4];
            (0..100_000).for_each(|_| counts[answer(label, 4, kept, &mut rng) as usize] += 1);
            for (class, count) in counts.into_iter().enumerate() {
                let wanted = if class == label as usize { kept } else { (1.0 - kept) / 3.0 };
                let deviation = (wanted * (1.0 - wanted) * 1e5).sqrt();
                assert!((f64::from(count) - wanted * 1e5).abs() < 6.0 * deviation, "{label} {class} {count}");
            }
            // The ratio of any two probabilities of an answer is at most e^epsilon.
            assert!((kept / ((1.0 - kept) / 3.0) - 1.5f64.exp()).abs() < 1e-9);
            assert_eq!(answer(label, 4, 1.0, &mut rng), label);
        }
        // Beyond the range of the exponential.
        assert_eq!(Labels::Randomized { epsilon: 1e3 }.kept(4), 1.0);
    }
}

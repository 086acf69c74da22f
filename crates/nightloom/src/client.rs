//! The data owner's half: keys, encryption, decryption. It never sees weights.

use std::collections::HashSet;
use std::io::{Read, Write};

use chacha20::ChaCha20Rng;
use nightloom_he::wire::{self as scheme};
use nightloom_he::{
    Ciphertext, CkksParams, CompressedCiphertext, Decryptor, Encoder, Encryptor, EvalError, EvaluationKeys,
    KeyGenerator, PublicKey, SecretKey,
};
use nightloom_program::wire::{
    self, BatchHeader, Security, read_batch_header, request_ciphertext_bytes, response_ciphertext_bytes,
    write_batch_header,
};
use nightloom_program::{ClientSpec, Packing, ThreadsError, thread_pool};
use nightloom_wire::{DecodeError, Kind, Writer};
use rand_core::{CryptoRng, SeedableRng};
use rayon::prelude::*;

use crate::samples::{Features, Scaling};

/// What a client can do with a specification: everything but compute.
#[derive(Debug)]
pub struct Client {
    spec: ClientSpec,
    params: CkksParams,
    encoder: Encoder,
    threads: rayon::ThreadPool,
}

/// Why the client's half failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Bytes that are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The scheme refused.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Writing failed.
    #[error("cannot write: {0}")]
    Write(#[source] std::io::Error),
    /// A feature outside the range that the program was compiled for: its result could be garbage.
    #[error(
        "sample {sample}, feature {feature} is {found}; the model was compiled for inputs from {low} to {high}{}",
        if found.is_finite() { " (compile with another --input-range, or scale the samples)" } else { "" }
    )]
    OutOfRange {
        /// The sample, from 0.
        sample: usize,
        /// The feature in row-major order, from 0.
        feature: usize,
        /// The value found.
        found: f64,
        /// The smallest value allowed.
        low: f64,
        /// The largest value allowed.
        high: f64,
    },
    /// Samples of another width than the model's input.
    #[error("samples of {found} features, the model takes {wanted}")]
    Features {
        /// Features of a sample given.
        found: usize,
        /// Features of the model.
        wanted: usize,
    },
    /// Outputs that the model does not have for any input in its range: the response was made for another key, or is
    /// damaged.
    #[error(
        "the response decrypts to {found:.3e} where at most {limit:.3e} is possible: an output left the range of the \
         response, or it was made for another key or with another client's evaluation keys, or it is damaged"
    )]
    Implausible {
        /// The value found.
        found: f64,
        /// The largest that is possible.
        limit: f64,
    },
    /// A response of another program, or with another number of outputs.
    #[error("the response is not for this model: {what} is {found}, wanted {wanted}")]
    Foreign {
        /// What differs.
        what: &'static str,
        /// The value in the response.
        found: String,
        /// The value of this specification.
        wanted: String,
    },
    /// The threads could not be started.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
}

/// A fresh pair: the secret stays, the evaluation key goes to the service.
#[derive(Debug)]
pub struct Keys {
    /// Decrypts; never leaves the owner.
    pub secret: SecretKey,
    /// Encrypts only; for sources of data that may not decrypt.
    pub public: PublicKey,
    /// For the service: those that the program needs, each at the level where it is used.
    pub evaluation: EvaluationKeys,
}

/// What encrypts: the secret key (smaller requests) or the public one.
#[derive(Debug, Clone, Copy)]
pub enum EncryptionKey<'a> {
    /// Half of every ciphertext is a seed.
    Secret(&'a SecretKey),
    /// Requests are twice as large.
    Public(&'a PublicKey),
}

/// Decrypted results: one row of [`outputs`](ClientSpec::outputs) numbers a sample. The owner's alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// Row-major.
    pub values: Vec<f64>,
    /// Numbers in a row.
    pub columns: usize,
    /// The largest error that was seen: in slots of compressed responses that belong to no output and should be zero. `None`
    /// if a response has no such slots.
    pub seen_error: Option<f64>,
}

/// Ciphertexts that are made before they are written.
const WRITE_AHEAD: usize = 32;

impl Client {
    /// Reads a client specification (`NAME.client`).
    ///
    /// # Errors
    /// [`ClientError::Decode`] if the bytes are not one or its parameters are below 128 bits of security,
    /// [`ClientError::Threads`].
    pub fn read(source: impl Read, threads: usize) -> Result<Self, ClientError> {
        Self::with_spec(wire::read_client_spec(source, Security::Required)?, threads)
    }

    /// As [`read`](Self::read), but accepts parameters below 128 bits of security: for experiments, as data encrypted
    /// under them is not protected.
    ///
    /// # Errors
    /// [`ClientError::Decode`] if the bytes are not one, [`ClientError::Threads`].
    pub fn read_insecure(source: impl Read, threads: usize) -> Result<Self, ClientError> {
        Self::with_spec(wire::read_client_spec(source, Security::Waived)?, threads)
    }

    fn with_spec((spec, params): (ClientSpec, CkksParams), threads: usize) -> Result<Self, ClientError> {
        let encoder = Encoder::new(&params);
        Ok(Self { spec, params, encoder, threads: thread_pool(threads)? })
    }

    /// The specification.
    pub fn spec(&self) -> &ClientSpec {
        &self.spec
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// How integer samples become features.
    pub fn scaling(&self) -> Scaling {
        Scaling { scale: self.spec.input.scale, offset: self.spec.input.offset }
    }

    /// Fresh keys.
    ///
    /// # Errors
    /// [`ClientError::Eval`].
    pub fn generate_keys(&self, rng: &mut impl CryptoRng) -> Result<Keys, ClientError> {
        let generator = KeyGenerator::new(&self.params);
        let secret = generator.secret_key(rng);
        let public = generator.public_key(&secret, rng)?;
        let evaluation = generator.evaluation_keys(&secret, &self.spec.keys, rng)?;
        Ok(Keys { secret, public, evaluation })
    }

    /// Reads a secret key made for this specification's parameters.
    ///
    /// # Errors
    /// [`ClientError::Decode`].
    pub fn read_secret_key(&self, source: impl Read) -> Result<SecretKey, ClientError> {
        Ok(scheme::read_secret_key(source, &self.params)?)
    }

    /// Reads a public key made for this specification's parameters.
    ///
    /// # Errors
    /// [`ClientError::Decode`].
    pub fn read_public_key(&self, source: impl Read) -> Result<PublicKey, ClientError> {
        Ok(scheme::read_public_key(source, &self.params)?)
    }

    /// Samples of a full batch.
    pub fn capacity(&self) -> usize {
        self.spec.capacity(&self.params)
    }

    /// Number of batches that these samples fill.
    pub fn batches(&self, samples: usize) -> usize {
        samples.div_ceil(self.capacity())
    }

    /// Encrypts one batch. `done` is called with each finished ciphertext.
    ///
    /// # Errors
    /// [`ClientError::Features`], [`ClientError::OutOfRange`].
    pub fn encrypt_batch(
        &self,
        features: &Features<'_>,
        batch: usize,
        key: EncryptionKey<'_>,
        rng: &mut impl CryptoRng,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Ciphertext>, ClientError> {
        self.encrypt_ciphertexts(features, batch, 0..self.spec.request_ciphertexts(), key, rng, done)
    }

    /// The slots of one ciphertext of a batch. Slots and samples that are not there are computed on too, and a value out
    /// of range there would spoil the others.
    fn slots(&self, features: &Features<'_>, batch: usize, ciphertext: usize) -> Result<Vec<f64>, ClientError> {
        let background = 0f64.clamp(self.spec.input.low, self.spec.input.high);
        let first = batch * self.capacity();
        let samples = first..(first + self.capacity()).min(features.len());
        match &self.spec.packing {
            Packing::SampleInSlot => {
                let mut values = features.column(ciphertext, samples.clone());
                for (at, value) in values.iter().enumerate() {
                    self.check_range(samples.start + at, ciphertext, *value)?;
                }
                values.resize(self.params.slots(), background);
                Ok(values)
            }
            Packing::SampleInSlots { batch, inputs, input, .. } => {
                let width = self.spec.inputs();
                let mut values = features.rows(samples.clone());
                for (at, value) in values.iter().enumerate() {
                    self.check_range(samples.start + at / width, at % width, *value)?;
                }
                values.resize(width * batch, background);
                let slot = |feature: &Option<u32>| feature.map_or(0.0, |feature| values[feature as usize]);
                let length = input.len() / inputs;
                let period = &input[ciphertext * length..][..length];
                Ok(period.iter().cycle().take(self.params.slots()).map(slot).collect())
            }
        }
    }

    fn check_range(&self, sample: usize, feature: usize, found: f64) -> Result<(), ClientError> {
        let (low, high) = (self.spec.input.low, self.spec.input.high);
        if (low..=high).contains(&found) {
            return Ok(());
        }
        Err(ClientError::OutOfRange { sample, feature, found, low, high })
    }

    fn encrypt_ciphertexts(
        &self,
        features: &Features<'_>,
        batch: usize,
        range: std::ops::Range<usize>,
        key: EncryptionKey<'_>,
        rng: &mut impl CryptoRng,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Ciphertext>, ClientError> {
        if features.width() != self.spec.inputs() {
            return Err(ClientError::Features { found: features.width(), wanted: self.spec.inputs() });
        }
        // A generator of its own for every ciphertext, so that they can be made in parallel.
        let mut seeds = Vec::with_capacity(range.len());
        for _ in range.clone() {
            let mut seed = zeroize::Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut *seed);
            seeds.push(seed);
        }
        let one = |(ciphertext, seed): (usize, &zeroize::Zeroizing<[u8; 32]>)| {
            let slots = zeroize::Zeroizing::new(self.slots(features, batch, ciphertext)?);
            let message = self.encoder.encode(&slots, &self.spec.scale)?;
            let encryptor = match key {
                EncryptionKey::Secret(key) => Encryptor::symmetric(key),
                EncryptionKey::Public(key) => Encryptor::public(key),
            };
            let mut rng = ChaCha20Rng::from_seed(**seed);
            let ciphertext = encryptor.encrypt(&message, self.spec.level, &mut rng)?;
            done();
            Ok(ciphertext)
        };
        self.threads.install(|| range.into_par_iter().zip(seeds.par_iter()).map(one).collect())
    }

    /// Encrypts samples into a request, batch after batch, a few ciphertexts at a time. `progress` is called with the
    /// part that is done.
    ///
    /// # Errors
    /// [`ClientError`]; what was written by then is useless.
    pub fn encrypt(
        &self,
        features: &Features<'_>,
        key: EncryptionKey<'_>,
        rng: &mut impl CryptoRng,
        sink: impl Write,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<BatchHeader, ClientError> {
        let mut writer = Writer::new(sink);
        let ciphertexts = self.spec.request_ciphertexts();
        let header = BatchHeader::new(self.spec.program, features.len() as u64, self.capacity(), ciphertexts);
        let each = match key {
            EncryptionKey::Secret(_) => request_ciphertext_bytes(&self.params, self.spec.level, &self.spec.scale),
            EncryptionKey::Public(_) => response_ciphertext_bytes(&self.params, self.spec.level, &self.spec.scale),
        };
        write_batch_header(&mut writer, Kind::Request, &self.params, &header, each).map_err(ClientError::Write)?;
        let total = (header.batches * ciphertexts) as f64;
        let mut written = 0;
        for batch in 0..header.batches {
            for first in (0..ciphertexts).step_by(WRITE_AHEAD) {
                let range = first..(first + WRITE_AHEAD).min(ciphertexts);
                for ciphertext in self.encrypt_ciphertexts(features, batch, range, key, rng, &|| {})? {
                    scheme::write_ciphertext(&mut writer, &ciphertext).map_err(ClientError::Write)?;
                    written += 1;
                }
                progress(f64::from(written) / total);
            }
        }
        Ok(header)
    }

    /// Decrypts the ciphertexts of one batch: `samples` rows of outputs.
    ///
    /// # Errors
    /// [`ClientError::Eval`], [`ClientError::Implausible`].
    pub fn decrypt_batch(
        &self,
        ciphertexts: &[Ciphertext],
        secret: &SecretKey,
        samples: usize,
    ) -> Result<Vec<f64>, ClientError> {
        let decode = |ciphertext: &Ciphertext| -> Result<Vec<f64>, ClientError> {
            Ok(self.encoder.decode(&Decryptor::new(secret).decrypt(ciphertext)?)?)
        };
        let slots = self.threads.install(|| ciphertexts.par_iter().map(decode).collect::<Result<_, _>>())?;
        Ok(self.rows(slots, samples)?.0)
    }

    fn decrypt_compressed(
        &self,
        ciphertexts: &[CompressedCiphertext],
        secret: &SecretKey,
        samples: usize,
    ) -> Result<(Vec<f64>, Option<f64>), ClientError> {
        let decode = |ciphertext: &CompressedCiphertext| -> Result<Vec<f64>, ClientError> {
            let mut slots = self.encoder.decode_message(&Decryptor::new(secret).decrypt_compressed(ciphertext)?)?;
            // They repeat.
            slots.truncate(ciphertext.slots());
            Ok(slots)
        };
        self.rows(ciphertexts.iter().map(decode).collect::<Result<_, _>>()?, samples)
    }

    /// Rows of outputs from the slots of every ciphertext, and the largest error in slots that should be zero.
    fn rows(&self, slots: Vec<Vec<f64>>, samples: usize) -> Result<(Vec<f64>, Option<f64>), ClientError> {
        let values: Vec<f64> = match &self.spec.packing {
            Packing::SampleInSlot => {
                (0..samples).flat_map(|sample| slots.iter().map(move |slots| slots[sample])).collect()
            }
            Packing::SampleInSlots { outputs, .. } => {
                let at = |(result, slot): &(u32, u32)| slots.get(*result as usize)?.get(*slot as usize).copied();
                let outputs = outputs.iter().take(samples * self.spec.outputs());
                outputs.map(|place| at(place).unwrap_or(f64::NAN)).collect()
            }
        };
        let mut seen_error = None;
        if let Packing::SampleInSlots { outputs, compressed: true, .. } = &self.spec.packing {
            // What a compressed response has no room for wraps around, and then no slot of it is right: not those either
            // that belong to no output and must be zero.
            let tolerance = self.spec.error_bound_public_key;
            let held: HashSet<(u32, u32)> = outputs.iter().copied().collect();
            let spare = slots.iter().enumerate().flat_map(|(result, slots)| {
                let slots = slots.iter().enumerate();
                slots.map(move |(slot, value)| ((result as u32, slot as u32), *value))
            });
            for (_, found) in spare.filter(|(place, _)| !held.contains(place)) {
                if exceeds(found, tolerance) {
                    return Err(ClientError::Implausible { found, limit: tolerance });
                }
                seen_error = Some(f64::max(seen_error.unwrap_or(0.0), found.abs()));
            }
        }
        // What another key decrypts is as large as the modulus, and so is a value that left it.
        let limit = self.spec.output_limit;
        match values.iter().find(|value| exceeds(**value, limit)) {
            Some(found) => Err(ClientError::Implausible { found: *found, limit }),
            None => Ok((values, seen_error)),
        }
    }

    /// Decrypts a response.
    ///
    /// # Errors
    /// [`ClientError::Foreign`] if it is not for this specification, [`ClientError::Decode`] if it is malformed,
    /// [`ClientError::Implausible`] if it decrypts to values that the model cannot have.
    pub fn decrypt(&self, response: impl Read, secret: &SecretKey) -> Result<Outputs, ClientError> {
        let (header, mut reader) = read_batch_header(response, Kind::Response, &self.params, self.capacity())?;
        let wanted = self.spec.response_ciphertexts();
        if header.program != self.spec.program {
            return Err(foreign("program", header.program, self.spec.program));
        }
        if header.ciphertexts != wanted {
            return Err(foreign("number of ciphertexts", header.ciphertexts, wanted));
        }
        let compressed = matches!(&self.spec.packing, Packing::SampleInSlots { compressed: true, .. });
        let (mut values, mut seen_error) = (Vec::new(), None);
        for batch in 0..header.batches {
            let samples = header.samples_in(batch, self.capacity());
            values.extend(if compressed {
                let ciphertexts = wire::read_compressed_batch(&mut reader, &self.params, &header)?;
                let (rows, seen) = self.decrypt_compressed(&ciphertexts, secret, samples)?;
                seen_error = seen.into_iter().chain(seen_error).reduce(f64::max);
                rows
            } else {
                let ciphertexts = wire::read_batch(&mut reader, &self.params, &header, &self.threads)?;
                self.decrypt_batch(&ciphertexts, secret, samples)?
            });
        }
        reader.finish()?;
        Ok(Outputs { values, columns: self.spec.outputs(), seen_error })
    }

    /// Bytes of a request of this many samples under the secret key.
    pub fn request_bytes(&self, samples: usize) -> u64 {
        let ciphertexts = (self.batches(samples) * self.spec.request_ciphertexts()) as u64;
        ciphertexts * request_ciphertext_bytes(&self.params, self.spec.level, &self.spec.scale)
    }
}

/// Whether a value is larger than a limit, or not a number.
fn exceeds(value: f64, limit: f64) -> bool {
    value.is_nan() || value.abs() > limit
}

fn foreign(what: &'static str, found: impl ToString, wanted: impl ToString) -> ClientError {
    ClientError::Foreign { what, found: found.to_string(), wanted: wanted.to_string() }
}

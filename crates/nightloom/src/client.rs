//! The data owner's half: keys, encryption, decryption. It never sees weights.

use std::io::{Read, Write};

use chacha20::ChaCha20Rng;
use nightloom_he::wire::{self as scheme};
use nightloom_he::{
    Ciphertext, CkksParams, Decryptor, Encoder, Encryptor, EvalError, KeyGenerator, Level, PublicKey,
    RelinearizationKey, SecretKey,
};
use nightloom_program::ClientSpec;
use nightloom_program::wire::{
    self, BatchHeader, read_batch_header, request_ciphertext_bytes, response_ciphertext_bytes, write_batch_header,
};
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
        "sample {sample}, feature {feature} is {found}; the model was compiled for inputs from {low} to {high} \
         (compile with another --input-range, or scale the samples)"
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
    #[error("cannot start {threads} threads")]
    Threads {
        /// Threads wanted.
        threads: usize,
    },
}

/// A fresh pair: the secret stays, the evaluation key goes to the service.
#[derive(Debug)]
pub struct Keys {
    /// Decrypts; never leaves the owner.
    pub secret: SecretKey,
    /// Encrypts only; for sources of data that may not decrypt.
    pub public: PublicKey,
    /// For the service; absent if the program needs none.
    pub evaluation: Option<RelinearizationKey>,
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
}

/// Ciphertexts that are made before they are written.
const WRITE_AHEAD: usize = 32;

impl Client {
    /// Reads a client specification (`NAME.client`).
    ///
    /// # Errors
    /// [`ClientError::Decode`] if the bytes are not one, [`ClientError::Threads`].
    pub fn read(source: impl Read, threads: usize) -> Result<Self, ClientError> {
        let (spec, params) = wire::read_client_spec(source)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let threads = pool.map_err(|_| ClientError::Threads { threads })?;
        let encoder = Encoder::new(&params);
        Ok(Self { spec, params, encoder, threads })
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
        let evaluation = if self.spec.relinearizes { Some(generator.relinearization_key(&secret, rng)?) } else { None };
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

    /// Number of batches that these samples fill.
    pub fn batches(&self, samples: usize) -> usize {
        samples.div_ceil(self.params.slots())
    }

    /// Encrypts one batch: one ciphertext a feature, sample `i` of the batch in slot `i`. `done` is called with each
    /// finished ciphertext.
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
        self.encrypt_features(features, batch, 0..self.spec.inputs(), key, rng, done)
    }

    fn encrypt_features(
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
        let first = batch * self.params.slots();
        let samples = first..(first + self.params.slots()).min(features.len());
        // A generator of its own for every ciphertext, so that they can be made in parallel.
        let mut seeds = Vec::with_capacity(range.len());
        for _ in range.clone() {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seeds.push(zeroize::Zeroizing::new(seed));
        }
        let one = |(feature, seed): (usize, &zeroize::Zeroizing<[u8; 32]>)| {
            let values = features.column(feature, samples.clone());
            let (low, high) = (self.spec.input.low, self.spec.input.high);
            if let Some(at) = values.iter().position(|value| !(low..=high).contains(value)) {
                return Err(ClientError::OutOfRange {
                    sample: samples.start + at,
                    feature,
                    found: values[at],
                    low,
                    high,
                });
            }
            let message = self.encoder.encode(&values, &self.spec.scale)?;
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
        let inputs = self.spec.inputs();
        let header = BatchHeader::new(self.spec.program, features.len() as u64, self.params.slots(), inputs);
        let each = match key {
            EncryptionKey::Secret(_) => request_ciphertext_bytes(&self.params, self.spec.level, &self.spec.scale),
            EncryptionKey::Public(_) => response_ciphertext_bytes(&self.params, self.spec.level, &self.spec.scale),
        };
        write_batch_header(&mut writer, Kind::Request, &self.params, &header, each).map_err(ClientError::Write)?;
        let total = (header.batches * inputs) as f64;
        let mut written = 0;
        for batch in 0..header.batches {
            for first in (0..inputs).step_by(WRITE_AHEAD) {
                let range = first..(first + WRITE_AHEAD).min(inputs);
                for ciphertext in self.encrypt_features(features, batch, range, key, rng, &|| {})? {
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
    /// [`ClientError::Eval`].
    pub fn decrypt_batch(
        &self,
        ciphertexts: &[Ciphertext],
        secret: &SecretKey,
        samples: usize,
    ) -> Result<Vec<f64>, ClientError> {
        let decode = |ciphertext: &Ciphertext| -> Result<Vec<f64>, ClientError> {
            Ok(self.encoder.decode(&Decryptor::new(secret).decrypt(ciphertext)?)?)
        };
        let columns: Vec<Vec<f64>> =
            self.threads.install(|| ciphertexts.par_iter().map(decode).collect::<Result<_, _>>())?;
        Ok((0..samples).flat_map(|sample| columns.iter().map(move |column| column[sample])).collect())
    }

    /// Decrypts a response.
    ///
    /// # Errors
    /// [`ClientError::Foreign`] if it is not for this specification, [`ClientError::Decode`] if it is malformed.
    pub fn decrypt(&self, response: impl Read, secret: &SecretKey) -> Result<Outputs, ClientError> {
        let (header, mut reader) = read_batch_header(response, Kind::Response, &self.params)?;
        let columns = self.spec.outputs();
        if header.program != self.spec.program {
            return Err(foreign("program", header.program, self.spec.program));
        }
        if header.ciphertexts != columns {
            return Err(foreign("number of outputs", header.ciphertexts, columns));
        }
        let mut values = Vec::new();
        for batch in 0..header.batches {
            let ciphertexts = wire::read_batch(&mut reader, &self.params, &header, &self.threads)?;
            let samples = header.samples_in(batch, self.params.slots());
            values.extend(self.decrypt_batch(&ciphertexts, secret, samples)?);
        }
        reader.finish()?;
        Ok(Outputs { values, columns })
    }

    /// Bytes of a request of this many samples under the secret key.
    pub fn request_bytes(&self, samples: usize) -> u64 {
        let ciphertexts = (self.batches(samples) * self.spec.inputs()) as u64;
        ciphertexts * request_ciphertext_bytes(&self.params, self.spec.level, &self.spec.scale)
    }
}

fn foreign(what: &'static str, found: impl ToString, wanted: impl ToString) -> ClientError {
    ClientError::Foreign { what, found: found.to_string(), wanted: wanted.to_string() }
}

/// The level and the size of a response's ciphertexts are the program's: a client can only bound them.
pub fn response_bytes(params: &CkksParams, level: Level, scale: &nightloom_he::Scale, ciphertexts: usize) -> u64 {
    ciphertexts as u64 * response_ciphertext_bytes(params, level, scale)
}

//! A whole encrypted job in one process, measured: client and service exchange bytes as they would over a network.

use std::time::Instant;

use nightloom_he::wire::{relinearization_key_bytes, write_relinearization_key};
use nightloom_program::Executor;
use nightloom_program::wire::{self, read_batch_header, response_ciphertext_bytes, write_batch_header};
use nightloom_wire::{DecodeError, Kind, Writer};
use rand_core::CryptoRng;

use crate::client::{Client, ClientError, EncryptionKey, Outputs};
use crate::model::Compiled;
use crate::samples::Features;
use crate::server::{Server, ServerError};

/// Wall-clock seconds of each stage, over all batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Making the client's keys.
    pub keygen: f64,
    /// Encoding, encrypting and writing the request.
    pub encrypt: f64,
    /// Reading and checking the request, expanding its seeds.
    pub load: f64,
    /// Running the program.
    pub evaluate: f64,
    /// Reading the response, decrypting and decoding.
    pub decrypt: f64,
}

/// What a job found and cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Decrypted outputs, one row a sample.
    pub outputs: Outputs,
    /// Seconds of each stage.
    pub times: Times,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the response.
    pub response_bytes: u64,
    /// Bytes of the evaluation keys.
    pub evaluation_key_bytes: u64,
}

/// The stages that take long enough to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client encrypts.
    Encrypt,
    /// The service evaluates.
    Evaluate,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The client's half.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The service's half.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<DecodeError> for JobError {
    fn from(error: DecodeError) -> Self {
        Self::Server(error.into())
    }
}

/// Encrypts the samples, evaluates, decrypts. `progress` is called with the phase and the part of it that is done.
///
/// # Errors
/// [`JobError`], if either half refuses.
pub fn run(
    compiled: &Compiled,
    features: &Features<'_>,
    threads: usize,
    rng: &mut impl CryptoRng,
    progress: &(dyn Fn(Phase, f64) + Sync),
) -> Result<Outcome, JobError> {
    let mut times = Times::default();
    let client = Client::read(&*compiled.client_bytes, threads)?;
    let server = Server::read(&*compiled.server_bytes)?;

    let start = Instant::now();
    let keys = client.generate_keys(rng)?;
    let mut key_bytes = Vec::new();
    if let Some(key) = &keys.evaluation {
        key_bytes.reserve_exact(relinearization_key_bytes(client.params()) as usize);
        write_relinearization_key(&mut Writer::new(&mut key_bytes), key).map_err(ClientError::Write)?;
    }
    times.keygen = start.elapsed().as_secs_f64();
    let key = if key_bytes.is_empty() { None } else { Some(server.read_evaluation_keys(&*key_bytes)?) };

    let start = Instant::now();
    let mut request = Vec::with_capacity(client.request_bytes(features.len()) as usize + 256);
    let encrypting = |part| progress(Phase::Encrypt, part);
    client.encrypt(features, EncryptionKey::Secret(&keys.secret), rng, &mut request, &encrypting)?;
    times.encrypt = start.elapsed().as_secs_f64();

    let (header, mut reader) = read_batch_header(&*request, Kind::Request, server.params())?;
    let executor = Executor::new(server.program(), key.as_ref(), threads).map_err(ServerError::Execute)?;
    let output = server.program().output_type();
    let response_header = wire::BatchHeader { ciphertexts: output.features, ..header };
    let each = response_ciphertext_bytes(server.params(), output.level, &output.scale);
    let mut response = Writer::new(Vec::new());
    write_batch_header(&mut response, Kind::Response, server.params(), &response_header, each)
        .map_err(ServerError::Write)?;
    for batch in 0..header.batches {
        let start = Instant::now();
        let ciphertexts = wire::read_batch(&mut reader, server.params(), &header, executor.threads())?;
        times.load += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let evaluating = |part| progress(Phase::Evaluate, (batch as f64 + part) / header.batches as f64);
        let results = executor.run(ciphertexts, &evaluating).map_err(ServerError::Execute)?;
        times.evaluate += start.elapsed().as_secs_f64();
        for ciphertext in &results {
            nightloom_he::wire::write_ciphertext(&mut response, ciphertext).map_err(ServerError::Write)?;
        }
    }
    reader.finish()?;
    let response = response.into_inner();

    let start = Instant::now();
    let outputs = client.decrypt(&*response, &keys.secret)?;
    times.decrypt = start.elapsed().as_secs_f64();
    Ok(Outcome {
        outputs,
        times,
        request_bytes: request.len() as u64,
        response_bytes: response.len() as u64,
        evaluation_key_bytes: key_bytes.len() as u64,
    })
}

/// The largest resident size that this process has had, in bytes; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

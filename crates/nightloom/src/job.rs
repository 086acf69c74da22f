//! A whole encrypted job in one process, measured: client and service exchange bytes as they would over a network.

use std::time::Instant;

use nightloom_he::wire::{evaluation_keys_bytes, write_evaluation_keys};
use nightloom_program::wire;
use nightloom_wire::{DecodeError, Writer};
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
    // Who compiled below 128 bits has accepted that.
    let read = if compiled.client.insecure { Client::read_insecure } else { Client::read };
    let client = read(compiled.client_bytes.as_slice(), threads)?;
    let server = Server::read(&*compiled.server_bytes, threads)?;

    let start = Instant::now();
    let keys = client.generate_keys(rng)?;
    let mut key_bytes = Vec::with_capacity(evaluation_keys_bytes(client.params(), &keys.evaluation.spec()) as usize);
    write_evaluation_keys(&mut Writer::new(&mut key_bytes), &keys.evaluation).map_err(ClientError::Write)?;
    times.keygen = start.elapsed().as_secs_f64();
    let evaluation = server.read_evaluation_keys(&*key_bytes)?;

    let start = Instant::now();
    let mut request = Vec::with_capacity(client.request_bytes(features.len()) as usize + 256);
    let encrypting = |part| progress(Phase::Encrypt, part);
    client.encrypt(features, EncryptionKey::Secret(&keys.secret), rng, &mut request, &encrypting)?;
    times.encrypt = start.elapsed().as_secs_f64();

    let (header, mut reader) = server.read_header(&*request)?;
    let response_header = wire::BatchHeader { ciphertexts: server.program().output_type().features, ..header };
    let mut response = Writer::new(Vec::new());
    server.write_header(&mut response, &response_header)?;
    for batch in 0..header.batches {
        let start = Instant::now();
        let ciphertexts = wire::read_batch(&mut reader, server.params(), &header, server.executor().threads())?;
        times.load += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let evaluating = |part| progress(Phase::Evaluate, (batch as f64 + part) / header.batches as f64);
        let results = server.executor().run(ciphertexts, &evaluation, &evaluating).map_err(ServerError::Execute)?;
        times.evaluate += start.elapsed().as_secs_f64();
        let results = server.executor().install(|| server.results(results)).map_err(ServerError::Execute)?;
        server.write_results(&mut response, &results)?;
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

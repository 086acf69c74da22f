use std::fmt;

use nightloom_ring::kernels;
use serde::Serialize;

use super::{BenchError, Options, Report};
use crate::demo::{self, DEFAULT_IMAGES, Model};

/// Repetitions of the whole job; the median run is reported.
pub const THROUGHPUT_RUNS: usize = 3;

/// One network on one full batch.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughputRow {
    /// The network.
    pub network: &'static str,
    /// Images in the job.
    pub images: usize,
    /// Seconds to make keys.
    pub keygen_s: f64,
    /// Seconds to encode, encrypt and write the request.
    pub encrypt_s: f64,
    /// Seconds to read the request and expand its seeds.
    pub load_s: f64,
    /// Seconds to evaluate.
    pub evaluate_s: f64,
    /// Seconds to read the response, decrypt and decode.
    pub decrypt_s: f64,
    /// Size of the request.
    pub request_bytes: u64,
    /// Size of the response.
    pub response_bytes: u64,
    /// Size of the evaluation keys.
    pub evaluation_key_bytes: u64,
    /// Largest memory of the process so far, client and service together.
    pub peak_memory_bytes: u64,
    /// Part of the images classified right.
    pub accuracy: f64,
    /// Part of the images classified as ONNX Runtime does.
    pub agreement: f64,
    /// Classical security in bits.
    pub security_bits: u32,
    /// Degree of the ring.
    pub degree: usize,
    /// Repetitions, of which this is the one with the median evaluation time.
    pub runs: usize,
}

impl fmt::Display for ThroughputRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, images, encrypt_s, load_s, evaluate_s, decrypt_s, accuracy, .. } = self;
        write!(
            f,
            "{network:<12} {images} images: encrypt {encrypt_s:.3} s, load {load_s:.3} s, evaluate {evaluate_s:.3} s, \
             decrypt {decrypt_s:.4} s, {:.2} kB up and {:.3} kB down an image, {:.0} MB, accuracy {:.2} %",
            self.request_bytes as f64 / 1e3 / *images as f64,
            self.response_bytes as f64 / 1e3 / *images as f64,
            self.peak_memory_bytes as f64 / 1e6,
            100.0 * accuracy,
        )
    }
}

/// Runs the embedded networks on 8192 images, all threads on one job.
///
/// # Errors
/// [`BenchError`].
pub fn throughput(options: Options) -> Result<Report<ThroughputRow>, BenchError> {
    let kernel = kernels::select()?;
    let mut rows = Vec::new();
    for model in [Model::CryptoNets, Model::E2dm] {
        let mut runs = (0..options.runs)
            .map(|_| demo::run(model, DEFAULT_IMAGES, options.threads, &|_, _| {}))
            .collect::<Result<Vec<_>, _>>()?;
        runs.sort_by(|a, b| a.outcome.times.evaluate.total_cmp(&b.outcome.times.evaluate));
        let run = &runs[runs.len() / 2];
        let (outcome, params) = (&run.outcome, run.compiled.plan.program.params());
        rows.push(ThroughputRow {
            network: model.name(),
            images: run.images,
            keygen_s: outcome.times.keygen,
            encrypt_s: outcome.times.encrypt,
            load_s: outcome.times.load,
            evaluate_s: outcome.times.evaluate,
            decrypt_s: outcome.times.decrypt,
            request_bytes: outcome.request_bytes,
            response_bytes: outcome.response_bytes,
            evaluation_key_bytes: outcome.evaluation_key_bytes,
            peak_memory_bytes: run.peak_memory_bytes.unwrap_or(0),
            accuracy: run.encrypted_correct as f64 / run.images as f64,
            agreement: run.agreeing as f64 / run.images as f64,
            security_bits: if params.is_secure() { nightloom_he::security::SECURITY_BITS } else { 0 },
            degree: params.degree(),
            runs: options.runs,
        });
    }
    Ok(Report::new("throughput", kernel.name(), options, rows))
}

//! The `throughput` suite: a whole network on a full batch.

use std::fmt;

use serde::Serialize;

use super::{BenchError, Conditions, Options};
use crate::demo::{self, DEFAULT_IMAGES, Model};

/// Repetitions of the whole job; the median run is reported.
pub const THROUGHPUT_RUNS: usize = 3;

/// One network on one full batch, client and service in one process. Serialises flat.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughputReport {
    /// Where and when.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// The network.
    pub network: &'static str,
    /// Images in the job.
    pub images: usize,
    /// Classical security in bits; 0 below the table.
    pub security_bits: u32,
    /// Degree of the ring.
    pub degree: usize,
    /// `log2` of the product of all primes, the special ones included: what the security table limits.
    pub log_qp: f64,
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
    /// Part of the images classified right.
    pub accuracy: f64,
    /// Part of the images classified as ONNX Runtime does.
    pub agreement: f64,
    /// Largest resident size of the process so far; `None` (in JSON null) where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
    /// Repetitions, of which this is the one with the median evaluation time.
    pub runs: usize,
}

impl fmt::Display for ThroughputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = self.images as f64;
        writeln!(f, "{}", self.conditions)?;
        writeln!(
            f,
            "{}, {} images, {} bits of security, degree {}, {:.0} bits; run {} of {} by evaluation\n",
            self.network,
            self.images,
            self.security_bits,
            self.degree,
            self.log_qp,
            self.runs / 2 + 1,
            self.runs
        )?;
        writeln!(f, "{:<18} {:>10} {:>14}", "stage", "seconds", "ms an image")?;
        for (stage, seconds) in [
            ("make keys", self.keygen_s),
            ("encrypt", self.encrypt_s),
            ("load request", self.load_s),
            ("evaluate", self.evaluate_s),
            ("decrypt", self.decrypt_s),
        ] {
            writeln!(f, "{stage:<18} {seconds:>10.4} {:>14.4}", seconds * 1e3 / images)?;
        }
        writeln!(f, "\n{:<18} {:>10} {:>14}", "size", "MB", "kB an image")?;
        for (name, bytes) in [
            ("request", self.request_bytes),
            ("response", self.response_bytes),
            ("evaluation keys", self.evaluation_key_bytes),
        ] {
            writeln!(f, "{name:<18} {:>10.3} {:>14.3}", bytes as f64 / 1e6, bytes as f64 / 1e3 / images)?;
        }
        write!(
            f,
            "\naccuracy {:.2} %, same class as ONNX Runtime {:.2} %",
            100.0 * self.accuracy,
            100.0 * self.agreement
        )?;
        match self.peak_rss_bytes {
            Some(bytes) => write!(f, ", peak memory {:.0} MB", bytes as f64 / 1e6),
            None => Ok(()),
        }
    }
}

/// Runs an embedded network on 8192 images, all threads on one job.
///
/// # Errors
/// [`BenchError`].
pub fn throughput(model: Model, options: Options) -> Result<ThroughputReport, BenchError> {
    classify(model, DEFAULT_IMAGES, options)
}

fn classify(model: Model, images: usize, options: Options) -> Result<ThroughputReport, BenchError> {
    let mut runs = (0..options.runs)
        .map(|_| demo::run(model, images, options.threads, &|_, _| {}))
        .collect::<Result<Vec<_>, _>>()?;
    runs.sort_by(|a, b| a.outcome.times.evaluate.total_cmp(&b.outcome.times.evaluate));
    let run = &runs[runs.len() / 2];
    let (outcome, params) = (&run.outcome, run.compiled.plan.program().params());
    Ok(ThroughputReport {
        conditions: Conditions::new("throughput", params.kernel().name(), options),
        network: model.name(),
        images: run.images,
        security_bits: if params.is_secure() { nightloom_he::security::SECURITY_BITS } else { 0 },
        degree: params.degree(),
        log_qp: params.log_qp(),
        keygen_s: outcome.times.keygen,
        encrypt_s: outcome.times.encrypt,
        load_s: outcome.times.load,
        evaluate_s: outcome.times.evaluate,
        decrypt_s: outcome.times.decrypt,
        request_bytes: outcome.request_bytes,
        response_bytes: outcome.response_bytes,
        evaluation_key_bytes: outcome.evaluation_key_bytes,
        accuracy: run.encrypted_correct as f64 / run.images as f64,
        agreement: run.agreeing as f64 / run.images as f64,
        peak_rss_bytes: run.peak_memory_bytes,
        runs: options.runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fields;

    #[test]
    fn a_job_is_one_flat_object() {
        let report = classify(Model::E2dm, 64, Options { threads: 2, runs: 1 }).unwrap();
        assert_eq!(
            fields(&report),
            "accuracy agreement date decrypt_s degree encrypt_s evaluate_s evaluation_key_bytes images kernel keygen_s \
             load_s log_qp machine network peak_rss_bytes request_bytes response_bytes runs security_bits suite threads \
             version"
        );
        assert_eq!((report.network, report.images, report.conditions.threads), ("e2dm", 64, 2));
        assert!(report.accuracy > 0.9 && report.agreement > 0.9);
        let limit = nightloom_he::security::max_log_qp(report.degree.ilog2()).unwrap();
        assert!(report.security_bits == 128 && report.log_qp > 100.0 && report.log_qp <= f64::from(limit));
    }
}

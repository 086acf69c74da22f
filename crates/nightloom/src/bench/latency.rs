use std::fmt;
use std::time::Instant;

use nightloom_compiler::plans::select::{Goal, Objective};
use nightloom_he::security::SECURITY_BITS;
use serde::Serialize;

use super::{BenchError, Conditions, Options};
use crate::client::{Client, ClientError, EncryptionKey};
use crate::demo::{DemoError, Model, SAMPLES, test_images};
use crate::job::{JobError, peak_memory_bytes};
use crate::model::{CompileOptions, compile};
use crate::samples::{SampleValues, Samples, Scaling};
use crate::server::{Server, ServerError};

/// Requests that are timed; the medians are reported.
pub const LATENCY_RUNS: usize = 21;

/// One request of one image, client and service on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyReport {
    /// When, where and how.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// The network.
    pub network: &'static str,
    /// The plan that was chosen.
    pub plan: &'static str,
    /// Degree of the ring.
    pub degree: usize,
    /// `log2` of the product of all primes.
    pub log_qp: f64,
    /// Classical security in bits.
    pub security_bits: u32,
    /// Rotations that have a key.
    pub rotations: usize,
    /// Size of the evaluation keys.
    pub key_bytes: u64,
    /// Size of the request.
    pub request_bytes: u64,
    /// Size of the response.
    pub response_bytes: u64,
    /// Seconds to compile, to make keys and to prepare the service.
    pub setup_s: f64,
    /// Milliseconds to encode, encrypt and write the request; median.
    pub encrypt_ms: f64,
    /// Milliseconds from the bytes of the request to those of the response; median.
    pub evaluate_ms: f64,
    /// The smallest of these.
    pub evaluate_min_ms: f64,
    /// What the planner predicted for one thread of the reference machine.
    pub predicted_ms: f64,
    /// Milliseconds to read, decrypt and decode the response; median.
    pub decrypt_ms: f64,
    /// Largest difference of an output from the model's, over all runs.
    pub max_error: f64,
    /// The bound that the planner states.
    pub stated_error: f64,
    /// Largest memory of the process so far, client and service together.
    pub peak_rss_bytes: Option<u64>,
    /// Runs, each with another image.
    pub runs: usize,
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.conditions)?;
        writeln!(
            f,
            "{}, one image, {} plan, {} bits of security, degree {}, {:.0} bits, {} rotation keys, median of {} runs\n",
            self.network, self.plan, self.security_bits, self.degree, self.log_qp, self.rotations, self.runs
        )?;
        for (stage, milliseconds) in [
            ("set-up", 1e3 * self.setup_s),
            ("encrypt", self.encrypt_ms),
            ("evaluate", self.evaluate_ms),
            ("  predicted", self.predicted_ms),
            ("decrypt", self.decrypt_ms),
        ] {
            writeln!(f, "{stage:<16} {milliseconds:>10.2} ms")?;
        }
        for (name, bytes) in
            [("request", self.request_bytes), ("response", self.response_bytes), ("evaluation keys", self.key_bytes)]
        {
            writeln!(f, "{name:<16} {:>10.1} kB", bytes as f64 / 1e3)?;
        }
        write!(f, "largest error {:.2e}, stated {:.2e}", self.max_error, self.stated_error)?;
        match self.peak_rss_bytes {
            Some(bytes) => write!(f, ", peak memory {:.0} MB", bytes as f64 / 1e6),
            None => Ok(()),
        }
    }
}

/// Measures single images through a network, compiled for latency.
///
/// # Errors
/// [`BenchError`].
pub fn latency(model: Model, options: Options) -> Result<LatencyReport, BenchError> {
    measure(model, options).map_err(BenchError::Demo)
}

fn measure(model: Model, options: Options) -> Result<LatencyReport, DemoError> {
    let images = test_images()?;
    let scaling = Scaling { scale: 1.0 / 255.0, offset: 0.0 };
    let features = images.features(&[784], scaling)?;
    let mut compile_options = CompileOptions::new(model.name());
    compile_options.goal = Goal { objective: Objective::Latency, batch: Some(1), max_memory: None };
    compile_options.samples = (0..SAMPLES).map(|image| features.row(image)).collect();

    let start = Instant::now();
    let compiled = compile(model.onnx(), &compile_options)?;
    let client = Client::read(&*compiled.client_bytes, options.threads).map_err(JobError::from)?;
    let server = Server::read(&*compiled.server_bytes, options.threads).map_err(JobError::from)?;
    let mut rng = crate::system_rng()?;
    let keys = client.generate_keys(&mut rng).map_err(JobError::from)?;
    let mut key_bytes = Vec::new();
    nightloom_he::wire::write_evaluation_keys(&mut nightloom_wire::Writer::new(&mut key_bytes), &keys.evaluation)
        .map_err(|error| JobError::from(ClientError::Write(error)))?;
    let evaluation = server.read_evaluation_keys(&*key_bytes).map_err(JobError::from)?;
    let setup_s = start.elapsed().as_secs_f64();

    let program = compiled.plan.program();
    let (mut encrypt, mut evaluate, mut decrypt) = (Vec::new(), Vec::new(), Vec::new());
    let (mut request_bytes, mut response_bytes, mut max_error) = (0, 0, 0.0f64);
    // The first run fills pools and caches, and is not counted.
    for run in 0..=options.runs {
        let image = (SAMPLES + run) % images.len();
        let one = Samples::new("test image", images.shape(), pixels(&images, image))?;
        let one = one.features(&compiled.client.input_shape, scaling)?;
        let start = Instant::now();
        let mut request = Vec::new();
        client
            .encrypt(&one, EncryptionKey::Secret(&keys.secret), &mut rng, &mut request, &|_| {})
            .map_err(JobError::from)?;
        let encrypted = start.elapsed();
        let start = Instant::now();
        let mut response = Vec::new();
        server
            .run(&*request, &evaluation, &mut response, &|_| {})
            .map_err(|error: ServerError| JobError::from(error))?;
        let evaluated = start.elapsed();
        let start = Instant::now();
        let outputs = client.decrypt(&*response, &keys.secret).map_err(JobError::from)?;
        let decrypted = start.elapsed();
        for (found, expected) in outputs.values.iter().zip(compiled.network.evaluate(&features.row(image))) {
            max_error = max_error.max((found - expected).abs());
        }
        (request_bytes, response_bytes) = (request.len() as u64, response.len() as u64);
        if run > 0 {
            for (times, time) in [(&mut encrypt, encrypted), (&mut evaluate, evaluated), (&mut decrypt, decrypted)] {
                times.push(1e3 * time.as_secs_f64());
            }
        }
    }
    let params = program.params();
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let evaluate_min_ms = evaluate.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(LatencyReport {
        conditions: Conditions::new("latency", params.kernel().name(), options),
        network: model.name(),
        plan: compiled.plan.name(),
        degree: params.degree(),
        log_qp: params.log_qp(),
        security_bits: if params.is_secure() { SECURITY_BITS } else { 0 },
        rotations: program.rotations().len(),
        key_bytes: key_bytes.len() as u64,
        request_bytes,
        response_bytes,
        setup_s,
        encrypt_ms: median(encrypt),
        evaluate_ms: median(evaluate),
        evaluate_min_ms,
        predicted_ms: 1e3 * compiled.plan.seconds(),
        decrypt_ms: median(decrypt),
        max_error,
        stated_error: compiled.client.error_bound,
        peak_rss_bytes: peak_memory_bytes(),
        runs: options.runs,
    })
}

/// The pixels of one image.
fn pixels(images: &Samples, image: usize) -> SampleValues {
    let length = images.shape().iter().product::<usize>();
    match images.values() {
        SampleValues::Pixels(pixels) => SampleValues::Pixels(pixels[image * length..][..length].to_vec()),
        other => other.clone(),
    }
}

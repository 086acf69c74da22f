use std::fmt;
use std::time::{Duration, Instant};

use nightloom_compiler::plans::latency::Weights;
use nightloom_compiler::plans::select::{Goal, Objective};
use nightloom_he::EvaluationKeys;
use nightloom_he::security::SECURITY_BITS;
use nightloom_he::wire::write_evaluation_keys;
use nightloom_program::EncryptedModel;
use nightloom_program::cost::{Prices, calibrate};
use nightloom_program::wire::{read_batch, write_encrypted_model};
use nightloom_wire::Writer;
use serde::Serialize;

use super::{BenchError, Conditions, Options};
use crate::client::{Client, ClientError, EncryptionKey};
use crate::demo::{CLASSES, DemoError, Model, SAMPLES, test_images, test_labels};
use crate::job::{JobError, peak_memory_bytes};
use crate::model::{CompileOptions, compile};
use crate::output::largest;
use crate::samples::Scaling;
use crate::server::{Server, ServerError};

/// Requests that are timed; the medians are reported.
pub const LATENCY_RUNS: usize = 21;

/// Requests whose operations are timed one by one, beside those that are timed as a whole.
const PROFILED_RUNS: usize = 21;

/// What is measured: requests of some images, with the model in the clear or encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyJob {
    /// The network.
    pub model: Model,
    /// Images of a request.
    pub images: usize,
    /// What the service holds of the weights.
    pub weights: Weights,
}

impl LatencyJob {
    /// One image, the model in the clear.
    pub fn one_image(model: Model) -> Self {
        Self { model, images: 1, weights: Weights::Clear }
    }

    /// The setting of E2DM (Jiang et al., CCS 2018, section 6): 64 images, the model encrypted.
    pub fn e2dm_encrypted() -> Self {
        Self { model: Model::E2dm, images: 64, weights: Weights::Encrypted }
    }

    fn name(self) -> String {
        let encrypted = if self.weights == Weights::Encrypted { "-encrypted" } else { "" };
        format!("{}{encrypted}", self.model.name())
    }
}

/// One request, client and service on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyReport {
    /// When, where and how.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// The network.
    pub network: String,
    /// Images of a request.
    pub images: usize,
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
    /// Size of the encrypted model; 0 if the service holds its weights.
    pub model_bytes: u64,
    /// Size of the request.
    pub request_bytes: u64,
    /// Size of the response.
    pub response_bytes: u64,
    /// Seconds to compile, to make keys, to encrypt the model if it is encrypted, and to prepare the service.
    pub setup_s: f64,
    /// Milliseconds to encode, encrypt and write the request; median.
    pub encrypt_ms: f64,
    /// Milliseconds from the bytes of the request to those of the response; median.
    pub evaluate_ms: f64,
    /// The smallest of these.
    pub evaluate_min_ms: f64,
    /// The same requests on one thread, in turn with those on several; median. Only with several threads.
    pub one_thread_ms: Option<f64>,
    /// How many times faster the threads were than one, by request; median.
    pub speedup: Option<f64>,
    /// What the planner predicted for one thread of this machine.
    pub predicted_ms: f64,
    /// Milliseconds to read, decrypt and decode the response; median.
    pub decrypt_ms: f64,
    /// Largest difference of an output from the model's, over all runs.
    pub max_error: f64,
    /// The bound that the planner states.
    pub stated_error: f64,
    /// Share of the images of all runs whose class is their label's.
    pub accuracy: f64,
    /// Share of those whose class is that of ONNX Runtime.
    pub agreement: f64,
    /// Largest memory of the process after the first request, client and service together.
    pub peak_rss_bytes: Option<u64>,
    /// Runs, each with other images.
    pub runs: usize,
    /// Where the time goes.
    pub operations: Vec<OperationTime>,
}

/// One operation of a program.
#[derive(Clone, Debug, Serialize)]
pub struct OperationTime {
    /// What it does.
    pub name: &'static str,
    /// The layer that it belongs to.
    pub layer: String,
    /// Milliseconds that the planner predicted.
    pub predicted_ms: f64,
    /// Milliseconds that it took; the median of the runs.
    pub measured_ms: f64,
    /// Milliseconds that it took on one thread; only with several.
    pub one_thread_ms: Option<f64>,
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.conditions)?;
        writeln!(
            f,
            "{}, {}, {} plan, {} bits of security, degree {}, {:.0} bits, {} rotation keys, median of {} runs\n",
            self.network,
            if self.images == 1 { "one image".to_owned() } else { format!("{} images", self.images) },
            self.plan,
            self.security_bits,
            self.degree,
            self.log_qp,
            self.rotations,
            self.runs
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
        if let (Some(one), Some(speedup)) = (self.one_thread_ms, self.speedup) {
            writeln!(f, "{:<16} {one:>10.2} ms, {speedup:.2} times as long", "one thread")?;
        }
        for (name, bytes) in [
            ("request", self.request_bytes),
            ("response", self.response_bytes),
            ("evaluation keys", self.key_bytes),
            ("encrypted model", self.model_bytes),
        ]
        .into_iter()
        .filter(|(_, bytes)| *bytes > 0)
        {
            writeln!(f, "{name:<16} {:>10.1} kB", bytes as f64 / 1e3)?;
        }
        write!(f, "largest error {:.2e}, stated {:.2e}", self.max_error, self.stated_error)?;
        write!(
            f,
            "\naccuracy {:.2} % of {} images, same class as ONNX Runtime {:.2} %",
            100.0 * self.accuracy,
            self.images * self.runs,
            100.0 * self.agreement
        )?;
        if let Some(bytes) = self.peak_rss_bytes {
            write!(f, ", peak memory {:.0} MB", bytes as f64 / 1e6)?;
        }
        write!(f, "\n\n{:<24} {:<24} {:>12} {:>12}", "operation", "layer", "predicted ms", "measured ms")?;
        for operation in &self.operations {
            let OperationTime { name, layer, predicted_ms, measured_ms, .. } = operation;
            let layer: String = layer.chars().take(24).collect();
            write!(f, "\n{name:<24} {layer:<24} {predicted_ms:>12.3} {measured_ms:>12.3}")?;
        }
        Ok(())
    }
}

/// Measures requests through a network, compiled for latency.
///
/// # Errors
/// [`BenchError`].
pub fn latency(job: LatencyJob, options: Options) -> Result<LatencyReport, BenchError> {
    let prices = calibrate(nightloom_ring::kernels::select()?)?;
    // The calibration's memory is not the network's: Linux forgets the peak if asked.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    measure(job, options, prices).map_err(BenchError::Demo)
}

/// A service that has a client's keys.
struct Service<'a> {
    server: Server,
    model: &'a EncryptedModel,
    keys: &'a EvaluationKeys,
}

impl Service<'_> {
    /// The response, and the time that it took.
    fn answer(&self, request: &[u8]) -> Result<(Vec<u8>, Duration), DemoError> {
        let (start, mut response) = (Instant::now(), Vec::new());
        let result = self.server.run_with_model(request, self.model, self.keys, &mut response, &|_| {});
        result.map_err(JobError::from)?;
        Ok((response, start.elapsed()))
    }

    /// The milliseconds of each operation; the first reads the request.
    fn operations(&self, request: &[u8]) -> Result<Vec<f64>, DemoError> {
        let (executor, start) = (self.server.executor(), Instant::now());
        let (header, mut reader) = self.server.read_header(request).map_err(JobError::from)?;
        let batch = read_batch(&mut reader, self.server.params(), &header, executor.threads());
        let (batch, read) = (batch.map_err(JobError::from)?, start.elapsed());
        let timed = executor.run_timed(batch, &self.model.arrays, self.keys, &|_| {});
        let (_, mut seconds) = timed.map_err(|error| JobError::from(ServerError::from(error)))?;
        seconds[0] += read.as_secs_f64();
        Ok(seconds.into_iter().map(|seconds| 1e3 * seconds).collect())
    }
}

fn measure(job: LatencyJob, options: Options, prices: Prices) -> Result<LatencyReport, DemoError> {
    let LatencyJob { model, images: batch, weights } = job;
    let (images, labels) = (test_images()?, test_labels().map_err(DemoError::Labels)?);
    let reference = model.reference_logits()?;
    let reference = reference.features(&[CLASSES], Scaling { scale: 1.0, offset: 0.0 })?;
    let scaling = Scaling { scale: 1.0 / 255.0, offset: 0.0 };
    let features = images.features(&[784], scaling)?;
    let mut compile_options = CompileOptions::new(model.name());
    compile_options.goal = Goal { objective: Objective::Latency, batch: Some(batch), max_memory: None, weights };
    compile_options.prices = prices;
    compile_options.samples = (0..SAMPLES).map(|image| features.row(image)).collect();

    let start = Instant::now();
    let compiled = compile(model.onnx(), &compile_options)?;
    let client = Client::read(&*compiled.client_bytes, options.threads).map_err(JobError::from)?;
    let server = Server::read(&*compiled.server_bytes, options.threads).map_err(JobError::from)?;
    let mut rng = crate::system_rng()?;
    let keys = client.generate_keys(&mut rng).map_err(JobError::from)?;
    let mut key_bytes = Vec::new();
    write_evaluation_keys(&mut Writer::new(&mut key_bytes), &keys.evaluation)
        .map_err(|error| JobError::from(ClientError::Write(error)))?;
    let evaluation = server.read_evaluation_keys(&*key_bytes).map_err(JobError::from)?;
    let mut model_bytes = Vec::new();
    let encrypted_model = match &compiled.weights {
        Some(weights) => {
            let threads = server.executor().threads();
            let encrypted = weights.encrypt(&keys.public, &mut rng, threads, &|| {});
            let encrypted = encrypted.map_err(|error| JobError::from(ClientError::from(error)))?;
            write_encrypted_model(&mut Writer::new(&mut model_bytes), server.params(), &encrypted)
                .map_err(|error| JobError::from(ClientError::Write(error)))?;
            server.read_model(&*model_bytes).map_err(JobError::from)?
        }
        None => EncryptedModel { program: server.id(), arrays: Vec::new() },
    };
    let setup_s = start.elapsed().as_secs_f64();

    let service = Service { server, model: &encrypted_model, keys: &evaluation };
    let program = compiled.plan.program();
    let (mut encrypt, mut evaluate, mut decrypt) = (Vec::new(), Vec::new(), Vec::new());
    let (mut request_bytes, mut response_bytes, mut max_error) = (0, 0, 0.0f64);
    let (mut correct, mut agreeing) = (0, 0);
    let mut by_operation: Vec<Vec<f64>> = vec![Vec::new(); program.ops().len()];
    let mut by_operation_on_one = by_operation.clone();
    // Made when the memory of the one that is measured is known.
    let (mut one_thread, mut peak_rss_bytes): (Option<Service<'_>>, _) = (None, None);
    let (mut one_thread_times, mut speedups) = (Vec::new(), Vec::new());
    // The first run fills pools and caches, and is not counted.
    for run in 0..=options.runs {
        let first = (SAMPLES + run * batch) % (images.len() - batch + 1);
        let samples = images.part(first..first + batch);
        let one = samples.features(&compiled.client.input_shape, scaling)?;
        let start = Instant::now();
        let mut request = Vec::new();
        client
            .encrypt(&one, EncryptionKey::Secret(&keys.secret), &mut rng, &mut request, &|_| {})
            .map_err(JobError::from)?;
        let encrypted = start.elapsed();
        let on_one = || one_thread.as_ref().map(|service| service.answer(&request));
        let before = if run % 2 == 0 { on_one() } else { None };
        let (response, evaluated) = service.answer(&request)?;
        let on_one = before.or_else(on_one).transpose()?;
        let start = Instant::now();
        let outputs = client.decrypt(&*response, &keys.secret).map_err(JobError::from)?;
        let decrypted = start.elapsed();
        if run > 0 && run <= PROFILED_RUNS {
            by_operation.iter_mut().zip(service.operations(&request)?).for_each(|(times, time)| times.push(time));
            if let Some(service) = &one_thread {
                let times = service.operations(&request)?;
                by_operation_on_one.iter_mut().zip(times).for_each(|(times, time)| times.push(time));
            }
        }
        let expected = (first..first + batch).flat_map(|image| compiled.network.evaluate(&features.row(image)));
        for (found, expected) in outputs.values.iter().zip(expected) {
            max_error = max_error.max((found - expected).abs());
        }
        for (image, outputs) in (first..).zip(outputs.values.chunks_exact(outputs.columns)).filter(|_| run > 0) {
            let class = largest(outputs);
            correct += usize::from(class == usize::from(labels[image]));
            agreeing += usize::from(class == largest(&reference.row(image)));
        }
        (request_bytes, response_bytes) = (request.len() as u64, response.len() as u64);
        if run == 0 {
            peak_rss_bytes = peak_memory_bytes();
            if options.threads > 1 {
                let server = Server::read(&*compiled.server_bytes, 1).map_err(JobError::from)?;
                let service = Service { server, ..service };
                service.answer(&request)?;
                one_thread = Some(service);
            }
        } else {
            if let Some((_, on_one)) = on_one {
                one_thread_times.push(1e3 * on_one.as_secs_f64());
                speedups.push(on_one.as_secs_f64() / evaluated.as_secs_f64());
            }
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
    let if_any = |values: Vec<f64>| (!values.is_empty()).then(|| median(values));
    let by_operation = by_operation.into_iter().zip(by_operation_on_one);
    let operations = by_operation.enumerate().map(|(op, (times, on_one))| OperationTime {
        name: program.ops()[op].name(),
        layer: program.names()[op].clone(),
        predicted_ms: 1e3 * program.work(op).seconds(compiled.plan.prices(), params.degree()),
        measured_ms: median(times),
        one_thread_ms: if_any(on_one),
    });
    let operations = operations.collect();
    let evaluate_min_ms = evaluate.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(LatencyReport {
        conditions: Conditions::new("latency", params.kernel().name(), options),
        network: job.name(),
        images: batch,
        plan: compiled.plan.name(),
        degree: params.degree(),
        log_qp: params.log_qp(),
        security_bits: if params.is_secure() { SECURITY_BITS } else { 0 },
        rotations: program.rotations().len(),
        key_bytes: key_bytes.len() as u64,
        model_bytes: model_bytes.len() as u64,
        request_bytes,
        response_bytes,
        setup_s,
        encrypt_ms: median(encrypt),
        evaluate_ms: median(evaluate),
        evaluate_min_ms,
        one_thread_ms: if_any(one_thread_times),
        speedup: if_any(speedups),
        predicted_ms: 1e3 * compiled.plan.seconds(),
        decrypt_ms: median(decrypt),
        max_error,
        stated_error: compiled.client.error_bound,
        accuracy: correct as f64 / (options.runs * batch) as f64,
        agreement: agreeing as f64 / (options.runs * batch) as f64,
        peak_rss_bytes,
        runs: options.runs,
        operations,
    })
}

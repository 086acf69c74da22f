//! The demonstration: embedded MNIST test images through an embedded model, encrypted, with a report.

use std::io::Read;

use crate::bench::Machine;
use crate::job::{self, JobError, Outcome, Phase};
use crate::model::{CompileError, CompileOptions, Compiled, compile};
use crate::output::largest;
use crate::report::{Accuracy, Parameter, Parameters, Party, Report, Run, Sample, Size, Stage, Tone};
use crate::samples::{SampleValues, Samples, SamplesError, Scaling};
use crate::{RandomError, system_rng};

/// The CryptoNets network, trained by this project (`training/`).
pub const CRYPTONETS_ONNX: &[u8] = include_bytes!("../assets/cryptonets.onnx");
/// The E2DM network (also of the Julia demonstration and TenSEAL's tutorial), trained by this project.
pub const E2DM_ONNX: &[u8] = include_bytes!("../assets/e2dm.onnx");
const LOLA_ONNX: &[u8] = include_bytes!("../assets/lola.onnx");
const LOLA_SMALL_ONNX: &[u8] = include_bytes!("../assets/lola-small.onnx");
const MLP_ONNX: &[u8] = include_bytes!("../assets/mlp.onnx");
const LENET_ONNX: &[u8] = include_bytes!("../../../models/lenet.onnx");
const IMAGES: &[u8] = include_bytes!("../assets/mnist-t10k-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../assets/mnist-t10k-labels-idx1-ubyte.gz");
const CRYPTONETS_LOGITS: &[u8] = include_bytes!("../assets/cryptonets.reference.npz");
const E2DM_LOGITS: &[u8] = include_bytes!("../assets/e2dm.reference.npz");
const LOLA_LOGITS: &[u8] = include_bytes!("../assets/lola.reference.npz");
const LOLA_SMALL_LOGITS: &[u8] = include_bytes!("../assets/lola-small.reference.npz");
const MLP_LOGITS: &[u8] = include_bytes!("../assets/mlp.reference.npz");
const LENET_LOGITS: &[u8] = include_bytes!("../../../models/lenet.reference.npz");

/// A model that the program carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// CryptoNets (Gilad-Bachrach et al., ICML 2016), squashed for inference.
    CryptoNets,
    /// The network of E2DM (Jiang et al., CCS 2018).
    E2dm,
    /// LoLA-MNIST as Orion has it: a convolution of 2 x 2, and two dense layers.
    Lola,
    /// LoLa-Small (Brutzkus et al., ICML 2019): a convolution and one dense layer.
    LolaSmall,
    /// Three dense layers of 128, 128 and 10.
    Mlp,
    /// LeNet-5 as Orion has it, with squares: convolutions of 32 and 64 maps, dense layers of 512 and 10.
    Lenet,
}

impl Model {
    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::CryptoNets => "cryptonets",
            Self::E2dm => "e2dm",
            Self::Lola => "lola",
            Self::LolaSmall => "lola-small",
            Self::Mlp => "mlp",
            Self::Lenet => "lenet",
        }
    }

    /// The ONNX file.
    pub fn onnx(self) -> &'static [u8] {
        match self {
            Self::CryptoNets => CRYPTONETS_ONNX,
            Self::E2dm => E2DM_ONNX,
            Self::Lola => LOLA_ONNX,
            Self::LolaSmall => LOLA_SMALL_ONNX,
            Self::Mlp => MLP_ONNX,
            Self::Lenet => LENET_ONNX,
        }
    }

    /// What ONNX Runtime computes for the 10,000 test images: one row of 10 logits an image.
    ///
    /// # Errors
    /// [`SamplesError`] if the embedded file is damaged.
    pub fn reference_logits(self) -> Result<Samples, SamplesError> {
        let bytes = match self {
            Self::CryptoNets => CRYPTONETS_LOGITS,
            Self::E2dm => E2DM_LOGITS,
            Self::Lola => LOLA_LOGITS,
            Self::LolaSmall => LOLA_SMALL_LOGITS,
            Self::Mlp => MLP_LOGITS,
            Self::Lenet => LENET_LOGITS,
        };
        crate::samples::decode(bytes, "embedded reference logits")
    }
}

/// The 10,000 test images of MNIST, 28 x 28 pixels each.
///
/// # Errors
/// [`SamplesError`] if the embedded file is damaged.
pub fn test_images() -> Result<Samples, SamplesError> {
    crate::samples::decode(IMAGES, "embedded MNIST test images")
}

/// The labels of [`test_images`].
///
/// # Errors
/// [`std::io::Error`] if the embedded file is damaged.
pub fn test_labels() -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(LABELS).read_to_end(&mut bytes)?;
    // An IDX file of bytes in one dimension has an 8-byte head.
    Ok(bytes.split_off(bytes.len().min(8)))
}

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// An embedded file is damaged.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// The embedded labels are damaged.
    #[error("embedded labels: {0}")]
    Labels(#[source] std::io::Error),
    /// An embedded model does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A half of the protocol failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The demonstration's results, with all that is needed to show them.
#[derive(Debug, Clone)]
pub struct Demonstration {
    /// The model.
    pub model: Model,
    /// The compiled model.
    pub compiled: Compiled,
    /// Images that were classified.
    pub images: usize,
    /// What the encrypted run found and cost.
    pub outcome: Outcome,
    /// Images whose class was found under encryption.
    pub encrypted_correct: usize,
    /// Images whose class ONNX Runtime finds.
    pub reference_correct: usize,
    /// Images for which both find the same class.
    pub agreeing: usize,
    /// Largest absolute difference of a logit from ONNX Runtime's.
    pub max_logit_error: f64,
    /// By label, then by class found under encryption.
    pub confusion: Vec<Vec<u64>>,
    /// Class found for each image.
    pub predictions: Vec<usize>,
    /// Threads used.
    pub threads: usize,
    /// Largest memory of the process so far, in bytes.
    pub peak_memory_bytes: Option<u64>,
}

/// Images of a full batch, which is also how many the demonstration classifies unless told otherwise.
pub const DEFAULT_IMAGES: usize = 8192;
pub(crate) const CLASSES: usize = 10;
/// Images that show the compiler what inputs look like.
pub(crate) const SAMPLES: usize = 64;

/// Classifies the first `images` test images (at most 10,000) under encryption and compares with ONNX Runtime.
///
/// # Errors
/// [`DemoError`].
pub fn run(
    model: Model,
    images: usize,
    threads: usize,
    progress: &(dyn Fn(Phase, f64) + Sync),
) -> Result<Demonstration, DemoError> {
    let mut options = CompileOptions::new(model.name());
    let all = test_images()?;
    let scaling = Scaling { scale: options.input.scale, offset: options.input.offset };
    let features = all.features(&[784], scaling)?;
    options.samples = (0..SAMPLES).map(|image| features.row(image)).collect();
    run_compiled(model, compile(model.onnx(), &options)?, images, threads, progress)
}

fn run_compiled(
    model: Model,
    compiled: Compiled,
    images: usize,
    threads: usize,
    progress: &(dyn Fn(Phase, f64) + Sync),
) -> Result<Demonstration, DemoError> {
    let all = test_images()?;
    let images = images.clamp(1, all.len());
    let samples = all.part(0..images);
    let labels = test_labels().map_err(DemoError::Labels)?;
    let scaling = Scaling { scale: compiled.client.input.scale, offset: compiled.client.input.offset };
    let features = samples.features(&compiled.client.input_shape, scaling)?;
    let outcome = job::run(&compiled, &features, threads, &mut system_rng()?, progress)?;

    let reference = model.reference_logits()?;
    let reference = reference.features(&[CLASSES], Scaling { scale: 1.0, offset: 0.0 })?;
    let mut demonstration = Demonstration {
        model,
        compiled,
        images,
        outcome,
        encrypted_correct: 0,
        reference_correct: 0,
        agreeing: 0,
        max_logit_error: 0.0,
        confusion: vec![vec![0; CLASSES]; CLASSES],
        predictions: Vec::with_capacity(images),
        threads,
        peak_memory_bytes: job::peak_memory_bytes(),
    };
    for (image, found) in demonstration.outcome.outputs.values.chunks_exact(CLASSES).enumerate() {
        let expected = reference.row(image);
        let label = usize::from(labels.get(image).copied().unwrap_or_default()).min(CLASSES - 1);
        let (prediction, reference) = (largest(found), largest(&expected));
        demonstration.encrypted_correct += usize::from(prediction == label);
        demonstration.reference_correct += usize::from(reference == label);
        demonstration.agreeing += usize::from(prediction == reference);
        demonstration.confusion[label][prediction] += 1;
        demonstration.predictions.push(prediction);
        for (found, expected) in found.iter().zip(&expected) {
            demonstration.max_logit_error = demonstration.max_logit_error.max((found - expected).abs());
        }
    }
    Ok(demonstration)
}

impl Demonstration {
    /// The report of this run, for [`report::render`](crate::report::render).
    ///
    /// # Errors
    /// [`DemoError`] if an embedded file is damaged.
    pub fn report(&self, command: &str) -> Result<Report, DemoError> {
        let images = Some(self.images as u64);
        let times = self.outcome.times;
        let stage = |name: &str, party, seconds, images| Stage { name: name.to_owned(), party, seconds, images };
        let size = |name: &str, sender, bytes, images| Size { name: name.to_owned(), sender, bytes, images };
        let machine = Machine::this();
        Ok(Report {
            title: "Encrypted handwritten digits".to_owned(),
            model: match self.model {
                Model::CryptoNets => "CryptoNets".to_owned(),
                Model::E2dm => "E2DM".to_owned(),
                Model::Lola => "LoLA-MNIST".to_owned(),
                Model::LolaSmall => "LoLa-Small".to_owned(),
                Model::Mlp => "MLP 784-128-128-10".to_owned(),
                Model::Lenet => "LeNet-5".to_owned(),
            },
            dataset: "MNIST test images".to_owned(),
            tone: Tone::Ink,
            accuracy: Accuracy {
                images: self.images as u64,
                encrypted_correct: self.encrypted_correct as u64,
                plaintext_correct: self.reference_correct as u64,
                agreeing: self.agreeing as u64,
                max_logit_error: self.max_logit_error,
                stated_bound: self.compiled.plan.error_bound().secret_key,
            },
            stages: vec![
                stage("Make keys", Party::Client, times.keygen, None),
                stage("Encrypt", Party::Client, times.encrypt, images),
                stage("Load request", Party::Service, times.load, images),
                stage("Evaluate", Party::Service, times.evaluate, images),
                stage("Decrypt", Party::Client, times.decrypt, images),
            ],
            sizes: vec![
                size("Evaluation keys", Party::Client, self.outcome.evaluation_key_bytes, None),
                size("Request", Party::Client, self.outcome.request_bytes, images),
                size("Response", Party::Service, self.outcome.response_bytes, images),
            ],
            parameters: self.parameters(),
            classes: (0..CLASSES).map(|class| class.to_string()).collect(),
            confusion: self.confusion.clone(),
            samples: self.samples()?,
            run: Run {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                command: command.to_owned(),
                machine: format!("{}, {} processors, {}", machine.cpu, machine.cores, machine.features.join(" ")),
                threads: self.threads,
                date: crate::bench::today(),
            },
        })
    }

    fn parameters(&self) -> Parameters {
        let program = self.compiled.plan.program();
        let params = program.params();
        let log2 = |primes: &[u64]| primes.iter().map(|prime| (*prime as f64).log2()).collect();
        let row = |name: &str, value: String| Parameter { name: name.to_owned(), value };
        let depth = program.input_type().level.0 - program.output_type().level.0;
        let mut more = vec![
            row("Plan", "throughput: one ciphertext a pixel, one image a slot".to_owned()),
            row("Depth", format!("{depth} levels")),
            row("Kernel", params.kernel().name().to_owned()),
        ];
        if let Some(bytes) = self.peak_memory_bytes {
            more.push(row("Peak memory", format!("{:.0} MB, client and service together", bytes as f64 / 1e6)));
        }
        Parameters {
            scheme: "CKKS".to_owned(),
            ring: format!("{} ring", params.ring()),
            degree: params.degree() as u64,
            slots: params.slots() as u64,
            log_qp: params.log_qp(),
            security_bits: if params.is_secure() { nightloom_he::security::SECURITY_BITS } else { 0 },
            prime_bits: log2(params.primes()),
            special_prime_bits: log2(params.special_primes()),
            log_scale: program.input_type().scale.log2(),
            more,
        }
    }

    /// The first twenty images, then up to twenty that were misclassified.
    fn samples(&self) -> Result<Vec<Sample>, DemoError> {
        let images = test_images()?;
        let labels = test_labels().map_err(DemoError::Labels)?;
        let SampleValues::Pixels(pixels) = images.values() else { return Ok(Vec::new()) };
        let wrong = |image: &usize| *image >= 20 && self.predictions[*image] != usize::from(labels[*image]);
        let chosen = (0..self.images.min(20)).chain((0..self.images).filter(wrong).take(20));
        let sample = |image: usize| Sample {
            index: image as u64,
            width: 28,
            height: 28,
            pixels: pixels[image * 784..][..784].to_vec(),
            label: labels[image].into(),
            prediction: self.predictions[image],
            logits: self.outcome.outputs.values[image * CLASSES..][..CLASSES].to_vec(),
        };
        Ok(chosen.map(sample).collect())
    }
}

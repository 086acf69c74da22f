//! The pages that `nightloom demo` and `nightloom train demo` leave behind: one HTML file that needs nothing beside itself.

mod check;
mod curve;
mod figures;
mod page;
mod text;
mod training;

use serde::{Deserialize, Serialize};

pub use check::{MAX_CLASSES, MAX_SAMPLES, MAX_SIDE, ReportError};
pub use training::{Comparison, Epoch, Opened, Point, TrainingReport, render_training};

/// One run of a model on encrypted images: what was measured, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Heading of the page.
    pub title: String,
    /// Name of the model, such as `CryptoNets`.
    pub model: String,
    /// Name of the data set, such as `MNIST`.
    pub dataset: String,
    /// How the images are shown.
    pub tone: Tone,
    /// What came out right.
    pub accuracy: Accuracy,
    /// The stages in the order in which they ran.
    pub stages: Vec<Stage>,
    /// What was sent, in order.
    pub sizes: Vec<Size>,
    /// The encryption.
    pub parameters: Parameters,
    /// The names of the classes, such as `0` to `9`.
    pub classes: Vec<String>,
    /// Images by label (row) and by class found under encryption (column).
    pub confusion: Vec<Vec<u64>>,
    /// Some of the images, with what was found under encryption.
    pub samples: Vec<Sample>,
    /// Where, when and how it ran.
    pub run: Run,
}

/// How images are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Bright pixels are ink: dark strokes on a light page, light strokes on a dark one.
    Ink,
    /// Bright pixels are light, on any page.
    Photograph,
}

/// Counts of images, and the numerical error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// All images.
    pub images: u64,
    /// Images whose class was found under encryption.
    pub encrypted_correct: u64,
    /// Images whose class the model finds on plain images.
    pub plaintext_correct: u64,
    /// Images for which both find the same class, right or wrong.
    pub agreeing: u64,
    /// The largest absolute difference of a logit from the cleartext run.
    pub max_logit_error: f64,
    /// The bound on that difference that the compiler states for the program.
    pub stated_bound: f64,
}

/// Who does a stage or sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The owner of the images and of the secret key.
    Client,
    /// The holder of the model, who sees ciphertexts only.
    Service,
}

/// A stage of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Such as `Encrypt`.
    pub name: String,
    /// Who does it.
    pub party: Party,
    /// Wall-clock time.
    pub seconds: f64,
    /// The number of images it is done for; absent for what is done once, such as making keys.
    pub images: Option<u64>,
}

/// Something that is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Such as `Request`.
    pub name: String,
    /// Who sends it.
    pub sender: Party,
    /// Its length.
    pub bytes: u64,
    /// The number of images it carries; absent for what is sent once, such as evaluation keys.
    pub images: Option<u64>,
}

/// The encryption scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Such as `CKKS`.
    pub scheme: String,
    /// The ring in words.
    pub ring: String,
    /// Degree of the ring.
    pub degree: u64,
    /// Numbers in one ciphertext.
    pub slots: u64,
    /// Binary logarithm of the product of all primes, the special ones included.
    pub log_qp: f64,
    /// Security in bits.
    pub security_bits: u32,
    /// Binary logarithms of the primes of a ciphertext, the one that remains longest first.
    pub prime_bits: Vec<f64>,
    /// Binary logarithms of the special primes, which only keys use.
    pub special_prime_bits: Vec<f64>,
    /// Binary logarithm of the scale of a fresh ciphertext.
    pub log_scale: f64,
    /// More rows for the table, such as the plan and the depth.
    pub more: Vec<Parameter>,
}

/// A row of the table of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is.
    pub name: String,
    /// Its value with its unit.
    pub value: String,
}

/// An image with what the model said about it under encryption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Its number in the data set, from 0.
    pub index: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Brightness of each pixel, row-major from the top left.
    pub pixels: Vec<u8>,
    /// The class it belongs to.
    pub label: usize,
    /// The class that was found.
    pub prediction: usize,
    /// One number a class; the largest is the prediction.
    pub logits: Vec<f64>,
}

/// Where, when and how a report was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Version of Nightloom.
    pub version: String,
    /// The command that repeats the run.
    pub command: String,
    /// Processor, memory, operating system.
    pub machine: String,
    /// Threads that the run used.
    pub threads: usize,
    /// Date and, if known, time.
    pub date: String,
}

/// The page: UTF-8 HTML with its style and images inside, for light and dark screens and for paper.
///
/// # Errors
/// [`ReportError`] if the counts contradict each other, a number is not finite, or there is more to show than one
/// page can hold.
pub fn render(report: &Report) -> Result<String, ReportError> {
    check::check(report)?;
    page::page(report)
}

#[cfg(test)]
mod tests;

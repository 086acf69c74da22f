use serde::{Deserialize, Serialize};

use super::AgreementError;
use crate::learn::counts::Bins;
use crate::learn::data::{LIMITS, Standardization};
use crate::learn::network::{LayerSpec, Loss, MAX_VALUES, Network, NetworkSpec};
use crate::learn::{Inputs, Shape, Targets};

/// Most classes.
const MAX_CLASSES: usize = 1 << 12;
/// Most numbers of a public layer: they stand in the agreement as text.
const MAX_PUBLIC_PARAMETERS: usize = 1 << 16;

/// What samples and targets of all clients look like. Nothing of it may depend on one client's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataForm {
    /// The shape of a sample as clients have it.
    pub input: Shape,
    /// How a sample becomes integers.
    pub encoding: Encoding,
    /// Bound of the Euclidean norm of a sample in real units, to which clients shorten longer ones; none but that of the
    /// range if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_bound: Option<f64>,
    /// What the network should make of a sample.
    pub targets: TargetForm,
}

/// How a sample becomes integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Images of one byte a pixel, as they are.
    Pixels,
    /// Columns of numbers, standardised.
    Columns(Standardization),
    /// What a public layer makes of images.
    Features(PublicLayer),
    /// Bins of every column, for models that count.
    Bins(Bins),
}

/// Layers with public weights that clients apply themselves before they encrypt: what is offered in place of a convolution
/// over encrypted images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicLayer {
    /// The layers.
    pub network: NetworkSpec,
    /// Their weights and biases, as [`Network::from_values`] takes them.
    pub weights: Vec<f64>,
    /// Features beyond this are cut.
    pub limit: f64,
    /// Bits of a feature with its sign, 2 to 16.
    pub bits: u32,
}

/// What the network should make of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetForm {
    /// One of these classes.
    Classes(Vec<String>),
    /// Some numbers.
    Numbers {
        /// Numbers of a sample.
        width: usize,
        /// Largest magnitude.
        bound: f64,
    },
}

/// Samples as a client reads them.
#[derive(Clone, Copy, Debug)]
pub enum RawSamples<'a> {
    /// Bytes of images.
    Pixels(&'a [u8]),
    /// Numbers.
    Numbers(&'a [f64]),
}

impl RawSamples<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Pixels(values) => values.len(),
            Self::Numbers(values) => values.len(),
        }
    }
}

impl TargetForm {
    /// Outputs of a network for these targets.
    pub fn width(&self) -> usize {
        match self {
            Self::Classes(names) => names.len(),
            Self::Numbers { width, .. } => *width,
        }
    }

    /// Whether a prediction can be right, and not only near.
    pub fn are_classes(&self) -> bool {
        matches!(self, Self::Classes(_))
    }

    /// What is minimised for them: cross-entropy of classes, the squared error of numbers.
    pub fn loss(&self) -> Loss {
        match self {
            Self::Classes(_) => Loss::SoftmaxCrossEntropy,
            Self::Numbers { .. } => Loss::MeanSquaredError,
        }
    }

    /// Bound of the magnitude of a target in steps of `2^-bits`.
    pub(crate) fn bound(&self, bits: u32) -> i64 {
        let one = f64::from(1u32 << bits);
        match self {
            Self::Classes(_) => one as i64,
            Self::Numbers { bound, .. } => libm::ceil(bound * one) as i64,
        }
    }

    /// Checks targets of a client.
    pub(crate) fn check_targets(&self, targets: &Targets) -> Result<(), AgreementError> {
        match (self, targets) {
            (Self::Classes(names), Targets::Classes { classes, .. }) if names.len() == *classes => Ok(()),
            (Self::Numbers { width, bound }, Targets::Numbers { width: found, values }) if width == found => {
                match values.iter().position(|value| value.abs() > *bound) {
                    Some(index) => Err(AgreementError::TargetRange { index, found: values[index], bound: *bound }),
                    None => Ok(()),
                }
            }
            _ => Err(AgreementError::Targets { found: targets.width(), wanted: self.width() }),
        }
    }
}

impl DataForm {
    pub(super) fn check(&self) -> Result<(), AgreementError> {
        let setting = |what, found, wanted| Err(AgreementError::Setting { what, found, wanted });
        let Shape { channels, height, width } = self.input;
        let len = channels.checked_mul(height).and_then(|area| area.checked_mul(width));
        if !len.is_some_and(|len| (1..=MAX_VALUES).contains(&len)) {
            return Err(AgreementError::Shape { found: self.input });
        }
        if let Some(bound) = self.norm_bound
            && !(bound > 0.0 && bound.is_finite())
        {
            return setting("bound of the norm", bound, "a positive number");
        }
        match &self.targets {
            TargetForm::Classes(names) if !(2..=MAX_CLASSES).contains(&names.len()) => {
                setting("classes", names.len() as f64, "2 to 2^12")
            }
            TargetForm::Numbers { width, bound }
                if *width == 0 || *width > MAX_CLASSES || !(*bound > 0.0 && *bound <= f64::from(1u32 << 20)) =>
            {
                setting("bound of the targets", *bound, "more than 0, at most 2^20, for 1 to 2^12 numbers")
            }
            _ => Ok(()),
        }?;
        let columns = |found: usize| {
            let wanted = self.input.len();
            if found == wanted { Ok(()) } else { Err(AgreementError::Columns { found, wanted }) }
        };
        match &self.encoding {
            Encoding::Pixels => Ok(()),
            Encoding::Columns(standardization) => {
                standardization.check().map_err(AgreementError::Data)?;
                columns(standardization.columns())
            }
            Encoding::Features(layer) => {
                let (found, wanted) = (layer.network()?.architecture().input(), self.input);
                if found == wanted { Ok(()) } else { Err(AgreementError::NetworkInput { found, wanted }) }
            }
            Encoding::Bins(bins) => {
                bins.check().map_err(AgreementError::Counts)?;
                columns(bins.counts().len())
            }
        }
    }

    /// The shape of what is encrypted of a sample: the sample, or what a public layer makes of it.
    pub fn trained_input(&self) -> Shape {
        match &self.encoding {
            Encoding::Features(layer) => {
                // Checked with the agreement.
                Shape::vector(layer.network.validate().map_or(0, |architecture| architecture.outputs()))
            }
            _ => self.input,
        }
    }

    /// Values of a sample, or of the narrowest of the public layers if one has fewer.
    pub(crate) fn narrowest(&self) -> usize {
        let layers = match &self.encoding {
            Encoding::Features(layer) => layer.network.validate().ok(),
            _ => None,
        };
        let outputs = layers.iter().flat_map(|architecture| architecture.layers()).map(|layer| layer.output.len());
        outputs.fold(self.input.len(), usize::min)
    }

    /// The step and the range of the integers.
    pub(crate) fn step_and_range(&self) -> (f64, (i16, i16)) {
        match &self.encoding {
            Encoding::Columns(standardization) => (standardization.step(), standardization.range()),
            Encoding::Features(layer) => layer.step_and_range(),
            Encoding::Pixels | Encoding::Bins(_) => (1.0 / 255.0, (0, 255)),
        }
    }

    /// Bound of the Euclidean norm of an encrypted sample in real units.
    pub(crate) fn norm(&self) -> f64 {
        let (step, (low, high)) = self.step_and_range();
        let largest = f64::from(low.unsigned_abs().max(high.unsigned_abs()));
        let bound = largest * step * libm::sqrt(self.trained_input().len() as f64);
        self.norm_bound.map_or(bound, |norm| norm.min(bound))
    }

    /// The integers of a client's samples.
    ///
    /// # Errors
    /// [`AgreementError`] if they are of another shape or kind, or out of range.
    pub fn inputs(&self, raw: RawSamples<'_>) -> Result<Inputs, AgreementError> {
        let (found, wanted) = (raw.len(), self.input.len());
        if found == 0 || !found.is_multiple_of(wanted) {
            return Err(AgreementError::Values { found, wanted: self.input });
        }
        let inputs = match (&self.encoding, raw) {
            (Encoding::Pixels, raw) => Inputs::from_pixels(self.input, &pixels(raw, wanted)?)?,
            (Encoding::Columns(standardization), RawSamples::Numbers(rows)) => standardization.apply(rows)?,
            (Encoding::Features(layer), raw) => layer.apply(self.input, raw)?,
            (Encoding::Columns(_), RawSamples::Pixels(_)) => return Err(AgreementError::Kind { wanted: "numbers" }),
            (Encoding::Bins(_), _) => return Err(AgreementError::Kind { wanted: "a table, for a model that counts" }),
        };
        Ok(match self.norm_bound {
            Some(bound) => inputs.with_norm_bound(bound)?,
            None => inputs,
        })
    }
}

/// Bytes of pixels, also from numbers that are whole and in range.
fn pixels(raw: RawSamples<'_>, len: usize) -> Result<std::borrow::Cow<'_, [u8]>, AgreementError> {
    let numbers = match raw {
        RawSamples::Pixels(pixels) => return Ok(pixels.into()),
        RawSamples::Numbers(numbers) => numbers,
    };
    let pixel = |(index, &found): (usize, &f64)| {
        if (0.0..=255.0).contains(&found) && found.fract() == 0.0 {
            Ok(found as u8)
        } else {
            Err(AgreementError::Range {
                sample: index / len,
                value: index % len,
                found,
                wanted: "a whole number, 0 to 255",
            })
        }
    };
    numbers.iter().enumerate().map(pixel).collect::<Result<Vec<u8>, _>>().map(Into::into)
}

impl PublicLayer {
    /// Layers with these weights.
    ///
    /// # Errors
    /// [`AgreementError`] if bits or limit are out of range, or there are too many weights.
    pub fn new(network: &Network, limit: f64, bits: u32) -> Result<Self, AgreementError> {
        let weights = network.values().copied().collect();
        let layer = Self { network: network.architecture().spec().clone(), weights, limit, bits };
        layer.network()?;
        Ok(layer)
    }

    /// The layers with their weights.
    ///
    /// # Errors
    /// [`AgreementError`] if there is no such network.
    pub fn network(&self) -> Result<Network, AgreementError> {
        let setting = |what, found, wanted| Err(AgreementError::Setting { what, found, wanted });
        if !(2..=16).contains(&self.bits) {
            return setting("bits of a feature", self.bits.into(), "2 to 16");
        }
        if !LIMITS.contains(&self.limit) {
            return setting("limit of a feature", self.limit, "2^-20 to 2^20");
        }
        if self.weights.len() > MAX_PUBLIC_PARAMETERS {
            return setting("parameters of the public layer", self.weights.len() as f64, "at most 2^16");
        }
        let architecture = self.network.validate()?;
        let bends = |layer: &LayerSpec| {
            use LayerSpec::{MaxPool, Relu, Sigmoid, Square};
            matches!(layer, Relu | Sigmoid | Square | MaxPool { .. })
        };
        // Of linear layers there are products that are single values of a sample, which no search in features finds.
        if !self.network.layers.iter().any(bends) {
            return Err(AgreementError::LinearLayers);
        }
        Ok(Network::from_values(&architecture, &self.weights)?)
    }

    fn step_and_range(&self) -> (f64, (i16, i16)) {
        let largest = ((1i32 << (self.bits - 1)) - 1) as i16;
        (self.limit / f64::from(largest), (-largest, largest))
    }

    fn apply(&self, input: Shape, raw: RawSamples<'_>) -> Result<Inputs, AgreementError> {
        let network = self.network()?;
        let pixels = pixels(raw, input.len())?;
        let images = Inputs::from_pixels(network.architecture().input(), &pixels)?;
        let (step, range) = self.step_and_range();
        let indices: Vec<usize> = (0..images.len()).collect();
        let features = indices.chunks(256).flat_map(|indices| network.outputs(images.real(indices).view()));
        let shape = Shape::vector(network.architecture().outputs());
        Ok(Inputs::rounded(shape, features, step, range)?)
    }
}

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::layout::Form;
use super::{AgreementError, DataForm, Direction, Layout, Part, QueryError, TargetForm};
use crate::authority::largest_rank;
use crate::cipher::{Cipher, cipher};
use crate::learn::fixed_point::FixedPointSpec;
use crate::learn::network::{LayerSpec, NetworkSpec};
use crate::mode::Mode;
use crate::{Bounds, FeError, Febo, Functionals, MAX_VALUE, Scheme};

/// Most samples of a batch.
const MAX_BATCH: usize = 1 << 16;

/// How samples are encrypted, for products that are opened to a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The scheme.
    pub scheme: Scheme,
    /// What the first layer multiplies of a sample.
    pub first_layer: FirstLayerForm,
    /// Samples that are encrypted together and trained on together.
    pub batch: usize,
    /// How finely the server rounds: bounds what its functionals may hold.
    pub fixed_point: FixedPointSpec,
    /// A target of 1 is the integer `2^target_bits`, 0 to 20.
    pub target_bits: u32,
    /// What becomes of labels. Without effect in mode `delegate`, in which they stay with the client.
    pub labels: Labels,
    /// Noise that the authority adds to what is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<OpeningNoise>,
}

/// What the first layer multiplies of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstLayerForm {
    /// The sample as one vector: a dense layer.
    Dense,
    /// Its windows: a convolution.
    Windows {
        /// Side of a window in pixels.
        side: usize,
        /// Pixels between windows.
        stride: usize,
        /// Border of zeros in pixels.
        padding: usize,
    },
}

/// What becomes of labels. An exact error `P - Y` tells `Y` to whoever knows `P`, so a server that trains on exact errors
/// has the labels however they travel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// The client replaces each label by another one, uniform, with the probability that makes it `epsilon`-differentially
    /// private (randomised response: Warner 1965; Ghazi et al. 2021, arXiv 2102.06062). The server gets the result.
    Randomized {
        /// The bound of the privacy loss of a label.
        epsilon: f64,
    },
    /// The server gets them.
    Open,
    /// The server gets them under FEBO and asks for keys of `P - Y`, as CryptoNN does.
    Febo,
}

impl Labels {
    /// The probability that a label among `classes` stays what it is.
    pub fn kept(self, classes: usize) -> f64 {
        match self {
            Self::Randomized { epsilon } => {
                // The odds themselves would overflow.
                1.0 / (1.0 + (classes as f64 - 1.0) * libm::exp(-epsilon))
            }
            Self::Open | Self::Febo => 1.0,
        }
    }
}

/// Noise of the authority on opened values: Gaussian, its deviation in units of what one sample can change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningNoise {
    /// On products of the first layer; 0 for none.
    pub forward: f64,
    /// On the first layer's gradient; 0 for none.
    pub gradient: f64,
}

/// The schemes of an opening, ready to be used.
pub(crate) struct Sealed {
    pub layout: Layout,
    /// Largest integers of weights and deltas.
    limits: [u32; 2],
    /// Of each part, in the order of [`Layout::parts`].
    ciphers: Vec<(Part, Box<dyn Cipher>)>,
    /// Of the targets, if they are sealed too.
    pub febo: Option<Febo>,
    /// Numbers that determine what is encrypted of a sample: as many as that has values, or as the narrowest of the public layers
    /// before it, the sample included.
    pub unknowns: usize,
}

impl Opening {
    /// The layout of the network's first layer.
    pub(super) fn seal(&self, mode: Mode, data: &DataForm) -> Result<Sealed, AgreementError> {
        self.check(mode, data)?;
        // A network with this first layer says which vectors there are.
        let layer = match self.first_layer {
            FirstLayerForm::Dense => LayerSpec::Dense { units: 1 },
            FirstLayerForm::Windows { side, stride, padding } => {
                LayerSpec::Convolution { filters: 1, side, stride, padding }
            }
        };
        let network = NetworkSpec { input: data.trained_input(), layers: vec![layer] };
        let vectors = network.validate()?.vectors();
        let form = match (mode, self.first_layer, self.scheme) {
            (Mode::Delegate, ..) => Form::SamplesOnly,
            (_, FirstLayerForm::Dense, _) | (.., Scheme::Rlwe | Scheme::Mlwe) => Form::Transposed,
            _ => Form::OneVector,
        };
        let layout = Layout::new(vectors, self.batch, form);
        let (_, (low, high)) = data.step_and_range();
        let largest = u32::from(low.unsigned_abs().max(high.unsigned_abs()));
        let limit = |bits: u32| (1u32 << (bits - 1)) - 1;
        let (weight, delta) = (limit(self.fixed_point.weight_bits), limit(self.fixed_point.delta_bits));
        let room = self.room_for_noise(&layout);
        let bounds = |part| -> Result<Bounds, FeError> {
            let bounds = layout.bounds(part, largest, weight, delta)?;
            let wide = u64::from(bounds.weight()).saturating_mul(room).min(MAX_VALUE.into()) as u32;
            Bounds::sparse(bounds.dimension(), bounds.terms(), bounds.data(), wide)
        };
        let ciphers = layout.parts().iter().map(|&part| Ok((part, cipher(self.scheme, bounds(part)?)?)));
        let ciphers = ciphers.collect::<Result<Vec<_>, FeError>>()?;
        let febo = match self.labels {
            Labels::Febo => {
                let bound = u32::try_from(data.targets.bound(self.target_bits)).unwrap_or(u32::MAX);
                Some(Febo::new(bound, bound)?)
            }
            Labels::Open | Labels::Randomized { .. } => None,
        };
        let unknowns = layout.vectors().width().min(data.narrowest());
        Ok(Sealed { layout, limits: [weight, delta], ciphers, febo, unknowns })
    }

    fn check(&self, mode: Mode, data: &DataForm) -> Result<(), AgreementError> {
        let setting = |what, found, wanted| Err(AgreementError::Setting { what, found, wanted });
        if self.scheme == Scheme::Febo {
            return Err(AgreementError::NotInnerProducts);
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return setting("samples of a batch", self.batch as f64, "1 to 2^16");
        }
        for (what, bits) in
            [("bits of a weight", self.fixed_point.weight_bits), ("bits of a delta", self.fixed_point.delta_bits)]
        {
            if !(2..=24).contains(&bits) {
                return setting(what, bits.into(), "2 to 24");
            }
        }
        if self.target_bits > 20 {
            return setting("bits of a target", self.target_bits.into(), "0 to 20");
        }
        if let Labels::Randomized { epsilon } = self.labels {
            if !(epsilon > 0.0 && epsilon.is_finite()) {
                return setting("epsilon of the labels", epsilon, "a positive number");
            }
            if let TargetForm::Numbers { .. } = data.targets {
                return Err(AgreementError::RandomizedNumbers);
            }
        }
        if let Some(noise) = self.noise {
            for (what, found) in [("noise of products", noise.forward), ("noise of gradients", noise.gradient)] {
                if !(0.0..=1e6).contains(&found) {
                    return setting(what, found, "0 to 10^6");
                }
            }
            if self.scheme != Scheme::Pad || mode != Mode::Guarded {
                return Err(AgreementError::Noise { scheme: self.scheme, mode });
            }
        }
        match (mode, self.first_layer) {
            // One forward pass would open every sample, whatever the budget.
            (Mode::Guarded, FirstLayerForm::Windows { .. }) => Err(AgreementError::Convolution { mode }),
            (Mode::Guarded | Mode::Delegate, _) if self.labels == Labels::Febo => Err(AgreementError::SealedLabels),
            // Predictions of numbers have no bound, and operands need one.
            _ if self.labels == Labels::Febo && matches!(data.targets, TargetForm::Numbers { .. }) => {
                Err(AgreementError::SealedNumbers)
            }
            (Mode::Delegate, _) if self.scheme != Scheme::Pad => {
                Err(AgreementError::DelegateScheme { found: self.scheme })
            }
            _ => Ok(()),
        }
    }

    /// By how much results must have more room than without noise: nine deviations.
    fn room_for_noise(&self, layout: &Layout) -> u64 {
        let Some(noise) = self.noise else { return 1 };
        let (width, batch) = (layout.vectors().width() as f64, layout.batch() as f64);
        // Products of `h` units change by at most root `h` times their bound, and there are at most as many units as the
        // budget has equations. A gradient of `h` units changes by root `h` times the largest delta times the norm of a
        // sample, which is root `width` largest values; its bound is `batch` products of both.
        let forward = 9.0 * noise.forward * libm::sqrt(width);
        let gradient = 9.0 * noise.gradient * libm::sqrt(batch * width) / batch;
        libm::ceil(1.0 + forward.max(gradient)) as u64
    }
}

impl Sealed {
    /// The largest rank that the budget of a batch admits.
    pub fn largest_rank(&self, direction: Direction, samples: usize) -> usize {
        largest_rank(direction, [self.layout.vectors().width(), self.unknowns], samples)
    }

    /// By how many independent functionals everything of a batch would be determined.
    pub fn unknowns_of(&self, direction: Direction, samples: usize) -> f64 {
        match direction {
            Direction::Forward => self.unknowns as f64,
            Direction::Gradient => (samples * self.unknowns) as f64 / self.layout.vectors().width() as f64,
        }
    }

    /// The scheme of a part.
    ///
    /// # Panics
    /// If the layout has no such part.
    pub fn cipher(&self, part: Part) -> &dyn Cipher {
        let found = self.ciphers.iter().find(|(of, _)| *of == part);
        found.map(|(_, cipher)| &**cipher).expect("a part of the layout")
    }

    /// The functionals of a query on a batch of `samples`.
    ///
    /// # Errors
    /// [`QueryError`] if the query has another shape, or an integer beyond the agreed bits.
    pub fn functionals(
        &self,
        direction: Direction,
        values: ArrayView2<'_, i64>,
        samples: usize,
    ) -> Result<Functionals, QueryError> {
        let [weight, delta] = self.limits;
        let bound = match direction {
            Direction::Forward => weight,
            Direction::Gradient => delta,
        };
        self.layout.functionals(direction, values, bound.into(), samples)
    }
}

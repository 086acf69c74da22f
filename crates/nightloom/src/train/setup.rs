//! Agreements and networks from a few words.

use std::str::FromStr;

use nightloom_fe::Scheme;
use nightloom_fe::agreement::{FirstLayerForm, Labels, Opening};
use nightloom_fe::learn::fixed_point::{FixedPointSpec, Rounding};
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::{LayerSpec, NetworkSpec, Shape};

/// Samples of a batch: with 256, two epochs of 32 units stay within the budget.
pub const DEFAULT_BATCH: usize = 256;
/// Privacy of a label where nothing else was agreed on: of ten classes, 94 % of the labels stay what they are.
pub const DEFAULT_LABEL_EPSILON: f64 = 5.0;
/// Units with fewer deltas in a batch ask with random steps for the rest of it, as functionals of few samples are refused. Behind a
/// sigmoid every sample has a delta.
pub const DEFAULT_MIN_DELTAS: u32 = 32;

/// How samples are encrypted, unless something else is said.
pub fn opening() -> Opening {
    Opening {
        scheme: Scheme::Pad,
        first_layer: FirstLayerForm::Dense,
        batch: DEFAULT_BATCH,
        fixed_point: FixedPointSpec {
            rounding: Rounding::Stochastic,
            min_deltas: DEFAULT_MIN_DELTAS,
            ..FixedPointSpec::default()
        },
        target_bits: 16,
        labels: Labels::Randomized { epsilon: DEFAULT_LABEL_EPSILON },
        noise: None,
    }
}

/// A shape as people write it: `784`, `28x28`, `3x32x32`.
///
/// # Errors
/// A text that says what was wanted.
pub fn shape(text: &str) -> Result<Shape, String> {
    let wanted = || "wanted LENGTH, HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH, such as 28x28".to_owned();
    let sides = text.split('x').map(|side| side.parse::<usize>().ok().filter(|side| *side > 0));
    match *sides.collect::<Option<Vec<_>>>().ok_or_else(wanted)? {
        [length] => Ok(Shape::vector(length)),
        [height, width] => Ok(Shape { channels: 1, height, width }),
        [channels, height, width] => Ok(Shape { channels, height, width }),
        _ => Err(wanted()),
    }
}

/// What stands between dense layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x^2`, which encrypted inference can compute.
    Square,
}

impl Activation {
    /// The layer.
    pub fn layer(self) -> LayerSpec {
        match self {
            Self::Relu => LayerSpec::Relu,
            Self::Sigmoid => LayerSpec::Sigmoid,
            Self::Square => LayerSpec::Square,
        }
    }
}

/// How dense networks descend unless something else is said: two epochs of 784-32-10 behind a sigmoid.
pub const DENSE_OPTIMIZER: OptimizerSpec = OptimizerSpec { learning_rate: 1.0, decay: 0.3, momentum: 0.9 };
/// How LeNet-5 descends unless something else is said: after every image, as Xu et al. 2019 do.
pub const LENET_OPTIMIZER: OptimizerSpec = OptimizerSpec { learning_rate: 0.001, decay: 1.0, momentum: 0.0 };

/// A network as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkName {
    /// Dense layers: the values of a sample, then the units of each layer, as in `784-32-10`.
    Dense(Vec<usize>),
    /// LeNet-5.
    Lenet5,
}

impl FromStr for NetworkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "lenet5" {
            return Ok(Self::Lenet5);
        }
        let sizes = text.split('-').map(|size| size.parse::<usize>().ok().filter(|size| *size > 0));
        match sizes.collect::<Option<Vec<_>>>() {
            Some(sizes) if sizes.len() >= 2 => Ok(Self::Dense(sizes)),
            _ => Err("wanted the sizes of dense layers, such as 784-32-10, or lenet5".to_owned()),
        }
    }
}

impl NetworkName {
    /// How it descends unless something else is said.
    pub fn optimizer(&self) -> OptimizerSpec {
        match self {
            Self::Dense(_) => DENSE_OPTIMIZER,
            Self::Lenet5 => LENET_OPTIMIZER,
        }
    }

    /// The network, for samples of this shape.
    pub fn spec(&self, input: Shape, activation: Activation) -> NetworkSpec {
        match self {
            Self::Lenet5 => NetworkSpec::lenet5(),
            Self::Dense(sizes) => {
                let spec = NetworkSpec::dense(sizes[0], &sizes[1..], activation.layer());
                // The shape is the sample's own, for the exported model.
                if input.len() == sizes[0] { NetworkSpec { input, ..spec } } else { spec }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_networks_are_read_as_people_write_them() {
        assert_eq!(shape("784"), Ok(Shape::vector(784)));
        assert_eq!(shape("28x28"), Ok(Shape { channels: 1, height: 28, width: 28 }));
        assert_eq!(shape("3x32x16"), Ok(Shape { channels: 3, height: 32, width: 16 }));
        for wrong in ["", "x", "28x", "0x3", "1x2x3x4", "a"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
        let network: NetworkName = "784-32-10".parse().unwrap();
        let spec = network.spec(shape("28x28").unwrap(), Activation::Square);
        assert_eq!(spec.layers, [LayerSpec::Dense { units: 32 }, LayerSpec::Square, LayerSpec::Dense { units: 10 }]);
        assert_eq!(spec.input, shape("28x28").unwrap());
        assert_eq!("lenet5".parse(), Ok(NetworkName::Lenet5));
        for wrong in ["", "784", "784-", "784-0-10", "lenet"] {
            assert!(wrong.parse::<NetworkName>().is_err(), "{wrong}");
        }
    }
}

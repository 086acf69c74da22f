use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SpecError, Windows, windows::Vectors};

/// Most values of a sample or of what a layer makes of it.
pub const MAX_VALUES: usize = 1 << 22;
/// Most parameters of a network: half a gigabyte of them.
pub const MAX_PARAMETERS: usize = 1 << 26;
/// Most layers of a network.
pub const MAX_LAYERS: usize = 256;

/// Channels, rows and columns of a sample or a value, in this order in memory. A vector has only channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Channels, or the length of a vector.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// The shape of a vector.
    pub fn vector(length: usize) -> Self {
        Self { channels: length, height: 1, width: 1 }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_bounded(&self) -> bool {
        let len = self.channels.checked_mul(self.height).and_then(|area| area.checked_mul(self.width));
        len.is_some_and(|len| (1..=MAX_VALUES).contains(&len))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// A layer. Dense layers and convolutions have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerSpec {
    /// Every unit sees every value; an image is flattened.
    Dense {
        /// Units.
        units: usize,
    },
    /// Square windows over all channels.
    Convolution {
        /// Filters, the channels of the result.
        filters: usize,
        /// Side of the window in pixels.
        side: usize,
        /// Pixels between neighbouring windows.
        stride: usize,
        /// Border of zeros in pixels, less than the side.
        padding: usize,
    },
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x^2`, which encrypted inference can compute.
    Square,
    /// The largest value of each window of each channel.
    MaxPool {
        /// Side of the window in pixels.
        side: usize,
        /// Pixels between neighbouring windows.
        stride: usize,
    },
    /// The mean of each window of each channel.
    AveragePool {
        /// Side of the window in pixels.
        side: usize,
        /// Pixels between neighbouring windows.
        stride: usize,
    },
}

impl fmt::Display for LayerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dense { .. } => "dense",
            Self::Convolution { .. } => "convolution",
            Self::Relu => "ReLU",
            Self::Sigmoid => "sigmoid",
            Self::Square => "square",
            Self::MaxPool { .. } => "max pool",
            Self::AveragePool { .. } => "average pool",
        })
    }
}

/// Layers and the shape of a sample, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The shape of one sample.
    pub input: Shape,
    /// The layers. The first must be dense or a convolution: it is the one that sees the data.
    pub layers: Vec<LayerSpec>,
}

impl NetworkSpec {
    /// Dense layers of the given units with an activation between them.
    pub fn dense(inputs: usize, units: &[usize], activation: LayerSpec) -> Self {
        let dense = units.iter().map(|&units| LayerSpec::Dense { units });
        let mut layers: Vec<LayerSpec> = dense.flat_map(|dense| [dense, activation]).collect();
        layers.pop();
        Self { input: Shape::vector(inputs), layers }
    }

    /// LeNet-5 for images of 28x28: 6 filters of 5x5 on the image padded to 32x32, 16 of 5x5, dense layers of 120, 84 and 10,
    /// ReLU and max pooling of 2x2 (LeCun et al. 1998, fig. 2, in the form that Xu et al. 2019 train).
    pub fn lenet5() -> Self {
        use LayerSpec::{Convolution, Dense, MaxPool, Relu};
        let pool = MaxPool { side: 2, stride: 2 };
        Self {
            input: Shape { channels: 1, height: 28, width: 28 },
            layers: vec![
                Convolution { filters: 6, side: 5, stride: 1, padding: 2 },
                Relu,
                pool,
                Convolution { filters: 16, side: 5, stride: 1, padding: 0 },
                Relu,
                pool,
                Dense { units: 120 },
                Relu,
                Dense { units: 84 },
                Relu,
                Dense { units: 10 },
            ],
        }
    }

    /// Checks the layers and works out their shapes.
    ///
    /// # Errors
    /// [`SpecError`] with the layer, counted from 0, and what is wrong.
    pub fn validate(&self) -> Result<Architecture, SpecError> {
        if !self.input.is_bounded() {
            return Err(SpecError::Shape { layer: 0, found: self.input });
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(SpecError::TooManyLayers { found: self.layers.len() });
        }
        let mut input = self.input;
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut parameters = 0usize;
        for (index, &spec) in self.layers.iter().enumerate() {
            let placed = place(index, spec, input)?;
            if !placed.output.is_bounded() {
                return Err(SpecError::Shape { layer: index, found: placed.output });
            }
            // A bounded output bounds the units; the width is bounded by the input times the side squared, or by it.
            let (weights, bias) = placed.parameters();
            parameters = parameters.saturating_add(weights.0.saturating_mul(weights.1)).saturating_add(bias);
            if parameters > MAX_PARAMETERS {
                return Err(SpecError::TooManyParameters { layer: index });
            }
            input = placed.output;
            layers.push(placed);
        }
        match self.layers.first() {
            None => Err(SpecError::NoLayers),
            Some(LayerSpec::Dense { .. } | LayerSpec::Convolution { .. }) => {
                Ok(Architecture { spec: self.clone(), layers, parameters })
            }
            Some(&found) => Err(SpecError::FirstLayer { found }),
        }
    }
}

fn place(index: usize, spec: LayerSpec, input: Shape) -> Result<PlacedLayer, SpecError> {
    let windows = |side, stride, padding| {
        let windows = Windows::new(input, side, stride, padding);
        windows.ok_or(SpecError::Windows { layer: index, side, stride, padding, input })
    };
    let (output, windows) = match spec {
        LayerSpec::Dense { units } => (Shape::vector(units), None),
        LayerSpec::Convolution { filters, side, stride, padding } => {
            let windows = windows(side, stride, padding)?;
            (Shape { channels: filters, height: windows.rows(), width: windows.columns() }, Some(windows))
        }
        LayerSpec::Relu | LayerSpec::Sigmoid | LayerSpec::Square => (input, None),
        LayerSpec::MaxPool { side, stride } | LayerSpec::AveragePool { side, stride } => {
            let windows = windows(side, stride, 0)?;
            (Shape { channels: input.channels, height: windows.rows(), width: windows.columns() }, Some(windows))
        }
    };
    Ok(PlacedLayer { spec, input, output, windows })
}

/// A layer with its shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedLayer {
    /// What the layer is.
    pub spec: LayerSpec,
    /// The shape of what it takes.
    pub input: Shape,
    /// The shape of what it makes.
    pub output: Shape,
    /// The windows of convolutions and pools.
    pub(crate) windows: Option<Windows>,
}

impl PlacedLayer {
    /// Shape of the weights (units, values that each sees) and length of the bias; zeros for layers without parameters.
    pub(crate) fn parameters(&self) -> ((usize, usize), usize) {
        match (self.spec, self.windows) {
            (LayerSpec::Dense { units }, _) => ((units, self.input.len()), units),
            (LayerSpec::Convolution { filters, .. }, Some(windows)) => ((filters, windows.width()), filters),
            _ => ((0, 0), 0),
        }
    }

    /// Whether the layer has parameters.
    pub(crate) fn is_trained(&self) -> bool {
        self.parameters().1 > 0
    }
}

/// A checked network without its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    spec: NetworkSpec,
    layers: Vec<PlacedLayer>,
    parameters: usize,
}

impl Architecture {
    /// What it was made from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The layers, at least one; the first is dense or a convolution.
    pub fn layers(&self) -> &[PlacedLayer] {
        &self.layers
    }

    /// The shape of one sample.
    pub fn input(&self) -> Shape {
        self.spec.input
    }

    /// Values of an output.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.output.len())
    }

    /// Weights and biases together.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Units or filters of the first layer.
    pub fn first_units(&self) -> usize {
        self.layers[0].parameters().1
    }

    /// What the first layer multiplies of a sample.
    pub fn vectors(&self) -> Vectors {
        match self.layers[0].windows {
            Some(windows) => Vectors::Windows(windows),
            None => Vectors::Whole { width: self.spec.input.len() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenet_has_61706_parameters() {
        let network = NetworkSpec::lenet5().validate().unwrap();
        assert_eq!((network.parameters(), network.outputs(), network.first_units()), (61_706, 10, 6));
        let shapes: Vec<String> = network.layers().iter().map(|layer| layer.output.to_string()).collect();
        assert_eq!(shapes[..6], ["6x28x28", "6x28x28", "6x14x14", "16x10x10", "16x10x10", "16x5x5"]);
        let dense = NetworkSpec::dense(784, &[32, 10], LayerSpec::Relu);
        assert_eq!((dense.layers.len(), dense.validate().unwrap().parameters()), (3, 25_450));
    }

    #[test]
    fn impossible_networks_are_refused_with_the_layer() {
        let of = |input, layers: &[LayerSpec]| NetworkSpec { input, layers: layers.to_vec() }.validate().unwrap_err();
        let small = Shape { channels: 1, height: 4, width: 4 };
        assert_eq!(of(small, &[]), SpecError::NoLayers);
        assert_eq!(of(small, &[LayerSpec::Relu]), SpecError::FirstLayer { found: LayerSpec::Relu });
        let convolution = |side| LayerSpec::Convolution { filters: 2, side, stride: 1, padding: 0 };
        assert!(matches!(of(small, &[convolution(3), convolution(3)]), SpecError::Windows { layer: 1, side: 3, .. }));
        assert!(matches!(of(small, &[LayerSpec::Dense { units: 0 }]), SpecError::Shape { layer: 0, .. }));
        assert!(matches!(of(Shape::vector(0), &[convolution(1)]), SpecError::Shape { layer: 0, .. }));
        let huge = Shape { channels: usize::MAX, height: 2, width: 1 };
        assert!(matches!(of(huge, &[convolution(1)]), SpecError::Shape { .. }));
        let wide = LayerSpec::Dense { units: MAX_VALUES };
        assert_eq!(of(Shape::vector(17), &[wide]), SpecError::TooManyParameters { layer: 0 });
        let many = LayerSpec::Convolution { filters: usize::MAX, side: 1, stride: 1, padding: 0 };
        assert!(matches!(of(small, &[many]), SpecError::Shape { layer: 0, .. }));
        assert!(matches!(of(small, &[LayerSpec::Relu; 257]), SpecError::TooManyLayers { found: 257 }));
    }
}

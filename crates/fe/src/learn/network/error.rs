use super::{LayerSpec, Shape};

/// Why a network cannot be built. Layers count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No layer at all.
    #[error("the network has no layer")]
    NoLayers,
    /// Fewer layers than were to be taken.
    #[error("a network of {found} layers, wanted the first {wanted}")]
    TooFewLayers {
        /// Layers of the network.
        found: usize,
        /// Layers to be taken.
        wanted: usize,
    },
    /// More layers than allowed.
    #[error("{found} layers, wanted at most {}", super::MAX_LAYERS)]
    TooManyLayers {
        /// Layers in the specification.
        found: usize,
    },
    /// The first layer does not multiply the data.
    #[error("the first layer is {found}, wanted dense or convolution")]
    FirstLayer {
        /// The first layer.
        found: LayerSpec,
    },
    /// A sample or a value without values, or with too many.
    #[error("layer {layer}: a value of shape {found}, wanted 1 to {} values", super::MAX_VALUES)]
    Shape {
        /// The layer.
        layer: usize,
        /// The shape.
        found: Shape,
    },
    /// Windows that do not fit.
    #[error(
        "layer {layer}: windows of {side}x{side}, stride {stride}, padding {padding} do not fit values of shape {input}"
    )]
    Windows {
        /// The layer.
        layer: usize,
        /// Side of the window.
        side: usize,
        /// Pixels between windows.
        stride: usize,
        /// Border of zeros.
        padding: usize,
        /// The shape that they should fit.
        input: Shape,
    },
    /// More parameters than allowed.
    #[error("layer {layer}: more than {} parameters up to here", super::MAX_PARAMETERS)]
    TooManyParameters {
        /// The layer.
        layer: usize,
    },
    /// Parameters of another number than the network has.
    #[error("{found} parameters, wanted {wanted}")]
    ParameterCount {
        /// Numbers given.
        found: usize,
        /// Parameters of the network.
        wanted: usize,
    },
}

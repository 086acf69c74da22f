//! Networks: layers and shapes, forward and backward passes, losses.
//!
//! Values of a batch are matrices of one row a sample, in the order of [`Shape`].

mod activation;
mod error;
mod layers;
mod loss;
mod pass;
mod pool;
mod spec;
mod windows;

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::data::Dataset;
use super::random::{Purpose, Seed};

pub use error::SpecError;
pub use loss::Loss;
pub(crate) use pass::{Gradient, Tape};
pub use spec::{Architecture, LayerSpec, MAX_LAYERS, MAX_PARAMETERS, MAX_VALUES, NetworkSpec, PlacedLayer, Shape};
pub use windows::{Vectors, Windows};

/// Samples that are evaluated together.
const EVALUATION_ROWS: usize = 256;

/// Weights and biases of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// A row for each unit or filter; of a filter the channels, rows and columns of its window.
    pub weights: Array2<f64>,
    /// A number for each unit or filter.
    pub bias: Array1<f64>,
}

impl Parameters {
    pub(crate) fn zeros(layer: &PlacedLayer) -> Self {
        let (weights, bias) = layer.parameters();
        Self { weights: Array2::zeros(weights), bias: Array1::zeros(bias) }
    }

    /// Weights, then biases.
    pub(crate) fn values(&self) -> impl Iterator<Item = &f64> {
        self.weights.iter().chain(&self.bias)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.weights.iter_mut().chain(&mut self.bias)
    }
}

/// How well a network does on samples with known targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Samples.
    pub samples: usize,
    /// Samples whose largest output is the one that the target has.
    pub correct: usize,
    /// Mean loss.
    pub loss: f64,
}

impl Evaluation {
    /// Correct samples over samples.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
}

/// An architecture with parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    architecture: Architecture,
    /// Of the layers that have any, in order.
    parameters: Vec<Parameters>,
}

impl Network {
    /// Random weights, zero biases. Weights are Gaussian with variance `2 / width` before ReLU (He et al. 2015) and
    /// `1 / width` otherwise, `width` being the values that a unit sees.
    pub fn random(architecture: &Architecture, seed: &Seed) -> Self {
        let mut network = Self::zeros(architecture);
        let layers = architecture.layers();
        let trained = layers.iter().enumerate().filter(|(_, layer)| layer.is_trained());
        for (index, (parameters, (place, _))) in network.parameters.iter_mut().zip(trained).enumerate() {
            let before_relu =
                layers[place + 1..].iter().find(|layer| !matches!(layer.spec, LayerSpec::AveragePool { .. }));
            let gain = if before_relu.is_some_and(|layer| layer.spec == LayerSpec::Relu) { 2.0 } else { 1.0 };
            let deviation = libm::sqrt(gain / parameters.weights.ncols() as f64);
            let mut random = seed.stream(Purpose::Weights, 0, index as u32);
            parameters.weights.iter_mut().for_each(|weight| *weight = deviation * random.gaussian());
        }
        network
    }

    fn zeros(architecture: &Architecture) -> Self {
        let trained = architecture.layers().iter().filter(|layer| layer.is_trained());
        Self { architecture: architecture.clone(), parameters: trained.map(Parameters::zeros).collect() }
    }

    /// A network of given parameters: for each trained layer its weights row by row, then its biases.
    ///
    /// # Errors
    /// [`SpecError::ParameterCount`] if there are too few or too many.
    pub fn from_values(architecture: &Architecture, values: &[f64]) -> Result<Self, SpecError> {
        let wanted = architecture.parameters();
        if values.len() != wanted {
            return Err(SpecError::ParameterCount { found: values.len(), wanted });
        }
        let mut network = Self::zeros(architecture);
        for (parameter, value) in network.values_mut().zip(values) {
            *parameter = *value;
        }
        Ok(network)
    }

    /// The first layers, with their parameters.
    ///
    /// # Errors
    /// [`SpecError::NoLayers`] for none, [`SpecError::TooFewLayers`] if there are not so many.
    pub fn first_layers(&self, count: usize) -> Result<Self, SpecError> {
        let NetworkSpec { input, layers } = self.architecture.spec();
        let layers = layers.get(..count).ok_or(SpecError::TooFewLayers { found: layers.len(), wanted: count })?;
        let architecture = NetworkSpec { input: *input, layers: layers.to_vec() }.validate()?;
        let values: Vec<f64> = self.values().take(architecture.parameters()).copied().collect();
        Self::from_values(&architecture, &values)
    }

    /// The layers and their shapes.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The first layer that is no polynomial, which encrypted inference cannot compute.
    pub fn not_polynomial(&self) -> Option<LayerSpec> {
        let layers = self.architecture.layers().iter().map(|layer| layer.spec);
        layers.into_iter().find(|spec| matches!(spec, LayerSpec::Relu | LayerSpec::Sigmoid | LayerSpec::MaxPool { .. }))
    }

    /// Parameters of the layers that have any, in order.
    pub fn parameters(&self) -> &[Parameters] {
        &self.parameters
    }

    pub(crate) fn parameters_mut(&mut self) -> &mut [Parameters] {
        &mut self.parameters
    }

    /// All parameters in the order of [`from_values`](Self::from_values).
    pub fn values(&self) -> impl Iterator<Item = &f64> {
        self.parameters.iter().flat_map(Parameters::values)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.parameters.iter_mut().flat_map(Parameters::values_mut)
    }

    /// The outputs for samples in real units, one a row, before any softmax.
    ///
    /// # Panics
    /// If a row does not have the values of a sample.
    pub fn outputs(&self, samples: ArrayView2<f64>) -> Array2<f64> {
        assert_eq!(samples.ncols(), self.architecture.input().len());
        let mut out = Array2::zeros((samples.nrows(), self.architecture.outputs()));
        let mut tape = Tape::default();
        let chunks = samples.axis_chunks_iter(Axis(0), EVALUATION_ROWS);
        for (samples, mut out) in chunks.zip(out.axis_chunks_iter_mut(Axis(0), EVALUATION_ROWS)) {
            let first = self.first_layer(samples, &mut tape);
            out.assign(self.forward(first, &mut tape));
        }
        out
    }

    /// Accuracy and loss on data in the clear.
    ///
    /// # Panics
    /// If the data is not of the network's shapes.
    pub fn evaluate(&self, data: &Dataset, loss: Loss) -> Evaluation {
        let (mut correct, mut total) = (0, 0.0);
        let indices: Vec<usize> = (0..data.len()).collect();
        for indices in indices.chunks(EVALUATION_ROWS) {
            let outputs = self.outputs(data.inputs().real(indices).view());
            let predictions = loss.predictions(outputs);
            let targets = data.targets().rows(indices);
            for (prediction, target) in predictions.rows().into_iter().zip(targets.rows()) {
                correct += usize::from(argmax(prediction) == argmax(target));
                total += loss.value(prediction, target);
            }
        }
        Evaluation { samples: data.len(), correct, loss: total / data.len() as f64 }
    }
}

/// The first of the largest values.
pub(crate) fn argmax(values: ndarray::ArrayView1<f64>) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

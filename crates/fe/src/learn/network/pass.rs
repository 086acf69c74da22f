//! Forward and backward passes through all layers but the first, whose products come from elsewhere.

use ndarray::{Array2, ArrayView2, Axis};

use super::{LayerSpec, Network, Parameters, activation, layers, pool};

/// What a forward pass leaves for the backward pass.
#[derive(Default)]
pub(crate) struct Tape {
    /// Results of the layers, the first layer's first.
    values: Vec<Array2<f64>>,
    /// For each layer, the places of the largest values if it is a max pool.
    winners: Vec<Vec<u32>>,
    scratch: layers::Scratch,
}

/// Gradients of the trained layers, in order.
pub(crate) type Gradient = Vec<Parameters>;

impl Network {
    /// The first layer on samples in the clear, biases included.
    pub(crate) fn first_layer(&self, samples: ArrayView2<f64>, tape: &mut Tape) -> Array2<f64> {
        layers::forward(&self.architecture.layers()[0], &self.parameters[0], samples, &mut tape.scratch)
    }

    /// Adds the first layer's biases to its products.
    pub(crate) fn add_first_bias(&self, products: &mut Array2<f64>) {
        layers::add_bias(products, &self.parameters[0].bias);
    }

    /// The outputs from the result of the first layer.
    pub(crate) fn forward<'a>(&self, first: Array2<f64>, tape: &'a mut Tape) -> &'a Array2<f64> {
        let all = self.architecture.layers();
        tape.values.clear();
        tape.winners.resize_with(all.len(), Vec::new);
        tape.values.push(first);
        let mut parameters = self.parameters[1..].iter();
        for (index, layer) in all.iter().enumerate().skip(1) {
            let operand = &tape.values[index - 1];
            let result = match layer.spec {
                LayerSpec::Dense { .. } | LayerSpec::Convolution { .. } => {
                    let parameters = parameters.next().expect("one for each trained layer");
                    layers::forward(layer, parameters, operand.view(), &mut tape.scratch)
                }
                LayerSpec::MaxPool { .. } | LayerSpec::AveragePool { .. } => {
                    pool::forward(layer, operand.view(), &mut tape.winners[index])
                }
                LayerSpec::Relu | LayerSpec::Sigmoid | LayerSpec::Square => {
                    let mut values = operand.clone();
                    activation::forward(layer.spec, &mut values);
                    values
                }
            };
            tape.values.push(result);
        }
        &tape.values[all.len() - 1]
    }

    /// The gradients of the results of the trained layers, in order, from that of the outputs.
    pub(crate) fn backward(&self, tape: &mut Tape, outputs: Array2<f64>) -> Vec<Array2<f64>> {
        let all = self.architecture.layers();
        let mut deltas = Vec::with_capacity(self.parameters.len());
        let mut parameters = self.parameters.iter().rev();
        let mut gradient = outputs;
        for (index, layer) in all.iter().enumerate().skip(1).rev() {
            gradient = match layer.spec {
                LayerSpec::Dense { .. } | LayerSpec::Convolution { .. } => {
                    let parameters = parameters.next().expect("one for each trained layer");
                    let operand = layers::backward(layer, parameters, gradient.view(), &mut tape.scratch);
                    deltas.push(gradient);
                    operand
                }
                LayerSpec::MaxPool { .. } | LayerSpec::AveragePool { .. } => {
                    pool::backward(layer, &tape.winners[index], gradient.view())
                }
                LayerSpec::Relu | LayerSpec::Sigmoid | LayerSpec::Square => {
                    activation::backward(layer.spec, &tape.values[index - 1], &tape.values[index], &mut gradient);
                    gradient
                }
            };
        }
        deltas.push(gradient);
        deltas.reverse();
        deltas
    }

    /// The gradient of all parameters, summed over the samples, from the deltas of the trained layers and the first layer's
    /// products with the data.
    pub(crate) fn gradient(&self, tape: &mut Tape, deltas: &[Array2<f64>], first: Array2<f64>) -> Gradient {
        let mut gradients = Vec::with_capacity(self.parameters.len());
        for (trained, (index, delta)) in self.trained().zip(deltas).enumerate() {
            let layer = &self.architecture.layers()[index];
            let mut gradient = Parameters::zeros(layer);
            if trained == 0 {
                gradient.weights.assign(&first);
                gradient.bias = layers::bias_gradient(delta.view(), gradient.bias.len());
            } else {
                let operand = tape.values[index - 1].view();
                layers::add_gradient(layer, operand, delta.view(), &mut tape.scratch, &mut gradient);
            }
            gradients.push(gradient);
        }
        gradients
    }

    /// For each sample the squared Euclidean norm of its gradient of all parameters but the first layer's weights, and that
    /// of the first layer's delta.
    pub(crate) fn squared_norms(&self, tape: &mut Tape, deltas: &[Array2<f64>]) -> Vec<(f64, f64)> {
        let samples = deltas[0].nrows();
        let mut norms = vec![(0.0, 0.0); samples];
        for (trained, (index, delta)) in self.trained().zip(deltas).enumerate() {
            let layer = &self.architecture.layers()[index];
            let bias_len = layer.parameters().1;
            for (sample, norms) in norms.iter_mut().enumerate() {
                let delta = delta.slice_axis(Axis(0), (sample..sample + 1).into());
                if trained == 0 {
                    norms.0 += squared(&layers::bias_gradient(delta, bias_len));
                    norms.1 = squared(delta);
                    continue;
                }
                let operand = tape.values[index - 1].slice_axis(Axis(0), (sample..sample + 1).into());
                norms.0 += match layer.spec {
                    // The gradient is an outer product, so its norm is a product of norms (Goodfellow 2015).
                    LayerSpec::Dense { .. } => squared(delta) * (squared(operand) + 1.0),
                    _ => {
                        let mut gradient = Parameters::zeros(layer);
                        layers::add_gradient(layer, operand, delta, &mut tape.scratch, &mut gradient);
                        squared(gradient.values())
                    }
                };
            }
        }
        norms
    }

    /// Places of the trained layers.
    fn trained(&self) -> impl Iterator<Item = usize> {
        let layers = self.architecture.layers().iter().enumerate();
        layers.filter(|(_, layer)| layer.is_trained()).map(|(index, _)| index)
    }
}

fn squared<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().map(|value| value * value).sum()
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;

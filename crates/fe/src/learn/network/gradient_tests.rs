//! Gradients against finite differences, and forward passes against the definition.

use ndarray::{Array2, Axis, array};

use super::super::{Loss, NetworkSpec, Shape};
use super::*;
use crate::learn::random::{Purpose, Seed};

const IMAGE: Shape = Shape { channels: 2, height: 6, width: 5 };

fn random_matrix(rows: usize, columns: usize, step: u32) -> Array2<f64> {
    let mut random = Seed::new([5; 32]).stream(Purpose::Noise, 7, step);
    Array2::from_shape_fn((rows, columns), |_| random.gaussian())
}

/// Every layer that there is, in networks small enough for finite differences.
fn networks() -> Vec<NetworkSpec> {
    use LayerSpec::{AveragePool, Convolution, Dense, MaxPool, Relu, Sigmoid, Square};
    let convolution = |filters, side, stride, padding| Convolution { filters, side, stride, padding };
    let of = |input, layers: &[LayerSpec]| NetworkSpec { input, layers: layers.to_vec() };
    vec![
        of(Shape::vector(7), &[Dense { units: 3 }]),
        NetworkSpec::dense(7, &[5, 4, 3], Relu),
        NetworkSpec::dense(7, &[5, 4, 3], Sigmoid),
        NetworkSpec::dense(7, &[4, 3], Square),
        of(Shape::vector(7), &[Dense { units: 3 }, Sigmoid]),
        of(IMAGE, &[convolution(3, 3, 1, 1), Relu, MaxPool { side: 2, stride: 2 }, Dense { units: 3 }]),
        of(IMAGE, &[convolution(2, 3, 1, 1), Square, AveragePool { side: 3, stride: 1 }, Dense { units: 3 }]),
        of(IMAGE, &[Dense { units: 4 }, Relu, Dense { units: 3 }]),
        of(
            IMAGE,
            &[
                convolution(3, 3, 1, 2),
                Sigmoid,
                MaxPool { side: 3, stride: 2 },
                convolution(2, 2, 2, 1),
                Relu,
                AveragePool { side: 2, stride: 1 },
                Dense { units: 4 },
                Square,
                Dense { units: 3 },
            ],
        ),
    ]
}

/// The whole gradient, with the first layer in the clear.
fn gradient(network: &Network, samples: &Array2<f64>, targets: &Array2<f64>, loss: Loss) -> Vec<f64> {
    let mut tape = Tape::default();
    let first = network.first_layer(samples.view(), &mut tape);
    let outputs = network.forward(first, &mut tape).clone();
    let error = loss.predictions(outputs) - targets;
    let deltas = network.backward(&mut tape, error);
    let layer = &network.architecture.layers()[0];
    let mut products = Parameters::zeros(layer);
    layers::add_gradient(layer, samples.view(), deltas[0].view(), &mut tape.scratch, &mut products);
    let all = network.gradient(&mut tape, &deltas, products.weights);
    all.iter().flat_map(Parameters::values).copied().collect()
}

fn total_loss(network: &Network, samples: &Array2<f64>, targets: &Array2<f64>, loss: Loss) -> f64 {
    let predictions = loss.predictions(network.outputs(samples.view()));
    predictions.rows().into_iter().zip(targets.rows()).map(|(p, y)| loss.value(p, y)).sum()
}

#[test]
fn gradients_are_finite_differences() {
    for (index, spec) in networks().into_iter().enumerate() {
        let architecture = spec.validate().unwrap();
        let network = Network::random(&architecture, &Seed::new([index as u8; 32]));
        // Biases away from zero, where their gradient is not special.
        let mut values: Vec<f64> = network.values().copied().collect();
        let shift = random_matrix(1, values.len(), 99);
        values.iter_mut().zip(&shift).for_each(|(value, shift)| *value += 0.1 * shift);
        let network = Network::from_values(&architecture, &values).unwrap();
        let samples = random_matrix(4, architecture.input().len(), index as u32);
        for loss in [Loss::SoftmaxCrossEntropy, Loss::MeanSquaredError] {
            let targets = match loss {
                Loss::SoftmaxCrossEntropy => Array2::from_shape_fn((4, 3), |(i, j)| f64::from(u8::from(i % 3 == j))),
                Loss::MeanSquaredError => random_matrix(4, 3, 50),
            };
            let found = gradient(&network, &samples, &targets, loss);
            let largest = found.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            assert!(largest > 1e-3, "{spec:?}");
            let width = 1e-6;
            for place in 0..values.len() {
                let at = |change: f64| {
                    let mut values = values.clone();
                    values[place] += change;
                    let network = Network::from_values(&architecture, &values).unwrap();
                    total_loss(&network, &samples, &targets, loss)
                };
                let wanted = (at(width) - at(-width)) / (2.0 * width);
                let error = (found[place] - wanted).abs();
                assert!(error <= 1e-7 * (1.0 + largest), "{spec:?} {loss} {place}: {} {wanted}", found[place]);
            }
        }
    }
}

/// The norms by which samples are clipped, against the gradients of one sample at a time.
#[test]
fn norms_are_those_of_single_gradients() {
    for (index, spec) in networks().into_iter().enumerate() {
        let architecture = spec.validate().unwrap();
        let network = Network::random(&architecture, &Seed::new([index as u8; 32]));
        let samples = random_matrix(4, architecture.input().len(), index as u32);
        let targets = random_matrix(4, 3, 50);
        let mut tape = Tape::default();
        let first = network.first_layer(samples.view(), &mut tape);
        let error = network.forward(first, &mut tape) - &targets;
        let deltas = network.backward(&mut tape, error);
        let norms = network.squared_norms(&mut tape, &deltas);
        let bias = architecture.first_units();
        let weights = network.parameters[0].weights.len();
        for (sample, (rest, delta)) in norms.into_iter().enumerate() {
            let one = |matrix: &Array2<f64>| matrix.slice_axis(Axis(0), (sample..sample + 1).into()).to_owned();
            let alone = gradient(&network, &one(&samples), &one(&targets), Loss::MeanSquaredError);
            let squared = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
            let wanted = squared(&alone[weights..]);
            assert!((rest - wanted).abs() <= 1e-9 * (1.0 + wanted), "{spec:?}: {rest} {wanted}");
            // The first layer's weights are bounded by the delta and by what it multiplies.
            let repetitions = architecture.vectors().repetitions() as f64;
            let bound = delta * squared(one(&samples).as_slice().unwrap()) * repetitions;
            let first = squared(&alone[..weights]);
            assert!(first <= bound * (1.0 + 1e-9) && bias > 0, "{spec:?}: {first} {bound}");
        }
    }
}

#[test]
fn layers_compute_their_definitions() {
    use LayerSpec::{AveragePool, Convolution, Dense, MaxPool};
    let input = Shape { channels: 1, height: 3, width: 3 };
    let image = array![[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]];
    let of = |layers: &[LayerSpec], values: &[f64]| {
        let architecture = NetworkSpec { input, layers: layers.to_vec() }.validate().unwrap();
        Network::from_values(&architecture, values).unwrap().outputs(image.view())
    };
    let convolution = Convolution { filters: 2, side: 2, stride: 1, padding: 0 };
    let filters = [1.0, 0.0, 0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 10.0, 20.0];
    assert_eq!(of(&[convolution], &filters), array![[6.0, 6.0, 6.0, 6.0, 26.0, 28.0, 32.0, 34.0]]);
    let pools = [MaxPool { side: 2, stride: 1 }, AveragePool { side: 2, stride: 1 }];
    let identity = Convolution { filters: 1, side: 1, stride: 1, padding: 0 };
    assert_eq!(of(&[identity, pools[0]], &[1.0, 0.0]), array![[5.0, 6.0, 8.0, 9.0]]);
    assert_eq!(of(&[identity, pools[1]], &[1.0, 0.0]), array![[3.0, 4.0, 6.0, 7.0]]);
    let dense = Dense { units: 1 };
    assert_eq!(
        of(&[identity, LayerSpec::Square, dense], &[[-1.0, 1.0].as_slice(), &[1.0; 10]].concat()),
        array![[205.0]]
    );
    assert_eq!(of(&[identity, LayerSpec::Relu], &[-1.0, 2.0]), array![[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
    let sigmoid = of(&[identity, LayerSpec::Sigmoid], &[1000.0, -5000.0]);
    assert_eq!((sigmoid[(0, 0)], sigmoid[(0, 4)], sigmoid[(0, 8)]), (0.0, 0.5, 1.0));
}

#[test]
fn softmax_neither_overflows_nor_forgets() {
    let outputs = array![[1000.0, 0.0, -1000.0], [0.0, 0.0, 2f64.ln()]];
    let found = Loss::SoftmaxCrossEntropy.predictions(outputs);
    assert_eq!(found.row(0), array![1.0, 0.0, 0.0]);
    assert!((found[(1, 2)] - 0.5).abs() < 1e-15 && (found.row(1).sum() - 1.0).abs() < 1e-15);
    let loss = Loss::SoftmaxCrossEntropy.value(found.row(0), array![0.0, 1.0, 0.0].view());
    assert!(loss.is_finite() && loss > 700.0);
}

//! Networks trained by `nightloom-fe`, exported as ONNX: `tract` and the importer compute what they computed while training.

mod common;

use common::{distance, noise, tract_run};
use nightloom_compiler::onnx::import;
use nightloom_compiler::pipeline::load;
use nightloom_fe::learn::{LayerSpec, Network, NetworkSpec, Seed, Shape, onnx};

const IMAGE: Shape = Shape { channels: 2, height: 9, width: 8 };

fn network(input: Shape, layers: &[LayerSpec]) -> Network {
    let architecture = NetworkSpec { input, layers: layers.to_vec() }.validate().unwrap();
    let random = Network::random(&architecture, &Seed::new([7; 32]));
    // Random biases too, and everything exact in single precision, as it is in the file.
    let values: Vec<f64> = random.values().zip(noise(3, architecture.parameters())).map(|(w, b)| w + 0.1 * b).collect();
    let values: Vec<f64> = values.into_iter().map(|value| f64::from(value as f32)).collect();
    Network::from_values(&architecture, &values).unwrap()
}

fn outputs(network: &Network, samples: &[f64]) -> Vec<f64> {
    let width = network.architecture().input().len();
    let samples = ndarray::ArrayView2::from_shape((samples.len() / width, width), samples).unwrap();
    network.outputs(samples).into_iter().collect()
}

fn axes(shape: Shape) -> Vec<usize> {
    let Shape { channels, height, width } = shape;
    if (height, width) == (1, 1) { vec![channels] } else { vec![channels, height, width] }
}

fn every_layer() -> Vec<Network> {
    use LayerSpec::{AveragePool, Convolution, Dense, MaxPool, Relu, Sigmoid, Square};
    let convolution = |filters, side, stride, padding| Convolution { filters, side, stride, padding };
    vec![
        network(Shape::vector(7), &[Dense { units: 3 }]),
        network(Shape::vector(7), &[Dense { units: 5 }, Relu, Dense { units: 4 }, Sigmoid, Dense { units: 3 }, Square]),
        network(IMAGE, &[Dense { units: 5 }, Square, Dense { units: 3 }]),
        network(IMAGE, &[convolution(3, 3, 1, 1), Relu, MaxPool { side: 2, stride: 2 }, Dense { units: 4 }]),
        network(IMAGE, &[convolution(3, 5, 2, 2), Square, AveragePool { side: 2, stride: 1 }, convolution(2, 2, 1, 0)]),
        network(Shape::vector(6), &[convolution(4, 1, 1, 0), Sigmoid, Dense { units: 2 }]),
        network(NetworkSpec::lenet5().input, &NetworkSpec::lenet5().layers),
    ]
}

#[test]
fn exported_networks_compute_the_same_in_tract() {
    for network in every_layer() {
        let bytes = onnx::export(&network);
        let input = network.architecture().input();
        let samples = noise(11, 3 * input.len());
        let found = tract_run(&bytes, &axes(input), &samples, 3);
        let wanted = outputs(&network, &samples);
        assert!(distance(&found, &wanted, 1e-3) < 1e-5, "{:?}", network.architecture().spec());
    }
}

/// Squares, dense layers, convolutions and average pools are what encrypted inference evaluates; the rest is diagnosed.
#[test]
fn exported_networks_compile_if_they_are_polynomial() {
    let mut compiled = 0;
    for network in every_layer() {
        let bytes = onnx::export(&network);
        let spec = network.architecture().spec();
        let is_polynomial =
            |layer: &LayerSpec| !matches!(layer, LayerSpec::Relu | LayerSpec::Sigmoid | LayerSpec::MaxPool { .. });
        if !spec.layers.iter().all(is_polynomial) {
            assert!(load(&bytes).is_err(), "{spec:?}");
            continue;
        }
        let imported = load(&bytes).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(imported.input_shape(), axes(spec.input));
        let samples = noise(12, spec.input.len());
        assert!(distance(&imported.evaluate(&samples), &outputs(&network, &samples), 1e-3) < 1e-9, "{spec:?}");
        assert!(import(&bytes).unwrap().notes().is_empty());
        compiled += 1;
    }
    assert_eq!(compiled, 3);
}

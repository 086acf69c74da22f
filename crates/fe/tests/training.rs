//! Training on small data: what is learned, and that nothing but the seed decides it.

mod common;

use std::ops::ControlFlow;

use common::{Integers, digits, fixed, spec};
use nightloom_fe::learn::first_layer::FixedPointError;
use nightloom_fe::learn::fixed_point::Rounding;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::PrivacySpec;
use nightloom_fe::learn::trainer::{Batches, TrainError, TrainerSpecError};
use nightloom_fe::learn::{
    ClearOracle, Dataset, FirstLayer, FixedPoint, FixedPointSpec, Float, Inputs, LayerSpec, NetworkSpec, Seed, Shape,
    Targets, Trainer, TrainerSpec,
};

fn dense() -> NetworkSpec {
    NetworkSpec::dense(64, &[32, 10], LayerSpec::Relu)
}

/// A small LeNet on 8x8 images.
fn convolutional(activation: LayerSpec, pool: LayerSpec) -> NetworkSpec {
    NetworkSpec {
        input: Shape { channels: 1, height: 8, width: 8 },
        layers: vec![
            LayerSpec::Convolution { filters: 4, side: 3, stride: 1, padding: 1 },
            activation,
            pool,
            LayerSpec::Convolution { filters: 8, side: 3, stride: 1, padding: 0 },
            activation,
            LayerSpec::Dense { units: 10 },
        ],
    }
}

const MAX_POOL: LayerSpec = LayerSpec::MaxPool { side: 2, stride: 2 };
const AVERAGE_POOL: LayerSpec = LayerSpec::AveragePool { side: 2, stride: 2 };

fn train<F: FirstLayer>(spec: &TrainerSpec, first: &mut F, samples: usize, seed: u8) -> Trainer {
    let mut trainer = Trainer::new(spec.clone(), samples, Seed::new([seed; 32])).unwrap();
    trainer.run(first, |_| ControlFlow::Continue(())).unwrap();
    trainer
}

fn values(trainer: &Trainer) -> Vec<u64> {
    trainer.network().values().map(|value| value.to_bits()).collect()
}

/// Accuracy on the test digits after training in fixed point and in floating point.
fn accuracies(spec: &TrainerSpec) -> (f64, f64) {
    let (train_data, test) = digits();
    let architecture = spec.network.validate().unwrap();
    let accuracy = |trainer: Trainer| trainer.network().evaluate(&test, Loss::SoftmaxCrossEntropy).accuracy();
    let found = accuracy(train(spec, &mut fixed(&architecture, &train_data), train_data.len(), 1));
    let float = accuracy(train(spec, &mut Float::new(&architecture, &train_data), train_data.len(), 1));
    println!("fixed point {found:.4}, float {float:.4}");
    (found, float)
}

#[test]
fn every_kind_of_network_learns_digits_as_well_in_fixed_point() {
    let momentum = OptimizerSpec { learning_rate: 0.05, decay: 0.95, momentum: 0.9 };
    for spec in [
        spec(dense(), 32, 12, momentum),
        spec(
            NetworkSpec::dense(64, &[24, 16, 10], LayerSpec::Sigmoid),
            16,
            16,
            OptimizerSpec { learning_rate: 0.2, ..momentum },
        ),
        spec(
            NetworkSpec::dense(64, &[16, 10], LayerSpec::Square),
            32,
            12,
            OptimizerSpec { learning_rate: 0.01, ..momentum },
        ),
        spec(convolutional(LayerSpec::Relu, MAX_POOL), 1, 6, OptimizerSpec::constant(0.01)),
        spec(convolutional(LayerSpec::Square, AVERAGE_POOL), 16, 12, OptimizerSpec { learning_rate: 0.01, ..momentum }),
    ] {
        let (found, float) = accuracies(&spec);
        // 360 test samples: one point is 3.6 of them.
        assert!(found > 0.93 && (found - float).abs() <= 0.02, "{spec:?}: {found} {float}");
    }
}

/// The bar for encrypted training, with integers in the place of a scheme.
#[test]
fn another_oracle_gives_the_same_weights_bit_by_bit() {
    let (data, _) = digits();
    let data = data.split_at(150).unwrap().0;
    let momentum = OptimizerSpec { learning_rate: 0.05, decay: 0.9, momentum: 0.9 };
    for (spec, rounding) in [
        (spec(dense(), 16, 2, momentum), Rounding::Nearest),
        (spec(dense(), 1, 1, OptimizerSpec::constant(0.02)), Rounding::Stochastic),
        (spec(convolutional(LayerSpec::Relu, MAX_POOL), 1, 2, OptimizerSpec::constant(0.01)), Rounding::Nearest),
        (spec(convolutional(LayerSpec::Square, AVERAGE_POOL), 8, 2, momentum), Rounding::Stochastic),
        (
            TrainerSpec {
                batches: Batches::Poisson { expected: 20 },
                privacy: Some(PrivacySpec { clip: 1.0, noise_multiplier: 0.5 }),
                ..spec(convolutional(LayerSpec::Relu, MAX_POOL), 20, 2, momentum)
            },
            Rounding::Nearest,
        ),
    ] {
        let architecture = spec.network.validate().unwrap();
        let bits = FixedPointSpec { rounding, ..FixedPointSpec::default() };
        let clear = ClearOracle::new(&architecture, &data, 16).unwrap();
        let clear = train(&spec, &mut FixedPoint::new(clear, bits).unwrap(), data.len(), 3);
        let mut integers = FixedPoint::new(Integers::new(&architecture, &data, 16), bits).unwrap();
        let other = train(&spec, &mut integers, data.len(), 3);
        assert!(integers.oracle().queries > 0 && values(&clear) == values(&other), "{spec:?}");
        assert_eq!(clear.progress(), other.progress());
        let seed = train(&spec, &mut integers, data.len(), 4);
        assert_ne!(values(&clear), values(&seed));
    }
}

#[test]
fn more_bits_come_closer_to_floating_point() {
    let (data, _) = digits();
    let spec = spec(dense(), 64, 1, OptimizerSpec::constant(0.1));
    let architecture = spec.network.validate().unwrap();
    let float = train(&spec, &mut Float::new(&architecture, &data), data.len(), 5);
    let distance = |bits| {
        let oracle = ClearOracle::new(&architecture, &data, 24).unwrap();
        let fixed = FixedPointSpec { weight_bits: bits, delta_bits: bits, ..FixedPointSpec::default() };
        let trained = train(&spec, &mut FixedPoint::new(oracle, fixed).unwrap(), data.len(), 5);
        let pairs = trained.network().values().zip(float.network().values());
        pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    let distances: Vec<f64> = [4, 8, 12, 20].into_iter().map(distance).collect();
    println!("{distances:?}");
    assert!(distances.windows(2).all(|pair| pair[1] < pair[0] / 4.0), "{distances:?}");
}

/// Squared error on numbers: a line is found.
#[test]
fn numbers_are_learned_by_squared_error() {
    let rows: Vec<u8> = (0..400u32).map(|i| (i * 7919 % 251) as u8).collect();
    let line = |row: &[u8]| 1.5 * f64::from(row[0]) / 255.0 - 0.5 * f64::from(row[1]) / 255.0 + 0.25;
    let targets: Vec<f64> = rows.chunks(2).map(line).collect();
    let inputs = Inputs::from_pixels(Shape::vector(2), &rows).unwrap();
    let data = Dataset::new(inputs, Targets::numbers(1, targets).unwrap()).unwrap();
    let optimizer = OptimizerSpec { learning_rate: 0.1, decay: 0.98, momentum: 0.5 };
    let network = NetworkSpec::dense(2, &[1], LayerSpec::Relu);
    let spec = TrainerSpec { loss: Loss::MeanSquaredError, ..spec(network, 8, 80, optimizer) };
    let architecture = spec.network.validate().unwrap();
    let trained = train(&spec, &mut fixed(&architecture, &data), data.len(), 1);
    let found: Vec<f64> = trained.network().values().copied().collect();
    for (found, wanted) in found.iter().zip([1.5, -0.5, 0.25]) {
        assert!((found - wanted).abs() < 0.02, "{found} {wanted}");
    }
    assert!(trained.network().evaluate(&data, Loss::MeanSquaredError).loss < 1e-4);
}

#[test]
fn data_of_another_run_is_refused() {
    let (data, test) = digits();
    let spec = spec(dense(), 32, 1, OptimizerSpec::constant(0.1));
    let architecture = spec.network.validate().unwrap();
    let mut trainer = Trainer::new(spec.clone(), data.len(), Seed::new([1; 32])).unwrap();
    assert!(matches!(
        trainer.step(&mut fixed(&architecture, &test)),
        Err(TrainError::Samples { found: 360, wanted: 1437 })
    ));
    let windows = convolutional(LayerSpec::Relu, MAX_POOL).validate().unwrap();
    assert!(matches!(trainer.step(&mut fixed(&windows, &data)), Err(TrainError::Input { .. })));
    let narrow = TrainerSpec { network: NetworkSpec::dense(64, &[9], LayerSpec::Relu), ..spec.clone() };
    let mut narrow = Trainer::new(narrow, data.len(), Seed::new([1; 32])).unwrap();
    assert!(matches!(narrow.step(&mut fixed(&architecture, &data)), Err(TrainError::Outputs { found: 10, wanted: 9 })));
    for spoiled in [
        TrainerSpec { epochs: 0, ..spec.clone() },
        TrainerSpec { batches: Batches::Fixed { size: 0 }, ..spec.clone() },
        TrainerSpec { batches: Batches::Poisson { expected: 9999 }, ..spec.clone() },
        TrainerSpec { optimizer: OptimizerSpec::constant(f64::NAN), ..spec.clone() },
        TrainerSpec { optimizer: OptimizerSpec { momentum: 1.0, ..spec.optimizer }, ..spec.clone() },
        TrainerSpec { privacy: Some(PrivacySpec { clip: 0.0, noise_multiplier: 1.0 }), ..spec.clone() },
    ] {
        let error = Trainer::new(spoiled, data.len(), Seed::new([1; 32])).err();
        assert!(matches!(error, Some(TrainerSpecError::Setting { .. })), "{error:?}");
    }
}

#[test]
fn divergence_is_an_error_and_leaves_the_run_as_it_was() {
    let (data, _) = digits();
    let network = NetworkSpec::dense(64, &[16, 16, 10], LayerSpec::Square);
    let spec = spec(network, 32, 2, OptimizerSpec::constant(1e6));
    let architecture = spec.network.validate().unwrap();
    let mut trainer = Trainer::new(spec, data.len(), Seed::new([1; 32])).unwrap();
    let mut first = fixed(&architecture, &data);
    let error = loop {
        let before = (values(&trainer), trainer.progress().step);
        if let Err(error) = trainer.step(&mut first) {
            assert_eq!(before, (values(&trainer), trainer.progress().step));
            break error;
        }
    };
    let diverged = matches!(
        error,
        TrainError::Diverged { epoch: 0, .. } | TrainError::FirstLayer(FixedPointError::NotFinite { .. })
    );
    assert!(diverged, "{error}");
}

//! Differentially private training: what one sample changes, how much noise there is, and that something is learned.

mod common;

use std::ops::ControlFlow;

use common::{digits, fixed, spec};
use ndarray::{Array2, ArrayView2};
use nightloom_fe::learn::first_layer::{DataSpec, Step};
use nightloom_fe::learn::network::Vectors;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::{Accountant, PrivacySpec};
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{
    Architecture, Dataset, FirstLayer, Float, Inputs, LayerSpec, NetworkSpec, Seed, Targets, Trainer, TrainerSpec,
};

const CLIP: f64 = 0.25;

fn networks() -> [NetworkSpec; 2] {
    let convolution = LayerSpec::Convolution { filters: 3, side: 3, stride: 2, padding: 1 };
    let input = digits().0.inputs().shape();
    [
        NetworkSpec::dense(64, &[16, 10], LayerSpec::Relu),
        NetworkSpec { input, layers: vec![convolution, LayerSpec::Sigmoid, LayerSpec::Dense { units: 10 }] },
    ]
}

/// Of `data` the samples `from..`, all in one batch.
fn part(data: &Dataset, from: usize, to: usize) -> Dataset {
    let pixels: Vec<u8> =
        (from..to).flat_map(|sample| data.inputs().sample(sample)).map(|&pixel| pixel as u8).collect();
    let all: Vec<usize> = (from..to).collect();
    let rows = data.targets().rows(&all);
    let labels: Vec<usize> = rows.rows().into_iter().map(|row| row.iter().position(|y| *y == 1.0).unwrap()).collect();
    let inputs = Inputs::from_pixels(data.inputs().shape(), &pixels).unwrap();
    Dataset::new(inputs, Targets::classes(10, &labels).unwrap()).unwrap()
}

/// The sum of clipped gradients that one step makes, noise included.
fn sum_of_gradients<F: FirstLayer>(spec: &TrainerSpec, first: &mut F, seed: u8) -> Vec<f64> {
    let samples = first.data().samples;
    let mut trainer = Trainer::new(spec.clone(), samples, Seed::new([seed; 32])).unwrap();
    let before: Vec<f64> = trainer.network().values().copied().collect();
    trainer.step(first).unwrap();
    // Rate 1, so the change is the mean gradient.
    let change = before.iter().zip(trainer.network().values()).map(|(before, after)| before - after);
    change.map(|mean| mean * samples as f64).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

fn private(network: NetworkSpec, batch: usize, noise_multiplier: f64) -> TrainerSpec {
    let privacy = Some(PrivacySpec { clip: CLIP, noise_multiplier });
    TrainerSpec { privacy, ..spec(network, batch, 1, OptimizerSpec::constant(1.0)) }
}

/// Sensitivity, as the accountant assumes it: one sample more or less moves the sum by at most the clipping norm, in floating
/// point and in fixed point. The noise is the same, as the seed is.
#[test]
fn one_sample_changes_the_sum_by_at_most_the_clipping_norm() {
    let (data, _) = digits();
    for network in networks() {
        let architecture = network.validate().unwrap();
        let mut most: f64 = 0.0;
        for start in 0..12 {
            let (with, without) = (part(&data, start, start + 6), part(&data, start + 1, start + 6));
            let differ =
                |of: &dyn Fn(&Dataset) -> Vec<f64>| norm(of(&with).into_iter().zip(of(&without)).map(|(a, b)| a - b));
            let spec = |data: &Dataset| private(network.clone(), data.len(), 1e-3);
            let float = differ(&|data| sum_of_gradients(&spec(data), &mut Float::new(&architecture, data), 2));
            let found = differ(&|data| sum_of_gradients(&spec(data), &mut fixed(&architecture, data), 2));
            assert!(float <= CLIP * (1.0 + 1e-9) && found <= CLIP * (1.0 + 1e-9), "{float} {found}");
            most = most.max(found);
        }
        // The bound on the data is not far from what digits are, so clipping is felt.
        assert!(most > CLIP * 0.3, "{most}");
    }
}

/// Passes everything on, and looks at what it passes.
struct Watched<F>(F, Vec<f64>);

impl<F: FirstLayer> FirstLayer for Watched<F> {
    type Error = F::Error;

    fn data(&self) -> DataSpec {
        self.0.data()
    }

    fn vectors(&self) -> Vectors {
        self.0.vectors()
    }

    fn forward(&mut self, step: &Step<'_>, weights: ArrayView2<f64>) -> Result<Array2<f64>, F::Error> {
        self.0.forward(step, weights)
    }

    fn gradient(&mut self, step: &Step<'_>, delta: ArrayView2<f64>) -> Result<Array2<f64>, F::Error> {
        let bound = step.delta_bound.expect("set in a private run");
        self.1.extend(delta.iter().map(|delta| delta.abs() / bound));
        self.0.gradient(step, delta)
    }

    fn output_error(&mut self, step: &Step<'_>, predictions: ArrayView2<f64>) -> Result<Array2<f64>, F::Error> {
        self.0.output_error(step, predictions)
    }
}

/// How a delta is rounded depends on public numbers alone, and its range is used.
#[test]
fn deltas_stay_below_their_public_bound() {
    let (data, _) = digits();
    for network in networks() {
        let architecture = network.validate().unwrap();
        let data = part(&data, 0, 40);
        let mut watched = Watched(fixed(&architecture, &data), vec![]);
        sum_of_gradients(&private(network, 40, 1e-3), &mut watched, 2);
        let largest = watched.1.iter().fold(0.0, |largest: f64, part| largest.max(*part));
        assert!(largest <= 1.0 && largest > 0.1, "{largest}");
    }
}

/// 1210 or more numbers: the deviation of their mean square is at most 4.1 %, and the seed is fixed.
#[test]
fn noise_has_the_stated_deviation() {
    let (data, _) = digits();
    for network in networks() {
        let architecture = network.validate().unwrap();
        let data = part(&data, 0, 5);
        let sum = |noise| sum_of_gradients(&private(network.clone(), 5, noise), &mut fixed(&architecture, &data), 2);
        let (loud, quiet) = (sum(2.0), sum(1e-9));
        let count = loud.len() as f64;
        let deviation = norm(loud.into_iter().zip(quiet).map(|(a, b)| a - b)) / count.sqrt();
        let error = deviation / (2.0 * CLIP) - 1.0;
        assert!(error.abs() < 3.0 / count.sqrt(), "{deviation}");
    }
}

fn accuracy_and_epsilon(architecture: &Architecture, spec: TrainerSpec, data: &Dataset, test: &Dataset) -> (f64, f64) {
    let loss = spec.loss;
    let mut trainer = Trainer::new(spec, data.len(), Seed::new([2; 32])).unwrap();
    trainer.run(&mut fixed(architecture, data), |_| ControlFlow::Continue(())).unwrap();
    let epsilon = trainer.accountant().unwrap().epsilon(1e-5).epsilon;
    (trainer.network().evaluate(test, loss).accuracy(), epsilon)
}

#[test]
fn digits_are_learned_privately_and_what_it_costs_is_told() {
    let (data, test) = digits();
    let network = NetworkSpec::dense(64, &[10], LayerSpec::Relu);
    let architecture = network.validate().unwrap();
    let optimizer = OptimizerSpec { learning_rate: 2.0, decay: 1.0, momentum: 0.5 };
    let privacy = Some(PrivacySpec { clip: 0.5, noise_multiplier: 2.0 });
    let poisson =
        TrainerSpec { batches: Batches::Poisson { expected: 144 }, privacy, ..spec(network.clone(), 1, 10, optimizer) };
    let (accuracy, epsilon) = accuracy_and_epsilon(&architecture, poisson, &data, &test);
    let mut accountant = Accountant::new();
    accountant.add(144.0 / 1437.0, 2.0, 100);
    println!("Poisson: accuracy {accuracy:.3}, epsilon {epsilon:.3}");
    assert_eq!(epsilon, accountant.epsilon(1e-5).epsilon);
    assert!(accuracy > 0.8 && epsilon < 3.0, "{accuracy} {epsilon}");

    // The same with fixed batches: ten epochs without amplification.
    let fixed_batches = TrainerSpec { privacy, ..spec(network, 144, 10, optimizer) };
    let (accuracy, epsilon) = accuracy_and_epsilon(&architecture, fixed_batches, &data, &test);
    let mut accountant = Accountant::new();
    accountant.add(1.0, 2.0, 10);
    println!("fixed batches: accuracy {accuracy:.3}, epsilon {epsilon:.3}");
    assert_eq!(epsilon, accountant.epsilon(1e-5).epsilon);
    assert!(accuracy > 0.8 && epsilon > 5.0, "{accuracy} {epsilon}");
}

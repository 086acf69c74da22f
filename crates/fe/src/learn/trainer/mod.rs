//! Epochs, batches and steps; where a run stands; how to stop and go on.

mod batches;
mod checkpoint;
mod error;
mod file;
mod metrics;
mod spec;

use std::ops::ControlFlow;

use ndarray::Array2;

use super::first_layer::{DataSpec, FirstLayer, Step};
use super::network::{Gradient, Network, Parameters, SpecError, Tape};
use super::optimizer::descend;
use super::privacy::{Accountant, add_noise, clip};
use super::random::{Purpose, Seed};

pub use batches::Batches;
pub use checkpoint::VERSION;
pub use error::{TrainError, TrainerSpecError};
pub use file::{CheckpointError, load, save};
pub use metrics::{Metrics, Progress};
pub use spec::TrainerSpec;

/// A training run: network, optimizer, and its place in the data.
///
/// The same specification, seed and first layer give the same weights, bit by bit, on the same processor: also when the run
/// was written after any step and read again. (`matrixmultiply` picks instructions by what the processor has, and fused
/// ones round differently.)
pub struct Trainer {
    spec: TrainerSpec,
    samples: usize,
    seed: Seed,
    network: Network,
    /// One entry for each trained layer if there is momentum, else none.
    velocity: Vec<Parameters>,
    epoch: u32,
    /// The next step within the epoch.
    step: u32,
    running: Metrics,
    history: Vec<Metrics>,
    /// Batches of the current epoch in their order, once it is needed.
    order: Vec<u32>,
    tape: Tape,
}

impl Trainer {
    /// A run from random weights over `samples` samples.
    ///
    /// # Errors
    /// [`TrainerSpecError`] for a network that cannot be built or a setting out of range.
    pub fn new(spec: TrainerSpec, samples: usize, seed: Seed) -> Result<Self, TrainerSpecError> {
        let architecture = spec.check(samples)?;
        let network = Network::random(&architecture, &seed);
        Ok(Self::at_start(spec, samples, seed, network))
    }

    /// A run from the weights of `network`, as in a round of federated training.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`TrainerSpecError::OtherNetwork`] if `network` is not of the specification.
    pub fn with_network(
        spec: TrainerSpec,
        samples: usize,
        seed: Seed,
        network: Network,
    ) -> Result<Self, TrainerSpecError> {
        if &spec.check(samples)? != network.architecture() {
            return Err(TrainerSpecError::OtherNetwork);
        }
        Ok(Self::at_start(spec, samples, seed, network))
    }

    fn at_start(spec: TrainerSpec, samples: usize, seed: Seed, network: Network) -> Self {
        let velocity = velocity(&spec, &network);
        let (running, history) = (Metrics::default(), Vec::new());
        let (order, tape) = (Vec::new(), Tape::default());
        Self { spec, samples, seed, network, velocity, epoch: 0, step: 0, running, history, order, tape }
    }

    /// What the run was asked to do.
    pub fn spec(&self) -> &TrainerSpec {
        &self.spec
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network, and no more training.
    pub fn into_network(self) -> Network {
        self.network
    }

    /// Ends the run after so many epochs: at once if as many are done.
    #[must_use]
    pub fn with_epochs(mut self, epochs: u32) -> Self {
        self.spec.epochs = epochs;
        self
    }

    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        self.epoch >= self.spec.epochs
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress<'_> {
        Progress {
            epoch: self.epoch,
            epochs: self.spec.epochs,
            step: self.step,
            steps: self.spec.batches.steps(self.samples),
            running: self.running,
            history: &self.history,
        }
    }

    /// What the steps so far give away of a sample; `None` without privacy.
    pub fn accountant(&self) -> Option<Accountant> {
        let privacy = self.spec.privacy?;
        let mut accountant = Accountant::new();
        let steps = u64::from(self.spec.batches.steps(self.samples));
        match self.spec.batches {
            // Every sample comes once an epoch; an epoch that has begun counts.
            Batches::Fixed { .. } => {
                let epochs = u64::from(self.epoch) + u64::from(self.step > 0);
                accountant.add(1.0, privacy.noise_multiplier, epochs);
            }
            Batches::Poisson { expected } => {
                let rate = (expected as f64 / self.samples as f64).min(1.0);
                let done = u64::from(self.epoch) * steps + u64::from(self.step);
                accountant.add(rate, privacy.noise_multiplier, done);
            }
        }
        Some(accountant)
    }

    /// Trains to the end, or until `visit`, which sees every step, breaks.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run<F: FirstLayer>(
        &mut self,
        first: &mut F,
        mut visit: impl FnMut(&Self) -> ControlFlow<()>,
    ) -> Result<(), TrainError<F::Error>> {
        while !self.is_done() {
            self.step(first)?;
            if visit(self).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Trains on the next batch; does nothing once all epochs are done.
    ///
    /// # Errors
    /// [`TrainError`] if the data is not that of the run, a product cannot be opened, or a number is no longer finite. The
    /// run then stands where it stood.
    pub fn step<F: FirstLayer>(&mut self, first: &mut F) -> Result<(), TrainError<F::Error>> {
        if self.is_done() {
            return Ok(());
        }
        self.check(first)?;
        let samples = self.samples_of_step();
        let update = self.update(first, &samples)?;
        if let Some(Update { gradient, metrics }) = update {
            let optimizer = self.spec.optimizer;
            let (rate, momentum) = (optimizer.rate(self.epoch), optimizer.momentum);
            descend(&mut self.network, &mut self.velocity, &gradient, rate, momentum);
            self.running.add(&metrics);
        }
        self.step += 1;
        if self.step == self.spec.batches.steps(self.samples) {
            self.history.push(std::mem::take(&mut self.running));
            (self.epoch, self.step) = (self.epoch + 1, 0);
            self.order.clear();
        }
        Ok(())
    }

    fn samples_of_step(&mut self) -> Vec<usize> {
        if self.order.is_empty() {
            self.order = self.spec.batches.order(self.samples, &self.seed, self.epoch);
        }
        self.spec.batches.samples(self.samples, &self.order, &self.seed, self.epoch, self.step)
    }

    fn check<F: FirstLayer>(&self, first: &F) -> Result<(), TrainError<F::Error>> {
        let architecture = self.network.architecture();
        let DataSpec { samples, input, outputs, .. } = first.data();
        if samples != self.samples {
            return Err(TrainError::Samples { found: samples, wanted: self.samples });
        }
        // Flattening is the network's business, so only the number of values counts for a dense layer.
        if first.vectors() != architecture.vectors() || input.len() != architecture.input().len() {
            return Err(TrainError::Input { found: input, wanted: architecture.input() });
        }
        if outputs != architecture.outputs() {
            return Err(TrainError::Outputs { found: outputs, wanted: architecture.outputs() });
        }
        Ok(())
    }

    /// The mean gradient of a batch and how well the network did on it; `None` if there is nothing to do.
    fn update<F: FirstLayer>(
        &mut self,
        first: &mut F,
        samples: &[usize],
    ) -> Result<Option<Update>, TrainError<F::Error>> {
        let Self { spec, network, tape, seed, .. } = self;
        let (epoch, number) = (self.epoch, self.step);
        let diverged = || TrainError::Diverged { epoch, step: number };
        let mut step = Step { samples, epoch, number, delta_bound: None, seed };
        let mut metrics = Metrics::default();
        let mut gradient = if samples.is_empty() {
            // Poisson sampling may take nobody. The noise is added all the same: that nobody came is not to be seen.
            if spec.privacy.is_none() {
                return Ok(None);
            }
            let layers = network.architecture().layers().iter();
            layers.filter(|layer| layer.is_trained()).map(Parameters::zeros).collect()
        } else {
            let mut products = first.forward(&step, network.parameters()[0].weights.view())?;
            network.add_first_bias(&mut products);
            let outputs = network.forward(products, tape).clone();
            if !outputs.iter().all(|output| output.is_finite()) {
                return Err(diverged());
            }
            let predictions = spec.loss.predictions(outputs);
            let error = first.output_error(&step, predictions.view())?;
            metrics = Metrics::of(spec.loss, &predictions, &error);
            let mut deltas = network.backward(tape, error);
            if let Some(privacy) = spec.privacy {
                let data_bound = data_bound(first);
                let norms = network.squared_norms(tape, &deltas);
                clip(&mut deltas, &norms, data_bound, privacy.clip);
                step.delta_bound = Some(privacy.clip / data_bound);
            }
            let first_gradient = first.gradient(&step, deltas[0].view())?;
            network.gradient(tape, &deltas, first_gradient)
        };
        if let Some(privacy) = spec.privacy {
            add_noise(&mut gradient, privacy.clip * privacy.noise_multiplier, &mut step.random(Purpose::Noise));
        }
        let divisor = match spec.batches {
            Batches::Fixed { .. } => samples.len(),
            Batches::Poisson { expected } => expected,
        };
        if divisor != 1 {
            let factor = 1.0 / divisor as f64;
            gradient.iter_mut().flat_map(Parameters::values_mut).for_each(|value| *value *= factor);
        }
        if !gradient.iter().flat_map(Parameters::values).all(|value| value.is_finite()) {
            return Err(diverged());
        }
        Ok(Some(Update { gradient, metrics }))
    }
}

/// What one batch brings.
struct Update {
    /// Mean over the samples, noise included.
    gradient: Gradient,
    metrics: Metrics,
}

/// Bound of the Euclidean norm of all vectors together that the first layer multiplies of a sample.
fn data_bound<F: FirstLayer>(first: &F) -> f64 {
    first.data().norm_bound * libm::sqrt(first.vectors().repetitions() as f64)
}

fn velocity(spec: &TrainerSpec, network: &Network) -> Vec<Parameters> {
    if spec.optimizer.momentum == 0.0 {
        return Vec::new();
    }
    network
        .parameters()
        .iter()
        .map(|layer| Parameters {
            weights: Array2::zeros(layer.weights.raw_dim()),
            bias: ndarray::Array1::zeros(layer.bias.len()),
        })
        .collect()
}

impl From<SpecError> for TrainerSpecError {
    fn from(error: SpecError) -> Self {
        Self::Network(error)
    }
}

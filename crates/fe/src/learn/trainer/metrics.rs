use ndarray::Array2;

use crate::learn::network::{Loss, argmax};

/// How the network did on samples, each before the update that it caused: what CryptoNN's code reports as accuracy while it
/// trains.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Samples seen.
    pub samples: u64,
    /// Samples whose largest prediction was where the target is largest.
    pub correct: u64,
    /// Sum of their losses.
    pub loss: f64,
}

impl Metrics {
    /// Of a batch, from predictions and `predictions - targets`.
    pub(super) fn of(loss: Loss, predictions: &Array2<f64>, error: &Array2<f64>) -> Self {
        let mut metrics = Self::default();
        let targets = predictions - error;
        for (prediction, target) in predictions.rows().into_iter().zip(targets.rows()) {
            metrics.samples += 1;
            metrics.correct += u64::from(argmax(prediction) == argmax(target));
            metrics.loss += loss.value(prediction, target);
        }
        metrics
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.correct += other.correct;
        self.loss += other.loss;
    }

    /// Correct samples over samples; not a number if there is none.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }

    /// Mean loss; not a number if there is no sample.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Epochs done.
    pub epoch: u32,
    /// Epochs of the run.
    pub epochs: u32,
    /// Steps done of the current epoch.
    pub step: u32,
    /// Steps of an epoch.
    pub steps: u32,
    /// Of the current epoch.
    pub running: Metrics,
    /// Of the epochs done.
    pub history: &'a [Metrics],
}

impl Progress<'_> {
    /// Over all epochs together, the current one included.
    pub fn total(&self) -> Metrics {
        let mut total = self.running;
        self.history.iter().for_each(|epoch| total.add(epoch));
        total
    }
}

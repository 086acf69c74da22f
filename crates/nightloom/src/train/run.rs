//! A server's training: steps, figures of each epoch, checkpoints.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nightloom_fe::agreement::Direction;
use nightloom_fe::learn::first_layer::FixedPointError;
use nightloom_fe::learn::network::Evaluation;
use nightloom_fe::learn::trainer::{CheckpointError, Metrics, TrainError, save};
use nightloom_fe::learn::{Dataset, FixedPoint, Trainer};
use nightloom_fe::protocol::{AskError, Link, Refusal};
use nightloom_fe::server::{EncryptedOracle, OracleError};
use serde::Serialize;

/// Points of a learning curve in an epoch, at most.
const POINTS: u32 = 100;

/// What a training needs besides its trainer and its data.
#[derive(Default)]
pub struct RunOptions<'a> {
    /// Samples in the clear on which the network is tried after every epoch.
    pub test: Option<&'a Dataset>,
    /// Whether it is tried at every point of the curve too.
    pub test_often: bool,
    /// Where the run is kept, and how long it goes on without that.
    pub checkpoint: Option<(PathBuf, Duration)>,
}

/// Figures of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochFigures {
    /// The epoch, from 1.
    pub epoch: u32,
    /// The part of the samples that was classified rightly, each before the update that it caused; absent where targets are
    /// numbers.
    pub running_accuracy: Option<f64>,
    /// Mean loss, likewise: cross-entropy of classes, half the squared error of numbers.
    pub running_loss: f64,
    /// The part of the test samples that is classified rightly after the epoch.
    pub test_accuracy: Option<f64>,
    /// Mean loss on the test samples after the epoch.
    pub test_loss: Option<f64>,
    /// Seconds of opening: keys from the authority, and products under them.
    pub crypto_s: f64,
    /// Seconds of everything else that training does.
    pub clear_s: f64,
    /// Bytes that clients uploaded, once for all epochs.
    pub bytes_up: u64,
    /// Bytes of keys that came from the authority.
    pub key_bytes: u64,
    /// Bytes of requests to it.
    pub request_bytes: u64,
}

/// A point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Epochs so far, a fraction.
    pub epochs: f64,
    /// Accuracy on the samples since the last point, each before its update; absent where targets are numbers.
    pub running_accuracy: Option<f64>,
    /// Mean loss, likewise.
    pub running_loss: f64,
    /// Accuracy on the test samples.
    pub test_accuracy: Option<f64>,
}

/// How a training went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Of the epochs that ended in this process.
    pub epochs: Vec<EpochFigures>,
    /// The learning curve.
    pub curve: Vec<CurvePoint>,
}

/// Why a training ended early. The run is kept as it stands, if it is kept at all; not if the authority has refused its very
/// first step for good, as then another network may be wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E: std::error::Error + Send + Sync + 'static> {
    /// A step could not be done.
    #[error(transparent)]
    Train(#[from] TrainError<FixedPointError<OracleError<E>>>),
    /// The authority refuses what a step would open, and always will.
    #[error("{0}")]
    Budget(#[source] TrainError<FixedPointError<OracleError<E>>>),
    /// The run could not be kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl<E: std::error::Error + Send + Sync + 'static> RunError<E> {
    /// What to change about the training, where that is known.
    pub fn advice(&self) -> Option<&'static str> {
        let Self::Budget(error) = self else { return None };
        let gradient = matches!(refusal(error), Some(Refusal::Sparse { direction: Direction::Gradient, .. }));
        gradient.then_some(
            "so few samples of the batch reach one of the first layer's units that its update would tell of them: \
             --activation sigmoid keeps all units at work, larger batches more of them; under --dp units of relu fail often",
        )
    }
}

/// Trains to the end. `progress` is told the part that is done, 0 to 1. A run is kept before its first question to the authority:
/// the answer is counted, and whoever asks again from another seed pays for another one.
///
/// # Errors
/// [`RunError`] if a step cannot be done, after the run has been kept as it stands.
pub fn train<L: Link, R: Read + Seek>(
    trainer: &mut Trainer,
    first: &mut FixedPoint<EncryptedOracle<L, R>>,
    options: &RunOptions<'_>,
    progress: &mut dyn FnMut(f64),
) -> Result<Figures, RunError<L::Error>> {
    let mut figures = Figures::default();
    let steps = trainer.progress().steps;
    let every = steps.div_ceil(POINTS);
    let mut meter = Meter::new(trainer, first);
    if trainer.progress().total().samples == 0 {
        keep(trainer, options)?;
    }
    let mut saved = Instant::now();
    while !trainer.is_done() {
        let start = Instant::now();
        let stepped = trainer.step(first);
        meter.training += start.elapsed();
        if let Err(error) = stepped {
            let error = if is_over_budget(&error) { RunError::Budget(error) } else { error.into() };
            match (&options.checkpoint, &error) {
                (Some((path, _)), RunError::Budget(_)) if trainer.progress().total().samples == 0 => forget(path)?,
                _ => keep(trainer, options)?,
            }
            return Err(error);
        }
        let now = trainer.progress();
        let (epoch, step, ended) = (now.epoch, now.step, now.step == 0);
        progress((f64::from(epoch) + f64::from(step) / f64::from(steps)) / f64::from(now.epochs.max(1)));
        if ended || step.is_multiple_of(every) {
            let tested = options.test.filter(|_| ended || options.test_often);
            let tested = tested.map(|test| trainer.network().evaluate(test, trainer.spec().loss));
            let since = meter.since_last_point(trainer);
            figures.curve.push(CurvePoint {
                epochs: f64::from(epoch) + f64::from(step) / f64::from(steps),
                running_accuracy: meter.classes.then(|| since.accuracy()),
                running_loss: since.mean_loss(),
                test_accuracy: tested.filter(|_| meter.classes).map(|tested| tested.accuracy()),
            });
            if ended {
                figures.epochs.push(meter.epoch(trainer, first, tested));
            }
        }
        let due = options.checkpoint.as_ref().is_some_and(|(_, pause)| ended || saved.elapsed() >= *pause);
        if due {
            keep(trainer, options)?;
            saved = Instant::now();
        }
    }
    Ok(figures)
}

/// The part of the samples that the network classifies rightly.
pub fn accuracy(trainer: &Trainer, test: &Dataset) -> f64 {
    trainer.network().evaluate(test, trainer.spec().loss).accuracy()
}

fn keep(trainer: &Trainer, options: &RunOptions<'_>) -> Result<(), CheckpointError> {
    options.checkpoint.as_ref().map_or(Ok(()), |(path, _)| save(trainer, path))
}

fn forget(path: &Path) -> Result<(), CheckpointError> {
    std::fs::remove_file(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

/// Whether the authority refuses what would open too much, which it will always do.
fn is_over_budget<E: std::error::Error + Send + Sync + 'static>(
    error: &TrainError<FixedPointError<OracleError<E>>>,
) -> bool {
    matches!(refusal(error), Some(Refusal::Budget { .. } | Refusal::Sparse { .. }))
}

/// What the authority answered, if it refused.
fn refusal<E: std::error::Error + Send + Sync + 'static>(
    error: &TrainError<FixedPointError<OracleError<E>>>,
) -> Option<&Refusal> {
    match error {
        TrainError::FirstLayer(FixedPointError::Oracle(OracleError::Ask(AskError::Refused(refusal)))) => Some(refusal),
        _ => None,
    }
}

/// What has been counted since the last epoch and the last point.
struct Meter {
    /// Whether samples are of classes, so that some are right.
    classes: bool,
    training: Duration,
    crypto: Duration,
    key_bytes: u64,
    request_bytes: u64,
    seen: Metrics,
}

impl Meter {
    fn new<L: Link, R: Read + Seek>(trainer: &Trainer, first: &FixedPoint<EncryptedOracle<L, R>>) -> Self {
        let oracle = first.oracle();
        let (costs, agreement) = (oracle.costs(), &oracle.session().token().agreement);
        Self {
            classes: agreement.data().targets.are_classes(),
            training: Duration::ZERO,
            crypto: costs.time,
            key_bytes: costs.key_bytes,
            request_bytes: costs.request_bytes,
            seen: trainer.progress().total(),
        }
    }

    fn since_last_point(&mut self, trainer: &Trainer) -> Metrics {
        let (before, now) = (self.seen, trainer.progress().total());
        self.seen = now;
        Metrics {
            samples: now.samples - before.samples,
            correct: now.correct - before.correct,
            loss: now.loss - before.loss,
        }
    }

    fn epoch<L: Link, R: Read + Seek>(
        &mut self,
        trainer: &Trainer,
        first: &FixedPoint<EncryptedOracle<L, R>>,
        tested: Option<Evaluation>,
    ) -> EpochFigures {
        let (now, costs) = (trainer.progress(), first.oracle().costs());
        let metrics = now.history.last().copied().unwrap_or_default();
        let crypto = costs.time - self.crypto;
        let figures = EpochFigures {
            epoch: now.epoch,
            running_accuracy: self.classes.then(|| metrics.accuracy()),
            running_loss: metrics.mean_loss(),
            test_accuracy: tested.filter(|_| self.classes).map(|tested| tested.accuracy()),
            test_loss: tested.map(|tested| tested.loss),
            crypto_s: crypto.as_secs_f64(),
            clear_s: self.training.saturating_sub(crypto).as_secs_f64(),
            bytes_up: first.oracle().upload_bytes(),
            key_bytes: costs.key_bytes - self.key_bytes,
            request_bytes: costs.request_bytes - self.request_bytes,
        };
        (self.crypto, self.key_bytes, self.request_bytes) = (costs.time, costs.key_bytes, costs.request_bytes);
        self.training = Duration::ZERO;
        figures
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn advice_is_given_for_gradients_of_few_samples() {
        let refused = |refusal| -> RunError<Infallible> {
            RunError::Budget(TrainError::FirstLayer(FixedPointError::Oracle(OracleError::Ask(AskError::Refused(
                refusal,
            )))))
        };
        let sparse = |direction| Refusal::Sparse {
            client: "a".into(),
            dataset: "b".into(),
            batch: 1,
            direction,
            found: 3,
            coordinate: 7,
            limit: 16,
        };
        assert!(refused(sparse(Direction::Gradient)).advice().is_some_and(|advice| advice.contains("sigmoid")));
        assert_eq!(refused(sparse(Direction::Forward)).advice(), None);
        assert_eq!(refused(Refusal::Query { problem: "none".into() }).advice(), None);
    }
}

//! Bytes of a run: header of [`Kind::Checkpoint`], specification as JSON, seed, position, metrics, parameters, velocity.
//! Version 1. Little-endian; the numbers of parameters follow from the specification.

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};
use zeroize::Zeroize;

use super::{Metrics, Trainer, TrainerSpec};
use crate::learn::network::{MAX_PARAMETERS, Network};
use crate::learn::random::Seed;

/// Newest version of the format.
pub const VERSION: u16 = 1;

/// Longest specification in bytes of JSON.
const MAX_SPEC_BYTES: usize = 1 << 16;
/// Bytes of metrics.
const METRICS_BYTES: u64 = 24;
/// Everything at its largest.
const MAX_BYTES: u64 = 16 * MAX_PARAMETERS as u64 + (1 << 26);

impl Trainer {
    /// Writes the run as it stands. The bytes hold the seed: where noise or samples are drawn from it, they are secret.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, sink: impl Write) -> std::io::Result<()> {
        let spec = serde_json::to_vec(&self.spec)?;
        let velocity: usize = if self.velocity.is_empty() { 0 } else { self.network.architecture().parameters() };
        let parameters = (self.network.architecture().parameters() + velocity) as u64;
        // Length of the text, seed, samples, epoch, step, count of the history.
        let fixed = 4 + 32 + 4 * 4;
        let length = fixed + spec.len() as u64 + METRICS_BYTES * (1 + self.history.len() as u64) + 8 * parameters;
        let mut writer = Writer::new(sink);
        Header { kind: Kind::Checkpoint, version: VERSION, length }.write(&mut writer)?;
        writer.byte_string(&spec)?;
        writer.bytes(self.seed.as_bytes())?;
        writer.u32(self.samples as u32)?;
        writer.u32(self.epoch)?;
        writer.u32(self.step)?;
        writer.u32(self.history.len() as u32)?;
        for metrics in self.history.iter().chain([&self.running]) {
            writer.u64(metrics.samples)?;
            writer.u64(metrics.correct)?;
            writer.f64(metrics.loss)?;
        }
        let velocity = self.velocity.iter().flat_map(|layer| layer.values());
        self.network.values().chain(velocity).try_for_each(|value| writer.f64(*value))?;
        debug_assert_eq!(writer.written(), HEADER_BYTES + length);
        Ok(())
    }

    /// Reads a run, checks it, and stands where it stood.
    ///
    /// # Errors
    /// [`DecodeError`] for every way in which the bytes can be wrong.
    pub fn read(source: impl Read) -> Result<Self, DecodeError> {
        let (_, mut reader) = Header::open(source, Kind::Checkpoint, VERSION, MAX_BYTES)?;
        let json = reader.byte_string("training specification", MAX_SPEC_BYTES)?;
        let text = |problem: String| DecodeError::Text { what: "training specification", problem };
        let spec: TrainerSpec = serde_json::from_slice(&json).map_err(|error| text(error.to_string()))?;
        let mut seed = reader.bytes()?;
        let kept = Seed::new(seed);
        seed.zeroize();
        let samples = reader.u32()? as usize;
        let architecture = spec.check(samples).map_err(|error| text(error.to_string()))?;
        let (epoch, step) = (reader.u32()?, reader.u32()?);
        if epoch > spec.epochs {
            let wanted = "at most the epochs of the run";
            return Err(DecodeError::Value { what: "epoch", found: epoch.into(), wanted });
        }
        if step >= spec.batches.steps(samples) || epoch == spec.epochs && step > 0 {
            return Err(DecodeError::Value { what: "step", found: step.into(), wanted: "a step of the epoch" });
        }
        let count = reader.count("epochs done", METRICS_BYTES, spec.epochs as usize)?;
        if count != epoch as usize {
            let wanted = "as many as epochs done";
            return Err(DecodeError::Value { what: "metrics of epochs", found: count as u64, wanted });
        }
        let mut history = Vec::with_capacity(count);
        for _ in 0..count {
            history.push(read_metrics(&mut reader)?);
        }
        let running = read_metrics(&mut reader)?;
        let with_velocity = spec.optimizer.momentum != 0.0;
        let parameters = architecture.parameters();
        let wanted = parameters as u64 * if with_velocity { 16 } else { 8 };
        reader.demand(wanted)?;
        let values = read_values(&mut reader, "parameter", parameters)?;
        let network = Network::from_values(&architecture, &values).map_err(|error| text(error.to_string()))?;
        let mut trainer = Self::at_start(spec, samples, kept, network);
        if with_velocity {
            let values = read_values(&mut reader, "velocity", parameters)?;
            let velocity = trainer.velocity.iter_mut().flat_map(|layer| layer.values_mut());
            velocity.zip(values).for_each(|(out, value)| *out = value);
        }
        reader.finish()?;
        (trainer.epoch, trainer.step, trainer.running, trainer.history) = (epoch, step, running, history);
        Ok(trainer)
    }
}

fn read_metrics(reader: &mut Reader<impl Read>) -> Result<Metrics, DecodeError> {
    let (samples, correct) = (reader.u64()?, reader.u64()?);
    if correct > samples {
        return Err(DecodeError::Value { what: "correct samples", found: correct, wanted: "at most the samples seen" });
    }
    Ok(Metrics { samples, correct, loss: reader.f64("loss")? })
}

/// The caller has checked that they are within the budget; memory grows with what arrives.
fn read_values(reader: &mut Reader<impl Read>, what: &'static str, count: usize) -> Result<Vec<f64>, DecodeError> {
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(reader.f64(what)?);
    }
    Ok(values)
}

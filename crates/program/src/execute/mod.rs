//! Runs a program on ciphertexts.
//!
//! Linear operations and products act on each residue by itself, so a run of them (a *stage*) is computed tile by tile:
//! a few columns of one limb of every ciphertext, through all operations of the stage, in a cache-sized working set
//! ([`tiles`]). Only what leaves a stage is ever stored, so a wide layer inside one costs no memory. Relinearisation,
//! rescaling and whatever moves slots ([`slots`]) need whole polynomials and run between stages.

mod awake;
mod slots;
mod tiles;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nightloom_he::{Ciphertext, EvalError, EvaluationKeys, Evaluator, KeyPurpose, RelinearizationKey};
use nightloom_ring::parallel;

use crate::{ExecuteError, Op, Program, ValueId, ValueType};
use awake::Awake;

/// Memory that encoded weights may take unless the caller says otherwise: 2 GiB.
pub const DEFAULT_WEIGHT_BYTES: usize = 2 << 30;

/// A program ready to run, with its threads and what can be prepared without a client.
#[derive(Debug)]
pub struct Executor {
    program: Program,
    stages: Vec<Stage>,
    /// Relative costs of the operations, for the progress.
    weights: Vec<f64>,
    threads: rayon::ThreadPool,
    prepared: slots::Prepared,
    /// Calls of [`install`](Self::install) that have begun and not ended.
    running: Arc<AtomicUsize>,
}

/// Pointwise operations that run tile by tile, then the operations on whole polynomials that follow them.
#[derive(Debug, Default)]
struct Stage {
    pointwise: Vec<ValueId>,
    /// Values computed by `pointwise` that are read outside the stage.
    stored: Vec<ValueId>,
    whole: Vec<ValueId>,
}

/// A value: one ciphertext a feature. Encrypted weights are borrowed from whoever keeps them.
type Array<'a> = Cow<'a, [Ciphertext]>;

impl Executor {
    /// Prepares a program for a number of threads. Encoded weights are kept while they take at most `weight_bytes`; the
    /// others are encoded each time they are used.
    ///
    /// # Errors
    /// [`ExecuteError::Threads`] if threads cannot be started.
    pub fn new(program: Program, threads: usize, weight_bytes: usize) -> Result<Self, ExecuteError> {
        let threads = crate::thread_pool(threads)?;
        let prepared = threads.install(|| slots::Prepared::new(&program, weight_bytes))?;
        let weight = |op| program.work(op).seconds(&crate::cost::REFERENCE, program.params().degree());
        let weights = (0..program.ops().len()).map(weight).collect();
        Ok(Self { stages: stages(&program), weights, program, threads, prepared, running: Arc::default() })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The threads that it runs on.
    pub fn threads(&self) -> &rayon::ThreadPool {
        &self.threads
    }

    /// Runs `f` on these threads. Those that have nothing to do stay awake meanwhile, unless another `f` runs: threads then
    /// have something to do. On one of these threads `f` is just called, so several steps are best given to one call.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        if self.threads.current_thread_index().is_some() {
            return f();
        }
        self.threads.install(|| {
            let _awake = Awake::new(&self.threads, &self.running);
            f()
        })
    }

    /// Checks that a client's keys are for this program's parameters and that none is missing.
    ///
    /// # Errors
    /// [`ExecuteError::ParamsMismatch`], or [`ExecuteError::Eval`] that names the key.
    pub fn check_keys(&self, keys: &EvaluationKeys) -> Result<(), ExecuteError> {
        const OP: &str = "run the program";
        if keys.params() != self.program.params() {
            let (found, wanted) = (keys.params().id(), self.program.params().id());
            return Err(ExecuteError::ParamsMismatch { what: "evaluation keys", found, wanted });
        }
        if self.program.relinearizes() && keys.relinearization().is_none() {
            return Err(EvalError::MissingKey { op: OP, purpose: KeyPurpose::Relinearization }.into());
        }
        for (rotation, wanted) in self.program.rotations() {
            let purpose = KeyPurpose::Rotation(rotation);
            match keys.rotations().get(rotation) {
                None => return Err(EvalError::MissingKey { op: OP, purpose }.into()),
                Some(key) if key.level() < wanted => {
                    return Err(EvalError::KeyLevelTooLow { op: OP, purpose, found: key.level(), wanted }.into());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Runs a program whose weights are in the clear on one batch: one ciphertext a feature, one sample a slot where no
    /// operation moves slots. `progress` is called from any thread with the part of the work that is done, from 0 to 1.
    ///
    /// # Errors
    /// [`ExecuteError`] if the ciphertexts or the keys are not what the program takes.
    pub fn run(
        &self,
        batch: Vec<Ciphertext>,
        keys: &EvaluationKeys,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<Ciphertext>, ExecuteError> {
        self.run_with_model(batch, &[], keys, progress)
    }

    /// As [`run`](Self::run), with encrypted weights: one array for each [`Op::Model`], in order, under the key of the batch.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ExecuteError::ModelArrays`].
    pub fn run_with_model(
        &self,
        batch: Vec<Ciphertext>,
        model: &[Vec<Ciphertext>],
        keys: &EvaluationKeys,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<Ciphertext>, ExecuteError> {
        self.run_timed(batch, model, keys, progress).map(|(results, _)| results)
    }

    /// As [`run_with_model`](Self::run_with_model), and the seconds that each operation took. Those of operations that run
    /// tile by tile together are divided as they were predicted.
    ///
    /// # Errors
    /// As [`run_with_model`](Self::run_with_model).
    pub fn run_timed(
        &self,
        batch: Vec<Ciphertext>,
        model: &[Vec<Ciphertext>],
        keys: &EvaluationKeys,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<(Vec<Ciphertext>, Vec<f64>), ExecuteError> {
        self.check_array(&batch, self.program.input_type())?;
        self.check_model(model)?;
        self.check_keys(keys)?;
        let mut values: Vec<Option<Array<'_>>> = vec![None; self.program.ops().len()];
        values[0] = Some(batch.into());
        let arrays = self.program.ops().iter().enumerate().filter(|(_, op)| matches!(op, Op::Model { .. }));
        arrays.zip(model).for_each(|((op, _), array)| values[op] = Some(array.as_slice().into()));
        let weights = &self.weights;
        let progress = Progress { total: weights.iter().sum(), report: progress };
        let (mut done, mut seconds) = (0.0, vec![0.0; values.len()]);
        self.install(|| {
            for (index, stage) in self.stages.iter().enumerate() {
                if !stage.pointwise.is_empty() {
                    let start = Instant::now();
                    let weight: f64 = stage.pointwise.iter().map(|value| weights[value.0]).sum();
                    tiles::run(&self.program, stage, &mut values, &|part| progress.at(done + part * weight))?;
                    done += weight;
                    let each = start.elapsed().as_secs_f64() / weight.max(f64::MIN_POSITIVE);
                    stage.pointwise.iter().for_each(|value| seconds[value.0] = each * weights[value.0]);
                }
                self.release(index, false, &mut values);
                for value in &stage.whole {
                    let (weight, start) = (weights[value.0], Instant::now());
                    let array = self.run_whole(*value, &values, keys, &|part| progress.at(done + part * weight))?;
                    values[value.0] = Some(array.into());
                    done += weight;
                    seconds[value.0] = start.elapsed().as_secs_f64();
                    self.release(index, true, &mut values);
                }
            }
            Ok((values[self.program.output().0].take().unwrap_or_default().into_owned(), seconds))
        })
    }

    /// Checks that encrypted weights are for this program's parameters, and of the types that it takes.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn check_model(&self, model: &[Vec<Ciphertext>]) -> Result<(), ExecuteError> {
        let (found, wanted) = (model.len(), self.program.model().count());
        if found != wanted {
            return Err(ExecuteError::ModelArrays { found, wanted });
        }
        model.iter().zip(self.program.model()).try_for_each(|(array, (expected, _))| self.check_array(array, expected))
    }

    fn check_array(&self, batch: &[Ciphertext], input: &ValueType) -> Result<(), ExecuteError> {
        if batch.len() != input.features {
            return Err(ExecuteError::Inputs { found: batch.len(), wanted: input.features });
        }
        for (index, ciphertext) in batch.iter().enumerate() {
            if ciphertext.params() != self.program.params() {
                let (found, wanted) = (ciphertext.params().id(), self.program.params().id());
                return Err(ExecuteError::ParamsMismatch { what: "ciphertext", found, wanted });
            }
            let found_components = ciphertext.components().len();
            if found_components != 2 || ciphertext.level() != input.level || *ciphertext.scale() != input.scale {
                return Err(ExecuteError::Input {
                    index,
                    found_components,
                    found_level: ciphertext.level(),
                    found_scale: ciphertext.scale().clone(),
                    level: input.level,
                    scale: input.scale.clone(),
                });
            }
        }
        Ok(())
    }

    /// Gives back the values that nothing reads any more once the tiles of stage `index` have run, and also its
    /// operations on whole polynomials if `whole`.
    fn release(&self, index: usize, whole: bool, values: &mut [Option<Array<'_>>]) {
        let current = if whole { &[] } else { &self.stages[index].whole[..] };
        let later = self.stages[index + 1..].iter().flat_map(|stage| stage.pointwise.iter().chain(&stage.whole));
        let unfinished = self.stages[index].whole.iter().filter(|value| values[value.0].is_none());
        let readers: Vec<ValueId> = current.iter().chain(later).chain(unfinished).copied().collect();
        let read = |value: usize| {
            value == self.program.output().0
                || readers.iter().any(|reader| self.program.ops()[reader.0].sources().contains(&ValueId(value)))
        };
        let dead: Vec<usize> = (0..values.len()).filter(|value| values[*value].is_some() && !read(*value)).collect();
        dead.into_iter().for_each(|value| values[value] = None);
    }

    fn run_whole(
        &self,
        value: ValueId,
        values: &[Option<Array<'_>>],
        keys: &EvaluationKeys,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<Ciphertext>, ExecuteError> {
        let op = &self.program.ops()[value.0];
        let array = values[op.sources()[0].0].as_deref().unwrap_or(&[]);
        let evaluator = Evaluator::new(self.program.params());
        let (finished, total) = (AtomicUsize::new(0), self.program.types()[value.0].features);
        let done = || progress((finished.fetch_add(1, Ordering::Relaxed) + 1) as f64 / total as f64);
        // Checked before the run.
        let relinearization = |apply: &dyn Fn(&RelinearizationKey) -> Result<Ciphertext, EvalError>| {
            let purpose = KeyPurpose::Relinearization;
            apply(keys.relinearization().ok_or(EvalError::MissingKey { op: "relinearise", purpose })?)
        };
        let one = |ciphertext: &Ciphertext| {
            let result = match op {
                Op::Relinearize { .. } => relinearization(&|key| evaluator.relinearize(ciphertext, key))?,
                Op::RelinearizeRescale { .. } => {
                    relinearization(&|key| evaluator.relinearize_rescale(ciphertext, key))?
                }
                _ => evaluator.rescale(ciphertext)?,
            };
            done();
            Ok(result)
        };
        match op {
            Op::Relinearize { .. } | Op::RelinearizeRescale { .. } | Op::Rescale { .. } => {
                parallel::try_map(array, one)
            }
            _ => Ok(self.prepared.run(&evaluator, value, op, array, keys.rotations(), &done)?),
        }
    }
}

struct Progress<'a> {
    total: f64,
    report: &'a (dyn Fn(f64) + Sync),
}

impl Progress<'_> {
    fn at(&self, done: f64) {
        (self.report)(if self.total > 0.0 { (done / self.total).min(1.0) } else { 1.0 });
    }
}

/// Assigns every operation to a stage: a pointwise one to the stage of its latest operand, or the one after it if that
/// operand is computed on whole polynomials there.
fn stages(program: &Program) -> Vec<Stage> {
    let mut stage_of: Vec<usize> = Vec::with_capacity(program.ops().len());
    let mut stages: Vec<Stage> = Vec::new();
    for (index, op) in program.ops().iter().enumerate() {
        let after = |source: &ValueId| {
            let source_op = &program.ops()[source.0];
            let whole = !source_op.is_pointwise() && !source_op.sources().is_empty();
            stage_of[source.0] + usize::from(op.is_pointwise() && whole)
        };
        let stage = op.sources().iter().map(after).max().unwrap_or(0);
        stage_of.push(stage);
        stages.resize_with(stages.len().max(stage + 1), Stage::default);
        match op {
            Op::Input { .. } | Op::Model { .. } => {}
            op if op.is_pointwise() => stages[stage].pointwise.push(ValueId(index)),
            _ => stages[stage].whole.push(ValueId(index)),
        }
    }
    for (stage, contents) in stages.iter_mut().enumerate() {
        let outside = |value: &ValueId| {
            *value == program.output()
                || program.ops().iter().enumerate().any(|(reader, op)| {
                    op.sources().contains(value) && !(op.is_pointwise() && stage_of[reader] == stage)
                })
        };
        contents.stored = contents.pointwise.iter().copied().filter(outside).collect();
    }
    stages
}

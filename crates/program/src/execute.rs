//! Runs a program on ciphertexts.
//!
//! Linear operations and products act on each residue by itself, so a run of them (a *stage*) is computed tile by tile:
//! a few columns of one limb of every ciphertext, through all operations of the stage, in a cache-sized working set.
//! Only what leaves a stage is ever stored, so a wide layer inside one costs no memory. Relinearisation and rescaling
//! need whole polynomials and run between stages, one ciphertext a task.

use std::sync::atomic::{AtomicUsize, Ordering};

use nightloom_he::{Ciphertext, Evaluator, Level, RelinearizationKey};
use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::{Buffer, Eval, Kernel, Modulus, Pool, RnsPoly};
use rayon::prelude::*;

use crate::program::scaled_bias;
use crate::{ExecuteError, Op, Program, ValueId};

/// Columns of a tile. Two or three components of a thousand features then take half a megabyte.
const TILE_COLUMNS: usize = 32;

/// A program ready to run, with its threads and the client's keys.
#[derive(Debug)]
pub struct Executor<'a> {
    program: &'a Program,
    key: Option<&'a RelinearizationKey>,
    stages: Vec<Stage>,
    threads: rayon::ThreadPool,
}

/// Pointwise operations that run tile by tile, then the operations on whole polynomials that follow them.
#[derive(Debug, Default)]
struct Stage {
    pointwise: Vec<ValueId>,
    /// Values computed by `pointwise` that are read outside the stage.
    stored: Vec<ValueId>,
    whole: Vec<ValueId>,
}

/// The components of every feature of a value.
type Array = Vec<Vec<RnsPoly<Eval>>>;

impl<'a> Executor<'a> {
    /// Prepares a program for a client's key and a number of threads.
    ///
    /// # Errors
    /// [`ExecuteError::MissingKey`] if the program relinearises and there is no key, [`ExecuteError::ParamsMismatch`] if the
    /// key is for other parameters, [`ExecuteError::Threads`] if threads cannot be started.
    pub fn new(
        program: &'a Program,
        key: Option<&'a RelinearizationKey>,
        threads: usize,
    ) -> Result<Self, ExecuteError> {
        match key {
            None if program.relinearizes() => return Err(ExecuteError::MissingKey),
            Some(key) if key.params() != program.params() => {
                let (found, wanted) = (key.params().id(), program.params().id());
                return Err(ExecuteError::ParamsMismatch { what: "relinearisation key", found, wanted });
            }
            _ => {}
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let threads = pool.build().map_err(|_| ExecuteError::Threads { threads })?;
        Ok(Self { program, key, stages: stages(program), threads })
    }

    /// The threads that it runs on.
    pub fn threads(&self) -> &rayon::ThreadPool {
        &self.threads
    }

    /// Runs the program on one batch: one ciphertext an input feature, one sample a slot. `progress` is called from any
    /// thread with the part of the work that is done, from 0 to 1.
    ///
    /// # Errors
    /// [`ExecuteError`] if the ciphertexts are not what the program takes.
    pub fn run(
        &self,
        batch: Vec<Ciphertext>,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<Ciphertext>, ExecuteError> {
        self.check(&batch)?;
        let mut values: Vec<Option<Array>> = vec![None; self.program.ops().len()];
        values[0] = Some(batch.into_iter().map(|ciphertext| ciphertext.components().to_vec()).collect());
        let weights: Vec<f64> = (0..values.len()).map(|op| self.weight(op)).collect();
        let progress = Progress { total: weights.iter().sum(), report: progress };
        let mut done = 0.0;
        self.threads.install(|| {
            for (index, stage) in self.stages.iter().enumerate() {
                if !stage.pointwise.is_empty() {
                    let weight: f64 = stage.pointwise.iter().map(|value| weights[value.0]).sum();
                    self.run_tiles(stage, &mut values, &|part| progress.at(done + part * weight));
                    done += weight;
                }
                self.release(index, false, &mut values);
                for value in &stage.whole {
                    let weight = weights[value.0];
                    let array = self.run_whole(*value, &mut values, &|part| progress.at(done + part * weight))?;
                    values[value.0] = Some(array);
                    done += weight;
                    self.release(index, true, &mut values);
                }
            }
            let output = self.program.output_type();
            let array = values[self.program.output().0].take().unwrap_or_default();
            let assemble = |components| {
                Ciphertext::from_components(self.program.params(), output.level, output.scale.clone(), components)
            };
            Ok(array.into_iter().map(assemble).collect::<Result<Vec<_>, _>>()?)
        })
    }

    fn check(&self, batch: &[Ciphertext]) -> Result<(), ExecuteError> {
        let input = self.program.input_type();
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

    /// Relative cost of an operation, for the progress.
    fn weight(&self, op: usize) -> f64 {
        self.program.work(op).seconds(&crate::cost::REFERENCE, self.program.params().degree())
    }

    /// Gives back the values that nothing reads any more once the tiles of stage `index` have run, and also its
    /// operations on whole polynomials if `whole`.
    fn release(&self, index: usize, whole: bool, values: &mut [Option<Array>]) {
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
        values: &mut [Option<Array>],
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Array, ExecuteError> {
        let op = &self.program.ops()[value.0];
        let source = op.sources()[0];
        let source_type = &self.program.types()[source.0];
        let params = self.program.params();
        let evaluator = Evaluator::new(params);
        let array = values[source.0].as_deref().unwrap_or(&[]);
        let finished = AtomicUsize::new(0);
        let one = |components: &Vec<RnsPoly<Eval>>| {
            let (level, scale) = (source_type.level, source_type.scale.clone());
            let ciphertext = Ciphertext::from_components(params, level, scale, components.clone())?;
            let result = match (op, self.key) {
                (Op::Relinearize { .. }, Some(key)) => evaluator.relinearize(&ciphertext, key)?,
                (Op::RelinearizeRescale { .. }, Some(key)) => evaluator.relinearize_rescale(&ciphertext, key)?,
                (Op::Rescale { .. }, _) => evaluator.rescale(&ciphertext)?,
                _ => return Err(ExecuteError::MissingKey),
            };
            progress((finished.fetch_add(1, Ordering::Relaxed) + 1) as f64 / source_type.features as f64);
            Ok(result.components().to_vec())
        };
        array.par_iter().map(one).collect()
    }

    fn run_tiles(&self, stage: &Stage, values: &mut [Option<Array>], progress: &(dyn Fn(f64) + Sync)) {
        let params = self.program.params();
        let mut outputs: Vec<Array> = stage
            .stored
            .iter()
            .map(|value| {
                let result = &self.program.types()[value.0];
                let basis = params.basis(result.level);
                // Every residue is overwritten by exactly one tile.
                let component = |_| RnsPoly::from_limbs(basis, |_, _| {});
                (0..result.features).map(|_| (0..result.components).map(component).collect()).collect()
            })
            .collect();
        let limbs = stage.pointwise.iter().map(|value| self.program.types()[value.0].level.limbs()).max().unwrap_or(0);
        let mut tiles = tiles(limbs, params.degree(), &mut outputs);
        let (total, finished) = (tiles.len(), AtomicUsize::new(0));
        let biases = self.biases(stage, limbs);
        tiles.par_iter_mut().for_each_init(
            || MatrixScratch::new(params.pool()),
            |scratch, tile| {
                let run = TileRun { program: self.program, stage, values, biases: &biases[tile.limb], scratch };
                run.run(tile);
                progress((finished.fetch_add(1, Ordering::Relaxed) + 1) as f64 / total as f64);
            },
        );
        drop(tiles);
        for (value, array) in stage.stored.iter().zip(outputs) {
            values[value.0] = Some(array);
        }
    }

    /// By limb, then by operation of the stage: the residues of the scaled bias.
    fn biases(&self, stage: &Stage, limbs: usize) -> Vec<Vec<Vec<f64>>> {
        let params = self.program.params();
        let top = params.basis(Level((limbs - 1) as u8));
        top.moduli()
            .map(|q| {
                let of = |value: &ValueId| match &self.program.ops()[value.0] {
                    Op::Linear { bias, .. } => {
                        let scale = &self.program.types()[value.0].scale;
                        bias.iter().map(|bias| q.center(q.reduce_i128(scaled_bias(*bias, scale)))).collect()
                    }
                    _ => Vec::new(),
                };
                stage.pointwise.iter().map(of).collect()
            })
            .collect()
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
            let whole = !program.ops()[source.0].is_pointwise() && source.0 != 0;
            stage_of[source.0] + usize::from(op.is_pointwise() && whole)
        };
        let stage = op.sources().iter().map(after).max().unwrap_or(0);
        stage_of.push(stage);
        stages.resize_with(stages.len().max(stage + 1), Stage::default);
        match op {
            Op::Input { .. } => {}
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

/// Some columns of one limb, with the places where the stage's stored values go.
struct Tile<'a> {
    limb: usize,
    columns: std::ops::Range<usize>,
    /// By stored value, feature and component; empty for values that do not have this limb.
    outputs: Vec<Vec<&'a mut [f64]>>,
}

fn tiles(limbs: usize, degree: usize, outputs: &mut [Array]) -> Vec<Tile<'_>> {
    let starts = (0..degree).step_by(TILE_COLUMNS);
    let mut tiles: Vec<Tile<'_>> = (0..limbs)
        .flat_map(|limb| starts.clone().map(move |start| (limb, start)))
        .map(|(limb, start)| Tile {
            limb,
            columns: start..(start + TILE_COLUMNS).min(degree),
            outputs: outputs.iter().map(|_| Vec::new()).collect(),
        })
        .collect();
    let per_limb = degree.div_ceil(TILE_COLUMNS);
    for (output, array) in outputs.iter_mut().enumerate() {
        for poly in array.iter_mut().flatten() {
            for (limb, residues) in poly.limbs_mut().enumerate() {
                for (tile, columns) in tiles[limb * per_limb..].iter_mut().zip(residues.chunks_mut(TILE_COLUMNS)) {
                    tile.outputs[output].push(columns);
                }
            }
        }
    }
    tiles
}

/// One tile's way through a stage. Arrays are component by component, feature by feature, `width` residues each.
struct TileRun<'a> {
    program: &'a Program,
    stage: &'a Stage,
    values: &'a [Option<Array>],
    biases: &'a [Vec<f64>],
    scratch: &'a mut MatrixScratch,
}

impl TileRun<'_> {
    fn run(self, tile: &mut Tile<'_>) {
        let params = self.program.params();
        let (kernel, pool) = (params.kernel(), params.pool());
        let q = params.basis(params.top()).modulus(tile.limb);
        let width = tile.columns.len();
        let mut arrays: Vec<Option<Vec<Buffer>>> = vec![None; self.program.ops().len()];
        for (position, value) in self.stage.pointwise.iter().enumerate() {
            let result = &self.program.types()[value.0];
            if tile.limb >= result.level.limbs() {
                continue;
            }
            let op = &self.program.ops()[value.0];
            for source in op.sources() {
                if arrays[source.0].is_none() {
                    arrays[source.0] = Some(self.load(source, tile, pool));
                }
            }
            let operand = |value: &ValueId| arrays[value.0].as_deref().unwrap_or(&[]);
            let computed = match op {
                Op::Linear { sources, matrix, .. } => (0..result.components)
                    .map(|component| {
                        let mut out = pool.take(result.features * width);
                        if let [only] = &sources[..] {
                            kernel.matrix(q, matrix, &operand(&only.value)[component], &mut out, width, self.scratch);
                        } else {
                            let mut joined = pool.take(matrix.columns() * width);
                            let parts = sources.iter().flat_map(|source| operand(&source.value)[component].iter());
                            joined.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
                            kernel.matrix(q, matrix, &joined, &mut out, width, self.scratch);
                        }
                        if component == 0 {
                            add_bias(kernel, q, &mut out, &self.biases[position], width);
                        }
                        out
                    })
                    .collect(),
                Op::Square { source } => {
                    let last = self.is_last_reader(position, *source);
                    let mut components =
                        if last { arrays[source.0].take() } else { arrays[source.0].clone() }.unwrap_or_default();
                    components.push(pool.take(result.features * width));
                    if let [c0, c1, c2] = &mut components[..] {
                        kernel.square(q, c0, c1, c2);
                    }
                    components
                }
                Op::Multiply { left, right } => {
                    let (a, b) = (operand(left), operand(right));
                    let mut out: [Buffer; 3] = std::array::from_fn(|_| pool.take(result.features * width));
                    kernel.mul(q, &mut out[0], &a[0], &b[0]);
                    kernel.mul(q, &mut out[1], &a[0], &b[1]);
                    kernel.mul_add(q, &mut out[1], &a[1], &b[0]);
                    kernel.mul(q, &mut out[2], &a[1], &b[1]);
                    out.into()
                }
                // The limb exists below, so its residues are the same; other operations are not pointwise.
                _ => op.sources().first().map(|source| operand(source).to_vec()).unwrap_or_default(),
            };
            arrays[value.0] = Some(computed);
            for source in op.sources() {
                if self.is_last_reader(position, source) && !self.stage.stored.contains(&source) {
                    arrays[source.0] = None;
                }
            }
        }
        for (value, outputs) in self.stage.stored.iter().zip(&mut tile.outputs) {
            let components = arrays[value.0].as_deref().unwrap_or(&[]);
            let count = components.len().max(1);
            for (index, out) in outputs.iter_mut().enumerate() {
                out.copy_from_slice(&components[index % count][index / count * width..][..width]);
            }
        }
    }

    /// Whether no later operation of the stage reads the value, and it is not stored.
    fn is_last_reader(&self, position: usize, source: ValueId) -> bool {
        let later = &self.stage.pointwise[position + 1..];
        !self.stage.stored.contains(&source)
            && !later.iter().any(|value| self.program.ops()[value.0].sources().contains(&source))
    }

    /// The tile's columns of a value that was computed before the stage.
    fn load(&self, value: ValueId, tile: &Tile<'_>, pool: &Pool) -> Vec<Buffer> {
        let array = self.values[value.0].as_deref().unwrap_or(&[]);
        let width = tile.columns.len();
        (0..self.program.types()[value.0].components)
            .map(|component| {
                let mut out = pool.take(array.len() * width);
                for (row, feature) in out.chunks_exact_mut(width).zip(array) {
                    row.copy_from_slice(&feature[component].limb(tile.limb)[tile.columns.clone()]);
                }
                out
            })
            .collect()
    }
}

fn add_bias(kernel: &dyn Kernel, q: Modulus, out: &mut [f64], biases: &[f64], width: usize) {
    for (row, bias) in out.chunks_exact_mut(width).zip(biases) {
        if *bias != 0.0 {
            kernel.add_scalar(q, row, *bias);
        }
    }
}

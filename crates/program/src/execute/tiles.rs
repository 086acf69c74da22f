//! Runs of pointwise operations, tile by tile.

use std::sync::atomic::{AtomicUsize, Ordering};

use nightloom_he::{Ciphertext, EvalError, Level};
use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::{Buffer, Eval, Kernel, Modulus, Pool, RnsPoly, parallel};

use super::{Array, Stage};
use crate::program::scaled_bias;
use crate::{Op, Program, ValueId};

/// Columns of a tile of wide arrays. Two or three components of a thousand features then take half a megabyte.
const TILE_COLUMNS: usize = 32;
/// Residues of one component of a tile's widest array: narrower arrays have more columns.
const TILE_RESIDUES: usize = 1024 * TILE_COLUMNS;

/// The results of a stage while tiles fill them: by feature and component.
type Output = Vec<Vec<RnsPoly<Eval>>>;

/// Runs the pointwise operations of a stage.
pub(super) fn run(
    program: &Program,
    stage: &Stage,
    values: &mut [Option<Array<'_>>],
    progress: &(dyn Fn(f64) + Sync),
) -> Result<(), EvalError> {
    let params = program.params();
    let mut outputs: Vec<Output> = stage
        .stored
        .iter()
        .map(|value| {
            let result = &program.types()[value.0];
            let basis = params.basis(result.level);
            // Every residue is overwritten by exactly one tile.
            let component = |_| RnsPoly::unspecified(basis);
            (0..result.features).map(|_| (0..result.components).map(component).collect()).collect()
        })
        .collect();
    let limbs = stage.pointwise.iter().map(|value| program.types()[value.0].level.limbs()).max().unwrap_or(0);
    let mut tiles = tiles(limbs, params.degree(), tile_columns(program, stage), &mut outputs);
    let (total, finished) = (tiles.len(), AtomicUsize::new(0));
    let biases = biases(program, stage, limbs);
    parallel::for_each_with(
        &mut tiles,
        || MatrixScratch::new(params.pool()),
        |scratch, _, tile| {
            let run = TileRun { program, stage, values, biases: &biases[tile.limb], scratch };
            run.run(tile);
            progress((finished.fetch_add(1, Ordering::Relaxed) + 1) as f64 / total as f64);
        },
    );
    drop(tiles);
    for (value, output) in stage.stored.iter().zip(outputs) {
        let result = &program.types()[value.0];
        let assemble =
            |components| Ciphertext::from_components(program.params(), result.level, result.scale.clone(), components);
        let array = output.into_iter().map(assemble).collect::<Result<Vec<_>, _>>()?;
        values[value.0] = Some(array.into());
    }
    Ok(())
}

/// By limb, then by operation of the stage: the residues of the scaled bias.
fn biases(program: &Program, stage: &Stage, limbs: usize) -> Vec<Vec<Vec<f64>>> {
    let params = program.params();
    let top = params.basis(Level((limbs - 1) as u8));
    top.moduli()
        .map(|q| {
            let of = |value: &ValueId| match &program.ops()[value.0] {
                Op::Linear { bias, .. } => {
                    let scale = &program.types()[value.0].scale;
                    bias.iter().map(|bias| q.center(q.reduce_i128(scaled_bias(*bias, scale)))).collect()
                }
                _ => Vec::new(),
            };
            stage.pointwise.iter().map(of).collect()
        })
        .collect()
}

/// Some columns of one limb, with the places where the stage's stored values go.
struct Tile<'a> {
    limb: usize,
    columns: std::ops::Range<usize>,
    /// By stored value, feature and component; empty for values that do not have this limb.
    outputs: Vec<Vec<&'a mut [f64]>>,
}

/// More columns the fewer features there are, so that narrow arrays are not cut into crumbs.
fn tile_columns(program: &Program, stage: &Stage) -> usize {
    let features = |value: &ValueId| program.types()[value.0].features;
    let sources = stage.pointwise.iter().flat_map(|value| program.ops()[value.0].sources());
    let widest = sources.chain(stage.pointwise.iter().copied()).map(|value| features(&value)).max().unwrap_or(1);
    let columns = (TILE_RESIDUES / widest.max(1)).max(1).next_power_of_two();
    columns.max(TILE_COLUMNS).min(program.params().degree())
}

fn tiles(limbs: usize, degree: usize, width: usize, outputs: &mut [Output]) -> Vec<Tile<'_>> {
    let starts = (0..degree).step_by(width);
    let mut tiles: Vec<Tile<'_>> = (0..limbs)
        .flat_map(|limb| starts.clone().map(move |start| (limb, start)))
        .map(|(limb, start)| Tile {
            limb,
            columns: start..(start + width).min(degree),
            outputs: outputs.iter().map(|_| Vec::new()).collect(),
        })
        .collect();
    let per_limb = degree.div_ceil(width);
    for (output, array) in outputs.iter_mut().enumerate() {
        for poly in array.iter_mut().flatten() {
            for (limb, residues) in poly.limbs_mut().enumerate() {
                for (tile, columns) in tiles[limb * per_limb..].iter_mut().zip(residues.chunks_mut(width)) {
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
    values: &'a [Option<Array<'a>>],
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
                    row.copy_from_slice(&feature.components()[component].limb(tile.limb)[tile.columns.clone()]);
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

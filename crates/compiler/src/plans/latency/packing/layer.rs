use std::collections::BTreeMap;

use super::{Grid, Layout};
use crate::matrix::SparseMatrix;

/// Where a diagonal is: the ciphertext of the result, that of the operand, and the rotation of the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The ciphertext of the result.
    pub row: usize,
    /// The ciphertext of the operand.
    pub column: usize,
    /// Slots by which the operand is rotated.
    pub rotation: usize,
}

/// One layer on slots of a period: ciphertext `r` of the result is
/// `fold(sum over the diagonals (r, c, d) of weights * rotate(x_c, d)) + bias_r`.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotLayer {
    /// One weight a slot of the period.
    pub diagonals: BTreeMap<Place, Vec<f64>>,
    /// Rotations that are folded in, in order, each twice the one before.
    pub folds: Vec<usize>,
    /// Added at the end, by position in the result.
    pub bias: Vec<f64>,
    /// Where the rows are.
    pub output: Layout,
    /// Ciphertexts of the operand.
    pub inputs: usize,
}

impl SlotLayer {
    /// A layer on `input` whose slots collect the rows that `rows` says before folds by `step`, `2 step`, .. up to
    /// `span / 2`. Each product of a row and a column goes to the smallest rotation that brings the column to a slot of the
    /// row.
    ///
    /// `None` if a row's slots are not the whole window of one slot under the folds, or a column is in no slot.
    ///
    /// # Panics
    /// If the period of `rows` is not a multiple of the input's, or step and span are not powers of two with
    /// `step <= span <= rows.width()`.
    pub fn place(
        matrix: &SparseMatrix,
        bias: &[f64],
        input: &Layout,
        rows: &Layout,
        step: usize,
        span: usize,
    ) -> Option<Self> {
        let width = rows.width();
        assert!(step.is_power_of_two() && span.is_power_of_two() && step <= span && span <= width);
        let inputs = input.ciphertexts();
        let (collecting, holding) = (places(rows, matrix.rows()), places(&input.tiled(width), matrix.columns()));
        let mut diagonals: Vec<(Place, Vec<f64>)> = Vec::new();
        // By ciphertexts and rotation: where its diagonal is, plus 1.
        let mut known = vec![0u32; rows.ciphertexts() * inputs * width];
        for (row, slots) in collecting.iter().enumerate() {
            for (column, weight) in matrix.entries(row) {
                // For each slot of the row the next one in each ciphertext that holds the column.
                let options = slots.iter().flat_map(|(row, slot)| {
                    holding[column].chunk_by(|a, b| a.0 == b.0).map(move |holders| {
                        let next = holders.partition_point(|(_, holder)| holder < slot) % holders.len();
                        let (column, holder) = holders[next];
                        ((holder + width - slot) % width, *row, column, *slot)
                    })
                });
                let (rotation, row, column, slot) = options.min()?;
                let known = &mut known[(row * inputs + column) * width + rotation];
                if *known == 0 {
                    diagonals.push((Place { row, column, rotation }, vec![0.0; width]));
                    *known = diagonals.len() as u32;
                }
                diagonals[*known as usize - 1].1[slot] += weight;
            }
        }
        let mut diagonals: BTreeMap<Place, Vec<f64>> = diagonals.into_iter().collect();
        // Every ciphertext of the result has a diagonal, if only of zeros.
        for row in 0..rows.ciphertexts() {
            if !diagonals.keys().any(|place| place.row == row) {
                diagonals.insert(Place { row, column: 0, rotation: 0 }, vec![0.0; width]);
            }
        }

        // A slot of the result holds a row if its window is exactly the slots that collect the row.
        let window: Vec<usize> = (0..span).step_by(step).collect();
        // After folds over the whole period every slot of a residue class holds the same.
        let period = if span == width { step } else { width };
        let held = rows.periods().flat_map(|rows| {
            let row_of = |slot: usize| {
                let row = rows[slot]?;
                let whole = window.iter().all(|offset| rows[(slot + offset) % width] == Some(row));
                (whole && collecting[row as usize].len() == window.len()).then_some(row)
            };
            (0..period).map(row_of).collect::<Vec<_>>()
        });
        let output = Layout::new(rows.ciphertexts(), held.collect());
        output.first_positions(matrix.rows())?;
        let bias = output.pack(bias);
        let folds = std::iter::successors(Some(step), |fold| Some(2 * fold)).take_while(|fold| *fold < span).collect();
        Some(Self { diagonals, folds, bias, output, inputs })
    }

    /// The layer with its rows in these places: every slot of a residue class modulo their period collects the same row, and
    /// ends with it.
    ///
    /// `None` as [`place`](Self::place).
    pub fn onto(matrix: &SparseMatrix, bias: &[f64], input: &Layout, rows: &Layout) -> Option<Self> {
        let width = input.width().max(rows.width());
        Self::place(matrix, bias, input, &rows.tiled(width), rows.width(), width)
    }

    /// The dense layout of the hybrid method: row `r` is collected by the slots `r` modulo the next power of two of
    /// `period`, at least the number of rows, and ends in slot `r`; in several ciphertexts of `slots` slots if there are
    /// more rows.
    ///
    /// `None` as [`place`](Self::place).
    pub fn dense(matrix: &SparseMatrix, bias: &[f64], input: &Layout, period: usize, slots: usize) -> Option<Self> {
        Self::onto(matrix, bias, input, &Layout::natural(matrix.rows(), period, slots))
    }

    /// A layer from a tensor of one shape to one of another, both `[channels, height, width]`, with the rows on the grid of
    /// the input: see [`Grid::strided`].
    ///
    /// `None` as [`place`](Self::place), or if the input is on no grid or the result has no room on one.
    pub fn on_grid(
        matrix: &SparseMatrix,
        bias: &[f64],
        input: &Layout,
        [from, to]: [&[usize]; 2],
        slots: usize,
    ) -> Option<Self> {
        let rows = Grid::find(input, from)?.strided(to)?.layout(slots)?;
        Self::onto(matrix, bias, input, &rows)
    }

    /// The layer on a batch, every sample by itself: see [`Layout::interleaved`].
    pub fn interleaved(&self, batch: usize) -> Self {
        let repeat = |period: &[f64]| period.iter().flat_map(|value| std::iter::repeat_n(*value, batch)).collect();
        let rows = self.output.slots().iter().flatten().max().map_or(0, |row| *row as usize + 1);
        let moved = |(place, weights): (&Place, &Vec<f64>)| {
            (Place { rotation: place.rotation * batch, ..*place }, repeat(weights))
        };
        Self {
            diagonals: self.diagonals.iter().map(moved).collect(),
            folds: self.folds.iter().map(|fold| fold * batch).collect(),
            bias: repeat(&self.bias),
            output: self.output.interleaved(batch, rows),
            inputs: self.inputs,
        }
    }

    /// The rotations of each step if the folds are done in this many: a step for `r`, `2 r`, .., `2^(k-1) r` adds the
    /// rotations by `r`, `2 r`, .., `(2^k - 1) r`. The first steps are the ones that combine most.
    ///
    /// # Panics
    /// For no steps.
    pub fn fold_steps(&self, steps: usize) -> Vec<Vec<usize>> {
        let (least, larger) = (self.folds.len() / steps, self.folds.len() % steps);
        let multiples = |folds: &[usize]| (1..1 << folds.len()).map(|times| times * folds[0]).collect();
        let (first, rest) = self.folds.split_at(larger * (least + 1));
        first.chunks(least + 1).chain(rest.chunks(least.max(1))).map(multiples).collect()
    }

    /// The period before the folds.
    pub fn width(&self) -> usize {
        self.diagonals.values().next().map_or(1, Vec::len)
    }

    /// What the layer does to one period of slots of each ciphertext; the result has the period of
    /// [`output`](Self::output).
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let (width, period) = (self.width(), x.len() / self.inputs);
        let mut sums = vec![vec![0.0; width]; self.output.ciphertexts()];
        for (Place { row, column, rotation }, weights) in &self.diagonals {
            let operand = &x[column * period..][..period];
            for (slot, (sum, weight)) in sums[*row].iter_mut().zip(weights).enumerate() {
                *sum += weight * operand[(slot + rotation) % period];
            }
        }
        for sum in &mut sums {
            for fold in &self.folds {
                *sum = (0..width).map(|slot| sum[slot] + sum[(slot + fold) % width]).collect();
            }
            sum.truncate(self.output.width());
        }
        let mut result = sums.concat();
        result.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum += bias);
        result
    }
}

/// By feature: the ciphertexts and slots that hold it, rising.
fn places(layout: &Layout, features: usize) -> Vec<Vec<(usize, usize)>> {
    let mut places = vec![Vec::new(); features];
    for (ciphertext, period) in layout.periods().enumerate() {
        for (slot, feature) in period.iter().enumerate() {
            if let Some(feature) = feature {
                places[*feature as usize].push((ciphertext, slot));
            }
        }
    }
    places
}

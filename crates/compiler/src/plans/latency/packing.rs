//! Linear layers as matrices over slots.
//!
//! A vector of slots is periodic; a [`Layout`] says which feature every slot of a period holds. A layer becomes the
//! generalised diagonals of one matrix over slots (Halevi and Shoup, CRYPTO 2014) and then *folds*: a fold by `r` adds to
//! every slot the one `r` further on. A slot before the folds collects part of one row, so that a matrix with few rows
//! needs as many diagonals as rows and not as columns (the hybrid method of GAZELLE, Juvekar et al., 2018, section 4).
//!
//! Everything here is about positions: what a layer means is [`SlotLayer::apply`], in the clear.

use std::collections::BTreeMap;

use crate::matrix::SparseMatrix;

/// What each slot holds, by slot of one period; a power of two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Option<u32>>,
}

impl Layout {
    /// A layout with this content; a slot without a feature holds zero.
    ///
    /// # Panics
    /// If the number of slots is not a power of two.
    pub fn new(slots: Vec<Option<u32>>) -> Self {
        assert!(slots.len().is_power_of_two(), "a period of {} slots", slots.len());
        Self { slots }
    }

    /// Feature `i` in slot `i`, padded to the next power of two.
    pub fn natural(features: usize) -> Self {
        let slot = |slot: usize| (slot < features).then_some(slot as u32);
        Self::new((0..features.next_power_of_two()).map(slot).collect())
    }

    /// The period.
    pub fn width(&self) -> usize {
        self.slots.len()
    }

    /// The feature of each slot of one period.
    pub fn slots(&self) -> &[Option<u32>] {
        &self.slots
    }

    /// The same periodic vector with a longer period.
    ///
    /// # Panics
    /// If `width` is no multiple of the period.
    pub fn tiled(&self, width: usize) -> Self {
        assert!(width.is_multiple_of(self.width()), "{width} slots of period {}", self.width());
        Self { slots: self.slots.iter().copied().cycle().take(width).collect() }
    }

    /// The features in their slots.
    pub fn pack(&self, features: &[f64]) -> Vec<f64> {
        self.slots.iter().map(|slot| slot.map_or(0.0, |feature| features[feature as usize])).collect()
    }

    /// The first slot that holds each of `features` features; `None` if one is in no slot.
    pub fn first_slots(&self, features: usize) -> Option<Vec<usize>> {
        let mut first = vec![None; features];
        for (slot, feature) in self.slots.iter().enumerate().rev() {
            if let Some(feature) = feature {
                first[*feature as usize] = Some(slot);
            }
        }
        first.into_iter().collect()
    }

    /// The layout of a batch: slot `s` of sample `b` becomes slot `batch s + b`, and its features follow those of the
    /// samples before it.
    pub fn interleaved(&self, batch: usize, features: usize) -> Self {
        let slot = |at: usize| self.slots[at / batch].map(|feature| feature + (at % batch * features) as u32);
        Self { slots: (0..self.width() * batch).map(slot).collect() }
    }

    /// Another layout with the features renamed.
    pub fn renamed(&self, name: impl Fn(u32) -> Option<u32>) -> Self {
        Self { slots: self.slots.iter().map(|slot| slot.and_then(&name)).collect() }
    }
}

/// One layer on slots of a period: `fold(sum over d of diagonals[d] * rotate(x, d)) + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotLayer {
    /// By rotation: one weight a slot of the period.
    pub diagonals: BTreeMap<usize, Vec<f64>>,
    /// Rotations that are folded in, in order.
    pub folds: Vec<usize>,
    /// Added at the end, by slot of the result's period.
    pub bias: Vec<f64>,
    /// Where the rows are.
    pub output: Layout,
}

impl SlotLayer {
    /// A layer on `input` whose slots collect the rows `rows` says, one entry a slot of the period, before folds by
    /// `step`, `2 step`, .. up to `span / 2`. Each product of a row and a column goes to the smallest rotation that
    /// brings the column to a slot of the row.
    ///
    /// `None` if a row's slots are not the whole window of one slot under the folds, or a column is in no slot.
    ///
    /// # Panics
    /// If `rows` is not a multiple of the input's period, or step and span are not powers of two with
    /// `step <= span <= rows.len()`.
    pub fn place(
        matrix: &SparseMatrix,
        bias: &[f64],
        input: &Layout,
        rows: &[Option<u32>],
        step: usize,
        span: usize,
    ) -> Option<Self> {
        let width = rows.len();
        assert!(step.is_power_of_two() && span.is_power_of_two() && step <= span && span <= width);
        let input = input.tiled(width);
        let mut collecting: Vec<Vec<usize>> = vec![Vec::new(); matrix.rows()];
        for (slot, row) in rows.iter().enumerate() {
            if let Some(row) = row {
                collecting[*row as usize].push(slot);
            }
        }
        let mut holding: Vec<Vec<usize>> = vec![Vec::new(); matrix.columns()];
        for (slot, feature) in input.slots.iter().enumerate() {
            if let Some(feature) = feature {
                holding[*feature as usize].push(slot);
            }
        }

        let mut diagonals: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (row, slots) in collecting.iter().enumerate() {
            for (column, weight) in matrix.entries(row) {
                let options = slots.iter().flat_map(|slot| {
                    holding[column].iter().map(move |holder| ((holder + width - slot) % width, *slot))
                });
                let (rotation, slot) = options.min()?;
                diagonals.entry(rotation).or_insert_with(|| vec![0.0; width])[slot] += weight;
            }
        }

        // A slot of the result holds a row if its window is exactly the slots that collect the row.
        let window: Vec<usize> = (0..span).step_by(step).collect();
        let row_of = |slot: usize| {
            let row = rows[slot]?;
            let whole = window.iter().all(|offset| rows[(slot + offset) % width] == Some(row));
            (whole && collecting[row as usize].len() == window.len()).then_some(row)
        };
        let output: Vec<Option<u32>> = (0..width).map(row_of).collect();
        // After folds over the whole period every slot of a residue class holds the same.
        let period = if span == width { step } else { width };
        let output = Layout::new(output[..period].to_vec());
        output.first_slots(matrix.rows())?;
        let bias = output.pack(bias);
        let folds = std::iter::successors(Some(step), |fold| Some(2 * fold)).take_while(|fold| *fold < span).collect();
        Some(Self { diagonals, folds, bias, output })
    }

    /// The dense layout of the hybrid method: row `r` is collected by the slots `r` modulo the next power of two of
    /// `period`, at least the number of rows, and ends in slot `r`.
    ///
    /// `None` as [`place`](Self::place), or with more than `slots` rows.
    pub fn dense(matrix: &SparseMatrix, bias: &[f64], input: &Layout, period: usize, slots: usize) -> Option<Self> {
        let step = matrix.rows().max(period).next_power_of_two();
        let width = input.width().max(step);
        if width > slots {
            return None;
        }
        let rows = Layout::natural(matrix.rows()).tiled(width);
        Self::place(matrix, bias, input, rows.slots(), step, width)
    }

    /// The layer on a batch, every sample by itself: see [`Layout::interleaved`].
    pub fn interleaved(&self, batch: usize) -> Self {
        let repeat = |period: &[f64]| period.iter().flat_map(|value| std::iter::repeat_n(*value, batch)).collect();
        let rows = self.output.slots.iter().flatten().max().map_or(0, |row| *row as usize + 1);
        Self {
            diagonals: self.diagonals.iter().map(|(rotation, weights)| (rotation * batch, repeat(weights))).collect(),
            folds: self.folds.iter().map(|fold| fold * batch).collect(),
            bias: repeat(&self.bias),
            output: self.output.interleaved(batch, rows),
        }
    }

    /// What the layer does to one period of slots; the result has the period of [`output`](Self::output).
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let width = self.diagonals.values().next().map_or(self.output.width(), Vec::len);
        let mut sum = vec![0.0; width];
        for (rotation, weights) in &self.diagonals {
            for (slot, (sum, weight)) in sum.iter_mut().zip(weights).enumerate() {
                *sum += weight * x[(slot + rotation) % x.len()];
            }
        }
        for fold in &self.folds {
            sum = (0..width).map(|slot| sum[slot] + sum[(slot + fold) % width]).collect();
        }
        sum.truncate(self.output.width());
        sum.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum += bias);
        sum
    }
}

/// A first layer with the layout that the client gives its input.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstLayer {
    /// Where the client puts the features; one may be in many slots.
    pub input: Layout,
    /// The layer.
    pub layer: SlotLayer,
}

impl FirstLayer {
    /// Lays the input out for a first layer on at most `slots` slots.
    ///
    /// Rows that read the same features, such as the maps of a convolution at one position, form a class. The client
    /// copies for each class the features that it reads (`im2col`), one after another in *units* of one slot a class,
    /// so that rotations by whole units combine them. With `m` maps (rows of a class), `p` taps (features of a class)
    /// and `n` units, all powers of two, `m p / n` rotations are needed: unit `m j + v` holds tap
    /// `m floor(j / k) + (v + d (j mod k)) mod m` with `d = m p / n` and `k = m / d` (or `(v + d j) mod p` if `p < m`),
    /// so that the windows of `d` units from `v, v + m, ..` on hold every tap once, for each map `v`.
    ///
    /// `None` if the maps of all classes do not fit the slots.
    pub fn new(matrix: &SparseMatrix, bias: &[f64], slots: usize) -> Option<Self> {
        let classes = Classes::of(matrix);
        let unit = classes.members.len().next_power_of_two();
        let maps = classes.members.iter().map(Vec::len).max().unwrap_or(1).next_power_of_two();
        let taps = classes.columns.iter().map(Vec::len).max().unwrap_or(1).max(1).next_power_of_two();
        let units = (slots / unit).min(maps * taps);
        if units < maps || units * unit > slots {
            return None;
        }
        let rotations = maps * taps / units;
        let tap = |at: usize| {
            let (j, v) = (at / maps, at % maps);
            if taps < maps {
                (v + rotations * j) % taps
            } else {
                let copies = maps / rotations.min(maps);
                maps * (j / copies.max(1)) + (v + rotations * (j % copies.max(1))) % maps
            }
        };
        // Each use of a feature by a class is a column of its own.
        let mut first_of = vec![0u32];
        for columns in &classes.columns {
            first_of.push(first_of[first_of.len() - 1] + columns.len() as u32);
        }
        let names: Vec<u32> = classes.columns.iter().flatten().copied().collect();
        let width = units * unit;
        let held = |slot: usize| {
            let (class, tap) = (slot % unit, tap(slot / unit));
            let exists = classes.columns.get(class).is_some_and(|columns| tap < columns.len());
            exists.then(|| first_of[class] + tap as u32)
        };
        let virtual_input = Layout::new((0..width).map(held).collect());
        let mut rows = vec![None; maps * unit];
        let mut widened: Vec<(usize, u32)> = vec![(0, 0); matrix.rows()];
        for (class, members) in classes.members.iter().enumerate() {
            for (map, row) in members.iter().enumerate() {
                rows[map * unit + class] = Some(*row);
                widened[*row as usize] = (class, first_of[class]);
            }
        }
        let mut wide = SparseMatrix::new(names.len());
        for (row, (class, first)) in widened.iter().enumerate() {
            let columns = &classes.columns[*class];
            let entries = matrix.entries(row).filter_map(|(column, weight)| {
                let tap = columns.binary_search(&(column as u32)).ok()?;
                Some((*first as usize + tap, weight))
            });
            wide.push_row(entries).ok()?;
        }
        let rows = Layout::new(rows).tiled(width);
        let layer = SlotLayer::place(&wide, bias, &virtual_input, rows.slots(), maps * unit, width)?;
        Some(Self { input: virtual_input.renamed(|name| Some(names[name as usize])), layer })
    }
}

/// Rows of a matrix that read the same columns.
struct Classes {
    /// By class: the rows.
    members: Vec<Vec<u32>>,
    /// By class: the columns that its rows read, rising.
    columns: Vec<Vec<u32>>,
}

impl Classes {
    fn of(matrix: &SparseMatrix) -> Self {
        let mut classes = Self { members: Vec::new(), columns: Vec::new() };
        let mut by_columns: BTreeMap<&[u32], usize> = BTreeMap::new();
        for row in 0..matrix.rows() {
            let (columns, _) = matrix.row(row);
            let class = *by_columns.entry(columns).or_insert_with(|| {
                classes.members.push(Vec::new());
                classes.columns.push(columns.to_vec());
                classes.members.len() - 1
            });
            classes.members[class].push(row as u32);
        }
        classes
    }
}

/// How rotations are made from few keys: every one is a baby step, shared by all, then a giant step (baby-step giant-step).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Rotations are baby steps below this, and giant steps by multiples of it.
    pub base: usize,
    /// Distinct baby steps that are not zero.
    pub babies: usize,
    /// Distinct giant steps that are not zero.
    pub giants: usize,
}

impl Steps {
    /// The cheapest steps for these rotations of `width` slots, with the costs of one of each kind.
    pub fn cheapest(rotations: &[usize], width: usize, baby: f64, giant: f64) -> Self {
        let count = |parts: &mut Vec<usize>| {
            parts.sort_unstable();
            parts.dedup();
            parts.iter().filter(|part| **part != 0).count()
        };
        let with_base = |base: usize| {
            let mut babies: Vec<usize> = rotations.iter().map(|rotation| rotation % base).collect();
            let mut giants: Vec<usize> = rotations.iter().map(|rotation| rotation - rotation % base).collect();
            Self { base, babies: count(&mut babies), giants: count(&mut giants) }
        };
        let cost = |steps: &Self| steps.babies as f64 * baby + steps.giants as f64 * giant;
        let bases = std::iter::successors(Some(1), |base| Some(2 * base)).take_while(|base| *base <= width);
        let mut best = with_base(width);
        for candidate in bases.map(with_base) {
            if cost(&candidate) < cost(&best) {
                best = candidate;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        }
    }

    fn matrix(rows: usize, columns: usize, keep: impl Fn(usize, usize) -> bool, seed: u64) -> SparseMatrix {
        let mut random = random(seed);
        let mut matrix = SparseMatrix::new(columns);
        for row in 0..rows {
            let entries: Vec<_> = (0..columns).filter(|column| keep(row, *column)).map(|c| (c, random())).collect();
            matrix.push_row(entries).unwrap();
        }
        matrix
    }

    /// `maps` maps of `kernel x kernel` with a stride over an image of `side x side`, unpadded, maps outermost.
    fn convolution(side: usize, kernel: usize, stride: usize, maps: usize) -> SparseMatrix {
        let out = (side - kernel) / stride + 1;
        let inside = |row: usize, column: usize| {
            let (y, x) = (row / out % out * stride, row % out * stride);
            (y..y + kernel).contains(&(column / side)) && (x..x + kernel).contains(&(column % side))
        };
        matrix(maps * out * out, side * side, inside, 5)
    }

    fn product(matrix: &SparseMatrix, bias: &[f64], x: &[f64]) -> Vec<f64> {
        let row = |row| matrix.entries(row).map(|(column, weight)| weight * x[column]).sum::<f64>() + bias[row];
        (0..matrix.rows()).map(row).collect()
    }

    fn vector(length: usize, seed: u64) -> Vec<f64> {
        let mut random = random(seed);
        (0..length).map(|_| random()).collect()
    }

    /// Every slot of the output that claims a row holds it.
    fn check(layer: &SlotLayer, packed: &[f64], expected: &[f64]) {
        let found = layer.apply(packed);
        assert_eq!(found.len(), layer.output.width());
        for (slot, row) in layer.output.slots().iter().enumerate() {
            let wanted = row.map_or(found[slot], |row| expected[row as usize]);
            assert!((found[slot] - wanted).abs() < 1e-9, "slot {slot}, row {row:?}: {} for {wanted}", found[slot]);
        }
    }

    fn first(matrix: &SparseMatrix, slots: usize) -> FirstLayer {
        let bias = vector(matrix.rows(), 9);
        let first = FirstLayer::new(matrix, &bias, slots).unwrap();
        assert!(first.input.width() <= slots);
        let x = vector(matrix.columns(), 3);
        check(&first.layer, &first.input.pack(&x), &product(matrix, &bias, &x));
        first
    }

    #[test]
    fn the_first_layer_needs_the_rotations_of_the_formula() {
        // Maps, taps and units in powers of two: m p / n rotations, zero included, then folds over the rest.
        for (side, kernel, stride, maps, slots, rotations, folds) in [
            (28, 7, 3, 4, 8192, 2, 5),    // E2DM: 64 positions, 49 taps, 128 units
            (28, 2, 2, 5, 8192, 1, 2),    // LoLA: 196 positions, 4 taps, 32 units
            (29, 5, 2, 5, 8192, 8, 2),    // CryptoNets: 169 positions, 25 taps, 32 units
            (32, 5, 2, 32, 16384, 16, 1), // LeNet: 196 positions, 25 taps, 64 units
        ] {
            let first = first(&convolution(side, kernel, stride, maps), slots);
            assert_eq!((first.layer.diagonals.len(), first.layer.folds.len()), (rotations, folds), "{maps}@{kernel}");
        }
        let dense = first(&matrix(128, 784, |_, _| true, 1), 8192);
        assert_eq!((dense.layer.diagonals.len(), dense.layer.folds.len()), (16, 6));
        assert!(dense.layer.diagonals.keys().copied().eq(0..16));
    }

    #[test]
    fn a_layer_that_has_no_room_is_refused() {
        assert!(FirstLayer::new(&convolution(28, 5, 2, 64), &vec![0.0; 64 * 144], 8192).is_none());
        let wide = matrix(300, 8, |_, _| true, 1);
        assert!(SlotLayer::dense(&wide, &[0.0; 300], &Layout::natural(8), 300, 256).is_none());
        // A column that no slot holds.
        assert!(SlotLayer::dense(&wide, &[0.0; 300], &Layout::natural(7), 300, 512).is_none());
    }

    #[test]
    fn dense_layers_need_as_many_rotations_as_rows() {
        for (rows, columns) in [(100, 845), (10, 100), (1, 7), (16, 16), (100, 20)] {
            let (matrix, bias) = (matrix(rows, columns, |_, _| true, 2), vector(rows, 4));
            let input = Layout::natural(columns);
            let layer = SlotLayer::dense(&matrix, &bias, &input, rows, 8192).unwrap();
            let x = vector(columns, 6);
            check(&layer, &input.pack(&x), &product(&matrix, &bias, &x));
            assert!(layer.diagonals.len() <= rows.next_power_of_two());
            assert_eq!(layer.output.width(), rows.next_power_of_two());
        }
    }

    #[test]
    fn windows_that_do_not_cover_the_period_hold_where_they_are_whole() {
        // Two halves of eight slots, each collecting rows of its own: only the first two slots of a half are whole.
        let rows: Vec<Option<u32>> = (0..16).map(|slot| Some((slot / 8 * 2 + slot % 2) as u32)).collect();
        let (matrix, bias) = (matrix(4, 8, |_, _| true, 7), vector(4, 8));
        let input = Layout::natural(8);
        let layer = SlotLayer::place(&matrix, &bias, &input, &rows, 2, 8).unwrap();
        let held: Vec<usize> = (0..16).filter(|slot| layer.output.slots()[*slot].is_some()).collect();
        assert_eq!(held, [0, 1, 8, 9]);
        let x = vector(8, 1);
        check(&layer, &input.pack(&x), &product(&matrix, &bias, &x));
        assert_eq!(layer.output.first_slots(4), Some(vec![0, 1, 8, 9]));
    }

    #[test]
    fn steps_are_balanced_by_their_costs() {
        let rotations: Vec<usize> = (0..128).collect();
        let steps = |baby, giant| Steps::cheapest(&rotations, 1024, baby, giant);
        assert_eq!(steps(1.0, 1.0), Steps { base: 8, babies: 7, giants: 15 });
        assert_eq!(steps(1.0, 4.0), Steps { base: 16, babies: 15, giants: 7 });
        assert_eq!(steps(0.0, 1.0).giants, 0);
        assert_eq!(steps(1.0, 0.0).babies, 0);
        let units: Vec<usize> = (0..8).map(|unit| 256 * unit).collect();
        assert_eq!(Steps::cheapest(&units, 8192, 1.0, 1.5), Steps { base: 1024, babies: 3, giants: 1 });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn layers_in_a_row_compute_the_product(
            rows in prop::collection::vec(1usize..40, 1..4),
            columns in 1usize..60,
            density in 0.05..1.0f64,
            log_slots in 8u32..12,
        ) {
            let mut state = random(columns as u64 + 1000 * rows[0] as u64);
            let mut kept = |_: usize, _: usize| state().abs() < density;
            let mut x = vector(columns, 3);
            let mut layout = None;
            let mut packed = Vec::new();
            for rows in rows {
                let entries: Vec<Vec<bool>> = (0..rows).map(|r| (0..x.len()).map(|c| kept(r, c)).collect()).collect();
                let (weights, bias) = (matrix(rows, x.len(), |r, c| entries[r][c], 2), vector(rows, 4));
                let layer = match &layout {
                    None => {
                        let Some(first) = FirstLayer::new(&weights, &bias, 1 << log_slots) else { return Ok(()) };
                        packed = first.input.pack(&x);
                        first.layer
                    }
                    Some(layout) => SlotLayer::dense(&weights, &bias, layout, rows, 1 << log_slots).unwrap(),
                };
                x = product(&weights, &bias, &x);
                check(&layer, &packed, &x);
                packed = layer.apply(&packed);
                layout = Some(layer.output);
            }
        }
    }
}

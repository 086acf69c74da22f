//! Layers against the products that they stand for.

use nightloom_program::Giants;
use proptest::prelude::*;

use super::*;
use crate::matrix::SparseMatrix;

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
    assert_eq!(found.len(), layer.output.slots().len());
    for (slot, row) in layer.output.slots().iter().enumerate() {
        let wanted = row.map_or(found[slot], |row| expected[row as usize]);
        assert!((found[slot] - wanted).abs() < 1e-9, "slot {slot}, row {row:?}: {} for {wanted}", found[slot]);
    }
}

fn first(matrix: &SparseMatrix, slots: usize) -> FirstLayer {
    let bias = vector(matrix.rows(), 9);
    let first = FirstLayer::new(matrix, &bias, slots, Requests::Few).unwrap();
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
    assert!(dense.layer.diagonals.keys().map(|place| place.rotation).eq(0..16));
}

#[test]
fn first_layers_divide_maps_and_taps_among_ciphertexts() {
    let places = |first: &FirstLayer| {
        let keys = first.layer.diagonals.keys();
        let turned = keys.clone().filter(|place| place.rotation != 0).count();
        (first.input.ciphertexts(), first.layer.output.ciphertexts(), keys.len(), turned)
    };
    // E2DM with room for two units of 64 positions: 2 of 4 maps and, of 64 taps, as many as two units make with a rotation.
    let matrix = convolution(28, 7, 3, 4);
    assert_eq!(places(&first(&matrix, 128)), (25, 2, 100, 50));
    // 64 maps of 256 positions in ciphertexts of 32 maps, with 32 taps a unit.
    let first = first(&convolution(32, 5, 2, 64), 8192);
    assert_eq!(places(&first), (1, 2, 64, 62));
    // One ciphertext an offset: the Julia demonstration for 64 images.
    let (bias, x) = (vector(matrix.rows(), 9), vector(784, 3));
    let first = FirstLayer::new(&matrix, &bias, 256, Requests::ByOffset).unwrap();
    check(&first.layer, &first.input.pack(&x), &product(&matrix, &bias, &x));
    assert_eq!(places(&first), (49, 1, 49, 0));
    // Nothing is rotated as it is.
    let small = convolution(28, 2, 2, 5);
    assert!(FirstLayer::new(&small, &vec![0.0; small.rows()], 8192, Requests::ByOffset).is_none());
}

#[test]
fn a_layer_that_has_no_room_is_refused() {
    assert!(FirstLayer::new(&convolution(28, 5, 2, 4), &vec![0.0; 4 * 144], 128, Requests::Few).is_none());
    // A column that no slot holds.
    let wide = matrix(300, 8, |_, _| true, 1);
    assert!(SlotLayer::dense(&wide, &[0.0; 300], &Layout::natural(7, 1, 512), 300, 512).is_none());
}

#[test]
fn layers_with_more_rows_than_slots_take_several_ciphertexts() {
    let (rows, columns) = (300, 200);
    let (weights, bias) = (matrix(rows, columns, |_, _| true, 1), vector(rows, 2));
    for slots in [64, 128] {
        let input = Layout::natural(columns, 1, slots);
        let layer = SlotLayer::dense(&weights, &bias, &input, rows, slots).unwrap();
        assert_eq!((layer.inputs, layer.output.ciphertexts()), (columns.div_ceil(slots), rows.div_ceil(slots)));
        let x = vector(columns, 6);
        check(&layer, &input.pack(&x), &product(&weights, &bias, &x));
        let batch = layer.interleaved(2);
        let both: Vec<f64> = [x.clone(), vector(columns, 7)].concat();
        let expected: Vec<f64> = both.chunks(columns).flat_map(|x| product(&weights, &bias, x)).collect();
        check(&batch, &input.interleaved(2, columns).pack(&both), &expected);
    }
}

/// `[channels, side, side]` to `[maps, out, out]` with a square kernel, a stride and padding.
fn inner_convolution([channels, side]: [usize; 2], [kernel, stride, pad]: [usize; 3], maps: usize) -> SparseMatrix {
    let out = (side + 2 * pad - kernel) / stride + 1;
    let inside = |row: usize, column: usize| {
        let window = |at: usize, on: usize| (at * stride..at * stride + kernel).contains(&(on + pad));
        window(row / out % out, column / side % side) && window(row % out, column % side)
    };
    matrix(maps * out * out, channels * side * side, inside, 5)
}

#[test]
fn convolutions_on_a_grid_need_rotations_for_offsets_and_channels_alone() {
    // LeNet: 32 channels of 14 x 14 in blocks of 256 slots to 64 channels of 7 x 7, four of them a block.
    let first = first(&convolution(32, 5, 2, 32), 16384);
    let (bias, x) = (vector(3136, 1), vector(6272, 2));
    let second = inner_convolution([32, 14], [5, 2, 2], 64);
    let shapes: [&[usize]; 2] = [&[32, 14, 14], &[64, 7, 7]];
    let on_grid = |slots| SlotLayer::on_grid(&second, &bias, &first.layer.output, shapes, slots).unwrap();
    let layer = on_grid(16384);
    check(&layer, &first.layer.output.pack(&x), &product(&second, &bias, &x));
    // 36 differences of positions, 16 of channels; one fold.
    assert_eq!((layer.diagonals.len(), &layer.folds[..], layer.output.width()), (36 * 16, &[4096][..], 4096));
    assert_eq!(on_grid(2048).output.ciphertexts(), 2);
    // A third convolution continues on the grid of the second.
    let third = inner_convolution([64, 7], [3, 1, 1], 16);
    let (bias, x) = (vector(784, 3), vector(3136, 4));
    let next = SlotLayer::on_grid(&third, &bias, &layer.output, [&[64, 7, 7], &[16, 7, 7]], 16384).unwrap();
    check(&next, &layer.output.pack(&x), &product(&third, &bias, &x));
    assert!(next.diagonals.len() < 700, "{}", next.diagonals.len());
}

#[test]
fn grids_are_found_where_they_are() {
    let natural = Layout::natural(2 * 3 * 4, 1, 64);
    let grid = Grid::find(&natural, &[2, 3, 4]);
    // Channels of 12 elements are in one block of 32 slots.
    assert!(grid.is_some_and(|grid| grid.layout(64) == Some(natural.clone())));
    assert_eq!(Grid::find(&natural, &[24]), None);
    let shuffled = natural.renamed(|name| Some(name * 5 % 24));
    assert_eq!(Grid::find(&shuffled, &[2, 3, 4]), None);
}

#[test]
fn dense_layers_need_as_many_rotations_as_rows() {
    for (rows, columns) in [(100, 845), (10, 100), (1, 7), (16, 16), (100, 20)] {
        let (matrix, bias) = (matrix(rows, columns, |_, _| true, 2), vector(rows, 4));
        let input = Layout::natural(columns, 1, 8192);
        let layer = SlotLayer::dense(&matrix, &bias, &input, rows, 8192).unwrap();
        let x = vector(columns, 6);
        check(&layer, &input.pack(&x), &product(&matrix, &bias, &x));
        assert!(layer.diagonals.len() <= rows.next_power_of_two());
        assert_eq!(layer.output.width(), rows.next_power_of_two());
    }
}

#[test]
fn folds_in_few_steps_are_the_same_sums() {
    let weights = matrix(4, 512, |_, _| true, 9);
    let layer = SlotLayer::dense(&weights, &[0.0; 4], &Layout::natural(512, 1, 512), 4, 512).unwrap();
    assert_eq!(layer.folds, [4, 8, 16, 32, 64, 128, 256]);
    let x: Vec<f64> = (0..512).map(|slot| f64::from(slot * slot % 101)).collect();
    let add = |sum: &[f64], rotations: &[usize]| -> Vec<f64> {
        let moved = |slot: usize| rotations.iter().map(|r| sum[(slot + r) % 512]).sum::<f64>();
        (0..512).map(|slot| sum[slot] + moved(slot)).collect()
    };
    let expected = layer.folds.iter().fold(x.clone(), |sum, fold| add(&sum, &[*fold]));
    for count in 1..=7 {
        let steps = layer.fold_steps(count);
        assert_eq!(steps.len(), count);
        assert_eq!(steps.iter().fold(x.clone(), |sum, step| add(&sum, step)), expected);
        let lengths = steps.iter().map(Vec::len);
        assert_eq!(lengths.clone().max(), Some((1 << 7usize.div_ceil(count)) - 1));
        assert!(lengths.rev().is_sorted());
    }
}

#[test]
fn windows_that_do_not_cover_the_period_hold_where_they_are_whole() {
    // Two halves of eight slots, each collecting rows of its own: only the first two slots of a half are whole.
    let rows = Layout::new(1, (0..16).map(|slot| Some((slot / 8 * 2 + slot % 2) as u32)).collect());
    let (matrix, bias) = (matrix(4, 8, |_, _| true, 7), vector(4, 8));
    let input = Layout::natural(8, 1, 64);
    let layer = SlotLayer::place(&matrix, &bias, &input, &rows, 2, 8).unwrap();
    let held: Vec<usize> = (0..16).filter(|slot| layer.output.slots()[*slot].is_some()).collect();
    assert_eq!(held, [0, 1, 8, 9]);
    let x = vector(8, 1);
    check(&layer, &input.pack(&x), &product(&matrix, &bias, &x));
    assert_eq!(layer.output.first_positions(4), Some(vec![0, 1, 8, 9]));
}

#[test]
fn steps_are_balanced_by_their_costs() {
    let places = |rotations: &[usize]| -> Vec<Place> {
        rotations.iter().map(|rotation| Place { row: 0, column: 0, rotation: *rotation }).collect()
    };
    let all = places(&(0..128).collect::<Vec<_>>());
    let options = Steps::options(all.iter(), 1024);
    let steps = |baby, giant| Steps::cheapest(&options, baby, giant).unwrap().clone();
    let chained = |base, babies, giants| Steps { base, kind: Giants::Chained, babies, giants, keys: babies + 1 };
    assert_eq!(steps(1.0, 1.0), chained(8, 7, 15));
    assert_eq!(steps(1.0, 4.0), chained(16, 15, 7));
    assert_eq!(steps(0.0, 1.0).giants, 0);
    assert_eq!(steps(1.0, 0.0).babies, 0);
    // Far apart, a chain would be long.
    let apart = places(&[0, 1, 2, 3, 500, 501, 502, 503]);
    let options = Steps::options(apart.iter(), 512);
    let found = Steps::cheapest(&options, 1.0, 1.0).unwrap();
    assert_eq!((found.kind, found.babies + found.giants, found.keys), (Giants::Separate, 4, 4));
    // Of several ciphertexts each is rotated by itself, with the same keys.
    let array = |row, column, rotation| Place { row, column, rotation };
    let array: Vec<Place> =
        (0..2).flat_map(|row| (0..3).flat_map(move |column| (0..4).map(move |r| array(row, column, r)))).collect();
    let options = Steps::options(array.iter(), 4);
    let found = options.iter().find(|steps| steps.base == 2 && steps.kind == Giants::Chained).unwrap();
    assert_eq!((found.babies, found.giants, found.keys), (3, 2, 2));
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
                    let Some(first) = FirstLayer::new(&weights, &bias, 1 << log_slots, Requests::Few) else { return Ok(()) };
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

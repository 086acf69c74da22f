use std::collections::BTreeMap;

use super::{Layout, SlotLayer};
use crate::matrix::SparseMatrix;

/// A first layer with the layout that the client gives its input.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstLayer {
    /// Where the client puts the features; one may be in many slots.
    pub input: Layout,
    /// The layer.
    pub layer: SlotLayer,
}

/// What a first layer prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// As few ciphertexts of the input as possible.
    Few,
    /// As many as make rotations unnecessary: the convolution representation of LoLa (Brutzkus et al., ICML 2019, section
    /// 3) and of the Julia demonstration, one ciphertext for each offset of the kernel.
    ByOffset,
}

impl Requests {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Few, Self::ByOffset];
}

impl FirstLayer {
    /// Lays the input out for a first layer on ciphertexts of at most `slots` slots.
    ///
    /// Rows that read the same features, such as the maps of a convolution at one position, form a class. The client
    /// copies for each class the features that it reads (`im2col`), one after another in *units* of one slot a class,
    /// so that rotations by whole units combine them. With `m` maps (rows of a class), `p` taps (features of a class)
    /// and `n` units, all powers of two, `m p / n` rotations are needed: unit `m j + v` holds tap
    /// `m floor(j / k) + (v + d (j mod k)) mod m` with `d = m p / n` and `k = m / d` (or `(v + d j) mod p` if `p < m`),
    /// so that the windows of `d` units from `v, v + m, ..` on hold every tap once, for each map `v`.
    ///
    /// Maps that have no room are divided among several ciphertexts of the result, and taps among several of the input: `m`
    /// and `p` are then those of one of each.
    ///
    /// `None` if the classes do not fit the slots, or if no ciphertext by offset saves a rotation.
    pub fn new(matrix: &SparseMatrix, bias: &[f64], slots: usize, requests: Requests) -> Option<Self> {
        let classes = Classes::of(matrix);
        let unit = classes.members.len().next_power_of_two();
        let all_maps = classes.members.iter().map(Vec::len).max().unwrap_or(1).next_power_of_two();
        let most_taps = classes.columns.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let all_taps = most_taps.next_power_of_two();
        let maps = all_maps.min(slots / unit);
        if maps == 0 {
            return None;
        }
        // A window of as many units as there are rotations is inside the units.
        let window = |taps: usize| maps * taps / units(maps, taps, slots / unit);
        let mut taps = all_taps;
        while taps > 1 && window(taps) > units(maps, taps, slots / unit) {
            taps /= 2;
        }
        if requests == Requests::ByOffset {
            if window(taps) == 1 {
                return None;
            }
            while window(taps) > 1 && taps > 1 {
                taps /= 2;
            }
        }
        let units = units(maps, taps, slots / unit);
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
        let inputs = most_taps.div_ceil(taps);
        let held = |position: usize| {
            let (input, slot) = (position / width, position % width);
            let (class, tap) = (slot % unit, input * taps + tap(slot / unit));
            let exists = classes.columns.get(class).is_some_and(|columns| tap < columns.len());
            exists.then(|| first_of[class] + tap as u32)
        };
        let virtual_input = Layout::new(inputs, (0..inputs * width).map(held).collect());
        let most_members = classes.members.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let results = most_members.div_ceil(maps);
        let mut rows = vec![None; results * maps * unit];
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
        let layer = SlotLayer::onto(&wide, bias, &virtual_input, &Layout::new(results, rows))?;
        Some(Self { input: virtual_input.renamed(|name| Some(names[name as usize])), layer })
    }
}

/// Units of a ciphertext that holds this many taps for this many maps, with room for `room`.
fn units(maps: usize, taps: usize, room: usize) -> usize {
    room.min(maps * taps)
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

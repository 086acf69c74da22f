//! Integer matrices that act on rows of residues: linear layers with scalar weights.

use std::ops::Range;

use crate::{Buffer, Pool, RingError};

/// Rows per tile of the vector kernels: with two accumulators each they fill 12 of 16 registers.
pub(crate) const TILE_ROWS: usize = 6;
/// Columns per panel of wide tiles: 256 pairs of half-residue vectors are 16 KiB, half of a first-level cache.
pub(crate) const WIDE_PANEL_COLUMNS: usize = 256;
/// Columns per panel of narrow tiles, at most.
pub(crate) const NARROW_PANEL_COLUMNS: usize = 1024;
/// Bound on the sum of absolute entries in one row. Kernels split residues into halves of at most `2^25 + 2^12`, so that
/// sums of `2^27` of them stay below the `2^53` of exact `f64` integers.
pub const MAX_ROW_NORM: u64 = 1 << 27;
/// Bound on the sum of absolute entries of one row in one panel of narrow tiles: kernels multiply with digits of
/// at most `2^12`, and sums stay below `2^31`.
pub(crate) const MAX_NARROW_NORM: u64 = (1 << 19) - 1;

/// A matrix of small integers, stored twice: by rows as the definition, and as dense tiles of rows that share their
/// non-zero columns, which is what the vector kernels multiply.
///
/// A convolution has such tiles (its output maps share each window), a dense layer is one large one.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerMatrix {
    rows: usize,
    columns: usize,
    /// Compressed sparse rows: entry `i` of row `r` is at `offsets[r] + i`.
    offsets: Vec<usize>,
    indices: Vec<u32>,
    entries: Vec<i32>,
    tiles: Tiles,
}

/// The tiles of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tiles {
    /// All entries fit 16 bits. Columns come in pairs: tile column `k` is the columns `2 k` and `2 k + 1` of the panel,
    /// and its weight holds the entry of the first in the low and that of the second in the high 16 bits.
    Narrow(Vec<Panel<i32>>),
    /// Any entries.
    Wide(Vec<Panel<f64>>),
}

/// The part of the matrix in one range of columns, of which the first is even.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Panel<W> {
    pub columns: Range<usize>,
    pub tiles: Vec<Tile<W>>,
}

/// Up to [`TILE_ROWS`] rows with the same non-zero columns within a panel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tile<W> {
    pub rows: Vec<u32>,
    /// Columns (or pairs of columns), relative to the panel.
    pub columns: Vec<u32>,
    /// `weights[k * rows.len() + r]` multiplies `columns[k]` into `rows[r]`.
    pub weights: Vec<W>,
}

impl IntegerMatrix {
    /// The matrix with the given rows of `(column, entry)`, columns rising. Zero entries may be left out.
    ///
    /// # Errors
    /// [`RingError::MatrixTooLarge`] if a row's absolute entries sum to more than `2^27`.
    ///
    /// # Panics
    /// If columns do not rise or are not below `columns`.
    pub fn new(columns: usize, rows: &[Vec<(u32, i32)>]) -> Result<Self, RingError> {
        let (mut offsets, mut indices, mut entries) = (vec![0], Vec::new(), Vec::new());
        for row in rows {
            assert!(row.windows(2).all(|pair| pair[0].0 < pair[1].0), "columns must rise");
            assert!(row.last().is_none_or(|last| (last.0 as usize) < columns), "column out of range");
            let norm: u64 = row.iter().map(|(_, entry)| u64::from(entry.unsigned_abs())).sum();
            if norm > MAX_ROW_NORM {
                let magnitude = row.iter().map(|(_, entry)| u64::from(entry.unsigned_abs())).max().unwrap_or(0);
                return Err(RingError::MatrixTooLarge { columns, magnitude });
            }
            indices.extend(row.iter().map(|(column, _)| *column));
            entries.extend(row.iter().map(|(_, entry)| *entry));
            offsets.push(indices.len());
        }
        let narrow = entries.iter().all(|&entry| i16::try_from(entry).is_ok());
        let tiles = Tiles::Wide(Vec::new());
        let mut matrix = Self { rows: rows.len(), columns, offsets, indices, entries, tiles };
        matrix.tiles = if narrow { Tiles::Narrow(matrix.narrow_panels()) } else { Tiles::Wide(matrix.wide_panels()) };
        Ok(matrix)
    }

    /// Number of rows: outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Stored entries.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The stored `(column, entry)` pairs of a row, columns rising.
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = (usize, i32)> + Clone {
        let range = self.offsets[row]..self.offsets[row + 1];
        self.indices[range.clone()].iter().zip(&self.entries[range]).map(|(&column, &entry)| (column as usize, entry))
    }

    pub(crate) fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    /// The entries of a row in a range of columns, with columns relative to its start.
    fn part(&self, row: usize, columns: &Range<usize>) -> impl Iterator<Item = (usize, i32)> {
        let range = self.offsets[row]..self.offsets[row + 1];
        let indices = &self.indices[range.clone()];
        let first = indices.partition_point(|&column| (column as usize) < columns.start);
        let last = indices.partition_point(|&column| (column as usize) < columns.end);
        let (first, last, start) = (range.start + first, range.start + last, columns.start);
        let entries = self.indices[first..last].iter().zip(&self.entries[first..last]);
        entries.map(move |(&column, &entry)| (column as usize - start, entry))
    }

    fn wide_panels(&self) -> Vec<Panel<f64>> {
        let by_column = ByColumn::new(self);
        let starts = (0..self.columns).step_by(WIDE_PANEL_COLUMNS);
        let panel = |start: usize| {
            let columns = start..(start + WIDE_PANEL_COLUMNS).min(self.columns);
            self.wide_panel(&by_column.rows(&columns), columns)
        };
        starts.map(panel).filter(|panel| !panel.tiles.is_empty()).collect()
    }

    fn wide_panel(&self, rows: &[u32], columns: Range<usize>) -> Panel<f64> {
        let support = |row| self.part(row, &columns).map(|(column, _)| column as u32).collect();
        let tiles = self.tile(rows, support, |row, weights, stride| {
            for (k, (_, entry)) in self.part(row, &columns).enumerate() {
                weights[k * stride] = f64::from(entry);
            }
        });
        Panel { columns, tiles }
    }

    /// Panels as wide as [`MAX_NARROW_NORM`] allows. Two columns are always possible: entries have 16 bits.
    fn narrow_panels(&self) -> Vec<Panel<i32>> {
        let by_column = ByColumn::new(self);
        let mut norms = vec![0; self.rows];
        let (mut panels, mut start) = (Vec::new(), 0);
        while start < self.columns {
            // Halving is within a factor two of the widest panel, and every panel is even but the last.
            let mut width = NARROW_PANEL_COLUMNS.min(self.columns - start).next_multiple_of(2);
            while width > 2 && by_column.largest_norm(start..start + width, &mut norms) > MAX_NARROW_NORM {
                width = (width / 2).next_multiple_of(2);
            }
            let columns = start..(start + width).min(self.columns);
            let panel = self.narrow_panel(&by_column.rows(&columns), columns);
            if !panel.tiles.is_empty() {
                panels.push(panel);
            }
            start += width;
        }
        panels
    }

    fn narrow_panel(&self, rows: &[u32], columns: Range<usize>) -> Panel<i32> {
        let support = |row| {
            let mut pairs: Vec<u32> = self.part(row, &columns).map(|(column, _)| column as u32 / 2).collect();
            pairs.dedup();
            pairs
        };
        let tiles = self.tile(rows, support, |row, weights, stride| {
            let (mut k, mut pair) = (0, None);
            for (column, entry) in self.part(row, &columns) {
                if pair.is_some_and(|pair| pair != column / 2) {
                    k += 1;
                }
                pair = Some(column / 2);
                weights[k * stride] |= (entry & 0xffff) << (16 * (column % 2));
            }
        });
        Panel { columns, tiles }
    }

    /// Groups rows by their support. `fill` writes a row's weights, which start as zero, at every `stride`-th place.
    fn tile<W: Copy + Default>(
        &self,
        rows: &[u32],
        support: impl Fn(usize) -> Vec<u32>,
        fill: impl Fn(usize, &mut [W], usize),
    ) -> Vec<Tile<W>> {
        let mut supports: Vec<(Vec<u32>, u32)> = rows.iter().map(|row| (support(*row as usize), *row)).collect();
        supports.sort();
        let groups = supports.chunk_by(|a, b| a.0 == b.0).flat_map(|group| {
            let tiles = group.len().div_ceil(TILE_ROWS);
            group.chunks(group.len().div_ceil(tiles))
        });
        groups
            .map(|group| {
                let columns = group[0].0.clone();
                let mut weights = vec![W::default(); columns.len() * group.len()];
                for (r, (_, row)) in group.iter().enumerate() {
                    fill(*row as usize, &mut weights[r..], group.len());
                }
                Tile { rows: group.iter().map(|(_, row)| *row).collect(), columns, weights }
            })
            .collect()
    }
}

/// The stored entries column by column, so that a panel costs what it holds and not what the matrix does.
struct ByColumn {
    /// By column: where its entries start; then their number.
    starts: Vec<usize>,
    rows: Vec<u32>,
    magnitudes: Vec<u32>,
}

impl ByColumn {
    fn new(matrix: &IntegerMatrix) -> Self {
        let mut starts = vec![0; matrix.columns + 1];
        matrix.indices.iter().for_each(|column| starts[*column as usize + 1] += 1);
        for column in 0..matrix.columns {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let (mut rows, mut magnitudes) = (vec![0; matrix.indices.len()], vec![0; matrix.indices.len()]);
        for row in 0..matrix.rows {
            for (column, entry) in matrix.row(row) {
                (rows[next[column]], magnitudes[next[column]]) = (row as u32, entry.unsigned_abs());
                next[column] += 1;
            }
        }
        Self { starts, rows, magnitudes }
    }

    fn range(&self, columns: &Range<usize>) -> Range<usize> {
        let last = self.starts.len() - 1;
        self.starts[columns.start.min(last)]..self.starts[columns.end.min(last)]
    }

    /// The rows with entries in these columns, rising.
    fn rows(&self, columns: &Range<usize>) -> Vec<u32> {
        let mut rows = self.rows[self.range(columns)].to_vec();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// The largest sum of a row's absolute entries in these columns. `norms` has one zero a row, before and after.
    fn largest_norm(&self, columns: Range<usize>, norms: &mut [u64]) -> u64 {
        let range = self.range(&columns);
        let mut largest = 0;
        for (row, magnitude) in self.rows[range.clone()].iter().zip(&self.magnitudes[range.clone()]) {
            let norm = &mut norms[*row as usize];
            *norm += u64::from(*magnitude);
            largest = largest.max(*norm);
        }
        self.rows[range].iter().for_each(|row| norms[*row as usize] = 0);
        largest
    }
}

/// Work space of [`Kernel::matrix`](crate::Kernel::matrix), reused from call to call.
#[derive(Debug)]
pub struct MatrixScratch {
    pool: Pool,
    panel: Buffer,
    sums: Buffer,
}

impl MatrixScratch {
    /// An empty work space that takes its buffers from `pool`.
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), panel: pool.take(0), sums: pool.take(0) }
    }

    /// Two buffers of these lengths, contents unspecified.
    pub(crate) fn buffers(&mut self, panel: usize, sums: usize) -> (&mut [f64], &mut [f64]) {
        for (buffer, length) in [(&mut self.panel, panel), (&mut self.sums, sums)] {
            if buffer.len() < length {
                *buffer = self.pool.take(length);
            }
        }
        (&mut self.panel[..panel], &mut self.sums[..sums])
    }
}

//! Integer matrices that act on rows of residues: linear layers with scalar weights.

use std::ops::Range;

use crate::{Buffer, Pool, RingError};

/// Rows per tile of the vector kernels: with two accumulators each (low and high halves) they fill 12 registers.
pub(crate) const TILE_ROWS: usize = 6;
/// Columns per panel: 256 pairs of half-residue vectors are 16 KiB, half of a first-level cache.
pub(crate) const PANEL_COLUMNS: usize = 256;
/// Bound on the sum of absolute entries in one row. Kernels split residues into halves of at most `2^24`, so that
/// sums of `2^27 * 2^24` stay far below the `2^53` of exact `f64` integers.
pub(crate) const MAX_ROW_NORM: u64 = 1 << 27;

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
    panels: Vec<Panel>,
}

/// The part of the matrix in one range of columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Panel {
    pub columns: Range<usize>,
    pub tiles: Vec<Tile>,
}

/// Up to [`TILE_ROWS`] rows with the same non-zero columns within a panel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tile {
    pub rows: Vec<u32>,
    /// Columns, relative to the panel.
    pub columns: Vec<u32>,
    /// `weights[k * rows.len() + r]` multiplies `columns[k]` into `rows[r]`.
    pub weights: Vec<f64>,
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
        let mut matrix = Self { rows: rows.len(), columns, offsets, indices, entries, panels: Vec::new() };
        matrix.panels = matrix.tile();
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

    pub(crate) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    fn tile(&self) -> Vec<Panel> {
        (0..self.columns)
            .step_by(PANEL_COLUMNS)
            .map(|start| {
                let columns = start..(start + PANEL_COLUMNS).min(self.columns);
                let mut supports: Vec<(Vec<u32>, u32)> = (0..self.rows)
                    .map(|row| {
                        let inside = self.row(row).filter(|(column, _)| columns.contains(column));
                        (inside.map(|(column, _)| (column - start) as u32).collect(), row as u32)
                    })
                    .filter(|(support, _): &(Vec<u32>, u32)| !support.is_empty())
                    .collect();
                supports.sort();
                let tiles = supports
                    .chunk_by(|a, b| a.0 == b.0)
                    .flat_map(|group| {
                        let tiles = group.len().div_ceil(TILE_ROWS);
                        group.chunks(group.len().div_ceil(tiles))
                    })
                    .map(|group| self.one_tile(start, group))
                    .collect();
                Panel { columns, tiles }
            })
            .collect()
    }

    fn one_tile(&self, start: usize, group: &[(Vec<u32>, u32)]) -> Tile {
        let columns = group[0].0.clone();
        let mut weights = vec![0.0; columns.len() * group.len()];
        for (r, (_, row)) in group.iter().enumerate() {
            let first = start + columns[0] as usize;
            let inside = self.row(*row as usize).skip_while(|(column, _)| *column < first).take(columns.len());
            for (k, (_, entry)) in inside.enumerate() {
                weights[k * group.len() + r] = f64::from(entry);
            }
        }
        Tile { rows: group.iter().map(|(_, row)| *row).collect(), columns, weights }
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

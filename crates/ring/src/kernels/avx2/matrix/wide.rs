//! Integer matrices with any entries: residues in two halves, exact sums in `f64`. Two multiply-adds a product.

use core::arch::x86_64::{_mm256_add_pd, _mm256_fmadd_pd, _mm256_fnmadd_pd, _mm256_mul_pd, _mm256_set1_pd};

use super::super::{Vector, canonical, load, partial, prime, product, rint, store};
use crate::linear::{MatrixScratch, Panel, Tile, WIDE_PANEL_COLUMNS};
use crate::{IntegerMatrix, Modulus};

/// Half-residues have 25 bits: `x = high 2^25 + low` with `|low| <= 2^24` and `|high| <= 2^24 + 1`.
const HALF: f64 = (1u64 << 25) as f64;

/// Vectors of columns that one pass keeps in the second-level cache, with all sums and one panel of inputs.
fn vectors_per_pass(rows: usize, columns: usize) -> usize {
    const BUDGET: usize = 320 << 10;
    (BUDGET / (64 * (rows + columns.min(WIDE_PANEL_COLUMNS)))).max(1)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn multiply(
    q: Modulus,
    matrix: &IntegerMatrix,
    panels: &[Panel<f64>],
    input: &[f64],
    output: &mut [f64],
    width: usize,
    scratch: &mut MatrixScratch,
) {
    let c = prime(q);
    let vectors = width / 4;
    let most = vectors_per_pass(matrix.rows(), matrix.columns()).min(vectors);
    let half = _mm256_set1_pd(q.center((1u64 << 25) % q.value()));
    for first in (0..vectors).step_by(most.max(1)) {
        let pass = most.min(vectors - first);
        let (panel, sums) = scratch.buffers(8 * WIDE_PANEL_COLUMNS * pass, 8 * matrix.rows() * pass);
        sums.fill(0.0);
        for part in panels {
            split(&input[part.columns.start * width..part.columns.end * width], width, first, pass, panel);
            for tile in &part.tiles {
                for v in 0..pass {
                    let panel = &panel[8 * WIDE_PANEL_COLUMNS * v..][..8 * WIDE_PANEL_COLUMNS];
                    match tile.rows.len() {
                        1 => multiply_tile::<1>(tile, panel, sums, pass, v),
                        2 => multiply_tile::<2>(tile, panel, sums, pass, v),
                        3 => multiply_tile::<3>(tile, panel, sums, pass, v),
                        4 => multiply_tile::<4>(tile, panel, sums, pass, v),
                        5 => multiply_tile::<5>(tile, panel, sums, pass, v),
                        _ => multiply_tile::<6>(tile, panel, sums, pass, v),
                    }
                }
            }
        }
        for row in 0..matrix.rows() {
            for v in 0..pass {
                let at = 8 * (row * pass + v);
                let (low, high) = (load(sums, at), load(sums, at + 4));
                // |high| <= 2^52 and |2^25 mod p| <= p/2, 2^25: the product is at most 2; low reduces to 0.5.
                let value = _mm256_add_pd(product(c, high, half), partial(c, low));
                store(output, row * width + 4 * (first + v), canonical(c, value));
            }
        }
    }
}

/// Splits `pass` vectors of every row of `input` into half-residues: for vector `v` and row `k`, low and high at
/// `8 (WIDE_PANEL_COLUMNS v + k)`.
#[target_feature(enable = "avx2,fma")]
fn split(input: &[f64], width: usize, first: usize, pass: usize, panel: &mut [f64]) {
    let (down, up) = (_mm256_set1_pd(1.0 / HALF), _mm256_set1_pd(HALF));
    for (k, row) in input.chunks_exact(width).enumerate() {
        for v in 0..pass {
            let x = load(row, 4 * (first + v));
            let high = rint(_mm256_mul_pd(x, down));
            let at = 8 * (WIDE_PANEL_COLUMNS * v + k);
            store(panel, at, _mm256_fnmadd_pd(high, up, x));
            store(panel, at + 4, high);
        }
    }
}

/// Adds one tile's products with one vector of columns to the sums. All exact: see
/// [`MAX_ROW_NORM`](crate::linear::MAX_ROW_NORM).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_tile<const ROWS: usize>(tile: &Tile<f64>, panel: &[f64], sums: &mut [f64], pass: usize, v: usize) {
    let at = |r: usize| 8 * (tile.rows[r] as usize * pass + v);
    let mut low: [Vector; ROWS] = core::array::from_fn(|r| load(sums, at(r)));
    let mut high: [Vector; ROWS] = core::array::from_fn(|r| load(sums, at(r) + 4));
    for (&k, weights) in tile.columns.iter().zip(tile.weights.as_chunks::<ROWS>().0) {
        let halves = &panel[8 * k as usize..][..8];
        let (x_low, x_high) = (load(halves, 0), load(halves, 4));
        for r in 0..ROWS {
            let w = _mm256_set1_pd(weights[r]);
            low[r] = _mm256_fmadd_pd(x_low, w, low[r]);
            high[r] = _mm256_fmadd_pd(x_high, w, high[r]);
        }
    }
    for r in 0..ROWS {
        store(sums, at(r), low[r]);
        store(sums, at(r) + 4, high[r]);
    }
}

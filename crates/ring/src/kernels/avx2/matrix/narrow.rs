//! Integer matrices with entries of 16 bits: residues in four digits of 13 bits, products and sums in 32-bit integers.
//!
//! One instruction multiplies sixteen digits of two columns by their entries and adds the two products of each residue,
//! so that four of them and four additions make sixteen multiply-accumulates; in `f64` that takes eight multiply-adds.

use core::arch::x86_64::{
    __m128i, __m256i, _mm256_add_epi32, _mm256_add_pd, _mm256_and_si256, _mm256_blend_epi16, _mm256_castpd_si256,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cvtepi32_pd, _mm256_extracti128_si256,
    _mm256_fmadd_pd, _mm256_fnmadd_pd, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_pd, _mm256_permute2f128_pd,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_pd, _mm256_setzero_pd, _mm256_setzero_si256, _mm256_shuffle_ps,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_sub_epi16,
};

use super::super::{Prime, Vector, load, partial, prime, rint, store};
use crate::linear::{MatrixScratch, Panel, Tile};
use crate::{IntegerMatrix, Modulus};

/// Bits of a digit: `x = d_0 + d_1 2^13 + d_2 2^26 + d_3 2^39` with `-2^12 <= d_i < 2^12` for every `|x| < 2^49`.
const DIGIT: u32 = 13;
/// Residues that are multiplied at a time.
const BLOCK: usize = 8;

/// The digits `2 h` and `2 h + 1` of a block of residues of two columns, eight lanes each: the first column's digit is in the
/// low, the second's in the high 16 bits. Lanes stand for the residues 0, 1, 4, 5, 2, 3, 6 and 7.
type Digits = [i32; 2 * BLOCK];

/// Blocks that one pass keeps in the second-level cache, with one panel of inputs and its sums if there are any.
fn blocks_per_pass(columns: usize, sums: usize) -> usize {
    const BUDGET: usize = 320 << 10;
    (BUDGET / (64 * columns + 128 * sums).max(1)).max(1)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn multiply(
    q: Modulus,
    matrix: &IntegerMatrix,
    panels: &[Panel<i32>],
    input: &[f64],
    output: &mut [f64],
    width: usize,
    scratch: &mut MatrixScratch,
) {
    let c = prime(q);
    let pairs = panels.iter().map(|panel| panel.columns.len().div_ceil(2)).max().unwrap_or(0);
    // The tiles of a single panel are whole rows; else rows are summed over the panels.
    let rows = if panels.len() == 1 { 0 } else { matrix.rows() };
    let blocks = width.div_ceil(BLOCK);
    let most = blocks_per_pass(2 * pairs, rows).min(blocks).max(1);
    output.fill(0.0);
    for first in (0..blocks).step_by(most) {
        let pass = most.min(blocks - first);
        let (digits, sums) = scratch.buffers(16 * pairs * pass, 16 * rows * pass);
        let digits: &mut [Digits] = bytemuck::cast_slice_mut(digits);
        sums.fill(0.0);
        for panel in panels {
            let pairs = panel.columns.len().div_ceil(2);
            split(&input[panel.columns.start * width..panel.columns.end * width], width, first, pass, digits);
            for tile in &panel.tiles {
                for (block, digits) in digits.chunks_exact(2 * pairs).take(pass).enumerate() {
                    let place = |row: usize, sum: [Vector; 4]| {
                        if rows == 0 {
                            let at = row * width + BLOCK * (first + block);
                            finish(c, sum, &mut output[at..(row + 1) * width]);
                        } else {
                            add_to(&mut sums[16 * (row * pass + block)..][..16], sum);
                        }
                    };
                    match tile.rows.len() {
                        1 => multiply_tile::<1>(tile, digits, place),
                        2 => multiply_tile::<2>(tile, digits, place),
                        3 => multiply_tile::<3>(tile, digits, place),
                        4 => multiply_tile::<4>(tile, digits, place),
                        5 => multiply_tile::<5>(tile, digits, place),
                        _ => multiply_tile::<6>(tile, digits, place),
                    }
                }
            }
        }
        for (row, sums) in sums.chunks_exact(16 * pass).enumerate() {
            for (block, sums) in sums.chunks_exact(16).enumerate() {
                let sum = [load(sums, 0), load(sums, 4), load(sums, 8), load(sums, 12)];
                finish(c, sum, &mut output[row * width + BLOCK * (first + block)..(row + 1) * width]);
            }
        }
    }
}

/// Splits `pass` blocks of every row of `input`: block `b`, half `h` and pair of rows `k` go to `(2 b + h) pairs + k`.
#[target_feature(enable = "avx2,fma")]
fn split(input: &[f64], width: usize, first: usize, pass: usize, digits: &mut [Digits]) {
    let pairs = input.len().div_ceil(2 * width);
    for (k, rows) in input.chunks(2 * width).enumerate() {
        let (even, odd) = rows.split_at(width);
        for block in 0..pass {
            let at = BLOCK * (first + block);
            let (even_low, even_high) = dwords(&even[at..]);
            let (odd_low, odd_high) = dwords(odd.get(at..).unwrap_or_default());
            digits[2 * block * pairs + k] = interleave(even_low, odd_low);
            digits[(2 * block + 1) * pairs + k] = interleave(even_high, odd_high);
        }
    }
}

/// For the first eight residues (or four, then zeros): the digits 0 and 1, and the digits 2 and 3, in the lowest 26 bits of
/// each lane. Digits are raised by `2^12` to be unsigned.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dwords(residues: &[f64]) -> (__m256i, __m256i) {
    const RAISE: u64 = (1 << 12) * (1 + (1 << DIGIT) + (1 << (2 * DIGIT)) + (1 << (3 * DIGIT)));
    // For |x| < 2^49, x + RAISE is in 0..2^52: added to 2^52 it is the lowest 52 bits of the double.
    let raise = _mm256_set1_pd(((1u64 << 52) + RAISE) as f64);
    let at = |first: usize| if residues.len() >= first + 4 { load(residues, first) } else { _mm256_setzero_pd() };
    let a = _mm256_castpd_si256(_mm256_add_pd(at(0), raise));
    let b = _mm256_castpd_si256(_mm256_add_pd(at(4), raise));
    let high = (_mm256_srli_epi64::<26>(a), _mm256_srli_epi64::<26>(b));
    (low_dwords(a, b), low_dwords(high.0, high.1))
}

/// The low halves of the eight 64-bit lanes: those of `a` in lanes 0, 1, 4, 5.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn low_dwords(a: __m256i, b: __m256i) -> __m256i {
    _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn interleave(even: __m256i, odd: __m256i) -> Digits {
    const MASK: i16 = (1 << DIGIT) - 1;
    let first = _mm256_blend_epi16::<0b1010_1010>(even, _mm256_slli_epi32::<16>(odd));
    let second = _mm256_blend_epi16::<0b1010_1010>(
        _mm256_srli_epi32::<13>(even),
        _mm256_slli_epi32::<{ 16 - DIGIT as i32 }>(odd),
    );
    let mut digits = [0; 2 * BLOCK];
    for (half, raised) in digits.chunks_exact_mut(BLOCK).zip([first, second]) {
        let masked = _mm256_and_si256(raised, _mm256_set1_epi16(MASK));
        store_integers(half, _mm256_sub_epi16(masked, _mm256_set1_epi16(1 << 12)));
    }
    digits
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_integers(integers: &[i32]) -> __m256i {
    assert!(integers.len() >= 8);
    // SAFETY: eight integers are 32 bytes.
    unsafe { _mm256_loadu_si256(integers.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_integers(integers: &mut [i32], value: __m256i) {
    assert!(integers.len() >= 8);
    // SAFETY: eight integers are 32 bytes.
    unsafe { _mm256_storeu_si256(integers.as_mut_ptr().cast(), value) }
}

/// Gives `place` each row of one tile and its sum with one block, whose low half of the digits comes before the high one:
/// two vectors for each half. The sums of digits stay below `2^31`: see
/// [`MAX_NARROW_NORM`](crate::linear::MAX_NARROW_NORM).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_tile<const ROWS: usize>(tile: &Tile<i32>, digits: &[Digits], mut place: impl FnMut(usize, [Vector; 4])) {
    let (low, high) = digits.split_at(digits.len() / 2);
    let (low, high) = (multiply_half::<ROWS>(tile, low), multiply_half::<ROWS>(tile, high));
    for (r, &row) in tile.rows.iter().take(ROWS).enumerate() {
        place(row as usize, [low[r][0], low[r][1], high[r][0], high[r][1]]);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_half<const ROWS: usize>(tile: &Tile<i32>, digits: &[Digits]) -> [[Vector; 2]; ROWS] {
    let mut first = [_mm256_setzero_si256(); ROWS];
    let mut second = [_mm256_setzero_si256(); ROWS];
    let mut step = |digits: &Digits, weights: &[i32; ROWS]| {
        let (x, y) = (load_integers(&digits[..8]), load_integers(&digits[8..]));
        for r in 0..ROWS {
            let w = _mm256_set1_epi32(weights[r]);
            first[r] = _mm256_add_epi32(first[r], _mm256_madd_epi16(x, w));
            second[r] = _mm256_add_epi32(second[r], _mm256_madd_epi16(y, w));
        }
    };
    let weights = tile.weights.as_chunks::<ROWS>().0;
    if tile.columns.len() == digits.len() {
        // Columns rise, so that as many as there are means all of them.
        for (digits, weights) in digits.iter().zip(weights) {
            step(digits, weights);
        }
    } else {
        for (&k, weights) in tile.columns.iter().zip(weights) {
            step(&digits[k as usize], weights);
        }
    }
    core::array::from_fn(|r| {
        let (a, b) = (_mm256_castsi256_si128(first[r]), _mm256_castsi256_si128(second[r]));
        let (c, d) = (_mm256_extracti128_si256::<1>(first[r]), _mm256_extracti128_si256::<1>(second[r]));
        [join_digits(a, b), join_digits(c, d)]
    })
}

/// `a + 2^13 b`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn join_digits(a: __m128i, b: __m128i) -> Vector {
    let base = _mm256_set1_pd(f64::from(1 << DIGIT));
    _mm256_fmadd_pd(_mm256_cvtepi32_pd(b), base, _mm256_cvtepi32_pd(a))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_to(sums: &mut [f64], sum: [Vector; 4]) {
    for (i, vector) in sum.into_iter().enumerate() {
        store(sums, 4 * i, _mm256_add_pd(load(sums, 4 * i), vector));
    }
}

/// Writes the residues of one block's sum to the first eight places of `out`, or to all if there are only four.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn finish(c: Prime, sum: [Vector; 4], out: &mut [f64]) {
    let (a, b) = (residue(c, sum[0], sum[2]), residue(c, sum[1], sum[3]));
    store(out, 0, _mm256_permute2f128_pd::<0x20>(a, b));
    if out.len() >= BLOCK {
        store(out, 4, _mm256_permute2f128_pd::<0x31>(a, b));
    }
}

/// The canonical residue of `low + 2^26 high`, a row's product with residues: at most `2^27 p / 2` by
/// [`MAX_ROW_NORM`](crate::linear::MAX_ROW_NORM), with `|low| < 2^52 + 2^40`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn residue(c: Prime, low: Vector, high: Vector) -> Vector {
    let high = _mm256_mul_pd(high, _mm256_set1_pd(f64::from(1 << (2 * DIGIT))));
    // The quotient is at most 2^26, so that three roundings make it wrong by less than 2^-25. What is left of `high` is
    // the remainder less `low`, an integer below 2^53, and the remainder is at most 0.51.
    let quotient = rint(_mm256_mul_pd(_mm256_add_pd(high, low), c.reciprocal));
    partial(c, _mm256_add_pd(_mm256_fnmadd_pd(quotient, c.p, high), low))
}

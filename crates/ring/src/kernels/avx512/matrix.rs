//! Integer matrices with entries of 16 bits: residues in four digits of 13 bits, as in the AVX2 kernel, with one instruction
//! for the products of sixteen pairs of digits and their sums. What has larger entries is left to the AVX2 kernel, whose
//! multiply-adds in `f64` take as long.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_add_pd, _mm512_and_si512, _mm512_castpd_si512, _mm512_castsi512_pd,
    _mm512_dpwssd_epi32, _mm512_fnmadd_pd, _mm512_loadu_si512, _mm512_mask_storeu_pd, _mm512_maskz_loadu_pd,
    _mm512_mul_pd, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setzero_si512,
    _mm512_slli_epi64, _mm512_srai_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_sub_epi16, _mm512_sub_pd,
    _mm512_ternarylogic_epi64,
};

use super::{LANES, Prime, Vector, load, partial, prime, rest_mask, rint, store};
use crate::linear::{MatrixScratch, Panel, Tile};
use crate::{IntegerMatrix, Modulus};

/// Bits of a digit: `x = d_0 + d_1 2^13 + d_2 2^26 + d_3 2^39` with `-2^12 <= d_i < 2^12` for every `|x| < 2^49`.
const DIGIT: u32 = 13;

/// The digits `2 h` and `2 h + 1` of eight residues of two columns, in 64 bits each: from the lowest 16 bits up, the first
/// digit of the first and of the second column, then the second digit of both.
type Digits = [i64; LANES];

/// Blocks of eight residues that one pass keeps in the second-level cache, with one panel of inputs and its sums if there
/// are any.
fn blocks_per_pass(columns: usize, sums: usize) -> usize {
    const BUDGET: usize = 320 << 10;
    (BUDGET / (64 * columns + 128 * sums).max(1)).max(1)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
    let blocks = width.div_ceil(LANES);
    let most = blocks_per_pass(2 * pairs, rows).min(blocks).max(1);
    output.fill(0.0);
    for first in (0..blocks).step_by(most) {
        let pass = most.min(blocks - first);
        let (digits, sums) = scratch.buffers(2 * LANES * pairs * pass, 2 * LANES * rows * pass);
        let digits: &mut [Digits] = bytemuck::cast_slice_mut(digits);
        sums.fill(0.0);
        for panel in panels {
            let pairs = panel.columns.len().div_ceil(2);
            split(&input[panel.columns.start * width..panel.columns.end * width], width, first, pass, digits);
            for tile in &panel.tiles {
                for (block, digits) in digits.chunks_exact(2 * pairs).take(pass).enumerate() {
                    let place = |row: usize, sum: [Vector; 2]| {
                        if rows == 0 {
                            finish(c, sum, &mut output[row * width..(row + 1) * width], LANES * (first + block));
                        } else {
                            add_to(&mut sums[2 * LANES * (row * pass + block)..][..2 * LANES], sum);
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
        for (row, sums) in sums.chunks_exact(2 * LANES * pass).enumerate() {
            for (block, sums) in sums.chunks_exact(2 * LANES).enumerate() {
                let sum = [load(sums, 0), load(sums, LANES)];
                finish(c, sum, &mut output[row * width..(row + 1) * width], LANES * (first + block));
            }
        }
    }
}

/// Splits `pass` blocks of every row of `input`: block `b`, half `h` and pair of rows `k` go to `2 (b pairs + k) + h`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn split(input: &[f64], width: usize, first: usize, pass: usize, digits: &mut [Digits]) {
    let pairs = input.len().div_ceil(2 * width);
    for (k, rows) in input.chunks(2 * width).enumerate() {
        let (even, odd) = rows.split_at(width);
        for block in 0..pass {
            let at = LANES * (first + block);
            let (even, odd) = (raised(even, at), raised(odd, at));
            let place = 2 * (block * pairs + k);
            // Each digit is shifted to its 16 bits; what else is shifted there is masked away.
            let low = [even, _mm512_slli_epi64::<16>(odd), _mm512_slli_epi64::<19>(even), _mm512_slli_epi64::<35>(odd)];
            let high = [
                _mm512_srli_epi64::<26>(even),
                _mm512_srli_epi64::<10>(odd),
                _mm512_srli_epi64::<7>(even),
                _mm512_slli_epi64::<9>(odd),
            ];
            store_integers(&mut digits[place], gather(low));
            store_integers(&mut digits[place + 1], gather(high));
        }
    }
}

/// Eight residues from `at` on, or those that are left and then zeros, as 52 bits with digits that are raised by `2^12` to be
/// unsigned. A slice that ends before `at` counts as zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn raised(residues: &[f64], at: usize) -> __m512i {
    const RAISE: u64 = (1 << 12) * (1 + (1 << DIGIT) + (1 << (2 * DIGIT)) + (1 << (3 * DIGIT)));
    let residues = residues.get(at..).unwrap_or_default();
    // SAFETY: the lanes of the mask are in bounds.
    let x = unsafe { _mm512_maskz_loadu_pd(rest_mask(residues.len(), 0), residues.as_ptr()) };
    // For |x| < 2^49, x + RAISE is in 0..2^52: added to 2^52 it is the lowest 52 bits of the double.
    _mm512_castpd_si512(_mm512_add_pd(x, _mm512_set1_pd(((1u64 << 52) + RAISE) as f64)))
}

/// The lowest 13 of the `i`-th 16 bits of the `i`-th of `parts`, less `2^12`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn gather(parts: [__m512i; 4]) -> __m512i {
    // Bits of the second operand where those of the first are set, of the third elsewhere.
    const SELECT: i32 = 0b1100_1010;
    let (halves, quarters) = (_mm512_set1_epi64(0xffff_ffff), _mm512_set1_epi32(0xffff));
    let even = _mm512_ternarylogic_epi64::<SELECT>(halves, parts[0], parts[2]);
    let odd = _mm512_ternarylogic_epi64::<SELECT>(halves, parts[1], parts[3]);
    let raised = _mm512_ternarylogic_epi64::<SELECT>(quarters, even, odd);
    let masked = _mm512_and_si512(raised, _mm512_set1_epi16((1 << DIGIT) - 1));
    _mm512_sub_epi16(masked, _mm512_set1_epi16(1 << (DIGIT - 1)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load_integers(integers: &Digits) -> __m512i {
    // SAFETY: eight integers are 64 bytes.
    unsafe { _mm512_loadu_si512(integers.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store_integers(integers: &mut Digits, value: __m512i) {
    // SAFETY: eight integers are 64 bytes.
    unsafe { _mm512_storeu_si512(integers.as_mut_ptr().cast(), value) }
}

/// Gives `place` each row of one tile and its sum with one block, for the low and the high half of the digits. The sums of
/// digits stay below `2^31`: see [`MAX_NARROW_NORM`](crate::linear::MAX_NARROW_NORM).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn multiply_tile<const ROWS: usize>(tile: &Tile<i32>, digits: &[Digits], mut place: impl FnMut(usize, [Vector; 2])) {
    let mut low = [_mm512_setzero_si512(); ROWS];
    let mut high = [_mm512_setzero_si512(); ROWS];
    let mut step = |[x, y]: &[Digits; 2], weights: &[i32; ROWS]| {
        let (x, y) = (load_integers(x), load_integers(y));
        for r in 0..ROWS {
            let w = _mm512_set1_epi32(weights[r]);
            low[r] = _mm512_dpwssd_epi32(low[r], x, w);
            high[r] = _mm512_dpwssd_epi32(high[r], y, w);
        }
    };
    let (digits, weights) = (digits.as_chunks::<2>().0, tile.weights.as_chunks::<ROWS>().0);
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
    for (r, &row) in tile.rows.iter().take(ROWS).enumerate() {
        place(row as usize, [join_digits(low[r]), join_digits(high[r])]);
    }
}

/// `a + 2^13 b` for the lower half `a` and the upper half `b` of 64 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn join_digits(sums: __m512i) -> Vector {
    let a = _mm512_srai_epi64::<32>(_mm512_slli_epi64::<32>(sums));
    let b = _mm512_srai_epi64::<32>(sums);
    // Below 2^45 in absolute value. Small integers added to the bits of this double are added to its value.
    let origin = _mm512_set1_pd(1.5 * (1u64 << 52) as f64);
    let joined = _mm512_add_epi64(a, _mm512_slli_epi64::<DIGIT>(b));
    _mm512_sub_pd(_mm512_castsi512_pd(_mm512_add_epi64(joined, _mm512_castpd_si512(origin))), origin)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_to(sums: &mut [f64], sum: [Vector; 2]) {
    for (i, vector) in sum.into_iter().enumerate() {
        store(sums, LANES * i, _mm512_add_pd(load(sums, LANES * i), vector));
    }
}

/// Writes the residues of one block's sum to the eight places of `out` from `at` on, or to those that there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn finish(c: Prime, [low, high]: [Vector; 2], out: &mut [f64], at: usize) {
    let residues = residue(c, low, high);
    let mask = rest_mask(out.len(), at);
    // SAFETY: the lanes of the mask are in bounds.
    unsafe { _mm512_mask_storeu_pd(out.as_mut_ptr().add(at), mask, residues) }
}

/// The canonical residue of `low + 2^26 high`, a row's product with residues: at most `2^27 p / 2` by
/// [`MAX_ROW_NORM`](crate::linear::MAX_ROW_NORM), with `|low| < 2^52 + 2^40`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn residue(c: Prime, low: Vector, high: Vector) -> Vector {
    let high = _mm512_mul_pd(high, _mm512_set1_pd(f64::from(1 << (2 * DIGIT))));
    // The quotient is at most 2^26, so that three roundings make it wrong by less than 2^-25. What is left of `high` is
    // the remainder less `low`, an integer below 2^53, and the remainder is at most 0.51.
    let quotient = rint(_mm512_mul_pd(_mm512_add_pd(high, low), c.reciprocal));
    partial(c, _mm512_add_pd(_mm512_fnmadd_pd(quotient, c.p, high), low))
}

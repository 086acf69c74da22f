//! The fold of the conjugate-invariant ring, merged with the first level of the transform, and its inverse.

use core::arch::x86_64::{_mm512_add_pd, _mm512_permutexvar_pd, _mm512_set1_pd, _mm512_setr_epi64, _mm512_sub_pd};

use super::super::{LANES, Vector, canonical, load, partial, prime, product, store};
use super::{Data, Row, pipeline};
use crate::NttTable;

/// Four vectors of coefficients that the fold and the first level mix: those at `j`, `N/2 - j`, `N/2 + j` and `N - j`
/// for eight `j`.
type Quad = Row;

/// Applies `first` and then `second` to the coefficients `j`, `N/2 - j`, `N/2 + j` and `N - j` for every `j` in `1..=N/4`, and for `j = 0`
/// with zero for the coefficient `N` that does not exist. Of two results for one coefficient the later in this list counts
/// (they are equal, except those of `N/2` for `j = 0`). `read` hands out eight coefficients at a position, results go to
/// the `n` places of `out`; `read` may read them, because a coefficient is read before its place is written.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn map_quads(
    out: Data,
    n: usize,
    read: impl Fn(usize) -> Vector,
    first: impl Fn(Quad) -> Quad,
    second: impl Fn(Quad) -> Quad,
) {
    let edges = |start: usize, count: usize| {
        let places = |j: usize| [j, n / 2 - j, n / 2 + j, n - j];
        let mut lanes = [[0.0; LANES]; 4];
        for lane in 0..count {
            for (row, place) in lanes.iter_mut().zip(places(start + lane)) {
                row[lane] = if place < n { self::lanes(read(place / LANES * LANES))[place % LANES] } else { 0.0 };
            }
        }
        let quad = [load(&lanes[0], 0), load(&lanes[1], 0), load(&lanes[2], 0), load(&lanes[3], 0)];
        let result = second(first(quad));
        for (row, vector) in lanes.iter_mut().zip(result) {
            store(row, 0, vector);
        }
        for lane in 0..count {
            for (row, place) in lanes.iter().zip(places(start + lane)) {
                if place < n {
                    // SAFETY: there are `n` places.
                    unsafe { *out.0.add(place) = row[lane] };
                }
            }
        }
    };
    edges(0, LANES);
    edges(n / 4, 1);
    let places = |i: usize| {
        let j = LANES * (i + 1);
        [j, n / 2 - j - (LANES - 1), n / 2 + j, n - j - (LANES - 1)]
    };
    pipeline(
        n / 4 / LANES - 1,
        |i| {
            let [a, b, c, d] = places(i);
            first([read(a), reverse(read(b)), read(c), reverse(read(d))])
        },
        |i, quad| {
            let ([a, b, c, d], [w, x, y, z]) = (places(i), second(quad));
            // SAFETY: the last place is below `n - LANES`.
            unsafe {
                out.store(a, w);
                out.store(b, reverse(x));
                out.store(c, y);
                out.store(d, reverse(z));
            }
        },
    );
}

/// The fold of the conjugate-invariant ring and the first level, of coefficients of at most `B` that `read` hands out. The
/// results are at most `f(f(B))`, as if the fold were a level.
///
/// With `i` the fourth root of unity, `b_j = a_j - i a_(N-j)` and `b_(N-j) = -i (a_j + i a_(N-j))`: one product gives
/// both but for the factor `-i`, which the first level's root `w` takes over. That level pairs `b_j` with
/// `b_(N/2+j)`, and `b_(N/2-j)` with `b_(N-j)`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn fold(table: &NttTable, out: Data, read: impl Fn(usize) -> Vector) {
    let c = prime(table.modulus());
    let (i, w) = (_mm512_set1_pd(table.fold()), _mm512_set1_pd(table.fold_root()));
    // SAFETY: the caller provides as many places as the table's degree.
    unsafe {
        map_quads(
            out,
            table.degree(),
            read,
            |[x, half_less, half_more, last]| {
                let (near, far) = (product(c, last, i), product(c, half_more, i));
                let (b, b_half) = (_mm512_sub_pd(x, near), _mm512_sub_pd(half_less, far));
                [b, b_half, _mm512_add_pd(half_less, far), _mm512_add_pd(x, near)]
            },
            |[b, b_half, y, z]| {
                let (y, z) = (product(c, y, w), product(c, z, w));
                [_mm512_add_pd(b, y), _mm512_add_pd(b_half, z), _mm512_sub_pd(b, y), _mm512_sub_pd(b_half, z)]
            },
        );
    }
}

/// The last level of the inverse transform, the unfolding and the scaling: the inverse of [`fold`]. `|x| <= 2` in,
/// canonical out.
#[target_feature(enable = "avx512f")]
pub(super) fn unfold(table: &NttTable, a: &mut [f64], scales: [f64; 2]) {
    let c = prime(table.modulus());
    let w = _mm512_set1_pd(table.inverse_fold_root());
    let [scale, fold_scale] = scales.map(|w| _mm512_set1_pd(w));
    let n = a.len();
    let (first, middle) = (_mm512_set1_pd(a[0]), _mm512_set1_pd(a[n / 2]));
    // Sums and differences are at most 4, their products with w at most 1.25; 5.25 times a scale is at most 1.5.
    let split = |sum: Vector, difference: Vector| {
        (
            partial(c, product(c, _mm512_add_pd(sum, difference), scale)),
            partial(c, product(c, _mm512_sub_pd(sum, difference), fold_scale)),
        )
    };
    let data = Data(a.as_mut_ptr());
    // SAFETY: there are as many places as the slice has, and positions are below that.
    unsafe {
        map_quads(
            data,
            n,
            |at| data.load(at),
            |[x, half_less, half_more, last]| {
                let y = product(c, _mm512_sub_pd(x, half_more), w);
                let z = product(c, _mm512_sub_pd(half_less, last), w);
                [_mm512_add_pd(x, half_more), _mm512_add_pd(half_less, last), y, z]
            },
            |[near_sum, far_sum, y, z]| {
                let (a_j, a_last) = split(near_sum, z);
                let (a_half_less, a_half_more) = split(far_sum, y);
                [a_j, a_half_less, a_half_more, a_last]
            },
        );
    }
    // b_0 = a_0 is not folded; b_(N/2) = (1 - i) a_(N/2), so that a_(N/2) = (1 + i) b_(N/2) / 2.
    let sum = product(c, _mm512_add_pd(first, middle), scale);
    let difference = product(c, _mm512_sub_pd(first, middle), w);
    let half = _mm512_sub_pd(product(c, difference, scale), product(c, difference, fold_scale));
    a[0] = lanes(canonical(c, _mm512_add_pd(sum, sum)))[0];
    a[n / 2] = lanes(partial(c, half))[0];
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(x: Vector) -> [f64; LANES] {
    let mut lanes = [0.0; LANES];
    store(&mut lanes, 0, x);
    lanes
}

#[inline]
#[target_feature(enable = "avx512f")]
fn reverse(x: Vector) -> Vector {
    _mm512_permutexvar_pd(_mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0), x)
}

//! Evaluations to coefficients.

use core::arch::x86_64::{
    _mm512_add_pd, _mm512_castpd_si512, _mm512_castsi512_pd, _mm512_permutex2var_pd, _mm512_set1_pd, _mm512_setr_epi64,
    _mm512_shuffle_f64x2, _mm512_sub_pd, _mm512_ternarylogic_epi64, _mm512_unpackhi_pd, _mm512_unpacklo_pd,
};
use core::ops::Range;

use super::super::{LANES, Prime, Vector, load, partial, prime, product};
use super::fold::unfold;
use super::{CACHED_LOG, Data, LEAF_LOG, LONG_LOG, MIN_DEGREE, Pair, Roots, Row, RowPairs, pipeline, pipeline_5};
use crate::ntt::WideLeafRoots;
use crate::{NttTable, Ring};

#[target_feature(enable = "avx512f")]
pub(in super::super) fn ntt_inverse(table: &NttTable, a: &mut [f64]) {
    inverse(table, a, table.inverse_scales());
}

/// The scaling by `w` is merged with that by `1/N`.
#[target_feature(enable = "avx512f")]
pub(in super::super) fn ntt_inverse_scaled(table: &NttTable, a: &mut [f64], w: f64) {
    let q = table.modulus();
    inverse(table, a, table.inverse_scales().map(|scale| q.center(q.mul(q.lift(scale), q.lift(w)))));
}

/// The inverse transform with scales in place of the table's [`inverse_scales`](NttTable::inverse_scales).
#[target_feature(enable = "avx512f")]
fn inverse(table: &NttTable, a: &mut [f64], scales: [f64; 2]) {
    assert!(a.len() == table.degree() && a.len() >= MIN_DEGREE);
    let inverse = Inverse {
        c: prime(table.modulus()),
        roots: Roots(table.inverse_roots()),
        leaves: table.inverse_wide_leaf_roots(),
    };
    let (data, log) = (Data(a.as_mut_ptr()), a.len().trailing_zeros());
    // SAFETY: the root block is the whole slice, as long as the table's degree.
    unsafe {
        match table.ring() {
            Ring::Standard => {
                inverse.children(data, 1, log, 2);
                inverse.last_pass(data, log, scales.map(|w| _mm512_set1_pd(w)));
            }
            Ring::ConjugateInvariant => {
                inverse.children(data, 1, log, 1);
                unfold(table, a, scales);
            }
        }
    }
}

/// A level maps `(x, y)` to `(x + y, (x - y) w)`: the bound of the sums doubles, a product is at most `0.5 + 0.1875 (2 B)`.
/// Two levels from `B = 2` on: sums 4 and products 1.25; then `8, 2.5` for the sums of each and `2, 1` for the products.
struct Inverse<'a> {
    c: Prime,
    roots: Roots<'a>,
    leaves: &'a [WideLeafRoots],
}

impl Inverse<'_> {
    /// Transforms back the blocks `radix` levels below `node`. Canonical in, `|x| <= 2` out.
    #[target_feature(enable = "avx512f")]
    unsafe fn children(&self, data: Data, node: usize, log: u32, radix: u32) {
        let log_child = log - radix;
        for child in 0..1 << radix {
            // SAFETY: sub-blocks partition the block.
            unsafe { self.block(data.offset(child << log_child), (node << radix) + child, log_child) };
        }
    }

    /// Transforms back the `2^log` values at `data`, which belong to `node`, up to the factor `2^log`. Canonical in,
    /// `|x| <= 2` out.
    #[target_feature(enable = "avx512f")]
    unsafe fn block(&self, data: Data, node: usize, log: u32) {
        // SAFETY: sub-blocks partition the block, and the leaves of a node cover it.
        unsafe {
            if log > CACHED_LOG {
                self.children(data, node, log, 2);
                self.radix_4(data, node..node + 1, log);
                return;
            }
            let below = |depth: u32| node << depth..(node + 1) << depth;
            self.leaves(data, below(log - LEAF_LOG));
            let mut done = LEAF_LOG;
            while done + 2 <= log {
                done += 2;
                self.radix_4(data, below(log - done), done);
            }
            if done < log {
                self.radix_2(data, node, log);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn butterfly(&self, x: Vector, y: Vector, w: Vector) -> Pair {
        [_mm512_add_pd(x, y), product(self.c, _mm512_sub_pd(x, y), w)]
    }

    /// The first of two levels.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn first(&self, x: Row, left: Vector, right: Vector) -> Row {
        let ([u0, u1], [u2, u3]) = (self.butterfly(x[0], x[1], left), self.butterfly(x[2], x[3], right));
        [u0, u1, u2, u3]
    }

    /// A prime nearer to zero: what is at most 2.5 becomes at most 1.5.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn closer(&self, x: Vector) -> Vector {
        // The sign of x, the rest of p.
        const SELECT: i32 = 0b1100_1010;
        let [sign, x_bits, p] = [_mm512_set1_pd(-0.0), x, self.c.p].map(|x| _mm512_castpd_si512(x));
        let step = _mm512_ternarylogic_epi64::<SELECT>(sign, x_bits, p);
        _mm512_sub_pd(x, _mm512_castsi512_pd(step))
    }

    /// The second of two levels from 2 on, and back to 2.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn second(&self, u: Row, w: Vector) -> Row {
        let ([y0, y2], [y1, y3]) = (self.butterfly(u[0], u[2], w), self.butterfly(u[1], u[3], w));
        [partial(self.c, y0), self.closer(y1), y2, y3]
    }

    /// One level: `|x| <= 2` in and out.
    #[target_feature(enable = "avx512f")]
    unsafe fn radix_2(&self, data: Data, node: usize, log: u32) {
        let half = 1 << (log - 1);
        // SAFETY: both positions are within the block of `2 half`.
        unsafe {
            let w = self.roots.of(node);
            for j in (0..half).step_by(LANES) {
                let [x, y] = self.butterfly(data.load(j), data.load(j + half), w);
                data.store(j, partial(self.c, x));
                data.store(j + half, y);
            }
        }
    }

    /// Two levels of the blocks of `2^log` values, one after another, that belong to `nodes`: `|x| <= 2` in and out.
    #[target_feature(enable = "avx512f")]
    unsafe fn radix_4(&self, data: Data, nodes: Range<usize>, log: u32) {
        if log < LONG_LOG {
            // SAFETY: the caller provides a block for each node.
            return unsafe { self.radix_4_short(data, nodes, log) };
        }
        let quarter = 1 << (log - 2);
        for (block, node) in nodes.enumerate() {
            // SAFETY: the caller provides a block for each node; all rows are within its `4 quarter` values.
            unsafe {
                let data = data.offset(block << log);
                let [w, left, right] = [node, 2 * node, 2 * node + 1].map(|node| self.roots.of(node));
                pipeline(
                    quarter / LANES,
                    |i| self.first(data.row(LANES * i, quarter), left, right),
                    |i, u| data.store_row(LANES * i, quarter, self.second(u, w)),
                );
            }
        }
    }

    /// As [`radix_4`](Self::radix_4), two rows at a time and without a pause between blocks.
    #[target_feature(enable = "avx512f")]
    unsafe fn radix_4_short(&self, data: Data, nodes: Range<usize>, log: u32) {
        let pairs = RowPairs { data, log };
        // SAFETY: the caller provides a block for each node, and pairs are counted over all of them.
        unsafe {
            pipeline(
                nodes.len() << pairs.pairs_log(),
                |i| {
                    let ((data, quarter), node) = (pairs.place(i), 2 * (nodes.start + pairs.block(i)));
                    let (left, right) = (self.roots.of(node), self.roots.of(node + 1));
                    [self.first(data.row(0, quarter), left, right), self.first(data.row(LANES, quarter), left, right)]
                },
                |i, [u, v]: [Row; 2]| {
                    let ((data, quarter), w) = (pairs.place(i), self.roots.of(nodes.start + pairs.block(i)));
                    data.store_row(0, quarter, self.second(u, w));
                    data.store_row(LANES, quarter, self.second(v, w));
                },
            );
        }
    }

    /// The two levels of the root of the tree, with the scaling by `1/N` merged into the last: its sums are multiplied by the
    /// first scale, its differences by the second. `|x| <= 2` in, canonical out: sums and differences are at most 8, their
    /// products at most 2.
    #[target_feature(enable = "avx512f")]
    unsafe fn last_pass(&self, data: Data, log: u32, [scale, root_scale]: [Vector; 2]) {
        let c = self.c;
        let quarter = 1 << (log - 2);
        let last = |x: Vector, y: Vector| {
            [
                partial(c, product(c, _mm512_add_pd(x, y), scale)),
                partial(c, product(c, _mm512_sub_pd(x, y), root_scale)),
            ]
        };
        // SAFETY: all rows are within the whole vector.
        unsafe {
            let (left, right) = (self.roots.of(2), self.roots.of(3));
            pipeline(
                quarter / LANES,
                |i| self.first(data.row(LANES * i, quarter), left, right),
                |i, u| {
                    let ([y0, y2], [y1, y3]) = (last(u[0], u[2]), last(u[1], u[3]));
                    data.store_row(LANES * i, quarter, [y0, y1, y2, y3]);
                },
            );
        }
    }

    /// The first four levels of the blocks of 16 values that belong to `nodes`. Canonical in, `|x| <= 2` out.
    ///
    /// Comments say which bits of a position number the lanes, as in the forward transform.
    #[target_feature(enable = "avx512f")]
    unsafe fn leaves(&self, data: Data, nodes: Range<usize>) {
        let leaves = &self.leaves[nodes.start - self.leaves.len()..nodes.end - self.leaves.len()];
        let (even, odd) = (_mm512_setr_epi64(0, 2, 8, 10, 4, 6, 12, 14), _mm512_setr_epi64(1, 3, 9, 11, 5, 7, 13, 15));
        // SAFETY: there are 16 values for each node.
        unsafe {
            pipeline_5(
                nodes.len(),
                |i| {
                    let (x, y) = (data.load(16 * i), data.load(16 * i + LANES));
                    [_mm512_permutex2var_pd(x, even, y), _mm512_permutex2var_pd(x, odd, y)]
                },
                |i, [x, y]| {
                    // Bit 0; lanes 2, 3, 1.
                    let [x, y] = self.butterfly(x, y, load(&leaves[i].twos, 0));
                    [_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y)]
                },
                |i, [x, y]| {
                    // Bit 1; lanes 2, 3, 0.
                    let [x, y] = self.butterfly(x, y, load(&leaves[i].fours, 0));
                    [_mm512_shuffle_f64x2::<0b01_00_01_00>(x, y), _mm512_shuffle_f64x2::<0b11_10_11_10>(x, y)]
                },
                |i, [x, y]| {
                    // Bit 2; lanes 1, 3, 0.
                    let [x, y] = self.butterfly(x, y, load(&leaves[i].eights, 0));
                    [_mm512_shuffle_f64x2::<0b10_00_10_00>(x, y), _mm512_shuffle_f64x2::<0b11_01_11_01>(x, y)]
                },
                |i, [x, y]| {
                    // Bit 3; lanes 2, 1, 0. Sums of sums of sums are at most 4, and 8 after this level.
                    let [x, y] = self.butterfly(x, y, self.roots.of(nodes.start + i));
                    data.store(16 * i, partial(self.c, x));
                    data.store(16 * i + LANES, y);
                },
            );
        }
    }
}

//! Coefficients to evaluations.

use core::arch::x86_64::{
    _mm512_add_pd, _mm512_fmadd_pd, _mm512_permutex2var_pd, _mm512_set1_pd, _mm512_setr_epi64, _mm512_shuffle_f64x2,
    _mm512_sub_pd, _mm512_unpackhi_pd, _mm512_unpacklo_pd,
};
use core::ops::Range;

use super::super::{LANES, Prime, Vector, load, nearest, partial, prime, product};
use super::fold::fold;
use super::{CACHED_LOG, Data, LEAF_LOG, LONG_LOG, MIN_DEGREE, Pair, Roots, Row, RowPairs, pipeline, pipeline_5};
use crate::ntt::WideLeafRoots;
use crate::{NttTable, Ring};

/// Largest bound that may enter a pass which reduces: one level later it is at most 8.
const MAX_BOUND: f64 = 6.31;
/// Largest bound that may enter a leaf: two levels later it is at most 8.
const MAX_LEAF_BOUND: f64 = 4.89;

/// The bound after a level without a reduction.
fn grow(bound: f64) -> f64 {
    1.1875 * bound + 0.5
}

/// The bound after a level that reduces `x`.
fn grow_reduced(bound: f64) -> f64 {
    1.0 + 0.1875 * bound
}

#[target_feature(enable = "avx512f")]
pub(in super::super) fn ntt_forward(table: &NttTable, a: &mut [f64]) {
    assert!(a.len() == table.degree() && a.len() >= MIN_DEGREE);
    let forward = Forward::new(table);
    let log = a.len().trailing_zeros();
    let data = Data(a.as_mut_ptr());
    // SAFETY: the root block is the whole slice, as long as the table's degree; its two children halve it.
    unsafe {
        match table.ring() {
            Ring::Standard => forward.block(data, 1, log, 0.5),
            Ring::ConjugateInvariant => {
                fold(table, data, |at| data.load(at));
                forward.halves(data, log, 0.5);
            }
        }
    }
}

/// Smallest degree whose first pass can read something else than what it writes.
pub(in super::super) const MIN_FUSED: usize = 2 << CACHED_LOG;

/// The transform of the residues of integers `|a| < 2^49`.
#[target_feature(enable = "avx512f")]
pub(in super::super) fn reduce_forward(table: &NttTable, out: &mut [f64], a: &[f64]) {
    assert_eq!(a.len(), table.degree());
    let (c, a) = (prime(table.modulus()), Data(a.as_ptr().cast_mut()));
    // SAFETY: the slice has the degree's length, and is only read. What a reduction leaves of 2^49 is at most p/2 + 1/8.
    unsafe { Forward::new(table).read_from(table, out, 0.6, |at| partial(c, a.load(at))) };
}

/// The transform of a sum of a few products and a small correction, as [`Kernel::combine_forward`] defines it.
///
/// A product is at most 0.6, whatever the prime, as in [`combine`](super::super::combine), and the correction an exact product
/// of at most `K/2`: the sum is at most 3.3.
///
/// [`Kernel::combine_forward`]: crate::Kernel::combine_forward
#[target_feature(enable = "avx512f")]
pub(in super::super) fn combine_forward<const K: usize>(
    table: &NttTable,
    out: &mut [f64],
    terms: [(&[f64], f64); K],
    (correction, weight): (&[f64], f64),
) {
    const { assert!(K <= 3) };
    let slices = terms.iter().map(|(a, _)| a).chain([&correction]);
    assert!(slices.into_iter().all(|a| a.len() == table.degree()), "slices of different lengths");
    let c = prime(table.modulus());
    let terms = terms.map(|(a, w)| (Data(a.as_ptr().cast_mut()), _mm512_set1_pd(w)));
    let (correction, weight) = (Data(correction.as_ptr().cast_mut()), _mm512_set1_pd(weight));
    let bound = 1.1 * K as f64;
    // SAFETY: all slices have the degree's length, and these are only read.
    unsafe {
        Forward::new(table).read_from(table, out, bound, |at| {
            let products = terms.map(|(a, w)| product(c, a.load(at), w));
            let sum = products[1..].iter().fold(products[0], |sum, product| _mm512_add_pd(sum, *product));
            _mm512_fmadd_pd(correction.load(at), weight, sum)
        });
    }
}

struct Forward<'a> {
    c: Prime,
    roots: Roots<'a>,
    leaves: &'a [WideLeafRoots],
}

/// Levels of the next pass over a block of `2^log`.
fn radix_log(log: u32) -> u32 {
    if log > CACHED_LOG || (log - LEAF_LOG).is_multiple_of(2) { 2 } else { 1 }
}

impl<'a> Forward<'a> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(table: &'a NttTable) -> Self {
        Self { c: prime(table.modulus()), roots: Roots(table.roots()), leaves: table.wide_leaf_roots() }
    }

    /// Transforms coefficients that `read` hands out, at most `bound`, eight at a position below the degree, into `out`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn read_from(&self, table: &NttTable, out: &mut [f64], bound: f64, read: impl Fn(usize) -> Vector) {
        assert!(out.len() == table.degree() && out.len() >= MIN_FUSED);
        let (data, log) = (Data(out.as_mut_ptr()), out.len().trailing_zeros());
        debug_assert!(grow(grow(bound)) <= MAX_BOUND);
        // SAFETY: as in `ntt_forward`; the four children of the root quarter it.
        unsafe {
            match table.ring() {
                Ring::Standard => {
                    let quarter = 1 << (log - 2);
                    let [w, left, right] = [1, 2, 3].map(|node| self.roots.of(node));
                    pipeline(
                        quarter / LANES,
                        |i| self.first(core::array::from_fn(|r| read(LANES * i + r * quarter)), w),
                        |i, u| data.store_row(LANES * i, quarter, self.second::<false>(u, left, right)),
                    );
                    for child in 0..4 {
                        self.block(data.offset(child * quarter), 4 + child, log - 2, grow(grow(bound)));
                    }
                }
                Ring::ConjugateInvariant => {
                    fold(table, data, read);
                    self.halves(data, log, bound);
                }
            }
        }
    }

    /// Transforms what [`fold`] has made of coefficients of at most `bound`.
    #[target_feature(enable = "avx512f")]
    unsafe fn halves(&self, data: Data, log: u32, bound: f64) {
        // SAFETY: the two children halve the root block.
        unsafe {
            self.block(data, 2, log - 1, grow(grow(bound)));
            self.block(data.offset(1 << (log - 1)), 3, log - 1, grow(grow(bound)));
        }
    }

    /// Transforms the `2^log` coefficients at `data`, at most `bound`, which belong to `node`.
    #[target_feature(enable = "avx512f")]
    unsafe fn block(&self, data: Data, node: usize, log: u32, bound: f64) {
        // SAFETY: sub-blocks partition the block, and the leaves of a node cover it.
        unsafe {
            let (mut depth, mut bound) = (0, bound);
            while log - depth > LEAF_LOG {
                let radix = radix_log(log - depth);
                bound = self.pass(data, node << depth..(node + 1) << depth, log - depth, radix, bound);
                depth += radix;
                if log > CACHED_LOG {
                    for child in 0..1 << depth {
                        self.block(data.offset(child << (log - depth)), (node << depth) + child, log - depth, bound);
                    }
                    return;
                }
            }
            debug_assert!(bound <= MAX_LEAF_BOUND);
            self.leaves(data, node << depth..(node + 1) << depth);
        }
    }

    /// `radix` levels of the blocks of `2^log` coefficients, one after another, that belong to `nodes`; returns the new bound.
    #[target_feature(enable = "avx512f")]
    unsafe fn pass(&self, data: Data, nodes: Range<usize>, log: u32, radix: u32, bound: f64) -> f64 {
        let limit = if log - radix == LEAF_LOG { MAX_LEAF_BOUND } else { MAX_BOUND };
        let before_last = if radix == 2 { grow(bound) } else { bound };
        let (plain, reduced) = (grow(before_last), grow_reduced(before_last));
        debug_assert!(bound <= MAX_BOUND);
        // SAFETY: the caller provides a block for each node.
        unsafe {
            match (radix, plain <= limit) {
                (2, true) => self.radix_4::<false>(data, nodes, log),
                (2, false) => self.radix_4::<true>(data, nodes, log),
                (_, true) => self.radix_2::<false>(data, nodes, log),
                (_, false) => self.radix_2::<true>(data, nodes, log),
            }
        }
        if plain <= limit { plain } else { reduced }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn reduce<const REDUCE: bool>(&self, x: Vector) -> Vector {
        if REDUCE { partial(self.c, x) } else { x }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn butterfly(&self, x: Vector, y: Vector, w: Vector) -> Pair {
        let y = product(self.c, y, w);
        [_mm512_add_pd(x, y), _mm512_sub_pd(x, y)]
    }

    /// The first of two levels.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn first(&self, x: Row, w: Vector) -> Row {
        let ([u0, u2], [u1, u3]) = (self.butterfly(x[0], x[2], w), self.butterfly(x[1], x[3], w));
        [u0, u1, u2, u3]
    }

    /// The second of two levels.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn second<const REDUCE: bool>(&self, u: Row, left: Vector, right: Vector) -> Row {
        let [y0, y1] = self.butterfly(self.reduce::<REDUCE>(u[0]), u[1], left);
        let [y2, y3] = self.butterfly(self.reduce::<REDUCE>(u[2]), u[3], right);
        [y0, y1, y2, y3]
    }

    /// One level, which reduces if told to.
    #[target_feature(enable = "avx512f")]
    unsafe fn radix_2<const REDUCE: bool>(&self, data: Data, nodes: Range<usize>, log: u32) {
        let half = 1 << (log - 1);
        for (block, node) in nodes.enumerate() {
            // SAFETY: the caller provides a block for each node; both positions are within its `2 half` coefficients.
            unsafe {
                let (data, w) = (data.offset(block << log), self.roots.of(node));
                for j in (0..half).step_by(LANES) {
                    let [x, y] = self.butterfly(self.reduce::<REDUCE>(data.load(j)), data.load(j + half), w);
                    data.store(j, x);
                    data.store(j + half, y);
                }
            }
        }
    }

    /// Two levels; the second reduces if told to.
    #[target_feature(enable = "avx512f")]
    unsafe fn radix_4<const REDUCE: bool>(&self, data: Data, nodes: Range<usize>, log: u32) {
        if log < LONG_LOG {
            // SAFETY: the caller provides a block for each node.
            return unsafe { self.radix_4_short::<REDUCE>(data, nodes, log) };
        }
        let quarter = 1 << (log - 2);
        for (block, node) in nodes.enumerate() {
            // SAFETY: the caller provides a block for each node; all rows are within its `4 quarter` coefficients.
            unsafe {
                let data = data.offset(block << log);
                let [w, left, right] = [node, 2 * node, 2 * node + 1].map(|node| self.roots.of(node));
                pipeline(
                    quarter / LANES,
                    |i| self.first(data.row(LANES * i, quarter), w),
                    |i, u| data.store_row(LANES * i, quarter, self.second::<REDUCE>(u, left, right)),
                );
            }
        }
    }

    /// As [`radix_4`](Self::radix_4), two rows at a time and without a pause between blocks.
    #[target_feature(enable = "avx512f")]
    unsafe fn radix_4_short<const REDUCE: bool>(&self, data: Data, nodes: Range<usize>, log: u32) {
        let pairs = RowPairs { data, log };
        // SAFETY: the caller provides a block for each node, and pairs are counted over all of them.
        unsafe {
            pipeline(
                nodes.len() << pairs.pairs_log(),
                |i| {
                    let ((data, quarter), w) = (pairs.place(i), self.roots.of(nodes.start + pairs.block(i)));
                    [self.first(data.row(0, quarter), w), self.first(data.row(LANES, quarter), w)]
                },
                |i, [u, v]: [Row; 2]| {
                    let ((data, quarter), node) = (pairs.place(i), 2 * (nodes.start + pairs.block(i)));
                    let (left, right) = (self.roots.of(node), self.roots.of(node + 1));
                    data.store_row(0, quarter, self.second::<REDUCE>(u, left, right));
                    data.store_row(LANES, quarter, self.second::<REDUCE>(v, left, right));
                },
            );
        }
    }

    /// The last four levels of the blocks of 16 coefficients that belong to `nodes`. `|x| <= 4.89` in, canonical out.
    ///
    /// Bits of a position are 3 to 0. A level of one bit needs it to tell the two vectors apart; each comment says which bits
    /// number the lanes then, highest first.
    #[target_feature(enable = "avx512f")]
    unsafe fn leaves(&self, data: Data, nodes: Range<usize>) {
        let c = self.c;
        // A table has as many leaves as its first node of size 16 says.
        let leaves = &self.leaves[nodes.start - self.leaves.len()..nodes.end - self.leaves.len()];
        let (low, high) = (_mm512_setr_epi64(0, 8, 1, 9, 4, 12, 5, 13), _mm512_setr_epi64(2, 10, 3, 11, 6, 14, 7, 15));
        // SAFETY: there are 16 coefficients for each node.
        unsafe {
            pipeline_5(
                nodes.len(),
                |i| {
                    // Bit 3; lanes 2, 1, 0.
                    let (x, y) = (data.load(16 * i), data.load(16 * i + LANES));
                    let [x, y] = self.butterfly(x, y, self.roots.of(nodes.start + i));
                    [_mm512_shuffle_f64x2::<0b01_00_01_00>(x, y), _mm512_shuffle_f64x2::<0b11_10_11_10>(x, y)]
                },
                |i, [x, y]| {
                    // Bit 2; lanes 3, 1, 0.
                    let [x, y] = self.butterfly(x, y, load(&leaves[i].eights, 0));
                    [_mm512_shuffle_f64x2::<0b10_00_10_00>(x, y), _mm512_shuffle_f64x2::<0b11_01_11_01>(x, y)]
                },
                |i, [x, y]| {
                    // Bit 1; lanes 2, 3, 0. |x| <= 8, so that this level makes at most 2.5, and the next one at most 3.5.
                    let [x, y] = self.butterfly(partial(c, x), y, load(&leaves[i].fours, 0));
                    [_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y)]
                },
                |i, [x, y]| {
                    // Bit 0; lanes 2, 3, 1.
                    self.butterfly(x, y, load(&leaves[i].twos, 0))
                },
                |i, [x, y]| {
                    let (x, y) = (nearest(c, x), nearest(c, y));
                    data.store(16 * i, _mm512_permutex2var_pd(x, low, y));
                    data.store(16 * i + LANES, _mm512_permutex2var_pd(x, high, y));
                },
            );
        }
    }
}

//! The transforms. Bounds are in units of the prime, as in the parent module; docs/notes/ntt.md derives them.
//!
//! A level of the forward transform maps `(x, y)` to `(x + w y, x - w y)`. With inputs of at most `B` the product is at
//! most `0.5 + 0.1875 B` whatever `B <= 8` is, so a level grows the bound to `f(B) = 1.1875 B + 0.5`, or, if it reduces
//! `x` first, sets it to `g(B) = 1 + 0.1875 B`. A pass does two or three levels and knows the bound of its input, so
//! that it reduces only where it must.

use super::{Factor, Prime, Vector, canonical, factor, load, nearest, partial, prime, product, product_by, store};
use crate::ntt::LeafRoots;
use crate::{NttTable, Ring};
use core::arch::x86_64::{
    _mm_loadu_pd, _mm256_add_pd, _mm256_castpd128_pd256, _mm256_fmadd_pd, _mm256_insertf128_pd, _mm256_loadu_pd,
    _mm256_permute2f128_pd, _mm256_permute4x64_pd, _mm256_set1_pd, _mm256_storeu_pd, _mm256_sub_pd, _mm256_unpackhi_pd,
    _mm256_unpacklo_pd,
};

/// Blocks of this many coefficients (16 KiB) are transformed pass by pass; larger ones by recursion.
const CACHED_LOG: u32 = 11;
/// A leaf is 16 coefficients.
const LEAF_LOG: u32 = 4;
/// Leaves that are finished together: 4 KiB of coefficients and as much of roots.
const LEAVES: usize = 32;

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

/// Raw access to the vector being transformed. Every position used is below the length of the slice it was made from.
#[derive(Clone, Copy)]
struct Data(*mut f64);

impl Data {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(self, at: usize) -> Vector {
        // SAFETY: the caller keeps `at + 4` within the slice.
        unsafe { _mm256_loadu_pd(self.0.add(at)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store(self, at: usize, value: Vector) {
        // SAFETY: the caller keeps `at + 4` within the slice.
        unsafe { _mm256_storeu_pd(self.0.add(at), value) }
    }

    /// The vectors at `at + r distance`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn row(self, at: usize, distance: usize) -> [Vector; 4] {
        // SAFETY: the caller keeps all of them within the slice.
        core::array::from_fn(|r| unsafe { self.load(at + r * distance) })
    }

    /// Writes what [`row`](Self::row) reads.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store_row(self, at: usize, distance: usize, vectors: [Vector; 4]) {
        for (r, vector) in vectors.into_iter().enumerate() {
            // SAFETY: the caller keeps all of them within the slice.
            unsafe { self.store(at + r * distance, vector) };
        }
    }

    /// The 16 values at `at`, transposed as a 4 x 4 matrix. Half vectors are joined as they are loaded, which the
    /// processor does for less than the exchange of lanes in [`transpose`].
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load_transposed(self, at: usize) -> [Vector; 4] {
        // SAFETY: the caller keeps `at + 16` within the slice.
        let join = |low: usize, high: usize| unsafe {
            let low = _mm256_castpd128_pd256(_mm_loadu_pd(self.0.add(at + low)));
            _mm256_insertf128_pd::<1>(low, _mm_loadu_pd(self.0.add(at + high)))
        };
        let (a, b, c, d) = (join(0, 8), join(4, 12), join(2, 10), join(6, 14));
        [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), _mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d)]
    }

    #[inline]
    unsafe fn offset(self, by: usize) -> Self {
        // SAFETY: the caller keeps `by` within the slice.
        Self(unsafe { self.0.add(by) })
    }
}

/// Runs `second(i, first(i))` for every `i` below `count`, one step apart.
///
/// The second half of a step waits for the first, a chain far longer than the processor looks ahead; the first half of
/// the next step keeps it busy.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn pipeline(count: usize, first: impl Fn(usize) -> [Vector; 4], second: impl Fn(usize, [Vector; 4])) {
    let mut rows = first(0);
    for i in 1..count {
        let next = first(i);
        second(i - 1, rows);
        rows = next;
    }
    second(count - 1, rows);
}

/// As [`pipeline`], for a third part of each step.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn pipeline_3(
    count: usize,
    first: impl Fn(usize) -> [Vector; 4],
    second: impl Fn(usize, [Vector; 4]) -> [Vector; 4],
    third: impl Fn(usize, [Vector; 4]),
) {
    let mut rows = first(0);
    let mut late_rows = second(0, rows);
    if count > 1 {
        rows = first(1);
        for i in 2..count {
            let next = first(i);
            let next_late = second(i - 1, rows);
            third(i - 2, late_rows);
            (rows, late_rows) = (next, next_late);
        }
        third(count - 2, late_rows);
        late_rows = second(count - 1, rows);
    }
    third(count - 1, late_rows);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn ntt_forward(table: &NttTable, a: &mut [f64]) {
    assert_eq!(a.len(), table.degree());
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
pub(super) const MIN_FUSED: usize = 2 << CACHED_LOG;

/// The transform of the residues of integers `|a| < 2^49`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce_forward(table: &NttTable, out: &mut [f64], a: &[f64]) {
    assert_eq!(a.len(), table.degree());
    let (c, a) = (prime(table.modulus()), Data(a.as_ptr().cast_mut()));
    // SAFETY: the slice has the degree's length, and is only read. What a reduction leaves of 2^49 is at most p/2 + 1/8.
    unsafe { Forward::new(table).read_from(table, out, 0.6, |at| partial(c, a.load(at))) };
}

/// The transform of a sum of a few products and a small correction, as [`Kernel::combine_forward`] defines it.
///
/// A product is at most 0.6, whatever the prime, as in [`combine`](super::combine), and the correction an exact product of
/// at most `K/2`: the sum is at most 3.3.
///
/// [`Kernel::combine_forward`]: crate::Kernel::combine_forward
#[target_feature(enable = "avx2,fma")]
pub(super) fn combine_forward<const K: usize>(
    table: &NttTable,
    out: &mut [f64],
    terms: [(&[f64], f64); K],
    (correction, weight): (&[f64], f64),
) {
    const { assert!(K <= 3) };
    let slices = terms.iter().map(|(a, _)| a).chain([&correction]);
    assert!(slices.into_iter().all(|a| a.len() == table.degree()), "slices of different lengths");
    let c = prime(table.modulus());
    let terms = terms.map(|(a, w)| (Data(a.as_ptr().cast_mut()), factor(c, _mm256_set1_pd(w))));
    let (correction, weight) = (Data(correction.as_ptr().cast_mut()), _mm256_set1_pd(weight));
    let bound = 1.1 * K as f64;
    // SAFETY: all slices have the degree's length, and these are only read.
    unsafe {
        Forward::new(table).read_from(table, out, bound, |at| {
            let products = terms.map(|(a, w)| product_by(c, a.load(at), w));
            let sum = products[1..].iter().fold(products[0], |sum, product| _mm256_add_pd(sum, *product));
            _mm256_fmadd_pd(correction.load(at), weight, sum)
        });
    }
}

struct Forward<'a> {
    c: Prime,
    roots: &'a [f64],
    leaves: &'a [LeafRoots],
}

/// Levels of the next pass over a block of `2^log`.
fn radix_log(log: u32) -> u32 {
    if log > CACHED_LOG || (log - LEAF_LOG).is_multiple_of(2) { 2 } else { 1 }
}

impl<'a> Forward<'a> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(table: &'a NttTable) -> Self {
        Self { c: prime(table.modulus()), roots: table.roots(), leaves: table.leaf_roots() }
    }

    /// Transforms coefficients that `read` hands out, at most `bound`, four at a position below the degree, into `out`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn read_from(&self, table: &NttTable, out: &mut [f64], bound: f64, read: impl Fn(usize) -> Vector) {
        assert!(out.len() == table.degree() && out.len() >= MIN_FUSED);
        let (data, log) = (Data(out.as_mut_ptr()), out.len().trailing_zeros());
        debug_assert!(grow(grow(bound)) <= MAX_BOUND);
        // SAFETY: as in `ntt_forward`; the four children of the root quarter it.
        unsafe {
            match table.ring() {
                Ring::Standard => {
                    let quarter = 1 << (log - 2);
                    let (w, left, right) = (self.root(1), self.root(2), self.root(3));
                    pipeline_3(
                        quarter / 4,
                        |i| core::array::from_fn(|r| read(4 * i + r * quarter)),
                        |_, x| self.first(x, w),
                        |i, u| data.store_row(4 * i, quarter, self.second::<false>(u, left, right)),
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
    #[target_feature(enable = "avx2,fma")]
    unsafe fn halves(&self, data: Data, log: u32, bound: f64) {
        // SAFETY: the two children halve the root block.
        unsafe {
            self.block(data, 2, log - 1, grow(grow(bound)));
            self.block(data.offset(1 << (log - 1)), 3, log - 1, grow(grow(bound)));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn root(&self, node: usize) -> Factor {
        factor(self.c, _mm256_set1_pd(self.roots[node]))
    }

    /// Transforms the `2^log` coefficients at `data`, at most `bound`, which belong to `node`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block(&self, data: Data, node: usize, log: u32, bound: f64) {
        // SAFETY: sub-blocks partition the block, and the leaves of a node cover it.
        unsafe {
            let (mut depth, mut bound) = (0, bound);
            while log - depth > LEAF_LOG {
                let radix = radix_log(log - depth);
                bound = self.pass(data, node, log, depth, radix, bound);
                depth += radix;
                if log > CACHED_LOG {
                    for child in 0..1 << depth {
                        self.block(data.offset(child << (log - depth)), (node << depth) + child, log - depth, bound);
                    }
                    return;
                }
            }
            debug_assert!(bound <= MAX_LEAF_BOUND);
            let first = (node << depth) - self.roots.len() / 16;
            for (part, roots) in self.leaves[first..first + (1 << depth)].chunks(LEAVES).enumerate() {
                self.leaves(data.offset(16 * LEAVES * part), roots);
            }
        }
    }

    /// `radix` levels of all `2^depth` blocks below `node`; returns the new bound.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn pass(&self, data: Data, node: usize, log: u32, depth: u32, radix: u32, bound: f64) -> f64 {
        let log_block = log - depth;
        let limit = if log_block - radix == LEAF_LOG { MAX_LEAF_BOUND } else { MAX_BOUND };
        let before_last = if radix == 2 { grow(bound) } else { bound };
        let (plain, reduced) = (grow(before_last), grow_reduced(before_last));
        debug_assert!(bound <= MAX_BOUND);
        for child in 0..1usize << depth {
            // SAFETY: sub-blocks partition the block.
            unsafe {
                let (data, node) = (data.offset(child << log_block), (node << depth) + child);
                match (radix, plain <= limit) {
                    (2, true) => self.radix_4::<false>(data, node, log_block),
                    (2, false) => self.radix_4::<true>(data, node, log_block),
                    (_, true) => self.radix_2::<false>(data, node, log_block),
                    (_, false) => self.radix_2::<true>(data, node, log_block),
                }
            }
        }
        if plain <= limit { plain } else { reduced }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce<const REDUCE: bool>(&self, x: Vector) -> Vector {
        if REDUCE { partial(self.c, x) } else { x }
    }

    /// One level, which reduces if told to.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_2<const REDUCE: bool>(&self, data: Data, node: usize, log: u32) {
        let half = 1 << (log - 1);
        let w = self.root(node);
        for j in (0..half).step_by(4) {
            // SAFETY: both positions are within the block of `2 half`.
            unsafe {
                let (x, y) = self.butterfly(self.reduce::<REDUCE>(data.load(j)), data.load(j + half), w);
                data.store(j, x);
                data.store(j + half, y);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn butterfly(&self, x: Vector, y: Vector, w: Factor) -> (Vector, Vector) {
        let y = product_by(self.c, y, w);
        (_mm256_add_pd(x, y), _mm256_sub_pd(x, y))
    }

    /// The first of two levels.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn first(&self, x: [Vector; 4], w: Factor) -> [Vector; 4] {
        let (u0, u2) = self.butterfly(x[0], x[2], w);
        let (u1, u3) = self.butterfly(x[1], x[3], w);
        [u0, u1, u2, u3]
    }

    /// The second of two levels.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn second<const REDUCE: bool>(&self, u: [Vector; 4], left: Factor, right: Factor) -> [Vector; 4] {
        let (y0, y1) = self.butterfly(self.reduce::<REDUCE>(u[0]), u[1], left);
        let (y2, y3) = self.butterfly(self.reduce::<REDUCE>(u[2]), u[3], right);
        [y0, y1, y2, y3]
    }

    /// Two levels; the second reduces if told to.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_4<const REDUCE: bool>(&self, data: Data, node: usize, log: u32) {
        let quarter = 1 << (log - 2);
        let (w, left, right) = (self.root(node), self.root(2 * node), self.root(2 * node + 1));
        // SAFETY: all rows are within the block of `4 quarter`.
        unsafe {
            pipeline(
                quarter / 4,
                |i| self.first(data.row(4 * i, quarter), w),
                |i, u| data.store_row(4 * i, quarter, self.second::<REDUCE>(u, left, right)),
            );
        }
    }

    /// The last four levels of several blocks of 16 coefficients: two across vectors, then two across the lanes of the
    /// transpose. `|x| <= 4.89` in, canonical out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn leaves(&self, data: Data, roots: &[LeafRoots]) {
        let c = self.c;
        // SAFETY: there are 16 coefficients for each entry of `roots`.
        unsafe {
            pipeline(
                roots.len(),
                |i| self.first(data.row(16 * i, 4), factor(c, _mm256_set1_pd(roots[i].shared[0]))),
                |i, u| {
                    let [_, left, right] = roots[i].shared.map(|w| factor(c, _mm256_set1_pd(w)));
                    data.store_row(16 * i, 4, self.second::<false>(u, left, right));
                },
            );
            // |x| <= 8, so that the third level makes at most 2.5, and the last one at most 3.5.
            pipeline_3(
                roots.len(),
                |i| {
                    let [x0, x1, x2, x3] = data.load_transposed(16 * i);
                    self.first([partial(c, x0), partial(c, x1), x2, x3], factor(c, load(&roots[i].fours, 0)))
                },
                |i, u| {
                    let (left, right) = (factor(c, load(&roots[i].left, 0)), factor(c, load(&roots[i].right, 0)));
                    self.second::<false>(u, left, right)
                },
                |i, y| data.store_row(16 * i, 4, transpose(y.map(|y| nearest(c, y)))),
            );
        }
    }
}

/// Transposes 4 x 4.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose(x: [Vector; 4]) -> [Vector; 4] {
    let (a, b) = (_mm256_unpacklo_pd(x[0], x[1]), _mm256_unpackhi_pd(x[0], x[1]));
    let (c, d) = (_mm256_unpacklo_pd(x[2], x[3]), _mm256_unpackhi_pd(x[2], x[3]));
    [
        _mm256_permute2f128_pd::<0x20>(a, c),
        _mm256_permute2f128_pd::<0x20>(b, d),
        _mm256_permute2f128_pd::<0x31>(a, c),
        _mm256_permute2f128_pd::<0x31>(b, d),
    ]
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn ntt_inverse(table: &NttTable, a: &mut [f64]) {
    inverse(table, a, table.inverse_scales());
}

/// The scaling by `w` is merged with that by `1/N`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn ntt_inverse_scaled(table: &NttTable, a: &mut [f64], w: f64) {
    let q = table.modulus();
    inverse(table, a, table.inverse_scales().map(|scale| q.center(q.mul(q.lift(scale), q.lift(w)))));
}

/// The inverse transform with scales in place of the table's [`inverse_scales`](NttTable::inverse_scales).
#[target_feature(enable = "avx2,fma")]
fn inverse(table: &NttTable, a: &mut [f64], scales: [f64; 2]) {
    assert_eq!(a.len(), table.degree());
    let c = prime(table.modulus());
    let inverse = Inverse { c, roots: table.inverse_roots(), leaves: table.inverse_leaf_roots() };
    let (data, log) = (Data(a.as_mut_ptr()), a.len().trailing_zeros());
    // SAFETY: the root block is the whole slice, as long as the table's degree.
    unsafe {
        match table.ring() {
            Ring::Standard => {
                inverse.children(data, 1, log, 2);
                let [scale, root_scale] = scales.map(|w| factor(c, _mm256_set1_pd(w)));
                inverse.last_pass(data, log, scale, root_scale);
            }
            Ring::ConjugateInvariant => {
                inverse.children(data, 1, log, 1);
                unfold(table, a, scales);
            }
        }
    }
}

struct Inverse<'a> {
    c: Prime,
    roots: &'a [f64],
    leaves: &'a [LeafRoots],
}

/// A level maps `(x, y)` to `(x + y, (x - y) w)`: the bound of the sums doubles, a product is at most `0.5 + 0.1875 (2 B)`.
/// Two levels from `B = 2` on: sums 4 and products 1.25; then `8, 2.5` for the sums of each and `2, 1` for the products.
impl Inverse<'_> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn root(&self, node: usize) -> Factor {
        factor(self.c, _mm256_set1_pd(self.roots[node]))
    }

    /// Transforms back the blocks `radix` levels below `node`. Canonical in, `|x| <= 2` out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn children(&self, data: Data, node: usize, log: u32, radix: u32) {
        let log_child = log - radix;
        for child in 0..1 << radix {
            // SAFETY: sub-blocks partition the block.
            unsafe { self.block(data.offset(child << log_child), (node << radix) + child, log_child) };
        }
    }

    /// Transforms back the `2^log` values at `data`, which belong to `node`, up to the factor `2^log`. Canonical in,
    /// `|x| <= 2` out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block(&self, data: Data, node: usize, log: u32) {
        // SAFETY: sub-blocks partition the block, and the leaves of a node cover it.
        unsafe {
            if log > CACHED_LOG {
                self.children(data, node, log, 2);
                self.radix_4(data, node, log);
                return;
            }
            let leaves = 1 << (log - LEAF_LOG);
            let first = node * leaves - self.roots.len() / 16;
            for (part, roots) in self.leaves[first..first + leaves].chunks(LEAVES).enumerate() {
                self.leaves(data.offset(16 * LEAVES * part), roots);
            }
            let mut done = LEAF_LOG;
            while done + 2 <= log {
                done += 2;
                for child in 0..1usize << (log - done) {
                    self.radix_4(data.offset(child << done), (node << (log - done)) + child, done);
                }
            }
            if done < log {
                self.radix_2(data, node, log);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn butterfly(&self, x: Vector, y: Vector, w: Factor) -> (Vector, Vector) {
        (_mm256_add_pd(x, y), product_by(self.c, _mm256_sub_pd(x, y), w))
    }

    /// The first of two levels.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn first(&self, x: [Vector; 4], left: Factor, right: Factor) -> [Vector; 4] {
        let (u0, u1) = self.butterfly(x[0], x[1], left);
        let (u2, u3) = self.butterfly(x[2], x[3], right);
        [u0, u1, u2, u3]
    }

    /// The second of two levels.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn second(&self, u: [Vector; 4], w: Factor) -> [Vector; 4] {
        let (y0, y2) = self.butterfly(u[0], u[2], w);
        let (y1, y3) = self.butterfly(u[1], u[3], w);
        [y0, y1, y2, y3]
    }

    /// The second of two levels from 2 on, and back to 2.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn second_reduced(&self, u: [Vector; 4], w: Factor) -> [Vector; 4] {
        let [y0, y1, y2, y3] = self.second(u, w);
        [partial(self.c, y0), partial(self.c, y1), y2, y3]
    }

    /// One level: `|x| <= 2` in and out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_2(&self, data: Data, node: usize, log: u32) {
        let half = 1 << (log - 1);
        let w = self.root(node);
        for j in (0..half).step_by(4) {
            // SAFETY: both positions are within the block of `2 half`.
            unsafe {
                let (x, y) = self.butterfly(data.load(j), data.load(j + half), w);
                data.store(j, partial(self.c, x));
                data.store(j + half, y);
            }
        }
    }

    /// Two levels: `|x| <= 2` in and out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_4(&self, data: Data, node: usize, log: u32) {
        let quarter = 1 << (log - 2);
        let (w, left, right) = (self.root(node), self.root(2 * node), self.root(2 * node + 1));
        // SAFETY: all rows are within the block of `4 quarter`.
        unsafe {
            pipeline(
                quarter / 4,
                |i| self.first(data.row(4 * i, quarter), left, right),
                |i, u| data.store_row(4 * i, quarter, self.second_reduced(u, w)),
            );
        }
    }

    /// The two levels of the root of the tree, with the scaling by `1/N` merged into the last: its sums are multiplied
    /// by `scale`, its differences by `root_scale`. `|x| <= 2` in, canonical out: sums and differences are at most 8,
    /// their products at most 2.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn last_pass(&self, data: Data, log: u32, scale: Factor, root_scale: Factor) {
        let c = self.c;
        let quarter = 1 << (log - 2);
        let (left, right) = (self.root(2), self.root(3));
        let last = |x: Vector, y: Vector| {
            (
                partial(c, product_by(c, _mm256_add_pd(x, y), scale)),
                partial(c, product_by(c, _mm256_sub_pd(x, y), root_scale)),
            )
        };
        // SAFETY: all rows are within the whole vector.
        unsafe {
            pipeline(
                quarter / 4,
                |i| self.first(data.row(4 * i, quarter), left, right),
                |i, u| {
                    let ((y0, y2), (y1, y3)) = (last(u[0], u[2]), last(u[1], u[3]));
                    data.store_row(4 * i, quarter, [y0, y1, y2, y3]);
                },
            );
        }
    }

    /// The first four levels of several blocks of 16 values. Canonical in, `|x| <= 2` out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn leaves(&self, data: Data, roots: &[LeafRoots]) {
        let c = self.c;
        // SAFETY: there are 16 coefficients for each entry of `roots`.
        unsafe {
            // A quarter of the bounds above for the sums: at most 2, 1.4, 0.9 and 0.8.
            pipeline_3(
                roots.len(),
                |i| {
                    let (left, right) = (factor(c, load(&roots[i].left, 0)), factor(c, load(&roots[i].right, 0)));
                    self.first(data.load_transposed(16 * i), left, right)
                },
                |i, u| self.second(u, factor(c, load(&roots[i].fours, 0))),
                |i, y| data.store_row(16 * i, 4, transpose(y)),
            );
            pipeline(
                roots.len(),
                |i| {
                    let [_, left, right] = roots[i].shared.map(|w| factor(c, _mm256_set1_pd(w)));
                    self.first(data.row(16 * i, 4), left, right)
                },
                |i, u| {
                    let w = factor(c, _mm256_set1_pd(roots[i].shared[0]));
                    data.store_row(16 * i, 4, self.second_reduced(u, w));
                },
            );
        }
    }
}

/// Four vectors of coefficients that the fold and the first level mix: those at `j`, `N/2 - j`, `N/2 + j` and `N - j`
/// for four `j`.
type Quad = [Vector; 4];

/// Applies `step` to the coefficients `j`, `N/2 - j`, `N/2 + j` and `N - j` for every `j` in `1..=N/4`, and for `j = 0`
/// with zero for the coefficient `N` that does not exist. Of two results for one coefficient the later in this list counts
/// (they are equal, except those of `N/2` for `j = 0`). `read` hands out four coefficients at a position, results go to
/// the `n` places of `out`; `read` may read them, because a coefficient is read before its place is written.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn map_quads(out: Data, n: usize, read: impl Fn(usize) -> Vector, step: impl Fn(Quad) -> Quad) {
    let edges = |first: usize, count: usize| {
        let places = |j: usize| [j, n / 2 - j, n / 2 + j, n - j];
        let mut lanes = [[0.0; 4]; 4];
        for lane in 0..count {
            for (row, place) in lanes.iter_mut().zip(places(first + lane)) {
                row[lane] = if place < n { self::lanes(read(place / 4 * 4))[place % 4] } else { 0.0 };
            }
        }
        let result = step([load(&lanes[0], 0), load(&lanes[1], 0), load(&lanes[2], 0), load(&lanes[3], 0)]);
        for (row, vector) in lanes.iter_mut().zip(result) {
            store(row, 0, vector);
        }
        for lane in 0..count {
            for (row, place) in lanes.iter().zip(places(first + lane)) {
                if place < n {
                    // SAFETY: there are `n` places.
                    unsafe { *out.0.add(place) = row[lane] };
                }
            }
        }
    };
    edges(0, 4);
    edges(n / 4, 1);
    for j in (4..n / 4).step_by(4) {
        let places = [j, n / 2 - j - 3, n / 2 + j, n - j - 3];
        let [y0, y1, y2, y3] =
            step([read(places[0]), reverse(read(places[1])), read(places[2]), reverse(read(places[3]))]);
        // SAFETY: the last place is below `n - 4`.
        unsafe {
            out.store(places[0], y0);
            out.store(places[1], reverse(y1));
            out.store(places[2], y2);
            out.store(places[3], reverse(y3));
        }
    }
}

/// The fold of the conjugate-invariant ring and the first level, of coefficients of at most `B` that `read` hands out. The
/// results are at most `f(f(B))`, as if the fold were a level.
///
/// With `i` the fourth root of unity, `b_j = a_j - i a_(N-j)` and `b_(N-j) = -i (a_j + i a_(N-j))`: one product gives
/// both but for the factor `-i`, which the first level's root `w` takes over. That level pairs `b_j` with
/// `b_(N/2+j)`, and `b_(N/2-j)` with `b_(N-j)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn fold(table: &NttTable, out: Data, read: impl Fn(usize) -> Vector) {
    let c = prime(table.modulus());
    let (i, w) = (_mm256_set1_pd(table.fold()), _mm256_set1_pd(table.fold_root()));
    // SAFETY: the caller provides as many places as the table's degree.
    unsafe {
        map_quads(out, table.degree(), read, |[x, half_less, half_more, last]| {
            let (near, far) = (product(c, last, i), product(c, half_more, i));
            let y = product(c, _mm256_add_pd(half_less, far), w);
            let z = product(c, _mm256_add_pd(x, near), w);
            let (b, b_half) = (_mm256_sub_pd(x, near), _mm256_sub_pd(half_less, far));
            [_mm256_add_pd(b, y), _mm256_add_pd(b_half, z), _mm256_sub_pd(b, y), _mm256_sub_pd(b_half, z)]
        });
    }
}

/// The last level of the inverse transform, the unfolding and the scaling: the inverse of [`fold`]. `|x| <= 2` in,
/// canonical out.
#[target_feature(enable = "avx2,fma")]
fn unfold(table: &NttTable, a: &mut [f64], scales: [f64; 2]) {
    let c = prime(table.modulus());
    let w = _mm256_set1_pd(table.inverse_fold_root());
    let [scale, fold_scale] = scales.map(|w| _mm256_set1_pd(w));
    let n = a.len();
    let (first, middle) = (_mm256_set1_pd(a[0]), _mm256_set1_pd(a[n / 2]));
    // Sums and differences are at most 4, their products with w at most 1.25; 5.25 times a scale is at most 1.5.
    let split = |sum: Vector, difference: Vector| {
        (
            partial(c, product(c, _mm256_add_pd(sum, difference), scale)),
            partial(c, product(c, _mm256_sub_pd(sum, difference), fold_scale)),
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
                let y = product(c, _mm256_sub_pd(x, half_more), w);
                let z = product(c, _mm256_sub_pd(half_less, last), w);
                let (a_j, a_last) = split(_mm256_add_pd(x, half_more), z);
                let (a_half_less, a_half_more) = split(_mm256_add_pd(half_less, last), y);
                [a_j, a_half_less, a_half_more, a_last]
            },
        );
    }
    // b_0 = a_0 is not folded; b_(N/2) = (1 - i) a_(N/2), so that a_(N/2) = (1 + i) b_(N/2) / 2.
    let sum = product(c, _mm256_add_pd(first, middle), scale);
    let difference = product(c, _mm256_sub_pd(first, middle), w);
    let half = _mm256_sub_pd(product(c, difference, scale), product(c, difference, fold_scale));
    a[0] = lanes(canonical(c, _mm256_add_pd(sum, sum)))[0];
    a[n / 2] = lanes(partial(c, half))[0];
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn lanes(x: Vector) -> [f64; 4] {
    let mut lanes = [0.0; 4];
    store(&mut lanes, 0, x);
    lanes
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn reverse(x: Vector) -> Vector {
    _mm256_permute4x64_pd::<0b00_01_10_11>(x)
}

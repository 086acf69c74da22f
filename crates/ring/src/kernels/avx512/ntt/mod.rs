//! The transforms, with the levels and the bounds of the AVX2 kernel (docs/notes/ntt.md), in units of the prime.
//!
//! A level of the forward transform maps `(x, y)` to `(x + w y, x - w y)`. With inputs of at most `B` the product is at
//! most `0.5 + 0.1875 B` whatever `B <= 8` is, so a level grows the bound to `f(B) = 1.1875 B + 0.5`, or, if it reduces
//! `x` first, sets it to `g(B) = 1 + 0.1875 B`.
//!
//! Vectors of 512 bits keep the floating-point units busy if nothing else takes their time: a permutation with three
//! operands takes that of two other instructions, and a load that broadcasts takes as much as an addition. Hence the
//! shuffles of the leaves, and roots that are loaded once for two rows.

mod fold;
mod forward;
mod inverse;

use core::arch::x86_64::{_mm512_loadu_pd, _mm512_set1_pd, _mm512_storeu_pd};

pub(super) use forward::{MIN_FUSED, combine_forward, ntt_forward, reduce_forward};
pub(super) use inverse::{ntt_inverse, ntt_inverse_scaled};

use super::{LANES, Vector};

/// Smallest degree: a quarter of it has eight leaves, as many as [`pipeline_5`] needs. Transforms below are left to the AVX2
/// kernel.
pub(super) const MIN_DEGREE: usize = 512;

/// Blocks of this many coefficients (16 KiB) are transformed pass by pass; larger ones by recursion.
const CACHED_LOG: u32 = 11;
/// A leaf is 16 coefficients.
const LEAF_LOG: u32 = 4;
/// In smaller blocks a pass goes from block to block without a pause.
const LONG_LOG: u32 = 10;

/// Four vectors that two levels mix.
type Row = [Vector; 4];

/// Raw access to the vector being transformed. Every position used is below the length of the slice it was made from.
#[derive(Clone, Copy)]
struct Data(*mut f64);

impl Data {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(self, at: usize) -> Vector {
        // SAFETY: the caller keeps `at + LANES` within the slice.
        unsafe { _mm512_loadu_pd(self.0.add(at)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(self, at: usize, value: Vector) {
        // SAFETY: the caller keeps `at + LANES` within the slice.
        unsafe { _mm512_storeu_pd(self.0.add(at), value) }
    }

    /// The vectors at `at + r distance`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn row(self, at: usize, distance: usize) -> Row {
        // SAFETY: the caller keeps all of them within the slice.
        core::array::from_fn(|r| unsafe { self.load(at + r * distance) })
    }

    /// Writes what [`row`](Self::row) reads.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store_row(self, at: usize, distance: usize, row: Row) {
        for (r, vector) in row.into_iter().enumerate() {
            // SAFETY: the caller keeps all of them within the slice.
            unsafe { self.store(at + r * distance, vector) };
        }
    }

    #[inline]
    unsafe fn offset(self, by: usize) -> Self {
        // SAFETY: the caller keeps `by` within the slice.
        Self(unsafe { self.0.add(by) })
    }
}

/// Pairs of rows, one after another, of consecutive blocks of `2^log` coefficients.
#[derive(Clone, Copy)]
struct RowPairs {
    data: Data,
    log: u32,
}

impl RowPairs {
    /// `log2` of the pairs in a block.
    #[inline]
    fn pairs_log(self) -> u32 {
        self.log - 6
    }

    /// The block of a pair.
    #[inline]
    fn block(self, pair: usize) -> usize {
        pair >> self.pairs_log()
    }

    /// Where the first row of a pair begins, and the distance of its vectors; the second row follows it.
    #[inline]
    unsafe fn place(self, pair: usize) -> (Data, usize) {
        let within = pair & ((1 << self.pairs_log()) - 1);
        // SAFETY: the caller keeps the block within the slice; a quarter of it holds two vectors for each pair.
        (unsafe { self.data.offset((self.block(pair) << self.log) + 2 * LANES * within) }, 1 << (self.log - 2))
    }
}

/// Runs `second(i, first(i))` for every `i` below `count`, at least 2, two steps apart.
///
/// The second half of a step waits for the first, a chain far longer than the processor looks ahead; the first halves of
/// the next two steps keep it busy.
#[inline]
#[target_feature(enable = "avx512f")]
fn pipeline<T>(count: usize, first: impl Fn(usize) -> T, second: impl Fn(usize, T)) {
    let (mut rows, mut next) = (first(0), first(1));
    for i in 2..count {
        let last = first(i);
        second(i - 2, rows);
        (rows, next) = (next, last);
    }
    second(count - 2, rows);
    second(count - 1, next);
}

/// The two vectors of a leaf, or two that hold its values in another order.
type Pair = [Vector; 2];

/// Runs five parts one after another for every `i` below `count`, which is even and at least 8: each part for two `i` at a
/// time, one step behind the part before.
#[inline]
#[target_feature(enable = "avx512f")]
fn pipeline_5(
    count: usize,
    first: impl Fn(usize) -> Pair,
    second: impl Fn(usize, Pair) -> Pair,
    third: impl Fn(usize, Pair) -> Pair,
    fourth: impl Fn(usize, Pair) -> Pair,
    fifth: impl Fn(usize, Pair),
) {
    let first = |i| [first(i), first(i + 1)];
    let second = |i, [x, y]: [Pair; 2]| [second(i, x), second(i + 1, y)];
    let third = |i, [x, y]: [Pair; 2]| [third(i, x), third(i + 1, y)];
    let fourth = |i, [x, y]: [Pair; 2]| [fourth(i, x), fourth(i + 1, y)];
    let fifth = |i, [x, y]: [Pair; 2]| {
        fifth(i, x);
        fifth(i + 1, y);
    };
    let mut a = first(0);
    let mut b = second(0, a);
    a = first(2);
    let mut c = third(0, b);
    b = second(2, a);
    a = first(4);
    let mut d = fourth(0, c);
    c = third(2, b);
    b = second(4, a);
    a = first(6);
    for i in (8..count).step_by(2) {
        fifth(i - 8, d);
        d = fourth(i - 6, c);
        c = third(i - 4, b);
        b = second(i - 2, a);
        a = first(i);
    }
    fifth(count - 8, d);
    d = fourth(count - 6, c);
    c = third(count - 4, b);
    b = second(count - 2, a);
    fifth(count - 6, d);
    d = fourth(count - 4, c);
    c = third(count - 2, b);
    fifth(count - 4, d);
    d = fourth(count - 2, c);
    fifth(count - 2, d);
}

/// The roots by node, of which 1 and up are used.
#[derive(Clone, Copy)]
struct Roots<'a>(&'a [f64]);

impl Roots<'_> {
    /// The root of a node in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn of(self, node: usize) -> Vector {
        debug_assert!(node < self.0.len());
        // SAFETY: the caller gives a node of the tree.
        unsafe { _mm512_set1_pd(*self.0.as_ptr().add(node)) }
    }
}

//! The AVX2 + FMA kernel: four residues a vector, multiplied in six instructions (docs/notes/arithmetic.md).
//!
//! Bounds in the comments are in units of the prime: "|x| <= 2.7" means `|x| <= 2.7 p`. Every value is an integer of
//! absolute value at most `8p <= 2^53`, so additions and subtractions are exact.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256d, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm256_add_pd, _mm256_fmadd_pd, _mm256_fmsub_pd,
    _mm256_fnmadd_pd, _mm256_loadu_pd, _mm256_mul_pd, _mm256_permute2f128_pd, _mm256_permute4x64_pd, _mm256_round_pd,
    _mm256_set1_pd, _mm256_setzero_pd, _mm256_storeu_pd, _mm256_sub_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd,
};

use super::Kernel;
use crate::linear::{MatrixScratch, PANEL_COLUMNS, Tile};
use crate::{IntegerMatrix, Modulus, NttTable, Ring};

/// Proof that the processor has AVX2 and FMA: only [`Avx2::detect`] makes one.
#[derive(Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The kernel, if this processor can run it.
    pub(super) fn detect() -> Option<&'static Self> {
        const KERNEL: Avx2 = Avx2(());
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&KERNEL)
    }
}

/// Runs a function that needs AVX2 and FMA.
macro_rules! with_avx2 {
    ($self:ident, $call:expr) => {{
        let Avx2(()) = $self;
        // SAFETY: an `Avx2` exists only if detection found AVX2 and FMA.
        unsafe { $call }
    }};
}

impl Kernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2"
    }
    fn add(&self, q: Modulus, a: &mut [f64], b: &[f64]) {
        with_avx2!(self, add(q, a, b));
    }
    fn sub(&self, q: Modulus, a: &mut [f64], b: &[f64]) {
        with_avx2!(self, sub(q, a, b));
    }
    fn add_scalar(&self, q: Modulus, a: &mut [f64], w: f64) {
        with_avx2!(self, add_scalar(q, a, w));
    }
    fn mul(&self, q: Modulus, out: &mut [f64], a: &[f64], b: &[f64]) {
        with_avx2!(self, mul(q, out, a, b));
    }
    fn mul_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], b: &[f64]) {
        with_avx2!(self, mul_add(q, acc, a, b));
    }
    fn mul_scalar(&self, q: Modulus, a: &mut [f64], w: f64) {
        with_avx2!(self, mul_scalar(q, a, w));
    }
    fn sub_mul_scalar(&self, q: Modulus, out: &mut [f64], b: &[f64], w: f64) {
        with_avx2!(self, sub_mul_scalar(q, out, b, w));
    }
    fn square(&self, q: Modulus, c0: &mut [f64], c1: &mut [f64], c2: &mut [f64]) {
        with_avx2!(self, square(q, c0, c1, c2));
    }
    fn dot(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
        with_avx2!(self, dot(q, out, terms));
    }
    fn combine(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
        with_avx2!(self, combine(q, out, terms));
    }
    fn reduce(&self, q: Modulus, out: &mut [f64], a: &[f64]) {
        with_avx2!(self, reduce(q, out, a));
    }
    fn ntt_forward(&self, table: &NttTable, a: &mut [f64]) {
        assert_eq!(a.len(), table.degree());
        with_avx2!(self, ntt_forward(table, a));
    }
    fn ntt_inverse(&self, table: &NttTable, a: &mut [f64]) {
        assert_eq!(a.len(), table.degree());
        with_avx2!(self, ntt_inverse(table, a));
    }
    fn matrix(
        &self,
        q: Modulus,
        matrix: &IntegerMatrix,
        input: &[f64],
        output: &mut [f64],
        width: usize,
        scratch: &mut MatrixScratch,
    ) {
        assert_eq!(input.len(), matrix.columns() * width);
        assert_eq!(output.len(), matrix.rows() * width);
        assert!(width.is_multiple_of(4));
        with_avx2!(self, multiply_matrix(q, matrix, input, output, width, scratch));
    }
}

type Vector = __m256d;

/// The prime and the rounded reciprocal, in all lanes.
#[derive(Clone, Copy)]
struct Prime {
    p: Vector,
    reciprocal: Vector,
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn prime(q: Modulus) -> Prime {
    Prime { p: _mm256_set1_pd(q.as_f64()), reciprocal: _mm256_set1_pd(q.reciprocal()) }
}

/// The integer nearest to each lane.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rint(x: Vector) -> Vector {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

/// `a b - rint(fl(fl(a b) fl(1/p))) p`: congruent to `a b`, `|r| <= 1/2 + 3 |a b / p| 2^-53`.
/// For `|b| <= 1/2` that is `1/2 + 0.1875 |a|` in units of `p`, for any `|a| <= 8`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn product(c: Prime, a: Vector, b: Vector) -> Vector {
    let high = _mm256_mul_pd(a, b);
    let low = _mm256_fmsub_pd(a, b, high);
    let quotient = rint(_mm256_mul_pd(high, c.reciprocal));
    _mm256_add_pd(_mm256_fnmadd_pd(quotient, c.p, high), low)
}

/// `a - rint(fl(a fl(1/p))) p`: `|r| <= 1/2` up to one unit in the last place when `a/p` is next to a half-integer;
/// canonical if `|a| < 1.5`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn partial(c: Prime, a: Vector) -> Vector {
    _mm256_fnmadd_pd(rint(_mm256_mul_pd(a, c.reciprocal)), c.p, a)
}

/// The canonical residue of any `|a| <= 8`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn canonical(c: Prime, a: Vector) -> Vector {
    partial(c, partial(c, a))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(slice: &[f64], at: usize) -> Vector {
    assert!(at + 4 <= slice.len());
    // SAFETY: `at..at + 4` is in bounds.
    unsafe { _mm256_loadu_pd(slice.as_ptr().add(at)) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(slice: &mut [f64], at: usize, value: Vector) {
    assert!(at + 4 <= slice.len());
    // SAFETY: `at..at + 4` is in bounds.
    unsafe { _mm256_storeu_pd(slice.as_mut_ptr().add(at), value) }
}

/// `out[i] = f(out[i], [input[i], ..])`, a vector at a time; what is left at the end goes through zero-padded copies.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn map<const K: usize>(out: &mut [f64], inputs: [&[f64]; K], f: impl Fn(Vector, [Vector; K]) -> Vector) {
    assert!(inputs.iter().all(|input| input.len() == out.len()), "slices of different lengths");
    let whole = out.len() / 4 * 4;
    for at in (0..whole).step_by(4) {
        let value = f(load(out, at), inputs.map(|input| load(input, at)));
        store(out, at, value);
    }
    if whole < out.len() {
        let padded = |slice: &[f64]| {
            let mut pad = [0.0; 4];
            pad[..slice.len() - whole].copy_from_slice(&slice[whole..]);
            pad
        };
        let mut result = padded(out);
        let value = f(load(&result, 0), inputs.map(|input| load(&padded(input), 0)));
        store(&mut result, 0, value);
        let rest = out.len() - whole;
        out[whole..].copy_from_slice(&result[..rest]);
    }
}

#[target_feature(enable = "avx2,fma")]
fn add(q: Modulus, a: &mut [f64], b: &[f64]) {
    let c = prime(q);
    // |a + b| <= 1.
    map(a, [b], |a, [b]| partial(c, _mm256_add_pd(a, b)));
}

#[target_feature(enable = "avx2,fma")]
fn sub(q: Modulus, a: &mut [f64], b: &[f64]) {
    let c = prime(q);
    map(a, [b], |a, [b]| partial(c, _mm256_sub_pd(a, b)));
}

#[target_feature(enable = "avx2,fma")]
fn add_scalar(q: Modulus, a: &mut [f64], w: f64) {
    let (c, w) = (prime(q), _mm256_set1_pd(w));
    map(a, [], |a, []| partial(c, _mm256_add_pd(a, w)));
}

#[target_feature(enable = "avx2,fma")]
fn mul(q: Modulus, out: &mut [f64], a: &[f64], b: &[f64]) {
    let c = prime(q);
    // A product of canonical residues is at most 0.6.
    map(out, [a, b], |_, [a, b]| partial(c, product(c, a, b)));
}

#[target_feature(enable = "avx2,fma")]
fn mul_add(q: Modulus, acc: &mut [f64], a: &[f64], b: &[f64]) {
    let c = prime(q);
    // 0.5 + 0.6 < 1.5.
    map(acc, [a, b], |acc, [a, b]| partial(c, _mm256_add_pd(acc, product(c, a, b))));
}

#[target_feature(enable = "avx2,fma")]
fn mul_scalar(q: Modulus, a: &mut [f64], w: f64) {
    let (c, w) = (prime(q), _mm256_set1_pd(w));
    map(a, [], |a, []| partial(c, product(c, a, w)));
}

#[target_feature(enable = "avx2,fma")]
fn sub_mul_scalar(q: Modulus, out: &mut [f64], b: &[f64], w: f64) {
    let (c, w) = (prime(q), _mm256_set1_pd(w));
    // |out - b| <= 1, so the product is at most 0.69.
    map(out, [b], |out, [b]| partial(c, product(c, _mm256_sub_pd(out, b), w)));
}

#[target_feature(enable = "avx2,fma")]
fn square(q: Modulus, c0: &mut [f64], c1: &mut [f64], c2: &mut [f64]) {
    let c = prime(q);
    map(c2, [c1], |_, [c1]| partial(c, product(c, c1, c1)));
    // |2 c0| <= 1.
    map(c1, [c0], |c1, [c0]| partial(c, product(c, _mm256_add_pd(c0, c0), c1)));
    map(c0, [], |c0, []| partial(c, product(c, c0, c0)));
}

/// How many products of at most 0.6 are added before a reduction: 0.5 + 12 * 0.6 < 8.
const LAZY_TERMS: usize = 12;

#[target_feature(enable = "avx2,fma")]
fn dot(q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
    assert!(terms.iter().all(|(a, b)| a.len() == out.len() && b.len() == out.len()));
    let c = prime(q);
    let whole = out.len() / 4 * 4;
    for at in (0..whole).step_by(4) {
        let mut sum = _mm256_setzero_pd();
        for group in terms.chunks(LAZY_TERMS) {
            sum = group
                .iter()
                .fold(partial(c, sum), |sum, (a, b)| _mm256_add_pd(sum, product(c, load(a, at), load(b, at))));
        }
        store(out, at, canonical(c, sum));
    }
    let rest = &mut out[whole..];
    rest.fill(0.0);
    terms.iter().for_each(|(a, b)| mul_add(q, rest, &a[whole..], &b[whole..]));
}

#[target_feature(enable = "avx2,fma")]
fn combine(q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()));
    let c = prime(q);
    // |a w / p| <= 2^48, so the error of a quotient is below 0.1 and every product at most 0.6, whatever the prime.
    let whole = out.len() / 4 * 4;
    for at in (0..whole).step_by(4) {
        let mut sum = _mm256_setzero_pd();
        for group in terms.chunks(LAZY_TERMS) {
            sum = group
                .iter()
                .fold(partial(c, sum), |sum, (a, w)| _mm256_add_pd(sum, product(c, load(a, at), _mm256_set1_pd(*w))));
        }
        store(out, at, canonical(c, sum));
    }
    let rest = &mut out[whole..];
    rest.fill(0.0);
    for (a, w) in terms {
        let w = _mm256_set1_pd(*w);
        map(rest, [&a[whole..]], |sum, [a]| partial(c, _mm256_add_pd(sum, product(c, a, w))));
    }
}

#[target_feature(enable = "avx2,fma")]
fn reduce(q: Modulus, out: &mut [f64], a: &[f64]) {
    let c = prime(q);
    // The first quotient may be off by one unit when p is small, the second is exact.
    map(out, [a], |_, [a]| canonical(c, a));
}

/// Blocks of this many coefficients (16 KiB) are transformed level by level; larger ones by recursion.
const CACHED_LOG: u32 = 11;

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
}

#[target_feature(enable = "avx2,fma")]
fn ntt_forward(table: &NttTable, a: &mut [f64]) {
    let c = prime(table.modulus());
    if table.ring() == Ring::ConjugateInvariant {
        // Each a_j -+ i a_(N-j) is at most 1.1.
        fold(c, a, -table.fold(), |x| x);
    }
    let forward = Forward { c, roots: table.roots(), leaf_roots: table.leaf_roots() };
    let log = a.len().trailing_zeros();
    // SAFETY: the root block is the whole slice.
    unsafe { forward.block(Data(a.as_mut_ptr()), 1, log) };
}

struct Forward<'a> {
    c: Prime,
    roots: &'a [f64],
    leaf_roots: &'a [f64],
}

impl Forward<'_> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn root(&self, node: usize) -> Vector {
        _mm256_set1_pd(self.roots[node])
    }

    /// Transforms the `2^log` coefficients at `data`, which belong to `node`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block(&self, data: Data, node: usize, mut log: u32) {
        // SAFETY (whole function): sub-blocks partition the block.
        unsafe {
            if log > CACHED_LOG {
                let radix = if (log - 4) % 2 == 1 { 3 } else { 2 };
                if radix == 3 {
                    self.radix_8(data, node, log)
                } else {
                    self.radix_4(data, node, log)
                }
                log -= radix;
                for child in 0..1 << radix {
                    self.block(Data(data.0.add(child << log)), (node << radix) + child, log);
                }
                return;
            }
            let mut depth = 0;
            if (log - 4) % 2 == 1 {
                if log >= 7 {
                    self.radix_8(data, node, log);
                    depth = 3;
                } else {
                    self.radix_2(data, node, log);
                    depth = 1;
                }
            }
            while log - depth > 4 {
                for child in 0..1usize << depth {
                    self.radix_4(Data(data.0.add(child << (log - depth))), (node << depth) + child, log - depth);
                }
                depth += 2;
            }
            for child in 0..1usize << depth {
                self.leaf(Data(data.0.add(16 * child)), (node << depth) + child);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn butterfly(&self, x: Vector, y: Vector, w: Vector) -> (Vector, Vector) {
        let y = product(self.c, y, w);
        (_mm256_add_pd(x, y), _mm256_sub_pd(x, y))
    }

    /// One level: `|x| <= 2.7` in, `<= 1.6` out.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_2(&self, data: Data, node: usize, log: u32) {
        let half = 1 << (log - 1);
        let w = self.root(node);
        for j in (0..half).step_by(4) {
            // SAFETY: both positions are within the block of `2 half`.
            unsafe {
                let (x, y) = self.butterfly(partial(self.c, data.load(j)), data.load(j + half), w);
                data.store(j, x);
                data.store(j + half, y);
            }
        }
    }

    /// Two levels. `|x| <= 2.72` in and out: with `m = 0.5 + 0.1875 * 2.72 = 1.01` the first level gives at most
    /// `0.5 + m` and `2.72 + m = 3.73`, the second at most `0.5 + m + 0.5 + 0.1875 * 3.73 = 2.71`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_4(&self, data: Data, node: usize, log: u32) {
        let quarter = 1 << (log - 2);
        let (w1, w2, w3) = (self.root(node), self.root(2 * node), self.root(2 * node + 1));
        for j in (0..quarter).step_by(4) {
            // SAFETY: all four positions are within the block of `4 quarter`.
            unsafe {
                let x = [data.load(j), data.load(j + quarter), data.load(j + 2 * quarter), data.load(j + 3 * quarter)];
                let x = self.two_levels(x, w1, w2, w3);
                data.store(j, x[0]);
                data.store(j + quarter, x[1]);
                data.store(j + 2 * quarter, x[2]);
                data.store(j + 3 * quarter, x[3]);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn two_levels(&self, x: [Vector; 4], w1: Vector, w2: Vector, w3: Vector) -> [Vector; 4] {
        let (u0, u2) = self.butterfly(partial(self.c, x[0]), x[2], w1);
        let (u1, u3) = self.butterfly(x[1], x[3], w1);
        let (y0, y1) = self.butterfly(u0, u1, w2);
        let (y2, y3) = self.butterfly(u2, u3, w3);
        [y0, y1, y2, y3]
    }

    /// Three levels, for `|x| <= 1.1` or after a reduction: `0.5 -> 1.1 -> 1.8 -> 2.65`, and `1.1 -> 1.9 -> 2.7 -> 3.7`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_8(&self, data: Data, node: usize, log: u32) {
        let eighth = 1 << (log - 3);
        let w1 = self.root(node);
        let (w2, w3) = (self.root(2 * node), self.root(2 * node + 1));
        let w: [Vector; 4] = core::array::from_fn(|i| self.root(4 * node + i));
        for j in (0..eighth).step_by(4) {
            // SAFETY: all eight positions are within the block of `8 eighth`.
            unsafe {
                let x: [Vector; 8] = core::array::from_fn(|i| data.load(j + i * eighth));
                let (u0, u4) = self.butterfly(partial(self.c, x[0]), x[4], w1);
                let (u1, u5) = self.butterfly(partial(self.c, x[1]), x[5], w1);
                let (u2, u6) = self.butterfly(x[2], x[6], w1);
                let (u3, u7) = self.butterfly(x[3], x[7], w1);
                let (v0, v2) = self.butterfly(u0, u2, w2);
                let (v1, v3) = self.butterfly(u1, u3, w2);
                let (v4, v6) = self.butterfly(u4, u6, w3);
                let (v5, v7) = self.butterfly(u5, u7, w3);
                let (y0, y1) = self.butterfly(v0, v1, w[0]);
                let (y2, y3) = self.butterfly(v2, v3, w[1]);
                let (y4, y5) = self.butterfly(v4, v5, w[2]);
                let (y6, y7) = self.butterfly(v6, v7, w[3]);
                for (i, y) in [y0, y1, y2, y3, y4, y5, y6, y7].into_iter().enumerate() {
                    data.store(j + i * eighth, y);
                }
            }
        }
    }

    /// The last four levels of 16 coefficients: two across vectors, then two across the lanes of the transpose.
    /// `|x| <= 2.72` in, canonical out.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn leaf(&self, data: Data, node: usize) {
        // SAFETY: a leaf is 16 coefficients; it has 12 roots at `12 (node - N/16)`.
        unsafe {
            let x = core::array::from_fn(|i| data.load(4 * i));
            let x = self.two_levels(x, self.root(node), self.root(2 * node), self.root(2 * node + 1));
            let x = transpose(x);
            let roots = &self.leaf_roots[12 * (node - self.roots.len() / 16)..][..12];
            let (w1, w2, w3) = (load(roots, 0), load(roots, 4), load(roots, 8));
            let (u0, u2) = self.butterfly(partial(self.c, x[0]), x[2], w1);
            let (u1, u3) = self.butterfly(partial(self.c, x[1]), x[3], w1);
            // |u| <= 0.5 + 1.01, so |y| <= 1.51 + 0.79: reduce once before and the sum stays below 1.5.
            let (y0, y1) = self.butterfly(partial(self.c, u0), u1, w2);
            let (y2, y3) = self.butterfly(partial(self.c, u2), u3, w3);
            let y = transpose([y0, y1, y2, y3].map(|y| partial(self.c, y)));
            for (i, y) in y.into_iter().enumerate() {
                data.store(4 * i, y);
            }
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
fn ntt_inverse(table: &NttTable, a: &mut [f64]) {
    let c = prime(table.modulus());
    let inverse = Inverse { c, roots: table.inverse_roots(), leaf_roots: table.inverse_leaf_roots() };
    let log = a.len().trailing_zeros();
    // SAFETY: the root block is the whole slice.
    unsafe { inverse.block(Data(a.as_mut_ptr()), 1, log) };
    let scale = _mm256_set1_pd(table.inverse_scale());
    // |x| <= 4 in; the product is at most 1.25.
    map(a, [], |x, []| partial(c, product(c, x, scale)));
    if table.ring() == Ring::ConjugateInvariant {
        let first = a[0];
        fold(c, a, table.fold(), |x| partial(c, x));
        let q = table.modulus();
        a[0] = q.center(q.add(q.lift(first), q.lift(first)));
    }
}

struct Inverse<'a> {
    c: Prime,
    roots: &'a [f64],
    leaf_roots: &'a [f64],
}

impl Inverse<'_> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn root(&self, node: usize) -> Vector {
        _mm256_set1_pd(self.roots[node])
    }

    /// Transforms back the `2^log` values at `data`, which belong to `node`, up to the factor `2^log`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block(&self, data: Data, node: usize, log: u32) {
        // SAFETY (whole function): sub-blocks partition the block.
        unsafe {
            if log > CACHED_LOG {
                let radix = 2;
                for child in 0..1 << radix {
                    self.block(Data(data.0.add(child << (log - radix))), (node << radix) + child, log - radix);
                }
                self.radix_4(data, node, log);
                return;
            }
            for child in 0..1usize << (log - 4) {
                self.leaf(Data(data.0.add(16 * child)), (node << (log - 4)) + child);
            }
            let mut depth = log - 4;
            while depth >= 2 {
                depth -= 2;
                for child in 0..1usize << depth {
                    self.radix_4(Data(data.0.add(child << (log - depth))), (node << depth) + child, log - depth);
                }
            }
            if depth == 1 {
                self.radix_2(data, node, log);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn butterfly(&self, x: Vector, y: Vector, w: Vector) -> (Vector, Vector) {
        (_mm256_add_pd(x, y), product(self.c, _mm256_sub_pd(x, y), w))
    }

    /// One level: `|x| <= 4` in, `<= 2` out.
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

    /// Two levels. `|x| <= 4` in and out: differences are at most 8, so their products at most `0.5 + 0.1875 * 8 = 2`;
    /// sums are reduced at once.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn radix_4(&self, data: Data, node: usize, log: u32) {
        let quarter = 1 << (log - 2);
        let (w1, w2, w3) = (self.root(node), self.root(2 * node), self.root(2 * node + 1));
        for j in (0..quarter).step_by(4) {
            // SAFETY: all four positions are within the block of `4 quarter`.
            unsafe {
                let x = [data.load(j), data.load(j + quarter), data.load(j + 2 * quarter), data.load(j + 3 * quarter)];
                let x = self.two_levels(x, w1, w2, w3);
                data.store(j, x[0]);
                data.store(j + quarter, x[1]);
                data.store(j + 2 * quarter, x[2]);
                data.store(j + 3 * quarter, x[3]);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn two_levels(&self, x: [Vector; 4], w1: Vector, w2: Vector, w3: Vector) -> [Vector; 4] {
        let (u0, u1) = self.butterfly(x[0], x[1], w2);
        let (u2, u3) = self.butterfly(x[2], x[3], w3);
        let (y0, y2) = self.butterfly(partial(self.c, u0), partial(self.c, u2), w1);
        let (y1, y3) = self.butterfly(u1, u3, w1);
        [y0, y1, y2, y3]
    }

    /// The first four levels of 16 values. Canonical in, `|x| <= 4` out.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn leaf(&self, data: Data, node: usize) {
        // SAFETY: a leaf is 16 coefficients; it has 12 roots at `12 (node - N/16)`.
        unsafe {
            let x = transpose(core::array::from_fn(|i| data.load(4 * i)));
            let roots = &self.leaf_roots[12 * (node - self.roots.len() / 16)..][..12];
            let x = self.two_levels(x, load(roots, 0), load(roots, 4), load(roots, 8));
            let x = transpose(x);
            let x = self.two_levels(x, self.root(node), self.root(2 * node), self.root(2 * node + 1));
            for (i, x) in x.into_iter().enumerate() {
                data.store(4 * i, x);
            }
        }
    }
}

/// For each `j` in `1..N`: `a_j <- finish(a_j + w a_(N-j))`, both sides read before either is written. Canonical in.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fold(c: Prime, a: &mut [f64], w: f64, finish: impl Fn(Vector) -> Vector) {
    let n = a.len();
    let w = _mm256_set1_pd(w);
    let step = |x: Vector, y: Vector| finish(_mm256_add_pd(x, product(c, y, w)));
    // The vectors 1..5, 5..9, .. meet their mirror images n-4..n, n-8..n-4, .. reversed; the last ones overlap around
    // n/2, so they are handled with the middle element by itself.
    let mut j = 1;
    while j + 4 <= n / 2 {
        let mirror = n - j - 3;
        let (x, y) = (load(a, j), reverse(load(a, mirror)));
        store(a, j, step(x, y));
        store(a, mirror, reverse(step(y, x)));
        j += 4;
    }
    for j in j..=n / 2 {
        let pair = [a[j], a[n - j], 0.0, 0.0];
        let swapped = [a[n - j], a[j], 0.0, 0.0];
        let mut result = [0.0; 4];
        store(&mut result, 0, step(load(&pair, 0), load(&swapped, 0)));
        (a[j], a[n - j]) = (result[0], result[1]);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn reverse(x: Vector) -> Vector {
    _mm256_permute4x64_pd::<0b00_01_10_11>(x)
}

/// Half-residues have 25 bits: `x = high 2^25 + low` with `|low| <= 2^24` and `|high| <= 2^24 + 1`.
const HALF: f64 = (1u64 << 25) as f64;

/// Vectors of columns that one pass keeps in the second-level cache, with all sums and one panel of inputs.
fn vectors_per_pass(rows: usize, columns: usize) -> usize {
    const BUDGET: usize = 320 << 10;
    (BUDGET / (64 * (rows + columns.min(PANEL_COLUMNS)))).max(1)
}

#[target_feature(enable = "avx2,fma")]
fn multiply_matrix(
    q: Modulus,
    matrix: &IntegerMatrix,
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
        let (panel, sums) = scratch.buffers(8 * PANEL_COLUMNS * pass, 8 * matrix.rows() * pass);
        sums.fill(0.0);
        for part in matrix.panels() {
            split(&input[part.columns.start * width..part.columns.end * width], width, first, pass, panel);
            for tile in &part.tiles {
                for v in 0..pass {
                    let panel = &panel[8 * PANEL_COLUMNS * v..][..8 * PANEL_COLUMNS];
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
/// `8 (PANEL_COLUMNS v + k)`.
#[target_feature(enable = "avx2,fma")]
fn split(input: &[f64], width: usize, first: usize, pass: usize, panel: &mut [f64]) {
    let (down, up) = (_mm256_set1_pd(1.0 / HALF), _mm256_set1_pd(HALF));
    for (k, row) in input.chunks_exact(width).enumerate() {
        for v in 0..pass {
            let x = load(row, 4 * (first + v));
            let high = rint(_mm256_mul_pd(x, down));
            let at = 8 * (PANEL_COLUMNS * v + k);
            store(panel, at, _mm256_fnmadd_pd(high, up, x));
            store(panel, at + 4, high);
        }
    }
}

/// Adds one tile's products with one vector of columns to the sums. All exact: see
/// [`MAX_ROW_NORM`](crate::linear::MAX_ROW_NORM).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_tile<const ROWS: usize>(tile: &Tile, panel: &[f64], sums: &mut [f64], pass: usize, v: usize) {
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

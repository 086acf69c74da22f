//! The AVX2 + FMA kernel: four residues a vector, multiplied in six instructions (docs/notes/arithmetic.md).
//!
//! Bounds in the comments are in units of the prime: "|x| <= 2.7" means `|x| <= 2.7 p`. Every value is an integer of
//! absolute value at most `8p <= 2^53`, so additions and subtractions are exact.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256d, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_prefetch, _mm256_add_pd, _mm256_castpd_ps,
    _mm256_castps_pd, _mm256_fmadd_pd, _mm256_fmsub_pd, _mm256_fnmadd_pd, _mm256_loadu_pd, _mm256_mul_pd,
    _mm256_permutevar8x32_ps, _mm256_round_pd, _mm256_set1_pd, _mm256_setr_epi32, _mm256_setzero_pd, _mm256_storeu_pd,
    _mm256_sub_pd,
};

mod matrix;
mod ntt;
mod random;

use super::{AHEAD, Kernel, combine_then_transform, portable::Portable, repeat_log};
use crate::linear::MatrixScratch;
use crate::{Automorphism, IntegerMatrix, Modulus, NttTable};

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
    fn mul_scalar_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], w: f64) {
        with_avx2!(self, mul_scalar_add(q, acc, a, w));
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
    fn dot_repeated(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
        with_avx2!(self, dot_repeated(q, out, terms));
    }
    fn combine(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
        with_avx2!(self, combine(q, out, terms));
    }
    fn round_sum(&self, out: &mut [f64], terms: &[(&[f64], f64)]) {
        with_avx2!(self, round_sum(out, terms));
    }
    fn reduce(&self, q: Modulus, out: &mut [f64], a: &[f64]) {
        with_avx2!(self, reduce(q, out, a));
    }
    fn ntt_forward(&self, table: &NttTable, a: &mut [f64]) {
        if table.degree() < MIN_DEGREE {
            return Portable.ntt_forward(table, a);
        }
        with_avx2!(self, ntt::ntt_forward(table, a));
    }
    fn ntt_inverse(&self, table: &NttTable, a: &mut [f64]) {
        if table.degree() < MIN_DEGREE {
            return Portable.ntt_inverse(table, a);
        }
        with_avx2!(self, ntt::ntt_inverse(table, a));
    }
    fn ntt_inverse_scaled(&self, table: &NttTable, a: &mut [f64], w: f64) {
        if table.degree() < MIN_DEGREE {
            return Portable.ntt_inverse_scaled(table, a, w);
        }
        with_avx2!(self, ntt::ntt_inverse_scaled(table, a, w));
    }
    fn combine_forward(
        &self,
        table: &NttTable,
        out: &mut [f64],
        terms: &[(&[f64], f64)],
        correction: Option<(&[f64], f64)>,
    ) {
        match (terms, correction) {
            ([(a, 1.0)], None) if table.degree() >= ntt::MIN_FUSED => {
                with_avx2!(self, ntt::reduce_forward(table, out, a));
            }
            ([a, b], Some(correction)) if table.degree() >= ntt::MIN_FUSED => {
                with_avx2!(self, ntt::combine_forward(table, out, [*a, *b], correction));
            }
            ([a, b, c], Some(correction)) if table.degree() >= ntt::MIN_FUSED => {
                with_avx2!(self, ntt::combine_forward(table, out, [*a, *b, *c], correction));
            }
            _ => combine_then_transform(self, table, out, terms, correction),
        }
    }
    fn permute(&self, automorphism: &Automorphism, out: &mut [f64], a: &[f64]) {
        with_avx2!(self, permute(automorphism, out, a));
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
        with_avx2!(self, matrix::multiply_matrix(q, matrix, input, output, width, scratch));
    }
    fn invert_cumulative(&self, bounds: &[i64], words: &[u64], out: &mut [f64]) {
        with_avx2!(self, random::invert_cumulative(bounds, words, out));
    }
}

/// Transforms of smaller degree are left to the portable kernel: their trees have two levels above the leaves of
/// 16 coefficients.
const MIN_DEGREE: usize = 64;

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

/// `a b - rint(fl(fl(a b) fl(1/p))) p`: congruent to `a b`, `|r| <= 1/2 + 3 |a b / p| 2^-53` to first order.
/// For `|b| <= 1/2` that is at most `1/2 + 0.1875 |a|`, for any `|a| <= 8`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn product(c: Prime, a: Vector, b: Vector) -> Vector {
    let high = _mm256_mul_pd(a, b);
    let low = _mm256_fmsub_pd(a, b, high);
    let quotient = rint(_mm256_mul_pd(high, c.reciprocal));
    _mm256_add_pd(_mm256_fnmadd_pd(quotient, c.p, high), low)
}

/// A factor of many products, with `fl(w fl(1/p))`.
#[derive(Clone, Copy)]
struct Factor {
    w: Vector,
    quotient: Vector,
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn factor(c: Prime, w: Vector) -> Factor {
    Factor { w, quotient: _mm256_mul_pd(w, c.reciprocal) }
}

/// As [`product`], with the same bound, but with a shorter chain of dependent instructions.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn product_by(c: Prime, a: Vector, b: Factor) -> Vector {
    let high = _mm256_mul_pd(a, b.w);
    let low = _mm256_fmsub_pd(a, b.w, high);
    let quotient = rint(_mm256_mul_pd(a, b.quotient));
    _mm256_add_pd(_mm256_fnmadd_pd(quotient, c.p, high), low)
}

/// `a - rint(fl(a fl(1/p))) p` for `|a| <= 2^53`: `|r| <= p/2 + 2^-52 |a|` to first order; canonical if `|a| <= 2.4999`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn partial(c: Prime, a: Vector) -> Vector {
    _mm256_fnmadd_pd(rint(_mm256_mul_pd(a, c.reciprocal)), c.p, a)
}

/// The canonical residue of any `|a| <= 4`: the quotient is rounded once, by an addition beyond which doubles are integers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn nearest(c: Prime, a: Vector) -> Vector {
    let origin = _mm256_set1_pd(1.5 * (1u64 << 52) as f64);
    let quotient = _mm256_sub_pd(_mm256_fmadd_pd(a, c.reciprocal, origin), origin);
    _mm256_fnmadd_pd(quotient, c.p, a)
}

/// The canonical residue of any `|a| <= 2^53`, also for small primes: the first step leaves at most `p/2 + 2`, or 1.17.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn canonical(c: Prime, a: Vector) -> Vector {
    partial(c, partial(c, a))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(slice: &[f64], at: usize) -> Vector {
    assert!(slice.len() >= 4 && at <= slice.len() - 4);
    // SAFETY: `at..at + 4` is in bounds.
    unsafe { _mm256_loadu_pd(slice.as_ptr().add(at)) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(slice: &mut [f64], at: usize, value: Vector) {
    assert!(slice.len() >= 4 && at <= slice.len() - 4);
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
        // SAFETY: `at + 4 <= whole`, and all slices are at least that long.
        unsafe {
            let values = inputs.map(|input| _mm256_loadu_pd(input.as_ptr().add(at)));
            let place = out.as_mut_ptr().add(at);
            _mm256_storeu_pd(place, f(_mm256_loadu_pd(place), values));
        }
    }
    if whole < out.len() {
        let mut result = pad(out, whole);
        let value = f(load(&result, 0), inputs.map(|input| load(&pad(input, whole), 0)));
        store(&mut result, 0, value);
        let rest = out.len() - whole;
        out[whole..].copy_from_slice(&result[..rest]);
    }
}

/// The at most four residues from `first` on, with zeros behind them.
fn pad(slice: &[f64], first: usize) -> [f64; 4] {
    let mut pad = [0.0; 4];
    pad[..slice.len() - first].copy_from_slice(&slice[first..]);
    pad
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
    // 0.5 + 0.6 < 2.4999.
    map(acc, [a, b], |acc, [a, b]| partial(c, _mm256_add_pd(acc, product(c, a, b))));
}

#[target_feature(enable = "avx2,fma")]
fn mul_scalar(q: Modulus, a: &mut [f64], w: f64) {
    let (c, w) = (prime(q), _mm256_set1_pd(w));
    map(a, [], |a, []| partial(c, product(c, a, w)));
}

#[target_feature(enable = "avx2,fma")]
fn mul_scalar_add(q: Modulus, acc: &mut [f64], a: &[f64], w: f64) {
    let (c, w) = (prime(q), _mm256_set1_pd(w));
    // 0.5 + 0.6 < 2.4999.
    map(acc, [a], |acc, [a]| partial(c, _mm256_add_pd(acc, product(c, a, w))));
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

/// A sum of at most [`LAZY_TERMS`] products `a b` of integers below `2^49`, in two exact parts.
///
/// `high` starts at `1.5 2^102` and stays between `2^102` and `2^103`, where doubles are the multiples of `2^50`. Adding a
/// product to it with one rounding moves it by the multiple of `2^50` nearest to the product; what is left, at most `2^49`,
/// is added to `low`, which stays below `2^53`.
#[derive(Clone, Copy)]
struct Sum {
    high: Vector,
    low: Vector,
}

/// Eight products are below `2^101`, and eight remainders at most `2^52`.
const LAZY_TERMS: usize = 8;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_origin() -> Vector {
    _mm256_set1_pd(1.5 * (1u128 << 102) as f64)
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_product(self, a: Vector, b: Vector) -> Self {
        let high = _mm256_fmadd_pd(a, b, self.high);
        let rest = _mm256_fmsub_pd(a, b, _mm256_sub_pd(high, self.high));
        Self { high, low: _mm256_add_pd(self.low, rest) }
    }

    /// A value congruent to the sum, at most 1.26.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(self, c: Prime) -> Vector {
        // The sum is at most 2^51 p, so that its quotient is off by 1/2 and three roundings: 1.25. `high - q p` is what is
        // left less `low`, below 2^53.
        let high = _mm256_sub_pd(self.high, sum_origin());
        let quotient = rint(_mm256_mul_pd(_mm256_add_pd(high, self.low), c.reciprocal));
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, c.p, high), self.low)
    }
}

/// `out = sum of products of term(t, at)` for `t` below `terms`; `term` gives the two factors at `at..at + 4`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_products(c: Prime, out: &mut [f64], terms: usize, term: impl Fn(usize, usize) -> (Vector, Vector)) {
    sum_columns::<4>(c, out, 0, terms, &term);
    let done = out.len() / 16 * 16;
    sum_columns::<1>(c, out, done, terms, &term);
}

/// [`sum_products`] for `COLUMNS` vectors at a time, from `first` on, as long as there are that many.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_columns<const COLUMNS: usize>(
    c: Prime,
    out: &mut [f64],
    first: usize,
    terms: usize,
    term: impl Fn(usize, usize) -> (Vector, Vector),
) {
    for (block, out) in out[first..].chunks_exact_mut(4 * COLUMNS).enumerate() {
        let at = first + 4 * COLUMNS * block;
        let mut values = [_mm256_setzero_pd(); COLUMNS];
        for group in (0..terms).step_by(LAZY_TERMS) {
            let mut sums = values.map(|low| Sum { high: sum_origin(), low });
            for t in group..terms.min(group + LAZY_TERMS) {
                for (column, sum) in sums.iter_mut().enumerate() {
                    let (a, b) = term(t, at + 4 * column);
                    *sum = sum.add_product(a, b);
                }
            }
            values = sums.map(|sum| sum.reduce(c));
        }
        for (column, value) in values.into_iter().enumerate() {
            store(out, 4 * column, partial(c, value));
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn dot(q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
    assert!(terms.iter().all(|(a, b)| a.len() == out.len() && b.len() == out.len()), "slices of different lengths");
    let c = prime(q);
    // SAFETY: `at + 4 <= out.len()`, the length of every term.
    sum_products(c, out, terms.len(), |t, at| unsafe {
        let (a, b) = terms.get_unchecked(t);
        if at % 8 == 0 {
            _mm_prefetch::<_MM_HINT_T0>(b.as_ptr().wrapping_add(at + AHEAD).cast());
        }
        (_mm256_loadu_pd(a.as_ptr().add(at)), _mm256_loadu_pd(b.as_ptr().add(at)))
    });
    let whole = out.len() / 4 * 4;
    let rest = &mut out[whole..];
    rest.fill(0.0);
    terms.iter().for_each(|(a, b)| mul_add(q, rest, &a[whole..], &b[whole..]));
}

#[target_feature(enable = "avx2,fma")]
fn dot_repeated(q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
    if terms.iter().all(|(_, b)| b.len() == out.len()) {
        return dot(q, out, terms);
    }
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()), "slices of different lengths");
    let shifts: Vec<u32> = terms.iter().map(|(_, b)| repeat_log(out.len(), b.len())).collect();
    let whole = out.len() / 4 * 4;
    // A repeated factor is as long as the others only if their length is a multiple of 4.
    assert_eq!(whole, out.len());
    let c = prime(q);
    // SAFETY: `at + 4 <= out.len()`, the length of every `a`; a value of `b` stands for `2^shift` positions, and four of
    // them from a multiple of 4 on have one value if that is 4 or more.
    sum_products(c, out, terms.len(), |t, at| unsafe {
        let ((a, b), shift) = (terms.get_unchecked(t), *shifts.get_unchecked(t));
        let b = match shift {
            0 => _mm256_loadu_pd(b.as_ptr().add(at)),
            _ => _mm256_set1_pd(*b.as_ptr().add(at >> shift)),
        };
        (_mm256_loadu_pd(a.as_ptr().add(at)), b)
    });
}

#[target_feature(enable = "avx2,fma")]
fn combine(q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()), "slices of different lengths");
    let c = prime(q);
    // SAFETY: `at + 4 <= out.len()`, the length of every term.
    sum_products(c, out, terms.len(), |t, at| unsafe {
        let (a, w) = terms.get_unchecked(t);
        (_mm256_loadu_pd(a.as_ptr().add(at)), _mm256_set1_pd(*w))
    });
    let whole = out.len() / 4 * 4;
    let rest = &mut out[whole..];
    rest.fill(0.0);
    for (a, w) in terms {
        let w = _mm256_set1_pd(*w);
        // |a w / p| <= 2^48, so the error of the quotient is below 0.1 and the product at most 0.6, whatever the prime.
        map(rest, [&a[whole..]], |sum, [a]| partial(c, _mm256_add_pd(sum, product(c, a, w))));
    }
}

#[target_feature(enable = "avx2,fma")]
fn round_sum(out: &mut [f64], terms: &[(&[f64], f64)]) {
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()), "slices of different lengths");
    let whole = out.len() / (4 * 4) * (4 * 4);
    for (block, out) in out[..whole].chunks_exact_mut(4 * 4).enumerate() {
        let mut sums = [_mm256_setzero_pd(); 4];
        for (a, r) in terms {
            let r = _mm256_set1_pd(*r);
            for (column, sum) in sums.iter_mut().enumerate() {
                let a = load(a, 4 * 4 * block + 4 * column);
                *sum = _mm256_add_pd(*sum, _mm256_mul_pd(a, r));
            }
        }
        for (column, sum) in sums.into_iter().enumerate() {
            store(out, 4 * column, rint(sum));
        }
    }
    let rest = &mut out[whole..];
    rest.fill(0.0);
    for (a, r) in terms {
        let r = _mm256_set1_pd(*r);
        map(rest, [&a[whole..]], |sum, [a]| _mm256_add_pd(sum, _mm256_mul_pd(a, r)));
    }
    map(rest, [], |sum, []| rint(sum));
}

#[target_feature(enable = "avx2,fma")]
fn reduce(q: Modulus, out: &mut [f64], a: &[f64]) {
    let c = prime(q);
    // The first quotient may be off by one unit when p is small, the second is exact.
    map(out, [a], |_, [a]| canonical(c, a));
}

#[target_feature(enable = "avx2,fma")]
fn permute(automorphism: &Automorphism, out: &mut [f64], a: &[f64]) {
    let (groups, lanes) = automorphism.groups();
    assert!(out.len() == 4 * groups.len() && a.len() == 4 * groups.len());
    // Halves of doubles, for the one instruction that permutes across lanes by a variable.
    let places = lanes.map(|lanes| {
        let [a, b, c, d] = lanes.map(|lane| 2 * lane as i32);
        _mm256_setr_epi32(a, a + 1, b, b + 1, c, c + 1, d, d + 1)
    });
    for (out, &entry) in out.as_chunks_mut::<4>().0.iter_mut().zip(groups) {
        let (first, carry) = (entry as usize & !3, entry as usize & 3);
        // SAFETY: a group is below the degree, which is the length of `a`.
        let group = unsafe { _mm256_loadu_pd(a.as_ptr().add(first)) };
        let permuted = _mm256_permutevar8x32_ps(_mm256_castpd_ps(group), places[carry]);
        store(out, 0, _mm256_castps_pd(permuted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prime::largest_primes;

    /// Around every half-integer multiple of the prime up to 4, where quotients are hardest to round.
    #[test]
    fn one_reduction_is_canonical_up_to_four() {
        #[target_feature(enable = "avx2,fma")]
        fn one(q: Modulus, x: f64) -> [f64; 4] {
            let mut lanes = [0.0; 4];
            store(&mut lanes, 0, nearest(prime(q), _mm256_set1_pd(x)));
            lanes
        }
        let Some(kernel) = Avx2::detect() else { return };
        let largest = largest_primes(50, 2, 40, &[]).unwrap();
        for p in [3, 5, 257, 12289].into_iter().chain(largest) {
            let q = Modulus::new(p).unwrap();
            for half in -8..=8 {
                for step in -2..=2 {
                    let x = (half * p as i64) / 2 + step;
                    if x.unsigned_abs() <= 4 * p {
                        let expected = q.center(q.reduce_i64(x));
                        assert_eq!(with_avx2!(kernel, one(q, x as f64)), [expected; 4], "{x} modulo {p}");
                    }
                }
            }
        }
    }
}

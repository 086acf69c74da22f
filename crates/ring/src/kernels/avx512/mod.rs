//! The AVX-512 kernel: eight residues a vector, by the same arithmetic as the AVX2 kernel.
//!
//! Bounds in the comments are in units of the prime: "|x| <= 2.7" means `|x| <= 2.7 p`. Every value is an integer of
//! absolute value at most `8p <= 2^53`, so additions and subtractions are exact.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512d, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_loadu_pd, _mm_prefetch, _mm512_add_pd,
    _mm512_castpd128_pd512, _mm512_fmadd_pd, _mm512_fmsub_pd, _mm512_fnmadd_pd, _mm512_loadu_pd, _mm512_mask_storeu_pd,
    _mm512_maskz_loadu_pd, _mm512_mul_pd, _mm512_permutexvar_pd, _mm512_roundscale_pd, _mm512_set1_pd,
    _mm512_setr_epi64, _mm512_setzero_pd, _mm512_storeu_pd, _mm512_sub_pd,
};
use std::sync::OnceLock;

mod matrix;
mod ntt;

use super::{AHEAD, Kernel, avx2::Avx2, combine_then_transform, repeat_log};
use crate::linear::{MatrixScratch, Tiles};
use crate::{Automorphism, IntegerMatrix, Modulus, NttTable};

/// Proof that the processor has AVX-512 F, BW and VNNI, and AVX2 and FMA beside them: only [`Avx512::detect`] makes one.
#[derive(Debug)]
pub(super) struct Avx512 {
    /// Computes what gains nothing from wider vectors.
    avx2: &'static Avx2,
}

impl Avx512 {
    /// The kernel, if this processor can run it.
    pub(super) fn detect() -> Option<&'static Self> {
        static KERNEL: OnceLock<Option<Avx512>> = OnceLock::new();
        let detected = || {
            let avx2 = Avx2::detect()?;
            let features = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni");
            features.then_some(Avx512 { avx2 })
        };
        KERNEL.get_or_init(detected).as_ref()
    }
}

/// Runs a function that needs AVX-512 F, BW or VNNI.
macro_rules! with_avx512 {
    ($self:ident, $call:expr) => {{
        let Avx512 { .. } = $self;
        // SAFETY: an `Avx512` exists only if detection found AVX-512 F, BW and VNNI.
        unsafe { $call }
    }};
}

impl Kernel for Avx512 {
    fn name(&self) -> &'static str {
        "avx512"
    }
    fn add(&self, q: Modulus, a: &mut [f64], b: &[f64]) {
        with_avx512!(self, add(q, a, b));
    }
    fn sub(&self, q: Modulus, a: &mut [f64], b: &[f64]) {
        with_avx512!(self, sub(q, a, b));
    }
    fn add_scalar(&self, q: Modulus, a: &mut [f64], w: f64) {
        with_avx512!(self, add_scalar(q, a, w));
    }
    fn mul(&self, q: Modulus, out: &mut [f64], a: &[f64], b: &[f64]) {
        with_avx512!(self, mul(q, out, a, b));
    }
    fn mul_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], b: &[f64]) {
        with_avx512!(self, mul_add(q, acc, a, b));
    }
    fn mul_scalar(&self, q: Modulus, a: &mut [f64], w: f64) {
        with_avx512!(self, mul_scalar(q, a, w));
    }
    fn mul_scalar_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], w: f64) {
        with_avx512!(self, mul_scalar_add(q, acc, a, w));
    }
    fn sub_mul_scalar(&self, q: Modulus, out: &mut [f64], b: &[f64], w: f64) {
        with_avx512!(self, sub_mul_scalar(q, out, b, w));
    }
    fn square(&self, q: Modulus, c0: &mut [f64], c1: &mut [f64], c2: &mut [f64]) {
        with_avx512!(self, square(q, c0, c1, c2));
    }
    fn dot(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
        with_avx512!(self, dot(q, out, terms));
    }
    fn dot_repeated(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
        if terms.iter().all(|(_, b)| b.len() == out.len()) {
            return self.dot(q, out, terms);
        }
        if !out.len().is_multiple_of(LANES) {
            return self.avx2.dot_repeated(q, out, terms);
        }
        with_avx512!(self, dot_repeated(q, out, terms));
    }
    fn combine(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
        with_avx512!(self, combine(q, out, terms));
    }
    fn round_sum(&self, out: &mut [f64], terms: &[(&[f64], f64)]) {
        with_avx512!(self, round_sum(out, terms));
    }
    fn reduce(&self, q: Modulus, out: &mut [f64], a: &[f64]) {
        with_avx512!(self, reduce(q, out, a));
    }
    fn ntt_forward(&self, table: &NttTable, a: &mut [f64]) {
        if table.degree() < ntt::MIN_DEGREE {
            return self.avx2.ntt_forward(table, a);
        }
        with_avx512!(self, ntt::ntt_forward(table, a));
    }
    fn ntt_inverse(&self, table: &NttTable, a: &mut [f64]) {
        if table.degree() < ntt::MIN_DEGREE {
            return self.avx2.ntt_inverse(table, a);
        }
        with_avx512!(self, ntt::ntt_inverse(table, a));
    }
    fn ntt_inverse_scaled(&self, table: &NttTable, a: &mut [f64], w: f64) {
        if table.degree() < ntt::MIN_DEGREE {
            return self.avx2.ntt_inverse_scaled(table, a, w);
        }
        with_avx512!(self, ntt::ntt_inverse_scaled(table, a, w));
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
                with_avx512!(self, ntt::reduce_forward(table, out, a));
            }
            ([a, b], Some(correction)) if table.degree() >= ntt::MIN_FUSED => {
                with_avx512!(self, ntt::combine_forward(table, out, [*a, *b], correction));
            }
            ([a, b, c], Some(correction)) if table.degree() >= ntt::MIN_FUSED => {
                with_avx512!(self, ntt::combine_forward(table, out, [*a, *b, *c], correction));
            }
            _ => combine_then_transform(self, table, out, terms, correction),
        }
    }
    fn permute(&self, automorphism: &Automorphism, out: &mut [f64], a: &[f64]) {
        self.avx2.permute(automorphism, out, a);
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
        let Tiles::Narrow(panels) = matrix.tiles() else {
            return self.avx2.matrix(q, matrix, input, output, width, scratch);
        };
        assert_eq!(input.len(), matrix.columns() * width);
        assert_eq!(output.len(), matrix.rows() * width);
        assert!(width.is_multiple_of(4));
        with_avx512!(self, matrix::multiply(q, matrix, panels, input, output, width, scratch));
    }
    fn invert_cumulative(&self, bounds: &[i64], words: &[u64], out: &mut [f64]) {
        self.avx2.invert_cumulative(bounds, words, out);
    }
}

type Vector = __m512d;
const LANES: usize = 8;

/// The prime and the rounded reciprocal, in all lanes.
#[derive(Clone, Copy)]
struct Prime {
    p: Vector,
    reciprocal: Vector,
}

#[inline]
#[target_feature(enable = "avx512f")]
fn prime(q: Modulus) -> Prime {
    Prime { p: _mm512_set1_pd(q.as_f64()), reciprocal: _mm512_set1_pd(q.reciprocal()) }
}

/// The integer nearest to each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn rint(x: Vector) -> Vector {
    _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

/// `a b - rint(fl(fl(a b) fl(1/p))) p`: congruent to `a b`, `|r| <= 1/2 + 3 |a b / p| 2^-53` to first order.
/// For `|b| <= 1/2` that is at most `1/2 + 0.1875 |a|`, for any `|a| <= 8`.
#[inline]
#[target_feature(enable = "avx512f")]
fn product(c: Prime, a: Vector, b: Vector) -> Vector {
    let high = _mm512_mul_pd(a, b);
    let low = _mm512_fmsub_pd(a, b, high);
    let quotient = rint(_mm512_mul_pd(high, c.reciprocal));
    _mm512_add_pd(_mm512_fnmadd_pd(quotient, c.p, high), low)
}

/// `a - rint(fl(a fl(1/p))) p` for `|a| <= 2^53`: `|r| <= p/2 + 2^-52 |a|` to first order; canonical if `|a| <= 2.4999`.
#[inline]
#[target_feature(enable = "avx512f")]
fn partial(c: Prime, a: Vector) -> Vector {
    _mm512_fnmadd_pd(rint(_mm512_mul_pd(a, c.reciprocal)), c.p, a)
}

/// The canonical residue of any `|a| <= 4`: the quotient is rounded once, by an addition beyond which doubles are integers.
#[inline]
#[target_feature(enable = "avx512f")]
fn nearest(c: Prime, a: Vector) -> Vector {
    let origin = _mm512_set1_pd(1.5 * (1u64 << 52) as f64);
    let quotient = _mm512_sub_pd(_mm512_fmadd_pd(a, c.reciprocal, origin), origin);
    _mm512_fnmadd_pd(quotient, c.p, a)
}

/// The canonical residue of any `|a| <= 2^53`, also for small primes: the first step leaves at most `p/2 + 2`, or 1.17.
#[inline]
#[target_feature(enable = "avx512f")]
fn canonical(c: Prime, a: Vector) -> Vector {
    partial(c, partial(c, a))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(slice: &[f64], at: usize) -> Vector {
    assert!(slice.len() >= LANES && at <= slice.len() - LANES);
    // SAFETY: `at..at + LANES` is in bounds.
    unsafe { _mm512_loadu_pd(slice.as_ptr().add(at)) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(slice: &mut [f64], at: usize, value: Vector) {
    assert!(slice.len() >= LANES && at <= slice.len() - LANES);
    // SAFETY: `at..at + LANES` is in bounds.
    unsafe { _mm512_storeu_pd(slice.as_mut_ptr().add(at), value) }
}

/// The lanes that are left from `first` on, at most all.
fn rest_mask(length: usize, first: usize) -> u8 {
    if length - first >= LANES { 0xff } else { (1 << (length - first)) - 1 }
}

/// `out[i] = f(out[i], [input[i], ..])`, a vector at a time; lanes beyond the end are zero and not written.
#[inline]
#[target_feature(enable = "avx512f")]
fn map<const K: usize>(out: &mut [f64], inputs: [&[f64]; K], f: impl Fn(Vector, [Vector; K]) -> Vector) {
    assert!(inputs.iter().all(|input| input.len() == out.len()), "slices of different lengths");
    let whole = out.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES <= whole`, and all slices are at least that long.
        unsafe {
            let values = inputs.map(|input| _mm512_loadu_pd(input.as_ptr().add(at)));
            let place = out.as_mut_ptr().add(at);
            _mm512_storeu_pd(place, f(_mm512_loadu_pd(place), values));
        }
    }
    if whole < out.len() {
        let mask = rest_mask(out.len(), whole);
        // SAFETY: the lanes of the mask are those in bounds, of every slice.
        unsafe {
            let values = inputs.map(|input| _mm512_maskz_loadu_pd(mask, input.as_ptr().add(whole)));
            let place = out.as_mut_ptr().add(whole);
            _mm512_mask_storeu_pd(place, mask, f(_mm512_maskz_loadu_pd(mask, place), values));
        }
    }
}

#[target_feature(enable = "avx512f")]
fn add(q: Modulus, a: &mut [f64], b: &[f64]) {
    let c = prime(q);
    // |a + b| <= 1.
    map(a, [b], |a, [b]| partial(c, _mm512_add_pd(a, b)));
}

#[target_feature(enable = "avx512f")]
fn sub(q: Modulus, a: &mut [f64], b: &[f64]) {
    let c = prime(q);
    map(a, [b], |a, [b]| partial(c, _mm512_sub_pd(a, b)));
}

#[target_feature(enable = "avx512f")]
fn add_scalar(q: Modulus, a: &mut [f64], w: f64) {
    let (c, w) = (prime(q), _mm512_set1_pd(w));
    map(a, [], |a, []| partial(c, _mm512_add_pd(a, w)));
}

#[target_feature(enable = "avx512f")]
fn mul(q: Modulus, out: &mut [f64], a: &[f64], b: &[f64]) {
    let c = prime(q);
    // A product of canonical residues is at most 0.6.
    map(out, [a, b], |_, [a, b]| partial(c, product(c, a, b)));
}

#[target_feature(enable = "avx512f")]
fn mul_add(q: Modulus, acc: &mut [f64], a: &[f64], b: &[f64]) {
    let c = prime(q);
    // 0.5 + 0.6 < 2.4999.
    map(acc, [a, b], |acc, [a, b]| partial(c, _mm512_add_pd(acc, product(c, a, b))));
}

#[target_feature(enable = "avx512f")]
fn mul_scalar(q: Modulus, a: &mut [f64], w: f64) {
    let (c, w) = (prime(q), _mm512_set1_pd(w));
    map(a, [], |a, []| partial(c, product(c, a, w)));
}

#[target_feature(enable = "avx512f")]
fn mul_scalar_add(q: Modulus, acc: &mut [f64], a: &[f64], w: f64) {
    let (c, w) = (prime(q), _mm512_set1_pd(w));
    // 0.5 + 0.6 < 2.4999.
    map(acc, [a], |acc, [a]| partial(c, _mm512_add_pd(acc, product(c, a, w))));
}

#[target_feature(enable = "avx512f")]
fn sub_mul_scalar(q: Modulus, out: &mut [f64], b: &[f64], w: f64) {
    let (c, w) = (prime(q), _mm512_set1_pd(w));
    // |out - b| <= 1, so the product is at most 0.69.
    map(out, [b], |out, [b]| partial(c, product(c, _mm512_sub_pd(out, b), w)));
}

#[target_feature(enable = "avx512f")]
fn square(q: Modulus, c0: &mut [f64], c1: &mut [f64], c2: &mut [f64]) {
    let c = prime(q);
    map(c2, [c1], |_, [c1]| partial(c, product(c, c1, c1)));
    // |2 c0| <= 1.
    map(c1, [c0], |c1, [c0]| partial(c, product(c, _mm512_add_pd(c0, c0), c1)));
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
#[target_feature(enable = "avx512f")]
fn sum_origin() -> Vector {
    _mm512_set1_pd(1.5 * (1u128 << 102) as f64)
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_product(self, a: Vector, b: Vector) -> Self {
        let high = _mm512_fmadd_pd(a, b, self.high);
        let rest = _mm512_fmsub_pd(a, b, _mm512_sub_pd(high, self.high));
        Self { high, low: _mm512_add_pd(self.low, rest) }
    }

    /// A value congruent to the sum, at most 1.26.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn reduce(self, c: Prime) -> Vector {
        // The sum is at most 2^51 p, so that its quotient is off by 1/2 and three roundings: 1.25. `high - q p` is what is
        // left less `low`, below 2^53.
        let high = _mm512_sub_pd(self.high, sum_origin());
        let quotient = rint(_mm512_mul_pd(_mm512_add_pd(high, self.low), c.reciprocal));
        _mm512_add_pd(_mm512_fnmadd_pd(quotient, c.p, high), self.low)
    }
}

/// `out = sum of products of term(t, at)` for `t` below `terms`; `term` gives the two factors at `at..at + LANES`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_products(c: Prime, out: &mut [f64], terms: usize, term: impl Fn(usize, usize) -> (Vector, Vector)) {
    sum_columns::<4>(c, out, 0, terms, &term);
    let done = out.len() / (4 * LANES) * (4 * LANES);
    sum_columns::<1>(c, out, done, terms, &term);
}

/// [`sum_products`] for `COLUMNS` vectors at a time, from `first` on, as long as there are that many.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_columns<const COLUMNS: usize>(
    c: Prime,
    out: &mut [f64],
    first: usize,
    terms: usize,
    term: impl Fn(usize, usize) -> (Vector, Vector),
) {
    for (block, out) in out[first..].chunks_exact_mut(LANES * COLUMNS).enumerate() {
        let at = first + LANES * COLUMNS * block;
        let mut values = [_mm512_setzero_pd(); COLUMNS];
        for group in (0..terms).step_by(LAZY_TERMS) {
            let mut sums = values.map(|low| Sum { high: sum_origin(), low });
            for t in group..terms.min(group + LAZY_TERMS) {
                for (column, sum) in sums.iter_mut().enumerate() {
                    let (a, b) = term(t, at + LANES * column);
                    *sum = sum.add_product(a, b);
                }
            }
            values = sums.map(|sum| sum.reduce(c));
        }
        for (column, value) in values.into_iter().enumerate() {
            store(out, LANES * column, partial(c, value));
        }
    }
}

#[target_feature(enable = "avx512f")]
fn dot(q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
    assert!(terms.iter().all(|(a, b)| a.len() == out.len() && b.len() == out.len()), "slices of different lengths");
    let c = prime(q);
    // SAFETY: `at + LANES <= out.len()`, the length of every term.
    sum_products(c, out, terms.len(), |t, at| unsafe {
        let (a, b) = terms.get_unchecked(t);
        _mm_prefetch::<_MM_HINT_T0>(b.as_ptr().wrapping_add(at + AHEAD).cast());
        (_mm512_loadu_pd(a.as_ptr().add(at)), _mm512_loadu_pd(b.as_ptr().add(at)))
    });
    let whole = out.len() / LANES * LANES;
    let rest = &mut out[whole..];
    rest.fill(0.0);
    terms.iter().for_each(|(a, b)| mul_add(q, rest, &a[whole..], &b[whole..]));
}

/// The definition is that of [`Kernel::dot_repeated`], for lengths of whole vectors.
#[target_feature(enable = "avx512f")]
fn dot_repeated(q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
    assert!(out.len().is_multiple_of(LANES));
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()), "slices of different lengths");
    let shifts: Vec<u32> = terms.iter().map(|(_, b)| repeat_log(out.len(), b.len())).collect();
    let c = prime(q);
    let halves = _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1);
    // SAFETY: `at + LANES <= out.len()`, the length of every `a`; a value of `b` stands for `2^shift` positions, so that
    // eight of them from a multiple of 8 on have two values if that is 4, and one if it is more.
    sum_products(c, out, terms.len(), |t, at| unsafe {
        let ((a, b), shift) = (terms.get_unchecked(t), *shifts.get_unchecked(t));
        let b = b.as_ptr().add(at >> shift);
        let b = match shift {
            0 => _mm512_loadu_pd(b),
            2 => _mm512_permutexvar_pd(halves, _mm512_castpd128_pd512(_mm_loadu_pd(b))),
            _ => _mm512_set1_pd(*b),
        };
        (_mm512_loadu_pd(a.as_ptr().add(at)), b)
    });
}

#[target_feature(enable = "avx512f")]
fn combine(q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()), "slices of different lengths");
    let c = prime(q);
    // SAFETY: `at + LANES <= out.len()`, the length of every term.
    sum_products(c, out, terms.len(), |t, at| unsafe {
        let (a, w) = terms.get_unchecked(t);
        (_mm512_loadu_pd(a.as_ptr().add(at)), _mm512_set1_pd(*w))
    });
    let whole = out.len() / LANES * LANES;
    let rest = &mut out[whole..];
    rest.fill(0.0);
    for (a, w) in terms {
        let w = _mm512_set1_pd(*w);
        // |a w / p| <= 2^48, so the error of the quotient is below 0.1 and the product at most 0.6, whatever the prime.
        map(rest, [&a[whole..]], |sum, [a]| partial(c, _mm512_add_pd(sum, product(c, a, w))));
    }
}

#[target_feature(enable = "avx512f")]
fn round_sum(out: &mut [f64], terms: &[(&[f64], f64)]) {
    assert!(terms.iter().all(|(a, _)| a.len() == out.len()), "slices of different lengths");
    let whole = out.len() / (4 * LANES) * (4 * LANES);
    for (block, out) in out[..whole].chunks_exact_mut(4 * LANES).enumerate() {
        let mut sums = [_mm512_setzero_pd(); 4];
        for (a, r) in terms {
            let r = _mm512_set1_pd(*r);
            for (column, sum) in sums.iter_mut().enumerate() {
                let a = load(a, 4 * LANES * block + LANES * column);
                *sum = _mm512_add_pd(*sum, _mm512_mul_pd(a, r));
            }
        }
        for (column, sum) in sums.into_iter().enumerate() {
            store(out, LANES * column, rint(sum));
        }
    }
    let rest = &mut out[whole..];
    rest.fill(0.0);
    for (a, r) in terms {
        let r = _mm512_set1_pd(*r);
        map(rest, [&a[whole..]], |sum, [a]| _mm512_add_pd(sum, _mm512_mul_pd(a, r)));
    }
    map(rest, [], |sum, []| rint(sum));
}

#[target_feature(enable = "avx512f")]
fn reduce(q: Modulus, out: &mut [f64], a: &[f64]) {
    let c = prime(q);
    // The first quotient may be off by one unit when p is small, the second is exact.
    map(out, [a], |_, [a]| canonical(c, a));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prime::largest_primes;

    /// Around every half-integer multiple of the prime up to 4, where quotients are hardest to round.
    #[test]
    fn one_reduction_is_canonical_up_to_four() {
        #[target_feature(enable = "avx512f")]
        fn one(q: Modulus, x: f64) -> [f64; LANES] {
            let mut lanes = [0.0; LANES];
            store(&mut lanes, 0, nearest(prime(q), _mm512_set1_pd(x)));
            lanes
        }
        let Some(kernel) = Avx512::detect() else { return };
        let largest = largest_primes(50, 2, 40, &[]).unwrap();
        for p in [3, 5, 257, 12289].into_iter().chain(largest) {
            let q = Modulus::new(p).unwrap();
            for half in -8..=8 {
                for step in -2..=2 {
                    let x = (half * p as i64) / 2 + step;
                    if x.unsigned_abs() <= 4 * p {
                        let expected = q.center(q.reduce_i64(x));
                        assert_eq!(with_avx512!(kernel, one(q, x as f64)), [expected; LANES], "{x} modulo {p}");
                    }
                }
            }
        }
    }
}

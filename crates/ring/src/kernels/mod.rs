//! Slice loops modulo one prime, chosen at run time. The only `unsafe` code of the project is in this folder.
//!
//! Every slice holds canonical residues (integers in `[-(p-1)/2, (p-1)/2]`) on entry and on exit unless a method says
//! otherwise. Nothing branches on residues, so every method is constant time in them.
//!
//! The portable kernel is written plainly on `u64` and shares no algorithm with the vector kernels: it is their oracle, and it
//! is itself checked against big integers. A vector kernel is a value that only processor detection can make, so
//! holding one proves that its instructions exist.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(test)]
mod suite;

use std::fmt::Debug;

use crate::{Automorphism, IntegerMatrix, Modulus, NttTable, RingError, linear::MatrixScratch};

/// The environment variable that overrides the choice of kernel.
pub const KERNEL_VARIABLE: &str = "NIGHTLOOM_KERNEL";

/// Arithmetic modulo one prime on slices. Slices of one call have equal lengths.
pub trait Kernel: Sync + Debug {
    /// The name under which the kernel is chosen, such as `avx2`.
    fn name(&self) -> &'static str;

    /// `a += b`.
    fn add(&self, q: Modulus, a: &mut [f64], b: &[f64]);
    /// `a -= b`.
    fn sub(&self, q: Modulus, a: &mut [f64], b: &[f64]);
    /// `a += w` for one canonical `w`.
    fn add_scalar(&self, q: Modulus, a: &mut [f64], w: f64);
    /// `out = a * b`.
    fn mul(&self, q: Modulus, out: &mut [f64], a: &[f64], b: &[f64]);
    /// `acc += a * b`.
    fn mul_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], b: &[f64]);
    /// `a *= w` for one canonical `w`.
    fn mul_scalar(&self, q: Modulus, a: &mut [f64], w: f64);
    /// `acc += a * w` for one canonical `w`.
    fn mul_scalar_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], w: f64);
    /// `out = (out - b) * w` for one canonical `w`: the last step of a division by known primes.
    fn sub_mul_scalar(&self, q: Modulus, out: &mut [f64], b: &[f64], w: f64);
    /// `(c0, c1) -> (c0^2, 2 c0 c1, c1^2)`; the entry contents of `c2` are not read.
    fn square(&self, q: Modulus, c0: &mut [f64], c1: &mut [f64], c2: &mut [f64]);
    /// `out = sum a_i * b_i` over all pairs; zero if there are none.
    fn dot(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]);
    /// As [`dot`](Self::dot), where a `b_i` may be shorter: each of its values then stands for as many positions in a row
    /// as it takes to be as long as `out`, a power of two, at least 4.
    fn dot_repeated(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]);
    /// `out = sum a_i * w_i` for integers `|a_i| < 2^49`, not necessarily residues of `q`, and canonical `w_i`.
    fn combine(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]);
    /// `out = sum a_i * r_i`, rounded to the nearest integer (ties to even). Every product and every sum, in the order of
    /// the terms and from 0, is rounded to `f64`, so that all kernels make the same integers. The sum is below `2^50`.
    fn round_sum(&self, out: &mut [f64], terms: &[(&[f64], f64)]);
    /// `out` = canonical residue of integers `|a| < 2^49`.
    fn reduce(&self, q: Modulus, out: &mut [f64], a: &[f64]);

    /// Coefficients to evaluations, in place; see [`NttTable`] for the order of the evaluations.
    fn ntt_forward(&self, table: &NttTable, a: &mut [f64]);
    /// Evaluations to coefficients, in place: the inverse of [`ntt_forward`](Self::ntt_forward).
    fn ntt_inverse(&self, table: &NttTable, a: &mut [f64]);
    /// [`ntt_inverse`](Self::ntt_inverse) times a canonical `w`.
    fn ntt_inverse_scaled(&self, table: &NttTable, a: &mut [f64], w: f64) {
        self.ntt_inverse(table, a);
        self.mul_scalar(table.modulus(), a, w);
    }
    /// [`combine`](Self::combine), then [`ntt_forward`](Self::ntt_forward). The last term is `correction`, whose integers
    /// are at most the number of the other terms in absolute value.
    fn combine_forward(
        &self,
        table: &NttTable,
        out: &mut [f64],
        terms: &[(&[f64], f64)],
        correction: Option<(&[f64], f64)>,
    ) {
        combine_then_transform(self, table, out, terms, correction);
    }
    /// `out` = the image of the evaluations `a`: `out[j] = a[automorphism.source(j)]`. Both have the length of its degree.
    fn permute(&self, automorphism: &Automorphism, out: &mut [f64], a: &[f64]);

    /// `output = matrix * input` modulo `q`: `input` holds `matrix.columns()` rows of `width` residues each, `output`
    /// receives `matrix.rows()` rows of `width`. `width` is a multiple of 4.
    fn matrix(
        &self,
        q: Modulus,
        matrix: &IntegerMatrix,
        input: &[f64],
        output: &mut [f64],
        width: usize,
        scratch: &mut MatrixScratch,
    );

    /// Samples by inversion: `out[i]` is the number of `bounds` that `words[i] >> 1` reaches, negative if the lowest bit of
    /// `words[i]` is set. `bounds` are positive. Constant time in `words`.
    fn invert_cumulative(&self, bounds: &[i64], words: &[u64], out: &mut [f64]);
}

/// Residues between what [`Kernel::dot`] multiplies and what it has fetched of the second factors: those are often limbs of
/// keys, which come from memory, and processors do not fetch ahead from one page to the next.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 128;

/// `log2` of the number of positions that each of `short` values stands for among `long` of them.
///
/// # Panics
/// Unless that is 1 or another power of two from 4 on.
fn repeat_log(long: usize, short: usize) -> u32 {
    let repeat = long.checked_div(short).unwrap_or(1);
    assert!(short * repeat == long && repeat.is_power_of_two() && repeat != 2, "{short} values for {long} positions");
    repeat.trailing_zeros()
}

/// [`Kernel::combine_forward`] in its two steps.
fn combine_then_transform(
    kernel: &(impl Kernel + ?Sized),
    table: &NttTable,
    out: &mut [f64],
    terms: &[(&[f64], f64)],
    correction: Option<(&[f64], f64)>,
) {
    let all: Vec<(&[f64], f64)> = terms.iter().copied().chain(correction).collect();
    kernel.combine(table.modulus(), out, &all);
    kernel.ntt_forward(table, out);
}

/// The kernels which this processor runs, the portable one first, the fastest last.
pub fn available() -> Vec<&'static dyn Kernel> {
    let mut kernels: Vec<&'static dyn Kernel> = vec![&portable::Portable];
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = avx2::Avx2::detect() {
        kernels.push(avx2);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(avx512) = avx512::Avx512::detect() {
        kernels.push(avx512);
    }
    kernels
}

/// The fastest kernel which this processor runs.
fn fastest() -> &'static dyn Kernel {
    available().pop().unwrap_or(&portable::Portable)
}

/// The kernel named by `NIGHTLOOM_KERNEL`, or the fastest one if that is unset or empty.
///
/// # Errors
/// [`RingError::UnknownKernel`] if the variable names none of [`available`].
pub fn select() -> Result<&'static dyn Kernel, RingError> {
    match std::env::var(KERNEL_VARIABLE) {
        Ok(name) if !name.is_empty() => by_name(&name),
        _ => Ok(fastest()),
    }
}

/// The available kernel of this name.
///
/// # Errors
/// [`RingError::UnknownKernel`] if there is none.
pub fn by_name(name: &str) -> Result<&'static dyn Kernel, RingError> {
    let kernels = available();
    kernels.iter().find(|kernel| kernel.name() == name).copied().ok_or_else(|| RingError::UnknownKernel {
        found: name.to_owned(),
        available: kernels.iter().map(|kernel| kernel.name()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_their_names_slowest_first() {
        let kernels = available();
        let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name()).collect();
        assert!(["portable", "avx2", "avx512"].starts_with(&names), "{names:?}");
        assert_eq!(fastest().name(), names[names.len() - 1]);
        for name in names {
            assert_eq!(by_name(name).unwrap().name(), name);
        }
        assert!(matches!(by_name("abacus"), Err(RingError::UnknownKernel { found, .. }) if found == "abacus"));
    }
}

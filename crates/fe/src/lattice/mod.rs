//! What the schemes on lattices share.

pub(crate) mod gaussian;
pub(crate) mod plaintext;
pub(crate) mod security;

use std::sync::Arc;

use nightloom_ring::{IntegerMatrix, Pool, Ring, RingError, RnsBasis, kernels, prime};

use crate::{Bounds, FeError, Functionals};

/// Secrets and keys are integers below this, as the ring reduces them.
const MAX_SIGNED: f64 = (1u64 << 49) as f64;

/// Sizes of primes that are used: large enough that there are some, and below the limit of the ring.
const PRIME_BITS: std::ops::RangeInclusive<u32> = 20..=49;

/// The fewest primes of equal size, as small as they may be, whose product is at least `2^log_q`, in the standard ring
/// of this degree, on the kernel that `NIGHTLOOM_KERNEL` names, or the fastest. `None` if there are none.
pub(crate) fn basis(degree: usize, log_q: f64) -> Result<Option<Arc<RnsBasis>>, RingError> {
    let count = (log_q / f64::from(*PRIME_BITS.end())).ceil().max(1.0);
    let smallest = ((log_q / count).ceil() as u32).max(*PRIME_BITS.start());
    for bits in smallest..=*PRIME_BITS.end() {
        let Ok(primes) = prime::largest_primes(bits, Ring::Standard.root_order(degree), count as usize, &[]) else {
            continue;
        };
        // The largest primes of a size miss it by little: the next size has enough.
        if primes.iter().map(|prime| (*prime as f64).log2()).sum::<f64>() >= log_q {
            return RnsBasis::new(degree, Ring::Standard, &primes, kernels::select()?, Pool::new())
                .map(Arc::new)
                .map(Some);
        }
    }
    Ok(None)
}

/// Checks that sums over the terms of a functional are exact in the kernels of the ring: of weights as rows of an
/// [`IntegerMatrix`], and of weighted secrets, `largest` in absolute value, as integers in `f64`.
pub(crate) fn check_sums(bounds: &Bounds, largest: f64) -> Result<(), FeError> {
    let norm = bounds.terms() as u64 * u64::from(bounds.weight());
    let max = nightloom_ring::linear::MAX_ROW_NORM.min((MAX_SIGNED / largest) as u64);
    if norm <= max {
        Ok(())
    } else {
        Err(FeError::Bounds { what: "product of terms and bound on the weights", found: norm, min: 1, max })
    }
}

/// The functionals as a matrix for the kernels of the ring.
pub(crate) fn matrix(functionals: &Functionals) -> Result<IntegerMatrix, RingError> {
    let row = |row| functionals.row(row).map(|(coordinate, weight)| (coordinate as u32, weight)).collect();
    let rows: Vec<Vec<(u32, i32)>> = (0..functionals.len()).map(row).collect();
    IntegerMatrix::new(functionals.dimension(), &rows)
}

/// `sum weight * secrets[coordinate]` over the terms of a functional, where every coordinate has `width` integers in a
/// row.
pub(crate) fn combine(secrets: &[f64], width: usize, row: impl Iterator<Item = (usize, i32)>) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for (coordinate, weight) in row {
        let weight = f64::from(weight);
        let secrets = &secrets[coordinate * width..][..width];
        sums.iter_mut().zip(secrets).for_each(|(sum, secret)| *sum += weight * secret);
    }
    sums
}

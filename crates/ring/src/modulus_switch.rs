//! Change of modulus to a power of two.

use std::sync::Arc;

use crate::convert::Conversion;
use crate::{Coeff, RnsBasis, RnsPoly};

/// From coefficients modulo `Q` to coefficients modulo `2^bits`: `round(x 2^bits / Q)`, exactly.
///
/// With `z = x 2^bits mod Q` balanced, the quotient `t = (x 2^bits - z)/Q` is the nearest integer, and `Q t = -z` modulo
/// `2^bits`. With `z = sum y_i Q/q_i - v Q` that is `t = v - sum y_i/q_i` modulo `2^bits`, where the `q_i` are odd and have
/// inverses. `v` is rounded as in [`Extension`](crate::Extension): within `2^-45` of a tie either neighbour may come out.
/// See docs/notes/rns.md.
#[derive(Debug)]
pub struct ModulusSwitch {
    source: Arc<RnsBasis>,
    bits: u32,
    /// `2^bits (Q/q_i)^-1 mod q_i`, canonical.
    factors: Vec<f64>,
    /// `q_i^-1 mod 2^64`.
    inverses: Vec<u64>,
}

impl ModulusSwitch {
    /// Prepares the change of modulus.
    ///
    /// # Panics
    /// Unless `bits` is 1 to 63 and the basis has primes.
    pub fn new(source: &Arc<RnsBasis>, bits: u32) -> Self {
        assert!((1..64).contains(&bits) && !source.is_empty(), "{bits} bits from {source:?}");
        let factor = |index| {
            let q = source.modulus(index);
            let others = source.moduli().filter(|other| *other != q);
            let cofactor = others.fold(1, |product, other| q.mul(product, other.value() % q.value()));
            q.center(q.mul(q.pow(2, bits.into()), q.inverse(cofactor)))
        };
        let factors = (0..source.len()).map(factor).collect();
        let inverses = source.moduli().map(|q| odd_inverse(q.value())).collect();
        Self { source: Arc::clone(source), bits, factors, inverses }
    }

    /// The coefficients modulo `2^bits`, in `0..2^bits`.
    ///
    /// # Panics
    /// If `x` is not over the source basis.
    pub fn switch(&self, x: &RnsPoly<Coeff>) -> Vec<u64> {
        assert!(*x.basis() == self.source, "a change of another modulus");
        let (n, kernel) = (self.source.degree(), self.source.kernel());
        let mut scaled = self.source.pool().take_limbs(self.source.len(), n);
        let mut switched = vec![0u64; n];
        for (index, y) in scaled.iter_mut().enumerate() {
            y.copy_from_slice(x.limb(index));
            kernel.mul_scalar(self.source.modulus(index), y, self.factors[index]);
            for (t, y) in switched.iter_mut().zip(&**y) {
                *t = t.wrapping_sub((*y as i64 as u64).wrapping_mul(self.inverses[index]));
            }
        }
        if let Some(v) = Conversion::quotient(&self.source, &scaled) {
            switched.iter_mut().zip(&*v).for_each(|(t, v)| *t = t.wrapping_add(*v as i64 as u64));
        }
        let mask = (1 << self.bits) - 1;
        switched.iter_mut().for_each(|t| *t &= mask);
        switched
    }
}

/// The inverse of an odd integer modulo `2^64`, by Newton's iteration: every step doubles the bits that are right, of which
/// an odd integer as its own inverse has three.
fn odd_inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |inverse, _| inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse))))
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use num_traits::{Signed, ToPrimitive};

    use super::*;
    use crate::{Pool, Ring, kernels, prime};

    #[test]
    fn odd_integers_have_inverses() {
        for odd in [1, 3, 5, 12289, (1 << 50) - 27, u64::MAX] {
            assert_eq!(odd.wrapping_mul(odd_inverse(odd)), 1);
        }
    }

    /// Coefficients of all sizes, the ends of the range and both sides of ties among them.
    #[test]
    fn coefficients_are_rounded_to_the_nearest() {
        for primes in [
            prime::largest_primes(50, 256, 1, &[]).unwrap(),
            prime::largest_primes(20, 256, 1, &[]).unwrap(),
            prime::largest_primes(50, 256, 8, &[]).unwrap(),
            [49, 20, 31].into_iter().flat_map(|bits| prime::largest_primes(bits, 256, 1, &[]).unwrap()).collect(),
        ] {
            let modulus: BigInt = primes.iter().map(|&p| BigInt::from(p)).product();
            for bits in [1, 2, 28, 45, 63] {
                let power = BigInt::from(1) << bits;
                let mut coefficients: Vec<BigInt> =
                    (0..40).map(|i| (&modulus * i * i + i) / 3200 - &modulus / 4).collect();
                let half: BigInt = &modulus / 2;
                coefficients.extend([0, 1, -1].map(BigInt::from));
                coefficients.extend([half.clone(), -&half, &half - 1, 1 - &half]);
                for odd in [1, 3, -5] {
                    // x 2^bits / Q next to odd/2: a tie has no integer.
                    let tie: BigInt = &modulus * odd / (2 * &power);
                    coefficients.extend([tie.clone(), &tie + 1, tie - 1].into_iter().filter(|x| x.abs() <= half));
                }
                coefficients.resize(64, BigInt::ZERO);
                for kernel in kernels::available() {
                    let basis = Arc::new(RnsBasis::new(64, Ring::Standard, &primes, kernel, Pool::new()).unwrap());
                    let poly = RnsPoly::from_limbs(&basis, |limb, out| {
                        let q = basis.modulus(limb);
                        for (out, x) in out.iter_mut().zip(&coefficients) {
                            let residue: BigInt = ((x % q.value()) + q.value()) % q.value();
                            *out = q.center(residue.to_u64().unwrap());
                        }
                    });
                    let switched = ModulusSwitch::new(&basis, bits).switch(&poly);
                    for (found, x) in switched.iter().zip(&coefficients) {
                        assert!(BigInt::from(*found) < power);
                        // The distance to x 2^bits / Q modulo 2^bits, in units of 1/Q.
                        let distance: BigInt = (BigInt::from(*found) * &modulus - x * &power) % (&power * &modulus);
                        let whole = &power * &modulus;
                        let distance = distance.abs().min(&whole - distance.abs());
                        let allowed: BigInt = &half + (&modulus >> 45);
                        assert!(distance <= allowed, "{} {bits} bits of {primes:?}: {x}", kernel.name());
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a change of another modulus")]
    fn another_basis_is_refused() {
        let primes = prime::largest_primes(40, 256, 2, &[]).unwrap();
        let kernel = kernels::available()[0];
        let basis = Arc::new(RnsBasis::new(64, Ring::Standard, &primes, kernel, Pool::new()).unwrap());
        ModulusSwitch::new(&Arc::new(basis.select([0])), 20).switch(&RnsPoly::zero(&basis));
    }
}

use std::sync::Arc;

use nightloom_ring::{Coeff, ModulusSwitch, RnsBasis, RnsPoly};

/// Bits to which opened values are known before they are rounded.
const SWITCH_BITS: u32 = 62;

/// Integers within `+-bound` in coefficients modulo `Q`, scaled by `floor(Q/K)` with `K = 2 bound + 1`.
///
/// Opening rounds `c K/Q`. What is left is noise: below 1/4 for ciphertexts and keys that belong together, and uniform
/// between -1/2 and 1/2 for others, so a larger rest is refused.
#[derive(Debug)]
pub(crate) struct Plaintext {
    bound: u64,
    /// `floor(Q/K)` modulo every prime, canonical.
    scale: Vec<f64>,
    switch: ModulusSwitch,
}

/// An opened coefficient is no integer within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnInteger(pub usize);

impl Plaintext {
    /// `bound` is at most `2^48` and far below `Q`.
    pub fn new(basis: &Arc<RnsBasis>, bound: u64) -> Self {
        let k = 2 * bound + 1;
        let rest =
            basis.moduli().fold(1u64, |rest, q| (u128::from(rest) * u128::from(q.value()) % u128::from(k)) as u64);
        // `floor(Q/K) = (Q - rest)/K`, and `Q` is 0 modulo its primes.
        let scale = basis.moduli().map(|q| {
            let inverse = q.inverse(k % q.value());
            q.center(q.mul(q.sub(0, rest % q.value()), inverse))
        });
        Self { bound, scale: scale.collect(), switch: ModulusSwitch::new(basis, SWITCH_BITS) }
    }

    /// Adds scaled integers, canonical modulo every prime, to a limb of coefficients.
    pub fn add_to(&self, basis: &RnsBasis, limb: usize, coefficients: &mut [f64], integers: &[f64]) {
        basis.kernel().mul_scalar_add(basis.modulus(limb), coefficients, integers, self.scale[limb]);
    }

    /// The integers in the first `values.len()` coefficients; the others must be zero. Variable time: opened values are
    /// public to whoever opens them.
    pub fn open(&self, coefficients: &RnsPoly<Coeff>, values: &mut [i64]) -> Result<(), NotAnInteger> {
        let k = i128::from(2 * self.bound + 1);
        let half = 1i128 << (SWITCH_BITS - 1);
        for (index, scaled) in self.switch.switch(coefficients).into_iter().enumerate() {
            // Balanced: the sign is in the highest of the bits.
            let balanced = ((scaled << (64 - SWITCH_BITS)) as i64) >> (64 - SWITCH_BITS);
            let product = i128::from(balanced) * k;
            let rounded = (product + half) >> SWITCH_BITS;
            let rest = product - (rounded << SWITCH_BITS);
            let bound = if index < values.len() { self.bound } else { 0 };
            if rest.unsigned_abs() > (half / 2) as u128 || rounded.unsigned_abs() > u128::from(bound) {
                return Err(NotAnInteger(index));
            }
            if let Some(value) = values.get_mut(index) {
                *value = rounded as i64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nightloom_ring::{Pool, Ring, kernels, prime};

    use super::*;

    #[test]
    fn integers_and_noise_open_as_they_should() {
        for (bits, primes, bound) in [(29, 2, 25_390_000u64), (38, 3, 25_390_000), (49, 1, 809_625), (45, 4, 1 << 43)] {
            let primes = prime::largest_primes(bits, 128, primes, &[]).unwrap();
            let kernel = kernels::available()[0];
            let basis = Arc::new(RnsBasis::new(64, Ring::Standard, &primes, kernel, Pool::new()).unwrap());
            let plaintext = Plaintext::new(&basis, bound);
            let large = bound as f64;
            let integers: Vec<f64> = (0..64).map(|i| [0.0, 1.0, -1.0, large, -large, large - 1.0][i % 6]).collect();
            // A noise of a fifth of the scale, from both sides, and one of a third.
            let parts = (basis.log2() - ((2 * bound + 1) as f64).log2()).exp2();
            let open = |part: f64| {
                let noise = (parts * part).clamp(-(2f64.powi(48)), 2f64.powi(48)).round();
                let mut poly = RnsPoly::<Coeff>::from_signed(&basis, &[noise; 64]);
                for limb in 0..basis.len() {
                    plaintext.add_to(&basis, limb, poly.limb_mut(limb), &integers);
                }
                let mut values = vec![0; 64];
                plaintext.open(&poly, &mut values).map(|()| values)
            };
            let expected: Vec<i64> = integers.iter().map(|x| *x as i64).collect();
            let mut few = vec![0; 63];
            let poly = RnsPoly::<Coeff>::from_signed(&basis, &[0.0; 64]);
            assert_eq!(plaintext.open(&poly, &mut few), Ok(()));
            for part in [0.0, 0.2, -0.2] {
                assert_eq!(open(part), Ok(expected.clone()), "{bits} {part}");
            }
            if parts < (1u64 << 48) as f64 {
                assert_eq!((open(0.3), open(-0.4)), (Err(NotAnInteger(0)), Err(NotAnInteger(0))));
            }
        }
    }
}

use crate::{RingError, prime};

/// An odd prime below `2^50`, with what the kernels need of it.
///
/// A *canonical* residue is an integer in `[-(p-1)/2, (p-1)/2]`, held in an `f64`. On the wire and in
/// number-theoretic set-up code residues are `u64` in `0..p`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Modulus {
    value: u64,
    /// `p` and `fl(1/p)`.
    p: f64,
    reciprocal: f64,
    /// `floor(2^(2b) / p)` with `b` the bits of `p`; only integer code uses it.
    barrett: u64,
    /// `floor((2^64 - 1) / p)`.
    wide_reciprocal: u64,
}

/// Every modulus is below this.
pub const MAX_MODULUS_BITS: u32 = 50;

impl Modulus {
    /// Checks `value` and prepares its constants.
    ///
    /// # Errors
    /// [`RingError::Modulus`] unless `value` is an odd prime below `2^50`.
    pub fn new(value: u64) -> Result<Self, RingError> {
        if value >= 1 << MAX_MODULUS_BITS || value.is_multiple_of(2) || !prime::is_prime(value) {
            return Err(RingError::Modulus { found: value });
        }
        let p = value as f64;
        let bits = 64 - value.leading_zeros();
        let barrett = ((1u128 << (2 * bits)) / u128::from(value)) as u64;
        Ok(Self { value, p, reciprocal: 1.0 / p, barrett, wide_reciprocal: u64::MAX / value })
    }

    /// The prime.
    pub fn value(self) -> u64 {
        self.value
    }

    /// The prime, exactly.
    pub fn as_f64(self) -> f64 {
        self.p
    }

    /// `fl(1/p)`.
    pub fn reciprocal(self) -> f64 {
        self.reciprocal
    }

    /// Bits of the prime: `ceil(log2 p)`, which is also the width of a residue on the wire.
    pub fn bits(self) -> u32 {
        64 - self.value.leading_zeros()
    }

    /// The canonical residue of a value in `0..p`.
    pub fn center(self, value: u64) -> f64 {
        debug_assert!(value < self.value);
        // Branch-free: residues may be secret. All ones if the value is above the middle.
        let above = ((self.value / 2).wrapping_sub(value) as i64 >> 63) as u64;
        value.wrapping_sub(self.value & above) as i64 as f64
    }

    /// The representative in `0..p` of a canonical residue.
    pub fn lift(self, residue: f64) -> u64 {
        debug_assert!(residue.abs() <= (self.value / 2) as f64, "{residue} is not canonical modulo {}", self.value);
        // Branch-free: residues may be secret.
        (residue as i64 + ((residue as i64) >> 63 & self.value as i64)) as u64
    }

    /// The residue in `0..p` of an integer below `2^53` in absolute value, without a branch or a division.
    pub fn reduce_i64(self, value: i64) -> u64 {
        debug_assert!(value.unsigned_abs() <= 1 << 53);
        let (magnitude, negative) = (value.unsigned_abs(), (value >> 63) as u64);
        // `2^64/p` less the quotient's inverse is below 2, so the estimate is at most 2 too small.
        let quotient = ((u128::from(magnitude) * u128::from(self.wide_reciprocal)) >> 64) as u64;
        let r = magnitude - quotient * self.value;
        let r = self.conditional_subtract(self.conditional_subtract(r));
        self.conditional_subtract((r ^ negative).wrapping_sub(negative).wrapping_add(self.value & negative))
    }

    /// The residue in `0..p` of any integer. Constant time in `value`'s bits is not promised: use on public data.
    pub fn reduce_i128(self, value: i128) -> u64 {
        value.rem_euclid(i128::from(self.value)) as u64
    }

    /// `a + b` for `a`, `b` in `0..p`.
    pub fn add(self, a: u64, b: u64) -> u64 {
        self.conditional_subtract(a + b)
    }

    /// `a - b` for `a`, `b` in `0..p`.
    pub fn sub(self, a: u64, b: u64) -> u64 {
        self.conditional_subtract(a + self.value - b)
    }

    /// `a * b` for `a`, `b` in `0..p` by Barrett reduction, without a data-dependent branch.
    pub fn mul(self, a: u64, b: u64) -> u64 {
        // Handbook of Applied Cryptography, Alg. 14.42 in base 2: the quotient is at most 2 too small.
        let (x, bits) = (u128::from(a) * u128::from(b), self.bits());
        let quotient = (((x >> (bits - 1)) * u128::from(self.barrett)) >> (bits + 1)) as u64;
        let r = (x as u64).wrapping_sub(quotient.wrapping_mul(self.value));
        self.conditional_subtract(self.conditional_subtract(r))
    }

    /// `base^exponent` for `base` in `0..p`; the exponent is public.
    pub fn pow(self, base: u64, mut exponent: u64) -> u64 {
        let (mut result, mut square) = (1 % self.value, base);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, square);
            }
            square = self.mul(square, square);
            exponent >>= 1;
        }
        result
    }

    /// The inverse of `a` in `1..p`, by Fermat.
    pub fn inverse(self, a: u64) -> u64 {
        self.pow(a, self.value - 2)
    }

    /// `x - p` if that is not negative, else `x`; without a branch.
    fn conditional_subtract(self, x: u64) -> u64 {
        let difference = x.wrapping_sub(self.value);
        difference.wrapping_add(self.value & ((difference as i64 >> 63) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIMES: [u64; 4] = [3, 12289, (1 << 30) - 35, 1_125_899_902_124_033];

    #[test]
    fn rejects_what_is_not_an_odd_prime_below_2_to_the_50() {
        for found in [0, 1, 2, 9, (1 << 50) - 1, (1 << 50) + 4 * 8192 + 1, u64::MAX] {
            assert_eq!(Modulus::new(found), Err(RingError::Modulus { found }));
        }
    }

    #[test]
    fn centering_is_symmetric_and_inverts() {
        let q = Modulus::new(12289).unwrap();
        assert_eq!((q.center(6144), q.center(6145), q.center(0)), (6144.0, -6144.0, 0.0));
        assert!((0..12289).all(|x| q.lift(q.center(x)) == x));
    }

    proptest! {
        #[test]
        fn products_sums_and_inverses_match_wide_integers(a: u64, b: u64, which in 0usize..4) {
            let q = Modulus::new(PRIMES[which]).unwrap();
            let p = q.value();
            for (a, b) in [(a % p, b % p), (p - 1, p - 1), (p - 1, b % p), (0, b % p)] {
                prop_assert_eq!(u128::from(q.mul(a, b)), u128::from(a) * u128::from(b) % u128::from(p));
                prop_assert_eq!(q.add(a, b), (a + b) % p);
                prop_assert_eq!(q.sub(a, b), (a + p - b) % p);
                if a != 0 {
                    prop_assert_eq!(q.mul(a, q.inverse(a)), 1);
                }
            }
        }
    }
}

use std::fmt;

use crate::params::MAX_PRIME_BITS;

/// Largest absolute exponent that [`Scale::from_parts`] accepts. Squaring a scale doubles its exponents, and a chain of
/// 14 squares starting from `2^50` stays below this.
pub(crate) const MAX_EXPONENT: i32 = 1 << 20;

/// The factor between a message and the integers that encode it, held exactly as `2^k * prod p_i^(e_i)`.
///
/// Products, squares and rescalings of exact scales are exact, so equality is a fact and never a tolerance. Exponents
/// saturate at the limits of an `i32`, beyond anything that a modulus could hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    twos: i32,
    /// Odd factors with non-zero exponents, rising.
    primes: Vec<(u64, i32)>,
}

impl Scale {
    /// `2^exponent`.
    pub fn power_of_two(exponent: i32) -> Self {
        Self { twos: exponent, primes: Vec::new() }
    }

    /// `2^twos * prod p^e` for distinct odd `p` below `2^50` in rising order with non-zero exponents, all exponents at
    /// most `2^20` in absolute value; `None` if they are not.
    pub fn from_parts(twos: i32, primes: Vec<(u64, i32)>) -> Option<Self> {
        let bounded = |exponent: i32| exponent.unsigned_abs() <= MAX_EXPONENT.unsigned_abs();
        let valid = primes.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && primes.iter().all(|(p, exponent)| {
                p % 2 == 1 && (3..1 << MAX_PRIME_BITS).contains(p) && *exponent != 0 && bounded(*exponent)
            })
            && bounded(twos);
        valid.then_some(Self { twos, primes })
    }

    /// The exponent of 2 and the odd factors with their exponents.
    pub fn parts(&self) -> (i32, &[(u64, i32)]) {
        (self.twos, &self.primes)
    }

    /// The product of two scales.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        let mut product = self.clone();
        product.twos = product.twos.saturating_add(other.twos);
        other.primes.iter().for_each(|(p, exponent)| product.add_exponent(*p, *exponent));
        product
    }

    /// The square.
    #[must_use]
    pub fn square(&self) -> Self {
        self.mul(self)
    }

    /// The quotient by an odd prime: what a rescaling leaves.
    #[must_use]
    pub fn divide_by(&self, prime: u64) -> Self {
        let mut quotient = self.clone();
        quotient.add_exponent(prime, -1);
        quotient
    }

    /// The quotient of two scales.
    #[must_use]
    pub fn ratio(&self, other: &Self) -> Self {
        let primes = other.primes.iter().map(|(p, exponent)| (*p, exponent.saturating_neg())).collect();
        self.mul(&Self { twos: other.twos.saturating_neg(), primes })
    }

    /// The value with a relative error of at most about `2^-52` times the sum of the absolute exponents; infinite or zero
    /// outside the range of `f64`.
    pub fn to_f64(&self) -> f64 {
        let product = self.primes.iter().fold(Float::power_of_two(self.twos.into()), |product, (p, exponent)| {
            let power = Float::new(*p as f64).power(exponent.unsigned_abs());
            product.times(if *exponent < 0 { power.inverse() } else { power })
        });
        product.to_f64()
    }

    /// `log2` of the scale.
    pub fn log2(&self) -> f64 {
        f64::from(self.twos)
            + self.primes.iter().map(|(p, exponent)| (*p as f64).log2() * f64::from(*exponent)).sum::<f64>()
    }

    fn add_exponent(&mut self, prime: u64, exponent: i32) {
        match self.primes.binary_search_by_key(&prime, |(p, _)| *p) {
            Ok(at) => {
                self.primes[at].1 = self.primes[at].1.saturating_add(exponent);
                if self.primes[at].1 == 0 {
                    self.primes.remove(at);
                }
            }
            Err(at) if exponent != 0 => self.primes.insert(at, (prime, exponent)),
            Err(_) => {}
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2^{:.3}", self.log2())
    }
}

/// `fraction * 2^exponent` with a fraction in `[1, 2)`: the factors of a scale may leave the range of `f64` even if
/// their product does not.
#[derive(Clone, Copy)]
struct Float {
    fraction: f64,
    exponent: i64,
}

impl Float {
    fn power_of_two(exponent: i64) -> Self {
        Self { fraction: 1.0, exponent }
    }

    /// `value` is at least 1 and finite.
    fn new(value: f64) -> Self {
        let exponent = value.log2() as i32;
        Self { fraction: value / f64::from(exponent).exp2(), exponent: exponent.into() }.normal()
    }

    /// For a fraction in `(1/2, 4)`.
    fn normal(self) -> Self {
        match self.fraction {
            fraction if fraction >= 2.0 => Self { fraction: fraction / 2.0, exponent: self.exponent + 1 },
            fraction if fraction < 1.0 => Self { fraction: fraction * 2.0, exponent: self.exponent - 1 },
            _ => self,
        }
    }

    fn times(self, other: Self) -> Self {
        Self { fraction: self.fraction * other.fraction, exponent: self.exponent + other.exponent }.normal()
    }

    fn inverse(self) -> Self {
        Self { fraction: 1.0 / self.fraction, exponent: -self.exponent }.normal()
    }

    fn power(self, mut exponent: u32) -> Self {
        let (mut power, mut square) = (Self::power_of_two(0), self);
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = power.times(square);
            }
            square = square.times(square);
            exponent >>= 1;
        }
        power
    }

    fn to_f64(self) -> f64 {
        // Beyond these the result is zero or infinite anyway.
        self.fraction * (self.exponent.clamp(-1100, 1100) as f64).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_return_exactly() {
        let prime = 1_125_899_902_124_033;
        let scale = Scale::power_of_two(30);
        let at_prime =
            Scale::power_of_two(0).divide_by(prime).ratio(&Scale::power_of_two(0)).ratio(&Scale::power_of_two(0));
        assert_eq!(at_prime.parts(), (0, &[(prime, -1)][..]));
        let weight = Scale::power_of_two(0).ratio(&at_prime);
        assert_eq!(scale.mul(&weight).divide_by(prime), scale);
        assert_eq!(scale.square().divide_by(prime).mul(&weight), Scale::power_of_two(60));
    }

    #[test]
    fn floats_are_close_and_do_not_overflow_early() {
        let prime = 1_125_899_902_124_033u64;
        let scale = Scale::power_of_two(100).divide_by(prime);
        let expected = 100f64.exp2() / prime as f64;
        assert!((scale.to_f64() / expected - 1.0).abs() < 1e-15);
        assert!((scale.log2() - expected.log2()).abs() < 1e-12);
        let mut huge = Scale::power_of_two(-1000);
        for _ in 0..20 {
            huge = huge.mul(&Scale::from_parts(0, vec![(prime, 1)]).unwrap());
        }
        assert!((huge.to_f64().log2() - (20.0 * (prime as f64).log2() - 1000.0)).abs() < 1e-9);
    }

    #[test]
    fn malformed_parts_are_refused() {
        for primes in [
            vec![(4, 1)],
            vec![(1, 1)],
            vec![(3, 0)],
            vec![(5, 1), (3, 1)],
            vec![(3, 1), (3, 1)],
            vec![((1 << 50) + 1, 1)],
            vec![(3, MAX_EXPONENT + 1)],
            vec![(3, i32::MIN)],
        ] {
            assert!(Scale::from_parts(0, primes).is_none());
        }
        assert!(Scale::from_parts(i32::MIN, vec![]).is_none());
        assert!(Scale::from_parts(-MAX_EXPONENT, vec![((1 << 50) - 1, MAX_EXPONENT)]).is_some());
    }

    #[test]
    fn factors_beyond_the_range_of_floats_cancel() {
        let prime = 1_125_899_902_124_033u64;
        for exponent in [1, 100, 5_000, MAX_EXPONENT / 50] {
            let scale = Scale::from_parts(-50 * exponent, vec![(prime, exponent)]).unwrap();
            let expected = (f64::from(exponent) * (prime as f64 / 50f64.exp2()).ln()).exp();
            assert!((scale.to_f64() / expected - 1.0).abs() < 1e-8, "{exponent}");
        }
        // Close to a power of two, where a rounded logarithm is one too large.
        let scale = Scale::from_parts(0, vec![((1 << 50) - 1, 1)]).unwrap();
        assert_eq!(scale.to_f64(), 50f64.exp2() - 1.0);
    }

    #[test]
    fn exponents_saturate() {
        let mut scale = Scale::from_parts(MAX_EXPONENT, vec![(3, -MAX_EXPONENT)]).unwrap();
        for _ in 0..40 {
            scale = scale.square();
        }
        assert_eq!(scale.parts(), (i32::MAX, &[(3, i32::MIN)][..]));
        assert!(scale.to_f64() < 1.0 && scale.log2() < 0.0);
        assert_eq!(Scale::power_of_two(0).ratio(&scale).parts(), (-i32::MAX, &[(3, i32::MAX)][..]));
    }
}

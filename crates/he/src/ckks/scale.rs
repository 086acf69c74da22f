use std::fmt;

/// The factor between a message and the integers that encode it, held exactly as `2^k * prod p_i^(e_i)`.
///
/// Products, squares and rescalings of exact scales are exact, so equality is a fact and never a tolerance.
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

    /// `2^twos * prod p^e` for distinct odd `p` in rising order with non-zero exponents, `None` if they are not.
    pub fn from_parts(twos: i32, primes: Vec<(u64, i32)>) -> Option<Self> {
        let valid = primes.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && primes.iter().all(|(p, exponent)| p % 2 == 1 && *p > 1 && *exponent != 0);
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
        product.twos += other.twos;
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
        let inverse = Self { twos: -other.twos, primes: other.primes.iter().map(|(p, e)| (*p, -e)).collect() };
        self.mul(&inverse)
    }

    /// The nearest `f64` up to a few units in the last place; infinite or zero outside its range.
    pub fn to_f64(&self) -> f64 {
        // Quotients first, so that no intermediate value leaves the range unless the result does.
        let ratio =
            self.primes.iter().map(|(p, exponent)| (*p as f64, *exponent)).fold(1.0, |product, (p, exponent)| {
                // Scale each factor to [1, 2) and count its power of two separately.
                let fraction = p / p.log2().floor().exp2();
                product * fraction.powi(exponent)
            });
        ratio * f64::from(self.twos + self.integer_log2()).exp2()
    }

    /// `log2` of the scale.
    pub fn log2(&self) -> f64 {
        f64::from(self.twos)
            + self.primes.iter().map(|(p, exponent)| (*p as f64).log2() * f64::from(*exponent)).sum::<f64>()
    }

    fn integer_log2(&self) -> i32 {
        self.primes.iter().map(|(p, exponent)| p.ilog2() as i32 * exponent).sum()
    }

    fn add_exponent(&mut self, prime: u64, exponent: i32) {
        match self.primes.binary_search_by_key(&prime, |(p, _)| *p) {
            Ok(at) => {
                self.primes[at].1 += exponent;
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
        for primes in [vec![(4, 1)], vec![(1, 1)], vec![(3, 0)], vec![(5, 1), (3, 1)], vec![(3, 1), (3, 1)]] {
            assert!(Scale::from_parts(0, primes).is_none());
        }
    }
}

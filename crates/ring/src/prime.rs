//! Primes for number-theoretic transforms.

use crate::RingError;

/// Whether `n` is prime: Miller-Rabin with the first twelve prime bases, which is deterministic below `3.3 * 10^24`
/// (Sorenson and Webster, Math. Comp. 86, 2017).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(&divisor) = BASES.iter().find(|&&base| n.is_multiple_of(base)) {
        return n == divisor;
    }
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let (mut x, mut square, mut exponent) = (1, base, odd);
        while exponent > 0 {
            if exponent & 1 == 1 {
                x = mul(x, square);
            }
            square = mul(square, square);
            exponent >>= 1;
        }
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = mul(x, x);
            x == n - 1
        })
    })
}

/// The `count` largest primes below `2^bits` that are 1 modulo `order` and not in `except`, in falling order.
///
/// # Errors
/// [`RingError::NotEnoughPrimes`] if fewer exist with exactly `bits` bits.
pub fn largest_primes(bits: u32, order: u64, count: usize, except: &[u64]) -> Result<Vec<u64>, RingError> {
    let (low, high) = (1u64 << (bits - 1), 1u64 << bits);
    let first = (high - 1) / order * order + 1;
    let candidates = std::iter::successors(Some(first), |&n| n.checked_sub(order)).skip_while(|&n| n >= high);
    let primes: Vec<u64> =
        candidates.take_while(|&n| n > low).filter(|n| is_prime(*n) && !except.contains(n)).take(count).collect();
    if primes.len() < count {
        return Err(RingError::NotEnoughPrimes { bits, wanted: count, found: primes.len(), order });
    }
    Ok(primes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        let by_trial = |n: u64| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        for n in (0..5000).chain((1 << 40) - 50..(1 << 40) + 50) {
            assert_eq!(is_prime(n), by_trial(n), "{n}");
        }
    }

    #[test]
    fn strong_pseudoprimes_are_composite() {
        // 3215031751 passes bases 2, 3, 5, 7; 3825123056546413051 passes the first nine primes.
        assert!(!is_prime(3_215_031_751));
        assert!(!is_prime(3_825_123_056_546_413_051));
    }

    #[test]
    fn primes_have_the_size_and_the_residue() {
        let primes = largest_primes(50, 1 << 15, 5, &[]).unwrap();
        assert!(primes.iter().all(|p| p % (1 << 15) == 1 && (1 << 49..1 << 50).contains(p)));
        let others = largest_primes(50, 1 << 15, 5, &primes).unwrap();
        assert!(others.iter().all(|p| !primes.contains(p) && *p < primes[4]));
        assert!(matches!(
            largest_primes(18, 1 << 17, 3, &[]),
            Err(RingError::NotEnoughPrimes { bits: 18, wanted: 3, .. })
        ));
    }
}

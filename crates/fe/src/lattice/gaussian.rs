//! Discrete Gaussian integers of any deviation, for secrets and errors that must be wide.

use rand_core::CryptoRng;
use zeroize::Zeroize;

/// Deviation of the base distribution `P(z) = 2^(-z^2) / sum`: `1/sqrt(2 ln 2)`.
const BASE_DEVIATION: f64 = 0.849_321_800_288_019_1;
/// `2^64 P(z <= i)` for the base distribution on the integers from 0, rounded down. What is left out has probability
/// `2^-64`.
const BASE_CUMULATIVE: [u64; 8] = [
    0xa3a2_446c_95b5_b00a,
    0xf573_66a2_e090_880e,
    0xffad_8ae9_a9eb_e30f,
    0xffff_5c0b_e036_bde7,
    0xffff_ffae_24a3_539d,
    0xffff_ffff_f5c5_89e7,
    0xffff_ffff_ffff_ae2e,
    0xffff_ffff_ffff_ffff,
];
/// Largest factor, so that values stay exact in `f64` and below `2^49`.
const MAX_FACTOR: u64 = 1 << 44;
/// Trials that are made together.
const TRIALS: usize = 64;
/// Random words of a trial.
const WORDS: usize = 4;

/// Independent integers from the discrete Gaussian distribution of deviation `k / sqrt(2 ln 2)`, for an integer `k`:
/// Ducas, Durmus, Lepoint and Lyubashevsky, "Lattice signatures and bimodal Gaussians" (BLISS), eprint 2013/383,
/// section 6.2, Algorithms 11 and 12.
///
/// `z = k b + u` with `b` from the base distribution and `u` uniform in `0..k`, kept with probability
/// `2^(-(u/k)(u/k + 2 b))`, then a sign, zero kept half of the time. Whether a trial is kept tells nothing of what
/// others give, and a trial takes no branch and no address from its values: constant time but for the number of trials.
/// Probabilities are right to `2^-49`, relatively.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gaussian {
    k: u64,
}

impl Gaussian {
    /// The distribution of the smallest possible deviation that is at least `deviation`, or `None` above `2^43`.
    pub fn at_least(deviation: f64) -> Option<Self> {
        let k = (deviation / BASE_DEVIATION).ceil().max(1.0);
        (k <= MAX_FACTOR as f64).then_some(Self { k: k as u64 })
    }

    /// The deviation.
    pub fn deviation(self) -> f64 {
        self.k as f64 * BASE_DEVIATION
    }

    /// `k`, which determines the distribution.
    pub fn factor(self) -> u64 {
        self.k
    }

    /// Fills `out` with samples: integers, at most `9 k` in absolute value.
    pub fn fill(self, rng: &mut impl CryptoRng, out: &mut [f64]) {
        let mut bytes = [0u8; TRIALS * WORDS * 8];
        let mut filled = 0;
        while filled < out.len() {
            rng.fill_bytes(&mut bytes);
            for words in bytes.as_chunks::<{ WORDS * 8 }>().0 {
                let Some(out) = out.get_mut(filled) else { break };
                let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|byte| words[8 * i + byte]));
                let (value, kept) = self.trial([word(0), word(1), word(2), word(3)]);
                *out = value;
                // A value that is not kept is overwritten by the next.
                filled += kept as usize;
            }
        }
        bytes.zeroize();
    }

    /// One trial: its value, and 1 if it is kept or else 0.
    fn trial(self, words: [u64; WORDS]) -> (f64, u64) {
        let base: u64 = BASE_CUMULATIVE.iter().map(|&bound| at_least(words[0], bound)).sum();
        // `k` times a fraction of 128 bits: the bias is below `k 2^-128`.
        let k = u128::from(self.k);
        let uniform = ((k * u128::from(words[1]) + ((k * u128::from(words[2])) >> 64)) >> 64) as u64;
        let part = uniform as f64 / self.k as f64;
        let probability = exp2_negative(part * (part + 2.0 * base as f64));
        let (coin, sign) = (words[3] >> 1, words[3] & 1);
        let likely = at_least((probability * 2f64.powi(63)) as u64, coin + 1);
        let magnitude = self.k * base + uniform;
        let negative_zero = sign & (1 - at_least(magnitude, 1));
        ((1.0 - 2.0 * sign as f64) * magnitude as f64, likely & (1 - negative_zero))
    }
}

/// 1 if `a >= b`, else 0; without a branch.
fn at_least(a: u64, b: u64) -> u64 {
    1 - ((u128::from(a).wrapping_sub(u128::from(b)) >> 127) as u64)
}

/// `2^-x` for `x` from 0 to 1000, to a few units of the last place.
fn exp2_negative(x: f64) -> f64 {
    // Adding and subtracting `1.5 * 2^52` rounds to an integer.
    let magic = 6_755_399_441_055_744.0;
    let whole = (x + magic) - magic;
    let y = (whole - x) * std::f64::consts::LN_2;
    // The exponential series: `|y| <= ln(2)/2`, so the terms after the twelfth are below `2^-55`.
    let mut sum = 1.0;
    for n in (1..=13).rev() {
        sum = 1.0 + sum * y * (1.0 / f64::from(n));
    }
    sum * f64::from_bits((1023 - whole as u64) << 52)
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_base_distribution_is_what_it_says() {
        let total: f64 = (0..30).map(|z| 0.5f64.powi(z * z)).sum();
        let mut sum = 0.0;
        for (z, &bound) in BASE_CUMULATIVE.iter().enumerate() {
            sum += 0.5f64.powi((z * z) as i32) / total;
            assert!((bound as f64 / 2f64.powi(64) - sum).abs() < 1e-15, "{z}");
            // What is left out, where the sum cannot see it.
            let left_out: f64 = (z as i32 + 1..30).map(|z| 0.5f64.powi(z * z)).sum::<f64>() / total * 2f64.powi(64);
            let found = (u64::MAX - bound) as f64 + 1.0;
            assert!((found - left_out).abs() <= 1.0 + 1e-9 * left_out, "{z}: {found} {left_out}");
        }
        assert!((BASE_DEVIATION - (1.0 / (2.0 * 2f64.ln())).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn the_exponential_is_right_to_the_last_places() {
        for i in 0..20_000 {
            let x = f64::from(i) / 997.0;
            let (found, expected) = (exp2_negative(x), (-x).exp2());
            assert!((found / expected - 1.0).abs() < 1e-15, "{x}");
        }
        for (a, b) in [(0, 0), (0, 1), (1, 0), (u64::MAX, u64::MAX), (u64::MAX, 0), (0, u64::MAX)] {
            assert_eq!(at_least(a, b), u64::from(a >= b));
        }
    }

    /// Pearson's statistic against the probabilities; an outcome this far off has probability below 2^-40.
    #[test]
    fn small_deviations_have_the_right_frequencies() {
        let count = 1 << 18;
        for deviation in [0.5, 1.5, 3.19, 6.0] {
            let gaussian = Gaussian::at_least(deviation).unwrap();
            let mut values = vec![0.0; count];
            gaussian.fill(&mut ChaCha20Rng::from_seed([1; 32]), &mut values);
            let variance = gaussian.deviation() * gaussian.deviation();
            let rho = |z: i32| (-f64::from(z * z) / (2.0 * variance)).exp();
            let total: f64 = (-200..=200).map(rho).sum();
            // Classes that are expected 20 times or more.
            let classes: Vec<i32> = (-200..=200).filter(|&z| rho(z) / total * count as f64 > 20.0).collect();
            let mut statistic = 0.0;
            for &z in &classes {
                let expected = rho(z) / total * count as f64;
                let found = values.iter().filter(|&&x| x == f64::from(z)).count() as f64;
                statistic += (found - expected) * (found - expected) / expected;
            }
            // Chi-square with `f` degrees exceeds f + 2 sqrt(f t) + 2 t with probability below e^-t (Laurent and
            // Massart).
            let (f, t) = (classes.len() as f64, 28.0);
            assert!(statistic < f + 2.0 * (f * t).sqrt() + 2.0 * t, "{deviation}: {statistic} of {f}");
        }
    }

    /// Moments and tails where frequencies cannot be counted; an outcome this far off has probability below 2^-40.
    #[test]
    fn large_deviations_have_the_right_moments() {
        let count = 1 << 17;
        for deviation in [45_000.0, 2f64.powi(36)] {
            let gaussian = Gaussian::at_least(deviation).unwrap();
            assert!((gaussian.deviation() / deviation - 1.0).abs() < 1e-4);
            let mut values = vec![0.0; count];
            gaussian.fill(&mut ChaCha20Rng::from_seed([2; 32]), &mut values);
            values.iter_mut().for_each(|x| {
                assert!(x.fract() == 0.0 && x.abs() < 9.0 * gaussian.factor() as f64);
                *x /= gaussian.deviation();
            });
            let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / count as f64;
            let root = (count as f64).sqrt();
            // Deviations of the powers of a normal variable: 1, sqrt(2), sqrt(96).
            assert!(moment(1).abs() < 8.0 / root, "{}", moment(1));
            assert!((moment(2) - 1.0).abs() < 8.0 * 2f64.sqrt() / root, "{}", moment(2));
            assert!((moment(4) - 3.0).abs() < 12.0 * 96f64.sqrt() / root, "{}", moment(4));
            // A part of the distribution between steps of the base: beyond one deviation, 0.3173.
            let beyond = values.iter().filter(|x| x.abs() > 1.0).count() as f64 / count as f64;
            assert!((beyond - 0.317_31).abs() < 8.0 * 0.466 / root, "{beyond}");
        }
        assert!(Gaussian::at_least(2f64.powi(50)).is_none());
    }
}

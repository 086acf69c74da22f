//! Samplers. Secret distributions are sampled in constant time; the uniform one is public.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::Zeroize;

use crate::{Domain, Kernel, Modulus, RnsBasis, RnsPoly, parallel};

/// Standard deviation of the error distribution.
pub const ERROR_DEVIATION: f64 = 3.19;
/// No error coefficient exceeds this in absolute value.
pub const ERROR_BOUND: f64 = 28.0;

/// 32 public bytes from which a uniform polynomial is expanded.
pub type Seed = [u8; 32];

/// Cumulative distribution of `|x|` for `x` discrete Gaussian with deviation 3.19, scaled by `2^63` and rounded: entry
/// `k` is `P(|x| <= k)`. What the table leaves out has probability below `2^-61`.
const CUMULATIVE: [i64; 29] = [
    0x1001f9a1b2ca9468,
    0x2e7cf3ef07836cb6,
    0x48ca7e85d834a57a,
    0x5d5d51778f760881,
    0x6bf35598550421b0,
    0x7552dc90807bbed6,
    0x7ac8820561a4c975,
    0x7daa6596524b7ffd,
    0x7f0b8114bba4ecb9,
    0x7fa4a9fc5ea574e9,
    0x7fe0e1077aef391a,
    0x7ff6563f810f15d0,
    0x7ffd4490999bc595,
    0x7fff4c0804cd386e,
    0x7fffd5e18e7fda18,
    0x7ffff709c679c2ee,
    0x7ffffe445c790f6c,
    0x7fffffb20f7aa54a,
    0x7ffffff3903d235d,
    0x7ffffffe32b06d1d,
    0x7fffffffc35125cc,
    0x7ffffffff8c11765,
    0x7fffffffff36fe33,
    0x7fffffffffec3bf8,
    0x7ffffffffffe3c8b,
    0x7fffffffffffdb75,
    0x7ffffffffffffd51,
    0x7fffffffffffffd2,
    0x7ffffffffffffffd,
];

/// Expands limb `limb` of a uniform polynomial: the keystream of ChaCha20 with key `seed`, 64-bit stream number
/// `stream * 2^32 + limb` and 64-bit counter from 0 is read as 64-bit little-endian words; of each, the lowest
/// `ceil(log2 p)` bits are the next residue in `0..p` (then centred), unless they are not below `p`. Variable time: seed
/// and residues are public.
pub fn uniform_limb(seed: &Seed, stream: u32, limb: usize, q: Modulus, out: &mut [f64]) {
    let mut rng = ChaCha20Rng::from_seed(*seed);
    rng.set_stream(u64::from(stream) << 32 | limb as u64);
    let mask = (1u64 << q.bits()) - 1;
    let mut words = [0u8; 4096];
    let mut filled = 0;
    while filled < out.len() {
        rng.fill_bytes(&mut words);
        for word in words.as_chunks::<8>().0 {
            let value = u64::from_le_bytes(*word) & mask;
            if let Some(out) = out.get_mut(filled) {
                *out = q.center(value.min(q.value() - 1));
                // A value that is refused is overwritten by the next.
                filled += usize::from(value < q.value());
            }
        }
    }
}

/// The uniform polynomial of a public seed; `stream` separates several polynomials of one seed. A uniform polynomial is
/// uniform in either domain, so it is sampled in the one that is needed.
pub fn uniform<D: Domain>(basis: &Arc<RnsBasis>, seed: &Seed, stream: u32) -> RnsPoly<D> {
    let mut poly = RnsPoly::unspecified(basis);
    parallel::for_each(poly.limbs_mut(), |limb, out| uniform_limb(seed, stream, limb, basis.modulus(limb), out));
    poly
}

/// Independent uniform coefficients in `{-1, 0, 1}`, each from 64 bits by multiplication: the distance from uniform is
/// below `2^-62` a coefficient. Constant time.
pub fn ternary(rng: &mut impl CryptoRng, out: &mut [f64]) {
    with_words(rng, out, |words, out| {
        for (out, &word) in out.iter_mut().zip(words) {
            *out = f64::from(((u128::from(word) * 3) >> 64) as i32 - 1);
        }
    });
}

/// Independent discrete Gaussian coefficients of deviation [`ERROR_DEVIATION`] by inversion of the cumulative table: 63
/// bits choose the magnitude, one the sign. The whole table is read for every sample: constant time.
pub fn gaussian(kernel: &dyn Kernel, rng: &mut impl CryptoRng, out: &mut [f64]) {
    // The magnitude is the number of bounds that a sample reaches, and the last bound is never in the way.
    let bounds = &CUMULATIVE[..CUMULATIVE.len() - 1];
    with_words(rng, out, |words, out| kernel.invert_cumulative(bounds, words, out));
}

/// Passes `out` to `sample` in parts, with 64 random bits for each coefficient.
fn with_words(rng: &mut impl CryptoRng, out: &mut [f64], sample: impl Fn(&[u64], &mut [f64])) {
    let mut words = [0u64; 128];
    for part in out.chunks_mut(words.len()) {
        let words = &mut words[..part.len()];
        rng.fill_bytes(bytemuck::cast_slice_mut(words));
        words.iter_mut().for_each(|word| *word = u64::from_le(*word));
        sample(words, part);
    }
    words.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([7; 32])
    }

    #[test]
    fn the_cumulative_table_is_the_discrete_gaussian() {
        let rho = |k: i32| (-f64::from(k * k) / (2.0 * ERROR_DEVIATION * ERROR_DEVIATION)).exp();
        let total: f64 = (-200..=200).map(rho).sum();
        for (k, &bound) in CUMULATIVE.iter().enumerate() {
            let expected: f64 = (-(k as i32)..=k as i32).map(rho).sum::<f64>() / total;
            assert!((bound as f64 / 2f64.powi(63) - expected).abs() < 1e-14, "{k}");
            // The sum above cannot see the tail: its last entries are checked by what they leave out.
            let left_out = (k as i32 + 1..=200).map(rho).sum::<f64>() * 2.0 / total * 2f64.powi(63);
            let found = (1u64 << 63) - bound as u64;
            assert!(
                (found as f64 - left_out).abs() <= 1.0 + 1e-12 * 2f64.powi(63) * f64::from(u8::from(k < 16)),
                "{k}"
            );
        }
        assert_eq!(CUMULATIVE.len() as f64 - 1.0, ERROR_BOUND);
    }

    /// With a fixed seed these are checks of one outcome; an outcome this far off has probability below 2^-40.
    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 1 << 16;
        let moments = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / n as f64;
            (mean, values.iter().map(|x| x * x).sum::<f64>() / n as f64)
        };
        let mut values = vec![0.0; n];
        gaussian(crate::kernels::available()[0], &mut rng(), &mut values);
        let (mean, square) = moments(&values);
        assert!(mean.abs() < 8.0 * 3.19 / 256.0, "{mean}");
        assert!((square / (3.19 * 3.19) - 1.0).abs() < 8.0 * 2f64.sqrt() / 256.0, "{square}");
        assert!(values.iter().all(|x| x.abs() <= ERROR_BOUND));
        ternary(&mut rng(), &mut values);
        let (mean, square) = moments(&values);
        assert!(mean.abs() < 8.0 / 256.0 && (square - 2.0 / 3.0).abs() < 8.0 / 256.0, "{mean} {square}");
        assert!(values.iter().all(|x| [-1.0, 0.0, 1.0].contains(x)));
    }

    #[test]
    fn uniform_limbs_are_canonical_and_separated() {
        for prime in [12289, (1 << 30) - 35, 1_125_899_902_124_033] {
            let q = Modulus::new(prime).unwrap();
            let limb = |seed: Seed, stream, limb| {
                let mut out = vec![0.0; 1000];
                uniform_limb(&seed, stream, limb, q, &mut out);
                out
            };
            let base = limb([1; 32], 0, 0);
            assert!(base.iter().all(|x| x.abs() <= (prime / 2) as f64 && x.fract() == 0.0));
            let mean = base.iter().sum::<f64>() / 1000.0 / prime as f64;
            assert!(mean.abs() < 0.1, "{mean}");
            assert_eq!(base, limb([1; 32], 0, 0));
            for other in [limb([2; 32], 0, 0), limb([1; 32], 1, 0), limb([1; 32], 0, 1)] {
                assert_ne!(base, other);
            }
        }
    }
}

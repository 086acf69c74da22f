use std::fmt;

use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 bytes from which all randomness of a training run is derived.
///
/// Every use has a ChaCha20 stream of its own, numbered by purpose, epoch and step, so a run can go on from any step
/// without the state of a generator. Under differential privacy the noise is only as secret as the seed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed of known bytes, for a run that can be repeated.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh seed.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let seed = Self(bytes);
        bytes.zeroize();
        seed
    }

    /// A generator of noise for a seed that serves nothing else.
    pub(crate) fn noise(&self) -> Random {
        self.stream(Purpose::Noise, 0, 0)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The generator of one purpose at one step. `epoch` counts to `2^24`, `step` to `2^32`.
    pub(crate) fn stream(&self, purpose: Purpose, epoch: u32, step: u32) -> Random {
        debug_assert!(epoch < 1 << 24);
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream((purpose as u64) << 56 | u64::from(epoch) << 32 | u64::from(step));
        Random { rng, spare: None }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// What randomness is for. The numbers are part of the results: another number is another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    Weights = 1,
    Order = 2,
    Sampling = 3,
    WeightRounding = 4,
    DeltaRounding = 5,
    Noise = 6,
    Shuffle = 7,
    Forest = 8,
}

/// Numbers from one stream.
pub(crate) struct Random {
    rng: ChaCha20Rng,
    /// The second of a pair of Gaussian numbers.
    spare: Option<f64>,
}

impl Random {
    /// Uniform in `[0, 1)`, a multiple of `2^-53`.
    pub fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 * f64::EPSILON / 2.0
    }

    /// Uniform in `0..bound`, `bound > 0`, by rejection.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let excess = (u64::MAX % bound + 1) % bound;
        loop {
            let word = self.rng.next_u64();
            if word <= u64::MAX - excess {
                return (word % bound) as usize;
            }
        }
    }

    /// Gaussian of mean 0 and deviation 1 (Box and Muller 1958). The logarithm is of at least `2^-53`, so no value
    /// exceeds 8.6: what is cut off has probability `2^-53`.
    pub fn gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        let (sine, cosine) = libm::sincos(2.0 * std::f64::consts::PI * self.unit());
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// Puts the items in a uniformly random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(purpose: Purpose, step: u32) -> Random {
        Seed::new([3; 32]).stream(purpose, 1, step)
    }

    #[test]
    fn streams_repeat_and_differ() {
        let first = |mut random: Random| random.rng.next_u64();
        assert_eq!(first(random(Purpose::Order, 5)), first(random(Purpose::Order, 5)));
        assert_ne!(first(random(Purpose::Order, 5)), first(random(Purpose::Order, 6)));
        assert_ne!(first(random(Purpose::Order, 5)), first(random(Purpose::Noise, 5)));
        assert_eq!(format!("{:?}", Seed::new([3; 32])), "Seed(..)");
    }

    /// Fixed seeds, so these bounds hold or not once for all; six deviations each.
    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = random(Purpose::Noise, 0);
        let count = 200_000;
        let values: Vec<f64> = (0..count).map(|_| random.gaussian()).collect();
        let moment = |power| values.iter().map(|x| f64::powi(*x, power)).sum::<f64>() / f64::from(count);
        let within = |found: f64, wanted: f64, deviation: f64| {
            let bound = 6.0 * deviation / f64::from(count).sqrt();
            assert!((found - wanted).abs() < bound, "{found} {wanted} {bound}");
        };
        within(moment(1), 0.0, 1.0);
        within(moment(2), 1.0, 2f64.sqrt());
        within(moment(3), 0.0, 15f64.sqrt());
        within(moment(4), 3.0, 96f64.sqrt());
        let units: f64 = (0..count).map(|_| random.unit()).sum();
        within(units / f64::from(count), 0.5, (1.0f64 / 12.0).sqrt());
    }

    #[test]
    fn every_order_of_three_comes_equally_often() {
        let mut found = std::collections::BTreeMap::new();
        for step in 0..6000 {
            let mut items = [0, 1, 2];
            random(Purpose::Shuffle, step).shuffle(&mut items);
            *found.entry(items).or_insert(0) += 1;
        }
        // 1000 each, deviation 29.
        assert!(found.len() == 6 && found.values().all(|count| (826..1174).contains(count)), "{found:?}");
    }
}

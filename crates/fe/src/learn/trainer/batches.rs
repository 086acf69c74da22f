use serde::{Deserialize, Serialize};

use crate::learn::random::{Purpose, Seed};

/// Which samples come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batches {
    /// Batch `b` is the samples `b size .. (b + 1) size`, the last one may be smaller. Batches come in random order, but
    /// their samples stay together, as they are encrypted together. A size of 1 updates after every sample.
    Fixed {
        /// Samples of a batch.
        size: usize,
    },
    /// Every sample comes with the same probability, independently, in each step: what the accountant's amplification by
    /// sampling assumes. The first layer must be able to open products over any samples.
    Poisson {
        /// Samples of a batch on average.
        expected: usize,
    },
}

impl Batches {
    /// Samples of a batch, on average.
    pub fn size(self) -> usize {
        match self {
            Self::Fixed { size } | Self::Poisson { expected: size } => size,
        }
    }

    /// Steps of an epoch.
    pub fn steps(self, samples: usize) -> u32 {
        samples.div_ceil(self.size()) as u32
    }

    /// The order of the batches in an epoch; never empty.
    pub(super) fn order(self, samples: usize, seed: &Seed, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.steps(samples)).collect();
        if let Self::Fixed { .. } = self {
            seed.stream(Purpose::Order, epoch, 0).shuffle(&mut order);
        }
        order
    }

    /// The samples of a step, in ascending order.
    pub(super) fn samples(self, samples: usize, order: &[u32], seed: &Seed, epoch: u32, step: u32) -> Vec<usize> {
        match self {
            Self::Fixed { size } => {
                let first = order[step as usize] as usize * size;
                (first..samples.min(first + size)).collect()
            }
            Self::Poisson { expected } => {
                let rate = expected as f64 / samples as f64;
                let mut random = seed.stream(Purpose::Sampling, epoch, step);
                (0..samples).filter(|_| random.unit() < rate).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_of_fixed_batches_has_every_sample_once() {
        let (batches, seed) = (Batches::Fixed { size: 4 }, Seed::new([2; 32]));
        assert_eq!(batches.steps(10), 3);
        let mut orders = Vec::new();
        for epoch in 0..8 {
            let order = batches.order(10, &seed, epoch);
            let steps: Vec<Vec<usize>> = (0..3).map(|step| batches.samples(10, &order, &seed, epoch, step)).collect();
            let mut all = steps.concat();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
            assert!(steps.iter().all(|step| step.len() == if step[0] == 8 { 2 } else { 4 }));
            orders.push(order);
        }
        orders.dedup();
        assert!(orders.len() > 1);
    }

    /// 2000 draws at a rate of 0.1: deviation 13.4, and the seed is fixed.
    #[test]
    fn poisson_batches_have_the_expected_size_on_average() {
        let (batches, seed) = (Batches::Poisson { expected: 2 }, Seed::new([2; 32]));
        let sizes: Vec<usize> = (0..100).map(|step| batches.samples(20, &[], &seed, 0, step).len()).collect();
        let total: usize = sizes.iter().sum();
        assert!((120..280).contains(&total), "{total}");
        assert!(sizes.contains(&0) && sizes.iter().any(|size| *size > 3));
    }
}

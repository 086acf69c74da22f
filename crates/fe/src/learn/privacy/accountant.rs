use std::fmt;

use super::moments::divergence;

/// Adds up what steps of the subsampled Gaussian mechanism give away, by Renyi divergences of many orders.
#[derive(Clone, Debug, PartialEq)]
pub struct Accountant {
    /// Of each of [`orders`] the divergence so far.
    divergences: Vec<f64>,
}

/// `epsilon` at some `delta`, and the order that gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epsilon {
    /// The privacy loss; infinite if nothing is protected.
    pub epsilon: f64,
    /// The probability for which it may be larger.
    pub delta: f64,
    /// The Renyi order. At an end of the list a longer one could give a smaller `epsilon`.
    pub order: f64,
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:.3}, {:e})-differentially private", self.epsilon, self.delta)
    }
}

/// The orders that are tried: fractional ones where many steps need them, then whole ones, then by doubling.
fn orders() -> impl Iterator<Item = f64> {
    let low = (1..100).map(|tenths| 1.0 + f64::from(tenths) / 10.0);
    low.chain((11..=64).map(f64::from)).chain((0..9).map(|power| f64::from(96 << power)))
}

impl Default for Accountant {
    fn default() -> Self {
        Self { divergences: orders().map(|_| 0.0).collect() }
    }
}

impl Accountant {
    /// Nothing given away yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `steps` steps in which each sample takes part independently with probability `rate` (Poisson sampling), or
    /// always at a rate of 1. `noise_multiplier` is the noise's deviation over the clipping norm.
    ///
    /// Samples that come in fixed batches, once an epoch each, have no amplification by sampling: an epoch is one step at
    /// a rate of 1.
    ///
    /// # Panics
    /// If `rate` is not in `0..=1` or `noise_multiplier` not positive.
    pub fn add(&mut self, rate: f64, noise_multiplier: f64, steps: u64) {
        assert!((0.0..=1.0).contains(&rate), "rate {rate}");
        assert!(noise_multiplier > 0.0, "noise multiplier {noise_multiplier}");
        for (sum, order) in self.divergences.iter_mut().zip(orders()) {
            *sum += steps as f64 * divergence(rate, noise_multiplier, order);
        }
    }

    /// The smallest `epsilon` over the orders (Canonne, Kamath and Steinke 2020, prop. 12; Balle et al. 2020, thm. 21):
    /// `D - (log(delta) + log(alpha)) / (alpha - 1) + log((alpha - 1) / alpha)`.
    ///
    /// # Panics
    /// If `delta` is not between 0 and 1.
    pub fn epsilon(&self, delta: f64) -> Epsilon {
        assert!(delta > 0.0 && delta < 1.0, "delta {delta}");
        let mut best = Epsilon { epsilon: f64::INFINITY, delta, order: f64::INFINITY };
        for (divergence, order) in self.divergences.iter().zip(orders()) {
            let rest = (libm::log(delta) + libm::log(order)) / (order - 1.0);
            let epsilon = (divergence - rest + libm::log1p(-1.0 / order)).max(0.0);
            if epsilon < best.epsilon {
                best = Epsilon { epsilon, delta, order };
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_grows_with_steps_and_falls_with_noise_and_delta() {
        let epsilon = |rate, noise, steps, delta| {
            let mut accountant = Accountant::new();
            accountant.add(rate, noise, steps);
            accountant.epsilon(delta).epsilon
        };
        let base = epsilon(0.01, 1.0, 1000, 1e-5);
        assert!(epsilon(0.01, 1.0, 2000, 1e-5) > base && epsilon(0.02, 1.0, 1000, 1e-5) > base);
        assert!(epsilon(0.01, 1.1, 1000, 1e-5) < base && epsilon(0.01, 1.0, 1000, 1e-4) < base);
        assert!(epsilon(0.01, 1.0, 0, 1e-5) < 0.01);
        let mut twice = Accountant::new();
        twice.add(0.01, 1.0, 400);
        twice.add(0.01, 1.0, 600);
        assert!((twice.epsilon(1e-5).epsilon - base).abs() < 1e-12);
        assert_eq!(twice.epsilon(1e-5).to_string(), format!("({base:.3}, 1e-5)-differentially private"));
    }

    /// `testdata/kat/rdp.csv`, made by dp-accounting: rate, noise multiplier, steps, delta, epsilon.
    #[test]
    fn epsilons_agree_with_a_published_accountant() {
        let table = include_str!("../../../../../testdata/kat/rdp.csv");
        let mut cases = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')).skip(1) {
            let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
            let [rate, noise, steps, delta, wanted] = cells[..] else { panic!("{line}") };
            let mut accountant = Accountant::new();
            accountant.add(rate, noise, steps as u64);
            let found = accountant.epsilon(delta).epsilon;
            assert!((found / wanted - 1.0).abs() < 0.01, "{line}: {found}");
            cases += 1;
        }
        assert_eq!(cases, 24);
    }
}

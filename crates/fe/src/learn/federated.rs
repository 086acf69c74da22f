//! Federated averages (McMahan et al. 2017): clients train on their own, and the server learns the weighted mean of their
//! updates alone.
//!
//! Updates become integers whose sum a secure aggregation opens: every scheme that adds modulo something larger than twice
//! [`UpdateEncoding::sum_bound`] gives exactly what [`Round`] computes. The weight of an update is one more coordinate, so a
//! client that drops out leaves both sums, and the mean stays a mean.

use ndarray::Zip;
use serde::{Deserialize, Serialize};

use super::network::{Network, Parameters, SpecError};

/// Least number of clients whose sum is opened by default: with two, each knows the other's.
pub const MIN_CONTRIBUTORS: usize = 3;

/// Updates as integers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateEncoding {
    /// Magnitudes beyond this are cut, above 0.
    clip: f64,
    /// Bits of a number with its sign.
    bits: u32,
    max_weight: u32,
    max_clients: u32,
}

/// Why updates cannot be averaged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FederatedError {
    /// A setting outside its range.
    #[error("{what} is {found}, wanted {wanted}")]
    Setting {
        /// The name of the setting.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What would have been right.
        wanted: &'static str,
    },
    /// Sums that could pass 62 bits.
    #[error("sums of up to {bits} bits, wanted at most 62: fewer bits, smaller weights or fewer clients")]
    Sum {
        /// Bits of the largest sum.
        bits: u32,
    },
    /// A number of an update that is not finite.
    #[error("number {index} of the update is {found}, wanted a finite number")]
    NotFinite {
        /// Its place, from 0.
        index: usize,
        /// The number.
        found: f64,
    },
    /// An update of another length than the others.
    #[error("{found} integers, wanted {wanted}")]
    Length {
        /// Integers given.
        found: usize,
        /// Integers of the round.
        wanted: usize,
    },
    /// An integer that no client may send.
    #[error("integer {index} is {found}, wanted a magnitude of at most {limit}")]
    Range {
        /// Its place, from 0.
        index: usize,
        /// The integer.
        found: i64,
        /// The largest allowed.
        limit: i64,
    },
    /// Too few clients to open their sum.
    #[error("{found} clients, wanted at least {wanted} before their sum is opened")]
    TooFew {
        /// Clients that sent an update.
        found: usize,
        /// The least that are needed.
        wanted: usize,
    },
    /// More clients than the encoding has room for.
    #[error("more than {limit} clients")]
    TooMany {
        /// The most that there is room for.
        limit: u32,
    },
    /// Parameters of another network.
    #[error(transparent)]
    Network(#[from] SpecError),
}

impl UpdateEncoding {
    /// Numbers up to `clip` in `bits` bits (2 to 32, the sign included), times weights up to `max_weight` (such as the
    /// client's number of samples), summed over up to `max_clients` clients.
    ///
    /// # Errors
    /// [`FederatedError`] for a setting out of range or sums of more than 62 bits.
    pub fn new(clip: f64, bits: u32, max_weight: u32, max_clients: u32) -> Result<Self, FederatedError> {
        let fail = |what, found, wanted| Err(FederatedError::Setting { what, found, wanted });
        if !(clip > 0.0 && clip.is_finite()) {
            return fail("clipping bound", clip, "a positive number");
        }
        if !(2..=32).contains(&bits) {
            return fail("bits of a number", bits.into(), "2 to 32");
        }
        if max_weight == 0 || max_clients == 0 {
            return fail("largest weight or number of clients", 0.0, "at least one");
        }
        let encoding = Self { clip, bits, max_weight, max_clients };
        // 31 + 32 + 32 bits at most.
        let sum = i128::from(encoding.limit()) * i128::from(max_weight) * i128::from(max_clients);
        let bits = i128::BITS - sum.leading_zeros();
        if bits > 62 { Err(FederatedError::Sum { bits }) } else { Ok(encoding) }
    }

    /// Largest integer of a number before it is weighed.
    fn limit(&self) -> i64 {
        (1 << (self.bits - 1)) - 1
    }

    /// No sum exceeds this in magnitude.
    pub fn sum_bound(&self) -> i64 {
        self.limit() * i64::from(self.max_weight) * i64::from(self.max_clients)
    }

    /// The integers that a client contributes: `weight` times each number, rounded to nearest, and last `weight` itself.
    ///
    /// # Errors
    /// [`FederatedError`] for a number that is not finite or a weight out of range.
    pub fn encode(&self, update: &[f64], weight: u32) -> Result<Vec<i64>, FederatedError> {
        if !(1..=self.max_weight).contains(&weight) {
            let wanted = "1 to the largest weight of the encoding";
            return Err(FederatedError::Setting { what: "weight", found: weight.into(), wanted });
        }
        if let Some(index) = update.iter().position(|value| !value.is_finite()) {
            return Err(FederatedError::NotFinite { index, found: update[index] });
        }
        let step = self.clip / self.limit() as f64;
        let number = |value: &f64| {
            let rounded = libm::rint(value.clamp(-self.clip, self.clip) / step) as i64;
            rounded.clamp(-self.limit(), self.limit()) * i64::from(weight)
        };
        Ok(update.iter().map(number).chain([i64::from(weight)]).collect())
    }

    /// The weighted mean of the updates whose integers have these sums.
    ///
    /// # Errors
    /// [`FederatedError::Range`] if the sum of the weights, the last integer, is not positive.
    pub fn decode(&self, sums: &[i64]) -> Result<Vec<f64>, FederatedError> {
        let Some((&weight, sums)) = sums.split_last().filter(|(weight, _)| **weight > 0) else {
            let (index, found) = (sums.len().saturating_sub(1), sums.last().copied().unwrap_or(0));
            return Err(FederatedError::Range { index, found, limit: self.sum_bound() });
        };
        let step = self.clip / self.limit() as f64;
        Ok(sums.iter().map(|&sum| sum as f64 / weight as f64 * step).collect())
    }
}

/// The sum of what clients sent in one round, in the clear.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    encoding: UpdateEncoding,
    sums: Vec<i64>,
    contributors: usize,
}

impl Round {
    /// A round for networks of `parameters` parameters.
    pub fn new(encoding: UpdateEncoding, parameters: usize) -> Self {
        Self { encoding, sums: vec![0; parameters + 1], contributors: 0 }
    }

    /// Adds one client's integers.
    ///
    /// # Errors
    /// [`FederatedError`] if there are too few, too large ones, or too many clients. The round is as before.
    pub fn add(&mut self, update: &[i64]) -> Result<(), FederatedError> {
        if update.len() != self.sums.len() {
            return Err(FederatedError::Length { found: update.len(), wanted: self.sums.len() });
        }
        if self.contributors >= self.encoding.max_clients as usize {
            return Err(FederatedError::TooMany { limit: self.encoding.max_clients });
        }
        let limit = self.encoding.limit() * i64::from(self.encoding.max_weight);
        let too_large = |(_, value): &(usize, &i64)| value.unsigned_abs() > limit.unsigned_abs();
        if let Some((index, &found)) = update.iter().enumerate().find(too_large) {
            return Err(FederatedError::Range { index, found, limit });
        }
        self.sums.iter_mut().zip(update).for_each(|(sum, value)| *sum += value);
        self.contributors += 1;
        Ok(())
    }

    /// Clients so far.
    pub fn contributors(&self) -> usize {
        self.contributors
    }

    /// The weighted mean of the updates.
    ///
    /// # Errors
    /// [`FederatedError::TooFew`] below [`MIN_CONTRIBUTORS`].
    pub fn mean(&self) -> Result<Vec<f64>, FederatedError> {
        if self.contributors < MIN_CONTRIBUTORS {
            return Err(FederatedError::TooFew { found: self.contributors, wanted: MIN_CONTRIBUTORS });
        }
        self.encoding.decode(&self.sums)
    }
}

/// What training changed: the parameters of `trained` less those of `global`.
///
/// # Errors
/// [`FederatedError::Length`] if the networks differ in size.
pub fn update(global: &Network, trained: &Network) -> Result<Vec<f64>, FederatedError> {
    let (wanted, found) = (global.architecture().parameters(), trained.architecture().parameters());
    if found != wanted {
        return Err(FederatedError::Length { found, wanted });
    }
    Ok(trained.values().zip(global.values()).map(|(after, before)| after - before).collect())
}

/// `global` with a mean update added.
///
/// # Errors
/// [`FederatedError::Network`] if there are not as many numbers as parameters.
pub fn apply(global: &Network, mean: &[f64]) -> Result<Network, FederatedError> {
    let mut change = Network::from_values(global.architecture(), mean)?;
    for (change, before) in change.parameters_mut().iter_mut().zip(global.parameters()) {
        let Parameters { weights, bias } = change;
        Zip::from(weights).and(&before.weights).for_each(|change, before| *change += before);
        Zip::from(bias).and(&before.bias).for_each(|change, before| *change += before);
    }
    Ok(change)
}

#[cfg(test)]
#[path = "federated_tests.rs"]
mod tests;

//! Models that need nothing but sums: naive Bayes and completely random forests (Aslett, Esperanca and Holmes 2015, arXiv
//! 1508.06845).
//!
//! The form of the model is public before any data is seen: bins of the features, trees of a forest. It numbers
//! *coordinates*. Each client turns each of its samples into a vector of zeros and ones over the coordinates
//! ([`Coordinates::of`]), and the one thing that is asked of a scheme is the sum of these vectors over all samples, the
//! *counts*, each at most the number of samples. A client that sums its own vectors first reveals less, and an aggregation
//! over several clients opens no client's sum.
//!
//! In that paper ciphertexts stay closed, so leaves are weighed by a stochastic fraction, because ciphertexts cannot be
//! divided (section 3.2). Here the counts are opened, and fractions are fractions.

mod bins;
mod forest;
mod naive_bayes;

pub use bins::Bins;
pub use forest::{Forest, ForestSpec, TrainedForest};
pub use naive_bayes::{NaiveBayes, TrainedNaiveBayes};

/// Most coordinates of a model.
pub const MAX_COORDINATES: usize = 1 << 24;

/// What a model counts of a sample.
pub trait Coordinates {
    /// The number of coordinates.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The coordinates of a sample that are one, in ascending order; the others are zero. `bins` holds the bin of each
    /// feature.
    ///
    /// # Panics
    /// If bins or class are not those of the model.
    fn of(&self, bins: &[usize], class: usize) -> Vec<usize>;
}

/// The counts of samples in the clear: a client's own, or what every scheme must open for all of them.
///
/// # Panics
/// If bins or classes are not those of the model.
pub fn count<'a>(coordinates: &impl Coordinates, samples: impl IntoIterator<Item = (&'a [usize], usize)>) -> Vec<i64> {
    let mut counts = vec![0; coordinates.len()];
    for (bins, class) in samples {
        for place in coordinates.of(bins, class) {
            counts[place] += 1;
        }
    }
    counts
}

/// Why a model cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CountsError {
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
    /// More coordinates than allowed.
    #[error("more than {MAX_COORDINATES} coordinates")]
    TooManyCoordinates,
    /// Counts of another model.
    #[error("{found} counts, wanted {wanted}")]
    Counts {
        /// Counts given.
        found: usize,
        /// Coordinates of the model.
        wanted: usize,
    },
}

fn check_counts(coordinates: &impl Coordinates, counts: &[i64]) -> Result<(), CountsError> {
    if counts.len() == coordinates.len() {
        Ok(())
    } else {
        Err(CountsError::Counts { found: counts.len(), wanted: coordinates.len() })
    }
}

/// A count as a positive number; noise of differential privacy can push it below zero.
fn smoothed(count: i64, smoothing: f64) -> f64 {
    count.max(0) as f64 + smoothing
}

fn check_smoothing(smoothing: f64) -> Result<(), CountsError> {
    if smoothing > 0.0 && smoothing.is_finite() {
        return Ok(());
    }
    Err(CountsError::Setting { what: "smoothing", found: smoothing, wanted: "a positive number" })
}

/// The first of the largest scores.
fn best(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
}

#[cfg(test)]
mod tests;

use ndarray::Array2;

use crate::learn::network::Gradient;
use crate::learn::random::Random;

/// Scales each sample's deltas so that its gradient is no longer than `clip`: a gradient is linear in the deltas.
///
/// `norms` holds of each sample the squared norm of all of the gradient but the first layer's weights, and that of the
/// first layer's delta; `data_bound` bounds the norm of the vectors that the first layer multiplies, all of a sample
/// together, so that `|delta X^T| <= |delta| data_bound`.
pub(crate) fn clip(deltas: &mut [Array2<f64>], norms: &[(f64, f64)], data_bound: f64, clip: f64) {
    for (sample, (rest, first)) in norms.iter().enumerate() {
        let norm = libm::sqrt(rest + first * data_bound * data_bound);
        if norm > clip {
            // One part in 2^40 less, against rounding of norm and quotient.
            let factor = clip / norm * (1.0 - f64::powi(2.0, -40));
            deltas.iter_mut().for_each(|delta| delta.row_mut(sample).mapv_inplace(|value| value * factor));
        }
    }
}

/// Adds Gaussian noise of the given deviation to every entry.
pub(crate) fn add_noise(gradient: &mut Gradient, deviation: f64, random: &mut Random) {
    for value in gradient.iter_mut().flat_map(|layer| layer.values_mut()) {
        *value += deviation * random.gaussian();
    }
}

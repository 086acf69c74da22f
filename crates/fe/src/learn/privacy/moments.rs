//! Renyi divergence of the subsampled Gaussian mechanism (Mironov, Talwar and Zhang 2019, arXiv 1908.10530, section 3.3).

use super::special::{log_add, log_erfc, log_sub};

/// Terms of the series for fractional orders after which it is given up.
const MAX_TERMS: u32 = 100_000;

/// Divergence of order `alpha > 1` of one step: each sample is taken with probability `rate`, and the sum of contributions
/// of norm at most 1 gets noise of deviation `sigma`. Infinite if the series does not converge.
pub(super) fn divergence(rate: f64, sigma: f64, alpha: f64) -> f64 {
    if rate == 0.0 {
        return 0.0;
    }
    if rate == 1.0 {
        return alpha / (2.0 * sigma * sigma);
    }
    let log_moment = if alpha.fract() == 0.0 { whole(rate, sigma, alpha) } else { fractional(rate, sigma, alpha) };
    log_moment / (alpha - 1.0)
}

/// `log A_alpha`, equation (3): a binomial sum.
fn whole(rate: f64, sigma: f64, alpha: f64) -> f64 {
    let (log_rate, log_rest) = (libm::log(rate), libm::log1p(-rate));
    let (mut sum, mut log_binomial, mut k) = (f64::NEG_INFINITY, 0.0, 0.0);
    while k <= alpha {
        let exponent = (k * k - k) / (2.0 * sigma * sigma);
        sum = log_add(sum, log_binomial + k * log_rate + (alpha - k) * log_rest + exponent);
        log_binomial += libm::log((alpha - k) / (k + 1.0));
        k += 1.0;
    }
    sum
}

/// `log A_alpha` as two series, left and right of `z = 1/2 + sigma^2 log(1/rate - 1)`, where the two densities of the
/// mixture are equal.
fn fractional(rate: f64, sigma: f64, alpha: f64) -> f64 {
    let (log_rate, log_rest) = (libm::log(rate), libm::log1p(-rate));
    let z = sigma * sigma * (log_rest - log_rate) + 0.5;
    let (mut left, mut right) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    // The binomial coefficient (alpha over i) as sign and logarithm; it is never zero.
    let (mut log_binomial, mut positive) = (0.0, true);
    for i in 0..MAX_TERMS {
        let i = f64::from(i);
        let j = alpha - i;
        let half = libm::log(0.5);
        let scale = std::f64::consts::SQRT_2 * sigma;
        let moment = |k: f64| (k * k - k) / (2.0 * sigma * sigma);
        let left_term = log_binomial + i * log_rate + j * log_rest + moment(i) + half + log_erfc((i - z) / scale);
        let right_term = log_binomial + j * log_rate + i * log_rest + moment(j) + half + log_erfc((z - j) / scale);
        if positive {
            (left, right) = (log_add(left, left_term), log_add(right, right_term));
        } else {
            (left, right) = (log_sub(left, left_term), log_sub(right, right_term));
        }
        let sum = log_add(left, right);
        // Past alpha the terms alternate and shrink, so the first one left out bounds the rest.
        if i > alpha && left_term.max(right_term) < sum - 30.0 {
            return sum;
        }
        let factor = j / (i + 1.0);
        log_binomial += libm::log(factor.abs());
        positive = positive == (factor > 0.0);
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `E_(x ~ N(0, sigma^2)) ((1 - q) + q exp((2x - 1) / (2 sigma^2)))^alpha` by the trapezoidal rule, which converges
    /// faster than any power for such integrands.
    fn by_quadrature(rate: f64, sigma: f64, alpha: f64) -> f64 {
        let (low, high) = (-12.0 * sigma, alpha + 12.0 * sigma);
        let steps = 40_000;
        let width = (high - low) / f64::from(steps);
        let log_term = |i: i32| {
            let x = low + width * f64::from(i);
            let density = -x * x / (2.0 * sigma * sigma) - (sigma * (2.0 * std::f64::consts::PI).sqrt()).ln();
            let shifted = (2.0 * x - 1.0) / (2.0 * sigma * sigma);
            density + alpha * log_add((1.0 - rate).ln(), rate.ln() + shifted) + width.ln()
        };
        let log_moment = (0..=steps).map(log_term).fold(f64::NEG_INFINITY, log_add);
        log_moment / (alpha - 1.0)
    }

    #[test]
    fn divergences_agree_with_their_definition() {
        for rate in [0.001, 0.01, 0.1, 0.5] {
            for sigma in [0.7, 1.1, 4.0, 20.0] {
                for alpha in [1.25, 1.5, 2.0, 2.5, 4.75, 8.0, 17.5, 32.0] {
                    let (found, wanted) = (divergence(rate, sigma, alpha), by_quadrature(rate, sigma, alpha));
                    let error = (found - wanted).abs();
                    assert!(error <= 1e-6 * wanted + 1e-12, "{rate} {sigma} {alpha}: {found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn without_sampling_it_is_the_gaussian_mechanism() {
        assert_eq!(divergence(1.0, 2.0, 3.0), 0.375);
        assert_eq!(divergence(0.0, 2.0, 3.0), 0.0);
    }
}

//! Logarithms of what over- or underflows.

/// `log(exp(a) + exp(b))`.
pub(super) fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + libm::log1p(libm::exp(low - high)) }
}

/// `log(exp(a) - exp(b))`, `a >= b`.
pub(super) fn log_sub(a: f64, b: f64) -> f64 {
    if b == f64::NEG_INFINITY {
        a
    } else if a <= b {
        f64::NEG_INFINITY
    } else {
        a + libm::log(-libm::expm1(b - a))
    }
}

/// `log(erfc(x))`.
pub(super) fn log_erfc(x: f64) -> f64 {
    if x < 20.0 {
        return libm::log(libm::erfc(x));
    }
    // erfc(x) = exp(-x^2) / (x sqrt(pi)) (1 - 1/(2x^2) + 3/(2x^2)^2 - 15/(2x^2)^3 + ..), DLMF 7.12.1: the error is below
    // the first term left out, 105/(2x^2)^4 < 3e-10.
    let t = 1.0 / (2.0 * x * x);
    let series = 1.0 - t * (1.0 - 3.0 * t * (1.0 - 5.0 * t));
    -x * x - libm::log(x) - libm::log(std::f64::consts::PI) / 2.0 + libm::log(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_agree_with_the_definition() {
        for (a, b) in [(0.0, 0.0), (1.0, -3.0), (-2.0, 5.0f64), (2.5, 2.4)] {
            assert!((log_add(a, b) - (a.exp() + b.exp()).ln()).abs() < 1e-12);
            if a > b {
                assert!((log_sub(a, b) - (a.exp() - b.exp()).ln()).abs() < 1e-12);
            }
        }
        assert_eq!(log_add(f64::NEG_INFINITY, 3.0), 3.0);
        assert_eq!((log_sub(3.0, f64::NEG_INFINITY), log_sub(3.0, 3.0)), (3.0, f64::NEG_INFINITY));
        assert!((log_add(-1e4, -1e4) - (-1e4 + 2f64.ln())).abs() < 1e-9);
    }

    /// Both branches where they meet, and `mpmath.log(mpmath.erfc(x))`.
    #[test]
    fn log_erfc_is_smooth_and_right() {
        assert!((log_erfc(20.0) - log_erfc(20.0 - 1e-9)).abs() < 1e-7);
        for (x, wanted) in [(-3.0, 0.693_136_135_250_447), (0.0, 0.0), (5.0, -27.200_889_545_537_4)] {
            assert!((log_erfc(x) - wanted).abs() < 1e-10, "{x}");
        }
        assert!((log_erfc(30.0) / -903.974_117_110_643_9 - 1.0).abs() < 1e-12, "{}", log_erfc(30.0));
    }
}

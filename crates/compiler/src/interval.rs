//! Intervals with outward rounding.

/// All numbers from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    low: f64,
    high: f64,
}

impl Interval {
    /// The interval from `low` to `high`; `None` if they are out of order or not finite.
    pub fn new(low: f64, high: f64) -> Option<Interval> {
        (low <= high && low.is_finite() && high.is_finite()).then_some(Interval { low, high })
    }

    /// Smallest number of the interval.
    pub fn low(self) -> f64 {
        self.low
    }

    /// Largest number of the interval.
    pub fn high(self) -> f64 {
        self.high
    }

    /// Largest magnitude in the interval; infinite where an operation overflowed.
    pub fn magnitude(self) -> f64 {
        if self.low.is_nan() || self.high.is_nan() { f64::INFINITY } else { self.high.max(-self.low) }
    }

    /// Whether `value` lies in the interval.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Squares of the numbers of the interval.
    pub fn square(self) -> Interval {
        let (low, high) = (self.low * self.low, self.high * self.high);
        let least = if self.contains(0.0) { 0.0 } else { low.min(high).next_down().max(0.0) };
        Interval { low: least, high: low.max(high).next_up() }
    }

    /// Products of numbers of two intervals.
    pub fn multiply(self, other: Interval) -> Interval {
        let corners = [self.low * other.low, self.low * other.high, self.high * other.low, self.high * other.high];
        Interval {
            low: corners.into_iter().fold(f64::INFINITY, f64::min).next_down(),
            high: corners.into_iter().fold(f64::NEG_INFINITY, f64::max).next_up(),
        }
    }

    /// `bias` plus the sum of weighted intervals, for the exact sum and for one computed in order in double precision.
    pub fn affine(terms: impl Iterator<Item = (f64, Interval)>, bias: f64) -> Interval {
        let (mut low, mut high, mut magnitude, mut count) = (bias, bias, bias.abs(), 0.0);
        for (weight, range) in terms {
            let (a, b) = (weight * range.low, weight * range.high);
            low += a.min(b);
            high += a.max(b);
            magnitude += a.abs().max(b.abs());
            count += 1.0;
        }
        // An n-term sum of products errs by at most n*u/(1 - n*u) times the sum of magnitudes (Higham, Accuracy and
        // Stability of Numerical Algorithms, 2002, eq. 3.5), u = EPSILON/2: once for this sum, once for the other one,
        // and twice that to cover the rounding of `magnitude` and of the bound itself.
        let error = 2.0 * f64::EPSILON * (count + 1.0) * magnitude;
        Interval { low: (low - error).next_down(), high: (high + error).next_up() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_ordered_and_finite() {
        assert!(Interval::new(1.0, 0.5).is_none());
        assert!(Interval::new(f64::NAN, 1.0).is_none());
        assert!(Interval::new(0.0, f64::INFINITY).is_none());
        assert_eq!(Interval::new(-3.0, 2.0).map(Interval::magnitude), Some(3.0));
    }

    #[test]
    fn overflow_is_no_small_magnitude() {
        let point = |x| Interval::new(x, x).unwrap();
        let huge = point(1e200);
        assert_eq!(huge.square().magnitude(), f64::INFINITY);
        let difference = Interval::affine([(1e200, huge), (-1e200, huge)].into_iter(), 0.0);
        assert_eq!(difference.magnitude(), f64::INFINITY);
    }

    #[test]
    fn squares_do_not_go_below_zero() {
        let across = Interval::new(-3.0, 2.0).unwrap().square();
        assert!(across.low() == 0.0 && across.contains(9.0) && across.high() < 9.0 + 1e-12);
        let above = Interval::new(-3.0, -2.0).unwrap().square();
        assert!(above.contains(4.0) && above.contains(9.0) && above.low() > 4.0 - 1e-12);
    }

    #[test]
    fn products_take_the_extreme_corners() {
        let product = Interval::new(-3.0, 2.0).unwrap().multiply(Interval::new(-1.0, 5.0).unwrap());
        assert!(product.contains(-15.0) && product.contains(10.0));
        assert!(product.low() > -15.0 - 1e-12 && product.high() < 10.0 + 1e-12);
    }
}

//! Sums of points with small signed weights, for many functionals over the same points.

use curve25519_dalek::RistrettoPoint;

use super::digits;
use crate::Functionals;

/// Multiples of a point that Straus's method keeps: 1 to 8.
const MULTIPLES: usize = 8;

/// How the functionals of a set of keys are evaluated on points: chosen by counting additions, used for many
/// ciphertexts. Variable time: weights and points are public.
pub(crate) struct MultiScalar {
    method: Method,
    /// Digits of the weights, functional by functional, the highest place first.
    terms: Vec<Term>,
    /// Where the terms of `(functional, place)` begin, places from the highest down; then their number.
    starts: Vec<usize>,
    places: usize,
    functionals: usize,
    points: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// Straus: multiples 1 to 8 of every point, shared by all functionals; digits in radix 16.
    Straus,
    /// Buckets (Pippenger): for every place, points are collected by digit; digits of this many bits.
    Buckets(u32),
}

/// A non-zero digit.
#[derive(Clone, Copy)]
struct Term {
    point: u32,
    digit: i32,
}

impl Method {
    fn bits(self) -> u32 {
        match self {
            Self::Straus => 4,
            Self::Buckets(bits) => bits,
        }
    }

    /// Places that weights within `+-bound` take.
    fn places(self, bound: u32) -> usize {
        digits::count(bound, self.bits())
    }

    /// Additions, about. A digit is zero with probability `2^-bits`.
    fn cost(self, functionals: &Functionals) -> f64 {
        let (count, entries) = (functionals.len() as f64, functionals.entries() as f64);
        let places = self.places(functionals.largest_weight()) as f64;
        let occupied = 1.0 - 0.5f64.powi(self.bits() as i32);
        let doublings = count * (places - 1.0) * f64::from(self.bits());
        let shared = match self {
            // Every point that occurs at all, at most.
            Self::Straus => entries.min(functionals.dimension() as f64) * (MULTIPLES - 1) as f64,
            Self::Buckets(bits) => 2.0 * count * places * f64::from(1u32 << (bits - 1)),
        };
        entries * places * occupied + shared + doublings
    }
}

impl MultiScalar {
    pub fn new(functionals: &Functionals) -> Self {
        let methods = (3..=10).map(Method::Buckets).chain([Method::Straus]);
        let best = methods.min_by(|a, b| a.cost(functionals).total_cmp(&b.cost(functionals)));
        Self::with_method(functionals, best.unwrap_or(Method::Straus))
    }

    fn with_method(functionals: &Functionals, method: Method) -> Self {
        let places = method.places(functionals.largest_weight());
        let mut terms = Vec::with_capacity(functionals.entries() * places);
        let mut starts = Vec::with_capacity(functionals.len() * places + 1);
        starts.push(0);
        let mut by_place: Vec<Vec<Term>> = vec![Vec::new(); places];
        for row in functionals.rows() {
            for (point, weight) in row {
                let mut rest = weight.unsigned_abs();
                for terms in &mut by_place {
                    let digit;
                    (digit, rest) = digits::split(rest, method.bits());
                    if digit != 0 {
                        terms.push(Term { point: point as u32, digit: digit * weight.signum() });
                    }
                }
                debug_assert_eq!(rest, 0);
            }
            for place in by_place.iter_mut().rev() {
                terms.append(place);
                starts.push(terms.len());
            }
        }
        let (functionals, points) = (functionals.len(), functionals.dimension());
        Self { method, terms, starts, places, functionals, points }
    }

    /// The value of every functional on these points.
    ///
    /// # Panics
    /// Unless there is a point for every coordinate.
    pub fn evaluate(&self, points: &[RistrettoPoint]) -> Vec<RistrettoPoint> {
        assert_eq!(points.len(), self.points);
        let multiples = match self.method {
            Method::Straus => self.multiples(points),
            Method::Buckets(_) => Vec::new(),
        };
        let mut buckets = match self.method {
            Method::Straus => Vec::new(),
            Method::Buckets(bits) => vec![None; 1 << (bits - 1)],
        };
        (0..self.functionals)
            .map(|functional| {
                let mut sum = None;
                for starts in self.starts[functional * self.places..][..=self.places].windows(2) {
                    if let Some(sum) = sum.as_mut() {
                        (0..self.method.bits()).for_each(|_| *sum = *sum + *sum);
                    }
                    let terms = &self.terms[starts[0]..starts[1]];
                    match self.method {
                        Method::Straus => straus(&multiples, terms, &mut sum),
                        Method::Buckets(_) => collect(points, terms, &mut buckets, &mut sum),
                    }
                }
                sum.unwrap_or_default()
            })
            .collect()
    }

    /// Multiples 1 to 8 of every point that occurs.
    fn multiples(&self, points: &[RistrettoPoint]) -> Vec<[RistrettoPoint; MULTIPLES]> {
        let mut occurs = vec![false; points.len()];
        self.terms.iter().for_each(|term| occurs[term.point as usize] = true);
        let row = |(point, occurs): (&RistrettoPoint, bool)| {
            let mut row = [*point; MULTIPLES];
            if occurs {
                for i in 1..MULTIPLES {
                    row[i] = row[i - 1] + point;
                }
            }
            row
        };
        points.iter().zip(occurs).map(row).collect()
    }
}

/// Adds the multiples that one place names.
fn straus(multiples: &[[RistrettoPoint; MULTIPLES]], terms: &[Term], sum: &mut Option<RistrettoPoint>) {
    for term in terms {
        let entry = &multiples[term.point as usize][term.digit.unsigned_abs() as usize - 1];
        accumulate(sum, entry, term.digit < 0);
    }
}

/// Adds the points of one place: bucket `b` receives those with digit `b + 1`, and `sum (b + 1) bucket_b` is the sum of
/// the sums of all buckets from the last down.
fn collect(
    points: &[RistrettoPoint],
    terms: &[Term],
    buckets: &mut [Option<RistrettoPoint>],
    sum: &mut Option<RistrettoPoint>,
) {
    for term in terms {
        let bucket = &mut buckets[term.digit.unsigned_abs() as usize - 1];
        accumulate(bucket, &points[term.point as usize], term.digit < 0);
    }
    let mut running = None;
    for bucket in buckets.iter_mut().rev() {
        if let Some(bucket) = bucket.take() {
            accumulate(&mut running, &bucket, false);
        }
        if let Some(running) = &running {
            accumulate(sum, running, false);
        }
    }
}

fn accumulate(sum: &mut Option<RistrettoPoint>, point: &RistrettoPoint, negative: bool) {
    *sum = Some(match sum {
        None if negative => -point,
        None => *point,
        Some(sum) if negative => *sum - point,
        Some(sum) => *sum + point,
    });
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::Scalar;
    use proptest::prelude::*;

    use super::*;

    fn points(count: usize) -> Vec<RistrettoPoint> {
        (0..count as u64).map(|i| RistrettoPoint::mul_base(&Scalar::from(i * i + 3).invert())).collect()
    }

    /// By the definition.
    fn expected(functionals: &Functionals, points: &[RistrettoPoint]) -> Vec<RistrettoPoint> {
        let term = |(point, weight): (usize, i32)| {
            let product = points[point] * Scalar::from(weight.unsigned_abs());
            if weight < 0 { -product } else { product }
        };
        functionals.rows().map(|row| row.map(term).sum()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_method_evaluates(
            bits in 1u32..=24,
            weights in proptest::collection::vec(any::<i32>(), 0..5 * 6),
        ) {
            let whole = weights.len() / 6 * 6;
            let mut weights: Vec<i32> = weights[..whole].iter().map(|weight| weight >> (31 - bits)).collect();
            // The ends of the range and zeros.
            let bound = 1 << bits;
            weights.extend([bound, -bound, 0, bound - 1, 1 - bound, 1, 0, 0, 0, 0, 0, 0]);
            let functionals = Functionals::dense(6, &weights).unwrap();
            let points = points(6);
            let expected = expected(&functionals, &points);
            for method in (2..=10).map(Method::Buckets).chain([Method::Straus]) {
                let found = MultiScalar::with_method(&functionals, method).evaluate(&points);
                prop_assert!(found == expected, "{method:?}");
            }
            prop_assert!(MultiScalar::new(&functionals).evaluate(&points) == expected);
        }
    }

    #[test]
    fn the_method_follows_the_shape() {
        let method = |dimension: usize, count: usize, bound: i32| {
            let weights: Vec<i32> = (0..(dimension * count) as i32).map(|i| i % bound + 1).collect();
            MultiScalar::new(&Functionals::dense(dimension, &weights).unwrap()).method
        };
        assert_eq!(method(25, 6, 127), Method::Straus);
        assert!(matches!(method(784, 1, 127), Method::Buckets(_)), "{:?}", method(784, 1, 127));
        let none = Functionals::dense(3, &[]).unwrap();
        assert!(MultiScalar::new(&none).evaluate(&points(3)).is_empty());
    }
}

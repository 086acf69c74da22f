//! Real matrices as whole numbers, and how large their inner products with the data can become.

use ndarray::{Array2, ArrayView2, ArrayViewMut1, Axis};
use serde::{Deserialize, Serialize};

use super::random::{Purpose, Random, Seed};

/// Largest magnitude of an inner product: whole numbers up to here are exact in an `f64`.
pub const MAX_PRODUCT: i64 = 1 << 53;

/// How finely the server rounds what it multiplies with the data. Bits count the sign.
///
/// Every row of a matrix (the weights of a unit, or its deltas over a batch) has a step of its own: its largest magnitude
/// over `2^(bits - 1) - 1`. More bits mean larger inner products, and so larger discrete logarithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedPointSpec {
    /// Bits of a weight of the first layer, 2 to 24.
    pub weight_bits: u32,
    /// Bits of a delta of the first layer, 2 to 24.
    pub delta_bits: u32,
    /// How numbers between two steps are rounded.
    pub rounding: Rounding,
    /// Least number of a unit's deltas in a batch that are not zero. A unit with fewer, but some, would ask about so few
    /// samples that an authority refuses it; its zeros become +-1 at random, which adds noise of mean zero to its gradient.
    /// Not under differential privacy, where no delta may depend on other samples.
    #[serde(default)]
    pub min_deltas: u32,
}

impl Default for FixedPointSpec {
    /// 8 bits for weights, 8 for deltas, to nearest, zeros stay zeros.
    fn default() -> Self {
        Self { weight_bits: 8, delta_bits: 8, rounding: Rounding::Nearest, min_deltas: 0 }
    }
}

impl FixedPointSpec {
    /// Largest integer of a weight.
    pub(crate) fn weight_limit(&self) -> i64 {
        (1 << (self.weight_bits - 1)) - 1
    }

    /// Largest integer of a delta.
    pub(crate) fn delta_limit(&self) -> i64 {
        (1 << (self.delta_bits - 1)) - 1
    }
}

/// How numbers between two steps are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest step, halves to the even one.
    Nearest,
    /// Up with the probability that makes the mean right, from the run's seed.
    Stochastic,
    /// Towards zero, so that no norm grows. Differential privacy uses it whatever the specification says.
    TowardsZero,
}

/// A matrix as whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantized {
    /// Magnitudes up to the limit that was asked for.
    pub values: Array2<i64>,
    /// What the integer 1 stands for in each row, or in each group of columns.
    pub steps: Vec<f64>,
}

/// Rounds each row in steps of its own.
pub(crate) fn by_rows(values: ArrayView2<f64>, limit: i64, rounding: Rounding, random: &mut Random) -> Quantized {
    let mut out = Array2::zeros(values.raw_dim());
    let mut steps = Vec::with_capacity(values.nrows());
    for (row, mut out) in values.rows().into_iter().zip(out.rows_mut()) {
        let step = step(row.iter().fold(0.0, |largest: f64, x| largest.max(x.abs())), limit);
        round(row.iter(), step, limit, rounding, random, &mut out);
        steps.push(step);
    }
    Quantized { values: out, steps }
}

/// Rounds each row in steps of its own: the integers, and what the integer 1 stands for in each row. `seed` is for
/// stochastic rounding.
pub(crate) fn rounded_rows(
    values: ArrayView2<f64>,
    limit: i64,
    rounding: Rounding,
    seed: &Seed,
) -> (Array2<i64>, Vec<f64>) {
    let mut random = seed.stream(Purpose::WeightRounding, 0, 0);
    let Quantized { values, steps } = by_rows(values, limit, rounding, &mut random);
    (values, steps)
}

/// Rounds each of `groups` groups of consecutive columns in steps of its own, or of `bound / limit` where the magnitudes
/// are known to stay below `bound`.
pub(crate) fn by_column_groups(
    values: ArrayView2<f64>,
    groups: usize,
    limit: i64,
    bound: Option<f64>,
    rounding: Rounding,
    random: &mut Random,
) -> Quantized {
    let mut out = Array2::zeros(values.raw_dim());
    let mut steps = Vec::with_capacity(groups);
    let width = values.ncols() / groups;
    let parts = values.axis_chunks_iter(Axis(1), width).zip(out.axis_chunks_iter_mut(Axis(1), width));
    for (part, mut out) in parts {
        let largest = bound.unwrap_or_else(|| part.iter().fold(0.0, |largest: f64, x| largest.max(x.abs())));
        let step = step(largest, limit);
        for (row, mut out) in part.rows().into_iter().zip(out.rows_mut()) {
            round(row.iter(), step, limit, rounding, random, &mut out);
        }
        steps.push(step);
    }
    Quantized { values: out, steps }
}

impl Quantized {
    /// Makes every zero in a group of consecutive columns +-1 at random, if some of the group is not zero, but fewer than
    /// `least`.
    pub(crate) fn fill_sparse(&mut self, groups: usize, least: u32, random: &mut Random) {
        let width = self.values.ncols() / groups;
        for mut part in self.values.axis_chunks_iter_mut(Axis(1), width) {
            let count = part.iter().filter(|value| **value != 0).count();
            if (1..least as usize).contains(&count) {
                part.iter_mut().filter(|value| **value == 0).for_each(|value| *value = 2 * random.below(2) as i64 - 1);
            }
        }
    }
}

/// Zero if all values are so small that dividing by the step would not be exact to the bits that matter.
fn step(largest: f64, limit: i64) -> f64 {
    let step = largest / limit as f64;
    if step >= f64::MIN_POSITIVE { step } else { 0.0 }
}

fn round<'a>(
    values: impl Iterator<Item = &'a f64>,
    step: f64,
    limit: i64,
    rounding: Rounding,
    random: &mut Random,
    out: &mut ArrayViewMut1<i64>,
) {
    if step == 0.0 {
        return out.fill(0);
    }
    for (out, value) in out.iter_mut().zip(values) {
        let quotient = value / step;
        let rounded = match rounding {
            Rounding::Nearest => libm::rint(quotient),
            Rounding::Stochastic => libm::floor(quotient + random.unit()),
            Rounding::TowardsZero => libm::trunc(quotient),
        };
        // The quotient may pass the limit by its rounding.
        *out = (rounded as i64).clamp(-limit, limit);
    }
}

/// The least and the largest that the inner product of `row` with data in `range` can be; `None` beyond `i64`.
pub(crate) fn product_range<'a>(row: impl IntoIterator<Item = &'a i64>, range: (i16, i16)) -> Option<(i64, i64)> {
    let (low, high) = (i128::from(range.0), i128::from(range.1));
    let (mut least, mut largest) = (0i128, 0i128);
    for &weight in row {
        let (a, b) = (i128::from(weight) * low, i128::from(weight) * high);
        least = least.checked_add(a.min(b))?;
        largest = largest.checked_add(a.max(b))?;
    }
    Some((i64::try_from(least).ok()?, i64::try_from(largest).ok()?))
}

/// The bound of [`product_range`] for all rows together.
pub(crate) fn product_bound<'a, R: IntoIterator<Item = &'a i64>>(
    rows: impl IntoIterator<Item = R>,
    range: (i16, i16),
) -> Option<i64> {
    rows.into_iter().try_fold(0i64, |bound, row| {
        let (least, largest) = product_range(row, range)?;
        Some(bound.max(largest).max(least.checked_neg()?))
    })
}

/// The bound that holds for every matrix of `bits` bits: `dimension` times the largest weight times the largest datum.
/// What a scheme must be able to open if it must be able to open everything.
///
/// `None` beyond [`MAX_PRODUCT`] or for bits outside 2 to 24.
pub fn worst_product(dimension: usize, bits: u32, range: (i16, i16)) -> Option<i64> {
    let weight = (2..=24).contains(&bits).then(|| (1i64 << (bits - 1)) - 1)?;
    let datum = i64::from(range.0.unsigned_abs().max(range.1.unsigned_abs()));
    let bound = i64::try_from(dimension).ok()?.checked_mul(weight * datum)?;
    (bound <= MAX_PRODUCT).then_some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    fn random() -> Random {
        Seed::new([9; 32]).stream(Purpose::WeightRounding, 0, 0)
    }

    const MODES: [Rounding; 3] = [Rounding::Nearest, Rounding::Stochastic, Rounding::TowardsZero];

    #[test]
    fn rows_use_the_whole_range() {
        let values = array![[1.0, -0.5, 0.25], [0.0, 0.0, 0.0], [-3e-5, 1e-5, 2e-5]];
        let found = by_rows(values.view(), 127, Rounding::Nearest, &mut random());
        assert_eq!(found.values, array![[127, -64, 32], [0, 0, 0], [-127, 42, 85]]);
        assert_eq!(found.steps, [1.0 / 127.0, 0.0, 3e-5 / 127.0]);
        let found = by_rows(array![[f64::MIN_POSITIVE, 0.0]].view(), 127, Rounding::Nearest, &mut random());
        assert_eq!((found.values, found.steps), (array![[0, 0]], vec![0.0]));
    }

    #[test]
    fn stochastic_rounding_is_right_on_average() {
        let values = Array2::from_shape_fn((1, 100_001), |(_, i)| if i == 0 { 10.0 } else { 3.3 });
        let found = by_rows(values.view(), 10, Rounding::Stochastic, &mut random());
        let mean = found.values.iter().skip(1).sum::<i64>() as f64 / 1e5;
        // Deviation 0.00145; the seed is fixed.
        assert!((mean - 3.3).abs() < 0.009, "{mean}");
        assert!(found.values.iter().skip(1).all(|value| [3, 4].contains(value)));
    }

    #[test]
    fn worst_products_are_those_of_the_networks() {
        assert_eq!(worst_product(784, 8, (0, 255)), Some(784 * 127 * 255));
        assert_eq!(worst_product(25, 8, (0, 255)), Some(809_625));
        assert_eq!(worst_product(1 << 20, 24, (-32768, 0)), None);
        assert_eq!(worst_product(1, 25, (0, 1)), None);
    }

    proptest! {
        #[test]
        fn rounding_errs_by_at_most_a_step(
            numbers in prop::collection::vec(-1e3f64..1e3, 12), bits in 2u32..=24, mode in 0usize..3,
        ) {
            let (rounding, limit) = (MODES[mode], (1i64 << (bits - 1)) - 1);
            let values = Array2::from_shape_vec((2, 6), numbers).unwrap();
            let rows = by_rows(values.view(), limit, rounding, &mut random());
            let groups = by_column_groups(values.view(), 3, limit, None, rounding, &mut random());
            let bounded = by_column_groups(values.view(), 3, limit, Some(1e3), rounding, &mut random());
            for ((i, j), value) in values.indexed_iter() {
                for (found, step) in [
                    (rows.values[(i, j)], rows.steps[i]),
                    (groups.values[(i, j)], groups.steps[j / 2]),
                    (bounded.values[(i, j)], bounded.steps[j / 2]),
                ] {
                    prop_assert!(found.abs() <= limit);
                    let most = if rounding == Rounding::Nearest { 0.5 } else { 1.0 };
                    let error = (found as f64 * step - value).abs();
                    prop_assert!(error <= step * (most + 1e-6), "{} {} {}", value, found, step);
                    if rounding == Rounding::TowardsZero {
                        prop_assert!((found as f64 * step).abs() <= value.abs() * (1.0 + 1e-12));
                    }
                }
            }
            prop_assert_eq!(bounded.steps, vec![1e3 / limit as f64; 3]);
        }

        #[test]
        fn ranges_are_reached_and_never_passed(
            row in prop::collection::vec(-127i64..=127, 1..30), low in -100i16..=0, high in 0i16..=100,
            data in prop::collection::vec(0.0f64..=1.0, 30),
        ) {
            let (least, largest) = product_range(&row, (low, high)).unwrap();
            let datum = |part: f64| i64::from(low) + (part * f64::from(high - low)) as i64;
            let product: i64 = row.iter().zip(&data).map(|(weight, part)| weight * datum(*part)).sum();
            prop_assert!((least..=largest).contains(&product));
            let extreme = |positive, negative| {
                row.iter().map(|&w| w * i64::from(if w > 0 { positive } else { negative })).sum::<i64>()
            };
            prop_assert_eq!((least, largest), (extreme(low, high), extreme(high, low)));
            prop_assert_eq!(product_bound([&row], (low, high)), Some(largest.max(-least)));
        }
    }
}

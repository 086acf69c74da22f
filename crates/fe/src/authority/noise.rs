//! Noise that an authority adds to what is opened: Gaussian, its deviation a multiple of what one sample can change.
//!
//! Values are whole numbers, so noise that is rounded to whole numbers is the Gaussian mechanism with rounded results. It is
//! drawn from the authority's seed, the label and the query: who asks the same again gets the same, and learns nothing more.

use ndarray::{ArrayView2, Axis};
use sha2::{Digest, Sha256};

use crate::agreement::Direction;
use crate::learn::Seed;
use crate::learn::first_layer::DataSpec;
use crate::learn::fixed_point::product_range;
use crate::{Label, MasterSeed};

/// SHA-256 of a query.
pub fn digest(direction: Direction, values: ArrayView2<'_, i64>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([direction as u8]);
    hash.update((values.nrows() as u64).to_le_bytes());
    hash.update((values.ncols() as u64).to_le_bytes());
    values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    hash.finalize().into()
}

/// A bound on the Euclidean norm of what changes in all values of a query together when one sample becomes zero.
pub fn sensitivity(direction: Direction, values: ArrayView2<'_, i64>, data: &DataSpec) -> f64 {
    // In integers, which is what is opened.
    let norm = data.norm_bound / data.step;
    let squared = |values: ndarray::ArrayView1<'_, i64>| values.iter().map(|&v| v as f64 * v as f64).sum::<f64>();
    match direction {
        // One value a unit, each within its own range and within the product of both norms.
        Direction::Forward => {
            let unit = |row: ndarray::ArrayView1<'_, i64>| {
                let by_norm = libm::sqrt(squared(row)) * norm;
                let by_range = product_range(row.iter(), data.range)
                    .map_or(f64::INFINITY, |(least, largest)| least.unsigned_abs().max(largest.unsigned_abs()) as f64);
                by_norm.min(by_range)
            };
            libm::sqrt(values.rows().into_iter().map(|row| unit(row) * unit(row)).sum())
        }
        // The outer product of a sample's deltas with the sample.
        Direction::Gradient => {
            let largest = values.axis_iter(Axis(0)).map(squared).fold(0.0, f64::max);
            libm::sqrt(largest) * norm
        }
    }
}

/// Largest deviation: whole numbers hold forty of it.
pub const MAX_DEVIATION: f64 = (1u64 << 56) as f64;

/// `count` whole numbers of this deviation, at most [`MAX_DEVIATION`].
pub fn draw(seed: &MasterSeed, label: &Label, digest: &[u8; 32], deviation: f64, count: usize) -> Vec<i64> {
    let key = seed.subkey(&[b"noise", label.bytes(), digest]);
    let mut random = Seed::new(*key).noise();
    (0..count).map(|_| libm::rint(deviation * random.gaussian()) as i64).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::learn::Shape;

    fn data(norm_bound: f64) -> DataSpec {
        DataSpec {
            samples: 2,
            input: Shape::vector(3),
            outputs: 2,
            step: 0.5,
            range: (-4, 10),
            norm_bound,
            target_bits: 0,
            target_bound: 1,
        }
    }

    /// By trying every sample in range, as far as the norm allows.
    #[test]
    fn sensitivities_bound_what_a_sample_can_change() {
        let values = array![[3, -2, 1], [0, 5, -5]];
        for norm_bound in [1.0, 3.0, 20.0] {
            let spec = data(norm_bound);
            let (mut forward, mut gradient) = (0.0f64, 0.0f64);
            for at in 0..15 * 15 * 15 {
                let x = [at % 15, at / 15 % 15, at / 225].map(|value| f64::from(value) - 4.0);
                let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                if norm > norm_bound / 0.5 {
                    continue;
                }
                let product = |row: &ndarray::ArrayView1<'_, i64>| row.iter().zip(x).map(|(w, x)| *w as f64 * x).sum();
                let products: Vec<f64> = values.rows().into_iter().map(|row| product(&row)).collect();
                forward = forward.max(products.iter().map(|z| z * z).sum::<f64>().sqrt());
                gradient = gradient.max(norm * 50f64.sqrt());
            }
            let bound = sensitivity(Direction::Forward, values.view(), &spec);
            assert!(forward <= bound && bound < 2.0 * forward + 1.0, "{forward} {bound}");
            let bound = sensitivity(Direction::Gradient, values.view(), &spec);
            assert!(gradient <= bound * (1.0 + 1e-12), "{gradient} {bound}");
        }
    }

    #[test]
    fn noise_has_its_deviation_and_repeats_for_the_same_query_only() {
        let seed = MasterSeed::from_bytes([3; 32]);
        let label = Label::new("a").unwrap();
        let first = draw(&seed, &label, &[1; 32], 10.0, 20_000);
        assert_eq!(first, draw(&seed, &label, &[1; 32], 10.0, 20_000));
        for other in [
            draw(&seed, &label, &[2; 32], 10.0, 20_000),
            draw(&seed, &Label::new("b").unwrap(), &[1; 32], 10.0, 20_000),
            draw(&MasterSeed::from_bytes([4; 32]), &label, &[1; 32], 10.0, 20_000),
        ] {
            assert_ne!(first, other);
        }
        // Six deviations of the estimate, and the seed is fixed.
        let deviation = (first.iter().map(|x| (x * x) as f64).sum::<f64>() / 20_000.0).sqrt();
        assert!((deviation - 10.0).abs() < 0.3, "{deviation}");
        assert_ne!(
            digest(Direction::Forward, array![[1, 2]].view()),
            digest(Direction::Forward, array![[1], [2]].view())
        );
        assert_ne!(
            digest(Direction::Forward, array![[1, 2]].view()),
            digest(Direction::Gradient, array![[1, 2]].view())
        );
    }
}

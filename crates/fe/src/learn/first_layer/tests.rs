use ndarray::{Array2, Axis, array};
use proptest::prelude::*;

use super::super::{ClearOracle, Float, Step};
use super::*;
use crate::learn::data::{Dataset, Inputs, Targets};
use crate::learn::network::{Architecture, LayerSpec, NetworkSpec, Shape};
use crate::learn::random::Seed;

/// The products of the definition, term by term in 128 bits.
struct Schoolbook<'a> {
    spec: DataSpec,
    data: &'a Dataset,
    vectors: Vectors,
}

impl Schoolbook<'_> {
    /// Value `row` of vector `vector` of a sample.
    fn value(&self, sample: usize, row: usize, vector: usize) -> i128 {
        self.vectors.of(self.data.inputs().sample(sample))[row * self.vectors.count() + vector].into()
    }
}

impl Oracle for Schoolbook<'_> {
    type Error = std::convert::Infallible;

    fn data(&self) -> &DataSpec {
        &self.spec
    }

    fn vectors(&self) -> Vectors {
        self.vectors
    }

    fn forward(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error> {
        let (count, width) = (self.vectors.count(), self.vectors.width());
        let shape = (query.samples.len(), query.values.nrows() * count);
        Ok(Array2::from_shape_fn(shape, |(sample, place)| {
            let (unit, vector) = (place / count, place % count);
            let term = |row| i128::from(query.values[(unit, row)]) * self.value(query.samples[sample], row, vector);
            let sum: i128 = (0..width).map(term).sum();
            assert!(sum.unsigned_abs() <= query.bound as u128, "{sum} {}", query.bound);
            sum as i64
        }))
    }

    fn gradient(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error> {
        let (count, width) = (self.vectors.count(), self.vectors.width());
        let shape = (query.values.ncols() / count, width);
        Ok(Array2::from_shape_fn(shape, |(unit, row)| {
            let mut sum = 0i128;
            for (index, &sample) in query.samples.iter().enumerate() {
                for vector in 0..count {
                    let delta = i128::from(query.values[(index, unit * count + vector)]);
                    sum += delta * self.value(sample, row, vector);
                }
            }
            assert!(sum.unsigned_abs() <= query.bound as u128, "{sum} {}", query.bound);
            sum as i64
        }))
    }

    fn output_error(&mut self, query: Query<'_>) -> Result<Array2<i64>, Self::Error> {
        let one = f64::powi(2.0, self.spec.target_bits as i32);
        let targets = self.data.targets().rows(query.samples).mapv(|y| (y * one).round_ties_even() as i64);
        let errors = &query.values - &targets;
        assert!(errors.iter().all(|error| error.abs() <= query.bound));
        Ok(errors)
    }
}

fn data(input: Shape, samples: usize, signed: bool, salt: u64) -> Dataset {
    let number = |i: usize| (i as u64 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let inputs = if signed {
        let rows: Vec<f64> = (0..samples * input.len()).map(|i| number(i) as f64).collect();
        crate::learn::data::Standardization::fit(&rows, input.len(), 2.0, 12).unwrap().apply(&rows).unwrap()
    } else {
        let pixels: Vec<u8> = (0..samples * input.len()).map(|i| number(i) as u8).collect();
        Inputs::from_pixels(input, &pixels).unwrap()
    };
    let labels: Vec<usize> = (0..samples).map(|i| number(i) as usize % 3).collect();
    Dataset::new(inputs, Targets::classes(3, &labels).unwrap()).unwrap()
}

fn architecture(windows: bool) -> Architecture {
    let first = if windows {
        LayerSpec::Convolution { filters: 2, side: 3, stride: 1, padding: 1 }
    } else {
        LayerSpec::Dense { units: 2 }
    };
    let input = if windows { Shape { channels: 1, height: 4, width: 3 } } else { Shape::vector(12) };
    NetworkSpec { input, layers: vec![first, LayerSpec::Relu, LayerSpec::Dense { units: 3 }] }.validate().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle in floating point against the definition, at every number of bits, and fixed point against float within
    /// the rounding.
    #[test]
    fn the_clear_oracle_is_exact(
        windows: bool, signed: bool, weight_bits in 2u32..=24, delta_bits in 2u32..=24, salt: u64, scale in -20i32..20,
    ) {
        prop_assume!(!(windows && signed));
        let architecture = architecture(windows);
        let data = data(architecture.input(), 7, signed, salt >> 1);
        let spec = FixedPointSpec { weight_bits, delta_bits, rounding: Rounding::Stochastic, min_deltas: 0 };
        let clear = ClearOracle::new(&architecture, &data, 20).unwrap();
        let schoolbook = Schoolbook { spec: *clear.data(), data: &data, vectors: clear.vectors() };
        let mut clear = FixedPoint::new(clear, spec).unwrap();
        let mut wanted = FixedPoint::new(schoolbook, spec).unwrap();
        let seed = Seed::new([1; 32]);
        let step = Step { samples: &[5, 0, 3], epoch: 1, number: 2, delta_bound: None, seed: &seed };
        let number = |i: usize, j: usize| (((i * 31 + j * 17) as u64 ^ salt) % 2001) as f64 / 1000.0 - 1.0;
        let size = f64::powi(2.0, scale);
        let weights = Array2::from_shape_fn((2, clear.vectors().width()), |(i, j)| size * number(i, j));
        let found = clear.forward(&step, weights.view()).unwrap();
        prop_assert_eq!(&found, &wanted.forward(&step, weights.view()).unwrap());
        let mut float = Float::new(&architecture, &data);
        let exact = float.forward(&step, weights.view()).unwrap();
        // Each of at most 12 weights is off by at most a step, and each value at most 2.
        let error = 24.0 * size / spec.weight_limit() as f64;
        prop_assert!(found.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= error * 1.001));

        let delta = Array2::from_shape_fn(found.raw_dim(), |(i, j)| size * number(j, i));
        let found = clear.gradient(&step, delta.view()).unwrap();
        prop_assert_eq!(&found, &wanted.gradient(&step, delta.view()).unwrap());
        let exact = float.gradient(&step, delta.view()).unwrap();
        let error = 2.0 * 36.0 * size / spec.delta_limit() as f64;
        prop_assert!(found.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= error * 1.001));

        let predictions = Array2::from_shape_fn((3, 3), |(i, j)| number(i, j).abs() / 3.0);
        let found = clear.output_error(&step, predictions.view()).unwrap();
        prop_assert_eq!(&found, &wanted.output_error(&step, predictions.view()).unwrap());
        let exact = float.output_error(&step, predictions.view()).unwrap();
        prop_assert!(found.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= f64::powi(2.0, -21)));
        prop_assert_eq!(clear.largest(), wanted.largest());
        prop_assert!(clear.largest().forward <= clear.largest().forward_bound);
    }
}

#[test]
fn bounds_are_declared_and_checked() {
    let architecture = architecture(false);
    let data = data(architecture.input(), 2, false, 0);
    let mut oracle = ClearOracle::new(&architecture, &data, 16).unwrap();
    let values = Array2::ones((2, 12));
    let query = Query { samples: &[0], values: values.view(), bound: MAX_PRODUCT + 1 };
    assert_eq!(oracle.forward(query).unwrap_err().found, MAX_PRODUCT + 1);
    assert!(ClearOracle::new(&architecture, &data, 31).is_err());
    let spec = FixedPointSpec { weight_bits: 25, ..FixedPointSpec::default() };
    assert!(FixedPoint::new(oracle, spec).is_err());
}

#[test]
fn numbers_that_cannot_be_rounded_are_errors() {
    let architecture = architecture(false);
    let data = data(architecture.input(), 2, false, 0);
    let oracle = ClearOracle::new(&architecture, &data, 16).unwrap();
    let mut first = FixedPoint::new(oracle, FixedPointSpec::default()).unwrap();
    let seed = Seed::new([1; 32]);
    let step = Step { samples: &[0], epoch: 0, number: 0, delta_bound: None, seed: &seed };
    let mut weights = Array2::ones((2, 12));
    weights[(1, 3)] = f64::NAN;
    let not_finite = |what| FixedPointError::NotFinite { what };
    assert_eq!(first.forward(&step, weights.view()), Err(not_finite("weights of the first layer")));
    let delta = array![[f64::INFINITY, 0.0]];
    assert_eq!(first.gradient(&step, delta.view()), Err(not_finite("deltas of the first layer")));
    let huge = array![[1e20, 0.0, 0.0]];
    let what = "an error of the outputs";
    assert_eq!(first.output_error(&step, huge.view()), Err(FixedPointError::TooLarge { what }));
}

/// Under privacy the delta of one sample is rounded without regard to the others, and never becomes longer.
#[test]
fn a_delta_bound_rounds_every_sample_alone_and_towards_zero() {
    let architecture = architecture(false);
    let data = data(architecture.input(), 3, false, 0);
    let oracle = ClearOracle::new(&architecture, &data, 16).unwrap();
    let mut first = FixedPoint::new(oracle, FixedPointSpec::default()).unwrap();
    let seed = Seed::new([1; 32]);
    let delta = array![[0.7, -0.01], [0.3, 0.9], [-0.2, 0.5]];
    let mut gradient = |samples: &[usize]| {
        let step = Step { samples, epoch: 0, number: 0, delta_bound: Some(1.0), seed: &seed };
        first.gradient(&step, delta.select(Axis(0), samples).view()).unwrap()
    };
    let together = gradient(&[0, 1, 2]);
    let alone = gradient(&[0]) + gradient(&[1]) + gradient(&[2]);
    assert!(together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-12));
    let step = 1.0 / 127.0;
    let rounded = [(0.7f64 / step).trunc() * step, -((0.01f64 / step).trunc() * step)];
    let sample = data.inputs().real(&[0]);
    let found = gradient(&[0]);
    for (j, x) in sample.iter().enumerate() {
        assert!((found[(0, j)] - rounded[0] * x).abs() < 1e-12 && (found[(1, j)] - rounded[1] * x).abs() < 1e-12);
    }
}

/// The zeros of units whose deltas are about few samples become single steps, and nothing else changes.
#[test]
fn sparse_deltas_are_filled_with_single_steps() {
    let architecture = architecture(false);
    let data = data(architecture.input(), 3, false, 0);
    let seed = Seed::new([1; 32]);
    let gradient = |min_deltas: u32, delta_bound, delta: Array2<f64>| {
        let oracle = ClearOracle::new(&architecture, &data, 16).unwrap();
        let spec = FixedPointSpec { min_deltas, ..FixedPointSpec::default() };
        let mut first = FixedPoint::new(oracle, spec).unwrap();
        first
            .gradient(&Step { samples: &[0, 1, 2], epoch: 0, number: 0, delta_bound, seed: &seed }, delta.view())
            .unwrap()
    };
    let sparse = || array![[0.5, 0.0, 0.0], [0.25, 0.7, 0.0], [-0.5, 0.0, 0.0]];
    let (exact, filled) = (gradient(0, None, sparse()), gradient(3, None, sparse()));
    assert_eq!(gradient(1, None, sparse()), exact);
    // Under differential privacy nothing is filled.
    assert_eq!(gradient(3, Some(1.0), sparse()), gradient(0, Some(1.0), sparse()));
    // The first unit has enough, the third nothing at all.
    assert_eq!((filled.row(0), filled.row(2)), (exact.row(0), exact.row(2)));
    assert!(filled.row(2).iter().all(|x| *x == 0.0));
    // Of the second unit the samples that had none count with one step of 127, plus or minus.
    let step = |sign: [f64; 2]| {
        array![[0.5, sign[0] * 0.7 / 127.0, 0.0], [0.25, 0.7, 0.0], [-0.5, sign[1] * 0.7 / 127.0, 0.0]]
    };
    let signs = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]];
    let close = |found: &Array2<f64>| found.iter().zip(&filled).all(|(a, b)| (a - b).abs() < 1e-12);
    assert_eq!(signs.iter().filter(|signs| close(&gradient(0, None, step(**signs)))).count(), 1);
    assert_ne!(filled.row(1), exact.row(1));
}

//! The `ring` suite: transforms, elementwise products and integer matrices of one limb.

use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::{IntegerMatrix, Kernel, Modulus, NttTable, Pool, Ring, RingError, kernels, prime};
use serde::Serialize;

use super::{Options, Report, Timing, measure};

const DEGREES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];
const PRIME_BITS: u32 = 50;
/// The prime is 1 modulo this, so that one prime serves every degree and both rings.
const ROOT_ORDER: u64 = 4 * 65536;
/// Residues that one `linear` operation maps: a limb of degree 8192 of one ciphertext component.
const LINEAR_DEGREE: usize = 8192;
/// Residues of each row that are multiplied at a time, as the executor does.
const LINEAR_WIDTHS: [usize; 3] = [16, 32, 64];

/// One measurement of the `ring` suite.
#[derive(Clone, Debug, Serialize)]
pub struct RingRow {
    /// The operation, named as the method of [`Kernel`]; `linear` is its `matrix`.
    pub op: &'static str,
    /// The ring, for those operations that depend on it; else `standard`.
    pub ring: String,
    /// Residues in the limb.
    pub degree: usize,
    /// Limbs of one operation.
    pub limbs: usize,
    /// Special primes: none in this suite.
    pub special: usize,
    /// Size of the prime.
    pub prime_bits: u32,
    /// Time of one operation.
    #[serde(flatten)]
    pub timing: Timing,
    /// What `linear` multiplies with.
    #[serde(flatten)]
    pub linear: Option<Linear>,
}

impl std::fmt::Display for RingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { op, ring, degree, timing, .. } = self;
        write!(f, "{op:<14} {ring:<20} {degree:>6} {:>12.2} us", timing.median_ns / 1e3)
    }
}

/// The work of a `linear` operation.
#[derive(Clone, Debug, Serialize)]
pub struct Linear {
    /// `dense` or `convolution`.
    pub matrix: &'static str,
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// Residues of each row multiplied at a time.
    pub width: usize,
    /// Scalar multiply-accumulates of one operation.
    pub multiply_accumulates: u64,
}

/// Measures the selected kernel.
///
/// # Errors
/// [`RingError`] if the environment names a kernel that this processor lacks.
pub fn ring(options: Options) -> Result<Report<RingRow>, RingError> {
    let kernel = kernels::select()?;
    let q = Modulus::new(prime::largest_primes(PRIME_BITS, ROOT_ORDER, 1, &[])?[0])?;
    let mut results = Vec::new();
    for ring in [Ring::Standard, Ring::ConjugateInvariant] {
        for degree in DEGREES {
            results.extend(transforms(kernel, &NttTable::new(q, degree, ring)?, options));
        }
    }
    for degree in DEGREES {
        results.extend(products(kernel, q, degree, options));
    }
    for (name, matrix) in [("dense", dense()?), ("convolution", convolution()?)] {
        results.extend(LINEAR_WIDTHS.map(|width| linear(kernel, q, name, &matrix, width, options)));
    }
    Ok(Report::new("ring", kernel.name(), options, results))
}

fn row(op: &'static str, ring: Ring, degree: usize, timing: Timing) -> RingRow {
    RingRow { op, ring: ring.to_string(), degree, limbs: 1, special: 0, prime_bits: PRIME_BITS, timing, linear: None }
}

fn transforms(kernel: &dyn Kernel, table: &NttTable, options: Options) -> [RingRow; 2] {
    let (degree, pool) = (table.degree(), Pool::new());
    let prepare = || {
        let mut limb = pool.take(degree);
        limb.copy_from_slice(&residues(table.modulus(), degree));
        limb
    };
    // A transformed limb is as good an input as any: the kernels' time does not depend on residues.
    [
        row("ntt_forward", table.ring(), degree, measure(options, prepare, |a| kernel.ntt_forward(table, a))),
        row("ntt_inverse", table.ring(), degree, measure(options, prepare, |a| kernel.ntt_inverse(table, a))),
    ]
}

fn products(kernel: &dyn Kernel, q: Modulus, degree: usize, options: Options) -> [RingRow; 3] {
    let pool = Pool::new();
    let prepare = || {
        [0, 1, 2].map(|_| {
            let mut limb = pool.take(degree);
            limb.copy_from_slice(&residues(q, degree));
            limb
        })
    };
    let scalar = residues(q, 1)[0];
    [
        ("mul", measure(options, prepare, |[out, a, b]| kernel.mul(q, out, a, b))),
        ("mul_add", measure(options, prepare, |[out, a, b]| kernel.mul_add(q, out, a, b))),
        ("mul_scalar", measure(options, prepare, |[out, _, _]| kernel.mul_scalar(q, out, scalar))),
    ]
    .map(|(op, timing)| row(op, Ring::Standard, degree, timing))
}

fn linear(
    kernel: &dyn Kernel,
    q: Modulus,
    name: &'static str,
    matrix: &IntegerMatrix,
    width: usize,
    options: Options,
) -> RingRow {
    let pool = Pool::new();
    let prepare = || {
        let mut input = pool.take(matrix.columns() * LINEAR_DEGREE);
        input.copy_from_slice(&residues(q, matrix.columns() * LINEAR_DEGREE));
        (input, pool.take(matrix.rows() * width), MatrixScratch::new(&pool))
    };
    let timing = measure(options, prepare, |(input, output, scratch)| {
        for block in input.chunks_exact(matrix.columns() * width) {
            kernel.matrix(q, matrix, block, output, width, scratch);
        }
    });
    let linear = Linear {
        matrix: name,
        rows: matrix.rows(),
        columns: matrix.columns(),
        width,
        multiply_accumulates: (matrix.entries() * LINEAR_DEGREE) as u64,
    };
    RingRow { linear: Some(linear), ..row("linear", Ring::Standard, LINEAR_DEGREE, timing) }
}

/// The dense layer of CryptoNets: 845 inputs, 100 outputs.
fn dense() -> Result<IntegerMatrix, RingError> {
    let mut weights = weights();
    let rows: Vec<Vec<(u32, i32)>> = (0..100).map(|_| (0..845).map(|column| (column, weights())).collect()).collect();
    IntegerMatrix::new(845, &rows)
}

/// The convolution of CryptoNets: five maps of 5 x 5 with stride 2 over 28 x 28, padded at the top and left by one.
fn convolution() -> Result<IntegerMatrix, RingError> {
    let mut weights = weights();
    let kernels: [[i32; 25]; 5] = std::array::from_fn(|_| std::array::from_fn(|_| weights()));
    let rows: Vec<Vec<(u32, i32)>> = kernels
        .iter()
        .flat_map(|kernel| (0..169).map(move |output| (kernel, 2 * (output / 13), 2 * (output % 13))))
        .map(|(kernel, top, left)| {
            let window = kernel.iter().enumerate().map(|(at, &weight)| (top + at / 5, left + at % 5, weight));
            let inside = window.filter(|&(y, x, _)| (1..=28).contains(&y) && (1..=28).contains(&x));
            inside.map(|(y, x, weight)| ((28 * (y - 1) + x - 1) as u32, weight)).collect()
        })
        .collect();
    IntegerMatrix::new(784, &rows)
}

/// Reproducible weights in `-1023..=1023`: on average as large as trained weights that are quantised to 11 bits and a sign.
fn weights() -> impl FnMut() -> i32 {
    let mut words = words();
    move || (words() % 2047) as i32 - 1023
}

/// Reproducible canonical residues.
fn residues(q: Modulus, count: usize) -> Vec<f64> {
    let mut words = words();
    (0..count).map(|_| q.center(words() % q.value())).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014) from zero.
fn words() -> impl FnMut() -> u64 {
    let mut state = 0_u64;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrices_are_those_of_cryptonets() {
        let dense = dense().unwrap();
        assert_eq!((dense.rows(), dense.columns(), dense.entries()), (100, 845, 84_500));
        let convolution = convolution().unwrap();
        assert_eq!((convolution.rows(), convolution.columns()), (845, 784));
        // Thirteen windows a side of which the first lacks one line: 12 * 5 + 4 covered lines, squared, for five maps.
        assert_eq!(convolution.entries(), 5 * 64 * 64);
    }

    #[test]
    fn rows_serialise_flat() {
        let timing = Timing { median_ns: 2.0, min_ns: 1.0, runs: 3 };
        let json = serde_json::to_value(row("mul", Ring::Standard, 16, timing)).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            keys.join(" "),
            "degree limbs median_ns min_ns op prime_bits ring runs special",
            "an absent matrix adds no field"
        );
    }
}

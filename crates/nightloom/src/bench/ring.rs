//! The `ring` suite: transforms, elementwise products and integer matrices of one limb.

use std::fmt;

use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::{IntegerMatrix, Kernel, Modulus, NttTable, Pool, Ring, RingError, kernels, prime};
use serde::Serialize;

use super::{Conditions, Options, Timing, measure};

const DEGREES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];
const PRIME_BITS: u32 = 50;
/// The prime is 1 modulo this, so that one prime serves every degree and both rings.
const ROOT_ORDER: u64 = 4 * 65536;
/// Residues that one `linear` operation maps: a limb of degree 8192 of one ciphertext component.
const LINEAR_DEGREE: usize = 8192;
/// Residues of each row that are multiplied at a time, as the executor does.
const LINEAR_WIDTHS: [usize; 3] = [16, 32, 64];

/// What the `ring` suite measures.
#[derive(Clone, Debug, Serialize)]
pub struct RingReport {
    /// Where and when.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// Negacyclic transforms, by the selected kernel and then by every other one that this processor runs.
    pub ntt: Vec<TransformRow>,
    /// Transforms of the conjugate-invariant ring, by the same kernels.
    pub ntt_conjugate_invariant: Vec<TransformRow>,
    /// Products of limbs, by the selected kernel.
    pub elementwise: Vec<ElementwiseRow>,
    /// Integer matrices times limbs, by the selected kernel.
    pub linear: Vec<LinearRow>,
}

/// Both transforms of one limb. Microseconds; the median over the runs unless said otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct TransformRow {
    /// Residues in the limb.
    pub degree: usize,
    /// The kernel that computed.
    pub kernel: &'static str,
    /// Size of the prime.
    pub prime_bits: u32,
    /// Coefficients to evaluations.
    pub forward_us: f64,
    /// Evaluations to coefficients.
    pub inverse_us: f64,
    /// The fastest run of the forward transform.
    pub forward_min_us: f64,
    /// The fastest run of the inverse transform.
    pub inverse_min_us: f64,
    /// Runs of each.
    pub runs: usize,
}

/// One slice loop of a kernel on one limb.
#[derive(Clone, Debug, Serialize)]
pub struct ElementwiseRow {
    /// The method of [`Kernel`].
    pub op: &'static str,
    /// Residues in the limb.
    pub degree: usize,
    /// The kernel that computed.
    pub kernel: &'static str,
    /// Size of the prime.
    pub prime_bits: u32,
    /// Microseconds of one operation, median over the runs.
    pub us: f64,
    /// Microseconds in the fastest run.
    pub min_us: f64,
    /// Number of runs.
    pub runs: usize,
}

/// A matrix times one limb of each of its inputs.
#[derive(Clone, Debug, Serialize)]
pub struct LinearRow {
    /// The layer of CryptoNets whose matrix it is: `dense` or `convolution`.
    pub op: &'static str,
    /// Residues in the limb.
    pub degree: usize,
    /// The kernel that computed.
    pub kernel: &'static str,
    /// Size of the prime.
    pub prime_bits: u32,
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// Residues of each row multiplied at a time.
    pub width: usize,
    /// Scalar multiply-accumulates of one operation.
    pub multiply_accumulates: u64,
    /// Microseconds of one operation, median over the runs.
    pub us: f64,
    /// Microseconds in the fastest run.
    pub min_us: f64,
    /// Number of runs.
    pub runs: usize,
}

impl fmt::Display for RingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.conditions)?;
        writeln!(f, "One limb, a prime of {PRIME_BITS} bits; median microseconds")?;
        for (ring, rows) in [(Ring::Standard, &self.ntt), (Ring::ConjugateInvariant, &self.ntt_conjugate_invariant)] {
            writeln!(
                f,
                "\nTransforms, {ring} ring\n{:>8}  {:<10} {:>12} {:>12}",
                "degree", "kernel", "forward", "inverse"
            )?;
            for TransformRow { degree, kernel, forward_us, inverse_us, .. } in rows {
                writeln!(f, "{degree:>8}  {kernel:<10} {forward_us:>12.2} {inverse_us:>12.2}")?;
            }
        }
        writeln!(f, "\nElementwise\n{:>8}  {:<10} {:>12}", "degree", "operation", "time")?;
        for ElementwiseRow { degree, op, us, .. } in &self.elementwise {
            writeln!(f, "{degree:>8}  {op:<10} {us:>12.2}")?;
        }
        write!(
            f,
            "\nMatrices, degree {LINEAR_DEGREE}\n{:>8}  {:<12} {:>12} {:>12}",
            "width", "matrix", "size", "time"
        )?;
        for LinearRow { width, op, rows, columns, us, .. } in &self.linear {
            write!(f, "\n{width:>8}  {op:<12} {:>12} {us:>12.0}", format!("{rows} x {columns}"))?;
        }
        Ok(())
    }
}

/// Measures the selected kernel, and the transforms of the other ones beside it.
///
/// # Errors
/// [`RingError`] if the environment names a kernel that this processor lacks.
pub fn ring(options: Options) -> Result<RingReport, RingError> {
    measure_degrees(&DEGREES, LINEAR_DEGREE, options)
}

fn measure_degrees(degrees: &[usize], linear_degree: usize, options: Options) -> Result<RingReport, RingError> {
    let kernel = kernels::select()?;
    let q = Modulus::new(prime::largest_primes(PRIME_BITS, ROOT_ORDER, 1, &[])?[0])?;
    let others = kernels::available().into_iter().rev().filter(|other| other.name() != kernel.name());
    let compared: Vec<&dyn Kernel> = std::iter::once(kernel).chain(others).collect();
    let all_transforms = |ring| -> Result<Vec<TransformRow>, RingError> {
        let sizes = compared.iter().flat_map(|kernel| degrees.iter().map(move |degree| (*kernel, *degree)));
        sizes.map(|(kernel, degree)| Ok(transforms(kernel, &NttTable::new(q, degree, ring)?, options))).collect()
    };
    let (dense, convolution) = (dense()?, convolution()?);
    let matrices = [("dense", &dense), ("convolution", &convolution)];
    Ok(RingReport {
        conditions: Conditions::new("ring", kernel.name(), options),
        ntt: all_transforms(Ring::Standard)?,
        ntt_conjugate_invariant: all_transforms(Ring::ConjugateInvariant)?,
        elementwise: degrees.iter().flat_map(|degree| products(kernel, q, *degree, options)).collect(),
        linear: matrices
            .into_iter()
            .flat_map(|(op, matrix)| LINEAR_WIDTHS.map(|width| (op, matrix, width)))
            .map(|(op, matrix, width)| linear(kernel, q, op, matrix, linear_degree, width, options))
            .collect(),
    })
}

fn transforms(kernel: &dyn Kernel, table: &NttTable, options: Options) -> TransformRow {
    let (degree, pool) = (table.degree(), Pool::new());
    let prepare = || {
        let mut limb = pool.take(degree);
        limb.copy_from_slice(&residues(table.modulus(), degree));
        limb
    };
    // A transformed limb is as good an input as any: the kernels' time does not depend on residues.
    let forward = measure(options, prepare, |a| kernel.ntt_forward(table, a));
    let inverse = measure(options, prepare, |a| kernel.ntt_inverse(table, a));
    TransformRow {
        degree,
        kernel: kernel.name(),
        prime_bits: PRIME_BITS,
        forward_us: forward.median_ns / 1e3,
        inverse_us: inverse.median_ns / 1e3,
        forward_min_us: forward.min_ns / 1e3,
        inverse_min_us: inverse.min_ns / 1e3,
        runs: options.runs,
    }
}

fn products(kernel: &dyn Kernel, q: Modulus, degree: usize, options: Options) -> [ElementwiseRow; 3] {
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
    .map(|(op, Timing { median_ns, min_ns, runs })| ElementwiseRow {
        op,
        degree,
        kernel: kernel.name(),
        prime_bits: PRIME_BITS,
        us: median_ns / 1e3,
        min_us: min_ns / 1e3,
        runs,
    })
}

fn linear(
    kernel: &dyn Kernel,
    q: Modulus,
    op: &'static str,
    matrix: &IntegerMatrix,
    degree: usize,
    width: usize,
    options: Options,
) -> LinearRow {
    let pool = Pool::new();
    let prepare = || {
        let mut input = pool.take(matrix.columns() * degree);
        input.copy_from_slice(&residues(q, matrix.columns() * degree));
        (input, pool.take(matrix.rows() * width), MatrixScratch::new(&pool))
    };
    let timing = measure(options, prepare, |(input, output, scratch)| {
        for block in input.chunks_exact(matrix.columns() * width) {
            kernel.matrix(q, matrix, block, output, width, scratch);
        }
    });
    LinearRow {
        op,
        degree,
        kernel: kernel.name(),
        prime_bits: PRIME_BITS,
        rows: matrix.rows(),
        columns: matrix.columns(),
        width,
        multiply_accumulates: (matrix.entries() * degree) as u64,
        us: timing.median_ns / 1e3,
        min_us: timing.min_ns / 1e3,
        runs: timing.runs,
    }
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
    use crate::bench::fields;

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
    fn the_names_of_the_fields_stay() {
        let report = measure_degrees(&[1024, 2048], 64, Options { threads: 1, runs: 1 }).unwrap();
        assert_eq!(
            fields(&report),
            "date elementwise kernel linear machine ntt ntt_conjugate_invariant suite threads version"
        );
        let transform = "degree forward_min_us forward_us inverse_min_us inverse_us kernel prime_bits runs";
        assert_eq!(fields(&report.ntt[0]), transform);
        assert_eq!(fields(&report.ntt_conjugate_invariant[0]), transform);
        assert_eq!(fields(&report.elementwise[0]), "degree kernel min_us op prime_bits runs us");
        assert_eq!(
            fields(&report.linear[0]),
            "columns degree kernel min_us multiply_accumulates op prime_bits rows runs us width"
        );
    }

    #[test]
    fn the_other_kernels_stand_beside_the_selected_one() {
        let report = measure_degrees(&[1024], 64, Options { threads: 1, runs: 1 }).unwrap();
        let mut wanted = vec![report.conditions.kernel];
        let available = kernels::available().into_iter().rev().map(|kernel| kernel.name());
        wanted.extend(available.filter(|name| *name != report.conditions.kernel));
        for rows in [&report.ntt, &report.ntt_conjugate_invariant] {
            assert_eq!(rows.iter().map(|row| row.kernel).collect::<Vec<_>>(), wanted);
            assert!(rows.iter().all(|row| row.forward_us > 0.0 && row.inverse_us > 0.0));
        }
        let (operations, matrices) = (&report.elementwise, &report.linear);
        assert_eq!(operations.iter().map(|row| row.op).collect::<Vec<_>>(), ["mul", "mul_add", "mul_scalar"]);
        assert_eq!(matrices.iter().map(|row| row.width).collect::<Vec<_>>(), [16, 32, 64, 16, 32, 64]);
    }
}

//! Times the negacyclic number-theoretic transforms of `tfhe-ntt` and prints one JSON object.
//!
//! One limb, one thread. A run repeats the transform in place until it has lasted 200 us or more; the
//! buffer is refilled with the same residues before each run, outside the clock. Reported are the
//! median and the minimum over the runs of the time of one transform. The transforms take no
//! data-dependent branch, so transforming an already transformed buffer takes the same time.
//!
//! Built with the feature `avx512` it measures tfhe-ntt on AVX-512, and fails on a processor without; built without the
//! feature, on AVX2.

mod measure;

use measure::measure;
use serde::Serialize;
use tfhe_ntt::prime::largest_prime_in_arithmetic_progression64;
use tfhe_ntt::{prime32, prime64};

const DEGREES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];
/// Every prime is 1 modulo this, so that one prime of each size serves every degree.
const ROOT_ORDER: u64 = 2 * 65536;
const DEFAULT_RUNS: usize = 101;

#[derive(Serialize)]
struct Report {
    suite: &'static str,
    library: &'static str,
    version: &'static str,
    threads: u32,
    ntt: Vec<Row>,
}

/// As in `nightloom bench ring --json`. `kernel` says which words the residues are in, `vectors` which instructions compute
/// on them, by the names of Nightloom's kernels.
#[derive(Serialize)]
struct Row {
    degree: usize,
    kernel: &'static str,
    vectors: &'static str,
    prime_bits: u32,
    forward_us: f64,
    inverse_us: f64,
    inverse_unnormalised_us: f64,
    forward_min_us: f64,
    inverse_min_us: f64,
    inverse_unnormalised_min_us: f64,
    runs: usize,
}

/// What a user may ask for on the command line.
struct Options {
    runs: usize,
    degrees: Vec<usize>,
}

fn main() -> Result<(), String> {
    let options = options(std::env::args().skip(1))?;
    let vectors = vectors()?;
    let mut ntt = Vec::new();
    for &degree in &options.degrees {
        for prime_bits in [50, 60] {
            ntt.push(row64(degree, prime_bits, vectors, options.runs)?);
        }
        ntt.push(row32(degree, vectors, options.runs)?);
    }
    let report = Report { suite: "ring", library: "tfhe-ntt", version: "0.7.1", threads: 1, ntt };
    let json = serde_json::to_string(&report).map_err(|error| error.to_string())?;
    println!("{json}");
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { runs: DEFAULT_RUNS, degrees: DEGREES.to_vec() };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--runs" => {
                options.runs = match value.parse() {
                    Ok(runs) if runs > 0 => runs,
                    _ => return Err(format!("--runs {value}: not a positive number")),
                };
            }
            "--degrees" => {
                options.degrees = value
                    .split(',')
                    .map(|text| match text.parse() {
                        Ok(degree) if DEGREES.contains(&degree) => Ok(degree),
                        _ => Err(format!("--degrees {text}: not one of {DEGREES:?}")),
                    })
                    .collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    Ok(options)
}

/// The instructions that tfhe-ntt chooses: those it finds, of those it was built for.
///
/// # Errors
/// If it was built for AVX-512 and this processor lacks a part of it.
#[cfg(target_arch = "x86_64")]
fn vectors() -> Result<&'static str, String> {
    use std::is_x86_feature_detected as found;
    let avx512 = found!("avx512f")
        && found!("avx512bw")
        && found!("avx512cd")
        && found!("avx512dq")
        && found!("avx512vl")
        && found!("avx512ifma");
    match (cfg!(feature = "avx512"), avx512) {
        (true, true) => Ok("avx512"),
        (true, false) => Err("this processor has no AVX-512 with IFMA".to_owned()),
        (false, _) if found!("avx2") && found!("fma") => Ok("avx2"),
        (false, _) => Ok("portable"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> Result<&'static str, String> {
    if cfg!(feature = "avx512") { Err("this processor has no AVX-512".to_owned()) } else { Ok("portable") }
}

/// The largest prime below `2^bits` that is 1 modulo [`ROOT_ORDER`].
fn prime(bits: u32) -> Result<u64, String> {
    let end = 1 << bits;
    largest_prime_in_arithmetic_progression64(ROOT_ORDER, 1, end / 2, end - 1)
        .ok_or_else(|| format!("no {bits}-bit prime is 1 modulo {ROOT_ORDER}"))
}

fn row64(degree: usize, prime_bits: u32, vectors: &'static str, runs: usize) -> Result<Row, String> {
    let prime = prime(prime_bits)?;
    let plan = prime64::Plan::try_new(degree, prime)
        .ok_or_else(|| format!("no plan for degree {degree} and prime {prime}"))?;
    let source: Vec<u64> = residues(prime).take(degree).collect();
    let transform = Transform {
        kernel: "u64",
        vectors,
        prime_bits,
        forward: |x: &mut [u64]| plan.fwd(x),
        inverse: |x: &mut [u64]| plan.inv(x),
        normalize: |x: &mut [u64]| plan.normalize(x),
    };
    transform.row(&source, runs)
}

fn row32(degree: usize, vectors: &'static str, runs: usize) -> Result<Row, String> {
    let prime_bits = 30;
    let wide = prime(prime_bits)?;
    let prime = u32::try_from(wide).map_err(|error| error.to_string())?;
    let plan = prime32::Plan::try_new(degree, prime)
        .ok_or_else(|| format!("no plan for degree {degree} and prime {prime}"))?;
    // Exact: a residue below a 30-bit prime.
    let source: Vec<u32> = residues(wide).take(degree).map(|x| x as u32).collect();
    let transform = Transform {
        kernel: "u32",
        vectors,
        prime_bits,
        forward: |x: &mut [u32]| plan.fwd(x),
        inverse: |x: &mut [u32]| plan.inv(x),
        normalize: |x: &mut [u32]| plan.normalize(x),
    };
    transform.row(&source, runs)
}

/// One plan's operations, in place. `inverse` leaves a factor of the degree that `normalize` removes.
struct Transform<Forward, Inverse, Normalize> {
    kernel: &'static str,
    vectors: &'static str,
    prime_bits: u32,
    forward: Forward,
    inverse: Inverse,
    normalize: Normalize,
}

impl<Forward, Inverse, Normalize> Transform<Forward, Inverse, Normalize> {
    /// Checks that the inverse undoes the transform of `source`, then times both.
    fn row<T: Copy + PartialEq>(self, source: &[T], runs: usize) -> Result<Row, String>
    where
        Forward: Fn(&mut [T]),
        Inverse: Fn(&mut [T]),
        Normalize: Fn(&mut [T]),
    {
        let Self { kernel, vectors, prime_bits, forward, inverse, normalize } = self;
        let degree = source.len();
        let full_inverse = |x: &mut [T]| {
            inverse(x);
            normalize(x);
        };
        let mut check = source.to_vec();
        forward(&mut check);
        full_inverse(&mut check);
        if check != source {
            return Err(format!(
                "{kernel}, degree {degree}, {prime_bits} bits: the inverse does not undo the transform"
            ));
        }

        let (forward, full, unnormalised) =
            (measure(source, runs, &forward), measure(source, runs, full_inverse), measure(source, runs, &inverse));
        Ok(Row {
            degree,
            kernel,
            vectors,
            prime_bits,
            forward_us: forward.median_us,
            inverse_us: full.median_us,
            inverse_unnormalised_us: unnormalised.median_us,
            forward_min_us: forward.min_us,
            inverse_min_us: full.min_us,
            inverse_unnormalised_min_us: unnormalised.min_us,
            runs,
        })
    }
}

/// Reproducible residues in `0..prime` (SplitMix64; Steele, Lea & Flood 2014).
fn residues(prime: u64) -> impl Iterator<Item = u64> {
    let mut state = 0_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % prime
    })
}

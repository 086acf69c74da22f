//! The prices of this machine.
//!
//! Operations of the scheme are timed as programs use them: with keys and weights that come from memory. Their counted work
//! is then fitted to the times, so that what is not counted (sums, permutations, writes) is part of the prices.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use nightloom_he::ckks::Term;
use nightloom_he::wire::{read_ciphertext, write_ciphertext};
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Encoder, Encryptor, EvalError, EvaluationKeySpec, Evaluator, ExtendedCiphertext,
    ExtendedPlaintext, KeyGenerator, Ring, Scale, SpecError,
};
use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::{IntegerMatrix, Kernel, RingError};
use nightloom_wire::{DecodeError, Reader, Writer};
use rand_core::SeedableRng;

use super::{Prices, Work};

/// Rings in which networks run on single images, with limbs like theirs; both are at 128 bits.
const SPECS: [(u32, &[u32], u32); 2] = [(13, &[34, 30, 30, 30, 30], 34), (14, &[50, 40, 40, 40, 40, 40], 50)];
/// Rotations with a key each, so that no cache holds the keys.
const ROTATIONS: usize = 32;
/// Weights in a row, and rows: no cache holds the weights either.
const TERMS: usize = 32;
const ROWS: usize = 4;
/// The median of so many runs counts.
const RUNS: usize = 9;
/// Factors of products, in a row.
const FACTORS: usize = 32;
/// Scales do not matter here.
const LOG_SCALE: i32 = 20;

/// Why a machine cannot be calibrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// The parameters are refused: a defect.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// An operation is refused: a defect.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The matrix is refused: a defect.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A ciphertext cannot be read back: a defect.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// An operation's work, and the seconds that it took.
type Sample = (Work, usize, f64);

/// Measures the prices of one thread of this machine with a kernel; takes some seconds and half a gigabyte.
///
/// # Errors
/// [`CalibrateError`]: a defect.
pub fn calibrate(kernel: &'static dyn Kernel) -> Result<Prices, CalibrateError> {
    let mut samples = Vec::new();
    let (mut multiply_accumulate, mut read) = (0.0, 0.0);
    for (log_degree, primes, special) in SPECS {
        let (ring, prime_bits, special_bits) = (Ring::ConjugateInvariant, primes.to_vec(), vec![special]);
        let params = CkksSpec { ring, log_degree, prime_bits, special_bits }.validate_with(kernel)?;
        samples.extend(operations(&params)?);
        multiply_accumulate = matrix(&params)?;
        read = reading(&params)?;
    }
    let [butterfly, multiplication, stream, transfer] = fit(&samples);
    Ok(Prices { butterfly, multiplication, stream, transfer, read, multiply_accumulate })
}

/// Seconds of a run, the median; one before them is not counted.
fn timed<T, E>(mut run: impl FnMut() -> Result<T, E>) -> Result<f64, E> {
    black_box(run()?);
    let mut seconds = [0.0; RUNS];
    for run_seconds in &mut seconds {
        let start = Instant::now();
        black_box(run()?);
        *run_seconds = start.elapsed().as_secs_f64();
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[RUNS / 2])
}

fn operations(params: &CkksParams) -> Result<Vec<Sample>, EvalError> {
    let (n, limbs, special) = (params.degree(), params.top().limbs(), params.special_primes().len());
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (generator, encoder, evaluator) = (KeyGenerator::new(params), Encoder::new(params), Evaluator::new(params));
    let secret = generator.secret_key(&mut rng);
    let wanted = EvaluationKeySpec {
        relinearization: Some(params.top()),
        rotations: (1..=ROTATIONS).map(|rotation| (rotation, params.top())).collect::<BTreeMap<_, _>>(),
        conjugation: None,
    };
    let keys = generator.evaluation_keys(&secret, &wanted, &mut rng)?;
    let scale = Scale::power_of_two(LOG_SCALE);
    let vector = |period: usize| (0..period).map(|slot| (slot % 17) as f64 / 8.0 - 1.0).collect::<Vec<f64>>();
    let message = encoder.encode_periodic(&vector(64), &scale)?;
    let ciphertext = Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng)?;
    let three = evaluator.square(&ciphertext)?;
    let mut samples: Vec<Sample> = Vec::new();
    let mut sample = |work: Work, seconds: f64| samples.push((work, n, seconds));
    let n64 = n as u64;

    if let Some(key) = keys.relinearization() {
        let work = Work::key_switch(1, limbs, special, special, n64);
        sample(work, timed(|| evaluator.relinearize(&three, key))?);
    }
    sample(Work::division(2, limbs, 1, n64), timed(|| evaluator.rescale(&ciphertext))?);
    sample(Work::square(1, limbs, n64), timed(|| evaluator.square(&ciphertext))?);
    // More than a cache holds, as products with encrypted weights are.
    let factors = (0..FACTORS).map(|rotation| evaluator.rotate(&ciphertext, 1 + rotation, keys.rotations()));
    let factors = factors.collect::<Result<Vec<Ciphertext>, _>>()?;
    let products = || -> Result<Vec<Ciphertext>, EvalError> {
        factors.iter().map(|factor| evaluator.multiply(factor, &ciphertext)).collect()
    };
    sample(Work::multiply(FACTORS, limbs, n64), timed(products)?);
    sample(Work::decomposition(limbs, special, n64), timed(|| evaluator.decompose(&ciphertext))?);
    let rotations: Vec<usize> = (1..=ROTATIONS).collect();
    let turned = || -> Result<Vec<ExtendedCiphertext>, EvalError> {
        evaluator.rotate_extended(&ciphertext, &rotations, keys.rotations())
    };
    let work = Work::decomposition(limbs, special, n64) + Work::baby_step(limbs, special, n64).times(ROTATIONS);
    sample(work, timed(turned)?);
    let turned = turned()?;
    let giant_steps = || -> Result<Vec<ExtendedCiphertext>, EvalError> {
        let step = |rotation| evaluator.switch_rotate(turned[0].clone(), rotation, keys.rotations());
        (1..=ROTATIONS).map(step).collect()
    };
    sample(Work::giant_step(limbs, special, n64).times(ROTATIONS), timed(giant_steps)?);
    let switched = || -> Result<Vec<Ciphertext>, EvalError> {
        (1..=ROTATIONS).map(|rotation| evaluator.rotate(&ciphertext, rotation, keys.rotations())).collect()
    };
    sample(Work::key_switch(1, limbs, special, special, n64).times(ROTATIONS), timed(switched)?);
    sample(Work::division(2, limbs + special, special, n64), timed(|| evaluator.divide(&turned[0]))?);
    for period in [64, params.slots()] {
        let encode = |_| -> Result<ExtendedPlaintext, EvalError> {
            encoder.extended_plaintext(&encoder.encode_periodic(&vector(period), &scale)?, params.top())
        };
        let weights = (0..TERMS * ROWS).map(encode).collect::<Result<Vec<_>, _>>()?;
        let sums: Vec<Vec<Term<'_>>> = weights.chunks(TERMS).map(|row| turned.iter().zip(row).collect()).collect();
        let products = Work::products(2 * TERMS * ROWS, 1, limbs + special, n64);
        let residues = TERMS * ROWS * (limbs + special) * ExtendedPlaintext::residues(params, period);
        let transferred = (2 * (TERMS + ROWS) * (limbs + special)) as u64 * n64;
        let streamed = Work { streamed: residues as u64, transferred, ..Work::default() };
        sample(products + streamed, timed(|| ExtendedCiphertext::dots(&sums))?);
    }
    Ok(samples)
}

/// Prices of a butterfly, a multiplication, a streamed and a transferred residue, in nanoseconds, that fit the samples with
/// the least squares of relative errors; none is negative.
fn fit(samples: &[Sample]) -> [f64; 4] {
    const ROUNDS: usize = 20;
    let counts = |(work, degree, seconds): &Sample| {
        let butterflies = work.transforms as f64 * *degree as f64 * f64::from(degree.ilog2());
        [butterflies, work.multiplications as f64, work.streamed as f64, work.transferred as f64]
            .map(|count| 1e-9 * count / seconds)
    };
    let rows: Vec<[f64; 4]> = samples.iter().map(counts).collect();
    let predicted = |row: &[f64; 4], prices: &[f64; 4]| row.iter().zip(prices).map(|(c, p)| c * p).sum::<f64>();
    let mut prices = [0.1, 0.5, 0.5, 0.5];
    for _ in 0..ROUNDS {
        // Relative to the geometric mean of both times: relative to the measured one alone, low prices would fit best.
        let weights: Vec<f64> = rows.iter().map(|row| 1.0 / predicted(row, &prices).max(1e-3)).collect();
        // One price after another to the best for the others.
        for price in (0..100).flat_map(|_| 0..4) {
            let sums = rows.iter().zip(&weights).fold((0.0, 0.0), |(products, squares), (row, weight)| {
                let others = predicted(row, &prices) - row[price] * prices[price];
                (products + weight * row[price] * (1.0 - others), squares + weight * row[price] * row[price])
            });
            prices[price] = (sums.0 / sums.1).max(0.0);
        }
    }
    prices
}

/// A multiply-accumulate of a dense layer of the throughput plan, in nanoseconds.
fn matrix(params: &CkksParams) -> Result<f64, CalibrateError> {
    const ROWS: usize = 96;
    const COLUMNS: usize = 768;
    const WIDTH: usize = 32;
    let weight = |row: usize, column: usize| (column as u32, (7 * row + 3 * column) as i32 % 255 - 127);
    let rows: Vec<Vec<(u32, i32)>> = (0..ROWS).map(|row| (0..COLUMNS).map(|c| weight(row, c)).collect()).collect();
    let matrix = IntegerMatrix::new(COLUMNS, &rows)?;
    let (q, pool) = (params.basis(params.top()).modulus(0), params.pool());
    let mut input = pool.take(COLUMNS * WIDTH);
    input.iter_mut().enumerate().for_each(|(at, x)| *x = q.center(at as u64 * 0x9e37_79b9 % q.value()));
    let mut output = pool.take(ROWS * WIDTH);
    let mut scratch = MatrixScratch::new(pool);
    let seconds = timed(|| {
        params.kernel().matrix(q, &matrix, &input, &mut output, WIDTH, &mut scratch);
        Ok::<_, RingError>(output[0])
    })?;
    Ok(1e9 * seconds / (matrix.entries() * WIDTH) as f64)
}

/// A residue of a seeded ciphertext read from bytes, in nanoseconds.
fn reading(params: &CkksParams) -> Result<f64, CalibrateError> {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let secret = KeyGenerator::new(params).secret_key(&mut rng);
    let message = Encoder::new(params).encode_periodic(&[1.0], &Scale::power_of_two(LOG_SCALE))?;
    let ciphertext = Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng)?;
    let mut bytes = Vec::new();
    write_ciphertext(&mut Writer::new(&mut bytes), &ciphertext).map_err(DecodeError::from)?;
    let seconds = timed(|| read_ciphertext(&mut Reader::new(&*bytes, bytes.len() as u64), params))?;
    Ok(1e9 * seconds / (2 * params.top().limbs() * params.degree()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightloom_ring::kernels;

    #[test]
    fn prices_are_those_of_a_processor() {
        for kernel in kernels::available() {
            let Prices { butterfly, multiplication, stream, transfer, read, multiply_accumulate } =
                calibrate(kernel).unwrap();
            for price in [butterfly, multiplication, stream, transfer, read, multiply_accumulate] {
                assert!((0.0..1e3).contains(&price), "{price} ns with kernel {}", kernel.name());
            }
            assert!(butterfly + multiplication > 1e-3 && multiply_accumulate > 1e-3);
        }
    }

    #[test]
    fn fits_recover_prices() {
        let prices = Prices {
            butterfly: 0.2,
            multiplication: 0.4,
            stream: 1.5,
            transfer: 0.8,
            read: 0.0,
            multiply_accumulate: 0.0,
        };
        let sample = |seed: u64| {
            let work = Work {
                transforms: seed % 7,
                multiplications: seed * seed * 900,
                streamed: seed % 5 * 9000,
                transferred: seed % 3 * 7000,
                ..Work::default()
            };
            (work, 1 << 13, work.seconds(&prices, 1 << 13))
        };
        let [butterfly, multiplication, stream, transfer] = fit(&(1..12).map(sample).collect::<Vec<_>>());
        for (found, expected) in [(butterfly, 0.2), (multiplication, 0.4), (stream, 1.5), (transfer, 0.8)] {
            assert!((found / expected - 1.0).abs() < 1e-3, "{found} for {expected}");
        }
    }
}

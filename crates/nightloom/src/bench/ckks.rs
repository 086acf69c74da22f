use std::fmt;

use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, Evaluator, KeyGenerator, Ring, Scale,
};
use nightloom_ring::kernels;
use serde::Serialize;

use super::{BenchError, Options, Report, Timing, measure};

/// Runs of each operation of the suite.
pub const CKKS_RUNS: usize = 21;

/// One operation of the scheme at one parameter set.
#[derive(Clone, Debug, Serialize)]
pub struct CkksRow {
    /// The operation.
    pub op: &'static str,
    /// The ring.
    pub ring: String,
    /// Its degree.
    pub degree: usize,
    /// Primes of the operand.
    pub limbs: usize,
    /// Special primes.
    pub special: usize,
    /// Bits of each prime.
    pub prime_bits: u32,
    /// The times.
    #[serde(flatten)]
    pub timing: Timing,
}

impl fmt::Display for CkksRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, ring, degree, limbs, special, timing, .. } = self;
        write!(f, "{op:<20} {ring:<20} {degree:>6} {limbs:>3}+{special} {:>12.1} us", timing.median_ns / 1e3)
    }
}

/// Degree, chain and special primes (bits of each prime), all at 128 bits of security.
const SETS: [(u32, usize, usize, u32); 3] = [(13, 3, 1, 50), (14, 7, 2, 47), (15, 14, 3, 50)];

/// Measures the scheme in both rings.
///
/// # Errors
/// [`BenchError`] if the kernel that the environment names does not exist.
pub fn ckks(options: Options) -> Result<Report<CkksRow>, BenchError> {
    let kernel = kernels::select()?;
    let mut rows = Vec::new();
    for (log_degree, limbs, special, bits) in SETS {
        for ring in [Ring::Standard, Ring::ConjugateInvariant] {
            let spec = CkksSpec { ring, log_degree, prime_bits: vec![bits; limbs], special_bits: vec![bits; special] };
            measure_set(&spec.validate_with(kernel)?, bits, options, &mut rows)?;
        }
    }
    Ok(Report::new("ckks", kernel.name(), options, rows))
}

fn measure_set(params: &CkksParams, bits: u32, options: Options, rows: &mut Vec<CkksRow>) -> Result<(), BenchError> {
    let mut rng = crate::system_rng()?;
    let generator = KeyGenerator::new(params);
    let secret = generator.secret_key(&mut rng);
    let public = generator.public_key(&secret, &mut rng)?;
    let key = generator.relinearization_key(&secret, &mut rng)?;
    let encoder = Encoder::new(params);
    let evaluator = Evaluator::new(params);
    let scale = Scale::power_of_two(40);
    let values: Vec<f64> = (0..params.slots()).map(|slot| slot as f64 / params.slots() as f64 - 0.5).collect();
    let message = encoder.encode(&values, &scale)?;
    let plaintext = encoder.plaintext(&message, params.top())?;
    let x = Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng)?;
    let square = evaluator.square(&x)?;

    let mut time = |op: &'static str, operation: &(dyn Fn() + Sync)| {
        let timing = measure(options, || (), |()| operation());
        let (limbs, special) = (params.primes().len(), params.special_primes().len());
        let (ring, degree) = (params.ring().to_string(), params.degree());
        rows.push(CkksRow { op, ring, degree, limbs, special, prime_bits: bits, timing });
    };
    // The operands were checked by running each operation once above or below; results are dropped.
    let sink = |result: Result<Ciphertext, _>| drop(std::hint::black_box(result));
    time("encode", &|| drop(std::hint::black_box(encoder.encode(&values, &scale))));
    let seeded = || <chacha20::ChaCha20Rng as rand_core::SeedableRng>::from_seed([1; 32]);
    time("encrypt_symmetric", &|| {
        sink(Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut seeded()));
    });
    time("encrypt_public", &|| sink(Encryptor::public(&public).encrypt(&message, params.top(), &mut seeded())));
    time("add", &|| sink(evaluator.add(&x, &x)));
    time("multiply_plain", &|| sink(evaluator.mul_plain(&x, &plaintext)));
    time("multiply", &|| sink(evaluator.multiply(&x, &x)));
    time("square", &|| sink(evaluator.square(&x)));
    evaluator.relinearize_rescale(&square, &key)?;
    time("relinearize", &|| sink(evaluator.relinearize(&square, &key)));
    time("rescale", &|| sink(evaluator.rescale(&x)));
    time("relinearize_rescale", &|| sink(evaluator.relinearize_rescale(&square, &key)));
    time("decrypt", &|| {
        let decrypted = Decryptor::new(&secret).decrypt(&x).and_then(|plaintext| encoder.decode(&plaintext));
        drop(std::hint::black_box(decrypted));
    });
    Ok(())
}

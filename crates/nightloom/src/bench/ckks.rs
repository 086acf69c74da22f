//! The `ckks` suite: the scheme's operations at the top level of three parameter sets, in both rings.

use std::fmt;
use std::hint::black_box;

use nightloom_he::{
    CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, EvalError, Evaluator, KeyGenerator, Ring, Scale,
};
use nightloom_ring::kernels;
use serde::Serialize;

use super::{BenchError, Conditions, Options, measure};

/// Runs of each operation of the suite.
pub const CKKS_RUNS: usize = 21;

/// What the `ckks` suite measures.
#[derive(Clone, Debug, Serialize)]
pub struct CkksReport {
    /// Where and when.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// Operations in the standard ring.
    pub ops: Vec<OperationRow>,
    /// Operations in the conjugate-invariant ring.
    pub ops_conjugate_invariant: Vec<OperationRow>,
}

/// One operation of the scheme at the top level of one parameter set, on full slots.
#[derive(Clone, Debug, Serialize)]
pub struct OperationRow {
    /// Degree of the ring.
    pub degree: usize,
    /// Primes of the operand.
    pub limbs: usize,
    /// Special primes.
    pub special: usize,
    /// Bits of each prime.
    pub prime_bits: u32,
    /// The operation. `encode` makes a plaintext that can be multiplied with; `encrypt` (with the public key) and
    /// `encrypt_symmetric` start from a message whose limbs are not transformed yet, so that `encode_encrypt` takes less
    /// than both together.
    pub op: &'static str,
    /// Milliseconds, median over the runs.
    pub ms: f64,
    /// Milliseconds in the fastest run.
    pub min_ms: f64,
    /// Number of runs.
    pub runs: usize,
}

impl fmt::Display for CkksReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nMedian milliseconds by degree and primes (special ones after the plus)", self.conditions)?;
        for (ring, rows) in [(Ring::Standard, &self.ops), (Ring::ConjugateInvariant, &self.ops_conjugate_invariant)] {
            let set = |row: &OperationRow| (row.degree, row.limbs, row.special);
            let mut sets: Vec<_> = rows.iter().map(set).collect();
            sets.dedup();
            write!(f, "\n\n{:<26}", format!("{ring} ring"))?;
            for (degree, limbs, special) in &sets {
                write!(f, " {:>14}", format!("{degree}, {limbs}+{special}"))?;
            }
            for first in rows.iter().filter(|row| sets.first() == Some(&set(row))) {
                write!(f, "\n{:<26}", first.op)?;
                for row in rows.iter().filter(|row| row.op == first.op) {
                    write!(f, " {:>14.4}", row.ms)?;
                }
            }
        }
        Ok(())
    }
}

/// Degree, chain and special primes (bits of each prime), all at 128 bits of security.
const SETS: [(u32, usize, usize, u32); 3] = [(13, 3, 1, 50), (14, 7, 2, 47), (15, 14, 3, 50)];

/// Measures the scheme in both rings.
///
/// # Errors
/// [`BenchError`] if the kernel that the environment names does not exist, or the system has no randomness.
pub fn ckks(options: Options) -> Result<CkksReport, BenchError> {
    let kernel = kernels::select()?;
    let all_sets = |ring| -> Result<Vec<OperationRow>, BenchError> {
        let mut rows = Vec::new();
        for (log_degree, limbs, special, bits) in SETS {
            let spec = CkksSpec { ring, log_degree, prime_bits: vec![bits; limbs], special_bits: vec![bits; special] };
            rows.extend(measure_set(&spec.validate_with(kernel)?, bits, options)?);
        }
        Ok(rows)
    };
    Ok(CkksReport {
        conditions: Conditions::new("ckks", kernel.name(), options),
        ops: all_sets(Ring::Standard)?,
        ops_conjugate_invariant: all_sets(Ring::ConjugateInvariant)?,
    })
}

fn measure_set(params: &CkksParams, prime_bits: u32, options: Options) -> Result<Vec<OperationRow>, BenchError> {
    let mut rng = crate::system_rng()?;
    let generator = KeyGenerator::new(params);
    let secret = generator.secret_key(&mut rng);
    let public = generator.public_key(&secret, &mut rng)?;
    let key = generator.relinearization_key(&secret, &mut rng)?;
    let rotations = generator.rotation_keys(&secret, &[(1, params.top())].into(), &mut rng)?;
    let (encoder, evaluator, top) = (Encoder::new(params), Evaluator::new(params), params.top());
    let (by_secret, by_public) = (Encryptor::symmetric(&secret), Encryptor::public(&public));
    let decryptor = Decryptor::new(&secret);
    let scale = Scale::power_of_two(40);
    let values: Vec<f64> = (0..params.slots()).map(|slot| slot as f64 / params.slots() as f64 - 0.5).collect();
    let message = encoder.encode(&values, &scale)?;
    let plaintext = encoder.plaintext(&message, top)?;
    let x = by_secret.encrypt(&message, top, &mut rng)?;
    let square = evaluator.square(&x)?;
    let seeded = || <chacha20::ChaCha20Rng as rand_core::SeedableRng>::from_seed([1; 32]);

    let mut rows = Vec::new();
    let mut time = |op: &'static str, operation: &(dyn Fn() -> Result<(), EvalError> + Sync)| {
        // A refusal is quick, and must not be reported as a time.
        operation()?;
        let timing = measure(options, || (), |()| drop(operation()));
        rows.push(OperationRow {
            degree: params.degree(),
            limbs: params.primes().len(),
            special: params.special_primes().len(),
            prime_bits,
            op,
            ms: timing.median_ns / 1e6,
            min_ms: timing.min_ns / 1e6,
            runs: timing.runs,
        });
        Ok::<(), EvalError>(())
    };
    let encode = || encoder.encode(&values, &scale);
    time("encode", &|| encoder.plaintext(&encode()?, top).map(consume))?;
    time("encrypt", &|| by_public.encrypt(&message, top, &mut seeded()).map(consume))?;
    time("encrypt_symmetric", &|| by_secret.encrypt(&message, top, &mut seeded()).map(consume))?;
    time("encode_encrypt", &|| by_public.encrypt(&encode()?, top, &mut seeded()).map(consume))?;
    time("encode_encrypt_symmetric", &|| by_secret.encrypt(&encode()?, top, &mut seeded()).map(consume))?;
    time("decrypt", &|| decryptor.decrypt(&x).map(consume))?;
    time("decode", &|| encoder.decode(&plaintext).map(consume))?;
    time("add", &|| evaluator.add(&x, &x).map(consume))?;
    time("multiply_scalar", &|| evaluator.mul_integer(&x, 12_345, &Scale::power_of_two(20)).map(consume))?;
    time("multiply_plain", &|| evaluator.mul_plain(&x, &plaintext).map(consume))?;
    time("multiply", &|| evaluator.multiply(&x, &x).map(consume))?;
    time("square", &|| evaluator.square(&x).map(consume))?;
    time("relinearize", &|| evaluator.relinearize(&square, &key).map(consume))?;
    time("rescale", &|| evaluator.rescale(&x).map(consume))?;
    time("relinearize_rescale", &|| evaluator.relinearize_rescale(&square, &key).map(consume))?;
    time("rotate", &|| evaluator.rotate(&x, 1, &rotations).map(consume))?;
    let decomposed = evaluator.decompose(&x)?;
    time("rotate_hoisted", &|| evaluator.rotate_hoisted(&decomposed, 1, &rotations).map(consume))?;
    Ok(rows)
}

/// Drops a result that the optimiser must not do without.
fn consume<T>(result: T) {
    drop(black_box(result));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fields;

    fn toy_insecure_report() -> CkksReport {
        let options = Options { threads: 1, runs: 1 };
        let measure_ring = |ring| {
            let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![50; 2], special_bits: vec![50] };
            measure_set(&spec.validate_insecure().unwrap(), 50, options).unwrap()
        };
        CkksReport {
            conditions: Conditions::new("ckks", "portable", options),
            ops: measure_ring(Ring::Standard),
            ops_conjugate_invariant: measure_ring(Ring::ConjugateInvariant),
        }
    }

    #[test]
    fn the_names_of_fields_and_operations_stay() {
        let report = toy_insecure_report();
        assert_eq!(fields(&report), "date kernel machine ops ops_conjugate_invariant suite threads version");
        for rows in [&report.ops, &report.ops_conjugate_invariant] {
            assert!(rows.iter().all(|row| fields(row) == "degree limbs min_ms ms op prime_bits runs special"));
            assert!(rows.iter().all(|row| row.min_ms > 0.0 && (row.degree, row.limbs, row.special) == (1024, 2, 1)));
            for op in [
                "encode",
                "encrypt",
                "encrypt_symmetric",
                "decrypt",
                "add",
                "multiply_scalar",
                "multiply_plain",
                "multiply",
                "square",
                "relinearize",
                "rescale",
                "relinearize_rescale",
                "rotate",
                "rotate_hoisted",
            ] {
                assert_eq!(rows.iter().filter(|row| row.op == op).count(), 1, "{op}");
            }
        }
    }

    #[test]
    fn the_table_has_a_column_for_each_set_and_a_line_for_each_operation() {
        let mut report = toy_insecure_report();
        let wider: Vec<_> = report.ops.iter().map(|row| OperationRow { degree: 2048, ..row.clone() }).collect();
        report.ops.extend(wider);
        let text = report.to_string();
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().split_whitespace().count();
        // Two words of the ring and two of each set; the operation and two times.
        assert_eq!((line("standard ring"), line("relinearize_rescale")), (2 + 2 * 2, 1 + 2));
        assert_eq!(text.lines().filter(|line| line.starts_with("rescale ")).count(), 2);
    }
}

//! Lesson 1: add two vectors without seeing them.
//!
//! CKKS encrypts vectors of real numbers. Every number sits in a *slot*; an operation on two ciphertexts happens in all
//! slots at once. Results are approximate, as with floating point, and this lesson measures how approximate.
//!
//! `cargo run --release -p nightloom --example 01_encrypt_and_add`

use std::error::Error;

use nightloom::system_rng;
use nightloom_he::{
    CkksSpec, Decryptor, Encoder, Encryptor, EvalError, Evaluator, KeyGenerator, Precision, Ring, Scale, noise,
};

/// Public, as the tests run the lesson too.
pub fn main() -> Result<(), Box<dyn Error>> {
    // Parameters are plain data until they are validated. Validation looks the total size of the primes up in a table of
    // 128-bit security: at degree 2^12 there is room for 106 bits. The conjugate-invariant ring has as many real slots as
    // its degree; the standard ring has half as many complex ones.
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 12,
        prime_bits: vec![50],
        // Primes for key switching. Additions never switch keys.
        special_bits: vec![],
    };
    let params = spec.validate()?;
    println!("{} slots, {:.1} bits of modulus, kernel {}", params.slots(), params.log_qp(), params.kernel().name());

    // One prime more than the table allows is refused, with the numbers. Below 128 bits there is another function, with
    // another name, so that nobody gets there by accident.
    let greedy = CkksSpec { prime_bits: vec![50, 50, 50], ..spec };
    println!("refused: {}", greedy.validate().err().ok_or("150 bits at degree 4096 must be refused")?);

    // Randomness is always an argument. This generator is ChaCha20, seeded by the operating system.
    let mut rng = system_rng()?;
    let secret = KeyGenerator::new(&params).secret_key(&mut rng);

    // Encoding: numbers times a scale, moved from slots to coefficients by an inverse transform, rounded to integers. The
    // scale decides how much of a number survives the rounding and, more importantly, the noise.
    let encoder = Encoder::new(&params);
    let scale = Scale::power_of_two(30);
    let x: Vec<f64> = (0..params.slots()).map(|slot| (slot as f64 * 0.01).sin()).collect();
    let y: Vec<f64> = (0..params.slots()).map(|slot| (slot as f64 * 0.02).cos()).collect();

    // Encryption under the secret key: half of the ciphertext is the expansion of a seed, so that on the wire a request is
    // half as large. `Encryptor::public` does the same for people who may encrypt and not decrypt.
    let encryptor = Encryptor::symmetric(&secret);
    let mut encrypt = |values: &[f64], scale: &Scale| -> Result<_, EvalError> {
        encryptor.encrypt(&encoder.encode(values, scale)?, params.top(), &mut rng)
    };
    let (encrypted_x, encrypted_y) = (encrypt(&x, &scale)?, encrypt(&y, &scale)?);

    // The evaluator has parameters and no key: whoever computes learns nothing.
    let evaluator = Evaluator::new(&params);
    let encrypted_sum = evaluator.add(&encrypted_x, &encrypted_y)?;

    // The decrypted vector holds the sum and the noise. Noise depends on the key: decrypted values must stay with the
    // owner of the key, as anybody who sees many of them can compute the key (eprint 2020/1533).
    let sum = encoder.decode(&Decryptor::new(&secret).decrypt(&encrypted_sum)?)?;
    let expected: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    println!("first slots: {:.6?}, expected {:.6?}", &sum[..3], &expected[..3]);

    // What the theory states: every fresh ciphertext brings Gaussian noise of this deviation to a slot, in units of scaled
    // integers, and independent noise adds in squares. See docs/notes/noise.md.
    let stated = noise::fresh_symmetric(&params) * 2f64.sqrt() / scale.to_f64();
    let measured = Precision::of(&sum, &expected);
    println!(
        "noise: deviation {:.2e} measured, {stated:.2e} stated; all slots right to {:.1} bits",
        measured.deviation,
        measured.bits()
    );
    assert!((measured.deviation / stated - 1.0).abs() < 0.2, "the deviation of 4096 slots is known to a few percent");
    // A Gaussian passes 8 deviations with probability 2^-49.
    assert!(measured.max_error < 8.0 * stated);

    // Nothing is repaired silently. A sum of different scales would be a wrong number that looks like noise.
    let other_scale = encrypt(&y, &Scale::power_of_two(29))?;
    match evaluator.add(&encrypted_x, &other_scale) {
        Err(error @ EvalError::ScaleMismatch { .. }) => println!("refused: {error}"),
        other => return Err(format!("a sum of different scales gave {other:?}").into()),
    }
    Ok(())
}

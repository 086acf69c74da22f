//! Lesson 2: multiply, and pay with a level.
//!
//! A product of two ciphertexts has the product of their scales, and three components instead of two. *Rescaling*
//! divides by a prime of the modulus, which brings the scale down and uses the prime up: one *level* less.
//! *Relinearisation* brings three components back to two with a public key made for it.
//!
//! `cargo run --release -p nightloom --example 02_multiply_and_rescale`

use std::error::Error;

use nightloom::system_rng;
use nightloom_he::{
    Ciphertext, CkksSpec, Decryptor, Encoder, Encryptor, EvalError, Evaluator, KeyGenerator, Level, Precision, Ring,
    Scale, noise,
};

/// Public, as the tests run the lesson too.
pub fn main() -> Result<(), Box<dyn Error>> {
    // q_0 of 50 bits stays to the end and holds the result; q_1 of 40 bits is spent by one rescaling. The special prime
    // carries the key switch of the relinearisation and must be at least as large as the primes that it serves.
    let spec =
        CkksSpec { ring: Ring::ConjugateInvariant, log_degree: 13, prime_bits: vec![50, 40], special_bits: vec![50] };
    let params = spec.validate()?;
    let mut rng = system_rng()?;
    let generator = KeyGenerator::new(&params);
    let secret = generator.secret_key(&mut rng);
    // Public: it lets anybody relinearise and nobody decrypt.
    let key = generator.relinearization_key(&secret, &mut rng)?;

    let encoder = Encoder::new(&params);
    let evaluator = Evaluator::new(&params);
    let x: Vec<f64> = (0..params.slots()).map(|slot| (slot as f64 * 0.01).sin()).collect();
    let y: Vec<f64> = (0..params.slots()).map(|slot| (slot as f64 * 0.02).cos()).collect();

    // A scale is held exactly, as powers of 2 and of primes. The rescaling below divides by q_1, which is close to 2^40 and
    // not equal to it; y is therefore encoded at the scale q_1 itself, and x * y returns to exactly 2^40.
    let scale_x = Scale::power_of_two(40);
    let scale_y = Scale::from_parts(0, vec![(params.primes()[1], 1)]).ok_or("a prime is a scale")?;
    let mut encrypt = |values: &[f64], scale: &Scale| -> Result<Ciphertext, EvalError> {
        Encryptor::symmetric(&secret).encrypt(&encoder.encode(values, scale)?, params.top(), &mut rng)
    };
    let (encrypted_x, encrypted_y) = (encrypt(&x, &scale_x)?, encrypt(&y, &scale_y)?);

    let show = |what: &str, c: &Ciphertext| {
        println!("{what:<34} components {}, level {}, scale {}", c.components().len(), c.level(), c.scale());
    };
    show("x", &encrypted_x);
    let product = evaluator.multiply(&encrypted_x, &encrypted_y)?;
    show("x * y", &product);
    let relinearized = evaluator.relinearize(&product, &key)?;
    show("relinearised", &relinearized);
    let rescaled = evaluator.rescale(&relinearized)?;
    show("and rescaled", &rescaled);

    // Both steps end in a division, by the special prime and by q_1. One division by their product is cheaper and rounds
    // once; this is what compiled programs use.
    let fused = evaluator.relinearize_rescale(&product, &key)?;
    show("both with one division", &fused);

    // Level 0 has no prime left to spend. The depth of a network, its products in a row, decides how many levels its
    // parameters need, and these decide size and speed.
    match evaluator.rescale(&fused) {
        Err(error @ EvalError::LevelTooLow { .. }) => println!("refused: {error}"),
        other => return Err(format!("rescaling below the bottom gave {other:?}").into()),
    }

    // x * y + x: operands of a sum must agree in level and scale. The level is brought down on purpose; the scale agrees
    // because of the choice of `scale_y`.
    match evaluator.add(&fused, &encrypted_x) {
        Err(error @ EvalError::LevelMismatch { .. }) => println!("refused: {error}"),
        other => return Err(format!("a sum of different levels gave {other:?}").into()),
    }
    let result = evaluator.add(&fused, &evaluator.drop_to(&encrypted_x, Level(0))?)?;
    show("x * y + x", &result);

    let found = encoder.decode(&Decryptor::new(&secret).decrypt(&result)?)?;
    let expected: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x * y + x).collect();
    let measured = Precision::of(&found, &expected);

    // The stated noise, in units of the message. With |x|, |y| <= 1:
    //   x * y + x            noise of x (twice, in step) and of y, each at most times 1
    //   relinearisation      of the product, so in units of its scale
    //   rounding             of the division, in units of the scale after it
    let (fresh_x, fresh_y) =
        (noise::fresh_symmetric(&params) / scale_x.to_f64(), noise::fresh_symmetric(&params) / scale_y.to_f64());
    let switch = noise::key_switch(&params, params.top()) / product.scale().to_f64();
    let rounding = noise::rounding(&params, 2) / fused.scale().to_f64();
    let stated = [2.0 * fresh_x, fresh_y, switch, rounding].into_iter().fold(0.0, f64::hypot);
    println!("noise: fresh {:.1e} and {fresh_y:.1e}, key switch {switch:.1e}, rounding {rounding:.1e}", 2.0 * fresh_x);
    println!(
        "       deviation {:.2e} measured, at most {stated:.2e} stated; all slots right to {:.1} bits",
        measured.deviation,
        measured.bits()
    );
    assert!(measured.deviation < 1.2 * stated);
    // Rounding and key switch are products of two Gaussians in a slot, whose tails are longer than a Gaussian's.
    assert!(measured.max_error < noise::TAIL_DEVIATIONS * stated);
    Ok(())
}

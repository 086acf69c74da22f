//! Standard deviations of noise in one slot, in units of scaled integers: divide by the scale for units of the message.
//!
//! A polynomial with independent coefficients of variance `v` has slots of variance `N v` (total, complex) in the
//! standard ring and `2 N v` (real) in the conjugate-invariant one, because there a slot is `c_0 + sum 2 c_j cos(..)`.
//! Products of independent polynomials multiply slot by slot. The estimates assume independence, which the tests check
//! against measured noise; bounds taken from them use a stated multiple of the deviation. Derivations:
//! docs/notes/noise.md.
//!
//! Only [`fresh_symmetric`] noise is Gaussian in a slot. The others hold products of two polynomials, such as a
//! rounding error and the secret, so a slot's noise is a product of two Gaussians, whose tail falls like `exp(-t)` and
//! not like `exp(-t^2/2)`: use [`TAIL_DEVIATIONS`] for bounds.

use nightloom_ring::{Ring, sample::ERROR_DEVIATION};

use crate::{CkksParams, Level};

/// Noise of ciphertexts of two components exceeds this many deviations in a real slot with probability below `2^-50`, and
/// so does a sum of such noises, with deviations added in squares if they are independent and in absolute value if they
/// may not be.
pub const TAIL_DEVIATIONS: f64 = 38.0;

/// The same for the [`rounding`] of three components, a product of a rounding error and the square of the secret; sums
/// are not covered.
pub const TAIL_DEVIATIONS_OF_THREE: f64 = 170.0;

/// Variance of a ternary secret's coefficients.
const SECRET_VARIANCE: f64 = 2.0 / 3.0;
/// Variance of a rounding error, uniform in an interval of length 1.
const ROUNDING_VARIANCE: f64 = 1.0 / 12.0;

/// Variance in a slot of a polynomial with independent coefficients of the given variance.
pub fn slot_variance(params: &CkksParams, coefficient_variance: f64) -> f64 {
    let n = params.degree() as f64;
    match params.ring() {
        Ring::Standard => n * coefficient_variance,
        Ring::ConjugateInvariant => 2.0 * n * coefficient_variance,
    }
}

/// A fresh ciphertext under the secret key, the rounding of the encoder included.
pub fn fresh_symmetric(params: &CkksParams) -> f64 {
    slot_variance(params, ERROR_DEVIATION.powi(2) + ROUNDING_VARIANCE).sqrt()
}

/// A fresh ciphertext under the public key: `e_0 + e u + e_1 s`, the rounding of the encoder included.
pub fn fresh_public(params: &CkksParams) -> f64 {
    let error = slot_variance(params, ERROR_DEVIATION.powi(2));
    let product = 2.0 * error * slot_variance(params, SECRET_VARIANCE);
    (error + product + slot_variance(params, ROUNDING_VARIANCE)).sqrt()
}

/// The rounding of a division of a ciphertext with this many components, two or three.
pub fn rounding(params: &CkksParams, components: usize) -> f64 {
    let (rounding, secret) = (slot_variance(params, ROUNDING_VARIANCE), slot_variance(params, SECRET_VARIANCE));
    // The mean of |s|^4 is not that of |s|^2 squared: s in a slot is Gaussian, real or complex.
    let fourth_moment = match params.ring() {
        Ring::Standard => 2.0,
        Ring::ConjugateInvariant => 3.0,
    };
    let powers = [1.0, secret, fourth_moment * secret * secret];
    powers.iter().take(components).map(|power| rounding * power).sum::<f64>().sqrt()
}

/// A key switch at a level, before the division's rounding, in units of the result *after* division by `P`.
///
/// # Panics
/// If the level is above the top.
pub fn key_switch(params: &CkksParams, level: Level) -> f64 {
    let error = slot_variance(params, ERROR_DEVIATION.powi(2));
    let log_p: f64 = params.special_primes().iter().map(|p| (*p as f64).log2()).sum();
    let digits = params.primes()[..level.limbs()].chunks(params.special_primes().len().max(1));
    let variance: f64 = digits
        .map(|digit| {
            let log_ratio: f64 = digit.iter().map(|q| (*q as f64).log2()).sum::<f64>() - log_p;
            error * slot_variance(params, ROUNDING_VARIANCE) * (2.0 * log_ratio).exp2()
        })
        .sum();
    variance.sqrt()
}

/// A rotation, or any other key switch of a ciphertext with its division: [`key_switch`] and [`rounding`].
///
/// # Panics
/// If the level is above the top.
pub fn rotation(params: &CkksParams, level: Level) -> f64 {
    key_switch(params, level).hypot(rounding(params, 2))
}

/// A rotation of an extended ciphertext, in units of the result *after* division by `P`: [`key_switch`] and the rounding
/// of the one component that is divided.
///
/// # Panics
/// If the level is above the top.
pub fn extended_rotation(params: &CkksParams, level: Level) -> f64 {
    key_switch(params, level).hypot(second_rounding(params))
}

/// The rounding of the second of two components alone, as in a rotation of an extended ciphertext.
pub fn second_rounding(params: &CkksParams) -> f64 {
    (slot_variance(params, ROUNDING_VARIANCE) * slot_variance(params, SECRET_VARIANCE)).sqrt()
}

/// The rounding of an encoded vector: a plaintext at scale `D` differs from what it encodes by this over `D`, as long as
/// `D` leaves something to be rounded.
pub fn encoding(params: &CkksParams) -> f64 {
    slot_variance(params, ROUNDING_VARIANCE).sqrt()
}

/// As [`encoding`], for a vector whose slots repeat.
pub fn encoding_periodic(params: &CkksParams, period: usize) -> f64 {
    encoding(params) * (period as f64 / params.slots() as f64).sqrt()
}

/// The rounding of a compression to `slots` slots, in units of the compressed message: [`rounding`] of two components,
/// averaged over the slots that become one. The noise that was there before is averaged in the same way.
pub fn compression(params: &CkksParams, slots: usize) -> f64 {
    rounding(params, 2) * (slots as f64 / params.slots() as f64).sqrt()
}

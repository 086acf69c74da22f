//! Differentially private training: every sample's gradient is clipped, Gaussian noise is added to the sum (Abadi et al.
//! 2016, alg. 1), and an accountant says what that amounts to.
//!
//! Neighbouring data differ in one sample that is there or not. What is protected is the trained model and everything
//! computed from it, against whoever sees all steps; the seed of the run must stay secret, as it gives the noise. The
//! noise is Gaussian in double precision, so the attack on its low bits (Mironov 2012) is not ruled out by proof.

mod accountant;
mod clip;
mod moments;
mod special;

use serde::{Deserialize, Serialize};

pub use accountant::{Accountant, Epsilon};
pub(crate) use clip::{add_noise, clip};

/// How a run is made private.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivacySpec {
    /// Largest Euclidean norm of one sample's gradient, above 0. The first layer counts with the bound that its data
    /// declares, as nobody knows the norm of an encrypted sample.
    pub clip: f64,
    /// Standard deviation of the noise over `clip`, above 0.
    pub noise_multiplier: f64,
}

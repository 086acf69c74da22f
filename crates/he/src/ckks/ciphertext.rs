use nightloom_ring::sample::Seed;
use nightloom_ring::{Eval, RnsPoly};
use zeroize::Zeroize;

use crate::{CkksParams, EvalError, Level, Scale};

/// An encoded vector over the primes of a level: an operand, or the outcome of a decryption (then the owner's; it is
/// wiped when dropped).
#[derive(Clone, Debug)]
pub struct Plaintext {
    params: CkksParams,
    level: Level,
    scale: Scale,
    poly: RnsPoly<Eval>,
}

impl Plaintext {
    pub(crate) fn new(params: &CkksParams, level: Level, scale: Scale, poly: RnsPoly<Eval>) -> Self {
        Self { params: params.clone(), level, scale, poly }
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The scale.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The polynomial.
    pub fn poly(&self) -> &RnsPoly<Eval> {
        &self.poly
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.poly.zeroize();
    }
}

/// An encryption of a vector: `c_0 + c_1 s + c_2 s^2 = scale * message + noise` modulo the primes of its level. Two
/// components, or three after a product that was not relinearised.
#[derive(Clone, Debug, PartialEq)]
pub struct Ciphertext {
    params: CkksParams,
    level: Level,
    scale: Scale,
    components: Vec<RnsPoly<Eval>>,
    /// Where `c_1` was expanded from, while the ciphertext is as it was encrypted.
    seed: Option<Seed>,
}

impl Ciphertext {
    pub(crate) fn fresh(
        params: &CkksParams,
        level: Level,
        scale: Scale,
        c0: RnsPoly<Eval>,
        c1: RnsPoly<Eval>,
        seed: Option<Seed>,
    ) -> Self {
        Self { params: params.clone(), level, scale, components: vec![c0, c1], seed }
    }

    /// Puts a ciphertext together from its components, for executors that compute on many ciphertexts at once.
    ///
    /// # Errors
    /// [`EvalError::Components`] unless there are two or three, [`EvalError::LevelTooHigh`] if the level does not exist.
    ///
    /// # Panics
    /// If a component is not over the primes of the level.
    pub fn from_components(
        params: &CkksParams,
        level: Level,
        scale: Scale,
        components: Vec<RnsPoly<Eval>>,
    ) -> Result<Self, EvalError> {
        if !(2..=3).contains(&components.len()) {
            return Err(EvalError::Components { op: "assemble", found: components.len(), wanted: "2 or 3" });
        }
        if level > params.top() {
            return Err(EvalError::LevelTooHigh { op: "assemble", found: level, top: params.top() });
        }
        assert!(components.iter().all(|component| component.basis() == params.basis(level)));
        Ok(Self { params: params.clone(), level, scale, components, seed: None })
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The scale.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The components `c_0, c_1` and possibly `c_2`.
    pub fn components(&self) -> &[RnsPoly<Eval>] {
        &self.components
    }

    /// The seed of `c_1` of a fresh symmetric encryption.
    pub fn seed(&self) -> Option<&Seed> {
        self.seed.as_ref()
    }

    /// Mutable access for operations that change the contents, after which the seed no longer stands for `c_1`.
    pub(crate) fn components_mut(&mut self) -> &mut Vec<RnsPoly<Eval>> {
        self.seed = None;
        &mut self.components
    }
}

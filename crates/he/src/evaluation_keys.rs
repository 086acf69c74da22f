//! The keys of a service: they let it compute on ciphertexts, and decrypt nothing.

use std::collections::BTreeMap;
use std::fmt;

use nightloom_ring::{Automorphism, Eval, Ring, RnsPoly};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::keys::{KeySwitchingKey, same_params};
use crate::{CkksParams, EvalError, KeyGenerator, Level, SecretKey};

/// What an evaluation key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// Switching the `s^2` component of a product back to `s`.
    Relinearization,
    /// Rotating by this many slots.
    Rotation(usize),
    /// Conjugating every slot.
    Conjugation,
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relinearization => write!(f, "relinearisation"),
            Self::Rotation(slots) => write!(f, "rotation by {slots} slots"),
            Self::Conjugation => write!(f, "conjugation"),
        }
    }
}

/// Which evaluation keys there are or should be, each with the highest level at which it serves. A key for a low level is
/// smaller, and a switch with any key costs what the level of the ciphertext costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationKeySpec {
    /// The relinearisation key.
    pub relinearization: Option<Level>,
    /// The rotation keys, by number of slots from 1 to [`slots`](CkksParams::slots) - 1.
    pub rotations: BTreeMap<usize, Level>,
    /// The conjugation key; only the standard ring has one.
    pub conjugation: Option<Level>,
}

impl EvaluationKeySpec {
    /// The purpose and level of each key: relinearisation, rotations in rising order, conjugation.
    pub fn keys(&self) -> impl Iterator<Item = (KeyPurpose, Level)> + '_ {
        let rotations = self.rotations.iter().map(|(slots, level)| (KeyPurpose::Rotation(*slots), *level));
        let relinearization = self.relinearization.map(|level| (KeyPurpose::Relinearization, level));
        let conjugation = self.conjugation.map(|level| (KeyPurpose::Conjugation, level));
        relinearization.into_iter().chain(rotations).chain(conjugation)
    }
}

/// Switches the `s^2` component of a product back to `s`.
#[derive(Clone, Debug, PartialEq)]
pub struct RelinearizationKey {
    pub(crate) params: CkksParams,
    pub(crate) key: KeySwitchingKey,
}

impl RelinearizationKey {
    /// The parameters which the key was made for.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The highest level at which it serves.
    pub fn level(&self) -> Level {
        self.key.level
    }
}

/// Moves slots: the key of one automorphism.
///
/// It switches from `s` to the image of `s` under the inverse automorphism, which is applied to the result: of a whole
/// key switch only the two polynomials that come out are permuted.
#[derive(Clone, Debug, PartialEq)]
pub struct GaloisKey {
    pub(crate) automorphism: Automorphism,
    pub(crate) key: KeySwitchingKey,
}

impl GaloisKey {
    /// The highest level at which it serves.
    pub fn level(&self) -> Level {
        self.key.level
    }
}

/// Keys for some rotations, each up to a level of its own, and possibly for conjugation.
#[derive(Clone, Debug, PartialEq)]
pub struct RotationKeys {
    params: CkksParams,
    rotations: BTreeMap<usize, GaloisKey>,
    conjugation: Option<GaloisKey>,
}

impl RotationKeys {
    /// No key at all.
    pub fn empty(params: &CkksParams) -> Self {
        Self { params: params.clone(), rotations: BTreeMap::new(), conjugation: None }
    }

    /// The parameters which the keys were made for.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The key for a rotation by `slots` slots.
    pub fn get(&self, slots: usize) -> Option<&GaloisKey> {
        self.rotations.get(&slots)
    }

    /// The key for conjugation.
    pub fn conjugation(&self) -> Option<&GaloisKey> {
        self.conjugation.as_ref()
    }

    /// Whether a ciphertext of `level` can be rotated by `slots` slots.
    pub fn contains(&self, slots: usize, level: Level) -> bool {
        self.get(slots).is_some_and(|key| level <= key.level())
    }

    /// The rotations in rising order, each with the highest level at which it serves.
    pub fn rotations(&self) -> impl ExactSizeIterator<Item = (usize, Level)> + '_ {
        self.rotations.iter().map(|(slots, key)| (*slots, key.level()))
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.rotations.is_empty() && self.conjugation.is_none()
    }

    /// The key for a rotation of a ciphertext of `level`.
    pub(crate) fn rotation(&self, op: &'static str, slots: usize, level: Level) -> Result<&GaloisKey, EvalError> {
        usable(op, KeyPurpose::Rotation(slots), self.get(slots), level)
    }

    /// The key for the conjugation of a ciphertext of `level`.
    pub(crate) fn conjugate(&self, op: &'static str, level: Level) -> Result<&GaloisKey, EvalError> {
        usable(op, KeyPurpose::Conjugation, self.conjugation(), level)
    }

    /// Adds a key that was made for `purpose`.
    pub(crate) fn insert(&mut self, purpose: KeyPurpose, key: GaloisKey) {
        match purpose {
            KeyPurpose::Rotation(slots) => drop(self.rotations.insert(slots, key)),
            KeyPurpose::Conjugation => self.conjugation = Some(key),
            KeyPurpose::Relinearization => {}
        }
    }
}

fn usable<'a>(
    op: &'static str,
    purpose: KeyPurpose,
    key: Option<&'a GaloisKey>,
    level: Level,
) -> Result<&'a GaloisKey, EvalError> {
    let key = key.ok_or(EvalError::MissingKey { op, purpose })?;
    check_key_level(op, purpose, key.level(), level)?;
    Ok(key)
}

/// Checks that a key made at level `found` serves at level `wanted`.
pub(crate) fn check_key_level(
    op: &'static str,
    purpose: KeyPurpose,
    found: Level,
    wanted: Level,
) -> Result<(), EvalError> {
    if wanted <= found { Ok(()) } else { Err(EvalError::KeyLevelTooLow { op, purpose, found, wanted }) }
}

/// Everything that a service needs of a client's keys.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationKeys {
    relinearization: Option<RelinearizationKey>,
    rotations: RotationKeys,
}

impl EvaluationKeys {
    /// No key at all, which is what a linear program without rotations needs.
    pub fn none(params: &CkksParams) -> Self {
        Self { relinearization: None, rotations: RotationKeys::empty(params) }
    }

    /// Puts keys together.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if they belong to different parameters.
    pub fn new(relinearization: Option<RelinearizationKey>, rotations: RotationKeys) -> Result<Self, EvalError> {
        if let Some(key) = &relinearization {
            same_params("put evaluation keys together", key.params(), rotations.params())?;
        }
        Ok(Self { relinearization, rotations })
    }

    /// As [`new`](Self::new), for keys that are known to have the same parameters.
    pub(crate) fn of_same_params(relinearization: Option<RelinearizationKey>, rotations: RotationKeys) -> Self {
        Self { relinearization, rotations }
    }

    /// The parameters which the keys were made for.
    pub fn params(&self) -> &CkksParams {
        self.rotations.params()
    }

    /// The relinearisation key.
    pub fn relinearization(&self) -> Option<&RelinearizationKey> {
        self.relinearization.as_ref()
    }

    /// The rotation keys.
    pub fn rotations(&self) -> &RotationKeys {
        &self.rotations
    }

    /// Which keys there are.
    pub fn spec(&self) -> EvaluationKeySpec {
        EvaluationKeySpec {
            relinearization: self.relinearization.as_ref().map(RelinearizationKey::level),
            rotations: self.rotations.rotations().collect(),
            conjugation: self.rotations.conjugation().map(GaloisKey::level),
        }
    }
}

/// Whether a key for `purpose` can be: a rotation by 1 slot or more, but not by all, and conjugation in the standard ring.
pub(crate) fn exists(params: &CkksParams, purpose: KeyPurpose) -> bool {
    match purpose {
        KeyPurpose::Relinearization => true,
        KeyPurpose::Rotation(slots) => (1..params.slots()).contains(&slots),
        KeyPurpose::Conjugation => params.ring() == Ring::Standard,
    }
}

/// The automorphism of a key for a `purpose` that [`exists`], `None` for relinearisation.
///
/// Slot `j` is the value at `zeta^(5^j)`, so that `X -> X^(5^slots)` moves the value of slot `j + slots` there.
pub(crate) fn automorphism(params: &CkksParams, purpose: KeyPurpose) -> Option<Automorphism> {
    let (ring, degree) = (params.ring(), params.degree());
    match purpose {
        KeyPurpose::Relinearization => None,
        KeyPurpose::Rotation(slots) => Some(Automorphism::power_of_five(ring, degree, slots)),
        KeyPurpose::Conjugation => Some(Automorphism::inversion(ring, degree)),
    }
}

/// Checks that a key for `purpose` can be.
///
/// # Errors
/// [`EvalError::NoSuchRotation`], [`EvalError::NoConjugation`].
pub(crate) fn check_exists(op: &'static str, params: &CkksParams, purpose: KeyPurpose) -> Result<(), EvalError> {
    match purpose {
        _ if exists(params, purpose) => Ok(()),
        KeyPurpose::Rotation(found) => Err(EvalError::NoSuchRotation { op, found, slots: params.slots() }),
        _ => Err(EvalError::NoConjugation { op }),
    }
}

/// # Evaluation keys
impl KeyGenerator {
    /// A relinearisation key of `secret` for every level.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if the secret belongs to other parameters, [`EvalError::NoSpecialPrimes`] if the
    /// parameters have none.
    pub fn relinearization_key(
        &self,
        secret: &SecretKey,
        rng: &mut impl CryptoRng,
    ) -> Result<RelinearizationKey, EvalError> {
        self.relinearization_key_at(secret, secret.params().top(), rng)
    }

    /// A relinearisation key of `secret` for `level` and below.
    ///
    /// # Errors
    /// As [`relinearization_key`](Self::relinearization_key), and [`EvalError::LevelTooHigh`] above the top.
    pub fn relinearization_key_at(
        &self,
        secret: &SecretKey,
        level: Level,
        rng: &mut impl CryptoRng,
    ) -> Result<RelinearizationKey, EvalError> {
        let params = self.check_level("make a relinearisation key", secret, level)?;
        let to = extended_secret(secret, level);
        let square = Zeroizing::new(to.mul(&to));
        let key = self.key_switching_key(level, &square, &to, rng);
        Ok(RelinearizationKey { params: params.clone(), key })
    }

    /// Keys of `secret` for rotations by the given numbers of slots, each for the given level and below.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if the secret belongs to other parameters, [`EvalError::NoSpecialPrimes`] if the
    /// parameters have none, [`EvalError::LevelTooHigh`] above the top, [`EvalError::NoSuchRotation`] unless a number of
    /// slots is between 1 and [`slots`](CkksParams::slots) - 1.
    pub fn rotation_keys(
        &self,
        secret: &SecretKey,
        wanted: &BTreeMap<usize, Level>,
        rng: &mut impl CryptoRng,
    ) -> Result<RotationKeys, EvalError> {
        let mut keys = RotationKeys::empty(self.check("make rotation keys", secret)?);
        for (&slots, &level) in wanted {
            self.add_galois_key(&mut keys, KeyPurpose::Rotation(slots), secret, level, rng)?;
        }
        Ok(keys)
    }

    /// Adds to `keys` a key of `secret` for conjugation at `level` and below.
    ///
    /// # Errors
    /// As [`rotation_keys`](Self::rotation_keys), and [`EvalError::NoConjugation`] in the conjugate-invariant ring.
    pub fn add_conjugation_key(
        &self,
        keys: &mut RotationKeys,
        secret: &SecretKey,
        level: Level,
        rng: &mut impl CryptoRng,
    ) -> Result<(), EvalError> {
        same_params("add a conjugation key", keys.params(), secret.params())?;
        self.add_galois_key(keys, KeyPurpose::Conjugation, secret, level, rng)
    }

    /// All keys of a list.
    ///
    /// # Errors
    /// As for each of them. An empty list needs no special primes.
    pub fn evaluation_keys(
        &self,
        secret: &SecretKey,
        wanted: &EvaluationKeySpec,
        rng: &mut impl CryptoRng,
    ) -> Result<EvaluationKeys, EvalError> {
        let relinearization =
            wanted.relinearization.map(|level| self.relinearization_key_at(secret, level, rng)).transpose()?;
        let mut rotations = self.rotation_keys(secret, &wanted.rotations, rng)?;
        if let Some(level) = wanted.conjugation {
            self.add_conjugation_key(&mut rotations, secret, level, rng)?;
        }
        Ok(EvaluationKeys::of_same_params(relinearization, rotations))
    }

    /// The image of a ciphertext under an automorphism belongs to the image of the secret. So the key for the automorphism
    /// could switch from there to `s`; applied before the automorphism, it switches from `s` to the preimage of `s`.
    fn add_galois_key(
        &self,
        keys: &mut RotationKeys,
        purpose: KeyPurpose,
        secret: &SecretKey,
        level: Level,
        rng: &mut impl CryptoRng,
    ) -> Result<(), EvalError> {
        let op = "make a rotation key";
        let params = self.check_level(op, secret, level)?;
        check_exists(op, params, purpose)?;
        if let Some(automorphism) = automorphism(params, purpose) {
            let from = extended_secret(secret, level);
            let preimage = Zeroizing::new(automorphism.inverse().apply(&from));
            let key = self.key_switching_key(level, &from, &preimage, rng);
            keys.insert(purpose, GaloisKey { automorphism, key });
        }
        Ok(())
    }

    fn check_level(&self, op: &'static str, secret: &SecretKey, level: Level) -> Result<&CkksParams, EvalError> {
        let params = self.check(op, secret)?;
        if params.special_primes().is_empty() {
            return Err(EvalError::NoSpecialPrimes { op });
        }
        if level > params.top() {
            return Err(EvalError::LevelTooHigh { op, found: level, top: params.top() });
        }
        Ok(params)
    }
}

/// The secret over the extended basis of a level.
fn extended_secret(secret: &SecretKey, level: Level) -> Zeroizing<RnsPoly<Eval>> {
    let tables = secret.params().level(level);
    Zeroizing::new(secret.eval.select(&tables.extended, &tables.key_limbs))
}

use std::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::{Bounds, FeError, Functionals, Label, MasterSeed, ParamsId};

/// The schemes. The numbers are part of the wire formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Scheme {
    /// [`Ddh`](crate::Ddh).
    Ddh = 1,
    /// [`DdhAdaptive`](crate::DdhAdaptive).
    DdhAdaptive = 2,
    /// [`Pad`](crate::Pad).
    Pad = 3,
    /// [`Rlwe`](crate::Rlwe).
    Rlwe = 4,
    /// [`Mlwe`](crate::Mlwe).
    Mlwe = 5,
    /// [`Febo`](crate::Febo): operations on single values, not inner products.
    Febo = 6,
}

/// What a scheme is, in words that reports print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemeInfo {
    /// Its name on command lines and in reports.
    pub name: &'static str,
    /// Who published it.
    pub source: &'static str,
    /// What it rests on.
    pub assumption: &'static str,
    /// What is proved, and what is not.
    pub security: &'static str,
    /// Whether anybody may encrypt, or only who shares secrets with the authority.
    pub public_key: bool,
}

impl Scheme {
    /// Every scheme, by number.
    pub const ALL: [Self; 6] = [Self::Ddh, Self::DdhAdaptive, Self::Pad, Self::Rlwe, Self::Mlwe, Self::Febo];

    /// Source, assumption and notion of security.
    pub fn info(self) -> SchemeInfo {
        match self {
            Self::Ddh => crate::ddh::INFO,
            Self::DdhAdaptive => crate::ddh_adaptive::INFO,
            Self::Pad => crate::pad::INFO,
            Self::Rlwe => crate::rlwe::INFO,
            Self::Mlwe => crate::mlwe::INFO,
            Self::Febo => crate::febo::INFO,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.info().name)
    }
}

/// Functional encryption of inner products: whoever has a key for weights `y` and a ciphertext of `x` learns `<x, y>`,
/// which the authority that issued the key thereby allowed, and nothing else of `x`.
///
/// "Nothing else" is about one key and honest parties. Keys are linear in the master key: keys for `y` and `y'` make
/// keys for all combinations of them, and as many independent keys as there are coordinates make the master key. Which
/// functionals are issued is therefore the authority's to limit; no scheme does it.
///
/// Everything works on batches: a ciphertext holds any number of samples, and a set of keys is applied to all of them.
/// A value of a scheme holds checked parameters and tables, no secret.
pub trait InnerProduct {
    /// What the authority derives for a label: the secrets. Wiped when dropped.
    type MasterKey;
    /// What a client encrypts with. Public or secret, as [`SchemeInfo::public_key`] says; secret ones are wiped when
    /// dropped.
    type EncryptionKey;
    /// What the authority hands out for functionals.
    type FunctionKeys;
    /// Encrypted samples.
    type Ciphertext;

    /// Which scheme this is.
    fn scheme(&self) -> Scheme;

    /// What vectors and functionals may hold.
    fn bounds(&self) -> &Bounds;

    /// Identifies scheme, bounds and everything that follows from them.
    fn params_id(&self) -> ParamsId;

    /// The master key of a label. The same seed, label and parameters give the same key everywhere.
    fn master_key(&self, seed: &MasterSeed, label: &Label) -> Self::MasterKey;

    /// The encryption key that belongs to a master key.
    fn encryption_key(&self, master: &Self::MasterKey) -> Self::EncryptionKey;

    /// Keys that open these functionals of the first `samples` samples of the label. Schemes whose keys open any number
    /// of samples ignore `samples`.
    ///
    /// # Errors
    /// [`FeError`] if the functionals exceed the bounds.
    fn function_keys(
        &self,
        master: &Self::MasterKey,
        functionals: &Functionals,
        samples: usize,
    ) -> Result<Self::FunctionKeys, FeError>;

    /// Encrypts whole vectors, one after another in `samples`. Constant time in their values.
    ///
    /// # Errors
    /// [`FeError::Length`] if the last vector is not whole, [`FeError::Data`] if a value exceeds the bound.
    fn encrypt(
        &self,
        key: &mut Self::EncryptionKey,
        samples: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<Self::Ciphertext, FeError>;

    /// Opens the functionals of `keys` on every sample: all samples of the first functional, then of the next. Exact.
    ///
    /// # Errors
    /// [`FeError::OtherMasterKey`] if keys and ciphertext do not belong together, [`FeError::OutOfRange`] if a value is
    /// not within [`Bounds::result`]. Never a wrong value for ciphertexts and keys that were made by the rules.
    fn decrypt(&self, ciphertext: &Self::Ciphertext, keys: &Self::FunctionKeys) -> Result<Vec<i64>, FeError>;
}

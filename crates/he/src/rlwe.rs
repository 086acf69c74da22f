//! Encryption and decryption: what does not depend on how messages are encoded.

use nightloom_ring::{Eval, RnsPoly, sample};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{fresh_seed, same_params};
use crate::{Ciphertext, EvalError, Level, Message, Plaintext, PublicKey, SecretKey};

/// Encrypts under a secret key (smaller ciphertexts: half of one is a seed) or under a public key.
#[derive(Debug)]
pub struct Encryptor<'a> {
    key: EncryptionKey<'a>,
}

#[derive(Debug)]
enum EncryptionKey<'a> {
    Secret(&'a SecretKey),
    Public(&'a PublicKey),
}

impl<'a> Encryptor<'a> {
    /// Encrypts with the secret key itself: `(-a s + e + m, a)` with `a` expanded from a fresh seed that stands for it on
    /// the wire. Noise in a slot: [`noise::fresh_symmetric`](crate::noise::fresh_symmetric).
    pub fn symmetric(secret: &'a SecretKey) -> Self {
        Self { key: EncryptionKey::Secret(secret) }
    }

    /// Encrypts with the public key: `(b u + e_0 + m, a u + e_1)` with ternary `u`. Noise in a slot:
    /// [`noise::fresh_public`](crate::noise::fresh_public).
    pub fn public(key: &'a PublicKey) -> Self {
        Self { key: EncryptionKey::Public(key) }
    }

    /// Encrypts a message at a level.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if message and key belong to different parameters, [`EvalError::LevelTooHigh`] above
    /// the top, [`EvalError::TooLarge`] if the message does not fit the modulus of the level.
    pub fn encrypt(&self, message: &Message, level: Level, rng: &mut impl CryptoRng) -> Result<Ciphertext, EvalError> {
        let params = match self.key {
            EncryptionKey::Secret(key) => key.params(),
            EncryptionKey::Public(key) => key.params(),
        };
        same_params("encrypt", params, message.params())?;
        message.check_fits("encrypt", level)?;
        let basis = params.basis(level);
        let mut error = Zeroizing::new(params.pool().take(params.degree()));
        sample::gaussian(basis.kernel(), rng, &mut error);
        let mut c0 = message.reduce_with(&error, basis);
        match self.key {
            EncryptionKey::Secret(secret) => {
                let seed = fresh_seed(rng);
                let c1 = sample::uniform::<Eval>(basis, &seed, 0);
                let mut product = params.pool().take(params.degree());
                for limb in 0..basis.len() {
                    let q = basis.modulus(limb);
                    basis.kernel().mul(q, &mut product, c1.limb(limb), secret.limb(limb));
                    basis.kernel().sub(q, c0.limb_mut(limb), &product);
                }
                product.zeroize();
                Ok(Ciphertext::fresh(params, level, message.scale().clone(), c0, c1, Some(seed)))
            }
            EncryptionKey::Public(key) => {
                sample::gaussian(basis.kernel(), rng, &mut error);
                let mut c1 = RnsPoly::from_signed(basis, &error).into_eval();
                sample::ternary(rng, &mut error);
                let mut mask = RnsPoly::from_signed(basis, &error).into_eval();
                for limb in 0..basis.len() {
                    let q = basis.modulus(limb);
                    basis.kernel().mul_add(q, c0.limb_mut(limb), mask.limb(limb), key.b.limb(limb));
                    basis.kernel().mul_add(q, c1.limb_mut(limb), mask.limb(limb), key.a.limb(limb));
                }
                mask.zeroize();
                Ok(Ciphertext::fresh(params, level, message.scale().clone(), c0, c1, None))
            }
        }
    }
}

/// Decrypts with a secret key.
///
/// A decrypted CKKS message contains the noise, which depends on the key: shown to anybody but the owner of the key it
/// gives the key away (Li and Micciancio, eprint 2020/1533). Keep decrypted values with the owner.
#[derive(Debug)]
pub struct Decryptor<'a> {
    pub(crate) secret: &'a SecretKey,
}

impl<'a> Decryptor<'a> {
    /// A decryptor with this key.
    pub fn new(secret: &'a SecretKey) -> Self {
        Self { secret }
    }

    /// `c_0 + c_1 s (+ c_2 s^2)`: the message and its noise, still encoded.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if ciphertext and key belong to different parameters.
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Plaintext, EvalError> {
        same_params("decrypt", ciphertext.params(), self.secret.params())?;
        let basis = ciphertext.params().basis(ciphertext.level());
        let components = ciphertext.components();
        // Horner in s, from the highest component down.
        let (last, rest) =
            components.split_last().ok_or(EvalError::Components { op: "decrypt", found: 0, wanted: "2 or 3" })?;
        let mut sum = last.clone();
        for component in rest.iter().rev() {
            let mut power = basis.pool().take(basis.degree());
            for limb in 0..basis.len() {
                let q = basis.modulus(limb);
                power.copy_from_slice(sum.limb(limb));
                let out = sum.limb_mut(limb);
                basis.kernel().mul(q, out, &power, self.secret.limb(limb));
                basis.kernel().add(q, out, component.limb(limb));
            }
            power.zeroize();
        }
        Ok(Plaintext::new(ciphertext.params(), ciphertext.level(), ciphertext.scale().clone(), sum))
    }
}

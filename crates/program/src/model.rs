//! Encrypted models: the service holds neither weights nor data in the clear.
//!
//! The owner of a model keeps its weights as vectors of slots ([`ModelWeights`]) and encrypts them under a client's public
//! key ([`EncryptedModel`]). Whoever has that client's secret key can decrypt them: an encrypted model is for the service,
//! and never for the client.

use std::fmt;

use chacha20::ChaCha20Rng;
use nightloom_he::{Ciphertext, CkksParams, Encoder, Encryptor, EvalError, Level, PublicKey, Scale};
use rand_core::{CryptoRng, SeedableRng};
use rayon::ThreadPool;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::ProgramId;

/// The weights that a program with encrypted weights takes; the owner's alone. Wiped when dropped.
#[derive(Clone, PartialEq)]
pub struct ModelWeights {
    /// The program that they are for.
    pub program: ProgramId,
    /// Its parameters.
    pub params: CkksParams,
    /// The owner accepted parameters below 128 bits of security when compiling.
    pub insecure: bool,
    /// One for each [`Op::Model`](crate::Op::Model), in order.
    pub arrays: Vec<WeightArray>,
}

/// The vectors of one array of encrypted weights.
#[derive(Clone, PartialEq)]
pub struct WeightArray {
    /// Level at which they are encrypted.
    pub level: Level,
    /// Scale at which they are encoded.
    pub scale: Scale,
    /// Slots after which every vector repeats, a power of two.
    pub period: usize,
    /// One period of each vector, one after another.
    pub vectors: Vec<f64>,
}

/// The weights of a program, encrypted under a client's public key.
#[derive(Clone, Debug, PartialEq)]
pub struct EncryptedModel {
    /// The program that they are for.
    pub program: ProgramId,
    /// One array for each [`Op::Model`](crate::Op::Model), in order.
    pub arrays: Vec<Vec<Ciphertext>>,
}

impl WeightArray {
    /// Ciphertexts of the array.
    pub fn ciphertexts(&self) -> usize {
        self.vectors.len() / self.period
    }
}

impl Drop for WeightArray {
    fn drop(&mut self) {
        self.vectors.zeroize();
    }
}

impl fmt::Debug for WeightArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightArray({} vectors of period {}, contents hidden)", self.ciphertexts(), self.period)
    }
}

impl fmt::Debug for ModelWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelWeights").field("program", &self.program).field("arrays", &self.arrays).finish()
    }
}

impl ModelWeights {
    /// Ciphertexts of all arrays.
    pub fn ciphertexts(&self) -> usize {
        self.arrays.iter().map(WeightArray::ciphertexts).sum()
    }

    /// Encrypts the weights under a client's public key. `done` is called for each ciphertext.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if the key belongs to other parameters; [`EvalError`] if a weight does not fit.
    pub fn encrypt(
        &self,
        key: &PublicKey,
        rng: &mut impl CryptoRng,
        threads: &ThreadPool,
        done: &(dyn Fn() + Sync),
    ) -> Result<EncryptedModel, EvalError> {
        let encoder = Encoder::new(&self.params);
        let mut encrypt_array = |array: &WeightArray| {
            // A generator of its own for every ciphertext, so that they can be made in parallel.
            let mut seed = || {
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(&mut *seed);
                seed
            };
            let seeds: Vec<Zeroizing<[u8; 32]>> = (0..array.ciphertexts()).map(|_| seed()).collect();
            let encrypt = |(vector, seed): (&[f64], &Zeroizing<[u8; 32]>)| {
                let message = encoder.encode_periodic(vector, &array.scale)?;
                let ciphertext =
                    Encryptor::public(key).encrypt(&message, array.level, &mut ChaCha20Rng::from_seed(**seed))?;
                done();
                Ok(ciphertext)
            };
            threads.install(|| array.vectors.par_chunks_exact(array.period).zip(&seeds).map(encrypt).collect())
        };
        let arrays = self.arrays.iter().map(&mut encrypt_array).collect::<Result<_, EvalError>>()?;
        Ok(EncryptedModel { program: self.program, arrays })
    }
}

//! The schemes as parties use them: one object, and everything that travels is bytes.

use std::sync::{Mutex, PoisonError};

use nightloom_wire::{DecodeError, Writer};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::wire;
use crate::{
    Bounds, Ddh, DdhAdaptive, DdhAdaptiveCiphertext, DdhAdaptiveFunctionKeys, DdhAdaptivePublicKey, DdhCiphertext,
    DdhFunctionKeys, DdhPublicKey, FeError, Functionals, InnerProduct, Label, MasterSeed, Mlwe, MlweCiphertext,
    MlweEncryptionKey, MlweFunctionKeys, Pad, PadCiphertext, PadEncryptionKey, PadFunctionKeys, Rlwe, RlweCiphertext,
    RlweFunctionKeys, RlwePublicKey, Scheme,
};

/// What can go wrong with what travels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// Bytes that are not what they should be.
    #[error("{what}: {source}")]
    Decode {
        /// What they should be.
        what: &'static str,
        /// What is wrong with them.
        source: DecodeError,
    },
    /// The scheme refuses.
    #[error(transparent)]
    Scheme(#[from] FeError),
    /// Noise was asked of a scheme whose keys cannot carry any.
    #[error("scheme {scheme} has no noise of the authority, only {} has", Scheme::Pad)]
    NoNoise {
        /// The scheme.
        scheme: Scheme,
    },
}

/// A scheme with fixed bounds, whatever its types.
pub trait Cipher: Send + Sync {
    /// What vectors and functionals may hold.
    fn bounds(&self) -> &Bounds;

    /// What a client encrypts with under a label. Secret unless the scheme has public keys.
    fn encryption_key(&self, seed: &MasterSeed, label: &Label) -> Zeroizing<Vec<u8>>;

    /// Encrypts whole vectors.
    ///
    /// # Errors
    /// [`CipherError`] if the key cannot be read, or a value is beyond the bounds.
    fn encrypt(&self, key: &[u8], vectors: &[i32], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, CipherError>;

    /// Keys of functionals for the first `vectors` vectors of a label, with noise on the opened values if there is any.
    ///
    /// # Errors
    /// [`CipherError`] if the functionals exceed the bounds, or the scheme has no noise.
    fn function_keys(
        &self,
        seed: &MasterSeed,
        label: &Label,
        functionals: &Functionals,
        vectors: usize,
        noise: Option<&[i64]>,
    ) -> Result<Vec<u8>, CipherError>;

    /// The values of functionals on every vector: all vectors of the first functional, then of the next.
    ///
    /// # Errors
    /// [`CipherError`] if bytes cannot be read or do not belong together, or a value is out of range.
    fn open(&self, ciphertext: &[u8], functionals: &Functionals, keys: &[u8]) -> Result<Vec<i64>, CipherError>;
}

/// A scheme with these bounds. The one way from its name to its types.
///
/// # Errors
/// [`FeError`] if the scheme has no parameters for the bounds.
///
/// # Panics
/// For [`Scheme::Febo`], which has no inner products.
pub fn cipher(scheme: Scheme, bounds: Bounds) -> Result<Box<dyn Cipher>, FeError> {
    Ok(match scheme {
        Scheme::Ddh => Box::new(Whole::new(Ddh::new(bounds))),
        Scheme::DdhAdaptive => Box::new(Whole::new(DdhAdaptive::new(bounds))),
        Scheme::Pad => Box::new(Whole::new(Pad::new(bounds))),
        Scheme::Rlwe => Box::new(Whole::new(Rlwe::new(bounds)?)),
        Scheme::Mlwe => Box::new(Whole::new(Mlwe::new(bounds)?)),
        Scheme::Febo => panic!("febo has no inner products"),
    })
}

/// A scheme, and the keys that were used last: one label may serve many calls, and lattice keys take long to make.
struct Whole<S: InnerProduct> {
    scheme: S,
    master: Kept<Label, S::MasterKey>,
    key: Kept<Zeroizing<Vec<u8>>, S::EncryptionKey>,
}

/// A value, and what it was made from.
type Kept<K, V> = Mutex<Option<(K, V)>>;

impl<S: Packed> Whole<S> {
    fn new(scheme: S) -> Self {
        Self { scheme, master: Mutex::new(None), key: Mutex::new(None) }
    }

    fn with_master<T>(&self, seed: &MasterSeed, label: &Label, work: impl FnOnce(&S::MasterKey) -> T) -> T {
        let mut kept = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        let master = match kept.take() {
            Some((of, master)) if of == *label => master,
            _ => self.scheme.master_key(seed, label),
        };
        let value = work(&master);
        *kept = Some((label.clone(), master));
        value
    }
}

impl<S: Packed> Cipher for Whole<S>
where
    S::MasterKey: Send,
    S::EncryptionKey: Send,
{
    fn bounds(&self) -> &Bounds {
        self.scheme.bounds()
    }

    fn encryption_key(&self, seed: &MasterSeed, label: &Label) -> Zeroizing<Vec<u8>> {
        let key = self.with_master(seed, label, |master| self.scheme.encryption_key(master));
        Zeroizing::new(self.scheme.write_key(&key))
    }

    fn encrypt(&self, key: &[u8], vectors: &[i32], mut rng: &mut dyn CryptoRng) -> Result<Vec<u8>, CipherError> {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        // A pad is used once, and its key counts what it has encrypted: only public keys, and keys with fresh randomness in
        // every ciphertext, are kept.
        let reusable = self.scheme.scheme() != Scheme::Pad;
        let mut read = match kept.take() {
            Some((bytes, read)) if reusable && bytes[..] == *key => read,
            _ => self.scheme.read_key(key).map_err(|source| CipherError::Decode { what: "encryption key", source })?,
        };
        let ciphertext = self.scheme.encrypt(&mut read, vectors, &mut rng)?;
        if reusable {
            *kept = Some((Zeroizing::new(key.to_vec()), read));
        }
        Ok(self.scheme.write_ciphertext(&ciphertext))
    }

    fn function_keys(
        &self,
        seed: &MasterSeed,
        label: &Label,
        functionals: &Functionals,
        vectors: usize,
        noise: Option<&[i64]>,
    ) -> Result<Vec<u8>, CipherError> {
        let scheme = &self.scheme;
        let keys = self.with_master(seed, label, |master| match noise {
            None => Ok(scheme.function_keys(master, functionals, vectors)?),
            Some(noise) => scheme.noisy_keys(master, functionals, vectors, noise),
        })?;
        Ok(scheme.write_keys(&keys, functionals))
    }

    fn open(&self, ciphertext: &[u8], functionals: &Functionals, keys: &[u8]) -> Result<Vec<i64>, CipherError> {
        let wrong = |what| move |source| CipherError::Decode { what, source };
        let ciphertext = self.scheme.read_ciphertext(ciphertext).map_err(wrong("ciphertext"))?;
        let keys = self.scheme.read_keys(keys, functionals).map_err(wrong("function keys"))?;
        Ok(self.scheme.decrypt(&ciphertext, &keys)?)
    }
}

/// A scheme whose keys and ciphertexts are written and read by the scheme alone.
trait Packed: InnerProduct + Send + Sync {
    fn write_key(&self, key: &Self::EncryptionKey) -> Vec<u8>;
    fn read_key(&self, bytes: &[u8]) -> Result<Self::EncryptionKey, DecodeError>;
    fn write_keys(&self, keys: &Self::FunctionKeys, functionals: &Functionals) -> Vec<u8>;
    fn read_keys(&self, bytes: &[u8], functionals: &Functionals) -> Result<Self::FunctionKeys, DecodeError>;
    fn write_ciphertext(&self, ciphertext: &Self::Ciphertext) -> Vec<u8>;
    fn read_ciphertext(&self, bytes: &[u8]) -> Result<Self::Ciphertext, DecodeError>;

    fn noisy_keys(
        &self,
        _master: &Self::MasterKey,
        _functionals: &Functionals,
        _vectors: usize,
        _noise: &[i64],
    ) -> Result<Self::FunctionKeys, CipherError> {
        Err(CipherError::NoNoise { scheme: self.scheme() })
    }
}

/// Writing to memory does not fail.
fn written(size: u64, write: impl FnOnce(&mut Writer<&mut Vec<u8>>) -> std::io::Result<()>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size as usize);
    write(&mut Writer::new(&mut bytes)).unwrap_or_else(|error| unreachable!("into memory: {error}"));
    bytes
}

macro_rules! packed {
    ($scheme:ty, $key:ty, $keys:ty, $ciphertext:ty $(, $noisy:item)?) => {
        impl Packed for $scheme {
            fn write_key(&self, key: &$key) -> Vec<u8> {
                written(wire::bytes(key, self), |writer| wire::write(writer, key, self))
            }

            fn read_key(&self, bytes: &[u8]) -> Result<$key, DecodeError> {
                wire::read::<$key>(bytes, self, bytes.len() as u64)
            }

            fn write_keys(&self, keys: &$keys, asked: &Functionals) -> Vec<u8> {
                written(wire::bytes(keys, (self, asked)), |writer| wire::write(writer, keys, (self, asked)))
            }

            fn read_keys(&self, bytes: &[u8], asked: &Functionals) -> Result<$keys, DecodeError> {
                wire::read::<$keys>(bytes, (self, asked), bytes.len() as u64)
            }

            fn write_ciphertext(&self, ciphertext: &$ciphertext) -> Vec<u8> {
                written(wire::bytes(ciphertext, self), |writer| wire::write(writer, ciphertext, self))
            }

            fn read_ciphertext(&self, bytes: &[u8]) -> Result<$ciphertext, DecodeError> {
                wire::read::<$ciphertext>(bytes, self, bytes.len() as u64)
            }

            $($noisy)?
        }
    };
}

packed!(Ddh, DdhPublicKey, DdhFunctionKeys, DdhCiphertext);
packed!(DdhAdaptive, DdhAdaptivePublicKey, DdhAdaptiveFunctionKeys, DdhAdaptiveCiphertext);
packed!(Rlwe, RlwePublicKey, RlweFunctionKeys, RlweCiphertext);
packed!(Mlwe, MlweEncryptionKey, MlweFunctionKeys, MlweCiphertext);
packed!(
    Pad,
    PadEncryptionKey,
    PadFunctionKeys,
    PadCiphertext,
    fn noisy_keys(
        &self,
        master: &Self::MasterKey,
        functionals: &Functionals,
        vectors: usize,
        noise: &[i64],
    ) -> Result<PadFunctionKeys, CipherError> {
        Ok(self.function_keys_with_noise(master, functionals, vectors, noise)?)
    }
);

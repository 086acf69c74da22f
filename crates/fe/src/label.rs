//! Master keys from one seed: a fresh one for every label, by a pseudorandom function.

use std::fmt;

use chacha20::ChaCha20Rng;
use hkdf::Hkdf;
use rand_core::{CryptoRng, SeedableRng};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{FeError, ParamsId};

/// Longest label in bytes.
pub const MAX_LABEL_BYTES: usize = 255;

/// What an authority keeps: 32 secret bytes from which it derives the master key of every label.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterSeed([u8; 32]);

impl MasterSeed {
    /// A fresh seed.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// The seed with these bytes, which must be uniform and secret.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 32 bytes for another purpose than labels, by HKDF-SHA-256 without salt. The first part names the purpose.
    pub(crate) fn subkey(&self, purpose: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut info = b"nightloom fe subkey".to_vec();
        for part in purpose {
            // Lengths keep parts apart.
            info.extend((part.len() as u64).to_le_bytes());
            info.extend(*part);
        }
        let mut key = Zeroizing::new([0u8; 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(&info, &mut *key)
            .unwrap_or_else(|_| unreachable!("32 bytes are one hash"));
        key
    }

    /// The key material of a label: HKDF-SHA-256 (RFC 5869), whose extraction is keyed by the parameters and whose
    /// expansion by the label, so that other parameters or another label give independent material.
    pub(crate) fn derive(&self, params: ParamsId, label: &Label) -> LabelKey {
        let hkdf = Hkdf::<Sha256>::new(Some(&params.0), &self.0);
        let mut output = Zeroizing::new([0u8; 48]);
        hkdf.expand_multi_info(&[b"nightloom fe label", &label.0], &mut *output)
            .unwrap_or_else(|_| unreachable!("48 bytes are fewer than 255 hashes"));
        let (mut key, mut id) = ([0; 32], [0; 16]);
        key.copy_from_slice(&output[..32]);
        id.copy_from_slice(&output[32..]);
        LabelKey { key, id: KeyId(id) }
    }
}

impl fmt::Debug for MasterSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSeed(contents hidden)")
    }
}

/// What a master key is for, such as one batch of one client. Public.
///
/// The caller gives every batch of data a label of its own: keys of one label open nothing of another. Under `pad` a
/// label that is used for two batches gives both away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(Vec<u8>);

impl Label {
    /// A label of at most [`MAX_LABEL_BYTES`] bytes.
    ///
    /// # Errors
    /// [`FeError::Label`] if it is longer.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, FeError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_LABEL_BYTES {
            return Err(FeError::Label { found: bytes.len(), limit: MAX_LABEL_BYTES });
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Tells master keys apart: 16 public bytes derived with each, carried by everything that belongs to it.
///
/// It makes a mistaken key an error. It is no defence: whoever makes bytes can write any identifier, and the schemes
/// themselves keep labels apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// # Errors
    /// [`FeError::OtherMasterKey`] unless this is `wanted`.
    pub(crate) fn check(self, what: &'static str, wanted: Self) -> Result<(), FeError> {
        if self == wanted { Ok(()) } else { Err(FeError::OtherMasterKey { what, found: self, wanted }) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The key of one label: seed of the generators that make its secrets.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct LabelKey {
    key: [u8; 32],
    #[zeroize(skip)]
    pub id: KeyId,
}

impl LabelKey {
    pub fn from_parts(id: KeyId, key: [u8; 32]) -> Self {
        Self { key, id }
    }

    /// The secret bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// A generator for one purpose: ChaCha20 under the label's key, by stream number.
    pub fn generator(&self, stream: u64) -> ChaCha20Rng {
        let mut rng = ChaCha20Rng::from_seed(self.key);
        rng.set_stream(stream);
        rng
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;

    /// By Python's `hmac` and `hashlib`: extract with salt = parameters, expand with info = the prefix and the label.
    #[test]
    fn labels_are_expanded_by_hkdf() {
        let seed = MasterSeed::from_bytes([7; 32]);
        let key = seed.derive(ParamsId([9; 32]), &Label::new(*b"client 1, batch 2").unwrap());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&key.key), "2826ba4b400a6e8c149e8b4e015189241c449bccbc6e601704bd3a8e8dd42e75");
        assert_eq!(hex(&key.id.0), "c23c9f03aac179d15d900325398a079c");
    }

    #[test]
    fn seed_parameters_label_and_stream_separate() {
        let first = |seed: u8, params: u8, label: &str, stream| {
            let label = Label::new(label).unwrap();
            MasterSeed::from_bytes([seed; 32]).derive(ParamsId([params; 32]), &label).generator(stream).next_u64()
        };
        let base = first(1, 1, "a", 0);
        assert_eq!(base, first(1, 1, "a", 0));
        for other in [first(2, 1, "a", 0), first(1, 2, "a", 0), first(1, 1, "b", 0), first(1, 1, "a", 1)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn long_labels_are_refused_and_seeds_stay_hidden() {
        assert!(Label::new([1; MAX_LABEL_BYTES]).is_ok());
        assert_eq!(Label::new([1; 256]), Err(FeError::Label { found: 256, limit: 255 }));
        assert_eq!(format!("{:?}", MasterSeed::from_bytes([1; 32])), "MasterSeed(contents hidden)");
    }
}

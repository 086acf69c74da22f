use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use zeroize::{Zeroize, Zeroizing};

use crate::label::LabelKey;
use crate::words::{Matrix, Word, Words};
use crate::{Bounds, FeError, Functionals, InnerProduct, KeyId, Label, MasterSeed, ParamsId, Scheme, SchemeInfo};

pub(crate) const INFO: SchemeInfo = SchemeInfo {
    name: "pad",
    source: "one-time pad: two-party additive secret sharing, with the authority's share expanded from a seed",
    assumption: "ChaCha20 and HKDF-SHA-256 are pseudorandom functions; nothing else",
    security: "adaptive, by simulation, for labels used once; client and authority share the secrets; post-quantum",
    public_key: false,
};

/// Inner products under a one-time pad, which is two-party secret sharing.
///
/// The client and the authority share a secret for each label. It is expanded to a pad `s` for every sample; the
/// ciphertext is `c = x + s`, the key of `y` for that sample is `<s, y> - eta`, and
/// `<c, y> - (<s, y> - eta) = <x, y> + eta` modulo a power of two that holds [`Bounds::result`]. `eta` is noise that
/// the authority may add for differential privacy. The server's share `c` and the authority's share `s` tell nothing
/// apart, and it takes both to open anything: additive secret sharing, in which one share is a seed.
///
/// **Assumption:** the pseudorandom functions. **Security:** perfect but for them, adaptive, as long as every pad is
/// used once. A key opens one functional of one sample, so keys grow with the samples. A label serves one batch: two
/// batches encrypted under one label give their difference away.
#[derive(Debug)]
pub struct Pad {
    bounds: Bounds,
}

/// The secrets of a label. Wiped when dropped.
pub struct PadMasterKey(Pads);

/// What a client encrypts with: the secrets of a label, and the number of the sample that comes next. Wiped when
/// dropped.
pub struct PadEncryptionKey {
    pub(crate) pads: Pads,
    pub(crate) next: u64,
}

/// Keys of functionals for the first samples of a label.
#[derive(Clone, PartialEq)]
pub struct PadFunctionKeys {
    pub(crate) id: KeyId,
    pub(crate) functionals: Functionals,
    pub(crate) samples: usize,
    /// Functional by functional.
    pub(crate) keys: Words,
}

/// Encrypted samples.
#[derive(Clone, PartialEq)]
pub struct PadCiphertext {
    pub(crate) id: KeyId,
    pub(crate) dimension: usize,
    /// Number of the first sample within the label.
    pub(crate) first: u64,
    /// Sample by sample.
    pub(crate) body: Words,
}

/// The pads of a label: a keystream, sample by sample.
#[derive(Clone)]
pub(crate) struct Pads(pub LabelKey);

impl Pads {
    /// A source of the pads from sample `first` on.
    fn from<W: Word>(&self, first: u64, dimension: usize) -> Keystream {
        let mut rng = self.0.generator(0);
        rng.set_word_pos(u128::from(first) * (dimension * W::BYTES / 4) as u128);
        Keystream { rng, bytes: Zeroizing::new(vec![0; dimension * W::BYTES]) }
    }
}

struct Keystream {
    rng: ChaCha20Rng,
    bytes: Zeroizing<Vec<u8>>,
}

impl Keystream {
    /// The next pad.
    fn next<W: Word>(&mut self) -> impl Iterator<Item = W> {
        self.rng.fill_bytes(&mut self.bytes);
        self.bytes.chunks_exact(W::BYTES).map(W::from_bytes)
    }
}

impl Pad {
    /// The scheme for these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds }
    }

    /// Whether results need 64 bits.
    pub(crate) fn is_wide(&self) -> bool {
        self.bounds.result() > i32::MAX as u64
    }

    /// As [`function_keys`](InnerProduct::function_keys), with `noise` added to the opened values: one for every
    /// functional and sample, functional by functional. An opened value beyond [`Bounds::result`] is an error also if
    /// noise made it so.
    ///
    /// # Errors
    /// [`FeError`] if the functionals exceed the bounds or the noise has another length.
    pub fn function_keys_with_noise(
        &self,
        master: &PadMasterKey,
        functionals: &Functionals,
        samples: usize,
        noise: &[i64],
    ) -> Result<PadFunctionKeys, FeError> {
        if noise.len() != functionals.len() * samples {
            let wanted = functionals.len() * samples;
            return Err(FeError::Length { what: "noise", found: noise.len(), wanted });
        }
        self.keys(master, functionals, samples, |at| noise[at])
    }

    /// The functionals of ciphertexts, without keys: they are still under pads, `<x, y> + <s, y>`, and whoever computes them
    /// learns nothing. All samples of the first functional, then of the next.
    ///
    /// # Errors
    /// [`FeError`] if the functionals exceed the bounds.
    pub fn multiply(&self, ciphertext: &PadCiphertext, functionals: &Functionals) -> Result<Vec<u64>, FeError> {
        functionals.check(&self.bounds)?;
        Ok(match &ciphertext.body {
            Words::Narrow(words) => masked(functionals, words).into_iter().map(u64::from).collect(),
            Words::Wide(words) => masked(functionals, words),
        })
    }

    /// The values of what [`multiply`](Self::multiply) made of the label's first samples.
    ///
    /// # Errors
    /// [`FeError::Length`] if there are not as many products as keys, [`FeError::OutOfRange`] if a value is not within the
    /// bounds.
    pub fn unmask(&self, products: &[u64], keys: &PadFunctionKeys) -> Result<Vec<i64>, FeError> {
        if products.len() != keys.keys.len() {
            return Err(FeError::Length { what: "products", found: products.len(), wanted: keys.keys.len() });
        }
        let values: Vec<i64> = match &keys.keys {
            Words::Narrow(keys) => products.iter().zip(keys).map(|(c, k)| (*c as u32).sub(*k).to_i64()).collect(),
            Words::Wide(keys) => products.iter().zip(keys).map(|(c, k)| c.sub(*k).to_i64()).collect(),
        };
        let bound = self.bounds.result();
        match values.iter().position(|value| value.unsigned_abs() > bound) {
            Some(at) => Err(FeError::OutOfRange { functional: at / keys.samples, sample: at % keys.samples, bound }),
            None => Ok(values),
        }
    }

    fn keys(
        &self,
        master: &PadMasterKey,
        functionals: &Functionals,
        samples: usize,
        noise: impl Fn(usize) -> i64,
    ) -> Result<PadFunctionKeys, FeError> {
        functionals.check(&self.bounds)?;
        let keys = if self.is_wide() {
            pad_keys::<u64>(&master.0, functionals, samples, noise)
        } else {
            pad_keys::<u32>(&master.0, functionals, samples, noise)
        };
        Ok(PadFunctionKeys { id: master.0.0.id, functionals: functionals.clone(), samples, keys })
    }
}

fn pad_keys<W: Word>(pads: &Pads, functionals: &Functionals, samples: usize, noise: impl Fn(usize) -> i64) -> Words {
    let matrix = Matrix::<W>::new(functionals);
    let mut keystream = pads.from::<W>(0, functionals.dimension());
    let mut pad = Zeroizing::new(vec![W::default(); functionals.dimension()]);
    let mut keys = vec![W::default(); functionals.len() * samples];
    for sample in 0..samples {
        pad.iter_mut().zip(keystream.next()).for_each(|(pad, word)| *pad = word);
        matrix.apply(&pad, |functional, value| {
            let at = functional * samples + sample;
            keys[at] = value.sub(W::from_i64(noise(at)));
        });
    }
    W::wrap(keys)
}

fn masked<W: Word>(functionals: &Functionals, words: &[W]) -> Vec<W> {
    let matrix = Matrix::<W>::new(functionals);
    let samples = words.len() / functionals.dimension();
    let mut products = vec![W::default(); functionals.len() * samples];
    for (sample, words) in words.chunks_exact(functionals.dimension()).enumerate() {
        matrix.apply(words, |functional, value| products[functional * samples + sample] = value);
    }
    products
}

fn pad_encrypt<W: Word>(key: &PadEncryptionKey, samples: &[i32], dimension: usize) -> Words {
    let mut keystream = key.pads.from::<W>(key.next, dimension);
    let mut body = Vec::with_capacity(samples.len());
    for sample in samples.chunks_exact(dimension) {
        body.extend(sample.iter().zip(keystream.next::<W>()).map(|(x, pad)| W::from_i64((*x).into()).add(pad)));
    }
    W::wrap(body)
}

/// Samples whose values are opened before they are put in their places.
const BLOCK: usize = 64;

fn pad_open<W: Word>(
    ciphertext: &PadCiphertext,
    body: &[W],
    keys: &PadFunctionKeys,
    key_words: &[W],
    bound: u64,
) -> Result<Vec<i64>, FeError> {
    let matrix = Matrix::<W>::new(&keys.functionals);
    let count = ciphertext.samples();
    let first = ciphertext.first as usize;
    let mut values = vec![0; keys.functionals.len() * count];
    let mut block = vec![W::default(); keys.functionals.len() * BLOCK];
    let mut beyond = false;
    for (number, samples) in body.chunks(BLOCK * ciphertext.dimension).enumerate() {
        let in_block = samples.len() / ciphertext.dimension;
        for (sample, words) in samples.chunks_exact(ciphertext.dimension).enumerate() {
            matrix.apply(words, |functional, value| block[functional * BLOCK + sample] = value);
        }
        for (functional, opened) in block.chunks_exact(BLOCK).enumerate() {
            let at = number * BLOCK;
            let keys = &key_words[functional * keys.samples + first + at..][..in_block];
            let values = &mut values[functional * count + at..][..in_block];
            for ((value, opened), key) in values.iter_mut().zip(opened).zip(keys) {
                *value = opened.sub(*key).to_i64();
                beyond |= value.unsigned_abs() > bound;
            }
        }
    }
    if beyond && let Some(at) = values.iter().position(|value| value.unsigned_abs() > bound) {
        return Err(FeError::OutOfRange { functional: at / count, sample: at % count, bound });
    }
    Ok(values)
}

impl PadCiphertext {
    /// The master key that this is encrypted under.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.body.len() / self.dimension
    }
}

impl PadFunctionKeys {
    /// The master key that these belong to.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the keys open.
    pub fn functionals(&self) -> &Functionals {
        &self.functionals
    }
}

impl InnerProduct for Pad {
    type MasterKey = PadMasterKey;
    type EncryptionKey = PadEncryptionKey;
    type FunctionKeys = PadFunctionKeys;
    type Ciphertext = PadCiphertext;

    fn scheme(&self) -> Scheme {
        Scheme::Pad
    }

    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn params_id(&self) -> ParamsId {
        ParamsId::new(self.scheme(), &self.bounds, &[])
    }

    fn master_key(&self, seed: &MasterSeed, label: &Label) -> PadMasterKey {
        PadMasterKey(Pads(seed.derive(self.params_id(), label)))
    }

    fn encryption_key(&self, master: &PadMasterKey) -> PadEncryptionKey {
        PadEncryptionKey { pads: master.0.clone(), next: 0 }
    }

    fn function_keys(
        &self,
        master: &PadMasterKey,
        functionals: &Functionals,
        samples: usize,
    ) -> Result<PadFunctionKeys, FeError> {
        self.keys(master, functionals, samples, |_| 0)
    }

    /// Encrypts the next samples of the label; `rng` is not used.
    fn encrypt(
        &self,
        key: &mut PadEncryptionKey,
        samples: &[i32],
        _rng: &mut impl CryptoRng,
    ) -> Result<PadCiphertext, FeError> {
        let (count, dimension) = (self.bounds.check_samples(samples)?, self.bounds.dimension());
        let body = if self.is_wide() {
            pad_encrypt::<u64>(key, samples, dimension)
        } else {
            pad_encrypt::<u32>(key, samples, dimension)
        };
        let first = key.next;
        key.next += count as u64;
        Ok(PadCiphertext { id: key.pads.0.id, dimension, first, body })
    }

    fn decrypt(&self, ciphertext: &PadCiphertext, keys: &PadFunctionKeys) -> Result<Vec<i64>, FeError> {
        keys.id.check("keys", ciphertext.id)?;
        let (found, wanted) = (keys.functionals.dimension(), ciphertext.dimension);
        if found != wanted {
            return Err(FeError::Length { what: "dimension of the functionals", found, wanted });
        }
        let last = ciphertext.first.saturating_add(ciphertext.samples() as u64);
        if last > keys.samples as u64 {
            return Err(FeError::Samples { found: last, wanted: keys.samples as u64 });
        }
        let bound = self.bounds.result();
        match (&ciphertext.body, &keys.keys) {
            (Words::Narrow(body), Words::Narrow(words)) => pad_open(ciphertext, body, keys, words, bound),
            (Words::Wide(body), Words::Wide(words)) => pad_open(ciphertext, body, keys, words, bound),
            (body, words) => {
                Err(FeError::Length { what: "bytes of a word", found: words.word_bytes(), wanted: body.word_bytes() })
            }
        }
    }
}

impl Zeroize for PadFunctionKeys {
    fn zeroize(&mut self) {
        match &mut self.keys {
            Words::Narrow(words) => words.zeroize(),
            Words::Wide(words) => words.zeroize(),
        }
    }
}

impl std::fmt::Debug for PadMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PadMasterKey({}, contents hidden)", self.0.0.id)
    }
}

impl std::fmt::Debug for PadEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PadEncryptionKey({}, contents hidden)", self.pads.0.id)
    }
}

impl std::fmt::Debug for PadFunctionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PadFunctionKeys({}, {} functionals, contents hidden)", self.id, self.functionals.len())
    }
}

impl std::fmt::Debug for PadCiphertext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PadCiphertext({}, {} samples of {})", self.id, self.samples(), self.dimension)
    }
}

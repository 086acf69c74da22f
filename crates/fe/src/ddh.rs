use std::sync::{Arc, OnceLock};

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use rand_core::CryptoRng;

use crate::group::linear;
use crate::{
    Bounds, DiscreteLogs, FeError, Functionals, InnerProduct, Label, MasterSeed, ParamsId, Scheme, SchemeInfo,
};

pub(crate) const INFO: SchemeInfo = SchemeInfo {
    name: "ddh",
    source: "Abdalla, Bourse, De Caro, Pointcheval, \"Simple functional encryption schemes for inner products\", PKC \
             2015 (eprint 2015/017), section 3",
    assumption: "decisional Diffie-Hellman in ristretto255",
    security: "selective indistinguishability under chosen plaintexts; about 126 bits; not post-quantum",
    public_key: true,
};

/// Inner products under DDH: Abdalla, Bourse, De Caro and Pointcheval, PKC 2015 (eprint 2015/017), section 3, over
/// ristretto255.
///
/// **Assumption:** decisional Diffie-Hellman in ristretto255. **Security:** selective indistinguishability: the
/// adversary names its two vectors before it sees the public key. For stronger guarantees see
/// [`DdhAdaptive`](crate::DdhAdaptive).
///
/// Master key: uniform `s_i`; public key `h_i = g^(s_i)`; ciphertext `g^r, h_i^r g^(x_i)`; key of `y`: `<s, y>`. A
/// value is opened as `g^<x,y>`, whose logarithm is found within [`Bounds::result`].
///
/// **One image, one randomness.** A convolution over an image is opened from *one* ciphertext of the whole image: every
/// pixel has its own `h_i`, the windows are sparse functionals ([`Windows`](crate::Windows)), and all share `g^r`. That
/// is the scheme as it was published, in the dimension of the image, so its proof applies as it stands; see
/// docs/notes/functional-encryption.md for what must not be done instead.
#[derive(Debug)]
pub struct Ddh {
    bounds: Bounds,
    logs: OnceLock<Arc<DiscreteLogs>>,
}

/// The secrets of a label: `s_i`.
pub type DdhMasterKey = linear::MasterKey<1>;
/// What clients encrypt with: `h_i`.
pub type DdhPublicKey = linear::PublicKey<1>;
/// Keys of functionals: `<s, y>` each.
pub type DdhFunctionKeys = linear::FunctionKeys<1>;
/// Encrypted samples: `g^r, h_i^r g^(x_i)` each.
pub type DdhCiphertext = linear::Ciphertext<1>;

impl Ddh {
    /// The scheme for these bounds. Its table of logarithms is made when something is first decrypted, in a second or
    /// two.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, logs: OnceLock::new() }
    }

    /// As [`new`](Self::new), with logarithms that are there already. Their bound replaces that of the bounds as what
    /// opened values must be within.
    pub fn with_logarithms(bounds: Bounds, logs: Arc<DiscreteLogs>) -> Self {
        Self { bounds, logs: logs.into() }
    }

    /// The logarithms, made now if they are not there.
    pub fn logarithms(&self) -> &Arc<DiscreteLogs> {
        self.logs.get_or_init(|| Arc::new(DiscreteLogs::new(self.bounds.result())))
    }
}

impl InnerProduct for Ddh {
    type MasterKey = DdhMasterKey;
    type EncryptionKey = DdhPublicKey;
    type FunctionKeys = DdhFunctionKeys;
    type Ciphertext = DdhCiphertext;

    fn scheme(&self) -> Scheme {
        Scheme::Ddh
    }

    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn params_id(&self) -> ParamsId {
        ParamsId::new(self.scheme(), &self.bounds, &[])
    }

    fn master_key(&self, seed: &MasterSeed, label: &Label) -> DdhMasterKey {
        DdhMasterKey::derive(&seed.derive(self.params_id(), label), self.bounds.dimension())
    }

    fn encryption_key(&self, master: &DdhMasterKey) -> DdhPublicKey {
        master.public_key(self.bounds.dimension(), &[RISTRETTO_BASEPOINT_TABLE])
    }

    fn function_keys(
        &self,
        master: &DdhMasterKey,
        functionals: &Functionals,
        _samples: usize,
    ) -> Result<DdhFunctionKeys, FeError> {
        master.function_keys(&self.bounds, functionals)
    }

    fn encrypt(
        &self,
        key: &mut DdhPublicKey,
        samples: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<DdhCiphertext, FeError> {
        key.encrypt(&self.bounds, &[RISTRETTO_BASEPOINT_TABLE], samples, rng)
    }

    fn decrypt(&self, ciphertext: &DdhCiphertext, keys: &DdhFunctionKeys) -> Result<Vec<i64>, FeError> {
        ciphertext.decrypt(keys, self.logarithms())
    }
}

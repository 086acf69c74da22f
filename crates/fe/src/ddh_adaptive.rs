use std::sync::{Arc, OnceLock};

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::RistrettoBasepointTable;
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};

use crate::group::linear;
use crate::{
    Bounds, DiscreteLogs, FeError, Functionals, InnerProduct, Label, MasterSeed, ParamsId, Scheme, SchemeInfo,
};

pub(crate) const INFO: SchemeInfo = SchemeInfo {
    name: "ddh-adaptive",
    source: "Agrawal, Libert, Stehle, \"Fully secure functional encryption for inner products, from standard \
             assumptions\", CRYPTO 2016 (eprint 2015/608), section 3",
    assumption: "decisional Diffie-Hellman in ristretto255",
    security: "adaptive indistinguishability under chosen plaintexts; about 126 bits; not post-quantum",
    public_key: true,
};

/// Inner products under DDH with adaptive security: Agrawal, Libert and Stehle, CRYPTO 2016 (eprint 2015/608), section
/// 3, over ristretto255.
///
/// **Assumption:** decisional Diffie-Hellman in ristretto255. **Security:** adaptive indistinguishability: the
/// adversary may choose its two vectors after it has seen the public key and function keys.
///
/// Two secrets a coordinate: master key `s_i, t_i`; public key `h_i = g^(s_i) h^(t_i)`, where nobody knows the
/// logarithm of `h`; ciphertext `g^r, h^r, h_i^r g^(x_i)`; key of `y`: `<s, y>, <t, y>`.
pub struct DdhAdaptive {
    bounds: Bounds,
    /// Multiples of `h`.
    second: OnceLock<RistrettoBasepointTable>,
    logs: OnceLock<Arc<DiscreteLogs>>,
}

/// The secrets of a label: `s_i` and `t_i`.
pub type DdhAdaptiveMasterKey = linear::MasterKey<2>;
/// What clients encrypt with: `h_i`.
pub type DdhAdaptivePublicKey = linear::PublicKey<2>;
/// Keys of functionals: `<s, y>` and `<t, y>` each.
pub type DdhAdaptiveFunctionKeys = linear::FunctionKeys<2>;
/// Encrypted samples: `g^r, h^r, h_i^r g^(x_i)` each.
pub type DdhAdaptiveCiphertext = linear::Ciphertext<2>;

impl DdhAdaptive {
    /// The scheme for these bounds. Its table of logarithms is made when something is first decrypted, in a second or
    /// two.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, second: OnceLock::new(), logs: OnceLock::new() }
    }

    /// As [`new`](Self::new), with logarithms that are there already. Their bound replaces that of the bounds as what
    /// opened values must be within.
    pub fn with_logarithms(bounds: Bounds, logs: Arc<DiscreteLogs>) -> Self {
        Self { bounds, second: OnceLock::new(), logs: logs.into() }
    }

    /// The logarithms, made now if they are not there.
    pub fn logarithms(&self) -> &Arc<DiscreteLogs> {
        self.logs.get_or_init(|| Arc::new(DiscreteLogs::new(self.bounds.result())))
    }

    /// `g` and `h`; `h` is hashed to the group.
    fn bases(&self) -> [&RistrettoBasepointTable; 2] {
        let second = self.second.get_or_init(|| {
            let hash = Sha512::digest(b"nightloom fe ddh-adaptive: second generator");
            RistrettoBasepointTable::create(&RistrettoPoint::from_uniform_bytes(&hash.into()))
        });
        [RISTRETTO_BASEPOINT_TABLE, second]
    }
}

impl InnerProduct for DdhAdaptive {
    type MasterKey = DdhAdaptiveMasterKey;
    type EncryptionKey = DdhAdaptivePublicKey;
    type FunctionKeys = DdhAdaptiveFunctionKeys;
    type Ciphertext = DdhAdaptiveCiphertext;

    fn scheme(&self) -> Scheme {
        Scheme::DdhAdaptive
    }

    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn params_id(&self) -> ParamsId {
        ParamsId::new(self.scheme(), &self.bounds, &[])
    }

    fn master_key(&self, seed: &MasterSeed, label: &Label) -> DdhAdaptiveMasterKey {
        DdhAdaptiveMasterKey::derive(&seed.derive(self.params_id(), label), self.bounds.dimension())
    }

    fn encryption_key(&self, master: &DdhAdaptiveMasterKey) -> DdhAdaptivePublicKey {
        master.public_key(self.bounds.dimension(), &self.bases())
    }

    fn function_keys(
        &self,
        master: &DdhAdaptiveMasterKey,
        functionals: &Functionals,
        _samples: usize,
    ) -> Result<DdhAdaptiveFunctionKeys, FeError> {
        master.function_keys(&self.bounds, functionals)
    }

    fn encrypt(
        &self,
        key: &mut DdhAdaptivePublicKey,
        samples: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<DdhAdaptiveCiphertext, FeError> {
        key.encrypt(&self.bounds, &self.bases(), samples, rng)
    }

    fn decrypt(&self, ciphertext: &DdhAdaptiveCiphertext, keys: &DdhAdaptiveFunctionKeys) -> Result<Vec<i64>, FeError> {
        ciphertext.decrypt(keys, self.logarithms())
    }
}

impl std::fmt::Debug for DdhAdaptive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DdhAdaptive").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

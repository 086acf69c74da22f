use std::fmt;
use std::sync::Arc;

use nightloom_ring::ntt::{MAX_LOG_DEGREE, MIN_LOG_DEGREE};
use nightloom_ring::{Extension, Kernel, Pool, Quotient, Ring, RingError, RnsBasis, kernels, prime};
use sha2::{Digest, Sha256};

use crate::{SpecError, security};

/// Most primes in the chain, and most special primes.
pub const MAX_PRIMES: usize = 64;
/// Every prime is below two to this power.
pub(crate) const MAX_PRIME_BITS: u32 = 50;
const PRIME_BITS: std::ops::RangeInclusive<u32> = 20..=MAX_PRIME_BITS;

/// CKKS parameters as plain data, to be written down, edited and sent; [`validate`](Self::validate) makes them usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CkksSpec {
    /// The quotient ring. The conjugate-invariant one has `N` real slots, the standard one `N/2` complex ones.
    pub ring: Ring,
    /// `log2` of the ring degree `N`, 10 to 17.
    pub log_degree: u32,
    /// Sizes in bits (20 to 50) of the primes `q_0, .., q_L`. Rescaling drops the last one first.
    pub prime_bits: Vec<u32>,
    /// Sizes in bits of the special primes of the key switch; their number is also the number of primes in a digit.
    /// May be empty if nothing is ever relinearised.
    pub special_bits: Vec<u32>,
}

impl CkksSpec {
    /// Checks the parameters against the security table and prepares everything that depends only on them. The kernel
    /// is the one that `NIGHTLOOM_KERNEL` names, or the fastest.
    ///
    /// The primes are the largest ones of each size that the ring allows, in falling order, so the spec determines them.
    /// The tables take about `40 N` bytes a prime: 370 MB for the largest secure spec.
    ///
    /// # Errors
    /// [`SpecError::InsecureModulus`] below 128 bits of security; other variants for sizes that do not exist.
    pub fn validate(&self) -> Result<CkksParams, SpecError> {
        self.validate_with(kernels::select()?)
    }

    /// As [`validate`](Self::validate), on a given kernel.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn validate_with(&self, kernel: &'static dyn Kernel) -> Result<CkksParams, SpecError> {
        let max = security::max_log_qp(self.log_degree)
            .ok_or(SpecError::UnsupportedDegree { log_degree: self.log_degree })?;
        // Before any table is made: a foreign spec may ask for much more than it can have.
        let primes = self.find_primes()?;
        let log_qp = primes.iter().map(|prime| (*prime as f64).log2()).sum();
        if log_qp > f64::from(max) {
            return Err(SpecError::InsecureModulus { log_degree: self.log_degree, log_qp, max });
        }
        self.with_primes(primes, kernel)
    }

    /// Accepts parameters below 128 bits of security, for experiments and for reproducing historical results only:
    /// data encrypted under them is not protected. [`CkksParams::is_secure`] tells.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), without the security check.
    pub fn validate_insecure(&self) -> Result<CkksParams, SpecError> {
        self.validate_insecure_with(kernels::select()?)
    }

    /// As [`validate_insecure`](Self::validate_insecure), on a given kernel.
    ///
    /// # Errors
    /// As [`validate_insecure`](Self::validate_insecure).
    pub fn validate_insecure_with(&self, kernel: &'static dyn Kernel) -> Result<CkksParams, SpecError> {
        self.with_primes(self.find_primes()?, kernel)
    }

    /// The primes of the chain, then the special ones.
    fn find_primes(&self) -> Result<Vec<u64>, SpecError> {
        for (what, found, min) in
            [("modulus chain", self.prime_bits.len(), 1), ("special primes", self.special_bits.len(), 0)]
        {
            if !(min..=MAX_PRIMES).contains(&found) {
                return Err(SpecError::PrimeCount { what, found, min, max: MAX_PRIMES });
            }
        }
        if let Some(&found) = self.prime_bits.iter().chain(&self.special_bits).find(|bits| !PRIME_BITS.contains(bits)) {
            return Err(SpecError::PrimeBits { found, min: *PRIME_BITS.start(), max: *PRIME_BITS.end() });
        }
        if let Some(digit) =
            self.prime_bits.chunks(self.special_bits.len().max(1)).map(|digit| digit.iter().sum()).max()
        {
            let special = self.special_bits.iter().sum();
            if special > 0 && special < digit {
                return Err(SpecError::SpecialTooSmall { special, digit });
            }
        }
        if !(MIN_LOG_DEGREE..=MAX_LOG_DEGREE).contains(&self.log_degree) {
            let found = 1usize.checked_shl(self.log_degree).unwrap_or(usize::MAX);
            return Err(RingError::Degree { found, min: 1 << MIN_LOG_DEGREE, max: 1 << MAX_LOG_DEGREE }.into());
        }
        let order = self.ring.root_order(1 << self.log_degree);
        let mut primes = Vec::new();
        // The special primes come first, so that they are the largest of their size and P >= Q_digit.
        for &bits in self.special_bits.iter().chain(&self.prime_bits) {
            primes.extend(prime::largest_primes(bits, order, 1, &primes)?);
        }
        primes.rotate_left(self.special_bits.len());
        Ok(primes)
    }

    fn with_primes(&self, primes: Vec<u64>, kernel: &'static dyn Kernel) -> Result<CkksParams, SpecError> {
        let basis = RnsBasis::new(1 << self.log_degree, self.ring, &primes, kernel, Pool::new())?;
        Ok(CkksParams(Arc::new(Inner::new(self.clone(), Arc::new(basis), primes))))
    }
}

/// Rescalings that remain; 0 is the bottom. A ciphertext of level `l` has residues modulo `q_0, .., q_l`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Level {
    /// Number of primes at this level.
    pub fn limbs(self) -> usize {
        usize::from(self.0) + 1
    }

    /// `count` levels further down, or `None` below the bottom.
    pub fn down(self, count: u8) -> Option<Self> {
        self.0.checked_sub(count).map(Self)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of everything that determines the parameters, primes included. Travels with every artefact.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParamsId(pub [u8; 32]);

impl fmt::Display for ParamsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ParamsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParamsId({self})")
    }
}

/// Checked, immutable parameters with all tables. Cheap to clone.
#[derive(Clone)]
pub struct CkksParams(Arc<Inner>);

struct Inner {
    spec: CkksSpec,
    id: ParamsId,
    secure: bool,
    primes: Vec<u64>,
    key_basis: Arc<RnsBasis>,
    levels: Vec<LevelTables>,
}

/// What one level needs: its bases, the key switch from it and the divisions out of it.
pub(crate) struct LevelTables {
    /// `q_0, .., q_l`.
    pub basis: Arc<RnsBasis>,
    /// `q_0, .., q_l` and the special primes.
    pub extended: Arc<RnsBasis>,
    /// Limbs of the key basis that make up `extended`.
    pub key_limbs: Vec<usize>,
    /// The digits of the key switch, empty without special primes.
    pub digits: Vec<Extension>,
    /// `extended -> basis`: division by `P`.
    pub mod_down: Option<Quotient>,
    /// `basis -> basis of the level below`: division by `q_l`.
    pub rescale: Option<Quotient>,
    /// `extended -> basis of the level below`: division by `P q_l`.
    pub mod_down_rescale: Option<Quotient>,
    /// `P mod q_i`.
    pub special_product: Vec<u64>,
}

impl Inner {
    fn new(spec: CkksSpec, key_basis: Arc<RnsBasis>, primes: Vec<u64>) -> Self {
        let (chain, special) = (spec.prime_bits.len(), spec.special_bits.len());
        let mut levels: Vec<LevelTables> = Vec::with_capacity(chain);
        for limbs in 1..=chain {
            let key_limbs: Vec<usize> = (0..limbs).chain(chain..chain + special).collect();
            let basis = Arc::new(key_basis.select(0..limbs));
            let extended = Arc::new(key_basis.select(key_limbs.iter().copied()));
            let digits = if special == 0 { 0 } else { limbs.div_ceil(special) };
            let digits = (0..digits).map(|digit| {
                let limbs = digit * special..((digit + 1) * special).min(limbs);
                Extension::new(Arc::new(key_basis.select(limbs)), Arc::clone(&extended))
            });
            let below = levels.last().map(|level| Arc::clone(&level.basis));
            let special_product = basis
                .moduli()
                .map(|q| primes[chain..].iter().fold(1, |product, p| q.mul(product, p % q.value())))
                .collect();
            levels.push(LevelTables {
                digits: digits.collect(),
                mod_down: (special > 0).then(|| Quotient::new(Arc::clone(&extended), Arc::clone(&basis))),
                rescale: below.clone().map(|below| Quotient::new(Arc::clone(&basis), below)),
                mod_down_rescale: below
                    .filter(|_| special > 0)
                    .map(|below| Quotient::new(Arc::clone(&extended), below)),
                basis,
                extended,
                key_limbs,
                special_product,
            });
        }
        let id = identify(&spec, &primes);
        let secure = security::max_log_qp(spec.log_degree).is_some_and(|max| key_basis.log2() <= f64::from(max));
        Self { spec, id, secure, primes, key_basis, levels }
    }
}

fn identify(spec: &CkksSpec, primes: &[u64]) -> ParamsId {
    let mut hash = Sha256::new();
    hash.update(b"nightloom ckks 1");
    hash.update([spec.ring as u8, spec.log_degree as u8, spec.prime_bits.len() as u8, spec.special_bits.len() as u8]);
    primes.iter().for_each(|prime| hash.update(prime.to_le_bytes()));
    ParamsId(hash.finalize().into())
}

impl CkksParams {
    /// The plain data that these parameters were made from.
    pub fn spec(&self) -> &CkksSpec {
        &self.0.spec
    }

    /// The identifier that travels in artefacts.
    pub fn id(&self) -> ParamsId {
        self.0.id
    }

    /// Whether the security table grants 128 bits.
    pub fn is_secure(&self) -> bool {
        self.0.secure
    }

    /// The quotient ring.
    pub fn ring(&self) -> Ring {
        self.0.spec.ring
    }

    /// The ring degree `N`.
    pub fn degree(&self) -> usize {
        self.0.key_basis.degree()
    }

    /// Slots of a ciphertext: `N` real ones in the conjugate-invariant ring, `N/2` in the standard one.
    pub fn slots(&self) -> usize {
        match self.ring() {
            Ring::ConjugateInvariant => self.degree(),
            Ring::Standard => self.degree() / 2,
        }
    }

    /// The primes `q_0, .., q_L`.
    pub fn primes(&self) -> &[u64] {
        &self.0.primes[..self.0.spec.prime_bits.len()]
    }

    /// The special primes.
    pub fn special_primes(&self) -> &[u64] {
        &self.0.primes[self.0.spec.prime_bits.len()..]
    }

    /// The level of a fresh ciphertext.
    pub fn top(&self) -> Level {
        // At most MAX_PRIMES levels exist.
        Level((self.0.levels.len() - 1) as u8)
    }

    /// `log2` of the product of all primes.
    pub fn log_qp(&self) -> f64 {
        self.0.key_basis.log2()
    }

    /// `log2` of `q_0 .. q_level`.
    ///
    /// # Panics
    /// If the level is above the top.
    pub fn log_q(&self, level: Level) -> f64 {
        self.basis(level).log2()
    }

    /// The kernel that computes.
    pub fn kernel(&self) -> &'static dyn Kernel {
        self.0.key_basis.kernel()
    }

    /// The pool of buffers.
    pub fn pool(&self) -> &Pool {
        self.0.key_basis.pool()
    }

    /// The basis `q_0, .., q_level`.
    ///
    /// # Panics
    /// If the level is above the top.
    pub fn basis(&self, level: Level) -> &Arc<RnsBasis> {
        &self.level(level).basis
    }

    /// All primes, special ones last.
    pub(crate) fn key_basis(&self) -> &Arc<RnsBasis> {
        &self.0.key_basis
    }

    /// Primes in a digit of the key switch.
    pub(crate) fn digit_limbs(&self) -> usize {
        self.0.spec.special_bits.len()
    }

    pub(crate) fn level(&self, level: Level) -> &LevelTables {
        &self.0.levels[usize::from(level.0)]
    }
}

impl fmt::Debug for CkksParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CkksParams").field("id", &self.id()).field("spec", self.spec()).finish()
    }
}

impl PartialEq for CkksParams {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

use std::sync::Arc;

use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::sample::{self, Seed};
use nightloom_ring::{Buffer, Eval, RnsBasis, RnsPoly, parallel};
use rand_core::{CryptoRng, Rng};
use zeroize::{Zeroize, Zeroizing};

use crate::label::LabelKey;
use crate::lattice::gaussian::Gaussian;
use crate::lattice::plaintext::{NotAnInteger, Plaintext};
use crate::lattice::{self, security};
use crate::{Bounds, FeError, Functionals, InnerProduct, KeyId, Label, MasterSeed, ParamsId, Scheme, SchemeInfo};

pub(crate) const INFO: SchemeInfo = SchemeInfo {
    name: "rlwe",
    source: "Mera, Karmakar, Marc, Soleimanian, \"Efficient lattice-based inner-product functional encryption\", PKC \
             2022 (eprint 2021/046), section 4",
    assumption: "ring learning with errors",
    security: "selective indistinguishability under chosen plaintexts; at least 128 bits against the primal attack in \
             the core model; believed post-quantum",
    public_key: true,
};

/// `kappa` of the paper: the security parameter, by which sizes of Gaussian integers are bounded.
const KAPPA: f64 = 128.0;

/// Inner products under ring-LWE, as many at once as the ring has coefficients: Mera, Karmakar, Marc and Soleimanian,
/// PKC 2022 (eprint 2021/046), section 4.
///
/// **Assumption:** ring learning with errors in `Z_q[X]/(X^n + 1)`. **Security:** selective indistinguishability, by a
/// reduction from ring-LWE with deviation 1; parameters reach 128 bits against the primal attack in the core model.
///
/// Master key: `s_i`, Gaussian of deviation `sigma_1`; public key `a` uniform and `a s_i + e_i`; ciphertext of vectors
/// of polynomials `x_i`, each of whose coefficients is a sample: `a r + f_0`, `(a s_i + e_i) r + f_i + floor(q/K) x_i`;
/// key of `y`: `sum y_i s_i`. `sum y_i c_i - c_0 sum y_i s_i` is `floor(q/K) <x, y>` and noise below a quarter of the
/// scale. Deviations, degree and modulus follow from the bounds: docs/notes/functional-encryption.md.
#[derive(Debug)]
pub struct Rlwe {
    bounds: Bounds,
    basis: Arc<RnsBasis>,
    plaintext: Plaintext,
    deviations: Deviations,
}

/// Of secrets and errors of the public key, of the randomness of a ciphertext and the error of its head, and of its
/// body.
#[derive(Clone, Copy, Debug)]
struct Deviations {
    secret: Gaussian,
    randomness: Gaussian,
    body: Gaussian,
}

/// The secrets of a label. Wiped when dropped.
pub struct RlweMasterKey {
    label: LabelKey,
    seed: Seed,
    /// Coefficients of `s_i`, coordinate by coordinate.
    secrets: Zeroizing<Vec<f64>>,
}

/// What clients encrypt with: public. `a` is a seed on the wire.
#[derive(Clone)]
pub struct RlwePublicKey {
    pub(crate) id: KeyId,
    pub(crate) seed: Seed,
    a: RnsPoly<Eval>,
    /// `a s_i + e_i` by coordinate.
    pub(crate) keys: Vec<RnsPoly<Eval>>,
}

/// Keys of functionals.
#[derive(Clone, PartialEq)]
pub struct RlweFunctionKeys {
    pub(crate) id: KeyId,
    pub(crate) functionals: Functionals,
    /// Coefficients of `sum y_i s_i`, functional by functional.
    pub(crate) keys: Vec<Vec<f64>>,
}

/// Encrypted samples.
#[derive(Clone)]
pub struct RlweCiphertext {
    pub(crate) id: KeyId,
    pub(crate) samples: usize,
    pub(crate) groups: Vec<Group>,
}

/// As many samples as the ring has coefficients, the last group perhaps fewer.
#[derive(Clone)]
pub(crate) struct Group {
    pub head: RnsPoly<Eval>,
    /// By limb: all coordinates, one after another.
    pub body: Vec<Buffer>,
}

impl Rlwe {
    /// The scheme for these bounds, in the smallest ring that reaches 128 bits of security, on the kernel that
    /// `NIGHTLOOM_KERNEL` names, or the fastest.
    ///
    /// # Errors
    /// [`FeError::NoParameters`] if no ring does, [`FeError::Bounds`] if sums of weights exceed what the kernels add
    /// exactly.
    pub fn new(bounds: Bounds) -> Result<Self, FeError> {
        for log_degree in 10..=15 {
            match Self::with_degree_insecure(bounds, log_degree) {
                Ok(scheme) if scheme.security_bits() >= security::SECURITY_BITS => return Ok(scheme),
                Ok(_) | Err(FeError::NoParameters { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(FeError::NoParameters { scheme: Scheme::Rlwe })
    }

    /// As [`new`](Self::new), in the ring of degree `2^log_degree`, however insecure: for tests.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_degree_insecure(bounds: Bounds, log_degree: u32) -> Result<Self, FeError> {
        let none = || FeError::NoParameters { scheme: Scheme::Rlwe };
        let (dimension, terms, n) = (bounds.dimension() as f64, bounds.terms() as f64, f64::from(log_degree).exp2());
        let secret = Gaussian::at_least(2.0 * dimension.sqrt() * f64::from(bounds.data())).ok_or_else(none)?;
        lattice::check_sums(&bounds, 9.0 * secret.factor() as f64)?;
        let needed = (2.0 * (dimension + 2.0)).sqrt() * n * secret.deviation() * KAPPA.sqrt();
        let randomness = Gaussian::at_least(needed).ok_or_else(none)?;
        let body = Gaussian::at_least(2f64.sqrt() * randomness.deviation()).ok_or_else(none)?;
        let noise = 2.0 * n * KAPPA * secret.deviation() * randomness.deviation() + KAPPA.sqrt() * body.deviation();
        let range = 2.0 * bounds.result() as f64 + 1.0;
        let log_q = (2.0 * terms * f64::from(bounds.weight()) * range * noise).log2();
        let basis = lattice::basis(1 << log_degree, log_q)?.ok_or_else(none)?;
        let plaintext = Plaintext::new(&basis, bounds.result());
        Ok(Self { bounds, basis, plaintext, deviations: Deviations { secret, randomness, body } })
    }

    /// Samples that one ciphertext polynomial holds: coefficients of the ring.
    pub fn degree(&self) -> usize {
        self.basis.degree()
    }

    /// `log2` of the modulus.
    pub fn log_q(&self) -> f64 {
        self.basis.log2()
    }

    /// Classical bits of the primal attack in the core model, on ring-LWE with deviation 1, from which the scheme
    /// reduces.
    pub fn security_bits(&self) -> f64 {
        security::primal_bits(self.degree(), self.log_q(), 1.0)
    }

    pub(crate) fn basis(&self) -> &Arc<RnsBasis> {
        &self.basis
    }

    /// A bound on the absolute coefficients of function keys.
    pub(crate) fn key_bound(&self) -> f64 {
        self.bounds.terms() as f64 * f64::from(self.bounds.weight()) * 9.0 * self.deviations.secret.factor() as f64
    }

    /// A fresh polynomial of this distribution, evaluated.
    fn gaussian(&self, distribution: Gaussian, rng: &mut impl CryptoRng) -> RnsPoly<Eval> {
        let mut coefficients = Zeroizing::new(vec![0.0; self.degree()]);
        distribution.fill(rng, &mut coefficients);
        RnsPoly::from_signed(&self.basis, &coefficients).into_eval()
    }

    fn encrypt_group(&self, key: &RlwePublicKey, samples: &[i32], rng: &mut impl CryptoRng) -> Group {
        let (n, dimension, basis) = (self.degree(), self.bounds.dimension(), &self.basis);
        let mut randomness = self.gaussian(self.deviations.randomness, rng);
        let mut head = self.gaussian(self.deviations.randomness, rng);
        head.mul_add_assign(&key.a, &randomness);
        let mut body = basis.pool().take_limbs(basis.len(), dimension * n);
        let mut errors = Zeroizing::new(vec![0.0; n]);
        let mut values = Zeroizing::new(vec![0.0; n]);
        for coordinate in 0..dimension {
            self.deviations.body.fill(rng, &mut errors);
            for (value, sample) in values.iter_mut().zip(samples.chunks_exact(dimension)) {
                *value = f64::from(sample[coordinate]);
            }
            let mut rows: Vec<&mut [f64]> = body.iter_mut().map(|limb| &mut limb[coordinate * n..][..n]).collect();
            parallel::for_each(&mut rows, |limb, row| {
                let (kernel, q) = (basis.kernel(), basis.modulus(limb));
                kernel.reduce(q, row, &errors);
                self.plaintext.add_to(basis, limb, row, &values);
                kernel.ntt_forward(basis.table(limb), row);
                kernel.mul_add(q, row, key.keys[coordinate].limb(limb), randomness.limb(limb));
            });
        }
        randomness.zeroize();
        Group { head, body }
    }

    /// All functionals of one group.
    fn open_group(
        &self,
        group: &Group,
        keys: &[RnsPoly<Eval>],
        matrix: &nightloom_ring::IntegerMatrix,
        values: &mut [&mut [i64]],
    ) -> Result<(), (usize, NotAnInteger)> {
        let (n, basis) = (self.degree(), &self.basis);
        let mut sums = basis.pool().take_limbs(basis.len(), keys.len() * n);
        parallel::for_each(&mut sums, |limb, sums| {
            let mut scratch = MatrixScratch::new(basis.pool());
            basis.kernel().matrix(basis.modulus(limb), matrix, &group.body[limb], sums, n, &mut scratch);
        });
        let mut outcomes: Vec<_> = values.iter_mut().map(|values| (values, Ok(()))).collect();
        parallel::for_each(&mut outcomes, |functional, (values, outcome)| {
            let mut mask = group.head.mul(&keys[functional]);
            for limb in 0..basis.len() {
                let sums = &sums[limb][functional * n..][..n];
                // The negative of what is wanted, so that the mask need not be copied.
                basis.kernel().sub(basis.modulus(limb), mask.limb_mut(limb), sums);
            }
            let opened = self.plaintext.open(&mask.into_coeff(), values);
            values.iter_mut().for_each(|value| *value = -*value);
            *outcome = opened.map_err(|at| (functional, at));
        });
        outcomes.into_iter().try_for_each(|(_, outcome)| outcome)
    }
}

impl InnerProduct for Rlwe {
    type MasterKey = RlweMasterKey;
    type EncryptionKey = RlwePublicKey;
    type FunctionKeys = RlweFunctionKeys;
    type Ciphertext = RlweCiphertext;

    fn scheme(&self) -> Scheme {
        Scheme::Rlwe
    }

    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn params_id(&self) -> ParamsId {
        let Deviations { secret, randomness, body } = self.deviations;
        let mut details = vec![self.degree() as u64, secret.factor(), randomness.factor(), body.factor()];
        details.extend(self.basis.moduli().map(nightloom_ring::Modulus::value));
        ParamsId::new(self.scheme(), &self.bounds, &details)
    }

    fn master_key(&self, seed: &MasterSeed, label: &Label) -> RlweMasterKey {
        let label = seed.derive(self.params_id(), label);
        let mut seed = [0; 32];
        label.generator(0).fill_bytes(&mut seed);
        let mut secrets = Zeroizing::new(vec![0.0; self.bounds.dimension() * self.degree()]);
        parallel::for_each(secrets.chunks_exact_mut(self.degree()), |coordinate, secret| {
            self.deviations.secret.fill(&mut label.generator(2 * coordinate as u64 + 1), secret);
        });
        RlweMasterKey { label, seed, secrets }
    }

    fn encryption_key(&self, master: &RlweMasterKey) -> RlwePublicKey {
        let a: RnsPoly<Eval> = sample::uniform(&self.basis, &master.seed, 0);
        let mut keys = vec![None; self.bounds.dimension()];
        parallel::for_each(&mut keys, |coordinate, key| {
            let mut error =
                self.gaussian(self.deviations.secret, &mut master.label.generator(2 * coordinate as u64 + 2));
            let secret = &master.secrets[coordinate * self.degree()..][..self.degree()];
            let mut secret = RnsPoly::from_signed(&self.basis, secret).into_eval();
            error.mul_add_assign(&a, &secret);
            secret.zeroize();
            *key = Some(error);
        });
        RlwePublicKey { id: master.label.id, seed: master.seed, a, keys: keys.into_iter().flatten().collect() }
    }

    fn function_keys(
        &self,
        master: &RlweMasterKey,
        functionals: &Functionals,
        _samples: usize,
    ) -> Result<RlweFunctionKeys, FeError> {
        functionals.check(&self.bounds)?;
        let mut keys = vec![Vec::new(); functionals.len()];
        parallel::for_each(&mut keys, |functional, key| {
            *key = lattice::combine(&master.secrets, self.degree(), functionals.row(functional));
        });
        Ok(RlweFunctionKeys { id: master.label.id, functionals: functionals.clone(), keys })
    }

    fn encrypt(
        &self,
        key: &mut RlwePublicKey,
        samples: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<RlweCiphertext, FeError> {
        let count = self.bounds.check_samples(samples)?;
        let groups = samples.chunks(self.degree() * self.bounds.dimension());
        let groups = groups.map(|samples| self.encrypt_group(key, samples, rng)).collect();
        Ok(RlweCiphertext { id: key.id, samples: count, groups })
    }

    fn decrypt(&self, ciphertext: &RlweCiphertext, keys: &RlweFunctionKeys) -> Result<Vec<i64>, FeError> {
        keys.id.check("keys", ciphertext.id)?;
        keys.functionals.check(&self.bounds)?;
        let (count, functionals) = (ciphertext.samples, keys.keys.len());
        if functionals == 0 || count == 0 {
            return Ok(Vec::new());
        }
        let matrix = lattice::matrix(&keys.functionals)?;
        let mut evaluated = vec![None; functionals];
        parallel::for_each(&mut evaluated, |functional, key: &mut Option<RnsPoly<Eval>>| {
            *key = Some(RnsPoly::from_signed(&self.basis, &keys.keys[functional]).into_eval());
        });
        let evaluated: Vec<RnsPoly<Eval>> = evaluated.into_iter().flatten().collect();
        let mut values = vec![0; functionals * count];
        for (number, group) in ciphertext.groups.iter().enumerate() {
            let first = number * self.degree();
            let last = count.min(first + self.degree());
            let mut rows: Vec<&mut [i64]> = values.chunks_exact_mut(count).map(|row| &mut row[first..last]).collect();
            self.open_group(group, &evaluated, &matrix, &mut rows).map_err(|(functional, NotAnInteger(at))| {
                FeError::OutOfRange { functional, sample: first + at, bound: self.bounds.result() }
            })?;
        }
        Ok(values)
    }
}

impl RlwePublicKey {
    pub(crate) fn from_parts(id: KeyId, seed: Seed, basis: &Arc<RnsBasis>, keys: Vec<RnsPoly<Eval>>) -> Self {
        Self { id, seed, a: sample::uniform(basis, &seed, 0), keys }
    }

    /// The master key that this belongs to.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl RlweCiphertext {
    /// The master key that this is encrypted under.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }
}

impl RlweFunctionKeys {
    /// The master key that these belong to.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the keys open.
    pub fn functionals(&self) -> &Functionals {
        &self.functionals
    }
}

impl PartialEq for RlwePublicKey {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.seed) == (other.id, other.seed) && self.keys == other.keys
    }
}

impl PartialEq for RlweCiphertext {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.samples) == (other.id, other.samples) && self.groups == other.groups
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.body.iter().map(|limb| &**limb).eq(other.body.iter().map(|limb| &**limb))
    }
}

impl std::fmt::Debug for RlweMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RlweMasterKey({}, contents hidden)", self.label.id)
    }
}

impl std::fmt::Debug for RlwePublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RlwePublicKey({}, dimension {})", self.id, self.keys.len())
    }
}

impl std::fmt::Debug for RlweFunctionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RlweFunctionKeys({}, {} functionals, contents hidden)", self.id, self.keys.len())
    }
}

impl std::fmt::Debug for RlweCiphertext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RlweCiphertext({}, {} samples)", self.id, self.samples)
    }
}

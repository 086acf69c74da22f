use std::sync::Arc;

use chacha20::ChaCha20Rng;
use nightloom_ring::linear::MatrixScratch;
use nightloom_ring::sample::Seed;
use nightloom_ring::{Buffer, IntegerMatrix, Modulus, RnsBasis, RnsPoly, parallel};
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::{Zeroize, Zeroizing};

use crate::label::LabelKey;
use crate::lattice::gaussian::Gaussian;
use crate::lattice::plaintext::{NotAnInteger, Plaintext};
use crate::lattice::{self, security};
use crate::{Bounds, FeError, Functionals, InnerProduct, KeyId, Label, MasterSeed, ParamsId, Scheme, SchemeInfo};

pub(crate) const INFO: SchemeInfo = SchemeInfo {
    name: "mlwe",
    source: "of this project: the secret-key form of Agrawal, Libert, Stehle, CRYPTO 2016 (eprint 2015/608), section \
             4, over modules",
    assumption: "module learning with errors",
    security: "EXPERIMENTAL: no published proof in this form; a sketch for selective security is in the notes; at \
             least 128 bits against the primal attack in the core model; client and authority share secrets; believed \
             post-quantum",
    public_key: false,
};

/// Degree of the ring: samples of a ciphertext.
pub(crate) const DEGREE: usize = 64;
/// Deviation of secret and error of the module-LWE problem that the scheme rests on: 4 units of the base distribution.
const CORE_DEVIATION: f64 = 3.39;
/// Noise reaches this many deviations with probability below `2^-128`.
const TAIL: f64 = 13.5;
/// Largest module rank that is tried.
const MAX_RANK: usize = 256;

/// Inner products under module-LWE with a secret key, 64 at once. **Experimental: this form has no published proof.**
///
/// **Assumption:** module learning with errors of rank `k` over `Z_q[X]/(X^64 + 1)`. **Security:** the sketch in
/// docs/notes/functional-encryption.md is for selective indistinguishability of many ciphertexts; nobody has reviewed
/// it. Parameters reach 128 bits against the primal attack in the core model.
///
/// Client and authority share the master key: for every coordinate a Gaussian vector `s_i` of `k` polynomials. A
/// ciphertext of 64 samples is a uniform vector `a`, expanded from a seed, and `<a, s_i> + e_i + floor(q/K) x_i` for
/// every coordinate, where the coefficients of `x_i` are the samples. The key of `y` is the vector `sum y_i s_i`, and
/// `sum y_i c_i - <a, sum y_i s_i>` is `floor(q/K) <x, y>` and noise below a quarter of the scale.
#[derive(Debug)]
pub struct Mlwe {
    bounds: Bounds,
    basis: Arc<RnsBasis>,
    plaintext: Plaintext,
    rank: usize,
    /// Of secrets and errors.
    distribution: Gaussian,
}

/// The secrets of a label. Wiped when dropped.
pub struct MlweMasterKey {
    label: LabelKey,
    /// Coefficients of the `k` polynomials of `s_i`, coordinate by coordinate.
    secrets: Zeroizing<Vec<f64>>,
}

/// What clients encrypt with: secret. Wiped when dropped.
pub struct MlweEncryptionKey {
    pub(crate) label: LabelKey,
    /// By limb: the `k` polynomials of `s_i`, evaluated, coordinate by coordinate.
    secrets: Vec<Buffer>,
}

/// Keys of functionals.
#[derive(Clone, PartialEq)]
pub struct MlweFunctionKeys {
    pub(crate) id: KeyId,
    pub(crate) functionals: Functionals,
    /// Coefficients of the `k` polynomials of `sum y_i s_i`, functional by functional.
    pub(crate) keys: Vec<Vec<f64>>,
}

/// Encrypted samples.
#[derive(Clone)]
pub struct MlweCiphertext {
    pub(crate) id: KeyId,
    pub(crate) samples: usize,
    /// Of `a`, for every 64 samples.
    pub(crate) seeds: Vec<Seed>,
    /// By limb: the `k` polynomials of `a`, evaluated, for every 64 samples.
    heads: Vec<Buffer>,
    /// By limb and coordinate: the polynomials of all groups of 64 samples, evaluated.
    pub(crate) body: Vec<Buffer>,
}

impl Mlwe {
    /// The scheme for these bounds, with the smallest module that reaches 128 bits of security, on the kernel that
    /// `NIGHTLOOM_KERNEL` names, or the fastest.
    ///
    /// # Errors
    /// [`FeError::NoParameters`] if no module does, [`FeError::Bounds`] if sums of weights exceed what the kernels add
    /// exactly.
    pub fn new(bounds: Bounds) -> Result<Self, FeError> {
        let mut scheme = Self::with_rank_insecure(bounds, 0)?;
        while scheme.security_bits() < security::SECURITY_BITS {
            scheme.rank += 1;
            if scheme.rank > MAX_RANK {
                return Err(FeError::NoParameters { scheme: Scheme::Mlwe });
            }
        }
        Ok(scheme)
    }

    /// As [`new`](Self::new), with a module of this rank, however insecure: for tests.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_rank_insecure(bounds: Bounds, rank: usize) -> Result<Self, FeError> {
        let none = || FeError::NoParameters { scheme: Scheme::Mlwe };
        // The largest distance of two vectors, by root two, times the core: see the notes.
        let distance = 2.0 * f64::from(bounds.data()) * (bounds.dimension() as f64).sqrt();
        let distribution = Gaussian::at_least(2f64.sqrt() * distance * CORE_DEVIATION).ok_or_else(none)?;
        lattice::check_sums(&bounds, 9.0 * distribution.factor() as f64)?;
        let norm = (bounds.terms() as f64).sqrt() * f64::from(bounds.weight());
        let noise = TAIL * distribution.deviation() * norm;
        // Noise stays below a quarter of the scale.
        let log_q = (4.0 * noise * (2.0 * bounds.result() as f64 + 1.0)).log2();
        let basis = lattice::basis(DEGREE, log_q)?.ok_or_else(none)?;
        let plaintext = Plaintext::new(&basis, bounds.result());
        Ok(Self { bounds, basis, plaintext, rank, distribution })
    }

    /// Rank of the module.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// `log2` of the modulus.
    pub fn log_q(&self) -> f64 {
        self.basis.log2()
    }

    /// Classical bits of the primal attack in the core model, on the module-LWE problem that the scheme rests on.
    pub fn security_bits(&self) -> f64 {
        security::primal_bits(self.width(), self.log_q(), CORE_DEVIATION)
    }

    pub(crate) fn basis(&self) -> &Arc<RnsBasis> {
        &self.basis
    }

    /// Coefficients of a vector of the module.
    pub(crate) fn width(&self) -> usize {
        self.rank * DEGREE
    }

    /// A bound on the absolute coefficients of function keys.
    pub(crate) fn key_bound(&self) -> f64 {
        self.bounds.terms() as f64 * f64::from(self.bounds.weight()) * 9.0 * self.distribution.factor() as f64
    }

    /// By limb, the evaluations of polynomials whose coefficients, one polynomial after another, are these integers.
    fn evaluate(&self, coefficients: &[f64]) -> Vec<Buffer> {
        let basis = &self.basis;
        let mut limbs = basis.pool().take_limbs(basis.len(), coefficients.len());
        parallel::for_each(&mut limbs, |limb, out| {
            basis.kernel().reduce(basis.modulus(limb), out, coefficients);
            out.chunks_exact_mut(DEGREE).for_each(|poly| basis.kernel().ntt_forward(basis.table(limb), poly));
        });
        limbs
    }

    /// By limb, the vectors `a` of these seeds, one after another.
    fn expand(&self, seeds: &[Seed]) -> Vec<Buffer> {
        let (basis, width) = (&self.basis, self.width());
        let mut limbs = basis.pool().take_limbs(basis.len(), seeds.len() * width);
        parallel::for_each(&mut limbs, |limb, out| {
            for (seed, out) in seeds.iter().zip(out.chunks_exact_mut(width)) {
                uniform(seed, limb, basis.modulus(limb), out);
            }
        });
        limbs
    }

    /// Coefficients of the secrets of a label.
    fn secrets(&self, label: &LabelKey) -> Zeroizing<Vec<f64>> {
        let mut secrets = Zeroizing::new(vec![0.0; self.bounds.dimension() * self.width()]);
        parallel::for_each(secrets.chunks_exact_mut(self.width()), |coordinate, secret| {
            self.distribution.fill(&mut label.generator(coordinate as u64), secret);
        });
        secrets
    }

    pub(crate) fn encryption_key_of(&self, label: LabelKey) -> MlweEncryptionKey {
        MlweEncryptionKey { secrets: self.evaluate(&self.secrets(&label)), label }
    }

    pub(crate) fn ciphertext_of(
        &self,
        id: KeyId,
        samples: usize,
        seeds: Vec<Seed>,
        body: Vec<Buffer>,
    ) -> MlweCiphertext {
        let heads = self.expand(&seeds);
        MlweCiphertext { id, samples, seeds, heads, body }
    }

    /// Opens one functional of every group from the sums `sum y_i c_i`, which are overwritten.
    fn open(
        &self,
        ciphertext: &MlweCiphertext,
        key: &[Buffer],
        sums: &mut [&mut [f64]],
        values: &mut [i64],
    ) -> Result<(), NotAnInteger> {
        let (basis, width) = (&self.basis, self.width());
        let mut mask = basis.pool().take(DEGREE);
        for (limb, sums) in sums.iter_mut().enumerate() {
            let (kernel, q) = (basis.kernel(), basis.modulus(limb));
            for (a, sum) in ciphertext.heads[limb].chunks_exact(width).zip(sums.chunks_exact_mut(DEGREE)) {
                let terms: Vec<(&[f64], &[f64])> = a.chunks_exact(DEGREE).zip(key[limb].chunks_exact(DEGREE)).collect();
                kernel.dot(q, &mut mask, &terms);
                kernel.sub(q, sum, &mask);
                kernel.ntt_inverse(basis.table(limb), sum);
            }
        }
        for (group, values) in values.chunks_mut(DEGREE).enumerate() {
            let poly =
                RnsPoly::from_limbs(basis, |limb, out| out.copy_from_slice(&sums[limb][group * DEGREE..][..DEGREE]));
            self.plaintext.open(&poly, values).map_err(|NotAnInteger(at)| NotAnInteger(group * DEGREE + at))?;
        }
        Ok(())
    }
}

/// Expands one limb of a uniform vector: ChaCha20 with key `seed` and stream number `limb`, read as little-endian words
/// of 32 or 64 bits, whichever hold a residue; of each, the lowest bits are the next residue in `0..q`, unless they are
/// not below `q`. Variable time: seed and residues are public.
fn uniform(seed: &Seed, limb: usize, q: Modulus, out: &mut [f64]) {
    let mut rng = ChaCha20Rng::from_seed(*seed);
    rng.set_stream(limb as u64);
    let mask = (1u64 << q.bits()) - 1;
    let bytes = if q.bits() > 32 { 8 } else { 4 };
    let mut words = [0u8; 1024];
    let mut filled = 0;
    while filled < out.len() {
        rng.fill_bytes(&mut words);
        for word in words.chunks_exact(bytes) {
            let value = word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)) & mask;
            if let Some(out) = out.get_mut(filled) {
                *out = q.center(value.min(q.value() - 1));
                // A value that is refused is overwritten by the next.
                filled += usize::from(value < q.value());
            }
        }
    }
}

impl InnerProduct for Mlwe {
    type MasterKey = MlweMasterKey;
    type EncryptionKey = MlweEncryptionKey;
    type FunctionKeys = MlweFunctionKeys;
    type Ciphertext = MlweCiphertext;

    fn scheme(&self) -> Scheme {
        Scheme::Mlwe
    }

    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn params_id(&self) -> ParamsId {
        let mut details = vec![self.rank as u64, self.distribution.factor()];
        details.extend(self.basis.moduli().map(Modulus::value));
        ParamsId::new(self.scheme(), &self.bounds, &details)
    }

    fn master_key(&self, seed: &MasterSeed, label: &Label) -> MlweMasterKey {
        let label = seed.derive(self.params_id(), label);
        MlweMasterKey { secrets: self.secrets(&label), label }
    }

    fn encryption_key(&self, master: &MlweMasterKey) -> MlweEncryptionKey {
        MlweEncryptionKey { secrets: self.evaluate(&master.secrets), label: master.label.clone() }
    }

    fn function_keys(
        &self,
        master: &MlweMasterKey,
        functionals: &Functionals,
        _samples: usize,
    ) -> Result<MlweFunctionKeys, FeError> {
        functionals.check(&self.bounds)?;
        let mut keys = vec![Vec::new(); functionals.len()];
        parallel::for_each(&mut keys, |functional, key| {
            *key = lattice::combine(&master.secrets, self.width(), functionals.row(functional));
        });
        Ok(MlweFunctionKeys { id: master.label.id, functionals: functionals.clone(), keys })
    }

    fn encrypt(
        &self,
        key: &mut MlweEncryptionKey,
        samples: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<MlweCiphertext, FeError> {
        let (count, dimension) = (self.bounds.check_samples(samples)?, self.bounds.dimension());
        let (basis, width) = (&self.basis, self.width());
        let groups = count.div_ceil(DEGREE);
        let seeds: Vec<Seed> = (0..groups).map(|_| fresh_seed(rng)).collect();
        // A generator of errors for every coordinate, so that they may be made in parallel.
        let error_seeds: Zeroizing<Vec<Seed>> = Zeroizing::new((0..dimension).map(|_| fresh_seed(rng)).collect());
        let heads = self.expand(&seeds);
        let mut rows: Vec<Vec<Buffer>> = (0..dimension).map(|_| Vec::new()).collect();
        parallel::for_each(&mut rows, |coordinate, row| {
            let mut errors = Zeroizing::new(vec![0.0; groups * DEGREE]);
            self.distribution.fill(&mut ChaCha20Rng::from_seed(error_seeds[coordinate]), &mut errors);
            let mut values = Zeroizing::new(vec![0.0; groups * DEGREE]);
            for (value, sample) in values.iter_mut().zip(samples.chunks_exact(dimension)) {
                *value = f64::from(sample[coordinate]);
            }
            let mut mask = basis.pool().take(DEGREE);
            for (limb, heads) in heads.iter().enumerate() {
                let (kernel, q) = (basis.kernel(), basis.modulus(limb));
                let mut out = basis.pool().take(groups * DEGREE);
                kernel.reduce(q, &mut out, &errors);
                self.plaintext.add_to(basis, limb, &mut out, &values);
                let secret = &key.secrets[limb][coordinate * width..][..width];
                for (poly, a) in out.chunks_exact_mut(DEGREE).zip(heads.chunks_exact(width)) {
                    kernel.ntt_forward(basis.table(limb), poly);
                    let terms: Vec<(&[f64], &[f64])> =
                        a.chunks_exact(DEGREE).zip(secret.chunks_exact(DEGREE)).collect();
                    kernel.dot(q, &mut mask, &terms);
                    kernel.add(q, poly, &mask);
                }
                row.push(out);
            }
            mask.zeroize();
        });
        let mut body = basis.pool().take_limbs(basis.len(), dimension * groups * DEGREE);
        if groups > 0 {
            for (limb, body) in body.iter_mut().enumerate() {
                body.chunks_exact_mut(groups * DEGREE)
                    .zip(&rows)
                    .for_each(|(out, row)| out.copy_from_slice(&row[limb]));
            }
        }
        Ok(MlweCiphertext { id: key.label.id, samples: count, seeds, heads, body })
    }

    fn decrypt(&self, ciphertext: &MlweCiphertext, keys: &MlweFunctionKeys) -> Result<Vec<i64>, FeError> {
        keys.id.check("keys", ciphertext.id)?;
        keys.functionals.check(&self.bounds)?;
        let (count, functionals) = (ciphertext.samples, keys.keys.len());
        if functionals == 0 || count == 0 {
            return Ok(Vec::new());
        }
        let (basis, columns) = (&self.basis, count.div_ceil(DEGREE) * DEGREE);
        let matrix: IntegerMatrix = lattice::matrix(&keys.functionals)?;
        let mut sums = basis.pool().take_limbs(basis.len(), functionals * columns);
        parallel::for_each(&mut sums, |limb, sums| {
            let mut scratch = MatrixScratch::new(basis.pool());
            basis.kernel().matrix(basis.modulus(limb), &matrix, &ciphertext.body[limb], sums, columns, &mut scratch);
        });
        // By functional, the sums of every limb.
        let mut rows: Vec<Vec<&mut [f64]>> = (0..functionals).map(|_| Vec::new()).collect();
        for sums in &mut sums {
            rows.iter_mut().zip(sums.chunks_exact_mut(columns)).for_each(|(row, sums)| row.push(sums));
        }
        let mut values = vec![0; functionals * count];
        let mut tasks: Vec<_> =
            rows.into_iter().zip(values.chunks_exact_mut(count)).map(|task| (task, Ok(()))).collect();
        parallel::for_each(&mut tasks, |functional, ((sums, values), outcome)| {
            let key = self.evaluate(&keys.keys[functional]);
            *outcome = self.open(ciphertext, &key, sums, values);
        });
        for (functional, (_, outcome)) in tasks.into_iter().enumerate() {
            outcome.map_err(|NotAnInteger(sample)| FeError::OutOfRange {
                functional,
                sample,
                bound: self.bounds.result(),
            })?;
        }
        Ok(values)
    }
}

fn fresh_seed(rng: &mut impl CryptoRng) -> Seed {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

impl Drop for MlweEncryptionKey {
    fn drop(&mut self) {
        self.secrets.iter_mut().for_each(|limb| limb.zeroize());
    }
}

impl MlweEncryptionKey {
    /// The master key that this belongs to.
    pub fn id(&self) -> KeyId {
        self.label.id
    }
}

impl MlweCiphertext {
    /// The master key that this is encrypted under.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }
}

impl MlweFunctionKeys {
    /// The master key that these belong to.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the keys open.
    pub fn functionals(&self) -> &Functionals {
        &self.functionals
    }
}

impl PartialEq for MlweCiphertext {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.samples, &self.seeds) == (other.id, other.samples, &other.seeds)
            && self.body.iter().map(|limb| &**limb).eq(other.body.iter().map(|limb| &**limb))
    }
}

impl std::fmt::Debug for MlweMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MlweMasterKey({}, contents hidden)", self.label.id)
    }
}

impl std::fmt::Debug for MlweEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MlweEncryptionKey({}, contents hidden)", self.label.id)
    }
}

impl std::fmt::Debug for MlweFunctionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MlweFunctionKeys({}, {} functionals, contents hidden)", self.id, self.keys.len())
    }
}

impl std::fmt::Debug for MlweCiphertext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MlweCiphertext({}, {} samples)", self.id, self.samples)
    }
}

//! Keys. Secrets are wiped when dropped, have no `Copy` and never print.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use nightloom_ring::sample::{self, Seed};
use nightloom_ring::{Buffer, Eval, RnsBasis, RnsPoly};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::{CkksParams, EvalError, Level};

/// A uniform ternary secret `s`.
pub struct SecretKey {
    params: CkksParams,
    /// The coefficients, each -1, 0 or 1.
    pub(crate) coefficients: Buffer,
    /// `s` over all primes, special ones last.
    pub(crate) eval: RnsPoly<Eval>,
}

impl SecretKey {
    /// `coefficients` must be -1, 0 or 1 each.
    pub(crate) fn from_coefficients(params: &CkksParams, coefficients: Buffer) -> Self {
        let eval = RnsPoly::from_signed(params.key_basis(), &coefficients).into_eval();
        Self { params: params.clone(), coefficients, eval }
    }

    /// The parameters which the key was made for.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// `s` over the first `limbs` primes of the chain, read only.
    pub(crate) fn limb(&self, index: usize) -> &[f64] {
        self.eval.limb(index)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.coefficients.zeroize();
        self.eval.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(parameters {}, contents hidden)", self.params.id())
    }
}

/// An encryption of zero over the whole chain, `(b, a) = (-a s + e, a)`: whoever has it can encrypt. `a` is a seed on
/// the wire.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub(crate) params: CkksParams,
    pub(crate) seed: Seed,
    pub(crate) b: RnsPoly<Eval>,
    pub(crate) a: RnsPoly<Eval>,
}

impl PublicKey {
    /// The parameters which the key was made for.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }
}

/// Switches a ciphertext from a secret `s'` to `s` (hybrid key switching, eprint 2019/688, in the form of eprint
/// 2021/204, section 3): for each digit `d` of the chain, `(b_d, a_d)` with `b_d = -a_d s + e_d + P g_d s'`, where `g_d` is
/// 1 modulo the primes of the digit and 0 modulo the others. The `a_d` are one seed on the wire.
///
/// A key belongs to a level: it has the digits of that level and serves it and all below.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeySwitchingKey {
    pub level: Level,
    pub seed: Seed,
    /// By digit, over the extended basis of the level.
    pub b: Vec<RnsPoly<Eval>>,
    pub a: Vec<RnsPoly<Eval>>,
}

impl KeySwitchingKey {
    pub fn from_parts(params: &CkksParams, level: Level, seed: Seed, b: Vec<RnsPoly<Eval>>) -> Self {
        let basis = &params.level(level).extended;
        let a = (0..b.len()).map(|digit| sample::uniform(basis, &seed, digit as u32)).collect();
        Self { level, seed, b, a }
    }

    /// The limb of the key's polynomials that has the prime of limb `index` of the extended basis of `level`, which is at
    /// most that of the key.
    fn limb_at(&self, level: Level, index: usize) -> usize {
        let special = index.checked_sub(level.limbs());
        special.map_or(index, |special| self.level.limbs() + special)
    }

    /// The inner product of digits of a polynomial at `level` with one half of the key, 0 for `b` and 1 for `a`, at some
    /// positions of limb `index` of the extended basis.
    pub fn dot(
        &self,
        (level, index): (Level, usize),
        half: usize,
        digits: &[&[f64]],
        positions: Range<usize>,
        out: &mut [f64],
    ) {
        let (limb, half) = (self.limb_at(level, index), [&self.b, &self.a][half]);
        let key = half.iter().map(|key| &key.limb(limb)[positions.clone()]);
        let terms: Vec<(&[f64], &[f64])> = digits.iter().map(|digit| &digit[positions.clone()]).zip(key).collect();
        let basis = half[0].basis();
        basis.kernel().dot(basis.modulus(limb), out, &terms);
    }
}

/// Makes keys.
#[derive(Clone, Debug)]
pub struct KeyGenerator {
    params: CkksParams,
}

impl KeyGenerator {
    /// A generator for these parameters.
    pub fn new(params: &CkksParams) -> Self {
        Self { params: params.clone() }
    }

    /// A fresh uniform ternary secret.
    pub fn secret_key(&self, rng: &mut impl CryptoRng) -> SecretKey {
        let mut coefficients = self.params.pool().take(self.params.degree());
        sample::ternary(rng, &mut coefficients);
        SecretKey::from_coefficients(&self.params, coefficients)
    }

    /// A public encryption key of `secret`.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if the secret belongs to other parameters.
    pub fn public_key(&self, secret: &SecretKey, rng: &mut impl CryptoRng) -> Result<PublicKey, EvalError> {
        self.check("make a public key", secret)?;
        let basis = self.params.basis(self.params.top());
        let seed = fresh_seed(rng);
        let a = sample::uniform(basis, &seed, 0);
        let b = masked_error(basis, &a, &secret.eval, rng);
        Ok(PublicKey { params: self.params.clone(), seed, b, a })
    }

    /// The key that switches from `from` to `to`, both over the extended basis of `level`.
    pub(crate) fn key_switching_key(
        &self,
        level: Level,
        from: &RnsPoly<Eval>,
        to: &RnsPoly<Eval>,
        rng: &mut impl CryptoRng,
    ) -> KeySwitchingKey {
        let (params, tables) = (&self.params, self.params.level(level));
        let basis = &tables.extended;
        let seed = fresh_seed(rng);
        let b = (0..tables.digits.len())
            .map(|digit| {
                let a = sample::uniform(basis, &seed, digit as u32);
                let mut b = masked_error(basis, &a, to, rng);
                let first = digit * params.digit_limbs();
                for limb in first..(first + params.digit_limbs()).min(level.limbs()) {
                    let q = basis.modulus(limb);
                    let factor = q.center(tables.special_product[limb]);
                    basis.kernel().mul_scalar_add(q, b.limb_mut(limb), from.limb(limb), factor);
                }
                b
            })
            .collect();
        KeySwitchingKey::from_parts(params, level, seed, b)
    }

    /// Checks that `secret` belongs to the parameters of this generator, which it returns.
    pub(crate) fn check(&self, op: &'static str, secret: &SecretKey) -> Result<&CkksParams, EvalError> {
        same_params(op, &self.params, secret.params())?;
        Ok(&self.params)
    }
}

/// `-a s + e` with fresh Gaussian `e`, over a basis whose primes are the first ones of that of `s`.
fn masked_error(
    basis: &Arc<RnsBasis>,
    a: &RnsPoly<Eval>,
    secret: &RnsPoly<Eval>,
    rng: &mut impl CryptoRng,
) -> RnsPoly<Eval> {
    let mut error = Zeroizing::new(basis.pool().take(basis.degree()));
    sample::gaussian(basis.kernel(), rng, &mut error);
    let mut b = RnsPoly::from_signed(basis, &error).into_eval();
    let mut product = basis.pool().take(basis.degree());
    for limb in 0..basis.len() {
        let q = basis.modulus(limb);
        basis.kernel().mul(q, &mut product, a.limb(limb), secret.limb(limb));
        basis.kernel().sub(q, b.limb_mut(limb), &product);
    }
    product.zeroize();
    b
}

pub(crate) fn fresh_seed(rng: &mut impl CryptoRng) -> Seed {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

pub(crate) fn same_params(op: &'static str, left: &CkksParams, right: &CkksParams) -> Result<(), EvalError> {
    if left == right { Ok(()) } else { Err(EvalError::ParamsMismatch { op, left: left.id(), right: right.id() }) }
}

use nightloom_ring::ntt::MIN_LOG_DEGREE;
use nightloom_ring::{Eval, RnsPoly, parallel};
use zeroize::Zeroize;

use crate::ckks::evaluator::{check_levels, check_scales};
use crate::keys::same_params;
use crate::{CkksParams, EvalError, Level, Scale};

/// An encryption of `P` times a message, modulo `P` times the modulus of its level, before the division by `P` that ends
/// a key switch: `u_0 + u_1 s = P (scale * message + noise)`. `P` is the product of the special primes.
///
/// Sums and products with plaintexts of many rotations of one ciphertext are taken in this form, and divided once (double
/// hoisting; Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux, eprint 2020/1203, section 4.2).
#[derive(Clone, Debug, PartialEq)]
pub struct ExtendedCiphertext {
    params: CkksParams,
    level: Level,
    scale: Scale,
    polys: [RnsPoly<Eval>; 2],
}

/// A vector encoded over the primes of a level and the special primes: a factor of [`ExtendedCiphertext`]s. As an
/// operand it is public to whoever computes, but wiped like every plaintext.
///
/// A polynomial in `X^r`, as vectors with a period of `1/r` of the slots are, has one value in each `r` consecutive
/// positions of the Eval domain, because the first bits of a position determine the root's power; only these values are
/// held. See docs/notes/ntt.md.
#[derive(Clone, Debug)]
pub struct ExtendedPlaintext {
    params: CkksParams,
    level: Level,
    scale: Scale,
    /// Over all primes; of degree `N`, or of a degree smaller by [`MIN_REPEAT`](Self::MIN_REPEAT) or more.
    poly: RnsPoly<Eval>,
}

impl ExtendedCiphertext {
    pub(crate) fn new(params: &CkksParams, level: Level, scale: Scale, polys: [RnsPoly<Eval>; 2]) -> Self {
        Self { params: params.clone(), level, scale, polys }
    }

    /// An encryption of zero without noise, to add to.
    ///
    /// # Errors
    /// [`EvalError::LevelTooHigh`] above the top, [`EvalError::NoSpecialPrimes`] if the parameters have none.
    pub fn zero(params: &CkksParams, level: Level, scale: Scale) -> Result<Self, EvalError> {
        check_extended("make an extended zero", params, level)?;
        let polys = [(); 2].map(|()| RnsPoly::zero(&params.level(level).extended));
        Ok(Self::new(params, level, scale, polys))
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The scale of the message, without the factor `P`.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The polynomials `u_0, u_1`.
    pub fn polys(&self) -> &[RnsPoly<Eval>; 2] {
        &self.polys
    }

    /// `self += other`.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`], [`EvalError::ScaleMismatch`].
    pub fn add_assign(&mut self, other: &Self) -> Result<(), EvalError> {
        const OP: &str = "add extended ciphertexts";
        same_params(OP, &self.params, &other.params)?;
        check_levels(OP, self.level, other.level)?;
        check_scales(OP, &self.scale, &other.scale)?;
        self.polys.iter_mut().zip(&other.polys).for_each(|(sum, poly)| sum.add_assign(poly));
        Ok(())
    }

    /// The product with a plaintext; scales multiply.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`].
    pub fn mul(&self, plaintext: &ExtendedPlaintext) -> Result<Self, EvalError> {
        Self::dot(&[(self, plaintext)])
    }

    /// `self += ciphertext * plaintext`.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`]; [`EvalError::ScaleMismatch`] unless the scale of
    /// `self` is the product of the other two.
    pub fn mul_add_assign(&mut self, ciphertext: &Self, plaintext: &ExtendedPlaintext) -> Result<(), EvalError> {
        const OP: &str = "add an extended product";
        let scale = product_scale(OP, &self.params, self.level, ciphertext, plaintext)?;
        check_scales(OP, &self.scale, &scale)?;
        let product = ciphertext.mul(plaintext)?;
        self.polys.iter_mut().zip(&product.polys).for_each(|(sum, poly)| sum.add_assign(poly));
        Ok(())
    }

    /// The sum of products, with one reduction for several of them: faster than one after another.
    ///
    /// # Errors
    /// [`EvalError::NoTerms`] for an empty sum; [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`] or
    /// [`EvalError::ScaleMismatch`] unless all terms have the same parameters, level and scale.
    pub fn dot(terms: &[Term<'_>]) -> Result<Self, EvalError> {
        let mut sums = Self::dots(&[terms])?;
        sums.pop().ok_or(EvalError::NoTerms { op: DOT })
    }

    /// Several sums of products with the same ciphertexts: these are read from memory once for all sums.
    ///
    /// # Errors
    /// As [`dot`](Self::dot), for the terms of all sums together.
    pub fn dots<'a>(sums: &[impl AsRef<[Term<'a>]> + Sync]) -> Result<Vec<Self>, EvalError> {
        if sums.iter().any(|terms| terms.as_ref().is_empty()) {
            return Err(EvalError::NoTerms { op: DOT });
        }
        let mut terms = sums.iter().flat_map(|terms| terms.as_ref());
        let Some((first, plaintext)) = terms.next() else { return Ok(Vec::new()) };
        let (params, level) = (&first.params, first.level);
        let scale = product_scale(DOT, params, level, first, plaintext)?;
        for (ciphertext, plaintext) in terms {
            check_scales(DOT, &scale, &product_scale(DOT, params, level, ciphertext, plaintext)?)?;
        }
        let basis = &params.level(level).extended;
        let repeat = |plaintext: &ExtendedPlaintext| basis.degree() / plaintext.poly().basis().degree();
        let factors = sums.iter().flat_map(|terms| terms.as_ref());
        let longest = factors.map(|(_, plaintext)| repeat(plaintext)).max().unwrap_or(1);
        let most_terms = sums.iter().map(|terms| terms.as_ref().len()).max().unwrap_or(1);
        // A repeated factor has one value in a block at least.
        let block = block_of(most_terms, basis.degree()).max(longest);
        let mut results: Vec<[RnsPoly<Eval>; 2]> =
            sums.iter().map(|_| [(); 2].map(|()| RnsPoly::unspecified(basis))).collect();
        parallel::for_each(blocks(&mut results, block), |_, (limb, first, outs): (usize, usize, Vec<&mut [f64]>)| {
            let positions = first..first + block;
            let mut outs = outs.into_iter();
            for terms in sums {
                for (half, out) in outs.by_ref().take(2).enumerate() {
                    let factors = terms.as_ref().iter().map(|(ciphertext, plaintext)| {
                        let (u, w) = (ciphertext.polys[half].limb(limb), plaintext.poly().limb(limb));
                        // A value of a shorter factor stands for several positions.
                        let repeat = repeat(plaintext);
                        (&u[positions.clone()], &w[positions.start / repeat..positions.end / repeat])
                    });
                    let factors: Vec<(&[f64], &[f64])> = factors.collect();
                    basis.kernel().dot_repeated(basis.modulus(limb), out, &factors);
                }
            }
        });
        let extended = |polys| Self::new(params, level, scale.clone(), polys);
        Ok(results.into_iter().map(extended).collect())
    }
}

const DOT: &str = "multiply extended ciphertexts by plaintexts";

/// A factor of a sum of products, and its weights.
pub type Term<'a> = (&'a ExtendedCiphertext, &'a ExtendedPlaintext);

/// Positions whose products are taken together, a power of two: both halves of so many ciphertexts are then in the cache
/// for all sums.
fn block_of(ciphertexts: usize, degree: usize) -> usize {
    const CACHED_RESIDUES: usize = 1 << 15;
    let fitting = CACHED_RESIDUES / (2 * ciphertexts).next_power_of_two();
    fitting.clamp(LEAST_BLOCK, MOST_BLOCK).min(degree)
}

const LEAST_BLOCK: usize = 256;
const MOST_BLOCK: usize = 4096;

/// By limb and block: its index, the first position, and the places of both halves of every result.
fn blocks(results: &mut [[RnsPoly<Eval>; 2]], block: usize) -> Vec<(usize, usize, Vec<&mut [f64]>)> {
    let mut tasks: Vec<(usize, usize, Vec<&mut [f64]>)> = Vec::new();
    for (at, poly) in results.iter_mut().flatten().enumerate() {
        let places = poly.limbs_mut().enumerate().flat_map(|(limb, residues)| {
            residues.chunks_mut(block).enumerate().map(move |(index, out)| (limb, index * block, out))
        });
        for (task, (limb, first, out)) in places.enumerate() {
            if at == 0 {
                tasks.push((limb, first, Vec::new()));
            }
            tasks[task].2.push(out);
        }
    }
    tasks
}

/// The scale of a product, which must be at a level of some parameters.
fn product_scale(
    op: &'static str,
    params: &CkksParams,
    level: Level,
    ciphertext: &ExtendedCiphertext,
    plaintext: &ExtendedPlaintext,
) -> Result<Scale, EvalError> {
    for (other, other_level) in [(&ciphertext.params, ciphertext.level), (&plaintext.params, plaintext.level)] {
        same_params(op, params, other)?;
        check_levels(op, level, other_level)?;
    }
    Ok(ciphertext.scale.mul(&plaintext.scale))
}

/// Checks that there is an extended basis at a level.
pub(crate) fn check_extended(op: &'static str, params: &CkksParams, level: Level) -> Result<(), EvalError> {
    if level > params.top() {
        return Err(EvalError::LevelTooHigh { op, found: level, top: params.top() });
    }
    if params.special_primes().is_empty() {
        return Err(EvalError::NoSpecialPrimes { op });
    }
    Ok(())
}

impl ExtendedPlaintext {
    /// Fewer equal values in a row are held one by one.
    pub(crate) const MIN_REPEAT: usize = 4;

    /// Residues modulo each prime that are held for vectors which repeat after `period` slots, a power of two.
    pub fn residues(params: &CkksParams, period: usize) -> usize {
        Self::repeated_residues(params.degree(), params.slots() / period)
    }

    /// The same at a degree, for vectors that repeat so many times.
    pub fn repeated_residues(degree: usize, times: usize) -> usize {
        let subring = (degree / times).max(1 << MIN_LOG_DEGREE);
        if degree / subring < Self::MIN_REPEAT { degree } else { subring }
    }

    pub(crate) fn new(params: &CkksParams, level: Level, scale: Scale, poly: RnsPoly<Eval>) -> Self {
        Self { params: params.clone(), level, scale, poly }
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The scale.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The polynomial, one value for each run of equal ones.
    pub(crate) fn poly(&self) -> &RnsPoly<Eval> {
        &self.poly
    }

    /// The memory that the polynomial takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.poly.basis().len() * self.poly.basis().degree() * size_of::<f64>()
    }
}

impl Drop for ExtendedPlaintext {
    fn drop(&mut self) {
        self.poly.zeroize();
    }
}

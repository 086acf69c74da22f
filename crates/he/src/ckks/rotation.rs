//! Rotations of slots, and what several rotations of one ciphertext share.

use std::ops::Range;

use nightloom_ring::{Digits, Eval, Quotient, RnsPoly};

use crate::ckks::evaluator::{one_below, pair};
use crate::ckks::extended::check_extended;
use crate::evaluation_keys::{GaloisKey, check_exists};
use crate::keys::same_params;
use crate::switch::{Addend, DigitLimbs, StoredDigits, Switch, Switches, add_special_multiple};
use crate::{Ciphertext, CkksParams, EvalError, Evaluator, ExtendedCiphertext, KeyPurpose, Level, RotationKeys, Scale};

/// A ciphertext with the digits of `c_1` over the extended basis: what all its rotations have in common (hoisting; Halevi
/// and Shoup, eprint 2018/244). It takes `(l + 1 + k) ceil((l + 1)/k)` limbs at level `l` with `k` special primes.
#[derive(Clone, Debug)]
pub struct Decomposed {
    params: CkksParams,
    level: Level,
    scale: Scale,
    c0: RnsPoly<Eval>,
    digits: StoredDigits,
}

impl Decomposed {
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

    /// `c_1`, whose limbs are among those of the digits.
    fn c1(&self) -> RnsPoly<Eval> {
        RnsPoly::from_limbs(self.c0.basis(), |limb, out| {
            out.copy_from_slice(self.digits.digit_limb(limb / self.params.digit_limbs(), limb));
        })
    }
}

/// # Rotations
///
/// A rotation by `slots` moves the value of slot `j + slots`, modulo the number of slots, to slot `j`; to rotate the other
/// way, rotate by what is missing to all slots. Level and scale stay.
impl Evaluator {
    /// Rotates a ciphertext by 0 to [`slots`](CkksParams::slots) - 1 slots; by 0 slots it is copied. Noise added:
    /// [`noise::rotation`](crate::noise::rotation).
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::Components`] unless there are two, [`EvalError::NoSuchRotation`],
    /// [`EvalError::MissingKey`], [`EvalError::KeyLevelTooLow`].
    pub fn rotate(&self, ciphertext: &Ciphertext, slots: usize, keys: &RotationKeys) -> Result<Ciphertext, EvalError> {
        const OP: &str = "rotate";
        self.check(OP, ciphertext)?;
        pair(OP, ciphertext)?;
        match self.rotation_key(OP, slots, ciphertext.level(), keys)? {
            Some(key) => self.apply(OP, ciphertext, key),
            None => Ok(ciphertext.clone()),
        }
    }

    /// Conjugates every slot. For the standard ring only: where all slots are real, to conjugate is a mistake and an error.
    /// Noise added: [`noise::rotation`](crate::noise::rotation).
    ///
    /// # Errors
    /// [`EvalError::NoConjugation`] in the conjugate-invariant ring; otherwise as [`rotate`](Self::rotate).
    pub fn conjugate(&self, ciphertext: &Ciphertext, keys: &RotationKeys) -> Result<Ciphertext, EvalError> {
        const OP: &str = "conjugate";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, keys.params())?;
        check_exists(OP, &self.params, KeyPurpose::Conjugation)?;
        self.apply(OP, ciphertext, keys.conjugate(OP, ciphertext.level())?)
    }

    fn apply(&self, op: &'static str, ciphertext: &Ciphertext, key: &GaloisKey) -> Result<Ciphertext, EvalError> {
        let [c0, c1] = pair(op, ciphertext)?;
        let level = ciphertext.level();
        let digits = Digits::new(&self.params.level(level).digits, c1);
        let polys = self.switch(level, &digits, key).divided(self.mod_down(op, level)?, self.add_first(level, c0));
        self.assemble(level, ciphertext.scale().clone(), polys.into())
    }

    /// Decomposes `c_1`, for several rotations of one ciphertext.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::Components`] unless there are two, [`EvalError::NoSpecialPrimes`].
    pub fn decompose(&self, ciphertext: &Ciphertext) -> Result<Decomposed, EvalError> {
        const OP: &str = "decompose";
        self.check(OP, ciphertext)?;
        let [c0, c1] = pair(OP, ciphertext)?;
        let level = ciphertext.level();
        check_extended(OP, &self.params, level)?;
        let digits = StoredDigits::new(&self.params, level, c1);
        let scale = ciphertext.scale().clone();
        Ok(Decomposed { params: self.params.clone(), level, scale, c0: c0.clone(), digits })
    }

    /// Rotates a decomposed ciphertext: the same result as [`rotate`](Self::rotate), bit for bit, at less than half of its
    /// cost.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::NoSuchRotation`], [`EvalError::MissingKey`],
    /// [`EvalError::KeyLevelTooLow`].
    pub fn rotate_hoisted(
        &self,
        decomposed: &Decomposed,
        slots: usize,
        keys: &RotationKeys,
    ) -> Result<Ciphertext, EvalError> {
        const OP: &str = "rotate a decomposed ciphertext";
        same_params(OP, &self.params, &decomposed.params)?;
        let Decomposed { level, scale, c0, digits, .. } = decomposed;
        let polys = match self.rotation_key(OP, slots, *level, keys)? {
            Some(key) => {
                self.switch(*level, digits, key).divided(self.mod_down(OP, *level)?, self.add_first(*level, c0)).into()
            }
            None => vec![c0.clone(), decomposed.c1()],
        };
        self.assemble(*level, scale.clone(), polys)
    }

    /// Rotates a ciphertext by several numbers of slots with one decomposition and leaves the results multiplied by `P`. By
    /// 0 slots, which needs no key, that is an exact multiple; else noise added:
    /// [`noise::key_switch`](crate::noise::key_switch), after a division.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate), and [`EvalError::NoSpecialPrimes`].
    pub fn rotate_extended(
        &self,
        ciphertext: &Ciphertext,
        rotations: &[usize],
        keys: &RotationKeys,
    ) -> Result<Vec<ExtendedCiphertext>, EvalError> {
        const OP: &str = "rotate into the extended basis";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, keys.params())?;
        let [c0, c1] = pair(OP, ciphertext)?;
        let (params, level) = (&self.params, ciphertext.level());
        check_extended(OP, params, level)?;
        let key = |slots: &usize| self.rotation_key(OP, *slots, level, keys);
        let keys: Vec<Option<&GaloisKey>> = rotations.iter().map(key).collect::<Result<_, _>>()?;
        let found: Vec<&GaloisKey> = keys.iter().copied().flatten().collect();
        let mut images = match &found[..] {
            [] => Vec::new(),
            keys => {
                let digits = &Digits::new(&params.level(level).digits, c1);
                let add = |limb: usize, out: &mut [f64]| {
                    add_special_multiple(params, level, c0, limb, 0..out.len(), out);
                };
                Switches { params, level, digits, keys }.images(add)
            }
        }
        .into_iter();
        let unmoved = |c: &RnsPoly<Eval>| {
            RnsPoly::from_limbs(&params.level(level).extended, |limb, out| {
                out.fill(0.0);
                add_special_multiple(params, level, c, limb, 0..out.len(), out);
            })
        };
        let polys = keys.iter().filter_map(|key| match key {
            Some(_) => images.next(),
            None => Some([c0, c1].map(unmoved)),
        });
        let extended = |polys| ExtendedCiphertext::new(params, level, ciphertext.scale().clone(), polys);
        let results: Vec<ExtendedCiphertext> = polys.map(extended).collect();
        assert_eq!(results.len(), rotations.len(), "every key has an image");
        Ok(results)
    }

    /// Rotates an extended ciphertext: divides its second polynomial by `P`, switches the quotient's key and adds the first
    /// polynomial, so that only the second one was rounded. By 0 slots it is left as it is. Noise added:
    /// [`noise::extended_rotation`](crate::noise::extended_rotation), after a division.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::NoSuchRotation`], [`EvalError::MissingKey`],
    /// [`EvalError::KeyLevelTooLow`].
    pub fn switch_rotate(
        &self,
        ciphertext: ExtendedCiphertext,
        slots: usize,
        keys: &RotationKeys,
    ) -> Result<ExtendedCiphertext, EvalError> {
        const OP: &str = "rotate an extended ciphertext";
        same_params(OP, &self.params, ciphertext.params())?;
        let level = ciphertext.level();
        let Some(key) = self.rotation_key(OP, slots, level, keys)? else {
            return Ok(ciphertext);
        };
        let [u0, u1] = ciphertext.polys();
        let digits = Digits::of_quotient(&self.params.level(level).digits, self.mod_down(OP, level)?, u1);
        let add = |limb: usize, out: &mut [f64]| {
            self.params.kernel().add(u0.basis().modulus(limb), out, u0.limb(limb));
        };
        let mut images = Switches { params: &self.params, level, digits: &digits, keys: &[key] }.images(add);
        Ok(ExtendedCiphertext::new(&self.params, level, ciphertext.scale().clone(), images.swap_remove(0)))
    }

    /// Divides by `P`: back to a ciphertext. Noise added: [`noise::rounding`](crate::noise::rounding) of two components.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`].
    pub fn divide(&self, ciphertext: &ExtendedCiphertext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "divide by the special primes";
        same_params(OP, &self.params, ciphertext.params())?;
        let [u0, u1] = ciphertext.polys();
        let polys = self.mod_down(OP, ciphertext.level())?.divide_all([u0, u1]);
        self.assemble(ciphertext.level(), ciphertext.scale().clone(), polys.into())
    }

    /// [`divide`](Self::divide) and [`rescale`](Self::rescale) with one division by `P q_l`: cheaper and with one rounding.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`]; [`EvalError::LevelTooLow`] at the bottom.
    pub fn divide_rescale(&self, ciphertext: &ExtendedCiphertext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "divide by the special primes and rescale";
        same_params(OP, &self.params, ciphertext.params())?;
        let level = ciphertext.level();
        let below = one_below(OP, level)?;
        let [u0, u1] = ciphertext.polys();
        let polys = self.mod_down_rescale(OP, level)?.divide_all([u0, u1]);
        let scale = ciphertext.scale().divide_by(self.params.primes()[usize::from(level.0)]);
        self.assemble(below, scale, polys.into())
    }

    /// The key for a rotation at a level, `None` for the rotation by 0 slots.
    fn rotation_key<'a>(
        &self,
        op: &'static str,
        slots: usize,
        level: Level,
        keys: &'a RotationKeys,
    ) -> Result<Option<&'a GaloisKey>, EvalError> {
        same_params(op, &self.params, keys.params())?;
        if slots == 0 {
            return Ok(None);
        }
        check_exists(op, &self.params, KeyPurpose::Rotation(slots))?;
        keys.rotation(op, slots, level).map(Some)
    }

    fn switch<'a, D: DigitLimbs>(&'a self, level: Level, digits: &'a D, key: &'a GaloisKey) -> Switch<'a, D> {
        let GaloisKey { automorphism, key } = key;
        Switch { params: &self.params, level, digits, key, automorphism: Some(automorphism) }
    }

    /// Adds `P c_0` to the first of two polynomials.
    fn add_first<'a>(&'a self, level: Level, c0: &'a RnsPoly<Eval>) -> impl Addend + 'a {
        move |limb: usize, positions: Range<usize>, [out, _]: [&mut [f64]; 2]| {
            add_special_multiple(&self.params, level, c0, limb, positions, out);
        }
    }

    /// The division by `P` at a level.
    pub(super) fn mod_down(&self, op: &'static str, level: Level) -> Result<&Quotient, EvalError> {
        self.params.level(level).mod_down.as_ref().ok_or(EvalError::NoSpecialPrimes { op })
    }

    /// The division by `P q_l` at a level above the bottom.
    pub(super) fn mod_down_rescale(&self, op: &'static str, level: Level) -> Result<&Quotient, EvalError> {
        self.params.level(level).mod_down_rescale.as_ref().ok_or(EvalError::NoSpecialPrimes { op })
    }
}

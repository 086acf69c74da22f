use std::ops::Range;

use nightloom_ring::{Digits, Eval, Quotient, RnsPoly, parallel};

use crate::evaluation_keys::check_key_level;
use crate::keys::same_params;
use crate::switch::{Switch, add_special_multiple};
use crate::{Ciphertext, CkksParams, EvalError, KeyPurpose, Level, Plaintext, RelinearizationKey, Scale};

/// Computes on ciphertexts. Nothing is aligned silently: operands of a sum must agree in level and scale.
#[derive(Clone, Debug)]
pub struct Evaluator {
    pub(super) params: CkksParams,
}

impl Evaluator {
    /// An evaluator for these parameters.
    pub fn new(params: &CkksParams) -> Self {
        Self { params: params.clone() }
    }

    /// The sum of two ciphertexts, of two or three components each.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`], [`EvalError::ScaleMismatch`].
    pub fn add(&self, left: &Ciphertext, right: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.combine("add", left, right, RnsPoly::add_assign, |c| c.clone())
    }

    /// The difference of two ciphertexts, of two or three components each.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn sub(&self, left: &Ciphertext, right: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.combine("subtract", left, right, RnsPoly::sub_assign, |c| {
            let mut negated = RnsPoly::zero(c.basis());
            negated.sub_assign(c);
            negated
        })
    }

    fn combine(
        &self,
        op: &'static str,
        left: &Ciphertext,
        right: &Ciphertext,
        assign: fn(&mut RnsPoly<Eval>, &RnsPoly<Eval>),
        alone: fn(&RnsPoly<Eval>) -> RnsPoly<Eval>,
    ) -> Result<Ciphertext, EvalError> {
        self.check(op, left)?;
        self.check(op, right)?;
        check_levels(op, left.level(), right.level())?;
        check_scales(op, left.scale(), right.scale())?;
        let mut sum = left.clone();
        let components = sum.components_mut();
        for (index, component) in right.components().iter().enumerate() {
            match components.get_mut(index) {
                Some(existing) => assign(existing, component),
                None => components.push(alone(component)),
            }
        }
        Ok(sum)
    }

    /// Adds a plaintext vector.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_plain(&self, ciphertext: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "add a plaintext";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, plaintext.params())?;
        check_levels(OP, ciphertext.level(), plaintext.level())?;
        check_scales(OP, ciphertext.scale(), plaintext.scale())?;
        let mut sum = ciphertext.clone();
        sum.components_mut()[0].add_assign(plaintext.poly());
        Ok(sum)
    }

    /// Adds the integer `value` to every slot's scaled message: `value / scale` to every slot.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`].
    pub fn add_integer(&self, ciphertext: &Ciphertext, value: i128) -> Result<Ciphertext, EvalError> {
        self.check("add a constant", ciphertext)?;
        let constants: Vec<u64> =
            self.params.basis(ciphertext.level()).moduli().map(|q| q.reduce_i128(value)).collect();
        let mut sum = ciphertext.clone();
        sum.components_mut()[0].add_constant_assign(&constants);
        Ok(sum)
    }

    /// The product with a plaintext vector; scales multiply, and a rescaling should follow.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`].
    pub fn mul_plain(&self, ciphertext: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "multiply by a plaintext";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, plaintext.params())?;
        check_levels(OP, ciphertext.level(), plaintext.level())?;
        let components = ciphertext.components().iter().map(|c| c.mul(plaintext.poly())).collect();
        self.assemble(ciphertext.level(), ciphertext.scale().mul(plaintext.scale()), components)
    }

    /// The product with an integer that stands for the scalar `value / scale`. Costs no level by itself.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`].
    pub fn mul_integer(&self, ciphertext: &Ciphertext, value: i64, scale: &Scale) -> Result<Ciphertext, EvalError> {
        self.check("multiply by a scalar", ciphertext)?;
        let basis = self.params.basis(ciphertext.level());
        let scalars: Vec<u64> = basis.moduli().map(|q| q.reduce_i128(value.into())).collect();
        let mut product = ciphertext.clone();
        product.components_mut().iter_mut().for_each(|c| c.mul_scalar_assign(&scalars));
        self.assemble(product.level(), ciphertext.scale().mul(scale), std::mem::take(product.components_mut()))
    }

    /// The product of two ciphertexts of two components: three components, scales multiply.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::LevelMismatch`], [`EvalError::Components`].
    pub fn multiply(&self, left: &Ciphertext, right: &Ciphertext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "multiply";
        self.check(OP, left)?;
        self.check(OP, right)?;
        check_levels(OP, left.level(), right.level())?;
        let ([a0, a1], [b0, b1]) = (pair(OP, left)?, pair(OP, right)?);
        let mut cross = a0.mul(b1);
        cross.mul_add_assign(a1, b0);
        self.assemble(left.level(), left.scale().mul(right.scale()), vec![a0.mul(b0), cross, a1.mul(b1)])
    }

    /// The square of a ciphertext of two components.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::Components`].
    pub fn square(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "square";
        self.check(OP, ciphertext)?;
        let [c0, c1] = pair(OP, ciphertext)?;
        let (mut c0, mut c1) = (c0.clone(), c1.clone());
        let mut c2 = RnsPoly::unspecified(self.params.basis(ciphertext.level()));
        let limbs = c0.limbs_mut().zip(c1.limbs_mut()).zip(c2.limbs_mut());
        parallel::for_each(limbs, |limb, ((c0, c1), c2)| {
            let basis = self.params.basis(ciphertext.level());
            basis.kernel().square(basis.modulus(limb), c0, c1, c2);
        });
        self.assemble(ciphertext.level(), ciphertext.scale().square(), vec![c0, c1, c2])
    }

    /// Brings three components back to two.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`]; [`EvalError::Components`] unless there are three;
    /// [`EvalError::KeyLevelTooLow`].
    pub fn relinearize(&self, ciphertext: &Ciphertext, key: &RelinearizationKey) -> Result<Ciphertext, EvalError> {
        const OP: &str = "relinearise";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, key.params())?;
        let level = ciphertext.level();
        let polys = self.relinearized(OP, ciphertext, key, self.mod_down(OP, level)?)?;
        self.assemble(level, ciphertext.scale().clone(), polys)
    }

    /// [`relinearize`](Self::relinearize) and [`rescale`](Self::rescale) with one division by `P q_l`: cheaper and
    /// with one rounding.
    ///
    /// # Errors
    /// As both.
    pub fn relinearize_rescale(
        &self,
        ciphertext: &Ciphertext,
        key: &RelinearizationKey,
    ) -> Result<Ciphertext, EvalError> {
        const OP: &str = "relinearise and rescale";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, key.params())?;
        let level = ciphertext.level();
        let below = one_below(OP, level)?;
        let polys = self.relinearized(OP, ciphertext, key, self.mod_down_rescale(OP, level)?)?;
        self.assemble(below, ciphertext.scale().divide_by(self.params.primes()[usize::from(level.0)]), polys)
    }

    /// `P (c_0, c_1)` and the switch of `c_2`, divided by `quotient`.
    fn relinearized(
        &self,
        op: &'static str,
        ciphertext: &Ciphertext,
        key: &RelinearizationKey,
        quotient: &Quotient,
    ) -> Result<Vec<RnsPoly<Eval>>, EvalError> {
        let (params, level) = (&self.params, ciphertext.level());
        let [c0, c1, c2] = triple(op, ciphertext)?;
        check_key_level(op, KeyPurpose::Relinearization, key.level(), level)?;
        let digits = Digits::new(&params.level(level).digits, c2);
        let switch = Switch { params, level, digits: &digits, key: &key.key, automorphism: None };
        let polys = switch.divided(quotient, |limb, positions: Range<usize>, outs: [&mut [f64]; 2]| {
            for (out, c) in outs.into_iter().zip([c0, c1]) {
                add_special_multiple(params, level, c, limb, positions.clone(), out);
            }
        });
        Ok(polys.into())
    }

    /// Divides by the last prime of the level: one level down, the scale divided by that prime.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`]; [`EvalError::LevelTooLow`] at the bottom.
    pub fn rescale(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, EvalError> {
        const OP: &str = "rescale";
        self.check(OP, ciphertext)?;
        let level = ciphertext.level();
        let below = one_below(OP, level)?;
        let divide = |quotient: &Quotient| ciphertext.components().iter().map(|c| quotient.divide(c)).collect();
        let components = self.params.level(level).rescale.as_ref().map_or_else(Vec::new, divide);
        self.assemble(below, ciphertext.scale().divide_by(self.params.primes()[usize::from(level.0)]), components)
    }

    /// Forgets the primes above `level`; message and scale stay.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`]; [`EvalError::LevelTooLow`] if the ciphertext is already below.
    pub fn drop_to(&self, ciphertext: &Ciphertext, level: Level) -> Result<Ciphertext, EvalError> {
        const OP: &str = "drop levels";
        self.check(OP, ciphertext)?;
        if ciphertext.level() < level {
            return Err(EvalError::LevelTooLow { op: OP, found: ciphertext.level(), wanted: level });
        }
        let limbs: Vec<usize> = (0..level.limbs()).collect();
        let basis = self.params.basis(level);
        let components = ciphertext.components().iter().map(|c| c.select(basis, &limbs)).collect();
        self.assemble(level, ciphertext.scale().clone(), components)
    }

    pub(super) fn check(&self, op: &'static str, ciphertext: &Ciphertext) -> Result<(), EvalError> {
        same_params(op, &self.params, ciphertext.params())
    }

    pub(super) fn assemble(
        &self,
        level: Level,
        scale: Scale,
        components: Vec<RnsPoly<Eval>>,
    ) -> Result<Ciphertext, EvalError> {
        Ciphertext::from_components(&self.params, level, scale, components)
    }
}

pub(super) fn pair<'a>(op: &'static str, ciphertext: &'a Ciphertext) -> Result<&'a [RnsPoly<Eval>; 2], EvalError> {
    let components = ciphertext.components();
    components.try_into().map_err(|_| EvalError::Components { op, found: components.len(), wanted: "2" })
}

fn triple<'a>(op: &'static str, ciphertext: &'a Ciphertext) -> Result<&'a [RnsPoly<Eval>; 3], EvalError> {
    let components = ciphertext.components();
    components.try_into().map_err(|_| EvalError::Components { op, found: components.len(), wanted: "3" })
}

pub(super) fn one_below(op: &'static str, level: Level) -> Result<Level, EvalError> {
    level.down(1).ok_or(EvalError::LevelTooLow { op, found: level, wanted: Level(1) })
}

pub(super) fn check_levels(op: &'static str, left: Level, right: Level) -> Result<(), EvalError> {
    if left == right { Ok(()) } else { Err(EvalError::LevelMismatch { op, left, right }) }
}

pub(super) fn check_scales(op: &'static str, left: &Scale, right: &Scale) -> Result<(), EvalError> {
    if left == right { Ok(()) } else { Err(EvalError::ScaleMismatch { op, left: left.clone(), right: right.clone() }) }
}

//! Sums of slots.

use nightloom_ring::{Digits, Eval, RnsPoly};

use crate::ckks::evaluator::pair;
use crate::evaluation_keys::{GaloisKey, check_exists};
use crate::keys::same_params;
use crate::switch::{Switches, add_special_multiple};
use crate::{Ciphertext, EvalError, Evaluator, KeyPurpose, RotationKeys};

/// # Folds
impl Evaluator {
    /// Adds to a ciphertext its rotations by the slots of the first step, to that sum its rotations by those of the second
    /// step, and so on: with steps of 1 and 2 slots the sums of 4 neighbours. The rotations of a step share one
    /// decomposition, and only the second polynomial is divided between steps. A step without rotations changes nothing.
    /// Noise added, if no rotation is twice in a step: by every rotation [`noise::key_switch`](crate::noise::key_switch), by
    /// every step but the first the rounding of one component, which all its rotations share, and at the end
    /// [`noise::rounding`](crate::noise::rounding) of two components.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`], [`EvalError::Components`] unless there are two, [`EvalError::NoSpecialPrimes`],
    /// [`EvalError::NoSuchRotation`], also for 0 slots, [`EvalError::MissingKey`], [`EvalError::KeyLevelTooLow`].
    pub fn fold<S: AsRef<[usize]>>(
        &self,
        ciphertext: &Ciphertext,
        steps: &[S],
        keys: &RotationKeys,
    ) -> Result<Ciphertext, EvalError> {
        const OP: &str = "fold";
        self.check(OP, ciphertext)?;
        same_params(OP, &self.params, keys.params())?;
        let [c0, c1] = pair(OP, ciphertext)?;
        let (level, params) = (ciphertext.level(), &self.params);
        let mod_down = self.mod_down(OP, level)?;
        let decompositions = &params.level(level).digits;
        let mut sum: Option<[RnsPoly<Eval>; 2]> = None;
        for step in steps.iter().map(AsRef::as_ref).filter(|step| !step.is_empty()) {
            let key = |slots: &usize| {
                check_exists(OP, params, KeyPurpose::Rotation(*slots))?;
                keys.rotation(OP, *slots, level)
            };
            let step: Vec<&GaloisKey> = step.iter().map(key).collect::<Result<_, EvalError>>()?;
            let images = |digits: &Digits<'_>, add: &(dyn Fn(usize, usize, &mut [f64]) + Sync)| {
                Switches { params, level, digits, keys: &step }.sum(add)
            };
            sum = Some(match &sum {
                None => images(&Digits::new(decompositions, c1), &|half, limb, out| {
                    add_special_multiple(params, level, [c0, c1][half], limb, 0..out.len(), out);
                }),
                Some(sum) => images(&Digits::of_quotient(decompositions, mod_down, &sum[1]), &|half, limb, out| {
                    params.kernel().add(sum[half].basis().modulus(limb), out, sum[half].limb(limb));
                }),
            });
        }
        match sum {
            None => Ok(ciphertext.clone()),
            Some([u0, u1]) => {
                let polys = mod_down.divide_all([&u0, &u1]);
                self.assemble(level, ciphertext.scale().clone(), polys.into())
            }
        }
    }
}

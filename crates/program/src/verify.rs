//! The rules of each operation.

use nightloom_he::{CkksParams, Level, Scale};

use crate::{Op, ValueId, VerifyError};

/// Scaled weights of a matrix over slots stay below this, so that their encoding fits the ring's signed coefficients.
const MAX_SCALED_WEIGHT: f64 = (1u64 << 46) as f64;

/// What is known of an array of ciphertexts.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueType {
    /// Number of ciphertexts.
    pub features: usize,
    /// 2, or 3 after a product that was not relinearised.
    pub components: usize,
    /// Level of every ciphertext.
    pub level: Level,
    /// Scale of every ciphertext.
    pub scale: Scale,
}

/// The type of every result, or the first rule broken.
pub(crate) fn types(params: &CkksParams, ops: &[Op]) -> Result<Vec<ValueType>, VerifyError> {
    let mut types: Vec<ValueType> = Vec::with_capacity(ops.len());
    if ops.is_empty() {
        return Err(VerifyError::Input { op: 0 });
    }
    for (op, operation) in ops.iter().enumerate() {
        if matches!(operation, Op::Input { .. }) != (op == 0) {
            return Err(VerifyError::Input { op });
        }
        let rule = Rule { params, op, types: &types };
        let result = rule.apply(operation)?;
        types.push(result);
    }
    Ok(types)
}

/// The shortest period that has these rotations.
pub(crate) fn rotated_period<'a>(rotations: impl IntoIterator<Item = &'a usize>) -> usize {
    rotations.into_iter().max().map_or(1, |largest| (largest + 1).next_power_of_two())
}

struct Rule<'a> {
    params: &'a CkksParams,
    op: usize,
    types: &'a [ValueType],
}

impl Rule<'_> {
    fn apply(&self, operation: &Op) -> Result<ValueType, VerifyError> {
        match operation {
            Op::Input { features, level, scale } => {
                self.level_exists(*level)?;
                self.scale_of_chain(scale)?;
                Ok(ValueType { features: *features, components: 2, level: *level, scale: scale.clone() })
            }
            Op::Model { features, level, scale, period } => {
                self.level_exists(*level)?;
                self.scale_of_chain(scale)?;
                self.period(*period)?;
                Ok(ValueType { features: *features, components: 2, level: *level, scale: scale.clone() })
            }
            Op::Linear { sources, matrix, bias } => {
                let first =
                    sources.first().ok_or(VerifyError::Features { op: self.op, found: 0, wanted: matrix.columns() })?;
                let first_type = self.operand(first.value)?;
                let scale = first_type.scale.mul(&first.weight_scale);
                let mut columns = 0;
                for source in sources {
                    let operand = self.operand(source.value)?;
                    self.same_level(operand.level, first_type.level)?;
                    self.components(operand, first_type.components)?;
                    self.scale_of_chain(&source.weight_scale)?;
                    let right = operand.scale.mul(&source.weight_scale);
                    if right != scale {
                        return Err(VerifyError::Scale { op: self.op, left: scale, right });
                    }
                    columns += operand.features;
                }
                self.features(columns, matrix.columns())?;
                self.features(bias.len(), matrix.rows())?;
                self.bias_fits(bias, &scale, first_type.level)?;
                Ok(ValueType { features: matrix.rows(), scale, ..first_type.clone() })
            }
            Op::Square { source } => {
                let operand = self.operand(*source)?;
                self.components(operand, 2)?;
                Ok(ValueType { components: 3, scale: operand.scale.square(), ..operand.clone() })
            }
            Op::Multiply { left, right } => {
                let (left, right) = (self.operand(*left)?, self.operand(*right)?);
                self.components(left, 2)?;
                self.components(right, 2)?;
                self.same_level(right.level, left.level)?;
                self.features(right.features, left.features)?;
                Ok(ValueType { components: 3, scale: left.scale.mul(&right.scale), ..left.clone() })
            }
            Op::Relinearize { source } => Ok(ValueType { components: 2, ..self.relinearized(*source)?.clone() }),
            Op::Rescale { source } => self.rescaled(self.operand(*source)?),
            Op::RelinearizeRescale { source } => {
                let operand = self.relinearized(*source)?;
                Ok(ValueType { components: 2, ..self.rescaled(operand)? })
            }
            Op::DropTo { source, level } => {
                let operand = self.operand(*source)?;
                if *level > operand.level {
                    return Err(VerifyError::Level { op: self.op, found: operand.level, wanted: *level });
                }
                Ok(ValueType { level: *level, ..operand.clone() })
            }
            Op::SlotMatrix { source, matrix, weight_scale, rescale } => {
                let operand = self.slots(*source, matrix.period())?;
                self.features(operand.features, matrix.shape().columns)?;
                self.scale_of_chain(weight_scale)?;
                let weight = matrix.largest_weight();
                if weight * weight_scale.to_f64() >= MAX_SCALED_WEIGHT {
                    return Err(VerifyError::Weight { op: self.op, weight, scale: weight_scale.clone() });
                }
                if matrix.diagonals().iter().any(|diagonal| diagonal.rotation != 0) {
                    self.special_primes()?;
                }
                let features = matrix.shape().rows;
                let result = ValueType { features, scale: operand.scale.mul(weight_scale), ..operand.clone() };
                if *rescale { self.rescaled(&result) } else { Ok(result) }
            }
            Op::Rotate { source, rotations, base } => {
                self.special_primes()?;
                let operand = self.slots(*source, rotated_period(rotations))?;
                self.period(*base)?;
                if rotations.is_empty() || !rotations.is_sorted_by(|a, b| a < b) {
                    return Err(VerifyError::Rotations { op: self.op });
                }
                Ok(ValueType { features: operand.features * rotations.len(), ..operand.clone() })
            }
            Op::Fold { source, steps } => {
                self.special_primes()?;
                if steps.iter().any(|step| step.is_empty() || step[0] == 0 || !step.is_sorted_by(|a, b| a < b)) {
                    return Err(VerifyError::FoldStep { op: self.op });
                }
                Ok(self.slots(*source, rotated_period(steps.iter().flatten()))?.clone())
            }
            Op::AddSlots { source, values } => {
                let operand = self.operand(*source)?;
                let period = values.len().checked_div(operand.features).unwrap_or(0);
                self.features(values.len(), period * operand.features)?;
                self.slots(*source, period)?;
                self.bias_fits(values, &operand.scale, operand.level)?;
                Ok(operand.clone())
            }
        }
    }

    /// Ciphertexts of two components, and a period that divides the slots.
    fn slots(&self, source: ValueId, period: usize) -> Result<&ValueType, VerifyError> {
        let operand = self.operand(source)?;
        self.components(operand, 2)?;
        self.period(period)?;
        Ok(operand)
    }

    fn period(&self, found: usize) -> Result<(), VerifyError> {
        let slots = self.params.slots();
        let fits = found.is_power_of_two() && found <= slots;
        if fits { Ok(()) } else { Err(VerifyError::Period { op: self.op, found, slots }) }
    }

    fn special_primes(&self) -> Result<(), VerifyError> {
        if self.params.special_primes().is_empty() { Err(VerifyError::NoSpecialPrimes { op: self.op }) } else { Ok(()) }
    }

    fn operand(&self, value: ValueId) -> Result<&ValueType, VerifyError> {
        self.types.get(value.0).ok_or(VerifyError::LaterValue { op: self.op, value: value.0 })
    }

    fn relinearized(&self, source: ValueId) -> Result<&ValueType, VerifyError> {
        let operand = self.operand(source)?;
        self.components(operand, 3)?;
        self.special_primes()?;
        Ok(operand)
    }

    fn rescaled(&self, operand: &ValueType) -> Result<ValueType, VerifyError> {
        let level = operand.level.down(1).ok_or(VerifyError::Bottom { op: self.op })?;
        let prime = self.params.primes()[usize::from(operand.level.0)];
        Ok(ValueType { level, scale: operand.scale.divide_by(prime), ..operand.clone() })
    }

    fn level_exists(&self, level: Level) -> Result<(), VerifyError> {
        let top = self.params.top();
        if level <= top { Ok(()) } else { Err(VerifyError::Level { op: self.op, found: level, wanted: top }) }
    }

    fn scale_of_chain(&self, scale: &Scale) -> Result<(), VerifyError> {
        match scale.parts().1.iter().find(|(factor, _)| !self.params.primes().contains(factor)) {
            None => Ok(()),
            Some((factor, _)) => Err(VerifyError::ForeignScale { op: self.op, factor: *factor }),
        }
    }

    fn same_level(&self, found: Level, wanted: Level) -> Result<(), VerifyError> {
        if found == wanted { Ok(()) } else { Err(VerifyError::Level { op: self.op, found, wanted }) }
    }

    fn components(&self, operand: &ValueType, wanted: usize) -> Result<(), VerifyError> {
        let found = operand.components;
        if found == wanted { Ok(()) } else { Err(VerifyError::Components { op: self.op, found, wanted }) }
    }

    fn features(&self, found: usize, wanted: usize) -> Result<(), VerifyError> {
        if found == wanted { Ok(()) } else { Err(VerifyError::Features { op: self.op, found, wanted }) }
    }

    fn bias_fits(&self, bias: &[f64], scale: &Scale, level: Level) -> Result<(), VerifyError> {
        // Half of Q, and what an i128 holds exactly enough.
        let room = (self.params.log_q(level) - 1.0).min(120.0).exp2();
        match bias.iter().position(|value| !value.is_finite() || (value * scale.to_f64()).abs() >= room) {
            None => Ok(()),
            Some(index) => {
                Err(VerifyError::Bias { op: self.op, index, value: bias[index], scale: scale.clone(), level })
            }
        }
    }
}

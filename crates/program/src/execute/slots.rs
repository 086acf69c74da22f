//! Operations that move slots.
//!
//! A matrix over slots is computed with double hoisting (Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux, eprint
//! 2020/1203, Algorithm 6): one decomposition serves all baby steps, the products are summed for each giant step without
//! a division by the special primes, and one division ends it.

use std::collections::BTreeMap;

use nightloom_he::{
    Ciphertext, Encoder, EvalError, Evaluator, ExtendedCiphertext, ExtendedPlaintext, Level, Plaintext, RotationKeys,
    Scale,
};
use rayon::prelude::*;

use crate::{Op, Program, SlotMatrix, ValueId};

/// Encoded weights, as far as the memory for them goes.
#[derive(Debug)]
pub(super) struct Prepared {
    encoder: Encoder,
    /// By operation: the weights of each diagonal of a matrix that does rotate.
    extended: Vec<Vec<Option<ExtendedPlaintext>>>,
    /// By operation: the weights of a matrix that does not rotate, or the slots to add.
    plain: Vec<Option<Plaintext>>,
}

/// Whether a matrix is one product slot by slot.
fn is_elementwise(matrix: &SlotMatrix) -> bool {
    matrix.diagonals().iter().all(|diagonal| diagonal.rotation == 0)
}

impl Prepared {
    /// Encodes weights until they take `budget` bytes.
    pub fn new(program: &Program, budget: usize) -> Result<Self, EvalError> {
        let params = program.params();
        let mut prepared = Self { encoder: Encoder::new(params), extended: Vec::new(), plain: Vec::new() };
        let mut left = budget;
        for (op, result) in program.ops().iter().zip(program.types()) {
            let (mut extended, mut plain) = (Vec::new(), None);
            match op {
                Op::SlotMatrix { source, matrix, weight_scale, .. } => {
                    let level = program.types()[source.0].level;
                    if is_elementwise(matrix) {
                        plain = Some(prepared.plaintext(&weights(matrix, 0), weight_scale, level)?);
                    } else {
                        let each = (level.limbs() + params.special_primes().len()) * params.degree() * size_of::<f64>();
                        let kept = (left / each).min(matrix.diagonals().len());
                        left -= kept * each;
                        let encode = |diagonal| prepared.extended(matrix, diagonal, weight_scale, level).map(Some);
                        extended = (0..kept).into_par_iter().map(encode).collect::<Result<_, _>>()?;
                        extended.resize_with(matrix.diagonals().len(), || None);
                    }
                }
                Op::AddSlots { values, .. } => {
                    plain = Some(prepared.plaintext(values, &result.scale, result.level)?);
                }
                _ => {}
            }
            prepared.extended.push(extended);
            prepared.plain.push(plain);
        }
        Ok(prepared)
    }

    fn plaintext(&self, period: &[f64], scale: &Scale, level: Level) -> Result<Plaintext, EvalError> {
        self.encoder.plaintext(&self.encoder.encode(&self.repeated(period), scale)?, level)
    }

    fn extended(
        &self,
        matrix: &SlotMatrix,
        diagonal: usize,
        scale: &Scale,
        level: Level,
    ) -> Result<ExtendedPlaintext, EvalError> {
        let period = self.repeated(&weights(matrix, diagonal));
        self.encoder.extended_plaintext(&self.encoder.encode(&period, scale)?, level)
    }

    fn repeated(&self, period: &[f64]) -> Vec<f64> {
        period.iter().copied().cycle().take(self.encoder.params().slots()).collect()
    }

    /// Runs an operation that moves or adds slots.
    pub fn run(
        &self,
        evaluator: &Evaluator,
        value: ValueId,
        op: &Op,
        ciphertext: &Ciphertext,
        keys: &RotationKeys,
    ) -> Result<Ciphertext, EvalError> {
        match op {
            Op::SlotMatrix { matrix, weight_scale, rescale, .. } => match &self.plain[value.0] {
                Some(weights) => {
                    let product = evaluator.mul_plain(ciphertext, weights)?;
                    if *rescale { evaluator.rescale(&product) } else { Ok(product) }
                }
                None => {
                    let encoded = &self.extended[value.0];
                    let product = self.multiply(evaluator, matrix, encoded, weight_scale, ciphertext, keys)?;
                    if *rescale { evaluator.divide_rescale(&product) } else { evaluator.divide(&product) }
                }
            },
            Op::Fold { rotations, .. } => rotations.iter().try_fold(ciphertext.clone(), |sum, rotation| {
                let rotated = evaluator.rotate(&sum, *rotation, keys)?;
                evaluator.add(&sum, &rotated)
            }),
            _ => match &self.plain[value.0] {
                Some(slots) => evaluator.add_plain(ciphertext, slots),
                None => Ok(ciphertext.clone()),
            },
        }
    }

    fn multiply(
        &self,
        evaluator: &Evaluator,
        matrix: &SlotMatrix,
        encoded: &[Option<ExtendedPlaintext>],
        scale: &Scale,
        ciphertext: &Ciphertext,
        keys: &RotationKeys,
    ) -> Result<ExtendedCiphertext, EvalError> {
        let decomposed = evaluator.decompose(ciphertext)?;
        let babies: Vec<usize> = matrix.babies().into_iter().collect();
        let turned = babies.par_iter().map(|baby| evaluator.rotate_extended(&decomposed, *baby, keys));
        let turned = turned.collect::<Result<Vec<_>, _>>()?;
        drop(decomposed);
        let turned: BTreeMap<usize, ExtendedCiphertext> = babies.into_iter().zip(turned).collect();

        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, diagonal) in matrix.diagonals().iter().enumerate() {
            groups.entry(matrix.steps(diagonal.rotation).1).or_default().push(index);
        }
        let groups: Vec<(usize, Vec<usize>)> = groups.into_iter().collect();
        let sum_of = |(giant, diagonals): &(usize, Vec<usize>)| {
            // Those that were not kept.
            let missing = diagonals.iter().filter(|diagonal| encoded[**diagonal].is_none());
            let missing =
                missing.map(|diagonal| Ok((*diagonal, self.extended(matrix, *diagonal, scale, ciphertext.level())?)));
            let missing = missing.collect::<Result<BTreeMap<usize, ExtendedPlaintext>, EvalError>>()?;
            let terms: Vec<(&ExtendedCiphertext, &ExtendedPlaintext)> = diagonals
                .iter()
                .filter_map(|diagonal| {
                    let baby = matrix.steps(matrix.diagonals()[*diagonal].rotation).0;
                    Some((turned.get(&baby)?, encoded[*diagonal].as_ref().or_else(|| missing.get(diagonal))?))
                })
                .collect();
            let sum = ExtendedCiphertext::dot(&terms)?;
            if *giant == 0 { Ok(sum) } else { evaluator.switch_rotate(sum, *giant, keys) }
        };
        let add = |left: Result<Option<ExtendedCiphertext>, EvalError>, right| match (left?, right?) {
            (Some(mut left), Some(right)) => {
                ExtendedCiphertext::add_assign(&mut left, &right)?;
                Ok(Some(left))
            }
            (left, right) => Ok(left.or(right)),
        };
        let sum = groups.par_iter().map(|group| sum_of(group).map(Some)).reduce(|| Ok(None), add)?;
        sum.ok_or(EvalError::NoTerms { op: "multiply by a matrix over slots" })
    }
}

/// One period of a diagonal's weights as they multiply a baby step: rotated back by the giant step that follows.
fn weights(matrix: &SlotMatrix, diagonal: usize) -> Vec<f64> {
    let diagonal = &matrix.diagonals()[diagonal];
    let (_, giant) = matrix.steps(diagonal.rotation);
    let period = matrix.period();
    (0..period).map(|slot| f64::from(diagonal.weights[(slot + period - giant) % period])).collect()
}

//! Operations that move slots.
//!
//! A matrix over slots is computed with double hoisting (Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux, eprint
//! 2020/1203, Algorithm 6): one decomposition serves all baby steps, the products are summed for each giant step without
//! a division by the special primes, and one division ends it.

use std::collections::BTreeMap;

use nightloom_he::ckks::Term;
use nightloom_he::{
    Ciphertext, Decomposed, Encoder, EvalError, Evaluator, ExtendedCiphertext, ExtendedPlaintext, Level, Plaintext,
    RotationKeys, Scale,
};
use nightloom_ring::parallel;

use crate::slots::{Diagonal, Giants};
use crate::{Op, Program, SlotMatrix, ValueId};

/// Encoded weights, as far as the memory for them goes.
#[derive(Debug)]
pub(super) struct Prepared {
    encoder: Encoder,
    /// By operation: what a matrix that does rotate is multiplied by.
    rotating: Vec<Option<Rotating>>,
    /// By operation: the weights of each diagonal of a matrix that does not rotate, or the slots to add to each ciphertext.
    plain: Vec<Vec<Plaintext>>,
}

/// A matrix that does rotate: its rotations, the sums of its products, and its weights.
#[derive(Debug)]
struct Rotating {
    /// By ciphertext of the operand: its baby steps.
    babies: Vec<(usize, Vec<usize>)>,
    groups: Vec<Group>,
    /// By diagonal: its weights, if they are kept.
    encoded: Vec<Option<ExtendedPlaintext>>,
}

/// Diagonals whose products are summed before the giant step that they share.
#[derive(Debug)]
struct Group {
    row: usize,
    giant: usize,
    /// Indices of diagonals, and of their baby steps among those of all ciphertexts.
    terms: Vec<(usize, usize)>,
}

impl Rotating {
    fn new(matrix: &SlotMatrix, encoded: Vec<Option<ExtendedPlaintext>>) -> Self {
        let all: Vec<(usize, usize)> = matrix.babies().into_iter().collect();
        let places: BTreeMap<(usize, usize), usize> = all.iter().enumerate().map(|(at, baby)| (*baby, at)).collect();
        let mut groups: BTreeMap<(usize, usize), Vec<(usize, usize)>> = BTreeMap::new();
        for (at, diagonal) in matrix.diagonals().iter().enumerate() {
            let (baby, giant) = matrix.steps(diagonal.rotation);
            groups.entry((diagonal.row, giant)).or_default().push((at, places[&(diagonal.column, baby)]));
        }
        let column = |babies: &[(usize, usize)]| (babies[0].0, babies.iter().map(|(_, step)| *step).collect());
        Self {
            babies: all.chunk_by(|a, b| a.0 == b.0).map(column).collect(),
            groups: groups.into_iter().map(|((row, giant), terms)| Group { row, giant, terms }).collect(),
            encoded,
        }
    }
}

/// Whether a matrix multiplies slot by slot.
pub(crate) fn is_elementwise(matrix: &SlotMatrix) -> bool {
    matrix.diagonals().iter().all(|diagonal| diagonal.rotation == 0)
}

/// What a matrix over slots is evaluated with.
struct Run<'a> {
    evaluator: &'a Evaluator,
    matrix: &'a SlotMatrix,
    weight_scale: &'a Scale,
    rescale: bool,
    rotating: &'a Rotating,
    keys: &'a RotationKeys,
}

impl Prepared {
    /// Encodes weights until they take `budget` bytes.
    pub fn new(program: &Program, budget: usize) -> Result<Self, EvalError> {
        let params = program.params();
        let mut prepared = Self { encoder: Encoder::new(params), rotating: Vec::new(), plain: Vec::new() };
        let mut left = budget;
        for (op, result) in program.ops().iter().zip(program.types()) {
            let (mut rotating, mut plain) = (None, Vec::new());
            match op {
                Op::SlotMatrix { source, matrix, weight_scale, .. } => {
                    let level = program.types()[source.0].level;
                    if is_elementwise(matrix) {
                        let encode =
                            |diagonal: &Diagonal| prepared.plaintext(&turned(matrix, diagonal), weight_scale, level);
                        plain = parallel::try_map(matrix.diagonals(), encode)?;
                    } else {
                        let each = program.diagonal_bytes(level, matrix.period());
                        let kept = (left / each).min(matrix.diagonals().len());
                        left -= kept * each;
                        let encode = |diagonal| prepared.extended(matrix, diagonal, weight_scale, level).map(Some);
                        let mut encoded = parallel::try_map(&matrix.diagonals()[..kept], encode)?;
                        encoded.resize_with(matrix.diagonals().len(), || None);
                        rotating = Some(Rotating::new(matrix, encoded));
                    }
                }
                Op::AddSlots { values, .. } => {
                    let vectors = values.chunks_exact(values.len() / result.features);
                    let encode = |vector| prepared.plaintext(vector, &result.scale, result.level);
                    plain = vectors.map(encode).collect::<Result<_, _>>()?;
                }
                _ => {}
            }
            prepared.rotating.push(rotating);
            prepared.plain.push(plain);
        }
        Ok(prepared)
    }

    fn plaintext(&self, period: &[f64], scale: &Scale, level: Level) -> Result<Plaintext, EvalError> {
        self.encoder.plaintext(&self.encoder.encode_periodic(period, scale)?, level)
    }

    fn extended(
        &self,
        matrix: &SlotMatrix,
        diagonal: &Diagonal,
        scale: &Scale,
        level: Level,
    ) -> Result<ExtendedPlaintext, EvalError> {
        self.encoder.extended_plaintext(&self.encoder.encode_periodic(&turned(matrix, diagonal), scale)?, level)
    }

    /// Runs an operation that moves or adds slots on all ciphertexts of its operand. `done` is called for each ciphertext
    /// of the result.
    pub fn run(
        &self,
        evaluator: &Evaluator,
        value: ValueId,
        op: &Op,
        array: &[Ciphertext],
        keys: &RotationKeys,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let plain = &self.plain[value.0];
        let finished = |result: Result<Ciphertext, EvalError>| {
            done();
            result
        };
        match op {
            Op::SlotMatrix { matrix, weight_scale, rescale, .. } => {
                let rescale = *rescale;
                if let Some(rotating) = &self.rotating[value.0] {
                    let run = Run { evaluator, matrix, weight_scale, rescale, rotating, keys };
                    return self.multiply(&run, array, &finished);
                }
                let rows: Vec<(usize, &[Diagonal])> = matrix.rows().collect();
                let row = |(first, row): (usize, &[Diagonal])| {
                    let product = |at: usize| evaluator.mul_plain(&array[row[at].column], &plain[first + at]);
                    let sum = (1..row.len()).try_fold(product(0)?, |sum, at| evaluator.add(&sum, &product(at)?))?;
                    if rescale { evaluator.rescale(&sum) } else { Ok(sum) }
                };
                parallel::try_map(rows, |at| finished(row(at)))
            }
            Op::Rotate { rotations, base, .. } => {
                let rotated = |ciphertext| rotations_of(evaluator, ciphertext, rotations, *base, keys);
                let arrays = parallel::try_map(array, rotated)?;
                arrays.into_iter().flatten().map(|ciphertext| finished(Ok(ciphertext))).collect()
            }
            Op::Fold { steps, .. } => {
                let fold = |ciphertext| finished(evaluator.fold(ciphertext, steps, keys));
                parallel::try_map(array, fold)
            }
            _ => {
                let add = |(ciphertext, slots)| finished(evaluator.add_plain(ciphertext, slots));
                parallel::try_map(array.iter().zip(plain), add)
            }
        }
    }

    fn multiply(
        &self,
        run: &Run<'_>,
        array: &[Ciphertext],
        finished: &(dyn Fn(Result<Ciphertext, EvalError>) -> Result<Ciphertext, EvalError> + Sync),
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let Run { evaluator, matrix, rescale, keys, rotating, .. } = *run;
        let turn = |(column, steps): &(usize, Vec<usize>)| evaluator.rotate_extended(&array[*column], steps, keys);
        let turned = parallel::try_map(&rotating.babies, turn)?.into_iter().flatten();
        let turned: Vec<ExtendedCiphertext> = turned.collect();
        let sums = self.inner_sums(run, &turned)?;
        drop(turned);
        let mut by_row: Vec<Vec<(usize, ExtendedCiphertext)>> = vec![Vec::new(); matrix.shape().rows];
        sums.into_iter().for_each(|(group, sum)| by_row[group.row].push((group.giant, sum)));
        let row = |sums: Vec<(usize, ExtendedCiphertext)>| {
            let sum = giant_steps(run, sums)?;
            if rescale { evaluator.divide_rescale(&sum) } else { evaluator.divide(&sum) }
        };
        parallel::try_map(by_row, |sums| finished(row(sums)))
    }

    /// The sum of the products of every group, with what every baby step made of its ciphertext.
    fn inner_sums<'a>(
        &self,
        run: &Run<'a>,
        turned: &[ExtendedCiphertext],
    ) -> Result<Vec<(&'a Group, ExtendedCiphertext)>, EvalError> {
        let Run { matrix, weight_scale, rotating: Rotating { groups, encoded, .. }, .. } = *run;
        let level = turned.first().map_or(Level(0), ExtendedCiphertext::level);
        let sum = |groups: &[&'a Group]| {
            // Weights that were not kept are there for these sums only.
            let diagonals = groups.iter().flat_map(|group| &group.terms).map(|(at, _)| at);
            let missing = diagonals.filter(|at| encoded[**at].is_none());
            let encode = |at: &usize| Ok((*at, self.extended(matrix, &matrix.diagonals()[*at], weight_scale, level)?));
            let missing: BTreeMap<_, _> = parallel::try_map(missing, encode)?.into_iter().collect();
            let term =
                |(at, baby): &(usize, usize)| (&turned[*baby], encoded[*at].as_ref().unwrap_or_else(|| &missing[at]));
            let terms: Vec<Vec<Term<'_>>> = groups.iter().map(|group| group.terms.iter().map(term).collect()).collect();
            Ok(groups.iter().copied().zip(ExtendedCiphertext::dots(&terms)?).collect::<Vec<_>>())
        };
        let (kept, others): (Vec<&Group>, Vec<&Group>) =
            groups.iter().partition(|group| group.terms.iter().all(|(at, _)| encoded[*at].is_some()));
        let mut sums = sum(&kept)?;
        for group in others.chunks(1) {
            sums.extend(sum(group)?);
        }
        Ok(sums)
    }
}

/// The sum of the inner sums of one row, each rotated by its giant step.
fn giant_steps(run: &Run<'_>, sums: Vec<(usize, ExtendedCiphertext)>) -> Result<ExtendedCiphertext, EvalError> {
    let Run { evaluator, matrix, keys, .. } = *run;
    let nothing = || EvalError::NoTerms { op: "multiply by a matrix over slots" };
    match matrix.shape().giants {
        Giants::Separate => {
            let turned = |(giant, sum): (usize, ExtendedCiphertext)| {
                if giant == 0 { Ok(sum) } else { evaluator.switch_rotate(sum, giant, keys) }
            };
            let turned = parallel::map(sums, |sum| turned(sum).map(Some));
            let sum = turned.into_iter().reduce(add).unwrap_or(Ok(None))?;
            sum.ok_or_else(nothing)
        }
        Giants::Chained => {
            let base = matrix.shape().base;
            let mut sums: BTreeMap<usize, ExtendedCiphertext> =
                sums.into_iter().map(|(giant, sum)| (giant / base, sum)).collect();
            let last = sums.last_key_value().map_or(0, |(step, _)| *step);
            let mut sum: Option<ExtendedCiphertext> = None;
            for step in (0..=last).rev() {
                let moved = sum.take().map(|sum| evaluator.switch_rotate(sum, base, keys)).transpose();
                sum = add(moved, Ok(sums.remove(&step)))?;
            }
            sum.ok_or_else(nothing)
        }
    }
}

/// A ciphertext rotated by each of these: by giant steps, each of which is then decomposed for its baby steps.
fn rotations_of(
    evaluator: &Evaluator,
    ciphertext: &Ciphertext,
    rotations: &[usize],
    base: usize,
    keys: &RotationKeys,
) -> Result<Vec<Ciphertext>, EvalError> {
    let decomposed = evaluator.decompose(ciphertext)?;
    let groups: Vec<&[usize]> = rotations.chunk_by(|a, b| a / base == b / base).collect();
    let group = |group: &&[usize]| {
        let giant = group[0] / base * base;
        let babies = |decomposed: &Decomposed| {
            let baby = |rotation: &usize| evaluator.rotate_hoisted(decomposed, rotation - giant, keys);
            parallel::try_map(*group, baby)
        };
        match (giant, group) {
            (0, _) => babies(&decomposed),
            (_, [only]) if *only == giant => Ok(vec![evaluator.rotate_hoisted(&decomposed, giant, keys)?]),
            _ => babies(&evaluator.decompose(&evaluator.rotate_hoisted(&decomposed, giant, keys)?)?),
        }
    };
    let rotated = parallel::try_map(&groups, group)?;
    Ok(rotated.into_iter().flatten().collect())
}

type Sum = Result<Option<ExtendedCiphertext>, EvalError>;

fn add(left: Sum, right: Sum) -> Sum {
    match (left?, right?) {
        (Some(mut left), Some(right)) => {
            left.add_assign(&right)?;
            Ok(Some(left))
        }
        (left, right) => Ok(left.or(right)),
    }
}

/// One period of a diagonal's weights as they multiply a baby step: rotated back by the giant step that follows.
fn turned(matrix: &SlotMatrix, diagonal: &Diagonal) -> Vec<f64> {
    let (_, giant) = matrix.steps(diagonal.rotation);
    let period = matrix.period();
    (0..period).map(|slot| f64::from(diagonal.weights[(slot + period - giant) % period])).collect()
}

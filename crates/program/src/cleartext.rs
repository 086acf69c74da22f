//! The meaning of a program: what every operation does to real numbers.

use crate::{Op, Program, slots};

impl Program {
    /// Every value for one request, by operation: feature after feature, [`period`](Self::period) slots each. Where no
    /// operation moves slots that is one number a feature, for one sample. The definition which the executor agrees with
    /// up to the noise that [`noise`](crate::noise) bounds. Weights are the program's integers divided by their scale.
    ///
    /// `model` has the vectors of each array of encrypted weights, one after another.
    ///
    /// # Panics
    /// If `input` does not have a period of slots, or several, for each of the program's inputs, or `model` not a period of
    /// its array, or several, for each of its ciphertexts.
    pub fn evaluate_all(&self, input: &[f64], model: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (features, least) = (self.input_type().features, self.period());
        let period = input.len().checked_div(features).unwrap_or(least);
        let whole = input.len() == features * period && period > 0 && period.is_multiple_of(least);
        assert!(whole, "{} slots for {features} inputs of period {least}", input.len());
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.ops().len());
        let mut arrays = model.iter();
        for op in self.ops() {
            let value = match op {
                Op::Input { .. } => input.to_vec(),
                Op::Model { features, .. } => {
                    let array = arrays.next().map_or(&[][..], Vec::as_slice);
                    let each = array.len() / (*features).max(1);
                    assert!(
                        each * features == array.len() && period.is_multiple_of(each.max(1)),
                        "{each} slots of weights"
                    );
                    array.chunks_exact(each.max(1)).flat_map(|vector| vector.repeat(period / each)).collect()
                }
                Op::Linear { sources, matrix, bias } => {
                    let columns: Vec<f64> = sources
                        .iter()
                        .flat_map(|source| {
                            let factor = 1.0 / source.weight_scale.to_f64();
                            values[source.value.0].iter().map(move |x| x * factor)
                        })
                        .collect();
                    let element = |row: usize, slot: usize| {
                        let term = |(column, weight): (usize, i32)| f64::from(weight) * columns[column * period + slot];
                        bias[row] + matrix.row(row).map(term).sum::<f64>()
                    };
                    (0..bias.len() * period).map(|at| element(at / period, at % period)).collect()
                }
                Op::Square { source } => values[source.0].iter().map(|x| x * x).collect(),
                Op::Multiply { left, right } => {
                    values[left.0].iter().zip(&values[right.0]).map(|(left, right)| left * right).collect()
                }
                Op::Relinearize { source }
                | Op::Rescale { source }
                | Op::RelinearizeRescale { source }
                | Op::DropTo { source, .. } => values[source.0].clone(),
                Op::SlotMatrix { source, matrix, .. } => matrix.apply(&values[source.0]),
                Op::Rotate { source, rotations, .. } => {
                    let rotated = |x: &[f64]| -> Vec<f64> {
                        rotations.iter().flat_map(|rotation| slots::rotate(x, *rotation)).collect()
                    };
                    values[source.0].chunks_exact(period).flat_map(rotated).collect()
                }
                Op::Fold { source, steps } => {
                    let folded = |x: &[f64]| steps.iter().fold(x.to_vec(), |x, step| slots::fold(&x, step));
                    values[source.0].chunks_exact(period).flat_map(folded).collect()
                }
                Op::AddSlots { source, values: added } => {
                    let vectors = values[source.0].chunks_exact(period);
                    let each = added.len() / vectors.len().max(1);
                    let sum = |(x, added): (&[f64], &[f64])| -> Vec<f64> {
                        x.iter().zip(added.iter().cycle()).map(|(x, added)| x + added).collect()
                    };
                    vectors.zip(added.chunks_exact(each)).flat_map(sum).collect()
                }
            };
            values.push(value);
        }
        values
    }

    /// The result for one request, of a program whose weights are in the clear: feature after feature,
    /// [`period`](Self::period) slots each.
    ///
    /// # Panics
    /// As [`evaluate_all`](Self::evaluate_all).
    pub fn evaluate(&self, input: &[f64]) -> Vec<f64> {
        self.evaluate_all(input, &[]).swap_remove(self.output().0)
    }
}

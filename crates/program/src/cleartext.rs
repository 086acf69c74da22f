//! The meaning of a program: what every operation does to real numbers.

use crate::{Op, Program, slots};

impl Program {
    /// Every value for one request, by operation: feature after feature, [`period`](Self::period) slots each. Where no
    /// operation moves slots that is one number a feature, for one sample. The definition which the executor agrees with
    /// up to the noise that [`noise`](crate::noise) bounds. Weights are the program's integers divided by their scale.
    ///
    /// # Panics
    /// If `input` does not have a period of slots, or several, for each of the program's inputs.
    pub fn evaluate_all(&self, input: &[f64]) -> Vec<Vec<f64>> {
        let (features, least) = (self.input_type().features, self.period());
        let period = input.len().checked_div(features).unwrap_or(least);
        let whole = input.len() == features * period && period > 0 && period.is_multiple_of(least);
        assert!(whole, "{} slots for {features} inputs of period {least}", input.len());
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.ops().len());
        for op in self.ops() {
            let value = match op {
                Op::Input { .. } => input.to_vec(),
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
                Op::Fold { source, rotations } => {
                    rotations.iter().fold(values[source.0].clone(), |x, rotation| slots::fold(&x, *rotation))
                }
                Op::AddSlots { source, values: added } => {
                    values[source.0].iter().zip(added.iter().cycle()).map(|(x, added)| x + added).collect()
                }
            };
            values.push(value);
        }
        values
    }

    /// The result for one request: feature after feature, [`period`](Self::period) slots each.
    ///
    /// # Panics
    /// As [`evaluate_all`](Self::evaluate_all).
    pub fn evaluate(&self, input: &[f64]) -> Vec<f64> {
        self.evaluate_all(input).swap_remove(self.output().0)
    }
}

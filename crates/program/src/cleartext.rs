//! The meaning of a program: what every operation does to real numbers.

use crate::{Op, Program};

impl Program {
    /// Every value for one sample, by operation: the definition which the executor agrees with up to the noise that
    /// [`noise`](crate::noise) bounds. Weights are the program's integers divided by their scale.
    ///
    /// # Panics
    /// If `input` does not have as many elements as the program has inputs.
    pub fn evaluate_all(&self, input: &[f64]) -> Vec<Vec<f64>> {
        assert_eq!(input.len(), self.input_type().features, "elements of one sample");
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
                    let row = |row| matrix.row(row).map(|(column, weight)| f64::from(weight) * columns[column]);
                    bias.iter().enumerate().map(|(index, bias)| bias + row(index).sum::<f64>()).collect()
                }
                Op::Square { source } => values[source.0].iter().map(|x| x * x).collect(),
                Op::Multiply { left, right } => {
                    values[left.0].iter().zip(&values[right.0]).map(|(left, right)| left * right).collect()
                }
                Op::Relinearize { source }
                | Op::Rescale { source }
                | Op::RelinearizeRescale { source }
                | Op::DropTo { source, .. } => values[source.0].clone(),
            };
            values.push(value);
        }
        values
    }

    /// The result for one sample.
    ///
    /// # Panics
    /// If `input` does not have as many elements as the program has inputs.
    pub fn evaluate(&self, input: &[f64]) -> Vec<f64> {
        self.evaluate_all(input).swap_remove(self.output().0)
    }
}

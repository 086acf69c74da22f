//! The meaning of a graph: a plain interpreter in double precision, written to be obvious.

use crate::graph::{Graph, Op};
use crate::linear;

impl Graph {
    /// Result for one sample: row-major elements in, row-major elements out.
    ///
    /// # Panics
    /// If `sample` does not have as many elements as the input.
    pub fn evaluate(&self, sample: &[f64]) -> Vec<f64> {
        self.evaluate_batch(sample, 1)
    }

    /// Results for `batch` samples, one after another in `samples` and in the result.
    ///
    /// # Panics
    /// If `samples` does not hold `batch` samples.
    pub fn evaluate_batch(&self, samples: &[f64], batch: usize) -> Vec<f64> {
        let features: usize = self.shape(self.input()).iter().product();
        assert_eq!(samples.len(), features * batch, "{batch} samples of {features} elements");
        let mut last_use = vec![0; self.nodes().len()];
        for (user, node) in self.nodes().iter().enumerate() {
            for operand in &node.inputs {
                last_use[operand.index()] = user;
            }
        }
        last_use[self.output().index()] = self.nodes().len();

        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.nodes().len());
        for (user, node) in self.nodes().iter().enumerate() {
            let value = if let Op::Input = node.op {
                transpose(samples, batch, features)
            } else {
                let operands: Vec<(&[usize], &[f64])> =
                    node.inputs.iter().map(|&id| (self.shape(id), values[id.index()].as_slice())).collect();
                apply(&node.op, &operands, &node.shape, batch)
            };
            values.push(value);
            for operand in node.inputs.iter().filter(|operand| last_use[operand.index()] == user) {
                values[operand.index()] = Vec::new();
            }
        }
        transpose(&values[self.output().index()], self.shape(self.output()).iter().product(), batch)
    }
}

/// Applies one operation to operands given as `(shape, values)`, for `batch` samples at once: element `i` of sample `s`
/// is at `i * batch + s`. [`Op::Input`] gives zeros.
pub(crate) fn apply(op: &Op, operands: &[(&[usize], &[f64])], output: &[usize], batch: usize) -> Vec<f64> {
    let pairwise = |f: fn(f64, f64) -> f64| -> Vec<f64> {
        let (left, right) = (operands[0].1, operands[operands.len() - 1].1);
        left.iter().zip(right).map(|(&a, &b)| f(a, b)).collect()
    };
    match op {
        Op::Square | Op::Multiply => pairwise(|a, b| a * b),
        Op::Constant(tensor) => tensor.values().iter().flat_map(|&v| std::iter::repeat_n(v, batch)).collect(),
        _ => {
            let mut result = vec![0.0; output.iter().product::<usize>() * batch];
            let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.0).collect();
            linear::for_each_row(op, &shapes, output, |i, terms| {
                let sums = &mut result[i * batch..(i + 1) * batch];
                for term in terms {
                    let operand = &operands[term.operand].1[term.index * batch..(term.index + 1) * batch];
                    for (sum, value) in sums.iter_mut().zip(operand) {
                        *sum += term.weight * value;
                    }
                }
            });
            if let Op::AddConst(constant) = op {
                for (sums, &value) in result.chunks_exact_mut(batch.max(1)).zip(constant.values()) {
                    sums.iter_mut().for_each(|sum| *sum += value);
                }
            }
            result
        }
    }
}

fn transpose(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect()
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Op, Origin, Tensor};

    #[test]
    fn a_batch_is_its_samples_one_by_one() {
        let mut graph = Graph::new(vec![2]).unwrap();
        let input = graph.input();
        let mut push = |op, inputs| graph.push(op, inputs, Origin::default()).unwrap();
        let square = push(Op::Square, vec![input]);
        let sum = push(Op::Add, vec![square, input]);
        let shifted = push(Op::AddConst(Tensor::new(vec![2], vec![1.0, -1.0]).unwrap()), vec![sum]);
        let product = push(Op::Multiply, vec![shifted, input]);
        let constant = push(Op::Constant(Tensor::new(vec![1], vec![9.0]).unwrap()), vec![]);
        let output = push(Op::Concat { axis: 0 }, vec![product, constant]);
        graph.set_output(output).unwrap();

        assert_eq!(graph.evaluate(&[2.0, 3.0]), [14.0, 33.0, 9.0]);
        assert_eq!(graph.evaluate_batch(&[2.0, 3.0, -1.0, 0.5], 2), [14.0, 33.0, 9.0, -1.0, -0.125, 9.0]);
        assert_eq!(graph.evaluate_batch(&[], 0), [0.0; 0]);
    }
}

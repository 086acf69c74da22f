//! What the encryption adds to a program's outputs.
//!
//! Noise enters where ciphertexts are encrypted, rounded or key-switched, independently in every ciphertext and slot, and
//! reaches the outputs through the derivative of what follows. For a given sample that derivative is exact: what one
//! operation's noise contributes to the variance of an output is the sum of the squared derivatives times the variance
//! that enters there ([`Program::output_bounds`]). Products of two noises are left out; they are smaller by the relative
//! precision.
//! Derivation and limits: docs/notes/noise.md.

use nightloom_he::noise as scheme;

use crate::{Op, Program};

/// Deviations of Gaussian noise that are exceeded with probability below `2^-49`.
const GAUSSIAN_DEVIATIONS: f64 = 8.0;

impl Program {
    /// The deviation of the noise that an operation adds to each feature of its result, in units of the message.
    ///
    /// # Panics
    /// If there is no such operation.
    pub fn entering_noise(&self, op: usize) -> f64 {
        let params = self.params();
        let result = &self.types()[op];
        let scale = result.scale.to_f64();
        match &self.ops()[op] {
            Op::Input { .. } => scheme::fresh_symmetric(params) / scale,
            Op::Relinearize { source } | Op::RelinearizeRescale { source } => {
                let source = &self.types()[source.0];
                let switch = scheme::key_switch(params, source.level) / source.scale.to_f64();
                switch.hypot(scheme::rounding(params, 2) / scale)
            }
            Op::Rescale { .. } => scheme::rounding(params, result.components) / scale,
            Op::Linear { .. } | Op::Square { .. } | Op::Multiply { .. } | Op::DropTo { .. } => 0.0,
        }
    }

    /// How many deviations bound the noise that an operation adds: fresh noise is Gaussian in a slot, a rounding or a key
    /// switch holds a product with the secret (see [`nightloom_he::noise`]).
    fn tail(&self, op: usize) -> f64 {
        match (&self.ops()[op], self.types()[op].components) {
            (Op::Input { .. }, _) => GAUSSIAN_DEVIATIONS,
            (_, 3) => scheme::TAIL_DEVIATIONS_OF_THREE,
            _ => scheme::TAIL_DEVIATIONS,
        }
    }

    /// A bound on the noise of every output for this sample, exceeded with probability near `2^-49` an operation: for
    /// each operation the deviation of its noise in the output times its tail, added up.
    ///
    /// # Panics
    /// If `sample` does not have as many elements as the program has inputs.
    pub fn output_bounds(&self, sample: &[f64]) -> Vec<f64> {
        let values = self.evaluate_all(sample);
        let bound = |output| {
            let variances = self.variances(output, &values);
            variances.iter().enumerate().map(|(op, variance)| self.tail(op) * variance.sqrt()).sum()
        };
        (0..self.output_type().features).map(bound).collect()
    }

    /// By operation, the variance in one output of the noise that enters there, by reverse accumulation of derivatives.
    fn variances(&self, output: usize, values: &[Vec<f64>]) -> Vec<f64> {
        let mut adjoints: Vec<Vec<f64>> = vec![Vec::new(); self.ops().len()];
        adjoints[self.output().0] = vec![0.0; self.output_type().features];
        adjoints[self.output().0][output] = 1.0;
        let mut variances = vec![0.0; self.ops().len()];
        for op in (0..self.ops().len()).rev() {
            let adjoint = std::mem::take(&mut adjoints[op]);
            if adjoint.is_empty() {
                continue;
            }
            let squares: f64 = adjoint.iter().map(|derivative| derivative * derivative).sum();
            variances[op] = self.entering_noise(op).powi(2) * squares;
            let mut add = |value: usize, derivatives: &mut dyn Iterator<Item = f64>| {
                let target = &mut adjoints[value];
                target.resize(values[value].len(), 0.0);
                target.iter_mut().zip(derivatives).for_each(|(sum, derivative)| *sum += derivative);
            };
            match &self.ops()[op] {
                Op::Input { .. } => {}
                Op::Linear { sources, matrix, .. } => {
                    let mut columns = vec![0.0; matrix.columns()];
                    for (row, derivative) in adjoint.iter().enumerate() {
                        for (column, weight) in matrix.row(row) {
                            columns[column] += derivative * f64::from(weight);
                        }
                    }
                    let mut first = 0;
                    for source in sources {
                        let factor = 1.0 / source.weight_scale.to_f64();
                        let length = values[source.value.0].len();
                        add(source.value.0, &mut columns[first..first + length].iter().map(|column| column * factor));
                        first += length;
                    }
                }
                Op::Square { source } => {
                    add(source.0, &mut adjoint.iter().zip(&values[source.0]).map(|(a, x)| 2.0 * a * x));
                }
                Op::Multiply { left, right } => {
                    add(left.0, &mut adjoint.iter().zip(&values[right.0]).map(|(a, x)| a * x));
                    add(right.0, &mut adjoint.iter().zip(&values[left.0]).map(|(a, x)| a * x));
                }
                Op::Relinearize { source }
                | Op::Rescale { source }
                | Op::RelinearizeRescale { source }
                | Op::DropTo { source, .. } => add(source.0, &mut adjoint.iter().copied()),
            }
        }
        variances
    }
}

//! What the encryption adds to a program's outputs.
//!
//! Noise enters where ciphertexts are encrypted, rounded or key-switched, independently in every ciphertext and slot, and
//! reaches the outputs through the derivative of what follows. For a given sample that derivative is exact: what one
//! operation's noise contributes to the variance of an output is the sum of the squared derivatives times the variance
//! that enters there ([`Program::output_bounds`]). Products of two noises are left out; they are smaller by the relative
//! precision.
//! Derivation and limits: docs/notes/noise.md.

use nightloom_he::noise as scheme;

use crate::{Compression, Op, Program};

/// Deviations of Gaussian noise that are exceeded with probability below `2^-49`.
pub const GAUSSIAN_DEVIATIONS: f64 = 8.0;
/// `exp` of minus this is `2^-50`.
const TAIL_EXPONENT: f64 = 34.7;

/// A bound on the noise of an output, by the key that encrypted the request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoiseBound {
    /// For requests encrypted with the secret key.
    pub secret_key: f64,
    /// For requests encrypted with the public key, whose fresh noise is larger.
    pub public_key: f64,
}

/// Variances of the noise that an operation adds, in units of the message: one number for all slots, or one a slot.
enum Variance {
    Even(f64),
    Slots(Vec<f64>),
}

impl Variance {
    /// The variance of the sum of the slots' noise times these factors.
    fn of_sum(&self, factors: &[f64]) -> f64 {
        match self {
            Self::Even(variance) => variance * factors.iter().map(|factor| factor * factor).sum::<f64>(),
            Self::Slots(variances) => {
                factors.iter().zip(variances.iter().cycle()).map(|(factor, v)| factor * factor * v).sum()
            }
        }
    }

    /// Adds to each slot the variance of its noise times its factor, over all features.
    fn add_to(&self, factors: &[f64], slots: &mut [f64]) {
        let count = slots.len();
        for (at, factor) in factors.iter().enumerate() {
            let variance = match self {
                Self::Even(variance) => *variance,
                Self::Slots(variances) => variances[at % variances.len()],
            };
            slots[at % count] += factor * factor * variance;
        }
    }

    fn mean(&self) -> f64 {
        match self {
            Self::Even(variance) => *variance,
            Self::Slots(variances) => variances.iter().sum::<f64>() / variances.len() as f64,
        }
    }
}

/// The noise of one output.
struct OutputNoise {
    /// Variance of what the secret key's encryption added.
    input: f64,
    /// Variance of other Gaussian noise.
    gaussian: f64,
    /// By slot: variance of noise that is a product with what one slot of the secret, or of a digit, happens to be.
    product: Vec<f64>,
    /// Deviations of roundings of three components.
    three: f64,
}

impl OutputNoise {
    /// A bound that is exceeded with probability near `2^-48`, with this variance of fresh Gaussian noise.
    ///
    /// Given the secret, noise is Gaussian, of variance `sum a_i |s_i|^2` where `a_i` is the variance in slot `i` and
    /// `|s_i|^2` is distributed as `chi^2` of mean 1. That sum exceeds `A (1 + 2 sqrt(x sum alpha_i^2) + 2 x max alpha_i)`
    /// with probability at most `exp(-x)`, where `A = sum a_i` and `alpha_i = a_i / A` (Laurent and Massart, Annals of
    /// Statistics 28, 2000, Lemma 1): spread over many slots it hardly varies. In few slots the tail of a product is the
    /// better bound.
    fn bound(&self, fresh: f64) -> f64 {
        let (gaussian, total) = (self.gaussian + fresh, self.product.iter().sum::<f64>());
        let concentrated = GAUSSIAN_DEVIATIONS * gaussian.sqrt() + scheme::TAIL_DEVIATIONS * total.sqrt();
        let squares: f64 = self.product.iter().map(|variance| variance * variance).sum();
        let largest = self.product.iter().copied().fold(0.0, f64::max);
        let varied = total + 2.0 * (TAIL_EXPONENT * squares).sqrt() + 2.0 * TAIL_EXPONENT * largest;
        let spread = GAUSSIAN_DEVIATIONS * (gaussian + varied).sqrt();
        concentrated.min(spread) + scheme::TAIL_DEVIATIONS_OF_THREE * self.three
    }
}

/// The noise that an operation adds.
struct Entering {
    /// Fresh noise and rounded weights, which are Gaussian in a slot.
    gaussian: Variance,
    /// Roundings and key switches, which hold a product with the secret.
    product: Variance,
}

impl Program {
    /// The deviation of the noise that an operation adds to each feature or slot of its result, in units of the message;
    /// for a matrix over slots, its mean over the slots for operands of magnitude 1.
    ///
    /// # Panics
    /// If there is no such operation.
    pub fn entering_noise(&self, op: usize) -> f64 {
        let operand = match &self.ops()[op] {
            Op::SlotMatrix { matrix, .. } => vec![1.0; matrix.period()],
            _ => Vec::new(),
        };
        let Entering { gaussian, product } = self.entering(op, &operand);
        (gaussian.mean() + product.mean()).sqrt()
    }

    fn entering(&self, op: usize, operand: &[f64]) -> Entering {
        let params = self.params();
        let result = &self.types()[op];
        let scale = result.scale.to_f64();
        let square = |deviation: f64, scale: f64| (deviation / scale).powi(2);
        let none = Variance::Even(0.0);
        match &self.ops()[op] {
            Op::Input { .. } => {
                Entering { gaussian: Variance::Even(square(scheme::fresh_symmetric(params), scale)), product: none }
            }
            Op::Relinearize { source } | Op::RelinearizeRescale { source } => {
                let source = &self.types()[source.0];
                let switch = square(scheme::key_switch(params, source.level), source.scale.to_f64());
                let product = Variance::Even(switch + square(scheme::rounding(params, 2), scale));
                Entering { gaussian: none, product }
            }
            Op::Rescale { .. } => {
                let product = Variance::Even(square(scheme::rounding(params, result.components), scale));
                Entering { gaussian: none, product }
            }
            Op::SlotMatrix { source, matrix, weight_scale, .. } => {
                let source = &self.types()[source.0];
                let (weights, before) = (weight_scale.to_f64(), source.scale.mul(weight_scale).to_f64());
                let rounded = square(scheme::encoding(params), weights);
                let switch = scheme::key_switch(params, source.level);
                let baby = square(switch, source.scale.to_f64());
                let turned = matrix.giants().iter().filter(|giant| **giant != 0).count() as f64;
                let giant = turned * (square(scheme::extended_rotation(params, source.level), before));
                let division = square(scheme::rounding(params, 2), scale);
                let mut gaussian = vec![0.0; operand.len()];
                let mut product = vec![giant + division; matrix.period()];
                for diagonal in matrix.diagonals() {
                    let (head, tail) = operand.split_at(diagonal.rotation);
                    let rotated = tail.iter().chain(head);
                    gaussian.iter_mut().zip(rotated).for_each(|(sum, x)| *sum += rounded * x * x);
                    if matrix.steps(diagonal.rotation).0 != 0 {
                        let weights = diagonal.weights.iter().map(|weight| f64::from(*weight));
                        product.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += baby * weight * weight);
                    }
                }
                Entering { gaussian: Variance::Slots(gaussian), product: Variance::Slots(product) }
            }
            Op::Fold { rotations, .. } => {
                // The noise of a step is summed over as many slots as the steps after it.
                let each = square(scheme::key_switch(params, result.level), scale)
                    + square(scheme::rounding(params, 2), scale);
                let terms = (1u64 << rotations.len().min(63)) as f64 - 1.0;
                Entering { gaussian: none, product: Variance::Even(each * terms) }
            }
            Op::Linear { .. } | Op::Square { .. } | Op::Multiply { .. } | Op::DropTo { .. } | Op::AddSlots { .. } => {
                Entering { gaussian: none, product: Variance::Even(0.0) }
            }
        }
    }

    /// Bounds on the noise of outputs for this request, each exceeded with probability near `2^-48`. `outputs` are
    /// positions in the result of [`evaluate`](Self::evaluate).
    ///
    /// # Panics
    /// If `input` does not have a period of slots for each of the program's inputs.
    pub fn output_bounds(&self, input: &[f64], outputs: impl IntoIterator<Item = usize>) -> Vec<NoiseBound> {
        // Noise does not repeat with the period of the message.
        let (period, features) = (self.period(), self.input_type().features);
        let slots = if period == 1 { 1 } else { self.params().slots() };
        let whole: Vec<f64> =
            input.chunks_exact(period).flat_map(|period| period.iter().copied().cycle().take(slots)).collect();
        assert_eq!(whole.len(), features * slots, "slots of one request");
        let values = self.evaluate_all(&whole);
        let entering: Vec<Entering> = (0..self.ops().len())
            .map(|op| {
                let operand = self.ops()[op].sources().first().map_or(&[][..], |source| &values[source.0]);
                self.entering(op, operand)
            })
            .collect();
        let compression = self.compression().map_or(0.0, |Compression { slots, bits }| {
            let output = self.output_type();
            let scale = output.scale.to_f64() * (f64::from(bits) - self.params().log_q(output.level)).exp2();
            scheme::TAIL_DEVIATIONS * scheme::compression(self.params(), slots) / scale
        });
        let fresh = [scheme::fresh_symmetric(self.params()), scheme::fresh_public(self.params())];
        let bound = |output: usize| {
            let at = output / period * slots + output % period;
            let noise = self.output_noise(at, slots, &values, &entering);
            // The public key's noise is a product with the secret too.
            let public_key = noise.input.sqrt() * fresh[1] / fresh[0];
            NoiseBound {
                secret_key: noise.bound(noise.input) + compression,
                public_key: noise.bound(0.0) + scheme::TAIL_DEVIATIONS * public_key + compression,
            }
        };
        outputs.into_iter().map(bound).collect()
    }

    /// What reaches one output of the noise of every operation, by reverse accumulation of derivatives.
    fn output_noise(&self, output: usize, slots: usize, values: &[Vec<f64>], entering: &[Entering]) -> OutputNoise {
        let mut noise = OutputNoise { input: 0.0, gaussian: 0.0, product: vec![0.0; slots], three: 0.0 };
        let mut adjoints: Vec<Vec<f64>> = vec![Vec::new(); self.ops().len()];
        adjoints[self.output().0] = vec![0.0; self.output_type().features * slots];
        adjoints[self.output().0][output] = 1.0;
        for op in (0..self.ops().len()).rev() {
            let adjoint = std::mem::take(&mut adjoints[op]);
            if adjoint.is_empty() {
                continue;
            }
            let Entering { gaussian, product } = &entering[op];
            match (op, self.types()[op].components) {
                (0, _) => noise.input = gaussian.of_sum(&adjoint),
                (_, 3) => noise.three += product.of_sum(&adjoint).sqrt(),
                _ => {
                    noise.gaussian += gaussian.of_sum(&adjoint);
                    product.add_to(&adjoint, &mut noise.product);
                }
            }
            let mut add = |value: usize, derivatives: &mut dyn Iterator<Item = f64>| {
                let target = &mut adjoints[value];
                target.resize(values[value].len(), 0.0);
                target.iter_mut().zip(derivatives).for_each(|(sum, derivative)| *sum += derivative);
            };
            match &self.ops()[op] {
                Op::Input { .. } => {}
                Op::Linear { sources, matrix, .. } => {
                    let mut columns = vec![0.0; matrix.columns() * slots];
                    for (row, derivatives) in adjoint.chunks_exact(slots).enumerate() {
                        for (column, weight) in matrix.row(row) {
                            let columns = &mut columns[column * slots..][..slots];
                            columns.iter_mut().zip(derivatives).for_each(|(sum, d)| *sum += d * f64::from(weight));
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
                | Op::DropTo { source, .. }
                | Op::AddSlots { source, .. } => add(source.0, &mut adjoint.iter().copied()),
                Op::SlotMatrix { source, matrix, .. } => {
                    add(source.0, &mut matrix.apply_transposed(&adjoint).into_iter());
                }
                Op::Fold { source, rotations } => {
                    let folded = rotations
                        .iter()
                        .rev()
                        .fold(adjoint, |y, rotation| crate::slots::fold_transposed(&y, *rotation));
                    add(source.0, &mut folded.into_iter());
                }
            }
        }
        noise
    }
}

//! What the encryption adds to a program's outputs.
//!
//! Noise enters where ciphertexts are encrypted, rounded or key-switched, independently in every ciphertext and slot, and
//! reaches the outputs through the derivative of what follows. For a given sample that derivative is exact: what one
//! operation's noise contributes to the variance of an output is the sum of the squared derivatives times the variance
//! that enters there ([`Program::output_bounds`]). Products of two noises are left out; they are smaller by the relative
//! precision.
//! Derivation and limits: docs/notes/noise.md.

use std::collections::BTreeMap;

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

/// Variances of the noise that an operation adds, in units of the message.
enum Variance {
    /// The same in every slot, independent.
    Even(f64),
    /// By ciphertext and slot of one period: noise that repeats with the message.
    Repeating {
        /// Slots of a period.
        period: usize,
        variances: Vec<f64>,
    },
}

impl Variance {
    /// The variance of the sum of the noise of every slot times these factors, `slots` of them a ciphertext.
    fn of_sum(&self, factors: &[f64], slots: usize) -> f64 {
        match self {
            Self::Even(variance) => variance * factors.iter().map(|factor| factor * factor).sum::<f64>(),
            Self::Repeating { period, variances } => {
                let vectors = factors.chunks_exact(slots).zip(variances.chunks_exact(*period));
                let of_vector = |(factors, variances): (&[f64], &[f64])| -> f64 {
                    let total = |slot: usize| factors[slot..].iter().step_by(*period).sum::<f64>();
                    variances.iter().enumerate().map(|(slot, variance)| total(slot).powi(2) * variance).sum()
                };
                vectors.map(of_vector).sum()
            }
        }
    }

    fn mean(&self) -> f64 {
        match self {
            Self::Even(variance) => *variance,
            Self::Repeating { variances, .. } => variances.iter().sum::<f64>() / variances.len() as f64,
        }
    }
}

/// Adds to each slot the variance of its noise times its factor, over all ciphertexts.
fn add_squares(variance: f64, factors: &[f64], slots: &mut [f64]) {
    for vector in factors.chunks_exact(slots.len()) {
        slots.iter_mut().zip(vector).for_each(|(sum, factor)| *sum += factor * factor * variance);
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
    /// Variance in every slot of roundings and key switches, which hold a product with the secret.
    product: f64,
    /// The same for every rotation inside the operation, after which more is done: by a baby step of a matrix over slots,
    /// by either step of [`Op::Rotate`], by a rotation of [`Op::Fold`].
    baby: f64,
    /// The same for the rounding of one component between two steps of [`Op::Fold`], which the later one's rotations share.
    between: f64,
}

impl Program {
    /// The deviation of the noise that an operation adds to each feature or slot of its result, in units of the message;
    /// for a matrix over slots, its mean over the slots for operands of magnitude 1.
    ///
    /// # Panics
    /// If there is no such operation.
    pub fn entering_noise(&self, op: usize) -> f64 {
        let (operand, weights) = match &self.ops()[op] {
            Op::SlotMatrix { matrix, .. } => {
                let turned = matrix.diagonals().iter().filter(|diagonal| matrix.steps(diagonal.rotation).0 != 0);
                let squares = turned.flat_map(|diagonal| &diagonal.weights).map(|weight| f64::from(*weight).powi(2));
                let slots = matrix.shape().rows * matrix.period();
                (vec![1.0; matrix.shape().columns * matrix.period()], squares.sum::<f64>() / slots as f64)
            }
            Op::Rotate { .. } => (Vec::new(), 1.0),
            _ => (Vec::new(), 0.0),
        };
        let Entering { gaussian, product, baby, between } = self.entering(op, &operand);
        let inside = match &self.ops()[op] {
            // What later steps sum is counted as if it were independent.
            Op::Fold { steps, .. } => steps.iter().enumerate().fold(0.0, |sum, (at, step)| {
                let each = if at == 0 { baby } else { baby + between };
                sum * (1 + step.len()) as f64 + each * step.len() as f64
            }),
            _ => baby * weights,
        };
        (gaussian.mean() + product + inside).sqrt()
    }

    /// `operand` has at least one period of slots a ciphertext; only matrices over slots read it.
    fn entering(&self, op: usize, operand: &[f64]) -> Entering {
        let params = self.params();
        let result = &self.types()[op];
        let scale = result.scale.to_f64();
        let square = |deviation: f64, scale: f64| (deviation / scale).powi(2);
        let none = Entering { gaussian: Variance::Even(0.0), product: 0.0, baby: 0.0, between: 0.0 };
        match &self.ops()[op] {
            Op::Input { .. } => {
                Entering { gaussian: Variance::Even(square(scheme::fresh_symmetric(params), scale)), ..none }
            }
            // The owner of the model has the public key only.
            Op::Model { .. } => Entering { product: square(scheme::fresh_public(params), scale), ..none },
            Op::Rotate { .. } => Entering { baby: square(scheme::rotation(params, result.level), scale), ..none },
            Op::Relinearize { source } | Op::RelinearizeRescale { source } => {
                let source = &self.types()[source.0];
                let switch = square(scheme::key_switch(params, source.level), source.scale.to_f64());
                Entering { product: switch + square(scheme::rounding(params, 2), scale), ..none }
            }
            Op::Rescale { .. } => {
                Entering { product: square(scheme::rounding(params, result.components), scale), ..none }
            }
            Op::SlotMatrix { source, matrix, weight_scale, .. } => {
                let source = &self.types()[source.0];
                let (weights, before) = (weight_scale.to_f64(), source.scale.mul(weight_scale).to_f64());
                let rounded = square(scheme::encoding_periodic(params, matrix.period()), weights);
                let switch = scheme::key_switch(params, source.level);
                // All rows are taken to have as many as the one with the most.
                let turned = matrix.giant_rotations().into_iter().max().unwrap_or(0) as f64;
                let giant = turned * (square(scheme::extended_rotation(params, source.level), before));
                let division = square(scheme::rounding(params, 2), scale);
                let period = matrix.period();
                let length = operand.len() / matrix.shape().columns;
                let mut variances = vec![0.0; matrix.shape().rows * period];
                for diagonal in matrix.diagonals() {
                    let vector = &operand[diagonal.column * length..][..period];
                    let (head, tail) = vector.split_at(diagonal.rotation);
                    let sums = variances[diagonal.row * period..].iter_mut();
                    sums.zip(tail.iter().chain(head)).for_each(|(sum, x)| *sum += rounded * x * x);
                }
                Entering {
                    gaussian: Variance::Repeating { period, variances },
                    product: giant + division,
                    baby: square(switch, source.scale.to_f64()),
                    ..none
                }
            }
            Op::Fold { .. } => Entering {
                product: square(scheme::rounding(params, 2), scale),
                baby: square(scheme::key_switch(params, result.level), scale),
                between: square(scheme::second_rounding(params), scale),
                ..none
            },
            Op::Linear { .. } | Op::Square { .. } | Op::Multiply { .. } | Op::DropTo { .. } | Op::AddSlots { .. } => {
                none
            }
        }
    }

    /// Bounds on the noise of outputs for this request, each exceeded with probability near `2^-48`. `outputs` are
    /// positions in the result of [`evaluate`](Self::evaluate).
    ///
    /// # Panics
    /// If `input` does not have a period of slots for each of the program's inputs; and as
    /// [`evaluate_all`](Self::evaluate_all).
    pub fn output_bounds(
        &self,
        input: &[f64],
        model: &[Vec<f64>],
        outputs: impl IntoIterator<Item = usize>,
    ) -> Vec<NoiseBound> {
        // Noise does not repeat with the period of the message.
        let (period, features) = (self.period(), self.input_type().features);
        let slots = if period == 1 { 1 } else { self.params().slots() };
        let whole: Vec<f64> =
            input.chunks_exact(period).flat_map(|period| period.iter().copied().cycle().take(slots)).collect();
        assert_eq!(whole.len(), features * slots, "slots of one request");
        let values = self.evaluate_all(&whole, model);
        let entering: Vec<Entering> = (0..self.ops().len())
            .map(|op| {
                let operand = self.ops()[op].sources().first().map_or(&[][..], |source| &values[source.0]);
                self.entering(op, operand)
            })
            .collect();
        let fresh = [scheme::fresh_symmetric(self.params()), scheme::fresh_public(self.params())];
        let bound = |output: usize| {
            let noise = self.output_noise(output / period, output % period, slots, &values, &entering);
            // The public key's noise is a product with the secret too.
            let public_key = noise.input.sqrt() * fresh[1] / fresh[0];
            NoiseBound {
                secret_key: noise.bound(noise.input),
                public_key: noise.bound(0.0) + scheme::TAIL_DEVIATIONS * public_key,
            }
        };
        outputs.into_iter().map(bound).collect()
    }

    /// What reaches one slot of a feature of the result of the noise of every operation, by reverse accumulation of
    /// derivatives.
    fn output_noise(
        &self,
        feature: usize,
        slot: usize,
        slots: usize,
        values: &[Vec<f64>],
        entering: &[Entering],
    ) -> OutputNoise {
        let mut noise = OutputNoise { input: 0.0, gaussian: 0.0, product: vec![0.0; slots], three: 0.0 };
        let mut adjoints: Vec<Vec<f64>> = vec![Vec::new(); self.ops().len()];
        let output = &mut adjoints[self.output().0];
        *output = vec![0.0; self.output_type().features * slots];
        match self.compression() {
            None => output[feature * slots + slot] = 1.0,
            Some(Compression { slots: kept, bits }) => {
                // The result is the mean of the slots that should be equal, its rounding included.
                let equal = output[feature * slots..][..slots].iter_mut().skip(slot % kept).step_by(kept);
                equal.for_each(|derivative| *derivative = kept as f64 / slots as f64);
                let (params, result) = (self.params(), self.output_type());
                let scale = result.scale.to_f64() * (f64::from(bits) - params.log_q(result.level)).exp2();
                add_squares((scheme::rounding(params, 2) / scale).powi(2), output, &mut noise.product);
            }
        }
        for op in (0..self.ops().len()).rev() {
            let adjoint = std::mem::take(&mut adjoints[op]);
            if adjoint.is_empty() {
                continue;
            }
            let Entering { gaussian, product, baby, between } = &entering[op];
            match (op, self.types()[op].components) {
                (0, _) => noise.input = gaussian.of_sum(&adjoint, slots),
                (_, 3) => noise.three += Variance::Even(*product).of_sum(&adjoint, slots).sqrt(),
                _ => {
                    noise.gaussian += gaussian.of_sum(&adjoint, slots);
                    add_squares(*product, &adjoint, &mut noise.product);
                }
            }
            let mut add = |value: usize, derivatives: &mut dyn Iterator<Item = f64>| {
                let target = &mut adjoints[value];
                target.resize(values[value].len(), 0.0);
                target.iter_mut().zip(derivatives).for_each(|(sum, derivative)| *sum += derivative);
            };
            match &self.ops()[op] {
                Op::Input { .. } | Op::Model { .. } => {}
                Op::Linear { sources, matrix, .. } => {
                    let mut columns = vec![0.0; matrix.columns() * slots];
                    for (row, derivatives) in adjoint.chunks_exact(slots).enumerate() {
                        if let [derivative] = derivatives {
                            matrix
                                .row(row)
                                .for_each(|(column, weight)| columns[column] += derivative * f64::from(weight));
                            continue;
                        }
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
                    let adjoints = matrix.baby_adjoints(&adjoint);
                    for ((_, step), derivatives) in &adjoints {
                        if *step != 0 {
                            add_squares(*baby, derivatives, &mut noise.product);
                        }
                    }
                    add(source.0, &mut matrix.transposed(&adjoints).into_iter());
                }
                Op::Rotate { source, rotations, base } => {
                    for of_vector in adjoint.chunks_exact(slots * rotations.len()) {
                        // A giant step's noise is in all rotations that begin with it.
                        let mut giants: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
                        for (rotation, y) in rotations.iter().zip(of_vector.chunks_exact(slots)) {
                            let (step, giant) = (rotation % base, rotation - rotation % base);
                            if step != 0 {
                                add_squares(*baby, y, &mut noise.product);
                            }
                            if giant != 0 {
                                let sums = giants.entry(giant).or_insert_with(|| vec![0.0; slots]);
                                let terms = crate::slots::rotate(y, slots - step);
                                sums.iter_mut().zip(terms).for_each(|(sum, derivative)| *sum += derivative);
                            }
                        }
                        giants.values().for_each(|sums| add_squares(*baby, sums, &mut noise.product));
                    }
                    let back = |derivatives: &[f64]| {
                        let mut sum = vec![0.0; slots];
                        for (rotation, y) in rotations.iter().zip(derivatives.chunks_exact(slots)) {
                            let terms = crate::slots::rotate(y, slots - rotation);
                            sum.iter_mut().zip(terms).for_each(|(sum, derivative)| *sum += derivative);
                        }
                        sum
                    };
                    add(source.0, &mut adjoint.chunks_exact(slots * rotations.len()).flat_map(back));
                }
                Op::Fold { source, steps } => {
                    let mut folded = adjoint;
                    for (at, step) in steps.iter().enumerate().rev() {
                        // The noise of a step is summed by the steps after it.
                        add_squares(*baby * step.len() as f64, &folded, &mut noise.product);
                        let before = |y: &[f64]| crate::slots::fold_transposed(y, step);
                        let mut moved: Vec<f64> = folded.chunks_exact(slots).flat_map(before).collect();
                        std::mem::swap(&mut folded, &mut moved);
                        if at > 0 {
                            // What is added to the sum itself was not rounded.
                            let rotated = folded.iter().zip(&moved).map(|(all, itself)| all - itself);
                            add_squares(*between, &rotated.collect::<Vec<_>>(), &mut noise.product);
                        }
                    }
                    add(source.0, &mut folded.into_iter());
                }
            }
        }
        noise
    }
}

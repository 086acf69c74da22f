//! The polynomial network: what is left of a model once everything affine between two products is one matrix.

use crate::graph::Note;
use crate::interval::Interval;
use crate::matrix::SparseMatrix;

/// A value of a [`Network`]: 0 is the input, `i + 1` the result of stage `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

impl ValueId {
    /// The flattened sample.
    pub const INPUT: ValueId = ValueId(0);

    /// The result of the stage at position `stage`.
    pub fn of_stage(stage: usize) -> ValueId {
        ValueId(stage + 1)
    }

    /// Position among all values.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One step of a network over flattened feature vectors.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// `matrix * (sources one after another) + bias`.
    Affine {
        /// ONNX nodes merged into the matrix.
        name: String,
        /// Values whose features are the columns, in order.
        sources: Vec<ValueId>,
        /// One row an output feature.
        matrix: SparseMatrix,
        /// One number an output feature.
        bias: Vec<f64>,
    },
    /// Element-by-element square.
    Square {
        /// ONNX node.
        name: String,
        /// What is squared.
        source: ValueId,
    },
    /// Element-by-element product.
    Multiply {
        /// ONNX node.
        name: String,
        /// First factor.
        left: ValueId,
        /// Second factor.
        right: ValueId,
    },
}

impl Stage {
    /// ONNX nodes that the stage stands for.
    pub fn name(&self) -> &str {
        match self {
            Stage::Affine { name, .. } | Stage::Square { name, .. } | Stage::Multiply { name, .. } => name,
        }
    }

    /// Weights of its matrix that are not zero.
    pub fn nonzeros(&self) -> usize {
        match self {
            Stage::Affine { matrix, .. } => matrix.nonzeros(),
            Stage::Square { .. } | Stage::Multiply { .. } => 0,
        }
    }

    /// The values that the stage reads.
    pub fn sources(&self) -> Vec<ValueId> {
        match self {
            Stage::Affine { sources, .. } => sources.clone(),
            Stage::Square { source, .. } => vec![*source],
            Stage::Multiply { left, right, .. } => vec![*left, *right],
        }
    }
}

/// Nonzero weights of a row, each with the feature it multiplies.
struct Terms<'a, T> {
    columns: &'a [u32],
    weights: &'a [f64],
    features: &'a [T],
}

impl<T: Copy> Terms<'_, T> {
    fn iter(&self) -> impl Iterator<Item = (f64, T)> {
        self.weights.iter().zip(self.columns).map(|(weight, column)| (*weight, self.features[*column as usize]))
    }
}

/// A polynomial function of one flattened sample: affine stages with squares and products between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    input_shape: Vec<usize>,
    output_shape: Vec<usize>,
    stages: Vec<Stage>,
    /// By value.
    shapes: Vec<Vec<usize>>,
    output: ValueId,
    notes: Vec<Note>,
}

impl Network {
    /// A checked network; `output` must have the features of `output_shape`.
    ///
    /// # Errors
    /// [`NetworkError`] if a stage reads nothing or a later value, or lengths do not agree.
    pub fn new(
        input_shape: Vec<usize>,
        output_shape: Vec<usize>,
        stages: Vec<Stage>,
        output: ValueId,
        notes: Vec<Note>,
    ) -> Result<Network, NetworkError> {
        let mut lengths = vec![input_shape.iter().product::<usize>()];
        for (stage, step) in stages.iter().enumerate() {
            let length = |value: ValueId| {
                lengths.get(value.0).copied().ok_or(NetworkError::LaterValue { stage, value: value.0 })
            };
            let (found, wanted, result) = match step {
                Stage::Affine { sources, .. } if sources.is_empty() => return Err(NetworkError::NoSource { stage }),
                Stage::Affine { sources, matrix, bias, .. } => {
                    let columns = sources.iter().try_fold(0, |sum, &source| Ok(sum + length(source)?))?;
                    if bias.len() != matrix.rows() {
                        return Err(NetworkError::Length { stage, found: bias.len(), wanted: matrix.rows() });
                    }
                    (columns, matrix.columns(), matrix.rows())
                }
                Stage::Square { source, .. } => (length(*source)?, length(*source)?, length(*source)?),
                Stage::Multiply { left, right, .. } => (length(*right)?, length(*left)?, length(*left)?),
            };
            if found != wanted {
                return Err(NetworkError::Length { stage, found, wanted });
            }
            lengths.push(result);
        }
        let wanted = output_shape.iter().product();
        match lengths.get(output.0) {
            Some(&found) if found == wanted => {}
            Some(&found) => return Err(NetworkError::Output { found, wanted }),
            None => return Err(NetworkError::LaterValue { stage: stages.len(), value: output.0 }),
        }
        let mut shapes: Vec<Vec<usize>> = lengths.into_iter().map(|length| vec![length]).collect();
        shapes[0].clone_from(&input_shape);
        Ok(Network { input_shape, output_shape, stages, shapes, output, notes })
    }

    /// The same network with the shapes of the tensors that its values were, as far as they have as many elements. A shape
    /// says where to look for neighbours; it changes no value.
    pub fn with_shapes(mut self, shapes: impl IntoIterator<Item = Vec<usize>>) -> Network {
        for (known, shape) in self.shapes.iter_mut().zip(shapes) {
            if shape.iter().product::<usize>() == known.iter().product::<usize>() {
                *known = shape;
            }
        }
        self
    }

    /// Shape of one sample.
    pub fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    /// Shape of one result.
    pub fn output_shape(&self) -> &[usize] {
        &self.output_shape
    }

    /// All stages in topological order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The value that is the result.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// What the user should know.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Number of values: the input and one a stage.
    pub fn values(&self) -> usize {
        self.shapes.len()
    }

    /// Number of features of a value.
    ///
    /// # Panics
    /// If there is no such value.
    pub fn length(&self, value: ValueId) -> usize {
        self.shape(value).iter().product()
    }

    /// Shape of the tensor that a value was, without the batch.
    ///
    /// # Panics
    /// If there is no such value.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.0]
    }

    /// Result for one flattened sample.
    ///
    /// # Panics
    /// If `input` does not have as many elements as the input shape.
    pub fn evaluate(&self, input: &[f64]) -> Vec<f64> {
        self.evaluate_all(input).swap_remove(self.output.0)
    }

    /// Every value for one flattened sample, indexed by [`ValueId`].
    ///
    /// # Panics
    /// If `input` does not have as many elements as the input shape.
    pub fn evaluate_all(&self, input: &[f64]) -> Vec<Vec<f64>> {
        let affine =
            |terms: Terms<'_, f64>, bias| terms.iter().fold(bias, |sum, (weight, feature)| sum + weight * feature);
        self.interpret(input, affine, |a| a * a, |a, b| a * b)
    }

    /// Bounds of every feature of every value, indexed by [`ValueId`], for samples within `input`.
    ///
    /// Sound: rounding is outward, so the exact value and the one that [`Network::evaluate_all`] computes both lie
    /// within. Features are bounded one by one, without regard to how they depend on each other, so bounds widen with
    /// each stage.
    ///
    /// # Panics
    /// If `input` does not have as many elements as the input shape.
    pub fn ranges(&self, input: &[Interval]) -> Vec<Vec<Interval>> {
        self.interpret(input, |terms, bias| Interval::affine(terms.iter(), bias), Interval::square, Interval::multiply)
    }

    /// Runs the stages over any arithmetic.
    fn interpret<T: Copy>(
        &self,
        input: &[T],
        affine: impl Fn(Terms<'_, T>, f64) -> T,
        square: impl Fn(T) -> T,
        multiply: impl Fn(T, T) -> T,
    ) -> Vec<Vec<T>> {
        assert_eq!(input.len(), self.length(ValueId::INPUT), "elements of one sample");
        let mut values: Vec<Vec<T>> = Vec::with_capacity(self.values());
        values.push(input.to_vec());
        for stage in &self.stages {
            let value = match stage {
                Stage::Affine { sources, matrix, bias, .. } => {
                    let features: Vec<T> = sources.iter().flat_map(|source| values[source.0].iter().copied()).collect();
                    let row = |row| {
                        let (columns, weights) = matrix.row(row);
                        Terms { columns, weights, features: &features }
                    };
                    bias.iter().enumerate().map(|(i, &bias)| affine(row(i), bias)).collect()
                }
                Stage::Square { source, .. } => values[source.0].iter().copied().map(&square).collect(),
                Stage::Multiply { left, right, .. } => {
                    let pairs = values[left.0].iter().zip(&values[right.0]);
                    pairs.map(|(&left, &right)| multiply(left, right)).collect()
                }
            };
            values.push(value);
        }
        values
    }
}

/// Why stages do not form a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A stage, or the output, reads a value that is not computed before it.
    #[error("stage {stage} reads value {value}, which is not computed before it")]
    LaterValue {
        /// Position of the stage; the number of stages for the output.
        stage: usize,
        /// Value asked for.
        value: usize,
    },
    /// An affine stage that reads nothing: its result would be the same for every input.
    #[error("stage {stage} reads nothing")]
    NoSource {
        /// Position of the stage.
        stage: usize,
    },
    /// Lengths of operands, matrix and bias of a stage that do not agree.
    #[error("stage {stage}: {found} features where {wanted} are needed")]
    Length {
        /// Position of the stage.
        stage: usize,
        /// Features given.
        found: usize,
        /// Features needed.
        wanted: usize,
    },
    /// An output value that does not fit the output shape.
    #[error("the output value has {found} features, the output shape {wanted}")]
    Output {
        /// Features of the value.
        found: usize,
        /// Elements of the shape.
        wanted: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `(x + 1)^2 * (2x - y)`, then the sum with its own square's input, on two features.
    fn network() -> Network {
        let mut first = SparseMatrix::new(2);
        first.push_row([(0, 1.0)]).unwrap();
        first.push_row([(1, 1.0)]).unwrap();
        let mut second = SparseMatrix::new(2);
        second.push_row([(0, 2.0), (1, -1.0)]).unwrap();
        second.push_row([(0, 1e-3), (1, 1e3)]).unwrap();
        let mut last = SparseMatrix::new(4);
        last.push_row([(0, 0.5), (3, 1.0)]).unwrap();
        let stages = vec![
            Stage::Affine { name: "a".into(), sources: vec![ValueId::INPUT], matrix: first, bias: vec![1.0, 0.25] },
            Stage::Square { name: "s".into(), source: ValueId(1) },
            Stage::Affine { name: "b".into(), sources: vec![ValueId::INPUT], matrix: second, bias: vec![0.0, -7.0] },
            Stage::Multiply { name: "m".into(), left: ValueId(2), right: ValueId(3) },
            Stage::Affine { name: "c".into(), sources: vec![ValueId(4), ValueId(1)], matrix: last, bias: vec![3.0] },
        ];
        Network::new(vec![2], vec![1], stages, ValueId(5), vec![]).unwrap()
    }

    #[test]
    fn evaluation_follows_the_stages() {
        let values = network().evaluate_all(&[2.0, 4.0]);
        assert_eq!(values[..4], [vec![2.0, 4.0], vec![3.0, 4.25], vec![9.0, 18.0625], vec![0.0, 3993.002]]);
        assert_eq!(values[4][0], 0.0);
        assert_eq!(network().evaluate(&[2.0, 4.0]), [3.0 + 4.25]);
    }

    #[test]
    fn networks_that_do_not_fit_are_refused() {
        let square = |source| Stage::Square { name: String::new(), source: ValueId(source) };
        let build = |stages, output| Network::new(vec![2], vec![2], stages, ValueId(output), vec![]);
        assert!(build(vec![square(0)], 1).is_ok());
        assert_eq!(build(vec![square(1)], 1), Err(NetworkError::LaterValue { stage: 0, value: 1 }));
        assert_eq!(build(vec![square(0)], 2), Err(NetworkError::LaterValue { stage: 1, value: 2 }));
        let affine = |columns, bias| {
            let matrix = SparseMatrix::shifted_identity(1, 0, columns).unwrap();
            Stage::Affine { name: String::new(), sources: vec![ValueId::INPUT], matrix, bias }
        };
        assert_eq!(build(vec![affine(3, vec![0.0])], 0), Err(NetworkError::Length { stage: 0, found: 2, wanted: 3 }));
        assert_eq!(build(vec![affine(2, vec![])], 0), Err(NetworkError::Length { stage: 0, found: 0, wanted: 1 }));
        assert_eq!(build(vec![affine(2, vec![0.0])], 1), Err(NetworkError::Output { found: 1, wanted: 2 }));
        let matrix = SparseMatrix::new(0);
        let nothing = Stage::Affine { name: String::new(), sources: vec![], matrix, bias: vec![] };
        assert_eq!(build(vec![nothing], 1), Err(NetworkError::NoSource { stage: 0 }));
    }

    proptest! {
        #[test]
        fn ranges_hold_every_value(
            corners in prop::array::uniform2((-1e3..1e3f64, -1e3..1e3f64)),
            at in prop::array::uniform2(0.0..=1.0f64),
        ) {
            let boxes = corners.map(|(a, b)| Interval::new(a.min(b), a.max(b)).unwrap());
            let input = [0, 1].map(|i| (boxes[i].low() + at[i] * (boxes[i].high() - boxes[i].low())).min(boxes[i].high()));
            let network = network();
            let ranges = network.ranges(&boxes);
            for (values, ranges) in network.evaluate_all(&input).iter().zip(&ranges) {
                for (value, range) in values.iter().zip(ranges) {
                    prop_assert!(range.contains(*value), "{value} in {range:?}");
                }
            }
        }

        #[test]
        fn ranges_of_points_are_tight(x in -1e3..1e3f64, y in -1e3..1e3f64) {
            let point = |v| Interval::new(v, v).unwrap();
            let network = network();
            for (values, ranges) in network.evaluate_all(&[x, y]).iter().zip(network.ranges(&[point(x), point(y)])) {
                for range in &ranges {
                    let scale = values.iter().fold(1e9f64, |scale, v| scale.max(v.abs()));
                    prop_assert!(range.high() - range.low() <= 1e-12 * scale, "{range:?}");
                }
            }
        }
    }
}

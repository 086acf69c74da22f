//! Folding: computes what does not depend on the input, merges neighbouring constants and drops identities.
//!
//! What batch normalisation leaves behind, a scale and a shift after a linear layer, ends in the weights of that layer
//! and one [`Op::AddConst`].

use super::{rewrite, sweep};
use crate::evaluate;
use crate::graph::{Graph, NodeId, Op, Origin, ShapeError, Tensor};

/// Folds constants and drops identities and unused nodes.
///
/// # Errors
/// None for a graph whose shapes hold; [`ShapeError`] is passed on from rebuilding it.
pub fn fold(graph: &Graph) -> Result<Graph, ShapeError> {
    let folded = rewrite(graph, |copy, _, node, operands| emit(copy, node.op.clone(), operands, &node.origin))?;
    sweep(&folded)
}

/// Appends the simplest equivalent of `op` and returns its node, which may be an older one.
fn emit(graph: &mut Graph, op: Op, operands: Vec<NodeId>, origin: &Origin) -> Result<NodeId, ShapeError> {
    let shapes: Vec<&[usize]> = operands.iter().map(|&operand| graph.shape(operand)).collect();
    let shape = op.output_shape(&shapes)?;

    let constants: Option<Vec<&Tensor>> = operands.iter().map(|&operand| constant(graph, operand)).collect();
    if let (Some(constants), false) = (constants, operands.is_empty()) {
        let values: Vec<(&[usize], &[f64])> =
            constants.iter().map(|tensor| (tensor.shape(), tensor.values())).collect();
        let value = Tensor::new(shape.clone(), evaluate::apply(&op, &values, &shape, 1))?;
        return graph.push(Op::Constant(value), vec![], origin.clone());
    }
    if let &[operand] = operands.as_slice()
        && is_identity(&op, graph.shape(operand))
    {
        return Ok(operand);
    }

    match (&op, operands.as_slice()) {
        (Op::Add | Op::Sub | Op::Multiply, &[left, right]) => binary(graph, op, left, right, origin),
        (Op::AddConst(shift), &[operand]) => match &graph.node(operand).op {
            Op::AddConst(earlier) => {
                let sum = earlier.zip(shift, |a, b| a + b)?;
                let operand = graph.node(operand).inputs.clone();
                emit(graph, Op::AddConst(sum), operand, origin)
            }
            _ => graph.push(op, operands, origin.clone()),
        },
        (Op::MulConst(scale), &[operand]) => scaled(graph, scale, operand, origin),
        (Op::Reshape(_), &[operand]) if matches!(graph.node(operand).op, Op::Reshape(_)) => {
            let operand = graph.node(operand).inputs.clone();
            emit(graph, op, operand, origin)
        }
        _ => graph.push(op, operands, origin.clone()),
    }
}

fn constant(graph: &Graph, id: NodeId) -> Option<&Tensor> {
    match &graph.node(id).op {
        Op::Constant(tensor) => Some(tensor),
        _ => None,
    }
}

/// Whether `op` returns an operand of `shape` as it is.
fn is_identity(op: &Op, shape: &[usize]) -> bool {
    match op {
        Op::AddConst(shift) => shift.is_filled_with(0.0),
        Op::MulConst(scale) => scale.is_filled_with(1.0),
        Op::Reshape(to) => to == shape,
        Op::Transpose(permutation) => permutation.iter().copied().eq(0..shape.len()),
        Op::Select { axis, indices } => indices.iter().copied().eq(0..shape[*axis]),
        Op::Pad(padding) => padding.iter().all(|&padding| padding == (0, 0)),
        Op::Concat { .. } => true,
        Op::ReduceSum(axes) => axes.iter().all(|&axis| shape[axis] == 1),
        Op::SumPool(window) => {
            let ones = [&window.kernel, &window.stride].iter().all(|list| list.iter().all(|&length| length == 1));
            ones && window.padding.iter().all(|&padding| padding == (0, 0))
        }
        _ => false,
    }
}

/// A sum, difference or product, one operand of which may be constant or both the same.
fn binary(graph: &mut Graph, op: Op, left: NodeId, right: NodeId, origin: &Origin) -> Result<NodeId, ShapeError> {
    let shape = graph.shape(left).to_vec();
    match (&op, constant(graph, left).cloned(), constant(graph, right).cloned()) {
        (Op::Add, Some(shift), _) => emit(graph, Op::AddConst(shift), vec![right], origin),
        (Op::Add, _, Some(shift)) => emit(graph, Op::AddConst(shift), vec![left], origin),
        (Op::Sub, Some(shift), _) => {
            let negated = emit(graph, Op::MulConst(Tensor::filled(shape, -1.0)?), vec![right], origin)?;
            emit(graph, Op::AddConst(shift), vec![negated], origin)
        }
        (Op::Sub, _, Some(shift)) => emit(graph, Op::AddConst(shift.map(|value| -value)), vec![left], origin),
        (Op::Multiply, Some(scale), _) => emit(graph, Op::MulConst(scale), vec![right], origin),
        (Op::Multiply, _, Some(scale)) => emit(graph, Op::MulConst(scale), vec![left], origin),
        (Op::Add, ..) if left == right => emit(graph, Op::MulConst(Tensor::filled(shape, 2.0)?), vec![left], origin),
        (Op::Sub, ..) if left == right => graph.push(Op::Constant(Tensor::filled(shape, 0.0)?), vec![], origin.clone()),
        (Op::Multiply, ..) if left == right => graph.push(Op::Square, vec![left], origin.clone()),
        _ => graph.push(op, vec![left, right], origin.clone()),
    }
}

/// Scales a node: by its own constants where it has any.
fn scaled(graph: &mut Graph, scale: &Tensor, operand: NodeId, origin: &Origin) -> Result<NodeId, ShapeError> {
    let node = graph.node(operand).clone();
    let op = match &node.op {
        Op::AddConst(shift) => {
            let shift = shift.zip(scale, |a, b| a * b)?;
            let scaled = emit(graph, Op::MulConst(scale.clone()), node.inputs, origin)?;
            return emit(graph, Op::AddConst(shift), vec![scaled], origin);
        }
        Op::MulConst(earlier) => Some(Op::MulConst(earlier.zip(scale, |a, b| a * b)?)),
        Op::Conv { weight, window, groups } => {
            let positions: usize = node.shape[1..].iter().product();
            let kernel: usize = weight.shape()[1..].iter().product();
            let factors = uniform(scale.values().chunks_exact(positions));
            factors
                .map(|factors| {
                    let values = weight.values().iter().enumerate().map(|(i, value)| value * factors[i / kernel]);
                    let weight = Tensor::new(weight.shape().to_vec(), values.collect())?;
                    Ok(Op::Conv { weight, window: window.clone(), groups: *groups })
                })
                .transpose()?
        }
        Op::MatMul(weight) => {
            let (rows, inner, columns) = (node.shape[1], weight.shape()[1], weight.shape()[2]);
            let factor = |group: usize, column: usize| {
                let factors = (0..rows).map(|row| scale.values()[(group * rows + row) * columns + column]);
                uniform([factors.collect::<Vec<f64>>().as_slice()].into_iter()).map(|factor| factor[0])
            };
            let factors: Option<Vec<f64>> =
                (0..weight.shape()[0] * columns).map(|i| factor(i / columns, i % columns)).collect();
            factors
                .map(|factors| {
                    let values = weight.values().iter().enumerate();
                    let values =
                        values.map(|(i, value)| value * factors[i / (inner * columns) * columns + i % columns]);
                    Ok(Op::MatMul(Tensor::new(weight.shape().to_vec(), values.collect())?))
                })
                .transpose()?
        }
        _ => None,
    };
    match op {
        Some(op) => emit(graph, op, node.inputs, &node.origin),
        None => graph.push(Op::MulConst(scale.clone()), vec![operand], origin.clone()),
    }
}

/// The one value of each slice, if each has only one.
fn uniform<'a>(mut slices: impl Iterator<Item = &'a [f64]>) -> Option<Vec<f64>> {
    let mut values = Vec::new();
    slices
        .all(|slice| {
            values.extend(slice.first());
            slice.iter().all(|value| slice.first() == Some(value))
        })
        .then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Window;

    struct Build(Graph);

    impl Build {
        fn new(shape: &[usize]) -> Build {
            Build(Graph::new(shape.to_vec()).unwrap())
        }

        fn push(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
            let id = self.0.push(op, operands.to_vec(), Origin::default()).unwrap();
            self.0.set_output(id).unwrap();
            id
        }

        /// Names of what folding leaves; checks that the function stays the same.
        fn folded(&self) -> Vec<&'static str> {
            let folded = fold(&self.0).unwrap();
            let input: usize = self.0.shape(self.0.input()).iter().product();
            let sample: Vec<f64> = (0..input).map(|i| (i as f64 * 0.7).sin() * 3.0).collect();
            let (before, after) = (self.0.evaluate(&sample), folded.evaluate(&sample));
            assert!(
                before.iter().zip(&after).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + a.abs())),
                "{before:?} {after:?}"
            );
            folded.nodes().iter().map(|node| node.op.name()).collect()
        }
    }

    fn tensor(shape: &[usize], values: &[f64]) -> Tensor {
        Tensor::new(shape.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn identities_disappear() {
        let mut build = Build::new(&[2, 3]);
        let mut at = build.0.input();
        for op in [
            Op::AddConst(Tensor::filled(vec![2, 3], 0.0).unwrap()),
            Op::MulConst(Tensor::filled(vec![2, 3], 1.0).unwrap()),
            Op::Transpose(vec![0, 1]),
            Op::Select { axis: 1, indices: vec![0, 1, 2] },
            Op::Pad(vec![(0, 0), (0, 0)]),
            Op::Concat { axis: 0 },
            Op::SumPool(Window { kernel: vec![1], stride: vec![1], dilation: vec![4], padding: vec![(0, 0)] }),
            Op::Reshape(vec![6]),
            Op::Reshape(vec![1, 6]),
            Op::ReduceSum(vec![0]),
            Op::Reshape(vec![2, 3]),
        ] {
            at = build.push(op, &[at]);
        }
        assert_eq!(build.folded(), ["Input"]);
    }

    #[test]
    fn what_does_not_depend_on_the_input_is_computed() {
        let mut build = Build::new(&[2]);
        let one = build.push(Op::Constant(tensor(&[2], &[1.0, 2.0])), &[]);
        let two = build.push(Op::Constant(tensor(&[2], &[3.0, 5.0])), &[]);
        let product = build.push(Op::Multiply, &[one, two]);
        let shifted = build.push(Op::Sub, &[product, build.0.input()]);
        build.push(Op::Multiply, &[shifted, one]);
        assert_eq!(build.folded(), ["Input", "MulConst", "AddConst"]);
    }

    #[test]
    fn operands_used_twice_become_one() {
        let mut build = Build::new(&[2]);
        let input = build.0.input();
        let double = build.push(Op::Add, &[input, input]);
        let square = build.push(Op::Multiply, &[double, double]);
        let zero = build.push(Op::Sub, &[square, square]);
        build.push(Op::Add, &[square, zero]);
        assert_eq!(build.folded(), ["Input", "MulConst", "Square"]);
    }

    #[test]
    fn batch_normalisation_ends_in_the_weights() {
        let window = Window { kernel: vec![2], stride: vec![1], dilation: vec![1], padding: vec![(0, 0)] };
        let mut build = Build::new(&[1, 3]);
        let weight = tensor(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let conv = build.push(Op::Conv { weight, window, groups: 1 }, &[build.0.input()]);
        let biased = build.push(Op::AddConst(tensor(&[2, 2], &[1.0, 1.0, 2.0, 2.0])), &[conv]);
        let scaled = build.push(Op::MulConst(tensor(&[2, 2], &[0.5, 0.5, -2.0, -2.0])), &[biased]);
        build.push(Op::AddConst(tensor(&[2, 2], &[7.0; 4])), &[scaled]);
        assert_eq!(build.folded(), ["Input", "Conv", "AddConst"]);

        let mut build = Build::new(&[1, 2, 2]);
        let product = build.push(Op::MatMul(tensor(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])), &[build.0.input()]);
        build.push(Op::MulConst(tensor(&[1, 2, 2], &[2.0, 3.0, 2.0, 3.0])), &[product]);
        assert_eq!(build.folded(), ["Input", "MatMul"]);
        build.push(Op::MulConst(tensor(&[1, 2, 2], &[2.0, 3.0, 5.0, 3.0])), &[product]);
        assert_eq!(build.folded(), ["Input", "MatMul", "MulConst"], "a scale that differs between rows stays");
    }
}

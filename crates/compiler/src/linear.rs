//! Every linear operation as the rows of its matrix: the one definition that evaluation and squashing share.

use crate::graph::{Op, Window};

/// One entry of a matrix row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Term {
    /// Which operand of the operation.
    pub operand: usize,
    /// Flat row-major index into that operand.
    pub index: usize,
    /// Coefficient, never zero.
    pub weight: f64,
}

/// Calls `visit(i, terms)` for every element `i` of the result, in order: element `i` is the sum of its terms.
///
/// `operands` and `output` are the shapes of a node that [`Op::output_shape`] accepts. Entries come in ascending order
/// of `(operand, index)`. The constant of [`Op::AddConst`] is not part of the linear map. Constants, the input and
/// nonlinear operations have no rows.
pub(crate) fn for_each_row(op: &Op, operands: &[&[usize]], output: &[usize], mut visit: impl FnMut(usize, &[Term])) {
    let elements: usize = output.iter().product();
    let mut terms = Vec::new();
    match op {
        Op::Input | Op::Constant(_) | Op::Multiply | Op::Square => {}
        Op::AddConst(_) | Op::Reshape(_) => {
            for i in 0..elements {
                visit(i, &[Term { operand: 0, index: i, weight: 1.0 }]);
            }
        }
        Op::MulConst(scale) => {
            for (i, &weight) in scale.values().iter().enumerate() {
                let term = Term { operand: 0, index: i, weight };
                visit(i, if weight == 0.0 { &[] } else { std::slice::from_ref(&term) });
            }
        }
        Op::Add | Op::Sub => {
            let weight = if matches!(op, Op::Add) { 1.0 } else { -1.0 };
            for index in 0..elements {
                visit(index, &[Term { operand: 0, index, weight: 1.0 }, Term { operand: 1, index, weight }]);
            }
        }
        Op::MatMul(weight) => {
            let (rows, inner, columns) = (operands[0][1], operands[0][2], output[2]);
            for i in 0..elements {
                let (group, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
                terms.clear();
                terms.extend((0..inner).filter_map(|k| {
                    let weight = weight.values()[(group * inner + k) * columns + column];
                    let index = (group * rows + row) * inner + k;
                    (weight != 0.0).then_some(Term { operand: 0, index, weight })
                }));
                visit(i, &terms);
            }
        }
        Op::Conv { weight, window, groups } => {
            let positions: usize = output[1..].iter().product();
            let kernel: usize = window.kernel.iter().product();
            let spatial: usize = operands[0][1..].iter().product();
            let channels = operands[0][0] / groups;
            let outputs = output[0] / groups;
            for i in 0..elements {
                let out_channel = i / positions;
                let taps = taps(window, &operands[0][1..], &output[1..], i % positions);
                terms.clear();
                for channel in 0..channels {
                    let filter = &weight.values()[(out_channel * channels + channel) * kernel..][..kernel];
                    let base = (out_channel / outputs * channels + channel) * spatial;
                    terms.extend(taps.iter().filter_map(|&(tap, offset)| {
                        let weight = filter[tap];
                        (weight != 0.0).then_some(Term { operand: 0, index: base + offset, weight })
                    }));
                }
                visit(i, &terms);
            }
        }
        Op::SumPool(window) => {
            let positions: usize = output[1..].iter().product();
            let spatial: usize = operands[0][1..].iter().product();
            for i in 0..elements {
                let base = i / positions * spatial;
                let taps = taps(window, &operands[0][1..], &output[1..], i % positions);
                terms.clear();
                terms.extend(taps.iter().map(|(_, offset)| Term { operand: 0, index: base + offset, weight: 1.0 }));
                visit(i, &terms);
            }
        }
        Op::ReduceSum(axes) => {
            let shape = operands[0];
            let strides = strides(shape);
            let lengths: Vec<usize> =
                (0..shape.len()).map(|axis| if axes.contains(&axis) { shape[axis] } else { 1 }).collect();
            let offsets: Vec<usize> = Coordinates::new(&lengths).map(|at| dot(&at, &strides)).collect();
            for (i, at) in Coordinates::new(output).enumerate() {
                let base = dot(&at, &strides);
                terms.clear();
                terms.extend(offsets.iter().map(|offset| Term { operand: 0, index: base + offset, weight: 1.0 }));
                visit(i, &terms);
            }
        }
        Op::Transpose(permutation) => {
            let operand = strides(operands[0]);
            let strides: Vec<usize> = permutation.iter().map(|&axis| operand[axis]).collect();
            for (i, at) in Coordinates::new(output).enumerate() {
                visit(i, &[Term { operand: 0, index: dot(&at, &strides), weight: 1.0 }]);
            }
        }
        Op::Select { axis, indices } => {
            let strides = strides(operands[0]);
            for (i, mut at) in Coordinates::new(output).enumerate() {
                at[*axis] = indices[at[*axis]];
                visit(i, &[Term { operand: 0, index: dot(&at, &strides), weight: 1.0 }]);
            }
        }
        Op::Pad(padding) => {
            let strides = strides(operands[0]);
            for (i, at) in Coordinates::new(output).enumerate() {
                let inside = at.iter().zip(padding).zip(operands[0]).zip(&strides).try_fold(
                    0,
                    |index, (((&at, &(before, _)), &length), &stride)| {
                        let at = at.checked_sub(before).filter(|&at| at < length)?;
                        Some(index + at * stride)
                    },
                );
                let term = inside.map(|index| Term { operand: 0, index, weight: 1.0 });
                visit(i, term.as_slice());
            }
        }
        Op::Concat { axis } => {
            let place: Vec<(usize, usize)> = operands
                .iter()
                .enumerate()
                .flat_map(|(operand, shape)| (0..shape[*axis]).map(move |at| (operand, at)))
                .collect();
            let strides: Vec<Vec<usize>> = operands.iter().map(|shape| strides(shape)).collect();
            for (i, mut at) in Coordinates::new(output).enumerate() {
                let (operand, position) = place[at[*axis]];
                at[*axis] = position;
                visit(i, &[Term { operand, index: dot(&at, &strides[operand]), weight: 1.0 }]);
            }
        }
    }
}

/// The taps of the window at flat position `at` of the output that fall inside the input: `(index into the kernel,
/// spatial offset)`, both rising.
fn taps(window: &Window, input: &[usize], output: &[usize], at: usize) -> Vec<(usize, usize)> {
    let strides = strides(output);
    (0..input.len()).fold(vec![(0, 0)], |taps, axis| {
        let position = at / strides[axis] % output[axis];
        let along: Vec<(usize, usize)> = (0..window.kernel[axis])
            .filter_map(|tap| {
                let padded = position * window.stride[axis] + tap * window.dilation[axis];
                let inside = padded.checked_sub(window.padding[axis].0).filter(|&inside| inside < input[axis])?;
                Some((tap, inside))
            })
            .collect();
        let join = |(tap, offset): (usize, usize)| {
            let (kernel, length) = (window.kernel[axis], input[axis]);
            along.iter().map(move |&(t, inside)| (tap * kernel + t, offset * length + inside))
        };
        taps.into_iter().flat_map(join).collect()
    })
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn dot(at: &[usize], strides: &[usize]) -> usize {
    at.iter().zip(strides).map(|(at, stride)| at * stride).sum()
}

/// All coordinates of a shape in row-major order.
struct Coordinates<'a> {
    shape: &'a [usize],
    next: Option<Vec<usize>>,
}

impl<'a> Coordinates<'a> {
    fn new(shape: &'a [usize]) -> Coordinates<'a> {
        Coordinates { shape, next: (!shape.contains(&0)).then(|| vec![0; shape.len()]) }
    }
}

impl Iterator for Coordinates<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let mut following = current.clone();
        for axis in (0..following.len()).rev() {
            following[axis] += 1;
            if following[axis] < self.shape[axis] {
                self.next = Some(following);
                break;
            }
            following[axis] = 0;
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Tensor;

    fn rows(op: Op, operands: &[&[usize]]) -> Vec<Vec<(usize, usize, f64)>> {
        let output = op.output_shape(operands).unwrap();
        let mut rows = Vec::new();
        for_each_row(&op, operands, &output, |i, terms| {
            assert_eq!(i, rows.len(), "rows come in order");
            assert!(terms.is_sorted_by_key(|term| (term.operand, term.index)), "terms come in order");
            rows.push(terms.iter().map(|term| (term.operand, term.index, term.weight)).collect());
        });
        assert_eq!(rows.len(), output.iter().product::<usize>());
        rows
    }

    #[test]
    fn rearrangements_take_one_element_each() {
        let index = |rows: Vec<Vec<(usize, usize, f64)>>| -> Vec<Option<(usize, usize)>> {
            rows.iter().map(|row| row.first().map(|&(operand, index, _)| (operand, index))).collect()
        };
        let first = |list: &[usize]| -> Vec<Option<(usize, usize)>> { list.iter().map(|&i| Some((0, i))).collect() };
        assert_eq!(index(rows(Op::Transpose(vec![1, 0]), &[&[2, 3]])), first(&[0, 3, 1, 4, 2, 5]));
        assert_eq!(index(rows(Op::Select { axis: 1, indices: vec![2, 2, 0] }, &[&[2, 3]])), first(&[2, 2, 0, 5, 5, 3]));
        assert_eq!(
            index(rows(Op::Pad(vec![(0, 0), (1, 0)]), &[&[2, 1]])),
            vec![None, Some((0, 0)), None, Some((0, 1))]
        );
        assert_eq!(
            index(rows(Op::Concat { axis: 1 }, &[&[2, 1], &[2, 2]])),
            vec![Some((0, 0)), Some((1, 0)), Some((1, 1)), Some((0, 1)), Some((1, 2)), Some((1, 3))]
        );
        assert_eq!(index(rows(Op::Reshape(vec![]), &[&[1]])), first(&[0]));
    }

    #[test]
    fn sums_list_what_they_sum() {
        assert_eq!(
            rows(Op::ReduceSum(vec![0]), &[&[2, 2]]),
            vec![vec![(0, 0, 1.0), (0, 2, 1.0)], vec![(0, 1, 1.0), (0, 3, 1.0)]]
        );
        assert_eq!(rows(Op::Sub, &[&[1], &[1]]), vec![vec![(0, 0, 1.0), (1, 0, -1.0)]]);
        let weight = Tensor::new(vec![2, 1, 2], vec![1.0, 0.0, 3.0, 4.0]).unwrap();
        assert_eq!(
            rows(Op::MatMul(weight), &[&[2, 1, 1]]),
            vec![vec![(0, 0, 1.0)], vec![], vec![(0, 1, 3.0)], vec![(0, 1, 4.0)]],
            "zero weights are no terms"
        );
    }

    #[test]
    fn windows_skip_the_padding() {
        let window = Window { kernel: vec![2], stride: vec![2], dilation: vec![2], padding: vec![(1, 1)] };
        let weight = Tensor::new(vec![2, 1, 2], vec![5.0, 7.0, 2.0, 3.0]).unwrap();
        let conv = Op::Conv { weight, window: window.clone(), groups: 2 };
        assert_eq!(
            rows(conv, &[&[2, 3]]),
            vec![vec![(0, 1, 7.0)], vec![(0, 1, 5.0)], vec![(0, 4, 3.0)], vec![(0, 4, 2.0)]]
        );
        assert_eq!(rows(Op::SumPool(window), &[&[1, 3]]), vec![vec![(0, 1, 1.0)]; 2]);
    }
}

//! Operations that move, repeat or leave out elements.

use super::{At, Converted, Value};
use crate::diagnostic::Problem;
use crate::graph::{Graph, NodeId, Op, Origin, Tensor, features};
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Slice, StridedSlice, Tile};
use tract_onnx::tract_hir::internal::{AxisOp, DimLike, TDim, Tensor as Constant, ToDim};

impl At<'_, '_> {
    pub(super) fn axis_op(&mut self, op: &AxisOp, operand: NodeId, batch: usize) -> Converted {
        let id = match op {
            AxisOp::Add(_) | AxisOp::Rm(_) => self.push(Op::Reshape(self.shape.to_vec()), &[operand])?,
            &AxisOp::Move(from, to) => {
                let mut permutation: Vec<usize> = (0..=self.shape.len()).collect();
                if from.max(to) >= permutation.len() {
                    return Err(self.mixed());
                }
                let moved = permutation.remove(from);
                permutation.insert(to, moved);
                permutation.retain(|&axis| axis != batch);
                permutation.iter_mut().for_each(|axis| *axis -= usize::from(*axis > batch));
                self.push(Op::Transpose(permutation), &[operand])?
            }
            AxisOp::Reshape(_, from, to) => {
                // Samples stay apart if the axes before the batch hold as many elements as they did.
                let before = |lengths: &[TDim]| {
                    let batch = lengths.iter().position(|length| *length == self.converter.batch)?;
                    Some(lengths[..batch].iter().fold(1.to_dim(), |product, length| product * length))
                };
                if before(from) != before(to) {
                    return Err(self.mixed());
                }
                self.push(Op::Reshape(self.shape.to_vec()), &[operand])?
            }
        };
        Ok((id, self.batch))
    }

    pub(super) fn pad(&mut self, op: &Pad, operand: NodeId, batch: usize) -> Converted {
        let PadMode::Constant(value) = &op.mode else {
            return Err(Problem::PadMode { mode: format!("{:?}", op.mode) });
        };
        let value = self.floats(value)?.first().copied().unwrap_or(0.0);
        let mut padding = op.pads.clone();
        if batch >= padding.len() || padding.remove(batch) != (0, 0) {
            return Err(self.mixed());
        }
        let mut id = self.push(Op::Pad(padding.clone()), &[operand])?;
        if value != 0.0 {
            let mut graph = Graph::new(self.sample(operand))?;
            let padded = graph.push(Op::Pad(padding), vec![graph.input()], Origin::default())?;
            graph.set_output(padded)?;
            let inside = graph.evaluate(&vec![1.0; features(&self.sample(operand))?]);
            let border = inside.iter().map(|inside| value * (1.0 - inside)).collect();
            id = self.push(Op::AddConst(Tensor::new(self.sample(id), border)?), &[id])?;
        }
        Ok((id, batch))
    }

    fn select(&mut self, axis: usize, indices: Vec<usize>, operand: NodeId, batch: usize) -> Converted {
        let axis = self.sample_axis(axis, batch)?;
        Ok((self.push(Op::Select { axis, indices }, &[operand])?, batch))
    }

    pub(super) fn slice(&mut self, op: &Slice, operand: NodeId, batch: usize) -> Converted {
        match (op.start.to_usize(), op.end.to_usize()) {
            (Ok(start), Ok(end)) => {
                let axis = self.sample_axis(op.axis, batch)?;
                let length = self.sample(operand).get(axis).copied().unwrap_or(0);
                self.select(op.axis, (start..end.min(length)).collect(), operand, batch)
            }
            _ => Err(self.mixed()),
        }
    }

    pub(super) fn strided_slice(
        &mut self,
        op: &StridedSlice,
        mut operand: NodeId,
        batch: usize,
        constants: &[&Constant],
    ) -> Converted {
        if op.begin_mask != 0 || op.end_mask != 0 || op.shrink_axis_mask != 0 {
            return Err(Problem::Unsupported { op: "Slice with masks".to_owned() });
        }
        let list = |position: usize| constants.get(position).map(|constant| self.integers(constant)).transpose();
        let starts = list(0)?.unwrap_or_default();
        let ends = list(1)?.unwrap_or_default();
        let optional = |input: Option<usize>| input.map_or(Ok(None), |input| list(input - 1));
        let rank = self.shape.len() as i64 + 1;
        let axes = optional(op.optional_axes_input)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = optional(op.optional_steps_input)?.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(Problem::Inference { reason: "lists of different lengths".to_owned() });
        }
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = if axis < 0 { axis + rank } else { axis };
            let Some(axis) = usize::try_from(axis).ok().filter(|&axis| axis <= self.shape.len()) else {
                return Err(Problem::Attribute { attribute: "axes".to_owned(), value: axis });
            };
            if axis == batch {
                if (start, end, step) == (0, i64::MAX, 1) {
                    continue;
                }
                return Err(self.mixed());
            }
            let sample_axis = self.sample_axis(axis, batch)?;
            let length = self.sample(operand)[sample_axis] as i64;
            let absolute = |position: i64| if position < 0 { position.saturating_add(length) } else { position };
            let (start, end) = (absolute(start), absolute(end));
            let indices: Vec<usize> = match step {
                0 => return Err(Problem::Attribute { attribute: "steps".to_owned(), value: 0 }),
                1.. => {
                    let step = usize::try_from(step).unwrap_or(usize::MAX);
                    (start.clamp(0, length) as usize..end.clamp(0, length) as usize).step_by(step).collect()
                }
                // From the start down to just above the end, which may be before the first element.
                _ => {
                    let step = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
                    let (last, first) = (end.clamp(-1, length - 1) + 1, start.clamp(-1, length - 1) + 1);
                    (last as usize..first as usize).rev().step_by(step).collect()
                }
            };
            operand = self.push(Op::Select { axis: sample_axis, indices }, &[operand])?;
        }
        Ok((operand, batch))
    }

    pub(super) fn gather(&mut self, axis: usize, operand: NodeId, batch: usize, constants: &[&Constant]) -> Converted {
        let &[indices] = constants else {
            return Err(Problem::NeedsConstant { operand: "the list of indices" });
        };
        let sample_axis = self.sample_axis(axis, batch)?;
        let length = self.sample(operand).get(sample_axis).copied().unwrap_or(0);
        let absolute = |&index: &i64| {
            let index = if index < 0 { index.saturating_add(length as i64) } else { index };
            usize::try_from(index).map_err(|_| Problem::Attribute { attribute: "indices".to_owned(), value: index })
        };
        let indices = self.integers(indices)?.iter().map(absolute).collect::<Result<Vec<usize>, Problem>>()?;
        let (id, _) = self.select(axis, indices, operand, batch)?;
        Ok((self.push(Op::Reshape(self.shape.to_vec()), &[id])?, self.batch))
    }

    pub(super) fn tile(&mut self, op: &Tile, mut operand: NodeId, batch: usize) -> Converted {
        for (axis, times) in op.multipliers.iter().enumerate() {
            let times = times.to_usize().map_err(|_| self.mixed())?;
            if times == 1 {
                continue;
            }
            let sample_axis = self.sample_axis(axis, batch)?;
            let length = self.sample(operand).get(sample_axis).copied().unwrap_or(0);
            features(&[length.max(1), times])?;
            let indices = (0..times).flat_map(|_| 0..length).collect();
            (operand, _) = self.select(axis, indices, operand, batch)?;
        }
        Ok((operand, batch))
    }

    pub(super) fn broadcast_from(&mut self, operand: NodeId, batch: usize) -> Converted {
        let sample = self.sample(operand);
        // Broadcasting aligns the last axes, so new ones come first.
        let Some(new) = self.shape.len().checked_sub(sample.len()).filter(|new| batch + new == self.batch) else {
            return Err(self.mixed());
        };
        let lengths = std::iter::repeat_n(1, new).chain(sample).collect();
        let operand = self.push(Op::Reshape(lengths), &[operand])?;
        Ok((self.broadcast(operand)?, self.batch))
    }

    pub(super) fn concat(&mut self, axis: usize, operands: &[Value]) -> Converted {
        let axis = self.sample_axis(axis, self.batch)?;
        let mut nodes = Vec::new();
        for operand in operands {
            match operand {
                Value::Data { node, batch } if *batch == self.batch => nodes.push(*node),
                _ => return Err(self.mixed()),
            }
        }
        Ok((self.push(Op::Concat { axis }, &nodes)?, self.batch))
    }
}

//! Products with constant matrices, however their axes are arranged.

use super::{At, Converted, Value};
use crate::diagnostic::Problem;
use crate::graph::{MAX_TERMS, Op, ShapeError, Tensor, volume};
use std::sync::Arc;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::internal::Tensor as Constant;

impl At<'_, '_> {
    /// A sum of products of a tensor with a constant, as a batched matrix product.
    pub(super) fn einsum(&mut self, op: &EinSum, operands: &[Value]) -> Converted {
        let scalar = Value::Constant(Arc::new(Constant::from(1.0f64)));
        let (data, constant) = match operands {
            [Value::Data { .. }] => (0, &scalar),
            [Value::Data { .. }, constant @ Value::Constant(_)] => (0, constant),
            [constant @ Value::Constant(_), Value::Data { .. }] => (1, constant),
            [Value::Data { .. }, Value::Data { .. }] => {
                return Err(Problem::NeedsConstant { operand: "each factor of the matrix product" });
            }
            _ => return Err(Problem::Unsupported { op: "Einsum of more than two tensors".to_owned() }),
        };
        let (Value::Data { node: operand, batch }, Value::Constant(constant)) = (operands[data].clone(), constant)
        else {
            return Err(Problem::Unsupported { op: "Einsum".to_owned() });
        };
        let lengths = self.sample(operand);
        let strides = row_major(constant.shape());
        let values = self.floats(constant)?;

        // Axes by where they are: in the operand, the constant, the result. Names as in "g m k, g k n -> g m n";
        // `summed` are axes of the constant alone.
        let (mut g, mut m, mut k, mut n, mut summed) = (vec![], vec![], vec![], vec![], vec![]);
        let mut dropped = Vec::new();
        for axis in op.axes.iter_all_axes() {
            let in_constant = if operands.len() == 2 { axis.inputs[1 - data].as_slice() } else { &[] };
            let (in_data, result) = (axis.inputs[data].as_slice(), axis.outputs[0].as_slice());
            if in_data.len() > 1 || in_constant.len() > 1 || result.len() > 1 {
                return Err(Problem::Unsupported { op: "Einsum along a diagonal".to_owned() });
            }
            let in_constant = in_constant.first().map(|&axis| (constant.shape()[axis], strides[axis]));
            if in_data.first() == Some(&batch) {
                if result.first() != Some(&self.batch) || in_constant.is_some_and(|(length, _)| length != 1) {
                    return Err(self.mixed());
                }
                continue;
            }
            let result = result.first().map(|&axis| self.sample_axis(axis, self.batch)).transpose()?;
            let mut in_data = in_data.first().map(|&axis| self.sample_axis(axis, batch)).transpose()?;
            let mut in_constant = in_constant;
            if let (Some(axis), Some((length, _))) = (in_data, in_constant) {
                // One of the two broadcasts.
                if length == 1 {
                    in_constant = None;
                } else if lengths[axis] == 1 {
                    dropped.push(axis);
                    in_data = None;
                }
            }
            let axis = EinsumAxis {
                in_data,
                length: in_data.map(|axis| lengths[axis]).or(in_constant.map(|(length, _)| length)).unwrap_or(1),
                stride: in_constant.map_or(0, |(_, stride)| stride),
                result,
            };
            match (in_data, in_constant, result) {
                (Some(_), Some(_), Some(_)) => g.push(axis),
                (Some(_), None, Some(_)) => m.push(axis),
                (Some(_), _, None) => k.push(axis),
                (None, Some(_), Some(_)) => n.push(axis),
                (None, _, None) => summed.push(axis),
                (None, None, Some(_)) => return Err(Problem::Unsupported { op: "Einsum with a new axis".to_owned() }),
            }
        }

        let matrix = [&g, &k, &n].map(|axes| EinsumAxis::count(axes));
        let rows = EinsumAxis::count(&m);
        let found = volume(&matrix)?.saturating_mul(EinsumAxis::count(&summed));
        if found > MAX_TERMS {
            let what = "products in a sum over axes of a constant";
            return Err(ShapeError::Total { what, found, limit: MAX_TERMS }.into());
        }
        let [over_g, over_k, over_n, over_summed] = [&g, &k, &n, &summed].map(|axes| EinsumAxis::offsets(axes));
        let mut weight = Vec::with_capacity(matrix.iter().product());
        for g in &over_g {
            for k in &over_k {
                weight.extend(over_n.iter().map(|n| over_summed.iter().map(|s| values[g + k + n + s]).sum::<f64>()));
            }
        }
        let order = dropped.into_iter().chain(g.iter().chain(&m).chain(&k).filter_map(|axis| axis.in_data));
        let transposed = self.push(Op::Transpose(order.collect()), &[operand])?;
        let batched = self.push(Op::Reshape(vec![matrix[0], rows, matrix[1]]), &[transposed])?;
        let product = self.push(Op::MatMul(Tensor::new(matrix.to_vec(), weight)?), &[batched])?;
        let results: Vec<&EinsumAxis> = g.iter().chain(&m).chain(&n).collect();
        let unfolded = self.push(Op::Reshape(results.iter().map(|axis| axis.length).collect()), &[product])?;
        let place = |axis: usize| results.iter().position(|candidate| candidate.result == Some(axis));
        let order = (0..results.len()).map(place).collect::<Option<Vec<usize>>>().ok_or_else(|| self.mixed())?;
        Ok((self.push(Op::Transpose(order), &[unfolded])?, self.batch))
    }
}

/// One axis of a sum of products.
struct EinsumAxis {
    /// Position in the operand's sample.
    in_data: Option<usize>,
    length: usize,
    /// Distance of neighbours in the constant.
    stride: usize,
    /// Position in the result's sample.
    result: Option<usize>,
}

impl EinsumAxis {
    fn count(axes: &[EinsumAxis]) -> usize {
        axes.iter().fold(1usize, |product, axis| product.saturating_mul(axis.length))
    }

    /// Offsets into the constant of all positions along `axes`, row-major.
    fn offsets(axes: &[EinsumAxis]) -> Vec<usize> {
        axes.iter().fold(vec![0], |offsets, axis| {
            offsets.iter().flat_map(|offset| (0..axis.length).map(move |at| offset + at * axis.stride)).collect()
        })
    }
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

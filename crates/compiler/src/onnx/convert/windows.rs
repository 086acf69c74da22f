//! Convolutions and pools.

use super::{At, Converted};
use crate::diagnostic::Problem;
use crate::graph::{NodeId, Op, Tensor, Window};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_hir::internal::Tensor as Constant;

impl At<'_, '_> {
    pub(super) fn conv(&mut self, op: &Conv, operand: NodeId, batch: usize, constants: &[&Constant]) -> Converted {
        let &[kernel, bias] = constants else {
            return Err(Problem::Unsupported { op: "quantized Conv".to_owned() });
        };
        if op.kernel_fmt != KernelFormat::OIHW || op.q_params.is_some() {
            return Err(Problem::Unsupported { op: "Conv with this layout".to_owned() });
        }
        let (window, _) = self.window(&op.pool_spec, operand, batch)?;
        let weight = Tensor::new(kernel.shape().to_vec(), self.floats(kernel)?)?;
        let bias = self.floats(bias)?;
        let mut id = self.push(Op::Conv { weight, window, groups: op.group }, &[operand])?;
        if bias.iter().any(|&value| value != 0.0) {
            let shape = self.sample(id);
            let positions: usize = shape[1..].iter().product();
            let values = (0..shape[0]).flat_map(|channel| {
                let value = if bias.len() == 1 { bias.first() } else { bias.get(channel) };
                value.into_iter().flat_map(move |&value| std::iter::repeat_n(value, positions))
            });
            let bias = Tensor::new(shape, values.collect())?;
            id = self.push(Op::AddConst(bias), &[id])?;
        }
        Ok((id, batch))
    }

    pub(super) fn pool(&mut self, op: &SumPool, operand: NodeId, batch: usize) -> Converted {
        let (window, end) = self.window(&op.pool_spec, operand, batch)?;
        let input = self.sample(operand);
        let mut id = self.push(Op::SumPool(window.clone()), &[operand])?;
        if op.normalize {
            let shape = self.sample(id);
            let mut counts = vec![1.0];
            for axis in 0..window.kernel.len() {
                let (first, last) = if op.count_include_pad {
                    (0, end[axis])
                } else {
                    (window.padding[axis].0, window.padding[axis].0 + input[axis + 1])
                };
                let count = |position: usize| {
                    let taps = (0..window.kernel[axis])
                        .map(|tap| position * window.stride[axis] + tap * window.dilation[axis]);
                    taps.filter(|tap| (first..last).contains(tap)).count() as f64
                };
                let along: Vec<f64> = (0..shape[axis + 1]).map(count).collect();
                counts = counts.iter().flat_map(|&a| along.iter().map(move |b| a * b)).collect();
            }
            if counts.contains(&0.0) {
                return Err(Problem::NotFinite { tensor: self.converter.origin(&self.node.name).node });
            }
            let scales = (0..shape[0]).flat_map(|_| counts.iter().map(|count| count.recip())).collect();
            id = self.push(Op::MulConst(Tensor::new(shape, scales)?), &[id])?;
        }
        Ok((id, batch))
    }

    /// The window of a convolution or pool with its padding in numbers, and where each padded axis ends for counting.
    fn window(&self, spec: &PoolSpec, operand: NodeId, batch: usize) -> Result<(Window, Vec<usize>), Problem> {
        if spec.data_format != DataFormat::NCHW || batch != 0 {
            return Err(self.mixed());
        }
        let input = &self.sample(operand)[1..];
        let window = Window {
            kernel: spec.kernel_shape.to_vec(),
            stride: spec.strides().to_vec(),
            dilation: spec.dilations().to_vec(),
            padding: vec![(0, 0); spec.kernel_shape.len()],
        };
        // Without padding this fails only on what padding cannot mend, or on windows longer than the axis.
        let lists = [window.stride.len(), window.dilation.len(), input.len()];
        if lists.iter().any(|&length| length != window.kernel.len())
            || [&window.kernel, &window.stride, &window.dilation].iter().any(|list| list.contains(&0))
        {
            window.output(input)?;
        }
        let mut end = Vec::new();
        let mut padding = Vec::new();
        for (axis, padded) in spec.computed_padding(input).into_iter().enumerate() {
            let reach = (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]).saturating_add(1);
            let needed = padded.convoluted.saturating_sub(1).saturating_mul(window.stride[axis]).saturating_add(reach);
            // Rounding the number of windows up lets the last one pass the declared padding; rounding it down leaves
            // some of the input out. Padding in numbers says exactly as much as the windows reach.
            let after = needed.saturating_sub(padded.pad_before.saturating_add(input[axis]));
            padding.push((padded.pad_before, after));
            // As in PyTorch, and in ONNX Runtime from operator set 19.
            end.push(match &spec.padding {
                PaddingSpec::ExplicitOnnxPool(before, after, true) => {
                    before[axis].saturating_add(input[axis]).saturating_add(after[axis])
                }
                _ => usize::MAX,
            });
        }
        Ok((Window { padding, ..window }, end))
    }
}

//! `tract`'s typed model, batch axis and all, to the [`Graph`] of one sample.

use super::gate::{Checked, MAX_EXPONENT};
use super::reader::{Typed, refused};
use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::graph::{Graph, NodeId, Op, Origin, Tensor, Window, volume};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, StridedSlice, Tile, TypedConcat,
};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::{
    AxisOp, DatumType, DimLike, OutletId, TDim, Tensor as Constant, ToDim, TractError, TypedFact, TypedModel,
    TypedNode, TypedOp,
};

/// Translates a typed model.
pub(super) fn convert(checked: &Checked, typed: &Typed) -> Result<Graph, Diagnostics> {
    let refuse = |error: TractError| refused(checked, &error);
    let graph = start(checked)?;
    let batch = TDim::Sym(typed.batch.clone());
    let mut converter = Converter { checked, model: &typed.model, batch, graph, values: HashMap::new() };
    let mut problems = Vec::new();
    for id in typed.model.eval_order().map_err(refuse)? {
        let node = typed.model.node(id);
        if let Err(problem) = converter.node(node) {
            let diagnostic = Diagnostic::of_node(&converter.origin(&node.name), problem);
            // One ONNX node can be several nodes here, all with the same problem.
            if !problems.contains(&diagnostic) {
                problems.push(diagnostic);
            }
        }
    }
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    let output = typed.model.output_outlets().map_err(refuse)?.first().and_then(|outlet| converter.values.get(outlet));
    let problem = match output {
        Some(&Value::Data { node, .. }) => match converter.graph.set_output(node) {
            Ok(()) => return Ok(converter.graph),
            Err(error) => error.into(),
        },
        Some(Value::Constant(_)) => Problem::ConstantResult,
        None => Problem::Inference { reason: "nothing computes the output".to_owned() },
    };
    Err(Diagnostic::of_file(problem).into())
}

/// The graph that returns the input as it is.
pub(super) fn start(checked: &Checked) -> Result<Graph, Diagnostics> {
    let graph = Graph::new(checked.input_shape.clone());
    let mut graph = graph.map_err(|error| Diagnostic::of_file(error.into()))?;
    checked.notes.iter().for_each(|note| graph.add_note(note.clone()));
    Ok(graph)
}

/// What an outlet of the typed model is here.
#[derive(Clone)]
enum Value {
    Constant(Arc<Constant>),
    /// A node of the graph, and where the typed model has the batch axis.
    Data {
        node: NodeId,
        batch: usize,
    },
}

struct Converter<'a> {
    checked: &'a Checked,
    model: &'a TypedModel,
    batch: TDim,
    graph: Graph,
    /// Outlets converted so far; those that failed, or depend on one that did, are absent.
    values: HashMap<OutletId, Value>,
}

/// The result of an operation, and where it has the batch axis.
type Converted = Result<(NodeId, usize), Problem>;

impl Converter<'_> {
    /// The ONNX node that a node of the typed model implements.
    fn origin(&self, name: &str) -> Origin {
        self.checked.named(name).cloned().unwrap_or_default()
    }

    fn node(&mut self, node: &TypedNode) -> Result<(), Problem> {
        for (slot, output) in node.outputs.iter().enumerate() {
            if let Some(constant) = &output.fact.konst {
                self.values.insert(OutletId::new(node.id, slot), Value::Constant(constant.clone()));
            }
        }
        let outlet = OutletId::new(node.id, 0);
        if self.values.contains_key(&outlet) {
            return Ok(());
        }
        let operands: Option<Vec<Value>> =
            node.inputs.iter().map(|operand| self.values.get(operand).cloned()).collect();
        let Some(operands) = operands else { return Ok(()) };
        let (shape, batch) = self.sample_shape(&node.outputs[0].fact)?;
        let (id, found) = self.operation(node, &operands, &shape, batch)?;
        if self.graph.shape(id) != shape || found != batch {
            return Err(Problem::BatchMixed { shape: format!("{:?}", node.outputs[0].fact.shape) });
        }
        self.values.insert(outlet, Value::Data { node: id, batch });
        Ok(())
    }

    /// Shape of one sample, and where the batch axis is.
    fn sample_shape(&self, fact: &TypedFact) -> Result<(Vec<usize>, usize), Problem> {
        let mixed = || Problem::BatchMixed { shape: format!("{:?}", fact.shape) };
        let mut shape = Vec::new();
        let mut batch = None;
        for (axis, length) in fact.shape.iter().enumerate() {
            if *length == self.batch {
                if batch.replace(axis).is_some() {
                    return Err(mixed());
                }
            } else {
                shape.push(length.to_usize().map_err(|_| mixed())?);
            }
        }
        volume(&shape)?;
        Ok((shape, batch.ok_or_else(mixed)?))
    }

    fn operation(&mut self, node: &TypedNode, operands: &[Value], shape: &[usize], batch: usize) -> Converted {
        let mut at = At { converter: self, node, shape, batch };
        let op: &dyn TypedOp = node.op.as_ref();
        if op.is::<TypedSource>() {
            return Ok((at.converter.graph.input(), 0));
        }
        let arithmetic = !(op.is::<Cast>() || op.is::<AxisOp>() || op.is::<Identity>());
        if arithmetic && at.converter.model.node_input_facts(node.id).is_ok_and(|facts| !all_float(&facts, operands)) {
            return Err(Problem::IntegerArithmetic);
        }
        if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            return at.binary(op.0.name(), operands);
        }
        if let Some(op) = op.downcast_ref::<EinSum>() {
            return at.einsum(op, operands);
        }
        if let Some(op) = op.downcast_ref::<TypedConcat>() {
            return at.concat(op.axis, operands);
        }
        let Some(&Value::Data { node: operand, batch: from }) = operands.first() else {
            return Err(Problem::NeedsConstant { operand: "an operand besides the first" });
        };
        let constants: Result<Vec<&Constant>, Problem> = operands[1..].iter().map(constant).collect();
        let constants = constants?;
        if let Some(op) = op.downcast_ref::<AxisOp>() {
            at.axis_op(op, operand, from)
        } else if let Some(op) = op.downcast_ref::<Conv>() {
            at.conv(op, operand, from, &constants)
        } else if let Some(op) = op.downcast_ref::<SumPool>() {
            at.pool(op, operand, from)
        } else if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
            at.element_wise(&op.0.name(), operand, from)
        } else if let Some(op) = op.downcast_ref::<Reduce>() {
            at.reduce(op, operand, from)
        } else if let Some(op) = op.downcast_ref::<Cast>() {
            at.cast(op.to, operand, from)
        } else if let Some(op) = op.downcast_ref::<Pad>() {
            at.pad(op, operand, from)
        } else if let Some(op) = op.downcast_ref::<Slice>() {
            at.slice(op, operand, from)
        } else if let Some(op) = op.downcast_ref::<StridedSlice>() {
            at.strided_slice(op, operand, from, &constants)
        } else if let Some(op) = op.downcast_ref::<Gather>() {
            at.gather(op.axis, operand, from, &constants)
        } else if let Some(op) = op.downcast_ref::<Tile>() {
            at.tile(op, operand, from)
        } else if op.is::<MultiBroadcastTo>() {
            at.broadcast_from(operand, from)
        } else if op.is::<Identity>() {
            Ok((operand, from))
        } else if op.name() == "Dropout" {
            at.dropout(operand, from, &constants)
        } else {
            Err(Problem::Unsupported { op: op.name().into_owned() })
        }
    }
}

/// Whether no operand that depends on the input has an integer type.
fn all_float(facts: &[&TypedFact], operands: &[Value]) -> bool {
    let mut data = facts.iter().zip(operands).filter(|(_, operand)| matches!(operand, Value::Data { .. }));
    data.all(|(fact, _)| fact.datum_type.is_float())
}

fn constant(value: &Value) -> Result<&Constant, Problem> {
    match value {
        Value::Constant(constant) => Ok(constant),
        Value::Data { .. } => Err(Problem::NeedsConstant { operand: "an operand besides the first" }),
    }
}

/// One node being converted: `shape` is that of its result for one sample, `batch` where the typed model has the batch.
struct At<'a, 'b> {
    converter: &'a mut Converter<'b>,
    node: &'a TypedNode,
    shape: &'a [usize],
    batch: usize,
}

impl At<'_, '_> {
    fn push(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, Problem> {
        let origin = self.converter.origin(&self.node.name);
        Ok(self.converter.graph.push(op, operands.to_vec(), origin)?)
    }

    fn sample(&self, node: NodeId) -> Vec<usize> {
        self.converter.graph.shape(node).to_vec()
    }

    fn mixed(&self) -> Problem {
        Problem::BatchMixed { shape: format!("{:?}", self.node.outputs[0].fact.shape) }
    }

    /// Axis of one sample for axis `axis` of a tensor whose batch axis is `batch`.
    fn sample_axis(&self, axis: usize, batch: usize) -> Result<usize, Problem> {
        match axis.cmp(&batch) {
            std::cmp::Ordering::Less => Ok(axis),
            std::cmp::Ordering::Equal => Err(self.mixed()),
            std::cmp::Ordering::Greater => Ok(axis - 1),
        }
    }

    /// Elements of a constant in double precision.
    fn floats(&self, constant: &Constant) -> Result<Vec<f64>, Problem> {
        let tensor = || self.converter.origin(&self.node.name).node;
        let values = constant.cast_to::<f64>().map_err(|error| Problem::Inference { reason: error.to_string() })?;
        let values = values.view().as_slice::<f64>().map(<[f64]>::to_vec);
        let values = values.map_err(|error| Problem::Inference { reason: error.to_string() })?;
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Problem::NotFinite { tensor: tensor() })
        }
    }

    fn integers(&self, constant: &Constant) -> Result<Vec<i64>, Problem> {
        let values = constant.cast_to::<i64>().map_err(|error| Problem::Inference { reason: error.to_string() })?;
        let values = values.view().as_slice::<i64>().map(<[i64]>::to_vec);
        values.map_err(|error| Problem::Inference { reason: error.to_string() })
    }

    /// A constant as it applies to one sample: batch axis dropped, broadcast to the shape of the result.
    fn broadcast_constant(&self, constant: &Constant) -> Result<Tensor, Problem> {
        let values = self.floats(constant)?;
        let mut lengths = constant.shape().to_vec();
        if lengths.len() != self.shape.len() + 1 || lengths.remove(self.batch) != 1 {
            return Err(self.mixed());
        }
        let mut graph = Graph::new(lengths.clone())?;
        let input = graph.input();
        let output = broadcast(&mut graph, input, self.shape, &Origin::default())?;
        graph.set_output(output)?;
        Ok(Tensor::new(self.shape.to_vec(), graph.evaluate(&values))?)
    }

    /// Repeats axes of length 1 until `operand` has the shape of the result.
    fn broadcast(&mut self, operand: NodeId) -> Result<NodeId, Problem> {
        let origin = self.converter.origin(&self.node.name);
        broadcast(&mut self.converter.graph, operand, self.shape, &origin)
    }

    fn binary(&mut self, name: &str, operands: &[Value]) -> Converted {
        let unsupported = Problem::Unsupported { op: name.to_owned() };
        let id = match operands {
            &[Value::Data { node: left, batch: a }, Value::Data { node: right, batch: b }] => {
                if a != self.batch || b != self.batch {
                    return Err(self.mixed());
                }
                let same = left == right;
                let (left, right) = (self.broadcast(left)?, self.broadcast(right)?);
                match name {
                    "Add" => self.push(Op::Add, &[left, right])?,
                    "Sub" => self.push(Op::Sub, &[left, right])?,
                    "Mul" if same => self.push(Op::Square, &[left])?,
                    "Mul" => self.push(Op::Multiply, &[left, right])?,
                    "Div" => return Err(Problem::NotPolynomial { op: "Div".to_owned() }),
                    "Pow" => return Err(Problem::NeedsConstant { operand: "the exponent" }),
                    _ => return Err(unsupported),
                }
            }
            [Value::Data { node, batch }, Value::Constant(constant)] => {
                if *batch != self.batch {
                    return Err(self.mixed());
                }
                if name == "Pow" {
                    let exponents = self.floats(constant)?;
                    let operand = self.broadcast(*node)?;
                    return Ok((self.power(operand, &exponents)?, self.batch));
                }
                let constant = self.broadcast_constant(constant)?;
                let operand = self.broadcast(*node)?;
                match name {
                    "Add" => self.push(Op::AddConst(constant), &[operand])?,
                    "Sub" => self.push(Op::AddConst(constant.map(|value| -value)), &[operand])?,
                    "Mul" => self.push(Op::MulConst(constant), &[operand])?,
                    "Div" if constant.values().contains(&0.0) => {
                        return Err(Problem::NotFinite { tensor: self.converter.origin(&self.node.name).node });
                    }
                    "Div" => self.push(Op::MulConst(constant.map(f64::recip)), &[operand])?,
                    _ => return Err(unsupported),
                }
            }
            [Value::Constant(constant), Value::Data { node, batch }] => {
                if *batch != self.batch {
                    return Err(self.mixed());
                }
                let constant = self.broadcast_constant(constant)?;
                let operand = self.broadcast(*node)?;
                match name {
                    "Add" => self.push(Op::AddConst(constant), &[operand])?,
                    "Sub" => {
                        let negated =
                            self.push(Op::MulConst(Tensor::filled(self.shape.to_vec(), -1.0)?), &[operand])?;
                        self.push(Op::AddConst(constant), &[negated])?
                    }
                    "Mul" => self.push(Op::MulConst(constant), &[operand])?,
                    "Div" => return Err(Problem::NotPolynomial { op: "Div".to_owned() }),
                    "Pow" => return Err(Problem::NeedsConstant { operand: "the exponent" }),
                    _ => return Err(unsupported),
                }
            }
            _ => return Err(unsupported),
        };
        Ok((id, self.batch))
    }

    /// A whole power, by products of the least depth.
    fn power(&mut self, operand: NodeId, exponents: &[f64]) -> Result<NodeId, Problem> {
        let exponent = exponents.first().copied().unwrap_or(1.0);
        let whole = (0..=MAX_EXPONENT).find(|&whole| exponents.iter().all(|&value| value == f64::from(whole)));
        match whole {
            None => Err(Problem::Exponent { exponent, limit: MAX_EXPONENT }),
            Some(0) => self.push(Op::Constant(Tensor::filled(self.shape.to_vec(), 1.0)?), &[]),
            Some(exponent) => self.positive_power(operand, exponent, &mut HashMap::from([(1, operand)])),
        }
    }

    fn positive_power(
        &mut self,
        operand: NodeId,
        exponent: u32,
        known: &mut HashMap<u32, NodeId>,
    ) -> Result<NodeId, Problem> {
        if let Some(&id) = known.get(&exponent) {
            return Ok(id);
        }
        let half = self.positive_power(operand, exponent / 2, known)?;
        let id = if exponent % 2 == 0 {
            self.push(Op::Square, &[half])?
        } else {
            let rest = self.positive_power(operand, exponent - exponent / 2, known)?;
            self.push(Op::Multiply, &[half, rest])?
        };
        known.insert(exponent, id);
        Ok(id)
    }

    fn element_wise(&mut self, name: &str, operand: NodeId, batch: usize) -> Converted {
        let id = match name {
            "Square" => self.push(Op::Square, &[operand])?,
            "Neg" => self.push(Op::MulConst(Tensor::filled(self.shape.to_vec(), -1.0)?), &[operand])?,
            _ => return Err(Problem::NotPolynomial { op: name.to_owned() }),
        };
        Ok((id, batch))
    }

    fn cast(&mut self, to: DatumType, operand: NodeId, batch: usize) -> Converted {
        // Into a float type only precision changes, and that is double here.
        if to.is_float() { Ok((operand, batch)) } else { Err(Problem::IntegerArithmetic) }
    }

    fn dropout(&mut self, operand: NodeId, batch: usize, constants: &[&Constant]) -> Converted {
        let training = |constant: &&Constant| {
            constant.datum_type() == DatumType::Bool && constant.cast_to_scalar::<bool>().unwrap_or(true)
        };
        if constants.iter().any(training) {
            return Err(Problem::Unsupported { op: "Dropout in training mode".to_owned() });
        }
        Ok((operand, batch))
    }

    fn axis_op(&mut self, op: &AxisOp, operand: NodeId, batch: usize) -> Converted {
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

    fn conv(&mut self, op: &Conv, operand: NodeId, batch: usize, constants: &[&Constant]) -> Converted {
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

    fn pool(&mut self, op: &SumPool, operand: NodeId, batch: usize) -> Converted {
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
            end.push(match &spec.padding {
                PaddingSpec::ExplicitOnnxPool(before, after, true) => {
                    before[axis].saturating_add(input[axis]).saturating_add(after[axis])
                }
                _ => usize::MAX,
            });
        }
        Ok((Window { padding, ..window }, end))
    }

    fn reduce(&mut self, op: &Reduce, operand: NodeId, batch: usize) -> Converted {
        let axes: Result<Vec<usize>, Problem> = op.axes.iter().map(|&axis| self.sample_axis(axis, batch)).collect();
        match op.reducer {
            Reducer::Sum => Ok((self.push(Op::ReduceSum(axes?), &[operand])?, batch)),
            _ => Err(Problem::NotPolynomial { op: format!("{:?}", op.reducer) }),
        }
    }

    fn pad(&mut self, op: &Pad, operand: NodeId, batch: usize) -> Converted {
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
            let inside = graph.evaluate(&vec![1.0; volume(&self.sample(operand))?]);
            let border = inside.iter().map(|inside| value * (1.0 - inside)).collect();
            id = self.push(Op::AddConst(Tensor::new(self.sample(id), border)?), &[id])?;
        }
        Ok((id, batch))
    }

    fn select(&mut self, axis: usize, indices: Vec<usize>, operand: NodeId, batch: usize) -> Converted {
        let axis = self.sample_axis(axis, batch)?;
        Ok((self.push(Op::Select { axis, indices }, &[operand])?, batch))
    }

    fn slice(&mut self, op: &Slice, operand: NodeId, batch: usize) -> Converted {
        match (op.start.to_usize(), op.end.to_usize()) {
            (Ok(start), Ok(end)) => {
                let axis = self.sample_axis(op.axis, batch)?;
                let length = self.sample(operand).get(axis).copied().unwrap_or(0);
                self.select(op.axis, (start..end.min(length)).collect(), operand, batch)
            }
            _ => Err(self.mixed()),
        }
    }

    fn strided_slice(
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

    fn gather(&mut self, axis: usize, operand: NodeId, batch: usize, constants: &[&Constant]) -> Converted {
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

    fn tile(&mut self, op: &Tile, mut operand: NodeId, batch: usize) -> Converted {
        for (axis, times) in op.multipliers.iter().enumerate() {
            let times = times.to_usize().map_err(|_| self.mixed())?;
            if times == 1 {
                continue;
            }
            let sample_axis = self.sample_axis(axis, batch)?;
            let length = self.sample(operand).get(sample_axis).copied().unwrap_or(0);
            volume(&[length.max(1), times])?;
            let indices = (0..times).flat_map(|_| 0..length).collect();
            (operand, _) = self.select(axis, indices, operand, batch)?;
        }
        Ok((operand, batch))
    }

    fn broadcast_from(&mut self, operand: NodeId, batch: usize) -> Converted {
        let sample = self.sample(operand);
        // Broadcasting aligns the last axes, so new ones come first.
        let Some(new) = self.shape.len().checked_sub(sample.len()).filter(|new| batch + new == self.batch) else {
            return Err(self.mixed());
        };
        let lengths = std::iter::repeat_n(1, new).chain(sample).collect();
        let operand = self.push(Op::Reshape(lengths), &[operand])?;
        Ok((self.broadcast(operand)?, self.batch))
    }

    fn concat(&mut self, axis: usize, operands: &[Value]) -> Converted {
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

    /// A sum of products of a tensor with a constant, as a batched matrix product.
    fn einsum(&mut self, op: &EinSum, operands: &[Value]) -> Converted {
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
        volume(&matrix)?;
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

/// Repeats axes of length 1 until `operand` has `shape`, which must have as many axes.
fn broadcast(graph: &mut Graph, mut operand: NodeId, shape: &[usize], origin: &Origin) -> Result<NodeId, Problem> {
    for (axis, &length) in shape.iter().enumerate() {
        if length != 1 && graph.shape(operand).get(axis) == Some(&1) {
            operand = graph.push(Op::Select { axis, indices: vec![0; length] }, vec![operand], origin.clone())?;
        }
    }
    Ok(operand)
}

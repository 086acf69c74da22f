//! `tract`'s typed model, batch axis and all, to the [`Graph`] of one sample.

mod arithmetic;
mod einsum;
mod rearrange;
mod windows;

use super::gate::Checked;
use super::reader::{Typed, refused};
use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::graph::{Graph, NodeId, Op, Origin, Tensor, features};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::tract_core::ops::array::{Gather, MultiBroadcastTo, Pad, Slice, StridedSlice, Tile, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::Reduce;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::{
    AxisOp, Datum, DimLike, OutletId, TDim, Tensor as Constant, TractError, TypedFact, TypedModel, TypedNode, TypedOp,
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
        features(&shape)?;
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

/// Elements of a constant, cast to `T`.
fn elements<T: Datum + Clone>(constant: &Constant) -> Result<Vec<T>, Problem> {
    // A tensor without elements has no allocation, so it must not be asked for a slice.
    if constant.len() == 0 {
        return Ok(Vec::new());
    }
    let cast = constant.cast_to::<T>();
    let values = cast.and_then(|values| Ok(values.view().as_slice::<T>()?.to_vec()));
    values.map_err(|error| Problem::Inference { reason: error.root_cause().to_string() })
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
        let values: Vec<f64> = elements(constant)?;
        let tensor = || self.converter.origin(&self.node.name).node;
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Problem::NotFinite { tensor: tensor() })
        }
    }

    fn integers(&self, constant: &Constant) -> Result<Vec<i64>, Problem> {
        elements(constant)
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

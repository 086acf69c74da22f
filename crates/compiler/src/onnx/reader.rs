//! Shape inference and constant folding by `tract`, one node at a time so that each step is bounded beforehand.

use super::gate::{BATCH, Checked};
use super::guard;
use super::operators::{Constant, constant_volume, reads_lengths, reads_shape_only};
use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::graph::{MAX_ELEMENTS, Origin};
use std::collections::HashSet;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{
    Datum, Factoid, InferenceFact, InferenceModel, InferenceModelExt, OutletId, Symbol, SymbolValues, TDim, TVec,
    Tensor, TractError, TypedModel,
};

/// A model whose tensors all have known shapes, and known values where they do not depend on the input.
pub(super) struct Typed {
    pub model: TypedModel,
    pub batch: Symbol,
}

/// Longest list of integers that is read as a shape.
const MAX_LIST: usize = 64;

/// Most terms of an expression in the batch size that is followed. `tract` simplifies such expressions by recursion, and
/// without end once a coefficient overflows.
const MAX_TERMS: usize = 64;

/// Infers shapes and folds constants of a checked model.
pub(super) fn infer(checked: &Checked) -> Result<Typed, Diagnostics> {
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true);
    let parsed = onnx.parse(&checked.model, None).map_err(|error| refused(checked, &error))?;
    let mut model = parsed.model;
    let batch = model.symbols.sym(BATCH);
    let nodes = checked.model.graph.as_ref().map_or(&[][..], |graph| &graph.node);
    forward(&mut model, checked, nodes, &batch)?;
    let mut model = model.into_typed().map_err(|error| refused(checked, &error))?;
    model.compute_const_facts().map_err(|error| refused(checked, &error))?;
    Ok(Typed { model, batch })
}

/// Visits the nodes in the order of the file, each once, and stops before anything large is computed.
fn forward(
    model: &mut InferenceModel,
    checked: &Checked,
    nodes: &[NodeProto],
    batch: &Symbol,
) -> Result<(), Diagnostics> {
    // The parser adds one node a proto node, in order, after the sources and constants.
    let first = model.nodes().len() - nodes.len();
    let mut failed: HashSet<usize> = HashSet::new();
    let mut problems = Vec::new();
    let mut data: HashSet<usize> = model.inputs.iter().map(|outlet| outlet.node).collect();
    let mut folded = 0;
    for (position, node) in nodes.iter().enumerate() {
        let id = first + position;
        let on_data = model.node(id).inputs.iter().any(|operand| data.contains(&operand.node));
        if on_data && !reads_shape_only(&node.op_type) {
            data.insert(id);
        }
        if model.node(id).inputs.iter().any(|operand| failed.contains(&operand.node)) {
            failed.insert(id);
            continue;
        }
        let so_far = if data.contains(&id) { 0 } else { folded };
        match guard(|| step(model, id, &node.op_type, batch, so_far)).flatten() {
            Ok(_) if data.contains(&id) => {}
            Ok(elements) => folded = elements,
            Err(problem) => {
                problems.push(Diagnostic::of_node(&checked.origins[position], problem));
                failed.insert(id);
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

/// Infers the results of one node. Returns how many elements they have, `so_far` included: those of the constants
/// before, if the results are constants too.
fn step(model: &mut InferenceModel, id: usize, op: &str, batch: &Symbol, mut so_far: usize) -> Result<usize, Problem> {
    let too_large = |found| Err(Problem::TooLarge { found, limit: MAX_ELEMENTS });
    let facts = |facts: TVec<&InferenceFact>| -> TVec<InferenceFact> { facts.into_iter().cloned().collect() };
    let (inputs, outputs) = model.node_facts(id).map_err(|error| inference(&error))?;
    let (inputs, outputs) = (facts(inputs), facts(outputs));
    let constants: Vec<Option<Constant>> = inputs.iter().map(|fact| constant(fact, batch)).collect();
    // tract keeps the lower half of each length, which would then be another length.
    let lists = constants.iter().flatten().filter_map(|constant| constant.values.as_ref());
    let longest = lists.flatten().map(|value| usize::try_from(value.unsigned_abs()).unwrap_or(usize::MAX)).max();
    if reads_lengths(op) && longest.is_some_and(|longest| longest > MAX_ELEMENTS) {
        return too_large(longest);
    }
    let constants: Option<Vec<Constant>> = constants.into_iter().collect();
    if let Some(constants) = constants.filter(|constants| !constants.is_empty()) {
        let total = constant_volume(op, &constants).and_then(|volume| volume.checked_add(so_far));
        if total.is_none_or(|total| total > MAX_ELEMENTS) {
            return too_large(total);
        }
    }
    let inferred = {
        let node = model.node_mut(id);
        node.op.infer(inputs.iter().collect(), outputs.iter().collect(), TVec::new())
    };
    let (_, outputs, _) = inferred.map_err(|error| inference(&error))?;
    for (slot, fact) in outputs.into_iter().enumerate() {
        if let Some(shape) = fact.shape.concretize() {
            if !shape.iter().all(is_simple) {
                return Err(Problem::BatchArithmetic);
            }
            let elements = shape.iter().try_fold(1usize, |product, length| {
                product.checked_mul(usize::try_from(at_batch_of_one(length, batch)?).ok()?)
            });
            match elements.and_then(|elements| elements.checked_add(so_far)) {
                Some(total) if total <= MAX_ELEMENTS => so_far = total,
                total => return too_large(total),
            }
        }
        if let Some(values) = fact.value.concretize().and_then(|tensor| expressions(&tensor))
            && !values.iter().all(is_simple)
        {
            return Err(Problem::BatchArithmetic);
        }
        model.set_outlet_fact(OutletId::new(id, slot), fact).map_err(|error| inference(&error))?;
    }
    Ok(so_far)
}

/// What is known of a constant operand; `None` if it is no constant.
fn constant(fact: &InferenceFact, batch: &Symbol) -> Option<Constant> {
    let tensor = fact.value.concretize()?;
    let is_list = tensor.rank() <= 1 && tensor.len() <= MAX_LIST && !tensor.datum_type().is_float();
    let values = is_list.then(|| match expressions(&tensor) {
        Some(values) => values.iter().map(|value| at_batch_of_one(value, batch)).collect(),
        // Not by way of expressions: that cast loses the upper half of large integers.
        None => elements(&*tensor.cast_to::<i64>().ok()?),
    });
    Some(Constant { shape: tensor.shape().to_vec(), values: values.flatten() })
}

/// Elements of a tensor of expressions in the batch size; `None` for every other type.
fn expressions(tensor: &Tensor) -> Option<Vec<TDim>> {
    elements(tensor)
}

/// Elements of a tensor of this type; `None` for every other type. A tensor without elements has no allocation, so it must
/// not be asked for a slice.
fn elements<T: Datum + Clone>(tensor: &Tensor) -> Option<Vec<T>> {
    if tensor.datum_type() != T::datum_type() {
        return None;
    }
    if tensor.len() == 0 { Some(Vec::new()) } else { tensor.view().as_slice::<T>().ok().map(<[T]>::to_vec) }
}

fn at_batch_of_one(length: &TDim, batch: &Symbol) -> Option<i64> {
    length.eval(&SymbolValues::default().with(batch, 1)).to_i64().ok()
}

/// Whether an expression has at most [`MAX_TERMS`] terms and only coefficients that could be lengths.
fn is_simple(expression: &TDim) -> bool {
    fn visit(expression: &TDim, terms: &mut usize) -> bool {
        *terms += 1;
        match expression {
            _ if *terms > MAX_TERMS => false,
            TDim::Sym(_) => true,
            TDim::Val(value) => value.unsigned_abs() <= MAX_ELEMENTS as u64,
            TDim::MulInt(factor, inner) => factor.unsigned_abs() <= MAX_ELEMENTS as u64 && visit(inner, terms),
            TDim::Div(inner, divisor) => *divisor <= MAX_ELEMENTS as u64 && visit(inner, terms),
            TDim::Add(inner) | TDim::Mul(inner) | TDim::Broadcast(inner) | TDim::Min(inner) | TDim::Max(inner) => {
                inner.iter().all(|term| visit(term, terms))
            }
            // Comparisons do not come from shapes.
            _ => false,
        }
    }
    visit(expression, &mut 0)
}

fn inference(error: &TractError) -> Problem {
    // The chain goes from the general to the particular; the last link says what is wrong.
    Problem::Inference { reason: error.root_cause().to_string() }
}

/// A failure of the whole model, attributed to the node that the error names, if it names one.
pub(super) fn refused(checked: &Checked, error: &TractError) -> Diagnostics {
    let named = error.chain().find_map(|link| checked.named(&link.to_string()));
    Diagnostic::of_node(named.unwrap_or(&Origin::default()), inference(error)).into()
}

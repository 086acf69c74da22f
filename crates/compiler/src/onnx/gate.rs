//! Checks every declaration of an ONNX file before anything acts on it, and makes the batch axis symbolic.

use super::operators::{LEFT_TO_CLIENT, Support, reads_shape_only, support};
use super::parts::{self, MAX_PARTS, PartsError};
use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::graph::{Note, Origin, features};
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Length;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 20;

/// Largest number of nodes.
pub const MAX_NODES: usize = 1 << 12;

/// Versions of the ONNX operator set whose operators mean what the importer takes them to mean.
pub const OPERATOR_SETS: RangeInclusive<i64> = 7..=25;

/// Largest magnitude of an integer attribute that is a length, a count or an axis.
const MAX_ATTRIBUTE: i64 = 1 << 24;

/// Largest exponent of `Pow`.
pub(super) const MAX_EXPONENT: u32 = 64;

/// Name of the symbol that stands for the batch size.
pub(super) const BATCH: &str = "N";

/// A file whose declarations hold.
pub(super) struct Checked {
    /// The model: only nodes the output needs, renamed `prefix` + position; batch axis symbolic; nothing unused.
    pub model: ModelProto,
    /// What the user calls the node at each position.
    pub origins: Vec<Origin>,
    /// What the name of every node starts with, and the name of no tensor does.
    pub prefix: String,
    /// Shape of the input without the batch axis.
    pub input_shape: Vec<usize>,
    /// Whether the output is the input as it is.
    pub identity: bool,
    pub notes: Vec<Note>,
}

impl Checked {
    /// The node that a message by the reader names, if it names one.
    pub(super) fn named(&self, message: &str) -> Option<&Origin> {
        let (_, rest) = message.split_once(&self.prefix)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        self.origins.get(digits.parse::<usize>().ok()?)
    }
}

/// Decodes and checks a file.
pub(super) fn check(bytes: &[u8]) -> Result<Checked, Diagnostics> {
    let model = decode(bytes).map_err(Diagnostic::of_file)?;
    let mut problems = Vec::new();
    let version = operator_set(&model);
    if !OPERATOR_SETS.contains(&version) {
        let (oldest, newest) = (*OPERATOR_SETS.start(), *OPERATOR_SETS.end());
        problems.push(Diagnostic::of_file(Problem::OperatorSet { found: version, oldest, newest }));
    }
    let ModelProto { opset_import, graph: Some(mut graph), .. } = model else {
        let reason = "it has no graph".to_owned();
        return Err(Diagnostic::of_file(Problem::NotOnnx { reason }).into());
    };
    if graph.node.len() > MAX_NODES {
        let problem = Problem::TooManyNodes { nodes: graph.node.len(), limit: MAX_NODES };
        return Err(Diagnostic::of_file(problem).into());
    }

    let mut notes = Vec::new();
    let input = input(&graph).and_then(|name| Ok((input_shape(&mut graph, &name, &mut notes)?, name)));
    let ((input_shape, batch), input) = input.map_err(|problem| with(&mut problems, problem))?;
    let mut origins: Vec<Origin> = graph.node.iter().map(origin).collect();
    let output = output(&graph, &origins, &mut notes).map_err(|problem| with(&mut problems, problem))?;
    keep_needed(&mut graph, &mut origins, &output);
    check_tensors(&graph, &mut problems);
    check_nodes(&graph, &origins, &input, &output, &mut problems);
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    if let Some(batch) = batch {
        free_batch(&mut graph, &input, batch);
    }
    let prefix = rename(&mut graph);
    let identity = output == input;
    graph.output = vec![ValueInfoProto { name: output, ..Default::default() }];
    let model = ModelProto { opset_import, graph: Some(graph), ..Default::default() };
    Ok(Checked { model, origins, prefix, input_shape, identity, notes })
}

fn with(problems: &mut Vec<Diagnostic>, problem: Problem) -> Diagnostics {
    problems.push(Diagnostic::of_file(problem));
    Diagnostics(std::mem::take(problems))
}

fn decode(bytes: &[u8]) -> Result<ModelProto, Problem> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Problem::FileTooLarge { bytes: bytes.len(), limit: MAX_FILE_BYTES });
    }
    parts::check(bytes).map_err(|error| match error {
        PartsError::TooMany => Problem::TooManyParts { limit: MAX_PARTS },
        PartsError::Malformed => {
            Problem::NotOnnx { reason: "it is not a protobuf message, or not all of one".to_owned() }
        }
    })?;
    ModelProto::decode(bytes).map_err(|error| Problem::NotOnnx { reason: error.to_string() })
}

fn operator_set(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().filter(|set| is_onnx(&set.domain));
    own.map(|set| set.version).max().unwrap_or(0)
}

fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn origin(node: &NodeProto) -> Origin {
    let first = [&node.name].into_iter().chain(&node.output).find(|name| !name.is_empty());
    Origin { node: first.cloned().unwrap_or_default(), op: node.op_type.clone() }
}

/// Name of the one input that no initializer fills.
fn input(graph: &GraphProto) -> Result<String, Problem> {
    let filled: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let free = graph.input.iter().filter(|input| !filled.contains(input.name.as_str()));
    let mut names: Vec<String> = free.map(|input| input.name.clone()).collect();
    if names.len() == 1 { Ok(names.swap_remove(0)) } else { Err(Problem::InputCount { names }) }
}

/// Shape of one sample, and the batch size if the file fixes one; makes the batch axis symbolic.
fn input_shape(
    graph: &mut GraphProto,
    name: &str,
    notes: &mut Vec<Note>,
) -> Result<(Vec<usize>, Option<i64>), Problem> {
    let name = name.to_owned();
    let declared = graph.input.iter_mut().find(|input| input.name == name).and_then(|input| input.r#type.as_mut());
    let Some(Type::TensorType(tensor)) = declared.and_then(|declared| declared.value.as_mut()) else {
        return Err(Problem::InputType { name });
    };
    if element_bytes(tensor.elem_type).is_none() {
        return Err(Problem::InputType { name });
    }
    let Some(shape) = tensor.shape.as_mut().filter(|shape| shape.dim.len() >= 2) else {
        return Err(Problem::NoBatchAxis { name, rank: tensor.shape.as_ref().map_or(0, |shape| shape.dim.len()) });
    };
    let lengths = shape.dim.iter().enumerate().skip(1).map(|(axis, length)| match length.value {
        Some(Length::DimValue(length)) if length > 0 => {
            usize::try_from(length).map_err(|_| Problem::DynamicAxis { name: name.clone(), axis })
        }
        _ => Err(Problem::DynamicAxis { name: name.clone(), axis }),
    });
    let sample = lengths.collect::<Result<Vec<usize>, Problem>>()?;
    features(&sample).map_err(|error| Problem::InputShape { name, error })?;
    let batch = match shape.dim[0].value.replace(Length::DimParam(BATCH.to_owned())) {
        Some(Length::DimValue(size)) if size > 0 => Some(size),
        _ => None,
    };
    if let Some(size) = batch.filter(|&size| size > 1) {
        notes.push(Note::BatchSizeIgnored { size: size.unsigned_abs() });
    }
    Ok((sample, batch))
}

/// Name of the one output, before any activation that is left to the client.
fn output(graph: &GraphProto, origins: &[Origin], notes: &mut Vec<Note>) -> Result<String, Problem> {
    let [output] = graph.output.as_slice() else {
        return Err(Problem::OutputCount { names: graph.output.iter().map(|output| output.name.clone()).collect() });
    };
    let mut name = output.name.clone();
    // A node cannot be the last one twice, so a cycle ends the walk too.
    for _ in 0..graph.node.len() {
        let last = graph.node.iter().zip(origins).find(|(node, _)| node.output.first() == Some(&name));
        let Some((node, origin)) = last else { break };
        let Some(operand) = node.input.first().filter(|_| is_onnx(&node.domain)) else { break };
        if LEFT_TO_CLIENT.contains(&node.op_type.as_str()) {
            let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map(|attribute| attribute.i);
            notes.push(Note::ActivationLeftToClient { origin: origin.clone(), axis });
        } else if node.op_type != "Identity" {
            break;
        }
        name.clone_from(operand);
    }
    Ok(name)
}

/// Drops the nodes, initializers and declarations that `output` does not need.
fn keep_needed(graph: &mut GraphProto, origins: &mut Vec<Origin>, output: &str) {
    let mut needed: HashSet<String> = HashSet::from([output.to_owned()]);
    let mut kept = vec![false; graph.node.len()];
    for (node, kept) in graph.node.iter().zip(&mut kept).rev() {
        *kept = node.output.iter().any(|name| needed.contains(name));
        if *kept {
            needed.extend(node.input.iter().cloned());
        }
    }
    let mut keep = kept.iter().copied();
    graph.node.retain(|_| keep.next().unwrap_or(false));
    let mut keep = kept.iter().copied();
    origins.retain(|_| keep.next().unwrap_or(false));
    let filled: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.input.retain(|input| !filled.contains(input.name.as_str()));
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    graph
        .sparse_initializer
        .retain(|sparse| sparse.values.as_ref().is_some_and(|tensor| needed.contains(&tensor.name)));
    graph.value_info.clear();
    graph.quantization_annotation.clear();
}

fn check_tensors(graph: &GraphProto, problems: &mut Vec<Diagnostic>) {
    let dense = graph.initializer.iter().filter_map(|tensor| check_tensor(&tensor.name, tensor).err());
    let sparse = graph.sparse_initializer.iter().map(|sparse| Problem::SparseTensor {
        tensor: sparse.values.as_ref().map(|tensor| tensor.name.clone()).unwrap_or_default(),
    });
    problems.extend(dense.chain(sparse).map(Diagnostic::of_file));
}

/// Checks that a tensor is here, of a known type, and as large as it says.
fn check_tensor(name: &str, tensor: &TensorProto) -> Result<(), Problem> {
    let name = name.to_owned();
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return Err(Problem::ExternalData { tensor: name });
    }
    let (Some(bytes), Ok(data_type)) = (element_bytes(tensor.data_type), DataType::try_from(tensor.data_type)) else {
        return Err(Problem::TensorType { tensor: name, elem_type: tensor.data_type });
    };
    let elements = tensor.dims.iter().try_fold(1usize, |product, &length| {
        usize::try_from(length).ok().and_then(|length| product.checked_mul(length))
    });
    let (found, unit, per_element) = if tensor.raw_data.is_empty() {
        let found = match data_type {
            DataType::Float => tensor.float_data.len(),
            DataType::Double => tensor.double_data.len(),
            DataType::Int64 => tensor.int64_data.len(),
            // tract looks for unsigned 32 and 64 bit elements where the specification does not put them.
            DataType::Uint32 | DataType::Uint64 => 0,
            _ => tensor.int32_data.len(),
        };
        (found, "elements", 1)
    } else {
        (tensor.raw_data.len(), "bytes", bytes)
    };
    if elements.and_then(|elements| elements.checked_mul(per_element)) == Some(found) {
        Ok(())
    } else {
        Err(Problem::TensorData { tensor: name, shape: tensor.dims.clone(), found, unit })
    }
}

/// Bytes of one element in a tensor's raw data; `None` for types that are not supported.
fn element_bytes(elem_type: i32) -> Option<usize> {
    match DataType::try_from(elem_type).ok()? {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => Some(1),
        DataType::Float16 | DataType::Int16 | DataType::Uint16 => Some(2),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Double | DataType::Int64 | DataType::Uint64 => Some(8),
        _ => None,
    }
}

/// Checks operators, operands and attributes of every node.
fn check_nodes(graph: &GraphProto, origins: &[Origin], input: &str, output: &str, problems: &mut Vec<Diagnostic>) {
    let mut defined: HashSet<&str> = HashSet::from([input]);
    for tensor in &graph.initializer {
        if !defined.insert(&tensor.name) {
            problems.push(Diagnostic::of_file(Problem::DuplicateTensor { tensor: tensor.name.clone() }));
        }
    }
    let mut data: HashSet<&str> = HashSet::from([input]);
    for (node, origin) in graph.node.iter().zip(origins) {
        let mut report = |problem| problems.push(Diagnostic::of_node(origin, problem));
        for operand in node.input.iter().filter(|operand| !operand.is_empty() && !defined.contains(operand.as_str())) {
            report(Problem::UndefinedTensor { tensor: operand.clone() });
        }
        let on_data = node.input.iter().any(|operand| data.contains(operand.as_str()));
        if let Err(problem) = check_operator(node, on_data) {
            report(problem);
        }
        node.attribute.iter().filter_map(|attribute| check_attribute(node, attribute).err()).for_each(&mut report);
        for result in node.output.iter().filter(|result| !result.is_empty()) {
            if !defined.insert(result) {
                report(Problem::DuplicateTensor { tensor: result.clone() });
            }
            if on_data && !reads_shape_only(&node.op_type) {
                data.insert(result);
            }
        }
    }
    if !defined.contains(output) {
        problems.push(Diagnostic::of_file(Problem::UndefinedTensor { tensor: output.to_owned() }));
    }
}

fn check_operator(node: &NodeProto, on_data: bool) -> Result<(), Problem> {
    let op = node.op_type.clone();
    if !is_onnx(&node.domain) {
        return Err(Problem::Unsupported { op: format!("{}.{op}", node.domain) });
    }
    match support(&op, on_data) {
        Support::Supported => Ok(()),
        Support::ConstantOnly => Err(Problem::ConstantOnly { op }),
        Support::NotPolynomial => Err(Problem::NotPolynomial { op }),
        Support::Unsupported => Err(Problem::Unsupported { op }),
    }
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), Problem> {
    let tensor = || format!("{}.{}", node.op_type, attribute.name);
    if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
        return Err(Problem::SparseTensor { tensor: tensor() });
    }
    if attribute.g.is_some() || !attribute.graphs.is_empty() {
        return Err(Problem::Unsupported { op: format!("{} with a subgraph", node.op_type) });
    }
    attribute.t.iter().chain(&attribute.tensors).try_for_each(|value| check_tensor(&tensor(), value))?;
    if attribute.name == "training_mode" && attribute.i != 0 {
        return Err(Problem::Unsupported { op: format!("{} in training mode", node.op_type) });
    }
    // tract follows the cycles of a list that is no permutation without end.
    if attribute.name == "perm" {
        let mut sorted = attribute.ints.clone();
        sorted.sort_unstable();
        if let Some(&value) = sorted.iter().zip(0..).find(|&(&found, wanted)| found != wanted).map(|(found, _)| found) {
            return Err(Problem::Attribute { attribute: attribute.name.clone(), value });
        }
    }
    // Constants are data, and a slice may end at the largest integer to mean the end.
    if matches!(node.op_type.as_str(), "Constant" | "Slice") {
        return Ok(());
    }
    let mut values = [attribute.i].into_iter().chain(attribute.ints.iter().copied());
    match values.find(|value| value.unsigned_abs() > MAX_ATTRIBUTE.unsigned_abs()) {
        Some(value) => Err(Problem::Attribute { attribute: attribute.name.clone(), value }),
        None => Ok(()),
    }
}

/// Where a file of fixed batch size reshapes to a shape that starts with that size, keeps the batch axis instead.
///
/// Zero in the target of `Reshape` copies the length of the operand's axis, so `[1, 256]` becomes `[N, 256]`. If the
/// first axis was not the batch after all, lengths no longer agree and the model is refused.
fn free_batch(graph: &mut GraphProto, input: &str, batch: i64) {
    let initializers = graph.initializer.iter().map(|tensor| tensor.name.clone());
    let results = graph.node.iter().flat_map(|node| node.output.iter().cloned());
    let taken: HashSet<String> = initializers.chain(results).chain([input.to_owned()]).collect();
    let mut lists: HashMap<String, Vec<i64>> =
        graph.initializer.iter().filter_map(|tensor| Some((tensor.name.clone(), integers(tensor)?))).collect();
    let mut data: HashSet<String> = HashSet::from([input.to_owned()]);
    for (position, node) in graph.node.iter_mut().enumerate() {
        if let ("Constant", [result]) = (node.op_type.as_str(), node.output.as_slice()) {
            let value = node.attribute.iter().find_map(|attribute| match attribute.name.as_str() {
                "value" => attribute.t.as_ref().and_then(integers),
                "value_ints" => Some(attribute.ints.clone()),
                _ => None,
            });
            lists.extend(value.map(|value| (result.clone(), value)));
        }
        if !node.input.iter().any(|operand| data.contains(operand)) {
            continue;
        }
        if !reads_shape_only(&node.op_type) {
            data.extend(node.output.iter().cloned());
        }
        let ("Reshape", [operand, shape]) = (node.op_type.as_str(), node.input.as_slice()) else { continue };
        let Some(lengths) = lists.get(shape).filter(|_| data.contains(operand)) else { continue };
        if lengths.len() < 2 || lengths[0] != batch || lengths.contains(&0) {
            continue;
        }
        let mut lengths = lengths.clone();
        lengths[0] = 0;
        let mut name = format!("{shape} of node {position}");
        while taken.contains(&name) {
            name.push(' ');
        }
        node.input[1].clone_from(&name);
        node.attribute.retain(|attribute| attribute.name != "allowzero");
        graph.initializer.push(TensorProto {
            name,
            dims: vec![lengths.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: lengths,
            ..Default::default()
        });
    }
}

/// Elements of a list of 64-bit integers.
fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != DataType::Int64 as i32 || tensor.dims.len() != 1 {
        return None;
    }
    let raw = tensor.raw_data.chunks_exact(8).map(|bytes| bytes.try_into().map(i64::from_le_bytes));
    if tensor.raw_data.is_empty() { Some(tensor.int64_data.clone()) } else { raw.collect::<Result<_, _>>().ok() }
}

/// Names every node after its position and returns what the names start with.
fn rename(graph: &mut GraphProto) -> String {
    let tensors = graph.initializer.iter().map(|tensor| &tensor.name);
    let names: Vec<&String> = tensors.chain(graph.node.iter().flat_map(|node| &node.output)).collect();
    let mut prefix = "node ".to_owned();
    while names.iter().any(|name| name.starts_with(&prefix)) {
        prefix.push(' ');
    }
    for (position, node) in graph.node.iter_mut().enumerate() {
        node.name = format!("{prefix}{position}");
    }
    prefix
}

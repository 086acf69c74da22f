//! The typed tensor graph of one sample: what the importer produces and the passes rewrite.
//!
//! Shapes never hold the batch axis. Every operation but [`Op::Square`] and [`Op::Multiply`] is affine in its operands,
//! so a graph is polynomial by construction; there is no operation for anything else.

use std::fmt;

pub use nightloom_program::wire::MAX_FEATURES;

/// Largest number of elements in the constants of a graph together: above any network that can be evaluated under
/// encryption, below what would exhaust memory.
pub const MAX_ELEMENTS: usize = 1 << 25;

/// Largest number of features in the tensors of a graph together, of which each has at most [`MAX_FEATURES`].
pub const MAX_ACTIVATIONS: usize = 1 << 24;

/// Largest number of products of a weight and a feature in the operations of a graph together, products with zero
/// included.
pub const MAX_TERMS: usize = 1 << 28;

/// A row-major tensor of constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Tensor {
    /// A tensor of `values` in row-major order.
    ///
    /// # Errors
    /// [`ShapeError::Length`] unless `values` holds exactly the product of `shape`.
    pub fn new(shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, ShapeError> {
        if volume(&shape)? != values.len() {
            return Err(ShapeError::Length { shape, found: values.len() });
        }
        Ok(Tensor { shape, values })
    }

    /// A tensor of `shape` whose elements are all `value`.
    ///
    /// # Errors
    /// [`ShapeError::TooLarge`] beyond [`MAX_ELEMENTS`].
    pub fn filled(shape: Vec<usize>, value: f64) -> Result<Tensor, ShapeError> {
        let values = vec![value; volume(&shape)?];
        Ok(Tensor { shape, values })
    }

    /// The length of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Applies `f` to every element.
    pub fn map(&self, f: impl FnMut(f64) -> f64) -> Tensor {
        Tensor { shape: self.shape.clone(), values: self.values.iter().copied().map(f).collect() }
    }

    /// Combines two tensors of one shape, element by element.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] if the shapes differ.
    pub fn zip(&self, other: &Tensor, mut f: impl FnMut(f64, f64) -> f64) -> Result<Tensor, ShapeError> {
        same_shape("Tensor", &other.shape, &self.shape)?;
        let values = self.values.iter().zip(&other.values).map(|(&a, &b)| f(a, b)).collect();
        Ok(Tensor { shape: self.shape.clone(), values })
    }

    /// Whether every element equals `value` exactly.
    pub fn is_filled_with(&self, value: f64) -> bool {
        self.values.iter().all(|&v| v == value)
    }
}

/// Where a node comes from, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Name of the ONNX node.
    pub node: String,
    /// ONNX operator of that node.
    pub op: String,
}

/// Position of a node in its graph; operands have smaller positions than their users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Index into [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Geometry of a sliding window over the spatial axes: the ones after the channel axis.
///
/// All four lists have one entry per spatial axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Taps per axis.
    pub kernel: Vec<usize>,
    /// Distance between neighbouring windows.
    pub stride: Vec<usize>,
    /// Distance between neighbouring taps.
    pub dilation: Vec<usize>,
    /// Zeros assumed before the first and after the last element.
    pub padding: Vec<(usize, usize)>,
}

impl Window {
    /// Spatial extent of the output over an input of spatial extent `input`.
    ///
    /// # Errors
    /// [`ShapeError::Window`] if a window is longer than the padded axis or a stride, dilation or kernel is zero.
    pub fn output(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let rank = self.kernel.len();
        for found in [input.len(), self.stride.len(), self.dilation.len(), self.padding.len()] {
            if found != rank {
                return Err(ShapeError::Rank { op: "Window", found, wanted: rank });
            }
        }
        (0..rank)
            .map(|axis| {
                let error = ShapeError::Window {
                    axis,
                    length: input[axis],
                    kernel: self.kernel[axis],
                    stride: self.stride[axis],
                    dilation: self.dilation[axis],
                };
                let (before, after) = self.padding[axis];
                let padded = input[axis].checked_add(before).and_then(|n| n.checked_add(after));
                let reach = self.kernel[axis].checked_sub(1).and_then(|n| n.checked_mul(self.dilation[axis]));
                match (padded, reach) {
                    (Some(padded), Some(reach))
                        if reach < padded && self.stride[axis] > 0 && self.dilation[axis] > 0 =>
                    {
                        Ok((padded - reach - 1) / self.stride[axis] + 1)
                    }
                    _ => Err(error),
                }
            })
            .collect()
    }
}

/// One operation on the tensors of a single sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The sample.
    Input,
    /// A tensor that does not depend on the sample.
    Constant(Tensor),
    /// Cross-correlation of `[channels, spatial...]` with `weight` of shape `[outputs, channels / groups, kernel...]`.
    /// A bias is an [`Op::AddConst`] after it.
    Conv {
        /// Kernel, `[outputs, channels / groups, kernel...]`.
        weight: Tensor,
        /// Stride, padding and dilation.
        window: Window,
        /// Number of independent channel groups.
        groups: usize,
    },
    /// `[g, m, k]` times a constant `[g, k, n]`, giving `[g, m, n]`.
    MatMul(Tensor),
    /// Sum over sliding windows of each channel of `[channels, spatial...]`.
    SumPool(Window),
    /// Sum over the listed axes, which stay with length 1.
    ReduceSum(Vec<usize>),
    /// Adds a constant of the operand's shape.
    AddConst(Tensor),
    /// Multiplies by a constant of the operand's shape, element by element.
    MulConst(Tensor),
    /// Sum of two operands of one shape.
    Add,
    /// First operand less the second.
    Sub,
    /// Element-by-element product of two operands.
    Multiply,
    /// Element-by-element square.
    Square,
    /// The same elements in row-major order under another shape.
    Reshape(Vec<usize>),
    /// Axis `i` of the result is axis `permutation[i]` of the operand.
    Transpose(Vec<usize>),
    /// Position `i` of `axis` in the result is position `indices[i]` in the operand: slices, gathers and broadcasts.
    Select {
        /// The axis taken from.
        axis: usize,
        /// Positions in the operand.
        indices: Vec<usize>,
    },
    /// Zeros before and after each axis.
    Pad(Vec<(usize, usize)>),
    /// Operands one after another along an axis.
    Concat {
        /// The axis along which operands follow each other.
        axis: usize,
    },
}

impl Op {
    /// Name for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "Input",
            Op::Constant(_) => "Constant",
            Op::Conv { .. } => "Conv",
            Op::MatMul(_) => "MatMul",
            Op::SumPool(_) => "SumPool",
            Op::ReduceSum(_) => "ReduceSum",
            Op::AddConst(_) => "AddConst",
            Op::MulConst(_) => "MulConst",
            Op::Add => "Add",
            Op::Sub => "Sub",
            Op::Multiply => "Multiply",
            Op::Square => "Square",
            Op::Reshape(_) => "Reshape",
            Op::Transpose(_) => "Transpose",
            Op::Select { .. } => "Select",
            Op::Pad(_) => "Pad",
            Op::Concat { .. } => "Concat",
        }
    }

    /// Whether the operation consumes a multiplication of two encrypted values.
    pub fn is_nonlinear(&self) -> bool {
        matches!(self, Op::Multiply | Op::Square)
    }

    /// Number of elements in its constants.
    fn constants(&self) -> usize {
        match self {
            Op::Constant(tensor) | Op::AddConst(tensor) | Op::MulConst(tensor) => tensor.values.len(),
            Op::Conv { weight, .. } | Op::MatMul(weight) => weight.values.len(),
            _ => 0,
        }
    }

    /// Number of products of a weight and a feature that its definition adds up, those with zero included: what walking
    /// over the rows of its matrix takes, padding not being left out. Saturates.
    fn terms(&self, operands: &[&[usize]], output: &[usize]) -> usize {
        let product =
            |lengths: &[usize]| lengths.iter().fold(1usize, |product, &length| product.saturating_mul(length));
        let each = match self {
            Op::Conv { weight, .. } => product(&weight.shape()[1..]),
            Op::MatMul(weight) => weight.shape()[1],
            Op::SumPool(window) => product(&window.kernel),
            Op::ReduceSum(_) => return product(operands[0]),
            _ => operands.len(),
        };
        product(output).saturating_mul(each)
    }

    /// Shape of the result for operands of the given shapes; [`Op::Input`] has none and is refused.
    ///
    /// # Errors
    /// What is wrong with the shapes, or [`ShapeError::TooLarge`] beyond [`MAX_FEATURES`].
    pub fn output_shape(&self, operands: &[&[usize]]) -> Result<Vec<usize>, ShapeError> {
        let op = self.name();
        let arity = match self {
            Op::Constant(_) => 0,
            Op::Add | Op::Sub | Op::Multiply => 2,
            Op::Concat { .. } => operands.len().max(1),
            Op::Input => return Err(ShapeError::SecondInput),
            _ => 1,
        };
        if operands.len() != arity {
            return Err(ShapeError::Arity { op, found: operands.len(), wanted: arity });
        }
        let shape = match self {
            Op::Input => return Err(ShapeError::SecondInput),
            Op::Constant(tensor) => tensor.shape.clone(),
            Op::Conv { weight, window, groups } => conv_shape(operands[0], weight.shape(), window, *groups)?,
            Op::MatMul(weight) => {
                let (&[g, m, k], &[wg, wk, n]) = (operands[0], weight.shape()) else {
                    return Err(ShapeError::Rank { op, found: operands[0].len(), wanted: 3 });
                };
                if (g, k) != (wg, wk) {
                    return Err(mismatch(op, operands[0], &[wg, m, wk]));
                }
                vec![g, m, n]
            }
            Op::SumPool(window) => {
                let Some((&channels, spatial)) = operands[0].split_first() else {
                    return Err(ShapeError::Rank { op, found: 0, wanted: 1 + window.kernel.len() });
                };
                let mut shape = vec![channels];
                shape.extend(window.output(spatial)?);
                shape
            }
            Op::ReduceSum(axes) => {
                let mut shape = operands[0].to_vec();
                for &axis in axes {
                    *axis_mut(op, &mut shape, axis)? = 1;
                }
                shape
            }
            Op::AddConst(tensor) | Op::MulConst(tensor) => {
                same_shape(op, operands[0], &tensor.shape)?;
                tensor.shape.clone()
            }
            Op::Add | Op::Sub | Op::Multiply => {
                same_shape(op, operands[1], operands[0])?;
                operands[0].to_vec()
            }
            Op::Square => operands[0].to_vec(),
            Op::Reshape(shape) => {
                if volume(shape)? != volume(operands[0])? {
                    return Err(mismatch(op, operands[0], shape));
                }
                shape.clone()
            }
            Op::Transpose(permutation) => {
                let mut sorted = permutation.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..operands[0].len()) {
                    return Err(ShapeError::Permutation { found: permutation.clone(), rank: operands[0].len() });
                }
                permutation.iter().map(|&axis| operands[0][axis]).collect()
            }
            Op::Select { axis, indices } => {
                let mut shape = operands[0].to_vec();
                let length = axis_mut(op, &mut shape, *axis)?;
                if let Some(&index) = indices.iter().find(|&&index| index >= *length) {
                    return Err(ShapeError::Index { axis: *axis, index, length: *length });
                }
                *length = indices.len();
                shape
            }
            Op::Pad(padding) => {
                if padding.len() != operands[0].len() {
                    return Err(ShapeError::Rank { op, found: padding.len(), wanted: operands[0].len() });
                }
                let lengths = operands[0].iter().zip(padding);
                lengths.map(|(&n, &(before, after))| n.saturating_add(before).saturating_add(after)).collect()
            }
            Op::Concat { axis } => {
                let mut shape = operands[0].to_vec();
                let mut total = *axis_mut(op, &mut shape, *axis)?;
                for operand in &operands[1..] {
                    let mut other = operand.to_vec();
                    total = total.saturating_add(*axis_mut(op, &mut other, *axis)?);
                    other[*axis] = shape[*axis];
                    same_shape(op, &other, &shape)?;
                }
                shape[*axis] = total;
                shape
            }
        };
        features(&shape)?;
        Ok(shape)
    }
}

/// One operation applied to earlier nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Its operands, all earlier in the graph.
    pub inputs: Vec<NodeId>,
    /// Shape of its result, without the batch axis.
    pub shape: Vec<usize>,
    /// The ONNX node that it implements or is part of.
    pub origin: Origin,
}

/// What the user should know about a model that was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A last activation was left out: the client applies it after decryption.
    ActivationLeftToClient {
        /// Where it was.
        origin: Origin,
        /// Axis of the operator, the batch being axis 0, where it has one.
        axis: Option<i64>,
    },
    /// The file fixes the batch size; the compiled model takes any number of samples.
    BatchSizeIgnored {
        /// The size in the file.
        size: u64,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::ActivationLeftToClient { origin, .. } => {
                write!(f, "{} '{}' is left to the client, after decryption", origin.op, origin.node)
            }
            Note::BatchSizeIgnored { size } => {
                write!(f, "the file fixes a batch of {size}; the compiled model takes any number of samples")
            }
        }
    }
}

/// A polynomial function of one sample, as tensor operations in topological order.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    output: NodeId,
    notes: Vec<Note>,
    size: Size,
}

/// What the nodes of a graph take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Size {
    activations: usize,
    constants: usize,
    terms: usize,
}

impl Size {
    /// The size with one more node.
    fn with(self, op: &Op, operands: &[&[usize]], output: &[usize]) -> Result<Size, ShapeError> {
        let sum = |what, so_far: usize, more: usize, limit: usize| {
            let found = so_far.saturating_add(more);
            if found <= limit { Ok(found) } else { Err(ShapeError::Total { what, found, limit }) }
        };
        Ok(Size {
            activations: sum("features in all tensors", self.activations, features(output)?, MAX_ACTIVATIONS)?,
            constants: sum("elements in all constants", self.constants, op.constants(), MAX_ELEMENTS)?,
            terms: sum("products of weights and features", self.terms, op.terms(operands, output), MAX_TERMS)?,
        })
    }
}

impl Graph {
    /// A graph that returns its input of the given shape.
    ///
    /// # Errors
    /// [`ShapeError::Empty`] or [`ShapeError::TooLarge`].
    pub fn new(input_shape: Vec<usize>) -> Result<Graph, ShapeError> {
        let size = Size::default().with(&Op::Input, &[], &input_shape)?;
        let input = Node { op: Op::Input, inputs: vec![], shape: input_shape, origin: Origin::default() };
        Ok(Graph { nodes: vec![input], output: NodeId(0), notes: vec![], size })
    }

    /// Appends an operation and returns its node.
    ///
    /// # Errors
    /// [`ShapeError`] if the operands do not exist, their shapes do not fit, or the graph would exceed
    /// [`MAX_ACTIVATIONS`], [`MAX_ELEMENTS`] or [`MAX_TERMS`].
    pub fn push(&mut self, op: Op, inputs: Vec<NodeId>, origin: Origin) -> Result<NodeId, ShapeError> {
        if let Some(&unknown) = inputs.iter().find(|id| id.0 >= self.nodes.len()) {
            return Err(ShapeError::UnknownNode { index: unknown.0, nodes: self.nodes.len() });
        }
        let operands: Vec<&[usize]> = inputs.iter().map(|&id| self.shape(id)).collect();
        let shape = op.output_shape(&operands)?;
        self.size = self.size.with(&op, &operands, &shape)?;
        self.nodes.push(Node { op, inputs, shape, origin });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Makes `node` the result of the graph.
    ///
    /// # Errors
    /// [`ShapeError::UnknownNode`] if there is no such node.
    pub fn set_output(&mut self, node: NodeId) -> Result<(), ShapeError> {
        if node.0 >= self.nodes.len() {
            return Err(ShapeError::UnknownNode { index: node.0, nodes: self.nodes.len() });
        }
        self.output = node;
        Ok(())
    }

    /// Records something the user should know.
    pub fn add_note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// All nodes in topological order; the first one is the input.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at `id`.
    ///
    /// # Panics
    /// If `id` belongs to another, longer graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Ids of all nodes in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Shape of the result of `id`, without the batch axis.
    ///
    /// # Panics
    /// If `id` belongs to another, longer graph.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.nodes[id.0].shape
    }

    /// The node of the sample.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// The node of the result.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// What the user should know.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// Product of `shape`, the shape of a constant.
///
/// # Errors
/// [`ShapeError::Empty`] if it is zero, [`ShapeError::TooLarge`] beyond [`MAX_ELEMENTS`].
pub fn volume(shape: &[usize]) -> Result<usize, ShapeError> {
    volume_up_to(MAX_ELEMENTS, shape)
}

/// Product of `shape`, the shape of what depends on the sample.
///
/// # Errors
/// [`ShapeError::Empty`] if it is zero, [`ShapeError::TooLarge`] beyond [`MAX_FEATURES`].
pub fn features(shape: &[usize]) -> Result<usize, ShapeError> {
    volume_up_to(MAX_FEATURES, shape)
}

fn volume_up_to(limit: usize, shape: &[usize]) -> Result<usize, ShapeError> {
    if shape.contains(&0) {
        return Err(ShapeError::Empty { shape: shape.to_vec() });
    }
    let volume = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    volume.filter(|&elements| elements <= limit).ok_or_else(|| ShapeError::TooLarge { shape: shape.to_vec(), limit })
}

/// Why an operation does not fit its operands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Wrong number of operands.
    #[error("{op} takes {wanted} operands, found {found}")]
    Arity {
        /// Operation.
        op: &'static str,
        /// Operands given.
        found: usize,
        /// Operands needed.
        wanted: usize,
    },
    /// Wrong number of axes.
    #[error("{op} needs {wanted} axes, found {found}")]
    Rank {
        /// Operation.
        op: &'static str,
        /// Axes given.
        found: usize,
        /// Axes needed.
        wanted: usize,
    },
    /// Two shapes that must agree do not.
    #[error("{op}: shape {found:?} does not fit {wanted:?}")]
    Mismatch {
        /// Operation.
        op: &'static str,
        /// Shape given.
        found: Vec<usize>,
        /// Shape needed.
        wanted: Vec<usize>,
    },
    /// An axis that the operand does not have.
    #[error("{op}: axis {axis} of a tensor with {rank} axes")]
    Axis {
        /// Operation.
        op: &'static str,
        /// Axis asked for.
        axis: usize,
        /// Axes of the operand.
        rank: usize,
    },
    /// A position outside an axis.
    #[error("position {index} on axis {axis} of length {length}")]
    Index {
        /// Axis.
        axis: usize,
        /// Position asked for.
        index: usize,
        /// Length of the axis.
        length: usize,
    },
    /// A window that does not fit, or an impossible stride or dilation.
    #[error("window of {kernel} taps (stride {stride}, dilation {dilation}) on spatial axis {axis} of length {length}")]
    Window {
        /// Spatial axis.
        axis: usize,
        /// Length of the axis without padding.
        length: usize,
        /// Taps.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Dilation.
        dilation: usize,
    },
    /// Channels that cannot be divided into the groups.
    #[error("{channels} channels and {outputs} outputs in {groups} groups")]
    Groups {
        /// Input channels.
        channels: usize,
        /// Output channels.
        outputs: usize,
        /// Groups.
        groups: usize,
    },
    /// Not a permutation of the axes.
    #[error("{found:?} is not a permutation of {rank} axes")]
    Permutation {
        /// What was given.
        found: Vec<usize>,
        /// Axes of the operand.
        rank: usize,
    },
    /// A tensor with too few or too many values for its shape.
    #[error("{found} values for a tensor of shape {shape:?}")]
    Length {
        /// Shape.
        shape: Vec<usize>,
        /// Values given.
        found: usize,
    },
    /// A tensor without elements.
    #[error("shape {shape:?} has no elements")]
    Empty {
        /// Shape.
        shape: Vec<usize>,
    },
    /// A tensor beyond the limit.
    #[error("shape {shape:?} has more than {limit} elements")]
    TooLarge {
        /// Shape.
        shape: Vec<usize>,
        /// Largest number of elements.
        limit: usize,
    },
    /// A node with which the graph would be beyond a limit.
    #[error("up to here the model has {found} {what}, the limit is {limit}")]
    Total {
        /// What is counted.
        what: &'static str,
        /// How much there would be.
        found: usize,
        /// Largest number.
        limit: usize,
    },
    /// A node that the graph does not have.
    #[error("node {index} of a graph with {nodes} nodes")]
    UnknownNode {
        /// Index asked for.
        index: usize,
        /// Nodes in the graph.
        nodes: usize,
    },
    /// A graph has exactly one input, made with it.
    #[error("a graph has only one input")]
    SecondInput,
}

fn conv_shape(operand: &[usize], weight: &[usize], window: &Window, groups: usize) -> Result<Vec<usize>, ShapeError> {
    let wanted = window.kernel.len();
    let (Some((&channels, spatial)), &[outputs, per_group, ref kernel @ ..]) = (operand.split_first(), weight) else {
        return Err(ShapeError::Rank { op: "Conv", found: weight.len(), wanted: wanted + 2 });
    };
    same_shape("Conv", kernel, &window.kernel)?;
    if groups == 0 || channels % groups != 0 || outputs % groups != 0 || channels / groups != per_group {
        return Err(ShapeError::Groups { channels, outputs, groups });
    }
    let mut shape = vec![outputs];
    shape.extend(window.output(spatial)?);
    Ok(shape)
}

fn axis_mut<'a>(op: &'static str, shape: &'a mut [usize], axis: usize) -> Result<&'a mut usize, ShapeError> {
    let rank = shape.len();
    shape.get_mut(axis).ok_or(ShapeError::Axis { op, axis, rank })
}

fn same_shape(op: &'static str, found: &[usize], wanted: &[usize]) -> Result<(), ShapeError> {
    if found == wanted { Ok(()) } else { Err(mismatch(op, found, wanted)) }
}

fn mismatch(op: &'static str, found: &[usize], wanted: &[usize]) -> ShapeError {
    ShapeError::Mismatch { op, found: found.to_vec(), wanted: wanted.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, dilation: usize, padding: (usize, usize)) -> Window {
        Window { kernel: vec![kernel], stride: vec![stride], dilation: vec![dilation], padding: vec![padding] }
    }

    #[test]
    fn windows_count_as_onnx_does() {
        assert_eq!(window(5, 2, 1, (0, 1)).output(&[28]), Ok(vec![13]));
        assert_eq!(window(3, 1, 2, (2, 2)).output(&[10]), Ok(vec![10]));
        assert_eq!(window(3, 1, 1, (0, 0)).output(&[3]), Ok(vec![1]));
        for bad in [window(3, 0, 1, (0, 0)), window(0, 1, 1, (0, 0)), window(3, 1, 0, (0, 0)), window(6, 1, 1, (1, 1))]
        {
            assert!(matches!(bad.output(&[3]), Err(ShapeError::Window { .. })), "{bad:?}");
        }
        assert!(window(usize::MAX, 1, usize::MAX, (usize::MAX, 1)).output(&[3]).is_err());
    }

    #[test]
    fn operations_refuse_operands_that_do_not_fit() {
        let mut graph = Graph::new(vec![2, 6]).unwrap();
        let mut refuse = |op: Op, wanted: ShapeError| {
            let inputs = vec![NodeId(0); if matches!(op, Op::Add | Op::Concat { .. }) { 2 } else { 1 }];
            assert_eq!(graph.push(op, inputs, Origin::default()), Err(wanted));
        };
        refuse(Op::Reshape(vec![5]), mismatch("Reshape", &[2, 6], &[5]));
        refuse(Op::Transpose(vec![1, 1]), ShapeError::Permutation { found: vec![1, 1], rank: 2 });
        refuse(Op::Select { axis: 1, indices: vec![6] }, ShapeError::Index { axis: 1, index: 6, length: 6 });
        refuse(Op::Concat { axis: 2 }, ShapeError::Axis { op: "Concat", axis: 2, rank: 2 });
        refuse(Op::Input, ShapeError::SecondInput);
        refuse(Op::Reshape(vec![0]), ShapeError::Empty { shape: vec![0] });
        refuse(
            Op::Pad(vec![(usize::MAX, 1), (0, 0)]),
            ShapeError::TooLarge { shape: vec![usize::MAX, 6], limit: MAX_FEATURES },
        );
        refuse(Op::AddConst(Tensor::filled(vec![6], 1.0).unwrap()), mismatch("AddConst", &[2, 6], &[6]));
        let groups = Op::Conv {
            weight: Tensor::filled(vec![4, 2, 3], 1.0).unwrap(),
            window: window(3, 1, 1, (0, 0)),
            groups: 2,
        };
        refuse(groups, ShapeError::Groups { channels: 2, outputs: 4, groups: 2 });
        assert_eq!(
            graph.push(Op::Square, vec![NodeId(9)], Origin::default()),
            Err(ShapeError::UnknownNode { index: 9, nodes: 1 })
        );
    }
}

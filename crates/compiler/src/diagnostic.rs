//! What keeps a model from being compiled, said to the person who trained it.

use crate::graph::{Origin, ShapeError};
use crate::matrix::MatrixError;
use crate::network::NetworkError;
use std::fmt;

/// All problems found in one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the model cannot be compiled:")?,
            n => write!(f, "the model cannot be compiled, {n} problems:")?,
        }
        // The same problem of several nodes is told once, where it occurs first.
        let same = |a: &Diagnostic, b: &Diagnostic| a.op == b.op && a.problem == b.problem;
        for (i, diagnostic) in self.0.iter().enumerate() {
            if self.0[..i].iter().any(|earlier| same(earlier, diagnostic)) {
                continue;
            }
            let nodes = self.0[i..].iter().filter(|later| same(later, diagnostic)).map(|later| later.node.as_str());
            write!(f, "\n  ")?;
            diagnostic.describe(f, &nodes.collect::<Vec<&str>>())?;
        }
        Ok(())
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

/// One problem, where it is and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Name of the ONNX node; empty for the file as a whole.
    pub node: String,
    /// ONNX operator of the node; empty for the file as a whole.
    pub op: String,
    /// What was found.
    pub problem: Problem,
    /// What to do about it.
    pub hint: &'static str,
}

impl Diagnostic {
    /// A problem of the file as a whole.
    pub fn of_file(problem: Problem) -> Diagnostic {
        Diagnostic::of_node(&Origin::default(), problem)
    }

    /// A problem of one node.
    pub fn of_node(origin: &Origin, problem: Problem) -> Diagnostic {
        let hint = problem.hint(&origin.op);
        Diagnostic { node: origin.node.clone(), op: origin.op.clone(), problem, hint }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, nodes: &[&str]) -> fmt::Result {
        if !self.op.is_empty() {
            write!(f, "{} '{}': ", self.op, nodes.join("', '"))?;
        }
        write!(f, "{}", self.problem)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n    hint: {}", self.hint) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, &[&self.node])
    }
}

/// What is wrong with a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than the importer reads.
    #[error("the file has {bytes} bytes, the limit is {limit}")]
    FileTooLarge {
        /// Size of the file.
        bytes: usize,
        /// Largest size.
        limit: usize,
    },
    /// The file has too many nodes, attributes, tensors and strings together.
    #[error("the file has more than {limit} nodes, attributes, tensors and strings")]
    TooManyParts {
        /// Largest number.
        limit: usize,
    },
    /// The file has too many nodes.
    #[error("the graph has {nodes} nodes, the limit is {limit}")]
    TooManyNodes {
        /// Nodes in the file.
        nodes: usize,
        /// Largest number.
        limit: usize,
    },
    /// The bytes are not an ONNX model.
    #[error("this is not an ONNX model: {reason}")]
    NotOnnx {
        /// What the protobuf decoder says.
        reason: String,
    },
    /// The model declares no operator set, or one whose meaning is not known here.
    #[error("operator set {found}, supported are {oldest} to {newest}")]
    OperatorSet {
        /// Version in the file; 0 if there is none.
        found: i64,
        /// Oldest supported version.
        oldest: i64,
        /// Newest supported version.
        newest: i64,
    },
    /// The graph does not have exactly one input.
    #[error("the graph has {} inputs ({}), exactly one is supported", names.len(), names.join(", "))]
    InputCount {
        /// Names of the inputs that no initializer fills.
        names: Vec<String>,
    },
    /// The graph does not have exactly one output.
    #[error("the graph has {} outputs ({}), exactly one is supported", names.len(), names.join(", "))]
    OutputCount {
        /// Names of the outputs.
        names: Vec<String>,
    },
    /// The input is no tensor of numbers.
    #[error("input '{name}' is not a tensor of numbers")]
    InputType {
        /// Name of the input.
        name: String,
    },
    /// The input has no batch axis followed by at least one other.
    #[error("input '{name}' has {rank} axes, a batch axis and at least one other are needed")]
    NoBatchAxis {
        /// Name of the input.
        name: String,
        /// Axes it has.
        rank: usize,
    },
    /// An axis of the input other than the batch has no fixed length.
    #[error("axis {axis} of input '{name}' has no fixed positive length")]
    DynamicAxis {
        /// Name of the input.
        name: String,
        /// The axis, the batch being 0.
        axis: usize,
    },
    /// The input has too many features, or none.
    #[error("input '{name}': {error}")]
    InputShape {
        /// Name of the input.
        name: String,
        /// What is wrong with its shape.
        error: ShapeError,
    },
    /// The operator is no polynomial.
    #[error("{op} is not polynomial, so it cannot be computed on encrypted values")]
    NotPolynomial {
        /// The operator.
        op: String,
    },
    /// The operator is not supported.
    #[error("operator {op} is not supported")]
    Unsupported {
        /// The operator, with its domain where that is not ONNX's own.
        op: String,
    },
    /// The operator is supported on constants only.
    #[error("{op} is supported on constants only")]
    ConstantOnly {
        /// The operator.
        op: String,
    },
    /// Weights in another file.
    #[error("tensor '{tensor}' is stored outside the file")]
    ExternalData {
        /// Name of the tensor.
        tensor: String,
    },
    /// Weights in sparse form.
    #[error("tensor '{tensor}' is stored sparse")]
    SparseTensor {
        /// Name of the tensor.
        tensor: String,
    },
    /// Weights of a type that is not supported.
    #[error("tensor '{tensor}' has ONNX element type {elem_type}")]
    TensorType {
        /// Name of the tensor.
        tensor: String,
        /// ONNX's number of the type.
        elem_type: i32,
    },
    /// A tensor whose data does not fit its shape.
    #[error("tensor '{tensor}' of shape {shape:?} holds {found} {unit}")]
    TensorData {
        /// Name of the tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<i64>,
        /// How much data there is.
        found: usize,
        /// In what unit.
        unit: &'static str,
    },
    /// A weight that is infinite or not a number.
    #[error("tensor '{tensor}' holds a weight that is not finite")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor that nothing computes.
    #[error("tensor '{tensor}' is used before anything computes it")]
    UndefinedTensor {
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor that two nodes compute.
    #[error("tensor '{tensor}' is computed twice")]
    DuplicateTensor {
        /// Name of the tensor.
        tensor: String,
    },
    /// An attribute outside the range that makes sense.
    #[error("attribute '{attribute}' is {value}")]
    Attribute {
        /// Name of the attribute.
        attribute: String,
        /// Its value.
        value: i64,
    },
    /// Constants, or a length, with too many elements.
    #[error(
        "computing constants up to here gives {} elements, the limit is {limit}",
        found.map_or("an unknown number of".to_owned(), |found| found.to_string())
    )]
    TooLarge {
        /// How many there would be, if that can be told.
        found: Option<usize>,
        /// Largest number of elements.
        limit: usize,
    },
    /// Samples of a batch are mixed with each other, or the batch size enters the result.
    #[error("the batch axis is lost: the tensor has shape {shape}")]
    BatchMixed {
        /// The shape, `N` being the batch.
        shape: String,
    },
    /// Shapes are computed from the batch size in more steps than are followed.
    #[error("a shape is computed from the batch size in too many steps")]
    BatchArithmetic,
    /// An operand that has to be constant depends on the input.
    #[error("{operand} depends on the input")]
    NeedsConstant {
        /// What the operand is.
        operand: &'static str,
    },
    /// A power that is no small whole number.
    #[error("the exponent is {exponent}, a whole number from 0 to {limit} is needed")]
    Exponent {
        /// What was found.
        exponent: f64,
        /// Largest exponent.
        limit: u32,
    },
    /// Arithmetic on integers that depend on the input.
    #[error("integer arithmetic on values that depend on the input")]
    IntegerArithmetic,
    /// Padding by something else than a constant.
    #[error("padding mode '{mode}'")]
    PadMode {
        /// The mode.
        mode: String,
    },
    /// Shapes that do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Shape inference refuses the node.
    #[error("shapes cannot be inferred: {reason}")]
    Inference {
        /// What the ONNX reader says.
        reason: String,
    },
    /// The ONNX reader failed in a way it should not.
    #[error("the ONNX reader failed: {reason}")]
    ReaderPanicked {
        /// What it said.
        reason: String,
    },
    /// Matrices with more entries than can be evaluated.
    #[error("merging the linear layers up to here gives matrices with {found} entries or more, the limit is {limit}")]
    MatrixTooLarge {
        /// Nonzero entries when it was given up.
        found: usize,
        /// Largest number of nonzero entries.
        limit: usize,
    },
    /// Matrices whose products take too long.
    #[error("merging the linear layers up to here takes {found} multiplications or more, the limit is {limit}")]
    MergingTooLong {
        /// Multiplications when it was given up.
        found: usize,
        /// Largest number.
        limit: usize,
    },
    /// The output, or a factor of a product, is the same for every input.
    #[error("the result is the same for every input")]
    ConstantResult,
    /// A matrix that breaks its own rules.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// A network that breaks its own rules.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Problem {
    fn hint(&self, op: &str) -> &'static str {
        match self {
            Problem::NotPolynomial { .. } => match op {
                "Relu" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Celu" | "Gelu" | "HardSwish" | "Mish" | "Swish"
                | "Softplus" | "ThresholdedRelu" | "Clip" => {
                    "replace it with x*x or another polynomial of low degree and retrain"
                }
                "Sigmoid" | "Tanh" | "HardSigmoid" | "Softsign" | "Erf" => {
                    "replace it with a polynomial of low degree fitted on the range of its inputs; as the last layer it \
                     can be left to the client"
                }
                "Softmax" | "LogSoftmax" | "ArgMax" | "Hardmax" => {
                    "only as the last layer: there it is left to the client, after decryption"
                }
                "MaxPool" | "GlobalMaxPool" => "replace it with AveragePool or a strided convolution and retrain",
                "Max" | "Min" | "Abs" | "Sign" | "Where" | "ReduceMax" | "ReduceMin" => {
                    "encrypted values cannot be compared: rewrite the layer with sums and products"
                }
                "LayerNormalization"
                | "InstanceNormalization"
                | "GroupNormalization"
                | "LpNormalization"
                | "LRN"
                | "MeanVarianceNormalization"
                | "RMSNormalization" => {
                    "it divides by a statistic of the sample: use BatchNormalization, whose statistics are constants"
                }
                "Div" | "Reciprocal" => "divide by constants only",
                _ => "rewrite the layer with sums and products",
            },
            Problem::Unsupported { .. } => "simplify the model, or export it with the standard ONNX operators",
            Problem::ConstantOnly { .. } => "compute the operand from constants, or export with fixed shapes",
            Problem::FileTooLarge { .. } | Problem::TooManyParts { .. } | Problem::TooManyNodes { .. } => {
                "networks of this size are beyond encrypted evaluation"
            }
            Problem::NotOnnx { .. } => "export the model with torch.onnx.export, tf2onnx or skl2onnx",
            Problem::OperatorSet { .. } => "export again with opset_version=17",
            Problem::InputCount { .. } | Problem::OutputCount { .. } => {
                "export the part between one input and one output"
            }
            Problem::InputType { .. } => "export the model with a float32 input",
            Problem::NoBatchAxis { .. } => "export the model with an input of shape [batch, ...]",
            Problem::DynamicAxis { .. } => "export with dynamic_axes for the batch axis only",
            Problem::ExternalData { .. } => "save again with onnx.save(model, path, save_as_external_data=False)",
            Problem::SparseTensor { .. } => "store the weights as dense initializers",
            Problem::TensorType { .. } => "store weights as float32",
            Problem::TensorData { .. } | Problem::UndefinedTensor { .. } | Problem::DuplicateTensor { .. } => {
                "the file is damaged: check it with onnx.checker"
            }
            Problem::NotFinite { .. } => "training diverged, or a layer divides by zero",
            Problem::BatchMixed { .. } | Problem::BatchArithmetic => {
                "keep the batch axis apart: use Flatten(1) or reshape(x.shape[0], -1), and export with a dynamic batch axis"
            }
            Problem::NeedsConstant { .. } => "weights and shapes must be constants; freeze the model before the export",
            Problem::Exponent { .. } => "use a whole power, or a polynomial",
            Problem::IntegerArithmetic => "cast the input to float32 first",
            Problem::PadMode { .. } => "pad with a constant",
            Problem::Inference { .. } => "check the file with onnx.checker, and export with a dynamic batch axis",
            Problem::ConstantResult => "check the weights: a layer may multiply by zero",
            Problem::TooLarge { .. }
            | Problem::MatrixTooLarge { .. }
            | Problem::MergingTooLong { .. }
            | Problem::InputShape { .. }
            | Problem::Shape(ShapeError::TooLarge { .. } | ShapeError::Total { .. }) => {
                "make the layers smaller: networks of this size are beyond encrypted evaluation"
            }
            Problem::Attribute { .. } | Problem::Shape(_) | Problem::ReaderPanicked { .. } => {
                "check the file with onnx.checker"
            }
            Problem::Matrix(_) | Problem::Network(_) => "this is a fault of the compiler: please report it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_the_node_and_say_what_to_do() {
        let relu = |node: &str| {
            let origin = Origin { node: node.into(), op: "Relu".into() };
            Diagnostic::of_node(&origin, Problem::NotPolynomial { op: "Relu".into() })
        };
        let version = Diagnostic::of_file(Problem::OperatorSet { found: 3, oldest: 7, newest: 25 });
        assert_eq!(
            Diagnostics(vec![relu("act1"), version, relu("act2")]).to_string(),
            "the model cannot be compiled, 3 problems:\n  \
             Relu 'act1', 'act2': Relu is not polynomial, so it cannot be computed on encrypted values\n    \
             hint: replace it with x*x or another polynomial of low degree and retrain\n  \
             operator set 3, supported are 7 to 25\n    hint: export again with opset_version=17"
        );
    }
}

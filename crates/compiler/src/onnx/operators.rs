//! Which ONNX operators may appear where.

/// Operators that are polynomial in their first operand, or that rearrange it.
const POLYNOMIAL: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Concat",
    "Conv",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Einsum",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "MatMul",
    "Mean",
    "Mul",
    "Neg",
    "Pad",
    "Pow",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Sum",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Operators that may compute weights and shapes from constants, besides those of [`POLYNOMIAL`] that keep the volume
/// of their result within reach of [`constant_volume`].
const CONSTANT: &[&str] = &[
    "Abs",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "DequantizeLinear",
    "Equal",
    "Exp",
    "Floor",
    "Greater",
    "Less",
    "Log",
    "Max",
    "Min",
    "Not",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMin",
    "Sqrt",
    "Where",
];

/// Operators of [`POLYNOMIAL`] that are not folded: their attributes set the volume of the result.
const NEVER_CONSTANT: &[&str] = &["AveragePool", "Conv", "GlobalAveragePool", "Pad"];

/// Operators that no polynomial computes exactly.
const NOT_POLYNOMIAL: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Attention",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "GRU",
    "Gelu",
    "GlobalLpPool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "InstanceNormalization",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "Max",
    "MaxPool",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "Or",
    "PRelu",
    "QuantizeLinear",
    "RMSNormalization",
    "RNN",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "TopK",
    "Unique",
    "Where",
    "Xor",
];

/// Activations that the client can apply after decryption, when they come last.
pub(super) const LEFT_TO_CLIENT: &[&str] = &["ArgMax", "LogSoftmax", "Sigmoid", "Softmax"];

/// What the importer makes of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    Supported,
    ConstantOnly,
    NotPolynomial,
    Unsupported,
}

/// What the importer makes of `op` when some operand depends on the input (`on_data`) or none does.
pub(super) fn support(op: &str, on_data: bool) -> Support {
    let is_in = |list: &[&str]| list.contains(&op);
    match on_data {
        true if is_in(POLYNOMIAL) => Support::Supported,
        true if is_in(NOT_POLYNOMIAL) => Support::NotPolynomial,
        true if is_in(CONSTANT) => Support::ConstantOnly,
        false if is_in(CONSTANT) || (is_in(POLYNOMIAL) && !is_in(NEVER_CONSTANT)) => Support::Supported,
        _ => Support::Unsupported,
    }
}

/// Operators whose result depends on the shape of their operand only.
pub(super) fn reads_shape_only(op: &str) -> bool {
    matches!(op, "Shape" | "Size")
}

/// Operators with an operand that lists lengths or counts.
pub(super) fn reads_lengths(op: &str) -> bool {
    matches!(op, "ConstantOfShape" | "Expand" | "Pad" | "Reshape" | "Split" | "Tile")
}

/// A constant operand: its shape, and its elements if it is a list of a few whole numbers.
pub(super) struct Constant {
    pub shape: Vec<usize>,
    pub values: Option<Vec<i64>>,
}

/// Upper bound of the number of elements that folding `op` over constants produces; `None` if it cannot be told.
pub(super) fn constant_volume(op: &str, operands: &[Constant]) -> Option<usize> {
    let volume = |operand: &Constant| product(operand.shape.iter().copied());
    let sizes = |i: usize| -> Option<Vec<usize>> {
        let values = operands.get(i)?.values.as_ref()?;
        Some(values.iter().map(|v| usize::try_from(v.unsigned_abs()).unwrap_or(usize::MAX)).collect())
    };
    match op {
        "ConstantOfShape" => product(sizes(0)?.into_iter()),
        "Expand" | "Tile" => {
            let factor = product(sizes(1)?.into_iter().map(|n| n.max(1)))?;
            factor.checked_mul(volume(operands.first()?)?)
        }
        // The step is a whole number, so there are at most |start| + |limit| of them.
        "Range" => {
            sizes(2)?;
            sizes(0)?.first()?.checked_add(*sizes(1)?.first()?)
        }
        "MatMul" | "Gemm" | "Einsum" | "Gather" => {
            operands.iter().try_fold(1usize, |a, b| a.checked_mul(volume(b)?.max(1)))
        }
        // Everything else broadcasts, rearranges, reduces or concatenates.
        _ => {
            let rank = operands.iter().map(|operand| operand.shape.len()).max().unwrap_or(0);
            let longest = |from_end: usize| {
                let lengths = operands.iter().filter_map(|operand| operand.shape.iter().rev().nth(from_end));
                lengths.copied().max().unwrap_or(1)
            };
            let broadcast = product((0..rank).map(longest))?;
            let together = operands.iter().try_fold(0usize, |a, b| a.checked_add(volume(b)?))?;
            Some(broadcast.max(together))
        }
    }
}

fn product(mut lengths: impl Iterator<Item = usize>) -> Option<usize> {
    lengths.try_fold(1usize, |a, b| a.checked_mul(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_disjoint() {
        for list in [POLYNOMIAL, CONSTANT, NEVER_CONSTANT, NOT_POLYNOMIAL, LEFT_TO_CLIENT] {
            assert!(list.is_sorted());
        }
        assert!(POLYNOMIAL.iter().all(|op| !NOT_POLYNOMIAL.contains(op) && !CONSTANT.contains(op)));
        assert!(LEFT_TO_CLIENT.iter().all(|op| NOT_POLYNOMIAL.contains(op)));
    }

    #[test]
    fn volumes_of_folded_constants_are_bounded_from_above() {
        let of = |shape: &[usize], values: &[i64]| Constant {
            shape: shape.to_vec(),
            values: (!values.is_empty()).then(|| values.to_vec()),
        };
        assert_eq!(constant_volume("Add", &[of(&[1 << 20, 1], &[]), of(&[1, 1 << 20], &[])]), Some(1 << 40));
        assert_eq!(constant_volume("Mul", &[of(&[64, 3, 3], &[]), of(&[], &[])]), Some(577));
        assert_eq!(constant_volume("ConstantOfShape", &[of(&[2], &[3, 5])]), Some(15));
        assert_eq!(constant_volume("ConstantOfShape", &[of(&[2], &[i64::MAX, 5])]), None);
        assert_eq!(constant_volume("ConstantOfShape", &[of(&[99], &[])]), None);
        assert_eq!(constant_volume("Expand", &[of(&[7], &[]), of(&[2], &[4, 7])]), Some(196));
        assert_eq!(constant_volume("Range", &[of(&[], &[-3]), of(&[], &[9]), of(&[], &[1])]), Some(12));
        assert_eq!(constant_volume("Range", &[of(&[], &[1]), of(&[], &[9]), of(&[], &[])]), None);
        assert_eq!(constant_volume("MatMul", &[of(&[10, 1], &[]), of(&[1, 10], &[])]), Some(100));
        assert_eq!(constant_volume("Concat", &[of(&[10], &[]), of(&[7], &[])]), Some(17));
    }
}

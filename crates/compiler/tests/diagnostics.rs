//! Every problem a model can have is named, with its node where it has one.

mod common;

use common::{Attribute, Attribute::*, Model, floats, ints};
use nightloom_compiler::diagnostic::{Diagnostic, Problem};
use nightloom_compiler::graph::{MAX_ACTIVATIONS, MAX_ELEMENTS, MAX_FEATURES, MAX_TERMS, ShapeError};
use nightloom_compiler::onnx::{MAX_FILE_BYTES, MAX_NODES, MAX_PARTS, import};
use nightloom_compiler::pipeline::load;
use prost::Message;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Length;
use tract_onnx::pb::{ModelProto, SparseTensorProto, StringStringEntryProto, ValueInfoProto};

fn problems(model: &Model) -> Vec<Diagnostic> {
    problems_of(&model.bytes())
}

fn problems_of(bytes: &[u8]) -> Vec<Diagnostic> {
    let problems = load(bytes).map(|_| ()).expect_err("the model has a problem").0;
    assert!(problems.iter().all(|problem| !problem.hint.is_empty()), "{problems:?}");
    problems
}

/// The only problem of a model, and the node that has it.
fn problem(model: &Model) -> (String, Problem) {
    let mut problems = problems(model);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let Diagnostic { node, problem, .. } = problems.remove(0);
    (node, problem)
}

fn of_file(problem: Problem) -> (String, Problem) {
    (String::new(), problem)
}

fn at(node: &str, problem: Problem) -> (String, Problem) {
    (node.to_owned(), problem)
}

fn single(op: &str, sample: &[i64], more: &[&str], attributes: Vec<Attribute>) -> Model {
    let inputs: Vec<&str> = ["x"].iter().chain(more).copied().collect();
    Model::new(sample).node(op, &inputs, &["y"], attributes)
}

#[test]
fn files() {
    assert!(matches!(problems_of(b"\x08\x08\x3a")[..], [Diagnostic { problem: Problem::NotOnnx { .. }, .. }]));
    assert!(matches!(problems_of(b"")[..], [.., Diagnostic { problem: Problem::NotOnnx { .. }, .. }]));
    let text = ModelProto { producer_name: "x".into(), ..Default::default() };
    let mut invalid = text.encode_to_vec();
    *invalid.last_mut().unwrap() = 0xff;
    assert!(matches!(problems_of(&invalid)[..], [Diagnostic { problem: Problem::NotOnnx { .. }, .. }]));
    let bytes = MAX_FILE_BYTES + 1;
    assert_eq!(problems_of(&vec![0; bytes])[0].problem, Problem::FileTooLarge { bytes, limit: MAX_FILE_BYTES });

    let mut model = single("Neg", &[2], &[], vec![]);
    model.graph().doc_string = "harmless".into();
    assert!(load(&model.bytes()).is_ok());
    let node = model.graph().node[0].clone();
    model.graph().node = vec![node; MAX_NODES + 1];
    assert_eq!(problem(&model), of_file(Problem::TooManyNodes { nodes: MAX_NODES + 1, limit: MAX_NODES }));
    model.graph().node.truncate(1);
    model.graph().node[0].input = vec!["x".into(); MAX_PARTS];
    assert_eq!(problem(&model), of_file(Problem::TooManyParts { limit: MAX_PARTS }));
}

#[test]
fn operator_sets() {
    for version in [6, 26] {
        let model = single("Neg", &[2], &[], vec![]).version(version);
        assert_eq!(problem(&model), of_file(Problem::OperatorSet { found: version, oldest: 7, newest: 25 }));
    }
    let mut none = single("Neg", &[2], &[], vec![]);
    none.proto.opset_import.clear();
    assert_eq!(problem(&none), of_file(Problem::OperatorSet { found: 0, oldest: 7, newest: 25 }));
    let mut none = single("Neg", &[2], &[], vec![]);
    none.proto.graph = None;
    assert_eq!(problem(&none), of_file(Problem::NotOnnx { reason: "it has no graph".into() }));
}

#[test]
fn inputs_and_outputs() {
    let mut two = single("Neg", &[2], &[], vec![]);
    let mut second = two.graph().input[0].clone();
    second.name = "z".into();
    two.graph().input.push(second);
    assert_eq!(problem(&two), of_file(Problem::InputCount { names: vec!["x".into(), "z".into()] }));
    // An initializer fills it: no input.
    assert!(import(&two.floats("z", &[1], &[1.0]).bytes()).is_ok());

    let mut two = single("Neg", &[2], &[], vec![]);
    two.graph().output.push(ValueInfoProto { name: "x".into(), ..Default::default() });
    assert_eq!(problem(&two), of_file(Problem::OutputCount { names: vec!["y".into(), "x".into()] }));

    let mut text = single("Neg", &[2], &[], vec![]);
    text.input_type().elem_type = 8;
    assert_eq!(problem(&text), of_file(Problem::InputType { name: "x".into() }));
    let mut untyped = single("Neg", &[2], &[], vec![]);
    untyped.graph().input[0].r#type = None;
    assert_eq!(problem(&untyped), of_file(Problem::InputType { name: "x".into() }));

    assert_eq!(problem(&single("Neg", &[], &[], vec![])), of_file(Problem::NoBatchAxis { name: "x".into(), rank: 1 }));
    let mut unshaped = single("Neg", &[2], &[], vec![]);
    unshaped.input_type().shape = None;
    assert_eq!(problem(&unshaped), of_file(Problem::NoBatchAxis { name: "x".into(), rank: 0 }));

    for length in [None, Some(Length::DimParam("width".into())), Some(Length::DimValue(0)), Some(Length::DimValue(-1))]
    {
        let mut dynamic = single("Neg", &[2, 3], &[], vec![]);
        *dynamic.axis(2) = length;
        assert_eq!(problem(&dynamic), of_file(Problem::DynamicAxis { name: "x".into(), axis: 2 }));
    }
    for huge in [vec![1 << 20, 1 << 20], vec![MAX_FEATURES + 1]] {
        let lengths: Vec<i64> = huge.iter().map(|&length| length as i64).collect();
        let error = ShapeError::TooLarge { shape: huge, limit: MAX_FEATURES };
        let wanted = Problem::InputShape { name: "x".into(), error };
        assert_eq!(problem(&single("Neg", &lengths, &[], vec![])), of_file(wanted));
    }
}

#[test]
fn operators() {
    let not_polynomial = |op: &str| at("make_y", Problem::NotPolynomial { op: op.into() });
    for op in ["Relu", "MaxPool", "LayerNormalization", "LSTM", "Abs", "Exp", "Clip", "Where", "Softplus"] {
        assert_eq!(problem(&single(op, &[2, 2], &[], vec![])), not_polynomial(op));
    }
    // These are left to the client only when they come last.
    for op in ["Softmax", "Sigmoid", "ArgMax", "LogSoftmax"] {
        let model = single(op, &[2], &[], vec![]);
        assert!(import(&model.bytes()).is_ok());
        let mut middle = model.node("Neg", &["y"], &["z"], vec![]);
        middle.graph().output[0].name = "z".into();
        assert_eq!(problem(&middle), not_polynomial(op));
    }
    let divided = Model::new(&[2]).floats("c", &[1], &[1.0]).node("Div", &["c", "x"], &["y"], vec![]);
    assert_eq!(problem(&divided), not_polynomial("Div"));
    assert_eq!(problem(&single("Div", &[2], &["x"], vec![])), not_polynomial("Div"));

    let unsupported = |op: &str| at("make_y", Problem::Unsupported { op: op.into() });
    for op in ["Loop", "ConvTranspose", "Quux"] {
        assert_eq!(problem(&single(op, &[2], &[], vec![])), unsupported(op));
    }
    let mut custom = single("Gelu", &[2], &[], vec![]);
    custom.graph().node[0].domain = "com.example".into();
    assert_eq!(problem(&custom), unsupported("com.example.Gelu"));
    let mut subgraph = single("Neg", &[2], &[], vec![Int("then", 0)]);
    subgraph.graph().node[0].attribute[0].g = Some(Default::default());
    assert_eq!(problem(&subgraph), unsupported("Neg with a subgraph"));
    let padded = Model::new(&[2]).floats("c", &[1, 2], &[1.0, 2.0]).ints("pads", &[0, 0, 0, 0]).node(
        "Pad",
        &["c", "pads"],
        &["y"],
        vec![],
    );
    assert_eq!(problem(&padded), unsupported("Pad"));
    let chain = Model::new(&[2]).node("Range", &["x", "x", "x"], &["y"], vec![]);
    assert_eq!(problem(&chain), at("make_y", Problem::ConstantOnly { op: "Range".into() }));
}

#[test]
fn training_mode_is_no_inference() {
    let mut training = single("Dropout", &[2], &["ratio", "training"], vec![]).floats("ratio", &[], &[0.5]);
    let mut flag = ints("training", &[], &[]);
    (flag.data_type, flag.raw_data) = (9, vec![1]);
    training.graph().initializer.push(flag);
    assert_eq!(problem(&training), at("make_y", Problem::Unsupported { op: "Dropout in training mode".into() }));
    let normalised = single("BatchNormalization", &[2], &["c", "c", "c", "c"], vec![Int("training_mode", 1)]);
    let normalised = normalised.floats("c", &[2], &[1.0, 1.0]);
    let wanted = Problem::Unsupported { op: "BatchNormalization in training mode".into() };
    assert_eq!(problem(&normalised), at("make_y", wanted));
}

#[test]
fn all_problems_are_told_at_once() {
    let model = Model::new(&[2, 2]).node("Relu", &["x"], &["a"], vec![]).node("Quux", &["a"], &["b"], vec![]).node(
        "MaxPool",
        &["b"],
        &["y"],
        vec![],
    );
    let nodes: Vec<String> = problems(&model).into_iter().map(|problem| problem.node).collect();
    assert_eq!(nodes, ["make_a", "make_b", "make_y"]);
    let model = Model::new(&[4])
        .floats("w", &[5, 2], &[0.0; 10])
        .node("MatMul", &["x", "w"], &["a"], vec![])
        .node("MatMul", &["a", "w"], &["b"], vec![])
        .node("MatMul", &["x", "w"], &["c"], vec![])
        .node("Add", &["b", "c"], &["y"], vec![]);
    let nodes: Vec<String> = problems(&model).into_iter().map(|problem| problem.node).collect();
    assert_eq!(nodes, ["make_a", "make_c"], "what follows from another problem is not told");
}

#[test]
fn tensors() {
    let model = || single("Add", &[2], &["w"], vec![]).floats("w", &[2], &[1.0, 2.0]);
    assert!(load(&model().bytes()).is_ok());
    let name = || "w".to_owned();

    let mut external = model();
    let tensor = &mut external.graph().initializer[0];
    tensor.raw_data.clear();
    tensor.data_location = Some(1);
    let location = StringStringEntryProto { key: "location".into(), value: "weights.bin".into() };
    tensor.external_data.push(location);
    assert_eq!(problem(&external), of_file(Problem::ExternalData { tensor: name() }));

    for (shape, bytes) in [(vec![3], 8), (vec![2], 7), (vec![-2], 8), (vec![i64::MAX, i64::MAX], 8), (vec![], 8)] {
        let mut damaged = model();
        let tensor = &mut damaged.graph().initializer[0];
        (tensor.dims, tensor.raw_data) = (shape.clone(), vec![0; bytes]);
        let wanted = Problem::TensorData { tensor: name(), shape, found: bytes, unit: "bytes" };
        assert_eq!(problem(&damaged), of_file(wanted));
    }
    let mut empty = model();
    empty.graph().initializer[0].raw_data.clear();
    let wanted = Problem::TensorData { tensor: name(), shape: vec![2], found: 0, unit: "elements" };
    assert_eq!(problem(&empty), of_file(wanted));

    for elem_type in [0, 8, 14, 16, 99] {
        let mut typed = model();
        typed.graph().initializer[0].data_type = elem_type;
        assert_eq!(problem(&typed), of_file(Problem::TensorType { tensor: name(), elem_type }));
    }
    let in_node = single("Add", &[2], &["c"], vec![]);
    let mut bad = ints("", &[2], &[1, 2]);
    bad.data_type = 16;
    let mut in_node = in_node.node("Constant", &[], &["c"], vec![Tensor("value", Box::new(bad))]);
    in_node.graph().node.swap(0, 1);
    let wanted = Problem::TensorType { tensor: "Constant.value".into(), elem_type: 16 };
    assert_eq!(problem(&in_node), at("make_c", wanted));

    let mut sparse = model();
    let values = sparse.graph().initializer.remove(0);
    sparse.graph().sparse_initializer.push(SparseTensorProto { values: Some(values), ..Default::default() });
    assert_eq!(problems(&sparse)[0].problem, Problem::SparseTensor { tensor: name() });

    for (op, value) in [("Add", f64::NAN), ("Mul", f64::INFINITY), ("Div", 0.0)] {
        let model = single(op, &[2], &["w"], vec![]).floats("w", &[2], &[1.0, value]);
        assert!(matches!(problem(&model), (node, Problem::NotFinite { .. }) if node == "make_y"));
    }

    let undefined = single("Add", &[2], &["w"], vec![]);
    assert_eq!(problem(&undefined), at("make_y", Problem::UndefinedTensor { tensor: name() }));
    let mut nowhere = model();
    nowhere.graph().output[0].name = "z".into();
    assert_eq!(problem(&nowhere), of_file(Problem::UndefinedTensor { tensor: "z".into() }));
    let twice = model().floats("w", &[2], &[1.0, 2.0]);
    assert_eq!(problem(&twice), of_file(Problem::DuplicateTensor { tensor: name() }));
    let twice = single("Add", &[2], &["x"], vec![]).node("Neg", &["x"], &["y"], vec![]);
    assert_eq!(problem(&twice), at("make_y", Problem::DuplicateTensor { tensor: "y".into() }));
    let cycle = Model::new(&[2]).node("Neg", &["y"], &["a"], vec![]).node("Neg", &["a"], &["y"], vec![]);
    assert_eq!(problem(&cycle), at("make_a", Problem::UndefinedTensor { tensor: "y".into() }));
}

#[test]
fn sizes_are_bounded_before_anything_is_computed() {
    let too_large = |node: &str, found| at(node, Problem::TooLarge { found, limit: MAX_ELEMENTS });
    let ones = vec![1.0; 1 << 14];
    let outer = Model::new(&[2])
        .floats("a", &[1 << 14, 1], &ones)
        .floats("b", &[1, 1 << 14], &ones)
        .node("Mul", &["a", "b"], &["c"], vec![])
        .node("Add", &["x", "c"], &["y"], vec![]);
    assert_eq!(problem(&outer), too_large("make_c", Some(1 << 28)));
    let filled = |shape: &[i64]| {
        Model::new(&[2]).ints("shape", shape).node("ConstantOfShape", &["shape"], &["c"], vec![]).node(
            "Add",
            &["x", "c"],
            &["y"],
            vec![],
        )
    };
    assert_eq!(problem(&filled(&[1 << 20, 1 << 20])), too_large("make_c", Some(1 << 40)));
    assert_eq!(problem(&filled(&[1 << 40])), too_large("make_c", Some(1 << 40)));
    let expanded = single("Expand", &[1], &["shape"], vec![]).ints("shape", &[1, 1 << 40]);
    assert_eq!(problem(&expanded), too_large("make_y", Some(1 << 40)));
    let padded = single("Pad", &[1], &["pads"], vec![]).ints("pads", &[0, 1 << 40, 0, 0]);
    assert_eq!(problem(&padded), too_large("make_y", Some(1 << 40)));
    let steps = single("Range", &[1], &[], vec![]);
    let mut steps = Model { ..steps };
    steps.graph().node[0].input = vec!["from".into(), "to".into(), "by".into()];
    let steps = steps.floats("from", &[], &[0.0]).floats("to", &[], &[1.0]).floats("by", &[], &[1e-30]);
    assert_eq!(problem(&steps), too_large("make_y", None));

    let attribute = single("Flatten", &[2], &[], vec![Int("axis", 1 << 40)]);
    assert_eq!(problem(&attribute), at("make_y", Problem::Attribute { attribute: "axis".into(), value: 1 << 40 }));
}

#[test]
fn sums_of_sizes_are_bounded() {
    let million = MAX_FEATURES as i64;
    let ones = || vec![Tensor("value", Box::new(floats("", &[1], &[1.0])))];
    let constants = (0..40).fold(Model::new(&[1]), |model, index| {
        let (filled, first) = (format!("c{index}"), format!("f{index}"));
        let so_far = if index == 0 { "x".to_owned() } else { format!("s{}", index - 1) };
        model
            .node("ConstantOfShape", &["shape"], &[&filled], ones())
            .node("Slice", &[&filled, "zero", "one", "one"], &[&first], vec![])
            .node("Add", &[&so_far, &first], &[&format!("s{index}")], vec![])
    });
    let mut constants = constants.ints("shape", &[1, million]).ints("zero", &[0]).ints("one", &[1]);
    constants.graph().output[0].name = "s39".into();
    let found = problems(&constants);
    // After 31 of a million and 30 slices, the next slice is bounded by its operands together.
    let first = (found[0].node.clone(), found[0].problem.clone());
    assert_eq!(first, at("make_f30", Problem::TooLarge { found: Some((32 << 20) + 33), limit: MAX_ELEMENTS }));

    let total = |what, found, limit| Problem::Shape(ShapeError::Total { what, found, limit });
    let mut chain = (0..20).fold(Model::new(&[million]), |model, index| {
        let from = if index == 0 { "x".to_owned() } else { format!("a{}", index - 1) };
        model.node("Neg", &[&from], &[&format!("a{index}")], vec![])
    });
    chain.graph().output[0].name = "a19".into();
    let found = total("features in all tensors", MAX_ACTIVATIONS + MAX_FEATURES, MAX_ACTIVATIONS);
    assert_eq!(problems(&chain)[0].problem, found);
    assert_eq!(problems(&chain)[0].node, "make_a15");

    let taps = 1 << 19;
    let pool = single("AveragePool", &[1, million], &[], vec![Ints("kernel_shape", vec![taps])]);
    let positions = million - taps + 1;
    let found = total("products of weights and features", (positions * taps) as usize, MAX_TERMS);
    assert_eq!(problem(&pool), at("make_y", found));

    let expanded = single("Expand", &[1], &["shape"], vec![]).ints("shape", &[1, million + 1]);
    let found = ShapeError::TooLarge { shape: vec![MAX_FEATURES + 1], limit: MAX_FEATURES };
    assert_eq!(problem(&expanded), at("make_y", Problem::Shape(found)));

    let summed = single("Einsum", &[million], &["c"], vec![Text("equation", "bk,s->b")]);
    let mut summed = summed.ints("shape", &[million]).node("ConstantOfShape", &["shape"], &["c"], ones());
    summed.graph().node.swap(0, 1);
    let found = total("products in a sum over axes of a constant", 1 << 40, MAX_TERMS);
    assert_eq!(problem(&summed), at("make_y", found));
}

#[test]
fn samples_stay_apart() {
    let mixed = |model: Model| {
        let (node, problem) = problem(&model);
        assert!(matches!(problem, Problem::BatchMixed { .. } | Problem::Inference { .. }), "{problem:?}");
        assert_eq!(node, "make_y");
    };
    mixed(single("ReduceSum", &[2, 3], &[], vec![Ints("axes", vec![0])]).version(11));
    mixed(single("ReduceMean", &[2, 3], &[], vec![]));
    mixed(single("Flatten", &[2, 3], &[], vec![Int("axis", 0)]));
    mixed(single("Flatten", &[2, 3], &[], vec![Int("axis", 2)]));
    mixed(single("Reshape", &[2, 3], &["to"], vec![]).ints("to", &[-1, 3]));
    mixed(single("Reshape", &[2, 3], &["to"], vec![]).ints("to", &[6, -1]));
    mixed(single("Slice", &[2], &["a", "b", "c"], vec![]).ints("a", &[1]).ints("b", &[i64::MAX]).ints("c", &[0]));
    mixed(single("Gather", &[2], &["i"], vec![Int("axis", 0)]).ints("i", &[0, 0]));
    mixed(single("Concat", &[2], &["x"], vec![Int("axis", 0)]));
    mixed(single("Tile", &[2], &["n"], vec![]).ints("n", &[2, 1]));
    mixed(single("Pad", &[2], &["p"], vec![]).ints("p", &[1, 0, 0, 0]));
    mixed(single("Einsum", &[2, 3], &[], vec![Text("equation", "bij->ij")]));
    mixed(single("Add", &[2], &["w"], vec![]).floats("w", &[3, 2], &[0.0; 6]));
    mixed(single("Reshape", &[2, 3], &["to"], vec![]).ints("to", &[12]).batch(2));
    let gram = Model::new(&[2]).node("Transpose", &["x"], &["t"], vec![]).node("Mul", &["x", "t"], &["y"], vec![]);
    mixed(gram);
}

#[test]
fn weights_have_to_be_constant() {
    let data = |node: &str, operand| at(node, Problem::NeedsConstant { operand });
    let product = single("Einsum", &[2, 2], &["x"], vec![Text("equation", "bij,bjk->bik")]);
    assert_eq!(problem(&product), data("make_y", "each factor of the matrix product"));
    let power = single("Pow", &[2], &["x"], vec![]);
    assert_eq!(problem(&power), data("make_y", "the exponent"));
    let bias = Model::new(&[1, 2])
        .floats("w", &[1, 1, 1], &[1.0])
        .node("Einsum", &["x"], &["b"], vec![Text("equation", "bcl->b")])
        .node("Conv", &["x", "w", "b"], &["y"], vec![]);
    let (node, found) = problem(&bias);
    assert!(matches!(found, Problem::NeedsConstant { .. } | Problem::Inference { .. }), "{found:?}");
    assert_eq!(node, "make_y");
}

#[test]
fn arithmetic_is_on_whole_powers_and_floats() {
    for exponent in [0.5, -1.0, 65.0, 1e30] {
        let model = single("Pow", &[2], &["e"], vec![]).floats("e", &[], &[exponent]);
        let exponent = f64::from(exponent as f32);
        assert_eq!(problem(&model), at("make_y", Problem::Exponent { exponent, limit: 64 }));
    }
    let each = single("Pow", &[2], &["e"], vec![]).floats("e", &[2], &[2.0, 3.0]);
    assert_eq!(problem(&each), at("make_y", Problem::Exponent { exponent: 2.0, limit: 64 }));

    let mut integers = single("Mul", &[2], &["x"], vec![]);
    integers.input_type().elem_type = 7;
    assert_eq!(problem(&integers), at("make_y", Problem::IntegerArithmetic));
    let truncated = single("Cast", &[2], &[], vec![Int("to", 6)]);
    assert_eq!(problem(&truncated), at("make_y", Problem::IntegerArithmetic));
    let mut bytes =
        Model::new(&[2]).node("Cast", &["x"], &["f"], vec![Int("to", 1)]).node("Mul", &["f", "f"], &["y"], vec![]);
    bytes.input_type().elem_type = 2;
    assert!(load(&bytes.bytes()).is_ok(), "bytes that are cast first");
}

#[test]
fn pads_are_constant() {
    let model = single("Pad", &[4], &["p"], vec![Text("mode", "reflect")]).ints("p", &[0, 1, 0, 1]);
    assert_eq!(problem(&model), at("make_y", Problem::PadMode { mode: "Reflect".into() }));
}

#[test]
fn shapes_have_to_fit() {
    let model = single("MatMul", &[4], &["w"], vec![]).floats("w", &[5, 2], &[0.0; 10]);
    assert!(matches!(problem(&model), (node, Problem::Inference { .. }) if node == "make_y"));
    let window = single("AveragePool", &[1, 4], &[], vec![Ints("kernel_shape", vec![2]), Ints("strides", vec![0])]);
    assert!(matches!(problems(&window)[0].problem, Problem::Shape(_) | Problem::ReaderPanicked { .. }));
}

#[test]
fn results_depend_on_the_input() {
    let zero = single("Mul", &[2], &["w"], vec![]).floats("w", &[], &[0.0]);
    assert_eq!(problem(&zero).1, Problem::ConstantResult);
    let constant = Model::new(&[2]).floats("w", &[1, 2], &[1.0, 2.0]).node("Neg", &["w"], &["y"], vec![]);
    assert_eq!(problem(&constant), of_file(Problem::ConstantResult));
    let weight = floats("w", &[2, 2], &[0.0; 4]);
    let mut factor =
        Model::new(&[2]).node("MatMul", &["x", "w"], &["zero"], vec![]).node("Mul", &["x", "zero"], &["y"], vec![]);
    factor.graph().initializer.push(weight);
    assert_eq!(problem(&factor).1, Problem::ConstantResult);
}

//! Imported models compute what `tract` computes, and squashed networks compute what imported models do.

mod common;

use common::{Attribute, Attribute::*, Model, distance, floats, noise, tract_run};
use nightloom_compiler::graph::{Graph, Note};
use nightloom_compiler::network::{Network, Stage};
use nightloom_compiler::onnx::import;
use nightloom_compiler::passes::squash::squash;
use nightloom_compiler::pipeline::{load, simplify};
use proptest::prelude::*;

/// Imports a model and checks graph and network on a few samples against `tract`.
fn check(model: &Model, sample: &[usize]) -> (Graph, Network) {
    let bytes = model.bytes();
    let graph = import(&bytes).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(graph.shape(graph.input()), sample);
    let network = load(&bytes).unwrap_or_else(|problems| panic!("{problems}"));
    agree(&bytes, sample, &graph, &network);
    (graph, network)
}

fn agree(bytes: &[u8], sample: &[usize], graph: &Graph, network: &Network) {
    let length: usize = sample.iter().product();
    let samples = noise(7, 3 * length);
    let results = graph.evaluate_batch(&samples, 3);
    assert!(distance(&results, &tract_run(bytes, sample, &samples, 3), 1e-3) < 1e-5, "graph against tract");
    assert_eq!(network.output_shape(), graph.shape(graph.output()));
    for (sample, result) in samples.chunks_exact(length).zip(results.chunks_exact(results.len() / 3)) {
        assert!(distance(&network.evaluate(sample), result, 1e-3) < 1e-9, "network against graph");
    }
}

/// A model of one node `y = op(x, more...)`.
fn single(op: &str, sample: &[i64], more: &[&str], attributes: Vec<Attribute>) -> Model {
    let inputs: Vec<&str> = ["x"].iter().chain(more).copied().collect();
    Model::new(sample).node(op, &inputs, &["y"], attributes)
}

fn names(network: &Network) -> Vec<&'static str> {
    let name = |stage: &Stage| match stage {
        Stage::Affine { .. } => "affine",
        Stage::Square { .. } => "square",
        Stage::Multiply { .. } => "multiply",
    };
    network.stages().iter().map(name).collect()
}

#[test]
fn arithmetic_with_constants_broadcasts_both_ways() {
    let weights = noise(1, 12);
    for (op, swapped) in [("Add", true), ("Sub", true), ("Mul", true), ("Div", false)] {
        for shape in [&[][..], &[1], &[4], &[3, 1], &[1, 3, 4], &[1, 1, 1], &[2, 1, 1, 1], &[1, 2, 1, 4]] {
            let sample = &[2, 3, 4];
            if shape.len() == 4 && shape[0] != 1 {
                continue;
            }
            let length = shape.iter().product::<i64>() as usize;
            let model = single(op, sample, &["c"], vec![]).floats("c", shape, &weights[..length]);
            check(&model, &[2, 3, 4]);
            let constant_first = Model::new(sample).floats("c", shape, &weights[..length]);
            if swapped {
                check(&constant_first.node(op, &["c", "x"], &["y"], vec![]), &[2, 3, 4]);
            }
        }
    }
    let wider = single("Add", &[1, 4], &["c"], vec![]).floats("c", &[3, 1], &weights[..3]);
    assert_eq!(check(&wider, &[1, 4]).1.output_shape(), [3, 4]);
}

#[test]
fn arithmetic_of_two_values() {
    for op in ["Add", "Sub", "Mul"] {
        let model = Model::new(&[2, 3])
            .floats("w", &[2, 1], &[0.5, -2.0])
            .node("Mul", &["x", "w"], &["a"], vec![])
            .node("ReduceSum", &["x"], &["b"], vec![Int("keepdims", 1)])
            .ints("axes", &[2]);
        let mut model = model.node(op, &["a", "b"], &["y"], vec![]);
        model.graph().node[1].input.push("axes".into());
        check(&model, &[2, 3]);
    }
    let (_, network) = check(&single("Mul", &[5], &["x"], vec![]), &[5]);
    assert_eq!(names(&network), ["square"]);
    check(&single("Neg", &[5], &[], vec![]), &[5]);
    let sum = single("Sum", &[5], &["x", "c"], vec![]).floats("c", &[5], &noise(2, 5));
    check(&sum, &[5]);
    check(&single("Mean", &[5], &["c"], vec![]).floats("c", &[1, 5], &noise(2, 5)), &[5]);
}

#[test]
fn whole_powers_are_products_of_the_least_depth() {
    for (exponent, stages) in [
        (1, &[][..]),
        (2, &["square"]),
        (3, &["square", "multiply"]),
        (4, &["square", "square"]),
        (5, &["square", "multiply", "multiply"]),
        (7, &["square", "multiply", "square", "multiply"]),
    ] {
        let model = single("Pow", &[4], &["e"], vec![]).floats("e", &[], &[f64::from(exponent)]);
        let (_, network) = check(&model, &[4]);
        let mut found = names(&network);
        found.sort_unstable();
        let mut wanted = stages.to_vec();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "power {exponent}");
    }
    let mut integers = single("Pow", &[4], &["e"], vec![]);
    integers.graph().initializer.push(common::ints("e", &[], &[3]));
    check(&integers, &[4]);
}

#[test]
fn rearrangements() {
    check(&single("Transpose", &[2, 3, 4], &[], vec![Ints("perm", vec![0, 3, 1, 2])]), &[2, 3, 4]);
    check(&single("Flatten", &[2, 3, 4], &[], vec![Int("axis", 1)]), &[2, 3, 4]);
    check(&single("Unsqueeze", &[2, 3], &["axes"], vec![]).ints("axes", &[2]), &[2, 3]);
    check(&single("Squeeze", &[2, 1, 3], &["axes"], vec![]).ints("axes", &[2]), &[2, 1, 3]);
    check(&single("Reshape", &[2, 3, 4], &["to"], vec![]).ints("to", &[-1, 4, 6]), &[2, 3, 4]);
    check(&single("Reshape", &[2, 3, 4], &["to"], vec![]).ints("to", &[0, 0, -1]), &[2, 3, 4]);
    check(&single("Concat", &[2, 3], &["x", "x"], vec![Int("axis", -1)]), &[2, 3]);
    check(&single("Expand", &[2, 1, 3], &["to"], vec![]).ints("to", &[1, 1, 4, 1]), &[2, 1, 3]);
    check(&single("Tile", &[2, 3], &["times"], vec![]).ints("times", &[1, 1, 2]), &[2, 3]);
    check(&single("DepthToSpace", &[8, 2, 3], &[], vec![Int("blocksize", 2)]), &[8, 2, 3]);
    check(&single("SpaceToDepth", &[2, 4, 6], &[], vec![Int("blocksize", 2)]), &[2, 4, 6]);
    check(&single("Identity", &[2, 3], &[], vec![]), &[2, 3]);
    check(&single("Dropout", &[2, 3], &[], vec![]), &[2, 3]);
    check(&single("Cast", &[2, 3], &[], vec![Int("to", 1)]), &[2, 3]);
    let gather = single("Gather", &[2, 3, 4], &["i"], vec![Int("axis", 2)]);
    check(&gather.clone().ints("i", &[2, -3, 2, 1]), &[2, 3, 4]);
    let mut scalar = gather;
    scalar.graph().initializer.push(common::ints("i", &[], &[1]));
    check(&scalar, &[2, 3, 4]);
    let split = Model::new(&[2, 7])
        .ints("lengths", &[2, 4, 1])
        .node("Split", &["x", "lengths"], &["a", "b", "c"], vec![Int("axis", 2)])
        .node("Concat", &["c", "a"], &["y"], vec![Int("axis", 2)]);
    check(&split, &[2, 7]);
}

#[test]
fn flattening_by_the_shape_of_the_tensor() {
    let model = Model::new(&[2, 3, 4])
        .node("Shape", &["x"], &["s"], vec![])
        .node("Constant", &[], &["zero"], vec![Tensor("value", Box::new(common::ints("", &[], &[0])))])
        .node("Gather", &["s", "zero"], &["n"], vec![])
        .ints("axes", &[0])
        .node("Unsqueeze", &["n", "axes"], &["n1"], vec![])
        .ints("rest", &[-1])
        .node("Concat", &["n1", "rest"], &["to"], vec![Int("axis", 0)])
        .node("Reshape", &["x", "to"], &["y"], vec![]);
    check(&model, &[2, 3, 4]);
}

#[test]
fn a_fixed_batch_is_a_batch() {
    let reshape = |batch: i64| single("Reshape", &[2, 3], &["to"], vec![]).ints("to", &[batch, 6]).batch(batch);
    let (graph, _) = check_import(&reshape(1));
    assert_eq!(graph.notes(), []);
    let (graph, network) = check_import(&reshape(4));
    assert_eq!(graph.notes(), [Note::BatchSizeIgnored { size: 4 }]);
    assert_eq!(network.notes(), graph.notes());
    assert_eq!(graph.evaluate(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let in_constant = Model::new(&[2, 3])
        .node("Constant", &[], &["to"], vec![Ints("value_ints", vec![1, -1])])
        .node("Reshape", &["x", "to"], &["y"], vec![])
        .batch(1);
    assert_eq!(check_import(&in_constant).1.output_shape(), [6]);
}

fn check_import(model: &Model) -> (Graph, Network) {
    let graph = import(&model.bytes()).unwrap_or_else(|problems| panic!("{problems}"));
    let network = squash(&simplify(graph.clone()).unwrap()).unwrap();
    (graph, network)
}

#[test]
fn reductions_and_batch_normalisation() {
    for op in ["ReduceSum", "ReduceMean"] {
        for keep in [0, 1] {
            let attributes = vec![Ints("axes", vec![2, -1]), Int("keepdims", keep)];
            check(&single(op, &[2, 3, 4], &[], attributes).version(11), &[2, 3, 4]);
        }
    }
    check(&single("ReduceSumSquare", &[2, 3], &[], vec![Ints("axes", vec![1])]), &[2, 3]);
    check(&single("GlobalAveragePool", &[2, 3, 4], &[], vec![]), &[2, 3, 4]);
    let model = single("BatchNormalization", &[3, 2, 2], &["s", "b", "m", "v"], vec![Float("epsilon", 1e-3)])
        .floats("s", &[3], &[0.5, 1.5, -2.0])
        .floats("b", &[3], &[0.25, -1.0, 3.0])
        .floats("m", &[3], &[0.1, 0.2, -0.3])
        .floats("v", &[3], &[0.5, 2.0, 1e-4]);
    check(&model, &[3, 2, 2]);
}

#[test]
fn matrix_products() {
    let dense = single("Gemm", &[6], &["w", "b"], vec![Int("transB", 1), Float("alpha", 0.5), Float("beta", 2.0)]);
    check(&dense.floats("w", &[4, 6], &noise(1, 24)).floats("b", &[4], &noise(2, 4)), &[6]);
    let dense = single("Gemm", &[6], &["w"], vec![]);
    check(&dense.floats("w", &[6, 4], &noise(1, 24)), &[6]);
    for (sample, weight) in [
        (&[5i64][..], &[5i64, 3][..]),
        (&[5], &[5]),
        (&[4, 5], &[5, 3]),
        (&[2, 4, 5], &[2, 5, 3]),
        (&[1, 4, 5], &[6, 5, 3]),
        (&[2, 4, 5], &[1, 2, 5, 3]),
        (&[2, 4, 5], &[5, 1]),
    ] {
        let length = weight.iter().product::<i64>() as usize;
        let model = single("MatMul", sample, &["w"], vec![]).floats("w", weight, &noise(3, length));
        check(&model, &sample.iter().map(|&n| n as usize).collect::<Vec<_>>());
    }
    let left = Model::new(&[5, 3]).floats("w", &[4, 5], &noise(3, 20)).node("MatMul", &["w", "x"], &["y"], vec![]);
    check(&left, &[5, 3]);
    for (equation, sample, weight) in [
        ("bij,jk->bki", &[2i64, 3][..], &[3i64, 4][..]),
        ("bgi,gio->bgo", &[2, 3], &[2, 3, 4]),
        ("bij,jk->bk", &[2, 3], &[3, 4]),
        ("bi,jk->bik", &[2], &[3, 4]),
        ("bi,jk->bi", &[2], &[3, 4]),
        ("bij,ij->b", &[2, 3], &[2, 3]),
        ("bij,i->ijb", &[2, 3], &[2]),
    ] {
        let length = weight.iter().product::<i64>() as usize;
        let model = single("Einsum", sample, &["w"], vec![Text("equation", equation)]);
        let model = model.floats("w", weight, &noise(4, length));
        if equation.ends_with("ijb") {
            assert_eq!(check_import(&model).1.output_shape(), [2, 3]);
        } else {
            check(&model, &sample.iter().map(|&n| n as usize).collect::<Vec<_>>());
        }
    }
    check(&single("Einsum", &[2, 3], &[], vec![Text("equation", "bij->bj")]), &[2, 3]);
}

#[test]
fn weights_may_be_computed_from_constants() {
    let model = Model::new(&[3])
        .floats("w", &[3, 2], &noise(1, 6))
        .floats("v", &[2], &[4.0, 9.0])
        .node("Sqrt", &["v"], &["deviation"], vec![])
        .node("Div", &["w", "deviation"], &["scaled"], vec![])
        .node("Transpose", &["scaled"], &["turned"], vec![Ints("perm", vec![1, 0])])
        .node("Gemm", &["x", "turned"], &["y"], vec![Int("transB", 1)]);
    check(&model, &[3]);
    let filled = Model::new(&[3])
        .ints("shape", &[1, 3])
        .node("ConstantOfShape", &["shape"], &["c"], vec![Tensor("value", Box::new(floats("", &[1], &[2.5])))])
        .node("Mul", &["x", "c"], &["y"], vec![]);
    check(&filled, &[3]);
}

#[test]
fn a_last_activation_is_left_to_the_client() {
    for op in ["Softmax", "LogSoftmax", "Sigmoid", "ArgMax"] {
        let model = Model::new(&[3])
            .floats("w", &[3, 2], &noise(1, 6))
            .node("MatMul", &["x", "w"], &["logits"], vec![])
            .node(op, &["logits"], &["last"], if op == "Sigmoid" { vec![] } else { vec![Int("axis", 1)] })
            .node("Identity", &["last"], &["y"], vec![]);
        let (graph, network) = check_import(&model);
        assert_eq!(network.output_shape(), [2]);
        let [Note::ActivationLeftToClient { origin, axis }] = graph.notes() else { panic!("{:?}", graph.notes()) };
        assert_eq!((origin.node.as_str(), origin.op.as_str()), ("make_last", op));
        assert_eq!(*axis, (op != "Sigmoid").then_some(1));
    }
}

#[test]
fn what_the_output_does_not_need_is_ignored() {
    let model =
        single("Neg", &[3], &[], vec![]).node("Relu", &["x"], &["unused"], vec![]).floats("w", &[1], &[f64::NAN]);
    check(&model, &[3]);
}

#[test]
fn squashing_merges_everything_between_products() {
    let model = Model::new(&[1, 6, 6])
        .floats("k1", &[2, 1, 3, 3], &noise(1, 18))
        .node("Conv", &["x", "k1"], &["c1"], vec![])
        .node("Mul", &["c1", "c1"], &["s1"], vec![])
        .node("AveragePool", &["s1"], &["p1"], vec![Ints("kernel_shape", vec![2, 2])])
        .floats("k2", &[3, 2, 2, 2], &noise(2, 24))
        .floats("b2", &[3], &noise(3, 3))
        .node("Conv", &["p1", "k2", "b2"], &["c2"], vec![])
        .node("Flatten", &["c2"], &["f"], vec![])
        .floats("w", &[12, 5], &noise(4, 60))
        .node("MatMul", &["f", "w"], &["d"], vec![])
        .node("Mul", &["d", "d"], &["y"], vec![]);
    let (_, network) = check(&model, &[1, 6, 6]);
    assert_eq!(names(&network), ["affine", "square", "affine", "square"]);
    let Stage::Affine { name, matrix, .. } = &network.stages()[0] else { panic!() };
    assert_eq!((name.as_str(), matrix.rows(), matrix.columns(), matrix.nonzeros()), ("make_c1", 32, 36, 32 * 9));
    let Stage::Affine { name, matrix, bias, .. } = &network.stages()[2] else { panic!() };
    assert!(["make_p1", "make_c2", "make_d"].iter().all(|part| name.contains(part)), "{name}");
    assert_eq!((matrix.rows(), matrix.columns(), bias.len()), (5, 32, 5));
}

#[test]
fn residual_connections_read_the_value_they_skip_from() {
    let model = Model::new(&[4])
        .floats("w1", &[4, 4], &noise(1, 16))
        .floats("w2", &[4, 4], &noise(2, 16))
        .node("MatMul", &["x", "w1"], &["a"], vec![])
        .node("Mul", &["a", "a"], &["s"], vec![])
        .node("MatMul", &["s", "w2"], &["b"], vec![])
        .node("Add", &["a", "b"], &["sum"], vec![])
        .node("Mul", &["sum", "a"], &["y"], vec![]);
    let (_, network) = check(&model, &[4]);
    assert_eq!(names(&network), ["affine", "square", "affine", "multiply"]);
    let Stage::Affine { sources, .. } = &network.stages()[2] else { panic!() };
    assert_eq!(sources.iter().map(|source| source.index()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn quadratic_activations_take_one_square() {
    let model = Model::new(&[4])
        .floats("w1", &[4, 4], &noise(1, 16))
        .floats("w2", &[4, 2], &noise(2, 8))
        .floats("a", &[4], &[0.1, 0.2, -0.3, 0.4])
        .floats("b", &[], &[0.5])
        .floats("c", &[], &[0.25])
        .node("MatMul", &["x", "w1"], &["h"], vec![])
        .node("Mul", &["h", "a"], &["ah"], vec![])
        .node("Add", &["ah", "b"], &["inner"], vec![])
        .node("Mul", &["inner", "h"], &["product"], vec![])
        .node("Add", &["product", "c"], &["act"], vec![])
        .node("MatMul", &["act", "w2"], &["y"], vec![]);
    let (_, network) = check(&model, &[4]);
    assert_eq!(names(&network), ["affine", "square", "affine"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_of_every_geometry(
        groups in 1..3i64, channels in 1..3i64, outputs in 1..3i64,
        size in prop::array::uniform2(4..8i64), kernel in prop::array::uniform2(1..4i64),
        strides in prop::array::uniform2(1..4i64), dilations in prop::array::uniform2(1..3i64),
        pads in prop::array::uniform4(0..3i64), auto in 0..4usize, bias: bool,
    ) {
        for axis in 0..2 {
            let padding = if auto == 0 { pads[axis] + pads[axis + 2] } else { 0 };
            prop_assume!((kernel[axis] - 1) * dilations[axis] < size[axis] + padding);
        }
        let mut attributes = vec![
            Int("group", groups), Ints("strides", strides.to_vec()), Ints("dilations", dilations.to_vec()),
            Ints("kernel_shape", kernel.to_vec()),
        ];
        attributes.push(match auto {
            0 => Ints("pads", pads.to_vec()),
            1 => Text("auto_pad", "VALID"),
            2 => Text("auto_pad", "SAME_UPPER"),
            _ => Text("auto_pad", "SAME_LOWER"),
        });
        let weight = [groups * outputs, channels, kernel[0], kernel[1]];
        let length = weight.iter().product::<i64>() as usize;
        let more = if bias { &["w", "b"][..] } else { &["w"] };
        let model = single("Conv", &[groups * channels, size[0], size[1]], more, attributes)
            .floats("w", &weight, &noise(1, length))
            .floats("b", &weight[..1], &noise(2, weight[0] as usize));
        check(&model, &[groups * channels, size[0], size[1]].map(|n| n as usize));
    }

    #[test]
    fn average_pools_of_every_geometry(
        channels in 1..3i64, size in prop::array::uniform2(4..9i64), kernel in prop::array::uniform2(1..4i64),
        strides in prop::array::uniform2(1..4i64), pads in prop::array::uniform4(0..2i64),
        include in 0..2i64, ceil in 0..2i64, auto in 0..3usize,
    ) {
        // Padding as long as the window would average nothing.
        prop_assume!((0..2).all(|axis| pads[axis] < kernel[axis] && pads[axis + 2] < kernel[axis]));
        let mut attributes = vec![
            Ints("kernel_shape", kernel.to_vec()), Ints("strides", strides.to_vec()),
            Int("count_include_pad", include),
        ];
        attributes.extend(match auto {
            0 => vec![Ints("pads", pads.to_vec()), Int("ceil_mode", ceil)],
            1 => vec![Text("auto_pad", "SAME_UPPER")],
            _ => vec![Text("auto_pad", "SAME_LOWER")],
        });
        let model = single("AveragePool", &[channels, size[0], size[1]], &[], attributes);
        check(&model, &[channels, size[0], size[1]].map(|n| n as usize));
    }

    #[test]
    fn slices_of_every_kind(
        start in -8..8i64, end in -8..8i64, step in prop::sample::select(vec![-3i64, -2, -1, 1, 2, 3]), open: bool,
    ) {
        let absolute = |at: i64| if at < 0 { at + 6 } else { at };
        let end = match (open, step > 0) { (false, _) => end, (true, true) => i64::MAX, (true, false) => i64::MIN };
        let (from, to) = (absolute(start), if open { end } else { absolute(end) });
        let nonempty = if step > 0 { from.max(0) < to.min(6) } else { from.min(5) > to.max(-1) };
        prop_assume!(nonempty);
        let model = single("Slice", &[2, 6], &["from", "to", "axes", "steps"], vec![])
            .ints("from", &[start]).ints("to", &[end]).ints("axes", &[2]).ints("steps", &[step]);
        check(&model, &[2, 6]);
    }

    #[test]
    fn pads_with_any_constant(before in 0..3i64, after in 0..3i64, value in -2.0..2.0f32) {
        let model = single("Pad", &[2, 3], &["pads", "value"], vec![])
            .ints("pads", &[0, 0, before, 0, 1, after])
            .floats("value", &[], &[f64::from(value)]);
        check(&model, &[2, 3]);
    }

    #[test]
    fn transposes_of_every_order(order in Just(vec![1i64, 2, 3]).prop_shuffle()) {
        let perm = [0].into_iter().chain(order).collect();
        check(&single("Transpose", &[2, 3, 4], &[], vec![Ints("perm", perm)]), &[2, 3, 4]);
    }
}

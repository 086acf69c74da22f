//! Bytes from strangers give a graph or a diagnosis, whatever they are.

mod common;

use common::{Attribute::*, Model, Random, noise};
use nightloom_compiler::diagnostic::Problem;
use nightloom_compiler::onnx::import;
use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Length;

/// A model that uses much of what the importer knows.
fn model() -> Model {
    Model::new(&[2, 6, 6])
        .floats("k", &[4, 1, 3, 3], &noise(1, 36))
        .floats("b", &[4], &noise(2, 4))
        .node("Conv", &["x", "k", "b"], &["c"], vec![Ints("pads", vec![0, 1, 1, 0]), Int("group", 2)])
        .node("BatchNormalization", &["c", "b", "b", "b", "v"], &["n"], vec![Float("epsilon", 1e-3)])
        .floats("v", &[4], &[1.0; 4])
        .floats("two", &[], &[2.0])
        .node("Pow", &["n", "two"], &["s"], vec![])
        .node("AveragePool", &["s"], &["p"], vec![Ints("kernel_shape", vec![2, 2]), Ints("strides", vec![2, 1])])
        .node("Shape", &["p"], &["shape"], vec![])
        .node("Slice", &["shape"], &["batch"], vec![Ints("starts", vec![0]), Ints("ends", vec![1])])
        .ints("rest", &[-1])
        .node("Concat", &["batch", "rest"], &["flat"], vec![Int("axis", 0)])
        .node("Reshape", &["p", "flat"], &["f"], vec![])
        .floats("w", &[32, 3], &noise(3, 96))
        .node("Gemm", &["f", "w"], &["g"], vec![Int("transB", 0), Float("alpha", 0.5)])
        .node("Split", &["g"], &["l", "r"], vec![Ints("split", vec![1, 2]), Int("axis", 1)])
        .node("Mul", &["r", "l"], &["m"], vec![])
        .node("Pad", &["m"], &["q"], vec![Ints("pads", vec![0, 1, 0, 1])])
        .node("Softmax", &["q"], &["y"], vec![])
        .version(9)
}

#[test]
fn the_model_is_fine_as_it_is() {
    import(&model().bytes()).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn every_prefix_is_answered() {
    let bytes = model().bytes();
    for length in 0..bytes.len() {
        assert!(import(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn damaged_bytes_are_answered() {
    let bytes = model().bytes();
    for seed in 0..1500 {
        let mut random = Random(seed);
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(damaged.len());
            match random.below(3) {
                0 => damaged[at] = random.next() as u8,
                1 => damaged[at] ^= 1 << random.below(8),
                _ => {
                    damaged.remove(at);
                }
            }
        }
        answer(&damaged);
    }
}

#[test]
fn damaged_declarations_are_answered() {
    let values = [0, 1, -1, 2, 3, 7, -2, 1 << 20, 1 << 33, i64::MAX, i64::MIN];
    for seed in 0..1500 {
        let mut random = Random(seed ^ 0xdead_beef);
        let mut model = model();
        for _ in 0..1 + random.below(3) {
            let value = values[random.below(values.len())];
            let choice = random.below(7);
            let graph = model.graph();
            let nodes = graph.node.len();
            let node = random.below(nodes);
            let initializer = random.below(graph.initializer.len());
            match choice {
                0 => {
                    let attributes = &mut graph.node[node].attribute;
                    if let Some(attribute) = attributes.first_mut() {
                        attribute.i = value;
                        let length = attribute.ints.len();
                        if length > 0 {
                            attribute.ints[random.below(length)] = value;
                        }
                    }
                }
                1 => {
                    let inputs = graph.node.iter().flat_map(|node| node.output.clone()).collect::<Vec<String>>();
                    let length = graph.node[node].input.len();
                    if length > 0 {
                        graph.node[node].input[random.below(length)].clone_from(&inputs[random.below(inputs.len())]);
                    }
                }
                2 => {
                    let tensor = &mut graph.initializer[initializer];
                    if tensor.int64_data.is_empty() {
                        tensor.dims.reverse();
                    } else {
                        tensor.int64_data[0] = value;
                    }
                }
                3 => graph.node[node].op_type = graph.node[random.below(nodes)].op_type.clone(),
                4 => *model.axis(1 + random.below(3)) = Some(Length::DimValue(value)),
                5 => {
                    graph.node[node].input.pop();
                }
                _ => graph.node[node].attribute.clear(),
            }
        }
        answer(&model.bytes());
    }
}

/// Imports, and runs what is imported if it is small.
fn answer(bytes: &[u8]) {
    if let Ok(graph) = import(bytes) {
        let elements: usize = graph.nodes().iter().map(|node| node.shape.iter().product::<usize>()).sum();
        if elements < 1 << 16 {
            let input = graph.shape(graph.input()).iter().product();
            let output: usize = graph.shape(graph.output()).iter().product();
            assert_eq!(graph.evaluate(&vec![0.5; input]).len(), output);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(import(&bytes).is_err());
    }

    #[test]
    fn random_fields_are_refused(fields in prop::collection::vec((1..26u8, prop::collection::vec(any::<u8>(), 0..20)), 0..10)) {
        let mut bytes = Vec::new();
        for (number, body) in fields {
            prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut bytes);
            prost::encoding::encode_varint(body.len() as u64, &mut bytes);
            bytes.extend(body);
        }
        prop_assert!(import(&bytes).is_err());
    }
}

#[test]
fn long_arithmetic_on_the_batch_size_is_answered() {
    for (even, odd) in [("Div", "Add"), ("Mul", "Add"), ("Add", "Mul"), ("Sub", "Div")] {
        let mut model = Model::new(&[2]).node("Shape", &["x"], &["s0"], vec![]).ints("two", &[2]);
        for i in 0..2000 {
            let (from, to) = (format!("s{i}"), format!("s{}", i + 1));
            let operand = if i % 5 == 4 { &from } else { "two" };
            model = model.node(if i % 2 == 0 { even } else { odd }, &[&from, operand], &[&to], vec![]);
        }
        let model = model.node("Reshape", &["x", "s2000"], &["y"], vec![]);
        let problems = import(&model.bytes()).expect_err("too long, or no batch left");
        let found = problems.0.iter().any(|diagnostic| diagnostic.problem == Problem::BatchArithmetic);
        assert!(found || even != "Mul", "{problems}");
    }
}

#[test]
fn names_cannot_pass_for_our_own() {
    let mut model = Model::new(&[2])
        .floats("node 0", &[2], &[1.0, 2.0])
        .node("Add", &["x", "node 0"], &["node  1"], vec![])
        .node("Neg", &["node  1"], &["y"], vec![]);
    model.graph().node[0].name = "node 1".into();
    model.graph().node[1].name = "node 1".into();
    let graph = import(&model.bytes()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(graph.evaluate(&[3.0, 4.0]), [-4.0, -6.0]);
    assert!(ModelProto::decode(&model.bytes()[..]).is_ok());
}

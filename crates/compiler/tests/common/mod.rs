//! Small ONNX models made in code, and `tract`'s own answer for any model.

#![allow(dead_code, reason = "each test file uses its part")]

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Length};
use tract_onnx::pb::type_proto::{self, Value as Type};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use tract_onnx::prelude::*;

/// An ONNX model with input `x` of shape `[N, sample...]` and output `y`.
#[derive(Clone)]
pub struct Model {
    pub proto: ModelProto,
}

pub enum Attribute {
    Int(&'static str, i64),
    Ints(&'static str, Vec<i64>),
    Float(&'static str, f32),
    Text(&'static str, &'static str),
    Tensor(&'static str, Box<TensorProto>),
}

impl Model {
    pub fn new(sample: &[i64]) -> Model {
        let batch = Dimension { value: Some(Length::DimParam("batch".into())), ..Default::default() };
        let lengths = sample.iter().map(|&n| Dimension { value: Some(Length::DimValue(n)), ..Default::default() });
        let shape = TensorShapeProto { dim: [batch].into_iter().chain(lengths).collect() };
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
        let input = ValueInfoProto {
            name: "x".into(),
            r#type: Some(TypeProto { value: Some(Type::TensorType(tensor)), ..Default::default() }),
            ..Default::default()
        };
        let output = ValueInfoProto { name: "y".into(), ..Default::default() };
        let graph = GraphProto { input: vec![input], output: vec![output], ..Default::default() };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
        Model { proto: ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() } }
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().expect("made with a graph")
    }

    pub fn batch(mut self, batch: i64) -> Model {
        *self.axis(0) = Some(Length::DimValue(batch));
        self
    }

    pub fn axis(&mut self, axis: usize) -> &mut Option<Length> {
        &mut self.input_type().shape.as_mut().expect("made with a shape").dim[axis].value
    }

    pub fn input_type(&mut self) -> &mut type_proto::Tensor {
        let Some(TypeProto { value: Some(Type::TensorType(tensor)), .. }) = &mut self.graph().input[0].r#type else {
            unreachable!("made with a tensor");
        };
        tensor
    }

    pub fn version(mut self, version: i64) -> Model {
        self.proto.opset_import[0].version = version;
        self
    }

    pub fn floats(mut self, name: &str, shape: &[i64], values: &[f64]) -> Model {
        self.graph().initializer.push(floats(name, shape, values));
        self
    }

    pub fn ints(mut self, name: &str, values: &[i64]) -> Model {
        self.graph().initializer.push(ints(name, &[values.len() as i64], values));
        self
    }

    /// Adds a node named after its first result.
    pub fn node(mut self, op: &str, inputs: &[&str], results: &[&str], attributes: Vec<Attribute>) -> Model {
        let attribute = attributes
            .into_iter()
            .map(|attribute| match attribute {
                Attribute::Int(name, i) => made(name, AttributeType::Int, AttributeProto { i, ..Default::default() }),
                Attribute::Ints(name, ints) => {
                    made(name, AttributeType::Ints, AttributeProto { ints, ..Default::default() })
                }
                Attribute::Float(name, f) => {
                    made(name, AttributeType::Float, AttributeProto { f, ..Default::default() })
                }
                Attribute::Text(name, text) => {
                    made(name, AttributeType::String, AttributeProto { s: text.into(), ..Default::default() })
                }
                Attribute::Tensor(name, t) => {
                    made(name, AttributeType::Tensor, AttributeProto { t: Some(*t), ..Default::default() })
                }
            })
            .collect();
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        self.graph().node.push(NodeProto {
            name: format!("make_{}", results[0]),
            op_type: op.to_owned(),
            input: names(inputs),
            output: names(results),
            attribute,
            ..Default::default()
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

fn made(name: &str, kind: AttributeType, attribute: AttributeProto) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..attribute }
}

pub fn floats(name: &str, shape: &[i64], values: &[f64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub fn ints(name: &str, shape: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// What `tract` computes for `batch` samples with all its optimisations, in single precision.
pub fn tract_run(bytes: &[u8], sample: &[usize], samples: &[f64], batch: usize) -> Vec<f64> {
    let shape: Vec<usize> = [batch].into_iter().chain(sample.iter().copied()).collect();
    let run = || -> TractResult<Vec<f64>> {
        let mut model = onnx().model_for_read(&mut &bytes[..])?;
        model.set_input_fact(0, f32::fact(&shape).into())?;
        let model = model.into_optimized()?.into_runnable()?;
        let values: Vec<f32> = samples.iter().map(|&value| value as f32).collect();
        let result = model.run(tvec!(Tensor::from_shape(&shape, &values)?.into_tvalue()))?;
        let result = result[0].cast_to::<f64>()?;
        Ok(result.view().as_slice::<f64>()?.to_vec())
    };
    run().expect("tract runs the model")
}

/// Numbers between -1 and 1 that depend on `seed` and `i` alone, exact in single precision.
pub fn noise(seed: u64, length: usize) -> Vec<f64> {
    let mut random = Random(seed);
    (0..length).map(|_| (random.next() >> 40) as f64 / f64::from(1 << 23) - 1.0).collect()
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Largest difference of two lists, relative to the largest magnitude among them (at least `floor`).
pub fn distance(a: &[f64], b: &[f64], floor: f64) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().chain(b).fold(floor, |scale, value| scale.max(value.abs()));
    a.iter().zip(b).fold(0.0, |distance: f64, (a, b)| distance.max((a - b).abs() / scale))
}

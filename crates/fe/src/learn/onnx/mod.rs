//! A trained network as an ONNX file, to be compiled for encrypted inference or run anywhere.

mod proto;

use prost::Message;

use super::network::{LayerSpec, Network, PlacedLayer, Shape};
use proto::{
    ATTRIBUTE_INT, ATTRIBUTE_INTS, Attribute, Dimension, FLOAT, Graph, INT64, Length, Model, Node, OperatorSet, Tensor,
    TensorShape, TensorType, Type, ValueInfo,
};

/// The operator set of exported files.
pub const OPERATOR_SET: i64 = 13;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 7;

/// The network as the bytes of an ONNX file: input `input` of shape `[N, channels, height, width]`, or `[N, length]` for
/// vectors, in real units (pixels over 255); output `logits` of shape `[N, outputs]`, before any softmax. Weights are
/// rounded to single precision.
///
/// Squares become `Mul` of a value with itself: with these, dense layers, convolutions and average pools alone,
/// `nightloom compile` accepts the file.
pub fn export(network: &Network) -> Vec<u8> {
    let architecture = network.architecture();
    let mut exporter = Exporter { graph: Graph::default(), value: "input".to_owned(), is_image: false };
    exporter.graph.name = "nightloom".to_owned();
    exporter.is_image = is_image(architecture.input());
    exporter.graph.input.push(value_info("input", architecture.input()));
    let mut parameters = network.parameters().iter();
    for (index, layer) in architecture.layers().iter().enumerate() {
        let parameters = if layer.is_trained() { parameters.next() } else { None };
        exporter.layer(index, layer, parameters.map(|p| (p.weights.iter(), p.bias.iter())));
    }
    exporter.finish(architecture.outputs());
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "nightloom".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(exporter.graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPERATOR_SET }],
    };
    model.encode_to_vec()
}

struct Exporter {
    graph: Graph,
    /// Name of the value so far.
    value: String,
    /// Whether it has rows and columns.
    is_image: bool,
}

impl Exporter {
    fn layer<'a>(
        &mut self,
        index: usize,
        layer: &PlacedLayer,
        parameters: Option<(impl Iterator<Item = &'a f64>, impl Iterator<Item = &'a f64>)>,
    ) {
        let needs_image = layer.windows.is_some();
        if needs_image && !self.is_image {
            let axes = self.tensor(format!("axes{index}"), INT64, &[2], [2i64, 3].map(i64::to_le_bytes).concat());
            self.node("Unsqueeze", format!("image{index}"), vec![axes], vec![]);
        }
        let is_dense = matches!(layer.spec, LayerSpec::Dense { .. });
        if is_dense && self.is_image {
            self.node("Flatten", format!("vector{index}"), vec![], vec![int("axis", 1)]);
        }
        self.is_image = if needs_image { true } else { self.is_image && !is_dense };

        let (units, seen) = layer.parameters().0;
        let operands = parameters.map_or(vec![], |(weights, bias)| {
            let window = layer.windows.filter(|_| !is_dense);
            let shape = window.map_or(vec![units, seen], |w| vec![units, layer.input.channels, w.side(), w.side()]);
            vec![
                self.floats(format!("weights{index}"), &shape, weights),
                self.floats(format!("bias{index}"), &[units], bias),
            ]
        });
        let windows = layer.windows.map_or(vec![], |windows| {
            let (side, stride, padding) = (windows.side(), windows.stride(), windows.padding());
            vec![ints("kernel_shape", [side; 2]), ints("strides", [stride; 2]), ints("pads", [padding; 4])]
        });
        let name = format!("layer{index}");
        match layer.spec {
            LayerSpec::Dense { .. } => self.node("Gemm", name, operands, vec![int("transB", 1)]),
            LayerSpec::Convolution { .. } => self.node("Conv", name, operands, windows),
            LayerSpec::Relu => self.node("Relu", name, vec![], vec![]),
            LayerSpec::Sigmoid => self.node("Sigmoid", name, vec![], vec![]),
            LayerSpec::Square => self.node("Mul", name, vec![self.value.clone()], vec![]),
            LayerSpec::MaxPool { .. } => self.node("MaxPool", name, vec![], windows),
            LayerSpec::AveragePool { .. } => self.node("AveragePool", name, vec![], windows),
        }
    }

    /// Appends a node on the value so far and the other operands.
    fn node(&mut self, op_type: &str, name: String, operands: Vec<String>, attribute: Vec<Attribute>) {
        let value = std::mem::replace(&mut self.value, name.clone());
        let input = [value].into_iter().chain(operands).collect();
        self.graph.node.push(Node { input, output: vec![name.clone()], name, op_type: op_type.to_owned(), attribute });
    }

    fn finish(&mut self, outputs: usize) {
        if self.is_image {
            self.node("Flatten", "vector".to_owned(), vec![], vec![int("axis", 1)]);
        }
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec!["logits".to_owned()];
        }
        self.graph.output.push(value_info("logits", Shape::vector(outputs)));
    }

    fn floats<'a>(&mut self, name: String, shape: &[usize], values: impl Iterator<Item = &'a f64>) -> String {
        let bytes = values.flat_map(|value| (*value as f32).to_le_bytes()).collect();
        self.tensor(name, FLOAT, shape, bytes)
    }

    fn tensor(&mut self, name: String, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        let dims = shape.iter().map(|&length| length as i64).collect();
        self.graph.initializer.push(Tensor { dims, data_type, name: name.clone(), raw_data });
        name
    }
}

fn is_image(shape: Shape) -> bool {
    (shape.height, shape.width) != (1, 1)
}

fn value_info(name: &str, shape: Shape) -> ValueInfo {
    let Shape { channels, height, width } = shape;
    let lengths = if is_image(shape) { vec![channels, height, width] } else { vec![channels] };
    let lengths = lengths.into_iter().map(|length| Length::Value(length as i64));
    let batch = Length::Parameter("N".to_owned());
    let dim = [batch].into_iter().chain(lengths).map(|length| Dimension { length: Some(length) }).collect();
    let tensor = TensorType { element: FLOAT, shape: Some(TensorShape { dim }) };
    ValueInfo { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, ints: vec![], kind: ATTRIBUTE_INT }
}

fn ints<const N: usize>(name: &str, values: [usize; N]) -> Attribute {
    let ints = values.map(|value| value as i64).to_vec();
    Attribute { name: name.to_owned(), i: 0, ints, kind: ATTRIBUTE_INTS }
}

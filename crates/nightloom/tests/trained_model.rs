//! Train on integers as functional encryption opens them, then predict on ciphertexts: the server sees no sample on either
//! way.

use std::ops::ControlFlow;
use std::path::Path;

use nightloom::client::{Client, EncryptionKey};
use nightloom::model::{CompileOptions, compile};
use nightloom::samples::{Missing, SampleValues, Samples, read_table};
use nightloom::server::Server;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{
    ClearOracle, Dataset, FixedPoint, FixedPointSpec, Inputs, LayerSpec, NetworkSpec, Seed, Shape, Targets, Trainer,
    TrainerSpec, onnx,
};

/// The 8x8 digits, with pixels times 15.
fn digits() -> (Dataset, Dataset) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tables/digits.csv.gz");
    let mut table = read_table(path, Missing::Refuse).unwrap();
    let (labels, classes) = table.take_labels("-1").unwrap();
    assert_eq!(classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let (rows, width) = table.features().unwrap();
    assert_eq!((table.rows(), width), (1797, 64));
    let pixels: Vec<u8> = rows.iter().map(|&pixel| (pixel * 15.0) as u8).collect();
    let inputs = Inputs::from_pixels(Shape { channels: 1, height: 8, width: 8 }, &pixels).unwrap();
    let data = Dataset::new(inputs, Targets::classes(10, &labels).unwrap()).unwrap();
    data.shuffled(&Seed::new([8; 32])).split_at(1437).unwrap()
}

#[test]
fn a_network_trained_on_integers_predicts_on_ciphertexts() {
    let (train, test) = digits();
    let convolution = LayerSpec::Convolution { filters: 4, side: 3, stride: 1, padding: 1 };
    let pool = LayerSpec::AveragePool { side: 2, stride: 2 };
    let spec = TrainerSpec {
        network: NetworkSpec {
            input: train.inputs().shape(),
            layers: vec![convolution, LayerSpec::Square, pool, LayerSpec::Dense { units: 10 }],
        },
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: OptimizerSpec { learning_rate: 0.02, decay: 0.9, momentum: 0.9 },
        batches: Batches::Fixed { size: 16 },
        epochs: 8,
        privacy: None,
    };
    let architecture = spec.network.validate().unwrap();
    let oracle = ClearOracle::new(&architecture, &train, 16).unwrap();
    let mut first = FixedPoint::new(oracle, FixedPointSpec::default()).unwrap();
    let mut trainer = Trainer::new(spec, train.len(), Seed::new([1; 32])).unwrap();
    trainer.run(&mut first, |_| ControlFlow::Continue(())).unwrap();
    let network = trainer.into_network();
    let accuracy = network.evaluate(&test, Loss::SoftmaxCrossEntropy).accuracy();
    assert!(accuracy > 0.93, "{accuracy}");

    let compiled = compile(&onnx::export(&network), &CompileOptions::new("digits")).unwrap();
    let client = Client::read(&*compiled.client_bytes, 2).unwrap();
    let mut rng = nightloom::system_rng().unwrap();
    let keys = client.generate_keys(&mut rng).unwrap();
    let pixels: Vec<u8> =
        (0..test.len()).flat_map(|sample| test.inputs().sample(sample)).map(|&pixel| pixel as u8).collect();
    let samples = Samples::new("digits", &[8, 8], SampleValues::Pixels(pixels)).unwrap();
    let features = samples.features(&client.spec().input_shape, client.scaling()).unwrap();
    let mut request = Vec::new();
    client.encrypt(&features, EncryptionKey::Secret(&keys.secret), &mut rng, &mut request, &|_| {}).unwrap();
    let server = Server::read(&*compiled.server_bytes, 2).unwrap();
    let mut response = Vec::new();
    server.run(&*request, &keys.evaluation, &mut response, &|_| {}).unwrap();
    let outputs = client.decrypt(&*response, &keys.secret).unwrap();

    let all: Vec<usize> = (0..test.len()).collect();
    let wanted = network.outputs(test.inputs().real(&all).view());
    assert_eq!(outputs.values.len(), wanted.len());
    // Weights are stored in single precision, hence the rest.
    let bound = compiled.client.error_bound + 1e-5;
    assert!(outputs.values.iter().zip(&wanted).all(|(found, wanted)| (found - wanted).abs() < bound));
}

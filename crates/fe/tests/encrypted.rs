//! Training on encrypted samples gives the weights of quantised training in the clear, bit by bit, under every scheme.

mod common;
#[path = "common/parties.rs"]
mod parties;

use std::io::Cursor;
use std::ops::ControlFlow;

use common::digits;
use nightloom_fe::Scheme;
use nightloom_fe::agreement::{AgreementSpec, DataForm, FirstLayerForm, Labels, Opening, Terms};
use nightloom_fe::client::Receipt;
use nightloom_fe::learn::fixed_point::{FixedPointSpec, Rounding};
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{
    ClearOracle, Dataset, FirstLayer, FixedPoint, Inputs, LayerSpec, NetworkSpec, Seed, Shape, Targets, Trainer,
    TrainerSpec,
};
use nightloom_fe::protocol::Role;
use parties::{Parties, WINDOWS, digits_form, opening, spec};

const SCHEMES: [Scheme; 5] = [Scheme::Pad, Scheme::Ddh, Scheme::DdhAdaptive, Scheme::Rlwe, Scheme::Mlwe];

fn training(network: NetworkSpec, batch: usize) -> TrainerSpec {
    TrainerSpec {
        network,
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: OptimizerSpec { learning_rate: 2.0, decay: 0.5, momentum: 0.5 },
        batches: Batches::Fixed { size: batch },
        epochs: 2,
        privacy: None,
    }
}

fn train(spec: &TrainerSpec, first: &mut impl FirstLayer, samples: usize) -> Trainer {
    let mut trainer = Trainer::new(spec.clone(), samples, Seed::new([3; 32])).unwrap();
    trainer.run(first, |_| ControlFlow::Continue(())).unwrap();
    trainer
}

fn bits(trainer: &Trainer) -> Vec<u64> {
    trainer.network().values().map(|value| value.to_bits()).collect()
}

/// Trains on the uploads of clients with these samples, and on the same samples in the clear.
fn check(terms: Terms, network: NetworkSpec, clients: &[Dataset]) -> (Parties, Trainer, Vec<Receipt>) {
    let (Terms::Guarded(form) | Terms::Cryptonn(form)) = &terms else { panic!("products are opened") };
    let training = training(network, form.batch);
    check_under(spec(terms), training, clients)
}

fn check_under(agreed: AgreementSpec, spec: TrainerSpec, clients: &[Dataset]) -> (Parties, Trainer, Vec<Receipt>) {
    let (Terms::Guarded(form) | Terms::Cryptonn(form)) = &agreed.terms else { panic!("products are opened") };
    let (form, case): (Opening, String) = (form.clone(), format!("{} {:?}", form.scheme, form.first_layer));
    let parties = Parties::found(agreed);
    let (mut uploads, mut receipts, mut clear) = (Vec::new(), Vec::new(), Vec::new());
    for (number, data) in clients.iter().enumerate() {
        let token = parties.enrol(Role::Client, &format!("client-{number}"));
        let (upload, receipt) = parties.encrypt(&token, data);
        assert_eq!(receipt.bytes, upload.len() as u64);
        // The same samples again are the same dataset.
        assert_eq!(parties.encrypt(&token, data).1, receipt);
        clear.push(parties.client(&token).arrange(data).unwrap().data);
        uploads.push(upload);
        receipts.push(receipt);
    }
    let server = parties.enrol(Role::Server, "server");
    server.agreement.check_network(&spec.network).unwrap();
    let architecture = spec.network.validate().unwrap();
    let samples = receipts.iter().map(|receipt| receipt.samples).sum();
    let mut encrypted = FixedPoint::new(parties.oracle(&server, &uploads), form.fixed_point).unwrap();
    let found = train(&spec, &mut encrypted, samples);
    let clear = join(&clear);
    assert_eq!(clear.len(), samples);
    let mut oracle =
        FixedPoint::new(ClearOracle::new(&architecture, &clear, form.target_bits).unwrap(), form.fixed_point).unwrap();
    let wanted = train(&spec, &mut oracle, samples);
    assert!(bits(&found) == bits(&wanted), "{case}: weights differ");
    assert_eq!(found.progress(), wanted.progress(), "{case}");
    assert_eq!(encrypted.largest(), oracle.largest());
    let costs = encrypted.oracle().costs();
    assert!(costs.key_bytes > 0 && costs.request_bytes > 0 && !costs.time.is_zero());
    (parties, found, receipts)
}

/// The samples of all, one after another.
fn join(parts: &[Dataset]) -> Dataset {
    let samples = || parts.iter().flat_map(|part| (0..part.len()).map(move |index| (part, index)));
    let pixels: Vec<u8> =
        samples().flat_map(|(part, index)| part.inputs().sample(index)).map(|pixel| *pixel as u8).collect();
    let labels: Vec<usize> = samples()
        .map(|(part, index)| part.targets().rows(&[index]).iter().position(|target| *target == 1.0).unwrap())
        .collect();
    let inputs = Inputs::from_pixels(parts[0].inputs().shape(), &pixels).unwrap();
    Dataset::new(inputs, Targets::classes(10, &labels).unwrap()).unwrap()
}

fn dense() -> NetworkSpec {
    let image = Shape { channels: 1, height: 8, width: 8 };
    NetworkSpec { input: image, ..NetworkSpec::dense(64, &[3, 10], LayerSpec::Sigmoid) }
}

fn convolutional() -> NetworkSpec {
    NetworkSpec {
        input: Shape { channels: 1, height: 8, width: 8 },
        layers: vec![
            LayerSpec::Convolution { filters: 2, side: 3, stride: 1, padding: 1 },
            LayerSpec::Relu,
            LayerSpec::MaxPool { side: 2, stride: 2 },
            LayerSpec::Dense { units: 10 },
        ],
    }
}

#[test]
fn dense_networks_train_guarded_under_every_scheme() {
    let (data, _) = digits();
    // Two batches of 32 and a rest.
    let data = data.split_at(75).unwrap().0;
    for scheme in SCHEMES {
        let (parties, _, receipts) = check(Terms::Guarded(opening(scheme, 32)), dense(), std::slice::from_ref(&data));
        assert_eq!((receipts[0].samples, receipts[0].left_out, receipts[0].batches), (64, 11, 2));
        // Three units in two epochs: 6 of 64 / 10 and of 32 / 4.
        let ledger = parties.link.keeper.lock().unwrap();
        let span = ledger.authority().ledger().span(
            "client-0",
            receipts[0].dataset,
            1,
            nightloom_fe::agreement::Direction::Forward,
        );
        assert_eq!(span.unwrap().echelon.as_ref().unwrap().rank(), 6);
    }
}

#[test]
fn windows_train_under_every_scheme_with_sealed_labels() {
    let (data, _) = digits();
    for scheme in SCHEMES {
        for batch in [1, 2] {
            let data = data.split_at(5).unwrap().0;
            let form = Opening { first_layer: WINDOWS, labels: Labels::Febo, ..opening(scheme, batch) };
            let (_, _, receipts) = check(Terms::Cryptonn(form), convolutional(), &[data]);
            assert_eq!((receipts[0].samples, receipts[0].left_out), if batch == 1 { (5, 0) } else { (4, 1) });
        }
    }
}

/// The first layer of LeNet-5: 784 windows of 25 values of an image, six filters.
#[test]
fn the_windows_of_lenet_5_train_under_every_scheme() {
    let shape = Shape { channels: 1, height: 28, width: 28 };
    let pixels: Vec<u8> = (0..784u32).map(|i| if i % 7 < 3 { (i * 7919 % 256) as u8 } else { 0 }).collect();
    let image = Inputs::from_pixels(shape, &pixels).unwrap();
    let data = Dataset::new(image, Targets::classes(10, &[3]).unwrap()).unwrap();
    let form = DataForm { input: shape, ..digits_form() };
    for scheme in SCHEMES {
        let windows = FirstLayerForm::Windows { side: 5, stride: 1, padding: 2 };
        let opening = Opening { first_layer: windows, labels: Labels::Febo, ..opening(scheme, 1) };
        let agreed = AgreementSpec { data: form.clone(), ..spec(Terms::Cryptonn(opening)) };
        let mut training = training(NetworkSpec::lenet5(), 1);
        training.optimizer = OptimizerSpec::constant(0.01);
        training.epochs = 1;
        check_under(agreed, training, std::slice::from_ref(&data));
    }
}

#[test]
fn several_clients_and_randomised_labels_train_as_in_the_clear() {
    let (data, _) = digits();
    let clients = data.split_at(600).unwrap().0.among(3).unwrap();
    // As on the defaults, so that weights of two visits and deltas differ everywhere. In a batch of 32, half of whose samples a
    // combination of 16 coordinates is, small integers cancel too often.
    let (rounding, min_deltas) = (Rounding::Stochastic, 32);
    let fixed_point = FixedPointSpec { weight_bits: 10, rounding, min_deltas, ..opening(Scheme::Pad, 64).fixed_point };
    let form = Opening { labels: Labels::Randomized { epsilon: 2.0 }, fixed_point, ..opening(Scheme::Pad, 64) };
    let (parties, _, receipts) = check(Terms::Guarded(form), dense(), &clients);
    // Kept with probability 0.45.
    let replaced: usize = receipts.iter().map(|receipt| receipt.replaced_labels).sum();
    assert!((260..375).contains(&replaced), "{replaced} of 576");
    let server = parties.link.keeper.lock().unwrap().authority().token("server", vec![]).unwrap();
    let (token, server) = (
        parties.link.keeper.lock().unwrap().authority().token("client-0", vec![]).unwrap(),
        std::sync::Arc::new(server),
    );
    let (upload, _) = parties.encrypt(&std::sync::Arc::new(token), &clients[0]);
    // The same upload twice would count its samples twice.
    let open = |bytes: &Vec<u8>| {
        nightloom_fe::upload::EncryptedDataset::open(Cursor::new(bytes.clone()), &server.agreement).unwrap()
    };
    let twice =
        nightloom_fe::server::EncryptedOracle::new(parties.session(&server), vec![open(&upload), open(&upload)]);
    assert!(matches!(twice.err(), Some(nightloom_fe::server::OracleError::Twice { .. })));
}

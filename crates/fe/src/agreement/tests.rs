use super::*;
use crate::learn::fixed_point::FixedPointSpec;
use crate::learn::network::LayerSpec;
use crate::learn::{Inputs, Shape, Targets};

pub(crate) fn opening(scheme: Scheme, batch: usize) -> Opening {
    Opening {
        scheme,
        first_layer: FirstLayerForm::Dense,
        batch,
        fixed_point: FixedPointSpec::default(),
        target_bits: 8,
        labels: Labels::Open,
        noise: None,
    }
}

fn images() -> DataForm {
    let names = (0..3).map(|class| class.to_string()).collect();
    let input = Shape { channels: 1, height: 4, width: 5 };
    DataForm { input, encoding: Encoding::Pixels, norm_bound: None, targets: TargetForm::Classes(names) }
}

fn spec(terms: Terms) -> AgreementSpec {
    AgreementSpec { task: "digits".to_owned(), data: images(), terms }
}

const WINDOWS: FirstLayerForm = FirstLayerForm::Windows { side: 3, stride: 1, padding: 1 };

#[test]
fn an_agreement_survives_its_json_and_is_named_by_it() {
    let agreement = spec(Terms::Guarded(opening(Scheme::Pad, 4))).validate().unwrap();
    let again = Agreement::from_json(agreement.json()).unwrap();
    assert_eq!((again.id(), again.spec(), again.json()), (agreement.id(), agreement.spec(), agreement.json()));
    assert_eq!(agreement.mode(), Mode::Guarded);
    let other = spec(Terms::Guarded(opening(Scheme::Pad, 5))).validate().unwrap();
    assert_ne!(other.id(), agreement.id());
    let mut json = String::from_utf8(agreement.json().to_vec()).unwrap();
    json.insert_str(1, "\"more\":1,");
    assert!(matches!(Agreement::from_json(json.as_bytes()), Err(AgreementError::Text { .. })));
}

#[test]
fn what_a_mode_must_not_do_is_refused_with_the_way_out() {
    let refused = |terms| spec(terms).validate().expect_err("refused").to_string();
    let windows = Opening { first_layer: WINDOWS, ..opening(Scheme::Pad, 1) };
    let told = refused(Terms::Guarded(windows.clone()));
    assert!(told.contains("public first layer") && told.contains("cryptonn"), "{told}");
    spec(Terms::Cryptonn(windows)).validate().unwrap();
    let sealed = Opening { labels: Labels::Febo, ..opening(Scheme::Pad, 4) };
    assert!(refused(Terms::Guarded(sealed)).contains("opens its label"));
    let noise = Some(OpeningNoise { forward: 0.0, gradient: 1.0 });
    let noisy = Opening { noise, ..opening(Scheme::Ddh, 4) };
    assert!(refused(Terms::Guarded(noisy)).contains("only pad"));
    assert!(refused(Terms::Delegate(opening(Scheme::Ddh, 4))).contains("under pads"));
    assert!(refused(Terms::Guarded(opening(Scheme::Febo, 4))).contains("no inner products"));
    let randomized = Opening { labels: Labels::Randomized { epsilon: f64::NAN }, ..opening(Scheme::Pad, 4) };
    assert!(refused(Terms::Guarded(randomized)).contains("epsilon"));
}

#[test]
fn settings_from_foreign_text_never_panic() {
    let agreement = spec(Terms::Guarded(opening(Scheme::Pad, 4))).validate().unwrap();
    let json = String::from_utf8(agreement.json().to_vec()).unwrap();
    for (from, to) in [
        ("\"batch\":4", "\"batch\":0"),
        ("\"batch\":4", "\"batch\":18446744073709551615"),
        ("\"weight_bits\":8", "\"weight_bits\":0"),
        ("\"delta_bits\":8", "\"delta_bits\":99"),
        ("\"target_bits\":8", "\"target_bits\":64"),
        ("\"channels\":1", "\"channels\":18446744073709551615"),
        ("\"height\":4", "\"height\":0"),
        ("[\"0\",\"1\",\"2\"]", "[]"),
        ("\"task\":\"digits\"", "\"task\":\"../x\""),
        ("\"pixels\"", "{\"columns\":{\"means\":[],\"deviations\":[0],\"limit\":1,\"bits\":0}}"),
        ("\"pixels\"", "{\"bins\":{\"edges\":[[2,1]]}}"),
        ("\"scheme\":\"pad\"", "\"scheme\":\"febo\""),
    ] {
        assert!(json.contains(from), "{from}");
        assert!(Agreement::from_json(json.replace(from, to).as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn networks_and_data_that_do_not_fit_are_refused() {
    let agreement = spec(Terms::Guarded(opening(Scheme::Pad, 4))).validate().unwrap();
    let dense = |inputs, units: &[usize]| NetworkSpec::dense(inputs, units, LayerSpec::Relu);
    agreement.check_network(&dense(20, &[6, 3])).unwrap();
    assert!(matches!(agreement.check_network(&dense(21, &[6, 3])), Err(AgreementError::NetworkInput { .. })));
    assert!(matches!(agreement.check_network(&dense(20, &[6, 4])), Err(AgreementError::Targets { .. })));
    let convolution = LayerSpec::Convolution { filters: 2, side: 3, stride: 1, padding: 1 };
    let network = NetworkSpec { input: images().input, layers: vec![convolution, LayerSpec::Dense { units: 3 }] };
    assert_eq!(agreement.check_network(&network), Err(AgreementError::FirstLayer));

    let raw = [0.0, 255.0, 7.0, 254.0, 1.0].repeat(4);
    let inputs = agreement.data().inputs(RawSamples::Numbers(&raw)).unwrap();
    assert_eq!(inputs, agreement.data().inputs(RawSamples::Pixels(&[0, 255, 7, 254, 1].repeat(4))).unwrap());
    for bad in [256.0, -1.0, 0.5, f64::NAN] {
        let mut raw = raw.clone();
        raw[13] = bad;
        let refused = agreement.data().inputs(RawSamples::Numbers(&raw)).unwrap_err();
        assert!(matches!(refused, AgreementError::Range { sample: 0, value: 13, .. }), "{refused}");
    }
    assert!(matches!(agreement.data().inputs(RawSamples::Pixels(&[0; 21])), Err(AgreementError::Values { .. })));
    let data = |classes| Dataset::new(inputs.clone(), Targets::classes(classes, &[0]).unwrap()).unwrap();
    agreement.check_dataset(&data(3)).unwrap();
    assert!(matches!(agreement.check_dataset(&data(4)), Err(AgreementError::Targets { .. })));
    let small = Inputs::from_pixels(Shape::vector(5), &[0; 5]).unwrap();
    let small = Dataset::new(small, Targets::classes(3, &[0]).unwrap()).unwrap();
    assert!(matches!(agreement.check_dataset(&small), Err(AgreementError::NetworkInput { .. })));
}

#[test]
fn a_public_layer_makes_features_that_a_dense_layer_takes() {
    let layers = vec![LayerSpec::Convolution { filters: 2, side: 3, stride: 1, padding: 1 }, LayerSpec::Relu];
    let network = NetworkSpec { input: images().input, layers };
    let network = crate::learn::Network::random(&network.validate().unwrap(), &crate::learn::Seed::new([1; 32]));
    let layer = PublicLayer::new(&network, 2.0, 8).unwrap();
    let data = DataForm { encoding: Encoding::Features(layer), ..images() };
    let agreement = AgreementSpec { data, ..spec(Terms::Guarded(opening(Scheme::Pad, 2))) }.validate().unwrap();
    assert_eq!(agreement.data().trained_input(), Shape::vector(40));
    let pixels: Vec<u8> = (0..40).map(|i| i * 6).collect();
    let inputs = agreement.data().inputs(RawSamples::Pixels(&pixels)).unwrap();
    let plain = Inputs::from_pixels(images().input, &pixels).unwrap();
    let wanted = network.outputs(plain.real(&[0, 1]).view());
    let found = inputs.real(&[0, 1]);
    assert!(found.iter().zip(&wanted).all(|(found, wanted)| (found - wanted.clamp(-2.0, 2.0)).abs() <= 1.0 / 127.0));
    assert!(found.iter().any(|feature| *feature > 0.1));
    let targets = Targets::classes(3, &[0, 1]).unwrap();
    agreement.check_dataset(&Dataset::new(inputs, targets).unwrap()).unwrap();
    let again = Agreement::from_json(agreement.json()).unwrap();
    assert_eq!(again.id(), agreement.id());
    // 40 features of 20 pixels: no more is unknown than that.
    assert_eq!(agreement.sealed().unwrap().unknowns, 20);
    let Encoding::Features(layer) = &agreement.data().encoding else { panic!() };
    let turned = DataForm { input: Shape { channels: 1, height: 5, width: 4 }, ..agreement.data().clone() };
    assert_ne!(turned.input, layer.network.input);
    let refused = AgreementSpec { data: turned, ..agreement.spec().clone() }.validate().err().unwrap();
    assert!(matches!(refused, AgreementError::NetworkInput { .. }), "{refused}");
}

#[test]
fn visits_are_what_the_budget_admits() {
    let wide = |batch| {
        let data = DataForm { input: Shape::vector(784), ..images() };
        AgreementSpec { data, ..spec(Terms::Guarded(opening(Scheme::Pad, batch))) }.validate().unwrap()
    };
    assert_eq!([16, 32, 40, 64, 65].map(|units| wide(256).visits(units)), [4, 2, 1, 1, 0].map(Some));
    assert_eq!([32, 39].map(|units| wide(1024).visits(units)), [2, 2].map(Some));
    assert_eq!(wide(16).visits(1), Some(0));
    assert_eq!(spec(Terms::Cryptonn(opening(Scheme::Pad, 4))).validate().unwrap().visits(9), None);
}

//! Models with published weights, encrypted: they need the folder `shared` beside the checkout.

use std::path::Path;

use nightloom::demo;
use nightloom::job;
use nightloom::model::{CompileOptions, compile};
use nightloom::samples::Scaling;
use nightloom_program::InputEncoding;

/// File, factor of the pixels, bits of precision asked for, published accuracy in percent on the 10,000 test images.
/// LoLa-Small decides by smaller margins than the others and, with one product, has room for more precision.
const MODELS: [(&str, f64, f64, f64); 5] = [
    ("microsoft-cryptonets/cryptonets.onnx", 1.0 / 256.0, 7.0, 98.96),
    ("microsoft-cryptonets/lola-small.onnx", 1.0 / 256.0, 11.0, 96.94),
    ("he-transformer/cryptonets-squashed.onnx", 1.0, 7.0, 98.19),
    ("he-transformer/cryptonets-full.onnx", 1.0, 7.0, 98.19),
    ("toyfhe/jkls-mnist.onnx", 1.0 / 255.0, 7.0, 98.40),
];

#[test]
fn published_weights_reach_their_accuracy_encrypted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/models");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let images = demo::test_images().unwrap();
    let labels = demo::test_labels().unwrap();
    for (file, scale, precision_bits, published) in MODELS {
        let onnx = std::fs::read(folder.join(file)).unwrap();
        let input = InputEncoding { scale, offset: 0.0, low: 0.0, high: 255.0 * scale };
        let features = images.features(&[784], Scaling { scale, offset: 0.0 }).unwrap();
        let samples = (0..64).map(|image| features.row(image)).collect();
        let compiled =
            compile(&onnx, &CompileOptions { input, samples, precision_bits, ..CompileOptions::new(file) }).unwrap();
        let mut rng = nightloom::system_rng().unwrap();
        let outcome = job::run(&compiled, &features, 2, &mut rng, &|_, _| {}).unwrap();
        let (mut correct, mut agreeing, mut worst) = (0, 0, 0.0f64);
        let largest = |row: &[f64]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        for (image, found) in outcome.outputs.values.chunks_exact(10).enumerate() {
            let expected = compiled.network.evaluate(&features.row(image));
            correct += usize::from(largest(found) == usize::from(labels[image]));
            agreeing += usize::from(largest(found) == largest(&expected));
            worst = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(worst, f64::max);
        }
        let accuracy = correct as f64 / 100.0;
        println!(
            "{file}: {accuracy:.2} % encrypted, {published} % published, {agreeing} of 10000 agree, \
             error {worst:.2e} of {:.2e}",
            compiled.client.error_bound
        );
        assert!((accuracy - published).abs() <= 0.02, "{file}: {accuracy}");
        assert!(agreeing >= 9995, "{file}: {agreeing}");
        assert!(worst <= compiled.client.error_bound, "{file}: {worst}");
    }
}

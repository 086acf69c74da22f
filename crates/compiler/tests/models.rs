//! Whole models: the ones that come with the library, and published ones where they are at hand.

mod common;

use common::{distance, tract_run};
use flate2::read::GzDecoder;
use nightloom_compiler::diagnostic::Problem;
use nightloom_compiler::graph::Graph;
use nightloom_compiler::interval::Interval;
use nightloom_compiler::network::{Network, Stage};
use nightloom_compiler::onnx::import;
use nightloom_compiler::pipeline::load;
use std::fs::{File, read};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const PIXELS: usize = 28 * 28;

/// MNIST test images as numbers from 0 to 255, and their digits.
struct Digits {
    images: Vec<f64>,
    labels: Vec<u8>,
}

impl Digits {
    fn read(images: &Path, labels: &Path) -> Digits {
        let unpack = |path: &Path, header: usize| -> Vec<u8> {
            let mut bytes = Vec::new();
            GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
            bytes.split_off(header)
        };
        let images: Vec<f64> = unpack(images, 16).into_iter().map(f64::from).collect();
        let labels = unpack(labels, 8);
        assert_eq!(images.len(), labels.len() * PIXELS);
        Digits { images, labels }
    }

    fn scaled(&self, count: usize, scale: f64) -> Vec<f64> {
        self.images[..count * PIXELS].iter().map(|pixel| pixel * scale).collect()
    }

    /// How many of the first images get the right digit from ten logits each.
    fn right(&self, logits: &[f64]) -> usize {
        let best = |logits: &[f64]| logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(digit, _)| digit);
        let digits = logits.chunks_exact(10).map(best).zip(&self.labels);
        digits.filter(|(digit, label)| *digit == Some(usize::from(**label))).count()
    }
}

fn both(path: &Path) -> (Vec<u8>, Graph, Network) {
    let bytes = read(path).unwrap();
    let graph = import(&bytes).unwrap_or_else(|problems| panic!("{problems}"));
    let network = load(&bytes).unwrap_or_else(|problems| panic!("{problems}"));
    (bytes, graph, network)
}

/// Checks the network against the graph on single images.
fn same(network: &Network, images: &[f64], logits: &[f64]) {
    for (image, logits) in images.chunks_exact(PIXELS).zip(logits.chunks_exact(10)) {
        assert!(distance(&network.evaluate(image), logits, 1e-300) < 1e-9);
    }
}

#[test]
fn the_models_of_the_library_match_onnx_runtime() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nightloom/assets");
    let digits =
        Digits::read(&assets.join("mnist-t10k-images-idx3-ubyte.gz"), &assets.join("mnist-t10k-labels-idx1-ubyte.gz"));
    for name in ["cryptonets", "e2dm"] {
        let (_, graph, network) = both(&assets.join(format!("{name}.onnx")));
        let mut reference = npyz::npz::NpzArchive::open(assets.join(format!("{name}.reference.npz"))).unwrap();
        let reference: Vec<f32> = reference.by_name("logits").unwrap().unwrap().into_vec().unwrap();
        let reference: Vec<f64> = reference.into_iter().take(2000).map(f64::from).collect();
        let scale = 1.0 / 255.0;
        let images = digits.scaled(200, scale);
        let logits = graph.evaluate_batch(&images, 200);
        assert!(distance(&logits, &reference, 1e-3) < 1e-5, "{name}: {}", distance(&logits, &reference, 1e-3));
        same(&network, &images[..20 * PIXELS], &logits);
        assert!(digits.right(&logits) >= 190, "{name}");

        let ranges = network.ranges(&[Interval::new(0.0, 255.0 * scale).unwrap(); PIXELS]);
        for (values, ranges) in network.evaluate_all(&images[..PIXELS]).iter().zip(&ranges) {
            assert!(values.iter().zip(ranges).all(|(value, range)| range.contains(*value)), "{name}");
        }
    }
}

/// A folder beside the checkout, if it is there.
fn shared() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    shared.is_dir().then_some(shared)
}

/// Says on standard error that a test does nothing, past the capture of the test's output.
fn skip(test: &str) {
    let line = format!("{test} skipped: no published models beside the checkout\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[test]
fn published_models_keep_their_accuracy() {
    let Some(shared) = shared() else { return skip("published_models_keep_their_accuracy") };
    let mnist = shared.join("mnist");
    let digits = Digits::read(&mnist.join("t10k-images-idx3-ubyte.gz"), &mnist.join("t10k-labels-idx1-ubyte.gz"));
    // Published accuracies are 98.96, 96.94, 98.19, 98.19 and 98.40 % on all images.
    for (name, scale, least) in [
        ("microsoft-cryptonets/cryptonets.onnx", 1.0 / 256.0, 390),
        ("microsoft-cryptonets/lola-small.onnx", 1.0 / 256.0, 380),
        ("he-transformer/cryptonets-squashed.onnx", 1.0, 385),
        ("he-transformer/cryptonets-full.onnx", 1.0, 385),
        ("toyfhe/jkls-mnist.onnx", 1.0 / 255.0, 385),
    ] {
        let (bytes, graph, network) = both(&shared.join("models").join(name));
        let images = digits.scaled(400, scale);
        let logits = graph.evaluate_batch(&images, 400);
        let right = digits.right(&logits);
        assert!(right >= least, "{name}: {right} of 400");
        let sample = graph.shape(graph.input());
        let few = 20;
        let tract = tract_run(&bytes, sample, &images[..few * PIXELS], few);
        assert!(distance(&logits[..few * 10], &tract, 1e-300) < 1e-4, "{name}");
        same(&network, &images[..few * PIXELS], &logits);
    }
}

#[test]
fn squashing_the_published_network_takes_a_moment() {
    let Some(shared) = shared() else { return skip("squashing_the_published_network_takes_a_moment") };
    let squashed = both(&shared.join("models/he-transformer/cryptonets-squashed.onnx")).2;
    let start = Instant::now();
    let full = both(&shared.join("models/he-transformer/cryptonets-full.onnx")).2;
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    // The publisher squashed the same network in single precision.
    for (ours, theirs) in full.stages().iter().zip(squashed.stages()) {
        let (Stage::Affine { matrix: ours, .. }, Stage::Affine { matrix: theirs, .. }) = (ours, theirs) else {
            continue;
        };
        assert_eq!((ours.rows(), ours.columns()), (theirs.rows(), theirs.columns()));
        for row in 0..ours.rows() {
            let dense = |matrix: &nightloom_compiler::matrix::SparseMatrix| {
                let mut dense = vec![0.0; matrix.columns()];
                matrix.entries(row).for_each(|(column, value)| dense[column] = value);
                dense
            };
            assert!(distance(&dense(ours), &dense(theirs), 1e-300) < 1e-4);
        }
    }
}

#[test]
fn published_relu_networks_are_diagnosed() {
    let Some(shared) = shared() else { return skip("published_relu_networks_are_diagnosed") };
    for (name, activations) in [("he-transformer/cryptonets-relu-full.onnx", 2), ("resnet20-cifar10/resnet20.onnx", 19)]
    {
        let problems = import(&read(shared.join("models").join(name)).unwrap()).expect_err("it has ReLU").0;
        assert_eq!(problems.len(), activations, "{name}");
        assert!(problems.iter().all(|found| found.problem == Problem::NotPolynomial { op: "Relu".into() }));
    }
}

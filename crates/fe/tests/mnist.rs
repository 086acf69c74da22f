//! MNIST beside the checkout: as much as takes seconds.

mod common;

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use common::{fixed, shared, spec};
use flate2::read::GzDecoder;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::{
    Dataset, FirstLayer, Float, Inputs, LayerSpec, NetworkSpec, Seed, Shape, Targets, Trainer, TrainerSpec,
};

fn read(folder: &Path, part: &str, count: usize) -> Dataset {
    let inflate = |name: String, header: usize, len: usize| {
        let mut bytes = vec![0; header + len];
        GzDecoder::new(File::open(folder.join(name)).unwrap()).read_exact(&mut bytes).unwrap();
        bytes.split_off(header)
    };
    let pixels = inflate(format!("{part}-images-idx3-ubyte.gz"), 16, 784 * count);
    let labels = inflate(format!("{part}-labels-idx1-ubyte.gz"), 8, count);
    let labels: Vec<usize> = labels.into_iter().map(usize::from).collect();
    let shape = Shape { channels: 1, height: 28, width: 28 };
    Dataset::new(Inputs::from_pixels(shape, &pixels).unwrap(), Targets::classes(10, &labels).unwrap()).unwrap()
}

fn accuracy<F: FirstLayer>(spec: &TrainerSpec, first: &mut F, samples: usize, test: &Dataset) -> f64 {
    let mut trainer = Trainer::new(spec.clone(), samples, Seed::new([1; 32])).unwrap();
    trainer.run(first, |_| ControlFlow::Continue(())).unwrap();
    trainer.network().evaluate(test, Loss::SoftmaxCrossEntropy).accuracy()
}

#[test]
fn fixed_point_costs_little_on_mnist() {
    let Some(folder) = shared("mnist") else { return };
    let (train, test) = (read(&folder, "train", 4000), read(&folder, "t10k", 2000));
    let optimizer = OptimizerSpec { learning_rate: 0.01, decay: 1.0, momentum: 0.9 };
    let dense = NetworkSpec::dense(784, &[32, 10], LayerSpec::Relu);
    for (spec, samples, least) in [
        (spec(dense, 16, 2, optimizer), 4000, 0.85),
        (spec(NetworkSpec::lenet5(), 1, 1, OptimizerSpec::constant(0.002)), 4000, 0.85),
    ] {
        let train = train.split_at(samples).map_or(train.clone(), |parts| parts.0);
        let architecture = spec.network.validate().unwrap();
        let found = accuracy(&spec, &mut fixed(&architecture, &train), train.len(), &test);
        let float = accuracy(&spec, &mut Float::new(&architecture, &train), train.len(), &test);
        println!("{samples} images: fixed point {found:.4}, float {float:.4}");
        assert!(found > least && (found - float).abs() < 0.02, "{found} {float}");
    }
}

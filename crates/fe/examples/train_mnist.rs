//! Trains on MNIST as the server does, with the data in the clear, and reports accuracy and time.
//!
//!     cargo run --release -p nightloom-fe --example train_mnist -- data=FOLDER [NAME=VALUE ...]
//!
//! `FOLDER` holds the four IDX files, gzipped. Names: `network` (`dense` or `lenet5`), `first` (`fixed`, as encrypted
//! training computes, or `float`), `samples`, `epochs`, `batch`, `rate`, `decay`, `momentum`, `weight_bits`, `delta_bits`,
//! `target_bits`, `rounding` (`nearest` or `stochastic`), `seed`, `clip`, `noise` and `norm` (differential privacy; bound of
//! a sample's norm), `poisson=1`, `onnx` (a file for the trained network).

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use flate2::read::GzDecoder;
use nightloom_fe::learn::fixed_point::Rounding;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::PrivacySpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{
    ClearOracle, Dataset, FirstLayer, FixedPoint, FixedPointSpec, Float, Inputs, LayerSpec, NetworkSpec, Seed, Shape,
    Targets, Trainer, TrainerSpec, onnx,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let folder = arguments.text("data", "data/mnist");
    let seed = Seed::new([arguments.number("seed", 1.0)? as u8; 32]);
    let start = Instant::now();
    let train = read(Path::new(&folder), "train")?;
    let test = read(Path::new(&folder), "t10k")?;
    let samples = arguments.number("samples", train.len() as f64)? as usize;
    // Whoever encrypts shuffles first: what is in a batch stays in it.
    let train = train.shuffled(&seed);
    let train = if samples < train.len() { train.split_at(samples)?.0 } else { train };
    let norm = arguments.number("norm", 0.0)?;
    let train = if norm > 0.0 {
        Dataset::new(train.inputs().clone().with_norm_bound(norm)?, train.targets().clone())?
    } else {
        train
    };
    println!("{} samples read in {:.1} s", train.len(), start.elapsed().as_secs_f64());

    let is_lenet = arguments.text("network", "dense") == "lenet5";
    let network = if is_lenet {
        NetworkSpec::lenet5()
    } else {
        NetworkSpec { input: train.inputs().shape(), ..NetworkSpec::dense(784, &[32, 10], LayerSpec::Relu) }
    };
    let (batch, rate, decay) = if is_lenet { (1.0, 1e-3, 1.0) } else { (256.0, 0.2, 0.2) };
    let size = arguments.number("batch", batch)? as usize;
    let noise = arguments.number("noise", 0.0)?;
    let clip = arguments.number("clip", 1.0)?;
    let spec = TrainerSpec {
        network,
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: OptimizerSpec {
            learning_rate: arguments.number("rate", rate)?,
            decay: arguments.number("decay", decay)?,
            momentum: arguments.number("momentum", if is_lenet { 0.0 } else { 0.9 })?,
        },
        batches: if arguments.number("poisson", 0.0)? > 0.0 {
            Batches::Poisson { expected: size }
        } else {
            Batches::Fixed { size }
        },
        epochs: arguments.number("epochs", 2.0)? as u32,
        privacy: (noise > 0.0).then_some(PrivacySpec { clip, noise_multiplier: noise }),
    };
    let architecture = spec.network.validate()?;
    let trainer = Trainer::new(spec, train.len(), seed)?;
    let fixed = FixedPointSpec {
        weight_bits: arguments.number("weight_bits", 8.0)? as u32,
        delta_bits: arguments.number("delta_bits", 8.0)? as u32,
        rounding: if arguments.text("rounding", "nearest") == "stochastic" {
            Rounding::Stochastic
        } else {
            Rounding::Nearest
        },
        min_deltas: arguments.number("min_deltas", 0.0)? as u32,
    };
    let trainer = if arguments.text("first", "fixed") == "float" {
        println!("first layer in floating point");
        run(trainer, &mut Float::new(&architecture, &train), &test)?
    } else {
        let target_bits = arguments.number("target_bits", 16.0)? as u32;
        println!("first layer in fixed point: {fixed:?}, targets of {target_bits} bits");
        let mut first = FixedPoint::new(ClearOracle::new(&architecture, &train, target_bits)?, fixed)?;
        let trainer = run(trainer, &mut first, &test)?;
        println!("{:?}", first.largest());
        trainer
    };
    if let Some(accountant) = trainer.accountant() {
        println!("{}", accountant.epsilon(1e-5));
    }
    if let Some(path) = arguments.0.get("onnx") {
        std::fs::write(path, onnx::export(trainer.network()))?;
    }
    Ok(())
}

/// Trains to the end; prints every epoch.
fn run<F: FirstLayer>(mut trainer: Trainer, first: &mut F, test: &Dataset) -> Result<Trainer, Box<dyn Error>> {
    let (start, loss) = (Instant::now(), trainer.spec().loss);
    let mut evaluation = 0.0;
    trainer.run(first, |trainer| {
        let progress = trainer.progress();
        if let (0, Some(epoch)) = (progress.step, progress.history.last()) {
            let seconds = start.elapsed().as_secs_f64() - evaluation;
            let before = Instant::now();
            let found = trainer.network().evaluate(test, loss);
            evaluation += before.elapsed().as_secs_f64();
            println!(
                "epoch {}: running accuracy {:.2} % (all epochs {:.2} %), loss {:.4}; test accuracy {:.2} %; {seconds:.1} s",
                progress.epoch,
                100.0 * epoch.accuracy(),
                100.0 * progress.total().accuracy(),
                epoch.mean_loss(),
                100.0 * found.accuracy(),
            );
        }
        ControlFlow::Continue(())
    })?;
    Ok(trainer)
}

fn read(folder: &Path, part: &str) -> Result<Dataset, Box<dyn Error>> {
    let inflate = |name: String, header: usize| -> Result<Vec<u8>, Box<dyn Error>> {
        let path = folder.join(name);
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut bytes = Vec::new();
        GzDecoder::new(file).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(header.min(bytes.len())))
    };
    let pixels = inflate(format!("{part}-images-idx3-ubyte.gz"), 16)?;
    let labels = inflate(format!("{part}-labels-idx1-ubyte.gz"), 8)?;
    let labels: Vec<usize> = labels.into_iter().map(usize::from).collect();
    let shape = Shape { channels: 1, height: 28, width: 28 };
    Ok(Dataset::new(Inputs::from_pixels(shape, &pixels)?, Targets::classes(10, &labels)?)?)
}

struct Arguments(HashMap<String, String>);

impl Arguments {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut found = HashMap::new();
        for argument in std::env::args().skip(1) {
            let (name, value) = argument.split_once('=').ok_or(format!("{argument}: wanted NAME=VALUE"))?;
            found.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self(found))
    }

    fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }

    fn number(&self, name: &str, default: f64) -> Result<f64, Box<dyn Error>> {
        Ok(self.0.get(name).map_or(Ok(default), |text| text.parse())?)
    }
}

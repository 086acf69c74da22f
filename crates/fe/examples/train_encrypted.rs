//! Trains 784-32-10 on all of MNIST in mode `guarded`, all parties in this process, and compares with training in the clear on the
//! same samples in the same order: quantised, which must give the same weights, and in floating point.
//!
//!     cargo run --release -p nightloom-fe --example train_encrypted -- FOLDER [SEED ...]
//!
//! `FOLDER` holds the four IDX files, gzipped.

use std::error::Error;
use std::fs::File;
use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use flate2::read::GzDecoder;
use nightloom_fe::agreement::{
    AgreementSpec, DataForm, Encoding, FirstLayerForm, Labels, Opening, RawSamples, TargetForm, Terms,
};
use nightloom_fe::authority::{Keeper, KeeperError};
use nightloom_fe::client::Client;
use nightloom_fe::learn::fixed_point::Rounding;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{
    ClearOracle, Dataset, FirstLayer, FixedPoint, FixedPointSpec, Float, Inputs, LayerSpec, NetworkSpec, Seed, Shape,
    Targets, Trainer, TrainerSpec,
};
use nightloom_fe::protocol::{Link, Role, Session};
use nightloom_fe::server::EncryptedOracle;
use nightloom_fe::upload::EncryptedDataset;
use nightloom_fe::{MasterSeed, Scheme};
use rand_core::SeedableRng;

const SHAPE: Shape = Shape { channels: 1, height: 28, width: 28 };

/// An authority in the same process.
struct Local<'a>(&'a std::cell::RefCell<(Keeper, ChaCha20Rng)>);

impl Link for Local<'_> {
    type Error = KeeperError;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, KeeperError> {
        let (keeper, rng) = &mut *self.0.borrow_mut();
        keeper.answer(message, rng)
    }
}

fn read(folder: &Path, part: &str) -> Result<(Vec<u8>, Targets), Box<dyn Error>> {
    let inflate = |kind: &str, header: usize| -> Result<Vec<u8>, std::io::Error> {
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(folder.join(format!("{part}-{kind}-ubyte.gz")))?).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(header.min(bytes.len())))
    };
    let labels: Vec<usize> = inflate("labels-idx1", 8)?.into_iter().map(usize::from).collect();
    Ok((inflate("images-idx3", 16)?, Targets::classes(10, &labels)?))
}

fn train<F: FirstLayer>(spec: &TrainerSpec, first: &mut F, samples: usize, seed: &Seed) -> Result<Trainer, F::Error>
where
    F::Error: std::fmt::Debug,
{
    let mut trainer = Trainer::new(spec.clone(), samples, seed.clone()).expect("a run");
    trainer.run(first, |_| ControlFlow::Continue(())).expect("training");
    Ok(trainer)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("wanted the folder of MNIST")?;
    let seeds: Vec<u8> = arguments.map(|seed| seed.parse()).collect::<Result<_, _>>()?;
    let (pixels, targets) = read(Path::new(&folder), "train")?;
    let (test_pixels, test_targets) = read(Path::new(&folder), "t10k")?;
    let test = Dataset::new(Inputs::from_pixels(SHAPE, &test_pixels)?, test_targets)?;
    let opening = Opening {
        scheme: Scheme::Pad,
        first_layer: FirstLayerForm::Dense,
        batch: 256,
        fixed_point: FixedPointSpec { rounding: Rounding::Stochastic, min_deltas: 32, ..FixedPointSpec::default() },
        target_bits: 16,
        labels: Labels::Open,
        noise: None,
    };
    let names = (0..10).map(|class| class.to_string()).collect();
    let data =
        DataForm { input: SHAPE, encoding: Encoding::Pixels, norm_bound: None, targets: TargetForm::Classes(names) };
    let network = NetworkSpec { input: SHAPE, ..NetworkSpec::dense(784, &[32, 10], LayerSpec::Relu) };
    let spec = TrainerSpec {
        network,
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: OptimizerSpec { learning_rate: 0.2, decay: 0.2, momentum: 0.9 },
        batches: Batches::Fixed { size: 256 },
        epochs: 2,
        privacy: None,
    };
    let agreement = AgreementSpec { task: "mnist".to_owned(), data, terms: Terms::Guarded(opening) };
    for number in if seeds.is_empty() { vec![1] } else { seeds } {
        let seed = Seed::new([number; 32]);
        let agreed = Arc::new(agreement.clone().validate()?);
        let inputs = agreed.data().inputs(RawSamples::Pixels(&pixels))?;
        let data = Dataset::new(inputs, targets.clone())?;
        let folder = tempfile::tempdir()?;
        let keeper = Keeper::found(folder.path().join("ledger"), agreed.clone(), MasterSeed::from_bytes([number; 32]))?;
        let authority = std::cell::RefCell::new((keeper, ChaCha20Rng::from_seed([number; 32])));
        let enrol = |role, name| authority.borrow_mut().0.enrol(role, name, Vec::new()).map(Arc::new);
        let mut client = Client::new(Session::new(Local(&authority), enrol(Role::Client, "client")?));
        let start = Instant::now();
        let mut rng = ChaCha20Rng::from_seed([number ^ 0xff; 32]);
        let (upload, receipt) = client.encrypt(&data, &mut rng, Cursor::new(Vec::new()), &mut |_, _| {})?;
        let encrypted = start.elapsed();

        let start = Instant::now();
        let session = Session::new(Local(&authority), enrol(Role::Server, "server")?);
        let oracle = EncryptedOracle::new(session, vec![EncryptedDataset::open(upload, &agreed)?])?;
        let mut first = FixedPoint::new(oracle, agreed.opening()?.fixed_point)?;
        let trained = train(&spec, &mut first, receipt.samples, &seed)?;
        let trained_in = start.elapsed();

        let arranged = client.arrange(&data)?.data;
        let architecture = spec.network.validate()?;
        let clear = ClearOracle::new(&architecture, &arranged, agreed.opening()?.target_bits)?;
        let clear = train(&spec, &mut FixedPoint::new(clear, agreed.opening()?.fixed_point)?, arranged.len(), &seed)?;
        let float = train(&spec, &mut Float::new(&architecture, &arranged), arranged.len(), &seed)?;
        let bits = |trainer: &Trainer| trainer.network().values().map(|value| value.to_bits()).collect::<Vec<u64>>();
        let accuracy = |trainer: &Trainer| 100.0 * trainer.network().evaluate(&test, spec.loss).accuracy();
        println!(
            "seed {number}: encrypted {:.2} %, quantised in the clear {:.2} % ({}), floating point {:.2} %; {:.1} s to \
             encrypt, {:.1} s to train, {:.1} s of it opening",
            accuracy(&trained),
            accuracy(&clear),
            if bits(&trained) == bits(&clear) { "the same weights" } else { "OTHER WEIGHTS" },
            accuracy(&float),
            encrypted.as_secs_f64(),
            trained_in.as_secs_f64(),
            first.oracle().costs().time.as_secs_f64(),
        );
    }
    Ok(())
}

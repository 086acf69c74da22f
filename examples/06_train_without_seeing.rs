//! Lesson 6: training on images that the trainer never sees, within a budget that an authority keeps.
//!
//! Three parties with nothing but bytes between them. The *authority* holds a master seed and a ledger. The *client* encrypts
//! its images once, and leaves. The *server* asks for keys: each opens one sum of products with one batch, and the ledger
//! counts them. The weights come out as in the clear, bit by bit.
//!
//!     cargo run --release -p nightloom --example 06_train_without_seeing

use std::error::Error;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::Arc;

use nightloom::system_rng;
use nightloom::train::demo::{digits, digits_form};
use nightloom::train::setup::opening;
use nightloom::train::transport::{SharedAuthority, local};
use nightloom_fe::MasterSeed;
use nightloom_fe::agreement::{AgreementSpec, Labels, Opening, Terms};
use nightloom_fe::authority::Keeper;
use nightloom_fe::client::Client;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{ClearOracle, FirstLayer, FixedPoint, LayerSpec, NetworkSpec, Seed, Trainer, TrainerSpec};
use nightloom_fe::protocol::Role;
use nightloom_fe::server::EncryptedOracle;
use nightloom_fe::upload::EncryptedDataset;

/// Public, as the tests run the lesson too.
pub fn main() -> Result<(), Box<dyn Error>> {
    // What all agree on: images of 28x28 pixels in ten classes, opened batch by batch under one-time pads. Labels are open here;
    // otherwise the client would randomise them.
    let opening = Opening { labels: Labels::Open, batch: 128, ..opening() };
    let fixed_point = opening.fixed_point;
    let agreement = AgreementSpec { task: "digits".into(), data: digits_form(), terms: Terms::Guarded(opening) };
    let agreement = Arc::new(agreement.validate()?);
    println!("{}\n", agreement.mode().statement());

    // The authority: a seed, from which every key follows, and a ledger on disk, which forgets nothing.
    let folder = tempfile::tempdir()?;
    let mut rng = system_rng()?;
    let mut keeper = Keeper::found(folder.path().join("ledger"), agreement.clone(), MasterSeed::generate(&mut rng))?;
    let hospital = Arc::new(keeper.enrol(Role::Client, "hospital", Vec::new())?);
    let trainer = Arc::new(keeper.enrol(Role::Server, "trainer", Vec::new())?);
    let authority = SharedAuthority::new(keeper, system_rng()?);

    // The client: real digits, encrypted once. What it sends tells nothing without keys.
    let (images, others) = digits(2048)?;
    let mut client = Client::new(local(&authority, hospital));
    let (upload, receipt) = client.encrypt(&images, &mut rng, Cursor::new(Vec::new()), &mut |_, _| {})?;
    println!("the client sent {} images in {} bytes", receipt.samples, receipt.bytes);

    // The server: 16 hidden units, two epochs. It never holds an image.
    let spec = TrainerSpec {
        network: NetworkSpec { input: digits_form().input, ..NetworkSpec::dense(784, &[16, 10], LayerSpec::Sigmoid) },
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: OptimizerSpec { learning_rate: 1.0, decay: 0.5, momentum: 0.9 },
        batches: Batches::Fixed { size: 128 },
        epochs: 2,
        privacy: None,
    };
    agreement.check_network(&spec.network)?;
    let uploads = vec![EncryptedDataset::open(upload, &agreement)?];
    let oracle = EncryptedOracle::new(local(&authority, trainer), uploads)?;
    let mut encrypted = FixedPoint::new(oracle, fixed_point)?;
    let trained = train(&spec, &mut encrypted, receipt.samples)?;
    let accuracy = trained.network().evaluate(&others, spec.loss).accuracy();
    println!("two epochs: {:.1} % of {} other images right", 100.0 * accuracy, others.len());
    assert!(accuracy > 0.6);

    // The same integers in the clear give the same weights.
    let arranged = client.arrange(&images)?.data;
    let clear = ClearOracle::new(&spec.network.validate()?, &arranged, agreement.opening()?.target_bits)?;
    let clear = train(&spec, &mut FixedPoint::new(clear, fixed_point)?, receipt.samples)?;
    assert!(trained.network().values().zip(clear.network().values()).all(|(a, b)| a.to_bits() == b.to_bits()));
    println!("all {} weights are those of training in the clear", trained.network().values().count());

    // The budget: 16 units twice are 32 equations in 784 unknowns of a sample, and in 128 of a batch, where 32 is the limit.
    let more = TrainerSpec { epochs: 1, ..spec };
    let mut more = Trainer::with_network(more, receipt.samples, Seed::new([2; 32]), trained.into_network())?;
    let refused = loop {
        if let Err(error) = more.step(&mut encrypted) {
            break error;
        }
        assert!(!more.is_done(), "a third epoch, and a budget that does not end");
    };
    println!("a third epoch: {refused}");
    Ok(())
}

fn train<F: FirstLayer>(spec: &TrainerSpec, first: &mut F, samples: usize) -> Result<Trainer, Box<dyn Error>> {
    let mut trainer = Trainer::new(spec.clone(), samples, Seed::new([1; 32]))?;
    trainer.run(first, |_| ControlFlow::Continue(()))?;
    Ok(trainer)
}

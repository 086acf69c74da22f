//! Rounds of federated averaging on the digits, with clients that drop out.

mod common;

use std::ops::ControlFlow;

use common::{digits, fixed, spec};
use nightloom_fe::learn::federated::{FederatedError, Round, UpdateEncoding, apply, update};
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::trainer::TrainerSpecError;
use nightloom_fe::learn::{LayerSpec, Network, NetworkSpec, Seed, Trainer};

#[test]
fn clients_learn_together_though_some_drop_out() {
    let (data, test) = digits();
    let clients = data.among(6).unwrap();
    let optimizer = OptimizerSpec { learning_rate: 0.05, decay: 1.0, momentum: 0.9 };
    let spec = spec(NetworkSpec::dense(64, &[32, 10], LayerSpec::Relu), 16, 2, optimizer);
    let architecture = spec.network.validate().unwrap();
    let encoding = UpdateEncoding::new(1.0, 16, 1000, 6).unwrap();
    let accuracy = |network: &Network| network.evaluate(&test, Loss::SoftmaxCrossEntropy).accuracy();
    let mut global = Network::random(&architecture, &Seed::new([1; 32]));
    let mut alone = 0.0;
    for number in 0..6u8 {
        let mut round = Round::new(encoding, architecture.parameters());
        for (client, data) in clients.iter().enumerate() {
            let seed = Seed::new([number * 6 + client as u8; 32]);
            let mut trainer = Trainer::with_network(spec.clone(), data.len(), seed, global.clone()).unwrap();
            trainer.run(&mut fixed(&architecture, data), |_| ControlFlow::Continue(())).unwrap();
            alone = accuracy(trainer.network());
            // A third of the clients is lost in every round, another third each time.
            if (client + usize::from(number)) % 3 == 0 {
                continue;
            }
            let change = update(&global, trainer.network()).unwrap();
            round.add(&encoding.encode(&change, data.len() as u32).unwrap()).unwrap();
        }
        assert_eq!(round.contributors(), 4);
        global = apply(&global, &round.mean().unwrap()).unwrap();
        println!("round {number}: {:.3}, one client before the average {alone:.3}", accuracy(&global));
    }
    assert!(accuracy(&global) > 0.95);
}

#[test]
fn networks_of_other_sizes_do_not_mix() {
    let network = |units: usize| {
        let architecture = NetworkSpec::dense(64, &[units, 10], LayerSpec::Relu).validate().unwrap();
        Network::random(&architecture, &Seed::new([1; 32]))
    };
    assert!(matches!(update(&network(3), &network(4)), Err(FederatedError::Length { .. })));
    assert!(matches!(apply(&network(3), &[0.0; 5]), Err(FederatedError::Network(_))));
    let spec = spec(NetworkSpec::dense(64, &[3, 10], LayerSpec::Relu), 4, 1, OptimizerSpec::constant(0.1));
    let error = Trainer::with_network(spec, 10, Seed::new([1; 32]), network(4)).err();
    assert_eq!(error, Some(TrainerSpecError::OtherNetwork));
    // No change, no difference: the mean of equal updates is the update.
    let (before, after) = (network(3), network(3));
    assert!(update(&before, &after).unwrap().iter().all(|change| *change == 0.0));
}

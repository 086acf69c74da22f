//! Sums over clients: rounds of federated training in which clients drop out, and models from counts.

mod common;
#[path = "common/parties.rs"]
mod parties;

use std::sync::Arc;

use common::{digits, table};
use nightloom_fe::aggregate::{
    AggregateError, Contribution, count_rows, counted_model, first_network, next_network, open_sum, train_round,
};
use nightloom_fe::agreement::{
    Aggregation, AgreementError, AgreementSpec, ContributionForm, CountModel, Counts, DataForm, Encoding, TargetForm,
    TrainedCounts, Updates,
};
use nightloom_fe::authority::Audit;
use nightloom_fe::learn::counts::Bins;
use nightloom_fe::learn::federated::Round;
use nightloom_fe::learn::network::Loss;
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::{Accountant, PrivacySpec};
use nightloom_fe::learn::{LayerSpec, Network, NetworkSpec, Seed, Shape};
use nightloom_fe::protocol::{AskError, EnrolmentToken, Refusal, Request, Role, RoundId};
use nightloom_fe::{agreement::Terms, authority::KeeperError};
use parties::{Parties, digits_form, rng};

type Refused = AggregateError<KeeperError>;

fn federated(privacy: Option<PrivacySpec>) -> AgreementSpec {
    let network = NetworkSpec::dense(64, &[16, 10], LayerSpec::Relu);
    let mut training = common::spec(network, 32, 1, OptimizerSpec { learning_rate: 0.1, decay: 1.0, momentum: 0.9 });
    training.privacy = privacy;
    let updates = Updates { training, clip: 1.0, bits: 20, samples_per_weight: 8, max_weight: 1000 };
    let terms = Terms::Aggregate(Aggregation {
        max_clients: 8,
        contribution: ContributionForm::Updates(updates),
        without_privacy: privacy.is_none(),
    });
    AgreementSpec { task: "digits".to_owned(), data: digits_form(), terms }
}

fn enrolled(parties: &Parties, count: usize) -> Vec<Arc<EnrolmentToken>> {
    (0..count).map(|client| parties.enrol(Role::Client, &format!("client-{client}"))).collect()
}

fn refusal(error: Refused) -> Refusal {
    match error {
        AggregateError::Ask(AskError::Refused(refusal)) => refusal,
        other => panic!("{other}"),
    }
}

/// Clients contribute and leave. Whoever drops out after that is in the sum; whoever drops out before it is not, and the
/// round goes on as long as three are left. The sums are those in the clear, and a contribution is in one sum only.
#[test]
fn rounds_complete_though_clients_drop_out_and_no_single_update_is_opened() {
    let (data, test) = digits();
    let parties = Parties::found(federated(None));
    let tokens = enrolled(&parties, 4);
    let server = parties.enrol(Role::Server, "server");
    let agreement = server.agreement.clone();
    let shares = data.among(4).unwrap();
    let ContributionForm::Updates(updates) = &agreement.aggregation().unwrap().contribution else { panic!() };
    let encoding = nightloom_fe::learn::federated::UpdateEncoding::new(1.0, 20, updates.max_weight, 8).unwrap();
    let mut session = parties.session(&server);
    let mut network = first_network(&agreement, &Seed::new([1; 32])).unwrap();
    let accuracy = |network: &Network| network.evaluate(&test, Loss::SoftmaxCrossEntropy).accuracy();
    let mut late = None;
    for round in 0..5u32 {
        // Everybody trains; one of four, another each time, is gone before its contribution arrives.
        let (gone, id) = (round as usize % 4, RoundId::of(round, &network));
        let (mut contributions, mut clear) = (Vec::new(), Round::new(encoding, network.architecture().parameters()));
        for (client, token) in tokens.iter().enumerate() {
            let seed = Seed::new([round as u8 * 4 + client as u8; 32]);
            let local = train_round(&agreement, &network, &shares[client], seed).unwrap();
            assert_eq!(local.weight, updates.weight(shares[client].len()));
            let sealed = Contribution::seal(token, id, &local.integers, &mut rng(round as u8 * 4 + client as u8));
            let sealed = sealed.unwrap();
            if client == gone {
                late = Some(sealed);
                continue;
            }
            clear.add(&local.integers).unwrap();
            let mut bytes = Vec::new();
            sealed.write(&mut bytes).unwrap();
            contributions.push(Contribution::read(&*bytes).unwrap());
        }
        let sums = open_sum(&mut session, id, &contributions).unwrap();
        // The same sum again, as if the answer had been lost.
        assert_eq!(open_sum(&mut session, id, &contributions).unwrap(), sums);
        assert_eq!(encoding.decode(&sums).unwrap(), clear.mean().unwrap());
        network = next_network(&agreement, &network, &sums).unwrap();

        // The one who was late cannot be added afterwards: the difference of two sums would be its update.
        let late = late.clone().unwrap();
        let with_late = [&contributions[..], std::slice::from_ref(&late)].concat();
        let used = refusal(open_sum(&mut session, id, &with_late).unwrap_err());
        assert!(matches!(used, Refusal::Used { round: found, .. } if found == round));
        // Nor be opened alone, with one other, or as three copies of itself.
        for few in [vec![late.clone()], vec![late.clone(), late.clone(), late.clone()]] {
            assert!(matches!(open_sum(&mut session, id, &few), Err(AggregateError::TooFew { found: 1, least: 3 })));
            // The authority does not rely on the library of whoever asks.
            let ids = few.iter().map(|one| one.id().clone()).collect();
            let refused = session.ask(&Request::SumKeys { contributions: ids }).unwrap_err();
            assert!(matches!(refused, AskError::Refused(Refusal::TooFew { .. } | Refusal::Used { .. })), "{refused}");
        }
    }
    assert!(accuracy(&network) > 0.85, "{}", accuracy(&network));
    let audit = Audit::of_file(&parties.ledger(), 1e-5).unwrap();
    assert_eq!((audit.sums, audit.fewest_in_a_sum, audit.sum_epsilon), (5, Some(3), None));
}

/// Three clients of whom one drops out before it contributed: two are not summed. What they sent waits until it is back.
#[test]
fn a_round_of_three_waits_for_the_one_who_dropped_out() {
    let (data, _) = digits();
    let privacy = PrivacySpec { clip: 1.0, noise_multiplier: 1.0 };
    let parties = Parties::found(federated(Some(privacy)));
    let tokens = enrolled(&parties, 3);
    let server = parties.enrol(Role::Server, "server");
    let agreement = server.agreement.clone();
    let network = first_network(&agreement, &Seed::new([1; 32])).unwrap();
    let shares = data.among(3).unwrap();
    let locals: Vec<_> = (0..3)
        .map(|client| train_round(&agreement, &network, &shares[client], Seed::new([client as u8; 32])).unwrap())
        .collect();
    // An epoch of fixed batches is one step at a rate of one.
    let mut wanted = Accountant::new();
    wanted.add(1.0, 1.0, 1);
    let wanted_epsilon = wanted.epsilon(1e-5).epsilon;
    assert_eq!(locals[0].accountant.as_ref().unwrap().epsilon(1e-5), wanted.epsilon(1e-5));
    let round = RoundId::of(7, &network);
    let seal = |client: usize, salt| {
        Contribution::seal(&tokens[client], round, &locals[client].integers, &mut rng(salt)).unwrap()
    };
    let mut session = parties.session(&server);
    let two = [seal(0, 1), seal(1, 2)];
    assert!(matches!(open_sum(&mut session, round, &two), Err(AggregateError::TooFew { found: 2, least: 3 })));
    // It was killed while it sent, and comes back with another pad.
    let mut half = Vec::new();
    seal(2, 3).write(&mut half).unwrap();
    assert!(Contribution::read(&half[..half.len() / 2]).is_err());
    let sums = open_sum(&mut session, round, &[&two[..], &[seal(2, 4)]].concat()).unwrap();
    let wanted = (0..locals[0].integers.len()).map(|at| locals.iter().map(|local| local.integers[at]).sum());
    assert_eq!(sums, wanted.collect::<Vec<i64>>());
    assert_eq!(Audit::of_file(&parties.ledger(), 1e-5).unwrap().sum_epsilon, Some(wanted_epsilon));
    // What it sent first never opens anything again.
    let again = refusal(open_sum(&mut session, round, &[seal(2, 3), seal(0, 5), seal(1, 6)]).unwrap_err());
    assert!(matches!(again, Refusal::Used { round: 7, .. }));
}

/// A server that hands one client the network and the others one that no sample moves would read the one's update off the
/// sum (Pasquini, Francati and Ateniese, CCS 2022). What clients return is bound to what they were handed.
#[test]
fn different_networks_for_clients_of_one_round_open_nothing() {
    let (data, _) = digits();
    let parties = Parties::found(federated(None));
    let tokens = enrolled(&parties, 3);
    let server = parties.enrol(Role::Server, "server");
    let agreement = server.agreement.clone();
    let network = first_network(&agreement, &Seed::new([1; 32])).unwrap();
    // No unit of its first layer is ever active, so nothing moves that layer, and the sum would be the one client's.
    let values: Vec<f64> = network.values().enumerate().map(|(at, _)| if at < 64 * 16 { 0.0 } else { -1.0 }).collect();
    let dead = Network::from_values(network.architecture(), &values).unwrap();
    let handed = [&network, &dead, &dead];
    let shares = data.among(3).unwrap();
    let contributions: Vec<_> = (0..3)
        .map(|client| {
            let seed = Seed::new([client as u8; 32]);
            let local = train_round(&agreement, handed[client], &shares[client], seed).unwrap();
            let round = RoundId::of(0, handed[client]);
            Contribution::seal(&tokens[client], round, &local.integers, &mut rng(client as u8)).unwrap()
        })
        .collect();
    let mut session = parties.session(&server);
    for network in handed {
        let refused = open_sum(&mut session, RoundId::of(0, network), &contributions).unwrap_err();
        assert!(matches!(refused, AggregateError::OtherRound { .. }), "{refused}");
    }
    // Neither as they are, for the authority compares, nor under the name of another network: its pad is another.
    let mut ids: Vec<_> = contributions.iter().map(|one| one.id().clone()).collect();
    let refused = session.ask(&Request::SumKeys { contributions: ids.clone() }).unwrap_err();
    assert!(matches!(refused, AskError::Refused(Refusal::Rounds { .. })), "{refused}");
    ids.iter_mut().for_each(|id| id.round = RoundId::of(0, &network));
    let bytes = |contribution: &Contribution| {
        let mut bytes = Vec::new();
        contribution.write(&mut bytes).unwrap();
        bytes
    };
    let renamed: Vec<Contribution> = contributions
        .iter()
        .zip(&ids)
        .map(|(contribution, id)| {
            let (mut bytes, old) = (bytes(contribution), contribution.id().round.network);
            let at = bytes.windows(32).position(|window| window == old).unwrap();
            bytes[at..at + 32].copy_from_slice(&id.round.network);
            Contribution::read(&*bytes).unwrap()
        })
        .collect();
    let found = open_sum(&mut session, RoundId::of(0, &network), &renamed);
    assert!(matches!(found, Err(AggregateError::Range { .. })), "{found:?}");
}

/// A contribution shows nothing: the same integers under two numbers are unrelated words, and every bit is set half the time.
#[test]
fn contributions_are_under_one_time_pads() {
    let parties = Parties::found(federated(None));
    let token = enrolled(&parties, 1).remove(0);
    let zeros = vec![0i64; 64 * 16 + 16 + 16 * 10 + 10 + 1];
    let words = |salt| {
        let mut bytes = Vec::new();
        Contribution::seal(&token, RoundId::COUNTS, &zeros, &mut rng(salt)).unwrap().write(&mut bytes).unwrap();
        bytes.split_off(bytes.len() - 8 * zeros.len())
    };
    let (first, second) = (words(1), words(2));
    let bits = |bytes: &[u8]| bytes.iter().map(|byte| f64::from(byte.count_ones())).sum::<f64>();
    let difference: Vec<u8> = first.iter().zip(&second).map(|(a, b)| a ^ b).collect();
    for bytes in [&first, &second, &difference] {
        // Six deviations of so many fair bits; the key is fixed.
        let count = 8.0 * bytes.len() as f64;
        assert!((bits(bytes) - count / 2.0).abs() < 3.0 * count.sqrt());
    }
    let short = Contribution::seal(&token, RoundId::COUNTS, &zeros[1..], &mut rng(1)).unwrap_err();
    assert!(matches!(short, AggregateError::Length { .. }));
}

fn counted(rows: &[f64], columns: usize, classes: usize, model: CountModel, noise: Option<f64>) -> AgreementSpec {
    let counts = Counts { model, smoothing: 0.5, noise };
    let data = DataForm {
        input: Shape::vector(columns),
        encoding: Encoding::Bins(Bins::quantiles(rows, columns, 5).unwrap()),
        norm_bound: None,
        targets: TargetForm::Classes((0..classes).map(|class| class.to_string()).collect()),
    };
    let contribution = ContributionForm::Counts(counts);
    let without_privacy = noise.is_none();
    let terms = Terms::Aggregate(Aggregation { max_clients: 5, contribution, without_privacy });
    AgreementSpec { task: "table".to_owned(), data, terms }
}

/// Naive Bayes and completely random forests from sums of encrypted counts: exactly those of counts in the clear, and still
/// of use with noise.
#[test]
fn models_from_encrypted_counts_are_those_in_the_clear() {
    let forest = CountModel::Forest { trees: 20, depth: 5, seed: 3 };
    for (name, model, noise, least) in [
        ("iris.csv", CountModel::NaiveBayes, None, 0.84),
        ("iris.csv", forest, None, 0.84),
        ("wine_data.csv", CountModel::NaiveBayes, None, 0.92),
        ("breast_cancer.csv", CountModel::NaiveBayes, Some(2.0), 0.90),
        ("breast_cancer.csv", forest, Some(2.0), 0.85),
    ] {
        let table = table(name);
        let (test, train): (Vec<usize>, Vec<usize>) = (0..table.len()).partition(|row| row % 3 == 2);
        let rows = |indices: &[usize]| indices.iter().flat_map(|&row| table.row(row)).copied().collect::<Vec<f64>>();
        let labels = |indices: &[usize]| indices.iter().map(|&row| table.labels[row]).collect::<Vec<usize>>();
        let parties = Parties::found(counted(&rows(&train), table.columns, table.classes, model, noise));
        let server = parties.enrol(Role::Server, "server");
        let agreement = server.agreement.clone();
        let (mut contributions, mut clear) = (Vec::new(), Vec::new());
        for (client, token) in enrolled(&parties, 3).iter().enumerate() {
            let own: Vec<usize> = train.iter().copied().skip(client).step_by(3).collect();
            let counts = count_rows(&agreement, &rows(&own), &labels(&own)).unwrap();
            contributions.push(Contribution::seal(token, RoundId::COUNTS, &counts, &mut rng(client as u8)).unwrap());
            clear.resize(counts.len(), 0);
            clear.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let sums = open_sum(&mut parties.session(&server), RoundId::COUNTS, &contributions).unwrap();
        assert_eq!(
            open_sum(&mut parties.session(&server), RoundId::COUNTS, &contributions).unwrap(),
            sums,
            "noise that averages away"
        );
        contributions.rotate_left(1);
        assert_eq!(
            open_sum(&mut parties.session(&server), RoundId::COUNTS, &contributions).unwrap(),
            sums,
            "the order is none of a sum"
        );
        assert_eq!(sums == clear, noise.is_none(), "{name}");
        let trained = counted_model(&agreement, &sums).unwrap();
        assert_eq!(matches!(trained, TrainedCounts::Forest(_)), matches!(model, CountModel::Forest { .. }));
        let Encoding::Bins(bins) = &agreement.data().encoding else { panic!() };
        let right = test.iter().filter(|&&row| {
            let scores = trained.scores(&bins.of(table.row(row)));
            (0..scores.len()).all(|class| scores[class] <= scores[table.labels[row]])
        });
        let accuracy = right.count() as f64 / test.len() as f64;
        println!("{name} {model:?} noise {noise:?}: {accuracy:.3}");
        assert!(accuracy >= least, "{name} {model:?}: {accuracy}");
        let audit = Audit::of_file(&parties.ledger(), 1e-5).unwrap();
        let epsilon = noise.map(|noise| {
            let mut accountant = Accountant::new();
            accountant.add(1.0, noise, 1);
            accountant.epsilon(1e-5).epsilon
        });
        assert_eq!(audit.sum_epsilon, epsilon);
    }
}

#[test]
fn what_is_not_agreed_on_is_refused() {
    let mut spec = federated(None);
    let Terms::Aggregate(aggregation) = &mut spec.terms else { panic!() };
    aggregation.without_privacy = false;
    let error = spec.clone().validate().err().unwrap();
    assert_eq!(error, AgreementError::Privacy { private: false });
    assert!(error.to_string().contains("without_privacy"), "{error}");
    let mut spec = federated(None);
    let Terms::Aggregate(aggregation) = &mut spec.terms else { panic!() };
    aggregation.max_clients = 2;
    assert!(spec.validate().err().unwrap().to_string().contains("clients is 2"));

    let rows = table("iris.csv").rows;
    let parties = Parties::found(counted(&rows, 4, 3, CountModel::NaiveBayes, None));
    let token = enrolled(&parties, 1).remove(0);
    let agreement = &token.agreement;
    for (rows, labels) in
        [(&rows[..3], vec![0]), (&rows[..4], vec![3]), (&rows[..0], vec![]), (&[f64::NAN; 4], vec![0])]
    {
        assert!(count_rows(agreement, rows, &labels).is_err(), "{labels:?}");
    }
    assert!(first_network(agreement, &Seed::new([0; 32])).is_err());
    // A contribution under another agreement, and somebody who is no client of this authority.
    let other = Parties::found(counted(&rows, 4, 3, CountModel::NaiveBayes, Some(1.0)));
    let stranger = enrolled(&other, 1).remove(0);
    let counts = count_rows(agreement, &rows[..4], &[0]).unwrap();
    let server = parties.enrol(Role::Server, "server");
    let foreign = Contribution::seal(&stranger, RoundId::COUNTS, &counts, &mut rng(1)).unwrap();
    let found = open_sum(&mut parties.session(&server), RoundId::COUNTS, &[foreign]).unwrap_err();
    assert!(matches!(found, AggregateError::OtherAgreement { .. }));
    let ids = ["client-0", "nobody", "server"].map(|name| nightloom_fe::protocol::ContributionId {
        client: name.to_owned(),
        round: RoundId::COUNTS,
        nonce: [0; 16],
    });
    let refused = parties.session(&server).ask(&Request::SumKeys { contributions: ids.to_vec() }).unwrap_err();
    assert!(matches!(refused, AskError::Refused(Refusal::UnknownClient { .. })), "{refused}");
    // Contributions to different rounds.
    let mut ids = ids.to_vec();
    ids[1].round.number = 1;
    let refused = parties.session(&server).ask(&Request::SumKeys { contributions: ids }).unwrap_err();
    let AskError::Refused(Refusal::Rounds { found, wanted }) = refused else { panic!("{refused}") };
    assert_eq!((&*found, &*wanted), ("1", "0"));
}

//! What an authority refuses, and a ledger that survives kills, restarts and nothing else.

mod common;
#[path = "common/parties.rs"]
mod parties;

use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use common::digits;
use ndarray::{Array2, s};
use nightloom_fe::agreement::{DatasetId, Direction, Opening, OpeningNoise, Terms};
use nightloom_fe::authority::{Audit, ChainError, Keeper, KeeperError, Recoverable, read_ledger};
use nightloom_fe::learn::first_layer::{Oracle, Query};
use nightloom_fe::learn::fixed_point::Rounding;
use nightloom_fe::learn::{Dataset, FixedPoint, LayerSpec, NetworkSpec, Seed, Trainer};
use nightloom_fe::protocol::{AskError, EnrolmentToken, Link, Refusal, Reply, Request, Role, Rule, Session};
use nightloom_fe::server::{EncryptedOracle, OracleError};
use nightloom_fe::upload::EncryptedDataset;
use nightloom_fe::{MasterSeed, Scheme};
use parties::{Local, Parties, opening, seed, spec};

/// Two batches of one client, under pads.
struct Set {
    parties: Parties,
    client: Arc<EnrolmentToken>,
    server: Arc<EnrolmentToken>,
    upload: Vec<u8>,
    dataset: DatasetId,
}

fn set(terms: Terms) -> Set {
    let parties = Parties::found(spec(terms));
    let client = parties.enrol(Role::Client, "client");
    let server = parties.enrol(Role::Server, "server");
    let (upload, receipt) = parties.encrypt(&client, &data());
    Set { parties, client, server, upload, dataset: receipt.dataset }
}

fn data() -> Dataset {
    digits().0.split_at(64).unwrap().0
}

fn guarded() -> Terms {
    Terms::Guarded(opening(Scheme::Pad, 32))
}

fn weights(rows: usize, columns: usize, visit: usize) -> Array2<i64> {
    let weight = |(i, j): (usize, usize)| {
        let word = ((visit * 7919 + i * 613 + j + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        (word % 31) as i64 - 15
    };
    Array2::from_shape_fn((rows, columns), weight)
}

fn forward(set: &Set, batch: u32, visit: usize) -> Request {
    let values = weights(3, 64, visit);
    Request::FunctionKeys {
        client: "client".to_owned(),
        dataset: set.dataset,
        batch,
        direction: Direction::Forward,
        values,
    }
}

fn refusal(found: Result<Reply, AskError<KeeperError>>) -> Refusal {
    match found {
        Err(AskError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn ledger(parties: &Parties) -> Vec<u8> {
    std::fs::read(parties.ledger()).unwrap()
}

fn head(parties: &Parties) -> String {
    parties.link.keeper.lock().unwrap().authority().head().to_string()
}

#[test]
fn budgets_outlive_the_process() {
    let set = set(guarded());
    let mut session = set.parties.session(&set.server);
    let first = session.ask(&forward(&set, 0, 0)).unwrap();
    session.ask(&forward(&set, 0, 1)).unwrap();
    let exhausted = |session: &mut Session<Local>| {
        let Refusal::Budget { client, batch: 0, rule: Rule::Forward, rank: 9, limit: 6, .. } =
            refusal(session.ask(&forward(&set, 0, 2)))
        else {
            panic!("another refusal")
        };
        assert_eq!(client, "client");
    };
    exhausted(&mut session);
    let before = head(&set.parties);
    set.parties.restart();
    assert_eq!(head(&set.parties), before);
    // What was issued before is issued again, bit by bit; what is more is refused, and takes nothing.
    assert_eq!(session.ask(&forward(&set, 0, 0)).unwrap(), first);
    exhausted(&mut session);
    assert_eq!(head(&set.parties), before);
    // Other batches have budgets of their own, and the same samples encrypted again have not.
    session.ask(&forward(&set, 1, 2)).unwrap();
    assert_eq!(set.parties.encrypt(&set.client, &data()).1.dataset, set.dataset);
    exhausted(&mut session);
    // The text names rule, rank and limit.
    let text = session.ask(&forward(&set, 0, 2)).unwrap_err().to_string();
    assert!(text.contains("tenth") && text.contains("is 6") && text.contains("number) 9"), "{text}");
}

/// Wherever the last record was torn, everything before it stands and it is cut; the request can be made again.
#[test]
fn a_torn_last_record_is_cut() {
    let set = set(guarded());
    let whole = ledger(&set.parties);
    let records = read_ledger(&*whole).unwrap();
    set.parties.session(&set.server).ask(&forward(&set, 0, 0)).unwrap();
    let longer = ledger(&set.parties);
    assert!(longer.starts_with(&whole) && longer.len() > whole.len() + 40);
    for torn in (whole.len()..longer.len()).step_by(7) {
        let found = read_ledger(&longer[..torn]).unwrap();
        assert_eq!((found.whole, found.torn), (whole.len() as u64, (torn - whole.len()) as u64));
        assert_eq!((found.entries.len(), found.chain.head()), (records.entries.len(), records.chain.head()));
    }
    // Some systems lengthen a file before they write.
    let zeros = [&whole[..], &[0; 100]].concat();
    assert_eq!(read_ledger(&*zeros).unwrap().torn, 100);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    std::fs::write(&path, &longer[..longer.len() - 5]).unwrap();
    assert!(Audit::of_file(&path, 1e-5).unwrap().torn_bytes > 0);
    let keeper = Keeper::open(&path, seed()).unwrap();
    assert_eq!(keeper.torn(), (longer.len() - 5 - whole.len()) as u64);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    let second = Keeper::open(&path, seed());
    assert!(matches!(second.err(), Some(KeeperError::Locked { .. })));
    drop(keeper);
    // A ledger is never founded over another.
    let again = Keeper::found(&path, set.server.agreement.clone(), seed());
    assert!(matches!(again.err(), Some(KeeperError::Io { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

/// Any byte changed, any record taken out, doubled or put elsewhere: refused, with the place.
#[test]
fn a_changed_ledger_is_refused() {
    let set = set(guarded());
    set.parties.session(&set.server).ask(&forward(&set, 0, 0)).unwrap();
    let bytes = ledger(&set.parties);
    assert_eq!(read_ledger(&*bytes).unwrap().torn, 0);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let found = read_ledger(&*changed);
        assert!(found.is_err(), "byte {at}: {found:?}");
    }
    // The places of the records.
    let mut places = vec![16];
    while *places.last().unwrap() < bytes.len() {
        let at = *places.last().unwrap();
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        places.push(at + 8 + length + 32);
    }
    let record = |number: usize| &bytes[places[number]..places[number + 1]];
    let count = places.len() - 1;
    assert_eq!(count, 5);
    for (from, to) in [(1, 2), (3, 1), (4, 0)] {
        let order: Vec<usize> = (0..count)
            .map(|at| {
                if at == from {
                    to
                } else if at == to {
                    from
                } else {
                    at
                }
            })
            .collect();
        let swapped = [&bytes[..16], &order.iter().flat_map(|at| record(*at).to_vec()).collect::<Vec<u8>>()].concat();
        assert!(matches!(read_ledger(&*swapped), Err(ChainError::Changed { .. })));
    }
    let missing = [&bytes[..places[2]], &bytes[places[3]..]].concat();
    let error = read_ledger(&*missing).unwrap_err().to_string();
    assert!(error.contains("record 2") && error.contains(&places[2].to_string()), "{error}");
    let doubled = [&bytes[..], record(4)].concat();
    assert!(matches!(read_ledger(&*doubled), Err(ChainError::Changed { record: 5, .. })));
    assert!(read_ledger(&b"not a ledger at all"[..]).is_err());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    std::fs::write(&path, &missing).unwrap();
    let error = Keeper::open(&path, seed()).err().unwrap();
    assert!(matches!(error, KeeperError::Chain { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), missing, "a damaged ledger stays as it is");
    assert!(Audit::of_file(&path, 1e-5).is_err());
}

/// Whoever has seen more of a ledger than there is notices.
#[test]
fn a_rolled_back_ledger_is_noticed() {
    let set = set(guarded());
    let old = ledger(&set.parties);
    let mut session = set.parties.session(&set.server);
    session.ask(&forward(&set, 0, 0)).unwrap();
    let seen = session.head().unwrap().records;
    {
        let mut keeper = set.parties.link.keeper.lock().unwrap();
        let path = set.parties.folder.path().join("older");
        std::fs::write(&path, old).unwrap();
        *keeper = Keeper::open(path, seed()).unwrap();
    }
    let refused = refusal(session.ask(&forward(&set, 0, 0)));
    assert_eq!(refused, Refusal::RolledBack { found: seen - 1, seen });
}

/// Keeps what passes.
#[derive(Clone)]
struct Tap {
    inner: Local,
    messages: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Link for Tap {
    type Error = KeeperError;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, KeeperError> {
        self.messages.lock().unwrap().push(message.to_vec());
        self.inner.exchange(message)
    }
}

fn contains(answer: &[u8], word: &str) -> bool {
    answer.windows(word.len()).any(|window| window == word.as_bytes())
}

#[test]
fn forged_and_replayed_requests_are_refused_and_leave_no_trace() {
    let set = set(guarded());
    let tap = Tap { inner: set.parties.link.clone(), messages: Arc::default() };
    let mut session = Session::new(tap.clone(), set.server.clone());
    session.ask(&forward(&set, 0, 0)).unwrap();
    session.ask(&forward(&set, 0, 1)).unwrap();
    let messages = tap.messages.lock().unwrap().clone();
    assert_eq!(messages.len(), 3);
    let before = ledger(&set.parties);
    let answer = |message: &[u8]| set.parties.link.clone().exchange(message).unwrap();
    for message in &messages[1..] {
        assert!(contains(&answer(message), "\"replayed\""));
    }
    // The older one too, while the session goes on.
    session.ask(&forward(&set, 1, 0)).unwrap();
    let now = ledger(&set.parties);
    assert!(now.len() > before.len());
    assert!(contains(&answer(&messages[1]), "\"replayed\""));
    // Any byte changed.
    for at in 0..messages[2].len() {
        let mut forged = messages[2].clone();
        forged[at] ^= 1 << (at % 8);
        let answer = answer(&forged);
        assert!(contains(&answer, "\"forged\"") || contains(&answer, "\"malformed\""), "byte {at}");
    }
    for length in 0..messages[2].len() {
        assert!(contains(&answer(&messages[2][..length]), "\"malformed\""), "{length} bytes");
    }
    // After a restart no session goes on by itself.
    set.parties.restart();
    assert!(contains(&answer(&messages[2]), "\"no-session\""));
    assert_eq!(ledger(&set.parties), now);

    // The key of another authority's party of the same name.
    let other = Keeper::found(
        set.parties.folder.path().join("other"),
        set.server.agreement.clone(),
        MasterSeed::from_bytes([1; 32]),
    );
    let stranger = Arc::new(other.unwrap().enrol(Role::Server, "server", Vec::new()).unwrap());
    assert!(matches!(refusal(set.parties.session(&stranger).ask(&forward(&set, 0, 0))), Refusal::Forged { .. }));
    assert_eq!(ledger(&set.parties), now);
}

/// Puts something else in the place of an answer.
struct Liar {
    inner: Local,
    answers: Vec<Vec<u8>>,
    /// Which answer is replaced by the one before it, or has a bit changed.
    replace: usize,
    flip: Option<usize>,
}

impl Link for Liar {
    type Error = KeeperError;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, KeeperError> {
        let mut answer = self.inner.exchange(message)?;
        self.answers.push(answer.clone());
        if self.answers.len() > self.replace {
            match self.flip {
                Some(at) => {
                    let at = at % answer.len();
                    answer[at] ^= 1;
                }
                None => answer = self.answers[self.replace - 1].clone(),
            }
        }
        Ok(answer)
    }
}

#[test]
fn answers_of_anybody_else_are_refused() {
    let set = set(guarded());
    for flip in [None, Some(0), Some(20), Some(70), Some(usize::MAX / 2)] {
        let link = Liar { inner: set.parties.link.clone(), answers: Vec::new(), replace: 2, flip };
        let mut session = Session::new(link, set.server.clone());
        session.ask(&forward(&set, 0, 0)).unwrap();
        let error = session.ask(&forward(&set, 1, 0)).unwrap_err();
        assert!(matches!(error, AskError::Answer(_)), "{error}");
    }
}

#[test]
fn keys_are_for_their_own_party_client_and_label() {
    let set = set(guarded());
    let other = set.parties.enrol(Role::Client, "other");
    let ask = |token: &Arc<EnrolmentToken>, request: &Request| refusal(set.parties.session(token).ask(request));
    let encryption = |dataset| Request::EncryptionKeys { dataset, first: 0, count: 1 };
    let role = |found, wanted| Refusal::Role { found, wanted };
    assert_eq!(ask(&set.server, &encryption(set.dataset)), role(Role::Server, Role::Client));
    assert_eq!(ask(&set.client, &forward(&set, 0, 0)), role(Role::Client, Role::Server));
    assert_eq!(
        ask(&set.server, &Request::Register { dataset: DatasetId([1; 16]), samples: 5 }),
        role(Role::Server, Role::Client)
    );
    // Pads of another client's dataset.
    assert!(
        matches!(ask(&other, &encryption(set.dataset)), Refusal::UnknownDataset { client, .. } if client == "other")
    );
    // Function keys under the name of a client that has no such dataset, and for a batch that does not exist.
    let Request::FunctionKeys { dataset, direction, values, .. } = forward(&set, 0, 0) else { unreachable!() };
    let of = |client: &str, dataset, batch| Request::FunctionKeys {
        client: client.to_owned(),
        dataset,
        batch,
        direction,
        values: values.clone(),
    };
    assert!(matches!(ask(&set.server, &of("other", dataset, 0)), Refusal::UnknownDataset { .. }));
    assert!(matches!(ask(&set.server, &of("client", DatasetId([9; 16]), 0)), Refusal::UnknownDataset { .. }));
    assert!(matches!(ask(&set.server, &of("client", dataset, 2)), Refusal::UnknownBatch { found: 2, batches: 2, .. }));
    let many = Request::EncryptionKeys { dataset: set.dataset, first: 1, count: 64 };
    assert!(matches!(ask(&set.client, &many), Refusal::UnknownBatch { .. }));
    let many = Request::EncryptionKeys { dataset: set.dataset, first: 0, count: 65 };
    assert!(matches!(ask(&set.client, &many), Refusal::Malformed { problem } if problem.contains("64")));
    assert!(matches!(
        ask(&set.client, &Request::Register { dataset: set.dataset, samples: 32 }),
        Refusal::OtherSamples { found: 32, wanted: 64, .. }
    ));
    // Integers and shapes beyond the agreement.
    let large = Request::FunctionKeys {
        client: "client".to_owned(),
        dataset,
        batch: 0,
        direction,
        values: Array2::from_elem((1, 64), 16),
    };
    assert!(matches!(ask(&set.server, &large), Refusal::Query { problem } if problem.contains("16")));
    let wide = Request::FunctionKeys {
        client: "client".to_owned(),
        dataset,
        batch: 0,
        direction,
        values: Array2::from_elem((1, 63), 1),
    };
    assert!(matches!(ask(&set.server, &wide), Refusal::Query { .. }));
    let gradient = |batch, units| Request::FunctionKeys {
        client: "client".to_owned(),
        dataset,
        batch,
        direction: Direction::Gradient,
        values: Array2::zeros((32, units)),
    };
    assert!(
        matches!(ask(&set.server, &gradient(0, 4097)), Refusal::Query { problem } if problem.contains("4097 units"))
    );
    assert!(
        matches!(ask(&set.server, &gradient(0, (1 << 20) + 1)), Refusal::Malformed { problem } if problem.contains("values"))
    );
    // Names are given once.
    let mut keeper = set.parties.link.keeper.lock().unwrap();
    for name in ["client", "", "../x", &"n".repeat(65)] {
        assert!(matches!(keeper.enrol(Role::Server, name, Vec::new()), Err(KeeperError::Enrol { .. })), "{name}");
    }
}

/// Fails every third time, and lets the message through before half of the failures.
struct Flaky {
    inner: Local,
    calls: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("lost")]
struct Lost;

impl Link for Flaky {
    type Error = Lost;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, Lost> {
        self.calls += 1;
        if self.calls.is_multiple_of(6) {
            return Err(Lost);
        }
        let answer = self.inner.exchange(message).map_err(|_| Lost)?;
        if self.calls.is_multiple_of(3) { Err(Lost) } else { Ok(answer) }
    }
}

fn network() -> NetworkSpec {
    NetworkSpec::dense(64, &[3, 10], LayerSpec::Sigmoid)
}

fn trained<L: Link>(session: Session<L>, upload: &[u8]) -> Result<Vec<u64>, String> {
    let agreement = session.token().agreement.clone();
    let upload = EncryptedDataset::open(Cursor::new(upload.to_vec()), &agreement).unwrap();
    let oracle = EncryptedOracle::new(session, vec![upload]).unwrap();
    let mut first = FixedPoint::new(oracle, agreement.opening().unwrap().fixed_point).unwrap();
    let spec = common::spec(network(), 32, 2, nightloom_fe::learn::optimizer::OptimizerSpec::constant(1.0));
    let mut trainer = Trainer::new(spec, 64, Seed::new([3; 32])).unwrap();
    trainer.run(&mut first, |_| ControlFlow::Continue(())).map_err(|error| error.to_string())?;
    Ok(trainer.network().values().map(|value| value.to_bits()).collect())
}

/// Lost connections cost neither weights nor budget; without patience the first one ends the training.
#[test]
fn lost_connections_are_tried_again() {
    // Rounding at random, so that the weights of two epochs differ in many places.
    let mut form = opening(Scheme::Pad, 32);
    form.fixed_point.rounding = Rounding::Stochastic;
    let set = set(Terms::Guarded(form));
    let wanted = trained(set.parties.session(&set.server), &set.upload).unwrap();
    let steady = ledger(&set.parties);
    let flaky = || Flaky { inner: set.parties.link.clone(), calls: 0 };
    let waits = Arc::new(Mutex::new(Vec::new()));
    let kept = waits.clone();
    let patience = move |failures, _: &Lost| {
        kept.lock().unwrap().push(failures);
        if failures < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let session = Session::with_patience(flaky(), set.server.clone(), patience);
    assert_eq!(trained(session, &set.upload).unwrap(), wanted);
    let waits = waits.lock().unwrap();
    assert!(waits.len() >= 4 && waits.iter().all(|failures| *failures <= 2), "{waits:?}");
    assert_eq!(ledger(&set.parties), steady);
    let error = trained(Session::new(flaky(), set.server.clone()), &set.upload).unwrap_err();
    assert!(error.contains("cannot be reached"), "{error}");
}

#[test]
fn an_authority_that_starts_again_is_asked_again() {
    let set = set(guarded());
    let mut session = set.parties.session(&set.server);
    let answer = session.ask(&forward(&set, 0, 0)).unwrap();
    for _ in 0..3 {
        set.parties.restart();
        assert_eq!(session.ask(&forward(&set, 0, 0)).unwrap(), answer);
    }
}

/// Noise has its deviation, is the same when asked again, and the audit says what it is worth.
#[test]
fn noise_is_added_to_what_is_opened_and_accounted_for() {
    let noise = Some(OpeningNoise { forward: 4.0, gradient: 4.0 });
    let noisy = set(Terms::Guarded(Opening { noise, ..opening(Scheme::Pad, 32) }));
    let exact = set(guarded());
    let samples: Vec<usize> = (0..32).collect();
    let ask = |set: &Set, visit| {
        let values = weights(3, 64, visit);
        let mut oracle = set.parties.oracle(&set.server, std::slice::from_ref(&set.upload));
        oracle.forward(Query { samples: &samples, values: values.view(), bound: 1 << 40 }).unwrap()
    };
    let first = ask(&noisy, 0);
    assert_eq!(first, ask(&noisy, 0), "noise that could be averaged away");
    // Nor by asking for the same in other company: every functional counts, though the rank stays.
    let mut session = noisy.parties.session(&noisy.server);
    let part = |rows: usize| {
        let values = weights(3, 64, 0).slice(s![..rows, ..]).to_owned();
        let Request::FunctionKeys { client, dataset, batch, direction, .. } = forward(&noisy, 0, 0) else { panic!() };
        Request::FunctionKeys { client, dataset, batch, direction, values }
    };
    session.ask(&part(2)).unwrap();
    let refused = refusal(session.ask(&forward(&noisy, 0, 1)));
    assert!(matches!(refused, Refusal::Budget { rule: Rule::Forward, rank: 8, limit: 6, .. }), "{refused}");
    session.ask(&part(1)).unwrap();
    // The agreements differ, so the order of the samples does: sort the products of a unit before they are compared.
    let spread = |products: &Array2<i64>| {
        let mean = products.iter().sum::<i64>() as f64 / products.len() as f64;
        (products.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / products.len() as f64).sqrt()
    };
    let (with, without) = (spread(&first), spread(&ask(&exact, 0)));
    assert!(with > 2.0 * without, "{with} {without}");

    let audit = |set: &Set| {
        let keeper = set.parties.link.keeper.lock().unwrap();
        Audit::of(keeper.authority().ledger(), keeper.authority().head(), 0, 1e-5).datasets.remove(0)
    };
    let (of_noisy, of_exact) = (audit(&noisy), audit(&exact));
    // Three Gaussian mechanisms of multiplier 4 at delta 1e-5.
    let mut accountant = nightloom_fe::learn::privacy::Accountant::new();
    accountant.add(1.0, 4.0, 3);
    assert_eq!(of_noisy.epsilon, Some(accountant.epsilon(1e-5).epsilon));
    assert_eq!(of_exact.epsilon, None);
    for audit in [&of_noisy, &of_exact] {
        let worst = audit.worst.as_ref().unwrap();
        assert_eq!((worst.forward.rank, worst.forward.limit, worst.gradient.rank, worst.gradient.limit), (3, 6, 0, 8));
        assert_eq!((audit.batches, audit.opened_batches, audit.recoverable), (2, 1, Recoverable::NoSample));
        assert!((audit.determined.unwrap() - 3.0 / 64.0).abs() < 1e-12);
    }
}

/// A ledger of the reproduction mode counts nothing, and its audit says so.
#[test]
fn the_audit_tells_modes_apart() {
    let set = set(Terms::Cryptonn(opening(Scheme::Pad, 32)));
    let audit = || Audit::of_file(&set.parties.ledger(), 1e-5).unwrap();
    assert_eq!(audit().datasets[0].recoverable, Recoverable::Nothing);
    set.parties.session(&set.server).ask(&forward(&set, 0, 0)).unwrap();
    let found = audit();
    assert_eq!(found.datasets[0].recoverable, Recoverable::Uncounted);
    assert_eq!((found.parties, found.datasets[0].worst.clone(), found.datasets[0].epsilon), (2, None, None));
    assert_eq!(found.head, head(&set.parties));
}

/// A truncated or damaged upload is refused where it is damaged, with the client's name.
#[test]
fn damaged_uploads_are_refused() {
    let set = set(guarded());
    let open = |bytes: &[u8]| EncryptedDataset::open(Cursor::new(bytes.to_vec()), &set.server.agreement);
    for length in (0..set.upload.len()).step_by(101) {
        assert!(open(&set.upload[..length]).is_err(), "{length} bytes");
    }
    let mut longer = set.upload.clone();
    longer.push(0);
    assert!(open(&longer).is_err());
    let other = Parties::found(spec(Terms::Guarded(opening(Scheme::Pad, 16))));
    let stranger = other.enrol(Role::Server, "server");
    let found = EncryptedDataset::open(Cursor::new(set.upload.clone()), &stranger.agreement);
    assert!(found.err().unwrap().to_string().contains("agreement"));
    // Damage within a batch shows when the batch is opened.
    let mut damaged = set.upload.clone();
    let at = damaged.len() / 4;
    damaged[at..at + 64].fill(0xff);
    let mut oracle = set.parties.oracle(&set.server, &[damaged]);
    let samples: Vec<usize> = (0..32).collect();
    let values = weights(3, 64, 0);
    let error = oracle.forward(Query { samples: &samples, values: values.view(), bound: 1 << 40 }).unwrap_err();
    let named =
        matches!(&error, OracleError::Cipher { client, .. } | OracleError::Upload { client, .. } if client == "client");
    assert!(named, "{error}");
}

/// A client whose ciphertexts hold another number of samples than it says.
#[test]
fn ciphertexts_of_other_shapes_are_refused() {
    let parties = Parties::found(spec(guarded()));
    let client = parties.enrol(Role::Client, "client");
    let (mut upload, receipt) = parties.encrypt(&client, &data().split_at(32).unwrap().0);
    assert_eq!(receipt.samples, 32);
    // Header, agreement, name, dataset; then samples and bytes of a batch. The last class is taken away.
    let place = 16 + 32 + 4 + "client".len() + 16;
    upload.truncate(upload.len() - 2);
    upload[place..place + 4].copy_from_slice(&31u32.to_le_bytes());
    for (at, less) in [(8, 2), (place + 4, 2)] {
        let number = u64::from_le_bytes(upload[at..at + 8].try_into().unwrap()) - less;
        upload[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let server = parties.enrol(Role::Server, "server");
    let mut oracle = parties.oracle(&server, &[upload]);
    let samples: Vec<usize> = (0..31).collect();
    let values = weights(3, 64, 0);
    let error = oracle.forward(Query { samples: &samples, values: values.view(), bound: 1 << 40 }).unwrap_err();
    assert!(
        matches!(&error, OracleError::OtherShape { client, batch: 0, found: 96, wanted: 93 } if client == "client"),
        "{error}"
    );
}

/// Server and authority killed after every step: the weights are those of a run that nothing happened to.
#[test]
fn a_killed_run_goes_on_with_the_same_weights() {
    let mut form = opening(Scheme::Pad, 32);
    form.fixed_point.rounding = Rounding::Stochastic;
    let set = set(Terms::Guarded(form));
    let spec = common::spec(network(), 32, 2, nightloom_fe::learn::optimizer::OptimizerSpec::constant(1.0));
    let mut checkpoint = Vec::new();
    Trainer::new(spec, 64, Seed::new([3; 32])).unwrap().write(&mut checkpoint).unwrap();
    for step in 0..4 {
        // Every process begins with what is on disk, and once a step is lost after its keys were issued.
        for lost in [step == 2, false] {
            let mut trainer = Trainer::read(&*checkpoint).unwrap();
            let oracle = set.parties.oracle(&set.server, std::slice::from_ref(&set.upload));
            let mut first = FixedPoint::new(oracle, form_of(&set)).unwrap();
            trainer.step(&mut first).unwrap();
            if !lost {
                checkpoint.clear();
                trainer.write(&mut checkpoint).unwrap();
            }
            set.parties.restart();
            if !lost {
                break;
            }
        }
    }
    let trainer = Trainer::read(&*checkpoint).unwrap();
    assert!(trainer.is_done());
    let found: Vec<u64> = trainer.network().values().map(|value| value.to_bits()).collect();
    assert_eq!(found, trained(set.parties.session(&set.server), &set.upload).unwrap());
}

fn form_of(set: &Set) -> nightloom_fe::learn::FixedPointSpec {
    set.server.agreement.opening().unwrap().fixed_point
}

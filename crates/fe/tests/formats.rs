//! What parties send each other and keep: golden files of every format decode for ever, and damaged bytes never panic.
//!
//! `NIGHTLOOM_WRITE_GOLDEN=1 cargo test -p nightloom-fe --test formats` writes the files anew.

mod common;
#[path = "common/parties.rs"]
mod parties;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};

use ndarray::{Array2, array};
use nightloom_fe::Scheme;
use nightloom_fe::aggregate::{Contribution, count_rows, open_sum};
use nightloom_fe::agreement::{
    Aggregation, Agreement, AgreementSpec, ContributionForm, CountModel, Counts, DataForm, Encoding, FirstLayerForm,
    Labels, Opening, TargetForm, Terms,
};
use nightloom_fe::authority::{Entry, Keeper, KeeperError, ledger_again, read_ledger, rechained};
use nightloom_fe::client::Client;
use nightloom_fe::delegate::{MaskedProducts, multiply};
use nightloom_fe::learn::counts::Bins;
use nightloom_fe::learn::first_layer::{Oracle, Query};
use nightloom_fe::learn::{ClearOracle, Dataset, Inputs, LayerSpec, NetworkSpec, Shape, Targets};
use nightloom_fe::protocol::{EnrolmentToken, Link, Request, Role, RoundId, Session, reply_again, request_again};
use nightloom_fe::server::EncryptedOracle;
use nightloom_fe::upload::EncryptedDataset;
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind};
use parties::{Local, Parties, opening, rng, seed};
use proptest::prelude::*;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire/v1").join(name)
}

/// Folders with their files.
const FILES: [(Kind, &str, &[&str]); 7] = [
    (Kind::EncryptedDataset, "encrypted_dataset", &["delegate", "guarded", "sealed"]),
    (Kind::Ledger, "ledger", &["aggregate", "delegate", "guarded", "sealed"]),
    (Kind::EnrolmentToken, "enrolment_token", &["aggregate", "delegate", "guarded", "sealed"]),
    (
        Kind::AuthorityRequest,
        "authority_request",
        &["encryption-keys", "function-keys", "open", "operand-keys", "register", "sum-keys"],
    ),
    (
        Kind::AuthorityReply,
        "authority_reply",
        &["encryption-keys", "function-keys", "opened", "operand-keys", "refused", "registered", "sum-keys"],
    ),
    (Kind::Contribution, "contribution", &["first", "second", "third"]),
    (Kind::MaskedProducts, "masked_products", &["products"]),
];

fn golden(name: &str, file: &str) -> Vec<u8> {
    static WRITE: Once = Once::new();
    WRITE.call_once(|| {
        if std::env::var_os("NIGHTLOOM_WRITE_GOLDEN").is_some_and(|value| value == "1") {
            write_golden();
        }
    });
    let path = folder(name).join(format!("{file}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn store(name: &str, file: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder(name)).unwrap();
    std::fs::write(folder(name).join(format!("{file}.bin")), bytes).unwrap();
}

/// Keeps questions and answers.
#[derive(Clone)]
struct Tap {
    inner: Local,
    heard: Arc<Mutex<Vec<[Vec<u8>; 2]>>>,
}

impl Link for Tap {
    type Error = KeeperError;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, KeeperError> {
        let answer = self.inner.exchange(message)?;
        self.heard.lock().unwrap().push([message.to_vec(), answer.clone()]);
        Ok(answer)
    }
}

/// Four rows of twenty pixels in three classes, or images of 4x5.
fn data() -> Dataset {
    let pixels: Vec<u8> = (0..80u32).map(|i| (i * 7919 % 256) as u8).collect();
    let inputs = Inputs::from_pixels(input(), &pixels).unwrap();
    Dataset::new(inputs, Targets::classes(3, &[0, 2, 1, 2]).unwrap()).unwrap()
}

fn input() -> Shape {
    Shape { channels: 1, height: 4, width: 5 }
}

fn spec(terms: Terms) -> AgreementSpec {
    let targets = TargetForm::Classes(["a", "b", "c"].map(str::to_owned).to_vec());
    let data = DataForm { input: input(), encoding: Encoding::Pixels, norm_bound: None, targets };
    AgreementSpec { task: "golden".to_owned(), data, terms }
}

fn guarded() -> AgreementSpec {
    spec(Terms::Guarded(opening(Scheme::Pad, 4)))
}

fn sealed() -> AgreementSpec {
    let first_layer = FirstLayerForm::Windows { side: 3, stride: 1, padding: 1 };
    spec(Terms::Cryptonn(Opening { first_layer, labels: Labels::Febo, ..opening(Scheme::Pad, 2) }))
}

fn delegate() -> AgreementSpec {
    spec(Terms::Delegate(opening(Scheme::Pad, 3)))
}

fn aggregate() -> AgreementSpec {
    let counts = Counts { model: CountModel::NaiveBayes, smoothing: 1.0, noise: None };
    let data = DataForm {
        input: Shape::vector(2),
        encoding: Encoding::Bins(Bins::new(vec![vec![0.5, 1.5], vec![-1.0]]).unwrap()),
        ..guarded().data
    };
    let contribution = ContributionForm::Counts(counts);
    let terms = Terms::Aggregate(Aggregation { max_clients: 3, contribution, without_privacy: true });
    AgreementSpec { data, ..spec(terms) }
}

fn weights() -> Array2<i64> {
    Array2::from_shape_fn((1, 20), |(_, j)| (j as i64 * 5 + 3) % 29 - 14)
}

fn predictions() -> Array2<i64> {
    array![[3, 60, 1], [9, 9, 46]]
}

fn count_of(client: usize) -> ([f64; 4], [usize; 2]) {
    ([0.0, client as f64, 1.0, -2.0], [client, 0])
}

/// Everything that parties send and keep, in one run of each mode.
fn write_golden() {
    for (_, name, _) in FILES {
        let _ = std::fs::remove_dir_all(folder(name));
    }
    let set = |file: &str, spec| {
        let parties = Parties::found(spec);
        let client = parties.enrol(Role::Client, "client");
        let server = parties.enrol(Role::Server, "server");
        let mut bytes = Vec::new();
        let token = parties.link.keeper.lock().unwrap().authority().token("server", vec![1, 2, 3]).unwrap();
        token.write(&mut bytes).unwrap();
        store("enrolment_token", file, &bytes);
        let tap = Tap { inner: parties.link.clone(), heard: Arc::default() };
        (parties, client, server, tap)
    };
    let both = |tap: &Tap, number: usize, request: &str, reply: &str| {
        let heard = tap.heard.lock().unwrap();
        store("authority_request", request, &heard[number][0]);
        store("authority_reply", reply, &heard[number][1]);
    };
    let upload = |file: &str, client: &Arc<EnrolmentToken>, tap: &Tap| {
        let session = Session::new(tap.clone(), client.clone());
        let sink = Cursor::new(Vec::new());
        let (sink, _) = Client::new(session).encrypt(&data(), &mut rng(5), sink, &mut |_, _| {}).unwrap();
        store("encrypted_dataset", file, sink.get_ref());
        sink.into_inner()
    };

    let (parties, client, server, tap) = set("guarded", guarded());
    let bytes = upload("guarded", &client, &tap);
    both(&tap, 0, "open", "opened");
    both(&tap, 1, "register", "registered");
    both(&tap, 2, "encryption-keys", "encryption-keys");
    tap.heard.lock().unwrap().clear();
    let open = |bytes: &[u8], token: &EnrolmentToken| {
        vec![EncryptedDataset::open(Cursor::new(bytes.to_vec()), &token.agreement).unwrap()]
    };
    let mut oracle = EncryptedOracle::new(Session::new(tap.clone(), server.clone()), open(&bytes, &server)).unwrap();
    let all = [0, 1, 2, 3];
    let ask = |values: &Array2<i64>, oracle: &mut EncryptedOracle<Tap, Cursor<Vec<u8>>>| {
        oracle.forward(Query { samples: &all, values: values.view(), bound: 1 << 40 }).map(|_| ())
    };
    ask(&weights(), &mut oracle).unwrap();
    both(&tap, 1, "function-keys", "function-keys");
    // More than a tenth of twenty.
    ask(&Array2::from_shape_fn((2, 20), |(i, j)| ((i + 2) * (j + 1)) as i64 % 13 + 1), &mut oracle).unwrap_err();
    store("authority_reply", "refused", &tap.heard.lock().unwrap()[2][1]);
    store("ledger", "guarded", &std::fs::read(parties.ledger()).unwrap());

    let (parties, client, server, tap) = set("sealed", sealed());
    let bytes = upload("sealed", &client, &tap);
    tap.heard.lock().unwrap().clear();
    let mut oracle = EncryptedOracle::new(Session::new(tap.clone(), server.clone()), open(&bytes, &server)).unwrap();
    let values = predictions();
    oracle.output_error(Query { samples: &[2, 3], values: values.view(), bound: 1 << 40 }).unwrap();
    both(&tap, 1, "operand-keys", "operand-keys");
    store("ledger", "sealed", &std::fs::read(parties.ledger()).unwrap());

    let (parties, client, server, tap) = set("delegate", delegate());
    let bytes = upload("delegate", &client, &tap);
    let products = multiply(&server.agreement, &mut open(&bytes, &server)[0], real_weights().view()).unwrap();
    let mut bytes = Vec::new();
    products.write(&mut bytes).unwrap();
    store("masked_products", "products", &bytes);
    store("ledger", "delegate", &std::fs::read(parties.ledger()).unwrap());

    let (parties, _, server, tap) = set("aggregate", aggregate());
    let mut contributions = Vec::new();
    for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
        let token = parties.enrol(Role::Client, name);
        let (rows, labels) = count_of(number);
        let counts = count_rows(&token.agreement, &rows, &labels).unwrap();
        let sealed = Contribution::seal(&token, RoundId::COUNTS, &counts, &mut rng(number as u8)).unwrap();
        let mut bytes = Vec::new();
        sealed.write(&mut bytes).unwrap();
        store("contribution", name, &bytes);
        contributions.push(sealed);
    }
    open_sum(&mut Session::new(tap.clone(), server), RoundId::COUNTS, &contributions).unwrap();
    both(&tap, 1, "sum-keys", "sum-keys");
    store("ledger", "aggregate", &std::fs::read(parties.ledger()).unwrap());
}

fn real_weights() -> Array2<f64> {
    Array2::from_shape_fn((2, 20), |(i, j)| (i as f64 - 0.5) * (j as f64 - 7.0) / 16.0)
}

fn token(file: &str) -> EnrolmentToken {
    EnrolmentToken::read(&*golden("enrolment_token", file)).unwrap()
}

fn again(kind: Kind, file: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let text = |error: DecodeError| error.to_string();
    let agreement = |file: &str| -> Arc<Agreement> { token(file).agreement };
    let mut written = Vec::new();
    match kind {
        Kind::EncryptedDataset => {
            let opened = EncryptedDataset::open(Cursor::new(bytes), &agreement(file));
            return opened.and_then(|mut dataset| dataset.again()).map_err(|error| error.to_string());
        }
        Kind::Ledger => return ledger_again(bytes).map_err(|error| error.to_string()),
        Kind::EnrolmentToken => EnrolmentToken::read(bytes).map_err(text)?.write(&mut written).unwrap(),
        Kind::AuthorityRequest => return request_again(bytes).map_err(text),
        Kind::AuthorityReply => return reply_again(bytes).map_err(text),
        Kind::Contribution => Contribution::read(bytes).map_err(text)?.write(&mut written).unwrap(),
        Kind::MaskedProducts => {
            MaskedProducts::read(bytes, &agreement("delegate")).map_err(text)?.write(&mut written).unwrap();
        }
        other => panic!("{other}"),
    }
    Ok(written)
}

#[test]
fn golden_files_decode_bit_for_bit() {
    for (kind, name, files) in FILES {
        for file in files {
            let bytes = golden(name, file);
            let header = Header::read(&*bytes).unwrap();
            assert_eq!((header.kind, header.version), (kind, 1), "{name}/{file}");
            assert!(bytes.len() < 20_000, "{name}/{file}: {} bytes", bytes.len());
            assert!(again(kind, file, &bytes).unwrap() == bytes, "{name}/{file}");
        }
        let found = std::fs::read_dir(folder(name)).unwrap();
        let found: BTreeSet<String> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let expected: BTreeSet<String> = files.iter().map(|file| format!("{file}.bin")).collect();
        assert_eq!(found, expected, "files that no test reads");
    }
}

/// A keeper that goes on with a golden ledger.
fn keeper(file: &str, folder: &Path) -> Local {
    let path = folder.join(std::fs::read_dir(folder).unwrap().count().to_string());
    std::fs::write(&path, golden("ledger", file)).unwrap();
    Local::new(Keeper::open(&path, seed()).unwrap())
}

/// Golden uploads open under golden tokens, with an authority that goes on with a golden ledger, to what was encrypted.
#[test]
fn golden_files_still_mean_what_they_meant() {
    let folder = tempfile::tempdir().unwrap();
    let session = |file: &str, name: &str| {
        let link = keeper(file, folder.path());
        let token = link.keeper.lock().unwrap().authority().token(name, Vec::new()).unwrap();
        Session::new(link, Arc::new(token))
    };
    for (file, spec) in
        [("guarded", guarded()), ("sealed", sealed()), ("delegate", delegate()), ("aggregate", aggregate())]
    {
        let token = token(file);
        assert_eq!((token.role, &*token.name, &*token.certificate), (Role::Server, "server", &[1, 2, 3][..]));
        assert_eq!(token.agreement.spec(), &spec);
    }
    let uploads = |file: &str| {
        let bytes = Cursor::new(golden("encrypted_dataset", file));
        vec![EncryptedDataset::open(bytes, &token(file).agreement).unwrap()]
    };
    let arranged = |file: &str| Client::new(session(file, "client")).arrange(&data()).unwrap().data;

    let sealed_data = arranged("guarded");
    let mut oracle = EncryptedOracle::new(session("guarded", "server"), uploads("guarded")).unwrap();
    let network = NetworkSpec { input: input(), layers: vec![LayerSpec::Dense { units: 3 }] };
    let mut clear = ClearOracle::new(&network.validate().unwrap(), &sealed_data, 6).unwrap();
    let (all, values) = ([0, 1, 2, 3], weights());
    let query = || Query { samples: &all, values: values.view(), bound: 1 << 40 };
    assert_eq!(oracle.forward(query()).unwrap(), clear.forward(query()).unwrap());

    let sealed_data = arranged("sealed");
    let mut oracle = EncryptedOracle::new(session("sealed", "server"), uploads("sealed")).unwrap();
    let mut clear = ClearOracle::new(&network.validate().unwrap(), &sealed_data, 6).unwrap();
    let values = predictions();
    let query = || Query { samples: &[2, 3], values: values.view(), bound: 1 << 40 };
    assert_eq!(oracle.output_error(query()).unwrap(), clear.output_error(query()).unwrap());

    let products = MaskedProducts::read(&*golden("masked_products", "products"), &token("delegate").agreement).unwrap();
    let found = Client::new(session("delegate", "client")).open_products(&products).unwrap();
    let wanted = data().inputs().real(&all).dot(&real_weights().t());
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 0.2), "{found} {wanted}");

    let contributions =
        ["first", "second", "third"].map(|file| Contribution::read(&*golden("contribution", file)).unwrap());
    let sums = open_sum(&mut session("aggregate", "server"), RoundId::COUNTS, &contributions).unwrap();
    let agreement = token("aggregate").agreement;
    let counts = [0, 1, 2].map(|client| {
        let (rows, labels) = count_of(client);
        count_rows(&agreement, &rows, &labels).unwrap()
    });
    let wanted: Vec<i64> = (0..sums.len()).map(|at| counts.iter().map(|counts| counts[at]).sum()).collect();
    assert_eq!(sums, wanted);
    let records = read_ledger(&*golden("ledger", "aggregate")).unwrap();
    let Some(Entry::Summed { contributions: summed, .. }) = records.entries.last() else { panic!("a sum") };
    assert!(summed.iter().zip(&contributions).all(|(summed, contribution)| summed == contribution.id()));
    let ask = Request::Register { dataset: nightloom_fe::agreement::DatasetId([0; 16]), samples: 1 };
    assert!(session("aggregate", "client").ask(&ask).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// What is accepted encodes to the same bytes, or, where there is JSON, to bytes that decode to the same.
    #[test]
    fn damaged_bytes_never_panic(
        format in 0..FILES.len(), file: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (kind, name, files) = FILES[format];
        let file = files[file.index(files.len())];
        let mut damaged = golden(name, file);
        for (place, value) in changes {
            let place = place.index(damaged.len());
            damaged[place] = value;
        }
        if let Some(keep) = keep {
            damaged.truncate(keep.index(damaged.len()));
            if kind != Kind::Ledger && let Some(length) = damaged.len().checked_sub(HEADER_BYTES as usize) {
                damaged[8..16].copy_from_slice(&(length as u64).to_le_bytes());
            }
        }
        if let Ok(once) = again(kind, file, &damaged) {
            prop_assert_eq!(again(kind, file, &once).unwrap(), once);
        }
        if kind == Kind::Ledger {
            // Records with right hashes and wrong contents get further, but no state comes of what cannot be.
            let right = rechained(&damaged);
            if let Ok(once) = ledger_again(&right) {
                prop_assert_eq!(&once, &right);
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ledger");
            std::fs::write(&path, &right).unwrap();
            let _ = Keeper::open(&path, seed());
        }
    }
}

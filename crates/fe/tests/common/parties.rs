//! Authority, clients and server in one process, with nothing but bytes between them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use chacha20::ChaCha20Rng;
use nightloom_fe::agreement::{AgreementSpec, DataForm, Encoding, FirstLayerForm, Labels, Opening, TargetForm, Terms};
use nightloom_fe::authority::{Keeper, KeeperError};
use nightloom_fe::client::{Client, Receipt};
use nightloom_fe::learn::fixed_point::FixedPointSpec;
use nightloom_fe::learn::{Dataset, Shape};
use nightloom_fe::protocol::{EnrolmentToken, Link, Role, Session};
use nightloom_fe::server::EncryptedOracle;
use nightloom_fe::upload::EncryptedDataset;
use nightloom_fe::{MasterSeed, Scheme};
use rand_core::SeedableRng;

pub fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// Hands messages to an authority in the same process.
#[derive(Clone)]
pub struct Local {
    pub keeper: Arc<Mutex<Keeper>>,
    rng: Arc<Mutex<ChaCha20Rng>>,
}

impl Local {
    pub fn new(keeper: Keeper) -> Self {
        Self { keeper: Arc::new(Mutex::new(keeper)), rng: Arc::new(Mutex::new(rng(77))) }
    }
}

impl Link for Local {
    type Error = KeeperError;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, KeeperError> {
        self.keeper.lock().unwrap().answer(message, &mut *self.rng.lock().unwrap())
    }
}

/// An authority with a ledger in a folder of its own.
pub struct Parties {
    pub folder: tempfile::TempDir,
    pub link: Local,
}

impl Parties {
    pub fn found(spec: AgreementSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agreement = Arc::new(spec.validate().unwrap());
        let keeper = Keeper::found(folder.path().join("ledger"), agreement, seed()).unwrap();
        Self { folder, link: Local::new(keeper) }
    }

    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    pub fn enrol(&self, role: Role, name: &str) -> Arc<EnrolmentToken> {
        Arc::new(self.link.keeper.lock().unwrap().enrol(role, name, Vec::new()).unwrap())
    }

    pub fn session(&self, token: &Arc<EnrolmentToken>) -> Session<Local> {
        Session::new(self.link.clone(), token.clone())
    }

    pub fn client(&self, token: &Arc<EnrolmentToken>) -> Client<Local> {
        Client::new(self.session(token))
    }

    /// Encrypts as a client.
    pub fn encrypt(&self, token: &Arc<EnrolmentToken>, data: &Dataset) -> (Vec<u8>, Receipt) {
        let sink = Cursor::new(Vec::new());
        let (sink, receipt) = self.client(token).encrypt(data, &mut rng(5), sink, &mut |_, _| {}).unwrap();
        (sink.into_inner(), receipt)
    }

    /// An oracle of a server over these uploads.
    pub fn oracle(&self, server: &Arc<EnrolmentToken>, uploads: &[Vec<u8>]) -> EncryptedOracle<Local, Cursor<Vec<u8>>> {
        let open = |bytes: &Vec<u8>| EncryptedDataset::open(Cursor::new(bytes.clone()), &server.agreement).unwrap();
        EncryptedOracle::new(self.session(server), uploads.iter().map(open).collect()).unwrap()
    }

    /// The authority again, from its file.
    pub fn restart(&self) {
        let mut keeper = self.link.keeper.lock().unwrap();
        // The lock on the file goes with the old keeper.
        let spare = tempfile::tempdir().unwrap();
        let agreement = keeper.authority().agreement().clone();
        *keeper = Keeper::found(spare.path().join("ledger"), agreement, seed()).unwrap();
        *keeper = Keeper::open(self.ledger(), seed()).unwrap();
    }
}

pub fn seed() -> MasterSeed {
    MasterSeed::from_bytes([0x51; 32])
}

/// 8x8 images of ten classes.
pub fn digits_form() -> DataForm {
    DataForm {
        input: Shape { channels: 1, height: 8, width: 8 },
        encoding: Encoding::Pixels,
        norm_bound: None,
        targets: TargetForm::Classes((0..10).map(|class| class.to_string()).collect()),
    }
}

/// Dense, with open labels and few bits, so that tables of logarithms are small.
pub fn opening(scheme: Scheme, batch: usize) -> Opening {
    Opening {
        scheme,
        first_layer: FirstLayerForm::Dense,
        batch,
        fixed_point: FixedPointSpec { weight_bits: 5, delta_bits: 6, ..FixedPointSpec::default() },
        target_bits: 6,
        labels: Labels::Open,
        noise: None,
    }
}

pub const WINDOWS: FirstLayerForm = FirstLayerForm::Windows { side: 3, stride: 1, padding: 1 };

pub fn spec(terms: Terms) -> AgreementSpec {
    AgreementSpec { task: "digits".to_owned(), data: digits_form(), terms }
}

//! Who hands out keys: what was asked for, what may still be, and a ledger that forgets nothing.
//!
//! [`Authority`] is a state machine without input and output: [`decide`](Authority::decide) says what a message leads to,
//! the caller brings the records of it to disk, and [`commit`](Authority::commit) makes the answer. [`Keeper`] is both with
//! a file.

mod admit;
mod audit;
mod budget;
mod chain;
mod echelon;
mod entry;
mod file;
mod issue;
mod ledger;
pub(crate) mod noise;
mod session;

use std::sync::Arc;

use nightloom_wire::DecodeError;
use rand_core::CryptoRng;

use crate::agreement::{Agreement, DatasetId, Direction};
use crate::protocol::{Answer, ContributionId, EnrolmentToken, Envelope, Head, PartyKey, Refusal, Reply, Role};
use crate::{FeboRequest, Functionals, MasterSeed};

pub use audit::{Audit, BatchAudit, DatasetAudit, DirectionAudit, Recoverable};
pub use budget::{SPARSE, Span, largest_rank};
pub use chain::{Chain, ChainError, Records, read as read_ledger};
#[doc(hidden)]
pub use chain::{ledger_again, rechained};
pub use echelon::Echelon;
pub use entry::{Entry, Issue};
pub use file::{Keeper, KeeperError};
pub use ledger::{Ledger, Operands, Sum};

use session::Sessions;

/// An authority: the master seed, and what has been issued.
pub struct Authority {
    seed: MasterSeed,
    ledger: Ledger,
    chain: Chain,
    sessions: Sessions,
}

/// What a message leads to, before it does.
pub struct Decision {
    /// Records that must be on disk before the answer is made. May be empty.
    pub records: Vec<u8>,
    /// Whether they must be there before the answer leaves; otherwise they may follow.
    pub durable: bool,
    entry: Option<(Entry, [u8; 32])>,
    /// Who asked, unless nobody known did, and the MAC of the question.
    asker: Option<(PartyKey, [u8; 32])>,
    outcome: Outcome,
}

/// How the answer comes about.
enum Outcome {
    Ready(Reply),
    EncryptionKeys { client: String, dataset: DatasetId, first: u32, count: u32 },
    FunctionKeys(Box<Query>),
    OperandKeys(Box<FeboRequest>),
    SumKeys { contributions: Vec<ContributionId>, deviation: f64 },
}

/// A query that may be answered.
struct Query {
    client: String,
    dataset: DatasetId,
    batch: u32,
    direction: Direction,
    functionals: Functionals,
    vectors: usize,
    /// Digest and deviation of the noise.
    noise: Option<([u8; 32], f64)>,
}

impl Authority {
    /// An authority that has issued nothing. The bytes are the ledger's first.
    pub fn found(agreement: Arc<Agreement>, seed: MasterSeed) -> (Self, Vec<u8>) {
        let mut chain = Chain::default();
        let (record, hash) = chain.record(&Entry::Founded { agreement: agreement.json().to_vec() });
        chain.push(hash);
        let bytes = [chain::header(), record].concat();
        (Self { seed, ledger: Ledger::of(agreement), chain, sessions: Sessions::default() }, bytes)
    }

    /// An authority that goes on with a ledger.
    ///
    /// # Errors
    /// [`ChainError`] if a record cannot stand where it does.
    pub fn restore(seed: MasterSeed, records: Records) -> Result<Self, ChainError> {
        let ledger = replay(&records)?;
        Ok(Self { seed, ledger, chain: records.chain, sessions: Sessions::default() })
    }

    /// What has been issued.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where the ledger stands.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// What was agreed on.
    pub fn agreement(&self) -> &Arc<Agreement> {
        self.ledger.agreement()
    }

    /// Makes a party known. The records must be on disk before the token is handed out.
    ///
    /// # Errors
    /// A text that says why the name cannot be taken.
    pub fn enrol(
        &mut self,
        role: Role,
        name: &str,
        certificate: Vec<u8>,
    ) -> Result<(EnrolmentToken, Decision), String> {
        crate::agreement::check_name(name).map_err(|error| error.to_string())?;
        if let Some(before) = self.ledger.role(name) {
            return Err(format!("'{name}' is enrolled already, as a {before}"));
        }
        let agreement = self.agreement().clone();
        let token = EnrolmentToken { role, name: name.to_owned(), key: self.key(role, name), agreement, certificate };
        let entry = Entry::Enrolled { role, name: name.to_owned() };
        Ok((token, self.decision(None, Some(entry), Outcome::Ready(Reply::Registered { others: 0 }))))
    }

    /// The token of a party that is enrolled, to be written anew.
    pub fn token(&self, name: &str, certificate: Vec<u8>) -> Option<EnrolmentToken> {
        let role = self.ledger.role(name)?;
        let (key, agreement) = (self.key(role, name), self.agreement().clone());
        Some(EnrolmentToken { role, name: name.to_owned(), key, agreement, certificate })
    }

    fn key(&self, role: Role, name: &str) -> PartyKey {
        let id = self.agreement().id();
        PartyKey::new(*self.seed.subkey(&[b"enrolment", &id.0, &[role as u8], name.as_bytes()]))
    }

    /// What a message leads to. Only sessions change.
    pub fn decide(&mut self, message: &[u8], rng: &mut impl CryptoRng) -> Decision {
        let malformed = |error: DecodeError| Refusal::Malformed { problem: error.to_string() };
        let (name, mac) = match Envelope::sender(message) {
            Ok(sender) => sender,
            Err(error) => return self.refuse_nobody(malformed(error)),
        };
        let role = self.ledger.role(&name);
        let known = role.map(|role| (role, self.key(role, &name)));
        // Who is not known gets the same words as who cannot prove it, and neither gets the rest of the message read.
        let Some((role, key)) = known.filter(|(_, key)| Envelope::is_authentic(message, key, &mac)) else {
            return self.refuse_nobody(Refusal::Forged { name });
        };
        let asker = Some((key, mac));
        let envelope = match Envelope::read(message) {
            Ok(envelope) => envelope,
            Err(error) => return self.decision(asker, None, Outcome::Ready(Reply::Refused(malformed(error)))),
        };
        match self.consider(envelope, role, rng) {
            Ok((entry, outcome)) => self.decision(asker, entry, outcome),
            Err(refusal) => self.decision(asker, None, Outcome::Ready(Reply::Refused(*refusal))),
        }
    }

    fn refuse_nobody(&self, refusal: Refusal) -> Decision {
        self.decision(None, None, Outcome::Ready(Reply::Refused(refusal)))
    }

    fn decision(&self, asker: Option<(PartyKey, [u8; 32])>, entry: Option<Entry>, outcome: Outcome) -> Decision {
        let durable = entry.as_ref().is_some_and(Entry::must_last);
        let (mut records, mut chained) = (Vec::new(), None);
        if let Some(entry) = entry {
            let (bytes, hash) = self.chain.record(&entry);
            (records, chained) = (bytes, Some((entry, hash)));
        }
        Decision { records, durable, entry: chained, asker, outcome }
    }

    /// Makes the answer, after the records of the decision are where they must be.
    ///
    /// # Panics
    /// If another decision with records was committed since.
    pub fn commit(&mut self, decision: Decision) -> Vec<u8> {
        let Decision { entry, asker, outcome, records, .. } = decision;
        if let Some((entry, hash)) = entry {
            let (again, _) = self.chain.record(&entry);
            assert!(again == records, "a decision about another state");
            let applied = self.ledger.apply(&entry);
            debug_assert_eq!(applied, Ok(()), "what was decided can be applied");
            self.chain.push(hash);
        }
        let reply = self.reply(outcome).unwrap_or_else(|problem| {
            // The limits were checked before; only the scheme itself can still refuse.
            Reply::Refused(Refusal::Query { problem })
        });
        let head = self.head();
        match (asker, reply) {
            (Some((key, question)), reply) => Answer { reply, head }.seal(&key, &question),
            (None, Reply::Refused(refusal)) => Answer::to_nobody(refusal, head),
            (None, _) => Vec::new(),
        }
    }
}

/// The state that the records lead to.
pub(crate) fn replay(records: &Records) -> Result<Ledger, ChainError> {
    let problem = |record: usize, problem: String| ChainError::Record { record: record as u64, position: 0, problem };
    let Some((first, rest)) = records.entries.split_first() else {
        return Err(problem(0, "there is none: a ledger begins with what was agreed on".to_owned()));
    };
    let mut ledger = Ledger::founded(first).map_err(|text| problem(0, text))?;
    for (record, entry) in rest.iter().enumerate() {
        ledger.apply(entry).map_err(|text| problem(record + 1, text))?;
    }
    Ok(ledger)
}

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Role;
use crate::agreement::Direction;
use crate::mode::Mode;

/// A limit of an authority on what it issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Products of the first layer: their functionals span at most a tenth of the values of a sample, over the lifetime of
    /// the data.
    Forward,
    /// The first layer's gradient: its functionals span at most a quarter of the samples of a batch, over the lifetime of
    /// the data.
    Gradient,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "products of the first layer may span a tenth of what determines a sample",
            Self::Gradient => "gradients of the first layer may span a quarter of what determines a batch",
        })
    }
}

/// Why an authority does not answer. It travels as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// A message that cannot be read.
    #[error("the message cannot be read: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody of this name is enrolled, or the message's MAC is not under that party's key.
    #[error("the message is not from '{name}': nobody of this name is enrolled, or its MAC is wrong")]
    Forged {
        /// The name in the message.
        name: String,
    },
    /// The session is not known: it was opened before the authority started, or long ago.
    #[error("the session is not known: open another one")]
    NoSession,
    /// A message that was sent before.
    #[error("message {found} of the session was answered already, or an older copy of it: replayed")]
    Replayed {
        /// Its number.
        found: u64,
    },
    /// The ledger lacks records that the party has seen.
    #[error("the ledger has {found} records or others than the {seen} that were there before: it was rolled back")]
    RolledBack {
        /// Records there are.
        found: u64,
        /// Records that the party has seen.
        seen: u64,
    },
    /// A party asks for what only the other kind may.
    #[error("a {found} may not ask for this, only a {wanted}")]
    Role {
        /// The role of who asks.
        found: Role,
        /// The role that may.
        wanted: Role,
    },
    /// A request of another mode.
    #[error("mode {found} does not open this")]
    Mode {
        /// The mode agreed on.
        found: Mode,
    },
    /// Data that nobody has registered under this client's name.
    #[error("client '{client}' has no dataset {dataset}")]
    UnknownDataset {
        /// The client named.
        client: String,
        /// The dataset named.
        dataset: String,
    },
    /// A batch that the dataset does not have.
    #[error("batch {found} of dataset {dataset}, which has {batches}")]
    UnknownBatch {
        /// The dataset.
        dataset: String,
        /// The batch.
        found: u32,
        /// Batches there are.
        batches: u32,
    },
    /// Another number of samples than before.
    #[error("dataset {dataset} has {wanted} samples, not {found}")]
    OtherSamples {
        /// The dataset.
        dataset: String,
        /// Samples now.
        found: u32,
        /// Samples registered.
        wanted: u32,
    },
    /// The budget of a batch is exhausted.
    #[error(
        "the budget of client '{client}', dataset {dataset}, batch {batch} is exhausted: {rule}, which is {limit}; these \
         functionals would make the rank (with noise, their number) {rank}"
    )]
    Budget {
        /// The client.
        client: String,
        /// The dataset.
        dataset: String,
        /// The batch.
        batch: u32,
        /// The rule.
        rule: Rule,
        /// What the rank would be; under noise, the number of functionals, each counted every time.
        rank: usize,
        /// The largest rank allowed.
        limit: usize,
    },
    /// Functionals that combine to one of few coordinates.
    #[error(
        "client '{client}', dataset {dataset}, batch {batch}, {}: these functionals combine with those issued to one of \
         {found} coordinates, of which {coordinate} is the first; wanted more than {limit}", direction.name()
    )]
    Sparse {
        /// The client.
        client: String,
        /// The dataset.
        dataset: String,
        /// The batch.
        batch: u32,
        /// What was to be opened.
        direction: Direction,
        /// Coordinates of the combination.
        found: usize,
        /// The first of them.
        coordinate: usize,
        /// A combination must have more.
        limit: usize,
    },
    /// Functionals that cannot be.
    #[error("the query is none: {problem}")]
    Query {
        /// What is wrong.
        problem: String,
    },
    /// A sum over too few clients.
    #[error("a sum over {found} clients, wanted at least {least}")]
    TooFew {
        /// Clients named.
        found: usize,
        /// The least allowed.
        least: usize,
    },
    /// A sum over too many contributions.
    #[error("a sum over {found} contributions, wanted at most {limit}")]
    TooMany {
        /// Contributions named.
        found: usize,
        /// The most allowed.
        limit: usize,
    },
    /// A contribution that another sum has, or this one twice.
    #[error("what '{client}' contributed to round {round} is in a sum already: a second sum would give it away")]
    Used {
        /// The client.
        client: String,
        /// The round.
        round: u32,
    },
    /// A sum over contributions to different rounds, or to one that began with different networks.
    #[error("a sum over contributions to rounds {wanted} and {found}, wanted one round that began with one network")]
    Rounds {
        /// Another round.
        found: String,
        /// The round of the first contribution.
        wanted: String,
    },
    /// A client that is not enrolled.
    #[error("'{client}' is not enrolled as a client")]
    UnknownClient {
        /// The client named.
        client: String,
    },
}

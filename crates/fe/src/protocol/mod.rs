//! What parties say to each other, as bytes: requests to an authority, its answers, and who may be believed.
//!
//! A party is known by its name and a key, which an authority gives it once ([`EnrolmentToken`]). Every message carries a
//! MAC under that key, a number that the authority made for the session, and a counter that rises, so that nobody can make
//! or repeat one. Answers carry a MAC that binds them to their question. Who carries the bytes is the caller's business
//! ([`Link`]); that answers stay between the two is the carrier's.

mod envelope;
mod link;
mod message;
mod refusal;
mod token;

pub use envelope::{Answer, Envelope, EnvelopeError};
#[doc(hidden)]
pub use envelope::{reply_again, request_again};
pub use link::{AskError, Link, Session, Traffic};
pub use message::{BatchKeys, ContributionId, MAX_MESSAGE_BYTES, Reply, Request, RoundId};
pub(crate) use message::{MAX_BATCHES, read_direction, read_place, read_values, write_place, write_values};
pub use refusal::{Refusal, Rule};
pub use token::{EnrolmentToken, Role};
pub(crate) use token::{PartyKey, read_name};

/// The place of an authority's ledger: how many records, and the hash of the last one. Whoever has seen it notices if
/// records are taken away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// Records so far.
    pub records: u64,
    /// Hash of the last one.
    pub hash: [u8; 32],
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.records)?;
        self.hash[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Head({self})")
    }
}

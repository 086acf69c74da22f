//! Sums over clients: what each contributes is under a one-time pad, and the authority opens the sum of several.
//!
//! This is multi-client functional encryption of sums with one-time labels (Chotard, Dufour-Sans, Gay, Phan and
//! Pointcheval, ASIACRYPT 2018, eprint 2017/989, in its information-theoretic form), or secret sharing between server and
//! authority: a contribution is `c_i = u_i + s_i mod 2^64`, the key of a sum is the sum of the `s_i` less noise, if there is
//! any. **Assumption:** ChaCha20 and HKDF-SHA-256 are pseudorandom functions. **Security:** a server that holds all
//! contributions and gets one key for a set of them learns their sum and nothing else: all but one of the `c_i` and their sum
//! are uniform and independent of the `u_i`. Every contribution has a pad of its own, by a random number that it carries,
//! and the authority puts each into one sum only, of at least three clients.
//!
//! A client that drops out before its contribution arrived is not in the sum; one that drops out afterwards is. Clients do not
//! talk to the authority for this, nor to each other.

mod model;

use std::io::{Read, Write};

use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};
use rand_core::{CryptoRng, Rng};
use sha2::{Digest, Sha256};

use crate::agreement::{Agreement, AgreementError, AgreementId, ContributionForm};
use crate::learn::counts::{Coordinates, CountsError, MAX_COORDINATES};
use crate::learn::federated::{FederatedError, MIN_CONTRIBUTORS};
use crate::learn::network::MAX_PARAMETERS;
use crate::learn::trainer::TrainError;
use crate::protocol::{AskError, ContributionId, EnrolmentToken, Link, PartyKey, Reply, Request, RoundId, Session};
use crate::wire::VERSION;

pub use model::{LocalRound, count_rows, counted_model, first_network, next_network, train_round};

/// Most integers of a contribution.
const MAX_LENGTH: usize = if MAX_PARAMETERS > MAX_COORDINATES { MAX_PARAMETERS + 1 } else { MAX_COORDINATES };

/// What a client contributes to a round, under a pad of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    agreement: AgreementId,
    id: ContributionId,
    words: Vec<u64>,
}

/// Why there is no contribution or no sum.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError<E = std::convert::Infallible> {
    /// The agreement is another.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// A contribution under another agreement.
    #[error("the contribution of '{client}' is under agreement {found}, wanted {wanted}")]
    OtherAgreement {
        /// Whose it is.
        client: String,
        /// Its agreement.
        found: AgreementId,
        /// That of the others.
        wanted: AgreementId,
    },
    /// Another number of integers than the model has.
    #[error("the contribution of '{client}' has {found} integers, wanted {wanted}")]
    Length {
        /// Whose it is.
        client: String,
        /// Integers given.
        found: usize,
        /// Integers of the model.
        wanted: usize,
    },
    /// A contribution to another round, or to one that began with another network.
    #[error("the contribution of '{client}' is to round {found}, wanted {wanted}")]
    OtherRound {
        /// Whose it is.
        client: String,
        /// Its round.
        found: RoundId,
        /// That of the others.
        wanted: RoundId,
    },
    /// Fewer clients than may be summed. Their contributions can wait for more.
    #[error("contributions of {found} clients; at least {least} are summed: keep them for a round with more")]
    TooFew {
        /// Clients.
        found: usize,
        /// The least.
        least: usize,
    },
    /// A sum that no contributions can have: one of them is damaged.
    #[error("integer {index} of the sum is {found}, beyond the {limit} that sums can reach: a contribution is damaged")]
    Range {
        /// Its place.
        index: usize,
        /// Its value.
        found: i64,
        /// The largest magnitude.
        limit: i64,
    },
    /// The authority does not answer.
    #[error(transparent)]
    Ask(#[from] AskError<E>),
    /// The model does not take the sum.
    #[error(transparent)]
    Federated(#[from] FederatedError),
    /// The model does not take the sum.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// A client's own training failed.
    #[error("training on the client's own samples: {0}")]
    Train(#[source] TrainError<std::convert::Infallible>),
}

/// Integers of a contribution under an agreement.
///
/// # Errors
/// [`AgreementError`] in other modes.
pub fn length(agreement: &Agreement) -> Result<usize, AgreementError> {
    match &agreement.aggregation()?.contribution {
        ContributionForm::Updates(updates) => Ok(updates.training.network.validate()?.parameters() + 1),
        ContributionForm::Counts(counts) => Ok(counts.form(agreement.data())?.len()),
    }
}

/// No sum of contributions exceeds this in magnitude, noise aside.
fn sum_bound(agreement: &Agreement, contributions: usize) -> Result<i64, AgreementError> {
    let aggregation = agreement.aggregation()?;
    match &aggregation.contribution {
        ContributionForm::Updates(updates) => Ok(updates.encoding(aggregation.max_clients)?.sum_bound()),
        // As many samples as can be numbered, and room for noise.
        ContributionForm::Counts(_) => Ok((contributions as i64) << 33),
    }
}

/// Adds the pad of a contribution.
pub(crate) fn add_pad(key: &PartyKey, id: &ContributionId, words: &mut [u64]) {
    let round = &id.round;
    let mut generator =
        key.generator(&[b"nightloom contribution", &round.number.to_le_bytes(), &round.network, &id.nonce]);
    words.iter_mut().for_each(|word| *word = word.wrapping_add(generator.next_u64()));
}

/// SHA-256 of what is in a sum.
pub(crate) fn digest(contributions: &[ContributionId]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for id in contributions {
        hash.update((id.client.len() as u64).to_le_bytes());
        hash.update(id.client.as_bytes());
        hash.update(id.round.number.to_le_bytes());
        hash.update(id.round.network);
        hash.update(id.nonce);
    }
    hash.finalize().into()
}

impl Contribution {
    /// Puts a client's integers under a pad.
    ///
    /// # Errors
    /// [`AggregateError`] if the agreement's model has another number of them.
    pub fn seal(
        token: &EnrolmentToken,
        round: RoundId,
        integers: &[i64],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, AggregateError> {
        let wanted = length(&token.agreement)?;
        if integers.len() != wanted {
            let client = token.name.clone();
            return Err(AggregateError::Length { client, found: integers.len(), wanted });
        }
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let id = ContributionId { client: token.name.clone(), round, nonce };
        let mut words: Vec<u64> = integers.iter().map(|&integer| integer as u64).collect();
        add_pad(&token.key, &id, &mut words);
        Ok(Self { agreement: token.agreement.id(), id, words })
    }

    /// Whose it is, and of which round.
    pub fn id(&self) -> &ContributionId {
        &self.id
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, sink: impl Write) -> std::io::Result<()> {
        let length = 32 + 4 + self.id.client.len() as u64 + 36 + 16 + 4 + 8 * self.words.len() as u64;
        let mut writer = Writer::new(sink);
        Header { kind: Kind::Contribution, version: VERSION, length }.write(&mut writer)?;
        writer.bytes(&self.agreement.0)?;
        self.id.write(&mut writer)?;
        writer.u32(self.words.len() as u32)?;
        self.words.iter().try_for_each(|word| writer.u64(*word))?;
        debug_assert_eq!(writer.written(), HEADER_BYTES + length);
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError`] for every way in which the bytes can be wrong.
    pub fn read(source: impl Read) -> Result<Self, DecodeError> {
        let limit = 256 + 8 * MAX_LENGTH as u64;
        let (_, mut reader) = Header::open(source, Kind::Contribution, VERSION, limit)?;
        let (agreement, id) = (AgreementId(reader.bytes()?), ContributionId::read(&mut reader)?);
        let words = read_words(&mut reader)?;
        reader.finish()?;
        Ok(Self { agreement, id, words })
    }
}

fn read_words(reader: &mut Reader<impl Read>) -> Result<Vec<u64>, DecodeError> {
    let count = reader.count("integers", 8, MAX_LENGTH)?;
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(reader.u64()?);
    }
    Ok(words)
}

/// The sum of contributions of at least three clients to a round.
///
/// # Errors
/// [`AggregateError`] if there are too few, one is of something else, or the authority refuses.
pub fn open_sum<L: Link>(
    session: &mut Session<L>,
    round: RoundId,
    contributions: &[Contribution],
) -> Result<Vec<i64>, AggregateError<L::Error>> {
    let agreement = session.token().agreement.clone();
    let wanted = length(&agreement)?;
    for contribution in contributions {
        let client = || contribution.id.client.clone();
        if contribution.agreement != agreement.id() {
            let (found, wanted) = (contribution.agreement, agreement.id());
            return Err(AggregateError::OtherAgreement { client: client(), found, wanted });
        }
        if contribution.id.round != round {
            let (found, wanted) = (contribution.id.round, round);
            return Err(AggregateError::OtherRound { client: client(), found, wanted });
        }
        if contribution.words.len() != wanted {
            return Err(AggregateError::Length { client: client(), found: contribution.words.len(), wanted });
        }
    }
    let mut clients: Vec<&str> = contributions.iter().map(|contribution| &*contribution.id.client).collect();
    clients.sort_unstable();
    clients.dedup();
    if clients.len() < MIN_CONTRIBUTORS {
        return Err(AggregateError::TooFew { found: clients.len(), least: MIN_CONTRIBUTORS });
    }
    let ids = contributions.iter().map(|contribution| contribution.id.clone()).collect();
    let Reply::SumKeys(keys) = session.ask(&Request::SumKeys { contributions: ids })? else {
        return Err(AskError::OtherReply { wanted: "the sum of pads" }.into());
    };
    if keys.len() != wanted {
        return Err(AskError::OtherReply { wanted: "a word for each integer" }.into());
    }
    let mut sums: Vec<u64> = keys.iter().map(|key| key.wrapping_neg()).collect();
    for contribution in contributions {
        sums.iter_mut().zip(&contribution.words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    let (sums, limit): (Vec<i64>, i64) =
        (sums.into_iter().map(|sum| sum as i64).collect(), sum_bound(&agreement, contributions.len())?);
    match sums.iter().position(|sum| sum.unsigned_abs() > limit.unsigned_abs()) {
        Some(index) => Err(AggregateError::Range { index, found: sums[index], limit }),
        None => Ok(sums),
    }
}

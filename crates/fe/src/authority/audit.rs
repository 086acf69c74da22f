//! What the issued keys give away, from the ledger alone.

use std::path::Path;

use serde::Serialize;

use super::file::{self, KeeperError};
use super::{Ledger, replay};
use crate::agreement::{ContributionForm, Direction, Labels, TargetForm};
use crate::learn::federated::MIN_CONTRIBUTORS;
use crate::learn::privacy::Accountant;
use crate::learn::trainer::Batches;
use crate::mode::Mode;
use crate::protocol::Head;

/// What the keys of a ledger give away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Audit {
    /// The task.
    pub task: String,
    /// The mode.
    pub mode: Mode,
    /// Where the ledger stands, `records:hash`. Whoever writes it down notices if records are taken away later.
    pub head: String,
    /// Bytes of a torn last record, on whose account nothing was issued.
    pub torn_bytes: u64,
    /// Parties with tokens.
    pub parties: usize,
    /// Each dataset.
    pub datasets: Vec<DatasetAudit>,
    /// Sums that were opened, and the fewest clients in one.
    pub sums: usize,
    /// The fewest clients in a sum.
    pub fewest_in_a_sum: Option<usize>,
    /// The privacy loss of a sample of the client with the most contributions in sums: by the authority's noise on counts, or
    /// by that of the client's training; absent without noise, and where clients draw batches at a rate of their own.
    pub sum_epsilon: Option<f64>,
    /// The probability for which privacy losses may be larger than stated.
    pub delta: f64,
}

/// What is open of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetAudit {
    /// The client.
    pub client: String,
    /// The dataset.
    pub dataset: String,
    /// Its samples.
    pub samples: u32,
    /// Its batches.
    pub batches: u32,
    /// Batches for which keys were issued.
    pub opened_batches: u32,
    /// The batch of which most is open; none if nothing is, or nothing is counted.
    pub worst: Option<BatchAudit>,
    /// The part of all unknown values that as many equations determine, in the worst batch.
    pub determined: Option<f64>,
    /// What can be computed exactly.
    pub recoverable: Recoverable,
    /// Keys for single targets.
    pub operand_keys: u64,
    /// The privacy loss of a sample against the server; infinite (absent) unless everything opened of it is noisy.
    pub epsilon: Option<f64>,
    /// The privacy loss of a label; absent where labels are open.
    pub label_epsilon: Option<f64>,
}

/// What can be computed exactly from what was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recoverable {
    /// Nothing has been opened.
    Nothing,
    /// No sample, by linear algebra; what else is known of samples may narrow them down.
    NoSample,
    /// Everything: equations are as many as values.
    EverySample,
    /// Everything, presumably: the mode does not count.
    Uncounted,
}

/// What is open of a batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchAudit {
    /// The batch, from 0.
    pub batch: u32,
    /// Products of the first layer.
    pub forward: DirectionAudit,
    /// The first layer's gradient.
    pub gradient: DirectionAudit,
}

/// What is open in a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DirectionAudit {
    /// Independent functionals.
    pub rank: usize,
    /// The largest rank that the budget allows.
    pub limit: usize,
    /// By how many independent functionals everything would be determined: the values of a sample, or the samples of a batch, or
    /// fewer where public layers make more values of a sample than it has.
    pub unknowns: f64,
    /// Coordinates of a functional.
    pub dimension: usize,
    /// Distinct queries.
    pub queries: usize,
    /// Coordinates of the sparsest row of the first reduced form; another combination may have fewer.
    pub sparsest: Option<usize>,
}

impl Audit {
    /// Reads a ledger and says what it gives away, with privacy losses at `delta`.
    ///
    /// # Errors
    /// [`KeeperError`] if there is none, or it is damaged.
    pub fn of_file(path: &Path, delta: f64) -> Result<Self, KeeperError> {
        let records = file::read(path)?;
        let wrong = |source| KeeperError::Chain { path: path.to_owned(), source };
        let ledger = replay(&records).map_err(wrong)?;
        Ok(Self::of(&ledger, records.chain.head(), records.torn, delta))
    }

    /// What a ledger gives away.
    pub fn of(ledger: &Ledger, head: Head, torn_bytes: u64, delta: f64) -> Self {
        let agreement = ledger.agreement();
        let clients = |sum: &super::Sum| {
            let mut clients: Vec<&str> = sum.contributions.iter().map(|one| &*one.client).collect();
            clients.sort_unstable();
            clients.dedup();
            clients.len()
        };
        Self {
            task: agreement.spec().task.clone(),
            mode: agreement.mode(),
            head: head.to_string(),
            torn_bytes,
            parties: ledger.parties().count(),
            datasets: ledger
                .datasets()
                .map(|(client, dataset, samples)| of_dataset(ledger, client, dataset, samples, delta))
                .collect(),
            sums: ledger.sums().len(),
            fewest_in_a_sum: ledger.sums().iter().map(clients).min(),
            sum_epsilon: sum_epsilon(ledger, delta),
            delta,
        }
    }
}

/// The loss of one sample of the client who is in most sums, against the server.
fn sum_epsilon(ledger: &Ledger, delta: f64) -> Option<f64> {
    let aggregation = ledger.agreement().aggregation().ok()?;
    // Noise over what one sample can change, and how often it is in a contribution.
    let mechanism = |sum: &super::Sum| match &aggregation.contribution {
        ContributionForm::Counts(_) => Some((sum.noise, 1)),
        ContributionForm::Updates(updates) => match updates.training.batches {
            Batches::Fixed { .. } => {
                updates.training.privacy.map(|privacy| (privacy.noise_multiplier, updates.training.epochs.into()))
            }
            // The rate depends on how many samples a client has, which the authority does not know.
            Batches::Poisson { .. } => None,
        },
    };
    let mut of_clients = std::collections::BTreeMap::<&str, Option<Accountant>>::new();
    for sum in ledger.sums() {
        // A sum without noise protects nobody any more.
        let mechanism = mechanism(sum).filter(|(noise, _)| *noise > 0.0);
        for contribution in &sum.contributions {
            let accountant = of_clients.entry(&contribution.client).or_insert_with(|| Some(Accountant::new()));
            *accountant = accountant.take().zip(mechanism).map(|(mut accountant, (noise, steps))| {
                accountant.add(1.0, noise, steps);
                accountant
            });
        }
    }
    let losses = of_clients.into_values().map(|found| found.map(|accountant| accountant.epsilon(delta).epsilon));
    losses.reduce(|a, b| Some(a?.max(b?))).flatten()
}

fn of_dataset(
    ledger: &Ledger,
    client: &str,
    dataset: crate::agreement::DatasetId,
    samples: u32,
    delta: f64,
) -> DatasetAudit {
    let agreement = ledger.agreement();
    let size = match agreement.sealed() {
        Ok(sealed) => sealed.layout.batch(),
        Err(_) => 1,
    };
    let batches = samples.div_ceil(size as u32);
    let (mut opened_batches, mut uncounted) = (0, false);
    let mut worst: Option<(f64, BatchAudit)> = None;
    let mut epsilon = Some(0.0f64);
    for batch in 0..batches {
        let spans = Direction::ALL.map(|direction| (direction, ledger.span(client, dataset, batch, direction)));
        if spans.iter().all(|(_, span)| span.is_none()) {
            continue;
        }
        opened_batches += 1;
        let of_batch = (samples as usize - batch as usize * size).min(size);
        let mut accountant = Some(Accountant::new());
        let [forward, gradient] = spans.map(|(direction, span)| {
            // Equations of a functional, and unknowns of a batch, of which a functional has as many coordinates.
            let (limit, unknowns) = match agreement.sealed() {
                Ok(sealed) => (sealed.largest_rank(direction, of_batch), sealed.unknowns_of(direction, of_batch)),
                Err(_) => (0, 0.0),
            };
            let Some(span) = span else { return DirectionAudit { limit, unknowns, ..DirectionAudit::default() } };
            uncounted |= span.echelon.is_none();
            for noise in &span.noises {
                accountant = accountant.take().filter(|_| *noise > 0.0);
                if let Some(accountant) = &mut accountant {
                    accountant.add(1.0, *noise, 1);
                }
            }
            let echelon = span.echelon.as_ref();
            DirectionAudit {
                rank: echelon.map_or(0, |echelon| echelon.rank()),
                limit,
                unknowns,
                dimension: echelon.map_or(0, |echelon| echelon.dimension()),
                queries: span.queries.len(),
                sparsest: echelon.and_then(|echelon| echelon.sparsest()).map(|(entries, _)| entries),
            }
        });
        // A sample is in one batch, so batches do not add up.
        epsilon = epsilon.zip(accountant).map(|(most, this)| most.max(this.epsilon(delta).epsilon));
        let part = |audit: &DirectionAudit| (audit.rank as f64 / audit.unknowns.max(1.0)).min(1.0);
        let determined = 1.0 - (1.0 - part(&forward)) * (1.0 - part(&gradient));
        if worst.as_ref().is_none_or(|(most, _)| determined > *most) {
            worst = Some((determined, BatchAudit { batch, forward, gradient }));
        }
    }
    let operand_keys = ledger.operands(client, dataset).values;
    let labels = agreement.opening().map(|opening| opening.labels);
    let recoverable = match &worst {
        _ if agreement.mode() == Mode::Delegate => Recoverable::Nothing,
        None => Recoverable::Nothing,
        Some(_) if uncounted => Recoverable::Uncounted,
        Some((determined, _)) if *determined >= 1.0 => Recoverable::EverySample,
        Some(_) => Recoverable::NoSample,
    };
    let counted = worst.filter(|_| !uncounted);
    DatasetAudit {
        client: client.to_owned(),
        dataset: dataset.to_string(),
        samples,
        batches,
        opened_batches,
        determined: counted.as_ref().map(|(determined, _)| *determined),
        worst: counted.map(|(_, batch)| batch),
        recoverable,
        operand_keys,
        epsilon,
        label_epsilon: match (labels, &agreement.data().targets) {
            (Ok(Labels::Randomized { epsilon }), TargetForm::Classes(_)) => Some(epsilon),
            _ => None,
        },
    }
}

impl Audit {
    /// The least number of clients whose sum is opened.
    pub const LEAST_IN_A_SUM: usize = MIN_CONTRIBUTORS;
}

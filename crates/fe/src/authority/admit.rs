//! Which requests are answered, and what the ledger remembers of them.

use std::collections::BTreeSet;
use std::fmt::Display;

use ndarray::Array2;
use rand_core::CryptoRng;

use super::budget::{Excess, SPARSE, Span, rule};
use super::{Authority, Entry, Issue, Outcome, Query, noise};
use crate::agreement::{ContributionForm, DatasetId, Direction, Place, Sealed};
use crate::learn::Seed;
use crate::learn::federated::MIN_CONTRIBUTORS;
use crate::mode::Mode;
use crate::protocol::{ContributionId, Envelope, Refusal, Reply, Request, Role, RoundId};
use crate::wire;
use crate::{FeboRequest, Functionals};

/// An answer, and what must be on disk before it.
type Admitted = Result<(Option<Entry>, Outcome), Box<Refusal>>;

impl Authority {
    pub(super) fn consider(&mut self, envelope: Envelope, role: Role, rng: &mut impl CryptoRng) -> Admitted {
        let Envelope { name, session, counter, request, .. } = envelope;
        if let Request::Open { seen } = request {
            if let Some(seen) = seen.filter(|seen| !self.chain.passed(seen)) {
                let found = self.head().records;
                return Err(Refusal::RolledBack { found, seen: seen.records }.into());
            }
            let session = self.sessions.open(&name, rng);
            return Ok((None, Outcome::Ready(Reply::Opened { session })));
        }
        self.sessions.count(&session, &name, counter)?;
        match request {
            Request::Open { .. } => unreachable!("answered above"),
            Request::Register { dataset, samples } => self.register(role, name, dataset, samples),
            Request::EncryptionKeys { dataset, first, count } => {
                self.check_role(role, Role::Client)?;
                self.sealed()?;
                let last = first.saturating_add(count.saturating_sub(1));
                self.samples_of(&name, dataset, last)?;
                Ok((None, Outcome::EncryptionKeys { client: name, dataset, first, count }))
            }
            Request::FunctionKeys { client, dataset, batch, direction, values } => {
                match self.agreement().mode() {
                    Mode::Delegate => {
                        self.check_role(role, Role::Client)?;
                        if client != name {
                            return Err(Refusal::UnknownDataset { client, dataset: dataset.to_string() }.into());
                        }
                    }
                    _ => self.check_role(role, Role::Server)?,
                }
                self.query(client, dataset, batch, direction, &values)
            }
            Request::OperandKeys { client, dataset, batch, request } => {
                self.check_role(role, Role::Server)?;
                self.operands(client, dataset, batch, &request)
            }
            Request::SumKeys { contributions } => {
                self.check_role(role, Role::Server)?;
                self.sum(contributions)
            }
        }
    }

    fn check_role(&self, found: Role, wanted: Role) -> Result<(), Box<Refusal>> {
        if found == wanted { Ok(()) } else { Err(Refusal::Role { found, wanted }.into()) }
    }

    fn sealed(&self) -> Result<&Sealed, Box<Refusal>> {
        self.agreement().sealed().map_err(|_| Refusal::Mode { found: self.agreement().mode() }.into())
    }

    /// The samples of a batch.
    fn samples_of(&self, client: &str, dataset: DatasetId, batch: u32) -> Result<usize, Box<Refusal>> {
        let unknown = || Refusal::UnknownDataset { client: client.to_owned(), dataset: dataset.to_string() };
        let samples = self.ledger.samples(client, dataset).ok_or_else(unknown)? as usize;
        let size = self.sealed()?.layout.batch();
        let first = batch as usize * size;
        if first >= samples {
            let batches = samples.div_ceil(size) as u32;
            return Err(Refusal::UnknownBatch { dataset: dataset.to_string(), found: batch, batches }.into());
        }
        Ok(size.min(samples - first))
    }

    fn register(&self, role: Role, client: String, dataset: DatasetId, samples: u32) -> Admitted {
        self.check_role(role, Role::Client)?;
        self.sealed()?;
        let of_client = self.ledger.datasets().filter(|(name, found, _)| *name == client && *found != dataset);
        let ready = Outcome::Ready(Reply::Registered { others: of_client.count() as u32 });
        match self.ledger.samples(&client, dataset) {
            Some(wanted) if wanted != samples => {
                Err(Refusal::OtherSamples { dataset: dataset.to_string(), found: samples, wanted }.into())
            }
            Some(_) => Ok((None, ready)),
            None if samples == 0 => Err(Refusal::Query { problem: "a dataset without samples".to_owned() }.into()),
            None => Ok((Some(Entry::Registered { client, dataset, samples }), ready)),
        }
    }

    fn query(
        &self,
        client: String,
        dataset: DatasetId,
        batch: u32,
        direction: Direction,
        values: &Array2<i64>,
    ) -> Admitted {
        let (samples, sealed) = (self.samples_of(&client, dataset, batch)?, self.sealed()?);
        let Some(part) = sealed.layout.part(direction) else {
            return Err(Refusal::Mode { found: self.agreement().mode() }.into());
        };
        let unfit = |error: &dyn Display| Box::new(Refusal::Query { problem: error.to_string() });
        let functionals = sealed.functionals(direction, values.view(), samples).map_err(|error| unfit(&error))?;
        let digest = noise::digest(direction, values.view());
        let multiplier = self.noise_multiplier(direction);
        let span = self.ledger.span(&client, dataset, batch, direction);
        let known = span.is_some_and(|span| span.queries.contains(&digest));
        let dimension = sealed.layout.dimension(part);
        let entry = if known {
            None
        } else {
            if multiplier > 0.0 {
                self.check_number(&client, dataset, batch, direction, functionals.len(), samples)?;
            }
            let (mut counted, mut rows) = (0, Vec::new());
            if self.agreement().mode() == Mode::Guarded {
                counted = dimension;
                rows = self.admit(&client, dataset, batch, direction, &functionals, samples)?;
            }
            Some(Entry::Issued(Issue {
                client: client.clone(),
                dataset,
                batch,
                direction,
                units: functionals.len() as u32,
                digest,
                noise: multiplier,
                dimension: counted as u32,
                rows,
            }))
        };
        let noise = if multiplier > 0.0 {
            let data = self.agreement().data_spec(samples).map_err(|error| unfit(&error))?;
            let deviation = multiplier * noise::sensitivity(direction, values.view(), &data);
            // Nothing that is asked for may turn the noise off.
            if !(deviation > 0.0 && deviation <= noise::MAX_DEVIATION) && values.iter().any(|value| *value != 0) {
                let problem =
                    format!("noise of deviation {deviation}, wanted more than 0, at most {}", noise::MAX_DEVIATION);
                return Err(Refusal::Query { problem }.into());
            }
            Some((digest, deviation))
        } else {
            None
        };
        let vectors = sealed.layout.vector_count(part, samples);
        let query = Query { client, dataset, batch, direction, functionals, vectors, noise };
        Ok((entry, Outcome::FunctionKeys(Box::new(query))))
    }

    /// Noise averages away when the same is asked in other company, so functionals with noise count every time.
    fn check_number(
        &self,
        client: &str,
        dataset: DatasetId,
        batch: u32,
        direction: Direction,
        functionals: usize,
        samples: usize,
    ) -> Result<(), Box<Refusal>> {
        let limit = self.sealed()?.largest_rank(direction, samples);
        let asked = self.ledger.span(client, dataset, batch, direction).map_or(0, |span| span.functionals);
        let rank = asked.saturating_add(functionals);
        if rank <= limit {
            return Ok(());
        }
        let (client, dataset) = (client.to_owned(), dataset.to_string());
        Err(Refusal::Budget { client, dataset, batch, rule: rule(direction), rank, limit }.into())
    }

    fn noise_multiplier(&self, direction: Direction) -> f64 {
        let noise = self.agreement().opening().ok().and_then(|opening| opening.noise);
        noise.map_or(0.0, |noise| match direction {
            Direction::Forward => noise.forward,
            Direction::Gradient => noise.gradient,
        })
    }

    /// The functionals that are new, if the budget has room for them.
    fn admit(
        &self,
        client: &str,
        dataset: DatasetId,
        batch: u32,
        direction: Direction,
        functionals: &Functionals,
        samples: usize,
    ) -> Result<Vec<i32>, Box<Refusal>> {
        let dimension = functionals.dimension();
        let mut rows = vec![0; functionals.len() * dimension];
        for (row, out) in functionals.rows().zip(rows.chunks_exact_mut(dimension)) {
            row.for_each(|(at, weight)| out[at] = weight);
        }
        let limit = self.sealed()?.largest_rank(direction, samples);
        let nothing = Span::default();
        let span = self.ledger.span(client, dataset, batch, direction).unwrap_or(&nothing);
        // The same for the same batch after a restart, and not known to who asks.
        let place = Place { client, dataset, batch }.bytes();
        let order = Seed::new(*self.seed.subkey(&[b"sparsity", &[direction as u8], &place]));
        span.admits(dimension, &rows, limit, &order).map_err(|excess| {
            let (client, dataset) = (client.to_owned(), dataset.to_string());
            Box::new(match excess {
                Excess::Rank { rank, limit } => {
                    Refusal::Budget { client, dataset, batch, rule: rule(direction), rank, limit }
                }
                Excess::Sparse { found, coordinate } => {
                    Refusal::Sparse { client, dataset, batch, direction, found, coordinate, limit: SPARSE }
                }
            })
        })
    }

    fn operands(&self, client: String, dataset: DatasetId, batch: u32, request: &[u8]) -> Admitted {
        self.samples_of(&client, dataset, batch)?;
        if self.agreement().mode() != Mode::Cryptonn {
            return Err(Refusal::Mode { found: self.agreement().mode() }.into());
        }
        // One key opens its target, whatever the operand: there is nothing to count, only to refuse.
        let Some(febo) = &self.sealed()?.febo else {
            return Err(Refusal::Mode { found: self.agreement().mode() }.into());
        };
        let request: FeboRequest = wire::read(request, febo, request.len() as u64)
            .map_err(|error| Refusal::Query { problem: error.to_string() })?;
        let values = request.operands().len() as u32;
        Ok((Some(Entry::Operands { client, dataset, batch, values }), Outcome::OperandKeys(Box::new(request))))
    }

    fn sum(&self, mut contributions: Vec<ContributionId>) -> Admitted {
        let Ok(aggregation) = self.agreement().aggregation() else {
            return Err(Refusal::Mode { found: self.agreement().mode() }.into());
        };
        let limit = aggregation.max_clients as usize;
        if contributions.len() > limit {
            return Err(Refusal::TooMany { found: contributions.len(), limit }.into());
        }
        let (noise, deviation) = match &aggregation.contribution {
            ContributionForm::Updates(_) => (0.0, 0.0),
            ContributionForm::Counts(counts) => {
                let noise = counts.noise.unwrap_or(0.0);
                // One sample more or less changes so many counts by one.
                (noise, noise * libm::sqrt(counts.ones(self.agreement().data()) as f64))
            }
        };
        // The same in another order is the same sum.
        contributions.sort_unstable();
        // The same sum again, because the answer was lost: the same key, with the same noise.
        if self.ledger.sums().iter().any(|sum| sum.contributions == contributions) {
            return Ok((None, Outcome::SumKeys { contributions, deviation }));
        }
        // What clients contribute to different rounds are changes of different networks.
        if let Some(first) = contributions.first()
            && let Some(other) = contributions.iter().find(|id| id.round != first.round)
        {
            let (found, wanted) = (other.round.to_string(), first.round.to_string());
            return Err(Refusal::Rounds { found, wanted }.into());
        }
        let mut seen = BTreeSet::new();
        for ContributionId { client, round: RoundId { number: round, .. }, .. } in &contributions {
            if self.ledger.role(client) != Some(Role::Client) {
                return Err(Refusal::UnknownClient { client: client.clone() }.into());
            }
            if self.ledger.is_summed(client, *round) || !seen.insert((client, round)) {
                return Err(Refusal::Used { client: client.clone(), round: *round }.into());
            }
        }
        let mut clients: Vec<&String> = seen.iter().map(|(client, _)| *client).collect();
        clients.dedup();
        if clients.len() < MIN_CONTRIBUTORS {
            return Err(Refusal::TooFew { found: clients.len(), least: MIN_CONTRIBUTORS }.into());
        }
        let entry = Entry::Summed { contributions: contributions.clone(), noise };
        Ok((Some(entry), Outcome::SumKeys { contributions, deviation }))
    }
}

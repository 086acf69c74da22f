use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Echelon;
use super::budget::Span;
use super::entry::{Entry, Issue};
use crate::agreement::{Agreement, DatasetId, Direction};
use crate::protocol::{ContributionId, Role};

/// What the entries of a ledger amount to.
pub struct Ledger {
    agreement: Arc<Agreement>,
    parties: BTreeMap<String, Role>,
    /// Samples of each dataset, by client.
    datasets: BTreeMap<(String, DatasetId), u32>,
    spans: HashMap<(String, DatasetId, u32, Direction), Span>,
    /// Targets of each batch whose keys were issued, and how often.
    operands: BTreeMap<(String, DatasetId), Operands>,
    /// Contributions that are in a sum.
    summed: BTreeSet<(String, u32)>,
    sums: Vec<Sum>,
}

/// Keys for single targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    /// Requests.
    pub requests: u64,
    /// Values that they opened, each time they did.
    pub values: u64,
}

/// A sum that was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Of these.
    pub contributions: Vec<ContributionId>,
    /// Deviation of its noise over what one sample can change; 0 without noise.
    pub noise: f64,
}

impl Ledger {
    /// The state after the first entry.
    ///
    /// # Errors
    /// A text that says why the entry cannot be the first.
    pub fn founded(entry: &Entry) -> Result<Self, String> {
        let Entry::Founded { agreement } = entry else {
            return Err("the first record must say what was agreed on".to_owned());
        };
        let agreement = Agreement::from_json(agreement).map_err(|error| error.to_string())?;
        Ok(Self::of(Arc::new(agreement)))
    }

    pub(super) fn of(agreement: Arc<Agreement>) -> Self {
        Self {
            agreement,
            parties: BTreeMap::new(),
            datasets: BTreeMap::new(),
            spans: HashMap::new(),
            operands: BTreeMap::new(),
            summed: BTreeSet::new(),
            sums: Vec::new(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// A text that says why it cannot come after those before.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Founded { .. } => return Err("a second beginning".to_owned()),
            Entry::Enrolled { role, name } => {
                if let Some(before) = self.parties.insert(name.clone(), *role) {
                    return Err(format!("{name} is enrolled twice, first as a {before}"));
                }
            }
            Entry::Registered { client, dataset, samples } => {
                if self.parties.get(client) != Some(&Role::Client) {
                    return Err(format!("a dataset of {client}, who is no client"));
                }
                if self.datasets.insert((client.clone(), *dataset), *samples).is_some() {
                    return Err(format!("dataset {dataset} of {client} is registered twice"));
                }
            }
            Entry::Issued(issue) => self.issue(issue)?,
            Entry::Operands { client, dataset, values, .. } => {
                self.samples(client, *dataset).ok_or("targets of a dataset that is not registered")?;
                let operands = self.operands.entry((client.clone(), *dataset)).or_default();
                operands.requests += 1;
                operands.values += u64::from(*values);
            }
            Entry::Summed { contributions, noise } => {
                for contribution in contributions {
                    if !self.summed.insert((contribution.client.clone(), contribution.round.number)) {
                        return Err(format!(
                            "{} is twice in sums of round {}",
                            contribution.client, contribution.round
                        ));
                    }
                }
                self.sums.push(Sum { contributions: contributions.clone(), noise: *noise });
            }
        }
        Ok(())
    }

    fn issue(&mut self, issue: &Issue) -> Result<(), String> {
        self.samples(&issue.client, issue.dataset).ok_or("keys for a dataset that is not registered")?;
        let place = (issue.client.clone(), issue.dataset, issue.batch, issue.direction);
        let span = self.spans.entry(place).or_default();
        let dimension = issue.dimension as usize;
        if dimension > 0 {
            let echelon = span.echelon.get_or_insert_with(|| Echelon::new(dimension));
            if echelon.dimension() != dimension {
                return Err(format!("functionals of {dimension} coordinates after such of {}", echelon.dimension()));
            }
            for row in issue.rows.chunks_exact(dimension) {
                if !echelon.insert(row) {
                    return Err("a functional that was in the span already".to_owned());
                }
            }
        }
        if span.queries.insert(issue.digest) {
            span.noises.push(issue.noise);
            span.functionals += issue.units as usize;
        }
        Ok(())
    }

    /// What was agreed on.
    pub fn agreement(&self) -> &Arc<Agreement> {
        &self.agreement
    }

    /// Who is enrolled, by name.
    pub fn parties(&self) -> impl Iterator<Item = (&str, Role)> {
        self.parties.iter().map(|(name, role)| (&**name, *role))
    }

    /// What a party may do, if it is enrolled.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.parties.get(name).copied()
    }

    /// All datasets: client, dataset, samples.
    pub fn datasets(&self) -> impl Iterator<Item = (&str, DatasetId, u32)> {
        self.datasets.iter().map(|((client, dataset), samples)| (&**client, *dataset, *samples))
    }

    /// Samples of a dataset, if it is registered.
    pub fn samples(&self, client: &str, dataset: DatasetId) -> Option<u32> {
        self.datasets.get(&(client.to_owned(), dataset)).copied()
    }

    /// What was issued for a batch in a direction, if anything.
    pub fn span(&self, client: &str, dataset: DatasetId, batch: u32, direction: Direction) -> Option<&Span> {
        self.spans.get(&(client.to_owned(), dataset, batch, direction))
    }

    /// Keys for single targets of a dataset.
    pub fn operands(&self, client: &str, dataset: DatasetId) -> Operands {
        self.operands.get(&(client.to_owned(), dataset)).copied().unwrap_or_default()
    }

    /// Sums that were opened, in order.
    pub fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// Whether what a client contributed to a round is in a sum.
    pub fn is_summed(&self, client: &str, round: u32) -> bool {
        self.summed.contains(&(client.to_owned(), round))
    }
}

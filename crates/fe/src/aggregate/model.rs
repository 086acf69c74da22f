//! What clients contribute to a model, and what becomes of the sums.

use std::ops::ControlFlow;

use super::AggregateError;
use crate::agreement::{
    Agreement, AgreementError, ContributionForm, Counts, Encoding, TargetForm, TrainedCounts, Updates,
};
use crate::learn::counts::count;
use crate::learn::federated::{apply, update};
use crate::learn::privacy::Accountant;
use crate::learn::trainer::Metrics;
use crate::learn::{Dataset, Float, Network, Seed, Trainer};

/// What a client makes of its samples in a round of federated averaging.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRound {
    /// What is summed.
    pub integers: Vec<i64>,
    /// The weight among clients.
    pub weight: u32,
    /// How its own training went.
    pub training: Metrics,
    /// What the round costs one of its samples, against everybody; none without privacy.
    pub accountant: Option<Accountant>,
}

fn updates(agreement: &Agreement) -> Result<(&Updates, u32), AgreementError> {
    let aggregation = agreement.aggregation()?;
    match &aggregation.contribution {
        ContributionForm::Updates(updates) => Ok((updates, aggregation.max_clients)),
        ContributionForm::Counts(_) => Err(AgreementError::Kind { wanted: "counts, not updates of a network" }),
    }
}

fn counts(agreement: &Agreement) -> Result<&Counts, AgreementError> {
    match &agreement.aggregation()?.contribution {
        ContributionForm::Counts(counts) => Ok(counts),
        ContributionForm::Updates(_) => Err(AgreementError::Kind { wanted: "updates of a network, not counts" }),
    }
}

/// The network before the first round.
///
/// # Errors
/// [`AgreementError`] if the agreement has no rounds.
pub fn first_network(agreement: &Agreement, seed: &Seed) -> Result<Network, AgreementError> {
    let (updates, _) = updates(agreement)?;
    Ok(Network::random(&updates.training.network.validate()?, seed))
}

/// A client's part of a round: trains the common network on its own samples, and encodes what changed. The seed must be
/// fresh and stay secret: it gives the noise.
///
/// # Errors
/// [`AggregateError`] if samples or network are not those agreed on, or training fails.
pub fn train_round(
    agreement: &Agreement,
    network: &Network,
    data: &Dataset,
    seed: Seed,
) -> Result<LocalRound, AggregateError> {
    let (updates, max_clients) = updates(agreement)?;
    agreement.check_dataset(data)?;
    let spec = updates.training.clone();
    let trainer = Trainer::with_network(spec, data.len(), seed, network.clone());
    let mut trainer = trainer.map_err(AgreementError::Training)?;
    let mut first = Float::new(network.architecture(), data);
    trainer.run(&mut first, |_| ControlFlow::Continue(())).map_err(AggregateError::Train)?;
    let weight = updates.weight(data.len());
    let change = update(network, trainer.network())?;
    let integers = updates.encoding(max_clients)?.encode(&change, weight)?;
    Ok(LocalRound { integers, weight, training: trainer.progress().total(), accountant: trainer.accountant() })
}

/// The network after a round, from the sums of what clients contributed to it.
///
/// # Errors
/// [`AggregateError`] if the sums are those of another model.
pub fn next_network(agreement: &Agreement, network: &Network, sums: &[i64]) -> Result<Network, AggregateError> {
    let (updates, max_clients) = updates(agreement)?;
    let mean = updates.encoding(max_clients)?.decode(sums)?;
    Ok(apply(network, &mean)?)
}

/// A client's counts of its own rows.
///
/// # Errors
/// [`AggregateError`] if the rows are not whole and finite, or a label is none of the classes.
pub fn count_rows(agreement: &Agreement, rows: &[f64], labels: &[usize]) -> Result<Vec<i64>, AggregateError> {
    let (counts, data) = (counts(agreement)?, agreement.data());
    let (Encoding::Bins(bins), TargetForm::Classes(classes)) = (&data.encoding, &data.targets) else {
        return Err(AgreementError::Kind { wanted: "bins of every column, and classes" }.into());
    };
    let width = data.input.len();
    if labels.is_empty() || rows.len() != labels.len().saturating_mul(width) {
        return Err(AgreementError::Values { found: rows.len(), wanted: data.input }.into());
    }
    if let Some(index) = rows.iter().position(|value| !value.is_finite()) {
        let (sample, value, wanted) = (index / width, index % width, "a finite number");
        return Err(AgreementError::Range { sample, value, found: rows[index], wanted }.into());
    }
    if let Some(&label) = labels.iter().find(|label| **label >= classes.len()) {
        return Err(AgreementError::Targets { found: label.saturating_add(1), wanted: classes.len() }.into());
    }
    let of_rows: Vec<Vec<usize>> = rows.chunks_exact(width).map(|row| bins.of(row)).collect();
    let samples = of_rows.iter().map(Vec::as_slice).zip(labels.iter().copied());
    Ok(count(&counts.form(data)?, samples))
}

/// The model of the sums of all counts.
///
/// # Errors
/// [`AgreementError`] if there are not as many as the model has.
pub fn counted_model(agreement: &Agreement, sums: &[i64]) -> Result<TrainedCounts, AgreementError> {
    let counts = counts(agreement)?;
    counts.form(agreement.data())?.train(sums, counts.smoothing)
}

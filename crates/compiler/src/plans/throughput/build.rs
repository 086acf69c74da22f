//! From a sketch with its scales to the program.

use nightloom_he::{CkksParams, Level, Scale};
use nightloom_program::{Op, Program, Source, ValueId};
use nightloom_ring::{IntegerMatrix, RingError};

use super::PlanError;
use super::scales::{LogScales, Targets};
use super::sketch::{Sketch, Step};
use crate::network::{Network, Stage};

/// The exact scales of every step's result and of every linear step's weights by source.
pub(super) struct Scales {
    results: Vec<Scale>,
    weights: Vec<Vec<Scale>>,
}

impl Scales {
    /// The scales of the input and of affine stages are powers of two, all others follow.
    pub fn new(sketch: &Sketch, params: &CkksParams, targets: &Targets) -> Self {
        let mut scales = Self { results: Vec::new(), weights: Vec::new() };
        for step in &sketch.steps {
            let mut weights = Vec::new();
            let result = match step {
                Step::Input => Scale::power_of_two(targets[0]),
                Step::Linear { stage, sources } => {
                    let target = Scale::power_of_two(targets[1 + stage]);
                    weights.extend(sources.iter().map(|source| target.ratio(&scales.results[*source])));
                    target
                }
                Step::Square { source } => scales.results[*source].square(),
                Step::Multiply { left, right } => scales.results[*left].mul(&scales.results[*right]),
                Step::Relinearize { source } | Step::DropTo { source, .. } => scales.results[*source].clone(),
                Step::Rescale { source } | Step::RelinearizeRescale { source } => {
                    let prime = params.primes()[usize::from(level(sketch.types[*source].used, params).0)];
                    scales.results[*source].divide_by(prime)
                }
            };
            scales.results.push(result);
            scales.weights.push(weights);
        }
        scales
    }

    pub fn logarithms(&self) -> LogScales {
        let log2 = |scales: &Vec<Scale>| scales.iter().map(Scale::log2).collect();
        LogScales { results: log2(&self.results), weights: self.weights.iter().map(log2).collect() }
    }
}

/// The level after `used` rescalings.
fn level(used: usize, params: &CkksParams) -> Level {
    // A sketch is only used with parameters that have its depth.
    params.top().down(used as u8).unwrap_or(Level(0))
}

/// The program of a sketch.
///
/// # Errors
/// [`PlanError::Ring`] or [`PlanError::Verify`] if a matrix or the program is refused.
pub(super) fn program(
    sketch: &Sketch,
    network: &Network,
    params: &CkksParams,
    scales: &Scales,
) -> Result<Program, PlanError> {
    let ops: Result<Vec<Op>, RingError> =
        (0..sketch.steps.len()).map(|step| operation(sketch, network, params, scales, step)).collect();
    let name = |value: usize| match value.checked_sub(1) {
        None => "input".to_owned(),
        Some(stage) => network.stages()[stage].name().to_owned(),
    };
    let names = sketch.types.iter().map(|result| name(result.value.index())).collect();
    Ok(Program::new(params, ops?, names, ValueId(sketch.output))?)
}

fn operation(
    sketch: &Sketch,
    network: &Network,
    params: &CkksParams,
    scales: &Scales,
    index: usize,
) -> Result<Op, RingError> {
    let result = &sketch.types[index];
    Ok(match &sketch.steps[index] {
        Step::Input => Op::Input {
            features: result.features,
            level: level(result.used, params),
            scale: scales.results[index].clone(),
        },
        Step::Linear { stage, sources } => {
            let weights = &scales.weights[index];
            let source =
                |(source, scale): (&usize, &Scale)| Source { value: ValueId(*source), weight_scale: scale.clone() };
            let (matrix, bias) = quantize(network, *stage, weights)?;
            Op::Linear { sources: sources.iter().zip(weights).map(source).collect(), matrix, bias }
        }
        Step::Square { source } => Op::Square { source: ValueId(*source) },
        Step::Multiply { left, right } => Op::Multiply { left: ValueId(*left), right: ValueId(*right) },
        Step::Relinearize { source } => Op::Relinearize { source: ValueId(*source) },
        Step::Rescale { source } => Op::Rescale { source: ValueId(*source) },
        Step::RelinearizeRescale { source } => Op::RelinearizeRescale { source: ValueId(*source) },
        Step::DropTo { source, used } => Op::DropTo { source: ValueId(*source), level: level(*used, params) },
    })
}

/// A layer's weights as integers, and its bias.
fn quantize(network: &Network, stage: usize, weights: &[Scale]) -> Result<(IntegerMatrix, Vec<f64>), RingError> {
    let Stage::Affine { sources, matrix, bias, .. } = &network.stages()[stage] else {
        return Ok((IntegerMatrix::new(0, &[])?, Vec::new()));
    };
    let factors: Vec<f64> = sources
        .iter()
        .zip(weights)
        .flat_map(|(source, scale)| std::iter::repeat_n(scale.to_f64(), network.length(*source)))
        .collect();
    let integer = |(column, weight): (usize, f64)| (column as u32, (weight * factors[column]).round() as i32);
    let rows: Vec<Vec<(u32, i32)>> = (0..matrix.rows())
        .map(|row| matrix.entries(row).map(integer).filter(|(_, weight)| *weight != 0).collect())
        .collect();
    Ok((IntegerMatrix::new(matrix.columns(), &rows)?, bias.clone()))
}

//! The order of a program's operations, with its scales still open.

use nightloom_program::cost::{Prices, Work};

use super::Placement;
use super::facts::Facts;
use crate::network::{Network, Stage, ValueId};

/// One step of a program whose scales are still open. Operands are positions of earlier steps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Input,
    Linear { stage: usize, sources: Vec<usize> },
    Square { source: usize },
    Multiply { left: usize, right: usize },
    Relinearize { source: usize },
    Rescale { source: usize },
    RelinearizeRescale { source: usize },
    DropTo { source: usize, used: usize },
}

/// What is known of the result of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepType {
    /// Levels below the top.
    pub used: usize,
    /// 2, or 3 after a product that was not relinearised.
    pub components: usize,
    /// The value of the network that it is.
    pub value: ValueId,
    /// Its number of features.
    pub features: usize,
}

/// A program whose scales are still open, and whose levels count down from the top.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    /// By product of the network.
    pub placements: Vec<Placement>,
    pub steps: Vec<Step>,
    /// By step.
    pub types: Vec<StepType>,
    /// The step that is the result.
    pub output: usize,
    /// Rescalings in a row.
    pub depth: usize,
}

/// Beyond this many products only the uniform placements are tried.
const MAX_ENUMERATED: usize = 6;

/// Every way to place relinearisations and rescalings.
pub(super) fn sketches(network: &Network) -> Vec<Sketch> {
    let is_product = |stage: &&Stage| !matches!(stage, Stage::Affine { .. });
    let products = network.stages().iter().filter(is_product).count();
    let all = [Placement::Lazy, Placement::RescaleFirst, Placement::Eager];
    let placements: Vec<Vec<Placement>> = if products > MAX_ENUMERATED {
        all.iter().map(|placement| vec![*placement; products]).collect()
    } else {
        (0..3usize.pow(products as u32))
            .map(|code| (0..products as u32).map(|product| all[code / 3usize.pow(product) % 3]).collect())
            .collect()
    };
    let mut sketches: Vec<Sketch> =
        placements.into_iter().map(|placement| Sketcher::draw(network, placement)).collect();
    // Products that no single layer reads are eager whatever was asked for: keep one of equal sketches.
    sketches.sort_by(|a, b| a.steps.cmp(&b.steps));
    sketches.dedup_by(|a, b| a.steps == b.steps);
    sketches
}

impl Sketch {
    /// Predicted seconds for one batch of `degree` samples with this many primes, of any size.
    pub fn seconds(&self, facts: &Facts, degree: usize, [primes, special]: [usize; 2], prices: &Prices) -> f64 {
        let n = degree as u64;
        let limbs = |step: usize| primes - self.types[step].used;
        let work = self.steps.iter().zip(&self.types).enumerate().map(|(index, (step, result))| {
            let StepType { components, features, .. } = *result;
            match step {
                Step::Input => Work::input(features, limbs(index), n),
                Step::DropTo { .. } => Work::default(),
                Step::Linear { stage, .. } => Work::linear(facts.layers[*stage].weights, components, limbs(index), n),
                Step::Square { .. } => Work::square(features, limbs(index), n),
                Step::Multiply { .. } => Work::multiply(features, limbs(index), n),
                Step::Relinearize { source } => Work::key_switch(features, limbs(*source), special, special, n),
                Step::RelinearizeRescale { source } => {
                    Work::key_switch(features, limbs(*source), special, special + 1, n)
                }
                Step::Rescale { source } => Work::division(components * features, limbs(*source), 1, n),
            }
        });
        work.fold(Work::default(), |sum, work| sum + work).seconds(prices, degree)
    }
}

struct Sketcher<'a> {
    network: &'a Network,
    steps: Vec<Step>,
    types: Vec<StepType>,
    /// By value of the network: the step that holds it.
    step_of: Vec<usize>,
}

impl<'a> Sketcher<'a> {
    fn draw(network: &'a Network, mut placements: Vec<Placement>) -> Sketch {
        let mut sketcher = Self { network, steps: Vec::new(), types: Vec::new(), step_of: Vec::new() };
        let input = sketcher.push(Step::Input, ValueId::INPUT);
        sketcher.step_of.push(input);
        let mut placement = placements.iter_mut();
        for (index, stage) in network.stages().iter().enumerate() {
            let value = ValueId::of_stage(index);
            let product = match stage {
                Stage::Affine { sources, .. } => {
                    let step = sketcher.affine(index, sources);
                    sketcher.step_of.push(step);
                    continue;
                }
                Stage::Square { source, .. } => Step::Square { source: sketcher.step_of[source.index()] },
                Stage::Multiply { left, right, .. } => {
                    let factors = sketcher.align(&[*left, *right]);
                    Step::Multiply { left: factors[0], right: factors[1] }
                }
            };
            let mut step = sketcher.push(product, value);
            if let Some(placement) = placement.next() {
                step = sketcher.place(step, placement);
            }
            sketcher.step_of.push(step);
        }
        let output = sketcher.step_of[network.output().index()];
        let depth = sketcher.types.iter().map(|result| result.used).max().unwrap_or(0);
        Sketch { placements, steps: sketcher.steps, types: sketcher.types, output, depth }
    }

    /// Appends a step that computes `value`.
    fn push(&mut self, step: Step, value: ValueId) -> usize {
        let operand = |source: usize| (self.types[source].used, self.types[source].components);
        let (used, components) = match &step {
            Step::Input => (0, 2),
            Step::Linear { sources, .. } => operand(sources[0]),
            Step::Square { source } | Step::Multiply { left: source, .. } => (operand(*source).0, 3),
            Step::Relinearize { source } => (operand(*source).0, 2),
            Step::Rescale { source } => (operand(*source).0 + 1, operand(*source).1),
            Step::RelinearizeRescale { source } => (operand(*source).0 + 1, 2),
            Step::DropTo { source, used } => (*used, operand(*source).1),
        };
        self.types.push(StepType { used, components, value, features: self.network.length(value) });
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// What follows a product at once; corrects a placement that its readers do not allow.
    fn place(&mut self, product: usize, placement: &mut Placement) -> usize {
        let value = self.types[product].value;
        if !self.read_by_one_layer(value) {
            *placement = Placement::Eager;
        }
        match placement {
            Placement::Lazy => product,
            Placement::RescaleFirst => self.push(Step::Rescale { source: product }, value),
            Placement::Eager => self.push(Step::RelinearizeRescale { source: product }, value),
        }
    }

    /// Whether every reader of a product is an affine stage that reads nothing else, so that it may keep three
    /// components until after the matrix.
    fn read_by_one_layer(&self, value: ValueId) -> bool {
        let mut readers = self.network.stages().iter().filter(|stage| stage.sources().contains(&value));
        self.network.output() != value
            && readers.all(|stage| matches!(stage, Stage::Affine { sources, .. } if sources.len() == 1))
    }

    fn affine(&mut self, stage: usize, sources: &[ValueId]) -> usize {
        let value = ValueId::of_stage(stage);
        let sources = self.align(sources);
        let first = sources[0];
        let step = self.push(Step::Linear { stage, sources }, value);
        match (self.types[first].components, &self.steps[first]) {
            (2, _) => step,
            // A lazy product still has to be rescaled: its step is the product itself.
            (_, Step::Square { .. } | Step::Multiply { .. }) => {
                self.push(Step::RelinearizeRescale { source: step }, value)
            }
            _ => self.push(Step::Relinearize { source: step }, value),
        }
    }

    /// The steps that hold the values, all at the lowest of their levels.
    fn align(&mut self, values: &[ValueId]) -> Vec<usize> {
        let used = |step: usize| self.types[step].used;
        let lowest = values.iter().map(|value| used(self.step_of[value.index()])).max().unwrap_or(0);
        let lower = |value: &ValueId| {
            let source = self.step_of[value.index()];
            if self.types[source].used == lowest {
                source
            } else {
                self.push(Step::DropTo { source, used: lowest }, *value)
            }
        };
        values.iter().map(lower).collect()
    }
}

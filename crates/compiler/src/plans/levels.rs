use std::fmt;

use nightloom_he::security;

use crate::network::{Network, Stage};

/// Where the levels of a network go: what to say when there are too few.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// The stages of a longest way from input to output: a level each.
    pub stages: Vec<String>,
    /// Products among them.
    pub products: usize,
    /// `log2` of the largest degree that was tried.
    pub log_degree: u32,
}

impl Levels {
    /// Of a network, with `log2` of the largest degree that may be tried.
    pub fn of(network: &Network, log_degree: u32) -> Self {
        // By value: the length of the longest way to it, and the stage before on that way.
        let mut longest: Vec<(usize, Option<usize>)> = vec![(0, None)];
        for stage in network.stages() {
            let deepest = stage.sources().iter().map(|source| source.index()).max_by_key(|value| longest[*value].0);
            longest.push(deepest.map_or((1, None), |value| (longest[value].0 + 1, Some(value))));
        }
        let mut stages = Vec::new();
        let (mut products, mut value) = (0, network.output().index());
        while let (1.., before) = longest[value] {
            let stage = &network.stages()[value - 1];
            stages.push(stage.name().to_owned());
            products += usize::from(!matches!(stage, Stage::Affine { .. }));
            value = before.unwrap_or(0);
        }
        stages.reverse();
        Self { stages, products, log_degree }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.stages.len();
        write!(f, "the model takes {levels} levels, one for each of {}", self.stages.join(", "))?;
        if let Some(bits) = security::max_log_qp(self.log_degree) {
            let each = f64::from(bits) / (levels + 1) as f64;
            write!(f, "; degree 2^{} holds primes of {bits} bits, {each:.0} a level", self.log_degree)?;
        }
        write!(
            f,
            "; what helps: a lower --precision, a narrower --input-range, fewer products in a row ({} now)",
            self.products
        )
    }
}

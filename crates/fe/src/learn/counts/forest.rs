use super::{Coordinates, CountsError, MAX_COORDINATES, best, check_counts, check_smoothing, smoothed};
use crate::learn::random::{Purpose, Seed};

/// Most levels of a tree.
const MAX_DEPTH: u32 = 20;

/// The size of a completely random forest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForestSpec {
    /// Classes, at least two.
    pub classes: usize,
    /// The number of bins of each feature.
    pub bins: Vec<usize>,
    /// Trees, at least one.
    pub trees: usize,
    /// Splits from root to leaf, 1 to 20.
    pub depth: u32,
}

/// Trees whose splits are drawn before any data is seen (section 3 of the paper), so that only counts depend on it.
///
/// Coordinates: for each tree, leaf and class, whether the sample has that class and falls into that leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forest {
    spec: ForestSpec,
    /// Of each tree the inner nodes, level by level: node `i` has the children `2i + 1` and `2i + 2`.
    splits: Vec<Vec<Split>>,
}

/// Samples whose bin is at least `bin` go right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    feature: usize,
    bin: usize,
}

impl Forest {
    /// Draws features and bins uniformly, among the features with more than one bin.
    ///
    /// # Errors
    /// [`CountsError`] for a setting out of range, no feature to split, or too many coordinates.
    pub fn random(spec: ForestSpec, seed: &Seed) -> Result<Self, CountsError> {
        let fail = |what, found: usize, wanted| Err(CountsError::Setting { what, found: found as f64, wanted });
        if spec.classes < 2 {
            return fail("classes", spec.classes, "at least two");
        }
        if spec.trees == 0 {
            return fail("trees", 0, "at least one");
        }
        if !(1..=MAX_DEPTH).contains(&spec.depth) {
            return fail("depth", spec.depth as usize, "1 to 20");
        }
        let usable: Vec<usize> = (0..spec.bins.len()).filter(|&feature| spec.bins[feature] > 1).collect();
        if usable.is_empty() {
            return fail("features with more than one bin", 0, "at least one");
        }
        let leaves = 1usize << spec.depth;
        let coordinates = spec.trees.checked_mul(leaves).and_then(|places| places.checked_mul(spec.classes));
        if coordinates.is_none_or(|count| count > MAX_COORDINATES) {
            return Err(CountsError::TooManyCoordinates);
        }
        let tree = |tree: usize| {
            let mut random = seed.stream(Purpose::Forest, 0, tree as u32);
            let mut split = || {
                let feature = usable[random.below(usable.len())];
                Split { feature, bin: 1 + random.below(spec.bins[feature] - 1) }
            };
            (1..leaves).map(|_| split()).collect()
        };
        let splits = (0..spec.trees).map(tree).collect();
        Ok(Self { spec, splits })
    }

    /// The forest of these counts: every leaf votes with the fractions of its classes, `smoothing` added to every count,
    /// above 0. A leaf without samples votes for no class.
    ///
    /// # Errors
    /// [`CountsError`] if the counts are not this forest's or `smoothing` not positive.
    pub fn train(&self, counts: &[i64], smoothing: f64) -> Result<TrainedForest, CountsError> {
        check_counts(self, counts)?;
        check_smoothing(smoothing)?;
        let fractions = |leaf: &[i64]| -> Vec<f64> {
            let total: f64 = leaf.iter().map(|&count| smoothed(count, smoothing)).sum();
            leaf.iter().map(|&count| smoothed(count, smoothing) / total).collect()
        };
        let votes = counts.chunks_exact(self.spec.classes).flat_map(fractions).collect();
        Ok(TrainedForest { form: self.clone(), votes })
    }

    /// The leaves that a sample falls into, one a tree, numbered over all trees.
    fn leaves(&self, bins: &[usize]) -> impl Iterator<Item = usize> {
        let inner = (1usize << self.spec.depth) - 1;
        self.splits.iter().enumerate().map(move |(tree, splits)| {
            let mut node = 0;
            while let Some(Split { feature, bin }) = splits.get(node) {
                node = 2 * node + if bins[*feature] < *bin { 1 } else { 2 };
            }
            tree * (inner + 1) + node - inner
        })
    }

    fn check(&self, bins: &[usize]) {
        assert_eq!(bins.len(), self.spec.bins.len());
        assert!(bins.iter().zip(&self.spec.bins).all(|(bin, bins)| bin < bins));
    }
}

impl Coordinates for Forest {
    fn len(&self) -> usize {
        (self.spec.trees << self.spec.depth) * self.spec.classes
    }

    fn of(&self, bins: &[usize], class: usize) -> Vec<usize> {
        self.check(bins);
        assert!(class < self.spec.classes);
        self.leaves(bins).map(|leaf| leaf * self.spec.classes + class).collect()
    }
}

/// A forest that has seen data.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedForest {
    form: Forest,
    /// Fraction of each class in each leaf.
    votes: Vec<f64>,
}

impl TrainedForest {
    /// The mean, over the trees, of the fraction of each class in the sample's leaf.
    ///
    /// # Panics
    /// If `bins` are not those of the model.
    pub fn scores(&self, bins: &[usize]) -> Vec<f64> {
        self.form.check(bins);
        let classes = self.form.spec.classes;
        let mut scores = vec![0.0; classes];
        for leaf in self.form.leaves(bins) {
            for (score, vote) in scores.iter_mut().zip(&self.votes[leaf * classes..]) {
                *score += vote / self.form.spec.trees as f64;
            }
        }
        scores
    }

    /// The class with the most votes.
    ///
    /// # Panics
    /// If `bins` are not those of the model.
    pub fn predict(&self, bins: &[usize]) -> usize {
        best(&self.scores(bins))
    }
}

use super::{Coordinates, CountsError, MAX_COORDINATES, best, check_counts, check_smoothing, smoothed};

/// Naive Bayes over binned features, before it has seen data.
///
/// Coordinates: the class; then for each feature, bin and class, whether the sample has both (section 4 of the paper in its
/// non-parametric form).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NaiveBayes {
    classes: usize,
    bins: Vec<usize>,
    /// The first coordinate of each feature, and the end.
    starts: Vec<usize>,
}

impl NaiveBayes {
    /// For `classes` classes and the number of bins of each feature.
    ///
    /// # Errors
    /// [`CountsError`] for fewer than two classes, no feature, a feature without bins, or too many coordinates.
    pub fn new(classes: usize, bins: Vec<usize>) -> Result<Self, CountsError> {
        let fail = |what, found: usize, wanted| Err(CountsError::Setting { what, found: found as f64, wanted });
        if classes < 2 {
            return fail("classes", classes, "at least two");
        }
        if bins.is_empty() || bins.contains(&0) {
            return fail("bins", 0, "at least one of each feature");
        }
        let mut starts = vec![classes];
        for bins in &bins {
            let next = bins.checked_mul(classes).and_then(|width| width.checked_add(starts[starts.len() - 1]));
            let next = next.filter(|next| *next <= MAX_COORDINATES).ok_or(CountsError::TooManyCoordinates)?;
            starts.push(next);
        }
        Ok(Self { classes, bins, starts })
    }

    /// The model of these counts; `smoothing` is added to every count (Laplace), above 0.
    ///
    /// # Errors
    /// [`CountsError`] if the counts are not this model's or `smoothing` not positive.
    pub fn train(&self, counts: &[i64], smoothing: f64) -> Result<TrainedNaiveBayes, CountsError> {
        check_counts(self, counts)?;
        check_smoothing(smoothing)?;
        let classes = self.classes;
        let log = |place: usize, total: f64| libm::log(smoothed(counts[place], smoothing) / total);
        let mut scores = vec![0.0; counts.len()];
        let total: f64 = counts[..classes].iter().map(|&count| smoothed(count, smoothing)).sum();
        for (class, score) in scores[..classes].iter_mut().enumerate() {
            *score = log(class, total);
        }
        for (&start, &bins) in self.starts.iter().zip(&self.bins) {
            for class in 0..classes {
                let places = (0..bins).map(|bin| start + bin * classes + class);
                let total: f64 = places.clone().map(|place| smoothed(counts[place], smoothing)).sum();
                places.for_each(|place| scores[place] = log(place, total));
            }
        }
        Ok(TrainedNaiveBayes { form: self.clone(), scores })
    }
}

impl Coordinates for NaiveBayes {
    fn len(&self) -> usize {
        self.starts[self.bins.len()]
    }

    fn of(&self, bins: &[usize], class: usize) -> Vec<usize> {
        assert!(class < self.classes && bins.len() == self.bins.len());
        assert!(bins.iter().zip(&self.bins).all(|(bin, bins)| bin < bins));
        let features = bins.iter().zip(&self.starts).map(|(bin, start)| start + bin * self.classes + class);
        [class].into_iter().chain(features).collect()
    }
}

/// Naive Bayes that has seen data.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedNaiveBayes {
    form: NaiveBayes,
    /// Logarithm of the probability that each coordinate stands for.
    scores: Vec<f64>,
}

impl TrainedNaiveBayes {
    /// `log P(class) + sum log P(bin | class)` of each class.
    ///
    /// # Panics
    /// If `bins` are not those of the model.
    pub fn scores(&self, bins: &[usize]) -> Vec<f64> {
        let score = |class| self.form.of(bins, class).iter().map(|&place| self.scores[place]).sum();
        (0..self.form.classes).map(score).collect()
    }

    /// The most probable class.
    ///
    /// # Panics
    /// If `bins` are not those of the model.
    pub fn predict(&self, bins: &[usize]) -> usize {
        best(&self.scores(bins))
    }
}

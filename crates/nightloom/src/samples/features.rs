use std::num::NonZeroUsize;
use std::ops::Range;

use super::{SampleValues, Samples, SamplesError, SamplesProblem, Shape};

/// How a byte of an image becomes a number for the model: `x = pixel * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Factor of the pixel, such as 1/255.
    pub scale: f64,
    /// Added after the product.
    pub offset: f64,
}

/// Samples as the model takes them: `len` rows of `width` numbers, computed when they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    samples: &'a Samples,
    width: usize,
    scaling: Scaling,
}

/// Consecutive rows of [`Features`].
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The sample of the first row, from 0.
    pub first: usize,
    /// The number of rows, at least one.
    pub rows: usize,
    /// `rows * width` numbers, row-major.
    pub values: Vec<f64>,
}

impl Samples {
    /// The samples as rows of numbers for a model that takes `wanted`.
    ///
    /// The shape of a sample must be `wanted` but for axes of length one at either end (`[28, 28]` for `[1, 28, 28]`);
    /// a model that takes a vector (`[784]` or `[1, 784]`) takes the values of any shape in row-major order.
    /// `scaling` applies to bytes. Floats and doubles are in the model's units already and pass unchanged.
    ///
    /// # Errors
    /// [`SamplesProblem::ShapeMismatch`] and [`SamplesProblem::Colour`] name both shapes.
    pub fn features(&self, wanted: &[usize], scaling: Scaling) -> Result<Features<'_>, SamplesError> {
        let wanted = Shape::from(wanted);
        if !self.shape.feeds(&wanted) {
            let (count, found) = (self.count, self.shape.clone());
            let grey = matches!(self.shape(), [3, rest @ ..] if Shape::from(rest).feeds(&wanted));
            let problem = match self.values {
                SampleValues::Pixels(_) if grey => SamplesProblem::Colour { count, found, wanted },
                _ => SamplesProblem::ShapeMismatch { count, found, wanted },
            };
            return Err(problem.at(&self.origin));
        }
        Ok(Features { samples: self, width: self.values.len() / self.count, scaling })
    }
}

impl<'a> Features<'a> {
    /// The number of samples, at least one.
    pub fn len(&self) -> usize {
        self.samples.count
    }

    /// Always `false`, as there is at least one sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The numbers of one sample, at least one.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The numbers of one sample.
    ///
    /// # Panics
    /// If `sample` is not below [`Features::len`].
    pub fn row(&self, sample: usize) -> Vec<f64> {
        self.rows(sample..sample + 1)
    }

    /// The number at place `feature` of each of the samples `samples`.
    ///
    /// # Panics
    /// If `feature` is not below [`Features::width`] or `samples` not within `0..len`.
    pub fn column(&self, feature: usize, samples: Range<usize>) -> Vec<f64> {
        assert!(feature < self.width, "feature {feature} of {}", self.width);
        assert!(samples.start <= samples.end, "samples {samples:?}");
        let range = samples.start * self.width..samples.end * self.width;
        let step = self.width;
        let Scaling { scale, offset } = self.scaling;
        match &self.samples.values {
            SampleValues::Pixels(values) => {
                let values = values[range].iter().skip(feature).step_by(step);
                values.map(|&pixel| f64::from(pixel) * scale + offset).collect()
            }
            SampleValues::Singles(values) => {
                values[range].iter().skip(feature).step_by(step).map(|&x| f64::from(x)).collect()
            }
            SampleValues::Doubles(values) => values[range].iter().skip(feature).step_by(step).copied().collect(),
        }
    }

    /// All samples in order, at most `rows` at a time, so that no copy of the whole input is made.
    pub fn chunks(&self, rows: NonZeroUsize) -> Chunks<'a> {
        Chunks { features: *self, rows: rows.get(), next: 0 }
    }

    /// The numbers of some samples, row after row.
    ///
    /// # Panics
    /// If `samples` is not within `0..len`.
    pub fn rows(&self, samples: Range<usize>) -> Vec<f64> {
        let range = samples.start * self.width..samples.end * self.width;
        let Scaling { scale, offset } = self.scaling;
        match &self.samples.values {
            SampleValues::Pixels(values) => {
                values[range].iter().map(|&pixel| f64::from(pixel) * scale + offset).collect()
            }
            SampleValues::Singles(values) => values[range].iter().map(|&x| f64::from(x)).collect(),
            SampleValues::Doubles(values) => values[range].to_vec(),
        }
    }
}

/// Iterator over [`Features::chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    features: Features<'a>,
    rows: usize,
    next: usize,
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let first = self.next;
        let rows = self.rows.min(self.features.len() - first);
        if rows == 0 {
            return None;
        }
        self.next += rows;
        Some(Chunk { first, rows, values: self.features.rows(first..first + rows) })
    }
}

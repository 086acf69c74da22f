use ndarray::Array2;

use super::DataError;

/// What the network should make of each sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class each.
    Classes {
        /// The number of classes.
        classes: usize,
        /// The class of each sample, below `classes`.
        labels: Vec<u32>,
    },
    /// Some numbers each.
    Numbers {
        /// Numbers of a sample.
        width: usize,
        /// The numbers of all samples, one sample after the other, all finite.
        values: Vec<f64>,
    },
}

impl Targets {
    /// Classes, to be one-hot vectors.
    ///
    /// # Errors
    /// [`DataError::Label`] for a label that is not below `classes`.
    pub fn classes(classes: usize, labels: &[usize]) -> Result<Self, DataError> {
        let label = |(index, &found)| match u32::try_from(found) {
            Ok(label) if found < classes => Ok(label),
            _ => Err(DataError::Label { index, found, classes }),
        };
        Ok(Self::Classes { classes, labels: labels.iter().enumerate().map(label).collect::<Result<_, _>>()? })
    }

    /// Numbers, `width` of them a sample.
    ///
    /// # Errors
    /// [`DataError`] if they do not make whole samples or are not finite.
    pub fn numbers(width: usize, values: Vec<f64>) -> Result<Self, DataError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            let shape = crate::learn::Shape::vector(width);
            return Err(DataError::PartialSample { values: values.len(), shape });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(DataError::NotFinite { what: "target", index, found: values[index] }),
            None => Ok(Self::Numbers { width, values }),
        }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes { labels, .. } => labels.len(),
            Self::Numbers { width, values } => values.len() / width,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Outputs that a network for these targets has.
    pub fn width(&self) -> usize {
        match self {
            Self::Classes { classes, .. } => *classes,
            Self::Numbers { width, .. } => *width,
        }
    }

    /// Targets of some samples, one a row; classes are one-hot.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn rows(&self, indices: &[usize]) -> Array2<f64> {
        let mut out = Array2::zeros((indices.len(), self.width()));
        for (&index, mut row) in indices.iter().zip(out.rows_mut()) {
            match self {
                Self::Classes { labels, .. } => row[labels[index] as usize] = 1.0,
                Self::Numbers { width, values } => {
                    row.iter_mut().zip(&values[index * width..]).for_each(|(out, value)| *out = *value);
                }
            }
        }
        out
    }

    pub(super) fn select(&self, indices: &[usize]) -> Self {
        match self {
            Self::Classes { classes, labels } => {
                Self::Classes { classes: *classes, labels: indices.iter().map(|&index| labels[index]).collect() }
            }
            Self::Numbers { width, values } => {
                let rows = indices.iter().flat_map(|&index| &values[index * width..][..*width]);
                Self::Numbers { width: *width, values: rows.copied().collect() }
            }
        }
    }
}

use std::fmt;

use super::{MAX_BYTES, SamplesProblem};

/// The most axes an array may have.
pub const MAX_AXES: usize = 16;

/// The lengths of the axes of an array, slowest first. Shown as `1x28x28`; no axes is `scalar`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape(Box<[usize]>);

impl Shape {
    /// The lengths, slowest axis first.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// The number of elements; 1 without axes.
    pub(super) fn elements(&self) -> Result<usize, SamplesProblem> {
        if self.0.len() > MAX_AXES {
            return Err(SamplesProblem::TooManyAxes { found: self.0.len() });
        }
        if self.0.contains(&0) {
            return Ok(0);
        }
        self.0
            .iter()
            .try_fold(1usize, |product, &axis| product.checked_mul(axis))
            .filter(|&elements| elements as u64 <= MAX_BYTES)
            .ok_or_else(|| SamplesProblem::TooLarge { shape: self.clone() })
    }

    /// The same shape without axes of length one at either end.
    fn core(&self) -> &[usize] {
        let mut axes = self.as_slice();
        while let [1, rest @ ..] = axes {
            axes = rest;
        }
        while let [rest @ .., 1] = axes {
            axes = rest;
        }
        axes
    }

    /// Whether samples of this shape are, value for value in row-major order, what a model of input shape `wanted`
    /// takes: equal but for axes of length one at either end, or flattened by a model that takes a vector.
    pub(super) fn feeds(&self, wanted: &Shape) -> bool {
        let vector = wanted.core().len() <= 1;
        let elements = |shape: &Shape| shape.as_slice().iter().copied().try_fold(1, usize::checked_mul);
        self.core() == wanted.core() || vector && elements(self).is_some() && elements(self) == elements(wanted)
    }
}

impl From<&[usize]> for Shape {
    fn from(axes: &[usize]) -> Shape {
        Shape(axes.into())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(axes: Vec<usize>) -> Shape {
        Shape(axes.into())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        for (index, axis) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("x")?;
            }
            write!(f, "{axis}")?;
        }
        Ok(())
    }
}

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::learn::network::Vectors;
use crate::{Bounds, FeError, Functionals, Windows};

/// Most units of a query.
const MAX_UNITS: usize = 1 << 12;
/// Most coordinates of all functionals of a query, zeros between them included.
const MAX_COORDINATES: usize = 1 << 28;

/// What a query asks products for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Direction {
    /// `W1 X`.
    Forward = 1,
    /// `delta X^T`.
    Gradient = 2,
}

impl Direction {
    /// Both, by number.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Gradient];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Gradient => "gradient",
        }
    }
}

/// A ciphertext of a batch. The numbers are part of labels and formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Part {
    /// Samples, or their windows, as vectors; or the whole batch as one vector.
    Samples = 1,
    /// Features over the batch as vectors.
    Features = 2,
}

/// Which vectors of a batch are encrypted, and which functionals of them a query is.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    vectors: Vectors,
    /// Samples of a batch.
    batch: usize,
    form: Form,
    /// In the form of one vector: of each window and each place in it, in this order, the value of the sample that stands
    /// there, if any.
    places: Vec<Option<u32>>,
}

/// How a batch is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Twice: samples as vectors for products, features over the batch as vectors for gradients.
    Transposed,
    /// Samples as vectors.
    SamplesOnly,
    /// As one vector. Windows are functionals of it, and so are gradients: one ciphertext, and a key for each product.
    OneVector,
}

impl Layout {
    pub(crate) fn new(vectors: Vectors, batch: usize, form: Form) -> Self {
        let places = match (form, vectors) {
            (Form::OneVector, Vectors::Windows(windows)) => {
                let input = windows.input();
                let windows = Windows {
                    channels: input.channels,
                    height: input.height,
                    width: input.width,
                    kernel: windows.side(),
                    stride: windows.stride(),
                    padding: windows.padding(),
                };
                let places = |window| windows.coordinates(window).map(|at| at.map(|at| at as u32)).collect::<Vec<_>>();
                (0..windows.count()).flat_map(places).collect()
            }
            (Form::OneVector, Vectors::Whole { width }) => (0..width as u32).map(Some).collect(),
            _ => Vec::new(),
        };
        Self { vectors, batch, form, places }
    }

    /// What the first layer multiplies of a sample.
    pub fn vectors(&self) -> Vectors {
        self.vectors
    }

    /// Samples of a batch, the last one of a client perhaps fewer.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The ciphertexts of a batch.
    pub(crate) fn parts(&self) -> &'static [Part] {
        match self.form {
            Form::Transposed => &[Part::Samples, Part::Features],
            Form::SamplesOnly | Form::OneVector => &[Part::Samples],
        }
    }

    /// Which of them has the products; `None` if none does.
    pub(crate) fn part(&self, direction: Direction) -> Option<Part> {
        match (self.form, direction) {
            (Form::Transposed, Direction::Gradient) => Some(Part::Features),
            (Form::SamplesOnly, Direction::Gradient) => None,
            _ => Some(Part::Samples),
        }
    }

    /// Coordinates of the vectors of a part.
    pub(crate) fn dimension(&self, part: Part) -> usize {
        match (self.form, part) {
            (Form::OneVector, _) => self.batch * self.vectors.sample_len(),
            (_, Part::Samples) => self.vectors.width(),
            (_, Part::Features) => self.batch * self.vectors.count(),
        }
    }

    /// Vectors of a part in a batch of `samples`.
    pub(crate) fn vector_count(&self, part: Part, samples: usize) -> usize {
        match (self.form, part) {
            (Form::OneVector, _) => 1,
            (_, Part::Samples) => samples * self.vectors.count(),
            (_, Part::Features) => self.vectors.width(),
        }
    }

    /// Bounds of a part.
    pub(crate) fn bounds(&self, part: Part, data: u32, weight: u32, delta: u32) -> Result<Bounds, FeError> {
        let dimension = self.dimension(part);
        match (self.form, part) {
            (Form::OneVector, _) => {
                let terms = self.vectors.width().max(self.batch * self.vectors.count());
                Bounds::sparse(dimension, terms.min(dimension), data, weight.max(delta))
            }
            (_, Part::Samples) => Bounds::new(dimension, data, weight),
            (_, Part::Features) => Bounds::new(dimension, data, delta),
        }
    }

    /// The vectors of a part, one after another. Samples that a smaller batch lacks are zero.
    pub(crate) fn encode(&self, part: Part, samples: &[&[i16]]) -> Vec<i32> {
        let (width, count) = (self.vectors.width(), self.vectors.count());
        let dimension = self.dimension(part);
        let mut out = vec![0i32; dimension * self.vector_count(part, samples.len())];
        if self.form == Form::OneVector {
            let values = samples.iter().flat_map(|sample| sample.iter());
            out.iter_mut().zip(values).for_each(|(out, value)| *out = (*value).into());
            return out;
        }
        // Of each sample a matrix with a vector a column.
        let mut matrix = vec![0i32; width * count];
        for (number, sample) in samples.iter().enumerate() {
            self.vectors.gather(sample, &mut matrix);
            for (position, row) in matrix.chunks_exact(count).enumerate() {
                for (vector, value) in row.iter().enumerate() {
                    let index = number * count + vector;
                    let at = match part {
                        Part::Samples => index * width + position,
                        Part::Features => position * dimension + index,
                    };
                    out[at] = *value;
                }
            }
        }
        out
    }

    /// The functionals of a query on a batch of `samples`: `values`, within `+-bound`, has a row a unit for products, a row
    /// a sample for gradients. Their values, in order, are what [`arrange`](Self::arrange) takes.
    pub(crate) fn functionals(
        &self,
        direction: Direction,
        values: ArrayView2<'_, i64>,
        bound: i64,
        samples: usize,
    ) -> Result<Functionals, QueryError> {
        let (width, count) = (self.vectors.width(), self.vectors.count());
        let units = match direction {
            Direction::Forward if values.ncols() == width => values.nrows(),
            Direction::Gradient if values.nrows() == samples && values.ncols().is_multiple_of(count) => {
                values.ncols() / count
            }
            _ => {
                let wanted = match direction {
                    Direction::Forward => (values.nrows(), width),
                    Direction::Gradient => (samples, count),
                };
                return Err(QueryError::Shape { found: values.dim(), wanted });
            }
        };
        // Before anything is made for each of them: a gradient of a short batch is sent in a few bytes a unit.
        let coordinates = match (self.form, direction) {
            (Form::OneVector, _) => (samples * count).saturating_mul(width),
            (_, Direction::Forward) => width,
            (_, Direction::Gradient) => self.batch * count,
        };
        let limit = MAX_UNITS.min(MAX_COORDINATES / coordinates.max(1)).max(1);
        if units > limit {
            return Err(QueryError::Units { found: units, limit });
        }
        debug_assert!(bound <= i32::MAX.into());
        if let Some(&found) = values.iter().find(|value| value.unsigned_abs() > bound.unsigned_abs()) {
            return Err(QueryError::Weight { found, bound });
        }
        let functionals = match (self.form, direction) {
            (Form::OneVector, Direction::Forward) => self.windows_of_all(values, samples),
            (Form::OneVector, Direction::Gradient) => self.gradients_of_all(values, units),
            (_, Direction::Forward) => {
                let weights: Vec<i32> = values.iter().map(|&value| value as i32).collect();
                Functionals::dense(width, &weights)
            }
            (_, Direction::Gradient) => {
                let dimension = self.batch * count;
                let mut weights = vec![0; units * dimension];
                for (sample, deltas) in values.rows().into_iter().enumerate() {
                    for (place, &delta) in deltas.iter().enumerate() {
                        weights[place / count * dimension + sample * count + place % count] = delta as i32;
                    }
                }
                Functionals::dense(dimension, &weights)
            }
        };
        functionals.map_err(QueryError::Scheme)
    }

    /// Sample by sample, unit by unit, window by window.
    fn windows_of_all(&self, weights: ArrayView2<'_, i64>, samples: usize) -> Result<Functionals, FeError> {
        let (sample_len, width) = (self.vectors.sample_len(), self.vectors.width());
        let weights: Vec<i32> = weights.iter().map(|&weight| weight as i32).collect();
        let weights = &weights;
        let windows = |first: u32, weights: &'_ [i32]| {
            let terms = |places: &[Option<u32>]| {
                let terms = places.iter().zip(weights).filter_map(|(at, weight)| Some((first + (*at)?, *weight)));
                terms.collect::<Vec<_>>()
            };
            self.places.chunks_exact(width).map(terms).collect::<Vec<_>>()
        };
        let rows = (0..samples).flat_map(|sample| {
            weights.chunks_exact(width).flat_map(move |weights| windows((sample * sample_len) as u32, weights))
        });
        Functionals::sparse(self.dimension(Part::Samples), rows)
    }

    /// Unit by unit, place by place in the window.
    fn gradients_of_all(&self, deltas: ArrayView2<'_, i64>, units: usize) -> Result<Functionals, FeError> {
        let (sample_len, width, count) = (self.vectors.sample_len(), self.vectors.width(), self.vectors.count());
        let row = |unit: usize, position: usize| {
            let mut terms = Vec::with_capacity(deltas.nrows() * count);
            for (sample, deltas) in deltas.rows().into_iter().enumerate() {
                for window in 0..count {
                    if let Some(at) = self.places[window * width + position] {
                        terms.push(((sample * sample_len) as u32 + at, deltas[unit * count + window] as i32));
                    }
                }
            }
            terms
        };
        let rows = (0..units).flat_map(|unit| (0..width).map(move |position| (unit, position)));
        Functionals::sparse(self.dimension(Part::Samples), rows.map(|(unit, position)| row(unit, position)))
    }

    /// What was opened, in the shape that an oracle returns.
    pub(crate) fn arrange(&self, direction: Direction, opened: Vec<i64>, samples: usize, units: usize) -> Array2<i64> {
        let (width, count) = (self.vectors.width(), self.vectors.count());
        let shape = match direction {
            Direction::Forward => (samples, units * count),
            Direction::Gradient => (units, width),
        };
        if (self.form, direction) != (Form::OneVector, Direction::Forward) && direction == Direction::Forward {
            let at = |(sample, place): (usize, usize)| {
                opened[place / count * samples * count + sample * count + place % count]
            };
            return Array2::from_shape_fn(shape, at);
        }
        Array2::from_shape_vec(shape, opened).expect("as many as functionals times vectors")
    }
}

/// A query that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A matrix of another shape.
    #[error("a matrix of {} by {}, wanted {} by {} (or a multiple of the columns)", found.0, found.1, wanted.0, wanted.1)]
    Shape {
        /// Rows and columns.
        found: (usize, usize),
        /// Rows and columns of one unit.
        wanted: (usize, usize),
    },
    /// More units than are opened at once.
    #[error("a query of {found} units, wanted at most {limit}")]
    Units {
        /// Units asked for.
        found: usize,
        /// The most there may be, for so many samples.
        limit: usize,
    },
    /// An integer that no functional may have.
    #[error("the integer {found} is beyond the bound of {bound} on what a functional may hold")]
    Weight {
        /// The integer.
        found: i64,
        /// The largest magnitude allowed.
        bound: i64,
    },
    /// The scheme refuses the functionals.
    #[error(transparent)]
    Scheme(FeError),
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::learn::first_layer::{ClearOracle, Oracle, Query};
    use crate::learn::network::{LayerSpec, NetworkSpec};
    use crate::learn::{Dataset, Inputs, Shape, Targets};

    fn data(input: Shape, samples: usize) -> Dataset {
        let pixels: Vec<u8> = (0..samples * input.len()).map(|i| (i * 7919 % 256) as u8).collect();
        let inputs = Inputs::from_pixels(input, &pixels).unwrap();
        Dataset::new(inputs, Targets::classes(2, &vec![0; samples]).unwrap()).unwrap()
    }

    proptest! {
        /// Functionals of encoded vectors, arranged, are the products of the definition, in every form.
        #[test]
        fn forms_open_what_the_clear_oracle_computes(
            channels in 1usize..3, side in 1usize..4, padding in 0usize..2, stride in 1usize..3, dense: bool,
            batch in 1usize..4, missing in 0usize..2, units in 1usize..4,
        ) {
            let input = Shape { channels, height: 4, width: 5 };
            let padding = padding.min(side - 1);
            let first = if dense {
                LayerSpec::Dense { units }
            } else {
                LayerSpec::Convolution { filters: units, side, stride, padding }
            };
            let network = NetworkSpec { input, layers: vec![first, LayerSpec::Dense { units: 2 }] }.validate().unwrap();
            let samples = batch - missing.min(batch - 1);
            let data = data(input, samples);
            let mut clear = ClearOracle::new(&network, &data, 4).unwrap();
            let vectors = network.vectors();
            let all: Vec<usize> = (0..samples).collect();
            let inputs: Vec<&[i16]> = all.iter().map(|&sample| data.inputs().sample(sample)).collect();
            let number = |i: usize, j: usize| ((i * 31 + j * 17 + 3) % 15) as i64 - 7;
            let weights = Array2::from_shape_fn((units, vectors.width()), |(i, j)| number(i, j));
            let deltas = Array2::from_shape_fn((samples, units * vectors.count()), |(i, j)| number(j, i));
            for form in [Form::Transposed, Form::SamplesOnly, Form::OneVector] {
                let layout = Layout::new(vectors, batch, form);
                for (direction, values) in [(Direction::Forward, &weights), (Direction::Gradient, &deltas)] {
                    let Some(part) = layout.part(direction) else { continue };
                    prop_assert!(layout.parts().contains(&part));
                    let encoded = layout.encode(part, &inputs);
                    prop_assert_eq!(encoded.len(), layout.dimension(part) * layout.vector_count(part, samples));
                    let functionals = layout.functionals(direction, values.view(), 7, samples).unwrap();
                    functionals.check(&layout.bounds(part, 255, 7, 7).unwrap()).unwrap();
                    let opened = functionals.evaluate(&encoded);
                    let found = layout.arrange(direction, opened, samples, units);
                    let query = Query { samples: &all, values: values.view(), bound: 1 << 40 };
                    let wanted = match direction {
                        Direction::Forward => clear.forward(query),
                        Direction::Gradient => clear.gradient(query),
                    };
                    prop_assert_eq!(found, wanted.unwrap());
                }
            }
        }
    }

    #[test]
    fn queries_of_other_shapes_are_refused() {
        let layout = Layout::new(Vectors::Whole { width: 6 }, 4, Form::Transposed);
        let refused = |direction, shape, samples| {
            layout.functionals(direction, Array2::ones(shape).view(), 1, samples).unwrap_err()
        };
        assert_eq!(refused(Direction::Forward, (2, 5), 4), QueryError::Shape { found: (2, 5), wanted: (2, 6) });
        assert_eq!(refused(Direction::Gradient, (4, 2), 3), QueryError::Shape { found: (4, 2), wanted: (3, 1) });
        let large = Array2::from_elem((1, 6), i64::MIN);
        let refused = layout.functionals(Direction::Forward, large.view(), 127, 4).unwrap_err();
        assert_eq!(refused, QueryError::Weight { found: i64::MIN, bound: 127 });
    }
}

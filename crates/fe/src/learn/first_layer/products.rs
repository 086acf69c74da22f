//! Products with samples in the clear. Exact if the factors are whole and no product passes 2^53: then rounding, order and
//! fused operations change nothing.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::learn::data::Inputs;
use crate::learn::linear::{add_times_transposed, add_transposed_times, times_into, times_transposed};
use crate::learn::network::Vectors;

/// Samples of a [`Inputs`] as matrices of integers.
pub(super) struct Gatherer<'a> {
    pub inputs: &'a Inputs,
    pub vectors: Vectors,
    /// The vectors of a sample, or the samples of a batch, kept between calls.
    scratch: Vec<f64>,
}

impl<'a> Gatherer<'a> {
    pub fn new(inputs: &'a Inputs, vectors: Vectors) -> Self {
        Self { inputs, vectors, scratch: Vec::new() }
    }

    /// [`FirstLayer::forward`](super::FirstLayer::forward) on integers.
    pub fn forward(&mut self, samples: &[usize], weights: ArrayView2<f64>) -> Array2<f64> {
        let (units, count) = (weights.nrows(), self.vectors.count());
        if let Vectors::Whole { .. } = self.vectors {
            return times_transposed(self.batch(samples), weights);
        }
        let mut out = Array2::zeros((samples.len(), units * count));
        for (sample, mut out) in samples.iter().zip(out.rows_mut()) {
            let vectors = self.sample(*sample);
            if let Some(out) = out.as_slice_mut() {
                let out = ArrayViewMut2::from_shape((units, count), out).expect("the shape of a row");
                times_into(weights, vectors, out);
            }
        }
        out
    }

    /// [`FirstLayer::gradient`](super::FirstLayer::gradient) on integers. `delta` is contiguous.
    pub fn gradient(&mut self, samples: &[usize], delta: ArrayView2<f64>) -> Array2<f64> {
        let (count, width) = (self.vectors.count(), self.vectors.width());
        let units = delta.ncols() / count;
        let mut out = Array2::zeros((units, width));
        if let Vectors::Whole { .. } = self.vectors {
            add_transposed_times(delta, self.batch(samples), &mut out);
            return out;
        }
        for (sample, delta) in samples.iter().zip(delta.rows()) {
            let delta = delta.into_shape_with_order((units, count)).expect("rows are contiguous");
            add_times_transposed(delta, self.sample(*sample), &mut out);
        }
        out
    }

    fn batch(&mut self, samples: &[usize]) -> ArrayView2<'_, f64> {
        let width = self.vectors.width();
        self.scratch.resize(samples.len() * width, 0.0);
        for (sample, out) in samples.iter().zip(self.scratch.chunks_exact_mut(width)) {
            self.vectors.gather(self.inputs.sample(*sample), out);
        }
        ArrayView2::from_shape((samples.len(), width), &self.scratch).expect("resized")
    }

    fn sample(&mut self, sample: usize) -> ArrayView2<'_, f64> {
        let shape = (self.vectors.width(), self.vectors.count());
        self.scratch.resize(shape.0 * shape.1, 0.0);
        self.vectors.gather(self.inputs.sample(sample), &mut self.scratch);
        ArrayView2::from_shape(shape, &self.scratch).expect("resized")
    }
}

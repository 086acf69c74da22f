use std::convert::Infallible;

use ndarray::{Array2, ArrayView2};

use super::products::Gatherer;
use super::{DataSpec, FirstLayer, Step};
use crate::learn::data::Dataset;
use crate::learn::network::{Architecture, Vectors};

/// The data in the clear and weights as they are: ordinary training, against which everything else is measured.
pub struct Float<'a> {
    data: &'a Dataset,
    gatherer: Gatherer<'a>,
}

impl<'a> Float<'a> {
    /// The first layer of `architecture` on `data`.
    pub fn new(architecture: &Architecture, data: &'a Dataset) -> Self {
        Self { data, gatherer: Gatherer::new(data.inputs(), architecture.vectors()) }
    }
}

impl FirstLayer for Float<'_> {
    type Error = Infallible;

    fn data(&self) -> DataSpec {
        let inputs = self.data.inputs();
        DataSpec {
            samples: self.data.len(),
            input: inputs.shape(),
            outputs: self.data.targets().width(),
            step: inputs.step(),
            range: inputs.range(),
            norm_bound: inputs.norm_bound(),
            target_bits: 0,
            target_bound: 0,
        }
    }

    fn vectors(&self) -> Vectors {
        self.gatherer.vectors
    }

    fn forward(&mut self, step: &Step<'_>, weights: ArrayView2<f64>) -> Result<Array2<f64>, Infallible> {
        let unit = self.data.inputs().step();
        Ok(self.gatherer.forward(step.samples, weights) * unit)
    }

    fn gradient(&mut self, step: &Step<'_>, delta: ArrayView2<f64>) -> Result<Array2<f64>, Infallible> {
        let unit = self.data.inputs().step();
        Ok(self.gatherer.gradient(step.samples, delta) * unit)
    }

    fn output_error(&mut self, step: &Step<'_>, predictions: ArrayView2<f64>) -> Result<Array2<f64>, Infallible> {
        Ok(&predictions - &self.data.targets().rows(step.samples))
    }
}

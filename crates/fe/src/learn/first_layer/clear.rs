use ndarray::Array2;

use super::products::Gatherer;
use super::{DataSpec, Oracle, Query};
use crate::learn::data::{DataError, Dataset, Targets};
use crate::learn::fixed_point::MAX_PRODUCT;
use crate::learn::network::{Architecture, Vectors};

/// The integers that a scheme opens, computed from data in the clear.
pub struct ClearOracle<'a> {
    spec: DataSpec,
    /// Targets in steps of `2^-target_bits`.
    targets: Array2<i64>,
    gatherer: Gatherer<'a>,
}

/// A query that this oracle does not answer exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("products up to {found}, wanted at most {MAX_PRODUCT}")]
pub struct Inexact {
    /// The bound of the query.
    pub found: i64,
}

impl<'a> ClearOracle<'a> {
    /// The first layer of `architecture` on `data`, with targets in steps of `2^-target_bits`, 0 to 30.
    ///
    /// # Errors
    /// [`DataError::Setting`] if `target_bits` is out of range, or a target beyond 2^40 steps.
    pub fn new(architecture: &Architecture, data: &'a Dataset, target_bits: u32) -> Result<Self, DataError> {
        if target_bits > 30 {
            let found = target_bits.into();
            return Err(DataError::Setting { what: "bits of a target", found, wanted: "0 to 30" });
        }
        let one = f64::from(1u32 << target_bits);
        let indices: Vec<usize> = (0..data.len()).collect();
        let scaled = data.targets().rows(&indices).mapv(|target| libm::rint(target * one));
        let largest = scaled.iter().fold(0.0, |largest: f64, target| largest.max(target.abs()));
        if largest > f64::powi(2.0, 40) {
            let wanted = "at most 2^40 steps";
            return Err(DataError::Setting { what: "largest target in steps", found: largest, wanted });
        }
        let target_bound = match data.targets() {
            Targets::Classes { .. } => 1 << target_bits,
            Targets::Numbers { .. } => largest as i64,
        };
        let inputs = data.inputs();
        let spec = DataSpec {
            samples: data.len(),
            input: inputs.shape(),
            outputs: data.targets().width(),
            step: inputs.step(),
            range: inputs.range(),
            norm_bound: inputs.norm_bound(),
            target_bits,
            target_bound,
        };
        let gatherer = Gatherer::new(inputs, architecture.vectors());
        Ok(Self { spec, targets: scaled.mapv(|target| target as i64), gatherer })
    }
}

impl Oracle for ClearOracle<'_> {
    type Error = Inexact;

    fn data(&self) -> &DataSpec {
        &self.spec
    }

    fn vectors(&self) -> Vectors {
        self.gatherer.vectors
    }

    fn forward(&mut self, query: Query<'_>) -> Result<Array2<i64>, Inexact> {
        let weights = exact(&query)?;
        Ok(self.gatherer.forward(query.samples, weights.view()).mapv(|product| product as i64))
    }

    fn gradient(&mut self, query: Query<'_>) -> Result<Array2<i64>, Inexact> {
        let delta = exact(&query)?;
        Ok(self.gatherer.gradient(query.samples, delta.view()).mapv(|product| product as i64))
    }

    fn output_error(&mut self, query: Query<'_>) -> Result<Array2<i64>, Inexact> {
        let mut out = query.values.to_owned();
        for (sample, mut row) in query.samples.iter().zip(out.rows_mut()) {
            row -= &self.targets.row(*sample);
        }
        Ok(out)
    }
}

/// The integers as floating-point numbers, if all their products with data are whole numbers that are exact there.
fn exact(query: &Query<'_>) -> Result<Array2<f64>, Inexact> {
    if !(0..=MAX_PRODUCT).contains(&query.bound) {
        return Err(Inexact { found: query.bound });
    }
    Ok(query.values.mapv(|value| value as f64))
}

use serde::{Deserialize, Serialize};

use super::{DataError, Inputs};
use crate::learn::network::Shape;

/// Limits beyond which values are cut: steps of one are numbers, and so are norms of many.
pub(crate) const LIMITS: std::ops::RangeInclusive<f64> = 1.0 / 1_048_576.0..=1_048_576.0;

/// How the columns of a table become whole numbers of similar size: `(x - mean) / deviation`, cut to `[-limit, limit]`,
/// in steps of `limit / (2^(bits - 1) - 1)`.
///
/// The same for all clients and public, so it must come from public samples or from opened sums, not from one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardization {
    means: Vec<f64>,
    deviations: Vec<f64>,
    limit: f64,
    bits: u32,
}

impl Standardization {
    /// Means and deviations of the columns of `rows`, each of `columns` numbers; `limit` is in deviations, `bits` counts the
    /// sign, 2 to 16. A constant column has deviation 1.
    ///
    /// # Errors
    /// [`DataError`] if the rows are not whole or not finite, or a setting is out of range.
    pub fn fit(rows: &[f64], columns: usize, limit: f64, bits: u32) -> Result<Self, DataError> {
        check(rows, columns)?;
        if !(2..=16).contains(&bits) {
            return Err(DataError::Setting { what: "bits of a value", found: bits.into(), wanted: "2 to 16" });
        }
        if !(limit > 0.0 && limit.is_finite()) {
            return Err(DataError::Setting { what: "limit in deviations", found: limit, wanted: "a positive number" });
        }
        let count = (rows.len() / columns) as f64;
        let column = |index: usize| rows.iter().skip(index).step_by(columns);
        let means: Vec<f64> = (0..columns).map(|index| column(index).sum::<f64>() / count).collect();
        let deviation = |(index, mean): (usize, &f64)| {
            let variance = column(index).map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
            if variance > 0.0 { libm::sqrt(variance) } else { 1.0 }
        };
        let deviations = means.iter().enumerate().map(deviation).collect();
        Ok(Self { means, deviations, limit, bits })
    }

    /// Values of one row.
    pub fn columns(&self) -> usize {
        self.means.len()
    }

    /// Checks what was read from a file.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        if !(2..=16).contains(&self.bits) {
            return Err(DataError::Setting { what: "bits of a value", found: self.bits.into(), wanted: "2 to 16" });
        }
        let positive = |x: &f64| *x > 0.0 && x.is_finite();
        if !LIMITS.contains(&self.limit) {
            return Err(DataError::Setting { what: "limit in deviations", found: self.limit, wanted: "2^-20 to 2^20" });
        }
        if self.means.is_empty() || self.means.len() != self.deviations.len() {
            let found = self.deviations.len() as f64;
            return Err(DataError::Setting { what: "deviations", found, wanted: "one for each mean" });
        }
        match (self.means.iter().find(|mean| !mean.is_finite()), self.deviations.iter().find(|x| !positive(x))) {
            (None, None) => Ok(()),
            (Some(&found), _) => Err(DataError::Setting { what: "mean", found, wanted: "a finite number" }),
            (_, Some(&found)) => Err(DataError::Setting { what: "deviation", found, wanted: "a positive number" }),
        }
    }

    /// The largest integer.
    fn largest(&self) -> i16 {
        (1i16 << (self.bits - 1)).wrapping_sub(1)
    }

    /// What the integer 1 stands for, in deviations.
    pub fn step(&self) -> f64 {
        self.limit / f64::from(self.largest())
    }

    /// The least and the largest integer.
    pub fn range(&self) -> (i16, i16) {
        (-self.largest(), self.largest())
    }

    /// Rows as whole numbers.
    ///
    /// # Errors
    /// [`DataError`] if the rows are not whole or not finite.
    pub fn apply(&self, rows: &[f64]) -> Result<Inputs, DataError> {
        check(rows, self.columns())?;
        let (largest, step) = (self.largest(), self.step());
        let columns = self.means.iter().zip(&self.deviations).cycle();
        let values = rows.iter().zip(columns).map(|(x, (mean, deviation))| {
            let value = ((x - mean) / deviation).clamp(-self.limit, self.limit);
            // At most `largest` but for rounding of the quotient, hence the second clamp.
            (libm::rint(value / step) as i16).clamp(-largest, largest)
        });
        Inputs::new(Shape::vector(self.columns()), values.collect(), step, (-largest, largest))
    }
}

fn check(rows: &[f64], columns: usize) -> Result<(), DataError> {
    if rows.is_empty() || columns == 0 {
        return Err(DataError::Empty);
    }
    if !rows.len().is_multiple_of(columns) {
        return Err(DataError::PartialSample { values: rows.len(), shape: Shape::vector(columns) });
    }
    match rows.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(DataError::NotFinite { what: "value", index, found: rows[index] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_steps_of_deviations() {
        let rows = [1.0, 5.0, 3.0, 5.0, 5.0, 5.0, 7.0, 5.0];
        let fit = Standardization::fit(&rows, 2, 4.0, 8).unwrap();
        let inputs = fit.apply(&[4.0, 5.0, 4.0 + 5f64.sqrt(), 5.5, 1e9, -1e9]).unwrap();
        // Mean 4, deviation sqrt(5); the constant column has deviation 1. One step is 4/127.
        assert_eq!(inputs.sample(0), [0, 0]);
        assert_eq!(inputs.sample(1), [32, 16]);
        assert_eq!(inputs.sample(2), [127, -127]);
        assert_eq!((inputs.range(), inputs.step()), ((-127, 127), 4.0 / 127.0));
        let wide = Standardization::fit(&rows, 2, 4.0, 16).unwrap().apply(&[1e9, -1e9]).unwrap();
        assert_eq!(wide.sample(0), [32767, -32767]);
    }

    #[test]
    fn bad_tables_are_refused() {
        assert_eq!(Standardization::fit(&[], 2, 1.0, 8), Err(DataError::Empty));
        assert!(matches!(Standardization::fit(&[1.0; 3], 2, 1.0, 8), Err(DataError::PartialSample { values: 3, .. })));
        assert!(matches!(Standardization::fit(&[1.0; 2], 2, 1.0, 17), Err(DataError::Setting { .. })));
        assert!(matches!(Standardization::fit(&[1.0; 2], 2, f64::NAN, 8), Err(DataError::Setting { .. })));
        let fit = Standardization::fit(&[1.0; 2], 2, 1.0, 8).unwrap();
        assert!(matches!(fit.apply(&[0.0, f64::NAN]), Err(DataError::NotFinite { index: 1, .. })));
    }
}

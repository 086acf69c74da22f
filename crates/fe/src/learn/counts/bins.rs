use serde::{Deserialize, Serialize};

use super::CountsError;

/// Most bins of a feature.
const MAX_BINS: usize = 1 << 12;

/// Intervals of each feature, the same for all clients and public: from public samples, opened quantiles or known ranges,
/// not from one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    /// Of each feature the inner edges, ascending. Bin `b` is from edge `b - 1`, included, to edge `b`.
    edges: Vec<Vec<f64>>,
}

impl Bins {
    /// Bins between given inner edges, for each feature; edges may be unsorted and repeated.
    ///
    /// # Errors
    /// [`CountsError::Setting`] for no feature, too many edges, or an edge that is not finite.
    pub fn new(mut edges: Vec<Vec<f64>>) -> Result<Self, CountsError> {
        let fail = |what, found, wanted| Err(CountsError::Setting { what, found, wanted });
        if edges.is_empty() {
            return fail("features", 0.0, "at least one");
        }
        for edges in &mut edges {
            if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
                return fail("edge of a bin", *edge, "a finite number");
            }
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            if edges.len() >= MAX_BINS {
                return fail("edges of a feature", edges.len() as f64, "fewer than 2^12");
            }
        }
        Ok(Self { edges })
    }

    /// Up to `bins` bins of each feature with equally many of the `rows`, each of `features` numbers.
    ///
    /// # Errors
    /// [`CountsError::Setting`] for no rows, rows that are not whole or finite, or fewer than two bins.
    pub fn quantiles(rows: &[f64], features: usize, bins: usize) -> Result<Self, CountsError> {
        let fail = |what, found, wanted| Err(CountsError::Setting { what, found, wanted });
        if features == 0 || rows.is_empty() || !rows.len().is_multiple_of(features) {
            return fail("values of rows", rows.len() as f64, "whole rows, at least one");
        }
        if let Some(value) = rows.iter().find(|value| !value.is_finite()) {
            return fail("value", *value, "a finite number");
        }
        if !(2..=MAX_BINS).contains(&bins) {
            return fail("bins", bins as f64, "2 to 2^12");
        }
        let edges = |feature: usize| {
            let mut column: Vec<f64> = rows.iter().skip(feature).step_by(features).copied().collect();
            column.sort_by(f64::total_cmp);
            // Halfway between the value at the quantile and the next smaller one, so that no value lies on an edge; none
            // below the least value.
            let edge = |bin: usize| {
                let above = column[column.len() * bin / bins];
                let smaller = column.partition_point(|value| value.total_cmp(&above).is_lt());
                let below = column[smaller.checked_sub(1)?];
                Some(below + (above - below) / 2.0)
            };
            let edges: Vec<f64> = (1..bins).filter_map(edge).collect();
            // Few distinct values may have no edge at the quantiles: then one above the least value.
            if !edges.is_empty() {
                return edges;
            }
            let above = column.iter().find(|value| **value > column[0]);
            above.map(|above| column[0] + (above - column[0]) / 2.0).into_iter().collect()
        };
        Self::new((0..features).map(edges).collect())
    }

    /// Checks what was read from a file: edges as [`new`](Self::new) leaves them.
    pub(crate) fn check(&self) -> Result<(), CountsError> {
        let again = Self::new(self.edges.clone())?;
        if again == *self {
            return Ok(());
        }
        let found = self.edges.len() as f64;
        Err(CountsError::Setting { what: "edges of bins", found, wanted: "rising edges of each feature" })
    }

    /// The number of bins of each feature.
    pub fn counts(&self) -> Vec<usize> {
        self.edges.iter().map(|edges| edges.len() + 1).collect()
    }

    /// The bin of each value of a row.
    ///
    /// # Panics
    /// If the row has another number of features.
    pub fn of(&self, row: &[f64]) -> Vec<usize> {
        assert_eq!(row.len(), self.edges.len());
        let bin = |(value, edges): (&f64, &Vec<f64>)| edges.partition_point(|edge| edge <= value);
        row.iter().zip(&self.edges).map(bin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_part_rows_evenly() {
        let rows: Vec<f64> = (0..12).flat_map(|i| [f64::from(i), 1.0, f64::from(i / 11)]).collect();
        let bins = Bins::quantiles(&rows, 3, 4).unwrap();
        assert_eq!(bins.counts(), [4, 1, 2]);
        let found: Vec<usize> = rows.chunks(3).map(|row| bins.of(row)[0]).collect();
        assert_eq!(found, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
        assert_eq!(bins.of(&[-9.0, 5.0, 0.4]), [0, 0, 0]);
        assert_eq!(bins.of(&[99.0, 5.0, 0.5]), [3, 0, 1]);
        assert!(Bins::quantiles(&rows, 5, 4).is_err() && Bins::quantiles(&rows, 3, 1).is_err());
        assert!(Bins::quantiles(&[f64::NAN, f64::NAN, 1.0], 1, 3).is_err());
        assert!(Bins::new(vec![]).is_err() && Bins::new(vec![vec![f64::INFINITY]]).is_err());
        assert_eq!(Bins::new(vec![vec![2.0, 1.0, 2.0]]).unwrap().of(&[1.0]), [1]);
    }
}

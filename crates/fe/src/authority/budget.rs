//! What may be opened of a batch, over the lifetime of the data.

use std::collections::HashSet;

use super::Echelon;
use crate::agreement::Direction;
use crate::protocol::Rule;

/// A combination of issued functionals must have more coordinates than this.
pub const SPARSE: usize = 16;

/// The largest rank of the functionals issued for a batch: a tenth of a sample's values for products, a quarter of the
/// batch's samples for gradients.
pub fn largest_rank(direction: Direction, width: usize, samples: usize) -> usize {
    match direction {
        Direction::Forward => width / 10,
        Direction::Gradient => samples / 4,
    }
}

/// The rule of a direction.
pub(super) fn rule(direction: Direction) -> Rule {
    match direction {
        Direction::Forward => Rule::Forward,
        Direction::Gradient => Rule::Gradient,
    }
}

/// What has been issued for a batch in one direction.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// The span of the functionals; `None` where they are not counted.
    pub echelon: Option<Echelon>,
    /// Distinct queries.
    pub queries: HashSet<[u8; 32]>,
    /// Functionals of all of them, each counted as often as it was asked.
    pub functionals: usize,
    /// Of each of them the deviation of its noise.
    pub noises: Vec<f64>,
}

/// Why functionals may not be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    Rank { rank: usize, limit: usize },
    Sparse { found: usize, coordinate: usize },
}

impl Span {
    /// Whether these functionals, dense rows of `dimension` coordinates, may be added. Returns those that are outside the
    /// span, one after another.
    pub(super) fn admits(&self, dimension: usize, rows: &[i32], limit: usize) -> Result<Vec<i32>, Excess> {
        let mut echelon = self.echelon.clone().unwrap_or_else(|| Echelon::new(dimension));
        let mut fresh = Vec::new();
        for row in rows.chunks_exact(dimension) {
            if echelon.insert(row) {
                fresh.extend_from_slice(row);
            }
        }
        if fresh.is_empty() {
            return Ok(fresh);
        }
        match echelon.sparsest() {
            _ if echelon.rank() > limit => Err(Excess::Rank { rank: echelon.rank(), limit }),
            Some((found, coordinate)) if found <= SPARSE => Err(Excess::Sparse { found, coordinate }),
            _ => Ok(fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, dimension: usize, salt: u64) -> Vec<i32> {
        let weight = |at: usize| ((at as u64 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as i32 % 127 - 63;
        (0..count * dimension).map(weight).collect()
    }

    fn span(dimension: usize, rows: &[i32]) -> Span {
        let mut echelon = Echelon::new(dimension);
        rows.chunks_exact(dimension).for_each(|row| {
            echelon.insert(row);
        });
        Span { echelon: Some(echelon), ..Span::default() }
    }

    /// The configuration of the published measurements: 784-32-10 in batches of 256 over two epochs, and no third.
    #[test]
    fn two_epochs_of_thirty_two_units_fit_and_a_third_does_not() {
        for (direction, dimension, limit) in [(Direction::Forward, 784, 78), (Direction::Gradient, 256, 64)] {
            assert_eq!(largest_rank(direction, 784, 256), limit);
            let visits: Vec<Vec<i32>> = (0..3).map(|visit| rows(32, dimension, visit * 1_000_003)).collect();
            let once = span(dimension, &visits[0]);
            assert_eq!(once.admits(dimension, &visits[1], limit).unwrap().len(), 32 * dimension);
            let twice = span(dimension, &visits[..2].concat());
            assert_eq!(twice.admits(dimension, &visits[2], limit), Err(Excess::Rank { rank: 96, limit }));
            // What was asked before costs nothing, combinations of it neither.
            assert_eq!(twice.admits(dimension, &visits[1], limit), Ok(vec![]));
            let sum: Vec<i32> = visits[0][..dimension].iter().zip(&visits[1]).map(|(a, b)| a - 3 * b).collect();
            assert_eq!(twice.admits(dimension, &sum, limit), Ok(vec![]));
        }
    }

    #[test]
    fn single_coordinates_are_refused_however_they_are_asked_for() {
        let dimension = 200;
        let sparse = |ones: usize| (0..dimension).map(|at| i32::from(at < ones)).collect::<Vec<i32>>();
        let empty = Span::default();
        for ones in [1, 2, 16] {
            let refused = empty.admits(dimension, &sparse(ones), 20);
            assert_eq!(refused, Err(Excess::Sparse { found: ones, coordinate: 0 }));
        }
        assert!(empty.admits(dimension, &sparse(17), 20).is_ok());
        // A unit vector as a difference, in one request or in two.
        let first = rows(1, dimension, 5);
        let mut second: Vec<i32> = first.iter().map(|weight| 2 * weight).collect();
        second[150] += 1;
        let hidden = Err(Excess::Sparse { found: 1, coordinate: 150 });
        assert_eq!(empty.admits(dimension, &[&first[..], &second].concat(), 20), hidden);
        assert_eq!(span(dimension, &first).admits(dimension, &second, 20), hidden);
        // Nothing is asked by nothing.
        assert_eq!(empty.admits(dimension, &vec![0; dimension], 20), Ok(vec![]));
    }
}

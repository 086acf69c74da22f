//! What may be opened of a batch, over the lifetime of the data.

use std::collections::HashSet;

use super::Echelon;
use crate::agreement::Direction;
use crate::learn::Seed;
use crate::protocol::Rule;

/// A combination of issued functionals must have more coordinates than this, as far as the authority looks.
pub const SPARSE: usize = 16;
/// Reduced forms in which it looks.
pub const FORMS: usize = 12;

/// The largest rank of the functionals issued for a batch, so that equations are a tenth, or a quarter, of its unknowns. `width`
/// values of a sample are encrypted, and they are functions of `unknowns` numbers, at most as many. A product is an equation for
/// every sample, a row of a gradient one for every value.
pub fn largest_rank(direction: Direction, [width, unknowns]: [usize; 2], samples: usize) -> usize {
    match direction {
        Direction::Forward => unknowns / 10,
        Direction::Gradient => samples.saturating_mul(unknowns) / width.saturating_mul(4).max(1),
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
    /// span, one after another. `order` says in which columns sparse combinations are looked for.
    pub(super) fn admits(
        &self,
        dimension: usize,
        rows: &[i32],
        limit: usize,
        order: &Seed,
    ) -> Result<Vec<i32>, Excess> {
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
        if echelon.rank() > limit {
            return Err(Excess::Rank { rank: echelon.rank(), limit });
        }
        match echelon.sparse(SPARSE, FORMS, order) {
            Some((found, coordinate)) => Err(Excess::Sparse { found, coordinate }),
            None => Ok(fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Seed = Seed::new([9; 32]);

    fn rows(count: usize, dimension: usize, salt: u64) -> Vec<i32> {
        let mut random = Seed::new([salt as u8; 32]).noise();
        (0..count * dimension).map(|_| random.below(127) as i32 - 63).collect()
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
            assert_eq!(largest_rank(direction, [784, 784], 256), limit);
            let visits: Vec<Vec<i32>> = (0..3).map(|visit| rows(32, dimension, visit)).collect();
            let once = span(dimension, &visits[0]);
            assert_eq!(once.admits(dimension, &visits[1], limit, &ORDER).unwrap().len(), 32 * dimension);
            let twice = span(dimension, &visits[..2].concat());
            assert_eq!(twice.admits(dimension, &visits[2], limit, &ORDER), Err(Excess::Rank { rank: 96, limit }));
            // What was asked before costs nothing, combinations of it neither.
            assert_eq!(twice.admits(dimension, &visits[1], limit, &ORDER), Ok(vec![]));
            let sum: Vec<i32> = visits[0][..dimension].iter().zip(&visits[1]).map(|(a, b)| a - 3 * b).collect();
            assert_eq!(twice.admits(dimension, &sum, limit, &ORDER), Ok(vec![]));
        }
    }

    #[test]
    fn single_coordinates_are_refused_however_they_are_asked_for() {
        let dimension = 200;
        let sparse = |ones: usize| (0..dimension).map(|at| i32::from(at < ones)).collect::<Vec<i32>>();
        let empty = Span::default();
        for ones in [1, 2, 16] {
            let refused = empty.admits(dimension, &sparse(ones), 20, &ORDER);
            assert_eq!(refused, Err(Excess::Sparse { found: ones, coordinate: 0 }));
        }
        assert!(empty.admits(dimension, &sparse(17), 20, &ORDER).is_ok());
        // A unit vector as a difference, in one request or in two.
        let first = rows(1, dimension, 5);
        let mut second: Vec<i32> = first.iter().map(|weight| 2 * weight).collect();
        second[150] += 1;
        let hidden = Err(Excess::Sparse { found: 1, coordinate: 150 });
        assert_eq!(empty.admits(dimension, &[&first[..], &second].concat(), 20, &ORDER), hidden);
        assert_eq!(span(dimension, &first).admits(dimension, &second, 20, &ORDER), hidden);
        // Nothing is asked by nothing.
        assert_eq!(empty.admits(dimension, &vec![0; dimension], 20, &ORDER), Ok(vec![]));
    }

    /// `f_m = e_m + u`: no row of the first form is sparse, every difference is.
    #[test]
    fn differences_of_two_coordinates_are_found_behind_a_dense_vector() {
        let dimension = 256;
        let row =
            |m: usize| (0..dimension).map(move |at| if at < 64 { i32::from(at == m) } else { 1 - 2 * (at as i32 % 2) });
        let all: Vec<i32> = (0..64).flat_map(row).collect();
        let whole = span(dimension, &all);
        assert_eq!(whole.echelon.as_ref().unwrap().sparsest(), Some((193, 0)));
        let refused = Span::default().admits(dimension, &all, 64, &ORDER);
        assert!(matches!(refused, Err(Excess::Sparse { found: 2, .. })), "{refused:?}");
        // In two requests likewise, the second of one functional.
        let one = span(dimension, &all[..dimension]);
        let refused = one.admits(dimension, &all[dimension..2 * dimension], 64, &ORDER);
        assert!(matches!(refused, Err(Excess::Sparse { found: 2, .. })), "{refused:?}");
    }
}

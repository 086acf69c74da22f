//! What a set of functionals spans, modulo a prime.

use crate::learn::Seed;

/// `2^61 - 1`.
const P: u64 = (1 << 61) - 1;

/// The span of functionals, as a reduced row echelon form modulo `2^61 - 1`.
///
/// Functionals are rows of integers. Whatever integers combine them to, combines their residues: the rank modulo a prime is
/// at most that of the integers, and less only if the prime divides a minor of the rows. In the reduced form each row is 1 in
/// its pivot, where all others are 0, so a unit vector is in the span exactly if it is one of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echelon {
    dimension: usize,
    /// Rising pivots, each with its row.
    rows: Vec<(usize, Vec<u64>)>,
}

impl Echelon {
    /// Of nothing yet, over this many coordinates.
    pub fn new(dimension: usize) -> Self {
        Self { dimension, rows: Vec::new() }
    }

    /// Coordinates of a functional.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Independent functionals.
    pub fn rank(&self) -> usize {
        self.rows.len()
    }

    /// Adds a functional. Returns whether it was outside the span.
    ///
    /// # Panics
    /// If it has another number of coordinates.
    pub fn insert(&mut self, functional: &[i32]) -> bool {
        assert_eq!(functional.len(), self.dimension);
        let mut row: Vec<u64> = functional.iter().map(|&weight| residue(weight)).collect();
        for (pivot, basis) in &self.rows {
            // The basis row is 1 in its pivot.
            let factor = row[*pivot];
            subtract(&mut row, factor, basis);
        }
        let Some(pivot) = row.iter().position(|&x| x != 0) else { return false };
        let inverse = invert(row[pivot]);
        row.iter_mut().for_each(|x| *x = multiply(*x, inverse));
        for (_, basis) in &mut self.rows {
            let factor = basis[pivot];
            subtract(basis, factor, &row);
        }
        let place = self.rows.partition_point(|(other, _)| *other < pivot);
        self.rows.insert(place, (pivot, row));
        true
    }

    /// The fewest non-zero entries of a reduced row, with the pivot of that row; `None` for an empty span.
    pub fn sparsest(&self) -> Option<(usize, usize)> {
        let entries = |row: &[u64]| row.iter().filter(|x| **x != 0).count();
        self.rows.iter().map(|(pivot, row)| (entries(row), *pivot)).min()
    }

    /// Looks for combinations of at most `limit` coordinates in this many reduced forms; returns the coordinates and the
    /// pivot of one, if any is found.
    ///
    /// This is a search for words of low weight in a code by information sets (Prange 1962). The first form has its pivots
    /// in the first columns, and each further one in those that were pivots least often, at random among equals. A
    /// combination is found if in some form it has one coordinate among the pivots. It has at least one in each; so where `g`
    /// forms have disjoint pivots, as those of functionals in general position have while there are columns, every
    /// combination of up to `2 g - 1` coordinates is found (Brouwer and Zimmermann). Others are found with some probability.
    pub(super) fn sparse(&self, limit: usize, forms: usize, order: &Seed) -> Option<(usize, usize)> {
        let found = self.sparsest().filter(|(entries, _)| *entries <= limit);
        if found.is_some() {
            return found;
        }
        let mut random = order.noise();
        let mut rows: Vec<Vec<u64>> = self.rows.iter().map(|(_, row)| row.clone()).collect();
        let mut uses = vec![0u32; self.dimension];
        self.rows.iter().for_each(|(pivot, _)| uses[*pivot] += 1);
        let mut columns: Vec<usize> = (0..self.dimension).collect();
        for _ in 1..forms {
            (1..columns.len()).rev().for_each(|at| columns.swap(at, random.below(at + 1)));
            columns.sort_by_key(|column| uses[*column]);
            let pivots = reduce(&mut rows, &columns);
            for (pivot, row) in pivots.iter().zip(&rows) {
                let entries = row.iter().filter(|x| **x != 0).count();
                if entries <= limit {
                    return Some((entries, *pivot));
                }
                uses[*pivot] += 1;
            }
        }
        None
    }
}

/// Brings rows that are independent into reduced form, with pivots in the columns that come first in this order. Returns
/// the pivots of the rows.
fn reduce(rows: &mut [Vec<u64>], order: &[usize]) -> Vec<usize> {
    let mut pivots = Vec::with_capacity(rows.len());
    for &column in order {
        let place = pivots.len();
        if place == rows.len() {
            break;
        }
        let Some(found) = (place..rows.len()).find(|&row| rows[row][column] != 0) else { continue };
        rows.swap(place, found);
        let inverse = invert(rows[place][column]);
        rows[place].iter_mut().for_each(|x| *x = multiply(*x, inverse));
        let (before, rest) = rows.split_at_mut(place);
        let (pivot, after) = rest.split_first_mut().unwrap_or_else(|| unreachable!("the place is below the length"));
        for row in before.iter_mut().chain(after) {
            let factor = row[column];
            subtract(row, factor, pivot);
        }
        pivots.push(column);
    }
    pivots
}

/// `row - factor * other`.
fn subtract(row: &mut [u64], factor: u64, other: &[u64]) {
    if factor == 0 {
        return;
    }
    let negative = P - factor;
    for (x, y) in row.iter_mut().zip(other) {
        *x = fold(u128::from(negative) * u128::from(*y) + u128::from(*x));
    }
}

/// The residue below `P` of a number below `2^122 + 2^61`.
fn fold(x: u128) -> u64 {
    // Below 2^61 + 2^62 after one fold, and twice `P` less is below `P` then.
    let mut sum = (x as u64 & P) + (x >> 61) as u64;
    sum = (sum & P) + (sum >> 61);
    if sum >= P { sum - P } else { sum }
}

fn multiply(x: u64, y: u64) -> u64 {
    fold(u128::from(x) * u128::from(y))
}

/// `x^(P - 2)`.
fn invert(x: u64) -> u64 {
    let (mut result, mut square, mut exponent) = (1, x, P - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    result
}

fn residue(weight: i32) -> u64 {
    let magnitude = u64::from(weight.unsigned_abs());
    if weight < 0 { P - magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    /// The rank over the rationals, by elimination without fractions.
    fn rank(rows: &[Vec<i32>]) -> usize {
        let mut rows: Vec<Vec<BigInt>> =
            rows.iter().map(|row| row.iter().copied().map(BigInt::from).collect()).collect();
        let zero = BigInt::from(0);
        let mut rank = 0;
        for column in 0..rows.first().map_or(0, Vec::len) {
            let Some(found) = (rank..rows.len()).find(|&row| rows[row][column] != zero) else { continue };
            rows.swap(rank, found);
            let pivot = rows[rank].clone();
            for row in &mut rows[rank + 1..] {
                let factor = row[column].clone();
                row.iter_mut().zip(&pivot).for_each(|(x, p)| *x = &*x * &pivot[column] - &factor * p);
            }
            rank += 1;
        }
        rank
    }

    fn echelon(rows: &[Vec<i32>]) -> Echelon {
        let mut echelon = Echelon::new(rows[0].len());
        for (index, row) in rows.iter().enumerate() {
            let before = echelon.rank();
            assert_eq!(echelon.insert(row), rank(&rows[..=index]) > before);
        }
        echelon
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_the_integers(
            columns in 1usize..9, count in 1usize..9, span in 1i32..4, weights in prop::collection::vec(-4i32..=4, 81),
        ) {
            // Few distinct weights, so that many rows depend on others.
            let row = |row: usize| (0..columns).map(|column| weights[row * 9 + column] / span).collect();
            let rows: Vec<Vec<i32>> = (0..count).map(row).collect();
            let found = echelon(&rows);
            prop_assert_eq!(found.rank(), rank(&rows));
            for (index, (pivot, row)) in found.rows.iter().enumerate() {
                let first = row.iter().position(|x| *x != 0);
                prop_assert_eq!((first, row[*pivot]), (Some(*pivot), 1));
                let others = found.rows.iter().enumerate().filter(|(other, _)| *other != index);
                prop_assert!(others.into_iter().all(|(_, (_, other))| other[*pivot] == 0));
            }
            // A unit vector is in the span exactly if it is a row.
            for column in 0..columns {
                let unit: Vec<i32> = (0..columns).map(|at| i32::from(at == column)).collect();
                let inside = !found.clone().insert(&unit);
                let single = |(_, row): &(usize, Vec<u64>)| row.iter().filter(|x| **x != 0).count() == 1;
                prop_assert_eq!(inside, found.rows.iter().any(|row| row.0 == column && single(row)));
            }
        }

        /// A combination of few coordinates, hidden among others in general position, is found for certain as long as
        /// the forms have disjoint pivots.
        #[test]
        fn combinations_of_few_coordinates_are_found(
            rank in 1usize..13, few in 1usize..8, seed in any::<[u8; 32]>(), salt in any::<u64>(),
        ) {
            let mut random = Seed::new(seed).noise();
            let mut weights = || random.below(4001) as i32 - 2000;
            let mut rows: Vec<Vec<i32>> = (0..rank).map(|_| (0..48).map(|_| weights()).collect()).collect();
            // Four forms of at most twelve pivots.
            let order = Seed::new([salt as u8; 32]);
            prop_assert_eq!(echelon(&rows).sparse(few, 4, &order), None);
            let mut sparse = rows.iter().fold(vec![0; 48], |sum: Vec<i32>, row| {
                sum.iter().zip(row).map(|(a, b)| a + b).collect()
            });
            (0..few).for_each(|at| sparse[(salt as usize % 48 + 5 * at) % 48] += 1 + at as i32);
            rows.push(sparse);
            // With it the rank may be thirteen, of which three forms have disjoint pivots: five coordinates.
            let certain = if rank < 12 { 7 } else { 5 };
            let found = echelon(&rows).sparse(few, 4, &order);
            prop_assert!(few > certain || found.is_some_and(|(entries, _)| entries <= few));
        }

        #[test]
        fn arithmetic_is_modulo_the_prime(x in 0..P, y in 0..P, z in 0..P) {
            let product = u128::from(x) * u128::from(y);
            prop_assert_eq!(u128::from(multiply(x, y)), product % u128::from(P));
            prop_assert_eq!(u128::from(fold(product + u128::from(z))), (product + u128::from(z)) % u128::from(P));
            prop_assert!(x == 0 || multiply(x, invert(x)) == 1);
        }
    }

    #[test]
    fn a_unit_vector_hidden_in_two_functionals_is_found() {
        let first: Vec<i32> = (1..=20).collect();
        let mut second: Vec<i32> = first.iter().map(|weight| 3 * weight).collect();
        second[13] -= 1;
        assert_eq!(echelon(std::slice::from_ref(&first)).sparsest(), Some((20, 0)));
        assert_eq!(echelon(&[first, second]).sparsest(), Some((1, 13)));
        assert_eq!(Echelon::new(3).sparsest(), None);
        assert_eq!(echelon(&[vec![i32::MIN, i32::MAX], vec![1, 0]]).rank(), 2);
    }
}

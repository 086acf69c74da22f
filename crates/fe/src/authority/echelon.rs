//! What a set of functionals spans, modulo a prime.

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

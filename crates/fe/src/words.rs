//! Integers modulo a power of two, and their products with functionals.

use zeroize::Zeroize;

use crate::Functionals;

/// Values of one sample that are multiplied together: enough for the vectors of any processor.
const LANES: usize = 16;
/// Functionals that share the loads of a sample.
const ROWS: usize = 2;

/// An integer modulo `2^32` or `2^64`. Constant time.
pub(crate) trait Word: Copy + Default + PartialEq + Send + Sync + Zeroize {
    /// Bytes on the wire.
    const BYTES: usize;
    fn from_i64(value: i64) -> Self;
    /// The representative of smallest absolute value.
    fn to_i64(self) -> i64;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// From little-endian bytes, [`BYTES`](Self::BYTES) of them.
    fn from_bytes(bytes: &[u8]) -> Self;
    fn wrap(words: Vec<Self>) -> Words;
}

/// Words of either size.
#[derive(Clone, PartialEq)]
pub(crate) enum Words {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Words {
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(words) => words.len(),
            Self::Wide(words) => words.len(),
        }
    }

    /// Bytes of a word.
    pub fn word_bytes(&self) -> usize {
        match self {
            Self::Narrow(_) => u32::BYTES,
            Self::Wide(_) => u64::BYTES,
        }
    }
}

impl Word for u32 {
    const BYTES: usize = 4;

    fn from_i64(value: i64) -> Self {
        value as u32
    }

    fn to_i64(self) -> i64 {
        i64::from(self as i32)
    }

    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn sub(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    fn mul(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
    }

    fn wrap(words: Vec<Self>) -> Words {
        Words::Narrow(words)
    }
}

impl Word for u64 {
    const BYTES: usize = 8;

    fn from_i64(value: i64) -> Self {
        value as u64
    }

    fn to_i64(self) -> i64 {
        self as i64
    }

    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn sub(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    fn mul(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    fn wrap(words: Vec<Self>) -> Words {
        Words::Wide(words)
    }
}

/// The functionals as words, laid out for the loops over samples.
pub(crate) enum Matrix<'a, W> {
    /// Row by row, all of them.
    Dense {
        weights: Vec<W>,
        dimension: usize,
    },
    Sparse {
        functionals: &'a Functionals,
        weights: Vec<W>,
    },
}

impl<'a, W: Word> Matrix<'a, W> {
    pub fn new(functionals: &'a Functionals) -> Self {
        let dimension = functionals.dimension();
        // Multiplying by zero is cheaper than looking for what is not zero, up to a point.
        if 4 * functionals.entries() >= functionals.len() * dimension {
            let mut weights = vec![W::default(); functionals.len() * dimension];
            for (row, weights) in functionals.rows().zip(weights.chunks_exact_mut(dimension)) {
                row.for_each(|(coordinate, weight)| weights[coordinate] = W::from_i64(weight.into()));
            }
            Self::Dense { weights, dimension }
        } else {
            let weights = functionals.rows().flatten().map(|(_, weight)| W::from_i64(weight.into())).collect();
            Self::Sparse { functionals, weights }
        }
    }

    /// Hands the value of every functional on one sample to `accept`, with the functional's number.
    pub fn apply(&self, sample: &[W], mut accept: impl FnMut(usize, W)) {
        match self {
            Self::Dense { weights, dimension } => {
                let mut pairs = weights.chunks_exact(ROWS * dimension);
                let mut functional = 0;
                for rows in pairs.by_ref() {
                    let (first, second) = rows.split_at(*dimension);
                    for value in dot(sample, [first, second]) {
                        accept(functional, value);
                        functional += 1;
                    }
                }
                for row in pairs.remainder().chunks_exact(*dimension) {
                    let [value] = dot(sample, [row]);
                    accept(functional, value);
                    functional += 1;
                }
            }
            Self::Sparse { functionals, weights } => {
                let mut weights = weights.iter();
                for (functional, row) in functionals.rows().enumerate() {
                    let terms = row.zip(weights.by_ref());
                    let sum = terms
                        .fold(W::default(), |sum, ((coordinate, _), weight)| sum.add(sample[coordinate].mul(*weight)));
                    accept(functional, sum);
                }
            }
        }
    }
}

/// The products of one sample with some rows.
fn dot<W: Word, const R: usize>(sample: &[W], rows: [&[W]; R]) -> [W; R] {
    let whole = sample.len() / LANES * LANES;
    let mut sums = [[W::default(); LANES]; R];
    for at in (0..whole).step_by(LANES) {
        let sample = &sample[at..at + LANES];
        for (sums, row) in sums.iter_mut().zip(rows) {
            for ((sum, x), y) in sums.iter_mut().zip(sample).zip(&row[at..at + LANES]) {
                *sum = sum.add(x.mul(*y));
            }
        }
    }
    let mut products = [W::default(); R];
    for ((product, sums), row) in products.iter_mut().zip(sums).zip(rows) {
        let rest = sample[whole..].iter().zip(&row[whole..]).map(|(x, y)| x.mul(*y));
        *product = sums.into_iter().chain(rest).fold(W::default(), Word::add);
    }
    products
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<W: Word + std::fmt::Debug>(functionals: &Functionals, sample: &[i32]) {
        let words: Vec<W> = sample.iter().map(|x| W::from_i64((*x).into())).collect();
        let mut found = vec![W::default(); functionals.len()];
        Matrix::new(functionals).apply(&words, |functional, value| found[functional] = value);
        let expected: Vec<W> = functionals.evaluate(sample).into_iter().map(W::from_i64).collect();
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn products_are_those_of_integers_modulo_the_power_of_two(
            dimension in 1usize..70,
            rows in 0usize..5,
            sparse: bool,
            seed: u32,
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); state as i32 };
            let weight = |next: &mut dyn FnMut() -> i32| if sparse && next() >> 16 & 7 != 0 { 0 } else { next() >> 6 };
            let weights: Vec<i32> = (0..dimension * rows).map(|_| weight(&mut next)).collect();
            let functionals = Functionals::dense(dimension, &weights).unwrap();
            let sample: Vec<i32> = (0..dimension).map(|_| next()).collect();
            check::<u32>(&functionals, &sample);
            check::<u64>(&functionals, &sample);
        }
    }

    #[test]
    fn representatives_are_the_smallest() {
        for value in [0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN)] {
            assert_eq!((u32::from_i64(value).to_i64(), u64::from_i64(value).to_i64()), (value, value));
        }
        assert_eq!(
            (u32::from_bytes(&[1, 2, 3, 4]), u64::from_bytes(&[1, 0, 0, 0, 0, 0, 0, 2])),
            (0x0403_0201, 2 << 56 | 1)
        );
    }
}

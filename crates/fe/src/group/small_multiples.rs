//! Constant-time multiples of the generator by small integers.

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::digits;

/// Bits of a digit. Selecting an entry of a table costs an eighth of an addition, so tables are short.
const DIGIT_BITS: u32 = 3;

/// Multiples of the generator by small secret integers, in constant time.
#[derive(Clone)]
pub(crate) struct SmallMultiples {
    /// `8^place (1..=4) G` by place.
    tables: Vec<[RistrettoPoint; 4]>,
}

impl SmallMultiples {
    /// Multiples by integers within `+-bound`, `bound < 2^31`.
    pub fn new(bound: u32) -> Self {
        let mut tables = Vec::new();
        let mut power = RISTRETTO_BASEPOINT_POINT;
        for _ in 0..digits::count(bound, DIGIT_BITS) {
            let twice = power + power;
            let table = [power, twice, twice + power, twice + twice];
            power = table[3] + table[3];
            tables.push(table);
        }
        Self { tables }
    }

    /// `value * G`; the magnitude is within the bound.
    pub fn mul(&self, value: i32) -> RistrettoPoint {
        let negative = (value >> 31) as u32;
        let mut rest = (value as u32 ^ negative).wrapping_sub(negative);
        let mut product: Option<RistrettoPoint> = None;
        for table in &self.tables {
            let digit;
            (digit, rest) = digits::split(rest, DIGIT_BITS);
            let sign = (digit >> 31) as u32;
            let magnitude = (digit as u32 ^ sign).wrapping_sub(sign);
            let mut entry = RistrettoPoint::default();
            for (m, candidate) in (1u32..).zip(table) {
                entry.conditional_assign(candidate, m.ct_eq(&magnitude));
            }
            let opposite = -entry;
            entry.conditional_assign(&opposite, Choice::from(((sign ^ negative) & 1) as u8));
            product = Some(product.map_or(entry, |product| product + entry));
        }
        debug_assert_eq!(rest, 0);
        product.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::Scalar;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn small_integers_multiply_the_generator(value in -(1i32 << 24)..=1 << 24) {
            let multiples = SmallMultiples::new(1 << 24);
            for value in [value, 0, 1, -1, 4, -4, 1 << 24, -(1 << 24)] {
                let scalar = Scalar::from(value.unsigned_abs());
                let scalar = if value < 0 { -scalar } else { scalar };
                prop_assert_eq!(multiples.mul(value), RistrettoPoint::mul_base(&scalar));
            }
            for bound in [1, 4, 5, 255] {
                let value = value % (bound as i32 + 1);
                let scalar = Scalar::from(value.unsigned_abs());
                let scalar = if value < 0 { -scalar } else { scalar };
                prop_assert_eq!(SmallMultiples::new(bound).mul(value), RistrettoPoint::mul_base(&scalar));
            }
        }
    }
}

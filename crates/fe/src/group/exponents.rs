//! One base to many full scalars: the part of decryption that undoes the mask.

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};

/// Bits of a scalar, with one for the sign of the last digit.
const BITS: usize = 254;
/// From here on a table of the base's own pays for itself: below, the curve crate's vectorised doublings are faster
/// than additions one by one.
const MIN_COUNT: usize = 10;

/// `sum_h scalars[k][h] * bases[h]` for every `k`. Variable time: bases and scalars are public.
pub(crate) fn powers<const H: usize>(bases: &[RistrettoPoint; H], scalars: &[[Scalar; H]]) -> Vec<RistrettoPoint> {
    if scalars.len() < MIN_COUNT {
        return scalars.iter().map(|scalars| RistrettoPoint::vartime_multiscalar_mul(scalars, bases)).collect();
    }
    let plan = Plan::best(scalars.len());
    let tables = bases.map(|base| plan.table(&base));
    let product = |(table, scalar): (&Vec<RistrettoPoint>, &Scalar)| plan.mul(table, scalar);
    scalars.iter().map(|scalars| tables.iter().zip(scalars).map(product).sum()).collect()
}

/// Fixed windows of `bits` bits, of which every `stride`-th has a table: `stride - 1` times `bits` doublings a product.
#[derive(Clone, Copy, Debug)]
struct Plan {
    bits: usize,
    stride: usize,
}

impl Plan {
    fn windows(self) -> usize {
        BITS.div_ceil(self.bits)
    }

    /// Additions and doublings of the table and of `count` products.
    fn cost(self, count: usize) -> usize {
        let tables = self.windows().div_ceil(self.stride);
        let table = tables * (1 << (self.bits - 1)) + BITS;
        table + count * (self.windows() + (self.stride - 1) * self.bits)
    }

    fn best(count: usize) -> Self {
        let plans = (4..=11).flat_map(|bits| (1..=8).map(move |stride| Self { bits, stride }));
        plans.min_by_key(|plan| plan.cost(count)).unwrap_or(Self { bits: 4, stride: 1 })
    }

    /// Multiples 1 to `2^(bits - 1)` of `2^(bits stride t) base`, for every `t`.
    fn table(self, base: &RistrettoPoint) -> Vec<RistrettoPoint> {
        let entries = 1 << (self.bits - 1);
        let tables = self.windows().div_ceil(self.stride);
        let mut table = Vec::with_capacity(tables * entries);
        let mut power = *base;
        for t in 0..tables {
            if t > 0 {
                (0..self.bits * self.stride).for_each(|_| power = power + power);
            }
            let mut multiple = power;
            for i in 0..entries {
                if i > 0 {
                    multiple += power;
                }
                table.push(multiple);
            }
        }
        table
    }

    fn mul(self, table: &[RistrettoPoint], scalar: &Scalar) -> RistrettoPoint {
        let digits = self.digits(scalar);
        let entries = 1 << (self.bits - 1);
        let mut product: Option<RistrettoPoint> = None;
        for phase in (0..self.stride).rev() {
            if let Some(product) = product.as_mut() {
                (0..self.bits).for_each(|_| *product = *product + *product);
            }
            for (t, &digit) in digits.iter().skip(phase).step_by(self.stride).enumerate() {
                let Some(index) = digit.unsigned_abs().checked_sub(1) else { continue };
                let entry = &table[t * entries + index as usize];
                product = Some(match product {
                    None if digit > 0 => *entry,
                    None => -entry,
                    Some(sum) if digit > 0 => sum + entry,
                    Some(sum) => sum - entry,
                });
            }
        }
        product.unwrap_or_default()
    }

    /// Digits from `-2^(bits - 1)` to `2^(bits - 1)`, lowest first.
    fn digits(self, scalar: &Scalar) -> Vec<i32> {
        let mut words = [0u64; 5];
        for (word, bytes) in words.iter_mut().zip(scalar.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let mut carry = 0;
        (0..self.windows())
            .map(|window| {
                let at = window * self.bits;
                let both = u128::from(words[at / 64]) | u128::from(words[(at / 64 + 1).min(4)]) << 64;
                let digit = (both >> (at % 64)) as i32 & ((1 << self.bits) - 1);
                let digit = digit + carry;
                carry = i32::from(digit > 1 << (self.bits - 1));
                digit - (carry << self.bits)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_multiplies() {
        let base = RistrettoPoint::mul_base(&Scalar::from(0x1234_5678_9abc_def0_u64).invert());
        let scalars = [
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(1u64 << 63),
            Scalar::from_bytes_mod_order([0x88; 32]),
            Scalar::from_bytes_mod_order([0xff; 32]),
            Scalar::from(3u8).invert(),
        ];
        let expected = scalars.map(|scalar| base * scalar);
        for bits in 4..=11 {
            for stride in [1, 2, 3, 8] {
                let plan = Plan { bits, stride };
                let table = plan.table(&base);
                for (scalar, expected) in scalars.iter().zip(&expected) {
                    assert_eq!(plan.mul(&table, scalar), *expected, "{plan:?}");
                }
            }
        }
        for count in [0, 1, MIN_COUNT - 1, MIN_COUNT, 40] {
            let pairs = scalars.iter().zip(scalars.iter().rev()).map(|(a, b)| [*a, *b]);
            let pairs: Vec<[Scalar; 2]> = pairs.cycle().take(count).collect();
            let expected = pairs.iter().map(|[a, b]| base * (a + b + b));
            assert!(powers(&[base, base + base], &pairs).into_iter().eq(expected), "{count}");
        }
    }

    #[test]
    fn more_products_get_larger_tables() {
        let few = Plan::best(MIN_COUNT);
        let many = Plan::best(4704);
        assert!(few.bits < many.bits && few.stride > many.stride && many.stride == 1, "{few:?} {many:?}");
    }
}

//! Combinations of secret scalars with small public weights: what a function key is.

use curve25519_dalek::Scalar;
use zeroize::{Zeroize, Zeroizing};

/// A sum of up to `2^20` products of a scalar below `2^253` and a weight below `2^25`, in limbs of 32 bits with carries
/// kept: a limb stays below `2^(32 + 25 + 20)`.
struct Sum([u128; 8]);

impl Sum {
    fn add(&mut self, scalar: &[u32; 8], weight: u32) {
        for (sum, limb) in self.0.iter_mut().zip(scalar) {
            *sum += u128::from(u64::from(*limb) * u64::from(weight));
        }
    }

    fn reduce(&self) -> Scalar {
        let mut bytes = Zeroizing::new([0u8; 64]);
        let mut carry = 0u128;
        for (word, limb) in bytes.chunks_exact_mut(4).zip(self.0.iter().chain([&0; 8])) {
            carry += limb;
            word.copy_from_slice(&(carry as u32).to_le_bytes());
            carry >>= 32;
        }
        Scalar::from_bytes_mod_order_wide(&bytes)
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Secret scalars in limbs, so that many combinations are cheap. Wiped when dropped.
pub(crate) struct Secrets(Zeroizing<Vec<[u32; 8]>>);

impl Secrets {
    pub fn new(scalars: &[Scalar]) -> Self {
        let limbs = |scalar: &Scalar| {
            let bytes = scalar.as_bytes();
            std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[4 * i + byte])))
        };
        Self(Zeroizing::new(scalars.iter().map(limbs).collect()))
    }

    /// `sum weight * scalar` modulo the order over the terms, which are at most `2^20` with weights below `2^25`.
    /// Constant time in the scalars; the weights are public.
    pub fn combine(&self, terms: impl Iterator<Item = (usize, i32)>) -> Scalar {
        let (mut positive, mut negative) = (Sum([0; 8]), Sum([0; 8]));
        for (index, weight) in terms {
            let sum = if weight < 0 { &mut negative } else { &mut positive };
            sum.add(&self.0[index], weight.unsigned_abs());
        }
        positive.reduce() - negative.reduce()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn combinations_are_those_of_scalars(
            terms in proptest::collection::vec((any::<[u8; 32]>(), -(1i32 << 24)..=1 << 24), 0..20),
        ) {
            let scalars: Vec<Scalar> = terms.iter().map(|(bytes, _)| Scalar::from_bytes_mod_order(*bytes)).collect();
            let expected: Scalar = terms.iter().zip(&scalars).map(|((_, weight), scalar)| {
                let product = scalar * Scalar::from(weight.unsigned_abs());
                if *weight < 0 { -product } else { product }
            }).sum();
            let found = Secrets::new(&scalars).combine(terms.iter().map(|(_, weight)| *weight).enumerate());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let secrets = Secrets::new(&[-Scalar::ONE]);
        let (count, weight) = (1u32 << 20, 1 << 24);
        let expected = -Scalar::from(u64::from(count) * weight as u64);
        assert_eq!(secrets.combine((0..count).map(|_| (0, weight))), expected);
        assert_eq!(secrets.combine((0..count).map(|_| (0, -weight))), -expected);
    }
}

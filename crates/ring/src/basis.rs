//! Residue number systems: an ordered list of primes with the transform of each.

use std::fmt;
use std::sync::Arc;

use crate::{Kernel, Modulus, NttTable, Pool, RingError};

/// Which quotient ring polynomials live in. Both have degree `N`, the same cost and the same security at equal modulus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ring {
    /// `Z[X]/(X^N + 1)`.
    Standard,
    /// `Z[X + 1/X]/(X^(2N) + 1)`, the real subring of degree `N` (Kim and Song, eprint 2018/952).
    ConjugateInvariant,
}

impl Ring {
    /// Order of the roots of unity that the transform of degree `N` needs: `2N` or `4N`. Primes are 1 modulo this.
    pub fn root_order(self, degree: usize) -> u64 {
        match self {
            Self::Standard => 2 * degree as u64,
            Self::ConjugateInvariant => 4 * degree as u64,
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Standard => "standard",
            Self::ConjugateInvariant => "conjugate-invariant",
        })
    }
}

/// Primes `q_0, .., q_(k-1)` with their transforms, the kernel which computes and the pool of buffers.
///
/// Immutable and cheap to derive from: sub-bases share tables and pool.
#[derive(Clone)]
pub struct RnsBasis {
    degree: usize,
    ring: Ring,
    tables: Vec<Arc<NttTable>>,
    kernel: &'static dyn Kernel,
    pool: Pool,
}

impl RnsBasis {
    /// A basis of the given primes.
    ///
    /// # Errors
    /// [`RingError`] if a modulus is not an odd prime below `2^50` with the roots of unity that the ring needs, if
    /// a prime repeats, or if the degree is not supported.
    pub fn new(
        degree: usize,
        ring: Ring,
        primes: &[u64],
        kernel: &'static dyn Kernel,
        pool: Pool,
    ) -> Result<Self, RingError> {
        let mut tables = Vec::with_capacity(primes.len());
        for (index, &prime) in primes.iter().enumerate() {
            if primes[..index].contains(&prime) {
                return Err(RingError::RepeatedPrime { prime });
            }
            tables.push(Arc::new(NttTable::new(Modulus::new(prime)?, degree, ring)?));
        }
        Ok(Self { degree, ring, tables, kernel, pool })
    }

    /// The basis made of the limbs `indices` of this one, in that order.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let tables = indices.into_iter().map(|index| Arc::clone(&self.tables[index])).collect();
        Self { tables, ..self.clone() }
    }

    /// Coefficients of a polynomial.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// The quotient ring.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// Number of primes.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there is no prime.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The prime of a limb.
    pub fn modulus(&self, limb: usize) -> Modulus {
        self.tables[limb].modulus()
    }

    /// The primes in order.
    pub fn moduli(&self) -> impl ExactSizeIterator<Item = Modulus> + '_ {
        self.tables.iter().map(|table| table.modulus())
    }

    /// The transform of a limb.
    pub fn table(&self, limb: usize) -> &NttTable {
        &self.tables[limb]
    }

    /// The kernel that computes.
    pub fn kernel(&self) -> &'static dyn Kernel {
        self.kernel
    }

    /// The pool that buffers come from.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// `log2` of the product of the primes.
    pub fn log2(&self) -> f64 {
        self.moduli().map(|q| q.as_f64().log2()).sum()
    }
}

impl PartialEq for RnsBasis {
    fn eq(&self, other: &Self) -> bool {
        self.degree == other.degree && self.ring == other.ring && self.moduli().eq(other.moduli())
    }
}

impl fmt::Debug for RnsBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RnsBasis")
            .field("degree", &self.degree)
            .field("ring", &self.ring)
            .field("primes", &self.moduli().map(Modulus::value).collect::<Vec<_>>())
            .field("kernel", &self.kernel.name())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernels, prime};

    fn new(degree: usize, ring: Ring, primes: &[u64]) -> Result<RnsBasis, RingError> {
        RnsBasis::new(degree, ring, primes, kernels::available()[0], Pool::new())
    }

    #[test]
    fn wrong_primes_and_degrees_are_named() {
        let prime = prime::largest_primes(30, 128, 1, &[]).unwrap()[0];
        assert_eq!(new(64, Ring::Standard, &[prime, 12289, prime]).unwrap_err(), RingError::RepeatedPrime { prime });
        assert_eq!(new(64, Ring::Standard, &[prime, 15]).unwrap_err(), RingError::Modulus { found: 15 });
        // 257 is 1 modulo 2 * 128 but not modulo 4 * 128.
        assert!(new(128, Ring::Standard, &[257]).is_ok());
        assert_eq!(
            new(128, Ring::ConjugateInvariant, &[257]).unwrap_err(),
            RingError::NoRootOfUnity { prime: 257, order: 512, ring: Ring::ConjugateInvariant }
        );
        for found in [0, 8, 48, 1 << 18] {
            let expected = RingError::Degree { found, min: 16, max: 1 << 17 };
            assert_eq!(new(found, Ring::Standard, &[12289]).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_selection_shares_tables_and_keeps_the_order_asked_for() {
        let primes = prime::largest_primes(40, 256, 3, &[]).unwrap();
        let basis = new(64, Ring::ConjugateInvariant, &primes).unwrap();
        let part = basis.select([2, 0]);
        assert_eq!(part.moduli().map(Modulus::value).collect::<Vec<_>>(), [primes[2], primes[0]]);
        assert!(std::ptr::eq(part.table(0), basis.table(2)));
        assert!(part != basis && part == new(64, Ring::ConjugateInvariant, &[primes[2], primes[0]]).unwrap());
        assert!(new(64, Ring::Standard, &primes).unwrap() != basis);
        assert!((basis.log2() - 120.0).abs() < 1e-6 && !basis.is_empty() && basis.select([]).is_empty());
    }
}

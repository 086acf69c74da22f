//! Tables of the number-theoretic transform.

use std::sync::OnceLock;

use crate::{Modulus, Ring, RingError};

/// Smallest ring degree: the vector kernels work on blocks of 16.
pub const MIN_LOG_DEGREE: u32 = 4;
/// Largest ring degree.
pub const MAX_LOG_DEGREE: u32 = 17;

/// Roots of unity for the transform of one prime, one degree and one ring.
///
/// The transform walks a binary tree of moduli. The root of the tree is `X^N - zeta^e`: for the standard ring
/// `zeta` has order `2N` and `e = N`, so this is `X^N + 1`; for the conjugate-invariant ring `zeta` has order `4N` and
/// `e = N`, so this is `X^N - i` with `i = zeta^N` a fourth root of unity. A node `X^M - zeta^e` has the children
/// `X^(M/2) - zeta^(e/2)` and `X^(M/2) + zeta^(e/2)`, and its twiddle factor is `zeta^(e/2)`. Nodes are numbered from 1,
/// the children of `k` are `2k` and `2k + 1`; position `j` of the transformed vector is the value at the leaf `N + j`.
/// For the standard ring that is the usual bit-reversed order: the value at `zeta^(2 bitrev(j) + 1)`.
///
/// `zeta` is `g^((p-1)/order)` for the smallest `g >= 2` for which this has the full order, so that transformed
/// vectors mean the same on every machine.
///
/// An element of the conjugate-invariant ring (Kim and Song, eprint 2018/952) is
/// `a_0 + sum_{0<j<N} a_j (X^j + X^-j)`; in the standard ring of degree `2N` its coefficients are
/// `(a_0, .., a_(N-1), 0, -a_(N-1), .., -a_1)`, so modulo `X^N - i` it is `b` with `b_0 = a_0` and
/// `b_j = a_j - i a_(N-j)`. That fold is the first step of the transform; the other half of the degree-`2N` transform
/// mirrors this one.
#[derive(Debug)]
pub struct NttTable {
    modulus: Modulus,
    ring: Ring,
    degree: usize,
    roots: Vec<f64>,
    inverse_roots: Vec<f64>,
    inverse_scales: [f64; 2],
    fold: f64,
    fold_root: f64,
    inverse_fold_root: f64,
    /// Of both directions, as the next: made when a kernel asks for them.
    leaf_roots: [OnceLock<Vec<LeafRoots>>; 2],
    wide_leaf_roots: [OnceLock<Vec<WideLeafRoots>>; 2],
}

/// The roots of the last four levels of 16 positions, in the order in which the vector kernels use them.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct LeafRoots {
    /// Those of the four nodes of size 4, of their left and of their right children.
    pub fours: [f64; 4],
    pub left: [f64; 4],
    pub right: [f64; 4],
    /// Those of the node of size 16, of its left and of its right child.
    pub shared: [f64; 3],
}

/// The roots of the last three levels of 16 positions in the lanes in which eight of them are computed.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct WideLeafRoots {
    /// Those of the two nodes of size 8.
    pub eights: [f64; 8],
    /// Those of the four nodes of size 4.
    pub fours: [f64; 8],
    /// Those of the eight nodes of size 2.
    pub twos: [f64; 8],
}

impl NttTable {
    /// Prepares the transform of length `degree` modulo `modulus`.
    ///
    /// # Errors
    /// [`RingError::Degree`] unless `degree` is a power of two from `2^4` to `2^17`; [`RingError::NoRootOfUnity`] unless
    /// the prime is 1 modulo `2N` (standard) or `4N` (conjugate-invariant).
    pub fn new(modulus: Modulus, degree: usize, ring: Ring) -> Result<Self, RingError> {
        if !degree.is_power_of_two() || !(MIN_LOG_DEGREE..=MAX_LOG_DEGREE).contains(&degree.trailing_zeros()) {
            return Err(RingError::Degree { found: degree, min: 1 << MIN_LOG_DEGREE, max: 1 << MAX_LOG_DEGREE });
        }
        let order = ring.root_order(degree);
        let zeta =
            root_of_unity(modulus, order).ok_or(RingError::NoRootOfUnity { prime: modulus.value(), order, ring })?;

        let powers: Vec<u64> =
            std::iter::successors(Some(1), |&w| Some(modulus.mul(w, zeta))).take(order as usize).collect();
        let mut exponents = vec![0; 2 * degree];
        exponents[1] = degree as u64;
        for node in 1..degree {
            exponents[2 * node] = exponents[node] / 2;
            exponents[2 * node + 1] = exponents[node] / 2 + order / 2;
        }
        let table = |sign: fn(u64, u64) -> u64| -> Vec<f64> {
            let twiddle = |e: &u64| modulus.center(powers[sign(e / 2, order) as usize]);
            exponents[..degree].iter().map(twiddle).collect()
        };
        let roots = table(|e, _| e);
        let inverse_roots = table(|e, order| (order - e) % order);
        let fold = powers[degree % powers.len()];
        let first = powers[degree / 2];
        let fold_root = modulus.mul(modulus.value() - fold, first);
        let (factor, second) = match ring {
            Ring::Standard => (1, modulus.inverse(first)),
            Ring::ConjugateInvariant => (2, fold),
        };
        let scale = modulus.inverse(factor * degree as u64 % modulus.value());
        Ok(Self {
            modulus,
            ring,
            degree,
            leaf_roots: [OnceLock::new(), OnceLock::new()],
            inverse_scales: [modulus.center(scale), modulus.center(modulus.mul(scale, second))],
            fold: modulus.center(fold),
            fold_root: modulus.center(fold_root),
            inverse_fold_root: modulus.center(modulus.inverse(fold_root)),
            roots,
            inverse_roots,
            wide_leaf_roots: [OnceLock::new(), OnceLock::new()],
        })
    }

    /// The prime.
    pub fn modulus(&self) -> Modulus {
        self.modulus
    }

    /// The ring.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// Length of the transform.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// Canonical twiddle factor of a node in `1..N`.
    pub(crate) fn root(&self, node: usize) -> f64 {
        self.roots[node]
    }

    /// Inverse of [`root`](Self::root).
    pub(crate) fn inverse_root(&self, node: usize) -> f64 {
        self.inverse_roots[node]
    }

    /// All twiddle factors by node; entry 0 is not used.
    pub(crate) fn roots(&self) -> &[f64] {
        &self.roots
    }

    /// Inverses of [`roots`](Self::roots).
    pub(crate) fn inverse_roots(&self) -> &[f64] {
        &self.inverse_roots
    }

    /// `1/N`, or `1/(2N)` for the conjugate-invariant ring, whose unfolding leaves a factor 2.
    pub(crate) fn inverse_scale(&self) -> f64 {
        self.inverse_scales[0]
    }

    /// The inverse scale, and its product with the inverse root of node 1 (standard) or with `i` (conjugate-invariant).
    pub(crate) fn inverse_scales(&self) -> [f64; 2] {
        self.inverse_scales
    }

    /// `i = zeta^N`: the fourth root of unity of the conjugate-invariant fold.
    pub(crate) fn fold(&self) -> f64 {
        self.fold
    }

    /// `-i` times the root of node 1.
    pub(crate) fn fold_root(&self) -> f64 {
        self.fold_root
    }

    /// Inverse of [`fold_root`](Self::fold_root).
    pub(crate) fn inverse_fold_root(&self) -> f64 {
        self.inverse_fold_root
    }

    /// The roots of the last four levels, one entry for each 16 positions.
    pub(crate) fn leaf_roots(&self) -> &[LeafRoots] {
        self.leaf_roots[0].get_or_init(|| leaves(&self.roots))
    }

    /// Inverses of [`leaf_roots`](Self::leaf_roots).
    pub(crate) fn inverse_leaf_roots(&self) -> &[LeafRoots] {
        self.leaf_roots[1].get_or_init(|| leaves(&self.inverse_roots))
    }

    /// The roots of the last three levels for eight lanes, one entry for each 16 positions.
    pub(crate) fn wide_leaf_roots(&self) -> &[WideLeafRoots] {
        self.wide_leaf_roots[0].get_or_init(|| wide_leaves(&self.roots, [0, 0, 0, 0, 1, 1, 1, 1]))
    }

    /// As [`wide_leaf_roots`](Self::wide_leaf_roots) for the inverse, whose lanes come in another order for nodes of size 8.
    pub(crate) fn inverse_wide_leaf_roots(&self) -> &[WideLeafRoots] {
        self.wide_leaf_roots[1].get_or_init(|| wide_leaves(&self.inverse_roots, [0, 0, 1, 1, 0, 0, 1, 1]))
    }
}

/// `eights`, `FOURS` and `TWOS` say which of the nodes below the one of size 16 each lane belongs to.
fn wide_leaves(roots: &[f64], eights: [usize; 8]) -> Vec<WideLeafRoots> {
    const FOURS: [usize; 8] = [0, 0, 2, 2, 1, 1, 3, 3];
    const TWOS: [usize; 8] = [0, 1, 4, 5, 2, 3, 6, 7];
    let sixteens = roots.len() / 16;
    (sixteens..2 * sixteens)
        .map(|node| WideLeafRoots {
            eights: eights.map(|child| roots[2 * node + child]),
            fours: FOURS.map(|child| roots[4 * node + child]),
            twos: TWOS.map(|child| roots[8 * node + child]),
        })
        .collect()
}

fn leaves(roots: &[f64]) -> Vec<LeafRoots> {
    let sixteens = roots.len() / 16;
    (sixteens..2 * sixteens)
        .map(|node| LeafRoots {
            fours: std::array::from_fn(|i| roots[4 * node + i]),
            left: std::array::from_fn(|i| roots[2 * (4 * node + i)]),
            right: std::array::from_fn(|i| roots[2 * (4 * node + i) + 1]),
            shared: [roots[node], roots[2 * node], roots[2 * node + 1]],
        })
        .collect()
}

/// `g^((p-1)/order)` for the smallest `g >= 2` that gives an element of exactly this order (a power of two).
fn root_of_unity(q: Modulus, order: u64) -> Option<u64> {
    if !(q.value() - 1).is_multiple_of(order) {
        return None;
    }
    (2..q.value()).map(|g| q.pow(g, (q.value() - 1) / order)).find(|&root| q.pow(root, order / 2) == q.value() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_have_their_order_and_inverses() {
        let q = Modulus::new(12289).unwrap();
        for (ring, degree) in [(Ring::Standard, 2048), (Ring::ConjugateInvariant, 1024), (Ring::Standard, 16)] {
            let table = NttTable::new(q, degree, ring).unwrap();
            let fold = q.lift(table.fold());
            // zeta^N: -1, or a fourth root of unity.
            assert_eq!(if ring == Ring::Standard { fold } else { q.mul(fold, fold) }, 12288);
            for node in 1..degree {
                let root = q.lift(table.root(node));
                assert_eq!(q.mul(root, q.lift(table.inverse_root(node))), 1);
                // The square of a node's root is the root of its modulus: plus or minus the root of its parent.
                let parent = if node == 1 { fold } else { q.lift(table.root(node / 2)) };
                assert_eq!(q.mul(root, root), if node % 2 == 0 || node == 1 { parent } else { q.sub(0, parent) });
            }
            assert_eq!(q.mul(q.lift(table.fold_root()), q.lift(table.inverse_fold_root())), 1);
        }
    }

    #[test]
    fn degrees_and_primes_without_a_transform_are_refused() {
        let q = Modulus::new(12289).unwrap();
        assert_eq!(
            NttTable::new(q, 4096, Ring::ConjugateInvariant).unwrap_err(),
            RingError::NoRootOfUnity { prime: 12289, order: 16384, ring: Ring::ConjugateInvariant }
        );
        for found in [0, 1, 8, 100, 1 << 18] {
            let expected = RingError::Degree { found, min: 16, max: 1 << 17 };
            assert_eq!(NttTable::new(q, found, Ring::Standard).unwrap_err(), expected);
        }
    }
}

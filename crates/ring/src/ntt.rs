//! Tables of the number-theoretic transform.

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
    inverse_scale: f64,
    fold: f64,
    leaf_roots: Vec<f64>,
    inverse_leaf_roots: Vec<f64>,
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
        let unfolding = if ring == Ring::ConjugateInvariant { 2 } else { 1 };
        Ok(Self {
            modulus,
            ring,
            degree,
            leaf_roots: leaves(&roots),
            inverse_leaf_roots: leaves(&inverse_roots),
            roots,
            inverse_roots,
            inverse_scale: modulus.center(modulus.inverse((degree * unfolding) as u64 % modulus.value())),
            fold: modulus.center(powers[degree % powers.len()]),
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
        self.inverse_scale
    }

    /// `zeta^N`: the fourth root of unity of the conjugate-invariant fold.
    pub(crate) fn fold(&self) -> f64 {
        self.fold
    }

    /// The roots of the last two levels for each block of 16 positions, as three vectors of 4: those of the nodes
    /// `k..k+4` of size 4, then those of their left children, then those of their right children.
    pub(crate) fn leaf_roots(&self) -> &[f64] {
        &self.leaf_roots
    }

    /// Inverses of [`leaf_roots`](Self::leaf_roots).
    pub(crate) fn inverse_leaf_roots(&self) -> &[f64] {
        &self.inverse_leaf_roots
    }
}

fn leaves(roots: &[f64]) -> Vec<f64> {
    let fours = roots.len() / 4;
    (0..fours / 4)
        .flat_map(|block| {
            let nodes = fours + 4 * block..fours + 4 * block + 4;
            let left = nodes.clone().map(|node| roots[2 * node]);
            let right = nodes.clone().map(|node| roots[2 * node + 1]);
            nodes.map(|node| roots[node]).chain(left).chain(right).collect::<Vec<_>>()
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

//! The automorphisms `X -> X^g` of both rings.

use std::fmt;

use crate::{Eval, Kernel, Ring, RingError, RnsPoly, parallel};

/// `X -> X^g` for odd `g`: `a(X)` becomes `a(X^g)`. On evaluations it is a permutation, the same for every prime.
///
/// Position `j` holds the value at `zeta^e` with `e = 1 + c k`, where `k` is `j` with its bits reversed and `c` is 2 in the
/// standard ring and 4 in the conjugate-invariant one (see [`NttTable`](crate::NttTable)). The value of `a(X^g)` there is
/// that of `a` at `zeta^(g e)`, so it is found at the `k' = g k + (g - 1)/c` modulo `N`. In the conjugate-invariant ring
/// `g` and `-g` are the same automorphism, and one of them is 1 modulo 4.
///
/// The last two bits of `j` are the first two of `k`: the 4 values of an aligned group come from one aligned group, and
/// their order within it depends on the carry of `k'` into these two bits alone. The vector kernels use this.
#[derive(Clone)]
pub struct Automorphism {
    ring: Ring,
    degree: usize,
    element: u64,
    /// For each group of 4 positions the first position of the group it comes from, plus the carry.
    groups: Vec<u32>,
    /// For each carry the places in the source's group.
    lanes: [[u32; 4]; 4],
}

impl Automorphism {
    /// `X -> X^element` in a ring of degree `degree`.
    ///
    /// # Errors
    /// [`RingError::GaloisElement`] unless `element` is odd and below `2N` (standard) or `4N` (conjugate-invariant).
    ///
    /// # Panics
    /// If `degree` is not that of a ring: a power of two, at least 16.
    pub fn new(ring: Ring, degree: usize, element: u64) -> Result<Self, RingError> {
        let order = ring.root_order(degree);
        if element.is_multiple_of(2) || element >= order {
            return Err(RingError::GaloisElement { found: element, order });
        }
        Ok(Self::of_odd(ring, degree, element))
    }

    /// `X -> X^(5^exponent)`.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn power_of_five(ring: Ring, degree: usize, exponent: usize) -> Self {
        Self::of_odd(ring, degree, power(5, exponent as u64, ring.root_order(degree)))
    }

    /// `X -> X^-1`: the identity of the conjugate-invariant ring.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn inversion(ring: Ring, degree: usize) -> Self {
        Self::of_odd(ring, degree, ring.root_order(degree) - 1)
    }

    /// `X -> X^element` for an odd element below the order of the roots of unity.
    fn of_odd(ring: Ring, degree: usize, element: u64) -> Self {
        assert!(degree.is_power_of_two() && degree >= 16, "{degree} is the degree of no ring");
        let element = match ring {
            Ring::ConjugateInvariant if element % 4 == 3 => ring.root_order(degree) - element,
            _ => element,
        };
        let mut automorphism = Self { ring, degree, element, groups: Vec::new(), lanes: [[0; 4]; 4] };
        let quarter = degree as u64 / 4;
        let reversed_pair = |bits: u64| (bits >> 1 & 1) | (bits & 1) << 1;
        automorphism.lanes = std::array::from_fn(|carry| {
            std::array::from_fn(|lane| {
                let high = carry as u64 + element * reversed_pair(lane as u64);
                reversed_pair(high % 4) as u32
            })
        });
        automorphism.groups = (0..degree / 4)
            .map(|group| {
                let image = automorphism.image(reversed(4 * group, degree));
                let (carry, low) = (image / quarter, image % quarter);
                (reversed(low as usize, degree) as u32) | carry as u32
            })
            .collect();
        automorphism
    }

    /// The ring.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// The degree of the ring.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// `g`; 1 modulo 4 in the conjugate-invariant ring.
    pub fn element(&self) -> u64 {
        self.element
    }

    /// The automorphism that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        // The group of odd residues modulo a power of two `order` has the exponent `order / 4`.
        let order = self.ring.root_order(self.degree);
        Self::of_odd(self.ring, self.degree, power(self.element, order / 4 - 1, order))
    }

    /// The position from which the value at `position` comes.
    pub fn source(&self, position: usize) -> usize {
        reversed(self.image(reversed(position, self.degree)) as usize, self.degree)
    }

    /// `k'` of `k`.
    fn image(&self, k: usize) -> u64 {
        let step = self.ring.root_order(self.degree) / self.degree as u64;
        (self.element * k as u64 + self.element / step) % self.degree as u64
    }

    /// The groups of 4 positions and the order within them, for vector kernels. Every group is below the degree and
    /// every place below 4.
    pub(crate) fn groups(&self) -> (&[u32], &[[u32; 4]; 4]) {
        (&self.groups, &self.lanes)
    }

    /// The image of one limb, whatever its prime.
    ///
    /// # Panics
    /// If the slices do not have the degree of the ring.
    pub fn apply_limb(&self, kernel: &dyn Kernel, out: &mut [f64], a: &[f64]) {
        kernel.permute(self, out, a);
    }

    /// The image of a polynomial.
    ///
    /// # Panics
    /// If it belongs to another ring or degree.
    pub fn apply(&self, poly: &RnsPoly<Eval>) -> RnsPoly<Eval> {
        let basis = poly.basis();
        assert!((basis.ring(), basis.degree()) == (self.ring, self.degree), "{self:?} of {basis:?}");
        let mut image = RnsPoly::unspecified(basis);
        let limbs = image.limbs_mut().zip(poly.limbs());
        parallel::for_each(limbs, |_, (out, limb)| self.apply_limb(basis.kernel(), out, limb));
        image
    }
}

impl PartialEq for Automorphism {
    fn eq(&self, other: &Self) -> bool {
        (self.ring, self.degree, self.element) == (other.ring, other.degree, other.element)
    }
}

impl fmt::Debug for Automorphism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Automorphism(X -> X^{}, {} ring of degree {})", self.element, self.ring, self.degree)
    }
}

/// `base^exponent` modulo `order`, a power of two below `2^32`.
fn power(base: u64, mut exponent: u64, order: u64) -> u64 {
    let (mut result, mut square) = (1, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % order;
        }
        square = square * square % order;
        exponent >>= 1;
    }
    result
}

/// The `log2(degree)` bits of `position` in reverse order.
fn reversed(position: usize, degree: usize) -> usize {
    position.reverse_bits() >> (usize::BITS - degree.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Coeff, Pool, RnsBasis, kernels, prime, sample};

    const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

    fn basis(ring: Ring, degree: usize, kernel: &'static dyn Kernel) -> Arc<RnsBasis> {
        let primes: Vec<u64> = [50, 30]
            .into_iter()
            .flat_map(|bits| prime::largest_primes(bits, 4 * degree as u64, 1, &[]).unwrap())
            .collect();
        Arc::new(RnsBasis::new(degree, ring, &primes, kernel, Pool::new()).unwrap())
    }

    /// `X^i -> X^(g i)` and, in the conjugate-invariant ring, `X^i + X^-i -> X^(g i) + X^(-g i)`, coefficient by coefficient.
    fn definition(a: &RnsPoly<Coeff>, g: u64) -> RnsPoly<Coeff> {
        let (ring, n) = (a.basis().ring(), a.basis().degree() as u64);
        RnsPoly::from_limbs(a.basis(), |limb, out| {
            for (i, &x) in a.limb(limb).iter().enumerate() {
                let exponent = g * i as u64;
                let (place, sign) = match ring {
                    // X^N = -1.
                    Ring::Standard => (exponent % n, exponent / n),
                    // X^(2N) = -1, and X^(2N-j) + X^(j-2N) = -(X^-j + X^j).
                    Ring::ConjugateInvariant => match (exponent % (2 * n), exponent / (2 * n)) {
                        (place, sign) if place > n => (2 * n - place, sign + 1),
                        found => found,
                    },
                };
                out[place as usize] = if sign % 2 == 0 { x } else { -x };
            }
        })
    }

    #[test]
    fn permutations_of_evaluations_are_the_definition() {
        for ring in RINGS {
            for kernel in kernels::available() {
                for degree in [16, 32, 64, 256] {
                    let basis = basis(ring, degree, kernel);
                    let a = sample::uniform::<Coeff>(&basis, &[1; 32], 0);
                    let order = ring.root_order(degree);
                    let elements = (1..order).step_by(2).filter(|g| degree <= 64 || g % 37 == 0);
                    for g in elements.chain([1, 5, order - 1, order / 2 - 1, order / 2 + 1]) {
                        let automorphism = Automorphism::new(ring, degree, g).unwrap();
                        let image = automorphism.apply(&a.clone().into_eval()).into_coeff();
                        assert!(image == definition(&a, g), "{automorphism:?} {}", kernel.name());
                    }
                }
            }
        }
    }

    #[test]
    fn kernels_permute_alike_at_every_degree() {
        for (ring, log) in RINGS.into_iter().flat_map(|ring| (4..=17).map(move |log| (ring, log))) {
            let degree = 1 << log;
            let a: Vec<f64> = (0..degree).map(|i| i as f64).collect();
            let order = ring.root_order(degree);
            for g in [1, 3, 5, order - 1, order - 5, 0x5_4321 % order] {
                let automorphism = Automorphism::new(ring, degree, g).unwrap();
                for kernel in kernels::available() {
                    let mut out = vec![-1.0; degree];
                    automorphism.apply_limb(kernel, &mut out, &a);
                    let expected = (0..degree).map(|position| automorphism.source(position) as f64);
                    assert!(expected.eq(out.iter().copied()), "{automorphism:?} {}", kernel.name());
                }
            }
        }
    }

    #[test]
    fn elements_compose_and_invert() {
        let (degree, kernel) = (64, kernels::available()[0]);
        for ring in RINGS {
            let order = ring.root_order(degree);
            let a = sample::uniform::<Eval>(&basis(ring, degree, kernel), &[2; 32], 0);
            for (g, h) in [(5, 25), (3, 7), (order - 1, 5), (order - 3, order / 2 + 1)] {
                let of = |element| Automorphism::new(ring, degree, element).unwrap();
                assert!(of(h).apply(&of(g).apply(&a)) == of(g * h % order).apply(&a), "{ring} {g} {h}");
                assert!(of(g).inverse().apply(&of(g).apply(&a)) == a, "{ring} {g}");
                assert_eq!(of(g).inverse().inverse(), of(g));
            }
            assert!(Automorphism::new(ring, degree, 1).unwrap().apply(&a) == a);
            assert_eq!(Automorphism::inversion(ring, degree), Automorphism::new(ring, degree, order - 1).unwrap());
            let mut element = 1;
            for exponent in 0..100 {
                let expected = Automorphism::new(ring, degree, element).unwrap();
                assert_eq!(Automorphism::power_of_five(ring, degree, exponent), expected);
                element = element * 5 % order;
            }
        }
    }

    #[test]
    fn opposite_elements_are_one_automorphism_of_the_conjugate_invariant_ring() {
        let of = |element| Automorphism::new(Ring::ConjugateInvariant, 64, element).unwrap();
        assert_eq!(of(255), of(1));
        assert_eq!((of(7), of(7).element()), (of(249), 249));
    }

    #[test]
    fn elements_that_are_even_or_too_large_are_refused() {
        for (ring, order) in [(Ring::Standard, 128), (Ring::ConjugateInvariant, 256)] {
            for found in [0, 2, order, order + 1, u64::MAX] {
                let expected = RingError::GaloisElement { found, order };
                assert_eq!(Automorphism::new(ring, 64, found).unwrap_err(), expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "Automorphism(X -> X^5, standard ring of degree 64)")]
    fn polynomials_of_another_ring_are_refused() {
        let basis = basis(Ring::ConjugateInvariant, 64, kernels::available()[0]);
        Automorphism::new(Ring::Standard, 64, 5).unwrap().apply(&RnsPoly::zero(&basis));
    }
}

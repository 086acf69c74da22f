//! Polynomials in RNS, with the domain in the type.

use std::marker::PhantomData;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::{Buffer, RnsBasis, parallel};

/// Coefficients, lowest degree first.
#[derive(Clone, Copy, Debug)]
pub enum Coeff {}
/// Values at the roots of unity, in the order of [`NttTable`](crate::NttTable).
#[derive(Clone, Copy, Debug)]
pub enum Eval {}

/// A representation of a polynomial: [`Coeff`] or [`Eval`].
pub trait Domain: sealed::Sealed + Send + Sync + 'static {}
impl Domain for Coeff {}
impl Domain for Eval {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Coeff {}
    impl Sealed for super::Eval {}
}

/// A polynomial of `R_Q` as `k` limbs of `N` canonical residues, limb by limb in one aligned buffer.
///
/// Operations on two polynomials panic if their bases differ: choosing equal bases is the caller's invariant, and the
/// scheme above reports wrong levels as typed errors before it comes here. Limbs are tasks for the threads
/// ([`parallel`](crate::parallel)).
pub struct RnsPoly<D> {
    basis: Arc<RnsBasis>,
    data: Buffer,
    domain: PhantomData<D>,
}

impl<D: Domain> RnsPoly<D> {
    /// The zero polynomial.
    pub fn zero(basis: &Arc<RnsBasis>) -> Self {
        let data = basis.pool().take_zeroed(basis.len() * basis.degree());
        Self { basis: Arc::clone(basis), data, domain: PhantomData }
    }

    /// A polynomial with unspecified contents, all of which the caller must overwrite with canonical residues.
    pub fn unspecified(basis: &Arc<RnsBasis>) -> Self {
        let data = basis.pool().take(basis.len() * basis.degree());
        Self { basis: Arc::clone(basis), data, domain: PhantomData }
    }

    /// A polynomial whose limbs `fill` writes: it is given each limb's index and buffer, whose contents are
    /// unspecified, and must leave canonical residues in all of it.
    pub fn from_limbs(basis: &Arc<RnsBasis>, fill: impl Fn(usize, &mut [f64]) + Send + Sync) -> Self {
        let mut poly = Self::unspecified(basis);
        parallel::for_each(poly.limbs_mut(), fill);
        poly
    }

    /// The primes.
    pub fn basis(&self) -> &Arc<RnsBasis> {
        &self.basis
    }

    /// The `N` residues of one limb.
    pub fn limb(&self, index: usize) -> &[f64] {
        let n = self.basis.degree();
        &self.data[index * n..][..n]
    }

    /// The `N` residues of one limb; they must stay canonical.
    pub fn limb_mut(&mut self, index: usize) -> &mut [f64] {
        let n = self.basis.degree();
        &mut self.data[index * n..][..n]
    }

    /// All limbs in the order of the basis.
    pub fn limbs(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.data.chunks_exact(self.basis.degree())
    }

    /// All limbs in the order of the basis; residues must stay canonical.
    pub fn limbs_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f64]> {
        let n = self.basis.degree();
        self.data.chunks_exact_mut(n)
    }

    /// The residues modulo a basis that consists of some of this one's limbs: `limbs[i]` becomes limb `i`.
    ///
    /// # Panics
    /// If the primes of `basis` are not those of the limbs named.
    pub fn select(&self, basis: &Arc<RnsBasis>, limbs: &[usize]) -> Self {
        assert!(basis.moduli().eq(limbs.iter().map(|&limb| self.basis.modulus(limb))), "limbs of another basis");
        Self::from_limbs(basis, |index, limb| limb.copy_from_slice(self.limb(limbs[index])))
    }

    /// `self += other`.
    pub fn add_assign(&mut self, other: &Self) {
        self.zip(other, |basis, limb, a, b| basis.kernel().add(basis.modulus(limb), a, b));
    }

    /// `self -= other`.
    pub fn sub_assign(&mut self, other: &Self) {
        self.zip(other, |basis, limb, a, b| basis.kernel().sub(basis.modulus(limb), a, b));
    }

    /// Multiplies each limb by its own scalar: `scalars[i]` in `0..q_i`.
    pub fn mul_scalar_assign(&mut self, scalars: &[u64]) {
        assert_eq!(scalars.len(), self.basis.len());
        self.each_limb(|basis, limb, a| {
            let q = basis.modulus(limb);
            basis.kernel().mul_scalar(q, a, q.center(scalars[limb]));
        });
    }

    fn zip(&mut self, other: &Self, f: impl Fn(&RnsBasis, usize, &mut [f64], &[f64]) + Send + Sync) {
        assert!(self.basis == other.basis, "polynomials over {:?} and {:?}", self.basis, other.basis);
        self.each_limb(|basis, limb, a| f(basis, limb, a, other.limb(limb)));
    }

    fn each_limb(&mut self, f: impl Fn(&RnsBasis, usize, &mut [f64]) + Send + Sync) {
        let basis = Arc::clone(&self.basis);
        parallel::for_each(self.limbs_mut(), |limb, a| f(&basis, limb, a));
    }
}

impl RnsPoly<Coeff> {
    /// The polynomial with the given small signed coefficients, `|c| < 2^49`, reduced modulo each prime.
    pub fn from_signed(basis: &Arc<RnsBasis>, coefficients: &[f64]) -> Self {
        Self::from_limbs(basis, |index, limb| basis.kernel().reduce(basis.modulus(index), limb, coefficients))
    }

    /// The transform of every limb, in place.
    pub fn into_eval(mut self) -> RnsPoly<Eval> {
        self.each_limb(|basis, index, limb| basis.kernel().ntt_forward(basis.table(index), limb));
        RnsPoly { basis: self.basis, data: self.data, domain: PhantomData }
    }
}

impl RnsPoly<Eval> {
    /// The inverse transform of every limb, in place.
    pub fn into_coeff(mut self) -> RnsPoly<Coeff> {
        self.each_limb(|basis, index, limb| basis.kernel().ntt_inverse(basis.table(index), limb));
        RnsPoly { basis: self.basis, data: self.data, domain: PhantomData }
    }

    /// The product with `other`.
    pub fn mul(&self, other: &Self) -> Self {
        assert!(self.basis == other.basis, "polynomials over {:?} and {:?}", self.basis, other.basis);
        let basis = &self.basis;
        Self::from_limbs(basis, |index, limb| {
            basis.kernel().mul(basis.modulus(index), limb, self.limb(index), other.limb(index));
        })
    }

    /// `self += a * b`.
    pub fn mul_add_assign(&mut self, a: &Self, b: &Self) {
        assert!(self.basis == a.basis && a.basis == b.basis, "polynomials over different bases");
        self.each_limb(|basis, index, limb| {
            basis.kernel().mul_add(basis.modulus(index), limb, a.limb(index), b.limb(index));
        });
    }

    /// Adds the constant polynomial `constants[i]` in `0..q_i` to limb `i`.
    pub fn add_constant_assign(&mut self, constants: &[u64]) {
        assert_eq!(constants.len(), self.basis.len());
        self.each_limb(|basis, limb, a| {
            let q = basis.modulus(limb);
            basis.kernel().add_scalar(q, a, q.center(constants[limb]));
        });
    }
}

impl<D: Domain> Clone for RnsPoly<D> {
    fn clone(&self) -> Self {
        Self::from_limbs(&self.basis, |index, limb| limb.copy_from_slice(self.limb(index)))
    }
}

impl<D> Zeroize for RnsPoly<D> {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}

impl<D> PartialEq for RnsPoly<D> {
    /// Not constant time: for public polynomials.
    fn eq(&self, other: &Self) -> bool {
        self.basis == other.basis && *self.data == *other.data
    }
}

impl<D> std::fmt::Debug for RnsPoly<D> {
    /// The shape only: a polynomial may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RnsPoly({} limbs of {})", self.basis.len(), self.basis.degree())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, Ring, kernels, prime};

    fn bases() -> Vec<Arc<RnsBasis>> {
        let primes = prime::largest_primes(50, 256, 3, &[]).unwrap();
        let rings = [Ring::Standard, Ring::ConjugateInvariant];
        let basis = |ring, kernel| Arc::new(RnsBasis::new(64, ring, &primes, kernel, Pool::new()).unwrap());
        rings
            .into_iter()
            .flat_map(|ring| kernels::available().into_iter().map(move |k| (ring, k)))
            .map(|(ring, k)| basis(ring, k))
            .collect()
    }

    fn sample(basis: &Arc<RnsBasis>, seed: u8) -> RnsPoly<Coeff> {
        crate::sample::uniform(basis, &[seed; 32], 0)
    }

    /// `f` of the representatives in `0..q` of every coefficient of both polynomials.
    fn by_coefficient(
        a: &RnsPoly<Coeff>,
        b: &RnsPoly<Coeff>,
        f: impl Fn(usize, u64, u64) -> u64 + Send + Sync,
    ) -> RnsPoly<Coeff> {
        RnsPoly::from_limbs(a.basis(), |limb, out| {
            let q = a.basis().modulus(limb);
            for ((out, x), y) in out.iter_mut().zip(a.limb(limb)).zip(b.limb(limb)) {
                *out = q.center(f(limb, q.lift(*x), q.lift(*y)));
            }
        })
    }

    #[test]
    fn sums_and_scalars_act_on_every_coefficient() {
        for basis in bases() {
            let (a, b) = (sample(&basis, 1), sample(&basis, 2));
            let q = |limb| basis.modulus(limb);
            let mut sum = a.clone();
            sum.add_assign(&b);
            assert!(sum == by_coefficient(&a, &b, |limb, x, y| q(limb).add(x, y)));
            sum.sub_assign(&b);
            assert!(sum == a);
            let scalars: Vec<u64> = basis.moduli().enumerate().map(|(i, q)| q.value() - 2 - i as u64).collect();
            let mut scaled = a.clone();
            scaled.mul_scalar_assign(&scalars);
            assert!(scaled == by_coefficient(&a, &b, |limb, x, _| q(limb).mul(x, scalars[limb])));
        }
    }

    #[test]
    fn domains_invert_and_keep_sums() {
        for basis in bases() {
            let (a, b) = (sample(&basis, 1), sample(&basis, 2));
            assert!(a.clone().into_eval().into_coeff() == a);
            let mut sum = a.clone();
            sum.add_assign(&b);
            let mut evaluated = a.into_eval();
            evaluated.add_assign(&b.into_eval());
            assert!(evaluated == sum.into_eval());
        }
    }

    #[test]
    fn a_constant_is_the_same_in_both_domains() {
        for basis in bases() {
            let a = sample(&basis, 3);
            let constants: Vec<u64> = basis.moduli().map(|q| q.value() / 2 + 1).collect();
            let mut expected = a.clone();
            for (index, (q, constant)) in basis.moduli().zip(&constants).enumerate() {
                let first = &mut expected.limb_mut(index)[0];
                *first = q.center(q.add(q.lift(*first), *constant));
            }
            let mut a = a.into_eval();
            a.add_constant_assign(&constants);
            assert!(a.into_coeff() == expected);
        }
    }

    /// By the definition of both rings; that transforms turn products in the ring into pointwise ones is a test of theirs.
    #[test]
    fn products_distribute_and_accumulate() {
        for basis in bases() {
            let [a, b, c] = [1, 2, 3].map(|seed| sample(&basis, seed).into_eval());
            let mut sum = b.clone();
            sum.add_assign(&c);
            let mut accumulated = a.mul(&b);
            accumulated.mul_add_assign(&a, &c);
            assert!(accumulated == a.mul(&sum));
            let mut one = vec![0.0; 64];
            one[0] = 1.0;
            assert!(a.mul(&RnsPoly::from_signed(&basis, &one).into_eval()) == a);
        }
    }

    #[test]
    fn small_coefficients_are_reduced_modulo_every_prime() {
        for basis in bases() {
            let bound = (1i64 << 49) - 1;
            let coefficients: Vec<f64> =
                (0..64).map(|i| [0, 1, -1, bound, -bound, 12_345 * i, -i][i as usize % 7] as f64).collect();
            let poly = RnsPoly::from_signed(&basis, &coefficients);
            for (limb, q) in poly.limbs().zip(basis.moduli()) {
                for (found, x) in limb.iter().zip(&coefficients) {
                    assert_eq!(q.lift(*found), q.reduce_i128(*x as i128));
                }
            }
        }
    }

    #[test]
    fn select_takes_the_limbs_named() {
        for basis in bases() {
            let a = sample(&basis, 4);
            let part = Arc::new(basis.select([2, 0]));
            let selected = a.select(&part, &[2, 0]);
            assert_eq!((selected.limb(0), selected.limb(1)), (a.limb(2), a.limb(0)));
            assert!(RnsPoly::<Eval>::zero(&basis).limbs().flatten().all(|x| *x == 0.0));
        }
    }

    #[test]
    #[should_panic(expected = "limbs of another basis")]
    fn select_refuses_other_primes() {
        let basis = bases().remove(0);
        let part = Arc::new(basis.select([2, 0]));
        sample(&basis, 4).select(&part, &[0, 2]);
    }

    #[test]
    #[should_panic(expected = "polynomials over")]
    fn sums_refuse_another_basis() {
        let basis = bases().remove(0);
        let other = Arc::new(basis.select(0..2));
        sample(&basis, 1).add_assign(&sample(&other, 1));
    }

    #[test]
    fn contents_can_be_erased_and_are_not_printed() {
        let basis = bases().remove(0);
        let mut a = sample(&basis, 1);
        assert_eq!(format!("{a:?}"), "RnsPoly(3 limbs of 64)");
        a.zeroize();
        assert!(a == RnsPoly::zero(&basis));
    }
}

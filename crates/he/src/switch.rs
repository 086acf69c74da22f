//! Key switching (hybrid; eprint 2019/688, in the form of eprint 2021/204, Appendix B.2): docs/notes/keyswitch.md.
//!
//! One limb of the result at a time: its digits are extended, transformed and multiplied with both halves of the key
//! while they are in the cache, and no digit is ever stored as a whole. A decomposition that serves several keys is
//! stored instead.

use nightloom_ring::{Automorphism, Buffer, Digits, Eval, Quotient, RnsPoly, parallel};

use crate::keys::KeySwitchingKey;
use crate::params::LevelTables;
use crate::{CkksParams, Level};

/// The digits of a polynomial, limb by limb over the extended basis.
pub(crate) trait DigitLimbs: Sync {
    /// Limbs of work space that [`limb`](Self::limb) needs.
    fn work_limbs(&self) -> usize;

    /// Every digit modulo one prime of the extended basis, Eval domain.
    fn limb<'b>(&'b self, index: usize, work_space: &'b mut [f64]) -> Vec<&'b [f64]>;
}

impl DigitLimbs for Digits<'_> {
    fn work_limbs(&self) -> usize {
        self.len()
    }

    fn limb<'b>(&'b self, index: usize, work_space: &'b mut [f64]) -> Vec<&'b [f64]> {
        Digits::limb(self, index, work_space)
    }
}

/// Digits computed once for several keys.
#[derive(Clone, Debug)]
pub(crate) struct StoredDigits {
    degree: usize,
    digits: usize,
    /// Limb by limb of the extended basis, digit by digit.
    limbs: Buffer,
}

impl StoredDigits {
    /// Decomposes `poly` at `level`.
    pub fn new(params: &CkksParams, level: Level, poly: &RnsPoly<Eval>) -> Self {
        let digits = Digits::new(&params.level(level).digits, poly);
        let degree = params.degree();
        let mut limbs = params.pool().take(digits.target().len() * digits.len() * degree);
        let parts = limbs.chunks_exact_mut(digits.len() * degree);
        parallel::for_each(parts, || (), |(), index, out| digits.write_limb(index, out));
        Self { degree, digits: digits.len(), limbs }
    }

    /// One digit modulo one prime.
    pub fn digit_limb(&self, digit: usize, index: usize) -> &[f64] {
        &self.limbs[(index * self.digits + digit) * self.degree..][..self.degree]
    }
}

impl DigitLimbs for StoredDigits {
    fn work_limbs(&self) -> usize {
        0
    }

    fn limb<'b>(&'b self, index: usize, _work_space: &'b mut [f64]) -> Vec<&'b [f64]> {
        (0..self.digits).map(|digit| self.digit_limb(digit, index)).collect()
    }
}

/// The switch of a polynomial `d` from the secret `s'` of a key to its secret `s`, and what follows it.
pub(crate) struct Switch<'a, D> {
    pub params: &'a CkksParams,
    /// That of `d`, at most that of the key.
    pub level: Level,
    /// Those of `d`.
    pub digits: &'a D,
    pub key: &'a KeySwitchingKey,
    /// Applied to the result.
    pub automorphism: Option<&'a Automorphism>,
}

impl<D: DigitLimbs> Switch<'_, D> {
    /// Two polynomials over the extended basis whose quotient by `P` is an encryption of `d s'` under `s`, before which
    /// `add` adds something to the limbs with a given index. The automorphism comes last.
    pub fn extended(&self, add: impl Fn(usize, [&mut [f64]; 2]) + Send + Sync) -> [RnsPoly<Eval>; 2] {
        let tables = self.params.level(self.level);
        let [mut u0, mut u1] = [(); 2].map(|()| RnsPoly::unspecified(&tables.extended));
        let work_space = || WorkSpace::<2>::new(self.params, self.digits.work_limbs());
        parallel::for_each(u0.limbs_mut().zip(u1.limbs_mut()), work_space, |work, index, (u0, u1)| {
            let (digits, [v0, v1]) = work.split();
            match self.automorphism {
                None => self.limb(tables, index, digits, [u0, u1], &add),
                Some(automorphism) => {
                    self.limb(tables, index, digits, [v0, v1], &add);
                    automorphism.apply_limb(self.params.kernel(), u0, v0);
                    automorphism.apply_limb(self.params.kernel(), u1, v1);
                }
            }
        });
        [u0, u1]
    }

    /// What [`extended`](Self::extended) makes, divided by `quotient`, whose source is the extended basis.
    pub fn divided(
        &self,
        quotient: &Quotient,
        add: impl Fn(usize, [&mut [f64]; 2]) + Send + Sync,
    ) -> [RnsPoly<Eval>; 2] {
        let (tables, pool, n) = (self.params.level(self.level), self.params.pool(), self.params.degree());
        let kept = quotient.target().len();
        // The divisor's limbs come first: every other limb needs the remainder.
        let [mut r0, mut r1] = [(); 2].map(|()| pool.take(quotient.divisor().len() * n));
        let work_space = || WorkSpace::<0>::new(self.params, self.digits.work_limbs());
        let limbs = r0.chunks_exact_mut(n).zip(r1.chunks_exact_mut(n));
        parallel::for_each(limbs, work_space, |work, index, (r0, r1)| {
            let (digits, []) = work.split();
            self.limb(tables, kept + index, digits, [r0, r1], &add);
            quotient.prepare_limb(index, r0);
            quotient.prepare_limb(index, r1);
        });
        let remainders = [r0, r1].map(|limbs| quotient.remainder(limbs));
        let [mut k0, mut k1] = [(); 2].map(|()| RnsPoly::unspecified(quotient.target()));
        let work_space = || WorkSpace::<3>::new(self.params, self.digits.work_limbs());
        parallel::for_each(k0.limbs_mut().zip(k1.limbs_mut()), work_space, |work, index, (k0, k1)| {
            let (digits, [u0, u1, divided]) = work.split();
            self.limb(tables, index, digits, [u0, u1], &add);
            for ((u, k), remainder) in [(u0, k0), (u1, k1)].into_iter().zip(&remainders) {
                match self.automorphism {
                    None => quotient.divide_limb(remainder, index, u, k),
                    Some(automorphism) => {
                        quotient.divide_limb(remainder, index, u, divided);
                        automorphism.apply_limb(self.params.kernel(), k, divided);
                    }
                }
            }
        });
        [k0, k1]
    }

    /// One limb of the inner product of digits and key, and what is added to it.
    fn limb(
        &self,
        tables: &LevelTables,
        index: usize,
        work_space: &mut [f64],
        [u0, u1]: [&mut [f64]; 2],
        add: &impl Fn(usize, [&mut [f64]; 2]),
    ) {
        let digits = self.digits.limb(index, work_space);
        let key_limb = self.key.limb_at(self.level, index);
        for (out, half) in [(&mut *u0, &self.key.b), (&mut *u1, &self.key.a)] {
            let terms: Vec<(&[f64], &[f64])> =
                digits.iter().zip(half).map(|(digit, key)| (*digit, key.limb(key_limb))).collect();
            self.params.kernel().dot(tables.extended.modulus(index), out, &terms);
        }
        add(index, [u0, u1]);
    }
}

/// `out += P c` in a limb of the extended basis: the inverse of the division that follows.
pub(crate) fn add_special_multiple(
    params: &CkksParams,
    level: Level,
    c: &RnsPoly<Eval>,
    index: usize,
    out: &mut [f64],
) {
    // P is zero modulo the special primes.
    if index < level.limbs() {
        let q = c.basis().modulus(index);
        let factor = q.center(params.level(level).special_product[index]);
        params.kernel().mul_scalar_add(q, out, c.limb(index), factor);
    }
}

/// Limbs for digits, and `K` for other intermediate values of one task.
struct WorkSpace<const K: usize> {
    limbs: Buffer,
    degree: usize,
    digits: usize,
}

impl<const K: usize> WorkSpace<K> {
    fn new(params: &CkksParams, digits: usize) -> Self {
        let degree = params.degree();
        Self { limbs: params.pool().take((digits + K) * degree), degree, digits: digits * degree }
    }

    fn split(&mut self) -> (&mut [f64], [&mut [f64]; K]) {
        let (digits, others) = self.limbs.split_at_mut(self.digits);
        let mut others = others.chunks_exact_mut(self.degree);
        // There are K.
        (digits, std::array::from_fn(|_| others.next().unwrap_or_default()))
    }
}

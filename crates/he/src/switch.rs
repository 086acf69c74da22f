//! Key switching (hybrid; eprint 2019/688, in the form of eprint 2021/204, Appendix B.2): docs/notes/keyswitch.md.
//!
//! One limb of the result at a time: its digits are extended, transformed and multiplied with both halves of the key, or of
//! several keys ([`Switches`]), while they are in the cache, and no digit is ever stored as a whole. Only a decomposition
//! that serves several keys, each with a division of its result, is stored ([`StoredDigits`]). Tasks for the threads are
//! nested, so that a thread without a limb helps with the last ones.

use std::ops::Range;
use std::sync::Arc;

use nightloom_ring::{Automorphism, Buffer, Digits, Eval, Quotient, RnsBasis, RnsPoly, parallel};

use crate::evaluation_keys::GaloisKey;
use crate::keys::KeySwitchingKey;
use crate::{CkksParams, Level};

/// The digits of a polynomial, limb by limb over the extended basis.
pub(crate) trait DigitLimbs: Sync {
    /// Limbs of work space that [`limb`](Self::limb) needs.
    fn work_limbs(&self) -> usize;

    /// Every digit modulo one prime of the extended basis, Eval domain.
    fn limb<'b>(&'b self, index: usize, work_space: &'b mut [Buffer]) -> Vec<&'b [f64]>;
}

impl DigitLimbs for Digits<'_> {
    fn work_limbs(&self) -> usize {
        self.len()
    }

    fn limb<'b>(&'b self, index: usize, work_space: &'b mut [Buffer]) -> Vec<&'b [f64]> {
        Digits::limb(self, index, work_space)
    }
}

/// Digits computed once for several keys, each over the extended basis.
#[derive(Clone, Debug)]
pub(crate) struct StoredDigits(Vec<RnsPoly<Eval>>);

impl StoredDigits {
    /// Decomposes `poly` at `level`.
    pub fn new(params: &CkksParams, level: Level, poly: &RnsPoly<Eval>) -> Self {
        let digits = Digits::new(&params.level(level).digits, poly);
        let mut stored: Vec<RnsPoly<Eval>> = (0..digits.len()).map(|_| RnsPoly::unspecified(digits.target())).collect();
        {
            let mut limbs: Vec<_> = stored.iter_mut().map(RnsPoly::limbs_mut).collect();
            let limbs = (0..digits.target().len()).map(|_| limbs.iter_mut().filter_map(Iterator::next).collect());
            parallel::for_each(limbs, |index, outs: Vec<&mut [f64]>| digits.write_limb(index, outs));
        }
        Self(stored)
    }

    /// One digit modulo one prime.
    pub fn digit_limb(&self, digit: usize, index: usize) -> &[f64] {
        self.0[digit].limb(index)
    }
}

impl DigitLimbs for StoredDigits {
    fn work_limbs(&self) -> usize {
        0
    }

    fn limb<'b>(&'b self, index: usize, _work_space: &'b mut [Buffer]) -> Vec<&'b [f64]> {
        self.0.iter().map(|digit| digit.limb(index)).collect()
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

/// Positions whose products are taken together: digits stay in the cache for both halves of the key, and products until
/// they are divided.
const BLOCK: usize = 4096;

/// What is added to two limbs with a given index before a division, a range of positions at a time.
pub(crate) trait Addend: Fn(usize, Range<usize>, [&mut [f64]; 2]) + Send + Sync {}
impl<F: Fn(usize, Range<usize>, [&mut [f64]; 2]) + Send + Sync> Addend for F {}

impl<D: DigitLimbs> Switch<'_, D> {
    /// An encryption of `d s'` under `s`, to which `add` adds something over the extended basis, where it is multiplied by
    /// `P`, before the division by `quotient`, whose source is that basis. The automorphism comes last.
    pub fn divided(&self, quotient: &Quotient, add: impl Addend) -> [RnsPoly<Eval>; 2] {
        let kept = quotient.target().len();
        // The divisor's limbs come first: every other limb needs the remainder.
        let [mut r0, mut r1] = [(); 2].map(|()| quotient.remainder_limbs());
        let task = |work: &mut WorkSpace, index: usize, (r0, r1): (&mut Buffer, &mut Buffer)| {
            self.limbs(kept + index, &mut work.digits, [&mut *r0, &mut *r1], &add);
            parallel::for_each([r0, r1], |_, limb| quotient.prepare_limb(index, limb));
        };
        parallel::for_each_with(r0.iter_mut().zip(&mut r1), || self.work_space(), task);
        let remainders = [r0, r1].map(|limbs| quotient.remainder(limbs));
        let [mut k0, mut k1] = [(); 2].map(|()| RnsPoly::unspecified(quotient.target()));
        let task = |work: &mut WorkSpace, index: usize, (k0, k1): (&mut [f64], &mut [f64])| {
            self.moved(work, [k0, k1], |digits, [out0, out1]| {
                let digits = self.digits.limb(index, digits);
                parallel::for_each([&mut *out0, &mut *out1].into_iter().zip(&remainders), |_, (out, remainder)| {
                    quotient.remainder_limb(remainder, index, out);
                });
                let blocks = out0.chunks_mut(BLOCK).zip(out1.chunks_mut(BLOCK));
                let task = |products: &mut [Buffer; 2], block: usize, (out0, out1): (&mut [f64], &mut [f64])| {
                    let [u0, u1] = products.each_mut().map(|products| &mut products[..out0.len()]);
                    self.block(index, &digits, BLOCK * block, [&mut *u0, &mut *u1], &add);
                    quotient.finish(index, u0, out0);
                    quotient.finish(index, u1, out1);
                };
                parallel::for_each_with(blocks, || self.products(), task);
            });
        };
        parallel::for_each_with(k0.limbs_mut().zip(k1.limbs_mut()), || self.work_space(), task);
        [k0, k1]
    }

    /// Fills `outs` with the images under the automorphism of what `fill` makes, with digits as work space.
    fn moved(
        &self,
        work: &mut WorkSpace,
        [out0, out1]: [&mut [f64]; 2],
        fill: impl FnOnce(&mut [Buffer], [&mut [f64]; 2]),
    ) {
        let WorkSpace { digits, images: [v0, v1] } = work;
        match self.automorphism {
            None => fill(digits, [out0, out1]),
            Some(automorphism) => {
                fill(digits, [&mut *v0, &mut *v1]);
                parallel::for_each([(out0, v0), (out1, v1)], |_, (out, image)| {
                    automorphism.apply_limb(self.params.kernel(), out, image);
                });
            }
        }
    }

    /// A limb of both polynomials before the division.
    fn limbs(&self, index: usize, work_space: &mut [Buffer], [out0, out1]: [&mut [f64]; 2], add: &impl Addend) {
        let digits = self.digits.limb(index, work_space);
        let blocks = out0.chunks_mut(BLOCK).zip(out1.chunks_mut(BLOCK));
        parallel::for_each(blocks, |block, (out0, out1)| self.block(index, &digits, BLOCK * block, [out0, out1], add));
    }

    fn work_space(&self) -> WorkSpace {
        let (pool, degree) = (self.params.pool(), self.params.degree());
        let image_length = self.automorphism.map_or(0, |_| degree);
        WorkSpace {
            digits: pool.take_limbs(self.digits.work_limbs(), degree),
            images: [(); 2].map(|()| pool.take(image_length)),
        }
    }

    /// A block of each polynomial.
    fn products(&self) -> [Buffer; 2] {
        [(); 2].map(|()| self.params.pool().take(BLOCK.min(self.params.degree())))
    }

    /// The inner products of digits and both halves of the key in a limb, from position `first` on, and what is added.
    fn block(&self, index: usize, digits: &[&[f64]], first: usize, [out0, out1]: [&mut [f64]; 2], add: &impl Addend) {
        let positions = first..first + out0.len();
        for (half, out) in [&mut *out0, &mut *out1].into_iter().enumerate() {
            self.key.dot((self.level, index), half, digits, positions.clone(), out);
        }
        add(index, positions, [out0, out1]);
    }
}

/// Switches of one polynomial by several keys, each followed by the automorphism of its key, over the extended basis. The
/// digits of a limb are made once and serve all keys while they are in the cache.
///
/// The polynomial is the second one of an encryption, or its quotient by `P`; the first one is added.
pub(crate) struct Switches<'a> {
    pub params: &'a CkksParams,
    pub level: Level,
    pub digits: &'a Digits<'a>,
    pub keys: &'a [&'a GaloisKey],
}

impl Switches<'_> {
    /// The image of the encryption under each automorphism, one for each key. `add` adds a limb of the first polynomial.
    pub fn images(&self, add: impl Fn(usize, &mut [f64]) + Send + Sync) -> Vec<[RnsPoly<Eval>; 2]> {
        let basis = self.extended();
        let mut images: Vec<_> = self.keys.iter().map(|_| [(); 2].map(|()| RnsPoly::unspecified(basis))).collect();
        let mut limbs: Vec<Vec<&mut [f64]>> = (0..basis.len()).map(|_| Vec::new()).collect();
        for poly in images.iter_mut().flatten() {
            limbs.iter_mut().zip(poly.limbs_mut()).for_each(|(limbs, limb)| limbs.push(limb));
        }
        let task = |digits: &mut Vec<Buffer>, index: usize, images: Vec<&mut [f64]>| {
            let digits = self.digits.limb(index, digits);
            let image = |product: &mut Buffer, at: usize, image: &mut [f64]| {
                self.image(self.keys[at / 2], (index, at % 2), &digits, product, image, |first| add(index, first));
            };
            parallel::for_each_with(images, || self.limb(), image);
        };
        parallel::for_each_with(limbs, || self.digit_limbs(), task);
        images
    }

    /// The sum of the encryption and its images. `add` adds a limb of one of the encryption's two polynomials, with the
    /// index of the polynomial and of the limb.
    ///
    /// # Panics
    /// Unless there is a key.
    pub fn sum(&self, add: impl Fn(usize, usize, &mut [f64]) + Send + Sync) -> [RnsPoly<Eval>; 2] {
        let Some((first, others)) = self.keys.split_first() else { panic!("a sum of no images") };
        let (basis, kernel) = (self.extended(), self.params.kernel());
        let work_space = || (self.digit_limbs(), [(); 2].map(|()| [self.limb(), self.limb()]));
        let [mut u0, mut u1] = [(); 2].map(|()| RnsPoly::unspecified(basis));
        let task = |(digits, limbs): &mut (Vec<Buffer>, [[Buffer; 2]; 2]), index: usize, (u0, u1)| {
            let digits = self.digits.limb(index, digits);
            let halves = [u0, u1].into_iter().zip(limbs);
            let half = |half: usize, (sum, [product, image]): (&mut [f64], &mut [Buffer; 2])| {
                let mut make = |key: &GaloisKey, out: &mut [f64]| {
                    self.image(key, (index, half), &digits, product, out, |first| add(0, index, first));
                };
                make(first, sum);
                for key in others {
                    make(key, image);
                    kernel.add(basis.modulus(index), sum, image);
                }
                add(half, index, sum);
            };
            parallel::for_each(halves, half);
        };
        parallel::for_each_with(u0.limbs_mut().zip(u1.limbs_mut()), work_space, task);
        [u0, u1]
    }

    fn extended(&self) -> &Arc<RnsBasis> {
        &self.params.level(self.level).extended
    }

    fn limb(&self) -> Buffer {
        self.params.pool().take(self.params.degree())
    }

    fn digit_limbs(&self) -> Vec<Buffer> {
        self.params.pool().take_limbs(self.digits.len(), self.params.degree())
    }

    /// One half of the image under the automorphism of a key, in a limb, with a limb of work space. `add` is called for the
    /// first half: it adds what the automorphism then moves with it.
    fn image(
        &self,
        key: &GaloisKey,
        (index, half): (usize, usize),
        digits: &[&[f64]],
        product: &mut [f64],
        out: &mut [f64],
        add: impl Fn(&mut [f64]),
    ) {
        key.key.dot((self.level, index), half, digits, 0..out.len(), product);
        // The second polynomial is what the digits are of.
        if half == 0 {
            add(product);
        }
        key.automorphism.apply_limb(self.params.kernel(), out, product);
    }
}

/// `out += P c` at some positions of a limb of the extended basis: the inverse of the division that follows.
pub(crate) fn add_special_multiple(
    params: &CkksParams,
    level: Level,
    c: &RnsPoly<Eval>,
    index: usize,
    positions: Range<usize>,
    out: &mut [f64],
) {
    // P is zero modulo the special primes.
    if index < level.limbs() {
        let q = c.basis().modulus(index);
        let factor = q.center(params.level(level).special_product[index]);
        params.kernel().mul_scalar_add(q, out, &c.limb(index)[positions], factor);
    }
}

/// What a task writes besides its result.
struct WorkSpace {
    digits: Vec<Buffer>,
    /// A limb of each polynomial before the automorphism.
    images: [Buffer; 2],
}

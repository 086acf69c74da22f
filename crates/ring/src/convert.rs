//! RNS base conversion and exact division by primes of the basis.

use std::sync::Arc;

use crate::{Buffer, Coeff, Eval, Modulus, RnsBasis, RnsPoly};

/// Conversion of integers from one basis to another: for `x` known modulo `S = prod s_i`, the residues modulo each
/// target prime of the representative of `x` in about `[-S/2, S/2]`.
///
/// With `y_i = x (S/s_i)^-1 mod s_i`, `x = sum y_i (S/s_i) - v S` and `v = rint(sum y_i/s_i)` (Halevi, Polyakov and
/// Shoup, eprint 2018/117, section 2.2). `v` is computed in `f64`: for up to 22 primes it is exact unless `x` lies within
/// `S 2^-45` of `+-S/2`, where the other representative may be returned, still congruent to `x`. See docs/notes/rns.md.
#[derive(Debug)]
struct Conversion {
    /// `(S/s_i)^-1 mod s_i`, canonical.
    cofactor_inverses: Vec<f64>,
    /// `weights[j][i] = S/s_i mod t_j`, then `-S mod t_j` as the last entry; canonical.
    weights: Vec<Vec<f64>>,
}

impl Conversion {
    fn new(source: &RnsBasis, target: &RnsBasis) -> Self {
        let product = |skip: Option<usize>, q: Modulus| {
            let factors = source.moduli().enumerate().filter(|(index, _)| Some(*index) != skip);
            factors.fold(1 % q.value(), |product, (_, s)| q.mul(product, s.value() % q.value()))
        };
        let cofactor_inverses =
            source.moduli().enumerate().map(|(index, s)| s.center(s.inverse(product(Some(index), s)))).collect();
        let weights = target
            .moduli()
            .map(|t| {
                let cofactors = (0..source.len()).map(|index| t.center(product(Some(index), t)));
                cofactors.chain([-t.center(product(None, t))]).collect()
            })
            .collect();
        Self { cofactor_inverses, weights }
    }

    /// Turns the source limbs into `y_i` in place and returns `v` (empty for a single source prime, whose balanced
    /// residue is already the representative).
    fn prepare(&self, source: &RnsBasis, limbs: &mut [&mut [f64]]) -> Option<Buffer> {
        if source.len() == 1 {
            return None;
        }
        let mut quotient = source.pool().take_zeroed(source.degree());
        for ((q, limb), &inverse) in source.moduli().zip(limbs).zip(&self.cofactor_inverses) {
            source.kernel().mul_scalar(q, limb, inverse);
            // The order of these roundings is part of the definition: every kernel must see the same v.
            for (v, y) in quotient.iter_mut().zip(&**limb) {
                *v += y * q.reciprocal();
            }
        }
        // To the nearest integer, ties to even, without a call for each value: |v| is at most half the number of primes.
        const ORIGIN: f64 = 1.5 * (1u64 << 52) as f64;
        quotient.iter_mut().for_each(|v| *v = (*v + ORIGIN) - ORIGIN);
        Some(quotient)
    }

    fn target_limb(
        &self,
        q: Modulus,
        basis: &RnsBasis,
        index: usize,
        sources: &[&[f64]],
        v: Option<&Buffer>,
        out: &mut [f64],
    ) {
        let weights = &self.weights[index];
        match v {
            None => basis.kernel().reduce(q, out, sources[0]),
            Some(v) => {
                let terms: Vec<(&[f64], f64)> =
                    sources.iter().copied().chain([&**v]).zip(weights.iter().copied()).collect();
                basis.kernel().combine(q, out, &terms);
            }
        }
    }
}

/// Extension of a few limbs (a digit) to a larger basis that contains them: the first half of a key switch.
#[derive(Debug)]
pub struct Extension {
    digit: Arc<RnsBasis>,
    target: Arc<RnsBasis>,
    /// Where the target's limb comes from: the digit's limb of the same prime, or the conversion's target index.
    origin: Vec<Origin>,
    conversion: Conversion,
}

#[derive(Debug, Clone, Copy)]
enum Origin {
    Digit(usize),
    Converted(usize),
}

impl Extension {
    /// Prepares the extension from `digit` to `target`.
    pub fn new(digit: Arc<RnsBasis>, target: Arc<RnsBasis>) -> Self {
        let mut others = Vec::new();
        let origin = (0..target.len())
            .map(|index| match digit.moduli().position(|q| q == target.modulus(index)) {
                Some(limb) => Origin::Digit(limb),
                None => {
                    others.push(index);
                    Origin::Converted(others.len() - 1)
                }
            })
            .collect();
        let conversion = Conversion::new(&digit, &target.select(others));
        Self { digit, target, origin, conversion }
    }

    /// Extends the polynomial whose residues modulo the digit's primes are `coefficients` (Coeff) and `evaluations`
    /// (Eval): the same polynomial twice, so that no transform is repeated. The limbs of the digit's own primes are
    /// copied from `evaluations`.
    pub fn extend(&self, coefficients: &[&[f64]], evaluations: &[&[f64]]) -> RnsPoly<Eval> {
        let n = self.digit.degree();
        let mut scratch = self.digit.pool().take(self.digit.len() * n);
        for (copy, limb) in scratch.chunks_exact_mut(n).zip(coefficients) {
            copy.copy_from_slice(limb);
        }
        let mut limbs: Vec<&mut [f64]> = scratch.chunks_exact_mut(n).collect();
        let v = self.conversion.prepare(&self.digit, &mut limbs);
        let sources: Vec<&[f64]> = limbs.iter().map(|limb| &**limb).collect();
        RnsPoly::from_limbs(&self.target, |index, out| match self.origin[index] {
            Origin::Digit(limb) => out.copy_from_slice(evaluations[limb]),
            Origin::Converted(to) => {
                self.conversion.target_limb(self.target.modulus(index), &self.target, to, &sources, v.as_ref(), out);
                self.target.kernel().ntt_forward(self.target.table(index), out);
            }
        })
    }
}

/// Exact rounded division by the product `D` of the last primes of a basis: rescaling (`D` one prime of the chain),
/// the end of a key switch (`D` the special primes), or both at once.
#[derive(Debug)]
pub struct Quotient {
    source: Arc<RnsBasis>,
    target: Arc<RnsBasis>,
    divisor: RnsBasis,
    conversion: Conversion,
    /// `D^-1` modulo each target prime, canonical.
    inverses: Vec<f64>,
}

impl Quotient {
    /// Prepares the division from `source` to `target`, whose primes must be the first ones of `source`.
    ///
    /// # Panics
    /// If they are not, or if nothing is divided away.
    pub fn new(source: Arc<RnsBasis>, target: Arc<RnsBasis>) -> Self {
        let prefix = target.len() < source.len() && target.moduli().zip(source.moduli()).all(|(a, b)| a == b);
        assert!(prefix, "{target:?} is not made of the first primes of the source {source:?}");
        let divisor = source.select(target.len()..source.len());
        let inverses = target
            .moduli()
            .map(|q| {
                let product = divisor.moduli().fold(1, |product, d| q.mul(product, d.value() % q.value()));
                q.center(q.inverse(product))
            })
            .collect();
        let conversion = Conversion::new(&divisor, &target);
        Self { source, target, divisor, conversion, inverses }
    }

    /// The basis divided.
    pub fn source(&self) -> &Arc<RnsBasis> {
        &self.source
    }

    /// The basis that is left.
    pub fn target(&self) -> &Arc<RnsBasis> {
        &self.target
    }

    /// `(x - [x]_D) / D` with `[x]_D` in about `[-D/2, D/2]`: the rounded quotient. In the Eval domain only the limbs of
    /// the divisor are transformed back, and their remainder forward again. `x` is used as scratch space.
    ///
    /// # Panics
    /// If `x` is not over the source basis.
    pub fn divide(&self, mut x: RnsPoly<Eval>) -> RnsPoly<Eval> {
        assert!(*x.basis() == self.source, "a quotient of another basis");
        let n = self.target.degree();
        let kept = self.target.len();
        let mut remainder = self.target.pool().take(n * self.divisor.len());
        for (index, limb) in remainder.chunks_exact_mut(n).enumerate() {
            limb.copy_from_slice(x.limb(kept + index));
            self.divisor.kernel().ntt_inverse(self.divisor.table(index), limb);
        }
        self.finish(&mut remainder, |index, out, kernel_remainder| {
            self.target.kernel().ntt_forward(self.target.table(index), kernel_remainder);
            out.copy_from_slice(x.limb_mut(index));
        })
    }

    /// As [`divide`](Self::divide), in the coefficient domain.
    ///
    /// # Panics
    /// If `x` is not over the source basis.
    pub fn divide_coefficients(&self, x: &RnsPoly<Coeff>) -> RnsPoly<Coeff> {
        assert!(*x.basis() == self.source, "a quotient of another basis");
        let n = self.target.degree();
        let kept = self.target.len();
        let mut remainder = self.target.pool().take(n * self.divisor.len());
        for (index, limb) in remainder.chunks_exact_mut(n).enumerate() {
            limb.copy_from_slice(x.limb(kept + index));
        }
        self.finish(&mut remainder, |index, out, _| out.copy_from_slice(x.limb(index)))
    }

    /// `load` writes the limb to be divided into `out`, and brings the remainder into the domain of `out`.
    fn finish<D: crate::Domain>(
        &self,
        remainder: &mut [f64],
        mut load: impl FnMut(usize, &mut [f64], &mut [f64]),
    ) -> RnsPoly<D> {
        let n = self.target.degree();
        let mut limbs: Vec<&mut [f64]> = remainder.chunks_exact_mut(n).collect();
        let v = self.conversion.prepare(&self.divisor, &mut limbs);
        let sources: Vec<&[f64]> = limbs.iter().map(|limb| &**limb).collect();
        let mut converted = self.target.pool().take(n);
        RnsPoly::from_limbs(&self.target, |index, out| {
            let q = self.target.modulus(index);
            self.conversion.target_limb(q, &self.target, index, &sources, v.as_ref(), &mut converted);
            load(index, out, &mut converted);
            self.target.kernel().sub_mul_scalar(q, out, &converted, self.inverses[index]);
        })
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use num_traits::{Signed, ToPrimitive};

    use super::*;
    use crate::{Kernel, Pool, Ring, kernels, prime};

    const DEGREE: usize = 64;

    /// Primes of every size, smallest first; the largest ones are next to `2^50`.
    fn primes() -> Vec<u64> {
        [20, 30, 45].into_iter().map(|bits| (bits, 1)).chain([(50, 8)]).fold(Vec::new(), |mut primes, (bits, count)| {
            primes.extend(prime::largest_primes(bits, 4 * DEGREE as u64, count, &primes).unwrap());
            primes
        })
    }

    fn basis(ring: Ring, primes: &[u64], kernel: &'static dyn Kernel) -> Arc<RnsBasis> {
        Arc::new(RnsBasis::new(DEGREE, ring, primes, kernel, Pool::new()).unwrap())
    }

    fn product(primes: &[u64]) -> BigInt {
        primes.iter().map(|&p| BigInt::from(p)).product()
    }

    /// The representative of `x` modulo `m` in `(-m/2, m/2)`.
    fn centred(x: &BigInt, m: &BigInt) -> BigInt {
        let x = ((x % m) + m) % m;
        if &x * 2 > *m { x - m } else { x }
    }

    /// Coefficients with `special` in between pseudo-random ones of all sizes below `m / 2`.
    fn integers(m: &BigInt, special: &[BigInt]) -> Vec<BigInt> {
        let mut state = BigInt::from(0x9e37_79b9_7f4a_7c15u64);
        (0..DEGREE)
            .map(|i| {
                state = (&state * &state + BigInt::from(i as u64 + 1)) % (m << 40);
                let random = centred(&(&state >> (i % 3 * 20)), m);
                special.get(i / 2).filter(|_| i % 2 == 0).cloned().unwrap_or(random)
            })
            .collect()
    }

    fn residue(x: &BigInt, q: Modulus) -> f64 {
        centred(x, &BigInt::from(q.value())).to_f64().unwrap()
    }

    fn polynomial(basis: &Arc<RnsBasis>, coefficients: &[BigInt]) -> RnsPoly<Coeff> {
        RnsPoly::from_limbs(basis, |index, limb| {
            let q = basis.modulus(index);
            limb.iter_mut().zip(coefficients).for_each(|(a, x)| *a = residue(x, q));
        })
    }

    /// Zero, units, and both sides of `+-m/2` at distances around the `2^-45` where rounding may go either way.
    fn special(m: &BigInt) -> Vec<BigInt> {
        let half: BigInt = m / 2;
        let mut values: Vec<BigInt> = [0, 1, -1].map(BigInt::from).to_vec();
        for distance in [0, 1, 1000].map(BigInt::from).into_iter().chain([44, 40, 20].map(|bits| m >> bits)) {
            values.extend([&half - &distance, -&half + &distance]);
        }
        values
    }

    /// Whether `x` may be represented by its neighbour: within `m 2^-45` of `+-m/2`.
    fn ambiguous(x: &BigInt, m: &BigInt) -> bool {
        (m / 2 - x.abs()) << 45 <= *m
    }

    fn for_each_case(test: impl Fn(Ring, &'static dyn Kernel)) {
        for ring in [Ring::Standard, Ring::ConjugateInvariant] {
            for kernel in kernels::available() {
                test(ring, kernel);
            }
        }
    }

    #[test]
    fn extensions_are_the_balanced_representative() {
        let all = primes();
        // Digits of one to four primes, of all sizes, and at either end of the target.
        let digits: [&[usize]; 6] = [&[0], &[10], &[9, 10], &[0, 1, 2], &[7, 8, 9, 10], &[3, 0, 10, 5]];
        for_each_case(|ring, kernel| {
            let target = basis(ring, &all, kernel);
            for digit in digits {
                let primes: Vec<u64> = digit.iter().map(|&limb| all[limb]).collect();
                let source = basis(ring, &primes, kernel);
                let modulus = product(&primes);
                let exact = integers(&modulus, &special(&modulus));
                let coefficients = polynomial(&source, &exact);
                let evaluations = coefficients.clone().into_eval();
                let extended = Extension::new(Arc::clone(&source), Arc::clone(&target))
                    .extend(&coefficients.limbs().collect::<Vec<_>>(), &evaluations.limbs().collect::<Vec<_>>());
                let extended = extended.into_coeff();
                for (j, x) in exact.iter().enumerate() {
                    let found = |x: &BigInt| {
                        target.moduli().enumerate().all(|(limb, q)| extended.limb(limb)[j] == residue(x, q))
                    };
                    let other = if x.is_negative() { x + &modulus } else { x - &modulus };
                    let exact = primes.len() == 1 || !ambiguous(x, &modulus);
                    assert!(found(x) || (!exact && found(&other)), "{} {ring} {digit:?} {x}", kernel.name());
                }
            }
        });
    }

    #[test]
    fn quotients_are_rounded_divisions() {
        let all = primes();
        for_each_case(|ring, kernel| {
            for (kept, divided) in [(1, 1), (3, 1), (2, 2), (1, 3), (4, 4)] {
                // The divisor takes the small primes and the target the large ones, and the other way round.
                let orders = [all.iter().rev().copied().collect::<Vec<u64>>(), all.clone()];
                for primes in orders.map(|order| [&order[..kept], &order[all.len() - divided..]].concat()) {
                    let source = basis(ring, &primes, kernel);
                    let target = Arc::new(source.select(0..kept));
                    let divisor = product(&primes[kept..]);
                    let modulus = product(&primes);
                    let near = special(&divisor).into_iter().flat_map(|x| {
                        let shifted = &x + &divisor * 12345;
                        [x, shifted]
                    });
                    let exact = integers(&modulus, &near.map(|x| centred(&x, &modulus)).collect::<Vec<_>>());
                    let x = polynomial(&source, &exact);
                    let quotient = Quotient::new(Arc::clone(&source), Arc::clone(&target));
                    let result = quotient.divide_coefficients(&x);
                    assert!(result == quotient.divide(x.clone().into_eval()).into_coeff(), "domains differ");
                    for (j, x) in exact.iter().enumerate() {
                        let remainder = centred(x, &divisor);
                        let rounded = (x - &remainder) / &divisor;
                        let found = |y: &BigInt| {
                            target.moduli().enumerate().all(|(limb, q)| result.limb(limb)[j] == residue(y, q))
                        };
                        let other: BigInt = if remainder.is_negative() { &rounded - 1 } else { &rounded + 1 };
                        let exact = divided == 1 || !ambiguous(&remainder, &divisor);
                        assert!(
                            found(&rounded) || (!exact && found(&other)),
                            "{} {ring} {kept} of {primes:?}: {x}",
                            kernel.name()
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn kernels_convert_alike() {
        let all = primes();
        for ring in [Ring::Standard, Ring::ConjugateInvariant] {
            let results = kernels::available().into_iter().map(|kernel| {
                let target = basis(ring, &all, kernel);
                let source = Arc::new(target.select(1..4));
                let modulus = product(&all[1..4]);
                let x = polynomial(&source, &integers(&modulus, &special(&modulus)));
                let y = x.clone().into_eval();
                let extension = Extension::new(source, Arc::clone(&target));
                let extended = extension.extend(&x.limbs().collect::<Vec<_>>(), &y.limbs().collect::<Vec<_>>());
                let kept = Arc::new(target.select(0..all.len() - 2));
                let divided = Quotient::new(target, kept).divide(extended.clone());
                [extended.limbs().collect::<Vec<_>>().concat(), divided.limbs().collect::<Vec<_>>().concat()]
            });
            let results: Vec<_> = results.collect();
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{ring}");
        }
    }

    #[test]
    #[should_panic(expected = "a quotient of another basis")]
    fn quotients_refuse_another_basis() {
        let all = primes();
        let kernel = kernels::available()[0];
        let source = basis(Ring::Standard, &all[..3], kernel);
        let target = Arc::new(source.select(0..2));
        let other = basis(Ring::Standard, &all[1..4], kernel);
        Quotient::new(source, target).divide(RnsPoly::zero(&other));
    }

    #[test]
    #[should_panic(expected = "the first primes of the source")]
    fn quotients_refuse_a_target_that_is_no_prefix() {
        let source = basis(Ring::Standard, &primes()[..3], kernels::available()[0]);
        let target = Arc::new(source.select(1..3));
        Quotient::new(source, target);
    }
}

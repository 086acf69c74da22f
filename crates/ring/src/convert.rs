//! RNS base conversion and exact division by primes of the basis.

use std::sync::Arc;

use crate::{Buffer, Coeff, Eval, Modulus, RnsBasis, RnsPoly};

/// Conversion of integers from one basis to another: for `x` known modulo `S = prod s_i`, the residues modulo each
/// target prime of the representative of `x` in about `[-S/2, S/2]`.
///
/// With `y_i = x (S/s_i)^-1 mod s_i`, `x = sum y_i (S/s_i) - v S` and `v = rint(sum y_i/s_i)` (Halevi, Polyakov and
/// Shoup, eprint 2018/117, section 2.2). `v` is computed in `f64`: it is exact unless `x` lies within `S 2^-45` of
/// `+-S/2`, where the other representative may be returned, still congruent to `x`.
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
        quotient.iter_mut().for_each(|v| *v = v.round_ties_even());
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
        assert!(target.len() < source.len() && target.moduli().zip(source.moduli()).all(|(a, b)| a == b));
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

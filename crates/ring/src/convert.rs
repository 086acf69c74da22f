//! RNS base conversion and exact division by primes of the basis.

use std::sync::Arc;

use crate::{Buffer, Coeff, Eval, Modulus, RnsBasis, RnsPoly, parallel};

/// Conversion of integers from one basis to another: for `x` known modulo `S = prod s_i`, the residues modulo each
/// target prime of the representative of `x` in about `[-S/2, S/2]`.
///
/// With `y_i = x (S/s_i)^-1 mod s_i`, `x = sum y_i (S/s_i) - v S` and `v = rint(sum y_i/s_i)` (Halevi, Polyakov and
/// Shoup, eprint 2018/117, section 2.2). `v` is computed in `f64`: for up to 22 primes it is exact unless `x` lies within
/// `S 2^-45` of `+-S/2`, where the other representative may be returned, still congruent to `x`. See docs/notes/rns.md.
#[derive(Debug)]
pub(crate) struct Conversion {
    /// `(S/s_i)^-1 mod s_i`, canonical.
    cofactor_inverses: Vec<f64>,
    /// `weights[j][i] = S/s_i mod t_j`, then `-S mod t_j` as the last entry; canonical.
    weights: Vec<Vec<f64>>,
}

impl Conversion {
    fn new(source: &RnsBasis, target: &RnsBasis) -> Self {
        let inverse = |(index, s): (usize, Modulus)| s.center(s.inverse(cofactor(source, Some(index), s)));
        let cofactor_inverses = source.moduli().enumerate().map(inverse).collect();
        let weights = target
            .moduli()
            .map(|t| {
                let cofactors = (0..source.len()).map(|index| t.center(cofactor(source, Some(index), t)));
                cofactors.chain([-t.center(cofactor(source, None, t))]).collect()
            })
            .collect();
        Self { cofactor_inverses, weights }
    }

    /// Turns a source limb of evaluations of `x` into the coefficients `y_i`.
    fn scale_inverse(&self, source: &RnsBasis, index: usize, limb: &mut [f64]) {
        match source.len() {
            // The balanced representative is x itself.
            1 => source.kernel().ntt_inverse(source.table(index), limb),
            _ => source.kernel().ntt_inverse_scaled(source.table(index), limb, self.cofactor_inverses[index]),
        }
    }

    /// Turns the coefficients of a source limb of `x` into `y_i`.
    fn scale(&self, source: &RnsBasis, index: usize, limb: &mut [f64]) {
        if source.len() > 1 {
            source.kernel().mul_scalar(source.modulus(index), limb, self.cofactor_inverses[index]);
        }
    }

    /// `v` of all `y_i`, limb by limb; `None` for a single source prime, for which it is zero.
    pub(crate) fn quotient(source: &RnsBasis, scaled: &[Buffer]) -> Option<Buffer> {
        if source.len() == 1 {
            return None;
        }
        let mut quotient = source.pool().take(source.degree());
        let reciprocals = source.moduli().map(Modulus::reciprocal);
        let terms: Vec<(&[f64], f64)> = scaled.iter().map(|y| &**y).zip(reciprocals).collect();
        source.kernel().round_sum(&mut quotient, &terms);
        Some(quotient)
    }

    /// The coefficients modulo the target prime with this index of `y_i` (limb by limb) and `v`.
    fn convert(
        &self,
        target: &RnsBasis,
        limb: usize,
        index: usize,
        from: (&[Buffer], Option<&Buffer>),
        out: &mut [f64],
    ) {
        let (kernel, q) = (target.kernel(), target.modulus(limb));
        match self.terms(index, from) {
            (terms, None) => kernel.reduce(q, out, terms[0].0),
            (mut terms, Some(correction)) => {
                terms.push(correction);
                kernel.combine(q, out, &terms);
            }
        }
    }

    /// As [`convert`](Self::convert), in the Eval domain.
    fn convert_forward(
        &self,
        target: &RnsBasis,
        limb: usize,
        index: usize,
        from: (&[Buffer], Option<&Buffer>),
        out: &mut [f64],
    ) {
        let (terms, correction) = self.terms(index, from);
        target.kernel().combine_forward(target.table(limb), out, &terms, correction);
    }

    /// The terms of the sum over `i`, and that of `v`.
    fn terms<'a>(
        &self,
        index: usize,
        (scaled, v): (&'a [Buffer], Option<&'a Buffer>),
    ) -> (Vec<Term<'a>>, Option<Term<'a>>) {
        let weights = &self.weights[index];
        let terms = scaled.iter().map(|y| &**y).zip(weights.iter().copied()).collect();
        (terms, v.map(|v| (&**v, weights[scaled.len()])))
    }
}

/// The product of the primes of a basis, all but one if one is named, modulo `q`.
fn cofactor(basis: &RnsBasis, skip: Option<usize>, q: Modulus) -> u64 {
    let factors = basis.moduli().enumerate().filter(|(index, _)| Some(*index) != skip);
    factors.fold(1 % q.value(), |product, (_, s)| q.mul(product, s.value() % q.value()))
}

/// A factor of every coefficient, and a weight.
type Term<'a> = (&'a [f64], f64);

/// Extension of a few limbs (a digit) to a larger basis that contains them: the first half of a key switch. The integer
/// polynomial with the digit's residues and balanced coefficients is reduced modulo every prime of the target.
#[derive(Debug)]
pub struct Extension {
    digit: Arc<RnsBasis>,
    target: Arc<RnsBasis>,
    /// Where the target's limb comes from: the digit's limb of the same prime, or the conversion's target index.
    origin: Vec<Origin>,
    conversion: Conversion,
    /// `S/s_i mod s_i` for the digit's primes `s_i` with product `S`, canonical.
    cofactors: Vec<f64>,
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
        let cofactors =
            digit.moduli().enumerate().map(|(index, s)| s.center(cofactor(&digit, Some(index), s))).collect();
        Self { digit, target, origin, conversion, cofactors }
    }

    /// The primes of the digit.
    pub fn digit(&self) -> &Arc<RnsBasis> {
        &self.digit
    }

    /// The primes extended to.
    pub fn target(&self) -> &Arc<RnsBasis> {
        &self.target
    }
}

/// A polynomial cut into digits of consecutive limbs, to be extended limb by limb. It is transformed back to coefficients
/// once; each extended limb costs a conversion and a transform for each digit, except the digit that has its prime, if the
/// polynomial's evaluations are there.
#[derive(Debug)]
pub struct Digits<'a> {
    extensions: &'a [Extension],
    /// The polynomial, unless only its coefficients are known.
    evaluations: Option<&'a RnsPoly<Eval>>,
    /// `y_i` of each limb.
    scaled: Vec<Buffer>,
    /// The first limb of each digit, and `v`.
    quotients: Vec<(usize, Option<Buffer>)>,
}

impl<'a> Digits<'a> {
    /// Cuts `poly` into the digits of `extensions`, which have one target.
    ///
    /// # Panics
    /// If the primes of the digits, one after another, are not those of `poly`, or if there are none.
    pub fn new(extensions: &'a [Extension], poly: &'a RnsPoly<Eval>) -> Self {
        let places = places(extensions, poly.basis());
        let mut scaled = poly.basis().pool().take_limbs(places.len(), poly.basis().degree());
        let task = |limb: usize, (scaled, residues): (&mut Buffer, &[f64])| {
            scaled.copy_from_slice(residues);
            let (extension, at) = places[limb];
            extension.conversion.scale_inverse(&extension.digit, at, scaled);
        };
        parallel::for_each(scaled.iter_mut().zip(poly.limbs()), task);
        Self::cut(extensions, Some(poly), scaled)
    }

    /// Cuts the quotient of `x` into the digits of `extensions`. As [`new`](Self::new) of what [`Quotient::divide`] makes,
    /// but limbs wait for each other once less: all are transformed back before the division.
    ///
    /// # Panics
    /// If `x` is not over the source basis of the quotient; as [`new`](Self::new) for its target.
    pub fn of_quotient(extensions: &'a [Extension], quotient: &Quotient, x: &RnsPoly<Eval>) -> Self {
        assert!(*x.basis() == quotient.source, "a quotient of another basis");
        let target = &quotient.target;
        let places = places(extensions, target);
        let kernel = target.kernel();
        let mut kept = target.pool().take_limbs(target.len(), target.degree());
        let mut remainder = quotient.remainder_limbs();
        let task = |index: usize, (out, residues): (&mut Buffer, &[f64])| {
            out.copy_from_slice(residues);
            match index.checked_sub(target.len()) {
                None => kernel.ntt_inverse(target.table(index), out),
                Some(index) => quotient.prepare_limb(index, out),
            }
        };
        parallel::for_each(kept.iter_mut().chain(&mut remainder).zip(x.limbs()), task);
        let remainder = quotient.remainder(remainder);
        let mut scaled = target.pool().take_limbs(target.len(), target.degree());
        parallel::for_each(scaled.iter_mut().zip(&kept), |limb, (scaled, x): (&mut Buffer, &Buffer)| {
            quotient.finish_coefficients(&remainder, limb, x, scaled);
            let (extension, at) = places[limb];
            extension.conversion.scale(&extension.digit, at, scaled);
        });
        Self::cut(extensions, None, scaled)
    }

    fn cut(extensions: &'a [Extension], evaluations: Option<&'a RnsPoly<Eval>>, scaled: Vec<Buffer>) -> Self {
        let mut quotients: Vec<(usize, Option<Buffer>)> = Vec::new();
        let mut first = 0;
        for extension in extensions {
            quotients.push((first, None));
            first += extension.digit.len();
        }
        let task = |digit: usize, (first, quotient): &mut (usize, Option<Buffer>)| {
            let digit = &extensions[digit].digit;
            *quotient = Conversion::quotient(digit, &scaled[*first..][..digit.len()]);
        };
        parallel::for_each(&mut quotients, task);
        Self { extensions, evaluations, scaled, quotients }
    }

    /// Number of digits.
    pub fn len(&self) -> usize {
        self.extensions.len()
    }

    /// Whether there is no digit: never.
    pub fn is_empty(&self) -> bool {
        self.extensions.is_empty()
    }

    /// The primes extended to.
    pub fn target(&self) -> &'a Arc<RnsBasis> {
        self.extensions[0].target()
    }

    /// Every digit modulo the prime of limb `index` of the target, Eval domain. `work_space` has a limb for each; the digit
    /// that has the prime is borrowed from the polynomial, if its evaluations are there.
    ///
    /// # Panics
    /// If there is no limb for a digit.
    pub fn limb<'b>(&'b self, index: usize, work_space: &'b mut [Buffer]) -> Vec<&'b [f64]> {
        assert_eq!(work_space.len(), self.len());
        let digits = (0..self.len()).filter(|digit| self.borrowed_limb(*digit, index).is_none());
        parallel::for_each(work_space.iter_mut().zip(digits), |_, (out, digit)| self.convert(digit, index, out));
        let mut converted = work_space.iter().map(|limb| &**limb);
        let limb = |digit| self.borrowed_limb(digit, index).or_else(|| converted.next());
        (0..self.len()).filter_map(limb).collect()
    }

    /// As [`limb`](Self::limb), with every digit in a place of its own.
    pub fn write_limb<'b>(&self, index: usize, outs: impl IntoIterator<Item = &'b mut [f64]>) {
        parallel::for_each(outs, |digit, out: &mut [f64]| match self.borrowed_limb(digit, index) {
            Some(limb) => out.copy_from_slice(limb),
            None => self.convert(digit, index, out),
        });
    }

    /// The limb of the polynomial that has the prime of the target's limb, if it is one of the digit's and is there.
    fn borrowed_limb(&self, digit: usize, index: usize) -> Option<&[f64]> {
        match self.extensions[digit].origin[index] {
            Origin::Digit(limb) => Some(self.evaluations?.limb(self.quotients[digit].0 + limb)),
            Origin::Converted(_) => None,
        }
    }

    /// Writes a digit modulo a prime.
    fn convert(&self, digit: usize, index: usize, out: &mut [f64]) {
        let (extension, (first, v)) = (&self.extensions[digit], &self.quotients[digit]);
        let (target, scaled) = (&extension.target, &self.scaled[*first..][..extension.digit.len()]);
        match extension.origin[index] {
            Origin::Converted(to) => {
                extension.conversion.convert_forward(target, index, to, (scaled, v.as_ref()), out);
            }
            // The other terms of the sum over i, and that of v, are multiples of the prime.
            Origin::Digit(limb) => {
                let term = (&*scaled[limb], extension.cofactors[limb]);
                target.kernel().combine_forward(target.table(index), out, &[term], None);
            }
        }
    }
}

/// The digit of every limb of a basis, and its place there.
///
/// # Panics
/// If the primes of the digits, one after another, are not those of the basis, or if there are none.
fn places<'a>(extensions: &'a [Extension], basis: &RnsBasis) -> Vec<(&'a Extension, usize)> {
    let places: Vec<(&Extension, usize)> =
        extensions.iter().flat_map(|extension| (0..extension.digit.len()).map(move |at| (extension, at))).collect();
    let primes = places.iter().map(|(extension, at)| extension.digit.modulus(*at));
    assert!(!places.is_empty() && primes.eq(basis.moduli()), "digits of another basis than {basis:?}");
    places
}

/// Exact rounded division by the product `D` of the last primes of a basis: rescaling (`D` one prime of the chain),
/// the end of a key switch (`D` the special primes), or both at once.
#[derive(Debug)]
pub struct Quotient {
    source: Arc<RnsBasis>,
    target: Arc<RnsBasis>,
    divisor: RnsBasis,
    conversion: Conversion,
    /// `-D^-1` modulo each target prime, canonical.
    negated_inverses: Vec<f64>,
}

/// `[x]_D` of a polynomial `x`, ready for conversion.
#[derive(Debug)]
pub struct Remainder {
    scaled: Vec<Buffer>,
    v: Option<Buffer>,
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
        let negated_inverses = target
            .moduli()
            .map(|q| {
                let product = divisor.moduli().fold(1, |product, d| q.mul(product, d.value() % q.value()));
                -q.center(q.inverse(product))
            })
            .collect();
        let conversion = Conversion::new(&divisor, &target);
        Self { source, target, divisor, conversion, negated_inverses }
    }

    /// The basis divided.
    pub fn source(&self) -> &Arc<RnsBasis> {
        &self.source
    }

    /// The basis that is left.
    pub fn target(&self) -> &Arc<RnsBasis> {
        &self.target
    }

    /// The primes divided away.
    pub fn divisor(&self) -> &RnsBasis {
        &self.divisor
    }

    /// `(x - [x]_D) / D` with `[x]_D` in about `[-D/2, D/2]`: the rounded quotient. In the Eval domain only the limbs of
    /// the divisor are transformed back, and their remainder forward again.
    ///
    /// # Panics
    /// If `x` is not over the source basis.
    pub fn divide(&self, x: &RnsPoly<Eval>) -> RnsPoly<Eval> {
        let [quotient] = self.divide_all([x]);
        quotient
    }

    /// [`divide`](Self::divide) of several polynomials, whose limbs are tasks for the threads together.
    ///
    /// # Panics
    /// If one is not over the source basis.
    pub fn divide_all<const K: usize>(&self, polys: [&RnsPoly<Eval>; K]) -> [RnsPoly<Eval>; K] {
        assert!(polys.iter().all(|x| *x.basis() == self.source), "a quotient of another basis");
        let kept = self.target.len();
        let mut remainders = polys.map(|_| self.remainder_limbs());
        let limbs = remainders.iter_mut().zip(polys).flat_map(|(remainder, x)| {
            remainder.iter_mut().enumerate().map(move |(index, limb)| (index, x.limb(kept + index), limb))
        });
        let task = |_: usize, (index, x, limb): (usize, &[f64], &mut Buffer)| {
            limb.copy_from_slice(x);
            self.prepare_limb(index, limb);
        };
        parallel::for_each(limbs, task);
        let remainders = remainders.map(|remainder| self.remainder(remainder));
        let mut quotients = polys.map(|_| RnsPoly::unspecified(&self.target));
        let limbs = quotients.iter_mut().zip(polys).zip(&remainders).flat_map(|((quotient, x), remainder)| {
            quotient.limbs_mut().enumerate().map(move |(index, out)| (index, x.limb(index), remainder, out))
        });
        let task = |_: usize, (index, x, remainder, out): (usize, &[f64], &Remainder, &mut [f64])| {
            self.remainder_limb(remainder, index, out);
            self.finish(index, x, out);
        };
        parallel::for_each(limbs, task);
        quotients
    }

    /// As [`divide`](Self::divide), in the coefficient domain.
    ///
    /// # Panics
    /// If `x` is not over the source basis.
    pub fn divide_coefficients(&self, x: &RnsPoly<Coeff>) -> RnsPoly<Coeff> {
        assert!(*x.basis() == self.source, "a quotient of another basis");
        let kept = self.target.len();
        let mut remainder = self.remainder_limbs();
        for (index, limb) in remainder.iter_mut().enumerate() {
            limb.copy_from_slice(x.limb(kept + index));
            self.conversion.scale(&self.divisor, index, limb);
        }
        let remainder = self.remainder(remainder);
        RnsPoly::from_limbs(&self.target, |index, out| {
            self.finish_coefficients(&remainder, index, x.limb(index), out);
        })
    }

    /// Places for the limbs of the divisor, contents unspecified.
    pub fn remainder_limbs(&self) -> Vec<Buffer> {
        self.divisor.pool().take_limbs(self.divisor.len(), self.divisor.degree())
    }

    /// First step of a division limb by limb: prepares limb `index` of the divisor's, Eval domain, in place.
    pub fn prepare_limb(&self, index: usize, limb: &mut [f64]) {
        self.conversion.scale_inverse(&self.divisor, index, limb);
    }

    /// Second step: the remainder of all prepared limbs.
    ///
    /// # Panics
    /// If there are not as many limbs as the divisor has primes.
    pub fn remainder(&self, prepared: Vec<Buffer>) -> Remainder {
        assert_eq!(prepared.len(), self.divisor.len());
        let v = Conversion::quotient(&self.divisor, &prepared);
        Remainder { scaled: prepared, v }
    }

    /// Third step: the remainder modulo the prime of limb `index` of the target, Eval domain.
    pub fn remainder_limb(&self, remainder: &Remainder, index: usize, out: &mut [f64]) {
        let from = (&remainder.scaled[..], remainder.v.as_ref());
        self.conversion.convert_forward(&self.target, index, index, from, out);
    }

    /// Last step: turns the remainder in `out` into the quotient of `x`, at any positions of limb `index`.
    pub fn finish(&self, index: usize, x: &[f64], out: &mut [f64]) {
        // out = (x - out) / D.
        self.target.kernel().sub_mul_scalar(self.target.modulus(index), out, x, self.negated_inverses[index]);
    }

    /// The quotient of limb `index` of `x`, coefficient domain.
    fn finish_coefficients(&self, remainder: &Remainder, index: usize, x: &[f64], out: &mut [f64]) {
        let from = (&remainder.scaled[..], remainder.v.as_ref());
        self.conversion.convert(&self.target, index, index, from, out);
        self.finish(index, x, out);
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use num_traits::{Signed, ToPrimitive};

    use super::*;
    use crate::{Kernel, Pool, Ring, kernels, prime, sample};

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

    /// Every digit of a polynomial over all primes of the extensions' target, limb by limb in both ways.
    fn extend<const K: usize>(extensions: [Extension; K], poly: RnsPoly<Eval>) -> [RnsPoly<Eval>; K] {
        extended(&Digits::new(&extensions, &poly))
    }

    fn extended<const K: usize>(digits: &Digits<'_>) -> [RnsPoly<Eval>; K] {
        let mut extended = std::array::from_fn(|_| RnsPoly::unspecified(digits.target()));
        let mut written = vec![0.0; K * DEGREE];
        let mut work_space = digits.target().pool().take_limbs(K, DEGREE);
        for index in 0..digits.target().len() {
            digits.write_limb(index, written.chunks_exact_mut(DEGREE));
            let limbs = digits.limb(index, &mut work_space);
            for (digit, extended) in extended.iter_mut().enumerate() {
                assert_eq!(limbs[digit], &written[digit * DEGREE..][..DEGREE]);
                extended.limb_mut(index).copy_from_slice(limbs[digit]);
            }
        }
        extended
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
                let extension = Extension::new(Arc::clone(&source), Arc::clone(&target));
                let [extended] = extend([extension], coefficients.into_eval()).map(RnsPoly::into_coeff);
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
                    assert!(result == quotient.divide(&x.clone().into_eval()).into_coeff(), "domains differ");
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
                let extension = Extension::new(source, Arc::clone(&target));
                let [extended] = extend([extension], x.into_eval());
                let kept = Arc::new(target.select(0..all.len() - 2));
                let divided = Quotient::new(target, kept).divide(&extended);
                [extended.limbs().collect::<Vec<_>>().concat(), divided.limbs().collect::<Vec<_>>().concat()]
            });
            let results: Vec<_> = results.collect();
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{ring}");
        }
    }

    /// Digits of different sizes of one polynomial are those of its limbs alone.
    #[test]
    fn polynomials_are_cut_into_the_digits_of_their_limbs() {
        let all = primes();
        for_each_case(|ring, kernel| {
            let target = basis(ring, &all, kernel);
            let digit = |limbs: std::ops::Range<usize>| Arc::new(target.select(limbs));
            let extension = |limbs| Extension::new(digit(limbs), Arc::clone(&target));
            let poly = sample::uniform(&digit(0..6), &[5; 32], 0);
            let cuts = [0..3, 3..4, 4..6];
            let found = extend(cuts.clone().map(extension), poly.clone());
            for (found, cut) in found.into_iter().zip(cuts) {
                let limbs: Vec<usize> = cut.clone().collect();
                let alone = poly.select(&digit(cut.clone()), &limbs);
                assert!([found] == extend([extension(cut.clone())], alone), "{ring} {cut:?}");
            }
        });
    }

    #[test]
    fn digits_of_a_quotient_are_those_of_the_polynomial_divided() {
        let all = primes();
        for_each_case(|ring, kernel| {
            let target = basis(ring, &all, kernel);
            let select = |limbs: std::ops::Range<usize>| Arc::new(target.select(limbs));
            for divided in 1..=3 {
                let source = select(0..6 + divided);
                let quotient = Quotient::new(Arc::clone(&source), select(0..6));
                let x = sample::uniform(&source, &[7; 32], 0);
                for cuts in [[0..1, 1..2, 2..6], [0..3, 3..4, 4..6]] {
                    let extensions = cuts.map(|limbs| Extension::new(select(limbs), Arc::clone(&target)));
                    let found: [_; 3] = extended(&Digits::of_quotient(&extensions, &quotient, &x));
                    let divided: [_; 3] = extended(&Digits::new(&extensions, &quotient.divide(&x)));
                    assert!(found == divided, "{} {ring} {extensions:?}", kernel.name());
                }
            }
        });
    }

    #[test]
    #[should_panic(expected = "digits of another basis")]
    fn digits_must_cover_the_polynomial() {
        let target = basis(Ring::Standard, &primes()[..4], kernels::available()[0]);
        let extensions = [Extension::new(Arc::new(target.select(0..2)), Arc::clone(&target))];
        Digits::new(&extensions, &RnsPoly::zero(&target));
    }

    #[test]
    #[should_panic(expected = "a quotient of another basis")]
    fn digits_of_a_quotient_refuse_another_basis() {
        let target = basis(Ring::Standard, &primes()[..4], kernels::available()[0]);
        let select = |limbs: std::ops::Range<usize>| Arc::new(target.select(limbs));
        let extensions = [Extension::new(select(0..2), Arc::clone(&target))];
        Digits::of_quotient(&extensions, &Quotient::new(select(0..3), select(0..2)), &RnsPoly::zero(&target));
    }

    #[test]
    fn threads_of_a_pool_make_the_same_polynomials() {
        let target = basis(Ring::Standard, &primes(), kernels::available()[0]);
        let compute = || {
            let digit = |limbs| Extension::new(Arc::new(target.select(limbs)), Arc::clone(&target));
            let poly = sample::uniform(&Arc::new(target.select(0..4)), &[6; 32], 0);
            let extended = extend([digit(0..2), digit(2..4)], poly);
            let quotient = Quotient::new(Arc::clone(&target), Arc::new(target.select(0..3)));
            let [a, b] = quotient.divide_all([&extended[0], &extended[1]]);
            assert!(a == quotient.divide(&extended[0]) && b == quotient.divide(&extended[1]));
            [a, b]
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert!(pool.install(compute) == compute());
    }

    #[test]
    #[should_panic(expected = "a quotient of another basis")]
    fn quotients_refuse_another_basis() {
        let all = primes();
        let kernel = kernels::available()[0];
        let source = basis(Ring::Standard, &all[..3], kernel);
        let target = Arc::new(source.select(0..2));
        let other = basis(Ring::Standard, &all[1..4], kernel);
        Quotient::new(source, target).divide(&RnsPoly::zero(&other));
    }

    #[test]
    #[should_panic(expected = "the first primes of the source")]
    fn quotients_refuse_a_target_that_is_no_prefix() {
        let source = basis(Ring::Standard, &primes()[..3], kernels::available()[0]);
        let target = Arc::new(source.select(1..3));
        Quotient::new(source, target);
    }
}

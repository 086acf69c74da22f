use std::fmt;
use std::sync::Arc;

use nightloom_ring::{Buffer, Coeff, Eval, Modulus, Ring, RnsBasis, RnsPoly};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use zeroize::{Zeroize, Zeroizing};

use crate::ckks::extended::check_extended;
use crate::{CkksParams, EvalError, ExtendedPlaintext, Level, Plaintext, Scale};

/// Scaled values as an element of the ring: `N` signed integers, not yet reduced modulo anything. Belongs to the data
/// owner and is wiped when dropped.
#[derive(Clone)]
pub struct Message {
    params: CkksParams,
    /// Integers below `2^MAX_BITS` in absolute value.
    coefficients: Zeroizing<Buffer>,
    scale: Scale,
}

/// Coefficients of a message are below two to this power.
const MAX_BITS: u32 = 120;
/// Below `2^48` a coefficient plus an error stays in the range of the ring's vector reduction.
const NARROW_BITS: u32 = 48;
/// Wide coefficients are cut into three integers of at most this many bits, which carry `MAX_BITS`.
const PIECE_BITS: i32 = 47;

impl Message {
    /// `N` integers below `2^MAX_BITS` in absolute value.
    pub(crate) fn from_coefficients(params: &CkksParams, coefficients: Zeroizing<Buffer>, scale: Scale) -> Self {
        Self { params: params.clone(), coefficients, scale }
    }

    /// The parameters which the message was encoded for.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The scale at which the values were encoded.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// Bits of the largest coefficient with its sign; `u32::MAX` if one is not finite.
    fn bits(&self) -> u32 {
        // `max` alone would pass over a NaN.
        let magnitude = |x: &f64| if x.is_finite() { x.abs() } else { f64::INFINITY };
        let largest = self.coefficients.iter().map(magnitude).fold(0.0, f64::max);
        ((largest + 1.0).log2().ceil() as u32).saturating_add(1)
    }

    /// Checks that the message fits the modulus of a level that exists.
    pub(crate) fn check_fits(&self, op: &'static str, level: Level) -> Result<(), EvalError> {
        if level > self.params.top() {
            return Err(EvalError::LevelTooHigh { op, found: level, top: self.params.top() });
        }
        let room_bits = (self.params.log_q(level) as u32).min(MAX_BITS);
        match self.bits() {
            needed_bits if needed_bits > room_bits => Err(EvalError::TooLarge { needed_bits, room_bits, level }),
            _ => Ok(()),
        }
    }

    /// The message over a basis.
    fn reduce(&self, basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
        if self.bits() <= NARROW_BITS {
            RnsPoly::from_signed(basis, &self.coefficients).into_eval()
        } else {
            self.reduce_wide(None, basis)
        }
    }

    /// The message plus small integers, over a basis.
    pub(crate) fn reduce_with(&self, error: &[f64], basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
        if self.bits() > NARROW_BITS {
            return self.reduce_wide(Some(error), basis);
        }
        let mut sum = self.coefficients.clone();
        sum.iter_mut().zip(error).for_each(|(sum, error)| *sum += error);
        RnsPoly::from_signed(basis, &sum).into_eval()
    }

    /// The message plus small integers, for coefficients of any size. Constant time in them.
    ///
    /// The error joins the lowest piece: a wide coefficient plus an error, rounded to `f64`, would be the coefficient
    /// alone, and an encryption without error gives the key away.
    fn reduce_wide(&self, error: Option<&[f64]>, basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
        let pool = self.params.pool();
        let [mut low, mut middle, mut high] = [0; 3].map(|_| Zeroizing::new(pool.take(self.coefficients.len())));
        low.copy_from_slice(&self.coefficients);
        for (piece, bits) in [(&mut high, 2 * PIECE_BITS), (&mut middle, PIECE_BITS)] {
            let unit = f64::from(bits).exp2();
            for (low, piece) in low.iter_mut().zip(piece.iter_mut()) {
                // Exact: an integer of 53 bits minus its upper bits.
                *piece = (*low / unit).round_ties_even();
                *low -= *piece * unit;
            }
        }
        if let Some(error) = error {
            low.iter_mut().zip(error).for_each(|(low, error)| *low += error);
        }
        let weight = |q: Modulus, bits: i32| q.center(q.pow(2, bits as u64));
        RnsPoly::<Coeff>::from_limbs(basis, |limb, out| {
            let q = basis.modulus(limb);
            let terms: [(&[f64], f64); 3] =
                [(&low, 1.0), (&middle, weight(q, PIECE_BITS)), (&high, weight(q, 2 * PIECE_BITS))];
            basis.kernel().combine(q, out, &terms);
        })
        .into_eval()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message(scale {}, contents hidden)", self.scale)
    }
}

/// Turns vectors of real numbers into elements of the ring and back.
///
/// Slot `j` is the value at `zeta^(5^j)` with `zeta = exp(i pi / M)`, where `M = N` in the standard ring and `M = 2N` in
/// the conjugate-invariant one, whose elements are the real elements of degree `2N` (eprint 2018/952). With
/// `c_j = a_j + i a_(j + M/2)` the values at the exponents `4k + 1` are the DFT of `c_j zeta^j` of length `M/2`, and
/// the powers of 5 are a permutation of these exponents.
#[derive(Clone)]
pub struct Encoder {
    params: CkksParams,
    to_slots: Arc<dyn Fft<f64>>,
    from_slots: Arc<dyn Fft<f64>>,
    /// `zeta^j`.
    twist: Arc<[Complex<f64>]>,
    /// `(5^j - 1) / 4 mod M/2`.
    order: Arc<[usize]>,
}

impl Encoder {
    /// An encoder for these parameters.
    pub fn new(params: &CkksParams) -> Self {
        let length = params.slots();
        let mut planner = FftPlanner::new();
        let angle = std::f64::consts::PI / (2 * length) as f64;
        let twist = (0..length).map(|j| Complex::from_polar(1.0, angle * j as f64)).collect();
        let powers = std::iter::successors(Some(1usize), |power| Some(power * 5 % (4 * length)));
        let order = powers.take(length).map(|power| power / 4).collect();
        Self {
            params: params.clone(),
            // The sign of the exponent is positive, which rustfft calls inverse.
            to_slots: planner.plan_fft_inverse(length),
            from_slots: planner.plan_fft_forward(length),
            twist,
            order,
        }
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// Encodes up to [`slots`](CkksParams::slots) values; the slots after them are zero.
    ///
    /// # Errors
    /// [`EvalError::TooManyValues`], [`EvalError::NotFinite`], or [`EvalError::TooLarge`] if the scaled values do not fit
    /// the whole modulus.
    pub fn encode(&self, values: &[f64], scale: &Scale) -> Result<Message, EvalError> {
        let length = self.params.slots();
        if values.len() > length {
            return Err(EvalError::TooManyValues { found: values.len(), slots: length });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(EvalError::NotFinite { index, found: values[index] });
        }
        let factor = scale.to_f64() / length as f64;
        let mut buffer = Zeroizing::new(self.params.pool().take(2 * length));
        let mut scratch = Zeroizing::new(self.params.pool().take(2 * self.from_slots.get_inplace_scratch_len()));
        let slots = complex(&mut buffer);
        slots.fill(Complex::ZERO);
        for (value, &at) in values.iter().zip(&*self.order) {
            slots[at] = Complex::new(value * factor, 0.0);
        }
        self.from_slots.process_with_scratch(slots, complex(&mut scratch));
        let mut coefficients = Zeroizing::new(self.params.pool().take(self.params.degree()));
        let untwisted = slots.iter().zip(&*self.twist).map(|(c, w)| c * w.conj());
        match self.params.ring() {
            Ring::ConjugateInvariant => {
                coefficients.iter_mut().zip(untwisted).for_each(|(a, c)| *a = c.re.round_ties_even());
            }
            Ring::Standard => {
                let (low, high) = coefficients.split_at_mut(length);
                for ((low, high), c) in low.iter_mut().zip(high).zip(untwisted) {
                    (*low, *high) = (c.re.round_ties_even(), c.im.round_ties_even());
                }
            }
        }
        self.message(coefficients, scale)
    }

    /// Encodes one value into every slot: a constant polynomial, exact up to the rounding of `value * scale`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_constant(&self, value: f64, scale: &Scale) -> Result<Message, EvalError> {
        if !value.is_finite() {
            return Err(EvalError::NotFinite { index: 0, found: value });
        }
        let mut coefficients = Zeroizing::new(self.params.pool().take_zeroed(self.params.degree()));
        coefficients[0] = (value * scale.to_f64()).round_ties_even();
        self.message(coefficients, scale)
    }

    fn message(&self, coefficients: Zeroizing<Buffer>, scale: &Scale) -> Result<Message, EvalError> {
        let message = Message::from_coefficients(&self.params, coefficients, scale.clone());
        message.check_fits("encode", self.params.top())?;
        Ok(message)
    }

    /// A message as an operand of plaintext products and sums at a level.
    ///
    /// # Errors
    /// [`EvalError::LevelTooHigh`] above the top, [`EvalError::TooLarge`] if the message does not fit the level.
    pub fn plaintext(&self, message: &Message, level: Level) -> Result<Plaintext, EvalError> {
        crate::keys::same_params("make a plaintext", &self.params, message.params())?;
        message.check_fits("make a plaintext", level)?;
        let poly = message.reduce(self.params.basis(level));
        Ok(Plaintext::new(&self.params, level, message.scale.clone(), poly))
    }

    /// A message as a factor of [`ExtendedCiphertext`](crate::ExtendedCiphertext)s at a level.
    ///
    /// # Errors
    /// As [`plaintext`](Self::plaintext), and [`EvalError::NoSpecialPrimes`] if the parameters have none.
    pub fn extended_plaintext(&self, message: &Message, level: Level) -> Result<ExtendedPlaintext, EvalError> {
        const OP: &str = "make an extended plaintext";
        crate::keys::same_params(OP, &self.params, message.params())?;
        message.check_fits(OP, level)?;
        check_extended(OP, &self.params, level)?;
        let poly = message.reduce(&self.params.level(level).extended);
        Ok(ExtendedPlaintext::new(&self.params, level, message.scale.clone(), poly))
    }

    /// The real parts of all [`slots`](CkksParams::slots).
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if the plaintext belongs to other parameters.
    pub fn decode(&self, plaintext: &Plaintext) -> Result<Vec<f64>, EvalError> {
        crate::keys::same_params("decode", &self.params, plaintext.params())?;
        let mut poly = plaintext.poly().clone().into_coeff();
        let coefficients = Zeroizing::new(integers(&mut poly));
        poly.zeroize();
        Ok(self.slots(&coefficients, plaintext.scale()))
    }

    /// The real parts of all slots of a message: of what was encoded, or of what a
    /// [`CompressedCiphertext`](crate::CompressedCiphertext) decrypts to.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if the message belongs to other parameters.
    pub fn decode_message(&self, message: &Message) -> Result<Vec<f64>, EvalError> {
        crate::keys::same_params("decode", &self.params, message.params())?;
        Ok(self.slots(&message.coefficients, message.scale()))
    }

    /// The real parts of the values at the slots' roots of unity, divided by the scale.
    fn slots(&self, coefficients: &[f64], scale: &Scale) -> Vec<f64> {
        let length = self.params.slots();
        let mut buffer = Zeroizing::new(self.params.pool().take(2 * length));
        let mut scratch = Zeroizing::new(self.params.pool().take(2 * self.to_slots.get_inplace_scratch_len()));
        let slots = complex(&mut buffer);
        for (j, (slot, w)) in slots.iter_mut().zip(&*self.twist).enumerate() {
            let imaginary = match self.params.ring() {
                Ring::Standard => coefficients[j + length],
                // In degree 2N the coefficient of X^(N+j) is -a_(N-j), and that of X^N is zero.
                Ring::ConjugateInvariant if j == 0 => 0.0,
                Ring::ConjugateInvariant => -coefficients[length - j],
            };
            *slot = Complex::new(coefficients[j], imaginary) * w;
        }
        self.to_slots.process_with_scratch(slots, complex(&mut scratch));
        let factor = 1.0 / scale.to_f64();
        self.order.iter().map(|&at| slots[at].re * factor).collect()
    }
}

/// The coefficients as balanced integers modulo `Q`, rounded to `f64`: mixed-radix digits (Garner), balanced, so that a
/// small integer has zero high digits and nothing cancels. `poly` is used as work space and holds the digits afterwards.
pub(crate) fn integers(poly: &mut RnsPoly<Coeff>) -> Buffer {
    let basis = Arc::clone(poly.basis());
    let (kernel, pool, degree) = (basis.kernel(), basis.pool(), basis.degree());
    for digit in 0..basis.len() {
        let current = Zeroizing::new(poly.limb(digit).to_vec());
        let prime = basis.modulus(digit).value();
        let mut reduced = Zeroizing::new(pool.take(degree));
        for limb in digit + 1..basis.len() {
            let q = basis.modulus(limb);
            kernel.reduce(q, &mut reduced, &current);
            let inverse = q.center(q.inverse(prime % q.value()));
            kernel.sub_mul_scalar(q, poly.limb_mut(limb), &reduced, inverse);
        }
    }
    // From the highest digit down, so that no power of the primes is formed that the value does not reach.
    let mut out = pool.take_zeroed(degree);
    for digit in (0..basis.len()).rev() {
        let prime = basis.modulus(digit).as_f64();
        out.iter_mut().zip(poly.limb(digit)).for_each(|(out, digit)| *out = *out * prime + digit);
    }
    out
}

fn complex(buffer: &mut Buffer) -> &mut [Complex<f64>] {
    bytemuck::cast_slice_mut(buffer)
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("params", &self.params).finish()
    }
}

/// How far decrypted values are from expected ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// Largest absolute difference.
    pub max_error: f64,
    /// Root of the mean squared difference.
    pub deviation: f64,
}

impl Precision {
    /// Compares pairwise; values without a partner are ignored. What is not a number is infinitely far off.
    pub fn of(found: &[f64], expected: &[f64]) -> Self {
        let error = |(found, expected): (&f64, &f64)| (found - expected).abs();
        // `max` would pass over a NaN.
        let errors = found.iter().zip(expected).map(error).map(|e| if e.is_nan() { f64::INFINITY } else { e });
        let (count, max_error, squares) = errors.fold((0usize, 0.0f64, 0.0), |(count, max, squares), error| {
            (count + 1, max.max(error), squares + error * error)
        });
        Self { max_error, deviation: (squares / count.max(1) as f64).sqrt() }
    }

    /// `-log2` of the largest error: bits after the binary point that are right everywhere.
    pub fn bits(&self) -> f64 {
        -self.max_error.log2()
    }
}

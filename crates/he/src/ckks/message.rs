use std::fmt;
use std::sync::Arc;

use nightloom_ring::{Buffer, Coeff, Eval, Modulus, RnsBasis, RnsPoly};
use zeroize::Zeroizing;

use crate::{CkksParams, EvalError, Level, Scale};

/// Scaled values as an element of the ring: signed integers, not yet reduced modulo anything. Belongs to the data owner and
/// is wiped when dropped.
///
/// The coefficients of a vector whose slots repeat are zero at all places but the multiples of a stride, and only those
/// are held: see [`CompressedCiphertext`](crate::CompressedCiphertext).
#[derive(Clone)]
pub struct Message {
    params: CkksParams,
    /// Integers below `2^MAX_BITS` in absolute value: the coefficients of `X^(i N / length)`, where the length is a power
    /// of two of at most `N`.
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
    /// `N` integers below `2^MAX_BITS` in absolute value, or those at multiples of a stride, as many as a power of two.
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

    /// The coefficients at multiples of [`stride`](Self::stride).
    pub(crate) fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// All other coefficients are zero.
    pub(crate) fn stride(&self) -> usize {
        self.params.degree() / self.coefficients.len()
    }

    /// The coefficients at multiples of a smaller stride.
    pub(crate) fn with_stride(&self, stride: usize) -> Zeroizing<Buffer> {
        let mut spread = Zeroizing::new(self.params.pool().take_zeroed(self.params.degree() / stride));
        let places = spread.iter_mut().step_by(self.stride() / stride);
        places.zip(&**self.coefficients).for_each(|(place, coefficient)| *place = *coefficient);
        spread
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
    pub(crate) fn reduce(&self, basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
        self.reduce_stride(1, basis)
    }

    /// The message as a polynomial in `X^stride` over a basis of that much smaller a degree; the stride is at most
    /// [`stride`](Self::stride).
    pub(crate) fn reduce_stride(&self, stride: usize, basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
        match self.bits() <= NARROW_BITS {
            true if stride == self.stride() => RnsPoly::from_signed(basis, &self.coefficients).into_eval(),
            true => RnsPoly::from_signed(basis, &self.with_stride(stride)).into_eval(),
            false => reduce_wide(self.with_stride(stride), None, basis),
        }
    }

    /// The message plus small integers, over a basis.
    pub(crate) fn reduce_with(&self, error: &[f64], basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
        let mut sum = self.with_stride(1);
        if self.bits() > NARROW_BITS {
            return reduce_wide(sum, Some(error), basis);
        }
        sum.iter_mut().zip(error).for_each(|(sum, error)| *sum += error);
        RnsPoly::from_signed(basis, &sum).into_eval()
    }
}

/// Coefficients of any size plus small integers, over a basis. Constant time in them.
///
/// The error joins the lowest piece: a wide coefficient plus an error, rounded to `f64`, would be the coefficient alone,
/// and an encryption without error gives the key away.
fn reduce_wide(mut low: Zeroizing<Buffer>, error: Option<&[f64]>, basis: &Arc<RnsBasis>) -> RnsPoly<Eval> {
    let [mut middle, mut high] = [0; 2].map(|_| Zeroizing::new(basis.pool().take(low.len())));
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

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message(scale {}, contents hidden)", self.scale)
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

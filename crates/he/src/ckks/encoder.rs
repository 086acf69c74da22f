use std::fmt;
use std::sync::{Arc, OnceLock};

use nightloom_ring::{Ring, RnsBasis};
use zeroize::{Zeroize, Zeroizing};

use crate::ckks::extended::check_extended;
use crate::ckks::message::integers;
use crate::ckks::slots::SlotTransform;
use crate::{CkksParams, EvalError, ExtendedPlaintext, Level, Message, Plaintext, Scale};

/// Turns vectors of real numbers into elements of the ring and back. Cheap to clone; what it needs for a period of slots
/// is made when it is first needed.
#[derive(Clone)]
pub struct Encoder {
    params: CkksParams,
    /// By `log2` of the slots.
    transforms: Arc<[OnceLock<SlotTransform>]>,
    /// All primes in the ring of a smaller degree, by its `log2`.
    subrings: Arc<[OnceLock<Option<Arc<RnsBasis>>>]>,
}

impl Encoder {
    /// An encoder for these parameters.
    pub fn new(params: &CkksParams) -> Self {
        let transforms = (0..=params.slots().trailing_zeros()).map(|_| OnceLock::new()).collect();
        let subrings = (0..params.degree().trailing_zeros()).map(|_| OnceLock::new()).collect();
        Self { params: params.clone(), transforms, subrings }
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
        let slots = self.params.slots();
        if values.len() > slots {
            return Err(EvalError::TooManyValues { found: values.len(), slots });
        }
        self.encode_slots(values, slots, scale)
    }

    /// Encodes values that repeat to fill all slots; their number is a power of two. What is made of the message takes
    /// as much less time and memory as the slots repeat, where that is possible, and its rounding is averaged:
    /// [`noise::encoding_periodic`](crate::noise::encoding_periodic).
    ///
    /// # Errors
    /// [`EvalError::NoSuchPeriod`], [`EvalError::NotFinite`], [`EvalError::TooLarge`] as for [`encode`](Self::encode).
    pub fn encode_periodic(&self, values: &[f64], scale: &Scale) -> Result<Message, EvalError> {
        if !values.len().is_power_of_two() || values.len() > self.params.slots() {
            return Err(EvalError::NoSuchPeriod { found: values.len(), slots: self.params.slots() });
        }
        self.encode_slots(values, values.len(), scale)
    }

    /// Encodes one value into every slot: a constant polynomial, exact up to the rounding of `value * scale`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_constant(&self, value: f64, scale: &Scale) -> Result<Message, EvalError> {
        self.encode_slots(&[value], 1, scale)
    }

    /// Encodes values into that many slots, which repeat.
    fn encode_slots(&self, values: &[f64], slots: usize, scale: &Scale) -> Result<Message, EvalError> {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(EvalError::NotFinite { index, found: values[index] });
        }
        let (ring, pool) = (self.params.ring(), self.params.pool());
        let coefficients = self.transform(slots).coefficients(ring, values, scale.to_f64(), pool);
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
        Ok(Plaintext::new(&self.params, level, message.scale().clone(), poly))
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
        let tables = self.params.level(level);
        let poly = match self.subring(message.stride()) {
            Some(basis) => {
                let basis = Arc::new(basis.select(tables.key_limbs.iter().copied()));
                message.reduce_stride(self.params.degree() / basis.degree(), &basis)
            }
            None => message.reduce(&tables.extended),
        };
        Ok(ExtendedPlaintext::new(&self.params, level, message.scale().clone(), poly))
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
        let period = self.slots(message.coefficients(), message.scale());
        Ok(period.iter().copied().cycle().take(self.params.slots()).collect())
    }

    /// The real parts of the slots of a polynomial in a power of `X`, divided by the scale.
    fn slots(&self, coefficients: &[f64], scale: &Scale) -> Vec<f64> {
        let slots = match self.params.ring() {
            Ring::Standard => coefficients.len() / 2,
            Ring::ConjugateInvariant => coefficients.len(),
        };
        let factor = 1.0 / scale.to_f64();
        self.transform(slots).values(self.params.ring(), coefficients, factor, self.params.pool())
    }

    /// The transform for a power of two of at most all slots.
    fn transform(&self, slots: usize) -> &SlotTransform {
        self.transforms[slots.trailing_zeros() as usize].get_or_init(|| SlotTransform::new(slots))
    }

    /// All primes in the subring of polynomials in `X^stride`, or in one a little larger if there is no transform of so
    /// small a degree. `None` if what is saved is not worth it.
    fn subring(&self, stride: usize) -> Option<&Arc<RnsBasis>> {
        let degree = ExtendedPlaintext::residues(&self.params, self.params.slots() / stride);
        if degree == self.params.degree() {
            return None;
        }
        let subring = self.subrings[degree.trailing_zeros() as usize].get_or_init(|| {
            let basis = self.params.key_basis();
            let primes: Vec<u64> = basis.moduli().map(|q| q.value()).collect();
            let subring = RnsBasis::new(degree, basis.ring(), &primes, basis.kernel(), basis.pool().clone());
            subring.ok().map(Arc::new)
        });
        subring.as_ref()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CkksSpec;
    use nightloom_ring::kernels;

    /// Of every subring: the values held, repeated, are the transform of the whole polynomial.
    #[test]
    fn repeated_values_are_those_of_the_whole_polynomial() {
        for ring in [Ring::Standard, Ring::ConjugateInvariant] {
            for kernel in kernels::available() {
                // Below 128 bits: for speed only.
                let toy_insecure =
                    CkksSpec { ring, log_degree: 8, prime_bits: vec![50, 40, 50], special_bits: vec![50; 2] };
                let params = toy_insecure.validate_insecure_with(kernel).unwrap();
                let encoder = Encoder::new(&params);
                for (log, exponent) in (0..=params.slots().trailing_zeros()).flat_map(|log| [(log, 30), (log, 70)]) {
                    let values: Vec<f64> = (0..1 << log).map(|slot| (slot * slot % 7) as f64 - 3.2).collect();
                    let message = encoder.encode_periodic(&values, &Scale::power_of_two(exponent)).unwrap();
                    for level in [Level(1), Level(2)] {
                        let found = encoder.extended_plaintext(&message, level).unwrap();
                        let whole = message.reduce(&params.level(level).extended);
                        let degree = found.poly().basis().degree();
                        let saved = params.slots() >> log;
                        let expected = if saved < 4 { 256 } else { (256 / saved).max(16) };
                        assert_eq!((degree, found.bytes()), (expected, 8 * expected * (level.limbs() + 2)));
                        for (limb, whole) in whole.limbs().enumerate() {
                            let repeated = |position: usize| found.poly().limb(limb)[position * degree / 256];
                            assert!(whole.iter().enumerate().all(|(position, x)| *x == repeated(position)));
                        }
                    }
                }
            }
        }
    }
}

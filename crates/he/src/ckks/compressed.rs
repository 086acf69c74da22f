use std::fmt;

use nightloom_ring::{ModulusSwitch, RnsPoly, parallel};
use zeroize::{Zeroize, Zeroizing};

use crate::ckks::evaluator::pair;
use crate::ckks::message::integers;
use crate::keys::same_params;
use crate::{Ciphertext, CkksParams, Decryptor, EvalError, Message, Scale};

/// A ciphertext to be sent back and decrypted, of which only `n` slots are wanted: modulo a small power of two, and with no
/// more of `c_0` than these slots need.
///
/// Vectors that repeat with period `n`, a power of two, are the elements of a subring: of the polynomials in `X^(slots/n)`
/// (in the conjugate-invariant ring, in `X^(slots/n)` and its inverse). Their other coefficients are zero, and so are not
/// wanted of `c_0`; those of `c_1` all are. If the slots do not repeat, what is kept is the trace: every slot becomes the
/// average of the slots that it should equal, and noise is averaged, too.
///
/// The modulus `2^bits` must hold scaled message and noise: slots of the compressed message, at its
/// [`scale`](Self::scale), below `2^(bits-1)` in absolute value are enough. Noise added:
/// [`noise::compression`](crate::noise::compression).
#[derive(Clone, PartialEq)]
pub struct CompressedCiphertext {
    params: CkksParams,
    scale: Scale,
    slots: usize,
    bits: u32,
    /// In `0..2^bits`: the coefficients of `X^(i slots/n)`.
    c0: Vec<u64>,
    /// In `0..2^bits`: all coefficients.
    c1: Vec<u64>,
}

/// Integers up to `2^51` in absolute value are sums without rounding in `f64`, with a bit to spare.
const MAX_PRODUCT_BITS: u32 = 51;

impl CompressedCiphertext {
    /// Compresses a ciphertext of two components to `slots` slots and `bits` bits a coefficient.
    ///
    /// # Errors
    /// [`EvalError::Components`] unless there are two; [`EvalError::NoSuchPeriod`] unless `slots` is a power of two of at
    /// most all slots; [`EvalError::CompressedBits`] unless `bits` is 2 to [`max_bits`](Self::max_bits).
    pub fn new(ciphertext: &Ciphertext, slots: usize, bits: u32) -> Result<Self, EvalError> {
        const OP: &str = "compress";
        let params = ciphertext.params();
        check_shape(params, slots, bits)?;
        let [c0, c1] = pair(OP, ciphertext)?;
        let basis = params.basis(ciphertext.level());
        let switch = ModulusSwitch::new(basis, bits);
        let mut switched = [(); 2].map(|()| Vec::new());
        parallel::for_each(switched.iter_mut().zip([c0, c1]), |_, (switched, c)| {
            *switched = switch.switch(&c.clone().into_coeff());
        });
        let [c0, c1] = switched;
        let scale = basis.moduli().fold(Scale::power_of_two(bits as i32), |scale, q| scale.divide_by(q.value()));
        let c0 = c0.into_iter().step_by(params.slots() / slots).collect();
        Ok(Self::from_parts(params, ciphertext.scale().mul(&scale), slots, bits, c0, c1))
    }

    /// `c0` and `c1` have as many coefficients below `2^bits` as the shape, which was checked, demands.
    pub(crate) fn from_parts(
        params: &CkksParams,
        scale: Scale,
        slots: usize,
        bits: u32,
        c0: Vec<u64>,
        c1: Vec<u64>,
    ) -> Self {
        Self { params: params.clone(), scale, slots, bits, c0, c1 }
    }

    /// The most bits of a coefficient with which ciphertexts of these parameters can be decrypted exactly: `log2` of the
    /// whole modulus, but no more than 51, less `log2` of the degree and 2. Less than 2 if they are too small for any.
    pub fn max_bits(params: &CkksParams) -> u32 {
        let product_bits = (params.log_q(params.top()) as u32).min(MAX_PRODUCT_BITS);
        product_bits.saturating_sub(params.spec().log_degree + 2)
    }

    /// Coefficients of `c_0` that are kept for a number of slots.
    pub(crate) fn kept(params: &CkksParams, slots: usize) -> usize {
        slots * params.degree() / params.slots()
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The scale of the compressed message.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The slots that were wanted: `n`.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bits of a coefficient.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Coefficients of both components.
    pub(crate) fn coefficients(&self) -> [&[u64]; 2] {
        [&self.c0, &self.c1]
    }
}

impl fmt::Debug for CompressedCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompressedCiphertext({} slots, {} bits, scale {})", self.slots, self.bits, self.scale)
    }
}

/// Checks a number of slots and of bits against the parameters.
pub(crate) fn check_shape(params: &CkksParams, slots: usize, bits: u32) -> Result<(), EvalError> {
    if !slots.is_power_of_two() || slots > params.slots() {
        return Err(EvalError::NoSuchPeriod { found: slots, slots: params.slots() });
    }
    let max = CompressedCiphertext::max_bits(params);
    if !(2..=max).contains(&bits) {
        return Err(EvalError::CompressedBits { found: bits, max });
    }
    Ok(())
}

impl Decryptor<'_> {
    /// `c_0 + c_1 s` modulo `2^bits`: the message of the subring and its noise, still encoded. Its slots repeat with period
    /// [`slots`](CompressedCiphertext::slots); [`Encoder::decode_message`](crate::Encoder::decode_message) reads them.
    ///
    /// # Errors
    /// [`EvalError::ParamsMismatch`] if ciphertext and key belong to different parameters.
    pub fn decrypt_compressed(&self, ciphertext: &CompressedCiphertext) -> Result<Message, EvalError> {
        let (params, bits) = (&ciphertext.params, ciphertext.bits);
        same_params("decrypt", params, self.secret.params())?;
        // The coefficients of the product are sums of at most 2 N terms of at most 2^(bits-1): they are integers that the
        // primes of this level determine, and never reduced.
        let product_bits = f64::from(bits + params.spec().log_degree + 2);
        let levels = (0..=params.top().0).map(crate::Level);
        let level = levels.into_iter().find(|level| params.log_q(*level) >= product_bits).unwrap_or(params.top());
        let basis = params.basis(level);
        let c1: Vec<f64> = ciphertext.c1.iter().map(|c| balanced(*c, bits) as f64).collect();
        let c1 = RnsPoly::from_signed(basis, &c1).into_eval();
        let mut product = RnsPoly::from_limbs(basis, |limb, out| {
            basis.kernel().mul(basis.modulus(limb), out, c1.limb(limb), self.secret.limb(limb));
        })
        .into_coeff();
        let product_integers = Zeroizing::new(integers(&mut product));
        product.zeroize();
        let stride = params.slots() / ciphertext.slots;
        let mut coefficients = Zeroizing::new(params.pool().take(ciphertext.c0.len()));
        let wanted = product_integers.iter().step_by(stride);
        for ((coefficient, c0), product) in coefficients.iter_mut().zip(&ciphertext.c0).zip(wanted) {
            *coefficient = balanced((*product as i64 as u64).wrapping_add(*c0), bits) as f64;
        }
        Ok(Message::from_coefficients(params, coefficients, ciphertext.scale.clone()))
    }
}

/// The representative modulo `2^bits` in `-2^(bits-1)..2^(bits-1)`.
fn balanced(residue: u64, bits: u32) -> i64 {
    (residue << (64 - bits)) as i64 >> (64 - bits)
}

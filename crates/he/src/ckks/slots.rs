use std::sync::Arc;

use nightloom_ring::{Buffer, Pool, Ring};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use zeroize::Zeroizing;

/// Between the values in slots and the coefficients of a polynomial, for one number of slots.
///
/// Slot `j` is the value at `zeta^(5^j)` with `zeta = exp(i pi / M)`, where `M` is twice the number of slots: the degree `N`
/// in the standard ring and `2N` in the conjugate-invariant one, whose elements are the real elements of degree `2N`
/// (eprint 2018/952). With `c_j = a_j + i a_(j + M/2)` the values at the exponents `4k + 1` are the DFT of `c_j zeta^j` of
/// length `M/2`, and the powers of 5 are a permutation of these exponents.
pub(super) struct SlotTransform {
    to_slots: Arc<dyn Fft<f64>>,
    from_slots: Arc<dyn Fft<f64>>,
    /// `zeta^j`.
    twist: Vec<Complex<f64>>,
    /// `(5^j - 1) / 4 mod M/2`.
    order: Vec<usize>,
}

impl SlotTransform {
    /// The transform for a power of two of slots.
    pub fn new(slots: usize) -> Self {
        let mut planner = FftPlanner::new();
        let angle = std::f64::consts::PI / (2 * slots) as f64;
        let twist = (0..slots).map(|j| Complex::from_polar(1.0, angle * j as f64)).collect();
        let powers = std::iter::successors(Some(1usize), |power| Some(power * 5 % (4 * slots)));
        let order = powers.take(slots).map(|power| power / 4).collect();
        // The sign of the exponent is positive, which rustfft calls inverse.
        Self { to_slots: planner.plan_fft_inverse(slots), from_slots: planner.plan_fft_forward(slots), twist, order }
    }

    /// Rounded coefficients of `factor` times the values, with zero in the slots that have none: as many as slots in the
    /// conjugate-invariant ring, twice as many in the standard one.
    pub fn coefficients(&self, ring: Ring, values: &[f64], factor: f64, pool: &Pool) -> Zeroizing<Buffer> {
        let length = self.order.len();
        let factor = factor / length as f64;
        let mut buffer = Zeroizing::new(pool.take(2 * length));
        let mut scratch = Zeroizing::new(pool.take(2 * self.from_slots.get_inplace_scratch_len()));
        let slots = complex(&mut buffer);
        slots.fill(Complex::ZERO);
        for (value, &at) in values.iter().zip(&self.order) {
            slots[at] = Complex::new(value * factor, 0.0);
        }
        self.from_slots.process_with_scratch(slots, complex(&mut scratch));
        let untwisted = slots.iter().zip(&self.twist).map(|(c, w)| c * w.conj());
        match ring {
            Ring::ConjugateInvariant => {
                let mut coefficients = Zeroizing::new(pool.take(length));
                coefficients.iter_mut().zip(untwisted).for_each(|(a, c)| *a = c.re.round_ties_even());
                coefficients
            }
            Ring::Standard => {
                let mut coefficients = Zeroizing::new(pool.take(2 * length));
                let (low, high) = coefficients.split_at_mut(length);
                for ((low, high), c) in low.iter_mut().zip(high).zip(untwisted) {
                    (*low, *high) = (c.re.round_ties_even(), c.im.round_ties_even());
                }
                coefficients
            }
        }
    }

    /// The real parts of the values in the slots of a polynomial with as many coefficients as
    /// [`coefficients`](Self::coefficients) returns, times `factor`.
    pub fn values(&self, ring: Ring, coefficients: &[f64], factor: f64, pool: &Pool) -> Vec<f64> {
        let length = self.order.len();
        let mut buffer = Zeroizing::new(pool.take(2 * length));
        let mut scratch = Zeroizing::new(pool.take(2 * self.to_slots.get_inplace_scratch_len()));
        let slots = complex(&mut buffer);
        for (j, (slot, w)) in slots.iter_mut().zip(&self.twist).enumerate() {
            let imaginary = match ring {
                Ring::Standard => coefficients[j + length],
                // In degree 2N the coefficient of X^(N+j) is -a_(N-j), and that of X^N is zero.
                Ring::ConjugateInvariant if j == 0 => 0.0,
                Ring::ConjugateInvariant => -coefficients[length - j],
            };
            *slot = Complex::new(coefficients[j], imaginary) * w;
        }
        self.to_slots.process_with_scratch(slots, complex(&mut scratch));
        self.order.iter().map(|&at| slots[at].re * factor).collect()
    }
}

fn complex(buffer: &mut Buffer) -> &mut [Complex<f64>] {
    bytemuck::cast_slice_mut(buffer)
}

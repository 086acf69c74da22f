//! Small integers in signed digits.

/// Digits of `bits` bits, from `1 - 2^(bits - 1)` to `2^(bits - 1)`, that every integer from 0 to `bound` needs; `bits`
/// is 2 to 16, `bound` below `2^31`.
pub(crate) fn count(bound: u32, bits: u32) -> usize {
    // The largest integer of `d` digits is `2^(bits - 1) (2^(bits d) - 1) / (2^bits - 1)`.
    let largest = |d: u32| (1u64 << (bits - 1)) * (((1u128 << (bits * d)) - 1) / ((1 << bits) - 1)) as u64;
    (1..).find(|&d| u64::from(bound) <= largest(d)).unwrap_or(1) as usize
}

/// The lowest digit of an integer below `2^31`, and the rest without it. Constant time.
pub(crate) fn split(magnitude: u32, bits: u32) -> (i32, u32) {
    let low = (magnitude & ((1 << bits) - 1)) as i32;
    // All ones if the digit is in the upper half.
    let carry = ((1 << (bits - 1)) - low) >> 31;
    (low + (carry << bits), (magnitude >> bits) + (carry & 1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_sum_to_the_integer_and_are_as_many_as_needed() {
        for bits in 2..=16 {
            for bound in (0..600).chain([1 << 20, (1 << 31) - 1]) {
                let places = count(bound, bits);
                let (mut rest, mut sum, mut power) = (bound, 0i128, 1i128);
                for _ in 0..places {
                    let digit;
                    (digit, rest) = split(rest, bits);
                    assert!((1 - (1 << (bits - 1))..=1 << (bits - 1)).contains(&digit));
                    sum += power * i128::from(digit);
                    power <<= bits;
                }
                assert_eq!((sum, rest), (bound.into(), 0), "{bits}");
                if places > 1 {
                    let most = (0..places - 1).fold(0u64, |most, _| (most << bits) + (1 << (bits - 1)));
                    assert!(u64::from(bound) > most);
                }
            }
        }
        assert_eq!([8, 9, 127, 136, 137].map(|bound| count(bound, 4)), [1, 2, 2, 2, 3]);
        assert_eq!([127, 128, 129].map(|bound| count(bound, 8)), [1, 1, 2]);
    }
}

//! Expansion of seeds and inversion of cumulative distributions.

use core::arch::x86_64::{
    __m256i, _CMP_GT_OQ, _CMP_LT_OQ, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_pd, _mm256_and_si256,
    _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_cmpgt_epi64, _mm256_loadu_si256,
    _mm256_movemask_pd, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set_epi32, _mm256_set1_epi32,
    _mm256_set1_epi64x, _mm256_set1_pd, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_srli_epi64, _mm256_sub_epi64, _mm256_sub_pd, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use zeroize::Zeroize;

use super::store;
use crate::Modulus;

/// Blocks of the cipher that are computed together, one in each lane.
const BLOCKS: usize = 8;

/// The definition is that of [`Kernel::expand`](crate::Kernel::expand).
#[target_feature(enable = "avx2,fma")]
pub(super) fn expand(q: Modulus, seed: &[u8; 32], stream: u64, out: &mut [f64]) {
    let (p, half) = (_mm256_set1_pd(q.as_f64()), _mm256_set1_pd((q.value() / 2) as f64));
    let mask = (1u64 << q.bits()) - 1;
    // Below 2^52: in the low bits of a double of this exponent they are added to 2^52.
    let shifted = _mm256_set1_pd((1u64 << 52) as f64);
    let (mut counter, mut done) = (0, 0);
    while done < out.len() {
        let words = blocks(seed, stream, counter);
        counter += BLOCKS as u64;
        for words in words {
            let masked = _mm256_and_si256(words, _mm256_set1_epi64x(mask as i64));
            let values = _mm256_or_si256(masked, _mm256_castpd_si256(shifted));
            let values = _mm256_sub_pd(_mm256_castsi256_pd(values), shifted);
            if out.len() >= done + 4 && _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(values, p)) == 0b1111 {
                let excess = _mm256_and_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(values, half), p);
                store(out, done, _mm256_sub_pd(values, excess));
                done += 4;
            } else {
                let mut lanes = [0.0; 4];
                store(&mut lanes, 0, values);
                for value in lanes.into_iter().filter(|value| *value < q.as_f64()) {
                    if let Some(out) = out.get_mut(done) {
                        *out = q.center(value as u64);
                        done += 1;
                    }
                }
            }
        }
    }
}

/// The blocks `counter..counter + 8` of ChaCha20 with a 64-bit counter and a 64-bit stream number (Bernstein, 2008), as the
/// 64 little-endian words of their concatenation.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn blocks(seed: &[u8; 32], stream: u64, counter: u64) -> [__m256i; 2 * BLOCKS] {
    let all = |word: u32| _mm256_set1_epi32(word as i32);
    let mut initial = [_mm256_setzero_si256(); 16];
    for (i, bytes) in b"expand 32-byte k".chunks_exact(4).chain(seed.chunks_exact(4)).enumerate() {
        initial[i] = all(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
    // Eight blocks from a multiple of eight on: no carry into the upper half.
    initial[12] = _mm256_add_epi32(all(counter as u32), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
    initial[13] = all((counter >> 32) as u32);
    initial[14] = all(stream as u32);
    initial[15] = all((stream >> 32) as u32);

    let mut state = initial;
    for _ in 0..10 {
        for i in 0..4 {
            quarter_round(&mut state, [i, 4 + i, 8 + i, 12 + i]);
        }
        for i in 0..4 {
            quarter_round(&mut state, [i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4]);
        }
    }
    for (word, initial) in state.iter_mut().zip(initial) {
        *word = _mm256_add_epi32(*word, initial);
    }

    let (low, high) = (transpose(&state[..8]), transpose(&state[8..]));
    core::array::from_fn(|i| if i % 2 == 0 { low[i / 2] } else { high[i / 2] })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn quarter_round(state: &mut [__m256i; 16], [a, b, c, d]: [usize; 4]) {
    let rotate_16 = _mm256_setr_epi8(
        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
    );
    let rotate_8 = _mm256_setr_epi8(
        3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14,
    );
    state[a] = _mm256_add_epi32(state[a], state[b]);
    state[d] = _mm256_shuffle_epi8(_mm256_xor_si256(state[d], state[a]), rotate_16);
    state[c] = _mm256_add_epi32(state[c], state[d]);
    let x = _mm256_xor_si256(state[b], state[c]);
    state[b] = _mm256_or_si256(_mm256_slli_epi32::<12>(x), _mm256_srli_epi32::<20>(x));
    state[a] = _mm256_add_epi32(state[a], state[b]);
    state[d] = _mm256_shuffle_epi8(_mm256_xor_si256(state[d], state[a]), rotate_8);
    state[c] = _mm256_add_epi32(state[c], state[d]);
    let x = _mm256_xor_si256(state[b], state[c]);
    state[b] = _mm256_or_si256(_mm256_slli_epi32::<7>(x), _mm256_srli_epi32::<25>(x));
}

/// Transposes 8 x 8.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose(rows: &[__m256i]) -> [__m256i; 8] {
    let pairs: [[__m256i; 2]; 4] = core::array::from_fn(|i| {
        let (x, y) = (rows[2 * i], rows[2 * i + 1]);
        [_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y)]
    });
    // Lane groups of four rows: column `i` in the low, column `4 + i` in the high 128 bits.
    let fours = |i: usize| -> [__m256i; 4] {
        let (x, y) = (pairs[i], pairs[i + 1]);
        [
            _mm256_unpacklo_epi64(x[0], y[0]),
            _mm256_unpackhi_epi64(x[0], y[0]),
            _mm256_unpacklo_epi64(x[1], y[1]),
            _mm256_unpackhi_epi64(x[1], y[1]),
        ]
    };
    let (top, bottom) = (fours(0), fours(2));
    core::array::from_fn(|i| {
        if i < 4 {
            _mm256_permute2x128_si256::<0x20>(top[i], bottom[i])
        } else {
            _mm256_permute2x128_si256::<0x31>(top[i - 4], bottom[i - 4])
        }
    })
}

/// The definition is that of [`Kernel::invert_cumulative`](crate::Kernel::invert_cumulative).
#[target_feature(enable = "avx2,fma")]
pub(super) fn invert_cumulative(bounds: &[i64], words: &[u64], out: &mut [f64]) {
    assert_eq!(words.len(), out.len());
    // Small integers added to the bits of this double are added to its value.
    let origin = _mm256_set1_pd(1.5 * (1u64 << 52) as f64);
    for (words, out) in words.chunks(16).zip(out.chunks_mut(16)) {
        let mut padded = [0u64; 16];
        padded[..words.len()].copy_from_slice(words);
        let words: [__m256i; 4] = core::array::from_fn(|i| load_words(&padded[4 * i..]));
        let uniform = words.map(|word| _mm256_srli_epi64::<1>(word));
        let mut reached = [_mm256_setzero_si256(); 4];
        for &bound in bounds {
            let below = _mm256_set1_epi64x(bound - 1);
            for (reached, uniform) in reached.iter_mut().zip(uniform) {
                *reached = _mm256_sub_epi64(*reached, _mm256_cmpgt_epi64(uniform, below));
            }
        }
        let mut samples = [0.0; 16];
        for i in 0..4 {
            let sign = _mm256_and_si256(words[i], _mm256_set1_epi64x(1));
            let sign = _mm256_sub_epi64(_mm256_setzero_si256(), sign);
            let signed = _mm256_sub_epi64(_mm256_xor_si256(reached[i], sign), sign);
            let shifted = _mm256_add_epi64(_mm256_castpd_si256(origin), signed);
            store(&mut samples, 4 * i, _mm256_sub_pd(_mm256_castsi256_pd(shifted), origin));
        }
        out.copy_from_slice(&samples[..out.len()]);
        padded.zeroize();
        samples.zeroize();
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_words(words: &[u64]) -> __m256i {
    assert!(words.len() >= 4);
    // SAFETY: four words are 32 bytes.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

//! Inversion of cumulative distributions.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_cmpgt_epi64,
    _mm256_loadu_si256, _mm256_set1_epi64x, _mm256_set1_pd, _mm256_setzero_si256, _mm256_srli_epi64, _mm256_sub_epi64,
    _mm256_sub_pd, _mm256_xor_si256,
};

use zeroize::Zeroize;

use super::store;

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

//! How hard a learning-with-errors problem is, by the core of lattice reduction.

use std::f64::consts::{E, PI};

/// Classical bits of security that parameters must reach.
pub const SECURITY_BITS: f64 = 128.0;
/// Cost of a block of size `b`: `2^(0.292 b)`, the sieve of Becker, Ducas, Gama and Laarhoven, SODA 2016, and nothing
/// else.
const BITS_PER_BLOCK: f64 = 0.292;

/// Classical bits of the primal attack on learning with errors in dimension `n` modulo `2^log2_q`, with secret and
/// error of this deviation, in the core model: Alkim, Ducas, Pöppelmann and Schwabe, "Post-quantum key exchange"
/// (NewHope), eprint 2015/1092, section 6.3. A block size `b` succeeds if
/// `sigma sqrt(b) <= delta^(2b - d - 1) q^((d - n)/d)` for the best `d`, and costs `2^(0.292 b)`. Lower than other
/// models, as the cost of everything around the blocks is left out.
pub(crate) fn primal_bits(n: usize, log2_q: f64, deviation: f64) -> f64 {
    let (mut failing, mut succeeding) = (50, 1 << 16);
    while succeeding - failing > 1 {
        let middle = (failing + succeeding) / 2;
        if succeeds(f64::from(middle), n as f64, log2_q, deviation) { succeeding = middle } else { failing = middle }
    }
    BITS_PER_BLOCK * f64::from(succeeding)
}

fn succeeds(block: f64, n: f64, log2_q: f64, deviation: f64) -> bool {
    let log_delta = ((PI * block).powf(1.0 / block) * block / (2.0 * PI * E)).ln() / (2.0 * (block - 1.0));
    let log_q = log2_q * 2f64.ln();
    // Where the right side is largest.
    let d = (n * log_q / log_delta).sqrt().max(block);
    deviation.ln() + block.ln() / 2.0 <= (2.0 * block - d - 1.0) * log_delta + (d - n) / d * log_q
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published core figures of the primal attack: NewHope-1024 (q = 12289, deviation sqrt(8)) 282 bits, Kyber-768
    /// (version 1: n = 768, q = 7681, deviation sqrt(2)) 178 bits.
    #[test]
    fn published_figures_are_met() {
        let newhope = primal_bits(1024, 12289f64.log2(), 8f64.sqrt());
        assert!((newhope - 282.0).abs() < 3.0, "{newhope}");
        let kyber = primal_bits(768, 7681f64.log2(), 2f64.sqrt());
        assert!((kyber - 178.0).abs() < 3.0, "{kyber}");
    }

    #[test]
    fn security_falls_with_the_modulus_and_rises_with_dimension_and_deviation() {
        let base = primal_bits(2560, 58.0, 3.2);
        assert!(base > primal_bits(2560, 60.0, 3.2) && base < primal_bits(2624, 58.0, 3.2));
        assert!(base < primal_bits(2560, 58.0, 6.4));
    }
}

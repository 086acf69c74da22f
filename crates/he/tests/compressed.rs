//! Compressed ciphertexts against cleartext, within the stated noise, on every kernel and in both rings.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, CompressedCiphertext, Decryptor, Encoder, Encryptor, EvalError, Evaluator,
    KeyGenerator, Level, Precision, Ring, Scale, SecretKey, noise, wire,
};
use nightloom_ring::kernels;
use nightloom_wire::{Reader, Writer, packed_bytes};

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

/// Below 128 bits: for speed only, and only tests may build it.
fn toy_insecure(ring: Ring) -> Vec<CkksParams> {
    let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![50, 40, 45], special_bits: vec![] };
    kernels::available().into_iter().map(|kernel| spec.validate_insecure_with(kernel).unwrap()).collect()
}

struct Party {
    params: CkksParams,
    secret: SecretKey,
    encoder: Encoder,
    rng: ChaCha20Rng,
}

impl Party {
    fn new(params: &CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let secret = KeyGenerator::new(params).secret_key(&mut rng);
        Self { params: params.clone(), secret, encoder: Encoder::new(params), rng }
    }

    /// Values that repeat with a period.
    fn values(&self, period: usize) -> Vec<f64> {
        let word = |i: u64| (i + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(i | 1) >> 12;
        (0..self.params.slots()).map(|i| word((i % period) as u64) as f64 / 2f64.powi(51) - 1.0).collect()
    }

    fn encrypt(&mut self, values: &[f64], scale: &Scale, level: Level) -> Ciphertext {
        let message = self.encoder.encode(values, scale).unwrap();
        Encryptor::symmetric(&self.secret).encrypt(&message, level, &mut self.rng).unwrap()
    }

    fn decrypt(&self, ciphertext: &CompressedCiphertext) -> Vec<f64> {
        let message = Decryptor::new(&self.secret).decrypt_compressed(ciphertext).unwrap();
        assert_eq!(message.scale(), ciphertext.scale());
        self.encoder.decode_message(&message).unwrap()
    }

    /// Noise of a fresh ciphertext and of its compression, in units of the compressed message.
    fn stated(&self, fresh: &Ciphertext, compressed: &CompressedCiphertext) -> f64 {
        let average = (compressed.slots() as f64 / self.params.slots() as f64).sqrt();
        let shrunk = compressed.scale().to_f64() / fresh.scale().to_f64();
        (noise::fresh_symmetric(&self.params) * average * shrunk)
            .hypot(noise::compression(&self.params, compressed.slots()))
    }

    fn assert_close(&self, fresh: &Ciphertext, compressed: &CompressedCiphertext, expected: &[f64], what: &str) {
        let found = self.decrypt(compressed);
        let slots = compressed.slots();
        let repeats = found.iter().enumerate().all(|(slot, x)| (x - found[slot % slots]).abs() < 1e-9);
        assert!(repeats, "{what}: period {slots}");
        let real_part = if self.params.ring() == Ring::Standard { 0.5f64.sqrt() } else { 1.0 };
        let stated = self.stated(fresh, compressed);
        let precision = Precision::of(&found[..slots], &expected[..slots]);
        let scale = compressed.scale().to_f64();
        assert!(precision.max_error * scale < noise::TAIL_DEVIATIONS * stated, "{what}: {precision:?}");
        // The mean of few slots says little of a deviation.
        if slots >= 128 {
            let relative = precision.deviation * scale / (stated * real_part);
            assert!((0.7..1.4).contains(&relative), "{what}: {relative}");
        }
    }
}

fn for_each_party(test: impl Fn(Party)) {
    RINGS.into_iter().flat_map(toy_insecure).for_each(|params| test(Party::new(&params)));
}

#[test]
fn periodic_slots_are_kept_within_the_stated_noise() {
    for_each_party(|mut party| {
        let all = party.params.slots();
        for slots in (0..=all.trailing_zeros()).map(|log| 1 << log) {
            let values = party.values(slots);
            for (level, exponent, bits) in [(Level(0), 44, 26), (Level(0), 45, 37), (Level(1), 84, 28)] {
                let fresh = party.encrypt(&values, &Scale::power_of_two(exponent), level);
                let compressed = CompressedCiphertext::new(&fresh, slots, bits).unwrap();
                assert_eq!((compressed.slots(), compressed.bits(), compressed.params()), (slots, bits, &party.params));
                let modulus_bits = if level == Level(0) { 50.0 } else { 90.0 };
                let lost = compressed.scale().log2() - (f64::from(exponent) - modulus_bits + f64::from(bits));
                assert!(lost.abs() < 1e-4, "{lost}");
                party.assert_close(&fresh, &compressed, &values, &format!("{slots} slots, {bits} bits, {level}"));
            }
        }
    });
}

/// The scale at a higher level shrinks by all of its primes: here from `2^110`, of 135 bits.
#[test]
fn all_primes_of_the_level_are_switched_away() {
    for_each_party(|mut party| {
        let values = party.values(64);
        let fresh = party.encrypt(&values, &Scale::power_of_two(110), Level(2));
        let compressed = CompressedCiphertext::new(&fresh, 64, 39).unwrap();
        assert!((compressed.scale().log2() - 14.0).abs() < 1e-3, "{}", compressed.scale());
        let found = party.decrypt(&compressed);
        let stated = noise::TAIL_DEVIATIONS * party.stated(&fresh, &compressed);
        let error = Precision::of(&found, &values).max_error * compressed.scale().to_f64();
        assert!(error < stated, "{error} {stated}");
    });
}

/// Slots that should be equal and are not become their average.
#[test]
fn other_slots_are_averaged() {
    for_each_party(|mut party| {
        let all = party.params.slots();
        let values = party.values(all);
        let fresh = party.encrypt(&values, &Scale::power_of_two(44), Level(0));
        for slots in [4, all / 2, all] {
            let expected: Vec<f64> = (0..slots)
                .map(|slot| {
                    let equal = values.iter().skip(slot).step_by(slots);
                    equal.sum::<f64>() * slots as f64 / all as f64
                })
                .collect();
            let compressed = CompressedCiphertext::new(&fresh, slots, 28).unwrap();
            party.assert_close(&fresh, &compressed, &expected, &format!("{slots} slots"));
        }
    });
}

/// The secret's coefficients.
fn secret_coefficients(secret: &SecretKey) -> Vec<i64> {
    let mut bytes = Vec::new();
    wire::write_secret_key(&mut Writer::new(&mut bytes), secret).unwrap();
    let packed = &bytes[bytes.len() - secret.params().degree() / 4..];
    packed.iter().flat_map(|byte| [0, 2, 4, 6].map(|shift| i64::from(byte >> shift & 3) - 1)).collect()
}

/// Coefficients of the products with the secret by the definition of the ring, `c_1` at its bounds: all sums that a
/// coefficient can be are exact at the most bits that are allowed.
#[test]
fn the_largest_coefficients_are_exact() {
    for_each_party(|mut party| {
        let (params, slots) = (party.params.clone(), 4);
        let bits = CompressedCiphertext::max_bits(&params);
        assert_eq!(bits, 51 - 10 - 2);
        let values = party.values(slots);
        let fresh = party.encrypt(&values, &Scale::power_of_two(44), Level(0));
        let compressed = CompressedCiphertext::new(&fresh, slots, bits).unwrap();
        party.assert_close(&fresh, &compressed, &values, "most bits");

        let mut bytes = Vec::new();
        wire::write_compressed_ciphertext(&mut Writer::new(&mut bytes), &compressed).unwrap();
        let degree = params.degree();
        let kept = if params.ring() == Ring::Standard { 2 * slots } else { slots };
        let head = bytes.len() - (packed_bytes(degree, bits) + packed_bytes(kept, bits)) as usize;
        let secret = secret_coefficients(&party.secret);
        let (low, high) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
        // In the last, all terms of the constant coefficient have one sign: they are those of s_0 and of -s_(N-j) or 2 s_j.
        let constant: Vec<i64> = (0..degree)
            .map(|j| match params.ring() {
                Ring::Standard if j > 0 => -secret[degree - j],
                _ => secret[j],
            })
            .collect();
        for c1 in [
            vec![low; degree],
            vec![high; degree],
            (0..degree).map(|j| if j % 2 == 0 { low } else { high }).collect(),
            constant.iter().map(|sign| if *sign < 0 { low } else { high }).collect(),
        ] {
            let mut bytes = bytes[..head].to_vec();
            let residue = |c: &i64| (*c & ((1 << bits) - 1)) as u64;
            Writer::new(&mut bytes).packed(bits, vec![1; kept]).unwrap();
            Writer::new(&mut bytes).packed(bits, c1.iter().map(residue)).unwrap();
            let mut reader = Reader::new(&*bytes, bytes.len() as u64);
            let ciphertext = wire::read_compressed_ciphertext(&mut reader, &params).unwrap();
            let message = Decryptor::new(&party.secret).decrypt_compressed(&ciphertext).unwrap();
            let poly = party.encoder.plaintext(&message, Level(2)).unwrap().poly().clone().into_coeff();
            let stride = degree / kept;
            for (place, found) in poly.limb(0).iter().enumerate() {
                let expected = match place % stride {
                    0 => 1 + product_coefficient(params.ring(), &c1, &secret, place),
                    _ => 0,
                };
                let expected = expected << (128 - bits) >> (128 - bits);
                assert_eq!(*found as i128, expected, "{} {place}", params.kernel().name());
            }
        }
    });
}

/// A coefficient of a product, as integers.
fn product_coefficient(ring: Ring, a: &[i64], b: &[i64], place: usize) -> i128 {
    let n = a.len() as i64;
    // The coefficient of X^j for any j, in the standard ring of degree N or, for the other, 2 N.
    let at = |c: &[i64], j: i64| -> i128 {
        let (degree, sign) = match ring {
            Ring::Standard => (n, if j < 0 { -1 } else { 1 }),
            Ring::ConjugateInvariant => (2 * n, if j < 0 { -1 } else { 1 }),
        };
        let j = if j < 0 { j + degree } else { j };
        let value = match ring {
            Ring::Standard => c[j as usize],
            Ring::ConjugateInvariant if j < n => c[j as usize],
            Ring::ConjugateInvariant if j == n => 0,
            Ring::ConjugateInvariant => -c[(2 * n - j) as usize],
        };
        i128::from(sign * value)
    };
    let degree = if ring == Ring::Standard { n } else { 2 * n };
    (0..degree).map(|j| at(a, j) * at(b, place as i64 - j)).sum()
}

#[test]
fn responses_are_small() {
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 13,
        prime_bits: vec![50, 50, 50],
        special_bits: vec![50],
    };
    let mut party = Party::new(&spec.validate().unwrap());
    let values = party.values(16);
    let fresh = party.encrypt(&values, &Scale::power_of_two(45), Level(0));
    let compressed = CompressedCiphertext::new(&fresh, 16, 28).unwrap();
    assert_eq!(wire::compressed_ciphertext_bytes(&compressed), 28_672 + 56 + 19);
    party.assert_close(&fresh, &compressed, &values, "response");
    let full = CompressedCiphertext::new(&fresh, 8192, 28).unwrap();
    party.assert_close(&fresh, &full, &values, "all slots");
}

#[test]
fn kernels_compress_alike() {
    for ring in RINGS {
        let results: Vec<(CompressedCiphertext, Vec<f64>)> = toy_insecure(ring)
            .iter()
            .map(|params| {
                let mut party = Party::new(params);
                let fresh = party.encrypt(&party.values(8), &Scale::power_of_two(100), Level(2));
                let compressed = CompressedCiphertext::new(&fresh, 8, 39).unwrap();
                let found = party.decrypt(&compressed);
                (compressed, found)
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{ring}");
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let params = &toy_insecure(Ring::Standard)[0];
    let mut party = Party::new(params);
    let x = party.encrypt(&[1.0], &Scale::power_of_two(30), Level(1));
    for found in [0, 3, 1024, usize::MAX] {
        let error = CompressedCiphertext::new(&x, found, 20).unwrap_err();
        assert_eq!(error, EvalError::NoSuchPeriod { found, slots: 512 });
    }
    for found in [0, 1, 40, 64, u32::MAX] {
        let error = CompressedCiphertext::new(&x, 8, found).unwrap_err();
        assert_eq!(error, EvalError::CompressedBits { found, max: 39 });
    }
    let square = Evaluator::new(params).square(&x).unwrap();
    assert!(matches!(CompressedCiphertext::new(&square, 8, 20), Err(EvalError::Components { found: 3, .. })));

    let other = &toy_insecure(Ring::ConjugateInvariant)[0];
    let foreign = Party::new(other);
    let compressed = CompressedCiphertext::new(&x, 8, 20).unwrap();
    let found = Decryptor::new(&foreign.secret).decrypt_compressed(&compressed);
    assert!(matches!(found, Err(EvalError::ParamsMismatch { .. })), "{found:?}");
    let message = Decryptor::new(&party.secret).decrypt_compressed(&compressed).unwrap();
    assert!(matches!(foreign.encoder.decode_message(&message), Err(EvalError::ParamsMismatch { .. })));

    // A modulus that cannot hold the product allows fewer bits, or none.
    let small = |bits: u32| {
        let spec = CkksSpec { ring: Ring::Standard, log_degree: 10, prime_bits: vec![bits], special_bits: vec![] };
        CompressedCiphertext::max_bits(&spec.validate_insecure().unwrap())
    };
    assert_eq!([30, 20].map(small), [17, 7]);
}

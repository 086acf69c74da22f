//! Measured noise against `nightloom_he::noise`, at the parameters of the product and at every level and digit size.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, CompressedCiphertext, Decryptor, Encoder, Encryptor, Evaluator, KeyGenerator,
    Level, Precision, PublicKey, RelinearizationKey, Ring, Scale, SecretKey, noise,
};

struct Party {
    params: CkksParams,
    secret: SecretKey,
    public: PublicKey,
    relinearization: RelinearizationKey,
    encoder: Encoder,
    rng: ChaCha20Rng,
}

impl Party {
    fn new(params: CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let generator = KeyGenerator::new(&params);
        let secret = generator.secret_key(&mut rng);
        let public = generator.public_key(&secret, &mut rng).unwrap();
        let relinearization = generator.relinearization_key(&secret, &mut rng).unwrap();
        Self { secret, public, relinearization, encoder: Encoder::new(&params), rng, params }
    }

    fn values(&self, step: f64) -> Vec<f64> {
        (0..self.params.slots()).map(|i| 2.0 * (i as f64 * step).fract() - 1.0).collect()
    }

    /// The noise of every slot in units of scaled integers.
    fn noises(&self, ciphertext: &Ciphertext, expected: &[f64]) -> Vec<f64> {
        let plaintext = Decryptor::new(&self.secret).decrypt(ciphertext).unwrap();
        let found = self.encoder.decode(&plaintext).unwrap();
        let scale = ciphertext.scale().to_f64();
        found.iter().zip(expected).map(|(found, expected)| (found - expected) * scale).collect()
    }

    /// The largest noise and its deviation.
    fn noise(&self, ciphertext: &Ciphertext, expected: &[f64]) -> Precision {
        Precision::of(&self.noises(ciphertext, expected), &vec![0.0; expected.len()])
    }
}

/// The fourth moment in units of the squared variance: 3 for a Gaussian, 9 for a product of two.
fn kurtosis(values: &[f64]) -> f64 {
    let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64;
    moment(4) / moment(2).powi(2)
}

/// `2^13` normal values exceed this with probability below `2^-40`.
const GAUSSIAN_DEVIATIONS: f64 = 8.2;

fn assert_near(found: Precision, stated: f64, tail: f64, what: &str) {
    let relative = found.deviation / stated;
    assert!((0.9..1.1).contains(&relative), "{what}: {relative} of the stated deviation");
    assert!(found.max_error < tail * stated, "{what}: {} stated deviations", found.max_error / stated);
}

#[test]
fn noise_is_as_stated_at_the_parameters_of_the_product() {
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 13,
        prime_bits: vec![50, 50, 50],
        special_bits: vec![50],
    };
    let mut party = Party::new(spec.validate().unwrap());
    let params = party.params.clone();
    let evaluator = Evaluator::new(&params);
    let scale = Scale::power_of_two(40);
    let values = party.values(0.618_033_988_749_895);
    let message = party.encoder.encode(&values, &scale).unwrap();
    for level in [Level(0), Level(2)] {
        let ciphertext = Encryptor::symmetric(&party.secret).encrypt(&message, level, &mut party.rng).unwrap();
        let stated = noise::fresh_symmetric(&params);
        assert_near(party.noise(&ciphertext, &values), stated, GAUSSIAN_DEVIATIONS, "symmetric");
        let kurtosis = kurtosis(&party.noises(&ciphertext, &values));
        assert!((2.7..3.3).contains(&kurtosis), "symmetric: {kurtosis}");
        let ciphertext = Encryptor::public(&party.public).encrypt(&message, level, &mut party.rng).unwrap();
        let stated = noise::fresh_public(&params);
        assert_near(party.noise(&ciphertext, &values), stated, noise::TAIL_DEVIATIONS, "public");
    }

    let zeros = vec![0.0; values.len()];
    for level in [Level(0), Level(1), Level(2)] {
        // A small scale, so that squares fit the lowest level.
        let small = party.encoder.encode(&values, &Scale::power_of_two(20)).unwrap();
        let ciphertext = Encryptor::symmetric(&party.secret).encrypt(&small, level, &mut party.rng).unwrap();
        let square = evaluator.square(&ciphertext).unwrap();
        let switched = evaluator.relinearize(&square, &party.relinearization).unwrap();
        let difference = evaluator.sub(&switched, &square).unwrap();
        let stated = noise::key_switch(&params, level).hypot(noise::rounding(&params, 2));
        assert_near(party.noise(&difference, &zeros), stated, noise::TAIL_DEVIATIONS, "key switch");
        if level == Level(0) {
            // One digit: a product of two Gaussians in every slot, which is why bounds use TAIL_DEVIATIONS.
            let kurtosis = kurtosis(&party.noises(&difference, &zeros));
            assert!((6.0..12.0).contains(&kurtosis), "key switch: {kurtosis}");
        }
    }

    // Two squares with their rescalings, from the top to the bottom.
    let top = Encryptor::symmetric(&party.secret).encrypt(&message, params.top(), &mut party.rng).unwrap();
    let mut stated = noise::fresh_symmetric(&params);
    let mut current = top;
    let mut expected = values;
    for level in [Level(2), Level(1)] {
        let q = params.primes()[usize::from(level.0)] as f64;
        // The noise is doubled and multiplied by the scaled message of this mean square.
        let mean_square = expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64;
        let product = 2.0 * stated * current.scale().to_f64() * mean_square.sqrt();
        let square = evaluator.square(&current).unwrap();
        current = evaluator.relinearize_rescale(&square, &party.relinearization).unwrap();
        stated = (product / q).hypot(noise::key_switch(&params, level) / q).hypot(noise::rounding(&params, 2));
        expected.iter_mut().for_each(|x| *x *= *x);
        let found = party.noise(&current, &expected);
        let relative = found.deviation / stated;
        assert!((0.85..1.15).contains(&relative), "level {level}: {relative}");
        assert!(found.max_error < noise::TAIL_DEVIATIONS * stated, "level {level}: {}", found.max_error / stated);
    }
    assert_eq!(current.level(), Level(0));
}

/// What rotations, their parts and compression add, each alone.
#[test]
fn noise_of_rotations_is_as_stated_at_the_parameters_of_the_product() {
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 13,
        prime_bits: vec![50, 50, 50],
        special_bits: vec![50],
    };
    let mut party = Party::new(spec.validate().unwrap());
    let params = party.params.clone();
    let evaluator = Evaluator::new(&params);
    let top = params.top();
    let wanted = [(1, top), (100, top)].into();
    let keys = KeyGenerator::new(&params).rotation_keys(&party.secret, &wanted, &mut party.rng).unwrap();
    let scale = Scale::power_of_two(30);
    let values = party.values(0.618_033_988_749_895);
    let message = party.encoder.encode(&values, &scale).unwrap();
    let decoded = |party: &Party, ciphertext: &Ciphertext| {
        party.encoder.decode(&Decryptor::new(&party.secret).decrypt(ciphertext).unwrap()).unwrap()
    };
    let turned = |values: &[f64], slots: usize| {
        let mut values = values.to_vec();
        values.rotate_left(slots);
        values
    };
    for level in [Level(0), Level(1), Level(2)] {
        let fresh = Encryptor::symmetric(&party.secret).encrypt(&message, level, &mut party.rng).unwrap();
        let before = decoded(&party, &fresh);
        let rotated = evaluator.rotate(&fresh, 100, &keys).unwrap();
        let stated = noise::rotation(&params, level);
        assert_near(party.noise(&rotated, &turned(&before, 100)), stated, noise::TAIL_DEVIATIONS, "rotation");

        // Before a division nothing can be decrypted; the division adds its rounding to what the key switch has made. The
        // product with a plaintext changes the noise by its mean square and leaves something to be rounded.
        let extended = evaluator.rotate_extended(&fresh, &[1], &keys).unwrap().remove(0);
        let weights: Vec<f64> = values.iter().map(|x| 8.0 * x).collect();
        let weights = party.encoder.encode(&weights, &Scale::power_of_two(12)).unwrap();
        let factors = party.encoder.decode_message(&weights).unwrap();
        let product = extended.mul(&party.encoder.extended_plaintext(&weights, level).unwrap()).unwrap();
        let expected: Vec<f64> = turned(&before, 1).iter().zip(&factors).map(|(x, w)| x * w).collect();
        let mean_square = factors.iter().map(|w| w * w).sum::<f64>() / factors.len() as f64;
        let stated =
            (noise::key_switch(&params, level) * mean_square.sqrt() * 12f64.exp2()).hypot(noise::rounding(&params, 2));
        let divided = evaluator.divide(&product).unwrap();
        assert_near(party.noise(&divided, &expected), stated, noise::TAIL_DEVIATIONS, "extended rotation");

        let before = decoded(&party, &divided);
        let moved = evaluator.divide(&evaluator.switch_rotate(product, 100, &keys).unwrap()).unwrap();
        // The rounding of the second polynomial is that of `divided`, and comes off; that of the first comes twice.
        let alone = noise::encoding(&params);
        let step = noise::extended_rotation(&params, level);
        let second = (step.powi(2) - noise::key_switch(&params, level).powi(2)).sqrt();
        let stated = noise::key_switch(&params, level).hypot(alone).hypot(noise::rounding(&params, 2));
        let found = party.noise(&moved, &turned(&before, 100));
        assert!((second - noise::rounding(&params, 2)).abs() < 0.01 * second, "one component is nearly all of it");
        assert_near(found, stated, noise::TAIL_DEVIATIONS, "giant step");
    }

    // A vector that its encoding rounds.
    let stated = noise::encoding(&params);
    let encoded = party.encoder.encode(&values, &Scale::power_of_two(20)).unwrap();
    let found = party.encoder.decode_message(&encoded).unwrap();
    let found: Vec<f64> = found.iter().zip(&values).map(|(found, x)| (found - x) * 20f64.exp2()).collect();
    assert_near(Precision::of(&found, &vec![0.0; values.len()]), stated, GAUSSIAN_DEVIATIONS, "encoding");

    // Half of the slots and all of them.
    for slots in [4096, 8192] {
        let repeated: Vec<f64> = values[..slots].iter().copied().cycle().take(values.len()).collect();
        let message = party.encoder.encode(&repeated, &Scale::power_of_two(45)).unwrap();
        let fresh = Encryptor::symmetric(&party.secret).encrypt(&message, Level(0), &mut party.rng).unwrap();
        let compressed = CompressedCiphertext::new(&fresh, slots, 30).unwrap();
        let message = Decryptor::new(&party.secret).decrypt_compressed(&compressed).unwrap();
        let scale = compressed.scale().to_f64();
        let found = party.encoder.decode_message(&message).unwrap();
        let found: Vec<f64> = found.iter().zip(&repeated).map(|(found, x)| (found - x) * scale).collect();
        let stated = noise::compression(&params, slots);
        let found = Precision::of(&found[..slots], &vec![0.0; slots]);
        assert_near(found, stated, noise::TAIL_DEVIATIONS, "compression");
    }
}

/// Levels whose last digit is not full, and special primes of every number, in both rings.
#[test]
fn key_switching_is_right_at_every_level_and_digit_size() {
    for ring in [Ring::Standard, Ring::ConjugateInvariant] {
        for special in 1..=5 {
            // Below 128 bits: for speed only.
            let toy_insecure =
                CkksSpec { ring, log_degree: 10, prime_bits: vec![45; 5], special_bits: vec![45; special] };
            let mut party = Party::new(toy_insecure.validate_insecure().unwrap());
            let params = party.params.clone();
            let evaluator = Evaluator::new(&params);
            let zeros = vec![0.0; params.slots()];
            let values = party.values(0.3);
            let message = party.encoder.encode(&values, &Scale::power_of_two(15)).unwrap();
            // The real part of a complex slot has half the variance.
            let real_part = if ring == Ring::Standard { 0.5f64.sqrt() } else { 1.0 };
            for level in (0..5).map(Level) {
                let ciphertext = Encryptor::symmetric(&party.secret).encrypt(&message, level, &mut party.rng).unwrap();
                let square = evaluator.square(&ciphertext).unwrap();
                let switched = evaluator.relinearize(&square, &party.relinearization).unwrap();
                let difference = evaluator.sub(&switched, &square).unwrap();
                let stated = real_part * noise::key_switch(&params, level).hypot(noise::rounding(&params, 2));
                let relative = party.noise(&difference, &zeros).deviation / stated;
                assert!((0.8..1.25).contains(&relative), "{ring}, {special} special, level {level}: {relative}");
                if let Some(below) = level.down(1) {
                    let fused = evaluator.relinearize_rescale(&square, &party.relinearization).unwrap();
                    let apart = evaluator.rescale(&switched).unwrap();
                    let difference = evaluator.sub(&fused, &apart).unwrap();
                    assert_eq!(difference.level(), below);
                    let rounding = real_part * noise::rounding(&params, 2);
                    let found = party.noise(&difference, &zeros);
                    assert!(found.max_error < 10.0 * rounding, "{ring}, {special} special, level {level}");
                }
            }
        }
    }
}

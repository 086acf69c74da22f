//! The scheme against plaintext arithmetic, within the stated noise, on every kernel and in both rings.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, EvalError, Evaluator, KeyGenerator, Level,
    Precision, RelinearizationKey, Ring, Scale, SecretKey, noise,
};
use nightloom_ring::kernels;

/// Below 128 bits: for speed only, and only tests may build it.
fn toy_insecure(ring: Ring, special: usize) -> Vec<CkksParams> {
    let spec = CkksSpec { ring, log_degree: 11, prime_bits: vec![50, 45, 40, 50], special_bits: vec![50; special] };
    kernels::available().into_iter().map(|kernel| spec.validate_insecure_with(kernel).unwrap()).collect()
}

struct Party {
    params: CkksParams,
    secret: SecretKey,
    relinearization: RelinearizationKey,
    encoder: Encoder,
    rng: ChaCha20Rng,
}

impl Party {
    fn new(params: &CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let generator = KeyGenerator::new(params);
        let secret = generator.secret_key(&mut rng);
        let relinearization = generator.relinearization_key(&secret, &mut rng).unwrap();
        Self { params: params.clone(), secret, relinearization, encoder: Encoder::new(params), rng }
    }

    fn values(&self, seed: u64) -> Vec<f64> {
        let word = |i: u64| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(i | 1) >> 12;
        (1..=self.params.slots() as u64).map(|i| word(i) as f64 / 2f64.powi(51) - 1.0).collect()
    }

    fn encrypt(&mut self, values: &[f64], scale: &Scale) -> Ciphertext {
        let message = self.encoder.encode(values, scale).unwrap();
        Encryptor::symmetric(&self.secret).encrypt(&message, self.params.top(), &mut self.rng).unwrap()
    }

    fn decrypt(&self, ciphertext: &Ciphertext) -> Vec<f64> {
        self.encoder.decode(&Decryptor::new(&self.secret).decrypt(ciphertext).unwrap()).unwrap()
    }

    /// The deviation found, in units of the one stated for a slot (for the real part of a complex one).
    fn relative(&self, ciphertext: &Ciphertext, expected: &[f64], stated: f64) -> f64 {
        let real_part = if self.params.ring() == Ring::Standard { 0.5f64.sqrt() } else { 1.0 };
        Precision::of(&self.decrypt(ciphertext), expected).deviation * ciphertext.scale().to_f64()
            / (stated * real_part)
    }
}

fn for_each_party(test: impl Fn(Party)) {
    for ring in [Ring::Standard, Ring::ConjugateInvariant] {
        for special in [1, 2] {
            toy_insecure(ring, special).iter().for_each(|params| test(Party::new(params)));
        }
    }
}

fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

#[test]
fn encoding_round_trips_to_rounding_precision() {
    for_each_party(|party| {
        let values = party.values(1);
        for exponent in [30, 45, 90] {
            let message = party.encoder.encode(&values, &Scale::power_of_two(exponent)).unwrap();
            let plaintext = party.encoder.plaintext(&message, party.params.top()).unwrap();
            let found = party.encoder.decode(&plaintext).unwrap();
            let error = Precision::of(&found, &values).max_error;
            assert!(error < 2f64.powi(-exponent + 9).max(1e-13), "{error}");
        }
        let constant = party.encoder.encode_constant(-0.75, &Scale::power_of_two(20)).unwrap();
        let found = party.encoder.decode(&party.encoder.plaintext(&constant, Level(0)).unwrap()).unwrap();
        assert!(Precision::of(&found, &vec![-0.75; party.params.slots()]).max_error < 1e-12);
    });
}

/// More than the 1024 bits of the largest `f64`.
#[test]
fn long_chains_decode() {
    for ring in [Ring::Standard, Ring::ConjugateInvariant] {
        let spec = CkksSpec { ring, log_degree: 6, prime_bits: vec![50; 23], special_bits: vec![] };
        let params = spec.validate_insecure().unwrap();
        let encoder = Encoder::new(&params);
        let values: Vec<f64> = (0..params.slots()).map(|slot| slot as f64 - 7.5).collect();
        let message = encoder.encode(&values, &Scale::power_of_two(40)).unwrap();
        let decoded = encoder.decode(&encoder.plaintext(&message, params.top()).unwrap()).unwrap();
        assert!(Precision::of(&decoded, &values).max_error < 1e-9);
    }
}

/// Every period, against the encoding of the repeated values.
#[test]
fn periodic_encodings_are_those_of_the_repeated_values() {
    for_each_party(|mut party| {
        let slots = party.params.slots();
        for period in (0..=slots.trailing_zeros()).map(|log| 1 << log) {
            let values: Vec<f64> = party.values(9)[..period].to_vec();
            let repeated: Vec<f64> = values.iter().copied().cycle().take(slots).collect();
            for exponent in [30, 90] {
                let scale = Scale::power_of_two(exponent);
                let message = party.encoder.encode_periodic(&values, &scale).unwrap();
                let found = party.encoder.decode_message(&message).unwrap();
                assert_eq!(found.len(), slots);
                let stated = (noise::encoding_periodic(&party.params, period) / scale.to_f64()).max(1e-15);
                let error = Precision::of(&found, &repeated).max_error;
                assert!(error < 9.0 * stated, "{period}: {error}");
                // The same as a plaintext, and encrypted.
                let plaintext = party.encoder.plaintext(&message, Level(2)).unwrap();
                let error = Precision::of(&party.encoder.decode(&plaintext).unwrap(), &found).max_error;
                assert!(error < 1e-12, "{period}: {error}");
                let encryptor = Encryptor::symmetric(&party.secret);
                let ciphertext = encryptor.encrypt(&message, Level(3), &mut party.rng).unwrap();
                let relative = if exponent == 30 {
                    party.relative(&ciphertext, &found, noise::fresh_symmetric(&party.params))
                } else {
                    Precision::of(&party.decrypt(&ciphertext), &found).max_error * 1e12 + 0.9
                };
                assert!((0.8..1.25).contains(&relative), "{period}: {relative}");
            }
        }
        let refused = |values: &[f64]| party.encoder.encode_periodic(values, &Scale::power_of_two(20)).unwrap_err();
        for found in [0, 3, 2 * slots] {
            assert_eq!(refused(&vec![0.5; found]), EvalError::NoSuchPeriod { found, slots });
        }
        assert!(matches!(refused(&[0.0, f64::NAN]), EvalError::NotFinite { index: 1, .. }));
        assert!(matches!(refused(&[2f64.powi(200)]), EvalError::TooLarge { .. }));
    });
}

#[test]
fn fresh_noise_is_as_stated() {
    for_each_party(|mut party| {
        let values = party.values(2);
        let scale = Scale::power_of_two(30);
        let ciphertext = party.encrypt(&values, &scale);
        let relative = party.relative(&ciphertext, &values, noise::fresh_symmetric(&party.params));
        assert!((0.8..1.25).contains(&relative), "symmetric: {relative}");

        let public = KeyGenerator::new(&party.params).public_key(&party.secret, &mut party.rng).unwrap();
        let message = party.encoder.encode(&values, &scale).unwrap();
        let ciphertext = Encryptor::public(&public).encrypt(&message, Level(1), &mut party.rng).unwrap();
        let relative = party.relative(&ciphertext, &values, noise::fresh_public(&party.params));
        assert!((0.7..1.4).contains(&relative), "public: {relative}");
    });
}

/// Coefficients beyond `2^53` leave no room in an `f64` for an error; the encryption must have one all the same.
#[test]
fn the_error_is_there_at_every_scale() {
    for_each_party(|mut party| {
        let values = party.values(8);
        for exponent in [30, 45, 52, 60, 90, 110] {
            let message = party.encoder.encode(&values, &Scale::power_of_two(exponent)).unwrap();
            let plaintext = party.encoder.plaintext(&message, party.params.top()).unwrap();
            let public = KeyGenerator::new(&party.params).public_key(&party.secret, &mut party.rng).unwrap();
            let symmetric = Encryptor::symmetric(&party.secret);
            let ciphertexts =
                [symmetric, Encryptor::public(&public)].map(|e| e.encrypt(&message, Level(3), &mut party.rng).unwrap());
            let [symmetric, public] = ciphertexts.map(|ciphertext| {
                let mut error = Decryptor::new(&party.secret).decrypt(&ciphertext).unwrap().poly().clone();
                error.sub_assign(plaintext.poly());
                let errors = error.into_coeff().limb(1).to_vec();
                (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt()
            });
            assert!((symmetric / 3.19 - 1.0).abs() < 0.15, "2^{exponent}: {symmetric}");
            // e_0 + e u + e_1 s, of deviation 3.19 sqrt(4 N/3) or, in the conjugate-invariant ring, sqrt(2) times that.
            let stated = 3.19 * (4.0 / 3.0 * party.params.degree() as f64).sqrt();
            assert!((0.8..1.8).contains(&(public / stated)), "2^{exponent}: {public}, {stated}");
        }
    });
}

#[test]
fn products_relinearise_and_rescale_within_the_stated_noise() {
    for_each_party(|mut party| {
        let (a, b) = (party.values(3), party.values(4));
        let scale = Scale::power_of_two(45);
        let (x, y) = (party.encrypt(&a, &scale), party.encrypt(&b, &scale));
        let evaluator = Evaluator::new(&party.params);
        let expected = product(&a, &b);
        let raw = evaluator.multiply(&x, &y).unwrap();
        let fresh = noise::fresh_symmetric(&party.params);
        // Both factors' noise, multiplied by the other's scaled message of mean square 1/3.
        let stated = fresh * scale.to_f64() * (2.0f64 / 3.0).sqrt();
        let relative = party.relative(&raw, &expected, stated);
        assert!((0.8..1.25).contains(&relative), "product: {relative}");

        let relinearized = evaluator.relinearize(&raw, &party.relinearization).unwrap();
        let difference = evaluator.sub(&relinearized, &raw).unwrap();
        let switch = noise::key_switch(&party.params, raw.level()).hypot(noise::rounding(&party.params, 2));
        let zero = vec![0.0; a.len()];
        let relative = party.relative(&difference, &zero, switch);
        assert!((0.6..1.6).contains(&relative), "key switch: {relative}");

        let rescaled = evaluator.rescale(&relinearized).unwrap();
        let fused = evaluator.relinearize_rescale(&raw, &party.relinearization).unwrap();
        assert_eq!(rescaled.scale(), fused.scale());
        assert_eq!(rescaled.level(), Level(2));
        let q = party.params.primes()[3] as f64;
        let stated = (stated / q).hypot(noise::rounding(&party.params, 2)).hypot(switch / q);
        for result in [&rescaled, &fused] {
            let relative = party.relative(result, &expected, stated);
            assert!((0.7..1.4).contains(&relative), "rescale: {relative}");
        }
        let lazily = evaluator.rescale(&raw).unwrap();
        let relative = party.relative(&lazily, &expected, noise::rounding(&party.params, 3));
        assert!((0.7..1.4).contains(&relative), "rescale of three components: {relative}");
    });
}

#[test]
fn linear_operations_are_exact_on_the_message() {
    for_each_party(|mut party| {
        let (a, b) = (party.values(5), party.values(6));
        let scale = Scale::power_of_two(35);
        let (x, y) = (party.encrypt(&a, &scale), party.encrypt(&b, &scale));
        let evaluator = Evaluator::new(&party.params);
        let close = |found: &Ciphertext, expected: &dyn Fn(usize) -> f64, tolerance: f64| {
            let expected: Vec<f64> = (0..a.len()).map(expected).collect();
            let error = Precision::of(&party.decrypt(found), &expected).max_error;
            assert!(error < tolerance, "{error}");
        };
        close(&evaluator.add(&x, &y).unwrap(), &|i| a[i] + b[i], 1e-6);
        close(&evaluator.sub(&x, &y).unwrap(), &|i| a[i] - b[i], 1e-6);
        let square = evaluator.square(&x).unwrap();
        assert_eq!(square, evaluator.multiply(&x, &x).unwrap());
        let weights = Scale::power_of_two(10);
        close(&evaluator.mul_integer(&x, -1536, &weights).unwrap(), &|i| -1.5 * a[i], 1e-6);
        let one_and_a_half = (scale.to_f64() * 1.5) as i128;
        close(&evaluator.add_integer(&x, one_and_a_half).unwrap(), &|i| 1.5 + a[i], 1e-6);
        let message = party.encoder.encode(&b, &scale).unwrap();
        let plaintext = party.encoder.plaintext(&message, party.params.top()).unwrap();
        close(&evaluator.add_plain(&x, &plaintext).unwrap(), &|i| a[i] + b[i], 1e-6);
        close(&evaluator.mul_plain(&x, &plaintext).unwrap(), &|i| a[i] * b[i], 1e-6);
        close(&evaluator.drop_to(&x, Level(1)).unwrap(), &|i| a[i], 1e-6);
        // 2 components minus 3 components.
        let lifted = evaluator.mul_integer(&x, 1 << 35, &scale).unwrap();
        close(&evaluator.sub(&lifted, &square).unwrap(), &|i| a[i] - a[i] * a[i], 1e-6);
    });
}

#[test]
fn kernels_make_the_same_bits() {
    for ring in [Ring::Standard, Ring::ConjugateInvariant] {
        for special in [1, 2, 3] {
            let results: Vec<(Ciphertext, Vec<f64>)> = toy_insecure(ring, special)
                .iter()
                .map(|params| {
                    let mut party = Party::new(params);
                    let values = party.values(7);
                    let x = party.encrypt(&values, &Scale::power_of_two(45));
                    let evaluator = Evaluator::new(params);
                    let square = evaluator.square(&x).unwrap();
                    let down = evaluator.relinearize_rescale(&square, &party.relinearization).unwrap();
                    let again = evaluator.square(&down).unwrap();
                    let result =
                        evaluator.rescale(&evaluator.relinearize(&again, &party.relinearization).unwrap()).unwrap();
                    let found = party.decrypt(&result);
                    (result, found)
                })
                .collect();
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let params = &toy_insecure(Ring::ConjugateInvariant, 1)[0];
    let mut party = Party::new(params);
    let evaluator = Evaluator::new(params);
    let scale = Scale::power_of_two(30);
    let x = party.encrypt(&[1.0], &scale);
    let other_scale = party.encrypt(&[1.0], &Scale::power_of_two(31));
    assert!(matches!(evaluator.add(&x, &other_scale), Err(EvalError::ScaleMismatch { .. })));
    let lower = evaluator.drop_to(&x, Level(1)).unwrap();
    let expected = EvalError::LevelMismatch { op: "multiply", left: Level(3), right: Level(1) };
    assert_eq!(evaluator.multiply(&x, &lower), Err(expected));
    assert!(matches!(evaluator.drop_to(&lower, Level(2)), Err(EvalError::LevelTooLow { .. })));
    let bottom = evaluator.drop_to(&x, Level(0)).unwrap();
    assert!(matches!(evaluator.rescale(&bottom), Err(EvalError::LevelTooLow { found: Level(0), .. })));
    assert!(matches!(evaluator.relinearize(&x, &party.relinearization), Err(EvalError::Components { found: 2, .. })));
    let square = evaluator.square(&x).unwrap();
    assert!(matches!(evaluator.square(&square), Err(EvalError::Components { found: 3, .. })));
    let slots = params.slots();
    assert_eq!(
        party.encoder.encode(&vec![0.0; slots + 1], &scale).unwrap_err(),
        EvalError::TooManyValues { found: slots + 1, slots }
    );
    assert!(matches!(party.encoder.encode(&[0.0, f64::NAN], &scale), Err(EvalError::NotFinite { index: 1, .. })));
    assert!(matches!(party.encoder.encode_constant(1.0, &Scale::power_of_two(125)), Err(EvalError::TooLarge { .. })));
    for (value, exponent) in [(1.0, 2000), (0.0, 2000), (1e300, 100), (f64::MAX, 2)] {
        let scale = Scale::power_of_two(exponent);
        let found = party.encoder.encode(&[value, -value], &scale);
        assert!(
            matches!(found, Err(EvalError::TooLarge { needed_bits: 1000.., .. })),
            "{value} 2^{exponent}: {found:?}"
        );
        let found = party.encoder.encode_constant(value, &scale);
        assert!(
            matches!(found, Err(EvalError::TooLarge { needed_bits: 1000.., .. })),
            "{value} 2^{exponent}: {found:?}"
        );
    }
    let large = party.encoder.encode(&[1.0], &Scale::power_of_two(60)).unwrap();
    let encryptor = Encryptor::symmetric(&party.secret);
    assert!(matches!(encryptor.encrypt(&large, Level(0), &mut party.rng), Err(EvalError::TooLarge { .. })));
    assert!(matches!(encryptor.encrypt(&large, Level(9), &mut party.rng), Err(EvalError::LevelTooHigh { .. })));
    let other = &toy_insecure(Ring::ConjugateInvariant, 2)[0];
    let foreign = Party::new(other).encrypt(&[1.0], &scale);
    assert!(matches!(evaluator.add(&x, &foreign), Err(EvalError::ParamsMismatch { op: "add", .. })));
    assert!(matches!(Decryptor::new(&party.secret).decrypt(&foreign), Err(EvalError::ParamsMismatch { .. })));
}

/// What a secret was computed with goes back to the pool, from which anybody may take it next.
#[test]
fn buffers_with_secrets_are_wiped_before_they_are_recycled() {
    let spec = CkksSpec { ring: Ring::Standard, log_degree: 10, prime_bits: vec![26], special_bits: vec![] };
    let params = &spec.validate().unwrap();
    let degree = params.degree();
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let encoder = Encoder::new(params);
    let check = |what: &str| {
        for length in [degree, 2 * degree] {
            // Idle buffers of this length, until the pool has to make a new one.
            let mut taken = Vec::new();
            loop {
                let idle = params.pool().idle_bytes();
                let buffer = params.pool().take(length);
                if params.pool().idle_bytes() == idle {
                    break;
                }
                taken.push(buffer);
            }
            assert!(taken.iter().all(|buffer| buffer.iter().all(|x| *x == 0.0)), "{what}: {length}");
        }
    };
    let secret = KeyGenerator::new(params).secret_key(&mut rng);
    check("secret key");
    let message = encoder.encode(&vec![0.75; params.slots()], &Scale::power_of_two(20)).unwrap();
    check("encoding");
    let ciphertext = Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng).unwrap();
    check("symmetric encryption");
    let public = KeyGenerator::new(params).public_key(&secret, &mut rng).unwrap();
    check("public key");
    let another = Encryptor::public(&public).encrypt(&message, params.top(), &mut rng).unwrap();
    check("public encryption");
    let plaintext = Decryptor::new(&secret).decrypt(&ciphertext).unwrap();
    check("decryption");
    let decoded = encoder.decode(&plaintext).unwrap();
    check("decoding");
    assert!(Precision::of(&decoded, &[0.75; 1]).max_error < 0.01);
    drop((message, plaintext, secret));
    check("drop");
    drop((ciphertext, another));
}

#[test]
fn secrets_do_not_print() {
    let party = Party::new(&toy_insecure(Ring::Standard, 1)[0]);
    let text = format!("{:?} {:?}", party.secret, party.encoder.encode(&[0.25], &Scale::power_of_two(30)).unwrap());
    assert!(text.contains("hidden") && !text.contains("[") && text.len() < 200, "{text}");
}

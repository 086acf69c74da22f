//! Rotations against rotated vectors, within the stated noise, on every kernel and in both rings: alone, hoisted, and in
//! the extended basis.

use std::collections::BTreeMap;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, EvalError, EvaluationKeySpec, Evaluator,
    ExtendedCiphertext, ExtendedPlaintext, KeyGenerator, KeyPurpose, Level, Precision, Ring, RotationKeys, Scale,
    SecretKey, noise,
};
use nightloom_ring::{RnsPoly, kernels};

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

/// Below 128 bits: for speed only, and only tests may build it.
fn toy_insecure(ring: Ring, special: usize) -> Vec<CkksParams> {
    let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![50, 45, 40, 45, 50], special_bits: vec![50; special] };
    kernels::available().into_iter().map(|kernel| spec.validate_insecure_with(kernel).unwrap()).collect()
}

struct Party {
    params: CkksParams,
    secret: SecretKey,
    encoder: Encoder,
    evaluator: Evaluator,
    rng: ChaCha20Rng,
}

impl Party {
    fn new(params: &CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let secret = KeyGenerator::new(params).secret_key(&mut rng);
        Self { params: params.clone(), secret, encoder: Encoder::new(params), evaluator: Evaluator::new(params), rng }
    }

    fn values(&self, seed: u64) -> Vec<f64> {
        let word = |i: u64| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(i | 1) >> 12;
        (1..=self.params.slots() as u64).map(|i| word(i) as f64 / 2f64.powi(51) - 1.0).collect()
    }

    fn rotation_keys(&mut self, wanted: &[(usize, u8)]) -> RotationKeys {
        let wanted = wanted.iter().map(|(slots, level)| (*slots, Level(*level))).collect();
        KeyGenerator::new(&self.params).rotation_keys(&self.secret, &wanted, &mut self.rng).unwrap()
    }

    fn encrypt(&mut self, values: &[f64], scale: &Scale, level: Level) -> Ciphertext {
        let message = self.encoder.encode(values, scale).unwrap();
        Encryptor::symmetric(&self.secret).encrypt(&message, level, &mut self.rng).unwrap()
    }

    fn plaintext(&self, values: &[f64], scale: &Scale, level: Level) -> ExtendedPlaintext {
        self.encoder.extended_plaintext(&self.encoder.encode(values, scale).unwrap(), level).unwrap()
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

    /// What `divide(rotated)` adds to `rotate(ciphertext)` and so on: both decrypted, in units of a stated deviation.
    fn relative_difference(&self, left: &Ciphertext, right: &Ciphertext, stated: f64) -> f64 {
        let difference = self.evaluator.sub(left, right).unwrap();
        self.relative(&difference, &vec![0.0; self.params.slots()], stated)
    }
}

fn for_each_party(test: impl Fn(Party)) {
    for ring in RINGS {
        for special in [1, 2, 3] {
            toy_insecure(ring, special).iter().for_each(|params| test(Party::new(params)));
        }
    }
}

fn rotated(values: &[f64], slots: usize) -> Vec<f64> {
    let mut values = values.to_vec();
    values.rotate_left(slots);
    values
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// At every level up to that of the key, digits that are not full among them.
#[test]
fn rotations_move_slots_within_the_stated_noise() {
    for_each_party(|mut party| {
        let params = party.params.clone();
        let slots = params.slots();
        let keys = party.rotation_keys(&[(1, 4), (37, 3), (slots / 2, 2), (slots - 1, 0)]);
        let (values, scale) = (party.values(1), Scale::power_of_two(30));
        for (rotation, key_level) in keys.rotations() {
            for level in (0..=key_level.0).map(Level) {
                let x = party.encrypt(&values, &scale, level);
                let y = party.evaluator.rotate(&x, rotation, &keys).unwrap();
                assert_eq!((y.level(), y.scale(), y.seed()), (level, &scale, None));
                let stated = noise::fresh_symmetric(&params).hypot(noise::rotation(&params, level));
                let relative = party.relative(&y, &rotated(&values, rotation), stated);
                assert!((0.6..1.5).contains(&relative), "{rotation} at {level} of {key_level}: {relative}");
            }
        }
        let x = party.encrypt(&values, &scale, Level(1));
        assert_eq!(party.evaluator.rotate(&x, 0, &keys).unwrap(), x);
    });
}

#[test]
fn rotations_compose() {
    for_each_party(|mut party| {
        let slots = party.params.slots();
        let keys = party.rotation_keys(&[(3, 2), (slots - 5, 2), (slots - 2, 2)]);
        let values = party.values(2);
        let x = party.encrypt(&values, &Scale::power_of_two(35), Level(2));
        let rotate = |x: &Ciphertext, by| party.evaluator.rotate(x, by, &keys).unwrap();
        let (apart, at_once) = (rotate(&rotate(&x, 3), slots - 5), rotate(&x, slots - 2));
        let error = Precision::of(&party.decrypt(&apart), &rotated(&values, slots - 2)).max_error;
        assert!(error < 1e-4, "{error}");
        let stated = noise::rotation(&party.params, Level(2)) * 3f64.sqrt();
        let relative = party.relative_difference(&apart, &at_once, stated);
        assert!((0.6..1.5).contains(&relative), "{relative}");
    });
}

/// Imaginary slots, made from real ones by a multiplication with `X^(N/2)`, which is `i` in every slot.
#[test]
fn conjugation_negates_imaginary_parts() {
    for params in toy_insecure(Ring::Standard, 2) {
        let mut party = Party::new(&params);
        let mut keys = RotationKeys::empty(&params);
        let generator = KeyGenerator::new(&params);
        generator.add_conjugation_key(&mut keys, &party.secret, Level(3), &mut party.rng).unwrap();
        assert_eq!(keys.conjugation().unwrap().level(), Level(3));
        let values = party.values(3);
        for level in [Level(0), Level(2), Level(3)] {
            let x = party.encrypt(&values, &Scale::power_of_two(30), level);
            let times_i = |x: &Ciphertext| {
                let mut monomial = vec![0.0; params.degree()];
                monomial[params.degree() / 2] = 1.0;
                let i = RnsPoly::from_signed(params.basis(level), &monomial).into_eval();
                let components = x.components().iter().map(|c| c.mul(&i)).collect();
                Ciphertext::from_components(&params, level, x.scale().clone(), components).unwrap()
            };
            let conjugate = |x: &Ciphertext| party.evaluator.conjugate(x, &keys).unwrap();
            let stated = noise::fresh_symmetric(&params).hypot(noise::rotation(&params, level));
            let relative = party.relative(&conjugate(&x), &values, stated);
            assert!((0.6..1.5).contains(&relative), "real at {level}: {relative}");
            // -i conj(i m) = -m: minus that is m, where without the conjugation it would be -m.
            let relative = party.relative(&times_i(&conjugate(&times_i(&x))), &values, stated);
            assert!((0.6..1.5).contains(&relative), "imaginary at {level}: {relative}");
        }
    }
}

#[test]
fn hoisted_rotations_are_the_same_bit_for_bit() {
    for_each_party(|mut party| {
        let keys = party.rotation_keys(&[(1, 4), (6, 3), (100, 4)]);
        let values = party.values(4);
        for level in [Level(3), Level(0), Level(1)] {
            let x = party.encrypt(&values, &Scale::power_of_two(30), level);
            let decomposed = party.evaluator.decompose(&x).unwrap();
            assert_eq!((decomposed.level(), decomposed.scale()), (level, x.scale()));
            for rotation in [1, 6, 100] {
                let expected = party.evaluator.rotate(&x, rotation, &keys).unwrap();
                let hoisted = party.evaluator.rotate_hoisted(&decomposed, rotation, &keys).unwrap();
                assert!(hoisted == expected, "{rotation} at {level}");
                // An automorphism changes signs of coefficients only, so that it commutes with the rounding.
                let extended = party.evaluator.rotate_extended(&x, &[rotation], &keys).unwrap();
                assert!(party.evaluator.divide(&extended[0]).unwrap() == expected, "{rotation} at {level}");
            }
            // Several at once, in any order, some of them twice.
            let rotations = [6, 0, 100, 1, 6];
            let extended = party.evaluator.rotate_extended(&x, &rotations, &keys).unwrap();
            let divided = extended.iter().map(|extended| party.evaluator.divide(extended).unwrap());
            let expected = rotations.iter().map(|by| party.evaluator.rotate_hoisted(&decomposed, *by, &keys).unwrap());
            assert!(divided.eq(expected), "at {level}");
            let unmoved = party.evaluator.rotate_hoisted(&decomposed, 0, &keys).unwrap();
            assert_eq!(unmoved.components(), x.components());
            let extended = party.evaluator.rotate_extended(&x, &[0], &keys).unwrap();
            assert_eq!(party.evaluator.divide(&extended[0]).unwrap().components(), x.components());
            assert!(party.evaluator.rotate_extended(&x, &[], &keys).unwrap().is_empty());
        }
    });
}

/// A matrix by its diagonals with baby and giant steps: `sum_g rot_g(sum_b rot_b(x) * d_(g,b))`, all in the extended basis.
#[test]
fn double_hoisting_stays_within_the_stated_noise() {
    for_each_party(|mut party| {
        let params = party.params.clone();
        let (level, babies, giants) = (Level(2), [0, 1, 2, 3], [0, 16, 32]);
        let keys = party.rotation_keys(&[(1, 2), (2, 2), (3, 4), (16, 2), (32, 3)]);
        let values = party.values(5);
        let scale = Scale::power_of_two(36);
        let weight_scale = Scale::from_parts(0, vec![(params.primes()[2], 1)]).unwrap();
        let x = party.encrypt(&values, &scale, level);
        let steps = party.evaluator.rotate_extended(&x, &babies, &keys).unwrap();

        let mut expected = vec![0.0; params.slots()];
        let mut total = ExtendedCiphertext::zero(&params, level, scale.mul(&weight_scale)).unwrap();
        let mut mean_square = 0.0;
        for giant in giants {
            let diagonals = babies.map(|baby| party.values((10 * giant + baby) as u64));
            mean_square += diagonals.iter().flatten().map(|w| w * w).sum::<f64>() / values.len() as f64;
            let mut clear = vec![0.0; params.slots()];
            for (diagonal, baby) in diagonals.iter().zip(babies) {
                clear = sum(&clear, &product(diagonal, &rotated(&values, baby)));
            }
            expected = sum(&expected, &rotated(&clear, giant));
            let plaintexts = diagonals.map(|diagonal| party.plaintext(&diagonal, &weight_scale, level));
            let terms: Vec<_> = steps.iter().zip(&plaintexts).collect();
            let inner = ExtendedCiphertext::dot(&terms).unwrap();

            let mut one_by_one = ExtendedCiphertext::zero(&params, level, inner.scale().clone()).unwrap();
            terms.iter().for_each(|(step, plaintext)| one_by_one.mul_add_assign(step, plaintext).unwrap());
            assert!(one_by_one == inner);
            let products = terms[1..].iter().map(|(step, plaintext)| step.mul(plaintext).unwrap());
            let products = products.fold(terms[0].0.mul(terms[0].1).unwrap(), |mut sum, product| {
                sum.add_assign(&product).unwrap();
                sum
            });
            assert!(products == inner);

            let unmoved = inner.clone();
            let moved = party.evaluator.switch_rotate(inner, giant, &keys).unwrap();
            assert!(giant != 0 || moved == unmoved);
            if giant != 0 {
                // Against division first and rotation of the ciphertext.
                let divided = party.evaluator.divide(&moved).unwrap();
                let apart = party.evaluator.divide(&unmoved).unwrap();
                let apart = party.evaluator.rotate(&apart, giant, &keys).unwrap();
                let stated = noise::rounding(&params, 2) * 2f64.sqrt();
                let relative = party.relative_difference(&divided, &apart, stated);
                assert!(relative < 1.2, "giant step by {giant}: {relative}");
            }
            total.add_assign(&moved).unwrap();
        }

        let q = params.primes()[2] as f64;
        // Noise of x in every product, of the key switches of the baby steps but the first, of the giant steps but the
        // first, and the roundings of plaintexts and of the division.
        let inputs = noise::fresh_symmetric(&params).hypot(noise::key_switch(&params, level) * 0.75f64.sqrt());
        let inputs = inputs * mean_square.sqrt();
        let giant = noise::extended_rotation(&params, level) * 2f64.sqrt() / q;
        let mean = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
        let plaintexts = noise::encoding(&params) / q * scale.to_f64() * (12.0 * mean).sqrt();
        let stated = inputs.hypot(giant).hypot(plaintexts).hypot(noise::rounding(&params, 2));
        for result in [
            party.evaluator.divide_rescale(&total),
            party.evaluator.divide(&total).and_then(|x| party.evaluator.rescale(&x)),
        ] {
            let result = result.unwrap();
            assert_eq!((result.level(), result.scale()), (Level(1), &scale));
            let relative = party.relative(&result, &expected, stated);
            assert!((0.7..1.4).contains(&relative), "{relative}");
        }
    });
}

/// Factors that repeat are held once; the products are those of the repeated values.
#[test]
fn periodic_factors_are_those_of_their_repetition() {
    for_each_party(|mut party| {
        let params = party.params.clone();
        let (slots, level) = (params.slots(), Level(1));
        let keys = party.rotation_keys(&[(1, 1)]);
        let (values, scale) = (party.values(11), Scale::power_of_two(40));
        let x = party.encrypt(&values, &scale, level);
        let steps = party.evaluator.rotate_extended(&x, &[0, 1], &keys).unwrap();
        for period in (0..=slots.trailing_zeros()).step_by(3).map(|log| 1 << log) {
            let factors = [12, 13].map(|seed| party.values(seed)[..period].to_vec());
            let repeated = factors.clone().map(|values| values.iter().copied().cycle().take(slots).collect::<Vec<_>>());
            let weights = Scale::power_of_two(40);
            let messages = factors.map(|values| party.encoder.encode_periodic(&values, &weights).unwrap());
            let plaintexts = messages.map(|message| party.encoder.extended_plaintext(&message, level).unwrap());
            let whole = party.plaintext(&repeated[0], &weights, level);
            assert!(period * 4 > slots || plaintexts[0].bytes() <= whole.bytes() / 4);
            let sum = ExtendedCiphertext::dot(&[
                (&steps[0], &plaintexts[0]),
                (&steps[1], &plaintexts[1]),
                (&steps[1], &whole),
            ]);
            let sum = party.evaluator.divide(&sum.unwrap()).unwrap();
            let expected: Vec<f64> = (0..slots)
                .map(|slot| {
                    let next = values[(slot + 1) % slots];
                    values[slot] * repeated[0][slot] + next * (repeated[1][slot] + repeated[0][slot])
                })
                .collect();
            let error = Precision::of(&party.decrypt(&sum), &expected).max_error;
            assert!(error < 1e-6, "{period}: {error}");
            let one = steps[1].mul(&plaintexts[1]).unwrap();
            let mut two = one.clone();
            two.mul_add_assign(&steps[1], &plaintexts[1]).unwrap();
            let mut doubled = one.clone();
            doubled.add_assign(&one).unwrap();
            assert!(two == doubled);
        }
    });
}

/// A giant step of an extended zero: nothing but what the step adds.
#[test]
fn giant_steps_add_the_stated_noise() {
    for_each_party(|mut party| {
        let params = party.params.clone();
        let keys = party.rotation_keys(&[(5, 3), (1, 3)]);
        let (values, scale) = (party.values(6), Scale::power_of_two(30));
        for level in [Level(0), Level(3)] {
            let x = party.encrypt(&values, &scale, level);
            // A product, so that the division rounds.
            let one = party.plaintext(&vec![1.0; values.len()], &Scale::power_of_two(9), level);
            let half = party.plaintext(&party.values(7), &Scale::power_of_two(9), level);
            let steps = party.evaluator.rotate_extended(&x, &[0, 1], &keys).unwrap();
            let sum = ExtendedCiphertext::dot(&[(&steps[0], &one), (&steps[1], &half)]).unwrap();
            let before = party.decrypt(&party.evaluator.divide(&sum).unwrap());
            let after = party.evaluator.switch_rotate(sum, 5, &keys).unwrap();
            let after = party.evaluator.divide(&after).unwrap();
            // Both divisions round: before, the same division as in the step.
            let stated = noise::extended_rotation(&params, level).hypot(noise::rounding(&params, 2) * 2f64.sqrt());
            let relative = party.relative(&after, &rotated(&before, 5), stated);
            assert!((0.5..1.5).contains(&relative), "{level}: {relative}");
        }
    });
}

#[test]
fn relinearisation_keys_serve_their_level_and_below() {
    for_each_party(|mut party| {
        let generator = KeyGenerator::new(&party.params);
        let values = party.values(8);
        let squares = product(&values, &values);
        for key_level in [Level(4), Level(2), Level(1)] {
            let key = generator.relinearization_key_at(&party.secret, key_level, &mut party.rng).unwrap();
            assert_eq!(key.level(), key_level);
            for level in (1..=key_level.0).map(Level) {
                let x = party.encrypt(&values, &Scale::power_of_two(35), level);
                let square = party.evaluator.square(&x).unwrap();
                let two = party.evaluator.relinearize(&square, &key).unwrap();
                let stated = noise::rotation(&party.params, level);
                let relative = party.relative_difference(&two, &square, stated);
                assert!((0.6..1.5).contains(&relative), "{level} of {key_level}: {relative}");
                let rescaled = party.evaluator.relinearize_rescale(&square, &key).unwrap();
                let error = Precision::of(&party.decrypt(&rescaled), &squares).max_error;
                assert!(error < 0.05, "{error}");
            }
        }
    });
}

#[test]
fn kernels_and_threads_make_the_same_bits() {
    for ring in RINGS {
        for special in [1, 2] {
            let compute = |params: &CkksParams| {
                let mut party = Party::new(params);
                let keys = party.rotation_keys(&[(1, 4), (7, 4)]);
                let x = party.encrypt(&party.values(9), &Scale::power_of_two(40), Level(4));
                let square = party.evaluator.square(&x).unwrap();
                let key = KeyGenerator::new(params).relinearization_key(&party.secret, &mut party.rng).unwrap();
                let y = party.evaluator.relinearize_rescale(&square, &key).unwrap();
                let y = party.evaluator.rotate(&y, 1, &keys).unwrap();
                let weights = party.plaintext(&party.values(10), &Scale::power_of_two(40), y.level());
                let steps = party.evaluator.rotate_extended(&y, &[0, 1], &keys).unwrap();
                let sum = ExtendedCiphertext::dot(&[(&steps[0], &weights), (&steps[1], &weights)]).unwrap();
                let moved = party.evaluator.switch_rotate(sum, 7, &keys).unwrap();
                (party.evaluator.divide_rescale(&moved).unwrap(), keys)
            };
            let params = toy_insecure(ring, special);
            let expected = compute(&params[0]);
            for params in &params {
                assert!(compute(params) == expected, "{ring} {}", params.kernel().name());
                let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
                assert!(pool.install(|| compute(params)) == expected, "{ring}, threads");
            }
        }
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let params = &toy_insecure(Ring::ConjugateInvariant, 2)[0];
    let mut party = Party::new(params);
    let slots = params.slots();
    let keys = party.rotation_keys(&[(1, 4), (2, 1)]);
    let evaluator = party.evaluator.clone();
    let x = party.encrypt(&[1.0], &Scale::power_of_two(30), Level(2));
    let missing = EvalError::MissingKey { op: "rotate", purpose: KeyPurpose::Rotation(3) };
    assert_eq!(evaluator.rotate(&x, 3, &keys).unwrap_err(), missing);
    assert_eq!(missing.to_string(), "rotate: no key for rotation by 3 slots");
    let low =
        EvalError::KeyLevelTooLow { op: "rotate", purpose: KeyPurpose::Rotation(2), found: Level(1), wanted: Level(2) };
    assert_eq!(evaluator.rotate(&x, 2, &keys).unwrap_err(), low);
    assert!(keys.contains(2, Level(1)) && !keys.contains(2, Level(2)) && !keys.contains(3, Level(0)));
    assert!(keys.get(1).is_some_and(|key| key.level() == Level(4)) && keys.get(0).is_none());
    for found in [slots, slots + 1, usize::MAX] {
        let expected = EvalError::NoSuchRotation { op: "rotate", found, slots };
        assert_eq!(evaluator.rotate(&x, found, &keys).unwrap_err(), expected);
    }
    assert_eq!(evaluator.conjugate(&x, &keys).unwrap_err(), EvalError::NoConjugation { op: "conjugate" });
    let square = evaluator.square(&x).unwrap();
    assert!(matches!(evaluator.rotate(&square, 1, &keys), Err(EvalError::Components { found: 3, .. })));
    assert!(matches!(evaluator.rotate(&square, 0, &keys), Err(EvalError::Components { found: 3, .. })));
    assert!(matches!(evaluator.decompose(&square), Err(EvalError::Components { found: 3, .. })));

    let decomposed = evaluator.decompose(&x).unwrap();
    assert!(matches!(evaluator.rotate_hoisted(&decomposed, 3, &keys), Err(EvalError::MissingKey { .. })));
    assert!(matches!(evaluator.rotate_extended(&square, &[0], &keys), Err(EvalError::Components { found: 3, .. })));
    assert!(matches!(evaluator.rotate_extended(&x, &[1, 2], &keys), Err(EvalError::KeyLevelTooLow { .. })));
    assert!(matches!(evaluator.rotate_extended(&x, &[slots, 1], &keys), Err(EvalError::NoSuchRotation { .. })));
    let mut extended = evaluator.rotate_extended(&x, &[1], &keys).unwrap().remove(0);
    let other_scale = ExtendedCiphertext::zero(params, Level(2), Scale::power_of_two(31)).unwrap();
    assert!(matches!(extended.add_assign(&other_scale), Err(EvalError::ScaleMismatch { .. })));
    let other_level = ExtendedCiphertext::zero(params, Level(1), Scale::power_of_two(30)).unwrap();
    assert!(matches!(extended.add_assign(&other_level), Err(EvalError::LevelMismatch { .. })));
    let weights = |level, exponent| party.plaintext(&[0.5], &Scale::power_of_two(exponent), level);
    assert!(matches!(extended.mul(&weights(Level(1), 10)), Err(EvalError::LevelMismatch { .. })));
    let copy = extended.clone();
    assert!(matches!(extended.mul_add_assign(&copy, &weights(Level(2), 10)), Err(EvalError::ScaleMismatch { .. })));
    let (a, b) = (weights(Level(2), 10), weights(Level(2), 11));
    assert!(matches!(ExtendedCiphertext::dot(&[(&copy, &a), (&copy, &b)]), Err(EvalError::ScaleMismatch { .. })));
    assert!(matches!(ExtendedCiphertext::dot(&[]), Err(EvalError::NoTerms { .. })));
    assert!(matches!(
        ExtendedCiphertext::zero(params, Level(5), Scale::power_of_two(31)),
        Err(EvalError::LevelTooHigh { found: Level(5), top: Level(4), .. })
    ));
    let bottom = ExtendedCiphertext::zero(params, Level(0), Scale::power_of_two(30)).unwrap();
    assert!(matches!(evaluator.divide_rescale(&bottom), Err(EvalError::LevelTooLow { .. })));
    assert!(matches!(evaluator.switch_rotate(copy, 3, &keys), Err(EvalError::MissingKey { .. })));
    assert!(matches!(
        party.encoder.extended_plaintext(&party.encoder.encode(&[1.0], &Scale::power_of_two(60)).unwrap(), Level(0)),
        Err(EvalError::TooLarge { .. })
    ));
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let params = &toy_insecure(Ring::ConjugateInvariant, 2)[0];
    let mut party = Party::new(params);
    let generator = KeyGenerator::new(params);
    let slots = params.slots();
    for found in [0, slots, usize::MAX] {
        let wanted = BTreeMap::from([(found, Level(0))]);
        let error = generator.rotation_keys(&party.secret, &wanted, &mut party.rng).unwrap_err();
        assert_eq!(error, EvalError::NoSuchRotation { op: "make a rotation key", found, slots });
    }
    let wanted = BTreeMap::from([(1, Level(5))]);
    let error = generator.rotation_keys(&party.secret, &wanted, &mut party.rng).unwrap_err();
    assert!(matches!(error, EvalError::LevelTooHigh { found: Level(5), top: Level(4), .. }), "{error}");
    let error = generator.relinearization_key_at(&party.secret, Level(9), &mut party.rng).unwrap_err();
    assert!(matches!(error, EvalError::LevelTooHigh { found: Level(9), .. }), "{error}");
    let mut keys = RotationKeys::empty(params);
    let error = generator.add_conjugation_key(&mut keys, &party.secret, Level(0), &mut party.rng).unwrap_err();
    assert!(matches!(error, EvalError::NoConjugation { .. }), "{error}");
    assert!(keys.is_empty());

    // Keys, ciphertexts and generators of other parameters.
    let other = &toy_insecure(Ring::ConjugateInvariant, 1)[0];
    let foreign = Party::new(other).rotation_keys(&[(1, 2)]);
    let x = party.encrypt(&[1.0], &Scale::power_of_two(30), Level(2));
    assert!(matches!(party.evaluator.rotate(&x, 1, &foreign), Err(EvalError::ParamsMismatch { .. })));
    assert!(matches!(party.evaluator.rotate(&x, 0, &foreign), Err(EvalError::ParamsMismatch { .. })));
    assert!(matches!(party.evaluator.rotate_extended(&x, &[], &foreign), Err(EvalError::ParamsMismatch { .. })));
    let error = KeyGenerator::new(other).rotation_keys(&party.secret, &BTreeMap::new(), &mut party.rng).unwrap_err();
    assert!(matches!(error, EvalError::ParamsMismatch { .. }), "{error}");

    // Without special primes there is no key, and nothing to decompose into.
    let spec = CkksSpec { ring: Ring::Standard, log_degree: 10, prime_bits: vec![40, 40], special_bits: vec![] };
    let mut party = Party::new(&spec.validate_insecure().unwrap());
    let generator = KeyGenerator::new(&party.params);
    let wanted = BTreeMap::from([(1, Level(0))]);
    let error = generator.rotation_keys(&party.secret, &wanted, &mut party.rng).unwrap_err();
    assert!(matches!(error, EvalError::NoSpecialPrimes { .. }), "{error}");
    let x = party.encrypt(&[1.0], &Scale::power_of_two(20), Level(1));
    assert!(matches!(party.evaluator.decompose(&x), Err(EvalError::NoSpecialPrimes { .. })));
    let zero = ExtendedCiphertext::zero(&party.params, Level(1), Scale::power_of_two(20));
    assert!(matches!(zero, Err(EvalError::NoSpecialPrimes { .. })));
    // An empty list of keys can always be made.
    let keys = generator.evaluation_keys(&party.secret, &EvaluationKeySpec::default(), &mut party.rng).unwrap();
    assert!(keys.rotations().is_empty() && keys.relinearization().is_none());
    let extended = party.evaluator.rotate_extended(&x, &[0], keys.rotations());
    assert!(matches!(extended, Err(EvalError::NoSpecialPrimes { .. })));
}

#[test]
fn a_list_of_keys_is_what_is_made() {
    let params = &toy_insecure(Ring::Standard, 2)[0];
    let mut party = Party::new(params);
    let wanted = EvaluationKeySpec {
        relinearization: Some(Level(3)),
        rotations: BTreeMap::from([(1, Level(2)), (9, Level(0))]),
        conjugation: Some(Level(1)),
    };
    let keys = KeyGenerator::new(params).evaluation_keys(&party.secret, &wanted, &mut party.rng).unwrap();
    assert_eq!((keys.spec(), keys.params()), (wanted.clone(), params));
    let listed: Vec<_> = wanted.keys().collect();
    let expected = [
        (KeyPurpose::Relinearization, Level(3)),
        (KeyPurpose::Rotation(1), Level(2)),
        (KeyPurpose::Rotation(9), Level(0)),
        (KeyPurpose::Conjugation, Level(1)),
    ];
    assert_eq!(listed, expected);
}

/// One step is the sum of the rotations in the extended basis, bit for bit; several are sums of sums, with the noise that
/// every rotation and every rounding between the steps adds.
#[test]
fn folds_sum_neighbours_within_the_stated_noise() {
    for_each_party(|mut party| {
        let params = party.params.clone();
        let keys = party.rotation_keys(&[(1, 4), (2, 4), (3, 4), (4, 3), (8, 2), (12, 2)]);
        let values = party.values(6);
        for level in [Level(2), Level(0), Level(1)] {
            let x = party.encrypt(&values, &Scale::power_of_two(30), level);
            let mut rotations = party.evaluator.rotate_extended(&x, &[0, 1, 2, 3], &keys).unwrap().into_iter();
            let mut sum_of_rotations = rotations.next().unwrap();
            rotations.for_each(|rotated| sum_of_rotations.add_assign(&rotated).unwrap());
            let fold = |steps: &[&[usize]]| party.evaluator.fold(&x, steps, &keys).unwrap();
            assert!(fold(&[&[1, 2, 3]]) == party.evaluator.divide(&sum_of_rotations).unwrap(), "at {level}");
            assert!(fold(&[]) == x && fold(&[&[]]) == x && fold(&[&[], &[1]]) == fold(&[&[1]]));

            let found = fold(&[&[1, 2, 3], &[4, 8, 12]]);
            assert_eq!((found.level(), found.scale()), (level, x.scale()));
            let sums =
                |x: &[f64], step: [usize; 3]| step.iter().fold(x.to_vec(), |all, by| sum(&all, &rotated(x, *by)));
            let expected = sums(&sums(&values, [1, 2, 3]), [4, 8, 12]);
            let switches = noise::key_switch(&params, level) * (3.0f64 * 4.0 + 3.0).sqrt();
            let roundings = (noise::second_rounding(&params) * 3f64.sqrt()).hypot(noise::rounding(&params, 2));
            let stated = (4.0 * noise::fresh_symmetric(&params)).hypot(switches).hypot(roundings);
            let relative = party.relative(&found, &expected, stated);
            assert!((0.6..1.5).contains(&relative), "at {level}: {relative}");
        }
        let x = party.encrypt(&values, &Scale::power_of_two(30), Level(3));
        let refused = |steps: &[&[usize]]| party.evaluator.fold(&x, steps, &keys).unwrap_err();
        assert!(matches!(refused(&[&[1, 0]]), EvalError::NoSuchRotation { found: 0, .. }));
        assert!(matches!(refused(&[&[5]]), EvalError::MissingKey { purpose: KeyPurpose::Rotation(5), .. }));
        assert!(matches!(refused(&[&[1], &[8]]), EvalError::KeyLevelTooLow { purpose: KeyPurpose::Rotation(8), .. }));
    });
}

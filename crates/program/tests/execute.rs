//! The executor against the cleartext interpreter, within the bound that the noise analysis states.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, EvalError, EvaluationKeySpec, EvaluationKeys,
    KeyGenerator, KeyPurpose, Level, Ring, Scale, SecretKey,
};
use nightloom_program::{
    DEFAULT_WEIGHT_BYTES, Diagonal, ExecuteError, Executor, Giants, ModelWeights, Op, Program, ProgramId, Shape,
    SlotMatrix, Source, ValueId, VerifyError, WeightArray, thread_pool,
};
use nightloom_ring::{IntegerMatrix, kernels};

/// Below 128 bits: for speed only, and only tests may build it.
fn toy_insecure() -> Vec<CkksParams> {
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 10,
        prime_bits: vec![50, 50, 50],
        special_bits: vec![50],
    };
    kernels::available().into_iter().map(|kernel| spec.validate_insecure_with(kernel).unwrap()).collect()
}

fn pseudo_random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn matrix(rows: usize, columns: usize, scale: f64, seed: u64) -> IntegerMatrix {
    let mut random = pseudo_random(seed);
    let row = |row: usize| -> Vec<(u32, i32)> {
        // A window and a few strays, so that tiles of all heights occur.
        (0..columns as u32)
            .filter(|c| (*c as usize + row / 3) % 4 < 2)
            .map(|c| (c, (random() * scale) as i32))
            .collect()
    };
    let rows: Vec<Vec<(u32, i32)>> = (0..rows).map(row).collect();
    IntegerMatrix::new(columns, &rows).unwrap()
}

fn linear(sources: &[(usize, i32)], matrix: IntegerMatrix, seed: u64) -> Op {
    let bias = (0..matrix.rows())
        .map({
            let mut random = pseudo_random(seed);
            move |_| random()
        })
        .collect();
    let source = |(value, exponent): &(usize, i32)| Source {
        value: ValueId(*value),
        weight_scale: Scale::power_of_two(*exponent),
    };
    Op::Linear { sources: sources.iter().map(source).collect(), matrix, bias }
}

struct Owner {
    secret: SecretKey,
    keys: EvaluationKeys,
    encoder: Encoder,
    rng: ChaCha20Rng,
}

impl Owner {
    fn new(program: &Program) -> Self {
        let params = program.params();
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let generator = KeyGenerator::new(params);
        let secret = generator.secret_key(&mut rng);
        let keys = generator.evaluation_keys(&secret, &program.evaluation_keys(), &mut rng).unwrap();
        Self { secret, keys, encoder: Encoder::new(params), rng }
    }

    fn encrypt(&mut self, program: &Program, samples: &[Vec<f64>]) -> Vec<Ciphertext> {
        let input = program.input_type();
        (0..input.features)
            .map(|feature| {
                let column: Vec<f64> = samples.iter().map(|sample| sample[feature]).collect();
                let message = self.encoder.encode(&column, &input.scale).unwrap();
                Encryptor::symmetric(&self.secret).encrypt(&message, input.level, &mut self.rng).unwrap()
            })
            .collect()
    }

    fn decrypt(&self, ciphertexts: &[Ciphertext]) -> Vec<Vec<f64>> {
        let decode = |c| self.encoder.decode(&Decryptor::new(&self.secret).decrypt(c).unwrap()).unwrap();
        ciphertexts.iter().map(decode).collect()
    }
}

/// Three layers with every placement of relinearisation and rescaling, a skip connection and a product of two branches.
fn programs(params: &CkksParams) -> Vec<Program> {
    let input = Op::Input { features: 20, level: Level(2), scale: Scale::power_of_two(28) };
    let first = linear(&[(0, 10)], matrix(30, 20, 300.0, 1), 2);
    let square = |source| Op::Square { source: ValueId(source) };
    let fused = |source| Op::RelinearizeRescale { source: ValueId(source) };
    let relinearize = |source| Op::Relinearize { source: ValueId(source) };
    let rescale = |source| Op::Rescale { source: ValueId(source) };
    let second = |source| linear(&[(source, 10)], matrix(8, 30, 200.0, 3), 4);
    let last = |source| linear(&[(source, 8)], matrix(3, 8, 100.0, 5), 6);
    let q = params.primes()[2];
    // The first layer brought to the level and the scale of the second one's result.
    let skip_scale = Scale::power_of_two(76 + 10).divide_by(q).ratio(&Scale::power_of_two(38));
    let skip = Op::Linear {
        sources: vec![
            Source { value: ValueId(3), weight_scale: Scale::power_of_two(10) },
            Source { value: ValueId(4), weight_scale: skip_scale },
        ],
        matrix: matrix(8, 60, 200.0, 7),
        bias: vec![0.5; 8],
    };
    let lists = vec![
        vec![input.clone(), first.clone(), square(1), second(2), fused(3), square(4), last(5), fused(6)],
        vec![input.clone(), first.clone(), square(1), fused(2), second(3), square(4), fused(5), last(6)],
        vec![
            input.clone(),
            first.clone(),
            square(1),
            rescale(2),
            second(3),
            relinearize(4),
            square(5),
            last(6),
            fused(7),
        ],
        vec![
            input.clone(),
            first.clone(),
            square(1),
            fused(2),
            Op::DropTo { source: ValueId(1), level: Level(1) },
            skip,
            Op::Multiply { left: ValueId(5), right: ValueId(5) },
            relinearize(6),
        ],
        vec![input.clone(), first.clone()],
        vec![input],
    ];
    let program = |ops: Vec<Op>| {
        let names = ops.iter().map(|op| op.name().to_owned()).collect();
        let output = ValueId(ops.len() - 1);
        Program::new(params, ops, names, output).unwrap()
    };
    lists.into_iter().map(program).collect()
}

#[test]
fn encrypted_runs_agree_with_the_interpreter_and_between_kernels() {
    let all_params = toy_insecure();
    for which in 0..programs(&all_params[0]).len() {
        let results: Vec<Vec<Ciphertext>> = all_params
            .iter()
            .map(|params| {
                let program = &programs(params)[which];
                let mut owner = Owner::new(program);
                let mut random = pseudo_random(9);
                let samples: Vec<Vec<f64>> = (0..params.slots()).map(|_| (0..20).map(|_| random()).collect()).collect();
                let batch = owner.encrypt(program, &samples);
                let executor = Executor::new(program.clone(), 2, DEFAULT_WEIGHT_BYTES).unwrap();
                let reports = std::sync::Mutex::new(Vec::new());
                let result = executor.run(batch, &owner.keys, &|part| reports.lock().unwrap().push(part)).unwrap();
                let reports = reports.into_inner().unwrap();
                assert!(reports.iter().all(|part| (0.0..=1.0).contains(part)));

                let expected: Vec<Vec<f64>> = samples.iter().map(|sample| program.evaluate(sample)).collect();
                // Sixteen samples stand for all.
                let bounds = samples
                    .iter()
                    .take(16)
                    .flat_map(|sample| program.output_bounds(sample, &[], 0..program.output_type().features));
                let bound = bounds.map(|bound| bound.secret_key).fold(0.0, f64::max);
                let found = owner.decrypt(&result);
                let mut largest = 0.0f64;
                for (feature, slots) in found.iter().enumerate() {
                    for (slot, value) in slots.iter().enumerate() {
                        largest = largest.max((value - expected[slot][feature]).abs());
                    }
                }
                assert!(largest <= bound, "program {which}: error {largest}, bound {bound}");
                // A bound much too wide would state nothing.
                assert!(largest > bound / 60.0, "program {which}: error {largest}, bound {bound}");
                result
            })
            .collect();
        for pair in results.windows(2) {
            assert!(pair[0] == pair[1], "kernels differ on program {which}");
        }
    }
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let params = &toy_insecure()[0];
    let program = &programs(params)[0];
    let mut owner = Owner::new(program);
    let executor = Executor::new(program.clone(), 1, DEFAULT_WEIGHT_BYTES).unwrap();
    let batch = owner.encrypt(program, &[vec![0.5; 20]]);
    let (keys, nothing) = (owner.keys.clone(), EvaluationKeySpec::default());
    let none = KeyGenerator::new(params).evaluation_keys(&owner.secret, &nothing, &mut owner.rng).unwrap();
    let missing = executor.run(batch.clone(), &none, &|_| {}).unwrap_err();
    let purpose = KeyPurpose::Relinearization;
    assert_eq!(missing, ExecuteError::Eval(EvalError::MissingKey { op: "run the program", purpose }));
    let run = |batch: Vec<Ciphertext>| executor.run(batch, &keys, &|_| {}).unwrap_err();
    assert_eq!(run(batch[..19].to_vec()), ExecuteError::Inputs { found: 19, wanted: 20 });
    let mut other_scale = batch.clone();
    let message = owner.encoder.encode(&[0.5], &Scale::power_of_two(29)).unwrap();
    other_scale[7] = Encryptor::symmetric(&owner.secret).encrypt(&message, Level(2), &mut owner.rng).unwrap();
    assert!(matches!(run(other_scale), ExecuteError::Input { index: 7, .. }));
    let mut other_level = batch;
    let message = owner.encoder.encode(&[0.5], &Scale::power_of_two(28)).unwrap();
    other_level[3] = Encryptor::symmetric(&owner.secret).encrypt(&message, Level(1), &mut owner.rng).unwrap();
    assert!(matches!(run(other_level), ExecuteError::Input { index: 3, found_level: Level(1), .. }));
}

#[test]
fn ill_typed_programs_are_refused() {
    let params = &toy_insecure()[0];
    let input = || Op::Input { features: 4, level: Level(1), scale: Scale::power_of_two(30) };
    let square = |source| Op::Square { source: ValueId(source) };
    let check = |ops: Vec<Op>, expected: fn(&VerifyError) -> bool| {
        let names = vec![String::new(); ops.len()];
        let output = ValueId(ops.len().saturating_sub(1));
        let error = Program::new(params, ops, names, output).unwrap_err();
        assert!(expected(&error), "{error}");
    };
    check(vec![], |e| matches!(e, VerifyError::Input { op: 0 }));
    check(vec![square(0)], |e| matches!(e, VerifyError::Input { op: 0 }));
    check(vec![input(), input()], |e| matches!(e, VerifyError::Input { op: 1 }));
    check(vec![input(), square(1)], |e| matches!(e, VerifyError::LaterValue { op: 1, value: 1 }));
    check(vec![input(), square(0), square(1)], |e| matches!(e, VerifyError::Components { found: 3, wanted: 2, .. }));
    let relinearize = Op::Relinearize { source: ValueId(0) };
    check(vec![input(), relinearize], |e| matches!(e, VerifyError::Components { found: 2, wanted: 3, .. }));
    let rescale = |source| Op::Rescale { source: ValueId(source) };
    check(vec![input(), rescale(0), rescale(1)], |e| matches!(e, VerifyError::Bottom { op: 2 }));
    let drop = Op::DropTo { source: ValueId(0), level: Level(2) };
    check(vec![input(), drop], |e| matches!(e, VerifyError::Level { found: Level(1), wanted: Level(2), .. }));
    let high = Op::Input { features: 4, level: Level(3), scale: Scale::power_of_two(30) };
    check(vec![high], |e| matches!(e, VerifyError::Level { found: Level(3), wanted: Level(2), .. }));
    check(vec![input(), linear(&[(0, 5)], matrix(2, 5, 9.0, 1), 1)], |e| {
        matches!(e, VerifyError::Features { found: 4, wanted: 5, .. })
    });
    check(vec![input(), linear(&[(0, 5), (0, 6)], matrix(2, 8, 9.0, 1), 1)], |e| {
        matches!(e, VerifyError::Scale { .. })
    });
    let huge = Op::Linear {
        sources: vec![Source { value: ValueId(0), weight_scale: Scale::power_of_two(5) }],
        matrix: matrix(1, 4, 9.0, 1),
        bias: vec![1e25],
    };
    check(vec![input(), huge], |e| matches!(e, VerifyError::Bias { index: 0, .. }));
}

/// A matrix over slots of period 64 with diagonals of random weights, some of them zero.
fn slot_matrix(
    [rows, columns]: [usize; 2],
    base: usize,
    giants: Giants,
    places: &[(usize, usize, usize)],
    seed: u64,
) -> SlotMatrix {
    let mut random = pseudo_random(seed);
    let diagonal = |&(row, column, rotation): &(usize, usize, usize)| {
        let weights = (0..64).map(|slot| if slot % 5 == 4 { 0.0 } else { random() as f32 }).collect();
        Diagonal { row, column, rotation, weights }
    };
    let shape = Shape { rows, columns, period: 64, base, giants };
    SlotMatrix::new(shape, places.iter().map(diagonal).collect()).unwrap()
}

fn slot_program(params: &CkksParams, ops: Vec<Op>) -> Program {
    let names = ops.iter().map(|op| op.name().to_owned()).collect();
    let output = ValueId(ops.len() - 1);
    Program::new(params, ops, names, output).unwrap()
}

/// Two matrices over slots with all kinds of steps, folds and additions, and a square in between.
fn slot_programs(params: &CkksParams) -> Vec<Program> {
    let matrix = |base, rotations: &[usize], seed| {
        let places: Vec<(usize, usize, usize)> = rotations.iter().map(|rotation| (0, 0, *rotation)).collect();
        slot_matrix([1, 1], base, Giants::Separate, &places, seed)
    };
    let multiply = |source, matrix, rescale| Op::SlotMatrix {
        source: ValueId(source),
        matrix,
        weight_scale: Scale::power_of_two(20),
        rescale,
    };
    let fold = |source, steps: &[&[usize]]| Op::Fold {
        source: ValueId(source),
        steps: steps.iter().map(|step| step.to_vec()).collect(),
    };
    let add = |source, slots: usize| Op::AddSlots {
        source: ValueId(source),
        values: (0..slots).map(|slot| slot as f64 / 7.0 - 1.0).collect(),
    };
    let input = |features| Op::Input { features, level: Level(2), scale: Scale::power_of_two(30) };
    let square = |source| Op::Square { source: ValueId(source) };
    let fused = |source| Op::RelinearizeRescale { source: ValueId(source) };
    let chained = [(0, 0, 1), (0, 0, 9), (0, 0, 33), (0, 1, 2), (0, 1, 40), (1, 1, 0), (1, 2, 12)];
    let narrow = [(0, 0, 0), (0, 1, 5), (0, 1, 6)];
    let lists = vec![
        vec![
            input(1),
            multiply(0, matrix(4, &[0, 1, 3, 4, 9, 33, 63], 1), false),
            fold(1, &[&[8, 16, 24], &[32]]),
            add(2, 8),
            square(3),
            fused(4),
            multiply(5, matrix(64, &[2, 5], 2), true),
            fold(6, &[&[1]]),
        ],
        // Only baby steps, only giant steps, no rotation at all.
        vec![input(1), multiply(0, matrix(64, &[0, 7, 8], 3), true)],
        vec![input(1), multiply(0, matrix(1, &[1, 32], 4), true), add(1, 64)],
        vec![input(1), multiply(0, matrix(1, &[0], 5), true)],
        // Several ciphertexts, with giant steps in a chain.
        vec![
            input(3),
            multiply(0, slot_matrix([2, 3], 8, Giants::Chained, &chained, 6), true),
            add(1, 2 * 16),
            fold(2, &[&[1], &[2, 9], &[32]]),
            square(3),
            fused(4),
            multiply(5, slot_matrix([1, 2], 4, Giants::Separate, &narrow, 7), false),
        ],
        // Several ciphertexts without a rotation.
        vec![
            input(3),
            multiply(0, slot_matrix([2, 3], 1, Giants::Chained, &[(0, 1, 0), (1, 0, 0), (1, 2, 0)], 8), true),
        ],
        // Rotations by giant and baby steps, by one of them, and by none.
        vec![input(2), Op::Rotate { source: ValueId(0), rotations: vec![0, 1, 6, 8, 16, 17, 63], base: 8 }],
    ];
    lists.into_iter().map(|ops| slot_program(params, ops)).collect()
}

#[test]
fn encrypted_slots_agree_with_the_interpreter_and_between_kernels() {
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 10,
        prime_bits: vec![50, 45, 45],
        special_bits: vec![50, 50],
    };
    for ring in [Ring::ConjugateInvariant, Ring::Standard] {
        let spec = CkksSpec { ring, ..spec.clone() };
        let all_params: Vec<CkksParams> =
            kernels::available().into_iter().map(|kernel| spec.validate_insecure_with(kernel).unwrap()).collect();
        for which in 0..slot_programs(&all_params[0]).len() {
            let mut results: Vec<Vec<Ciphertext>> = Vec::new();
            for params in &all_params {
                let program = &slot_programs(params)[which];
                let mut random = pseudo_random(11);
                let length = program.period();
                let periods: Vec<f64> = (0..program.input_type().features * length).map(|_| random()).collect();
                let slot = |slot: usize| periods[slot % length..].iter().step_by(length).copied().collect();
                let slots: Vec<Vec<f64>> = (0..params.slots()).map(slot).collect();
                let mut owner = Owner::new(program);
                let batch = owner.encrypt(program, &slots);
                // Weights that are kept and weights that are encoded when used, one thread and two.
                for (threads, budget) in [(1, DEFAULT_WEIGHT_BYTES), (2, 1 << 18), (2, 0)] {
                    let executor = Executor::new(program.clone(), threads, budget).unwrap();
                    results.push(executor.run(batch.clone(), &owner.keys, &|_| {}).unwrap());
                }
                let expected = program.evaluate(&periods);
                let bounds = program.output_bounds(&periods, &[], 0..expected.len());
                let mut largest = 0.0f64;
                for (result, found) in owner.decrypt(&results[0]).iter().enumerate() {
                    for (slot, found) in found.iter().enumerate() {
                        let at = result * length + slot % length;
                        let (error, bound) = ((found - expected[at]).abs(), bounds[at].secret_key);
                        assert!(error <= bound, "{ring}, program {which}, slot {slot}: error {error}, bound {bound}");
                        largest = largest.max(error / bound);
                    }
                }
                // A bound much too wide would state nothing.
                assert!(largest > 1.0 / 60.0, "{ring}, program {which}: error {largest} of the bound");
            }
            for pair in results.windows(2) {
                assert!(pair[0] == pair[1], "{ring}: runs differ on program {which}");
            }
        }
    }
}

/// Two encrypted matrices with a square in between; the second one is added to, and takes part of its weights from a
/// period of its own.
fn encrypted_model_program(params: &CkksParams) -> Program {
    let two_to = Scale::power_of_two;
    let ones = |columns, rows: &[&[u32]]| {
        let rows: Vec<Vec<(u32, i32)>> = rows.iter().map(|row| row.iter().map(|c| (*c, 1)).collect()).collect();
        IntegerMatrix::new(columns, &rows).unwrap()
    };
    let sum = |sources: &[usize], matrix: IntegerMatrix| Op::Linear {
        sources: sources.iter().map(|value| Source { value: ValueId(*value), weight_scale: two_to(0) }).collect(),
        bias: vec![0.0; matrix.rows()],
        matrix,
    };
    let q = params.primes();
    let after = two_to(70).divide_by(q[2]);
    slot_program(
        params,
        vec![
            Op::Input { features: 1, level: Level(2), scale: two_to(35) },
            Op::Rotate { source: ValueId(0), rotations: vec![0, 3, 4], base: 4 },
            Op::Model { features: 3, level: Level(2), scale: two_to(35), period: 16 },
            Op::Multiply { left: ValueId(1), right: ValueId(2) },
            sum(&[3], ones(3, &[&[0, 1, 2]])),
            Op::RelinearizeRescale { source: ValueId(4) },
            Op::Model { features: 1, level: Level(1), scale: after.clone(), period: 2 },
            sum(&[5, 6], ones(2, &[&[0, 1]])),
            Op::Square { source: ValueId(7) },
            Op::RelinearizeRescale { source: ValueId(8) },
        ],
    )
}

#[test]
fn encrypted_weights_agree_with_the_interpreter() {
    let spec = CkksSpec {
        ring: Ring::ConjugateInvariant,
        log_degree: 10,
        prime_bits: vec![45, 30, 35],
        special_bits: vec![45, 45],
    };
    let threads = thread_pool(2).unwrap();
    let mut results: Vec<Vec<Ciphertext>> = Vec::new();
    for kernel in kernels::available() {
        let params = spec.validate_insecure_with(kernel).unwrap();
        let program = encrypted_model_program(&params);
        let mut random = pseudo_random(4);
        let mut vector = |length: usize| -> Vec<f64> { (0..length).map(|_| random()).collect() };
        let x = vector(16);
        let arrays = program.model().map(|(array, period)| WeightArray {
            level: array.level,
            scale: array.scale.clone(),
            period,
            vectors: vector(array.features * period),
        });
        let (program_id, arrays) = (ProgramId([7; 32]), arrays.collect());
        let weights = ModelWeights { program: program_id, params: params.clone(), insecure: true, arrays };
        assert!(!format!("{weights:?}").contains("0."));
        let mut owner = Owner::new(&program);
        let public = KeyGenerator::new(&params).public_key(&owner.secret, &mut owner.rng).unwrap();
        let model = weights.encrypt(&public, &mut owner.rng, &threads, &|| {}).unwrap();
        assert_eq!((model.program, weights.ciphertexts()), (program_id, 4));
        let slots: Vec<Vec<f64>> = x.iter().cycle().take(params.slots()).map(|x| vec![*x]).collect();
        let batch = owner.encrypt(&program, &slots);
        let executor = Executor::new(program.clone(), 2, 0).unwrap();
        let result = executor.run_with_model(batch.clone(), &model.arrays, &owner.keys, &|_| {}).unwrap();

        let clear: Vec<Vec<f64>> = weights.arrays.iter().map(|array| array.vectors.clone()).collect();
        let expected = program.evaluate_all(&x, &clear).pop().unwrap();
        let by_hand = |s: usize| {
            let product = |(i, rotation): (usize, &usize)| clear[0][16 * i + s] * x[(s + rotation) % 16];
            ([0, 3, 4].iter().enumerate().map(product).sum::<f64>() + clear[1][s % 2]).powi(2)
        };
        let bounds = program.output_bounds(&x, &clear, 0..16);
        let mut largest = 0.0f64;
        for (slot, found) in owner.decrypt(&result)[0].iter().enumerate() {
            let (expected, bound) = (expected[slot % 16], bounds[slot % 16].secret_key);
            assert!((expected - by_hand(slot % 16)).abs() < 1e-12);
            assert!((found - expected).abs() <= bound, "slot {slot}: {found} for {expected}, bound {bound}");
            largest = largest.max((found - expected).abs() / bound);
        }
        assert!(largest > 1.0 / 60.0, "error {largest} of the bound");
        results.push(result);

        // Arrays that are not the program's.
        let refused = |model: &[Vec<Ciphertext>]| {
            executor.run_with_model(batch.clone(), model, &owner.keys, &|_| {}).unwrap_err()
        };
        assert_eq!(refused(&[]), ExecuteError::ModelArrays { found: 0, wanted: 2 });
        let [first, second] = [0, 1].map(|array| model.arrays[array].clone());
        assert!(matches!(refused(&[second.clone(), first.clone()]), ExecuteError::Inputs { found: 1, wanted: 3 }));
        assert!(matches!(refused(&[first.clone(), first[..1].to_vec()]), ExecuteError::Input { index: 0, .. }));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "kernels differ");
}

#[test]
fn keys_for_exactly_the_rotations_of_a_program_are_asked_for() {
    let params = &toy_insecure()[0];
    let program = &slot_programs(params)[0];
    let rotations: Vec<(usize, Level)> = program.rotations().into_iter().collect();
    let at = |rotations: &[usize], level| rotations.iter().map(|r| (*r, Level(level))).collect::<Vec<_>>();
    // Baby steps 1 and 3, giant steps 4, 8, 32 and 60, folds 8, 16, 24 and 32; 2 and 5 below the square, 1 is already there.
    let mut expected = at(&[1, 3, 4, 8, 16, 24, 32, 60], 2);
    expected.extend(at(&[2, 5], 1));
    expected.sort();
    assert_eq!(rotations, expected);

    let mut owner = Owner::new(program);
    let batch = owner.encrypt(program, &[vec![0.5]]);
    let executor = Executor::new(program.clone(), 1, 0).unwrap();
    let generator = KeyGenerator::new(params);
    let mut refused = |change: &dyn Fn(&mut EvaluationKeySpec)| {
        let mut wanted = program.evaluation_keys();
        change(&mut wanted);
        let keys = generator.evaluation_keys(&owner.secret, &wanted, &mut owner.rng).unwrap();
        executor.run(batch.clone(), &keys, &|_| {}).unwrap_err()
    };
    let (op, purpose) = ("run the program", KeyPurpose::Rotation(32));
    let missing = refused(&|keys| {
        keys.rotations.remove(&32);
    });
    assert_eq!(missing, ExecuteError::Eval(EvalError::MissingKey { op, purpose }));
    let low = refused(&|keys| {
        keys.rotations.insert(32, Level(1));
    });
    let expected = EvalError::KeyLevelTooLow { op, purpose, found: Level(1), wanted: Level(2) };
    assert_eq!(low, ExecuteError::Eval(expected));
}

#[test]
fn ill_typed_slot_operations_are_refused() {
    let params = &toy_insecure()[0];
    let check = |features, op: Op, expected: fn(&VerifyError) -> bool| {
        let input = Op::Input { features, level: Level(0), scale: Scale::power_of_two(30) };
        let error = Program::new(params, vec![input, op], vec![String::new(); 2], ValueId(1)).unwrap_err();
        assert!(expected(&error), "{error}");
    };
    let matrix = |period, weight, rescale| {
        let diagonal = Diagonal { row: 0, column: 0, rotation: 1, weights: vec![weight; period] };
        let shape = Shape { rows: 1, columns: 1, period, base: 1, giants: Giants::Separate };
        let matrix = SlotMatrix::new(shape, vec![diagonal]).unwrap();
        Op::SlotMatrix { source: ValueId(0), matrix, weight_scale: Scale::power_of_two(20), rescale }
    };
    let add = |values| Op::AddSlots { source: ValueId(0), values };
    let rotate = |rotations: &[usize], base| Op::Rotate { source: ValueId(0), rotations: rotations.to_vec(), base };
    check(2, matrix(4, 1.0, false), |e| matches!(e, VerifyError::Features { found: 2, wanted: 1, .. }));
    check(1, matrix(2048, 1.0, false), |e| matches!(e, VerifyError::Period { found: 2048, slots: 1024, .. }));
    check(1, matrix(4, 1e9, false), |e| matches!(e, VerifyError::Weight { .. }));
    check(1, matrix(4, 1.0, true), |e| matches!(e, VerifyError::Bottom { .. }));
    let fold = |steps: &[&[usize]]| Op::Fold { source: ValueId(0), steps: steps.iter().map(|s| s.to_vec()).collect() };
    check(1, fold(&[&[1], &[2, 1024]]), |e| matches!(e, VerifyError::Period { .. }));
    check(1, fold(&[&[1], &[]]), |e| matches!(e, VerifyError::FoldStep { .. }));
    for step in [&[0, 1][..], &[1, 0], &[1, 1], &[3, 2]] {
        check(1, fold(&[step]), |e| matches!(e, VerifyError::FoldStep { .. }));
    }
    check(1, add(vec![1.0; 3]), |e| matches!(e, VerifyError::Period { found: 3, .. }));
    check(2, add(vec![1.0; 3]), |e| matches!(e, VerifyError::Features { found: 3, wanted: 2, .. }));
    check(0, add(vec![1.0; 2]), |e| matches!(e, VerifyError::Features { found: 2, wanted: 0, .. }));
    check(1, add(vec![f64::NAN; 2]), |e| matches!(e, VerifyError::Bias { .. }));
    check(1, rotate(&[1024], 1), |e| matches!(e, VerifyError::Period { found: 2048, .. }));
    check(1, rotate(&[1], 3), |e| matches!(e, VerifyError::Period { found: 3, .. }));
    check(1, rotate(&[], 1), |e| matches!(e, VerifyError::Rotations { .. }));
    check(1, rotate(&[2, 2], 1), |e| matches!(e, VerifyError::Rotations { .. }));
    let model = |level, period| Op::Model { features: 1, level: Level(level), scale: Scale::power_of_two(20), period };
    check(1, model(3, 1), |e| matches!(e, VerifyError::Level { .. }));
    check(1, model(0, 6), |e| matches!(e, VerifyError::Period { found: 6, .. }));
}

#[test]
fn runs_of_one_executor_do_not_wait_for_each_other() {
    let params = toy_insecure().pop().unwrap();
    let input = Op::Input { features: 1, level: Level(2), scale: Scale::power_of_two(30) };
    let rotate = |source| Op::Rotate { source: ValueId(source), rotations: vec![1], base: 64 };
    let program = slot_program(&params, [vec![input], (0..40).map(rotate).collect()].concat());
    let mut owner = Owner::new(&program);
    let slots = vec![vec![0.5]; params.slots()];
    let batch = owner.encrypt(&program, &slots);
    let executor = Executor::new(program, 2, DEFAULT_WEIGHT_BYTES).unwrap();
    let run = || executor.run(batch.clone(), &owner.keys, &|_| {}).unwrap();
    let expected = run();
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..5).map(|_| run()).all(|found| found == expected))).collect();
        assert!(runs.into_iter().all(|run| run.join().unwrap()));
    });
}

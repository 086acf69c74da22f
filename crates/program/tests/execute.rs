//! The executor against the cleartext interpreter, within the bound that the noise analysis states.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, KeyGenerator, Level, RelinearizationKey, Ring,
    Scale, SecretKey,
};
use nightloom_program::{ExecuteError, Executor, Op, Program, Source, ValueId, VerifyError};
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
    key: RelinearizationKey,
    encoder: Encoder,
    rng: ChaCha20Rng,
}

impl Owner {
    fn new(params: &CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let generator = KeyGenerator::new(params);
        let secret = generator.secret_key(&mut rng);
        let key = generator.relinearization_key(&secret, &mut rng).unwrap();
        Self { secret, key, encoder: Encoder::new(params), rng }
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
                let mut owner = Owner::new(params);
                let mut random = pseudo_random(9);
                let samples: Vec<Vec<f64>> = (0..params.slots()).map(|_| (0..20).map(|_| random()).collect()).collect();
                let batch = owner.encrypt(program, &samples);
                let executor = Executor::new(program, Some(&owner.key), 2).unwrap();
                let reports = std::sync::Mutex::new(Vec::new());
                let result = executor.run(batch, &|part| reports.lock().unwrap().push(part)).unwrap();
                let reports = reports.into_inner().unwrap();
                assert!(reports.iter().all(|part| (0.0..=1.0).contains(part)));

                let expected: Vec<Vec<f64>> = samples.iter().map(|sample| program.evaluate(sample)).collect();
                // Sixteen samples stand for all.
                let bounds = samples.iter().take(16).flat_map(|sample| program.output_bounds(sample));
                let bound = bounds.fold(0.0, f64::max);
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
    let mut owner = Owner::new(params);
    assert_eq!(Executor::new(program, None, 1).unwrap_err(), ExecuteError::MissingKey);
    let key = owner.key.clone();
    let executor = Executor::new(program, Some(&key), 1).unwrap();
    let batch = owner.encrypt(program, &[vec![0.5; 20]]);
    let run = |batch: Vec<Ciphertext>| executor.run(batch, &|_| {}).unwrap_err();
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

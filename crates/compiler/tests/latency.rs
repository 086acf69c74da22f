//! Latency plans: encrypted runs against the network, within the bound that the plan states.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_compiler::interval::Interval;
use nightloom_compiler::matrix::SparseMatrix;
use nightloom_compiler::network::{Network, Stage, ValueId};
use nightloom_compiler::pipeline;
use nightloom_compiler::plans::latency::packing::Requests;
use nightloom_compiler::plans::latency::{Options, PlanError, Weights, plan};
use nightloom_he::{Ciphertext, CompressedCiphertext, Decryptor, Encoder, Encryptor, KeyGenerator};
use nightloom_program::cost::REFERENCE;
use nightloom_program::{Compression, DEFAULT_WEIGHT_BYTES, Executor, ModelWeights, Op, ProgramId};

const E2DM: &[u8] = include_bytes!("../../nightloom/assets/e2dm.onnx");

/// Samples with a bright patch on a dark ground, as images have.
fn images(features: usize, count: usize) -> Vec<Vec<f64>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count)
        .map(|_| {
            let centre = random() * features as f64;
            (0..features)
                .map(|feature| {
                    let near = (feature as f64 - centre).abs() < features as f64 / 6.0;
                    if near { random() } else { 0.0 }
                })
                .collect()
        })
        .collect()
}

fn options(features: usize, batch: usize) -> Options {
    Options {
        input: Interval::new(0.0, 1.0).unwrap(),
        precision_bits: 7.0,
        batch,
        requests: Requests::Few,
        weights: Weights::Clear,
        log_degree: None,
        insecure: false,
        samples: images(features, 4),
        prices: REFERENCE,
    }
}

fn run_encrypted(onnx: &[u8], change: impl Fn(&mut Options)) {
    let network = pipeline::load(onnx).unwrap();
    let features: usize = network.input_shape().iter().product();
    let mut options = options(features, 1);
    change(&mut options);
    let batch = options.batch;
    let plan = plan(&network, &options).unwrap();
    assert!(plan.precision_bits() >= options.precision_bits && plan.program.params().is_secure());
    assert_eq!((plan.program.capacity(), plan.outputs.len()), (batch, 10 * batch));
    let (program, params) = (&plan.program, plan.program.params());
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let generator = KeyGenerator::new(params);
    let secret = generator.secret_key(&mut rng);
    let keys = generator.evaluation_keys(&secret, &program.evaluation_keys(), &mut rng).unwrap();
    let encoder = Encoder::new(params);
    let samples = images(features, batch + 3)[3..].to_vec();
    let packed = plan.input.tiled(params.slots()).pack(&samples.concat());
    let input = program.input_type();
    let encrypt = |slots: &[f64]| {
        let message = encoder.encode(slots, &input.scale).unwrap();
        Encryptor::symmetric(&secret).encrypt(&message, input.level, &mut rng).unwrap()
    };
    let request = packed.chunks(params.slots()).map(encrypt).collect();
    let executor = Executor::new(program.clone(), 2, DEFAULT_WEIGHT_BYTES).unwrap();
    let weights = ModelWeights {
        program: ProgramId([0; 32]),
        params: params.clone(),
        insecure: false,
        arrays: plan.model.clone(),
    };
    let public = generator.public_key(&secret, &mut rng).unwrap();
    let model = weights.encrypt(&public, &mut rng, executor.threads(), &|| {}).unwrap();
    assert_eq!(options.weights == Weights::Encrypted, weights.ciphertexts() > 0);
    let response = executor.run_with_model(request, &model.arrays, &keys, &|_| {}).unwrap();
    // Compressed as a service answers: the bound counts on slots that are averaged.
    let decryptor = Decryptor::new(&secret);
    let decrypt = |result: &Ciphertext| match program.compression() {
        Some(Compression { slots, bits }) => {
            let compressed = CompressedCiphertext::new(result, slots, bits).unwrap();
            encoder.decode_message(&decryptor.decrypt_compressed(&compressed).unwrap())
        }
        None => encoder.decode(&decryptor.decrypt(result).unwrap()),
    };
    let decrypt = |result| decrypt(result).unwrap();
    let decrypted: Vec<Vec<f64>> = response.iter().map(decrypt).collect();
    let expected: Vec<f64> = samples.iter().flat_map(|sample| network.evaluate(sample)).collect();
    let outputs = plan.outputs.iter().zip(&expected);
    let errors = outputs.map(|((result, slot), expected)| (decrypted[*result][*slot] - expected).abs());
    let (largest, bound) = (errors.fold(0.0, f64::max), plan.error_bound.secret_key);
    assert!(largest <= bound, "{largest} beyond {bound}");
    assert!(largest > bound / 2000.0, "a bound of {bound} states nothing");
}

#[test]
fn published_networks_run_on_one_image() {
    run_encrypted(include_bytes!("../../nightloom/assets/cryptonets.onnx"), |_| {});
    run_encrypted(E2DM, |_| {});
}

#[test]
fn folds_are_combined_where_that_is_cheaper() {
    let planned = plan(&pipeline::load(E2DM).unwrap(), &options(784, 1)).unwrap();
    let steps = planned.program.ops().iter().filter_map(|op| match op {
        Op::Fold { steps, .. } => Some(steps),
        _ => None,
    });
    assert!(steps.flatten().any(|step| step.len() > 1));
}

#[test]
fn a_batch_shares_a_ciphertext() {
    run_encrypted(E2DM, |options| options.batch = 4);
}

/// A ciphertext an offset, as in the Julia demonstration, whose 64 images have 4096 slots.
#[test]
fn a_batch_is_spread_over_a_ciphertext_for_each_offset_of_the_kernel() {
    run_encrypted(E2DM, |options| (options.batch, options.requests) = (64, Requests::ByOffset));
}

#[test]
fn weights_can_be_encrypted() {
    run_encrypted(E2DM, |options| options.weights = Weights::Encrypted);
    run_encrypted(E2DM, |options| (options.weights, options.batch) = (Weights::Encrypted, 64));
}

#[test]
fn what_cannot_be_planned_is_named() {
    let network = pipeline::load(E2DM).unwrap();
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = options(784, 1);
        change(&mut options);
        plan(&network, &options).unwrap_err()
    };
    assert_eq!(refused(&|options| options.batch = 3), PlanError::Batch { found: 3 });
    assert_eq!(refused(&|options| options.samples.clear()), PlanError::NoSamples);
    let narrow = refused(&|options| options.samples = vec![vec![0.5; 700]]);
    assert_eq!(narrow, PlanError::SampleWidth { index: 0, found: 700, wanted: 784 });
    assert_eq!(refused(&|options| options.insecure = true), PlanError::InsecureNeedsDegree);
    // 64 positions of 256 samples do not fit 8192 slots.
    let wide = refused(&|options| (options.batch, options.log_degree) = (256, Some(13)));
    assert!(matches!(wide, PlanError::TooWide { stage: 0, rows: 65536, .. }), "{wide}");
    let precise = refused(&|options| (options.precision_bits, options.log_degree) = (40.0, Some(13)));
    assert!(matches!(precise, PlanError::Precision { found: Some(_), .. }), "{precise}");
    let told = precise.to_string();
    for wanted in
        ["takes 5 levels, one for each of /convolution/Conv, /square1/Mul", "primes of 214 bits, 36 a level", "2 now"]
    {
        assert!(told.contains(wanted), "{told}");
    }
}

/// A dense layer, a square, and a dense layer with so many outputs.
fn dense(outputs: usize) -> Network {
    let affine = |source: usize, columns: usize, rows: usize| {
        let mut matrix = SparseMatrix::new(columns);
        for row in 0..rows {
            matrix
                .push_row((0..columns).map(|column| (column, ((3 * row + 5 * column) % 7) as f64 / 8.0 - 0.4)))
                .unwrap();
        }
        Stage::Affine { name: format!("dense {rows}"), sources: vec![ValueId(source)], matrix, bias: vec![0.1; rows] }
    };
    let square = Stage::Square { name: "square".into(), source: ValueId(1) };
    Network::new(vec![16], vec![outputs], vec![affine(0, 16, 8), square, affine(2, 8, outputs)], ValueId(3), vec![])
        .unwrap()
}

#[test]
fn a_compressed_response_has_a_slot_without_an_output() {
    for outputs in [1, 2, 16] {
        let plan = plan(&dense(outputs), &options(16, 1)).unwrap();
        let compression = plan.program.compression().expect("a small network's response is compressed");
        assert!(plan.outputs.iter().all(|(result, _)| *result == 0) && outputs < compression.slots, "{outputs}");
    }
}

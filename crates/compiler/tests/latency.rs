//! Latency plans: encrypted runs against the network, within the bound that the plan states.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_compiler::interval::Interval;
use nightloom_compiler::pipeline;
use nightloom_compiler::plans::latency::{Options, PlanError, plan};
use nightloom_he::{Decryptor, Encoder, Encryptor, KeyGenerator};
use nightloom_program::{DEFAULT_WEIGHT_BYTES, Executor};

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
        log_degree: None,
        insecure: false,
        samples: images(features, 4),
    }
}

fn run_encrypted(onnx: &[u8], batch: usize) {
    let network = pipeline::load(onnx).unwrap();
    let features: usize = network.input_shape().iter().product();
    let plan = plan(&network, &options(features, batch)).unwrap();
    assert!(plan.precision_bits() >= 7.0 && plan.program.params().is_secure());
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
    let message = encoder.encode(&packed, &input.scale).unwrap();
    let request = Encryptor::symmetric(&secret).encrypt(&message, input.level, &mut rng).unwrap();
    let executor = Executor::new(program.clone(), 2, DEFAULT_WEIGHT_BYTES).unwrap();
    let response = executor.run(vec![request], &keys, &|_| {}).unwrap();
    let decrypted = encoder.decode(&Decryptor::new(&secret).decrypt(&response[0]).unwrap()).unwrap();
    let expected: Vec<f64> = samples.iter().flat_map(|sample| network.evaluate(sample)).collect();
    let errors = plan.outputs.iter().zip(&expected).map(|(slot, expected)| (decrypted[*slot] - expected).abs());
    let largest = errors.fold(0.0, f64::max);
    assert!(largest <= plan.error_bound.secret_key, "{largest} beyond {}", plan.error_bound.secret_key);
    assert!(
        largest > plan.error_bound.secret_key / 1000.0,
        "a bound of {} states nothing",
        plan.error_bound.secret_key
    );
}

#[test]
fn published_networks_run_on_one_image() {
    run_encrypted(include_bytes!("../../nightloom/assets/cryptonets.onnx"), 1);
    run_encrypted(include_bytes!("../../nightloom/assets/e2dm.onnx"), 1);
}

#[test]
fn a_batch_shares_a_ciphertext() {
    run_encrypted(include_bytes!("../../nightloom/assets/e2dm.onnx"), 4);
}

#[test]
fn what_cannot_be_planned_is_named() {
    let network = pipeline::load(include_bytes!("../../nightloom/assets/e2dm.onnx")).unwrap();
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
    // 64 positions and 4 maps of 64 samples do not fit 8192 slots.
    let wide = refused(&|options| (options.batch, options.log_degree) = (64, Some(13)));
    assert!(matches!(wide, PlanError::TooWide { stage: 0, rows: 16384, .. }), "{wide}");
    let precise = refused(&|options| (options.precision_bits, options.log_degree) = (40.0, Some(13)));
    assert!(matches!(precise, PlanError::Precision { squares: 2, found: Some(_), .. }), "{precise}");
}

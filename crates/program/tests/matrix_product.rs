//! Products of encrypted matrices against products in the clear.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::{CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, KeyGenerator, Ring, Scale};
use nightloom_program::{
    DEFAULT_WEIGHT_BYTES, Executor, MatrixProduct, MatrixProductError, ModelWeights, ProgramId, RightFactor,
    WeightArray,
};
use proptest::prelude::*;

/// Below 128 bits: for speed only, and only tests may build it.
fn toy_insecure(log_degree: u32, limbs: usize) -> CkksParams {
    let prime_bits = [vec![50], vec![40; limbs - 1]].concat();
    let spec = CkksSpec { ring: Ring::ConjugateInvariant, log_degree, prime_bits, special_bits: vec![50] };
    spec.validate_insecure().unwrap()
}

/// `pairs` products of matrices given row by row.
fn products(left: &[f64], right: &[f64], [rows, inner, pairs]: [usize; 3]) -> Vec<f64> {
    let entry = |at: usize| {
        let (pair, i, j) = (at / (rows * inner), at / inner % rows, at % inner);
        let (a, b) = (&left[pair * rows * inner..], &right[pair * inner * inner..]);
        (0..inner).map(|k| a[i * inner + k] * b[k * inner + j]).sum()
    };
    (0..pairs * rows * inner).map(entry).collect()
}

fn check(sizes: [usize; 3], right_factor: RightFactor, seed: u64) {
    let [rows, inner, pairs] = sizes;
    let (params, scale) = (toy_insecure(9, 4), Scale::power_of_two(40));
    let product = MatrixProduct::new(rows, inner, pairs).unwrap();
    let program = product.program(&params, &scale, right_factor).unwrap();
    let mut state = seed | 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    };
    let left: Vec<f64> = (0..pairs * rows * inner).map(|_| random()).collect();
    let right: Vec<f64> = (0..pairs * inner * inner).map(|_| random()).collect();
    let expected = products(&left, &right, sizes);

    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let generator = KeyGenerator::new(&params);
    let secret = generator.secret_key(&mut rng);
    let keys = generator.evaluation_keys(&secret, &program.evaluation_keys(), &mut rng).unwrap();
    let encoder = Encoder::new(&params);
    let (left, right) = (product.pack_left(&left), product.pack_right(&right));
    let executor = Executor::new(program.clone(), 2, DEFAULT_WEIGHT_BYTES).unwrap();
    let (factors, arrays) = match right_factor {
        RightFactor::Request => (vec![left, right], Vec::new()),
        RightFactor::Model => {
            let array =
                WeightArray { level: params.top(), scale: scale.clone(), period: product.period(), vectors: right };
            (vec![left], vec![array])
        }
    };
    let clear = program.evaluate_all(&factors.concat(), &arrays.iter().map(|a| a.vectors.clone()).collect::<Vec<_>>());
    let found = product.unpack(&clear[program.output().0]);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{sizes:?} in the clear: {found} for {expected}");
    }
    let bounds = program.output_bounds(
        &factors.concat(),
        &arrays.iter().map(|a| a.vectors.clone()).collect::<Vec<_>>(),
        0..rows * inner * pairs,
    );
    let request = factors
        .iter()
        .map(|factor| {
            let message = encoder.encode_periodic(factor, &scale).unwrap();
            Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng).unwrap()
        })
        .collect();
    let weights = ModelWeights { program: ProgramId([0; 32]), params: params.clone(), insecure: true, arrays };
    let public = generator.public_key(&secret, &mut rng).unwrap();
    let model = weights.encrypt(&public, &mut rng, executor.threads(), &|| {}).unwrap();
    let response = executor.run_with_model(request, &model.arrays, &keys, &|_| {}).unwrap();
    let slots = encoder.decode(&Decryptor::new(&secret).decrypt(&response[0]).unwrap()).unwrap();
    let worst = bounds.iter().map(|bound| bound.secret_key).fold(0.0, f64::max);
    for (found, expected) in product.unpack(&slots).iter().zip(&expected) {
        let error = (found - expected).abs();
        assert!(error <= worst + 1e-9, "{sizes:?}: {found} for {expected}, {error} beyond {worst}");
    }
    assert!(worst < 1e-2, "a bound of {worst} states nothing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn products_are_those_of_the_matrices(
        log_inner in 0u32..4, squat in 0u32..4, log_pairs in 0u32..3, model: bool, seed: u64,
    ) {
        let (inner, rows) = (1 << log_inner, 1 << log_inner.saturating_sub(squat));
        let right = if model { RightFactor::Model } else { RightFactor::Request };
        check([rows, inner, 1 << log_pairs], right, seed);
    }
}

#[test]
fn what_has_no_product_is_named() {
    for (rows, inner, pairs) in [(3, 4, 1), (8, 4, 1), (4, 4, 0), (4, 12, 1)] {
        let found = MatrixProduct::new(rows, inner, pairs).unwrap_err();
        assert_eq!(found, MatrixProductError::Sizes { rows, inner, pairs });
    }
    let product = MatrixProduct::new(4, 4, 1).unwrap();
    let scale = Scale::power_of_two(30);
    let shallow = product.program(&toy_insecure(9, 3), &scale, RightFactor::Request).unwrap_err();
    assert_eq!(shallow, MatrixProductError::Levels { found: 2 });
    let wide = MatrixProduct::new(32, 32, 2).unwrap();
    let wide = wide.program(&toy_insecure(9, 4), &scale, RightFactor::Request).unwrap_err();
    assert!(matches!(wide, MatrixProductError::Verify(_)), "{wide}");
}

//! Lesson 5: a program without a model.
//!
//! Compiled models are programs: lists of operations on arrays of ciphertexts. Whatever is written with sums, products
//! and integer matrices can be a program, made by hand. It is verified when it is built, has a meaning in the clear, a
//! bound on its noise, a price, and an executor that agrees with the meaning up to the noise.
//!
//! This one measures how far a point of four coordinates is from three others, and weighs the squared distances.
//!
//! `cargo run --release -p nightloom --example 05_bring_your_own_layers`

use std::error::Error;

use nightloom::system_rng;
use nightloom_he::{CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, KeyGenerator, Level, Ring, Scale};
use nightloom_program::{DEFAULT_WEIGHT_BYTES, Executor, Op, Program, Source, ValueId, VerifyError, cost};
use nightloom_ring::IntegerMatrix;

const CENTRES: [[f64; 4]; 3] = [[0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6], [0.5, 0.0, 0.5, 0.0]];
const WEIGHTS: [f64; 3] = [0.75, -0.5, 0.25];

/// Weights are integers: `round(w * 2^10)` for the coordinates, `round(w * 2^8)` for the last layer. What the rounding
/// costs is the modeller's choice, and the interpreter shows it.
fn operations() -> Result<Vec<Op>, Box<dyn Error>> {
    // 12 rows: each of the 4 coordinates less that of each of the 3 centres. The shift is the bias.
    let rows: Vec<Vec<(u32, i32)>> = (0..12).map(|row| vec![(row % 4, 1 << 10)]).collect();
    let shifts = CENTRES.iter().flatten().map(|centre| -centre).collect();
    let differences = Op::Linear {
        sources: vec![Source { value: ValueId(0), weight_scale: Scale::power_of_two(10) }],
        matrix: IntegerMatrix::new(4, &rows)?,
        bias: shifts,
    };
    // One row: the weight of a centre for each of the 4 squares that belong to it.
    let weights: Vec<(u32, i32)> =
        (0..12).map(|column| (column, (WEIGHTS[column as usize / 4] * 256.0) as i32)).collect();
    let weighing = Op::Linear {
        sources: vec![Source { value: ValueId(2), weight_scale: Scale::power_of_two(8) }],
        matrix: IntegerMatrix::new(12, &[weights])?,
        bias: vec![0.0],
    };
    Ok(vec![
        Op::Input { features: 4, level: Level(1), scale: Scale::power_of_two(28) },
        differences,
        Op::Square { source: ValueId(1) },
        weighing,
        // After the matrix, on one ciphertext, instead of after the squares, on twelve: both are linear, so they commute.
        Op::RelinearizeRescale { source: ValueId(3) },
    ])
}

fn parameters() -> Result<CkksParams, Box<dyn Error>> {
    let spec =
        CkksSpec { ring: Ring::ConjugateInvariant, log_degree: 13, prime_bits: vec![50, 50], special_bits: vec![50] };
    Ok(spec.validate()?)
}

/// Public, as the tests run the lesson too.
pub fn main() -> Result<(), Box<dyn Error>> {
    let params = parameters()?;
    let ops = operations()?;
    let names = ["point", "differences", "squares", "weighing", "result"].map(str::to_owned).to_vec();
    let program = Program::new(&params, ops.clone(), names.clone(), ValueId(4))?;
    for ((op, name), result) in program.ops().iter().zip(program.names()).zip(program.types()) {
        let (features, components) = (result.features, result.components);
        println!(
            "{name:<12} {:<20} {features:>2} x {components}, level {}, scale {}",
            op.name(),
            result.level,
            result.scale
        );
    }

    // The verifier knows the type of every value. Squaring what has three components already is refused.
    let mut wrong = ops;
    wrong[4] = Op::Square { source: ValueId(3) };
    match Program::new(&params, wrong, names, ValueId(4)) {
        Err(error @ VerifyError::Components { .. }) => println!("refused: {error}"),
        other => return Err(format!("squaring three components gave {other:?}").into()),
    }

    // Points of the unit cube, one a slot.
    let points: Vec<Vec<f64>> = (0..params.slots())
        .map(|slot| (1..=4).map(|axis| (slot as f64 * 0.37 * f64::from(axis)).sin().abs()).collect())
        .collect();

    // The meaning, against the formula that was meant.
    let expected: Vec<f64> = points.iter().map(|point| program.evaluate(point)[0]).collect();
    for (point, expected) in points.iter().zip(&expected) {
        let distance = |centre: &[f64; 4]| centre.iter().zip(point).map(|(c, x)| (x - c).powi(2)).sum::<f64>();
        let formula: f64 = CENTRES.iter().zip(WEIGHTS).map(|(centre, weight)| weight * distance(centre)).sum();
        assert!((formula - expected).abs() < 1e-12);
    }

    // Noise and price, before anything is encrypted. The noise of a result depends on the sample, through the derivatives
    // of what follows each operation. See docs/notes/noise.md.
    let bound = points.iter().map(|point| program.output_bounds(point, &[], [0])[0].secret_key).fold(0.0, f64::max);
    let seconds = program.total_work().seconds(&cost::REFERENCE, params.degree());
    println!("noise at most {bound:.1e}, about {:.1} ms on the reference machine", seconds * 1e3);

    // The same encrypted: one ciphertext a coordinate.
    let mut rng = system_rng()?;
    let generator = KeyGenerator::new(&params);
    let secret = generator.secret_key(&mut rng);
    let keys = generator.evaluation_keys(&secret, &program.evaluation_keys(), &mut rng)?;
    let encoder = Encoder::new(&params);
    let mut batch = Vec::new();
    for axis in 0..4 {
        let column: Vec<f64> = points.iter().map(|point| point[axis]).collect();
        let message = encoder.encode(&column, &program.input_type().scale)?;
        batch.push(Encryptor::symmetric(&secret).encrypt(&message, program.input_type().level, &mut rng)?);
    }
    let executor = Executor::new(program, 2, DEFAULT_WEIGHT_BYTES)?;
    let results = executor.run(batch, &keys, &|_| {})?;
    let found = encoder.decode(&Decryptor::new(&secret).decrypt(&results[0])?)?;
    let error = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
    println!("largest error {error:.1e} in {} slots", found.len());
    assert!(error < bound);
    Ok(())
}

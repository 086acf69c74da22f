//! Lesson 3: from an ONNX file to an encrypted program.
//!
//! The owner of a model compiles it once. The compiler merges everything affine between two products into one integer
//! matrix, bounds every value by interval arithmetic, and picks the ring, the primes, all scales and the places of
//! relinearisation and rescaling. It writes two artefacts: the *program*, with the weights, for the service, and the
//! *client specification*, without them, for owners of data.
//!
//! `cargo run --release -p nightloom --example 03_compile_a_model`

use std::error::Error;

use nightloom::demo::E2DM_ONNX;
use nightloom::model::{CompileError, CompileOptions, compile};
use nightloom_compiler::explain::Explanation;
use nightloom_compiler::plans::select::SelectError;

/// Public, as the tests run the lesson too.
pub fn main() -> Result<(), Box<dyn Error>> {
    // The network of E2DM: a convolution, a square, a dense layer, a square, a dense layer. The options say what inputs
    // look like: pixels of 0 to 255, which become features of 0 to 1.
    let options = CompileOptions::new("e2dm");
    let compiled = compile(E2DM_ONNX, &options)?;

    // `nightloom explain` prints the same. Layers are the squashed network; operations are the program, where "cts" is
    // the number of ciphertexts and "of" their components. Look where the relinearisation stands: after the dense layer
    // that follows a square, on its 64 outputs, and not after the square, on its 256.
    println!("{}", Explanation::new(&compiled.network, &compiled.plan));

    // The program has a meaning without any encryption: its interpreter, which computes with the quantised weights in the
    // clear. It differs from the network by the rounding of the weights alone.
    let sample: Vec<f64> = (0..784).map(|pixel| f64::from(pixel % 7 == 0)).collect();
    let network = compiled.network.evaluate(&sample);
    let program = compiled.plan.program().evaluate(&sample);
    let difference = network.iter().zip(&program).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!(
        "\nrounded weights change the outputs by {difference:.1e}; the bound, with noise, is {:.1e}",
        compiled.client.error_bound
    );
    assert!(difference < compiled.client.error_bound);

    // No value can leave the modulus, whatever the client sends within the range that it must keep to: magnitudes come
    // from intervals, not from samples.
    let values = compiled.plan.program().evaluate_all(&sample, &[]);
    for (magnitude, value) in compiled.plan.magnitudes().iter().zip(&values) {
        let largest = value.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        assert!(largest <= magnitude * 1.01, "{largest} exceeds {magnitude}");
    }

    // What the client gets has no weights in it: shapes, scaling, parameters, and the hash of the program it is for.
    println!(
        "program {} bytes, client specification {} bytes",
        compiled.server_bytes.len(),
        compiled.client_bytes.len()
    );
    assert!(compiled.client_bytes.len() < 2000 && compiled.server_bytes.len() > 100_000);

    // Precision that no parameters of the table can give is refused, with the best that they can.
    let impossible = CompileOptions { precision_bits: 60.0, log_degree: Some(13), ..options.clone() };
    match compile(E2DM_ONNX, &impossible) {
        Err(CompileError::Plan(error @ SelectError::Impossible(_))) => println!("refused: {error}"),
        other => return Err(format!("60 bits of precision gave {:?}", other.map(|c| c.client)).into()),
    }
    // And bytes that are no model are an error, never a panic.
    match compile(b"not a model", &options) {
        Err(CompileError::Model(problems)) => println!("refused: {problems}"),
        other => return Err(format!("garbage gave {:?}", other.map(|c| c.client)).into()),
    }
    Ok(())
}

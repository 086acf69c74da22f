//! Activations in place, and what they do to a gradient.

use ndarray::Array2;

use super::LayerSpec;

/// Applies the activation `spec`; other layers leave the values alone.
pub(super) fn forward(spec: LayerSpec, values: &mut Array2<f64>) {
    match spec {
        LayerSpec::Relu => values.mapv_inplace(|x| if x > 0.0 { x } else { 0.0 }),
        LayerSpec::Sigmoid => values.mapv_inplace(sigmoid),
        LayerSpec::Square => values.mapv_inplace(|x| x * x),
        _ => {}
    }
}

/// Turns the gradient of the result into that of the operand. ReLU has derivative 0 at 0.
pub(super) fn backward(spec: LayerSpec, operand: &Array2<f64>, result: &Array2<f64>, gradient: &mut Array2<f64>) {
    match spec {
        LayerSpec::Relu => gradient.zip_mut_with(operand, |g, x| *g = if *x > 0.0 { *g } else { 0.0 }),
        LayerSpec::Sigmoid => gradient.zip_mut_with(result, |g, y| *g *= y * (1.0 - y)),
        LayerSpec::Square => gradient.zip_mut_with(operand, |g, x| *g *= 2.0 * x),
        _ => {}
    }
}

/// Without overflow on either side.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

//! Dense layers and convolutions: products of parameters with values, and their gradients.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis};

use super::{Parameters, PlacedLayer, Windows};
use crate::learn::linear::{add_times_transposed, add_transposed_times, times, times_into, times_transposed};

/// Windows of one sample, kept between calls so that it is not allocated for each.
pub(super) type Scratch = Vec<f64>;

/// The result of a layer, biases included.
pub(super) fn forward(
    layer: &PlacedLayer,
    parameters: &Parameters,
    values: ArrayView2<f64>,
    scratch: &mut Scratch,
) -> Array2<f64> {
    let mut out = match layer.windows {
        None => times_transposed(values, parameters.weights.view()),
        Some(windows) => {
            let mut out = Array2::zeros((values.nrows(), layer.output.len()));
            for (values, mut out) in values.rows().into_iter().zip(out.rows_mut()) {
                let gathered = gather(&windows, values, scratch);
                if let Some(out) = out.as_slice_mut() {
                    let out = ArrayViewMut2::from_shape((parameters.bias.len(), windows.count()), out);
                    times_into(parameters.weights.view(), gathered, out.expect("the shape of the layer"));
                }
            }
            out
        }
    };
    add_bias(&mut out, &parameters.bias);
    out
}

/// Adds to each unit, or to each place of each filter, its bias.
pub(super) fn add_bias(values: &mut Array2<f64>, bias: &Array1<f64>) {
    let places = values.ncols() / bias.len();
    for mut row in values.rows_mut() {
        for (mut filter, bias) in row.axis_chunks_iter_mut(Axis(0), places).zip(bias) {
            filter += *bias;
        }
    }
}

/// The gradient of the values from that of the result.
pub(super) fn backward(
    layer: &PlacedLayer,
    parameters: &Parameters,
    delta: ArrayView2<f64>,
    scratch: &mut Scratch,
) -> Array2<f64> {
    let Some(windows) = layer.windows else { return times(delta, parameters.weights.view()) };
    let mut out = Array2::zeros((delta.nrows(), layer.input.len()));
    for (delta, mut out) in delta.rows().into_iter().zip(out.rows_mut()) {
        let delta = by_filter(delta, parameters.bias.len());
        scratch.resize(windows.width() * windows.count(), 0.0);
        let shape = (windows.width(), windows.count());
        let product = ArrayViewMut2::from_shape(shape, &mut scratch[..]).expect("resized");
        times_into(parameters.weights.t(), delta, product);
        if let Some(out) = out.as_slice_mut() {
            windows.scatter_add(scratch, out);
        }
    }
    out
}

/// Adds the gradient of the parameters, summed over the rows, to `out`.
pub(super) fn add_gradient(
    layer: &PlacedLayer,
    values: ArrayView2<f64>,
    delta: ArrayView2<f64>,
    scratch: &mut Scratch,
    out: &mut Parameters,
) {
    match layer.windows {
        None => add_transposed_times(delta, values, &mut out.weights),
        Some(windows) => {
            for (values, delta) in values.rows().into_iter().zip(delta.rows()) {
                let gathered = gather(&windows, values, scratch);
                add_times_transposed(by_filter(delta, out.bias.len()), gathered, &mut out.weights);
            }
        }
    }
    out.bias += &bias_gradient(delta, out.bias.len());
}

/// The gradient of the biases, summed over the rows.
pub(super) fn bias_gradient(delta: ArrayView2<f64>, units: usize) -> Array1<f64> {
    let mut out = Array1::zeros(units);
    for row in delta.rows() {
        for (out, places) in out.iter_mut().zip(row.axis_chunks_iter(Axis(0), delta.ncols() / units)) {
            *out += places.sum();
        }
    }
    out
}

fn gather<'a>(windows: &Windows, values: ArrayView1<f64>, scratch: &'a mut Scratch) -> ArrayView2<'a, f64> {
    scratch.resize(windows.width() * windows.count(), 0.0);
    windows.gather(values.as_slice().expect("rows are contiguous"), scratch);
    ArrayView2::from_shape((windows.width(), windows.count()), &scratch[..]).expect("resized")
}

/// A row of a convolution's result as a matrix of one row a filter.
fn by_filter(row: ArrayView1<'_, f64>, filters: usize) -> ArrayView2<'_, f64> {
    let places = row.len() / filters;
    row.into_shape_with_order((filters, places)).expect("rows are contiguous")
}

//! Products of matrices. Large ones go to `matrixmultiply` through `ndarray`; one row is not worth its packing.
//!
//! No product uses more than one thread, and none changes its order of summation between calls of equal shape.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// `a b^T` for `a` of shape `rows x inner` and `b` of shape `columns x inner`, both contiguous.
pub(crate) fn times_transposed(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let mut out = Array2::zeros((a.nrows(), b.nrows()));
    if let (1, Some(a), Some(b)) = (a.nrows(), a.as_slice(), b.as_slice()) {
        for (out, b) in out.iter_mut().zip(b.chunks_exact(a.len())) {
            *out = dot(a, b);
        }
    } else {
        general_mat_mul(1.0, &a, &b.t(), 0.0, &mut out);
    }
    out
}

/// `a b` for `a` of shape `rows x inner` and `b` of shape `inner x columns`.
pub(crate) fn times(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    times_into(a, b, out.view_mut());
    out
}

/// [`times`] into a buffer of the right shape.
pub(crate) fn times_into(a: ArrayView2<f64>, b: ArrayView2<f64>, mut out: ArrayViewMut2<f64>) {
    if let (1, Some(a), Some(b), Some(out)) = (a.nrows(), a.as_slice(), b.as_slice(), out.as_slice_mut()) {
        out.fill(0.0);
        for (&factor, row) in a.iter().zip(b.chunks_exact(out.len())) {
            add_scaled(out, factor, row);
        }
    } else {
        general_mat_mul(1.0, &a, &b, 0.0, &mut out);
    }
}

/// `out += a^T b` for `a` of shape `inner x rows` and `b` of shape `inner x columns`.
pub(crate) fn add_transposed_times(a: ArrayView2<f64>, b: ArrayView2<f64>, out: &mut Array2<f64>) {
    let columns = b.ncols();
    if let (1, Some(a), Some(b), Some(out)) = (a.nrows(), a.as_slice(), b.as_slice(), out.as_slice_mut()) {
        for (&factor, row) in a.iter().zip(out.chunks_exact_mut(columns)) {
            add_scaled(row, factor, b);
        }
    } else {
        general_mat_mul(1.0, &a.t(), &b, 1.0, out);
    }
}

/// `out += a b^T`.
pub(crate) fn add_times_transposed(a: ArrayView2<f64>, b: ArrayView2<f64>, out: &mut Array2<f64>) {
    general_mat_mul(1.0, &a, &b.t(), 1.0, out);
}

/// `out += factor values`.
pub(crate) fn add_scaled(out: &mut [f64], factor: f64, values: &[f64]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out += factor * value;
    }
}

/// Sum of products in eight strands, so that it runs as vectors.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut strands = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((strand, a), b) in strands.iter_mut().zip(a).zip(b) {
            *strand += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    strands.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(rows: usize, columns: usize, seed: i64) -> Array2<f64> {
        Array2::from_shape_fn((rows, columns), |(i, j)| ((i as i64 * 31 + j as i64 * 17 + seed) % 23 - 11) as f64)
    }

    proptest! {
        /// Whole numbers, so that every order of summation gives the same.
        #[test]
        fn products_are_sums_of_products(m in 1usize..12, k in 1usize..40, n in 1usize..12, seed in 0i64..1000) {
            let (a, b) = (matrix(m, k, seed), matrix(k, n, seed + 5));
            let wanted = Array2::from_shape_fn((m, n), |(i, j)| (0..k).map(|l| a[(i, l)] * b[(l, j)]).sum());
            prop_assert_eq!(&times(a.view(), b.view()), &wanted);
            let transposed = b.t().as_standard_layout().into_owned();
            prop_assert_eq!(&times_transposed(a.view(), transposed.view()), &wanted);
            let mut out = wanted.clone();
            add_times_transposed(a.view(), transposed.view(), &mut out);
            prop_assert_eq!(&out, &(&wanted * 2.0));
            let mut out = wanted.clone();
            let columns = a.t().as_standard_layout().into_owned();
            add_transposed_times(columns.view(), b.view(), &mut out);
            prop_assert_eq!(&out, &(&wanted * 2.0));
        }
    }
}

//! Integer matrices.

mod narrow;
mod wide;

use crate::linear::{MatrixScratch, Tiles};
use crate::{IntegerMatrix, Modulus};

#[target_feature(enable = "avx2,fma")]
pub(super) fn multiply_matrix(
    q: Modulus,
    matrix: &IntegerMatrix,
    input: &[f64],
    output: &mut [f64],
    width: usize,
    scratch: &mut MatrixScratch,
) {
    match matrix.tiles() {
        Tiles::Narrow(panels) => narrow::multiply(q, matrix, panels, input, output, width, scratch),
        Tiles::Wide(panels) => wide::multiply(q, matrix, panels, input, output, width, scratch),
    }
}

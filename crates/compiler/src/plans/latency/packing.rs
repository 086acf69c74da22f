//! Linear layers as matrices over slots.
//!
//! Vectors of slots are periodic; a [`Layout`] says which feature every slot of a period of every ciphertext holds. A layer
//! becomes the generalised diagonals of a matrix over slots (Halevi and Shoup, CRYPTO 2014) and then *folds*: a fold by `r`
//! adds to every slot the one `r` further on. A slot before the folds collects part of one row, so that a matrix with few
//! rows needs as many diagonals as rows and not as columns (the hybrid method of GAZELLE, Juvekar et al., 2018, section 4).
//!
//! Everything here is about positions: what a layer means is [`SlotLayer::apply`], in the clear.

mod first;
mod grid;
mod layer;
mod layout;
mod steps;

pub use first::{FirstLayer, Requests};
pub use grid::Grid;
pub use layer::{Place, SlotLayer};
pub use layout::Layout;
pub use steps::Steps;

#[cfg(test)]
mod tests;

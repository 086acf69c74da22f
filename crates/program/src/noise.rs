//! What the encryption adds to a program's values.
//!
//! Each value carries the largest deviation of its features' noise in two parts: one that is independent from feature to
//! feature (a ciphertext's own encryption, rounding or key switch), and one that may be correlated. A linear operation
//! adds independent parts in squares and correlated ones in absolute value (Minkowski), and leaves everything
//! correlated; a product multiplies by the largest magnitudes. Derivation and limits: docs/notes/noise.md.

use nightloom_he::noise as scheme;
use nightloom_ring::IntegerMatrix;

use crate::{Op, Program, ValueType};

/// Deviations of one value's noise, in units of the message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Independent between features.
    pub independent: f64,
    /// Possibly correlated between features.
    pub correlated: f64,
}

/// How many deviations a stated bound is: a Gaussian exceeds it with probability below `2^-49`.
pub const BOUND_DEVIATIONS: f64 = 8.0;

impl Noise {
    /// The deviation of both parts together.
    pub fn deviation(self) -> f64 {
        self.independent + self.correlated
    }

    /// The stated bound.
    pub fn bound(self) -> f64 {
        BOUND_DEVIATIONS * self.deviation()
    }

    /// Adds independent noise of this deviation.
    #[must_use]
    pub fn plus(self, deviation: f64) -> Self {
        Self { independent: self.independent.hypot(deviation), ..self }
    }

    /// The noise of rows with the given norms: [`Norms::absolute`] and [`Norms::euclidean`].
    #[must_use]
    pub fn through(self, norms: Norms) -> Self {
        let correlated = norms.absolute * self.correlated + norms.euclidean * self.independent;
        Self { independent: 0.0, correlated }
    }

    /// The noise of a product of values of the given largest magnitudes.
    #[must_use]
    pub fn product(self, magnitude: f64, other: Self, other_magnitude: f64) -> Self {
        // (x + e)(y + f) - x y = x f + y e + e f, with e bounded by its stated bound in the last term.
        let by_other = other_magnitude + other.bound();
        Self {
            independent: by_other * self.independent + magnitude * other.independent,
            correlated: by_other * self.correlated + magnitude * other.correlated,
        }
    }
}

/// The largest norms of a matrix's rows, in units of real weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norms {
    /// Sum of absolute values.
    pub absolute: f64,
    /// Root of the sum of squares.
    pub euclidean: f64,
}

impl Norms {
    /// The norms of the part of `matrix` in `columns`, whose weights have this scale.
    pub fn of(matrix: &IntegerMatrix, columns: std::ops::Range<usize>, weight_scale: f64) -> Self {
        let mut norms = Self::default();
        for row in 0..matrix.rows() {
            let (mut absolute, mut square) = (0.0, 0.0);
            for (_, entry) in matrix.row(row).filter(|(column, _)| columns.contains(column)) {
                let weight = f64::from(entry) / weight_scale;
                absolute += weight.abs();
                square += weight * weight;
            }
            norms.absolute = norms.absolute.max(absolute);
            norms.euclidean = norms.euclidean.max(square.sqrt());
        }
        norms
    }
}

impl Program {
    /// The noise of every value, if feature magnitudes stay within `magnitudes` (one number an operation).
    ///
    /// # Panics
    /// If there are not as many magnitudes as operations.
    pub fn noise(&self, magnitudes: &[f64]) -> Vec<Noise> {
        assert_eq!(magnitudes.len(), self.ops().len(), "one magnitude an operation");
        let params = self.params();
        let mut noises: Vec<Noise> = Vec::with_capacity(self.ops().len());
        for (op, result) in self.ops().iter().zip(self.types()) {
            let noise = match op {
                Op::Input { .. } => Noise::default().plus(scheme::fresh_symmetric(params) / result.scale.to_f64()),
                Op::Linear { sources, matrix, .. } => {
                    let mut first = 0;
                    let parts = sources.iter().map(|source| {
                        let columns = first..first + self.types()[source.value.0].features;
                        first = columns.end;
                        let norms = Norms::of(matrix, columns, source.weight_scale.to_f64());
                        noises[source.value.0].through(norms)
                    });
                    parts.fold(Noise::default(), |sum, part| Noise {
                        independent: 0.0,
                        correlated: sum.correlated + part.correlated,
                    })
                }
                Op::Square { source } => {
                    noises[source.0].product(magnitudes[source.0], noises[source.0], magnitudes[source.0])
                }
                Op::Multiply { left, right } => {
                    noises[left.0].product(magnitudes[left.0], noises[right.0], magnitudes[right.0])
                }
                Op::Relinearize { source } => noises[source.0].plus(self.switching(&self.types()[source.0], result, true)),
                Op::RelinearizeRescale { source } => {
                    noises[source.0].plus(self.switching(&self.types()[source.0], result, true))
                }
                Op::Rescale { source } => noises[source.0].plus(self.switching(&self.types()[source.0], result, false)),
                Op::DropTo { source, .. } => noises[source.0],
            };
            noises.push(noise);
        }
        noises
    }

    /// The noise of a key switch and of the rounding of a division.
    fn switching(&self, source: &ValueType, result: &ValueType, key_switch: bool) -> f64 {
        let rounding = scheme::rounding(self.params(), result.components) / result.scale.to_f64();
        let switch = if key_switch { scheme::key_switch(self.params(), source.level) } else { 0.0 };
        rounding.hypot(switch / source.scale.to_f64())
    }
}

//! What a program costs: counted in operations of the ring, priced by a machine.

use crate::{Op, Program, ValueType};

/// Nanoseconds of the ring's operations on one thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// A transform, per coefficient and per level of the transform.
    pub butterfly: f64,
    /// A modular multiplication of one residue, memory traffic included.
    pub multiplication: f64,
    /// One multiply-accumulate of an integer matrix with one residue.
    pub multiply_accumulate: f64,
}

/// One core of a 2-core AMD EPYC (Zen 3) with the AVX2 kernel: docs/benchmarks.
pub const REFERENCE: Prices = Prices { butterfly: 0.17, multiplication: 0.9, multiply_accumulate: 0.11 };

/// Counts of the ring's operations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Transforms of one limb.
    pub transforms: u64,
    /// Residues multiplied.
    pub multiplications: u64,
    /// Multiply-accumulates of integer matrices.
    pub multiply_accumulates: u64,
}

impl Work {
    /// Seconds on one thread.
    pub fn seconds(self, prices: &Prices, degree: usize) -> f64 {
        let transform = degree as f64 * f64::from(degree.ilog2()) * prices.butterfly;
        let nanoseconds = self.transforms as f64 * transform
            + self.multiplications as f64 * prices.multiplication
            + self.multiply_accumulates as f64 * prices.multiply_accumulate;
        nanoseconds * 1e-9
    }
}

impl std::ops::Add for Work {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            transforms: self.transforms + other.transforms,
            multiplications: self.multiplications + other.multiplications,
            multiply_accumulates: self.multiply_accumulates + other.multiply_accumulates,
        }
    }
}

impl Program {
    /// The work of one operation on one batch.
    ///
    /// # Panics
    /// If there is no such operation.
    pub fn work(&self, op: usize) -> Work {
        let special = self.params().special_primes().len();
        let n = self.params().degree() as u64;
        let result = &self.types()[op];
        match &self.ops()[op] {
            Op::Input { .. } | Op::DropTo { .. } => Work::default(),
            Op::Linear { matrix, .. } => {
                let residues = (result.components * result.level.limbs()) as u64 * n;
                Work { multiply_accumulates: matrix.entries() as u64 * residues, ..Work::default() }
            }
            Op::Square { .. } => pointwise(result, 3, n),
            Op::Multiply { .. } => pointwise(result, 4, n),
            Op::Relinearize { source } => key_switch(&self.types()[source.0], special, special, n),
            Op::RelinearizeRescale { source } => key_switch(&self.types()[source.0], special, special + 1, n),
            Op::Rescale { source } => {
                let source = &self.types()[source.0];
                division(source, source.components, source.level.limbs(), 1, n)
            }
        }
    }

    /// The work of one batch.
    pub fn total_work(&self) -> Work {
        (0..self.ops().len()).map(|op| self.work(op)).fold(Work::default(), |sum, work| sum + work)
    }
}

fn pointwise(result: &ValueType, products: u64, n: u64) -> Work {
    let limbs = result.level.limbs() as u64;
    Work { multiplications: products * limbs * n * result.features as u64, ..Work::default() }
}

/// Division of `components` polynomials over `limbs` primes by the product of the last `divisor` of them.
fn division(source: &ValueType, components: usize, limbs: usize, divisor: usize, n: u64) -> Work {
    let each = (components * source.features) as u64;
    let kept = (limbs - divisor) as u64;
    Work {
        transforms: each * limbs as u64,
        multiplications: each * n * kept * (divisor as u64 + 1),
        ..Work::default()
    }
}

/// Key switch of one component at the source's level and division by `divisor` primes of the extended basis.
fn key_switch(source: &ValueType, special: usize, divisor: usize, n: u64) -> Work {
    let limbs = source.level.limbs();
    let digits = limbs.div_ceil(special.max(1));
    let extended = limbs + special;
    let features = source.features as u64;
    let converted = (digits * extended - limbs) as u64;
    let products = (2 * digits * extended) as u64 + converted * special as u64;
    let switch = Work {
        transforms: features * (limbs as u64 + converted),
        multiplications: features * n * products,
        ..Work::default()
    };
    switch + division(source, 2, extended, divisor, n)
}

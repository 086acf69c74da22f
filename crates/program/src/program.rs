use std::collections::BTreeMap;

use nightloom_he::{CkksParams, CompressedCiphertext, EvaluationKeySpec, ExtendedPlaintext, Level, Scale};

use crate::verify::{self, ValueType, rotated_period};
use crate::{Op, ValueId, VerifyError};

/// A verified list of operations in order, with the parameters they are for.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    params: CkksParams,
    ops: Vec<Op>,
    /// What each operation is called in reports: layers of the model.
    names: Vec<String>,
    output: ValueId,
    types: Vec<ValueType>,
    capacity: usize,
    compression: Option<Compression>,
}

/// How results are compressed before they are sent: see [`CompressedCiphertext`](nightloom_he::CompressedCiphertext).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Slots after which the result repeats: no others are sent.
    pub slots: usize,
    /// Bits of a coefficient.
    pub bits: u32,
}

impl Program {
    /// Checks the operations. `names` are for reports, one an operation.
    ///
    /// # Errors
    /// [`VerifyError`] if an operation's operands do not have the type that it needs.
    ///
    /// # Panics
    /// If there are not as many names as operations.
    pub fn new(params: &CkksParams, ops: Vec<Op>, names: Vec<String>, output: ValueId) -> Result<Self, VerifyError> {
        assert_eq!(ops.len(), names.len(), "one name an operation");
        let types = verify::types(params, &ops)?;
        if output.0 >= ops.len() {
            return Err(VerifyError::LaterValue { op: ops.len(), value: output.0 });
        }
        let mut program = Self { params: params.clone(), ops, names, output, types, capacity: 1, compression: None };
        if program.period() == 1 {
            program.capacity = params.slots();
        }
        Ok(program)
    }

    /// The same program for this many samples a run, where that is not one a slot; at most as many as slots.
    pub fn with_capacity(self, samples: usize) -> Self {
        Self { capacity: samples.clamp(1, self.params.slots()), ..self }
    }

    /// The same program with compressed results.
    ///
    /// # Errors
    /// [`VerifyError::Compression`] unless results have two components, the slots are a power of two of at most all, and
    /// the bits are 2 to [`max_bits`](CompressedCiphertext::max_bits).
    pub fn with_compression(self, compression: Compression) -> Result<Self, VerifyError> {
        let Compression { slots, bits } = compression;
        let most = CompressedCiphertext::max_bits(&self.params);
        let allowed = slots.is_power_of_two() && slots <= self.params.slots() && (2..=most).contains(&bits);
        if !allowed || self.output_type().components != 2 {
            return Err(VerifyError::Compression { slots, bits, most });
        }
        Ok(Self { compression: Some(compression), ..self })
    }

    /// How results are compressed, if they are.
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Samples that one run computes: one a slot, or if operations move slots one, unless stated otherwise.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        &self.params
    }

    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The name of each operation.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The type of each operation's result.
    pub fn types(&self) -> &[ValueType] {
        &self.types
    }

    /// The type of the request.
    pub fn input_type(&self) -> &ValueType {
        &self.types[0]
    }

    /// The arrays of encrypted weights that the program takes, in order, with their types and periods.
    pub fn model(&self) -> impl Iterator<Item = (&ValueType, usize)> {
        let array = |(op, result)| match op {
            &Op::Model { period, .. } => Some((result, period)),
            _ => None,
        };
        self.ops.iter().zip(&self.types).filter_map(array)
    }

    /// Whether the weights are encrypted.
    pub fn has_encrypted_model(&self) -> bool {
        self.model().next().is_some()
    }

    /// The value that is the response.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// The type of the response.
    pub fn output_type(&self) -> &ValueType {
        &self.types[self.output.0]
    }

    /// Slots after which every vector of the program repeats: all that the cleartext interpreter looks at. 1 if no
    /// operation moves slots, so that every slot is a sample by itself.
    pub fn period(&self) -> usize {
        let period = |(op, result): (&Op, &ValueType)| match op {
            Op::SlotMatrix { matrix, .. } => matrix.period(),
            Op::Model { period, .. } => *period,
            Op::Fold { steps, .. } => rotated_period(steps.iter().flatten()),
            Op::Rotate { rotations, .. } => rotated_period(rotations),
            Op::AddSlots { values, .. } => values.len() / result.features,
            _ => 1,
        };
        self.ops.iter().zip(&self.types).map(period).max().unwrap_or(1)
    }

    /// The rotations that need a key, each with the highest level at which it is used.
    pub fn rotations(&self) -> BTreeMap<usize, Level> {
        let mut rotations = BTreeMap::new();
        let mut add = |rotation: usize, level: Level| {
            let highest = rotations.entry(rotation).or_insert(level);
            *highest = level.max(*highest);
        };
        for (op, result) in self.ops.iter().zip(&self.types) {
            match op {
                Op::SlotMatrix { source, matrix, .. } => {
                    let level = self.types[source.0].level;
                    matrix.rotations().into_iter().for_each(|step| add(step, level));
                }
                Op::Rotate { rotations, base, .. } => {
                    rotations.iter().for_each(|rotation| {
                        add(rotation % base, result.level);
                        add(rotation - rotation % base, result.level);
                    });
                }
                Op::Fold { steps, .. } => {
                    steps.iter().flatten().for_each(|rotation| add(*rotation, result.level));
                }
                _ => {}
            }
        }
        rotations.remove(&0);
        rotations
    }

    /// The evaluation keys that are needed, each at the level where it is used.
    pub fn evaluation_keys(&self) -> EvaluationKeySpec {
        let relinearized = self.ops.iter().filter_map(|op| match op {
            Op::Relinearize { source } | Op::RelinearizeRescale { source } => Some(self.types[source.0].level),
            _ => None,
        });
        EvaluationKeySpec { relinearization: relinearized.max(), rotations: self.rotations(), conjugation: None }
    }

    /// Bytes of the weights of matrices over slots, encoded.
    pub fn weight_bytes(&self) -> u64 {
        let bytes = |op: &Op| match op {
            Op::SlotMatrix { source, matrix, .. } => {
                let each = self.diagonal_bytes(self.types[source.0].level, matrix.period());
                (matrix.diagonals().len() * each) as u64
            }
            _ => 0,
        };
        self.ops.iter().map(bytes).sum()
    }

    /// Bytes of one encoded diagonal of this period for an operand at a level.
    pub(crate) fn diagonal_bytes(&self, level: Level, period: usize) -> usize {
        let limbs = level.limbs() + self.params.special_primes().len();
        limbs * ExtendedPlaintext::residues(&self.params, period) * size_of::<f64>()
    }

    /// Whether a relinearisation key is needed.
    pub fn relinearizes(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Relinearize { .. } | Op::RelinearizeRescale { .. }))
    }
}

/// `bias * scale`, rounded: the integer that is added to the scaled message.
pub(crate) fn scaled_bias(bias: f64, scale: &Scale) -> i128 {
    (bias * scale.to_f64()).round_ties_even() as i128
}

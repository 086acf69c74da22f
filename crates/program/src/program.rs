use nightloom_he::{CkksParams, Scale};

use crate::verify::{self, ValueType};
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
        Ok(Self { params: params.clone(), ops, names, output, types })
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

    /// The value that is the response.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// The type of the response.
    pub fn output_type(&self) -> &ValueType {
        &self.types[self.output.0]
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

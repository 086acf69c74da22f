//! Sums, products and powers, element by element or along axes.

use super::{At, Converted, Value};
use crate::diagnostic::Problem;
use crate::graph::{NodeId, Op, Tensor};
use crate::onnx::gate::MAX_EXPONENT;
use std::collections::HashMap;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::{DatumType, Tensor as Constant};

impl At<'_, '_> {
    pub(super) fn binary(&mut self, name: &str, operands: &[Value]) -> Converted {
        let unsupported = Problem::Unsupported { op: name.to_owned() };
        let id = match operands {
            &[Value::Data { node: left, batch: a }, Value::Data { node: right, batch: b }] => {
                if a != self.batch || b != self.batch {
                    return Err(self.mixed());
                }
                let same = left == right;
                let (left, right) = (self.broadcast(left)?, self.broadcast(right)?);
                match name {
                    "Add" => self.push(Op::Add, &[left, right])?,
                    "Sub" => self.push(Op::Sub, &[left, right])?,
                    "Mul" if same => self.push(Op::Square, &[left])?,
                    "Mul" => self.push(Op::Multiply, &[left, right])?,
                    "Div" => return Err(Problem::NotPolynomial { op: "Div".to_owned() }),
                    "Pow" => return Err(Problem::NeedsConstant { operand: "the exponent" }),
                    _ => return Err(unsupported),
                }
            }
            [Value::Data { node, batch }, Value::Constant(constant)] => {
                if *batch != self.batch {
                    return Err(self.mixed());
                }
                if name == "Pow" {
                    let exponents = self.floats(constant)?;
                    let operand = self.broadcast(*node)?;
                    return Ok((self.power(operand, &exponents)?, self.batch));
                }
                let constant = self.broadcast_constant(constant)?;
                let operand = self.broadcast(*node)?;
                match name {
                    "Add" => self.push(Op::AddConst(constant), &[operand])?,
                    "Sub" => self.push(Op::AddConst(constant.map(|value| -value)), &[operand])?,
                    "Mul" => self.push(Op::MulConst(constant), &[operand])?,
                    "Div" if constant.values().contains(&0.0) => {
                        return Err(Problem::NotFinite { tensor: self.converter.origin(&self.node.name).node });
                    }
                    "Div" => self.push(Op::MulConst(constant.map(f64::recip)), &[operand])?,
                    _ => return Err(unsupported),
                }
            }
            [Value::Constant(constant), Value::Data { node, batch }] => {
                if *batch != self.batch {
                    return Err(self.mixed());
                }
                let constant = self.broadcast_constant(constant)?;
                let operand = self.broadcast(*node)?;
                match name {
                    "Add" => self.push(Op::AddConst(constant), &[operand])?,
                    "Sub" => {
                        let negated =
                            self.push(Op::MulConst(Tensor::filled(self.shape.to_vec(), -1.0)?), &[operand])?;
                        self.push(Op::AddConst(constant), &[negated])?
                    }
                    "Mul" => self.push(Op::MulConst(constant), &[operand])?,
                    "Div" => return Err(Problem::NotPolynomial { op: "Div".to_owned() }),
                    "Pow" => return Err(Problem::NeedsConstant { operand: "the exponent" }),
                    _ => return Err(unsupported),
                }
            }
            _ => return Err(unsupported),
        };
        Ok((id, self.batch))
    }

    /// A whole power, by products of the least depth.
    fn power(&mut self, operand: NodeId, exponents: &[f64]) -> Result<NodeId, Problem> {
        let exponent = exponents.first().copied().unwrap_or(1.0);
        let whole = (0..=MAX_EXPONENT).find(|&whole| exponents.iter().all(|&value| value == f64::from(whole)));
        match whole {
            None => Err(Problem::Exponent { exponent, limit: MAX_EXPONENT }),
            Some(0) => self.push(Op::Constant(Tensor::filled(self.shape.to_vec(), 1.0)?), &[]),
            Some(exponent) => self.positive_power(exponent, &mut HashMap::from([(1, operand)])),
        }
    }

    /// The power `exponent` of what `known` holds as the first power.
    fn positive_power(&mut self, exponent: u32, known: &mut HashMap<u32, NodeId>) -> Result<NodeId, Problem> {
        if let Some(&id) = known.get(&exponent) {
            return Ok(id);
        }
        let half = self.positive_power(exponent / 2, known)?;
        let id = if exponent.is_multiple_of(2) {
            self.push(Op::Square, &[half])?
        } else {
            let rest = self.positive_power(exponent - exponent / 2, known)?;
            self.push(Op::Multiply, &[half, rest])?
        };
        known.insert(exponent, id);
        Ok(id)
    }

    pub(super) fn element_wise(&mut self, name: &str, operand: NodeId, batch: usize) -> Converted {
        let id = match name {
            "Square" => self.push(Op::Square, &[operand])?,
            "Neg" => self.push(Op::MulConst(Tensor::filled(self.shape.to_vec(), -1.0)?), &[operand])?,
            _ => return Err(Problem::NotPolynomial { op: name.to_owned() }),
        };
        Ok((id, batch))
    }

    pub(super) fn reduce(&mut self, op: &Reduce, operand: NodeId, batch: usize) -> Converted {
        let axes: Result<Vec<usize>, Problem> = op.axes.iter().map(|&axis| self.sample_axis(axis, batch)).collect();
        match op.reducer {
            Reducer::Sum => Ok((self.push(Op::ReduceSum(axes?), &[operand])?, batch)),
            _ => Err(Problem::NotPolynomial { op: format!("{:?}", op.reducer) }),
        }
    }

    pub(super) fn cast(&mut self, to: DatumType, operand: NodeId, batch: usize) -> Converted {
        // Into a float type only precision changes, and that is double here.
        if to.is_float() { Ok((operand, batch)) } else { Err(Problem::IntegerArithmetic) }
    }

    pub(super) fn dropout(&mut self, operand: NodeId, batch: usize, constants: &[&Constant]) -> Converted {
        let training = |constant: &&Constant| {
            constant.datum_type() == DatumType::Bool && constant.cast_to_scalar::<bool>().unwrap_or(true)
        };
        if constants.iter().any(training) {
            return Err(Problem::Unsupported { op: "Dropout in training mode".to_owned() });
        }
        Ok((operand, batch))
    }
}

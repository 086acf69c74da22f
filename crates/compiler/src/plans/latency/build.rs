//! The operations of a plan, one after another.

use std::collections::BTreeSet;

use nightloom_he::{CkksParams, Level, Scale};
use nightloom_program::{Diagonal, Op, Shape, SlotMatrix, SlotMatrixError, Source, ValueId, WeightArray};
use nightloom_ring::{IntegerMatrix, RingError};

use super::chain::ChainLayer;
use super::packing::{Place, SlotLayer};
use crate::network;

/// Operations so far, and what is known of the latest value.
pub(super) struct Builder<'a> {
    params: &'a CkksParams,
    pub ops: Vec<Op>,
    pub names: Vec<String>,
    pub values: Vec<network::ValueId>,
    pub magnitudes: Vec<f64>,
    /// What the arrays of encrypted weights hold.
    pub model: Vec<WeightArray>,
    pub level: Level,
    pub scale: Scale,
    last: ValueId,
    name: String,
    value: network::ValueId,
    magnitude: f64,
}

impl<'a> Builder<'a> {
    /// Begins with the request.
    pub fn new(params: &'a CkksParams, log_scale: i32, ciphertexts: usize, magnitude: f64) -> Self {
        let (level, scale) = (params.top(), Scale::power_of_two(log_scale));
        let mut builder = Self {
            params,
            ops: Vec::new(),
            names: Vec::new(),
            values: Vec::new(),
            magnitudes: Vec::new(),
            model: Vec::new(),
            level,
            scale: scale.clone(),
            last: ValueId(0),
            name: "input".to_owned(),
            value: network::ValueId::INPUT,
            magnitude,
        };
        builder.last = builder.push(Op::Input { features: ciphertexts, level, scale });
        builder
    }

    /// What the next operations belong to.
    pub fn at(&mut self, name: &str, value: network::ValueId, magnitude: f64) {
        name.clone_into(&mut self.name);
        (self.value, self.magnitude) = (value, magnitude);
    }

    fn push(&mut self, op: Op) -> ValueId {
        self.ops.push(op);
        self.names.push(self.name.clone());
        self.values.push(self.value);
        self.magnitudes.push(self.magnitude);
        ValueId(self.ops.len() - 1)
    }

    /// An operation on the latest value.
    pub fn then(&mut self, op: impl FnOnce(ValueId) -> Op) {
        let op = op(self.last);
        self.last = self.push(op);
    }

    /// Three components to two, with a rescaling or not.
    pub fn relinearize(&mut self, rescale: bool) {
        if rescale {
            self.then(|source| Op::RelinearizeRescale { source });
            self.drop_prime();
        } else {
            self.then(|source| Op::Relinearize { source });
        }
    }

    pub fn rescale(&mut self) {
        self.then(|source| Op::Rescale { source });
        self.drop_prime();
    }

    fn drop_prime(&mut self) {
        let prime = self.params.primes()[usize::from(self.level.0)];
        self.level = self.level.down(1).unwrap_or(self.level);
        self.scale = self.scale.divide_by(prime);
    }

    /// The matrix of a layer, with its weights in the clear.
    pub fn matrix(&mut self, layer: &SlotLayer, step: &ChainLayer, weight_scale: Scale) -> Result<(), SlotMatrixError> {
        let diagonals = layer.diagonals.iter().map(|(place, weights)| Diagonal {
            row: place.row,
            column: place.column,
            rotation: place.rotation,
            weights: weights.iter().map(|weight| *weight as f32).collect(),
        });
        let shape = Shape {
            rows: layer.output.ciphertexts(),
            columns: layer.inputs,
            period: layer.width(),
            base: step.steps.base,
            giants: step.steps.kind,
        };
        let matrix = SlotMatrix::new(shape, diagonals.collect())?;
        self.scale = self.scale.mul(&weight_scale);
        self.then(|source| Op::SlotMatrix { source, matrix, weight_scale, rescale: step.rescale_matrix });
        if step.rescale_matrix {
            self.drop_prime();
        }
        Ok(())
    }

    /// The matrix of a layer, with encrypted weights: a vector for every diagonal.
    pub fn encrypted_matrix(
        &mut self,
        layer: &SlotLayer,
        step: &ChainLayer,
        weight_scale: Scale,
    ) -> Result<(), RingError> {
        let rotations: BTreeSet<usize> = layer.diagonals.keys().map(|place| place.rotation).collect();
        let rotations: Vec<usize> = rotations.into_iter().collect();
        if rotations != [0] {
            let (rotations, base) = (rotations.clone(), step.steps.base);
            self.then(|source| Op::Rotate { source, rotations, base });
        }
        // Rotations of the first ciphertext come first.
        let turned = |place: &Place| {
            let rotation = rotations.binary_search(&place.rotation).unwrap_or(0);
            (place.column * rotations.len() + rotation) as u32
        };
        let wanted: Vec<u32> = layer.diagonals.keys().map(turned).collect();
        let all = (layer.inputs * rotations.len()) as u32;
        if !wanted.iter().copied().eq(0..all) {
            self.sum(&[], all as usize, &wanted.iter().map(|at| vec![*at]).collect::<Vec<_>>())?;
        }
        let vectors = layer.diagonals.values().flatten().copied().collect();
        let weights = self.weights(weight_scale.clone(), layer.width(), vectors);
        self.then(|left| Op::Multiply { left, right: weights });
        self.scale = self.scale.mul(&weight_scale);
        let mut rows = vec![Vec::new(); layer.output.ciphertexts()];
        layer.diagonals.keys().enumerate().for_each(|(at, place)| rows[place.row].push(at as u32));
        self.sum(&[], layer.diagonals.len(), &rows)?;
        self.relinearize(step.rescale_matrix);
        Ok(())
    }

    /// An encrypted bias.
    pub fn encrypted_bias(&mut self, layer: &SlotLayer) -> Result<(), RingError> {
        let ciphertexts = layer.output.ciphertexts();
        let bias = self.weights(self.scale.clone(), layer.output.width(), layer.bias.clone());
        let rows: Vec<Vec<u32>> = (0..ciphertexts).map(|row| vec![row as u32, (ciphertexts + row) as u32]).collect();
        self.sum(&[bias], 2 * ciphertexts, &rows)
    }

    /// An array of encrypted weights at the current level.
    fn weights(&mut self, scale: Scale, period: usize, vectors: Vec<f64>) -> ValueId {
        let (features, level) = (vectors.len() / period, self.level);
        self.model.push(WeightArray { level, scale: scale.clone(), period, vectors });
        self.push(Op::Model { features, level, scale, period })
    }

    /// Sums of ciphertexts of the latest value and others of its scale, of which there are `columns` together.
    fn sum(&mut self, others: &[ValueId], columns: usize, rows: &[Vec<u32>]) -> Result<(), RingError> {
        let ones = |row: &Vec<u32>| row.iter().map(|column| (*column, 1)).collect();
        let matrix = IntegerMatrix::new(columns, &rows.iter().map(ones).collect::<Vec<_>>())?;
        self.then(|last| {
            let source = |value| Source { value, weight_scale: Scale::power_of_two(0) };
            let sources = [last].iter().chain(others).map(|value| source(*value)).collect();
            Op::Linear { sources, bias: vec![0.0; matrix.rows()], matrix }
        });
        Ok(())
    }
}

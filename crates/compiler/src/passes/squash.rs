//! Squashing: everything affine between two products as one matrix.
//!
//! A graph is cut at its input, at each [`Op::Square`] and [`Op::Multiply`], and at what these multiply. Between cuts
//! every value is an affine function of cut values, carried as a sparse matrix and a bias through the operations. The
//! matrix comes from the linear parts alone, so a coefficient is a sum of products of weights and never the difference
//! of two evaluations; entries that no path reaches are absent.

use super::needed;
use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::graph::{Graph, Node, NodeId, Op};
use crate::linear::{self, Term};
use crate::matrix::{MatrixError, SparseMatrix};
use crate::network::{Network, Stage, ValueId};
use std::collections::BTreeSet;

/// Largest number of nonzero entries in all matrices together: 768 MiB.
pub const MAX_NONZEROS: usize = 1 << 26;

/// Largest number of multiplications that merging may take.
pub const MAX_MULTIPLICATIONS: usize = 1 << 30;

/// Names of merged nodes are listed up to about this length.
const MAX_NAME_BYTES: usize = 256;

/// Merges the affine parts of a graph.
///
/// # Errors
/// [`Problem::MatrixTooLarge`] beyond [`MAX_NONZEROS`], [`Problem::MergingTooLong`] beyond [`MAX_MULTIPLICATIONS`],
/// each with the node that goes too far; [`Problem::ConstantResult`] if nothing of the input reaches the
/// output or a factor.
pub fn squash(graph: &Graph) -> Result<Network, Diagnostics> {
    squash_within(graph, Limits { nonzeros: MAX_NONZEROS, multiplications: MAX_MULTIPLICATIONS })
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    nonzeros: usize,
    multiplications: usize,
}

fn squash_within(graph: &Graph, limits: Limits) -> Result<Network, Diagnostics> {
    let mut squash = Squash::new(graph, limits);
    let needed = needed(graph);
    let cut = cuts(graph, &needed);
    for (id, node) in graph.ids().zip(graph.nodes()) {
        if needed[id.index()] {
            squash.node(id, node, cut[id.index()]).map_err(|problem| Diagnostic::of_node(&node.origin, problem))?;
        }
    }
    let output = squash.values[graph.output().index()].unwrap_or(ValueId::INPUT);
    let (input_shape, output_shape) = (graph.shape(graph.input()), graph.shape(graph.output()));
    let notes = graph.notes().to_vec();
    let network = Network::new(input_shape.to_vec(), output_shape.to_vec(), squash.stages, output, notes);
    let network = network.map_err(|error| Diagnostic::of_file(error.into()))?;
    Ok(network.with_shapes(squash.shapes))
}

/// Which nodes become values of the network: the input, products, what they multiply, and the output.
fn cuts(graph: &Graph, needed: &[bool]) -> Vec<bool> {
    let mut cut = vec![false; graph.nodes().len()];
    cut[graph.output().index()] = true;
    for (id, node) in graph.ids().zip(graph.nodes()) {
        if needed[id.index()] && node.op.is_nonlinear() {
            node.inputs.iter().for_each(|operand| cut[operand.index()] = true);
        }
    }
    cut
}

/// The affine function that a node is of the values so far.
struct Form {
    /// Columns are the features of all values, one value after another.
    matrix: SparseMatrix,
    bias: Vec<f64>,
    /// Nodes that contribute, by index.
    nodes: BTreeSet<usize>,
}

struct Squash<'a> {
    graph: &'a Graph,
    limits: Limits,
    /// Forms of nodes that later nodes still read.
    forms: Vec<Option<Form>>,
    /// How many operands still read each node.
    uses: Vec<usize>,
    stages: Vec<Stage>,
    /// The value that each node is, if it is one.
    values: Vec<Option<ValueId>>,
    /// The shape of each value.
    shapes: Vec<Vec<usize>>,
    /// First column of each value; the end of the last one.
    first: Vec<usize>,
    /// Multiplications done.
    multiplications: usize,
}

impl<'a> Squash<'a> {
    fn new(graph: &'a Graph, limits: Limits) -> Squash<'a> {
        let mut uses = vec![0; graph.nodes().len()];
        graph.nodes().iter().flat_map(|node| &node.inputs).for_each(|operand| uses[operand.index()] += 1);
        Squash {
            graph,
            limits,
            forms: graph.nodes().iter().map(|_| None).collect(),
            uses,
            stages: Vec::new(),
            values: vec![None; graph.nodes().len()],
            shapes: Vec::new(),
            first: vec![0],
            multiplications: 0,
        }
    }

    /// Nonzero entries of all matrices that are kept.
    fn nonzeros(&self) -> usize {
        let stored = |stage: &Stage| if let Stage::Affine { matrix, .. } = stage { matrix.nonzeros() } else { 0 };
        let forms = self.forms.iter().flatten().map(|form| form.matrix.nonzeros());
        forms.chain(self.stages.iter().map(stored)).sum()
    }

    fn node(&mut self, id: NodeId, node: &Node, cut: bool) -> Result<(), Problem> {
        let form = match node.op {
            Op::Input => self.new_value(id)?,
            Op::Square | Op::Multiply => {
                let name = node.origin.node.clone();
                let operand = |i: usize| self.values[node.inputs[i].index()].unwrap_or(ValueId::INPUT);
                let (left, right) = (operand(0), operand(node.inputs.len() - 1));
                self.stages.push(if left == right {
                    Stage::Square { name, source: left }
                } else {
                    Stage::Multiply { name, left, right }
                });
                self.new_value(id)?
            }
            _ => {
                let form = self.compose(id, node)?;
                if cut { self.cut(id, form)? } else { form }
            }
        };
        self.forms[id.index()] = Some(form);
        for operand in &node.inputs {
            self.uses[operand.index()] -= 1;
            if self.uses[operand.index()] == 0 {
                self.forms[operand.index()] = None;
            }
        }
        Ok(())
    }

    /// Makes node `id` the next value and returns its form in terms of itself.
    fn new_value(&mut self, id: NodeId) -> Result<Form, Problem> {
        let shape = self.graph.shape(id);
        let length = shape.iter().product();
        self.shapes.push(shape.to_vec());
        let first = self.first[self.first.len() - 1];
        self.values[id.index()] = Some(ValueId(self.first.len() - 1));
        self.first.push(first + length);
        let matrix = SparseMatrix::shifted_identity(length, first, first + length)?;
        Ok(Form { matrix, bias: vec![0.0; length], nodes: BTreeSet::new() })
    }

    /// The form of an affine node, from the forms of its operands.
    fn compose(&mut self, id: NodeId, node: &Node) -> Result<Form, Problem> {
        let (kept, limits) = (self.nonzeros(), self.limits);
        let operands: Vec<&Form> =
            node.inputs.iter().filter_map(|operand| self.forms[operand.index()].as_ref()).collect();
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|&operand| self.graph.shape(operand)).collect();
        let columns = self.first[self.first.len() - 1];
        let mut nodes: BTreeSet<usize> = operands.iter().flat_map(|form| form.nodes.iter().copied()).collect();
        nodes.insert(id.index());
        let mut form = Form { matrix: SparseMatrix::new(columns), bias: Vec::new(), nodes };
        let mut row = SparseRow::new(columns);
        let mut multiplications = self.multiplications;
        let mut result = Ok(());
        linear::for_each_row(&node.op, &shapes, &node.shape, |_, terms| {
            if result.is_err() {
                return;
            }
            let lengths = terms.iter().map(|term| operands[term.operand].matrix.entries(term.index).len());
            multiplications = lengths.fold(multiplications, usize::saturating_add);
            form.bias.push(terms.iter().map(|term| term.weight * operands[term.operand].bias[term.index]).sum());
            result = if multiplications > limits.multiplications {
                Err(Problem::MergingTooLong { found: multiplications, limit: limits.multiplications })
            } else {
                row.combine(terms, &operands, &mut form.matrix).map_err(Problem::from)
            };
            let found = kept + form.matrix.nonzeros();
            if found > limits.nonzeros && result.is_ok() {
                result = Err(Problem::MatrixTooLarge { found, limit: limits.nonzeros });
            }
        });
        self.multiplications = multiplications;
        result?;
        match &node.op {
            Op::AddConst(shift) => form.bias.iter_mut().zip(shift.values()).for_each(|(bias, shift)| *bias += shift),
            Op::Constant(tensor) => {
                form.bias = tensor.values().to_vec();
                form.bias.iter().try_for_each(|_| form.matrix.push_row([]))?;
            }
            _ => {}
        }
        Ok(form)
    }

    /// Makes an affine node a value: an older one if it is just that, else that of a new stage.
    fn cut(&mut self, id: NodeId, form: Form) -> Result<Form, Problem> {
        if let Some(value) = self.same_value(&form) {
            self.values[id.index()] = Some(value);
            return Ok(form);
        }
        // Values that contribute, and how far their columns move when the others are left out.
        let mut used = vec![false; self.first.len() - 1];
        let value_of = |column: usize| self.first.partition_point(|&first| first <= column) - 1;
        (0..form.matrix.rows())
            .flat_map(|row| form.matrix.entries(row))
            .for_each(|(column, _)| used[value_of(column)] = true);
        let mut sources = Vec::new();
        let mut place = vec![0; used.len()];
        let mut columns = 0;
        for value in (0..used.len()).filter(|&value| used[value]) {
            sources.push(ValueId(value));
            place[value] = columns;
            columns += self.first[value + 1] - self.first[value];
        }
        if sources.is_empty() {
            return Err(Problem::ConstantResult);
        }
        let mut matrix = SparseMatrix::new(columns);
        for row in 0..form.matrix.rows() {
            matrix.push_row(form.matrix.entries(row).map(|(column, weight)| {
                let value = value_of(column);
                (place[value] + column - self.first[value], weight)
            }))?;
        }
        self.stages.push(Stage::Affine { name: self.name(&form.nodes), sources, matrix, bias: form.bias });
        self.new_value(id)
    }

    /// The value that a form just passes on, if it does.
    fn same_value(&self, form: &Form) -> Option<ValueId> {
        let (start, _) = form.matrix.entries(0).next()?;
        let value = self.first.binary_search(&start).ok()?;
        let length = self.first.get(value + 1)? - start;
        let passes = |row: usize| form.matrix.entries(row).eq([(start + row, 1.0)]) && form.bias[row] == 0.0;
        (form.matrix.rows() == length && (0..length).all(passes)).then_some(ValueId(value))
    }

    /// Names of the ONNX nodes that a set of nodes comes from, as far as they have room.
    fn name(&self, nodes: &BTreeSet<usize>) -> String {
        let mut names: Vec<&str> = Vec::new();
        let mut length = 0;
        for &node in nodes {
            let name = self.graph.nodes()[node].origin.node.as_str();
            if name.is_empty() || names.contains(&name) {
                continue;
            }
            length += name.len();
            if length > MAX_NAME_BYTES && !names.is_empty() {
                names.push("...");
                break;
            }
            names.push(name);
        }
        names.join(" + ")
    }
}

/// A row under construction: dense sums, and which of them are in use.
struct SparseRow {
    sums: Vec<f64>,
    used: Vec<bool>,
    columns: Vec<usize>,
}

impl SparseRow {
    fn new(columns: usize) -> SparseRow {
        SparseRow { sums: vec![0.0; columns], used: vec![false; columns], columns: Vec::new() }
    }

    /// Appends the weighted sum of rows of the operands to `matrix`.
    fn combine(&mut self, terms: &[Term], operands: &[&Form], matrix: &mut SparseMatrix) -> Result<(), MatrixError> {
        for term in terms {
            for (column, value) in operands[term.operand].matrix.entries(term.index) {
                if !std::mem::replace(&mut self.used[column], true) {
                    self.columns.push(column);
                }
                self.sums[column] += term.weight * value;
            }
        }
        // Rows of convolutions over a value come in order; sorting is then a single pass.
        self.columns.sort_unstable();
        let (sums, used) = (&mut self.sums, &mut self.used);
        matrix.push_row(self.columns.drain(..).map(|column| {
            used[column] = false;
            (column, std::mem::take(&mut sums[column]))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;

    /// The sum of all features in two nodes, repeated, squared.
    fn graph() -> Graph {
        let mut graph = Graph::new(vec![64]).unwrap();
        let mut push = |name: &str, op, operand| {
            graph.push(op, vec![operand], Origin { node: name.into(), op: String::new() }).unwrap()
        };
        let sum = push("sum", Op::ReduceSum(vec![0]), NodeId(0));
        let many = push("many", Op::Select { axis: 0, indices: vec![0; 32] }, sum);
        let output = push("square", Op::Square, many);
        graph.set_output(output).unwrap();
        graph
    }

    #[test]
    fn merging_is_bounded_in_space_and_time() {
        let within = |nonzeros, multiplications| squash_within(&graph(), Limits { nonzeros, multiplications });
        let refused = |found: Result<Network, Diagnostics>| {
            let Diagnostic { node, problem, .. } = found.map(drop).unwrap_err().0.remove(0);
            (node, problem)
        };
        // The input is kept as an identity while the sum is computed, the sum while it is repeated.
        let (nonzeros, multiplications) = (64 + 32 * 64, 64 + 32 * 64);
        assert!(within(nonzeros, multiplications).is_ok());
        let found = refused(within(nonzeros - 1, multiplications));
        assert_eq!(found, ("many".into(), Problem::MatrixTooLarge { found: nonzeros, limit: nonzeros - 1 }));
        let found = refused(within(127, multiplications));
        assert_eq!(found, ("sum".into(), Problem::MatrixTooLarge { found: 128, limit: 127 }));
        let found = refused(within(nonzeros, multiplications - 1));
        let limit = multiplications - 1;
        assert_eq!(found, ("many".into(), Problem::MergingTooLong { found: multiplications, limit }));
    }

    #[test]
    fn names_are_listed_as_far_as_they_have_room() {
        let mut graph = Graph::new(vec![1]).unwrap();
        let shift = || crate::graph::Tensor::filled(vec![1], 1.0).unwrap();
        let output = (0..100).fold(graph.input(), |operand, index| {
            let origin = Origin { node: format!("layer {index}"), op: String::new() };
            graph.push(Op::AddConst(shift()), vec![operand], origin).unwrap()
        });
        graph.set_output(output).unwrap();
        let network = squash(&graph).unwrap();
        let name = network.stages()[0].name();
        assert!(name.starts_with("layer 0 + layer 1 + ") && name.ends_with(" + ..."), "{name}");
        assert!(name.len() < 2 * MAX_NAME_BYTES, "{name}");
    }
}

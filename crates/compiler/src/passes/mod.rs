//! The passes, in the order in which [`pipeline`](crate::pipeline) runs them.

pub mod fold;
pub mod quadratic;
pub mod squash;

use crate::graph::{Graph, Node, NodeId, ShapeError};

/// Copies `graph`, letting `emit` choose what to append for each node; its operands are already those of the copy.
///
/// Nodes that the output does not need are left out.
fn rewrite(
    graph: &Graph,
    mut emit: impl FnMut(&mut Graph, NodeId, &Node, Vec<NodeId>) -> Result<NodeId, ShapeError>,
) -> Result<Graph, ShapeError> {
    let needed = needed(graph);
    let mut copy = Graph::new(graph.shape(graph.input()).to_vec())?;
    let mut map = vec![copy.input(); graph.nodes().len()];
    for (id, node) in graph.ids().zip(graph.nodes()).skip(1) {
        if needed[id.index()] {
            let operands = node.inputs.iter().map(|operand| map[operand.index()]).collect();
            map[id.index()] = emit(&mut copy, id, node, operands)?;
        }
    }
    copy.set_output(map[graph.output().index()])?;
    graph.notes().iter().for_each(|note| copy.add_note(note.clone()));
    Ok(copy)
}

/// `graph` without the nodes that its output does not need.
fn sweep(graph: &Graph) -> Result<Graph, ShapeError> {
    rewrite(graph, |copy, _, node, operands| copy.push(node.op.clone(), operands, node.origin.clone()))
}

/// Which nodes the output needs.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    needed[graph.output().index()] = true;
    for (id, node) in graph.ids().zip(graph.nodes()).rev() {
        if needed[id.index()] {
            node.inputs.iter().for_each(|operand| needed[operand.index()] = true);
        }
    }
    needed
}

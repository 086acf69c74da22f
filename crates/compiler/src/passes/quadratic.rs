//! Quadratic activations as one square.
//!
//! `a x^2 + b x + c`, however it is written, becomes `a (x + h)^2 + k` with `h = b / 2a` and `k = c - b^2 / 4a`. The shift
//! before and the scale and shift after the square are affine and merge into the neighbouring layers, so the activation
//! costs one square and no second path around it. Constants may differ from element to element.
//!
//! Completing the square subtracts numbers of size `a h^2`: where the activation is nearly linear on the values it meets
//! (`|h|` much larger than `|x|`), it costs `2 log2(|h| / |x|)` bits of precision. The bounds of
//! [`Network::ranges`](crate::network::Network::ranges) show it.

use super::{rewrite, sweep};
use crate::graph::{Graph, Node, NodeId, Op, Origin, ShapeError, Tensor};

/// Rewrites sums and products that are quadratic in one tensor, element by element.
///
/// Quadratics whose leading coefficient is zero for some elements only, and everything of higher degree, stay as they
/// are.
///
/// # Errors
/// None for a graph whose shapes hold; [`ShapeError`] is passed on from rebuilding it.
pub fn complete_squares(graph: &Graph) -> Result<Graph, ShapeError> {
    let mut forms: Vec<Quadratic> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let form = form(node, &forms).unwrap_or_else(|| Quadratic::of(id));
        forms.push(form);
    }
    let mut map = vec![graph.input(); graph.nodes().len()];
    let rewritten = rewrite(graph, |copy, id, node, operands| {
        let form = &forms[id.index()];
        let new = match form.vertex() {
            Some(vertex) => vertex.emit(copy, map[form.base.index()], &node.shape, &node.origin)?,
            None => copy.push(node.op.clone(), operands, node.origin.clone())?,
        };
        map[id.index()] = new;
        Ok(new)
    })?;
    sweep(&rewritten)
}

/// A value as `a x^2 + b x + c` of the value `base`, element by element.
#[derive(Debug, Clone)]
struct Quadratic {
    base: NodeId,
    /// `None` where the coefficient is the same for all elements, as it starts out.
    a: Coefficient,
    b: Coefficient,
    c: Coefficient,
    /// Whether it is written with more than one path from the base, so that a single square is simpler.
    joined: bool,
}

/// One coefficient for all elements, or one for each.
#[derive(Debug, Clone)]
enum Coefficient {
    All(f64),
    Each(Vec<f64>),
}

impl Coefficient {
    fn combine(&self, other: &Coefficient, f: impl Fn(f64, f64) -> f64) -> Coefficient {
        use Coefficient::{All, Each};
        match (self, other) {
            (&All(a), &All(b)) => All(f(a, b)),
            (&All(a), Each(b)) => Each(b.iter().map(|&b| f(a, b)).collect()),
            (Each(a), &All(b)) => Each(a.iter().map(|&a| f(a, b)).collect()),
            (Each(a), Each(b)) => Each(a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()),
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Coefficient::All(value) => *value == 0.0,
            Coefficient::Each(values) => values.iter().all(|&value| value == 0.0),
        }
    }

    fn has_zero(&self) -> bool {
        match self {
            Coefficient::All(value) => *value == 0.0,
            Coefficient::Each(values) => values.contains(&0.0),
        }
    }

    fn tensor(self, shape: &[usize]) -> Result<Tensor, ShapeError> {
        match self {
            Coefficient::All(value) => Tensor::filled(shape.to_vec(), value),
            Coefficient::Each(values) => Tensor::new(shape.to_vec(), values),
        }
    }
}

impl Quadratic {
    /// A value in terms of itself.
    fn of(base: NodeId) -> Quadratic {
        let [a, b, c] = [0.0, 1.0, 0.0].map(Coefficient::All);
        Quadratic { base, a, b, c, joined: false }
    }

    fn sum(&self, other: &Quadratic, f: impl Fn(f64, f64) -> f64) -> Option<Quadratic> {
        (self.base == other.base).then(|| Quadratic {
            base: self.base,
            a: self.a.combine(&other.a, &f),
            b: self.b.combine(&other.b, &f),
            c: self.c.combine(&other.c, &f),
            joined: true,
        })
    }

    /// The product, if it is no more than quadratic.
    fn product(&self, other: &Quadratic) -> Option<Quadratic> {
        let mul = |left: &Coefficient, right: &Coefficient| left.combine(right, |a, b| a * b);
        (self.base == other.base && self.a.is_zero() && other.a.is_zero()).then(|| Quadratic {
            base: self.base,
            a: mul(&self.b, &other.b),
            b: mul(&self.b, &other.c).combine(&mul(&self.c, &other.b), |a, b| a + b),
            c: mul(&self.c, &other.c),
            joined: true,
        })
    }

    /// The form to write instead, if there is a simpler one.
    fn vertex(&self) -> Option<Vertex> {
        if !self.joined {
            return None;
        }
        if self.a.is_zero() {
            return Some(Vertex::Affine { scale: self.b.clone(), shift: self.c.clone() });
        }
        if self.a.has_zero() {
            return None;
        }
        let before = self.b.combine(&self.a, |b, a| b / (2.0 * a));
        let after = self.c.combine(&self.b.combine(&before, |b, h| b * h / 2.0), |c, excess| c - excess);
        Some(Vertex::Square { before, scale: self.a.clone(), after })
    }
}

/// The form of `node` in terms of an earlier node, if it works element by element.
fn form(node: &Node, forms: &[Quadratic]) -> Option<Quadratic> {
    let operand = |i: usize| node.inputs.get(i).map(|operand| &forms[operand.index()]);
    match &node.op {
        Op::AddConst(shift) => {
            let form = operand(0)?;
            let shift = Coefficient::Each(shift.values().to_vec());
            Some(Quadratic { c: form.c.combine(&shift, |c, shift| c + shift), ..form.clone() })
        }
        Op::MulConst(scale) => {
            let form = operand(0)?;
            let scale = Coefficient::Each(scale.values().to_vec());
            let [a, b, c] = [&form.a, &form.b, &form.c].map(|old| old.combine(&scale, |old, scale| old * scale));
            Some(Quadratic { a, b, c, ..form.clone() })
        }
        Op::Add => operand(0)?.sum(operand(1)?, |a, b| a + b),
        Op::Sub => operand(0)?.sum(operand(1)?, |a, b| a - b),
        Op::Multiply => operand(0)?.product(operand(1)?),
        Op::Square => operand(0)?.product(operand(0)?).map(|form| Quadratic { joined: false, ..form }),
        _ => None,
    }
}

/// How to write a quadratic.
enum Vertex {
    Affine { scale: Coefficient, shift: Coefficient },
    Square { before: Coefficient, scale: Coefficient, after: Coefficient },
}

impl Vertex {
    fn emit(self, graph: &mut Graph, base: NodeId, shape: &[usize], origin: &Origin) -> Result<NodeId, ShapeError> {
        let mut push = |op, operand| graph.push(op, vec![operand], origin.clone());
        let (base, scale, shift) = match self {
            Vertex::Affine { scale, shift } => (base, scale, shift),
            Vertex::Square { before, scale, after } => {
                let shifted = push(Op::AddConst(before.tensor(shape)?), base)?;
                (push(Op::Square, shifted)?, scale, after)
            }
        };
        let scaled = push(Op::MulConst(scale.tensor(shape)?), base)?;
        push(Op::AddConst(shift.tensor(shape)?), scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::fold::fold;
    use proptest::prelude::*;

    fn names(graph: &Graph) -> Vec<&'static str> {
        graph.nodes().iter().map(|node| node.op.name()).collect()
    }

    fn tensor(values: &[f64]) -> Tensor {
        Tensor::new(vec![values.len()], values.to_vec()).unwrap()
    }

    /// `a x^2 + b x + c` in one of several ways of writing it.
    fn written(way: usize, a: &[f64], b: &[f64], c: &[f64]) -> Graph {
        let mut graph = Graph::new(vec![a.len()]).unwrap();
        let input = graph.input();
        let mut push = |op, operands: &[NodeId]| graph.push(op, operands.to_vec(), Origin::default()).unwrap();
        let output = match way {
            0 => {
                let square = push(Op::Square, &[input]);
                let scaled = push(Op::MulConst(tensor(a)), &[square]);
                let linear = push(Op::MulConst(tensor(b)), &[input]);
                let sum = push(Op::Add, &[scaled, linear]);
                push(Op::AddConst(tensor(c)), &[sum])
            }
            1 => {
                let inner = push(Op::MulConst(tensor(a)), &[input]);
                let inner = push(Op::AddConst(tensor(b)), &[inner]);
                let product = push(Op::Multiply, &[inner, input]);
                push(Op::AddConst(tensor(c)), &[product])
            }
            _ => {
                let minus = tensor(b).map(|b| -b);
                let linear = push(Op::MulConst(minus), &[input]);
                let constant = tensor(c).map(|c| -c);
                let linear = push(Op::AddConst(constant), &[linear]);
                let product = push(Op::Multiply, &[input, input]);
                let scaled = push(Op::MulConst(tensor(a)), &[product]);
                push(Op::Sub, &[scaled, linear])
            }
        };
        graph.set_output(output).unwrap();
        graph
    }

    proptest! {
        #[test]
        fn quadratics_take_one_square(
            way in 0..3usize,
            [a, b, c, x] in prop::array::uniform4(prop::array::uniform2(-10.0..10.0f64)),
        ) {
            prop_assume!(a.iter().all(|a| a.abs() > 1e-3));
            let graph = written(way, &a, &b, &c);
            let simpler = complete_squares(&graph).unwrap();
            prop_assert_eq!(names(&simpler), ["Input", "AddConst", "Square", "MulConst", "AddConst"]);
            for ((before, after), (a, b)) in graph.evaluate(&x).iter().zip(simpler.evaluate(&x)).zip(a.iter().zip(&b)) {
                let size = 100.0 * (a.abs() + b.abs()) + b * b / a.abs() + 10.0;
                prop_assert!((before - after).abs() <= 1e-14 * size, "{} {}", before, after);
            }
        }
    }

    #[test]
    fn plain_squares_stay() {
        let mut graph = Graph::new(vec![2]).unwrap();
        let scaled = graph.push(Op::MulConst(tensor(&[3.0, 5.0])), vec![graph.input()], Origin::default()).unwrap();
        let shifted = graph.push(Op::AddConst(tensor(&[1.0, 2.0])), vec![scaled], Origin::default()).unwrap();
        let square = graph.push(Op::Square, vec![shifted], Origin::default()).unwrap();
        let output = graph.push(Op::MulConst(tensor(&[0.5, 0.5])), vec![square], Origin::default()).unwrap();
        graph.set_output(output).unwrap();
        assert_eq!(complete_squares(&graph).unwrap(), graph);
    }

    #[test]
    fn quadratics_that_cancel_become_affine() {
        let mut graph = Graph::new(vec![2]).unwrap();
        let input = graph.input();
        let square = graph.push(Op::Square, vec![input], Origin::default()).unwrap();
        let sum = graph.push(Op::Add, vec![square, input], Origin::default()).unwrap();
        let rest = graph.push(Op::Sub, vec![sum, square], Origin::default()).unwrap();
        graph.set_output(rest).unwrap();
        assert_eq!(names(&fold(&complete_squares(&graph).unwrap()).unwrap()), ["Input"]);
    }

    #[test]
    fn what_is_no_single_square_stays() {
        let mixed = written(0, &[1.0, 0.0], &[1.0, 1.0], &[0.0, 0.0]);
        assert_eq!(complete_squares(&mixed).unwrap(), mixed, "linear in one element, quadratic in the other");
        let mut cubic = written(1, &[1.0, 2.0], &[3.0, 4.0], &[0.0, 0.0]);
        let output = cubic.push(Op::Multiply, vec![cubic.output(), cubic.input()], Origin::default()).unwrap();
        cubic.set_output(output).unwrap();
        let simpler = complete_squares(&cubic).unwrap();
        assert_eq!(names(&simpler), ["Input", "AddConst", "Square", "MulConst", "AddConst", "Multiply"]);
        assert!((simpler.evaluate(&[2.0, -1.0])[0] - cubic.evaluate(&[2.0, -1.0])[0]).abs() < 1e-12);
    }
}

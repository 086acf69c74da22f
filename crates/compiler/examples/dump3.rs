use nightloom_compiler::{network::Stage, onnx::import, passes, pipeline};
fn main() {
    for path in std::env::args().skip(1) {
        println!("== {path}");
        let bytes = std::fs::read(&path).unwrap();
        let t = std::time::Instant::now();
        let g = match import(&bytes) {
            Ok(g) => g,
            Err(e) => {
                println!("{e}");
                continue;
            }
        };
        let t1 = t.elapsed();
        let g2 = pipeline::simplify(g).unwrap();
        let t2 = t.elapsed();
        let n = passes::squash::squash(&g2).unwrap();
        println!("import {t1:?} simplify {:?} squash {:?}", t2 - t1, t.elapsed() - t2);
        for (i, node) in g2.nodes().iter().enumerate() {
            println!(
                "{i:3} {:10} {:?} -> {:?}  {} {}",
                node.op.name(),
                node.inputs,
                node.shape,
                node.origin.op,
                node.origin.node
            )
        }
        for s in n.stages() {
            match s {
                Stage::Affine { name, sources, matrix, bias } => println!(
                    "  affine {name}: {sources:?} {}x{} nnz {} bias {}",
                    matrix.rows(),
                    matrix.columns(),
                    matrix.nonzeros(),
                    bias.iter().filter(|b| **b != 0.0).count()
                ),
                s => println!("  {s:?}"),
            }
        }
        println!("  output {:?} {:?} notes {:?}", n.output(), n.output_shape(), n.notes());
    }
}

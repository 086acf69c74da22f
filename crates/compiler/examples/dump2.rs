use nightloom_compiler::onnx::import;
fn main() {
    for path in std::env::args().skip(1) {
        println!("== {path}");
        match import(&std::fs::read(&path).unwrap()) {
            Ok(g) => {
                for (i, n) in g.nodes().iter().enumerate() {
                    println!(
                        "{i:3} {:10} {:?} -> {:?}  {} {}",
                        n.op.name(),
                        n.inputs,
                        n.shape,
                        n.origin.op,
                        n.origin.node
                    )
                }
            }
            Err(e) => println!("{e}"),
        }
    }
}

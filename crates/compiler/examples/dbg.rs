use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let m = tract_onnx::onnx().model_for_path(path).unwrap();
    for n in m.nodes() {
        println!(
            "{} {} {:?} {:?} {:?}",
            n.id,
            n.name,
            n.op,
            n.inputs,
            n.outputs.iter().map(|o| o.fact.clone()).collect::<Vec<_>>()
        );
    }
}

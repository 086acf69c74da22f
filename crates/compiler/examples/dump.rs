use tract_onnx::prelude::*;
fn main() -> TractResult<()> {
    for path in std::env::args().skip(1) {
        println!("== {path}");
        let model = tract_onnx::onnx().model_for_path(&path)?.into_typed()?;
        for (stage, m) in [("typed", model.clone()), ("declutter", model.into_decluttered()?)] {
            println!("-- {stage}");
            for id in m.eval_order()? {
                let n = m.node(id);
                println!(
                    "{:3} {:40} {:?} {:?} -> {:?} {}",
                    id,
                    n.name,
                    n.op,
                    n.inputs,
                    n.outputs[0].fact.shape,
                    n.outputs[0].fact.konst.is_some()
                );
            }
        }
    }
    Ok(())
}

use nightloom_compiler::{diagnostic::Problem, onnx::import, pipeline::load};
use prost::Message;
use tract_onnx::pb::TensorProto;
fn values(t: &TensorProto) -> Option<Vec<f64>> {
    Some(match t.data_type {
        1 if !t.raw_data.is_empty() => {
            t.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect()
        }
        1 => t.float_data.iter().map(|v| *v as f64).collect(),
        11 if !t.raw_data.is_empty() => {
            t.raw_data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        _ => return None,
    })
}
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut counts = std::collections::BTreeMap::<String, (usize, Vec<String>)>::new();
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).unwrap();
        let dir = std::path::Path::new(&path).parent().unwrap();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let mut m = tract_onnx::pb::ModelProto::decode(&bytes[..]).unwrap();
        {
            let g = m.graph.as_mut().unwrap();
            let filled: Vec<String> = g.initializer.iter().map(|t| t.name.clone()).collect();
            let names: Vec<String> = g.input.iter().map(|i| i.name.clone()).filter(|n| !filled.contains(n)).collect();
            for (i, n) in names.iter().enumerate().skip(1) {
                if let Ok(b) = std::fs::read(dir.join("test_data_set_0").join(format!("input_{i}.pb"))) {
                    if let Ok(mut t) = TensorProto::decode(&b[..]) {
                        t.name = n.clone();
                        g.initializer.push(t);
                    }
                }
            }
        }
        for o in &mut m.opset_import {
            if o.domain.is_empty() && o.version == 6 {
                o.version = 7;
            }
        }
        let bytes = m.encode_to_vec();
        let key = match import(&bytes) {
            Err(e) => {
                let p = &e.0[0].problem;
                let d = format!("{p:?}");
                let k = d.split([' ', '(', '{']).next().unwrap().to_string();
                if matches!(
                    p,
                    Problem::ReaderPanicked { .. }
                        | Problem::Inference { .. }
                        | Problem::Shape(_)
                        | Problem::BatchMixed { .. }
                ) {
                    println!("{name}: {e}");
                }
                k
            }
            Ok(g) => {
                let load1 = |f: &str| {
                    TensorProto::decode(&std::fs::read(dir.join("test_data_set_0").join(f)).unwrap()[..]).unwrap()
                };
                let (x, y) = (load1("input_0.pb"), load1("output_0.pb"));
                match (values(&x), values(&y)) {
                    (Some(xv), Some(yv)) if !x.dims.is_empty() => {
                        let batch = x.dims[0] as usize;
                        let out = g.evaluate_batch(&xv, batch);
                        if !g
                            .notes()
                            .iter()
                            .all(|n| matches!(n, nightloom_compiler::graph::Note::BatchSizeIgnored { .. }))
                        {
                            "noted".into()
                        } else if out.len() != yv.len() {
                            println!("LENGTH {name} {} {}", out.len(), yv.len());
                            "length".into()
                        } else {
                            let scale = yv.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
                            let d = out.iter().zip(&yv).fold(0f64, |m, (a, b)| m.max((a - b).abs() / scale));
                            if d < 1e-4 || d.is_nan() {
                                let n = load(&bytes);
                                if n.is_err() {
                                    println!("LOAD {name} {}", n.unwrap_err());
                                }
                                if d.is_nan() { "nan".into() } else { "match".into() }
                            } else {
                                println!("MISMATCH {name} {d}");
                                "mismatch".into()
                            }
                        }
                    }
                    _ => "imported, other type".into(),
                }
            }
        };
        let c = counts.entry(key).or_default();
        c.0 += 1;
        c.1.push(name);
    }
    for (k, (n, names)) in &counts {
        println!("{k}: {n}");
        if k == "match" || k.starts_with("imported") || k == "noted" {
            println!("   {}", names.join(" "));
        }
    }
}

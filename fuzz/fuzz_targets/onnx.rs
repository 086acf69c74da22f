//! [`import`] on foreign bytes, and the passes and the evaluation of what it returns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_compiler::onnx::import;
use nightloom_compiler::pipeline::simplify;

/// Elements of all tensors above which an evaluation is slow.
const MANY: usize = 1 << 16;

fuzz_target!(
    // Panics of the reader below the importer end there and are answers. Those that leave the importer end the target
    // without a hook too.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let Ok(graph) = import(bytes) else { return };
        let elements: usize = graph.nodes().iter().map(|node| node.shape.iter().product::<usize>()).sum();
        if elements > MANY {
            return;
        }
        let input = vec![0.5; graph.shape(graph.input()).iter().product()];
        let output: usize = graph.shape(graph.output()).iter().product();
        assert_eq!(graph.evaluate(&input).len(), output);
        let simplified = simplify(graph).expect("the shapes of an imported graph hold");
        assert_eq!(simplified.evaluate(&input).len(), output);
    }
);

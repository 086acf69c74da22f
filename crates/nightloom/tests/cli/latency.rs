//! Single images, and models that their owners encrypt.

use crate::folder::{Folder, text};
use crate::logits;

/// The outputs of a table, within the bound that the client's specification states.
fn outputs_within_the_bound(folder: &Folder, client: &str, table: &str) {
    let told = folder.run(&format!("inspect {client}"));
    let specification: serde_json::Value = serde_json::from_str(&told[told.find('{').unwrap()..]).unwrap();
    let bound = specification["error_bound"].as_f64().unwrap();
    let reference = nightloom::demo::Model::E2dm.reference_logits().unwrap();
    let scaling = nightloom::samples::Scaling { scale: 1.0, offset: 0.0 };
    let reference = reference.features(&[10], scaling).unwrap();
    let found = logits(&std::fs::read_to_string(folder.path(table)).unwrap());
    assert!(!found.is_empty());
    for (image, row) in found.iter().enumerate() {
        for (found, expected) in row.iter().zip(reference.row(image)) {
            assert!((found - expected).abs() < bound, "image {image}: {found} for {expected}, bound {bound}");
        }
    }
}

#[test]
fn one_image_is_answered_and_the_planner_says_how() {
    let folder = Folder::new();
    let explained = folder.run("explain e2dm.onnx --optimize latency --samples images.idx");
    for wanted in ["latency, by offset", "throughput", "slot matrix+rescale", "in order of latency"] {
        assert!(explained.contains(wanted), "no {wanted} in {explained}");
    }
    folder.run("compile e2dm.onnx --optimize latency --samples images.idx");
    std::fs::write(folder.path("one.idx"), crate::folder::idx(1)).unwrap();
    folder.run("keygen e2dm.client -o keys");
    folder.run("encrypt e2dm.client one.idx --key keys/secret.key -o request");
    folder.run("run e2dm.server request --keys keys/evaluation.keys -o response");
    let told = folder.run("decrypt e2dm.client response --key keys/secret.key -o one.csv");
    assert!(told.contains("largest error in slots that should be zero"), "{told}");
    outputs_within_the_bound(&folder, "e2dm.client", "one.csv");
    // Three images are three batches of one.
    let told = folder.run("encrypt e2dm.client images.idx --first 3 --public-key keys/public.key -o three");
    assert!(told.contains("3 samples in 3 batches"), "{told}");
    // Kernels agree bit for bit.
    let portable = folder.command("run e2dm.server request --keys keys/evaluation.keys -o portable");
    assert!({ portable }.env("NIGHTLOOM_KERNEL", "portable").status().unwrap().success());
    assert!(std::fs::read(folder.path("portable")).unwrap() == std::fs::read(folder.path("response")).unwrap());
    // Weights that are not kept are encoded when they are used.
    folder.run("run e2dm.server request --keys keys/evaluation.keys --weight-memory 0 -o small");
    assert!(std::fs::read(folder.path("small")).unwrap() == std::fs::read(folder.path("response")).unwrap());
    // Keys of the throughput plan lack the rotations, and are of other parameters.
    folder.run("compile e2dm.onnx --name full");
    folder.run("keygen full.client -o full-keys");
    let told = folder.fail("run e2dm.server request --keys full-keys/evaluation.keys -o x");
    assert!(told.contains("not made for each other"), "{told}");
}

#[test]
fn a_model_is_encrypted_by_its_owner_for_each_client() {
    let folder = Folder::new();
    folder.run("compile e2dm.onnx --optimize latency --encrypt-model --samples images.idx");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path("e2dm.owner")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let bytes = |name: &str| std::fs::metadata(folder.path(name)).unwrap().len();
    assert!(bytes("e2dm.server") < bytes("e2dm.onnx") / 4, "the service's program has no weights");
    folder.run("keygen e2dm.client -o keys");
    folder.run("encrypt-model e2dm.owner --public-key keys/public.key -o model");
    std::fs::write(folder.path("one.idx"), crate::folder::idx(1)).unwrap();
    folder.run("encrypt e2dm.client one.idx --key keys/secret.key -o request");
    folder.run("run e2dm.server request --keys keys/evaluation.keys --model model -o response");
    folder.run("decrypt e2dm.client response --key keys/secret.key -o one.csv");
    outputs_within_the_bound(&folder, "e2dm.client", "one.csv");

    let before = folder.names();
    let told = folder.fail("run e2dm.server request --keys keys/evaluation.keys -o x");
    assert!(told.contains("--model"), "{told}");
    folder.run("compile e2dm.onnx --name clear --optimize latency --samples images.idx");
    folder.run("keygen clear.client -o clear-keys");
    for (arguments, wanted) in [
        ("encrypt-model e2dm.owner --public-key clear-keys/public.key -o x", "not made for each other"),
        ("run clear.server request --keys clear-keys/evaluation.keys --model model -o x", "weights"),
        ("run e2dm.server request --keys keys/evaluation.keys --model request -o x", "found a request"),
        ("encrypt-model e2dm.server --public-key keys/public.key -o x", "found a server program"),
    ] {
        let told = folder.fail(arguments);
        assert!(told.contains(wanted), "{arguments}: {told}");
    }
    // Half a model.
    let model = std::fs::read(folder.path("model")).unwrap();
    std::fs::write(folder.path("half"), &model[..model.len() / 2]).unwrap();
    let output =
        folder.command("run e2dm.server request --keys keys/evaluation.keys --model half -o x").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("header announces"), "{}", text(&output.stderr));
    assert!(!folder.path("x").exists() && before.iter().all(|name| folder.path(name).exists()));
}

#[test]
fn what_no_plan_meets_is_named() {
    let folder = Folder::new();
    let told = folder.fail("compile e2dm.onnx --optimize latency --max-memory 1");
    assert!(told.contains("fits 1 MB") && told.contains("needs least is the latency"), "{told}");
    let told = folder.fail("compile e2dm.onnx --optimize latency --precision 45");
    assert!(told.contains("bits"), "{told}");
    folder.run("compile e2dm.onnx --optimize latency");
    folder.run("keygen e2dm.client -o keys");
    // An image of another size.
    let mut small = vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 20];
    small.resize(16 + 400, 7);
    std::fs::write(folder.path("small.idx"), small).unwrap();
    let told = folder.fail("encrypt e2dm.client small.idx --key keys/secret.key -o x");
    assert!(told.contains("20") && told.contains("28"), "{told}");
}

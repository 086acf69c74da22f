//! Sums over clients, and products for one.

use serde_json::Value;

use super::parties::{Parties, Serving};

/// Four clients, of whom one is cut off while it sends: the round completes, and nobody's update is opened.
#[test]
fn a_round_completes_although_a_client_drops_out() {
    let parties = Parties::new();
    let clients = ["anna", "bert", "carl", "dora"];
    parties.run(
        "train authority init auth --mode aggregate --input 14x14 --classes 10 --network 196-8-10 --rate 0.3 --batch 16 --local-epochs 8 \
         --without-privacy --client anna --client bert --client carl --client dora --server trainer",
    );
    let serving = Serving::of(&parties, "auth");
    let address = format!("--authority {}", serving.socket);
    let told = parties.run("train server run auth/trainer.token -o round0");
    assert!(told.contains("mode aggregate") && told.contains("round 0"), "{told}");
    for (number, client) in clients.iter().enumerate() {
        parties.share(client, 200 * number, 200 * (number + 1));
        let told = parties.run(&format!(
            "train client contribute auth/{client}.token {client}.idx --labels {client}-labels.idx --model round0 -o {client}.part"
        ));
        assert!(told.contains("200 samples") && told.contains("under a pad of its own"), "{told}");
    }
    // It sent half of its part.
    let whole = std::fs::read(parties.path("dora.part")).unwrap();
    std::fs::write(parties.path("half.part"), &whole[..whole.len() / 2]).unwrap();
    let round = "train server run auth/trainer.token --model round0";
    let told = parties.fail(&format!("{round} {address} -o x anna.part bert.part carl.part half.part"));
    assert!(told.contains("half.part") && told.contains("header announces"), "{told}");
    let told = parties.fail(&format!("{round} {address} -o x anna.part bert.part"));
    assert!(told.contains("of 2 clients; at least 3"), "{told}");
    let told = parties.fail(&format!("{round} {address} -o x anna.part bert.part anna.part"));
    assert!(told.contains("at least 3"), "{told}");

    let told = parties.run(&format!(
        "{round} {address} -o round1 --test images.idx --test-labels labels.idx anna.part bert.part carl.part"
    ));
    assert!(told.contains("the sum of 3 contributions, the network of round 1"), "{told}");
    let accuracy: f64 = told.split("test accuracy").nth(1).unwrap().trim().trim_end_matches(" %").parse().unwrap();
    assert!(accuracy > 40.0, "{told}");
    // The late one is not summed with the same others: the difference of two sums would be its own.
    let told = parties.fail(&format!("{round} {address} -o x anna.part bert.part carl.part dora.part"));
    assert!(told.contains("'anna' contributed to round 0 is in a sum already"), "{told}");
    let told = parties.fail(&format!(
        "train server run auth/trainer.token --model round1 {address} -o x anna.part bert.part carl.part"
    ));
    assert!(told.contains("the contribution of 'anna' is to round 0 (network "), "{told}");
    assert!(told.contains("wanted 1 (network "), "{told}");
    assert!(!parties.path("x").exists());
    assert!(parties.run("train audit auth").contains("1 sum opened, over at least 3 clients"));
    assert!(parties.run("train predict round1 few.idx").lines().count() == 17);
}

/// Flowers of three kinds that do not exist: four columns around a mean of each kind.
fn table(rows: std::ops::Range<u32>) -> String {
    let mut text = "length,width,height,weight,kind\n".to_owned();
    for row in rows {
        let kind = row % 3;
        let value = |column: u32| {
            let noise = (row * 7919 + column * 104_729).wrapping_mul(2_654_435_761) >> 16;
            f64::from((kind + column) % 3) * 2.0 + f64::from(noise & 0xffff) / 65536.0 * 3.0
        };
        let name = ["rose", "tulip", "lily"][kind as usize];
        text += &format!("{:.3},{:.3},{:.3},{:.3},{name}\n", value(0), value(1), value(2), value(3));
    }
    text
}

#[test]
fn models_from_counts_are_learned_from_sums_alone() {
    let parties = Parties::new();
    std::fs::write(parties.path("public.csv"), table(0..60)).unwrap();
    std::fs::write(parties.path("test.csv"), table(1000..1150)).unwrap();
    for (number, client) in ["a", "b", "c"].into_iter().enumerate() {
        let first = 100 + 100 * number as u32;
        std::fs::write(parties.path(&format!("{client}.csv")), table(first..first + 100)).unwrap();
    }
    for model in ["naive-bayes", "forest"] {
        parties.run(&format!(
            "train authority init {model} --mode aggregate --model {model} --table public.csv --target kind --client a --client b \
             --client c --server s"
        ));
        let serving = Serving::of(&parties, model);
        for client in ["a", "b", "c"] {
            parties.run(&format!(
                "train client contribute {model}/{client}.token {client}.csv --target kind -o {model}-{client}.part"
            ));
        }
        let parts = format!("{model}-a.part {model}-b.part {model}-c.part");
        parties
            .run(&format!("train server run {model}/s.token {parts} --authority {} -o {model}.model", serving.socket));
        let told = parties.run(&format!("train predict {model}.model test.csv --target kind -o {model}.csv"));
        let right: f64 = told.split(" of 150 right").next().unwrap().lines().last().unwrap().trim().parse().unwrap();
        assert!(right > 110.0, "{told}");
        let audit = parties.run(&format!("train audit {model}"));
        assert!(audit.contains("epsilon 2.") || audit.contains("epsilon 3."), "{audit}");
        let told = parties.fail(&format!("train export {model}.model -o x.onnx"));
        assert!(told.contains("wanted a trained network"), "{told}");
    }
}

#[test]
fn an_exported_network_of_columns_says_what_it_takes() {
    let parties = Parties::new();
    std::fs::write(parties.path("public.csv"), table(0..60)).unwrap();
    let init = "train authority init auth --mode aggregate --without-privacy --network 4-3-3 --server s";
    parties.run(&format!("{init} --table public.csv --target kind"));
    let begun: Value = serde_json::from_str(&parties.run("train server run auth/s.token -o columns --json")).unwrap();
    assert_eq!((&begun["mode"], &begun["round"]), (&"aggregate".into(), &0.into()));
    let images = "train authority init images --mode aggregate --without-privacy --network 196-3-10 --activation square --server s";
    parties.run(&format!("{images} --input 14x14 --classes 10"));
    parties.run("train server run images/s.token -o pixels");
    let warned = |model: &str| {
        let output = parties.command(&format!("train export {model} -o {model}.onnx")).output().unwrap();
        assert!(output.status.success() && parties.path(&format!("{model}.onnx")).exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = warned("columns");
    assert!(told.contains("warning") && told.contains("standardised columns") && told.contains("mean"), "{told}");
    assert_eq!(warned("pixels"), "");
}

#[test]
fn products_are_opened_by_the_client_alone() {
    let parties = Parties::new();
    parties.run(
        "train authority init auth --mode delegate --input 14x14 --classes 10 --batch 10 --client hospital --client other \
         --server cloud",
    );
    let serving = Serving::of(&parties, "auth");
    let address = format!("--authority {}", serving.socket);
    let encrypt = format!("train client encrypt auth/hospital.token few.idx -o upload {address}");
    let told = parties.fail(&format!("{encrypt} --labels labels.idx"));
    assert!(told.contains("--labels is of no use here: in mode delegate samples are sent without labels"), "{told}");
    let figures: Value = serde_json::from_str(&parties.run(&format!("{encrypt} --json"))).unwrap();
    assert_eq!((&figures["mode"], &figures["samples"]), (&"delegate".into(), &16.into()));
    let weights: Vec<f64> = (0..2 * 196).map(|at| f64::from(at % 7 - 3)).collect();
    let mut npy = b"\x93NUMPY\x01\x00v\x00".to_vec();
    npy.extend(format!("{:<117}\n", "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 196), }").bytes());
    npy.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
    std::fs::write(parties.path("weights.npy"), npy).unwrap();
    let json = parties.run("train server run auth/cloud.token upload --weights weights.npy -o products --json");
    let multiplied: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&multiplied["samples"], &multiplied["products"]), (&16.into(), &2.into()));
    for stated in [&figures["statement"], &multiplied["statement"]] {
        assert!(["server", "hidden", "authority", "clients"].iter().all(|party| stated[party].is_array()), "{stated}");
    }
    let told = parties.fail(&format!("train client open auth/other.token products {address}"));
    assert!(told.contains("hospital"), "{told}");
    let table = parties.run(&format!("train client open auth/hospital.token products {address}"));
    let images = std::fs::read(parties.path("few.idx")).unwrap();
    for (image, line) in images[16..].chunks(196).zip(table.lines().skip(1)) {
        let found: Vec<f64> = line.split(',').skip(2).map(|x| x.parse().unwrap()).collect();
        for (row, found) in weights.chunks(196).zip(found) {
            let wanted: f64 = row.iter().zip(image).map(|(weight, pixel)| weight * f64::from(*pixel) / 255.0).sum();
            // 3 is 127 steps, so other weights are rounded by half a step at most.
            assert!((found - wanted).abs() < 196.0 * 0.5 * 3.0 / 127.0, "{found} {wanted}");
        }
    }
    assert_eq!(table.lines().count(), 17);
}

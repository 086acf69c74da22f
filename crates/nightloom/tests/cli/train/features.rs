//! What else may be trained on than pixels of classes: features of public layers, and numbers.

use serde_json::Value;

use super::parties::{Parties, Serving};

/// Clients apply a convolution that everybody knows, and a dense network is trained on what it makes of their images: first one of random
/// filters, then that with its first dense layer, from the file of the network before.
#[test]
fn a_network_is_trained_on_features_of_public_layers() {
    let parties = Parties::new();
    let init = "--input 14x14 --classes 10 --batch 128 --labels open --client c --server s";
    parties.run(&format!("train authority init random --public-layers random:8:3:1:1:7 --feature-limit 3 {init}"));
    let trained = |folder: &str, network: &str| {
        let serving = Serving::of(&parties, folder);
        let at = format!("--authority {}", serving.socket);
        let told = parties.run(&format!(
            "train client encrypt {folder}/c.token images.idx --labels labels.idx -o {folder}.upload {at}"
        ));
        assert!(told.contains("1024 samples in 8 batches") && !told.contains("warning"), "{told}");
        let json = parties.run(&format!(
            "train server run {folder}/s.token {folder}.upload --network {network} --seed 1 -o {folder}.model \
             --test images.idx --test-labels labels.idx --json {at}"
        ));
        let figures: Value = serde_json::from_str(&json).unwrap();
        let told = parties.run(&format!("train predict {folder}.model images.idx --labels labels.idx -o {folder}.csv"));
        let share: f64 = told.split(" right, ").nth(1).unwrap().trim().trim_end_matches(" %").parse().unwrap();
        let last = figures["epochs"][1]["test_accuracy"].as_f64().unwrap();
        assert!((100.0 * last - share).abs() < 0.006, "{last} {share}");
        share
    };
    // 16 steps of 128; chance is 10 %, and other orders of the images gave 41 to 62 %.
    let accuracy = trained("random", "392-8-10");
    assert!(accuracy > 30.0, "{accuracy}");
    let told = parties.run("train audit random");
    assert!(told.contains("rank 16 of at most 19, 196 unknowns"), "{told}");

    // Another dataset of the same client has a budget of its own, which it is told.
    let serving = Serving::of(&parties, "random");
    parties.share("part", 0, 512);
    let command = format!(
        "train client encrypt random/c.token part.idx --labels part-labels.idx -o part --authority {}",
        serving.socket
    );
    let output = parties.command(&command).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("'c' has 1 other dataset"), "{told}");
    assert!(parties.run("train audit random").contains("'c' has several datasets"));
    drop(serving);

    // Products of linear layers could be single pixels.
    parties.run("train authority init lenet --mode aggregate --without-privacy --network lenet5 --input 28x28 --classes 10 --server s");
    parties.run("train server run lenet/s.token -o lenet.model");
    let linear =
        "train authority init x --input 28x28 --classes 10 --public-layers lenet.model:1 --client c --server s";
    assert!(parties.fail(linear).contains("nonlinearity"));

    // More features than pixels do not make more equations of the same pixels: 10 units, two visits, of a tenth of 196.
    parties.run(&format!("train authority init many --public-layers random:16:3:1:1:7 {init}"));
    let serving = Serving::of(&parties, "many");
    let at = format!("--authority {}", serving.socket);
    parties.run(&format!("train client encrypt many/c.token images.idx --labels labels.idx -o upload {at}"));
    let told = parties.fail(&format!("train server run many/s.token upload --network 784-20-10 -o x {at}"));
    assert!(told.contains("for 0 epochs of a first layer of 20 units"), "{told}");
    drop(serving);

    // The first layers of a trained network, which is of the images' shape.
    parties.run("train authority init images --mode aggregate --without-privacy --network 196-24-10 --input 14x14 --classes 10 --server s");
    parties.run("train server run images/s.token -o start --seed 3");
    parties.run(&format!("train authority init trained --public-layers start:2 {init}"));
    // Of 24 numbers a tenth are 2: a unit, two visits.
    trained("trained", "24-1-10");
    assert!(parties.run("train audit trained").contains("rank 2 of at most 2, 24.0 unknowns"));
    for (layers, wanted) in [
        ("start:9", &["a network of 3 layers", "first 9"][..]),
        ("nothing:1", &["nothing", "No such file"]),
        ("random:1:99:1:0:1", &["layer 0", "99"]),
    ] {
        let told = parties.fail(&format!("train authority init x --public-layers {layers} {init}"));
        assert!(wanted.iter().all(|wanted| told.contains(wanted)), "{told}");
    }
    assert!(!parties.path("x").exists());
}

/// A number of each row of 60 columns, which is a sum of some of them.
fn table(rows: std::ops::Range<u32>) -> String {
    let name = |column: u32| if column < 60 { format!("c{column}") } else { "sum".to_owned() };
    let mut text = (0..=60).map(name).collect::<Vec<_>>().join(",") + "\n";
    for row in rows {
        let value = |column: u32| {
            let noise = (row * 7919 + column * 104_729).wrapping_mul(2_654_435_761) >> 16;
            f64::from(noise & 0xffff) / 65536.0 - 0.5
        };
        let sum: f64 = (0..60).map(|column| value(column) * f64::from(column % 3)).sum();
        (0..60).for_each(|column| text += &format!("{:.4},", value(column)));
        text += &format!("{:.4}\n", sum / 4.0);
    }
    text
}

#[test]
fn numbers_are_learned_and_their_error_is_reported() {
    let parties = Parties::new();
    std::fs::write(parties.path("public.csv"), table(0..200)).unwrap();
    std::fs::write(parties.path("own.csv"), table(1000..3048)).unwrap();
    std::fs::write(parties.path("test.csv"), table(9000..9300)).unwrap();
    let init = "--table public.csv --target sum --target-bound 4 --batch 128 --client c --server s";
    let told = parties.fail(&format!("train authority init auth {init}"));
    assert!(told.contains("not numbers") && told.contains("open"), "{told}");
    parties.run(&format!("train authority init auth --labels open {init}"));
    let serving = Serving::of(&parties, "auth");
    let at = format!("--authority {}", serving.socket);
    parties.run(&format!("train client encrypt auth/c.token own.csv --target sum -o upload {at}"));
    let run = "train server run auth/s.token upload --network 60-3-1 --rate 0.1 --epochs 1 --seed 1 --test test.csv --test-labels sum";
    let told = parties.run(&format!("{run} -o model {at}"));
    assert!(!told.contains(" % "), "{told}");
    let figures: Value = serde_json::from_str(&parties.run(&format!("{run} -o again --json {at}"))).unwrap();
    let last = &figures["epochs"][0];
    assert!(last["running_accuracy"].is_null() && last["test_accuracy"].is_null(), "{figures}");
    let error = (2.0 * last["test_loss"].as_f64().unwrap()).sqrt();
    // The sums deviate by sqrt(20 (1 + 4) / 12) / 4 = 0.72.
    assert!(error < 0.4, "{error}");
    let told = parties.run("train predict model test.csv --target sum -o predicted.csv");
    let found: f64 = told.split("squared error: ").nth(1).unwrap().trim().parse().unwrap();
    assert!((found / error - 1.0).abs() < 0.01, "{told} {error}");
    // Beyond the bound.
    let text = table(1000..1128);
    let far: String = text
        .lines()
        .enumerate()
        .map(
            |(line, row)| {
                if line == 5 { row.rsplit_once(',').unwrap().0.to_owned() + ",4.5\n" } else { format!("{row}\n") }
            },
        )
        .collect();
    std::fs::write(parties.path("far.csv"), far).unwrap();
    let told = parties.fail(&format!("train client encrypt auth/c.token far.csv --target sum -o x {at}"));
    assert!(told.contains("4.5") && told.contains('4'), "{told}");

    // Clients' own training of the same, in sums.
    let sums = "train authority init sums --mode aggregate --without-privacy --table public.csv --target sum --target-bound 4 \
                --network 60-4-1 --rate 0.05 --local-epochs 4 --batch 16 --client a --client b --client d --server s";
    parties.run(sums);
    parties.run("train server run sums/s.token -o round0 --seed 1");
    let serving = Serving::of(&parties, "sums");
    for (number, client) in ["a", "b", "d"].into_iter().enumerate() {
        let first = 1000 + 600 * number as u32;
        std::fs::write(parties.path(&format!("{client}.csv")), table(first..first + 600)).unwrap();
        let told = parties.run(&format!(
            "train client contribute sums/{client}.token {client}.csv --target sum --model round0 -o {client}.part"
        ));
        assert!(told.contains("running error") && !told.contains('%'), "{told}");
    }
    let told = parties.run(&format!(
        "train server run sums/s.token a.part b.part d.part --model round0 -o round1 --test test.csv --test-labels sum --authority {}",
        serving.socket
    ));
    let found: f64 = told.split("test error").nth(1).unwrap().trim().parse().unwrap();
    assert!(found < 0.72, "{told}");
}

//! What training says when something is wrong: each time the thing, what was found and what was wanted; and nothing is lost.

use super::parties::{Parties, Serving, idx};

#[test]
fn mistakes_of_training_are_named_and_leave_no_file() {
    let parties = Parties::new();
    let init = "--input 14x14 --classes 10 --batch 128 --client hospital --server trainer";
    parties.run(&format!("train authority init auth --labels open {init}"));
    parties.run(&format!("train authority init other --labels open {init}"));
    let serving = Serving::of(&parties, "auth");
    let at = format!("--authority {}", serving.socket);
    parties.run(&format!("train client encrypt auth/hospital.token images.idx --labels labels.idx -o upload {at}"));
    let upload = std::fs::read(parties.path("upload")).unwrap();
    std::fs::write(parties.path("short"), &upload[..upload.len() / 2]).unwrap();
    let mut labels = std::fs::read(parties.path("labels.idx")).unwrap();
    labels[8 + 5] = 10;
    std::fs::write(parties.path("wrong-labels.idx"), &labels).unwrap();
    std::fs::write(parties.path("few-labels.idx"), idx(&[16], &[1; 16])).unwrap();
    let mut npy = b"\x93NUMPY\x01\x00v\x00".to_vec();
    npy.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 14, 14), }").bytes());
    npy.extend((0..196).flat_map(|at| if at == 7 { 256f32 } else { 0.0 }.to_le_bytes()));
    std::fs::write(parties.path("bright.npy"), npy).unwrap();
    std::fs::write(parties.path("one"), "3\n").unwrap();
    let before = parties.names();
    let encrypt = "train client encrypt auth/hospital.token";
    let run = "train server run auth/trainer.token";
    let cases: [(String, &[&str]); 23] = [
        (format!("train authority init auth {init}"), &["master.key", "exists already", "another folder"]),
        ("train authority init new --classes 10".into(), &["--input", "shape"]),
        ("train authority init new --input 14x14".into(), &["--classes"]),
        (format!("train authority init new --windows 3:1:1 {init}"), &["convolution", "gives every sample away"]),
        (format!("train authority init new --labels febo {init}"), &["FEBO", "opens its label"]),
        (format!("train authority init new --scheme ddh --opening-noise 1,1 {init}"), &["noise", "only pad"]),
        (format!("train authority init new --host b\u{fc}cher {init}"), &["no certificate for"]),
        ("train authority enrol auth --client late".into(), &["ledger", "another authority has the ledger open"]),
        ("train authority serve other".into(), &[]),
        (format!("{encrypt} images.idx -o x {at}"), &["images.idx", "need labels"]),
        (format!("{encrypt} large.idx --labels few-labels.idx -o x {at}"), &["large.idx", "28x28", "14x14"]),
        (format!("{encrypt} images.idx --labels few-labels.idx -o x {at}"), &["1024 samples", "16"]),
        (format!("{encrypt} images.idx --labels wrong-labels.idx -o x {at}"), &["wrong-labels.idx", "10"]),
        (
            format!("{encrypt} few.idx --labels few-labels.idx -o x {at}"),
            &["16 samples, wanted at least a batch of 128"],
        ),
        (format!("{encrypt} bright.npy --labels one -o x {at}"), &["sample 0, value 7 is 256", "0 to 255"]),
        (
            format!("train client encrypt auth/trainer.token images.idx --labels labels.idx -o x {at}"),
            &["token of a server"],
        ),
        // The other authority's token: its key is not known here.
        (
            format!("train client encrypt other/hospital.token images.idx --labels labels.idx -o x {at}"),
            &["not from 'hospital'", "MAC is wrong"],
        ),
        (format!("{run} upload --network 196-8-9 -o x {at}"), &["width 9", "has 10"]),
        (format!("{run} upload --network 784-8-10 -o x {at}"), &["784", "14x14"]),
        (format!("{run} upload --network lenet5 -o x {at}"), &["1x28x28"]),
        (format!("{run} short --network 196-8-10 -o x {at}"), &["short", "header announces", "the file has"]),
        (format!("{run} upload upload --network 196-8-10 -o x {at}"), &["hospital", "given twice"]),
        (
            format!("train server run other/trainer.token upload --network 196-8-10 -o x {at}"),
            &["upload", "under agreement"],
        ),
    ];
    for (arguments, wanted) in cases {
        if wanted.is_empty() {
            // A wrong command line.
            assert_eq!(parties.command(&arguments).output().unwrap().status.code(), Some(2), "{arguments}");
            continue;
        }
        let told = parties.fail(&arguments);
        assert!(wanted.iter().all(|wanted| told.contains(wanted)), "{arguments}: {told}");
        assert!(told.contains("error: ") && !told.contains("panicked"), "{told}");
    }
    assert_eq!(parties.names(), before);

    // Twenty units are twenty equations, and nineteen is the budget: nothing is asked for.
    let told = parties.fail(&format!("{run} upload --network 196-20-10 -o x {at}"));
    assert!(told.contains("for 0 epochs of a first layer of 20 units") && told.contains("at most 9 units"), "{told}");
    assert!(parties.run("train audit auth").contains("nothing: no keys"));
    // A network certificate that is not the authority's.
    let told = parties.fail(&format!(
        "train client encrypt other/hospital.token images.idx --labels labels.idx -o x --retry 1 --authority {}",
        serving.url
    ));
    assert!(told.contains("certificate"), "{told}");
    assert_eq!(parties.names(), before);

    // Another network after the first: refused with rule, rank and limit, when its second visit passes them.
    parties.run(&format!("{run} upload --network 196-8-10 --seed 1 -o first {at}"));
    let second = format!("{run} upload --network 196-3-10 --epochs 2 --seed 2 -o second {at}");
    let told = parties.fail(&second);
    for wanted in ["span a tenth", "which is 19", "make the rank (with noise, their number) 22", "--epochs 1 writes"] {
        assert!(told.contains(wanted), "no '{wanted}' in {told}");
    }
    assert!(!parties.path("second").exists());
    // What was trained is not lost.
    let told = parties.run(&second.replace("--epochs 2", "--epochs 1"));
    assert!(told.contains("going on after 1 epoch and 0 of 8 steps") && parties.path("second").exists(), "{told}");
    let output = parties.command("train export second -o second.onnx").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("sigmoid"), "{output:?}");
}

/// An option that asks for protection is refused where it could only be dropped.
#[test]
fn options_of_another_mode_are_refused() {
    let parties = Parties::new();
    let images = "--input 14x14 --classes 10";
    let sums = "--mode aggregate --network 196-8-10 --without-privacy --client a --client b --client c";
    parties.run(&format!("train authority init sums {images} {sums} --server s"));
    parties.run(&format!("train authority init products {images} --mode delegate --client a --server s"));
    parties.run("train server run sums/s.token -o round0");
    let before = parties.names();
    let init = format!("train authority init new {images}");
    let guarded = format!("{init} --mode guarded");
    for (arguments, option, wanted) in [
        (format!("{guarded} --dp 1,1"), "--dp", "train server run"),
        (format!("{guarded} --without-privacy"), "--without-privacy", "aggregate"),
        (format!("{guarded} --network 196-8-10"), "--network", "train server run"),
        (format!("{guarded} --local-epochs 2"), "--local-epochs", "aggregate"),
        (format!("{guarded} --max-clients 5"), "--max-clients", "aggregate"),
        (format!("{init} {sums} --opening-noise 1,1"), "--opening-noise", "sums"),
        (format!("{init} {sums} --labels randomized:1"), "--labels", "not encrypted"),
        (format!("{init} {sums} --scheme ddh"), "--scheme", "sums"),
        (format!("{init} {sums} --bins 4"), "--bins", "counts"),
        (format!("{init} --mode aggregate --model naive-bayes --network 196-8-10"), "--network", "counts"),
        (format!("{init} --mode delegate --opening-noise 1,1"), "--opening-noise", "client alone"),
        (format!("{init} --mode delegate --labels febo"), "--labels", "not encrypted"),
        ("train server run sums/s.token -o x --dp 1,1".into(), "--dp", "clients train"),
        ("train server run sums/s.token -o x --epochs 3".into(), "--epochs", "clients train"),
        ("train server run sums/s.token -o x --rate 1".into(), "--rate", "clients train"),
        ("train server run products/s.token upload -o x --dp 1,1".into(), "--dp", "nothing is trained"),
        ("train server run products/s.token upload -o x --seed 1".into(), "--seed", "nothing is trained"),
        ("train server run products/s.token upload -o x --epochs 3".into(), "--epochs", "nothing is trained"),
    ] {
        let told = parties.fail(&arguments);
        assert!(told.contains(&format!("error: {option} is of no use here")), "{arguments}: {told}");
        assert!(told.contains(wanted), "{arguments}: {told}");
    }
    for option in ["--dp 1,1", "--opening-noise 1,1", "--labels febo", "--scheme ddh", "--without-privacy", "--task x"]
    {
        let output =
            parties.command(&format!("train authority init new --agreement sums/agreement.json {option}")).output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains("cannot be used with"), "{option}: {told}");
    }
    assert_eq!(parties.names(), before);
}

/// Peers that take every descriptor that the authority may have do not end it.
#[cfg(target_os = "linux")]
#[test]
fn an_authority_without_descriptors_waits_for_some() {
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let parties = Parties::new();
    parties.run("train authority init auth --input 14x14 --classes 10 --batch 128 --labels open --client c --server s");
    let serve = "ulimit -n 32; exec \"$0\" train authority serve auth --socket s.socket";
    let mut serving = Command::new("sh");
    serving.args(["-c", serve, env!("CARGO_BIN_EXE_nightloom")]).current_dir(parties.path(""));
    let mut serving = serving.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let connect = || UnixStream::connect(parties.path("s.socket"));
    while connect().is_err() {
        assert!(serving.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let crowd: Vec<UnixStream> = (0..48).map(|_| connect().unwrap()).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(crowd);
    let encrypt =
        "train client encrypt auth/c.token images.idx --labels labels.idx -o upload --authority s.socket --retry 5";
    let encrypted = parties.command(encrypt).output().unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(encrypted.status.success(), "{}", String::from_utf8_lossy(&encrypted.stderr));
}

#[test]
fn a_damaged_ledger_is_refused_and_a_torn_record_is_cut() {
    let parties = Parties::new();
    parties.run("train authority init auth --input 14x14 --classes 10 --client a --server b");
    let path = parties.path("auth/ledger");
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    for command in
        ["train audit auth", "train authority enrol auth --client c", "train authority serve auth --socket s"]
    {
        let told = parties.fail(command);
        assert!(told.contains("ledger") && told.contains("record 0"), "{command}: {told}");
    }
    assert!(std::fs::read(&path).unwrap() == damaged && !parties.path("auth/c.token").exists());
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert!(parties.run("train audit auth").contains("torn last record"));
    let output = parties.command("train authority enrol auth --client c").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("were cut"));
    // 'b', whose record was torn, is not known any more; its token can be made anew.
    std::fs::remove_file(parties.path("auth/b.token")).unwrap();
    parties.run("train authority enrol auth --server b");
    let told = parties.run("inspect auth/ledger");
    let length = std::fs::metadata(parties.path("auth/ledger")).unwrap().len();
    assert!(told.contains("ledger of an authority") && told.contains(&format!("{length} bytes")), "{told}");
    for (file, wanted) in [("auth/a.token", "client 'a'"), ("auth/a.token", "never")] {
        assert!(parties.run(&format!("inspect {file}")).contains(wanted));
    }
}

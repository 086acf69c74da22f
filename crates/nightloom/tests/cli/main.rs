//! The command as a user runs it: every step on real files, and what it says when something is wrong.

mod folder;
mod interrupted;
mod latency;
#[cfg(unix)]
mod streams;
mod train;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use folder::{Folder, IMAGES, text};
use nightloom::demo::{self, Model};
use nightloom::samples::Scaling;

fn logits(csv: &str) -> Vec<Vec<f64>> {
    csv.lines().skip(1).map(|line| line.split(',').skip(2).map(|x| x.parse().unwrap()).collect()).collect()
}

#[test]
fn every_step_works_on_files_and_kernels_agree_bit_for_bit() {
    let folder = Folder::new();
    folder.run("compile e2dm.onnx --samples images.idx");
    assert!(folder.run("explain e2dm.onnx").contains("Security 128 bits"));
    let explained: serde_json::Value =
        serde_json::from_str(&folder.run("explain e2dm.onnx --samples images.idx --json")).unwrap();
    assert_eq!(explained["depth"], 2);
    folder.run("keygen e2dm.client -o keys");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path("keys/secret.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    folder.run("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    folder.run("run e2dm.server request --keys keys/evaluation.keys -o response");
    folder.run("decrypt e2dm.client response --key keys/secret.key -o result.csv");
    let found = logits(&std::fs::read_to_string(folder.path("result.csv")).unwrap());
    assert_eq!(found.len(), IMAGES);
    let bound = explained["error_bound"].as_f64().unwrap();
    let reference = Model::E2dm.reference_logits().unwrap();
    let reference = reference.features(&[10], Scaling { scale: 1.0, offset: 0.0 }).unwrap();
    for (image, row) in found.iter().enumerate() {
        for (found, expected) in row.iter().zip(reference.row(image)) {
            assert!((found - expected).abs() < bound, "image {image}: {found} for {expected}");
        }
    }

    let portable = folder.command("run e2dm.server request --keys keys/evaluation.keys -o portable -j 2");
    let status = { portable }.env("NIGHTLOOM_KERNEL", "portable").status().unwrap();
    assert!(status.success());
    assert!(std::fs::read(folder.path("portable")).unwrap() == std::fs::read(folder.path("response")).unwrap());

    folder.run("encrypt e2dm.client images.idx --public-key keys/public.key -o public-request -j 1");
    folder.run("run e2dm.server public-request --keys keys/evaluation.keys -o public-response -j 1");
    let table = folder.run("decrypt e2dm.client public-response --key keys/secret.key");
    // Fresh noise under the public key is 2^7.2 times that of the bound (docs/notes/noise.md).
    for (public, secret) in logits(&table).iter().zip(&found) {
        assert!(public.iter().zip(secret).all(|(public, secret)| (public - secret).abs() < 64.0 * bound));
    }

    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire/v1/checkpoint/private.bin");
    std::fs::copy(checkpoint, folder.path("run.checkpoint")).unwrap();
    for (file, kind) in [
        ("run.checkpoint", "1 of 3 epochs done, 2 of 3 steps of the next"),
        ("run.checkpoint", "holds the seed of its noise"),
        ("e2dm.server", "server program"),
        ("e2dm.client", "client specification"),
        ("request", "40 samples in 1 batch of 784 ciphertexts"),
        ("response", "response"),
        ("keys/secret.key", "never send it"),
        ("keys/evaluation.keys", "keys for relinearisation"),
    ] {
        let told = folder.run(&format!("inspect {file}"));
        assert!(told.contains(kind), "{told}");
    }
}

#[test]
fn mistakes_are_named_and_leave_no_file() {
    let folder = Folder::with_keys();
    folder.run("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    let before = folder.names();
    std::fs::write(folder.path("keys/raw.idx"), [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]).unwrap();
    let cases: [(&str, &[&str]); 21] = [
        ("compile missing.onnx -o out", &["missing.onnx"]),
        ("compile images.idx", &["images.idx"]),
        ("compile e2dm.onnx", &["e2dm.server", "exists"]),
        ("keygen e2dm.client -o keys", &["secret.key", "exists", "another folder"]),
        ("encrypt e2dm.client keys/raw.idx --key keys/secret.key -o x", &["2x2", "1x28x28"]),
        ("encrypt e2dm.client images.idx --key keys/public.key -o x", &["public key", "secret key"]),
        ("run e2dm.server request -o x", &["e2dm.server", "--keys FILE"]),
        ("run e2dm.server e2dm.client --keys keys/evaluation.keys -o x", &["client specification", "request"]),
        ("decrypt e2dm.client request --key keys/secret.key", &["found a request, wanted a response"]),
        ("compile e2dm.onnx --name other -o images.idx", &["images.idx", "folder cannot be made"]),
        ("compile images.idx -o new/folder", &["images.idx"]),
        ("compile e2dm.onnx --name x --input-scale 1e308", &["--input-scale 1e308", "inf"]),
        (
            "compile e2dm.onnx --name x --samples images.idx --input-range 0..0.5",
            &["images.idx", "sample 0", "0 to 0.5"],
        ),
        ("keygen e2dm.client -o images.idx/keys", &["images.idx", "not a directory"]),
        ("encrypt e2dm.client images.idx --key keys/secret.key -o keys", &["keys", "is a folder"]),
        ("encrypt e2dm.client images.idx --key keys/secret.key -o new/", &["new/", "is a folder"]),
        ("encrypt e2dm.client images.idx --key keys/secret.key -o no/x", &["no:", "No such file"]),
        ("encrypt e2dm.client images.idx --key keys/secret.key -o request", &["request", "--force"]),
        ("decrypt e2dm.client request --key keys/secret.key --names keys -o x.npy", &["--names", ".csv"]),
        ("inspect e2dm.onnx", &["not a Nightloom file: it begins with bytes 08 "]),
        ("data fetch cifar -o x", &["'cifar'", "fashion-mnist"]),
    ];
    for (arguments, wanted) in cases {
        let told = folder.fail(arguments);
        assert!(wanted.iter().all(|wanted| told.contains(wanted)), "{arguments}: {told}");
        assert!(told.starts_with("error: ") && !told.contains("panicked"), "{told}");
        assert!(!told.contains("--force") || !arguments.starts_with("keygen"), "{told}");
    }
    assert_eq!(folder.names(), before);

    let unknown = { folder.command("keygen e2dm.client -o other") }.env("NIGHTLOOM_KERNEL", "abacus").output().unwrap();
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("abacus"), "{}", text(&unknown.stderr));
    assert!(!folder.path("other").exists());
}

#[test]
fn what_the_tour_makes_cannot_be_committed_by_accident() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let ignored = |name| Command::new("git").args(["-C", root, "check-ignore", "--quiet", name]).status();
    // 128: not a repository, as in a source package.
    if !ignored("target").is_ok_and(|status| status.code() != Some(128)) {
        println!("skipped: {root} is no git checkout");
        return;
    }
    let keys = ["keys/secret.key", "keys/public.key", "keys/evaluation.keys", "elsewhere/secret.key"];
    let model = ["model/cryptonets.server", "model/cryptonets.client", "e2dm.client"];
    for name in keys.into_iter().chain(model).chain([
        "request",
        "response",
        "results.csv",
        "nightloom-demo.html",
        "auth/ledger",
        "auth/a.token",
        "upload",
    ]) {
        assert!(ignored(name).unwrap().success(), "{name}");
    }
    assert!(!ignored("README.md").unwrap().success());
}

#[test]
fn values_that_no_model_can_have_are_refused_by_name() {
    let folder = Folder::new();
    for (arguments, wanted) in [
        ("--input-scale 0", "all pixels are the same"),
        ("--precision nan", "from 1 to 50"),
        ("--precision -3", "from 1 to 50"),
        ("--name ../e2dm", "path separator"),
        ("--name .hidden", "begins with a dot"),
        ("--name=", "is empty"),
    ] {
        let output = folder.command(&format!("compile e2dm.onnx {arguments}")).output().unwrap();
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(wanted), "{arguments}: {told}");
    }
    assert_eq!(folder.names(), ["e2dm.onnx", "images.idx"]);
    // Pixels of inverted images: 255 is the smallest.
    let explained = folder.run("explain e2dm.onnx --input-scale -1/255 --input-offset 1 --samples images.idx");
    assert!(explained.contains("Security 128 bits"), "{explained}");
}

#[test]
fn names_of_nodes_cannot_steer_the_terminal() {
    let folder = Folder::new();
    let mut onnx = demo::E2DM_ONNX.to_vec();
    let old = b"/convolution/Conv\"";
    let at = onnx.windows(old.len()).position(|window| window == old).unwrap();
    onnx[at..at + 17].copy_from_slice(b"\x1b]0;title\x07\nerrors");
    std::fs::write(folder.path("steer.onnx"), onnx).unwrap();
    let told = folder.run("explain steer.onnx");
    assert!(told.contains(r"\u001b]0;title\u0007\u000a") && !told.contains(['\x1b', '\x07']), "{told}");
    folder.run("compile steer.onnx");
    let told = folder.run("inspect steer.server");
    assert!(told.contains(r"\u001b]0;title\u0007\u000aerror") && !told.contains(['\x1b', '\x07']), "{told}");
}

#[test]
fn samples_out_of_range_are_refused() {
    let folder = Folder::new();
    folder.run("compile e2dm.onnx --input-scale 1/255 --input-range 0..0.5");
    folder.run("keygen e2dm.client -o keys");
    let told = folder.fail("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    assert!(told.contains("compiled for inputs from 0 to 0.5"), "{told}");
    let mut npy = b"\x93NUMPY\x01\x00v\x00".to_vec();
    npy.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 28, 28), }").bytes());
    npy.extend([0.25f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat());
    npy.resize(128 + 4 * 784, 0);
    std::fs::write(folder.path("nan.npy"), npy).unwrap();
    let told = folder.fail("encrypt e2dm.client nan.npy --key keys/secret.key -o request");
    assert!(told.contains("sample 0, feature 1 is NaN") && told.contains("from 0 to 0.5"), "{told}");
    assert!(!folder.path("request").exists());
}

#[test]
fn parameters_below_128_bits_need_the_flag_and_warn() {
    let folder = Folder::new();
    let refused = folder.fail("compile e2dm.onnx --log-degree 12");
    assert!(refused.contains("precision"), "{refused}");
    let output = folder.command("compile e2dm.onnx --log-degree 12 --insecure-below-128-bits").output().unwrap();
    assert!(output.status.success() && text(&output.stderr).contains("LESS THAN 128 BITS"));
    let refused = folder.fail("keygen e2dm.client -o keys");
    assert!(refused.contains("--insecure-below-128-bits"), "{refused}");
    let output = folder.command("keygen e2dm.client -o keys --insecure-below-128-bits").output().unwrap();
    assert!(output.status.success() && text(&output.stderr).contains("LESS THAN 128 BITS"));
    for file in ["e2dm.client", "e2dm.server"] {
        let output = folder.command(&format!("inspect {file}")).output().unwrap();
        let (told, warned) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && warned.contains("LESS THAN 128 BITS"), "{file}: {warned}");
        assert!(told.contains("BELOW 128 BITS"), "{file}: {told}");
    }
}

#[test]
fn damaged_files_are_told_and_fail() {
    let folder = Folder::with_keys();
    folder.run("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    let before = folder.names();
    for file in ["request", "keys/secret.key", "keys/evaluation.keys", "e2dm.server", "e2dm.client"] {
        let whole = std::fs::read(folder.path(file)).unwrap();
        let longer = [&whole[..], b"x"].concat();
        let mut inflated = whole.clone();
        inflated[8..16].copy_from_slice(&(1u64 << 40).to_le_bytes());
        for (bytes, announced) in [
            (&whole[..whole.len() / 2], whole.len() as u64),
            (&longer[..], whole.len() as u64),
            (&inflated[..], 16 + (1 << 40)),
        ] {
            std::fs::write(folder.path(file), bytes).unwrap();
            let (shown, told) = folder.failure(&format!("inspect {file}"));
            assert!(shown.contains("format version "), "{shown}");
            let wanted = format!("header announces {announced} bytes, the file has {}", bytes.len());
            assert!(told.contains(&wanted), "{file}: {told}");
            if file == "request" {
                let told = folder.fail("run e2dm.server request --keys keys/evaluation.keys -o x");
                assert!(told.contains(&wanted), "{told}");
            }
        }
        for (at, byte) in [(4, 250), (6, 200)] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            std::fs::write(folder.path(file), damaged).unwrap();
            folder.fail(&format!("inspect {file}"));
        }
        std::fs::write(folder.path(file), whole).unwrap();
    }
    // Counts that do not fit each other, and a specification whose text is none.
    for (file, at) in [("request", 16 + 32 + 32 + 8), ("e2dm.client", 60), ("e2dm.server", 60)] {
        let whole = std::fs::read(folder.path(file)).unwrap();
        let mut damaged = whole.clone();
        damaged[at..at + 4].fill(0xff);
        std::fs::write(folder.path(file), damaged).unwrap();
        folder.fail(&format!("inspect {file}"));
        std::fs::write(folder.path(file), whole).unwrap();
    }
    assert_eq!(folder.names(), before);
}

#[test]
fn files_that_were_not_made_for_each_other_say_so() {
    let folder = Folder::with_keys();
    folder.run("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    folder.run("run e2dm.server request --keys keys/evaluation.keys -o response");
    folder.run("compile e2dm.onnx --name large --log-degree 14");
    folder.run("keygen large.client -o large-keys");
    for (arguments, key) in [
        ("encrypt large.client images.idx --key keys/secret.key -o x", "keys/secret.key: this secret key"),
        ("encrypt e2dm.client images.idx --key large-keys/secret.key -o x", "large-keys/secret.key: this secret key"),
        ("encrypt large.client images.idx --public-key keys/public.key -o x", "keys/public.key: this public key"),
        ("run e2dm.server request --keys large-keys/evaluation.keys -o x", "this set of evaluation keys"),
        ("run large.server request --keys large-keys/evaluation.keys -o x", "request: this request"),
        ("decrypt large.client response --key large-keys/secret.key", "response: this response"),
    ] {
        let told = folder.fail(arguments);
        assert!(told.contains(key) && told.contains("not made for each other"), "{arguments}: {told}");
    }
    assert!(!folder.path("x").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let folder = Folder::with_keys();
    File::create(folder.path("sparse.onnx")).unwrap().set_len(100 << 30).unwrap();
    for (arguments, wanted) in [
        ("compile sparse.onnx", "256 MiB"),
        ("compile /dev/zero --name zero", "256 MiB"),
        ("run /dev/zero request --keys keys/evaluation.keys -o x", "not a Nightloom file"),
        ("run e2dm.server /dev/zero --keys keys/evaluation.keys -o x", "not a Nightloom file"),
        ("encrypt e2dm.client /dev/zero --key keys/secret.key -o x", "wanted a NumPy"),
    ] {
        let told = folder.fail(arguments);
        assert!(told.contains(wanted), "{arguments}: {told}");
    }
}

#[test]
fn a_table_of_pictures_has_their_names() {
    let folder = Folder::with_keys();
    let pictures = folder.path("digits");
    std::fs::create_dir_all(pictures.join("more")).unwrap();
    let idx = std::fs::read(folder.path("images.idx")).unwrap();
    for (image, name) in ["10.png", "9.png", "a.png"].into_iter().enumerate() {
        let mut encoder = png::Encoder::new(File::create(pictures.join(name)).unwrap(), 28, 28);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&idx[16 + 784 * image..][..784]).unwrap();
    }
    std::fs::write(pictures.join("notes.txt"), "x").unwrap();
    let told = folder.run("encrypt e2dm.client digits --key keys/secret.key -o request");
    assert!(told.contains("3 samples in 1 batch ") && told.contains("skipped 2 entries of digits"), "{told}");
    assert!(told.contains("--names digits"), "{told}");
    folder.run("run e2dm.server request --keys keys/evaluation.keys -o response");
    let table = folder.run("decrypt e2dm.client response --key keys/secret.key --names digits");
    // In natural order; the first two test images show 7 and 2, the third 1.
    let column = |at: usize| table.lines().map(|line| line.split(',').nth(at).unwrap()).collect::<Vec<_>>();
    assert_eq!(column(0), ["file", "9.png", "10.png", "a.png"]);
    assert_eq!(column(1), ["prediction", "2", "7", "1"]);

    std::fs::remove_file(pictures.join("a.png")).unwrap();
    let told = folder.fail("decrypt e2dm.client response --key keys/secret.key --names digits -o x.csv");
    assert!(told.contains("digits") && told.contains("2 PNG files") && told.contains("3 rows"), "{told}");
    assert!(!folder.path("x.csv").exists());
}

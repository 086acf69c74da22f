//! The command as a user runs it: every step on real files, and what it says when something is wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nightloom::demo::{self, Model};
use nightloom::samples::Scaling;

const IMAGES: usize = 40;

struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with the embedded E2DM model and the first test images as IDX.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("e2dm.onnx"), demo::E2DM_ONNX).unwrap();
        let images = demo::test_images().unwrap();
        let features = images.features(&[1, 28, 28], Scaling { scale: 1.0, offset: 0.0 }).unwrap();
        let mut idx = vec![0, 0, 8, 3, 0, 0, 0, IMAGES as u8, 0, 0, 0, 28, 0, 0, 0, 28];
        (0..IMAGES).for_each(|image| idx.extend(features.row(image).iter().map(|pixel| *pixel as u8)));
        std::fs::write(folder.path("images.idx"), idx).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightloom"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fail(&self, arguments: &str) -> String {
        let output: Output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        text(&output.stderr)
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(self.0.path()).unwrap().map(name).collect();
        names.sort();
        names
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

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
    let largest = |row: &Vec<f64>| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    assert!(logits(&table).iter().zip(&found).all(|(a, b)| largest(a) == largest(b)));

    for (file, kind) in [
        ("e2dm.server", "server program"),
        ("e2dm.client", "client specification"),
        ("request", "40 samples in 1 batches of 784 ciphertexts"),
        ("response", "response"),
        ("keys/secret.key", "never send it"),
        ("keys/evaluation.keys", "relinearisation key"),
    ] {
        let told = folder.run(&format!("inspect {file}"));
        assert!(told.contains(kind) && !told.contains("DAMAGED"), "{told}");
    }
}

#[test]
fn mistakes_are_named_and_leave_no_file() {
    let folder = Folder::new();
    folder.run("compile e2dm.onnx");
    folder.run("keygen e2dm.client -o keys");
    folder.run("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    let before = folder.names();
    std::fs::write(folder.path("keys/raw.idx"), [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]).unwrap();
    let cases: [(&str, &[&str]); 9] = [
        ("compile missing.onnx -o out", &["missing.onnx"]),
        ("compile images.idx", &["images.idx"]),
        ("compile e2dm.onnx", &["e2dm.server", "exists"]),
        ("keygen e2dm.client -o keys", &["secret.key", "exists"]),
        ("encrypt e2dm.client keys/raw.idx --key keys/secret.key -o x", &["2x2", "1x28x28"]),
        ("encrypt e2dm.client images.idx --key keys/public.key -o x", &["public key", "secret key"]),
        ("run e2dm.server request -o x", &["relinearisation key"]),
        ("run e2dm.server e2dm.client --keys keys/evaluation.keys -o x", &["client specification", "request"]),
        ("decrypt e2dm.client request --key keys/secret.key", &["found a request, wanted a response"]),
    ];
    for (arguments, wanted) in cases {
        let told = folder.fail(arguments);
        assert!(wanted.iter().all(|wanted| told.contains(wanted)), "{arguments}: {told}");
        assert!(told.starts_with("error: ") && !told.contains("panicked"), "{told}");
    }
    assert_eq!(folder.names(), before);

    let truncated = std::fs::read(folder.path("request")).unwrap();
    std::fs::write(folder.path("request"), &truncated[..truncated.len() / 2]).unwrap();
    folder.fail("run e2dm.server request --keys keys/evaluation.keys -o x");
    assert!(folder.run("inspect request").contains("DAMAGED"));
    assert_eq!(folder.names(), before);
    let unknown = { folder.command("keygen e2dm.client -o other") }.env("NIGHTLOOM_KERNEL", "abacus").output().unwrap();
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("abacus"), "{}", text(&unknown.stderr));
    assert!(!Path::new(&folder.path("other/secret.key")).exists());
}

#[test]
fn samples_out_of_range_are_refused() {
    let folder = Folder::new();
    folder.run("compile e2dm.onnx --input-scale 1/255 --input-range 0..0.5");
    folder.run("keygen e2dm.client -o keys");
    let told = folder.fail("encrypt e2dm.client images.idx --key keys/secret.key -o request");
    assert!(told.contains("compiled for inputs from 0 to 0.5"), "{told}");
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
}

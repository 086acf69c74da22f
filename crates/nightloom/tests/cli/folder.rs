//! A folder in which commands run.

use std::path::PathBuf;
use std::process::{Command, Output};

use nightloom::demo;
use nightloom::samples::Scaling;

/// Images in `images.idx`.
pub const IMAGES: usize = 40;

pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with the embedded E2DM model and the first test images as IDX.
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("e2dm.onnx"), demo::E2DM_ONNX).unwrap();
        std::fs::write(folder.path("images.idx"), idx(IMAGES)).unwrap();
        folder
    }

    /// The same after compiling, with keys.
    pub fn with_keys() -> Self {
        let folder = Self::new();
        folder.run("compile e2dm.onnx");
        folder.run("keygen e2dm.client -o keys");
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightloom"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        // Plans are those of the reference machine, whatever was measured on this one.
        command.env("XDG_CACHE_HOME", self.0.path().join(".cache"));
        command
    }

    /// Standard output of a command that succeeds.
    pub fn run(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Standard error of a command that fails.
    pub fn fail(&self, arguments: &str) -> String {
        self.failure(arguments).1
    }

    /// Standard output and standard error of a command that fails.
    pub fn failure(&self, arguments: &str) -> (String, String) {
        let output: Output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        (text(&output.stdout), text(&output.stderr))
    }

    /// Everything in the folder, hidden files included.
    pub fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(self.0.path()).unwrap().map(name).collect();
        names.sort();
        names
    }
}

/// The first test images as an IDX file.
pub fn idx(images: usize) -> Vec<u8> {
    let all = demo::test_images().unwrap();
    let features = all.features(&[1, 28, 28], Scaling { scale: 1.0, offset: 0.0 }).unwrap();
    let mut idx = vec![0, 0, 8, 3];
    [images as u32, 28, 28].iter().for_each(|axis| idx.extend(axis.to_be_bytes()));
    (0..images).for_each(|image| idx.extend(features.row(image).iter().map(|pixel| *pixel as u8)));
    idx
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! Folders in which several parties work, and an authority that serves them.

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::process::{Child, Stdio};

use nightloom::demo;
use nightloom::samples::Scaling;

use crate::folder::Folder;

/// Images of `images.idx`.
pub const IMAGES: usize = 1024;
/// Images of `few.idx`.
const FEW: usize = 16;
/// Images of `large.idx`.
const LARGE: usize = 3;

pub struct Parties(Folder);

impl Deref for Parties {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.0
    }
}

impl Parties {
    /// A folder with real digits of 14x14 pixels and their labels, and a few of 28x28.
    pub fn new() -> Self {
        let folder = Folder::new();
        let all = demo::test_images().unwrap();
        let pixels = all.features(&[1, 28, 28], Scaling { scale: 1.0, offset: 0.0 }).unwrap();
        let labels = demo::test_labels().unwrap();
        let small = |image: usize| {
            let pixels = pixels.row(image);
            let mean = move |row: usize, column: usize| {
                let four = [0, 1, 28, 29].map(|at| pixels[56 * row + 2 * column + at]);
                (four.iter().sum::<f64>() / 4.0) as u8
            };
            (0..196).map(move |at| mean(at / 14, at % 14)).collect::<Vec<u8>>()
        };
        let images = |count: usize| (0..count).flat_map(small).collect::<Vec<u8>>();
        let large: Vec<u8> = (0..LARGE).flat_map(|image| pixels.row(image)).map(|pixel| pixel as u8).collect();
        for (name, sides, bytes) in [
            ("images.idx", vec![IMAGES, 14, 14], images(IMAGES)),
            ("few.idx", vec![FEW, 14, 14], images(FEW)),
            ("large.idx", vec![LARGE, 28, 28], large),
            ("labels.idx", vec![IMAGES], labels[..IMAGES].to_vec()),
            ("few-labels.idx", vec![LARGE], labels[..LARGE].to_vec()),
        ] {
            std::fs::write(folder.path(name), idx(&sides, &bytes)).unwrap();
        }
        Self(folder)
    }

    /// Images `first` to `last` of `images.idx` with their labels, as files of their own.
    pub fn share(&self, name: &str, first: usize, last: usize) {
        let images = std::fs::read(self.path("images.idx")).unwrap();
        let labels = std::fs::read(self.path("labels.idx")).unwrap();
        let (images, labels) = (&images[16 + 196 * first..16 + 196 * last], &labels[8 + first..8 + last]);
        std::fs::write(self.path(&format!("{name}.idx")), idx(&[last - first, 14, 14], images)).unwrap();
        std::fs::write(self.path(&format!("{name}-labels.idx")), idx(&[last - first], labels)).unwrap();
    }

    /// Files that nobody else may read.
    pub fn are_private(&self, names: &[&str]) {
        #[cfg(unix)]
        for name in names {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(self.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        #[cfg(not(unix))]
        let _ = names;
    }
}

/// Bytes as an IDX file of these sides.
pub fn idx(sides: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut idx = vec![0, 0, 8, sides.len() as u8];
    sides.iter().for_each(|side| idx.extend((*side as u32).to_be_bytes()));
    idx.extend(bytes);
    idx
}

/// An authority at work; killed when dropped.
pub struct Serving {
    child: Child,
    pub socket: String,
    pub url: String,
}

impl Serving {
    pub fn of(parties: &Parties, folder: &str) -> Self {
        Self::with(parties, folder, "")
    }

    pub fn with(parties: &Parties, folder: &str, more: &str) -> Self {
        let socket = format!("{folder}.socket");
        let command = format!("train authority serve {folder} --socket {socket} --listen 127.0.0.1:0 {more}");
        let mut child = parties.command(&command).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The socket is announced before.
        let url = lines.map(Result::unwrap).find(|line| line.starts_with("listening on https"));
        let url = url.expect("an authority at work").replace("listening on ", "");
        Self { child, socket, url }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

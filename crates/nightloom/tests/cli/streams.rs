//! Standard output that is closed, full, or takes the result.

use std::process::Stdio;

use super::folder::{Folder, text};

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn nobody_reading_is_no_error() {
    let folder = Folder::with_keys();
    // The result goes to standard output: nothing is left to do, quietly, as if SIGPIPE had ended the process.
    for arguments in
        ["explain e2dm.onnx", "explain e2dm.onnx --json", "inspect e2dm.server", "inspect e2dm.client", "--help"]
    {
        let output = folder.command(arguments).stdout(closed()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()), "{arguments}");
    }
    // It goes to a file: the work is done.
    for (arguments, file) in [
        ("compile e2dm.onnx --name unheard", "unheard.client"),
        ("keygen e2dm.client -o unheard", "unheard/secret.key"),
        ("encrypt e2dm.client images.idx --key keys/secret.key -o request", "request"),
        ("run e2dm.server request --keys keys/evaluation.keys -o response", "response"),
        ("demo --model e2dm --images 1 -o report.html", "report.html"),
    ] {
        let output = folder.command(arguments).stdout(closed()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments}");
        assert!(folder.path(file).is_file(), "{arguments}");
    }
    for arguments in [
        "decrypt e2dm.client response --key keys/secret.key",
        "encrypt e2dm.client images.idx --key keys/secret.key -o -",
        "run e2dm.server request --keys keys/evaluation.keys -o -",
    ] {
        let output = folder.command(arguments).stdout(closed()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()), "{arguments}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_an_error_that_names_it() {
    let folder = Folder::with_keys();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [
        "explain e2dm.onnx",
        "inspect e2dm.server",
        "--version",
        "compile e2dm.onnx --name full",
        "keygen e2dm.client -o full",
        "encrypt e2dm.client images.idx --key keys/secret.key -o request",
        "encrypt e2dm.client images.idx --key keys/secret.key -o -",
        "demo --model e2dm --images 1",
    ] {
        let output = folder.command(arguments).stdout(full()).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {told}");
        assert!(told.starts_with("error: standard output: cannot be written: No space"), "{arguments}: {told}");
    }
    // Standard error is the last resort: what it does not take is lost, and the status still tells.
    let status = folder.command("inspect e2dm.onnx").stderr(full()).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn results_go_through_pipes() {
    let folder = Folder::with_keys();
    let output = folder.command("encrypt e2dm.client images.idx --key keys/secret.key -o -").output().unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("to standard output: 40 samples"), "{told}");
    std::fs::write(folder.path("request"), output.stdout).unwrap();
    folder.run("inspect request");
    folder.run("run e2dm.server request --keys keys/evaluation.keys -o response");
    let output = folder.command("run e2dm.server request --keys keys/evaluation.keys -o -").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout == std::fs::read(folder.path("response")).unwrap());
    assert!(!folder.path("-").exists());
}

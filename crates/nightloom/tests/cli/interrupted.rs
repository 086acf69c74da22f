//! Commands that are killed leave no part of a file.

#![cfg(target_os = "linux")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::folder::{Folder, idx};

/// What a command was doing when it was looked at.
enum Seen {
    /// It has a file in its folder that nothing lists.
    Unlisted,
    /// It has a listed file instead: there are no others here.
    Listed,
    /// It was done before it was looked at.
    Done,
}

/// Waits until the command has a file.
fn wait_for_file(folder: &Folder, child: &mut Child) -> Seen {
    let deadline = Instant::now() + Duration::from_secs(60);
    let descriptors = format!("/proc/{}/fd", child.id());
    let place = folder.path("").canonicalize().unwrap();
    while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        // The process may close what is being looked at.
        let links = std::fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let mut targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        if targets.any(|target| target.starts_with(&place) && target.to_string_lossy().ends_with("(deleted)")) {
            return Seen::Unlisted;
        }
        if folder.names().iter().any(|name| name.ends_with(".partial")) {
            return Seen::Listed;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success(), "the command waited, or failed by itself");
    Seen::Done
}

/// Whether this process, and so its children, ignore SIGINT, the second signal.
fn ignores_interrupts() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 0b10 != 0
}

#[test]
fn a_signal_leaves_what_was_there_and_nothing_else() {
    let folder = Folder::with_keys();
    std::fs::write(folder.path("images.idx"), idx(10_000)).unwrap();
    std::fs::write(folder.path("old"), "before").unwrap();
    let before = folder.names();
    for (signal, output) in [("KILL", "new"), ("INT", "new"), ("TERM", "new"), ("KILL", "old --force")] {
        if signal == "INT" && ignores_interrupts() {
            println!("skipped: interrupts are ignored here, as by what a script starts in the background");
            continue;
        }
        let arguments = format!("encrypt e2dm.client images.idx --key keys/secret.key -o {output} -j 1");
        let mut interrupted = false;
        // On a busy machine the command may be done before this thread gets its turn.
        for _ in 0..20 {
            let mut child = folder.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if let Seen::Listed = wait_for_file(&folder, &mut child) {
                println!("skipped: {} has no files without names", folder.path("").display());
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
            // Fails for one that is done.
            Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
            interrupted = !child.wait().unwrap().success();
            if interrupted {
                break;
            }
            if output == "new" {
                std::fs::remove_file(folder.path("new")).unwrap();
            } else {
                std::fs::write(folder.path("old"), "before").unwrap();
            }
        }
        assert!(interrupted, "twenty commands were done before they were interrupted");
        assert_eq!(folder.names(), before, "{signal}");
        assert_eq!(std::fs::read(folder.path("old")).unwrap(), b"before");
    }
}

#[test]
fn keys_come_all_together_or_not_at_all() {
    let folder = Folder::with_keys();
    for existing in ["secret.key", "public.key", "evaluation.keys"] {
        let keys = folder.path(&format!("keys-{existing}"));
        std::fs::create_dir(&keys).unwrap();
        std::fs::write(keys.join(existing), "before").unwrap();
        let told = folder.fail(&format!("keygen e2dm.client -o keys-{existing}"));
        assert!(told.contains(existing) && !told.contains("--force"), "{told}");
        assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 1);
        assert_eq!(std::fs::read(keys.join(existing)).unwrap(), b"before");
    }
    // A command that fails later leaves no folder either.
    let mut command = folder.command("keygen e2dm.client -o a/b");
    assert!(!command.env("NIGHTLOOM_KERNEL", "abacus").status().unwrap().success());
    assert!(!folder.path("a").exists());
}

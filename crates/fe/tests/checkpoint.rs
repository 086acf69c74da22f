//! Runs that stop and go on: in memory, on disk, after a kill, from golden and from damaged bytes.

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{digits, fixed, spec};
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::privacy::PrivacySpec;
use nightloom_fe::learn::trainer::{Batches, CheckpointError, VERSION, load, save};
use nightloom_fe::learn::{Dataset, Inputs, LayerSpec, NetworkSpec, Seed, Shape, Targets, Trainer, TrainerSpec};
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind};
use proptest::prelude::*;

fn bytes(trainer: &Trainer) -> Vec<u8> {
    let mut bytes = Vec::new();
    trainer.write(&mut bytes).unwrap();
    bytes
}

fn momentum() -> OptimizerSpec {
    OptimizerSpec { learning_rate: 0.05, decay: 0.9, momentum: 0.9 }
}

/// A run on few samples with all that a checkpoint holds.
fn small(momentum: OptimizerSpec, private: bool) -> (TrainerSpec, Dataset) {
    let network = NetworkSpec {
        input: Shape { channels: 1, height: 3, width: 3 },
        layers: vec![
            LayerSpec::Convolution { filters: 2, side: 2, stride: 1, padding: 0 },
            LayerSpec::Relu,
            LayerSpec::Dense { units: 3 },
        ],
    };
    let mut spec = spec(network.clone(), 4, 3, momentum);
    if private {
        spec.batches = Batches::Poisson { expected: 4 };
        spec.privacy = Some(PrivacySpec { clip: 1.5, noise_multiplier: 0.75 });
    }
    let pixels: Vec<u8> = (0..90u32).map(|i| (i * 7919 % 256) as u8).collect();
    let labels: Vec<usize> = (0..10).map(|i| i % 3).collect();
    let inputs = Inputs::from_pixels(network.input, &pixels).unwrap();
    (spec, Dataset::new(inputs, Targets::classes(3, &labels).unwrap()).unwrap())
}

#[test]
fn a_run_goes_on_from_every_step_as_if_it_had_not_stopped() {
    for (optimizer, private) in [(momentum(), false), (momentum(), true), (OptimizerSpec::constant(0.1), true)] {
        let (spec, data) = small(optimizer, private);
        let architecture = spec.network.validate().unwrap();
        let mut first = fixed(&architecture, &data);
        let mut trainer = Trainer::new(spec, data.len(), Seed::new([6; 32])).unwrap();
        let mut stops = vec![bytes(&trainer)];
        trainer
            .run(&mut first, |trainer| {
                stops.push(bytes(trainer));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(stops.len(), 10);
        let end = bytes(&trainer);
        for stop in &stops {
            let mut again = Trainer::read(&**stop).unwrap();
            assert_eq!(&bytes(&again), stop);
            again.run(&mut first, |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(bytes(&again), end);
            assert_eq!(again.progress(), trainer.progress());
            assert_eq!(again.accountant(), trainer.accountant());
        }
    }
}

fn long_run() -> (TrainerSpec, Dataset) {
    let (data, _) = digits();
    (spec(NetworkSpec::dense(64, &[32, 10], LayerSpec::Relu), 16, 2, momentum()), data)
}

const CHILD: &str = "NIGHTLOOM_TEST_CHECKPOINT";

/// Run by [`a_killed_run_goes_on_with_the_same_weights`] in a process of its own; alone it does nothing.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let (spec, data) = long_run();
    let architecture = spec.network.validate().unwrap();
    let mut trainer = Trainer::new(spec, data.len(), Seed::new([9; 32])).unwrap();
    let visit = |trainer: &Trainer| {
        save(trainer, &path).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        ControlFlow::Continue(())
    };
    trainer.run(&mut fixed(&architecture, &data), visit).unwrap();
}

#[test]
fn a_killed_run_goes_on_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env(CHILD, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Somewhere in the middle: at least ten of 180 steps, and less than all.
    let start = Instant::now();
    let steps = |trainer: &Trainer| trainer.progress().epoch * 90 + trainer.progress().step;
    while !load(&path).is_ok_and(|trainer| steps(&trainer) >= 10) {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());

    let (spec, data) = long_run();
    let architecture = spec.network.validate().unwrap();
    let mut first = fixed(&architecture, &data);
    let mut resumed = load(&path).unwrap();
    assert!((10..180).contains(&steps(&resumed)), "{}", steps(&resumed));
    resumed.run(&mut first, |_| ControlFlow::Continue(())).unwrap();
    let mut whole = Trainer::new(spec, data.len(), Seed::new([9; 32])).unwrap();
    whole.run(&mut first, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(bytes(&resumed), bytes(&whole));
}

#[test]
fn files_replace_each_other_whole_and_belong_to_their_owner() {
    let (spec, data) = small(momentum(), false);
    let trainer = Trainer::new(spec, data.len(), Seed::new([6; 32])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    std::fs::write(&path, b"old").unwrap();
    assert!(matches!(load(&path), Err(CheckpointError::Decode { source: DecodeError::Truncated { .. }, .. })));
    save(&trainer, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes(&trainer));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let missing = folder.path().join("missing/run.checkpoint");
    assert!(matches!(save(&trainer, &missing), Err(CheckpointError::Io { .. })));
    assert!(matches!(load(&missing), Err(CheckpointError::Io { .. })));
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire/v1/checkpoint").join(name)
}

/// `testdata/wire/v1/checkpoint`: three steps into the second epoch. `NIGHTLOOM_WRITE_GOLDEN=1` writes them anew.
#[test]
fn golden_checkpoints_decode_for_ever() {
    assert_eq!(VERSION, 1, "a new version needs new files");
    for (name, optimizer, private) in
        [("momentum.bin", momentum(), false), ("private.bin", OptimizerSpec::constant(0.1), true)]
    {
        let (spec, data) = small(optimizer, private);
        if std::env::var_os("NIGHTLOOM_WRITE_GOLDEN").is_some_and(|value| value == "1") {
            let architecture = spec.network.validate().unwrap();
            let mut first = fixed(&architecture, &data);
            let mut trainer = Trainer::new(spec.clone(), data.len(), Seed::new([0x6e; 32])).unwrap();
            (0..5).for_each(|_| trainer.step(&mut first).unwrap());
            std::fs::create_dir_all(golden("")).unwrap();
            std::fs::write(golden(name), bytes(&trainer)).unwrap();
        }
        let path = golden(name);
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let trainer = Trainer::read(&*found).unwrap();
        assert_eq!(bytes(&trainer), found);
        assert_eq!(trainer.spec(), &spec);
        let progress = trainer.progress();
        assert_eq!((progress.epoch, progress.step, progress.history.len()), (1, 2, 1));
        assert!(private || progress.total().samples == 18 || progress.total().samples == 16);
        assert!(trainer.network().values().any(|value| *value != 0.0));
    }
}

#[test]
fn impossible_positions_and_numbers_are_refused() {
    let (spec, data) = small(momentum(), false);
    let json = serde_json::to_vec(&spec).unwrap().len();
    let trainer = Trainer::new(spec, data.len(), Seed::new([6; 32])).unwrap();
    let good = bytes(&trainer);
    let problem = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Trainer::read(&*bytes).err().expect("damaged")
    };
    // After header, length and text, and the seed: samples, epoch, step, count.
    let samples = HEADER_BYTES as usize + 4 + json + 32;
    let set = |place: usize, value: u32| {
        move |bytes: &mut Vec<u8>| bytes[place..place + 4].copy_from_slice(&value.to_le_bytes())
    };
    assert!(matches!(problem(&set(samples, 0)), DecodeError::Text { .. }));
    assert!(matches!(problem(&set(samples + 4, 4)), DecodeError::Value { what: "epoch", found: 4, .. }));
    assert!(matches!(problem(&set(samples + 8, 3)), DecodeError::Value { what: "step", found: 3, .. }));
    assert!(matches!(problem(&set(samples + 4, 1)), DecodeError::Value { what: "metrics of epochs", .. }));
    assert!(matches!(problem(&set(samples + 12, u32::MAX)), DecodeError::TooLarge { .. }));
    let running = samples + 16;
    assert!(matches!(problem(&set(running + 8, 1)), DecodeError::Value { what: "correct samples", found: 1, .. }));
    let parameter = running + 24;
    assert!(matches!(problem(&set(parameter + 4, 0x7ff0_0000)), DecodeError::Value { what: "parameter", .. }));
    assert!(matches!(problem(&|bytes| bytes.truncate(bytes.len() - 1)), DecodeError::Truncated { .. }));
    assert!(matches!(problem(&|bytes| bytes.push(0)), DecodeError::Continues));
    // A network that is too large for the bytes that follow costs no memory.
    let text = String::from_utf8(good[HEADER_BYTES as usize + 4..][..json].to_vec()).unwrap();
    let huge = text.replace("\"units\":3", "\"units\":4000000");
    let body =
        [&(huge.len() as u32).to_le_bytes(), huge.as_bytes(), &good[HEADER_BYTES as usize + 4 + json..]].concat();
    let mut bytes = Vec::new();
    let header = Header { kind: Kind::Checkpoint, version: 1, length: body.len() as u64 };
    header.write(&mut nightloom_wire::Writer::new(&mut bytes)).unwrap();
    bytes.extend(body);
    assert!(matches!(Trainer::read(&*bytes).err(), Some(DecodeError::Truncated { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What is accepted encodes to something that decodes to the same.
    #[test]
    fn damaged_bytes_never_panic(
        private: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut damaged = std::fs::read(golden(if private { "private.bin" } else { "momentum.bin" })).unwrap();
        for (place, value) in changes {
            let place = place.index(damaged.len());
            damaged[place] = value;
        }
        if let Some(keep) = keep {
            damaged.truncate(keep.index(damaged.len()));
            if let Some(length) = damaged.len().checked_sub(HEADER_BYTES as usize) {
                damaged[8..16].copy_from_slice(&(length as u64).to_le_bytes());
            }
        }
        if let Ok(trainer) = Trainer::read(&*damaged) {
            let again = bytes(&trainer);
            prop_assert_eq!(bytes(&Trainer::read(&*again).unwrap()), again);
        }
    }
}

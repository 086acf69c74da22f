//! Benchmark suites as library code: the same measurements for the command line and for the comparisons with peers.
//!
//! A suite returns one report, which serialises to one JSON object and displays as tables. The names of the JSON fields
//! are an interface: fields are added, never renamed.

mod ckks;
mod fe;
mod latency;
mod ring;
mod throughput;

use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

pub use ckks::{CKKS_RUNS, CkksReport, OperationRow, ckks};
pub use fe::{FE_RUNS, FeReport, FeRow, fe};
pub use latency::{LATENCY_RUNS, LatencyJob, LatencyReport, latency};
pub use ring::{ElementwiseRow, LinearRow, RingReport, TransformRow, ring};
pub use throughput::{THROUGHPUT_RUNS, ThroughputReport, throughput};

/// A run lasts at least this long, so that the clock's own cost and resolution (tens of ns) vanish in it.
const MIN_RUN: Duration = Duration::from_micros(200);
/// Runs of each operation unless the caller asks otherwise.
pub const DEFAULT_RUNS: usize = 101;

/// Why a suite could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The ring refuses, or the environment names an unknown kernel.
    #[error(transparent)]
    Ring(#[from] nightloom_ring::RingError),
    /// Parameters are refused.
    #[error(transparent)]
    Spec(#[from] nightloom_he::SpecError),
    /// An operation is refused.
    #[error(transparent)]
    Eval(#[from] nightloom_he::EvalError),
    /// The planner cannot be calibrated.
    #[error(transparent)]
    Calibrate(#[from] nightloom_program::cost::CalibrateError),
    /// Functional encryption refuses.
    #[error(transparent)]
    Fe(#[from] nightloom_fe::FeError),
    /// A scheme opened other values than the clear ones.
    #[error("scheme {scheme} opened wrong values")]
    WrongValues {
        /// The scheme.
        scheme: nightloom_fe::Scheme,
    },
    /// A whole job failed.
    #[error(transparent)]
    Demo(#[from] crate::demo::DemoError),
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] crate::RandomError),
}

/// How a suite measures.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that run the same operation on data of their own at the same time; at least 1.
    pub threads: usize,
    /// Runs of each operation; at least 1.
    pub runs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, runs: DEFAULT_RUNS }
    }
}

/// What every report begins with: who measured, where and when.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// Name of the suite, such as `ring`.
    pub suite: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Day of the measurement in UTC, `YYYY-MM-DD`.
    pub date: String,
    /// Where it was measured.
    pub machine: Machine,
    /// The selected kernel.
    pub kernel: &'static str,
    /// Threads that worked at the same time.
    pub threads: usize,
}

impl Conditions {
    /// Today, on this machine, by this version.
    fn new(suite: &'static str, kernel: &'static str, options: Options) -> Self {
        let (version, machine) = (env!("CARGO_PKG_VERSION"), Machine::this());
        Self { suite, version, date: today(), machine, kernel, threads: options.threads }
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, version, date, machine, kernel, threads } = self;
        let (cpu, s) = (&machine.cpu, if *threads == 1 { "" } else { "s" });
        write!(f, "nightloom {version}, bench {suite}, {cpu}, {threads} thread{s}, kernel {kernel}, {date}")
    }
}

/// The processor, as far as it matters to the kernels.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The name that the processor gives itself; empty if the system does not say.
    pub cpu: String,
    /// Logical processors available to this program.
    pub cores: usize,
    /// Vector extensions found, of those that kernels know or may come to know.
    pub features: Vec<&'static str>,
}

impl Machine {
    /// The machine that this program runs on.
    pub fn this() -> Self {
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cpu: model.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            features: features(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    found.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Nanoseconds of one operation over `runs` runs. With several threads, the wall-clock time of a round in which each
/// thread does one operation, divided by the threads.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Median over the runs.
    pub median_ns: f64,
    /// Minimum over the runs.
    pub min_ns: f64,
    /// Number of runs.
    pub runs: usize,
}

/// Times `operation` on a state that `prepare` makes once for each thread. Each run repeats it until 200 us have passed.
pub fn measure<S>(options: Options, prepare: impl Fn() -> S + Sync, operation: impl Fn(&mut S) + Sync) -> Timing {
    let mut state = prepare();
    let repeat = |state: &mut S, repetitions: u32| {
        let start = Instant::now();
        for _ in 0..repetitions {
            operation(black_box(state));
        }
        start.elapsed()
    };
    let mut repetitions = 1;
    while repeat(&mut state, repetitions) < MIN_RUN {
        repetitions *= 2;
    }

    let barrier = Barrier::new(options.threads);
    let rounds = |state: &mut S| -> Vec<Duration> {
        let round = |_| {
            barrier.wait();
            let start = Instant::now();
            repeat(state, repetitions);
            barrier.wait();
            start.elapsed()
        };
        (0..options.runs).map(round).collect()
    };
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        for _ in 1..options.threads {
            scope.spawn(|| rounds(&mut prepare()));
        }
        let operations = f64::from(repetitions) * options.threads as f64;
        rounds(&mut state).into_iter().map(|time| time.as_nanos() as f64 / operations).collect()
    });
    times.sort_by(f64::total_cmp);
    Timing { median_ns: times[times.len() / 2], min_ns: times[0], runs: options.runs }
}

/// Today in UTC, `YYYY-MM-DD`.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

/// The names of the fields of a value that serialises to an object, in alphabetical order, for the tests that pin them.
#[cfg(test)]
fn fields(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap();
    let mut names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (789, (1972, 2, 29)),
            (790, (1972, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_453, (2025, 12, 31)),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn every_thread_does_every_repetition() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (states, operations) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let timing = measure(
            Options { threads: 2, runs: 3 },
            || states.fetch_add(1, Ordering::Relaxed),
            |_| {
                operations.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(MIN_RUN);
            },
        );
        // One operation to calibrate, then three rounds of two threads.
        assert_eq!((states.into_inner(), operations.into_inner()), (2, 7));
        assert!(timing.min_ns >= MIN_RUN.as_nanos() as f64 / 2.0 && timing.median_ns >= timing.min_ns);
    }
}

//! Median and minimum time of an operation on a buffer.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A run lasts at least this long, so that the clock's own cost and resolution (tens of ns) vanish in it.
const MIN_RUN: Duration = Duration::from_micros(200);

/// Microseconds of one operation.
pub struct Timing {
    pub median_us: f64,
    pub min_us: f64,
}

/// Times `operation` on one buffer, refilled from `source` before each of the `runs` runs.
///
/// # Panics
/// If `runs` is 0.
pub fn measure<T: Copy>(source: &[T], runs: usize, mut operation: impl FnMut(&mut [T])) -> Timing {
    let mut buffer = source.to_vec();
    let mut run = |repetitions: u32| {
        buffer.copy_from_slice(source);
        let start = Instant::now();
        for _ in 0..repetitions {
            operation(black_box(&mut buffer));
        }
        start.elapsed()
    };

    let mut repetitions = 1;
    while run(repetitions) < MIN_RUN {
        repetitions *= 2;
    }
    let mut times: Vec<f64> =
        (0..runs).map(|_| run(repetitions).as_secs_f64() * 1e6 / f64::from(repetitions)).collect();
    times.sort_by(f64::total_cmp);
    Timing { median_us: times[runs / 2], min_us: times[0] }
}

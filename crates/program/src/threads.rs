//! The thread pool that a caller asks for.

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Most threads in a pool: far above the processors of any machine, far below what a system refuses to start.
pub const MAX_THREADS: usize = 1024;

/// A number of threads that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot start {found} threads, wanted 1 to {MAX_THREADS}")]
pub struct ThreadsError {
    /// Threads asked for.
    pub found: usize,
}

/// A pool of this many threads.
///
/// # Errors
/// [`ThreadsError`] for none, for more than [`MAX_THREADS`], or if the system does not start them.
pub fn thread_pool(threads: usize) -> Result<ThreadPool, ThreadsError> {
    let error = ThreadsError { found: threads };
    if !(1..=MAX_THREADS).contains(&threads) {
        return Err(error);
    }
    ThreadPoolBuilder::new().num_threads(threads).build().map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_numbers_of_threads_are_refused_before_any_is_started() {
        assert_eq!(thread_pool(2).unwrap().current_num_threads(), 2);
        for found in [0, MAX_THREADS + 1, usize::MAX] {
            assert_eq!(thread_pool(found).unwrap_err(), ThreadsError { found });
        }
    }
}

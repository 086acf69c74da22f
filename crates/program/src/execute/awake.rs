use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, Yield};

/// Threads that are kept awake; a pool with more is for many requests at once.
const MOST: usize = 8;
/// Pauses between two looks for work.
const PAUSES: usize = 32;
/// Who finds no work for so long goes to sleep.
///
/// A thread can come to keep itself awake in the middle of another run's task, or of one of this run that it took before.
/// That task then waits, and its run with it, until the thread returns: it must not wait for a run itself.
const LONGEST_IDLE: Duration = Duration::from_millis(2);

/// While it lives, idle threads of a pool look for work instead of sleeping: waking a thread takes as long as a few limbs
/// of a key switch, of which a run for one sample has hundreds in a row.
pub(super) struct Awake(Arc<AtomicBool>);

impl Awake {
    /// Keeps the other threads awake; runs on one of the pool's.
    pub fn new(threads: &ThreadPool) -> Self {
        let awake = Self(Arc::new(AtomicBool::new(threads.current_num_threads() > 1)));
        let (own, going_on) = (threads.current_thread_index(), Arc::clone(&awake.0));
        if going_on.load(Ordering::Relaxed) {
            threads.spawn_broadcast(move |context| {
                // The calling thread must not wait for itself, whenever it comes here.
                let kept = Some(context.index()) != own && context.index() < MOST;
                let mut idle_since = Instant::now();
                while kept && going_on.load(Ordering::Relaxed) && idle_since.elapsed() < LONGEST_IDLE {
                    if rayon::yield_now() == Some(Yield::Executed) {
                        idle_since = Instant::now();
                    } else {
                        (0..PAUSES).for_each(|_| spin_loop());
                    }
                }
            });
        }
        awake
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nightloom_ring::parallel;
use rayon::ThreadPool;

/// While it lives and is the only one of its pool, idle threads of the pool look for work instead of sleeping: waking a
/// thread takes as long as a few limbs of a key switch, of which a run for one sample has hundreds in a row.
///
/// A thread can come to keep itself awake in the middle of another run's task, which then waits. So no thread is kept awake
/// when there are two runs.
pub(super) struct Awake {
    going_on: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
}

impl Awake {
    /// Keeps the other threads awake; runs on one of the pool's. `running` counts those that live.
    pub fn new(threads: &ThreadPool, running: &Arc<AtomicUsize>) -> Self {
        let awake = Self { going_on: Arc::new(AtomicBool::new(true)), running: Arc::clone(running) };
        let alone = running.fetch_add(1, Ordering::Relaxed) == 0;
        if alone && threads.current_num_threads() > 1 {
            let (own, going_on, running) =
                (threads.current_thread_index(), Arc::clone(&awake.going_on), Arc::clone(running));
            threads.spawn_broadcast(move |context| {
                // The calling thread must not wait for itself, whenever it comes here.
                if Some(context.index()) != own {
                    parallel::stay_awake(|| going_on.load(Ordering::Relaxed) && running.load(Ordering::Relaxed) == 1);
                }
            });
        }
        awake
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.going_on.store(false, Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

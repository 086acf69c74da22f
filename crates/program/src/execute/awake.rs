use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nightloom_ring::parallel;
use rayon::ThreadPool;

/// Threads that are kept awake; a pool with more is for many requests at once.
const MOST: usize = 8;
/// While it lives, idle threads of a pool look for work instead of sleeping: waking a thread takes as long as a few limbs
/// of a key switch, of which a run for one sample has hundreds in a row.
///
/// A thread can come to keep itself awake in the middle of another run's task, or of one of this run that it took before.
/// That task then waits, and its run with it, until the thread returns: it gives up after some milliseconds without work.
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
                if kept {
                    parallel::stay_awake(|| going_on.load(Ordering::Relaxed));
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

//! Work on limbs, on the threads of the pool that the caller runs in.
//!
//! A thread that waits for the last tasks of others spins. To be put to sleep and woken takes as long as a task, and a run
//! for one sample waits some hundred times.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::Yield;

/// Pauses between two looks for work.
const PAUSES: usize = 32;
/// Threads of a pool that spin.
const MOST_SPINNING: usize = 8;
/// Who finds nothing to do for so long stops spinning.
const LONGEST_IDLE: Duration = Duration::from_millis(2);

/// Calls `task(index, item)` for every item: on the threads of the rayon pool that the current thread belongs to, in order
/// if it belongs to none. The global pool is never started. Tasks are worth some microseconds or more.
pub fn for_each<T: Send>(items: impl IntoIterator<Item = T>, task: impl Fn(usize, T) + Send + Sync) {
    for_each_with(items, || (), |(), index, item| task(index, item));
}

/// What `task` returns for every item, in order; as for [`for_each`].
pub fn map<T: Send, R: Send>(items: impl IntoIterator<Item = T>, task: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    let items: Vec<T> = items.into_iter().collect();
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    for_each(results.iter_mut().zip(items), |_, (result, item)| *result = Some(task(item)));
    results.into_iter().flatten().collect()
}

/// As [`map`], for tasks that can fail: all run, and the error of the first item that has one is returned.
pub fn try_map<T: Send, R: Send, E: Send>(
    items: impl IntoIterator<Item = T>,
    task: impl Fn(T) -> Result<R, E> + Send + Sync,
) -> Result<Vec<R>, E> {
    map(items, task).into_iter().collect()
}

/// As [`for_each`], with work space that is made for one task or for several in turn: what it holds when a task begins
/// depends on the threads.
pub fn for_each_with<T: Send, S>(
    items: impl IntoIterator<Item = T>,
    work_space: impl Fn() -> S + Send + Sync,
    task: impl Fn(&mut S, usize, T) + Send + Sync,
) {
    // The number of threads is asked for only inside a pool: outside, the question would start the global one.
    if rayon::current_thread_index().is_none() || rayon::current_num_threads() == 1 {
        let mut space = work_space();
        items.into_iter().enumerate().for_each(|(index, item)| task(&mut space, index, item));
        return;
    }
    let items: Vec<T> = items.into_iter().collect();
    let (helpers, left) =
        (rayon::current_num_threads().min(items.len()).saturating_sub(1), AtomicUsize::new(items.len()));
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut space = None;
        while let Some((index, item)) = next() {
            let _finished = Finished(&left);
            task(space.get_or_insert_with(&work_space), index, item);
        }
    };
    if helpers == 0 {
        return work();
    }
    rayon::in_place_scope(|scope| {
        (0..helpers).for_each(|_| scope.spawn(|_| work()));
        work();
        stay_awake(|| left.load(Ordering::Acquire) > 0);
    });
}

/// Counts a task as finished, also one that panics: the scope that it is in passes the panic on.
struct Finished<'a>(&'a AtomicUsize);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Helps with other tasks of the pool, or spins, as long as something holds and there is work now and then. Threads of a
/// large pool, which is for many requests at once, do not spin.
pub fn stay_awake(going_on: impl Fn() -> bool) {
    let mut idle_since = Instant::now();
    let few = rayon::current_num_threads() <= MOST_SPINNING;
    while few && going_on() && idle_since.elapsed() < LONGEST_IDLE {
        if rayon::yield_now() == Some(Yield::Executed) {
            idle_since = Instant::now();
        } else {
            (0..PAUSES).for_each(|_| spin_loop());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn every_item_is_visited_with_its_index() {
        let squares = || {
            let mut squares = vec![0; 100];
            let task = |space: &mut usize, index, square: &mut usize| {
                *space = index;
                *square = *space * index;
            };
            for_each_with(&mut squares, || 0, task);
            squares
        };
        let expected: Vec<usize> = (0..100).map(|index| index * index).collect();
        assert_eq!(squares(), expected);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(squares), expected);
        }
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let halves = || map((0..100).map(|x| 2 * x), |x| x / 2);
        let expected: Vec<i32> = (0..100).collect();
        assert_eq!(halves(), expected);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(halves), expected);
        // Tasks within tasks, and none at all.
        let nested = || map(0..20, |x| map(0..x, |y| x * y).into_iter().sum::<i32>());
        let sums: Vec<i32> = (0..20).map(|x| x * x * (x - 1) / 2).collect();
        assert_eq!(pool.install(nested), sums);
    }

    #[test]
    fn the_first_error_is_returned() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let up_to = |last| pool.install(|| try_map(0..100, |x| if x <= last { Ok(x) } else { Err(x) }));
        assert_eq!(up_to(99), Ok((0..100).collect()));
        assert_eq!(up_to(40), Err(41));
    }

    #[test]
    fn a_panic_comes_back_and_the_pool_goes_on() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for bad in [0, 9] {
            let run = || for_each(0..10, |index, _| assert_ne!(index, bad));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.install(run))).is_err());
        }
        assert_eq!(pool.install(|| map(0..4, |x| x + 1)), [1, 2, 3, 4]);
    }

    #[test]
    fn threads_are_those_of_the_pool() {
        let run = |count: usize, meet: &(dyn Fn() + Sync)| {
            let mut threads = vec![None; count];
            for_each(&mut threads, |_, thread| {
                meet();
                *thread = Some(thread::current().id());
            });
            threads.into_iter().flatten().collect::<HashSet<_>>()
        };
        assert_eq!(run(10, &|| ()), HashSet::from([thread::current().id()]));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        // Two tasks that wait for each other end only on two threads.
        let barrier = Barrier::new(2);
        let meet = || {
            barrier.wait();
        };
        let found = pool.install(|| run(2, &meet));
        assert!(found.len() == 2 && !found.contains(&thread::current().id()));
    }
}

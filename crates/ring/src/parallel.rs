//! Work on limbs, on the threads of the pool that the caller runs in.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Calls `task(index, item)` for every item: on the threads of the rayon pool that the current thread belongs to, in order
/// if it belongs to none. The global pool is never started. Tasks are worth 10 microseconds or more.
pub fn for_each<T: Send>(items: impl IntoIterator<Item = T>, task: impl Fn(usize, T) + Send + Sync) {
    for_each_with(items, || (), |(), index, item| task(index, item));
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
    } else {
        let items: Vec<T> = items.into_iter().collect();
        let items = items.into_par_iter().enumerate().with_max_len(1);
        items.for_each_init(work_space, |space, (index, item)| task(space, index, item));
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

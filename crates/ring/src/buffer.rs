//! Aligned buffers of residues, recycled through a pool so that hot loops never allocate.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bytemuck::{Pod, Zeroable};
use zeroize::Zeroize;

use crate::slab::{Part, Slabs};

/// One cache line of residues. Buffers are made of these so that vector loads never straddle a line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([f64; 8]);

/// Lines of a page.
const PAGE_LINES: usize = 64;
/// Buffers of this many lines or more begin at different lines of a page: loops that read the same positions of many
/// buffers would otherwise need as many places in one set of a cache.
const SPREAD_LINES: usize = 4 * PAGE_LINES;
/// When a pool has made so many lines of such buffers, 4 MiB, it cuts others from slabs: whole huge pages are zeroed at
/// their first use, which a pool of a few buffers would wait for in vain.
const SINGLE_LINES: usize = 1 << 16;

/// Memory of a buffer, and the line at which it begins.
#[derive(Default)]
struct Lines {
    memory: Memory,
    first: usize,
}

enum Memory {
    Own(Vec<Line>),
    Part(Part),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Lines {
    fn as_slice(&self) -> &[Line] {
        match &self.memory {
            Memory::Own(lines) => lines,
            Memory::Part(part) => part.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Line] {
        match &mut self.memory {
            Memory::Own(lines) => lines,
            Memory::Part(part) => part.as_mut_slice(),
        }
    }
}

/// Free buffers by number of lines, where new ones come from, and how many large ones were ever made, of how many lines.
#[derive(Default)]
struct Free {
    buffers: BTreeMap<usize, Vec<Lines>>,
    slabs: Slabs,
    made: usize,
    lines_made: usize,
}

impl Free {
    fn take(&mut self, lines: usize) -> Lines {
        if let Some(recycled) = self.buffers.get_mut(&lines).and_then(Vec::pop) {
            return recycled;
        }
        if lines < SPREAD_LINES {
            return Lines { memory: Memory::Own(vec![Line([0.0; 8]); lines]), first: 0 };
        }
        self.made += 1;
        // An odd step visits every line of a page; buffers made one after another are far apart.
        let first = self.made * 27 % PAGE_LINES;
        let lines = lines + PAGE_LINES;
        self.lines_made += lines;
        let part = if self.lines_made > SINGLE_LINES { self.slabs.cut(lines) } else { None };
        let own = || Memory::Own(vec![Line([0.0; 8]); lines]);
        Lines { memory: part.map_or_else(own, Memory::Part), first }
    }
}

/// Free buffers, by capacity. Cheap to clone: clones share the buffers.
#[derive(Clone, Default)]
pub struct Pool {
    free: Arc<Mutex<Free>>,
}

impl Pool {
    /// A pool with no buffer in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `length` residues with unspecified (but initialised) contents.
    pub fn take(&self, length: usize) -> Buffer {
        Buffer { lines: self.lock().take(length.div_ceil(8)), length, pool: self.clone() }
    }

    /// `count` buffers of `length` residues, as for [`take`](Self::take).
    pub fn take_limbs(&self, count: usize, length: usize) -> Vec<Buffer> {
        (0..count).map(|_| self.take(length)).collect()
    }

    /// A buffer of `length` zeros.
    pub fn take_zeroed(&self, length: usize) -> Buffer {
        let mut buffer = self.take(length);
        buffer.fill(0.0);
        buffer
    }

    /// Bytes now waiting in the pool.
    pub fn idle_bytes(&self) -> usize {
        self.lock().buffers.iter().map(|(lines, buffers)| lines * buffers.len() * size_of::<Line>()).sum()
    }

    /// Gives the waiting buffers back to the system; large ones together with the others of their slab.
    pub fn clear(&self) {
        let mut free = self.lock();
        // What is left of the last slab stays with its parts, and there is no reason to begin another at once.
        (free.buffers, free.slabs, free.lines_made) = Default::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        // A panic elsewhere cannot leave a list of free buffers in a bad state.
        self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("idle_bytes", &self.idle_bytes()).finish()
    }
}

/// A slice of residues aligned to 64 bytes that returns to its [`Pool`] when dropped.
pub struct Buffer {
    lines: Lines,
    length: usize,
    pool: Pool,
}

impl Buffer {
    /// The pool that the buffer returns to.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Deref for Buffer {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &bytemuck::cast_slice(&self.lines.as_slice()[self.lines.first..])[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f64] {
        let first = self.lines.first;
        &mut bytemuck::cast_slice_mut(&mut self.lines.as_mut_slice()[first..])[..self.length]
    }
}

impl std::fmt::Debug for Buffer {
    /// The length only: contents may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len())
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = self.pool.take(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if !lines.as_slice().is_empty() {
            self.pool.lock().buffers.entry(self.length.div_ceil(8)).or_default().push(lines);
        }
    }
}

impl Zeroize for Buffer {
    fn zeroize(&mut self) {
        bytemuck::cast_slice_mut::<Line, f64>(self.lines.as_mut_slice()).zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_recycled() {
        let pool = Pool::new();
        let address = {
            let buffer = pool.take_zeroed(1000);
            assert_eq!(buffer.len(), 1000);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            buffer.as_ptr()
        };
        assert_eq!(pool.idle_bytes(), 8000);
        assert_eq!(pool.take(1000).as_ptr(), address);
        assert_ne!(pool.take(2000).as_ptr(), address);
        pool.clear();
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn large_buffers_begin_at_different_lines() {
        let pool = Pool::new();
        let length = 8 * SPREAD_LINES;
        let buffers: Vec<Buffer> = (0..PAGE_LINES).map(|_| pool.take_zeroed(length)).collect();
        let lines: std::collections::BTreeSet<usize> = buffers.iter().map(|buffer| buffer.lines.first).collect();
        assert_eq!(lines.len(), PAGE_LINES);
        assert!(buffers.iter().all(|buffer| buffer.len() == length && buffer.as_ptr().cast::<Line>().is_aligned()));
        let last = buffers[PAGE_LINES - 1].as_ptr();
        drop(buffers);
        assert_eq!(pool.idle_bytes(), 8 * length * PAGE_LINES);
        let mut recycled = pool.take(length);
        assert_eq!(recycled.as_ptr(), last);
        recycled.fill(3.0);
        recycled.zeroize();
        assert!(recycled.iter().all(|x| *x == 0.0));
        assert!(pool.take(length - 8).lines.as_slice().len() < SPREAD_LINES);
    }

    #[test]
    fn many_buffers_are_parts_of_slabs() {
        let pool = Pool::new();
        let (length, count) = (8 * 16 * SPREAD_LINES, 32);
        let mut buffers: Vec<Buffer> = (0..count).map(|_| pool.take_zeroed(length)).collect();
        let parts = |buffers: &[Buffer]| buffers.iter().filter(|b| matches!(b.lines.memory, Memory::Part(_))).count();
        let single = SINGLE_LINES / (16 * SPREAD_LINES + PAGE_LINES);
        assert_eq!(parts(&buffers), count - single);
        buffers.iter_mut().zip(0u32..).for_each(|(buffer, at)| buffer.fill(at.into()));
        assert!(buffers.iter().zip(0u32..).all(|(buffer, at)| buffer.iter().all(|x| *x == f64::from(at))));
        let copies = buffers.clone();
        assert_eq!(parts(&copies), count);
        drop(buffers);
        pool.clear();
        assert_eq!((pool.idle_bytes(), parts(&[pool.take(length)])), (0, 0));
        drop(pool);
        assert!(copies.iter().zip(0u32..).all(|(copy, at)| copy.iter().all(|x| *x == f64::from(at))));
    }

    #[test]
    fn zeroize_clears_the_whole_allocation() {
        let pool = Pool::new();
        let mut buffer = pool.take(9);
        buffer.fill(7.0);
        buffer.zeroize();
        drop(buffer);
        assert_eq!(*pool.take(16), [0.0; 16]);
    }
}

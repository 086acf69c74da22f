//! Aligned buffers of residues, recycled through a pool so that hot loops never allocate.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bytemuck::{Pod, Zeroable};
use zeroize::Zeroize;

/// One cache line of residues. Buffers are made of these so that vector loads never straddle a line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f64; 8]);

/// Free buffers, by number of lines.
type Free = BTreeMap<usize, Vec<Vec<Line>>>;

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
        let lines = length.div_ceil(8);
        let recycled = self.lock().get_mut(&lines).and_then(Vec::pop);
        Buffer { lines: recycled.unwrap_or_else(|| vec![Line([0.0; 8]); lines]), length, pool: self.clone() }
    }

    /// A buffer of `length` zeros.
    pub fn take_zeroed(&self, length: usize) -> Buffer {
        let mut buffer = self.take(length);
        buffer.fill(0.0);
        buffer
    }

    /// Bytes now waiting in the pool.
    pub fn idle_bytes(&self) -> usize {
        self.lock().iter().map(|(lines, buffers)| lines * buffers.len() * size_of::<Line>()).sum()
    }

    /// Gives the waiting buffers back to the system.
    pub fn clear(&self) {
        self.lock().clear();
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
    lines: Vec<Line>,
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
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
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
        if !self.lines.is_empty() {
            let lines = std::mem::take(&mut self.lines);
            self.pool.lock().entry(lines.len()).or_default().push(lines);
        }
    }
}

impl Zeroize for Buffer {
    fn zeroize(&mut self) {
        bytemuck::cast_slice_mut::<Line, f64>(&mut self.lines).zeroize();
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
    fn zeroize_clears_the_whole_allocation() {
        let pool = Pool::new();
        let mut buffer = pool.take(9);
        buffer.fill(7.0);
        buffer.zeroize();
        drop(buffer);
        assert_eq!(*pool.take(16), [0.0; 16]);
    }
}

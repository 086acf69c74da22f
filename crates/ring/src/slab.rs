//! Memory for large buffers, in huge pages where the system has them.
//!
//! A run for one sample walks through tens of megabytes of keys and weights once. In pages of 4 KiB a processor misses
//! thousands of address translations on the way, each of them several reads of memory, and twice as many on a virtual
//! machine. Huge pages are only given for large areas, so buffers are cut from slabs.

#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

use crate::buffer::Line;

/// Addresses, not memory: what no buffer has used takes none.
const SLAB_BYTES: usize = 64 << 20;

/// The slab from which buffers are cut.
#[derive(Default)]
pub(crate) struct Slabs {
    last: Option<Slab>,
}

struct Slab {
    map: Arc<MmapRaw>,
    /// Lines that are parts.
    used: usize,
    lines: usize,
}

impl Slabs {
    /// Cuts off a part of so many zeroed lines; `None` if the system maps no memory.
    pub fn cut(&mut self, lines: usize) -> Option<Part> {
        let slab = match self.last.take_if(|slab| slab.lines - slab.used >= lines) {
            Some(slab) => slab,
            None => Slab::new(lines)?,
        };
        let slab = self.last.insert(slab);
        let base = NonNull::new(slab.map.as_mut_ptr().cast::<Line>())?;
        // SAFETY: `used + lines` lines are within the map.
        let start = unsafe { base.add(slab.used) };
        slab.used += lines;
        Some(Part { start, lines, _map: Arc::clone(&slab.map) })
    }
}

impl Slab {
    /// A slab of at least so many lines.
    fn new(lines: usize) -> Option<Self> {
        let bytes = lines.checked_mul(size_of::<Line>())?.max(SLAB_BYTES);
        let map = MmapMut::map_anon(bytes).ok()?;
        // Where it is refused, pages are small.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        Some(Self { map: Arc::new(map.into()), used: 0, lines: bytes / size_of::<Line>() })
    }
}

/// Lines of a slab that nothing else refers to. The slab is given back with its last part.
pub(crate) struct Part {
    start: NonNull<Line>,
    lines: usize,
    _map: Arc<MmapRaw>,
}

// SAFETY: a part is the only one with its lines, like a boxed slice, and memory may be unmapped on any thread.
unsafe impl Send for Part {}
// SAFETY: a shared part gives shared slices only.
unsafe impl Sync for Part {}

impl Part {
    /// The lines.
    pub fn as_slice(&self) -> &[Line] {
        // SAFETY: the lines are mapped as long as `_map` lives, are aligned, because they are whole lines from the beginning of
        // a page on, were zeroed by the system or written as lines since, and belong to this part alone: `used` only grows.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.lines) }
    }

    /// The lines, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [Line] {
        // SAFETY: as above, and nothing else borrows the part.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zeroed_aligned_and_apart() {
        let mut slabs = Slabs::default();
        // The last one has a slab of its own, and the first of the next slab comes after it.
        let sizes = [1, 1000, 4096, SLAB_BYTES / size_of::<Line>() - 1, 1, SLAB_BYTES / size_of::<Line>() + 1, 7];
        let mut parts: Vec<Part> = sizes.iter().map(|lines| slabs.cut(*lines).unwrap()).collect();
        drop(slabs);
        for (part, lines) in parts.iter_mut().zip(sizes) {
            let slice = part.as_mut_slice();
            assert!(slice.len() == lines && slice.as_ptr().is_aligned());
            assert!([0, lines - 1].iter().all(|at| bytemuck::cast::<Line, [u64; 8]>(slice[*at]) == [0; 8]));
            [0, lines - 1].iter().for_each(|at| slice[*at] = bytemuck::cast([lines as u64; 8]));
        }
        for (part, lines) in parts.iter().zip(sizes) {
            let slice = part.as_slice();
            assert!([0, lines - 1].iter().all(|at| bytemuck::cast::<Line, [u64; 8]>(slice[*at]) == [lines as u64; 8]));
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_none() {
        assert!(Slabs::default().cut(usize::MAX / 2).is_none());
        assert!(Slabs::default().cut(usize::MAX / 128).is_none());
    }
}

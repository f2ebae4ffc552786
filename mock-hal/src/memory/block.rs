//! Memory of the domain's own, with guard bytes on both sides.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Guard bytes hold this.
const GUARD: u8 = 0xa5;
/// Guard bytes on each side, at least.
const GUARD_BYTES: usize = 64;

/// A piece of the heap: guard, content, guard.
#[derive(Debug)]
pub(super) struct Block {
    base: NonNull<u8>,
    layout: Layout,
    /// Where the content starts.
    front_bytes: usize,
    len_bytes: usize,
}

// SAFETY: a block owns its memory; who reaches it when is the domain's matter, which is locked.
unsafe impl Send for Block {}

impl Block {
    /// `len_bytes` of content, filled with `fill`, at a multiple of `align_bytes`, a power of two.
    pub(super) fn new(len_bytes: usize, align_bytes: usize, fill: u8) -> Option<Self> {
        let front_bytes = align_bytes.max(GUARD_BYTES);
        let all_bytes = front_bytes.checked_add(len_bytes)?.checked_add(GUARD_BYTES)?;
        let layout = Layout::from_size_align(all_bytes, align_bytes).ok()?;
        // SAFETY: the length is not zero, for the guards are not.
        let base = NonNull::new(unsafe { alloc(layout) })?;
        let block = Self { base, layout, front_bytes, len_bytes };
        // SAFETY: all of it is fresh memory of this layout.
        unsafe { base.as_ptr().write_bytes(GUARD, all_bytes) };
        block.fill(fill);
        Some(block)
    }

    /// Where the content starts.
    pub(super) fn start(&self) -> NonNull<u8> {
        // SAFETY: the front guard lies inside the allocation.
        unsafe { self.base.add(self.front_bytes) }
    }

    /// Fills the content.
    pub(super) fn fill(&self, byte: u8) {
        // SAFETY: the content lies inside the allocation.
        unsafe { self.start().as_ptr().write_bytes(byte, self.len_bytes) };
    }

    /// Where, counted from the content's start, a guard byte was overwritten first.
    pub(super) fn broken_guard(&self) -> Option<isize> {
        let after = self.front_bytes + self.len_bytes;
        let place =
            (0..self.front_bytes).chain(after..self.layout.size()).find(|at| self.byte(*at) != GUARD)?;
        Some(place.cast_signed() - self.front_bytes.cast_signed())
    }

    /// Where the content first differs from `byte`.
    pub(super) fn first_other_than(&self, byte: u8) -> Option<usize> {
        let first = self.words_of(byte) * size_of::<u64>();
        (first..self.len_bytes).find(|at| self.byte(self.front_bytes + at) != byte)
    }

    /// How many words in front have only bytes such as `byte`: nearly all, and eight bytes at a
    /// time are as quick as one.
    fn words_of(&self, byte: u8) -> usize {
        let start = self.start().as_ptr().cast::<u64>();
        if !start.is_aligned() {
            return 0;
        }
        let words = 0..self.len_bytes / size_of::<u64>();
        let has_only = |at: &usize| {
            let place = start.wrapping_add(*at);
            // SAFETY: these words lie inside the content, and `new` wrote every byte of it.
            // Volatile: drivers hold pointers into it.
            unsafe { place.read_volatile() == u64::from_ne_bytes([byte; 8]) }
        };
        words.take_while(has_only).count()
    }

    /// A byte of the allocation, guards included.
    fn byte(&self, at: usize) -> u8 {
        debug_assert!(at < self.layout.size());
        let place = self.base.as_ptr().wrapping_add(at);
        // SAFETY: callers count up to the allocation's end, and `new` wrote every byte of it.
        // Volatile: drivers hold pointers into it.
        unsafe { place.read_volatile() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; whoever drops a block knows that nobody else
        // reaches it.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_other_byte_is_found_wherever_it_is() {
        for (len_bytes, align_bytes) in [(0, 1), (1, 1), (7, 8), (8, 8), (21, 1), (21, 64)] {
            let block = Block::new(len_bytes, align_bytes, 0xee).unwrap();
            assert_eq!(block.first_other_than(0xee), None);
            for at in (0..len_bytes).rev() {
                let place = block.start().as_ptr().wrapping_add(at);
                // SAFETY: the byte lies inside the content, which nobody else has.
                unsafe { place.write(0xef) };
                assert_eq!(block.first_other_than(0xee), Some(at), "of {len_bytes} bytes");
            }
            assert_eq!(block.broken_guard(), None);
        }
    }
}

//! The free list: a lock-free stack of segments.
//!
//! A *segment* is up to [`SEGMENT_BUFFERS`] buffers that came home together, linked as they were.
//! It is put on the stack, or taken off, as a whole: one atomic operation and no walk, however many
//! buffers it has.
//!
//! Whoever takes a segment looks at the fields of its first buffer before the buffer is theirs.
//! Those are atomics, and their own; the links behind them belong to whoever holds the buffers. So
//! a look that comes too late reads nonsense, and then the swap fails, for the head has changed.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Node, Shared};

/// The longest segment: as many as go home in one step. While somebody takes one buffer out of a
/// segment, nobody else finds the others.
pub(super) const SEGMENT_BUFFERS: usize = 32;

/// No segment.
const NONE: u32 = u32::MAX;

pub(super) struct FreeList {
    /// The index of the first segment's first buffer in the low half, and a count of changes in the
    /// high half, so that a compare-and-swap does not mistake a list that came back for one that
    /// stood still.
    head: AtomicU64,
}

impl FreeList {
    /// Most buffers that it can tell apart.
    pub(super) const MAX_BUFFERS: u32 = NONE - 1;

    pub(super) const fn empty() -> Self {
        Self { head: AtomicU64::new(NONE as u64) }
    }
}

impl<H> Shared<H> {
    /// Puts a segment on the stack: `first` and the `len - 1` behind it.
    ///
    /// By pointers: the buffers are home with the swap, and another core may free what both point
    /// at before this returns. A reference among the arguments would claim that it stays until
    /// then.
    ///
    /// # Safety
    ///
    /// `this` is a pool's shared part, and the segment is of its nodes, linked, whose buffers are
    /// out, the caller's alone, and not used again.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "segments are short, and an index is a half")]
    pub(super) unsafe fn give_back(this: NonNull<Self>, first: NonNull<Node<H>>, len: usize) {
        // SAFETY: the shared part stays while a buffer is out, which these are until the swap, the
        // last access here.
        let head = unsafe { &(*this.as_ptr()).free.head };
        // SAFETY: nodes live as long as the shared part.
        let Node { index, segment_len, next_segment, .. } = unsafe { first.as_ref() };
        segment_len.store(len as u32, Ordering::Relaxed);
        let mut before = head.load(Ordering::Relaxed);
        loop {
            next_segment.store(before as u32, Ordering::Relaxed);
            let after = u64::from(*index) | bumped(before);
            match head.compare_exchange_weak(before, after, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        // Miri shall see what others do between the swap and the return.
        #[cfg(all(test, miri))]
        (0..16).for_each(|_| std::thread::yield_now());
    }

    /// Takes the topmost segment: its first buffer, and how many there are.
    #[inline(never)]
    pub(super) fn take_segment(&self) -> Option<(&Node<H>, usize)> {
        let head = &self.free.head;
        let mut before = head.load(Ordering::Acquire);
        loop {
            let first = self.nodes.get(index_of(before))?;
            let len = first.segment_len.load(Ordering::Relaxed);
            let after = u64::from(first.next_segment.load(Ordering::Relaxed)) | bumped(before);
            match head.compare_exchange_weak(before, after, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some((first, len as usize)),
                Err(now) => before = now,
            }
        }
    }

    /// Whether the stack is empty, for a moment at least.
    pub(super) fn has_no_segment(&self) -> bool {
        index_of(self.free.head.load(Ordering::Relaxed)) >= self.nodes.len()
    }

    /// Counts the buffers. `None` when somebody changed the list meanwhile, which makes nonsense of
    /// the count, but no harm.
    ///
    /// There is no counter: it would cost each burst two more atomic operations, and nobody needs
    /// the number often.
    pub(super) fn count_free(&self) -> Option<usize> {
        let head = self.free.head.load(Ordering::Acquire);
        let (mut at, mut count) = (index_of(head), 0_usize);
        // No more segments than buffers.
        for _ in 0..self.nodes.len() {
            let Some(first) = self.nodes.get(at) else { break };
            count = count.wrapping_add(first.segment_len.load(Ordering::Relaxed) as usize);
            at = index_of(first.next_segment.load(Ordering::Relaxed).into());
        }
        (self.free.head.load(Ordering::Acquire) == head).then_some(count)
    }
}

/// The index of a head's first buffer; [`NONE`], beyond all of them, when there is none.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is the index")]
fn index_of(head: u64) -> usize {
    head as u32 as usize
}

/// The high half of `head`, one change on.
#[inline(always)]
fn bumped(head: u64) -> u64 {
    (head & !u64::from(NONE)).wrapping_add(1 << 32)
}

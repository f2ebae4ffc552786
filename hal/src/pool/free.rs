//! The free list: a lock-free stack of buffers.
//!
//! However many buffers are taken off it or put on it together, that is one compare-and-swap. Those
//! that go home are linked already. Those that are taken are walked first: it takes the links to
//! know what will be on top then.
//!
//! Whoever walks looks at buffers that are not theirs yet, and reads nonsense where others took
//! them first: whatever their holders linked them to since. So each link is held against where this
//! pool's own headers lie before it is followed, and the swap fails, for the head has changed.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Node, Shared};

/// No buffer.
const NONE: u32 = u32::MAX;

pub(super) struct FreeList {
    /// The index of the buffer on top in the low half, and a count of changes in the high half, so
    /// that a compare-and-swap does not mistake a list that came back for one that stood still.
    head: AtomicU64,
}

impl FreeList {
    /// Most buffers that it can tell apart.
    pub(super) const MAX_BUFFERS: u32 = NONE - 1;

    pub(super) const fn empty() -> Self {
        Self { head: AtomicU64::new(NONE as u64) }
    }
}

/// Buffers that were taken: the first and the last of them, linked.
pub(super) struct Taken<H> {
    pub(super) first: NonNull<Node<H>>,
    pub(super) last: NonNull<Node<H>>,
    pub(super) len: usize,
}

impl<H> Shared<H> {
    /// Puts buffers on the stack: that of index `first` and all behind it up to `last`.
    ///
    /// By pointers: the buffers are home with the swap, and another core may free what they point
    /// at before this returns. A reference among the arguments would claim that it stays until
    /// then.
    ///
    /// # Safety
    ///
    /// `this` is a pool's shared part, and the buffers are of its nodes, linked, none of them
    /// continued by another, out, the caller's alone, and not used again.
    #[inline(never)]
    pub(super) unsafe fn give_back(this: NonNull<Self>, first: u32, last: NonNull<Node<H>>) {
        // SAFETY: the shared part stays while a buffer is out, which these are until the swap, the
        // last access here.
        let Self { free, nodes, .. } = unsafe { &*this.as_ptr() };
        // SAFETY: nodes live as long as the shared part.
        let Node { next, .. } = unsafe { &*last.as_ptr() };
        let mut before = free.head.load(Ordering::Relaxed);
        loop {
            let below = nodes.get(index_of(before)).map_or(null_mut(), |node| NonNull::from(node).as_ptr());
            next.store(below, Ordering::Relaxed);
            let after = u64::from(first) | bumped(before);
            match free.head.compare_exchange_weak(before, after, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        // Miri shall see what others do between the swap and the return.
        #[cfg(all(test, miri))]
        (0..16).for_each(|_| std::thread::yield_now());
    }

    /// Takes the buffer on top.
    #[inline(never)]
    pub(super) fn take_one(&self) -> Option<NonNull<Node<H>>> {
        let head = &self.free.head;
        let mut before = head.load(Ordering::Acquire);
        // Ends: each turn but the last, another core took or gave something.
        loop {
            let first = self.nodes.get(index_of(before))?;
            let below = self.own(first.next.load(Ordering::Relaxed)).map_or(NONE, |node| node.index);
            let after = u64::from(below) | bumped(before);
            match head.compare_exchange_weak(before, after, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(first.into()),
                Err(now) => before = now,
            }
        }
    }

    /// Takes `plenty` buffers if there are as many, else up to `needed`.
    #[inline(never)]
    pub(super) fn take(&self, needed: usize, plenty: usize) -> Option<Taken<H>> {
        // A walk that goes round, for its buffers are others' by now, ends as well.
        let (needed, plenty) = (needed.min(self.nodes.len()), plenty.min(self.nodes.len()));
        let (more, plenty) = (needed.checked_sub(1)?, plenty.saturating_sub(needed));
        let head = &self.free.head;
        let mut before = head.load(Ordering::Acquire);
        // Ends: each turn but the last, another core took or gave something.
        loop {
            let first = self.nodes.get(index_of(before))?;
            let (mut last, missing) = self.walk(first, more);
            let mut len = needed.wrapping_sub(missing);
            if plenty > 0 && missing == 0 {
                let (end, missing) = self.walk(last, plenty);
                if missing == 0 {
                    (last, len) = (end, len.wrapping_add(plenty));
                }
            }
            let below = self.own(last.next.load(Ordering::Relaxed)).map_or(NONE, |node| node.index);
            let after = u64::from(below) | bumped(before);
            match head.compare_exchange_weak(before, after, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(Taken { first: first.into(), last: last.into(), len }),
                Err(now) => before = now,
            }
        }
    }

    /// Follows `steps` links from `node` on. Where they lead, and how many there were not.
    #[inline(always)]
    fn walk<'s>(&'s self, mut node: &'s Node<H>, mut steps: usize) -> (&'s Node<H>, usize) {
        // Four at a time, which spares most of the counting.
        while steps >= 4 {
            let Some(first) = self.own(node.next.load(Ordering::Relaxed)) else { return (node, steps) };
            let Some(second) = self.own(first.next.load(Ordering::Relaxed)) else {
                return (first, steps.wrapping_sub(1));
            };
            let Some(third) = self.own(second.next.load(Ordering::Relaxed)) else {
                return (second, steps.wrapping_sub(2));
            };
            let Some(fourth) = self.own(third.next.load(Ordering::Relaxed)) else {
                return (third, steps.wrapping_sub(3));
            };
            (node, steps) = (fourth, steps.wrapping_sub(4));
        }
        while steps > 0
            && let Some(next) = self.own(node.next.load(Ordering::Relaxed))
        {
            node = next;
            steps = steps.wrapping_sub(1);
        }
        (node, steps)
    }

    /// The node that a link leads to, if it is one of this pool's.
    #[inline(always)]
    pub(super) fn own(&self, link: *mut Node<H>) -> Option<&Node<H>> {
        let offset = link.addr().wrapping_sub(self.nodes.as_ptr().addr());
        // SAFETY: links lead to nodes, each to one as a whole, and no other pool's lie among these.
        (offset < size_of_val(&*self.nodes)).then(|| unsafe { &*link })
    }

    /// How often the stack was changed.
    #[cfg(test)]
    pub(super) fn changes(&self) -> u64 {
        self.free.head.load(Ordering::Relaxed) >> 32
    }

    /// Whether the stack is empty, for a moment at least.
    pub(super) fn is_dry(&self) -> bool {
        index_of(self.free.head.load(Ordering::Relaxed)) >= self.nodes.len()
    }

    /// Counts the buffers. `None` when somebody changed the list meanwhile, which makes nonsense of
    /// the count, but no harm.
    ///
    /// There is no counter: it would cost each burst two more atomic operations, and nobody needs
    /// the number often.
    pub(super) fn count_free(&self) -> Option<usize> {
        let head = self.free.head.load(Ordering::Acquire);
        let count = self.nodes.get(index_of(head)).map_or(0, |first| {
            // No more than there are.
            let others = self.nodes.len().wrapping_sub(1);
            let (_, missing) = self.walk(first, others);
            self.nodes.len().wrapping_sub(missing)
        });
        (self.free.head.load(Ordering::Acquire) == head).then_some(count)
    }
}

/// The index of a head's buffer; [`NONE`], beyond all of them, when there is none.
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

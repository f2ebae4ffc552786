//! Many buffers held together, taken and given back for one atomic operation.
//!
//! A chain moves in a few words. Giving it back takes no walk: its links are the free list's. That
//! holds as long as all of its buffers are of one pool; a chain of several goes home one by one.

use core::fmt;
use core::mem::{ManuallyDrop, offset_of};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::dma::DomainTag;

use super::free::Taken;
use super::{Buffer, BufferMut, Header, Node, Pooled, Shared};

mod walk;

/// Buffers in a row, first in, first out, each with those that continue it. Dropped, it gives them
/// back.
pub struct Chain<T: Pooled> {
    /// The buffer in front; means nothing when there is none.
    first: AtomicPtr<Node<T::Header>>,
    /// The one whose link leads to what is added: the last of the last one's. Means nothing when
    /// there is none.
    last: *mut Node<T::Header>,
    /// How many, those that continue others not counted. No memory holds more.
    len: u32,
    /// They may be of several pools.
    is_mixed: bool,
    /// Some may be continued by others.
    has_more: bool,
}

// SAFETY: as `Buffer`: it owns them exclusively, and giving them back is an atomic operation.
unsafe impl<T: Pooled> Send for Chain<T> {}
// SAFETY: a shared reference gives out a number, and buffers to be looked at, which are `Sync`
// then.
unsafe impl<T: Pooled<Header: Sync>> Sync for Chain<T> {}

impl<T: Pooled> Chain<T> {
    /// None yet.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self { first: AtomicPtr::new(null_mut()), last: null_mut(), len: 0, is_mixed: false, has_more: false }
    }

    /// What was just taken off a free list.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a pool numbers its buffers by 32 bits")]
    pub(super) fn taken(taken: Taken<T::Header>) -> Self {
        let Taken { first, last, len } = taken;
        Self {
            first: AtomicPtr::new(first.as_ptr()),
            last: last.as_ptr(),
            len: len as u32,
            is_mixed: false,
            has_more: false,
        }
    }

    /// How many there are. What continues another is not counted.
    #[must_use]
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The domain of all of them, where they have a home together.
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> Option<DomainTag> {
        if self.is_mixed { None } else { self.front().map(|front| front.domain()) }
    }

    /// The buffer in front, which stays there.
    #[inline(always)]
    fn front(&self) -> Option<ManuallyDrop<Buffer<T::Header>>> {
        if self.len == 0 {
            return None;
        }
        NonNull::new(self.first.load(Ordering::Relaxed)).map(|first| ManuallyDrop::new(Buffer(first)))
    }

    /// The pool of all of them, if that is one; else null.
    #[inline(always)]
    fn home(&self) -> *mut Shared<T::Header> {
        match self.front() {
            Some(front) if !self.is_mixed => front.node().pool.as_ptr(),
            _ => null_mut(),
        }
    }

    /// Adds a buffer to the back.
    #[inline(always)]
    pub fn push(&mut self, buffer: T) {
        self.append(Self::of(buffer.into_buffer()));
    }

    /// Adds a buffer to the front.
    #[inline(always)]
    pub fn push_front(&mut self, buffer: T) {
        self.put_first(buffer.into_buffer());
    }

    #[inline(always)]
    fn put_first(&mut self, buffer: Buffer<T::Header>) {
        let rest = core::mem::replace(self, Self::of(buffer));
        self.append(rest);
    }

    /// Adds all of `other` to the back.
    #[inline(always)]
    pub fn append(&mut self, other: Self) {
        if self.len == 0 {
            *self = other;
            return;
        }
        let other = ManuallyDrop::new(other);
        if other.len == 0 {
            return;
        }
        // Of which one is null when it is mixed; both are.
        self.is_mixed |= other.is_mixed || self.home() != other.home();
        self.link().store(other.first.load(Ordering::Relaxed), Ordering::Relaxed);
        self.last = other.last;
        self.len = self.len.wrapping_add(other.len);
        self.has_more |= other.has_more;
    }

    /// Takes the buffer in front.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        self.len = self.len.wrapping_sub(1);
        // There was one, so `first` is it, and it is this chain's no more.
        let buffer = Buffer(NonNull::new(self.first.load(Ordering::Relaxed))?);
        self.first.store(behind(&buffer), Ordering::Relaxed);
        Some(T::of(buffer))
    }

    /// Gives all back, together.
    #[inline(always)]
    pub fn clear(&mut self) {
        drop(core::mem::take(self));
    }

    /// Takes buffers from the front, as long as `by` says so of how many each is with those that
    /// continue it, and takes these apart: of what comes back none continues another, and all
    /// count.
    ///
    /// That is how they go home. Should `by` panic, they are leaked.
    #[inline(always)]
    pub fn take_apart(&mut self, mut by: impl FnMut(usize) -> bool) -> Self {
        let (first, mut left, mut len, mut last) =
            (self.first.load(Ordering::Relaxed), self.len, 0_u32, self.last);
        let mut next = first;
        self.len = 0;
        while left > 0
            && let Some(front) = NonNull::new(next)
        {
            let front = ManuallyDrop::new(Buffer(front));
            let (mut segments, mut end) = (1_u32, ManuallyDrop::new(Buffer(front.0)));
            while let Some(behind) = end.unlink() {
                (segments, end) = (segments.wrapping_add(1), ManuallyDrop::new(behind));
            }
            if !by(segments as usize) {
                front.relink(segments);
                break;
            }
            (next, last) = (end.node().next.load(Ordering::Relaxed), end.0.as_ptr());
            (left, len) = (left.wrapping_sub(1), len.wrapping_add(segments));
        }
        self.first.store(next, Ordering::Relaxed);
        self.len = left;
        Self { first: AtomicPtr::new(first), last, len, is_mixed: self.is_mixed, has_more: false }
    }

    /// Makes one of all: each continues the one before it, and what continues that. `None` of none.
    ///
    /// That is one walk, and spares the one to the end that [`Buffer::set_next`] takes for each.
    #[must_use]
    #[inline]
    pub fn join(self) -> Option<T> {
        // From here on they belong to the first one.
        let chain = ManuallyDrop::new(self);
        let first = chain.front()?;
        let mut buffer = ManuallyDrop::new(Buffer(first.0));
        // Ends: the last one is behind the first.
        while buffer.0.as_ptr() != chain.last {
            let Node { next, more, .. } = buffer.node();
            more.set(true);
            buffer = ManuallyDrop::new(Buffer(NonNull::new(next.load(Ordering::Relaxed))?));
        }
        Some(T::of(ManuallyDrop::into_inner(first)))
    }

    /// A chain of one.
    #[inline(always)]
    pub(super) fn of(buffer: Buffer<T::Header>) -> Self {
        // From here on it is this chain's.
        let buffer = ManuallyDrop::new(buffer);
        let has_more = buffer.node().more.get();
        Self {
            first: AtomicPtr::new(buffer.0.as_ptr()),
            last: if has_more { buffer.last() } else { buffer.0 }.as_ptr(),
            len: 1,
            is_mixed: has_more && buffer.home().is_null(),
            has_more,
        }
    }

    /// Where the next buffer is entered: in the last one, or in the chain itself.
    #[inline(always)]
    fn link(&self) -> &AtomicPtr<Node<T::Header>> {
        // SAFETY: there is a last one, whose node lives as long as it is out.
        if self.len > 0 { unsafe { &(*self.last).next } } else { &self.first }
    }

    #[cold]
    fn go_home_one_by_one(&mut self) {
        while let Some(buffer) = self.pop() {
            drop(buffer);
        }
    }

    /// Has none of them continue another, so that each is free by itself.
    #[cold]
    fn settle(&mut self) {
        let mut node = NonNull::new(self.first.load(Ordering::Relaxed));
        // Ends: the last one is behind the first.
        while let Some(buffer) = node.map(|node| ManuallyDrop::new(Buffer(node))) {
            let Node { next, more, .. } = buffer.node();
            more.set(false);
            if buffer.0.as_ptr() == self.last {
                return;
            }
            node = NonNull::new(next.load(Ordering::Relaxed));
        }
    }
}

/// What is behind a buffer that is in a chain, and behind those that continue it.
#[inline(always)]
fn behind<H: Header>(buffer: &Buffer<H>) -> *mut Node<H> {
    let Node { next, more, .. } = buffer.node();
    if more.get() {
        return ManuallyDrop::new(Buffer(buffer.last())).node().next.load(Ordering::Relaxed);
    }
    next.load(Ordering::Relaxed)
}

/// Where a node holds its link.
#[inline(always)]
fn link_of<H>(node: NonNull<Node<H>>) -> NonNull<AtomicPtr<Node<H>>> {
    const { assert!(offset_of!(Node<H>, next) == 0, "so that one pointer is both") };
    node.cast()
}

impl<T: Pooled> From<T> for Chain<T> {
    /// A chain of one.
    #[inline(always)]
    fn from(buffer: T) -> Self {
        Self::of(buffer.into_buffer())
    }
}

impl<T: Pooled> Extend<T> for Chain<T> {
    /// Adds each to the back.
    #[inline]
    fn extend<I: IntoIterator<Item = T>>(&mut self, buffers: I) {
        for buffer in buffers {
            self.push(buffer);
        }
    }
}

impl<T: Pooled> Default for Chain<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Pooled> Drop for Chain<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let (Some(front), Some(last)) = (self.front().filter(|_| !self.is_mixed), NonNull::new(self.last))
        else {
            return self.go_home_one_by_one();
        };
        if self.has_more {
            self.settle();
        }
        let (home, first) = (front.node().pool, front.index());
        // SAFETY: the home of all of them is their pool's shared part; they are linked, none
        // continues another, they are this chain's alone, and it is being dropped.
        unsafe { Shared::give_back(home, first, last) };
    }
}

impl<T: Pooled> fmt::Debug for Chain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} buffers)", self.len)
    }
}

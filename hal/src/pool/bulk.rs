//! Many buffers for one atomic operation.
//!
//! An atomic read-modify-write costs as much as everything else that a driver does with a small frame. So a burst's buffers come off the free list as one
//! chain and go back as one: the links of the list are the links of the chain.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering;

use super::{Buffer, Header, Node, Shared, bumped};

/// Buffers taken off a pool together. An iterator; dropped, it gives the rest back.
pub struct Supply<'p, H: Header> {
    shared: &'p Shared<H>,
    /// The next buffer; null where the chain ends.
    first: *mut Node<H>,
}

impl<'p, H: Header> Supply<'p, H> {
    /// Takes the front of the free list, up to `at_most` nodes of it.
    #[inline]
    pub(super) fn new(shared: &'p Shared<H>, at_most: usize) -> Self {
        let empty = Self { shared, first: null_mut() };
        if at_most == 0 {
            return empty;
        }
        let mut head = shared.head.load(Ordering::Acquire);
        loop {
            let first = shared.node_at(head);
            let Some(mut last) = shared.node(first) else { return empty };
            let mut rest = last.next_free.load(Ordering::Relaxed);
            // Others may take and change these nodes meanwhile. Then this walk finds nonsense, of this pool's nodes and of bounded length, and the swap
            // below fails, for the head has changed too.
            for _ in 1..at_most {
                let Some(node) = shared.node(rest) else { break };
                last = node;
                rest = node.next_free.load(Ordering::Relaxed);
            }
            let next = u64::from(shared.index_behind(rest)) | bumped(head);
            match shared.head.compare_exchange_weak(head, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    last.next_free.store(null_mut(), Ordering::Relaxed);
                    return Self { shared, first };
                }
                Err(now) => head = now,
            }
        }
    }
}

impl<H: Header> Iterator for Supply<'_, H> {
    type Item = Buffer<H>;

    #[inline(always)]
    fn next(&mut self) -> Option<Buffer<H>> {
        let node = self.shared.node(self.first)?;
        self.first = node.next_free.load(Ordering::Relaxed);
        Some(Buffer(NonNull::from(node)))
    }
}

impl<H: Header> Drop for Supply<'_, H> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.first.is_null() {
            self.give_up();
        }
    }
}

impl<H: Header> Supply<'_, H> {
    #[cold]
    fn give_up(&mut self) {
        Returns::new().extend(self);
    }
}

impl<H: Header> fmt::Debug for Supply<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supply(from {:p})", self.first)
    }
}

/// Buffers on their way home together. They are home when it is dropped, or meets a buffer of another pool.
pub struct Returns<H: Header> {
    /// The pool of all of them; null while there are none.
    pool: *mut Shared<H>,
    /// The one that came first and will be last in the list; null likewise.
    last: *mut Node<H>,
    /// The one that came last; null likewise.
    first: *mut Node<H>,
}

impl<H: Header> Returns<H> {
    /// None yet.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self { pool: null_mut(), last: null_mut(), first: null_mut() }
    }

    /// Adds a buffer.
    #[inline(always)]
    pub fn put(&mut self, buffer: Buffer<H>) {
        // From here on the buffer is this chain's.
        let mut buffer = ManuallyDrop::new(buffer);
        buffer.go_home();
        let node = buffer.node();
        if self.pool != node.pool.as_ptr() {
            self.flush();
            (self.pool, self.last) = (node.pool.as_ptr(), buffer.0.as_ptr());
        }
        node.next_free.store(self.first, Ordering::Relaxed);
        self.first = buffer.0.as_ptr();
    }

    /// Sends home what there is.
    #[inline]
    fn flush(&mut self) {
        let Self { pool, last, first } = *self;
        (self.pool, self.last, self.first) = (null_mut(), null_mut(), null_mut());
        let (Some(pool), Some(last), Some(first)) =
            (NonNull::new(pool), NonNull::new(last), NonNull::new(first))
        else {
            return;
        };
        // SAFETY: nodes stay while their buffer is out.
        let first = unsafe { first.as_ref() }.index;
        // SAFETY: `put` linked these, all of one pool, and nobody has them any more.
        unsafe { Shared::give_back(pool, first, last) };
    }
}

impl<H: Header> Default for Returns<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Header> Extend<Buffer<H>> for Returns<H> {
    fn extend<I: IntoIterator<Item = Buffer<H>>>(&mut self, buffers: I) {
        for buffer in buffers {
            self.put(buffer);
        }
    }
}

impl<H: Header> Drop for Returns<H> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.pool.is_null() {
            self.flush();
        }
    }
}

impl<H: Header> fmt::Debug for Returns<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Returns(from {:p})", self.first)
    }
}

//! Many buffers for one atomic operation.
//!
//! An atomic read-modify-write costs as much as everything else that a driver does with a small frame. So a burst's buffers come off the free list as one
//! chain and go back as one: the links of the list are the links of the chain.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::{Buffer, Header, NONE, Node, Shared, bumped, index_of};

/// Buffers taken off a pool together. An iterator; dropped, it gives the rest back.
pub struct Supply<'p, H: Header> {
    nodes: &'p [Node<H>],
    /// The next buffer's index; where the chain ends, [`NONE`] or, of an empty pool, one past the last.
    first: usize,
}

impl<'p, H: Header> Supply<'p, H> {
    /// Takes the front of the free list, up to `at_most` nodes of it.
    #[inline]
    pub(super) fn new(shared: &'p Shared<H>, at_most: usize) -> Self {
        let nodes = &*shared.nodes;
        let empty = Self { nodes, first: NONE as usize };
        if at_most == 0 {
            return empty;
        }
        let mut head = shared.head.load(Ordering::Acquire);
        loop {
            let Some(mut last) = nodes.get(index_of(head)) else { return empty };
            let mut count = 1;
            let mut rest = last.next_free.load(Ordering::Relaxed);
            // Others may take and change these nodes meanwhile. Then this walk finds nonsense, inside the table and of bounded length, and the swap below
            // fails, for the head has changed too.
            while count < at_most {
                let Some(node) = nodes.get(rest as usize) else { break };
                last = node;
                rest = node.next_free.load(Ordering::Relaxed);
                count += 1;
            }
            let next = u64::from(rest) | bumped(head);
            match shared.head.compare_exchange_weak(head, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    last.next_free.store(NONE, Ordering::Relaxed);
                    return Self { nodes, first: index_of(head) };
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
        let node = self.nodes.get(self.first)?;
        self.first = node.next_free.load(Ordering::Relaxed) as usize;
        Some(Buffer(NonNull::from(node)))
    }
}

impl<H: Header> Drop for Supply<'_, H> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.first < self.nodes.len() {
            Returns::new().extend(self);
        }
    }
}

impl<H: Header> fmt::Debug for Supply<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supply(from {})", self.first)
    }
}

/// Buffers on their way home together. They are home when it is dropped, or meets a buffer of another pool.
pub struct Returns<H: Header> {
    /// The pool of all of them; `None` while there are none.
    pool: Option<NonNull<Shared<H>>>,
    /// The one that came first and will be last in the list.
    last: NonNull<Node<H>>,
    /// The one that came last.
    first: u32,
}

impl<H: Header> Returns<H> {
    /// None yet.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self { pool: None, last: NonNull::dangling(), first: NONE }
    }

    /// Adds a buffer.
    #[inline(always)]
    pub fn put(&mut self, buffer: Buffer<H>) {
        // From here on the buffer is this chain's.
        let mut buffer = ManuallyDrop::new(buffer);
        buffer.go_home();
        let node = buffer.node();
        if self.pool != Some(node.pool) {
            self.flush();
            (self.pool, self.last) = (Some(node.pool), buffer.0);
        }
        node.next_free.store(self.first, Ordering::Relaxed);
        self.first = node.index;
    }

    /// Sends home what there is.
    #[inline]
    fn flush(&mut self) {
        if let Some(pool) = self.pool.take() {
            // SAFETY: a pool's shared part, nodes included, stays while a buffer is out, and these are out until `give_back` is over.
            let pool = unsafe { pool.as_ref() };
            // SAFETY: as above; set together with `pool`.
            let last = unsafe { self.last.as_ref() };
            pool.give_back(self.first, last);
        }
        self.first = NONE;
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
        self.flush();
    }
}

impl<H: Header> fmt::Debug for Returns<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Returns(from {})", self.first)
    }
}

//! Many buffers held together, and home for one atomic operation.
//!
//! The links of a chain are the links of the free list's segments. So a chain moves in a few words,
//! and giving it back takes no walk: it *is* the next segment. That holds as long as all of its
//! buffers are of one pool and none [needs a clean-up](super::Header::needs_cleanup); one of which
//! that does not hold goes home piece by piece.

use core::cell::Cell;
use core::fmt;
use core::mem::{ManuallyDrop, offset_of};
use core::ops::Deref;
use core::ptr::{NonNull, null_mut};

use zerocopy::{Immutable, IntoBytes};

use crate::dma::DomainTag;

use super::{Buffer, Header, Node, SEGMENT_BUFFERS, Shared};

/// Buffers in a row, first in, first out. Dropped, it gives them back.
pub struct Chain<H: Header> {
    /// The buffer in front and the one at the back; mean nothing when there is none.
    first: Cell<*mut Node<H>>,
    last: *mut Node<H>,
    len: usize,
    /// The pool of all of them, while that is one and none needs a clean-up; else null.
    home: *mut Shared<H>,
}

// SAFETY: as `Buffer`: it owns them exclusively, and giving them back is an atomic operation.
unsafe impl<H: Header> Send for Chain<H> {}
// SAFETY: a shared reference gives out a number.
unsafe impl<H: Header + Sync> Sync for Chain<H> {}

impl<H: Header> Chain<H> {
    /// None yet.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self { first: Cell::new(null_mut()), last: null_mut(), len: 0, home: null_mut() }
    }

    /// A segment just taken off the free list of `home`. Its last buffer is not looked for: nothing
    /// is added to a segment.
    #[inline(always)]
    pub(super) fn of_segment(first: NonNull<Node<H>>, len: usize, home: NonNull<Shared<H>>) -> Self {
        Self { first: Cell::new(first.as_ptr()), last: null_mut(), len, home: home.as_ptr() }
    }

    /// How many there are.
    #[must_use]
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The domain of all of them, where they have a home together.
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> Option<DomainTag> {
        if self.len == 0 {
            return None;
        }
        // SAFETY: null, or a pool's shared part, which stays while a buffer is out, and there is
        // one here.
        Some(unsafe { self.home.as_ref() }?.domain)
    }

    /// Adds all of `other` to the back.
    #[inline(always)]
    pub fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            self.append_each(other);
        }
    }

    #[cold]
    fn append_each(&mut self, mut other: Self) {
        while let Some(buffer) = other.pop() {
            self.push(buffer);
        }
    }

    /// Whether there is none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a buffer to the back.
    #[inline(always)]
    pub fn push(&mut self, buffer: Buffer<H>) {
        // From here on it is this chain's.
        let buffer = ManuallyDrop::new(buffer);
        self.home = home_with(self.home, self.len, &buffer);
        // SAFETY: in this chain, or in its last buffer, whose node lives as long as it is out.
        unsafe { &*self.link() }.set(buffer.0.as_ptr());
        self.last = buffer.0.as_ptr();
        self.len += 1;
    }

    /// Where the next buffer is entered: in the last one, or in the chain itself.
    #[inline(always)]
    fn link(&self) -> *const Cell<*mut Node<H>> {
        if self.len > 0 { link_of(self.last) } else { &raw const self.first }
    }

    /// The last buffer, when it holds `link`; as it was while there is none.
    #[inline(always)]
    fn set_last(&mut self, link: *const Cell<*mut Node<H>>) {
        if self.len > 0 {
            self.last = link.cast_mut().cast();
        }
    }

    /// Adds a buffer to the front.
    #[inline(always)]
    pub fn push_front(&mut self, buffer: Buffer<H>) {
        let buffer = ManuallyDrop::new(buffer);
        self.home = home_with(self.home, self.len, &buffer);
        buffer.node().next.set(self.first.get());
        self.first.set(buffer.0.as_ptr());
        if self.len == 0 {
            self.last = buffer.0.as_ptr();
        }
        self.len += 1;
    }

    /// Takes the buffer in front.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Buffer<H>> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        // SAFETY: there was one, so `first` is it, and it is this chain's no more.
        let buffer = unsafe { Buffer::at(self.first.get()) };
        self.first.set(buffer.node().next.get());
        Some(buffer)
    }

    /// Says what is there after buffers were taken: `len`, of which `stays` is to be the first, if
    /// it is something, and `next` leads to the others.
    #[inline(always)]
    fn put_rest(&mut self, next: *mut Node<H>, len: usize, stays: Option<Buffer<H>>) {
        self.first.set(next);
        self.len = len;
        if let Some(buffer) = stays {
            self.len -= 1;
            self.push_front(buffer);
        }
    }

    /// Exchanges buffers for others, front first, each with one of `items`, until `exchange` gives
    /// one back, which stays, or either ends. What came is added to `others`; it ends early after
    /// one that has not the home of the others. How many came.
    ///
    /// Should `exchange` panic, the rest and what came are leaked.
    #[inline(always)]
    pub fn exchange_zip<T>(
        &mut self,
        items: &[T],
        others: &mut Self,
        mut exchange: impl FnMut(Buffer<H>, &T) -> Result<Buffer<H>, Buffer<H>>,
    ) -> usize {
        let items = items.get(..self.len).unwrap_or(items);
        let (before, mut next) = (self.len, self.first.get());
        self.len = 0;
        let mut link = others.link();
        let home = if others.len == 0 { self.home } else { others.home };
        let (mut came, mut stays, mut is_odd) = (0, None, false);
        while let Some(item) = items.get(came) {
            // SAFETY: `items` is no longer than the chain, so this is a buffer of it, which is
            // taken off here.
            let buffer = unsafe { Buffer::at(next) };
            // While it is ours: whoever has it next links it as they like.
            next = buffer.node().next.get();
            match exchange(buffer, item) {
                Ok(other) => {
                    is_odd = other.node().pool.as_ptr() != home || other.needs_cleanup();
                    let other = ManuallyDrop::new(other);
                    // SAFETY: in `others`, or in its last buffer, whose node lives as long as it is
                    // out.
                    unsafe { &*link }.set(other.0.as_ptr());
                    link = link_of(other.0.as_ptr());
                    came += 1;
                    if is_odd {
                        break;
                    }
                }
                Err(buffer) => {
                    stays = Some(buffer);
                    break;
                }
            }
        }
        self.put_rest(next, before - came, stays);
        if came > 0 {
            others.home = if is_odd { null_mut() } else { home };
            others.len += came;
            others.set_last(link);
        }
        came
    }

    /// Splits off those in front of which `look` says yes, each with one of `items`, up to the
    /// first of which it does not, or until either ends.
    ///
    /// They never leave their places, which is what makes this the cheapest walk. Should `look`
    /// panic, all are leaked.
    #[inline(always)]
    pub fn split_while<T>(&mut self, items: &[T], mut look: impl FnMut(Linked<'_, H>, &T) -> bool) -> Self {
        let items = items.get(..self.len).unwrap_or(items);
        let (before, first) = (self.len, self.first.get());
        self.len = 0;
        let (mut next, mut last) = (first, first);
        let mut went = 0;
        while let Some(item) = items.get(went) {
            // SAFETY: `items` is no longer than the chain, so this is a buffer of it. It stays:
            // `Linked` neither drops it nor gives it away.
            let mut buffer = ManuallyDrop::new(unsafe { Buffer::at(next) });
            let after = buffer.node().next.get();
            if !look(Linked(&mut buffer), item) {
                break;
            }
            (last, next) = (next, after);
            went += 1;
        }
        self.first.set(next);
        self.len = before - went;
        // They have a home together if all of this chain have.
        Self { first: Cell::new(first), last, len: went, home: self.home }
    }

    /// Gives them back one by one, or rather in pieces as long as a segment may be and of one pool
    /// each.
    #[cold]
    fn go_home_in_pieces(&mut self) {
        let mut piece = Self::new();
        while let Some(mut buffer) = self.pop() {
            buffer.clean_up();
            let pool = buffer.node().pool.as_ptr();
            if piece.len == SEGMENT_BUFFERS || piece.home != pool {
                drop(core::mem::take(&mut piece));
            }
            piece.push(buffer);
            piece.home = pool;
        }
    }
}

/// A buffer in its place in a chain. Its bytes can be written; it cannot be exchanged for another,
/// nor be given anything that [needs a clean-up](super::Header::needs_cleanup).
#[derive(Debug)]
pub struct Linked<'c, H: Header>(&'c mut Buffer<H>);

impl<H: Header> Linked<'_, H> {
    /// [Writes](Buffer::write) a plain value at `offset_bytes`. False past the end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline(always)]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        self.0.write(offset_bytes, value)
    }
}

impl<H: Header> Deref for Linked<'_, H> {
    type Target = Buffer<H>;
    #[inline(always)]
    fn deref(&self) -> &Buffer<H> {
        self.0
    }
}

/// Where a node holds its link.
#[inline(always)]
fn link_of<H>(node: *mut Node<H>) -> *const Cell<*mut Node<H>> {
    const { assert!(offset_of!(Node<H>, next) == 0, "so that one pointer is both") };
    node.cast_const().cast()
}

/// The home of `len` buffers that have `home` together, and of one more.
#[inline(always)]
fn home_with<H: Header>(home: *mut Shared<H>, len: usize, buffer: &Buffer<H>) -> *mut Shared<H> {
    let pool = buffer.node().pool.as_ptr();
    if home == pool && !buffer.needs_cleanup() { home } else { another_home(home, len == 0, buffer) }
}

#[cold]
fn another_home<H: Header>(home: *mut Shared<H>, is_first: bool, buffer: &Buffer<H>) -> *mut Shared<H> {
    let pool = buffer.node().pool.as_ptr();
    if (is_first || home == pool) && !buffer.needs_cleanup() { pool } else { null_mut() }
}

impl<H: Header> Default for Chain<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Header> Drop for Chain<H> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        match (NonNull::new(self.home), NonNull::new(self.first.get())) {
            (Some(home), Some(first)) if self.len <= SEGMENT_BUFFERS => {
                // SAFETY: the home of all of them is their pool's shared part; they are linked,
                // this chain's alone, and it is being dropped.
                unsafe { Shared::give_back(home, first, self.len) };
            }
            _ => self.go_home_in_pieces(),
        }
    }
}

impl<H: Header> fmt::Debug for Chain<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} buffers)", self.len)
    }
}

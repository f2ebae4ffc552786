//! Buffers: what a pool gives out.

use core::fmt;
use core::hint::assert_unchecked;
use core::mem::{ManuallyDrop, size_of};
use core::ops::{Deref, DerefMut};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Chain, Header, MIN_ALIGN, Node, Shared};
use crate::addr::DmaAddr;
use crate::dma::DomainTag;
use crate::dma::copy::{volatile_copy, volatile_read, volatile_write};

/// One buffer of a pool, owned. Its header is reached by dereferencing.
///
/// Others may [continue](Self::set_next) it, which it owns as well.
#[repr(transparent)]
pub struct Buffer<H: Header>(pub(super) NonNull<Node<H>>);

// SAFETY: the buffer is owned exclusively, its header is `Send`, and giving it back is an atomic
// operation.
unsafe impl<H: Header> Send for Buffer<H> {}
// SAFETY: a shared reference gives out `&H` only, and volatile copies of the bytes.
unsafe impl<H: Header + Sync> Sync for Buffer<H> {}

impl<H: Header> Buffer<H> {
    /// The buffer behind a link.
    ///
    /// # Safety
    ///
    /// It is a node of a pool whose buffer is out, and belongs to nobody else, as do those that
    /// continue it.
    #[inline(always)]
    pub(super) unsafe fn at(node: *mut Node<H>) -> Self {
        // SAFETY: a node is somewhere.
        Self(unsafe { NonNull::new_unchecked(node) })
    }

    #[inline(always)]
    pub(super) fn node(&self) -> &Node<H> {
        // SAFETY: nodes live as long as the pool's shared part, which is never freed while a buffer
        // is out. Only shared references to nodes exist.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn capacity(&self) -> usize {
        self.node().buffer_bytes
    }

    /// How long it is.
    #[must_use]
    #[inline(always)]
    pub fn len_bytes(&self) -> usize {
        self.capacity()
    }

    /// Where the device finds the byte at `offset_bytes`; `None` past the end.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr(&self, offset_bytes: usize) -> Option<DmaAddr> {
        self.reaches(offset_bytes).then(|| self.node().dma.offset(offset_bytes))
    }

    /// Whose address [`dma_addr`](Self::dma_addr) is: to be compared before a device is told of it.
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> DomainTag {
        self.node().domain
    }

    /// Which buffer of its pool it is.
    #[must_use]
    #[inline(always)]
    pub fn index(&self) -> u32 {
        self.node().index
    }

    /// The one that continues it.
    #[must_use]
    #[inline(always)]
    pub fn next(&self) -> Option<&Self> {
        let Node { next, more, .. } = self.node();
        // SAFETY: the link of one that is continued leads to a buffer that belongs to this one. It
        // is as a `Buffer` is, and changes only by `&mut self`.
        more.get().then(|| unsafe { &*next.as_ptr().cast::<Self>() })
    }

    /// Makes `next` its continuation, with all that continues that. What continued it so far is
    /// dropped.
    #[inline(always)]
    pub fn set_next(&mut self, next: Self) {
        drop(self.take_next());
        self.link(next);
    }

    /// Takes the continuation off.
    #[inline(always)]
    pub fn take_next(&mut self) -> Option<Self> {
        self.unlink()
    }

    /// Has `change` do something to the `index`th one of those that continue it, itself the 0th.
    /// `None` when there are not as many.
    pub fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let Some(before) = index.checked_sub(1) else { return Some(change(self)) };
        let before = (0..before).try_fold(&*self, |buffer, _| buffer.next())?;
        let mut changed = before.unlink()?;
        let said = change(&mut changed);
        before.link(changed);
        Some(said)
    }

    /// Makes `next` the continuation of this one, which has none. Only where it is ours alone.
    #[inline(always)]
    fn link(&self, next: Self) {
        let Node { next: link, more, .. } = self.node();
        link.store(ManuallyDrop::new(next).0.as_ptr(), Ordering::Relaxed);
        more.set(true);
    }

    /// Takes the continuation off. Only where this one is ours alone.
    #[inline(always)]
    pub(super) fn unlink(&self) -> Option<Self> {
        let Node { next, more, .. } = self.node();
        // The link of one that is continued leads to a buffer that belongs to this one, and from
        // here on does not.
        if more.replace(false) { NonNull::new(next.load(Ordering::Relaxed)).map(Self) } else { None }
    }

    /// Has those continue it again that were just taken off, one by one: `segments` with itself.
    #[cold]
    pub(super) fn relink(&self, segments: u32) {
        let mut last = ManuallyDrop::new(Self(self.0));
        for _ in 1..segments {
            let Node { next, more, .. } = last.node();
            more.set(true);
            let Some(next) = NonNull::new(next.load(Ordering::Relaxed)) else { return };
            last = ManuallyDrop::new(Self(next));
        }
    }

    /// The last one of those that continue it.
    #[inline(always)]
    pub(super) fn last(&self) -> NonNull<Node<H>> {
        match self.next() {
            None => self.0,
            // Few have more than two segments.
            Some(next) if next.next().is_none() => next.0,
            Some(next) => Self::last_of(ManuallyDrop::new(Self(next.0))),
        }
    }

    /// By value: what has its address taken lies in memory, in every loop over buffers.
    #[inline(never)]
    fn last_of(first: ManuallyDrop<Self>) -> NonNull<Node<H>> {
        let mut last = &*first;
        while let Some(next) = last.next() {
            last = next;
        }
        last.0
    }

    /// The pool of it and of all that continue it; null where those are several.
    #[inline(always)]
    pub(super) fn home(&self) -> *mut Shared<H> {
        let home = self.node().pool.as_ptr();
        match self.next() {
            None => home,
            Some(next) if next.next().is_none() => {
                if next.node().pool.as_ptr() == home {
                    home
                } else {
                    null_mut()
                }
            }
            Some(next) => Self::home_of(ManuallyDrop::new(Self(next.0)), home),
        }
    }

    /// As [`last_of`](Self::last_of).
    #[inline(never)]
    fn home_of(first: ManuallyDrop<Self>, home: *mut Shared<H>) -> *mut Shared<H> {
        let mut rest = Some(&*first);
        while let Some(buffer) = rest {
            if buffer.node().pool.as_ptr() != home {
                return null_mut();
            }
            rest = buffer.next();
        }
        home
    }

    /// Copies bytes from `offset_bytes` on out. False, and nothing is copied, when they run past
    /// the end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn copy_out(&self, offset_bytes: usize, to: &mut [u8]) -> bool {
        let Some(place) = self.place(offset_bytes, to.len()) else {
            return false;
        };
        // SAFETY: the place is as long; the buffer is ours, and `to` is Rust memory, so they do not
        // overlap.
        unsafe { volatile_copy(place.as_ptr(), to.as_mut_ptr(), to.len()) };
        true
    }

    /// Copies `from` in at `offset_bytes`. False, and nothing is copied, when it runs past the end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn copy_in(&mut self, offset_bytes: usize, from: &[u8]) -> bool {
        let Some(place) = self.place(offset_bytes, from.len()) else {
            return false;
        };
        // SAFETY: as in `copy_out`.
        unsafe { volatile_copy(from.as_ptr(), place.as_ptr(), from.len()) };
        true
    }

    /// Reads a plain value at `offset_bytes`, unaligned ones included; `None` past the end.
    #[must_use]
    #[inline]
    pub fn read<T: FromBytes>(&self, offset_bytes: usize) -> Option<T> {
        let place = self.place(offset_bytes, size_of::<T>())?;
        // SAFETY: the place is as long; the copy looks at the alignment itself.
        Some(unsafe { volatile_read(place.cast()) })
    }

    /// Writes a plain value at `offset_bytes`. False past the end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        let Some(place) = self.place(offset_bytes, size_of::<T>()) else {
            return false;
        };
        // SAFETY: as in `read`.
        unsafe { volatile_write(place.cast(), value) };
        true
    }

    /// Whether the buffer is that long. For an end that is known when this is compiled the answer
    /// mostly is, too.
    #[inline(always)]
    fn reaches(&self, end_bytes: usize) -> bool {
        end_bytes <= H::MIN_BUFFER_BYTES || end_bytes <= self.capacity()
    }

    /// Where the CPU finds `len_bytes` at `offset_bytes`, if the buffer has them.
    #[inline(always)]
    fn place(&self, offset_bytes: usize, len_bytes: usize) -> Option<NonNull<u8>> {
        let end = offset_bytes.checked_add(len_bytes)?;
        let start = self.node().cpu;
        // SAFETY: `Pool::new` refuses regions and strides that are not aligned to `MIN_ALIGN`.
        unsafe { assert_unchecked(start.addr().get().is_multiple_of(MIN_ALIGN.bytes())) };
        // SAFETY: bounds checked here.
        self.reaches(end).then(|| unsafe { start.add(offset_bytes) })
    }

    #[cold]
    fn drop_several(&mut self) {
        // It is being dropped, and belongs to this one instead.
        let mut whole = Self(self.0);
        if !whole.home().is_null() {
            return drop(Chain::<Self>::of(whole));
        }
        // One by one: by recursion it must not be, how many there are is a device's doing.
        while let Some(rest) = whole.unlink() {
            whole = rest;
        }
    }
}

/// A buffer that is part of something, to be changed where it is: its bytes and its header, not
/// what continues it.
#[derive(Debug)]
pub struct BufferMut<'b, H: Header>(pub(super) &'b mut Buffer<H>);

impl<H: Header> BufferMut<'_, H> {
    /// Writes a plain value at `offset_bytes`. False past the end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline(always)]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        self.0.write(offset_bytes, value)
    }

    /// Its header.
    #[inline(always)]
    pub fn header_mut(&mut self) -> &mut H {
        self.0
    }
}

impl<'b, H: Header> From<&'b mut Buffer<H>> for BufferMut<'b, H> {
    #[inline(always)]
    fn from(buffer: &'b mut Buffer<H>) -> Self {
        Self(buffer)
    }
}

impl<H: Header> Deref for BufferMut<'_, H> {
    type Target = Buffer<H>;
    #[inline(always)]
    fn deref(&self) -> &Buffer<H> {
        self.0
    }
}

impl<H: Header> Deref for Buffer<H> {
    type Target = H;
    #[inline(always)]
    fn deref(&self) -> &H {
        // SAFETY: the header belongs to whoever holds the buffer; `&self` shares it for as long as
        // the reference lives.
        unsafe { &*self.node().header.get() }
    }
}

impl<H: Header> DerefMut for Buffer<H> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut H {
        // SAFETY: as above; `&mut self` has it alone.
        unsafe { &mut *self.node().header.get() }
    }
}

impl<H: Header> Drop for Buffer<H> {
    #[inline]
    fn drop(&mut self) {
        if self.node().more.get() {
            return self.drop_several();
        }
        // SAFETY: nodes point at their pool's shared part since before the first buffer was given
        // out; this one is by itself, and is being dropped.
        unsafe { Shared::give_back(self.node().pool, self.index(), self.0) };
    }
}

impl<H: Header + fmt::Debug> fmt::Debug for Buffer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({}: {:?})", self.index(), **self)
    }
}

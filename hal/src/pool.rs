//! A pool of equal buffers in DMA memory.
//!
//! Each buffer has a *header*: a value of the CPU's own, beside which the device's bytes lie. A
//! [`Buffer`] is one pointer to its header, so it moves for nothing, fits an `Option` without
//! growing, and brings the device address and the metadata along. Dropping it gives it back to its
//! pool, from any core: the free list is a lock-free stack.
//!
//! Bytes go in and out by copy, with volatile accesses: a device that still writes to a buffer it
//! has completed gives wrong bytes, nothing worse.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Pool`] and its [`Buffer`]s, one at a time |
//! | `free` | the free list: a stack of segments |
//! | [`supply`] | [`Supply`]: many out for one atomic operation |
//! | [`chain`] | [`Chain`]: many held, and home for one atomic operation |
//! | [`posted`] | [`Posted`]: what a queue lent to a device |

#![expect(unsafe_code, reason = "buffers outlive any borrow of their pool; the device has them meanwhile")]

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::hint::assert_unchecked;
use core::mem::size_of;
use core::num::NonZeroUsize;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use alloc::boxed::Box;
use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{Align, DmaAddr};
use crate::dma::copy::{volatile_copy, volatile_read, volatile_write};
use crate::dma::{Dma, DmaError, DmaErrorReason, DmaRegion, DmaRequest, DomainTag};

pub mod chain;
mod free;
mod memory;
pub mod posted;
pub mod supply;

pub use chain::{Chain, Linked};
use free::{FreeList, SEGMENT_BUFFERS};
use memory::{Memory, Regions};
pub use posted::Posted;
pub use supply::Supply;

/// What a pool is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLayout {
    /// How many buffers.
    pub buffers: u32,
    /// How long each is.
    pub buffer_bytes: usize,
    /// What each one's device address is aligned to.
    pub align: Align,
    /// How many address bits the narrowest device drives that will use it.
    pub address_bits: u8,
}

/// What the CPU keeps beside each buffer: any value, that may have something to do when its buffer
/// goes home.
pub trait Header: Send {
    /// Each buffer of the pool is at least this long, so that nobody need ask for places that lie
    /// within.
    const MIN_BUFFER_BYTES: usize = 0;

    /// Whether [`clean_up`](Self::clean_up) has anything to do. Many that have nothing to do go
    /// home in one step.
    #[inline(always)]
    fn needs_cleanup(&self) -> bool {
        false
    }

    /// The buffer goes home. What the header owns and is not to keep, it drops here; the header
    /// itself stays for the next owner.
    #[inline(always)]
    fn clean_up(&mut self) {}
}

impl Header for () {}

/// What every buffer is aligned to at least, for both sides, so that values of machine words need
/// no test of where they lie.
const MIN_ALIGN: Align = Align::new(8);

/// One buffer's header. What every frame needs comes first, on one cache line.
#[repr(C, align(64))]
struct Node<H> {
    /// The one behind it, in a chain or a segment; means nothing in the last. It belongs to whoever
    /// holds the buffer.
    next: Cell<*mut Node<H>>,
    dma: DmaAddr,
    pool: NonNull<Shared<H>>,
    cpu: NonNull<u8>,
    buffer_bytes: usize,
    header: UnsafeCell<H>,
    index: u32,
    domain: DomainTag,
    /// How many buffers the segment has that starts with this one,
    segment_len: AtomicU32,
    /// and the index of the one that starts the next segment. Both mean something while this one
    /// starts a free segment, and may be read at any time.
    next_segment: AtomicU32,
}

/// What the handles and the buffers of a pool share.
struct Shared<H> {
    nodes: Box<[Node<H>]>,
    buffer_bytes: usize,
    domain: DomainTag,
    free: FreeList,
    handles: AtomicUsize,
    memory: Box<dyn Memory>,
}

/// A pool of buffers, or rather a handle to it: a clone gives out buffers of the same pool.
///
/// The memory lives until the last handle is gone *and* all buffers are home. If a buffer is out
/// when the last handle goes, the memory is leaked: a device may have it.
///
/// A buffer is home by a device's completion or by proof that it was stopped. A device that writes
/// to what it completed, as it must not, spoils bytes while the pool lives, and whatever the memory
/// is used for later. Who distrusts a device so far keeps a handle until it was stopped.
pub struct Pool<H: Header>(NonNull<Shared<H>>);

// SAFETY: what handles share is atomics and what never changes; headers belong to whoever holds the
// buffer.
unsafe impl<H: Header> Send for Pool<H> {}
// SAFETY: as above; buffers come off a lock-free list.
unsafe impl<H: Header> Sync for Pool<H> {}

impl<H: Header + Default> Pool<H> {
    /// Makes a pool in `dma`'s memory.
    ///
    /// Allocates as few regions as the domain's longest segment allows.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub fn new<D: Dma + Send + Sync + 'static>(dma: D, layout: PoolLayout) -> Result<Self, DmaError> {
        let bad = DmaError::new(layout.buffer_bytes, DmaErrorReason::BadLength);
        let align = layout.align.max(MIN_ALIGN);
        let stride = layout.buffer_bytes.checked_next_multiple_of(align.bytes()).ok_or(bad)?;
        let is_long_enough = layout.buffer_bytes >= H::MIN_BUFFER_BYTES;
        if stride == 0 || !is_long_enough || layout.buffers == 0 || layout.buffers > FreeList::MAX_BUFFERS {
            return Err(bad);
        }
        let limit = dma.limits().max_segment_bytes;
        if limit < stride {
            return Err(DmaError::new(stride, DmaErrorReason::TooLong { max_segment_bytes: limit }));
        }
        let domain = dma.domain();
        let mut memory = Box::new(Regions { dma, regions: Vec::new() });
        let mut nodes = Vec::new();
        let total = usize::try_from(layout.buffers).map_err(|_| bad)?;
        if nodes.try_reserve_exact(total).is_err() {
            return Err(DmaError::new(
                total.saturating_mul(size_of::<Node<H>>()),
                DmaErrorReason::OutOfMemory,
            ));
        }
        let per_region = limit / stride;
        while nodes.len() < total {
            let buffers = per_region.min(total - nodes.len());
            let len = buffers.checked_mul(stride).and_then(NonZeroUsize::new).ok_or(bad)?;
            let request = DmaRequest { address_bits: layout.address_bits, ..DmaRequest::new(len, align) };
            let region = match memory.dma.alloc(request) {
                Ok(region) => region,
                Err(error) => {
                    // SAFETY: no buffer was given out, so nothing reaches the regions.
                    unsafe { memory.release() };
                    return Err(error);
                }
            };
            let checked = request.check(&region);
            if checked.is_ok() {
                push_nodes(&mut nodes, &region, domain, buffers, stride, layout.buffer_bytes);
            }
            memory.regions.push(region);
            if let Err(error) = checked {
                // SAFETY: as above.
                unsafe { memory.release() };
                return Err(error);
            }
        }
        Ok(Self::over(nodes.into_boxed_slice(), layout.buffer_bytes, domain, memory))
    }

    /// Puts the shared part together; every buffer is free.
    fn over(nodes: Box<[Node<H>]>, buffer_bytes: usize, domain: DomainTag, memory: Box<dyn Memory>) -> Self {
        let shared = NonNull::from(Box::leak(Box::new(Shared {
            nodes,
            buffer_bytes,
            domain,
            free: FreeList::empty(),
            handles: AtomicUsize::new(1),
            memory,
        })));
        // SAFETY: just leaked, so valid; nobody else has the pointer yet, so nothing else borrows
        // it.
        let nodes = unsafe { &mut (*shared.as_ptr()).nodes };
        for node in nodes.iter_mut() {
            node.pool = shared;
        }
        let pool = Self(shared);
        // The first ones last, so that they are given out first.
        for segment in pool.shared().nodes.chunks(SEGMENT_BUFFERS).rev() {
            for pair in segment.windows(2) {
                if let [node, next] = pair {
                    node.next.set(NonNull::from(next).as_ptr());
                }
            }
            if let Some(first) = segment.first() {
                // SAFETY: linked above; nobody has been given any of them.
                unsafe { Shared::give_back(shared, NonNull::from(first), segment.len()) };
            }
        }
        pool
    }
}

/// Adds the headers of one region's buffers, each linked to the next.
fn push_nodes<H: Default>(
    nodes: &mut Vec<Node<H>>,
    region: &DmaRegion,
    domain: DomainTag,
    buffers: usize,
    stride: usize,
    buffer_bytes: usize,
) {
    for i in 0..buffers {
        // The count was checked against `u32` by the caller.
        let index = u32::try_from(nodes.len()).unwrap_or(FreeList::MAX_BUFFERS);
        nodes.push(Node {
            next: Cell::new(core::ptr::null_mut()),
            dma: region.dma().offset(i * stride),
            pool: NonNull::dangling(),
            // SAFETY: the region is `buffers * stride` bytes, so the start of each buffer lies
            // inside it.
            cpu: unsafe { region.cpu().add(i * stride) },
            buffer_bytes,
            header: UnsafeCell::new(H::default()),
            index,
            domain,
            segment_len: AtomicU32::new(0),
            next_segment: AtomicU32::new(0),
        });
    }
}

impl<H: Header> Pool<H> {
    #[inline(always)]
    fn shared(&self) -> &Shared<H> {
        // SAFETY: the shared part lives until the last handle is gone, and `self` is one. It is
        // only reached through shared references.
        unsafe { self.0.as_ref() }
    }

    /// Takes a buffer, with its header and bytes as its last owner left them. `None` when all are
    /// out.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<Buffer<H>> {
        let shared = self.shared();
        let (node, len) = shared.take_segment()?;
        if len > 1
            && let Some(rest) = NonNull::new(node.next.get())
        {
            // SAFETY: what was just taken off the list, all but the first.
            unsafe { Shared::give_back(self.0, rest, len - 1) };
        }
        Some(Buffer(NonNull::from(node)))
    }

    /// Takes up to `at_most` buffers, a segment of the free list for each compare-and-swap. What is
    /// not used of them goes home with the [`Supply`].
    #[must_use]
    #[inline]
    pub fn take(&self, at_most: usize) -> Supply<'_, H> {
        Supply::new(self.shared(), at_most)
    }

    /// How many buffers it has.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.shared().nodes.len()
    }

    /// How many are home, counted one by one: not for a data path. Where other cores keep changing
    /// it, the last of a few attempts, or zero.
    #[must_use]
    pub fn free(&self) -> usize {
        (0..16).find_map(|_| self.shared().count_free()).unwrap_or(0)
    }

    /// Whether all are out, for a moment at least.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.shared().has_no_segment()
    }

    /// Which domain its buffers are in.
    #[must_use]
    pub fn domain(&self) -> DomainTag {
        self.shared().domain
    }

    /// How long each buffer is.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.shared().buffer_bytes
    }
}

impl<H: Header> Clone for Pool<H> {
    fn clone(&self) -> Self {
        self.shared().handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<H: Header> Drop for Pool<H> {
    fn drop(&mut self) {
        let shared = self.shared();
        if shared.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Nobody takes buffers any more, so the list only grows at its front and what is counted
        // was home. A buffer's way home ends with the swap of the head (`Release`) that was loaded
        // for counting (`Acquire`), so with all of them home nobody touches the shared part again.
        if shared.count_free() != Some(shared.nodes.len()) {
            return;
        }
        // SAFETY: made by `Box::leak`; the last handle is going and no buffer is out, so nobody
        // else has it.
        let mut shared = unsafe { Box::from_raw(self.0.as_ptr()) };
        // SAFETY: all buffers are home, and a device's queue gives one back only when the device
        // has completed it or has been stopped.
        unsafe { shared.memory.release() };
    }
}

impl<H: Header> fmt::Debug for Pool<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} buffers free)", self.free(), self.buffers())
    }
}

/// One buffer of a pool, owned. Its header is reached by dereferencing.
pub struct Buffer<H: Header>(NonNull<Node<H>>);

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
    /// It is a node of a pool whose buffer is out, and belongs to nobody else.
    #[inline(always)]
    unsafe fn at(node: *mut Node<H>) -> Self {
        // SAFETY: a node is somewhere.
        Self(unsafe { NonNull::new_unchecked(node) })
    }

    #[inline(always)]
    fn node(&self) -> &Node<H> {
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
        self.clean_up();
        let pool = self.node().pool;
        // SAFETY: nodes point at their pool's shared part since before the first buffer was given
        // out; this one is a segment by itself, and is being dropped.
        unsafe { Shared::give_back(pool, self.0, 1) };
    }
}

impl<H: Header + fmt::Debug> fmt::Debug for Buffer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({}: {:?})", self.index(), **self)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;

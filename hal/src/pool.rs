//! A pool of equal buffers in DMA memory.
//!
//! Each buffer has a *header*: a value of the CPU's own, beside which the device's bytes lie. A [`Buffer`] is one pointer to
//! its header, so it moves for nothing, fits an `Option` without growing, and brings the device address and the metadata along. Dropping it gives it back to
//! its pool, from any core: the free list is a lock-free stack.
//!
//! Bytes go in and out by copy, with volatile accesses: a device that still writes to a buffer it has completed
//! gives wrong bytes, nothing worse.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Pool`] and its [`Buffer`]s, one at a time |
//! | [`bulk`] | [`Supply`] and [`Returns`]: many at a time, for one atomic operation |
//! | [`posted`] | [`Posted`]: what a queue lent to a device |

#![expect(unsafe_code, reason = "buffers outlive any borrow of their pool; the device has them meanwhile")]

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::size_of;
use core::num::NonZeroUsize;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use alloc::boxed::Box;
use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{Align, DmaAddr};
use crate::dma::copy::{volatile_copy, volatile_read, volatile_write};
use crate::dma::{Dma, DmaError, DmaErrorReason, DmaRegion, DmaRequest, DomainTag};

pub mod bulk;
mod memory;
pub mod posted;

pub use bulk::{Returns, Supply};
use memory::{Memory, Regions};
pub use posted::Posted;

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

/// What the CPU keeps beside each buffer: any value, that may have something to do when its buffer goes home.
pub trait Header: Send {
    /// The buffer goes home. What the header owns and is not to keep, it drops here; the header itself stays for the next owner.
    #[inline(always)]
    fn go_home(&mut self) {}
}

impl Header for () {}

/// What every buffer is aligned to at least, for both sides, so that values of machine words need no test of where they lie.
const MIN_ALIGN: Align = Align::new(8);

/// The end of the free list.
const NONE: u32 = u32::MAX;

/// One buffer's header. It starts on a cache line, what every frame needs first.
#[repr(C, align(64))]
struct Node<H> {
    header: UnsafeCell<H>,
    cpu: NonNull<u8>,
    dma: DmaAddr,
    buffer_bytes: usize,
    index: u32,
    domain: DomainTag,
    /// The next free one while this one is free; null at the end. Whatever it holds is null or one of the pool's nodes, which live as long as the pool.
    next_free: AtomicPtr<Node<H>>,
    pool: NonNull<Shared<H>>,
}

/// What the handles and the buffers of a pool share.
struct Shared<H> {
    nodes: Box<[Node<H>]>,
    buffer_bytes: usize,
    domain: DomainTag,
    /// The free list's first index in the low half, and a count of changes in the high half, so that a
    /// compare-and-swap does not mistake a list that came back for one that stood still.
    head: AtomicU64,
    handles: AtomicUsize,
    memory: Box<dyn Memory>,
}

impl<H> Shared<H> {
    /// Puts a chain of nodes, linked by `next_free` from the one numbered `first` to `last`, in front of the free list.
    ///
    /// By pointers: the buffers are home with the swap, and another core may free what both point at before this returns. A reference
    /// among the arguments would claim that it stays until then.
    ///
    /// # Safety
    ///
    /// `this` is a pool's shared part, and the chain is of its nodes, whose buffers are out, the caller's alone, and not used again.
    #[inline(always)]
    unsafe fn give_back(this: NonNull<Self>, first: u32, last: NonNull<Node<H>>) {
        // SAFETY: the shared part stays while a buffer is out, which these are until the swap, the last access here.
        let shared = unsafe { this.as_ref() };
        // SAFETY: nodes live as long as the shared part.
        let link = unsafe { &(*last.as_ptr()).next_free };
        let mut head = shared.head.load(Ordering::Relaxed);
        loop {
            link.store(shared.node_at(head), Ordering::Relaxed);
            let next = u64::from(first) | bumped(head);
            match shared.head.compare_exchange_weak(head, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        // Miri shall see what others do between the swap and the return.
        #[cfg(all(test, miri))]
        (0..16).for_each(|_| std::thread::yield_now());
    }

    /// The first node of a free list that starts as `head` says; null when it is empty.
    #[inline(always)]
    fn node_at(&self, head: u64) -> *mut Node<H> {
        self.nodes.get(index_of(head)).map_or(core::ptr::null_mut(), |node| NonNull::from(node).as_ptr())
    }

    /// The node behind a link.
    #[inline(always)]
    fn node(&self, link: *mut Node<H>) -> Option<&Node<H>> {
        // SAFETY: links are null or point at nodes of this pool, which live as long as `self`; only shared references to them exist.
        unsafe { link.as_ref() }
    }

    /// What a head says when the list starts at the node behind `link`.
    #[inline(always)]
    fn index_behind(&self, link: *mut Node<H>) -> u32 {
        self.node(link).map_or(NONE, |node| node.index)
    }

    /// Counts the free list. `None` when somebody changed it meanwhile, which makes nonsense of the count, but no harm.
    ///
    /// There is no counter: it would cost each burst two more atomic operations, and nobody needs the number often.
    fn count_free(&self) -> Option<usize> {
        let head = self.head.load(Ordering::Acquire);
        let mut at = self.node_at(head);
        let mut count = 0;
        while let Some(node) = self.node(at) {
            if count == self.nodes.len() {
                break;
            }
            count += 1;
            at = node.next_free.load(Ordering::Relaxed);
        }
        (self.head.load(Ordering::Acquire) == head).then_some(count)
    }
}

/// A pool of buffers, or rather a handle to it: a clone gives out buffers of the same pool.
///
/// The memory lives until the last handle is gone *and* all buffers are home. If a buffer is out when the last handle goes, the memory is leaked: a device may have it.
///
/// A buffer is home by a device's completion or by proof that it was stopped. A device that writes to what it completed, as it must not, spoils bytes while the
/// pool lives, and whatever the memory is used for later. Who distrusts a device so far keeps a handle until it was stopped.
pub struct Pool<H: Header>(NonNull<Shared<H>>);

// SAFETY: what handles share is atomics and read-only facts; headers belong to whoever holds the buffer.
unsafe impl<H: Header> Send for Pool<H> {}
// SAFETY: as above; `get` takes buffers off a lock-free list.
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
        if stride == 0 || layout.buffers == 0 || layout.buffers == NONE {
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
            head: AtomicU64::new(0),
            handles: AtomicUsize::new(1),
            memory,
        })));
        // SAFETY: just leaked, so valid; nobody else has the pointer yet, so nothing else borrows it.
        let nodes = unsafe { &mut (*shared.as_ptr()).nodes };
        for node in nodes.iter_mut() {
            node.pool = shared;
        }
        // By shared references, as they are followed ever after.
        for pair in nodes.windows(2) {
            if let [node, next] = pair {
                node.next_free.store(NonNull::from(next).as_ptr(), Ordering::Relaxed);
            }
        }
        Self(shared)
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
        let index = u32::try_from(nodes.len()).unwrap_or(NONE);
        nodes.push(Node {
            header: UnsafeCell::new(H::default()),
            // SAFETY: the region is `buffers * stride` bytes, so the start of each buffer lies inside it.
            cpu: unsafe { region.cpu().add(i * stride) },
            dma: region.dma().offset(i * stride),
            buffer_bytes,
            index,
            domain,
            next_free: AtomicPtr::new(core::ptr::null_mut()),
            pool: NonNull::dangling(),
        });
    }
}

impl<H: Header> Pool<H> {
    #[inline(always)]
    fn shared(&self) -> &Shared<H> {
        // SAFETY: the shared part lives until the last handle is gone, and `self` is one. It is only reached through shared references.
        unsafe { self.0.as_ref() }
    }

    /// Takes a buffer, with its header and bytes as its last owner left them. `None` when all are out.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<Buffer<H>> {
        let shared = self.shared();
        let mut head = shared.head.load(Ordering::Acquire);
        loop {
            let node = shared.nodes.get(index_of(head))?;
            let rest = node.next_free.load(Ordering::Relaxed);
            let next = u64::from(shared.index_behind(rest)) | bumped(head);
            match shared.head.compare_exchange_weak(head, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(Buffer(NonNull::from(node))),
                Err(now) => head = now,
            }
        }
    }

    /// Takes up to `at_most` buffers off the list, all for one compare-and-swap. What is not used of them goes home with the [`Supply`].
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

    /// How many are home, counted one by one: not for a data path. Where other cores keep changing it, the last of a few attempts, or zero.
    #[must_use]
    pub fn free(&self) -> usize {
        (0..16).find_map(|_| self.shared().count_free()).unwrap_or(0)
    }

    /// Whether all are out, for a moment at least.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        index_of(self.shared().head.load(Ordering::Relaxed)) >= self.shared().nodes.len()
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

/// The free list's first index; [`NONE`], beyond all of them, when it is empty.
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
        // Nobody takes buffers any more, so the list only grows at its front and what is counted was home. A buffer's way home ends with the swap of the
        // head (`Release`) that was loaded for counting (`Acquire`), so with all of them home nobody touches the shared part again.
        if shared.count_free() != Some(shared.nodes.len()) {
            return;
        }
        // SAFETY: made by `Box::leak`; the last handle is going and no buffer is out, so nobody else has it.
        let mut shared = unsafe { Box::from_raw(self.0.as_ptr()) };
        // SAFETY: all buffers are home, and a device's queue gives one back only when the device has completed it or has been stopped.
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

// SAFETY: the buffer is owned exclusively, its header is `Send`, and giving it back is an atomic operation.
unsafe impl<H: Header> Send for Buffer<H> {}
// SAFETY: a shared reference gives out `&H` only, and volatile copies of the bytes.
unsafe impl<H: Header + Sync> Sync for Buffer<H> {}

impl<H: Header> Buffer<H> {
    #[inline(always)]
    fn node(&self) -> &Node<H> {
        // SAFETY: nodes live as long as the pool's shared part, which is never freed while a buffer is out. Only shared references to nodes exist.
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
        (offset_bytes <= self.capacity()).then(|| self.node().dma.offset(offset_bytes))
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

    /// Copies bytes from `offset_bytes` on out. False, and nothing is copied, when they run past the end.
    #[inline]
    pub fn copy_out(&self, offset_bytes: usize, to: &mut [u8]) -> bool {
        let Some(place) = self.place(offset_bytes, to.len()) else {
            return false;
        };
        // SAFETY: the place is as long; the buffer is ours, and `to` is Rust memory, so they do not overlap.
        unsafe { volatile_copy(place.as_ptr(), to.as_mut_ptr(), to.len()) };
        true
    }

    /// Copies `from` in at `offset_bytes`. False, and nothing is copied, when it runs past the end.
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
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        let Some(place) = self.place(offset_bytes, size_of::<T>()) else {
            return false;
        };
        // SAFETY: as in `read`.
        unsafe { volatile_write(place.cast(), value) };
        true
    }

    /// Where the CPU finds `len_bytes` at `offset_bytes`, if the buffer has them.
    #[inline(always)]
    fn place(&self, offset_bytes: usize, len_bytes: usize) -> Option<NonNull<u8>> {
        let end = offset_bytes.checked_add(len_bytes)?;
        // SAFETY: bounds checked here.
        (end <= self.capacity()).then(|| unsafe { self.node().cpu.add(offset_bytes) })
    }
}

impl<H: Header> Deref for Buffer<H> {
    type Target = H;
    #[inline(always)]
    fn deref(&self) -> &H {
        // SAFETY: the header belongs to whoever holds the buffer; `&self` shares it for as long as the reference lives.
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
        self.go_home();
        let (pool, index) = (self.node().pool, self.index());
        // SAFETY: nodes point at their pool's shared part since before the first buffer was given out; this one is a chain by itself, and is being dropped.
        unsafe { Shared::give_back(pool, index, self.0) };
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

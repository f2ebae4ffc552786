//! A pool of equal buffers in DMA memory.
//!
//! Each buffer has a *header*: a value of the CPU's own, beside which the device's bytes lie. A
//! [`Buffer`] is one pointer to its header, so it moves for nothing, fits an `Option` without
//! growing, and brings the device address and the metadata along. Dropping it gives it back to its
//! pool, from any core: the free list is a lock-free stack.
//!
//! There is one kind of link, in each header. It leads to the buffer that continues this one, where
//! one does; else to the next one of a [`Chain`], or of the free list.
//!
//! Bytes go in and out by copy, with volatile accesses: a device that still writes to a buffer it
//! has completed gives wrong bytes, nothing worse.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | the [`Pool`] |
//! | `buffer` | its [`Buffer`]s |
//! | `free` | the free list: a stack of buffers |
//! | [`chain`] | [`Chain`]: many out for one atomic operation, held, walked, and home for one |
//! | [`posted`] | [`Posted`] and [`Lent`]: what a queue lent to a device |

#![expect(unsafe_code, reason = "buffers outlive any borrow of their pool; the device has them meanwhile")]

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::size_of;
use core::num::NonZeroUsize;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::addr::{Align, DmaAddr};
use crate::dma::{Dma, DmaError, DmaErrorReason, DmaRegion, DmaRequest, DomainTag};

mod buffer;
pub mod chain;
mod free;
mod memory;
pub mod posted;

pub use buffer::{Buffer, BufferMut};
pub use chain::Chain;
use free::FreeList;
use memory::{Memory, Regions};
pub use posted::{Lent, Posted};

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

/// What the CPU keeps beside each buffer: any value. It stays with its buffer for the next owner.
pub trait Header: Send {
    /// Each buffer of the pool is at least this long, so that nobody need ask for places that lie
    /// within.
    const MIN_BUFFER_BYTES: usize = 0;
}

impl Header for () {}

/// What a pool gives out: its buffers, or something that is one and knows what is in it.
pub trait Pooled: Sized {
    /// What is kept beside each buffer.
    type Header: Header;

    /// A buffer as its last owner left it.
    fn of(buffer: Buffer<Self::Header>) -> Self;

    /// A buffer that was just taken off the pool, which nothing continues: what of it needs to be
    /// said anew.
    #[inline(always)]
    fn fresh(buffer: Buffer<Self::Header>) -> Self {
        Self::of(buffer)
    }

    /// The buffer that it is.
    fn into_buffer(self) -> Buffer<Self::Header>;
}

impl<H: Header> Pooled for Buffer<H> {
    type Header = H;

    #[inline(always)]
    fn of(buffer: Self) -> Self {
        buffer
    }

    #[inline(always)]
    fn into_buffer(self) -> Self {
        self
    }
}

/// What every buffer is aligned to at least, for both sides, so that values of machine words need
/// no test of where they lie.
const MIN_ALIGN: Align = Align::new(8);

/// One buffer's header. What every frame needs comes first, on one cache line.
#[repr(C, align(64))]
struct Node<H> {
    /// The one behind it; means nothing in the last. It belongs to whoever holds the buffer. A core
    /// that takes buffers may read it at any time, too late to believe it.
    next: AtomicPtr<Node<H>>,
    dma: DmaAddr,
    pool: NonNull<Shared<H>>,
    cpu: NonNull<u8>,
    buffer_bytes: usize,
    index: u32,
    /// The one behind it continues it, and belongs to it. Not so of a free buffer.
    more: Cell<bool>,
    header: UnsafeCell<H>,
    domain: DomainTag,
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
pub struct Pool<T: Pooled>(NonNull<Shared<T::Header>>);

// SAFETY: what handles share is atomics and what never changes; headers belong to whoever holds the
// buffer.
unsafe impl<T: Pooled> Send for Pool<T> {}
// SAFETY: as above; buffers come off a lock-free list.
unsafe impl<T: Pooled> Sync for Pool<T> {}

impl<T: Pooled<Header: Default>> Pool<T> {
    /// Makes a pool in `dma`'s memory.
    ///
    /// Allocates as few regions as the domain's longest segment allows.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub fn new<D: Dma + Send + Sync + 'static>(
        dma: D,
        layout: impl Into<PoolLayout>,
    ) -> Result<Self, DmaError> {
        let layout = layout.into();
        let bad = DmaError::new(layout.buffer_bytes, DmaErrorReason::BadLength);
        let align = layout.align.max(MIN_ALIGN);
        let stride = layout.buffer_bytes.checked_next_multiple_of(align.bytes()).ok_or(bad)?;
        let is_long_enough = layout.buffer_bytes >= <T::Header>::MIN_BUFFER_BYTES;
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
                total.saturating_mul(size_of::<Node<T::Header>>()),
                DmaErrorReason::OutOfMemory,
            ));
        }
        let per_region = limit / stride;
        let mut fill = || {
            while nodes.len() < total {
                let buffers = per_region.min(total - nodes.len());
                let len = buffers.checked_mul(stride).and_then(NonZeroUsize::new).ok_or(bad)?;
                let request = DmaRequest { address_bits: layout.address_bits, ..DmaRequest::new(len, align) };
                let region = memory.dma.alloc(request)?;
                let checked = request.check(&region);
                if checked.is_ok() {
                    push_nodes(&mut nodes, &region, domain, buffers, stride, layout.buffer_bytes);
                }
                memory.regions.push(region);
                checked?;
            }
            Ok(())
        };
        if let Err(error) = fill() {
            // SAFETY: no buffer was given out, so nothing reaches the regions.
            unsafe { memory.release() };
            return Err(error);
        }
        Ok(Self::over(nodes.into_boxed_slice(), layout.buffer_bytes, domain, memory))
    }

    /// Puts the shared part together; every buffer is free.
    fn over(
        nodes: Box<[Node<T::Header>]>,
        buffer_bytes: usize,
        domain: DomainTag,
        memory: Box<dyn Memory>,
    ) -> Self {
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
        let nodes = &pool.shared().nodes;
        for pair in nodes.windows(2) {
            if let [node, next] = pair {
                node.next.store(NonNull::from(next).as_ptr(), Ordering::Relaxed);
            }
        }
        if let (Some(first), Some(last)) = (nodes.first(), nodes.last()) {
            // SAFETY: linked above; nobody has been given any of them.
            unsafe { Shared::give_back(shared, first.index, NonNull::from(last)) };
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
            next: AtomicPtr::new(null_mut()),
            dma: region.dma().offset(i * stride),
            pool: NonNull::dangling(),
            // SAFETY: the region is `buffers * stride` bytes, so the start of each buffer lies
            // inside it.
            cpu: unsafe { region.cpu().add(i * stride) },
            buffer_bytes,
            index,
            more: Cell::new(false),
            header: UnsafeCell::new(H::default()),
            domain,
        });
    }
}

impl<T: Pooled> Pool<T> {
    #[inline(always)]
    fn shared(&self) -> &Shared<T::Header> {
        // SAFETY: the shared part lives until the last handle is gone, and `self` is one. It is
        // only reached through shared references.
        unsafe { self.0.as_ref() }
    }

    /// Takes one, with its bytes as its last owner left them. `None` when all are out.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<T> {
        self.shared().take_one().map(|node| T::fresh(Buffer(node)))
    }

    /// Takes up to `at_most` together, which costs little more than one, with their bytes as their
    /// last owners left them.
    #[must_use]
    #[inline]
    pub fn take(&self, at_most: usize) -> Chain<T> {
        self.take_with(at_most, |fresh| fresh)
    }

    /// The same, each as `by` gives it back.
    #[must_use]
    #[inline(always)]
    pub fn take_with(&self, at_most: usize, by: impl FnMut(T) -> T) -> Chain<T> {
        self.take_plenty(at_most, at_most).prepared(by)
    }

    /// Sees to it that `stock` has `needed`, where there are as many, and `plenty` where there are
    /// plenty: for who takes one now and then, and touches the pool once in many, but does not keep
    /// any where others go short of them. What is in a stock is as its last owner left it.
    #[inline(always)]
    pub fn restock(&self, stock: &mut Chain<T>, needed: usize, plenty: usize) {
        if needed > stock.len() {
            self.fill(stock, needed, plenty);
        }
    }

    #[inline(never)]
    fn fill(&self, stock: &mut Chain<T>, needed: usize, plenty: usize) {
        let [needed, plenty] = [needed, plenty].map(|len| len.saturating_sub(stock.len()));
        stock.append(self.take_plenty(needed, plenty.max(needed)));
    }

    /// Takes `plenty` if there are as many, else up to `needed`.
    #[inline]
    fn take_plenty(&self, needed: usize, plenty: usize) -> Chain<T> {
        match self.shared().take(needed, plenty) {
            Some(taken) => Chain::taken(taken),
            None => Chain::new(),
        }
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
        self.shared().is_dry()
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

impl<T: Pooled> Clone for Pool<T> {
    fn clone(&self) -> Self {
        self.shared().handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T: Pooled> Drop for Pool<T> {
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

impl<T: Pooled> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} buffers free)", self.free(), self.buffers())
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;

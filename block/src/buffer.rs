//! Buffers of a pool, for the data of requests.

use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::dma::DomainTag;
use paravane_hal::pool::{Buffer, Header, Pool, PoolLayout, Pooled};

/// What a pool of block buffers is made of.
///
/// ```
/// use paravane_block::BlockLayout;
///
/// let pages = BlockLayout::new(256);
/// assert_eq!((pages.buffer_bytes, pages.address_bits), (4096, 64));
/// let large_for_an_old_device = BlockLayout::new(16).with_buffer_bytes(1 << 16).with_address_bits(32);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockLayout {
    /// How many buffers.
    pub buffers: u32,
    /// How long each is.
    pub buffer_bytes: u32,
    /// How many address bits the narrowest device drives that will use them.
    pub address_bits: u8,
}

impl BlockLayout {
    /// `buffers` buffers of 4096 bytes, for devices that drive 64 address bits.
    #[must_use]
    pub const fn new(buffers: u32) -> Self {
        Self { buffers, buffer_bytes: 4096, address_bits: 64 }
    }

    /// The same with buffers of `buffer_bytes`.
    #[must_use]
    pub const fn with_buffer_bytes(self, buffer_bytes: u32) -> Self {
        Self { buffer_bytes, ..self }
    }

    /// The same for devices that drive `address_bits` address bits.
    #[must_use]
    pub const fn with_address_bits(self, address_bits: u8) -> Self {
        Self { address_bits, ..self }
    }
}

/// What the CPU keeps beside each buffer.
#[derive(Debug, Default)]
pub struct BufferHeader {
    len_bytes: usize,
}

impl Header for BufferHeader {}

impl From<BlockLayout> for PoolLayout {
    fn from(layout: BlockLayout) -> Self {
        let BlockLayout { buffers, buffer_bytes, address_bits } = layout;
        let buffer_bytes = usize::try_from(buffer_bytes).unwrap_or(usize::MAX);
        Self { buffers, buffer_bytes, align: Align::new(512), address_bits }
    }
}

/// A pool of block buffers. A clone is another handle to the same pool; one serves every disk of a
/// DMA domain.
///
/// What it gives out has its full length; its bytes are whatever they were. Whoever reads into its
/// buffers keeps a handle until the device was stopped: see [`Pool`](paravane_hal::pool::Pool).
pub type BlockPool = Pool<BlockBuffer>;

/// A buffer of a pool, owned: one piece of a request's data. Dropped, it goes home.
///
/// Its bytes lie in memory that a device may write, so they are copied in and out and never
/// borrowed.
#[derive(Debug)]
pub struct BlockBuffer(Buffer<BufferHeader>);

impl Pooled for BlockBuffer {
    type Header = BufferHeader;

    #[inline(always)]
    fn of(buffer: Buffer<BufferHeader>) -> Self {
        Self(buffer)
    }

    /// A buffer of its full length.
    #[inline(always)]
    fn fresh(mut buffer: Buffer<BufferHeader>) -> Self {
        buffer.len_bytes = buffer.len_bytes();
        Self(buffer)
    }

    #[inline(always)]
    fn into_buffer(self) -> Buffer<BufferHeader> {
        self.0
    }
}

impl BlockBuffer {
    /// How much of it takes part in a request.
    #[must_use]
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.0.len_bytes
    }

    /// How long it can be.
    #[must_use]
    #[inline]
    pub fn capacity_bytes(&self) -> usize {
        self.0.len_bytes()
    }

    /// Has the first `len_bytes` of it take part. False, and nothing changes, when it is shorter
    /// than that.
    #[must_use = "false says that it is not that long, and nothing changed"]
    #[inline]
    pub fn set_len_bytes(&mut self, len_bytes: usize) -> bool {
        let fits = len_bytes <= self.capacity_bytes();
        if fits {
            self.0.len_bytes = len_bytes;
        }
        fits
    }

    /// Copies bytes from `offset_bytes` on out. False, and nothing is copied, when they run past
    /// its length.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn copy_out(&self, offset_bytes: usize, to: &mut [u8]) -> bool {
        self.reaches(offset_bytes, to.len()) && self.0.copy_out(offset_bytes, to)
    }

    /// Copies `from` in at `offset_bytes`. False, and nothing is copied, when it runs past its
    /// length.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn copy_in(&mut self, offset_bytes: usize, from: &[u8]) -> bool {
        self.reaches(offset_bytes, from.len()) && self.0.copy_in(offset_bytes, from)
    }

    /// Where the device finds the byte at `offset_bytes`; `None` past its length.
    #[must_use]
    #[inline]
    pub fn dma_addr(&self, offset_bytes: usize) -> Option<DmaAddr> {
        (offset_bytes <= self.len_bytes()).then(|| self.0.dma_addr(offset_bytes)).flatten()
    }

    /// Which DMA domain it is in.
    #[must_use]
    #[inline]
    pub fn domain(&self) -> DomainTag {
        self.0.domain()
    }

    fn reaches(&self, offset_bytes: usize, len_bytes: usize) -> bool {
        offset_bytes.checked_add(len_bytes).is_some_and(|end| end <= self.len_bytes())
    }
}

//! The pool that frames come from.

use paravane_hal::addr::Align;
use paravane_hal::dma::{Dma, DmaError, DomainTag};
use paravane_hal::pool::{Pool, PoolLayout};

use crate::burst::Burst;
use crate::frame::{Frame, FrameHeader, HEADROOM_BYTES};

/// What a pool of frames is made of.
///
/// ```
/// use paravane_net::FrameLayout;
///
/// let standard = FrameLayout::new(1024);
/// assert_eq!((standard.buffer_bytes, standard.address_bits), (2048, 64));
/// let jumbo_for_an_old_device = FrameLayout::new(256).with_buffer_bytes(9216).with_address_bits(32);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameLayout {
    /// How many buffers.
    pub frames: u32,
    /// How long each is, [`HEADROOM_BYTES`] of headroom included.
    pub buffer_bytes: u16,
    /// How many address bits the narrowest device drives that will use them.
    pub address_bits: u8,
}

impl FrameLayout {
    /// `frames` buffers of 2048 bytes, which hold a standard frame and are two a page, for devices
    /// that drive 64 address bits.
    #[must_use]
    pub const fn new(frames: u32) -> Self {
        Self { frames, buffer_bytes: 2048, address_bits: 64 }
    }

    /// The same with buffers of `buffer_bytes`, headroom included.
    #[must_use]
    pub const fn with_buffer_bytes(self, buffer_bytes: u16) -> Self {
        Self { buffer_bytes, ..self }
    }

    /// The same for devices that drive `address_bits` address bits.
    #[must_use]
    pub const fn with_address_bits(self, address_bits: u8) -> Self {
        Self { address_bits, ..self }
    }
}

/// A pool of frames. A clone is another handle to the same pool; one serves every NIC of a DMA
/// domain.
#[derive(Clone, Debug)]
pub struct FramePool(Pool<FrameHeader>);

impl FramePool {
    /// Makes a pool in `dma`'s memory.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub fn new<D: Dma + Send + Sync + 'static>(dma: D, layout: FrameLayout) -> Result<Self, DmaError> {
        let FrameLayout { frames, buffer_bytes, address_bits } = layout;
        let layout = PoolLayout {
            buffers: frames,
            buffer_bytes: usize::from(buffer_bytes),
            align: Align::new(64),
            address_bits,
        };
        Pool::new(dma, layout).map(Self)
    }

    /// Takes an empty frame; `None` when all are out.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<Frame> {
        self.0.get().map(Frame::fresh)
    }

    /// Takes up to `at_most` empty frames at once, which costs little more than one.
    #[must_use]
    #[inline]
    pub fn take(&self, at_most: usize) -> Burst {
        self.take_with(at_most, |frame| frame)
    }

    /// The same, each frame as `prepare` gives it back.
    #[must_use]
    #[inline(always)]
    pub fn take_with(&self, at_most: usize, mut prepare: impl FnMut(Frame) -> Frame) -> Burst {
        Burst(self.0.take_with(at_most, |buffer| prepare(Frame::fresh(buffer)).0))
    }

    /// Sees to it that `stock` has `needed` frames, where there are as many, and
    /// [`BURST_FRAMES`](crate::BURST_FRAMES) where there are plenty: for a queue that takes one now
    /// and then, and touches the pool once in many. A frame of a stock is as its last owner left
    /// it, for [`set_received`](Frame::set_received) to say what it is.
    #[inline(always)]
    pub fn restock(&self, stock: &mut Burst, needed: usize) {
        if let Some(missing) = needed.checked_sub(stock.len()).filter(|missing| *missing > 0) {
            self.restock_with(stock, missing);
        }
    }

    #[inline(never)]
    fn restock_with(&self, stock: &mut Burst, missing: usize) {
        stock.0.append(self.0.take_plenty(missing, stock.room().max(missing)));
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.0.buffers()
    }

    /// How many are free, counted one by one: not for a data path.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.free()
    }

    /// Whether none is free, for a moment at least. Unlike [`free`](Self::free) it costs nothing to
    /// ask.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.0.is_dry()
    }

    /// Which DMA domain its frames are in.
    #[must_use]
    pub fn domain(&self) -> DomainTag {
        self.0.domain()
    }

    /// Payload that fits one fresh frame.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.0.buffer_bytes().saturating_sub(usize::from(HEADROOM_BYTES))
    }
}

//! The pool that frames come from.

use paravane_hal::addr::Align;
use paravane_hal::pool::{Pool, PoolLayout};

use crate::frame::{Frame, HEADROOM_BYTES};

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
    /// How long each is, [`HEADROOM_BYTES`] of headroom included: 128 at least.
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

impl From<FrameLayout> for PoolLayout {
    fn from(layout: FrameLayout) -> Self {
        let FrameLayout { frames, buffer_bytes, address_bits } = layout;
        Self { buffers: frames, buffer_bytes: buffer_bytes.into(), align: Align::new(64), address_bits }
    }
}

/// A pool of frames. A clone is another handle to the same pool; one serves every NIC of a DMA
/// domain. What it gives out is empty.
pub type FramePool = Pool<Frame>;

/// Payload that fits one fresh frame of `pool`.
#[must_use]
pub fn payload_bytes(pool: &FramePool) -> usize {
    pool.buffer_bytes().saturating_sub(HEADROOM_BYTES.into())
}

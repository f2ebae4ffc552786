//! What the CPU keeps beside a frame's bytes.

use paravane_hal::pool::Header;

use super::HEADROOM_BYTES;
use crate::offload::{ChecksumRequest, RxChecksum, RxHash, Segmentation, Tunnel, VlanTag};

/// What a driver has to look at when it sends: which fields of a [`FrameHeader`] mean anything.
pub(super) mod asks {
    /// `vlan`.
    pub(in super::super) const VLAN: u16 = 1;
    /// `checksum`.
    pub(in super::super) const CHECKSUM: u16 = 1 << 1;
    /// `segmentation`.
    pub(in super::super) const SEGMENTATION: u16 = 1 << 2;
    /// `rx_checksum` is one to be completed by whoever sends the frame.
    pub(in super::super) const PARTIAL: u16 = 1 << 3;
    /// `tunnel`.
    pub(in super::super) const TUNNEL: u16 = 1 << 4;
}

/// What was found out when it was received: likewise.
pub(super) mod found {
    /// `rx_checksum`.
    pub(in super::super) const CHECKSUM: u16 = 1;
    /// `rx_hash`.
    pub(in super::super) const HASH: u16 = 1 << 1;
    /// The layer-4 checksum of the frame inside a tunnel is good.
    pub(in super::super) const INNER_GOOD: u16 = 1 << 2;
}

/// The part of a [`FrameHeader`] that every frame has: eight bytes, so that a fresh frame is one
/// store, and where it starts and what it asks for are one comparison.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(super) struct Summary {
    pub(super) head_bytes: u16,
    asks: u16,
    pub(super) len_bytes: u16,
    found: u16,
}

impl Summary {
    pub(super) const FRESH: Self = Self { head_bytes: HEADROOM_BYTES, asks: 0, len_bytes: 0, found: 0 };

    /// That of a frame of which nothing is known but its length.
    #[inline(always)]
    pub(super) const fn of(len_bytes: u16) -> Self {
        Self { len_bytes, ..Self::FRESH }
    }

    /// Whether it starts where fresh frames start, and asks for that and nothing else.
    #[inline(always)]
    pub(super) const fn is_fresh_and_asks(self, asks: u16) -> bool {
        self.head_bytes as u32 | (self.asks as u32) << 16 == HEADROOM_BYTES as u32 | (asks as u32) << 16
    }
}

/// What the CPU keeps beside a frame's bytes. Private to the frame; drivers and stacks use its
/// methods.
#[derive(Debug, Default)]
#[repr(C)]
pub struct FrameHeader {
    pub(super) summary: Summary,
    pub(super) checksum: ChecksumRequest,
    pub(super) vlan: VlanTag,
    pub(super) rx_checksum: RxChecksum,
    pub(super) rx_hash: Option<RxHash>,
    pub(super) segmentation: Segmentation,
    pub(super) tunnel: Tunnel,
}

/// No longer than without the tunnel, which is where there was room.
const _: () = assert!(size_of::<FrameHeader>() == 40);

impl FrameHeader {
    /// Whether it asks for one of `asks`.
    #[inline(always)]
    pub(super) const fn asks(&self, asks: u16) -> bool {
        self.summary.asks & asks != 0
    }

    /// Whether it asks nothing of a device but for a checksum.
    #[inline(always)]
    pub(super) const fn asks_no_more_than_a_checksum(&self) -> bool {
        !self.asks(!asks::CHECKSUM)
    }

    /// Asks for `which` of `asks` from now on, and for no other of them.
    #[inline(always)]
    pub(super) const fn set_asks(&mut self, asks: u16, which: u16) {
        self.summary.asks = self.summary.asks & !asks | which;
    }

    /// Whether that was found out.
    #[inline(always)]
    pub(super) const fn has_found(&self, found: u16) -> bool {
        self.summary.found & found != 0
    }

    /// Says whether that was found out.
    #[inline(always)]
    pub(super) const fn set_found(&mut self, found: u16, on: bool) {
        self.summary.found = self.summary.found & !found | if on { found } else { 0 };
    }
}

impl Header for FrameHeader {
    /// A fresh frame has room for the shortest one that Ethernet has, and so for any headers that
    /// are looked at on the way.
    const MIN_BUFFER_BYTES: usize = HEADROOM_BYTES as usize + 64;
}

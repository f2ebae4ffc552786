//! What the CPU keeps beside a frame's bytes.

use paravane_hal::pool::Header;

use super::HEADROOM_BYTES;
use crate::offload::{ChecksumRequest, RxChecksum, RxHash, Segmentation, VlanTag};

/// What is known of a frame beside its bytes: which fields of its [`FrameHeader`] mean anything.
pub(super) mod flag {
    /// `vlan`.
    pub(in super::super) const VLAN: u16 = 1;
    /// `checksum`.
    pub(in super::super) const CHECKSUM: u16 = 1 << 1;
    /// `rx_checksum`.
    pub(in super::super) const RX_CHECKSUM: u16 = 1 << 2;
    /// `rx_hash`.
    pub(in super::super) const RX_HASH: u16 = 1 << 3;
    /// `rx_checksum` is one to be completed by whoever sends the frame.
    pub(in super::super) const PARTIAL: u16 = 1 << 4;
    /// `segmentation`.
    pub(in super::super) const SEGMENTATION: u16 = 1 << 5;
    /// What a driver has to look at when it sends.
    pub(in super::super) const FOR_TX: u16 = VLAN | CHECKSUM | SEGMENTATION | PARTIAL;
    /// The same, but for a checksum that is asked for.
    pub(in super::super) const FOR_TX_BUT_CHECKSUM: u16 = VLAN | SEGMENTATION | PARTIAL;
}

/// The part of a [`FrameHeader`] that every frame has: eight bytes, so that a fresh frame is one
/// store.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Summary {
    pub(super) head_bytes: u16,
    pub(super) len_bytes: u16,
    flags: u16,
    pub(super) vlan: VlanTag,
}

impl Summary {
    pub(super) const FRESH: Self =
        Self { head_bytes: HEADROOM_BYTES, len_bytes: 0, flags: 0, vlan: VlanTag(0) };

    /// That of a frame of which nothing is known but its length.
    #[inline(always)]
    pub(super) const fn of(len_bytes: u16) -> Self {
        Self { len_bytes, ..Self::FRESH }
    }
}

/// What the CPU keeps beside a frame's bytes. Private to the frame; drivers and stacks use its
/// methods.
#[derive(Debug, Default)]
#[repr(C)]
pub struct FrameHeader {
    pub(super) summary: Summary,
    pub(super) rx_checksum: RxChecksum,
    pub(super) rx_hash: Option<RxHash>,
    pub(super) checksum: ChecksumRequest,
    pub(super) segmentation: Segmentation,
}

impl FrameHeader {
    #[inline(always)]
    pub(super) const fn has(&self, flag: u16) -> bool {
        self.summary.flags & flag != 0
    }

    /// Whether it asks nothing of a device.
    #[inline(always)]
    pub(super) const fn asks_nothing(&self) -> bool {
        !self.has(flag::FOR_TX)
    }

    /// The same, but for a checksum that it may ask for.
    #[inline(always)]
    pub(super) const fn asks_no_more_than_a_checksum(&self) -> bool {
        !self.has(flag::FOR_TX_BUT_CHECKSUM)
    }

    /// Whether it starts where fresh frames start.
    #[inline(always)]
    pub(super) const fn starts_as_fresh(&self) -> bool {
        self.summary.head_bytes == HEADROOM_BYTES
    }

    /// Says whether a field means anything from now on.
    #[inline(always)]
    pub(super) const fn set_flag(&mut self, flag: u16, on: bool) {
        if on {
            self.summary.flags |= flag;
        } else {
            self.summary.flags &= !flag;
        }
    }
}

impl Header for FrameHeader {
    /// A frame starts inside its buffer.
    const MIN_BUFFER_BYTES: usize = HEADROOM_BYTES as usize;
}

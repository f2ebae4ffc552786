//! What travels beside a frame's bytes.

use super::Frame;
use super::header::{asks, found};
use crate::offload::{RxChecksum, RxHash, Tunnel, TxOffload, VlanTag};

impl Frame {
    /// The VLAN tag that the device took off, or is to put on.
    #[must_use]
    #[inline(always)]
    pub fn vlan(&self) -> Option<VlanTag> {
        self.0.asks(asks::VLAN).then_some(self.0.vlan)
    }

    /// Sets the VLAN tag.
    #[inline(always)]
    pub fn set_vlan(&mut self, tag: Option<VlanTag>) {
        self.0.set_asks(asks::VLAN, if tag.is_some() { asks::VLAN } else { 0 });
        self.0.vlan = tag.unwrap_or_default();
    }

    /// What the device says about the checksums.
    #[must_use]
    #[inline(always)]
    pub fn rx_checksum(&self) -> RxChecksum {
        if self.0.has_found(found::CHECKSUM) { self.0.rx_checksum } else { RxChecksum::Unverified }
    }

    /// Records what the device says about the checksums.
    #[inline(always)]
    pub fn set_rx_checksum(&mut self, checksum: RxChecksum) {
        let says_something = checksum != RxChecksum::Unverified;
        let is_partial = matches!(checksum, RxChecksum::Partial(_));
        self.0.set_found(found::CHECKSUM, says_something);
        self.0.set_asks(asks::PARTIAL, if is_partial { asks::PARTIAL } else { 0 });
        if says_something {
            self.0.rx_checksum = checksum;
        }
    }

    /// The hash that the device computed.
    #[must_use]
    #[inline(always)]
    pub fn rx_hash(&self) -> Option<RxHash> {
        if self.0.has_found(found::HASH) { self.0.rx_hash } else { None }
    }

    /// Records the device's hash.
    #[inline(always)]
    pub fn set_rx_hash(&mut self, hash: Option<RxHash>) {
        self.0.set_found(found::HASH, hash.is_some());
        self.0.rx_hash = hash;
    }

    /// Whether the device found the layer-4 checksum good of the frame that is inside a tunnel, in
    /// this one. Nothing is said about the outer ones by that, nor about the inner IPv4 header's.
    ///
    /// Where the frame [asks](Self::offload) for that checksum, as a large packet does that came in
    /// as one, its field holds no more than the sum of the pseudo-header.
    #[must_use]
    #[inline]
    pub fn has_good_inner_checksum(&self) -> bool {
        self.0.has_found(found::INNER_GOOD)
    }

    /// Records whether the device found that.
    #[inline]
    pub fn set_good_inner_checksum(&mut self, is_good: bool) {
        self.0.set_found(found::INNER_GOOD, is_good);
    }

    /// The tunnel that the frame is in, if what it [asks](Self::offload) for is about the frame
    /// inside.
    #[must_use]
    #[inline]
    pub fn tunnel(&self) -> Option<Tunnel> {
        self.0.asks(asks::TUNNEL).then_some(self.0.tunnel)
    }

    /// Says that what the frame asks for is about the frame inside a tunnel, or no longer is.
    #[inline]
    pub fn set_tunnel(&mut self, tunnel: Option<Tunnel>) {
        self.0.set_asks(asks::TUNNEL, if tunnel.is_some() { asks::TUNNEL } else { 0 });
        self.0.tunnel = tunnel.unwrap_or_default();
    }

    /// Whether there is a [tag](Self::vlan) or a [tunnel](Self::tunnel): one question for both,
    /// which few frames have.
    #[must_use]
    #[inline(always)]
    pub fn has_tag_or_tunnel(&self) -> bool {
        self.0.asks(asks::VLAN | asks::TUNNEL)
    }

    /// What is to be done on the way out: what was asked for, the checksum that was left partial on
    /// the way in, and how a large packet that came in as one is cut again.
    #[must_use]
    #[inline(always)]
    pub fn offload(&self) -> TxOffload {
        let asked = TxOffload {
            checksum: self.first_segment().asked_checksum(),
            segmentation: self.0.asks(asks::SEGMENTATION).then_some(self.0.segmentation),
        };
        match self.rx_checksum() {
            RxChecksum::Partial(request) => TxOffload { checksum: asked.checksum.or(Some(request)), ..asked },
            _ => asked,
        }
    }

    /// Asks for offloads on the way out. A checksum that was left partial on the way in stays asked
    /// for.
    #[inline(always)]
    pub fn set_offload(&mut self, offload: TxOffload) {
        let TxOffload { checksum, segmentation } = offload;
        let asks_checksum = if checksum.is_some() { asks::CHECKSUM } else { 0 };
        let asks_segmentation = if segmentation.is_some() { asks::SEGMENTATION } else { 0 };
        self.0.set_asks(asks::CHECKSUM | asks::SEGMENTATION, asks_checksum | asks_segmentation);
        self.0.checksum = checksum.unwrap_or_default();
        if let Some(segmentation) = segmentation {
            self.0.segmentation = segmentation;
        }
    }
}

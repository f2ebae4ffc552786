//! A frame that left the device: as it was given, and as it goes over the wire.

use super::checksum;
use super::layout::om;
use super::packet::Packet;
use super::segment::{Outer, cut_at};
use crate::checksum::finish;

/// A frame that left the device, with what was asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The queue that it was sent by.
    pub queue: usize,
    /// Its bytes, all descriptors put together, before anything is done for the driver.
    pub bytes: Vec<u8>,
    /// How many of them, from the first on, came from a slot of the data ring.
    pub data_ring_bytes: usize,
    /// How many descriptors it took.
    pub descriptors: usize,
    /// `om`.
    pub om: u32,
    /// `hlen`.
    pub hlen: u32,
    /// `msscof`.
    pub msscof: u32,
    /// `tci`, if `ti` was set.
    pub tag: Option<u16>,
    /// `ext1`: what is asked for is about the frame inside a tunnel, from revision 7 on.
    pub ext1: bool,
    /// `oco`: the segments of a tunnel have checksums outside too.
    pub oco: bool,
}

impl Sent {
    /// The frames that go over the wire for it: with the checksums that were left to the device,
    /// cut where that was asked for, and with the tag. One where nothing can be done.
    #[must_use]
    pub fn on_wire(&self) -> Vec<Vec<u8>> {
        let inner =
            if self.is_encapsulated() { Outer::parse(&self.bytes).map(|outer| outer.inner) } else { Some(0) };
        let mut frames = match inner {
            Some(inner) if self.is_cut() => {
                cut_at(&self.bytes, inner, self.msscof as usize, self.oco).unwrap_or_default()
            }
            Some(inner) if self.is_summed() => vec![self.summed(inner)],
            _ => Vec::new(),
        };
        if frames.is_empty() {
            frames.push(self.bytes.clone());
        }
        if let Some(tag) = self.tag {
            for frame in frames.iter_mut().filter(|frame| frame.len() >= 12) {
                let [high, low] = tag.to_be_bytes();
                frame.splice(12..12, [0x81, 0x00, high, low]);
            }
        }
        frames
    }

    /// With the checksum of the frame that starts at `inner`.
    fn summed(&self, inner: usize) -> Vec<u8> {
        let mut frame = self.bytes.clone();
        match Packet::parse(&frame, inner) {
            Some(packet) if self.is_encapsulated() => checksum::store_l4(&mut frame, &packet),
            _ => finish(&mut frame, self.hlen as usize, self.msscof as usize),
        }
        frame
    }

    /// Is to be cut into segments.
    pub(super) fn is_cut(&self) -> bool {
        self.om == om::TSO || (self.om == om::ENCAPSULATED && self.msscof != 0)
    }

    /// Leaves a checksum to the device, and is not to be cut.
    pub(super) fn is_summed(&self) -> bool {
        self.om == om::CSUM || (self.om == om::ENCAPSULATED && self.msscof == 0)
    }

    /// What is asked for is about the frame inside a tunnel.
    pub(super) fn is_encapsulated(&self) -> bool {
        self.om == om::ENCAPSULATED || self.ext1
    }

    /// How many frames come of it, as `txNumDeferred` counts.
    pub(super) fn weight(&self) -> u32 {
        let payload = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).saturating_sub(self.hlen);
        if self.is_cut() { payload.div_ceil(self.msscof.max(1)) } else { 1 }
    }
}

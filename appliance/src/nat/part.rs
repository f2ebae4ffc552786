//! Parts of packets, and which parts of one have come.

use paravane_net::Frame;

use super::fragments::Lost;
use crate::flow::Key;
use crate::packet::edit::Ends;
use crate::packet::wire::{
    EXTENSION_DESTINATION, EXTENSION_FRAGMENT, EXTENSION_HOP_BY_HOP, EXTENSION_ROUTING, IPV4_MORE_FRAGMENTS,
    IPV4_OFFSET, IPV6_BYTES,
};
use crate::packet::{Body, Ipv6, Packet};

/// What a fragment counts its place in.
const UNIT_BYTES: usize = 8;
/// More extension headers than any packet has that is meant well.
const MAX_EXTENSIONS: usize = 8;

/// A fragment's place in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which packet: addresses and protocol, and its identification instead of ports.
    pub(super) packet: Key,
    /// From where on, and up to where, in units of 8 bytes.
    pub(super) units: [u16; 2],
    /// None is behind it.
    pub(super) is_last: bool,
}

impl Part {
    /// Of a packet from `zone`; `None` of one that is whole.
    ///
    /// # Errors
    ///
    /// [`Lost::Place`]: no packet has such a part. It is to be dropped.
    ///
    /// Spec: RFC 791, 2.3; RFC 8200, 4.5 "Fragment Header".
    #[inline]
    pub fn of(packet: &Packet, frame: &Frame, zone: u8) -> Result<Option<Self>, Lost> {
        match &packet.body {
            Body::V4(ip) if ip.is_fragment() => {
                let fragment = ip.header.fragment.get();
                let ends = Ends {
                    source: ip.source(),
                    destination: ip.destination(),
                    source_port: 0,
                    destination_port: ip.header.id.get(),
                };
                let len_bytes = ip.total_bytes().saturating_sub(ip.header_bytes());
                let key = Key::v4(ends, ip.header.protocol, zone);
                let is_last = fragment & IPV4_MORE_FRAGMENTS == 0;
                Self::new(key, fragment & IPV4_OFFSET, len_bytes, is_last).map(Some)
            }
            Body::V6(ip) => Self::of_v6(ip, frame, zone),
            _ => Ok(None),
        }
    }

    fn of_v6(ip: &Ipv6, frame: &Frame, zone: u8) -> Result<Option<Self>, Lost> {
        let end_bytes = ip.at_bytes.saturating_add(ip.total_bytes());
        let mut at_bytes = ip.at_bytes.saturating_add(IPV6_BYTES);
        let mut kind = ip.header.next_header;
        for _ in 0..=MAX_EXTENSIONS {
            let is_other = matches!(kind, EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION);
            if !is_other && kind != EXTENSION_FRAGMENT {
                return Ok(None);
            }
            let extension: [u8; 8] = frame.read(at_bytes).ok_or(Lost::Place)?;
            let [next, len_units, high, low, id @ ..] = extension;
            if kind != EXTENSION_FRAGMENT {
                kind = next;
                at_bytes = at_bytes.saturating_add(usize::from(len_units).saturating_add(1) * UNIT_BYTES);
                continue;
            }
            let (offset_more, [i0, i1, i2, i3]) = (u16::from_be_bytes([high, low]), id);
            // A part that is the whole of it.
            if offset_more & !6 == 0 {
                return Ok(None);
            }
            let ends = Ends {
                source: ip.source(),
                destination: ip.destination(),
                source_port: u16::from_be_bytes([i0, i1]),
                destination_port: u16::from_be_bytes([i2, i3]),
            };
            let len_bytes = end_bytes.saturating_sub(at_bytes.saturating_add(UNIT_BYTES));
            let key = Key::v6(ends, next, zone);
            return Self::new(key, offset_more >> 3, len_bytes, offset_more & 1 == 0).map(Some);
        }
        Ok(None)
    }

    fn new(packet: Key, first: u16, len_bytes: usize, is_last: bool) -> Result<Self, Lost> {
        let end_bytes = usize::from(first).saturating_mul(UNIT_BYTES).saturating_add(len_bytes);
        let is_whole_units = len_bytes.is_multiple_of(UNIT_BYTES) || is_last;
        let end = u16::try_from(end_bytes.div_ceil(UNIT_BYTES));
        match end {
            Ok(end) if is_whole_units && len_bytes > 0 && end_bytes <= u16::MAX.into() => {
                Ok(Self { packet, units: [first, end], is_last })
            }
            _ => Err(Lost::Place),
        }
    }

    /// Whether the ports are in it.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        let [first, _] = self.units;
        first == 0
    }

    /// What the packet carries.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.packet.protocol()
    }
}

/// How many gaps there may be between parts.
const RANGES: usize = 8;

/// Which parts of a packet have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    /// Empty ones are of no use yet.
    ranges: [[u16; 2]; RANGES],
    /// Where the packet ends, once that is known.
    end: Option<u16>,
}

impl Extents {
    pub(super) const NONE: Self = Self { ranges: [[0; 2]; RANGES], end: None };

    /// Adds a part; true when none is missing now. `None` when it is in others' place, or behind
    /// the end, or leaves more gaps than there may be.
    ///
    /// Spec: RFC 5722; RFC 8200, 4.5 (one that overlaps another has the packet dropped).
    pub(super) fn add(&mut self, part: &Part) -> Option<bool> {
        let [mut first, mut end] = part.units;
        let is_behind = |of: u16| self.end.is_some_and(|end| of > end);
        let overlaps = |[other, other_end]: &[u16; 2]| first < *other_end && *other < end;
        let is_within = part.is_last && self.ranges.iter().any(|[_, other_end]| *other_end > end);
        if is_behind(end)
            || is_within
            || part.is_last && self.end.is_some()
            || self.ranges.iter().any(overlaps)
        {
            return None;
        }
        if part.is_last {
            self.end = Some(end);
        }
        // Those beside it become one with it.
        for range in &mut self.ranges {
            let [other, other_end] = *range;
            if other == other_end {
                continue;
            }
            if other_end == first {
                (first, *range) = (other, [0; 2]);
            } else if other == end {
                (end, *range) = (other_end, [0; 2]);
            }
        }
        *self.ranges.iter_mut().find(|[other, other_end]| other == other_end)? = [first, end];
        Some(first == 0 && self.end == Some(end))
    }
}

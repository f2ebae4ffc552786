//! The header in front of every frame, both ways, as a value.
//!
//! ```text
//!  0        1           2            4             6             8              10
//!  | flags  | gso_type  | hdr_len    | gso_size    | csum_start  | csum_offset  | num_buffers |
//! ```
//!
//! Twelve bytes for every `VERSION_1` device, mergeable buffers or not. In memory it is three
//! little-endian words, which is how it is written and read here: a handful of stores in front of
//! the payload.
//!
//! On the legacy interface a device without mergeable buffers has no `num_buffers`, and a *short*
//! header of ten bytes. In memory it is three words as well, of which the device is shown all but
//! the first two bytes.
//!
//! A device that reports hashes has a header of twenty bytes: behind `num_buffers` the hash and its
//! kind, and two bytes of nothing.
//!
//! Spec: VIRTIO 1.2, 5.1.6 "Device Operation", 5.1.6.1 "Legacy Interface: Device Operation".

use paravane_net::{RxHash, RxHashKind};

/// Length of the header.
pub(crate) const HEADER_BYTES: u16 = 12;

/// Length of a short one.
pub(crate) const SHORT_HEADER_BYTES: u16 = 10;

/// Length of one with a hash.
pub(crate) const HASH_HEADER_BYTES: u16 = 20;

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES as usize);
const _: () = assert!(size_of::<RawHashHeader>() == HASH_HEADER_BYTES as usize);

/// The header as it lies in memory.
pub(crate) type RawHeader = [u32; 3];

/// One with a hash.
pub(crate) type RawHashHeader = [u32; 5];

bitflags::bitflags! {
    /// The `flags` field.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct HeaderFlags: u8 {
        /// The layer-4 checksum is to be completed: `csum_start` and `csum_offset` say where.
        const NEEDS_CSUM = 1;
        /// The device has verified the layer-4 checksum. From the device only.
        const DATA_VALID = 1 << 1;
    }
}

/// The `gso_type` field: how a large packet is cut.
///
/// Only what this driver asks for or understands has a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GsoType(pub u8);

impl GsoType {
    /// Not cut at all.
    pub(crate) const NONE: Self = Self(0);
    /// TCP over IPv4.
    pub(crate) const TCPV4: Self = Self(1);
    /// TCP over IPv6.
    pub(crate) const TCPV6: Self = Self(4);
    /// UDP over either: datagrams of equal size.
    pub(crate) const UDP_L4: Self = Self(5);

    /// The bit that says of TCP that the congestion window was reduced.
    const ECN: u8 = 0x80;

    /// The same, where the congestion window was reduced.
    #[must_use]
    pub(crate) const fn with_ecn(self, ecn: bool) -> Self {
        Self(if ecn { self.0 | Self::ECN } else { self.0 })
    }

    /// The kind alone, and whether the congestion window was reduced.
    #[must_use]
    pub(crate) const fn split(self) -> (Self, bool) {
        (Self(self.0 & !Self::ECN), self.0 & Self::ECN != 0)
    }
}

/// The header's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// What is said about the checksum.
    pub(crate) flags: HeaderFlags,
    /// How the packet is cut.
    pub(crate) gso_type: GsoType,
    /// Ethernet to layer-4 header. A hint.
    pub(crate) hdr_len: u16,
    /// Payload of each piece of a cut packet.
    pub(crate) gso_size: u16,
    /// Where summing starts, from the first byte of the frame.
    pub(crate) csum_start: u16,
    /// Where the sum goes, from there.
    pub(crate) csum_offset: u16,
    /// From the device, with mergeable buffers: over how many buffers the frame is spread. Zero to
    /// the device.
    pub(crate) num_buffers: u16,
}

impl Header {
    /// A frame that asks for nothing: by far the most.
    pub(crate) const PLAIN: RawHeader = [0; 3];

    /// Whether the header in memory says nothing about checksums and is no large packet: by far the
    /// most.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn is_plain([word0, ..]: &RawHeader) -> bool {
        u32::from_le(*word0) & 0xffff == 0
    }

    /// Whether the header in memory says that the checksum was verified, and nothing else.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn is_good([word0, ..]: &RawHeader) -> bool {
        u32::from_le(*word0) & 0xffff == HeaderFlags::DATA_VALID.bits() as u32
    }

    /// The count of buffers of a header in memory.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn buffers_of([.., word2]: &RawHeader) -> u16 {
        (u32::from_le(*word2) >> 16) as u16
    }

    /// As it lies in memory.
    #[must_use]
    pub(crate) const fn encode(self) -> RawHeader {
        [
            (self.flags.bits() as u32 | (self.gso_type.0 as u32) << 8 | (self.hdr_len as u32) << 16).to_le(),
            (self.gso_size as u32 | (self.csum_start as u32) << 16).to_le(),
            (self.csum_offset as u32 | (self.num_buffers as u32) << 16).to_le(),
        ]
    }

    /// From memory. Every pattern is a header; what its fields claim, the receiver checks.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fields are the low and the high part of a word")]
    pub(crate) const fn decode([word0, word1, word2]: RawHeader) -> Self {
        let (word0, word1, word2) = (u32::from_le(word0), u32::from_le(word1), u32::from_le(word2));
        Self {
            flags: HeaderFlags::from_bits_retain(word0 as u8),
            gso_type: GsoType((word0 >> 8) as u8),
            hdr_len: (word0 >> 16) as u16,
            gso_size: word1 as u16,
            csum_start: (word1 >> 16) as u16,
            csum_offset: word2 as u16,
            num_buffers: (word2 >> 16) as u16,
        }
    }
}

/// A header as a short one lies in memory: everything is two bytes further on, and `num_buffers` is
/// not there.
#[must_use]
pub(crate) const fn shorten([word0, word1, word2]: RawHeader) -> RawHeader {
    let (word0, word1, word2) = (u32::from_le(word0), u32::from_le(word1), u32::from_le(word2));
    [(word0 << 16).to_le(), (word0 >> 16 | word1 << 16).to_le(), (word1 >> 16 | word2 << 16).to_le()]
}

/// What lies in memory as a short header, as one of usual length; it is about one buffer.
#[must_use]
pub(crate) const fn lengthen([word0, word1, word2]: RawHeader) -> RawHeader {
    let (word0, word1, word2) = (u32::from_le(word0), u32::from_le(word1), u32::from_le(word2));
    [(word0 >> 16 | word1 << 16).to_le(), (word1 >> 16 | word2 << 16).to_le(), (word2 >> 16).to_le()]
}

/// A header to the device as one that has a hash: the device's alone, it says nothing.
#[must_use]
pub(crate) const fn with_no_hash([word0, word1, word2]: RawHeader) -> RawHashHeader {
    [word0, word1, word2, 0, 0]
}

/// Takes the hash off. `None`: there is none, or its kind has no name.
#[must_use]
pub(crate) fn split_hash([word0, word1, word2, value, kind]: RawHashHeader) -> (RawHeader, Option<RxHash>) {
    let kind = match u32::from_le(kind) & 0xffff {
        1 => Some(RxHashKind::Ip4),
        2 => Some(RxHashKind::Tcp4),
        3 => Some(RxHashKind::Udp4),
        4 => Some(RxHashKind::Ip6),
        5 => Some(RxHashKind::Tcp6),
        6 => Some(RxHashKind::Udp6),
        _ => None,
    };
    let value = u32::from_le(value);
    ([word0, word1, word2], kind.map(|kind| RxHash { value, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: Header = Header {
        flags: HeaderFlags::NEEDS_CSUM,
        gso_type: GsoType::TCPV6,
        hdr_len: 0x0102,
        gso_size: 0x0304,
        csum_start: 0x0506,
        csum_offset: 0x0708,
        num_buffers: 0x090a,
    };

    #[test]
    fn bytes_are_where_the_specification_puts_them() {
        let bytes: std::vec::Vec<u8> = SAMPLE.encode().iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, [1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 0x0a, 9]);
        assert_eq!(Header::default().encode(), Header::PLAIN);
        let bytes: std::vec::Vec<u8> =
            shorten(SAMPLE.encode()).iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, [0, 0, 1, 4, 2, 1, 4, 3, 6, 5, 8, 7]);
    }

    #[test]
    fn a_hash_is_behind_the_header_5_1_6_4_4() {
        let words = |kind: u32| [1, 2, 3, 0x0102_0304_u32.to_le(), kind.to_le()];
        let hash = |kind| split_hash(words(kind)).1.map(|hash| (hash.value, hash.kind));
        assert_eq!(split_hash(words(0)), ([1, 2, 3], None));
        for (number, kind) in (1..).zip([
            RxHashKind::Ip4,
            RxHashKind::Tcp4,
            RxHashKind::Udp4,
            RxHashKind::Ip6,
            RxHashKind::Tcp6,
            RxHashKind::Udp6,
        ]) {
            assert_eq!(hash(number), Some((0x0102_0304, kind)));
            // What is behind the kind is nothing.
            assert_eq!(hash(number | 0xffff << 16), Some((0x0102_0304, kind)));
        }
        for number in [7, 8, 9, 10, 0xffff] {
            assert_eq!(hash(number), None, "{number}");
        }
        assert_eq!(with_no_hash([1, 2, 3]), [1, 2, 3, 0, 0]);
    }

    #[test]
    fn a_reduced_window_is_a_bit_beside_the_kind() {
        assert_eq!(GsoType::TCPV4.with_ecn(true), GsoType(0x81));
        assert_eq!(GsoType(0x84).split(), (GsoType::TCPV6, true));
        assert_eq!(GsoType::UDP_L4.with_ecn(false).split(), (GsoType(5), false));
    }

    proptest! {
        #[test]
        fn any_twelve_bytes_are_a_header(raw in any::<RawHeader>()) {
            let header = Header::decode(raw);
            prop_assert_eq!(header.encode(), raw);
            prop_assert_eq!(Header::buffers_of(&raw), header.num_buffers);
            let short = Header { num_buffers: 0, ..header };
            prop_assert_eq!(Header::decode(lengthen(shorten(raw))), short);
            prop_assert_eq!(Header::is_plain(&raw), header.flags.is_empty() && header.gso_type == GsoType::NONE);
        }
    }
}

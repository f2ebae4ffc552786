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
//! Spec: VIRTIO 1.2, 5.1.6 "Device Operation", 5.1.6.1 "Legacy Interface: Device Operation".

/// Length of the header.
pub(crate) const HEADER_BYTES: u16 = 12;

/// Length of a short one.
pub(crate) const SHORT_HEADER_BYTES: u16 = 10;

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES as usize);

/// The header as it lies in memory.
pub(crate) type RawHeader = [u32; 3];

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

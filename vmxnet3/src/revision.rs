//! Protocol revisions: how one is agreed, and what it brings.
//!
//! The number stays here. The rest of the driver asks for [`Features`], so that what a revision
//! brings is written once.

use core::fmt;

/// A revision of the protocol, as agreed with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revision(u8);

/// Bit n for revision n + 1: what this driver speaks.
pub(crate) const SPOKEN: u32 = 0b111_1111;
/// The highest of them.
const HIGHEST: u8 = 7;

/// The highest that is agreed on unless a caller asks for a higher one.
///
/// Up to 6 a device is the hypervisor's own software, as in all that is known of the protocol. From
/// 7 on what is behind it may be hardware that is passed through, with limits of its own; and all
/// that 7 adds is its registers of capabilities, and where a descriptor says that it is about a
/// tunnel.
pub(crate) const HIGHEST_BY_DEFAULT: u8 = 6;

bitflags::bitflags! {
    /// What the agreed revision brings.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Features: u16 {
        /// A completion of type 4 says how many segments a large packet is of, and how long they
        /// are.
        const LRO_SEGMENTS = 1;
        /// Data rings for received frames, and a choice of how long a slot is in those for sent
        /// ones.
        const DATA_RINGS = 1 << 1;
        /// `SET_COALESCE`, `GET_COALESCE`.
        const COALESCING = 1 << 2;
        /// `REGISTER_MEMREGS`.
        const MEMORY_REGIONS = 1 << 3;
        /// `SET_RSS_FIELDS`, `GET_RSS_FIELDS`: a spread by UDP and ESP.
        const RSS_FIELDS = 1 << 4;
        /// Checksums and segments inside of tunnels.
        const TUNNELS = 1 << 5;
        /// Up to 32 queues of either kind, any number of them, each with an interrupt;
        /// `GET_MAX_QUEUES_CONF`.
        const MANY_QUEUES = 1 << 6;
        /// Spreads by ESP over IPv6 too.
        const RSS_ESP6 = 1 << 7;
        /// An IP MTU of 9190.
        const LONG_MTU = 1 << 8;
        /// Registers of capabilities, of which each is asked for before it is used.
        const CAPABILITIES = 1 << 9;
        /// A descriptor says by `ext1` that it is about what is inside of a tunnel, no longer by
        /// `om`.
        const TUNNELS_BY_EXT1 = 1 << 10;
        /// Buffers all have the length that `SET_RING_BUFFER_SIZE` tells.
        const BUFFER_SIZES = 1 << 11;
        /// Rings have a power of two of entries.
        const POWER_OF_TWO_RINGS = 1 << 12;
    }
}

/// What each revision adds to the one before, from the second on.
const ADDED: [Features; 6] = [
    Features::LRO_SEGMENTS,
    Features::DATA_RINGS.union(Features::COALESCING).union(Features::MEMORY_REGIONS),
    Features::RSS_FIELDS.union(Features::TUNNELS),
    Features::empty(),
    Features::MANY_QUEUES.union(Features::RSS_ESP6).union(Features::LONG_MTU),
    Features::CAPABILITIES
        .union(Features::TUNNELS_BY_EXT1)
        .union(Features::BUFFER_SIZES)
        .union(Features::POWER_OF_TWO_RINGS),
];

impl Revision {
    /// The highest revision that both sides speak, up to `highest`.
    pub(crate) fn agree(offered: u32, highest: u8) -> Option<Self> {
        (1..=highest.min(HIGHEST)).rev().map(Self).find(|each| offered & SPOKEN & each.bit() != 0)
    }

    /// What to write to `VRRS`: the bit of this revision.
    pub(crate) const fn bit(self) -> u32 {
        1_u32.wrapping_shl(self.0.wrapping_sub(1) as u32)
    }

    /// Its number.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// What it brings.
    pub(crate) fn features(self) -> Features {
        let added = ADDED.iter().take(usize::from(self.0).saturating_sub(1));
        added.fold(Features::empty(), |features, more| features | *more)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_revision_is_agreed() {
        let agreed = |offered, highest| Revision::agree(offered, highest).map(Revision::number);
        for (offered, up_to_seven, up_to_six) in [
            (0b1, Some(1), Some(1)),
            (0b111, Some(3), Some(3)),
            (0b111_1111, Some(7), Some(6)),
            (0b101_0001, Some(7), Some(5)),
            (u32::MAX, Some(7), Some(6)),
            (0b110, Some(3), Some(3)),
            (0b100_0000, Some(7), None),
            (0, None, None),
            // Newer than what is spoken.
            (!0b111_1111, None, None),
        ] {
            assert_eq!((agreed(offered, 7), agreed(offered, 6)), (up_to_seven, up_to_six), "{offered:#b}");
        }
        assert_eq!((agreed(u32::MAX, 1), agreed(u32::MAX, 0)), (Some(1), None));
        assert_eq!(agreed(u32::MAX, u8::MAX), Some(7));
        assert_eq!(Revision::agree(u32::MAX, 6).unwrap().bit(), 0b10_0000);
    }

    #[test]
    fn each_revision_has_what_those_before_have() {
        let features: [Features; 7] = [1, 2, 3, 4, 5, 6, 7].map(|number| Revision(number).features());
        assert_eq!(features[0], Features::empty());
        assert_eq!(features[6], Features::all());
        assert!(features.windows(2).all(|pair| pair[1].contains(pair[0])));
        let since = |feature| 1 + features.iter().position(|features| features.contains(feature)).unwrap();
        assert_eq!(since(Features::LRO_SEGMENTS), 2);
        assert_eq!(since(Features::DATA_RINGS | Features::COALESCING | Features::MEMORY_REGIONS), 3);
        assert_eq!(since(Features::RSS_FIELDS | Features::TUNNELS), 4);
        assert_eq!(since(Features::MANY_QUEUES | Features::LONG_MTU | Features::RSS_ESP6), 6);
        for seventh in [
            Features::CAPABILITIES,
            Features::BUFFER_SIZES,
            Features::TUNNELS_BY_EXT1,
            Features::POWER_OF_TWO_RINGS,
        ] {
            assert_eq!(since(seventh), 7);
        }
    }
}

//! Feature bits of the block device, which of them this driver implements, and what was agreed.
//!
//! Spec: VIRTIO 1.2, 5.2.3 "Feature bits".

use core::fmt;

use crate::feature::{self, RingFeatures};
use crate::ring::Format;

bitflags::bitflags! {
    /// Features of the block device that this driver implements. All others are left alone.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlkFeatures: u64 {
        /// The device says how long a segment may be.
        const SIZE_MAX = 1 << 1;
        /// The device says how many segments a request may have. Without it, one.
        const SEG_MAX = 1 << 2;
        /// The disk cannot be written. Accepted whenever offered.
        const RO = 1 << 5;
        /// The device says how long its blocks are.
        const BLK_SIZE = 1 << 6;
        /// What was written may lie in a cache, which can be flushed.
        const FLUSH = 1 << 9;
    }
}

/// Features that a driver has to accept when they are offered.
const NOT_A_CHOICE: RingFeatures =
    RingFeatures::VERSION_1.union(RingFeatures::ACCESS_PLATFORM).union(RingFeatures::ORDER_PLATFORM);

/// Which features may be agreed, if the device offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowed {
    /// Of the rings and the transport. `VERSION_1` and the features that a driver must accept are
    /// allowed whatever this says.
    pub ring: RingFeatures,
    /// Of the block device. `RO` is allowed whatever this says.
    pub blk: BlkFeatures,
}

impl Default for Allowed {
    /// All that are implemented.
    fn default() -> Self {
        Self { ring: RingFeatures::IMPLEMENTED, blk: BlkFeatures::all() }
    }
}

impl Allowed {
    /// The same with other features of the [ring](Self::ring).
    #[must_use]
    pub const fn with_ring(self, ring: RingFeatures) -> Self {
        Self { ring, ..self }
    }

    /// The same with other features of the [block device](Self::blk).
    #[must_use]
    pub const fn with_blk(self, blk: BlkFeatures) -> Self {
        Self { blk, ..self }
    }

    /// What is agreed with a device that offers `offered`.
    #[must_use]
    pub fn choose(self, offered: u64) -> u64 {
        let ring = self.ring.union(NOT_A_CHOICE).intersection(RingFeatures::IMPLEMENTED);
        let blk = self.blk.union(BlkFeatures::RO);
        feature::agree(offered, ring.bits() | blk.bits(), &[])
    }
}

/// The features that driver and device agreed on. Made by bring-up alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated(u64);

impl Negotiated {
    /// What the device has confirmed.
    pub(crate) const fn confirmed(features: u64) -> Self {
        Self(features)
    }

    /// Whether all of `features` of the block device are agreed.
    #[must_use]
    pub const fn has(self, features: BlkFeatures) -> bool {
        self.0 & features.bits() == features.bits()
    }

    /// Whether all of `features` of the ring are agreed.
    #[must_use]
    pub const fn has_ring(self, features: RingFeatures) -> bool {
        self.0 & features.bits() == features.bits()
    }

    /// The format of its ring.
    pub(crate) const fn format(self) -> Format {
        RingFeatures::from_bits_truncate(self.0).format()
    }

    /// The word itself.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Negotiated {
    /// The features' names, as the specification spells them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = RingFeatures::from_bits_truncate(self.0);
        let blk = BlkFeatures::from_bits_truncate(self.0);
        for (i, (name, _)) in ring.iter_names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        for (name, _) in blk.iter_names() {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_offers_everything_gets_what_is_implemented() {
        let chosen = Negotiated::confirmed(Allowed::default().choose(u64::MAX));
        assert_eq!(chosen.bits(), BlkFeatures::all().bits() | RingFeatures::IMPLEMENTED.bits());
        assert!(std::format!("{chosen}").ends_with(" SIZE_MAX SEG_MAX RO BLK_SIZE FLUSH"));
    }

    #[test]
    fn what_has_to_be_accepted_is_not_a_choice() {
        let nothing = Allowed { ring: RingFeatures::empty(), blk: BlkFeatures::empty() };
        assert_eq!(nothing.choose(u64::MAX), 1 << 5 | 1 << 32 | 1 << 33 | 1 << 36);
    }
}

//! Feature bits of the block device, which of them this driver implements, the fields that go with
//! them, and what was agreed.
//!
//! Spec: VIRTIO 1.2, 5.2.3 "Feature bits".

use paravane_hal::reg::{ReadOnly, Reg};

use crate::config::end_bytes;
use crate::feature::{self, ClassFeatures, FieldEnd};

/// `size_max`: the longest segment.
pub(crate) const SIZE_MAX: Reg<u32, ReadOnly> = Reg::at(8);
/// `seg_max`: most segments, header and status not counted.
pub(crate) const SEG_MAX: Reg<u32, ReadOnly> = Reg::at(12);
/// `blk_size`: how long a block is.
pub(crate) const BLK_SIZE: Reg<u32, ReadOnly> = Reg::at(20);

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

impl ClassFeatures for BlkFeatures {
    const FIELDS: &'static [FieldEnd] = &[
        (Self::SIZE_MAX.bits(), end_bytes(&SIZE_MAX)),
        (Self::SEG_MAX.bits(), end_bytes(&SEG_MAX)),
        (Self::BLK_SIZE.bits(), end_bytes(&BLK_SIZE)),
    ];
    const NOT_A_CHOICE: u64 = Self::RO.bits();
}

/// Which features may be agreed, if the device offers them.
pub type Allowed = feature::Allowed<BlkFeatures>;

/// The features that driver and device agreed on.
pub type Negotiated = feature::Negotiated<BlkFeatures>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::RingFeatures;

    #[test]
    fn a_device_that_offers_everything_gets_what_is_implemented() {
        let chosen = Negotiated::confirmed(Allowed::default().choose(u64::MAX));
        assert_eq!(chosen.bits(), BlkFeatures::all().bits() | RingFeatures::IMPLEMENTED.bits());
        assert!(std::format!("{chosen}").ends_with(" SIZE_MAX SEG_MAX RO BLK_SIZE FLUSH"));
    }

    #[test]
    fn what_has_to_be_accepted_is_not_a_choice() {
        let nothing = Allowed::default().with_ring(RingFeatures::empty()).with_class(BlkFeatures::empty());
        assert_eq!(nothing.choose(u64::MAX), 1 << 5 | 1 << 32 | 1 << 33 | 1 << 36);
    }
}

//! Feature bits of the block device, which of them this driver implements, the fields that go with
//! them, and what was agreed.
//!
//! Spec: VIRTIO 1.2, 5.2.3 "Feature bits".

use paravane_hal::reg::{ReadOnly, Reg};

use crate::config::end_bytes;
use crate::feature::{self, ClassFeatures, Dependency, FieldEnd};

/// `size_max`: the longest segment.
pub(crate) const SIZE_MAX: Reg<u32, ReadOnly> = Reg::at(8);
/// `seg_max`: most segments, header and status not counted.
pub(crate) const SEG_MAX: Reg<u32, ReadOnly> = Reg::at(12);
/// `blk_size`: how long a block is.
pub(crate) const BLK_SIZE: Reg<u32, ReadOnly> = Reg::at(20);
/// `geometry`: cylinders,
pub(crate) const CYLINDERS: Reg<u16, ReadOnly> = Reg::at(16);
/// heads,
pub(crate) const HEADS: Reg<u8, ReadOnly> = Reg::at(18);
/// and sectors.
pub(crate) const SECTORS: Reg<u8, ReadOnly> = Reg::at(19);
/// `topology`: how many blocks a physical one is, as an exponent,
pub(crate) const PHYSICAL_BLOCK_EXP: Reg<u8, ReadOnly> = Reg::at(24);
/// where the first of these begins,
pub(crate) const ALIGNMENT_OFFSET: Reg<u8, ReadOnly> = Reg::at(25);
/// the least to write at once,
pub(crate) const MIN_IO_SIZE: Reg<u16, ReadOnly> = Reg::at(26);
/// and what is best.
pub(crate) const OPT_IO_SIZE: Reg<u32, ReadOnly> = Reg::at(28);
/// `writeback`: whether there is a cache, for the driver to switch.
pub(crate) const WRITEBACK: Reg<u8> = Reg::at(32);
/// `num_queues`.
pub(crate) const NUM_QUEUES: Reg<u16, ReadOnly> = Reg::at(34);
/// `max_discard_sectors`: the longest range,
pub(crate) const MAX_DISCARD_SECTORS: Reg<u32, ReadOnly> = Reg::at(36);
/// `discard_sector_alignment`: and where to cut longer ones.
pub(crate) const DISCARD_ALIGNMENT: Reg<u32, ReadOnly> = Reg::at(44);
/// `max_write_zeroes_sectors`: the longest range,
pub(crate) const MAX_ZEROES_SECTORS: Reg<u32, ReadOnly> = Reg::at(48);
/// `write_zeroes_may_unmap`: and whether it may be given up.
pub(crate) const ZEROES_MAY_UNMAP: Reg<u8, ReadOnly> = Reg::at(56);
/// `max_secure_erase_sectors`: the longest range,
pub(crate) const MAX_ERASE_SECTORS: Reg<u32, ReadOnly> = Reg::at(60);
/// `secure_erase_sector_alignment`: and where to cut longer ones.
pub(crate) const ERASE_ALIGNMENT: Reg<u32, ReadOnly> = Reg::at(68);

bitflags::bitflags! {
    /// Features of the block device that this driver implements. All others are left alone.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlkFeatures: u64 {
        /// The device says how long a segment may be.
        const SIZE_MAX = 1 << 1;
        /// The device says how many segments a request may have. Without it, one.
        const SEG_MAX = 1 << 2;
        /// The device has cylinders, heads and sectors.
        const GEOMETRY = 1 << 4;
        /// The disk cannot be written. Accepted whenever offered.
        const RO = 1 << 5;
        /// The device says how long its blocks are.
        const BLK_SIZE = 1 << 6;
        /// What was written may lie in a cache, which can be flushed.
        const FLUSH = 1 << 9;
        /// The device says how blocks lie on the medium.
        const TOPOLOGY = 1 << 10;
        /// The cache can be switched. Not accepted without something to flush it.
        const CONFIG_WCE = 1 << 11;
        /// There may be more than one queue.
        const MQ = 1 << 12;
        /// Sectors that are not needed can be discarded.
        const DISCARD = 1 << 13;
        /// Sectors can be filled with zeroes.
        const WRITE_ZEROES = 1 << 14;
        /// The device tells how worn the medium is.
        const LIFETIME = 1 << 15;
        /// Sectors can be erased for good.
        const SECURE_ERASE = 1 << 16;
    }
}

impl ClassFeatures for BlkFeatures {
    const FIELDS: &'static [FieldEnd] = &[
        (Self::SIZE_MAX.bits(), end_bytes(&SIZE_MAX)),
        (Self::SEG_MAX.bits(), end_bytes(&SEG_MAX)),
        (Self::GEOMETRY.bits(), end_bytes(&SECTORS)),
        (Self::BLK_SIZE.bits(), end_bytes(&BLK_SIZE)),
        (Self::TOPOLOGY.bits(), end_bytes(&OPT_IO_SIZE)),
        (Self::CONFIG_WCE.bits(), end_bytes(&WRITEBACK)),
        (Self::MQ.bits(), end_bytes(&NUM_QUEUES)),
        (Self::DISCARD.bits(), end_bytes(&DISCARD_ALIGNMENT)),
        (Self::WRITE_ZEROES.bits(), end_bytes(&ZEROES_MAY_UNMAP)),
        (Self::SECURE_ERASE.bits(), end_bytes(&ERASE_ALIGNMENT)),
    ];

    /// Spec: VIRTIO 1.2, 5.2.5.2: a device that offers the switch offers the flush.
    const DEPENDENCIES: &'static [Dependency] = &[(Self::CONFIG_WCE.bits(), Self::FLUSH.bits())];

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
        assert!(std::format!("{chosen}").ends_with(" WRITE_ZEROES LIFETIME SECURE_ERASE"));
        assert_eq!(BlkFeatures::all().bits(), 0x1_fe76);
    }

    #[test]
    fn a_cache_is_not_switched_where_nothing_can_be_flushed() {
        let choose = |features: BlkFeatures| Allowed::default().choose(features.bits());
        assert_eq!(choose(BlkFeatures::CONFIG_WCE), 0);
        let both = BlkFeatures::CONFIG_WCE | BlkFeatures::FLUSH;
        assert_eq!(choose(both), both.bits());
    }

    #[test]
    fn what_has_to_be_accepted_is_not_a_choice() {
        let nothing = Allowed::default().with_ring(RingFeatures::empty()).with_class(BlkFeatures::empty());
        assert_eq!(nothing.choose(u64::MAX), 1 << 5 | 1 << 32 | 1 << 33 | 1 << 36);
    }
}

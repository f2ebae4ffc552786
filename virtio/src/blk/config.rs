//! The block device's configuration space: where its fields are, how they are read, and what of it
//! is believed.
//!
//! Spec: VIRTIO 1.2, 5.2.4 "Device configuration layout".

use paravane_block::{Limits, SECTOR_BYTES};
use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{ReadOnly, Reg};

use crate::blk::error::StartError;
use crate::blk::features::{BLK_SIZE, BlkFeatures, Negotiated, SEG_MAX, SIZE_MAX};
use crate::config::{end_bytes, stable};
use crate::error::SetUpError;
use crate::ring::QueueSize;
use crate::transport::Transport;

/// `capacity`, in sectors of 512 bytes: the low half,
const CAPACITY_LOW: Reg<u32, ReadOnly> = Reg::at(0);
/// and the high half.
const CAPACITY_HIGH: Reg<u32, ReadOnly> = Reg::at(4);

/// Header and status take a descriptor each.
pub(crate) const EXTRA_SEGMENTS: u16 = 2;

/// How many a request with data takes at least.
pub(crate) const LEAST_SEGMENTS: u16 = 3;
const _: () = assert!(LEAST_SEGMENTS == EXTRA_SEGMENTS + 1);
/// What a request may move, with header and status still below 4 GiB.
const MAX_BYTES: u32 = 0xffff_0000;

/// The fields that the driver uses, as they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) capacity_sectors: u64,
    size_max: Option<u32>,
    seg_max: Option<u32>,
    blk_size: Option<u32>,
}

/// What a device says about its disk, found sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) block_bytes: u32,
    pub(crate) limits: Limits,
}

/// Reads the fields that belong to `features`, all of one generation.
///
/// # Errors
///
/// [`StartError`]: there is no capacity, or they kept changing.
pub(crate) fn read<R: Mmio>(
    transport: &impl Transport<R>,
    features: Negotiated,
) -> Result<Fields, StartError> {
    let len_bytes = transport.config().len_bytes();
    if len_bytes < end_bytes(&CAPACITY_HIGH) {
        return Err(StartError::NoCapacity { len_bytes });
    }
    stable(transport, || Fields {
        capacity_sectors: capacity(transport),
        size_max: field(transport, features, BlkFeatures::SIZE_MAX, SIZE_MAX),
        seg_max: field(transport, features, BlkFeatures::SEG_MAX, SEG_MAX),
        blk_size: field(transport, features, BlkFeatures::BLK_SIZE, BLK_SIZE),
    })
    .ok_or(StartError::SetUp(SetUpError::ConfigUnstable))
}

/// Reads the capacity again. `None` when it kept changing.
pub(crate) fn read_capacity<R: Mmio>(transport: &impl Transport<R>) -> Option<u64> {
    stable(transport, || capacity(transport))
}

fn capacity<R: Mmio>(transport: &impl Transport<R>) -> u64 {
    let config = transport.config();
    u64::from(config.read(&CAPACITY_LOW)) | u64::from(config.read(&CAPACITY_HIGH)) << 32
}

fn field<R: Mmio>(
    transport: &impl Transport<R>,
    features: Negotiated,
    feature: BlkFeatures,
    field: Reg<u32, ReadOnly>,
) -> Option<u32> {
    features.has(feature).then(|| transport.config().read(&field))
}

impl Fields {
    /// What they mean for a queue of `size`.
    ///
    /// # Errors
    ///
    /// [`StartError`]: blocks or segments that no disk has.
    pub(crate) fn shape(&self, size: QueueSize) -> Result<Shape, StartError> {
        let block_bytes = self.blk_size.unwrap_or(SECTOR_BYTES);
        if !block_bytes.is_power_of_two() || block_bytes < SECTOR_BYTES {
            return Err(StartError::BlockSize { block_bytes });
        }
        let max_segment_bytes = self.size_max.unwrap_or(u32::MAX);
        if max_segment_bytes == 0 {
            return Err(StartError::NoSegments);
        }
        // A device that says nothing takes one: Firecracker's does. Zero means the same.
        let says = self.seg_max.unwrap_or(1).max(1);
        // A chain is no longer than its queue.
        let room = size.entries().saturating_sub(EXTRA_SEGMENTS);
        if room == 0 {
            return Err(StartError::QueueTooShort { entries: size.entries() });
        }
        let max_segments = u16::try_from(says).unwrap_or(u16::MAX).min(room);
        Ok(Shape { block_bytes, limits: Limits { max_segments, max_segment_bytes, max_bytes: MAX_BYTES } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::readable;

    const FIELDS: Fields = Fields { capacity_sectors: 8, size_max: None, seg_max: None, blk_size: None };

    fn size(entries: u16) -> QueueSize {
        QueueSize::at_most(entries, entries, false).unwrap()
    }

    #[test]
    fn a_feature_without_its_field_is_not_accepted() {
        let all = BlkFeatures::all().bits();
        let readable = |len_bytes| readable::<BlkFeatures>(all, len_bytes);
        assert_eq!(readable(24), all);
        assert_eq!(readable(23), all & !BlkFeatures::BLK_SIZE.bits());
        assert_eq!(readable(8), (BlkFeatures::RO | BlkFeatures::FLUSH).bits());
    }

    #[test]
    fn a_device_that_says_nothing_takes_one_segment() {
        let shape = FIELDS.shape(size(256)).unwrap();
        let limits = Limits { max_segments: 1, max_segment_bytes: u32::MAX, max_bytes: MAX_BYTES };
        assert_eq!(shape, Shape { block_bytes: 512, limits });
    }

    #[test]
    fn a_request_is_no_longer_than_its_queue() {
        let segments = |seg_max, entries| {
            let fields = Fields { seg_max: Some(seg_max), ..FIELDS };
            fields.shape(size(entries)).map(|shape| shape.limits.max_segments)
        };
        assert_eq!(segments(126, 256), Ok(126));
        assert_eq!(segments(254, 128), Ok(126));
        assert_eq!(segments(u32::MAX, 4), Ok(2));
        assert_eq!(segments(0, 128), Ok(1));
        assert_eq!(segments(1, 2), Err(StartError::QueueTooShort { entries: 2 }));
    }

    #[test]
    fn blocks_and_segments_that_no_disk_has_are_refused() {
        let blocks = |blk_size| Fields { blk_size: Some(blk_size), ..FIELDS }.shape(size(8));
        assert_eq!(blocks(4096).unwrap().block_bytes, 4096);
        for block_bytes in [0, 1, 256, 513, 1000, u32::MAX] {
            assert_eq!(blocks(block_bytes), Err(StartError::BlockSize { block_bytes }));
        }
        assert_eq!(Fields { size_max: Some(0), ..FIELDS }.shape(size(8)), Err(StartError::NoSegments));
    }
}

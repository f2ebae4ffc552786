//! The block device's configuration space: where its fields are, how they are read, and what of it
//! is believed.
//!
//! Spec: VIRTIO 1.2, 5.2.4 "Device configuration layout".

use paravane_block::{DiskInfo, Geometry, Limits, RangeLimits, SECTOR_BYTES, Topology};
use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{ReadOnly, Readable, Reg, RegValue};

use crate::blk::device::Blk;
use crate::blk::error::StartError;
use crate::blk::features::{
    ALIGNMENT_OFFSET, BLK_SIZE, BlkFeatures, CYLINDERS, DISCARD_ALIGNMENT, ERASE_ALIGNMENT, HEADS,
    MAX_DISCARD_SECTORS, MAX_ERASE_SECTORS, MAX_ZEROES_SECTORS, MIN_IO_SIZE, NUM_QUEUES, Negotiated,
    OPT_IO_SIZE, PHYSICAL_BLOCK_EXP, SECTORS, SEG_MAX, SIZE_MAX, WRITEBACK, ZEROES_MAY_UNMAP,
};
use crate::config::{end_bytes, stable};
use crate::device::Class as _;
use crate::error::SetUpError;
use crate::feature::RingFeatures;
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

/// A range that a device takes, as it says: the longest, and where to cut longer ones.
type Range = (u32, u32);

/// The fields that the driver uses, as they are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) capacity_sectors: u64,
    size_max: Option<u32>,
    seg_max: Option<u32>,
    geometry: Option<Geometry>,
    blk_size: Option<u32>,
    topology: Option<Topology>,
    writeback: Option<u8>,
    num_queues: Option<u16>,
    discard: Option<Range>,
    zeroes: Option<(u32, u8)>,
    erase: Option<Range>,
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
    stable(transport, || look(transport, features)).ok_or(StartError::SetUp(SetUpError::ConfigUnstable))
}

fn look<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> Fields {
    let config = transport.config();
    let has = |feature: BlkFeatures| features.has(feature);
    let geometry = || Geometry {
        cylinders: config.read(&CYLINDERS),
        heads: config.read(&HEADS),
        sectors: config.read(&SECTORS),
    };
    let topology = || Topology {
        physical_block_exponent: config.read(&PHYSICAL_BLOCK_EXP),
        first_aligned_block: config.read(&ALIGNMENT_OFFSET),
        min_io_blocks: config.read(&MIN_IO_SIZE),
        optimal_io_blocks: config.read(&OPT_IO_SIZE),
    };
    Fields {
        capacity_sectors: capacity(transport),
        size_max: field(transport, features, BlkFeatures::SIZE_MAX, SIZE_MAX),
        seg_max: field(transport, features, BlkFeatures::SEG_MAX, SEG_MAX),
        geometry: has(BlkFeatures::GEOMETRY).then(geometry),
        blk_size: field(transport, features, BlkFeatures::BLK_SIZE, BLK_SIZE),
        topology: has(BlkFeatures::TOPOLOGY).then(topology),
        writeback: field(transport, features, BlkFeatures::CONFIG_WCE, WRITEBACK),
        num_queues: field(transport, features, BlkFeatures::MQ, NUM_QUEUES),
        discard: has(BlkFeatures::DISCARD)
            .then(|| (config.read(&MAX_DISCARD_SECTORS), config.read(&DISCARD_ALIGNMENT))),
        zeroes: has(BlkFeatures::WRITE_ZEROES)
            .then(|| (config.read(&MAX_ZEROES_SECTORS), config.read(&ZEROES_MAY_UNMAP))),
        erase: has(BlkFeatures::SECURE_ERASE)
            .then(|| (config.read(&MAX_ERASE_SECTORS), config.read(&ERASE_ALIGNMENT))),
    }
}

/// Reads the capacity again. `None` when it kept changing.
pub(crate) fn read_capacity<R: Mmio>(transport: &impl Transport<R>) -> Option<u64> {
    stable(transport, || capacity(transport))
}

fn capacity<R: Mmio>(transport: &impl Transport<R>) -> u64 {
    let config = transport.config();
    u64::from(config.read(&CAPACITY_LOW)) | u64::from(config.read(&CAPACITY_HIGH)) << 32
}

fn field<R: Mmio, V: RegValue, A: Readable>(
    transport: &impl Transport<R>,
    features: Negotiated,
    feature: BlkFeatures,
    field: Reg<V, A>,
) -> Option<V> {
    features.has(feature).then(|| transport.config().read(&field))
}

/// Switches the cache, and says how it is then.
pub(crate) fn write_writeback<R: Mmio>(transport: &impl Transport<R>, on: bool) -> bool {
    let config = transport.config();
    config.write(&WRITEBACK, u8::from(on));
    config.read(&WRITEBACK) != 0
}

impl Fields {
    /// How many queues of `wanted` there are.
    pub(crate) fn queues(&self, wanted: u16) -> u16 {
        // A device that has several, and says that it has none, has the first.
        wanted.min(self.num_queues.unwrap_or(1)).max(1)
    }

    /// Whether what was written may be lost until it is flushed.
    pub(crate) fn write_cache(&self, features: Negotiated) -> bool {
        self.writeback.map_or(features.has(BlkFeatures::FLUSH), |writeback| writeback != 0)
    }

    /// What they mean for queues of `size`.
    ///
    /// # Errors
    ///
    /// [`StartError`]: blocks or segments that no disk has.
    pub(crate) fn info(&self, features: Negotiated, size: QueueSize) -> Result<DiskInfo, StartError> {
        let block_bytes = self.blk_size.unwrap_or(SECTOR_BYTES);
        if !block_bytes.is_power_of_two() || block_bytes < SECTOR_BYTES {
            return Err(StartError::BlockSize { block_bytes });
        }
        let range = |(most, align): Range| RangeLimits::new(most, align, block_bytes);
        let zeroes = self.zeroes.map(|(most, _)| (most, 0));
        let indirect = features.has_ring(RingFeatures::INDIRECT_DESC);
        Ok(DiskInfo {
            block_bytes,
            read_only: features.has(BlkFeatures::RO),
            write_cache: features.has(BlkFeatures::FLUSH),
            lifetime: features.has(BlkFeatures::LIFETIME),
            limits: self.limits(size)?,
            discard: self.discard.and_then(range),
            write_zeroes: zeroes.and_then(range),
            zeroes_unmap: self.zeroes.is_some_and(|(_, may_unmap)| may_unmap != 0),
            secure_erase: self.erase.and_then(range),
            topology: self.topology.unwrap_or(Topology::UNKNOWN),
            geometry: self.geometry,
            max_in_flight: if indirect { size.entries() } else { size.entries() / LEAST_SEGMENTS },
            ..DiskInfo::plain(Blk::NAME)
        })
    }

    fn limits(&self, size: QueueSize) -> Result<Limits, StartError> {
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
        Ok(Limits { max_segments, max_segment_bytes, max_bytes: MAX_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::readable;

    fn size(entries: u16) -> QueueSize {
        QueueSize::at_most(entries, entries, false).unwrap()
    }

    fn features(features: BlkFeatures) -> Negotiated {
        Negotiated::confirmed(features.bits())
    }

    fn info(fields: Fields, entries: u16) -> Result<DiskInfo, StartError> {
        fields.info(features(BlkFeatures::empty()), size(entries))
    }

    #[test]
    fn a_feature_without_its_field_is_not_accepted() {
        let all = BlkFeatures::all();
        let missing =
            |len_bytes| all - BlkFeatures::from_bits_truncate(readable::<BlkFeatures>(all.bits(), len_bytes));
        let ends = [
            (72, BlkFeatures::empty()),
            (71, BlkFeatures::SECURE_ERASE),
            (56, BlkFeatures::WRITE_ZEROES),
            (47, BlkFeatures::DISCARD),
            (35, BlkFeatures::MQ),
            (32, BlkFeatures::CONFIG_WCE),
            (31, BlkFeatures::TOPOLOGY),
            (23, BlkFeatures::BLK_SIZE),
            (19, BlkFeatures::GEOMETRY),
            (15, BlkFeatures::SEG_MAX),
            (11, BlkFeatures::SIZE_MAX),
        ];
        let mut all_before = BlkFeatures::empty();
        for (len_bytes, feature) in ends {
            all_before |= feature;
            assert_eq!(missing(len_bytes), all_before, "{len_bytes} bytes");
        }
        let rest = BlkFeatures::RO | BlkFeatures::FLUSH | BlkFeatures::LIFETIME;
        assert_eq!(all - missing(8), rest);
    }

    #[test]
    fn a_device_that_says_nothing_takes_one_segment_and_no_ranges() {
        let limits = Limits { max_segments: 1, max_segment_bytes: u32::MAX, max_bytes: MAX_BYTES };
        let plain = DiskInfo { write_cache: false, limits, max_in_flight: 85, ..DiskInfo::plain(Blk::NAME) };
        assert_eq!(info(Fields::default(), 256), Ok(plain));
        assert!(!Fields::default().write_cache(features(BlkFeatures::empty())));
        assert!(Fields::default().write_cache(features(BlkFeatures::FLUSH)));
    }

    #[test]
    fn a_request_is_no_longer_than_its_queue() {
        let segments = |seg_max, entries| {
            let fields = Fields { seg_max: Some(seg_max), ..Fields::default() };
            info(fields, entries).map(|info| info.limits.max_segments)
        };
        assert_eq!(segments(126, 256), Ok(126));
        assert_eq!(segments(254, 128), Ok(126));
        assert_eq!(segments(u32::MAX, 4), Ok(2));
        assert_eq!(segments(0, 128), Ok(1));
        assert_eq!(segments(1, 2), Err(StartError::QueueTooShort { entries: 2 }));
    }

    #[test]
    fn blocks_and_segments_that_no_disk_has_are_refused() {
        let blocks = |blk_size| info(Fields { blk_size: Some(blk_size), ..Fields::default() }, 8);
        assert_eq!(blocks(4096).unwrap().block_bytes, 4096);
        for block_bytes in [0, 1, 256, 513, 1000, u32::MAX] {
            assert_eq!(blocks(block_bytes), Err(StartError::BlockSize { block_bytes }));
        }
        let no_bytes = Fields { size_max: Some(0), ..Fields::default() };
        assert_eq!(info(no_bytes, 8), Err(StartError::NoSegments));
    }

    #[test]
    fn what_a_device_takes_of_ranges_is_whole_blocks_of_it() {
        let fields = Fields {
            blk_size: Some(4096),
            discard: Some((20, 32)),
            zeroes: Some((0, 1)),
            erase: Some((7, 8)),
            ..Fields::default()
        };
        let info = info(fields, 8).unwrap();
        assert_eq!(info.discard, RangeLimits::new(16, 32, 4096));
        assert_eq!((info.write_zeroes, info.zeroes_unmap), (RangeLimits::new(0, 0, 4096), true));
        assert_eq!(info.secure_erase, None, "not a block fits");
    }

    #[test]
    fn there_is_a_queue_and_no_more_than_there_are() {
        let queues = |num_queues, wanted| Fields { num_queues, ..Fields::default() }.queues(wanted);
        assert_eq!([queues(None, 4), queues(Some(2), 4), queues(Some(8), 4)], [1, 2, 4]);
        assert_eq!([queues(Some(0), 4), queues(Some(8), 0)], [1, 1]);
    }
}

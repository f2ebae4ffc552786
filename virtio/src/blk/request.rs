//! A request as the device sees it, and how its end is judged.
//!
//! ```text
//!  header (16, the device reads) | data (it reads or writes) | status (1, it writes)
//! ```
//!
//! Requests about a range have that as data, one to a request: a request of several that failed
//! would leave open which of them were done.
//!
//! Spec: VIRTIO 1.2, 5.2.6 "Device Operation".

use core::mem::offset_of;

use paravane_block::{ID_BYTES, LIFETIME_BYTES, Operation, RequestFault, SectorRange};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `VIRTIO_BLK_T_IN`.
const IN: u32 = 0;
/// `VIRTIO_BLK_T_OUT`.
const OUT: u32 = 1;
/// `VIRTIO_BLK_T_FLUSH`.
const FLUSH: u32 = 4;
/// `VIRTIO_BLK_T_GET_ID`.
const GET_ID: u32 = 8;
/// `VIRTIO_BLK_T_GET_LIFETIME`.
const GET_LIFETIME: u32 = 10;
/// `VIRTIO_BLK_T_DISCARD`.
const DISCARD: u32 = 11;
/// `VIRTIO_BLK_T_WRITE_ZEROES`.
const WRITE_ZEROES: u32 = 13;
/// `VIRTIO_BLK_T_SECURE_ERASE`.
const SECURE_ERASE: u32 = 14;

/// `unmap` among the flags of a range.
const UNMAP: u32 = 1;

/// `VIRTIO_BLK_S_OK`.
const OK: u8 = 0;
/// `VIRTIO_BLK_S_IOERR`.
const IOERR: u8 = 1;
/// `VIRTIO_BLK_S_UNSUPP`.
const UNSUPP: u8 = 2;
/// No status: what is there before the device writes one.
pub(crate) const NO_STATUS: u8 = 0xff;

/// What is to be done, and where. Aligned, so that it is copied by the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub(crate) struct RequestHeader {
    kind: U32,
    reserved: U32,
    sector: U64,
}

/// How long it is.
pub(crate) const HEADER_BYTES: u32 = 16;

const _: () = assert!(size_of::<RequestHeader>() == HEADER_BYTES as usize);
const _: () = assert!(offset_of!(RequestHeader, sector) == 8);
const _: () = assert!(ID_BYTES == 20 && LIFETIME_BYTES == 6);

impl RequestHeader {
    /// That of the part of `operation` that begins `sectors` further. `None`: no operation of this
    /// device.
    pub(crate) fn new(operation: Operation, sectors: u64) -> Option<Self> {
        let (kind, sector) = match operation {
            Operation::Read { sector } => (IN, sector.wrapping_add(sectors)),
            Operation::Write { sector } => (OUT, sector.wrapping_add(sectors)),
            // Spec: VIRTIO 1.2, 5.2.6.1: a flush has sector 0.
            Operation::Flush => (FLUSH, 0),
            Operation::Identify => (GET_ID, 0),
            Operation::Lifetime => (GET_LIFETIME, 0),
            // The place is in the range.
            Operation::Discard { .. } => (DISCARD, 0),
            Operation::WriteZeroes { .. } => (WRITE_ZEROES, 0),
            Operation::SecureErase { .. } => (SECURE_ERASE, 0),
            _ => return None,
        };
        Some(Self { kind: kind.into(), reserved: 0.into(), sector: sector.into() })
    }
}

/// A range of sectors.
///
/// Spec: VIRTIO 1.2, 5.2.6 "Device Operation", `struct virtio_blk_discard_write_zeroes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub(crate) struct RangeSegment {
    sector: U64,
    num_sectors: U32,
    flags: U32,
}

/// How long it is.
pub(crate) const RANGE_BYTES: u32 = 16;

const _: () = assert!(size_of::<RangeSegment>() == RANGE_BYTES as usize);
const _: () = assert!(offset_of!(RangeSegment, num_sectors) == 8);

impl RangeSegment {
    /// That of `range`, which may be given up if `unmap`. For anything but zeroes that is false.
    ///
    /// Spec: VIRTIO 1.2, 5.2.6.1: `unmap` is not set in the range of another request.
    pub(crate) fn new(range: SectorRange, unmap: bool) -> Self {
        let SectorRange { sector, sectors } = range;
        let flags = if unmap { UNMAP } else { 0 };
        Self { sector: sector.into(), num_sectors: sectors.into(), flags: flags.into() }
    }
}

/// How a request ended that was to write `expected_bytes` of data, says that it wrote
/// `written_bytes`, and gave `status`.
///
/// The length covers data and status. That a status was written is seen by itself, and there are
/// devices that do not count it; data that was not written is seen by the length alone.
pub(crate) fn judge(status: u8, written_bytes: u32, expected_bytes: u32) -> Result<(), RequestFault> {
    match status {
        OK if written_bytes < expected_bytes => Err(RequestFault::Short { written_bytes, expected_bytes }),
        OK => Ok(()),
        IOERR => Err(RequestFault::Io),
        UNSUPP => Err(RequestFault::Unsupported),
        status => Err(RequestFault::UnknownStatus { status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_sixteen_bytes_in_the_devices_order() {
        let header = RequestHeader::new(Operation::Write { sector: 0x0102_0304_0506 }, 2).unwrap();
        assert_eq!(header.as_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 8, 5, 4, 3, 2, 1, 0, 0]);
        let kind = |operation| RequestHeader::new(operation, 0).unwrap().as_bytes()[0];
        assert_eq!([kind(Operation::Read { sector: 0 }), kind(Operation::Flush)], [0, 4]);
        assert_eq!([kind(Operation::Identify), kind(Operation::Lifetime)], [8, 10]);
        let (sector, sectors) = (9, 1);
        let ranges = [
            Operation::Discard { sector, sectors },
            Operation::WriteZeroes { sector, sectors, may_unmap: true },
            Operation::SecureErase { sector, sectors },
        ];
        assert_eq!(ranges.map(kind), [11, 13, 14]);
        for range in ranges {
            assert_eq!(RequestHeader::new(range, 0).unwrap().sector.get(), 0, "the range has the place");
        }
    }

    #[test]
    fn a_range_is_sixteen_bytes_in_the_devices_order() {
        let range = SectorRange { sector: 0x0102_0304_0506, sectors: 0x0708_090a };
        let bytes = [6, 5, 4, 3, 2, 1, 0, 0, 10, 9, 8, 7, 0, 0, 0, 0];
        assert_eq!(RangeSegment::new(range, false).as_bytes(), bytes);
        assert_eq!(RangeSegment::new(range, true).as_bytes()[12..], [1, 0, 0, 0]);
    }

    #[test]
    fn each_status_is_one_end_and_no_other_value_is() {
        assert_eq!(judge(OK, 513, 512), Ok(()));
        assert_eq!(judge(OK, 512, 512), Ok(()), "a device that does not count the status");
        assert_eq!(judge(OK, 0, 0), Ok(()), "nor where it is all there is");
        let short = RequestFault::Short { written_bytes: 511, expected_bytes: 512 };
        assert_eq!(judge(OK, 511, 512), Err(short));
        assert_eq!(judge(IOERR, 1, 512), Err(RequestFault::Io));
        assert_eq!(judge(UNSUPP, 1, 0), Err(RequestFault::Unsupported));
        for status in 3..=NO_STATUS {
            assert_eq!(judge(status, 513, 512), Err(RequestFault::UnknownStatus { status }));
        }
    }
}

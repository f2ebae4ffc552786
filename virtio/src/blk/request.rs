//! A request as the device sees it, and how its end is judged.
//!
//! ```text
//!  header (16, the device reads) | data (it reads or writes) | status (1, it writes)
//! ```
//!
//! Spec: VIRTIO 1.2, 5.2.6 "Device Operation".

use core::mem::offset_of;

use paravane_block::{ID_BYTES, Operation, RequestFault};
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
const _: () = assert!(ID_BYTES == 20);

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
            _ => return None,
        };
        Some(Self { kind: kind.into(), reserved: 0.into(), sector: sector.into() })
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
        assert_eq!(kind(Operation::Identify), 8);
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

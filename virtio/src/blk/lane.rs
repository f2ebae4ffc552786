//! The way of parts to the device: each a chain of header, data and status.

use paravane_block::{Operation, Part, PartSegment, Parts, Piece, RangeParts, SECTOR_BYTES};
use paravane_hal::Platform;
use paravane_hal::dma::Direction;

use crate::blk::config::{EXTRA_SEGMENTS, LEAST_SEGMENTS};
use crate::blk::places::Places;
use crate::blk::request::{HEADER_BYTES, RANGE_BYTES, RangeSegment, RequestHeader};
use crate::device::Queue;
use crate::queue::tokens::Tokens;
use crate::ring::Segment;

/// A sector's length, as wide as a request's.
const SECTOR: u64 = SECTOR_BYTES as u64;

/// The ring under a request queue.
pub(crate) type BlkRing<P> = Queue<Tokens<Ticket>, P>;

/// What is known of a part that the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The number of its request.
    pub(super) request: u16,
    /// The descriptor that its chain begins with.
    pub(super) head: u16,
    /// How much data the device is to write.
    pub(super) expected_bytes: u32,
}

/// The way of parts to the device.
pub(super) struct Lane<P: Platform> {
    pub(super) ring: BlkRing<P>,
    pub(super) places: Places<P>,
}

impl<P: Platform> Lane<P> {
    /// Posts a part of `operation`, which is that of request `number`. False when there is no room.
    #[inline(always)]
    pub(super) fn post<D: Piece>(
        &mut self,
        number: u16,
        operation: Operation,
        Part { offset_bytes, bytes, count, segments }: Part<'_, D>,
    ) -> bool {
        let sectors = offset_bytes / SECTOR;
        let Some(request) = RequestHeader::new(operation, sectors) else { return false };
        let head = self.ring.next_head();
        let Some(place) = self.places.write(head, &request) else { return false };
        let writable = operation.direction() == Some(Direction::FromDevice);
        let expected_bytes = if writable { bytes } else { 0 };
        let ticket = Ticket { request: number, head, expected_bytes };
        let header = Segment { addr: place.header, len_bytes: HEADER_BYTES, writable: false };
        let status = Segment { addr: place.status, len_bytes: 1, writable: true };
        let data = segments.map(|PartSegment { addr, len_bytes }| Segment { addr, len_bytes, writable });
        let count = usize::from(EXTRA_SEGMENTS).wrapping_add(count.into());
        self.ring.submit(count, header, data, status, ticket).is_ok()
    }

    /// Posts the `parts` that `rest` is cut into.
    #[cold]
    pub(super) fn post_all<D: Piece>(
        &mut self,
        number: u16,
        operation: Operation,
        mut rest: Parts<'_, D>,
        parts: u16,
    ) {
        let mut posted = 0_u16;
        while let Ok(Some(part)) = rest.cut() {
            if !self.post(number, operation, part) {
                break;
            }
            posted = posted.saturating_add(1);
        }
        debug_assert!(posted == parts, "there was room for all parts");
    }

    /// Posts `ranges`, each a part of `operation`, which is that of request `number`. They may be
    /// given up if `unmap`.
    #[cold]
    pub(super) fn post_ranges(&mut self, number: u16, operation: Operation, ranges: RangeParts, unmap: bool) {
        for range in ranges {
            let posted = self.post_range(number, operation, &RangeSegment::new(range, unmap));
            debug_assert!(posted.is_some(), "there was room for all ranges");
        }
    }

    fn post_range(&mut self, number: u16, operation: Operation, range: &RangeSegment) -> Option<()> {
        let head = self.ring.next_head();
        let place = self.places.write(head, &RequestHeader::new(operation, 0)?)?;
        let addr = self.places.write_range(head, range)?;
        let ticket = Ticket { request: number, head, expected_bytes: 0 };
        let header = Segment { addr: place.header, len_bytes: HEADER_BYTES, writable: false };
        let data = Segment { addr, len_bytes: RANGE_BYTES, writable: false };
        let status = Segment { addr: place.status, len_bytes: 1, writable: true };
        self.ring.submit(LEAST_SEGMENTS.into(), header, [data], status, ticket).ok()
    }
}

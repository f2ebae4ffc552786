//! Where the headers and statuses of the parts lie that the device has: each has the *place* of its
//! chain's head, sixteen bytes for its header, as many for a range if it is about one, and one for
//! its status, in memory that was there before.

use alloc::vec::Vec;

use paravane_hal::Platform;
use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::dma::{DeviceDma, DmaBox, DmaError, DmaErrorReason, Quiet};

use crate::blk::request::{NO_STATUS, RangeSegment, RequestHeader};
use crate::ring::QueueSize;

/// The places of a queue.
pub(crate) struct Places<P: Platform> {
    headers: DmaBox<RequestHeader, P>,
    ranges: DmaBox<RangeSegment, P>,
    statuses: DmaBox<u8, P>,
}

/// Where the device finds what is at one of them.
pub(super) struct Place {
    /// The header's address,
    pub(super) header: DmaAddr,
    /// and the status's.
    pub(super) status: DmaAddr,
}

impl<P: Platform> Places<P> {
    /// One for each descriptor of a ring of `size`, any of which may head a chain.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<P>, size: QueueSize) -> Result<Self, DmaError> {
        let count = size.entries().into();
        Ok(Self {
            headers: DmaBox::array_zeroed(of, count, Align::new(16))?,
            ranges: DmaBox::array_zeroed(of, count, Align::new(16))?,
            statuses: DmaBox::array_zeroed(of, count, Align::BYTE)?,
        })
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: it is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.headers.free(quiet).is_ok() & self.ranges.free(quiet).is_ok() & self.statuses.free(quiet).is_ok()
    }

    /// Writes `header` at the place of the descriptor `head`, which is free. `None`: there is no
    /// such one.
    #[inline(always)]
    pub(super) fn write(&mut self, head: u16, header: &RequestHeader) -> Option<Place> {
        let index = usize::from(head);
        let place =
            Place { header: self.headers.dma_addr_of(index)?, status: self.statuses.dma_addr_of(index)? };
        let is_written = self.headers.write_at(index, header) && self.statuses.write_at(index, &NO_STATUS);
        is_written.then_some(place)
    }

    /// Writes `range` at the place of `head`. Where the device finds it.
    pub(super) fn write_range(&mut self, head: u16, range: &RangeSegment) -> Option<DmaAddr> {
        let index = usize::from(head);
        let addr = self.ranges.dma_addr_of(index)?;
        self.ranges.write_at(index, range).then_some(addr)
    }

    /// What the device left as status of the chain of `head`, which it has let go of.
    #[inline]
    pub(super) fn status(&self, head: u16) -> u8 {
        self.statuses.read_at(head.into()).unwrap_or(NO_STATUS)
    }
}

/// An empty vector with room for `count`.
pub(crate) fn vec_of<T>(count: usize) -> Result<Vec<T>, DmaError> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count)
        .map_err(|_| DmaError::new(count.saturating_mul(size_of::<T>()), DmaErrorReason::OutOfMemory))?;
    Ok(vec)
}

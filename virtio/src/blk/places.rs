//! Where the headers and statuses of the parts lie that the device has: each takes one *place*,
//! sixteen bytes for its header, as many for a range if it is about one, and one for its status, in
//! memory that was there before.

use alloc::vec::Vec;

use paravane_hal::Platform;
use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::dma::{DeviceDma, DmaBox, DmaError, DmaErrorReason, Quiet};

use crate::blk::request::{NO_STATUS, RangeSegment, RequestHeader};

/// The places of a queue.
pub(crate) struct Places<P: Platform> {
    headers: DmaBox<RequestHeader, P>,
    ranges: DmaBox<RangeSegment, P>,
    statuses: DmaBox<u8, P>,
    free: Vec<u16>,
    count: u16,
}

/// One of them, and where the device finds what is there.
pub(super) struct Place {
    /// Its number.
    pub(super) number: u16,
    /// The header's address,
    pub(super) header: DmaAddr,
    /// and the status's.
    pub(super) status: DmaAddr,
}

impl<P: Platform> Places<P> {
    /// So many.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<P>, count: u16) -> Result<Self, DmaError> {
        let mut free = vec_of(count.into())?;
        free.extend((0..count).rev());
        Ok(Self {
            headers: DmaBox::array_zeroed(of, count.into(), Align::new(16))?,
            ranges: DmaBox::array_zeroed(of, count.into(), Align::new(16))?,
            statuses: DmaBox::array_zeroed(of, count.into(), Align::BYTE)?,
            free,
            count,
        })
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: it is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.headers.free(quiet).is_ok() & self.ranges.free(quiet).is_ok() & self.statuses.free(quiet).is_ok()
    }

    /// Takes all of them back from the device.
    pub(super) fn renew(&mut self) {
        self.free.clear();
        // There is room for all of them.
        self.free.extend((0..self.count).rev());
    }

    /// How many there are.
    #[inline]
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// How many are free.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// Takes a place, and writes `header` there. `None`: there is none.
    #[inline(always)]
    pub(super) fn take(&mut self, header: &RequestHeader) -> Option<Place> {
        let number = self.free.pop()?;
        let index = usize::from(number);
        let place = Place {
            number,
            header: self.headers.dma_addr_of(index)?,
            status: self.statuses.dma_addr_of(index)?,
        };
        let is_written = self.headers.write_at(index, header) && self.statuses.write_at(index, &NO_STATUS);
        is_written.then_some(place)
    }

    /// Writes `range` at a place that was taken. Where the device finds it.
    pub(super) fn write_range(&mut self, place: u16, range: &RangeSegment) -> Option<DmaAddr> {
        let index = usize::from(place);
        let addr = self.ranges.dma_addr_of(index)?;
        self.ranges.write_at(index, range).then_some(addr)
    }

    /// Gives a place back that the device has let go of. What it left there as status.
    #[inline]
    pub(super) fn give_back(&mut self, place: u16) -> u8 {
        // There are no more places than were taken.
        self.free.push(place);
        self.statuses.read_at(place.into()).unwrap_or(NO_STATUS)
    }
}

/// An empty vector with room for `count`.
pub(crate) fn vec_of<T>(count: usize) -> Result<Vec<T>, DmaError> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count)
        .map_err(|_| DmaError::new(count.saturating_mul(size_of::<T>()), DmaErrorReason::OutOfMemory))?;
    Ok(vec)
}

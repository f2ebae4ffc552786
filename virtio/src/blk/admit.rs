//! Requests that are not one part of data: longer ones, flushes, ranges of sectors.

use paravane_block::{
    Completion, Data, Operation, Part, Parts, Piece, RangeParts, Request, SectorRange, SubmitError,
    TooFragmented, Transfer,
};
use paravane_hal::{Failed, Platform};

use crate::blk::config::{EXTRA_SEGMENTS, LEAST_SEGMENTS};
use crate::blk::queue::{RequestQueue, count, pieces};

/// How many there are, and how many descriptors they take, each as `descriptors_of` its segments
/// says.
#[cold]
fn measure<D: Piece>(
    mut parts: Parts<'_, D>,
    descriptors_of: impl Fn(usize) -> usize,
) -> Result<(usize, usize), TooFragmented> {
    let (mut count, mut descriptors) = (0_usize, 0_usize);
    while let Some(part) = parts.cut()? {
        count = count.saturating_add(1);
        let segments = EXTRA_SEGMENTS.saturating_add(part.count);
        descriptors = descriptors.saturating_add(descriptors_of(segments.into()));
    }
    Ok((count, descriptors))
}

/// What a request takes of the queue that is not one part of data.
enum Need {
    /// Nothing: it is done already.
    Nothing,
    /// One part without data.
    One(Transfer),
    /// So many parts of its data.
    Parts(Transfer, u16),
    /// So many ranges.
    Ranges(RangeParts, u16),
}

impl<P: Platform, B: Data> RequestQueue<P, B> {
    /// What `request` takes that moves `transfer`, if there is room for it.
    fn admit(&self, request: &Request<B>, transfer: Transfer) -> Result<Need, SubmitError> {
        if transfer.direction.is_none() {
            return self.admit_without_data(request.operation, transfer);
        }
        let limits = self.rules.info.limits;
        let fragmented = |_| SubmitError::TooFragmented { max_segments: limits.max_segments };
        let parts = Parts::new(pieces(request), transfer, limits);
        let (parts, descriptors) =
            measure(parts, |segments| self.lane.ring.descriptors_of(segments)).map_err(fragmented)?;
        self.check_room(parts, descriptors).map(|parts| Need::Parts(transfer, parts))
    }

    /// The same of a flush, or of a range of sectors.
    fn admit_without_data(&self, operation: Operation, transfer: Transfer) -> Result<Need, SubmitError> {
        let range = operation.range().zip(self.rules.info.range_limits(operation));
        let Some((SectorRange { sector, sectors }, limits)) = range else {
            if self.rules.info.write_cache {
                let descriptors = self.lane.ring.descriptors_of(EXTRA_SEGMENTS.into());
                return self.check_room(1, descriptors).map(|_| Need::One(transfer));
            }
            let has_room = self.done.len() < self.lane.ring.size().entries().into();
            return if has_room { Ok(Need::Nothing) } else { Err(SubmitError::Full) };
        };
        let ranges = RangeParts::new(sector, sectors.into(), limits);
        // More than the ring has entries are too many, however many they are.
        let most = usize::from(self.lane.ring.size().entries());
        let parts = ranges.count_up_to(most).unwrap_or(usize::MAX);
        let descriptors = self.lane.ring.descriptors_of(LEAST_SEGMENTS.into());
        let parts = self.check_room(parts, parts.saturating_mul(descriptors))?;
        Ok(Need::Ranges(ranges, parts))
    }

    /// Takes a request that moves `transfer`, which is not one part of data.
    #[cold]
    #[inline(never)]
    pub(super) fn submit_other(
        &mut self,
        request: Request<B>,
        transfer: Transfer,
    ) -> Result<(), Failed<SubmitError, Request<B>>> {
        let need = match self.admit(&request, transfer) {
            Ok(need) => need,
            Err(error) => return Err(self.refuse(error, request)),
        };
        let parts = match need {
            Need::Nothing => {
                // There is room.
                self.done.push_back(Completion { request, result: Ok(()) });
                count(&mut self.counters.requests);
                return Ok(());
            }
            Need::One(_) => 1,
            Need::Parts(_, parts) | Need::Ranges(_, parts) => parts,
        };
        let (number, request) = match self.in_flight.insert(request, parts) {
            Ok(inserted) => inserted,
            Err(request) => return Err(self.refuse(SubmitError::Full, request)),
        };
        let limits = self.rules.info.limits;
        match need {
            Need::One(transfer) => {
                let part = Part::whole(pieces(request), transfer, limits);
                let posted = self.lane.post(number, request.operation, part);
                debug_assert!(posted, "there was room for it");
            }
            Need::Parts(transfer, parts) => {
                let rest = Parts::new(pieces(request), transfer, limits);
                self.lane.post_all(number, request.operation, rest, parts);
            }
            Need::Ranges(ranges, _) => {
                let unmap = self.rules.info.unmaps(request.operation);
                self.lane.post_ranges(number, request.operation, ranges, unmap);
            }
            Need::Nothing => {}
        }
        self.took(parts, transfer);
        Ok(())
    }
}

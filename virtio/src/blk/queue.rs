//! The life of a request.
//!
//! ```text
//!  submit:   rules -> cut into parts -> describe
//!  publish:  (the device works)
//!  poll:     observe -> judge -> completion
//! ```
//!
//! Each part that the device has takes one of the [`places`](super::places). The request with its
//! data waits in a table that leaks on drop, for the device may write there.

use alloc::collections::VecDeque;

use paravane_block::{
    Completion, Data, DiskInfo, InFlight, Operation, Part, Parts, Piece, QueueCounters, RangeParts, Request,
    RequestFault, Rules, SectorRange, SubmitError, TooFragmented, Transfer,
};
use paravane_hal::dma::{DeviceTag, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::{Failed, Platform};

use crate::blk::config::{EXTRA_SEGMENTS, LEAST_SEGMENTS};
use crate::blk::device::QueueMemory;
use crate::blk::lane::{BlkRing, Lane};
use crate::blk::places::{Places, vec_of};
use crate::blk::request::judge;
use crate::queue::Kick;

/// Ring and places that no queue has.
type Unused<P> = (BlkRing<P>, Places<P>);

/// The request queue of a running device. Its requests carry `B`.
pub struct RequestQueue<P: Platform, B: Data> {
    lane: Lane<P>,
    in_flight: InFlight<B>,
    rules: Rules,
    /// Done without the device: flushes of a disk that has nothing to flush.
    done: VecDeque<Completion<B>>,
    /// Something was submitted that the device was not told of.
    submitted: bool,
    counters: QueueCounters,
}

/// How many there are, and how many descriptors they take.
#[cold]
fn measure<D: Piece>(mut parts: Parts<'_, D>) -> Result<(usize, usize), TooFragmented> {
    let (mut count, mut descriptors) = (0_usize, 0_usize);
    while let Some(part) = parts.cut()? {
        count = count.saturating_add(1);
        descriptors = descriptors.saturating_add(EXTRA_SEGMENTS.into()).saturating_add(part.count.into());
    }
    Ok((count, descriptors))
}

/// What a request takes of the queue.
enum Need {
    /// Nothing: it is done already.
    Nothing,
    /// One part.
    One(Transfer),
    /// So many parts of its data.
    Parts(Transfer, u16),
    /// So many ranges.
    Ranges(RangeParts, u16),
}

impl<P: Platform, B: Data> RequestQueue<P, B> {
    /// Requests that keep `rules`, on top of `ring`. There is nothing in it yet.
    ///
    /// # Errors
    ///
    /// [`DmaError`], and what was given.
    #[expect(clippy::result_large_err, reason = "what was given comes back by value, once a start")]
    pub(crate) fn new(
        ring: BlkRing<P>,
        places: Places<P>,
        rules: Rules,
    ) -> Result<Self, Failed<DmaError, Unused<P>>> {
        let tables = || {
            let done = VecDeque::from(vec_of(places.count().into())?);
            Ok((InFlight::new(places.count(), ring.device())?, done))
        };
        match tables() {
            Ok((in_flight, done)) => {
                let lane = Lane { ring, places };
                Ok(Self {
                    lane,
                    in_flight,
                    rules,
                    done,
                    submitted: false,
                    counters: QueueCounters::default(),
                })
            }
            Err(error) => Err(Failed::new(error, (ring, places))),
        }
    }

    /// Frees its memory, and gives every request to `unfinished` that did not come out, against
    /// proof that the device has let go. False when the proof is about another device: all is
    /// leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>, unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>)) -> bool {
        let Lane { ring, places, .. } = self.lane;
        let freed = ring.free(quiet) & places.free(quiet);
        let given_back = self.in_flight.give_back(quiet, unfinished).is_ok();
        for Completion { request, .. } in self.done {
            unfinished(request, quiet);
        }
        freed & given_back
    }

    /// Ring and places of one that the device has nothing of.
    pub(crate) fn into_memory(self) -> QueueMemory<P> {
        let Lane { ring, places } = self.lane;
        (Some(ring), Some(places))
    }

    /// Whose it is.
    pub(crate) fn device(&self) -> DeviceTag {
        self.lane.ring.device()
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.lane.ring.fail(fault);
    }

    /// What `request` takes, if it keeps the rules and there is room for it.
    #[inline(always)]
    fn admit(&self, request: &Request<B>) -> Result<Need, SubmitError> {
        self.lane.ring.check()?;
        let transfer = self.rules.check(request)?;
        if transfer.direction.is_none() {
            return self.admit_without_data(request.operation, transfer);
        }
        let limits = self.rules.info.limits;
        if limits.take(transfer) {
            let descriptors = usize::from(EXTRA_SEGMENTS).saturating_add(transfer.segments);
            return self.check_room(1, descriptors).map(|_| Need::One(transfer));
        }
        let fragmented = |_| SubmitError::TooFragmented { max_segments: limits.max_segments };
        let parts = Parts::new(pieces(request), transfer, limits);
        let (parts, descriptors) = measure(parts).map_err(fragmented)?;
        self.check_room(parts, descriptors).map(|parts| Need::Parts(transfer, parts))
    }

    /// The same of a flush, or of a range of sectors.
    #[cold]
    fn admit_without_data(&self, operation: Operation, transfer: Transfer) -> Result<Need, SubmitError> {
        let range = operation.range().zip(self.rules.info.range_limits(operation));
        let Some((SectorRange { sector, sectors }, limits)) = range else {
            if self.rules.info.write_cache {
                return self.check_room(1, EXTRA_SEGMENTS.into()).map(|_| Need::One(transfer));
            }
            let has_room = self.done.len() < self.lane.places.count().into();
            return if has_room { Ok(Need::Nothing) } else { Err(SubmitError::Full) };
        };
        let ranges = RangeParts::new(sector, sectors.into(), limits);
        // More than there are places are too many, however many they are.
        let most = usize::from(self.lane.places.count());
        let parts = ranges.count_up_to(most).unwrap_or(usize::MAX);
        let parts = self.check_room(parts, parts.saturating_mul(LEAST_SEGMENTS.into()))?;
        Ok(Need::Ranges(ranges, parts))
    }

    /// That there is room for so many parts. How many they are.
    #[inline(always)]
    fn check_room(&self, parts: usize, descriptors: usize) -> Result<u16, SubmitError> {
        let has_room = self.in_flight.room() > 0
            && parts <= self.lane.places.room()
            && descriptors <= usize::from(self.lane.ring.room());
        if !has_room {
            return Err(self.no_room(parts, descriptors));
        }
        // Fewer than the queue has entries.
        Ok(u16::try_from(parts).unwrap_or(u16::MAX))
    }

    /// Why there is none for so many.
    #[cold]
    fn no_room(&self, parts: usize, descriptors: usize) -> SubmitError {
        let entries = usize::from(self.lane.ring.size().entries());
        if parts > usize::from(self.lane.places.count()) || descriptors > entries {
            SubmitError::TooLong { segments: descriptors, max_segments: entries }
        } else {
            SubmitError::Full
        }
    }

    /// Gives `request` back.
    #[cold]
    fn refuse(&mut self, error: SubmitError, request: Request<B>) -> Failed<SubmitError, Request<B>> {
        count(match error {
            SubmitError::Full => &mut self.counters.full,
            _ => &mut self.counters.refused,
        });
        Failed::new(error, request)
    }

    /// Takes what the device is done with until a request is complete.
    fn take_done(&mut self) -> Result<Option<Completion<B>>, DeviceFault> {
        // Ends: each turn takes a part out of those in flight.
        while let Some((ticket, written_bytes)) = self.lane.ring.complete()? {
            let status = self.lane.places.give_back(ticket.place);
            let end = judge(status, written_bytes, ticket.expected_bytes);
            if let Err(RequestFault::UnknownStatus { status }) = end {
                let what = "status of a block request";
                self.lane.ring.fail(DeviceFault::UnknownKind { what, value: status.into() });
            }
            if let Some(completion) = self.in_flight.finish(ticket.request, end) {
                return Ok(Some(completion));
            }
        }
        Ok(None)
    }
}

/// The pieces of its data; none where it has no data.
#[inline(always)]
fn pieces<B: Data>(request: &Request<B>) -> &[B::Piece] {
    request.data.as_ref().map_or(&[], Data::pieces)
}

fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

impl<P: Platform, B: Data> paravane_block::RequestQueue<B> for RequestQueue<P, B> {
    fn info(&self) -> &DiskInfo {
        &self.rules.info
    }

    fn capacity_sectors(&self) -> u64 {
        self.rules.capacity.sectors()
    }

    fn submit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
        let need = match self.admit(&request) {
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
                self.counters.bytes = self.counters.bytes.wrapping_add(transfer.bytes);
            }
            Need::Parts(transfer, parts) => {
                let rest = Parts::new(pieces(request), transfer, limits);
                self.lane.post_all(number, request.operation, rest, parts);
                self.counters.bytes = self.counters.bytes.wrapping_add(transfer.bytes);
            }
            Need::Ranges(ranges, _) => {
                let unmap = self.rules.info.unmaps(request.operation);
                self.lane.post_ranges(number, request.operation, ranges, unmap);
            }
            Need::Nothing => {}
        }
        self.submitted = true;
        count(&mut self.counters.requests);
        self.counters.parts = self.counters.parts.wrapping_add(parts.into());
        Ok(())
    }

    #[inline]
    fn publish(&mut self) {
        if !self.submitted || self.lane.ring.check().is_err() {
            return;
        }
        self.submitted = false;
        match self.lane.ring.publish() {
            Kick::Nothing => {}
            Kick::Rung => count(&mut self.counters.doorbells),
            Kick::Saved => count(&mut self.counters.doorbells_saved),
        }
    }

    fn poll(&mut self) -> Result<Option<Completion<B>>, DeviceFault> {
        self.publish();
        let completion = match self.done.pop_front() {
            None => self.take_done()?,
            done => done,
        };
        if let Some(completion) = &completion {
            count(match completion.result {
                Ok(()) => &mut self.counters.completed,
                Err(_) => &mut self.counters.failed,
            });
        }
        Ok(completion)
    }

    fn remind(&mut self) {
        self.publish();
        if self.lane.ring.check().is_ok() && self.lane.ring.remind() {
            count(&mut self.counters.doorbells);
        }
    }

    fn room(&self) -> usize {
        // Header, one segment, status.
        let chains = self.lane.ring.room() / LEAST_SEGMENTS;
        self.in_flight.room().min(self.lane.places.room()).min(chains.into())
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len().saturating_add(self.done.len())
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.publish();
        if !self.done.is_empty() {
            return Ok(Armed::Pending);
        }
        self.lane.ring.arm(1)
    }

    fn disarm(&mut self) {
        self.lane.ring.disarm();
    }

    fn counters(&self) -> QueueCounters {
        self.counters
    }
}

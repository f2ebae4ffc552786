//! The life of a request.
//!
//! ```text
//!  submit:   rules -> cut into parts -> describe
//!  publish:  (the device works)
//!  poll:     observe -> judge -> completion
//! ```
//!
//! Each part that the device has keeps its header and status at its [place](super::places). The
//! request with its data waits in a table that leaks on drop, for the device may write there.

use alloc::collections::VecDeque;

use paravane_block::{
    Completion, Data, DiskInfo, InFlight, Part, QueueCounters, Request, RequestFault, Rules, SubmitError,
    Transfer,
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
    pub(super) lane: Lane<P>,
    pub(super) in_flight: InFlight<B>,
    pub(super) rules: Rules,
    /// Done without the device: flushes of a disk that has nothing to flush.
    pub(super) done: VecDeque<Completion<B>>,
    /// Something was submitted that the device was not told of.
    submitted: bool,
    pub(super) counters: QueueCounters,
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
            // No more requests than descriptors.
            let requests = ring.size().entries();
            Ok((InFlight::new(requests, ring.device())?, VecDeque::from(vec_of(requests.into())?)))
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

    /// The ring, to be started again.
    pub(crate) fn ring_mut(&mut self) -> &mut BlkRing<P> {
        &mut self.lane.ring
    }

    /// Gives every request to `unfinished` that the device had: it gave them all up.
    pub(crate) fn renew(&mut self, unfinished: &mut dyn FnMut(Request<B>)) {
        self.counters.failed = self.counters.failed.wrapping_add(self.in_flight.len() as u64);
        self.in_flight.take_all(unfinished);
        self.submitted = false;
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

    /// What `request` moves, if it keeps the rules.
    #[inline(always)]
    fn check(&self, request: &Request<B>) -> Result<Transfer, SubmitError> {
        self.lane.ring.check()?;
        self.rules.check(request)
    }

    /// Whether that is one part of data, as most are.
    #[inline(always)]
    fn is_one(&self, transfer: Transfer) -> bool {
        transfer.direction.is_some() && self.rules.info.limits.take(transfer)
    }

    /// That there is room for so many parts. How many they are.
    #[inline(always)]
    pub(super) fn check_room(&self, parts: usize, descriptors: usize) -> Result<u16, SubmitError> {
        let has_room = self.in_flight.room() > 0 && descriptors <= usize::from(self.lane.ring.room());
        if !has_room {
            return Err(self.no_room(descriptors));
        }
        // Fewer than the queue has entries.
        Ok(u16::try_from(parts).unwrap_or(u16::MAX))
    }

    /// The same of a part of so many segments, which may be in a table: where the ring has room for
    /// each of them nobody has to ask.
    #[cold]
    fn check_table_room(&self, segments: usize) -> Result<u16, SubmitError> {
        self.check_room(1, self.lane.ring.descriptors_of(segments))
    }

    /// Why there is none for so many.
    #[cold]
    fn no_room(&self, descriptors: usize) -> SubmitError {
        let entries = usize::from(self.lane.ring.size().entries());
        if descriptors > entries {
            SubmitError::TooLong { segments: descriptors, max_segments: entries }
        } else {
            SubmitError::Full
        }
    }

    /// Gives `request` back.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        error: SubmitError,
        request: Request<B>,
    ) -> Failed<SubmitError, Request<B>> {
        count(match error {
            SubmitError::Full => &mut self.counters.full,
            _ => &mut self.counters.refused,
        });
        Failed::new(error, request)
    }

    /// Notes a request of so many parts.
    #[inline(always)]
    pub(super) fn took(&mut self, parts: u16, transfer: Transfer) {
        self.submitted = true;
        count(&mut self.counters.requests);
        self.counters.bytes = self.counters.bytes.wrapping_add(transfer.bytes);
        self.counters.parts = self.counters.parts.wrapping_add(parts.into());
    }

    /// Takes what the device is done with until a request is complete.
    fn take_done(&mut self) -> Result<Option<Completion<B>>, DeviceFault> {
        // Ends: each turn takes a part out of those in flight.
        while let Some((ticket, written_bytes)) = self.lane.ring.complete()? {
            let status = self.lane.places.status(ticket.head);
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
pub(super) fn pieces<B: Data>(request: &Request<B>) -> &[B::Piece] {
    request.data.as_ref().map_or(&[], Data::pieces)
}

pub(super) fn count(counter: &mut u64) {
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
        let transfer = match self.check(&request) {
            Ok(transfer) => transfer,
            Err(error) => return Err(self.refuse(error, request)),
        };
        if !self.is_one(transfer) {
            return self.submit_other(request, transfer);
        }
        let segments = usize::from(EXTRA_SEGMENTS).saturating_add(transfer.segments);
        let room = self.check_room(1, segments).or_else(|_| self.check_table_room(segments));
        let (number, request) = match room {
            Ok(parts) => match self.in_flight.insert(request, parts) {
                Ok(inserted) => inserted,
                Err(request) => return Err(self.refuse(SubmitError::Full, request)),
            },
            Err(error) => return Err(self.refuse(error, request)),
        };
        let part = Part::whole(pieces(request), transfer, self.rules.info.limits);
        let posted = self.lane.post(number, request.operation, part);
        debug_assert!(posted, "there was room for it");
        self.took(1, transfer);
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
        let least = self.lane.ring.descriptors_of(LEAST_SEGMENTS.into());
        let chains = usize::from(self.lane.ring.room()).checked_div(least).unwrap_or(0);
        self.in_flight.room().min(chains)
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

//! The life of a request.
//!
//! ```text
//!  submit:   rules -> cut into parts -> describe
//!  publish:  (the device works)
//!  poll:     observe -> judge -> completion
//! ```
//!
//! Each part that the device has takes one *place*: sixteen bytes for its header and one for its
//! status, in memory that was there before. The request with its data waits in a table that leaks
//! on drop, for the device may write there.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use paravane_block::{
    Completion, Data, InFlight, Operation, Part, PartSegment, Parts, QueueCounters, Request, RequestFault,
    Rules, SECTOR_BYTES, SubmitError, TooFragmented, Transfer,
};
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DeviceTag, Direction, DmaBox, DmaError, DmaErrorReason, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::{Failed, Platform};

use crate::blk::config::{EXTRA_SEGMENTS, LEAST_SEGMENTS};
use crate::blk::request::{HEADER_BYTES, NO_STATUS, RequestHeader, judge};
use crate::device::Queue;
use crate::queue::Kick;
use crate::queue::tokens::Tokens;
use crate::ring::{QueueSize, Segment};

/// The ring under a request queue.
pub(crate) type BlkRing<P> = Queue<Tokens<Ticket>, P>;

/// Ring and places that no queue has.
type Unused<P> = (BlkRing<P>, Places<P>);

/// What is known of a part that the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The number of its request.
    request: u16,
    /// Its place.
    place: u16,
    /// How much data the device is to write.
    expected_bytes: u32,
}

/// Headers and statuses of the parts that the device has.
pub(crate) struct Places<P: Platform> {
    headers: DmaBox<RequestHeader, P>,
    statuses: DmaBox<u8, P>,
    free: Vec<u16>,
    count: u16,
}

impl<P: Platform> Places<P> {
    /// As many as a queue of `size` can have in flight.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<P>, size: QueueSize) -> Result<Self, DmaError> {
        let count = size.entries() / EXTRA_SEGMENTS;
        let mut free = vec_of(count.into())?;
        free.extend((0..count).rev());
        Ok(Self {
            headers: DmaBox::array_zeroed(of, count.into(), Align::new(16))?,
            statuses: DmaBox::array_zeroed(of, count.into(), Align::BYTE)?,
            free,
            count,
        })
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: it is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.headers.free(quiet).is_ok() & self.statuses.free(quiet).is_ok()
    }

    /// Takes a place, writes `header` there, and gives the first and the last segment of its chain.
    #[inline]
    fn take(&mut self, header: &RequestHeader) -> Option<(u16, Segment, Segment)> {
        let place = *self.free.last()?;
        let index = usize::from(place);
        if !self.headers.write_at(index, header) || !self.statuses.write_at(index, &NO_STATUS) {
            return None;
        }
        let head =
            Segment { addr: self.headers.dma_addr_of(index)?, len_bytes: HEADER_BYTES, writable: false };
        let status = Segment { addr: self.statuses.dma_addr_of(index)?, len_bytes: 1, writable: true };
        self.free.pop();
        Some((place, head, status))
    }

    /// Gives a place back that the device has let go of. What it left there as status.
    #[inline]
    fn give_back(&mut self, place: u16) -> u8 {
        // There are no more places than were taken.
        self.free.push(place);
        self.statuses.read_at(place.into()).unwrap_or(NO_STATUS)
    }
}

/// An empty vector with room for `count`.
fn vec_of<T>(count: usize) -> Result<Vec<T>, DmaError> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count)
        .map_err(|_| DmaError::new(count.saturating_mul(size_of::<T>()), DmaErrorReason::OutOfMemory))?;
    Ok(vec)
}

/// The way of parts to the device.
struct Lane<P: Platform> {
    ring: BlkRing<P>,
    places: Places<P>,
    /// Of the part that is being posted; there is room for as many as a part can have.
    segments: Vec<PartSegment>,
}

impl<P: Platform> Lane<P> {
    /// Posts `part` of `operation`, which is that of request `number`; its segments are at hand.
    /// `None` when there is no room.
    #[inline]
    fn post(&mut self, number: u16, operation: Operation, part: Part) -> Option<()> {
        let sectors = part.offset_bytes / SECTOR;
        let (place, head, status) = self.places.take(&RequestHeader::new(operation, sectors)?)?;
        let writable = operation.direction() == Some(Direction::FromDevice);
        let data = |&PartSegment { addr, len_bytes }| Segment { addr, len_bytes, writable };
        let expected_bytes = if writable { part.bytes } else { 0 };
        let ticket = Ticket { request: number, place, expected_bytes };
        self.ring.submit(head, self.segments.iter().map(data), status, ticket).ok()
    }
}

/// The request queue of a running device. Its requests carry `B`.
pub struct RequestQueue<P: Platform, B: Data> {
    lane: Lane<P>,
    in_flight: InFlight<B>,
    rules: Rules,
    /// Done without the device: flushes of a disk that has nothing to flush.
    done: VecDeque<Completion<B>>,
    counters: QueueCounters,
}

/// What a request takes of the queue.
struct Need {
    parts: usize,
    descriptors: usize,
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
        let max_segments = usize::from(rules.info.limits.max_segments);
        let tables = || {
            let done = VecDeque::from(vec_of(places.count.into())?);
            Ok((InFlight::new(places.count, ring.device())?, vec_of(max_segments)?, done))
        };
        match tables() {
            Ok((in_flight, segments, done)) => {
                let lane = Lane { ring, places, segments };
                Ok(Self { lane, in_flight, rules, done, counters: QueueCounters::default() })
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

    /// Whose it is.
    pub(crate) fn device(&self) -> DeviceTag {
        self.lane.ring.device()
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.lane.ring.fail(fault);
    }

    /// Cuts `request`, whose first part stays in `segments`, and sees whether there is room for it.
    #[inline]
    fn measure(&mut self, request: &Request<B>, transfer: Transfer) -> Result<Need, SubmitError> {
        let limits = self.rules.info.limits;
        let fragmented = |_: TooFragmented| SubmitError::TooFragmented { max_segments: limits.max_segments };
        let extra = usize::from(EXTRA_SEGMENTS);
        let mut need = Need { parts: 1, descriptors: extra };
        self.lane.segments.clear();
        if let Some(data) = &request.data {
            let mut parts = Parts::new(data.pieces(), limits, transfer.granule_bytes);
            let first = parts.next(&mut self.lane.segments).map_err(fragmented)?;
            need.descriptors = extra.saturating_add(self.lane.segments.len());
            if first.is_some_and(|first| u64::from(first.bytes) < transfer.bytes) {
                while parts.next(&mut self.lane.segments).map_err(fragmented)?.is_some() {
                    need.parts = need.parts.saturating_add(1);
                    let segments = extra.saturating_add(self.lane.segments.len());
                    need.descriptors = need.descriptors.saturating_add(segments);
                }
            }
        }
        let entries = usize::from(self.lane.ring.size().entries());
        if need.parts > usize::from(self.lane.places.count) || need.descriptors > entries {
            return Err(SubmitError::TooLong { segments: need.descriptors, max_segments: entries });
        }
        let has_room = self.in_flight.room() > 0
            && need.parts <= self.lane.places.free.len()
            && need.descriptors <= usize::from(self.lane.ring.room());
        if has_room { Ok(need) } else { Err(SubmitError::Full) }
    }

    /// Takes `request`.
    #[inline]
    fn admit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
        let checked = self.lane.ring.check().map_err(SubmitError::Fault);
        let transfer = match checked.and_then(|()| self.rules.check(&request)) {
            Ok(transfer) => transfer,
            Err(error) => return Err(Failed::new(error, request)),
        };
        let operation = request.operation;
        if operation == Operation::Flush && !self.rules.info.write_cache {
            return self.finish_at_once(request);
        }
        let need = match self.measure(&request, transfer) {
            Ok(need) => need,
            Err(error) => return Err(Failed::new(error, request)),
        };
        // Fewer than the queue has entries.
        let parts = u16::try_from(need.parts).unwrap_or(u16::MAX);
        let number = match self.in_flight.insert(request, parts) {
            Ok(number) => number,
            Err(request) => return Err(Failed::new(SubmitError::Full, request)),
        };
        let posted = if parts == 1 {
            // Its segments are there already.
            let part = Part { offset_bytes: 0, bytes: low(transfer.bytes) };
            self.lane.post(number, operation, part).is_some().into()
        } else {
            self.post_parts(number, transfer)
        };
        debug_assert!(posted == parts, "there was room for all parts");
        self.counters.bytes = self.counters.bytes.wrapping_add(transfer.bytes);
        self.counters.parts = self.counters.parts.wrapping_add(parts.into());
        Ok(())
    }

    /// Takes a request that needs no device.
    #[cold]
    fn finish_at_once(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
        if self.done.len() >= usize::from(self.lane.places.count) {
            return Err(Failed::new(SubmitError::Full, request));
        }
        self.done.push_back(Completion { request, result: Ok(()) });
        Ok(())
    }

    /// Posts all parts of request `number`. How many there were.
    #[cold]
    fn post_parts(&mut self, number: u16, transfer: Transfer) -> u16 {
        let request = self.in_flight.get(number);
        let Some(Request { operation, data: Some(data), .. }) = request else { return 0 };
        let mut parts = Parts::new(data.pieces(), self.rules.info.limits, transfer.granule_bytes);
        let mut posted = 0_u16;
        while let Ok(Some(part)) = parts.next(&mut self.lane.segments) {
            if self.lane.post(number, *operation, part).is_none() {
                break;
            }
            posted = posted.saturating_add(1);
        }
        posted
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

/// A sector's length, as wide as a request's.
const SECTOR: u64 = SECTOR_BYTES as u64;

/// What is known to fit.
fn low(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

impl<P: Platform, B: Data> paravane_block::RequestQueue<B> for RequestQueue<P, B> {
    fn submit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
        let taken = self.admit(request);
        count(match taken.as_ref().map_err(Failed::error) {
            Ok(()) => &mut self.counters.requests,
            Err(SubmitError::Full) => &mut self.counters.full,
            Err(_) => &mut self.counters.refused,
        });
        taken
    }

    #[inline]
    fn publish(&mut self) {
        if self.lane.ring.check().is_err() {
            return;
        }
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
        self.in_flight.room().min(self.lane.places.free.len()).min(chains.into())
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

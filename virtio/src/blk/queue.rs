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
    Completion, Data, InFlight, Operation, Part, PartSegment, Parts, Piece, QueueCounters, Request,
    RequestFault, Rules, SECTOR_BYTES, SubmitError, TooFragmented, Transfer,
};
use paravane_hal::dma::{DeviceTag, Direction, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::{Failed, Platform};

use crate::blk::config::{EXTRA_SEGMENTS, LEAST_SEGMENTS};
use crate::blk::places::{Places, vec_of};
use crate::blk::request::{HEADER_BYTES, RequestHeader, judge};
use crate::device::Queue;
use crate::queue::Kick;
use crate::queue::tokens::Tokens;
use crate::ring::Segment;

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

/// The way of parts to the device.
struct Lane<P: Platform> {
    ring: BlkRing<P>,
    places: Places<P>,
}

impl<P: Platform> Lane<P> {
    /// Posts a part of `operation`, which is that of request `number`. False when there is no room.
    #[inline(always)]
    fn post<D: Piece>(
        &mut self,
        number: u16,
        operation: Operation,
        Part { offset_bytes, bytes, segments, .. }: Part<'_, D>,
    ) -> bool {
        let sectors = offset_bytes / SECTOR;
        let Some(header) = RequestHeader::new(operation, sectors) else { return false };
        let Some(place) = self.places.take(&header) else { return false };
        let writable = operation.direction() == Some(Direction::FromDevice);
        let expected_bytes = if writable { bytes } else { 0 };
        let ticket = Ticket { request: number, place: place.number, expected_bytes };
        let head = Segment { addr: place.header, len_bytes: HEADER_BYTES, writable: false };
        let status = Segment { addr: place.status, len_bytes: 1, writable: true };
        let data = segments.map(|PartSegment { addr, len_bytes }| Segment { addr, len_bytes, writable });
        self.ring.submit(head, data, status, ticket).is_ok()
    }

    /// Posts the `parts` that `rest` is cut into.
    #[cold]
    fn post_all<D: Piece>(&mut self, number: u16, operation: Operation, mut rest: Parts<'_, D>, parts: u16) {
        let mut posted = 0_u16;
        while let Ok(Some(part)) = rest.cut() {
            if !self.post(number, operation, part) {
                break;
            }
            posted = posted.saturating_add(1);
        }
        debug_assert!(posted == parts, "there was room for all parts");
    }
}

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
struct Need {
    transfer: Transfer,
    parts: u16,
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

    /// Whose it is.
    pub(crate) fn device(&self) -> DeviceTag {
        self.lane.ring.device()
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.lane.ring.fail(fault);
    }

    /// What `request` takes, if it keeps the rules and there is room for it. `None`: it is done
    /// already.
    #[inline(always)]
    fn admit(&self, request: &Request<B>) -> Result<Option<Need>, SubmitError> {
        self.lane.ring.check()?;
        let transfer = self.rules.check(request)?;
        if request.operation == Operation::Flush && !self.rules.info.write_cache {
            return if self.done.len() < self.lane.places.count().into() {
                Ok(None)
            } else {
                Err(SubmitError::Full)
            };
        }
        let limits = self.rules.info.limits;
        let extra = usize::from(EXTRA_SEGMENTS);
        let (parts, descriptors) = if limits.take(transfer) {
            (1, extra.saturating_add(transfer.segments))
        } else {
            let fragmented = |_| SubmitError::TooFragmented { max_segments: limits.max_segments };
            measure(Parts::new(pieces(request), transfer, limits)).map_err(fragmented)?
        };
        let has_room = self.in_flight.room() > 0
            && parts <= self.lane.places.room()
            && descriptors <= usize::from(self.lane.ring.room());
        if !has_room {
            return Err(self.no_room(parts, descriptors));
        }
        // Fewer than the queue has entries.
        Ok(Some(Need { transfer, parts: u16::try_from(parts).unwrap_or(u16::MAX) }))
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

/// A sector's length, as wide as a request's.
const SECTOR: u64 = SECTOR_BYTES as u64;

/// The pieces of its data; none where it has no data.
#[inline(always)]
fn pieces<B: Data>(request: &Request<B>) -> &[B::Piece] {
    request.data.as_ref().map_or(&[], Data::pieces)
}

fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

impl<P: Platform, B: Data> paravane_block::RequestQueue<B> for RequestQueue<P, B> {
    fn submit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
        let Need { transfer, parts } = match self.admit(&request) {
            Ok(Some(need)) => need,
            Ok(None) => {
                // There is room.
                self.done.push_back(Completion { request, result: Ok(()) });
                count(&mut self.counters.requests);
                return Ok(());
            }
            Err(error) => return Err(self.refuse(error, request)),
        };
        let (number, request) = match self.in_flight.insert(request, parts) {
            Ok(inserted) => inserted,
            Err(request) => return Err(self.refuse(SubmitError::Full, request)),
        };
        let limits = self.rules.info.limits;
        if parts == 1 {
            let part = Part::whole(pieces(request), transfer, limits);
            let posted = self.lane.post(number, request.operation, part);
            debug_assert!(posted, "there was room for it");
        } else {
            let rest = Parts::new(pieces(request), transfer, limits);
            self.lane.post_all(number, request.operation, rest, parts);
        }
        self.submitted = true;
        count(&mut self.counters.requests);
        self.counters.bytes = self.counters.bytes.wrapping_add(transfer.bytes);
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

//! Receiving where the device makes large packets and does not spread a frame over several
//! buffers: each one that is posted holds the longest packet. It is a chain of the pool's, in as
//! many descriptors; what a frame leaves of it goes home when the frame is taken.
//!
//! Such devices are few, and so are the large packets of a queue; this is not the way of
//! [`single`](super::single) buffers, each of which is taken and exchanged in its descriptor.
//!
//! Spec: VIRTIO 1.2, 5.1.6.3.1 "Driver Requirements: Setting Up Receive Buffers".

use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, Frame, FramePool, RxCounters, burst_room};

use crate::device::Queue;
use crate::net::judge::{MAX_LARGE_BYTES, RxRules};
use crate::net::rx::frame::{Pieces, count, hand_up, read_header};
use crate::queue::Kick;
use crate::queue::tokens::Tokens;
use crate::ring::Segment;

/// The ring under such a queue: what is lent are frames of several segments.
pub(crate) type BigRing<P> = Queue<Tokens<Frame>, P>;

/// Of how many buffers that hold `payload_bytes` each the longest packet is.
pub(crate) fn segments_of(payload_bytes: usize) -> usize {
    (MAX_LARGE_BYTES as usize).div_ceil(payload_bytes.max(1))
}

/// The receive queue of a running device, where each buffer holds the longest packet.
pub(super) struct BigQueue<P: Platform> {
    pub(super) ring: BigRing<P>,
    pub(super) pool: FramePool,
    rules: RxRules,
    /// How many bytes each segment holds,
    payload_bytes: u16,
    /// and how many of them the longest packet takes.
    segments: usize,
    /// How many frames the device has when all are posted.
    most: usize,
    counters: RxCounters,
}

impl<P: Platform> BigQueue<P> {
    /// Puts frames on top of `ring`, and posts as many as `slots` buffers of `pool` make. The
    /// device is not told yet.
    pub(super) fn new(ring: BigRing<P>, pool: FramePool, rules: RxRules, slots: u16) -> Self {
        let payload_bytes = u16::try_from(paravane_net::payload_bytes(&pool)).unwrap_or(u16::MAX);
        let segments = segments_of(payload_bytes.into());
        let most = usize::from(slots).checked_div(segments).unwrap_or(0);
        let counters = RxCounters::default();
        let mut queue = Self { ring, pool, rules, payload_bytes, segments, most, counters };
        queue.post_fresh();
        queue
    }

    /// Posts fresh frames, and tells the device: it gave up all that it had.
    pub(super) fn renew(&mut self) {
        self.post_fresh();
        self.publish();
    }

    /// Tells the device about everything posted.
    #[inline(never)]
    pub(super) fn publish(&mut self) {
        if self.ring.publish() == Kick::Rung {
            self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
        }
    }

    /// How many frames are missing from what the device could have.
    fn room(&self) -> usize {
        self.most.saturating_sub(self.ring.in_flight())
    }

    /// Whether one is missing that the pool has all buffers for.
    fn may_post(&self) -> bool {
        self.room() > 0 && self.pool.free() >= self.segments
    }

    /// Posts fresh frames as long as there are buffers for whole ones.
    #[inline(never)]
    fn post_fresh(&mut self) {
        while self.may_post() {
            let Some(fresh) = self.fresh() else { return };
            if self.post(fresh).is_err() {
                return;
            }
        }
    }

    /// A fresh frame that holds the longest packet, if the pool has as many buffers.
    fn fresh(&self) -> Option<Frame> {
        let mut fresh = self.pool.get()?;
        for _ in 1..self.segments {
            let mut first = self.pool.get()?;
            first.set_next(fresh);
            fresh = first;
        }
        Some(fresh)
    }

    /// Posts `fresh`: the device's header goes in front of it, and the packet behind that into all
    /// of its segments.
    fn post(&mut self, fresh: Frame) -> Result<(), Frame> {
        let (header_bytes, payload_bytes) = (self.rules.header_bytes(), u32::from(self.payload_bytes));
        self.ring.submit_each(fresh, |fresh, post| {
            let headers = core::iter::once(header_bytes).chain(core::iter::repeat(0));
            for (segment, before_bytes) in fresh.segments().zip(headers) {
                let addr = segment.fresh_dma_addr_before(before_bytes);
                // Two numbers of 16 bits.
                let len_bytes = payload_bytes.wrapping_add(before_bytes.into());
                post(Segment { addr, len_bytes, writable: true });
            }
        })
    }

    /// Takes what the device has received, as much as `burst` has room for.
    fn drain(&mut self, burst: &mut Burst) -> Result<(), DeviceFault> {
        // Ends: nothing is posted meanwhile.
        while burst_room(burst) > 0 {
            let Some((frame, written_bytes)) = self.ring.complete()? else { return Ok(()) };
            // Whoever receives is awake; the next sleep arms again.
            self.ring.disarm();
            if let Some(frame) = self.take(frame, written_bytes)? {
                burst.push(frame);
            }
        }
        Ok(())
    }

    /// What is handed up of a frame of which the device says that it wrote `written_bytes`, header
    /// included: no more than it has room for.
    fn take(&mut self, posted: Frame, written_bytes: u32) -> Result<Option<Frame>, DeviceFault> {
        let header_bytes = self.rules.header_bytes();
        let Some(frame_bytes) = written_bytes.checked_sub(header_bytes.into()) else {
            let fault =
                DeviceFault::LengthTooShort { len_bytes: written_bytes, min_bytes: header_bytes.into() };
            return Err(self.ring.fail(fault));
        };
        let (header, hash) = read_header(&posted, header_bytes).unwrap_or_default();
        let verdict = match self.rules.judge(&header, frame_bytes) {
            Ok(verdict) => verdict,
            Err(reason) => {
                count(&mut self.counters, reason);
                return Ok(None);
            }
        };
        let frame = self.shorten(posted, frame_bytes);
        let Some(mut frame) = frame.and_then(|frame| hand_up(&mut self.counters, frame, verdict)) else {
            return Ok(None);
        };
        if hash.is_some() {
            frame.set_rx_hash(hash);
        }
        self.counters.frames = self.counters.frames.wrapping_add(1);
        self.counters.bytes = self.counters.bytes.wrapping_add(frame_bytes.into());
        Ok(Some(frame))
    }

    /// The first `frame_bytes` of `posted`. The segments that hold none of them go home.
    fn shorten(&self, posted: Frame, frame_bytes: u32) -> Option<Frame> {
        let (mut pieces, mut rest, mut left) = (Pieces::default(), Some(posted), frame_bytes);
        while left > 0
            && let Some(mut piece) = rest
        {
            rest = piece.take_next();
            let piece_bytes = left.min(self.payload_bytes.into());
            pieces.add(Some(piece), piece_bytes, 0);
            left = left.saturating_sub(piece_bytes);
        }
        pieces.into_frame().map(|(frame, _)| frame)
    }
}

// Out of line: it is called from the way of nearly all queues, which are of the other kind.
impl<P: Platform> paravane_net::RxQueue for BigQueue<P> {
    #[cold]
    #[inline(never)]
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        let before = burst.len();
        let outcome = self.drain(burst);
        if outcome.is_ok() {
            self.post_fresh();
            self.publish();
        }
        outcome.map(|()| burst.len().wrapping_sub(before))
    }

    #[inline(never)]
    fn refill(&mut self) -> usize {
        if self.ring.check().is_ok() {
            self.post_fresh();
            self.publish();
        }
        self.room()
    }

    #[inline(never)]
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        let armed = self.ring.arm(1)?;
        // The device does not interrupt because the pool has buffers again, and may wait for them.
        if self.may_post() {
            self.ring.disarm();
            return Ok(Armed::Pending);
        }
        Ok(armed)
    }

    fn disarm(&mut self) {
        self.ring.disarm();
    }

    fn counters(&self) -> RxCounters {
        self.counters
    }
}

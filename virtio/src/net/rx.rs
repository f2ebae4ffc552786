//! Receiving: the life of a frame from an empty buffer to the stack.
//!
//! ```text
//!  pool -> post -> publish -> (device writes header and frame) -> observe -> look -> judge -> exchange -> stack
//! ```
//!
//! Each buffer is one descriptor, with room for the device's header in the frame's headroom, so the frame itself starts where every driver's frames start.
//! A completion's slot gets a fresh buffer at once: a ring never starves, and descriptors stay where they are.
//!
//! With mergeable buffers a frame may be spread over several completions. The device has to show all of them at once, so they are
//! only taken together.

use paravane_hal::Platform;
use paravane_hal::addr::DmaAddr;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, Frame, FramePool, RxCounters};

use crate::net::header::{HEADER_BYTES, RawHeader};
use crate::net::judge::{Drop, RxRules};
use crate::queue::{Completion, InPlace, Kick, Segment, Virtqueue};
use crate::transport::pci::PciDoorbell;

/// The ring under a receive queue.
pub(crate) type RxRing<P> =
    Virtqueue<InPlace<Frame>, P, PciDoorbell<<P as paravane_hal::mmio::MmioMap>::Region>>;

/// The receive queue of a running device.
pub struct RxQueue<P: Platform> {
    ring: RxRing<P>,
    pool: FramePool,
    rules: RxRules,
    /// Length of each buffer, header included: all come from one pool.
    buffer_bytes: u32,
    /// The most that the device may write to one of them for one frame.
    usual_max_bytes: u32,
    /// The last look found the beginning of a frame without its end.
    torn: bool,
    counters: RxCounters,
}

impl<P: Platform> RxQueue<P> {
    /// Puts frames on top of `ring` and posts as many of `pool`'s as fit. The device is not told yet.
    pub(crate) fn new(ring: RxRing<P>, pool: FramePool, rules: RxRules) -> Self {
        let payload_bytes = u32::try_from(pool.payload_bytes()).unwrap_or(u32::MAX);
        let buffer_bytes = payload_bytes.saturating_add(u32::from(HEADER_BYTES));
        let usual_max_bytes = buffer_bytes.min(rules.max_written_bytes());
        let mut queue = Self {
            ring,
            pool,
            rules,
            buffer_bytes,
            usual_max_bytes,
            torn: false,
            counters: RxCounters::default(),
        };
        queue.post_fresh();
        queue
    }

    /// The ring, to be given back.
    pub(crate) fn into_ring(self) -> RxRing<P> {
        self.ring
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &RxRing<P> {
        &self.ring
    }

    /// A fresh frame, and where the device is to write: its header in front of the frame's place.
    #[inline(always)]
    fn fresh(&self) -> Option<(DmaAddr, Frame)> {
        let fresh = self.pool.get()?;
        Some((fresh.dma_addr_before(HEADER_BYTES)?, fresh))
    }

    /// Posts fresh frames for empty slots.
    fn post_fresh(&mut self) {
        while self.ring.room() > 0 {
            let Some((addr, fresh)) = self.fresh() else { return };
            let segment = Segment { addr, len_bytes: self.buffer_bytes, writable: true };
            if self.ring.post(segment, fresh).is_err() {
                return;
            }
        }
    }

    /// Tells the device about everything posted.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.ring.publish() == Kick::Rung {
            self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
        }
    }

    /// Takes up to `waiting` completions.
    #[inline(always)]
    fn drain(&mut self, mut waiting: u16, burst: &mut Burst) -> Result<(), DeviceFault> {
        loop {
            waiting = waiting.saturating_sub(self.take_usual(waiting, burst));
            if waiting == 0 || burst.room() == 0 {
                return Ok(());
            }
            let taken = self.take_any(waiting, burst)?;
            if taken == 0 {
                return Ok(());
            }
            waiting = waiting.saturating_sub(taken);
        }
    }

    /// Takes completions that are a whole frame each, of which the header says nothing, up to `waiting` or what `burst` has room for. Returns how many it took: it
    /// ends early where the ring ends or the next completion is of another kind.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short, and the length was checked")]
    fn take_usual(&mut self, waiting: u16, burst: &mut Burst) -> u16 {
        let Self { ring, pool, rules, usual_max_bytes, counters, .. } = self;
        let at_most = waiting.min(burst.room() as u16);
        let mut fresh = pool.take(at_most.into());
        let (rules, max_bytes) = (*rules, *usual_max_bytes);
        let mut bytes = 0_u64;
        let taken = ring.exchange_run(at_most, |exchanging| {
            let taken = fresh.exchange_along(exchanging.elements(), burst, |fresh, element| {
                let addr = fresh.fresh_dma_addr_before(HEADER_BYTES);
                let (mut frame, frame_bytes) =
                    exchanging.exchange(element, addr, fresh, |posted, written_bytes| {
                        rules.usual(&posted.read_before_fresh()?, written_bytes, max_bytes)
                    })?;
                // Fits: the length was checked against the buffer's.
                let frame_bytes = frame_bytes as u16;
                frame.set_received(frame_bytes);
                bytes = bytes.wrapping_add(frame_bytes.into());
                Ok(frame)
            });
            taken as u16
        });
        counters.frames = counters.frames.wrapping_add(taken.into());
        counters.bytes = counters.bytes.wrapping_add(bytes);
        taken
    }

    /// Takes the next frame, whatever it is like. Returns how many completions it took: none, when the rest of the frame is not there.
    #[inline(never)]
    fn take_any(&mut self, waiting: u16, burst: &mut Burst) -> Result<u16, DeviceFault> {
        let (completion, header, frame_bytes) = self.read_header()?;
        let buffers = self.rules.buffers(&header);
        let arrived = if buffers == 1 {
            self.take_single(completion, &header, frame_bytes)?
        } else {
            self.take_spread(completion, &header, buffers, waiting)?
        };
        match arrived {
            Arrived::Torn => return Ok(0),
            Arrived::Dropped => {}
            Arrived::Frame(frame, total_bytes) => {
                self.counters.frames = self.counters.frames.wrapping_add(1);
                self.counters.bytes = self.counters.bytes.wrapping_add(u64::from(total_bytes));
                // There is room, as the caller has seen.
                let _ = burst.push(frame);
            }
        }
        Ok(buffers)
    }

    /// Takes a frame that is in one buffer.
    fn take_single(
        &mut self,
        completion: Completion,
        header: &RawHeader,
        frame_bytes: u32,
    ) -> Result<Arrived, DeviceFault> {
        let checksum = match self.rules.judge(header, frame_bytes) {
            Ok(checksum) => checksum,
            Err(reason) => {
                count(&mut self.counters, reason);
                self.ring.repost(completion);
                return Ok(Arrived::Dropped);
            }
        };
        let Some(mut frame) = self.swap(completion)? else {
            self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1);
            return Ok(Arrived::Dropped);
        };
        // Fits: the length was checked against the buffer's.
        frame.set_segment_bytes(frame_bytes as usize);
        frame.set_rx_checksum(checksum);
        Ok(Arrived::Frame(frame, frame_bytes))
    }

    /// Looks at the next completion as the first of a frame: its header, read once, and how long the frame's part in this buffer is.
    #[inline(always)]
    fn read_header(&mut self) -> Result<(Completion, RawHeader, u32), DeviceFault> {
        let (completion, frame) = self.ring.look(self.buffer_bytes)?;
        let raw = frame.read_before::<RawHeader>();
        let len_bytes = completion.written_bytes();
        match (raw, len_bytes.checked_sub(u32::from(HEADER_BYTES))) {
            (Some(raw), Some(frame_bytes)) => Ok((completion, raw, frame_bytes)),
            _ => {
                let min_bytes = u32::from(HEADER_BYTES);
                Err(self.ring.fail(DeviceFault::LengthTooShort { len_bytes, min_bytes }))
            }
        }
    }

    /// Takes a frame that is spread over `buffers` completions, of which `waiting` are there.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4 "Processing of Incoming Packets".
    #[cold]
    fn take_spread(
        &mut self,
        first: Completion,
        header: &RawHeader,
        buffers: u16,
        waiting: u16,
    ) -> Result<Arrived, DeviceFault> {
        if buffers > self.ring.size().entries() {
            return Err(self
                .ring
                .fail(DeviceFault::OutOfSequence { what: "num_buffers is more than the ring holds" }));
        }
        if buffers > waiting {
            // The rest should have been shown together with the beginning. Once may be forgiven: what was observed is a moment old.
            if core::mem::replace(&mut self.torn, true) {
                return Err(self
                    .ring
                    .fail(DeviceFault::OutOfSequence { what: "num_buffers is more than was used" }));
            }
            return Ok(Arrived::Torn);
        }
        self.torn = false;
        let mut pieces = Pieces::default();
        let mut completion = first;
        let mut header_bytes = u32::from(HEADER_BYTES);
        let mut left = buffers;
        loop {
            let piece_bytes = completion.written_bytes().saturating_sub(header_bytes);
            let piece = self.swap(completion)?;
            pieces.add(piece, piece_bytes, header_bytes == 0);
            left = left.saturating_sub(1);
            if left == 0 {
                break;
            }
            completion = self.ring.look(self.buffer_bytes)?.0;
            header_bytes = 0;
            if completion.written_bytes() == 0 {
                return Err(self.ring.fail(DeviceFault::LengthTooShort { len_bytes: 0, min_bytes: 1 }));
            }
        }
        let judged = self.rules.judge(header, pieces.total_bytes);
        match (judged, pieces.into_frame()) {
            (Ok(checksum), Some((mut frame, total_bytes))) => {
                frame.set_rx_checksum(checksum);
                Ok(Arrived::Frame(frame, total_bytes))
            }
            (Ok(_), None) => {
                self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1);
                Ok(Arrived::Dropped)
            }
            (Err(reason), _) => {
                count(&mut self.counters, reason);
                Ok(Arrived::Dropped)
            }
        }
    }

    /// Takes one buffer and puts a fresh one in its place; `None`, and the buffer goes back to the device, when there is no fresh one.
    fn swap(&mut self, completion: Completion) -> Result<Option<Frame>, DeviceFault> {
        match self.fresh() {
            Some((addr, fresh)) => self.ring.exchange(completion, addr, fresh).map(Some),
            None => {
                self.ring.repost(completion);
                Ok(None)
            }
        }
    }
}

/// Counts a frame that was dropped.
#[cold]
fn count(counters: &mut RxCounters, reason: Drop) {
    let counter = match reason {
        Drop::Empty => &mut counters.skipped,
        Drop::Damaged => &mut counters.errors,
        Drop::Oversized => &mut counters.oversized,
    };
    *counter = counter.wrapping_add(1);
}

/// What became of a frame.
enum Arrived {
    /// Here it is, and its length.
    Frame(Frame, u32),
    /// It was dropped and counted.
    Dropped,
    /// Its end is not there yet; nothing was taken.
    Torn,
}

/// The buffers of one frame while they are collected.
#[derive(Default)]
struct Pieces {
    /// Last piece first: each new one goes in front, and the chain is turned round at the end, so that adding is one step.
    reversed: Option<Frame>,
    total_bytes: u32,
    /// A piece had no replacement and stayed with the device.
    incomplete: bool,
}

impl Pieces {
    /// Adds a buffer that holds `piece_bytes` of the frame. A continuation starts where the device's header would be.
    fn add(&mut self, piece: Option<Frame>, piece_bytes: u32, continuation: bool) {
        self.total_bytes = self.total_bytes.saturating_add(piece_bytes);
        let Some(mut piece) = piece else {
            self.incomplete = true;
            return;
        };
        let fits = if continuation {
            piece.extend_front(HEADER_BYTES) && piece.set_segment_bytes(piece_bytes as usize)
        } else {
            piece.set_segment_bytes(piece_bytes as usize)
        };
        self.incomplete |= !fits;
        if let Some(before) = self.reversed.take() {
            piece.set_next(before);
        }
        self.reversed = Some(piece);
    }

    /// The frame, first piece first, and its length. `None` when a piece is missing; the others go home.
    fn into_frame(self) -> Option<(Frame, u32)> {
        if self.incomplete {
            return None;
        }
        let (mut rest, mut frame) = (self.reversed, None);
        while let Some(mut piece) = rest {
            rest = piece.take_next();
            if let Some(after) = frame.take() {
                piece.set_next(after);
            }
            frame = Some(piece);
        }
        Some((frame?, self.total_bytes))
    }
}

impl<P: Platform + Send> paravane_net::RxQueue for RxQueue<P> {
    #[inline]
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        let waiting = self.ring.observe()?;
        let before = burst.len();
        let outcome = if waiting > 0 {
            // Whoever receives is awake; the next sleep arms again.
            self.ring.disarm();
            self.drain(waiting, burst)
        } else {
            Ok(())
        };
        if self.ring.room() > 0 {
            self.post_fresh();
        }
        self.publish();
        outcome.map(|()| burst.len().wrapping_sub(before))
    }

    fn refill(&mut self) -> usize {
        if self.ring.check().is_ok() {
            self.post_fresh();
            self.publish();
        }
        usize::from(self.ring.room())
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.ring.arm(1)
    }

    fn disarm(&mut self) {
        self.ring.disarm();
    }

    fn counters(&self) -> RxCounters {
        self.counters
    }
}

//! Receiving in buffers that are one descriptor each: the life of a frame from an empty buffer to
//! the stack.
//!
//! ```text
//!  pool -> post -> publish -> (device writes header and frame) -> observe -> look -> judge -> exchange -> stack
//! ```
//!
//! Each buffer is one descriptor, with room for the device's header in the frame's headroom, so the
//! frame itself starts where every driver's frames start. A completion's slot gets a fresh buffer
//! at once: a ring never starves, and descriptors stay where they are.
//!
//! With mergeable buffers a frame may be spread over several completions. The device has to show
//! all of them at once, so they are only taken together.

use paravane_hal::Platform;
use paravane_hal::addr::DmaAddr;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{BURST_FRAMES, Burst, Frame, FramePool, RxChecksum, RxCounters, burst_room};

use crate::device::Queue;
use crate::net::header::{HEADER_BYTES, RawHeader};
use crate::net::in_place::{Completion, Exchanging, InPlace, Walk};
use crate::net::judge::{Received, RxRules, Verdict};
use crate::net::rx::frame::{Pieces, count, hand_up, read_header};
use crate::queue::Kick;
use crate::ring::{Behind, Exchange, Segment, UsedElement};

/// The ring under such a queue.
pub(crate) type SingleRing<P> = Queue<InPlace<Frame>, P>;

/// The receive queue of a running device, where each buffer is a descriptor.
pub(super) struct SingleQueue<P: Platform> {
    pub(super) ring: SingleRing<P>,
    pub(super) pool: FramePool,
    /// Fresh frames at hand.
    stock: Burst,
    rules: RxRules,
    /// The last look found the beginning of a frame without its end.
    torn: bool,
    counters: RxCounters,
}

impl<P: Platform> SingleQueue<P> {
    /// Puts frames on top of `ring` and posts as many of `pool`'s as fit, up to `slots`. The device
    /// is not told yet.
    pub(super) fn new(mut ring: SingleRing<P>, pool: FramePool, rules: RxRules, slots: u16) -> Self {
        ring.post_at_most(slots);
        let mut queue =
            Self { ring, pool, stock: Burst::new(), rules, torn: false, counters: RxCounters::default() };
        queue.post_fresh();
        queue
    }

    /// Posts fresh frames, and tells the device: it gave up all that it had.
    pub(super) fn renew(&mut self) {
        self.torn = false;
        self.post_fresh();
        self.publish();
    }

    /// A fresh frame, and where the device is to write: its header in front of the frame's place.
    #[inline(always)]
    fn fresh(&mut self) -> Option<(DmaAddr, Frame)> {
        let fresh = self.stock.pop().or_else(|| self.pool.get())?;
        Some((fresh.first_segment().fresh_dma_addr_before(self.rules.header_bytes()), fresh))
    }

    /// Posts fresh frames for empty slots.
    fn post_fresh(&mut self) {
        while self.ring.room() > 0 {
            let Some((addr, fresh)) = self.fresh() else { return };
            let segment = self.segment(addr);
            if self.ring.post(segment, fresh).is_err() {
                return;
            }
        }
    }

    /// Tells the device about everything posted.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.ring.publish() == Kick::Rung {
            self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
        }
    }

    /// Takes up to `waiting` completions.
    #[inline(always)]
    fn drain(&mut self, mut waiting: u16, burst: &mut Burst) -> Result<(), DeviceFault> {
        loop {
            let (mut behind, mut header) = (Behind::Unread, None);
            let taken = if self.rules.has_usual_headers() {
                self.take_whole(waiting, burst, &mut behind, &mut header)
            } else {
                0
            };
            waiting = waiting.saturating_sub(taken);
            if waiting == 0 || burst_room(burst) == 0 {
                return Ok(());
            }
            let seen = match behind {
                Behind::NotThere => return Ok(()),
                Behind::Read(element) => Some(Seen { element, header }),
                Behind::Unread => None,
            };
            let taken = self.take_any(seen, waiting, burst)?;
            if taken == 0 {
                return Ok(());
            }
            waiting = waiting.saturating_sub(taken);
        }
    }

    /// Takes completions that are a whole frame each, up to `waiting` or what `burst` has room for.
    /// How many; what is known of the next one, and its header, are put down: it ends early where
    /// the ring or the stock ends, or the next completion is of another kind, or not there.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn take_whole(
        &mut self,
        waiting: u16,
        burst: &mut Burst,
        behind: &mut Behind,
        header: &mut Option<RawHeader>,
    ) -> u16 {
        let Self { ring, pool, stock, rules, counters, .. } = self;
        let at_most = waiting.min(burst_room(burst) as u16);
        // A ring that does not count completions may have any number of them.
        if stock.len() < BURST_FRAMES / 2 {
            pool.restock(stock, at_most.into(), BURST_FRAMES);
        }
        let whole = Whole { stock, burst, rules: *rules, bytes: 0, header };
        let (taken, whole) = ring.exchange_run(at_most, rules.buffer_bytes(), whole, behind);
        counters.frames = counters.frames.wrapping_add(taken.into());
        counters.bytes = counters.bytes.wrapping_add(whole.bytes);
        taken
    }

    /// Takes the next frame, whatever it is like; `seen` is what was read of it already. Returns
    /// how many completions it took: none, when the rest of the frame is not there.
    #[inline(never)]
    fn take_any(&mut self, seen: Option<Seen>, waiting: u16, burst: &mut Burst) -> Result<u16, DeviceFault> {
        let (completion, frame, header) = match seen {
            Some(Seen { element, header }) => {
                let (completion, frame) = self.ring.check_used(element)?;
                (completion, frame, header)
            }
            None => {
                let Some((completion, frame)) = self.ring.look()? else { return Ok(0) };
                (completion, frame, None)
            }
        };
        let (header, hash) = match header {
            Some(header) => (header, None),
            None => read_header(frame, self.rules.header_bytes()).unwrap_or_default(),
        };
        let said_bytes = completion.said_bytes(self.rules.buffer_bytes());
        let (arrived, buffers) = match self.rules.classify(&header, said_bytes) {
            Ok(Received::Whole { frame_bytes, verdict }) => {
                (self.take_single(completion, frame_bytes, verdict)?, 1)
            }
            Ok(Received::First { buffers, part_bytes }) => {
                let spread = Spread { header, buffers, part_bytes };
                (self.take_spread(completion, spread, waiting)?, buffers)
            }
            Ok(Received::Dropped(reason)) => {
                count(&mut self.counters, reason);
                self.repost(completion);
                (Arrived::Dropped, 1)
            }
            Err(fault) => return Err(self.ring.fail(fault)),
        };
        self.torn = matches!(arrived, Arrived::Torn);
        match arrived {
            Arrived::Torn => return Ok(0),
            Arrived::Dropped => {}
            Arrived::Frame(mut frame, total_bytes) => {
                if hash.is_some() {
                    frame.set_rx_hash(hash);
                }
                self.counters.frames = self.counters.frames.wrapping_add(1);
                self.counters.bytes = self.counters.bytes.wrapping_add(u64::from(total_bytes));
                burst.push(frame);
            }
        }
        Ok(buffers)
    }

    /// Takes a frame that is in one buffer.
    fn take_single(
        &mut self,
        completion: Completion,
        frame_bytes: u16,
        verdict: Verdict,
    ) -> Result<Arrived, DeviceFault> {
        let Some(mut frame) = self.swap(completion)? else {
            self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1);
            return Ok(Arrived::Dropped);
        };
        frame.set_received(frame_bytes);
        Ok(Arrived::of(hand_up(&mut self.counters, frame, verdict), frame_bytes.into()))
    }

    /// Takes a frame that is spread over several completions, of which `waiting` are there.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4 "Processing of Incoming Packets".
    #[cold]
    fn take_spread(
        &mut self,
        first: Completion,
        Spread { header, buffers, part_bytes }: Spread,
        waiting: u16,
    ) -> Result<Arrived, DeviceFault> {
        if buffers > self.ring.size().entries() {
            return Err(self
                .ring
                .fail(DeviceFault::OutOfSequence { what: "num_buffers is more than the ring holds" }));
        }
        if buffers > waiting {
            // The rest should have been shown together with the beginning. Once may be forgiven:
            // what was observed is a moment old.
            if self.torn {
                return Err(self.ring.fail(SPREAD_OVER_MORE));
            }
            return Ok(Arrived::Torn);
        }
        let mut pieces = Pieces::default();
        let piece = self.swap(first)?;
        pieces.add(piece, part_bytes, 0);
        for _ in 1..buffers {
            let Some((completion, _)) = self.ring.look()? else {
                return Err(self.ring.fail(SPREAD_OVER_MORE));
            };
            let said_bytes = completion.said_bytes(self.rules.buffer_bytes());
            let part_bytes = match self.rules.classify_continuation(said_bytes) {
                Ok(part_bytes) => part_bytes,
                Err(fault) => return Err(self.ring.fail(fault)),
            };
            let piece = self.swap(completion)?;
            pieces.add(piece, part_bytes, self.rules.header_bytes());
        }
        let judged = self.rules.judge(&header, pieces.total_bytes);
        match (judged, pieces.into_frame()) {
            (Ok(verdict), Some((frame, total_bytes))) => {
                Ok(Arrived::of(hand_up(&mut self.counters, frame, verdict), total_bytes))
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

    /// Takes one buffer, as its last owner left it, and puts a fresh one in its place; `None`, and
    /// the buffer goes back to the device, when there is no fresh one.
    #[inline(always)]
    fn swap(&mut self, completion: Completion) -> Result<Option<Frame>, DeviceFault> {
        match self.fresh() {
            Some((addr, fresh)) => {
                let segment = self.segment(addr);
                self.ring.exchange(completion, segment, fresh).map(Some)
            }
            None => {
                self.repost(completion);
                Ok(None)
            }
        }
    }

    /// Gives the buffer of `completion` back to the device as it is.
    fn repost(&mut self, completion: Completion) {
        let (len_bytes, header_bytes) = (self.rules.buffer_bytes(), self.rules.header_bytes());
        self.ring.repost(completion, |frame| {
            // As its last owner left it, but posted as a fresh one is.
            let addr = frame.first_segment().fresh_dma_addr_before(header_bytes);
            Segment { addr, len_bytes, writable: true }
        });
    }

    /// A buffer at `addr`, as it is posted.
    #[inline(always)]
    fn segment(&self, addr: DmaAddr) -> Segment {
        Segment { addr, len_bytes: self.rules.buffer_bytes(), writable: true }
    }
}

/// A spread frame of which the device has not shown all, though it has to show it at once.
const SPREAD_OVER_MORE: DeviceFault =
    DeviceFault::OutOfSequence { what: "num_buffers is more than was used" };

/// Takes frames that are whole, and puts fresh buffers in their places.
struct Whole<'q> {
    stock: &'q mut Burst,
    burst: &'q mut Burst,
    rules: RxRules,
    /// How many bytes the frames have.
    bytes: u64,
    /// The header of the one behind the last, if it was read.
    header: &'q mut Option<RawHeader>,
}

impl Walk<Frame> for Whole<'_> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn walk<E: Exchange>(&mut self, used: &[E::Used], exchanging: &mut Exchanging<'_, Frame, E>) -> u16 {
        let rules = self.rules;
        let (mut bytes, header) = (0_u64, &mut *self.header);
        let taken = self.stock.exchange_with(self.burst, used, |fresh, used| {
            let addr = fresh.first_segment().fresh_dma_addr_before(HEADER_BYTES);
            let (mut frame, (frame_bytes, checksum)) =
                exchanging.exchange(used, addr, fresh, |posted, written_bytes| {
                    let words = posted.read_before_fresh()?;
                    let simple = rules.simple(&words, written_bytes);
                    if simple.is_none() {
                        let [word0, word1, word2] = words;
                        keep(header, word0, word1, word2);
                    }
                    simple
                })?;
            frame.set_received(frame_bytes);
            if checksum != RxChecksum::Unverified {
                frame.set_rx_checksum(checksum);
            }
            bytes = bytes.wrapping_add(frame_bytes.into());
            Ok(frame)
        });
        self.bytes = bytes;
        taken as u16
    }
}

/// Keeps the header of a frame that is to be taken by itself.
#[cold]
#[inline(never)]
fn keep(header: &mut Option<RawHeader>, word0: u32, word1: u32, word2: u32) {
    *header = Some([word0, word1, word2]);
}

/// A completion that was read, and is to be taken otherwise than together with others.
struct Seen {
    element: UsedElement,
    /// Its header, if it is about something that the device has.
    header: Option<RawHeader>,
}

/// A frame over several buffers, as its first one says.
struct Spread {
    header: RawHeader,
    buffers: u16,
    part_bytes: u32,
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

impl Arrived {
    /// What is handed up of a frame of `total_bytes`, if it was not dropped.
    fn of(frame: Option<Frame>, total_bytes: u32) -> Self {
        frame.map_or(Self::Dropped, |frame| Self::Frame(frame, total_bytes))
    }
}

impl<P: Platform> paravane_net::RxQueue for SingleQueue<P> {
    #[inline(always)]
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
        let armed = self.ring.arm(1)?;
        // The device does not interrupt because the pool has buffers again, and may wait for them.
        if self.ring.room() > 0 && !self.pool.is_dry() {
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

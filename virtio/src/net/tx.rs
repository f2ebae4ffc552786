//! Sending: the life of a frame from the stack to the wire, and its way home.
//!
//! ```text
//!  stack -> judge -> header into the headroom -> describe -> publish -> kick -> (device reads) -> observe -> take -> pool
//! ```
//!
//! The device's header goes right in front of the payload, so header and first segment are one
//! descriptor. Nothing in a frame is read after it was posted: what comes back is dropped, which
//! sends its buffer home.

use paravane_hal::Platform;
use paravane_hal::dma::DomainTag;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, Frame, TxCounters};

use crate::device::Queue;
use crate::net::header::{HEADER_BYTES, RawHeader};
use crate::net::in_turn::InTurn;
use crate::net::judge::{Refused, TxRules};
use crate::queue::Kick;
use crate::ring::Segment;

/// The ring under a transmit queue.
pub(crate) type TxRing<P> = Queue<InTurn, P>;

/// The transmit queue of a running device.
pub struct TxQueue<P: Platform> {
    ring: TxRing<P>,
    rules: TxRules,
    /// Where its device reads.
    domain: DomainTag,
    counters: TxCounters,
}

/// What became of the frame at the front of a burst.
enum Fate {
    /// Posted.
    Sent {
        /// Its length.
        bytes: u32,
    },
    /// Dropped: not something the device can send.
    Refused,
}

impl<P: Platform> TxQueue<P> {
    /// Puts frames on top of `ring`, whose device is in `domain`.
    pub(crate) fn new(ring: TxRing<P>, rules: TxRules, domain: DomainTag) -> Self {
        Self { ring, rules, domain, counters: TxCounters::default() }
    }

    /// The ring, to be given back.
    pub(crate) fn into_ring(self) -> TxRing<P> {
        self.ring
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.ring.fail(fault);
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &TxRing<P> {
        &self.ring
    }

    /// Makes room for `segments` descriptors by taking home what was sent. False when the ring
    /// stays too full.
    #[inline(never)]
    fn makes_room(&mut self, segments: usize) -> Result<bool, DeviceFault> {
        self.take_sent()?;
        let room = segments <= usize::from(self.ring.room());
        if !room {
            self.counters.ring_full = self.counters.ring_full.wrapping_add(1);
        }
        Ok(room)
    }

    /// Takes everything home that the device has sent.
    fn take_sent(&mut self) -> Result<usize, DeviceFault> {
        let waiting = self.ring.observe()?;
        let taken = self.ring.take_sent(waiting)?;
        self.counters.completed = self.counters.completed.wrapping_add(u64::from(taken));
        Ok(usize::from(taken))
    }

    /// Posts frames from the front of `burst` as long as they are plain and there is room. Returns
    /// how many, and their bytes.
    #[inline(never)]
    fn post_plain(&mut self, burst: &mut Burst) -> (u16, u64) {
        let mut bytes = 0_u64;
        let posted = self.ring.post_run(burst, prepare(self.rules, &mut bytes));
        (posted, bytes)
    }

    /// The same for a burst of one.
    #[inline(always)]
    fn post_single(&mut self, burst: &mut Burst) -> (u16, u64) {
        let mut bytes = 0_u64;
        let posted = self.ring.post_front(burst, prepare(self.rules, &mut bytes));
        (posted.into(), bytes)
    }

    /// The header of a frame that asks for something. A checksum that the device does not complete
    /// is completed here.
    fn header(&self, frame: &mut Frame, frame_bytes: u32) -> Result<RawHeader, Refused> {
        if !self.rules.has_checksums() && !frame.complete_checksum() {
            return Err(Refused::DoesNotFit);
        }
        self.rules.header(frame.offload(), frame.vlan(), frame_bytes)
    }

    /// Posts the frame at the front of `burst`, whatever it is made of. `None`, and it stays there,
    /// when there is no room.
    #[cold]
    fn post_any(&mut self, burst: &mut Burst) -> Result<Option<Fate>, DeviceFault> {
        // Spec: VIRTIO 1.2, 2.7.5 "The Virtqueue Descriptor Table": no chain is longer than the
        // queue. It would wait for room forever, too.
        let max_segments = usize::from(self.ring.size().entries());
        // One more than is allowed tells a chain that is too long, however long it is.
        let segments =
            burst.peek(|front| front.segments().take(max_segments.saturating_add(1)).count()).unwrap_or(0);
        let fits = segments <= max_segments;
        if fits && segments > usize::from(self.ring.room()) && !self.makes_room(segments)? {
            return Ok(None);
        }
        let frame = burst.pop().filter(|_| fits);
        Ok(Some(frame.and_then(|frame| self.post_frame(frame)).unwrap_or(Fate::Refused)))
    }

    /// Posts `frame`, header first, for which there is room. `None`, and it is dropped, when it is
    /// not something the device can send: a segment is empty or out of its reach, or the first has
    /// no room for the header.
    fn post_frame(&mut self, mut frame: Frame) -> Option<Fate> {
        let bytes = u32::try_from(frame.total_bytes()).ok()?;
        let header = self.header(&mut frame, bytes).ok()?;
        if !frame.write_before(&header) {
            return None;
        }
        let domain = self.domain;
        let posted = self.ring.post_frame(frame, |segment, is_first| {
            let header_bytes = if is_first { HEADER_BYTES } else { 0 };
            let segment_bytes = u32::try_from(segment.len_bytes()).ok().filter(|len| *len > 0)?;
            let addr = segment.dma_addr_before(header_bytes).filter(|_| segment.domain() == domain)?;
            let len_bytes = segment_bytes.checked_add(header_bytes.into())?;
            Some(Segment { addr, len_bytes, writable: false })
        });
        posted.ok().map(|()| Fate::Sent { bytes })
    }

    /// Publishes what was posted; one doorbell at most.
    #[inline(always)]
    fn publish(&mut self) {
        let counter = match self.ring.publish() {
            Kick::Nothing => return,
            Kick::Rung => &mut self.counters.doorbells,
            Kick::Saved => &mut self.counters.doorbells_saved,
        };
        *counter = counter.wrapping_add(1);
    }
}

/// Writes the header in front of plain frames and of such as ask for a checksum only, and counts
/// their bytes. Gives where header and frame lie; nothing, when the device does not take the frame
/// as it is.
#[inline(always)]
fn prepare(rules: TxRules, bytes: &mut u64) -> impl FnMut(&mut Frame) -> Option<Segment> {
    move |frame| {
        if !frame.is_plain_but_checksum() {
            return None;
        }
        let frame_bytes = u32::try_from(frame.segment_bytes()).ok()?;
        let header = rules.uncut(frame.asked_checksum(), frame_bytes).ok()?;
        if !frame.write_before(&header) {
            return None;
        }
        *bytes = bytes.wrapping_add(frame_bytes.into());
        let len_bytes = frame_bytes.wrapping_add(u32::from(HEADER_BYTES));
        Some(Segment { addr: frame.fresh_dma_addr_before(HEADER_BYTES), len_bytes, writable: false })
    }
}

impl<P: Platform> paravane_net::TxQueue for TxQueue<P> {
    #[inline]
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.ring.check()?;
        let (mut taken, mut sent, mut bytes) = (0_usize, 0_u64, 0_u64);
        let mut outcome = Ok(());
        loop {
            let (frames, frames_bytes) = if burst.domain() != Some(self.domain) {
                // Asked of all together; others are looked at one by one.
                (0, 0)
            } else if burst.len() == 1 {
                self.post_single(burst)
            } else {
                self.post_plain(burst)
            };
            taken = taken.wrapping_add(frames.into());
            sent = sent.wrapping_add(frames.into());
            bytes = bytes.wrapping_add(frames_bytes);
            if burst.is_empty() {
                break;
            }
            // What comes next is not plain, or the ring wraps here, or it is full.
            match self.post_any(burst) {
                Ok(Some(Fate::Sent { bytes: frame_bytes })) => {
                    sent = sent.wrapping_add(1);
                    bytes = bytes.wrapping_add(u64::from(frame_bytes));
                }
                Ok(Some(Fate::Refused)) => self.counters.refused = self.counters.refused.wrapping_add(1),
                Ok(None) => break,
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
            taken = taken.wrapping_add(1);
        }
        self.counters.frames = self.counters.frames.wrapping_add(sent);
        self.counters.bytes = self.counters.bytes.wrapping_add(bytes);
        self.publish();
        outcome.map(|()| taken)
    }

    #[inline]
    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        let sent = self.take_sent()?;
        if sent > 0 {
            self.ring.disarm();
        }
        Ok(sent)
    }

    fn flush(&mut self) {
        if self.ring.check().is_ok() && self.ring.flush() {
            self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
        }
    }

    fn remind(&mut self) {
        if self.ring.check().is_ok() && self.ring.remind() {
            self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
        }
    }

    fn room(&self) -> usize {
        usize::from(self.ring.room())
    }

    /// With `EVENT_IDX` the interrupt comes when three quarters of what is in flight were sent:
    /// enough to go on with, and few interrupts.
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        let in_flight = self.ring.in_flight();
        let enough = in_flight.saturating_sub(in_flight / 4);
        self.ring.arm(u16::try_from(enough).unwrap_or(u16::MAX))
    }

    fn disarm(&mut self) {
        self.ring.disarm();
    }

    fn counters(&self) -> TxCounters {
        self.counters
    }
}

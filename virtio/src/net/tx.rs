//! Sending: the life of a frame from the stack to the wire, and its way home.
//!
//! ```text
//!  stack -> judge -> header into the headroom -> describe -> publish -> kick -> (device reads) -> observe -> take -> pool
//! ```
//!
//! The device's header goes right in front of the payload, so header and first segment are one descriptor. Nothing in a frame is read after it was posted:
//! what comes back is dropped, which sends its buffer home.

use paravane_hal::Platform;
use paravane_hal::dma::DomainTag;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{BURST_FRAMES, Burst, Frame, TxCounters};

use crate::net::header::{HEADER_BYTES, RawHeader};
use crate::net::judge::{Refused, TxRules};
use crate::net::rx::FrameRing;
use crate::queue::{Kick, Segment};

/// The transmit queue of a running device.
pub struct TxQueue<P: Platform> {
    ring: FrameRing<P>,
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
    pub(crate) fn new(ring: FrameRing<P>, rules: TxRules, domain: DomainTag) -> Self {
        Self { ring, rules, domain, counters: TxCounters::default() }
    }

    /// The ring, to be given back.
    pub(crate) fn into_ring(self) -> FrameRing<P> {
        self.ring
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &FrameRing<P> {
        &self.ring
    }

    /// Makes room for `segments` descriptors by taking home what was sent. False when the ring stays too full.
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
        if waiting == 1 {
            drop(self.ring.take_read()?);
            self.counters.completed = self.counters.completed.wrapping_add(1);
            return Ok(1);
        }
        let mut left = waiting;
        while left > 0 {
            // None is left out: a run ends early only where the ring ends.
            left = left.wrapping_sub(self.take_sent_run(left)?);
        }
        self.counters.completed = self.counters.completed.wrapping_add(u64::from(waiting));
        Ok(usize::from(waiting))
    }

    /// Takes home up to `at_most` of them, together.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn take_sent_run(&mut self, at_most: u16) -> Result<u16, DeviceFault> {
        let mut sent = Burst::new();
        self.ring.take_read_run(at_most.min(BURST_FRAMES as u16), |taking| {
            sent.fill_along(taking.elements(), |element| taking.take(element)) as u16
        })
    }

    /// Posts frames from the front of `burst` as long as they are one buffer, ask for nothing, and there is room. Returns how many, and their bytes.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn post_plain(&mut self, burst: &mut Burst) -> (usize, u64) {
        // Asked of all together; others are looked at one by one.
        if burst.domain() != Some(self.domain) {
            return (0, 0);
        }
        let rules = self.rules;
        let mut bytes = 0_u64;
        let posted = self.ring.post_run(|posting| {
            let posted = burst.drain_along(posting.places(), |mut frame, place| {
                if !frame.is_plain() {
                    return Err(frame);
                }
                let frame_bytes = u32::from(frame.segment_len_bytes());
                let Ok(header) = rules.plain(frame_bytes) else { return Err(frame) };
                let Some(addr) = frame.dma_addr_before(HEADER_BYTES).filter(|_| frame.write_before(&header))
                else {
                    return Err(frame);
                };
                let len_bytes = frame_bytes.wrapping_add(u32::from(HEADER_BYTES));
                posting.post(place, Segment { addr, len_bytes, writable: false }, frame)?;
                bytes = bytes.wrapping_add(u64::from(frame_bytes));
                Ok(())
            });
            posted as u16
        });
        (posted.into(), bytes)
    }

    /// Posts a frame that is one buffer. There is room for it.
    #[inline(always)]
    fn post_one(&mut self, mut frame: Frame) -> Fate {
        if frame.domain() != self.domain {
            return Fate::Refused;
        }
        let frame_bytes = u32::try_from(frame.segment_bytes()).unwrap_or(u32::MAX);
        let asks_nothing = frame.is_plain() || (frame.offload().is_none() && frame.vlan().is_none());
        let header =
            if asks_nothing { self.rules.plain(frame_bytes) } else { self.header(&mut frame, frame_bytes) };
        let Ok(header) = header else { return Fate::Refused };
        let Some(addr) = frame.dma_addr_before(HEADER_BYTES).filter(|_| frame.write_before(&header)) else {
            return Fate::Refused;
        };
        let len_bytes = frame_bytes.saturating_add(u32::from(HEADER_BYTES));
        match self.ring.post(Segment { addr, len_bytes, writable: false }, frame) {
            Ok(()) => Fate::Sent { bytes: frame_bytes },
            Err(_) => Fate::Refused,
        }
    }

    /// The header of a frame that asks for something. A checksum that the device does not complete is completed here.
    fn header(&self, frame: &mut Frame, frame_bytes: u32) -> Result<RawHeader, Refused> {
        if !self.rules.has_checksums() && !frame.complete_checksum() {
            return Err(Refused::DoesNotFit);
        }
        self.rules.header(frame.offload(), frame.vlan(), frame_bytes)
    }

    /// Posts the frame at the front of `burst`, a chain of buffers. `None`, and it stays there, when there is no room.
    #[cold]
    fn post_chain(&mut self, burst: &mut Burst) -> Result<Option<Fate>, DeviceFault> {
        // Spec: VIRTIO 1.2, 2.7.5 "The Virtqueue Descriptor Table": no chain is longer than the queue. It would wait for room forever, too.
        let max_segments = usize::from(self.ring.size().entries());
        // One more than is allowed tells a chain that is too long, however long it is.
        let segments =
            burst.peek(|front| front.segments().take(max_segments.saturating_add(1)).count()).unwrap_or(0);
        let fits = segments <= max_segments;
        if fits && segments > usize::from(self.ring.room()) && !self.makes_room(segments)? {
            return Ok(None);
        }
        let Some(mut frame) = burst.pop().filter(|_| fits) else { return Ok(Some(Fate::Refused)) };
        let frame_bytes = u32::try_from(frame.total_bytes()).unwrap_or(u32::MAX);
        let chain = match self.header(&mut frame, frame_bytes) {
            Ok(header) if frame.write_before(&header) => self.describe(&frame),
            _ => None,
        };
        Ok(Some(match chain.map(|chain| chain.finish(frame)) {
            Some(Ok(())) => Fate::Sent { bytes: frame_bytes },
            _ => Fate::Refused,
        }))
    }

    /// Describes the segments of `frame`, header first. `None` when a segment is empty or out of the device's reach, or has no room for the header.
    fn describe(&mut self, frame: &Frame) -> Option<FrameChain<'_, P>> {
        if frame.segments().any(|segment| segment.domain() != self.domain) {
            return None;
        }
        let first_bytes = u32::try_from(frame.segment_bytes()).ok()?.checked_add(u32::from(HEADER_BYTES))?;
        let addr = frame.dma_addr_before(HEADER_BYTES)?;
        let mut chain = self.ring.chain(Segment { addr, len_bytes: first_bytes, writable: false })?;
        for segment in frame.segments().skip(1) {
            let len_bytes = u32::try_from(segment.segment_bytes()).ok().filter(|len| *len > 0)?;
            if !chain.push(Segment { addr: segment.dma_addr(), len_bytes, writable: false }) {
                return None;
            }
        }
        Some(chain)
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

type FrameChain<'q, P> = crate::queue::Chain<
    'q,
    Frame,
    P,
    crate::transport::pci::PciDoorbell<<P as paravane_hal::mmio::MmioMap>::Region>,
>;

impl<P: Platform + Send> paravane_net::TxQueue for TxQueue<P> {
    #[inline]
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.ring.check()?;
        let (mut taken, mut sent, mut bytes) = (0_usize, 0_u64, 0_u64);
        let mut outcome = Ok(());
        loop {
            // A run is worth its while from two on.
            let (frames, frames_bytes) = if burst.len() > 1 { self.post_plain(burst) } else { (0, 0) };
            taken = taken.wrapping_add(frames);
            sent = sent.wrapping_add(frames as u64);
            bytes = bytes.wrapping_add(frames_bytes);
            if burst.is_empty() {
                break;
            }
            // What comes next is not plain, or the ring wraps here, or it is full.
            let is_chain = burst.peek(|front| front.next().is_some());
            let posted = if is_chain == Some(true) {
                self.post_chain(burst)
            } else if self.ring.room() > 0 {
                Ok(burst.pop().map(|frame| self.post_one(frame)))
            } else {
                // With room made, the same frame is looked at again.
                match self.makes_room(1) {
                    Ok(true) => continue,
                    other => other.map(|_| None),
                }
            };
            match posted {
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

    /// With `EVENT_IDX` the interrupt comes when three quarters of what is in flight were sent: enough to go on with, and few interrupts.
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

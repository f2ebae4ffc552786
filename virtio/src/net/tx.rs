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
use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::DomainTag;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, Frame, FrameSegment, FrameSegmentMut, TxCounters};

use crate::device::Queue;
use crate::net::header::{
    HASH_HEADER_BYTES, HEADER_BYTES, RawHeader, SHORT_HEADER_BYTES, shorten, with_no_hash,
};
use crate::net::in_turn::{InTurn, Post};
use crate::net::judge::{Refused, TxRules};
use crate::queue::Kick;
use crate::ring::{Run, Segment};

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

    /// The ring, to be started again.
    pub(crate) fn ring_mut(&mut self) -> &mut TxRing<P> {
        &mut self.ring
    }

    /// Nothing is on its way any more: the device gave it all up.
    pub(crate) fn renew(&mut self) {
        self.counters.completed = self.counters.frames;
    }

    /// Takes everything home that the device has sent.
    #[inline(always)]
    fn take_sent(&mut self) -> Result<usize, DeviceFault> {
        let waiting = self.ring.observe()?;
        let taken = self.ring.take_sent(waiting)?;
        self.counters.completed = self.counters.completed.wrapping_add(u64::from(taken));
        Ok(usize::from(taken))
    }

    /// The same where there is no room for the frame in front of a burst. False when the ring stays
    /// as full as it is.
    #[inline(never)]
    fn makes_room(&mut self) -> Result<bool, DeviceFault> {
        let makes_room = self.take_sent()? > 0;
        if !makes_room {
            self.counters.ring_full = self.counters.ring_full.wrapping_add(1);
        }
        Ok(makes_room)
    }

    /// Posts frames from the front of `burst`, all of which the device reaches, until there is no
    /// room, or the ring ends. How many were taken.
    #[inline(always)]
    fn post(&mut self, burst: &mut Burst) -> usize {
        let before = burst.len();
        let entries = self.ring.size().entries();
        let mut posting = Posting { rules: self.rules, entries, bytes: 0, refused: 0 };
        match self.rules.header_bytes() {
            HEADER_BYTES => self.ring.post(burst, &mut posting),
            header_bytes => posting = self.post_unusual(burst, posting, header_bytes),
        }
        let taken = before.wrapping_sub(burst.len());
        let Posting { bytes, refused, .. } = posting;
        let frames = (taken as u64).wrapping_sub(refused);
        self.counters.frames = self.counters.frames.wrapping_add(frames);
        self.counters.bytes = self.counters.bytes.wrapping_add(bytes);
        self.counters.refused = self.counters.refused.wrapping_add(refused);
        taken
    }

    /// The same behind headers of another length than most.
    #[cold]
    #[inline(never)]
    fn post_unusual(&mut self, burst: &mut Burst, posting: Posting, header_bytes: u16) -> Posting {
        let mut unusual = Unusual { posting, header_bytes };
        self.ring.post(burst, &mut unusual);
        unusual.posting
    }

    /// Drops the frames of which the device does not reach every segment.
    #[cold]
    fn refuse_unreachable(&mut self, burst: &mut Burst) {
        let (mut reachable, domain) = (Burst::new(), self.domain);
        let before = burst.len();
        burst.walk(&mut reachable, usize::MAX, |frame| {
            let is_reachable = frame.segments().all(|segment| segment.domain() == domain);
            Ok(Some(frame).filter(|_| is_reachable))
        });
        *burst = reachable;
        let refused = before.wrapping_sub(burst.len()) as u64;
        self.counters.refused = self.counters.refused.wrapping_add(refused);
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

/// Posts frames: writes the device's header in front of each, and says where both lie.
struct Posting {
    rules: TxRules,
    /// Of the ring.
    entries: u16,
    /// How many bytes the frames have that were posted.
    bytes: u64,
    /// How many were dropped, for they cannot be sent.
    refused: u64,
}

/// Why a frame is not posted.
enum Unposted {
    /// It is not something the device can send.
    Refused,
    /// There is no room for it.
    Full,
}

/// Describes a frame with the device's header of `header_bytes` at `addr`, which is in front of its
/// `first` segment. How long it is. What was described of one that is not posted is to be taken
/// back.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a segment is shorter than 64 KiB")]
fn describe<'r, R: Run<'r>>(
    addr: DmaAddr,
    header_bytes: u16,
    first: FrameSegment<'_>,
    run: &mut R,
) -> Result<u32, Unposted> {
    let (mut total_bytes, mut next) = (first.len_bytes() as u32, first.next());
    if total_bytes == 0 {
        return Err(Unposted::Refused);
    }
    let len_bytes = total_bytes.wrapping_add(header_bytes.into());
    if !run.part(Segment { addr, len_bytes, writable: false }, true, next.is_some()) {
        return Err(Unposted::Full);
    }
    while let Some(segment) = next {
        next = segment.next();
        let len_bytes = segment.len_bytes() as u32;
        if len_bytes == 0 {
            return Err(Unposted::Refused);
        }
        let part = Segment { addr: segment.dma_addr(), len_bytes, writable: false };
        if !run.part(part, false, next.is_some()) {
            return Err(Unposted::Full);
        }
        total_bytes = total_bytes.wrapping_add(len_bytes);
    }
    Ok(total_bytes)
}

/// Describes a frame of any kind, and writes its header. How long it is.
///
/// By value, and out of the way of most.
#[inline(never)]
fn describe_any<'r, R: Run<'r>>(
    rules: TxRules,
    header_bytes: u16,
    mut frame: Frame,
    run: R,
) -> (Frame, Result<(u32, R), Unposted>) {
    let mut after = run.clone();
    let described = match frame.dma_addr_before(header_bytes) {
        Some(addr) => describe(addr, header_bytes, frame.first_segment(), &mut after),
        None => Err(Unposted::Refused),
    };
    let described = described.and_then(|total_bytes| {
        let header = header(rules, &mut frame, total_bytes).map_err(|_| Unposted::Refused)?;
        let is_written = match header_bytes {
            SHORT_HEADER_BYTES => frame.write_before(&shorten(header)),
            HASH_HEADER_BYTES => frame.write_before(&with_no_hash(header)),
            _ => frame.write_before(&header),
        };
        if is_written { Ok(total_bytes) } else { Err(Unposted::Refused) }
    });
    match described {
        Ok(total_bytes) => {
            after.chained(&run);
            (frame, Ok((total_bytes, after)))
        }
        Err(why) => {
            after.give_up(run);
            (frame, Err(why))
        }
    }
}

/// The header of a frame that asks for something. A checksum that the device does not complete is
/// completed here.
fn header(rules: TxRules, frame: &mut Frame, frame_bytes: u32) -> Result<RawHeader, Refused> {
    // It cuts nothing inside of a tunnel. A checksum is one wherever it starts.
    if frame.tunnel().is_some() && frame.offload().segmentation.is_some() {
        return Err(Refused::NotAgreed);
    }
    if !rules.has_checksums() && !frame.complete_checksum() {
        return Err(Refused::DoesNotFit);
    }
    rules.header(frame.offload(), frame.vlan(), frame_bytes)
}

/// Whether a frame has more segments than a ring of `entries` has descriptors: it would wait for
/// room forever. By value: what has its address taken lies in memory.
///
/// Spec: VIRTIO 1.2, 2.7.5 "The Virtqueue Descriptor Table": no chain is longer than the queue.
#[cold]
#[inline(never)]
fn is_too_long(frame: Frame, entries: u16) -> (Frame, bool) {
    let is_too_long = frame.segments().nth(entries.into()).is_some();
    (frame, is_too_long)
}

impl Post for Posting {
    /// A frame of one segment, which asks for a checksum at most.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a segment is shorter than 64 KiB")]
    fn plain(&self, mut frame: FrameSegmentMut<'_>) -> Option<Segment> {
        let look = frame.look();
        let frame_bytes = look.len_bytes() as u32;
        let writes = if look.is_plain() {
            frame.write_before_fresh(&self.rules.plain(frame_bytes).ok()?)
        } else if look.is_plain_with_checksum() {
            let header = self.rules.uncut(look.asked_checksum(), frame_bytes).ok()?;
            frame.write_before_fresh(&header)
        } else {
            false
        };
        if !writes {
            return None;
        }
        let addr = frame.look().fresh_dma_addr_before(HEADER_BYTES);
        Some(Segment { addr, len_bytes: frame_bytes.wrapping_add(HEADER_BYTES.into()), writable: false })
    }

    #[inline(always)]
    fn posted(&mut self, frames: usize, bytes: u64) {
        let headers_bytes = (frames as u64).wrapping_mul(HEADER_BYTES.into());
        self.bytes = self.bytes.wrapping_add(bytes).wrapping_sub(headers_bytes);
    }

    /// A frame of any segments, which starts fresh and asks for a checksum at most.
    #[inline(always)]
    fn several<'r, R: Run<'r>>(&mut self, mut frame: FrameSegmentMut<'_>, run: &mut R) -> bool {
        let (look, before) = (frame.look(), run.clone());
        if look.is_plain_but_checksum() || !look.starts_fresh() || !self.rules.has_checksums() {
            return false;
        }
        let (asked, addr) = (look.asked_checksum(), look.fresh_dma_addr_before(HEADER_BYTES));
        if let Ok(total_bytes) = describe(addr, HEADER_BYTES, look, run)
            && let Ok(header) = self.rules.uncut(asked, total_bytes)
            && frame.write_before_fresh(&header)
        {
            run.chained(&before);
            self.bytes = self.bytes.wrapping_add(total_bytes.into());
            return true;
        }
        run.give_up(before);
        false
    }

    #[inline(always)]
    fn other<'r, R: Run<'r>>(&mut self, mut frame: Frame, run: &mut R) -> Result<Option<Frame>, Frame> {
        if self.plain(frame.first_segment_mut()).is_some() {
            return Err(frame);
        }
        self.settle(describe_any(self.rules, HEADER_BYTES, frame, run.clone()), run)
    }
}

impl Posting {
    /// What comes of a frame that was described, as [`Post::other`] says it.
    #[inline(always)]
    fn settle<R>(
        &mut self,
        described: (Frame, Result<(u32, R), Unposted>),
        run: &mut R,
    ) -> Result<Option<Frame>, Frame> {
        match described {
            (frame, Ok((bytes, after))) => {
                *run = after;
                self.bytes = self.bytes.wrapping_add(bytes.into());
                return Ok(Some(frame));
            }
            (frame, Err(Unposted::Full)) => {
                let (frame, is_too_long) = is_too_long(frame, self.entries);
                if !is_too_long {
                    return Err(frame);
                }
                drop(frame);
            }
            (frame, Err(Unposted::Refused)) => drop(frame),
        }
        self.refused = self.refused.wrapping_add(1);
        Ok(None)
    }
}

/// Posts frames behind headers of another length than most: each by itself.
struct Unusual {
    posting: Posting,
    header_bytes: u16,
}

impl Post for Unusual {
    fn plain(&self, _: FrameSegmentMut<'_>) -> Option<Segment> {
        None
    }

    fn posted(&mut self, _: usize, _: u64) {}

    fn several<'r, R: Run<'r>>(&mut self, _: FrameSegmentMut<'_>, _: &mut R) -> bool {
        false
    }

    fn other<'r, R: Run<'r>>(&mut self, frame: Frame, run: &mut R) -> Result<Option<Frame>, Frame> {
        let described = describe_any(self.posting.rules, self.header_bytes, frame, run.clone());
        self.posting.settle(described, run)
    }
}

impl<P: Platform> paravane_net::TxQueue for TxQueue<P> {
    #[inline]
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.ring.check()?;
        let before = burst.len();
        // Asked of all together.
        if burst.domain() != Some(self.domain) {
            self.refuse_unreachable(burst);
        }
        let mut outcome = Ok(());
        // Ends: each turn takes a frame, or makes room, of which there is so much, or is the last.
        while !burst.is_empty() {
            if self.post(burst) > 0 {
                continue;
            }
            match self.makes_room() {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
        }
        self.publish();
        outcome.map(|()| before.wrapping_sub(burst.len()))
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

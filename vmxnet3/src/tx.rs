//! Sending: a frame's way to the device and back.
//!
//! 1. [`transmit`](paravane_net::TxQueue::transmit) takes frames from a burst and describes each in one descriptor a segment. The first descriptor of the
//!    burst keeps last lap's generation meanwhile, and the device walks in order, so it sees none of the burst.
//! 2. One barrier, then the first descriptor changes hands, and with it the burst.
//! 3. One doorbell, or none when the device said that it looks often enough by itself.
//! 4. [`reclaim`](paravane_net::TxQueue::reclaim) reads completions. They are cumulative, so one is asked for with the last frame of each burst only
//!    (`cq`); a device that completes every frame is as welcome.
//!
//! One descriptor always stays free, so that a full ring and an empty one differ.

use core::fmt;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaError, DmaRing, Quiet, Words};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::mmio::MmioExt;
use paravane_hal::pool::Posted;
use paravane_hal::reg::{Reg, WriteOnly};
use paravane_net::{Burst, Frame, TxCounters};

use crate::desc::{TxCompletion, TxDesc, TxSop};
use crate::intr::Vector;
use crate::offload::{self, TxLimits};
use crate::ring::Cursor;
use crate::table::QueueTable;

/// The transmit queue. Belongs to one core at a time.
pub struct TxQueue<P: Platform> {
    ring: DmaRing<4, P>,
    completions: DmaRing<4, P>,
    /// Each frame in flight, at the place of its last descriptor.
    in_flight: Posted<Frame>,
    table: QueueTable<P>,
    bar0: P::Region,
    doorbell: Reg<u32, WriteOnly>,
    vector: Vector,
    entries: u16,
    limits: TxLimits,
    /// Where the next descriptor goes.
    fill: Cursor,
    /// The oldest descriptor in flight; `fill` when there is none.
    clean: Cursor,
    /// Where the next completion comes.
    next_completion: Cursor,
    /// Frames published since the last doorbell, segments that the device cuts counted singly.
    deferred: u32,
    device: DeviceTag,
    /// Once set, the queue is broken.
    fault: Option<DeviceFault>,
    counters: TxCounters,
}

/// What a transmit queue is made of.
pub(crate) struct TxSetup<P: Platform> {
    pub(crate) table: QueueTable<P>,
    pub(crate) bar0: P::Region,
    pub(crate) doorbell: Reg<u32, WriteOnly>,
    pub(crate) vector: Vector,
    pub(crate) entries: u16,
    pub(crate) limits: TxLimits,
}

/// Where the device finds the rings of a transmit queue.
pub(crate) struct TxRings {
    pub(crate) ring: u64,
    pub(crate) completions: u64,
}

impl<P: Platform> TxQueue<P> {
    /// Allocates a queue that the device does not know yet.
    pub(crate) fn new(of: &DeviceDma<P>, setup: TxSetup<P>) -> Result<Self, DmaError> {
        let TxSetup { table, bar0, doorbell, vector, entries, limits } = setup;
        let align = Align::new(512);
        Ok(Self {
            ring: DmaRing::zeroed(of, entries.into(), align)?,
            completions: DmaRing::zeroed(of, entries.into(), align)?,
            in_flight: Posted::new(entries.into(), of.device())?,
            table,
            bar0,
            doorbell,
            vector,
            entries,
            limits,
            fill: Cursor::start(entries),
            clean: Cursor::start(entries),
            next_completion: Cursor::start(entries),
            deferred: 0,
            device: of.device(),
            fault: None,
            counters: TxCounters::default(),
        })
    }

    /// Where the device finds its rings. From here on their memory counts as known to it.
    pub(crate) fn rings(&self) -> TxRings {
        TxRings { ring: self.ring.dma_addr().get(), completions: self.completions.dma_addr().get() }
    }

    /// Gives all memory and frames back, against proof. False when some had to be leaked.
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { ring, completions, in_flight, .. } = self;
        let freed =
            [ring.free(quiet).is_ok(), completions.free(quiet).is_ok(), in_flight.reclaim(quiet).is_ok()];
        freed == [true; 3]
    }

    /// Whose it is.
    pub(crate) fn device(&self) -> DeviceTag {
        self.device
    }

    /// Ends the queue.
    #[cold]
    pub(crate) fn break_with(&mut self, fault: DeviceFault) -> DeviceFault {
        *self.fault.get_or_insert(fault)
    }

    #[inline(always)]
    fn health(&self) -> Result<(), DeviceFault> {
        self.fault.map_or(Ok(()), Err)
    }

    /// How many descriptors are free.
    #[inline(always)]
    fn free(&self) -> u16 {
        self.entries.wrapping_sub(1).wrapping_sub(self.clean.steps_to(self.fill.index()))
    }

    /// Takes frames from `burst` into the ring and hands them over. Returns what they count for the doorbell; 0 when there were none.
    #[inline]
    fn publish(&mut self, burst: &mut Burst) -> u32 {
        let slots = self.ring.slots();
        let first = self.fill;
        let mut batch = Batch::new(self.fill, self.free());
        while batch.free > 0 {
            let Some(front) = burst.front() else { break };
            let plain = front.next().is_none() && front.vlan().is_none() && front.offload().is_none();
            if !plain {
                match batch.add_any(slots, burst, &mut self.in_flight, &self.limits) {
                    Added::Frame => {}
                    Added::Refused => self.counters.refused = self.counters.refused.wrapping_add(1),
                    Added::NoRoom => break,
                }
                continue;
            }
            let Some(frame) = burst.pop() else { break };
            let len_bytes = frame.segment_bytes();
            if !self.limits.allows(len_bytes) {
                self.counters.refused = self.counters.refused.wrapping_add(1);
                continue;
            }
            let addr = frame.dma_addr().get();
            // The slot is free, for `free` says so; a frame that found it taken would be dropped unsent.
            if self.in_flight.put(batch.fill.slot(), frame).is_err() {
                break;
            }
            batch.describe(slots, Segment { addr, len_bytes, sop: TxSop::PLAIN, eop: true });
            batch.count(len_bytes, 1);
        }
        if batch.frames == 0 {
            return 0;
        }
        batch.ask_for_completion(slots);
        // Between everything above (and the frames' bytes) and the one word that hands it all over. The other party is the device.
        barrier::release();
        if let Some(slot) = slots.get(first.slot()) {
            slot.store::<2>(batch.held_word2);
        }
        self.fill = batch.fill;
        self.counters.frames = self.counters.frames.wrapping_add(u64::from(batch.frames));
        self.counters.bytes = self.counters.bytes.wrapping_add(batch.bytes);
        batch.weight
    }

    /// Tells the device about what was published, unless it wants to be told less often.
    #[inline]
    fn kick(&mut self, weight: u32, must: bool) {
        self.deferred = self.deferred.saturating_add(weight);
        // Any value makes sense here: 0 means always, and a device that asks never to be told has to look by itself.
        if must || self.deferred >= self.table.tx_threshold() {
            self.ring_doorbell();
        } else {
            self.table.set_tx_num_deferred(self.deferred);
            self.counters.doorbells_saved = self.counters.doorbells_saved.wrapping_add(1);
        }
    }

    fn ring_doorbell(&mut self) {
        self.deferred = 0;
        self.table.set_tx_num_deferred(0);
        self.bar0.write(&self.doorbell, u32::from(self.fill.index()));
        self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
    }

    /// Whether the next completion is there.
    #[inline(always)]
    fn has_completion(&self) -> bool {
        let slot = self.completions.slots().get(self.next_completion.slot());
        slot.is_some_and(|slot| self.next_completion.generation().is_in_top_bit(slot.load::<3>()))
    }

    /// Reads one completion, if there is one, and drops the frames that it is about. How many they were.
    #[inline(always)]
    fn reclaim_one(&mut self) -> Result<Option<usize>, DeviceFault> {
        let Some(slot) = self.completions.slots().get(self.next_completion.slot()) else {
            return Ok(None);
        };
        if !self.next_completion.generation().is_in_top_bit(slot.load::<3>()) {
            return Ok(None);
        }
        // Between the word that says "new" and the rest of the entry, which the device wrote before it.
        barrier::acquire();
        let completion = TxCompletion::parse(slot.load::<0>(), self.entries)?;
        let frames = self.complete(completion)?;
        self.next_completion = self.next_completion.next();
        Ok(Some(frames))
    }

    /// Drops every frame up to the one that ends at `completion`'s index.
    #[inline(always)]
    fn complete(&mut self, completion: TxCompletion) -> Result<usize, DeviceFault> {
        let index = completion.eop_index;
        let in_flight = self.clean.steps_to(self.fill.index());
        let before = self.clean.steps_to(index);
        if before >= in_flight || !self.in_flight.holds(usize::from(index)) {
            return Err(DeviceFault::NotInFlight { index: index.into() });
        }
        let mut frames = 0_usize;
        let end = self.clean.advanced(before.wrapping_add(1));
        while self.clean != end {
            frames = frames.wrapping_add(usize::from(self.in_flight.take(self.clean.slot()).is_some()));
            self.clean = self.clean.next();
        }
        Ok(frames)
    }
}

impl<P: Platform> fmt::Debug for TxQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, clean, fault, counters, .. } = self;
        let in_flight = clean.steps_to(self.fill.index());
        write!(
            f,
            "vmxnet3::TxQueue({in_flight} of {entries} from {}, fault {fault:?}, {counters:?})",
            clean.index()
        )
    }
}

/// A burst on its way into the ring.
struct Batch {
    /// Where the next descriptor goes.
    fill: Cursor,
    /// How many are still free.
    free: u16,
    /// `dw2` of the burst's first descriptor: what hands it over.
    held_word2: u32,
    /// Whether that has been described.
    holds: bool,
    /// Where the last descriptor of a frame is, and its `dw3`.
    last_eop: (usize, u32),
    frames: u32,
    bytes: u64,
    weight: u32,
}

/// One descriptor's worth of a frame.
struct Segment {
    addr: u64,
    len_bytes: usize,
    sop: TxSop,
    eop: bool,
}

/// What became of the frame at the front of a burst.
enum Added {
    Frame,
    Refused,
    NoRoom,
}

impl Batch {
    #[inline(always)]
    fn new(fill: Cursor, free: u16) -> Self {
        Self { fill, free, held_word2: 0, holds: false, last_eop: (0, 0), frames: 0, bytes: 0, weight: 0 }
    }

    /// Writes one descriptor.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "lengths were checked against 16 KiB")]
    fn describe(&mut self, slots: &[Words<4>], segment: Segment) {
        let Segment { addr, len_bytes, sop, eop } = segment;
        let Some(slot) = slots.get(self.fill.slot()) else { return };
        let desc = TxDesc { addr, len_bytes: len_bytes as u32, sop, eop, cq: false };
        let [word0, word1, word2, word3] = desc.encode(self.fill.generation());
        slot.store::<0>(word0);
        slot.store::<1>(word1);
        slot.store::<3>(word3);
        if self.holds {
            slot.store::<2>(word2);
        } else {
            self.holds = true;
            self.held_word2 = word2;
        }
        if eop {
            self.last_eop = (self.fill.slot(), word3);
        }
        self.fill = self.fill.next();
        self.free = self.free.wrapping_sub(1);
    }

    #[inline(always)]
    fn count(&mut self, len_bytes: usize, weight: u32) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(len_bytes as u64);
        self.weight = self.weight.wrapping_add(weight);
    }

    /// Adds the frame at the front, whatever it is made of.
    #[inline(never)]
    fn add_any(
        &mut self,
        slots: &[Words<4>],
        burst: &mut Burst,
        in_flight: &mut Posted<Frame>,
        limits: &TxLimits,
    ) -> Added {
        let Some(front) = burst.front() else { return Added::NoRoom };
        let Some(plan) = offload::plan(front, limits) else {
            drop(burst.pop());
            return Added::Refused;
        };
        if plan.segments > self.free {
            return Added::NoRoom;
        }
        let Some(frame) = burst.pop() else { return Added::NoRoom };
        let eop_slot = self.fill.advanced(plan.segments.wrapping_sub(1)).slot();
        // Before the descriptors are written: what is described is held.
        if in_flight.put(eop_slot, frame).is_err() {
            return Added::Refused;
        }
        let Some(frame) = in_flight.get(eop_slot) else { return Added::Refused };
        let mut sop = plan.sop;
        for segment in frame.segments() {
            self.describe(
                slots,
                Segment {
                    addr: segment.dma_addr().get(),
                    len_bytes: segment.segment_bytes(),
                    sop: core::mem::replace(&mut sop, TxSop::PLAIN),
                    eop: segment.next().is_none(),
                },
            );
        }
        self.count(plan.total_bytes, plan.weight);
        Added::Frame
    }

    /// Asks for a completion with the last frame, which is not the device's yet.
    #[inline(always)]
    fn ask_for_completion(&self, slots: &[Words<4>]) {
        let (slot, word3) = self.last_eop;
        if let Some(slot) = slots.get(slot) {
            slot.store::<3>(word3 | TxDesc::CQ);
        }
    }
}

impl<P: Platform + Send + Sync> paravane_net::TxQueue for TxQueue<P> {
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.health()?;
        let offered = burst.len();
        let mut weight = self.publish(burst);
        if !burst.is_empty() && self.reclaim()? > 0 {
            weight = weight.wrapping_add(self.publish(burst));
        }
        let is_full = !burst.is_empty();
        if is_full {
            self.counters.ring_full = self.counters.ring_full.wrapping_add(1);
        }
        if weight > 0 || (is_full && self.deferred > 0) {
            // A full ring gets its doorbell whatever the device asked for: nothing moves before it does.
            self.kick(weight, is_full);
        }
        Ok(offered.saturating_sub(burst.len()))
    }

    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        self.health()?;
        let mut done = 0_usize;
        // Ends: each completion stands for at least one frame in flight, and none is added here.
        let outcome = loop {
            match self.reclaim_one() {
                Ok(Some(frames)) => done = done.wrapping_add(frames),
                Ok(None) => break Ok(done),
                Err(fault) => break Err(self.break_with(fault)),
            }
        };
        self.counters.completed = self.counters.completed.wrapping_add(done as u64);
        outcome
    }

    fn flush(&mut self) {
        if self.deferred > 0 && self.fault.is_none() {
            self.ring_doorbell();
        }
    }

    fn room(&self) -> usize {
        if self.fault.is_some() { 0 } else { self.free().into() }
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.health()?;
        self.vector.unmask(&self.bar0);
        // Between asking for an interrupt and looking for what came before it would have been raised.
        barrier::full();
        Ok(if self.has_completion() { Armed::Pending } else { Armed::Idle })
    }

    fn disarm(&mut self) {
        self.vector.mask_own(&self.bar0);
    }

    fn counters(&self) -> TxCounters {
        self.counters
    }
}

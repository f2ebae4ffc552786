//! Sending: a frame's way to the device and back.
//!
//! 1. [`transmit`](paravane_net::TxQueue::transmit) takes frames from a burst and describes each in
//!    one descriptor a segment. The first descriptor of the burst keeps last lap's generation
//!    meanwhile, and the device walks in order, so it sees none of the burst.
//! 2. One barrier, then the first descriptor changes hands, and with it the burst.
//! 3. One doorbell, or none when the device said that it looks often enough by itself.
//! 4. [`reclaim`](paravane_net::TxQueue::reclaim) reads completions. They are cumulative, so one is
//!    asked for with the last frame of each burst only (`cq`); a device that completes every frame
//!    is as welcome.
//!
//! One descriptor always stays free, so that a full ring and an empty one differ.

use core::fmt;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaError, DmaRing, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::mmio::MmioExt;
use paravane_hal::pool::Posted;
use paravane_hal::reg::{Reg, WriteOnly};
use paravane_net::{Burst, Frame, TxCounters};

use crate::batch::{self, Published, Run};
use crate::data_ring::Copies;
use crate::desc::{TxCompletion, TxDesc};
use crate::intr::Vector;
use crate::offload::{self, TxLimits, TxRules};
use crate::ring::{Cursor, rare};
use crate::table::QueueWords;
use crate::tunnel::Tunnels;

/// A transmit queue. Belongs to one core at a time.
pub struct TxQueue<P: Platform> {
    ring: DmaRing<4, P>,
    completions: DmaRing<4, P>,
    /// Every frame in flight, by the burst.
    in_flight: Posted<Run>,
    words: QueueWords<P>,
    bar0: P::Region,
    doorbell: Reg<u32, WriteOnly>,
    vector: Vector,
    rules: TxRules,
    /// Where short frames are copied to.
    copies: Option<Copies<P>>,
    /// Where the next descriptor goes.
    fill: Cursor,
    /// How many descriptors before that have frames that are not home.
    lent: u32,
    /// How many of the oldest of those the device has completed: the front of a run of which the
    /// rest is not sent.
    completed: u32,
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
    pub(crate) words: QueueWords<P>,
    pub(crate) bar0: P::Region,
    pub(crate) doorbell: Reg<u32, WriteOnly>,
    pub(crate) vector: Vector,
    pub(crate) entries: u16,
    pub(crate) limits: TxLimits,
    pub(crate) copies: Option<Copies<P>>,
}

/// Where the device finds the rings of a transmit queue.
pub(crate) struct TxRings {
    pub(crate) ring: u64,
    pub(crate) completions: u64,
    /// The data ring, and how long its slots are; 0 where there is none.
    pub(crate) data: (u64, u16),
}

impl<P: Platform> TxQueue<P> {
    /// Allocates a queue that the device does not know yet.
    pub(crate) fn new(of: &DeviceDma<P>, setup: TxSetup<P>) -> Result<Self, DmaError> {
        let TxSetup { words, bar0, doorbell, vector, entries, limits, copies } = setup;
        let align = Align::new(512);
        Ok(Self {
            ring: DmaRing::zeroed(of, entries.into(), align)?,
            completions: DmaRing::zeroed(of, entries.into(), align)?,
            in_flight: Posted::new(entries.into(), of.device())?,
            words,
            bar0,
            doorbell,
            vector,
            rules: TxRules::new(limits),
            copies,
            fill: Cursor::start(entries),
            lent: 0,
            completed: 0,
            next_completion: Cursor::start(entries),
            deferred: 0,
            device: of.device(),
            fault: None,
            counters: TxCounters::default(),
        })
    }

    /// Where the device finds its rings. From here on their memory counts as known to it.
    pub(crate) fn rings(&self) -> TxRings {
        TxRings {
            ring: self.ring.dma_addr().get(),
            completions: self.completions.dma_addr().get(),
            data: self
                .copies
                .as_ref()
                .map_or((0, 0), |Copies { ring, .. }| (ring.dma_addr(), ring.slot_bytes())),
        }
    }

    /// Says what may be asked of the device about frames in tunnels: nothing before it is asked.
    pub(crate) fn allow(&mut self, tunnels: Tunnels) {
        self.rules.tunnels = tunnels;
    }

    /// Gives all memory and frames back, against proof. False when some had to be leaked.
    #[must_use = "false means a leak"]
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { ring, completions, in_flight, copies, .. } = self;
        let freed = [
            ring.free(quiet).is_ok(),
            completions.free(quiet).is_ok(),
            in_flight.reclaim(quiet).is_ok(),
            copies.is_none_or(|copies| copies.ring.free(quiet)),
        ];
        freed == [true; 4]
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

    /// Ends the queue over a completion, behind others.
    #[cold]
    fn break_behind(&mut self, fault: DeviceFault) -> DeviceFault {
        let _ = self.release_sent();
        self.break_with(fault)
    }

    #[inline(always)]
    fn check(&self) -> Result<(), DeviceFault> {
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(*fault),
        }
    }

    /// How many descriptors are free.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.fill.entries().wrapping_sub(1).wrapping_sub(self.lent)
    }

    /// Takes frames from `burst` into the ring and hands them over. Returns what they count for the
    /// doorbell; 0 when there were none.
    #[inline(always)]
    fn publish(&mut self, burst: &mut Burst) -> u32 {
        if self.copies.is_some() {
            rare();
            return self.publish_copying(burst);
        }
        if burst.len() == 1 && self.publish_single(burst) { 1 } else { self.publish_any(burst) }
    }

    /// The same of a burst of one simple frame, which has nothing to share what a burst costs with.
    /// False, and nothing happened, when it is not one.
    #[inline(always)]
    fn publish_single(&mut self, burst: &mut Burst) -> bool {
        if self.free() == 0 || burst.domain() != Some(self.rules.limits.domain) {
            rare();
            return false;
        }
        let Some(frame) = burst.pop() else { return false };
        match self.lend_single(frame) {
            Ok(()) => true,
            Err(frame) => {
                rare();
                burst.extend(Some(frame));
                false
            }
        }
    }

    /// Describes a frame, which the device reaches, and hands it over; there is a descriptor free.
    ///
    /// # Errors
    ///
    /// `frame`, when it is not as simple, and nothing happened.
    #[inline(always)]
    fn lend_single(&mut self, frame: Frame) -> Result<(), Frame> {
        let at = self.fill;
        let Some(asked) = offload::asked_on_the_spot(frame.first_segment(), self.rules.limits) else {
            rare();
            return Err(frame);
        };
        let (addr, len_bytes) = (frame.first_segment().fresh_dma_addr_before(0), frame.segment_bytes());
        let Some(slot) = self.ring.slots().get(at.slot()) else {
            rare();
            return Err(frame);
        };
        // Free: what was lent here came home with its descriptors.
        let Some(place @ None) = self.in_flight.slots_mut().get_mut(at.slot()) else {
            rare();
            return Err(frame);
        };
        *place = Some(Run::of(frame));
        slot.store_pair::<0>(addr.get());
        let words = TxDesc::plain(at.generation()).of_segment(len_bytes) | asked;
        batch::hand_over(slot, words, slot, words);
        self.fill.advance(1);
        self.lent = self.lent.wrapping_add(1);
        self.counters.frames = self.counters.frames.wrapping_add(1);
        self.counters.bytes = self.counters.bytes.wrapping_add(len_bytes as u64);
        Ok(())
    }

    /// The same of any burst.
    #[inline(never)]
    fn publish_any(&mut self, burst: &mut Burst) -> u32 {
        let (at, free) = (self.fill, self.free());
        // Free: what was lent here came home with its descriptors.
        let Some(place @ None) = self.in_flight.slots_mut().get_mut(at.slot()) else { return 0 };
        let run = place.insert(Run { frames: Burst::new(), descriptors: 0 });
        let published = batch::publish(burst, run, self.ring.slots(), at, free, &self.rules);
        if published.frames == 0 {
            *place = None;
        }
        self.count(published)
    }

    /// The same where short frames are copied.
    #[inline(never)]
    fn publish_copying(&mut self, burst: &mut Burst) -> u32 {
        let (at, free) = (self.fill, self.free());
        let Some(copies) = &mut self.copies else { return 0 };
        // As above.
        let Some(place @ None) = self.in_flight.slots_mut().get_mut(at.slot()) else { return 0 };
        let run = place.insert(Run { frames: Burst::new(), descriptors: 0 });
        let published = batch::publish_copying(burst, run, self.ring.slots(), at, free, &self.rules, copies);
        if published.frames == 0 {
            *place = None;
        }
        self.count(published)
    }

    /// Counts what was handed over. What it counts for the doorbell.
    #[inline(always)]
    fn count(&mut self, published: Published) -> u32 {
        let Published { descriptors, frames, bytes, refused, weight } = published;
        self.fill.advance(descriptors);
        self.lent = self.lent.wrapping_add(descriptors);
        let counters = &mut self.counters;
        counters.refused = counters.refused.wrapping_add(refused.into());
        counters.frames = counters.frames.wrapping_add(frames.into());
        counters.bytes = counters.bytes.wrapping_add(bytes);
        weight
    }

    /// Goes on where the ring was full, and tells the device about that and what counts `weight`.
    #[inline(never)]
    fn transmit_rest(&mut self, burst: &mut Burst, mut weight: u32) -> Result<(), DeviceFault> {
        if paravane_net::TxQueue::reclaim(self)? > 0 {
            weight = weight.wrapping_add(self.publish(burst));
        }
        let is_full = !burst.is_empty();
        if is_full {
            self.counters.ring_full = self.counters.ring_full.wrapping_add(1);
        }
        if weight > 0 || (is_full && self.deferred > 0) {
            // A full ring gets its doorbell whatever the device asked for: nothing moves before it
            // does.
            self.kick(weight, is_full);
        }
        Ok(())
    }

    /// Tells the device about what was published, unless it wants to be told less often.
    #[inline]
    fn kick(&mut self, weight: u32, must: bool) {
        self.deferred = self.deferred.saturating_add(weight);
        // Any value makes sense here: 0 means always, and a device that asks never to be told has
        // to look by itself.
        if must || self.deferred >= self.words.tx_threshold() {
            self.ring_doorbell();
        } else {
            self.words.set_tx_num_deferred(self.deferred);
            self.counters.doorbells_saved = self.counters.doorbells_saved.wrapping_add(1);
        }
    }

    fn ring_doorbell(&mut self) {
        self.deferred = 0;
        self.words.set_tx_num_deferred(0);
        self.bar0.write(&self.doorbell, self.fill.index());
        self.counters.doorbells = self.counters.doorbells.wrapping_add(1);
    }

    /// Whether the next completion is there.
    #[inline(always)]
    fn has_completion(&self) -> bool {
        let slot = self.completions.slots().get(self.next_completion.slot());
        slot.is_some_and(|slot| self.next_completion.generation().is_in_top_bit(slot.load::<3>()))
    }

    /// Reads the completions that are there. They are cumulative, so what counts is the last one.
    ///
    /// Before a fault comes what was completed before it.
    #[inline(always)]
    fn observe(&mut self) -> Result<(), DeviceFault> {
        let oldest = self.fill.back(self.lent);
        // Ends: each completion has to be about more than the last one, and about no more than is
        // in flight.
        while let Some(slot) = self.completions.slots().get(self.next_completion.slot())
            && self.next_completion.generation().is_in_top_bit(slot.load::<3>())
        {
            // Between the word that says "new" and the rest of the entry, which the device wrote
            // before it.
            barrier::acquire();
            let word0 = slot.load::<0>();
            self.completed = TxCompletion::classify(word0, oldest, self.completed, self.lent)?.done;
            self.next_completion.advance(1);
        }
        Ok(())
    }

    /// Sends home what was completed to its end. How many frames they were.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: the device is done with a part of a frame.
    #[inline(always)]
    fn release_sent(&mut self) -> Result<usize, DeviceFault> {
        let mut frames = 0_usize;
        // Ends: each run has descriptors.
        while self.completed > 0 {
            let oldest = self.fill.back(self.lent);
            let Some(place) = self.in_flight.slots_mut().get_mut(oldest.slot()) else { break };
            let Some(run) = place else { break };
            let Some(rest) = self.completed.checked_sub(run.descriptors) else {
                rare();
                // A part of a run, of whole frames.
                if !run.has_frame_end(self.completed) {
                    let index = oldest.advanced(self.completed.wrapping_sub(1)).index();
                    return Err(DeviceFault::NotInFlight { index });
                }
                break;
            };
            frames = frames.wrapping_add(run.frames.len());
            self.completed = rest;
            self.lent = self.lent.wrapping_sub(run.descriptors);
            *place = None;
        }
        self.counters.completed = self.counters.completed.wrapping_add(frames as u64);
        Ok(frames)
    }
}

impl<P: Platform> fmt::Debug for TxQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fill, lent, fault, counters, .. } = self;
        let (entries, oldest) = (fill.entries(), fill.back(*lent).index());
        write!(f, "vmxnet3::TxQueue({lent} of {entries} from {oldest}, fault {fault:?}, {counters:?})")
    }
}

impl<P: Platform> paravane_net::TxQueue for TxQueue<P> {
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.check()?;
        let offered = burst.len();
        let weight = self.publish(burst);
        if !burst.is_empty() {
            rare();
            self.transmit_rest(burst, weight)?;
        } else if weight > 0 {
            self.kick(weight, false);
        }
        Ok(offered.saturating_sub(burst.len()))
    }

    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        self.check()?;
        match self.observe() {
            Ok(()) => self.release_sent().map_err(|fault| self.break_with(fault)),
            Err(fault) => Err(self.break_behind(fault)),
        }
    }

    fn flush(&mut self) {
        if self.deferred > 0 && self.fault.is_none() {
            self.ring_doorbell();
        }
    }

    fn remind(&mut self) {
        if self.lent > 0 && self.fault.is_none() {
            self.ring_doorbell();
        }
    }

    fn room(&self) -> usize {
        if self.fault.is_some() { 0 } else { self.free() as usize }
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.check()?;
        self.vector.unmask(&self.bar0);
        // Between asking for an interrupt and looking for what came before it would have been
        // raised.
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

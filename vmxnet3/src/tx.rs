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
use paravane_net::{Burst, TxCounters};

use crate::batch::{self, Published, Run};
use crate::desc::TxCompletion;
use crate::intr::Vector;
use crate::offload::TxLimits;
use crate::ring::Cursor;
use crate::table::QueueTable;

/// The transmit queue. Belongs to one core at a time.
pub struct TxQueue<P: Platform> {
    ring: DmaRing<4, P>,
    completions: DmaRing<4, P>,
    /// Every frame in flight, by the burst.
    in_flight: Posted<Run>,
    table: QueueTable<P>,
    bar0: P::Region,
    doorbell: Reg<u32, WriteOnly>,
    vector: Vector,
    limits: TxLimits,
    /// Where the next descriptor goes.
    fill: Cursor,
    /// The oldest descriptor whose frame is not home; `fill` when there is none.
    clean: Cursor,
    /// The oldest descriptor that the device has not completed. Between `clean` and it lies the
    /// front of a burst of which the rest is not sent.
    completed: Cursor,
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
            limits,
            fill: Cursor::start(entries),
            clean: Cursor::start(entries),
            completed: Cursor::start(entries),
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
    #[must_use = "false means a leak"]
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
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(*fault),
        }
    }

    /// How many descriptors are free.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.fill.entries().wrapping_sub(1).wrapping_sub(self.clean.steps_to(self.fill.index()))
    }

    /// Takes frames from `burst` into the ring and hands them over. Returns what they count for the
    /// doorbell; 0 when there were none.
    #[inline]
    fn publish(&mut self, burst: &mut Burst) -> u32 {
        let (at, free) = (self.fill, self.free());
        // Free: what was lent here came home with its descriptors.
        let Some(place @ None) = self.in_flight.slots_mut().get_mut(at.slot()) else { return 0 };
        let run = place.insert(Run { frames: Burst::new(), descriptors: 0 });
        let Published { descriptors, frames, bytes, refused, weight } =
            batch::publish(burst, run, self.ring.slots(), at, free, self.limits);
        if frames == 0 {
            *place = None;
        }
        self.fill = at.advanced(descriptors);
        let counters = &mut self.counters;
        counters.refused = counters.refused.wrapping_add(refused.into());
        counters.frames = counters.frames.wrapping_add(frames.into());
        counters.bytes = counters.bytes.wrapping_add(bytes);
        weight
    }

    /// Tells the device about what was published, unless it wants to be told less often.
    #[inline]
    fn kick(&mut self, weight: u32, must: bool) {
        self.deferred = self.deferred.saturating_add(weight);
        // Any value makes sense here: 0 means always, and a device that asks never to be told has
        // to look by itself.
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
        let slots = self.completions.slots();
        let in_flight = self.completed.steps_to(self.fill.index());
        let mut at = self.next_completion;
        let mut done = 0;
        // Ends: each completion has to be about more than the last one, and about no more than is
        // in flight.
        let outcome = loop {
            let Some(slot) = slots.get(at.slot()) else { break Ok(()) };
            if !at.generation().is_in_top_bit(slot.load::<3>()) {
                break Ok(());
            }
            // Between the word that says "new" and the rest of the entry, which the device wrote
            // before it.
            barrier::acquire();
            done = match TxCompletion::classify(slot.load::<0>(), self.completed, done, in_flight) {
                Ok(completion) => completion.done,
                Err(fault) => break Err(fault),
            };
            at = at.next();
        };
        self.next_completion = at;
        self.completed = self.completed.advanced(done);
        outcome
    }

    /// Sends home what was completed to its end. How many frames they were.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: the device is done with a part of a frame.
    #[inline(always)]
    fn release_sent(&mut self) -> Result<usize, DeviceFault> {
        let mut frames = 0_usize;
        let mut done = self.clean.steps_to(self.completed.index());
        // Ends: each run has descriptors.
        while done > 0 {
            let Some(place) = self.in_flight.slots_mut().get_mut(self.clean.slot()) else { break };
            let Some(run) = place else { break };
            if run.descriptors > done {
                // A part of a run, of whole frames.
                if !run.has_frame_end(done) {
                    let index = self.clean.advanced(done.wrapping_sub(1)).index();
                    return Err(DeviceFault::NotInFlight { index });
                }
                break;
            }
            frames = frames.wrapping_add(run.frames.len());
            self.clean = self.clean.advanced(run.descriptors);
            done = done.wrapping_sub(run.descriptors);
            *place = None;
        }
        self.counters.completed = self.counters.completed.wrapping_add(frames as u64);
        Ok(frames)
    }
}

impl<P: Platform> fmt::Debug for TxQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clean, fault, counters, .. } = self;
        let in_flight = clean.steps_to(self.fill.index());
        write!(
            f,
            "vmxnet3::TxQueue({in_flight} of {} from {}, fault {fault:?}, {counters:?})",
            clean.entries(),
            clean.index()
        )
    }
}

impl<P: Platform> paravane_net::TxQueue for TxQueue<P> {
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
            // A full ring gets its doorbell whatever the device asked for: nothing moves before it
            // does.
            self.kick(weight, is_full);
        }
        Ok(offered.saturating_sub(burst.len()))
    }

    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        self.health()?;
        let outcome = self.observe();
        match (outcome, self.release_sent()) {
            (Ok(()), Ok(frames)) => Ok(frames),
            (Err(fault), _) | (_, Err(fault)) => Err(self.break_with(fault)),
        }
    }

    fn flush(&mut self) {
        if self.deferred > 0 && self.fault.is_none() {
            self.ring_doorbell();
        }
    }

    fn remind(&mut self) {
        if self.clean != self.fill && self.fault.is_none() {
            self.ring_doorbell();
        }
    }

    fn room(&self) -> usize {
        if self.fault.is_some() { 0 } else { self.free() as usize }
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.health()?;
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

//! Receiving: a buffer's way to the device and back, with a frame in it.
//!
//! Two command rings feed one completion ring. Ring 1 holds `HEAD` buffers, each of which starts a frame; ring 2 holds `BODY` buffers for
//! the rest of frames that do not fit one. Where every frame fits, ring 2 is there but empty: a device that finds nothing posted
//! drops the frame, while one that finds no ring reads descriptors from address 0.
//!
//! 1. [`receive`](paravane_net::RxQueue::receive) reads completions. Slots that the device passed over keep their buffers.
//! 2. For each frame a fresh buffer is taken from the pool *first*, and put into the slot. Without one the frame is dropped and its buffer stays,
//!    so the ring never shrinks.
//! 3. At the end of the burst, all slots consumed or passed over are handed back in order behind one barrier, and the device is told
//!    if it wants to be.
//!
//! One slot of each ring always stays with the driver, so that a full ring and an empty one differ.

use core::fmt;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaError, DmaRing, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::mmio::MmioExt;
use paravane_hal::reg::{Reg, WriteOnly};
use paravane_net::{Burst, Frame, FramePool, RxChecksum, RxCounters};

use crate::chain::{Chain, Dropped};
use crate::desc::{RxCompletion, RxGeometry};
use crate::intr::Vector;
use crate::ring::Cursor;
use crate::rx_ring::RxRing;
use crate::table::QueueTable;

/// A device that wants to hear of fresh buffers hears of them from this many on; a doorbell is an exit to the hypervisor.
const ANNOUNCE_SLOTS: u16 = 16;

/// The receive queue. Belongs to one core at a time.
pub struct RxQueue<P: Platform> {
    heads: RxRing<P>,
    bodies: RxRing<P>,
    completions: DmaRing<4, P>,
    table: QueueTable<P>,
    bar0: P::Region,
    doorbells: [Reg<u32, WriteOnly>; 2],
    vector: Vector,
    pool: FramePool,
    geometry: RxGeometry,
    /// Where the next completion comes.
    next_completion: Cursor,
    /// A frame of several buffers, as far as it has come. It outlives a call: a burst may end in the middle.
    chain: Chain,
    device: DeviceTag,
    /// Once set, the queue is broken.
    fault: Option<DeviceFault>,
    counters: RxCounters,
}

/// What a receive queue is made of.
pub(crate) struct RxSetup<P: Platform> {
    pub(crate) table: QueueTable<P>,
    pub(crate) bar0: P::Region,
    pub(crate) doorbells: [Reg<u32, WriteOnly>; 2],
    pub(crate) vector: Vector,
    pub(crate) pool: FramePool,
    pub(crate) geometry: RxGeometry,
    /// Entries of the completion ring: no fewer than both command rings have.
    pub(crate) completion_entries: u16,
    /// Most buffers of a frame; with one, ring 2 stays empty.
    pub(crate) max_buffers: u16,
}

/// Where the device finds the rings of a receive queue.
pub(crate) struct RxRings {
    pub(crate) rings: [u64; 2],
    pub(crate) completions: u64,
}

impl<P: Platform> RxQueue<P> {
    /// Allocates a queue that the device does not know yet, and fills its rings from the pool.
    pub(crate) fn new(of: &DeviceDma<P>, setup: RxSetup<P>) -> Result<Self, DmaError> {
        let RxSetup { table, bar0, doorbells, vector, pool, geometry, completion_entries, max_buffers } =
            setup;
        let [head_entries, body_entries] = geometry.entries;
        Ok(Self {
            heads: RxRing::heads(of, head_entries, geometry.buffer_bytes)?,
            bodies: RxRing::bodies(of, body_entries, geometry.buffer_bytes, max_buffers > 1)?,
            completions: DmaRing::zeroed(of, completion_entries.into(), Align::new(512))?,
            table,
            bar0,
            doorbells,
            vector,
            pool,
            geometry,
            next_completion: Cursor::start(completion_entries),
            chain: Chain::new(max_buffers),
            device: of.device(),
            fault: None,
            counters: RxCounters::default(),
        })
    }

    /// Posts buffers for the first time. Returns how many ring 1 got.
    pub(crate) fn fill(&mut self) -> u16 {
        self.bodies.hand_over(&self.pool);
        self.heads.hand_over(&self.pool)
    }

    /// Where the device finds its rings. From here on their memory counts as known to it.
    pub(crate) fn rings(&self) -> RxRings {
        RxRings {
            rings: [self.heads.dma_addr(), self.bodies.dma_addr()],
            completions: self.completions.dma_addr().get(),
        }
    }

    /// Tells the device where both rings stand, asked or not: once, after activation.
    pub(crate) fn announce(&mut self) {
        let [first, second] = self.doorbells;
        self.bar0.write(&first, self.heads.announce());
        self.bar0.write(&second, self.bodies.announce());
    }

    /// Gives all memory and frames back, against proof. False when some had to be leaked.
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { heads, bodies, completions, .. } = self;
        let freed = [heads.release(quiet), bodies.release(quiet), completions.free(quiet).is_ok()];
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

    /// The next completion, if there is one: a snapshot, checked.
    #[inline(always)]
    fn observe(&self) -> Result<Option<RxCompletion>, DeviceFault> {
        let Some(slot) = self.completions.slots().get(self.next_completion.slot()) else {
            return Ok(None);
        };
        let word3 = slot.load::<3>();
        if !self.next_completion.generation().is_in_top_bit(word3) {
            return Ok(None);
        }
        // Between the word that says "new" and the rest of the entry and the frame's bytes, which the device wrote before it.
        barrier::acquire();
        let words = [slot.load::<0>(), slot.load::<1>(), slot.load::<2>(), word3];
        RxCompletion::parse(words, &self.geometry).map(Some)
    }

    /// Takes a completion's buffer out of its ring; a whole frame, if this completes one.
    #[inline(always)]
    fn accept(&mut self, completion: &RxCompletion) -> Result<Option<Frame>, DeviceFault> {
        let ring = if completion.second_ring { &mut self.bodies } else { &mut self.heads };
        let passed_over = ring.consume(completion.index)?;
        self.counters.skipped = self.counters.skipped.wrapping_add(passed_over.into());

        let is_whole = completion.sop && completion.eop && !completion.err && completion.len_bytes > 0;
        if !is_whole || !self.chain.is_idle() {
            return self.accept_piece(completion);
        }
        let Some(fresh) = self.pool.get() else {
            self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1);
            return Ok(None);
        };
        let mut frame = ring.exchange(completion.index, fresh)?;
        // Fits, for the length was checked against the buffer's.
        frame.set_segment_bytes(completion.len_bytes.into());
        self.counters.bytes = self.counters.bytes.wrapping_add(completion.len_bytes.into());
        annotate(&mut frame, completion);
        Ok(Some(frame))
    }

    /// The same for what is not a whole frame in one buffer.
    #[inline(never)]
    fn accept_piece(&mut self, completion: &RxCompletion) -> Result<Option<Frame>, DeviceFault> {
        if completion.sop {
            if completion.len_bytes == 0 && completion.eop && self.chain.is_idle() {
                // "Buffer not used": it stays where it is.
                self.counters.skipped = self.counters.skipped.wrapping_add(1);
                return Ok(None);
            }
            self.chain.begin()?;
        }
        let damaged = completion.eop && completion.err;
        if self.chain.wants_piece()? && completion.len_bytes > 0 && !damaged {
            match self.pool.get() {
                Some(fresh) => {
                    let ring = if completion.second_ring { &mut self.bodies } else { &mut self.heads };
                    let mut piece = ring.exchange(completion.index, fresh)?;
                    piece.set_segment_bytes(completion.len_bytes.into());
                    self.chain.add(piece);
                }
                None => self.chain.give_up(Dropped::NoBuffer),
            }
        }
        if !completion.eop {
            return Ok(None);
        }
        if damaged {
            self.chain.give_up(Dropped::Damaged);
        }
        match self.chain.finish() {
            Ok(mut frame) => {
                annotate(&mut frame, completion);
                let bytes = frame.total_bytes() as u64;
                self.counters.bytes = self.counters.bytes.wrapping_add(bytes);
                return Ok(Some(frame));
            }
            Err(Dropped::NoBuffer) => self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1),
            Err(Dropped::Damaged) => self.counters.errors = self.counters.errors.wrapping_add(1),
            Err(Dropped::TooLong) => self.counters.oversized = self.counters.oversized.wrapping_add(1),
        }
        Ok(None)
    }

    /// Hands slots back, and tells the device if it wants to be told.
    #[inline]
    fn post(&mut self) {
        let [first, second] = self.doorbells;
        self.heads.hand_over(&self.pool);
        let mut rung = 0_u64;
        let wanted = self.table.update_rx_prod();
        if wanted && self.heads.owes_announcement(ANNOUNCE_SLOTS) {
            self.bar0.write(&first, self.heads.announce());
            rung = rung.wrapping_add(1);
        }
        if self.bodies.is_in_use() {
            self.bodies.hand_over(&self.pool);
            if wanted && self.bodies.owes_announcement(ANNOUNCE_SLOTS) {
                self.bar0.write(&second, self.bodies.announce());
                rung = rung.wrapping_add(1);
            }
        }
        self.counters.doorbells = self.counters.doorbells.wrapping_add(rung);
    }

    /// Whether the next completion is there.
    #[inline(always)]
    fn has_completion(&self) -> bool {
        let slot = self.completions.slots().get(self.next_completion.slot());
        slot.is_some_and(|slot| self.next_completion.generation().is_in_top_bit(slot.load::<3>()))
    }
}

impl<P: Platform> fmt::Debug for RxQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { heads, bodies, fault, counters, .. } = self;
        write!(f, "vmxnet3::RxQueue({heads:?}, {bodies:?}, fault {fault:?}, {counters:?})")
    }
}

/// Notes what the device found out about a frame. A fresh frame says "nothing" by itself.
#[inline(always)]
fn annotate(frame: &mut Frame, completion: &RxCompletion) {
    let checksum = completion.checksum();
    if checksum != RxChecksum::Unverified {
        frame.set_rx_checksum(checksum);
    }
    if let Some(tag) = completion.vlan() {
        frame.set_vlan(Some(tag));
    }
    if let Some(hash) = completion.hash() {
        frame.set_rx_hash(Some(hash));
    }
}

impl<P: Platform + Send + Sync> paravane_net::RxQueue for RxQueue<P> {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.health()?;
        let mut frames = 0_usize;
        let mut seen = false;
        // Ends: each completion takes a slot that the device had, and none is handed back before the end.
        let outcome = loop {
            if burst.room() == 0 {
                break Ok(frames);
            }
            let completion = match self.observe() {
                Ok(Some(completion)) => completion,
                Ok(None) => break Ok(frames),
                Err(fault) => break Err(fault),
            };
            seen = true;
            match self.accept(&completion) {
                // There is room, as seen above.
                Ok(Some(frame)) => frames = frames.wrapping_add(usize::from(burst.push(frame).is_ok())),
                Ok(None) => {}
                Err(fault) => break Err(fault),
            }
            self.next_completion = self.next_completion.next();
        };
        self.counters.frames = self.counters.frames.wrapping_add(frames as u64);
        if let Err(fault) = outcome {
            return Err(self.break_with(fault));
        }
        // Without completions there is something to do only after the pool had run dry; nothing else would look again.
        if seen || self.heads.missing() > 0 || self.bodies.missing() > 0 {
            self.post();
        }
        outcome
    }

    fn refill(&mut self) -> usize {
        if self.fault.is_none() {
            self.post();
        }
        usize::from(self.heads.missing()).saturating_add(self.bodies.missing().into())
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

    fn counters(&self) -> RxCounters {
        self.counters
    }
}

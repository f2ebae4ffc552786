//! Receiving: a buffer's way to the device and back, with a frame in it.
//!
//! Two command rings feed one completion ring. Ring 1 holds `HEAD` buffers, each of which starts a
//! frame; ring 2 holds `BODY` buffers for the rest of frames that do not fit one. Where every frame
//! fits, ring 2 is there but empty: a device that finds nothing posted drops the frame, while one
//! that finds no ring reads descriptors from address 0.
//!
//! 1. [`receive`](paravane_net::RxQueue::receive) reads completions. What the device passed over
//!    joins the queue's stock of buffers.
//! 2. For each frame there has to be a fresh buffer in the stock *first*, which is filled from the
//!    pool. Without one the frame is dropped and its buffer joins the stock, so the ring never
//!    shrinks.
//! 3. At the end of a burst, if they are enough by then, all slots consumed or passed over get
//!    buffers from the stock and are handed back in order behind one barrier, and the device is
//!    told if it wants to be.
//!
//! One slot of each ring always stays with the driver, so that a full ring and an empty one differ.

use core::fmt;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaError, DmaRing, Quiet, Words};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::mmio::MmioExt;
use paravane_hal::reg::{Reg, WriteOnly};
use paravane_net::{Burst, FramePool, RxChecksum, RxCounters, burst_room};

use crate::assemble::{Assembler, annotated};
use crate::chain::Chain;
use crate::data_ring::DataRing;
use crate::desc::{BufferKind, RxCompletion, RxGeometry, RxJudged};
use crate::intr::Vector;
use crate::large::LargeRules;
use crate::ring::{Cursor, rare};
use crate::rx_ring::RxRing;
use crate::table::QueueWords;
use crate::tunnel::TunnelPorts;

/// A device that wants to hear of fresh buffers hears of them from this many on, or from an eighth
/// of a short ring; a doorbell is an exit to the hypervisor.
const ANNOUNCE_SLOTS: u32 = 16;

/// Slots that came back wait until they are so many, and are handed over together; in short rings,
/// until they are an eighth of the shortest.
const POST_SLOTS: u32 = 16;

/// A receive queue. Belongs to one core at a time.
pub struct RxQueue<P: Platform> {
    completions: DmaRing<4, P>,
    /// Where the next completion comes.
    next_completion: Cursor,
    geometry: RxGeometry,
    assembler: Assembler<P>,
    words: QueueWords<P>,
    bar0: P::Region,
    doorbells: [Reg<u32, WriteOnly>; 2],
    /// From how many slots that came back on they are handed over.
    post_at: u32,
    vector: Vector,
    device: DeviceTag,
    /// Once set, the queue is broken.
    fault: Option<DeviceFault>,
}

/// What a receive queue is made of.
pub(crate) struct RxSetup<P: Platform> {
    pub(crate) words: QueueWords<P>,
    pub(crate) bar0: P::Region,
    pub(crate) doorbells: [Reg<u32, WriteOnly>; 2],
    pub(crate) vector: Vector,
    pub(crate) pool: FramePool,
    pub(crate) geometry: RxGeometry,
    /// As long as the first ring, where there is one.
    pub(crate) data: Option<DataRing<P>>,
    /// Entries of the completion ring: no fewer than both command rings have.
    pub(crate) completion_entries: u16,
    /// Most buffers of a frame; with one, ring 2 stays empty.
    pub(crate) max_buffers: u16,
    /// Whether the device may put packets together.
    pub(crate) large: Option<LargeRules>,
    /// Receive queues that share the pool.
    pub(crate) queues: usize,
    /// Where tunnels are that it was asked to look into.
    pub(crate) tunnels: TunnelPorts,
}

/// Where the device finds the rings of a receive queue.
pub(crate) struct RxRings {
    pub(crate) rings: [u64; 2],
    pub(crate) completions: u64,
    /// The data ring, and how long its slots are; 0 where there is none.
    pub(crate) data: (u64, u16),
}

impl<P: Platform> RxQueue<P> {
    /// Allocates a queue that the device does not know yet, and fills its rings from the pool.
    pub(crate) fn new(of: &DeviceDma<P>, setup: RxSetup<P>) -> Result<Self, DmaError> {
        let RxSetup {
            words,
            bar0,
            doorbells,
            vector,
            pool,
            mut geometry,
            data,
            completion_entries,
            max_buffers,
            large,
            tunnels,
            queues,
        } = setup;
        geometry.data_slot_bytes = data.as_ref().map_or(0, DataRing::slot_bytes);
        let [head_entries, body_entries] = geometry.entries;
        let shorter = if max_buffers > 1 { head_entries.min(body_entries) } else { head_entries };
        let assembler = Assembler {
            heads: RxRing::heads(of, head_entries, geometry.buffer_bytes)?,
            bodies: RxRing::bodies(of, body_entries, geometry.buffer_bytes, max_buffers > 1)?,
            data,
            chain: Chain::new(max_buffers),
            merged: None,
            large,
            tunnels,
            pool,
            stock: Burst::new(),
            owed: 0,
            owed_bodies: 0,
            short: 0,
            queues,
            counters: RxCounters::default(),
        };
        Ok(Self {
            completions: DmaRing::zeroed(of, completion_entries.into(), Align::new(512))?,
            next_completion: Cursor::start(completion_entries),
            geometry,
            assembler,
            words,
            bar0,
            doorbells,
            post_at: POST_SLOTS.min(u32::from(shorter / 8)),
            vector,
            device: of.device(),
            fault: None,
        })
    }

    /// Posts up to `most` buffers of `kind`, before the device knows of any. Returns how many were
    /// posted.
    #[inline(never)]
    pub(crate) fn fill(&mut self, kind: BufferKind, most: usize) -> usize {
        let Assembler { heads, bodies, pool, stock, short, .. } = &mut self.assembler;
        let ring = match kind {
            BufferKind::Head => &mut *heads,
            BufferKind::Body => &mut *bodies,
        };
        stock.append(pool.take((ring.missing() as usize).min(most)));
        let posted = ring.hand_over(stock) as usize;
        *short = heads.missing().wrapping_add(bodies.missing());
        posted
    }

    /// Whether frames go on in the second ring.
    pub(crate) fn has_bodies(&self) -> bool {
        self.assembler.bodies.missing() > 0
    }

    /// Where the device finds its rings. From here on their memory counts as known to it.
    pub(crate) fn rings(&self) -> RxRings {
        RxRings {
            rings: [self.assembler.heads.dma_addr(), self.assembler.bodies.dma_addr()],
            completions: self.completions.dma_addr().get(),
            data: self.assembler.data.as_ref().map_or((0, 0), |data| (data.dma_addr(), data.slot_bytes())),
        }
    }

    /// Tells the device where both rings stand, asked or not: once, after activation.
    pub(crate) fn announce(&mut self) {
        let [first, second] = self.doorbells;
        self.bar0.write(&first, self.assembler.heads.announce());
        self.bar0.write(&second, self.assembler.bodies.announce());
    }

    /// Gives all memory and frames back, against proof. False when some had to be leaked.
    #[must_use = "false means a leak"]
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { completions, assembler: Assembler { heads, bodies, data, .. }, .. } = self;
        let freed = [
            heads.release(quiet),
            bodies.release(quiet),
            completions.free(quiet).is_ok(),
            data.is_none_or(|data| data.free(quiet)),
        ];
        freed == [true; 4]
    }

    /// Where its buffers come from.
    pub(crate) fn pool(&self) -> &FramePool {
        &self.assembler.pool
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
    fn check(&self) -> Result<(), DeviceFault> {
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(*fault),
        }
    }

    /// Adds frames to `burst` until it is full or there are none.
    #[inline(always)]
    fn collect(&mut self, burst: &mut Burst) -> Result<(), DeviceFault> {
        // Ends: each completion takes a slot that the device had, and none is handed back here.
        loop {
            let words = match self.collect_in_turn(burst) {
                Next::Nothing => return Ok(()),
                Next::Unread if burst_room(burst) == 0 => return Ok(()),
                Next::Unread => self.observe(),
                Next::Read(words) => Some(words),
            };
            rare();
            let mut words = words;
            // Pieces of a frame mostly come together.
            while let Some(said) = words {
                self.accept(said, burst)?;
                if self.assembler.chain.is_idle() {
                    break;
                }
                words = self.observe();
            }
            if words.is_none() {
                return Ok(());
            }
        }
    }

    /// Adds frames to `burst` as long as each completion is the usual one: about a whole undamaged
    /// frame, in the slot whose turn it is. What is known of the completion after those.
    #[inline(always)]
    fn collect_in_turn(&mut self, burst: &mut Burst) -> Next {
        if self.geometry.ids.first == 0 {
            self.collect_by::<true>(burst)
        } else {
            self.collect_of_others(burst)
        }
    }

    /// The same of queues behind the first.
    #[inline(never)]
    fn collect_of_others(&mut self, burst: &mut Burst) -> Next {
        self.collect_by::<false>(burst)
    }

    /// The same of the first queue, which most devices have alone, or of any: a loop that knows the
    /// number of its ring when it is compiled has a register more.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a run is shorter than a ring")]
    fn collect_by<const FIRST: bool>(&mut self, burst: &mut Burst) -> Next {
        let first_id = if FIRST { 0 } else { self.geometry.ids.first };
        let Self { completions, assembler, geometry, next_completion: at, .. } = self;
        // A hint, to have fresh buffers for all. What counts is the look at each completion.
        let new = new_ones(completions.slots(), *at, burst_room(burst));
        if new.is_empty() {
            return Next::Nothing;
        }
        if !assembler.chain.is_idle() {
            rare();
            return Next::Unread;
        }
        // Only there, for it is 600 bytes of an image.
        if FIRST && let [entry] = new {
            let Some(said) = read_new(entry, *at) else { return Next::Nothing };
            return self.collect_one(first_id, said, burst);
        }
        let fresh = assembler.fresh(new.len());
        let entries = new.get(..fresh).unwrap_or(new);
        let (start, usual_bytes) = (*at, geometry.usual_bytes);
        let mut plain = RxCompletion::plain_word0(first_id, assembler.heads.turn());
        let (mut bytes, mut next) = (0_u64, Next::Unread);
        let frames = assembler.heads.take_in_turn(burst, entries, |mut frame, entry| {
            let word3 = entry.load::<3>();
            if !RxCompletion::is_new_and_whole(word3, start.generation()) {
                rare();
                if start.generation().is_in_top_bit(word3) {
                    // As in `word3_of_new`; to be judged outside.
                    barrier::acquire();
                    next = Next::Read([entry.load::<0>(), entry.load::<1>(), entry.load::<2>(), word3]);
                } else {
                    next = Next::Nothing;
                }
                return Err(frame);
            }
            // As in `word3_of_new`.
            barrier::acquire();
            let (word0, word2) = (entry.load::<0>(), entry.load::<2>());
            let turn = plain;
            plain = turn.wrapping_add(1);
            let mut receive = |len_bytes: u16| {
                bytes = bytes.wrapping_add(len_bytes.into());
                // Fits, for the length was checked against the buffer's.
                frame.set_received(len_bytes);
            };
            if let Some(len_bytes) = RxCompletion::plain(word0, word2, turn, usual_bytes) {
                receive(len_bytes);
                return Ok(frame);
            }
            if let Some(len_bytes) = RxCompletion::summed(word0, word2, turn, usual_bytes) {
                receive(len_bytes);
                if RxCompletion::verdict(word3) == RxChecksum::Good {
                    frame.set_rx_checksum(RxChecksum::Good);
                }
                return Ok(frame);
            }
            let said = [word0, entry.load::<1>(), word2, word3];
            match RxCompletion::classify(said, turn, usual_bytes) {
                RxJudged::Noted(completion) => {
                    receive(completion.len_bytes());
                    Ok(annotated(frame, completion))
                }
                RxJudged::Unusual(_) => {
                    rare();
                    // To be judged outside.
                    next = Next::Read(said);
                    Err(frame)
                }
            }
        });
        at.advance(frames as u32);
        assembler.owed = assembler.owed.wrapping_add(frames as u32);
        assembler.counters.bytes = assembler.counters.bytes.wrapping_add(bytes);
        // All of them, and the lap goes on: behind these there was none.
        if frames == new.len() && at.slot() != 0 { Next::Nothing } else { next }
    }

    /// The same of one frame, which is all that there mostly is while little comes: it costs a
    /// tenth less than a run of one.
    #[inline(always)]
    fn collect_one(&mut self, first_id: u32, said: [u32; 4], burst: &mut Burst) -> Next {
        let Self { assembler, geometry, next_completion, .. } = self;
        let plain = RxCompletion::plain_word0(first_id, assembler.heads.turn());
        let RxJudged::Noted(completion) = RxCompletion::classify(said, plain, geometry.usual_bytes) else {
            return Next::Read(said);
        };
        if assembler.fresh(1) == 0 {
            return Next::Read(said);
        }
        let Some(mut frame) = assembler.heads.take() else { return Next::Read(said) };
        // Fits, for the length was checked against the buffer's.
        frame.set_received(completion.len_bytes());
        burst.push(annotated(frame, completion));
        next_completion.advance(1);
        assembler.owed = assembler.owed.wrapping_add(1);
        let bytes = &mut assembler.counters.bytes;
        *bytes = bytes.wrapping_add(completion.len_bytes().into());
        // As behind a run.
        if next_completion.slot() == 0 { Next::Unread } else { Next::Nothing }
    }

    /// The next completion's words, if it is there.
    #[inline]
    fn observe(&self) -> Option<[u32; 4]> {
        let at = self.next_completion;
        self.completions.slots().get(at.slot()).and_then(|entry| read_new(entry, at))
    }

    /// Serves a completion, whatever it is about; a frame that it completes joins `burst`, which
    /// has room.
    #[inline(never)]
    fn accept(&mut self, words: [u32; 4], burst: &mut Burst) -> Result<(), DeviceFault> {
        let plain = RxCompletion::plain_word0(self.geometry.ids.first, self.assembler.heads.turn());
        let judged = RxCompletion::classify(words, plain, self.geometry.buffer_bytes);
        let frame = self.assembler.accept(judged.check(&self.geometry)?)?;
        self.next_completion.advance(1);
        burst.extend(frame);
        Ok(())
    }

    /// Hands slots back, and tells the device if it wants to be told.
    #[inline(never)]
    fn post(&mut self) {
        self.assembler.hand_over();
        if self.words.update_rx_prod() {
            let Assembler { heads, bodies, counters, .. } = &mut self.assembler;
            for (ring, doorbell) in [heads, bodies].into_iter().zip(&self.doorbells) {
                if ring.owes_announcement(ANNOUNCE_SLOTS) {
                    self.bar0.write(doorbell, ring.announce());
                    counters.doorbells = counters.doorbells.wrapping_add(1);
                }
            }
        }
    }

    /// Whether the next completion is there.
    #[inline(always)]
    fn has_completion(&self) -> bool {
        let slot = self.completions.slots().get(self.next_completion.slot());
        slot.is_some_and(|slot| self.next_completion.generation().is_in_top_bit(slot.load::<3>()))
    }
}

/// What is known of the completion after a run.
enum Next {
    /// There is none, as far as was seen.
    Nothing,
    /// It was read, and is not one of a run.
    Read([u32; 4]),
    /// It was not looked at.
    Unread,
}

/// The completions from `at` on that look new, up to `at_most` or the end of the lap.
#[inline(always)]
fn new_ones(slots: &[Words<4>], at: Cursor, at_most: usize) -> &[Words<4>] {
    let is_new = |slot: &&Words<4>| at.generation().is_in_top_bit(slot.load::<3>());
    let rest = slots.get(at.slot()..).unwrap_or_default();
    let rest = rest.get(..at_most).unwrap_or(rest);
    // The device writes them in order, so the second one mostly says that there is one or none, or
    // the last one speaks for all.
    if let [first, second, ..] = rest
        && !is_new(&second)
    {
        return rest.get(..is_new(&first).into()).unwrap_or_default();
    }
    if rest.last().as_ref().is_some_and(is_new) {
        return rest;
    }
    let new = rest.iter().take_while(is_new).count();
    rest.get(..new).unwrap_or_default()
}

/// A completion's `dw3`, read once, if it is new on the lap of `at`. The rest may be read then.
#[inline(always)]
fn word3_of_new(completion: &Words<4>, at: Cursor) -> Option<u32> {
    let word3 = completion.load::<3>();
    if !at.generation().is_in_top_bit(word3) {
        return None;
    }
    // Between the word that says "new" and the rest of the entry and the frame's bytes, which the
    // device wrote before it.
    barrier::acquire();
    Some(word3)
}

/// A completion's words, each read once, if it is new on the lap of `at`.
#[inline(always)]
fn read_new(completion: &Words<4>, at: Cursor) -> Option<[u32; 4]> {
    let word3 = word3_of_new(completion, at)?;
    Some([completion.load::<0>(), completion.load::<1>(), completion.load::<2>(), word3])
}

impl<P: Platform> fmt::Debug for RxQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { assembler: Assembler { heads, bodies, counters, .. }, fault, .. } = self;
        write!(f, "vmxnet3::RxQueue({heads:?}, {bodies:?}, fault {fault:?}, {counters:?})")
    }
}

impl<P: Platform> paravane_net::RxQueue for RxQueue<P> {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.check()?;
        let before = burst.len();
        let outcome = self.collect(burst);
        let frames = burst.len().wrapping_sub(before);
        let counters = &mut self.assembler.counters;
        counters.frames = counters.frames.wrapping_add(frames as u64);
        if let Err(fault) = outcome {
            return Err(self.break_with(fault));
        }
        // Slots that the pool had no buffers for: nothing else would look again.
        if self.assembler.owed >= self.post_at || self.assembler.short > 0 {
            self.post();
        }
        Ok(frames)
    }

    fn refill(&mut self) -> usize {
        if self.fault.is_none() {
            self.post();
        }
        self.assembler.missing() as usize
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.check()?;
        // However few: who waits now may wait long, and the device does not interrupt because the
        // pool has buffers again.
        if self.assembler.owed > 0 || self.assembler.can_grow() {
            self.post();
        }
        self.vector.unmask(&self.bar0);
        // Between asking for an interrupt and looking for what came before it would have been
        // raised.
        barrier::full();
        Ok(if self.has_completion() { Armed::Pending } else { Armed::Idle })
    }

    fn disarm(&mut self) {
        self.vector.mask_own(&self.bar0);
    }

    fn counters(&self) -> RxCounters {
        self.assembler.counters
    }
}

//! From any receive completion to a frame: both rings' buffers, fresh ones from the pool in
//! exchange, and a frame of several buffers as far as it has come.
//!
//! The usual completion, the next slot's whole frame, does not come here;
//! [`RxQueue`](crate::RxQueue) serves those by the run.
//!
//! For each buffer that leaves there is a fresh one in the stock first. Without one the frame is
//! dropped, and its buffer joins the stock itself, so that the rings never shrink. Nor do they grow
//! so far that no fresh one is left: what [`room`] says stays outside of them, however small the
//! pool is.

use paravane_hal::dma::Dma;
use paravane_hal::fault::DeviceFault;
use paravane_net::{BURST_FRAMES, Burst, Frame, FramePool, RxChecksum, RxCounters};

use crate::chain::{Chain, Dropped};
use crate::data_ring::DataRing;
use crate::desc::{Merged, RxCompletion};
use crate::large::LargeRules;
use crate::ring::rare;
use crate::rx_ring::RxRing;
use crate::tunnel::{TunnelHeaders, TunnelPorts};

pub(crate) struct Assembler<D: Dma> {
    pub(crate) heads: RxRing<D>,
    pub(crate) bodies: RxRing<D>,
    /// Where short frames come to.
    pub(crate) data: Option<DataRing<D>>,
    /// It outlives a call: a burst may end in the middle of a frame.
    pub(crate) chain: Chain,
    /// What the device said at the start of that frame.
    pub(crate) merged: Option<Merged>,
    /// Whether it may put packets together.
    pub(crate) large: Option<LargeRules>,
    /// Where tunnels are that it was asked to look into.
    pub(crate) tunnels: TunnelPorts,
    /// Where fresh buffers come from.
    pub(crate) pool: FramePool,
    /// Buffers that no slot has: fresh ones, and such as the device passed over.
    pub(crate) stock: Burst,
    /// How many slots wait for a buffer that the stock has,
    pub(crate) owed: u32,
    /// of them so many of the second ring;
    pub(crate) owed_bodies: u32,
    /// and how many had to be left without.
    pub(crate) short: u32,
    /// Receive queues that the pool is shared with, this one included.
    pub(crate) queues: usize,
    pub(crate) counters: RxCounters,
}

impl<D: Dma> Assembler<D> {
    /// How many slots could have a buffer and have none.
    #[inline(always)]
    pub(crate) fn missing(&self) -> u32 {
        self.owed.wrapping_add(self.short)
    }

    /// Whether a slot was left without a buffer, and the pool has some again.
    pub(crate) fn can_grow(&self) -> bool {
        self.short > 0 && !self.pool.is_dry()
    }

    /// Has the rings get what they miss, as far as there are buffers. What is owed is in the stock.
    pub(crate) fn hand_over(&mut self) {
        if self.short > 0 {
            self.grow();
        } else {
            self.heads.hand_over(&mut self.stock);
            self.bodies.hand_over(&mut self.stock);
        }
        (self.owed, self.owed_bodies) = (0, 0);
        self.short = self.heads.missing().wrapping_add(self.bodies.missing());
    }

    /// The same, with what the pool can spare for slots that were left without.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let (owed, short) = (self.owed as usize, self.short as usize);
        let posted = owed.wrapping_add(self.handed_over() as usize);
        let wanted = owed.wrapping_add(short).wrapping_add(BURST_FRAMES);
        self.pool.restock(&mut self.stock, wanted, wanted);
        let spare = self.stock.len().saturating_sub(owed);
        let more = room(spare, posted, self.queues).min(short);
        let mut fresh = self.stock.take_front(owed.wrapping_add(more));
        // Of what is more, either ring gets half, as far as it takes it.
        let mut for_bodies = fresh.take_front((self.owed_bodies as usize).wrapping_add(more / 2));
        self.bodies.hand_over(&mut for_bodies);
        fresh.append(for_bodies);
        self.heads.hand_over(&mut fresh);
        self.bodies.hand_over(&mut fresh);
        // Others may be waiting for the rest. It is there for this queue as well.
        self.stock.clear();
    }

    /// How many slots the device has.
    fn handed_over(&self) -> u32 {
        self.heads.handed_over().wrapping_add(self.bodies.handed_over())
    }

    /// How many more buffers than are owed the stock has, up to `wanted` and at least, if there are
    /// as many.
    #[inline(always)]
    pub(crate) fn fresh(&mut self, wanted: usize) -> usize {
        let owed = self.owed as usize;
        let needed = owed.wrapping_add(wanted);
        if self.stock.len() < needed {
            rare();
            self.pool.restock(&mut self.stock, needed, BURST_FRAMES);
        }
        self.stock.len().saturating_sub(owed)
    }

    /// Takes a completion's buffer out of its ring; a whole frame, if this completes one.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device does not have that buffer.
    pub(crate) fn accept(&mut self, completion: RxCompletion) -> Result<Option<Frame>, DeviceFault> {
        // Before anything is owed for it.
        let has_fresh = self.fresh(1) > 0;
        let ring = if completion.is_second_ring() { &mut self.bodies } else { &mut self.heads };
        let passed_over = ring.consume(completion.index(), &mut self.stock)?;
        let taken = passed_over.wrapping_add(1);
        self.owed = self.owed.wrapping_add(taken);
        if completion.is_second_ring() {
            self.owed_bodies = self.owed_bodies.wrapping_add(taken);
        }
        let unused = passed_over.wrapping_add(completion.is_unused().into());
        self.counters.skipped = self.counters.skipped.wrapping_add(unused.into());
        if completion.is_unused() {
            ring.put_back(&mut self.stock);
            return Ok(None);
        }
        if completion.sop() {
            self.merged = completion.merged();
            if let Some(why) = self.chain.begin() {
                count(&mut self.counters, why);
            }
        }
        if completion.is_misplaced() {
            self.chain.give_up(Dropped::Disordered);
        }
        // What describes the frame, damage included, counts with its end.
        let damaged = completion.eop() && completion.err();
        let is_wanted =
            self.chain.wants_piece(completion.len_bytes()) && completion.len_bytes() > 0 && !damaged;
        if is_wanted && has_fresh {
            if let Some(mut piece) = ring.take() {
                let is_filled = match &self.data {
                    // The slot is read before its descriptor is handed over again.
                    Some(data) if completion.is_data_ring() => {
                        piece.clear();
                        data.take(completion.index(), completion.len_bytes(), &mut piece)
                    }
                    // It fits: the completion was held against the buffer.
                    _ => piece.set_received(completion.len_bytes()),
                };
                if is_filled {
                    self.chain.add(piece);
                }
            }
        } else {
            ring.put_back(&mut self.stock);
            if is_wanted {
                self.chain.give_up(Dropped::NoBuffer);
            }
        }
        if !completion.eop() {
            return Ok(None);
        }
        if damaged {
            self.chain.give_up(Dropped::Damaged);
        }
        match self.finish(completion) {
            Ok((frame, total_bytes)) => {
                self.counters.bytes = self.counters.bytes.wrapping_add(total_bytes.into());
                Ok(Some(frame))
            }
            Err(why) => {
                count(&mut self.counters, why);
                Ok(None)
            }
        }
    }

    /// The whole frame that ends with `completion`, and how long it is.
    ///
    /// # Errors
    ///
    /// Why it was dropped.
    fn finish(&mut self, completion: RxCompletion) -> Result<(Frame, u32), Dropped> {
        let (frame, total_bytes) = self.chain.finish()?;
        let mut frame = annotated(frame, completion);
        if completion.vouches_for_inner() && TunnelHeaders::read(&frame, self.tunnels).is_some() {
            frame.set_good_inner_checksum(true);
        }
        let frame = match (self.large, self.merged) {
            (Some(rules), merged) => rules.annotate(frame, total_bytes, merged)?,
            // What nobody asked for is not what it seems.
            (None, Some(_)) => return Err(Dropped::Damaged),
            (None, None) => frame,
        };
        Ok((frame, total_bytes))
    }
}

/// How many of `spare` buffers the rings of a queue may get that have `posted`: all but a burst for
/// each of `queues`, which each may have in stock, or all but what would be as many as they have,
/// where there are few. Rings that had all would receive nothing.
fn room(spare: usize, posted: usize, queues: usize) -> usize {
    let but_bursts = spare.saturating_sub(BURST_FRAMES.saturating_mul(queues));
    let but_as_many =
        spare.saturating_sub(posted.saturating_mul(queues)).checked_div(queues.saturating_add(1));
    but_bursts.max(but_as_many.unwrap_or(0))
}

/// Counts a frame that was dropped.
fn count(counters: &mut RxCounters, why: Dropped) {
    let counter = match why {
        Dropped::NoBuffer => &mut counters.no_buffer,
        Dropped::Damaged => &mut counters.errors,
        Dropped::TooLong => &mut counters.oversized,
        Dropped::Disordered => &mut counters.disordered,
    };
    *counter = counter.wrapping_add(1);
}

/// A frame with what the device found out about it. A fresh frame says "nothing" by itself.
#[inline(always)]
pub(crate) fn annotated(mut frame: Frame, completion: RxCompletion) -> Frame {
    let checksum = completion.checksum();
    if checksum != RxChecksum::Unverified {
        frame.set_rx_checksum(checksum);
    }
    if completion.has_tag_or_hash() { tagged(frame, completion) } else { frame }
}

/// By value, so that the frames that come by here in a loop are in registers.
#[inline(never)]
fn tagged(mut frame: Frame, completion: RxCompletion) -> Frame {
    frame.set_vlan(completion.vlan());
    frame.set_rx_hash(completion.hash());
    frame
}

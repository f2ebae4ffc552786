//! From any receive completion to a frame: both rings' buffers, fresh ones from the pool in exchange, and a frame of several buffers as far as it has come.
//!
//! The usual completion, the next slot's whole frame, does not come here; [`RxQueue`](crate::RxQueue) serves those by the run.

use paravane_hal::dma::Dma;
use paravane_hal::fault::DeviceFault;
use paravane_net::{Frame, FramePool, FrameSupply, RxChecksum, RxCounters};

use crate::chain::{Chain, Dropped};
use crate::desc::RxCompletion;
use crate::rx_ring::RxRing;

pub(crate) struct Assembler<D: Dma> {
    pub(crate) heads: RxRing<D>,
    pub(crate) bodies: RxRing<D>,
    /// It outlives a call: a burst may end in the middle of a frame.
    pub(crate) chain: Chain,
    pub(crate) counters: RxCounters,
}

impl<D: Dma> Assembler<D> {
    /// Takes a completion's buffer out of its ring; a whole frame, if this completes one.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device does not have that buffer, or frames overlap.
    pub(crate) fn accept(
        &mut self,
        completion: RxCompletion,
        fresh: &mut Fresh<'_>,
    ) -> Result<Option<Frame>, DeviceFault> {
        let ring = if completion.is_second_ring() { &mut self.bodies } else { &mut self.heads };
        let mut unused = ring.consume(completion.index())?;
        let is_empty = completion.len_bytes() == 0;
        if completion.sop() {
            if is_empty && completion.eop() && self.chain.is_idle() {
                // "Buffer not used": it stays where it is.
                unused = unused.wrapping_add(1);
                self.counters.skipped = self.counters.skipped.wrapping_add(unused.into());
                return Ok(None);
            }
            self.chain.begin()?;
        }
        let damaged = completion.eop() && completion.err();
        if self.chain.wants_piece()? && !is_empty && !damaged {
            match fresh.next() {
                Some(fresh) => {
                    let mut piece = ring.exchange(completion.index(), fresh)?;
                    piece.set_segment_bytes(completion.len_bytes());
                    self.chain.add(piece);
                }
                None => self.chain.give_up(Dropped::NoBuffer),
            }
        }
        self.counters.skipped = self.counters.skipped.wrapping_add(unused.into());
        if !completion.eop() {
            return Ok(None);
        }
        if damaged {
            self.chain.give_up(Dropped::Damaged);
        }
        let counters = &mut self.counters;
        match self.chain.finish() {
            Ok(mut frame) => {
                annotate(&mut frame, completion);
                counters.bytes = counters.bytes.wrapping_add(frame.total_bytes() as u64);
                return Ok(Some(frame));
            }
            Err(Dropped::NoBuffer) => counters.no_buffer = counters.no_buffer.wrapping_add(1),
            Err(Dropped::Damaged) => counters.errors = counters.errors.wrapping_add(1),
            Err(Dropped::TooLong) => counters.oversized = counters.oversized.wrapping_add(1),
        }
        Ok(None)
    }
}

/// Fresh frames: those taken off the pool together, then single ones.
pub(crate) struct Fresh<'p> {
    supply: FrameSupply<'p>,
    pool: &'p FramePool,
}

impl<'p> Fresh<'p> {
    /// Takes `expected` frames off the pool together, or as many as it has.
    #[inline(always)]
    pub(crate) fn new(pool: &'p FramePool, expected: usize) -> Self {
        Self { supply: pool.take(expected), pool }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        match self.supply.next() {
            None => self.one_more(),
            frame => frame,
        }
    }

    /// More came than was expected, or the pool is dry.
    #[cold]
    #[inline(never)]
    fn one_more(&self) -> Option<Frame> {
        self.pool.get()
    }
}

/// Notes what the device found out about a frame. A fresh frame says "nothing" by itself.
#[inline(never)]
pub(crate) fn annotate(frame: &mut Frame, completion: RxCompletion) {
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

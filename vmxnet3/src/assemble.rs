//! From any receive completion to a frame: both rings' buffers, fresh ones from the pool in
//! exchange, and a frame of several buffers as far as it has come.
//!
//! The usual completion, the next slot's whole frame, does not come here;
//! [`RxQueue`](crate::RxQueue) serves those by the run.

use paravane_hal::dma::Dma;
use paravane_hal::fault::DeviceFault;
use paravane_net::{Frame, FramePool, RxChecksum, RxCounters};

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
    /// [`DeviceFault`]: the device does not have that buffer.
    pub(crate) fn accept(
        &mut self,
        completion: RxCompletion,
        pool: &FramePool,
    ) -> Result<Option<Frame>, DeviceFault> {
        let ring = if completion.is_second_ring() { &mut self.bodies } else { &mut self.heads };
        let passed_over = ring.consume(completion.index())?;
        let unused = passed_over.wrapping_add(completion.is_unused().into());
        self.counters.skipped = self.counters.skipped.wrapping_add(unused.into());
        if completion.is_unused() {
            // It stays where it is.
            return Ok(None);
        }
        if completion.sop()
            && let Some(why) = self.chain.begin()
        {
            count(&mut self.counters, why);
        }
        if completion.is_misplaced() {
            self.chain.give_up(Dropped::Disordered);
        }
        // What describes the frame, damage included, counts with its end.
        let damaged = completion.eop() && completion.err();
        if self.chain.wants_piece() && completion.len_bytes() > 0 && !damaged {
            match pool.get() {
                Some(fresh) => {
                    let mut piece = ring.exchange(completion.index(), fresh)?;
                    // It fits: the completion was held against the buffer.
                    let _ = piece.set_segment_bytes(completion.len_bytes());
                    self.chain.add(piece);
                }
                None => self.chain.give_up(Dropped::NoBuffer),
            }
        }
        if !completion.eop() {
            return Ok(None);
        }
        if damaged {
            self.chain.give_up(Dropped::Damaged);
        }
        match self.chain.finish() {
            Ok(frame) => {
                let frame = annotated(frame, completion);
                self.counters.bytes = self.counters.bytes.wrapping_add(frame.total_bytes() as u64);
                Ok(Some(frame))
            }
            Err(why) => {
                count(&mut self.counters, why);
                Ok(None)
            }
        }
    }
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
///
/// By value, so that the frames that come by here in a loop are in registers.
#[inline(never)]
pub(crate) fn annotated(mut frame: Frame, completion: RxCompletion) -> Frame {
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
    frame
}

//! A burst on its way into the transmit ring.
//!
//! The burst's first descriptor keeps last lap's generation until [`hand_over`](Batch::hand_over): all the others may be complete by then, the device
//! walks in order and does not get past the first.

use paravane_hal::barrier;
use paravane_hal::dma::Words;
use paravane_hal::pool::Posted;
use paravane_net::{Burst, Frame};

use crate::desc::{TxDesc, TxSop};
use crate::offload::{self, TxLimits};
use crate::ring::Cursor;

pub(crate) struct Batch<'q> {
    slots: &'q [Words<4>],
    in_flight: &'q mut Posted<Frame>,
    limits: TxLimits,
    first: Cursor,
    /// Where the next descriptor goes.
    fill: Cursor,
    /// How many are still free.
    free: u32,
    /// `dw2` of the first descriptor: what hands the burst over.
    first_word2: u32,
    /// `dw3` of the last descriptor.
    last_word3: u32,
    /// How many frames are in it.
    pub(crate) frames: u32,
    /// How long they are together.
    pub(crate) bytes: u64,
    /// Dropped, for they cannot be sent.
    pub(crate) refused: u32,
    /// What it counts towards `txThreshold`: frames on the wire, those that come of frames to be cut counted singly.
    pub(crate) weight: u32,
}

impl<'q> Batch<'q> {
    /// An empty batch, for `free` descriptors from `fill` on.
    #[inline(always)]
    pub(crate) fn new(
        slots: &'q [Words<4>],
        in_flight: &'q mut Posted<Frame>,
        limits: TxLimits,
        fill: Cursor,
        free: u32,
    ) -> Self {
        Self {
            slots,
            in_flight,
            limits,
            first: fill,
            fill,
            free,
            first_word2: 0,
            last_word3: 0,
            frames: 0,
            bytes: 0,
            refused: 0,
            weight: 0,
        }
    }

    /// Takes frames from the front of `burst` as long as they fit.
    #[inline(always)]
    pub(crate) fn take_from(&mut self, burst: &mut Burst) {
        // The first frame is special; then come runs of plain ones, and between them frames of any kind. Ends: each turn takes a frame.
        while !burst.is_empty() && self.take_one(burst) {
            while self.take_plain(burst) {}
        }
    }

    /// Takes plain frames from the front of `burst`, to the end of this lap at most. False when there are no more for now.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "lengths were checked; a burst is short")]
    fn take_plain(&mut self, burst: &mut Burst) -> bool {
        // What was refused so far took no descriptor; the first that is taken must be held back.
        if self.frames == 0 {
            return false;
        }
        let generation = self.fill.generation();
        let room = self.free.min(self.fill.entries().wrapping_sub(self.fill.index()));
        let end = self.fill.slot().wrapping_add(room as usize);
        let slots = self.slots.get(self.fill.slot()..end).unwrap_or_default();
        let places = self.in_flight.slots_mut().get_mut(self.fill.slot()..end).unwrap_or_default();
        let mut free = slots.iter().zip(places);
        let (limits, mut bytes) = (self.limits, 0_usize);
        let taken = burst.drain(|frame| {
            let len_bytes = frame.segment_bytes();
            if !(frame.is_plain() && limits.allows_plain(&frame)) {
                return Err(frame);
            }
            let Some((slot, place @ None)) = free.next() else { return Err(frame) };
            let addr = frame.dma_addr().get();
            // Before it is described: what is described is held.
            *place = Some(frame);
            let desc = TxDesc { addr, len_bytes: len_bytes as u32, sop: TxSop::PLAIN, eop: true, cq: false };
            let [word0, word1, word2, word3] = desc.encode(generation);
            slot.store::<0>(word0);
            slot.store::<1>(word1);
            slot.store::<3>(word3);
            slot.store::<2>(word2);
            bytes = bytes.wrapping_add(len_bytes);
            Ok(())
        });
        if taken == 0 {
            return false;
        }
        let frames = taken as u32;
        self.last_word3 = TxDesc::EOP;
        self.fill = self.fill.advanced(frames);
        self.free = self.free.wrapping_sub(frames);
        self.frames = self.frames.wrapping_add(frames);
        self.weight = self.weight.wrapping_add(frames);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
        true
    }

    /// Takes the frame at the front of `burst`, whatever it is made of, or drops it if it cannot be sent. False when there is no room.
    fn take_one(&mut self, burst: &mut Burst) -> bool {
        let mut is_first = true;
        let taken =
            burst.drain(|frame| if core::mem::take(&mut is_first) { self.add(frame) } else { Err(frame) });
        taken > 0
    }

    /// Adds `frame`, or drops it if it cannot be sent.
    ///
    /// # Errors
    ///
    /// `frame`, when there is no room for it.
    fn add(&mut self, mut frame: Frame) -> Result<(), Frame> {
        let plan = offload::plan(&frame, &self.limits).or_else(|| {
            // The descriptor may have no room for where the checksum is.
            frame.complete_checksum().then(|| offload::plan(&frame, &self.limits))?
        });
        let Some(plan) = plan else {
            self.refused = self.refused.wrapping_add(1);
            return Ok(());
        };
        let segments = u32::from(plan.segments);
        if segments > self.free {
            return Err(frame);
        }
        let last_slot = self.fill.advanced(segments.wrapping_sub(1)).slot();
        // Before it is described: what is described is held. The slot is free, by the count of free descriptors.
        self.in_flight.put(last_slot, frame)?;
        let mut sop = plan.sop;
        for segment in self.in_flight.get(last_slot).into_iter().flat_map(Frame::segments) {
            let desc = TxDesc {
                addr: segment.dma_addr().get(),
                // At most 16 KiB, by the plan.
                len_bytes: u32::try_from(segment.segment_bytes()).unwrap_or(0),
                sop: core::mem::replace(&mut sop, TxSop::PLAIN),
                eop: segment.next().is_none(),
                cq: false,
            };
            let [word0, word1, word2, word3] = desc.encode(self.fill.generation());
            if let Some(slot) = self.slots.get(self.fill.slot()) {
                slot.store::<0>(word0);
                slot.store::<1>(word1);
                slot.store::<3>(word3);
                if self.fill == self.first {
                    self.first_word2 = word2;
                } else {
                    slot.store::<2>(word2);
                }
            }
            self.last_word3 = word3;
            self.fill = self.fill.next();
        }
        self.free = self.free.wrapping_sub(segments);
        self.frames = self.frames.wrapping_add(1);
        self.weight = self.weight.wrapping_add(plan.weight);
        self.bytes = self.bytes.wrapping_add(plan.total_bytes as u64);
        Ok(())
    }

    /// Asks for a completion with the last frame and hands everything over; where the next burst goes.
    #[inline(always)]
    pub(crate) fn hand_over(&self) -> Cursor {
        if self.frames == 0 {
            return self.fill;
        }
        let last = self.first.advanced(self.first.steps_to(self.fill.index()).wrapping_sub(1));
        if let Some(slot) = self.slots.get(last.slot()) {
            slot.store::<3>(self.last_word3 | TxDesc::CQ);
        }
        // Between everything above (and the frames' bytes) and the one word that hands it all over. The other party is the device.
        barrier::release();
        if let Some(slot) = self.slots.get(self.first.slot()) {
            slot.store::<2>(self.first_word2);
        }
        self.fill
    }
}

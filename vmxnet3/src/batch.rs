//! A burst on its way into the transmit ring.
//!
//! The burst's first descriptor keeps last lap's generation until [`hand_over`](Batch::hand_over):
//! all the others may be complete by then, the device walks in order and does not get past the
//! first.

use paravane_hal::barrier;
use paravane_hal::dma::Words;
use paravane_hal::pool::Posted;
use paravane_net::{Burst, Frame};

use crate::desc::{PlainTx, TxDesc, TxSop};
use crate::offload::{self, TxLimits};
use crate::ring::Cursor;

/// Frames that were described together, and come home together. Kept at the place of their first
/// descriptor.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) frames: Burst,
    /// How many descriptors they take.
    pub(crate) descriptors: u32,
}

pub(crate) struct Batch<'q> {
    slots: &'q [Words<4>],
    in_flight: &'q mut Posted<Lent>,
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
    /// What it counts towards `txThreshold`: frames on the wire, those that come of frames to be
    /// cut counted singly.
    pub(crate) weight: u32,
}

impl<'q> Batch<'q> {
    /// An empty batch, for `free` descriptors from `fill` on.
    #[inline(always)]
    pub(crate) fn new(
        slots: &'q [Words<4>],
        in_flight: &'q mut Posted<Lent>,
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

    /// Takes frames from the front of `burst` as long as they fit. By value, so that the usual
    /// batch never lies in memory.
    #[inline(always)]
    pub(crate) fn taking_from(mut self, burst: &mut Burst) -> Self {
        self.take_plain(burst);
        if burst.is_empty() { self } else { self.taking_rest_from(burst) }
    }

    /// The same where there are frames that are not plain, or the ring wraps or is full.
    #[cold]
    fn taking_rest_from(mut self, burst: &mut Burst) -> Self {
        let mut padded = false;
        // Ends: each turn but one takes a frame.
        while !burst.is_empty() {
            // Acknowledgements come in numbers; padded together, they go as one run.
            if !padded && burst.peek(offload::is_short) == Some(true) {
                padded = true;
                pad_all(burst);
            } else if !self.take_one(burst) {
                break;
            }
            self.take_plain(burst);
        }
        self
    }

    /// Takes plain frames from the front of `burst`, to the end of this lap at most.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short, and words are halves")]
    fn take_plain(&mut self, burst: &mut Burst) {
        // Asked of all together; others are looked at one by one.
        if burst.domain() != Some(self.limits.domain) {
            return;
        }
        let at = self.fill;
        let room = self.free.min(at.entries().wrapping_sub(at.index())) as usize;
        let slots = self.slots.get(at.slot()..at.slot().wrapping_add(room)).unwrap_or_default();
        let Some(place @ None) = self.in_flight.slots_mut().get_mut(at.slot()) else { return };
        let Run { frames, bytes, first_words, last_words } =
            describe_plain(burst, slots, TxDesc::plain(at.generation()), self.limits, self.frames == 0);
        let descriptors = frames.len() as u32;
        if descriptors == 0 {
            return;
        }
        // Before the device learns of it: what it has is held.
        *place = Some(Lent { frames, descriptors });
        if self.frames == 0 {
            self.first_word2 = first_words as u32;
        }
        self.last_word3 = (last_words >> 32) as u32;
        self.fill = at.advanced(descriptors);
        self.free = self.free.wrapping_sub(descriptors);
        self.frames = self.frames.wrapping_add(descriptors);
        self.weight = self.weight.wrapping_add(descriptors);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    /// Takes the frame at the front of `burst`, whatever it is made of, or drops it if it cannot be
    /// sent. False when there is no room.
    fn take_one(&mut self, burst: &mut Burst) -> bool {
        let mut is_front = true;
        burst.drain(|frame| if core::mem::take(&mut is_front) { self.add(frame) } else { Err(frame) }) > 0
    }

    /// Adds `frame`, or drops it if it cannot be sent.
    ///
    /// # Errors
    ///
    /// `frame`, when there is no room for it.
    fn add(&mut self, mut frame: Frame) -> Result<(), Frame> {
        offload::pad(&mut frame);
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
        let slot = self.fill.slot();
        let mut frames = Burst::new();
        frames.push(frame)?;
        // Before it is described: what is described is held. The place is free: what was lent there
        // came home with its descriptors.
        if let Err(Lent { mut frames, .. }) = self.in_flight.put(slot, Lent { frames, descriptors: segments })
        {
            return frames.pop().map_or(Ok(()), Err);
        }
        let Some(Lent { frames, .. }) = self.in_flight.slots_mut().get_mut(slot).and_then(Option::as_mut)
        else {
            return Ok(());
        };
        frames.peek(|frame| {
            let mut sop = plan.sop;
            for segment in frame.segments() {
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
        });
        self.free = self.free.wrapping_sub(segments);
        self.frames = self.frames.wrapping_add(1);
        self.weight = self.weight.wrapping_add(plan.weight);
        self.bytes = self.bytes.wrapping_add(plan.total_bytes as u64);
        Ok(())
    }

    /// Asks for a completion with the last frame and hands everything over; where the next burst
    /// goes.
    #[inline(always)]
    pub(crate) fn hand_over(&self) -> Cursor {
        if self.frames == 0 {
            return self.fill;
        }
        let last = self.first.advanced(self.first.steps_to(self.fill.index()).wrapping_sub(1));
        if let Some(slot) = self.slots.get(last.slot()) {
            slot.store::<3>(self.last_word3 | TxDesc::CQ);
        }
        // Between everything above (and the frames' bytes) and the one word that hands it all over.
        // The other party is the device.
        barrier::release();
        if let Some(slot) = self.slots.get(self.first.slot()) {
            slot.store::<2>(self.first_word2);
        }
        self.fill
    }
}

/// Pads the frames that are too short, wherever they are.
fn pad_all(burst: &mut Burst) {
    for _ in 0..burst.len() {
        let Some(mut frame) = burst.pop() else { return };
        offload::pad(&mut frame);
        // There is room, for one was taken out. Once round, the order is as before.
        burst.extend([frame]);
    }
}

/// Frames described in a run of slots.
struct Run {
    frames: Burst,
    bytes: usize,
    /// The words to hand the first one over with, where that is held back.
    first_words: u64,
    /// Those of the last one.
    last_words: u64,
}

/// Describes plain frames, and such as ask for a checksum only, from the front of `burst`, all of
/// which the device reaches, one in each of `slots`. With `hold_back`, the first one as not yet the
/// device's.
///
/// A function of its own, for the loop takes all registers there are.
#[inline(never)]
fn describe_plain(
    burst: &mut Burst,
    slots: &[Words<4>],
    plain: PlainTx,
    limits: TxLimits,
    hold_back: bool,
) -> Run {
    let (mut bytes, mut first_words, mut last_words, mut hold_back) = (0_usize, 0, 0, hold_back);
    let frames = burst.split_plain(slots, |frame, slot| {
        let len_bytes = usize::from(frame.len_bytes());
        if !limits.allows_unpadded(len_bytes) {
            return false;
        }
        let mut words = plain.of(frame.len_bytes());
        if let Some(request) = frame.checksum() {
            let Some(asked) = offload::summed(request, len_bytes) else { return false };
            words |= asked.words();
        }
        last_words = words;
        slot.store_pair::<0>(frame.dma_addr_before(0).get());
        if hold_back {
            (hold_back, first_words) = (false, words);
            slot.store_pair::<2>(TxDesc::not_yet(words));
        } else {
            slot.store_pair::<2>(words);
        }
        bytes = bytes.wrapping_add(len_bytes);
        true
    });
    Run { frames, bytes, first_words, last_words }
}

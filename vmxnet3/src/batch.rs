//! A burst on its way into the transmit ring.
//!
//! The burst's first descriptor keeps last lap's generation until [`hand_over`](Batch::hand_over):
//! all the others may be complete by then, the device walks in order and does not get past the
//! first.
//!
//! All frames go by one walk, whatever they ask for and are made of. One segment that asks for no
//! more than a checksum is described on the spot, anything else is planned and described by
//! functions of their own, for the walk takes all registers there are.

use core::slice;

use paravane_hal::barrier;
use paravane_hal::dma::Words;
use paravane_hal::pool::Posted;
use paravane_net::{Burst, Frame};

use crate::desc::{PlainTx, TxDesc};
use crate::offload::{self, TxLimits, TxPlan};
use crate::ring::Cursor;

/// Frames that were described together, and come home together. Kept at the place of their first
/// descriptor.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) frames: Burst,
    /// How many descriptors they take.
    pub(crate) descriptors: u32,
}

impl Lent {
    /// Whether one of its frames ends with the descriptor of number `descriptors`, counted from 1.
    #[cold]
    pub(crate) fn has_frame_end(&mut self, descriptors: u32) -> bool {
        let (mut walked, mut left) = (Burst::new(), descriptors as usize);
        self.frames.walk(&mut walked, usize::MAX, |frame| match left.checked_sub(frame.segments().count()) {
            Some(rest) if left > 0 => {
                left = rest;
                Ok(Some(frame))
            }
            _ => Err(frame),
        });
        self.frames.walk(&mut walked, usize::MAX, |frame| Ok(Some(frame)));
        self.frames = walked;
        left == 0
    }
}

pub(crate) struct Batch<'q> {
    slots: &'q [Words<4>],
    in_flight: &'q mut Posted<Lent>,
    limits: TxLimits,
    first: Cursor,
    /// Where the next descriptor goes.
    fill: Cursor,
    /// How many are free from `first` on.
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

    /// Takes frames from the front of `burst` as long as they fit, and drops those that cannot be
    /// sent. By value, so that the batch never lies in memory.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "frames are fewer than descriptors, words are halves"
    )]
    pub(crate) fn taking_from(mut self, burst: &mut Burst) -> Self {
        // Asked of all together; others are looked at one by one.
        if burst.domain() != Some(self.limits.domain) {
            self.refused = refuse_unreachable(burst, &self.limits);
        }
        // Free: what was lent here came home with its descriptors.
        let Some(place @ None) = self.in_flight.slots_mut().get_mut(self.first.slot()) else { return self };
        let free = Free::new(self.slots, self.first, self.free);
        let run = describe(burst, free, self.limits);
        self.refused = self.refused.wrapping_add(run.refused);
        self.frames = run.frames.len() as u32;
        if self.frames == 0 {
            return self;
        }
        let descriptors = self.free.wrapping_sub(run.free);
        // Before the device learns of it: what it has is held.
        *place = Some(Lent { frames: run.frames, descriptors });
        self.fill = self.first.advanced(descriptors);
        self.first_word2 = run.first_words as u32;
        self.last_word3 = (run.last_words >> 32) as u32;
        self.weight = self.frames.wrapping_add(run.extra_weight);
        self.bytes = run.bytes;
        self
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

/// Drops the frames of which the device does not reach every segment. How many.
#[cold]
fn refuse_unreachable(burst: &mut Burst, limits: &TxLimits) -> u32 {
    let (mut reachable, mut refused) = (Burst::new(), 0_u32);
    burst.walk(&mut reachable, usize::MAX, |frame| {
        let is_reachable = frame.segments().all(|segment| limits.reaches(segment));
        refused = refused.wrapping_add((!is_reachable).into());
        Ok(Some(frame).filter(|_| is_reachable))
    });
    *burst = reachable;
    refused
}

/// Descriptors that are free, in their order, and the generation to write into them.
struct Free<'q> {
    /// To the end of this lap,
    this_lap: slice::Iter<'q, Words<4>>,
    /// and in the next one.
    next_lap: slice::Iter<'q, Words<4>>,
    plain: PlainTx,
    next_plain: PlainTx,
}

impl<'q> Free<'q> {
    #[inline(always)]
    fn new(slots: &'q [Words<4>], at: Cursor, free: u32) -> Self {
        let free = free as usize;
        let (next_lap, this_lap) = slots.split_at_checked(at.slot()).unwrap_or_default();
        let this_lap = this_lap.get(..free).unwrap_or(this_lap);
        let next_lap = next_lap.get(..free.wrapping_sub(this_lap.len())).unwrap_or_default();
        Self {
            this_lap: this_lap.iter(),
            next_lap: next_lap.iter(),
            plain: TxDesc::plain(at.generation()),
            next_plain: TxDesc::plain(at.generation().flipped()),
        }
    }

    /// How many there are.
    #[inline(always)]
    fn len(&self) -> usize {
        self.this_lap.len().wrapping_add(self.next_lap.len())
    }

    /// The next one.
    #[inline(always)]
    fn take(&mut self) -> Option<&'q Words<4>> {
        if self.this_lap.as_slice().is_empty() {
            self.this_lap = core::mem::take(&mut self.next_lap);
            self.plain = self.next_plain;
        }
        self.this_lap.next()
    }
}

/// Frames that were described.
struct Run {
    frames: Burst,
    bytes: u64,
    /// How many were dropped, for they cannot be sent.
    refused: u32,
    /// What they count towards `txThreshold` beyond one each.
    extra_weight: u32,
    /// The words to hand the first descriptor over with.
    first_words: u64,
    /// Those of the last one.
    last_words: u64,
    /// How many descriptors are still free.
    free: u32,
}

/// Describes frames from the front of `burst`, all of which the device reaches, as long as there
/// are descriptors; the first of those as not yet the device's.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "a ring is short")]
fn describe(burst: &mut Burst, mut free: Free<'_>, limits: TxLimits) -> Run {
    let mut frames = Burst::new();
    let (mut bytes, mut refused, mut extra_weight) = (0_u64, 0_u32, 0_u32);
    let (mut first_words, mut last_words) = (0_u64, 0_u64);
    burst.walk(&mut frames, usize::MAX, |mut frame| {
        let len_bytes = frame.segment_bytes();
        if let Some(asked) = offload::asked_on_the_spot(&frame, len_bytes, limits) {
            let Some(slot) = free.take() else { return Err(frame) };
            let words = free.plain.of(len_bytes as u16) | asked;
            slot.store_pair::<0>(frame.fresh_dma_addr_before(0).get());
            if first_words == 0 {
                first_words = words;
                slot.store_pair::<2>(TxDesc::not_yet(words));
            } else {
                slot.store_pair::<2>(words);
            }
            last_words = words;
            bytes = bytes.wrapping_add(len_bytes as u64);
            return Ok(Some(frame));
        }
        let Some(plan) = offload::prepare(&mut frame, limits) else {
            refused = refused.wrapping_add(1);
            return Ok(None);
        };
        if usize::from(plan.segments) > free.len() {
            return Err(frame);
        }
        (first_words, last_words) = describe_segments(&frame, plan, &mut free, first_words);
        extra_weight = extra_weight.wrapping_add(plan.weight.wrapping_sub(1));
        bytes = bytes.wrapping_add(plan.total_bytes as u64);
        Ok(Some(frame))
    });
    Run { frames, bytes, refused, extra_weight, first_words, last_words, free: free.len() as u32 }
}

/// Describes every segment of a frame, for which there are descriptors. The words of the batch's
/// first descriptor, which this may be, and of the frame's last.
#[inline(always)]
fn describe_segments(frame: &Frame, plan: TxPlan, free: &mut Free<'_>, mut first_words: u64) -> (u64, u64) {
    let (mut asked, mut last_words) = (plan.sop.words(), 0);
    for segment in frame.segments() {
        let Some(slot) = free.take() else { break };
        // At most 16 KiB, by the plan.
        let mut words = free.plain.of_segment(segment.len_bytes()) | core::mem::take(&mut asked);
        if segment.next().is_some() {
            words = TxDesc::not_last(words);
        }
        slot.store_pair::<0>(segment.dma_addr().get());
        if first_words == 0 {
            first_words = words;
            slot.store_pair::<2>(TxDesc::not_yet(words));
        } else {
            slot.store_pair::<2>(words);
        }
        last_words = words;
    }
    (first_words, last_words)
}

//! A burst on its way into the transmit ring.
//!
//! The burst's first descriptor keeps last lap's generation until it is handed over: all the others
//! may be complete by then, the device walks in order and does not get past the first.
//!
//! All frames go by one walk, whatever they ask for and are made of. One segment that asks for no
//! more than a checksum is described on the spot, anything else is planned and described by
//! functions of their own, for the walk takes all registers there are.

use paravane_hal::barrier;
use paravane_hal::dma::{Dma, Words};
use paravane_net::{Burst, Frame, FrameSegment};

use crate::data_ring::Copies;
use crate::desc::{PlainTx, TxDesc};
use crate::offload::{self, TxLimits, TxPlan, TxRules};
use crate::ring::{Cursor, rare};

/// Frames that were described together, and come home together. Kept at the place of their first
/// descriptor.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) frames: Burst,
    /// How many descriptors they take.
    pub(crate) descriptors: u32,
}

impl Run {
    /// One frame of one descriptor.
    #[inline(always)]
    pub(crate) fn of(frame: Frame) -> Self {
        Self { frames: frame.into(), descriptors: 1 }
    }

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

/// What became of frames that were to be sent.
pub(crate) struct Published {
    /// How many descriptors they took.
    pub(crate) descriptors: u32,
    /// How many were handed over.
    pub(crate) frames: u32,
    /// How long they are together.
    pub(crate) bytes: u64,
    /// Dropped, for they cannot be sent.
    pub(crate) refused: u32,
    /// What they count towards `txThreshold`: frames on the wire, those that come of frames to be
    /// cut counted singly.
    pub(crate) weight: u32,
}

/// Takes frames from the front of `burst`, as long as there are descriptors from `at` on, of which
/// there are `free`, and hands them over, or drops those that cannot be sent. What the device gets
/// is in `run` before it learns of it.
#[inline(always)]
pub(crate) fn publish(
    burst: &mut Burst,
    run: &mut Run,
    slots: &[Words<4>],
    at: Cursor,
    free: u32,
    rules: &TxRules,
) -> Published {
    // Asked of all together; others are looked at one by one.
    let unreachable = if burst.domain() == Some(rules.limits.domain) {
        0
    } else {
        refuse_unreachable(burst, &rules.limits)
    };
    let all = describe(burst, &mut run.frames, Free::new(slots, at, free), rules);
    all.hand_over(run, slots, at, free, unreachable)
}

/// The same where short frames are copied.
pub(crate) fn publish_copying(
    burst: &mut Burst,
    run: &mut Run,
    slots: &[Words<4>],
    at: Cursor,
    free: u32,
    rules: &TxRules,
    copies: &mut Copies<impl Dma>,
) -> Published {
    let offered = Free::new(slots, at, free);
    let all = describe_copying(burst, &mut run.frames, offered, at, rules, copies);
    all.hand_over(run, slots, at, free, 0)
}

impl Described<'_> {
    /// Hands all to the device, whose frames are in `run`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "frames are fewer than descriptors")]
    fn hand_over(
        self,
        run: &mut Run,
        slots: &[Words<4>],
        at: Cursor,
        free: u32,
        unreachable: u32,
    ) -> Published {
        let all = self;
        run.descriptors = free.wrapping_sub(all.free.len() as u32);
        let frames = run.frames.len() as u32;
        // Something was described, then there are a first one and a last one.
        let last = at.advanced(run.descriptors.wrapping_sub(1));
        if run.descriptors > 0
            && let (Some(first), Some(last)) = (slots.get(at.slot()), slots.get(last.slot()))
        {
            hand_over(first, all.first_words, last, all.last_words);
        }
        Published {
            descriptors: run.descriptors,
            frames,
            bytes: all.bytes,
            refused: all.refused.wrapping_add(unreachable),
            weight: frames.wrapping_add(all.extra_weight),
        }
    }
}

/// Asks for a completion with the last descriptor, and hands the first one over, and with it all
/// the others.
#[inline(always)]
pub(crate) fn hand_over(first: &Words<4>, first_words: u64, last: &Words<4>, last_words: u64) {
    #[expect(clippy::cast_possible_truncation, reason = "words are halves")]
    let (first_word2, last_word3) = (first_words as u32, (last_words >> 32) as u32);
    last.store::<3>(last_word3 | TxDesc::CQ);
    // Between everything above (and the frames' bytes) and the one word that hands it all over. The
    // other party is the device.
    barrier::release();
    first.store::<2>(first_word2);
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
#[derive(Clone, Copy)]
struct Free<'q> {
    /// To the end of this lap,
    this_lap: &'q [Words<4>],
    /// and in the next one.
    next_lap: &'q [Words<4>],
    plain: PlainTx,
}

impl<'q> Free<'q> {
    #[inline(always)]
    fn new(slots: &'q [Words<4>], at: Cursor, free: u32) -> Self {
        let (before, rest) = slots.split_at_checked(at.slot()).unwrap_or_default();
        let plain = TxDesc::plain(at.generation());
        match rest.get(..free as usize) {
            Some(this_lap) => Self { this_lap, next_lap: &[], plain },
            None => {
                let next_lap = before.get(..(free as usize).wrapping_sub(rest.len())).unwrap_or_default();
                Self { this_lap: rest, next_lap, plain }
            }
        }
    }

    /// How many there are.
    #[inline(always)]
    fn len(&self) -> usize {
        self.this_lap.len().wrapping_add(self.next_lap.len())
    }

    /// Whether there is one, which is in this lap then.
    #[inline(always)]
    fn has_any(&mut self) -> bool {
        if self.this_lap.is_empty() {
            *self = self.in_next_lap();
        }
        !self.this_lap.is_empty()
    }

    /// The next one.
    #[inline(always)]
    fn take(&mut self) -> Option<&'q Words<4>> {
        self.has_any();
        let (slot, rest) = self.this_lap.split_first()?;
        self.this_lap = rest;
        Some(slot)
    }

    /// By value: what has its address taken lies in memory.
    #[cold]
    fn in_next_lap(self) -> Self {
        Self { this_lap: self.next_lap, next_lap: &[], plain: self.plain.flipped() }
    }
}

/// Describes a frame's segments from `segment` on, as long as there are descriptors. How many, and
/// how long they are together: too long for any frame where these are not all, or one is empty.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a frame is short")]
fn describe_segments(mut segment: FrameSegment<'_>, slots: &[Words<4>], plain: PlainTx) -> (usize, usize) {
    let (mut rest, mut total_bytes) = (slots.iter(), 0_usize);
    // Ends: each turn takes a slot.
    while let Some(slot) = rest.next()
        && segment.len_bytes() > 0
    {
        let words = plain.of_more(segment.len_bytes() as u16);
        slot.store_pair::<0>(segment.dma_addr().get());
        total_bytes = total_bytes.wrapping_add(segment.len_bytes());
        if let Some(next) = segment.next() {
            slot.store_pair::<2>(words);
            segment = next;
        } else {
            slot.store_pair::<2>(words | TxDesc::EOP_WORDS);
            return (slots.len().wrapping_sub(rest.len()), total_bytes);
        }
    }
    (slots.len().wrapping_sub(rest.len()), usize::MAX)
}

/// Has descriptors that are free say so again, whatever was written to them.
#[cold]
fn take_back(slots: &[Words<4>], plain: PlainTx) {
    for slot in slots {
        slot.store_pair::<2>(TxDesc::not_yet(plain.of(0)));
    }
}

/// What came of describing frames.
struct Described<'q> {
    bytes: u64,
    /// How many were dropped, for they cannot be sent.
    refused: u32,
    /// What they count towards `txThreshold` beyond one each.
    extra_weight: u32,
    /// The words to hand the first descriptor over with.
    first_words: u64,
    /// The last one's words.
    last_words: u64,
    /// What is still free.
    free: Free<'q>,
}

/// Describes frames from the front of `burst`, all of which the device reaches, as long as there
/// are descriptors; the first of those as not yet the device's, until all are. They join `frames`.
#[inline(always)]
fn describe<'q>(burst: &mut Burst, frames: &mut Burst, free: Free<'q>, rules: &TxRules) -> Described<'q> {
    let limits = rules.limits;
    let mut all = Described { bytes: 0, refused: 0, extra_weight: 0, first_words: 0, last_words: 0, free };
    // The first one by itself, which spares all others the question. Ends: each turn takes a frame.
    while frames.is_empty() {
        let Some(frame) = burst.pop() else { return all };
        match all.add_first(frame, rules) {
            Ok(Some(frame)) => *frames = frame.into(),
            Ok(None) => {}
            Err(frame) => {
                rare();
                burst.push_front(frame);
                return all;
            }
        }
    }
    // Ends: each turn but the last takes a frame.
    while !burst.is_empty() && all.free.has_any() {
        let slots = all.free.this_lap;
        let taken = burst.look_with(slots, |frame, slot| {
            let frame = FrameSegment::from(frame);
            let asked = offload::asked_on_the_spot(frame, limits);
            asked.inspect(|asked| all.add_simple::<false>(frame, *asked, slot)).is_some()
        });
        all.free.this_lap = slots.get(taken..).unwrap_or_default();
        let taken = match taken {
            0 => burst.look_with(slots, |frame, _| all.add_several(frame.into(), limits)),
            taken => taken,
        };
        if taken > 0 {
            frames.append(burst.take_front(taken));
        } else if burst.walk(frames, 1, |frame| all.add_any::<false>(frame, rules)) == 0 {
            break;
        }
    }
    all
}

/// The same where short frames are copied into the slots of a data ring, of which each descriptor
/// from `at` on has one. A copy costs more than a plan, so every frame is planned.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "no more than a ring has")]
fn describe_copying<'q>(
    burst: &mut Burst,
    frames: &mut Burst,
    free: Free<'q>,
    at: Cursor,
    rules: &TxRules,
    copies: &mut Copies<impl Dma>,
) -> Described<'q> {
    let offered = free.len();
    let mut all = Described { bytes: 0, refused: 0, extra_weight: 0, first_words: 0, last_words: 0, free };
    // Ends: each turn but the last takes a frame.
    while all.free.has_any()
        && let Some(frame) = burst.pop()
    {
        let (frame, Some(plan)) = offload::prepare(frame, rules) else {
            all.refused = all.refused.wrapping_add(1);
            continue;
        };
        let slot = at.advanced(offered.wrapping_sub(all.free.len()) as u32).slot();
        let fits = plan.total_bytes <= copies.most_bytes.into() && !plan.sop.may_cut();
        let copy = if fits { copies.ring.put(slot, &frame) } else { None };
        let added = match (copy, frames.is_empty()) {
            (Some(addr), true) => all.add_copy::<true>(frame, plan, addr),
            (Some(addr), false) => all.add_copy::<false>(frame, plan, addr),
            (None, true) => all.add_planned::<true>(frame, plan),
            (None, false) => all.add_planned::<false>(frame, plan),
        };
        match added {
            Ok(frame) => frames.extend(frame),
            Err(frame) => {
                burst.push_front(frame);
                break;
            }
        }
    }
    all
}

impl<'q> Described<'q> {
    /// Describes a frame by its copy at `addr`, whatever it is made of.
    fn add_copy<const FIRST: bool>(
        &mut self,
        mut frame: Frame,
        plan: TxPlan,
        addr: u64,
    ) -> Result<Option<Frame>, Frame> {
        let Some(slot) = self.free.take() else { return Err(frame) };
        slot.store_pair::<0>(addr);
        self.write::<FIRST>(slot, self.free.plain.of_segment(plan.total_bytes) | plan.sop.words());
        self.bytes = self.bytes.wrapping_add(plan.total_bytes as u64);
        // It is one descriptor, and comes home as such.
        drop(frame.take_next());
        Ok(Some(frame))
    }

    /// Describes the first frame of all. It is dropped if it cannot be sent.
    ///
    /// # Errors
    ///
    /// `frame`, when there are too few descriptors.
    #[inline(always)]
    fn add_first(&mut self, frame: Frame, rules: &TxRules) -> Result<Option<Frame>, Frame> {
        let Some(asked) = offload::asked_on_the_spot(frame.first_segment(), rules.limits) else {
            return self.add_any::<true>(frame, rules);
        };
        let Some(slot) = self.free.take() else { return Err(frame) };
        self.add_simple::<true>(frame.first_segment(), asked, slot);
        Ok(Some(frame))
    }

    /// Describes a frame that `asked` for as much, by its only segment.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a frame is short")]
    fn add_simple<const FIRST: bool>(&mut self, frame: FrameSegment<'_>, asked: u64, slot: &Words<4>) {
        let len_bytes = frame.len_bytes();
        let words = self.free.plain.of(len_bytes as u16) | asked;
        slot.store_pair::<0>(frame.fresh_dma_addr_before(0).get());
        self.write::<FIRST>(slot, words);
        self.bytes = self.bytes.wrapping_add(len_bytes as u64);
    }

    /// Writes what a descriptor says but for its address. The `FIRST` of all says that it is not
    /// the device's yet.
    #[inline(always)]
    fn write<const FIRST: bool>(&mut self, slot: &Words<4>, words: u64) {
        slot.store_pair::<2>(if FIRST { TxDesc::not_yet(words) } else { words });
        if FIRST {
            self.first_words = words;
        }
        self.last_words = words;
    }

    /// Describes a frame of any segments in one walk over them, where nothing about it takes a
    /// longer look. False, and nothing is described, when something does.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a frame is short")]
    fn add_several(&mut self, first: FrameSegment<'_>, limits: TxLimits) -> bool {
        if first.is_plain_but_checksum() || !first.asks_no_more_than_a_checksum() {
            return false;
        }
        let (slots, plain) = (self.free.this_lap, self.free.plain);
        let (written, total_bytes) = describe_segments(first, slots, plain);
        let asked = offload::asked_of_several(first, written, total_bytes, limits);
        let (Some(asked), Some((these, behind))) = (asked, slots.split_at_checked(written)) else {
            rare();
            take_back(slots.get(..written).unwrap_or_default(), plain);
            return false;
        };
        let is_single = if written == 1 { u64::MAX } else { 0 };
        if asked != 0
            && let Some(slot) = these.first()
        {
            let words = plain.of_more(first.len_bytes() as u16) | asked;
            slot.store_pair::<2>(words | TxDesc::EOP_WORDS & is_single);
        }
        self.last_words = TxDesc::EOP_WORDS | asked & is_single;
        self.free.this_lap = behind;
        self.bytes = self.bytes.wrapping_add(total_bytes as u64);
        true
    }

    /// The same, by a function of its own.
    #[inline(always)]
    fn add_any<const FIRST: bool>(&mut self, frame: Frame, rules: &TxRules) -> Result<Option<Frame>, Frame> {
        let (frame, Some(plan)) = offload::prepare(frame, rules) else {
            self.refused = self.refused.wrapping_add(1);
            return Ok(None);
        };
        self.add_planned::<FIRST>(frame, plan)
    }

    #[inline(always)]
    fn add_planned<const FIRST: bool>(&mut self, frame: Frame, plan: TxPlan) -> Result<Option<Frame>, Frame> {
        if usize::from(plan.segments) > self.free.len() {
            return Err(frame);
        }
        let frame = if plan.sop.may_cut() { offload::hand_headers_over(frame) } else { Ok(frame) };
        let Ok(frame) = frame else {
            self.refused = self.refused.wrapping_add(1);
            return Ok(None);
        };
        let (mut asked, mut is_first) = (plan.sop.words(), FIRST);
        for segment in frame.segments() {
            let Some(slot) = self.free.take() else { break };
            // At most 16 KiB, by the plan.
            let words = self.free.plain.of_segment(segment.len_bytes()) | core::mem::take(&mut asked);
            let words = if segment.next().is_some() { TxDesc::not_last(words) } else { words };
            slot.store_pair::<0>(segment.dma_addr().get());
            if FIRST && core::mem::take(&mut is_first) {
                self.write::<true>(slot, words);
            } else {
                self.write::<false>(slot, words);
            }
        }
        self.extra_weight = self.extra_weight.wrapping_add(plan.weight.wrapping_sub(1));
        self.bytes = self.bytes.wrapping_add(plan.total_bytes as u64);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::addr::Align;
    use paravane_hal::dma::{DeviceDma, DeviceTag, DmaRing};
    use paravane_mock_hal::Memory;
    use paravane_net::{FrameLayout, FramePool};

    #[test]
    fn the_first_descriptor_is_not_the_devices_until_all_are() {
        let memory = Memory::default();
        let of = DeviceDma::new(memory.clone(), DeviceTag::unique(), 64);
        let pool = FramePool::new(memory, FrameLayout::new(8)).unwrap();
        let limits = TxLimits { max_frame_bytes: 1518, domain: pool.domain() };
        let frame = |len_bytes| {
            let mut frame = pool.get().unwrap();
            assert!(frame.set_segment_bytes(len_bytes));
            frame
        };
        for first_is_chain in [false, true] {
            let ring = DmaRing::<4, _>::zeroed(&of, 32, Align::new(512)).unwrap();
            let (mut burst, mut frames) = (Burst::new(), Burst::new());
            let mut first = frame(60);
            if first_is_chain {
                first.set_next(frame(60));
            }
            burst.extend([first, frame(60), frame(60)]);
            let free = Free::new(ring.slots(), Cursor::start(32), 31);
            let all = describe(&mut burst, &mut frames, free, &TxRules::new(limits));
            let described = 3 + usize::from(first_is_chain);
            assert_eq!((frames.len(), all.free.len()), (3, 31 - described));
            let is_the_devices: Vec<_> =
                ring.slots().iter().map(|slot| slot.load::<2>() >> 14 & 1 == 1).collect();
            let expected: Vec<_> = (0..32).map(|slot| (1..described).contains(&slot)).collect();
            assert_eq!(is_the_devices, expected);
        }
    }
}

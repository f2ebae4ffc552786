//! Lending by the run: frames to be sent, in descriptors that follow one another round the table.
//!
//! ```text
//!   clean            fill        clean + entries
//!     |  the device's  |      free      |
//! ```
//!
//! What was posted together is kept together, at the place of its first descriptor, and goes home
//! together if the device uses it in turn: then each used element is held against the one number
//! that it must be. A device may use chains in any order. What it uses out of turn goes home at
//! once, and only its descriptors wait until all before them are used.
//!
//! As long as each chain is one descriptor, a lap of the available ring is the same as the one
//! before, and is not written again.

use paravane_hal::dma::{DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;
use paravane_net::{BURST_FRAMES, Burst, Frame, FrameSegment};

use super::layout::QueueSize;
use super::split::{Used, describe};
use super::{Record, Segment, Virtqueue};
use crate::transport::Doorbell;

/// What is lent in turn.
#[derive(Debug)]
pub(crate) struct InTurn {
    /// By the first descriptor.
    runs: Posted<Run>,
    size: QueueSize,
    /// Where the next descriptor goes. Free-running.
    fill: u16,
    /// The oldest descriptor that is not free; `fill` when all are. Free-running.
    clean: u16,
    /// How many runs were used out of turn, and are not free yet.
    early: u16,
    /// How many places of the available ring, counted back from the next one, name the descriptor
    /// that they name again next time.
    repeating: u16,
}

/// Frames of one descriptor each, or one frame of several; none, when the device used it out of
/// turn.
#[derive(Debug)]
struct Run {
    frames: Burst,
    descriptors: u16,
}

impl Record for InTurn {
    fn new(size: QueueSize, device: DeviceTag) -> Result<Self, DmaError> {
        let runs = Posted::new(size.entries().into(), device)?;
        Ok(Self { runs, size, fill: 0, clean: 0, early: 0, repeating: 0 })
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.size.entries().wrapping_sub(self.used())
    }

    fn reclaim(self, quiet: &Quiet<'_>) -> bool {
        self.runs.reclaim(quiet).is_ok()
    }
}

impl InTurn {
    /// How many descriptors are not free.
    #[inline(always)]
    fn used(&self) -> u16 {
        self.fill.wrapping_sub(self.clean)
    }

    /// The descriptor of number `at`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a place has 15 bits")]
    fn head(&self, at: u16) -> u16 {
        self.size.place(at) as u16
    }

    /// Takes the first `sent` frames of the oldest run, which are of one descriptor each.
    #[cold]
    fn take_part(&mut self, sent: u16) {
        let place = self.runs.slots_mut().get_mut(self.size.place(self.clean));
        let Some(mut run) = place.and_then(Option::take) else { return };
        for _ in 0..sent {
            drop(run.frames.pop());
        }
        run.descriptors = run.descriptors.wrapping_sub(sent);
        self.clean = self.clean.wrapping_add(sent);
        self.put(self.clean, run);
    }

    /// Takes the frame out whose chain is headed by `head`; its descriptors stay until it is their
    /// turn. `None` when the device does not have it.
    #[cold]
    fn take_out_of_turn(&mut self, head: u16) -> Option<Burst> {
        let ahead = head.wrapping_sub(self.clean) & self.size.entries().wrapping_sub(1);
        if head >= self.size.entries() || ahead >= self.used() {
            return None;
        }
        // The run that it is in starts no further back.
        let longest = u16::try_from(BURST_FRAMES).ok()?;
        let at = self.clean.wrapping_add(ahead);
        let start = (0..longest.min(ahead.wrapping_add(1)))
            .map(|back| at.wrapping_sub(back))
            .find(|start| self.runs.holds(self.size.place(*start)))?;
        self.spread(start);
        let run = self.runs.slots_mut().get_mut(usize::from(head))?.as_mut()?;
        if run.frames.is_empty() {
            return None;
        }
        let frame = core::mem::take(&mut run.frames);
        self.early = self.early.wrapping_add(1);
        self.skip_early();
        Some(frame)
    }

    /// Has each frame of the run at `start` be a run by itself.
    fn spread(&mut self, start: u16) {
        let slot = self.size.place(start);
        let several = |run: &mut Run| run.frames.len() > 1;
        let Some(mut run) = self.runs.slots_mut().get_mut(slot).and_then(|place| place.take_if(several))
        else {
            return;
        };
        let mut at = start;
        while let Some(frame) = run.frames.pop() {
            let mut frames = Burst::new();
            frames.extend([frame]);
            self.put(at, Run { frames, descriptors: 1 });
            at = at.wrapping_add(1);
        }
    }

    /// Frees the descriptors of what was used out of turn, where it is their turn.
    #[cold]
    fn skip_early(&mut self) {
        // Ends: each turn leaves one fewer.
        while let Some(run) = self
            .runs
            .slots_mut()
            .get_mut(self.size.place(self.clean))
            .and_then(|place| place.take_if(|run| run.frames.is_empty()))
        {
            self.clean = self.clean.wrapping_add(run.descriptors);
            self.early = self.early.wrapping_sub(1);
        }
    }

    /// Keeps `run`, which starts at number `at`. The place is free: it is of a descriptor that is,
    /// or within a run that was taken out.
    #[inline(always)]
    fn put(&mut self, at: u16, run: Run) {
        if let Some(place) = self.runs.slots_mut().get_mut(self.size.place(at)) {
            *place = Some(run);
        }
    }
}

impl<D: Dma, B: Doorbell> Virtqueue<InTurn, D, B> {
    /// Posts plain frames from the front of `burst`, each where `prepare` says, until it says
    /// nothing, or there is no room, or a ring ends. How many.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    pub(crate) fn post_run(
        &mut self,
        burst: &mut Burst,
        mut prepare: impl FnMut(&mut Frame) -> Option<Segment>,
    ) -> u16 {
        let room = self.room();
        let Self { memory, lent, offered, .. } = self;
        let slot = lent.size.place(lent.fill);
        let places = memory.avail_run(*offered, room).len();
        let slots = memory.descriptors().get(slot..).unwrap_or_default();
        // No run is longer: the start of the one that a chain is in is looked for no further back.
        let slots = slots.get(..places.min(BURST_FRAMES)).unwrap_or(slots);
        let mut frames = Burst::new();
        burst.walk_with(&mut frames, slots, |mut frame, slot| {
            let Some(segment) = prepare(&mut frame) else { return Err(frame) };
            describe(slot, segment, None);
            Ok(Some(frame))
        });
        let count = frames.len() as u16;
        if count == 0 {
            return 0;
        }
        self.lend(Run { frames, descriptors: count });
        count
    }

    /// Posts the frame in front of `burst`, if it is plain, where `prepare` says. False, and it
    /// stays there, when it says nothing, or there is no room. For one alone;
    /// [`post_run`](Self::post_run) costs less for several.
    #[inline(always)]
    pub(crate) fn post_front(
        &mut self,
        burst: &mut Burst,
        mut prepare: impl FnMut(&mut Frame) -> Option<Segment>,
    ) -> bool {
        if self.room() == 0 {
            return false;
        }
        let head = self.lent.head(self.lent.fill);
        let mut frames = Burst::new();
        burst.walk(&mut frames, 1, |mut frame| {
            let Some(segment) = prepare(&mut frame) else { return Err(frame) };
            self.memory.describe(head, segment, None);
            Ok(Some(frame))
        });
        let is_posted = !frames.is_empty();
        if is_posted {
            self.lend(Run { frames, descriptors: 1 });
        }
        is_posted
    }

    /// Lends `run`, which is described.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn lend(&mut self, run: Run) {
        let (at, descriptors, chains) = (self.lent.fill, run.descriptors, run.frames.len() as u16);
        self.lent.put(at, run);
        self.lent.fill = at.wrapping_add(descriptors);
        if self.lent.repeating < self.lent.size.entries() {
            self.name(at, chains);
        }
        if descriptors != chains {
            // Behind a chain of several, each place names another one.
            self.lent.repeating = 0;
        }
        self.offered = self.offered.wrapping_add(chains);
    }

    /// Has the next places of the available ring name the chains from number `at` on.
    #[inline(never)]
    fn name(&mut self, at: u16, chains: u16) {
        for chain in 0..chains {
            self.memory.offer(self.offered.wrapping_add(chain), self.lent.head(at.wrapping_add(chain)));
        }
        self.lent.repeating = self.lent.repeating.wrapping_add(chains);
    }

    /// Posts one frame, as a chain of its segments, each where `prepare` says; the first is asked
    /// for first.
    ///
    /// # Errors
    ///
    /// `frame`, when `prepare` says nothing of one of them, or there is no room.
    pub(crate) fn post_frame(
        &mut self,
        frame: Frame,
        mut prepare: impl FnMut(FrameSegment<'_>) -> Option<Segment>,
    ) -> Result<(), Frame> {
        let (mut at, mut descriptors) = (self.lent.fill, 0);
        // Whatever was written when it is given up, the device was not told of.
        for piece in frame.segments() {
            let Some(segment) = prepare(piece).filter(|_| descriptors < self.room()) else {
                return Err(frame);
            };
            let next = at.wrapping_add(1);
            let link = piece.next().map(|_| self.lent.head(next));
            self.memory.describe(self.lent.head(at), segment, link);
            (at, descriptors) = (next, descriptors.wrapping_add(1));
        }
        let mut frames = Burst::new();
        frames.push(frame)?;
        self.lend(Run { frames, descriptors });
        Ok(())
    }

    /// Takes home what the device has sent: the next `waiting` completions, which
    /// [`observe`](Self::observe) has counted.
    ///
    /// What the device says about a length is not read: it can have written nothing, and some
    /// devices report the length they read.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken; what was taken
    /// before is taken.
    #[inline(always)]
    pub(crate) fn take_sent(&mut self, waiting: u16) -> Result<(), DeviceFault> {
        let mut left = waiting;
        // Ends: each turn takes a completion, or fails.
        while left > 0 {
            let (sent, other) = self.take_in_turn(left);
            left = left.wrapping_sub(sent);
            match other {
                Some(id) => {
                    self.take_one_out_of_turn(id)?;
                    left = left.wrapping_sub(1);
                }
                // Some are in flight, for they were counted: there is a first one to look at.
                None if sent == 0 => return Err(self.unknown_head(u32::MAX)),
                None => {}
            }
        }
        Ok(())
    }

    /// Takes home the frames of the oldest run that the next completions, up to `waiting`, are
    /// about, in turn. How many, and what the completion behind them says where it says something
    /// else. Each is read once: what was judged is what is acted on.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn take_in_turn(&mut self, waiting: u16) -> (u16, Option<u32>) {
        let Self { memory, lent, taken, .. } = self;
        let head = lent.head(lent.clean);
        let Some(place) = lent.runs.slots_mut().get_mut(usize::from(head)) else { return (0, None) };
        let Some(len) = place.as_ref().map(|run| run.frames.len()) else {
            // No completion can be about what is not there, so whatever the next one says is
            // something else.
            return (0, Some(memory.read_used(*taken).id));
        };
        let elements = memory.used_run(*taken, waiting.min(len as u16));
        let (sent, other) = in_turn(elements, head.into());
        if sent == len {
            if let Some(run) = place.take() {
                lent.clean = lent.clean.wrapping_add(run.descriptors);
            }
            if lent.early > 0 {
                lent.skip_early();
            }
        } else if sent > 0 {
            lent.take_part(sent as u16);
        }
        *taken = taken.wrapping_add(sent as u16);
        (sent as u16, other)
    }

    /// Takes the next completion, which says `id`, whichever chain that is about.
    #[cold]
    fn take_one_out_of_turn(&mut self, id: u32) -> Result<(), DeviceFault> {
        match u16::try_from(id).ok().and_then(|head| self.lent.take_out_of_turn(head)) {
            Some(sent) => {
                drop(sent);
                self.taken = self.taken.wrapping_add(1);
                Ok(())
            }
            None => Err(self.unknown_head(id)),
        }
    }
}

/// How many of `elements`, from the first one on, are about the descriptors from `head` on, in
/// turn; and what the one behind them says, which is another. Each is read once.
#[inline(always)]
fn in_turn(elements: &[Used], head: u32) -> (usize, Option<u32>) {
    for ((sent, [id, _]), expected) in elements.iter().enumerate().zip(head..) {
        let id = id.load();
        if id != expected {
            return (sent, Some(id));
        }
    }
    (elements.len(), None)
}

#[cfg(test)]
#[path = "in_turn_tests.rs"]
mod tests;

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

use paravane_hal::dma::{DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;
use paravane_net::{BURST_FRAMES, Burst, Frame, FrameSegment};

use crate::queue::{Doorbell, Record, Virtqueue};
use crate::ring::{Behind, Position, QueueSize, Ring, Run, Segment, UsedElement, each_format};

/// What is lent in turn.
#[derive(Debug)]
pub(crate) struct InTurn {
    /// By the first descriptor.
    runs: Posted<Lent>,
    size: QueueSize,
    /// Where the next descriptor goes.
    fill: Position,
    /// The oldest descriptor that is not free; `fill` when all are.
    clean: Position,
    /// How many runs were used out of turn, and are not free yet.
    early: u16,
}

/// Frames of one descriptor each, or one frame of several; none, when the device used it out of
/// turn.
#[derive(Debug)]
struct Lent {
    frames: Burst,
    descriptors: u16,
}

impl Record for InTurn {
    fn new(size: QueueSize, device: DeviceTag) -> Result<Self, DmaError> {
        let runs = Posted::new(size.entries().into(), device)?;
        Ok(Self { runs, size, fill: Position::default(), clean: Position::default(), early: 0 })
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
        self.size.steps(self.clean, self.fill)
    }

    /// The place of what starts at `at`.
    #[inline(always)]
    fn slot(&mut self, at: Position) -> Option<&mut Option<Lent>> {
        self.runs.slots_mut().get_mut(usize::from(self.size.place(at)))
    }

    /// Keeps `run`, which starts at `at`. The place is free: it is of a descriptor that is, or
    /// within a run that was taken out.
    #[inline(always)]
    fn put(&mut self, at: Position, run: Lent) {
        if let Some(place) = self.slot(at) {
            *place = Some(run);
        }
    }

    /// Lends `run`, which is described.
    #[inline(always)]
    fn lend(&mut self, run: Lent) {
        let at = self.fill;
        self.fill = self.size.ahead(at, run.descriptors);
        self.put(at, run);
    }

    /// Posts plain frames from the front of `burst`, each where `prepare` says, until it says
    /// nothing, or there is no room, or the ring ends. How many.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn post_run<R: Ring>(
        &mut self,
        ring: &mut R,
        burst: &mut Burst,
        mut prepare: impl FnMut(&mut Frame) -> Option<Segment>,
    ) -> u16 {
        let number = self.size.place(self.fill);
        // No run is longer: the start of the one that a chain is in is looked for no further back.
        let (slots, mut run) = ring.run(number, self.room().min(BURST_FRAMES as u16));
        let mut frames = Burst::new();
        burst.walk_with(&mut frames, slots, |mut frame, slot| {
            let Some(segment) = prepare(&mut frame) else { return Err(frame) };
            run.describe(slot, segment);
            Ok(Some(frame))
        });
        let (count, kept) = (frames.len() as u16, run.kept());
        if count > 0 {
            ring.offer_run(number, count, kept);
            self.lend(Lent { frames, descriptors: count });
        }
        count
    }

    /// Posts the frame in front of `burst`, if it is plain.
    #[inline(always)]
    fn post_front<R: Ring>(
        &mut self,
        ring: &mut R,
        burst: &mut Burst,
        mut prepare: impl FnMut(&mut Frame) -> Option<Segment>,
    ) -> bool {
        if self.room() == 0 {
            return false;
        }
        let number = self.size.place(self.fill);
        let mut frames = Burst::new();
        burst.walk(&mut frames, 1, |mut frame| {
            let Some(segment) = prepare(&mut frame) else { return Err(frame) };
            ring.post(number, segment);
            Ok(Some(frame))
        });
        let is_posted = !frames.is_empty();
        if is_posted {
            self.lend(Lent { frames, descriptors: 1 });
        }
        is_posted
    }

    /// Posts one frame, as a chain of its segments.
    fn post_frame<R: Ring>(
        &mut self,
        ring: &mut R,
        frame: Frame,
        describe: impl Fn(FrameSegment<'_>, bool) -> Option<Segment>,
    ) -> Result<(), Frame> {
        let (size, start, room) = (self.size, self.fill, self.room());
        let segments = || frame.segments().enumerate().map(|(at, piece)| describe(piece, at == 0));
        // All of it is looked at before anything is written: what is given up leaves no trace.
        let whole = segments().try_fold(0_u16, |count, segment| {
            segment.and(count.checked_add(1)).filter(|count| *count <= room)
        });
        let Some(descriptors) = whole else { return Err(frame) };
        let numbers = (0..descriptors).map(|step| size.place(size.ahead(start, step)));
        ring.post_chain(numbers.zip(segments().flatten()));
        let mut frames = Burst::new();
        frames.push(frame)?;
        self.lend(Lent { frames, descriptors });
        Ok(())
    }

    /// Takes home what the device has sent, of the next `waiting` completions what is there. How
    /// many, and what is wrong with the one behind them: the device does not have the chain that it
    /// names.
    #[inline(always)]
    fn take_sent<R: Ring>(&mut self, ring: &mut R, waiting: u16) -> (u16, Option<u32>) {
        let mut taken = 0_u16;
        // Ends: each turn takes a completion, or is the last.
        while taken < waiting {
            let (sent, other) = self.take_in_turn(ring, waiting.wrapping_sub(taken));
            taken = taken.wrapping_add(sent);
            match other {
                Behind::Read(UsedElement { id, .. }) => {
                    let Some((frame, descriptors)) = self.take_out_of_turn(id) else {
                        return (taken, Some(id));
                    };
                    drop(frame);
                    ring.took(1, descriptors);
                    taken = taken.wrapping_add(1);
                }
                Behind::NotThere => break,
                Behind::Unread if sent == 0 => break,
                Behind::Unread => {}
            }
        }
        (taken, None)
    }

    /// Takes home the frames of the oldest run that the next completions, up to `waiting`, are
    /// about, in turn. How many, and the completion behind them where it is about something else.
    /// Each is read once: what was judged is what is acted on.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
    fn take_in_turn<R: Ring>(&mut self, ring: &mut R, waiting: u16) -> (u16, Behind) {
        let number = self.size.place(self.clean);
        let Some(place) = self.runs.slots_mut().get_mut(usize::from(number)) else {
            return (0, Behind::Unread);
        };
        let Some(run) = place.as_ref() else {
            // No completion can be about what is not there, so whatever the next one says is
            // something else.
            return (0, ring.read_used().map_or(Behind::NotThere, Behind::Read));
        };
        let (chains, descriptors) = (run.frames.len() as u16, run.descriptors);
        let (sent, other) = ring.in_turn(number, waiting.min(chains));
        if sent == chains {
            *place = None;
            self.clean = self.size.ahead(self.clean, descriptors);
            ring.took(chains, descriptors);
            if self.early > 0 {
                self.skip_early();
            }
        } else if sent > 0 {
            self.take_part(sent);
            ring.took(sent, sent);
        }
        (sent, other)
    }

    /// Takes the first `sent` frames of the oldest run, which are of one descriptor each.
    #[cold]
    fn take_part(&mut self, sent: u16) {
        let Some(mut run) = self.slot(self.clean).and_then(Option::take) else { return };
        for _ in 0..sent {
            drop(run.frames.pop());
        }
        run.descriptors = run.descriptors.wrapping_sub(sent);
        self.clean = self.size.ahead(self.clean, sent);
        self.put(self.clean, run);
    }

    /// Takes the frame out whose chain the device calls `id`, and how many descriptors that has;
    /// they stay until it is their turn. `None` when the device does not have it.
    #[cold]
    fn take_out_of_turn(&mut self, id: u32) -> Option<(Burst, u16)> {
        let number = u16::try_from(id).ok()?;
        let size = self.size;
        // In one lap or the other.
        let ahead = [true, false]
            .into_iter()
            .filter_map(|lap| size.position(number, lap))
            .map(|at| size.steps(self.clean, at))
            .find(|ahead| *ahead < self.used())?;
        // The run that it is in starts no further back.
        let longest = u16::try_from(BURST_FRAMES).ok()?;
        let start = (ahead.saturating_sub(longest.wrapping_sub(1))..=ahead)
            .rev()
            .map(|ahead| size.ahead(self.clean, ahead))
            .find(|start| self.runs.holds(size.place(*start).into()))?;
        self.spread(start);
        let run = self.runs.slots_mut().get_mut(usize::from(number))?.as_mut()?;
        if run.frames.is_empty() {
            return None;
        }
        let (frame, descriptors) = (core::mem::take(&mut run.frames), run.descriptors);
        self.early = self.early.wrapping_add(1);
        self.skip_early();
        Some((frame, descriptors))
    }

    /// Has each frame of the run at `start` be a run by itself.
    fn spread(&mut self, start: Position) {
        let several = |run: &mut Lent| run.frames.len() > 1;
        let Some(mut run) = self.slot(start).and_then(|place| place.take_if(several)) else { return };
        let mut at = start;
        while let Some(frame) = run.frames.pop() {
            let mut frames = Burst::new();
            frames.extend([frame]);
            self.put(at, Lent { frames, descriptors: 1 });
            at = self.size.ahead(at, 1);
        }
    }

    /// Frees the descriptors of what was used out of turn, where it is their turn.
    #[cold]
    fn skip_early(&mut self) {
        let is_empty = |run: &mut Lent| run.frames.is_empty();
        // Ends: each turn leaves one fewer.
        while let Some(run) = self.slot(self.clean).and_then(|place| place.take_if(is_empty)) {
            self.clean = self.size.ahead(self.clean, run.descriptors);
            self.early = self.early.wrapping_sub(1);
        }
    }
}

impl<D: Dma, B: Doorbell> Virtqueue<InTurn, D, B> {
    /// Posts plain frames from the front of `burst`, each where `prepare` says, until it says
    /// nothing, or there is no room, or the ring ends. How many.
    #[inline(always)]
    pub(crate) fn post_run(
        &mut self,
        burst: &mut Burst,
        prepare: impl FnMut(&mut Frame) -> Option<Segment>,
    ) -> u16 {
        let (ring, lent) = self.parts();
        each_format!(ring, ring => lent.post_run(ring, burst, prepare))
    }

    /// Posts the frame in front of `burst`, if it is plain, where `prepare` says. False, and it
    /// stays there, when it says nothing, or there is no room. For one alone;
    /// [`post_run`](Self::post_run) costs less for several.
    #[inline(always)]
    pub(crate) fn post_front(
        &mut self,
        burst: &mut Burst,
        prepare: impl FnMut(&mut Frame) -> Option<Segment>,
    ) -> bool {
        let (ring, lent) = self.parts();
        each_format!(ring, ring => lent.post_front(ring, burst, prepare))
    }

    /// Posts one frame, as a chain of its segments, each where `describe` says, which hears whether
    /// it is the first.
    ///
    /// # Errors
    ///
    /// `frame`, when `describe` says nothing of one of them, or there is no room.
    pub(crate) fn post_frame(
        &mut self,
        frame: Frame,
        describe: impl Fn(FrameSegment<'_>, bool) -> Option<Segment>,
    ) -> Result<(), Frame> {
        let (ring, lent) = self.parts();
        each_format!(ring, ring => lent.post_frame(ring, frame, describe))
    }

    /// Takes home what the device has sent: of the next `waiting` completions, which
    /// [`observe`](Self::observe) has counted, those that are there. How many.
    ///
    /// What the device says about a length is not read: it can have written nothing, and some
    /// devices report the length they read.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken; what was taken
    /// before is taken.
    #[inline(always)]
    pub(crate) fn take_sent(&mut self, waiting: u16) -> Result<u16, DeviceFault> {
        let (ring, lent) = self.parts();
        match each_format!(ring, ring => lent.take_sent(ring, waiting)) {
            (taken, None) => Ok(taken),
            (_, Some(id)) => Err(self.unknown(id)),
        }
    }
}

#[cfg(test)]
#[path = "in_turn_tests.rs"]
mod tests;

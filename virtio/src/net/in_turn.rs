//! Lending by the run: frames to be sent, in descriptors that follow one another round the table.
//!
//! ```text
//!   clean            fill        clean
//!     |  the device's  |   free    |
//! ```
//!
//! What was posted together is kept together, at the place of its first descriptor, and goes home
//! together if the device uses it in turn: then each used element is held against the one number
//! that it must be. A device may use chains in any order. What it uses out of turn goes home at
//! once, and only its descriptors wait until all before them are used. A device that agreed to use
//! them in order does not do that: by naming one it says that it is done with all before it, too.

use paravane_hal::dma::{DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;
use paravane_net::{Burst, Frame, FrameSegmentMut};

use crate::queue::{BATCH_TOO_LONG, Doorbell, Record, Virtqueue};
use crate::ring::{Behind, Completions, Format, QueueSize, Ring, Run, Segment, UsedElement, each_format};

/// What is lent in turn.
#[derive(Debug)]
pub(crate) struct InTurn {
    /// By the first descriptor.
    runs: Posted<Lent>,
    size: QueueSize,
    /// The place of the next descriptor.
    fill: u16,
    /// That of the oldest one that is not free; `fill` when all are.
    clean: u16,
    /// How many are free.
    room: u16,
    /// How many runs were used out of turn, and are not free yet.
    early: u16,
    /// The device uses chains in the order in which they were posted.
    in_order: bool,
}

/// Frames in a row; none, when the device used it out of turn.
#[derive(Debug)]
struct Lent {
    frames: Burst,
    descriptors: u16,
}

/// What becomes of frames that are to be posted, whichever format the ring has.
pub(crate) trait Post {
    /// Where a frame lies that is one descriptor, as most are; nothing, if it is another.
    fn plain(&self, frame: FrameSegmentMut<'_>) -> Option<Segment>;

    /// So many of those were posted, of `bytes` in all.
    fn posted(&mut self, frames: usize, bytes: u64);

    /// Describes a frame of several descriptors with `run`. False, and nothing is described, when
    /// it is another, or takes a longer look.
    fn several<'r, R: Run<'r>>(&mut self, frame: FrameSegmentMut<'_>, run: &mut R) -> bool;

    /// Describes a frame of any kind but the plain ones with `run`; nothing comes back, when it is
    /// dropped.
    ///
    /// # Errors
    ///
    /// `frame`, when it is plain, or the ring ends here or is full.
    fn other<'r, R: Run<'r>>(&mut self, frame: Frame, run: &mut R) -> Result<Option<Frame>, Frame>;
}

impl Record for InTurn {
    fn new(size: QueueSize, format: Format, device: DeviceTag) -> Result<Self, DmaError> {
        let runs = Posted::new(size.entries().into(), device)?;
        let in_order = format.in_order;
        Ok(Self { runs, size, fill: 0, clean: 0, room: size.entries(), early: 0, in_order })
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.room
    }

    fn clear(&mut self) {
        self.runs.slots_mut().iter_mut().for_each(|run| drop(run.take()));
        (self.fill, self.clean, self.early) = (0, 0, 0);
        self.room = self.size.entries();
    }

    fn reclaim(self, quiet: &Quiet<'_>) -> bool {
        self.runs.reclaim(quiet).is_ok()
    }
}

impl InTurn {
    /// What is kept at the place `at`.
    #[inline(always)]
    fn slot(&mut self, at: u16) -> Option<&mut Option<Lent>> {
        self.runs.slots_mut().get_mut(usize::from(at))
    }

    /// Keeps `run`, which starts at `at`. The place is free: it is of a descriptor that is, or
    /// within a run that was taken out.
    #[inline(always)]
    fn put(&mut self, at: u16, run: Lent) {
        match self.slot(at) {
            Some(place @ None) => *place = Some(run),
            // Never dropped: the device may have them.
            _ => core::mem::forget(run),
        }
    }

    /// Frees the oldest `descriptors`.
    #[inline(always)]
    fn free(&mut self, descriptors: u16) {
        self.clean = self.size.step(self.clean, descriptors);
        self.room = self.room.wrapping_add(descriptors);
    }

    /// Posts frames from the front of `burst`, each as `by` does, until there is no room, or the
    /// ring ends.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than the ring has descriptors")]
    fn post<R: Ring>(&mut self, ring: &mut R, burst: &mut Burst, by: &mut impl Post) {
        if burst.len() == 1 && self.post_single(ring, burst, by) {
            return;
        }
        // Ends: each turn but the last takes a frame.
        loop {
            let mut run = ring.run(self.fill, self.room);
            let mut bytes = 0_u64;
            let posted = burst.change_with(run.slots(), |frame, slot| {
                let Some(segment) = by.plain(frame.into()) else { return false };
                run.single(slot, segment);
                bytes = bytes.wrapping_add(segment.len_bytes.into());
                true
            });
            let frames = burst.take_front(posted);
            by.posted(posted, bytes);
            run.passed(posted);
            let descriptors = posted as u16;
            ring.offer(descriptors, run.described());
            self.lend(Lent { frames, descriptors });
            // What comes next is another, or the ring ends here.
            if burst.is_empty() || self.post_others(ring, burst, by) == 0 {
                return;
            }
        }
    }

    /// Posts frames up to the next plain one, or the end of the ring, as a run of their own: those
    /// before and behind go home as cheaply as without them. How many were taken, those that were
    /// dropped included.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than the ring has descriptors")]
    fn post_others<R: Ring>(&mut self, ring: &mut R, burst: &mut Burst, by: &mut impl Post) -> usize {
        let mut run = ring.run(self.fill, self.room);
        let described = burst.change_with(run.slots(), |frame, _| by.several(frame.into(), &mut run));
        let mut frames = burst.take_front(described);
        let taken = match described {
            0 => burst.walk(&mut frames, usize::MAX, |frame| by.other(frame, &mut run)),
            described => described,
        };
        let described = run.described();
        let descriptors = described.descriptors;
        ring.offer(frames.len() as u16, described);
        self.lend(Lent { frames, descriptors });
        taken
    }

    /// Posts the frame in front of `burst`, if it is plain: one alone has nothing to share what a
    /// run costs with.
    #[inline(always)]
    fn post_single<R: Ring>(&mut self, ring: &mut R, burst: &mut Burst, by: &mut impl Post) -> bool {
        let Some(mut frame) = burst.pop() else { return false };
        let segment = if self.room > 0 { by.plain(frame.first_segment_mut()) } else { None };
        let frames = Burst::from(frame);
        let Some(segment) = segment else {
            *burst = frames;
            return false;
        };
        ring.post(self.fill, segment);
        by.posted(1, segment.len_bytes.into());
        self.lend(Lent { frames, descriptors: 1 });
        true
    }

    /// Lends `run`, which is described, if there is anything in it.
    #[inline(always)]
    fn lend(&mut self, run: Lent) {
        let (at, descriptors) = (self.fill, run.descriptors);
        if descriptors == 0 {
            return;
        }
        self.fill = self.size.step(at, descriptors);
        self.room = self.room.wrapping_sub(descriptors);
        self.put(at, run);
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
                Behind::Read(UsedElement { id, .. }) if self.in_order => {
                    let Some(sent) = self.take_up_to(ring, id, waiting.wrapping_sub(taken)) else {
                        return (taken, Some(id));
                    };
                    taken = taken.wrapping_add(sent);
                }
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
    #[expect(clippy::cast_possible_truncation, reason = "no more than the ring has descriptors")]
    fn take_in_turn<R: Ring>(&mut self, ring: &mut R, waiting: u16) -> (u16, Behind) {
        let (size, start) = (self.size, self.clean);
        let Some(place) = self.runs.slots_mut().get_mut(usize::from(start)) else {
            return (0, Behind::Unread);
        };
        let Some(run) = place else {
            // No completion can be about what is not there, so whatever the next one says is
            // something else.
            return (0, ring.read_used().map_or(Behind::NotThere, Behind::Read));
        };
        let (chains, descriptors) = (run.frames.len() as u16, run.descriptors);
        let at_most = waiting.min(chains);
        if descriptors == 1 {
            // One alone has nothing to share what a run costs with.
            return match ring.read_used() {
                Some(UsedElement { id, .. }) if id == u32::from(start) => {
                    *place = None;
                    self.took(ring, 1, 1);
                    (1, Behind::Unread)
                }
                other => (0, other.map_or(Behind::NotThere, Behind::Read)),
            };
        }
        if chains != descriptors {
            return self.take_longer(ring, at_most);
        }
        let mut completions = ring.completions(at_most);
        let sent = completions.are_about(start);
        let behind = completions.behind();
        if sent == chains {
            *place = None;
        } else if sent > 0 {
            self.keep_rest(size.step(start, sent), |run| {
                drop(run.frames.take_front(sent.into()));
                run.descriptors = run.descriptors.wrapping_sub(sent);
            });
        }
        self.took(ring, sent, sent);
        (sent, behind)
    }

    /// The same of a run with frames of several descriptors.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than the ring has descriptors")]
    fn take_longer<R: Ring>(&mut self, ring: &mut R, at_most: u16) -> (u16, Behind) {
        let (size, start) = (self.size, self.clean);
        let Some(Some(run)) = self.runs.slots_mut().get_mut(usize::from(start)) else {
            return (0, Behind::Unread);
        };
        let (mut sent, mut number) = (0_u16, start);
        let mut completions = ring.completions(at_most);
        let home = run.frames.take_apart(|segments| {
            // No longer than the ring, or it would not have been posted.
            let descriptors = segments as u16;
            if sent >= at_most || !completions.is_about(number, descriptors) {
                return false;
            }
            sent = sent.wrapping_add(1);
            number = size.step(number, descriptors);
            true
        });
        let behind = completions.behind();
        // Each descriptor was of one buffer.
        let descriptors = home.len() as u16;
        drop(home);
        if sent > 0 {
            self.keep_rest(number, |run| run.descriptors = run.descriptors.wrapping_sub(descriptors));
        }
        self.took(ring, sent, descriptors);
        (sent, behind)
    }

    /// Of the oldest run keeps at `at` what `cut` leaves of it.
    #[inline(never)]
    fn keep_rest(&mut self, at: u16, cut: impl FnOnce(&mut Lent)) {
        let clean = self.clean;
        let Some(mut run) = self.slot(clean).and_then(Option::take) else { return };
        cut(&mut run);
        if !run.frames.is_empty() {
            self.put(at, run);
        }
    }

    /// The device is done with the oldest `chains`, of so many `descriptors`.
    #[inline(always)]
    fn took<R: Ring>(&mut self, ring: &mut R, chains: u16, descriptors: u16) {
        self.free(descriptors);
        ring.took(chains, descriptors);
        if self.early > 0 {
            self.skip_early();
        }
    }

    /// Takes home the frames up to the one whose chain the device calls `id`, `at_most` so many: it
    /// uses them in order, and spoke of the last alone. How many. `None`, and none was taken, when
    /// the device does not have it, or they are more.
    ///
    /// Spec: VIRTIO 1.3, 2.7.9 and 2.8.9 "In-order use of descriptors".
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than the ring has descriptors")]
    fn take_up_to<R: Ring>(&mut self, ring: &mut R, id: u32, at_most: u16) -> Option<u16> {
        let chains = self.chains_up_to(id).filter(|chains| *chains <= at_most)?;
        let mut left = chains;
        // Ends: each turn takes a frame, and so many are there.
        while left > 0 {
            let clean = self.clean;
            let mut run = self.slot(clean)?.take()?;
            let home = run.frames.take_front(left.into());
            let count = home.len() as u16;
            // One that is cut has frames of one descriptor each.
            let descriptors = if run.frames.is_empty() { run.descriptors } else { count };
            if !run.frames.is_empty() {
                run.descriptors = run.descriptors.wrapping_sub(descriptors);
                self.put(self.size.step(clean, descriptors), run);
            }
            self.took(ring, count, descriptors);
            left = left.wrapping_sub(count);
        }
        Some(chains)
    }

    /// How many chains the device has from the oldest one to that of `id`, where it uses them in
    /// order. `None` when it does not have that. Of the run which that is in, each frame of several
    /// descriptors is a run by itself then.
    #[expect(clippy::cast_possible_truncation, reason = "no more than the ring has descriptors")]
    fn chains_up_to(&mut self, id: u32) -> Option<u16> {
        let number = u16::try_from(id).ok().filter(|number| *number < self.size.entries())?;
        let used = self.size.entries().wrapping_sub(self.room);
        let mut ahead = self.size.steps_between(self.clean, number);
        if ahead >= used {
            return None;
        }
        let (mut at, mut chains) = (self.clean, 0_u16);
        // Ends: each turn passes over a run, and none is beyond the one that it is in.
        loop {
            let run = self.slot(at)?.as_ref()?;
            let (frames, descriptors) = (run.frames.len() as u16, run.descriptors);
            if ahead >= descriptors {
                chains = chains.wrapping_add(frames);
                ahead = ahead.wrapping_sub(descriptors);
                at = self.size.step(at, descriptors);
            } else if frames == descriptors {
                return Some(chains.wrapping_add(ahead).wrapping_add(1));
            } else if frames == 1 {
                return (ahead == 0).then_some(chains.wrapping_add(1));
            } else {
                self.spread(at);
            }
        }
    }

    /// Takes the frame out whose chain the device calls `id`, and how many descriptors that has;
    /// they stay until it is their turn. `None` when the device does not have it.
    #[cold]
    fn take_out_of_turn(&mut self, id: u32) -> Option<(Burst, u16)> {
        let number = u16::try_from(id).ok().filter(|number| *number < self.size.entries())?;
        let used = self.size.entries().wrapping_sub(self.room);
        let ahead = self.size.steps_between(self.clean, number);
        if ahead >= used {
            return None;
        }
        // Ends: what is lent starts with a run.
        let start = (0..=ahead)
            .rev()
            .map(|ahead| self.size.step(self.clean, ahead))
            .find(|start| self.runs.holds((*start).into()))?;
        self.spread(start);
        let run = self.slot(number)?.as_mut()?;
        if run.frames.is_empty() {
            return None;
        }
        let (frame, descriptors) = (core::mem::take(&mut run.frames), run.descriptors);
        self.early = self.early.wrapping_add(1);
        self.skip_early();
        Some((frame, descriptors))
    }

    /// Has each frame of the run at `start` be a run by itself.
    fn spread(&mut self, start: u16) {
        let several = |run: &mut Lent| run.frames.len() > 1;
        let Some(mut run) = self.slot(start).and_then(|place| place.take_if(several)) else { return };
        let mut at = start;
        while let Some(frame) = run.frames.pop() {
            // No longer than the ring, or it would not have been posted.
            let descriptors = u16::try_from(frame.segments().count()).unwrap_or(u16::MAX);
            let mut frames = Burst::new();
            frames.extend([frame]);
            self.put(at, Lent { frames, descriptors });
            at = self.size.step(at, descriptors);
        }
    }

    /// Frees the descriptors of what was used out of turn, where it is their turn.
    #[cold]
    fn skip_early(&mut self) {
        let is_empty = |run: &mut Lent| run.frames.is_empty();
        // Ends: each turn leaves one fewer.
        while let Some(run) = self.slot(self.clean).and_then(|place| place.take_if(is_empty)) {
            self.free(run.descriptors);
            self.early = self.early.wrapping_sub(1);
        }
    }
}

impl<D: Dma, B: Doorbell> Virtqueue<InTurn, D, B> {
    /// Posts frames from the front of `burst`, each as `by` does, until there is no room, or the
    /// ring ends.
    #[inline(always)]
    pub(crate) fn post(&mut self, burst: &mut Burst, by: &mut impl Post) {
        let (ring, lent) = self.parts();
        each_format!(ring, ring => lent.post(ring, burst, by));
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
            (_, Some(id)) => {
                let is_there = lent.in_order && lent.chains_up_to(id).is_some();
                Err(if is_there { self.fail(BATCH_TOO_LONG) } else { self.unknown(id) })
            }
        }
    }
}

#[cfg(test)]
#[path = "in_turn_tests.rs"]
mod tests;

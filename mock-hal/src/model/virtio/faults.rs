//! What a device does that lies: completions that are lost, late, double, in the wrong order or
//! made up; noise over memory.

use super::queue::{Chain, Queue};
use super::status::NEEDS_RESET;
use super::{Class, Virtio, feature};
use crate::fault::{Action, FaultPoint, Field, Fields, Seeded};

/// What was put off: ticks to go, and what.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub(super) doorbells: Vec<(u32, u16)>,
    pub(super) interrupts: Vec<(u32, (u16, u8))>,
    frames: Vec<(u32, Vec<u8>)>,
    used: Vec<(u32, (usize, u32, u32))>,
    /// Noise for the driver's next access.
    scribbles: Vec<u32>,
}

impl Pending {
    /// That queue was reset.
    pub(super) fn forget(&mut self, queue: usize) {
        self.doorbells.retain(|(_, other)| usize::from(*other) != queue);
        self.used.retain(|(_, (other, ..))| *other != queue);
    }
}

/// What the device says of a buffer that it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// `id` of the used element.
    pub(super) index: u32,
    /// `len` of the used element.
    pub(super) length: u32,
    /// How far ahead of the truth the used index is.
    pub(super) generation: u32,
    /// Of a received frame's header: `flags`, `gso_type`, `num_buffers`.
    pub(super) flags: u32,
    /// That of a request: its status.
    pub(super) kind: u32,
    pub(super) queue: u32,
}

impl Fields for Said {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        match field {
            Field::Index => Some(&mut self.index),
            Field::Length => Some(&mut self.length),
            Field::Generation => Some(&mut self.generation),
            Field::Flags => Some(&mut self.flags),
            Field::Kind => Some(&mut self.kind),
            Field::Queue => Some(&mut self.queue),
            Field::HashType | Field::Segments | Field::SegmentBytes | Field::Value => None,
        }
    }
}

/// Takes what is due out of a list.
fn due<T>(list: &mut Vec<(u32, T)>) -> Vec<T> {
    let (now, later): (Vec<_>, Vec<_>) = std::mem::take(list).into_iter().partition(|(ticks, _)| *ticks <= 1);
    *list = later.into_iter().map(|(ticks, what)| (ticks - 1, what)).collect();
    now.into_iter().map(|(_, what)| what).collect()
}

impl<C: Class> Virtio<C> {
    /// Asks the plan. What means the same everywhere is done here; of the rest, the answer is what
    /// can be done `here`.
    pub(super) fn ask(
        &mut self,
        point: FaultPoint,
        subject: u32,
        value: &mut dyn Fields,
        here: impl Fn(&Action) -> bool,
    ) -> Option<Action> {
        let mut plan = std::mem::take(&mut self.faults);
        let action =
            plan.at(point, subject, value, |action| here(action) || self.means_the_same(point, action));
        self.faults = plan;
        let action = action?;
        if here(&action) {
            return Some(action);
        }
        self.react(point, action);
        None
    }

    fn means_the_same(&self, point: FaultPoint, action: &Action) -> bool {
        match action {
            Action::AllOnes => !self.gone,
            Action::DemandReset => self.status & NEEDS_RESET == 0,
            Action::FlapLink => C::HAS_LINK,
            Action::StopQueue { code } => !self.queue_of(*code).is_none_or(|queue| queue.is_stopped),
            // Elsewhere it is for the queue to say.
            Action::Invent { index } => {
                point == FaultPoint::Tick && self.is_live() && self.queue_of(*index).is_some()
            }
            Action::Scribble { .. } => self.is_live() && self.queues.iter().any(|queue| queue.is_enabled),
            _ => false,
        }
    }

    /// The queue that a number from a plan stands for.
    fn queue_of(&self, number: u32) -> Option<&Queue> {
        let queue = (number as usize).checked_rem(self.queues.len())?;
        self.queues.get(queue).filter(|queue| queue.is_enabled)
    }

    fn react(&mut self, point: FaultPoint, action: Action) {
        match action {
            Action::AllOnes => self.gone = true,
            Action::DemandReset => self.need_reset(),
            Action::FlapLink => {
                self.class.flap();
                self.config_changed();
            }
            // virtio has no place for an error: the queue is just silent from here on.
            Action::StopQueue { code } => {
                let queue = code as usize % self.queues.len();
                self.queues[queue].is_stopped = true;
            }
            Action::Scribble { seed } if is_completion(point) => self.pending.scribbles.push(seed),
            Action::Scribble { seed } => self.scribble(seed),
            Action::Invent { index } => {
                let queue = index as usize % self.queues.len();
                self.put(queue, index, index >> 4);
                self.show(queue, 0);
            }
            _ => {}
        }
    }

    /// Writes noise to what it has of `queue` and has not used: all that it may write there.
    pub fn scrawl(&mut self, queue: usize, seed: u32) {
        let mut chance = Seeded::new(seed.into());
        let memory = self.memory_of(queue);
        for segment in self.queues[queue].stock.iter().flat_map(|chain| &chain.segments) {
            if segment.is_writable {
                let noise: Vec<u8> =
                    (0..segment.len_bytes.min(64)).map(|_| chance.next_u32().to_le_bytes()[0]).collect();
                // Timid, or the driver's to have there.
                let _ = memory.write(segment.addr, &noise);
            }
        }
    }

    /// Takes the next chain of `queue` that the device does not hold already.
    pub fn take(&mut self, queue: usize) -> Option<Chain> {
        if let Some(chain) = self.queues[queue].take_from_stock() {
            return Some(chain);
        }
        self.take_fresh(queue)
    }

    /// The same, of those alone that are in the ring yet.
    pub(super) fn take_fresh(&mut self, queue: usize) -> Option<Chain> {
        if !self.queues[queue].is_enabled {
            return None;
        }
        let has_indirect = self.has(feature::INDIRECT_DESC);
        let memory = self.memory_of(queue);
        match self.queues[queue].take(&memory, has_indirect) {
            Ok(Some(chain)) => {
                if !self.has_lied
                    && !self.queues[queue].has_lied
                    && let Err(fault) = self.queues[queue].hold(&self.memory, &chain)
                {
                    self.ring_violation(queue, fault.to_string());
                }
                Some(chain)
            }
            Ok(None) => None,
            Err(why) => {
                self.ring_violation(queue, why.to_string());
                None
            }
        }
    }

    /// What a device can do about a completion besides making it.
    pub(super) const fn plays_completion(action: &Action) -> bool {
        matches!(
            action,
            Action::Drop | Action::Delay { .. } | Action::Duplicate | Action::Reorder | Action::Invent { .. }
        )
    }

    /// Says `said` of a chain that was used, as `action` has it. Shown by [`show`](Self::show).
    pub(super) fn say(&mut self, queue: usize, said: Said, action: Option<Action>) {
        let Said { index, length, .. } = said;
        match action {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => {
                return self.pending.used.push((ticks, (queue, index, length)));
            }
            Some(Action::Reorder) => {
                let before = self.queues[queue].held_back.replace((index, length));
                return before.into_iter().for_each(|(index, length)| self.put_used(queue, index, length));
            }
            Some(Action::Duplicate) => self.put_used(queue, index, length),
            Some(Action::Invent { index }) => self.put(queue, index, length),
            _ => {}
        }
        self.put_used(queue, index, length);
    }

    /// Writes one used element for what nobody did, though its driver may have asked for it.
    pub fn put(&mut self, queue: usize, id: u32, len_bytes: u32) {
        self.has_misled = true;
        self.put_used(queue, id, len_bytes);
    }

    /// Writes one used element, true or not; later, if it may stand for others.
    pub(super) fn put_used(&mut self, queue: usize, id: u32, len_bytes: u32) {
        let held_back = self.queues[queue].held_back.take();
        for (id, len_bytes) in std::iter::once((id, len_bytes)).chain(held_back) {
            let is_its_turn = self.queues[queue].is_turn_of(id, len_bytes);
            if !self.queues[queue].give_back(&self.memory, id) || !is_its_turn {
                self.lied_about(queue);
            }
            if !self.joins_batch(queue, id, len_bytes) {
                self.put_for(queue, &[], id, len_bytes);
            }
        }
    }

    /// Writes one used element that stands for `skipped` as well, true or not.
    pub fn put_for(&mut self, queue: usize, skipped: &[u32], id: u32, len_bytes: u32) {
        if let Err(fault) = self.queues[queue].put(&self.memory, skipped, id, len_bytes) {
            self.ring_violation(queue, fault.to_string());
        }
    }

    /// Shows the used elements written so far, and interrupts if the driver asked for it. `ahead`
    /// is how much the index lies.
    pub fn show(&mut self, queue: usize, ahead: u16) {
        self.end_batch(queue);
        if ahead != 0 {
            self.lied_about(queue);
        }
        let has_event_idx = self.has(feature::EVENT_IDX);
        match self.queues[queue].show(&self.memory, has_event_idx, ahead) {
            Ok(true) => self.interrupt_queue(queue),
            Ok(false) => {}
            Err(fault) => self.ring_violation(queue, fault.to_string()),
        }
    }

    /// The driver saw `told` where the device wrote something else: in the `width_bytes` at `addr`.
    /// What that tells it, it may believe.
    pub fn misheard(&mut self, addr: u64, width_bytes: usize, told: u64) {
        self.has_misled = true;
        for queue in self.queues.iter_mut().filter(|queue| queue.is_enabled) {
            queue.misheard(&self.memory, addr, width_bytes, told);
        }
    }

    /// Whether the word at `addr` says no more than that nothing is there, or how far its device
    /// is. A driver may look at that as often as it likes, and each answer stands for itself.
    #[must_use]
    pub fn is_hint(&self, addr: u64) -> bool {
        self.queues.iter().any(|queue| queue.is_enabled && queue.is_hint(&self.memory, addr))
    }

    /// The device loses count: its next used element goes elsewhere, by so many slots.
    pub fn misplace(&mut self, queue: usize, slots: u16) {
        self.lied_about(queue);
        self.queues[queue].misplace(slots);
    }

    /// Tells the driver when the device wants to hear of more.
    pub fn tell_wish(&mut self, queue: usize) {
        if !self.queues[queue].is_enabled {
            return;
        }
        let has_event_idx = self.has(feature::EVENT_IDX);
        if let Err(fault) = self.queues[queue].tell_wish(&self.memory, has_event_idx) {
            self.ring_violation(queue, fault.to_string());
        }
    }

    /// How many available entries the device has not taken.
    #[must_use]
    pub fn waiting(&self, queue: usize) -> u16 {
        self.queues[queue].waiting(&self.memory).unwrap_or(0)
    }

    pub(super) fn delay_frame(&mut self, ticks: u32, frame: &[u8]) {
        self.pending.frames.push((ticks, frame.to_vec()));
    }

    /// Frames whose time has come.
    pub(super) fn late_frames(&mut self) -> Vec<Vec<u8>> {
        due(&mut self.pending.frames)
    }

    /// The driver looks at the device: noise that waited for that comes now.
    pub(super) fn run_scribbles(&mut self) {
        for seed in std::mem::take(&mut self.pending.scribbles) {
            self.scribble(seed);
        }
    }

    pub(super) fn run_pending(&mut self) {
        for queue in due(&mut self.pending.doorbells) {
            self.serve(queue);
        }
        for (queue, id, len_bytes) in due(&mut self.pending.used) {
            if self.is_live() {
                self.put_used(queue, id, len_bytes);
                self.show(queue, 0);
            }
        }
        self.run_scribbles();
        for (vector, cause) in due(&mut self.pending.interrupts) {
            self.send_interrupt(vector, cause);
        }
    }

    /// Noise over a part of a ring which is the device's to write, its index and wish included.
    /// None where bus mastering is off.
    fn scribble(&mut self, seed: u32) {
        if !self.memory.is_allowed() {
            return;
        }
        let mut chance = Seeded::new(seed.into());
        let enabled: Vec<usize> =
            (0..self.queues.len()).filter(|queue| self.queues[*queue].is_enabled).collect();
        let Some(queue) = enabled.get(chance.below(enabled.len().try_into().unwrap_or(0)) as usize) else {
            return;
        };
        self.lied_about(*queue);
        let (start, there) = self.queues[*queue].noisy(&mut chance);
        // A driver that was told so has a queue of one entry: all of it is shorter than the longest
        // noise.
        let len_bytes = 1 + chance.below(there.min(16));
        let last = there - len_bytes;
        // Half of it at the index, where it does most.
        let at = if chance.below(2) == 0 { last.min(2) } else { chance.below(last + 1) };
        let noise: Vec<u8> = (0..len_bytes).map(|_| chance.next_u32().to_le_bytes()[0]).collect();
        let _ = self.memory.write(start + u64::from(at), &noise);
    }
}

const fn is_completion(point: FaultPoint) -> bool {
    matches!(point, FaultPoint::TxCompletion | FaultPoint::RxCompletion | FaultPoint::RequestCompletion)
}

pub(super) fn low16(value: u32) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or(0)
}

//! What a device does that lies: completions that are lost, late, double, in the wrong order or made up; noise over memory.

use super::queue::Chain;
use super::{Class, Virtio, feature};
use crate::fault::{Action, Field, Fields, Seeded, Verdict};

/// What was put off: ticks to go, and what.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub(super) doorbells: Vec<(u32, u16)>,
    pub(super) interrupts: Vec<(u32, u16, u8)>,
    used: Vec<(u32, (usize, u32, u32))>,
    scribbles: Vec<(u32, u32)>,
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
            Field::Value => None,
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
    /// Takes the next chain of `queue` that the device does not hold already.
    pub(super) fn take(&mut self, queue: usize) -> Option<Chain> {
        if let Some(chain) = self.queues[queue].stock.pop() {
            return Some(chain);
        }
        if !self.queues[queue].is_enabled {
            return None;
        }
        match self.queues[queue].take(&self.memory) {
            Ok(Some(mut chain)) => {
                // Under a device that lies, who owns what can no longer be told from outside.
                if self.faults.hits() == 0
                    && let Err(fault) = chain.hold(&self.memory)
                {
                    self.violation(fault.to_string());
                }
                Some(chain)
            }
            Ok(None) => None,
            Err(why) => {
                self.violation(why.to_string());
                None
            }
        }
    }

    /// Gives a chain back, and says of it what `verdict` makes of `said`. Shown by [`show`](Self::show).
    pub(super) fn use_chain(&mut self, queue: usize, mut chain: Chain, said: Said, verdict: Verdict) {
        if self.faults.hits() == 0 {
            chain.give_back(&self.memory);
        } else {
            self.memory.give_all_back();
        }
        let Said { index, length, .. } = said;
        match verdict {
            Verdict::Do(Action::Drop) => {}
            Verdict::Do(Action::Delay { ticks }) => self.pending.used.push((ticks, (queue, index, length))),
            Verdict::Do(Action::Duplicate) => {
                self.put(queue, index, length);
                self.put(queue, index, length);
            }
            Verdict::Do(Action::Reorder) => self.queues[queue].held_back = Some((index, length)),
            Verdict::Do(Action::Invent { index: invented }) => {
                self.put(queue, invented, length);
                self.put(queue, index, length);
            }
            Verdict::Do(action) => {
                self.put(queue, index, length);
                self.react(action);
            }
            Verdict::GoOn => self.put(queue, index, length),
        }
    }

    /// Writes one used element, true or not.
    pub fn put(&mut self, queue: usize, id: u32, len_bytes: u32) {
        let held_back = self.queues[queue].held_back.take();
        for (id, len_bytes) in std::iter::once((id, len_bytes)).chain(held_back) {
            if let Err(fault) = self.queues[queue].put(&self.memory, id, len_bytes) {
                self.violation(fault.to_string());
            }
        }
    }

    /// Shows the used elements written so far, and interrupts if the driver asked for it. `ahead` is how much the index lies.
    pub fn show(&mut self, queue: usize, ahead: u16) {
        let has_event_idx = self.has(feature::EVENT_IDX);
        match self.queues[queue].show(&self.memory, has_event_idx, ahead) {
            Ok(true) => self.interrupt_queue(queue),
            Ok(false) => {}
            Err(fault) => self.violation(fault.to_string()),
        }
    }

    /// Tells the driver when the device wants to hear of more.
    pub fn tell_wish(&mut self, queue: usize) {
        let has_event_idx = self.has(feature::EVENT_IDX);
        if let Err(fault) = self.queues[queue].tell_wish(&self.memory, has_event_idx) {
            self.violation(fault.to_string());
        }
    }

    /// How many available entries the device has not taken.
    #[must_use]
    pub fn waiting(&self, queue: usize) -> u16 {
        self.queues[queue].waiting(&self.memory).unwrap_or(0)
    }

    /// Does what an action means wherever it happens.
    pub(super) fn react(&mut self, action: Action) {
        match action {
            Action::AllOnes => self.gone = true,
            Action::DemandReset => self.need_reset(),
            Action::FlapLink => {
                self.class.flap();
                self.config_changed();
            }
            // virtio has no place for an error: the queue is just silent from here on.
            Action::StopQueue { code } if !self.queues.is_empty() => {
                let queue = code as usize % self.queues.len();
                self.queues[queue].is_stopped = true;
            }
            Action::Scribble { seed } => self.pending.scribbles.push((1, seed)),
            Action::Invent { index } if self.is_live() && !self.queues.is_empty() => {
                let queue = index as usize % self.queues.len();
                if self.queues[queue].is_enabled {
                    self.put(queue, index, index >> 4);
                    self.show(queue, 0);
                }
            }
            _ => {}
        }
    }

    pub(super) fn run_pending(&mut self) {
        for queue in due(&mut self.pending.doorbells) {
            self.serve(queue);
        }
        for (queue, id, len_bytes) in due(&mut self.pending.used) {
            if self.is_live() {
                self.put(queue, id, len_bytes);
                self.show(queue, 0);
            }
        }
        for seed in due(&mut self.pending.scribbles) {
            self.scribble(seed);
        }
        let interrupts = std::mem::take(&mut self.pending.interrupts);
        for (ticks, vector, cause) in interrupts {
            if ticks <= 1 {
                self.send_interrupt(vector, cause);
            } else {
                self.pending.interrupts.push((ticks - 1, vector, cause));
            }
        }
    }

    /// Noise over a part of a used ring, which is the device's to write, its index and wish included.
    fn scribble(&mut self, seed: u32) {
        if !self.is_live() || self.queues.is_empty() {
            return;
        }
        let mut chance = Seeded::new(seed.into());
        let queue = &self.queues[chance.below(self.queues.len().try_into().unwrap_or(1)) as usize];
        if !queue.is_enabled {
            return;
        }
        // A driver that was told so has a queue of one entry: all of it is shorter than the longest noise.
        let used_bytes = queue.used_bytes();
        let len_bytes = 1 + chance.below(used_bytes.min(16));
        let last = used_bytes - len_bytes;
        // Half of it at the index, where it does most.
        let at = if chance.below(2) == 0 { last.min(2) } else { chance.below(last + 1) };
        let noise: Vec<u8> = (0..len_bytes).map(|_| chance.next_u32().to_le_bytes()[0]).collect();
        // Where bus mastering is off, it is no noise.
        let _ = self.memory.write(queue.used() + u64::from(at), &noise);
    }
}

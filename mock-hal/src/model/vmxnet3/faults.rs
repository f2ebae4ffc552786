//! Where the device asks what goes wrong, and how it does what it is told.
//!
//! Nothing here reaches memory that the driver did not give: a liar lies within the rings it has.
//! Quiescing and resetting are never lost either; against a device that goes on writing after its
//! bus mastering is off there is an IOMMU and no driver.

use std::ops::Range;

use super::Vmxnet3;
use super::layout::{bar0, ecr, queue_desc, queue_id, rcd, shared};
use super::queue::{QueueId, Ring};
use super::says::{RxSays, TxSays};
use crate::fault::{Action, FaultPoint, Fields, Seeded};

/// What was put off. Numbers of queues come first.
#[derive(Clone, Debug)]
pub(super) enum Later {
    Tx(usize, u32),
    Rx(usize, [u32; 4]),
    /// For that queue, if not for the one that the hash says.
    Frame(Option<usize>, Vec<u8>),
    Doorbell(usize),
    Interrupt(u8),
    /// Noise over four words at this address.
    Noise {
        addr: u64,
        seed: u32,
    },
}

/// What a device can do about a completion besides making it; one at a time waits for the next.
fn plays_completion(one_waits: bool) -> impl Fn(&Action) -> bool {
    move |action| match action {
        Action::Drop
        | Action::Delay { .. }
        | Action::Duplicate
        | Action::Invent { .. }
        | Action::Scribble { .. } => true,
        Action::Reorder => !one_waits,
        _ => false,
    }
}

impl Vmxnet3 {
    /// Asks the plan. What means the same everywhere is done here; of the rest, the answer is what
    /// can be done `here`.
    ///
    /// Subjects: of registers, the BAR in bits 16 and 17 and the offset in it; of commands, the
    /// command; of interrupts, the vector; of completions, the queue; else 0.
    pub(super) fn ask(
        &mut self,
        point: FaultPoint,
        subject: u32,
        value: &mut dyn Fields,
        here: impl Fn(&Action) -> bool,
    ) -> Option<Action> {
        let is_active = self.active.is_some();
        let action = self.faults.at(point, subject, value, |action| match action {
            action if here(action) => true,
            Action::FlapLink | Action::AllOnes => true,
            Action::StopQueue { .. } | Action::DemandReset | Action::Scribble { .. } => is_active,
            _ => false,
        })?;
        if here(&action) {
            return Some(action);
        }
        match action {
            Action::FlapLink => {
                self.link = !self.link;
                self.mark_event(ecr::LINK);
            }
            Action::StopQueue { code } => {
                let queue = match point {
                    FaultPoint::Doorbell => QueueId::Tx(queue_of_doorbell(subject)),
                    FaultPoint::TxCompletion => QueueId::Tx(subject as usize),
                    FaultPoint::RxCompletion => QueueId::Rx(subject as usize),
                    _ => QueueId::Rx(0),
                };
                let event = self.mark_stopped(queue, code);
                self.mark_event(event);
            }
            // The nearest to a demand that there is: errors, and no queue that has one.
            Action::DemandReset => self.mark_event(ecr::RQERR | ecr::TQERR),
            Action::AllOnes => {
                self.gone = true;
                self.deactivate();
            }
            Action::Scribble { seed } => self.scribble(seed),
            _ => {}
        }
        None
    }

    pub(super) fn put_off(&mut self, ticks: u32, what: Later) {
        self.later.push((ticks, what));
    }

    /// Lets the device have time of its own: it looks at its rings as far as it does so unasked,
    /// and does what was put off.
    pub fn tick(&mut self) {
        let here = |action: &Action| matches!(action, Action::Invent { .. });
        if let Some(Action::Invent { index }) = self.ask(FaultPoint::Tick, 0, &mut (), here) {
            self.invent(index);
        }
        self.look();
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        for (queue, ring) in (0..queues).flat_map(|queue| [(queue, 0), (queue, 1)]) {
            self.fetch(queue, ring);
        }
        for (_, what) in self.due() {
            match what {
                Later::Tx(queue, index) => self.write_tx(queue, TxSays::new(index), 0),
                Later::Rx(queue, words) => self.say_rx(queue, words),
                Later::Frame(None, frame) => drop(self.deliver(&frame)),
                Later::Frame(Some(queue), frame) => drop(self.deliver_to(queue, &frame)),
                Later::Doorbell(queue) => self.transmit(queue),
                Later::Interrupt(vector) => self.raise(vector),
                Later::Noise { addr, seed } => self.noise(addr, seed),
            }
        }
    }

    fn due(&mut self) -> Vec<(u32, Later)> {
        for (ticks, _) in &mut self.later {
            *ticks = ticks.saturating_sub(1);
        }
        self.later.extract_if(.., |(ticks, _)| *ticks == 0).collect()
    }

    /// Nothing goes wrong any more, what waited is forgotten, and the cable is in.
    pub fn be_honest(&mut self) {
        self.faults.clear();
        self.later.clear();
        self.gone = false;
        self.refuse_activation = false;
        self.link = true;
        if let Some(active) = &mut self.active {
            for queue in &mut active.tx {
                (queue.stopped, queue.late) = (None, None);
            }
            for queue in &mut active.rx {
                (queue.stopped, queue.late) = (None, None);
            }
        }
    }

    /// Where it writes besides buffers: its words of all queue descriptors, the events, completion
    /// rings, receive data rings. Nowhere while it is stopped.
    #[must_use]
    pub fn own_memory(&self) -> Vec<Range<u64>> {
        let Some(active) = &self.active else { return Vec::new() };
        let ring = |ring: Ring| ring.base..ring.base + u64::from(ring.entries) * 16;
        let field = |start: u64, len_bytes: u64| start..start + len_bytes;
        let status_and_stats = |desc: u64| desc + queue_desc::STOPPED..desc + queue_desc::STATS + 80;
        let tx = active.tx.iter().flat_map(|queue| {
            let threshold = field(queue.desc + queue_desc::TX_THRESHOLD, 4);
            [threshold, status_and_stats(queue.desc), ring(queue.completions)]
        });
        let rx = active.rx.iter().flat_map(|queue| {
            let update = field(queue.desc + queue_desc::UPDATE_RX_PROD, 1);
            let data = queue.data.base..queue.data.slot(queue.data.slots);
            [update, status_and_stats(queue.desc), ring(queue.completions), data]
        });
        let all = [field(active.shared + shared::ECR, 4)].into_iter().chain(tx).chain(rx);
        all.filter(|place| place.start != 0).collect()
    }

    /// Completes something that nobody posted, in any queue.
    fn invent(&mut self, index: u32) {
        let Some((tx, rx)) = self.active.as_ref().map(|active| (active.tx.len(), active.rx.len())) else {
            return;
        };
        let (queue, slot) = ((index >> 13) as usize, index >> 1);
        if index & 1 == 0 {
            self.write_tx(queue % tx, TxSays::new(slot), 0);
        } else {
            let queue = queue % rx;
            let id = queue_id(queue, 0, rx) << rcd::RQ_ID_SHIFT;
            self.write_rx(queue, [slot & 0xfff | id | rcd::SOP | rcd::EOP, 0, slot & 0x3fff, 0], 0);
        }
    }

    /// Writes noise where a device may write: completions, the words for its driver, statistics,
    /// events.
    fn scribble(&mut self, seed: u32) {
        let Some(active) = &self.active else { return };
        let mut chance = Seeded::new(seed.into());
        let tx = &active.tx[chance.next_u32() as usize % active.tx.len()];
        let rx = &active.rx[chance.next_u32() as usize % active.rx.len()];
        let slot = |ring: Ring, chance: &mut Seeded| ring.base + u64::from(chance.below(ring.entries)) * 16;
        let (tx_desc, rx_desc, events) = (tx.desc, rx.desc, active.shared + shared::ECR);
        let addr = match chance.below(7) {
            0 | 1 => slot(tx.completions, &mut chance),
            2 | 3 => slot(rx.completions, &mut chance),
            4 => return self.put32(events, 1 << chance.below(5)),
            5 => {
                self.put32(tx_desc + queue_desc::TX_THRESHOLD, chance.next_u32());
                return self.put(rx_desc + queue_desc::UPDATE_RX_PROD, &[u8::from(chance.below(2) == 1)]);
            }
            _ => {
                [tx_desc, rx_desc][chance.below(2) as usize]
                    + queue_desc::STATS
                    + u64::from(chance.below(5)) * 16
            }
        };
        self.noise(addr, seed);
    }

    fn noise(&mut self, addr: u64, seed: u32) {
        if self.active.is_some() {
            let mut chance = Seeded::new(u64::from(seed) << 1 | 1);
            let words: [u32; 4] = std::array::from_fn(|_| chance.next_u32());
            self.overwrite(addr, &words.map(u32::to_le_bytes).concat());
        }
    }

    /// Writes anything over memory of its own, which [`own_memory`](Self::own_memory) names: a lie,
    /// whatever it says.
    pub fn overwrite(&mut self, addr: u64, bytes: &[u8]) {
        self.lose_track();
        self.put(addr, bytes);
    }

    /// Says `eop_index` about a transmitted frame, as the plan has it.
    pub(super) fn say_tx(&mut self, queue: usize, eop_index: u32) {
        let Some((ring, late)) = self.tx(queue).map(|queue| (queue.completions, queue.late)) else { return };
        let queues = self.active.as_ref().map_or(1, |active| active.tx.len());
        let mut says = TxSays {
            generation: ring.generation.into(),
            queue: (queues > 1).then_some(queue_subject(queue)),
            ..TxSays::new(eop_index)
        };
        let action = self.ask(
            FaultPoint::TxCompletion,
            queue_subject(queue),
            &mut says,
            plays_completion(late.is_some()),
        );
        let flip = says.generation & 1 ^ u32::from(ring.generation);
        let index = says.index;
        let wrong = says.queue.map(|to| to as usize % queues).filter(|to| *to != queue);
        if let Some(wrong) = wrong {
            return self.write_tx(wrong, TxSays::new(index), 0);
        }
        match action {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => return self.put_off(ticks, Later::Tx(queue, index)),
            Some(Action::Reorder) => {
                if let Some(queue) = self.tx(queue) {
                    queue.late = Some(index);
                }
                return;
            }
            Some(Action::Duplicate) => self.write_tx(queue, TxSays { generation: 0, ..says }, flip),
            Some(Action::Invent { index }) => self.write_tx(queue, TxSays::new(index), 0),
            Some(Action::Scribble { seed }) => self.put_off(1, Later::Noise { addr: ring.addr(), seed }),
            _ => {}
        }
        self.write_tx(queue, says, flip);
        if let Some(index) = self.tx(queue).and_then(|queue| queue.late.take()) {
            self.write_tx(queue, TxSays::new(index), 0);
        }
    }

    /// Writes the next transmit completion; `flip` turns its generation over.
    fn write_tx(&mut self, queue: usize, says: TxSays, flip: u32) {
        let index = says.index & 0xfff;
        self.released(flip, |model| model.release_tx(queue, index));
        let Some(ring) = self.tx(queue).map(|queue| &mut queue.completions) else { return };
        let (addr, generation) = (ring.addr(), u32::from(ring.generation) ^ flip);
        ring.advance();
        self.put32(addr, index);
        self.put32(addr + 12, (says.kind & 0x7f) << 24 | generation << 31);
    }

    /// Says `words` about a received buffer, as the plan has it.
    pub(super) fn say_rx(&mut self, queue: usize, words: [u32; 4]) {
        let Some((ring, late)) = self.rx(queue).map(|queue| (queue.completions, queue.late)) else { return };
        let mut says = RxSays::new(words, self.personality.rcd_type, ring.generation);
        let action = self.ask(
            FaultPoint::RxCompletion,
            queue_subject(queue),
            &mut says,
            plays_completion(late.is_some()),
        );
        let flip = says.generation & 1 ^ u32::from(ring.generation);
        let words = says.into_words(words);
        match action {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => return self.put_off(ticks, Later::Rx(queue, words)),
            Some(Action::Reorder) => {
                if let Some(queue) = self.rx(queue) {
                    queue.late = Some(words);
                }
                return;
            }
            Some(Action::Duplicate) => self.write_rx(queue, words, flip),
            Some(Action::Invent { index }) => {
                self.write_rx(queue, [index & 0xfff | rcd::SOP | rcd::EOP, 0, 60, 0], 0);
            }
            Some(Action::Scribble { seed }) => self.put_off(1, Later::Noise { addr: ring.addr(), seed }),
            _ => {}
        }
        self.write_rx(queue, words, flip);
        if let Some(words) = self.rx(queue).and_then(|queue| queue.late.take()) {
            self.write_rx(queue, words, 0);
        }
    }

    /// Writes the next receive completion, with its generation turned over by `flip`.
    fn write_rx(&mut self, queue: usize, words: [u32; 4], flip: u32) {
        let [word0, word1, word2, word3] = words;
        self.released(flip, |model| model.release_rx(queue, word0));
        let Some(ring) = self.rx(queue).map(|queue| &mut queue.completions) else { return };
        let (addr, generation) = (ring.addr(), u32::from(ring.generation) ^ flip);
        ring.advance();
        for (offset, word) in [(0, word0), (4, word1), (8, word2)] {
            self.put32(addr + offset, word);
        }
        self.put32(addr + 12, word3 & 0x7fff_ffff | generation << 31);
    }

    /// What a completion gives back, if it comes in its turn. One of the wrong generation is read
    /// when nobody expects it.
    fn released(&mut self, flip: u32, release: impl FnOnce(&mut Self)) {
        if flip == 0 { release(self) } else { self.lose_track() }
    }
}

/// The transmit queue whose doorbell a plan names so.
fn queue_of_doorbell(subject: u32) -> usize {
    let offset = subject as usize & 0xffff;
    let start = if offset < bar0::LARGE[0] { bar0::TXPROD } else { bar0::LARGE[0] };
    offset.saturating_sub(start) / bar0::STRIDE
}

fn queue_subject(queue: usize) -> u32 {
    u32::try_from(queue).unwrap_or(u32::MAX)
}

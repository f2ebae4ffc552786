//! Where the device asks what goes wrong, and how it does what it is told.
//!
//! Nothing here reaches memory that the driver did not give: a liar lies within the rings it has. Quiescing and resetting are never lost either;
//! against a device that goes on writing after its bus mastering is off there is an IOMMU and no driver.

use std::ops::Range;

use super::{Active, Ring, Vmxnet3};
use crate::fault::{Action, FaultPoint, Field, Fields, Seeded};

/// A transmit completion, by its fields.
pub(super) struct TxSays {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) generation: u32,
}

impl Fields for TxSays {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        match field {
            Field::Index => Some(&mut self.index),
            Field::Kind => Some(&mut self.kind),
            Field::Generation => Some(&mut self.generation),
            _ => None,
        }
    }
}

/// A receive completion, by its fields; the other bits as they are.
pub(super) struct RxSays {
    pub(super) index: u32,
    pub(super) queue: u32,
    /// `eop`, `sop`, `err`, from bit 0.
    pub(super) flags: u32,
    pub(super) len_bytes: u32,
    pub(super) kind: u32,
    pub(super) generation: u32,
}

const WORD0: u32 = 0x03ff_cfff;
const WORD2: u32 = 0x7fff;

impl RxSays {
    pub(super) fn new(words: [u32; 4], kind: u32, generation: bool) -> Self {
        let [word0, _, word2, _] = words;
        Self {
            index: word0 & 0xfff,
            queue: word0 >> 16 & 0x3ff,
            flags: word0 >> 14 & 0b11 | (word2 >> 14 & 1) << 2,
            len_bytes: word2 & 0x3fff,
            kind,
            generation: generation.into(),
        }
    }

    /// `words` with these fields in place.
    pub(super) fn into_words(self, words: [u32; 4]) -> [u32; 4] {
        let [word0, word1, word2, word3] = words;
        [
            word0 & !WORD0 | self.index & 0xfff | (self.flags & 0b11) << 14 | (self.queue & 0x3ff) << 16,
            word1,
            word2 & !WORD2 | self.len_bytes & 0x3fff | (self.flags >> 2 & 1) << 14,
            word3 & 0x00ff_ffff | (self.kind & 0x7f) << 24 | self.generation << 31,
        ]
    }
}

impl Fields for RxSays {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        match field {
            Field::Index => Some(&mut self.index),
            Field::Queue => Some(&mut self.queue),
            Field::Flags => Some(&mut self.flags),
            Field::Length => Some(&mut self.len_bytes),
            Field::Kind => Some(&mut self.kind),
            Field::Generation => Some(&mut self.generation),
            Field::Value => None,
        }
    }
}

/// What was put off.
#[derive(Clone, Debug)]
pub(super) enum Later {
    Tx(u32),
    Rx([u32; 4]),
    Frame(Vec<u8>),
    Doorbell,
    Interrupt(u8),
    /// Noise over four words at this address.
    Noise {
        addr: u64,
        seed: u32,
    },
}

/// What waits for its time, or for the next of its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    /// In so many ticks.
    pub(super) later: Vec<(u32, Later)>,
    pub(super) tx_held: Option<u32>,
    pub(super) rx_held: Option<[u32; 4]>,
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
    /// Asks the plan. What means the same everywhere is done here; of the rest, the answer is what can be done `here`.
    ///
    /// Subjects: of registers, the BAR in bits 16 and 17 and the offset in it; of commands, the command; of interrupts, the vector; else 0.
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
                self.mark_event(1 << 2);
            }
            Action::StopQueue { code } => {
                self.stop_code = Some(code);
                self.mark_event(0b11);
            }
            Action::DemandReset => self.mark_event(0b11),
            Action::AllOnes => {
                self.gone = true;
                self.active = None;
            }
            Action::Scribble { seed } => self.scribble(seed),
            _ => {}
        }
        None
    }

    /// Sets an event without interrupting: the interrupt is for the next to send.
    fn mark_event(&mut self, bits: u32) {
        if let Some(active) = self.active {
            let ecr = self.get32(active.shared + 0x2b8) | bits;
            self.put32(active.shared + 0x2b8, ecr);
            self.pending[usize::from(active.event_vector)] = true;
        }
    }

    pub(super) fn put_off(&mut self, ticks: u32, what: Later) {
        self.waiting.later.push((ticks, what));
    }

    /// Lets the device have time of its own: it looks at its rings as far as it does so unasked, and does what was put off.
    pub fn tick(&mut self) {
        let here = |action: &Action| matches!(action, Action::Invent { .. });
        if let Some(Action::Invent { index }) = self.ask(FaultPoint::Tick, 0, &mut (), here) {
            self.invent(index);
        }
        self.look();
        for (_, what) in self.due() {
            match what {
                Later::Tx(index) => self.write_tx(TxSays { index, kind: 0, generation: 0 }, 0),
                Later::Rx(words) => self.complete_rx(words),
                Later::Frame(frame) => drop(self.deliver(&frame)),
                Later::Doorbell => self.transmit(),
                Later::Interrupt(vector) => self.raise(vector),
                Later::Noise { addr, seed } => self.noise(addr, seed),
            }
        }
    }

    fn due(&mut self) -> Vec<(u32, Later)> {
        for (ticks, _) in &mut self.waiting.later {
            *ticks = ticks.saturating_sub(1);
        }
        self.waiting.later.extract_if(.., |(ticks, _)| *ticks == 0).collect()
    }

    /// Nothing goes wrong any more, and what waited is forgotten.
    pub fn be_honest(&mut self) {
        self.faults.clear();
        self.waiting = Waiting::default();
        self.gone = false;
        self.refuse_activation = false;
        self.stop_code = None;
    }

    /// Where it writes besides buffers: its words of both queue descriptors, the events, both completion rings. Nowhere while it is stopped.
    #[must_use]
    pub fn own_memory(&self) -> Vec<Range<u64>> {
        let Some(Active { shared, tx_desc, rx_desc, tx_completions, rx_completions, .. }) = self.active
        else {
            return Vec::new();
        };
        let ring = |ring: Ring| ring.base..ring.base + u64::from(ring.entries) * 16;
        let status_and_stats = |desc: u64| desc + 0x50..desc + 0xa8;
        vec![
            shared + 0x2b8..shared + 0x2bc,
            tx_desc + 4..tx_desc + 8,
            rx_desc..rx_desc + 1,
            status_and_stats(tx_desc),
            status_and_stats(rx_desc),
            ring(tx_completions),
            ring(rx_completions),
        ]
    }

    /// Completes something that nobody posted.
    fn invent(&mut self, index: u32) {
        if index & 1 == 0 {
            self.write_tx(TxSays { index: index >> 1, kind: 0, generation: 0 }, 0);
        } else {
            let index = index >> 1;
            self.write_rx([index & 0xfff | 0b11 << 14, 0, index & 0x3fff, 0], 0);
        }
    }

    /// Writes noise where a device may write: completions, the words for its driver, statistics, events.
    fn scribble(&mut self, seed: u32) {
        let Some(active) = self.active else { return };
        let mut chance = Seeded::new(seed.into());
        let slot = |ring: Ring, chance: &mut Seeded| ring.base + u64::from(chance.below(ring.entries)) * 16;
        let addr = match chance.below(7) {
            0 | 1 => slot(active.tx_completions, &mut chance),
            2 | 3 => slot(active.rx_completions, &mut chance),
            4 => return self.put32(active.shared + 0x2b8, 1 << chance.below(5)),
            5 => {
                self.put32(active.tx_desc + 4, chance.next_u32());
                return self.put(active.rx_desc, &[u8::from(chance.below(2) == 1)]);
            }
            _ => {
                [active.tx_desc, active.rx_desc][chance.below(2) as usize]
                    + 0x58
                    + u64::from(chance.below(5)) * 16
            }
        };
        self.noise(addr, seed);
    }

    fn noise(&mut self, addr: u64, seed: u32) {
        if self.active.is_some() {
            let mut chance = Seeded::new(u64::from(seed) << 1 | 1);
            for word in 0..4 {
                self.put32(addr + word * 4, chance.next_u32());
            }
        }
    }

    /// Says `says` about a transmitted frame, as the plan has it.
    pub(super) fn say_tx(&mut self, eop_index: u32) {
        let Some(active) = self.active else { return };
        let addr = active.tx_completions.addr();
        let mut says =
            TxSays { index: eop_index, kind: 0, generation: active.tx_completions.generation.into() };
        let action = self.ask(
            FaultPoint::TxCompletion,
            0,
            &mut says,
            plays_completion(self.waiting.tx_held.is_some()),
        );
        let flip = says.generation & 1 ^ u32::from(active.tx_completions.generation);
        let index = says.index;
        match action {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => return self.put_off(ticks, Later::Tx(index)),
            Some(Action::Reorder) => {
                self.waiting.tx_held = Some(index);
                return;
            }
            Some(Action::Duplicate) => self.write_tx(TxSays { index, kind: says.kind, generation: 0 }, flip),
            Some(Action::Invent { index }) => self.write_tx(TxSays { index, kind: 0, generation: 0 }, 0),
            Some(Action::Scribble { seed }) => self.put_off(1, Later::Noise { addr, seed }),
            _ => {}
        }
        self.write_tx(says, flip);
        if let Some(index) = self.waiting.tx_held.take() {
            self.write_tx(TxSays { index, kind: 0, generation: 0 }, 0);
        }
    }

    /// Writes the next transmit completion; `flip` turns its generation over.
    pub(super) fn write_tx(&mut self, says: TxSays, flip: u32) {
        if let Some(mut active) = self.active {
            let ring = &mut active.tx_completions;
            let (addr, generation) = (ring.addr(), u32::from(ring.generation) ^ flip);
            ring.advance();
            self.active = Some(active);
            self.put32(addr, says.index & 0xfff);
            self.put32(addr + 12, (says.kind & 0x7f) << 24 | generation << 31);
        }
    }

    /// Says `words` about a received buffer, as the plan has it.
    pub(super) fn say_rx(&mut self, words: [u32; 4]) {
        let Some(active) = self.active else { return };
        let ring = active.rx_completions;
        let mut says = RxSays::new(words, self.personality.rcd_type, ring.generation);
        let action = self.ask(
            FaultPoint::RxCompletion,
            0,
            &mut says,
            plays_completion(self.waiting.rx_held.is_some()),
        );
        let flip = says.generation & 1 ^ u32::from(ring.generation);
        let words = says.into_words(words);
        match action {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => return self.put_off(ticks, Later::Rx(words)),
            Some(Action::Reorder) => {
                self.waiting.rx_held = Some(words);
                return;
            }
            Some(Action::Duplicate) => self.write_rx(words, flip),
            Some(Action::Invent { index }) => self.write_rx([index & 0xfff | 0b11 << 14, 0, 60, 0], 0),
            Some(Action::Scribble { seed }) => self.put_off(1, Later::Noise { addr: ring.addr(), seed }),
            _ => {}
        }
        self.write_rx(words, flip);
        if let Some(words) = self.waiting.rx_held.take() {
            self.write_rx(words, 0);
        }
    }

    /// Writes the next receive completion, with its generation turned over by `flip`.
    pub(super) fn write_rx(&mut self, words: [u32; 4], flip: u32) {
        if let Some(mut active) = self.active {
            let ring = &mut active.rx_completions;
            let (addr, generation) = (ring.addr(), u32::from(ring.generation) ^ flip);
            ring.advance();
            self.active = Some(active);
            let [word0, word1, word2, word3] = words;
            for (offset, word) in [(0, word0), (4, word1), (8, word2)] {
                self.put32(addr + offset, word);
            }
            self.put32(addr + 12, word3 & 0x7fff_ffff | generation << 31);
        }
    }
}

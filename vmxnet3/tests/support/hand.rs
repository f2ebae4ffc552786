//! The device's side of one receive queue, by hand: for queues that the model does not fill.

#![allow(unreachable_pub, reason = "part of a test")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of tests")]

use crate::support::Machine;

const SOP: u32 = 1 << 15;
const EOP: u32 = 1 << 14;
const CNC: u32 = 1 << 30;

/// A ring, and where the device stands in it.
struct Ring {
    base: u64,
    entries: u64,
    next: u64,
    generation: bool,
}

impl Ring {
    fn new(base: u64, entries: u32) -> Self {
        Self { base, entries: entries.into(), next: 0, generation: true }
    }

    fn at(&self) -> u64 {
        self.base + self.next * 16
    }

    fn step(&mut self) -> u32 {
        let index = self.next as u32;
        self.next += 1;
        if self.next == self.entries {
            (self.next, self.generation) = (0, !self.generation);
        }
        index
    }
}

/// One receive queue as the driver described it.
pub struct Hand<'m> {
    machine: &'m Machine,
    rings: [Ring; 2],
    completions: Ring,
    queue: u32,
    queues: u32,
}

impl<'m> Hand<'m> {
    /// That of `queue`, of a device that was just started.
    pub fn of(machine: &'m Machine, queue: u32) -> Self {
        let memory = machine.platform.memory();
        let shared = machine.model().shared_addr().unwrap();
        let [tx, rx] = memory.device_get(shared + 0x3e).unwrap();
        let table = u64::from_le_bytes(memory.device_get(shared + 0x28).unwrap());
        let desc = table + 256 * (u64::from(tx) + u64::from(queue));
        let ring = |base, entries| {
            let base = u64::from_le_bytes(memory.device_get(desc + base).unwrap());
            Ring::new(base, u32::from_le_bytes(memory.device_get(desc + entries).unwrap()))
        };
        let rings = [ring(0x10, 0x38), ring(0x18, 0x3c)];
        Self { machine, rings, completions: ring(0x20, 0x40), queue, queues: rx.into() }
    }

    /// A frame arrives: in a buffer of ring 1 and, as far as it does not fit, in those of ring 2.
    /// `extra` is what its last completion says besides.
    pub fn deliver(&mut self, frame: &[u8], extra: [u32; 4]) {
        let mut rest = frame;
        let mut position = 0;
        while position == 0 || !rest.is_empty() {
            let ring = usize::from(position > 0);
            let memory = self.machine.platform.memory();
            let addr = u64::from_le_bytes(memory.device_get(self.rings[ring].at()).unwrap());
            let word2 = u32::from_le_bytes(memory.device_get(self.rings[ring].at() + 8).unwrap());
            assert_eq!(word2 >> 31 != 0, self.rings[ring].generation, "a buffer was posted");
            let (piece, more) = rest.split_at(rest.len().min((word2 & 0x3fff) as usize));
            memory.device_write(addr, piece).unwrap();
            rest = more;
            let id = self.queue + if position == 0 { 0 } else { self.queues };
            let index = self.rings[ring].step();
            let mut words = [id << 16 | index, 0, piece.len() as u32, 0];
            words[0] |= if position == 0 { SOP } else { 0 };
            if rest.is_empty() {
                words[0] |= EOP | CNC;
                words.iter_mut().zip(extra).for_each(|(word, extra)| *word |= extra);
            }
            self.complete(words);
            position += 1;
        }
    }

    /// Writes a completion, true or not; only its generation is not the caller's.
    pub fn complete(&mut self, words: [u32; 4]) {
        let [word0, word1, word2, word3] = words;
        let word3 = word3 & 0x7fff_ffff | u32::from(self.completions.generation) << 31;
        let at = self.completions.at();
        for (place, word) in (0..).zip([word0, word1, word2, word3]) {
            self.machine.platform.memory().device_write(at + place * 4, &word.to_le_bytes()).unwrap();
        }
        self.completions.step();
    }
}

//! The device's side of a queue, split or packed.

use super::super::{load, store};
use crate::subject::Kind;

/// One queue and where the device stands in it.
#[derive(Clone, Copy, Default)]
pub struct Queue {
    pub(super) entries: u16,
    pub(super) descriptors: u64,
    pub(super) avail: u64,
    pub(super) used: u64,
    pub(super) enabled: bool,
    pub(super) packed: bool,
    /// Of the next chain to be taken.
    next_avail: u16,
    /// Of the next one to be given back.
    next_used: u16,
    /// Packed: the laps that these two are in, true at first.
    pub(super) laps: (bool, bool),
}

/// A chain that was taken.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    id: u16,
    descriptors: u16,
    /// Where its first buffer is,
    pub(super) first: u64,
    /// and its last.
    pub(super) last: u64,
    /// How long all are together.
    pub(super) len_bytes: u64,
    /// What the device says that it wrote.
    pub(super) written_bytes: u32,
}

impl Chain {
    /// One of which the descriptor at `at` is the first.
    fn new(id: u16, at: u64) -> Self {
        let first = load(at);
        let len_bytes = load::<u32>(at + 8).into();
        Self { id, descriptors: 1, first, last: first, len_bytes, written_bytes: 0 }
    }

    /// The descriptor at `at` is the next.
    fn go_on(&mut self, at: u64) {
        self.last = load(at);
        self.descriptors += 1;
        self.len_bytes += u64::from(load::<u32>(at + 8));
    }
}

impl Queue {
    /// A queue of `entries` at these addresses.
    pub fn new(entries: u16, descriptors: u64, avail: u64, used: u64) -> Self {
        Self { entries, descriptors, avail, used, enabled: true, ..Self::default() }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.entries != 0 && self.used != 0
    }

    /// Takes the next chain, if there is one.
    pub(super) fn take(&mut self) -> Option<Chain> {
        if self.packed {
            return self.take_packed();
        }
        let idx: u16 = load(self.avail + 2);
        if idx == self.next_avail {
            return None;
        }
        let id = load(self.avail + 4 + u64::from(self.next_avail % self.entries) * 2);
        self.next_avail = self.next_avail.wrapping_add(1);
        let mut at = self.descriptor(id);
        let mut chain = Chain::new(id, at);
        while load::<u16>(at + 12) & 1 != 0 {
            at = self.descriptor(load(at + 14));
            chain.go_on(at);
        }
        Some(chain)
    }

    fn take_packed(&mut self) -> Option<Chain> {
        let mut at = self.descriptor(self.next_avail);
        let mut flags: u16 = load(at + 14);
        if flags & 0x8080 != if self.laps.0 { 0x80 } else { 0x8000 } {
            return None;
        }
        let mut chain = Chain::new(0, at);
        loop {
            self.next_avail += 1;
            if self.next_avail == self.entries {
                (self.next_avail, self.laps.0) = (0, !self.laps.0);
            }
            if flags & 1 == 0 {
                chain.id = load(at + 12);
                return Some(chain);
            }
            at = self.descriptor(self.next_avail);
            flags = load(at + 14);
            chain.go_on(at);
        }
    }

    fn descriptor(&self, index: u16) -> u64 {
        self.descriptors + u64::from(index) * 16
    }

    /// Gives `chains` back, last one first if they are to be out of order.
    pub(super) fn complete(&mut self, chains: &[Chain], kind: Kind) {
        for index in 0..chains.len() {
            let chain = match kind {
                Kind::OutOfOrder => chains[chains.len() - 1 - index],
                _ => chains[index],
            };
            if self.packed {
                let at = self.descriptor(self.next_used);
                store(at + 8, chain.written_bytes);
                store(at + 12, chain.id);
                store(at + 14, if self.laps.1 { 0x8080_u16 } else { 0 });
                self.next_used += chain.descriptors;
                if self.next_used >= self.entries {
                    (self.next_used, self.laps.1) = (self.next_used - self.entries, !self.laps.1);
                }
                continue;
            }
            let element = self.used + 4 + u64::from(self.next_used % self.entries) * 8;
            store(element, u32::from(chain.id));
            store(element + 4, chain.written_bytes);
            self.next_used = self.next_used.wrapping_add(1);
        }
        // Asks to be told about the next chain: it goes to sleep after each turn, as a device in
        // another thread would.
        if self.packed {
            store(self.used, self.next_avail | u16::from(self.laps.0) << 15);
            store(self.used + 2, 2_u16);
            return;
        }
        store(self.used + 2, self.next_used);
        store(self.used + 4 + u64::from(self.entries) * 8, self.next_avail);
    }
}

//! The split ring: descriptor table, available ring, used ring.
//!
//! Spec: VIRTIO 1.2, 2.7 "Split Virtqueues". Offsets are of 2.7.5, 2.7.6 and 2.7.8.

use std::fmt;

use super::{Chain, Queue, Segment, Wish};
use crate::device::DeviceMemory;
use crate::memory::AccessFault;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Where the device is in it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Split {
    /// Next available entry to take.
    next_available: u16,
    /// Next used entry to write.
    pub(in super::super) next_used: u16,
    /// Used index at the last decision about an interrupt.
    signalled: u16,
}

/// Why the device cannot take a chain.
#[derive(Debug)]
pub(in super::super) enum Untaken {
    /// The driver broke a rule.
    Rule(String),
    /// Memory did not answer.
    Memory(AccessFault),
}

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => f.write_str(rule),
            Self::Memory(fault) => fault.fmt(f),
        }
    }
}

impl From<AccessFault> for Untaken {
    fn from(fault: AccessFault) -> Self {
        Self::Memory(fault)
    }
}

impl Queue {
    fn descriptors(&self) -> u64 {
        self.areas[0]
    }
    fn available(&self) -> u64 {
        self.areas[1]
    }
    pub(in super::super) fn used(&self) -> u64 {
        self.areas[2]
    }
    fn used_event(&self) -> u64 {
        self.available() + 4 + 2 * u64::from(self.entries)
    }
    fn available_event(&self) -> u64 {
        self.used() + 4 + 8 * u64::from(self.entries)
    }
    pub(in super::super) fn used_bytes(&self) -> u32 {
        6 + 8 * u32::from(self.entries)
    }

    /// How many available entries were not taken yet.
    pub(in super::super) fn waiting(&self, memory: &DeviceMemory) -> Result<u16, AccessFault> {
        Ok(memory.get16(self.available() + 2)?.wrapping_sub(self.ring.next_available))
    }

    /// Takes the next chain, if there is one.
    pub(in super::super) fn take(
        &mut self,
        memory: &DeviceMemory,
        has_indirect: bool,
    ) -> Result<Option<Chain>, Untaken> {
        let waiting = self.waiting(memory)?;
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.entries {
            return Err(Untaken::Rule(format!("{waiting} entries available in a ring of {}", self.entries)));
        }
        let slot = u64::from(self.ring.next_available % self.entries);
        let head = memory.get16(self.available() + 4 + 2 * slot)?;
        self.ring.next_available = self.ring.next_available.wrapping_add(1);
        let segments = self.walk(memory, head, has_indirect)?;
        Ok(Some(Chain { head, segments }))
    }

    fn walk(&self, memory: &DeviceMemory, head: u16, has_indirect: bool) -> Result<Vec<Segment>, Untaken> {
        let rule = |what: String| Err(Untaken::Rule(what));
        let mut segments: Vec<Segment> = Vec::new();
        // The ring's table, or the one that a descriptor of it led to.
        let (mut table, mut entries) = (self.descriptors(), self.entries);
        let mut index = head;
        loop {
            if index >= entries {
                return rule(format!("descriptor {index} of {entries}"));
            }
            let at = table + 16 * u64::from(index);
            let (addr, len_bytes) = (memory.get64(at)?, memory.get32(at + 8)?);
            let (flags, next) = (memory.get16(at + 12)?, memory.get16(at + 14)?);
            if flags & !(NEXT | WRITE | INDIRECT) != 0 {
                return rule(format!("unknown flags in a descriptor: {flags:#x}"));
            }
            if flags & INDIRECT != 0 {
                if !has_indirect {
                    return rule("an indirect table, which was not agreed".into());
                }
                if flags & NEXT != 0 || table != self.descriptors() {
                    return rule("an indirect table in a table or with a next, 2.7.5.3.1".into());
                }
                entries = u16::try_from(len_bytes / 16).unwrap_or(u16::MAX);
                if !len_bytes.is_multiple_of(16) || !(1..=self.entries).contains(&entries) {
                    return rule(format!("an indirect table of {len_bytes} bytes, 2.7.5.3.1"));
                }
                (table, index) = (addr, 0);
                continue;
            }
            let is_writable = flags & WRITE != 0;
            if len_bytes == 0 {
                return rule("an empty descriptor".into());
            }
            if !is_writable && segments.last().is_some_and(|last| last.is_writable) {
                return rule("a readable descriptor behind a writable one, 2.7.4.2".into());
            }
            segments.push(Segment { addr, len_bytes, is_writable });
            if flags & NEXT == 0 {
                return Ok(segments);
            }
            if segments.len() >= usize::from(entries) {
                return rule("a chain longer than its table: a loop, 2.7.5.2".into());
            }
            index = next;
        }
    }

    /// Writes one used element, without showing it yet.
    pub(in super::super) fn put(
        &mut self,
        memory: &DeviceMemory,
        id: u32,
        len_bytes: u32,
    ) -> Result<(), AccessFault> {
        let at = self.used() + 4 + 8 * u64::from(self.ring.next_used % self.entries);
        memory.write(at, &id.to_le_bytes())?;
        memory.write(at + 4, &len_bytes.to_le_bytes())?;
        self.ring.next_used = self.ring.next_used.wrapping_add(1);
        Ok(())
    }

    /// Shows what was put so far, `ahead` too many if the device lies. Whether the driver wants an
    /// interrupt for it.
    ///
    /// Spec: VIRTIO 1.2, 2.7.7.2 "Device Requirements: Used Buffer Notification Suppression".
    pub(in super::super) fn show(
        &mut self,
        memory: &DeviceMemory,
        has_event_idx: bool,
        ahead: u16,
    ) -> Result<bool, AccessFault> {
        let shown = self.ring.next_used;
        memory.write(self.used() + 2, &shown.wrapping_add(ahead).to_le_bytes())?;
        let before = std::mem::replace(&mut self.ring.signalled, shown);
        if !has_event_idx {
            return Ok(memory.get16(self.available())? & 1 == 0);
        }
        let event = memory.get16(self.used_event())?;
        Ok(passed(event, shown, before))
    }

    /// The driver saw `told` as the used index: it may believe the elements up to there, old ones
    /// though they are.
    pub(in super::super) fn excuse_shown(&mut self, memory: &DeviceMemory, told: u16) {
        let Ok(shown) = memory.get16(self.used() + 2) else { return };
        for ahead in 0..told.wrapping_sub(shown).min(self.entries) {
            let place = shown.wrapping_add(ahead) % self.entries;
            if let Ok(id) = memory.get32(self.used() + 4 + 8 * u64::from(place)) {
                self.excuse(memory, id);
            }
        }
    }

    /// Says from when on the device wants to be told.
    pub(in super::super) fn tell_wish(
        &self,
        memory: &DeviceMemory,
        has_event_idx: bool,
    ) -> Result<(), AccessFault> {
        if !has_event_idx {
            return memory.write(self.used(), &u16::from(self.wish == Wish::Never).to_le_bytes());
        }
        let next = self.ring.next_available;
        let event = match self.wish {
            Wish::After(more) => next.wrapping_add(more),
            Wish::Never => next.wrapping_sub(1),
        };
        memory.write(self.available_event(), &event.to_le_bytes())
    }
}

/// Whether going from `old` to `new` passed `event`.
fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::passed;

    /// Counted out: exactly the entries from `old` on, up to but not with `new`, are passed.
    #[test]
    fn an_event_is_passed_when_it_is_among_the_new_ones() {
        for old in [0_u16, 5, 0x7ffe, 0xfffc, 0xffff] {
            for step in 0..9 {
                let new = old.wrapping_add(step);
                let among: Vec<u16> = (0..step).map(|i| old.wrapping_add(i)).collect();
                for event in (0..20).map(|i| old.wrapping_sub(8).wrapping_add(i)) {
                    assert_eq!(passed(event, new, old), among.contains(&event), "{event} {new} {old}");
                }
            }
        }
    }
}

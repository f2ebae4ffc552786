//! The split ring: descriptor table, available ring, used ring.
//!
//! Spec: VIRTIO 1.2, 2.7 "Split Virtqueues". Offsets are of 2.7.5, 2.7.6 and 2.7.8.

use super::{Chain, INDIRECT, NEXT, Segment, Shape, Untaken, WRITE, Wish};
use crate::device::DeviceMemory;
use crate::memory::AccessFault;

/// Where the device is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Split {
    /// Next available entry to take.
    next_available: u16,
    /// Next used entry to write.
    next_used: u16,
    /// Used index at the last decision about an interrupt.
    signalled: u16,
    /// Where the next chain starts in the table, if descriptors are used in ring order.
    next_descriptor: u16,
}

impl Shape {
    const fn descriptors(self) -> u64 {
        self.areas[0]
    }
    const fn available(self) -> u64 {
        self.areas[1]
    }
    const fn used(self) -> u64 {
        self.areas[2]
    }
    fn used_event(self) -> u64 {
        self.available() + 4 + 2 * u64::from(self.entries)
    }
    fn available_event(self) -> u64 {
        self.used() + 4 + 8 * u64::from(self.entries)
    }
    /// The used element that index `index` stands for.
    fn element(self, index: u16) -> u64 {
        self.used() + 4 + 8 * u64::from(index % self.entries)
    }
    /// The available entry that index `index` stands for.
    fn entry(self, index: u16) -> u64 {
        self.available() + 4 + 2 * u64::from(index % self.entries)
    }
}

impl Split {
    pub(super) fn used_bytes(shape: Shape) -> u32 {
        6 + 8 * u32::from(shape.entries)
    }

    /// How many available entries were not taken yet.
    pub(super) fn waiting(&self, shape: Shape, memory: &DeviceMemory) -> Result<u16, AccessFault> {
        Ok(memory.get16(shape.available() + 2)?.wrapping_sub(self.next_available))
    }

    /// Takes the next chain, if there is one.
    pub(super) fn take(
        &mut self,
        shape: Shape,
        memory: &DeviceMemory,
        has_indirect: bool,
    ) -> Result<Option<Chain>, Untaken> {
        let waiting = self.waiting(shape, memory)?;
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > shape.entries {
            return Err(Untaken::Rule(format!("{waiting} entries available in a ring of {}", shape.entries)));
        }
        let head = memory.get16(shape.entry(self.next_available))?;
        self.next_available = self.next_available.wrapping_add(1);
        walk(shape, memory, head, has_indirect).map(Some)
    }

    /// Whether the chain of `head` was made available, and not taken yet.
    pub(super) fn awaits(&self, shape: Shape, memory: &DeviceMemory, head: u16) -> bool {
        let waiting = self.waiting(shape, memory).unwrap_or(0).min(shape.entries);
        let mut entries = (0..waiting).map(|ahead| shape.entry(self.next_available.wrapping_add(ahead)));
        entries.any(|at| memory.get16(at).is_ok_and(|entry| entry == head))
    }

    /// `chain` starts where the one before it ended in the table, and goes on round it; in a table
    /// of its own, from its beginning.
    ///
    /// Spec: VIRTIO 1.3, 2.7.5.2 and 2.7.5.3.1 "Driver Requirements".
    pub(super) fn check_order(&mut self, shape: Shape, chain: &Chain) -> Result<(), Untaken> {
        let table = shape.descriptors()..shape.descriptors() + 16 * u64::from(shape.entries);
        let mut before = None;
        for at in &chain.words {
            let expected = if table.contains(at) {
                let expected = table.start + 16 * u64::from(self.next_descriptor);
                self.next_descriptor = (self.next_descriptor + 1) % shape.entries;
                expected
            } else {
                // The first of a table is where the table is.
                before.map_or(*at, |before: u64| before + 16)
            };
            if *at != expected {
                return Err(Untaken::Rule(format!(
                    "a descriptor at {at:#x} where the ring goes on at {expected:#x}, though IN_ORDER was agreed, 2.7.5"
                )));
            }
            before = Some(*at).filter(|at| !table.contains(at));
        }
        Ok(())
    }

    /// Passes over the elements of so many chains.
    pub(super) fn skip(&mut self, chains: usize) {
        self.next_used = self.next_used.wrapping_add(u16::try_from(chains).unwrap_or(0));
    }

    /// Writes one used element, without showing it yet.
    pub(super) fn put(
        &mut self,
        shape: Shape,
        memory: &DeviceMemory,
        id: u32,
        len_bytes: u32,
    ) -> Result<(), AccessFault> {
        let at = shape.element(self.next_used);
        memory.write(at, &id.to_le_bytes())?;
        memory.write(at + 4, &len_bytes.to_le_bytes())?;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(())
    }

    /// Shows what was put so far, `ahead` too many if the device lies. Whether the driver wants an
    /// interrupt for it.
    ///
    /// Spec: VIRTIO 1.2, 2.7.7.2 "Device Requirements: Used Buffer Notification Suppression".
    pub(super) fn show(
        &mut self,
        shape: Shape,
        memory: &DeviceMemory,
        has_event_idx: bool,
        ahead: u16,
    ) -> Result<bool, Untaken> {
        let shown = self.next_used;
        memory.write(shape.used() + 2, &shown.wrapping_add(ahead).to_le_bytes())?;
        let before = std::mem::replace(&mut self.signalled, shown);
        // Spec: VIRTIO 1.2, 2.7.7.1: one bit, and none where there is an event index.
        let flags = memory.get16(shape.available())?;
        if flags > u16::from(!has_event_idx) {
            return Err(Untaken::Rule(format!("flags {flags:#x} of the available ring, 2.7.7.1")));
        }
        if !has_event_idx {
            return Ok(flags == 0);
        }
        let event = memory.get16(shape.used_event())?;
        Ok(passed(event, shown, before))
    }

    /// The ids that a driver may believe in that saw `told` in the word at `addr`.
    pub(super) fn believed(shape: Shape, memory: &DeviceMemory, addr: u64, told: u64) -> Vec<u32> {
        let [low, high] = [told, told >> 16].map(|half| u16::try_from(half & 0xffff).unwrap_or(0));
        match addr.checked_sub(shape.used()) {
            Some(0) => shown_by(shape, memory, high),
            Some(2) => shown_by(shape, memory, low),
            // The id of an element; a length says nothing about who owns what.
            Some(at) if at + 2 < Self::used_bytes(shape).into() && at % 8 == 4 => {
                // The words beside an id are not its own.
                vec![u32::try_from(told & 0xffff_ffff).unwrap_or(u32::MAX)]
            }
            _ => Vec::new(),
        }
    }

    /// Flags and index, or the event.
    pub(super) fn is_hint(shape: Shape, addr: u64) -> bool {
        (shape.used()..shape.used() + 4).contains(&addr) || addr == shape.available_event()
    }

    /// The next used element goes elsewhere by `slots` from here on.
    pub(super) fn misplace(&mut self, slots: u16) {
        self.next_used = self.next_used.wrapping_add(slots);
    }

    /// Says from when on the device wants to be told.
    pub(super) fn tell_wish(
        &self,
        shape: Shape,
        memory: &DeviceMemory,
        has_event_idx: bool,
        wish: Wish,
    ) -> Result<(), AccessFault> {
        if !has_event_idx {
            return memory.write(shape.used(), &u16::from(wish == Wish::Never).to_le_bytes());
        }
        let next = self.next_available;
        let event = match wish {
            Wish::After(more) => next.wrapping_add(more),
            Wish::Never => next.wrapping_sub(1),
        };
        memory.write(shape.available_event(), &event.to_le_bytes())
    }
}

/// The ids of the elements that a used index of `told` shows, old ones though they are.
fn shown_by(shape: Shape, memory: &DeviceMemory, told: u16) -> Vec<u32> {
    let Ok(shown) = memory.get16(shape.used() + 2) else { return Vec::new() };
    (0..told.wrapping_sub(shown).min(shape.entries))
        .filter_map(|ahead| memory.get32(shape.element(shown.wrapping_add(ahead))).ok())
        .collect()
}

/// Follows a chain from its head.
fn walk(shape: Shape, memory: &DeviceMemory, head: u16, has_indirect: bool) -> Result<Chain, Untaken> {
    let rule = |what: String| Err(Untaken::Rule(what));
    let mut chain = Chain { head, ..Chain::default() };
    // The ring's table, or the one that a descriptor of it led to.
    let (mut table, mut entries) = (shape.descriptors(), shape.entries);
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
        chain.words.push(at);
        if flags & INDIRECT != 0 {
            if !has_indirect {
                return rule("an indirect table, which was not agreed".into());
            }
            if flags & NEXT != 0 || table != shape.descriptors() {
                return rule("an indirect table in a table or with a next, 2.7.5.3.1".into());
            }
            entries = u16::try_from(len_bytes / 16).unwrap_or(u16::MAX);
            if !len_bytes.is_multiple_of(16) || !(1..=shape.entries).contains(&entries) {
                return rule(format!("an indirect table of {len_bytes} bytes, 2.7.5.3.1"));
            }
            (table, index) = (addr, 0);
            continue;
        }
        chain.push(Segment { addr, len_bytes, is_writable: flags & WRITE != 0 })?;
        if flags & NEXT == 0 {
            return Ok(chain);
        }
        if chain.segments.len() >= usize::from(entries) {
            return rule("a chain longer than its table: a loop, 2.7.5.2".into());
        }
        index = next;
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

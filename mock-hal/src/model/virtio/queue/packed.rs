//! The packed ring: one ring of descriptors that both sides write, and two words about who wants to
//! be told.
//!
//! Spec: VIRTIO 1.2, 2.8 "Packed Virtqueues". Layouts are of 2.8.13 and 2.8.14.

use std::collections::BTreeMap;

use super::{Chain, INDIRECT, NEXT, Segment, Shape, Untaken, WRITE, Wish};
use crate::device::DeviceMemory;
use crate::memory::AccessFault;

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Bytes of a descriptor.
const SLOT_BYTES: u64 = 16;

/// What `flags` of an event suppression structure say.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const AT_DESCRIPTOR: u16 = 2;

/// A slot of the ring, and in which of two kinds of laps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: u16,
    /// The wrap counter.
    wrap: bool,
}

impl Place {
    const START: Self = Self { slot: 0, wrap: true };

    /// `by` slots on, of at most one lap.
    fn after(self, by: u16, entries: u16) -> Self {
        let sum = u32::from(self.slot) + u32::from(by);
        match sum.checked_sub(entries.into()) {
            Some(slot) => Self { slot: u16::try_from(slot).unwrap_or(0), wrap: !self.wrap },
            None => Self { slot: u16::try_from(sum).unwrap_or(0), ..self },
        }
    }

    fn addr(self, shape: Shape) -> u64 {
        shape.areas[0] + SLOT_BYTES * u64::from(self.slot)
    }

    /// Whether a descriptor here with these flags is available to the device.
    ///
    /// Spec: VIRTIO 1.2, 2.8.1 "Driver and Device Ring Wrap Counters".
    fn is_available(self, flags: u16) -> bool {
        (flags & AVAIL != 0) == self.wrap && (flags & USED != 0) != self.wrap
    }

    /// The flags by which a descriptor here is used.
    fn used(self) -> u16 {
        if self.wrap { AVAIL | USED } else { 0 }
    }
}

/// A chain that the device took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    slots: u16,
    is_writable: bool,
}

/// Where the device is in it.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// The next descriptor to take.
    next: Place,
    /// The next one to write back.
    used: Place,
    /// Slots passed since the last decision about an interrupt.
    passed: u32,
    /// By buffer ID.
    taken: BTreeMap<u16, Taken>,
    /// Put, and not shown yet: IDs, the last of which is the one that is written, and length.
    unshown: Vec<(Vec<u32>, u32)>,
}

impl Packed {
    pub(super) const fn new() -> Self {
        Self {
            next: Place::START,
            used: Place::START,
            passed: 0,
            taken: BTreeMap::new(),
            unshown: Vec::new(),
        }
    }

    /// How many descriptors are available in a row.
    pub(super) fn waiting(&self, shape: Shape, memory: &DeviceMemory) -> Result<u16, AccessFault> {
        for count in 0..shape.entries {
            let place = self.next.after(count, shape.entries);
            if !place.is_available(memory.get16(place.addr(shape) + 14)?) {
                return Ok(count);
            }
        }
        Ok(shape.entries)
    }

    /// Behind all descriptors that are available, the wrap counter in the highest bit.
    pub(super) fn position(&self, shape: Shape, memory: &DeviceMemory) -> Result<u16, AccessFault> {
        let Place { slot, wrap } = self.next.after(self.waiting(shape, memory)?, shape.entries);
        Ok(slot | u16::from(wrap) << 15)
    }

    /// Takes the next chain, if there is one.
    ///
    /// Spec: VIRTIO 1.2, 2.8.6 "Next Flag: Descriptor Chaining".
    pub(super) fn take(
        &mut self,
        shape: Shape,
        memory: &DeviceMemory,
        has_indirect: bool,
    ) -> Result<Option<Chain>, Untaken> {
        let rule = |what: String| Err(Untaken::Rule(what));
        let mut chain = Chain::default();
        for count in 0..shape.entries {
            let place = self.next;
            let (segment, id, flags) = read(memory, place.addr(shape))?;
            if !place.is_available(flags) {
                if count == 0 {
                    return Ok(None);
                }
                return rule(format!("descriptor {} of a chain is not available, 2.8.6", place.slot));
            }
            self.next = place.after(1, shape.entries);
            if flags & !(NEXT | WRITE | INDIRECT | AVAIL | USED) != 0 {
                return rule(format!("unknown flags in a descriptor: {flags:#x}"));
            }
            chain.words.push(place.addr(shape));
            if flags & INDIRECT == 0 {
                chain.push(segment)?;
            } else if !has_indirect {
                return rule("an indirect table, which was not agreed".into());
            } else if flags & NEXT != 0 || count != 0 {
                return rule("an indirect table in a chain, 2.8.7".into());
            } else {
                read_table(&mut chain, shape, memory, segment)?;
            }
            if flags & NEXT == 0 {
                chain.head = id;
                let is_writable = chain.writable_bytes() != 0;
                self.taken.insert(id, Taken { slots: count + 1, is_writable });
                return Ok(Some(chain));
            }
        }
        rule("a chain longer than its ring, 2.8.6".into())
    }

    /// Puts a used descriptor for the chain of `id`, and for those that are `skipped` with it.
    pub(super) fn put(&mut self, skipped: &[u32], id: u32, len_bytes: u32) {
        self.unshown.push(([skipped, &[id]].concat(), len_bytes));
    }

    /// What is to be written for what was put so far: where, what, and which slots are passed by
    /// that.
    ///
    /// Spec: VIRTIO 1.2, 2.8.22 "Receiving Used Buffers From The Device": the first of them is the
    /// last to be shown.
    pub(super) fn write_back(&mut self, shape: Shape) -> Vec<(u64, [u8; 8], Vec<u64>)> {
        let mut words = Vec::new();
        for (ids, len_bytes) in std::mem::take(&mut self.unshown) {
            let (mut id, mut slots, mut is_writable) = (0, 0, false);
            // The last one is what the descriptor is about; over all of them it passes.
            for each in ids {
                let [low, high, ..] = each.to_le_bytes();
                id = u16::from_le_bytes([low, high]);
                let known = self.taken.remove(&id);
                let taken = known.unwrap_or(Taken { slots: 1, is_writable: len_bytes != 0 });
                slots += taken.slots;
                is_writable = taken.is_writable;
            }
            let flags = self.used.used() | if is_writable { WRITE } else { 0 };
            let mut word = [0; 8];
            word[..4].copy_from_slice(&len_bytes.to_le_bytes());
            word[4..6].copy_from_slice(&id.to_le_bytes());
            word[6..].copy_from_slice(&flags.to_le_bytes());
            let passed = slots.min(shape.entries);
            let passed = (0..passed).map(|ahead| self.used.after(ahead, shape.entries).addr(shape));
            words.push((self.used.addr(shape), word, passed.collect()));
            self.pass(slots, shape);
        }
        words.reverse();
        words
    }

    fn pass(&mut self, slots: u16, shape: Shape) {
        self.used = self.used.after(slots.min(shape.entries), shape.entries);
        self.passed += u32::from(slots);
    }

    /// Where the next used descriptor goes is wrong by so many slots from here on.
    pub(super) fn misplace(&mut self, slots: u16, shape: Shape) {
        self.used = self.used.after(slots % shape.entries, shape.entries);
    }

    /// Makes `count` more descriptors look used, whatever is in them.
    pub(super) fn show_ahead(
        &self,
        shape: Shape,
        memory: &DeviceMemory,
        count: u16,
    ) -> Result<(), AccessFault> {
        for ahead in 0..count.min(shape.entries) {
            let place = self.used.after(ahead, shape.entries);
            let at = place.addr(shape) + 14;
            let flags = memory.get16(at)? & !(AVAIL | USED) | place.used();
            memory.write(at, &flags.to_le_bytes())?;
        }
        Ok(())
    }

    /// Whether the driver wants an interrupt for what was shown since the last decision.
    ///
    /// Spec: VIRTIO 1.2, 2.8.10 "Driver and Device Event Suppression".
    pub(super) fn wants_interrupt(
        &mut self,
        shape: Shape,
        memory: &DeviceMemory,
        has_event_idx: bool,
    ) -> Result<bool, Untaken> {
        let passed = std::mem::take(&mut self.passed);
        let rule = |what: String| Err(Untaken::Rule(what));
        let (event, flags) = (memory.get16(shape.areas[1])?, memory.get16(shape.areas[1] + 2)?);
        match flags {
            ENABLE => Ok(true),
            DISABLE => Ok(false),
            AT_DESCRIPTOR if has_event_idx => {
                let event = Place { slot: event & 0x7fff, wrap: event >> 15 != 0 };
                if event.slot >= shape.entries {
                    return rule(format!("an event at descriptor {} of {}", event.slot, shape.entries));
                }
                Ok(is_among(event, self.used, passed, shape.entries))
            }
            AT_DESCRIPTOR => rule("an event at a descriptor, without EVENT_IDX, 2.8.10".into()),
            _ => rule(format!("event flags {flags:#x}, which mean nothing, 2.8.14")),
        }
    }

    /// Says from when on the device wants to be told.
    pub(super) fn tell_wish(
        &self,
        shape: Shape,
        memory: &DeviceMemory,
        has_event_idx: bool,
        wish: Wish,
    ) -> Result<(), AccessFault> {
        let (event, flags) = match wish {
            Wish::Never => (self.next, DISABLE),
            Wish::After(_) if !has_event_idx => (self.next, ENABLE),
            Wish::After(more) => (self.next.after(more % shape.entries, shape.entries), AT_DESCRIPTOR),
        };
        let event = event.slot | u16::from(event.wrap) << 15;
        memory.write(shape.areas[2], &event.to_le_bytes())?;
        memory.write(shape.areas[2] + 2, &flags.to_le_bytes())
    }

    /// Where noise does most: the next slot to be written back, or any; and whether a descriptor
    /// may lie there that the device did not take yet.
    pub(super) fn noisy(&self, shape: Shape, any: Option<u16>) -> (u64, bool) {
        let ahead = any.unwrap_or(0) % shape.entries;
        let place = self.used.after(ahead, shape.entries);
        let taken: u32 = self.taken.values().map(|chain| u32::from(chain.slots)).sum();
        (place.addr(shape), u32::from(ahead) >= taken)
    }

    /// What the device wants to be told of, or a descriptor that was not used.
    pub(super) fn is_hint(shape: Shape, memory: &DeviceMemory, addr: u64) -> bool {
        if (shape.areas[2]..shape.areas[2] + 4).contains(&addr) {
            return true;
        }
        let Some(offset) = addr.checked_sub(shape.areas[0]) else { return false };
        if offset >= SLOT_BYTES * u64::from(shape.entries) {
            return false;
        }
        memory.get16(addr - offset % SLOT_BYTES + 14).is_ok_and(|flags| !looks_used(flags))
    }

    /// What the driver took for a descriptor of this ring, in which it saw `told` in
    /// `width_bytes` at `addr`, looks used to it, and is not.
    pub(super) fn believes(
        shape: Shape,
        memory: &DeviceMemory,
        addr: u64,
        width_bytes: usize,
        told: u64,
    ) -> bool {
        let Some(offset) = addr.checked_sub(shape.areas[0]) else { return false };
        if offset >= SLOT_BYTES * u64::from(shape.entries) {
            return false;
        }
        let Ok(truth) = memory.get::<16>(addr - offset % SLOT_BYTES) else { return false };
        let mut seen = truth;
        let start = usize::try_from(offset % SLOT_BYTES).unwrap_or(0);
        let changed = seen.iter_mut().skip(start).take(width_bytes);
        changed.zip(told.to_le_bytes()).for_each(|(byte, told)| *byte = told);
        let flags = u16::from_le_bytes([seen[14], seen[15]]);
        looks_used(flags) && seen[12..] != truth[12..]
    }
}

/// Whether a descriptor with these flags is a used one, of whichever lap.
const fn looks_used(flags: u16) -> bool {
    (flags & AVAIL != 0) == (flags & USED != 0)
}

/// Whether `event` is one of the `passed` slots in front of `now`.
fn is_among(event: Place, now: Place, passed: u32, entries: u16) -> bool {
    let lap = if event.wrap == now.wrap { 0 } else { i64::from(entries) };
    let (event, now) = (i64::from(event.slot) - lap, i64::from(now.slot));
    (now - i64::from(passed)..now).contains(&event)
}

/// A descriptor: its buffer, ID and flags.
fn read(memory: &DeviceMemory, at: u64) -> Result<(Segment, u16, u16), AccessFault> {
    let (addr, len_bytes) = (memory.get64(at)?, memory.get32(at + 8)?);
    let (id, flags) = (memory.get16(at + 12)?, memory.get16(at + 14)?);
    Ok((Segment { addr, len_bytes, is_writable: flags & WRITE != 0 }, id, flags))
}

/// Spec: VIRTIO 1.2, 2.8.7 "Indirect Flag: Scatter-Gather Support".
fn read_table(chain: &mut Chain, shape: Shape, memory: &DeviceMemory, table: Segment) -> Result<(), Untaken> {
    let entries = table.len_bytes / 16;
    if !table.len_bytes.is_multiple_of(16) || !(1..=shape.entries.into()).contains(&entries) {
        return Err(Untaken::Rule(format!("an indirect table of {} bytes, 2.8.7", table.len_bytes)));
    }
    for entry in 0..entries {
        let at = table.addr + SLOT_BYTES * u64::from(entry);
        let (segment, _, flags) = read(memory, at)?;
        if flags & !WRITE != 0 {
            return Err(Untaken::Rule(format!("flags {flags:#x} in an indirect table, 2.8.7")));
        }
        chain.words.push(at);
        chain.push(segment)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_round_with_the_other_wrap() {
        for entries in [1, 2, 3, 7, 256, 32768] {
            let mut place = Place::START;
            for step in 0..4 * u32::from(entries).min(1000) {
                let (lap, slot) = (step / u32::from(entries), step % u32::from(entries));
                assert_eq!((u32::from(place.slot), place.wrap), (slot, lap % 2 == 0), "{step} of {entries}");
                place = place.after(1, entries);
            }
            let far = Place::START.after(entries, entries);
            assert_eq!(far, Place { slot: 0, wrap: false }, "one lap of {entries}");
        }
    }

    /// Counted out, over laps of every parity.
    #[test]
    fn an_event_is_met_when_it_is_among_the_slots_passed() {
        for entries in [1_u16, 2, 5, 8] {
            let places: Vec<Place> =
                std::iter::successors(Some(Place::START), |place| Some(place.after(1, entries)))
                    .take(4 * usize::from(entries) + 1)
                    .collect();
            for now in usize::from(entries)..places.len() {
                for passed in 0..=usize::from(entries) {
                    // An event names one of two laps; the driver's is the one just behind or ahead.
                    for event in now - usize::from(entries)..now {
                        let expected = event >= now - passed;
                        let met =
                            is_among(places[event], places[now], u32::try_from(passed).unwrap(), entries);
                        assert_eq!(met, expected, "{event} {now} {passed} of {entries}");
                    }
                }
            }
        }
    }
}

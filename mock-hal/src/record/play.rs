//! The state of a playing back: where it is, what the driver has, and whether the two still agree.

use std::collections::BTreeMap;
use std::ops::Range;

use paravane_hal::dma::{Direction, DmaRequest};

use super::divergence::{Divergence, ReplayError};
use super::entry::{Access, Entry, Operation, Place, Value, memory_name};
use super::recording::Recording;
use crate::memory::Memory;

/// A read that was recorded this often or more gives its last answer from then on: nobody has to
/// wait as long as the real device took.
const POLLS: u32 = 3;

pub(super) struct Play {
    recording: Recording,
    /// The next entry.
    next: usize,
    /// How often the access at `next` was made, and may be made again.
    repeats: u32,
    /// The access before `next`, when it was one that the recording repeats.
    polled: Option<usize>,
    /// Which entries the driver has caught up with by another way than in order.
    claimed: Vec<bool>,
    /// By number: what the driver got for it.
    memories: BTreeMap<u32, Held>,
    memory: Memory,
    nanos: u64,
    failure: Option<Divergence>,
}

/// Memory that the driver has.
struct Held {
    addr: u64,
    len_bytes: usize,
    direction: Option<Direction>,
}

impl Play {
    pub(super) fn new(recording: Recording) -> Self {
        let claimed = vec![false; recording.entries.len()];
        Self {
            recording,
            next: 0,
            repeats: 0,
            polled: None,
            claimed,
            memories: BTreeMap::new(),
            memory: Memory::default(),
            nanos: 0,
            failure: None,
        }
    }

    pub(super) fn recording(&self) -> &Recording {
        &self.recording
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn failure(&self) -> Option<&Divergence> {
        self.failure.as_ref()
    }

    /// Remembers the first difference.
    fn diverge(&mut self, index: usize, got: String) {
        if self.failure.is_none() {
            self.failure = Some(Divergence::at(&self.recording, index, got));
        }
    }

    fn entry(&self) -> Option<&Entry> {
        self.recording.entries.get(self.next)
    }

    /// One entry on.
    fn advance(&mut self) {
        self.polled =
            matches!(self.entry(), Some(Entry::Access(access)) if access.times > 1).then_some(self.next);
        self.next += 1;
        self.repeats = 0;
    }

    /// Does what the device did next, until the driver or the outside is to act.
    fn follow_device(&mut self) {
        while let Some(Entry::Device { memory, offset_bytes, bytes }) = self.recording.entries.get(self.next)
        {
            if self.claimed.get(self.next) == Some(&true) {
                // Seen already, when lent memory came back.
                self.next += 1;
                continue;
            }
            let Some(held) = self.memories.get(memory) else {
                let got = format!("(the driver has no {} to be written to)", memory_name(*memory));
                return self.diverge(self.next, got);
            };
            let addr = held.addr.wrapping_add(*offset_bytes as u64);
            let inside = offset_bytes.checked_add(bytes.len()).is_some_and(|end| end <= held.len_bytes);
            let refused = if held.direction == Some(Direction::ToDevice) {
                "is not the device's to write"
            } else if !inside || self.memory.device_write(addr, bytes).is_err() {
                "is shorter"
            } else {
                self.next += 1;
                continue;
            };
            return self.diverge(self.next, format!("(the driver's {} {refused})", memory_name(*memory)));
        }
    }

    /// Passes what the driver need not do in order, up to the next access or outside event.
    fn catch_up(&mut self) {
        loop {
            self.follow_device();
            match self.entry() {
                Some(
                    Entry::Look
                    | Entry::Firmware { .. }
                    | Entry::Map { .. }
                    | Entry::Alloc { .. }
                    | Entry::Refuse { .. }
                    | Entry::Free { .. }
                    | Entry::Lend { .. }
                    | Entry::Return { .. },
                ) => self.next += 1,
                _ => return,
            }
            if self.failure.is_some() {
                return;
            }
        }
    }

    /// The driver makes an access; what it reads.
    pub(super) fn access(&mut self, got: &Access) -> u32 {
        if self.failure.is_some() {
            return u32::MAX;
        }
        loop {
            self.catch_up();
            match self.entry() {
                Some(Entry::Access(expected)) if self.is_same(expected, got) => {
                    let (answer, times) = (self.number(&expected.value), expected.times);
                    self.repeats += 1;
                    if self.repeats >= times.min(POLLS) {
                        self.advance();
                        self.follow_device();
                    }
                    return answer.unwrap_or(u32::MAX);
                }
                // It polled less often than the recorded driver.
                Some(Entry::Access(_)) if self.repeats > 0 => self.advance(),
                _ => return self.poll_again_or_diverge(got),
            }
        }
    }

    /// It polls more often than the recorded driver, or does something else.
    fn poll_again_or_diverge(&mut self, got: &Access) -> u32 {
        if let Some(Entry::Access(polled)) = self.polled.and_then(|at| self.recording.entries.get(at))
            && self.is_same(polled, got)
        {
            return self.number(&polled.value).unwrap_or(u32::MAX);
        }
        let got = Access { value: self.describe(got), ..got.clone() };
        let got = match got.operation {
            // What it would have read nobody knows.
            Operation::Read => got.to_string().split(" = ").next().unwrap_or_default().to_owned(),
            Operation::Write => got.to_string(),
        };
        self.diverge(self.next, got);
        u32::MAX
    }

    fn is_same(&self, expected: &Access, got: &Access) -> bool {
        let same_value = || match (&got.value, self.number(&expected.value)) {
            (Value::Number(got), Some(expected)) => *got == expected,
            _ => false,
        };
        expected.operation == got.operation
            && expected.width == got.width
            && expected.space == got.space
            && (expected.operation == Operation::Read || same_value())
    }

    /// What a value is here and now. `None` when it names memory that the driver does not have.
    #[expect(clippy::cast_possible_truncation, reason = "the half is the point")]
    fn number(&self, value: &Value) -> Option<u32> {
        let addr = |place: &Place| {
            let memory: u32 = place.name.strip_prefix("mem")?.parse().ok()?;
            Some(self.memories.get(&memory)?.addr.wrapping_add(place.offset_bytes as u64))
        };
        match value {
            Value::Number(number) => Some(*number),
            Value::Low(place) => addr(place).map(|addr| addr as u32),
            Value::High(place) => addr(place).map(|addr| (addr >> 32) as u32),
        }
    }

    /// A number as the recording would write it: by name, where it is half an address and half an
    /// address is expected.
    fn describe(&self, got: &Access) -> Value {
        let (Value::Number(number), Some(Entry::Access(expected))) = (&got.value, self.entry()) else {
            return got.value.clone();
        };
        let low = match expected.value {
            Value::Number(_) => return got.value.clone(),
            Value::Low(_) => true,
            Value::High(_) => false,
        };
        let held = self.memories.iter().find_map(|(memory, held)| {
            let start = if low { held.addr & 0xffff_ffff } else { held.addr >> 32 };
            let offset = usize::try_from(u64::from(*number).checked_sub(start)?).ok()?;
            let near = if low { offset < held.len_bytes } else { offset == 0 };
            near.then(|| Place { name: memory_name(*memory), offset_bytes: if low { offset } else { 0 } })
        });
        match held {
            Some(place) if low => Value::Low(place),
            Some(place) => Value::High(place),
            None => got.value.clone(),
        }
    }

    /// The first entry from `range` on that nobody has claimed and that `fits`.
    fn claim<T>(&mut self, range: Range<usize>, fits: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        let mut entries =
            self.recording.entries.iter().zip(&mut self.claimed).skip(range.start).take(range.len());
        let (found, claimed) = entries.find_map(|(entry, claimed)| {
            (!*claimed).then(|| fits(entry)).flatten().map(|found| (found, claimed))
        })?;
        *claimed = true;
        Some(found)
    }

    fn all(&self) -> Range<usize> {
        0..self.recording.entries.len()
    }

    /// The driver asks for memory: its number, `Ok(None)` when there was none, `Err` when it never
    /// asked.
    pub(super) fn alloc(&mut self, request: DmaRequest) -> Result<Option<u32>, ()> {
        let found = self.claim(self.all(), |entry| match entry {
            Entry::Alloc { memory, request: recorded } if *recorded == request => Some(Some(*memory)),
            Entry::Refuse { request: recorded } if *recorded == request => Some(None),
            _ => None,
        });
        found.ok_or_else(|| {
            let got = Entry::Refuse { request }.to_string();
            let got = format!("{} (nowhere in the recording)", got.replace("refuse", "alloc"));
            self.diverge(self.next, got);
        })
    }

    /// The driver lends memory: its number.
    pub(super) fn lend(&mut self, len_bytes: usize, direction: Direction) -> Option<u32> {
        let found = self.claim(self.all(), |entry| match entry {
            Entry::Lend { memory, len_bytes: len, direction: to }
                if (*len, *to) == (len_bytes, direction) =>
            {
                Some(*memory)
            }
            _ => None,
        });
        if found.is_none() {
            self.diverge(self.next, format!("lend {len_bytes} bytes (nowhere in the recording)"));
        }
        found
    }

    pub(super) fn hold(&mut self, memory: u32, addr: u64, len_bytes: usize, direction: Option<Direction>) {
        self.memories.insert(memory, Held { addr, len_bytes, direction });
    }

    /// The driver gives memory back.
    pub(super) fn let_go(&mut self, addr: u64) {
        let Some(memory) =
            self.memories.iter().find(|(_, held)| held.addr == addr).map(|(memory, _)| *memory)
        else {
            return;
        };
        let lent = self.memories.get(&memory).is_some_and(|held| held.direction.is_some());
        let expected = if lent { Entry::Return { memory } } else { Entry::Free { memory } };
        let index = self.recording.entries.iter().position(|entry| *entry == expected);
        match index {
            Some(index) => {
                if let Some(owed) = self.access_owed_before(index) {
                    self.diverge(owed, format!("{expected} (recorded after this access)"));
                }
                if let Some(claimed) = self.claimed.get_mut(index) {
                    *claimed = true;
                }
                if lent {
                    self.write_returned(memory, index);
                }
            }
            None => self.diverge(self.next, format!("{expected} (nowhere in the recording)")),
        }
        self.memories.remove(&memory);
    }

    /// The first access before entry `index` that the driver has not made. The device may have
    /// needed it to let go.
    fn access_owed_before(&self, index: usize) -> Option<usize> {
        let first = self.next + usize::from(self.repeats > 0);
        (first..index).find(|at| matches!(self.recording.entries.get(*at), Some(Entry::Access(_))))
    }

    /// What a device wrote to lent memory is seen when it comes back.
    fn write_returned(&mut self, memory: u32, index: usize) {
        let Some(Entry::Device { memory: of, bytes, .. }) = self.recording.entries.get(index + 1) else {
            return;
        };
        let Some(held) = self.memories.get(&memory).filter(|_| *of == memory) else { return };
        // A length that differs was found when it was lent; a direction that does not fit is
        // refused by the memory.
        let _ = self.memory.device_write(held.addr, bytes);
        if let Some(claimed) = self.claimed.get_mut(index + 1) {
            *claimed = true;
        }
    }

    /// The driver maps registers: what the recording calls them.
    pub(super) fn map(&mut self, start: u64, len_bytes: usize) -> Option<Place> {
        let fits = |entry: &Entry| match entry {
            Entry::Map { place, start: at, len_bytes: len } if (*at, *len) == (start, len_bytes) => {
                Some(place.clone())
            }
            _ => None,
        };
        // Mapping twice what was mapped once makes no difference to a device.
        let found = self.claim(self.all(), fits).or_else(|| self.recording.entries.iter().find_map(fits));
        if found.is_none() {
            self.diverge(self.next, format!("map at {start:#x} {len_bytes} (nowhere in the recording)"));
        }
        found
    }

    /// The driver looks at the clock.
    pub(super) fn look(&mut self, step_nanos: u64) -> u64 {
        self.nanos = self.nanos.saturating_add(step_nanos);
        while matches!(
            self.entry(),
            Some(
                Entry::Map { .. }
                    | Entry::Alloc { .. }
                    | Entry::Refuse { .. }
                    | Entry::Free { .. }
                    | Entry::Lend { .. }
            )
        ) {
            self.next += 1;
        }
        if matches!(self.entry(), Some(Entry::Look)) && self.failure.is_none() {
            self.next += 1;
            self.follow_device();
        }
        self.nanos
    }

    /// Something happens outside: everything before it has happened by now.
    pub(super) fn outside<T>(&mut self, got: &str, fits: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        if self.failure.is_some() {
            return None;
        }
        self.synchronise();
        let found = self.entry().and_then(fits);
        match found {
            Some(_) => {
                self.advance();
                self.follow_device();
            }
            None => self.diverge(self.next, got.to_owned()),
        }
        found
    }

    /// As [`outside`](Self::outside), for what may be asked for in vain.
    pub(super) fn outside_if_next<T>(&mut self, fits: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        if self.failure.is_some() {
            return None;
        }
        self.synchronise();
        let found = self.entry().and_then(fits)?;
        self.advance();
        self.follow_device();
        Some(found)
    }

    /// Passes everything up to the next access or outside event; a read that was made once need not
    /// be made again.
    pub(super) fn synchronise(&mut self) {
        self.catch_up();
        if self.repeats > 0 {
            self.advance();
            self.catch_up();
        }
    }

    /// Whether the driver did everything that the recorded one did, and kept the rules of memory.
    pub(super) fn finish(&mut self) -> Result<(), ReplayError> {
        if self.failure.is_none() {
            self.synchronise();
        }
        if self.failure.is_none() && self.entry().is_some() {
            self.diverge(self.next, "(nothing more)".to_owned());
        }
        if self.failure.is_none() {
            let left_out = self.recording.entries.iter().zip(&self.claimed).position(|(entry, claimed)| {
                let owed = matches!(
                    entry,
                    Entry::Alloc { .. }
                        | Entry::Refuse { .. }
                        | Entry::Free { .. }
                        | Entry::Lend { .. }
                        | Entry::Return { .. }
                );
                owed && !claimed
            });
            if let Some(index) = left_out {
                self.diverge(index, "(never done)".to_owned());
            }
        }
        let wrong = self.memory.verdict();
        match self.failure.clone() {
            Some(divergence) => Err(ReplayError::Divergence(divergence)),
            None if wrong.is_empty() => Ok(()),
            None => Err(ReplayError::Memory(wrong)),
        }
    }
}

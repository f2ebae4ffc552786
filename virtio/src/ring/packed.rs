//! The packed format: one ring of descriptors, which both sides write.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | how far driver and device are |
//! | [`memory`] | the shared memory, and the ordering |
//! | [`layout`] | words, marks and wishes, as numbers |
//!
//! ```text
//!   used               published     fill
//!     |  the device's      |  described  |  free
//! ```
//!
//! A descriptor is available, or used, by two marks that change with each lap. A device that comes
//! to one that is not available goes no further. So of all that is described between two calls of
//! [`publish`](Ring::publish) only the first descriptor is written with its marks turned round, and
//! its right ones last.
//!
//! The device writes that it is done into the place behind what it used before, whichever chain it
//! is about, and passes over as many places as that chain has descriptors; so does the driver, who
//! knows how many these are.

pub(crate) mod layout;
pub(crate) mod memory;

use core::slice;

use paravane_hal::addr::DmaAddr;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, Quiet};

use super::{
    Behind, Completions, Described, Descriptor, Exchange, Kept, Position, QueueAddresses, QueueSize, Ring,
    Run, Segment, Slots, UsedElement, in_order,
};
use memory::{PackedMemory, describe, load};

/// A packed ring, from the driver's side.
pub(crate) struct PackedRing<D: Dma> {
    memory: PackedMemory<D>,
    size: QueueSize,
    event_idx: bool,
    /// Where the next descriptor goes.
    fill: Position,
    /// The first descriptor that the device was not shown, which is also where the last decision
    /// about the doorbell was taken.
    published: Position,
    /// The last word of that descriptor.
    kept: Kept,
    /// Where the device writes next that it is done.
    used: Position,
    /// How many chains it has.
    in_flight: u16,
}

impl<D: Dma> PackedRing<D> {
    /// A ring over fresh memory: nothing available, nothing used.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<D>, size: QueueSize, event_idx: bool) -> Result<Self, DmaError> {
        let start = Position::default();
        Ok(Self {
            memory: PackedMemory::new(of, size)?,
            size,
            event_idx,
            fill: start,
            published: start,
            kept: None,
            used: start,
            in_flight: 0,
        })
    }

    /// Where the device finds it. From here on the memory counts as known to the device.
    #[must_use]
    pub(crate) fn addresses(&self) -> QueueAddresses {
        self.memory.addresses()
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: the memory is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.memory.free(quiet)
    }

    /// The shared memory, for tests that play the device.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> &PackedMemory<D> {
        &self.memory
    }

    /// The marks of what was used at `at`.
    #[inline(always)]
    fn used_marks(&self, at: Position) -> u32 {
        layout::used(self.size.is_first_lap(at))
    }

    /// The marks of what is available at `fill`.
    #[inline(always)]
    fn fill_marks(&self) -> u32 {
        layout::available(self.size.is_first_lap(self.fill))
    }

    /// Writes the next descriptor.
    #[inline(always)]
    fn describe(&mut self, number: u16, segment: Segment, next: u32) {
        let place = self.size.place(self.fill);
        let mut word = next | write_flag(segment) | self.fill_marks() | u32::from(number);
        self.fill = self.size.next(self.fill);
        if self.kept.is_none() {
            self.kept = Some(word);
            word ^= layout::MARKS;
        }
        if let Some(slot) = self.memory.slots().get(usize::from(place)) {
            describe(slot, segment.addr, segment.len_bytes, word);
        }
    }
}

impl<D: Dma> Ring for PackedRing<D> {
    type Used = Descriptor;
    type Run<'r>
        = PackedRun<'r>
    where
        Self: 'r;
    type Completions<'r>
        = PackedCompletions<'r>
    where
        Self: 'r;
    type Exchange<'r>
        = PackedExchange<'r>
    where
        Self: 'r;

    #[inline(always)]
    fn size(&self) -> QueueSize {
        self.size
    }

    #[inline(always)]
    fn in_flight(&self) -> u16 {
        self.in_flight
    }

    #[inline(always)]
    fn post(&mut self, number: u16, segment: Segment) {
        self.describe(number, segment, 0);
        self.in_flight = self.in_flight.wrapping_add(1);
    }

    #[inline(always)]
    fn describe_part(&mut self, head: u16, _number: u16, segment: Segment, next: Option<u16>) {
        // Each has the id, though the device looks for it in the last one only.
        self.describe(head, segment, if next.is_some() { layout::DESC_F_NEXT } else { 0 });
    }

    /// Entries of a table follow one another, and have no number and no marks.
    #[inline(always)]
    fn describe_entry(entry: &Descriptor, segment: Segment, _next: Option<u16>) {
        describe(entry, segment.addr, segment.len_bytes, write_flag(segment));
    }

    #[inline(always)]
    fn describe_table(&mut self, head: u16, table: Segment) {
        self.describe(head, table, layout::DESC_F_INDIRECT);
    }

    #[inline(always)]
    fn post_chain(&mut self, _head: u16) {
        self.in_flight = self.in_flight.wrapping_add(1);
    }

    #[cold]
    fn take_back(&mut self, parts: u16) {
        let described = self.fill;
        self.fill = self.size.back(described, parts);
        for step in 0..parts {
            let place = self.size.place(self.size.ahead(self.fill, step));
            if let Some(slot) = self.memory.slots().get(usize::from(place)) {
                // Available in neither lap.
                slot.store::<3>(0);
            }
        }
        if self.fill == self.published {
            self.kept = None;
        }
    }

    #[inline(always)]
    fn run(&self, number: u16, free: u16) -> PackedRun<'_> {
        let slots = Slots::new(self.memory.slots(), number, free);
        let word = self.fill_marks() | u32::from(number);
        PackedRun { slots, free, word, keeps: self.kept.is_none(), kept: None }
    }

    #[inline(always)]
    fn offer(&mut self, chains: u16, described: Described) {
        self.kept = self.kept.or(described.kept);
        self.fill = self.size.ahead(self.fill, described.descriptors);
        self.in_flight = self.in_flight.wrapping_add(chains);
    }

    #[inline(always)]
    fn publish(&mut self) -> Option<bool> {
        let word = self.kept.take()?;
        self.memory.publish(self.size.place(self.published), word);
        let wish = self.memory.read_wish();
        let owed = layout::is_wanted(wish, self.event_idx, self.size, self.published, self.fill);
        self.published = self.fill;
        Some(owed)
    }

    #[inline(always)]
    fn position(&self) -> u16 {
        layout::position(self.size, self.published)
    }

    #[inline(always)]
    fn waiting(&self) -> u16 {
        // There is no count, and each completion is looked at when it is to be taken.
        self.in_flight
    }

    #[inline(always)]
    fn is_used(&self, waiting: u16) -> bool {
        let marks = self.memory.read_marks(self.size.place(self.used)) & layout::MARKS;
        waiting > 0 && marks == self.used_marks(self.used)
    }

    #[inline(always)]
    fn read_used(&self) -> Option<UsedElement> {
        let slot = self.memory.slots().get(usize::from(self.size.place(self.used)))?;
        load(slot, self.used_marks(self.used))
    }

    #[inline(always)]
    fn took(&mut self, chains: u16, descriptors: u16) {
        self.used = self.size.ahead(self.used, descriptors);
        self.in_flight = self.in_flight.wrapping_sub(chains);
    }

    #[inline(always)]
    fn completions(&self, at_most: u16) -> PackedCompletions<'_> {
        let slots = self.memory.slots().get(usize::from(self.size.place(self.used))..).unwrap_or_default();
        PackedCompletions { slots, at_most, marks: self.used_marks(self.used), behind: Behind::Unread }
    }

    #[inline(always)]
    fn exchange(&self, at_most: u16, len_bytes: u32) -> (&[Descriptor], PackedExchange<'_>) {
        let used = self.memory.slots_from(self.size.place(self.used), at_most);
        let places = self.memory.slots_from(self.size.place(self.fill), at_most);
        // None is read that there is no place for.
        let used = used.get(..places.len()).unwrap_or(used);
        let exchange = PackedExchange {
            places: places.iter(),
            marks: self.used_marks(self.used),
            word: layout::DESC_F_WRITE | self.fill_marks(),
            len_bytes,
            keeps: self.kept.is_none(),
            kept: None,
        };
        (used, exchange)
    }

    #[inline(always)]
    fn exchanged(&mut self, count: u16, first: Kept) {
        self.kept = self.kept.or(first);
        self.fill = self.size.ahead(self.fill, count);
        self.used = self.size.ahead(self.used, count);
    }

    fn arm(&self, count: u16) {
        self.memory.ask(if self.event_idx {
            // Chains have one descriptor or more, so that is there no later than so many chains.
            let last = count.max(1).min(self.size.entries()).wrapping_sub(1);
            layout::wish_at(self.size, self.size.ahead(self.used, last))
        } else {
            layout::EVENT_F_ENABLE
        });
    }

    fn disarm(&self) {
        self.memory.hint(layout::EVENT_F_DISABLE);
    }

    fn renew(&mut self) {
        self.memory.clear();
        let start = Position::default();
        (self.fill, self.published, self.used) = (start, start, start);
        (self.kept, self.in_flight) = (None, 0);
    }
}

/// The flag that says which way a segment goes.
#[inline(always)]
fn write_flag(segment: Segment) -> u32 {
    if segment.writable { layout::DESC_F_WRITE } else { 0 }
}

/// Describes chains.
#[derive(Clone)]
pub(crate) struct PackedRun<'r> {
    slots: Slots<'r>,
    /// How many descriptors were free.
    free: u16,
    /// The last word of the next one.
    word: u32,
    /// The next one is the first of a batch.
    keeps: bool,
    kept: Kept,
}

impl PackedRun<'_> {
    /// Writes a descriptor.
    #[inline(always)]
    fn describe(&mut self, slot: &Descriptor, segment: Segment, next: u32) {
        let mut word = self.word | next | write_flag(segment);
        if self.keeps {
            self.keeps = false;
            self.kept = Some(word);
            word ^= layout::MARKS;
        }
        describe(slot, segment.addr, segment.len_bytes, word);
    }
}

impl<'r> Run<'r> for PackedRun<'r> {
    #[inline(always)]
    fn slots(&self) -> &'r [Descriptor] {
        self.slots.before.as_slice()
    }

    #[inline(always)]
    fn single(&mut self, slot: &Descriptor, segment: Segment) {
        self.describe(slot, segment, 0);
        // Numbers go up to the end of the ring, so the id does not wrap.
        self.word = self.word.wrapping_add(1);
    }

    #[inline(always)]
    fn passed(&mut self, singles: usize) {
        self.slots.pass(singles);
    }

    #[inline(always)]
    fn part(&mut self, segment: Segment, is_first: bool, goes_on: bool) -> bool {
        let slot = match self.slots.next() {
            Some(slot) => slot,
            None if is_first => return false,
            None => match self.slots.turn() {
                Some(slot) => {
                    self.word ^= layout::MARKS;
                    slot
                }
                None => return false,
            },
        };
        // Each has the id, though the device looks for it in the last one only.
        self.describe(slot, segment, if goes_on { layout::DESC_F_NEXT } else { 0 });
        true
    }

    #[inline(always)]
    fn chained(&mut self, _before: &Self) {
        self.word = self.word & !layout::ID | u32::from(self.slots.number);
    }

    /// What was described must not pass for available when what is before it is shown.
    #[cold]
    fn give_up(&mut self, before: Self) {
        let mut turned = before.clone();
        while turned.slots.left() > self.slots.left() {
            let Some(slot) = turned.slots.next().or_else(|| {
                turned.word ^= layout::MARKS;
                turned.slots.turn()
            }) else {
                break;
            };
            slot.store::<3>(turned.word ^ layout::MARKS);
        }
        *self = before;
    }

    #[inline(always)]
    fn described(self) -> Described {
        let (descriptors, end) = (self.free.wrapping_sub(self.slots.left()), self.slots.number);
        Described { descriptors, end, singles: 0, kept: self.kept }
    }
}

/// Looks at descriptors that may have been used.
pub(crate) struct PackedCompletions<'r> {
    /// From the next one to the end of the ring.
    slots: &'r [Descriptor],
    /// Up to how many of them, if each chain is of one.
    at_most: u16,
    /// Of what was used.
    marks: u32,
    behind: Behind,
}

impl PackedCompletions<'_> {
    /// Whether `slot` is about the chain of that number.
    #[inline(always)]
    fn is(&mut self, slot: &Descriptor, number: u32) -> bool {
        let word = slot.load::<3>();
        let is = word & (layout::MARKS | layout::ID) == self.marks | number;
        if !is {
            self.behind = if word & layout::MARKS == self.marks {
                // How long, nobody asks of what was sent.
                Behind::Read(UsedElement { id: word & layout::ID, len: 0 })
            } else {
                Behind::NotThere
            };
        }
        is
    }
}

impl Completions for PackedCompletions<'_> {
    #[inline(always)]
    fn are_about(&mut self, number: u16) -> u16 {
        let slots = self.slots.get(..self.at_most.into()).unwrap_or(self.slots);
        in_order(slots, number, |slot, number| self.is(slot, number))
    }

    #[inline(always)]
    fn is_about(&mut self, number: u16, descriptors: u16) -> bool {
        let Some(slot) = self.slots.first() else { return false };
        self.slots = self.slots.get(descriptors.into()..).unwrap_or_default();
        self.is(slot, number.into())
    }

    #[inline(always)]
    fn behind(self) -> Behind {
        // Whoever gets the buffers next comes after the marks.
        barrier::acquire();
        self.behind
    }
}

/// Takes chains of one and offers them again, each in a new place.
pub(crate) struct PackedExchange<'r> {
    places: slice::Iter<'r, Descriptor>,
    /// Of what was used.
    marks: u32,
    /// The last word of what is offered, but for its id.
    word: u32,
    len_bytes: u32,
    /// The next one is the first of a batch.
    keeps: bool,
    kept: Kept,
}

impl Exchange for PackedExchange<'_> {
    type Used = Descriptor;

    #[inline(always)]
    fn load(&self, used: &Descriptor) -> Option<UsedElement> {
        load(used, self.marks)
    }

    #[inline(always)]
    fn repost(&mut self, id: u32, addr: DmaAddr) -> bool {
        let Some(slot) = self.places.next() else { return false };
        let mut word = self.word | id & layout::ID;
        if self.keeps {
            self.keeps = false;
            self.kept = Some(word);
            word ^= layout::MARKS;
        }
        describe(slot, addr, self.len_bytes, word);
        true
    }

    #[inline(always)]
    fn kept(self) -> Kept {
        self.kept
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;

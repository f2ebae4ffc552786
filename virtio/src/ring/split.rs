//! The split format: a table of descriptors, a ring of what is available, a ring of what is used.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | how far driver and device are |
//! | [`memory`] | the shared memory, and the ordering |
//! | [`legacy`] | the same memory where a legacy device finds it |
//! | [`layout`] | sizes and places, as numbers |
//! | [`notify`] | when a notification is owed |
//!
//! As long as chains of one are offered by the run, a lap of the available ring is the same as the
//! one before, and is not written again.

pub(crate) mod layout;
pub(crate) mod legacy;
pub(crate) mod memory;
pub(crate) mod notify;

use core::slice;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, Quiet, Word16};

use super::{
    Behind, Completions, Described, Descriptor, Exchange, Kept, QueueAddresses, QueueSize, Ring, Run,
    Segment, Slots, UsedElement, in_order,
};
use memory::{SplitMemory, Used, describe, load};

/// A split ring, from the driver's side.
pub(crate) struct SplitRing<D: Dma> {
    memory: SplitMemory<D>,
    event_idx: bool,
    /// Number of the next chain to be offered. Free-running.
    offered: u16,
    /// What the device was last told of it, which is also where the last decision about the
    /// doorbell was taken.
    published: u16,
    /// Number of the next used element to be taken. Free-running.
    taken: u16,
    /// By how much the descriptors of the last run are ahead of their places in the available ring.
    shift: u16,
    /// How many places, counted back from the next one, were named by runs of that shift.
    named: u16,
}

impl<D: Dma> SplitRing<D> {
    /// A ring over fresh memory: nothing available, nothing used.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<D>, size: QueueSize, event_idx: bool) -> Result<Self, DmaError> {
        SplitMemory::new(of, size).map(|memory| Self::over(memory, event_idx))
    }

    /// A ring over `memory`, which is fresh.
    pub(crate) fn over(memory: SplitMemory<D>, event_idx: bool) -> Self {
        Self { memory, event_idx, offered: 0, published: 0, taken: 0, shift: 0, named: 0 }
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
    pub(crate) fn memory(&self) -> &SplitMemory<D> {
        &self.memory
    }

    /// Has both indices start elsewhere than at zero, for tests of what wraps.
    #[cfg(test)]
    pub(crate) fn start_at(&mut self, idx: u16) {
        (self.offered, self.published, self.taken) = (idx, idx, idx);
        self.memory.publish(idx);
        self.memory.store_used(layout::USED_HEAD, u32::from(idx) << 16);
    }

    /// Offers the `count` chains of one from `number` on.
    #[inline(always)]
    fn offer_singles(&mut self, number: u16, count: u16) {
        let shift = self.size().place_of_index(number.wrapping_sub(self.offered));
        if shift != self.shift {
            self.shift = shift;
            self.named = 0;
        }
        if self.named < self.size().entries() {
            self.memory.offer_singles(self.offered, number, count);
            self.named = self.named.wrapping_add(count);
        }
        self.offered = self.offered.wrapping_add(count);
    }
}

impl<D: Dma> Ring for SplitRing<D> {
    type Used = Used;
    type Run<'r>
        = SplitRun<'r, D>
    where
        Self: 'r;
    type Completions<'r>
        = SplitCompletions<'r>
    where
        Self: 'r;
    type Exchange<'r>
        = SplitExchange<'r>
    where
        Self: 'r;

    #[inline(always)]
    fn size(&self) -> QueueSize {
        self.memory.size()
    }

    #[inline(always)]
    fn in_flight(&self) -> u16 {
        // Each chain is counted when it is offered and again when it is taken back.
        self.offered.wrapping_sub(self.taken)
    }

    #[inline(always)]
    fn post(&mut self, number: u16, segment: Segment) {
        self.memory.describe(number, segment, None);
        self.offer_singles(number, 1);
    }

    #[inline(always)]
    fn describe_part(&mut self, _head: u16, number: u16, segment: Segment, next: Option<u16>) {
        self.memory.describe(number, segment, next);
    }

    #[inline(always)]
    fn describe_entry(entry: &Descriptor, segment: Segment, next: Option<u16>) {
        describe(entry, segment, next);
    }

    #[inline(always)]
    fn describe_table(&mut self, head: u16, table: Segment) {
        self.memory.describe_table(head, table);
    }

    #[inline(always)]
    fn post_chain(&mut self, head: u16) {
        self.memory.offer(self.offered, head);
        self.offered = self.offered.wrapping_add(1);
        // No run named it.
        self.named = 0;
    }

    #[inline(always)]
    fn take_back(&mut self, _parts: u16) {
        // What is not offered is free.
    }

    #[inline(always)]
    fn run(&self, number: u16, free: u16) -> SplitRun<'_, D> {
        let slots = Slots::new(self.memory.descriptors(), number, free);
        SplitRun { memory: &self.memory, first: number, idx: self.offered, free, slots }
    }

    #[inline(always)]
    fn offer(&mut self, chains: u16, described: Described) {
        let Described { end, singles, .. } = described;
        let others = chains.wrapping_sub(singles);
        if others > 0 {
            // The run named them.
            self.offered = self.offered.wrapping_add(others);
            self.named = 0;
        }
        if singles > 0 {
            self.offer_singles(end.wrapping_sub(singles), singles);
        }
    }

    #[inline(always)]
    fn publish(&mut self) -> Option<bool> {
        if self.offered == self.published {
            return None;
        }
        self.memory.publish(self.offered);
        let owed = self.memory.reads_kick_owed(self.event_idx, self.offered, self.published);
        self.published = self.offered;
        Some(owed)
    }

    #[inline(always)]
    fn position(&self) -> u16 {
        self.published
    }

    #[inline(always)]
    fn waiting(&self) -> u16 {
        self.memory.read_used_idx().wrapping_sub(self.taken)
    }

    #[inline(always)]
    fn is_used(&self, waiting: u16) -> bool {
        waiting > 0
    }

    #[inline(always)]
    fn read_used(&self) -> Option<UsedElement> {
        Some(self.memory.read_used(self.taken))
    }

    #[inline(always)]
    fn took(&mut self, chains: u16, _descriptors: u16) {
        self.taken = self.taken.wrapping_add(chains);
    }

    #[inline(always)]
    fn completions(&self, at_most: u16) -> SplitCompletions<'_> {
        let elements = self.memory.used_run(self.taken, at_most).iter();
        SplitCompletions { elements, behind: Behind::Unread }
    }

    #[inline(always)]
    fn exchange(&self, at_most: u16, _len_bytes: u32) -> (&[Used], SplitExchange<'_>) {
        let elements = self.memory.used_run(self.taken, at_most);
        let places = self.memory.avail_run(self.offered, at_most);
        // None is read that there is no place for.
        let elements = elements.get(..places.len()).unwrap_or(elements);
        let entries = usize::from(self.size().entries());
        let descriptors = self.memory.descriptors().get(..entries).unwrap_or_default();
        (elements, SplitExchange { places: places.iter(), descriptors })
    }

    #[inline(always)]
    fn exchanged(&mut self, count: u16, _: Kept) {
        self.taken = self.taken.wrapping_add(count);
        self.offered = self.offered.wrapping_add(count);
        // They named what came.
        self.named = 0;
    }

    fn arm(&self, count: u16) {
        if self.event_idx {
            self.memory.ask_at(notify::after(self.taken, count.max(1)));
        } else {
            // Without it the device can only be asked to interrupt at every one.
            self.memory.ask_always();
        }
    }

    fn disarm(&self) {
        if self.event_idx {
            self.memory.ask_not_before_lap(self.taken);
        } else {
            self.memory.ask_never();
        }
    }

    fn renew(&mut self) {
        self.memory.clear();
        (self.offered, self.published, self.taken, self.shift, self.named) = (0, 0, 0, 0, 0);
    }
}

/// Describes chains: nothing but the descriptors, and where in the available ring those of several
/// are.
pub(crate) struct SplitRun<'r, D: Dma> {
    memory: &'r SplitMemory<D>,
    slots: Slots<'r>,
    /// The number of the first chain behind the last one of several.
    first: u16,
    /// Number of that chain, as it is offered.
    idx: u16,
    /// How many descriptors were free.
    free: u16,
}

impl<D: Dma> Clone for SplitRun<'_, D> {
    #[inline(always)]
    fn clone(&self) -> Self {
        let Self { memory, first, idx, free, .. } = *self;
        Self { memory, first, idx, free, slots: self.slots.clone() }
    }
}

impl<'r, D: Dma> Run<'r> for SplitRun<'r, D> {
    #[inline(always)]
    fn slots(&self) -> &'r [Descriptor] {
        self.slots.before.as_slice()
    }

    #[inline(always)]
    fn single(&mut self, slot: &Descriptor, segment: Segment) {
        describe(slot, segment, None);
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
                Some(slot) => slot,
                None => return false,
            },
        };
        describe(slot, segment, goes_on.then(|| self.slots.number_of_next()));
        true
    }

    #[inline(always)]
    fn chained(&mut self, before: &Self) {
        let head = before.slots.number;
        let singles = head.wrapping_sub(self.first);
        if singles > 0 {
            self.memory.offer_singles(self.idx, self.first, singles);
            self.idx = self.idx.wrapping_add(singles);
        }
        self.memory.offer(self.idx, head);
        self.idx = self.idx.wrapping_add(1);
        self.first = self.slots.number;
    }

    #[inline(always)]
    fn give_up(&mut self, before: Self) {
        *self = before;
    }

    #[inline(always)]
    fn described(self) -> Described {
        let end = self.slots.number;
        Described {
            descriptors: self.free.wrapping_sub(self.slots.left()),
            end,
            singles: end.wrapping_sub(self.first),
            kept: None,
        }
    }
}

/// Looks at used elements.
pub(crate) struct SplitCompletions<'r> {
    elements: slice::Iter<'r, Used>,
    behind: Behind,
}

impl SplitCompletions<'_> {
    /// Whether an element is about the chain of that number.
    #[inline(always)]
    fn is(&mut self, [id, len]: &Used, number: u32) -> bool {
        let id = id.load();
        let is = id == number;
        if !is {
            self.behind = Behind::Read(UsedElement { id, len: len.load() });
        }
        is
    }
}

impl Completions for SplitCompletions<'_> {
    #[inline(always)]
    fn are_about(&mut self, number: u16) -> u16 {
        in_order(self.elements.as_slice(), number, |element, number| self.is(element, number))
    }

    #[inline(always)]
    fn is_about(&mut self, number: u16, _descriptors: u16) -> bool {
        let Some(element) = self.elements.next() else { return false };
        self.is(element, number.into())
    }

    #[inline(always)]
    fn behind(self) -> Behind {
        self.behind
    }
}

/// Takes chains of one and offers them again: of a descriptor that stays posted, only where its
/// memory is changes.
pub(crate) struct SplitExchange<'r> {
    places: slice::Iter<'r, Word16>,
    descriptors: &'r [Descriptor],
}

impl Exchange for SplitExchange<'_> {
    type Used = Used;

    #[inline(always)]
    fn load(&self, used: &Used) -> Option<UsedElement> {
        Some(load(used))
    }

    #[inline(always)]
    fn repost(&mut self, id: u32, addr: DmaAddr) -> bool {
        let Some(slot) = self.descriptors.get(id as usize) else { return false };
        let Some(place) = self.places.next() else { return false };
        slot.store_pair::<0>(addr.get());
        // In the table, so 16 bits name it.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        place.store(id as u16);
        true
    }

    #[inline(always)]
    fn kept(self) -> Kept {
        None
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;

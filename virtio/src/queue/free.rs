//! Which descriptors are free, and what the driver remembers of the ones that are not. Private memory, which no device sees.
//!
//! The free descriptors form a list through `next`, taken from and given back to the front. A chain takes the first few of the list as they
//! are linked, so that its links are known before it is taken, and giving it up half way costs nothing. Of a taken chain the
//! head remembers the last descriptor, so that the whole chain goes back in one step, whatever the descriptor table says by now.

use alloc::boxed::Box;
use alloc::vec::Vec;

use paravane_hal::dma::{DmaError, DmaErrorReason};

use crate::queue::layout::QueueSize;

/// What the driver knows of a descriptor.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Free: the next free one. Taken: the next of its chain.
    next: u16,
    /// Of a chain's head: the chain's last descriptor. Itself in all others, free ones included.
    last: u16,
    /// Of a chain's head: how many bytes the device may write. Of the last of several: how many descriptors the chain has.
    writable_bytes: u32,
}

/// The free list.
#[derive(Debug)]
pub struct FreeList {
    slots: Box<[Slot]>,
    /// The first free descriptor; means nothing while none is free.
    first: u16,
    free: u16,
}

/// A run of descriptors from the front of the free list, not yet taken.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    head: u16,
    /// The last descriptor that is part of the run.
    last: u16,
    descriptors: u16,
    /// Total length of what the device may write.
    writable_bytes: u32,
}

impl Run {
    /// The first descriptor: the chain's name towards the device.
    #[must_use]
    #[inline(always)]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// The last descriptor so far.
    #[must_use]
    #[inline(always)]
    pub fn last(&self) -> u16 {
        self.last
    }
}

impl FreeList {
    /// A list with every descriptor free, in ascending order.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for it.
    pub fn new(size: QueueSize) -> Result<Self, DmaError> {
        let entries = usize::from(size.entries());
        let mut slots = Vec::new();
        if slots.try_reserve_exact(entries).is_err() {
            let len_bytes = entries.saturating_mul(size_of::<Slot>());
            return Err(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory));
        }
        slots.extend((0..size.entries()).map(|i| Slot {
            next: i.wrapping_add(1),
            last: i,
            writable_bytes: 0,
        }));
        Ok(Self { slots: slots.into_boxed_slice(), first: 0, free: size.entries() })
    }

    /// How many descriptors are free.
    #[must_use]
    #[inline(always)]
    pub fn free(&self) -> u16 {
        self.free
    }

    /// The run of the first free descriptor alone, which the device may write `writable_bytes` of. `None` when none is free.
    #[must_use]
    #[inline(always)]
    pub fn first(&self, writable_bytes: u32) -> Option<Run> {
        (self.free > 0).then_some(Run { head: self.first, last: self.first, descriptors: 1, writable_bytes })
    }

    /// `run`, longer by one descriptor, and that descriptor. `None` when no more is free, or a chain cannot be that long in bytes.
    #[must_use]
    #[inline]
    pub fn extend(&self, run: Run, writable_bytes: u32) -> Option<Run> {
        if run.descriptors >= self.free {
            return None;
        }
        Some(Run {
            last: self.next(run.last)?,
            descriptors: run.descriptors.checked_add(1)?,
            writable_bytes: run.writable_bytes.checked_add(writable_bytes)?,
            ..run
        })
    }

    /// The descriptor linked after `descriptor`.
    #[inline]
    fn next(&self, descriptor: u16) -> Option<u16> {
        Some(self.slots.get(usize::from(descriptor))?.next)
    }

    /// Takes `run`, which came from this list as it is now, off the list.
    #[inline(always)]
    pub fn take(&mut self, run: Run) {
        let Some(after) = self.next(run.last) else { return };
        let Some(head) = self.slots.get_mut(usize::from(run.head)) else { return };
        head.last = run.last;
        head.writable_bytes = run.writable_bytes;
        if run.last != run.head
            && let Some(last) = self.slots.get_mut(usize::from(run.last))
        {
            last.writable_bytes = run.descriptors.into();
        }
        self.first = after;
        self.free = self.free.wrapping_sub(run.descriptors);
    }

    /// Takes the first free descriptor off the list, as a chain of one that the device may write `writable_bytes` of.
    #[inline(always)]
    pub fn take_one(&mut self, writable_bytes: u32) -> Option<u16> {
        let head = self.first;
        let slot = self.slots.get_mut(usize::from(head)).filter(|_| self.free > 0)?;
        self.first = slot.next;
        // The rest of a free one says "a chain of one" already.
        slot.writable_bytes = writable_bytes;
        self.free = self.free.wrapping_sub(1);
        Some(head)
    }

    /// Gives the chain headed by `head` back. The caller knows, from its own memory, that the chain is taken.
    #[inline(always)]
    pub fn give_back(&mut self, head: u16) {
        let mut giving_back = self.giving_back();
        giving_back.give_back(usize::from(head));
        giving_back.finish(1);
    }

    /// The list taken apart, for whoever gives many chains back.
    #[inline(always)]
    pub(super) fn giving_back(&mut self) -> GivingBack<'_> {
        let Self { slots, first, free } = self;
        GivingBack { next: *first, beyond_one: 0, slots, first, free }
    }

    /// The list taken apart, for whoever takes many chains of one.
    #[inline(always)]
    pub(super) fn singles(&mut self) -> Singles<'_> {
        Singles { next: self.first, slots: &mut self.slots, first: &mut self.first, free: &mut self.free }
    }

    /// How many bytes the device may write to the chain headed by `head`. Zero for a descriptor that does not exist.
    #[must_use]
    #[inline(always)]
    pub fn writable_bytes(&self, head: u16) -> u32 {
        self.slots.get(usize::from(head)).map_or(0, |slot| slot.writable_bytes)
    }
}

/// Chains being given back. They are free when it is [finished](Self::finish).
pub(super) struct GivingBack<'l> {
    slots: &'l mut [Slot],
    next: u16,
    /// How many descriptors there were beyond one for each chain.
    beyond_one: u16,
    first: &'l mut u16,
    free: &'l mut u16,
}

impl GivingBack<'_> {
    /// The same, if the list is of `entries`.
    #[inline(always)]
    pub(super) fn of(mut self, entries: usize) -> Option<Self> {
        let slots = core::mem::take(&mut self.slots);
        self.slots = slots.get_mut(..entries)?;
        Some(self)
    }

    /// Gives back the chain headed by `head`. The caller knows, from its own memory, that the chain is taken.
    #[inline(always)]
    pub(super) fn give_back(&mut self, head: usize) {
        let Some(slot) = self.slots.get_mut(head) else { return };
        if usize::from(slot.last) == head {
            slot.next = self.next;
            self.next = slot.last;
        } else {
            let (next, beyond_one) = unlink(self.slots, head, self.next);
            self.next = next;
            self.beyond_one = self.beyond_one.wrapping_add(beyond_one);
        }
    }

    /// Makes the descriptors of the `chains` given back free.
    #[inline(always)]
    pub(super) fn finish(self, chains: u16) {
        *self.first = self.next;
        *self.free = self.free.wrapping_add(chains).wrapping_add(self.beyond_one);
    }
}

/// Puts a chain of several in front of `first`: what is in front then, and how many descriptors the chain has beyond one.
#[cold]
fn unlink(slots: &mut [Slot], head: usize, first: u16) -> (u16, u16) {
    let Some((slot, head_again)) = slots.get_mut(head).zip(u16::try_from(head).ok()) else {
        return (first, 0);
    };
    let last = core::mem::replace(&mut slot.last, head_again);
    let Some(tail) = slots.get_mut(usize::from(last)) else { return (first, 0) };
    tail.next = first;
    // At most as many as there are descriptors.
    (head_again, u16::try_from(tail.writable_bytes).unwrap_or(1).wrapping_sub(1))
}

/// Chains of one being taken off the list. They are taken when it is [finished](Self::finish).
pub(super) struct Singles<'l> {
    slots: &'l mut [Slot],
    /// The next one: here, so that it stays out of memory meanwhile.
    next: u16,
    first: &'l mut u16,
    free: &'l mut u16,
}

impl<'l> Singles<'l> {
    /// The same, if the list is of `entries`: said once, it need not be asked for each.
    #[inline(always)]
    pub(super) fn of(mut self, entries: usize) -> Option<Self> {
        let slots = core::mem::take(&mut self.slots);
        self.slots = slots.get_mut(..entries)?;
        Some(self)
    }

    /// Takes the next one, which the device may write `writable_bytes` of. The caller takes no more than are free.
    #[inline(always)]
    pub(super) fn take(&mut self, writable_bytes: u32) -> Option<u16> {
        let head = self.next;
        let slot = self.slots.get_mut(usize::from(head))?;
        slot.writable_bytes = writable_bytes;
        self.next = slot.next;
        Some(head)
    }

    /// Counts the `chains` that were taken.
    #[inline(always)]
    pub(super) fn finish(self, chains: u16) {
        *self.first = self.next;
        *self.free = self.free.wrapping_sub(chains);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};
    use std::vec::Vec;

    fn list(entries: u16) -> FreeList {
        FreeList::new(QueueSize::new(entries).unwrap()).unwrap()
    }

    /// The descriptors of a chain, by its links.
    fn walk(list: &FreeList, run: Run) -> Vec<u16> {
        let mut chain = std::vec![run.head];
        while *chain.last().unwrap() != run.last {
            chain.push(list.next(*chain.last().unwrap()).unwrap());
        }
        chain
    }

    fn take(list: &mut FreeList, descriptors: u16) -> Option<(Run, Vec<u16>)> {
        let mut run = list.first(0)?;
        for _ in 1..descriptors {
            run = list.extend(run, 0)?;
        }
        let chain = walk(list, run);
        list.take(run);
        Some((run, chain))
    }

    #[test]
    fn a_run_that_is_not_taken_changes_nothing() {
        let mut list = list(4);
        let run = list.first(0).unwrap();
        let run = list.extend(run, 0).unwrap();
        assert_eq!(run.descriptors, 2);
        assert_eq!(list.free(), 4);
        assert_eq!(take(&mut list, 4).unwrap().1, [0, 1, 2, 3]);
        assert!(take(&mut list, 1).is_none());
    }

    #[test]
    fn a_chain_of_one_is_a_run_of_one() {
        let (mut by_run, mut at_once) = (list(4), list(4));
        for free in (0..4).rev() {
            assert_eq!(at_once.take_one(7), take(&mut by_run, 1).map(|(run, _)| run.head()));
            assert_eq!(at_once.free(), free);
        }
        assert_eq!(at_once.take_one(7), None);
        at_once.give_back(2);
        assert_eq!(at_once.writable_bytes(2), 7);
        assert_eq!(at_once.take_one(9), Some(2));
        assert_eq!(at_once.writable_bytes(2), 9);
    }

    #[test]
    fn a_chain_cannot_have_more_bytes_than_a_length_counts() {
        let list = list(4);
        let run = list.first(u32::MAX).unwrap();
        assert!(list.extend(run, 1).is_none());
        assert!(list.extend(run, 0).is_some());
    }

    #[test]
    fn every_size_can_be_emptied_and_filled_in_any_chain_length() {
        for log in 0..=15 {
            let entries = 1_u16 << log;
            let mut list = list(entries);
            for descriptors in [1, 2, 3, 7] {
                let mut heads = VecDeque::new();
                while let Some((run, _)) = take(&mut list, descriptors) {
                    heads.push_back(run.head());
                }
                assert_eq!(list.free(), entries % descriptors);
                while let Some(head) = heads.pop_front() {
                    list.give_back(head);
                }
                assert_eq!(list.free(), entries);
            }
        }
    }

    proptest! {
        /// No descriptor is ever in two places, and none gets lost, in any order of taking and giving back.
        #[test]
        fn descriptors_are_conserved(
            log in 0_u32..=8,
            steps in proptest::collection::vec((any::<bool>(), 1_u16..9, any::<prop::sample::Index>()), 0..400),
        ) {
            let entries = 1_u16 << log;
            let mut list = list(entries);
            let mut out: Vec<(u16, Vec<u16>)> = Vec::new();
            for (taking, descriptors, which) in steps {
                if taking {
                    if let Some((run, chain)) = take(&mut list, descriptors) {
                        prop_assert_eq!(chain.len(), usize::from(descriptors));
                        out.push((run.head(), chain));
                    } else {
                        prop_assert!(list.free() < descriptors);
                    }
                } else if !out.is_empty() {
                    let (head, _) = out.swap_remove(which.index(out.len()));
                    list.give_back(head);
                }
                let taken: Vec<u16> = out.iter().flat_map(|(_, chain)| chain.iter().copied()).collect();
                let distinct: BTreeSet<u16> = taken.iter().copied().collect();
                prop_assert_eq!(distinct.len(), taken.len());
                prop_assert!(distinct.iter().all(|d| *d < entries));
                prop_assert_eq!(usize::from(list.free()) + taken.len(), usize::from(entries));
            }
        }
    }
}

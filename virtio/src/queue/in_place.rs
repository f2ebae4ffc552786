//! Lending where descriptors stay posted: a buffer that comes back is exchanged for another in its
//! descriptor, which is offered again. So each descriptor is written once, but for where its buffer
//! is, and the device may be done with them in any order.
//!
//! The record carries *tokens*: whatever owns the memory that was posted. Every chain is one
//! descriptor, and all buffers of a queue are as long.
//!
//! Places in the two rings that follow one another are walked, not looked up. Where a ring ends, so
//! does a run; the caller starts another.

use core::slice;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceTag, Dma, DmaError, Quiet, Word16, Words};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;

use super::layout::{DESC_WORDS, QueueSize};
use super::split::{self, Used, UsedElement};
use super::{Record, Segment, Virtqueue};
use crate::transport::Doorbell;

/// What is lent in place.
#[derive(Debug)]
pub(crate) struct InPlace<T> {
    tokens: Posted<T>,
    /// Descriptors before this one are posted, for good.
    posted: u16,
    size: QueueSize,
}

impl<T> Record for InPlace<T> {
    fn new(size: QueueSize, device: DeviceTag) -> Result<Self, DmaError> {
        Ok(Self { tokens: Posted::new(size.entries().into(), device)?, posted: 0, size })
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.size.entries().wrapping_sub(self.posted)
    }

    fn reclaim(self, quiet: &Quiet<'_>) -> bool {
        self.tokens.reclaim(quiet).is_ok()
    }
}

/// A chain that the device says it is done with, checked: it is in flight.
#[derive(Debug)]
pub(crate) struct Completion {
    head: u16,
    said_bytes: u32,
}

impl Completion {
    /// How many bytes the device says it wrote, which nobody has checked.
    #[must_use]
    #[inline(always)]
    pub(crate) fn said_bytes(&self) -> u32 {
        self.said_bytes
    }
}

/// Chains of one that the device has written to, taken and offered again on the spot.
pub(crate) struct Exchanging<'q, T> {
    elements: &'q [Used],
    places: slice::Iter<'q, Word16>,
    descriptors: &'q [Words<DESC_WORDS>],
    tokens: &'q mut [Option<T>],
    /// Was read, and not taken.
    left: Option<UsedElement>,
}

impl<'q, T> Exchanging<'q, T> {
    /// What is there to be taken.
    #[must_use]
    #[inline(always)]
    pub(crate) fn elements(&self) -> &'q [Used] {
        self.elements
    }

    /// Takes the token that the next of the elements, which is `element`, is about and puts `token`
    /// in its place, memory at `addr` that is as long, if `accept` says something: it gets the old
    /// one and how much the device says it wrote, which nobody has checked.
    ///
    /// # Errors
    ///
    /// `token`, and nothing has happened: [`check_used`](Virtqueue::check_used) finds out what is
    /// the matter with what was read.
    #[inline(always)]
    pub(crate) fn exchange<R>(
        &mut self,
        element: &Used,
        addr: DmaAddr,
        token: T,
        accept: impl FnOnce(&T, u32) -> Option<R>,
    ) -> Result<(T, R), T> {
        let element = split::load(element);
        let id = element.id as usize;
        if let (Some(slot), Some(Some(old))) = (self.descriptors.get(id), self.tokens.get_mut(id))
            && let Some(accepted) = accept(old, element.len)
            && let Some(place) = self.places.next()
        {
            let old = core::mem::replace(old, token);
            slot.store_pair::<0>(addr.get());
            // In the table, so 16 bits name it.
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            place.store(id as u16);
            return Ok((old, accepted));
        }
        self.left = Some(element);
        Err(token)
    }
}

impl<T, D: Dma, B: Doorbell> Virtqueue<InPlace<T>, D, B> {
    /// Posts a chain of one descriptor. The device learns of it with [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// `token`, when no descriptor is free.
    #[inline(always)]
    pub(crate) fn post(&mut self, segment: Segment, token: T) -> Result<(), T> {
        let head = self.lent.posted;
        // There is a place for each descriptor, so this fails when all are posted.
        self.lent.tokens.put(usize::from(head), token)?;
        self.lent.posted = head.wrapping_add(1);
        self.memory.describe(head, segment, None);
        self.offer(head);
        Ok(())
    }

    /// Reads the next completion, which [`observe`](Self::observe) has counted, and says with
    /// [`check_used`](Self::check_used) what it is about.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub(crate) fn look(&mut self) -> Result<(Completion, &T), DeviceFault> {
        self.check_used(self.memory.read_used(self.taken))
    }

    /// Which chain `element`, the next one, is about, and its token. It stays where it is until
    /// taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken.
    #[inline(always)]
    pub(crate) fn check_used(&mut self, element: UsedElement) -> Result<(Completion, &T), DeviceFault> {
        let head = u16::try_from(element.id).ok().filter(|head| self.lent.tokens.holds((*head).into()));
        let Some(head) = head else { return Err(self.unknown_head(element.id)) };
        match self.lent.tokens.get(head.into()) {
            Some(token) => Ok((Completion { head, said_bytes: element.len }, token)),
            None => Err(DeviceFault::NotInFlight { index: element.id }),
        }
    }

    /// Takes the token of `completion` back and posts `token` in its place: memory at `addr`, as
    /// long as the old.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: it was taken already. The queue is broken, and `token` is gone with it.
    #[inline(always)]
    pub(crate) fn exchange(
        &mut self,
        completion: Completion,
        addr: DmaAddr,
        token: T,
    ) -> Result<T, DeviceFault> {
        match self.lent.tokens.replace(usize::from(completion.head), token) {
            Ok(old) => {
                self.memory.describe_address(completion.head, addr);
                self.repost(completion);
                Ok(old)
            }
            Err(_) => Err(self.unknown_head(u32::from(completion.head))),
        }
    }

    /// Gives the chain of `completion` to the device again as it is.
    #[inline(always)]
    pub(crate) fn repost(&mut self, completion: Completion) {
        self.taken = self.taken.wrapping_add(1);
        self.offer(completion.head);
    }

    /// Has `exchange` take up to `at_most` completions, which [`observe`](Virtqueue::observe) has
    /// counted, of chains of one; `exchange` says how many it took. That many, and the one behind
    /// them if it was read and not taken: it is not to be read again.
    #[inline(always)]
    pub(crate) fn exchange_run(
        &mut self,
        at_most: u16,
        exchange: impl FnOnce(&mut Exchanging<'_, T>) -> u16,
    ) -> (u16, Option<UsedElement>) {
        let entries = usize::from(self.memory.size().entries());
        // Both are that long; said here, one comparison covers them.
        let (Some(tokens), Some(descriptors)) =
            (self.lent.tokens.slots_mut().get_mut(..entries), self.memory.descriptors().get(..entries))
        else {
            return (0, None);
        };
        let elements = self.memory.used_run(self.taken, at_most);
        let places = self.memory.avail_run(self.offered, at_most);
        // None is read that there is no place for.
        let elements = elements.get(..places.len()).unwrap_or(elements);
        let mut exchanging = Exchanging { elements, places: places.iter(), descriptors, tokens, left: None };
        let count = exchange(&mut exchanging);
        let left = exchanging.left;
        self.taken = self.taken.wrapping_add(count);
        self.offered = self.offered.wrapping_add(count);
        (count, left)
    }
}

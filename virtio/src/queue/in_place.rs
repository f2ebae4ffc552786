//! Lending where descriptors stay posted: a buffer that comes back is exchanged for another in its descriptor, which is offered again. So each descriptor is
//! written once, but for where its buffer is, and the device may be done with them in any order.
//!
//! The record carries *tokens*: whatever owns the memory that was posted. Every chain is one descriptor, and all buffers of a queue are as long.
//!
//! Places in the two rings that follow one another are walked, not looked up. Where a ring ends, so does a run; the caller starts another.

use core::slice;
use core::sync::atomic::{AtomicU16, Ordering::Relaxed};

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceTag, Dma, DmaError, Quiet, Words};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;

use super::layout::{DESC_WORDS, QueueSize};
use super::split::Used;
use super::{Record, Segment, Virtqueue};
use crate::transport::Doorbell;

/// What is lent in place.
#[derive(Debug)]
pub struct InPlace<T> {
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

/// A chain that the device says it is done with, checked: the head is in flight, and no more was written than it may write.
#[derive(Debug)]
pub struct Completion {
    head: u16,
    written_bytes: u32,
}

impl Completion {
    /// How many bytes the device says it wrote; at most what it may write.
    #[must_use]
    #[inline(always)]
    pub fn written_bytes(&self) -> u32 {
        self.written_bytes
    }
}

/// Chains of one that the device has written to, taken and offered again on the spot.
pub struct Exchanging<'q, T> {
    elements: &'q [Used],
    places: slice::Iter<'q, AtomicU16>,
    descriptors: &'q [Words<DESC_WORDS>],
    tokens: &'q mut [Option<T>],
}

impl<'q, T> Exchanging<'q, T> {
    /// What is there to be taken.
    #[must_use]
    #[inline(always)]
    pub fn elements(&self) -> &'q [Used] {
        self.elements
    }

    /// Takes the token that the next of the elements, which is `element`, is about and puts `token` in its place, memory at `addr` that is as long, if `accept`
    /// says something: it gets the old one and how much the device says it wrote, which nobody has checked.
    ///
    /// # Errors
    ///
    /// `token`, and nothing has happened: [`look`](Virtqueue::look) finds out what is the matter.
    #[inline(always)]
    pub fn exchange<R>(
        &mut self,
        [id, len]: &Used,
        addr: DmaAddr,
        token: T,
        accept: impl FnOnce(&T, u32) -> Option<R>,
    ) -> Result<(T, R), T> {
        let id = u32::from_le(id.load(Relaxed));
        let (Some(slot), Some(Some(old))) =
            (self.descriptors.get(id as usize), self.tokens.get_mut(id as usize))
        else {
            return Err(token);
        };
        let Some(accepted) = accept(old, u32::from_le(len.load(Relaxed))) else { return Err(token) };
        let Some(place) = self.places.next() else { return Err(token) };
        let old = core::mem::replace(old, token);
        slot.store_pair::<0>(addr.get());
        // In the table, so 16 bits name it.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        place.store((id as u16).to_le(), Relaxed);
        Ok((old, accepted))
    }
}

impl<T, D: Dma, B: Doorbell> Virtqueue<InPlace<T>, D, B> {
    /// Posts a chain of one descriptor. The device learns of it with [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// `token`, when no descriptor is free.
    #[inline(always)]
    pub fn post(&mut self, segment: Segment, token: T) -> Result<(), T> {
        let head = self.lent.posted;
        // There is a place for each descriptor, so this fails when all are posted.
        self.lent.tokens.put(usize::from(head), token)?;
        self.lent.posted = head.wrapping_add(1);
        self.memory.describe(head, segment, None);
        self.offer(head);
        Ok(())
    }

    /// Looks at the next completion, which [`observe`](Self::observe) has counted, and at its token, of whose memory the device may write `max_bytes`. It stays
    /// where it is until taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have, or a length that cannot be. The queue is broken.
    #[inline(always)]
    pub fn look(&mut self, max_bytes: u32) -> Result<(Completion, &T), DeviceFault> {
        let element = self.memory.read_used(self.taken);
        match u16::try_from(element.id) {
            Ok(head) if self.lent.tokens.holds(usize::from(head)) => {
                if element.len > max_bytes {
                    return Err(self.fail(DeviceFault::LengthTooLong { len_bytes: element.len, max_bytes }));
                }
                let completion = Completion { head, written_bytes: element.len };
                match self.lent.tokens.get(usize::from(head)) {
                    Some(token) => Ok((completion, token)),
                    None => Err(DeviceFault::NotInFlight { index: element.id }),
                }
            }
            _ => Err(self.unknown_head(element.id)),
        }
    }

    /// Takes the token of `completion` back and posts `token` in its place: memory at `addr`, as long as the old.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: it was taken already. The queue is broken, and `token` is gone with it.
    #[inline(always)]
    pub fn exchange(&mut self, completion: Completion, addr: DmaAddr, token: T) -> Result<T, DeviceFault> {
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
    pub fn repost(&mut self, completion: Completion) {
        self.taken = self.taken.wrapping_add(1);
        self.offer(completion.head);
    }

    /// Has `exchange` take up to `at_most` completions, which [`observe`](Virtqueue::observe) has counted, of chains of one; `exchange` says how many it took, and
    /// so does this.
    #[inline(always)]
    pub fn exchange_run(
        &mut self,
        at_most: u16,
        exchange: impl FnOnce(&mut Exchanging<'_, T>) -> u16,
    ) -> u16 {
        let entries = usize::from(self.memory.size().entries());
        // Both are that long; said here, one comparison covers them.
        let (Some(tokens), Some(descriptors)) =
            (self.lent.tokens.slots_mut().get_mut(..entries), self.memory.descriptors().get(..entries))
        else {
            return 0;
        };
        let elements = self.memory.used_run(self.taken, at_most);
        let places = self.memory.avail_run(self.offered, at_most).iter();
        let count = exchange(&mut Exchanging { elements, places, descriptors, tokens });
        self.taken = self.taken.wrapping_add(count);
        self.offered = self.offered.wrapping_add(count);
        count
    }
}

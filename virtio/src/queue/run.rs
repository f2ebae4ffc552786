//! Many chains of one descriptor at once: what a network queue does nearly always.
//!
//! Places in the two rings that follow one another are walked, not looked up, and what belongs to the whole run is settled once. Where a ring
//! ends, so does a run; the caller starts another.

use core::slice;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{Dma, Words};
use paravane_hal::fault::DeviceFault;

use super::free::{GivingBack, Singles};
use super::layout::{DESC_F_WRITE, DESC_WORDS};
use super::{Segment, Virtqueue};
use crate::transport::Doorbell;

/// Chains of one being posted, each in its place of the available ring.
pub struct Posting<'q, T> {
    places: &'q [AtomicU16],
    descriptors: &'q [Words<DESC_WORDS>],
    free: Singles<'q>,
    tokens: &'q mut [Option<T>],
}

impl<'q, T> Posting<'q, T> {
    /// The places, no more than there are descriptors free.
    #[must_use]
    #[inline(always)]
    pub fn places(&self) -> &'q [AtomicU16] {
        self.places
    }

    /// Posts one in the next of the places, which is `place`.
    ///
    /// # Errors
    ///
    /// `token`: the run ends here.
    #[inline(always)]
    pub fn post(&mut self, place: &AtomicU16, segment: Segment, token: T) -> Result<(), T> {
        let writable_bytes = if segment.writable { segment.len_bytes } else { 0 };
        let Some(head) = self.free.take(writable_bytes) else { return Err(token) };
        let (Some(slot), Some(kept)) =
            (self.descriptors.get(usize::from(head)), self.tokens.get_mut(usize::from(head)))
        else {
            return Err(token);
        };
        let write = if segment.writable { DESC_F_WRITE } else { 0 };
        slot.store_pair::<0>(segment.addr.get());
        slot.store_pair::<2>(u64::from(segment.len_bytes) | u64::from(write) << 32);
        // A descriptor that is free has no token, so there is nothing here to be dropped.
        core::mem::forget(kept.replace(token));
        place.store(head.to_le(), Relaxed);
        Ok(())
    }
}

/// An element of the used ring: id and length.
pub type Used = [AtomicU32; 2];

/// Chains coming back that the device could only read.
pub struct Taking<'q, T> {
    elements: &'q [Used],
    tokens: &'q mut [Option<T>],
    free: GivingBack<'q>,
    unknown: Option<u32>,
}

impl<'q, T> Taking<'q, T> {
    /// What is there to be taken.
    #[must_use]
    #[inline(always)]
    pub fn elements(&self) -> &'q [Used] {
        self.elements
    }

    /// The token that the next of the elements, which is `element`, is about. `None`, and it ends, when the device does not have that.
    #[inline(always)]
    pub fn take(&mut self, [id, _]: &Used) -> Option<T> {
        let id = u32::from_le(id.load(Relaxed));
        let Some(token) = self.tokens.get_mut(id as usize).and_then(Option::take) else {
            self.unknown = Some(id);
            return None;
        };
        self.free.give_back(id as usize);
        Some(token)
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

impl<T, D: Dma, B: Doorbell> Virtqueue<T, D, B> {
    /// Has `post` post chains of one, as many as it says, and so does this. They are offered; the device learns of them with
    /// [`publish`](Virtqueue::publish).
    #[inline(always)]
    pub fn post_run(&mut self, post: impl FnOnce(&mut Posting<'_, T>) -> u16) -> u16 {
        let places = self.memory.avail_run(self.offered, self.descriptors.free());
        // All three are that long; said here, one comparison covers them.
        let entries = usize::from(self.memory.size().entries());
        let (Some(descriptors), Some(free), Some(tokens)) = (
            self.memory.descriptors().get(..entries),
            self.descriptors.singles().of(entries),
            self.tokens.slots_mut().get_mut(..entries),
        ) else {
            return 0;
        };
        let mut posting = Posting { places, descriptors, free, tokens };
        let count = post(&mut posting);
        posting.free.finish(count);
        self.offered = self.offered.wrapping_add(count);
        count
    }

    /// Has `take` take up to `at_most` chains back, as many as it says, which [`observe`](Virtqueue::observe) has counted and which the device could only
    /// read. Returns how many; there may be fewer than asked for, where the ring ends.
    ///
    /// What the device says about a length is not read: it can have written nothing, and some devices report the length they read.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken; what was taken before is taken.
    #[inline(always)]
    pub fn take_read_run(
        &mut self,
        at_most: u16,
        take: impl FnOnce(&mut Taking<'_, T>) -> u16,
    ) -> Result<u16, DeviceFault> {
        let entries = usize::from(self.memory.size().entries());
        let (Some(tokens), Some(free)) =
            (self.tokens.slots_mut().get_mut(..entries), self.descriptors.giving_back().of(entries))
        else {
            return Ok(0);
        };
        let elements = self.memory.used_run(self.taken, at_most);
        let mut taking = Taking { elements, tokens, free, unknown: None };
        let count = take(&mut taking);
        let unknown = taking.unknown;
        taking.free.finish(count);
        self.taken = self.taken.wrapping_add(count);
        match unknown {
            Some(id) => Err(self.unknown_head(id)),
            None => Ok(count),
        }
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
            (self.tokens.slots_mut().get_mut(..entries), self.memory.descriptors().get(..entries))
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

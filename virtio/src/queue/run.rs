//! Many chains of one descriptor at once: what a network queue does nearly always.
//!
//! Places in the two rings that follow one another are walked, not looked up, and what belongs to the whole run is settled once. Where a ring
//! ends, so does a run; the caller starts another.

use core::slice;
use core::sync::atomic::{AtomicU16, Ordering::Relaxed};

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{Dma, Words};
use paravane_hal::fault::DeviceFault;

use super::free::Singles;
use super::layout::{DESC_F_WRITE, DESC_WORDS};
use super::{Segment, Virtqueue};
use crate::transport::Doorbell;

/// Chains of one being posted. They count as offered when it is dropped, and the device learns of them with [`publish`](Virtqueue::publish).
pub struct Posting<'q, T> {
    descriptors: &'q [Words<DESC_WORDS>],
    /// No more than there are descriptors free.
    places: slice::Iter<'q, AtomicU16>,
    free: Singles<'q>,
    tokens: &'q mut [Option<T>],
    offered: &'q mut u16,
}

impl<T> Posting<'_, T> {
    /// Posts one.
    ///
    /// # Errors
    ///
    /// `token`: the run ends here.
    #[inline(always)]
    pub fn post(&mut self, segment: Segment, token: T) -> Result<(), T> {
        let Some(place) = self.places.next() else { return Err(token) };
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

impl<T> Drop for Posting<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.offered = self.offered.wrapping_add(self.free.taken());
    }
}

/// What becomes of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another token was put in the place of the old one: its memory is here, as long as the old.
    Exchanged(DmaAddr),
    /// The chain goes to the device again as it is.
    Repost,
    /// Nothing was taken; the run ends before this one.
    Stop,
}

impl<T, D: Dma, B: Doorbell> Virtqueue<T, D, B> {
    /// Starts to post chains of one. `None` when no descriptor is free.
    #[inline(always)]
    pub fn posting(&mut self) -> Option<Posting<'_, T>> {
        let free = self.descriptors.free();
        if free == 0 {
            return None;
        }
        // All three are that long; said here, one comparison covers them.
        let entries = usize::from(self.memory.size().entries());
        Some(Posting {
            descriptors: self.memory.descriptors().get(..entries)?,
            places: self.memory.avail_run(self.offered, free).iter(),
            free: self.descriptors.singles().of(entries)?,
            tokens: self.tokens.slots_mut().get_mut(..entries)?,
            offered: &mut self.offered,
        })
    }

    /// Takes up to `at_most` chains back, which [`observe`](Virtqueue::observe) has counted and which the device could only read, and hands their tokens
    /// to `home`. Returns how many; fewer than asked for where the ring ends.
    ///
    /// What the device says about a length is not read: it can have written nothing, and some devices report the length they read.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken; what was taken before has gone home.
    #[inline(always)]
    pub fn take_read_run(&mut self, at_most: u16, mut home: impl FnMut(T)) -> Result<u16, DeviceFault> {
        let entries = usize::from(self.memory.size().entries());
        let (Some(tokens), Some(mut free)) =
            (self.tokens.slots_mut().get_mut(..entries), self.descriptors.giving_back().of(entries))
        else {
            return Ok(0);
        };
        let mut taken = 0_u16;
        let mut unknown = None;
        for [id, _] in self.memory.used_run(self.taken, at_most) {
            let id = u32::from_le(id.load(Relaxed));
            let Some(token) = tokens.get_mut(id as usize).and_then(Option::take) else {
                unknown = Some(id);
                break;
            };
            // In the table, so 16 bits name it.
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            free.give_back(id as u16);
            home(token);
            taken = taken.wrapping_add(1);
        }
        drop(free);
        self.taken = self.taken.wrapping_add(taken);
        match unknown {
            Some(id) => Err(self.unknown_head(id)),
            None => Ok(taken),
        }
    }

    /// Looks at up to `at_most` completions, which [`observe`](Virtqueue::observe) has counted, of chains of one. `look` gets each one's token and how much
    /// the device wrote, which is no more than it may write; it decides, and puts another token there if it takes this one. Returns how many were taken.
    ///
    /// # Errors
    ///
    /// As [`look`](Virtqueue::look), and what `look` finds out. The queue is broken; what was taken before is taken.
    #[inline(always)]
    pub fn exchange_run(
        &mut self,
        at_most: u16,
        mut look: impl FnMut(&mut T, u32) -> Result<Verdict, DeviceFault>,
    ) -> Result<u16, DeviceFault> {
        let entries = usize::from(self.memory.size().entries());
        let tokens = self.tokens.slots_mut().get_mut(..entries).unwrap_or_default();
        let descriptors = self.memory.descriptors();
        let places = self.memory.avail_run(self.offered, at_most);
        let mut taken = 0_u16;
        let mut outcome = Ok(());
        for ([id, len], place) in self.memory.used_run(self.taken, at_most).iter().zip(places) {
            let id = u32::from_le(id.load(Relaxed));
            let (Some(slot), Some(Some(token))) = (descriptors.get(id as usize), tokens.get_mut(id as usize))
            else {
                outcome = Err(Lie::Head(id));
                break;
            };
            // In the table, so 16 bits name it.
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            let head = id as u16;
            let written_bytes = u32::from_le(len.load(Relaxed));
            let max_bytes = self.descriptors.writable_bytes(head);
            if written_bytes > max_bytes {
                outcome = Err(Lie::Fault(DeviceFault::LengthTooLong { len_bytes: written_bytes, max_bytes }));
                break;
            }
            match look(token, written_bytes) {
                Ok(Verdict::Exchanged(addr)) => slot.store_pair::<0>(addr.get()),
                Ok(Verdict::Repost) => {}
                Ok(Verdict::Stop) => break,
                Err(fault) => {
                    outcome = Err(Lie::Fault(fault));
                    break;
                }
            }
            place.store(head.to_le(), Relaxed);
            taken = taken.wrapping_add(1);
        }
        self.taken = self.taken.wrapping_add(taken);
        self.offered = self.offered.wrapping_add(taken);
        match outcome {
            Ok(()) => Ok(taken),
            Err(Lie::Head(id)) => Err(self.unknown_head(id)),
            Err(Lie::Fault(fault)) => Err(self.fail(fault)),
        }
    }
}

/// What ended a run.
enum Lie {
    /// A head that is not in flight.
    Head(u32),
    /// Something else.
    Fault(DeviceFault),
}

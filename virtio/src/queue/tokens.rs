//! The general record: chains of any shape, used in any order.
//!
//! A *token* is whatever owns the memory that a chain names. It is moved in with the chain and
//! comes back with its completion. Free descriptors are a list; a chain takes as many from its
//! front as it has segments, and is known by the first; or one, where the rest is in its
//! [table](super::tables).
//!
//! A device that agreed to use chains in order gets them in the order of the ring: there the list
//! is left as it was at first, a circle, for what becomes free is what comes last in it. Such a
//! device may speak of the last of several chains alone. Of the others it says nothing then: they
//! come out one by one, as written in full.

use alloc::vec::Vec;

use paravane_hal::dma::{DeviceTag, Dma, DmaError, DmaErrorReason, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;

use super::tables::Tables;
use super::{Doorbell, Record, Virtqueue};
use crate::ring::{Format, QueueSize, Ring, Segment, UsedElement, each_format};

/// What is lent by the chain.
#[derive(Debug)]
pub(crate) struct Tokens<T> {
    /// By the first descriptor.
    chains: Posted<Lent<T>>,
    /// What comes behind each descriptor: in its chain, or among the free ones.
    next: Vec<u16>,
    /// The first free descriptor.
    free: u16,
    /// How many are free.
    room: u16,
    /// How many completions were seen waiting and not taken yet.
    waiting: u16,
    /// The device uses chains in the order in which they were posted,
    in_order: bool,
    /// and then this is the first descriptor of the next one.
    oldest: u16,
}

/// A chain that the device has.
#[derive(Debug)]
struct Lent<T> {
    token: T,
    /// The last descriptor.
    last: u16,
    descriptors: u16,
    /// How many bytes the device may write.
    writable_bytes: u32,
}

impl<T> Record for Tokens<T> {
    const TABLES: bool = true;

    fn new(size: QueueSize, format: Format, device: DeviceTag) -> Result<Self, DmaError> {
        let entries = size.entries();
        let chains = Posted::new(entries.into(), device)?;
        let mut next = Vec::new();
        let len_bytes = usize::from(entries).saturating_mul(size_of::<u16>());
        next.try_reserve_exact(entries.into())
            .map_err(|_| DmaError::new(len_bytes, DmaErrorReason::OutOfMemory))?;
        let in_order = format.in_order;
        next.extend(all_free(entries, in_order));
        Ok(Self { chains, next, free: 0, room: entries, waiting: 0, in_order, oldest: 0 })
    }

    fn clear(&mut self) {
        self.chains.slots_mut().iter_mut().for_each(|chain| drop(chain.take()));
        self.room = u16::try_from(self.next.len()).unwrap_or(u16::MAX);
        let all_free = all_free(self.room, self.in_order);
        self.next.iter_mut().zip(all_free).for_each(|(next, number)| *next = number);
        (self.free, self.waiting, self.oldest) = (0, 0, 0);
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.room
    }

    fn reclaim(self, quiet: &Quiet<'_>) -> bool {
        self.chains.reclaim(quiet).is_ok()
    }
}

/// What comes behind each of so many descriptors where all are free: the next one; behind the last
/// one the first, if they are used in order, and else none.
fn all_free(entries: u16, in_order: bool) -> impl Iterator<Item = u16> {
    (1..entries).chain([if in_order { 0 } else { entries }])
}

impl<T> Tokens<T> {
    /// A chain in free descriptors of `ring`. Nothing is described of it yet.
    #[inline(always)]
    fn chain<'q, R: Ring>(&'q mut self, ring: &'q mut R) -> Chain<'q, T, R> {
        let (number, room) = (self.free, self.room);
        Chain { ring, lent: self, number, room, shape: Shape::default(), is_one: true }
    }

    /// Posts a chain of `head`, `data` and `tail` in a table of its own.
    ///
    /// # Errors
    ///
    /// `token`, as [`Chain::end`]; or they do not fit a table.
    // Out of line: what goes by the ring is to cost no more for it.
    #[inline(never)]
    fn post_table<R: Ring, D: Dma>(
        &mut self,
        ring: &mut R,
        tables: &Tables<D>,
        (head, data, tail): (Segment, impl Iterator<Item = Segment>, Segment),
        token: T,
    ) -> Result<(), T> {
        let number = self.free;
        let Some((table, addr)) = tables.of(number).filter(|_| self.room > 0) else { return Err(token) };
        let (mut entries, mut shape, mut count, mut is_one) = (table.iter(), Shape::default(), 0_u16, true);
        let mut add = |segment, goes_on: bool| {
            // A table is short.
            count = count.wrapping_add(1);
            match entries.next() {
                Some(entry) if shape.takes(segment) => {
                    shape.add(segment);
                    R::describe_entry(entry, segment, goes_on.then_some(count));
                }
                _ => is_one = false,
            }
        };
        add(head, true);
        data.for_each(|segment| add(segment, true));
        add(tail, false);
        // A free descriptor heads no chain.
        let place = match self.chains.slots_mut().get_mut(usize::from(number)) {
            Some(place @ None) if is_one && shape.fits() => place,
            _ => return Err(token),
        };
        *place = Some(shape.lent(token, number, 1));
        let len_bytes = u32::from(count).wrapping_mul(ENTRY_BYTES);
        ring.describe_table(number, Segment { addr, len_bytes, writable: false });
        ring.post_chain(number);
        self.free = self.next.get(usize::from(number)).copied().unwrap_or(number);
        self.room = self.room.wrapping_sub(1);
        Ok(())
    }

    /// Takes the token of the chain that the device calls `id`, into which it says it wrote
    /// `written_bytes`.
    #[inline]
    fn take(&mut self, id: u32, written_bytes: u32) -> Result<Lent<T>, Lie> {
        let slot = usize::try_from(id).map_err(|_| Lie::Unknown)?;
        let place = self.chains.slots_mut().get_mut(slot).ok_or(Lie::Unknown)?;
        let max_bytes = place.as_ref().ok_or(Lie::Unknown)?.writable_bytes;
        if written_bytes > max_bytes {
            return Err(Lie::TooLong { max_bytes });
        }
        let chain = place.take().ok_or(Lie::Unknown)?;
        if let Some(next) = self.next.get_mut(usize::from(chain.last)) {
            if self.in_order {
                self.oldest = *next;
            } else {
                *next = self.free;
                // The table is no longer than 16 bits number.
                #[expect(clippy::cast_possible_truncation, reason = "see above")]
                let head = id as u16;
                self.free = head;
            }
        }
        self.room = self.room.wrapping_add(chain.descriptors);
        Ok(chain)
    }

    /// How many chains the device has from the oldest one to that of `id`, where it uses them in
    /// order. `None` when it does not have that.
    fn chains_up_to(&self, id: u32) -> Option<u16> {
        let number = u16::try_from(id).ok().filter(|number| self.chains.holds((*number).into()))?;
        let (mut at, mut count) = (self.oldest, 1_u16);
        // Ends: a chain lies between the oldest one and itself.
        while at != number {
            at = self.next.get(usize::from(self.chains.get(at.into())?.last)).copied()?;
            count = count.wrapping_add(1);
        }
        Some(count)
    }
}

/// What is wrong with a completion.
enum Lie {
    /// The device does not have the chain.
    Unknown,
    /// It may not write as much.
    TooLong { max_bytes: u32 },
}

/// How long an entry of a table is.
const ENTRY_BYTES: u32 = 16;

/// Of what segments a chain is.
#[derive(Default)]
struct Shape {
    /// How many bytes the device may read: so few numbers of 32 bits do not wrap.
    read_bytes: u64,
    /// How many it may write.
    writable_bytes: u64,
    /// It writes the last segment.
    ends_writable: bool,
}

impl Shape {
    /// Whether `segment` may come next: not if the device would read it behind what it writes.
    #[inline(always)]
    fn takes(&self, segment: Segment) -> bool {
        segment.writable || !self.ends_writable
    }

    /// Notes `segment`, the next one.
    #[inline(always)]
    fn add(&mut self, Segment { len_bytes, writable, .. }: Segment) {
        self.ends_writable = writable;
        if writable {
            self.writable_bytes = self.writable_bytes.wrapping_add(len_bytes.into());
        } else {
            self.read_bytes = self.read_bytes.wrapping_add(len_bytes.into());
        }
    }

    /// Whether all of them are not too many.
    #[inline(always)]
    fn fits(&self) -> bool {
        self.read_bytes.wrapping_add(self.writable_bytes) <= u32::MAX.into()
    }

    /// What is known of the chain that the device has, `token`'s, of so many `descriptors` up to
    /// `last`.
    #[inline(always)]
    fn lent<T>(&self, token: T, last: u16, descriptors: u16) -> Lent<T> {
        // No more than all of them.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let writable_bytes = self.writable_bytes as u32;
        Lent { token, last, descriptors, writable_bytes }
    }
}

/// A chain that is being described, in free descriptors: what the device reads, then what it
/// writes, less than 4 GiB in all. One that is not [ended](Self::end) never was.
///
/// Spec: VIRTIO 1.2, 2.7.4.2 and 2.7.5 (2.8.5 for packed rings): what the device writes comes last,
/// and a chain is no longer than 2^32 bytes.
struct Chain<'q, T, R: Ring> {
    ring: &'q mut R,
    lent: &'q mut Tokens<T>,
    /// The next descriptor.
    number: u16,
    /// How many are free still.
    room: u16,
    shape: Shape,
    /// No segment was left out.
    is_one: bool,
}

impl<T, R: Ring> Chain<'_, T, R> {
    /// Adds `segment`, which is not the last one.
    #[inline(always)]
    fn add(&mut self, segment: Segment) {
        self.describe(segment, true);
    }

    /// Describes `segment` in the next descriptor, whose number is returned. Leaves it out when
    /// there is none, or the device would read it behind what it writes.
    #[inline(always)]
    fn describe(&mut self, segment: Segment, goes_on: bool) -> u16 {
        let number = self.number;
        if self.room == 0 || !self.shape.takes(segment) {
            self.is_one = false;
            return number;
        }
        self.number = self.lent.next.get(usize::from(number)).copied().unwrap_or(number);
        self.ring.describe_part(self.lent.free, number, segment, goes_on.then_some(self.number));
        self.room = self.room.wrapping_sub(1);
        self.shape.add(segment);
        number
    }

    /// Adds `segment`, the last one, and posts the chain. `token`, which owns the memory of its
    /// segments, stays with the queue until the device has used it.
    ///
    /// # Errors
    ///
    /// `token`: there is no room for the chain, or it is none: a writable segment comes before a
    /// readable one, or they are 4 GiB and more in all.
    #[inline(always)]
    fn end(mut self, segment: Segment, token: T) -> Result<(), T> {
        let last = self.describe(segment, false);
        let head = self.lent.free;
        // A free descriptor heads no chain.
        let place = match self.lent.chains.slots_mut().get_mut(usize::from(head)) {
            Some(place @ None) if self.is_one && self.shape.fits() => place,
            _ => return Err(token),
        };
        let descriptors = self.lent.room.wrapping_sub(self.room);
        *place = Some(self.shape.lent(token, last, descriptors));
        self.ring.post_chain(head);
        self.lent.free = self.number;
        self.lent.room = self.room;
        Ok(())
    }
}

impl<T, R: Ring> Drop for Chain<'_, T, R> {
    #[inline(always)]
    fn drop(&mut self) {
        // None, when it was posted.
        let described = self.lent.room.wrapping_sub(self.room);
        if described > 0 {
            self.ring.take_back(described);
        }
    }
}

impl<T, D: Dma, B: Doorbell> Virtqueue<Tokens<T>, D, B> {
    /// How many descriptors of the ring a chain of so many segments takes, which are two or more.
    #[inline]
    pub(crate) fn descriptors_of(&self, segments: usize) -> usize {
        if segments <= self.table_most.into() { 1 } else { segments }
    }

    /// The descriptor that the next chain begins with, if there is room for one.
    #[must_use]
    #[inline(always)]
    pub(crate) fn next_head(&self) -> u16 {
        self.lent.free
    }

    /// Posts a chain of `head`, `data` and `tail`, `segments` in all, what the device reads before
    /// what it writes. `token`, which owns their memory, stays here until the device has used the
    /// chain. The device learns of it with [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// `token`: there is no room for the chain, or it is none: a writable segment comes before a
    /// readable one, or they are 4 GiB and more in all.
    #[inline(always)]
    pub(crate) fn submit(
        &mut self,
        segments: usize,
        head: Segment,
        data: impl IntoIterator<Item = Segment>,
        tail: Segment,
        token: T,
    ) -> Result<(), T> {
        let Self { ring, lent, tables, table_most, .. } = self;
        if segments <= (*table_most).into()
            && let Some(tables) = tables
        {
            let segments = (head, data.into_iter(), tail);
            return each_format!(ring, ring => lent.post_table(ring, tables, segments, token));
        }
        each_format!(ring, ring => {
            let mut chain = lent.chain(ring);
            chain.add(head);
            for segment in data {
                chain.add(segment);
            }
            chain.end(tail, token)
        })
    }

    /// Posts a chain of what `each` says `token` has, one or more segments, in the ring; otherwise
    /// as [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// As there; or there are none.
    pub(crate) fn submit_each(
        &mut self,
        token: T,
        each: impl FnOnce(&T, &mut dyn FnMut(Segment)),
    ) -> Result<(), T> {
        let Self { ring, lent, .. } = self;
        each_format!(ring, ring => {
            let (mut chain, mut last) = (lent.chain(ring), None);
            each(&token, &mut |segment| {
                if let Some(before) = last.replace(segment) {
                    chain.add(before);
                }
            });
            match last {
                Some(last) => chain.end(last, token),
                None => Err(token),
            }
        })
    }

    /// Posts a chain of `segment` alone, otherwise as [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// `token`: there is no room for the chain.
    pub(crate) fn submit_one(&mut self, segment: Segment, token: T) -> Result<(), T> {
        let Self { ring, lent, .. } = self;
        each_format!(ring, ring => lent.chain(ring).end(segment, token))
    }

    /// Takes the next chain that the device has used: its token, and how many bytes the device
    /// wrote, it says; no more than the chain has room for. `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken, or the device names what it does not have, or says
    /// that it wrote more than fits. Every token stays until the device was stopped.
    pub(crate) fn complete(&mut self) -> Result<Option<(T, u32)>, DeviceFault> {
        self.check()?;
        if self.lent().waiting == 0 {
            let waiting = self.observe()?;
            if waiting == 0 {
                return Ok(None);
            }
            self.parts().1.waiting = waiting;
        }
        let used = if self.lent().in_order { self.next_in_order()? } else { self.read_used() };
        let Some(used) = used else { return Ok(None) };
        let (ring, lent) = self.parts();
        match lent.take(used.id, used.len) {
            Ok(Lent { token, descriptors, .. }) => {
                each_format!(ring, ring => ring.took(1, descriptors));
                lent.waiting = lent.waiting.wrapping_sub(1);
                Ok(Some((token, used.len)))
            }
            Err(Lie::Unknown) => Err(self.unknown(used.id)),
            Err(Lie::TooLong { max_bytes }) => {
                Err(self.fail(DeviceFault::LengthTooLong { len_bytes: used.len, max_bytes }))
            }
        }
    }

    /// The next completion, if it is there.
    #[inline(always)]
    fn read_used(&mut self) -> Option<UsedElement> {
        each_format!(self.parts().0, ring => ring.read_used())
    }

    /// What the device says of the oldest chain, where it uses them in order; if it spoke of a
    /// later one alone, that it wrote as much as fits.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    #[inline(never)]
    fn next_in_order(&mut self) -> Result<Option<UsedElement>, DeviceFault> {
        let oldest = self.lent().oldest;
        let last = match self.batch {
            Some(last) => last,
            None => {
                let Some(used) = self.read_used() else { return Ok(None) };
                if used.id == oldest.into() {
                    return Ok(Some(used));
                }
                let Some(chains) = self.lent().chains_up_to(used.id) else {
                    return Err(self.unknown(used.id));
                };
                self.open_batch(used, chains)?;
                used
            }
        };
        if last.id == oldest.into() {
            self.batch = None;
            return Ok(Some(last));
        }
        let len = self.lent().chains.get(oldest.into()).map_or(0, |chain| chain.writable_bytes);
        Ok(Some(UsedElement { id: oldest.into(), len }))
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;

//! Lending where descriptors stay posted: a buffer that comes back is exchanged for another in its
//! descriptor, which is offered again. So each descriptor is written once, but for where its buffer
//! is, and the device may be done with them in any order.
//!
//! A device that agreed to use them in order gets them in the order of the ring, so there a chain
//! goes where the ring goes on. As long as all descriptors are posted, that is its own. Such a
//! device may speak of the last of several chains alone: the others count as written in full.
//!
//! The record carries *tokens*: whatever owns the memory that was posted. Every chain is one
//! descriptor, and all buffers of a queue are as long.
//!
//! Places in the two rings that follow one another are walked, not looked up. Where a ring ends, so
//! does a run; the caller starts another.

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;

use crate::queue::{Doorbell, Record, Virtqueue};
use crate::ring::{
    AnyRing, Behind, Exchange, Format, InOrder, QueueSize, Ring, Segment, UsedElement, each_format,
};

/// What is lent in place.
#[derive(Debug)]
pub(crate) struct InPlace<T> {
    tokens: Posted<T>,
    size: QueueSize,
    /// So many descriptors are posted, for good.
    posted: u16,
    /// How many there are to be at most.
    most: u16,
    /// The device uses chains in the order in which they were posted,
    in_order: bool,
    /// and then this is the next one's descriptor. Else the first of all.
    oldest: u16,
}

impl<T> Record for InPlace<T> {
    fn new(size: QueueSize, format: Format, device: DeviceTag) -> Result<Self, DmaError> {
        let most = size.entries();
        let (tokens, in_order) = (Posted::new(most.into(), device)?, format.in_order);
        Ok(Self { tokens, size, posted: 0, most, in_order, oldest: 0 })
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.most.saturating_sub(self.posted)
    }

    fn clear(&mut self) {
        self.tokens.slots_mut().iter_mut().for_each(|token| drop(token.take()));
        (self.posted, self.oldest) = (0, 0);
    }

    fn reclaim(self, quiet: &Quiet<'_>) -> bool {
        self.tokens.reclaim(quiet).is_ok()
    }
}

/// A chain that the device says it is done with, checked: it is in flight.
#[derive(Debug)]
pub(crate) struct Completion {
    head: u16,
    /// Nothing, where the device spoke of a later one alone.
    said_bytes: Option<u32>,
}

impl Completion {
    /// How many bytes the device says it wrote, which nobody has checked, to a buffer of
    /// `buffer_bytes`.
    #[must_use]
    #[inline(always)]
    pub(crate) fn said_bytes(&self, buffer_bytes: u32) -> u32 {
        self.said_bytes.unwrap_or(buffer_bytes)
    }
}

/// Chains of one that the device has written to, taken and offered again on the spot.
pub(crate) struct Exchanging<'q, T, E> {
    ring: E,
    tokens: &'q mut [Option<T>],
    behind: &'q mut Behind,
}

/// Says what is behind those that were taken, which ends a walk.
#[cold]
#[inline(never)]
fn ends(behind: &mut Behind, at: Behind) {
    *behind = at;
}

impl<T, E: Exchange> Exchanging<'_, T, E> {
    /// Takes the token that the next of the completions, which is `used`, is about and puts `token`
    /// in its place, memory at `addr` that is as long, if `accept` says something: it gets the old
    /// one and how much the device says it wrote, which nobody has checked.
    ///
    /// # Errors
    ///
    /// `token`, and nothing has happened: the completion is not there, or
    /// [`check_used`](Virtqueue::check_used) finds out what is the matter with what was read.
    #[inline(always)]
    pub(crate) fn exchange<R>(
        &mut self,
        used: &E::Used,
        addr: DmaAddr,
        token: T,
        accept: impl FnOnce(&T, u32) -> Option<R>,
    ) -> Result<(T, R), T> {
        let Some(element) = self.ring.load(used) else {
            ends(self.behind, Behind::NotThere);
            return Err(token);
        };
        if self.ring.may_be(element.id)
            && let Some(Some(old)) = self.tokens.get_mut(element.id as usize)
            && let Some(accepted) = accept(old, element.len)
            && self.ring.repost(element.id, addr)
        {
            return Ok((core::mem::replace(old, token), accepted));
        }
        ends(self.behind, Behind::Read(element));
        Err(token)
    }
}

/// What walks over completions, whichever format they have.
pub(crate) trait Walk<T> {
    /// Exchanges the chains that `used` are about, from the first one on, with `exchanging`; how
    /// many.
    fn walk<E: Exchange>(&mut self, used: &[E::Used], exchanging: &mut Exchanging<'_, T, E>) -> u16;
}

impl<T> InPlace<T> {
    fn walk<R: Ring>(
        &mut self,
        ring: &mut R,
        at_most: u16,
        len_bytes: u32,
        walk: &mut impl Walk<T>,
        behind: &mut Behind,
    ) -> u16 {
        // As long as the ring's table; said here, one comparison covers both.
        let Some(tokens) = self.tokens.slots_mut().get_mut(..usize::from(ring.size().entries())) else {
            return 0;
        };
        let (count, kept) = {
            let (used, exchange) = ring.exchange(at_most, len_bytes);
            let mut exchanging = Exchanging { ring: exchange, tokens, behind };
            let count = walk.walk(used, &mut exchanging);
            (count, exchanging.ring.kept())
        };
        ring.exchanged(count, kept);
        count
    }

    /// The same where the device uses chains in order, and all are posted.
    // Out of line and with `walk` by value: what is used in any order is to cost no more for it.
    #[inline(never)]
    fn walk_in_order<R: Ring, W: Walk<T>>(
        &mut self,
        ring: &mut R,
        at_most: u16,
        len_bytes: u32,
        mut walk: W,
        behind: &mut Behind,
    ) -> (u16, W) {
        let (size, next, tokens) = (self.size, self.oldest, self.tokens.slots_mut());
        let (count, kept) = {
            let (used, by) = ring.exchange(at_most, len_bytes);
            let mut exchanging = Exchanging { ring: InOrder { by, next, size }, tokens, behind };
            let count = walk.walk(used, &mut exchanging);
            (count, exchanging.ring.kept())
        };
        ring.exchanged(count, kept);
        self.oldest = size.step(next, count);
        (count, walk)
    }

    /// Where the next chain goes.
    #[inline(always)]
    fn next(&self) -> u16 {
        self.size.step(self.oldest, self.posted)
    }

    /// Takes the token of chain `head`, which the device has used; and where the next one goes:
    /// into the same descriptor, or, where they are used in order, where the ring goes on.
    #[inline(always)]
    fn turn(&mut self, head: u16) -> Option<(T, u16)> {
        let token = self.tokens.take(head.into())?;
        if !self.in_order {
            return Some((token, head));
        }
        let next = self.next();
        self.oldest = self.size.step(self.oldest, 1);
        Some((token, next))
    }
}

impl<T, D: Dma, B: Doorbell> Virtqueue<InPlace<T>, D, B> {
    /// Has no more than `most` chains be posted, however many descriptors there are.
    pub(crate) fn post_at_most(&mut self, most: u16) {
        let lent = self.parts().1;
        lent.most = lent.most.min(most);
    }

    /// Posts a chain of one descriptor. The device learns of it with [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// `token`, when no descriptor is free.
    #[inline(always)]
    pub(crate) fn post(&mut self, segment: Segment, token: T) -> Result<(), T> {
        let (ring, lent) = self.parts();
        let head = lent.next();
        // Where all are posted, that is the first one's place again.
        lent.tokens.put(usize::from(head), token)?;
        lent.posted = lent.posted.wrapping_add(1);
        each_format!(ring, ring => ring.post(head, segment));
        Ok(())
    }

    /// Reads the next completion, which [`observe`](Self::observe) has counted, and says with
    /// [`check_used`](Self::check_used) what it is about. `None` when it is not there.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub(crate) fn look(&mut self) -> Result<Option<(Completion, &T)>, DeviceFault> {
        let used = match self.batch() {
            None => each_format!(self.parts().0, ring => ring.read_used()),
            batch => batch,
        };
        match used {
            Some(element) => self.check_used(element).map(Some),
            None => Ok(None),
        }
    }

    /// Which chain `element`, the next one, is about, and its token; or the oldest chain, where the
    /// device uses them in order and speaks of a later one. It stays where it is until taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken.
    #[inline(always)]
    pub(crate) fn check_used(&mut self, element: UsedElement) -> Result<(Completion, &T), DeviceFault> {
        let head = u16::try_from(element.id).ok().filter(|head| self.lent().tokens.holds((*head).into()));
        let Some(named) = head else { return Err(self.unknown(element.id)) };
        let InPlace { in_order, oldest, size, .. } = *self.lent();
        let (head, said_bytes) = if in_order && named != oldest {
            if self.batch().is_none() {
                self.open_batch(element, size.steps_between(oldest, named).wrapping_add(1))?;
            }
            (oldest, None)
        } else {
            (named, Some(element.len))
        };
        match self.lent().tokens.get(head.into()) {
            Some(token) => Ok((Completion { head, said_bytes }, token)),
            None => Err(DeviceFault::NotInFlight { index: element.id }),
        }
    }

    /// Takes the token of `completion` back and posts `token` in its place: `segment`, as long as
    /// the old.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: it was taken already. The queue is broken, and `token` is gone with it.
    #[inline(always)]
    pub(crate) fn exchange(
        &mut self,
        completion: Completion,
        segment: Segment,
        token: T,
    ) -> Result<T, DeviceFault> {
        let (ring, lent) = self.parts();
        let Some((old, next)) = lent.turn(completion.head) else {
            return Err(self.unknown(u32::from(completion.head)));
        };
        // It is free: the one taken, or one that was not posted.
        if lent.tokens.put(next.into(), token).is_err() {
            return Err(self.unknown(u32::from(completion.head)));
        }
        repost(ring, next, segment);
        self.close_batch(completion.head);
        Ok(old)
    }

    /// Gives what the chain of `completion` was about to the device again, where `segment` finds
    /// its token's memory: as it was.
    #[inline(always)]
    pub(crate) fn repost(&mut self, completion: Completion, segment: impl FnOnce(&T) -> Segment) {
        let (ring, lent) = self.parts();
        let Some((token, next)) = lent.turn(completion.head) else { return };
        let segment = segment(&token);
        // As in `exchange`.
        if lent.tokens.put(next.into(), token).is_ok() {
            repost(ring, next, segment);
        }
        self.close_batch(completion.head);
    }

    /// Has `walk` take up to `at_most` completions, which [`observe`](Virtqueue::observe) has
    /// counted, of chains of one of `len_bytes`; `walk` says how many it took. That many, and
    /// `walk`; the one behind them is put down in `behind` if it was read and not taken: it is not
    /// to be read again.
    #[inline(always)]
    pub(crate) fn exchange_run<W: Walk<T>>(
        &mut self,
        at_most: u16,
        len_bytes: u32,
        mut walk: W,
        behind: &mut Behind,
    ) -> (u16, W) {
        if self.lent().in_order {
            // One by one, what the device did not speak of, and what goes into another descriptor.
            if self.batch().is_some() || self.lent().posted < self.size().entries() {
                return (0, walk);
            }
            let (ring, lent) = self.parts();
            return each_format!(ring, ring => lent.walk_in_order(ring, at_most, len_bytes, walk, behind));
        }
        let (ring, lent) = self.parts();
        let taken = each_format!(ring, ring => lent.walk(ring, at_most, len_bytes, &mut walk, behind));
        (taken, walk)
    }
}

/// Takes the next completion, which is about chain `head`, and offers the chain again.
#[inline(always)]
fn repost<D: Dma>(ring: &mut AnyRing<D>, head: u16, segment: Segment) {
    each_format!(ring, ring => {
        ring.took(1, 1);
        ring.post(head, segment);
    });
}

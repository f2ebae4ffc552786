//! Lending where descriptors stay posted: a buffer that comes back is exchanged for another in its
//! descriptor, which is offered again. So each descriptor is written once, but for where its buffer
//! is, and the device may be done with them in any order.
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
use crate::ring::{AnyRing, Behind, Exchange, QueueSize, Ring, Segment, UsedElement, each_format};

/// What is lent in place.
#[derive(Debug)]
pub(crate) struct InPlace<T> {
    tokens: Posted<T>,
    /// Descriptors before this one are posted, for good.
    posted: u16,
    /// How many there are to be at most.
    most: u16,
}

impl<T> Record for InPlace<T> {
    fn new(size: QueueSize, device: DeviceTag) -> Result<Self, DmaError> {
        let most = size.entries();
        Ok(Self { tokens: Posted::new(most.into(), device)?, posted: 0, most })
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.most.saturating_sub(self.posted)
    }

    fn clear(&mut self) {
        self.tokens.slots_mut().iter_mut().for_each(|token| drop(token.take()));
        self.posted = 0;
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
        if let Some(Some(old)) = self.tokens.get_mut(element.id as usize)
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
        let head = lent.posted;
        // There is a place for each descriptor, so this fails when all are posted.
        lent.tokens.put(usize::from(head), token)?;
        lent.posted = head.wrapping_add(1);
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
        let (ring, _) = self.parts();
        match each_format!(ring, ring => ring.read_used()) {
            Some(element) => self.check_used(element).map(Some),
            None => Ok(None),
        }
    }

    /// Which chain `element`, the next one, is about, and its token. It stays where it is until
    /// taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have. The queue is broken.
    #[inline(always)]
    pub(crate) fn check_used(&mut self, element: UsedElement) -> Result<(Completion, &T), DeviceFault> {
        let head = u16::try_from(element.id).ok().filter(|head| self.lent().tokens.holds((*head).into()));
        let Some(head) = head else { return Err(self.unknown(element.id)) };
        match self.lent().tokens.get(head.into()) {
            Some(token) => Ok((Completion { head, said_bytes: element.len }, token)),
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
        match lent.tokens.replace(usize::from(completion.head), token) {
            Ok(old) => {
                repost(ring, completion.head, segment);
                Ok(old)
            }
            Err(_) => Err(self.unknown(u32::from(completion.head))),
        }
    }

    /// Gives the chain of `completion` to the device again, where `segment` finds its token's
    /// memory: as it was.
    #[inline(always)]
    pub(crate) fn repost(&mut self, completion: Completion, segment: impl FnOnce(&T) -> Segment) {
        let (ring, lent) = self.parts();
        if let Some(segment) = lent.tokens.get(completion.head.into()).map(segment) {
            repost(ring, completion.head, segment);
        }
    }

    /// Has `walk` take up to `at_most` completions, which [`observe`](Virtqueue::observe) has
    /// counted, of chains of one of `len_bytes`; `walk` says how many it took. That many; the one
    /// behind them is put down in `behind` if it was read and not taken: it is not to be read
    /// again.
    #[inline(always)]
    pub(crate) fn exchange_run(
        &mut self,
        at_most: u16,
        len_bytes: u32,
        walk: &mut impl Walk<T>,
        behind: &mut Behind,
    ) -> u16 {
        let (ring, lent) = self.parts();
        each_format!(ring, ring => lent.walk(ring, at_most, len_bytes, walk, behind))
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

//! Ways along a chain that give each buffer to somebody.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{Buffer, BufferMut, Chain, Pooled, behind, link_of};

impl<T: Pooled> Chain<T> {
    /// Shows buffers from the front to `by`, each with one of `items`, until either ends or `by`
    /// says no. How many it said yes to.
    #[inline(always)]
    pub fn look_with<'i, I>(
        &self,
        items: &'i [I],
        mut by: impl FnMut(&Buffer<T::Header>, &'i I) -> bool,
    ) -> usize {
        let items = items.get(..self.len()).unwrap_or(items).iter();
        self.pass_over(items, |buffer, item| by(buffer, item))
    }

    /// The same, where something is noted of each.
    #[inline(always)]
    pub fn look_with_mut<'i, I>(
        &self,
        items: &'i mut [I],
        mut by: impl FnMut(&Buffer<T::Header>, &'i mut I) -> bool,
    ) -> usize {
        let count = self.len().min(items.len());
        let items = items.get_mut(..count).unwrap_or_default().iter_mut();
        self.pass_over(items, |buffer, item| by(buffer, item))
    }

    /// As [`look_with`](Self::look_with), each to be changed.
    #[inline(always)]
    pub fn change_with<'i, I>(
        &mut self,
        items: &'i [I],
        mut by: impl FnMut(BufferMut<'_, T::Header>, &'i I) -> bool,
    ) -> usize {
        let items = items.get(..self.len()).unwrap_or(items).iter();
        self.pass_over(items, |buffer, item| by(BufferMut(buffer), item))
    }

    /// The same of each buffer alone.
    #[inline(always)]
    pub fn change(&mut self, mut by: impl FnMut(BufferMut<'_, T::Header>) -> bool) -> usize {
        self.pass_over(0..self.len(), |buffer, _| by(BufferMut(buffer)))
    }

    /// All of these: `items` are no more than there are buffers. What may be done with a buffer is
    /// up to who calls this.
    #[inline(always)]
    fn pass_over<I: ExactSizeIterator>(
        &self,
        mut items: I,
        mut by: impl FnMut(&mut Buffer<T::Header>, I::Item) -> bool,
    ) -> usize {
        let (mut next, all) = (self.first.load(Ordering::Relaxed), items.len());
        while let Some(item) = items.next() {
            // SAFETY: there are no more items than buffers in the chain, so this is one of it,
            // which stays the chain's.
            let mut buffer = ManuallyDrop::new(unsafe { Buffer::at(next) });
            if !by(&mut buffer, item) {
                // This one is no longer among the rest.
                return all.wrapping_sub(items.len()).wrapping_sub(1);
            }
            next = behind(&buffer);
        }
        all
    }

    /// Takes `count` buffers from the front, or all.
    #[inline(always)]
    #[must_use]
    pub fn take_front(&mut self, count: usize) -> Self {
        match count {
            0 => Self::new(),
            count if count >= self.len() => core::mem::take(self),
            count => self.split(count),
        }
    }

    /// The same of fewer than there are.
    #[inline(never)]
    fn split(&mut self, count: usize) -> Self {
        let first = self.first.load(Ordering::Relaxed);
        let (mut next, mut last) = (first, self.last);
        for _ in 0..count {
            // SAFETY: there are more than `count`, so this is a buffer of the chain, which stays
            // the chain's.
            let buffer = ManuallyDrop::new(unsafe { Buffer::at(next) });
            last = buffer.last().as_ptr();
            next = behind(&buffer);
        }
        self.first.store(next, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "fewer than there are")]
        let len = count as u32;
        self.len = self.len.wrapping_sub(len);
        let Self { is_mixed, has_more, .. } = *self;
        Self { first: AtomicPtr::new(first), last, len, is_mixed, has_more }
    }

    /// Takes up to `at_most` buffers from the front and gives each to `by`: what that gives back
    /// joins the back of `to`; what it gives as an error stays in front, and ends it. How many were
    /// taken.
    ///
    /// `by` may keep what it got, give another one back, or the same with others behind it. Should
    /// it panic, those not taken yet are leaked, and those that came since the beginning.
    #[inline(always)]
    pub fn walk(
        &mut self,
        to: &mut Self,
        at_most: usize,
        mut by: impl FnMut(T) -> Result<Option<T>, T>,
    ) -> usize {
        let (came, taken) =
            self.take_over::<true, true, _>(0..self.len().min(at_most), |buffer, _| by(T::of(buffer)));
        to.append(came);
        taken
    }

    /// The same, each buffer with one of `items`, until either ends.
    #[inline(always)]
    pub fn walk_with<'i, I>(
        &mut self,
        to: &mut Self,
        items: &'i [I],
        mut by: impl FnMut(T, &'i I) -> Result<Option<T>, T>,
    ) -> usize {
        let items = items.get(..self.len()).unwrap_or(items).iter();
        let (came, taken) = self.take_over::<true, true, _>(items, |buffer, item| by(T::of(buffer), item));
        to.append(came);
        taken
    }

    /// Gives each buffer to `by`, which nothing continues yet, and joins what that gives back.
    #[inline(always)]
    pub(in crate::pool) fn prepared(mut self, mut by: impl FnMut(T) -> T) -> Self {
        self.take_over::<false, true, _>(0..self.len(), |buffer, _| Ok(Some(by(T::fresh(buffer))))).0
    }

    /// As [`walk_with`](Self::walk_with), for who gives another buffer for each, and for buffers
    /// that nothing continues: what does is dropped first.
    #[inline(always)]
    pub fn exchange_with<'i, I>(
        &mut self,
        to: &mut Self,
        items: &'i [I],
        mut by: impl FnMut(T, &'i I) -> Result<T, T>,
    ) -> usize {
        if self.has_more {
            self.strip();
        }
        let items = items.get(..self.len()).unwrap_or(items).iter();
        let (came, taken) =
            self.take_over::<false, false, _>(items, |buffer, item| by(T::of(buffer), item).map(Some));
        to.append(came);
        taken
    }

    /// Drops what continues others.
    #[cold]
    fn strip(&mut self) {
        let (all, _) = self.take_over::<true, true, _>(0..self.len(), |mut buffer, _| {
            drop(buffer.take_next());
            Ok(Some(T::of(buffer)))
        });
        *self = all;
    }

    /// All of these: `items` are no more than there are buffers. Unless `HAS_MORE`, nothing
    /// continues any of those; if `COME_BACK`, most come back. What came, and how many were taken.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than there are")]
    #[expect(clippy::while_let_on_iterator, reason = "what is left of it says how many there were")]
    fn take_over<const HAS_MORE: bool, const COME_BACK: bool, I: ExactSizeIterator>(
        &mut self,
        mut items: I,
        mut by: impl FnMut(Buffer<T::Header>, I::Item) -> Result<Option<T>, T>,
    ) -> (Self, usize) {
        let (before, mut next, home) = (self.len, self.first.load(Ordering::Relaxed), self.home());
        let (mut is_mixed, mut has_more) = (self.is_mixed, false);
        // The first one is linked from here, until it is taken.
        let mut link = NonNull::from(&self.first);
        let (all, mut kept, mut stays) = (items.len(), 0_usize, None);
        self.len = 0;
        while let Some(item) = items.next() {
            let given = next;
            // SAFETY: `items` is no longer than the chain, so this is a buffer of it, which is
            // taken off here.
            let buffer = unsafe { Buffer::at(given) };
            // While it is ours: whoever has it next links it as they like.
            next = if HAS_MORE { behind(&buffer) } else { buffer.node().next.load(Ordering::Relaxed) };
            match by(buffer, item) {
                Ok(Some(came)) => {
                    let buffer = ManuallyDrop::new(came.into_buffer());
                    let is_continued = buffer.node().more.get();
                    // SAFETY: in this chain, or in the last buffer taken, whose node lives as long
                    // as it is out.
                    unsafe { link.as_ref() }.store(buffer.0.as_ptr(), Ordering::Relaxed);
                    link = link_of(buffer.0);
                    if is_continued {
                        has_more = true;
                        link = link_of(buffer.last());
                        is_mixed |= buffer.home() != home;
                    } else if !(COME_BACK && buffer.0.as_ptr() == given)
                        && buffer.node().pool.as_ptr() != home
                    {
                        // One that was here before has the home that all have here.
                        mix(&mut is_mixed);
                    }
                }
                Ok(None) => kept = kept.wrapping_add(1),
                Err(stayed) => {
                    stays = Some((stayed.into_buffer(), given));
                    break;
                }
            }
        }
        let used = all.wrapping_sub(items.len());
        let taken = used.wrapping_sub(stays.is_some().into());
        let (first, len) =
            (AtomicPtr::new(self.first.load(Ordering::Relaxed)), taken.wrapping_sub(kept) as u32);
        let came = Self { first, last: link.as_ptr().cast(), len, is_mixed, has_more };
        self.first.store(next, Ordering::Relaxed);
        self.len = before.wrapping_sub(used as u32);
        if let Some((buffer, given)) = stays {
            if self.len == 0 || buffer.0.as_ptr() != given || buffer.node().more.get() {
                self.put_first(buffer);
            } else {
                // The same as the general way, for one that was here before.
                let buffer = ManuallyDrop::new(buffer);
                buffer.node().next.store(next, Ordering::Relaxed);
                self.first.store(given, Ordering::Relaxed);
                self.len = self.len.wrapping_add(1);
            }
        }
        (came, taken)
    }
}

/// Some are of another pool: known to be rare, it costs the others nothing.
#[cold]
#[inline(never)]
fn mix(is_mixed: &mut bool) {
    *is_mixed = true;
}

//! Many buffers out of a pool for one atomic operation.

use core::fmt;
use core::ptr::NonNull;

use super::{Buffer, Chain, Header, SEGMENT_BUFFERS, Shared};

/// Buffers taken off a pool together. An iterator; dropped, it gives the rest back.
///
/// It holds a whole segment of the free list at a time, which may be more than it was asked for.
pub struct Supply<'p, H: Header> {
    shared: &'p Shared<H>,
    stock: Chain<H>,
    /// How many it is to give out yet.
    wanted: usize,
}

impl<'p, H: Header> Supply<'p, H> {
    #[inline(always)]
    pub(super) fn new(shared: &'p Shared<H>, at_most: usize) -> Self {
        let stock = if at_most == 0 { Chain::new() } else { Chain::segment_of(shared) };
        Self { shared, stock, wanted: at_most }
    }

    /// Exchanges buffers for others, each with one of `items`, until `exchange` gives one back or
    /// either ends. What came is added to `others`; it ends early after one that has not the home
    /// of the others. How many came.
    #[inline(always)]
    pub fn exchange_zip<T>(
        &mut self,
        items: &[T],
        others: &mut Chain<H>,
        mut exchange: impl FnMut(Buffer<H>, &T) -> Result<Buffer<H>, Buffer<H>>,
    ) -> usize {
        let items = items.get(..self.wanted).unwrap_or(items);
        let mut came = 0_usize;
        // Ends: each turn but the last uses a segment up.
        loop {
            let rest = items.get(came..).unwrap_or_default();
            came = came.wrapping_add(self.stock.exchange_zip(rest, others, &mut exchange));
            if came == items.len() || !self.stock.is_empty() || !self.restock() {
                break;
            }
        }
        self.wanted = self.wanted.wrapping_sub(came);
        came
    }

    /// Adds up to `at_most` buffers to the back of `chain`, each as `prepare` gives it back. How
    /// many.
    #[inline(always)]
    pub fn fill(
        &mut self,
        chain: &mut Chain<H>,
        at_most: usize,
        mut prepare: impl FnMut(Buffer<H>) -> Buffer<H>,
    ) -> usize {
        let mut left = at_most.min(self.wanted);
        let all = left;
        // Ends: each turn adds a buffer, or is the last.
        while left > 0 && (!self.stock.is_empty() || self.restock()) {
            // No segment is longer.
            let items = &[(); SEGMENT_BUFFERS];
            let items = items.get(..left).unwrap_or(items);
            left = left.wrapping_sub(self.stock.exchange_zip(items, chain, |buffer, ()| Ok(prepare(buffer))));
        }
        let filled = all.wrapping_sub(left);
        self.wanted = self.wanted.wrapping_sub(filled);
        filled
    }

    /// Takes another segment. False when there is none.
    #[inline(always)]
    fn restock(&mut self) -> bool {
        let stock = another(self.shared);
        let got = !stock.is_empty();
        self.stock = stock;
        got
    }
}

/// By value, so that a supply stays in registers where it is used.
#[cold]
#[inline(never)]
fn another<H: Header>(shared: &Shared<H>) -> Chain<H> {
    Chain::segment_of(shared)
}

impl<H: Header> Iterator for Supply<'_, H> {
    type Item = Buffer<H>;

    #[inline(always)]
    fn next(&mut self) -> Option<Buffer<H>> {
        if self.wanted == 0 {
            return None;
        }
        if self.stock.is_empty() && !self.restock() {
            return None;
        }
        self.wanted -= 1;
        self.stock.pop()
    }
}

impl<H: Header> fmt::Debug for Supply<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supply({} of {:?})", self.wanted, self.stock)
    }
}

impl<H: Header> Chain<H> {
    /// The topmost segment of the free list; nothing when that is empty.
    #[inline(always)]
    fn segment_of(shared: &Shared<H>) -> Self {
        match shared.take_segment() {
            Some((first, len)) => Self::of_segment(NonNull::from(first), len, NonNull::from(shared)),
            None => Self::new(),
        }
    }
}

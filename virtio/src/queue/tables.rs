//! Tables of descriptors, by which a chain of several segments takes one descriptor of its ring.
//!
//! Each descriptor of a ring has a table of its own, which is there from the beginning: a chain
//! that is known by a descriptor is in that one's table. A table is written and never read. What
//! the device finds there, or may have written there, has no part in what is known of a chain.
//!
//! Spec: VIRTIO 1.2, 2.7.5.3 "Indirect Descriptors", 2.8.7 "Indirect Flag: Scatter-Gather Support".

use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaRing, Quiet};

use crate::ring::{DESC_WORDS, Descriptor, QueueSize};

/// How long a table is. A longer chain is described in the ring: such are few, and would have each
/// table be as long.
pub(crate) const TABLE_ENTRIES: u16 = 8;

/// The tables of a ring.
pub(crate) struct Tables<D: Dma> {
    entries: DmaRing<DESC_WORDS, D>,
    /// How many of each are used: a chain is no longer than its queue, wherever it is.
    most: u16,
}

impl<D: Dma> Tables<D> {
    /// One for each descriptor of a ring of `size`.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<D>, size: QueueSize) -> Result<Self, DmaError> {
        let count = usize::from(size.entries()).saturating_mul(TABLE_ENTRIES.into());
        let entries = DmaRing::zeroed(of, count, Align::new(16))?;
        Ok(Self { entries, most: TABLE_ENTRIES.min(size.entries()) })
    }

    /// How many segments a chain has at most that goes there.
    pub(crate) fn most(&self) -> u16 {
        self.most
    }

    /// The table of the descriptor numbered `number`, and where the device finds it.
    #[inline(always)]
    pub(crate) fn of(&self, number: u16) -> Option<(&[Descriptor], DmaAddr)> {
        // At most 8 times 32768.
        let start = usize::from(number).wrapping_mul(TABLE_ENTRIES.into());
        let table = self.entries.slots().get(start..)?.get(..self.most.into())?;
        Some((table, self.entries.dma_addr_of(start)?))
    }

    /// Gives the memory back. False when the proof is about another device: it is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.entries.free(quiet).is_ok()
    }
}

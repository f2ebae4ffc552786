//! A packed virtqueue's shared memory, and every opinion on order that goes with it.
//!
//! Each word is read or written once per call, as an atomic. Nothing here remembers or checks
//! anything.
//!
//! | Step | Call | Barrier, and between which accesses |
//! |---|---|---|
//! | describe | [`describe`] | none: the first descriptor of a batch keeps its marks back, and the device passes none that is not marked |
//! | publish | [`publish`](PackedMemory::publish) | *release*: the batch before the marks of its first descriptor |
//! | kick or not | [`read_wish`](PackedMemory::read_wish) | *full*: those marks before the device's wish. The device writes its wish, then looks at the marks; with both sides so, one sees the other |
//! | take | [`load`] | *acquire*: the marks before payload. Id and length come with the marks, in one load |
//! | arm | [`ask`](PackedMemory::ask) | *full*: our wish before the look at marks that follows |
//!
//! Spec: VIRTIO 1.2, 2.8.21 "Supplying Buffers to The Device", 2.8.22 "Receiving Used Buffers From
//! The Device".

use paravane_hal::addr::DmaAddr;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaRing, DmaWords, Quiet, Word32};

use super::layout;
use crate::ring::{DESC_WORDS, Descriptor, QueueAddresses, QueueSize, UsedElement};

/// The shared memory of one queue.
pub(crate) struct PackedMemory<D: Dma> {
    slots: DmaRing<DESC_WORDS, D>,
    /// The driver's wish.
    driver: DmaWords<Word32, D>,
    /// The device's wish.
    device: DmaWords<Word32, D>,
}

impl<D: Dma> PackedMemory<D> {
    /// Allocates all of it, all zero: nothing available, nothing used, each wants to be told.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<D>, size: QueueSize) -> Result<Self, DmaError> {
        Ok(Self {
            slots: DmaRing::zeroed(of, usize::from(size.entries()), layout::DESC_ALIGN)?,
            driver: DmaWords::zeroed(of, 1, layout::EVENT_ALIGN)?,
            device: DmaWords::zeroed(of, 1, layout::EVENT_ALIGN)?,
        })
    }

    /// Where the device finds it. From here on the memory counts as known to the device.
    #[must_use]
    pub(crate) fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            descriptors: self.slots.dma_addr(),
            driver: self.driver.dma_addr(),
            device: self.device.dma_addr(),
        }
    }

    /// The descriptors.
    #[inline(always)]
    pub(crate) fn slots(&self) -> &[Descriptor] {
        self.slots.slots()
    }

    /// Up to `at_most` descriptors from `place` on.
    #[inline(always)]
    pub(crate) fn slots_from(&self, place: u16, at_most: u16) -> &[Descriptor] {
        let slots = self.slots.slots().get(usize::from(place)..).unwrap_or_default();
        slots.get(..usize::from(at_most)).unwrap_or(slots)
    }

    /// The last word of the descriptor at `place`. Places are this crate's own arithmetic, so there
    /// is one; a mark alone would be used in no lap.
    #[inline(always)]
    pub(crate) fn read_marks(&self, place: u16) -> u32 {
        self.slots.slots().get(usize::from(place)).map_or(layout::DESC_F_AVAIL, Descriptor::load::<3>)
    }

    /// Makes the descriptor at `place`, and all that were described behind it, available: `word` is
    /// what was kept back.
    ///
    /// # Ordering
    ///
    /// Descriptors written before are visible to a device that sees it.
    #[inline(always)]
    pub(crate) fn publish(&self, place: u16, word: u32) {
        barrier::release();
        if let Some(slot) = self.slots.slots().get(usize::from(place)) {
            slot.store::<3>(word);
        }
    }

    /// What the device wants to be told of.
    ///
    /// # Ordering
    ///
    /// The look happens after what was published before is visible: a device that goes to sleep
    /// either sees it or is seen asking.
    #[inline(always)]
    pub(crate) fn read_wish(&self) -> u32 {
        barrier::full();
        self.device.words().first().map_or(layout::EVENT_F_ENABLE, Word32::load)
    }

    /// Asks to be told as `wish` says.
    ///
    /// # Ordering
    ///
    /// A look at the ring after this finds what slipped in, or the device finds the wish.
    pub(crate) fn ask(&self, wish: u32) {
        self.hint(wish);
        barrier::full();
    }

    /// Asks to be told as `wish` says, sooner or later.
    pub(crate) fn hint(&self, wish: u32) {
        if let Some(word) = self.driver.words().first() {
            word.store(wish);
        }
    }

    /// Has all of it be as it was at first: nothing available, nothing used.
    pub(crate) fn clear(&self) {
        self.slots.slots().iter().for_each(|slot| slot.store::<3>(0));
        let wishes = self.driver.words().iter().chain(self.device.words());
        wishes.for_each(|word| word.store(layout::EVENT_F_ENABLE));
    }

    /// The driver's wish, as a device of a test sees it.
    #[cfg(test)]
    pub(crate) fn load_driver_wish(&self) -> u32 {
        self.driver.words()[0].load()
    }

    /// Writes the device's wish, as a device of a test does.
    #[cfg(test)]
    pub(crate) fn store_device_wish(&self, wish: u32) {
        self.device.words()[0].store(wish);
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: the memory is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        let Self { slots, driver, device } = self;
        // Each of them, whatever became of the one before.
        slots.free(quiet).is_ok() & driver.free(quiet).is_ok() & device.free(quiet).is_ok()
    }
}

/// Writes a descriptor: `len_bytes` at `addr`, and `word` with its id, flags and marks.
#[inline(always)]
pub(super) fn describe(slot: &Descriptor, addr: DmaAddr, len_bytes: u32, word: u32) {
    slot.store_pair::<0>(addr.get());
    slot.store_pair::<2>(u64::from(len_bytes) | u64::from(word) << 32);
}

/// Reads a used descriptor, if it has `marks`: id, length and marks in one access.
///
/// The length counts whether or not the descriptor says that something was written: some devices
/// leave that flag out.
///
/// # Ordering
///
/// Payload read after this is at least as new as the marks.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of a pair")]
pub(super) fn load(slot: &Descriptor, marks: u32) -> Option<UsedElement> {
    let pair = slot.load_pair::<2>();
    let word = (pair >> 32) as u32;
    if word & layout::MARKS != marks {
        return None;
    }
    barrier::acquire();
    Some(UsedElement { id: word & layout::ID, len: pair as u32 })
}

//! A split virtqueue's three areas in shared memory, and every opinion on order that this crate
//! has.
//!
//! Each word is read or written once per call, as an atomic. Nothing here remembers or checks
//! anything: what the device wrote comes out as it is, and a queue
//! holds it against what the driver knows.
//!
//! | Step | Call | Barrier, and between which accesses |
//! |---|---|---|
//! | describe | [`describe`](SplitMemory::describe), [`offer`](SplitMemory::offer) | none |
//! | publish | [`publish`](SplitMemory::publish) | *release*: descriptors and ring slots before `idx` |
//! | kick or not | [`reads_kick_owed`](SplitMemory::reads_kick_owed) | *full*: our `idx` before the device's wish. The device writes its wish, then looks at `idx`; with both sides so, one sees the other |
//! | observe | [`read_used_idx`](SplitMemory::read_used_idx) | *acquire*: `idx` before elements and payload |
//! | arm | [`ask_at`](SplitMemory::ask_at), [`ask_always`](SplitMemory::ask_always) | *full*: our wish before the look at `idx` that follows |
//!
//! Spec: VIRTIO 1.2, 2.7.13 "Supplying Buffers to The Device", 2.7.14 "Receiving Used Buffers From
//! The Device".

use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaRing, DmaWords, Quiet, Word16, Word32};

use super::{layout, notify};
use crate::ring::{DESC_WORDS, Descriptor, QueueAddresses, QueueSize, Segment, UsedElement};

/// One element of the used ring, as it lies there: id and length.
pub(crate) type Used = [Word32; 2];

/// The shared memory of one queue.
pub(crate) struct SplitMemory<D: Dma> {
    descriptors: DmaRing<DESC_WORDS, D>,
    avail: DmaWords<Word16, D>,
    used: DmaWords<Word32, D>,
    size: QueueSize,
}

impl<D: Dma> SplitMemory<D> {
    /// Allocates the areas, all zero: nothing available, nothing used.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<D>, size: QueueSize) -> Result<Self, DmaError> {
        Ok(Self {
            descriptors: DmaRing::zeroed(of, usize::from(size.entries()), layout::DESC_ALIGN)?,
            avail: DmaWords::zeroed(of, layout::avail_words(size), layout::AVAIL_ALIGN)?,
            used: DmaWords::zeroed(of, layout::used_words(size), layout::USED_ALIGN)?,
            size,
        })
    }

    /// These areas, all zero and as long as `size` has them.
    pub(super) fn over(
        descriptors: DmaRing<DESC_WORDS, D>,
        avail: DmaWords<Word16, D>,
        used: DmaWords<Word32, D>,
        size: QueueSize,
    ) -> Self {
        Self { descriptors, avail, used, size }
    }

    /// How many entries it has.
    #[must_use]
    #[inline(always)]
    pub(crate) fn size(&self) -> QueueSize {
        self.size
    }

    /// Where the device finds it. From here on the memory counts as known to the device.
    #[must_use]
    pub(crate) fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            descriptors: self.descriptors.dma_addr(),
            driver: self.avail.dma_addr(),
            device: self.used.dma_addr(),
        }
    }

    /// Writes descriptor `index`. Not yet visible to the device in any meaningful way:
    /// [`publish`](Self::publish) orders it.
    #[inline(always)]
    pub(crate) fn describe(&self, index: u16, segment: Segment, next: Option<u16>) {
        let Some(slot) = self.descriptors.slots().get(usize::from(index)) else { return };
        describe(slot, segment, next);
    }

    /// Writes descriptor `index`, which names `table`, likewise.
    #[inline(always)]
    pub(crate) fn describe_table(&self, index: u16, table: Segment) {
        let Some(slot) = self.descriptors.slots().get(usize::from(index)) else { return };
        write(slot, table, layout::DESC_F_INDIRECT);
    }

    /// The descriptors, for whoever writes many.
    #[inline(always)]
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        self.descriptors.slots()
    }

    /// The available ring from the place of number `idx` to its end, up to `at_most` places.
    #[inline(always)]
    pub(crate) fn avail_run(&self, idx: u16, at_most: u16) -> &[Word16] {
        let (start, end) = self.run(idx, at_most);
        let (start, end) = (layout::AVAIL_RING.wrapping_add(start), layout::AVAIL_RING.wrapping_add(end));
        self.avail.words().get(start..end).unwrap_or_default()
    }

    /// The used ring from the element numbered `idx` to its end, up to `at_most` elements, each two
    /// words: id and length.
    #[inline(always)]
    pub(crate) fn used_run(&self, idx: u16, at_most: u16) -> &[Used] {
        let (start, end) = self.run(idx, at_most);
        let start = layout::USED_RING.wrapping_add(start.wrapping_mul(2));
        let end = layout::USED_RING.wrapping_add(end.wrapping_mul(2));
        self.used.words().get(start..end).unwrap_or_default().as_chunks().0
    }

    /// The places from that of number `idx` on, up to `at_most` of them, to the end of the ring at
    /// most.
    #[inline(always)]
    fn run(&self, idx: u16, at_most: u16) -> (usize, usize) {
        let start = usize::from(self.size.place_of_index(idx));
        // At most two laps.
        let end = start.wrapping_add(at_most.into()).min(usize::from(self.size.entries()));
        (start, end)
    }

    /// Puts the chain headed by `head` into the available ring as number `idx`.
    /// [`publish`](Self::publish) makes it count.
    #[inline(always)]
    pub(crate) fn offer(&self, idx: u16, head: u16) {
        self.store_avail(layout::AVAIL_RING.wrapping_add(usize::from(self.size.place_of_index(idx))), head);
    }

    /// Puts the `count` chains of one from `head` on into the available ring, from number `idx` on.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "no ring is longer")]
    pub(crate) fn offer_singles(&self, idx: u16, head: u16, count: u16) {
        let (mut idx, mut head, mut count) = (idx, head, count);
        // Ends: each turn goes to the end of the ring, or is the last; there are two at most.
        while count > 0 {
            let places = self.avail_run(idx, count);
            if places.is_empty() {
                return;
            }
            for place in places {
                place.store(head);
                head = head.wrapping_add(1);
            }
            let named = places.len() as u16;
            (idx, count) = (idx.wrapping_add(named), count.wrapping_sub(named));
        }
    }

    /// Makes everything offered with a number below `idx` available.
    ///
    /// # Ordering
    ///
    /// Descriptors and ring slots written before are visible to a device that sees `idx`.
    #[inline(always)]
    pub(crate) fn publish(&self, idx: u16) {
        barrier::release();
        self.store_avail(layout::AVAIL_IDX, idx);
    }

    /// Whether the device wants to be told that the available index moved from `old` to `new`.
    ///
    /// # Ordering
    ///
    /// The look happens after the index published before is visible: a device that goes to sleep
    /// either sees the index or is seen asking.
    #[inline(always)]
    pub(crate) fn reads_kick_owed(&self, event_idx: bool, new: u16, old: u16) -> bool {
        barrier::full();
        if event_idx {
            let event = low_half(self.load_used(layout::avail_event_word(self.size)));
            notify::need_event(event, new, old)
        } else {
            self.load_used(layout::USED_HEAD) & layout::USED_F_NO_NOTIFY == 0
        }
    }

    /// Number of the next element that the device will write, it says.
    ///
    /// # Ordering
    ///
    /// Elements and payload read after this are at least as new as the index.
    #[inline(always)]
    pub(crate) fn read_used_idx(&self) -> u16 {
        let idx = high_half(self.load_used(layout::USED_HEAD));
        barrier::acquire();
        idx
    }

    /// Element number `idx` of the used ring.
    #[inline(always)]
    pub(crate) fn read_used(&self, idx: u16) -> UsedElement {
        let word = layout::USED_RING.wrapping_add(usize::from(self.size.place_of_index(idx)).wrapping_mul(2));
        UsedElement { id: self.load_used(word), len: self.load_used(word.wrapping_add(1)) }
    }

    /// Asks for an interrupt when the used index steps over `event`. With `EVENT_IDX`.
    ///
    /// # Ordering
    ///
    /// A look at the used index after this finds what slipped in, or the device finds the wish.
    pub(crate) fn ask_at(&self, event: u16) {
        self.store_avail(layout::used_event_word(self.size), event);
        barrier::full();
    }

    /// Asks for an interrupt at every used buffer. Without `EVENT_IDX`.
    ///
    /// # Ordering
    ///
    /// As [`ask_at`](Self::ask_at).
    pub(crate) fn ask_always(&self) {
        self.store_avail(layout::AVAIL_FLAGS, 0);
        barrier::full();
    }

    /// Asks for no interrupts within the next lap of `used_idx`. With `EVENT_IDX`. A hint, so it
    /// needs no order.
    pub(crate) fn ask_not_before_lap(&self, used_idx: u16) {
        self.store_avail(layout::used_event_word(self.size), notify::never(used_idx));
    }

    /// Asks for no interrupts. Without `EVENT_IDX`. A hint, so it needs no order.
    pub(crate) fn ask_never(&self) {
        self.store_avail(layout::AVAIL_FLAGS, layout::AVAIL_F_NO_INTERRUPT);
    }

    /// Has all areas be as they were at first: nothing available, nothing used.
    pub(crate) fn clear(&self) {
        self.avail.words().iter().for_each(|word| word.store(0));
        self.used.words().iter().for_each(|word| word.store(0));
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: the memory is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        let Self { descriptors, avail, used, .. } = self;
        // Each of them, whatever became of the one before.
        descriptors.free(quiet).is_ok() & avail.free(quiet).is_ok() & used.free(quiet).is_ok()
    }

    /// A word of the available ring, as a device of a test sees it.
    #[cfg(test)]
    pub(crate) fn load_avail(&self, word: usize) -> u16 {
        self.avail.words()[word].load()
    }

    /// Writes a word of the used ring, as a device of a test does.
    #[cfg(test)]
    pub(crate) fn store_used(&self, word: usize, value: u32) {
        self.used.words()[word].store(value);
    }

    #[inline(always)]
    fn store_avail(&self, word: usize, value: u16) {
        if let Some(place) = self.avail.words().get(word) {
            place.store(value);
        }
    }

    /// Reads a word of the used ring. Words are named by this crate's own arithmetic, so there is
    /// none outside; all ones would make a broken index, which the queue notices.
    #[inline(always)]
    fn load_used(&self, word: usize) -> u32 {
        self.used.words().get(word).map_or(u32::MAX, Word32::load)
    }
}

/// Reads an element of the used ring, each word once.
#[inline(always)]
pub(crate) fn load([id, len]: &Used) -> UsedElement {
    UsedElement { id: id.load(), len: len.load() }
}

/// Writes a descriptor.
#[inline(always)]
pub(crate) fn describe(slot: &Descriptor, segment: Segment, next: Option<u16>) {
    let way = if segment.writable { layout::DESC_F_WRITE } else { 0 };
    let link = match next {
        Some(next) => layout::DESC_F_NEXT | u32::from(next) << 16,
        None => 0,
    };
    write(slot, segment, way | link);
}

/// Writes a descriptor with that as its last word: flags and the link.
#[inline(always)]
fn write(slot: &Descriptor, segment: Segment, word: u32) {
    slot.store_pair::<0>(segment.addr.get());
    slot.store_pair::<2>(u64::from(segment.len_bytes) | u64::from(word) << 32);
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the half is the point")]
const fn low_half(word: u32) -> u16 {
    word as u16
}

#[inline(always)]
const fn high_half(word: u32) -> u16 {
    low_half(word >> 16)
}

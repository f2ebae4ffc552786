//! One receive command ring: its slots, the buffers posted in them, and where driver and device
//! stand.
//!
//! ```text
//!     turn             fill         turn + entries
//!     |  the device's  |  the driver's  |
//! ```
//!
//! The device completes slots in order, or passes over them. So the buffers that it has are one
//! row, from which they leave in front and which they join at the back, and nothing is paired with
//! the wrong slot however the device skips: a buffer that was passed over leaves its slot, for
//! another.

use core::fmt;

use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaRing, Quiet, Words};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Lent;
use paravane_net::{Burst, Frame, FrameSegment};

use crate::desc::{BufferKind, RxDesc};
use crate::ring::{Cursor, rare};

pub(crate) struct RxRing<D: Dma> {
    ring: DmaRing<4, D>,
    /// The buffers of the slots that the device has, in their order.
    lent: Lent<Burst>,
    desc: RxDesc,
    /// How many slots the device may have: all but one, or none.
    most: u32,
    /// The next slot to hand over.
    fill: Cursor,
    /// Handed over since the device was last told, whether it wanted to be or not.
    unannounced: u32,
    /// The pool ran dry since the device was last told, so it may be waiting for just what comes
    /// next.
    starved: bool,
}

impl<D: Dma> RxRing<D> {
    /// A ring of `HEAD` buffers.
    pub(crate) fn heads(of: &DeviceDma<D>, entries: u16, buffer_bytes: u32) -> Result<Self, DmaError> {
        Self::new(of, entries, RxDesc { len_bytes: buffer_bytes, kind: BufferKind::Head }, true)
    }

    /// A ring of `BODY` buffers, or of none.
    pub(crate) fn bodies(
        of: &DeviceDma<D>,
        entries: u16,
        buffer_bytes: u32,
        in_use: bool,
    ) -> Result<Self, DmaError> {
        Self::new(of, entries, RxDesc { len_bytes: buffer_bytes, kind: BufferKind::Body }, in_use)
    }

    fn new(of: &DeviceDma<D>, entries: u16, desc: RxDesc, in_use: bool) -> Result<Self, DmaError> {
        Ok(Self {
            ring: DmaRing::zeroed(of, entries.into(), Align::new(512))?,
            lent: Lent::new(Burst::new(), of.device()),
            desc,
            most: if in_use { u32::from(entries).saturating_sub(1) } else { 0 },
            fill: Cursor::start(entries),
            unannounced: 0,
            starved: false,
        })
    }

    pub(crate) fn dma_addr(&self) -> u64 {
        self.ring.dma_addr().get()
    }

    /// How many slots the device has.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than a ring has")]
    pub(crate) fn handed_over(&self) -> u32 {
        self.lent.len() as u32
    }

    /// How many more slots the device could have.
    #[inline(always)]
    pub(crate) fn missing(&self) -> u32 {
        self.most.wrapping_sub(self.handed_over())
    }

    /// The slot whose turn it is: the next one that the device completes or passes over.
    #[inline(always)]
    pub(crate) fn turn(&self) -> u32 {
        self.fill.back(self.handed_over()).index()
    }

    /// Takes the slot at `index` back, whose buffer is the one in front then, and all slots before
    /// it, which the device passed over: their buffers join `stock`. How many those were.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: the device does not have that slot, or completed it before.
    #[inline(always)]
    pub(crate) fn consume(&mut self, index: u32, stock: &mut Burst) -> Result<u32, DeviceFault> {
        let passed_over = self.fill.back(self.handed_over()).steps_to(index);
        if passed_over >= self.handed_over() {
            return Err(DeviceFault::NotInFlight { index });
        }
        if passed_over > 0 {
            rare();
            stock.append(self.lent.take_front(passed_over as usize));
        }
        Ok(passed_over)
    }

    /// Takes the buffer of the slot that was consumed.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<Frame> {
        self.lent.pop()
    }

    /// Has the buffer of the slot that was consumed join `stock`.
    pub(crate) fn put_back(&mut self, stock: &mut Burst) {
        stock.append(self.lent.take_front(1));
    }

    /// Takes slots back that are all in turn, up to the last one on this lap, each as one of
    /// `items` says: `by` gets its buffer and the item, and gives back what joins `to`. How many,
    /// which ends with the first that `by` gives back as an error.
    #[inline(always)]
    pub(crate) fn take_in_turn<T>(
        &mut self,
        to: &mut Burst,
        items: &[T],
        mut by: impl FnMut(Frame, &T) -> Result<Frame, Frame>,
    ) -> usize {
        let on_this_lap = self.fill.entries().wrapping_sub(self.turn()) as usize;
        let items = items.get(..on_this_lap).unwrap_or(items);
        self.lent.walk_with(to, items, |frame, item| by(frame, item).map(Some))
    }

    /// Hands a slot to the device for each buffer in `stock`, as long as there are any. Returns how
    /// many.
    #[inline]
    pub(crate) fn hand_over(&mut self, stock: &mut Burst) -> u32 {
        let missing = self.missing();
        let mut left = missing;
        // Twice at most: to the end of this lap, and into the next.
        while left > 0 && !stock.is_empty() {
            let (start, word2) = (self.fill.slot(), self.desc.word2(self.fill.generation()));
            let slots = self.ring.slots().get(start..).unwrap_or_default();
            let slots = slots.get(..left as usize).unwrap_or(slots);
            let count = stock.look_with(slots, |fresh, words| {
                // The slot is the driver's until its generation changes.
                words.store_pair::<0>(FrameSegment::from(fresh).fresh_dma_addr_before(0).get());
                true
            });
            self.lent.append(stock.take_front(count));
            give(slots.get(..count).unwrap_or_default(), word2);
            #[expect(clippy::cast_possible_truncation, reason = "a run is shorter than a ring")]
            let count = count as u32;
            self.fill.advance(count);
            left = left.wrapping_sub(count);
        }
        self.starved |= left > 0;
        let count = missing.wrapping_sub(left);
        self.unannounced = self.unannounced.saturating_add(count);
        count
    }

    /// Whether it is time to tell a device that wants to be told: `threshold` slots were handed
    /// over, or any after the pool had run dry.
    #[inline(always)]
    pub(crate) fn owes_announcement(&self, threshold: u32) -> bool {
        // No more than an eighth of a short ring is kept to ourselves.
        let threshold = threshold.min(self.fill.entries() / 8);
        self.unannounced >= threshold || (self.starved && self.unannounced > 0)
    }

    /// What to write to the doorbell: where the driver stands.
    pub(crate) fn announce(&mut self) -> u32 {
        self.unannounced = 0;
        self.starved = false;
        self.fill.index()
    }

    /// Gives memory and buffers back, against proof. False when some had to be leaked.
    #[must_use = "false means a leak"]
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { ring, lent, .. } = self;
        let freed = [ring.free(quiet).is_ok(), lent.reclaim(quiet).is_ok()];
        freed == [true; 2]
    }
}

/// Gives slots to the device, which have buffers.
#[inline(always)]
fn give(slots: &[Words<4>], word2: u32) {
    // Between where the buffers are, and the words that hand them over. The other party is the
    // device.
    barrier::release();
    for words in slots {
        words.store::<2>(word2);
    }
}

impl<D: Dma> fmt::Debug for RxRing<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} from {}", self.handed_over(), self.fill.entries(), self.turn())
    }
}

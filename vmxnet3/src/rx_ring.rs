//! One receive command ring: its slots, the buffers posted in them, and where driver and device stand.
//!
//! ```text
//!   clean            fill        clean + entries
//!     |  the device's  |  the driver's  |
//! ```
//!
//! Buffers stay with their slots: a completed one is exchanged for a fresh one on the spot, a slot passed over keeps what it has. So handing slots
//! back is one store each, in order, and nothing is paired with the wrong buffer however the device skips.

use core::fmt;

use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaRing, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;
use paravane_net::{Frame, FramePool};

use crate::desc::{BufferKind, RxDesc};
use crate::ring::Cursor;

pub(crate) struct RxRing<D: Dma> {
    ring: DmaRing<4, D>,
    /// Every slot's buffer, the driver's slots included.
    posted: Posted<Frame>,
    desc: RxDesc,
    entries: u16,
    /// Whether it is to be filled at all.
    in_use: bool,
    /// The next slot to hand over.
    fill: Cursor,
    /// The next slot that the device completes or passes over.
    clean: Cursor,
    /// Handed over since the device was last told, whether it wanted to be or not.
    unannounced: u16,
    /// The pool ran dry since the device was last told, so it may be waiting for just what comes next.
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
            posted: Posted::new(entries.into(), of.device())?,
            desc,
            entries,
            in_use,
            fill: Cursor::start(entries),
            clean: Cursor::start(entries),
            unannounced: 0,
            starved: false,
        })
    }

    pub(crate) fn dma_addr(&self) -> u64 {
        self.ring.dma_addr().get()
    }

    /// Whether it is to be filled at all.
    #[inline(always)]
    pub(crate) const fn is_in_use(&self) -> bool {
        self.in_use
    }

    /// How many slots the device has.
    #[inline(always)]
    fn handed_over(&self) -> u16 {
        self.clean.steps_to(self.fill.index())
    }

    /// How many more slots the device could have: all but one.
    #[inline(always)]
    pub(crate) fn missing(&self) -> u16 {
        if self.in_use { self.entries.wrapping_sub(1).wrapping_sub(self.handed_over()) } else { 0 }
    }

    /// Takes the slot at `index` back, and with it all slots before it, which the device passed over. How many those were.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: the device does not have that slot, or completed it before.
    #[inline(always)]
    pub(crate) fn consume(&mut self, index: u16) -> Result<u16, DeviceFault> {
        let passed_over = self.clean.steps_to(index);
        if passed_over >= self.handed_over() {
            return Err(DeviceFault::NotInFlight { index: index.into() });
        }
        self.clean = self.clean.advanced(passed_over.wrapping_add(1));
        Ok(passed_over)
    }

    /// Puts `fresh` into a slot that was just consumed; what was there, with what the device wrote.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: there was nothing, which [`consume`](Self::consume) rules out.
    #[inline(always)]
    pub(crate) fn exchange(&mut self, index: u16, fresh: Frame) -> Result<Frame, DeviceFault> {
        let slot = usize::from(index);
        self.describe(slot, &fresh);
        self.posted.replace(slot, fresh).map_err(|_| DeviceFault::NotInFlight { index: index.into() })
    }

    /// Writes where a slot's buffer is. The slot is the driver's until its generation changes.
    #[inline(always)]
    fn describe(&self, slot: usize, frame: &Frame) {
        if let Some(words) = self.ring.slots().get(slot) {
            let addr = frame.dma_addr();
            words.store::<0>(addr.low());
            words.store::<1>(addr.high());
        }
    }

    /// Hands every slot to the device that has a buffer or can get one, all but one. Returns how many.
    #[inline]
    pub(crate) fn hand_over(&mut self, pool: &FramePool) -> u16 {
        let mut count = self.missing();
        if self.posted.posted() < usize::from(self.entries) {
            count = self.find_buffers(count, pool);
        }
        if count == 0 {
            return 0;
        }
        // Between where the buffers are, and the words that hand them over. The other party is the device.
        barrier::release();
        let slots = self.ring.slots();
        for _ in 0..count {
            if let Some(words) = slots.get(self.fill.slot()) {
                words.store::<2>(self.desc.word2(self.fill.generation()));
            }
            self.fill = self.fill.next();
        }
        self.unannounced = self.unannounced.saturating_add(count);
        count
    }

    /// Sees to it that each of the next `count` slots has a buffer; how many have.
    #[inline(never)]
    fn find_buffers(&mut self, count: u16, pool: &FramePool) -> u16 {
        let mut at = self.fill;
        for found in 0..count {
            if !self.posted.holds(at.slot()) {
                let Some(frame) = pool.get() else {
                    self.starved = true;
                    return found;
                };
                self.describe(at.slot(), &frame);
                if self.posted.put(at.slot(), frame).is_err() {
                    return found;
                }
            }
            at = at.next();
        }
        count
    }

    /// Whether it is time to tell a device that wants to be told: `threshold` slots were handed over, or any after the pool had run dry.
    #[inline(always)]
    pub(crate) fn owes_announcement(&self, threshold: u16) -> bool {
        self.unannounced >= threshold || (self.starved && self.unannounced > 0)
    }

    /// What to write to the doorbell: where the driver stands.
    pub(crate) fn announce(&mut self) -> u32 {
        self.unannounced = 0;
        self.starved = false;
        self.fill.index().into()
    }

    /// Gives memory and buffers back, against proof. False when some had to be leaked.
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { ring, posted, .. } = self;
        let freed = [ring.free(quiet).is_ok(), posted.reclaim(quiet).is_ok()];
        freed == [true; 2]
    }
}

impl<D: Dma> fmt::Debug for RxRing<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} from {}", self.handed_over(), self.entries, self.clean.index())
    }
}

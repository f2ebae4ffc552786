//! One receive command ring: its slots, the buffers posted in them, and where driver and device
//! stand.
//!
//! ```text
//!   clean            fill        clean + entries
//!     |  the device's  |  the driver's  |
//! ```
//!
//! Buffers stay with their slots: a completed one is exchanged for a fresh one on the spot, a slot
//! passed over keeps what it has. So handing slots back is one store each, in order, and nothing is
//! paired with the wrong buffer however the device skips. Only while slots without a buffer are
//! left, of which there is one at the start and more where the pool was short, do buffers move:
//! from the driver's last slots into its first bare ones, so that the device has every buffer that
//! there is.

use core::fmt;

use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::barrier;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaRing, Quiet, Words};
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
    /// How many slots have a buffer. In the end all have.
    filled: u32,
    /// Whether it is to be filled at all.
    in_use: bool,
    /// The next slot to hand over.
    fill: Cursor,
    /// The next slot that the device completes or passes over.
    clean: Cursor,
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
            posted: Posted::new(entries.into(), of.device())?,
            desc,
            filled: 0,
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
    fn handed_over(&self) -> u32 {
        self.clean.steps_to(self.fill.index())
    }

    /// How many more slots the device could have: all but one.
    #[inline(always)]
    pub(crate) fn missing(&self) -> u32 {
        if self.in_use { self.fill.entries().wrapping_sub(1).wrapping_sub(self.handed_over()) } else { 0 }
    }

    /// Takes the slot at `index` back, and with it all slots before it, which the device passed
    /// over. How many those were.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: the device does not have that slot, or completed it before.
    pub(crate) fn consume(&mut self, index: u32) -> Result<u32, DeviceFault> {
        let passed_over = self.clean.steps_to(index);
        if passed_over >= self.handed_over() {
            return Err(DeviceFault::NotInFlight { index });
        }
        self.clean = self.clean.advanced(passed_over.wrapping_add(1));
        Ok(passed_over)
    }

    /// The slot whose turn it is.
    pub(crate) fn turn(&self) -> u32 {
        self.clean.index()
    }

    /// The index of the slot whose turn it is, and all slots' words and buffers up to the last one
    /// that the device has on this lap.
    #[inline(always)]
    pub(crate) fn in_turn(&mut self) -> (u32, &[Words<4>], &mut [Option<Frame>]) {
        let (start, entries) = (self.clean.slot(), self.clean.entries() as usize);
        let end = start.wrapping_add(self.handed_over() as usize).min(entries);
        let words = self.ring.slots().get(..end).unwrap_or_default();
        let buffers = self.posted.slots_mut().get_mut(..end).unwrap_or_default();
        (self.clean.index(), words, buffers)
    }

    /// Takes the next `slots` back, which were all in turn.
    #[inline(always)]
    pub(crate) fn consume_in_turn(&mut self, slots: u32) {
        self.clean = self.clean.advanced(slots);
    }

    /// Puts `fresh` into a slot that was just consumed; what was there, with what the device wrote.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NotInFlight`]: there was nothing, which [`consume`](Self::consume) rules out.
    pub(crate) fn exchange(&mut self, index: u32, fresh: Frame) -> Result<Frame, DeviceFault> {
        let slot = index as usize;
        self.describe(slot, &fresh);
        self.posted.replace(slot, fresh).map_err(|_| DeviceFault::NotInFlight { index })
    }

    /// Writes where a slot's buffer is. The slot is the driver's until its generation changes.
    fn describe(&self, slot: usize, frame: &Frame) {
        if let Some(words) = self.ring.slots().get(slot) {
            store_addr(words, frame.dma_addr());
        }
    }

    /// Hands every slot to the device that has a buffer or can get one, all but one. Returns how
    /// many.
    #[inline]
    pub(crate) fn hand_over(&mut self, pool: &FramePool) -> u32 {
        let mut count = self.missing();
        if self.filled < self.fill.entries() {
            count = self.find_buffers(count, pool);
        }
        if count == 0 {
            return 0;
        }
        // Between where the buffers are, and the words that hand them over. The other party is the
        // device.
        barrier::release();
        let mut left = count;
        // Twice at most: to the end of this lap, and into the next.
        while left > 0 {
            let run = left.min(self.fill.entries().wrapping_sub(self.fill.index()));
            let end = self.fill.slot().wrapping_add(run as usize);
            let word2 = self.desc.word2(self.fill.generation());
            for words in self.ring.slots().get(self.fill.slot()..end).unwrap_or_default() {
                words.store::<2>(word2);
            }
            self.fill = self.fill.advanced(run);
            left = left.wrapping_sub(run);
        }
        self.unannounced = self.unannounced.saturating_add(count);
        count
    }

    /// Sees to it that each of the next `count` slots has a buffer, a fresh one or one of the
    /// driver's last slots; how many have.
    #[inline(never)]
    fn find_buffers(&mut self, count: u32, pool: &FramePool) -> u32 {
        let mut supply = pool.take(self.fill.entries().wrapping_sub(self.filled).min(count) as usize);
        // The driver has the slots from `fill` on: `count` to be handed over, and the one that
        // stays.
        let mut spare = count;
        for found in 0..count {
            let slot = self.fill.advanced(found).slot();
            if self.posted.holds(slot) {
                continue;
            }
            let frame = match supply.next() {
                Some(fresh) => {
                    self.filled = self.filled.wrapping_add(1);
                    fresh
                }
                None => match self.take_spare(found, &mut spare) {
                    Some(moved) => moved,
                    None => {
                        self.starved = true;
                        return found;
                    }
                },
            };
            self.describe(slot, &frame);
            if self.posted.put(slot, frame).is_err() {
                return found;
            }
        }
        count
    }

    /// Takes the last buffer from among the driver's slots, seen from `fill`, at `spare` or before
    /// it, and after `bare`.
    fn take_spare(&mut self, bare: u32, spare: &mut u32) -> Option<Frame> {
        while *spare > bare {
            let slot = self.fill.advanced(*spare).slot();
            *spare = spare.wrapping_sub(1);
            if let Some(frame) = self.posted.take(slot) {
                return Some(frame);
            }
        }
        None
    }

    /// Whether it is time to tell a device that wants to be told: `threshold` slots were handed
    /// over, or any after the pool had run dry.
    #[inline(always)]
    pub(crate) fn owes_announcement(&self, threshold: u32) -> bool {
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
        let Self { ring, posted, .. } = self;
        let freed = [ring.free(quiet).is_ok(), posted.reclaim(quiet).is_ok()];
        freed == [true; 2]
    }
}

/// Writes where a buffer is into a slot that is the driver's.
#[inline(always)]
pub(crate) fn store_addr(words: &Words<4>, addr: DmaAddr) {
    words.store_pair::<0>(addr.get());
}

impl<D: Dma> fmt::Debug for RxRing<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} from {}", self.handed_over(), self.fill.entries(), self.clean.index())
    }
}

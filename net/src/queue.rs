//! The two halves of a data path: what a stack calls, what a driver implements.
//!
//! Each queue is `Send` and belongs to one core at a time; there is no lock. Nothing here
//! allocates, logs or waits. The traits are object-safe, and one dynamic call moves a whole burst.
//!
//! # The rhythm
//!
//! ```text
//! loop {
//!     rx.receive(&mut burst)      take what came
//!     tx.transmit(&mut burst)     give what goes; one doorbell
//!     tx.reclaim()                sent frames go home
//!     if nothing moved {
//!         if rx.arm()? == Pending { continue }    ask for an interrupt, look once more
//!         sleep
//!     }
//! }
//! ```

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::recover::Progress;

use crate::burst::Burst;

/// Receives frames.
pub trait RxQueue: Send {
    /// Adds received frames to the back of `burst` until it is full or nothing more is there, and
    /// gives the device fresh buffers for them. Returns how many.
    ///
    /// The replacement is taken from the pool first: without one, the new frame is dropped, counted
    /// as [`no_buffer`](RxCounters::no_buffer), and its buffer goes back to the device, so the ring
    /// never starves. A driver may let a few slots wait for theirs, at most an eighth of the ring,
    /// to hand them over together; [`arm`](Self::arm) and [`refill`](Self::refill) hand over all.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device broke the rules. What was received before stays in `burst`; the
    /// queue is broken and answers the same until its device was stopped and started.
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault>;

    /// Gives the device buffers for empty slots, as far as the pool has any. Returns how many slots
    /// are still empty.
    ///
    /// Needed only after the pool ran dry; [`receive`](Self::receive) does it too.
    fn refill(&mut self) -> usize;

    /// Asks for an interrupt at the next frame, then looks once more.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    fn arm(&mut self) -> Result<Armed, DeviceFault>;

    /// Asks for no interrupts. A hint: one may still come.
    fn disarm(&mut self);

    /// What happened since the queue was made.
    fn counters(&self) -> RxCounters;
}

/// Sends frames.
pub trait TxQueue: Send {
    /// Takes frames from the front of `burst` until it is empty or the ring is full, and tells the
    /// device once. Returns how many it took.
    ///
    /// A frame that the device could not send (no payload, too long, too many segments, an offload
    /// that was not agreed) is dropped and counted as [`refused`](TxCounters::refused); it counts
    /// as taken. A checksum is no such offload: where the device does not complete it, the queue
    /// does.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken. Frames not taken stay in `burst`.
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault>;

    /// Drops the frames that the device has sent, so that they go back to their pools. Returns how
    /// many.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device broke the rules; the queue is broken.
    fn reclaim(&mut self) -> Result<usize, DeviceFault>;

    /// Tells the device about everything not yet told, also where it asked to be told less often.
    /// For latency-critical callers; a no-op on most devices.
    fn flush(&mut self);

    /// Tells the device about everything in flight once more, whatever it was told before. It costs
    /// an exit to the hypervisor, and is the first remedy when frames do not come back though the
    /// link is up: a doorbell may have been lost. The next one is a stop and a start.
    fn remind(&mut self);

    /// How many single-buffer frames fit now.
    fn room(&self) -> usize;

    /// Asks for an interrupt when frames have been sent, then looks once more.
    ///
    /// # Errors
    ///
    /// As [`reclaim`](Self::reclaim).
    fn arm(&mut self) -> Result<Armed, DeviceFault>;

    /// Asks for no interrupts. A hint: one may still come.
    fn disarm(&mut self);

    /// What happened since the queue was made.
    fn counters(&self) -> TxCounters;
}

/// What a receive queue counted. Each dropped frame is counted once, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Frames handed up.
    pub frames: u64,
    /// Bytes handed up, Ethernet header in, FCS out.
    pub bytes: u64,
    /// Doorbells rung for fresh buffers.
    pub doorbells: u64,
    /// Dropped: no fresh buffer to take its place.
    pub no_buffer: u64,
    /// Dropped: the device marked it as damaged.
    pub errors: u64,
    /// Dropped: it did not fit what the device may send here (too long, too many pieces).
    pub oversized: u64,
    /// Dropped: the device reported its pieces in no order that makes a frame.
    pub disordered: u64,
    /// Buffers that the device passed over or returned empty.
    pub skipped: u64,
}

impl RxCounters {
    /// Frames that arrived and were not handed up.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        let refused = self.errors.saturating_add(self.oversized).saturating_add(self.disordered);
        self.no_buffer.saturating_add(refused)
    }
}

/// What a transmit queue counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Frames given to the device.
    pub frames: u64,
    /// Bytes given to the device.
    pub bytes: u64,
    /// Frames that came back as sent, or when their queue was reset.
    pub completed: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Doorbells saved because the device said that it looks anyway.
    pub doorbells_saved: u64,
    /// Dropped: not something the device can send.
    pub refused: u64,
    /// Times that the ring was full.
    pub ring_full: u64,
}

impl core::ops::Add for RxCounters {
    type Output = Self;

    /// Both together, for queues that follow one another.
    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
            doorbells: self.doorbells.saturating_add(other.doorbells),
            no_buffer: self.no_buffer.saturating_add(other.no_buffer),
            errors: self.errors.saturating_add(other.errors),
            oversized: self.oversized.saturating_add(other.oversized),
            disordered: self.disordered.saturating_add(other.disordered),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }
}

impl From<TxCounters> for Progress {
    fn from(counters: TxCounters) -> Self {
        let outstanding = counters.frames.saturating_sub(counters.completed);
        let outstanding = usize::try_from(outstanding).unwrap_or(usize::MAX);
        Self { outstanding, completed: counters.completed }
    }
}

impl core::ops::Add for TxCounters {
    type Output = Self;

    /// Both together, for queues that follow one another.
    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
            completed: self.completed.saturating_add(other.completed),
            doorbells: self.doorbells.saturating_add(other.doorbells),
            doorbells_saved: self.doorbells_saved.saturating_add(other.doorbells_saved),
            refused: self.refused.saturating_add(other.refused),
            ring_full: self.ring_full.saturating_add(other.ring_full),
        }
    }
}

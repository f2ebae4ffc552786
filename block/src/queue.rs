//! The data path: what a file system calls, what a driver implements.
//!
//! A queue is `Send` and belongs to one core at a time; there is no lock. Nothing here allocates,
//! logs or waits. The trait is object-safe.
//!
//! # The rhythm
//!
//! ```text
//! loop {
//!     queue.submit(request)       as many as there are
//!     queue.publish()             one doorbell
//!     queue.poll()                what is done, in any order
//!     if nothing moved {
//!         if queue.arm()? == Pending { continue }     ask for an interrupt, look once more
//!         sleep
//!     }
//! }
//! ```

use alloc::boxed::Box;

use paravane_hal::Failed;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::recover::Progress;

use crate::data::Data;
use crate::disk::DiskInfo;
use crate::request::{Completion, Request, SubmitError};

/// Takes requests and gives completions, many at once.
pub trait RequestQueue<B: Data>: Send {
    /// What the disk is. No I/O.
    fn info(&self) -> &DiskInfo;

    /// How many sectors of 512 bytes the disk has, as of the last look that its control half took.
    /// No I/O.
    fn capacity_sectors(&self) -> u64;

    /// Takes `request`, whatever its length: it is cut to what the device takes. The device is not
    /// told yet: [`publish`](Self::publish) does, and so do [`poll`](Self::poll) and
    /// [`arm`](Self::arm).
    ///
    /// Requests are done in any order, also those that overlap. Who needs an order waits for the
    /// completion. So a flush is about what was completed, on whichever queue of the disk, when it
    /// was submitted.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], and the request back.
    fn submit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>>;

    /// Tells the device about what was submitted: one doorbell, or none when it looks anyway.
    fn publish(&mut self);

    /// Takes the next completion; `None` when none is there. A request that failed is a completion
    /// like any other.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device broke the rules. The queue is broken and answers the same until
    /// its device was stopped and started; the stop gives back what is in flight.
    fn poll(&mut self) -> Result<Option<Completion<B>>, DeviceFault>;

    /// Tells the device about everything in flight once more, whatever it was told before. It costs
    /// an exit to the hypervisor, and is the first remedy when nothing comes back: a doorbell may
    /// have been lost. The next one is a stop and a start.
    fn remind(&mut self);

    /// How many requests of one segment fit now.
    fn room(&self) -> usize;

    /// How many requests are on their way, completions not yet taken included.
    fn in_flight(&self) -> usize;

    /// Asks for an interrupt at the next completion, then looks once more.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    fn arm(&mut self) -> Result<Armed, DeviceFault>;

    /// Asks for no interrupts. A hint: one may still come.
    fn disarm(&mut self);

    /// What happened since the queue was made.
    fn counters(&self) -> QueueCounters;
}

macro_rules! forward {
    ($through:ty) => {
        impl<B: Data, Q: RequestQueue<B> + ?Sized> RequestQueue<B> for $through {
            fn info(&self) -> &DiskInfo {
                (**self).info()
            }
            fn capacity_sectors(&self) -> u64 {
                (**self).capacity_sectors()
            }
            fn submit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
                (**self).submit(request)
            }
            fn publish(&mut self) {
                (**self).publish();
            }
            fn poll(&mut self) -> Result<Option<Completion<B>>, DeviceFault> {
                (**self).poll()
            }
            fn remind(&mut self) {
                (**self).remind();
            }
            fn room(&self) -> usize {
                (**self).room()
            }
            fn in_flight(&self) -> usize {
                (**self).in_flight()
            }
            fn arm(&mut self) -> Result<Armed, DeviceFault> {
                (**self).arm()
            }
            fn disarm(&mut self) {
                (**self).disarm();
            }
            fn counters(&self) -> QueueCounters {
                (**self).counters()
            }
        }
    };
}
forward!(&mut Q);
forward!(Box<Q>);

/// What a queue counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Requests taken.
    pub requests: u64,
    /// Bytes to be read or written by them.
    pub bytes: u64,
    /// What the device was given for them; more than requests, where some had to be cut.
    pub parts: u64,
    /// Requests that were done.
    pub completed: u64,
    /// Requests that the device failed, or gave up when their queue was reset.
    pub failed: u64,
    /// Requests given back as they were: nothing that the device can do.
    pub refused: u64,
    /// Requests given back because the queue was full.
    pub full: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Doorbells saved because the device said that it looks anyway.
    pub doorbells_saved: u64,
}

impl From<QueueCounters> for Progress {
    fn from(counters: QueueCounters) -> Self {
        let completed = counters.completed.saturating_add(counters.failed);
        let outstanding = counters.requests.saturating_sub(completed);
        Self { outstanding: usize::try_from(outstanding).unwrap_or(usize::MAX), completed }
    }
}

impl core::ops::Add for QueueCounters {
    type Output = Self;

    /// Both together, for queues that follow one another.
    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bytes: self.bytes.saturating_add(other.bytes),
            parts: self.parts.saturating_add(other.parts),
            completed: self.completed.saturating_add(other.completed),
            failed: self.failed.saturating_add(other.failed),
            refused: self.refused.saturating_add(other.refused),
            full: self.full.saturating_add(other.full),
            doorbells: self.doorbells.saturating_add(other.doorbells),
            doorbells_saved: self.doorbells_saved.saturating_add(other.doorbells_saved),
        }
    }
}

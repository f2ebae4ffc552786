//! The life of a disk, the same with every driver.
//!
//! ```text
//!  (bus) --open--> Device --start--> Running { control, queue, more_queues }
//!                  Device <--stop---
//! ```
//!
//! How a device is opened depends on where it sits, so each driver has its own way; from there on a
//! program is written once for all of them. Every step gives back what it was given when it fails.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::Quiet;
use paravane_hal::irq::Interrupts;

use crate::control::Control;
use crate::data::Data;
use crate::queue::RequestQueue;
use crate::request::Request;

/// How a disk is to run, as far as every driver knows it. What is a driver's own keeps its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Slots of each queue: a power of two. A request takes some of them.
    pub entries: u16,
    /// Queues, for as many cores: at most so many are started, at least one.
    pub queues: u16,
}

impl Default for Config {
    /// One queue of 256 slots: dozens of requests at a time.
    fn default() -> Self {
        Self { entries: 256, queues: 1 }
    }
}

impl Config {
    /// With so many slots in each queue.
    #[must_use]
    pub const fn with_entries(mut self, entries: u16) -> Self {
        self.entries = entries;
        self
    }

    /// With up to so many queues.
    #[must_use]
    pub const fn with_queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }
}

/// A disk that its driver has taken over and that does not run: it reaches no memory and raises no
/// interrupt.
pub trait Device: Sized {
    /// The control half of one that runs.
    type Control: Control;
    /// A queue of it, of requests that carry `B`.
    type Queue<B: Data>: RequestQueue<B>;
    /// How it is to run: what every driver knows, and what is this driver's own.
    type Config: From<Config>;
    /// Why it was not started.
    type StartError: Error + Send + Sync + 'static;
    /// Why it was not stopped.
    type StopError: Error + Send + Sync + 'static;

    /// Starts it; its requests carry `B`.
    ///
    /// Queues and control start disarmed: nothing interrupts before one of them was armed. It
    /// interrupts in the best way of `interrupts` that works, and where none does the program
    /// looks; which one it is, [`Control::interrupts`] says.
    ///
    /// # Errors
    ///
    /// The driver's reason, and the device back, to be started in another way.
    fn start<B: Data>(
        self,
        config: &Self::Config,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<Self, B>, Failed<Self::StartError, Self>>;

    /// Stops it. All memory is free again afterwards; requests that the device had not done, and
    /// may have done half, are given to `unfinished`, with the proof that it has let go of them. A
    /// broken one is healed by that: it can be started again, any number of times.
    ///
    /// # Errors
    ///
    /// The driver's reason, and all parts back. Nothing was freed, and stopping may be tried again;
    /// parts that are dropped are leaked, which is safe.
    fn stop<B: Data>(
        running: Running<Self, B>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Self, Failed<Self::StopError, Running<Self, B>>>;
}

/// A disk that runs, in parts that may go to different cores. Its requests carry `B`.
pub struct Running<D: Device, B: Data> {
    /// Capacity and events.
    pub control: D::Control,
    /// Requests.
    pub queue: D::Queue<B>,
    /// The queues besides, where more than one was asked for and is there. A request may go to any.
    pub more_queues: Vec<D::Queue<B>>,
}

impl<D: Device, B: Data> Running<D, B> {
    /// Stops it.
    ///
    /// # Errors
    ///
    /// As [`Device::stop`].
    pub fn stop(
        self,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<D, Failed<D::StopError, Self>> {
        D::stop(self, unfinished)
    }
}

impl<D: Device, B: Data> fmt::Debug for Running<D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (driver, sectors) = (self.control.info().driver, self.control.capacity_sectors());
        write!(f, "Running({driver}, {sectors} sectors, {})", self.control.interrupts())
    }
}

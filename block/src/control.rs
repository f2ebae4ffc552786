//! The control half of a disk: what it is, and events. One owner; the queues do not need it.

use alloc::boxed::Box;
use core::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::Progress;

use crate::disk::DiskInfo;

bitflags::bitflags! {
    /// What a look at the device's events found.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u8 {
        /// The disk became larger or smaller; [`Control::capacity_sectors`] is up to date, and the
        /// queues know.
        const CAPACITY = 1;
    }
}

/// Control of one disk.
pub trait Control: Send {
    /// What does not change.
    fn info(&self) -> DiskInfo;

    /// How it interrupts: one of the ways that the start was offered.
    fn interrupts(&self) -> InterruptMode;

    /// How many sectors of 512 bytes the disk has, as of the last [`poll`](Self::poll). No I/O.
    fn capacity_sectors(&self) -> u64;

    /// Whether what was written may be lost until it is flushed. No I/O.
    fn write_cache(&self) -> bool {
        self.info().write_cache
    }

    /// Has the device keep what is written in its cache until it is flushed, or has it stored
    /// before a write completes. Writes that completed before a cache is switched off may still lie
    /// in it: flush as well. False: the device has no such switch, or does not follow it, and
    /// [`write_cache`](Self::write_cache) says how it is.
    #[must_use = "false says that the device has no such switch"]
    fn set_write_cache(&mut self, on: bool) -> bool {
        let _ = on;
        false
    }

    /// For interrupts that the queues and control share. For the line: asks the device whether it
    /// raised it, and thereby lowers it; false: not ours. For a shared message: masks it where a
    /// device leaves that to its driver; always false, as without interrupts.
    ///
    /// Comes first in the handling of such an interrupt, before queues are looked at. After it,
    /// unless the line was not ours, all who share it are served, and whoever is to interrupt again
    /// is armed again.
    fn acknowledge(&mut self) -> bool;

    /// Looks for events and serves them. Cheap when there are none; called on an event interrupt,
    /// and when polling.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device asks for a reset, or is gone. It has to be stopped and started.
    fn poll(&mut self) -> Result<Events, DeviceFault>;

    /// Asks for an interrupt at the next event, then looks once more.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    fn arm(&mut self) -> Result<Armed, DeviceFault>;

    /// Hears how far its queues are, together, and breaks the device where it has had requests for
    /// `limit` and done none. To be called now and then, when the queues were polled; a driver that
    /// does not watch says that all is well.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NoAnswer`], or what was wrong before. It has to be stopped and started.
    fn watch(&mut self, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        let _ = (progress, limit);
        Ok(())
    }
}

macro_rules! forward {
    ($through:ty) => {
        impl<C: Control + ?Sized> Control for $through {
            fn info(&self) -> DiskInfo {
                (**self).info()
            }
            fn interrupts(&self) -> InterruptMode {
                (**self).interrupts()
            }
            fn capacity_sectors(&self) -> u64 {
                (**self).capacity_sectors()
            }
            fn write_cache(&self) -> bool {
                (**self).write_cache()
            }
            fn set_write_cache(&mut self, on: bool) -> bool {
                (**self).set_write_cache(on)
            }
            fn acknowledge(&mut self) -> bool {
                (**self).acknowledge()
            }
            fn poll(&mut self) -> Result<Events, DeviceFault> {
                (**self).poll()
            }
            fn arm(&mut self) -> Result<Armed, DeviceFault> {
                (**self).arm()
            }
            fn watch(&mut self, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
                (**self).watch(progress, limit)
            }
        }
    };
}
forward!(&mut C);
forward!(Box<C>);

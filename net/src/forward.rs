//! A box around a queue is a queue, and so is a mutable reference to one: who chooses the driver at
//! run time passes `Box<dyn RxQueue>` where a queue is asked for.

use alloc::boxed::Box;
use core::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::Progress;

use crate::burst::Burst;
use crate::control::{Control, DeviceStats, Events, Link, NicInfo, RxFilter, RxFilterError};
use crate::queue::{RxCounters, RxQueue, TxCounters, TxQueue};
use crate::settings::{Change, ChangeError, Settings};

/// The three traits, for a pointer to what has them.
macro_rules! forward {
    ($pointer:ty) => {
        impl<T: RxQueue + ?Sized> RxQueue for $pointer {
            fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
                (**self).receive(burst)
            }
            fn refill(&mut self) -> usize {
                (**self).refill()
            }
            fn arm(&mut self) -> Result<Armed, DeviceFault> {
                (**self).arm()
            }
            fn disarm(&mut self) {
                (**self).disarm();
            }
            fn counters(&self) -> RxCounters {
                (**self).counters()
            }
        }

        impl<T: TxQueue + ?Sized> TxQueue for $pointer {
            fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
                (**self).transmit(burst)
            }
            fn reclaim(&mut self) -> Result<usize, DeviceFault> {
                (**self).reclaim()
            }
            fn flush(&mut self) {
                (**self).flush();
            }
            fn remind(&mut self) {
                (**self).remind();
            }
            fn room(&self) -> usize {
                (**self).room()
            }
            fn arm(&mut self) -> Result<Armed, DeviceFault> {
                (**self).arm()
            }
            fn disarm(&mut self) {
                (**self).disarm();
            }
            fn counters(&self) -> TxCounters {
                (**self).counters()
            }
        }

        impl<T: Control + ?Sized> Control for $pointer {
            fn info(&self) -> NicInfo {
                (**self).info()
            }
            fn interrupts(&self) -> InterruptMode {
                (**self).interrupts()
            }
            fn link(&self) -> Link {
                (**self).link()
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
            fn watch_queue(
                &mut self,
                queue: u16,
                progress: Progress,
                limit: Duration,
            ) -> Result<(), DeviceFault> {
                (**self).watch_queue(queue, progress, limit)
            }
            fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
                (**self).set_filter(filter)
            }
            fn settings(&self) -> Settings {
                (**self).settings()
            }
            fn submit_change(&mut self, change: Change) -> Result<(), ChangeError> {
                (**self).submit_change(change)
            }
            fn poll_change(&mut self) -> Result<bool, ChangeError> {
                (**self).poll_change()
            }
            fn change(&mut self, change: Change) -> Result<(), ChangeError> {
                (**self).change(change)
            }
            fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
                (**self).read_device_stats()
            }
        }
    };
}

forward!(Box<T>);
forward!(&mut T);

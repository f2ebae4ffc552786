//! The end of a running device.

use core::ops::Add as _;

use log::{info, warn};
use paravane_hal::fault::DeviceFault;
use paravane_hal::{Failed, Platform};
use paravane_pci::ConfigAccess;

use crate::control::VmxControl;
use crate::device::{Device, shut_down};
use crate::error::{ShutDownError, StopError};
use crate::memory::Memory;
use crate::pairs::{self, RxQueues};
use crate::start::Running;
use crate::tx::TxQueue;

impl<P: Platform, C: ConfigAccess> VmxControl<P, C> {
    /// Stops the device and takes everything back: first its interrupts, then its counters, then
    /// the device by its own command, then bus mastering, read back as off, and only on that proof
    /// rings, buffers and frames in flight are freed.
    ///
    /// The device can be started again, any number of times, a broken one too.
    ///
    /// # Errors
    ///
    /// [`StopError`], and all parts back. Nothing was freed. After [`StopError::ForeignQueue`] and
    /// [`StopError::QueuesMissing`] the device runs on. Stopping may be tried again; parts that are
    /// dropped are leaked, which is safe.
    pub fn stop(
        mut self,
        rx: RxQueues<P>,
        tx: TxQueue<P>,
    ) -> Result<Device<P, C>, Failed<StopError, Running<P, C>>>
    where
        C: Send,
    {
        if let Err(error) = self.check_parts(&rx, &tx) {
            return Err(Failed::new(error, Running { control: self, rx, tx }));
        }
        self.mask_interrupts();
        // It forgets them. One that does not answer has nothing to add.
        let counted = self.read_counted().unwrap_or_default();
        let device = &mut self.device;
        let quiet = match shut_down(&mut device.function, &mut device.regs, &device.platform) {
            Ok(quiet) => quiet,
            Err(error) => return Err(self.not_stopped(error, rx, tx)),
        };
        let freed = Memory { shared: self.shared, table: self.table, rx, tx }.release(&quiet);
        debug_assert!(freed, "the proof is about this device, and nobody else has handles");
        let mut device = self.device;
        device.counted = device.counted.add(counted);
        device.interrupts.switch_off(&mut device.function);
        info!("vmxnet3 {}: stopped", device.function.address());
        Ok(device)
    }

    /// Whether these are all queues that it was started with, and no others.
    pub(crate) fn check_parts(&self, rx: &RxQueues<P>, tx: &TxQueue<P>) -> Result<(), StopError> {
        let tag = self.device.function.tag();
        if pairs::tags(rx, tx).any(|of| of != tag) {
            return Err(StopError::ForeignQueue);
        }
        let started = self.table.counts().all();
        let given = u16::try_from(pairs::tags(rx, tx).count()).unwrap_or(u16::MAX);
        if started == given { Ok(()) } else { Err(StopError::QueuesMissing { started, given }) }
    }

    /// Gives the parts back of a device that may be running. Whatever state it is in, it does not
    /// serve these any more, nor interrupts.
    #[cold]
    pub(crate) fn not_stopped(
        mut self,
        error: ShutDownError,
        mut rx: RxQueues<P>,
        mut tx: TxQueue<P>,
    ) -> Failed<StopError, Running<P, C>>
    where
        C: Send,
    {
        let error = StopError::StillRunning(error);
        let Self { device: Device { interrupts, function, .. }, fault, .. } = &mut self;
        warn!("vmxnet3 {}: {error}", function.address());
        interrupts.switch_off(function);
        fault.get_or_insert(DeviceFault::NeedsReset);
        pairs::break_with(&mut rx, DeviceFault::NeedsReset);
        tx.break_with(DeviceFault::NeedsReset);
        Failed::new(error, Running { control: self, rx, tx })
    }
}

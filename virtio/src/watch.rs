//! When a running device is looked at, and what was wrong with it: the same for every class.
//!
//! Looking at the device means reading registers, and each read leaves the virtual machine. A look
//! is taken when something says that there is something to see: with messages at every poll, for
//! whoever polls had one; with the line when its status named the configuration. Where nobody says,
//! at most once in [`LOOK_EVERY`].

use alloc::vec::Vec;
use core::time::Duration;

use log::warn;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::InterruptMode;
use paravane_hal::recover::{Patience, Progress};
use paravane_hal::time::Instant;
use paravane_hal::{Failed, Platform};

use crate::device::{Class, Device, Queue};
use crate::error::{QueueResetError, StopError};
use crate::queue::Record;
use crate::status::Status;
use crate::transport::{InterruptStatus, Transport};

/// How often a device is looked at when nothing says that it wants to be.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running device of class `C`, watched.
pub(crate) struct Watch<P: Platform, T, C: Class> {
    pub(crate) device: Device<P, T, C>,
    interrupts: InterruptMode,
    /// When the next look is due.
    due: Instant,
    /// The line's status said that there is something to look at.
    told: bool,
    /// With each queue that was watched so far.
    patience: Vec<Patience>,
    fault: Option<DeviceFault>,
}

impl<P: Platform, T: Transport<P::Region>, C: Class> Watch<P, T, C> {
    /// Over `device`, which was just started, and interrupts so.
    pub(crate) fn new(device: Device<P, T, C>, interrupts: InterruptMode) -> Self {
        Self {
            interrupts,
            due: device.platform.now(),
            told: false,
            patience: Vec::new(),
            fault: None,
            device,
        }
    }

    /// How the device interrupts.
    pub(crate) fn interrupts(&self) -> InterruptMode {
        self.interrupts
    }

    /// Asks the device whether it raised its line, which thereby falls. False where it has none.
    pub(crate) fn acknowledge(&mut self) -> bool {
        if self.interrupts != InterruptMode::Line {
            return false;
        }
        let why = self.device.transport.take_interrupt_status();
        self.told |= why.contains(InterruptStatus::CONFIG);
        !why.is_empty()
    }

    /// Looks at the device's status, if it is time to. Whether it was: then the class looks at what
    /// is its own.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device is gone, or asks for a reset; or what was wrong before.
    pub(crate) fn poll(&mut self) -> Result<bool, DeviceFault> {
        let by_message = matches!(self.interrupts, InterruptMode::Msix { .. });
        let is_due = by_message || self.told || self.device.platform.now() >= self.due;
        self.look_if(is_due)
    }

    /// The same before whoever polls goes to sleep: it is time if the line said so. The device
    /// always interrupts at an event; there is nothing to ask for.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub(crate) fn arm(&mut self) -> Result<bool, DeviceFault> {
        self.look_if(self.told)
    }

    /// Breaks the device if `queue` has had something to do for `limit` and got nothing done.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NoAnswer`]; or what was wrong before.
    pub(crate) fn watch(
        &mut self,
        queue: u16,
        progress: Progress,
        limit: Duration,
    ) -> Result<(), DeviceFault> {
        self.check()?;
        let at = usize::from(queue);
        if self.patience.len() <= at {
            self.patience.resize(at.saturating_add(1), Patience::default());
        }
        let Some(patience) = self.patience.get_mut(at) else { return Ok(()) };
        if !patience.is_over(&self.device.platform, progress, limit) {
            return Ok(());
        }
        let after_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        let fault = DeviceFault::NoAnswer { after_ms };
        warn!("{} {}: {fault}", C::NAME, self.device.location());
        Err(self.fail(fault))
    }

    /// Has the device give `queue` up and start it again, see
    /// [`restart_queue`](Device::restart_queue); `can` says whether that was agreed.
    ///
    /// # Errors
    ///
    /// [`QueueResetError`].
    pub(crate) fn restart_queue<R: Record>(
        &mut self,
        queue: &mut Queue<R, P>,
        can: bool,
    ) -> Result<(), QueueResetError> {
        if !can {
            return Err(QueueResetError::NotOffered);
        }
        if queue.device() != self.device.transport.tag() {
            return Err(QueueResetError::ForeignQueue);
        }
        self.check().map_err(QueueResetError::Fault)?;
        self.device.restart_queue(queue, self.interrupts).map_err(|error| {
            // Neither it nor the device is what it was: neither is to be told anything more.
            if let Err(fault) = queue.check() {
                self.fail(fault);
            }
            QueueResetError::Queue(error)
        })
    }

    fn look_if(&mut self, is_due: bool) -> Result<bool, DeviceFault> {
        self.check()?;
        if !is_due {
            return Ok(false);
        }
        self.due = self.device.platform.now().saturating_add(LOOK_EVERY);
        self.told = false;
        let status = self.device.transport.read_status();
        let fault = if status.is_all_ones() {
            DeviceFault::Gone
        } else if status.contains(Status::DEVICE_NEEDS_RESET) {
            DeviceFault::NeedsReset
        } else {
            return Ok(true);
        };
        warn!("{} {}: {fault}", C::NAME, self.device.location());
        Err(self.fail(fault))
    }

    /// Stops the device. `queues`, which were made for the devices of `tags`, are given up by
    /// `free`, or broken by `fail` if the device may still reach them. What `free` says is whether
    /// the proof was the right one.
    ///
    /// # Errors
    ///
    /// [`StopError`], and all parts back: nothing was freed.
    #[expect(clippy::type_complexity, reason = "a device, or why not and all parts")]
    pub(crate) fn stop<Q>(
        mut self,
        mut queues: Q,
        tags: &[DeviceTag],
        fail: impl FnOnce(&mut Q, DeviceFault),
        free: impl FnOnce(Q, &Quiet<'_>) -> bool,
    ) -> Result<Device<P, T, C>, Failed<StopError, (Self, Q)>> {
        let ours = self.device.transport.tag();
        if tags.iter().any(|tag| *tag != ours) {
            return Err(Failed::new(StopError::ForeignQueue, (self, queues)));
        }
        match self.device.shut_down() {
            Ok(quiet) => {
                let freed = free(queues, &quiet);
                debug_assert!(freed, "a queue of another device");
                Ok(self.device)
            }
            Err(error) => {
                // Whatever state it is in, it does not serve these any more.
                fail(&mut queues, self.fail(DeviceFault::NeedsReset));
                Err(Failed::new(error, (self, queues)))
            }
        }
    }

    /// Notes what is wrong; the first fault stays.
    pub(crate) fn fail(&mut self, fault: DeviceFault) -> DeviceFault {
        *self.fault.get_or_insert(fault)
    }

    /// What is wrong.
    ///
    /// # Errors
    ///
    /// That.
    pub(crate) fn check(&self) -> Result<(), DeviceFault> {
        self.fault.map_or(Ok(()), Err)
    }
}

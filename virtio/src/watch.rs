//! When a running device is looked at, and what was wrong with it: the same for every class.
//!
//! Looking at the device means reading registers, and each read leaves the virtual machine. A look
//! is taken when something says that there is something to see: with messages at every poll, for
//! whoever polls had one; with the line when its status named the configuration. Where nobody says,
//! at most once in [`LOOK_EVERY`].

use core::time::Duration;

use log::warn;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::InterruptMode;
use paravane_hal::time::{Clock, Instant};

use crate::status::Status;
use crate::transport::{InterruptStatus, Location, Transport};

/// How often a device is looked at when nothing says that it wants to be.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The watch over a running device.
#[derive(Debug)]
pub(crate) struct Watch {
    interrupts: InterruptMode,
    /// Which device, for messages.
    name: &'static str,
    at: Location,
    /// When the next look is due.
    due: Instant,
    /// The line's status said that there is something to look at.
    told: bool,
    fault: Option<DeviceFault>,
}

impl Watch {
    /// Over a device that was just started, and interrupts so.
    pub(crate) fn new(
        name: &'static str,
        at: Location,
        interrupts: InterruptMode,
        clock: &impl Clock,
    ) -> Self {
        Self { interrupts, name, at, due: clock.now(), told: false, fault: None }
    }

    /// How the device interrupts.
    pub(crate) fn interrupts(&self) -> InterruptMode {
        self.interrupts
    }

    /// Asks the device whether it raised its line, which thereby falls. False where it has none.
    pub(crate) fn acknowledge<R>(&mut self, transport: &mut impl Transport<R>) -> bool {
        if self.interrupts != InterruptMode::Line {
            return false;
        }
        let why = transport.take_interrupt_status();
        self.told |= why.contains(InterruptStatus::CONFIG);
        !why.is_empty()
    }

    /// Whether the line said that there is something to see.
    pub(crate) fn was_told(&self) -> bool {
        self.told
    }

    /// Whether it is time for a look.
    pub(crate) fn is_due(&self, clock: &impl Clock) -> bool {
        let by_message = matches!(self.interrupts, InterruptMode::Msix { .. });
        by_message || self.told || clock.now() >= self.due
    }

    /// Looks at the device's status. What the class looks at comes after.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device is gone, or asks for a reset.
    pub(crate) fn look<R>(
        &mut self,
        transport: &impl Transport<R>,
        clock: &impl Clock,
    ) -> Result<(), DeviceFault> {
        self.due = clock.now().saturating_add(LOOK_EVERY);
        self.told = false;
        let status = transport.read_status();
        let fault = if status.is_all_ones() {
            DeviceFault::Gone
        } else if status.contains(Status::DEVICE_NEEDS_RESET) {
            DeviceFault::NeedsReset
        } else {
            return Ok(());
        };
        warn!("{} {}: {fault}", self.name, self.at);
        Err(self.fail(fault))
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

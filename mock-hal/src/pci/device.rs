//! What a device model has of its host.

use std::fmt;
use std::sync::{Arc, Weak};

use paravane_hal::irq::MsiMessage;
use paravane_pci::PciAddress;

use super::{FunctionSpace, Host, PciHost};
use crate::device::DeviceMemory;
use crate::memory::Memory;

/// How a function interrupts now, by its enable bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// MSI-X is on.
    Msix,
    /// MSI is on.
    Msi,
    /// Neither: the pin.
    Pin,
}

/// A function of a [`PciHost`], from the inside. The host owns the model that has this, so this
/// does not own the host: once that is gone, the function reaches no memory and interrupts nobody.
#[derive(Clone)]
pub struct PciDevice {
    host: Weak<Host>,
    at: PciAddress,
}

impl PciHost {
    /// The function at `at`, for its model.
    #[must_use]
    pub fn device(&self, at: PciAddress) -> PciDevice {
        PciDevice { host: Arc::downgrade(&self.0), at }
    }

    /// Sends the MSI-X messages of `at` that may be sent now.
    pub(super) fn deliver(&self, at: PciAddress) {
        let due = {
            let mut bus = self.lock();
            let masters = bus.path(at).is_some_and(|path| path.iter().all(|slot| slot.is_master()));
            match bus.slots.get_mut(&at) {
                // A message is a write to memory: without bus mastering it stays pending.
                Some(slot) if masters => slot.space.take_due(),
                _ => Vec::new(),
            }
        };
        for message in due {
            self.0.interrupts.send(message);
        }
    }

    /// Brings the interrupt line to what the pin of `at` and its disable bit say.
    pub(super) fn update_line(&self, at: PciAddress) {
        let (line, up) = {
            let bus = self.lock();
            bus.slots.get(&at).map_or((None, false), |slot| {
                let is_on = slot.space.command() & 1 << 10 == 0 && !slot.space.is_asleep();
                (Some(slot.space.interrupt_line()), slot.pin && is_on)
            })
        };
        let source = u32::from(at.bus()) << 8 | u32::from(at.devfn());
        match line {
            Some(line) => self.0.interrupts.set_line(line, source, up),
            None => self.0.interrupts.drop_source(source),
        }
    }
}

impl PciDevice {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> PciAddress {
        self.at
    }

    /// Its way into `memory`, open while bus mastering is on. `name` is what it is called in
    /// messages.
    #[must_use]
    pub fn memory(&self, memory: &Memory, name: &str) -> DeviceMemory {
        let this = self.clone();
        DeviceMemory::new(memory, name).gated(move || this.is_bus_master())
    }

    fn host(&self) -> Option<PciHost> {
        self.host.upgrade().map(PciHost)
    }

    /// Whether it may reach memory.
    #[must_use]
    pub fn is_bus_master(&self) -> bool {
        self.host().is_some_and(|host| host.is_bus_master(self.at))
    }

    /// Whether it is in D3: what reaches it there may only wake its machine.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.host().and_then(|host| host.with(self.at, |space| space.is_asleep())).unwrap_or(false)
    }

    /// Asks for its machine to be woken (`PME`). Whether it may.
    pub fn wake_up_call(&self) -> bool {
        self.host().and_then(|host| host.with(self.at, FunctionSpace::wake_up_call)).unwrap_or(false)
    }

    /// How it is to interrupt.
    #[must_use]
    pub fn mode(&self) -> InterruptMode {
        let mode = |space: &mut FunctionSpace| {
            let is_on = |at: Option<usize>, bit: u16| at.is_some_and(|at| space.get16(at + 2) & bit != 0);
            if is_on(space.msix.as_ref().map(|msix| msix.at), 1 << 15) {
                InterruptMode::Msix
            } else if is_on(space.msi_at, 1) {
                InterruptMode::Msi
            } else {
                InterruptMode::Pin
            }
        };
        self.host().and_then(|host| host.with(self.at, mode)).unwrap_or(InterruptMode::Pin)
    }

    /// Raises MSI-X vector `vector`: at once, or when it is unmasked.
    pub fn raise_msix(&self, vector: u16) {
        let Some(host) = self.host() else { return };
        host.with(self.at, |space| space.msix.as_mut().map(|msix| msix.raise(vector)));
        host.deliver(self.at);
    }

    /// Sends the MSI message, if MSI is on. Whether it was sent.
    pub fn raise_msi(&self) -> bool {
        let Some(host) = self.host() else { return false };
        if self.mode() != InterruptMode::Msi || !host.is_bus_master(self.at) {
            return false;
        }
        let message = host.with(self.at, |space| space.msi_message()).flatten();
        message.inspect(|message: &MsiMessage| host.0.interrupts.send(*message)).is_some()
    }

    /// Asserts or releases the pin. The line follows unless it is disabled.
    pub fn set_pin(&self, up: bool) {
        let Some(host) = self.host() else { return };
        if let Some(slot) = host.lock().slots.get_mut(&self.at) {
            slot.pin = up;
        }
        host.update_line(self.at);
    }
}

impl fmt::Debug for PciDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PciDevice({})", self.at)
    }
}

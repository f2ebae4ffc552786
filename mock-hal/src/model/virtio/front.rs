//! Where a device sits: how it reaches memory, and how it interrupts.

use paravane_hal::addr::PhysAddr;

use crate::device::DeviceMemory;
use crate::interrupts::Interrupts;
use crate::pci::{InterruptMode, PciDevice};
use crate::platform::MockPlatform;

/// What a line does for one interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It goes up for a moment: whoever misses it waits for ever.
    Edge,
    /// It stays up until the cause is acknowledged.
    Level,
}

/// Where a device sits.
#[derive(Clone, Debug)]
pub(super) enum Front {
    Pci(PciDevice),
    Mmio(Wire),
}

/// The line of a device that is on no bus.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    interrupts: Interrupts,
    line: u8,
    /// Who pulls, where the line is shared.
    source: u32,
    trigger: Trigger,
}

impl Wire {
    pub(super) fn new(platform: &MockPlatform, start: PhysAddr, line: u8, trigger: Trigger) -> Self {
        // No function of a PCI bus goes by such a number.
        let number = u32::try_from(start.get() >> 9 & 0x7fff_ffff).unwrap_or(0);
        Self { interrupts: platform.interrupts().clone(), line, source: 1 << 31 | number, trigger }
    }
}

impl Front {
    /// The way into the memory of `platform`, for a device called `name`.
    pub(super) fn memory(&self, platform: &MockPlatform, name: &str) -> DeviceMemory {
        match self {
            Self::Pci(function) => function.memory(platform.memory(), name),
            // There is nothing that could keep it from memory.
            Self::Mmio(_) => platform.device_memory(name),
        }
    }

    pub(super) fn is_mmio(&self) -> bool {
        matches!(self, Self::Mmio(_))
    }

    /// Whether it interrupts by messages.
    pub(super) fn has_msix_on(&self) -> bool {
        match self {
            Self::Pci(function) => function.mode() == InterruptMode::Msix,
            Self::Mmio(_) => false,
        }
    }

    pub(super) fn raise_msix(&self, vector: u16) {
        if let Self::Pci(function) = self {
            function.raise_msix(vector);
        }
    }

    /// There is a cause for an interrupt by line.
    pub(super) fn raise_line(&self) {
        match self {
            Self::Pci(function) => function.set_pin(true),
            Self::Mmio(Wire { interrupts, line, trigger: Trigger::Edge, .. }) => interrupts.pulse(*line),
            Self::Mmio(Wire { interrupts, line, source, .. }) => interrupts.set_line(*line, *source, true),
        }
    }

    /// There is no cause any more.
    pub(super) fn release_line(&self) {
        match self {
            Self::Pci(function) => function.set_pin(false),
            Self::Mmio(Wire { interrupts, line, source, .. }) => interrupts.set_line(*line, *source, false),
        }
    }
}

//! PCI: a host with functions made of bytes, their BARs on the bus, and their interrupts.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`PciHost`]: the machine's configuration space |
//! | [`FunctionSpace`] | one function: IDs, BARs, capabilities, which bits can be written |
//! | [`Bar`] | one base address register and how it reacts |
//! | [`PciDevice`] | what a device model has of the host: may it reach memory, and its interrupts |
//! | [`ConfigPorts`] | configuration space by I/O ports |
//! | [`machine`] | machines as data |

mod bar;
mod cam;
mod device;
pub mod machine;
mod msix;
mod power;
mod route;
mod space;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_pci::{CONFIG_BYTES, ConfigAccess, EXTENDED_CONFIG_BYTES, PciAddress};

use crate::interrupts::Interrupts;
use crate::loads;
use crate::registers::SharedModel;
use crate::watchdog::{Access, Watchdog};

use machine::{Machine, Used};
use power::Power;

pub use bar::{Bar, Reaction};
pub use cam::ConfigPorts;
pub use device::{InterruptMode, PciDevice};
pub use route::PciRegion;
pub use space::FunctionSpace;

/// A PCI host with its buses. A clone reaches the same one.
#[derive(Clone, Default)]
pub struct PciHost(Arc<Host>);

#[derive(Default)]
struct Host {
    bus: Mutex<Bus>,
    interrupts: Interrupts,
    watchdog: Watchdog,
}

#[derive(Default)]
struct Bus {
    slots: BTreeMap<PciAddress, Slot>,
    has_extended: bool,
    last_bus: u8,
    machine: Machine,
    /// What BARs were given below 4 GiB, of ports, and beyond.
    low_bytes: Used,
    port_bytes: Used,
    high_bytes: Used,
}

struct Slot {
    space: FunctionSpace,
    model: Option<SharedModel>,
    /// Whether the device asserts its pin.
    pin: bool,
}

impl fmt::Debug for PciHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().slots.keys()).finish()
    }
}

impl PciHost {
    /// A host whose interrupts arrive at `interrupts`, without a function.
    #[must_use]
    pub fn new(interrupts: &Interrupts) -> Self {
        Self::watched(interrupts, &Watchdog::default())
    }

    /// The same, with what ends a driver that reads for ever.
    pub(crate) fn watched(interrupts: &Interrupts, watchdog: &Watchdog) -> Self {
        let (interrupts, watchdog) = (interrupts.clone(), watchdog.clone());
        Self(Arc::new(Host { bus: Mutex::default(), interrupts, watchdog }))
    }

    fn lock(&self) -> MutexGuard<'_, Bus> {
        self.0.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes extended configuration space reachable or not: `q35` has ECAM, `pc` has not.
    pub fn set_extended(&self, reachable: bool) {
        self.lock().has_extended = reachable;
    }

    /// Puts a function at `at`. On a bus other than the root bus it answers only behind a bridge
    /// that leads there.
    pub fn insert(&self, at: PciAddress, function: FunctionSpace) {
        let mut bus = self.lock();
        bus.last_bus = bus.last_bus.max(at.bus());
        bus.slots.insert(at, Slot { space: function, model: None, pin: false });
    }

    /// Lets `model` answer for the BARs of the function at `at`, wherever they are moved to.
    ///
    /// # Panics
    ///
    /// When there is no such function.
    pub fn connect(&self, at: PciAddress, model: SharedModel) {
        let mut bus = self.lock();
        let slot = bus.slots.get_mut(&at);
        assert!(slot.is_some(), "no function at {at}");
        if let Some(slot) = slot {
            slot.model = Some(model);
        }
    }

    /// Takes the function at `at` away: nobody answers there any more.
    pub fn remove(&self, at: PciAddress) {
        self.lock().slots.remove(&at);
        self.update_line(at);
    }

    /// Looks at or changes the function at `at`, as its maker could.
    pub fn with<T>(&self, at: PciAddress, look: impl FnOnce(&mut FunctionSpace) -> T) -> Option<T> {
        self.lock().slots.get_mut(&at).map(|slot| look(&mut slot.space))
    }

    /// Whether the function at `at` may reach memory, all bridges above it included.
    #[must_use]
    pub fn is_bus_master(&self, at: PciAddress) -> bool {
        let bus = self.lock();
        bus.path(at).is_some_and(|path| path.iter().all(|slot| slot.is_master()))
    }

    fn get<const N: usize>(&self, at: PciAddress, offset: u16) -> [u8; N] {
        loads::next_call();
        self.0.watchdog.count(Access::Config { at, offset });
        let mut bus = self.lock();
        if !bus.answers(at, offset, N) {
            return [0xff; N];
        }
        bus.slots.get_mut(&at).map_or([0xff; N], |slot| slot.space.read(offset.into()))
    }

    fn put(&self, at: PciAddress, offset: u16, value: &[u8]) {
        loads::next_call();
        let mut bus = self.lock();
        if bus.answers(at, offset, value.len())
            && let Some(slot) = bus.slots.get_mut(&at)
        {
            let power = slot.space.write_powered(offset.into(), value);
            let model = slot.model.clone().filter(|_| power != Power::Same);
            drop(bus);
            if let Some(model) = model {
                let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
                if power == Power::Slept { model.sleep() } else { model.reset() }
            }
            // An enable or mask bit may have let something through.
            self.deliver(at);
            self.update_line(at);
        }
    }
}

impl Slot {
    /// Whether it passes on what goes to memory.
    fn is_master(&self) -> bool {
        self.space.command() & 1 << 2 != 0 && !self.space.is_asleep()
    }
}

impl Bus {
    /// The function at `at` and every bridge above it; `None` when nobody leads there.
    fn path(&self, at: PciAddress) -> Option<Vec<&Slot>> {
        let mut path = vec![self.slots.get(&at)?];
        let mut bus = at.bus();
        while bus != self.machine.root_bus {
            // Bus numbers grow downwards, so this ends.
            let (above, bridge) = self.slots.iter().find(|(above, slot)| {
                above.bus() < bus && slot.space.bridged_buses().is_some_and(|buses| *buses.start() == bus)
            })?;
            path.push(bridge);
            bus = above.bus();
        }
        Some(path)
    }

    fn answers(&self, at: PciAddress, offset: u16, width: usize) -> bool {
        let reach = if self.has_extended { EXTENDED_CONFIG_BYTES } else { CONFIG_BYTES };
        let offset = usize::from(offset);
        offset.is_multiple_of(width) && offset + width <= reach.into() && self.path(at).is_some()
    }
}

impl ConfigAccess for PciHost {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        u8::from_le_bytes(self.get(at, offset))
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        u16::from_le_bytes(self.get(at, offset))
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        u32::from_le_bytes(self.get(at, offset))
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.put(at, offset, &value.to_le_bytes());
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.put(at, offset, &value.to_le_bytes());
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.put(at, offset, &value.to_le_bytes());
    }
    fn config_bytes(&self) -> u16 {
        if self.lock().has_extended { EXTENDED_CONFIG_BYTES } else { CONFIG_BYTES }
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        let bus = self.lock();
        bus.machine.root_bus..=bus.last_bus.max(bus.machine.root_bus)
    }
}

//! From an address or a port on the bus to the device model behind it.

use std::sync::PoisonError;

use paravane_hal::addr::PhysAddr;
use paravane_pci::PciAddress;

use super::{Bus, PciHost, Slot};
use crate::registers::{SharedModel, Width};

/// Registers on the bus. Each access goes to whoever decodes its address at that moment; where
/// nobody does, reads are all ones.
#[derive(Clone, Debug)]
pub struct PciRegion {
    pub(crate) host: PciHost,
    pub(crate) start: PhysAddr,
    pub(crate) len_bytes: usize,
}

/// The two address spaces of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Memory,
    Ports,
}

impl Space {
    /// Whether a function with this command register decodes it, or a bridge forwards it.
    const fn is_on(self, command: u16) -> bool {
        let enable = match self {
            Self::Ports => 1 << 0,
            Self::Memory => 1 << 1,
        };
        command & enable != 0
    }
}

/// Who answers an access.
struct Target {
    at: PciAddress,
    bar: u8,
    offset_bytes: usize,
    model: Option<SharedModel>,
}

impl Bus {
    /// Who decodes an aligned access of `len_bytes` at `addr`.
    fn target(&self, space: Space, addr: u64, len_bytes: usize) -> Option<Target> {
        self.slots.iter().find_map(|(at, slot)| {
            let is_on = space.is_on(slot.space.command()) && !slot.space.is_asleep();
            let (bar, offset_bytes) = slot.registers(space, addr, len_bytes).filter(|_| is_on)?;
            let path = self.path(*at).filter(|_| offset_bytes.is_multiple_of(len_bytes))?;
            let leads = path.iter().skip(1).all(|bridge| bridge.forwards(space, addr));
            leads.then(|| Target { at: *at, bar, offset_bytes, model: slot.model.clone() })
        })
    }
}

impl Slot {
    /// Which BAR has `len_bytes` at `addr`, decoded or not, and where in it.
    fn registers(&self, space: Space, addr: u64, len_bytes: usize) -> Option<(u8, usize)> {
        self.space.bars.iter().filter(|bar| bar.is_io() == (space == Space::Ports)).find_map(|bar| {
            let offset = addr.checked_sub(bar.start())?;
            let end = offset.checked_add(len_bytes as u64)?;
            (end <= bar.len_bytes).then_some((bar.index, usize::try_from(offset).ok()?))
        })
    }

    /// Whether a bridge passes `addr` on: decoding on, and in a window.
    fn forwards(&self, space: Space, addr: u64) -> bool {
        let is_inside = match space {
            Space::Memory => self.space.windows().iter().any(|window| window.contains(&addr)),
            Space::Ports => self.space.port_window().contains(&addr),
        };
        space.is_on(self.space.command()) && is_inside
    }
}

impl PciHost {
    /// Whether there are registers, decoded or not: a driver maps them before it switches decoding
    /// on.
    pub(crate) fn has_registers(&self, start: PhysAddr, len_bytes: usize) -> bool {
        let bus = self.lock();
        bus.slots.values().any(|slot| slot.registers(Space::Memory, start.get(), len_bytes).is_some())
    }

    /// Reads from I/O ports.
    pub(crate) fn read_port(&self, port: u16, width: Width) -> u32 {
        let target = self.lock().target(Space::Ports, port.into(), width.bytes());
        self.read_from(target, width)
    }

    /// Writes to I/O ports.
    pub(crate) fn write_port(&self, port: u16, width: Width, value: u32) {
        let target = self.lock().target(Space::Ports, port.into(), width.bytes());
        self.write_to(target, width, value);
    }

    fn read_from(&self, target: Option<Target>, width: Width) -> u32 {
        let Some(Target { at, bar, offset_bytes, model }) = target else { return u32::MAX };
        let own = |space: &mut super::FunctionSpace| space.msix.as_ref()?.read(bar, offset_bytes, width);
        if let Some(value) = self.with(at, own).flatten() {
            return value;
        }
        model.map_or(u32::MAX, |model| {
            model.lock().unwrap_or_else(PoisonError::into_inner).read(bar, offset_bytes, width)
        })
    }

    fn write_to(&self, target: Option<Target>, width: Width, value: u32) {
        let Some(Target { at, bar, offset_bytes, model }) = target else { return };
        let own = |space: &mut super::FunctionSpace| {
            space.msix.as_mut().is_some_and(|msix| msix.write(bar, offset_bytes, width, value))
        };
        if self.with(at, own) == Some(true) {
            self.deliver(at);
        } else if let Some(model) = model {
            model.lock().unwrap_or_else(PoisonError::into_inner).write(bar, offset_bytes, width, value);
        }
    }
}

impl PciRegion {
    fn target(&self, offset_bytes: usize, width: Width) -> Option<Target> {
        let end = offset_bytes.checked_add(width.bytes())?;
        if end > self.len_bytes {
            return None;
        }
        let addr = self.start.checked_add(offset_bytes as u64)?.get();
        self.host.lock().target(Space::Memory, addr, width.bytes())
    }

    pub(crate) fn get(&self, offset_bytes: usize, width: Width) -> u32 {
        self.host.read_from(self.target(offset_bytes, width), width)
    }

    pub(crate) fn put(&self, offset_bytes: usize, width: Width, value: u32) {
        self.host.write_to(self.target(offset_bytes, width), width, value);
    }
}

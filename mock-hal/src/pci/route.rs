//! From an address on the bus to the device model behind it.

use std::sync::PoisonError;

use paravane_hal::addr::PhysAddr;
use paravane_pci::PciAddress;

use super::{Bus, PciHost, Slot};
use crate::registers::{SharedModel, Width};

/// Registers on the bus. Each access goes to whoever decodes its address at that moment; where nobody does, reads are all ones.
#[derive(Clone, Debug)]
pub struct PciRegion {
    pub(crate) host: PciHost,
    pub(crate) start: PhysAddr,
    pub(crate) len_bytes: usize,
}

/// Who answers an access.
struct Target {
    at: PciAddress,
    bar: u8,
    offset_bytes: usize,
    model: Option<SharedModel>,
}

impl Bus {
    /// Who decodes `len_bytes` of memory at `addr`.
    fn memory_target(&self, addr: u64, len_bytes: usize) -> Option<Target> {
        self.slots.iter().find_map(|(at, slot)| {
            let is_on = slot.space.command() & 1 << 1 != 0;
            let (bar, offset_bytes) = slot.registers(addr, len_bytes).filter(|_| is_on)?;
            let path = self.path(*at)?;
            let leads = path.iter().skip(1).all(|bridge| bridge.forwards(addr));
            leads.then(|| Target { at: *at, bar, offset_bytes, model: slot.model.clone() })
        })
    }
}

impl Slot {
    /// Which memory BAR has `len_bytes` at `addr`, decoded or not, and where in it.
    fn registers(&self, addr: u64, len_bytes: usize) -> Option<(u8, usize)> {
        self.space.bars.iter().filter(|bar| !bar.is_io()).find_map(|bar| {
            let offset = addr.checked_sub(bar.start())?;
            let end = offset.checked_add(len_bytes as u64)?;
            (end <= bar.len_bytes).then_some((bar.index, usize::try_from(offset).ok()?))
        })
    }

    /// Whether a bridge passes `addr` on: memory decoding on, and in a window.
    fn forwards(&self, addr: u64) -> bool {
        self.space.command() & 1 << 1 != 0 && self.space.windows().iter().any(|window| window.contains(&addr))
    }
}

impl PciHost {
    /// Whether there are registers, decoded or not: a driver maps them before it switches decoding on.
    pub(crate) fn has_registers(&self, start: PhysAddr, len_bytes: usize) -> bool {
        self.lock().slots.values().any(|slot| slot.registers(start.get(), len_bytes).is_some())
    }
}

impl PciRegion {
    fn target(&self, offset_bytes: usize, width: Width) -> Option<Target> {
        let end = offset_bytes.checked_add(width.bytes())?;
        if end > self.len_bytes || !offset_bytes.is_multiple_of(width.bytes()) {
            return None;
        }
        let addr = self.start.checked_add(offset_bytes as u64)?.get();
        self.host.lock().memory_target(addr, width.bytes())
    }

    pub(crate) fn get(&self, offset_bytes: usize, width: Width) -> u32 {
        let Some(Target { at, bar, offset_bytes, model }) = self.target(offset_bytes, width) else {
            return u32::MAX;
        };
        let own = |space: &mut super::FunctionSpace| space.msix.as_ref()?.read(bar, offset_bytes, width);
        if let Some(value) = self.host.with(at, own).flatten() {
            return value;
        }
        model.map_or(u32::MAX, |model| {
            model.lock().unwrap_or_else(PoisonError::into_inner).read(bar, offset_bytes, width)
        })
    }

    pub(crate) fn put(&self, offset_bytes: usize, width: Width, value: u32) {
        let Some(Target { at, bar, offset_bytes, model }) = self.target(offset_bytes, width) else {
            return;
        };
        let own = |space: &mut super::FunctionSpace| {
            space.msix.as_mut().is_some_and(|msix| msix.write(bar, offset_bytes, width, value))
        };
        if self.host.with(at, own) == Some(true) {
            self.host.deliver(at);
        } else if let Some(model) = model {
            model.lock().unwrap_or_else(PoisonError::into_inner).write(bar, offset_bytes, width, value);
        }
    }
}

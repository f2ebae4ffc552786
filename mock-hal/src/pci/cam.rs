//! Configuration mechanism #1 in front of a host.

use paravane_pci::{ConfigAccess, PciAddress};

use super::PciHost;
use crate::registers::{DeviceModel, Width};

const ENABLE: u32 = 1 << 31;
/// Enable, bus, device and function, dword; all others stay zero.
const KEPT: u32 = 0x80ff_fffc;
/// Where `CONFIG_DATA` is, from `CONFIG_ADDRESS` on.
const DATA: usize = 4;

/// `CONFIG_ADDRESS` and `CONFIG_DATA` of a machine that has them: 8 ports, on PCs from `0xcf8` on.
///
/// Spec: PCI Local Bus 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions".
#[derive(Debug)]
pub struct ConfigPorts {
    host: PciHost,
    address: u32,
}

impl ConfigPorts {
    /// The ports of `host`.
    #[must_use]
    pub fn new(host: &PciHost) -> Self {
        Self { host: host.clone(), address: 0 }
    }

    /// Which byte of which function is behind data port `offset_bytes`.
    fn selected(&self, offset_bytes: usize) -> Option<(PciAddress, u16)> {
        let [dword, devfn, bus, _] = self.address.to_le_bytes();
        let byte = u16::try_from(offset_bytes.checked_sub(DATA)?).ok()?;
        let is_on = self.address & ENABLE != 0;
        is_on.then(|| (PciAddress::from_devfn(0, bus, devfn), u16::from(dword) | byte))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the access is as wide as it says")]
impl DeviceModel for ConfigPorts {
    fn read(&mut self, _bar: u8, offset_bytes: usize, width: Width) -> u32 {
        match (self.selected(offset_bytes), width) {
            (Some((at, offset)), Width::Byte) => self.host.read8(at, offset).into(),
            (Some((at, offset)), Width::Half) => self.host.read16(at, offset).into(),
            (Some((at, offset)), Width::Word) => self.host.read32(at, offset),
            (None, Width::Word) if offset_bytes == 0 => self.address,
            (None, _) => u32::MAX,
        }
    }

    fn write(&mut self, _bar: u8, offset_bytes: usize, width: Width, value: u32) {
        match (self.selected(offset_bytes), width) {
            (Some((at, offset)), Width::Byte) => self.host.write8(at, offset, value as u8),
            (Some((at, offset)), Width::Half) => self.host.write16(at, offset, value as u16),
            (Some((at, offset)), Width::Word) => self.host.write32(at, offset, value),
            // A narrower access is none of the mechanism's: ports of other devices lie under this
            // one.
            (None, Width::Word) if offset_bytes == 0 => self.address = value & KEPT,
            (None, _) => {}
        }
    }
}

//! The PCI function: header, one 64-bit BAR far beyond 4 GiB, four virtio capabilities, MSI-X.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use paravane_pci::{ConfigAccess, PciAddress};

pub const ADDRESS: PciAddress = PciAddress::new(0, 0, 3, 0).unwrap();
pub const BAR_START: u64 = 0x40_0000_0000;
pub const BAR_BYTES: usize = 0x1_0000;

/// Where the structures are in the BAR.
pub const COMMON: usize = 0x0000;
pub const ISR: usize = 0x1000;
pub const DEVICE: usize = 0x2000;
pub const NOTIFY: usize = 0x3000;
pub const MSIX_TABLE: usize = 0x8000;

/// Offsets of the capabilities in configuration space.
const CAP_COMMON: u8 = 0x40;
const CAP_NOTIFY: u8 = 0x50;
const CAP_ISR: u8 = 0x64;
const CAP_DEVICE: u8 = 0x74;
const CAP_MSIX: u8 = 0x84;

const COMMAND: usize = 0x04;
const BAR0: usize = 0x10;

/// Configuration space of one function on bus 0. A clone is the same one.
#[derive(Clone)]
pub struct ConfigSpace(Arc<Mutex<Space>>);

struct Space {
    bytes: [u8; 256],
    /// BAR 0 answers the sizing probe.
    probing: bool,
    /// The bus-master bit cannot be cleared.
    master_sticks: bool,
}

impl ConfigSpace {
    pub fn new() -> Self {
        let mut bytes = [0; 256];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x00, &[0xf4, 0x1a, 0x41, 0x10]);
        put(0x06, &[0x10, 0x00]);
        put(0x08, &[1, 0, 0, 2]);
        put(0x2c, &[0xf4, 0x1a, 0x01, 0x11]);
        put(0x34, &[CAP_COMMON]);
        put(0x3d, &[1]);
        let low = u32::try_from(BAR_START & 0xffff_ffff).unwrap() | 0b0100;
        put(BAR0, &low.to_le_bytes());
        put(BAR0 + 4, &u32::try_from(BAR_START >> 32).unwrap().to_le_bytes());
        // Exactly as long as Firecracker's.
        put(CAP_COMMON.into(), &virtio_capability(CAP_NOTIFY, 16, 1, COMMON, 0x38));
        put(CAP_NOTIFY.into(), &virtio_capability(CAP_ISR, 20, 2, NOTIFY, 0x1000));
        put(usize::from(CAP_NOTIFY) + 16, &4_u32.to_le_bytes());
        put(CAP_ISR.into(), &virtio_capability(CAP_DEVICE, 16, 3, ISR, 1));
        put(CAP_DEVICE.into(), &virtio_capability(CAP_MSIX, 16, 4, DEVICE, 8));
        put(CAP_MSIX.into(), &[0x11, 0, 2, 0]);
        put(usize::from(CAP_MSIX) + 4, &u32::try_from(MSIX_TABLE).unwrap().to_le_bytes());
        put(usize::from(CAP_MSIX) + 8, &u32::try_from(MSIX_TABLE + 0x800).unwrap().to_le_bytes());
        Self(Arc::new(Mutex::new(Space { bytes, probing: false, master_sticks: false })))
    }

    /// Replaces bytes, as a device or firmware would.
    pub fn patch(&self, at: usize, value: &[u8]) {
        self.0.lock().unwrap().bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// As a device that has only the legacy interface: no capabilities.
    pub fn make_legacy(&self) {
        self.patch(0x02, &[0x00, 0x10]);
        self.patch(0x2e, &[1, 0]);
        self.patch(0x34, &[CAP_MSIX]);
    }

    /// As a transitional device: another id, the same capabilities.
    pub fn make_transitional(&self) {
        self.patch(0x02, &[0x00, 0x10]);
        self.patch(0x08, &[0]);
        self.patch(0x2e, &[1, 0]);
    }

    /// Takes MSI-X out of the list.
    pub fn without_msix(&self) {
        self.patch(usize::from(CAP_DEVICE) + 1, &[0]);
    }

    /// Says that the device's own configuration is `len_bytes` long.
    pub fn set_device_config_bytes(&self, len_bytes: u32) {
        self.patch(usize::from(CAP_DEVICE) + 12, &len_bytes.to_le_bytes());
    }

    /// Puts the doorbells `multiplier` bytes apart, in `len_bytes`.
    pub fn set_notify(&self, multiplier: u32, len_bytes: u32) {
        self.patch(usize::from(CAP_NOTIFY) + 12, &len_bytes.to_le_bytes());
        self.patch(usize::from(CAP_NOTIFY) + 16, &multiplier.to_le_bytes());
    }

    /// Bus mastering cannot be switched off any more.
    pub fn let_master_stick(&self) {
        self.0.lock().unwrap().master_sticks = true;
    }

    pub fn masters_bus(&self) -> bool {
        self.0.lock().unwrap().bytes[COMMAND] & 0b100 != 0
    }

    pub fn msix_enabled(&self) -> bool {
        self.0.lock().unwrap().bytes[usize::from(CAP_MSIX) + 3] & 0x80 != 0
    }

    pub fn pin_disabled(&self) -> bool {
        self.0.lock().unwrap().bytes[COMMAND + 1] & 0b100 != 0
    }

    fn read(&self, at: PciAddress, offset: u16, width: usize) -> u32 {
        let space = self.0.lock().unwrap();
        let offset = usize::from(offset);
        let mut value = [0xff; 4];
        if at == ADDRESS && offset.is_multiple_of(width) && offset + width <= space.bytes.len() {
            value = [0; 4];
            value[..width].copy_from_slice(&space.bytes[offset..offset + width]);
            if space.probing && offset == BAR0 {
                value = (!u32::try_from(BAR_BYTES - 1).unwrap() | 0b0100).to_le_bytes();
            } else if space.probing && offset == BAR0 + 4 {
                value = [0xff; 4];
            }
        }
        u32::from_le_bytes(value)
    }

    fn write(&self, at: PciAddress, offset: u16, value: &[u8]) {
        let mut space = self.0.lock().unwrap();
        let offset = usize::from(offset);
        if at != ADDRESS {
            return;
        }
        let writable = match offset {
            COMMAND => value.len() == 2,
            0x10 | 0x14 => {
                space.probing = value == [0xff; 4];
                !space.probing
            }
            _ => offset == usize::from(CAP_MSIX) + 2,
        };
        if writable {
            let stuck = space.master_sticks && offset == COMMAND;
            space.bytes[offset..offset + value.len()].copy_from_slice(value);
            if stuck {
                space.bytes[COMMAND] |= 0b100;
            }
            if offset == usize::from(CAP_MSIX) + 2 {
                // The table size is read-only.
                space.bytes[offset] = 2;
            }
        }
    }
}

fn virtio_capability(next: u8, cap_len: u8, cfg_type: u8, offset: usize, len: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..5].copy_from_slice(&[0x09, next, cap_len, cfg_type, 0]);
    bytes[8..12].copy_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
    bytes[12..].copy_from_slice(&len.to_le_bytes());
    bytes
}

impl ConfigAccess for ConfigSpace {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.read(at, offset, 1).to_le_bytes()[0]
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        let [a, b, ..] = self.read(at, offset, 2).to_le_bytes();
        u16::from_le_bytes([a, b])
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.read(at, offset, 4)
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.write(at, offset, &value.to_le_bytes());
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.write(at, offset, &value.to_le_bytes());
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.write(at, offset, &value.to_le_bytes());
    }
    fn config_bytes(&self) -> u16 {
        256
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        0..=0
    }
}

//! Configuration space of the one function there is: identity, BARs and, for virtio, the
//! capabilities that say where registers are.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use paravane_pci::{ConfigAccess, Function, PciAddress};

use crate::platform::{BAR_BYTES, BARS_START};

const COMMAND: usize = 0x04;
const BARS: usize = 0x10;

/// A function on bus 0. A clone is the same one.
#[derive(Clone)]
pub struct Space(Arc<Mutex<[u8; 256]>>);

impl Space {
    /// An endpoint with this vendor, device and number of 32-bit memory BARs.
    pub fn new(vendor: u16, device: u16, bars: u32) -> Self {
        let space = Self(Arc::new(Mutex::new([0; 256])));
        space.put(0x00, &vendor.to_le_bytes());
        space.put(0x02, &device.to_le_bytes());
        space.put(0x0b, &[2]);
        for bar in 0..bars {
            let start = BARS_START + u64::from(bar) * BAR_BYTES as u64;
            space.put(BARS + 4 * bar as usize, &start.to_le_bytes()[..4]);
        }
        space
    }

    /// Puts bytes, writable or not.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The function, for a driver.
    pub fn claim(&self) -> Result<Function<Self>> {
        Function::claim(self.clone(), ADDRESS).context("the function can be claimed once")
    }

    fn get<const N: usize>(&self, at: PciAddress, offset: u16) -> [u8; N] {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = usize::from(offset);
        if at != ADDRESS {
            return [0xff; N];
        }
        std::array::from_fn(|i| bytes.get(offset + i).copied().unwrap_or(0xff))
    }

    fn set(&self, at: PciAddress, offset: u16, value: &[u8]) {
        let is_bar = self.get::<4>(at, offset) != [0; 4];
        let offset = usize::from(offset);
        if at != ADDRESS {
            return;
        }
        match offset {
            COMMAND => self.put(offset, value),
            BARS..0x28 if value.len() == 4 && is_bar => {
                // A probe for the size finds the low bits missing; everything else is the old
                // address coming back.
                let probe = value == [0xff; 4];
                let mask = !(u32::try_from(BAR_BYTES).unwrap_or(0) - 1);
                self.put(
                    offset,
                    if probe { mask.to_le_bytes() } else { [value[0], value[1], value[2], value[3]] }
                        .as_slice(),
                );
            }
            _ => {}
        }
    }
}

/// Where the function is.
const ADDRESS: PciAddress = match PciAddress::new(0, 0, 3, 0) {
    Some(address) => address,
    None => unreachable!(),
};

impl ConfigAccess for Space {
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
        self.set(at, offset, &value.to_le_bytes());
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.set(at, offset, &value.to_le_bytes());
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.set(at, offset, &value.to_le_bytes());
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

//! PCI configuration space: functions made of bytes, each bit writable or not.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_pci::{CONFIG_BYTES, ConfigAccess, PciAddress};

const SPACE: usize = CONFIG_BYTES as usize;

/// One function's configuration space.
#[derive(Clone, Debug)]
pub struct FunctionSpace {
    bytes: [u8; SPACE],
    writable: [u8; SPACE],
    /// Where the list of capabilities ends, to be continued.
    last_link: usize,
}

impl FunctionSpace {
    /// An endpoint with these IDs, decoding nothing.
    #[must_use]
    pub fn endpoint(vendor: u16, device: u16, class: u8) -> Self {
        let mut space = Self { bytes: [0; SPACE], writable: [0; SPACE], last_link: 0x34 };
        space.set16(0x00, vendor);
        space.set16(0x02, device);
        space.set8(0x0b, class);
        space.set16(0x2c, vendor);
        space.set16(0x2e, device);
        // I/O, memory, bus master, INTx disable.
        space.allow(0x04, &0x0407_u16.to_le_bytes());
        space.allow(0x3c, &[0xff]);
        space
    }

    /// Adds a 32-bit memory BAR of `len_bytes`, a power of two, assigned to `start`.
    #[must_use]
    pub fn memory_bar(mut self, index: u8, start: u32, len_bytes: u32) -> Self {
        let at = 0x10 + usize::from(index) * 4;
        self.set32(at, start);
        self.allow(at, &(!(len_bytes - 1)).to_le_bytes());
        self
    }

    /// Gives it an interrupt pin, 1 for `INTA#`.
    #[must_use]
    pub fn pin(mut self, pin: u8) -> Self {
        self.set8(0x3d, pin);
        self
    }

    /// Adds an MSI-X capability at `at`.
    #[must_use]
    pub fn msix(mut self, at: u8, entries: u16, table: u32, pba: u32) -> Self {
        let at = self.link(at, 0x11);
        self.set16(at + 2, entries - 1);
        self.set32(at + 4, table);
        self.set32(at + 8, pba);
        self.allow(at + 2, &0xc000_u16.to_le_bytes());
        self
    }

    /// Adds an MSI capability with a 64-bit address and one vector at `at`.
    #[must_use]
    pub fn msi(mut self, at: u8) -> Self {
        let at = self.link(at, 0x05);
        self.set16(at + 2, 1 << 7);
        self.allow(at + 2, &1_u16.to_le_bytes());
        self.allow(at + 4, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        self
    }

    /// Appends a capability of kind `id` to the list.
    fn link(&mut self, at: u8, id: u8) -> usize {
        self.bytes[0x06] |= 1 << 4;
        let last = self.last_link;
        self.set8(last, at);
        self.set8(usize::from(at), id);
        self.last_link = usize::from(at) + 1;
        at.into()
    }

    /// Sets a byte, writable or not.
    pub fn set8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    /// Sets 16 bits, writable or not.
    pub fn set16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets 32 bits, writable or not.
    pub fn set32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Makes exactly these bits writable, from byte `at` on.
    pub fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.bytes[at + i])
    }

    fn write(&mut self, at: usize, value: &[u8]) {
        for (i, new) in value.iter().enumerate() {
            let mask = self.writable[at + i];
            self.bytes[at + i] = (self.bytes[at + i] & !mask) | (new & mask);
        }
    }
}

/// The configuration space of bus 0. A clone reaches the same one.
#[derive(Clone, Debug, Default)]
pub struct ConfigSpace(Arc<Mutex<HashMap<PciAddress, FunctionSpace>>>);

impl ConfigSpace {
    /// Puts a function at `at`.
    pub fn insert(&self, at: PciAddress, function: FunctionSpace) {
        self.lock().insert(at, function);
    }

    /// Takes the function at `at` away: nobody answers there any more.
    pub fn remove(&self, at: PciAddress) {
        self.lock().remove(&at);
    }

    /// Looks at or changes the function at `at`, as its maker could.
    pub fn with<T>(&self, at: PciAddress, look: impl FnOnce(&mut FunctionSpace) -> T) -> Option<T> {
        self.lock().get_mut(&at).map(look)
    }

    /// Whether the function at `at` may reach memory.
    #[must_use]
    pub fn is_bus_master(&self, at: PciAddress) -> bool {
        self.read16(at, 0x04) & 1 << 2 != 0 && self.read16(at, 0) != u16::MAX
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PciAddress, FunctionSpace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get<const N: usize>(&self, at: PciAddress, offset: u16) -> [u8; N] {
        let offset = usize::from(offset);
        let answers = offset.is_multiple_of(N) && offset + N <= SPACE;
        self.lock().get(&at).filter(|_| answers).map_or([0xff; N], |function| function.read(offset))
    }

    fn put(&self, at: PciAddress, offset: u16, value: &[u8]) {
        let offset = usize::from(offset);
        let answers = offset.is_multiple_of(value.len()) && offset + value.len() <= SPACE;
        if let Some(function) = self.lock().get_mut(&at).filter(|_| answers) {
            function.write(offset, value);
        }
    }
}

impl ConfigAccess for ConfigSpace {
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
        CONFIG_BYTES
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        0..=0
    }
}

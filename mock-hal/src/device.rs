//! A device's way into memory.

use std::fmt;
use std::sync::Arc;

use paravane_hal::dma::Direction;

use crate::memory::{AccessFault, Lease, Memory};

/// What a device model reaches memory through: by device address, checked, under the device's name,
/// and only while it may.
///
/// Values are little-endian.
#[derive(Clone)]
pub struct DeviceMemory {
    memory: Memory,
    name: Arc<str>,
    /// What is not there is no fault of anybody's.
    is_timid: bool,
    /// Whether the device may reach memory now.
    is_allowed: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceMemory({})", self.name)
    }
}

impl DeviceMemory {
    /// For a device called `name` in messages that may always reach memory.
    #[must_use]
    pub fn new(memory: &Memory, name: &str) -> Self {
        Self { memory: memory.clone(), name: name.into(), is_timid: false, is_allowed: Arc::new(|| true) }
    }

    /// The same, while `is_allowed` says so.
    #[must_use]
    pub fn gated(self, is_allowed: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { is_allowed: Arc::new(is_allowed), ..self }
    }

    /// The same for a device that knows that its driver was misled: what it does not find ends no
    /// test.
    #[must_use]
    pub fn timid(&self) -> Self {
        Self { is_timid: true, ..self.clone() }
    }

    /// Whether the device may reach memory now.
    pub(crate) fn is_allowed(&self) -> bool {
        (self.is_allowed)()
    }

    /// Why an access is not even tried, if it is not.
    fn refused(&self, addr: u64, len_bytes: usize, direction: Direction) -> Option<AccessFault> {
        if !self.is_allowed() {
            return Some(self.memory.refuse(&self.name, addr, len_bytes, direction));
        }
        self.is_timid.then(|| self.memory.missing(addr, len_bytes, direction)).flatten()
    }

    /// Reads `to.len()` bytes.
    ///
    /// # Errors
    ///
    /// [`AccessFault`]; `to` is untouched. On a strict platform only for a device that may not
    /// reach memory, which fails the test at its end: all else ends it here.
    #[track_caller]
    pub fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), AccessFault> {
        if let Some(fault) = self.refused(addr, to.len(), Direction::ToDevice) {
            return Err(fault);
        }
        self.memory.read_as(&self.name, addr, to)
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`]; nothing is written. As for [`read`](Self::read).
    #[track_caller]
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), AccessFault> {
        if let Some(fault) = self.refused(addr, bytes.len(), Direction::FromDevice) {
            return Err(fault);
        }
        self.memory.write_as(&self.name, addr, bytes)
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn get<const N: usize>(&self, addr: u64) -> Result<[u8; N], AccessFault> {
        let mut bytes = [0; N];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads 16 bits.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn get16(&self, addr: u64) -> Result<u16, AccessFault> {
        self.get(addr).map(u16::from_le_bytes)
    }

    /// Reads 32 bits.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn get32(&self, addr: u64) -> Result<u32, AccessFault> {
        self.get(addr).map(u32::from_le_bytes)
    }

    /// Reads 64 bits.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn get64(&self, addr: u64) -> Result<u64, AccessFault> {
        self.get(addr).map(u64::from_le_bytes)
    }

    /// Takes bytes that a descriptor gives to the device. Until they go back, freeing them or
    /// giving them away again fails the test; those that the device is to write are poisoned, and
    /// those that it only reads have to be the same when they go back.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn take(&self, addr: u64, len_bytes: usize, direction: Direction) -> Result<Lease, AccessFault> {
        if let Some(fault) = self.refused(addr, len_bytes, direction) {
            return Err(fault);
        }
        self.memory.take_lease(Lease::new(addr, len_bytes, direction, &self.name))
    }

    /// Gives bytes back, as a completion does.
    pub fn give_back(&self, lease: &Lease) {
        self.memory.end_lease(lease);
    }

    /// Gives everything back, as a reset does.
    pub fn give_all_back(&self) {
        self.memory.end_leases_of(&self.name);
    }
}

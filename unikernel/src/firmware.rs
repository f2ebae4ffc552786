//! Physical memory, for reading what firmware and loader left there: ACPI tables, and before the
//! memory is shared out, the loader's structures.

#![expect(unsafe_code, reason = "reads memory that no Rust object is in")]

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::range::PhysRange;

use crate::memory::{FIRST_MIB, IDENTITY_END, MemoryKind, MemoryMap};

/// Physical memory, for reading.
pub trait PhysicalMemory {
    /// Fills `into` from `at` on. False, with `into` in any state, when that cannot be read.
    #[must_use]
    fn read(&self, at: PhysAddr, into: &mut [u8]) -> bool;
}

/// What firmware wrote.
///
/// Only what the memory map mentions, and the first MiB without its first page, is read; never
/// registers that the map does not know of.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareMemory {
    map: Option<&'static MemoryMap>,
}

impl FirmwareMemory {
    /// For the time before there is a map, and while the null page is mapped: all of the identity
    /// map.
    pub(crate) const EVERYTHING: Self = Self { map: None };

    /// For afterwards.
    pub(crate) const fn of(map: &'static MemoryMap) -> Self {
        Self { map: Some(map) }
    }

    fn may_read(&self, range: PhysRange) -> bool {
        let first = if self.map.is_none() { 1 } else { 4096 };
        if range.start().get() < first || range.end() > IDENTITY_END {
            return false;
        }
        let mentioned = |map: &MemoryMap| {
            range.end() <= FIRST_MIB
                || map.iter().any(|(entry, kind)| {
                    kind != MemoryKind::Unusable
                        && entry.start() <= range.start()
                        && range.end() <= entry.end()
                })
        };
        self.map.is_none_or(mentioned)
    }
}

impl PhysicalMemory for FirmwareMemory {
    fn read(&self, at: PhysAddr, into: &mut [u8]) -> bool {
        let Some(range) = PhysRange::new(at, into.len() as u64).filter(|range| self.may_read(*range)) else {
            return false;
        };
        for (byte, address) in into.iter_mut().zip(range.start().get()..) {
            let Ok(address) = usize::try_from(address) else { return false };
            let place = core::ptr::with_exposed_provenance::<u8>(address);
            // SAFETY: the byte lies in the identity map, off the null page once that is gone, in
            // what the loader calls memory. A volatile read of a byte is fine whatever is there,
            // and whoever else writes it.
            *byte = unsafe { place.read_volatile() };
        }
        true
    }
}

//! The enhanced configuration access mechanism: 4 KiB of memory a function, 1 MiB a bus.
//!
//! Spec: PCI Express Base 5.0, 7.2.2 "PCI Express Enhanced Configuration Access Mechanism (ECAM)".

use core::{fmt, ops::RangeInclusive};

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{MapError, Mmio, MmioMap};

use super::{ConfigAccess, EXTENDED_CONFIG_BYTES, answers};
use crate::PciAddress;

const BUS_BYTES: u64 = 1 << 20;

/// One region as firmware describes it, in ACPI's MCFG or a device tree's `reg` and `bus-range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcamEntry {
    /// Where bus **0** of the segment is or would be, also when `buses` starts later: the region
    /// starts at `base` plus 1 MiB for each bus before the first.
    pub base: PhysAddr,
    /// The segment.
    pub segment: u16,
    /// The buses that the region holds. A caller may narrow it before mapping.
    pub buses: RangeInclusive<u8>,
}

impl EcamEntry {
    /// Where the region starts, and its length in bytes; `None` when the bus range is empty, the
    /// base is not that of a bus, or the region wraps around.
    #[must_use]
    pub fn region(&self) -> Option<(PhysAddr, u64)> {
        if !self.base.get().is_multiple_of(BUS_BYTES) {
            return None;
        }
        let buses =
            u64::from(*self.buses.end()).checked_sub(u64::from(*self.buses.start()))?.checked_add(1)?;
        let len_bytes = buses.checked_mul(BUS_BYTES)?;
        let start = self.base.checked_add(u64::from(*self.buses.start()).checked_mul(BUS_BYTES)?)?;
        start.checked_add(len_bytes)?;
        Some((start, len_bytes))
    }

    /// Maps the region.
    ///
    /// # Errors
    ///
    /// [`EcamError`]; nothing stays mapped.
    pub fn map<M: MmioMap>(&self, mapper: &M) -> Result<Ecam<M::Region>, EcamError> {
        let invalid = EcamError::NoBuses { base: self.base, segment: self.segment };
        let (start, len_bytes) = self.region().ok_or(invalid)?;
        let len_bytes = usize::try_from(len_bytes).map_err(|_| invalid)?;
        let region = mapper.map(start, len_bytes).map_err(EcamError::Map)?;
        if region.len_bytes() < len_bytes {
            mapper.unmap(region);
            return Err(invalid);
        }
        Ecam::new(region, self.segment, self.buses.clone()).ok_or(invalid)
    }
}

/// An ECAM region cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EcamError {
    /// The description holds no bus, starts where none can, wraps around, or maps to less than its
    /// buses.
    NoBuses {
        /// Where bus 0 is said to be.
        base: PhysAddr,
        /// The segment.
        segment: u16,
    },
    /// The region could not be mapped.
    Map(MapError),
}

impl fmt::Display for EcamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBuses { base, segment } => {
                write!(f, "ECAM of segment {segment} with bus 0 at {:#x} holds no whole bus", base.get())
            }
            Self::Map(error) => write!(f, "ECAM: {error}"),
        }
    }
}

impl core::error::Error for EcamError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NoBuses { .. } => None,
            Self::Map(error) => Some(error),
        }
    }
}

/// Configuration space in a mapped region: 4096 bytes a function.
#[derive(Clone, Debug)]
pub struct Ecam<M> {
    region: M,
    segment: u16,
    first_bus: u8,
    last_bus: u8,
}

impl<M: Mmio> Ecam<M> {
    /// The buses `buses` of `segment` in `region`, which starts with the first of them. Buses that
    /// the region is too short for are left out; `None` when that leaves none.
    #[must_use]
    pub fn new(region: M, segment: u16, buses: RangeInclusive<u8>) -> Option<Self> {
        let (first_bus, last_bus) = buses.into_inner();
        let whole_buses = u64::try_from(region.len_bytes()).unwrap_or(u64::MAX).checked_div(BUS_BYTES)?;
        let reach = u64::from(first_bus).checked_add(whole_buses.checked_sub(1)?)?;
        let last_bus = u8::try_from(reach).map_or(last_bus, |reach| last_bus.min(reach));
        (first_bus <= last_bus).then_some(Self { region, segment, first_bus, last_bus })
    }

    /// The region, to be unmapped by who mapped it.
    #[must_use]
    pub fn into_region(self) -> M {
        self.region
    }

    /// Where the access lands in the region; a place nobody answers when it is not ours.
    fn place(&self, at: PciAddress, offset: u16, width_bytes: u16) -> usize {
        let ours = at.segment() == self.segment && (self.first_bus..=self.last_bus).contains(&at.bus());
        if !ours || !answers(offset, width_bytes, EXTENDED_CONFIG_BYTES) {
            return usize::MAX;
        }
        let bus = usize::from(at.bus().wrapping_sub(self.first_bus));
        bus << 20 | usize::from(at.devfn()) << 12 | usize::from(offset)
    }
}

impl<M: Mmio> ConfigAccess for Ecam<M> {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.region.read8(self.place(at, offset, 1))
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.region.read16(self.place(at, offset, 2))
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.region.read32(self.place(at, offset, 4))
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.region.write8(self.place(at, offset, 1), value);
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.region.write16(self.place(at, offset, 2), value);
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.region.write32(self.place(at, offset, 4), value);
    }
    fn config_bytes(&self) -> u16 {
        EXTENDED_CONFIG_BYTES
    }
    fn segment(&self) -> u16 {
        self.segment
    }
    fn buses(&self) -> RangeInclusive<u8> {
        self.first_bus..=self.last_bus
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Answers each read with its own place, notes each write.
    struct Echo {
        len_bytes: usize,
        writes: RefCell<Vec<(usize, u8, u32)>>,
    }

    fn echo(len_bytes: usize) -> Echo {
        Echo { len_bytes, writes: RefCell::default() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bytes are the point")]
    impl Mmio for Echo {
        fn len_bytes(&self) -> usize {
            self.len_bytes
        }
        fn read8(&self, at: usize) -> u8 {
            at as u8
        }
        fn read16(&self, at: usize) -> u16 {
            at as u16
        }
        fn read32(&self, at: usize) -> u32 {
            at as u32
        }
        fn write8(&self, at: usize, value: u8) {
            self.writes.borrow_mut().push((at, 1, value.into()));
        }
        fn write16(&self, at: usize, value: u16) {
            self.writes.borrow_mut().push((at, 2, value.into()));
        }
        fn write32(&self, at: usize, value: u32) {
            self.writes.borrow_mut().push((at, 4, value));
        }
    }

    #[test]
    fn the_region_starts_with_the_first_bus_of_the_range() {
        let ecam = Ecam::new(echo(16 << 20), 2, 0x40..=0x4f).unwrap();
        let at = |text: &str| text.parse::<PciAddress>().unwrap();
        assert_eq!(ecam.read32(at("0002:40:00.0"), 0), 0);
        assert_eq!(ecam.read32(at("0002:41:1f.7"), 0xffc), 0x001f_fffc);
        ecam.write16(at("0002:40:00.1"), 4, 6);
        assert_eq!(*ecam.region.writes.borrow(), [(0x1004, 2, 6)]);
        for nobody in ["0002:3f:00.0", "0002:50:00.0", "40:00.0"] {
            assert_eq!(ecam.read32(at(nobody), 0), u32::MAX, "{nobody}");
        }
        assert_eq!(ecam.read32(at("0002:40:00.0"), 0x1000), u32::MAX, "the next function's space");
        assert_eq!(ecam.read32(at("0002:40:00.0"), 2), u32::MAX, "misaligned");
    }

    #[test]
    fn a_short_region_holds_fewer_buses() {
        assert_eq!(Ecam::new(echo(3 << 20), 0, 8..=255).unwrap().buses(), 8..=10);
        assert_eq!(Ecam::new(echo((3 << 20) - 1), 0, 8..=255).unwrap().buses(), 8..=9);
        assert_eq!(Ecam::new(echo(256 << 20), 0, 0..=0).unwrap().buses(), 0..=0);
        assert!(Ecam::new(echo((1 << 20) - 1), 0, 0..=255).is_none());
        assert!(Ecam::new(echo(1 << 20), 0, RangeInclusive::new(9, 8)).is_none());
    }

    #[test]
    fn the_base_is_that_of_bus_0() {
        let entry = EcamEntry { base: PhysAddr::new(0xe000_0000), segment: 0, buses: 0x10..=0x1f };
        assert_eq!(entry.region(), Some((PhysAddr::new(0xe100_0000), 16 << 20)));
        let empty = EcamEntry { buses: RangeInclusive::new(2, 1), ..entry.clone() };
        assert_eq!(empty.region(), None);
        let wrapping = EcamEntry { base: PhysAddr::new(u64::MAX << 20), ..entry.clone() };
        assert_eq!(wrapping.region(), None);
        let crooked = EcamEntry { base: PhysAddr::new(0xb000_0001), ..entry };
        assert_eq!(
            crooked.region(),
            None,
            "an address that firmware chose, and that registers would be read at"
        );
    }
}

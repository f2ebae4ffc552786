//! The two ways to config space.

use core::fmt;
use core::ops::RangeInclusive;

use paravane_hal_x86_64::port::X86Ports;
use paravane_pci::{Cam, ConfigAccess, Ecam, Patched, PciAddress};

use crate::platform::Region;

/// How this machine's config space is reached.
#[derive(Debug)]
pub enum BusAccess {
    /// By ports: 256 bytes a function. The image runs on one core, and its interrupt handlers read
    /// no config space.
    Ports(Cam<X86Ports>),
    /// By a mapped region: 4096 bytes a function.
    Ecam(Ecam<Region>),
}

impl fmt::Display for BusAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buses = self.buses();
        match self {
            Self::Ports(_) => f.write_str("by ports 0xcf8 and 0xcfc")?,
            Self::Ecam(ecam) if ecam.segment() == 0 => f.write_str("by ECAM")?,
            Self::Ecam(ecam) => write!(f, "of segment {:#06x} by ECAM", ecam.segment())?,
        }
        write!(f, ", buses {:#04x} to {:#04x}", buses.start(), buses.end())
    }
}

/// Hands a call to whichever way it is.
macro_rules! which {
    ($access:expr, $way:ident => $call:expr) => {
        match $access {
            BusAccess::Ports($way) => $call,
            BusAccess::Ecam($way) => $call,
        }
    };
}

impl ConfigAccess for BusAccess {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        which!(self, way => way.read8(at, offset))
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        which!(self, way => way.read16(at, offset))
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        which!(self, way => way.read32(at, offset))
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        which!(self, way => way.write8(at, offset, value));
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        which!(self, way => way.write16(at, offset, value));
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        which!(self, way => way.write32(at, offset, value));
    }
    fn config_bytes(&self) -> u16 {
        which!(self, way => way.config_bytes())
    }
    fn segment(&self) -> u16 {
        which!(self, way => way.segment())
    }
    fn buses(&self) -> RangeInclusive<u8> {
        which!(self, way => way.buses())
    }
}

/// Config space of this machine, for as long as it runs.
pub type Bus = &'static Patched<BusAccess>;

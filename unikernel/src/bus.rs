//! The machine's PCI bus: how config space is reached, and what is found there.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::ops::RangeInclusive;

use log::{info, warn};
use paravane_hal_x86_64::mmio::MmioRegion;
use paravane_hal_x86_64::port::X86Ports;
use paravane_nic::Kind;
use paravane_pci::{
    Cam, ConfigAccess, Ecam, EcamEntry, Found, Function, Ids, Patched, PciAddress, enumerate, mcfg,
};

use crate::firmware::PhysicalMemory;
use crate::platform::Machine;

/// How this machine's config space is reached.
#[derive(Debug)]
pub enum BusAccess {
    /// By ports: 256 bytes a function. The image runs on one core, and its interrupt handlers read
    /// no config space.
    Ports(Cam<X86Ports>),
    /// By a mapped region that ACPI's MCFG table names: 4096 bytes a function.
    Ecam(Ecam<MmioRegion>),
}

impl fmt::Display for BusAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buses = self.buses();
        match self {
            Self::Ports(_) => f.write_str("by ports 0xcf8 and 0xcfc")?,
            Self::Ecam(_) => f.write_str("by ECAM")?,
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

/// One byte of config space, replaced when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciPatch {
    /// Of which function.
    pub address: PciAddress,
    /// Where.
    pub offset: u16,
    /// What is read instead.
    pub value: u8,
}

/// A NIC that was found.
#[derive(Clone, Debug)]
pub struct FoundNic {
    /// Where.
    pub address: PciAddress,
    /// What.
    pub ids: Ids,
    /// Whose.
    pub kind: Kind,
    /// The bridges on the way.
    pub path: Vec<PciAddress>,
}

/// Opens the bus, with `patches` applied to what is read.
#[must_use]
pub fn open(machine: &Machine, patches: &[PciPatch]) -> Bus {
    let access = ecam(machine).map_or_else(|| BusAccess::Ports(Cam::new(machine.ports)), BusAccess::Ecam);
    info!("pci: config space {access}");
    let mut bus = Patched::new(access);
    for patch in patches {
        match bus.patch(patch.address, patch.offset, patch.value) {
            Ok(()) => {
                warn!(
                    "command line: config byte {:#x} of {} reads as {:#04x}",
                    patch.offset, patch.address, patch.value
                );
            }
            Err(full) => warn!("command line: patch of {} ignored: {full}", patch.address),
        }
    }
    Box::leak(Box::new(bus))
}

/// The region for segment 0 that ACPI names, if it names one and it can be mapped. Machines without
/// (QEMU's `pc`) have ports.
fn ecam(machine: &Machine) -> Option<Ecam<MmioRegion>> {
    let memory = |from, into: &mut [u8]| machine.firmware.read(from, into);
    let rsdp = machine.boot.rsdp?;
    let mut first = None;
    let listed = mcfg::ecam_entries(&memory, rsdp, &mut |entry: EcamEntry| {
        if first.is_none() && entry.segment == 0 {
            first = Some(entry);
        }
    });
    if let Err(reason) = listed {
        warn!("pci: ACPI tables not used: {reason}");
    }
    first?.map(&machine.platform).inspect_err(|reason| warn!("pci: {reason}")).ok()
}

/// Every NIC that there is a driver for, in PCI order. What is passed over on the way is said.
#[must_use]
pub fn find_nics(bus: Bus) -> Vec<FoundNic> {
    let mut nics = Vec::new();
    enumerate(bus, &mut |found| match found {
        Found::Function(found) => {
            if let Some(kind) = Kind::of(&found.ids) {
                nics.push(FoundNic {
                    address: found.address,
                    ids: found.ids,
                    kind,
                    path: found.path.to_vec(),
                });
            }
        }
        Found::Skipped(skip) => warn!("pci: {skip}"),
    });
    nics
}

/// Takes the function for a driver: the way to it is opened.
///
/// # Errors
///
/// A bridge on the way does not take it, or the function cannot be claimed.
pub fn claim(bus: Bus, found: &FoundNic) -> Result<Function<Bus>, Box<dyn Error>> {
    let function = Function::claim(bus, found.address)?;
    function.enable_path(&found.path)?;
    Ok(function)
}

//! The machine's PCI bus: how config space is reached, and what is found there.

use alloc::boxed::Box;
use alloc::vec::Vec;

use log::warn;
use paravane_hal_x86_64::port::X86Ports;
use paravane_pci::access::Exclusive;
use paravane_pci::{Cam, ConfigAccess, Found, Function, Ids, Patched, PciAddress, enable_path, enumerate};

use crate::app::config::PciPatch;
use crate::nic::{Kind, Vectors};

/// The image runs on one core, and its interrupt handlers read no config space: nobody can come between.
#[derive(Clone, Copy, Debug)]
pub struct OneCore;

impl Exclusive for OneCore {
    fn run<T>(&self, access: impl FnOnce() -> T) -> T {
        access()
    }
}

/// Config space of this machine.
pub type Bus = &'static Patched<Cam<X86Ports, OneCore>>;

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
pub fn open(ports: X86Ports, patches: &[PciPatch]) -> Bus {
    let mut bus = Patched::new(Cam::with_exclusive(ports, OneCore));
    for patch in patches {
        match bus.patch(patch.address, patch.offset, patch.value) {
            Ok(()) => warn!(
                "command line: config byte {:#x} of {} reads as {:#04x}",
                patch.offset, patch.address, patch.value
            ),
            Err(full) => warn!("command line: patch of {} ignored: {full}", patch.address),
        }
    }
    Box::leak(Box::new(bus))
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
/// Why not, in words.
pub fn claim(bus: Bus, found: &FoundNic) -> Result<Function<Bus>, crate::nic::NicError> {
    enable_path(&bus, &found.path).map_err(|error| crate::nic::NicError::new(&error))?;
    Function::claim(bus, found.address).map_err(|error| crate::nic::NicError::new(&error))
}

/// What a function can interrupt by. A capability that cannot be read counts as missing; the driver that needs it says why.
#[must_use]
pub fn vectors<C: ConfigAccess>(function: &Function<C>) -> Vectors {
    let msix = function.msix().ok().flatten().map_or(0, |msix| usize::from(msix.entries()));
    let msi = function.msi().ok().flatten().is_some();
    let line = function.read_interrupt_pin().and_then(|_| function.read_interrupt_line());
    Vectors { msix, msi, line }
}

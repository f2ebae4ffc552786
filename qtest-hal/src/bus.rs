//! What firmware would have done: bus numbers for bridges, windows through them, addresses for
//! BARs.
//!
//! The work is `paravane_pci`'s; here is which addresses the chipsets route to PCI and leave free.

use paravane_pci::assign::{AddressWindow, Outcome, Part, Resource, Windows, assign_all};
use paravane_pci::bar::BarKind;
use paravane_pci::bridge::WindowKind;
use paravane_pci::{ConfigAccess, PciAddress};

use crate::error::QtestError;
use crate::setup::Chipset;

/// Above any RAM we give, below the I/O interrupt controllers. `q35` has ECAM further down.
const MEMORY: (u64, u64) = (0xe000_0000, 0x1e00_0000);
/// The same of a microvm, whose ECAM is where the others have this.
const MICROVM_MEMORY: (u64, u64) = (0xc000_0000, 0x2000_0000);
/// Memory that takes 64 bits to name, above any RAM. A microvm routes none.
const HIGH_MEMORY: (u64, u64) = (0x10_0000_0000, 0x10_0000_0000);
/// Ports above those of the chipset's own functions.
const PORTS: (u64, u64) = (0xc000, 0x4000);

fn windows(chipset: Chipset) -> Windows {
    let window = |(start, len_bytes)| AddressWindow::new(start, len_bytes);
    let (memory32, prefetchable) = match chipset {
        Chipset::Pc | Chipset::Q35 => (window(MEMORY), window(HIGH_MEMORY)),
        Chipset::Microvm => (window(MICROVM_MEMORY), AddressWindow::EMPTY),
    };
    Windows { io: window(PORTS), memory32, memory64: AddressWindow::EMPTY, prefetchable }
}

/// Numbers the buses and places the BARs of everything below the buses `roots`, which ascend.
///
/// # Errors
///
/// [`QtestError::Bus`]: something has no bus numbers, or no memory. One without ports is not worth
/// a machine: drivers use none.
pub(crate) fn set_up<C: ConfigAccess>(
    config: &C,
    chipset: Chipset,
    roots: &[u8],
) -> Result<Vec<Resource>, QtestError> {
    let mut windows = windows(chipset);
    let mut all = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let last = roots.get(index + 1).map_or(u8::MAX, |next| next.saturating_sub(1));
        let mut list = vec![Resource::EMPTY; 4096];
        let assigned = assign_all(config, *root..=last, &mut windows, &mut list);
        all.extend_from_slice(assigned.map_err(|error| QtestError::Bus { reason: error.to_string() })?);
    }
    match all.iter().find(|resource| matches!(resource.outcome(), Outcome::Failed(_)) && !is_io(resource)) {
        Some(failed) => Err(QtestError::Bus { reason: failed.to_string() }),
        None => Ok(all),
    }
}

fn is_io(resource: &Resource) -> bool {
    match resource.part() {
        Part::Bar { shape, .. } => shape.kind == BarKind::Io,
        Part::Window(kind) => kind == WindowKind::Io,
        _ => false,
    }
}

/// Routes the four PCI lines of `pc`'s ISA bridge: which interrupt each becomes.
pub(crate) fn route_lines(config: &impl ConfigAccess) {
    const PIRQ_ROUTES: u16 = 0x60;
    let isa_bridge = PciAddress::from_devfn(0, 0, 1 << 3);
    config.write32(isa_bridge, PIRQ_ROUTES, u32::from_le_bytes([10, 11, 10, 11]));
}

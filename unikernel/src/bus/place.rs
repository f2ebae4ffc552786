//! Where a device is, and who takes it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use paravane_nic::Kind;
use paravane_pci::{Ids, PciAddress};

use super::mmio;
use super::pci::Bus;

/// A NIC that was found.
#[derive(Debug)]
pub struct FoundNic {
    /// Where.
    pub place: Place,
    /// Whose.
    pub kind: Kind,
}

/// Where a device is.
#[derive(Debug)]
pub enum Place {
    /// A function of a PCI bus.
    Pci {
        /// The bus.
        bus: Bus,
        /// Where on it.
        address: PciAddress,
        /// What it is.
        ids: Ids,
        /// The bridges on the way.
        path: Vec<PciAddress>,
    },
    /// Memory that no bus leads to.
    Mmio(mmio::Device),
}

impl Place {
    /// Where, for people.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Pci { address, .. } => address.to_string(),
            Self::Mmio(device) => alloc::format!("mmio:{:#x}", device.place.base.get()),
        }
    }

    /// What it says it is, for people.
    #[must_use]
    pub fn ids(&self) -> String {
        match self {
            Self::Pci { ids, .. } => ids.to_string(),
            Self::Mmio(device) => alloc::format!("virtio:{}", device.id),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { address, ids, .. } => write!(f, "{address} {ids}"),
            Self::Mmio(device) => write!(f, "mmio:{:#x} virtio:{}", device.place.base.get(), device.id),
        }
    }
}

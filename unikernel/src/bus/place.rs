//! Where a device is, and who takes it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use paravane_nic::Kind;
use paravane_pci::{Ids, PciAddress};
use paravane_virtio::transport::pci::device_id;

use super::access::Bus;
use super::mmio;

/// A device that was found.
#[derive(Debug)]
pub struct Found<K> {
    /// Where.
    pub place: Place,
    /// What it is to whoever looked for it.
    pub kind: K,
}

/// A NIC that was found, and whose it is.
pub type FoundNic = Found<Kind>;

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
    /// The driver that takes the device, if it is a NIC.
    #[must_use]
    pub fn nic_kind(&self) -> Option<Kind> {
        match self {
            Self::Pci { ids, .. } => Kind::of(ids),
            Self::Mmio(_) if self.virtio_id() == Some(paravane_virtio::net::DEVICE_ID) => {
                Some(Kind::VirtioNet)
            }
            Self::Mmio(_) => None,
        }
    }

    /// Which virtio device it is, if it is one.
    #[must_use]
    pub fn virtio_id(&self) -> Option<u16> {
        match self {
            Self::Pci { ids, .. } => device_id(ids),
            Self::Mmio(device) => Some(device.id),
        }
    }

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

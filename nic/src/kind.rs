//! Which driver is whose.

use paravane_pci::Ids;
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::pci;

/// Which driver a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// VMware's NIC.
    Vmxnet3,
    /// The virtio network device.
    VirtioNet,
}

impl Kind {
    /// The driver for a function with these ids, if there is one.
    #[must_use]
    pub fn of(ids: &Ids) -> Option<Self> {
        if paravane_vmxnet3::is_vmxnet3(ids) {
            Some(Self::Vmxnet3)
        } else if pci::device_id(ids) == Some(virtio_net::DEVICE_ID) {
            Some(Self::VirtioNet)
        } else {
            None
        }
    }

    /// The driver's name, as in [`NicInfo::driver`](paravane_net::NicInfo::driver).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            Self::VirtioNet => "virtio-net",
        }
    }
}

//! What can go wrong with a NIC of either kind: one type.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_pci::Ids;
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::mmio::MmioError;
use paravane_virtio::transport::pci::PciError;

/// A NIC did not do what it was asked. Which NIC, its owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NicError {
    /// There is no driver for such a function.
    NoDriver(Ids),
    /// It runs already.
    Running,
    /// It does not run.
    NotRunning,
    /// The queues are another NIC's. This one still runs.
    ForeignQueues,
    /// A VMXNET3 device cannot be taken into use.
    Vmxnet3Open(paravane_vmxnet3::BringUpError),
    /// A VMXNET3 device cannot be started.
    Vmxnet3Start(paravane_vmxnet3::StartError),
    /// A VMXNET3 device was not stopped.
    Vmxnet3Stop(paravane_vmxnet3::StopError),
    /// The registers of a virtio function cannot be found or reached.
    VirtioPci(PciError),
    /// There is no virtio device in a place of registers, or none that is driven.
    VirtioMmio(MmioError),
    /// A virtio network device cannot be taken into use.
    VirtioOpen(virtio_net::BringUpError),
    /// A virtio network device cannot be started.
    VirtioStart(virtio_net::StartError),
    /// A virtio network device was not stopped.
    VirtioStop(virtio_net::StopError),
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver(ids) => {
                write!(
                    f,
                    "no driver for {ids}: neither vmxnet3 (15ad:07b0) nor virtio-net (1af4:1041, 1af4:1000)"
                )
            }
            Self::Running => f.write_str("it runs already"),
            Self::NotRunning => f.write_str("it does not run"),
            Self::ForeignQueues => f.write_str("not stopped: the queues are another NIC's"),
            Self::Vmxnet3Open(error) => error.fmt(f),
            Self::Vmxnet3Start(error) => error.fmt(f),
            Self::Vmxnet3Stop(error) => error.fmt(f),
            Self::VirtioPci(error) => error.fmt(f),
            Self::VirtioMmio(error) => error.fmt(f),
            Self::VirtioOpen(error) => error.fmt(f),
            Self::VirtioStart(error) => error.fmt(f),
            Self::VirtioStop(error) => error.fmt(f),
        }
    }
}

impl Error for NicError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoDriver(_) | Self::Running | Self::NotRunning | Self::ForeignQueues => None,
            Self::Vmxnet3Open(error) => Some(error),
            Self::Vmxnet3Start(error) => Some(error),
            Self::Vmxnet3Stop(error) => Some(error),
            Self::VirtioPci(error) => Some(error),
            Self::VirtioMmio(error) => Some(error),
            Self::VirtioOpen(error) => Some(error),
            Self::VirtioStart(error) => Some(error),
            Self::VirtioStop(error) => Some(error),
        }
    }
}

impl<P> From<Failed<Self, P>> for NicError {
    /// The parts are dropped; of a NIC that was not stopped, what its device may still reach is
    /// leaked.
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

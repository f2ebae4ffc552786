//! The drivers' devices as one: a closed choice by `enum` rather than trait objects, for parts move
//! in and out.

use paravane_hal::irq::Interrupts;
use paravane_hal::mmio::MmioDevice;
use paravane_hal::{Failed, Platform};
use paravane_net::FramePool;
use paravane_pci::{ConfigAccess, Function, Ids};
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::Transport;
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::pci::{self, PciTransport};

use crate::config::Config;
use crate::error::NicError;
use crate::interrupts::IrqMode;
use crate::queues::{NicControl, NicRx, NicTx, Queues};

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

    /// Whether the device keeps out frames that the receive filter does not ask for. One that
    /// cannot refuses filters that are stricter than it is.
    #[must_use]
    pub const fn filters(self) -> bool {
        match self {
            Self::Vmxnet3 => true,
            Self::VirtioNet => false,
        }
    }
}

/// A NIC that is found, identified and stopped.
pub(crate) enum Device<P: Platform, C: ConfigAccess> {
    Vmxnet3(paravane_vmxnet3::Device<P, C>),
    VirtioPci(virtio_net::Device<P, PciTransport<P::Region, C>>),
    VirtioMmio(virtio_net::Device<P, MmioTransport<P::Region>>),
}

/// What a NIC is on, given up with it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Place<R, C> {
    /// A function.
    Pci(Function<C>),
    /// A place of registers.
    Mmio(MmioDevice<R>),
}

/// Both halves of one that runs.
type Running<P, C> = (NicControl<P, C>, Queues<P>);

impl<P: Platform, C: ConfigAccess> Device<P, C> {
    pub(crate) fn open(function: Function<C>, platform: P) -> Result<Self, Failed<NicError, Function<C>>> {
        let ids = function.ids();
        match Kind::of(&ids) {
            Some(Kind::Vmxnet3) => paravane_vmxnet3::Device::new(function, platform)
                .map(Self::Vmxnet3)
                .map_err(|failed| wrap(failed, NicError::Vmxnet3Open, |function| function)),
            Some(Kind::VirtioNet) => {
                let transport = PciTransport::open(function, &platform)
                    .map_err(|failed| wrap(failed, NicError::VirtioPci, |function| function))?;
                virtio_net::Device::new(transport, platform.clone()).map(Self::VirtioPci).map_err(|failed| {
                    wrap(failed, NicError::VirtioOpen, |transport| transport.into_function(&platform))
                })
            }
            None => Err(Failed::new(NicError::NoDriver(ids), function)),
        }
    }

    pub(crate) fn open_mmio(
        device: MmioDevice<P::Region>,
        platform: P,
    ) -> Result<Self, Failed<NicError, MmioDevice<P::Region>>> {
        let transport = MmioTransport::open(device)
            .map_err(|failed| wrap(failed, NicError::VirtioMmio, |device| device))?;
        virtio_net::Device::new(transport, platform)
            .map(Self::VirtioMmio)
            .map_err(|failed| wrap(failed, NicError::VirtioOpen, MmioTransport::into_device))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Vmxnet3(_) => Kind::Vmxnet3,
            Self::VirtioPci(_) | Self::VirtioMmio(_) => Kind::VirtioNet,
        }
    }

    pub(crate) fn into_place(self) -> Place<P::Region, C> {
        match self {
            Self::Vmxnet3(device) => Place::Pci(device.into_function()),
            Self::VirtioPci(device) => {
                let (transport, platform) = device.into_parts();
                Place::Pci(transport.into_function(&platform))
            }
            Self::VirtioMmio(device) => Place::Mmio(device.into_parts().0.into_device()),
        }
    }

    /// Which kind of interrupt its host wants; `Auto` if it does not say.
    pub(crate) fn wanted_interrupts(&self) -> IrqMode {
        use paravane_vmxnet3::WantedInterrupts as Wanted;
        match self {
            Self::Vmxnet3(device) => match device.wanted_interrupts() {
                Wanted::Any => IrqMode::Auto,
                Wanted::Intx => IrqMode::Line,
                Wanted::Msi => IrqMode::Msi,
                Wanted::Msix => IrqMode::Msix,
            },
            Self::VirtioPci(_) | Self::VirtioMmio(_) => IrqMode::Auto,
        }
    }

    pub(crate) fn start(
        self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, C>, Failed<NicError, Self>> {
        match self {
            Self::Vmxnet3(device) => {
                let mut wanted = paravane_vmxnet3::Config::default();
                (wanted.tx_entries, wanted.rx_entries) = (config.tx_entries, config.rx_entries);
                wanted.ip_mtu_bytes = config.ip_mtu_bytes.unwrap_or(wanted.ip_mtu_bytes);
                let running = device
                    .start(&wanted, pool, interrupts)
                    .map_err(|failed| wrap(failed, NicError::Vmxnet3Start, Self::Vmxnet3))?;
                let queues = Queues { rx: NicRx::Vmxnet3(running.rx), tx: NicTx::Vmxnet3(running.tx) };
                Ok((NicControl::Vmxnet3(running.control), queues))
            }
            Self::VirtioPci(device) => {
                let running = device
                    .start(&virtio_config(config), pool, interrupts)
                    .map_err(|failed| wrap(failed, NicError::VirtioStart, Self::VirtioPci))?;
                let queues = Queues { rx: NicRx::VirtioNet(running.rx), tx: NicTx::VirtioNet(running.tx) };
                Ok((NicControl::VirtioPci(running.control), queues))
            }
            Self::VirtioMmio(device) => {
                let running = device
                    .start(&virtio_config(config), pool, interrupts)
                    .map_err(|failed| wrap(failed, NicError::VirtioStart, Self::VirtioMmio))?;
                let queues = Queues { rx: NicRx::VirtioNet(running.rx), tx: NicTx::VirtioNet(running.tx) };
                Ok((NicControl::VirtioMmio(running.control), queues))
            }
        }
    }

    /// Stops the NIC that `control` and `queues` are the parts of.
    pub(crate) fn stop(
        control: NicControl<P, C>,
        queues: Queues<P>,
    ) -> Result<Self, Failed<NicError, Running<P, C>>> {
        match (control, queues.rx, queues.tx) {
            (NicControl::Vmxnet3(control), NicRx::Vmxnet3(rx), NicTx::Vmxnet3(tx)) => {
                control.stop(rx, tx).map(Self::Vmxnet3).map_err(|failed| {
                    let error = match failed.error() {
                        paravane_vmxnet3::StopError::ForeignQueue => |_| NicError::ForeignQueues,
                        _ => NicError::Vmxnet3Stop,
                    };
                    wrap(failed, error, |back| {
                        let queues = Queues { rx: NicRx::Vmxnet3(back.rx), tx: NicTx::Vmxnet3(back.tx) };
                        (NicControl::Vmxnet3(back.control), queues)
                    })
                })
            }
            (NicControl::VirtioPci(control), NicRx::VirtioNet(rx), NicTx::VirtioNet(tx)) => control
                .stop(rx, tx)
                .map(Self::VirtioPci)
                .map_err(|failed| not_stopped(failed, NicControl::VirtioPci)),
            (NicControl::VirtioMmio(control), NicRx::VirtioNet(rx), NicTx::VirtioNet(tx)) => control
                .stop(rx, tx)
                .map(Self::VirtioMmio)
                .map_err(|failed| not_stopped(failed, NicControl::VirtioMmio)),
            (control, rx, tx) => Err(Failed::new(NicError::ForeignQueues, (control, Queues { rx, tx }))),
        }
    }
}

fn virtio_config(config: &Config) -> virtio_net::Config {
    // The MTU is the device's word; a smaller one is kept by the stack alone.
    virtio_net::Config::default().with_tx_entries(config.tx_entries).with_rx_entries(config.rx_entries)
}

/// A virtio device was not stopped; its parts as ours.
fn not_stopped<P: Platform, C: ConfigAccess, T: Transport<P::Region>>(
    failed: Failed<virtio_net::StopError, virtio_net::Running<P, T>>,
    control: impl FnOnce(virtio_net::NetControl<P, T>) -> NicControl<P, C>,
) -> Failed<NicError, Running<P, C>> {
    let error = match failed.error() {
        virtio_net::StopError::ForeignQueue => |_| NicError::ForeignQueues,
        _ => NicError::VirtioStop,
    };
    wrap(failed, error, |back| {
        let queues = Queues { rx: NicRx::VirtioNet(back.rx), tx: NicTx::VirtioNet(back.tx) };
        (control(back.control), queues)
    })
}

/// A driver's failure as ours.
fn wrap<E, A, B>(
    failed: Failed<E, A>,
    error: impl FnOnce(E) -> NicError,
    parts: impl FnOnce(A) -> B,
) -> Failed<NicError, B> {
    let (reason, back) = failed.into_parts();
    Failed::new(error(reason), parts(back))
}

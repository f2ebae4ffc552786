//! The drivers' devices as one: a closed choice by `enum` rather than trait objects, for parts move
//! in and out.

use paravane_hal::irq::Interrupts;
use paravane_hal::mmio::MmioDevice;
use paravane_hal::{Failed, Platform};
use paravane_net::{Config, Device as NetDevice, FramePool, Running};
use paravane_pci::{ConfigAccess, Function};
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::any::{self, Any, Place};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::pci::OpenError;

use crate::error::NicError;
use crate::interrupts::IrqMode;
use crate::kind::Kind;
use crate::queues::{NicControl, NicRx, NicTx};

/// A NIC of either kind that is stopped: a [`paravane_net::Device`] like that of one driver.
#[non_exhaustive]
pub enum Device<P: Platform, C: ConfigAccess> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::Device<P, C>),
    /// The virtio network device.
    VirtioNet(virtio_net::Device<P, Any<P, C>>),
}

impl<P: Platform, C: ConfigAccess> Device<P, C> {
    /// Takes over the device behind `function`, which ids say the driver of, and stops what its
    /// last owner left running. A virtio device that has nothing else is driven by its legacy
    /// ports, where the platform has ports.
    ///
    /// # Errors
    ///
    /// [`NicError`], and the function back.
    pub fn open(function: Function<C>, platform: P) -> Result<Self, Failed<NicError, Function<C>>> {
        let ids = function.ids();
        match Kind::of(&ids) {
            Some(Kind::Vmxnet3) => paravane_vmxnet3::Device::new(function, platform)
                .map(Self::Vmxnet3)
                .map_err(|failed| wrap(failed, NicError::Vmxnet3Open, |function| function)),
            Some(Kind::VirtioNet) => any::open_pci(function, platform)
                .map(Self::VirtioNet)
                .map_err(|failed| wrap(failed, not_opened, |function| function)),
            None => Err(Failed::new(NicError::NoDriver(ids), function)),
        }
    }

    /// Takes over the virtio network device behind `device`'s registers, and stops what its last
    /// owner left running.
    ///
    /// # Errors
    ///
    /// [`NicError`], and `device` back.
    pub fn open_mmio(
        device: MmioDevice<P::Region>,
        platform: P,
    ) -> Result<Self, Failed<NicError, MmioDevice<P::Region>>> {
        let transport = MmioTransport::open(device)
            .map_err(|failed| wrap(failed, NicError::VirtioMmio, |device| device))?;
        any::open_mmio(transport, platform)
            .map(Self::VirtioNet)
            .map_err(|failed| wrap(failed, NicError::VirtioOpen, MmioTransport::into_device))
    }

    /// Which driver it has.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Vmxnet3(_) => Kind::Vmxnet3,
            Self::VirtioNet(_) => Kind::VirtioNet,
        }
    }

    /// Gives up what it is on.
    #[must_use]
    pub fn into_place(self) -> Place<P::Region, C> {
        match self {
            Self::Vmxnet3(device) => Place::Pci(device.into_function()),
            Self::VirtioNet(device) => any::close(device.into_parts()),
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
            Self::VirtioNet(_) => IrqMode::Auto,
        }
    }
}

impl<P: Platform, C: ConfigAccess + Send> NetDevice for Device<P, C> {
    type Control = NicControl<P, C>;
    type Rx = NicRx<P>;
    type Tx = NicTx<P>;
    type Config = Config;
    type StartError = NicError;
    type StopError = NicError;

    fn start(
        self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<Self>, Failed<NicError, Self>> {
        match self {
            Self::Vmxnet3(device) => device
                .start(&(*config).into(), pool, interrupts)
                .map(vmxnet3)
                .map_err(|failed| wrap(failed, NicError::Vmxnet3Start, Self::Vmxnet3)),
            Self::VirtioNet(device) => device
                .start(&(*config).into(), pool, interrupts)
                .map(virtio_net)
                .map_err(|failed| wrap(failed, NicError::VirtioStart, Self::VirtioNet)),
        }
    }

    fn stop(Running { control, rx, tx }: Running<Self>) -> Result<Self, Failed<NicError, Running<Self>>> {
        match (control, rx, tx) {
            (NicControl::Vmxnet3(control), NicRx::Vmxnet3(rx), NicTx::Vmxnet3(tx)) => control
                .stop(rx, tx)
                .map(Self::Vmxnet3)
                .map_err(|failed| wrap(failed, vmxnet3_not_stopped, vmxnet3)),
            (NicControl::VirtioNet(control), NicRx::VirtioNet(rx), NicTx::VirtioNet(tx)) => control
                .stop(rx, tx)
                .map(Self::VirtioNet)
                .map_err(|failed| wrap(failed, virtio_not_stopped, virtio_net)),
            (control, rx, tx) => Err(Failed::new(NicError::ForeignQueues, Running { control, rx, tx })),
        }
    }
}

/// The parts of a driver as ours.
fn vmxnet3<P: Platform, C: ConfigAccess + Send>(
    Running { control, rx, tx }: paravane_vmxnet3::Running<P, C>,
) -> Running<Device<P, C>> {
    Running { control: NicControl::Vmxnet3(control), rx: NicRx::Vmxnet3(rx), tx: NicTx::Vmxnet3(tx) }
}

fn virtio_net<P: Platform, C: ConfigAccess + Send>(
    Running { control, rx, tx }: virtio_net::Running<P, Any<P, C>>,
) -> Running<Device<P, C>> {
    Running { control: NicControl::VirtioNet(control), rx: NicRx::VirtioNet(rx), tx: NicTx::VirtioNet(tx) }
}

/// The errors of a driver as ours.
fn not_opened(error: OpenError) -> NicError {
    match error {
        OpenError::Pci(error) => NicError::VirtioPci(error),
        OpenError::Device(error) => NicError::VirtioOpen(error),
    }
}

fn vmxnet3_not_stopped(error: paravane_vmxnet3::StopError) -> NicError {
    match error {
        paravane_vmxnet3::StopError::ForeignQueue => NicError::ForeignQueues,
        other => NicError::Vmxnet3Stop(other),
    }
}

fn virtio_not_stopped(error: virtio_net::StopError) -> NicError {
    match error {
        virtio_net::StopError::ForeignQueue => NicError::ForeignQueues,
        other => NicError::VirtioStop(other),
    }
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

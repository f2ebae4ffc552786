//! The drivers, seen alike: what differs is how they are opened, started and stopped.

use alloc::string::{String, ToString as _};
use core::fmt;

use paravane_hal::Platform;
use paravane_hal::irq::Interrupts;
use paravane_net::{Control, FramePool, RxQueue, TxQueue};
use paravane_pci::{ConfigAccess, Function};
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::pci::PciTransport;

/// A NIC driver on platform `P`.
pub trait Driver<P: Platform, C: ConfigAccess> {
    /// A device that is stopped.
    type Stopped;
    /// The control half of a running one.
    type Control: Control;
    /// Its receive queue.
    type Rx: RxQueue;
    /// Its transmit queue.
    type Tx: TxQueue;

    /// Whether the device keeps out what the filter does not ask for. One that cannot refuses
    /// filters that are stricter than it is.
    const FILTERS: bool;

    /// Takes the function over.
    ///
    /// # Errors
    ///
    /// The driver's reason.
    fn open(function: Function<C>, platform: P) -> Result<Self::Stopped, String>;

    /// Starts it, with rings of `entries`.
    ///
    /// # Errors
    ///
    /// The driver's reason.
    fn start(
        stopped: Self::Stopped,
        pool: FramePool,
        entries: u16,
        interrupts: Interrupts<'_>,
    ) -> Result<Parts<P, C, Self>, String>;

    /// Stops it.
    ///
    /// # Errors
    ///
    /// The driver's reason.
    fn stop(parts: Parts<P, C, Self>) -> Result<Self::Stopped, String>;
}

/// A running NIC.
pub struct Parts<P: Platform, C: ConfigAccess, D: Driver<P, C> + ?Sized> {
    /// Control half.
    pub control: D::Control,
    /// Receive queue.
    pub rx: D::Rx,
    /// Transmit queue.
    pub tx: D::Tx,
}

impl<P: Platform, C: ConfigAccess, D: Driver<P, C> + ?Sized> fmt::Debug for Parts<P, C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.control.info())
    }
}

/// The driver for VMware's NIC.
#[derive(Clone, Copy, Debug)]
pub enum Vmxnet3 {}

impl<P: Platform, C: ConfigAccess + Send> Driver<P, C> for Vmxnet3 {
    type Stopped = paravane_vmxnet3::Device<P, C>;
    type Control = paravane_vmxnet3::VmxControl<P, C>;
    type Rx = paravane_vmxnet3::RxQueue<P>;
    type Tx = paravane_vmxnet3::TxQueue<P>;

    const FILTERS: bool = true;

    fn open(function: Function<C>, platform: P) -> Result<Self::Stopped, String> {
        paravane_vmxnet3::Device::new(function, platform).map_err(|failed| failed.to_string())
    }

    fn start(
        stopped: Self::Stopped,
        pool: FramePool,
        entries: u16,
        interrupts: Interrupts<'_>,
    ) -> Result<Parts<P, C, Self>, String> {
        let mut config = paravane_vmxnet3::Config::default();
        (config.tx_entries, config.rx_entries) = (entries, entries);
        let running = stopped.start(&config, pool, interrupts);
        let running = running.map_err(|failed| failed.to_string())?;
        Ok(Parts { control: running.control, rx: running.rx, tx: running.tx })
    }

    fn stop(Parts { control, rx, tx }: Parts<P, C, Self>) -> Result<Self::Stopped, String> {
        control.stop(rx, tx).map_err(|failed| failed.to_string())
    }
}

/// The driver for the virtio network device.
#[derive(Clone, Copy, Debug)]
pub enum VirtioNet {}

impl<P: Platform, C: ConfigAccess + Send> Driver<P, C> for VirtioNet {
    type Stopped = virtio_net::Device<P, PciTransport<P::Region, C>>;
    type Control = virtio_net::NetControl<P, PciTransport<P::Region, C>>;
    type Rx = virtio_net::RxQueue<P>;
    type Tx = virtio_net::TxQueue<P>;

    const FILTERS: bool = false;

    fn open(function: Function<C>, platform: P) -> Result<Self::Stopped, String> {
        let transport = PciTransport::open(function, &platform).map_err(|failed| failed.to_string())?;
        virtio_net::Device::new(transport, platform).map_err(|failed| failed.to_string())
    }

    fn start(
        stopped: Self::Stopped,
        pool: FramePool,
        entries: u16,
        interrupts: Interrupts<'_>,
    ) -> Result<Parts<P, C, Self>, String> {
        let config = virtio_net::Config::default().with_tx_entries(entries).with_rx_entries(entries);
        let running = stopped.start(&config, pool, interrupts);
        let running = running.map_err(|failed| failed.to_string())?;
        Ok(Parts { control: running.control, rx: running.rx, tx: running.tx })
    }

    fn stop(Parts { control, rx, tx }: Parts<P, C, Self>) -> Result<Self::Stopped, String> {
        control.stop(rx, tx).map_err(|failed| failed.to_string())
    }
}

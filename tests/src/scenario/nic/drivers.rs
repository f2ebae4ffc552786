//! The drivers, under one set of names.

use anyhow::{Result, anyhow};
use paravane_hal::irq::Interrupts;
use paravane_net::{Control, FramePool, RxQueue, TxQueue};
use paravane_pci::{Function, Ids};
use paravane_virtio::transport::pci::{self, Pci};

use super::RING_ENTRIES;
use crate::scenario::{Stage, said};

/// A started device in parts, whichever driver it has.
pub(super) struct Parts<'a> {
    pub(super) control: &'a mut dyn Control,
    pub(super) rx: &'a mut dyn RxQueue,
    pub(super) tx: &'a mut dyn TxQueue,
}

/// A driver with a stopped device.
pub(super) trait Nic<S: Stage>: Sized {
    /// Whether it lets the device choose among frames.
    const FILTERS: bool;
    /// With a running one.
    type Running;

    fn is_it(ids: &Ids) -> bool;
    fn open(function: Function<S::Config>, platform: S::Platform) -> Result<Self>;
    fn start(self, pool: FramePool, interrupts: Interrupts<'_>) -> Result<Self::Running>;
    fn parts(running: &mut Self::Running) -> Parts<'_>;
    fn stop(running: Self::Running) -> Result<Self>;
}

impl<S: Stage> Nic<S> for paravane_vmxnet3::Device<S::Platform, S::Config> {
    const FILTERS: bool = true;
    type Running = paravane_vmxnet3::Running<S::Platform, S::Config>;

    fn is_it(ids: &Ids) -> bool {
        paravane_vmxnet3::is_vmxnet3(ids)
    }
    fn open(function: Function<S::Config>, platform: S::Platform) -> Result<Self> {
        Self::new(function, platform).map_err(|failed| anyhow!("cannot open: {failed}"))
    }
    fn start(self, pool: FramePool, interrupts: Interrupts<'_>) -> Result<Self::Running> {
        let config = paravane_vmxnet3::Config::default()
            .with_tx_entries(RING_ENTRIES)
            .with_rx_entries(RING_ENTRIES)
            .with_rx2_entries(RING_ENTRIES);
        self.start(&config, pool, interrupts).map_err(|failed| anyhow!("cannot start: {failed}"))
    }
    fn parts(running: &mut Self::Running) -> Parts<'_> {
        Parts { control: &mut running.control, rx: &mut running.rx, tx: &mut running.tx }
    }
    fn stop(running: Self::Running) -> Result<Self> {
        said(running.stop(), "cannot stop")
    }
}

impl<S: Stage> Nic<S> for paravane_virtio::net::Device<S::Platform, Pci<S::Platform, S::Config>> {
    // What the control queue would be for.
    const FILTERS: bool = false;
    type Running = paravane_virtio::net::Running<S::Platform, Pci<S::Platform, S::Config>>;

    fn is_it(ids: &Ids) -> bool {
        pci::device_id(ids) == Some(paravane_virtio::net::DEVICE_ID)
    }
    fn open(function: Function<S::Config>, platform: S::Platform) -> Result<Self> {
        let transport = Pci::<S::Platform, _>::open(function, &platform);
        let transport = transport.map_err(|failed| anyhow!("cannot open: {failed}"))?;
        Self::new(transport, platform).map_err(|failed| anyhow!("cannot open: {failed}"))
    }
    fn start(self, pool: FramePool, interrupts: Interrupts<'_>) -> Result<Self::Running> {
        let config = paravane_virtio::net::Config::default()
            .with_tx_entries(RING_ENTRIES)
            .with_rx_entries(RING_ENTRIES);
        self.start(&config, pool, interrupts).map_err(|failed| anyhow!("cannot start: {failed}"))
    }
    fn parts(running: &mut Self::Running) -> Parts<'_> {
        Parts { control: &mut running.control, rx: &mut running.rx, tx: &mut running.tx }
    }
    fn stop(running: Self::Running) -> Result<Self> {
        running.stop().map_err(|failed| anyhow!("cannot stop: {failed}"))
    }
}

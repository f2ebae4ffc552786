//! Our NIC drivers on their devices: one life, so one subject.

use anyhow::{Context, Result};
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_net::{Burst, Device, FrameLayout, FramePool, Running, RxQueue, TxQueue};
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::pci;

use super::{BUFFERS, Kind, Nic, Point, Subject, fill};
use crate::device::{virtio, vmxnet3};
use crate::platform::Plain;

/// The device's side.
trait Wire {
    /// The device takes and completes what it was given.
    fn transmit(&self, kind: Kind);
    /// It delivers `frame` so often.
    fn deliver(&self, frame: &[u8], frames: usize, kind: Kind);
    /// Frames sent since the beginning.
    fn sent(&self) -> u64;
}

impl Wire for vmxnet3::Port {
    fn transmit(&self, _kind: Kind) {
        self.device().transmit();
    }
    fn deliver(&self, frame: &[u8], frames: usize, kind: Kind) {
        self.device().deliver(frame, frames, kind);
    }
    fn sent(&self) -> u64 {
        self.device().sent
    }
}

impl Wire for virtio::Port {
    fn transmit(&self, kind: Kind) {
        self.device().transmit(kind);
    }
    fn deliver(&self, frame: &[u8], frames: usize, kind: Kind) {
        self.device().deliver(frame, frames, kind);
    }
    fn sent(&self) -> u64 {
        self.device().sent
    }
}

/// `paravane-vmxnet3`, running.
pub fn vmxnet3() -> Result<impl Subject + Nic> {
    let port: &'static vmxnet3::Port = Box::leak(Box::default());
    let platform = Plain::new(port);
    let device = paravane_vmxnet3::Device::new(vmxnet3::Port::space().claim()?, platform);
    Ours::start(port, platform, device.map_err(Failed::into_error)?)
}

/// `paravane-virtio`, running, on split or packed queues.
pub fn virtio(packed: bool) -> Result<impl Subject + Nic> {
    let port: &'static virtio::Port = Box::leak(Box::new(virtio::Port::new(&virtio::NET, packed)));
    let platform = Plain::new(port);
    let device = pci::open(port.space().claim()?, platform, virtio_net::Device::new);
    Ours::start(port, platform, device.map_err(Failed::into_error)?)
}

/// A driver, running.
struct Ours<D: Device, W: 'static> {
    wire: &'static W,
    running: Running<D>,
    pool: FramePool,
    burst: Burst,
    received: u64,
}

impl<D: Device<Config: Default>, W> Ours<D, W> {
    fn start(wire: &'static W, platform: Plain, stopped: D) -> Result<Self> {
        let pool = FramePool::new(platform, FrameLayout::new(BUFFERS))?;
        let running = stopped
            .start(&D::Config::default(), pool.clone(), Interrupts::POLLING)
            .map_err(Failed::into_error)
            .context("the driver does not start")?;
        Ok(Self { wire, running, pool, burst: Burst::new(), received: 0 })
    }
}

impl<D: Device, W: Wire> Subject for Ours<D, W> {
    fn send(&mut self, point: &Point) {
        fill(&self.pool, &mut self.burst, point);
        let _ = self.running.tx.transmit(&mut self.burst);
    }

    fn device_sends(&mut self, point: Point) {
        self.wire.transmit(point.kind);
    }

    fn reclaim(&mut self) {
        let _ = self.running.tx.reclaim();
    }

    fn device_receives(&mut self, frame: &[u8], point: Point) {
        self.wire.deliver(frame, point.burst, point.kind);
    }

    fn receive(&mut self) {
        let frames = self.running.rx.receive(&mut self.burst).unwrap_or(0);
        self.received += frames as u64;
        self.burst.clear();
    }

    fn moved(&self) -> (u64, u64) {
        (self.wire.sent(), self.received)
    }
}

impl<D: Device, W: Wire> Nic for Ours<D, W> {
    fn pool(&self) -> &FramePool {
        &self.pool
    }

    fn rx(&mut self) -> &mut dyn RxQueue {
        &mut self.running.rx
    }

    fn tx(&mut self) -> &mut dyn TxQueue {
        &mut self.running.tx
    }

    fn deliver(&mut self, frame: &[u8]) {
        self.wire.deliver(frame, 1, Kind::Plain);
    }

    fn device_sends(&mut self) {
        self.wire.transmit(Kind::Plain);
    }

    fn sent(&self) -> u64 {
        self.wire.sent()
    }
}

//! `paravane-virtio` on [`device::virtio`](crate::device::virtio).

use anyhow::{Context, Result};
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_net::{Burst, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::transport::pci::{self, Pci};

use super::{BUFFERS, Point, Subject, fill};
use crate::device::virtio::{NET, Port};
use crate::platform::Plain;
use crate::space::Space;

/// The driver, running.
pub struct Virtio {
    port: &'static Port,
    running: Running<Plain, Pci<Plain, Space>>,
    pool: FramePool,
    burst: Burst,
    received: u64,
}

impl Virtio {
    /// Starts it, on split or packed queues.
    pub fn start(packed: bool) -> Result<Self> {
        let port: &'static Port = Box::leak(Box::new(Port::new(&NET, packed)));
        let platform = Plain::new(port);
        let pool = FramePool::new(platform, FrameLayout::new(BUFFERS))?;
        let device = pci::open(port.space().claim()?, platform, Device::new).map_err(Failed::into_error)?;
        let running = device
            .start(&Config::default(), pool.clone(), Interrupts::POLLING)
            .map_err(Failed::into_error)
            .context("virtio does not start")?;
        Ok(Self { port, running, pool, burst: Burst::new(), received: 0 })
    }
}

impl Subject for Virtio {
    fn send(&mut self, point: &Point) {
        fill(&self.pool, &mut self.burst, point);
        let _ = self.running.tx.transmit(&mut self.burst);
    }

    fn device_sends(&mut self, point: Point) {
        self.port.device().transmit(point.kind);
    }

    fn reclaim(&mut self) {
        let _ = self.running.tx.reclaim();
    }

    fn device_receives(&mut self, frame: &[u8], point: Point) {
        self.port.device().deliver(frame, point.burst, point.kind);
    }

    fn receive(&mut self) {
        let frames = self.running.rx.receive(&mut self.burst).unwrap_or(0);
        self.received += frames as u64;
        self.burst.clear();
    }

    fn moved(&self) -> (u64, u64) {
        (self.port.device().sent, self.received)
    }
}

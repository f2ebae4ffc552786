//! `paravane-vmxnet3` on [`device::vmxnet3`](crate::device::vmxnet3).

use anyhow::{Context, Result};
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_net::{Burst, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_vmxnet3::{Config, Device, Running};

use super::{BUFFERS, Point, Subject, fill};
use crate::device::vmxnet3::Port;
use crate::platform::Plain;
use crate::space::Space;

/// The driver, running.
pub struct Vmxnet3 {
    port: &'static Port,
    running: Running<Plain, Space>,
    pool: FramePool,
    burst: Burst,
    received: u64,
}

impl Vmxnet3 {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let port: &'static Port = Box::leak(Box::default());
        let platform = Plain::new(port);
        let pool = FramePool::new(platform, FrameLayout::new(BUFFERS))?;
        let device = Device::new(Port::space().claim()?, platform).map_err(Failed::into_error)?;
        let running = device
            .start(&Config::default(), pool.clone(), Interrupts::POLLING)
            .map_err(Failed::into_error)
            .context("vmxnet3 does not start")?;
        Ok(Self { port, running, pool, burst: Burst::new(), received: 0 })
    }
}

impl Subject for Vmxnet3 {
    fn send(&mut self, point: &Point) {
        fill(&self.pool, &mut self.burst, point);
        let _ = self.running.tx.transmit(&mut self.burst);
    }

    fn device_sends(&mut self, _point: Point) {
        self.port.device().transmit();
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

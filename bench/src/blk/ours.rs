//! `paravane-virtio` on [`device::virtio`](crate::device::virtio).

use anyhow::{Context, Result};
use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Request, RequestQueue as _};
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_virtio::blk::{Config, Device, Running};
use paravane_virtio::transport::pci::{self, Pci};

use super::{BUFFERS, Place, Point, Subject};
use crate::device::virtio::{BLK, Port};
use crate::platform::Plain;
use crate::space::Space;

/// The driver, running.
pub struct Virtio {
    port: &'static Port,
    running: Running<Plain, Pci<Plain, Space>, BlockBuffer>,
    pool: BlockPool,
    place: Place,
    done: u64,
}

impl Virtio {
    /// Starts it, on a split or a packed queue.
    pub fn start(packed: bool) -> Result<Self> {
        let port: &'static Port = Box::leak(Box::new(Port::new(&BLK, packed)));
        let platform = Plain::new(port);
        let pool = BlockPool::new(platform, BlockLayout::new(BUFFERS))?;
        let device = pci::open(port.space().claim()?, platform, Device::new).map_err(Failed::into_error)?;
        let running = device
            .start(&Config::default(), Interrupts::POLLING)
            .map_err(Failed::into_error)
            .context("virtio does not start")?;
        Ok(Self { port, running, pool, place: Place(0), done: 0 })
    }
}

impl Subject for Virtio {
    fn submit(&mut self, point: Point) {
        for _ in 0..point.depth {
            let Some(mut buffer) = self.pool.get() else { return };
            // No point is longer than a buffer.
            let _ = buffer.set_len_bytes(point.bytes);
            let read = Request::read(self.place.next(point.bytes), buffer);
            if self.running.queue.submit(read).is_err() {
                return;
            }
        }
        self.running.queue.publish();
    }

    fn device(&mut self) {
        self.port.device().read_blocks();
    }

    fn complete(&mut self) {
        while let Ok(Some(completion)) = self.running.queue.poll() {
            self.done += u64::from(completion.result.is_ok());
        }
    }

    fn done(&self) -> u64 {
        self.done
    }
}

//! What is so at the moment, gathered.

use paravane_hal::Platform;
use paravane_pci::ConfigAccess;

use crate::app::server::{Host, Server};
use crate::app::status::Report;
use crate::{build, entropy};

impl<P: Platform, C: ConfigAccess + Send, H: Host> Server<P, C, H> {
    pub(super) fn report(&mut self) -> Report {
        Report {
            version: build::VERSION,
            build: build::ID,
            boot_us: self.boot.micros,
            boot_ticks: self.boot.ticks,
            uptime_us: self.host.now().as_nanos() / 1000,
            clock: self.host.clock_source(),
            entropy: self.seeded.as_ref().map_or(entropy::NONE, |seeded| seeded.source),
            dma_bytes_in_use: self.host.dma_bytes_in_use(),
            pool_frames: self.pool.buffers() as u64,
            pool_free: self.pool.free() as u64,
            nics: self.nics.iter_mut().map(super::Nic::report).collect(),
        }
    }
}

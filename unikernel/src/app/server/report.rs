//! What is so at the moment, gathered.

use paravane_hal::Platform;
use paravane_pci::ConfigAccess;

use crate::app::server::{Host, Server};
use crate::app::status::{Report, Stopping};
use crate::{build, entropy, last_panic};

impl<P: Platform, C: ConfigAccess + Send, H: Host> Server<P, C, H> {
    pub(super) fn report(&mut self) -> Report {
        let now = self.host.now();
        // All flows are looked at, which takes a while; so only when it matters.
        let stopping = self.stop.report(0, now);
        let stopping = stopping.map(|told| Stopping { connections_left: self.connections_left(now), ..told });
        Report {
            version: build::VERSION,
            build: build::ID,
            boot_us: self.boot.micros,
            boot_ticks: self.boot.ticks,
            uptime_us: now.as_nanos() / 1000,
            clock: self.host.clock_source(),
            entropy: self.seeded.as_ref().map_or(entropy::NONE, |seeded| seeded.source),
            dma_bytes_in_use: self.host.dma_bytes_in_use(),
            pool_frames: self.pool.buffers() as u64,
            pool_free: self.pool.free() as u64,
            last_panic: last_panic::tell(),
            stopping,
            nics: self.nics.iter_mut().map(super::Nic::report).collect(),
        }
    }
}

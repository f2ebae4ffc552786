//! From a stopped block device to a running one: what makes it a block device.
//!
//! Every step gives back what it was given when it fails.

use log::info;
use paravane_block::{Capacity, Data, DiskInfo, Request, Rules};
use paravane_hal::dma::Quiet;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};

use crate::blk::config::{self, LEAST_SEGMENTS};
use crate::blk::control::BlkControl;
use crate::blk::device::{Blk, Device, Running};
use crate::blk::error::StartError;
use crate::blk::features::{Allowed, BlkFeatures, Negotiated};
use crate::blk::places::Places;
use crate::blk::queue::RequestQueue;
use crate::blk::{QUEUES, REQUEST_QUEUE};
use crate::device::{self, Class};
use crate::error::StopError;
use crate::transport::{QueueError, Transport};

/// How a device is started.
///
/// ```
/// use paravane_virtio::blk::Config;
///
/// let config = Config::default().with_entries(128);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Entries of the queue: rounded down to a power of two, and to what the device allows. A
    /// request takes as many as its data has segments, and two more.
    pub entries: u16,
    /// Which features may be agreed.
    pub allowed: Allowed,
}

impl Default for Config {
    /// 256 entries: what QEMU and Firecracker allow at most by default, for 85 requests of one
    /// segment.
    fn default() -> Self {
        Self { entries: 256, allowed: Allowed::default() }
    }
}

impl Config {
    /// The same with other [`entries`](Self::entries).
    #[must_use]
    pub const fn with_entries(self, entries: u16) -> Self {
        Self { entries, ..self }
    }

    /// The same with other features [allowed](Self::allowed).
    #[must_use]
    pub const fn with_allowed(self, allowed: Allowed) -> Self {
        Self { allowed, ..self }
    }
}

impl From<paravane_block::Config> for Config {
    fn from(config: paravane_block::Config) -> Self {
        Self { entries: config.entries, ..Self::default() }
    }
}

/// What bring-up found out.
struct Agreed {
    features: Negotiated,
    interrupts: InterruptMode,
    info: DiskInfo,
    capacity: Capacity,
}

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
    /// Starts the device: agrees on features, reads what it says about itself, sets up queue and
    /// interrupts. Its requests carry `B`.
    ///
    /// The queue starts disarmed: no interrupt comes before the first `arm`. How the device
    /// interrupts in the end, [`BlkControl::interrupts`] says; at least it polls.
    ///
    /// # Errors
    ///
    /// [`StartError`], and the device back, reset. Should it refuse even that, it
    /// [keeps](Self::keeps_memory) the memory that it was told of.
    pub fn start<B: Data>(
        self,
        config: &Config,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T, B>, Failed<StartError, Self>>
    where
        T: Send,
    {
        let (device, rings, agreed) =
            self.bring_up(|device, rings| device.steps(config, interrupts, rings))?;
        let (Some(ring), Some(places)) = rings else {
            // The steps made both, or failed.
            return Err(device.abandon(rings, QueueError::Absent { queue: REQUEST_QUEUE }.into()));
        };
        let Agreed { features, interrupts, info, capacity } = agreed;
        let (domain, tag) = (device.platform.domain(), ring.device());
        let rules = Rules { info, capacity: capacity.clone(), domain, device: tag };
        let queue = match RequestQueue::new(ring, places, rules) {
            Ok(queue) => queue,
            Err(failed) => {
                let (error, (ring, places)) = failed.into_parts();
                return Err(device.abandon((Some(ring), Some(places)), error.into()));
            }
        };
        info!(
            "{} {}: started: {} sectors, blocks of {} bytes{}, {interrupts}; {features}",
            Blk::NAME,
            device.location(),
            capacity.sectors(),
            info.block_bytes,
            if info.read_only { ", read-only" } else { "" },
        );
        Ok(Running { control: BlkControl::new(device, info, capacity, features, interrupts), queue })
    }

    /// What is its own of bring-up.
    fn steps(
        &mut self,
        config: &Config,
        offered: Interrupts<'_>,
        rings: &mut <Blk as Class>::Rings<P>,
    ) -> Result<Agreed, StartError> {
        let features = self.agree(config.allowed)?;
        let fields = config::read(&self.transport, features)?;
        let size =
            device::queue_size(&mut self.transport, REQUEST_QUEUE, config.entries, features.format().packed)?;
        let shape = fields.shape(size)?;

        self.set_up(REQUEST_QUEUE, size, features.format(), &mut rings.0)?;
        rings.1 = Some(Places::new(&self.dma(), size)?);
        let interrupts = self.enable(QUEUES, offered);
        let info = DiskInfo {
            driver: Blk::NAME,
            block_bytes: shape.block_bytes,
            read_only: features.has(BlkFeatures::RO),
            write_cache: features.has(BlkFeatures::FLUSH),
            limits: shape.limits,
            max_in_flight: size.entries() / LEAST_SEGMENTS,
        };
        Ok(Agreed { features, interrupts, info, capacity: Capacity::new(fields.capacity_sectors) })
    }
}

impl<P: Platform, T: Transport<P::Region> + Send> paravane_block::Device for Device<P, T> {
    type Control = BlkControl<P, T>;
    type Queue<B: Data> = RequestQueue<P, B>;
    type Config = Config;
    type StartError = StartError;
    type StopError = StopError;

    fn start<B: Data>(
        self,
        config: &Config,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T, B>, Failed<StartError, Self>> {
        Device::start(self, config, interrupts)
    }

    fn stop<B: Data>(
        Running { control, queue }: Running<P, T, B>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Self, Failed<StopError, Running<P, T, B>>> {
        control.stop(queue, unfinished)
    }
}

//! From a stopped block device to a running one: what makes it a block device.
//!
//! Every step gives back what it was given when it fails.

use log::{info, warn};
use paravane_block::{Capacity, Data, DiskInfo, Request, Rules};
use paravane_hal::dma::Quiet;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::Mmio as _;
use paravane_hal::{Failed, Platform};

use crate::blk::config::{self, LEAST_SEGMENTS};
use crate::blk::control::BlkControl;
use crate::blk::device::{Device, Rings, Running};
use crate::blk::error::StartError;
use crate::blk::features::{Allowed, BlkFeatures, Negotiated};
use crate::blk::queue::{Places, RequestQueue};
use crate::blk::{CLASS, QUEUES, REQUEST_QUEUE};
use crate::device;
use crate::error::StopError;
use crate::init;
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
        mut self,
        config: &Config,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T, B>, Failed<StartError, Self>>
    where
        T: Send,
    {
        let mut rings = Rings::default();
        let agreed = match self.bring_up(config, interrupts, &mut rings) {
            Ok(agreed) => agreed,
            Err(error) => return Err(self.abandon(rings, error)),
        };
        let Rings { ring: Some(ring), places: Some(places) } = rings else {
            // Bring-up made both, or failed.
            let error = StartError::SetUp(QueueError::Absent { queue: REQUEST_QUEUE }.into());
            return Err(self.abandon(rings, error));
        };
        let Agreed { features, interrupts, info, capacity } = agreed;
        let (domain, device) = (self.0.platform.domain(), ring.device());
        let rules = Rules { info, capacity: capacity.clone(), domain, device };
        let queue = match RequestQueue::new(ring, places, rules) {
            Ok(queue) => queue,
            Err(failed) => {
                let (error, (ring, places)) = failed.into_parts();
                let rings = Rings { ring: Some(ring), places: Some(places) };
                return Err(self.abandon(rings, error.into()));
            }
        };
        if let Err(error) = self.0.go() {
            let (ring, places) = queue.into_parts();
            let rings = Rings { ring: Some(ring), places: Some(places) };
            return Err(self.abandon(rings, error.into()));
        }
        info!(
            "virtio-blk {}: started: {} sectors, blocks of {} bytes{}, {interrupts}; {features}",
            self.location(),
            capacity.sectors(),
            info.block_bytes,
            if info.read_only { ", read-only" } else { "" },
        );
        Ok(Running { control: BlkControl::new(self, info, capacity, features, interrupts), queue })
    }

    /// Steps 1 to 6.
    fn bring_up(
        &mut self,
        config: &Config,
        offered: Interrupts<'_>,
        rings: &mut Rings<P>,
    ) -> Result<Agreed, StartError> {
        let device = &mut self.0;
        device.begin()?;
        let transport = &mut device.transport;
        init::acknowledge_and_claim(transport)?;
        let features = init::negotiate(transport, |transport, offered| {
            config.allowed.choose(config::readable(offered, transport.config().len_bytes()))
        })?;
        let features = Negotiated::confirmed(features);
        let fields = config::read(transport, features)?;
        let size = device::queue_size(transport, REQUEST_QUEUE, config.entries, features.format().packed)?;
        let shape = fields.shape(size)?;

        device.set_up(REQUEST_QUEUE, size, features.format(), &mut rings.ring)?;
        rings.places = Some(Places::new(&device.dma(), size)?);
        let interrupts = device.choose_interrupts(offered, QUEUES);
        device.enable_queues(QUEUES);
        let info = DiskInfo {
            driver: CLASS.name,
            block_bytes: shape.block_bytes,
            read_only: features.has(BlkFeatures::RO),
            write_cache: features.has(BlkFeatures::FLUSH),
            limits: shape.limits,
            max_in_flight: size.entries() / LEAST_SEGMENTS,
        };
        Ok(Agreed { features, interrupts, info, capacity: Capacity::new(fields.capacity_sectors) })
    }

    /// After a start that failed with `error`.
    fn abandon(mut self, rings: Rings<P>, error: StartError) -> Failed<StartError, Self> {
        warn!("virtio-blk {}: not started: {error}", self.location());
        let set_up = match &error {
            StartError::SetUp(error) => Some(error),
            _ => None,
        };
        self.0.abandon(rings, set_up);
        Failed::new(error, self)
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

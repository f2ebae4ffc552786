//! From a stopped block device to a running one: what makes it a block device.
//!
//! Every step gives back what it was given when it fails.

use alloc::vec::Vec;

use log::info;
use paravane_block::{Capacity, Data, DiskInfo, Request, Rules};
use paravane_hal::dma::{DeviceTag, DmaError, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};

use crate::blk::REQUEST_QUEUE;
use crate::blk::config;
use crate::blk::control::BlkControl;
use crate::blk::device::{Blk, Device, QueueMemory, Running};
use crate::blk::error::StartError;
use crate::blk::features::{Allowed, Negotiated};
use crate::blk::places::{Places, vec_of};
use crate::blk::queue::RequestQueue;
use crate::device::{self, Class};
use crate::error::StopError;
use crate::ring::QueueSize;
use crate::transport::{QueueError, Transport};

/// How a device is started.
///
/// ```
/// use paravane_virtio::blk::Config;
///
/// let config = Config::default().with_entries(128).with_queues(2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Entries of each queue: rounded down to a power of two, and to what the device allows. A
    /// request takes as many as its data has segments, and two more; or one, where the device
    /// offers `INDIRECT_DESC` and its data has up to six.
    pub entries: u16,
    /// Queues: at most so many are started, and at least one.
    pub queues: u16,
    /// Which features may be agreed.
    pub allowed: Allowed,
}

impl Default for Config {
    /// One queue of 256 entries: what QEMU and Firecracker allow at most by default, for as many
    /// requests, or 85 without `INDIRECT_DESC`.
    fn default() -> Self {
        Self { entries: 256, queues: 1, allowed: Allowed::default() }
    }
}

impl Config {
    /// The same with other [`entries`](Self::entries).
    #[must_use]
    pub const fn with_entries(self, entries: u16) -> Self {
        Self { entries, ..self }
    }

    /// The same with other [`queues`](Self::queues).
    #[must_use]
    pub const fn with_queues(self, queues: u16) -> Self {
        Self { queues, ..self }
    }

    /// The same with other features [allowed](Self::allowed).
    #[must_use]
    pub const fn with_allowed(self, allowed: Allowed) -> Self {
        Self { allowed, ..self }
    }
}

impl From<paravane_block::Config> for Config {
    fn from(config: paravane_block::Config) -> Self {
        Self { entries: config.entries, queues: config.queues, ..Self::default() }
    }
}

/// What bring-up found out.
pub(crate) struct Agreed {
    pub(crate) features: Negotiated,
    pub(crate) interrupts: InterruptMode,
    pub(crate) info: DiskInfo,
    pub(crate) capacity: Capacity,
    pub(crate) write_cache: bool,
}

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
    /// Starts the device: agrees on features, reads what it says about itself, sets up queues and
    /// interrupts. Its requests carry `B`.
    ///
    /// The queues start disarmed: no interrupt comes before the first `arm`. How the device
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
        let domain = device.platform.domain();
        let rules = |device| Rules { info: agreed.info, capacity: agreed.capacity.clone(), domain, device };
        let mut queues = match queues(rings, rules) {
            Ok(queues) => queues.into_iter(),
            Err(failed) => {
                let (error, rings) = failed.into_parts();
                return Err(device.abandon(rings, error.into()));
            }
        };
        let Some(queue) = queues.next() else {
            // The steps made it, or failed.
            return Err(device.abandon(Vec::new(), QueueError::Absent { queue: REQUEST_QUEUE }.into()));
        };
        let more_queues: Vec<_> = queues.collect();
        let Agreed { features, interrupts, info, capacity, .. } = &agreed;
        info!(
            "{} {}: started: {} sectors, blocks of {} bytes{}, {} queues, {interrupts}; {features}",
            Blk::NAME,
            device.location(),
            capacity.sectors(),
            info.block_bytes,
            if info.read_only { ", read-only" } else { "" },
            more_queues.len().saturating_add(1),
        );
        Ok(Running { control: BlkControl::new(device, agreed, *config), queue, more_queues })
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
        let (count, format) = (fields.queues(config.queues), features.format());
        *rings = vec_of(count.into())?;
        let mut shortest: Option<QueueSize> = None;
        for queue in REQUEST_QUEUE..count {
            let size = device::queue_size(&mut self.transport, queue, config.entries, format.packed)?;
            let (mut ring, places) = (None, Places::new(&self.dma(), size)?);
            let is_set_up = self.set_up(queue, size, format, &mut ring);
            rings.push((ring, Some(places)));
            is_set_up?;
            shortest = Some(shortest.map_or(size, |other| other.min(size)));
        }
        // There is one at least.
        let size = shortest.ok_or(QueueError::Absent { queue: REQUEST_QUEUE })?;
        let info = fields.info(features, size)?;
        let interrupts = self.enable(count, offered);
        let (capacity, write_cache) = (Capacity::new(fields.capacity_sectors), fields.write_cache(features));
        Ok(Agreed { features, interrupts, info, capacity, write_cache })
    }
}

/// A request queue on each of `rings`.
///
/// # Errors
///
/// [`DmaError`], and all of `rings`.
#[expect(clippy::type_complexity, reason = "queues, or why not and what they were to be made of")]
fn queues<P: Platform, B: Data>(
    rings: Vec<QueueMemory<P>>,
    rules: impl Fn(DeviceTag) -> Rules,
) -> Result<Vec<RequestQueue<P, B>>, Failed<DmaError, Vec<QueueMemory<P>>>> {
    let tables = vec_of(rings.len()).and_then(|queues| Ok((queues, vec_of(rings.len())?)));
    let (mut queues, mut left): (Vec<RequestQueue<P, B>>, Vec<QueueMemory<P>>) = match tables {
        Ok(tables) => tables,
        Err(error) => return Err(Failed::new(error, rings)),
    };
    let mut rings = rings.into_iter();
    let mut failure = None;
    // Each has both: the steps made them, or failed.
    while let Some((Some(ring), Some(places))) = rings.next() {
        let rules = rules(ring.device());
        match RequestQueue::new(ring, places, rules) {
            Ok(queue) => queues.push(queue),
            Err(failed) => {
                let (error, (ring, places)) = failed.into_parts();
                left.push((Some(ring), Some(places)));
                failure = Some(error);
                break;
            }
        }
    }
    let Some(error) = failure else { return Ok(queues) };
    left.extend(queues.into_iter().map(RequestQueue::into_memory));
    left.extend(rings);
    Err(Failed::new(error, left))
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
        Running { control, queue, more_queues }: Running<P, T, B>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Self, Failed<StopError, Running<P, T, B>>> {
        control.stop(queue, more_queues, unfinished)
    }
}

impl<P: Platform, T: Transport<P::Region> + Send> paravane_block::Recover for Device<P, T> {
    fn terms(control: &BlkControl<P, T>) -> Config {
        control.terms()
    }
}

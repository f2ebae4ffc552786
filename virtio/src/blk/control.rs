//! The control half: capacity, events, stop.
//!
//! When the device is looked at, [`watch`](crate::watch) says.

use alloc::vec::Vec;
use core::time::Duration;

use log::info;
use paravane_block::{Capacity, Data, DiskInfo, Events, Request};
use paravane_hal::dma::Quiet;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::Progress;
use paravane_hal::{Failed, Platform};

use crate::blk::config;
use crate::blk::device::{Blk, Device, Running};
use crate::blk::features::{BlkFeatures, Negotiated};
use crate::blk::queue::RequestQueue;
use crate::blk::start::{Agreed, Config};
use crate::device::Class as _;
use crate::error::{QueueResetError, StopError};
use crate::feature::RingFeatures;
use crate::transport::Transport;
use crate::watch::Watch;

/// Control of a running device.
pub struct BlkControl<P: Platform, T: Transport<P::Region>> {
    watch: Watch<P, T, Blk>,
    info: DiskInfo,
    capacity: Capacity,
    features: Negotiated,
    write_cache: bool,
    /// How it was started.
    config: Config,
    /// Found, and not reported yet.
    events: Events,
}

impl<P: Platform, T: Transport<P::Region>> BlkControl<P, T> {
    /// Control of `device`, which has just been started.
    pub(crate) fn new(device: Device<P, T>, agreed: Agreed, config: Config) -> Self {
        let Agreed { features, interrupts, info, capacity, write_cache } = agreed;
        let watch = Watch::new(device, interrupts);
        Self { watch, info, capacity, features, write_cache, config, events: Events::empty() }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device<P, T> {
        &self.watch.device
    }

    /// What was agreed.
    #[must_use]
    pub fn features(&self) -> Negotiated {
        self.features
    }

    /// How it was started, and what was agreed then.
    pub(crate) fn terms(&self) -> Config {
        self.config.with_allowed(self.features.allowed())
    }

    /// Has the device give up `queue` alone, with all requests that are there, and start it again.
    /// For a queue that is stuck, or broken, where the others go on. Requests that were not done
    /// go to `unfinished`; of those that write, any part may be stored.
    ///
    /// # Errors
    ///
    /// [`QueueResetError`]. Where it is about the queue, that is broken, and stopping the device is
    /// what is left.
    pub fn reset_queue<B: Data>(
        &mut self,
        queue: &mut RequestQueue<P, B>,
        unfinished: &mut dyn FnMut(Request<B>),
    ) -> Result<(), QueueResetError> {
        let can = self.features.has_ring(RingFeatures::RING_RESET);
        self.watch.restart_queue(queue.ring_mut(), can)?;
        queue.renew(unfinished);
        Ok(())
    }

    /// Stops the device: resets it, waits until it has let go, and takes back all memory. Requests
    /// that it had not completed go to `unfinished`, together with the proof that takes
    /// [`Mapped`](paravane_hal::dma::Mapped) memory back; of those that write, any part may be
    /// stored. The device can be started again.
    ///
    /// # Errors
    ///
    /// [`StopError`], and all parts back: nothing was freed. After [`StopError::ForeignQueue`] the
    /// device runs on. After the others it serves nothing any more, and stopping may be tried
    /// again: a device that was merely slow confirms the next time. Some never do; what is kept
    /// then costs memory, and what is dropped is leaked, which is safe.
    #[expect(clippy::type_complexity, reason = "a device, or why not and all parts")]
    pub fn stop<B: Data>(
        self,
        queue: RequestQueue<P, B>,
        more_queues: Vec<RequestQueue<P, B>>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Device<P, T>, Failed<StopError, Running<P, T, B>>>
    where
        T: Send,
    {
        let first = queue.device();
        let other = more_queues.iter().map(RequestQueue::device).find(|tag| *tag != first);
        // If there is one of another device, it is among these.
        let tags = [first, other.unwrap_or(first)];
        let fail = |(queue, more_queues): &mut (RequestQueue<P, B>, Vec<_>), fault| {
            queue.fail(fault);
            more_queues.iter_mut().for_each(|queue: &mut RequestQueue<P, B>| queue.fail(fault));
        };
        let free = |(queue, more_queues): (RequestQueue<P, B>, Vec<RequestQueue<P, B>>),
                    quiet: &Quiet<'_>| {
            let freed = queue.free(quiet, unfinished);
            more_queues.into_iter().fold(freed, |freed, queue| queue.free(quiet, unfinished) & freed)
        };
        self.watch.stop((queue, more_queues), &tags, fail, free).map_err(|failed| {
            failed.map_parts(|(watch, (queue, more_queues))| Running {
                control: Self { watch, ..self },
                queue,
                more_queues,
            })
        })
    }

    /// Looks at the capacity.
    fn look(&mut self) {
        // One that never stands still is left as it was; the next look is not far.
        let sectors = config::read_capacity(self.device().transport());
        if let Some(sectors) = sectors.filter(|sectors| self.capacity.set(*sectors)) {
            info!("{} {}: {sectors} sectors", Blk::NAME, self.device().location());
            self.events |= Events::CAPACITY;
        }
    }
}

impl<P: Platform, T: Transport<P::Region> + Send> paravane_block::Control for BlkControl<P, T> {
    fn info(&self) -> DiskInfo {
        self.info
    }

    fn interrupts(&self) -> InterruptMode {
        self.watch.interrupts()
    }

    fn capacity_sectors(&self) -> u64 {
        self.capacity.sectors()
    }

    fn write_cache(&self) -> bool {
        self.write_cache
    }

    fn set_write_cache(&mut self, on: bool) -> bool {
        if self.features.has(BlkFeatures::CONFIG_WCE) {
            self.write_cache = config::write_writeback(self.device().transport(), on);
        }
        self.write_cache == on && self.features.has(BlkFeatures::CONFIG_WCE)
    }

    fn watch(&mut self, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        self.watch.watch(0, progress, limit)
    }

    fn acknowledge(&mut self) -> bool {
        self.watch.acknowledge()
    }

    fn poll(&mut self) -> Result<Events, DeviceFault> {
        if self.watch.poll()? {
            self.look();
        }
        Ok(core::mem::take(&mut self.events))
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        if self.watch.arm()? {
            self.look();
        }
        Ok(if self.events.is_empty() { Armed::Idle } else { Armed::Pending })
    }
}

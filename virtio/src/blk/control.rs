//! The control half: capacity, events, stop.
//!
//! When the device is looked at, [`watch`](crate::watch) says.

use log::{info, warn};
use paravane_block::{Capacity, Data, DiskInfo, Events, Request};
use paravane_hal::dma::Quiet;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::{Failed, Platform};

use crate::blk::device::{Device, Running};
use crate::blk::features::Negotiated;
use crate::blk::queue::RequestQueue;
use crate::blk::{CLASS, config};
use crate::error::StopError;
use crate::transport::Transport;
use crate::watch::Watch;

/// Control of a running device.
pub struct BlkControl<P: Platform, T: Transport<P::Region>> {
    device: Device<P, T>,
    info: DiskInfo,
    capacity: Capacity,
    features: Negotiated,
    /// Found, and not reported yet.
    events: Events,
    watch: Watch,
}

impl<P: Platform, T: Transport<P::Region>> BlkControl<P, T> {
    /// Control of `device`, which has just been started.
    pub(crate) fn new(
        device: Device<P, T>,
        info: DiskInfo,
        capacity: Capacity,
        features: Negotiated,
        interrupts: InterruptMode,
    ) -> Self {
        let watch = Watch::new(CLASS.name, device.location(), interrupts, &device.0.platform);
        Self { device, info, capacity, features, events: Events::empty(), watch }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device<P, T> {
        &self.device
    }

    /// What was agreed.
    #[must_use]
    pub fn features(&self) -> Negotiated {
        self.features
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
        mut self,
        mut queue: RequestQueue<P, B>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Device<P, T>, Failed<StopError, Running<P, T, B>>>
    where
        T: Send,
    {
        if queue.device() != self.device.0.transport.tag() {
            return Err(Failed::new(StopError::ForeignQueue, Running { control: self, queue }));
        }
        match self.device.0.shut_down() {
            Ok(quiet) => {
                let freed = queue.free(&quiet, unfinished);
                debug_assert!(freed, "a queue of another device");
                info!("virtio-blk {}: stopped", self.device.location());
                Ok(self.device)
            }
            Err(error) => {
                // Whatever state it is in, it does not serve these any more.
                warn!("virtio-blk {}: {error}", self.device.location());
                self.watch.fail(DeviceFault::NeedsReset);
                queue.fail(DeviceFault::NeedsReset);
                Err(Failed::new(error, Running { control: self, queue }))
            }
        }
    }

    /// Looks at status and capacity.
    fn look(&mut self) -> Result<(), DeviceFault> {
        self.watch.look(&self.device.0.transport, &self.device.0.platform)?;
        // One that never stands still is left as it was; the next look is not far.
        let sectors = config::read_capacity(&self.device.0.transport);
        if let Some(sectors) = sectors.filter(|sectors| self.capacity.set(*sectors)) {
            info!("virtio-blk {}: {sectors} sectors", self.device.location());
            self.events |= Events::CAPACITY;
        }
        Ok(())
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

    fn acknowledge(&mut self) -> bool {
        self.watch.acknowledge(&mut self.device.0.transport)
    }

    fn poll(&mut self) -> Result<Events, DeviceFault> {
        self.watch.check()?;
        if self.watch.is_due(&self.device.0.platform) {
            self.look()?;
        }
        Ok(core::mem::take(&mut self.events))
    }

    /// The device always interrupts at an event; there is nothing to ask for.
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.watch.check()?;
        if self.watch.was_told() {
            self.look()?;
        }
        Ok(if self.events.is_empty() { Armed::Idle } else { Armed::Pending })
    }
}

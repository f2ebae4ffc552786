//! The control half: link, events, stop.
//!
//! When the device is looked at, [`watch`](crate::watch) says.

use log::info;
use paravane_hal::dma::Quiet;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::{Failed, Platform};
use paravane_net::{DeviceStats, Events, Link, NicInfo, RxFilter, RxFilterError};

use crate::device::Class as _;
use crate::net::StopError;
use crate::net::config;
use crate::net::device::{Device, Net, Running};
use crate::net::features::Negotiated;
use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;
use crate::transport::Transport;
use crate::watch::Watch;

/// What a device without receive filters lets through for sure.
pub(crate) const UNFILTERED: RxFilter = RxFilter::UNICAST.union(RxFilter::BROADCAST);

/// Control of a running device.
pub struct NetControl<P: Platform, T: Transport<P::Region>> {
    watch: Watch<P, T, Net>,
    info: NicInfo,
    features: Negotiated,
    link: Link,
    /// Found, and not reported yet.
    events: Events,
}

impl<P: Platform, T: Transport<P::Region>> NetControl<P, T> {
    /// Control of `device`, which has just been started.
    pub(crate) fn new(
        device: Device<P, T>,
        info: NicInfo,
        features: Negotiated,
        interrupts: InterruptMode,
        link: Link,
    ) -> Self {
        let watch = Watch::new(device, interrupts);
        Self { watch, info, features, link, events: Events::empty() }
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

    /// Stops the device: resets it, waits until it has let go, and takes back all memory and
    /// frames. The device can be started again.
    ///
    /// # Errors
    ///
    /// [`StopError`], and all parts back: nothing was freed. After [`StopError::ForeignQueue`] the
    /// device runs on. After the others it serves nothing any more, and stopping may be tried
    /// again: a device that was merely slow confirms the next time. Some never do; what is kept
    /// then costs memory, and what is dropped is leaked, which is safe.
    pub fn stop(
        self,
        rx: RxQueue<P>,
        tx: TxQueue<P>,
    ) -> Result<Device<P, T>, Failed<StopError, Running<P, T>>>
    where
        T: Send,
    {
        let tags = [rx.ring().device(), tx.ring().device()];
        let fail = |(rx, tx): &mut (RxQueue<P>, TxQueue<P>), fault| {
            rx.fail(fault);
            tx.fail(fault);
        };
        let free = |(rx, tx): (RxQueue<P>, TxQueue<P>), quiet: &Quiet<'_>| {
            rx.into_ring().free(quiet) & tx.into_ring().free(quiet)
        };
        self.watch.stop((rx, tx), &tags, fail, free).map_err(|failed| {
            failed.map_parts(|(watch, (rx, tx))| Running { control: Self { watch, ..self }, rx, tx })
        })
    }

    /// Looks at the link. The speed is looked at when it comes up.
    fn look(&mut self) {
        let transport = self.device().transport();
        let link = match (config::read_link_up(transport, self.features), self.link) {
            (true, Link::Down) => Link::Up { mbps: config::read_speed_mbps(transport, self.features) },
            (true, up) => up,
            (false, _) => Link::Down,
        };
        if link != self.link {
            info!("{} {}: link {link}", Net::NAME, self.device().location());
            self.link = link;
            self.events |= Events::LINK;
        }
    }
}

/// The link as the configuration space shows it.
pub(crate) fn link_of(config: &config::NetConfig) -> Link {
    if config.link_up { Link::Up { mbps: config.speed_mbps } } else { Link::Down }
}

impl<P: Platform, T: Transport<P::Region> + Send> paravane_net::Control for NetControl<P, T> {
    fn info(&self) -> NicInfo {
        self.info
    }

    fn interrupts(&self) -> InterruptMode {
        self.watch.interrupts()
    }

    fn link(&self) -> Link {
        self.link
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

    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
        // Without a control queue there is nothing to set; a device then lets through at least
        // this.
        if UNFILTERED.contains(filter) { Ok(()) } else { Err(RxFilterError::NotOffered(UNFILTERED)) }
    }

    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
        self.watch.check().map(|()| None)
    }
}

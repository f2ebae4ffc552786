//! Control of a running device: link, events, filter, counters. The queues do not need it.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Add as _;
use core::time::Duration;

use log::{info, warn};
use paravane_hal::Platform;
use paravane_hal::barrier;
use paravane_hal::dma::DmaBox;
use paravane_hal::fault::DeviceFault;
use paravane_hal::field;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::{Patience, Progress};
use paravane_net::{
    Change, ChangeError, Control, DeviceStats, Events, Link, NicInfo, RssKinds, RxFilter, RxFilterError,
    Settings,
};
use paravane_pci::ConfigAccess;
use zerocopy::little_endian::U32;

use crate::change;
use crate::config::Config;
use crate::device::Device;
use crate::event;
use crate::intr::{Vector, Vectors};
use crate::regs::{EventCause, MaskMode, Query};
use crate::shared::{DISABLE_ALL, Shared};
use crate::start::Answers;
use crate::stats::device_stats;
use crate::table::QueueTable;

/// Control of a running device. One owner; it may live on another core than the queues.
///
/// Dropped, it leaves the device running into memory that is leaked; [`stop`](Self::stop) is the
/// way to end it.
pub struct VmxControl<P: Platform, C: ConfigAccess> {
    pub(crate) device: Device<P, C>,
    pub(crate) shared: DmaBox<Shared, P>,
    pub(crate) table: QueueTable<P>,
    pub(crate) vectors: Vectors,
    events: Vector,
    link: Link,
    // Elsewhere, for it is long, and whoever has a NIC moves it.
    pub(crate) record: Box<Record>,
    /// Once set, the device has to be stopped and started.
    pub(crate) fault: Option<DeviceFault>,
}

/// What control knows of the device's life.
pub(crate) struct Record {
    pub(crate) info: NicInfo,
    /// How it was started,
    pub(crate) config: Config,
    /// and what it has been told since.
    pub(crate) settings: Settings,
    /// What received frames are spread by, of what was asked for.
    pub(crate) spread_by: RssKinds,
    /// The argument of `SET_RING_BUFFER_SIZE`, where the device has that.
    pub(crate) buffer_sizes: Option<[u8; 16]>,
    /// With each transmit queue.
    patience: Vec<Patience>,
}

impl<P: Platform, C: ConfigAccess> VmxControl<P, C> {
    pub(crate) fn new(
        device: Device<P, C>,
        shared: DmaBox<Shared, P>,
        table: QueueTable<P>,
        vectors: Vectors,
        info: NicInfo,
        Answers { link, spread_by, buffer_sizes, .. }: Answers,
        config: &Config,
    ) -> Self {
        let events = vectors.vector(vectors.events());
        let (config, settings) = (*config, config.settings);
        let patience = vec![Patience::default(); table.counts().tx.into()];
        let record = Record { info, config, settings, spread_by, buffer_sizes, patience };
        Self { device, shared, table, vectors, events, link, record: Box::new(record), fault: None }
    }

    /// The agreed revision of the protocol.
    #[must_use]
    pub fn revision(&self) -> u8 {
        self.device.revision()
    }

    /// How many pairs of queues were started.
    #[must_use]
    pub fn pairs(&self) -> u16 {
        self.table.counts().rx.into()
    }

    /// By what received frames are spread: what [`Settings::rss`] asks for, without what the device
    /// has not. By nothing without it.
    #[must_use]
    pub fn spread_by(&self) -> RssKinds {
        self.record.spread_by
    }

    /// How often another implementation took over behind the device, as when its machine moves to
    /// another host, over all starts.
    #[must_use]
    pub fn takeovers(&self) -> u64 {
        self.device.takeovers
    }

    /// How it was started, with what it was told since.
    pub(crate) fn terms(&self) -> Config {
        self.record.config.with_settings(self.record.settings)
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device<P, C> {
        &self.device
    }

    /// Keeps the device from interrupting. Comes before it is stopped: afterwards it does not
    /// listen to masks, and remembers the old ones.
    pub(crate) fn mask_interrupts(&mut self) {
        self.shared.set(field!(Shared, driver.intr_conf.intr_ctrl), U32::new(DISABLE_ALL));
        self.shared.set(field!(Shared, driver.intr_conf_ext.intr_ctrl), U32::new(DISABLE_ALL));
        self.vectors.mask_all(&self.device.bar0);
    }

    /// The events that wait: one look at memory.
    #[inline]
    fn causes(&self) -> EventCause {
        EventCause::from_bits_retain(self.shared.get(field!(Shared, driver.ecr)).get())
    }

    fn check(&self) -> Result<(), DeviceFault> {
        self.fault.map_or(Ok(()), Err)
    }

    #[cold]
    pub(crate) fn break_with(&mut self, fault: DeviceFault) -> DeviceFault {
        let address = self.device.function.address();
        match fault {
            DeviceFault::Stopped { code } => {
                warn!("vmxnet3 {address}: {fault}: {}", event::stop_reason(code))
            }
            _ => warn!("vmxnet3 {address}: {fault}"),
        }
        *self.fault.get_or_insert(fault)
    }

    /// What the device counted since it was activated.
    pub(crate) fn read_counted(&mut self) -> Result<DeviceStats, DeviceFault> {
        self.device.regs.ask(Query::Stats)?;
        Ok(device_stats(self.table.read_tx(), self.table.read_rx()))
    }

    fn ask(&mut self, query: Query) -> Result<u32, DeviceFault> {
        let answer = self.device.regs.ask(query);
        answer.map_err(|fault| self.break_with(fault))
    }

    fn look_at_link(&mut self) -> Result<(), DeviceFault> {
        let link = event::link(self.ask(Query::Link)?);
        // A device may say so at every look.
        if link != self.link {
            info!("vmxnet3 {}: link {link}", self.device.function.address());
            self.link = link;
        }
        Ok(())
    }

    /// Serves events that wait.
    fn serve(&mut self, causes: EventCause) -> Result<Events, DeviceFault> {
        // Before they are looked into: what happens meanwhile is an event of its own.
        self.device.regs.acknowledge(causes);
        let mut events = Events::empty();
        if causes.contains(EventCause::LINK) {
            self.look_at_link()?;
            events |= Events::LINK;
        }
        if causes.intersects(EventCause::RQERR | EventCause::TQERR | EventCause::DIC) {
            self.ask(Query::QueueStatus)?;
            let tx = self.table.read_tx().map(|tx| tx.status);
            let stopped = event::stopped(tx.chain(self.table.read_rx().map(|rx| rx.status)));
            // One that reports an error and has none to show is in no better state.
            let is_error = !causes.intersection(EventCause::RQERR | EventCause::TQERR).is_empty();
            if let Some(fault) = stopped.or(is_error.then_some(DeviceFault::NeedsReset)) {
                return Err(self.break_with(fault));
            }
            events |= self.welcome()?;
        }
        Ok(events)
    }

    /// Another implementation took over, with rings that work. It reads what is shared as the one
    /// before did, but what of that it was told nobody says: it is told all of it again.
    ///
    /// Not a fault: a host may say so after each activation, and a restart would go on for ever.
    fn welcome(&mut self) -> Result<Events, DeviceFault> {
        self.device.takeovers = self.device.takeovers.saturating_add(1);
        let times = self.device.takeovers;
        // A device may say so at every look.
        if times.is_power_of_two() {
            info!(
                "vmxnet3 {}: another implementation took over, time {times}",
                self.device.function.address()
            );
        }
        self.tell_again()?;
        self.look_at_link()?;
        Ok(Events::LINK)
    }
}

impl<P: Platform, C: ConfigAccess> fmt::Debug for VmxControl<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, link, fault, .. } = self;
        write!(f, "vmxnet3::VmxControl({device:?}, {}, link {link}, fault {fault:?})", self.vectors.mode)
    }
}

impl<P: Platform, C: ConfigAccess + Send> Control for VmxControl<P, C> {
    fn info(&self) -> NicInfo {
        self.record.info
    }

    fn interrupts(&self) -> InterruptMode {
        self.vectors.mode
    }

    fn link(&self) -> Link {
        self.link
    }

    fn watch_queue(&mut self, queue: u16, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        self.check()?;
        // One without a carrier sends nothing, and is not to be blamed.
        let progress = if self.link.is_up() { progress } else { Progress::default() };
        let Some(patience) = self.record.patience.get_mut(usize::from(queue)) else { return Ok(()) };
        if !patience.is_over(&self.device.platform, progress, limit) {
            return Ok(());
        }
        let after_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Err(self.break_with(DeviceFault::NoAnswer { after_ms }))
    }

    fn acknowledge(&mut self) -> bool {
        let Self { device, vectors, events, .. } = self;
        let on_pin = vectors.mode == InterruptMode::Line;
        let ours = on_pin && device.regs.take_line();
        if (ours || !on_pin) && device.mask_mode == MaskMode::Active {
            vectors.mask_shared(&device.bar0);
        }
        if ours {
            events.pin_fell();
        }
        ours
    }

    fn poll(&mut self) -> Result<Events, DeviceFault> {
        self.check()?;
        let causes = self.causes();
        if causes.is_empty() { Ok(Events::empty()) } else { self.serve(causes) }
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.check()?;
        self.events.unmask(&self.device.bar0);
        // Between asking for an interrupt and looking for what came before it would have been
        // raised.
        barrier::full();
        Ok(if self.causes().is_empty() { Armed::Idle } else { Armed::Pending })
    }

    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
        self.change(Change::Filter(filter)).map_err(|error| match error {
            ChangeError::Fault(fault) => RxFilterError::Fault(fault),
            // It has them all.
            _ => RxFilterError::Refused,
        })
    }

    fn settings(&self) -> Settings {
        self.record.settings
    }

    /// As [`change`](Control::change): it is made when this comes back.
    fn submit_change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.change(change)
    }

    fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.check()?;
        let features = self.device.revision.features();
        change::check(&self.record.config, features, self.table.counts().rx, &change)?;
        let to = self.record.settings.with(change);
        self.tell(&change, &to)?;
        self.record.settings = to;
        Ok(())
    }

    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
        self.check()?;
        let counted = self.read_counted().map_err(|fault| self.break_with(fault))?;
        Ok(Some(self.device.counted.add(counted)))
    }
}

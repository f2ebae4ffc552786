//! The control half: link, events, settings, stop.
//!
//! When the device is looked at, [`watch`](crate::watch) says.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use log::{info, warn};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::Progress;
use paravane_hal::{Failed, Platform};
use paravane_net::{
    Change, ChangeError, Control as _, DeviceStats, Events, Link, NicInfo, RxFilter, RxFilterError, Settings,
};

use crate::device::Class as _;
use crate::error::QueueResetError;
use crate::feature::RingFeatures;
use crate::net::StopError;
use crate::net::agree::Config;
use crate::net::change::{Abilities, UNFILTERED};
use crate::net::command::Command;
use crate::net::config;
use crate::net::control_queue::{Ack, ControlQueue};
use crate::net::device::{Device, Net, Running};
use crate::net::error::StartError;
use crate::net::features::Negotiated;
use crate::net::pairs::{self, RxQueues};
use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;
use crate::transport::Transport;
use crate::watch::Watch;

/// A change that the device is being told of, and which of its commands it has.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    change: Change,
    step: usize,
}

/// Which pair a queue belongs to.
const fn pair_of(queue: u16) -> u16 {
    queue / 2
}

/// All queues of a device.
type Queues<P> = (RxQueues<P>, TxQueue<P>, Option<Box<ControlQueue<P>>>);

/// Control of a running device.
pub struct NetControl<P: Platform, T: Transport<P::Region>> {
    watch: Watch<P, T, Net>,
    info: NicInfo,
    abilities: Abilities,
    link: Link,
    /// Found, and not reported yet.
    events: Events,
    /// The device wants the addresses announced, which was reported.
    announcing: bool,
    // Elsewhere, for they are long, and whoever has a NIC moves it.
    commands: Option<Box<ControlQueue<P>>>,
    settings: Box<Settings>,
    /// How it was started.
    config: Box<Config>,
    under_way: Box<Option<UnderWay>>,
}

impl<P: Platform, T: Transport<P::Region>> NetControl<P, T> {
    /// Control of `device`, which has just been started.
    pub(crate) fn new(
        device: Device<P, T>,
        info: NicInfo,
        abilities: Abilities,
        interrupts: InterruptMode,
        link: Link,
        commands: Option<ControlQueue<P>>,
    ) -> Self {
        Self {
            watch: Watch::new(device, interrupts),
            info,
            abilities,
            link,
            events: Events::empty(),
            announcing: false,
            commands: commands.map(Box::new),
            settings: Box::default(),
            config: Box::default(),
            under_way: Box::default(),
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device<P, T> {
        &self.watch.device
    }

    /// What was agreed.
    #[must_use]
    pub fn features(&self) -> Negotiated {
        self.abilities.features
    }

    /// How many pairs of queues were started.
    #[must_use]
    pub fn pairs(&self) -> u16 {
        self.abilities.pairs
    }

    /// The device, and what its commands go by.
    pub(crate) fn into_parts(self) -> (Device<P, T>, Option<ControlQueue<P>>) {
        (self.watch.device, self.commands.map(|commands| *commands))
    }

    /// Tells a device all settings of `config` that was just started by it.
    ///
    /// # Errors
    ///
    /// [`StartError::Setting`].
    pub(crate) fn apply(&mut self, config: &Config) -> Result<(), StartError>
    where
        T: Send,
    {
        let settings = &config.settings;
        *self.config = *config;
        let failed = |what| move |error| StartError::Setting { what, error };
        let pairs = self.abilities.pairs;
        if pairs > 1 && settings.rss.is_none() {
            self.command(&Command::pairs(pairs)).map_err(failed("pairs of queues"))?;
        }
        *self.settings = *settings;
        settings.changes().try_for_each(|change| self.change(change).map_err(failed(change.name())))
    }

    /// Gives the device a command, and waits for what it makes of it.
    fn command(&mut self, command: &Command) -> Result<(), ChangeError> {
        let clock = &self.watch.device.platform;
        let commands = self.commands.as_deref_mut().ok_or(ChangeError::NotOffered)?;
        commands.submit(command, clock)?;
        // Ends: a command has its deadline.
        loop {
            match commands.poll(clock)? {
                Some(Ack::Ok) => return Ok(()),
                Some(Ack::Refused) => return Err(ChangeError::Refused),
                None => clock.relax(),
            }
        }
    }

    /// Gives the device the command that is the next of `under_way`. False when there is none, and
    /// the change is made.
    fn next_command(&mut self, under_way: UnderWay) -> Result<bool, DeviceFault> {
        let UnderWay { change, step } = under_way;
        let to = self.settings.with(change);
        let command = self.abilities.command(&change, &to, step);
        let (Some(command), Some(commands)) = (command, &mut self.commands) else {
            self.made(change, to);
            return Ok(false);
        };
        let submitted = commands.submit(&command, &self.watch.device.platform);
        submitted.map_err(|fault| self.watch.fail(fault))?;
        *self.under_way = Some(under_way);
        Ok(true)
    }

    /// The device has done all that belongs to `change`.
    fn made(&mut self, change: Change, to: Settings) {
        *self.settings = to;
        match change {
            Change::Mac(mac) => self.info.mac = mac,
            Change::Announced => self.announcing = false,
            _ => {}
        }
    }

    /// How it was started, with what it was told since, and what was agreed then.
    pub(crate) fn terms(&self) -> Config {
        self.config.with_settings(*self.settings).with_allowed(self.features().allowed())
    }

    /// Has the device give up the queue of `tx` alone, with all frames that are there, and start it
    /// again: frames go home unsent. For a queue that is stuck, or broken, where the others go on.
    ///
    /// When it may interrupt, where that was told of it alone, is told again. Where the device does
    /// not do that, or is about another change, it goes by what was told of all, and
    /// [`settings`](paravane_net::Control::settings) say so.
    ///
    /// # Errors
    ///
    /// [`QueueResetError`]. Where it is about the queue, that is broken, and stopping the device is
    /// what is left.
    pub fn reset_tx(&mut self, tx: &mut TxQueue<P>) -> Result<(), QueueResetError>
    where
        T: Send,
    {
        let can = self.features().has_ring(RingFeatures::RING_RESET);
        self.watch.restart_queue(tx.ring_mut(), can)?;
        tx.renew();
        let pair = pair_of(tx.ring().doorbell().queue());
        if let Some(coalescing) = self.settings.tx_pair_coalescing.of(pair) {
            self.settings.tx_pair_coalescing = self.settings.tx_pair_coalescing.without(pair);
            self.tell_again(Change::TxPairCoalescing { pair, coalescing });
        }
        Ok(())
    }

    /// The same of the queue of `rx`: its buffers go home, and fresh ones are posted.
    ///
    /// # Errors
    ///
    /// As [`reset_tx`](Self::reset_tx).
    pub fn reset_rx(&mut self, rx: &mut RxQueue<P>) -> Result<(), QueueResetError>
    where
        T: Send,
    {
        let can = self.features().has_ring(RingFeatures::RING_RESET);
        rx.restart(&mut self.watch, can)?;
        let pair = pair_of(rx.number());
        if let Some(coalescing) = self.settings.rx_pair_coalescing.of(pair) {
            self.settings.rx_pair_coalescing = self.settings.rx_pair_coalescing.without(pair);
            self.tell_again(Change::RxPairCoalescing { pair, coalescing });
        }
        Ok(())
    }

    /// Tells the device what it forgot of a queue that was reset.
    ///
    /// Spec: VIRTIO 1.3, 5.1.6.5.8 "Notifications Coalescing".
    #[cold]
    fn tell_again(&mut self, change: Change)
    where
        T: Send,
    {
        if let Err(error) = self.change(change) {
            let at = self.device().location();
            warn!("{} {at}: {} not as before the reset of a queue: {error}", Net::NAME, change.name());
        }
    }

    /// Stops the device: resets it, waits until it has let go, and takes back all memory and
    /// frames. The device can be started again.
    ///
    /// # Errors
    ///
    /// [`StopError`], and all parts back: nothing was freed. After [`StopError::ForeignQueue`] and
    /// [`StopError::QueuesMissing`] the device runs on. After the others it serves nothing any
    /// more, and stopping may be tried again: a device that was merely slow confirms the next time.
    /// Some never do; what is kept then costs memory, and what is dropped is leaked, which is safe.
    pub fn stop(
        mut self,
        rx: RxQueues<P>,
        tx: TxQueue<P>,
    ) -> Result<Device<P, T>, Failed<StopError, Running<P, T>>>
    where
        T: Send,
    {
        let (started, given) = (self.abilities.pairs, u16::try_from(rx.count()).unwrap_or(u16::MAX));
        if started != given {
            let error = StopError::QueuesMissing { started, given };
            return Err(Failed::new(error, Running { control: self, rx, tx }));
        }
        let commands = self.commands.take();
        let of_commands = commands.as_deref().map(ControlQueue::device);
        let tags: Vec<_> = pairs::tags(&rx).chain([tx.ring().device()]).chain(of_commands).collect();
        let fail = |(rx, tx, commands): &mut Queues<P>, fault| {
            pairs::fail(rx, fault);
            tx.fail(fault);
            commands.iter_mut().for_each(|commands| commands.fail(fault));
        };
        let stopped = self.watch.stop((rx, tx, commands), &tags, fail, |(rx, tx, commands), quiet| {
            let freed = commands.is_none_or(|commands| commands.free(quiet));
            pairs::free(rx, quiet) & tx.into_ring().free(quiet) & freed
        });
        stopped.map_err(|failed| {
            failed.map_parts(|(watch, (rx, tx, commands))| Running {
                control: Self { watch, commands, ..self },
                rx,
                tx,
            })
        })
    }

    /// Looks at the status. The speed is looked at when the link comes up.
    fn look(&mut self) {
        let (transport, features) = (self.device().transport(), self.features());
        let status = config::read_status(transport, features);
        let link = match (status.is_up, self.link) {
            (true, Link::Down) => config::read_up(transport, features),
            (true, up) => up,
            (false, _) => Link::Down,
        };
        if link != self.link {
            info!("{} {}: link {link}", Net::NAME, self.device().location());
            self.link = link;
            self.events |= Events::LINK;
        }
        if status.announce && !self.announcing {
            self.events |= Events::ANNOUNCE;
        }
        self.announcing = status.announce;
    }
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

    fn watch_queue(&mut self, queue: u16, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        if queue >= self.pairs() {
            return Ok(());
        }
        self.watch.watch(queue, progress, limit)
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
        let commands = self.commands.as_deref_mut().filter(|_| self.under_way.is_some());
        let armed = commands.map_or(Ok(Armed::Idle), ControlQueue::arm);
        let armed = armed.map_err(|fault| self.watch.fail(fault))?;
        Ok(if self.events.is_empty() { armed } else { Armed::Pending })
    }

    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
        self.change(Change::Filter(filter)).map_err(|error| match error {
            ChangeError::Refused => RxFilterError::Refused,
            ChangeError::Busy => RxFilterError::Busy,
            ChangeError::Fault(fault) => RxFilterError::Fault(fault),
            // Without the feature there is nothing to set; a device then lets through at least
            // this.
            _ => RxFilterError::NotOffered(UNFILTERED),
        })
    }

    fn settings(&self) -> Settings {
        *self.settings
    }

    fn submit_change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.watch.check()?;
        if self.under_way.is_some() {
            return Err(ChangeError::Busy);
        }
        self.abilities.check(&change)?;
        self.next_command(UnderWay { change, step: 0 })?;
        Ok(())
    }

    fn poll_change(&mut self) -> Result<bool, ChangeError> {
        let (Some(UnderWay { change, step }), Some(commands)) = (*self.under_way, &mut self.commands) else {
            return Ok(true);
        };
        match commands.poll(&self.watch.device.platform) {
            Ok(None) => Ok(false),
            Ok(Some(ack)) => {
                *self.under_way = None;
                if ack == Ack::Refused {
                    return Err(ChangeError::Refused);
                }
                let step = step.saturating_add(1);
                Ok(!self.next_command(UnderWay { change, step })?)
            }
            Err(fault) => {
                *self.under_way = None;
                warn!("{} {}: {} not changed: {fault}", Net::NAME, self.device().location(), change.name());
                Err(self.watch.fail(fault).into())
            }
        }
    }

    fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.submit_change(change)?;
        // Ends: each of a few commands has its deadline.
        while !self.poll_change()? {
            self.watch.device.platform.relax();
        }
        Ok(())
    }

    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
        self.watch.check().map(|()| None)
    }
}

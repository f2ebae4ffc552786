//! A network device that is not running: claimed, started, stopped.
//!
//! ```text
//!  transport --new--> Device --start--> Running { control, rx, tx }
//!                    Device <--stop---
//!  transport <--into_parts-- Device
//! ```
//!
//! Every step gives back what it was given when it fails. What is the same for every class of
//! device, [`device`](crate::device) does; here is what makes it a network device.

#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value, and none of this is a data path"
)]

use core::fmt;

use log::{info, warn};
use paravane_hal::dma::Quiet;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};
use paravane_net::{FramePool, Link, MacAddr, NicInfo};

use crate::device;
use crate::error::{BringUpError, SetUpError, StopError};
use crate::net::agree::{ETHERNET_BYTES, Terms, agree};
use crate::net::config;
use crate::net::control::{self, NetControl};
use crate::net::error::StartError;
use crate::net::features::{Allowed, Negotiated};
use crate::net::judge::{RxRules, TxRules};
use crate::net::rx::{RxQueue, RxRing};
use crate::net::tx::{TxQueue, TxRing};
use crate::net::{CLASS, RX_QUEUE, TX_QUEUE};
use crate::transport::{Location, QueueError, Transport};

/// How a device is started.
///
/// ```
/// use paravane_virtio::net::Config;
///
/// let config = Config::default().with_rx_entries(512).with_ip_mtu_bytes(1400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Entries of the transmit queue: rounded down to what the device allows, and to a power of two
    /// if the ring is split.
    pub tx_entries: u16,
    /// Entries of the receive queue; likewise.
    ///
    /// Firecracker receives nothing while fewer than 65562 bytes of buffers are posted, headers
    /// included: with buffers of 2 KiB that takes 64 entries.
    pub rx_entries: u16,
    /// The largest IP packet, 68 bytes or more. `None`: what the device says, or 1500 where it says
    /// nothing.
    ///
    /// A start fails when the device says that less is possible, or when the pool's buffers do not
    /// hold such a frame.
    pub ip_mtu_bytes: Option<u16>,
    /// Which features may be agreed.
    pub allowed: Allowed,
}

impl Default for Config {
    /// 256 entries each way: what QEMU and Firecracker allow at most by default, eight bursts deep,
    /// and quick to fill.
    fn default() -> Self {
        Self { tx_entries: 256, rx_entries: 256, ip_mtu_bytes: None, allowed: Allowed::default() }
    }
}

impl Config {
    /// The same with other [`tx_entries`](Self::tx_entries).
    #[must_use]
    pub const fn with_tx_entries(self, tx_entries: u16) -> Self {
        Self { tx_entries, ..self }
    }

    /// The same with other [`rx_entries`](Self::rx_entries).
    #[must_use]
    pub const fn with_rx_entries(self, rx_entries: u16) -> Self {
        Self { rx_entries, ..self }
    }

    /// The same with that as [`ip_mtu_bytes`](Self::ip_mtu_bytes).
    #[must_use]
    pub const fn with_ip_mtu_bytes(self, ip_mtu_bytes: u16) -> Self {
        Self { ip_mtu_bytes: Some(ip_mtu_bytes), ..self }
    }

    /// The same with other features [allowed](Self::allowed).
    #[must_use]
    pub const fn with_allowed(self, allowed: Allowed) -> Self {
        Self { allowed, ..self }
    }
}

impl From<paravane_net::Config> for Config {
    fn from(config: paravane_net::Config) -> Self {
        let paravane_net::Config { tx_entries, rx_entries, ip_mtu_bytes, .. } = config;
        Self { tx_entries, rx_entries, ip_mtu_bytes, ..Self::default() }
    }
}

/// How many queues it has.
const QUEUES: u16 = 2;

/// A claimed network device that does not run: it was reset, or does not answer to that.
pub struct Device<P: Platform, T: Transport<P::Region>>(pub(crate) device::Device<P, T, Rings<P>>);

/// A running network device, in parts that may go to different cores.
pub type Running<P, T> = paravane_net::Running<Device<P, T>>;

/// Its two queues, while nobody has them.
pub(crate) struct Rings<P: Platform> {
    pub(crate) rx: Option<RxRing<P>>,
    pub(crate) tx: Option<TxRing<P>>,
}

impl<P: Platform> Default for Rings<P> {
    fn default() -> Self {
        Self { rx: None, tx: None }
    }
}

impl<P: Platform> device::Rings for Rings<P> {
    fn is_none(&self) -> bool {
        self.rx.is_none() && self.tx.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) {
        // They were made for the device that the proof is about.
        let freed =
            [self.rx.is_none_or(|ring| ring.free(quiet)), self.tx.is_none_or(|ring| ring.free(quiet))];
        debug_assert!(freed == [true; 2], "a ring of another device");
    }
}

/// What bring-up found out.
struct Agreed {
    features: Negotiated,
    interrupts: InterruptMode,
    info: NicInfo,
    link: Link,
}

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
    /// Takes the device behind `transport` into use: resets it, so that whatever drove it before is
    /// over. It may not use memory until it is started.
    ///
    /// # Errors
    ///
    /// [`BringUpError`], and the transport back.
    pub fn new(transport: T, platform: P) -> Result<Self, Failed<BringUpError, T>> {
        device::Device::open(transport, platform, CLASS).map(Self)
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> &T {
        &self.0.transport
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> Location {
        self.0.location()
    }

    /// Whether a start failed and the device did not confirm the reset after it: the memory that it
    /// was told of waits in here for a [`start`](Self::start) that begins with a reset which the
    /// device does confirm.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        self.0.keeps_memory()
    }

    /// Gives transport and platform up. Memory that it [keeps](Self::keeps_memory) is leaked.
    #[must_use]
    pub fn into_parts(self) -> (T, P) {
        (self.0.transport, self.0.platform)
    }

    /// Starts the device: agrees on features, sets up queues and interrupts, posts buffers of
    /// `pool`.
    ///
    /// The queues start disarmed: no interrupt comes before the first `arm`. How the device
    /// interrupts in the end, [`NetControl::interrupts`] says; at least it polls.
    ///
    /// # Errors
    ///
    /// [`StartError`], and the device back, reset. Should it refuse even that, it
    /// [keeps](Self::keeps_memory) the memory that it was told of.
    pub fn start(
        mut self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T>, Failed<StartError, Self>>
    where
        T: Send,
    {
        let domain = self.0.platform.domain();
        if pool.domain() != domain {
            return Err(Failed::new(StartError::ForeignPool { pool: pool.domain(), device: domain }, self));
        }
        let mut rings = Rings::default();
        let agreed = match self.bring_up(config, &pool, interrupts, &mut rings) {
            Ok(agreed) => agreed,
            Err(error) => return Err(self.abandon(rings, error)),
        };
        let Rings { rx: Some(rx), tx: Some(tx) } = rings else {
            // Bring-up made both, or failed.
            let error = QueueError::Absent { queue: RX_QUEUE }.into();
            return Err(self.abandon(rings, error));
        };
        let Agreed { features, interrupts, info, link } = agreed;
        // The pool's buffers are shorter than 64 KiB.
        let payload_bytes = u16::try_from(pool.payload_bytes()).unwrap_or(u16::MAX);
        let rules = RxRules::new(features, info.max_frame_bytes, payload_bytes);
        // Buffers may be there before the device runs, but it is not told of them before.
        let mut rx = RxQueue::new(rx, pool, rules);
        let tx = TxQueue::new(tx, TxRules::new(features, info.max_frame_bytes), domain);
        if let Err(error) = self.0.go() {
            let rings = Rings { rx: Some(rx.into_ring()), tx: Some(tx.into_ring()) };
            return Err(self.abandon(rings, error.into()));
        }
        rx.publish();
        info!(
            "virtio-net {}: started: {}, MTU {}, {} receive and {} transmit entries, {interrupts}, link {link}; {features}",
            self.location(),
            info.mac,
            info.ip_mtu_bytes,
            info.rx_slots,
            info.tx_slots,
        );
        Ok(Running { control: NetControl::new(self, info, features, interrupts, link), rx, tx })
    }

    /// Steps 1 to 6.
    fn bring_up(
        &mut self,
        config: &Config,
        pool: &FramePool,
        offered: Interrupts<'_>,
        rings: &mut Rings<P>,
    ) -> Result<Agreed, StartError> {
        let device = &mut self.0;
        device.begin()?;
        let Terms { features, ip_mtu_bytes, rx, tx } =
            agree(&mut device.transport, &device.platform, config, pool.payload_bytes())?;
        let fields = config::read(&device.transport, features).ok_or(SetUpError::ConfigUnstable)?;

        let format = features.format();
        device.set_up(RX_QUEUE, rx, format, &mut rings.rx)?;
        device.set_up(TX_QUEUE, tx, format, &mut rings.tx)?;
        let interrupts = device.choose_interrupts(offered, QUEUES);
        device.enable_queues(QUEUES);
        let info = NicInfo {
            driver: CLASS.name,
            mac: address(fields.mac, device.location()),
            ip_mtu_bytes,
            max_frame_bytes: ip_mtu_bytes.saturating_add(ETHERNET_BYTES),
            offloads: features.offloads(),
            // What the control queue would be for.
            filters: false,
            max_segments: tx.entries(),
            max_cut_segments: tx.entries(),
            rx_slots: rx.entries(),
            tx_slots: tx.entries(),
        };
        Ok(Agreed { features, interrupts, info, link: control::link_of(&fields) })
    }

    /// After a start that failed with `error`.
    fn abandon(mut self, rings: Rings<P>, error: StartError) -> Failed<StartError, Self> {
        warn!("virtio-net {}: not started: {error}", self.location());
        let set_up = match &error {
            StartError::SetUp(error) => Some(error),
            _ => None,
        };
        self.0.abandon(rings, set_up);
        Failed::new(error, self)
    }
}

impl<P: Platform, T: Transport<P::Region>> fmt::Debug for Device<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio_net::Device({})", self.location())
    }
}

impl<P: Platform, T: Transport<P::Region> + Send> paravane_net::Device for Device<P, T> {
    type Control = NetControl<P, T>;
    type Rx = RxQueue<P>;
    type Tx = TxQueue<P>;
    type Config = Config;
    type StartError = StartError;
    type StopError = StopError;

    fn start(
        self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T>, Failed<StartError, Self>> {
        Device::start(self, config, pool, interrupts)
    }

    fn stop(Running { control, rx, tx }: Running<P, T>) -> Result<Self, Failed<StopError, Running<P, T>>> {
        control.stop(rx, tx)
    }
}

/// Our address: the device's, or one of our own making that is the same at every boot.
fn address(device_says: Option<MacAddr>, at: Location) -> MacAddr {
    device_says.filter(|mac| mac.is_unicast()).unwrap_or_else(|| MacAddr::local(at.number()))
}

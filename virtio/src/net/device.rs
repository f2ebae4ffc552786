//! A network device that is not running: claimed, started, stopped.
//!
//! ```text
//!  Function --new--> Device --start--> Running { control, rx, tx } --stop--> Device --into_function--> Function
//! ```
//!
//! Every step gives back what it was given when it fails. Memory that the device knows of is freed
//! only after it confirmed a reset *and* the bus vouches for its silence. Until then it is kept: in
//! the parts that a stop gives back, or in the device when a start failed.

#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value, and none of this is a data path"
)]

use alloc::boxed::Box;
use core::fmt;

use log::{info, warn};
use paravane_hal::dma::{DeviceDma, DeviceTag, Quiet};
use paravane_hal::irq::Interrupts;
use paravane_hal::{Failed, Platform};
use paravane_net::{FramePool, Link, MacAddr, NicInfo};
use paravane_pci::{Command, ConfigAccess, Function};

use crate::feature::RingFeatures;
use crate::init::{self, InitError};
use crate::net::agree::{ETHERNET_BYTES, Terms, agree};
use crate::net::config;
use crate::net::control::{self, NetControl};
use crate::net::error::{BringUpError, StartError, StopError};
use crate::net::features::{Allowed, Negotiated};
use crate::net::interrupts::{self, InterruptsInUse};
use crate::net::judge::{RxRules, TxRules};
use crate::net::rx::{RxQueue, RxRing};
use crate::net::tx::{TxQueue, TxRing};
use crate::net::{RX_QUEUE, TX_QUEUE};
use crate::queue::{QueueSize, Record, Virtqueue};
use crate::transport::pci::{PciDoorbell, PciTransport};
use crate::transport::{QueueError, Transport};

/// Virtio devices drive whole addresses.
const ADDRESS_BITS: u8 = 64;

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
    /// Entries of the transmit queue: rounded down to a power of two, and to what the device
    /// allows.
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

/// A claimed network device that does not run: it was reset, or does not answer to that.
pub struct Device<P: Platform, C: ConfigAccess> {
    pub(crate) transport: PciTransport<P::Region, C>,
    pub(crate) platform: P,
    /// Of a start that failed, while the device has not confirmed its reset. Dropped, it is leaked.
    /// In a box that is there before it is needed: a failure does not ask for memory.
    kept: Box<Rings<P>>,
}

/// A running network device, in parts that may go to different cores.
pub struct Running<P: Platform, C: ConfigAccess> {
    /// Link, events, stop.
    pub control: NetControl<P, C>,
    /// Frames received.
    pub rx: RxQueue<P>,
    /// Frames to send.
    pub tx: TxQueue<P>,
}

impl<P: Platform, C: ConfigAccess> Running<P, C> {
    /// Stops the device; see [`NetControl::stop`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn stop(self) -> Result<Device<P, C>, Failed<StopError, Self>> {
        let Self { control, rx, tx } = self;
        control.stop(rx, tx)
    }
}

impl<P: Platform, C: ConfigAccess> fmt::Debug for Running<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio_net::Running({:?})", self.control.device())
    }
}

/// Queues that the device may know of and that nobody has: while bring-up is under way, and after
/// it failed.
pub(crate) struct Rings<P: Platform> {
    pub(crate) rx: Option<RxRing<P>>,
    pub(crate) tx: Option<TxRing<P>>,
}

impl<P: Platform> Rings<P> {
    const NONE: Self = Self { rx: None, tx: None };

    fn is_none(&self) -> bool {
        self.rx.is_none() && self.tx.is_none()
    }

    /// Frees their memory and the frames posted there, against proof that the device has let go.
    pub(crate) fn free(self, quiet: &Quiet<'_>) {
        // They were made for the function that the proof is about.
        let freed =
            [self.rx.is_none_or(|ring| ring.free(quiet)), self.tx.is_none_or(|ring| ring.free(quiet))];
        debug_assert!(freed == [true; 2], "a ring of another device");
    }
}

/// What bring-up found out.
struct Agreed {
    features: Negotiated,
    interrupts: InterruptsInUse,
    info: NicInfo,
    link: Link,
}

impl<P: Platform, C: ConfigAccess> Device<P, C> {
    /// Takes `function` into use: finds its registers and resets it, so that whatever drove it
    /// before is over. It may not use memory until it is started.
    ///
    /// # Errors
    ///
    /// [`BringUpError`], and the function back.
    pub fn new(function: Function<C>, platform: P) -> Result<Self, Failed<BringUpError, Function<C>>> {
        let ids = function.ids();
        if !crate::is_virtio_net(&ids) {
            return Err(Failed::new(BringUpError::NotVirtioNet { ids }, function));
        }
        let mut transport = PciTransport::new(function, &platform).map_err(|failed| {
            let (error, function) = failed.into_parts();
            Failed::new(BringUpError::Transport(error), function)
        })?;
        match init::reset(&mut transport, &platform) {
            Ok(()) => Ok(Self { transport, platform, kept: Box::new(Rings::NONE) }),
            Err(error) => Err(Failed::new(BringUpError::Init(error), transport.into_function(&platform))),
        }
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> &Function<C> {
        self.transport.function()
    }

    /// Whether a start failed and the device did not confirm the reset after it: the memory that it
    /// was told of waits in here for a [`start`](Self::start) that begins with a reset which the
    /// device does confirm.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        !self.kept.is_none()
    }

    /// Gives the function up, and the mappings of its registers back. Memory that it
    /// [keeps](Self::keeps_memory) is leaked.
    #[must_use]
    pub fn into_function(self) -> Function<C> {
        self.transport.into_function(&self.platform)
    }

    pub(crate) fn tag(&self) -> DeviceTag {
        self.transport.function().tag()
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
    ) -> Result<Running<P, C>, Failed<StartError, Self>> {
        let domain = self.platform.domain();
        if pool.domain() != domain {
            return Err(Failed::new(StartError::ForeignPool { pool: pool.domain(), device: domain }, self));
        }
        let mut rings = Rings::NONE;
        let agreed = match self.bring_up(config, &pool, interrupts, &mut rings) {
            Ok(agreed) => agreed,
            Err(error) => return Err(self.abandon(rings, error)),
        };
        let Rings { rx: Some(rx), tx: Some(tx) } = rings else {
            // Bring-up made both, or failed.
            let error = StartError::Queue(QueueError::Absent { queue: RX_QUEUE });
            return Err(self.abandon(rings, error));
        };
        let Agreed { features, interrupts, info, link } = agreed;
        // The pool's buffers are shorter than 64 KiB.
        let payload_bytes = u16::try_from(pool.payload_bytes()).unwrap_or(u16::MAX);
        let rules = RxRules::new(features, info.max_frame_bytes, payload_bytes);
        // Buffers may be there before the device runs, but it is not told of them before.
        let mut rx = RxQueue::new(rx, pool, rules);
        let tx = TxQueue::new(tx, TxRules::new(features, info.max_frame_bytes), domain);
        if let Err(error) = init::go(&mut self.transport) {
            let rings = Rings { rx: Some(rx.into_ring()), tx: Some(tx.into_ring()) };
            return Err(self.abandon(rings, StartError::Init(error)));
        }
        rx.publish();
        info!(
            "virtio-net {}: started: {}, MTU {}, {} receive and {} transmit entries, {interrupts}, link {link}; {features}",
            self.function().address(),
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
        let Self { transport, platform, kept } = self;
        init::reset(transport, platform)?;
        if !kept.is_none() {
            let quiet = transport.function_mut().quiesce(platform).map_err(StartError::NotQuiet)?;
            core::mem::replace(&mut **kept, Rings::NONE).free(&quiet);
        }
        // Only now: a device that was left running by whoever was here before must not write to
        // memory that is ours today.
        transport
            .function_mut()
            .enable(Command::MEMORY | Command::BUS_MASTER)
            .map_err(StartError::Command)?;
        let at = transport.function().address();
        let Terms { features, ip_mtu_bytes, rx, tx } =
            agree(transport, platform, at, config, pool.payload_bytes())?;
        let fields = config::read(transport, features).ok_or(StartError::ConfigUnstable)?;

        let dma = DeviceDma::new(platform.clone(), transport.function().tag(), ADDRESS_BITS);
        let event_idx = features.has_ring(RingFeatures::EVENT_IDX);
        set_up(transport, &dma, RX_QUEUE, rx, event_idx, &mut rings.rx)?;
        set_up(transport, &dma, TX_QUEUE, tx, event_idx, &mut rings.tx)?;
        let interrupts = choose_interrupts(transport, offered);
        for queue in [RX_QUEUE, TX_QUEUE] {
            transport.enable_queue(queue);
        }
        let info = NicInfo {
            driver: "virtio-net",
            mac: address(fields.mac, transport.function()),
            ip_mtu_bytes,
            max_frame_bytes: ip_mtu_bytes.saturating_add(ETHERNET_BYTES),
            offloads: features.offloads(),
            max_segments: tx.entries(),
            max_cut_segments: tx.entries(),
            rx_slots: rx.entries(),
            tx_slots: tx.entries(),
        };
        Ok(Agreed { features, interrupts, info, link: control::link_of(&fields) })
    }

    /// After a start that failed with `error`: says so to the device, resets it, and takes the
    /// memory back if that worked.
    fn abandon(mut self, rings: Rings<P>, error: StartError) -> Failed<StartError, Self> {
        let reset = match error {
            // Its reset is still under way, and must not meet another status; or it does not hear.
            // Another wait would end no better.
            StartError::Init(error @ (InitError::NoReset { .. } | InitError::Gone)) => Err(error),
            _ => {
                init::give_up(&mut self.transport);
                init::reset(&mut self.transport, &self.platform)
            }
        };
        let at = self.function().address();
        warn!("virtio-net {at}: not started: {error}");
        // Why the start failed says more than why the stop did.
        match self.silence(reset) {
            Ok(quiet) => rings.free(&quiet),
            // There are none of before: a device that keeps any is not told of new ones.
            Err(stop) if !rings.is_none() => {
                warn!("virtio-net {at}: {stop}");
                *self.kept = rings;
            }
            Err(stop) => warn!("virtio-net {at}: {stop}"),
        }
        Failed::new(error, self)
    }

    /// Stops the device.
    ///
    /// # Errors
    ///
    /// [`StopError`]: it may still reach memory.
    pub(crate) fn shut_down(&mut self) -> Result<Quiet<'_>, StopError> {
        let reset = init::reset(&mut self.transport, &self.platform);
        self.silence(reset)
    }

    /// After the device was asked to reset: switches its interrupts and bus mastering off, and
    /// vouches that it has let go if it confirmed the reset and the bus vouches for it.
    fn silence(&mut self, reset: Result<(), InitError>) -> Result<Quiet<'_>, StopError> {
        // The pin may be shared, and a device that is reset has nothing to say on it.
        self.transport.switch_interrupts(Interrupts::Polling);
        // Bus mastering goes off in any case. By itself it is not enough: some monitors do not look
        // at that bit.
        let quiet = self.transport.function_mut().quiesce(&self.platform);
        reset.map_err(StopError::NoReset)?;
        quiet.map_err(StopError::NotQuiet)
    }
}

impl<P: Platform, C: ConfigAccess> fmt::Debug for Device<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio_net::Device({:?})", self.function())
    }
}

/// Sets up one queue, except for its vector and the last step, and leaves it in `place`.
fn set_up<R: Record, P: Platform, C: ConfigAccess>(
    transport: &mut PciTransport<P::Region, C>,
    dma: &DeviceDma<P>,
    queue: u16,
    size: QueueSize,
    event_idx: bool,
    place: &mut Option<Virtqueue<R, P, PciDoorbell<P::Region>>>,
) -> Result<(), StartError> {
    let doorbell = transport.doorbell(queue)?;
    let ring = place.insert(Virtqueue::new(dma, size, event_idx, doorbell)?);
    transport.write_queue(queue, size, &ring.addresses());
    Ok(())
}

/// Switches interrupts on as offered, and finds out how far the device goes along.
fn choose_interrupts<R, C>(transport: &mut PciTransport<R, C>, offered: Interrupts<'_>) -> InterruptsInUse
where
    R: paravane_hal::mmio::Mmio + Clone + Send,
    C: ConfigAccess,
{
    // A device that cannot say why it raised its line cannot be driven by it.
    let offered = match offered {
        Interrupts::Intx if !transport.has_interrupt_status() => Interrupts::Polling,
        other => other,
    };
    let at = transport.function().address();
    let messages = transport.switch_interrupts(offered);
    if let Some(error) = transport.msix_error() {
        warn!("virtio-net {at}: no messages: {error}");
    }
    if messages > 0 {
        let chosen = interrupts::assign(transport, messages);
        if usize::from(chosen.messages()) < messages.min(interrupts::MOST_MESSAGES) {
            warn!("virtio-net {at}: the device has no resources for {messages} messages; {chosen}");
        }
        if chosen == InterruptsInUse::Polling {
            transport.switch_interrupts(Interrupts::Polling);
        }
        return chosen;
    }
    // Virtio on PCI has no use for MSI without the X; a kernel that offers it gets polling.
    match offered {
        Interrupts::Intx => InterruptsInUse::Intx,
        _ => InterruptsInUse::Polling,
    }
}

/// Our address: the device's, or one of our own making that is the same at every boot.
fn address<C: ConfigAccess>(device_says: Option<MacAddr>, function: &Function<C>) -> MacAddr {
    device_says.filter(|mac| mac.is_unicast()).unwrap_or_else(|| {
        let at = function.address();
        let place = u32::from(at.segment()) << 16
            | u32::from(at.bus()) << 8
            | u32::from(at.device()) << 3
            | u32::from(at.function());
        MacAddr::local(place)
    })
}

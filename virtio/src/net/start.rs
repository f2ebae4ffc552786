//! From a stopped network device to a running one: what makes it a network device.
//!
//! Every step gives back what it was given when it fails.

use log::{info, warn};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};
use paravane_net::{FramePool, Link, MacAddr, NicInfo};

use crate::error::{SetUpError, StopError};
use crate::net::agree::{Config, ETHERNET_BYTES, Terms, agree};
use crate::net::config;
use crate::net::control::{self, NetControl};
use crate::net::device::{Device, Rings, Running};
use crate::net::error::StartError;
use crate::net::features::Negotiated;
use crate::net::judge::{RxRules, TxRules};
use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;
use crate::net::{CLASS, RX_QUEUE, TX_QUEUE};
use crate::transport::{Location, QueueError, Transport};

/// How many queues it has.
const QUEUES: u16 = 2;

/// What bring-up found out.
struct Agreed {
    features: Negotiated,
    interrupts: InterruptMode,
    info: NicInfo,
    link: Link,
}

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
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

//! From a stopped network device to a running one: what makes it a network device.
//!
//! Every step gives back what it was given when it fails.

use log::info;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};
use paravane_net::{FramePool, Link, MacAddr, NicInfo};

use crate::device::Class;
use crate::error::{SetUpError, StopError};
use crate::net::agree::{Config, ETHERNET_BYTES, Terms, agree};
use crate::net::config;
use crate::net::control::{self, NetControl};
use crate::net::device::{Device, Net, Running};
use crate::net::error::StartError;
use crate::net::features::Negotiated;
use crate::net::judge::{RxRules, TxRules};
use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;
use crate::net::{RX_QUEUE, TX_QUEUE};
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
        self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T>, Failed<StartError, Self>>
    where
        T: Send,
    {
        let domain = self.platform.domain();
        if pool.domain() != domain {
            return Err(Failed::new(StartError::ForeignPool { pool: pool.domain(), device: domain }, self));
        }
        let steps = |device: &mut Self, rings: &mut _| device.steps(config, &pool, interrupts, rings);
        let (device, rings, agreed) = self.bring_up(steps)?;
        let (Some(rx), Some(tx)) = rings else {
            // The steps made both, or failed.
            return Err(device.abandon(rings, QueueError::Absent { queue: RX_QUEUE }.into()));
        };
        let Agreed { features, interrupts, info, link } = agreed;
        // The pool's buffers are shorter than 64 KiB.
        let payload_bytes = u16::try_from(paravane_net::payload_bytes(&pool)).unwrap_or(u16::MAX);
        let rules = RxRules::new(features, info.max_frame_bytes, payload_bytes);
        let mut rx = RxQueue::new(rx, pool, rules);
        let tx = TxQueue::new(tx, TxRules::new(features, info.max_frame_bytes), domain);
        rx.publish();
        info!(
            "{} {}: started: {}, MTU {}, {} receive and {} transmit entries, {interrupts}, link {link}; {features}",
            Net::NAME,
            device.location(),
            info.mac,
            info.ip_mtu_bytes,
            info.rx_slots,
            info.tx_slots,
        );
        Ok(Running { control: NetControl::new(device, info, features, interrupts, link), rx, tx })
    }

    /// What is its own of bring-up.
    fn steps(
        &mut self,
        config: &Config,
        pool: &FramePool,
        offered: Interrupts<'_>,
        rings: &mut <Net as Class>::Rings<P>,
    ) -> Result<Agreed, StartError> {
        let Terms { features, ip_mtu_bytes, rx, tx } =
            agree(&mut self.transport, &self.platform, config, paravane_net::payload_bytes(pool))?;
        let fields = config::read(&self.transport, features).ok_or(SetUpError::ConfigUnstable)?;

        let format = features.format();
        self.set_up(RX_QUEUE, rx, format, &mut rings.0)?;
        self.set_up(TX_QUEUE, tx, format, &mut rings.1)?;
        let interrupts = self.enable(QUEUES, offered);
        let info = NicInfo {
            driver: Net::NAME,
            mac: address(fields.mac, self.location()),
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

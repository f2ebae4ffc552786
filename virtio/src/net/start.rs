//! From a stopped network device to a running one: what makes it a network device.
//!
//! Every step gives back what it was given when it fails.

use log::info;
use paravane_hal::dma::{DmaError, DmaErrorReason};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};
use paravane_net::{Control as _, FramePool, Link, MacAddr, NicInfo};

use crate::device::{Class, queue_size};
use crate::error::{SetUpError, StopError};
use crate::net::RX_QUEUE;
use crate::net::agree::{Config, ETHERNET_BYTES, Terms, agree};
use crate::net::change::Abilities;
use crate::net::config;
use crate::net::control::NetControl;
use crate::net::control_queue::{self, CommandMemory, ControlQueue};
use crate::net::device::{Device, Net, Running};
use crate::net::error::StartError;
use crate::net::features::{Negotiated, NetFeatures};
use crate::net::judge::{RxRules, TxRules};
use crate::net::pairs::{Pair, RxQueues};
use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;
use crate::transport::{QueueError, Transport};

/// What bring-up found out.
struct Agreed {
    features: Negotiated,
    interrupts: InterruptMode,
    /// Of each pair.
    rx_slots: u16,
    info: NicInfo,
    link: Link,
    abilities: Abilities,
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
        let Agreed { features, interrupts, rx_slots, info, link, abilities } = agreed;
        // The pool's buffers are shorter than 64 KiB.
        let payload_bytes = u16::try_from(paravane_net::payload_bytes(&pool)).unwrap_or(u16::MAX);
        let rules = RxRules::new(features, info.max_frame_bytes, payload_bytes);
        let tx_rules = TxRules::new(features, info.max_frame_bytes);
        let (pairs, commands) = rings;
        let mut queues = pairs.into_iter().filter_map(|(rx, tx)| {
            let rx = RxQueue::new(rx, pool.clone(), rules, rx_slots)?;
            Some(Pair { rx, tx: TxQueue::new(tx?, tx_rules, domain) })
        });
        // The steps made at least one, or failed.
        let Some(Pair { rx, tx }) = queues.next() else {
            return Err(device.abandon(Default::default(), QueueError::Absent { queue: RX_QUEUE }.into()));
        };
        let mut rx = RxQueues::new(rx, queues.collect());
        rx.queues_mut().for_each(RxQueue::publish);
        let commands = match commands {
            (Some(ring), Some(memory)) => Some(ControlQueue::new(ring, memory)),
            _ => None,
        };
        let mut control = NetControl::new(device, info, abilities, interrupts, link, commands);
        if let Err(error) = control.apply(config) {
            let (device, commands) = control.into_parts();
            return Err(device.abandon(rings_of(rx, tx, commands), error));
        }
        let (device, info) = (control.device(), control.info());
        info!(
            "{} {}: started: {}, MTU {}, {} receive and {} transmit entries, {} pairs of queues, {interrupts}, link {link}; {features}",
            Net::NAME,
            device.location(),
            info.mac,
            info.ip_mtu_bytes,
            info.rx_slots,
            info.tx_slots,
            control.pairs(),
        );
        Ok(Running { control, rx, tx })
    }

    /// What is its own of bring-up.
    fn steps(
        &mut self,
        config: &Config,
        pool: &FramePool,
        offered: Interrupts<'_>,
        (pairs, command_rings): &mut <Net as Class>::Rings<P>,
    ) -> Result<Agreed, StartError> {
        let Terms { features, ip_mtu_bytes, rx, rx_slots, big, tx, pairs: count, commands } =
            agree(&mut self.transport, &self.platform, config, paravane_net::payload_bytes(pool))?;
        let fields = config::read(&self.transport, features).ok_or(SetUpError::ConfigUnstable)?;

        let format = features.format();
        let queues = count.saturating_mul(2);
        let no_memory = |_| DmaError::new(usize::from(count), DmaErrorReason::OutOfMemory);
        pairs.try_reserve_exact(count.into()).map_err(no_memory)?;
        for rx_queue in (RX_QUEUE..queues).step_by(2) {
            let tx_queue = rx_queue.saturating_add(1);
            // The first are known to be so long.
            let rx = queue_size(&mut self.transport, rx_queue, rx.entries(), format.packed)?;
            let tx = queue_size(&mut self.transport, tx_queue, tx.entries(), format.packed)?;
            pairs.push(Default::default());
            let Some(((single_rx, big_rx), tx_place)) = pairs.last_mut() else { break };
            if big {
                self.set_up(rx_queue, rx, format, big_rx)?;
            } else {
                self.set_up(rx_queue, rx, format, single_rx)?;
            }
            self.set_up(tx_queue, tx, format, tx_place)?;
        }
        if let Some(queue) = commands {
            let size = queue_size(&mut self.transport, queue, control_queue::ENTRIES, format.packed)?;
            let (entries, needed) = (size.entries(), control_queue::SEGMENTS);
            if entries < needed {
                return Err(StartError::ControlQueueTooShort { entries, needed });
            }
            self.set_up(queue, size, format, &mut command_rings.0)?;
            command_rings.1 = Some(CommandMemory::new(&self.dma())?);
        }
        let interrupts = self.enable_with(queues, commands, offered);
        let known_mac = fields.mac.filter(|mac| mac.is_unicast());
        // Or one of our own making that is the same at every boot.
        let mac = known_mac.unwrap_or_else(|| MacAddr::local(self.location().number()));
        let abilities = Abilities {
            features,
            pairs: count,
            unknown_mac: known_mac.is_none().then_some(mac),
            rss: config::read_rss_limits(&self.transport, features),
        };
        let info = NicInfo {
            driver: Net::NAME,
            mac,
            ip_mtu_bytes,
            max_frame_bytes: ip_mtu_bytes.saturating_add(ETHERNET_BYTES),
            offloads: features.offloads(),
            filters: features.has(NetFeatures::CTRL_RX),
            max_segments: tx.entries(),
            max_cut_segments: tx.entries(),
            rx_slots: rx_slots.saturating_mul(count),
            tx_slots: tx.entries(),
        };
        Ok(Agreed { features, interrupts, rx_slots, info, link: fields.link, abilities })
    }
}

impl<P: Platform, T: Transport<P::Region> + Send> paravane_net::Device for Device<P, T> {
    type Control = NetControl<P, T>;
    type Rx = RxQueues<P>;
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

impl<P: Platform, T: Transport<P::Region> + Send> paravane_net::Recover for Device<P, T> {
    fn terms(running: &Running<P, T>) -> (Config, FramePool) {
        (running.control.terms(), running.rx.first().pool().clone())
    }
}

/// What a running device has in memory.
fn rings_of<P: Platform>(
    rx: RxQueues<P>,
    tx: TxQueue<P>,
    commands: Option<ControlQueue<P>>,
) -> <Net as Class>::Rings<P> {
    let (rx, others) = rx.into_parts();
    let pairs = [Pair { rx, tx }].into_iter().chain(others);
    let rings = pairs.map(|Pair { rx, tx }| (rx.into_rings(), Some(tx.into_ring()))).collect();
    let (ring, memory) = commands.map(ControlQueue::into_parts).unzip();
    (rings, (ring, memory))
}

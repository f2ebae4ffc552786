//! What driver and device agree on: features, lengths of queues, and the MTU that goes with both.
//!
//! How long a queue may be, the device says when the features are final. So a driver that accepted
//! `MTU` and then finds that the buffers of its queue cannot hold such a frame starts over, once,
//! without the feature.
//!
//! Spec: VIRTIO 1.2, 5.1.4.2 "Driver Requirements: Device configuration layout".

use log::warn;
use paravane_hal::mmio::Mmio;
use paravane_hal::time::Clock;
use paravane_net::{RxOffloads, Settings};

use crate::config::readable;
use crate::device::queue_size;
use crate::feature::RingFeatures;
use crate::init;
use crate::net::change::offload_features;
use crate::net::config::{self, MIN_IP_MTU_BYTES};
use crate::net::error::StartError;
use crate::net::features::{Allowed, Negotiated, NetFeatures};
use crate::net::judge::MAX_LARGE_BYTES;
use crate::net::rx::segments_of;
use crate::net::{RX_QUEUE, TX_QUEUE};
use crate::ring::QueueSize;
use crate::transport::Transport;

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
    /// Entries of the receive queue, or of those of all pairs; likewise. A legacy device may have a
    /// longer queue, of which no more are used.
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
    /// How many pairs of queues are started at most, of those that the device has. They share
    /// [`rx_entries`](Self::rx_entries) evenly, so that what is enough of a pool for one is enough
    /// for all; there are no more than leave each 16. Each sends by
    /// [`tx_entries`](Self::tx_entries), once it is served by itself.
    pub pairs: u16,
    /// What the device is told.
    pub settings: Settings,
    /// What the device may do to received frames, if it can. With large packets among it, frames
    /// may be as long as an IP packet, in as many segments as that takes buffers; each says in
    /// [`Frame::offload`](paravane_net::Frame::offload) how it is cut again.
    ///
    /// For large packets the buffers of one receive queue have to hold the longest: with buffers of
    /// 2 KiB, 34 of them. Else they are not agreed, and a warning says so. A device without
    /// `MRG_RXBUF` writes each frame to as many as the longest takes, so a queue of 256 has room
    /// for 7.
    pub rx_offloads: RxOffloads,
    /// Which features may be agreed. `CTRL_VLAN`, `RSS` and `HASH_REPORT` are, if
    /// [`settings`](Self::settings) has something to say there: a device that filters VLANs keeps
    /// out those that it was not told.
    pub allowed: Allowed,
}

impl Default for Config {
    /// 256 entries each way: what QEMU and Firecracker allow at most by default, eight bursts deep,
    /// and quick to fill.
    fn default() -> Self {
        Self {
            tx_entries: 256,
            rx_entries: 256,
            ip_mtu_bytes: None,
            pairs: u16::MAX,
            settings: Settings::default(),
            rx_offloads: RxOffloads::default(),
            allowed: Allowed::default(),
        }
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

    /// The same with at most so many [`pairs`](Self::pairs).
    #[must_use]
    pub const fn with_pairs(self, pairs: u16) -> Self {
        Self { pairs, ..self }
    }

    /// The same with other [`settings`](Self::settings).
    #[must_use]
    pub const fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The same with other [`rx_offloads`](Self::rx_offloads).
    #[must_use]
    pub const fn with_rx_offloads(self, rx_offloads: RxOffloads) -> Self {
        Self { rx_offloads, ..self }
    }

    /// The same with other features [allowed](Self::allowed).
    #[must_use]
    pub const fn with_allowed(self, allowed: Allowed) -> Self {
        Self { allowed, ..self }
    }
}

impl From<paravane_net::Config> for Config {
    fn from(config: paravane_net::Config) -> Self {
        let paravane_net::Config { tx_entries, rx_entries, ip_mtu_bytes, settings, rx_offloads, .. } = config;
        Self { tx_entries, rx_entries, ip_mtu_bytes, settings, rx_offloads, ..Self::default() }
    }
}

/// The most pairs of queues that a device may have.
const MOST_PAIRS: u16 = 1 << 15;
/// A pair with fewer entries is not worth its doorbell.
const LEAST_ENTRIES: u16 = 16;
/// Ethernet header in front of an IP packet.
pub(crate) const ETHERNET_BYTES: u16 = 14;
/// The MTU of a device that names none.
const DEFAULT_IP_MTU_BYTES: u16 = 1500;
/// What a received frame may have on top of the MTU: Ethernet header and one VLAN tag.
const OVERHEAD_BYTES: u16 = 18;
/// The largest MTU whose frames have a length of 16 bits.
const MAX_IP_MTU_BYTES: u16 = u16::MAX - OVERHEAD_BYTES;

/// What was agreed.
pub(crate) struct Terms {
    pub(crate) features: Negotiated,
    pub(crate) ip_mtu_bytes: u16,
    pub(crate) rx: QueueSize,
    /// How many buffers each has at most, which may be fewer: a legacy device has no choice.
    pub(crate) rx_slots: u16,
    /// Whether each that is posted is of as many buffers as the longest packet takes.
    pub(crate) big: bool,
    pub(crate) tx: QueueSize,
    /// How many pairs of such queues.
    pub(crate) pairs: u16,
    /// The number of the control queue, if there is one.
    pub(crate) commands: Option<u16>,
}

/// Steps 2 to 5 of bring-up, on the device at `at`, which was reset, for buffers that hold
/// `payload_bytes`.
pub(crate) fn agree<R: Mmio>(
    transport: &mut impl Transport<R>,
    clock: &impl Clock,
    config: &Config,
    payload_bytes: usize,
) -> Result<Terms, StartError> {
    let at = transport.location();
    let mut allowed = config.allowed;
    let mut named = None;
    let wanted = wanted(config);
    let mut max_pairs = 1;
    // Ends: each turn but the first goes without `MTU`, or large packets, of which the one before
    // had it.
    loop {
        init::acknowledge_and_claim(transport)?;
        let features = init::negotiate(transport, |transport, offered| {
            let readable = readable::<NetFeatures>(offered, transport.config().len_bytes());
            if readable & (NetFeatures::MQ | NetFeatures::RSS).bits() != 0 {
                max_pairs = config::read_max_pairs(transport);
            }
            let mut allowed = allowed.with_class(allowed.class & wanted);
            if !(1..=MOST_PAIRS).contains(&max_pairs) {
                warn!("virtio-net {at}: MQ and RSS refused: the device says {max_pairs} pairs of queues");
                allowed.class.remove(NetFeatures::MQ | NetFeatures::RSS);
                max_pairs = 1;
            }
            let chosen = allowed.choose(readable);
            if chosen & NetFeatures::MTU.bits() == 0 {
                return chosen;
            }
            // Read here, and nowhere else.
            let ip_mtu_bytes = config::read_mtu(transport);
            let spread = chosen & NetFeatures::MRG_RXBUF.bits() != 0;
            if !(MIN_IP_MTU_BYTES..=MAX_IP_MTU_BYTES).contains(&ip_mtu_bytes) {
                warn!("virtio-net {at}: MTU refused: the device says {ip_mtu_bytes} bytes");
                return chosen & !NetFeatures::MTU.bits();
            }
            named = Some(ip_mtu_bytes);
            if !spread && whole_frame(ip_mtu_bytes) > payload_bytes {
                warn!(
                    "virtio-net {at}: MTU refused: the device says {ip_mtu_bytes} bytes, buffers hold {payload_bytes}"
                );
                return chosen & !NetFeatures::MTU.bits();
            }
            chosen
        })?;
        let features = Negotiated::confirmed(features);
        // Spec: VIRTIO 1.2, 5.1.6.6 "Legacy Interface: Framing Requirements".
        if !features.has_ring(RingFeatures::VERSION_1) && !features.has_ring(RingFeatures::ANY_LAYOUT) {
            return Err(StartError::NoAnyLayout);
        }
        let spreads = features.has(NetFeatures::MQ) || features.has(NetFeatures::RSS);
        let fitting = config.rx_entries / LEAST_ENTRIES;
        let pairs = if spreads { max_pairs.min(config.pairs).min(fitting).max(1) } else { 1 };
        if pairs < max_pairs {
            // Cloud Hypervisor opens its end of all, and the host spreads to all that are open.
            warn!(
                "virtio-net {at}: of {max_pairs} pairs of queues {pairs} are served; if frames stay away, allow more (pairs, {LEAST_ENTRIES} receive entries for each), or have the monitor make fewer"
            );
        }
        let behind = if spreads { max_pairs.saturating_mul(2) } else { 2 };
        let commands = features.has(NetFeatures::CTRL_VQ).then_some(behind);
        let rx_entries = config.rx_entries.checked_div(pairs).unwrap_or(0).max(config.rx_entries.min(1));
        let rx = queue_size(transport, RX_QUEUE, rx_entries, features.format().packed)?;
        let tx = queue_size(transport, TX_QUEUE, config.tx_entries, features.format().packed)?;
        // What a pool was made for.
        let rx_slots = rx.entries().min(rx_entries);
        let spread = features.has(NetFeatures::MRG_RXBUF);
        let hold_bytes = if spread { payload_bytes.saturating_mul(rx_slots.into()) } else { payload_bytes };
        let device_says = named.filter(|_| features.has(NetFeatures::MTU));
        if let Some(ip_mtu_bytes) = device_says.filter(|mtu| whole_frame(*mtu) > hold_bytes) {
            warn!(
                "virtio-net {at}: MTU refused: the device says {ip_mtu_bytes} bytes, {rx_slots} buffers hold {hold_bytes}"
            );
            allowed.class.remove(NetFeatures::MTU);
            init::reset(transport, clock)?;
            continue;
        }
        let makes_large = NetFeatures::LARGE_RX.iter().any(|feature| features.has(feature));
        let needed = segments_of(payload_bytes);
        if makes_large && usize::from(rx_slots) < needed {
            // A packet that never fits would hold up all behind it.
            warn!(
                "virtio-net {at}: no large packets received: they have up to {MAX_LARGE_BYTES} bytes, which takes {needed} buffers, and a queue has {rx_slots}; allow more of them (receive entries) or longer ones"
            );
            allowed.class.remove(NetFeatures::LARGE_RX);
            init::reset(transport, clock)?;
            continue;
        }
        let ip_mtu_bytes = match config.ip_mtu_bytes {
            // Refused or not, what the device named is the most that it takes.
            None => device_says.unwrap_or(named.unwrap_or(DEFAULT_IP_MTU_BYTES).min(DEFAULT_IP_MTU_BYTES)),
            Some(ip_mtu_bytes) => {
                let max_bytes = named.unwrap_or(MAX_IP_MTU_BYTES);
                if !(MIN_IP_MTU_BYTES..=max_bytes).contains(&ip_mtu_bytes) {
                    return Err(StartError::Mtu { ip_mtu_bytes, min_bytes: MIN_IP_MTU_BYTES, max_bytes });
                }
                ip_mtu_bytes
            }
        };
        let needed_bytes = match config.ip_mtu_bytes {
            // Any buffer that holds a header will do; one that holds no frame header would make
            // every frame a chain.
            None if spread => ETHERNET_BYTES.into(),
            _ => whole_frame(ip_mtu_bytes),
        };
        if hold_bytes < needed_bytes || payload_bytes < ETHERNET_BYTES.into() {
            return Err(StartError::BuffersTooShort { payload_bytes: hold_bytes, needed_bytes });
        }
        let big = makes_large && !spread;
        return Ok(Terms { features, ip_mtu_bytes, rx, rx_slots, big, tx, pairs, commands });
    }
}

/// The features that are of use with `config`.
fn wanted(config: &Config) -> NetFeatures {
    let Settings { vlans, rss, hash_report, .. } = config.settings;
    let mut wanted = NetFeatures::all();
    // It would keep out what it was not told to let through.
    wanted.set(NetFeatures::CTRL_VLAN, vlans.is_some());
    wanted.set(NetFeatures::RSS, rss.is_some());
    // Its header is longer, and takes longer.
    wanted.set(NetFeatures::HASH_REPORT, hash_report.is_some());
    // Large packets come with their checksums left open.
    let open = if config.rx_offloads.intersects(RxOffloads::LARGE) {
        RxOffloads::CHECKSUM
    } else {
        RxOffloads::empty()
    };
    wanted.difference(offload_features(!(config.rx_offloads | open)))
}

/// How long a frame with an IP packet of that length may be.
fn whole_frame(ip_mtu_bytes: u16) -> usize {
    usize::from(ip_mtu_bytes).saturating_add(OVERHEAD_BYTES.into())
}

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

use crate::config::readable;
use crate::device::queue_size;
use crate::feature::RingFeatures;
use crate::init;
use crate::net::config::{self, MIN_IP_MTU_BYTES};
use crate::net::error::StartError;
use crate::net::features::{Allowed, Negotiated, NetFeatures};
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

/// `VIRTIO_NET_F_MQ`, which is not taken: the device may have more pairs of queues than one.
///
/// It is to use the first alone then. Cloud Hypervisor opens its end of all of them all the same,
/// and what the host spreads to the others never comes.
const QUEUE_PAIRS: u64 = 1 << 22;
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
    pub(crate) tx: QueueSize,
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
    let mut has_pairs = false;
    // Ends: the second turn goes without `MTU`.
    loop {
        init::acknowledge_and_claim(transport)?;
        let features = init::negotiate(transport, |transport, offered| {
            has_pairs = offered & QUEUE_PAIRS != 0;
            let chosen = allowed.choose(readable::<NetFeatures>(offered, transport.config().len_bytes()));
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
        if has_pairs {
            warn!(
                "virtio-net {at}: the device has several pairs of queues, and the first is served; if it leaves frames in the others as well, have its monitor make one pair (Cloud Hypervisor: num_queues=2)"
            );
        }
        let rx = queue_size(transport, RX_QUEUE, config.rx_entries, features.format().packed)?;
        let tx = queue_size(transport, TX_QUEUE, config.tx_entries, features.format().packed)?;
        let spread = features.has(NetFeatures::MRG_RXBUF);
        let hold_bytes =
            if spread { payload_bytes.saturating_mul(rx.entries().into()) } else { payload_bytes };
        let device_says = named.filter(|_| features.has(NetFeatures::MTU));
        if let Some(ip_mtu_bytes) = device_says.filter(|mtu| whole_frame(*mtu) > hold_bytes) {
            let entries = rx.entries();
            warn!(
                "virtio-net {at}: MTU refused: the device says {ip_mtu_bytes} bytes, {entries} buffers hold {hold_bytes}"
            );
            allowed.class.remove(NetFeatures::MTU);
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
        return Ok(Terms { features, ip_mtu_bytes, rx, tx });
    }
}

/// How long a frame with an IP packet of that length may be.
fn whole_frame(ip_mtu_bytes: u16) -> usize {
    usize::from(ip_mtu_bytes).saturating_add(OVERHEAD_BYTES.into())
}

//! The network device's configuration space: where its fields are, and how they are read.
//!
//! A device with an address alone exposes six bytes. A field means something only if its feature
//! was agreed; nothing else is read.
//!
//! Spec: VIRTIO 1.2, 5.1.4 "Device configuration layout".

use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{ReadOnly, RegArray};
use paravane_net::{Duplex, Link, MacAddr};

use crate::config::stable;
use crate::net::change::RssLimits;
use crate::net::features::{
    DUPLEX, MAC_END_BYTES, MAX_PAIRS, MTU, Negotiated, NetFeatures, RSS_MAX_KEY_SIZE, RSS_MAX_TABLE_LENGTH,
    SPEED, STATUS, SUPPORTED_HASH_TYPES,
};
use crate::transport::Transport;

/// `mac`: our address, byte by byte.
const MAC: RegArray<u8, ReadOnly> = RegArray::at(0, 1, MAC_END_BYTES);

/// `VIRTIO_NET_S_LINK_UP`.
const STATUS_LINK_UP: u16 = 1;
/// `VIRTIO_NET_S_ANNOUNCE`.
const STATUS_ANNOUNCE: u16 = 1 << 1;
/// Speeds beyond this stand for "not known".
const SPEED_MAX_MBPS: u32 = 0x7fff_ffff;

/// One side at a time, as `duplex` says it.
const DUPLEX_HALF: u8 = 0;
/// Both at once.
const DUPLEX_FULL: u8 = 1;

/// The smallest MTU that the specification lets a device name, IPv4's minimum.
pub const MIN_IP_MTU_BYTES: u16 = 68;

/// The fields that the driver uses, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetConfig {
    /// Our address, if the device says.
    pub(crate) mac: Option<MacAddr>,
    /// The link; without a feature to say so, it is up.
    pub(crate) link: Link,
}

/// Reads the MTU field. It does not change, so one read will do; it may be read before the features
/// are final, to find out whether to accept `MTU`.
#[must_use]
pub(crate) fn read_mtu<R: Mmio>(transport: &impl Transport<R>) -> u16 {
    transport.config().read(&MTU)
}

/// Reads how many pairs of queues there are; likewise.
#[must_use]
pub(crate) fn read_max_pairs<R: Mmio>(transport: &impl Transport<R>) -> u16 {
    transport.config().read(&MAX_PAIRS)
}

/// Reads which spreads and hashes the device takes: none without their features. Does not change
/// either.
#[must_use]
pub(crate) fn read_rss_limits<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> RssLimits {
    if !features.has(NetFeatures::RSS) && !features.has(NetFeatures::HASH_REPORT) {
        return RssLimits::default();
    }
    let registers = transport.config();
    RssLimits {
        max_key_bytes: registers.read(&RSS_MAX_KEY_SIZE),
        max_table_entries: registers.read(&RSS_MAX_TABLE_LENGTH),
        kinds: registers.read(&SUPPORTED_HASH_TYPES),
    }
}

/// Reads the fields that belong to `features`, all of one generation. `None` when they kept
/// changing.
#[must_use]
pub(crate) fn read<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> Option<NetConfig> {
    stable(transport, || read_once(transport, features))
}

/// What the status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkStatus {
    /// The link is up; without a feature to say so, it is.
    pub(crate) is_up: bool,
    /// The addresses are to be announced.
    pub(crate) announce: bool,
}

/// Reads the status. One field, so one read will do.
#[must_use]
pub(crate) fn read_status<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> LinkStatus {
    if !features.has(NetFeatures::STATUS) {
        return LinkStatus { is_up: true, announce: false };
    }
    let status = transport.config().read(&STATUS);
    let announces = features.has(NetFeatures::GUEST_ANNOUNCE);
    LinkStatus { is_up: status & STATUS_LINK_UP != 0, announce: announces && status & STATUS_ANNOUNCE != 0 }
}

/// Reads how fast a link is that is up. Two fields, of which neither means more by the other.
#[must_use]
pub(crate) fn read_up<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> Link {
    if !features.has(NetFeatures::SPEED_DUPLEX) {
        return Link::Up { mbps: None, duplex: None };
    }
    let registers = transport.config();
    Link::Up {
        mbps: Some(registers.read(&SPEED)).filter(|speed| (1..=SPEED_MAX_MBPS).contains(speed)),
        duplex: match registers.read(&DUPLEX) {
            DUPLEX_HALF => Some(Duplex::Half),
            DUPLEX_FULL => Some(Duplex::Full),
            _ => None,
        },
    }
}

fn read_once<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> NetConfig {
    let registers = transport.config();
    let mac = features
        .has(NetFeatures::MAC)
        .then(|| MacAddr(core::array::from_fn(|i| MAC.get(i).map_or(0, |byte| registers.read(&byte)))));
    let is_up = read_status(transport, features).is_up;
    NetConfig { mac, link: if is_up { read_up(transport, features) } else { Link::Down } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::readable;

    #[test]
    fn a_feature_without_its_field_is_not_accepted() {
        let all = NetFeatures::all().bits();
        let readable = |len_bytes| readable::<NetFeatures>(all, len_bytes);
        let six = readable(6);
        assert_eq!(six & NetFeatures::MAC.bits(), NetFeatures::MAC.bits());
        assert_eq!(six & (NetFeatures::STATUS | NetFeatures::MTU | NetFeatures::SPEED_DUPLEX).bits(), 0);
        assert_eq!(six & NetFeatures::CSUM.bits(), 1, "a feature without a field stays");
        assert_eq!(readable(5) & NetFeatures::MAC.bits(), 0);
        assert_eq!(readable(12) & NetFeatures::MTU.bits(), NetFeatures::MTU.bits());
        assert_eq!(readable(10) & NetFeatures::MQ.bits(), NetFeatures::MQ.bits());
        assert_eq!(readable(9) & NetFeatures::MQ.bits(), 0);
        assert_eq!(readable(16) & NetFeatures::SPEED_DUPLEX.bits(), 0);
        assert_eq!(readable(17) & NetFeatures::SPEED_DUPLEX.bits(), NetFeatures::SPEED_DUPLEX.bits());
        assert_eq!(readable(23) & (NetFeatures::RSS | NetFeatures::HASH_REPORT).bits(), 0);
        assert_eq!(readable(24), all);
    }
}

//! The network device's configuration space: where its fields are, and how they are read.
//!
//! A device with an address alone exposes six bytes. A field means something only if its feature
//! was agreed; nothing else is read.
//!
//! Spec: VIRTIO 1.2, 5.1.4 "Device configuration layout".

use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{ReadOnly, RegArray};
use paravane_net::MacAddr;

use crate::config::stable;
use crate::net::features::{MAC_END_BYTES, MTU, Negotiated, NetFeatures, SPEED, STATUS};
use crate::transport::Transport;

/// `mac`: our address, byte by byte.
const MAC: RegArray<u8, ReadOnly> = RegArray::at(0, 1, MAC_END_BYTES);

/// `VIRTIO_NET_S_LINK_UP`.
const STATUS_LINK_UP: u16 = 1;
/// Speeds beyond this stand for "not known".
const SPEED_MAX_MBPS: u32 = 0x7fff_ffff;

/// The smallest MTU that the specification lets a device name, IPv4's minimum.
pub const MIN_IP_MTU_BYTES: u16 = 68;

/// The fields that the driver uses, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetConfig {
    /// Our address, if the device says.
    pub(crate) mac: Option<MacAddr>,
    /// Whether the link is up; without a feature to say so, it is.
    pub(crate) link_up: bool,
    /// In Mbit/s, if the device says.
    pub(crate) speed_mbps: Option<u32>,
}

/// Reads the MTU field. It does not change, so one read will do; it may be read before the features
/// are final, to find out whether to accept `MTU`.
#[must_use]
pub(crate) fn read_mtu<R: Mmio>(transport: &impl Transport<R>) -> u16 {
    transport.config().read(&MTU)
}

/// Reads the fields that belong to `features`, all of one generation. `None` when they kept
/// changing.
#[must_use]
pub(crate) fn read<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> Option<NetConfig> {
    stable(transport, || read_once(transport, features))
}

/// Reads whether the link is up. One field, so one read will do.
#[must_use]
pub(crate) fn read_link_up<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> bool {
    !features.has(NetFeatures::STATUS) || transport.config().read(&STATUS) & STATUS_LINK_UP != 0
}

/// Reads how fast the link is. As before.
#[must_use]
pub(crate) fn read_speed_mbps<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> Option<u32> {
    features
        .has(NetFeatures::SPEED_DUPLEX)
        .then(|| transport.config().read(&SPEED))
        .filter(|speed| (1..=SPEED_MAX_MBPS).contains(speed))
}

fn read_once<R: Mmio>(transport: &impl Transport<R>, features: Negotiated) -> NetConfig {
    let registers = transport.config();
    let mac = features
        .has(NetFeatures::MAC)
        .then(|| MacAddr(core::array::from_fn(|i| MAC.get(i).map_or(0, |byte| registers.read(&byte)))));
    let link_up = read_link_up(transport, features);
    NetConfig { mac, link_up, speed_mbps: read_speed_mbps(transport, features) }
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
        assert_eq!(readable(16), all);
    }
}

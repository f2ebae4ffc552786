//! What a caller may choose. What that comes to is [`plan`](crate::plan)'s part.

use paravane_net::{Rss, RxOffloads, Settings};

use crate::revision::HIGHEST_BY_DEFAULT;
use crate::rss;
use crate::tunnel::TunnelPorts;

/// How a device is to run.
///
/// ```
/// use paravane_vmxnet3::Config;
///
/// let config = Config::default().with_rx_entries(1024).with_ip_mtu_bytes(9000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Slots of the transmit ring: 32 to 4096, a multiple of 32.
    pub tx_entries: u16,
    /// Slots of the first receive ring, or of those of all [`pairs`](Self::pairs) together: 32 to
    /// 4096 for each, a multiple of 32. Each slot holds a buffer of the pool.
    ///
    /// A frame is received where a fresh buffer takes the place of its own, and dropped where there
    /// is none. So the pool has more than the rings hold, by a burst for each pair, as
    /// [`frames`](paravane_net::Config::frames) counts them. Of a smaller one the rings get all but
    /// those bursts, or half of what there is, and more as soon as there are more.
    ///
    /// The default, 256, keeps four NICs in two megabytes and their start short. A busy guest wants
    /// 1024 or more: [`rx_out_of_buffers`](paravane_net::DeviceStats::rx_out_of_buffers) tells.
    pub rx_entries: u16,
    /// Slots of the second receive ring of each pair: 32 to 4096, a multiple of 32. It takes
    /// buffers only when frames do not fit one, a buffer a slot as well.
    ///
    /// By default as many as the longest frames need that the first ring can start, up to 4096;
    /// with [`lro`](Self::lro) at least as many as that has.
    pub rx2_entries: Option<u16>,
    /// How many pairs of queues are started at most. Up to revision 5 that is a power of two up to
    /// 16, of which those behind the eighth have a receive queue alone; from 6 on any number that
    /// the device takes, up to 32, of which those behind its last transmit queue do. They share
    /// [`rx_entries`](Self::rx_entries) evenly; there are no more than leave each 32. Of the second
    /// receive ring each has one of its own: where frames do not fit a buffer, several pairs want
    /// more of the pool than one, and a start may find it [empty](crate::StartError). Each sends by
    /// [`tx_entries`](Self::tx_entries), once it is served by itself.
    ///
    /// One by default, for a device spreads nothing of itself. QEMU's takes up to 8, sends by all
    /// and receives by the first.
    pub pairs: u16,
    /// The largest IP packet: 60 to 9000, or to 9190 from revision 6 on.
    pub ip_mtu_bytes: u16,
    /// What the device is told. Of further addresses of ours it has no table, and receives all
    /// frames where there are any. It spreads received frames by [`rss`](Settings::rss) over two
    /// pairs or more, by IPv4 and IPv6 with or without TCP, and from revision 4 on by UDP and ESP.
    /// From revision 3 on it has coalescing, one for all pairs and the sooner of both directions:
    /// by the time alone, 10 to 10,000 microseconds, and at once where either number is 0.
    pub settings: Settings,
    /// Lets the device verify checksums of received frames.
    pub rx_checksum: bool,
    /// Lets the device take VLAN tags off received frames. Off by default: a tag is part of the
    /// frame until somebody asks otherwise.
    pub strip_vlan: bool,
    /// The highest revision of the protocol that may be agreed on, from 1. Where the device has
    /// less, it is less.
    ///
    /// 6 by default: up to there the device is its hypervisor's software. From 7 on it may be
    /// hardware that is passed through; rings have to be powers of two then. QEMU's has 1.
    pub max_revision: u8,
    /// Lets the device put TCP packets together to large ones (LRO), which come over many buffers
    /// and say in [`Frame::offload`](paravane_net::Frame::offload) how they are cut again. Off by
    /// default: who sends on what came, and does not look at that, breaks connections.
    ///
    /// It takes [`rx_checksum`](Self::rx_checksum), buffers of 1428 bytes of payload, and a second
    /// receive ring that is longer than one packet; without, it stays off.
    pub lro: bool,
    /// Frames of up to so many bytes are copied into the transmit data ring, where the device finds
    /// them without a way to their buffers. What fits a slot is copied: 128 bytes before revision
    /// 3, from then on as much as the device says. 0, the default, for none.
    ///
    /// A frame costs more of this side's time then; what it saves on the other, only a host shows.
    pub tx_copy_bytes: u16,
    /// Received frames of up to so many bytes may come by a receive data ring, from revision 3 on:
    /// up to 2048, in steps of 64. They are copied from there. 0, the default, for none, for the
    /// same reason.
    pub rx_copy_bytes: u16,
    /// Tunnels of which the device is asked about the frame inside, by the UDP ports that they are
    /// sent to: for checksums and segmentation on the way out, checksums and, with
    /// [`lro`](Self::lro), large packets on the way in. From revision 4 on; what of it is had,
    /// [`NicInfo::offloads`](paravane_net::NicInfo::offloads) tells.
    ///
    /// Each received frame that a device looked into is looked at by itself then, in place of a run
    /// of them, and its headers are read: it costs more of this side's time than one of which only
    /// the outside was found out.
    ///
    /// None by default, and to be switched on with care: hosts are known that lose TCP and UDP
    /// inside of tunnels whose offloads are on and whose ports they do not expect. They expect
    /// VXLAN at 8472 without NSX and at 4789 with it.
    pub tunnels: TunnelPorts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tx_entries: 512,
            rx_entries: 256,
            rx2_entries: None,
            pairs: 1,
            ip_mtu_bytes: 1500,
            settings: Settings::default(),
            rx_checksum: true,
            strip_vlan: false,
            max_revision: HIGHEST_BY_DEFAULT,
            lro: false,
            tx_copy_bytes: 0,
            rx_copy_bytes: 0,
            tunnels: TunnelPorts::NONE,
        }
    }
}

/// As many pairs as `rss` names, and at least two, between which there is something to spread.
fn rss_pairs(rss: &Rss) -> u16 {
    rss::queues(rss).checked_next_power_of_two().unwrap_or(u16::MAX).max(2)
}

impl From<paravane_net::Config> for Config {
    /// With one pair of queues, or as many as [`Settings::rss`] names; with [`lro`](Self::lro)
    /// where TCP over both IPs may be put together.
    fn from(config: paravane_net::Config) -> Self {
        let paravane_net::Config { tx_entries, rx_entries, ip_mtu_bytes, settings, rx_offloads, .. } = config;
        let own = Self::default();
        Self {
            tx_entries,
            rx_entries,
            ip_mtu_bytes: ip_mtu_bytes.unwrap_or(own.ip_mtu_bytes),
            pairs: settings.rss.as_ref().map_or(own.pairs, rss_pairs),
            settings,
            rx_checksum: rx_offloads.contains(RxOffloads::CHECKSUM),
            // The device does not ask which of the two.
            lro: rx_offloads.contains(LRO),
            ..own
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

    /// The same with that many [`rx2_entries`](Self::rx2_entries).
    #[must_use]
    pub const fn with_rx2_entries(self, rx2_entries: u16) -> Self {
        Self { rx2_entries: Some(rx2_entries), ..self }
    }

    /// The same with at most so many [`pairs`](Self::pairs).
    #[must_use]
    pub const fn with_pairs(self, pairs: u16) -> Self {
        Self { pairs, ..self }
    }

    /// The same with another [`ip_mtu_bytes`](Self::ip_mtu_bytes).
    #[must_use]
    pub const fn with_ip_mtu_bytes(self, ip_mtu_bytes: u16) -> Self {
        Self { ip_mtu_bytes, ..self }
    }

    /// The same with other [`settings`](Self::settings).
    #[must_use]
    pub const fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The same with [`rx_checksum`](Self::rx_checksum) or without.
    #[must_use]
    pub const fn with_rx_checksum(self, rx_checksum: bool) -> Self {
        Self { rx_checksum, ..self }
    }

    /// The same with [`strip_vlan`](Self::strip_vlan) or without.
    #[must_use]
    pub const fn with_strip_vlan(self, strip_vlan: bool) -> Self {
        Self { strip_vlan, ..self }
    }

    /// The same with another [`max_revision`](Self::max_revision).
    #[must_use]
    pub const fn with_max_revision(self, max_revision: u8) -> Self {
        Self { max_revision, ..self }
    }

    /// The same with other [`tx_copy_bytes`](Self::tx_copy_bytes).
    #[must_use]
    pub const fn with_tx_copy_bytes(self, tx_copy_bytes: u16) -> Self {
        Self { tx_copy_bytes, ..self }
    }

    /// The same with other [`rx_copy_bytes`](Self::rx_copy_bytes).
    #[must_use]
    pub const fn with_rx_copy_bytes(self, rx_copy_bytes: u16) -> Self {
        Self { rx_copy_bytes, ..self }
    }

    /// The same with other [`tunnels`](Self::tunnels).
    #[must_use]
    pub const fn with_tunnels(self, tunnels: TunnelPorts) -> Self {
        Self { tunnels, ..self }
    }

    /// The same with [`lro`](Self::lro) or without.
    #[must_use]
    pub const fn with_lro(self, lro: bool) -> Self {
        Self { lro, ..self }
    }
}

/// What a device is asked for that is to put packets together.
pub(crate) const LRO: RxOffloads = RxOffloads::TCP4.union(RxOffloads::TCP6);

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_net::RssKinds;

    #[test]
    fn a_spread_brings_its_pairs_along() {
        let pairs = |table: &[u16]| {
            let settings = Settings::default().with_rss(Rss::new(RssKinds::TCP4, table).unwrap());
            Config::from(paravane_net::Config::default().with_settings(settings)).pairs
        };
        assert_eq!([pairs(&[0]), pairs(&[1, 0]), pairs(&[0, 4]), pairs(&[u16::MAX])], [2, 2, 8, u16::MAX]);
        assert_eq!(Config::from(paravane_net::Config::default()).pairs, 1);
    }

    #[test]
    fn large_packets_are_asked_for_over_both_ips() {
        let asks = |offloads| {
            Config::from(paravane_net::Config::default().with_rx_offloads(offloads | RxOffloads::CHECKSUM))
                .lro
        };
        assert_eq!([LRO, RxOffloads::TCP4, RxOffloads::TCP6].map(asks), [true, false, false]);
    }
}

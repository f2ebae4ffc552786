//! The check that the device never makes (it answers a wrong configuration with "no", without a
//! reason), and what follows from a configuration that passed.

use core::ops::RangeInclusive;

use paravane_net::{FramePool, MacAddr};

use crate::chain::{MAX_LARGE_BYTES, MAX_LARGE_PIECES, MAX_PIECES};
use crate::config::Config;
use crate::data_ring::{TX_SLOT_BYTES, slot_bytes};
use crate::desc::{MAX_RX_BUFFER_BYTES, MIN_RX_HEAD_BYTES, RingIds, RxGeometry};
use crate::error::ConfigError;
use crate::large::LargeRules;
use crate::offload::TxLimits;
use crate::revision::Features;
use crate::table::QueueCounts;
use crate::tunnel::TunnelPorts;

/// An Ethernet header.
const HEADER_BYTES: u16 = 14;
/// An 802.1Q tag, which a frame may bring on top of the MTU.
const TAG_BYTES: u16 = 4;
const RING_STEP: u16 = 32;
const MAX_RING: u16 = 4096;
/// What the device takes.
const MTU_BYTES: RangeInclusive<u16> = 60..=9000;
/// The same from revision 6 on.
const LONG_MTU_BYTES: RangeInclusive<u16> = 60..=9190;

/// A configuration that was checked, with what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What the agreed revision brings.
    pub(crate) features: Features,
    pub(crate) mac: MacAddr,
    pub(crate) queues: QueueCounts,
    /// Of each transmit ring.
    pub(crate) tx_entries: u16,
    pub(crate) ip_mtu_bytes: u16,
    /// Ethernet header in, tag and FCS out.
    pub(crate) max_frame_bytes: u16,
    /// Of the first receive queue; the others differ in their numbers.
    pub(crate) geometry: RxGeometry,
    /// Of the completion ring that both receive rings feed: it must never be the shorter one, for
    /// the device does not notice.
    pub(crate) rx_completion_entries: u16,
    /// `maxNumRxSG`.
    pub(crate) max_rx_buffers: u16,
    /// Whether the device may put packets together.
    pub(crate) large: Option<LargeRules>,
    /// Where tunnels are of which the device is asked about the frames inside.
    pub(crate) tunnels: TunnelPorts,
    /// The longest frame that is copied into a transmit data ring, and how long a slot of that is:
    /// no shorter. 0 for none.
    pub(crate) tx_copies: (u16, u16),
    /// How long a slot of the receive data rings is; 0 for none.
    pub(crate) rx_slot_bytes: u16,
    pub(crate) tx_limits: TxLimits,
}

impl Config {
    /// Checks everything that the device would refuse or misbehave over, of one that takes `most`
    /// queues.
    pub(crate) fn check(
        &self,
        features: Features,
        most: QueueCounts,
        own_mac: MacAddr,
        pool: &FramePool,
    ) -> Result<Plan, ConfigError> {
        let mtu_bytes = if features.contains(Features::LONG_MTU) { LONG_MTU_BYTES } else { MTU_BYTES };
        if !mtu_bytes.contains(&self.ip_mtu_bytes) {
            return Err(ConfigError::Mtu { ip_mtu_bytes: self.ip_mtu_bytes });
        }
        let mac = self.settings.mac.unwrap_or(own_mac);
        if !mac.is_unicast() {
            return Err(ConfigError::Mac(mac));
        }
        let payload_bytes = u32::try_from(paravane_net::payload_bytes(pool)).unwrap_or(u32::MAX);
        if payload_bytes < MIN_RX_HEAD_BYTES {
            return Err(ConfigError::BufferTooShort { payload_bytes, min_bytes: MIN_RX_HEAD_BYTES });
        }
        let buffer_bytes = payload_bytes.min(MAX_RX_BUFFER_BYTES);
        // In 16 bits: the MTU is at most 9190.
        let max_frame_bytes = self.ip_mtu_bytes.saturating_add(HEADER_BYTES);
        let longest = max_frame_bytes.saturating_add(TAG_BYTES);
        let buffers = u32::from(longest).div_ceil(buffer_bytes);
        let max_rx_buffers = u16::try_from(buffers).ok().filter(|count| *count <= MAX_PIECES);
        let Some(max_rx_buffers) = max_rx_buffers else {
            return Err(ConfigError::BufferTooShort { payload_bytes, min_bytes: least_buffer(longest) });
        };
        let queues = self.queues(features, most);
        let powers = features.contains(Features::POWER_OF_TWO_RINGS);
        let rx_entries = match queues.rx {
            1 => self.rx_entries,
            // What is over stays in the pool.
            _ => ring_within(self.rx_entries.checked_div(queues.rx.into()).unwrap_or(0), powers),
        };
        let large_buffers = u16::try_from(MAX_LARGE_BYTES.div_ceil(buffer_bytes)).unwrap_or(u16::MAX);
        let has_tunnels = features.contains(Features::TUNNELS);
        let tunnels = if has_tunnels { self.tunnels } else { TunnelPorts::NONE };
        let may_be_large = self.lro && self.rx_checksum && large_buffers <= MAX_LARGE_PIECES;
        let rx2_entries = self.rx2_entries.unwrap_or_else(|| {
            let of_frames = rx_entries.saturating_mul(max_rx_buffers.saturating_sub(1));
            let of_packets = if may_be_large { rx_entries.max(2 * RING_STEP) } else { RING_STEP };
            let rest = of_frames.max(of_packets).min(MAX_RING);
            // 4096 is one.
            if powers { rest.next_power_of_two() } else { rest }
        });
        for (ring, entries) in [("tx", self.tx_entries), ("rx", rx_entries), ("rx2", rx2_entries)] {
            if entries == 0 || entries > MAX_RING || !entries.is_multiple_of(RING_STEP) {
                return Err(ConfigError::RingEntries { ring, entries });
            }
            if powers && !entries.is_power_of_two() {
                return Err(ConfigError::RingNoPowerOfTwo { ring, entries });
            }
        }
        // At most 8192.
        let completions = rx_entries.saturating_add(rx2_entries);
        // One slot stays free.
        let is_large = may_be_large && rx2_entries > large_buffers;
        let large = is_large.then_some(LargeRules { ip_mtu_bytes: self.ip_mtu_bytes, tunnels });
        let usual_bytes = if is_large { buffer_bytes.min(max_frame_bytes.into()) } else { buffer_bytes };
        Ok(Plan {
            features,
            mac,
            queues,
            tx_entries: self.tx_entries,
            ip_mtu_bytes: self.ip_mtu_bytes,
            max_frame_bytes,
            geometry: RxGeometry {
                ids: RingIds::of(0, queues.rx),
                entries: [rx_entries, rx2_entries],
                buffer_bytes,
                usual_bytes,
                data_slot_bytes: 0,
            },
            rx_completion_entries: if powers { completions.next_power_of_two() } else { completions },
            max_rx_buffers: if is_large { large_buffers } else { max_rx_buffers },
            large,
            tunnels,
            tx_copies: (self.tx_copy_bytes.min(TX_SLOT_BYTES), TX_SLOT_BYTES),
            rx_slot_bytes: if features.contains(Features::DATA_RINGS) {
                slot_bytes(self.rx_copy_bytes)
            } else {
                0
            },
            tx_limits: TxLimits { max_frame_bytes: longest.into(), domain: pool.domain() },
        })
    }
}

impl Config {
    /// How many queues that makes. Before revision 6 the device takes powers of two.
    fn queues(&self, features: Features, most: QueueCounts) -> QueueCounts {
        let fitting = self.rx_entries / RING_STEP;
        let pairs = self.pairs.min(fitting).clamp(1, most.rx.into());
        // At least 1, so it has a highest bit.
        let power = 1_u8.wrapping_shl(pairs.checked_ilog2().unwrap_or(0));
        let is_any = features.contains(Features::MANY_QUEUES);
        let rx = if is_any { u8::try_from(pairs).unwrap_or(power) } else { power };
        QueueCounts { tx: rx.min(most.tx), rx }
    }
}

/// The longest ring of at most `entries`: whole steps, or a power of two.
fn ring_within(entries: u16, powers: bool) -> u16 {
    let power = entries.checked_ilog2().map_or(0, |bit| 1_u16.wrapping_shl(bit));
    if powers { power } else { entries.saturating_sub(entries % RING_STEP) }
}

/// The shortest buffer that chains to `frame_bytes`.
fn least_buffer(frame_bytes: u16) -> u32 {
    u32::from(frame_bytes).div_ceil(MAX_PIECES.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_mock_hal::Memory;
    use paravane_net::{Change, FrameLayout, Settings};
    use std::format;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn check(config: Config, buffer_bytes: u16) -> Result<Plan, ConfigError> {
        check_at(Features::empty(), config, buffer_bytes)
    }

    fn check_at(features: Features, config: Config, buffer_bytes: u16) -> Result<Plan, ConfigError> {
        config.check(
            features,
            QueueCounts::CLASSIC,
            MAC,
            &FramePool::new(Memory::default(), FrameLayout::new(1).with_buffer_bytes(buffer_bytes)).unwrap(),
        )
    }

    #[test]
    fn a_standard_frame_with_a_tag_fits_one_buffer() {
        let plan = check(Config::default(), 2048).unwrap();
        assert_eq!((plan.max_rx_buffers, plan.geometry.buffer_bytes), (1, 2048 - 64));
        assert_eq!((plan.max_frame_bytes, plan.tx_limits.max_frame_bytes), (1514, 1518));
        assert_eq!(plan.rx_completion_entries, 288);
    }

    #[test]
    fn a_jumbo_frame_takes_several() {
        let jumbo = Config { ip_mtu_bytes: 9000, ..Config::default() };
        let plan = check(jumbo, 2048).unwrap();
        assert_eq!(plan.max_rx_buffers, 5, "9018 bytes in buffers of 1984");
        assert_eq!(plan.geometry.entries, [256, 4 * 256], "the rest of each");
        let plan = check(Config { rx_entries: 4096, ..jumbo }, 2048).unwrap();
        assert_eq!(plan.geometry.entries, [4096, 4096], "no longer than the device takes");
        let plan = check(Config { rx2_entries: Some(96), ..jumbo }, 2048).unwrap();
        assert_eq!(plan.geometry.entries, [256, 96], "as given");
    }

    #[test]
    fn large_packets_take_their_buffers_or_are_not_made() {
        let large = Config::default().with_lro(true);
        let plan = check(large, 2048).unwrap();
        assert_eq!(plan.large, Some(LargeRules { ip_mtu_bytes: 1500, tunnels: TunnelPorts::NONE }));
        assert_eq!(plan.max_rx_buffers, 34, "65593 bytes in buffers of 1984");
        assert_eq!(plan.geometry.entries, [256, 256]);
        assert_eq!((plan.geometry.buffer_bytes, plan.geometry.usual_bytes), (1984, 1514));
        let plan = check(large.with_ip_mtu_bytes(9000), 2048).unwrap();
        assert_eq!((plan.geometry.entries, plan.geometry.usual_bytes), ([256, 1024], 1984));
        assert_eq!(check(large.with_rx_entries(32), 2048).unwrap().geometry.entries, [32, 64]);
        assert_eq!(check(large.with_rx2_entries(64), 2048).unwrap().max_rx_buffers, 34);
        for (config, buffer_bytes) in [
            (Config::default(), 2048),
            (large.with_rx_checksum(false), 2048),
            (large.with_rx2_entries(32), 2048),
            (large, 64 + 1424),
        ] {
            let plan = check(config, buffer_bytes).unwrap();
            assert_eq!((plan.large, plan.max_rx_buffers), (None, 1518_u16.div_ceil(buffer_bytes - 64)));
            assert_eq!(plan.geometry.usual_bytes, plan.geometry.buffer_bytes);
        }
        assert_eq!(check(large, 64 + 1428).unwrap().max_rx_buffers, 46);
    }

    #[test]
    fn pairs_are_a_power_of_two_and_share_the_receive_slots() {
        for (pairs, rx_entries, tx, rx, each) in [
            (1, 256, 1, 1, 256),
            (0, 256, 1, 1, 256),
            (2, 256, 2, 2, 128),
            (3, 256, 2, 2, 128),
            (4, 320, 4, 4, 64),
            (8, 256, 8, 8, 32),
            (8, 255, 4, 4, 32),
            (16, 8192, 8, 16, 512),
            (u16::MAX, u16::MAX - 31, 8, 16, 4064),
            (4, 63, 1, 1, 63),
        ] {
            let config = Config { pairs, rx_entries, ..Config::default() };
            let shown = format!("{pairs} pairs, {rx_entries} entries");
            let queues = config.queues(Features::empty(), QueueCounts::CLASSIC);
            assert_eq!(queues, QueueCounts { tx, rx }, "{shown}");
            if each != 63 {
                assert_eq!(check(config, 2048).unwrap().geometry.entries, [each, 32], "{shown}");
            }
        }
    }

    #[test]
    fn pairs_are_any_number_that_the_device_takes_from_the_sixth_revision_on() {
        for (pairs, most, tx, rx) in [
            (3, (32, 32), 3, 3),
            (99, (32, 32), 32, 32),
            (12, (4, 8), 4, 8),
            (12, (8, 4), 4, 4),
            (0, (32, 32), 1, 1),
            (7, (1, 1), 1, 1),
        ] {
            let config = Config { pairs, rx_entries: 2048, ..Config::default() };
            let queues = config.queues(Features::MANY_QUEUES, QueueCounts { tx: most.0, rx: most.1 });
            assert_eq!(queues, QueueCounts { tx, rx }, "{pairs} of {most:?}");
        }
        let config = Config { pairs: 3, rx_entries: 256, ..Config::default() };
        assert_eq!(check_at(Features::MANY_QUEUES, config, 2048).unwrap().geometry.entries, [64, 32]);
    }

    #[test]
    fn longer_packets_come_with_the_sixth_revision() {
        for (ip_mtu_bytes, before, since) in [(9000, true, true), (9190, false, true), (9191, false, false)] {
            let config = Config { ip_mtu_bytes, ..Config::default() };
            assert_eq!(check(config, 2048).is_ok(), before);
            let plan = check_at(Features::LONG_MTU, config, 2048);
            assert_eq!(plan.is_ok(), since);
            assert!(
                plan.is_ok_and(|plan| plan.max_rx_buffers == 5 && plan.ip_mtu_bytes == ip_mtu_bytes) == since
            );
        }
    }

    #[test]
    fn ring_sizes_are_the_devices() {
        for entries in [0, 1, 31, 48, 4128, u16::MAX] {
            let config = Config { rx_entries: entries, ..Config::default() };
            assert_eq!(check(config, 2048), Err(ConfigError::RingEntries { ring: "rx", entries }));
        }
        let config = Config { rx2_entries: Some(33), ..Config::default() };
        assert_eq!(check(config, 2048), Err(ConfigError::RingEntries { ring: "rx2", entries: 33 }));
        let longest =
            Config { tx_entries: 4096, rx_entries: 4096, rx2_entries: Some(4096), ..Config::default() };
        assert_eq!(check(longest, 2048).unwrap().rx_completion_entries, 8192);
    }

    #[test]
    fn rings_are_powers_of_two_where_they_have_to_be() {
        let check = |config| check_at(Features::POWER_OF_TWO_RINGS, config, 2048);
        let plan = check(Config::default()).unwrap();
        assert_eq!((plan.geometry.entries, plan.rx_completion_entries), ([256, 32], 512));
        let three = Config { rx_entries: 1024, ip_mtu_bytes: 5900, ..Config::default() };
        assert_eq!(check(three).unwrap().geometry.entries, [1024, 2048], "two more of each");
        let four = Config { rx_entries: 1024, ip_mtu_bytes: 7900, ..Config::default() };
        assert_eq!(check(four).unwrap().geometry.entries, [1024, 4096], "three more of each, and some");
        let shared = Config { pairs: 2, rx_entries: 448, ..Config::default() };
        assert_eq!(check(shared).unwrap().geometry.entries, [128, 32], "of 224");
        for (config, ring) in [
            (Config { tx_entries: 96, ..Config::default() }, "tx"),
            (Config { rx_entries: 96, ..Config::default() }, "rx"),
            (Config { rx2_entries: Some(96), ..Config::default() }, "rx2"),
        ] {
            assert_eq!(check(config), Err(ConfigError::RingNoPowerOfTwo { ring, entries: 96 }));
        }
        let longest =
            Config { tx_entries: 4096, rx_entries: 4096, rx2_entries: Some(4096), ..Config::default() };
        assert_eq!(check(longest).unwrap().rx_completion_entries, 8192);
    }

    #[test]
    fn what_the_device_would_refuse_is_named() {
        for ip_mtu_bytes in [59, 9001] {
            let config = Config { ip_mtu_bytes, ..Config::default() };
            assert_eq!(check(config, 2048), Err(ConfigError::Mtu { ip_mtu_bytes }));
        }
        let group = MacAddr([1, 0, 0, 0, 0, 0]);
        assert_eq!(
            check(Config::default().with_settings(Settings::default().with(Change::Mac(group))), 2048),
            Err(ConfigError::Mac(group))
        );
        assert_eq!(
            check(Config::default(), 128),
            Err(ConfigError::BufferTooShort { payload_bytes: 64, min_bytes: 128 })
        );
        assert_eq!(
            check(Config { ip_mtu_bytes: 9000, ..Config::default() }, 512),
            Err(ConfigError::BufferTooShort { payload_bytes: 448, min_bytes: 564 })
        );
    }
}

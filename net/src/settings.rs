//! What a NIC is told about the frames it receives and about itself: one value, which a start
//! applies and a restart brings back, and the changes to it while it runs.

use core::fmt;

use paravane_hal::fault::DeviceFault;

use crate::addresses::{MacTable, VlanSet};
use crate::coalescing::{Coalescing, PairCoalescing};
use crate::control::{MacAddr, RxFilter};
use crate::rss::{HashReport, Rss};

bitflags::bitflags! {
    /// What a device may do to frames on their way in.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RxOffloads: u8 {
        /// Vouches for checksums, and leaves those partial that never crossed a wire.
        const CHECKSUM = 1;
        /// Puts TCP over IPv4 together to large packets.
        const TCP4 = 1 << 1;
        /// Puts TCP over IPv6 together.
        const TCP6 = 1 << 2;
        /// Puts UDP over IPv4 together.
        const UDP4 = 1 << 3;
        /// Puts UDP over IPv6 together.
        const UDP6 = 1 << 4;
        /// Puts TCP together also where the congestion window was
        /// [reduced](crate::Segmentation::ecn). What is received so, few devices send again.
        const ECN = 1 << 5;
    }
}

impl RxOffloads {
    /// All that makes large packets.
    pub const LARGE: Self = Self::TCP4.union(Self::TCP6).union(Self::UDP4).union(Self::UDP6).union(Self::ECN);
}

impl Default for RxOffloads {
    /// Checksums: large packets are for who knows what to do with them.
    fn default() -> Self {
        Self::CHECKSUM
    }
}

/// What a NIC is told, as a whole. What is `None` is left to the device.
///
/// A start applies it; [`Control::settings`](crate::Control::settings) says what it has become.
/// Of it, vmxnet3 has coalescing by time from revision 3 on, one for all pairs and the sooner of
/// both directions, and no report of hashes without a spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Which kinds of frames are received.
    pub filter: RxFilter,
    /// Our address, where the device's own is not wanted.
    pub mac: Option<MacAddr>,
    /// Further addresses of ours.
    pub unicast: MacTable,
    /// Groups that we are in.
    pub multicast: MacTable,
    /// VLANs that we are in. `None`: the device keeps no tagged frame out.
    pub vlans: Option<VlanSet>,
    /// What the device may do to received frames, of what was agreed.
    pub rx_offloads: Option<RxOffloads>,
    /// When it interrupts for received frames.
    pub rx_coalescing: Option<Coalescing>,
    /// When it interrupts for sent frames.
    pub tx_coalescing: Option<Coalescing>,
    /// How received frames are spread over queues.
    pub rss: Option<Rss>,
    /// The same for received frames of one pair, where it is not what all have.
    pub rx_pair_coalescing: PairCoalescing,
    /// The same for sent frames.
    pub tx_pair_coalescing: PairCoalescing,
    /// What received frames are hashed by, to say so in [`Frame::rx_hash`](crate::Frame::rx_hash).
    pub hash_report: Option<HashReport>,
}

impl Settings {
    /// The same with another [`filter`](Self::filter).
    #[must_use]
    pub const fn with_filter(self, filter: RxFilter) -> Self {
        Self { filter, ..self }
    }

    /// The same with these [VLANs](Self::vlans) alone.
    #[must_use]
    pub const fn with_vlans(self, vlans: VlanSet) -> Self {
        Self { vlans: Some(vlans), ..self }
    }

    /// The same with such a [spread](Self::rss).
    #[must_use]
    pub const fn with_rss(self, rss: Rss) -> Self {
        Self { rss: Some(rss), ..self }
    }

    /// The same with such a [report](Self::hash_report) of hashes.
    #[must_use]
    pub const fn with_hash_report(self, report: HashReport) -> Self {
        Self { hash_report: Some(report), ..self }
    }

    /// The same after `change`.
    #[must_use]
    pub fn with(self, change: Change) -> Self {
        match change {
            Change::Filter(filter) => Self { filter, ..self },
            Change::Mac(mac) => Self { mac: Some(mac), ..self },
            Change::Addresses { unicast, multicast } => Self { unicast, multicast, ..self },
            Change::Vlan { vid, wanted } => {
                let vlans = self.vlans.unwrap_or(VlanSet::EMPTY).with(vid, wanted);
                Self { vlans: Some(vlans), ..self }
            }
            Change::RxOffloads(offloads) => Self { rx_offloads: Some(offloads), ..self },
            Change::RxCoalescing(coalescing) => {
                Self { rx_coalescing: Some(coalescing), rx_pair_coalescing: PairCoalescing::NONE, ..self }
            }
            Change::TxCoalescing(coalescing) => {
                Self { tx_coalescing: Some(coalescing), tx_pair_coalescing: PairCoalescing::NONE, ..self }
            }
            Change::RxPairCoalescing { pair, coalescing } => {
                Self { rx_pair_coalescing: self.rx_pair_coalescing.with(pair, coalescing), ..self }
            }
            Change::TxPairCoalescing { pair, coalescing } => {
                Self { tx_pair_coalescing: self.tx_pair_coalescing.with(pair, coalescing), ..self }
            }
            Change::Rss(rss) => Self { rss: Some(rss), ..self },
            Change::HashReport(report) => Self { hash_report: Some(report), ..self },
            Change::Announced => self,
        }
    }

    /// The changes that make a device so that was just reset.
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let Self { filter, mac, unicast, multicast, .. } = *self;
        let has_addresses = !unicast.is_empty() || !multicast.is_empty();
        mac.map(Change::Mac)
            .into_iter()
            .chain(has_addresses.then_some(Change::Addresses { unicast, multicast }))
            .chain([Change::Filter(filter)])
            .chain(self.vlans.iter().flat_map(VlanSet::iter).map(|vid| Change::Vlan { vid, wanted: true }))
            .chain(self.rx_offloads.map(Change::RxOffloads))
            .chain(self.rx_coalescing.map(Change::RxCoalescing))
            .chain(self.tx_coalescing.map(Change::TxCoalescing))
            .chain(self.rss.map(Change::Rss))
            // Of pairs that are in use, and on top of what is told of all.
            .chain(
                self.rx_pair_coalescing
                    .iter()
                    .map(|(pair, coalescing)| Change::RxPairCoalescing { pair, coalescing }),
            )
            .chain(
                self.tx_pair_coalescing
                    .iter()
                    .map(|(pair, coalescing)| Change::TxPairCoalescing { pair, coalescing }),
            )
            .chain(self.hash_report.map(Change::HashReport))
    }
}

/// A change of what a NIC is told, while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Other kinds of frames are received.
    Filter(RxFilter),
    /// Our address is another one.
    Mac(MacAddr),
    /// Our further addresses, and the groups that we are in, are these and no others.
    Addresses {
        /// Further addresses of ours.
        unicast: MacTable,
        /// Groups.
        multicast: MacTable,
    },
    /// We join or leave a VLAN.
    Vlan {
        /// Which: 0 to 4095.
        vid: u16,
        /// We join it.
        wanted: bool,
    },
    /// The device may do that to received frames, of what was agreed, and nothing else.
    RxOffloads(RxOffloads),
    /// It interrupts so for received frames, of every pair.
    RxCoalescing(Coalescing),
    /// It interrupts so for sent frames, of every pair.
    TxCoalescing(Coalescing),
    /// It interrupts so for received frames of one pair, until all are told.
    RxPairCoalescing {
        /// Which, counted from 0.
        pair: u16,
        /// When.
        coalescing: Coalescing,
    },
    /// It interrupts so for sent frames of one pair, likewise.
    TxPairCoalescing {
        /// Which, counted from 0.
        pair: u16,
        /// When.
        coalescing: Coalescing,
    },
    /// It spreads received frames so.
    Rss(Rss),
    /// It says by such hashes what received frames are. A device that spreads them says what it
    /// spread them by, whatever this is.
    HashReport(HashReport),
    /// The addresses were announced, as [`Events::ANNOUNCE`](crate::Events::ANNOUNCE) asked. Not a
    /// setting: a restart does not repeat it.
    Announced,
}

impl Change {
    /// What it changes, in a word or two.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Filter(_) => "receive filter",
            Self::Mac(_) => "address",
            Self::Addresses { .. } => "address table",
            Self::Vlan { .. } => "VLAN",
            Self::RxOffloads(_) => "receive offloads",
            Self::RxCoalescing(_) | Self::RxPairCoalescing { .. } => "receive coalescing",
            Self::TxCoalescing(_) | Self::TxPairCoalescing { .. } => "transmit coalescing",
            Self::Rss(_) => "receive-side scaling",
            Self::HashReport(_) => "report of hashes",
            Self::Announced => "announcement",
        }
    }
}

/// A change was not made. The settings are as they were, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// The device cannot do it, or it was not agreed at the start.
    NotOffered,
    /// It is outside of what the device or the protocol takes; the device was not asked.
    OutOfRange,
    /// The device said no. Of a change that takes several steps, those before were made.
    Refused,
    /// Another change is under way.
    Busy,
    /// The device broke the rules, or does not answer. What it made of the change is open; a stop
    /// and a start bring the settings back.
    Fault(DeviceFault),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("the device does not have it, or it was not agreed at the start"),
            Self::OutOfRange => f.write_str("outside of what the device takes"),
            Self::Refused => f.write_str("the device refused"),
            Self::Busy => f.write_str("another change is under way; poll that one first"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for ChangeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl From<DeviceFault> for ChangeError {
    fn from(fault: DeviceFault) -> Self {
        Self::Fault(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rss::RssKinds;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn a_device_that_was_reset_is_told_what_differs() {
        let names = |settings: Settings| settings.changes().map(|change| change.name()).collect::<Vec<_>>();
        assert_eq!(names(Settings::default()), ["receive filter"]);
        let vlans = VlanSet::EMPTY.with(0, true).with(4095, true).with(4096, true);
        let all = Settings::default()
            .with(Change::Mac(MacAddr::local(1)))
            .with(Change::Addresses {
                unicast: MacTable::EMPTY,
                multicast: MacTable::of(&[MacAddr([1; 6])]).unwrap(),
            })
            .with_vlans(vlans)
            .with(Change::RxOffloads(RxOffloads::CHECKSUM))
            .with(Change::RxPairCoalescing { pair: 2, coalescing: Coalescing::default() })
            .with(Change::RxCoalescing(Coalescing::default()))
            .with(Change::TxCoalescing(Coalescing::default()))
            .with(Change::TxPairCoalescing { pair: 1, coalescing: Coalescing::default() })
            .with_hash_report(HashReport::new(RssKinds::IP4))
            .with(Change::Announced);
        assert_eq!(
            names(all),
            [
                "address",
                "address table",
                "receive filter",
                "VLAN",
                "VLAN",
                "receive offloads",
                "receive coalescing",
                "transmit coalescing",
                "transmit coalescing",
                "report of hashes"
            ]
        );
    }

    proptest! {
        /// What the changes make of nothing is what they were read from.
        #[test]
        fn changes_make_the_settings_again(
            filter in 0_u8..32,
            mac in any::<Option<[u8; 6]>>(),
            groups in proptest::collection::vec(any::<[u8; 6]>(), 0..33),
            vids in proptest::collection::vec(0_u16..4096, 1..40),
        ) {
            let groups: Vec<_> = groups.into_iter().map(MacAddr).collect();
            let settings = Settings {
                filter: RxFilter::from_bits_truncate(filter),
                mac: mac.map(MacAddr),
                multicast: MacTable::of(&groups).unwrap(),
                vlans: Some(vids.iter().fold(VlanSet::EMPTY, |set, vid| set.with(*vid, true))),
                ..Settings::default()
            };
            let again = settings.changes().fold(Settings::default(), Settings::with);
            prop_assert_eq!(again, settings);
        }
    }
}

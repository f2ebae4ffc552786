//! A change of the settings as commands: which ones, in which order, and whether the device has
//! them.
//!
//! A filter and its table are told as a whole: what they say together is what matters.

use paravane_net::{
    COALESCING_PAIRS, Change, ChangeError, MacAddr, RSS_KEY_BYTES, RssKinds, RxFilter, RxOffloads, Settings,
};

use crate::net::command::{Command, RxMode};
use crate::net::features::{Negotiated, NetFeatures};
use crate::net::{RX_QUEUE, TX_QUEUE};

/// What a device without receive filters lets through for sure.
pub(crate) const UNFILTERED: RxFilter = RxFilter::UNICAST.union(RxFilter::BROADCAST);

/// What a device can be told, as agreed at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    pub(crate) features: Negotiated,
    /// How many pairs of queues were started.
    pub(crate) pairs: u16,
    /// Our address, where the device does not know it.
    pub(crate) unknown_mac: Option<MacAddr>,
    /// What the spread may be.
    pub(crate) rss: RssLimits,
}

/// What a device says of the spreads that it takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RssLimits {
    pub(crate) max_key_bytes: u8,
    pub(crate) max_table_entries: u16,
    pub(crate) kinds: u32,
}

impl RssLimits {
    /// Whether the device hashes such parts, by a key of ours.
    fn hashes(self, kinds: RssKinds) -> bool {
        RSS_KEY_BYTES <= self.max_key_bytes.into() && u32::from(kinds.bits()) & !self.kinds == 0
    }
}

/// The feature that a command needs besides the queue, if it is not always there.
pub(crate) const fn needs(change: &Change) -> NetFeatures {
    match change {
        Change::Filter(_) | Change::Addresses { .. } => NetFeatures::CTRL_RX,
        Change::Mac(_) => NetFeatures::CTRL_MAC_ADDR,
        Change::Vlan { .. } => NetFeatures::CTRL_VLAN,
        Change::RxOffloads(_) => NetFeatures::CTRL_GUEST_OFFLOADS,
        Change::RxCoalescing(_) | Change::TxCoalescing(_) => NetFeatures::NOTF_COAL,
        Change::RxPairCoalescing { .. } | Change::TxPairCoalescing { .. } => NetFeatures::VQ_NOTF_COAL,
        Change::Rss(_) => NetFeatures::RSS,
        Change::HashReport(_) => NetFeatures::HASH_REPORT,
        Change::Announced => NetFeatures::GUEST_ANNOUNCE,
        _ => NetFeatures::all(),
    }
}

/// What is done to received frames, and the feature that each goes by; those features alone may be
/// switched.
const RX_OFFLOADS: [(RxOffloads, NetFeatures); 6] = [
    (RxOffloads::CHECKSUM, NetFeatures::GUEST_CSUM),
    (RxOffloads::TCP4, NetFeatures::GUEST_TSO4),
    (RxOffloads::TCP6, NetFeatures::GUEST_TSO6),
    (RxOffloads::ECN, NetFeatures::GUEST_ECN),
    (RxOffloads::UDP4, NetFeatures::GUEST_USO4),
    (RxOffloads::UDP6, NetFeatures::GUEST_USO6),
];

/// The features that `offloads` go by.
pub(crate) fn offload_features(offloads: RxOffloads) -> NetFeatures {
    RX_OFFLOADS
        .iter()
        .filter(|(offload, _)| offloads.contains(*offload))
        .map(|(_, feature)| *feature)
        .collect()
}

/// The queue of `pair` that does what `first` does of the first one. There are no more pairs than
/// have numbers.
const fn queue_of(pair: u16, first: u16) -> u16 {
    pair.saturating_mul(2).saturating_add(first)
}

impl Abilities {
    /// Whether `change` is something that the device can be told.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotOffered`], [`ChangeError::OutOfRange`].
    pub(crate) fn check(&self, change: &Change) -> Result<(), ChangeError> {
        let in_range = match change {
            // One that filters nothing lets these through.
            Change::Filter(filter) if UNFILTERED.contains(*filter) => return Ok(()),
            Change::Addresses { unicast, multicast } if unicast.is_empty() && multicast.is_empty() => {
                return Ok(());
            }
            Change::Mac(mac) => mac.is_unicast(),
            Change::Vlan { vid, .. } => *vid < 1 << 12,
            Change::RxOffloads(offloads) => {
                if !self.features.has(offload_features(*offloads)) {
                    return Err(ChangeError::NotOffered);
                }
                true
            }
            Change::RxPairCoalescing { pair, .. } | Change::TxPairCoalescing { pair, .. } => {
                *pair < self.pairs && usize::from(*pair) < COALESCING_PAIRS
            }
            Change::Rss(rss) => {
                rss.table().iter().all(|pair| *pair < self.pairs)
                    && rss.table().len() <= self.rss.max_table_entries.into()
                    && self.rss.hashes(rss.kinds())
            }
            Change::HashReport(report) => self.rss.hashes(report.kinds()),
            _ => true,
        };
        if !self.features.has(needs(change)) {
            return Err(ChangeError::NotOffered);
        }
        if in_range { Ok(()) } else { Err(ChangeError::OutOfRange) }
    }

    /// Command number `step` of a change that passed [`check`](Self::check), after which the
    /// settings are `to`. `None` behind the last.
    pub(crate) fn command(&self, change: &Change, to: &Settings, step: usize) -> Option<Command> {
        let single = match change {
            Change::Filter(_) | Change::Addresses { .. } => return self.receive_commands(to, step),
            // The address that the table made known is ours no more.
            Change::Mac(_) if step == 1 && self.unknown_mac.is_some() => return self.receive_commands(to, 0),
            Change::Mac(mac) => Command::mac(*mac),
            Change::Vlan { vid, wanted } => Command::vlan(*vid, *wanted),
            Change::RxOffloads(offloads) => Command::guest_offloads(offload_features(*offloads).bits()),
            Change::RxCoalescing(coalescing) => Command::rx_coalescing(*coalescing),
            Change::TxCoalescing(coalescing) => Command::tx_coalescing(*coalescing),
            Change::RxPairCoalescing { pair, coalescing } => {
                Command::queue_coalescing(queue_of(*pair, RX_QUEUE), *coalescing)
            }
            Change::TxPairCoalescing { pair, coalescing } => {
                Command::queue_coalescing(queue_of(*pair, TX_QUEUE), *coalescing)
            }
            // It reports what it spreads by.
            Change::HashReport(_) if self.features.has(NetFeatures::RSS) => return None,
            Change::HashReport(report) => Command::hash(report),
            Change::Rss(rss) => Command::rss(rss, self.pairs),
            Change::Announced => Command::announced(),
            _ => return None,
        };
        (step == 0).then_some(single)
    }

    /// The table first, then the modes: what was let through and still is, is so all the time.
    fn receive_commands(&self, to: &Settings, step: usize) -> Option<Command> {
        if !self.features.has(NetFeatures::CTRL_RX) {
            return None;
        }
        let wants = |filter| to.filter.contains(filter);
        let has_extra = self.features.has(NetFeatures::CTRL_RX_EXTRA);
        let promiscuous = wants(RxFilter::PROMISCUOUS) || wants(RxFilter::ALL_UNICAST) && !has_extra;
        let no_group = !wants(RxFilter::ALL_MULTICAST) && to.multicast.is_empty();
        let extra = [
            (RxMode::AllUni, wants(RxFilter::ALL_UNICAST)),
            (RxMode::NoMulti, no_group && !promiscuous),
            (RxMode::NoUni, !wants(RxFilter::UNICAST) && !wants(RxFilter::ALL_UNICAST) && !promiscuous),
            (RxMode::NoBcast, !wants(RxFilter::BROADCAST) && !promiscuous),
        ];
        // The one that a device starts with comes last.
        let plain = [(RxMode::AllMulti, wants(RxFilter::ALL_MULTICAST)), (RxMode::Promisc, promiscuous)];
        let modes = extra.into_iter().filter(|_| has_extra).chain(plain);
        match step.checked_sub(1) {
            // An address that the device would take over makes it known.
            None => Some(Command::mac_table(
                self.unknown_mac.filter(|_| to.mac.is_none()),
                &to.unicast,
                &to.multicast,
            )),
            Some(mode) => modes.into_iter().nth(mode).map(|(mode, on)| Command::rx_mode(mode, on)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_net::{Coalescing, HashReport, MacTable, Rss};
    use std::vec::Vec;

    fn terms(features: NetFeatures) -> Abilities {
        Abilities {
            features: Negotiated::confirmed(features.bits()),
            pairs: 2,
            unknown_mac: None,
            rss: RssLimits { max_key_bytes: 40, max_table_entries: 4, kinds: 0b11 },
        }
    }

    /// The modes that are told for `filter`, with those that are on.
    fn modes(features: NetFeatures, filter: RxFilter) -> (usize, Vec<u8>) {
        let to = Settings::default().with_filter(filter);
        let commands: Vec<_> =
            (0..).map_while(|step| terms(features).command(&Change::Filter(filter), &to, step)).collect();
        let (table, modes) = commands.split_first().unwrap();
        assert_eq!(table.header, [1, 0]);
        let on = modes.iter().filter(|mode| mode.data[0] == 1).map(|mode| mode.header[1]).collect();
        (modes.len(), on)
    }

    /// It was in the table, for a device that does not know its own.
    #[test]
    fn an_address_that_was_made_up_is_gone_with_another() {
        let made_up = MacAddr::local(1);
        let change = Change::Mac(MacAddr::local(2));
        let to = Settings::default().with(change);
        for (unknown_mac, count) in [(Some(made_up), 2), (None, 1)] {
            let terms = Abilities { unknown_mac, ..terms(NetFeatures::CTRL_RX | NetFeatures::CTRL_MAC_ADDR) };
            let commands: Vec<_> = (0..).map_while(|step| terms.command(&change, &to, step)).collect();
            assert_eq!(commands.len(), count);
            assert_eq!(commands[0], Command::mac(MacAddr::local(2)));
            let table = Command::mac_table(None, &MacTable::EMPTY, &MacTable::EMPTY);
            assert!(commands[1..].iter().all(|command| *command == table));
        }
    }

    #[test]
    fn a_filter_is_told_as_modes() {
        let plain = NetFeatures::CTRL_RX;
        let extra = plain | NetFeatures::CTRL_RX_EXTRA;
        for (filter, on_plain, on_extra) in [
            (RxFilter::default(), &[][..], &[3][..]),
            (RxFilter::PROMISCUOUS, &[0], &[0]),
            (RxFilter::UNICAST, &[], &[3, 5]),
            (RxFilter::BROADCAST | RxFilter::ALL_MULTICAST, &[1], &[4, 1]),
            (RxFilter::ALL_UNICAST, &[0], &[2, 3, 5]),
            (RxFilter::empty(), &[], &[3, 4, 5]),
        ] {
            assert_eq!(modes(plain, filter), (2, on_plain.to_vec()), "{filter:?}");
            assert_eq!(modes(extra, filter), (6, on_extra.to_vec()), "{filter:?}");
        }
    }

    #[test]
    fn what_a_device_has_not_is_not_asked_of_it() {
        let all = terms(NetFeatures::all());
        let none = terms(NetFeatures::CTRL_VQ);
        let rss = |table: &[u16], kinds| Change::Rss(Rss::new(kinds, table).unwrap());
        let group = MacTable::of(&[MacAddr([1; 6])]).unwrap();
        for change in [
            Change::Filter(RxFilter::PROMISCUOUS),
            Change::Mac(MacAddr::local(1)),
            Change::Addresses { unicast: MacTable::EMPTY, multicast: group },
            Change::Vlan { vid: 4095, wanted: true },
            Change::RxOffloads(RxOffloads::CHECKSUM),
            Change::RxOffloads(RxOffloads::all()),
            Change::RxCoalescing(Coalescing::default()),
            Change::TxCoalescing(Coalescing::default()),
            Change::RxPairCoalescing { pair: 1, coalescing: Coalescing::default() },
            Change::TxPairCoalescing { pair: 0, coalescing: Coalescing::default() },
            rss(&[0, 1], RssKinds::IP4),
            Change::HashReport(HashReport::new(RssKinds::TCP4)),
            Change::Announced,
        ] {
            assert_eq!(all.check(&change), Ok(()), "{change:?}");
            assert_eq!(none.check(&change), Err(ChangeError::NotOffered), "{change:?}");
        }
        assert_eq!(none.check(&Change::Filter(RxFilter::default())), Ok(()));
        assert_eq!(none.command(&Change::Filter(RxFilter::default()), &Settings::default(), 0), None);
        for change in [
            Change::Mac(MacAddr([1; 6])),
            Change::Vlan { vid: 4096, wanted: true },
            rss(&[0, 2], RssKinds::IP4),
            rss(&[0; 8], RssKinds::IP4),
            rss(&[0; 2], RssKinds::UDP4),
            Change::HashReport(HashReport::new(RssKinds::UDP4)),
            Change::RxPairCoalescing { pair: 2, coalescing: Coalescing::default() },
            Change::TxPairCoalescing { pair: u16::MAX, coalescing: Coalescing::default() },
        ] {
            assert_eq!(all.check(&change), Err(ChangeError::OutOfRange), "{change:?}");
        }
        let some = terms(NetFeatures::CTRL_GUEST_OFFLOADS | NetFeatures::GUEST_TSO4);
        assert_eq!(some.check(&Change::RxOffloads(RxOffloads::TCP4)), Ok(()));
        assert_eq!(some.check(&Change::RxOffloads(RxOffloads::TCP6)), Err(ChangeError::NotOffered));
        let many = Abilities { pairs: 17, ..all };
        let pair = |pair| Change::RxPairCoalescing { pair, coalescing: Coalescing::default() };
        assert_eq!((many.check(&pair(15)), many.check(&pair(16))), (Ok(()), Err(ChangeError::OutOfRange)));
    }

    #[test]
    fn a_pairs_queues_are_told_by_their_numbers() {
        let told =
            |change| terms(NetFeatures::all()).command(&change, &Settings::default(), 0).unwrap().data[0];
        let coalescing = Coalescing::default();
        assert_eq!(told(Change::RxPairCoalescing { pair: 3, coalescing }), 6);
        assert_eq!(told(Change::TxPairCoalescing { pair: 3, coalescing }), 7);
    }

    #[test]
    fn a_device_that_spreads_is_not_told_of_hashes_again() {
        let report = Change::HashReport(HashReport::new(RssKinds::IP4));
        let commands = |features| terms(features).command(&report, &Settings::default(), 0).is_some();
        assert!(commands(NetFeatures::HASH_REPORT));
        assert!(!commands(NetFeatures::HASH_REPORT | NetFeatures::RSS));
    }
}

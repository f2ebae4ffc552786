//! A change of the settings as commands: which ones, in which order, and whether the device has
//! them.
//!
//! A filter and its table are told as a whole: what they say together is what matters.

use paravane_net::{Change, ChangeError, MacAddr, RxFilter, RxOffloads, Settings};

use crate::net::command::{Command, RxMode};
use crate::net::features::{Negotiated, NetFeatures};

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

/// The feature that a command needs besides the queue, if it is not always there.
pub(crate) const fn needs(change: &Change) -> NetFeatures {
    match change {
        Change::Filter(_) | Change::Addresses { .. } => NetFeatures::CTRL_RX,
        Change::Mac(_) => NetFeatures::CTRL_MAC_ADDR,
        Change::Vlan { .. } => NetFeatures::CTRL_VLAN,
        Change::RxOffloads(_) => NetFeatures::CTRL_GUEST_OFFLOADS,
        Change::RxCoalescing(_) | Change::TxCoalescing(_) => NetFeatures::NOTF_COAL,
        Change::Rss(_) => NetFeatures::RSS,
        Change::Announced => NetFeatures::GUEST_ANNOUNCE,
        _ => NetFeatures::all(),
    }
}

/// What is done to received frames, and the feature that each goes by; those features alone may be
/// switched.
const RX_OFFLOADS: [(RxOffloads, u64); 5] = [
    (RxOffloads::CHECKSUM, 1 << 1),
    (RxOffloads::TCP4, 1 << 7),
    (RxOffloads::TCP6, 1 << 8),
    (RxOffloads::UDP4, 1 << 54),
    (RxOffloads::UDP6, 1 << 55),
];

fn offload_bits(offloads: RxOffloads) -> u64 {
    RX_OFFLOADS
        .iter()
        .filter(|(offload, _)| offloads.contains(*offload))
        .fold(0, |bits, (_, feature)| bits | feature)
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
                let bits = offload_bits(*offloads);
                if self.features.bits() & bits != bits {
                    return Err(ChangeError::NotOffered);
                }
                true
            }
            Change::Rss(rss) => {
                let RssLimits { max_key_bytes, max_table_entries, kinds } = self.rss;
                rss.table().iter().all(|pair| *pair < self.pairs)
                    && rss.table().len() <= max_table_entries.into()
                    && rss.key().len() <= max_key_bytes.into()
                    && u32::from(rss.kinds().bits()) & !kinds == 0
            }
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
            Change::Mac(mac) => Command::mac(*mac),
            Change::Vlan { vid, wanted } => Command::vlan(*vid, *wanted),
            Change::RxOffloads(offloads) => Command::guest_offloads(offload_bits(*offloads)),
            Change::RxCoalescing(coalescing) => Command::rx_coalescing(*coalescing),
            Change::TxCoalescing(coalescing) => Command::tx_coalescing(*coalescing),
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
    use paravane_net::{MacTable, Rss, RssKinds};
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
            Change::RxCoalescing(paravane_net::Coalescing::default()),
            Change::TxCoalescing(paravane_net::Coalescing::default()),
            rss(&[0, 1], RssKinds::IP4),
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
        ] {
            assert_eq!(all.check(&change), Err(ChangeError::OutOfRange), "{change:?}");
        }
        assert_eq!(all.check(&Change::RxOffloads(RxOffloads::TCP4)), Err(ChangeError::NotOffered));
    }
}

//! What a file means, item by item.

use std::net::IpAddr;

use paravane_firewall::{Addresses, Packet, Transport, Verdict, Zone};

use super::{File, Item, Rule, Service, ZONES};

type Ports = Vec<(u16, u16)>;

impl File {
    /// The number and the verdict of the first rule that matches, or the default's.
    pub(crate) fn first_match(&self, packet: &Packet) -> (u32, Verdict) {
        for (number, rule) in (0..).zip(&self.rules) {
            if self.matches(rule, packet) {
                return (number, rule.verdict);
            }
        }
        (u32::try_from(self.rules.len()).unwrap(), self.default)
    }

    fn matches(&self, rule: &Rule, packet: &Packet) -> bool {
        let (source, destination): (IpAddr, IpAddr) = match packet.addresses {
            Addresses::V4 { source, destination } => (source.into(), destination.into()),
            Addresses::V6 { source, destination } => (source.into(), destination.into()),
        };
        is_zone(&rule.from, packet.from)
            && is_zone(&rule.to, packet.to)
            && (rule.source.is_empty() || rule.source.iter().any(|item| self.has(item, source)))
            && (rule.destination.is_empty()
                || rule.destination.iter().any(|item| self.has(item, destination)))
            && (rule.services.is_empty()
                || rule.services.iter().any(|service| self.is(service, packet.transport)))
    }

    fn has(&self, item: &Item, address: IpAddr) -> bool {
        match (item, address) {
            (Item::Any, _) => true,
            (Item::Set(number), _) => self.sets[*number].iter().any(|item| self.has(item, address)),
            (Item::Prefix4(prefix, length), IpAddr::V4(address)) => {
                (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= *length
            }
            (Item::Prefix6(prefix, length), IpAddr::V6(address)) => {
                (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= *length
            }
            (Item::Range4(first, last), IpAddr::V4(address)) => (first..=last).contains(&&address),
            (Item::Range6(first, last), IpAddr::V6(address)) => (first..=last).contains(&&address),
            _ => false,
        }
    }

    fn is(&self, service: &Service, transport: Transport) -> bool {
        match (service, transport) {
            (Service::Named(number), _) => {
                self.services[*number].iter().any(|service| self.is(service, transport))
            }
            (Service::Tcp(to, from), Transport::Tcp { source, destination })
            | (Service::Udp(to, from), Transport::Udp { source, destination }) => {
                is_port(to, destination) && is_port(from, source)
            }
            (Service::Icmp(types), Transport::Icmp { kind, code })
            | (Service::Icmpv6(types), Transport::Icmpv6 { kind, code }) => {
                types.is_empty() || types.iter().any(|is| is.0 == kind && is.1.is_none_or(|is| is == code))
            }
            (Service::Icmp(types), Transport::Other(1)) | (Service::Icmpv6(types), Transport::Other(58)) => {
                types.is_empty()
            }
            (Service::Protocol(number), Transport::Other(other)) => *number == other,
            _ => false,
        }
    }

    /// Whether some packet could match by its addresses.
    pub(crate) fn shares_a_version(&self, rule: &Rule) -> bool {
        let both =
            |is_v4| self.has_version(&rule.source, is_v4) && self.has_version(&rule.destination, is_v4);
        both(true) || both(false)
    }

    fn has_version(&self, items: &[Item], is_v4: bool) -> bool {
        let has = |item: &Item| match item {
            Item::Any => true,
            Item::Set(number) => self.has_version(&self.sets[*number], is_v4),
            Item::Prefix4(..) | Item::Range4(..) => is_v4,
            Item::Prefix6(..) | Item::Range6(..) => !is_v4,
        };
        items.is_empty() || items.iter().any(has)
    }
}

fn is_zone(zones: &[usize], zone: Zone) -> bool {
    let zone = usize::from(zone.0);
    zones.iter().any(|&is| is == zone && zone < ZONES.len() || is == ZONES.len() && zone < ZONES.len())
}

fn is_port(ports: &[(u16, u16)], port: u16) -> bool {
    ports.is_empty() || ports.iter().any(|&(first, last)| first <= port && port <= last)
}

/// All ports are as good as none said.
fn asks_nothing(ports: &[(u16, u16)]) -> bool {
    ports.is_empty() || (0..=u16::MAX).all(|port| is_port(ports, port))
}

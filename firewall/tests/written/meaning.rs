//! What a file means, item by item.

use std::net::IpAddr;

use paravane_firewall::{Addresses, Packet, Transport, Verdict, Zone};

use super::{File, Item, Rule, Service, ZONES};

type Ports = Vec<(u16, u16)>;

impl File {
    /// The number and the verdict of the first rule that matches, or the default's.
    pub(crate) fn first_match(&self, packet: &Packet) -> (u32, Verdict) {
        let mut number = 0;
        for rule in &self.rules {
            if self.matches(rule, packet) {
                return (number, rule.verdict);
            }
            number += 1;
        }
        (number, self.default)
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
                || rule.services.iter().any(|service| self.is(service, packet.transport))
                || self.asks_nothing_of(&rule.services, packet.transport))
    }

    /// Whether a TCP or UDP packet without its header matches: only if all of its ports would.
    fn asks_nothing_of(&self, services: &[Service], transport: Transport) -> bool {
        let lists = match transport {
            Transport::Other(6) => self.lists(services, true),
            Transport::Other(17) => self.lists(services, false),
            _ => return false,
        };
        let to_all: Vec<_> =
            lists.into_iter().filter(|(_, from)| asks_nothing(from)).map(|(to, _)| to).collect();
        !to_all.is_empty() && (0..=u16::MAX).all(|port| to_all.iter().any(|to| is_port(to, port)))
    }

    /// The ports of all services of TCP, or of UDP: to which, from which.
    fn lists<'a>(&'a self, services: &'a [Service], tcp: bool) -> Vec<(&'a Ports, &'a Ports)> {
        let each = services.iter().flat_map(|service| match service {
            Service::Named(number) => self.lists(&self.services[*number], tcp),
            Service::Tcp(to, from) if tcp => vec![(to, from)],
            Service::Udp(to, from) if !tcp => vec![(to, from)],
            _ => Vec::new(),
        });
        each.collect()
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

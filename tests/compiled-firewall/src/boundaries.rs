//! Packets from where rules begin and end: others meet next to none of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use paravane_firewall::ranges::{Number, Ranges};
use paravane_firewall::rules::{Rule, Service, Zones};
use paravane_firewall::{Addresses, Packet, Rules, Transport, Zone};

/// Numbers that look random, the same each time.
pub struct Draw {
    state: u64,
    /// Whether all sides of a packet are to be inside.
    inside: bool,
}

impl Draw {
    /// Those of `seed`, which is not 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, inside: false }
    }

    /// One below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % count.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<'t, T>(&mut self, items: &'t [T]) -> Option<&'t T> {
        items.get(self.below(items.len()))
    }

    /// A packet at or beside the bounds of some rule.
    pub fn packet(&mut self, rules: &Rules) -> Packet {
        let rule = self.below(rules.rules().len());
        self.packet_of(rules, rule)
    }

    /// A packet at or beside the bounds of this rule; now and then one side is another rule's.
    pub fn packet_of(&mut self, rules: &Rules, rule: usize) -> Packet {
        let rule = &rules.rules()[rule];
        self.inside = self.one_in(2);
        let mut other = || match !self.inside && self.one_in(16) {
            true => &rules.rules()[self.below(rules.rules().len())],
            false => rule,
        };
        let sides = [other(), other(), other(), other(), other()];
        Packet {
            from: self.zone(sides[0].from),
            to: self.zone(sides[1].to),
            addresses: self.addresses(sides[2], sides[3]),
            transport: self.transport(sides[4]),
        }
    }

    /// Most often one of these; now and then any, or one that there is not.
    fn zone(&mut self, zones: Zones) -> Zone {
        if !self.inside && self.one_in(32) {
            return Zone(self.below(256) as u8);
        }
        let these: Vec<Zone> = (0..64).map(Zone).filter(|&zone| zones.contains(zone)).collect();
        self.of(&these).copied().unwrap_or(Zone(0))
    }

    fn addresses(&mut self, from: &Rule, to: &Rule) -> Addresses {
        let is_v4 = match (from.source.v4.is_empty(), from.source.v6.is_empty()) {
            (false, false) => self.one_in(2),
            (is_not_v4, _) => !is_not_v4,
        };
        if is_v4 {
            Addresses::V4 {
                source: Ipv4Addr::from_bits(self.bound(&from.source.v4)),
                destination: Ipv4Addr::from_bits(self.bound(&to.destination.v4)),
            }
        } else {
            Addresses::V6 {
                source: Ipv6Addr::from_bits(self.bound(&from.source.v6)),
                destination: Ipv6Addr::from_bits(self.bound(&to.destination.v6)),
            }
        }
    }

    fn transport(&mut self, rule: &Rule) -> Transport {
        let any = Service { protocol: 6, selector: Ranges::all(), source_port: Ranges::all() };
        let service = self.of(&rule.services).unwrap_or(&any);
        let protocol = if !self.inside && self.one_in(16) { self.below(256) as u8 } else { service.protocol };
        let (selector, source) = (self.bound(&service.selector), self.bound(&service.source_port));
        let [kind, code] = selector.to_be_bytes();
        match protocol {
            _ if !self.inside && self.one_in(32) => Transport::Other(protocol),
            6 => Transport::Tcp { source, destination: selector },
            17 => Transport::Udp { source, destination: selector },
            1 => Transport::Icmp { kind, code },
            58 => Transport::Icmpv6 { kind, code },
            other => Transport::Other(other),
        }
    }

    /// The first or the last number of some range, or the one before or behind it.
    fn bound<T: Step>(&mut self, ranges: &Ranges<T>) -> T {
        let (first, last) = self.of(ranges.as_slice()).copied().unwrap_or((T::MIN, T::MAX));
        match self.below(if self.inside { 2 } else { 6 }) {
            0 => first,
            1 => last,
            2 => first.before(),
            3 => last.next().unwrap_or(last),
            4 => first,
            _ => last,
        }
    }
}

/// A number that has one before it.
trait Step: Number {
    fn before(self) -> Self;
}

macro_rules! steps {
    ($($number:ty),*) => {$(
        impl Step for $number {
            fn before(self) -> Self {
                self.saturating_sub(1)
            }
        }
    )*};
}

steps!(u16, u32, u128);

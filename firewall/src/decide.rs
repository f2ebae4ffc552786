//! Which rule decides, and why those before it do not.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::packet::{Addresses, Packet, Transport};
use crate::rules::{AddressSet, Decision, Rule, Rules, Service};

/// Why a rule does not match a packet: the first of its conditions that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// It comes from elsewhere.
    From,
    /// It goes elsewhere.
    To,
    /// This source is not meant.
    Source(IpAddr),
    /// This destination is not meant.
    Destination(IpAddr),
    /// This protocol, by its number, is not meant.
    Protocol(u8),
    /// The protocol is meant, but not this port of the destination.
    Port(u16),
    /// The protocol is meant, but not this type and code.
    Icmp(u8, u8),
    /// The protocol is meant, but not this port of the source.
    SourcePort(u16),
    /// The rule names ports or types, and of this packet they are not known.
    NoPorts,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From => f.write_str("it comes from another zone"),
            Self::To => f.write_str("it goes to another zone"),
            Self::Source(address) => write!(f, "{address} is not among its sources"),
            Self::Destination(address) => write!(f, "{address} is not among its destinations"),
            Self::Protocol(number) => write!(f, "protocol {number} is not among its services"),
            Self::Port(port) => write!(f, "port {port} is not among its services"),
            Self::Icmp(kind, code) => write!(f, "ICMP {kind}/{code} is not among its services"),
            Self::SourcePort(port) => write!(f, "source port {port} is not among its services"),
            Self::NoPorts => f.write_str("it names ports or types, and the packet's are not known"),
        }
    }
}

/// How a decision came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Why each rule before the one that decides did not match, by their numbers.
    pub before: Vec<Mismatch>,
    /// What was decided.
    pub decision: Decision,
}

impl AddressSet {
    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }
}

impl Service {
    /// All of its packets, where ports are not known too.
    fn matches(&self, transport: Transport) -> bool {
        let selected =
            transport.selector().map_or(self.selector.is_all(), |port| self.selector.contains(port));
        let from = transport.source_port();
        let from = from.map_or(self.source_port.is_all(), |port| self.source_port.contains(port));
        self.protocol == transport.protocol() && selected && from
    }
}

impl Rule {
    /// The first condition that `packet` does not meet; none if the rule matches.
    #[must_use]
    pub fn mismatch(&self, packet: &Packet) -> Option<Mismatch> {
        let (source, destination) = packet.addresses.both();
        if !self.from.contains(packet.from) {
            Some(Mismatch::From)
        } else if !self.to.contains(packet.to) {
            Some(Mismatch::To)
        } else if !self.source.contains(source) {
            Some(Mismatch::Source(source))
        } else if !self.destination.contains(destination) {
            Some(Mismatch::Destination(destination))
        } else if self.services.is_empty() || self.services.iter().any(|is| is.matches(packet.transport)) {
            None
        } else {
            Some(self.other_service(packet.transport))
        }
    }

    /// What no service of the rule's has.
    fn other_service(&self, transport: Transport) -> Mismatch {
        let protocol = transport.protocol();
        let of_protocol = || self.services.iter().filter(|service| service.protocol == protocol);
        let Some(selector) = transport.selector().filter(|_| of_protocol().next().is_some()) else {
            let known = of_protocol().next().is_none();
            return if known { Mismatch::Protocol(protocol) } else { Mismatch::NoPorts };
        };
        match transport {
            Transport::Icmp { kind, code } | Transport::Icmpv6 { kind, code } => Mismatch::Icmp(kind, code),
            Transport::Tcp { source, .. } | Transport::Udp { source, .. }
                if of_protocol().any(|service| service.selector.contains(selector)) =>
            {
                Mismatch::SourcePort(source)
            }
            _ => Mismatch::Port(selector),
        }
    }
}

impl Addresses {
    /// Source and destination.
    #[must_use]
    pub const fn both(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4 { source, destination } => (IpAddr::V4(source), IpAddr::V4(destination)),
            Self::V6 { source, destination } => (IpAddr::V6(source), IpAddr::V6(destination)),
        }
    }
}

impl Rules {
    /// What becomes of a flow that begins with `packet`: looks at rule after rule.
    #[must_use]
    pub fn decide(&self, packet: &Packet) -> Decision {
        let first = self.rules.iter().zip(0..).find(|(rule, _)| rule.mismatch(packet).is_none());
        match first {
            Some((rule, number)) => Decision { verdict: rule.action.verdict, rule: number },
            None => Decision { verdict: self.default.verdict, rule: self.default_number() },
        }
    }

    /// What [`decide`](Self::decide) says, and why no rule before that one decides.
    #[must_use]
    pub fn explain(&self, packet: &Packet) -> Explanation {
        let before = self.rules.iter().map_while(|rule| rule.mismatch(packet)).collect();
        Explanation { before, decision: self.decide(packet) }
    }
}

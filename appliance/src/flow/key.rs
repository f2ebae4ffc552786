//! By what packets are known to belong together.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hash::HashKey;
use crate::limit::host_of;
use crate::packet::edit::Ends;
use crate::packet::wire::{IcmpHeader, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::packet::{Body, Packet, Transport};

/// What all packets of a flow have in common, in one direction: addresses, ports, protocol, and the
/// zone that they come from.
///
/// A zone is an interface, by its number, or several that lead to the same; who makes keys says
/// which. An ICMP echo's identifier is the port of who asks; the other port is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key {
    /// Source and then destination, in words as a packet has them: the first byte is the lowest.
    /// Those of IPv4 are one word, and the others are zero.
    addresses: [u64; 4],
    /// Ports as a packet has them, then protocol, zone; the highest bit says that it is IPv6.
    rest: u64,
}

/// Of a key's last word: IPv6.
const V6: u64 = 1 << 63;

impl Key {
    /// Of no packet.
    pub(crate) const NONE: Self = Self { addresses: [0; 4], rest: 0 };

    /// Of packets over IPv4.
    #[must_use]
    #[inline(always)]
    pub fn v4(ends: Ends<Ipv4Addr>, protocol: u8, zone: u8) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (ends.source.octets(), ends.destination.octets());
        let addresses = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Self::of_words(addresses, port_words(ends.source_port, ends.destination_port), protocol, zone)
    }

    /// The same of words as a packet has them: its addresses, and its ports.
    #[inline(always)]
    pub(crate) fn of_words(addresses: u64, ports: u32, protocol: u8, zone: u8) -> Self {
        Self { addresses: [addresses, 0, 0, 0], rest: rest(ports, protocol, zone) }
    }

    /// Of packets over IPv6.
    #[must_use]
    #[inline(always)]
    pub fn v6(ends: Ends<Ipv6Addr>, protocol: u8, zone: u8) -> Self {
        let ([s0, s1], [d0, d1]) = (words(ends.source), words(ends.destination));
        let ports = port_words(ends.source_port, ends.destination_port);
        Self { addresses: [s0, s1, d0, d1], rest: rest(ports, protocol, zone) | V6 }
    }

    /// Between two addresses of the same version; `None` of two that are not.
    #[must_use]
    pub fn new(ends: Ends<IpAddr>, protocol: u8, zone: u8) -> Option<Self> {
        let Ends { source, destination, source_port, destination_port } = ends;
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(Self::v4(Ends { source, destination, source_port, destination_port }, protocol, zone))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some(Self::v6(Ends { source, destination, source_port, destination_port }, protocol, zone))
            }
            _ => None,
        }
    }

    /// Of a packet that came from `zone`. `None` of one that does not say whose it is: a later
    /// fragment, and a message of ICMP that is no echo.
    #[must_use]
    #[inline(always)]
    pub fn of(packet: &Packet, transport: &Transport, zone: u8) -> Option<Self> {
        let is_v6 = matches!(packet.body, Body::V6(_));
        let (protocol, source_port, destination_port) = match transport {
            Transport::Tcp(tcp, _) => (PROTOCOL_TCP, tcp.source_port.get(), tcp.destination_port.get()),
            Transport::Udp(udp, _) => (PROTOCOL_UDP, udp.source_port.get(), udp.destination_port.get()),
            Transport::Icmp(icmp, _) => echo(icmp, is_v6)?,
            Transport::Other(protocol, _) => (*protocol, 0, 0),
            Transport::LaterFragment(_) => return None,
        };
        match &packet.body {
            Body::Arp => None,
            Body::V4(ip) => {
                let (source, destination) = (ip.source(), ip.destination());
                Some(Self::v4(Ends { source, destination, source_port, destination_port }, protocol, zone))
            }
            Body::V6(ip) => {
                let (source, destination) = (ip.source(), ip.destination());
                Some(Self::v6(Ends { source, destination, source_port, destination_port }, protocol, zone))
            }
        }
    }

    /// Of the packets that come back from `zone`, where nothing changes them.
    #[must_use]
    pub fn reversed(self, zone: u8) -> Self {
        let [first, second, third, fourth] = self.addresses;
        let addresses =
            if self.is_v6() { [third, fourth, first, second] } else { [first.rotate_left(32), 0, 0, 0] };
        let rest = rest(self.ports().rotate_left(16), self.protocol(), zone);
        Self { addresses, rest: rest | self.rest & V6 }
    }

    /// Of the same packets, where they come from another zone.
    pub(crate) fn in_zone(self, zone: u8) -> Self {
        Self { rest: rest(self.ports(), self.protocol(), zone) | self.rest & V6, ..self }
    }

    /// Who sends them.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        let [first, second, ..] = self.addresses;
        if self.is_v6() { of_words([first, second]).into() } else { self.both_v4()[0].into() }
    }

    /// Whom they are for.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        let [.., third, fourth] = self.addresses;
        if self.is_v6() { of_words([third, fourth]).into() } else { self.both_v4()[1].into() }
    }

    /// The ports, as a packet has them.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub(crate) const fn ports(&self) -> u32 {
        self.rest as u32
    }

    /// The sender's port.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn source_port(&self) -> u16 {
        (self.rest as u16).swap_bytes()
    }

    /// The receiver's port.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn destination_port(&self) -> u16 {
        ((self.rest >> 16) as u16).swap_bytes()
    }

    /// What the packets carry.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn protocol(&self) -> u8 {
        (self.rest >> 32) as u8
    }

    /// Where they come from.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn zone(&self) -> u8 {
        (self.rest >> 40) as u8
    }

    /// Whether they are of IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.rest & V6 != 0
    }

    /// Their addresses over IPv4, as a packet has them; `None` over IPv6.
    #[inline(always)]
    pub(crate) const fn addresses_v4(&self) -> Option<u64> {
        let [first, ..] = self.addresses;
        if self.is_v6() { None } else { Some(first) }
    }

    /// Their ends, over IPv4.
    #[must_use]
    #[inline]
    pub fn ends_v4(&self) -> Option<Ends<Ipv4Addr>> {
        if self.is_v6() {
            return None;
        }
        let [source, destination] = self.both_v4();
        let (source_port, destination_port) = (self.source_port(), self.destination_port());
        Some(Ends { source, destination, source_port, destination_port })
    }

    /// Their ends, over IPv6.
    #[must_use]
    #[inline]
    pub fn ends_v6(&self) -> Option<Ends<Ipv6Addr>> {
        if !self.is_v6() {
            return None;
        }
        let [s0, s1, d0, d1] = self.addresses;
        let (source, destination) = (of_words([s0, s1]), of_words([d0, d1]));
        let (source_port, destination_port) = (self.source_port(), self.destination_port());
        Some(Ends { source, destination, source_port, destination_port })
    }

    /// Source and destination, over IPv4.
    fn both_v4(&self) -> [Ipv4Addr; 2] {
        let [first, ..] = self.addresses;
        let [a, b, c, d, e, f, g, h] = first.to_le_bytes();
        [Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)]
    }

    /// The [host](host_of) that sends, as a number.
    pub(super) fn host(&self) -> u64 {
        host_of(self.source())
    }

    /// Whether it is `other`. Nearly all are of IPv4, which is in two words.
    #[inline(always)]
    pub(super) fn is(&self, other: &Self) -> bool {
        let ([here, ..], [there, ..]) = (self.addresses, other.addresses);
        here == there && self.rest == other.rest && (!self.is_v6() || self.addresses == other.addresses)
    }

    /// Its hash with that key.
    #[inline(always)]
    pub(crate) fn hash(&self, key: &HashKey) -> u64 {
        if self.is_v6() { key.v6(self.addresses, self.rest) } else { key.v4(self.addresses[0], self.rest) }
    }
}

/// Protocol and ports of an echo, which stay the same through its reply, the other way round.
///
/// Spec: RFC 792 (8, 0); RFC 4443, 4 (128, 129); RFC 5508, 3.1 "ICMP Query Mapping".
#[cold]
fn echo(icmp: &IcmpHeader, is_v6: bool) -> Option<(u8, u16, u16)> {
    let [high, low, ..] = icmp.rest;
    let identifier = u16::from_be_bytes([high, low]);
    match (icmp.kind, is_v6) {
        (8, false) => Some((PROTOCOL_ICMP, identifier, 0)),
        (0, false) => Some((PROTOCOL_ICMP, 0, identifier)),
        (128, true) => Some((PROTOCOL_ICMPV6, identifier, 0)),
        (129, true) => Some((PROTOCOL_ICMPV6, 0, identifier)),
        _ => None,
    }
}

/// Ports as a packet has them.
#[inline(always)]
const fn port_words(source: u16, destination: u16) -> u32 {
    source.swap_bytes() as u32 | (destination.swap_bytes() as u32) << 16
}

#[inline(always)]
fn rest(ports: u32, protocol: u8, zone: u8) -> u64 {
    u64::from(ports) | u64::from(protocol) << 32 | u64::from(zone) << 40
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of 128 bits")]
const fn words(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits().swap_bytes();
    [bits as u64, (bits >> 64) as u64]
}

fn of_words([first, second]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits((u128::from(second) << 64 | u128::from(first)).swap_bytes())
}

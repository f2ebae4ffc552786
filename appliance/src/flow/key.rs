//! By what packets are known to belong together.

use core::hash::Hasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

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
    /// In the order of a number's halves; of IPv4 the low one alone.
    source: [u64; 2],
    destination: [u64; 2],
    /// Ports, protocol, version, zone.
    rest: u64,
}

impl Key {
    /// Of no packet.
    pub(crate) const NONE: Self = Self { source: [0; 2], destination: [0; 2], rest: 0 };

    /// Of packets over IPv4.
    #[must_use]
    #[inline(always)]
    pub fn v4(ends: Ends<Ipv4Addr>, protocol: u8, zone: u8) -> Self {
        let of = |address: Ipv4Addr| [0, u64::from(address.to_bits())];
        let rest = rest([ends.source_port, ends.destination_port], protocol, 4, zone);
        Self { source: of(ends.source), destination: of(ends.destination), rest }
    }

    /// Of packets over IPv6.
    #[must_use]
    #[inline(always)]
    pub fn v6(ends: Ends<Ipv6Addr>, protocol: u8, zone: u8) -> Self {
        let rest = rest([ends.source_port, ends.destination_port], protocol, 6, zone);
        Self { source: halves(ends.source), destination: halves(ends.destination), rest }
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
        let ports = [self.destination_port(), self.source_port()];
        let rest = rest(ports, self.protocol(), self.version(), zone);
        Self { source: self.destination, destination: self.source, rest }
    }

    /// Who sends them.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.address(self.source)
    }

    /// Whom they are for.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.address(self.destination)
    }

    /// The sender's port.
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        (self.rest >> 48) as u16
    }

    /// The receiver's port.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn destination_port(&self) -> u16 {
        (self.rest >> 32) as u16
    }

    /// What the packets carry.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn protocol(&self) -> u8 {
        (self.rest >> 16) as u8
    }

    /// Where they come from.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    pub const fn zone(&self) -> u8 {
        self.rest as u8
    }

    /// Whether they are of IPv6.
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.version() == 6
    }

    /// Their ends, over IPv4.
    #[must_use]
    #[inline]
    pub fn ends_v4(&self) -> Option<Ends<Ipv4Addr>> {
        let of = |[_, low]: [u64; 2]| u32::try_from(low).ok().map(Ipv4Addr::from_bits);
        if self.is_v6() {
            return None;
        }
        let (source_port, destination_port) = (self.source_port(), self.destination_port());
        let (source, destination) = (of(self.source)?, of(self.destination)?);
        Some(Ends { source, destination, source_port, destination_port })
    }

    /// Their ends, over IPv6.
    #[must_use]
    #[inline]
    pub fn ends_v6(&self) -> Option<Ends<Ipv6Addr>> {
        if !self.is_v6() {
            return None;
        }
        let (source_port, destination_port) = (self.source_port(), self.destination_port());
        let [source, destination] = [self.source, self.destination].map(of_halves);
        Some(Ends { source, destination, source_port, destination_port })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a field of it")]
    const fn version(&self) -> u8 {
        (self.rest >> 8) as u8
    }

    fn address(&self, [high, low]: [u64; 2]) -> IpAddr {
        match self.version() {
            4 => Ipv4Addr::from_bits(u32::try_from(low).unwrap_or_default()).into(),
            _ => of_halves([high, low]).into(),
        }
    }

    /// The host that sends, as a number; of IPv6 its network of 64 bits, in which a host has all
    /// addresses that it likes.
    pub(super) const fn host(&self) -> u64 {
        let [high, low] = self.source;
        // As an IPv6 network it would be one of group addresses.
        if self.is_v6() { high } else { low | 0xffff_ffff << 32 }
    }

    /// Its hash with that key. Lengths differ by version.
    #[inline(always)]
    pub(crate) fn hash(&self, [k0, k1]: [u64; 2]) -> u64 {
        let ([s0, s1], [d0, d1]) = (self.source, self.destination);
        // Word by word, from the beginning: what a hasher does is known here then, and nothing is
        // left of its tails.
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        if self.is_v6() {
            hasher.write_u64(s0);
            hasher.write_u64(s1);
            hasher.write_u64(d0);
            hasher.write_u64(d1);
        } else {
            hasher.write_u64(s1 << 32 | d1);
        }
        hasher.write_u64(self.rest);
        hasher.finish()
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

#[inline(always)]
fn rest([source, destination]: [u16; 2], protocol: u8, version: u8, zone: u8) -> u64 {
    u64::from(source) << 48
        | u64::from(destination) << 32
        | u64::from(protocol) << 16
        | u64::from(version) << 8
        | u64::from(zone)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of 128 bits")]
const fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn of_halves([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

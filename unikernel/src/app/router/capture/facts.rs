//! What a filter can ask of a frame, read from its first bytes.
//!
//! These are anybody's bytes: what is not there is not so.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::filter::{Side, Test};

const ETHERNET_BYTES: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    is_arp: bool,
    /// Source and destination; of ARP, sender and target.
    addresses: Option<(IpAddr, IpAddr)>,
    /// What an IP packet carries.
    protocol: Option<u8>,
    /// Source and destination, of TCP and UDP, in a packet that is whole or the first part of one.
    ports: Option<(u16, u16)>,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Facts {
    /// Those of the frame that begins with `bytes`. Without the headers that its first ones
    /// promise, it is just a frame.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let rest = bytes.get(ETHERNET_BYTES..).unwrap_or(&[]);
        let facts = match word(bytes, 12) {
            Some(ARP) => Self::of_arp(rest),
            Some(IPV4) => Self::of_ipv4(rest),
            Some(IPV6) => Self::of_ipv6(rest),
            _ => None,
        };
        facts.unwrap_or_default()
    }

    /// Spec: RFC 826 "Packet format".
    fn of_arp(packet: &[u8]) -> Option<Self> {
        // Of other kinds of addresses nothing is asked.
        let is_ipv4 = word(packet, 0) == Some([0, 1, 8, 0, 6, 4]);
        let address = |at| word::<4>(packet, at).map(|octets| IpAddr::V4(Ipv4Addr::from_octets(octets)));
        let addresses = if is_ipv4 { address(14).zip(address(24)) } else { None };
        Some(Self { is_arp: true, addresses, ..Self::default() })
    }

    /// Spec: RFC 791, 3.1 "Internet Header Format".
    fn of_ipv4(packet: &[u8]) -> Option<Self> {
        let address = |at| word::<4>(packet, at).map(|octets| IpAddr::V4(Ipv4Addr::from_octets(octets)));
        let header_bytes = usize::from(packet.first()? & 15).checked_mul(4)?;
        let [protocol] = word(packet, 9)?;
        let is_first = u16::from_be_bytes(word(packet, 6)?) & 0x1fff == 0;
        Some(Self {
            addresses: address(12).zip(address(16)),
            protocol: Some(protocol),
            ports: is_first.then(|| ports(protocol, packet, header_bytes)).flatten(),
            ..Self::default()
        })
    }

    /// Spec: RFC 8200, 3 "IPv6 Header Format". As tcpdump does, what stands between the header and
    /// TCP is not skipped.
    fn of_ipv6(packet: &[u8]) -> Option<Self> {
        const HEADER_BYTES: usize = 40;
        let address = |at| word::<16>(packet, at).map(|octets| IpAddr::V6(Ipv6Addr::from_octets(octets)));
        let [protocol] = word(packet, 6)?;
        Some(Self {
            addresses: address(8).zip(address(24)),
            protocol: Some(protocol),
            ports: ports(protocol, packet, HEADER_BYTES),
            ..Self::default()
        })
    }

    /// Whether that is so.
    #[must_use]
    pub fn is(&self, test: &Test) -> bool {
        let is_v4 = self.addresses.filter(|_| !self.is_arp).map(|(source, _)| source.is_ipv4());
        match *test {
            Test::Arp => self.is_arp,
            Test::Ip => is_v4 == Some(true),
            Test::Ip6 => is_v4 == Some(false),
            Test::Protocol(protocol, version) => {
                self.protocol == Some(protocol) && (version.is_none() || version == is_v4)
            }
            Test::Net(side, prefix) => {
                self.addresses.is_some_and(|ends| either(side, ends, |address| prefix.contains(address)))
            }
            Test::Port(side, port) => self.ports.is_some_and(|ends| either(side, ends, |own| own == port)),
        }
    }
}

fn ports(protocol: u8, packet: &[u8], at: usize) -> Option<(u16, u16)> {
    let [a, b, c, d] = word(packet, at).filter(|_| matches!(protocol, TCP | UDP))?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn either<T: Copy>(side: Side, (source, destination): (T, T), is: impl Fn(T) -> bool) -> bool {
    match side {
        Side::Source => is(source),
        Side::Destination => is(destination),
        Side::Either => is(source) || is(destination),
    }
}

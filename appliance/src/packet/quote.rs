//! The packet that an ICMP error is about, as far as the error quotes it.

use core::net::{Ipv4Addr, Ipv6Addr};

use paravane_net::Frame;

use super::edit::Ends;
use super::wire::{
    EXTENSION_DESTINATION, EXTENSION_FRAGMENT, EXTENSION_HOP_BY_HOP, EXTENSION_ROUTING, ICMP_BYTES,
    IPV4_BYTES, IPV4_OFFSET, IPV6_BYTES, Ipv4Header, Ipv6Header, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
    PROTOCOL_TCP, PROTOCOL_UDP,
};
use super::{Body, Packet, Transport};

/// A packet that is quoted. It was read once, and the error's frame has all that it says.
#[derive(Clone, Copy, Debug)]
pub struct Quoted {
    /// Its ends, as they are quoted.
    pub ends: QuotedEnds,
    /// What it carries.
    pub protocol: u8,
    pub(super) ip_at: usize,
    /// Of an IPv4 header.
    pub(super) header_checksum: u16,
    /// Where its ports are, or its identifier.
    pub(super) ports_at: usize,
    /// Its checksum, and where that is, if it has one that is quoted.
    pub(super) checksum: Option<(usize, u16)>,
}

/// The ends of a packet that is quoted. An echo's identifier is the port of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedEnds {
    /// Over IPv4.
    V4(Ends<Ipv4Addr>),
    /// Over IPv6.
    V6(Ends<Ipv6Addr>),
}

/// Where something is in a frame, within what is quoted.
#[derive(Clone, Copy)]
struct Place<'f> {
    frame: &'f Frame,
    at_bytes: usize,
    end_bytes: usize,
}

impl Place<'_> {
    /// What is `offset_bytes` further on.
    fn read<T: zerocopy::FromBytes>(&self, offset_bytes: usize) -> Option<T> {
        let at_bytes = self.at_bytes.checked_add(offset_bytes)?;
        if at_bytes.checked_add(size_of::<T>())? > self.end_bytes {
            return None;
        }
        self.frame.read(at_bytes)
    }

    fn word(&self, offset_bytes: usize) -> Option<u16> {
        self.read(offset_bytes).map(u16::from_be_bytes)
    }

    const fn behind(self, offset_bytes: usize) -> Self {
        Self { at_bytes: self.at_bytes.saturating_add(offset_bytes), ..self }
    }
}

impl Quoted {
    /// What `packet` quotes, of which `transport` was read. `None` when it is no error, or one that
    /// does not quote as much as a packet is known by: the ports, of TCP and UDP, and of an echo.
    ///
    /// Spec: RFC 792; RFC 4443, 3; RFC 5508, 4 "ICMP Error Translation Details".
    #[must_use]
    pub fn of(packet: &Packet, transport: &Transport, frame: &Frame) -> Option<Self> {
        let Transport::Icmp(icmp, icmp_at) = transport else { return None };
        let at_bytes = icmp_at.saturating_add(ICMP_BYTES);
        match (&packet.body, icmp.kind) {
            // Unreachable, time exceeded, parameter problem.
            (Body::V4(ip), 3 | 11 | 12) => {
                let end_bytes = ip.at_bytes.saturating_add(ip.total_bytes());
                Self::v4(Place { frame, at_bytes, end_bytes })
            }
            // Unreachable, too big, time exceeded, parameter problem.
            (Body::V6(ip), 1..=4) => {
                let end_bytes = ip.at_bytes.saturating_add(ip.total_bytes());
                Self::v6(Place { frame, at_bytes, end_bytes })
            }
            _ => None,
        }
    }

    fn v4(place: Place<'_>) -> Option<Self> {
        let header: Ipv4Header = place.read(0)?;
        let header_bytes = usize::from(header.version_length & 0xf) * 4;
        let is_known = header.version_length >> 4 == 4 && header_bytes >= IPV4_BYTES;
        if !is_known || header.fragment.get() & IPV4_OFFSET != 0 {
            return None;
        }
        let (source, destination) = (header.source.into(), header.destination.into());
        let of = |[source_port, destination_port]: [u16; 2]| {
            QuotedEnds::V4(Ends { source, destination, source_port, destination_port })
        };
        let checksum = header.checksum.get();
        Self::behind(place, place.behind(header_bytes), header.protocol, checksum, of)
    }

    fn v6(place: Place<'_>) -> Option<Self> {
        let header: Ipv6Header = place.read(0)?;
        if header.version_class_flow.get() >> 28 != 6 {
            return None;
        }
        let (protocol, behind) = upper(header.next_header, place.behind(IPV6_BYTES))?;
        let (source, destination) = (header.source.into(), header.destination.into());
        let of = |[source_port, destination_port]: [u16; 2]| {
            QuotedEnds::V6(Ends { source, destination, source_port, destination_port })
        };
        Self::behind(place, behind, protocol, 0, of)
    }

    /// What is in a packet, whose header is at `ip`.
    fn behind(
        ip: Place<'_>,
        place: Place<'_>,
        protocol: u8,
        header_checksum: u16,
        ends: impl Fn([u16; 2]) -> QuotedEnds,
    ) -> Option<Self> {
        let (ports_at, ports, checksum_at) = match protocol {
            PROTOCOL_TCP => (0, [place.word(0)?, place.word(2)?], 16),
            PROTOCOL_UDP => (0, [place.word(0)?, place.word(2)?], 6),
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
                let [identifier, kind] = [place.word(4)?, place.word(0)? >> 8];
                match (protocol, kind) {
                    (PROTOCOL_ICMP, 8) | (PROTOCOL_ICMPV6, 128) => (4, [identifier, 0], 2),
                    (PROTOCOL_ICMP, 0) | (PROTOCOL_ICMPV6, 129) => (4, [0, identifier], 2),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let checksum = place.word(checksum_at).filter(|sum| *sum != 0 || protocol != PROTOCOL_UDP);
        Some(Self {
            ends: ends(ports),
            protocol,
            ip_at: ip.at_bytes,
            header_checksum,
            ports_at: place.at_bytes.saturating_add(ports_at),
            checksum: checksum.map(|sum| (place.at_bytes.saturating_add(checksum_at), sum)),
        })
    }
}

/// What is behind the extension headers of a quoted packet.
///
/// Spec: RFC 8200, 4 "IPv6 Extension Headers".
fn upper(mut protocol: u8, mut place: Place<'_>) -> Option<(u8, Place<'_>)> {
    for _ in 0..=MAX_EXTENSIONS {
        let len_bytes = match protocol {
            EXTENSION_FRAGMENT if place.word(2)? & !7 != 0 => return None,
            EXTENSION_FRAGMENT => 8,
            EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION => {
                usize::from(place.read::<u8>(1)?).saturating_add(1).saturating_mul(8)
            }
            _ => return Some((protocol, place)),
        };
        protocol = place.read(0)?;
        place = place.behind(len_bytes);
    }
    None
}

/// More extension headers than any packet has that is meant well.
const MAX_EXTENSIONS: usize = 8;

//! Errors as they are on the wire.

use core::net::IpAddr;

use paravane_net::{Frame, FramePool, MacAddr};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::reader::Reader;
use super::{Error, Problem, Received, Silence};
use crate::packet::sum::Sum;
use crate::packet::wire::{
    ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, ICMP_BYTES, IPV4_BYTES,
    IPV4_DONT_FRAGMENT, IPV6_BYTES, IcmpHeader, Ipv4Header, Ipv6Header, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
};
use crate::packet::{Body, Ipv4, Ipv6};

/// The longest error over IPv4, as anyone can take it.
///
/// Spec: RFC 1812, 4.3.2.3 "Original Message Header".
const V4_ERROR_BYTES: usize = 576;
/// The same over IPv6, as any link can.
///
/// Spec: RFC 4443, 2.4 (c).
const V6_ERROR_BYTES: usize = 1280;
/// The longest quote of either.
const MAX_QUOTE_BYTES: usize = V6_ERROR_BYTES - IPV6_BYTES - ICMP_BYTES;

/// Differentiated services of what routers say among themselves (CS6).
///
/// Spec: RFC 1812, 4.3.2.5 "TOS and Precedence"; RFC 4594, 3.2.
const CLASS: u8 = 6 << 5;
/// How often an answer may be passed on.
pub(super) const TTL: u8 = 64;

/// The frame that tells of `error`.
pub(super) fn frame(
    received: Received<'_>,
    error: Error,
    mac: MacAddr,
    from: IpAddr,
    pool: &FramePool,
) -> Result<Frame, Silence> {
    let mut frame = pool.get().ok_or(Silence::NoBuffer)?;
    frame.set_vlan(received.frame.vlan());
    let ethertype = if from.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }.into();
    let ethernet = EthernetHeader { destination: received.packet.source.0, source: mac.0, ethertype };
    let room = frame.capacity_bytes().saturating_sub(ETHERNET_BYTES);
    let is_whole = put(&mut frame, &ethernet)
        && match (received.packet.body, from) {
            (Body::V4(ip), IpAddr::V4(from)) => {
                let room = room.min(V4_ERROR_BYTES);
                Quote::new(received, ip.at_bytes, &ip.header, ip.total_bytes(), room)
                    .is_some_and(|quote| v4(&mut frame, &ip, error, from.octets(), quote.bytes()))
            }
            (Body::V6(ip), IpAddr::V6(from)) => {
                let room = room.min(V6_ERROR_BYTES);
                Quote::new(received, ip.at_bytes, &ip.header, ip.total_bytes(), room)
                    .is_some_and(|quote| v6(&mut frame, &ip, error, from.octets(), quote.bytes()))
            }
            _ => return Err(Silence::Version),
        };
    if is_whole { Ok(frame) } else { Err(Silence::NoBuffer) }
}

/// The packet that an error is about, or its beginning.
struct Quote {
    bytes: [u8; MAX_QUOTE_BYTES],
    len_bytes: usize,
}

impl Quote {
    /// Of the packet of `total_bytes` that is `at_bytes` into the frame, as much as fits an error
    /// of `error_bytes`; its header is quoted as it was read. `None` when this and the ports behind
    /// it do not fit.
    fn new<T>(
        received: Received<'_>,
        at_bytes: usize,
        header: &T,
        total_bytes: usize,
        error_bytes: usize,
    ) -> Option<Self>
    where
        T: IntoBytes + Immutable,
    {
        let header = header.as_bytes();
        let room = error_bytes.checked_sub(header.len())?.checked_sub(ICMP_BYTES)?;
        if room < total_bytes.min(header.len().saturating_add(LEAST_BYTES)) {
            return None;
        }
        let mut bytes = [0; MAX_QUOTE_BYTES];
        let len_bytes = Reader::new(received.frame, at_bytes).fill(bytes.get_mut(..total_bytes.min(room))?);
        bytes.get_mut(..header.len())?.copy_from_slice(header);
        Some(Self { bytes, len_bytes })
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len_bytes).unwrap_or_default()
    }
}

/// How much behind its IP header a packet is known by.
///
/// Spec: RFC 792 (64 bits of the original datagram's data).
const LEAST_BYTES: usize = 8;

/// An error over IPv4.
fn v4(frame: &mut Frame, about: &Ipv4, error: Error, from: [u8; 4], quote: &[u8]) -> bool {
    let Ok(total_bytes) = u16::try_from(quote.len().saturating_add(IPV4_BYTES + ICMP_BYTES)) else {
        return false;
    };
    let mut header = Ipv4Header {
        version_length: 0x45,
        class: CLASS,
        total_bytes: total_bytes.into(),
        // Nothing that is never cut needs one. Spec: RFC 6864, 4.1.
        id: U16::ZERO,
        fragment: IPV4_DONT_FRAGMENT.into(),
        ttl: TTL,
        protocol: PROTOCOL_ICMP,
        checksum: U16::ZERO,
        source: from,
        destination: about.header.source,
    };
    header.checksum = Sum::ZERO.and_bytes(header.as_bytes()).checksum().into();
    put(frame, &header) && put(frame, &summed(v4_header(error), Sum::ZERO, quote)) && frame.append(quote)
}

/// An error over IPv6.
fn v6(frame: &mut Frame, about: &Ipv6, error: Error, from: [u8; 16], quote: &[u8]) -> bool {
    let Ok(payload_bytes) = u16::try_from(quote.len().saturating_add(ICMP_BYTES)) else { return false };
    let header = Ipv6Header {
        version_class_flow: U32::new(6 << 28 | (CLASS as u32) << 20),
        payload_bytes: payload_bytes.into(),
        next_header: PROTOCOL_ICMPV6,
        hop_limit: TTL,
        source: from,
        destination: about.header.source,
    };
    let pseudo =
        Sum::pseudo_header(&header.source, &header.destination, PROTOCOL_ICMPV6, payload_bytes.into());
    put(frame, &header) && put(frame, &summed(v6_header(error), pseudo, quote)) && frame.append(quote)
}

/// A header with the checksum of itself, `before` and `quote`.
fn summed((kind, code, rest): (u8, u8, [u8; 4]), before: Sum, quote: &[u8]) -> IcmpHeader {
    let mut header = IcmpHeader { kind, code, checksum: U16::ZERO, rest };
    header.checksum = before.and_bytes(header.as_bytes()).and_bytes(quote).checksum().into();
    header
}

/// `type`, `code`, and what is particular to them.
///
/// Spec: RFC 792; RFC 1191, 4 "Router specification"; RFC 1812, 5.2.7.1.
const fn v4_header(error: Error) -> (u8, u8, [u8; 4]) {
    const DESTINATION_UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    const PARAMETER_PROBLEM: u8 = 12;
    match error {
        Error::NetUnreachable => (DESTINATION_UNREACHABLE, 0, [0; 4]),
        Error::HostUnreachable => (DESTINATION_UNREACHABLE, 1, [0; 4]),
        Error::Parameter { problem: Problem::NextHeader, .. } => (DESTINATION_UNREACHABLE, 2, [0; 4]),
        Error::PortUnreachable => (DESTINATION_UNREACHABLE, 3, [0; 4]),
        Error::TooBig { mtu_bytes } => {
            let [high, low] = mtu_bytes.to_be_bytes();
            (DESTINATION_UNREACHABLE, 4, [0, 0, high, low])
        }
        Error::Prohibited => (DESTINATION_UNREACHABLE, 13, [0; 4]),
        Error::TimeExceeded => (TIME_EXCEEDED, 0, [0; 4]),
        Error::Parameter { at_bytes, .. } => {
            // A header of IPv4 is at most 60 bytes.
            let [_, low] = at_bytes.to_be_bytes();
            (PARAMETER_PROBLEM, 0, [low, 0, 0, 0])
        }
    }
}

/// `type`, `code`, and what is particular to them.
///
/// Spec: RFC 4443, 3.1 to 3.4.
const fn v6_header(error: Error) -> (u8, u8, [u8; 4]) {
    const DESTINATION_UNREACHABLE: u8 = 1;
    const PACKET_TOO_BIG: u8 = 2;
    const TIME_EXCEEDED: u8 = 3;
    const PARAMETER_PROBLEM: u8 = 4;
    match error {
        Error::NetUnreachable => (DESTINATION_UNREACHABLE, 0, [0; 4]),
        Error::Prohibited => (DESTINATION_UNREACHABLE, 1, [0; 4]),
        Error::HostUnreachable => (DESTINATION_UNREACHABLE, 3, [0; 4]),
        Error::PortUnreachable => (DESTINATION_UNREACHABLE, 4, [0; 4]),
        Error::TooBig { mtu_bytes } => (PACKET_TOO_BIG, 0, (mtu_bytes as u32).to_be_bytes()),
        Error::TimeExceeded => (TIME_EXCEEDED, 0, [0; 4]),
        Error::Parameter { problem, at_bytes } => {
            let code = match problem {
                Problem::Field => 0,
                Problem::NextHeader => 1,
                Problem::Option => 2,
            };
            (PARAMETER_PROBLEM, code, (at_bytes as u32).to_be_bytes())
        }
    }
}

/// Adds a header to the end of a frame.
fn put<T: IntoBytes + Immutable>(frame: &mut Frame, header: &T) -> bool {
    frame.append(header.as_bytes())
}

//! Who may be spoken to: one host, about a packet of its own that is no error.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Error, Problem, Received, Silence};
use crate::interface::Interface;
use crate::packet::wire::IcmpHeader;
use crate::packet::{Body, Packet, Transport};

/// Whether the sender of `received` may be told of `error`; its address.
///
/// Spec: RFC 1812, 4.3.2.7 "When Not to Send ICMP Errors"; RFC 4443, 2.4 (e).
pub(super) fn may_be_told(
    interfaces: &[Interface],
    received: Received<'_>,
    error: Error,
) -> Result<IpAddr, Silence> {
    let Received { packet, frame, .. } = received;
    let (source, destination) = packet.addresses().ok_or(Silence::NotIp)?;
    // Who sends to a group over IPv6 has to learn of these too.
    let concerns_groups = source.is_ipv6()
        && matches!(error, Error::TooBig { .. } | Error::Parameter { problem: Problem::Option, .. });
    is_from_one_station(packet)?;
    if !concerns_groups && !packet.destination.is_unicast() {
        return Err(Silence::Link);
    }
    match packet.transport(frame) {
        Ok(Some(Transport::LaterFragment(_))) => return Err(Silence::Fragment),
        Ok(Some(Transport::Icmp(header, _))) if may_be_error(packet, header) => return Err(Silence::Icmp),
        Ok(_) => {}
        Err(_) => return Err(Silence::Malformed),
    }
    if !(is_one_host(interfaces, destination) || concerns_groups && destination.is_multicast()) {
        return Err(Silence::Destination);
    }
    is_from_one_host(interfaces, source)?;
    Ok(source)
}

/// Whether one station of the link sent it.
pub(super) const fn is_from_one_station(packet: &Packet) -> Result<(), Silence> {
    if packet.source.is_unicast() { Ok(()) } else { Err(Silence::Link) }
}

/// Whether `source` is one host, and another one.
pub(super) fn is_from_one_host(interfaces: &[Interface], source: IpAddr) -> Result<(), Silence> {
    let is_ours = interfaces.iter().any(|interface| interface.has(source));
    if is_ours || !is_one_host(interfaces, source) { Err(Silence::Source) } else { Ok(()) }
}

/// Whether an ICMP message is an error, or of a kind that nobody here knows not to be one.
///
/// Spec: RFC 1122, 3.2.2 "Internet Control Message Protocol -- ICMP"; RFC 4443, 2.1 (errors are
/// below 128), 2.4 (e.2) (a redirect counts as one).
const fn may_be_error(packet: &Packet, header: IcmpHeader) -> bool {
    match packet.body {
        Body::V6(_) => header.kind < V6_FIRST_QUERY || header.kind == V6_REDIRECT,
        _ => !matches!(header.kind, V4_ECHO_REPLY | V4_ECHO | V4_TIMESTAMP..=V4_MASK_REPLY),
    }
}

/// Whether `address` is that of a single host, by all that is known of the networks around.
fn is_one_host(interfaces: &[Interface], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_one_host_v4(interfaces, address),
        IpAddr::V6(address) => is_one_host_v6(interfaces, address),
    }
}

/// Not this network, not oneself, not a group or what is reserved behind them, not all of a network
/// at hand in either of its spellings.
///
/// Spec: RFC 1122, 3.2.1.3 "Addressing"; RFC 3021 (a network of two has no broadcast).
fn is_one_host_v4(interfaces: &[Interface], address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let mut networks = interfaces.iter().flat_map(|interface| &interface.v4);
    let is_all_of = |(own, bits): &(Ipv4Addr, u8)| {
        let host = u32::MAX.checked_shr((*bits).into()).unwrap_or(0);
        let is_in = (own.to_bits() ^ address.to_bits()) & !host == 0;
        *bits < 31 && is_in && [0, host].contains(&(address.to_bits() & host))
    };
    !(first == 0 || first == 127 || first >= 224 || networks.any(is_all_of))
}

/// Not nobody, not oneself, not a group, not any router of a network at hand.
///
/// Spec: RFC 4291, 2.6.1 "Required Anycast Address"; RFC 6164 (a network of two has none).
fn is_one_host_v6(interfaces: &[Interface], address: Ipv6Addr) -> bool {
    let mut networks = interfaces.iter().flat_map(|interface| &interface.v6);
    let is_any_router = |(own, bits): &(Ipv6Addr, u8)| {
        let host = u128::MAX.checked_shr((*bits).into()).unwrap_or(0);
        *bits < 127 && own.to_bits() & !host == address.to_bits()
    };
    let is_reserved = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !(is_reserved || networks.any(is_any_router))
}

/// Kinds of ICMP that ask or answer. Timestamps, information and masks follow each other.
const V4_ECHO_REPLY: u8 = 0;
const V4_ECHO: u8 = 8;
const V4_TIMESTAMP: u8 = 13;
const V4_MASK_REPLY: u8 = 18;
/// Kinds of ICMPv6 from here on are no errors.
const V6_FIRST_QUERY: u8 = 128;
/// But this one is not to be answered with one either.
const V6_REDIRECT: u8 = 137;

//! Other ends for a packet: what address translation does to it.

use core::net::{Ipv4Addr, Ipv6Addr};

use paravane_net::Frame;
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::{EditError, adjusted, is_open, put, put_words};
use crate::packet::sum::Sum;
use crate::packet::wire::IcmpHeader;
use crate::packet::{Body, Ipv4, Ipv6, Packet, Transport};

/// Both ends of a flow, in one direction. An ICMP echo's identifier stands for one of the ports,
/// either; the other is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends<A> {
    /// Who sends.
    pub source: A,
    /// Whom it is for.
    pub destination: A,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
}

impl<A> Ends<A> {
    /// Those of the other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        let Self { source, destination, source_port, destination_port } = self;
        Self {
            source: destination,
            destination: source,
            source_port: destination_port,
            destination_port: source_port,
        }
    }
}

/// By how much sums change when a packet gets other ends; for who keeps that beside a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub(in crate::packet) addresses: u16,
    pub(in crate::packet) ports: u16,
}

impl Change {
    /// Not at all.
    pub const NONE: Self = Self { addresses: 0, ports: 0 };

    /// Over IPv4.
    #[must_use]
    pub fn v4(from: &Ends<Ipv4Addr>, to: &Ends<Ipv4Addr>) -> Self {
        let [to_bytes, from_bytes] = [to, from].map(|ends| [ends.source.octets(), ends.destination.octets()]);
        Self::of(to_bytes.as_flattened(), from_bytes.as_flattened(), ports(from), ports(to))
    }

    /// Over IPv6.
    #[must_use]
    pub fn v6(from: &Ends<Ipv6Addr>, to: &Ends<Ipv6Addr>) -> Self {
        let [to_bytes, from_bytes] = [to, from].map(|ends| [ends.source.octets(), ends.destination.octets()]);
        Self::of(to_bytes.as_flattened(), from_bytes.as_flattened(), ports(from), ports(to))
    }

    fn of(to: &[u8], from: &[u8], from_ports: [u16; 2], ports: [u16; 2]) -> Self {
        let addresses = Sum::ZERO.and_bytes(to).without_bytes(from);
        let sum = ports.iter().fold(Sum::ZERO, |sum, port| sum.and(*port));
        let sum = from_ports.iter().fold(sum, |sum, port| sum.without(*port));
        Self { addresses: addresses.folded(), ports: sum.folded() }
    }

    /// The way back.
    #[must_use]
    pub const fn reversed(self) -> Self {
        self.reversed_by(1)
    }

    /// The way back, if that is 1, and else the way there.
    #[inline(always)]
    pub(crate) const fn reversed_by(self, is_back: u16) -> Self {
        let all = 0_u16.wrapping_sub(is_back);
        Self { addresses: self.addresses ^ all, ports: self.ports ^ all }
    }
}

/// What becomes of the ends of each packet of a flow, in one direction. By how much that changes
/// checksums is the same for all of them, and worked out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub(in crate::packet) to: Addresses,
    pub(in crate::packet) ports: [u16; 2],
    /// The change of the sum of the addresses,
    pub(in crate::packet) addresses_sum: u16,
    /// and of that of the ports.
    pub(in crate::packet) ports_sum: u16,
}

/// Source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::packet) enum Addresses {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

impl Rewrite {
    /// Of a flow over IPv4, `from` what its packets say `to` what they are to say.
    #[must_use]
    pub fn v4(from: Ends<Ipv4Addr>, to: Ends<Ipv4Addr>) -> Self {
        Self::changing_v4(to, Change::v4(&from, &to))
    }

    /// The same over IPv6.
    #[must_use]
    pub fn v6(from: Ends<Ipv6Addr>, to: Ends<Ipv6Addr>) -> Self {
        Self::changing_v6(to, Change::v6(&from, &to))
    }

    /// The same where it is known by how much that changes sums.
    #[must_use]
    #[inline]
    pub fn changing_v4(to: Ends<Ipv4Addr>, change: Change) -> Self {
        Self::new(Addresses::V4(to.source.octets(), to.destination.octets()), ports(&to), change)
    }

    /// And over IPv6.
    #[must_use]
    #[inline]
    pub fn changing_v6(to: Ends<Ipv6Addr>, change: Change) -> Self {
        Self::new(Addresses::V6(to.source.octets(), to.destination.octets()), ports(&to), change)
    }

    #[inline]
    const fn new(to: Addresses, ports: [u16; 2], change: Change) -> Self {
        Self { to, ports, addresses_sum: change.addresses, ports_sum: change.ports }
    }

    /// Writes what is to be the ports of it, and its checksum.
    #[inline(always)]
    fn transport(&self, transport: &mut Transport, frame: &mut Frame) -> Result<(), EditError> {
        let [source_port, destination_port] = self.ports;
        match transport {
            Transport::Tcp(header, at_bytes) => {
                let checksum_at = at_bytes.saturating_add(TCP_CHECKSUM_AT);
                let checksum = self.adjusted(frame, checksum_at, header.checksum.get());
                put_words(frame, *at_bytes, self.ports)?;
                put_words(frame, checksum_at, [checksum])?;
                header.source_port.set(source_port);
                header.destination_port.set(destination_port);
                header.checksum.set(checksum);
                Ok(())
            }
            Transport::Udp(header, at_bytes) => {
                let checksum_at = at_bytes.saturating_add(UDP_CHECKSUM_AT);
                let checksum = match header.checksum.get() {
                    // There is none.
                    0 if !is_open(frame, checksum_at) => 0,
                    // That would say that there is none.
                    some => match self.adjusted(frame, checksum_at, some) {
                        0 => 0xffff,
                        checksum => checksum,
                    },
                };
                put_words(frame, *at_bytes, self.ports)?;
                put_words(frame, checksum_at, [checksum])?;
                header.source_port.set(source_port);
                header.destination_port.set(destination_port);
                header.checksum.set(checksum);
                Ok(())
            }
            Transport::Icmp(header, at_bytes) => self.icmp(header, *at_bytes, frame),
            Transport::Other(..) | Transport::LaterFragment(_) => Ok(()),
        }
    }

    /// Writes the identifier of an echo, and the message's checksum: over IPv4 it has no
    /// pseudo-header.
    fn icmp(&self, header: &mut IcmpHeader, at_bytes: usize, frame: &mut Frame) -> Result<(), EditError> {
        let is_v6 = matches!(self.to, Addresses::V6(..));
        let is_echo = if is_v6 { is_echo_v6 } else { is_echo_v4 }(header.kind);
        let [high, low, rest @ ..] = header.rest;
        let [source_port, destination_port] = self.ports;
        let identifier =
            if is_echo { source_port | destination_port } else { u16::from_be_bytes([high, low]) };
        let ports_sum = if is_echo { self.ports_sum } else { 0 };
        let addresses_sum = if is_v6 { self.addresses_sum } else { 0 };
        let checksum_at = at_bytes.saturating_add(ICMP_CHECKSUM_AT);
        let checksum = adjusted(frame, checksum_at, header.checksum.get(), addresses_sum, ports_sum);
        put_words(frame, checksum_at, [checksum, identifier])?;
        header.checksum.set(checksum);
        let ([high, low], [r0, r1]) = (identifier.to_be_bytes(), rest);
        header.rest = [high, low, r0, r1];
        Ok(())
    }

    #[inline(always)]
    fn adjusted(&self, frame: &Frame, at_bytes: usize, checksum: u16) -> u16 {
        adjusted(frame, at_bytes, checksum, self.addresses_sum, self.ports_sum)
    }
}

/// Gives `frame` other ends: addresses, and ports where it has them, with all checksums that cover
/// them. Of a protocol that is not known here, and of a fragment that is not the first, only the
/// addresses change.
///
/// `packet` and `transport` were read from it, and say afterwards what it says. That its ends are
/// those which `to` was made for is the caller's to know.
///
/// # Errors
///
/// [`EditError`].
///
/// Spec: RFC 3022, 4.1; RFC 768 (a checksum of zero is none); RFC 1624; RFC 6936, 4 (nor is one
/// made where a datagram over IPv6 has none).
#[inline]
pub fn rewrite(
    packet: &mut Packet,
    transport: &mut Transport,
    frame: &mut Frame,
    to: &Rewrite,
) -> Result<(), EditError> {
    match (&mut packet.body, &to.to) {
        (Body::V4(ip), Addresses::V4(source, destination)) => {
            addresses_v4(ip, frame, to.addresses_sum, source, destination)?;
        }
        (Body::V6(ip), Addresses::V6(source, destination)) => addresses_v6(ip, frame, source, destination)?,
        _ => return Err(EditError::Version),
    }
    to.transport(transport, frame)
}

/// Writes the header's checksum and the addresses, which follow it.
#[inline(always)]
fn addresses_v4(
    ip: &mut Ipv4,
    frame: &mut Frame,
    change: u16,
    source: &[u8; 4],
    destination: &[u8; 4],
) -> Result<(), EditError> {
    let checksum = Sum::ZERO.and(change).applied_to(ip.header.checksum.get());
    let written = AddressesV4 { checksum: checksum.into(), source: *source, destination: *destination };
    let words: [u16; 5] = zerocopy::transmute!(written);
    put(frame, ip.at_bytes.saturating_add(V4_CHECKSUM_AT), &words)?;
    ip.header.checksum.set(checksum);
    (ip.header.source, ip.header.destination) = (*source, *destination);
    Ok(())
}

/// What an IPv4 header ends with.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct AddressesV4 {
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

/// Writes those of the addresses that change.
#[inline(always)]
fn addresses_v6(
    ip: &mut Ipv6,
    frame: &mut Frame,
    source: &[u8; 16],
    destination: &[u8; 16],
) -> Result<(), EditError> {
    // As words, so that they go in as such: these lie even.
    if ip.header.source != *source {
        let words: [u16; 8] = zerocopy::transmute!(*source);
        put(frame, ip.at_bytes.saturating_add(V6_SOURCE_AT), &words)?;
        ip.header.source = *source;
    }
    if ip.header.destination != *destination {
        let words: [u16; 8] = zerocopy::transmute!(*destination);
        put(frame, ip.at_bytes.saturating_add(V6_DESTINATION_AT), &words)?;
        ip.header.destination = *destination;
    }
    Ok(())
}

const fn ports<A>(ends: &Ends<A>) -> [u16; 2] {
    [ends.source_port, ends.destination_port]
}

/// Echo reply, and echo. Spec: RFC 792.
const fn is_echo_v4(kind: u8) -> bool {
    matches!(kind, 0 | 8)
}

/// Echo request, and echo reply. Spec: RFC 4443, 4.
const fn is_echo_v6(kind: u8) -> bool {
    matches!(kind, 128 | 129)
}

// Where fields are in their headers.
const V4_CHECKSUM_AT: usize = 10;
const V6_SOURCE_AT: usize = 8;
const V6_DESTINATION_AT: usize = 24;
const TCP_CHECKSUM_AT: usize = 16;
const UDP_CHECKSUM_AT: usize = 6;
const ICMP_CHECKSUM_AT: usize = 2;

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;

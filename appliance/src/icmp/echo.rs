//! The echo: a request to one of our addresses becomes its reply where it lies.

use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::{ChecksumRequest, Frame, MacAddr, RxChecksum};

use super::message::TTL;
use super::reader::Reader;
use super::{Counters, Silence, rules};
use crate::interface::{Interface, InterfaceId};
use crate::limit::{Limiter, Limits};
use crate::packet::sum::Sum;
use crate::packet::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_BYTES, IPV6_BYTES, IcmpHeader, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
};
use crate::packet::{Body, Ipv4, Ipv6, Packet, Transport};

/// Who answers echo requests. Nothing is allocated once it is made.
#[derive(Debug)]
pub struct Echo {
    limiter: Limiter,
    counters: Counters,
}

/// An echo request.
struct Request {
    header: IcmpHeader,
    /// Where it begins in the frame.
    at_bytes: usize,
    /// How long it is, data included.
    len_bytes: usize,
    /// What its checksum covers besides.
    before: Sum,
}

impl Echo {
    /// For that many interfaces; `key` as for [`Errors::new`](super::Errors::new).
    #[must_use]
    pub fn new(limits: Limits, key: &[u8; 16], interfaces: usize) -> Self {
        Self { limiter: Limiter::new(limits, key, interfaces), counters: Counters::default() }
    }

    /// Makes an echo request to an address of ours, which came in by `interface`, its reply: back
    /// to the station that sent it, to leave by that interface. `packet` is what was read of
    /// `frame`, and `interfaces` are all that there are.
    ///
    /// Its checksum is verified first, where no device did, and then changed by what changes: a
    /// damaged payload stays known as one. One that was left partial stays so. Requests to groups,
    /// in parts, or with options are not answered.
    ///
    /// # Errors
    ///
    /// [`Silence`]: the frame is as it was, and it is counted. [`NotEcho`](Silence::NotEcho) and
    /// [`NotOurs`](Silence::NotOurs) are no fault: it may be for somebody else here.
    ///
    /// Spec: RFC 1122, 3.2.2.6 "Echo Request/Reply"; RFC 1812, 4.3.3.6; RFC 4443, 4.
    pub fn answer(
        &mut self,
        interfaces: &[Interface],
        interface: InterfaceId,
        packet: &Packet,
        frame: &mut Frame,
        now: Instant,
    ) -> Result<(), Silence> {
        let answer = self.reply(interfaces, interface, packet, frame, now);
        self.counters.count(&answer);
        answer
    }

    fn reply(
        &mut self,
        interfaces: &[Interface],
        interface: InterfaceId,
        packet: &Packet,
        frame: &mut Frame,
        now: Instant,
    ) -> Result<(), Silence> {
        let request = Request::read(packet, frame)?;
        let (source, destination) = packet.addresses().ok_or(Silence::NotIp)?;
        let own = interfaces.get(interface.index()).ok_or(Silence::InterfaceLimit)?;
        if !(own.has(destination)
            || is_global(destination) && interfaces.iter().any(|other| other.has(destination)))
        {
            return Err(Silence::NotOurs);
        }
        rules::is_from_one_station(packet)?;
        if !packet.destination.is_unicast() {
            return Err(Silence::Link);
        }
        rules::is_from_one_host(interfaces, source)?;
        self.limiter.take(interface, source, now)?;
        let checksum = request.replied(frame)?;
        if put(packet, &request, own.mac, checksum, frame) { Ok(()) } else { Err(Silence::Malformed) }
    }

    /// What was answered so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Whether an address means the same on each link.
const fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

impl Request {
    /// The request that `frame` holds, alone and whole.
    fn read(packet: &Packet, frame: &Frame) -> Result<Self, Silence> {
        let (header, at_bytes) = match packet.transport(frame) {
            Ok(Some(Transport::Icmp(header, at_bytes))) => (header, at_bytes),
            Ok(Some(Transport::LaterFragment(PROTOCOL_ICMP | PROTOCOL_ICMPV6))) => {
                return Err(Silence::Fragment);
            }
            Ok(_) => return Err(Silence::NotEcho),
            Err(_) => return Err(Silence::Malformed),
        };
        let echo = if matches!(packet.body, Body::V4(_)) { V4_ECHO } else { V6_ECHO };
        if (header.kind, header.code) != (echo, 0) {
            return Err(Silence::NotEcho);
        }
        let (is_fragment, ip_at_bytes, ip_bytes, total_bytes) = match packet.body {
            Body::Arp => return Err(Silence::NotIp),
            Body::V4(ip) => (ip.is_fragment(), ip.at_bytes, IPV4_BYTES, ip.total_bytes()),
            Body::V6(ip) => {
                let upper = ip.upper(frame).map_err(|_| Silence::Malformed)?;
                (upper.is_fragment, ip.at_bytes, IPV6_BYTES, ip.total_bytes())
            }
        };
        if is_fragment {
            return Err(Silence::Fragment);
        }
        if at_bytes != ip_at_bytes.saturating_add(ip_bytes) {
            return Err(Silence::Options);
        }
        let len_bytes = total_bytes.saturating_sub(ip_bytes);
        let before = match packet.body {
            Body::V6(Ipv6 { header, .. }) => {
                let len_bytes = u32::try_from(len_bytes).map_err(|_| Silence::Malformed)?;
                Sum::pseudo_header(&header.source, &header.destination, PROTOCOL_ICMPV6, len_bytes)
            }
            _ => Sum::ZERO,
        };
        Ok(Self { header, at_bytes, len_bytes, before })
    }

    /// The reply's checksum, once the request's is known to be right.
    fn replied(&self, frame: &Frame) -> Result<u16, Silence> {
        let offload = frame.offload();
        let before = self.header.checksum.get();
        if let Some(ChecksumRequest { start_bytes, offset_bytes: CHECKSUM_AT }) = offload.checksum
            && usize::from(start_bytes) == self.at_bytes
            && offload.segmentation.is_none()
        {
            // The addresses change places, so that their sum stays, and the rest is not summed yet.
            return Ok(before);
        }
        if !offload.is_none() {
            return Err(Silence::Checksum);
        }
        match frame.rx_checksum() {
            RxChecksum::Good => {}
            RxChecksum::Unverified => {
                let sum = Reader::new(frame, self.at_bytes).sum(self.len_bytes).ok_or(Silence::Malformed)?;
                if sum.and_all(self.before).folded() != 0xffff {
                    return Err(Silence::Checksum);
                }
            }
            _ => return Err(Silence::Checksum),
        }
        let change =
            Sum::ZERO.without(self.kind_code(self.header.kind)).and(self.kind_code(self.reply_kind()));
        // Zero is right only where something is summed; its other representation is right always.
        match change.applied_to(before) {
            0 => Ok(0xffff),
            checksum => Ok(checksum),
        }
    }

    /// The first word of the header, with that kind.
    const fn kind_code(&self, kind: u8) -> u16 {
        u16::from_be_bytes([kind, self.header.code])
    }

    const fn reply_kind(&self) -> u8 {
        if self.header.kind == V4_ECHO { V4_ECHO_REPLY } else { V6_ECHO_REPLY }
    }
}

/// Writes the reply over the request. All of it lies in the first segment, where it was read.
fn put(packet: &Packet, request: &Request, own: MacAddr, checksum: u16, frame: &mut Frame) -> bool {
    let (is_written, ethertype) = match packet.body {
        Body::Arp => return false,
        Body::V4(Ipv4 { mut header, at_bytes }) => {
            let word = |ttl: u8| u16::from_be_bytes([ttl, header.protocol]);
            let change = Sum::ZERO.without(word(header.ttl)).and(word(TTL));
            header.checksum = change.applied_to(header.checksum.get()).into();
            header.ttl = TTL;
            (header.source, header.destination) = (header.destination, header.source);
            (frame.write(at_bytes, &header), ETHERTYPE_IPV4)
        }
        Body::V6(Ipv6 { mut header, at_bytes }) => {
            header.hop_limit = TTL;
            (header.source, header.destination) = (header.destination, header.source);
            (frame.write(at_bytes, &header), ETHERTYPE_IPV6)
        }
    };
    let ethernet =
        EthernetHeader { destination: packet.source.0, source: own.0, ethertype: ethertype.into() };
    let icmp = IcmpHeader { kind: request.reply_kind(), checksum: checksum.into(), ..request.header };
    is_written && frame.write(0, &ethernet) && frame.write(request.at_bytes, &icmp)
}

/// Where the checksum is in an [`IcmpHeader`].
const CHECKSUM_AT: u16 = 2;
/// Kinds of ICMP, and of ICMPv6.
const V4_ECHO: u8 = 8;
const V4_ECHO_REPLY: u8 = 0;
const V6_ECHO: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

#[cfg(test)]
#[path = "echo_tests.rs"]
mod tests;

//! Packets that the hosts beside a guest send, and what they read in those that come.
//!
//! | Network | Guest | Hosts |
//! |---|---|---|
//! | `public` | 10.77.1.2 | the clients, 10.77.1.1 and 10.77.1.100 on; the first is the router to 100.64.0.0/10 |
//! | `private` | 10.77.2.2 | the router to 198.51.100.0/24 and 10.128.0.0/9, 10.77.2.1, and the back ends, 10.77.2.11 on |
//!
//! All hosts of a network have one MAC address.

use std::net::Ipv4Addr;

use paravane_tests::guest::{guest_address, host_mac};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Packet, Ipv4Repr, TcpPacket, TcpRepr, UdpPacket, UdpRepr,
};

use crate::link::Side;

/// Lengths of headers.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// The shortest frame.
const MIN_FRAME_BYTES: usize = 60;
/// Where packets that are routed go.
const ROUTED: [u8; 3] = [198, 51, 100];

/// The guest's MAC address there.
fn guest_mac(side: Side) -> EthernetAddress {
    EthernetAddress([0x52, 0x54, 0, 0x70, 0x76, if side == Side::Public { 1 } else { 2 }])
}

/// A frame from a host on `side` to the guest.
fn ethernet(side: Side, kind: EthernetProtocol, payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; (ETHERNET + payload_bytes).max(MIN_FRAME_BYTES)];
    let mut header = EthernetFrame::new_unchecked(&mut frame);
    header.set_dst_addr(guest_mac(side));
    header.set_src_addr(EthernetAddress(host_mac(side.nic())));
    header.set_ethertype(kind);
    frame
}

/// The answer to an ARP question that comes in on `side`, for any address but the guest's own.
pub(crate) fn answer_arp(side: Side, frame: &[u8]) -> Option<Vec<u8>> {
    let asked = EthernetFrame::new_checked(frame).ok()?;
    if asked.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(asked.payload()).ok()?).ok()?
    else {
        return None;
    };
    // Nor is a guest told that the address is taken which it tries.
    if target_protocol_addr == guest_address(side.nic()) || source_protocol_addr.is_unspecified() {
        return None;
    }
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(host_mac(side.nic())),
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut frame = ethernet(side, EthernetProtocol::Arp, answer.buffer_len());
    answer.emit(&mut ArpPacket::new_unchecked(frame.get_mut(ETHERNET..)?));
    Some(frame)
}

/// Who sends a datagram, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// Address and port.
    pub(crate) from: (Ipv4Addr, u16),
    /// Address and port.
    pub(crate) to: (Ipv4Addr, u16),
}

impl Ends {
    /// Those of a flow that is routed: as many source ports as destinations.
    pub(crate) fn routed(flow: u8) -> Self {
        let [a, b, c] = ROUTED;
        let from = (Ipv4Addr::new(10, 77, 1, 1), 10_000 + u16::from(flow));
        Self { from, to: (Ipv4Addr::new(a, b, c, flow), 9) }
    }
}

/// A frame of `bytes` bytes from `public` with a datagram that has `number` in it.
pub(crate) fn datagram(bytes: usize, ends: Ends, number: u32) -> Vec<u8> {
    let bytes = bytes.max(MIN_FRAME_BYTES);
    let mut payload = vec![0x5a; bytes - ETHERNET - IPV4 - UDP];
    if let Some(place) = payload.first_chunk_mut() {
        *place = number.to_be_bytes();
    }
    let Ends { from: (from, src_port), to: (to, dst_port) } = ends;
    let udp = UdpRepr { src_port, dst_port };
    let (mut frame, ip) = ipv4(Side::Public, (from, to), IpProtocol::Udp, udp.header_len() + payload.len());
    if let Some(place) = frame.get_mut(ip..) {
        let write = |place: &mut [u8]| place.copy_from_slice(&payload);
        let sums = ChecksumCapabilities::default();
        let mut packet = UdpPacket::new_unchecked(place);
        udp.emit(&mut packet, &from.into(), &to.into(), payload.len(), write, &sums);
    }
    frame
}

/// The number in a frame that was routed to `private`, if it is one that is as it should be.
pub(crate) fn number_of(frame: &[u8]) -> Option<u32> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let is_right = ethernet.ethertype() == EthernetProtocol::Ipv4
        && ethernet.dst_addr() == EthernetAddress(host_mac(Side::Private.nic()))
        && ip.next_header() == IpProtocol::Udp
        && ip.hop_limit() == 63
        && ip.verify_checksum();
    let udp = UdpPacket::new_checked(ip.payload()).ok().filter(|_| is_right)?;
    let is_whole = udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into());
    udp.payload().first_chunk().filter(|_| is_whole).map(|number| u32::from_be_bytes(*number))
}

/// A frame with room for `payload_bytes` behind its IP header, and where that room starts.
fn ipv4(
    side: Side,
    (from, to): (Ipv4Addr, Ipv4Addr),
    next_header: IpProtocol,
    payload_bytes: usize,
) -> (Vec<u8>, usize) {
    let ip =
        Ipv4Repr { src_addr: from, dst_addr: to, next_header, payload_len: payload_bytes, hop_limit: 64 };
    let mut frame = ethernet(side, EthernetProtocol::Ipv4, IPV4 + payload_bytes);
    if let Some(place) = frame.get_mut(ETHERNET..) {
        ip.emit(&mut Ipv4Packet::new_unchecked(place), &ChecksumCapabilities::default());
    }
    (frame, ETHERNET + IPV4)
}

/// A TCP segment from a host on `side`.
pub(crate) fn segment(side: Side, from: Ipv4Addr, to: Ipv4Addr, tcp: &TcpRepr<'_>) -> Vec<u8> {
    let (mut frame, at) = ipv4(side, (from, to), IpProtocol::Tcp, tcp.buffer_len());
    // The shortest frame is padded behind it.
    if let Some(place) = frame.get_mut(at..at + tcp.buffer_len()) {
        let sums = ChecksumCapabilities::default();
        tcp.emit(&mut TcpPacket::new_unchecked(place), &from.into(), &to.into(), &sums);
    }
    frame
}

/// Gives `take` the TCP segment in a frame, with its addresses, if it is one and its checksums
/// hold.
pub(crate) fn with_segment<T>(
    frame: &[u8],
    take: impl FnOnce(Ipv4Addr, Ipv4Addr, &TcpRepr<'_>) -> T,
) -> Option<T> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 || ip.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    let (from, to) = (ip.src_addr(), ip.dst_addr());
    let tcp = TcpRepr::parse(&tcp, &from.into(), &to.into(), &ChecksumCapabilities::default()).ok()?;
    ip.verify_checksum().then(|| take(from, to, &tcp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{TcpControl, TcpSeqNumber};

    #[test]
    fn a_frame_that_was_routed_gives_its_number_back() {
        let mut frame = datagram(64, Ends::routed(3), 0x1234_5678);
        assert_eq!(frame.len(), 64);
        assert_eq!(number_of(&frame), None, "it is still as it was sent");
        frame[..6].copy_from_slice(&host_mac(2));
        frame[22] = 63;
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        ip.fill_checksum();
        assert_eq!(number_of(&frame), Some(0x1234_5678));
        frame[50] ^= 1;
        assert_eq!(number_of(&frame), None, "a byte of it changed");
        assert_eq!(datagram(1514, Ends::routed(0), 0).len(), 1514);
    }

    #[test]
    fn a_segment_is_read_as_it_was_written_and_not_when_it_is_damaged() {
        let tcp = TcpRepr {
            src_port: 1000,
            dst_port: 80,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(7),
            ack_number: None,
            window_len: 100,
            window_scale: Some(7),
            max_seg_size: Some(1460),
            sack_permitted: true,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let (from, to) = (Ipv4Addr::new(10, 77, 1, 100), Ipv4Addr::new(10, 77, 1, 2));
        let mut frame = segment(Side::Public, from, to, &tcp);
        let port = |frame: &[u8]| with_segment(frame, |_, _, tcp| tcp.src_port);
        assert_eq!(port(&frame), Some(1000));
        frame[40] ^= 1;
        assert_eq!(port(&frame), None);
    }
}

//! Resets: segments that cut a TCP connection off, made from what is known of it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use paravane_net::{Frame, FramePool};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::edit::Ends;
use super::sum::Sum;
use super::wire::{
    ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_DONT_FRAGMENT, Ipv4Header,
    Ipv6Header, PROTOCOL_TCP, TCP_BYTES, TcpHeader,
};

/// How often it may be passed on.
const TTL: u8 = 64;
const RST: u16 = 1 << 2;
const ACK: u16 = 1 << 4;
/// A header without options, of 20 bytes: its length in words of 32 bits, where that is written.
const OFFSET: u16 = 5 << 12;
/// A segment without options and data.
const SEGMENT_BYTES: u16 = 20;
const _: () = assert!(SEGMENT_BYTES as usize == TCP_BYTES);

/// A segment that cuts a connection off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// From whom, and for whom.
    pub ends: Ends<IpAddr>,
    /// The number that its receiver expects next: what has another is not believed.
    pub sequence: u32,
    /// What it acknowledges; an answer to a segment that acknowledged nothing does.
    pub acknowledgement: Option<u32>,
}

impl Reset {
    /// The answer to a segment that nobody knows, whose header that is, with so many bytes of data.
    /// `None` of a reset: nobody answers these.
    ///
    /// Spec: RFC 9293, 3.5.2 "Reset Generation", group 1.
    #[must_use]
    pub fn answer(to: Ends<IpAddr>, header: &TcpHeader, data_bytes: u32) -> Option<Self> {
        let flags = header.offset_flags.get();
        if flags & RST != 0 {
            return None;
        }
        let ends = to.reversed();
        if flags & ACK != 0 {
            return Some(Self { ends, sequence: header.acknowledgement.get(), acknowledgement: None });
        }
        // The SYN and the FIN have numbers as well.
        let numbered = u32::from(flags & 1).wrapping_add(u32::from(flags >> 1 & 1));
        let next = header.sequence.get().wrapping_add(data_bytes).wrapping_add(numbered);
        Some(Self { ends, sequence: 0, acknowledgement: Some(next) })
    }

    /// A frame that says so, to be passed on once more: its Ethernet addresses are nobody's yet.
    /// `None` when `pool` has none, or the addresses are of two versions.
    #[must_use]
    pub fn frame(&self, pool: &FramePool) -> Option<Frame> {
        let mut frame = pool.get()?;
        let is_whole = match (self.ends.source, self.ends.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.v4(&mut frame, source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.v6(&mut frame, source, destination),
            _ => false,
        };
        is_whole.then_some(frame)
    }

    fn v4(&self, frame: &mut Frame, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        const TOTAL_BYTES: u16 = 20 + SEGMENT_BYTES;
        let mut header = Ipv4Header {
            version_length: 0x45,
            class: 0,
            total_bytes: TOTAL_BYTES.into(),
            // Nothing that is never cut needs one. Spec: RFC 6864, 4.1.
            id: U16::ZERO,
            fragment: IPV4_DONT_FRAGMENT.into(),
            ttl: TTL,
            protocol: PROTOCOL_TCP,
            checksum: U16::ZERO,
            source: source.octets(),
            destination: destination.octets(),
        };
        header.checksum = Sum::ZERO.and_bytes(header.as_bytes()).checksum().into();
        let tcp = self.tcp(&header.source, &header.destination);
        put(frame, &ethernet(ETHERTYPE_IPV4)) && put(frame, &header) && put(frame, &tcp)
    }

    fn v6(&self, frame: &mut Frame, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        let header = Ipv6Header {
            version_class_flow: U32::new(6 << 28),
            payload_bytes: SEGMENT_BYTES.into(),
            next_header: PROTOCOL_TCP,
            hop_limit: TTL,
            source: source.octets(),
            destination: destination.octets(),
        };
        let tcp = self.tcp(&header.source, &header.destination);
        put(frame, &ethernet(ETHERTYPE_IPV6)) && put(frame, &header) && put(frame, &tcp)
    }

    fn tcp(&self, source: &[u8], destination: &[u8]) -> TcpHeader {
        let flags = if self.acknowledgement.is_some() { RST | ACK } else { RST };
        let mut header = TcpHeader {
            source_port: self.ends.source_port.into(),
            destination_port: self.ends.destination_port.into(),
            sequence: self.sequence.into(),
            acknowledgement: self.acknowledgement.unwrap_or(0).into(),
            offset_flags: (OFFSET | flags).into(),
            window: U16::ZERO,
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        };
        let pseudo = Sum::pseudo_header(source, destination, PROTOCOL_TCP, SEGMENT_BYTES.into());
        header.checksum = pseudo.and_bytes(header.as_bytes()).checksum().into();
        header
    }
}

fn ethernet(ethertype: u16) -> EthernetHeader {
    EthernetHeader { destination: [0; 6], source: [0; 6], ethertype: ethertype.into() }
}

/// Adds a header to the end of a frame.
fn put<T: IntoBytes + Immutable>(frame: &mut Frame, header: &T) -> bool {
    frame.append(header.as_bytes())
}

const _: () = assert!(ETHERNET_BYTES + 40 + TCP_BYTES <= 128, "so that each buffer has room");

//! Headers as they are on the wire: plain data of any alignment, in network byte order.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet II header.
///
/// Spec: IEEE 802.3-2022, 3.1.1 "Packet format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// Whom the frame is for.
    pub destination: [u8; 6],
    /// Who sent it.
    pub source: [u8; 6],
    /// What is in it.
    pub ethertype: U16,
}

/// Length of an [`EthernetHeader`].
pub const ETHERNET_BYTES: usize = 14;
/// `ethertype` of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ethertype` of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `ethertype` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// An IPv4 header without options.
///
/// Spec: RFC 791, 3.1 "Internet Header Format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version, 4 bits; length of the header in words of 32 bits, 4 bits.
    pub version_length: u8,
    /// Differentiated services and congestion.
    pub class: u8,
    /// Length of the packet, header included.
    pub total_bytes: U16,
    /// What fragments of one packet have in common.
    pub id: U16,
    /// Flags, 3 bits; the fragment's offset in units of 8 bytes, 13 bits.
    pub fragment: U16,
    /// How many routers may still pass it on.
    pub ttl: u8,
    /// What is in it.
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    /// Who sent it.
    pub source: [u8; 4],
    /// Whom it is for.
    pub destination: [u8; 4],
}

/// Length of an [`Ipv4Header`].
pub const IPV4_BYTES: usize = 20;
/// In `fragment`: it may not be cut.
pub const IPV4_DONT_FRAGMENT: u16 = 0x4000;
/// In `fragment`: another fragment follows.
pub const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
/// In `fragment`: the offset, in units of 8 bytes.
pub const IPV4_OFFSET: u16 = 0x1fff;

/// An IPv6 header.
///
/// Spec: RFC 8200, 3 "IPv6 Header Format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version, 4 bits; traffic class, 8 bits; flow label, 20 bits.
    pub version_class_flow: U32,
    /// Length of what follows this header.
    pub payload_bytes: U16,
    /// What follows.
    pub next_header: u8,
    /// How many routers may still pass it on.
    pub hop_limit: u8,
    /// Who sent it.
    pub source: [u8; 16],
    /// Whom it is for.
    pub destination: [u8; 16],
}

/// Length of an [`Ipv6Header`].
pub const IPV6_BYTES: usize = 40;

/// The protocol ICMP of IPv4.
pub const PROTOCOL_ICMP: u8 = 1;
/// The protocol TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// The protocol UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// The protocol ICMP of IPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Extension header of IPv6: options for each router.
pub const EXTENSION_HOP_BY_HOP: u8 = 0;
/// Extension header of IPv6: a route.
pub const EXTENSION_ROUTING: u8 = 43;
/// Extension header of IPv6: part of a packet.
pub const EXTENSION_FRAGMENT: u8 = 44;
/// Extension header of IPv6: options for the destination.
pub const EXTENSION_DESTINATION: u8 = 60;

/// A TCP header without options.
///
/// Spec: RFC 9293, 3.1 "Header Format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TcpHeader {
    /// The sender's port.
    pub source_port: U16,
    /// The receiver's port.
    pub destination_port: U16,
    /// Number of the first byte.
    pub sequence: U32,
    /// Number of the byte that is expected next.
    pub acknowledgement: U32,
    /// Length of the header in words of 32 bits, 4 bits; reserved, 4 bits; flags, 8 bits.
    pub offset_flags: U16,
    /// How many bytes the sender takes.
    pub window: U16,
    /// Checksum of pseudo-header, header and data.
    pub checksum: U16,
    /// Where urgent data ends.
    pub urgent: U16,
}

/// Length of a [`TcpHeader`].
pub const TCP_BYTES: usize = 20;

/// A UDP header.
///
/// Spec: RFC 768.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    /// The sender's port.
    pub source_port: U16,
    /// The receiver's port.
    pub destination_port: U16,
    /// Length of header and data.
    pub len_bytes: U16,
    /// Checksum of pseudo-header, header and data; zero where there is none.
    pub checksum: U16,
}

/// Length of a [`UdpHeader`].
pub const UDP_BYTES: usize = 8;

/// What every message of ICMP begins with, of either IP.
///
/// Spec: RFC 792; RFC 4443, 2.1 "Message General Format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IcmpHeader {
    /// `type`.
    pub kind: u8,
    /// `code`.
    pub code: u8,
    /// Checksum of the message; with a pseudo-header over IPv6.
    pub checksum: U16,
    /// By the kind: an echo's identifier and number, a next hop's MTU, or zero.
    pub rest: [u8; 4],
}

/// Length of an [`IcmpHeader`].
pub const ICMP_BYTES: usize = 8;

const _: () = {
    assert!(size_of::<EthernetHeader>() == ETHERNET_BYTES);
    assert!(size_of::<Ipv4Header>() == IPV4_BYTES);
    assert!(size_of::<Ipv6Header>() == IPV6_BYTES);
    assert!(size_of::<TcpHeader>() == TCP_BYTES);
    assert!(size_of::<UdpHeader>() == UDP_BYTES);
    assert!(size_of::<IcmpHeader>() == ICMP_BYTES);
};

//! ARP and neighbour discovery as they are on the wire.

use core::net::{Ipv4Addr, Ipv6Addr};

use paravane_net::{Frame, MacAddr};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::packet::sum::Sum;
use crate::packet::wire::{
    ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV6_BYTES, Ipv6Header,
    PROTOCOL_ICMPV6,
};

/// An ARP packet about IPv4 on Ethernet.
///
/// Spec: RFC 826, "Packet format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ArpPacket {
    /// Which kind of link: `ar$hrd`.
    pub hardware: U16,
    /// Which kind of network: `ar$pro`, an EtherType.
    pub protocol: U16,
    /// Length of a link's address.
    pub hardware_bytes: u8,
    /// Length of a network's address.
    pub protocol_bytes: u8,
    /// `ar$op`.
    pub operation: U16,
    /// Whoever sent it, on the link.
    pub sender_mac: [u8; 6],
    /// The same in the network; zero when it only wants to know whether an address is free.
    pub sender: [u8; 4],
    /// Whom it is about, on the link, where the sender knows.
    pub target_mac: [u8; 6],
    /// Whom it is about.
    pub target: [u8; 4],
}

/// Length of an [`ArpPacket`].
pub const ARP_BYTES: usize = 28;
/// `hardware` of Ethernet.
pub const ARP_ETHERNET: u16 = 1;
/// `operation`: who has the target's address?
pub const ARP_REQUEST: u16 = 1;
/// `operation`: the sender has it.
pub const ARP_REPLY: u16 = 2;

impl ArpPacket {
    /// One about Ethernet and IPv4.
    #[must_use]
    pub const fn new(
        operation: u16,
        (sender_mac, sender): (MacAddr, Ipv4Addr),
        (target_mac, target): (MacAddr, Ipv4Addr),
    ) -> Self {
        Self {
            hardware: U16::new(ARP_ETHERNET),
            protocol: U16::new(ETHERTYPE_IPV4),
            hardware_bytes: 6,
            protocol_bytes: 4,
            operation: U16::new(operation),
            sender_mac: sender_mac.0,
            sender: sender.octets(),
            target_mac: target_mac.0,
            target: target.octets(),
        }
    }

    /// Whether it is about Ethernet and IPv4.
    #[must_use]
    pub const fn is_of_ethernet_and_ipv4(&self) -> bool {
        self.hardware.get() == ARP_ETHERNET
            && self.protocol.get() == ETHERTYPE_IPV4
            && self.hardware_bytes == 6
            && self.protocol_bytes == 4
    }
}

/// A neighbour solicitation or advertisement without its options, ICMP's header included.
///
/// Spec: RFC 4861, 4.3 "Neighbor Solicitation Message Format", 4.4 "Neighbor Advertisement Message
/// Format".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NeighbourMessage {
    /// `type`.
    pub kind: u8,
    /// `code`: zero.
    pub code: u8,
    /// Checksum of pseudo-header and message.
    pub checksum: U16,
    /// Flags of an advertisement, in its highest bits.
    pub flags: U32,
    /// Whom it is about.
    pub target: [u8; 16],
}

/// Length of a [`NeighbourMessage`].
pub const NEIGHBOUR_MESSAGE_BYTES: usize = 24;
/// `kind`: who has the target's address?
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// `kind`: the target has this one.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// In `flags`: the sender is a router.
pub const ADVERTISES_ROUTER: u32 = 1 << 31;
/// In `flags`: it answers a solicitation.
pub const ADVERTISES_SOLICITED: u32 = 1 << 30;
/// In `flags`: it replaces what was known.
pub const ADVERTISES_OVERRIDE: u32 = 1 << 29;
/// The hop limit of all of them: no router passed it on.
pub const NEIGHBOUR_HOP_LIMIT: u8 = 255;

/// An option that says somebody's address on the link.
///
/// Spec: RFC 4861, 4.6.1 "Source/Target Link-layer Address".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LinkLayerOption {
    /// `type`.
    pub kind: u8,
    /// Its length in units of 8 bytes: 1.
    pub len_units: u8,
    /// The address.
    pub mac: [u8; 6],
}

/// `kind` of an option: of the sender.
pub const OPTION_SOURCE: u8 = 1;
/// `kind` of an option: of the target.
pub const OPTION_TARGET: u8 = 2;
/// What `len_units` counts.
pub const OPTION_UNIT_BYTES: usize = 8;

/// For all on a link.
pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
/// All nodes of a link.
///
/// Spec: RFC 4291, 2.7.1 "Pre-Defined Multicast Addresses".
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group in which those listen whose addresses end as `address` does. An interface has to be in
/// that of each of its addresses, or nobody finds it.
///
/// Spec: RFC 4291, 2.7.1.
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let prefix = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(prefix | address.to_bits() & 0xff_ffff)
}

/// Where the frames of a group of IPv6 go.
///
/// Spec: RFC 2464, 7 "Address Mapping -- Multicast".
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// A frame that is an ARP packet.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ArpFrame {
    ethernet: EthernetHeader,
    arp: ArpPacket,
}

/// A frame that is a solicitation or an advertisement with one option.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NeighbourFrame {
    ethernet: EthernetHeader,
    ip: Ipv6Header,
    message: NeighbourMessage,
    option: LinkLayerOption,
}

/// Makes `frame` the ARP packet `arp`, to `to`. False when it has no room.
#[must_use]
pub(super) fn put_arp(frame: &mut Frame, to: MacAddr, arp: ArpPacket) -> bool {
    let ethernet =
        EthernetHeader { destination: to.0, source: arp.sender_mac, ethertype: U16::new(ETHERTYPE_ARP) };
    frame.clear();
    frame.append(ArpFrame { ethernet, arp }.as_bytes())
}

/// What differs between solicitations and advertisements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// [`NEIGHBOUR_SOLICITATION`] or [`NEIGHBOUR_ADVERTISEMENT`].
    pub(super) kind: u8,
    /// Flags of an advertisement.
    pub(super) flags: u32,
    /// Whom it is about.
    pub(super) target: Ipv6Addr,
    /// Who sends it.
    pub(super) source: (MacAddr, Ipv6Addr),
    /// Whom it is for.
    pub(super) destination: (MacAddr, Ipv6Addr),
}

/// Makes `frame` that message, with the option that says where its sender is. False when it has no
/// room.
#[must_use]
pub(super) fn put_message(frame: &mut Frame, message: Message) -> bool {
    const LEN_BYTES: u16 = 32;
    let Message { kind, flags, target, source: (from, source), destination: (to, destination) } = message;
    let option = LinkLayerOption {
        kind: if kind == NEIGHBOUR_SOLICITATION { OPTION_SOURCE } else { OPTION_TARGET },
        len_units: 1,
        mac: from.0,
    };
    let mut message = NeighbourMessage {
        kind,
        code: 0,
        checksum: U16::ZERO,
        flags: U32::new(flags),
        target: target.octets(),
    };
    let (source, destination) = (source.octets(), destination.octets());
    let sum = Sum::pseudo_header(&source, &destination, PROTOCOL_ICMPV6, LEN_BYTES.into())
        .and_bytes(message.as_bytes())
        .and_bytes(option.as_bytes());
    message.checksum = U16::new(sum.checksum());
    let ethernet = EthernetHeader { destination: to.0, source: from.0, ethertype: U16::new(ETHERTYPE_IPV6) };
    let ip = Ipv6Header {
        version_class_flow: U32::new(6 << 28),
        payload_bytes: U16::new(LEN_BYTES),
        next_header: PROTOCOL_ICMPV6,
        hop_limit: NEIGHBOUR_HOP_LIMIT,
        source,
        destination,
    };
    frame.clear();
    frame.append(NeighbourFrame { ethernet, ip, message, option }.as_bytes())
}

const _: () = {
    assert!(size_of::<ArpPacket>() == ARP_BYTES);
    assert!(size_of::<NeighbourMessage>() == NEIGHBOUR_MESSAGE_BYTES);
    assert!(size_of::<LinkLayerOption>() == OPTION_UNIT_BYTES);
    assert!(size_of::<ArpFrame>() == ETHERNET_BYTES + ARP_BYTES);
    assert!(size_of::<NeighbourFrame>() == ETHERNET_BYTES + IPV6_BYTES + 32);
};

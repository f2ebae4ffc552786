//! What a message from the link says, and whether it is in order.
//!
//! It is copied out of its frame once, whole, and judged there.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use paravane_net::{Frame, MacAddr, RxChecksum};
use zerocopy::FromBytes;

use super::wire::{
    ADVERTISES_OVERRIDE, ADVERTISES_SOLICITED, ALL_NODES, ARP_REPLY, ARP_REQUEST, ArpPacket, BROADCAST,
    LinkLayerOption, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_SOLICITATION, NeighbourMessage,
    OPTION_SOURCE, OPTION_TARGET, OPTION_UNIT_BYTES, solicited_node,
};
use crate::drops::Reason;
use crate::interface::Interface;
use crate::packet::sum::Sum;
use crate::packet::wire::{ETHERNET_BYTES, IPV6_BYTES, PROTOCOL_ICMPV6};
use crate::packet::{Body, Ipv6, Packet};

/// The longest frame with a message that is read.
const MAX_FRAME_BYTES: usize = 512;

/// Why a message was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It ends before it should, or is longer than any.
    Length,
    /// It is none of those that are read here: other links, other operations, other messages.
    Kind,
    /// It came from beyond the link: its hop limit is not 255.
    HopLimit,
    /// Its checksum is wrong.
    Checksum,
    /// An option of it is malformed.
    Option,
    /// Nobody can have the address that it is about.
    Target,
    /// Nobody can have the address that sent it, or not with what it says.
    Sender,
    /// It is neither for this interface, nor for all.
    NotForUs,
    /// It is one of ours.
    Own,
    /// The sender uses our address.
    Conflict,
    /// It is about somebody who was not asked for.
    Unknown,
    /// It does not say a MAC address, where one is needed.
    NoMac,
    /// It does not want to replace the MAC address that is known.
    NoOverride,
    /// It contradicts what was heard less than a second ago.
    TooSoon,
    /// Its frame has no room for the reply.
    NoRoom,
}

impl Ignored {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Length,
        Self::Kind,
        Self::HopLimit,
        Self::Checksum,
        Self::Option,
        Self::Target,
        Self::Sender,
        Self::NotForUs,
        Self::Own,
        Self::Conflict,
        Self::Unknown,
        Self::NoMac,
        Self::NoOverride,
        Self::TooSoon,
        Self::NoRoom,
    ];
}

impl From<Ignored> for Reason {
    fn from(_: Ignored) -> Self {
        Self::Neighbour
    }
}

/// That somebody has a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) address: IpAddr,
    /// `None`: the one that it was asked by.
    pub(super) mac: Option<MacAddr>,
    /// It was said to us, because we asked.
    pub(super) is_answer: bool,
    /// It replaces what was known.
    pub(super) overrides: bool,
}

/// Who is to be told that we have an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    V4 { own: Ipv4Addr, to: (MacAddr, Ipv4Addr) },
    V6 { own: Ipv6Addr, to: (MacAddr, Ipv6Addr) },
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// About somebody else.
    Claim(Claim),
    /// A question for us; who asks may say who he is.
    Question(Reply, Option<Claim>),
    /// Somebody uses that address, which is ours.
    Conflict(IpAddr, MacAddr),
}

/// Hears what is in `frame`.
///
/// # Errors
///
/// [`Ignored`].
pub(super) fn hear(interface: &Interface, packet: &Packet, frame: &mut Frame) -> Result<Heard, Ignored> {
    if packet.source == interface.mac {
        return Err(Ignored::Own);
    }
    if !packet.source.is_unicast() {
        return Err(Ignored::Sender);
    }
    match packet.body {
        Body::Arp => hear_arp(interface, packet, frame),
        Body::V6(ip) => hear_message(interface, packet, ip, frame),
        Body::V4(_) => Err(Ignored::Kind),
    }
}

/// Spec: RFC 826, "Packet Reception"; RFC 5227, 2.1.1 "Probe Details", 2.4 "Ongoing Address
/// Conflict Detection and Address Defense", 3 "Why Are ARP Announcements Performed Using ARP
/// Request Packets and Not ARP Reply Packets?".
fn hear_arp(interface: &Interface, packet: &Packet, frame: &Frame) -> Result<Heard, Ignored> {
    let is_to_us = packet.destination == interface.mac;
    if !is_to_us && packet.destination != BROADCAST {
        return Err(Ignored::NotForUs);
    }
    let arp: ArpPacket = frame.read(ETHERNET_BYTES).ok_or(Ignored::Length)?;
    let operation = arp.operation.get();
    if !arp.is_of_ethernet_and_ipv4() || !matches!(operation, ARP_REQUEST | ARP_REPLY) {
        return Err(Ignored::Kind);
    }
    let (sender, target) = (Ipv4Addr::from(arp.sender), Ipv4Addr::from(arp.target));
    let mac = MacAddr(arp.sender_mac);
    if mac == interface.mac {
        return Err(Ignored::Own);
    }
    // Who asks whether an address is free has none yet.
    let is_nameless = sender.is_unspecified();
    if !mac.is_unicast() || !is_nameless && !is_host(sender) {
        return Err(Ignored::Sender);
    }
    if interface.has(sender.into()) {
        return Ok(Heard::Conflict(sender.into(), mac));
    }
    let claim = |is_answer| Claim { address: sender.into(), mac: Some(mac), is_answer, overrides: true };
    // What is said to all is to come from the one that it is about.
    let is_consistent = packet.source == mac;
    match (operation, interface.has(target.into())) {
        (ARP_REQUEST, true) => {
            let reply = Reply::V4 { own: target, to: (mac, sender) };
            let says_who = !is_nameless && (is_to_us || is_consistent);
            Ok(Heard::Question(reply, says_who.then(|| claim(false))))
        }
        (ARP_REPLY, true) if is_to_us && !is_nameless => Ok(Heard::Claim(claim(true))),
        _ if sender == target && !is_nameless && is_consistent => Ok(Heard::Claim(claim(false))),
        _ if sender == target => Err(Ignored::Sender),
        _ => Err(Ignored::NotForUs),
    }
}

/// Whether a host may have that address.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// Spec: RFC 4861, 7.1.1 "Validation of Neighbor Solicitations", 7.1.2 "Validation of Neighbor
/// Advertisements"; RFC 6980, 5 (they are not to be fragmented).
fn hear_message(
    interface: &Interface,
    packet: &Packet,
    ip: Ipv6,
    frame: &mut Frame,
) -> Result<Heard, Ignored> {
    if ip.header.next_header != PROTOCOL_ICMPV6 {
        return Err(Ignored::Kind);
    }
    if ip.header.hop_limit != NEIGHBOUR_HOP_LIMIT {
        return Err(Ignored::HopLimit);
    }
    let is_summed = is_summed(frame)?;
    let mut bytes = [0_u8; MAX_FRAME_BYTES];
    let len = frame.copy_out(&mut bytes).ok_or(Ignored::Length)?;
    let end = ip.at_bytes.saturating_add(ip.total_bytes());
    let start = ip.at_bytes.saturating_add(IPV6_BYTES);
    let message = bytes.get(..len).and_then(|frame| frame.get(start..end)).ok_or(Ignored::Length)?;
    if !is_summed && sum(ip, message).folded() != 0xffff {
        return Err(Ignored::Checksum);
    }
    let (head, options) = NeighbourMessage::read_from_prefix(message).map_err(|_| Ignored::Length)?;
    let option = match head.kind {
        NEIGHBOUR_SOLICITATION => OPTION_SOURCE,
        NEIGHBOUR_ADVERTISEMENT => OPTION_TARGET,
        _ => return Err(Ignored::Kind),
    };
    let target = Ipv6Addr::from(head.target);
    if head.code != 0 {
        return Err(Ignored::Kind);
    }
    if target.is_multicast() || target.is_unspecified() || target.is_loopback() {
        return Err(Ignored::Target);
    }
    let mac = link_layer(options, option)?;
    match mac {
        Some(mac) if mac == interface.mac => return Err(Ignored::Own),
        Some(mac) if !mac.is_unicast() => return Err(Ignored::Sender),
        _ => {}
    }
    let message = Message { interface, packet, ip, target, mac };
    if !message.reaches_us() {
        return Err(Ignored::NotForUs);
    }
    if option == OPTION_SOURCE { message.solicits() } else { message.advertises(head.flags.get()) }
}

/// Whether the device has looked at the checksum.
fn is_summed(frame: &mut Frame) -> Result<bool, Ignored> {
    match frame.rx_checksum() {
        RxChecksum::Good => Ok(true),
        RxChecksum::BadIp | RxChecksum::BadL4 => Err(Ignored::Checksum),
        RxChecksum::Partial(_) if !frame.complete_checksum() => Err(Ignored::Checksum),
        RxChecksum::Unverified | RxChecksum::Partial(_) => Ok(false),
    }
}

/// The sum of a message with its checksum.
fn sum(ip: Ipv6, message: &[u8]) -> Sum {
    let (source, destination) = (ip.header.source, ip.header.destination);
    let len_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
    Sum::pseudo_header(&source, &destination, PROTOCOL_ICMPV6, len_bytes).and_bytes(message)
}

/// The first address of that kind among `options`.
fn link_layer(mut options: &[u8], kind: u8) -> Result<Option<MacAddr>, Ignored> {
    let mut found = None;
    // Ends: each turn takes eight bytes at least.
    while let [_, units, ..] = *options {
        let len_bytes = usize::from(units).saturating_mul(OPTION_UNIT_BYTES);
        let (option, rest) = match options.split_at_checked(len_bytes) {
            Some(parts) if units != 0 => parts,
            _ => return Err(Ignored::Option),
        };
        if let (None, Ok(option)) = (found, LinkLayerOption::read_from_bytes(option))
            && option.kind == kind
        {
            found = Some(MacAddr(option.mac));
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Ignored::Option) }
}

/// A solicitation or an advertisement whose form is in order.
struct Message<'i> {
    interface: &'i Interface,
    packet: &'i Packet,
    ip: Ipv6,
    target: Ipv6Addr,
    mac: Option<MacAddr>,
}

impl Message<'_> {
    /// Whether its frame and its packet are for this interface, or for a group.
    fn reaches_us(&self) -> bool {
        let [first, ..] = self.packet.destination.0;
        let destination = self.ip.destination();
        if destination.is_multicast() {
            self.is_to_us() || first & 1 != 0
        } else {
            self.is_to_us() && self.interface.has(destination.into())
        }
    }

    /// Whether its frame is for this interface alone.
    fn is_to_us(&self) -> bool {
        self.packet.destination == self.interface.mac
    }

    /// Whether it comes from the one that it is about, as what is said to all is to.
    fn is_consistent(&self) -> bool {
        self.is_to_us() || self.mac.is_none_or(|mac| mac == self.packet.source)
    }

    /// Spec: RFC 4861, 7.2.3 "Receipt of Neighbor Solicitations", 7.2.4 "Sending Solicited Neighbor
    /// Advertisements".
    fn solicits(&self) -> Result<Heard, Ignored> {
        let Self { interface, target, mac, .. } = *self;
        let (source, destination) = (self.ip.source(), self.ip.destination());
        let is_to_group = destination == solicited_node(target);
        // Who asks whether an address is free has none yet.
        let is_nameless = source.is_unspecified();
        if is_nameless && (!is_to_group || mac.is_some()) {
            return Err(Ignored::Sender);
        }
        if interface.has(source.into()) {
            return Ok(Heard::Conflict(source.into(), mac.unwrap_or(self.packet.source)));
        }
        if !interface.has(target.into()) || destination.is_multicast() && !is_to_group {
            return Err(Ignored::NotForUs);
        }
        if is_nameless {
            let to = (super::wire::multicast_mac(ALL_NODES), ALL_NODES);
            return Ok(Heard::Question(Reply::V6 { own: target, to }, None));
        }
        let claim = Claim { address: source.into(), mac, is_answer: false, overrides: true };
        let to = (mac.unwrap_or(self.packet.source), source);
        let says_who = mac.is_some() && self.is_consistent();
        Ok(Heard::Question(Reply::V6 { own: target, to }, says_who.then_some(claim)))
    }

    /// Spec: RFC 4861, 7.2.5 "Receipt of Neighbor Advertisements".
    fn advertises(&self, flags: u32) -> Result<Heard, Ignored> {
        let Self { interface, target, mac, .. } = *self;
        let destination = self.ip.destination();
        let is_answer = flags & ADVERTISES_SOLICITED != 0;
        let is_odd = !self.is_consistent() || destination.is_multicast() && is_answer;
        if is_odd || self.ip.source().is_unspecified() {
            return Err(Ignored::Sender);
        }
        if destination.is_multicast() && destination != ALL_NODES {
            return Err(Ignored::NotForUs);
        }
        if interface.has(target.into()) {
            return Ok(Heard::Conflict(target.into(), mac.unwrap_or(self.packet.source)));
        }
        let overrides = flags & ADVERTISES_OVERRIDE != 0;
        Ok(Heard::Claim(Claim { address: target.into(), mac, is_answer, overrides }))
    }
}

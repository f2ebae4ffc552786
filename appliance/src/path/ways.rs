//! Where a packet goes, and whether it fits there. Nothing is changed here, and nobody is asked.

use core::net::{IpAddr, Ipv6Addr};

use alloc::sync::Arc;

use paravane_net::{Frame, MacAddr};

use crate::drops::Reason;
use crate::icmp::Error;
use crate::interface::{Interface, InterfaceId};
use crate::packet::edit::Hop;
use crate::packet::plain::Link;
use crate::packet::wire::PROTOCOL_ICMPV6;
use crate::packet::{Body, Ipv4, Ipv6, Packet, segment};
use crate::route::{Kind, NextHop, Routes};
use crate::vrrp::PROTOCOL_VRRP;

/// Interfaces, and the ways by them.
#[derive(Debug)]
pub(super) struct Ways {
    /// Shared with what is under way.
    pub(super) interfaces: Arc<[Interface]>,
    pub(super) routes: Routes,
}

/// How a packet is as long as a link takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is.
    Whole,
    /// Cut as it asks for.
    Segments,
    /// Cut into parts.
    Fragments,
    /// Not at all.
    TooBig,
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Forward(NextHop),
    /// It is for this machine.
    Local,
    /// It may be about who has which address on the link.
    Neighbour,
    /// It may be about who has addresses that machines share.
    Vrrp,
    /// It is dropped, and nobody hears of it.
    Drop(Reason),
    /// It is dropped, and its sender is told.
    Tell(Reason, Error),
}

impl Ways {
    /// What is done with `packet`, which came in by `from`.
    ///
    /// Spec: RFC 1812, 5.2.1 "Forwarding Algorithm", 5.3 "Specific Issues"; RFC 4291, 2.5.6
    /// (addresses of the link are not passed on); RFC 3704, 2.2.
    #[inline]
    pub(super) fn judge(&self, from: InterfaceId, packet: &Packet) -> Verdict {
        let Some(own) = self.interfaces.get(from.index()) else { return Verdict::Drop(Reason::NoRoute) };
        if packet.destination != own.mac {
            return to_others(packet);
        }
        match &packet.body {
            Body::Arp => Verdict::Neighbour,
            Body::V4(ip) => self.judge_v4(from, ip),
            Body::V6(ip) => self.judge_v6(from, ip),
        }
    }

    #[inline]
    fn judge_v4(&self, from: InterfaceId, ip: &Ipv4) -> Verdict {
        let (source, destination) = (ip.source(), ip.destination());
        if !self.routes.is_reverse_path(source.into(), from)
            && let Some(reason) = self.wrong_way(source.into(), from)
        {
            return Verdict::Drop(reason);
        }
        let kind = self.routes.lookup_v4(destination);
        let (octets, back) = (destination.octets(), source.octets());
        match kind {
            Some(Kind::Local(interface)) => local(from, *interface),
            _ if octets[0] >= 224 => Verdict::Drop(Reason::Group),
            // Loopback, "this network", and addresses of the link.
            _ if matches!(octets, [0 | 127, ..]) => Verdict::Drop(Reason::NoRoute),
            _ if matches!(octets, [169, 254, ..]) || matches!(back, [169, 254, ..]) => {
                Verdict::Drop(Reason::LinkLocal)
            }
            _ => by(kind, ip.header.ttl),
        }
    }

    #[inline]
    fn judge_v6(&self, from: InterfaceId, ip: &Ipv6) -> Verdict {
        let (source, destination) = (ip.source(), ip.destination());
        if is_special(destination) || is_special(source) {
            return self.judge_special(from, ip);
        }
        if !self.routes.is_reverse_path(source.into(), from)
            && let Some(reason) = self.wrong_way(source.into(), from)
        {
            return Verdict::Drop(reason);
        }
        match self.routes.lookup_v6(destination) {
            Some(Kind::Local(interface)) if *interface == from && is_neighbours(ip) => Verdict::Neighbour,
            Some(Kind::Local(interface)) => local(from, *interface),
            kind => by(kind, ip.header.hop_limit),
        }
    }

    /// The same where one of the addresses is no address that packets are passed on by.
    #[cold]
    fn judge_special(&self, from: InterfaceId, ip: &Ipv6) -> Verdict {
        let (source, destination) = (ip.source(), ip.destination());
        let is_ours = self.interfaces.get(from.index()).is_some_and(|own| own.has(destination.into()));
        if is_neighbours(ip) && (is_ours || destination.is_multicast()) {
            Verdict::Neighbour
        } else if is_ours && source.is_unicast_link_local() {
            Verdict::Local
        } else if destination.is_multicast() {
            Verdict::Drop(Reason::Group)
        } else if source.is_unspecified() || destination.is_unspecified() || destination.is_loopback() {
            Verdict::Drop(Reason::Source)
        } else {
            Verdict::Drop(Reason::LinkLocal)
        }
    }

    /// How `frame` goes out by `interface`, and how long its packets may be.
    #[inline]
    pub(super) fn fit(&self, packet: &Packet, frame: &Frame, interface: InterfaceId) -> Option<(Fit, u16)> {
        let out = self.interfaces.get(interface.index())?;
        Some((fit(packet, frame, out), out.mtu_bytes))
    }

    /// The addresses of frames for an interface.
    #[inline(always)]
    pub(super) fn link_of(&self, interface: InterfaceId) -> Option<Link> {
        let own = self.interfaces.get(interface.index())?;
        Some(Hop { destination: own.mac, source: own.mac }.into())
    }

    /// Which interface a packet came in by, that was let in: the one by which its source is
    /// reached.
    pub(super) fn came_from(&self, packet: &Packet) -> Option<InterfaceId> {
        let (source, _) = packet.addresses()?;
        match self.routes.lookup(source)? {
            Kind::Unicast(hop) => Some(hop.interface),
            _ => None,
        }
    }

    /// What is wrong with a packet from `source`, to which another way leads than by `from`:
    /// nothing where that is loose, and there is any way.
    ///
    /// Spec: RFC 3704, 2.4 "Loose Reverse Path Forwarding".
    #[cold]
    fn wrong_way(&self, source: IpAddr, from: InterfaceId) -> Option<Reason> {
        let is_loose = self.interfaces.get(from.index()).is_some_and(|own| own.is_loose);
        match self.routes.lookup(source) {
            Some(Kind::Local(_)) => Some(Reason::Spoofed),
            Some(Kind::Broadcast) => Some(Reason::Source),
            Some(Kind::Unicast(_)) if is_loose => None,
            _ => Some(Reason::ReversePath),
        }
    }
}

/// What is done with what is for another station than ours, or for many.
#[cold]
fn to_others(packet: &Packet) -> Verdict {
    let is_group = is_group(packet.destination);
    match &packet.body {
        Body::Arp if is_group => Verdict::Neighbour,
        Body::V6(ip) if is_group && ip.destination().is_multicast() && is_neighbours(ip) => {
            Verdict::Neighbour
        }
        Body::V4(ip) if is_group && ip.header.protocol == PROTOCOL_VRRP => Verdict::Vrrp,
        Body::V6(ip) if is_group && ip.header.next_header == PROTOCOL_VRRP => Verdict::Vrrp,
        _ if is_group => Verdict::Drop(Reason::Group),
        _ => Verdict::Drop(Reason::OtherStation),
    }
}

/// A packet for an address of `interface`: only what comes in there is for it.
#[inline]
fn local(from: InterfaceId, interface: InterfaceId) -> Verdict {
    if from == interface { Verdict::Local } else { Verdict::Drop(Reason::OtherInterface) }
}

/// A packet that so many routers may still pass on, by its route.
#[inline]
fn by(kind: Option<&Kind>, hops_left: u8) -> Verdict {
    match kind {
        Some(Kind::Unicast(_)) if hops_left <= 1 => Verdict::Tell(Reason::TimeExceeded, Error::TimeExceeded),
        Some(Kind::Unicast(hop)) => Verdict::Forward(*hop),
        None => Verdict::Tell(Reason::NoRoute, Error::NetUnreachable),
        Some(Kind::Unreachable) => Verdict::Tell(Reason::Prohibited, Error::HostUnreachable),
        Some(Kind::Blackhole) => Verdict::Drop(Reason::Prohibited),
        Some(Kind::Broadcast) => Verdict::Drop(Reason::Group),
        Some(Kind::Local(_)) => Verdict::Drop(Reason::OtherInterface),
    }
}

/// Whether a frame to `mac` is for many.
fn is_group(mac: MacAddr) -> bool {
    let MacAddr([first, ..]) = mac;
    first & 1 != 0
}

/// Whether it is no address of one host in the whole network.
#[inline]
fn is_special(address: Ipv6Addr) -> bool {
    // ff00::/8, fe80::/10, ::/127.
    let bits = address.to_bits();
    bits >> 120 == 0xff || bits >> 118 == 0x3fa || bits <= 1
}

/// Whether it may be a neighbour's message, of which the kind is not read yet: nothing passed it
/// on.
#[inline]
fn is_neighbours(ip: &Ipv6) -> bool {
    ip.header.next_header == PROTOCOL_ICMPV6 && ip.header.hop_limit == 255
}

/// How `frame` is sent by `out`.
///
/// Spec: RFC 1812, 4.2.2.7 "Fragmentation"; RFC 8200, 5 "Packet Size Issues" (routers cut none).
#[inline]
fn fit(packet: &Packet, frame: &Frame, out: &Interface) -> Fit {
    let (total_bytes, may_be_cut) = match &packet.body {
        Body::Arp => return Fit::Whole,
        Body::V4(ip) => (ip.total_bytes(), !ip.dont_fragment()),
        Body::V6(ip) => (ip.total_bytes(), false),
    };
    let mtu_bytes = usize::from(out.mtu_bytes);
    let asked = frame.offload().segmentation;
    let longest = asked.map_or(total_bytes, segment::longest_packet_bytes);
    match asked {
        _ if longest > mtu_bytes && may_be_cut && asked.is_none() => Fit::Fragments,
        _ if longest > mtu_bytes => Fit::TooBig,
        Some(asked)
            if !segment::is_cut_by(asked, out.offloads)
                || u32::try_from(total_bytes).is_ok_and(|total| total > out.large_bytes) =>
        {
            Fit::Segments
        }
        _ => Fit::Whole,
    }
}
